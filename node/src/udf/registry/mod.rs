//! The node's modules: which versions there are, which one is active, what their calls came to.
//!
//! A version is immutable: its name stands for the hash of its content. Every change is written to the catalogue on disk
//! before it takes effect; activation then is one swap of a pointer, and a call in flight keeps the version it began
//! with. A version is compiled (or taken from the cache) when it is uploaded or activated, or at its first call after a
//! restart.

mod catalogue;
mod change;
mod live;
mod logs;
mod report;
mod rules;
mod sign;
mod stats;
mod store;
mod upload;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use outcrop_wire::{Code, FunctionPath};
use parking_lot::Mutex;
use thiserror::Error;

pub use catalogue::{Catalogue, ModuleRow, VersionRow};
pub use live::{Live, Loaded, Resolved, Version};
pub use logs::{LogEntry, LogRing};
pub use report::map;
pub use rules::{LimitOverrides, NamespaceRules};
pub use sign::{Signature, hex, unhex, verify};
pub use stats::FunctionStats;
pub use upload::{Part, Received};

use super::host::Host;
use super::outcome::{Failed, Refusal};
use crate::telemetry::stats::FunctionHostStats;
use crate::world::Clock;
use store::Store;
use upload::Uploads;

/// Modules of a node, at most.
pub const MODULES_MAX: usize = 256;
/// Versions of a module, at most; remove old ones for more.
pub const VERSIONS_MAX: usize = 64;

/// Why the registry can't be opened or changed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The catalogue or a component can't be read or written.
    #[error("the modules' directory: {what}: {error}")]
    Io {
        /// What was done.
        what: String,
        /// What happened.
        error: std::io::Error,
    },
    /// Both copies of the catalogue are damaged.
    #[error(
        "the catalogue of modules is damaged in both of its copies ({0}); restore it, or remove it and upload again"
    )]
    Damaged(String),
}

/// A module that comes with the node.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// The module's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The component.
    pub component: Bytes,
}

/// All modules of a node.
pub struct Registry {
    host: Arc<Host>,
    clock: Arc<dyn Clock>,
    rules: Vec<NamespaceRules>,
    store: Store,
    /// What stands on disk. Locked for as long as a change takes, so that changes come one after the other.
    catalogue: tokio::sync::Mutex<Catalogue>,
    modules: ArcSwap<HashMap<String, Arc<Live>>>,
    uploads: Mutex<Uploads>,
}

impl Registry {
    /// Opens the catalogue under `data_dir/modules` (none: nothing is kept), and adds what comes with the node. `rules`
    /// are those of the namespaces, by number.
    pub async fn open(
        host: Arc<Host>,
        data_dir: Option<&Path>,
        clock: Arc<dyn Clock>,
        rules: Vec<NamespaceRules>,
        built_in: &[BuiltIn],
    ) -> Result<Arc<Self>, RegistryError> {
        let store = Store::open(data_dir).await?;
        let mut catalogue = store.load().await?;
        for module in built_in {
            if catalogue.install(module, clock.now_ms()) {
                store.keep(*blake3::hash(&module.component).as_bytes(), module.component.clone()).await?;
            }
        }
        store.save(&catalogue).await?;
        let modules = catalogue.modules.iter().map(|row| (row.name.clone(), Live::of_row(row, &rules)));
        let modules = ArcSwap::from_pointee(modules.collect());
        let uploads = Mutex::default();
        let catalogue = tokio::sync::Mutex::new(catalogue);
        Ok(Arc::new(Registry { host, clock, rules, store, catalogue, modules, uploads }))
    }

    /// The engine's numbers and those of every function that was called, for metrics.
    pub fn host_stats(&self) -> FunctionHostStats {
        let mut modules: Vec<_> = self.modules.load().values().cloned().collect();
        modules.sort_by(|one, other| one.name.cmp(&other.name));
        let functions = modules.iter().flat_map(|live| live.call_stats()).collect();
        FunctionHostStats { functions, ..self.host.stats() }
    }

    /// A module by name.
    pub fn module(&self, name: &str) -> Result<Arc<Live>, Refusal> {
        self.modules.load().get(name).cloned().ok_or_else(|| unknown_module(name))
    }

    /// What a path names, if it is in memory; `None`: [`Registry::load`] has to fetch it first.
    pub fn resolve(&self, path: &FunctionPath<'_>, namespace: u16) -> Result<Option<Resolved>, Failed> {
        let modules = self.modules.load();
        let Some(live) = modules.get(path.module) else { return Err(refused(unknown_module(path.module))) };
        live.check_paused()?;
        let version = live.version(path.version)?;
        self.check_allowed(live, &version, namespace)?;
        match version.loaded() {
            Some(loaded) => live.resolved(loaded, path, namespace).map(Some),
            None => Ok(None),
        }
    }

    /// What a path names, compiled now if need be.
    pub async fn load(self: &Arc<Self>, path: &FunctionPath<'_>, namespace: u16) -> Result<Resolved, Failed> {
        if let Some(resolved) = self.resolve(path, namespace)? {
            return Ok(resolved);
        }
        let live = self.module(path.module).map_err(refused)?;
        let version = live.version(path.version)?;
        let loaded = self.ready(&live, &version).await.map_err(refused)?;
        live.resolved(&loaded, path, namespace)
    }

    /// Whether what a path names is there, but isn't compiled or loaded yet.
    pub fn is_loading(&self, path: &FunctionPath<'_>) -> bool {
        let version = self.module(path.module).ok().and_then(|live| live.version(path.version).ok());
        version.is_some_and(|version| version.loaded().is_none())
    }

    /// A version in memory. Loading it goes on when those who wait for it give up: a module whose compilation takes longer
    /// than a call may would never be there otherwise.
    async fn ready(self: &Arc<Self>, live: &Arc<Live>, version: &Arc<Version>) -> Result<Arc<Loaded>, Refusal> {
        if let Some(loaded) = version.loaded() {
            return Ok(loaded.clone());
        }
        let loading = version.loading(|| {
            let (registry, live, version) = (self.clone(), live.clone(), version.clone());
            let task = tokio::spawn(async move {
                let prepare = || async {
                    let component = registry.store.component(version.hash).await?;
                    registry.host.prepare(component).await
                };
                version.load_with(&live, prepare).await
            });
            let ended = |_| Refusal::new(Code::Draining, "the node is shutting down");
            async move { task.await.map_err(ended)? }.boxed().shared()
        });
        loading.await
    }

    /// Whether the namespace lets this version run on its records.
    fn check_allowed(&self, live: &Live, version: &Version, namespace: u16) -> Result<(), Failed> {
        let Some(rules) = self.rules.get(usize::from(namespace)) else { return Ok(()) };
        if !rules.offers(&live.name) {
            let message = format!("the namespace has no module {}: it lists {}", live.name, rules.modules.join(", "));
            return Err(Failed::new(Code::ModuleUnknown, message));
        }
        if version.built_in {
            return Ok(());
        }
        if version.bytes > rules.module_bytes_max {
            let (bytes, allowed) = (version.bytes, rules.module_bytes_max);
            let message = format!("the namespace takes modules of at most {allowed} bytes, this one has {bytes}");
            return Err(Failed::new(Code::ModuleTooLarge, message));
        }
        if rules.allows(&version.signers) {
            return Ok(());
        }
        let message = format!(
            "the namespace runs only modules that one of its {} trusted keys signed; {}@{} has no such signature",
            rules.trusted_keys.len(),
            live.name,
            version.name
        );
        Err(Failed::new(Code::ModuleSignature, message))
    }
}

fn unknown_module(name: &str) -> Refusal {
    let message = format!("there is no module {name:?}; `outcrop udf list` shows those that there are");
    Refusal::new(Code::ModuleUnknown, message)
}

/// A refusal of a module, to whoever called a function of it.
fn refused(refusal: Refusal) -> Failed {
    let mut failed = Failed::new(refusal.code, refusal.message);
    failed.details.backtrace = refusal.backtrace;
    failed
}

#[cfg(test)]
mod tests;

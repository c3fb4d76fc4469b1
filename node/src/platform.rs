//! What functions need of a node: threads for long work, the engine, the registry, and the modules that come along.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::command::functions::Functions;
use crate::command::job::{Desk, JobStoreError};
use crate::server::worker::{Worker, WorkerError};
use crate::udf::registry::{BuiltIn, NamespaceRules, Registry, RegistryError};
use crate::udf::{Compiler, FunctionOptions, Host, HostError};
use crate::world::{Clock, Entropy, SeededEntropy};

/// Why functions can't be offered.
#[derive(Debug, Error)]
pub enum PlatformError {
    /// A thread.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The engine.
    #[error("functions: {0}")]
    Host(#[from] HostError),
    /// The registry.
    #[error("functions: {0}")]
    Registry(#[from] RegistryError),
    /// Jobs.
    #[error("functions: {0}")]
    Jobs(#[from] JobStoreError),
}

/// Settings of functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformOptions {
    /// Whether the node runs functions at all.
    pub enabled: bool,
    /// Threads for queries, jobs and long calls; 0: one for each worker.
    pub threads: usize,
    /// The engine's pools, and bounds of modules and their compiler.
    pub host: FunctionOptions,
    /// What each namespace asks of modules, by its number; the defaults of those that aren't there.
    pub rules: Vec<NamespaceRules>,
}

impl Default for PlatformOptions {
    fn default() -> Self {
        PlatformOptions { enabled: true, threads: 0, host: FunctionOptions::default(), rules: Vec::new() }
    }
}

impl PlatformOptions {
    /// What a namespace asks and allows, by its number.
    pub fn rules_of(&self, namespace: usize) -> NamespaceRules {
        self.rules.get(namespace).cloned().unwrap_or_default()
    }

    /// Leaves out the last namespaces' rules as long as they are the defaults, so that equal settings are equal.
    pub fn trim_rules(&mut self) {
        let default = NamespaceRules::default();
        while self.rules.last() == Some(&default) {
            self.rules.pop();
        }
    }
}

/// The compiler's process and the modules that come with the node: what the program gives that the node is part of.
#[derive(Clone)]
pub struct Equipment {
    /// How components are compiled.
    pub compiler: Compiler,
    /// Modules that come along.
    pub built_in: Arc<[BuiltIn]>,
}

impl Default for Equipment {
    /// Compiles within the node's own process, which bounds neither memory nor time; no modules.
    fn default() -> Self {
        Equipment { compiler: Compiler::InProcess, built_in: Arc::new([]) }
    }
}

/// Everything that functions need; the threads end with it.
pub struct Platform {
    /// For the verbs.
    pub functions: Arc<Functions>,
    /// Threads of the pool.
    pub pool: Vec<Worker>,
}

impl Platform {
    /// Starts it for a node of `workers` workers and `namespaces` namespaces.
    pub async fn start(
        options: &PlatformOptions,
        equipment: &Equipment,
        data_dir: Option<&Path>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        (workers, namespaces): (usize, usize),
    ) -> Result<Option<Self>, PlatformError> {
        if !options.enabled {
            return Ok(None);
        }
        let threads = if options.threads == 0 { workers } else { options.threads };
        let pool = (0..threads).map(Worker::start_pool).collect::<Result<Vec<_>, _>>()?;
        let handles = pool.iter().map(|worker| worker.handle().clone()).collect();
        let host = Host::start(options.host.clone(), data_dir, equipment.compiler.clone(), &*entropy, handles)?;
        let mut rules = options.rules.clone();
        rules.resize_with(namespaces, NamespaceRules::default);
        let registry = Registry::open(host.clone(), data_dir, clock.clone(), rules, &equipment.built_in).await?;
        let jobs = Desk::open(data_dir, clock.clone()).await?;
        // Seeded once: a call must not wait for the kernel's random numbers, and its seed is no secret.
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(entropy.next_u64()));
        let functions = Functions { registry, host, clock, entropy, jobs, parallel: threads.max(1) };
        Ok(Some(Platform { functions: Arc::new(functions), pool }))
    }
}

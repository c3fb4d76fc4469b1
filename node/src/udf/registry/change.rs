//! Changes of the registry, one after the other: on disk first, then for the calls to come.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use outcrop_wire::Code;
use outcrop_wire::function::{check_module_name, check_module_version};

use super::catalogue::{Catalogue, VersionRow};
use super::live::{Live, Loaded};
use super::rules::LimitOverrides;
use super::sign::{SIGNATURES_MAX, Signature, hex, unhex};
use super::upload::{Part, Received};
use super::{Registry, RegistryError};
use crate::udf::outcome::Refusal;

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        Refusal::new(Code::Internal, error.to_string())
    }
}

fn names(module: &str, version: &str) -> Result<(), Refusal> {
    let checked = check_module_name(module).and_then(|()| check_module_version(version));
    checked.map_err(|error| Refusal::new(Code::InvalidRequest, error.to_string()))
}

impl Registry {
    /// Takes a part of an upload. With the last one the module is checked, compiled and asked what it offers; only then
    /// it is kept.
    pub async fn upload(&self, part: &Part<'_>) -> Result<Received, Refusal> {
        names(part.module, part.version)?;
        if self.has_whole(part).await {
            // This part is sent once more, or somebody uploads the same again.
            return Ok(Received::Whole { component: Bytes::new(), signatures: Vec::new() });
        }
        let bytes_max = self.rules.iter().map(|rules| rules.module_bytes_max).max().unwrap_or(u64::MAX);
        let received = self.uploads.lock().take(part, bytes_max, self.clock.now_ms())?;
        if let Received::Whole { component, signatures } = &received {
            self.add(part.module, part.version, component.clone(), signatures.clone()).await?;
        }
        Ok(received)
    }

    /// Whether what a part belongs to is there already, and undamaged; looked at before the first part.
    async fn has_whole(&self, part: &Part<'_>) -> bool {
        let known = self.module(part.module).ok().and_then(|live| live.version(Some(part.version)).ok());
        if known.is_none_or(|known| known.hash != part.hash) {
            return false;
        }
        match part.offset {
            0 => self.store.component(part.hash).await.is_ok(),
            _ => self.uploads.lock().hash_of(part.module, part.version) != Some(part.hash),
        }
    }

    /// Adds a version; it isn't active yet. Adding the same once more changes nothing.
    pub async fn add(
        &self,
        module: &str,
        version: &str,
        component: Bytes,
        signatures: Vec<Signature>,
    ) -> Result<Arc<Loaded>, Refusal> {
        names(module, version)?;
        let prepared = self.host.prepare(component.clone()).await?;
        let hash = prepared.hash();
        let row = VersionRow {
            version: version.to_owned(),
            hash: hex(&hash),
            bytes: component.len() as u64,
            uploaded_ms: self.clock.now_ms(),
            built_in: false,
            signatures,
        };
        self.change(module, async |catalogue| {
            catalogue.add(module, row)?;
            // Also of a version that is there: its file may be damaged.
            Ok(self.store.keep(hash, component).await?)
        })
        .await?;
        let live = self.module(module)?;
        let known = live.version(Some(version)).map_err(|failed| Refusal::new(failed.code, failed.message))?;
        known.load_with(&live, || async { Ok(prepared) }).await
    }

    /// Adds a signature to a version, or to one that is being uploaded.
    pub async fn sign(&self, module: &str, version: &str, signature: &[u8; 64], key: &[u8; 32]) -> Result<(), Refusal> {
        names(module, version)?;
        let coming = self.uploads.lock().hash_of(module, version);
        if let Some(hash) = coming {
            let signature = Signature::new(&hash, key, signature)?;
            return self.uploads.lock().sign(hash, signature);
        }
        self.change(module, async |catalogue| {
            catalogue.find(module).ok_or_else(|| super::unknown_module(module))?.version(version)?;
            let row = catalogue.find_mut(module)?;
            let Some(row) = row.versions.iter_mut().find(|row| row.version == version) else { return Ok(()) };
            let hash = unhex(&row.hash).unwrap_or_default();
            let signature = Signature::new(&hash, key, signature)?;
            if row.signatures.iter().all(|known| known.key != signature.key) {
                if row.signatures.len() >= SIGNATURES_MAX {
                    let message = format!("a version has at most {SIGNATURES_MAX} signatures");
                    return Err(Refusal::new(Code::ModuleSignature, message));
                }
                row.signatures.push(signature);
            }
            Ok(())
        })
        .await
    }

    /// Makes a version the active one, once it is compiled; calls in flight finish on theirs.
    pub async fn activate(self: &Arc<Self>, module: &str, version: &str) -> Result<(), Refusal> {
        self.warm(module, version).await?;
        self.change(module, async |catalogue| {
            let row = catalogue.find_mut(module)?;
            row.version(version)?;
            row.activate(version);
            Ok(())
        })
        .await
    }

    /// Makes the version active that was so before; its name.
    pub async fn roll_back(self: &Arc<Self>, module: &str) -> Result<String, Refusal> {
        let target = {
            let catalogue = self.catalogue.lock().await;
            catalogue.find(module).ok_or_else(|| super::unknown_module(module))?.clone().roll_back()?
        };
        self.warm(module, &target).await?;
        self.change(module, async |catalogue| catalogue.find_mut(module)?.roll_back()).await
    }

    /// Leaves no version active.
    pub async fn deactivate(&self, module: &str) -> Result<(), Refusal> {
        self.change(module, async |catalogue| {
            catalogue.find_mut(module)?.deactivate();
            Ok(())
        })
        .await
    }

    /// Removes a version, or (`None`) the whole module; what is active can't be removed.
    pub async fn remove(&self, module: &str, version: Option<&str>) -> Result<(), Refusal> {
        let mut gone = Vec::new();
        self.change(module, async |catalogue| {
            let row = catalogue.find_mut(module)?;
            if let Some(active) = &row.active
                && version.is_none_or(|version| version == active)
            {
                let message = format!("{module}@{active} is active: deactivate the module first, or activate another");
                return Err(Refusal::new(Code::ModuleActive, message));
            }
            match version {
                Some(version) => {
                    gone.push(row.version(version)?.hash.clone());
                    row.versions.retain(|row| row.version != version);
                    row.before.retain(|before| before != version);
                }
                None => gone.extend(row.versions.drain(..).map(|row| row.hash)),
            }
            catalogue.modules.retain(|row| !row.versions.is_empty());
            gone.retain(|hash| !catalogue.modules.iter().flat_map(|row| &row.versions).any(|row| row.hash == *hash));
            Ok(())
        })
        .await?;
        for hash in gone.iter().filter_map(|hash| unhex(hash)) {
            self.store.forget(hash).await;
        }
        Ok(())
    }

    /// Refuses the module's calls, or lets them go on.
    pub async fn pause(&self, module: &str, paused: bool) -> Result<(), Refusal> {
        self.change(module, async |catalogue| {
            catalogue.find_mut(module)?.paused = paused;
            Ok(())
        })
        .await
    }

    /// Gives the module limits of its own. Those of a namespace bind all the same.
    pub async fn set_limits(&self, module: &str, limits: LimitOverrides) -> Result<(), Refusal> {
        limits.check().map_err(|message| Refusal::new(Code::InvalidRequest, message))?;
        self.change(module, async |catalogue| {
            catalogue.find_mut(module)?.limits = limits;
            Ok(())
        })
        .await
    }

    /// Compiles a version before anybody waits for it.
    async fn warm(self: &Arc<Self>, module: &str, version: &str) -> Result<(), Refusal> {
        let live = self.module(module)?;
        let found = live.version(Some(version)).map_err(|failed| Refusal::new(failed.code, failed.message))?;
        self.ready(&live, &found).await?;
        live.adopt(&found);
        Ok(())
    }

    /// Changes a copy of the catalogue, writes it, and lets the calls to come see it.
    async fn change<T>(
        &self,
        module: &str,
        change: impl AsyncFnOnce(&mut Catalogue) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut catalogue = self.catalogue.lock().await;
        let mut changed = catalogue.clone();
        let done = change(&mut changed).await?;
        if changed != *catalogue {
            self.store.save(&changed).await?;
            self.publish(module, &changed);
            *catalogue = changed;
        }
        Ok(done)
    }

    fn publish(&self, module: &str, catalogue: &Catalogue) {
        let known = self.modules.load();
        match (catalogue.find(module), known.get(module)) {
            (Some(row), Some(live)) => {
                // The version to be active may be in memory under its entry: `follow` keeps it.
                live.follow(row, &self.rules);
            }
            (row, _) => {
                let mut modules: HashMap<String, Arc<Live>> = HashMap::clone(&known);
                modules.remove(module);
                if let Some(row) = row {
                    modules.insert(module.to_owned(), Live::of_row(row, &self.rules));
                }
                self.modules.store(Arc::new(modules));
            }
        }
    }
}

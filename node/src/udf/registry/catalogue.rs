//! The catalogue: what is known of every module and version, as it stands on disk.

use outcrop_wire::Code;
use serde::{Deserialize, Serialize};

use super::rules::LimitOverrides;
use super::sign::Signature;
use super::{BuiltIn, MODULES_MAX, VERSIONS_MAX};
use crate::udf::outcome::Refusal;

/// Activations that a rollback can go back through.
const HISTORY_MAX: usize = 16;

/// All modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// By name.
    pub modules: Vec<ModuleRow>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRow {
    /// Its name.
    pub name: String,
    /// Its versions, in the order of their uploads.
    pub versions: Vec<VersionRow>,
    /// The version that calls without one run on.
    pub active: Option<String>,
    /// What was active before, latest last.
    pub before: Vec<String>,
    /// Whether its calls are refused.
    pub paused: bool,
    /// Its limits, where they are lower than its namespace's.
    pub limits: LimitOverrides,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRow {
    /// Its name.
    pub version: String,
    /// BLAKE3 of the component, in hexadecimal.
    pub hash: String,
    /// Bytes of the component.
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub uploaded_ms: u64,
    /// Whether it came with the node.
    pub built_in: bool,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

impl Catalogue {
    /// A module.
    pub fn find(&self, name: &str) -> Option<&ModuleRow> {
        self.modules.iter().find(|row| row.name == name)
    }

    /// A module, to be changed.
    pub fn find_mut(&mut self, name: &str) -> Result<&mut ModuleRow, Refusal> {
        self.modules.iter_mut().find(|row| row.name == name).ok_or_else(|| super::unknown_module(name))
    }

    /// Adds a version; whether it is new. The same content under the same name is no change, other content is refused.
    pub fn add(&mut self, module: &str, version: VersionRow) -> Result<bool, Refusal> {
        let room = self.modules.len() < MODULES_MAX;
        let Some(row) = self.modules.iter_mut().find(|row| row.name == module) else {
            if !room {
                let message = format!("the node has {MODULES_MAX} modules; remove one");
                return Err(Refusal::new(Code::ModulesFull, message));
            }
            self.modules.push(ModuleRow::new(module, version));
            return Ok(true);
        };
        if let Some(known) = row.versions.iter().find(|known| known.version == version.version) {
            if known.hash == version.hash {
                return Ok(false);
            }
            let message = format!("{module}@{} has other content: a version never changes, use another", known.version);
            return Err(Refusal::new(Code::ModuleExists, message));
        }
        if row.versions.len() >= VERSIONS_MAX {
            let message = format!("{module} has {VERSIONS_MAX} versions; remove those that nobody needs");
            return Err(Refusal::new(Code::ModulesFull, message));
        }
        row.versions.push(version);
        Ok(true)
    }

    /// Adds a module that comes with the node, and activates it unless the user runs a version of his own; whether its
    /// component is to be kept.
    pub fn install(&mut self, module: &BuiltIn, now_ms: u64) -> bool {
        let row = VersionRow {
            version: module.version.to_owned(),
            hash: blake3::hash(&module.component).to_hex().to_string(),
            bytes: module.component.len() as u64,
            uploaded_ms: now_ms,
            built_in: true,
            signatures: Vec::new(),
        };
        let hash = row.hash.clone();
        if let Some(known) = self.modules.iter_mut().find(|known| known.name == module.name) {
            // A rebuilt node has the same version with other bytes: what comes with the node is the node's to replace.
            known
                .versions
                .retain(|version| !(version.built_in && version.version == row.version && version.hash != hash));
        }
        if let Err(refusal) = self.add(module.name, row) {
            tracing::warn!(module = module.name, version = module.version, %refusal, "a built-in module isn't added");
            return false;
        }
        let Ok(row) = self.find_mut(module.name) else { return false };
        let own = |name: &str, row: &ModuleRow| row.versions.iter().any(|v| v.version == name && !v.built_in);
        if !row.active.as_deref().is_some_and(|active| own(active, row)) && !row.deactivated() {
            row.active = Some(module.version.to_owned());
        }
        true
    }
}

impl ModuleRow {
    fn new(name: &str, version: VersionRow) -> Self {
        ModuleRow {
            name: name.to_owned(),
            versions: vec![version],
            active: None,
            before: Vec::new(),
            paused: false,
            limits: LimitOverrides::default(),
        }
    }

    /// Whether somebody switched it off, which an update of the node respects.
    fn deactivated(&self) -> bool {
        self.active.is_none() && !self.before.is_empty()
    }

    /// A version.
    pub fn version(&self, version: &str) -> Result<&VersionRow, Refusal> {
        self.versions.iter().find(|row| row.version == version).ok_or_else(|| {
            let known: Vec<&str> = self.versions.iter().rev().take(8).map(|row| row.version.as_str()).collect();
            let message = format!("{} has no version {version:?}; the latest are {}", self.name, known.join(", "));
            Refusal::new(Code::ModuleUnknown, message)
        })
    }

    /// Makes a version the active one; the one before is remembered.
    pub fn activate(&mut self, version: &str) {
        if self.active.as_deref() != Some(version) {
            self.remember();
            self.active = Some(version.to_owned());
        }
    }

    /// Goes back to what was active before; its name.
    pub fn roll_back(&mut self) -> Result<String, Refusal> {
        let known = |version: &String, row: &ModuleRow| row.versions.iter().any(|known| known.version == *version);
        while let Some(version) = self.before.pop() {
            if known(&version, self) && self.active.as_deref() != Some(version.as_str()) {
                self.active = Some(version.clone());
                return Ok(version);
            }
        }
        let message = format!("no other version of {} was active before", self.name);
        Err(Refusal::new(Code::ModuleUnknown, message))
    }

    /// Leaves no version active.
    pub fn deactivate(&mut self) {
        self.remember();
        self.active = None;
    }

    fn remember(&mut self) {
        if let Some(active) = self.active.take() {
            self.before.retain(|version| *version != active);
            self.before.push(active);
            if self.before.len() > HISTORY_MAX {
                self.before.remove(0);
            }
        }
    }
}

//! A module that is ready to run: compiled, linked, and asked what it offers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outcrop_wire::Code;
use outcrop_wire::function::check_function_name;
use outcrop_wire::limits::MODULE_FUNCTIONS_MAX;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::bindings::outcrop::udf::types;
use super::compile::wipe::WIPE;
use super::guest_log::GuestLog;
use super::host::Shared;
use super::limits::{LimitHit, LimitKind};
use super::outcome::{Failed, Refusal};
use super::state::CallState;

/// Bytes of the texts that a module says of itself and of each function.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Bytes of all of them together.
const TEXTS_BYTES_MAX: usize = 512 << 10;
/// The interface that a module exports.
const EXPORTED: &str = "outcrop:udf/functions@1.0.0";

/// The kinds of function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// Reads and changes one record.
    Record,
    /// One result of many records.
    Aggregate,
    /// Filters and maps records of a scan.
    Row,
}

impl FunctionKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            FunctionKind::Record => "record",
            FunctionKind::Aggregate => "aggregate",
            FunctionKind::Row => "row",
        }
    }
}

/// In what form a function takes and gives data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Archives, read in place.
    Archived,
    /// JSON text and accessors.
    Json,
}

impl Encoding {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Archived => "archived",
            Encoding::Json => "json",
        }
    }
}

/// One function of a module, as the module describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name, unique in the module.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: FunctionKind,
    /// What it does; the first line is its summary.
    pub doc: String,
    /// Shape of its arguments: a JSON Schema or a short text.
    pub arguments: String,
    /// Shape of its result, likewise.
    pub returns: String,
    /// How it talks.
    pub encoding: Encoding,
    /// Whether it never writes.
    pub read_only: bool,
}

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// What it is for.
    pub doc: String,
    /// Its functions, by number.
    pub functions: Vec<FunctionInfo>,
}

/// Under which name a function runs: for logs and errors.
#[derive(Debug, Clone)]
pub struct Label {
    /// The module's name.
    pub module: Arc<str>,
    /// The version.
    pub version: Arc<str>,
    /// The function.
    pub function: Arc<str>,
    /// Where its lines go besides the caller.
    pub(super) log: Arc<GuestLog>,
}

/// Places of the exported functions, looked up once.
pub(super) struct Exports {
    pub call_record: ComponentExportIndex,
    pub aggregate_init: ComponentExportIndex,
    pub aggregate_accept: ComponentExportIndex,
    pub aggregate_state: ComponentExportIndex,
    pub aggregate_merge: ComponentExportIndex,
    pub aggregate_finish: ComponentExportIndex,
    pub row_init: ComponentExportIndex,
    pub row_batch: ComponentExportIndex,
    pub describe: ComponentExportIndex,
    /// Puts an instance back to how it was made, if the compiler could add such an export.
    pub wipe: Option<ComponentExportIndex>,
}

impl Exports {
    pub fn of(component: &Component) -> Result<Self, Refusal> {
        let missing = |what: &str| Refusal::new(Code::ModuleInvalid, format!("the component doesn't export {what}"));
        let interface = component.get_export_index(None, EXPORTED).ok_or_else(|| missing(EXPORTED))?;
        let find = |name: &str| {
            let found = component.get_export_index(Some(&interface), name);
            found.ok_or_else(|| missing(&format!("{EXPORTED}#{name}")))
        };
        Ok(Exports {
            call_record: find("call-record")?,
            aggregate_init: find("aggregate-init")?,
            aggregate_accept: find("aggregate-accept")?,
            aggregate_state: find("aggregate-state")?,
            aggregate_merge: find("aggregate-merge")?,
            aggregate_finish: find("aggregate-finish")?,
            row_init: find("row-init")?,
            row_batch: find("row-batch")?,
            describe: find("describe")?,
            wipe: component.get_export_index(None, WIPE),
        })
    }
}

/// A compiled and linked module.
pub(super) struct Linked {
    pub shared: Arc<Shared>,
    pub pre: InstancePre<CallState>,
    pub exports: Exports,
    /// Tells its kept instances from those of other modules.
    pub id: u64,
    /// Places of the pool that an instance takes.
    pub places: u32,
    /// Calls under way.
    pub running: AtomicU32,
}

/// A module that is ready to run. Cloning is cheap; a call in flight keeps its module.
#[derive(Clone)]
pub struct Prepared {
    pub(super) linked: Arc<Linked>,
    pub(super) info: Arc<ModuleInfo>,
    /// One for each function: a call counts one reference, not those of three names.
    labels: Arc<[Arc<Label>]>,
    hash: [u8; 32],
    artifact_bytes: u64,
}

impl Prepared {
    pub(super) fn new(linked: Arc<Linked>, info: ModuleInfo, hash: [u8; 32], artifact_bytes: u64) -> Self {
        Prepared { linked, info: Arc::new(info), labels: Arc::new([]), hash, artifact_bytes }.named("", "")
    }

    /// The same module under a name, which its log lines carry.
    #[must_use]
    pub fn named(mut self, module: &str, version: &str) -> Self {
        let (module, version): (Arc<str>, Arc<str>) = (module.into(), version.into());
        let label = |function: &FunctionInfo| {
            let (function, log) = (function.name.clone(), self.linked.shared.guest_log.clone());
            Arc::new(Label { module: module.clone(), version: version.clone(), function, log })
        };
        self.labels = self.info.functions.iter().map(label).collect();
        self
    }

    /// BLAKE3 of the component.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// What it says of itself.
    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }

    /// Bytes of its compiled form.
    pub fn artifact_bytes(&self) -> u64 {
        self.artifact_bytes
    }

    /// Calls and queries under way, under all its names.
    pub fn running(&self) -> u32 {
        self.linked.running.load(Ordering::Relaxed)
    }

    /// Number and description of a function.
    pub fn function(&self, name: &str) -> Option<(u32, &FunctionInfo)> {
        let found = self.info.functions.iter().position(|function| &*function.name == name)?;
        Some((found as u32, &self.info.functions[found]))
    }

    /// The same, and the name that it runs under.
    pub(super) fn named_function(&self, name: &str) -> Option<(u32, &FunctionInfo, &Arc<Label>)> {
        let (number, info) = self.function(name)?;
        Some((number, info, self.labels.get(number as usize)?))
    }

    /// A function by number and the name that it runs under, if it is of this kind.
    pub(super) fn expect(&self, number: u32, kind: FunctionKind) -> Result<(&FunctionInfo, &Arc<Label>), Failed> {
        let named = self.info.functions.get(number as usize).zip(self.labels.get(number as usize));
        let (found, label) = named.ok_or_else(|| {
            let message = format!("the module has {} functions, none has number {number}", self.info.functions.len());
            Failed::new(Code::FunctionUnknown, message)
        })?;
        if found.kind == kind {
            return Ok((found, label));
        }
        let message = format!("`{}` is a function of kind {}, not {}", found.name, found.kind.name(), kind.name());
        Err(Failed::new(Code::FunctionKindMismatch, message))
    }
}

/// A call's place among those of its module, given back when it is dropped.
pub(super) struct Place(Arc<Linked>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::ops::Deref for Place {
    type Target = Linked;

    fn deref(&self) -> &Linked {
        &self.0
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.shared.kept.forget(self.id);
    }
}

impl Linked {
    /// Takes a place, if the module has one left.
    pub fn take_place(self: Arc<Self>, allowed: u32) -> Result<Place, Failed> {
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        let place = Place(self);
        if before >= allowed {
            let hit = LimitHit { kind: LimitKind::Concurrency, allowed: allowed.into(), used: u64::from(before) + 1 };
            return Err(Failed::limit(hit));
        }
        Ok(place)
    }
}

impl ModuleInfo {
    /// Checks what a module said of itself.
    pub(super) fn check(said: types::ModuleInfo) -> Result<ModuleInfo, Refusal> {
        let wrong = |message: String| Refusal::new(Code::ModuleDescribeFailed, message);
        if said.functions.is_empty() || said.functions.len() > MODULE_FUNCTIONS_MAX {
            let count = said.functions.len();
            return Err(wrong(format!("a module has 1 to {MODULE_FUNCTIONS_MAX} functions, this one has {count}")));
        }
        let mut names = HashSet::new();
        let mut text_bytes = said.doc.len();
        for function in &said.functions {
            check_function_name(&function.name).map_err(|error| wrong(error.to_string()))?;
            if !names.insert(function.name.as_str()) {
                return Err(wrong(format!("the module has two functions of the name `{}`", function.name)));
            }
            for text in [&said.doc, &function.doc, &function.arguments, &function.returns] {
                if text.len() > TEXT_BYTES_MAX {
                    let bytes = text.len();
                    return Err(wrong(format!("a description has at most {TEXT_BYTES_MAX} bytes, not {bytes}")));
                }
            }
            text_bytes += function.doc.len() + function.arguments.len() + function.returns.len();
        }
        if text_bytes > TEXTS_BYTES_MAX {
            let message = format!("all descriptions have at most {TEXTS_BYTES_MAX} bytes together, not {text_bytes}");
            return Err(wrong(message));
        }
        Ok(ModuleInfo { doc: said.doc, functions: said.functions.into_iter().map(FunctionInfo::from).collect() })
    }
}

impl From<types::FunctionInfo> for FunctionInfo {
    fn from(said: types::FunctionInfo) -> Self {
        FunctionInfo {
            name: said.name.into(),
            kind: match said.kind {
                types::FunctionKind::RecordFunction => FunctionKind::Record,
                types::FunctionKind::Aggregate => FunctionKind::Aggregate,
                types::FunctionKind::Row => FunctionKind::Row,
            },
            doc: said.doc,
            arguments: said.arguments,
            returns: said.returns,
            encoding: match said.encoding {
                types::Encoding::Archived => Encoding::Archived,
                types::Encoding::Json => Encoding::Json,
            },
            read_only: said.read_only,
        }
    }
}

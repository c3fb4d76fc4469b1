//! Whether a component keeps all that it could remember where the node can put it back, and where that is.

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentType, ComponentTypeRef,
    ConstExpr, DataKind, Encoding, ExternalKind, Global, Instance, Operator, Parser, Payload, TypeRef, Validator,
    WasmFeatures,
};

use super::WIPE;

/// Memory that is filled within the time that a fresh instance would take.
const WIPED_BYTES_MAX: u64 = 256 << 10;
const PAGE_BYTES: u64 = 64 << 10;
/// Segments and globals that are put back in no time: wiping isn't interrupted, and no limit of the guest's binds it. The
/// bytes of all segments together are bounded like the memory: they may lie over one another.
const SEGMENTS_MAX: usize = 512;
const GLOBALS_MAX: usize = 512;

/// What the rules below were written for. A component that needs more gets fresh instances.
const FEATURES: WasmFeatures =
    WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST).union(WasmFeatures::COMPONENT_MODEL);

/// What a global begins with; floats as their bits.
#[derive(Debug, Clone, Copy)]
pub enum Constant {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(i128),
}

/// What is to be added to a component, and where.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Which of its core modules, in their order.
    pub module: usize,
    /// The module's only instance.
    pub instance: u32,
    /// Core functions, types and functions that the component has.
    pub core_functions: u32,
    pub types: u32,
    pub functions: u32,
    /// The module.
    pub state: Module<'a>,
}

/// What a core module has and could remember.
#[derive(Debug, Default)]
pub struct Module<'a> {
    /// Types and functions, imported ones included.
    pub types: u32,
    pub functions: u32,
    globals: u32,
    imports_memory: bool,
    /// Bytes of its own memory.
    pub memory_bytes: Option<u32>,
    /// Data segments of any kind.
    pub data_segments: u32,
    /// What its memory begins with: where, and what.
    pub segments: Vec<(u32, &'a [u8])>,
    segment_bytes: u64,
    /// What its mutable globals begin with.
    pub mutable: Vec<(u32, Constant)>,
    /// It carries debug information, which counts bytes of its code section.
    pub has_debug: bool,
}

impl Module<'_> {
    fn remembers(&self) -> bool {
        self.memory_bytes.is_some() || !self.mutable.is_empty()
    }
}

/// What has been seen of a component.
#[derive(Default)]
struct Seen<'a> {
    modules: Vec<Module<'a>>,
    /// Of each instance the number of its module.
    instances: Vec<Option<u32>>,
}

/// Where one module's or component's payloads begin and end.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Outer,
    Module,
    /// A component within it.
    Inner,
}

/// The plan for a component; `None`: it isn't eligible, or isn't valid.
pub fn look(component: &[u8]) -> Option<Plan<'_>> {
    let mut validator = Validator::new_with_features(FEATURES);
    let types = validator.validate_all(component).ok()?;
    let mut seen = Seen::default();
    let mut open: Vec<Level> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        if let Payload::Version { encoding, .. } = payload {
            open.push(match (encoding, open.last()) {
                (Encoding::Component, None) => Level::Outer,
                (Encoding::Component, Some(Level::Outer)) => Level::Inner,
                (Encoding::Module, Some(Level::Outer)) => {
                    seen.modules.push(Module::default());
                    Level::Module
                }
                _ => return None,
            });
            continue;
        }
        if let Payload::End(_) = payload {
            open.pop();
            continue;
        }
        match open.last()? {
            Level::Outer => seen.take(payload)?,
            Level::Module => seen.modules.last_mut()?.take(payload)?,
            Level::Inner => only_ties(&payload)?,
        }
    }
    let (module, state) = seen.the_one()?;
    let mut of_it = seen.instances.iter().enumerate().filter(|(_, of)| **of == Some(module as u32));
    let instance = of_it.next()?.0 as u32;
    if of_it.next().is_some() {
        return None;
    }
    let types = types.as_ref();
    let (core_functions, functions) = (types.function_count(), types.component_function_count());
    Some(Plan { module, instance, core_functions, types: types.component_type_count(), functions, state })
}

impl<'a> Seen<'a> {
    /// What stands in the component itself.
    fn take(&mut self, payload: Payload<'a>) -> Option<()> {
        match payload {
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CoreTypeSection(_)
            | Payload::ComponentInstanceSection(_)
            | Payload::ComponentExportSection(_)
            | Payload::CustomSection(_) => {}
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances.push(match instance.ok()? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            // Modules that don't stand here would be counted with those that do.
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if matches!(import.ok()?.ty, ComponentTypeRef::Module(_) | ComponentTypeRef::Component(_)) {
                        return None;
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.ok()? {
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Module | ComponentExternalKind::Component,
                            ..
                        } => return None,
                        ComponentAlias::Outer { kind, .. } => only_types(kind)?,
                        _ => {}
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section {
                    if matches!(ty.ok()?, ComponentType::Resource { .. }) {
                        return None;
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function.ok()? {
                        CanonicalFunction::Lift { .. } | CanonicalFunction::Lower { .. } => {}
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// The only module that could remember anything.
    fn the_one(&mut self) -> Option<(usize, Module<'a>)> {
        let mut those = (0..self.modules.len()).filter(|place| self.modules[*place].remembers());
        let place = those.next()?;
        if those.next().is_some() {
            return None;
        }
        Some((place, std::mem::take(&mut self.modules[place])))
    }
}

/// Of a component within the component: nothing that runs or remembers, only names for what the outer one has.
fn only_ties(payload: &Payload<'_>) -> Option<()> {
    match payload {
        Payload::ComponentTypeSection(section) => {
            for ty in section.clone() {
                if matches!(ty.ok()?, ComponentType::Resource { .. }) {
                    return None;
                }
            }
            Some(())
        }
        Payload::CoreTypeSection(_)
        | Payload::ComponentImportSection(_)
        | Payload::ComponentExportSection(_)
        | Payload::ComponentAliasSection(_)
        | Payload::CustomSection(_) => Some(()),
        _ => None,
    }
}

fn only_types(kind: ComponentOuterAliasKind) -> Option<()> {
    matches!(kind, ComponentOuterAliasKind::Type | ComponentOuterAliasKind::CoreType).then_some(())
}

impl<'a> Module<'a> {
    fn take(&mut self, payload: Payload<'a>) -> Option<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types += u32::try_from(group.ok()?.types().len()).ok()?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import.ok()?.ty {
                        TypeRef::Func(_) => self.functions += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Memory(_) => self.imports_memory = true,
                        TypeRef::Table(_) => {}
                        _ => return None,
                    }
                }
            }
            Payload::FunctionSection(section) => self.functions += section.count(),
            Payload::MemorySection(section) => {
                for memory in section {
                    let bytes = memory.ok()?.initial.checked_mul(PAGE_BYTES)?;
                    if bytes > WIPED_BYTES_MAX || self.memory_bytes.is_some() {
                        return None;
                    }
                    self.memory_bytes = Some(u32::try_from(bytes).ok()?);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    self.global(&global.ok()?)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    if export.name == WIPE || export.kind == ExternalKind::Tag {
                        return None;
                    }
                }
            }
            Payload::DataSection(section) => {
                for segment in section {
                    let segment = segment.ok()?;
                    self.data_segments += 1;
                    let DataKind::Active { offset_expr, .. } = segment.kind else { continue };
                    let Constant::I32(offset) = constant(&offset_expr)? else { return None };
                    // Of another module's memory it would have to be put back in its turn.
                    if self.imports_memory {
                        return None;
                    }
                    self.segments.push((offset as u32, segment.data));
                    self.segment_bytes += segment.data.len() as u64;
                    if self.segments.len() > SEGMENTS_MAX || self.segment_bytes > WIPED_BYTES_MAX {
                        return None;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader().ok()? {
                    only_memory_and_globals(&operator.ok()?)?;
                }
            }
            Payload::CustomSection(section) => self.has_debug |= section.name().starts_with(".debug"),
            Payload::TableSection(_)
            | Payload::ElementSection(_)
            | Payload::DataCountSection { .. }
            | Payload::CodeSectionStart { .. } => {}
            _ => return None,
        }
        Some(())
    }

    fn global(&mut self, global: &Global<'_>) -> Option<()> {
        if global.ty.mutable {
            self.mutable.push((self.globals, constant(&global.init_expr)?));
            if self.mutable.len() > GLOBALS_MAX {
                return None;
            }
        }
        self.globals += 1;
        Some(())
    }
}

/// The value of an expression that is a number and nothing else.
fn constant(expression: &ConstExpr<'_>) -> Option<Constant> {
    let mut operators = expression.get_operators_reader();
    let value = match operators.read().ok()? {
        Operator::I32Const { value } => Constant::I32(value),
        Operator::I64Const { value } => Constant::I64(value),
        Operator::F32Const { value } => Constant::F32(value.bits()),
        Operator::F64Const { value } => Constant::F64(value.bits()),
        Operator::V128Const { value } => Constant::V128(value.i128()),
        _ => return None,
    };
    matches!(operators.read().ok()?, Operator::End).then_some(value)
}

/// Of all instructions of [`FEATURES`], these change something that lasts and is neither memory nor a global.
/// `memory.grow` does as well, but the node hears of that.
fn only_memory_and_globals(operator: &Operator<'_>) -> Option<()> {
    match operator {
        Operator::TableSet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. }
        | Operator::ElemDrop { .. }
        | Operator::DataDrop { .. } => None,
        _ => Some(()),
    }
}

//! The component with what a plan adds to it: one function in a core module, and its way out.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, ComponentAliasSection, ComponentExportKind, ComponentExportSection,
    ComponentSection, ComponentTypeSection, ComponentValType, Encode, ExportKind, Function, Ieee32, Ieee64,
    Instruction,
};
use wasmparser::BinaryReader;

use super::WIPE;
use super::look::{Constant, Module, Plan};

const HEADER_BYTES: usize = 8;
/// A core module within a component.
const MODULE: u8 = 1;
/// Sections of a core module.
const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const EXPORT: u8 = 7;
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

/// A type without parameters and results; a function's export; a segment that waits to be copied.
const PLAIN_TYPE: [u8; 3] = [0x60, 0, 0];
const PASSIVE: u8 = 1;

/// `None`: its bytes aren't what the plan was made of, or adding would shift what debug information points to.
pub fn write(component: &[u8], plan: &Plan<'_>) -> Option<Vec<u8>> {
    let mut written = component.get(..HEADER_BYTES)?.to_vec();
    let mut modules = 0;
    for section in sections(component)? {
        let (id, content) = section;
        if id == MODULE {
            if modules == plan.module {
                push(MODULE, &module(content, &plan.state)?, &mut written);
                modules += 1;
                continue;
            }
            modules += 1;
        }
        push(id, content, &mut written);
    }
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport { instance: plan.instance, kind: ExportKind::Func, name: WIPE });
    let mut types = ComponentTypeSection::new();
    types.function().params([] as [(&str, ComponentValType); 0]).result(None);
    let mut canonical = CanonicalFunctionSection::new();
    canonical.lift(plan.core_functions, plan.types, []);
    let mut exports = ComponentExportSection::new();
    exports.export(WIPE, ComponentExportKind::Func, plan.functions, None);
    aliases.append_to_component(&mut written);
    types.append_to_component(&mut written);
    canonical.append_to_component(&mut written);
    exports.append_to_component(&mut written);
    Some(written)
}

fn module(bytes: &[u8], state: &Module<'_>) -> Option<Vec<u8>> {
    let mut written = bytes.get(..HEADER_BYTES)?.to_vec();
    // Rust's linker leaves it out where nothing needs it; what is added does.
    let mut counted = state.segments.is_empty();
    let mut added = 0;
    for (id, content) in sections(bytes)? {
        let item = match id {
            TYPE => PLAIN_TYPE.to_vec(),
            FUNCTION => encoded(state.types),
            EXPORT => {
                let mut export = Vec::new();
                WIPE.encode(&mut export);
                ExportKind::Func.encode(&mut export);
                state.functions.encode(&mut export);
                export
            }
            DATA_COUNT | CODE if !counted => {
                counted = true;
                push(DATA_COUNT, &encoded(state.data_segments + copies(state)), &mut written);
                if id == DATA_COUNT {
                    continue;
                }
                body(state)
            }
            CODE => body(state),
            DATA if !state.segments.is_empty() => {
                push(DATA, &extended(content, copies(state), &segments(state))?, &mut written);
                continue;
            }
            _ => {
                push(id, content, &mut written);
                continue;
            }
        };
        let content_now = extended(content, 1, &item)?;
        if id == CODE && state.has_debug && content_now.len() != content.len() + item.len() {
            return None;
        }
        added += 1;
        push(id, &content_now, &mut written);
    }
    // Type, function, export and code: without one of them there is nothing to call.
    (added == 4).then_some(written)
}

/// Segments that have to be copied in again.
fn copies(state: &Module<'_>) -> u32 {
    state.segments.len() as u32
}

/// What an instance's memory began with, for copying.
fn segments(state: &Module<'_>) -> Vec<u8> {
    let mut added = Vec::new();
    for (_, bytes) in &state.segments {
        added.push(PASSIVE);
        bytes.encode(&mut added);
    }
    added
}

/// The function: zeros, then the segments in their order, then the globals.
fn body(state: &Module<'_>) -> Vec<u8> {
    let mut function = Function::new([]);
    if let Some(bytes) = state.memory_bytes {
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::I32Const(bytes.cast_signed()));
        function.instruction(&Instruction::MemoryFill(0));
    }
    for (number, (offset, bytes)) in (state.data_segments..).zip(&state.segments) {
        function.instruction(&Instruction::I32Const(offset.cast_signed()));
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::I32Const(bytes.len() as i32));
        function.instruction(&Instruction::MemoryInit { mem: 0, data_index: number });
    }
    for (number, value) in &state.mutable {
        function.instruction(&match *value {
            Constant::I32(value) => Instruction::I32Const(value),
            Constant::I64(value) => Instruction::I64Const(value),
            Constant::F32(bits) => Instruction::F32Const(Ieee32::new(bits)),
            Constant::F64(bits) => Instruction::F64Const(Ieee64::new(bits)),
            Constant::V128(value) => Instruction::V128Const(value),
        });
        function.instruction(&Instruction::GlobalSet(*number));
    }
    function.instruction(&Instruction::End);
    encoded(function)
}

fn encoded(what: impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    what.encode(&mut bytes);
    bytes
}

/// A section of so many more items, which these are.
fn extended(content: &[u8], more: u32, items: &[u8]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32().ok()?.checked_add(more)?;
    let mut extended = encoded(count);
    extended.extend_from_slice(content.get(reader.original_position()..)?);
    extended.extend_from_slice(items);
    Some(extended)
}

fn push(id: u8, content: &[u8], written: &mut Vec<u8>) {
    written.push(id);
    content.encode(written);
}

/// Sections of a module or component: number and content.
fn sections(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut reader = BinaryReader::new(bytes.get(HEADER_BYTES..)?, 0);
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8().ok()?;
        let length = reader.read_var_u32().ok()? as usize;
        sections.push((id, reader.read_bytes(length).ok()?));
    }
    Some(sections)
}

//! Core modules to components, and components against the world: what they import, what they export, named.

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, targets};
use wit_parser::Resolve;

use crate::WIT;
use crate::core_module::strip_post_returns;
use crate::error::BuildError;

/// The one package that a module may import from.
const OFFERED: &str = "outcrop:udf/";
/// The interface that a module exports.
const EXPORTED: &str = "outcrop:udf/functions@1.";

/// What a component that fits the world has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Interfaces that it imports, in order.
    pub imports: Vec<String>,
    /// Interfaces that it exports, in order.
    pub exports: Vec<String>,
}

/// Makes a component of a core module that carries its world in a custom section, as `wit-bindgen` puts it there.
pub fn encode(core: &[u8]) -> Result<Vec<u8>, BuildError> {
    check_core(core)?;
    let core = &strip_post_returns(core)?;
    let encoded = ComponentEncoder::default()
        .module(core)
        .and_then(|encoder| encoder.validate(true).merge_imports_based_on_semver(true).encode());
    encoded.map_err(|error| BuildError::World(chain(&error)))
}

/// Refuses by name what the encoder would refuse in its own words.
fn check_core(core: &[u8]) -> Result<(), BuildError> {
    let (mut refused, mut exports) = (Vec::new(), false);
    for payload in Parser::new(0).parse_all(core) {
        match payload.map_err(not_wasm)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(not_wasm)?;
                    if !import.module.starts_with(OFFERED) {
                        refused.push(format!("{} {}", import.module, import.name));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports |= export.map_err(not_wasm)?.name.starts_with(EXPORTED);
                }
            }
            _ => {}
        }
    }
    match (refused.is_empty(), exports) {
        (false, _) => Err(BuildError::Imports { names: refused }),
        (true, false) => Err(BuildError::NoModule),
        (true, true) => Ok(()),
    }
}

fn not_wasm(error: wasmparser::BinaryReaderError) -> BuildError {
    BuildError::NotComponent(error.to_string())
}

/// Checks a component against the world `outcrop:udf/module`, and gives what it imports and exports.
pub fn check(component: &[u8]) -> Result<Checked, BuildError> {
    if !Parser::is_component(component) {
        let what = if Parser::is_core_wasm(component) { "a core module" } else { "not WebAssembly" };
        return Err(BuildError::NotComponent(what.to_owned()));
    }
    let checked = names(component)?;
    let offered = |name: &&String| !name.starts_with(OFFERED);
    let refused: Vec<String> = checked.imports.iter().filter(offered).cloned().collect();
    if !refused.is_empty() {
        return Err(BuildError::Imports { names: refused });
    }
    if !checked.exports.iter().any(|name| name.starts_with(EXPORTED)) {
        return Err(BuildError::NoModule);
    }
    let against_world = || -> Result<(), String> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("udf.wit", WIT).map_err(|error| format!("{error:#}"))?;
        let world = resolve.select_world(&[package], Some("module")).map_err(|error| format!("{error:#}"))?;
        targets(&resolve, world, component).map_err(|error| chain(&error))
    };
    against_world().map_err(BuildError::World)?;
    Ok(checked)
}

/// Imports and exports of the outermost component.
fn names(component: &[u8]) -> Result<Checked, BuildError> {
    let mut checked = Checked { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(not_wasm)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    checked.imports.push(import.map_err(not_wasm)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    checked.exports.push(export.map_err(not_wasm)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(checked)
}

/// An error of the encoder with its causes, in one line.
fn chain(error: &(impl std::fmt::Display + ?Sized)) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

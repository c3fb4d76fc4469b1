//! What is looked at before the compiler sees a module: is it a component, what does it import, how large are its parts.

use outcrop_wire::Code;
use wasmparser::{
    BinaryReaderError, ComponentImportSectionReader, ComponentInstance, DataSectionReader, Encoding, Parser, Payload,
};

use super::wipe::WIPE;
use crate::udf::imports::OFFERED;
use crate::udf::options::CompileOptions;
use crate::udf::outcome::Refusal;

/// The package whose interfaces a module may import, and the version that this node has.
const PACKAGE: &str = "outcrop:udf/";
const VERSION: [u32; 3] = [1, 0, 0];
/// Components that components make instances of, all together. Each can double what the compiler has to write out, and
/// with 24 of them that is 3^8 times at most.
const COMPONENT_INSTANCES_MAX: u32 = 24;
/// Imports that a refusal names.
const NAMED_MAX: usize = 12;

/// What has been seen so far.
#[derive(Default)]
struct Seen {
    /// Modules and components that are open, innermost last; true: a component.
    open: Vec<bool>,
    core_modules: u32,
    components: u32,
    component_instances: u32,
    functions: u64,
    data_bytes: u64,
    refused: Vec<String>,
    newer: Vec<String>,
}

/// Checks sizes and imports. The structure is for the compiler to validate.
pub fn check(bytes: &[u8], options: &CompileOptions) -> Result<(), Refusal> {
    if bytes.len() as u64 > options.module_bytes_max {
        return Err(too_large("bytes", bytes.len() as u64, options.module_bytes_max));
    }
    let mut seen = Seen::default();
    for payload in Parser::new(0).parse_all(bytes) {
        seen.take(payload.map_err(malformed)?, options)?;
    }
    if !seen.newer.is_empty() {
        let [major, minor, patch] = VERSION;
        let message = format!(
            "the component imports {}; this node has version {major}.{minor}.{patch} of the world: build it for that",
            listed(&seen.newer)
        );
        return Err(Refusal::new(Code::ModuleImportRefused, message));
    }
    if !seen.refused.is_empty() {
        let message = format!(
            "the component imports what a function isn't given: {}. Only interfaces of {PACKAGE} are there: {}",
            listed(&seen.refused),
            OFFERED.join(", ")
        );
        return Err(Refusal::new(Code::ModuleImportRefused, message));
    }
    Ok(())
}

impl Seen {
    fn take(&mut self, payload: Payload<'_>, options: &CompileOptions) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(encoding, options)?,
            Payload::End(_) => {
                self.open.pop();
            }
            Payload::ComponentImportSection(imports) if self.open.len() == 1 => self.imports(imports)?,
            Payload::ComponentExportSection(exports) if self.open.len() == 1 => {
                for export in exports {
                    if export.map_err(malformed)?.name.name == WIPE {
                        let message = format!("the component exports `{WIPE}`, a name that the node keeps for itself");
                        return Err(Refusal::new(Code::ModuleInvalid, message));
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions += u64::from(functions.count());
                within("functions", self.functions, options.functions_max.into())?;
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                let bytes = (range.end - range.start) as u64;
                within("bytes of one function's body", bytes, options.function_body_bytes_max.into())?;
            }
            Payload::DataSection(data) => self.data(data, options)?,
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if matches!(instance.map_err(malformed)?, ComponentInstance::Instantiate { .. }) {
                        self.component_instances += 1;
                        let made = self.component_instances.into();
                        within("instances of components", made, COMPONENT_INSTANCES_MAX.into())?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, encoding: Encoding, options: &CompileOptions) -> Result<(), Refusal> {
        let component = encoding == Encoding::Component;
        if self.open.is_empty() && !component {
            let message = "this is a core module, not a component: build it with `outcrop udf build`, or make a \
                           component of it with `wasm-tools component new`";
            return Err(Refusal::new(Code::ModuleInvalid, message));
        }
        self.open.push(component);
        if component {
            self.components += 1;
            within("components", self.components.into(), options.core_modules_max.into())?;
        } else {
            self.core_modules += 1;
            within("core modules", self.core_modules.into(), options.core_modules_max.into())?;
        }
        Ok(())
    }

    fn imports(&mut self, imports: ComponentImportSectionReader<'_>) -> Result<(), Refusal> {
        for import in imports {
            let name = import.map_err(malformed)?.name.name;
            match offered(name) {
                Offer::Yes => {}
                Offer::Newer => self.newer.push(name.to_owned()),
                Offer::No => self.refused.push(name.to_owned()),
            }
        }
        Ok(())
    }

    fn data(&mut self, data: DataSectionReader<'_>, options: &CompileOptions) -> Result<(), Refusal> {
        for segment in data {
            self.data_bytes += segment.map_err(malformed)?.data.len() as u64;
            within("bytes of data", self.data_bytes, options.data_bytes_max)?;
        }
        Ok(())
    }
}

enum Offer {
    Yes,
    Newer,
    No,
}

/// Whether the node has what an import names.
fn offered(name: &str) -> Offer {
    let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
        return Offer::No;
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let wanted = [parts.next().flatten(), parts.next().flatten(), parts.next().flatten()];
    match wanted {
        [Some(major), Some(minor), Some(_)] if major == VERSION[0] && minor <= VERSION[1] => {
            if OFFERED.contains(&interface) { Offer::Yes } else { Offer::No }
        }
        _ => Offer::Newer,
    }
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > NAMED_MAX {
        shown.push(format!("and {} more", names.len() - NAMED_MAX));
    }
    shown.join(", ")
}

fn within(what: &str, has: u64, allowed: u64) -> Result<(), Refusal> {
    if has > allowed { Err(too_large(what, has, allowed)) } else { Ok(()) }
}

fn too_large(what: &str, has: u64, allowed: u64) -> Refusal {
    Refusal::new(Code::ModuleTooLarge, format!("a module has at most {allowed} {what}, this one has {has} or more"))
}

fn malformed(error: BinaryReaderError) -> Refusal {
    Refusal::new(Code::ModuleInvalid, format!("the bytes aren't a WebAssembly component: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, options: &CompileOptions) -> Refusal {
        let bytes = wat::parse_str(text).expect("the text is well formed");
        check(&bytes, options).expect_err(text)
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let options = CompileOptions::default();
        assert_eq!(refusal("(module)", &options).code, Code::ModuleInvalid);
        for bytes in [&b""[..], b"\0asm", b"hello, world", b"\0asm\x0d\0\x01\0\xff\xff"] {
            assert_eq!(check(bytes, &options).expect_err("no component").code, Code::ModuleInvalid, "{bytes:?}");
        }
    }

    #[test]
    fn foreign_imports_are_named() {
        let options = CompileOptions::default();
        let text = r#"(component (import "wasi:cli/environment@0.2.0" (instance)) (import "outcrop:udf/clock@1.0.0" (instance)) (import "outcrop:udf/context@1.0.0" (instance)))"#;
        let refused = refusal(text, &options);
        assert_eq!(refused.code, Code::ModuleImportRefused);
        assert!(refused.message.contains("`wasi:cli/environment@0.2.0`, `outcrop:udf/clock@1.0.0`."), "{refused}");
        assert!(!refused.message.contains("context@1.0.0"), "{refused}");
        let newer = refusal(r#"(component (import "outcrop:udf/context@1.1.0" (instance)))"#, &options);
        assert!(newer.message.contains("this node has version 1.0.0"), "{newer}");
    }

    #[test]
    fn a_name_of_the_nodes_own_is_refused() {
        let text = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func (export "outcrop-wipe") (canon lift (core func $i "f"))))"#;
        let refused = refusal(text, &CompileOptions::default());
        assert!(refused.code == Code::ModuleInvalid && refused.message.contains("outcrop-wipe"), "{refused}");
    }

    #[test]
    fn parts_over_their_bounds_are_refused() {
        let small = CompileOptions {
            functions_max: 2,
            function_body_bytes_max: 16,
            data_bytes_max: 8,
            core_modules_max: 2,
            ..CompileOptions::default()
        };
        for (text, named) in [
            ("(component (core module (func) (func)) (core module (func)))", "functions"),
            (
                "(component (core module (func nop nop nop nop nop nop nop nop nop nop nop nop nop nop nop nop)))",
                "body",
            ),
            (
                r#"(component (core module (memory 1) (data (i32.const 0) "123456") (data (i32.const 9) "789")))"#,
                "data",
            ),
            ("(component (core module) (component (core module)) (core module))", "core modules"),
            ("(component (component) (component))", "components"),
        ] {
            let refused = refusal(text, &small);
            assert_eq!(refused.code, Code::ModuleTooLarge, "{text}");
            assert!(refused.message.contains(named), "{text}: {refused}");
            assert!(check(&wat::parse_str(text).expect("well formed"), &CompileOptions::default()).is_ok());
        }
    }

    /// Catches: forty components, each of which makes two of the next, kept the compiler busy until it was killed.
    #[test]
    fn components_that_double_are_counted() {
        let many = "(instance (instantiate $c))".repeat(25);
        let refused = refusal(&format!("(component (component $c) {many})"), &CompileOptions::default());
        assert!(refused.code == Code::ModuleTooLarge && refused.message.contains("instances"), "{refused}");
    }
}

//! Guests written by hand: a core module in WAT and the world of `wit/`, made into a component.
//!
//! Every export has a default (a refusal with the code `unknown`), every import a short name (`$record.bin-add`), and a
//! small library is there: `$alloc`, `$ok_bytes`, `$ok`, `$failure`. Memory: 0..1,024 is scratch (results are returned at
//! 16, imports may write at 64 and above), then the description, from 64 KiB on the heap.

#![allow(dead_code)] // each test uses its part

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub mod host;
pub mod source;

/// Where the description begins.
const DESCRIPTION: u32 = 1_024;
/// Where the heap begins.
const HEAP: u32 = 65_536;

/// The interface of the exports.
const EXPORTED: &str = "outcrop:udf/functions@1.0.0";

/// Imports: interface, function, signature.
const IMPORTS: [(&str, &str, &str); 27] = [
    ("context", "now-ms", "(result i64)"),
    ("context", "seed", "(result i64)"),
    ("context", "namespace", "(param i32)"),
    ("context", "log", "(param i32 i32 i32)"),
    ("context", "count", "(param i32 i32 i64)"),
    ("record", "exists", "(result i32)"),
    ("record", "set", "(param i32)"),
    ("record", "key", "(param i32)"),
    ("record", "generation", "(result i32)"),
    ("record", "expiry-secs", "(result i32)"),
    ("record", "last-update-ms", "(result i64)"),
    ("record", "stored", "(param i32)"),
    ("record", "bin-names", "(param i32)"),
    ("record", "bin-get", "(param i32 i32 i32)"),
    ("record", "bin-get-archived", "(param i32 i32 i32)"),
    ("record", "bin-get-integer", "(param i32 i32 i32)"),
    ("record", "bin-set", "(param i32 i32 i32 i64 i32 i32)"),
    ("record", "bin-set-integer", "(param i32 i32 i64 i32)"),
    ("record", "bin-add", "(param i32 i32 i64 i32)"),
    ("record", "bin-remove", "(param i32 i32 i32)"),
    ("record", "replace", "(param i32 i32 i32)"),
    ("record", "delete", "(param i32)"),
    ("record", "set-ttl", "(param i32 i32 i32)"),
    ("batch", "next", "(result i32)"),
    ("batch", "emit", "(param i32 i32)"),
    ("other", "read", "(param i32 i32 i32 i64 i32 i32)"),
    ("other", "read-bin", "(param i32 i32 i32 i64 i32 i32 i32 i32)"),
];

/// Exports: function, signature, default body.
const EXPORTS: [(&str, &str, &str); 8] = [
    ("call-record", "(param $function i32) (param $ptr i32) (param $len i32) (result i32)", "(call $unknown)"),
    ("aggregate-init", "(param $function i32) (param $ptr i32) (param $len i32) (result i32)", "(call $ok)"),
    ("aggregate-accept", "(param $ptr i32) (param $len i32) (result i32)", "(call $unknown)"),
    ("aggregate-state", "(result i32)", "(call $unknown)"),
    ("aggregate-merge", "(param $ptr i32) (param $len i32) (result i32)", "(call $unknown)"),
    ("aggregate-finish", "(result i32)", "(call $unknown)"),
    ("row-init", "(param $function i32) (param $ptr i32) (param $len i32) (result i32)", "(call $ok)"),
    ("row-batch", "(param $ptr i32) (param $len i32) (result i32)", "(call $unknown)"),
];

const LIBRARY: &str = r#"
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $room
      (loop $grow
        (br_if $room (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        unreachable))
    (local.get $at))
  (func $ok (result i32) (i32.store (i32.const 16) (i32.const 0)) (i32.const 16))
  (func $ok_bytes (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.const 16))
  (func $failure (param $ptr i32) (param $len i32) (param $code i32) (param $code_len i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.store (i32.const 28) (local.get $code))
    (i32.store (i32.const 32) (local.get $code_len))
    (i32.const 16))
  (func $unknown (result i32)
    (call $failure (i32.const 512) (i32.const 16) (i32.const 528) (i32.const 7)))
  (data (i32.const 512) "not implementedXunknown")
"#;

const REALLOC: &str = "(local $at i32)
    (local.set $at (call $alloc (local.get $size)))
    (memory.copy (local.get $at) (local.get $old) (local.get $old_size))
    (local.get $at)";

/// Kinds of function, as the world numbers them.
pub const RECORD: u8 = 0;
pub const AGGREGATE: u8 = 1;
pub const ROW: u8 = 2;

#[derive(Clone)]
struct Function {
    name: String,
    kind: u8,
    json: bool,
    read_only: bool,
}

/// A guest in the making.
#[derive(Clone, Default)]
pub struct Guest {
    functions: Vec<Function>,
    imports: Vec<String>,
    exports: BTreeMap<String, String>,
    items: String,
    describe: Option<String>,
    realloc: Option<String>,
    first: String,
}

impl Guest {
    /// A guest with one function of `archived` encoding.
    pub fn new(name: &str, kind: u8) -> Self {
        Guest::default().function(name, kind, false, false)
    }

    /// A guest with one record function, whose body this is: it leaves a pointer to its result.
    pub fn record(body: &str) -> Self {
        Guest::new("run", RECORD).export("call-record", body)
    }

    /// Another function.
    pub fn function(mut self, name: &str, kind: u8, json: bool, read_only: bool) -> Self {
        self.functions.push(Function { name: name.to_owned(), kind, json, read_only });
        self
    }

    /// Its functions speak JSON.
    pub fn json(mut self) -> Self {
        self.functions.iter_mut().for_each(|function| function.json = true);
        self
    }

    /// Its functions say that they never write.
    pub fn read_only(mut self) -> Self {
        self.functions.iter_mut().for_each(|function| function.read_only = true);
        self
    }

    /// Imports, as `record.bin-add`.
    pub fn import(mut self, names: &[&str]) -> Self {
        self.imports.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// The body of an export.
    pub fn export(mut self, name: &str, body: &str) -> Self {
        assert!(EXPORTS.iter().any(|(known, ..)| *known == name), "{name} is no export");
        self.exports.insert(name.to_owned(), body.to_owned());
        self
    }

    /// Data, functions, globals … of the core module.
    pub fn item(mut self, text: &str) -> Self {
        self.items.push_str(text);
        self.items.push('\n');
        self
    }

    /// What has to come before everything else: imports of another type.
    pub fn first(mut self, text: &str) -> Self {
        self.first.push_str(text);
        self
    }

    /// Another body of `describe` than the one that tells of the functions.
    pub fn describe(mut self, body: &str) -> Self {
        self.describe = Some(body.to_owned());
        self
    }

    /// Another body of `cabi_realloc`: parameters `$old`, `$old_size`, `$align`, `$size`.
    pub fn realloc(mut self, body: &str) -> Self {
        self.realloc = Some(body.to_owned());
        self
    }

    /// What is to happen after the result of an export has been taken.
    pub fn post_return(self, export: &str, body: &str) -> Self {
        self.item(&format!(r#"(func (export "cabi_post_{EXPORTED}#{export}") (param i32) {body})"#))
    }

    /// The core module as text.
    pub fn text(&self) -> String {
        let mut text = format!("(module $guest\n{}\n", self.first);
        for name in &self.imports {
            let (interface, function, signature) = IMPORTS
                .iter()
                .find(|(interface, function, _)| format!("{interface}.{function}") == *name)
                .unwrap_or_else(|| panic!("{name} is no import"));
            writeln!(text, r#"  (import "outcrop:udf/{interface}@1.0.0" "{function}" (func ${name} {signature}))"#)
                .expect("a string takes anything");
        }
        text.push_str("  (memory (export \"memory\") 2)\n");
        text.push_str(LIBRARY);
        let realloc = self.realloc.as_deref().unwrap_or(REALLOC);
        writeln!(
            text,
            r#"  (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32) {realloc})"#
        )
        .expect("a string takes anything");
        text.push_str(&self.description());
        for (name, signature, default) in EXPORTS {
            let body = self.exports.get(name).map_or(default, String::as_str);
            writeln!(text, r#"  (func ${name} (export "{EXPORTED}#{name}") {signature} {body})"#)
                .expect("a string takes anything");
        }
        text.push_str(&self.items);
        text.push_str(")\n");
        text
    }

    fn description(&self) -> String {
        let body = self.describe.clone().unwrap_or_else(|| format!("(i32.const {DESCRIPTION})"));
        // module-info: doc (pointer, length), functions (pointer, count); then the functions; then the texts.
        let table = DESCRIPTION + 16;
        let mut texts = Vec::new();
        let text_base = table + 40 * self.functions.len() as u32;
        let mut put = |text: &str| {
            let at = text_base + texts.len() as u32;
            texts.extend_from_slice(text.as_bytes());
            [at.to_le_bytes(), (text.len() as u32).to_le_bytes()].concat()
        };
        let mut rows = Vec::new();
        let doc = put("a guest of the tests");
        for function in &self.functions {
            rows.extend(put(&function.name));
            rows.extend([function.kind, 0, 0, 0]);
            rows.extend(put("does what its test says"));
            rows.extend(put("anything"));
            rows.extend(put("something"));
            rows.extend([u8::from(function.json), u8::from(function.read_only), 0, 0]);
        }
        let mut bytes = doc;
        bytes.extend(table.to_le_bytes());
        bytes.extend((self.functions.len() as u32).to_le_bytes());
        bytes.extend(rows);
        bytes.extend(texts);
        assert!(bytes.len() as u32 + DESCRIPTION < HEAP, "the description doesn't fit");
        let data: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            "  (func (export \"{EXPORTED}#describe\") (result i32) {body})\n  (data (i32.const {DESCRIPTION}) \"{data}\")\n"
        )
    }

    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let text = self.text();
        let core = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        component_of(core)
    }
}

/// Makes a component of a core module that fits the world.
pub fn component_of(core: Vec<u8>) -> Vec<u8> {
    component_of_world(core, |wit| wit)
}

/// The same for a world that isn't quite `wit/udf.wit`.
pub fn component_of_world(mut core: Vec<u8>, change: impl Fn(String) -> String) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/udf.wit");
    let wit = change(std::fs::read_to_string(&path).expect("the world is there"));
    let package = resolve.push_source(&path.to_string_lossy(), &wit).expect("the world is well formed");
    let world = resolve.select_world(&[package], Some("module")).expect("the world is there");
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).expect("the world can be embedded");
    let mut encoder = ComponentEncoder::default().module(&core).expect("the module is well formed");
    encoder.encode().expect("the module fits the world")
}

//! Modules that are wrong before they run: no component, foreign imports, sizes, and descriptions that lie.

use std::fmt::Write;

use outcrop_wire::Code;

use super::Case;
use crate::guest::{Guest, RECORD, component_of, component_of_world};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{}", &text[..text.len().min(2_000)]))
}

fn good() -> Guest {
    Guest::record("(call $ok)")
}

/// The core module of a guest, in a world of another wording.
fn other_world(guest: &Guest, from: &'static str, to: &'static str) -> Vec<u8> {
    component_of_world(wat(&guest.text()), |wit| {
        assert!(wit.contains(from), "the world doesn't say {from:?} any more");
        wit.replace(from, to)
    })
}

fn repeated(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        text.push_str(&item(number));
        text
    })
}

/// Components within components, each of which makes two of the next: 2^depth instances.
fn doubling(depth: usize) -> String {
    let mut text = "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned();
    for level in 1..depth {
        let inner = level - 1;
        text = format!(
            "(component $c{level} {text} (instance (instantiate $c{inner})) (instance (instantiate $c{inner})))"
        );
    }
    let last = depth - 1;
    format!("(component {text} (instance (instantiate $c{last})) (instance (instantiate $c{last})))")
}

/// A type each of whose fields is the one before, twice over: 2^depth fields if it is written out.
fn swelling_type(depth: usize) -> String {
    let mut text = String::from("(component (type $t0 (tuple u8 u8))");
    for level in 1..depth {
        let inner = level - 1;
        write!(text, "(type $t{level} (tuple $t{inner} $t{inner}))").expect("a string takes anything");
    }
    text + ")"
}

/// No component of the world at all.
pub fn shapes() -> Vec<Case> {
    let invalid = |name, bytes, says| Case::upload(name, bytes, Code::ModuleInvalid, says);
    let whole = good().component();
    let mut tail = whole.clone();
    tail.extend_from_slice(b"and more");
    let mut header = whole.clone();
    header[4] = 0x7f;
    let import = |name: &str| wat(&format!(r#"(component (import "{name}" (instance)))"#));
    let refused = |name, component, says| Case::upload(name, component, Code::ModuleImportRefused, says);
    let clock = Guest::record("(drop (call $context.now-ms)) (call $ok)");
    let missing = wat(&good().text().replace("#aggregate-finish\")", "#x-aggregate-finish\")"));
    vec![
        invalid("no bytes", Vec::new(), "aren't a WebAssembly component"),
        invalid("text", b"#!/bin/sh\nrm -rf /\n".to_vec(), "aren't a WebAssembly component"),
        invalid("a core module", wat(&good().text()), "core module"),
        invalid("a component cut in the middle", whole[..whole.len() / 2].to_vec(), "aren't a WebAssembly component"),
        invalid("a component with a tail", tail, "aren't a WebAssembly component"),
        invalid("another version of the format", header, "aren't a WebAssembly component"),
        refused("WASI's clock", import("wasi:clocks/wall-clock@0.2.0"), "`wasi:clocks/wall-clock@0.2.0`"),
        refused("WASI's files", import("wasi:filesystem/preopens@0.2.3"), "`wasi:filesystem/preopens@0.2.3`"),
        refused("an interface that the world doesn't have", import("outcrop:udf/files@1.0.0"), "outcrop:udf/files"),
        refused("a newer world", import("outcrop:udf/context@2.0.0"), "version 1.0.0"),
        refused(
            "an import of another type",
            other_world(&clock_of_32_bits(&clock), "now-ms: func() -> u64", "now-ms: func() -> u32"),
            "doesn't fit the world",
        ),
        invalid("a component without exports", wat("(component)"), "doesn't export"),
        invalid(
            "an export less than the world has",
            component_of_world(missing, |wit| wit.replace("    aggregate-finish:", "    x-aggregate-finish:")),
            "aggregate-finish",
        ),
        invalid(
            "an export of another type",
            other_world(
                &good(),
                "call-record: func(function: u32, arguments: list<u8>)",
                "call-record: func(function: s32, arguments: list<u8>)",
            ),
            "call-record",
        ),
    ]
}

fn clock_of_32_bits(guest: &Guest) -> Guest {
    let item = r#"(import "outcrop:udf/context@1.0.0" "now-ms" (func $context.now-ms (result i32)))"#;
    guest.clone().first(item)
}

/// Too large or too many of something, or made to keep the compiler busy.
pub fn sizes() -> Vec<Case> {
    let large = |name, text: String, says| Case::upload(name, wat(&text), Code::ModuleTooLarge, says);
    let guest = |name, guest: Guest, code, says| Case::upload(name, guest.component(), code, says);
    let unoffered = |name, core: &str, says| {
        Case::upload(name, wat(&format!("(component (core module {core}))")), Code::ModuleCompileFailed, says)
    };
    let functions = repeated(60_000, |_| "(func)".to_owned());
    let body = repeated(600_000, |_| "nop ".to_owned());
    let data = "x".repeat(1 << 16);
    let data = repeated(17, |_| format!("(data \"{data}\")"));
    let branches = |count: usize| {
        let labels = "0 ".repeat(count);
        good().item(&format!("(func (param i32) (block (br_table {labels} (local.get 0))))"))
    };
    let deep = repeated(20_000, |_| "(block ".to_owned()) + &")".repeat(20_000);
    vec![
        large("60,000 functions", format!("(component (core module {functions}))"), "50000 functions"),
        large("a body of 600,000 instructions", format!("(component (core module (func {body})))"), "body"),
        large("more data than may be", format!("(component (core module {data}))"), "bytes of data"),
        large("40 core modules", format!("(component {})", "(core module)".repeat(40)), "core modules"),
        large("components that double 40 times", doubling(40), "components"),
        large("a hundred components", format!("(component {})", "(component)".repeat(100)), "components"),
        Case::upload("a type that swells", wat(&swelling_type(60)), Code::ModuleCompileFailed, "type size"),
        unoffered("64-bit memory", "(memory i64 1)", "memory64"),
        unoffered("shared memory", "(memory 1 1 shared)", "threads"),
        unoffered("two memories", "(memory 1) (memory 1)", "multiple memories"),
        unoffered("exceptions", "(tag)", "exceptions"),
        unoffered("60,000 locals", &format!("(func (local {}))", "i64 ".repeat(60_000)), "local"),
        guest("a table of 200,000 branches", branches(200_000), Code::ModuleCompileFailed, "br_table"),
        guest("a table of 60,000 branches", branches(60_000), Code::Ok, ""),
        Case::upload(
            "components that double 11 times",
            wat(&doubling(11)),
            Code::ModuleCompileFailed,
            "can't be loaded",
        ),
        guest("20,000 blocks, one in the other", good().item(&format!("(func {deep})")), Code::Ok, ""),
        guest(
            "40 tables",
            good().item(&repeated(40, |_| "(table 1 funcref)".to_owned())),
            Code::ModuleCompileFailed,
            "tables",
        ),
        guest(
            "100,000 globals",
            good().item(&repeated(100_000, |_| "(global i64 (i64.const 1))".to_owned())),
            Code::ModuleCompileFailed,
            "can't be loaded",
        ),
        guest(
            "a table larger than any",
            good().item("(table 10000000 funcref)"),
            Code::ModuleCompileFailed,
            "can't be loaded",
        ),
    ]
}

/// What a module does when it is asked what it offers, which begins with its start function.
pub fn descriptions() -> Vec<Case> {
    let wrong = |name, guest: Guest, says| Case::upload(name, guest.component(), Code::ModuleDescribeFailed, says);
    let describes = |name, body: &str, says| wrong(name, Guest::new("a", RECORD).describe(body), says);
    // Fields of the description that `Guest` lays out: doc, functions; of function 0 name, kind, doc …, encoding.
    let patched = |name, patch: &str, says| describes(name, &format!("{patch} (i32.const 1024)"), says);
    let start = |body: &str| good().item(&format!("(func $begin {body}) (start $begin)"));
    let many = (0..257).fold(Guest::default(), |guest, n| guest.function(&format!("f{n}"), RECORD, false, false));
    let long = "f".repeat(64);
    vec![
        Case::upload(
            "a start function that loops",
            start("(loop $l (br $l))").component(),
            Code::ModuleDescribeFailed,
            "fuel",
        ),
        wrong("a start function that traps", start("unreachable"), "unreachable"),
        wrong("a start function that recurses", start("(call $begin)"), "stack_bytes"),
        wrong("memory from the start", good().item("(table 30000 funcref)"), "table_elements"),
        describes("a description that loops", "(loop $l (br $l)) unreachable", "fuel"),
        describes("a description that traps", "unreachable", "unreachable"),
        describes("a description that divides by zero", "(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        describes(
            "a description that takes all memory",
            "(drop (call $alloc (i32.const 80000000))) unreachable",
            "memory",
        ),
        wrong("no functions", Guest::default(), "1 to 256 functions"),
        wrong("257 functions", many, "1 to 256 functions"),
        wrong(
            "two functions of one name",
            Guest::new("a", RECORD).function("a", RECORD, false, false),
            "two functions",
        ),
        wrong("a function without a name", Guest::new("", RECORD), "name"),
        wrong("a name of spaces", Guest::new("a b", RECORD), "no name of a function"),
        wrong("a name of 64 bytes", Guest::new(&long, RECORD), "name"),
        wrong("a name that climbs", Guest::new("../../etc/passwd", RECORD), "no name of a function"),
        patched(
            "a doc of 1 MB",
            "(drop (memory.grow (i32.const 20))) (i32.store (i32.const 1028) (i32.const 1000000))",
            "at most 16384 bytes",
        ),
        patched("a doc of 4 GB", "(i32.store (i32.const 1028) (i32.const -1))", "out of bounds"),
        patched("a doc that isn't UTF-8", "(i32.store8 (i32.const 1080) (i32.const 255))", "utf-8"),
        patched("a kind that there isn't", "(i32.store8 (i32.const 1048) (i32.const 7))", "discriminant"),
        patched("an encoding that there isn't", "(i32.store8 (i32.const 1076) (i32.const 9))", "discriminant"),
        patched("four billion functions", "(i32.store (i32.const 1036) (i32.const -1))", "out of bounds"),
        patched("functions that aren't aligned", "(i32.store (i32.const 1032) (i32.const 1041))", "aligned"),
        describes("a description beyond memory", "(i32.const -16)", "out of bounds"),
        describes("a description that isn't aligned", "(i32.const 1025)", "aligned"),
    ]
    .into_iter()
    .chain(curious_descriptions())
    .collect()
}

/// Descriptions that use what a call has.
fn curious_descriptions() -> Vec<Case> {
    let flood = "(local $n i32) (loop $more
        (call $context.log (i32.const 3) (i32.const 512) (i32.const 100))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000))))
        (i32.const 1024)";
    let reads =
        "(call $other.read (i32.const 512) (i32.const 1) (i32.const 0) (i64.const 1) (i32.const 0) (i32.const 64))
        (i32.const 1024)";
    let deletes = "(call $record.delete (i32.const 64)) (i32.store8 (i32.const 80) (i32.load8_u (i32.const 64)))
        (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable)) (i32.const 1024)";
    let wrong = |name, guest: Guest, code, says| Case::upload(name, guest.component(), code, says);
    vec![
        wrong("a description that floods the log", good().describe(flood).import(&["context.log"]), Code::Ok, ""),
        wrong(
            "a description that reads records",
            good().describe(reads).import(&["other.read"]),
            Code::ModuleDescribeFailed,
            "reads",
        ),
        wrong("a description that writes", good().describe(deletes).import(&["record.delete"]), Code::Ok, ""),
    ]
}

/// Whatever the bytes: an answer.
pub fn damaged() -> Vec<Vec<u8>> {
    let whole = component_of(wat(&good().text()));
    let step = whole.len() / 150 + 1;
    (8..whole.len())
        .step_by(step)
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            bytes
        })
        .collect()
}

//! Record functions that take what they can get: time, memory, tables, stack, the node's attention.

use outcrop_node::udf::LimitKind;
use outcrop_wire::Code;

use super::{Case, Use};
use crate::guest::Guest;

const CALL: Use = Use::Call;

/// A body that does something `count` times, `$n` counting up.
pub fn times(count: u32, body: &str) -> String {
    format!(
        "(local $n i32) (loop $more {body}
           (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))
         (call $ok)"
    )
}

/// Whoever never ends, in different ways.
pub fn endless() -> Vec<Case> {
    let runs = |name, guest| Case::limited(name, CALL, guest, LimitKind::Fuel).endless();
    vec![
        runs("a loop", Guest::record("(loop $l (br $l)) unreachable")),
        runs(
            "two functions that take turns through a table",
            Guest::record("(loop $l (call_indirect $t (i32.const 0)) (br $l)) unreachable")
                .item("(table $t funcref (elem $a)) (func $a (call $b)) (func $b)"),
        ),
        runs(
            "memory that is filled again and again",
            Guest::record(
                "(drop (memory.grow (i32.const 60)))
                 (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536))) (br $l))
                 unreachable",
            ),
        ),
        runs(
            "memory that is copied again and again",
            Guest::record(
                "(drop (memory.grow (i32.const 60)))
                 (loop $l (memory.copy (i32.const 0) (i32.const 65536) (i32.const 3900000)) (br $l)) unreachable",
            ),
        ),
        runs(
            "a table that is filled again and again",
            Guest::record(
                "(loop $l (table.fill $t (i32.const 0) (ref.null func) (i32.const 5000)) (br $l)) unreachable",
            )
            .item("(table $t 5000 funcref)"),
        ),
        runs("memory that doesn't grow", Guest::record("(loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable")),
        runs(
            "a table that doesn't grow",
            Guest::record("(loop $l (drop (table.grow $t (ref.null func) (i32.const 1))) (br $l)) unreachable")
                .item("(table $t 1 funcref)"),
        ),
        runs(
            "branches by the table",
            Guest::record(&format!(
                "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
                   (block (block (br_table {} (i32.rem_u (local.get $n) (i32.const 2000))))) (br $l)) unreachable",
                "0 1 ".repeat(1_000)
            )),
        ),
        runs(
            "a search for primes",
            Guest::record(
                "(local $a i64) (loop $l (local.set $a (i64.mul (i64.add (local.get $a) (i64.const 3)) (i64.const 0x9e3779b97f4a7c15)))
                   (br $l)) unreachable",
            ),
        ),
    ]
}

/// Bounds that end a call.
pub fn bounds() -> Vec<Case> {
    let limited = |name, kind, guest| Case::limited(name, CALL, guest, kind);
    let key = "(i32.const 512) (i32.const 1) (i32.const 0) (i64.extend_i32_u (local.get $n)) (i32.const 0)";
    let storm = times(1_000_000, "(drop (call $context.seed))");
    let logs = times(1_000_000, "(call $context.log (i32.const 3) (i32.const 512) (i32.const 16))");
    let reads = times(1_000, &format!("(call $other.read {key} (i32.const 64))"));
    let bins = times(1_000, &format!("(call $other.read-bin {key} (i32.const 512) (i32.const 1) (i32.const 64))"));
    let recursion = "(func $deep (param i64) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let wide = format!(
        "(func $deep (param i64) (result i32) (local {}) (i32.add (call $deep (local.get 0)) (i32.wrap_i64 (local.get 999))))",
        "i64 ".repeat(1_000)
    );
    vec![
        limited("memory without end", LimitKind::Memory, Guest::record("(loop $l (drop (call $alloc (i32.const 65536))) (br $l)) unreachable")),
        limited("80 MB at once", LimitKind::Memory, Guest::record("(drop (call $alloc (i32.const 80000000))) (call $ok)")),
        limited(
            "a table without end",
            LimitKind::Tables,
            Guest::record("(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 999)) (i32.const -1)))) unreachable")
                .item("(table $t 1 funcref)"),
        ),
        limited("a recursion", LimitKind::Stack, Guest::record("(call $deep (i64.const 1))").item(recursion)),
        limited("a recursion of large frames", LimitKind::Stack, Guest::record("(call $deep (i64.const 1))").item(&wide)),
        limited(
            "a recursion through a table",
            LimitKind::Stack,
            Guest::record("(call_indirect $t (result i32) (i32.const 0))")
                .item("(table $t funcref (elem $a)) (func $a (result i32) (i32.add (call $b) (i32.const 1)))")
                .item("(func $b (result i32) (i32.add (call_indirect $t (result i32) (i32.const 0)) (i32.const 1)))"),
        ),
        limited("a storm of calls", LimitKind::HostCalls, Guest::record(&storm).import(&["context.seed"])),
        limited("a flood of log lines", LimitKind::HostCalls, Guest::record(&logs).import(&["context.log"])),
        limited("reads of other records", LimitKind::Reads, Guest::record(&reads).import(&["other.read"])),
        limited("reads of others' bins", LimitKind::Reads, Guest::record(&bins).import(&["other.read-bin"])),
        limited(
            "a log line of 5 MB",
            LimitKind::Output,
            Guest::record("(call $context.log (i32.const 0) (call $alloc (i32.const 5000000)) (i32.const 5000000)) (call $ok)")
                .import(&["context.log"]),
        ),
        Case::call(
            "counters without end",
            Guest::record(&times(1_500, "(i32.store (i32.const 700) (i32.add (i32.const 0x21212121) (i32.or (i32.and (local.get $n) (i32.const 31)) (i32.shl (i32.and (local.get $n) (i32.const 0x7e0)) (i32.const 3)))))
                (call $context.count (i32.const 700) (i32.const 4) (i64.const -1))"))
                .import(&["context.count"]),
            Code::Ok,
            "",
        ),
    ]
}

/// Traps of every kind.
pub fn traps() -> Vec<Case> {
    let traps = |name, body: &str, says| Case::call(name, Guest::record(body), Code::FunctionTrapped, says);
    let table = |name, body: &str, says| {
        let item = "(table $t 2 funcref) (elem (table $t) (i32.const 0) func $a) (func $a (param i64))";
        Case::call(name, Guest::record(body).item(item), Code::FunctionTrapped, says)
    };
    vec![
        traps("unreachable code", "unreachable", "unreachable"),
        traps("a division by zero", "(i32.div_s (i32.const 1) (i32.const 0))", "divide by zero"),
        traps("the one division that overflows", "(i32.div_s (i32.const 0x80000000) (i32.const -1))", "overflow"),
        traps("no number as an integer", "(i32.trunc_f64_s (f64.const nan))", "invalid conversion to integer"),
        traps("a load beyond memory", "(i32.load (i32.const -4))", "out of bounds memory access"),
        traps(
            "a load with the largest offset",
            "(i32.load offset=4294967295 (i32.const -1))",
            "out of bounds memory access",
        ),
        traps(
            "a fill beyond memory",
            "(memory.fill (i32.const 131000) (i32.const 1) (i32.const 99999)) (call $ok)",
            "out of bounds memory access",
        ),
        table("a call beyond the table", "(call_indirect $t (i32.const 9)) (call $ok)", "undefined element"),
        table("a call of nothing", "(call_indirect $t (i32.const 1)) (call $ok)", "uninitialized element"),
        table("a call of another type", "(call_indirect $t (i32.const 0)) (call $ok)", "indirect call type mismatch"),
    ]
}

/// A guest whose accessor has to refuse (a one at 64): else it traps.
fn is_refused(import: &str, body: &str) -> Guest {
    let body = format!("{body} (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable)) (call $ok)");
    Guest::record(&body).import(&[import]).item(r#"(data (i32.const 700) "[[[[{]not json")"#)
}

/// What is written to the record.
pub fn writes() -> Vec<Case> {
    let set = |name: &str, kind: u32, value: &str| {
        format!("(call $record.bin-set {name} (i32.const {kind}) {value} (i32.const 64))")
    };
    let refused = |name, import, body: &str| Case::call(name, is_refused(import, body), Code::Ok, "");
    let short = "(i32.const 512) (i32.const 1)";
    let numbered = "(i32.const 700) (i32.const 4)";
    let number = "(i32.store (i32.const 700) (i32.add (i32.const 0x21212121) (i32.or (i32.and (local.get $n) (i32.const 31)) (i32.shl (i32.and (local.get $n) (i32.const 0x7e0)) (i32.const 3)))))";
    let large = format!("{number} {}", set(numbered, 5, "(i64.const 65536) (i32.const 4000000)"));
    let flood = format!("(drop (memory.grow (i32.const 100))) {}", times(1_000, &large));
    let flood = flood.replacen(
        "(drop (memory.grow (i32.const 100))) (local $n i32)",
        "(local $n i32) (drop (memory.grow (i32.const 100)))",
        1,
    );
    let zeros = "(memory.fill (i32.const 65536) (i32.const 48) (i32.const 2))";
    let many = format!("{number} {}", set(numbered, 2, "(i64.const 1) (i32.const 0)"));
    vec![
        refused(
            "a name of 256 bytes",
            "record.bin-set",
            &set("(i32.const 1024) (i32.const 256)", 2, "(i64.const 1) (i32.const 0)"),
        ),
        refused("JSON that is none", "record.bin-set", &set(short, 6, "(i64.const 700) (i32.const 14)")),
        refused("an archive that is none", "record.bin-set", &set(short, 7, "(i64.const 700) (i32.const 14)")),
        refused(
            "bins that are none",
            "record.replace",
            &format!("{zeros} (call $record.replace (i32.const 700) (i32.const 14) (i32.const 64))"),
        ),
        refused(
            "1 MB of bins that are none",
            "record.replace",
            "(drop (memory.grow (i32.const 20))) (memory.fill (i32.const 65536) (i32.const 255) (i32.const 1000000)) (call $record.replace (i32.const 65536) (i32.const 1000000) (i32.const 64))",
        ),
        refused(
            "a time to live of zero",
            "record.set-ttl",
            "(call $record.set-ttl (i32.const 3) (i32.const 0) (i32.const 64))",
        ),
        refused(
            "a time to live of 136 years",
            "record.set-ttl",
            "(call $record.set-ttl (i32.const 3) (i32.const -1) (i32.const 64))",
        ),
        Case::call(
            "bins of a record function that only reads",
            is_refused("record.bin-set", &set(short, 2, "(i64.const 1) (i32.const 0)")).read_only(),
            Code::Ok,
            "",
        ),
        Case::call("bins of 4 GB", Guest::record(&flood).import(&["record.bin-set"]), Code::RecordTooLarge, "bytes"),
        Case::call(
            "1,500 bins, of which the last ones are refused",
            Guest::record(&times(1_500, &many).replace(
                "(call $ok)",
                "(if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable)) (call $ok)",
            ))
            .import(&["record.bin-set"]),
            Code::Ok,
            "",
        ),
        Case::call(
            "rows of a record function",
            Guest::record("(call $batch.emit (i32.const 512) (i32.const 1)) (call $ok)").import(&["batch.emit"]),
            Code::FunctionResultInvalid,
            "only a row function",
        ),
        Case::call(
            "batches of a record function",
            Guest::record("(if (call $batch.next) (then unreachable)) (call $ok)").import(&["batch.next"]),
            Code::Ok,
            "",
        ),
    ]
}

//! Aggregates and row functions: every entry point traps or never returns, states grow, rows lie.

use outcrop_node::udf::LimitKind;
use outcrop_wire::Code;

use super::{Case, Use};
use crate::guest::{AGGREGATE, Guest, ROW};

const LOOP: &str = "(loop $forever (br $forever)) unreachable";

/// An aggregate that does nothing, and does it right.
fn aggregate() -> Guest {
    Guest::new("sum", AGGREGATE)
        .export("aggregate-accept", "(call $ok)")
        .export("aggregate-state", "(call $ok_bytes (i32.const 512) (i32.const 4))")
        .export("aggregate-merge", "(call $ok)")
        .export("aggregate-finish", "(call $ok_bytes (i32.const 0) (i32.const 0))")
}

/// A row function that gives nothing.
fn rows() -> Guest {
    Guest::new("rows", ROW).export("row-batch", "(call $ok_bytes (i32.const 0) (i32.const 0))")
}

fn case(name: &'static str, used: Use, guest: Guest, code: Code, says: &'static str) -> Case {
    Case { says, ..Case::new(name, used, guest.component(), code) }
}

/// Each entry point traps, and each never returns.
pub fn entries() -> Vec<Case> {
    let aggregates = [
        ("aggregate-init traps", "aggregate-init loops", "aggregate-init"),
        ("aggregate-accept traps", "aggregate-accept loops", "aggregate-accept"),
        ("aggregate-state traps", "aggregate-state loops", "aggregate-state"),
        ("aggregate-merge traps", "aggregate-merge loops", "aggregate-merge"),
        ("aggregate-finish traps", "aggregate-finish loops", "aggregate-finish"),
    ];
    let queries =
        [("row-init traps", "row-init loops", "row-init"), ("row-batch traps", "row-batch loops", "row-batch")];
    let honest = |used| if used == Use::Rows { rows() } else { aggregate() };
    let all =
        aggregates.map(|entry| (Use::Aggregate, entry)).into_iter().chain(queries.map(|entry| (Use::Rows, entry)));
    all.flat_map(|(used, (traps, loops, export))| {
        [
            case(traps, used, honest(used).export(export, "unreachable"), Code::FunctionTrapped, "unreachable"),
            Case::limited(loops, used, honest(used).export(export, LOOP), LimitKind::Fuel).endless(),
        ]
    })
    .collect()
}

/// States that are too large, or wrong.
pub fn states() -> Vec<Case> {
    let limited = |name, kind, guest| Case::limited(name, Use::Aggregate, guest, kind);
    let large = "(call $ok_bytes (call $alloc (i32.const 2000000)) (i32.const 2000000))";
    let grows = "(drop (call $alloc (i32.const 3000000))) (call $ok)";
    let empty = "(if (i32.eqz (local.get $len)) (then unreachable)) (call $ok)";
    vec![
        limited("a state that grows with each batch", LimitKind::Memory, aggregate().export("aggregate-accept", grows)),
        limited(
            "a state that grows with each merge",
            LimitKind::Memory,
            aggregate()
                .export("aggregate-merge", "(loop $l (drop (call $alloc (i32.const 65536))) (br $l)) unreachable"),
        ),
        limited("a state of 2 MB", LimitKind::Output, aggregate().export("aggregate-state", large)),
        limited("a result of a query of 2 MB", LimitKind::Output, aggregate().export("aggregate-finish", large)),
        case(
            "a state that its own merge doesn't take",
            Use::Aggregate,
            aggregate()
                .export("aggregate-state", "(call $ok_bytes (i32.const 0) (i32.const 0))")
                .export("aggregate-merge", empty),
            Code::FunctionTrapped,
            "unreachable",
        ),
        case(
            "a state of 4 GiB",
            Use::Aggregate,
            aggregate().export("aggregate-state", "(call $ok_bytes (i32.const 0) (i32.const -1))"),
            Code::FunctionTrapped,
            "out of bounds",
        ),
        case(
            "a result of a query that is no archive",
            Use::Aggregate,
            aggregate().export("aggregate-finish", "(call $ok_bytes (i32.const 512) (i32.const 9))"),
            Code::FunctionResultInvalid,
            "",
        ),
        case(
            "an aggregate that writes",
            Use::Aggregate,
            aggregate().import(&["record.delete", "batch.next"]).export(
                "aggregate-accept",
                "(drop (call $batch.next)) (call $record.delete (i32.const 64))
                 (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable)) (call $ok)",
            ),
            Code::Ok,
            "",
        ),
        case(
            "an aggregate that emits rows",
            Use::Aggregate,
            aggregate()
                .import(&["batch.emit"])
                .export("aggregate-accept", "(call $batch.emit (i32.const 512) (i32.const 1)) (call $ok)"),
            Code::FunctionResultInvalid,
            "only a row function",
        ),
    ]
}

/// Rows that lie about themselves.
pub fn rows_that_lie() -> Vec<Case> {
    let row = |name, body: &str, says| {
        case(name, Use::Rows, rows().export("row-batch", body), Code::FunctionResultInvalid, says)
    };
    let emits = |body: &str| rows().json().import(&["batch.emit"]).export("row-batch", body);
    let flood = "(loop $l (call $batch.emit (i32.const 700) (i32.const 1)) (br $l)) unreachable";
    let large = "(local $p i32) (local.set $p (call $alloc (i32.const 500000)))
        (memory.fill (local.get $p) (i32.const 55) (i32.const 500000)) (i32.store8 (local.get $p) (i32.const 34))
        (i32.store8 offset=499999 (local.get $p) (i32.const 34))
        (loop $l (call $batch.emit (local.get $p) (i32.const 500000)) (br $l)) unreachable";
    vec![
        row(
            "rows longer than they are",
            "(i32.store (i32.const 700) (i32.const 9)) (call $ok_bytes (i32.const 700) (i32.const 8))",
            "length",
        ),
        row(
            "a row of 4 GiB",
            "(i32.store (i32.const 700) (i32.const -1)) (call $ok_bytes (i32.const 700) (i32.const 8))",
            "length",
        ),
        row("half a length", "(call $ok_bytes (i32.const 700) (i32.const 3))", "length"),
        row(
            "a row that is no archive",
            "(i32.store (i32.const 700) (i32.const 4)) (i32.store (i32.const 704) (i32.const -1)) (call $ok_bytes (i32.const 700) (i32.const 8))",
            "row 0",
        ),
        row(
            "a million empty rows",
            "(drop (memory.grow (i32.const 40))) (call $ok_bytes (i32.const 65536) (i32.const 1000000))",
            "",
        ),
        case(
            "emitted text that isn't JSON",
            Use::Rows,
            emits("(call $batch.emit (i32.const 512) (i32.const 9)) (call $ok)"),
            Code::FunctionResultInvalid,
            "JSON",
        ),
        Case::limited(
            "a flood of emitted rows",
            Use::Rows,
            emits(flood).item(r#"(data (i32.const 700) "7")"#),
            LimitKind::HostCalls,
        ),
        Case::limited("emitted rows of half a megabyte", Use::Rows, emits(large), LimitKind::Output),
        Case::limited(
            "rows of 2 MB",
            Use::Rows,
            rows().export("row-batch", "(call $ok_bytes (call $alloc (i32.const 2000000)) (i32.const 2000000))"),
            LimitKind::Output,
        ),
    ]
}

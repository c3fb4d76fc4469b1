//! Lies through the canonical ABI: pointers, lengths, discriminants, an allocator that does as it likes.

use outcrop_node::udf::LimitKind;
use outcrop_wire::Code;

use super::{Case, Use};
use crate::guest::Guest;

const LOOP: &str = "(loop $forever (br $forever)) unreachable";

/// A call that gives the guest something, for which its allocator is needed.
fn allocates(realloc: &str) -> Guest {
    Guest::record("(call $record.key (i32.const 64)) (call $ok)").import(&["record.key"]).realloc(realloc)
}

fn trapped(name: &'static str, guest: Guest, says: &'static str) -> Case {
    Case::call(name, guest, Code::FunctionTrapped, says)
}

/// The allocator, and what happens once a result has been taken.
pub fn allocators() -> Vec<Case> {
    let names = || Guest::record("(call $record.bin-names (i32.const 64)) (call $ok)").import(&["record.bin-names"]);
    let call = Use::Call;
    vec![
        trapped("an allocator that gives what lies beyond memory", allocates("(i32.const -8)"), "beyond end of memory"),
        trapped("an allocator that gives the last byte", allocates("(i32.const 131071)"), "beyond end of memory"),
        trapped("an allocator that gives what isn't aligned", names().realloc("(i32.const 70001)"), "aligned"),
        trapped("an allocator that traps", allocates("unreachable"), "unreachable"),
        trapped(
            "an allocator that calls the node",
            allocates("(drop (call $context.seed)) (i32.const 70000)").import(&["context.seed"]),
            "cannot leave component instance",
        ),
        Case::limited("an allocator that loops", call, allocates(LOOP), LimitKind::Fuel).endless(),
        Case::limited(
            "an allocator that recurses",
            call,
            allocates("(call $realloc (local.get $old) (local.get $old_size) (local.get $align) (local.get $size))"),
            LimitKind::Stack,
        ),
        Case::limited(
            "an allocator that takes all memory",
            call,
            allocates("(loop $more (drop (call $alloc (i32.const 65536))) (br $more)) unreachable"),
            LimitKind::Memory,
        ),
        // Memory is the guest's own: whoever gives the same place for everything harms himself.
        Case::call("an allocator that gives the same place again", allocates("(i32.const 0)"), Code::Ok, ""),
        trapped(
            "a cleaner that traps",
            Guest::record("(call $ok)").post_return("call-record", "unreachable"),
            "unreachable",
        ),
        Case::limited(
            "a cleaner that loops",
            call,
            Guest::record("(call $ok)").post_return("call-record", "(loop $forever (br $forever))"),
            LimitKind::Fuel,
        )
        .endless(),
        trapped(
            "a cleaner that calls the node",
            Guest::record("(call $ok)")
                .import(&["context.seed"])
                .post_return("call-record", "(drop (call $context.seed))"),
            "cannot leave component instance",
        ),
    ]
}

/// What a call returns.
pub fn results() -> Vec<Case> {
    let returns = |name, body: &str, says| trapped(name, Guest::record(body), says);
    let invalid = |name, data: &str, length: u32| {
        let guest = Guest::record(&format!("(call $ok_bytes (i32.const 700) (i32.const {length}))"));
        Case::call(name, guest.item(&format!("(data (i32.const 700) \"{data}\")")), Code::FunctionResultInvalid, "")
    };
    vec![
        returns("a result of 4 GiB", "(call $ok_bytes (i32.const 0) (i32.const -1))", "out of bounds"),
        returns("a result beyond memory", "(call $ok_bytes (i32.const -8) (i32.const 8))", "out of bounds"),
        returns(
            "a result over the end of memory",
            "(call $ok_bytes (i32.const 131070) (i32.const 8))",
            "out of bounds",
        ),
        returns("a place of the result beyond memory", "(i32.const -20)", "out of bounds"),
        returns("a place of the result that isn't aligned", "(i32.const 17)", "aligned"),
        returns(
            "neither result nor failure",
            "(drop (call $ok)) (i32.store (i32.const 16) (i32.const 2)) (i32.const 16)",
            "discriminant",
        ),
        returns(
            "a failure that isn't UTF-8",
            "(i32.store (i32.const 700) (i32.const -1)) (call $failure (i32.const 700) (i32.const 4) (i32.const 512) (i32.const 1))",
            "utf-8",
        ),
        returns(
            "a failure beyond memory",
            "(call $failure (i32.const 512) (i32.const 1) (i32.const -9) (i32.const 100))",
            "out of bounds",
        ),
        Case::call(
            "a failure of 1 MB",
            Guest::record(
                "(call $failure (call $alloc (i32.const 1000000)) (i32.const 1000000) (i32.const 512) (i32.const 9))",
            ),
            Code::FunctionFailed,
            "",
        ),
        Case::limited(
            "a failure of 4 MB",
            Use::Call,
            Guest::record(
                "(call $failure (call $alloc (i32.const 4300000)) (i32.const 4300000) (i32.const 512) (i32.const 9))",
            ),
            LimitKind::Output,
        ),
        Case::limited(
            "a result of 2 MB",
            Use::Call,
            Guest::record("(call $ok_bytes (call $alloc (i32.const 2000000)) (i32.const 2000000))"),
            LimitKind::Output,
        ),
        invalid("a result that is text", "hello, world", 12),
        invalid("a result of one byte", "\\ff", 1),
        invalid(
            "a result whose pointers lead astray",
            "\\06\\00\\00\\00\\ff\\ff\\ff\\7f\\ff\\ff\\ff\\7f\\00\\00\\00\\00",
            16,
        ),
        Case::call(
            "a result that isn't JSON",
            Guest::record("(call $ok_bytes (i32.const 512) (i32.const 9))").json(),
            Code::FunctionResultInvalid,
            "JSON",
        ),
        Case::call(
            "100,000 brackets as JSON",
            Guest::record(
                "(memory.fill (call $alloc (i32.const 100000)) (i32.const 91) (i32.const 100000))
                 (call $ok_bytes (i32.const 65536) (i32.const 100000))",
            )
            .json(),
            Code::FunctionResultInvalid,
            "",
        ),
    ]
}

/// What a call hands to the node.
pub fn arguments() -> Vec<Case> {
    let asks = |name, import: &str, body: &str, says| {
        trapped(name, Guest::record(&format!("{body} (call $ok)")).import(&[import]), says)
    };
    vec![
        asks(
            "a log line beyond memory",
            "context.log",
            "(call $context.log (i32.const 0) (i32.const -9) (i32.const 100))",
            "out of bounds",
        ),
        asks(
            "a log line of 4 GiB",
            "context.log",
            "(call $context.log (i32.const 0) (i32.const 8) (i32.const -1))",
            "out of bounds",
        ),
        asks(
            "a log level that there isn't",
            "context.log",
            "(call $context.log (i32.const 9) (i32.const 512) (i32.const 1))",
            "discriminant",
        ),
        asks(
            "a log line that isn't UTF-8",
            "context.log",
            "(i32.store (i32.const 700) (i32.const -1)) (call $context.log (i32.const 1) (i32.const 700) (i32.const 4))",
            "utf-8",
        ),
        asks(
            "a time to live of no kind",
            "record.set-ttl",
            "(call $record.set-ttl (i32.const 99) (i32.const 1) (i32.const 64))",
            "discriminant",
        ),
        asks(
            "a value of no type",
            "record.bin-set",
            "(call $record.bin-set (i32.const 512) (i32.const 1) (i32.const 99) (i64.const 0) (i32.const 0) (i32.const 64))",
            "discriminant",
        ),
        asks(
            "a place for the answer beyond memory",
            "record.key",
            "(call $record.key (i32.const -8))",
            "out of bounds",
        ),
        asks("a place for the answer that isn't aligned", "record.key", "(call $record.key (i32.const 65))", "aligned"),
        asks(
            "a bin's name beyond memory",
            "record.bin-get",
            "(call $record.bin-get (i32.const 0x7ffffff0) (i32.const 0x7fffffff) (i32.const 64))",
            "out of bounds",
        ),
        asks(
            "a key of no type",
            "other.read",
            "(call $other.read (i32.const 512) (i32.const 1) (i32.const 3) (i64.const 0) (i32.const 0) (i32.const 64))",
            "discriminant",
        ),
    ]
}

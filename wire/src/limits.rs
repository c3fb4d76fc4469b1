//! Every limit of the format and the protocol, in one place; relations between them fail the build.
//!
//! A namespace's policy may lower `RECORD_BYTES_DEFAULT` or raise it up to `RECORD_BYTES_CEILING`; the rest is fixed.

/// Version byte of a stored record, of a frame's hello, and of every archive. Old versions stay readable.
pub const FORMAT_VERSION: u8 = 1;

/// Slices of the digest space; the unit of ownership, locking and migration.
pub const PARTITIONS: usize = 4_096;

/// Bytes of one segment of the flash log.
pub const SEGMENT_BYTES: usize = 8 << 20;

/// Archived bins of one record, unless the namespace says otherwise.
pub const RECORD_BYTES_DEFAULT: usize = 4 << 20;

/// Archived bins of one record, at most, whatever the namespace says: it has to fit a segment with its headers.
pub const RECORD_BYTES_CEILING: usize = 7 << 20;

/// Bytes of a namespace's name (at least 1).
pub const NAMESPACE_NAME_BYTES_MAX: usize = 31;

/// Namespaces of one node.
pub const NAMESPACES_MAX: usize = 32;

/// Bytes of a set's name (at least 1).
pub const SET_NAME_BYTES_MAX: usize = 63;

/// Sets of one namespace.
pub const SETS_MAX: usize = 4_095;

/// Bytes of a user key of type text or bytes (at least 1).
pub const KEY_BYTES_MAX: usize = 1_024;

/// Bytes of a bin's name. The empty name is the unnamed bin of `get_bytes` and `set_bytes`.
pub const BIN_NAME_BYTES_MAX: usize = 255;

/// Bins of one record.
pub const BINS_MAX: usize = 1_024;

/// Lists and maps inside one another, at most: a scalar is depth 0, a list of scalars depth 1.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Longest time to live: ten years of 365 days.
pub const TTL_SECS_MAX: u32 = 315_360_000;

/// Requests in one batch.
pub const BATCH_MAX: usize = 4_096;

/// Bytes of all replies of one batch; later items are told `ReplyTooLarge`.
pub const BATCH_REPLY_BYTES_MAX: usize = 6 << 20;

/// Operations in one `operate`.
pub const OPERATIONS_MAX: usize = 256;

/// Frame on a lane, at most (both directions).
pub const LANE_FRAME_BYTES_MAX: usize = 256 << 10;

/// A record or request larger than this travels on a stream of its own, so that it never delays a small one.
pub const LANE_VALUE_BYTES_MAX: usize = 64 << 10;

/// Frame on a stream of its own, at most.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// Requests of one lane that may be under way at once; the node stops reading the lane at this many.
pub const LANE_INFLIGHT_MAX: usize = 1_024;

/// Lanes of one connection.
pub const LANES_MAX: usize = 16;

/// Bytes of records that one scan frame gathers before it is sent (one large record may exceed it).
pub const SCAN_FRAME_BYTES: usize = 256 << 10;

/// Bytes of an error message in a reply; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

/// Bytes of a module's name (at least 1).
pub const MODULE_NAME_BYTES_MAX: usize = 63;

/// Bytes of a module's version (at least 1).
pub const MODULE_VERSION_BYTES_MAX: usize = 31;

/// Bytes of a function's name (at least 1).
pub const FUNCTION_NAME_BYTES_MAX: usize = 63;

/// Bytes of `module@version.function`.
pub const FUNCTION_PATH_BYTES_MAX: usize =
    MODULE_NAME_BYTES_MAX + MODULE_VERSION_BYTES_MAX + FUNCTION_NAME_BYTES_MAX + 2;

/// Bytes of a module's component, at most, whatever the configuration allows (a JavaScript or Python guest has 12 to 20 MB).
pub const MODULE_BYTES_CEILING: usize = 64 << 20;

/// Bytes of one part of a module's upload.
pub const MODULE_PART_BYTES_MAX: usize = 4 << 20;

/// Functions of one module.
pub const MODULE_FUNCTIONS_MAX: usize = 256;

/// Archived arguments of a function, at most; the configuration may allow less.
pub const ARGUMENTS_BYTES_MAX: usize = 7 << 20;

/// Archived result of a function, or one row, at most; the configuration may allow less.
pub const RESULT_BYTES_MAX: usize = 7 << 20;

/// Bytes of the report behind a result (logs, fuel, time).
pub const REPORT_BYTES_MAX: usize = 64 << 10;

/// Bytes of the details behind an error's message (backtrace, limit, logs).
pub const DETAILS_BYTES_MAX: usize = 64 << 10;

/// Keys of one aggregate over a list of keys.
pub const AGGREGATE_KEYS_MAX: usize = 4_096;

/// Request on a stream whose answer is streamed (scan, rows, aggregate), at most: a stranger may hold several of them.
pub const QUERY_FRAME_BYTES_MAX: usize = 1 << 20;

/// Longest deadline that a request may carry.
pub const DEADLINE_MS_MAX: u32 = 10 * 60 * 1_000;

/// Bytes of the header in front of a stored record (see [`crate::stored`]).
pub const STORED_HEADER_BYTES: usize = 64;

/// A stored record, at most: header, set, key and bins.
pub const STORED_BYTES_MAX: usize = STORED_HEADER_BYTES + SET_NAME_BYTES_MAX + KEY_BYTES_MAX + RECORD_BYTES_CEILING;

const _: () = {
    assert!(RECORD_BYTES_DEFAULT <= RECORD_BYTES_CEILING);
    // A segment spends a block on its header, and an entry has a header of its own.
    assert!(STORED_BYTES_MAX + 64 + 4_096 <= SEGMENT_BYTES, "the largest record must fit a segment");
    assert!(STORED_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "the largest record must fit a frame");
    assert!(LANE_VALUE_BYTES_MAX * 2 <= LANE_FRAME_BYTES_MAX);
    assert!(SCAN_FRAME_BYTES + STORED_BYTES_MAX <= FRAME_BYTES_MAX);
    // Replies of up to 256 bytes aren't counted against the bound.
    assert!(BATCH_REPLY_BYTES_MAX + BATCH_MAX * (256 + 4) + 4_096 <= FRAME_BYTES_MAX);
    assert!(PARTITIONS.is_power_of_two() && PARTITIONS <= 1 << 16);
    assert!(SETS_MAX < 1 << 12, "the index keeps a set in twelve bits");
    assert!(KEY_BYTES_MAX <= u16::MAX as usize);
    assert!(BIN_NAME_BYTES_MAX <= u8::MAX as usize);
    assert!(SET_NAME_BYTES_MAX <= u8::MAX as usize);
    assert!(BATCH_MAX <= u16::MAX as usize);
    assert!(FUNCTION_PATH_BYTES_MAX <= u8::MAX as usize);
    assert!(MODULE_PART_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "a part must fit a frame");
    assert!(MODULE_PART_BYTES_MAX <= MODULE_BYTES_CEILING);
    assert!(ARGUMENTS_BYTES_MAX + KEY_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "the largest arguments must fit a frame");
    assert!(ARGUMENTS_BYTES_MAX >= RECORD_BYTES_DEFAULT, "a function may be handed what a record may hold");
    assert!(RESULT_BYTES_MAX + REPORT_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "the largest result must fit a frame");
    assert!(SCAN_FRAME_BYTES + RESULT_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX, "the largest row must fit a scan's frame");
    assert!(MESSAGE_BYTES_MAX + DETAILS_BYTES_MAX + 4_096 <= LANE_FRAME_BYTES_MAX, "an error must fit a lane");
    assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize);
    assert!(AGGREGATE_KEYS_MAX <= u16::MAX as usize);
    assert!(QUERY_FRAME_BYTES_MAX >= LANE_FRAME_BYTES_MAX && QUERY_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);
    // 2^32 - 3 .. 2^32 - 1 are the special values of a TTL on the wire.
    assert!((TTL_SECS_MAX as u64) < u32::MAX as u64 - 8);
};

//! Outcome codes: stable numbers, what each means, whether to retry, and what to do. Numbers never change meaning.

/// Whether a request that got this code may be sent again as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail the same way.
    Never,
    /// It was not carried out; wait (with jitter), then send it again.
    Backoff,
    /// It may or may not have been carried out; send it again only if doing it twice is harmless.
    IfIdempotent,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal, $retry:ident, $meaning:literal, $advice:literal;)*) => {
        /// What became of a request. See the table in `docs/protocol.md`, which a test compares with this one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code of a number; `None` if this version doesn't know it.
            pub fn from_number(number: u16) -> Option<Code> {
                match number {
                    $($number => Some(Code::$name),)*
                    _ => None,
                }
            }

            /// Its stable name, as metrics, logs and the command line print it.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => $meaning,)* }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$name => $advice,)* }
            }

            /// Whether the same request may be sent again.
            pub fn retry(self) -> Retry {
                match self { $(Code::$name => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    Ok = 0, "ok", Never, "The request was carried out.", "Nothing to do.";

    MalformedFrame = 100, "malformed_frame", Never, "A frame's fields or lengths contradict each other.", "Update the client; if it is current, report a bug.";
    UnsupportedVersion = 101, "unsupported_version", Never, "The peer speaks a protocol version that this side doesn't.", "Update the older side.";
    UnknownVerb = 102, "unknown_verb", Never, "The verb's number is unknown.", "Update the node, or use verbs that it has.";
    MalformedArchive = 103, "malformed_archive", Never, "The bins or operations aren't a valid archive.", "Build records with the client SDK of this version.";
    InvalidKey = 104, "invalid_key", Never, "The key is empty, over 1,024 bytes, or its set or namespace name isn't allowed.", "Use a shorter key; hash long ones.";
    InvalidBinName = 105, "invalid_bin_name", Never, "A bin name has over 255 bytes.", "Shorten the name.";
    DuplicateName = 106, "duplicate_name", Never, "A bin or a map's key is there twice.", "Send each name once.";
    TooManyBins = 107, "too_many_bins", Never, "A record has over 1,024 bins.", "Put fields into a map bin.";
    RecordTooLarge = 108, "record_too_large", Never, "The record is over its namespace's limit.", "Split the value, or raise `record_bytes_max` of the namespace.";
    ValueTooDeep = 109, "value_too_deep", Never, "Lists and maps nest over 64 deep.", "Flatten the value.";
    InvalidTtl = 110, "invalid_ttl", Never, "The time to live is zero, negative or over ten years.", "Use 1 to 315,360,000 seconds, or `never`.";
    BatchTooLarge = 111, "batch_too_large", Never, "A batch has no requests, over 4,096, or one that can't be in a batch.", "Send smaller batches.";
    FrameTooLarge = 112, "frame_too_large", Never, "A frame is over the limit of its kind of stream.", "Send large values on streams of their own.";
    InvalidCursor = 113, "invalid_cursor", Never, "The cursor isn't of this namespace's log.", "Start the scan anew.";
    InvalidRequest = 114, "invalid_request", Never, "The request is well formed but asks for something that doesn't exist or contradicts itself.", "Read the message.";

    NamespaceUnknown = 200, "namespace_unknown", Never, "The node has no namespace of this name or number.", "Use one that `outcrop stat` lists, or add it to the configuration.";
    TooManySets = 201, "too_many_sets", Never, "The namespace has 4,095 sets already.", "Use fewer sets; put the distinction into the key.";

    NotFound = 300, "not_found", Never, "There is no such record.", "Nothing to do, or create it.";
    AlreadyExists = 301, "already_exists", Never, "The record is there already and the request was to create it.", "Read it, or write with another mode.";
    GenerationMismatch = 302, "generation_mismatch", Never, "The record's generation isn't the one the request named.", "Read the record again and decide anew.";
    TypeMismatch = 303, "type_mismatch", Never, "An operation doesn't fit its bin's type.", "Read the message: it names the step, the bin and both types.";
    OutOfRange = 304, "out_of_range", Never, "An operation's index is outside the list, or a sum overflows.", "Read the message: it names the step and the bin.";

    Overloaded = 400, "overloaded", Backoff, "A queue or buffer of the node is full; nothing was done.", "Slow down, retry with back-off; more nodes or faster flash if it lasts.";
    HotKey = 401, "hot_key", Backoff, "Too many read-modify-writes of one key are waiting; nothing was done.", "Retry with back-off; spread the key if it lasts.";
    DeadlineExceeded = 402, "deadline_exceeded", Backoff, "The deadline passed before the request began; nothing was done.", "Retry with a longer deadline.";
    Indeterminate = 403, "indeterminate", IfIdempotent, "The write may or may not have happened.", "Read the record, or retry if writing twice is harmless (`if_generation` makes it so).";
    Draining = 404, "draining", Backoff, "The node is shutting down; nothing was done.", "Reconnect; another node, or this one after its restart, will serve.";
    ReplyTooLarge = 405, "reply_too_large", Never, "The replies of a batch are over 6 MiB together; this item was left out.", "Ask for fewer records at a time.";
    TooManyStreams = 406, "too_many_streams", Backoff, "The connection has too many lanes, scans or large values under way.", "Close some, or use another connection.";

    StopWrites = 500, "stop_writes", Backoff, "The device is nearly full; reads and deletes go on.", "Delete or let expire, raise the high-water mark's eviction, or add flash.";
    DevicePoisoned = 501, "device_poisoned", Never, "A write or sync of the device failed; the namespace takes no writes until a restart. Reads go on.", "Check the device and the node's log, replace it or restart the node.";
    RecordCorrupt = 502, "record_corrupt", Never, "The record's bytes on the device are damaged.", "Write it again, or restore it from a backup; check the device.";
    DeviceError = 503, "device_error", Backoff, "The device could not be read.", "Retry; check the device and the node's log.";
    Internal = 504, "internal", IfIdempotent, "The node failed in a way that it didn't foresee.", "Report it with the node's log.";

    FunctionUnknown = 600, "function_unknown", Never, "There is no such module, version or function, or the module has no active version.", "Look at `outcrop udf list`; deploy and activate the module.";
    FunctionFailed = 601, "function_failed", Never, "The function returned a failure of its own; nothing was written.", "Read the message: it is the function's.";
    FunctionTrapped = 602, "function_trapped", Never, "The function trapped (a panic, an arithmetic error, an access out of bounds); nothing was written.", "Read the backtrace, fix the function, deploy a new version.";
    FunctionTimeLimit = 603, "function_time_limit", Never, "The function ran longer than its limit of wall time; nothing was written.", "Make it do less at a time, or raise its time limit.";
    FunctionFuelLimit = 604, "function_fuel_limit", Never, "The function took more instructions than its limit of fuel; nothing was written.", "Make it do less at a time, or raise its fuel limit.";
    FunctionMemoryLimit = 605, "function_memory_limit", Never, "The function wanted more memory than its limit; nothing was written.", "Make it hold less at a time, or raise its memory limit.";
    FunctionTableLimit = 606, "function_table_limit", Never, "The function wanted more table elements than its limit; nothing was written.", "Build it without growing tables, or raise the limit.";
    FunctionStackLimit = 607, "function_stack_limit", Never, "The function's stack overflowed; nothing was written.", "Make it recurse less deeply.";
    FunctionHostCallLimit = 608, "function_host_call_limit", Never, "The function called the host more often than its limit; nothing was written.", "Read the record at once rather than bin by bin, or raise the limit.";
    FunctionInputLimit = 609, "function_input_limit", Never, "The arguments or the record are larger than the function's limit of input.", "Send smaller arguments, or raise the limit.";
    FunctionOutputLimit = 610, "function_output_limit", Never, "The function's result, state or row is larger than its limit of output; nothing was written.", "Return less, or raise the limit.";
    FunctionConcurrencyLimit = 611, "function_concurrency_limit", Backoff, "As many calls of the module as may be are under way; nothing was done.", "Slow down, retry with back-off, or raise the limit.";
    FunctionResultInvalid = 612, "function_result_invalid", Never, "The function's result isn't a valid archive or JSON text; nothing was written.", "Build the module with the SDK of this version.";
    FunctionKindMismatch = 613, "function_kind_mismatch", Never, "The function is of another kind: record functions are called, aggregates and row functions query.", "Use the verb of its kind; `outcrop udf describe` tells it.";
    FunctionArgumentsInvalid = 614, "function_arguments_invalid", Never, "The arguments aren't a valid archive, or the function doesn't take them.", "Read the message; `outcrop udf describe` tells what it takes.";
    FunctionReadLimit = 615, "function_read_limit", Never, "The function read more other records, or more of their bytes, than its limit; nothing was written.", "Read fewer records in a call, or raise the limit.";
    FunctionPaused = 616, "function_paused", Never, "The module is paused; nothing was done.", "Resume it with `outcrop udf resume`.";
    FunctionCancelled = 617, "function_cancelled", Never, "The caller went away or the node shut down before the function had ended; nothing was written.", "Run it again if its result is still wanted.";

    ModuleUnknown = 620, "module_unknown", Never, "There is no such module or version.", "Look at `outcrop udf list`.";
    ModuleInvalid = 621, "module_invalid", Never, "The bytes aren't a component of the world `outcrop:udf/module`.", "Build the module with `outcrop udf build`.";
    ModuleImportRefused = 622, "module_import_refused", Never, "The component imports something that isn't offered; the message names it.", "Build it without WASI or other imports; `outcrop udf build` does.";
    ModuleTooLarge = 623, "module_too_large", Never, "The component, one of its functions or their number is over the limit.", "Build it for size, split it, or raise the limit.";
    ModuleCompileFailed = 624, "module_compile_failed", Never, "The component can't be compiled.", "Read the message; build it with `outcrop udf build`.";
    ModuleCompileLimit = 625, "module_compile_limit", Never, "Compiling the component took more time or memory than its limit.", "Make its functions smaller, or raise the limit.";
    ModuleDescribeFailed = 626, "module_describe_failed", Never, "The component's `describe` trapped, hit a limit, or said something that can't be.", "Read the message and the backtrace.";
    ModuleSignature = 627, "module_signature", Never, "The signature is missing, wrong, or by nobody whom the namespace trusts.", "Sign the component with a key that the namespace lists.";
    ModuleNotReady = 628, "module_not_ready", Backoff, "The module is still being compiled or loaded.", "Retry with back-off.";
    ModuleExists = 629, "module_exists", Never, "That version is there already with other content.", "Deploy it as another version: a version never changes.";
    ModulesFull = 630, "modules_full", Never, "There are as many modules, versions or bytes of them as may be.", "Remove versions that nobody uses, or raise the limit.";
    ModuleActive = 631, "module_active", Never, "The version is active, or a job runs on it, so that it can't be removed.", "Activate another version or deactivate the module first; wait for the job, or cancel it.";

    JobUnknown = 640, "job_unknown", Never, "There is no such job.", "Look at `outcrop jobs list`.";
    JobsFull = 641, "jobs_full", Backoff, "As many jobs as may be are there already; nothing was done.", "Wait for one to end, or remove jobs that have.";
    JobState = 642, "job_state", Never, "The job's state doesn't allow it (one that has ended can't be resumed, one that runs can't be removed).", "Look at its state with `outcrop jobs list`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_known() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_number(*code as u16), Some(*code));
            let earlier = &Code::ALL[..place];
            assert!(earlier.iter().all(|e| e.name() != code.name() && (*e as u16) < *code as u16));
            assert!(!code.meaning().is_empty() && !code.advice().is_empty());
        }
        assert_eq!(Code::from_number(65_535), None);
    }
}

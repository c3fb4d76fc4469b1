//! From the engine's errors to ours: which bound was reached, or which trap it was, and where.

use outcrop_wire::Code;
use outcrop_wire::limits::MESSAGE_BYTES_MAX;
use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::bindings::outcrop::udf::types::Failure;
use super::engine::BACKTRACE_FRAMES_MAX;
use super::limits::{LimitHit, LimitKind};
use super::outcome::Failed;
use super::state::CallState;

/// Bytes of one line of a backtrace.
const FRAME_BYTES_MAX: usize = 400;
/// Bytes of a guest's own code.
const FAILURE_CODE_BYTES_MAX: usize = 64;
/// What the engine says when a guest hands over more than it may in one go; it has no type of its own.
const HANDED_OVER_TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";
const STACK_HINT: &str = "; it was many calls deep: if its stack is too small, give it more (`stack-kib` under \
                          [package.metadata.outcrop] in Cargo.toml)";
/// The code by which a guest says that its arguments don't fit.
const INVALID_ARGUMENTS: &str = "invalid-arguments";

/// The failure that an error of the engine means; `handed_over_max`: what a guest may hand over in one go.
pub fn of_error(error: &wasmtime::Error, state: &CallState, handed_over_max: u64) -> Failed {
    let mut failed = classify(error, state, handed_over_max);
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        failed.details.backtrace = backtrace.frames().iter().flat_map(lines).map(cut_line).collect();
    }
    failed
}

fn classify(error: &wasmtime::Error, state: &CallState, handed_over_max: u64) -> Failed {
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return Failed::limit(*hit);
    }
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.clone();
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        let message = format!("the node has no instance to spare: {error}");
        return Failed::new(Code::FunctionConcurrencyLimit, message);
    }
    let root = error.root_cause().to_string();
    if root.contains(HANDED_OVER_TOO_MUCH) {
        // How much it would have been, the engine doesn't say: more.
        let used = handed_over_max.saturating_add(1);
        return Failed::limit(LimitHit { kind: LimitKind::Output, allowed: handed_over_max, used });
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            let allowed = state.limits.fuel;
            Failed::limit(LimitHit { kind: LimitKind::Fuel, allowed, used: allowed })
        }
        Some(Trap::StackOverflow) => {
            let allowed = state.stack_bytes;
            Failed::limit(LimitHit { kind: LimitKind::Stack, allowed, used: allowed })
        }
        trap => match state.hit() {
            // A guest that isn't given what it asked for aborts; and a memory over its bound never begins.
            Some(hit) if matches!(trap, None | Some(Trap::UnreachableCodeReached)) => Failed::limit(hit),
            _ => {
                let message = match state.last_words().filter(|_| trap == Some(&Trap::UnreachableCodeReached)) {
                    Some(words) => format!("the function {words}"),
                    None => format!("the function trapped: {root}{}", hint(trap, error)),
                };
                Failed::new(Code::FunctionTrapped, cut(message, MESSAGE_BYTES_MAX))
            }
        },
    }
}

/// What is likely behind a trap: languages keep most of their stack in the guest's memory, below everything else, and run out
/// of it there.
fn hint(trap: Option<&Trap>, error: &wasmtime::Error) -> &'static str {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(0, |backtrace| backtrace.frames().len());
    match trap {
        Some(Trap::MemoryOutOfBounds) if frames >= BACKTRACE_FRAMES_MAX => STACK_HINT,
        _ => "",
    }
}

/// The failure that a guest returned.
pub fn of_guest(failure: Failure) -> Failed {
    let code = match failure.code == INVALID_ARGUMENTS {
        true => Code::FunctionArgumentsInvalid,
        false => Code::FunctionFailed,
    };
    let mut failed = Failed::new(code, cut(failure.message, MESSAGE_BYTES_MAX));
    failed.details.failure_code = Some(cut(failure.code, FAILURE_CODE_BYTES_MAX));
    failed
}

/// A frame's lines: its function, and those inlined into it, with their places if the module knows them.
fn lines(frame: &FrameInfo) -> Vec<String> {
    let own_name = || match frame.func_name() {
        Some(name) => demangled(name),
        None => format!("function {}", frame.func_index()),
    };
    if frame.symbols().is_empty() {
        let module = frame.module().name().unwrap_or("module");
        let at = frame.module_offset().map_or(String::new(), |offset| format!(" at {module}:{offset:#x}"));
        return vec![own_name() + &at];
    }
    let symbols = frame.symbols().iter().map(|symbol| {
        let name = symbol.name().map_or_else(own_name, demangled);
        match (symbol.file(), symbol.line()) {
            (Some(file), Some(line)) => format!("{name} at {file}:{line}"),
            (Some(file), None) => format!("{name} at {file}"),
            _ => name,
        }
    });
    symbols.collect()
}

fn demangled(name: &str) -> String {
    // The short form: without the hash that tells two crates of one name apart.
    format!("{:#}", rustc_demangle::demangle(name))
}

fn cut_line(line: String) -> String {
    cut(line, FRAME_BYTES_MAX)
}

/// Cuts text to a bound, at a character.
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

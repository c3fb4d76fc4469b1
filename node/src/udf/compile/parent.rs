//! The node's side of a compilation: starts the child, feeds it, waits no longer than allowed, and says what became of it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use outcrop_wire::Code;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::message::{Order, decode_answer};
use crate::udf::options::CompileOptions;
use crate::udf::outcome::Refusal;

/// Bytes of a compiled module, at most.
const ARTIFACT_BYTES_MAX: u64 = 512 << 20;
/// Bytes kept of what a child says on standard error.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// How long, and for which part of its time at most, a compilation takes only what others leave of the processors. A
/// module of 1 MiB takes some 2 s of one.
const QUIET_MAX: Duration = Duration::from_secs(15);
const QUIET_PART: u32 = 4;
/// What Rust's allocator says when it is refused memory.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Has a component checked and compiled by a child process.
pub async fn compile(
    program: &Path,
    args: &[OsString],
    component: &[u8],
    options: &CompileOptions,
    stack_bytes: u32,
) -> Result<Vec<u8>, Refusal> {
    let quietly = QUIET_MAX.min(options.wall / QUIET_PART);
    // In the background first, so that no request waits for it. On a node whose processors are never idle that may take
    // for ever: then with a share of its own.
    for (in_background, wall) in [(true, quietly), (false, options.wall - quietly)] {
        let order =
            Order { options: options.clone(), stack_bytes, in_background, component_bytes: component.len() as u64 };
        let mut child = start(program, args)?;
        let talked = tokio::time::timeout(wall, talk(&mut child, &order, component)).await;
        match talked {
            Ok((answer, complaint, status)) => {
                return decode_answer(answer).unwrap_or_else(|| Err(died(&status, &complaint, options)));
            }
            // Dropping it kills it; waiting here makes sure that it is gone before the next one begins.
            Err(_) => drop(child.kill().await),
        }
    }
    let message = format!("compiling took longer than {} s", options.wall.as_secs());
    Err(Refusal::new(Code::ModuleCompileLimit, message))
}

fn start(program: &Path, args: &[OsString]) -> Result<Child, Refusal> {
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| {
        Refusal::new(Code::Internal, format!("the compiler's process {} can't start: {error}", program.display()))
    })
}

/// Writes and reads at the same time: a child that fails early reads no more, one that complains a lot fills its pipe.
async fn talk(child: &mut Child, order: &Order, component: &[u8]) -> (Vec<u8>, String, std::io::Result<ExitStatus>) {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // A child that is gone already says why by its end.
            let header = order.encode();
            if input.write_all(&header).await.is_ok() && input.write_all(component).await.is_ok() {
                let _ = input.shutdown().await;
            }
        }
    };
    let ((), answer, complaint) =
        tokio::join!(feed, collect(output, ARTIFACT_BYTES_MAX + 9), collect(errors, COMPLAINT_BYTES_MAX));
    let status = child.wait().await;
    (answer, String::from_utf8_lossy(&complaint).into_owned(), status)
}

/// Everything up to a bound; what is beyond is read and dropped.
async fn collect(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // An error of the pipe is the child's end, like its regular one.
        let _ = (&mut from).take(bytes_max).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    bytes
}

/// Why a child ended without an answer.
fn died(status: &std::io::Result<ExitStatus>, complaint: &str, options: &CompileOptions) -> Refusal {
    let limit = |message: String| Refusal::new(Code::ModuleCompileLimit, message);
    let signal = status.as_ref().ok().and_then(ExitStatusExt::signal);
    let is = |other: rustix::process::Signal| signal == Some(other.as_raw());
    if complaint.contains(OUT_OF_MEMORY) {
        return limit(format!("compiling took more than {} MiB of memory", options.memory_bytes_max >> 20));
    }
    // At its hard limit of processor time a process is killed.
    if is(rustix::process::Signal::XCPU) || is(rustix::process::Signal::KILL) {
        return limit(format!("compiling took more than {} s of processor time", options.cpu.as_secs()));
    }
    let how = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Refusal::new(Code::ModuleCompileFailed, format!("the compiler ended ({how}): {last}"))
}

//! The compiler's process: bounds itself, reads a component, writes its compiled form or why there is none.

use std::io::{Read, Write};
use std::process::ExitCode;

use outcrop_wire::Code;
use rustix::process::{Resource, Rlimit, Signal};
use thread_priority::ThreadPriority;
use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_native_id};

use super::message::{HEADER_BYTES, Order, encode_answer};
use crate::udf::outcome::Refusal;

/// How much less than the node the compiler matters to the scheduler when it doesn't run in the background.
const NICENESS: i32 = 10;
/// Descriptors: the three standard ones and a few for the runtime.
const DESCRIPTORS_MAX: u64 = 16;

/// The whole life of a compiler process. The program's hidden command `compile-module` calls it before anything else
/// that would make threads, open files or read configuration.
pub fn main() -> ExitCode {
    let answer = encode_answer(&work());
    let mut out = std::io::stdout().lock();
    match out.write_all(&answer).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The node is gone or has given up: there is nobody to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn work() -> Result<Vec<u8>, Refusal> {
    let internal = |message: String| Refusal::new(Code::Internal, format!("the compiler's process: {message}"));
    let mut input = std::io::stdin().lock();
    let mut header = [0; HEADER_BYTES];
    input.read_exact(&mut header).map_err(|error| internal(error.to_string()))?;
    let order = Order::decode(&header).ok_or_else(|| internal("its order is of another version".to_owned()))?;
    bound(&order).map_err(|error| internal(error.to_string()))?;
    let mut component = Vec::new();
    let read = input.take(order.options.module_bytes_max + 1).read_to_end(&mut component);
    read.map_err(|error| internal(error.to_string()))?;
    if component.len() as u64 != order.component_bytes {
        return Err(internal(format!("{} of {} bytes came", component.len(), order.component_bytes)));
    }
    super::compile(&component, &order.options, order.stack_bytes)
}

/// Sets the bounds that the kernel keeps: address space, processor time, no files, no core dump, an end with the node.
fn bound(order: &Order) -> rustix::io::Result<()> {
    let limit = |resource, value: u64| {
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = hard.map_or(value, |hard| value.min(hard));
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::As, order.options.memory_bytes_max)?;
    limit(Resource::Cpu, order.options.cpu.as_secs().max(1))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    // A kernel that doesn't let it step back still keeps the bounds.
    if !(order.in_background && step_back()) {
        let _ = rustix::process::nice(NICENESS);
    }
    Ok(())
}

/// Makes this process one that gives way at once to whoever wants the processor; whether the kernel agreed. A merely nice
/// one may keep a request waiting for a slice of milliseconds.
fn step_back() -> bool {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    thread_priority::unix::set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle).is_ok()
}

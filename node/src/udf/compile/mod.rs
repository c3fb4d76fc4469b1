//! The compile gate: one compilation at a time, off the request path, in a process of its own with bounds of its own.

pub mod check;
pub mod child;
mod message;
mod parent;
pub mod wipe;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use outcrop_wire::Code;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::engine::compiler_engine;
use super::options::CompileOptions;
use super::outcome::Refusal;
use crate::telemetry::stats::FunctionHostStats;

/// Who compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// A child process: `program args…`, whose main function ends up in [`child::main`].
    Child {
        /// The program, usually this very one.
        program: PathBuf,
        /// Its arguments, usually the hidden command `compile-module`.
        args: Vec<OsString>,
    },
    /// This process, without bounds of memory and time: for tests and tools that compile what they trust.
    InProcess,
}

/// The hidden command by which a program becomes a compiler process.
pub const COMMAND: &str = "compile-module";

impl Compiler {
    /// A child that runs the program of this process, whatever lies at its path by then.
    pub fn this_program() -> Self {
        Compiler::Child { program: "/proc/self/exe".into(), args: vec![COMMAND.into()] }
    }
}

/// What stands in front of the compiler.
pub(super) struct Gate {
    compiler: Compiler,
    options: CompileOptions,
    stack_bytes: u32,
    turn: Mutex<()>,
    waiting: AtomicUsize,
    compilations: AtomicU64,
    refused: AtomicU64,
    took_us: AtomicU64,
}

/// A place in front of the gate, given back when it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    /// A gate in front of this compiler.
    pub fn new(compiler: Compiler, options: CompileOptions, stack_bytes: u32) -> Self {
        Gate {
            compiler,
            options,
            stack_bytes,
            turn: Mutex::new(()),
            waiting: AtomicUsize::new(0),
            compilations: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
        }
    }

    /// What it did so far, and who waits.
    pub fn stats(&self) -> FunctionHostStats {
        FunctionHostStats {
            compiling: self.waiting.load(Ordering::Relaxed) as u64,
            compilations: self.compilations.load(Ordering::Relaxed),
            compilations_refused: self.refused.load(Ordering::Relaxed),
            compile_seconds: self.took_us.load(Ordering::Relaxed) as f64 / 1e6,
            ..FunctionHostStats::default()
        }
    }

    /// Checks a component and compiles it, when its turn comes.
    pub async fn compile(&self, component: Bytes) -> Result<Vec<u8>, Refusal> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before > self.options.queue_max {
            let message = format!("{} modules are waiting for the compiler already", self.options.queue_max);
            return Err(Refusal::new(Code::Overloaded, message));
        }
        let _turn = self.turn.lock().await;
        let began = Instant::now();
        let compiled = self.compile_now(component).await;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.took_us.fetch_add(took_us, Ordering::Relaxed);
        self.compilations.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(compiled.is_err().into(), Ordering::Relaxed);
        compiled
    }

    async fn compile_now(&self, component: Bytes) -> Result<Vec<u8>, Refusal> {
        match &self.compiler {
            Compiler::Child { program, args } => {
                parent::compile(program, args, &component, &self.options, self.stack_bytes).await
            }
            Compiler::InProcess => {
                let (options, stack_bytes) = (self.options.clone(), self.stack_bytes);
                let work = move || compile(&component, &options, stack_bytes);
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
                    Err(Refusal::new(Code::ModuleCompileFailed, "the compiler panicked; the log says where"))
                })
            }
        }
    }
}

/// Checks a component and compiles it, here and now.
pub fn compile(component: &[u8], options: &CompileOptions, stack_bytes: u32) -> Result<Vec<u8>, Refusal> {
    check::check(component, options)?;
    let failed = |code: Code, error: wasmtime::Error| Refusal::new(code, format!("{error:#}"));
    let engine = compiler_engine(stack_bytes).map_err(|error| failed(Code::Internal, error))?;
    // Whatever is wrong with the module itself is told of its own bytes.
    if let Some(artifact) = wipe::with_wipe(component).and_then(|wiped| engine.precompile_component(&wiped).ok()) {
        return Ok(artifact);
    }
    engine.precompile_component(component).map_err(|error| failed(Code::ModuleCompileFailed, error))
}

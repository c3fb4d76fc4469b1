//! The compile gate: one compilation at a time, off the request path, in a process of its own with bounds of its own.

pub mod check;
pub mod child;
mod message;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use outcrop_wire::Code;
use tokio::sync::Mutex;

use super::engine::compiler_engine;
use super::options::CompileOptions;
use super::outcome::Refusal;

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
        Gate { compiler, options, stack_bytes, turn: Mutex::new(()), waiting: AtomicUsize::new(0) }
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
    engine.precompile_component(component).map_err(|error| failed(Code::ModuleCompileFailed, error))
}

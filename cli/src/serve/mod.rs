//! The commands that run a node: `dev` with a certificate of its own, `node` by its configuration.

pub mod dev;
pub mod node;

use outcrop_node::Node;
use outcrop_node::config::TelemetryOptions;
use outcrop_node::node::{StartError, World};
use outcrop_node::platform::Equipment;
use outcrop_node::telemetry;
use outcrop_node::udf::registry::BuiltIn;
use outcrop_node::udf::{Compiler, compile};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure};

/// The world of a node that this program runs: it compiles functions in processes of its own, and brings its modules.
pub(crate) fn world() -> World {
    let compiler = match std::env::current_exe() {
        Ok(program) => Compiler::Child { program, args: vec![compile::COMMAND.into()] },
        Err(error) => {
            tracing::warn!(%error, "this program can't be found: functions are compiled within the node");
            Compiler::InProcess
        }
    };
    let built_in = outcrop_builtin::MODULES.iter().map(|module| BuiltIn {
        name: module.name,
        version: module.version,
        component: bytes::Bytes::from_static(module.component),
    });
    World { equipment: Equipment { compiler, built_in: built_in.collect() }, ..World::default() }
}

/// Sends this process's log lines to standard error.
fn start_log(options: &TelemetryOptions) -> Result<(), Failure> {
    telemetry::log::init(options).map_err(|error| Failure::usage(error.to_string(), "Correct the log filter."))
}

fn not_started(error: &StartError) -> Failure {
    let advice = match error {
        StartError::Listen(_) => "Another node may run already; choose another address, or stop it.",
        StartError::Tls(_) => "Check the files of [tls]: PEM, readable, the chain and its key.",
        StartError::DataDir(_) | StartError::Namespace(_) => {
            "Check the data directory: it has to be writable, have room, and belong to one node only."
        }
        StartError::Functions(_) => "Check [functions] of the configuration, and the directory modules/ of the data.",
        StartError::Telemetry(_) => "Check the URL of OTLP.",
        StartError::Worker(_) | StartError::Ended => "Read the node's log lines above.",
    };
    Failure::local(format!("the node can't start: {error}"), advice)
}

/// Signals can't be listened for.
#[derive(Debug, thiserror::Error)]
#[error("signals: {0}")]
pub struct SignalsError(std::io::Error);

impl From<SignalsError> for Failure {
    fn from(error: SignalsError) -> Failure {
        Failure::local(error.to_string(), "")
    }
}

/// What ends a node or a bench: the first signal lets it close in order, the second one ends it at once.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on SIGTERM and SIGINT end nothing by themselves.
    pub(crate) fn new() -> Result<Self, SignalsError> {
        let listen = |kind| signal(kind).map_err(SignalsError);
        Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal comes, then drains.
async fn serve(node: Node, mut signals: Signals) -> Result<Exit, Failure> {
    signals.next().await;
    eprintln!("draining; once more to stop at once");
    tokio::select! {
        closed = node.shutdown() => match closed {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::local(
                format!("the node did not close cleanly: {error}"),
                "What was acknowledged is safe; the next start may replay more of the log.",
            )),
        },
        () = signals.next() => Err(Failure::local(
            "stopped before it was drained",
            "What was acknowledged is safe; the next start replays the log.",
        )),
    }
}

//! `outcrop node`: a node by its configuration.

use std::path::PathBuf;

use clap::Args;
use outcrop_node::Node;
use outcrop_node::config::Config;
use outcrop_node::options::TlsOptions;
use outcrop_node::server::tls::Identity;
use outcrop_node::world::SystemClock;

use super::{Signals, not_started, serve, start_log};
use crate::failure::{Exit, Failure};
use crate::output::Out;

const HELP: &str = "\
Examples:
  outcrop node --config /etc/outcrop/outcrop.toml
  outcrop node --config outcrop.toml --check            is it right? prints it with every default
  OUTCROP_LISTEN__DATA=0.0.0.0:9000 outcrop node --config outcrop.toml

Environment variables override the file: OUTCROP_SECTION__KEY, for namespaces OUTCROP_NAMESPACE__NAME__KEY.
SIGTERM or ctrl-c drains: requests under way finish, the log syncs, the index is checkpointed.
Exit codes: 0 stopped as told, 2 the configuration is wrong, 8 a port, file or device can't be used.";

/// Run a node by its configuration.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct NodeArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "outcrop.toml")]
    pub config: PathBuf,
    /// Only check it, and print it with every default written out
    #[arg(long)]
    pub check: bool,
    /// Send traces to this OTLP endpoint, whatever the configuration says
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
}

/// Runs the node until it is told to stop.
pub async fn run(args: &NodeArgs) -> Result<Exit, Failure> {
    // Variables that aren't text can't be meant for us, and must not end the process.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(&args.config, env).map_err(|error| {
        let message = format!("{}: {error}", args.config.display());
        let check = format!("outcrop node --config {} --check", args.config.display());
        Failure::usage(message, format!("Correct it; `{check}` tells whether it is right."))
    })?;
    if args.otlp.is_some() {
        config.telemetry.otlp.clone_from(&args.otlp);
    }
    if args.check {
        let mut out = Out::new();
        out.bytes(config.to_toml().as_bytes())?;
        out.flush()?;
        for warning in config.warnings() {
            eprintln!("warning: {warning}");
        }
        // The file may be checked on another machine than the node's.
        if let TlsOptions::Files { .. } = &config.tls
            && let Err(error) = Identity::load(&config.tls, None, &SystemClock)
        {
            eprintln!("warning: here a node would not start: {error}");
        }
        eprintln!("{}: right", args.config.display());
        return Ok(Exit::Ok);
    }
    start_log(&config.telemetry)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let signals = Signals::new()?;
    let node = Node::start_in(config, super::world()).await.map_err(|error| not_started(&error))?;
    let admin = node.admin_addr().map_or(String::new(), |addr| format!(", metrics and health on http://{addr}"));
    eprintln!("serving on {}{admin}", node.data_addr());
    serve(node, signals).await
}

//! `outcrop bench`: a load generator worth trusting.
//!
//! `args` settle to a plan; `worker`s (threads) hold `connection`s, each of which plays a `request_loop`: what to send
//! when (`pace`), which kind (`mix`), which record (`keys`), what content (`values`, `sizes`); `encode` stands between
//! that and the wire; `tally` counts; `live` and `report` show. `embedded` is a node of its own.

mod args;
mod clock;
mod connection;
mod embedded;
mod encode;
mod keys;
mod live;
mod mix;
mod node_stats;
mod pace;
mod plan;
mod report;
mod request_loop;
mod scans;
pub(crate) mod sizes;
mod tally;
#[cfg(test)]
mod tests;
mod values;
mod worker;

use std::io::Write;
use std::sync::Arc;

use outcrop_client::{Client, ClientError, Code};
use thiserror::Error;

pub use self::args::{ArgsError, BenchArgs, OutputFormat};
use self::clock::{Clock, process_cpu_secs, unix_ms};
use self::embedded::{Embedded, EmbeddedError};
use self::encode::{MALFORMED, MISMATCH};
use self::live::Live;
use self::node_stats::{NodeStats, StatsError, node_stats};
use self::plan::{Plan, Work};
use self::report::{BenchReport, PhaseReport};
use self::request_loop::{Bounds, Tallies};
use self::worker::{AGENT, Phase, WorkerError, Workers};
use crate::failure::{Exit, Failure};
use crate::serve::{Signals, SignalsError};

/// After the end of a phase, replies are waited for this long.
const DRAIN_NS: u64 = 10_000_000_000;
/// A load that takes longer than this is given up.
const LOAD_NS_MAX: u64 = 6 * 3_600 * 1_000_000_000;
/// Between the decision to begin and the first request, so that every thread begins together.
const BEGIN_NS: u64 = 5_000_000;
/// Statistics are asked for while the node works at its limit.
const STATS_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
/// A start time is that of the first of eight requests that go together, see `connection`.
const LATENCY_ERROR_US: f64 = 1.0;

/// Why a bench has no result, or one that isn't good.
#[derive(Debug, Error)]
pub enum BenchError {
    /// Options.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The node.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The generator's threads.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The embedded node.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The node's statistics.
    #[error(transparent)]
    Stats(#[from] StatsError),
    /// Standard output.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    /// The load left records out.
    #[error("{missing} of {records} records could not be loaded: the report says why")]
    LoadIncomplete {
        /// How many aren't there.
        missing: u64,
        /// How many should be.
        records: u64,
    },
    /// The load filled the namespace.
    #[error("{missing} of {records} records could not be loaded: {message}")]
    Full {
        /// How many aren't there.
        missing: u64,
        /// How many should be.
        records: u64,
        /// What the node said.
        message: String,
    },
    /// Nothing that was measured went well.
    #[error("all {0} operations failed: the report says why")]
    AllFailed(u64),
    /// Replies held something else than was written.
    #[error("{0} replies held something else than was written")]
    Mismatch(u64),
    /// Signals can't be listened for.
    #[error(transparent)]
    Signals(#[from] SignalsError),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        let message = error.to_string();
        match error {
            BenchError::Args(_) => Failure::usage(message, "See outcrop bench --help."),
            BenchError::Client(error)
            | BenchError::Stats(StatsError::Client(error))
            | BenchError::Worker(WorkerError::Connection(connection::ConnectionError::Client(error))) => {
                Failure::from(error)
            }
            BenchError::Worker(WorkerError::Connection(connection::ConnectionError::Namespace { .. })) => {
                Failure::usage(message, "Name one of these with --namespace.")
            }
            BenchError::Output(error) => Failure::of_output("standard output", &error),
            BenchError::LoadIncomplete { .. } => Failure::partial(
                message,
                "A larger --size of the embedded node, or a device with room, takes them all.",
            ),
            BenchError::Full { .. } => {
                let advice = format!("{} An embedded node takes a larger --size.", Code::StopWrites.advice());
                Failure { exit: Exit::Partial, advice, ..Failure::of_code(Code::StopWrites, message) }
            }
            BenchError::AllFailed(_) => Failure::partial(
                message,
                "Is the set loaded? Leave out --skip-load, or give the --set, --records and --key-type that it was loaded with.",
            ),
            BenchError::Mismatch(_) => Failure::partial(
                message,
                "Load with the same --seed, --value-bytes and --bins; if you did, the data is damaged.",
            ),
            BenchError::Worker(_)
            | BenchError::Embedded(_)
            | BenchError::Stats(_)
            | BenchError::Signals(_)
            | BenchError::Interrupted => Failure::local(message, ""),
        }
    }
}

/// Runs the command.
pub async fn run(args: BenchArgs) -> Result<(), BenchError> {
    if args.serve_child {
        return Ok(embedded::serve(&args).await?);
    }
    let plan = Arc::new(args.settle()?);
    run_plan(&args, &plan, &mut Signals::new()?).await
}

/// The first signal ends what is measured, so that an embedded node closes and its files go; a second one ends the node
/// at once.
async fn run_plan(args: &BenchArgs, plan: &Arc<Plan>, signals: &mut Signals) -> Result<(), BenchError> {
    let embedded = if args.embedded { Some(unless(signals, Embedded::start(args, plan)).await?) } else { None };
    let url = match &embedded {
        Some(node) => node.url().to_owned(),
        None => embedded::with_ca(&args.url, args.ca.as_deref()),
    };
    let phases = unless(signals, measure(plan, &url, args.quiet)).await;
    let closed = match embedded {
        Some(node) => unless(signals, node.stop()).await,
        None => Ok(()),
    };
    let phases = phases?;
    print_report(args, plan, &phases)?;
    closed?;
    judge(plan, &phases)
}

/// Does something unless a signal comes first, which drops it.
async fn unless<T, E: Into<BenchError>>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BenchError> {
    tokio::select! {
        outcome = work => outcome.map_err(Into::into),
        () = signals.next() => Err(BenchError::Interrupted),
    }
}

/// Plays the plan against a node that serves at `url`.
async fn measure(plan: &Arc<Plan>, url: &str, quiet: bool) -> Result<Vec<PhaseReport>, BenchError> {
    let clock = Clock::start();
    let control = Client::builder(url).connections(1).lanes(1).deadline(STATS_DEADLINE).agent(AGENT).connect().await?;
    let workers = Workers::start(plan, url, clock).await?;
    let mut run = Run { plan: plan.clone(), clock, control, workers, quiet };
    let phases = run.phases().await;
    run.workers.stop().await;
    phases
}

/// What phases have in common.
struct Run {
    plan: Arc<Plan>,
    clock: Clock,
    control: Client,
    workers: Workers,
    quiet: bool,
}

/// CPU times and statistics at one moment.
struct Sample {
    generator_cpu_secs: f64,
    node: NodeStats,
}

impl Run {
    async fn phases(&mut self) -> Result<Vec<PhaseReport>, BenchError> {
        let mut phases = Vec::new();
        if self.plan.load {
            let begin_ns = self.clock.now_ns() + BEGIN_NS;
            let load = Phase::Load { give_up_ns: begin_ns + LOAD_NS_MAX };
            let report = self.phase("load", load, begin_ns).await?;
            let missing = report.failures() + report.generator.unsent;
            phases.push(report);
            if missing > 0 {
                return Ok(phases);
            }
        }
        let begin_ns = self.clock.now_ns() + BEGIN_NS;
        match &self.plan.work {
            Work::Nothing => {}
            Work::ScanAll(passes) => phases.push(self.phase("scan", Phase::ScanAll(*passes), begin_ns).await?),
            Work::Operations(mix) => {
                let measure_from_ns = begin_ns + self.plan.warmup.as_nanos() as u64;
                let stop_at_ns = measure_from_ns + self.plan.duration.as_nanos() as u64;
                let bounds = Bounds {
                    measure_from_ns,
                    stop_at_ns,
                    drain_until_ns: stop_at_ns + DRAIN_NS,
                    ops_max: self.plan.ops_max,
                };
                let operations = Phase::Operations { mix: mix.clone(), start_ns: begin_ns, bounds };
                phases.push(self.phase("run", operations, measure_from_ns).await?);
            }
        }
        Ok(phases)
    }

    async fn sample(&self) -> Result<Sample, StatsError> {
        let node = node_stats(&self.control).await?;
        Ok(Sample { generator_cpu_secs: process_cpu_secs(), node })
    }

    /// Plays one phase; what is measured begins at `measure_from_ns`.
    async fn phase(
        &mut self,
        name: &'static str,
        phase: Phase,
        measure_from_ns: u64,
    ) -> Result<PhaseReport, BenchError> {
        let total = matches!(phase, Phase::Load { .. }).then_some(self.plan.records);
        let mut live = Live::new(self.quiet, name, self.clock.now_ns(), total);
        let mut all = Tallies::default();
        let (clock, control) = (self.clock, self.control.clone());
        let sampling = async {
            clock.sleep_until_ns(measure_from_ns).await;
            let generator_cpu_secs = process_cpu_secs();
            node_stats(&control).await.map(|node| Sample { generator_cpu_secs, node })
        };
        let playing = self.workers.play(&phase, |slice| {
            live.slice(&slice, clock.now_ns());
            all.measured.add(&slice.measured);
            all.last_loss = slice.last_loss.or(all.last_loss.take());
            all.full = slice.full.or(all.full.take());
        });
        let (before, played) = tokio::join!(sampling, playing);
        live.finish();
        played?;
        let (before, after) = (before?, self.sample().await?);
        let tally = &all.measured;
        let elapsed_secs = tally.last_ns.saturating_sub(measure_from_ns) as f64 / 1e9;
        let node = after.node.since(&before.node, &self.plan.namespace, tally.done(), tally.records());
        let generator_cpu_secs = after.generator_cpu_secs - before.generator_cpu_secs;
        let last_loss = all.last_loss.as_deref();
        let report = PhaseReport::new(name, &self.plan, tally, elapsed_secs, generator_cpu_secs, node, last_loss);
        let stopped = total.is_some() && report.failures_of(Code::StopWrites.name()) > 0;
        Ok(PhaseReport { full: all.full.filter(|_| stopped), ..report })
    }
}

fn print_report(args: &BenchArgs, plan: &Plan, phases: &[PhaseReport]) -> Result<(), BenchError> {
    let mut stdout = std::io::stdout().lock();
    match args.output {
        OutputFormat::Table => {
            for phase in phases {
                writeln!(stdout, "{}", phase.to_text())?;
            }
        }
        OutputFormat::Json => {
            let report = BenchReport {
                version: env!("CARGO_PKG_VERSION"),
                ended_unix_ms: unix_ms(),
                command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
                plan,
                node_url: if args.embedded { "embedded" } else { &args.url },
                embedded: args.embedded,
                latency_error_us: LATENCY_ERROR_US,
                phases,
            };
            serde_json::to_writer_pretty(&mut stdout, &report).map_err(std::io::Error::from)?;
            writeln!(stdout)?;
        }
    }
    Ok(stdout.flush()?)
}

/// Whether the figures are those of a node that did what it was asked.
fn judge(plan: &Plan, phases: &[PhaseReport]) -> Result<(), BenchError> {
    let wrong: u64 = phases.iter().map(|phase| phase.failures_of(MISMATCH) + phase.failures_of(MALFORMED)).sum();
    if wrong > 0 {
        return Err(BenchError::Mismatch(wrong));
    }
    if let Some(run) = phases.iter().find(|phase| phase.is_all_failures()) {
        return Err(BenchError::AllFailed(run.failures()));
    }
    let Some(load) = phases.iter().find(|phase| phase.phase == "load") else { return Ok(()) };
    let (missing, records) = (load.failures() + load.generator.unsent, plan.records);
    match &load.full {
        _ if missing == 0 => Ok(()),
        Some(message) => Err(BenchError::Full { missing, records, message: message.clone() }),
        None => Err(BenchError::LoadIncomplete { missing, records }),
    }
}

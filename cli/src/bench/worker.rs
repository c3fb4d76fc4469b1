//! Threads of the generator: each has a runtime of its own, its share of the connections, and its own counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use outcrop_client::Client;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus as Prng;
use thiserror::Error;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::connection::{Connection, ConnectionError, Shared};
use super::keys::{Chooser, Inserts};
use super::mix::Mix;
use super::pace::{Pacer, Schedule};
use super::plan::{Pacing, Plan};
use super::request_loop::{Bounds, RequestLoop, Source, Tallies};
use super::scans::scan_all;
use super::values::Values;

/// How often a thread hands its counts over.
const SLICE_PERIOD: Duration = Duration::from_secs(1);
/// How the generator names itself to the node.
pub const AGENT: &str = concat!("outcrop-bench/", env!("CARGO_PKG_VERSION"));
/// Slices that may wait to be taken; a thread keeps counting by itself beyond that.
const REPORTS_MAX: usize = 64;

/// Why a thread can't begin.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// No thread.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// No connection.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The thread ended before its work.
    #[error("a thread of the generator ended early")]
    Ended,
}

/// A part of the run.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Puts every record.
    Load {
        /// The last moment.
        give_up_ns: u64,
    },
    /// Draws operations.
    Operations {
        /// Their kinds.
        mix: Mix,
        /// Beginning of the warm-up.
        start_ns: u64,
        /// Times and counts of one connection; `ops_max` is that of all together.
        bounds: Bounds,
    },
    /// So many full scans.
    ScanAll(u32),
}

/// What a thread says.
#[derive(Debug)]
pub enum Report {
    /// Its connections stand.
    Ready,
    /// Counts since the last slice.
    Slice(Box<Tallies>),
    /// Counts since the last slice; the phase is over.
    Done(Box<Tallies>),
    /// It can't begin.
    Failed(WorkerError),
}

/// The threads, from outside.
#[derive(Debug)]
pub struct Workers {
    phases: Vec<mpsc::Sender<Phase>>,
    reports: mpsc::Receiver<Report>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads; returns when every connection stands.
    pub async fn start(plan: &Arc<Plan>, url: &str, clock: Clock) -> Result<Workers, WorkerError> {
        let (report, reports) = mpsc::channel(REPORTS_MAX);
        let mut workers = Workers { phases: Vec::new(), reports, threads: Vec::new() };
        for number in 0..plan.threads {
            let (sender, phases) = mpsc::channel(1);
            let worker = Worker { number, plan: plan.clone(), url: url.into(), clock, phases, report: report.clone() };
            let thread = std::thread::Builder::new().name(format!("bench-{number}")).spawn(move || worker.run())?;
            workers.phases.push(sender);
            workers.threads.push(thread);
        }
        drop(report);
        for _ in 0..plan.threads {
            match workers.reports.recv().await {
                Some(Report::Ready) => {}
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Slice(_) | Report::Done(_)) | None => return Err(WorkerError::Ended),
            }
        }
        Ok(workers)
    }

    /// Plays a phase on all threads; gives each slice of counts to `slice` and returns when all are through.
    pub async fn play(&mut self, phase: &Phase, mut slice: impl FnMut(Tallies)) -> Result<(), WorkerError> {
        for sender in &self.phases {
            sender.send(phase.clone()).await.map_err(|_| WorkerError::Ended)?;
        }
        let mut left = self.phases.len();
        while left > 0 {
            match self.reports.recv().await {
                Some(Report::Slice(tallies)) => slice(*tallies),
                Some(Report::Done(tallies)) => {
                    slice(*tallies);
                    left -= 1;
                }
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Ready) => {}
                None => return Err(WorkerError::Ended),
            }
        }
        Ok(())
    }

    /// Closes the connections and waits for the threads.
    pub async fn stop(self) {
        let Workers { phases, reports, threads } = self;
        drop((phases, reports));
        // A thread that panicked has said so on standard error already; the counts show it as a phase without an end.
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let _ = joined.await;
    }
}

struct Worker {
    number: u32,
    plan: Arc<Plan>,
    url: Arc<str>,
    clock: Clock,
    phases: mpsc::Receiver<Phase>,
    report: mpsc::Sender<Report>,
}

impl Worker {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.work()),
            // The receiver waits for every thread's first report, so there is room.
            Err(error) => drop(self.report.try_send(Report::Failed(error.into()))),
        }
    }

    async fn work(mut self) {
        let tallies = Rc::new(RefCell::new(Tallies::default()));
        let report = self.report.clone();
        let outcome = self.work_through(&tallies).await;
        if let Err(error) = outcome {
            let _ = report.send(Report::Failed(error)).await;
        }
    }

    async fn work_through(&mut self, tallies: &Rc<RefCell<Tallies>>) -> Result<(), WorkerError> {
        let plan = self.plan.clone();
        let client = Client::builder(&self.url).connections(1).lanes(1).agent(AGENT).connect().await;
        let client = client.map_err(ConnectionError::from)?;
        let shared = Shared { plan: plan.clone(), client, clock: self.clock, tallies: tallies.clone() };
        let values = Values::new(plan.seed, plan.bins, plan.value_bytes.max());
        let mut connections = Vec::new();
        for place in (self.number..plan.connections).step_by(plan.threads as usize) {
            connections.push((place, Connection::open(shared.clone(), values.clone()).await?));
        }
        let _ = self.report.send(Report::Ready).await;
        while let Some(phase) = self.phases.recv().await {
            let all = connections.iter_mut().map(|(place, connection)| async {
                match &phase {
                    Phase::ScanAll(passes) => {
                        scan_all(&shared, &values, *place, *passes).await;
                        Ok(())
                    }
                    phase => connection.run(request_loop(&plan, phase, *place)).await,
                }
            });
            let all = join_all(all);
            tokio::pin!(all);
            let mut slices = tokio::time::interval(SLICE_PERIOD);
            slices.tick().await;
            let outcomes = loop {
                tokio::select! {
                    outcomes = &mut all => break outcomes,
                    _ = slices.tick() => self.hand_over(tallies),
                }
            };
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
            let last = Report::Done(Box::new(tallies.take()));
            if self.report.send(last).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the counts away if there is room, else keeps them for the next time.
    fn hand_over(&self, tallies: &RefCell<Tallies>) {
        if let Ok(place) = self.report.try_reserve() {
            place.send(Report::Slice(Box::new(tallies.take())));
        }
    }
}

/// Seeds that follow from the run's, apart for each connection and purpose.
fn seed(plan: &Plan, place: u32, purpose: u64) -> Prng {
    Prng::seed_from_u64(plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(place) << 8) ^ purpose)
}

/// Divides `total` among `count`, the first ones getting the rest.
fn share(total: u64, place: u32, count: u32) -> u64 {
    total / u64::from(count) + u64::from(u64::from(place) < total % u64::from(count))
}

/// The loop of connection `place` for a phase.
fn request_loop(plan: &Plan, phase: &Phase, place: u32) -> RequestLoop {
    let stride = plan.connections.into();
    match phase {
        Phase::Operations { mix, start_ns, bounds } => {
            let bounds = Bounds { ops_max: bounds.ops_max.map(|ops| share(ops, place, plan.connections)), ..*bounds };
            let pacer = match plan.pacing {
                Pacing::Closed => Pacer::Closed,
                Pacing::Open { rate_per_sec, arrivals, .. } => {
                    let phase = f64::from(place) / f64::from(plan.connections);
                    let rate = rate_per_sec / f64::from(plan.connections);
                    Pacer::Open(Schedule::new(*start_ns, rate, phase, arrivals, seed(plan, place, 1)))
                }
            };
            let chooser = Chooser::new(plan.distribution, plan.records, plan.theta);
            let inserts = Inserts::new(plan.records, place.into(), stride);
            let source = Source::Mixed { mix: mix.clone(), chooser, inserts };
            RequestLoop::new(bounds, pacer, source, plan.in_flight, seed(plan, place, 2))
        }
        Phase::Load { .. } | Phase::ScanAll(_) => {
            let give_up_ns = if let Phase::Load { give_up_ns } = phase { *give_up_ns } else { 0 };
            let bounds =
                Bounds { measure_from_ns: 0, stop_at_ns: give_up_ns, drain_until_ns: give_up_ns, ops_max: None };
            let source = Source::Load { next: place.into(), stride, end: plan.records };
            RequestLoop::new(bounds, Pacer::Closed, source, plan.load_in_flight, seed(plan, place, 3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (total, count) in [(10, 3), (0, 4), (7, 7), (1_000_000, 64), (3, 5)] {
            let sum: u64 = (0..count).map(|place| share(total, place, count)).sum();
            assert_eq!(sum, total);
        }
    }

    #[test]
    fn connections_draw_different_numbers_of_one_seed() {
        use rand::Rng;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: super::super::args::BenchArgs,
        }
        let plan = <Line as clap::Parser>::parse_from(["bench"]).args.settle().expect("a plan");
        let first = seed(&plan, 0, 1).next_u64();
        assert_eq!(first, seed(&plan, 0, 1).next_u64());
        assert!(first != seed(&plan, 1, 1).next_u64() && first != seed(&plan, 0, 2).next_u64());
    }
}

//! `outcrop jobs`: record functions over a whole set in the background, with progress, pause and cancel.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use outcrop_client::{Client, Job, JobSpec, JobState, Value};

use super::aggregate::parse_partitions;
use super::arguments::parse_arguments;
use crate::failure::{Exit, Failure};
use crate::keys::parse_place;
use crate::output::{Out, OutputFormat, count, grouped, object, table, utc, value_text};
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop jobs start test/products shop.discount '{\"percent\": 10}' --rate 5000 --wait
  outcrop jobs list
  outcrop jobs status 3
  outcrop jobs pause 3
  outcrop jobs resume 3
  outcrop jobs cancel 3
  outcrop jobs wait 3

A job survives a restart of the node. Each record is visited at least once: a function that a job runs should do no
harm if it runs twice on a record.";

/// Steps of a progress bar.
const BAR_STEPS: u64 = 1_000;
/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Run functions over whole sets in the background.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct JobsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: JobsCommand,
}

/// The commands about jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Start a job
    Start(StartArgs),
    /// List jobs
    List(ListArgs),
    /// Show how far a job is
    Status(IdArgs),
    /// Let a job wait
    Pause(IdArgs),
    /// Let a job go on
    Resume(IdArgs),
    /// End a job for good
    Cancel(IdArgs),
    /// Forget a job that has ended
    Remove(IdArgs),
    /// Wait until a job has ended
    Wait(IdArgs),
}

/// A job to start.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct StartArgs {
    /// NAMESPACE or NAMESPACE/SET
    #[arg(value_name = "NAMESPACE[/SET]", value_parser = parse_place)]
    pub place: (String, Option<String>),
    /// MODULE.FUNCTION or MODULE@VERSION.FUNCTION
    pub function: String,
    /// Arguments as JSON (-: from standard input)
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Records a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Records under way at once, 1 to 32 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    pub parallel: Option<u32>,
    /// Give up once the function has failed on more records than this [default: 100]
    #[arg(long, value_name = "N")]
    pub max_failures: Option<u64>,
    /// Only these partitions, such as 0-2047
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_partitions)]
    pub partitions: Option<(u16, u16)>,
    /// Wait until it has ended
    #[arg(long)]
    pub wait: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Nothing but the node.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ListArgs {
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// A job.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct IdArgs {
    /// The job's number
    pub id: u64,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

impl JobsCommand {
    fn target(&self) -> &Target {
        match self {
            JobsCommand::Start(args) => &args.target,
            JobsCommand::List(args) => &args.target,
            JobsCommand::Status(args)
            | JobsCommand::Pause(args)
            | JobsCommand::Resume(args)
            | JobsCommand::Cancel(args)
            | JobsCommand::Remove(args)
            | JobsCommand::Wait(args) => &args.target,
        }
    }

    /// How it prints.
    pub fn output(&self) -> OutputFormat {
        self.target().output
    }
}

/// Runs a command about jobs.
pub async fn run(args: &JobsArgs) -> Result<Exit, Failure> {
    let output = args.command.output();
    let client = args.command.target().connect().await?;
    let jobs = client.jobs();
    let exit = match &args.command {
        JobsCommand::Start(args) => start(args, &client).await?,
        JobsCommand::List(_) => print(&jobs.list().await?, output)?,
        JobsCommand::Status(args) => print(&[jobs.status(args.id).await?], output)?,
        JobsCommand::Pause(args) => print(&[jobs.pause(args.id).await?], output)?,
        JobsCommand::Resume(args) => print(&[jobs.resume(args.id).await?], output)?,
        JobsCommand::Cancel(args) => print(&[jobs.cancel(args.id).await?], output)?,
        JobsCommand::Wait(args) => wait(&client, args.id, output).await?,
        JobsCommand::Remove(args) => {
            jobs.remove(args.id).await?;
            Exit::Ok
        }
    };
    client.close().await;
    Ok(exit)
}

async fn start(args: &StartArgs, client: &Client) -> Result<Exit, Failure> {
    let (namespace, set) = (args.place.0.as_str(), args.place.1.as_deref().unwrap_or(""));
    let arguments = parse_arguments(args.arguments.as_deref())?;
    let mut spec = JobSpec::new(namespace, set, args.function.as_str()).arguments(&arguments)?;
    if let Some((first, last)) = args.partitions {
        spec = spec.partitions(first..=last);
    }
    if let Some(parallel) = args.parallel {
        spec = spec.parallel(parallel);
    }
    if let Some(most) = args.max_failures {
        spec = spec.failures_max(most);
    }
    let job = client.jobs().start(&spec.records_per_sec(args.rate.unwrap_or(0))).await?;
    if args.wait {
        return wait(client, job.id, args.target.output).await;
    }
    print(&[job], args.target.output)
}

/// Waits for the end, showing progress on a terminal's standard error.
async fn wait(client: &Client, id: u64, output: OutputFormat) -> Result<Exit, Failure> {
    let bar = progress_bar(output);
    loop {
        let job = client.jobs().status(id).await?;
        if let Some(bar) = &bar {
            bar.set_position((job.progress * BAR_STEPS as f64) as u64);
            bar.set_message(progress_text(&job));
        }
        if job.state.has_ended() {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            print(std::slice::from_ref(&job), output)?;
            return verdict(&job);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn progress_bar(output: OutputFormat) -> Option<ProgressBar> {
    let shows = output == OutputFormat::Table && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}").ok()?;
    shows.then(|| ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr()).with_style(style))
}

fn progress_text(job: &Job) -> String {
    let seen = grouped(job.records_seen);
    let failures = if job.failures > 0 { format!(", {} failed", grouped(job.failures)) } else { String::new() };
    let state = match (job.state, job.message.as_str()) {
        (JobState::Running, "") => String::new(),
        (JobState::Running, why) => format!(", waits: {}", value_text(&why.into())),
        (state, _) => format!(", {}", state_text(state)),
    };
    format!("job {}: {seen} records{failures}, {}/s{state}", job.id, grouped(job.rate as u64))
}

fn verdict(job: &Job) -> Result<Exit, Failure> {
    match (job.state, job.failures) {
        (JobState::Done, 0) => Ok(Exit::Ok),
        (JobState::Done, failures) => {
            let message = format!("{} of {} records failed", grouped(failures), grouped(job.records_seen));
            Err(Failure::partial(message, "The first of them say why above."))
        }
        (state, _) => {
            let why = if job.message.is_empty() { String::new() } else { format!(": {}", job.message) };
            let message = format!("job {} is {}{why}", job.id, state_text(state));
            Err(Failure::partial(message, "Its records may be changed in part."))
        }
    }
}

fn state_text(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Paused => "paused",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

fn print(jobs: &[Job], output: OutputFormat) -> Result<Exit, Failure> {
    let mut out = Out::new();
    if output == OutputFormat::Json {
        jobs.iter().try_for_each(|job| out.json(&to_json(job)))?;
        out.flush()?;
        return Ok(Exit::Ok);
    }
    if jobs.is_empty() {
        out.line("no jobs")?;
    } else {
        let mut rows = table([
            "job", "function", "over", "state", "progress", "records", "changed", "failed", "rate/s", "started",
        ]);
        for job in jobs {
            rows.add_row([
                job.id.to_string(),
                job.function.clone(),
                if job.set.is_empty() { job.namespace.clone() } else { format!("{}/{}", job.namespace, job.set) },
                state_text(job.state).to_owned(),
                format!("{:.0}%", job.progress * 100.0),
                grouped(job.records_seen),
                grouped(job.records_changed),
                grouped(job.failures),
                grouped(job.rate as u64),
                utc(job.started_ms / 1_000),
            ]);
        }
        out.table(&rows)?;
        for job in jobs {
            remarks(job).iter().try_for_each(|remark| out.line(&format!("  job {}{remark}", job.id)))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// What a table has no room for.
fn remarks(job: &Job) -> Vec<String> {
    let shown = |text: &str| value_text(&text.into());
    let mut remarks = Vec::new();
    if !job.message.is_empty() {
        let says = if job.state == JobState::Running { "waits: " } else { "" };
        remarks.push(format!(": {says}{}", shown(&job.message)));
    }
    if !job.kept && !job.state.has_ended() {
        remarks.push(" ends with the node, which has no data directory".to_owned());
    }
    remarks.extend(job.failures_first.iter().map(|failure| {
        let more = if failure.count > 1 { format!(" ({} records)", grouped(failure.count)) } else { String::new() };
        format!(", {}: {}: {}{more}", shown(&failure.key), failure.code, shown(&failure.message))
    }));
    remarks
}

fn to_json(job: &Job) -> Value {
    let failures = job.failures_first.iter().map(|failure| {
        object([
            ("key", failure.key.as_str().into()),
            ("code", failure.code.as_str().into()),
            ("message", failure.message.as_str().into()),
            ("count", count(failure.count)),
        ])
    });
    object([
        ("id", count(job.id)),
        ("namespace", job.namespace.as_str().into()),
        ("set", job.set.as_str().into()),
        ("function", job.function.as_str().into()),
        ("version", job.version.as_str().into()),
        ("state", state_text(job.state).into()),
        ("message", job.message.as_str().into()),
        ("progress", job.progress.into()),
        ("rate", job.rate.into()),
        ("records_per_sec", i64::from(job.records_per_sec).into()),
        ("parallel", i64::from(job.parallel).into()),
        ("failures_max", count(job.failures_max)),
        ("kept", job.kept.into()),
        ("records_seen", count(job.records_seen)),
        ("records_changed", count(job.records_changed)),
        ("failures", count(job.failures)),
        ("failures_first", Value::List(failures.collect())),
        ("started_ms", count(job.started_ms)),
        ("updated_ms", count(job.updated_ms)),
        ("ended_ms", count(job.ended_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_did_not_do_all_is_no_success() {
        let job = |state, failures| {
            let mut job = Job::default();
            (job.state, job.failures, job.records_seen) = (state, failures, 10);
            verdict(&job).map_err(|failure| failure.exit)
        };
        assert_eq!(job(JobState::Done, 0), Ok(Exit::Ok));
        assert_eq!(job(JobState::Done, 1), Err(Exit::Partial));
        assert_eq!(job(JobState::Cancelled, 0), Err(Exit::Partial));
    }
}

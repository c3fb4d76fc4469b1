//! `outcrop udf dev`: build, test and deploy again whenever a file is saved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::build::{ProjectArgs, build};
use super::deploy::{Module, upload_and_activate};
use super::test::{print, read_cases, run_cases, verdict};
use super::watch::Snapshot;
use crate::failure::{Exit, Failure};
use crate::output::OutputFormat;
use crate::serve::Signals;
use crate::target::Target;

const HELP: &str = "\
Examples:
  outcrop udf dev                              the project of this directory, to the node of `outcrop dev`
  outcrop udf dev shop --no-deploy             build and test only
  outcrop udf dev --once                       one round, then end

Each round deploys a version of its own, such as 0.1.0+3fa9c1d2, made of the package's version and the content, so that
`outcrop udf rollback` goes back a round.";

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Files rest for so long before a round begins: editors save in steps.
const REST: Duration = Duration::from_millis(150);
/// Hexadecimal digits of the content's hash in a version.
const HASH_DIGITS: usize = 8;

/// Work on a module.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DevArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Watch this, too (the SDK's sources, another crate)
    #[arg(long, value_name = "PATH")]
    pub also: Vec<PathBuf>,
    /// Don't run the cases
    #[arg(long)]
    pub no_test: bool,
    /// Don't deploy
    #[arg(long)]
    pub no_deploy: bool,
    /// One round, then end
    #[arg(long)]
    pub once: bool,
    /// The node.
    #[command(flatten)]
    pub target: Target,
}

/// Goes round until it is told to stop.
pub async fn run(args: &DevArgs) -> Result<Exit, Failure> {
    let places: Vec<PathBuf> = std::iter::once(args.project.project.clone()).chain(args.also.clone()).collect();
    if args.once {
        return round(args).await.map(|()| Exit::Ok);
    }
    let mut signals = Signals::new()?;
    loop {
        let seen = Snapshot::take(&places);
        if let Err(failure) = round(args).await {
            failure.print(args.target.output);
        }
        eprintln!("watching {}; ctrl-c ends it", args.project.project.display());
        let changed = tokio::select! {
            changed = next_change(&places, &seen) => changed,
            () = signals.next() => return Ok(Exit::Ok),
        };
        eprintln!("\n{} changed", changed.display());
    }
}

/// Waits until something differs from `seen` and has come to rest.
async fn next_change(places: &[PathBuf], seen: &Snapshot) -> PathBuf {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Snapshot::take(places);
        let Some(changed) = now.difference(seen) else { continue };
        let mut last = now;
        loop {
            tokio::time::sleep(REST).await;
            let again = Snapshot::take(places);
            if again == last {
                return changed;
            }
            last = again;
        }
    }
}

/// Builds, tests, deploys; the first that fails ends the round.
async fn round(args: &DevArgs) -> Result<(), Failure> {
    let begin = Instant::now();
    let built = build(&args.project).await?;
    let hash = blake3::hash(&built.component).to_hex();
    let version = format!("{}+{}", built.version, &hash.as_str()[..HASH_DIGITS]);
    let module = Module { name: built.package, version, component: built.component };
    if !args.no_test {
        test(args, &module).await?;
    }
    if !args.no_deploy {
        let client = args.target.connect().await?;
        upload_and_activate(&client, &module).await?;
        client.close().await;
    }
    if args.target.output == OutputFormat::Table {
        let done = if args.no_deploy { "built" } else { "deployed" };
        println!("{done} {}@{} in {:.1} s", module.name, module.version, begin.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn test(args: &DevArgs, module: &Module) -> Result<(), Failure> {
    let cases = read_cases(Path::new(&args.project.project), &[], None)?;
    if cases.is_empty() {
        return Ok(());
    }
    let outcomes = run_cases(&module.name, &module.version, &module.component, &cases).await?;
    let wrong = outcomes.iter().any(|outcome| !outcome.wrong.is_empty());
    if wrong {
        print(&outcomes, args.target.output)?;
    } else {
        println!("{} cases are right", outcomes.len());
    }
    verdict(&outcomes).map(drop)
}

//! Everything that must pass, in one command.

use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::process::{self, RunError};
use crate::report::{Ended, Report};
use crate::{verify, workspace};

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(45 * 60);
const NIGHTLY_LIMIT: Duration = Duration::from_secs(8 * 3_600);

/// The sizes of a night; what each means is told in `docs/testing.md`.
const NIGHTLY_SIZES: [(&str, &str); 7] = [
    ("OUTCROP_CRASH_IMAGES", "10000"),
    ("OUTCROP_MODEL_CASES", "10000"),
    ("OUTCROP_SCAN_CASES", "2000"),
    ("OUTCROP_KILL_ROUNDS", "100"),
    ("OUTCROP_HOSTILE_CONNECTIONS", "10000"),
    ("OUTCROP_FUZZ_ROUNDS", "500000"),
    ("PROPTEST_CASES", "5000"),
];

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// As much as fits into a night: 10,000 crash images, 100 rounds of kill -9, 10,000 hostile connections.
    #[arg(long)]
    nightly_size: bool,
}

/// Builds everything once, then runs every test; whether none failed.
pub fn run(options: &Options) -> Result<bool, String> {
    let mut report = Report::default();
    let built = report.step("build: libraries, the outcrop binary, tests", || {
        cargo(&["build", "--workspace", "--locked", "--lib", "--bins", "--tests"], options, BUILD_LIMIT)
    });
    if built {
        let limit = if options.nightly_size { NIGHTLY_LIMIT } else { TEST_LIMIT };
        report.step("tests: unit, property, crash images, real processes, documentation", || {
            cargo(&["test", "--workspace", "--locked", "--no-fail-fast"], options, limit)
        });
    }
    report.step("wire builds for wasm32", verify::wasm32);
    Ok(report.summary("test"))
}

fn cargo(arguments: &[&str], options: &Options, limit: Duration) -> Result<Ended, RunError> {
    let mut command = Command::new(workspace::cargo());
    // The tests of real processes start this binary; it was built by the step before, so it is the one under test.
    command.args(arguments).env("OUTCROP_BIN", workspace::target_dir().join("debug/outcrop"));
    if options.nightly_size {
        command.envs(NIGHTLY_SIZES);
    }
    println!("$ {}", process::describe(&command));
    process::run(&mut command, limit).map(|()| Ended::Passed)
}

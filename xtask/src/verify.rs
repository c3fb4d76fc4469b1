//! The gate: everything that is checked without running the product. It never changes a file.

use std::process::Command;
use std::time::Duration;

use crate::process::{self, RunError};
use crate::report::{Ended, Report};
use crate::{audit, tidy, workspace};

/// A build from nothing on two slow cores takes a quarter of this.
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
const SHORT_LIMIT: Duration = Duration::from_secs(5 * 60);
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Runs every check; whether none failed.
pub fn run() -> Result<bool, String> {
    let mut report = Report::default();
    report.step("format", || cargo(&["fmt", "--all", "--", "--check"], SHORT_LIMIT));
    report.step("tidy", || match tidy::run(&tidy::Options::default()) {
        Ok(true) => Ok(Ended::Passed),
        Ok(false) => Err("see the findings above".to_owned()),
        Err(error) => Err(error),
    });
    report.step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], BUILD_LIMIT)
    });
    report.step("documentation", || {
        let mut command = Command::new(workspace::cargo());
        command.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
        process::run(&mut command, BUILD_LIMIT).map(|()| Ended::Passed)
    });
    report.step("wire builds for wasm32", wasm32);
    report.step("dependencies: licences, sources, bans", audit::check_policy);
    report.step("dependencies: advisories", audit::check_advisories);
    report.step("fuzz targets compile", fuzz_targets);
    Ok(report.summary("verify"))
}

fn cargo(arguments: &[&str], limit: Duration) -> Result<Ended, RunError> {
    let mut command = Command::new(workspace::cargo());
    command.args(arguments);
    println!("$ {}", process::describe(&command));
    process::run(&mut command, limit).map(|()| Ended::Passed)
}

/// The guest SDK reads the same archived records as the node, so `wire` must build for a guest.
pub fn wasm32() -> Result<Ended, RunError> {
    let installed = process::output(Command::new("rustup").args(["target", "list", "--installed"]), SHORT_LIMIT);
    if installed.is_ok_and(|list| !list.lines().any(|target| target == WASM_TARGET)) {
        let add = || process::run(Command::new("rustup").args(["target", "add", WASM_TARGET]), SHORT_LIMIT);
        // The network may fail once; a second failure is told.
        add().or_else(|_| add())?;
    }
    cargo(&["check", "--package", "outcrop-wire", "--target", WASM_TARGET, "--locked"], BUILD_LIMIT)
}

/// They need a nightly compiler, which not every machine has; their stable twins run with the tests everywhere.
fn fuzz_targets() -> Result<Ended, RunError> {
    let nightly = process::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]), SHORT_LIMIT);
    if !nightly {
        return Ok(Ended::Skipped("no nightly compiler here; their twins in cluster-tests run on stable".into()));
    }
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
    // The task's own cargo must not choose the toolchain of the other one.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    process::run(&mut command, BUILD_LIMIT).map(|()| Ended::Passed)
}

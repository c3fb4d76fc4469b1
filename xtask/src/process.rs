//! Running other programs: with their output let through or gathered, without an input, and never for ever.

use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use thiserror::Error;

/// Why a program didn't do its work.
#[derive(Debug, Error)]
pub enum RunError {
    /// It isn't there or can't be started.
    #[error("`{program}` could not be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It ended with an error.
    #[error("`{program}` ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took longer than it may.
    #[error("`{program}` was still running after {secs} s and was killed")]
    TimedOut {
        /// The program.
        program: String,
        /// How long it had, in seconds.
        secs: u64,
    },
}

/// Runs a command with its output let through; it gets no input, and is killed with its children after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<(), RunError> {
    let program = describe(command);
    let mut child = start(command.stdin(Stdio::null()), &program)?;
    wait(&mut child, &program, limit)
}

/// Runs a command and gives what it wrote to its standard output; its errors are let through.
pub fn output(command: &mut Command, limit: Duration) -> Result<String, RunError> {
    let program = describe(command);
    let mut child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()), &program)?;
    let mut pipe = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks ends what there is to read; the exit status tells whether that was an error.
        let _ = pipe.as_mut().map(|pipe| pipe.read_to_end(&mut bytes));
        bytes
    });
    let outcome = wait(&mut child, &program, limit);
    let bytes = reader.join().unwrap_or_default();
    outcome.map(|()| String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a command can be run and succeeds, quietly.
pub fn succeeds(command: &mut Command, limit: Duration) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    run(command, limit).is_ok()
}

/// Sends a signal to one child.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        // The child may have ended by itself, which is as good.
        let _ = kill_process(pid, signal);
    }
}

/// Waits for a child at most `limit`; `None` if it still runs then.
pub fn wait_at_most(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// In a group of its own, so that it can be killed with its children; but at a terminal Ctrl-C has to reach it.
fn start(command: &mut Command, program: &str) -> Result<Child, RunError> {
    if !at_terminal() {
        command.process_group(0);
    }
    command.spawn().map_err(|error| RunError::Start { program: program.to_owned(), error })
}

fn at_terminal() -> bool {
    std::io::stdin().is_terminal()
}

fn wait(child: &mut Child, program: &str, limit: Duration) -> Result<(), RunError> {
    let ended = wait_at_most(child, limit).map_err(|error| RunError::Start { program: program.to_owned(), error })?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(RunError::Failed { program: program.to_owned(), status }),
        None => {
            if let Some(pid) = pid(child).filter(|_| !at_terminal()) {
                // It may have ended meanwhile, which is as good.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
            Err(RunError::TimedOut { program: program.to_owned(), secs: limit.as_secs() })
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The program and its arguments in one line, as a person would type it.
pub fn describe(command: &Command) -> String {
    let mut text = std::path::Path::new(command.get_program())
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_named() {
        let error = run(Command::new("sleep").arg("600"), Duration::from_millis(50)).expect_err("it hangs");
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("sleep 600"), "{error}");
    }

    #[test]
    fn output_is_gathered_and_failure_is_told() {
        let minute = Duration::from_secs(60);
        assert_eq!(output(Command::new("echo").arg("a b"), minute).expect("echo"), "a b\n");
        assert!(matches!(run(&mut Command::new("false"), minute), Err(RunError::Failed { .. })));
        assert!(matches!(run(&mut Command::new("no-such-program-here"), minute), Err(RunError::Start { .. })));
    }
}

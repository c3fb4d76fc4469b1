//! Child processes with a bound on their time.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::BuildError;

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);
/// Output of a child that is kept.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// What a program said before it ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output.
    pub output: String,
}

/// Runs a program to its end, its standard output kept, its standard error let through; stopped after `bound`.
pub fn run(command: &mut Command, bound: Duration) -> Result<Ended, BuildError> {
    let program = name_of(command);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| BuildError::Program { program: program.clone(), source })?;
    let Some(pipe) = child.stdout.take() else {
        return Err(BuildError::Program { program, source: std::io::ErrorKind::BrokenPipe.into() });
    };
    // A full pipe would stop the child, so somebody has to read while this thread waits.
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut output);
        read.map(|_| String::from_utf8_lossy(&output).into_owned()).unwrap_or_default()
    });
    let status = wait(&mut child, bound).map_err(|source| BuildError::Program { program: program.clone(), source })?;
    let Some(status) = status else {
        return Err(BuildError::Timeout { program, secs: bound.as_secs() });
    };
    Ok(Ended { success: status.success(), output: reader.join().unwrap_or_default() })
}

/// Waits for a child; ends it and gives none after `bound`.
fn wait(child: &mut Child, bound: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= bound {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn name_of(command: &Command) -> String {
    let arguments = command.get_args().take(3).map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_stopped_and_said_so() {
        let hangs = run(Command::new("sleep").arg("600"), Duration::from_millis(50));
        assert!(matches!(hangs, Err(BuildError::Timeout { .. })), "{hangs:?}");
    }

    #[test]
    fn output_and_failure_are_told() {
        let said = run(Command::new("sh").args(["-c", "echo here; exit 3"]), Duration::from_secs(60)).unwrap();
        assert_eq!((said.success, said.output.as_str()), (false, "here\n"));
        let missing = run(&mut Command::new("no-such-program-at-all"), Duration::from_secs(1));
        assert!(matches!(missing, Err(BuildError::Program { .. })));
    }
}

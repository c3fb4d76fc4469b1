//! Steps and their summary: what ran, how it ended, how long it took; what could not run is said as loudly as what failed.

use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what it should.
    Passed,
    /// It could not run here; why.
    Skipped(String),
}

/// The steps of one task.
#[derive(Default)]
pub struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    ended: Result<Ended, String>,
    took: Duration,
}

impl Report {
    /// Runs one step under its heading; a failure is kept for the summary, and the next steps run all the same.
    pub fn step<E: std::fmt::Display>(&mut self, name: &str, work: impl FnOnce() -> Result<Ended, E>) -> bool {
        println!("\n==> {name}");
        let started = Instant::now();
        let ended = work().map_err(|error| error.to_string());
        let step = Step { name: name.to_owned(), ended, took: started.elapsed() };
        println!("{}", step.line());
        let passed = step.ended.is_ok();
        self.steps.push(step);
        passed
    }

    /// Prints every step's line; whether none failed.
    pub fn summary(&self, task: &str) -> bool {
        let failed = self.steps.iter().filter(|step| step.ended.is_err()).count();
        let skipped = self.steps.iter().filter(|step| matches!(step.ended, Ok(Ended::Skipped(_)))).count();
        println!("\n==> Summary of {task}");
        self.steps.iter().for_each(|step| println!("{}", step.line()));
        let passed = self.steps.len() - failed - skipped;
        println!("{task}: {passed} passed, {failed} failed, {skipped} could not run here");
        failed == 0
    }
}

impl Step {
    fn line(&self) -> String {
        let secs = self.took.as_secs_f64();
        match &self.ended {
            Ok(Ended::Passed) => format!("    passed   {} ({secs:.1} s)", self.name),
            Ok(Ended::Skipped(why)) => format!("    SKIPPED  {}: {why}", self.name),
            Err(error) => format!("    FAILED   {} ({secs:.1} s): {error}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_task_and_a_skipped_one_does_not() {
        let mut report = Report::default();
        assert!(report.step("good", || Ok::<_, String>(Ended::Passed)));
        assert!(report.step("not here", || Ok::<_, String>(Ended::Skipped("no network".into()))));
        assert!(report.summary("task"));
        assert!(!report.step("bad", || Err("broken".to_owned())));
        assert!(!report.summary("task"));
        assert!(report.steps[2].line().contains("broken"));
        assert!(report.steps[1].line().contains("no network"));
    }
}

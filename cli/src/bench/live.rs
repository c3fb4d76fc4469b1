//! The live line: once a second on standard error, what happened since the last one.

use std::io::{IsTerminal, Write};

use super::request_loop::Tallies;
use super::tally::Tally;

/// Prints a line a second; in place on a terminal, else one below the other.
#[derive(Debug)]
pub struct Live {
    quiet: bool,
    in_place: bool,
    phase: &'static str,
    began_ns: u64,
    last_ns: u64,
    /// What came since the last line, warm-up included.
    gathered: Tally,
    /// Records of the load so far, and in all.
    progress: Option<(u64, u64)>,
    shown: bool,
}

/// Lines come no closer than this; a thread's slices come a second apart, those of several threads not at once.
const LINE_NS_MIN: u64 = 950_000_000;

impl Live {
    /// For a phase of this name that begins now; `total` records if their number is known beforehand.
    pub fn new(quiet: bool, phase: &'static str, now_ns: u64, total: Option<u64>) -> Self {
        Live {
            quiet,
            in_place: std::io::stderr().is_terminal(),
            phase,
            began_ns: now_ns,
            last_ns: now_ns,
            gathered: Tally::default(),
            progress: total.map(|total| (0, total)),
            shown: false,
        }
    }

    /// Takes a slice in, and prints a line if it is time.
    pub fn slice(&mut self, tallies: &Tallies, now_ns: u64) {
        if self.quiet {
            return;
        }
        self.gathered.add(&tallies.warmup);
        self.gathered.add(&tallies.measured);
        if let Some((done, _)) = &mut self.progress {
            *done += tallies.measured.done();
        }
        if now_ns.saturating_sub(self.last_ns) >= LINE_NS_MIN {
            let line = self.line(now_ns);
            self.print(&line);
            self.gathered = Tally::default();
            self.last_ns = now_ns;
        }
    }

    fn line(&self, now_ns: u64) -> String {
        let secs = now_ns.saturating_sub(self.last_ns).max(1) as f64 / 1e9;
        let all = self.gathered.all_latencies_ns();
        let us = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
        let per_sec = |count: u64| (count as f64 / secs) as u64;
        let (done, records) = (self.gathered.done(), self.gathered.records());
        let mut line = format!("{} {:>4}s", self.phase, now_ns.saturating_sub(self.began_ns) / 1_000_000_000);
        if records != done {
            line += &format!("  {:>9} records/s", grouped(per_sec(records)));
        }
        line += &format!("  {:>9} ops/s", grouped(per_sec(done)));
        if !all.is_empty() {
            line += &format!("  p50 {:>7.0} us  p99 {:>7.0} us", us(0.5), us(0.99));
        }
        line += &format!("  errors {}", grouped(self.gathered.failures()));
        if let Some((done, total)) = self.progress {
            line += &format!("  {:>3.0}%", 100.0 * done as f64 / total.max(1) as f64);
        }
        line
    }

    fn print(&mut self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody may be reading; the measurement goes on.
        let _ = if self.in_place { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
        self.shown = true;
    }

    /// Leaves the line on a terminal as it stands and begins a new one.
    pub fn finish(self) {
        if self.in_place && self.shown {
            eprintln!();
        }
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::mix::Kind;
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let numbers = [0, 7, 999, 1_000, 123_456, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_line_says_rate_percentiles_errors_and_progress() {
        let mut live = Live::new(true, "load", 0, Some(4_000));
        for _ in 0..1_000 {
            live.gathered.kind(Kind::Insert).done(250_000, 1, 10);
        }
        live.gathered.kind(Kind::Insert).failed("overloaded", 3);
        live.progress = Some((1_000, 4_000));
        let line = live.line(500_000_000);
        assert!(line.contains("2,000 ops/s") && line.contains("errors 3") && line.contains(" 25%"), "{line}");
        assert!(line.contains("p50     250 us") && !line.contains("records/s"), "{line}");
    }
}

//! How far a long command is: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::output::{bytes_text, grouped};

/// Between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between redraws of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Progress of records and bytes.
pub struct Progress {
    began: Instant,
    shown: Instant,
    bytes_total: Option<u64>,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// Begins; `bytes_total`: the size of the file, if it is known.
    pub fn new(bytes_total: Option<u64>, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| bar(bytes_total));
        Progress { began: Instant::now(), shown: Instant::now(), bytes_total, bar, quiet }
    }

    /// Says how far it is; shows it only as often as someone can read.
    pub fn update(&mut self, bytes: u64, records: u64, bad: u64) {
        let every = if self.bar.is_some() { DRAW_EVERY } else { LINE_EVERY };
        if self.quiet || self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (rate, bad) = (self.rate(records), if bad > 0 { format!(", {} bad", grouped(bad)) } else { String::new() });
        match &self.bar {
            Some(bar) => {
                bar.set_position(bytes);
                bar.set_message(format!("{} records{bad}, {}/s", grouped(records), grouped(rate)));
                bar.tick();
            }
            None => {
                let of = self.bytes_total.map_or_else(String::new, |total| format!(" of {}", bytes_text(total)));
                eprintln!("{}{of}, {} records{bad}, {}/s", bytes_text(bytes), grouped(records), grouped(rate));
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records a second since the beginning.
    pub fn rate(&self, records: u64) -> u64 {
        let secs = self.elapsed().as_secs_f64();
        if secs > 0.0 { (records as f64 / secs) as u64 } else { records }
    }
}

fn bar(bytes_total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    match bytes_total {
        Some(total) => {
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  eta {eta}");
            ProgressBar::with_draw_target(Some(total), target)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        }
        None => {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::with_draw_target(None, target)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        }
    }
}

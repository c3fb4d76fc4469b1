//! The latest log lines of a module's guests, for whoever asks.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::udf::outcome::{LogLevel, LogLine};

/// Lines that are kept, and bytes of them.
const LINES_MAX: usize = 1_000;
const BYTES_MAX: usize = 256 << 10;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number; the next line has the next one, so that a reader sees what he missed.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The version that said it.
    pub version: Arc<str>,
    /// The function that was called.
    pub function: Arc<str>,
    /// Where it belongs.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<LogEntry>,
    bytes: usize,
    next: u64,
}

/// The latest lines, oldest first.
#[derive(Debug, Default)]
pub struct LogRing(Mutex<Lines>);

impl LogRing {
    /// Adds lines of one call; the oldest give way.
    pub fn push(&self, at_ms: u64, version: &Arc<str>, function: &Arc<str>, lines: &[LogLine]) {
        if lines.is_empty() {
            return;
        }
        let mut kept = self.0.lock();
        for line in lines {
            let (version, function, message) = (version.clone(), function.clone(), line.message.clone());
            kept.bytes += message.len();
            let sequence = kept.next;
            kept.next += 1;
            kept.lines.push_back(LogEntry { sequence, at_ms, version, function, level: line.level, message });
            while kept.lines.len() > LINES_MAX || kept.bytes > BYTES_MAX {
                let Some(oldest) = kept.lines.pop_front() else { break };
                kept.bytes -= oldest.message.len();
            }
        }
    }

    /// Lines from number `from` on, at most `limit` of them; without `from` the latest.
    pub fn lines(&self, from: Option<u64>, limit: usize) -> Vec<LogEntry> {
        let kept = self.0.lock();
        let skip = match from {
            Some(from) => kept.lines.partition_point(|line| line.sequence < from),
            None => kept.lines.len().saturating_sub(limit),
        };
        kept.lines.iter().skip(skip).take(limit).cloned().collect()
    }
}

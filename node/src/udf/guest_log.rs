//! Log lines of functions in the node's own log: so many a second of one node, however many calls there are.
//!
//! A call's own bounds don't bound all calls together: thousands a second with a few lines each would fill the disk of
//! whoever keeps the log. What is left out here is still told to the caller, the span and the module's own log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Level, enabled};

use super::outcome::LogLevel;

/// Lines at once.
const BURST: u32 = 1_000;
/// One more line each: a hundred a second.
const PERIOD: Duration = Duration::from_millis(10);
/// What was left out is said this often at most.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Whose line it is.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The module.
    pub module: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The function.
    pub function: &'a str,
}

/// A bucket of lines, and what didn't fit it.
#[derive(Debug)]
pub struct GuestLog {
    bucket: Mutex<Bucket>,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct Bucket {
    lines: u32,
    /// Up to when lines have been added; none before the first line.
    filled: Option<Instant>,
    /// Left out and not yet said.
    unsaid: u64,
    /// When that was said last.
    said: Option<Instant>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    write: bool,
    /// So many lines were left out since this was said last; say it now.
    say: Option<u64>,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let filled = *self.filled.get_or_insert(now);
        let periods = now.saturating_duration_since(filled).as_nanos() / PERIOD.as_nanos();
        let missing = BURST - self.lines;
        match u32::try_from(periods) {
            Ok(periods) if periods < missing => {
                self.lines += periods;
                self.filled = Some(filled + PERIOD * periods);
            }
            _ => {
                self.lines = BURST;
                self.filled = Some(filled.max(now));
            }
        }
    }

    fn ask(&mut self, now: Instant) -> Verdict {
        self.fill(now);
        let write = self.lines > 0;
        if write {
            self.lines -= 1;
        } else {
            self.unsaid += 1;
        }
        let due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        let say = (due && self.unsaid > 0).then(|| {
            self.said = Some(now);
            std::mem::take(&mut self.unsaid)
        });
        Verdict { write, say }
    }
}

impl Default for GuestLog {
    fn default() -> Self {
        let bucket = Bucket { lines: BURST, filled: None, unsaid: 0, said: None };
        GuestLog { bucket: Mutex::new(bucket), left_out: AtomicU64::new(0) }
    }
}

impl GuestLog {
    /// Writes a line to the log if its filter takes it and there is room.
    pub fn write(&self, now: Instant, level: LogLevel, author: Author<'_>, message: &str) {
        // A line that the filter doesn't take uses up nothing.
        let wanted = match level {
            LogLevel::Debug => enabled!(target: "udf", Level::DEBUG),
            LogLevel::Info => enabled!(target: "udf", Level::INFO),
            LogLevel::Warn => enabled!(target: "udf", Level::WARN),
            LogLevel::Error => enabled!(target: "udf", Level::ERROR),
        };
        if !wanted {
            return;
        }
        let Verdict { write, say } = self.bucket.lock().ask(now);
        if let Some(lines) = say {
            tracing::warn!(lines, "functions log too much: so many of their lines were left out of this log");
        }
        if !write {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Author { module, version, function } = author;
        match level {
            LogLevel::Debug => tracing::debug!(target: "udf", module, version, function, "{message}"),
            LogLevel::Info => tracing::info!(target: "udf", module, version, function, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "udf", module, version, function, "{message}"),
            LogLevel::Error => tracing::error!(target: "udf", module, version, function, "{message}"),
        }
    }

    /// Lines left out since the node started.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::subscriber::with_default;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What a process would have on its standard error.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        /// What `work` leaves in a log that takes lines from `info` on.
        fn during(work: impl FnOnce()) -> String {
            let written = Written::default();
            let writer = written.clone();
            let lines = tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false);
            with_default(lines.with_writer(move || writer.clone()).finish(), work);
            let bytes = written.0.lock().clone();
            String::from_utf8(bytes).expect("lines are text")
        }
    }

    fn log(log: &GuestLog, now: Instant, level: LogLevel, count: u32) {
        let author = Author { module: "shop", version: "1.2", function: "run" };
        (0..count).for_each(|_| log.write(now, level, author, "hello"));
    }

    fn lines_with(text: &str, word: &str) -> usize {
        text.lines().filter(|line| line.contains(word)).count()
    }

    #[test]
    fn beyond_a_burst_so_many_lines_a_second_are_written_and_the_rest_is_said_once() {
        let (guests, start) = (GuestLog::default(), Instant::now());
        let text = Written::during(|| log(&guests, start, LogLevel::Info, BURST + 500));
        assert_eq!((lines_with(&text, "hello"), lines_with(&text, "left out")), (BURST as usize, 1));
        assert_eq!(guests.left_out(), 500);
        assert!(text.contains("shop") && text.contains("1.2") && text.contains("run"), "{text}");
        let text = Written::during(|| log(&guests, start + SECOND, LogLevel::Error, 300));
        assert_eq!((lines_with(&text, "hello"), lines_with(&text, "left out")), (100, 0), "said a second ago");
        assert_eq!(guests.left_out(), 700);
        let text = Written::during(|| log(&guests, start + SAY_EVERY, LogLevel::Warn, 1));
        assert!(text.contains("lines=699"), "the first was said at once, the others now: {text}");
        assert_eq!((lines_with(&text, "hello"), guests.left_out()), (1, 700));
        let text = Written::during(|| log(&guests, start + 10 * SAY_EVERY, LogLevel::Info, BURST + 1));
        assert_eq!(lines_with(&text, "hello"), BURST as usize, "a long rest gives a burst, and no more");
    }

    #[test]
    fn what_the_filter_leaves_out_uses_up_nothing() {
        let (guests, start) = (GuestLog::default(), Instant::now());
        let text = Written::during(|| {
            log(&guests, start, LogLevel::Debug, 3 * BURST);
            log(&guests, start, LogLevel::Info, BURST);
        });
        assert_eq!((lines_with(&text, "hello"), guests.left_out()), (BURST as usize, 0));
    }

    #[test]
    fn a_bucket_loses_no_part_of_a_period() {
        let mut bucket = Bucket { lines: 0, filled: None, unsaid: 0, said: None };
        let start = Instant::now();
        bucket.fill(start);
        // Looked at more often than it gains lines, and not in step with them.
        (1..=1_000).for_each(|step| bucket.fill(start + PERIOD / 3 * step));
        assert_eq!(bucket.lines, 333);
        bucket.fill(start);
        assert_eq!(bucket.lines, 333, "time that goes back gives nothing");
    }
}

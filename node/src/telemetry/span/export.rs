//! The exporting task: about once a second it empties the workers' lines and sends what was in them.
//!
//! A slow or dead receiver loses spans, which is counted; it never delays a request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::encode::{Anchor, Batch, Encoder};
use super::record::Record;
use super::ring::Lines;
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::Counter;
use crate::telemetry::otlp::send::Sender;
use crate::world::Clock;

/// Spans of one export, about.
const BATCH_SPANS_MAX: u64 = 2_048;
/// Bytes of one export, before the last span: receivers take 4 MiB in one message as a rule.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// A span waits this long at most before it is sent.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// An export that takes longer has failed.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// A step back or jump of the wall clock beyond this is followed.
const ANCHOR_SLACK_MS: u64 = 50;

/// What the task works with.
pub(super) struct Driver {
    pub encoder: Encoder,
    pub sender: Sender,
    pub lines: Arc<Lines>,
    pub metrics: WorkerMetrics,
    pub clock: Arc<dyn Clock>,
    /// The receiver, for log lines.
    pub url: String,
}

/// The running task.
#[derive(Debug)]
pub(super) struct Exporter {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Exporter {
    /// Starts the task on the current tokio runtime.
    pub fn start(driver: Driver) -> Exporter {
        let (stop, stopped) = watch::channel(false);
        let anchor = driver.anchor();
        let run = Run { driver, anchor, failing: false, batch_bytes: 4 << 10 };
        Exporter { task: tokio::spawn(run.run(stopped)), stop }
    }

    /// Sends what is waiting and ends the task, within `limit`.
    pub async fn shutdown(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!(limit_ms = limit.as_millis() as u64, "spans were left unsent: the receiver took too long");
            self.task.abort();
        }
    }
}

impl Driver {
    fn anchor(&self) -> Anchor {
        Anchor { at: Instant::now(), unix_ns: self.clock.now_ms() * 1_000_000 }
    }
}

struct Run {
    driver: Driver,
    anchor: Anchor,
    failing: bool,
    /// Room for the next batch: as much as the last one took.
    batch_bytes: usize,
}

impl Run {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut records = Vec::new();
        loop {
            let more = tokio::select! {
                // The owner asked to stop, or is gone.
                _ = stopped.changed() => false,
                () = self.driver.lines.grown() => true,
                () = tokio::time::sleep(BATCH_WAIT) => true,
            };
            self.empty(&mut records).await;
            if !more {
                return;
            }
        }
    }

    /// Sends everything that waits.
    async fn empty(&mut self, records: &mut Vec<Record>) {
        self.follow_clock();
        let mut batch = self.driver.encoder.begin(self.batch_bytes);
        for line in self.driver.lines.all() {
            line.swap(records);
            for record in records.drain(..) {
                self.driver.encoder.append(&mut batch, &record, self.anchor);
                if batch.count >= BATCH_SPANS_MAX || batch.byte_len() >= BATCH_BYTES_MAX {
                    let next = self.driver.encoder.begin(batch.byte_len());
                    self.export(std::mem::replace(&mut batch, next)).await;
                }
            }
        }
        if batch.count > 0 {
            self.export(batch).await;
        }
    }

    /// Takes a new pair of times if the wall clock was set; otherwise spans keep one measure.
    fn follow_clock(&mut self) {
        let now = self.driver.anchor();
        if self.anchor.unix_ns(now.at).abs_diff(now.unix_ns) > ANCHOR_SLACK_MS * 1_000_000 {
            self.anchor = now;
        }
    }

    async fn export(&mut self, batch: Batch) {
        let spans = batch.count;
        self.batch_bytes = batch.byte_len().next_multiple_of(4 << 10);
        let encoded = self.driver.encoder.finish(batch);
        let result = timeout(EXPORT_TIMEOUT, self.driver.sender.send(encoded)).await;
        let (rejected, error) = match result {
            Ok(Ok(rejected)) => (rejected.min(spans), None),
            Ok(Err(error)) => (spans, Some(error.to_string())),
            Err(_) => (spans, Some("it took too long".to_owned())),
        };
        self.driver.metrics.count_by(Counter::SpansExported, spans - rejected);
        self.driver.metrics.count_by(Counter::SpansDropped, rejected);
        // One line when it begins and one when it ends, however long it lasts.
        let receiver = self.driver.url.as_str();
        match error {
            None => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(receiver, "spans are exported again");
                }
            }
            Some(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(receiver, error, "spans can't be exported; dropping them until it works");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_the_anchor() {
        let at = Instant::now() + Duration::from_secs(10);
        let anchor = Anchor { at, unix_ns: 5_000_000_000 };
        assert_eq!(anchor.unix_ns(at + Duration::from_micros(7)), 5_000_007_000);
        assert_eq!(anchor.unix_ns(at - Duration::from_secs(1)), 4_000_000_000);
        assert_eq!(anchor.unix_ns(at - Duration::from_secs(9)), 0, "never before 1970");
    }
}

//! Export of spans by OTLP: a bounded queue and one task that sends batches. A slow or dead receiver loses spans, which
//! is counted; it never delays a request.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol as Encoding, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use thiserror::Error;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::metrics::{Counter, Metrics, WorkerMetrics};

/// Spans waiting to be sent, at most; about 0.5 KiB each.
pub const QUEUE_SPANS_MAX: usize = 8_192;
/// Spans of one export.
const BATCH_SPANS_MAX: usize = 512;
/// A span waits this long for its batch to fill.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// An export that takes longer has failed.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(BATCH_SPANS_MAX * 4 <= QUEUE_SPANS_MAX);

/// Why spans can't be exported.
#[derive(Debug, Error)]
pub enum OtlpError {
    /// The address can't be used.
    #[error("{url:?}: {reason}")]
    Endpoint {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The exporter can't be made.
    #[error("the OTLP exporter for {url} can't be made: {reason}")]
    Exporter {
        /// The receiver.
        url: String,
        /// What the library said.
        reason: String,
    },
}

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC, usually port 4317.
    Grpc,
    /// OTLP/HTTP with protobuf, usually port 4318 and path `/v1/traces`.
    Http,
}

/// A receiver's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole URL, with the path for HTTP.
    pub url: String,
    /// gRPC unless there is a path or the port is 4318.
    pub protocol: Protocol,
}

impl Endpoint {
    /// Reads `http://host:4317` (gRPC), `http://host:4318` or `http://host:port/v1/traces` (HTTP).
    ///
    /// # Errors
    /// [`OtlpError::Endpoint`], with what is wrong.
    pub fn parse(url: &str) -> Result<Endpoint, OtlpError> {
        let wrong = |reason| OtlpError::Endpoint { url: url.chars().take(200).collect(), reason };
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(wrong(match url.starts_with("https://") {
                true => "OTLP over TLS isn't supported; run a collector beside the node and send to it by http://",
                false => "an OTLP address begins with http://, for example http://127.0.0.1:4317",
            }));
        };
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let right = match ipv6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(plain),
        };
        if !right {
            return Err(wrong("the host isn't a name or an address"));
        }
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err(wrong("the port isn't a number from 1 to 65535"));
        }
        if path.chars().any(|c| c.is_ascii_control() || c.is_whitespace() || !c.is_ascii()) {
            return Err(wrong("the path has characters that a URL can't have"));
        }
        Ok(match (path, port) {
            ("", Some("4318")) => Endpoint { url: format!("http://{authority}/v1/traces"), protocol: Protocol::Http },
            ("", None) => Endpoint { url: format!("http://{authority}:4317"), protocol: Protocol::Grpc },
            ("", Some(_)) => Endpoint { url: format!("http://{authority}"), protocol: Protocol::Grpc },
            _ => Endpoint { url: url.to_owned(), protocol: Protocol::Http },
        })
    }
}

/// Who sends the spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node's identity in hexadecimal: `service.instance.id`.
    pub node_id: String,
    /// Version of the build: `service.version`.
    pub version: String,
}

/// Where finished requests go; what becomes a span of each is made by the exporting task.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: mpsc::Sender<T>,
    metrics: WorkerMetrics,
}

impl<T> Queue<T> {
    /// Whether a span begun now would have a place.
    pub(super) fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }

    /// Takes one if there is room; counts it as dropped if not.
    pub(super) fn offer(&self, finished: T) {
        match self.sender.try_send(finished) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.drop_one(),
        }
    }

    pub(super) fn drop_one(&self) {
        self.metrics.count(Counter::SpansDropped);
    }
}

/// The exporting task.
#[derive(Debug)]
pub(super) struct Exporter {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Exporter {
    /// Starts the task on the current tokio runtime.
    pub(super) fn start<T: Into<SpanData> + Send + 'static>(
        endpoint: &Endpoint,
        identity: &Identity,
        metrics: &Arc<Metrics>,
    ) -> Result<(Exporter, Queue<T>), OtlpError> {
        let exporter = build(endpoint, identity)?;
        let (sender, receiver) = mpsc::channel(QUEUE_SPANS_MAX);
        let (stop, stopped) = watch::channel(false);
        let driver = Driver {
            exporter,
            receiver,
            stopped,
            metrics: metrics.shared(),
            url: endpoint.url.clone(),
            failing: false,
        };
        let task = tokio::spawn(driver.run());
        Ok((Exporter { task, stop }, Queue { sender, metrics: metrics.shared() }))
    }

    /// Sends what is waiting and ends the task, within `limit`.
    pub(super) async fn shutdown(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!(limit_ms = limit.as_millis() as u64, "spans were left unsent: the receiver took too long");
            self.task.abort();
        }
    }
}

fn build(endpoint: &Endpoint, identity: &Identity) -> Result<SpanExporter, OtlpError> {
    let result = match endpoint.protocol {
        Protocol::Grpc => {
            SpanExporter::builder().with_tonic().with_endpoint(&endpoint.url).with_timeout(EXPORT_TIMEOUT).build()
        }
        Protocol::Http => SpanExporter::builder()
            .with_http()
            .with_protocol(Encoding::HttpBinary)
            .with_endpoint(&endpoint.url)
            .with_timeout(EXPORT_TIMEOUT)
            .build(),
    };
    let mut exporter =
        result.map_err(|error| OtlpError::Exporter { url: endpoint.url.clone(), reason: error.to_string() })?;
    // An empty builder: the environment's OTEL_… variables are not this node's configuration.
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "outcrop"),
        KeyValue::new("service.version", identity.version.clone()),
        KeyValue::new("service.instance.id", identity.node_id.clone()),
    ]);
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

struct Driver<T> {
    exporter: SpanExporter,
    receiver: mpsc::Receiver<T>,
    stopped: watch::Receiver<bool>,
    metrics: WorkerMetrics,
    url: String,
    failing: bool,
}

impl<T: Into<SpanData>> Driver<T> {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::with_capacity(BATCH_SPANS_MAX);
            let more = self.fill(&mut batch).await;
            if !batch.is_empty() {
                self.export(batch).await;
            }
            if !more {
                return;
            }
        }
    }

    /// Gathers a batch; false once everything was taken and no more will come.
    async fn fill(&mut self, batch: &mut Vec<T>) -> bool {
        let mut deadline = None;
        while batch.len() < BATCH_SPANS_MAX {
            let room = BATCH_SPANS_MAX - batch.len();
            tokio::select! {
                // A closed channel still gives what is in it.
                taken = self.receiver.recv_many(batch, room) => match taken {
                    0 => return false,
                    _ => _ = deadline.get_or_insert_with(|| Instant::now() + BATCH_WAIT),
                },
                changed = self.stopped.changed(), if !self.receiver.is_closed() => {
                    // The owner asked to stop, or is gone.
                    _ = changed;
                    self.receiver.close();
                }
                () = wait_until(deadline) => return true,
            }
        }
        true
    }

    async fn export(&mut self, batch: Vec<T>) {
        let batch: Vec<SpanData> = batch.into_iter().map(T::into).collect();
        let spans = batch.len() as u64;
        let result = timeout_at(Instant::now() + EXPORT_TIMEOUT, self.exporter.export(batch)).await;
        let error = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it took too long".to_owned()),
        };
        // One line when it begins and one when it ends, however long it lasts.
        match error {
            None => {
                self.metrics.count_by(Counter::SpansExported, spans);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(receiver = self.url, "spans are exported again");
                }
            }
            Some(error) => {
                self.metrics.count_by(Counter::SpansDropped, spans);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(receiver = self.url, error, "spans can't be exported; dropping them until it works");
                }
            }
        }
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_path_choose_the_protocol() {
        let parse = |url| Endpoint::parse(url).map(|endpoint| (endpoint.url, endpoint.protocol));
        for (url, means, protocol) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317", Protocol::Grpc),
            ("http://collector", "http://collector:4317", Protocol::Grpc),
            ("http://collector:4317/", "http://collector:4317", Protocol::Grpc),
            ("http://[::1]:4317", "http://[::1]:4317", Protocol::Grpc),
            ("http://[::1]", "http://[::1]:4317", Protocol::Grpc),
            ("http://collector:4318", "http://collector:4318/v1/traces", Protocol::Http),
            ("http://collector:9/v1/traces", "http://collector:9/v1/traces", Protocol::Http),
        ] {
            assert_eq!(parse(url).expect(url), (means.to_owned(), protocol));
        }
        for wrong in [
            "",
            "localhost:4317",
            "https://x:4317",
            "http://",
            "http://:4317",
            "http://a b",
            "http://x:99999",
            "http://[::1",
            "http://x:4318/ö",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}

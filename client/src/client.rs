//! The client's handle, and the one way on which every request goes out, comes back and is retried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::hello::{STREAM_SCAN, STREAM_SINGLE};
use outcrop_wire::limits::{FRAME_BYTES_MAX, LANE_VALUE_BYTES_MAX, QUERY_FRAME_BYTES_MAX};
use outcrop_wire::request::encode_request;
use outcrop_wire::{Code, NamespaceId, NamespaceInfo, RequestBody, RequestHeader};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::answer::{Answer, Outgoing, Way, body_bytes};
use crate::attempts::{Attempts, Failure, Verdict};
use crate::builder::{ClientBuilder, bounded};
use crate::error::ClientError;
use crate::telemetry::{record_outcome, request_span, trace_context};
use crate::transport::lane::{Call, Refusal};
use crate::transport::link::Link;
use crate::transport::pool::Pool;
use crate::transport::{Lost, single};

/// A handle to a node: cheap to clone, shared by any number of tasks. The connections close when the last clone goes.
///
/// ```no_run
/// use outcrop_client::{Bins, Client, Key, PutOptions};
///
/// # async fn example() -> Result<(), outcrop_client::ClientError> {
/// let client = Client::connect("outcrop://127.0.0.1:7420").await?;
/// let key = Key::new("test", "people", 42);
/// client.put(&key, &Bins::new().with("name", "Ada").with("born", 1815), PutOptions::default()).await?;
/// let record = client.get(&key).await?.expect("just written");
/// assert_eq!(record.generation(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) deadline: Duration,
    pub(crate) retries: u32,
    pub(crate) url: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.close_now();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.shared.url).field("deadline", &self.shared.deadline).finish()
    }
}

impl Client {
    /// Connects with the defaults: `outcrop://HOST:PORT[,HOST:PORT…][?ca=FILE.pem&connections=N&lanes=N&deadline_ms=N&retries=N]`.
    ///
    /// Several addresses are alternatives: one that answers is used, another when it fails. The port is 7420 unless said.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outcrop_client::ClientError> {
    /// let client = outcrop_client::Client::connect("outcrop://127.0.0.1:7420?deadline_ms=200").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        Client::builder(url).connect().await
    }

    /// Says how to connect.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").connections(4).agent("my-service/1.0");
    /// ```
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// The node's namespaces.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// for namespace in client.namespaces() {
    ///     println!("{}: records of up to {} bytes", namespace.name, namespace.record_bytes_max);
    /// }
    /// # }
    /// ```
    pub fn namespaces(&self) -> Vec<NamespaceInfo> {
        self.shared.pool.namespaces()
    }

    /// Lets what is under way finish (up to 10 seconds), then closes the connections, for every clone of the handle.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) {
    /// client.close().await;
    /// # }
    /// ```
    pub async fn close(self) {
        self.shared.pool.close().await;
    }

    /// Sends a request and waits for its answer, with as many attempts as are safe within its deadline.
    pub(crate) async fn execute<'a>(
        &self,
        outgoing: &Outgoing<'_>,
        body: impl Fn(&Link) -> Result<RequestBody<'a>, ClientError>,
    ) -> Result<Answer, ClientError> {
        let span = request_span(outgoing.verb, outgoing.namespace, outgoing.set);
        if span.is_disabled() {
            return self.attempts(outgoing, body, &span).await;
        }
        let outcome = self.attempts(outgoing, body, &span).instrument(span.clone()).await;
        record_outcome(&span, &outcome);
        outcome
    }

    async fn attempts<'a>(
        &self,
        outgoing: &Outgoing<'_>,
        body: impl Fn(&Link) -> Result<RequestBody<'a>, ClientError>,
        span: &Span,
    ) -> Result<Answer, ClientError> {
        let waited = bounded(outgoing.deadline.unwrap_or(self.shared.deadline));
        let deadline = Instant::now() + waited;
        let mut attempts = Attempts::new(outgoing, waited, deadline);
        loop {
            let outcome = self.attempt(outgoing, &body, deadline, span).await;
            let pause = match attempts.judge(outcome, self.shared.retries) {
                Verdict::Answer(answer) => {
                    span.record("outcrop.attempts", attempts.made());
                    return answer;
                }
                Verdict::Again(pause) => pause,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt<'a>(
        &self,
        outgoing: &Outgoing<'_>,
        body: &impl Fn(&Link) -> Result<RequestBody<'a>, ClientError>,
        deadline: Instant,
        span: &Span,
    ) -> Result<Answer, Failure> {
        let (link, lane) = self.shared.pool.acquire(deadline).await.map_err(Failure::Unavailable)?;
        let namespace = match outgoing.namespace {
            "" => NamespaceId::default(),
            name => link.namespace(name).ok_or_else(|| unknown_namespace(name))?,
        };
        let body = body(&link).map_err(Failure::Here)?;
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as u32;
        let header = RequestHeader {
            request_id: 0,
            verb: outgoing.verb,
            namespace,
            deadline_ms: left.max(1),
            trace: trace_context(span),
        };
        let reply = match outgoing.way {
            Way::Query => call_single(&link, &header, &body, deadline, Way::Query).await?,
            Way::Usual if outgoing.bytes > LANE_VALUE_BYTES_MAX => {
                call_single(&link, &header, &body, deadline, Way::Usual).await?
            }
            Way::Usual => self.call_lane(&link, lane, &header, &body, deadline).await?,
        };
        let answer = Answer::parse(reply).map_err(|error| Failure::Lost(Lost::Protocol(error.to_string())))?;
        if answer.header.code == Code::Draining {
            link.retire();
        }
        Ok(answer)
    }

    async fn call_lane(
        &self,
        link: &Link,
        mut lane: usize,
        header: &RequestHeader,
        body: &RequestBody<'_>,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let mut tried = 0;
        loop {
            let submitted = link.lanes[lane].submit(deadline, |request_id, out| {
                encode_request(&RequestHeader { request_id, ..*header }, body, out);
            });
            match submitted {
                Ok(slot) => {
                    link.alarm.rouse();
                    return Call::new(link.lanes[lane].clone(), slot).await.map_err(Failure::Lost);
                }
                Err(Refusal::Closed) => return Err(Failure::Lost(Lost::Unsent("it closed just now".to_owned()))),
                Err(Refusal::Full) => tried += 1,
            }
            // Other lanes of this connection know namespaces by the same numbers; other connections may not.
            if tried % link.lanes.len() == 0 {
                tokio::time::timeout_at(deadline, link.lanes[lane].place())
                    .await
                    .map_err(|_| Failure::Lost(Lost::Unsent("every lane is full".to_owned())))?;
            } else {
                lane = (lane + 1) % link.lanes.len();
            }
        }
    }
}

async fn call_single(
    link: &Link,
    header: &RequestHeader,
    body: &RequestBody<'_>,
    deadline: Instant,
    way: Way,
) -> Result<Bytes, Failure> {
    let (kind, bytes_max) = match way {
        Way::Usual => (STREAM_SINGLE, FRAME_BYTES_MAX),
        Way::Query => (STREAM_SCAN, QUERY_FRAME_BYTES_MAX),
    };
    let mut stream = Vec::with_capacity(body_bytes(body) + 2_048);
    stream.push(kind);
    let start = begin_frame(&mut stream);
    encode_request(header, body, &mut stream);
    end_frame(&mut stream, start);
    let frame_bytes = stream.len() - start - outcrop_wire::frame::LENGTH_BYTES;
    if frame_bytes > bytes_max {
        let message = format!("the request has {frame_bytes} bytes, one of its kind at most {bytes_max}");
        return Err(Failure::Here(ClientError::Refused { code: Code::FrameTooLarge, message }));
    }
    single::call(&link.connection, stream, deadline).await.map_err(Failure::Lost)
}

fn unknown_namespace(name: &str) -> Failure {
    let message = format!("the node has no namespace {name:?}");
    Failure::Here(ClientError::Refused { code: Code::NamespaceUnknown, message })
}

//! The client's handle, how it is built, and the one way on which every request goes out, comes back and is retried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outcrop_wire::frame::{begin_frame, end_frame};
use outcrop_wire::hello::STREAM_SINGLE;
use outcrop_wire::limits::{DEADLINE_MS_MAX, FRAME_BYTES_MAX, LANE_VALUE_BYTES_MAX, LANES_MAX};
use outcrop_wire::request::encode_request;
use outcrop_wire::{Code, NamespaceId, NamespaceInfo, Reply, ReplyHeader, RequestBody, RequestHeader, Retry, Verb};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::error::ClientError;
use crate::telemetry::{record_outcome, request_span, trace_context};
use crate::transport::backoff::Backoff;
use crate::transport::lane::{Call, Refusal};
use crate::transport::link::Link;
use crate::transport::pool::{Pool, PoolSettings, Unavailable};
use crate::transport::{Lost, config, single};
use crate::trust::Trust;
use crate::url::NodeUrl;

/// How long a request may take unless told otherwise.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(1);
/// Attempts after the first, unless told otherwise.
const RETRIES_DEFAULT: u32 = 8;
/// Measured: few connections with many requests in flight are the fastest.
const CONNECTIONS_DEFAULT: usize = 2;
const LANES_DEFAULT: usize = 2;
/// Pauses between attempts of one request.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MOST: Duration = Duration::from_millis(250);

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
    retries: u32,
    url: String,
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

/// How to connect; what it says wins over the URL's parameters.
///
/// ```no_run
/// use std::time::Duration;
/// use outcrop_client::{Client, Trust};
///
/// # async fn example() -> Result<(), outcrop_client::ClientError> {
/// let client = Client::builder("outcrop://db1.example.org:7420,db2.example.org:7420")
///     .trust(Trust::PemFile("/etc/outcrop/ca.pem".into()))
///     .deadline(Duration::from_millis(50))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    url: String,
    connections: Option<usize>,
    lanes: Option<usize>,
    trust: Option<Trust>,
    deadline: Option<Duration>,
    retries: Option<u32>,
    agent: String,
}

impl ClientBuilder {
    /// Connections to the node, 1 to 64; 2 by default. More spread a client over more of the node's cores.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections.clamp(1, 64));
        self
    }

    /// Lanes of each connection, 1 to 16; 2 by default. Fewer gather more requests into one packet.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = Some(lanes.clamp(1, LANES_MAX));
        self
    }

    /// Whom to trust; [`Trust::Automatic`] by default.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// How long a request may take, all attempts together, 1 ms to 10 minutes; 1 s by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Attempts after the first, at most; 8 by default.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// The program's name and version, for the node's logs; at most 60 characters are kept.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// Connects. An error if no address answers, or none with a certificate that is trusted.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let url = NodeUrl::parse(&self.url)?;
        let trust = self.trust.or(url.ca.map(Trust::PemFile)).unwrap_or_default();
        let tls = config::client_config(trust.roots(&url.addresses)?).map_err(connect_error)?;
        let from_url = url.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let deadline = self.deadline.or(from_url).unwrap_or(DEADLINE_DEFAULT);
        let settings = PoolSettings {
            addresses: url.addresses,
            tls,
            connections: self.connections.or(url.connections).unwrap_or(CONNECTIONS_DEFAULT),
            lanes: self.lanes.or(url.lanes).unwrap_or(LANES_DEFAULT),
            agent: self.agent,
        };
        let pool = Pool::start(settings).await.map_err(connect_error)?;
        let retries = self.retries.or(url.retries).unwrap_or(RETRIES_DEFAULT);
        Ok(Client { shared: Arc::new(Shared { pool, deadline: bounded(deadline), retries, url: self.url }) })
    }
}

/// A deadline that the protocol can carry.
fn bounded(deadline: Duration) -> Duration {
    deadline.clamp(Duration::from_millis(1), Duration::from_millis(DEADLINE_MS_MAX.into()))
}

pub(crate) fn connect_error(failure: crate::transport::ConnectFailure) -> ClientError {
    match failure.code {
        Some(code) => ClientError::Refused { code, message: failure.message },
        None => ClientError::Connect { address: failure.address, message: failure.message },
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
        ClientBuilder {
            url: url.to_owned(),
            connections: None,
            lanes: None,
            trust: None,
            deadline: None,
            retries: None,
            agent: concat!("outcrop-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
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
        let mut attempt = Attempts { outgoing, waited, deadline, made: 0, unknown: false, backoff: None };
        loop {
            let outcome = self.attempt(outgoing, &body, deadline, span).await;
            attempt.made += 1;
            let pause = match attempt.judge(outcome, self.shared.retries) {
                Verdict::Answer(answer) => {
                    span.record("outcrop.attempts", attempt.made);
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
        let reply = if outgoing.bytes > LANE_VALUE_BYTES_MAX {
            call_single(&link, &header, &body, deadline).await?
        } else {
            self.call_lane(&link, lane, &header, &body, deadline).await?
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
) -> Result<Bytes, Failure> {
    let mut stream = Vec::with_capacity(body_bytes(body) + 2_048);
    stream.push(STREAM_SINGLE);
    let start = begin_frame(&mut stream);
    encode_request(header, body, &mut stream);
    end_frame(&mut stream, start);
    let frame_bytes = stream.len() - start - outcrop_wire::frame::LENGTH_BYTES;
    if frame_bytes > FRAME_BYTES_MAX {
        let message = format!("the request has {frame_bytes} bytes, a frame at most {FRAME_BYTES_MAX}");
        return Err(Failure::Here(ClientError::Refused { code: Code::FrameTooLarge, message }));
    }
    single::call(&link.connection, stream, deadline).await.map_err(Failure::Lost)
}

/// Bytes of a body's large parts, near enough to choose the stream.
pub(crate) fn body_bytes(body: &RequestBody<'_>) -> usize {
    match body {
        RequestBody::Put { archive, .. } => archive.len(),
        RequestBody::Operate { operations, .. } => operations.len(),
        RequestBody::Batch { items } => {
            items.iter().map(|item| 96 + key_bytes(&item.body) + body_bytes(&item.body)).sum()
        }
        RequestBody::Get { bins: outcrop_wire::BinSelection::Named(names), .. } => names.len() * 256,
        _ => 0,
    }
}

fn key_bytes(body: &RequestBody<'_>) -> usize {
    match body {
        RequestBody::Get { key, .. }
        | RequestBody::Exists { key }
        | RequestBody::Put { key, .. }
        | RequestBody::Delete { key, .. }
        | RequestBody::Touch { key, .. }
        | RequestBody::Operate { key, .. } => key.user_key.byte_len(),
        _ => 0,
    }
}

fn unknown_namespace(name: &str) -> Failure {
    let message = format!("the node has no namespace {name:?}");
    Failure::Here(ClientError::Refused { code: Code::NamespaceUnknown, message })
}

/// One request, apart from its body.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) verb: Verb,
    /// Empty for verbs without one.
    pub(crate) namespace: &'a str,
    pub(crate) set: &'a str,
    /// Whether carrying it out changes anything.
    pub(crate) writes: bool,
    /// Whether carrying it out twice is harmless.
    pub(crate) idempotent: bool,
    /// Whether the outcome depends on what was there, so that a second attempt may be refused because of the first.
    pub(crate) conditional: bool,
    pub(crate) deadline: Option<Duration>,
    /// Bytes of the body's large part.
    pub(crate) bytes: usize,
}

/// A reply frame with its header taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) header: ReplyHeader,
    frame: Bytes,
}

impl Answer {
    pub(crate) fn parse(frame: Bytes) -> Result<Self, ClientError> {
        let reply = Reply::parse(&frame).map_err(ClientError::protocol)?;
        Ok(Answer { header: reply.header, frame })
    }

    /// The reply's body, as a slice of the frame.
    pub(crate) fn body(&self) -> Bytes {
        self.frame.slice(outcrop_wire::reply::REPLY_HEADER_BYTES..)
    }

    pub(crate) fn body_ref(&self) -> &[u8] {
        &self.frame[outcrop_wire::reply::REPLY_HEADER_BYTES..]
    }

    /// Itself if the code is `Ok`, else the error.
    pub(crate) fn ok(self) -> Result<Self, ClientError> {
        if self.header.code == Code::Ok { Ok(self) } else { Err(self.error()) }
    }

    /// Itself if the code is `Ok`, `None` if there is no such record, else the error.
    pub(crate) fn found(self) -> Result<Option<Self>, ClientError> {
        match self.header.code {
            Code::Ok => Ok(Some(self)),
            Code::NotFound => Ok(None),
            _ => Err(self.error()),
        }
    }

    fn error(&self) -> ClientError {
        refused(&Reply { header: self.header, body: self.body_ref() })
    }
}

/// The error of a reply whose code isn't `Ok`.
pub(crate) fn refused(reply: &Reply<'_>) -> ClientError {
    let message = reply.message();
    let message = if message.is_empty() { reply.header.code.meaning().to_owned() } else { message };
    match reply.header.code {
        Code::Indeterminate => ClientError::Indeterminate { message },
        code => ClientError::Refused { code, message },
    }
}

/// Why one attempt has no answer.
#[derive(Debug)]
enum Failure {
    Unavailable(Unavailable),
    Lost(Lost),
    /// Refused on this side; no attempt would go better.
    Here(ClientError),
}

enum Verdict {
    Answer(Result<Answer, ClientError>),
    Again(Duration),
}

/// The attempts of one request, and what they have come to.
struct Attempts<'a> {
    outgoing: &'a Outgoing<'a>,
    waited: Duration,
    deadline: Instant,
    made: u32,
    /// An earlier attempt may have been carried out.
    unknown: bool,
    backoff: Option<Backoff>,
}

impl Attempts<'_> {
    fn judge(&mut self, outcome: Result<Answer, Failure>, retries: u32) -> Verdict {
        let (error, again) = match outcome {
            Ok(answer) => match self.judge_code(&answer) {
                None => return Verdict::Answer(self.settle(answer)),
                Some(again) => (answer.error(), again),
            },
            Err(failure) => self.judge_failure(failure),
        };
        if again && self.made <= retries {
            let pause = self.backoff.get_or_insert_with(|| Backoff::new(RETRY_FIRST, RETRY_MOST)).pause();
            if Instant::now() + pause < self.deadline {
                return Verdict::Again(pause);
            }
        }
        Verdict::Answer(Err(self.after_unknown(error)))
    }

    /// `None`: the answer stands; else whether to send again.
    fn judge_code(&mut self, answer: &Answer) -> Option<bool> {
        match answer.header.code.retry() {
            Retry::Never => None,
            Retry::Backoff => Some(true),
            Retry::IfIdempotent => {
                self.unknown |= self.outgoing.writes;
                Some(!self.outgoing.writes || self.outgoing.idempotent)
            }
        }
    }

    fn judge_failure(&mut self, failure: Failure) -> (ClientError, bool) {
        match failure {
            Failure::Here(error) => (error, false),
            Failure::Unavailable(Unavailable::Closed) => (ClientError::closed("the client was closed"), false),
            Failure::Unavailable(Unavailable::Deadline) => (self.late("no connection"), false),
            Failure::Unavailable(Unavailable::Connect(failure)) => (connect_error(failure), false),
            Failure::Lost(Lost::Protocol(message)) => {
                // An answer came that says something this client doesn't know: the fate of a write is as unknown.
                self.unknown |= self.outgoing.writes;
                (ClientError::Protocol(message), false)
            }
            Failure::Lost(Lost::Unsent(message)) => {
                let late = Instant::now() >= self.deadline;
                (if late { self.late(&message) } else { ClientError::closed(message) }, true)
            }
            Failure::Lost(lost @ Lost::Expired) if self.outgoing.writes => {
                self.unknown = true;
                (ClientError::Indeterminate { message: lost.to_string() }, false)
            }
            Failure::Lost(lost @ Lost::Expired) => (self.late(&lost.to_string()), false),
            Failure::Lost(lost @ Lost::Sent(_)) if self.outgoing.writes => {
                self.unknown = true;
                (ClientError::Indeterminate { message: lost.to_string() }, self.outgoing.idempotent)
            }
            Failure::Lost(lost @ Lost::Sent(_)) => (ClientError::closed(lost.to_string()), true),
        }
    }

    fn late(&self, message: &str) -> ClientError {
        ClientError::Deadline { waited: self.waited, message: message.to_owned() }
    }

    /// An answer that stands, unless the request itself, in an attempt whose reply was lost, may be what it speaks of.
    fn settle(&self, answer: Answer) -> Result<Answer, ClientError> {
        let of_condition =
            matches!(answer.header.code, Code::GenerationMismatch | Code::AlreadyExists | Code::NotFound);
        if self.unknown && self.outgoing.conditional && of_condition {
            return Err(self.after_unknown(answer.error()));
        }
        Ok(answer)
    }

    /// Once an attempt's fate is unknown, no later failure makes it known.
    fn after_unknown(&self, error: ClientError) -> ClientError {
        match error {
            error if !self.unknown || matches!(error, ClientError::Indeterminate { .. }) => error,
            error if self.made == 1 => ClientError::Indeterminate { message: error.to_string() },
            error => ClientError::Indeterminate {
                message: format!("an attempt's reply was lost, and the next one was told: {error}"),
            },
        }
    }
}

//! One connection at work: the loop that sends what is due, waits for replies, and outlives the loss of its session.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outcrop_client::low::{Completion, Session, SubmitError};
use outcrop_client::{Client, ClientError, Code, NamespaceId};
use outcrop_wire::RequestBody;
use outcrop_wire::reply::REPLY_HEADER_BYTES;
use thiserror::Error;

use super::clock::{Clock, FineTimer};
use super::encode::Encoder;
use super::mix::Kind;
use super::plan::Plan;
use super::request_loop::{Outcome, RequestLoop, Step, Tallies};
use super::scans::{ShortScan, short_scan};
use super::values::Values;

/// Requests between two looks at the clock while sending: at about 100 ns for each, a start time is exact to 1 us.
const SENDS_PER_STAMP: u32 = 8;
/// Pauses between attempts to connect anew.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(10);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A node that can't be reached for so long isn't coming back.
const RECONNECT_PATIENCE_NS: u64 = 60_000_000_000;
/// A session without room is looked at again after this, if no reply comes first.
const FULL_WAIT_NS: u64 = 1_000_000;

/// Why a connection can't work at all (a loss on the way is mended, not an error).
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// No session.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node doesn't have the namespace.
    #[error("the node has no namespace {wanted:?}; it has {known}")]
    Namespace {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// No timer.
    #[error("no timer: {0}")]
    Timer(#[from] io::Error),
}

/// What all connections of a thread have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The settled options.
    pub plan: Arc<Plan>,
    /// The node: where sessions go, and what scans.
    pub client: Client,
    /// The run's clock.
    pub clock: Clock,
    /// Where this thread counts.
    pub tallies: Rc<RefCell<Tallies>>,
}

/// A connection that is kept from one phase to the next.
pub struct Connection {
    shared: Shared,
    session: Session,
    encoder: Encoder,
    timer: FineTimer,
    completions: Vec<Completion>,
    scans: FuturesUnordered<Pin<Box<dyn Future<Output = ShortScan>>>>,
}

impl Connection {
    /// Connects.
    pub async fn open(shared: Shared, values: Values) -> Result<Connection, ConnectionError> {
        let (session, namespace) = open_session(&shared).await?;
        let encoder = Encoder::new(shared.plan.clone(), values, namespace);
        let completions = Vec::with_capacity(shared.plan.in_flight as usize);
        let timer = FineTimer::new()?;
        Ok(Connection { shared, session, encoder, timer, completions, scans: FuturesUnordered::new() })
    }

    /// Plays a phase through, over as many sessions as it takes.
    pub async fn run(&mut self, mut requests: RequestLoop) -> Result<(), ConnectionError> {
        while let Err(lost) = self.drive(&mut requests).await {
            let now_ns = self.shared.clock.now_ns();
            requests.handle_loss(now_ns, &mut self.shared.tallies.borrow_mut());
            self.shared.tallies.borrow_mut().last_loss = Some(lost.to_string());
            self.completions.clear();
            self.scans.clear();
            self.reconnect(&mut requests, now_ns + RECONNECT_PATIENCE_NS).await?;
        }
        Ok(())
    }

    /// Tries until there is a session, or nothing left to do with one.
    async fn reconnect(&mut self, requests: &mut RequestLoop, until_ns: u64) -> Result<(), ConnectionError> {
        let mut pause = RECONNECT_PAUSE_MIN;
        while requests.has_more(self.shared.clock.now_ns()) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
            match open_session(&self.shared).await {
                Ok((session, namespace)) => {
                    self.session = session;
                    self.encoder.set_namespace(namespace);
                    let now_ns = self.shared.clock.now_ns();
                    requests.handle_reconnect(now_ns, &mut self.shared.tallies.borrow_mut());
                    return Ok(());
                }
                Err(error) if self.shared.clock.now_ns() > until_ns => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn drive(&mut self, requests: &mut RequestLoop) -> Result<(), ClientError> {
        loop {
            let Some(until_ns) = self.send_due(requests) else { return Ok(()) };
            self.session.flush().await?;
            let scan = self.wait(until_ns).await?;
            let now_ns = self.shared.clock.now_ns();
            let tallies = &mut *self.shared.tallies.borrow_mut();
            if let Some(ShortScan { token, outcome }) = scan {
                requests.handle_outcome(token, outcome, now_ns, tallies);
            }
            for completion in self.completions.drain(..) {
                let (token, code) = (completion.token, completion.code);
                if code == Code::StopWrites && tallies.full.is_none() {
                    tallies.full = completion.reply().ok().map(|reply| reply.message());
                }
                let body = completion.frame.get(REPLY_HEADER_BYTES..).unwrap_or_default();
                let outcome = self.encoder.read_reply(token, code, body, requests, tallies);
                requests.handle_outcome(token, outcome, now_ns, tallies);
            }
        }
    }

    /// Submits what may go now; when to look again, or `None` at the end.
    fn send_due(&mut self, requests: &mut RequestLoop) -> Option<u64> {
        let Connection { shared, session, encoder, scans, .. } = self;
        let tallies = &mut *shared.tallies.borrow_mut();
        let mut now_ns = shared.clock.now_ns();
        let mut sent = 0_u32;
        loop {
            match requests.poll_step(now_ns, tallies) {
                Step::Finished => return None,
                Step::WaitUntil(until_ns) => return Some(until_ns),
                Step::Send(order) if order.kind == Kind::Scan => {
                    let (client, plan) = (shared.client.clone(), shared.plan.clone());
                    scans.push(Box::pin(short_scan(client, plan, order.token, requests.draw_nonce())));
                }
                Step::Send(order) => {
                    let namespace = encoder.namespace();
                    let submit = |body: &RequestBody<'_>| session.submit(namespace, body, order.token);
                    match encoder.with_request(order, requests, submit) {
                        Ok(Ok(())) => {}
                        Ok(Err(SubmitError::Full)) => {
                            requests.handle_refused_submit(order);
                            return Some(now_ns + FULL_WAIT_NS);
                        }
                        Ok(Err(SubmitError::TooLarge(_))) => {
                            let outcome = Outcome::Refused(Code::FrameTooLarge);
                            requests.handle_outcome(order.token, outcome, now_ns, tallies);
                        }
                        Err(name) => requests.handle_outcome(order.token, Outcome::Failed(name), now_ns, tallies),
                    }
                }
            }
            sent += 1;
            if sent.is_multiple_of(SENDS_PER_STAMP) {
                now_ns = shared.clock.now_ns();
            }
        }
    }

    /// Waits for replies, the end of a scan, or the time.
    async fn wait(&mut self, until_ns: u64) -> Result<Option<ShortScan>, ClientError> {
        let until_ns = until_ns.max(self.shared.clock.now_ns() + self.shared.plan.pacing.pace_ns());
        let alarm = self.timer.wait_until_ns(&self.shared.clock, until_ns);
        let replies = self.session.recv_batch(&mut self.completions);
        tokio::pin!(alarm, replies);
        let scans = &mut self.scans;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = replies.as_mut().poll(context) {
                return Poll::Ready(outcome.map(|_| None));
            }
            if !scans.is_empty()
                && let Poll::Ready(Some(scan)) = scans.poll_next_unpin(context)
            {
                return Poll::Ready(Ok(Some(scan)));
            }
            // A timer that fails counts as one that fires: the loop looks at the clock itself.
            alarm.as_mut().poll(context).map(|_| Ok(None))
        })
        .await
    }
}

async fn open_session(shared: &Shared) -> Result<(Session, NamespaceId), ConnectionError> {
    let mut session = Session::open(&shared.client).await?;
    session.set_deadline_ms(shared.plan.deadline_ms);
    let wanted = &shared.plan.namespace;
    match session.namespace(wanted) {
        Some(id) => Ok((session, id)),
        None => {
            let known: Vec<String> = shared.client.namespaces().into_iter().map(|namespace| namespace.name).collect();
            Err(ConnectionError::Namespace { wanted: wanted.clone(), known: known.join(", ") })
        }
    }
}

//! A record function on one record: a fresh instance, one call, what it staged.
//!
//! The call begins on the thread that asks for it, without a hop. Each beat of the heart lets others run; after two of
//! them the call moves to the function pool and only its result comes back.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use bytes::Bytes;
use outcrop_wire::Code;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::limits::Limits;
use super::outcome::{Failed, Ran};
use super::prepared::{Encoding, FunctionKind, Label, Linked, Place, Prepared};
use super::run::{Running, Setup, arguments_for, result_of};
use super::state::Work;
use super::view::{Subject, View};
use crate::store::Namespace;

/// Interruptions after which a call leaves the thread that it began on.
const SLICES_MAX: u32 = 2;
/// A record of more bytes is work for the pool from the beginning: looking into it takes the host itself long.
const LARGE_BYTES: usize = 256 << 10;

/// What is to be run, and on whose behalf.
#[derive(Clone)]
pub struct Call {
    /// The function's number (see [`Prepared::function`]).
    pub function: u32,
    /// An archived `Value`; empty: null.
    pub arguments: Bytes,
    /// Bounds of the call, or of each instance of a query.
    pub limits: Arc<Limits>,
    /// The namespace of its records.
    pub namespace: Arc<Namespace>,
    /// Milliseconds since 1970, the same all through the call.
    pub now_ms: u64,
    /// For the guest's pseudo-randomness.
    pub seed: u64,
    /// The caller is a thread of the pool already.
    pub on_pool: bool,
}

/// A task that ends with whoever waits for it.
pub(super) struct Owned<T>(pub JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Owned<T> {
    /// Its result.
    pub async fn join(mut self) -> Result<T, Failed> {
        (&mut self.0).await.map_err(|error| match error.is_cancelled() {
            true => Failed::new(Code::FunctionCancelled, "the node is shutting down"),
            false => Failed::new(Code::Internal, "the function's task panicked; the node's log says where"),
        })
    }
}

impl Prepared {
    /// Runs a record function. Nothing is committed: that is for the caller, who holds the key's turn if the function
    /// writes. Dropping the future ends the guest.
    pub fn call_record(
        &self,
        call: Call,
        subject: Subject,
    ) -> impl Future<Output = Result<Ran, Failed>> + Send + use<> {
        let function = self.expect(call.function, FunctionKind::Record);
        let function = function.map(|(info, label)| (info.encoding, info.read_only, label.clone()));
        let linked = self.linked.clone();
        async move {
            let yields = Arc::new(AtomicU32::new(0));
            let large = subject.stored().is_some_and(|stored| stored.len() > LARGE_BYTES);
            let (shared, on_pool) = (linked.shared.clone(), call.on_pool);
            let (encoding, read_only, label) = function?;
            let place = linked.take_place(call.limits.concurrent_calls)?;
            let run = Box::pin(run(place, (encoding, read_only, label), call, subject, yields.clone()));
            if on_pool {
                return run.await;
            }
            let run: Run = match large {
                true => run,
                false => match begin_here(run, &yields).await {
                    Ok(done) => return done,
                    Err(run) => run,
                },
            };
            match shared.pool_thread() {
                Some(pool) => Owned(pool.spawn(run)).join().await?,
                None => run.await,
            }
        }
    }
}

type Run = Pin<Box<dyn Future<Output = Result<Ran, Failed>> + Send>>;

/// Runs until it is done or has used its slices; then gives the rest back.
async fn begin_here(
    run: Pin<Box<impl Future<Output = Result<Ran, Failed>> + Send + 'static>>,
    yields: &AtomicU32,
) -> Result<Result<Ran, Failed>, Run> {
    let mut run = Some(run);
    let done = poll_fn(|context| {
        let Some(running) = &mut run else { return Poll::Ready(None) };
        match running.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if yields.load(Ordering::Relaxed) >= SLICES_MAX => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match (done, run) {
        (Some(done), _) => Ok(done),
        (None, Some(run)) => Err(run),
        (None, None) => Ok(Err(Failed::new(Code::Internal, "the call was lost"))),
    }
}

async fn run(
    linked: Place,
    (encoding, read_only, label): (Encoding, bool, Arc<Label>),
    call: Call,
    subject: Subject,
    yields: Arc<AtomicU32>,
) -> Result<Ran, Failed> {
    let started = Instant::now();
    let arguments = arguments_for(encoding, &call.arguments, &call.limits)?;
    let bytes_max = call.namespace.policy.record_bytes_max;
    let setup = Setup {
        label,
        limits: call.limits,
        work: Work::Record { read_only },
        namespace: Some(call.namespace),
        now_ms: call.now_ms,
        seed: call.seed,
        started,
        yields,
    };
    let view = View::of_subject(subject)?;
    let mut running = Running::start(&linked, setup, view).await?;
    let finished = finish(&mut running, &linked, call.function, &arguments, encoding, bytes_max).await;
    let trace = running.end_and_keep(&linked).await;
    match finished {
        Ok((result, staged)) => Ok(Ran { result, staged, trace }),
        Err(mut failed) => {
            failed.details.trace = trace;
            Err(failed)
        }
    }
}

async fn finish(
    running: &mut Running,
    linked: &Linked,
    function: u32,
    arguments: &[u8],
    encoding: Encoding,
    bytes_max: usize,
) -> Result<(Vec<u8>, super::outcome::Staged), Failed> {
    let result: Vec<u8> = running.call(&linked.exports.call_record, (function, arguments)).await?;
    running.check_output(result.len())?;
    let result = result_of(encoding, result)?;
    let staged = running.state().view.finish(bytes_max)?;
    Ok((result, staged))
}

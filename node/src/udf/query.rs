//! One instance of a query: it takes batches from its source, one after the other, in memory that stays its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use tokio::time::Instant;

use super::batch::{BATCH_BYTES, Batch, BatchSource, items};
use super::call::Call;
use super::outcome::Failed;
use super::prepared::{Encoding, FunctionKind, Linked, Place, Prepared};
use super::run::{Running, Setup, arguments_for};
use super::state::Work;
use super::view::View;

/// What all instances of a query have in common.
#[derive(Clone)]
pub(super) struct Query {
    pub linked: Arc<Linked>,
    pub setup: Setup,
    pub function: u32,
    pub encoding: Encoding,
    pub arguments: Bytes,
    /// The query's place among the calls of its module.
    _place: Arc<Place>,
}

impl Query {
    /// Checks what can be checked without an instance.
    pub fn new(prepared: &Prepared, call: Call, kind: FunctionKind) -> Result<Query, Failed> {
        let (info, label) = prepared.expect(call.function, kind)?;
        let linked = prepared.linked.clone();
        let place = linked.clone().take_place(call.limits.concurrent_calls)?;
        let arguments = arguments_for(info.encoding, &call.arguments, &call.limits)?;
        let setup = Setup {
            label: label.clone(),
            limits: call.limits,
            work: if kind == FunctionKind::Row { Work::Row } else { Work::Aggregate },
            namespace: Some(call.namespace),
            now_ms: call.now_ms,
            seed: call.seed,
            started: Instant::now(),
            yields: Arc::new(AtomicU32::new(0)),
        };
        Ok(Query {
            linked,
            setup,
            function: call.function,
            encoding: info.encoding,
            arguments,
            _place: Arc::new(place),
        })
    }

    /// An instance of the query.
    pub async fn instance(&self) -> Result<Running, Failed> {
        let setup = Setup { yields: Arc::new(AtomicU32::new(0)), ..self.setup.clone() };
        let mut running = Running::start(&self.linked, setup, View::none()).await?;
        let export = match self.setup.work {
            Work::Row => &self.linked.exports.row_init,
            _ => &self.linked.exports.aggregate_init,
        };
        let begun = running.call::<_, ()>(export, (self.function, &self.arguments[..])).await;
        match begun {
            Ok(()) => Ok(running),
            Err(failed) => Err(running.end_failed(failed)),
        }
    }
}

/// The buffer of an instance's batches.
pub(super) struct Feed {
    bytes: Arc<Vec<u8>>,
}

impl Feed {
    pub fn new() -> Self {
        Feed { bytes: Arc::new(Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4)) }
    }

    /// Fills it; `None` at the source's end.
    pub async fn fill<S: BatchSource>(
        &mut self,
        source: &mut S,
        running: &mut Running,
    ) -> Result<Option<S::Mark>, Failed> {
        if Arc::get_mut(&mut self.bytes).is_none() {
            *self = Feed::new();
        }
        let Some(bytes) = Arc::get_mut(&mut self.bytes) else { return Ok(None) };
        bytes.clear();
        let deadline = running.state().deadline;
        let Ok(next) = tokio::time::timeout_at(deadline, source.next(bytes)).await else {
            running.check_time()?;
            return Err(Failed::new(outcrop_wire::Code::FunctionTimeLimit, "no batch came in time"));
        };
        let mark = next.map_err(|error| Failed::new(error.code, error.message))?;
        if mark.is_some() {
            let (mut records, mut good) = (0, true);
            for item in items(bytes) {
                good &= item.is_ok();
                records += 1;
            }
            if !good {
                return Err(Failed::new(outcrop_wire::Code::Internal, "a batch's lengths don't add up"));
            }
            running.state().count_batch(records, bytes.len() as u64);
        }
        Ok(mark)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Shows it to the guest's accessors; gives the bytes that the guest itself is to take.
    pub fn show(&self, running: &mut Running, encoding: Encoding) -> Arc<Vec<u8>> {
        running.state().batch = Some(Batch::new(self.bytes.clone()));
        match encoding {
            Encoding::Archived => self.bytes.clone(),
            Encoding::Json => Arc::default(),
        }
    }

    /// Takes it back from the accessors.
    pub fn hide(running: &mut Running) -> Option<Batch> {
        let state = running.state();
        state.view = View::none();
        state.batch.take()
    }
}

//! An aggregate: several instances take batches on the threads of the pool, one of them merges what the others came to.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outcrop_wire::Code;

use super::batch::BatchSource;
use super::call::{Call, Owned};
use super::outcome::{Failed, Ran, Staged, Trace};
use super::prepared::{FunctionKind, Prepared};
use super::query::{Feed, Query};
use super::run::{Running, result_of};

/// What an instance came to.
enum Gathered {
    /// It waits to merge the others' states.
    First(Box<Running>),
    /// Its state, and what is told of it.
    State(Vec<u8>, Trace),
}

impl Prepared {
    /// How many instances of a query can run at once: so many sources are worth giving to [`Prepared::aggregate`].
    pub fn query_width(&self) -> usize {
        self.linked.shared.pool_size()
    }

    /// Runs an aggregate over everything that the sources give, an instance for each. Dropping the future stops the
    /// guests at the next beat.
    pub fn aggregate<S: BatchSource>(
        &self,
        call: Call,
        sources: Vec<S>,
    ) -> impl Future<Output = Result<Ran, Failed>> + Send + use<S> {
        let prepared = self.clone();
        async move {
            let query = Query::new(&prepared, call, FunctionKind::Aggregate)?;
            let shared = query.linked.shared.clone();
            let mut tasks = FuturesUnordered::new();
            for (number, source) in sources.into_iter().enumerate() {
                let work = gather(query.clone(), number == 0, source);
                let task = match shared.pool_thread() {
                    Some(thread) => thread.spawn(work),
                    None => tokio::spawn(work),
                };
                tasks.push(Owned(task).join());
            }
            let (mut first, mut states, mut trace) = (None, Vec::new(), Trace::default());
            while let Some(gathered) = tasks.next().await {
                let (gathered, _source) = gathered?;
                match gathered {
                    Ok(Gathered::First(running)) => first = Some(running),
                    Ok(Gathered::State(state, of)) => {
                        trace.add(of, &query.setup.limits);
                        states.push(state);
                    }
                    // The other tasks end with `tasks`. None of them has seen that this one gave up its share: its source
                    // is dropped here.
                    Err(mut failed) => {
                        trace.add(std::mem::take(&mut failed.details.trace), &query.setup.limits);
                        failed.details.trace = trace;
                        return Err(failed);
                    }
                }
            }
            let first = first.ok_or_else(|| Failed::new(Code::InvalidRequest, "an aggregate needs a source"))?;
            let last = merge(query, first, states, trace);
            match shared.pool_thread() {
                Some(thread) => Owned(thread.spawn(last)).join().await?,
                None => last.await,
            }
        }
    }
}

/// One instance's share. The source comes back: a share of a scan that is dropped makes the other instances fail, and their
/// failures must not come before the one that is their cause.
async fn gather<S: BatchSource>(query: Query, first: bool, mut source: S) -> (Result<Gathered, Failed>, S) {
    (gather_from(query, first, &mut source).await, source)
}

async fn gather_from<S: BatchSource>(query: Query, first: bool, source: &mut S) -> Result<Gathered, Failed> {
    let mut running = query.instance().await?;
    match accept(&query, &mut running, first, source).await {
        Ok(None) => Ok(Gathered::First(Box::new(running))),
        Ok(Some(state)) => Ok(Gathered::State(state, running.end())),
        Err(failed) => Err(running.end_failed(failed)),
    }
}

async fn accept<S: BatchSource>(
    query: &Query,
    running: &mut Running,
    first: bool,
    source: &mut S,
) -> Result<Option<Vec<u8>>, Failed> {
    let exports = &query.linked.exports;
    let mut feed = Feed::new();
    while feed.fill(source, running).await?.is_some() {
        if feed.is_empty() {
            continue;
        }
        let bytes = feed.show(running, query.encoding);
        let accepted = running.call::<_, ()>(&exports.aggregate_accept, (bytes.as_slice(),)).await;
        drop(bytes);
        Feed::hide(running);
        accepted?;
    }
    if first {
        return Ok(None);
    }
    let state: Vec<u8> = running.call(&exports.aggregate_state, ()).await?;
    running.check_output(state.len())?;
    Ok(Some(state))
}

/// Merges the states into the first instance and takes the result.
async fn merge(query: Query, running: Box<Running>, states: Vec<Vec<u8>>, mut trace: Trace) -> Result<Ran, Failed> {
    let mut running = *running;
    let limits = Arc::clone(&query.setup.limits);
    match result(&query, &mut running, states).await {
        Ok(result) => {
            trace.add(running.end(), &limits);
            trace.usage.wall = query.setup.started.elapsed();
            Ok(Ran { result, staged: Staged::Nothing, trace })
        }
        Err(failed) => {
            let mut failed = running.end_failed(failed);
            trace.add(std::mem::take(&mut failed.details.trace), &limits);
            failed.details.trace = trace;
            Err(failed)
        }
    }
}

async fn result(query: &Query, running: &mut Running, states: Vec<Vec<u8>>) -> Result<Vec<u8>, Failed> {
    let exports = &query.linked.exports;
    for state in states {
        running.call::<_, ()>(&exports.aggregate_merge, (state.as_slice(),)).await?;
    }
    let result: Vec<u8> = running.call(&exports.aggregate_finish, ()).await?;
    running.check_output(result.len())?;
    result_of(query.encoding, result)
}

//! A row function: batches in, rows out, no faster than somebody takes them.

use std::future::Future;

use outcrop_wire::Code;
use outcrop_wire::archive::access_value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{BatchSource, items};
use super::call::{Call, Owned};
use super::outcome::{Failed, Trace};
use super::prepared::{FunctionKind, Prepared};
use super::query::{Feed, Query};
use super::run::Running;

/// The rows of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsPart<M> {
    /// For each row a little-endian `u32` length and then an archived value, validated.
    pub rows: Vec<u8>,
    /// How many they are.
    pub count: u32,
    /// What the source said of the batch.
    pub mark: M,
}

impl Prepared {
    /// Runs a row function over everything that the source gives, and sends the rows of each batch, also when there are
    /// none (its mark says how far the scan is). It ends at once when nobody takes rows any more, whatever the guest or
    /// the source is at, and tells what it took until then. The limit of wall time doesn't count the waits for rows to
    /// be taken.
    pub fn rows<S: BatchSource>(
        &self,
        call: Call,
        source: S,
        out: mpsc::Sender<RowsPart<S::Mark>>,
    ) -> impl Future<Output = Result<Trace, Failed>> + Send + use<S> {
        let prepared = self.clone();
        async move {
            let query = Query::new(&prepared, call, FunctionKind::Row)?;
            let shared = query.linked.shared.clone();
            let work = all(query, source, out);
            match shared.pool_thread() {
                Some(thread) => Owned(thread.spawn(work)).join().await?,
                None => work.await,
            }
        }
    }
}

async fn all<S: BatchSource>(query: Query, source: S, out: mpsc::Sender<RowsPart<S::Mark>>) -> Result<Trace, Failed> {
    let mut running = query.instance().await?;
    let ended = tokio::select! {
        biased;
        () = out.closed() => Ok(()),
        ended = each(&query, &mut running, source, &out) => ended,
    };
    match ended {
        Ok(()) => Ok(running.end()),
        Err(failed) => Err(running.end_failed(failed)),
    }
}

async fn each<S: BatchSource>(
    query: &Query,
    running: &mut Running,
    mut source: S,
    out: &mpsc::Sender<RowsPart<S::Mark>>,
) -> Result<(), Failed> {
    let mut feed = Feed::new();
    while let Some(mark) = feed.fill(&mut source, running).await? {
        let (rows, count) = if feed.is_empty() { (Vec::new(), 0) } else { batch(query, running, &feed).await? };
        let began = Instant::now();
        if out.send(RowsPart { rows, count, mark }).await.is_err() {
            return Ok(());
        }
        running.state().deadline += began.elapsed();
    }
    Ok(())
}

/// The rows of one batch, and how many they are.
async fn batch(query: &Query, running: &mut Running, feed: &Feed) -> Result<(Vec<u8>, u32), Failed> {
    let bytes = feed.show(running, query.encoding);
    let returned = running.call::<_, Vec<u8>>(&query.linked.exports.row_batch, (bytes.as_slice(),)).await;
    drop(bytes);
    let emitted = Feed::hide(running);
    let mut rows = returned?;
    running.check_output(rows.len())?;
    let mut count = check(&rows)?;
    // What was emitted was made of checked values by the host itself.
    let emitted = emitted.map(|batch| batch.into_rows()).unwrap_or_default();
    count += items(&emitted).count() as u32;
    if rows.is_empty() {
        rows = emitted;
    } else {
        rows.extend_from_slice(&emitted);
    }
    Ok((rows, count))
}

fn check(rows: &[u8]) -> Result<u32, Failed> {
    let mut count = 0;
    for item in items(rows) {
        let checked = item
            .map_err(|error| error.to_string())
            .and_then(|range| access_value(&rows[range]).map(|_| ()).map_err(|error| error.to_string()));
        if let Err(error) = checked {
            let message = format!("row {count} of a batch isn't valid: {error}");
            return Err(Failed::new(Code::FunctionResultInvalid, message));
        }
        count += 1;
    }
    Ok(count)
}

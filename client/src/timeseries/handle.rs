//! A series at hand: what is known of it, how it is made, listed and deleted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::Key;
use outcrop_wire::limits::{AGGREGATE_KEYS_MAX, BATCH_MAX};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::blocks::Blocks;
use super::error::{TimeSeriesError, failure_code};
use super::name::{SeriesName, block_key};
use super::types::{Series, SeriesEntry, SeriesOptions, Stored};
use crate::batch::{Batch, BatchOutcome};
use crate::client::Client;
use crate::functions::{Rows, Target};
use crate::options::{DeleteOptions, ScanOptions};

/// How long a series is taken to be as it was seen last. Were it deleted and made again by others, what is appended
/// meanwhile is found again once its blocks are registered anew.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Block numbers of one request to register them.
const REGISTER_BLOCKS: usize = 4_096;

/// One series. Cheap to clone; clones share what they know of it.
///
/// ```no_run
/// use outcrop_client::timeseries::{Point, SeriesName};
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// let cpu = client.time_series("test", "metrics", SeriesName::new("cpu").tag("host", "a"))?;
/// cpu.append(&[Point::new(1_404_172_800_000, 0.93)]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TimeSeries {
    pub(super) client: Client,
    pub(super) namespace: Arc<str>,
    pub(super) set: Arc<str>,
    /// The name with its tags.
    pub(super) series: Arc<str>,
    options: SeriesOptions,
    known: Arc<Mutex<Option<Known>>>,
}

/// A series as it was seen.
struct Known {
    series: Arc<Series>,
    at: Instant,
}

/// What `register` takes.
#[derive(Serialize)]
struct Register<'a> {
    span_ms: i64,
    duplicates: Option<&'static str>,
    retention_secs: Option<u32>,
    blocks: &'a [i64],
}

impl Client {
    /// A series of a set; nothing is sent yet.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let cpu = client.time_series("test", "metrics", "cpu{host=a}".parse()?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn time_series(&self, namespace: &str, set: &str, name: SeriesName) -> Result<TimeSeries, TimeSeriesError> {
        name.check()?;
        let series = name.to_string();
        Key::new(namespace, set, series.as_str()).check().map_err(crate::error::ClientError::from)?;
        Ok(TimeSeries {
            client: self.clone(),
            namespace: namespace.into(),
            set: set.into(),
            series: series.into(),
            options: SeriesOptions::default(),
            known: Arc::default(),
        })
    }

    /// The series of a set, streamed, in no order. It reads the whole set beside the data and returns no points.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let mut list = client.list_time_series("test", "metrics");
    /// while let Some(entry) = list.next().await {
    ///     println!("{}", entry?.series);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_time_series(&self, namespace: &str, set: &str) -> SeriesList {
        let function = self.function("timeseries.list");
        SeriesList { rows: function.rows(namespace, Some(set), ScanOptions::default()) }
    }
}

/// A list of series under way.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
/// let first = client.list_time_series("test", "metrics").next().await.transpose()?;
/// # Ok(())
/// # }
/// ```
pub struct SeriesList {
    rows: Rows,
}

impl SeriesList {
    /// The next series; `None` at the end.
    ///
    /// ```no_run
    /// # async fn example(mut list: outcrop_client::timeseries::SeriesList) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// while let Some(entry) = list.next().await {
    ///     println!("{}", entry?.series);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<SeriesEntry, TimeSeriesError>> {
        Some(self.rows.next_as().await?.map_err(TimeSeriesError::from))
    }
}

impl fmt::Debug for TimeSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeSeries")
            .field("namespace", &self.namespace)
            .field("set", &self.set)
            .field("series", &self.series)
            .finish()
    }
}

impl TimeSeries {
    /// With these options for the series that an append makes, or that is there.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use outcrop_client::timeseries::{SeriesOptions, TimeSeries};
    /// # fn example(cpu: TimeSeries) {
    /// let cpu = cpu.options(SeriesOptions::default().retention(Duration::from_secs(30 * 86_400)));
    /// # }
    /// ```
    #[must_use]
    pub fn options(mut self, options: SeriesOptions) -> Self {
        self.options = options;
        // Others that share what is known have other options.
        self.known = Arc::default();
        self
    }

    /// Its name with tags.
    ///
    /// ```no_run
    /// # fn example(cpu: outcrop_client::timeseries::TimeSeries) {
    /// println!("{}", cpu.series());
    /// # }
    /// ```
    pub fn series(&self) -> &str {
        &self.series
    }

    /// What the node knows of it; `None` if there is no such series.
    ///
    /// ```no_run
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// println!("{:?}", cpu.describe().await?.map(|series| series.retention_secs));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe(&self) -> Result<Option<Series>, TimeSeriesError> {
        let describe = self.client.function("timeseries.describe").read_only(true);
        Ok(describe.call(&self.key()).await?.to()?)
    }

    /// Makes it, or gives it the options' policies; the span has to be among the options unless it is there already.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use outcrop_client::timeseries::{SeriesOptions, TimeSeries};
    /// # async fn example(cpu: TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// let hour = SeriesOptions::default().span(Duration::from_secs(3_600));
    /// let series = cpu.options(hour).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self) -> Result<Arc<Series>, TimeSeriesError> {
        let span_ms = match (self.options.span_ms, self.describe().await?) {
            (Some(span_ms), _) => span_ms,
            (None, Some(held)) => held.span_ms,
            (None, None) => {
                let message = "a series without points needs a span to be made; say it (--span), or append to it first"
                    .to_owned();
                return Err(TimeSeriesError::Arguments(message));
            }
        };
        self.register(span_ms, &[]).await
    }

    /// How many points it has and what they take.
    ///
    /// ```no_run
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// println!("{} points", cpu.stored().await?.points);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stored(&self) -> Result<Stored, TimeSeriesError> {
        let series = self.existing().await?;
        let mut left = Blocks::all(&series);
        let mut whole = Stored::default();
        loop {
            let numbers = left.take_first(AGGREGATE_KEYS_MAX);
            if numbers.is_empty() {
                return Ok(whole);
            }
            let keys = numbers.into_iter().map(|number| self.block(number));
            let over = Target::keys(&*self.namespace, keys);
            whole.add(self.client.function("timeseries.summary").aggregate(&over).await?.to()?);
        }
    }

    /// Deletes all its blocks, then the series itself; whether it was there. Appends meanwhile may leave blocks behind,
    /// which a series of the same name and span finds again.
    ///
    /// ```no_run
    /// # async fn example(cpu: outcrop_client::timeseries::TimeSeries) -> Result<(), outcrop_client::timeseries::TimeSeriesError> {
    /// assert!(cpu.delete().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self) -> Result<bool, TimeSeriesError> {
        let Some(series) = self.describe().await? else { return Ok(false) };
        *self.known.lock() = None;
        let mut left = Blocks::all(&series);
        loop {
            let numbers = left.take_first(BATCH_MAX);
            if numbers.is_empty() {
                break;
            }
            let batch = numbers.iter().fold(Batch::new().idempotent(true), |batch, number| {
                batch.delete(&self.block(*number), DeleteOptions::default())
            });
            for outcome in self.client.batch(batch).await? {
                if let BatchOutcome::Failed(error) = outcome {
                    return Err(error.into());
                }
            }
        }
        Ok(self.client.delete(&self.key(), DeleteOptions::default()).await?)
    }

    /// The key of the series' own record.
    pub(super) fn key(&self) -> Key {
        Key::new(&*self.namespace, &*self.set, &*self.series)
    }

    /// The key of a block's record.
    pub(super) fn block(&self, number: i64) -> Key {
        block_key(&self.namespace, &self.set, &self.series, number)
    }

    /// The span that was asked for.
    pub(super) fn asked_span_ms(&self) -> Option<i64> {
        self.options.span_ms
    }

    /// The series, which has to be there.
    pub(super) async fn existing(&self) -> Result<Series, TimeSeriesError> {
        self.describe().await?.ok_or_else(|| TimeSeriesError::NoSeries(self.series.to_string()))
    }

    /// What was seen a short time ago.
    pub(super) fn known(&self) -> Option<Arc<Series>> {
        let known = self.known.lock();
        known.as_ref().filter(|known| known.at.elapsed() < KNOWN_FOR).map(|known| known.series.clone())
    }

    /// Registers blocks, which makes the series if it isn't there.
    pub(super) async fn register(&self, span_ms: i64, blocks: &[i64]) -> Result<Arc<Series>, TimeSeriesError> {
        let function = self.client.function("timeseries.register").idempotent(true);
        let mut parts = blocks.chunks(REGISTER_BLOCKS);
        let mut part: &[i64] = parts.next().unwrap_or_default();
        let series = loop {
            let SeriesOptions { duplicates, retention_secs, .. } = self.options;
            let duplicates = duplicates.map(super::Duplicates::name);
            let arguments = Register { span_ms, duplicates, retention_secs, blocks: part };
            let called = function.clone().arguments(&arguments).call(&self.key()).await;
            let series: Series = match called {
                Ok(called) => called.to()?,
                Err(error) if failure_code(&error) == Some("other-span") => {
                    return Err(self.other_span(span_ms).await?);
                }
                Err(error) => return Err(error.into()),
            };
            match parts.next() {
                Some(next) => part = next,
                None => break Arc::new(series),
            }
        };
        *self.known.lock() = Some(Known { series: series.clone(), at: Instant::now() });
        Ok(series)
    }

    async fn other_span(&self, asked_ms: i64) -> Result<TimeSeriesError, TimeSeriesError> {
        let held_ms = self.existing().await?.span_ms;
        Ok(TimeSeriesError::OtherSpan { series: self.series.to_string(), held_ms, asked_ms })
    }
}

//! What a call gives back: the result, the record it left, and the report if it was asked for.

use bytes::Bytes;
use outcrop_wire::archive::{access_value, decode_value, decode_value_or_null};
use outcrop_wire::{Value, peek, reply, typed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::error::ClientError;

/// The result of a call or an aggregate, as it came off the network; it is read when it is asked for.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// let called = client.function("shop.discount").arguments(&15).report().call(&key).await?;
/// let price: i64 = called.to()?;
/// println!("{price} at generation {}, {} units of fuel", called.generation(), called.report()?.fuel);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Called {
    result: Bytes,
    report: Bytes,
    generation: u32,
    epoch: u64,
    sequence: u64,
}

impl Called {
    pub(crate) fn parse(answer: &Answer) -> Result<Self, ClientError> {
        Called::of_reply(&answer.header, &answer.body())
    }

    /// `body` is the reply's body; results are slices of it.
    pub(crate) fn of_reply(header: &outcrop_wire::ReplyHeader, body: &Bytes) -> Result<Self, ClientError> {
        let called = reply::Called::parse(body).map_err(ClientError::protocol)?;
        Ok(Called {
            result: body.slice_ref(called.result),
            report: body.slice_ref(called.report),
            generation: header.generation,
            epoch: header.epoch,
            sequence: header.sequence,
        })
    }

    /// The result as a serde type.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) -> Result<(), outcrop_client::ClientError> {
    /// let (price, tags): (i64, Vec<String>) = called.to()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        // A function without a result to speak of gives no bytes: null.
        if self.result.is_empty() {
            return Ok(typed::from_value(&Value::Null)?);
        }
        let value = peek::value(&self.result).map_err(ClientError::protocol)?;
        Ok(typed::from_peeked(value)?)
    }

    /// The result as a value.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) -> Result<(), outcrop_client::ClientError> {
    /// println!("{:?}", called.value()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn value(&self) -> Result<Value, ClientError> {
        Ok(decode_value_or_null(&self.result)?)
    }

    /// The result as it came: an archived value, checked here once; [`outcrop_wire::peek`] reads it in place.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} bytes", called.archive()?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn archive(&self) -> Result<&Bytes, ClientError> {
        access_value(&self.result)?;
        Ok(&self.result)
    }

    /// The record's generation afterwards; 0 if there is no record, and of an aggregate.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
    /// let called = client.function("shop.discount").call(&key).await?;
    /// let again = client.function("shop.discount").if_generation(called.generation()).call(&key).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The epoch of its partition.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) {
    /// let order = (called.epoch(), called.sequence());
    /// # }
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its place among its partition's writes; (epoch, sequence) orders writes.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) {
    /// let order = (called.epoch(), called.sequence());
    /// # }
    /// ```
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Places of the node's log that an aggregate passed over because their bytes are damaged: the records that lay there are
    /// missing from its result. The node tells it without being asked.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) -> Result<(), outcrop_client::ClientError> {
    /// if called.damaged()? > 0 {
    ///     eprintln!("not all records were counted");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn damaged(&self) -> Result<u64, ClientError> {
        Ok(self.report()?.damaged_places)
    }

    /// What the call took and logged; all zero and empty unless [`super::Function::report`] asked for it, or an aggregate
    /// passed over damage.
    ///
    /// ```no_run
    /// # fn example(called: outcrop_client::Called) -> Result<(), outcrop_client::ClientError> {
    /// for line in called.report()?.logs {
    ///     println!("{}: {}", line.level, line.message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn report(&self) -> Result<Report, ClientError> {
        if self.report.is_empty() {
            return Ok(Report::default());
        }
        Ok(typed::from_value(&decode_value(&self.report)?)?)
    }
}

/// A line that a function logged in a call.
///
/// ```
/// let line = outcrop_client::LogLine { level: "warn".into(), message: "15 % is a lot".into() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub message: String,
}

/// What a call or an aggregate took, as the node measured it.
///
/// ```
/// let report = outcrop_client::Report::default();
/// assert!(report.logs.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Report {
    /// The module.
    pub module: String,
    /// The version that ran.
    pub version: String,
    /// Instructions, roughly.
    pub fuel: u64,
    /// Memory at its most.
    pub memory_bytes: u64,
    /// Wall time of the call, in microseconds.
    pub wall_us: u64,
    /// Calls of the host by the guest.
    pub host_calls: u64,
    /// Of an aggregate: records that it saw.
    pub records: u64,
    /// Of an aggregate: their bytes.
    pub bytes: u64,
    /// Of an aggregate: from its begin to its end, in microseconds.
    pub elapsed_us: u64,
    /// Of an aggregate: instances that worked side by side.
    pub instances: u64,
    /// Of an aggregate: places of the log that it passed over because their bytes are damaged.
    pub damaged_places: u64,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// Lines beyond the limits, which are not among `logs`.
    pub logs_dropped: u64,
}

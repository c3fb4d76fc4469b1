//! Row queries: what a row function makes of a scan's records, streamed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use outcrop_wire::archive::decode_value;
use outcrop_wire::reply::ScanPart;
use outcrop_wire::{Cursor, Value, peek, typed};
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::parts::{Part, Parts};

/// A row query under way: a stream of values. Dropped, it stops, and with it the node's work.
///
/// Like a [`crate::Scan`], it takes rows only as fast as they are read, and goes on over another connection, from where it
/// was, when one breaks: rows of the part that was lost are worked out again.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// #[derive(serde::Deserialize)]
/// struct Row { name: String, price: i64 }
///
/// let mut rows = client.rows("test", Some("products"), "shop.cheaper_than", &1_000);
/// while let Some(row) = rows.next_as::<Row>().await {
///     let row = row?;
///     println!("{}: {}", row.name, row.price);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Rows {
    parts: Parts,
    /// Why it can't begin.
    failed: Option<ClientError>,
    rows: VecDeque<Bytes>,
    /// Where to go on once `rows` is empty.
    next_cursor: Option<Cursor>,
    cursor: Option<Cursor>,
    damaged: u64,
}

impl Rows {
    pub(super) fn new(parts: Result<Parts, ClientError>, cursor: Option<Cursor>) -> Self {
        let (parts, failed) = match parts {
            Ok(parts) => (parts, None),
            Err(error) => (Parts::Done, Some(error)),
        };
        Rows { parts, failed, rows: VecDeque::new(), next_cursor: cursor, cursor, damaged: 0 }
    }

    /// The next row; `None` at the end. After an error the query is over; [`Rows::cursor`] tells where it was.
    ///
    /// ```no_run
    /// # async fn example(mut rows: outcrop_client::Rows) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(row) = rows.next().await {
    ///     println!("{:?}", row?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Value, ClientError>> {
        let row = std::future::poll_fn(|context| self.poll_row(context)).await?;
        Some(row.and_then(|row| Ok(decode_value(&row)?)))
    }

    /// The next row as a serde type; `None` at the end.
    ///
    /// ```no_run
    /// # async fn example(mut rows: outcrop_client::Rows) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(row) = rows.next_as::<(String, i64)>().await {
    ///     let (name, price) = row?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, ClientError>> {
        let row = std::future::poll_fn(|context| self.poll_row(context)).await?;
        Some(row.and_then(|row| read(&row)))
    }

    /// All rows that came in one frame (about 256 KiB), as a serde type: the fastest way to go through many. Never empty.
    ///
    /// ```no_run
    /// # async fn example(mut rows: outcrop_client::Rows) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(rows) = rows.next_batch::<(String, i64)>().await {
    ///     println!("{} more", rows?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_batch<T: DeserializeOwned>(&mut self) -> Option<Result<Vec<T>, ClientError>> {
        let first = std::future::poll_fn(|context| self.poll_row(context)).await?;
        let rest = std::mem::take(&mut self.rows);
        self.cursor = self.next_cursor;
        Some(first.and_then(|first| std::iter::once(first).chain(rest).map(|row| read(&row)).collect()))
    }

    /// Where another query can go on ([`crate::ScanOptions::cursor`]): behind the last frame of which every row was given.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, mut rows: outcrop_client::Rows) -> Result<(), outcrop_client::ClientError> {
    /// use outcrop_client::ScanOptions;
    /// rows.next_batch::<i64>().await.transpose()?;
    /// let options = ScanOptions::default().cursor(rows.cursor());
    /// let rest = client.function("shop.cheaper_than").arguments(&1_000).rows("test", Some("products"), options);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Places of the node's log that were passed over so far because their bytes are damaged: the function didn't see the
    /// records that lay there.
    ///
    /// ```no_run
    /// # fn example(rows: &outcrop_client::Rows) {
    /// if rows.damaged() > 0 {
    ///     eprintln!("not all records were looked at: {} places are damaged", rows.damaged());
    /// }
    /// # }
    /// ```
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ClientError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(row) = self.rows.pop_front() {
                if self.rows.is_empty() {
                    self.cursor = self.next_cursor;
                }
                return Poll::Ready(Some(Ok(row)));
            }
            let Some(part) = ready!(self.parts.poll(context)) else { return Poll::Ready(None) };
            if let Err(error) = part.and_then(|part| self.unpack(&part)) {
                self.parts = Parts::Done;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn unpack(&mut self, part: &Part) -> Result<(), ClientError> {
        let parsed = ScanPart::parse(&part.body).map_err(ClientError::protocol)?;
        for row in parsed.iter() {
            self.rows.push_back(part.body.slice_ref(row.map_err(ClientError::protocol)?));
        }
        self.damaged += u64::from(part.damaged);
        self.next_cursor = Some(part.cursor);
        if self.rows.is_empty() {
            self.cursor = self.next_cursor;
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(row: &[u8]) -> Result<T, ClientError> {
    Ok(typed::from_peeked(peek::value(row).map_err(ClientError::protocol)?)?)
}

impl Stream for Rows {
    type Item = Result<Value, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_row(context).map(|row| row.map(|row| row.and_then(|row| Ok(decode_value(&row)?))))
    }
}

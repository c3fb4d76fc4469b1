//! Scans: all records of a set or a namespace, streamed; a slow reader holds the node back, a lost connection resumes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use outcrop_wire::Cursor;
use outcrop_wire::reply::ScanPart;

use crate::client::Client;
use crate::error::ClientError;
use crate::options::ScanOptions;
use crate::parts::{Begin, Part, Parts};
use crate::view::RecordView;

/// A scan under way: a stream of records. Dropped, it stops.
///
/// It gives each record that was there from its beginning to its end exactly once, with what it held at some moment in
/// between; records that come or go meanwhile may be given or not. When the connection breaks it goes on over another,
/// from where it was: a record that was written or moved by defrag around that moment may come again, none is left out.
///
/// ```no_run
/// use outcrop_client::ScanOptions;
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let mut scan = client.scan("test", Some("people"), ScanOptions::default());
/// while let Some(record) = scan.next().await {
///     let record = record?;
///     println!("{} {:?}", record.key().user_key, record.to_bins()?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Scan {
    parts: Parts,
    records: VecDeque<RecordView>,
    /// Where to go on once `records` is empty.
    next_cursor: Option<Cursor>,
    cursor: Option<Cursor>,
    damaged: u64,
}

impl Client {
    /// Goes through all records of a set, or of the whole namespace. Nothing is sent before the first record is asked for.
    ///
    /// ```no_run
    /// use outcrop_client::ScanOptions;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let mut scan = client.scan("test", None, ScanOptions::default().bins(["name"]).limit(10));
    /// while let Some(batch) = scan.next_batch().await {
    ///     println!("{} records", batch?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, namespace: &str, set: Option<&str>, options: ScanOptions) -> Scan {
        let cursor = options.cursor;
        let begin = Begin {
            client: self.clone(),
            namespace: namespace.to_owned(),
            set: set.map(str::to_owned),
            options,
            rows: None,
        };
        Scan { parts: Parts::Idle(Box::new(begin)), records: VecDeque::new(), next_cursor: cursor, cursor, damaged: 0 }
    }
}

impl Scan {
    /// The next record; `None` at the end. After an error the scan is over; [`Scan::cursor`] tells where it was.
    ///
    /// ```no_run
    /// # async fn example(mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(record) = scan.next().await {
    ///     println!("{}", record?.key().user_key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<RecordView, ClientError>> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    /// All records that came in one frame (about 256 KiB): the fastest way to go through many. Never empty.
    ///
    /// ```no_run
    /// # async fn example(mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(records) = scan.next_batch().await {
    ///     println!("{} more", records?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_batch(&mut self) -> Option<Result<Vec<RecordView>, ClientError>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// Where another scan can go on ([`ScanOptions::cursor`]), now or after a restart: behind the last frame of which
    /// every record was given. Records of a frame that was only partly given come again; [`Scan::next_batch`] gives
    /// whole frames. `None`: from the beginning.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// use outcrop_client::ScanOptions;
    /// scan.next_batch().await.transpose()?;
    /// let rest = client.scan("test", None, ScanOptions::default().cursor(scan.cursor()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Places of the node's log that were passed over so far because their bytes are damaged: records that lay there are
    /// missing from what was given. The node's log names each place.
    ///
    /// ```no_run
    /// # async fn example(mut scan: outcrop_client::Scan) -> Result<(), outcrop_client::ClientError> {
    /// while let Some(record) = scan.next().await.transpose()? {
    ///     println!("{}", record.key().user_key);
    /// }
    /// if scan.damaged() > 0 {
    ///     eprintln!("this isn't all: {} places are damaged", scan.damaged());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordView, ClientError>>> {
        loop {
            if let Some(record) = self.records.pop_front() {
                if self.records.is_empty() {
                    self.cursor = self.next_cursor;
                }
                return Poll::Ready(Some(Ok(record)));
            }
            if let Some(Err(error)) = ready!(self.poll_fill(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            if self.records.is_empty() && self.parts.is_done() {
                return Poll::Ready(None);
            }
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<RecordView>, ClientError>>> {
        while self.records.is_empty() {
            match ready!(self.poll_fill(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(())) => {}
                None => return Poll::Ready(None),
            }
        }
        self.cursor = self.next_cursor;
        Poll::Ready(Some(Ok(std::mem::take(&mut self.records).into())))
    }

    /// Takes the next part into `records`; `None`: there is none.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<(), ClientError>>> {
        let Some(part) = ready!(self.parts.poll(context)) else { return Poll::Ready(None) };
        let filled = part.and_then(|part| self.unpack(part));
        if filled.is_err() {
            self.parts = Parts::Done;
        }
        Poll::Ready(Some(filled))
    }

    fn unpack(&mut self, part: Part) -> Result<(), ClientError> {
        let parsed = ScanPart::parse(&part.body).map_err(ClientError::protocol)?;
        // A lying count takes no memory: each record has a header of 64 bytes at least.
        let mut records = VecDeque::with_capacity((parsed.count as usize).min(part.body.len() / 64));
        for record in parsed.iter() {
            let record = record.map_err(ClientError::protocol)?;
            records.push_back(RecordView::parse(part.body.slice_ref(record))?);
        }
        self.records = records;
        self.damaged += u64::from(part.damaged);
        self.next_cursor = Some(part.cursor);
        if self.records.is_empty() {
            self.cursor = self.next_cursor;
        }
        Ok(())
    }
}

impl Stream for Scan {
    type Item = Result<RecordView, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(context)
    }
}

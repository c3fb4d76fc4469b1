//! Batches: many requests in one frame, each with its own outcome.

use bytes::Bytes;
use outcrop_wire::archive::{archive_bins, archive_operations};
use outcrop_wire::limits::BATCH_MAX;
use outcrop_wire::request::{BatchItem, CallRequest, RequestError};
use outcrop_wire::{BinSelection, Bins, Code, Key, Operation, Reply, RequestBody, Ttl, Verb};

use crate::answer::{Outgoing, body_bytes, refused};
use crate::client::Client;
use crate::error::ClientError;
use crate::functions::{CallOptions, Called, Function, check_path};
use crate::operate::OperateResult;
use crate::options::{DeleteOptions, OperateOptions, PutOptions};
use crate::transport::link::Link;
use crate::verbs::check_bin_names;
use crate::view::{RecordMeta, RecordView, Written};

/// Keys of one request of `get_many`: replies of a kilobyte stay well below the limit of a batch's replies.
const GET_MANY_KEYS: usize = 1_024;
/// Requests of one `get_many` that are under way at once.
const GET_MANY_UNDER_WAY: usize = 4;

#[derive(Debug, Clone)]
enum Item {
    Get { key: Key, bins: Option<Vec<String>> },
    Exists { key: Key },
    Put { key: Key, archive: Result<Vec<u8>, ClientError>, options: PutOptions },
    Delete { key: Key, options: DeleteOptions },
    Touch { key: Key, ttl: Ttl },
    Operate { key: Key, archive: Result<Vec<u8>, ClientError>, writes: bool, options: OperateOptions },
    Call { key: Key, path: String, arguments: Result<Bytes, ClientError>, options: CallOptions },
}

/// A list of requests that travel together. The deadlines of single options don't count here; the batch has its own.
///
/// ```no_run
/// use outcrop_client::{Batch, BatchOutcome, Bins, Key, PutOptions};
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
/// let (ada, alan) = (Key::new("test", "people", "ada"), Key::new("test", "people", "alan"));
/// let batch = Batch::new().get(&ada).put(&alan, &Bins::new().with("born", 1912), PutOptions::default());
/// for outcome in client.batch(batch).await? {
///     match outcome {
///         BatchOutcome::Failed(error) => println!("failed: {error}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    items: Vec<Item>,
    deadline: Option<std::time::Duration>,
    idempotent: bool,
}

/// What became of one request of a batch.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client, batch: outcrop_client::Batch) -> Result<(), outcrop_client::ClientError> {
/// use outcrop_client::BatchOutcome;
/// let outcomes = client.batch(batch).await?;
/// let failed = outcomes.iter().filter(|outcome| matches!(outcome, BatchOutcome::Failed(_))).count();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum BatchOutcome {
    /// Of a get: the record, if there is one.
    Record(Option<RecordView>),
    /// Of an exists: generation and expiry, if there is a record.
    Exists(Option<RecordMeta>),
    /// Of a put.
    Written(Written),
    /// Of a touch; `None` if there is no such record.
    Touched(Option<Written>),
    /// Of a delete: whether it was there.
    Deleted(bool),
    /// Of an operate.
    Operated(OperateResult),
    /// Of a call.
    Called(Called),
    /// It failed; the others of the batch don't depend on it.
    Failed(ClientError),
}

impl Batch {
    /// No requests.
    ///
    /// ```
    /// assert!(outcrop_client::Batch::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Batch::default()
    }

    /// Number of requests so far.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key};
    /// assert_eq!(Batch::new().get(&Key::new("test", "people", 1)).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no requests.
    ///
    /// ```
    /// assert!(outcrop_client::Batch::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Reads a record.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key};
    /// let batch = Batch::new().get(&Key::new("test", "people", 1));
    /// ```
    #[must_use]
    pub fn get(self, key: &Key) -> Self {
        self.with(Item::Get { key: key.clone(), bins: None })
    }

    /// Reads some bins of a record.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key};
    /// let batch = Batch::new().get_bins(&Key::new("test", "people", 1), &["name"]);
    /// ```
    #[must_use]
    pub fn get_bins(self, key: &Key, bins: &[&str]) -> Self {
        let bins = bins.iter().map(|name| (*name).to_owned()).collect();
        self.with(Item::Get { key: key.clone(), bins: Some(bins) })
    }

    /// Asks whether a record is there.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key};
    /// let batch = Batch::new().exists(&Key::new("test", "people", 1));
    /// ```
    #[must_use]
    pub fn exists(self, key: &Key) -> Self {
        self.with(Item::Exists { key: key.clone() })
    }

    /// Writes a record.
    ///
    /// ```
    /// use outcrop_client::{Batch, Bins, Key, PutOptions};
    /// let bins = Bins::new().with("name", "Ada");
    /// let batch = Batch::new().put(&Key::new("test", "people", 1), &bins, PutOptions::default());
    /// ```
    #[must_use]
    pub fn put(self, key: &Key, bins: &Bins, options: PutOptions) -> Self {
        let archive = archive_bins(bins).map_err(ClientError::from);
        self.with(Item::Put { key: key.clone(), archive, options })
    }

    /// Deletes a record.
    ///
    /// ```
    /// use outcrop_client::{Batch, DeleteOptions, Key};
    /// let batch = Batch::new().delete(&Key::new("test", "people", 1), DeleteOptions::default());
    /// ```
    #[must_use]
    pub fn delete(self, key: &Key, options: DeleteOptions) -> Self {
        self.with(Item::Delete { key: key.clone(), options })
    }

    /// Gives a record a new time to live.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key, Ttl};
    /// let batch = Batch::new().touch(&Key::new("test", "people", 1), Ttl::Secs(60));
    /// ```
    #[must_use]
    pub fn touch(self, key: &Key, ttl: Ttl) -> Self {
        self.with(Item::Touch { key: key.clone(), ttl })
    }

    /// Carries out operations on a record.
    ///
    /// ```
    /// use outcrop_client::{Batch, Key, OperateOptions, Operation};
    /// let steps = vec![Operation::Read { bin: "name".into() }];
    /// let batch = Batch::new().operate(&Key::new("test", "people", 1), steps, OperateOptions::default());
    /// ```
    #[must_use]
    pub fn operate(self, key: &Key, operations: Vec<Operation>, options: OperateOptions) -> Self {
        let writes = operations.iter().any(Operation::writes);
        let archive = archive_operations(&operations).map_err(ClientError::from);
        self.with(Item::Operate { key: key.clone(), archive, writes, options })
    }

    /// Calls a function on a record.
    ///
    /// ```no_run
    /// use outcrop_client::{Batch, Key};
    /// # fn example(client: outcrop_client::Client) {
    /// let discount = client.function("shop.discount").arguments(&15);
    /// let batch = Batch::new().call(&Key::new("test", "products", 1), &discount);
    /// # }
    /// ```
    #[must_use]
    pub fn call(self, key: &Key, function: &Function) -> Self {
        let (path, arguments) = (function.path().to_owned(), function.shared_arguments());
        let options = function.call_options().clone();
        self.with(Item::Call { key: key.clone(), path, arguments, options })
    }

    /// How long to wait for the whole batch; the client's default unless said.
    ///
    /// ```
    /// let batch = outcrop_client::Batch::new().deadline(std::time::Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Says that carrying it out twice is harmless, so that it may be sent again when its reply was lost.
    ///
    /// ```
    /// let batch = outcrop_client::Batch::new().idempotent(true);
    /// ```
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    fn with(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }
}

impl Item {
    fn key(&self) -> &Key {
        match self {
            Item::Get { key, .. }
            | Item::Exists { key }
            | Item::Put { key, .. }
            | Item::Delete { key, .. }
            | Item::Touch { key, .. }
            | Item::Operate { key, .. }
            | Item::Call { key, .. } => key,
        }
    }

    fn writes(&self) -> bool {
        match self {
            Item::Get { .. } | Item::Exists { .. } => false,
            Item::Operate { writes, .. } => *writes,
            Item::Call { options, .. } => !options.read_only,
            Item::Put { .. } | Item::Delete { .. } | Item::Touch { .. } => true,
        }
    }

    /// What keeps it from being sent.
    fn check(&self) -> Result<(), ClientError> {
        self.key().check()?;
        match self {
            Item::Get { bins, .. } => check_bin_names(bins.as_deref().unwrap_or_default()),
            Item::Exists { .. } | Item::Delete { .. } => Ok(()),
            Item::Put { archive, options, .. } => {
                archive.as_ref().map_err(Clone::clone)?;
                Ok(options.ttl.check()?)
            }
            Item::Touch { ttl, .. } => Ok(ttl.check()?),
            Item::Operate { archive, options, .. } => {
                archive.as_ref().map_err(Clone::clone)?;
                Ok(options.ttl.check()?)
            }
            Item::Call { path, arguments, .. } => {
                arguments.as_ref().map_err(Clone::clone)?;
                check_path(path).map(drop)
            }
        }
    }

    fn body(&self) -> Result<RequestBody<'_>, ClientError> {
        let key = self.key().borrow();
        Ok(match self {
            Item::Get { bins: None, .. } => RequestBody::Get { key, bins: BinSelection::All },
            Item::Get { bins: Some(bins), .. } => {
                RequestBody::Get { key, bins: BinSelection::Named(bins.iter().map(String::as_str).collect()) }
            }
            Item::Exists { .. } => RequestBody::Exists { key },
            Item::Put { archive, options, .. } => {
                let PutOptions { mode, if_generation, ttl, .. } = *options;
                let archive = archive.as_ref().map_err(Clone::clone)?;
                RequestBody::Put { key, mode, if_generation, ttl, archive }
            }
            Item::Delete { options, .. } => RequestBody::Delete { key, if_generation: options.if_generation },
            Item::Touch { ttl, .. } => RequestBody::Touch { key, if_generation: None, ttl: *ttl },
            Item::Operate { archive, options, .. } => {
                let OperateOptions { if_generation, ttl, .. } = *options;
                let operations = archive.as_ref().map_err(Clone::clone)?;
                RequestBody::Operate { key, if_generation, ttl, operations }
            }
            Item::Call { path, arguments, options, .. } => {
                let CallOptions { if_generation, report, .. } = *options;
                let (function, arguments) = (check_path(path)?, arguments.as_ref().map_err(Clone::clone)?);
                RequestBody::Call(CallRequest { key, if_generation, report, function, arguments })
            }
        })
    }

    fn outcome(&self, reply: &Reply<'_>, frame: &Bytes) -> Result<BatchOutcome, ClientError> {
        let absent = match reply.header.code {
            Code::Ok => false,
            Code::NotFound => true,
            _ => return Err(refused(reply)),
        };
        let header = &reply.header;
        Ok(match self {
            Item::Get { .. } if absent => BatchOutcome::Record(None),
            Item::Get { .. } => BatchOutcome::Record(Some(RecordView::parse(frame.slice_ref(reply.body))?)),
            Item::Exists { .. } if absent => BatchOutcome::Exists(None),
            Item::Exists { .. } => BatchOutcome::Exists(Some(RecordMeta::parse(header, reply.body)?)),
            Item::Delete { .. } => BatchOutcome::Deleted(!absent),
            Item::Touch { .. } if absent => BatchOutcome::Touched(None),
            Item::Touch { .. } => BatchOutcome::Touched(Some(Written::parse(header, reply.body)?)),
            Item::Put { .. } | Item::Operate { .. } | Item::Call { .. } if absent => return Err(refused(reply)),
            Item::Put { .. } => BatchOutcome::Written(Written::parse(header, reply.body)?),
            Item::Operate { .. } => BatchOutcome::Operated(OperateResult::parse(header, reply.body)?),
            Item::Call { .. } => BatchOutcome::Called(Called::of_reply(header, &frame.slice_ref(reply.body))?),
        })
    }
}

impl Client {
    /// Sends many requests (1 to 4,096) in one frame; one outcome for each, in their order.
    ///
    /// A request that isn't within the limits fails by itself and isn't sent. An error of the whole: nothing is known of
    /// any of them, unless it says that nothing was written.
    ///
    /// ```no_run
    /// use outcrop_client::{Batch, Key};
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let outcomes = client.batch(Batch::new().exists(&Key::new("test", "people", 1))).await?;
    /// assert_eq!(outcomes.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch(&self, batch: Batch) -> Result<Vec<BatchOutcome>, ClientError> {
        if batch.items.is_empty() || batch.items.len() > BATCH_MAX {
            return Err(RequestError::Batch(format!("this one has {}", batch.items.len())).into());
        }
        let known = self.namespaces();
        let checked: Vec<Result<(), ClientError>> = batch
            .items
            .iter()
            .map(|item| {
                item.check()?;
                let namespace = &item.key().namespace;
                match known.iter().any(|known| known.name == *namespace) || known.is_empty() {
                    true => Ok(()),
                    false => Err(unknown_namespace(namespace)),
                }
            })
            .collect();
        let sent: Vec<&Item> =
            batch.items.iter().zip(&checked).filter(|(_, ok)| ok.is_ok()).map(|(item, _)| item).collect();
        let mut answers = self.send_items(&sent, batch.deadline, batch.idempotent).await?.into_iter();
        Ok(checked
            .into_iter()
            .map(|checked| match checked {
                Err(error) => BatchOutcome::Failed(error),
                Ok(()) => answers.next().unwrap_or_else(|| {
                    BatchOutcome::Failed(ClientError::Protocol("the batch's reply has too few parts".to_owned()))
                }),
            })
            .collect())
    }

    async fn send_items(
        &self,
        items: &[&Item],
        deadline: Option<std::time::Duration>,
        idempotent: bool,
    ) -> Result<Vec<BatchOutcome>, ClientError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let writes = items.iter().any(|item| item.writes());
        let measured = RequestBody::Batch { items: items_of(items, |_| Some(Default::default()))? };
        let outgoing = Outgoing {
            writes,
            idempotent: idempotent || !writes,
            deadline,
            bytes: body_bytes(&measured),
            ..Outgoing::read(Verb::Batch, "", "")
        };
        let body = |link: &Link| Ok(RequestBody::Batch { items: items_of(items, |name| link.namespace(name))? });
        let answer = self.execute(&outgoing, body).await?.ok()?;
        let frame = answer.body();
        let replies = Reply { header: answer.header, body: &frame }.batch_items().map_err(ClientError::protocol)?;
        if replies.len() != items.len() {
            let message = format!("a batch of {} requests has {} replies", items.len(), replies.len());
            return Err(ClientError::Protocol(message));
        }
        let outcomes = items.iter().zip(&replies).map(|(item, reply)| item.outcome(reply, &frame));
        Ok(outcomes.map(|outcome| outcome.unwrap_or_else(BatchOutcome::Failed)).collect())
    }

    /// Many records by their keys, in the keys' order; any number of keys. Missing records are `None`; a record that
    /// can't be read is an error of the whole.
    ///
    /// ```no_run
    /// use outcrop_client::Key;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let keys: Vec<Key> = (0..10_000).map(|id| Key::new("test", "people", id)).collect();
    /// let found = client.get_many(&keys).await?.into_iter().flatten().count();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<RecordView>>, ClientError> {
        use futures_util::{StreamExt, TryStreamExt};
        let parts = keys.chunks(GET_MANY_KEYS).map(|keys| self.get_part(keys));
        let found: Vec<Vec<_>> = futures_util::stream::iter(parts).buffered(GET_MANY_UNDER_WAY).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_part(&self, keys: &[Key]) -> Result<Vec<Option<RecordView>>, ClientError> {
        let batch = keys.iter().fold(Batch::new(), Batch::get);
        let mut records = Vec::with_capacity(keys.len());
        for (key, outcome) in keys.iter().zip(self.batch(batch).await?) {
            records.push(match outcome {
                BatchOutcome::Record(record) => record,
                // The records together are too large for one reply: the rest one by one.
                BatchOutcome::Failed(ClientError::Refused { code, .. })
                    if code == Code::ReplyTooLarge || code.retry() == outcrop_wire::Retry::Backoff =>
                {
                    self.get(key).await?
                }
                BatchOutcome::Failed(error) => return Err(error),
                _ => return Err(ClientError::Protocol("a get was answered as something else".to_owned())),
            });
        }
        Ok(records)
    }
}

fn items_of<'a>(
    items: &[&'a Item],
    namespace: impl Fn(&str) -> Option<outcrop_wire::NamespaceId>,
) -> Result<Vec<BatchItem<'a>>, ClientError> {
    let item = |item: &&'a Item| {
        let name = &item.key().namespace;
        Ok(BatchItem { namespace: namespace(name).ok_or_else(|| unknown_namespace(name))?, body: item.body()? })
    };
    items.iter().map(item).collect()
}

fn unknown_namespace(name: &str) -> ClientError {
    ClientError::Refused { code: Code::NamespaceUnknown, message: format!("the node has no namespace {name:?}") }
}

//! One function with how to run it: on a record, on many, over a set, as rows.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use outcrop_wire::archive::{access_value, archive_value};
use outcrop_wire::key::{check_namespace_name, check_set_name};
use outcrop_wire::limits::{AGGREGATE_KEYS_MAX, ARGUMENTS_BYTES_MAX, PARTITIONS};
use outcrop_wire::request::{self, AggregateRequest, CallRequest, RequestError};
use outcrop_wire::{FunctionPath, Key, RequestBody, Value, Verb, typed};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::called::Called;
use super::options::{CallOptions, Of, Target};
use super::rows::Rows;
use crate::answer::{Outgoing, Way};
use crate::batch::{Batch, BatchOutcome};
use crate::client::Client;
use crate::error::ClientError;
use crate::options::ScanOptions;
use crate::parts::{Begin, Parts};

/// How long an aggregate may take unless something else is said: it may visit every record of a namespace.
const QUERY_DEADLINE: Duration = Duration::from_secs(60);
/// Keys of one request of `call_many`: their results have to fit one reply.
const CALL_MANY_KEYS: usize = 256;
/// Requests of one `call_many` that are under way at once.
const CALL_MANY_UNDER_WAY: usize = 4;

/// A function, with its arguments and how to run it. Cheap to clone, to be run any number of times.
///
/// ```no_run
/// use std::time::Duration;
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// let discount = client.function("shop.discount").arguments(&15).deadline(Duration::from_millis(50));
/// let price: i64 = discount.call(&key).await?.to()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Function {
    client: Client,
    path: String,
    arguments: Result<Bytes, ClientError>,
    options: CallOptions,
}

impl Client {
    /// A function by its path, `module.function` or `module@version.function`; nothing is sent yet.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
    /// let called = client.function("shop@1.2.0.discount").arguments(&15).report().call(&key).await?;
    /// println!("{:?} took {} us", called.value()?, called.report()?.wall_us);
    /// # Ok(())
    /// # }
    /// ```
    pub fn function(&self, path: impl Into<String>) -> Function {
        let (path, options) = (path.into(), CallOptions::default());
        Function { client: self.clone(), path, arguments: Ok(Bytes::new()), options }
    }

    /// Calls a function on one record: what it writes is one write, all or nothing. The record needn't be there.
    ///
    /// ```no_run
    /// use outcrop_client::Key;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let price: i64 = client.call(&Key::new("test", "products", "lamp"), "shop.discount", &15).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<T: DeserializeOwned>(
        &self,
        key: &Key,
        function: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<T, ClientError> {
        self.function(function).arguments(arguments).call(key).await?.to()
    }

    /// Calls a function on many records, any number of them: an outcome for each, in the keys' order.
    ///
    /// ```no_run
    /// use outcrop_client::Key;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let keys: Vec<Key> = (0..1_000).map(|id| Key::new("test", "products", id)).collect();
    /// for (key, price) in keys.iter().zip(client.call_many::<i64>(&keys, "shop.discount", &15).await?) {
    ///     match price {
    ///         Ok(price) => println!("{}: {price}", key.user_key),
    ///         Err(error) => println!("{}: {error}", key.user_key),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_many<T: DeserializeOwned>(
        &self,
        keys: &[Key],
        function: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<Vec<Result<T, ClientError>>, ClientError> {
        let called = self.function(function).arguments(arguments).call_many(keys).await?;
        Ok(called.into_iter().map(|called| called?.to()).collect())
    }

    /// One result of many records, worked out beside the data. Dropping the future stops the node's work.
    ///
    /// ```no_run
    /// use outcrop_client::Target;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let total: f64 = client.aggregate(&Target::set("test", "products"), "shop.total", &()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn aggregate<T: DeserializeOwned>(
        &self,
        target: &Target,
        function: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<T, ClientError> {
        self.function(function).arguments(arguments).aggregate(target).await?.to()
    }

    /// What a row function makes of all records of a set, or of the whole namespace. Nothing is sent before the first row
    /// is asked for; [`Function::rows`] takes limits, a pace and a cursor.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let mut rows = client.rows("test", Some("products"), "shop.cheaper_than", &1_000);
    /// while let Some(row) = rows.next_as::<(String, i64)>().await {
    ///     let (name, price) = row?;
    ///     println!("{name}: {price}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rows(
        &self,
        namespace: &str,
        set: Option<&str>,
        function: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Rows {
        self.function(function).arguments(arguments).rows(namespace, set, ScanOptions::default())
    }
}

impl Function {
    /// Its arguments, as any serde type; without them it gets null. What can't be a value is told when it is run.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// #[derive(serde::Serialize)]
    /// struct Discount { percent: u8, reason: Option<&'static str> }
    ///
    /// let arguments = Discount { percent: 15, reason: Some("sale") };
    /// let discount = client.function("shop.discount").arguments(&arguments);
    /// # }
    /// ```
    #[must_use]
    pub fn arguments(self, arguments: &(impl Serialize + ?Sized)) -> Self {
        match typed::to_value(arguments) {
            Ok(value) => self.value(&value),
            Err(error) => Function { arguments: Err(error.into()), ..self },
        }
    }

    /// Its arguments, as a value.
    ///
    /// ```no_run
    /// use outcrop_client::Value;
    /// # fn example(client: outcrop_client::Client) {
    /// let discount = client.function("shop.discount").value(&Value::List(vec![15.into(), "sale".into()]));
    /// # }
    /// ```
    #[must_use]
    pub fn value(self, arguments: &Value) -> Self {
        let arguments = match arguments {
            Value::Null => Ok(Bytes::new()),
            value => archive_value(value).map(Bytes::from).map_err(ClientError::from),
        };
        Function { arguments, ..self }
    }

    /// Its arguments, as [`outcrop_wire::archive::archive_value`] archived them.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client, archive: Vec<u8>) {
    /// let discount = client.function("shop.discount").archive(archive);
    /// # }
    /// ```
    #[must_use]
    pub fn archive(self, arguments: impl Into<Bytes>) -> Self {
        let arguments = arguments.into();
        let checked = if arguments.is_empty() { Ok(()) } else { access_value(&arguments).map(drop) };
        Function { arguments: checked.map(|()| arguments).map_err(ClientError::from), ..self }
    }

    /// Only if the record has this generation; 0: only if it isn't there. Sent again when a reply was lost: a second run
    /// finds another generation.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
    /// let called = client.function("shop.discount").if_generation(3).call(&key).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn if_generation(mut self, generation: u32) -> Self {
        self.options.if_generation = Some(generation);
        self
    }

    /// How long to wait for the answer, further attempts included; the client's default unless said (of aggregates a
    /// minute, if that is longer). What takes longer is stopped.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// let total = client.function("shop.total").deadline(std::time::Duration::from_secs(600));
    /// # }
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Asks for a report of what it took and logged ([`Called::report`]).
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
    /// let logs = client.function("shop.discount").report().call(&key).await?.report()?.logs;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn report(mut self) -> Self {
        self.options.report = true;
        self
    }

    /// Says that calling twice is harmless, so that it may be sent again when a reply was lost.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// let set_price = client.function("shop.set_price").arguments(&1_999).idempotent(true);
    /// # }
    /// ```
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.idempotent = idempotent;
        self
    }

    /// Says that the function writes nothing, so that a lost reply leaves nothing unknown, and the call is sent again.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// let price = client.function("shop.price_with_tax").read_only(true);
    /// # }
    /// ```
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// All options at once.
    ///
    /// ```no_run
    /// use outcrop_client::CallOptions;
    /// # fn example(client: outcrop_client::Client, options: CallOptions) {
    /// let discount = client.function("shop.discount").options(options);
    /// # }
    /// ```
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Calls it on one record.
    ///
    /// ```no_run
    /// use outcrop_client::Key;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let lamp = Key::new("test", "products", "lamp");
    /// let called = client.function("shop.discount").arguments(&15).call(&lamp).await?;
    /// println!("{:?} at generation {}", called.value()?, called.generation());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call(&self, key: &Key) -> Result<Called, ClientError> {
        key.check()?;
        let (function, arguments) = (check_path(&self.path)?, self.checked_arguments()?);
        let CallOptions { if_generation, deadline, report, idempotent, read_only } = self.options;
        let outgoing = Outgoing {
            writes: !read_only,
            idempotent: read_only || idempotent || if_generation.is_some(),
            conditional: if_generation.is_some(),
            deadline,
            bytes: arguments.len(),
            ..Outgoing::write(Verb::Call, &key.namespace, &key.set)
        };
        let call = CallRequest { key: key.borrow(), if_generation, report, function, arguments };
        Called::parse(&self.client.execute(&outgoing, |_| Ok(RequestBody::Call(call))).await?.ok()?)
    }

    /// Calls it on many records, any number of them: an outcome for each, in the keys' order. Calls that travel together
    /// run beside one another. An error of the whole: of some nothing is known, unless it says that nothing was written.
    ///
    /// ```no_run
    /// use outcrop_client::Key;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let keys: Vec<Key> = (0..1_000).map(|id| Key::new("test", "products", id)).collect();
    /// let called = client.function("shop.discount").arguments(&15).call_many(&keys).await?;
    /// println!("{} of {} have a new price", called.iter().flatten().count(), keys.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_many(&self, keys: &[Key]) -> Result<Vec<Result<Called, ClientError>>, ClientError> {
        let parts = keys.chunks(CALL_MANY_KEYS).map(|keys| self.call_part(keys));
        let called: Vec<Vec<_>> = futures_util::stream::iter(parts).buffered(CALL_MANY_UNDER_WAY).try_collect().await?;
        Ok(called.into_iter().flatten().collect())
    }

    async fn call_part(&self, keys: &[Key]) -> Result<Vec<Result<Called, ClientError>>, ClientError> {
        let CallOptions { deadline, idempotent, read_only, if_generation, .. } = self.options;
        let batch = Batch::new().idempotent(idempotent || read_only || if_generation.is_some());
        let batch = deadline.into_iter().fold(batch, Batch::deadline);
        let batch = keys.iter().fold(batch, |batch, key| batch.call(key, self));
        let outcomes = self.client.batch(batch).await?.into_iter();
        Ok(outcomes
            .map(|outcome| match outcome {
                BatchOutcome::Called(called) => Ok(called),
                BatchOutcome::Failed(error) => Err(error),
                _ => Err(ClientError::Protocol("a call was answered as something else".to_owned())),
            })
            .collect())
    }

    /// One result of many records, worked out beside the data, on all cores. Dropping the future stops the node's work.
    ///
    /// ```no_run
    /// use outcrop_client::Target;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let total = client.function("shop.total").report().aggregate(&Target::set("test", "products")).await?;
    /// let (sum, report) = (total.to::<f64>()?, total.report()?);
    /// println!("{sum} of {} records in {} us", report.records, report.elapsed_us);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn aggregate(&self, target: &Target) -> Result<Called, ClientError> {
        let (function, arguments) = (check_path(&self.path)?, self.checked_arguments()?);
        let (set, over) = over(target)?;
        let deadline = self.options.deadline.unwrap_or(QUERY_DEADLINE.max(self.client.shared.deadline));
        let outgoing = Outgoing {
            deadline: Some(deadline),
            way: Way::Query,
            bytes: arguments.len(),
            ..Outgoing::read(Verb::Aggregate, &target.namespace, set)
        };
        let report = self.options.report;
        let body = RequestBody::Aggregate(AggregateRequest { function, report, target: over, arguments });
        Called::parse(&self.client.execute(&outgoing, |_| Ok(body.clone())).await?.ok()?)
    }

    /// What it makes, as a row function, of all records of a set or of the whole namespace, streamed. The options' limit
    /// counts rows; which bins they name doesn't matter. Nothing is sent before the first row is asked for.
    ///
    /// ```no_run
    /// use outcrop_client::ScanOptions;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let options = ScanOptions::default().limit(100).records_per_sec(10_000);
    /// let mut rows = client.function("shop.cheaper_than").arguments(&1_000).rows("test", Some("products"), options);
    /// while let Some(row) = rows.next().await {
    ///     println!("{:?}", row?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rows(&self, namespace: &str, set: Option<&str>, options: ScanOptions) -> Rows {
        let cursor = options.cursor;
        let parts = self.checked_arguments().map(|arguments| {
            Parts::Idle(Box::new(Begin {
                client: self.client.clone(),
                namespace: namespace.to_owned(),
                set: set.map(str::to_owned),
                options: ScanOptions { bins: None, ..options },
                rows: Some((self.path.clone(), arguments.to_vec())),
            }))
        });
        Rows::new(parts, cursor)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn call_options(&self) -> &CallOptions {
        &self.options
    }

    /// The archived arguments as they are shared by the calls of a batch.
    pub(crate) fn shared_arguments(&self) -> Result<Bytes, ClientError> {
        self.checked_arguments()?;
        self.arguments.clone()
    }

    fn checked_arguments(&self) -> Result<&[u8], ClientError> {
        let arguments = self.arguments.as_ref().map_err(Clone::clone)?;
        match arguments.len() {
            len if len > ARGUMENTS_BYTES_MAX => Err(RequestError::Arguments(len).into()),
            _ => Ok(arguments),
        }
    }
}

/// A function's path, its names checked.
pub(crate) fn check_path(path: &str) -> Result<FunctionPath<'_>, ClientError> {
    Ok(FunctionPath::parse(path).map_err(RequestError::from)?)
}

/// A target as it is sent, and its set for the request's span.
fn over(target: &Target) -> Result<(&str, request::Target<'_>), ClientError> {
    check_namespace_name(&target.namespace)?;
    match &target.of {
        Of::Scan { set, partitions } => {
            let (first, last) = (*partitions.start(), *partitions.end());
            if usize::from(last) >= PARTITIONS || first > last {
                return Err(RequestError::Field { field: "partitions", value: last.into() }.into());
            }
            let set = set.as_deref();
            set.map_or(Ok(()), check_set_name)?;
            let over = request::Target::Scan { set, partition_first: first, partition_last: last };
            Ok((set.unwrap_or(""), over))
        }
        Of::Keys(keys) => {
            if keys.len() > AGGREGATE_KEYS_MAX {
                return Err(RequestError::Field { field: "number of keys", value: keys.len() as u64 }.into());
            }
            for key in keys {
                key.check()?;
                if key.namespace != target.namespace {
                    let message = format!(
                        "key {} is of namespace {:?}, not of {:?}",
                        key.borrow().user_key,
                        key.namespace,
                        target.namespace
                    );
                    return Err(ClientError::Refused { code: outcrop_wire::Code::InvalidRequest, message });
                }
            }
            let set = keys.first().map_or("", |key| key.set.as_str());
            Ok((set, request::Target::Keys(keys.iter().map(Key::borrow).collect())))
        }
    }
}

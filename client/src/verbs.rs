//! The verbs on one record, and the few on more than one: each checks its fields, sends, and reads its reply.

use bytes::Bytes;
use outcrop_wire::archive::{archive_bins, archive_operations, archive_unnamed};
use outcrop_wire::key::{check_namespace_name, check_set_name};
use outcrop_wire::limits::{BIN_NAME_BYTES_MAX, BINS_MAX};
use outcrop_wire::request::RequestError;
use outcrop_wire::{BinSelection, Bins, Key, Operation, PutMode, RequestBody, StoredRecord, Ttl, Verb};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Outgoing, Way};
use crate::client::Client;
use crate::error::ClientError;
use crate::operate::OperateResult;
use crate::options::{DeleteOptions, OperateOptions, PutOptions};
use crate::view::{RecordMeta, RecordView, Written, unnamed_of};

/// How long a truncate may take unless the client's own deadline is longer: it visits every record of the set.
const TRUNCATE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

impl<'a> Outgoing<'a> {
    /// A request that only reads.
    pub(crate) fn read(verb: Verb, namespace: &'a str, set: &'a str) -> Self {
        let (writes, idempotent, conditional) = (false, true, false);
        let (deadline, bytes, way) = (None, 0, Way::Usual);
        Outgoing { verb, namespace, set, writes, idempotent, conditional, deadline, bytes, way }
    }

    /// A request that may change something.
    pub(crate) fn write(verb: Verb, namespace: &'a str, set: &'a str) -> Self {
        Outgoing { writes: true, idempotent: false, ..Outgoing::read(verb, namespace, set) }
    }
}

impl Client {
    /// The plain bytes of a record (its unnamed bin), as a slice of the reply; `None` if there is no such record or it
    /// has no such bin.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "sessions", "alice");
    /// if let Some(bytes) = client.get_bytes(&key).await? {
    ///     println!("{} bytes", bytes.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_bytes(&self, key: &Key) -> Result<Option<Bytes>, ClientError> {
        let Some(stored) = self.get_stored(key, || BinSelection::All).await? else { return Ok(None) };
        let record = StoredRecord::parse(&stored).map_err(ClientError::protocol)?;
        unnamed_of(&stored.slice_ref(record.archive))
    }

    /// Puts plain bytes in the place of whatever the record had.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "sessions", "alice");
    /// client.set_bytes(&key, b"hello", outcrop_client::Ttl::Secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_bytes(&self, key: &Key, value: &[u8], ttl: Ttl) -> Result<Written, ClientError> {
        let options = PutOptions { mode: PutMode::Replace, ttl, ..PutOptions::default() };
        self.put_archive(key, &archive_unnamed(value)?, &options).await
    }

    /// A record with all its bins; `None` if there is none.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "people", 42);
    /// if let Some(record) = client.get(&key).await? {
    ///     println!("{:?} at generation {}", record.to_bins()?, record.generation());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: &Key) -> Result<Option<RecordView>, ClientError> {
        self.get_stored(key, || BinSelection::All).await?.map(RecordView::parse).transpose()
    }

    /// A record with these bins; those that it doesn't have are left out. `None` if there is no such record.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "people", 42);
    /// let record = client.get_bins(&key, &["name", "born"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_bins(&self, key: &Key, bins: &[&str]) -> Result<Option<RecordView>, ClientError> {
        check_bin_names(bins)?;
        let stored = self.get_stored(key, || BinSelection::Named(bins.to_vec())).await?;
        stored.map(RecordView::parse).transpose()
    }

    async fn get_stored<'a>(
        &self,
        key: &'a Key,
        bins: impl Fn() -> BinSelection<'a>,
    ) -> Result<Option<Bytes>, ClientError> {
        key.check()?;
        let outgoing = Outgoing::read(Verb::Get, &key.namespace, &key.set);
        let answer = self.execute(&outgoing, |_| Ok(RequestBody::Get { key: key.borrow(), bins: bins() })).await?;
        Ok(answer.found()?.map(|answer| answer.body()))
    }

    /// Whether a record is there, with its generation and expiry.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let there = client.exists(&outcrop_client::Key::new("test", "people", 42)).await?.is_some();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exists(&self, key: &Key) -> Result<Option<RecordMeta>, ClientError> {
        key.check()?;
        let outgoing = Outgoing::read(Verb::Exists, &key.namespace, &key.set);
        let answer = self.execute(&outgoing, |_| Ok(RequestBody::Exists { key: key.borrow() })).await?;
        answer.found()?.map(|answer| RecordMeta::parse(&answer.header, answer.body_ref())).transpose()
    }

    /// Writes bins: by default creates the record or merges them into it ([`PutMode`] tells the other ways).
    ///
    /// ```no_run
    /// use outcrop_client::{Bins, Key, PutMode, PutOptions};
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let bins = Bins::new().with("name", "Ada").with("born", 1815);
    /// let options = PutOptions::default().mode(PutMode::CreateOnly);
    /// client.put(&Key::new("test", "people", 42), &bins, options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, key: &Key, bins: &Bins, options: PutOptions) -> Result<Written, ClientError> {
        self.put_archive(key, &archive_bins(bins)?, &options).await
    }

    /// Writes bins that are archived already (by [`outcrop_wire::archive::archive_bins`], or another record's
    /// [`RecordView::archive`]); the node validates them.
    ///
    /// ```no_run
    /// use outcrop_client::{Key, PutOptions};
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// if let Some(record) = client.get(&Key::new("test", "people", 42)).await? {
    ///     client.put_archive(&Key::new("test", "copies", 42), &record.archive(), &PutOptions::default()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_archive(&self, key: &Key, archive: &[u8], options: &PutOptions) -> Result<Written, ClientError> {
        key.check()?;
        options.ttl.check()?;
        let PutOptions { mode, if_generation, ttl, deadline, idempotent } = *options;
        let outgoing = Outgoing {
            idempotent: idempotent || if_generation.is_some(),
            conditional: if_generation.is_some() || !matches!(mode, PutMode::Upsert | PutMode::Replace),
            deadline,
            bytes: archive.len(),
            ..Outgoing::write(Verb::Put, &key.namespace, &key.set)
        };
        let body = RequestBody::Put { key: key.borrow(), mode, if_generation, ttl, archive };
        let answer = self.execute(&outgoing, |_| Ok(body.clone())).await?.ok()?;
        Written::parse(&answer.header, answer.body_ref())
    }

    /// Deletes a record, durably; whether it was there.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "people", 42);
    /// let was_there = client.delete(&key, outcrop_client::DeleteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<bool, ClientError> {
        key.check()?;
        let outgoing = Outgoing {
            idempotent: options.idempotent || options.if_generation.is_some(),
            conditional: options.if_generation.is_some(),
            deadline: options.deadline,
            ..Outgoing::write(Verb::Delete, &key.namespace, &key.set)
        };
        let body = RequestBody::Delete { key: key.borrow(), if_generation: options.if_generation };
        Ok(self.execute(&outgoing, |_| Ok(body.clone())).await?.found()?.is_some())
    }

    /// Gives a record a new time to live; `None` if there is no such record.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "sessions", "alice");
    /// client.touch(&key, outcrop_client::Ttl::Secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn touch(&self, key: &Key, ttl: Ttl) -> Result<Option<Written>, ClientError> {
        key.check()?;
        ttl.check()?;
        let outgoing = Outgoing::write(Verb::Touch, &key.namespace, &key.set);
        let body = RequestBody::Touch { key: key.borrow(), if_generation: None, ttl };
        let answer = self.execute(&outgoing, |_| Ok(body.clone())).await?;
        answer.found()?.map(|answer| Written::parse(&answer.header, answer.body_ref())).transpose()
    }

    /// Carries out an ordered list of operations on one record, all or nothing.
    ///
    /// ```no_run
    /// use outcrop_client::{Key, OperateOptions, Operation, Value};
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let steps = vec![
    ///     Operation::Add { bin: "visits".into(), amount: Value::Int(1) },
    ///     Operation::ListAppend { bin: "pages".into(), value: "/home".into() },
    ///     Operation::Read { bin: "visits".into() },
    /// ];
    /// let result = client.operate(&Key::new("test", "people", 42), steps, OperateOptions::default()).await?;
    /// println!("visit number {:?}", result.values[2]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn operate(
        &self,
        key: &Key,
        operations: Vec<Operation>,
        options: OperateOptions,
    ) -> Result<OperateResult, ClientError> {
        key.check()?;
        options.ttl.check()?;
        let archive = archive_operations(&operations)?;
        let writes = operations.iter().any(Operation::writes);
        let outgoing = Outgoing {
            writes,
            idempotent: !writes || options.idempotent || options.if_generation.is_some(),
            conditional: true,
            deadline: options.deadline,
            bytes: archive.len(),
            ..Outgoing::write(Verb::Operate, &key.namespace, &key.set)
        };
        let OperateOptions { if_generation, ttl, .. } = options;
        let body = RequestBody::Operate { key: key.borrow(), if_generation, ttl, operations: &archive };
        let answer = self.execute(&outgoing, |_| Ok(body.clone())).await?.ok()?;
        OperateResult::parse(&answer.header, answer.body_ref())
    }

    /// Removes all records of a set that are there now; how many there were.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} records are gone", client.truncate("test", "sessions").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn truncate(&self, namespace: &str, set: &str) -> Result<u64, ClientError> {
        check_namespace_name(namespace)?;
        check_set_name(set)?;
        let deadline = Some(TRUNCATE_DEADLINE.max(self.shared.deadline));
        let outgoing = Outgoing { deadline, ..Outgoing::write(Verb::Truncate, namespace, set) };
        let answer = self.execute(&outgoing, |_| Ok(RequestBody::Truncate { set })).await?.ok()?;
        outcrop_wire::reader::Reader::new(answer.body_ref()).u64("records").map_err(ClientError::protocol)
    }

    /// The node's statistics as JSON: everything (`""`), or one topic by name.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{}", client.info("").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn info(&self, topic: &str) -> Result<String, ClientError> {
        if topic.len() > 255 {
            let message = format!("a topic has at most 255 bytes, this one has {}", topic.len());
            return Err(ClientError::Refused { code: outcrop_wire::Code::InvalidRequest, message });
        }
        let outgoing = Outgoing::read(Verb::Info, "", "");
        let answer: Answer = self.execute(&outgoing, |_| Ok(RequestBody::Info { topic })).await?.ok()?;
        String::from_utf8(answer.body_ref().to_vec()).map_err(ClientError::protocol)
    }

    /// A record as a serde type (see [`crate::bins`]); `None` if there is no such record.
    ///
    /// ```no_run
    /// #[derive(serde::Deserialize)]
    /// struct Person {
    ///     name: String,
    ///     born: Option<u16>,
    /// }
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let person: Option<Person> = client.get_as(&outcrop_client::Key::new("test", "people", 42)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_as<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, ClientError> {
        self.get(key).await?.map(|record| record.decode()).transpose()
    }

    /// Writes a serde struct or map: each field a bin (see [`crate::bins`]).
    ///
    /// ```no_run
    /// #[derive(serde::Serialize)]
    /// struct Person<'a> {
    ///     name: &'a str,
    ///     born: u16,
    /// }
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let key = outcrop_client::Key::new("test", "people", 42);
    /// client.put_as(&key, &Person { name: "Ada", born: 1815 }, outcrop_client::PutOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_as<T: Serialize + ?Sized>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
    ) -> Result<Written, ClientError> {
        self.put(key, &crate::bins::to_bins(value)?, options).await
    }
}

/// Checks names before they are sent with a length of one byte.
pub(crate) fn check_bin_names<T: AsRef<str>>(bins: &[T]) -> Result<(), ClientError> {
    if bins.len() > BINS_MAX {
        return Err(RequestError::Field { field: "bins", value: bins.len() as u64 }.into());
    }
    match bins.iter().map(|name| name.as_ref().len()).find(|len| *len > BIN_NAME_BYTES_MAX) {
        Some(len) => Err(RequestError::BinName(len).into()),
        None => Ok(()),
    }
}

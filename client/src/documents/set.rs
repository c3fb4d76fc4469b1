//! The documents of a set: found, counted and told apart beside the data.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use outcrop_wire::{Key, UserKey, Value, typed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::error::DocumentError;
use crate::client::Client;
use crate::error::ClientError;
use crate::functions::{Rows, Target};
use crate::options::ScanOptions;

/// The documents of a set. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::documents::DocumentError> {
/// let shop = client.documents("test", "shop");
/// println!("{} cost less than 100", shop.count(Some("@.price < 100")).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Documents {
    client: Client,
    namespace: Arc<str>,
    set: Arc<str>,
}

/// What `query` takes.
#[derive(Serialize)]
struct QueryArguments<'a> {
    filter: Option<&'a str>,
    select: Option<&'a str>,
}

#[derive(Serialize)]
struct CountArguments<'a> {
    filter: Option<&'a str>,
}

#[derive(Serialize)]
struct DistinctArguments<'a> {
    path: &'a str,
    filter: Option<&'a str>,
    limit: Option<u32>,
}

/// A document that a query found.
///
/// ```
/// use outcrop_client::documents::Found;
/// let found = Found { key: "lamp".into(), document: 80 };
/// assert_eq!(found.document, 80);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// Its key within the set.
    pub key: UserKey,
    /// The document, or the list of what was selected of it.
    pub document: T,
}

/// A row of the module's `query`.
#[derive(Deserialize)]
struct Row {
    key: Value,
    #[serde(alias = "selected")]
    document: Value,
}

/// The values that a path finds in a set.
///
/// ```
/// use outcrop_client::documents::Distinct;
/// let none: Distinct<String> = Distinct { values: vec![], complete: true };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Distinct<T> {
    /// The most frequent first.
    pub values: Vec<DistinctValue<T>>,
    /// Whether these are all; false: there were more than could be told apart, whose counts are missing.
    pub complete: bool,
}

/// One value of [`Distinct`].
///
/// ```
/// use outcrop_client::documents::DistinctValue;
/// let most = DistinctValue { value: "red", count: 12 };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DistinctValue<T> {
    /// The value.
    pub value: T,
    /// Times that it was found.
    pub count: u64,
}

impl Client {
    /// The documents of a set; nothing is sent yet.
    ///
    /// ```no_run
    /// # fn example(client: outcrop_client::Client) {
    /// let shop = client.documents("test", "shop");
    /// # }
    /// ```
    pub fn documents(&self, namespace: &str, set: &str) -> Documents {
        Documents { client: self.clone(), namespace: namespace.into(), set: set.into() }
    }
}

impl Documents {
    /// One document; nothing is sent yet, and it needn't be there.
    ///
    /// ```no_run
    /// # fn example(shop: outcrop_client::documents::Documents) {
    /// let lamp = shop.document("lamp");
    /// # }
    /// ```
    pub fn document(&self, key: impl Into<UserKey>) -> Document {
        Document::new(self.client.clone(), Key::new(&*self.namespace, &*self.set, key))
    }

    /// The documents that a filter lets through, streamed, in no order.
    ///
    /// ```no_run
    /// # async fn example(shop: outcrop_client::documents::Documents) -> Result<(), outcrop_client::documents::DocumentError> {
    /// let mut cheap = shop.query::<outcrop_client::Value>("@.price < 100");
    /// while let Some(found) = cheap.next().await {
    ///     println!("{}", found?.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn query<T: DeserializeOwned>(&self, filter: &str) -> Query<T> {
        self.find(Some(filter), None, ScanOptions::default())
    }

    /// The same with all that can be said: no filter for all documents, a path for what to select of each (a list; those in
    /// which it finds nothing are left out), and a limit, a pace or a cursor.
    ///
    /// ```no_run
    /// use outcrop_client::ScanOptions;
    /// # async fn example(shop: outcrop_client::documents::Documents) -> Result<(), outcrop_client::documents::DocumentError> {
    /// let mut names = shop.find::<Vec<String>>(None, Some("$.name"), ScanOptions::default().limit(10));
    /// while let Some(found) = names.next().await {
    ///     println!("{:?}", found?.document);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn find<T: DeserializeOwned>(
        &self,
        filter: Option<&str>,
        select: Option<&str>,
        options: ScanOptions,
    ) -> Query<T> {
        let function = self.client.function("document.query").arguments(&QueryArguments { filter, select });
        Query { rows: function.rows(&self.namespace, Some(&self.set), options), found: PhantomData }
    }

    /// How many documents a filter lets through; without it all of them.
    ///
    /// ```no_run
    /// # async fn example(shop: outcrop_client::documents::Documents) -> Result<(), outcrop_client::documents::DocumentError> {
    /// println!("{} documents", shop.count(None).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count(&self, filter: Option<&str>) -> Result<u64, DocumentError> {
        let function = self.client.function("document.count").arguments(&CountArguments { filter });
        Ok(function.aggregate(&self.target()).await?.to()?)
    }

    /// The values that a path finds, and how often, in the documents that a filter lets through; at most `limit` of them are
    /// told apart (10,000 unless said, and at most).
    ///
    /// ```no_run
    /// # async fn example(shop: outcrop_client::documents::Documents) -> Result<(), outcrop_client::documents::DocumentError> {
    /// for tag in shop.distinct::<String>("$.tags[*]", None, None).await?.values {
    ///     println!("{}: {}", tag.value, tag.count);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn distinct<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Distinct<T>, DocumentError> {
        let arguments = DistinctArguments { path, filter, limit };
        let function = self.client.function("document.distinct").arguments(&arguments);
        Ok(function.aggregate(&self.target()).await?.to()?)
    }

    fn target(&self) -> Target {
        Target::set(&*self.namespace, &*self.set)
    }
}

/// A query of documents under way. Dropped, it stops, and with it the node's work.
///
/// ```no_run
/// # async fn example(shop: outcrop_client::documents::Documents) -> Result<(), outcrop_client::documents::DocumentError> {
/// let first = shop.query::<outcrop_client::Value>("@.price < 100").next().await.transpose()?;
/// # Ok(())
/// # }
/// ```
pub struct Query<T> {
    rows: Rows,
    found: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Query<T> {
    /// The next document; `None` at the end. One that isn't of the type is an error, after which the query goes on.
    ///
    /// ```no_run
    /// # async fn example(mut query: outcrop_client::documents::Query<outcrop_client::Value>) -> Result<(), outcrop_client::documents::DocumentError> {
    /// while let Some(found) = query.next().await {
    ///     println!("{}", found?.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Found<T>, DocumentError>> {
        let row = self.rows.next_as::<Row>().await?;
        Some(row.and_then(found).map_err(DocumentError::from))
    }

    /// The rows beneath: where to go on, and how many places of the log were damaged.
    ///
    /// ```no_run
    /// # fn example(query: outcrop_client::documents::Query<outcrop_client::Value>) {
    /// let damaged = query.rows().damaged();
    /// # }
    /// ```
    pub fn rows(&self) -> &Rows {
        &self.rows
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("cursor", &self.rows.cursor()).finish_non_exhaustive()
    }
}

fn found<T: DeserializeOwned>(row: Row) -> Result<Found<T>, ClientError> {
    let key = match row.key {
        Value::Int(key) => UserKey::Int(key),
        Value::Text(key) => UserKey::Text(key),
        Value::Bytes(key) => UserKey::Bytes(key),
        other => return Err(ClientError::Protocol(format!("a document's key is a {}", other.type_name()))),
    };
    Ok(Found { key, document: typed::from_value(&row.document)? })
}

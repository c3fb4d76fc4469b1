//! One document: read whole or in parts, changed where a path points.

use std::time::Duration;

use outcrop_wire::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::DocumentError;
use crate::client::Client;
use crate::functions::{CallOptions, Called};

/// One document. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::documents::DocumentError> {
/// let lamp = client.documents("test", "shop").document("lamp");
/// let names: Vec<String> = lamp.select("$..name").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Document {
    client: Client,
    key: Key,
    options: CallOptions,
}

#[derive(Serialize)]
struct Whole<'a, T: ?Sized> {
    document: &'a T,
}

#[derive(Serialize)]
struct Places<'a> {
    path: &'a str,
}

#[derive(Serialize)]
struct Value<'a, T: ?Sized> {
    path: &'a str,
    value: &'a T,
}

#[derive(Serialize)]
struct Values<'a, T> {
    path: &'a str,
    values: &'a [T],
}

#[derive(Serialize)]
struct By<'a, T: ?Sized> {
    path: &'a str,
    by: &'a T,
}

#[derive(Serialize)]
struct Merge<'a, T: ?Sized> {
    patch: &'a T,
}

#[derive(Serialize)]
struct Patch<'a, T: ?Sized> {
    operations: &'a T,
}

impl Document {
    pub(super) fn new(client: Client, key: Key) -> Self {
        Document { client, key, options: CallOptions::default() }
    }

    /// Its key: the record that it is.
    ///
    /// ```no_run
    /// # fn example(lamp: outcrop_client::documents::Document) {
    /// println!("{}", lamp.key().user_key);
    /// # }
    /// ```
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Changes only if the document has this generation; 0: only if it isn't there.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// lamp.if_generation(3).update("$.price", &75).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn if_generation(&self, generation: u32) -> Self {
        let options = CallOptions { if_generation: Some(generation), ..self.options.clone() };
        Document { options, ..self.clone() }
    }

    /// How long to wait; the client's default unless said.
    ///
    /// ```no_run
    /// # fn example(lamp: outcrop_client::documents::Document) {
    /// let lamp = lamp.deadline(std::time::Duration::from_millis(50));
    /// # }
    /// ```
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        let options = CallOptions { deadline: Some(deadline), ..self.options.clone() };
        Document { options, ..self.clone() }
    }

    /// Says that a change may be made twice, so that it is sent again when its reply was lost.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// lamp.idempotent(true).update("$.price", &75).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn idempotent(&self, idempotent: bool) -> Self {
        let options = CallOptions { idempotent, ..self.options.clone() };
        Document { options, ..self.clone() }
    }

    /// The whole document; `None`: there is none.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// let lamp: Option<outcrop_client::Value> = lamp.get().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<T: DeserializeOwned>(&self) -> Result<Option<T>, DocumentError> {
        match self.select("$").await {
            Ok(mut whole) => Ok(whole.pop()),
            Err(DocumentError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The values that a path points at.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// let tags: Vec<String> = lamp.select("$.tags[*]").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn select<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, DocumentError> {
        self.read("document.get", path).await
    }

    /// Where a path points: normalized paths.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// assert_eq!(lamp.locate("$.tags[-1]").await?, ["$['tags'][0]"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn locate(&self, path: &str) -> Result<Vec<String>, DocumentError> {
        self.read("document.locate", path).await
    }

    /// Writes the whole document, in place of what was there; its generation afterwards.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// #[derive(serde::Serialize)]
    /// struct Lamp { name: &'static str, price: i64 }
    ///
    /// let generation = lamp.set(&Lamp { name: "lamp", price: 80 }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, document: &(impl Serialize + ?Sized)) -> Result<u32, DocumentError> {
        Ok(self.call("document.set", &Whole { document }).await?.generation())
    }

    /// Puts a value at every match of a path; how many there were.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// assert_eq!(lamp.update("$.price", &75).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(&self, path: &str, value: &(impl Serialize + ?Sized)) -> Result<u64, DocumentError> {
        Ok(self.call("document.update", &Value { path, value }).await?.to()?)
    }

    /// Adds a member or an element, which the path's last step names (`[-1]`: behind the last); how many were added.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// assert_eq!(lamp.insert("$.color", "red").await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(&self, path: &str, value: &(impl Serialize + ?Sized)) -> Result<u64, DocumentError> {
        Ok(self.call("document.insert", &Value { path, value }).await?.to()?)
    }

    /// Removes every match of a path; how many there were. The document itself goes with [`Client::delete`].
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// assert_eq!(lamp.delete("$.tags[?@ == 'new']").await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, path: &str) -> Result<u64, DocumentError> {
        Ok(self.call("document.delete", &Places { path }).await?.to()?)
    }

    /// Appends values to the array at every match of a path; how many arrays there were.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// assert_eq!(lamp.append("$.tags", &["sale", "last one"]).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn append(&self, path: &str, values: &[impl Serialize]) -> Result<u64, DocumentError> {
        Ok(self.call("document.append", &Values { path, values }).await?.to()?)
    }

    /// Adds to the number at every match of a path; the sums. Integers stay integers.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// let sums: Vec<i64> = lamp.increment("$.price", &-5).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn increment<T: DeserializeOwned>(
        &self,
        path: &str,
        by: &(impl Serialize + ?Sized),
    ) -> Result<Vec<T>, DocumentError> {
        Ok(self.call("document.increment", &By { path, by }).await?.to()?)
    }

    /// Applies a merge patch (RFC 7396); the document that comes of it. One that isn't there counts as empty.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// #[derive(serde::Serialize)]
    /// struct Change { price: i64, tags: Option<()> }
    ///
    /// let lamp: outcrop_client::Value = lamp.merge(&Change { price: 70, tags: None }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn merge<T: DeserializeOwned>(&self, patch: &(impl Serialize + ?Sized)) -> Result<T, DocumentError> {
        Ok(self.call("document.merge", &Merge { patch }).await?.to()?)
    }

    /// Applies a patch (RFC 6902), all of its operations or none; the document that comes of it.
    ///
    /// ```no_run
    /// # async fn example(lamp: outcrop_client::documents::Document) -> Result<(), outcrop_client::documents::DocumentError> {
    /// #[derive(serde::Serialize)]
    /// struct Operation { op: &'static str, path: &'static str, value: i64 }
    ///
    /// let operations = [
    ///     Operation { op: "test", path: "/price", value: 80 },
    ///     Operation { op: "replace", path: "/price", value: 70 },
    /// ];
    /// let lamp: outcrop_client::Value = lamp.patch(&operations).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch<T: DeserializeOwned>(&self, operations: &(impl Serialize + ?Sized)) -> Result<T, DocumentError> {
        Ok(self.call("document.patch", &Patch { operations }).await?.to()?)
    }

    async fn read<T: DeserializeOwned>(&self, function: &str, path: &str) -> Result<T, DocumentError> {
        // A condition on the generation is one on changes.
        let options = CallOptions { read_only: true, if_generation: None, ..self.options.clone() };
        let function = self.client.function(function).options(options).arguments(&Places { path });
        Ok(function.call(&self.key).await?.to()?)
    }

    async fn call(&self, function: &str, arguments: &impl Serialize) -> Result<Called, DocumentError> {
        let function = self.client.function(function).options(self.options.clone()).arguments(arguments);
        Ok(function.call(&self.key).await?)
    }
}

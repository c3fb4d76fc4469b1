//! What can go wrong with a document.

use thiserror::Error;

use crate::error::ClientError;

/// Why a request about documents has no result. Nothing was changed, unless it is [`ClientError::Indeterminate`].
///
/// ```
/// use outcrop_client::documents::DocumentError;
///
/// let error = DocumentError::Missing("there is no document shop/lamp".into());
/// assert!(error.advice().contains("set"));
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// There is no such document.
    #[error("{0}")]
    Missing(String),
    /// A path or filter is no JSONPath; the message says where.
    #[error("{0}")]
    Path(String),
    /// What is to be written or applied can't be: no object, no patch, a name that no bin can have.
    #[error("{0}")]
    Arguments(String),
    /// The change doesn't fit this document: the member is there already, the index is behind the end, the value is no number or
    /// would overflow.
    #[error("{0}")]
    Unfit(String),
    /// A `test` operation of a patch didn't hold.
    #[error("{0}")]
    TestFailed(String),
    /// The node or the way to it.
    #[error(transparent)]
    Client(ClientError),
}

impl From<ClientError> for DocumentError {
    /// The module's own failures become variants of their own.
    fn from(error: ClientError) -> Self {
        let Some(function) = error.function() else { return DocumentError::Client(error) };
        let message = function.message.clone();
        match function.failure_code.as_deref() {
            Some("no-document") => DocumentError::Missing(message),
            Some("invalid-path") => DocumentError::Path(message),
            Some("invalid-arguments" | "invalid-document" | "invalid-patch" | "not-an-object") => {
                DocumentError::Arguments(message)
            }
            Some("exists" | "out-of-range" | "wrong-type" | "overflow") => DocumentError::Unfit(message),
            Some("test-failed") => DocumentError::TestFailed(message),
            _ => DocumentError::Client(error),
        }
    }
}

impl DocumentError {
    /// What to do about it, in a sentence.
    ///
    /// ```
    /// use outcrop_client::documents::DocumentError;
    /// assert!(DocumentError::Path("line 1".into()).advice().contains("RFC 9535"));
    /// ```
    pub fn advice(&self) -> &str {
        match self {
            DocumentError::Missing(_) => "Write it first, with `set` or `merge`.",
            DocumentError::Path(_) => "Write paths as RFC 9535 has them; a filter is the inside of [?…].",
            DocumentError::Arguments(_) => "A document is an object; a patch is an array of operations (RFC 6902).",
            DocumentError::Unfit(_) => "Read the document: the path doesn't fit it.",
            DocumentError::TestFailed(_) => "Read the document again and decide anew.",
            DocumentError::Client(error) => error.advice(),
        }
    }

    /// The error of the node or the way to it, if that is what it was.
    ///
    /// ```
    /// use outcrop_client::documents::DocumentError;
    /// assert!(DocumentError::TestFailed("the price is 80".into()).client().is_none());
    /// ```
    pub fn client(&self) -> Option<&ClientError> {
        match self {
            DocumentError::Client(error) => Some(error),
            _ => None,
        }
    }
}

//! What can go wrong, from the caller's side: refused, not known, too late, not connected, or wrong before it was sent.

use std::time::Duration;

use outcrop_wire::archive::ArchiveError;
use outcrop_wire::request::RequestError;
use outcrop_wire::{Code, KeyError, Retry, TypedError};
use thiserror::Error;

use crate::functions::FunctionError;
use crate::url::UrlError;

/// Why a request has no result.
///
/// ```
/// use outcrop_client::{ClientError, Code, Retry};
///
/// let error = ClientError::Refused { code: Code::StopWrites, message: "shop: 1% free".into() };
/// assert_eq!(error.code(), Some(Code::StopWrites));
/// assert_eq!(error.retry(), Retry::Backoff);
/// assert!(error.advice().contains("add flash"));
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node answered with a code other than `Ok`; nothing was written.
    #[error("{}: {message}", .code.name())]
    Refused {
        /// Why, as a stable number.
        code: Code,
        /// Why, in words, with the names and numbers of this request.
        message: String,
    },
    /// A function failed, or the node refused something about functions and tells more than a message.
    #[error(transparent)]
    Function(Box<FunctionError>),
    /// The write may or may not have happened: its reply was lost, or came too late. Read the record to find out.
    #[error("the write may or may not have happened: {message}")]
    Indeterminate {
        /// What was lost.
        message: String,
    },
    /// The deadline passed. Nothing was written.
    #[error("no answer within {} ms: {message}", .waited.as_millis())]
    Deadline {
        /// How long the caller was willing to wait.
        waited: Duration,
        /// What it waited for last.
        message: String,
    },
    /// No connection to any of the addresses. Nothing was sent.
    #[error("can't connect to {address}: {message}")]
    Connect {
        /// The address that was tried last.
        address: String,
        /// Why it failed.
        message: String,
    },
    /// The certificates to trust can't be had. Nothing was sent.
    #[error("{0}")]
    Trust(String),
    /// The connection broke under a read, or the client was closed. Nothing was written.
    #[error("the connection is closed: {message}")]
    Closed {
        /// Why.
        message: String,
    },
    /// The URL of the node can't be read.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The key isn't within the limits; nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bins or operations aren't within the limits, or a reply's archive is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A field of the request can't be; nothing was sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node said something that this client can't read.
    #[error("the node's answer can't be read: {0}")]
    Protocol(String),
    /// A serde type doesn't fit the record.
    #[error(transparent)]
    Typed(#[from] TypedError),
}

impl ClientError {
    /// The node's code, or the code that the node would have given to a request refused here already.
    ///
    /// ```
    /// use outcrop_client::{ClientError, Code};
    /// assert_eq!(ClientError::Indeterminate { message: String::new() }.code(), Some(Code::Indeterminate));
    /// ```
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Function(error) => Some(error.code),
            ClientError::Indeterminate { .. } => Some(Code::Indeterminate),
            ClientError::Deadline { .. } => Some(Code::DeadlineExceeded),
            ClientError::Key(_) => Some(Code::InvalidKey),
            ClientError::Archive(error) => Some(match error {
                ArchiveError::Malformed(_) => Code::MalformedArchive,
                ArchiveError::TooDeep => Code::ValueTooDeep,
                ArchiveError::BinName(_) => Code::InvalidBinName,
                ArchiveError::TooManyBins(_) => Code::TooManyBins,
                ArchiveError::DuplicateBin(_) | ArchiveError::DuplicateMapKey(_) => Code::DuplicateName,
                ArchiveError::TooLarge { .. } => Code::RecordTooLarge,
                ArchiveError::Operations(_) => Code::InvalidRequest,
            }),
            ClientError::Request(error) => Some(match error {
                RequestError::Ttl(_) => Code::InvalidTtl,
                RequestError::BinName(_) => Code::InvalidBinName,
                RequestError::Batch(_) => Code::BatchTooLarge,
                RequestError::Key(_) => Code::InvalidKey,
                RequestError::Verb(_) => Code::UnknownVerb,
                RequestError::Malformed(_) | RequestError::Trailing(_) => Code::MalformedFrame,
                RequestError::Field { .. } | RequestError::Name(_) => Code::InvalidRequest,
                RequestError::Arguments(_) => Code::FunctionInputLimit,
            }),
            ClientError::Connect { .. }
            | ClientError::Closed { .. }
            | ClientError::Url(_)
            | ClientError::Protocol(_)
            | ClientError::Typed(_)
            | ClientError::Trust(_) => None,
        }
    }

    /// What a failed function told of itself, if that is what this is.
    ///
    /// ```
    /// use outcrop_client::{ClientError, Code};
    /// let refused = ClientError::Refused { code: Code::FunctionUnknown, message: "shop.discont".into() };
    /// assert!(refused.function().is_none());
    /// ```
    pub fn function(&self) -> Option<&FunctionError> {
        if let ClientError::Function(error) = self { Some(error) } else { None }
    }

    /// Whether the same request may be sent again. The SDK has done so already where it was safe; this tells what is
    /// left to the caller.
    ///
    /// ```
    /// use outcrop_client::{ClientError, Retry};
    /// assert_eq!(ClientError::Indeterminate { message: String::new() }.retry(), Retry::IfIdempotent);
    /// ```
    pub fn retry(&self) -> Retry {
        match self {
            ClientError::Connect { .. } | ClientError::Closed { .. } => Retry::Backoff,
            other => other.code().map_or(Retry::Never, Code::retry),
        }
    }

    /// What to do about it, for a person.
    ///
    /// ```
    /// use outcrop_client::ClientError;
    /// let error = ClientError::Connect { address: "10.0.0.1:7420".into(), message: "timed out".into() };
    /// assert!(error.advice().contains("running"));
    /// ```
    pub fn advice(&self) -> &'static str {
        match self {
            ClientError::Connect { message, .. } if message.contains("invalid peer certificate") => {
                "The node shows a certificate that isn't trusted here. Name a PEM file with it, or with the one that signed it: --ca FILE or OUTCROP_CA of the commands, ?ca=FILE of a URL, `trust` of the builder. A node that made its own keeps it as dev-cert.pem in its data directory."
            }
            ClientError::Connect { .. } => {
                "Check that the node is running, that its address and certificate are the ones given, and that UDP gets through."
            }
            ClientError::Trust(_) => {
                "Name a PEM file with the node's certificate, or with the one that signed it: --ca FILE or OUTCROP_CA of the commands, ?ca=FILE of a URL, `trust` of the builder."
            }
            ClientError::Closed { .. } => "Retry; if it lasts, check the node and the network.",
            ClientError::Url(_) => "Write outcrop://HOST:PORT[,HOST:PORT...][?ca=FILE.pem].",
            ClientError::Protocol(_) => "Update the older of client and node; if both are current, report a bug.",
            ClientError::Typed(_) => "Change the type or the record: the message names the field.",
            other => other.code().map_or("", Code::advice),
        }
    }

    pub(crate) fn closed(message: impl Into<String>) -> Self {
        ClientError::Closed { message: message.into() }
    }

    pub(crate) fn protocol(error: impl std::fmt::Display) -> Self {
        ClientError::Protocol(error.to_string())
    }
}

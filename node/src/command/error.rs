//! What a verb answers when it can't do what was asked: a stable code, a message, and what the refusal rests on.

use outcrop_flash::Lsn;
use outcrop_wire::Code;
use outcrop_wire::archive::ArchiveError;
use outcrop_wire::key::KeyError;
use outcrop_wire::request::RequestError;

use crate::store::read::ReadError;
use crate::store::write::Refused;

/// A refusal on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The stable code.
    pub code: Code,
    /// What happened, with the names and numbers of this case.
    pub message: String,
    /// The log number that must be durable before the caller is told.
    pub durable_at: Option<Lsn>,
}

impl CommandError {
    /// A refusal that rests on nothing.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        CommandError { code, message: message.into(), durable_at: None }
    }

    /// No such record; told once the deletion that it rests on is durable.
    pub fn not_found(durable_at: Option<Lsn>) -> Self {
        CommandError { code: Code::NotFound, message: "there is no such record".to_owned(), durable_at }
    }
}

impl From<Refused> for CommandError {
    fn from(refused: Refused) -> Self {
        CommandError { code: refused.error.code(), message: refused.error.to_string(), durable_at: refused.durable_at }
    }
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        CommandError::new(error.code(), error.to_string())
    }
}

impl From<ArchiveError> for CommandError {
    fn from(error: ArchiveError) -> Self {
        let code = match &error {
            ArchiveError::Malformed(_) => Code::MalformedArchive,
            ArchiveError::TooDeep => Code::ValueTooDeep,
            ArchiveError::BinName(_) => Code::InvalidBinName,
            ArchiveError::TooManyBins(_) => Code::TooManyBins,
            ArchiveError::DuplicateBin(_) | ArchiveError::DuplicateMapKey(_) => Code::DuplicateName,
            ArchiveError::TooLarge { .. } => Code::RecordTooLarge,
            ArchiveError::Operations(_) => Code::InvalidRequest,
        };
        CommandError::new(code, error.to_string())
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        let code = if matches!(error, KeyError::Malformed(_)) { Code::MalformedFrame } else { Code::InvalidKey };
        CommandError::new(code, error.to_string())
    }
}

impl From<RequestError> for CommandError {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::Key(key) => return key.clone().into(),
            RequestError::Malformed(_) | RequestError::Trailing(_) => Code::MalformedFrame,
            RequestError::Verb(_) => Code::UnknownVerb,
            RequestError::Field { .. } | RequestError::Name(_) => Code::InvalidRequest,
            RequestError::Arguments(_) => Code::FunctionInputLimit,
            RequestError::Ttl(_) => Code::InvalidTtl,
            RequestError::BinName(_) => Code::InvalidBinName,
            RequestError::Batch(_) => Code::BatchTooLarge,
        };
        CommandError::new(code, error.to_string())
    }
}

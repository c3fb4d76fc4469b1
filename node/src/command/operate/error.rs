//! Why an `operate` was refused: which step, which bin, what it met. Steps count from 1.

use outcrop_wire::Code;
use outcrop_wire::limits::{BIN_NAME_BYTES_MAX, BINS_MAX, RECORD_BYTES_CEILING, VALUE_DEPTH_MAX};
use thiserror::Error;

use super::{RESULT_BYTES_MAX, WORK_MAX};

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum OperateError {
    /// The bin holds another type than the step works on.
    #[error("step {step}: {operation} needs bin {bin:?} to hold {expected}, but it holds {found}")]
    TypeMismatch {
        /// The step.
        step: usize,
        /// What it is.
        operation: &'static str,
        /// Its bin.
        bin: String,
        /// The type that it needs.
        expected: &'static str,
        /// The bin's type.
        found: &'static str,
    },
    /// The step's own value has a type that it can't work with.
    #[error("step {step}: {operation} on bin {bin:?} takes {expected}, not {found}")]
    ArgumentType {
        /// The step.
        step: usize,
        /// What it is.
        operation: &'static str,
        /// Its bin.
        bin: String,
        /// The type that it takes.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// There is nothing at this index.
    #[error("step {step}: {operation} on bin {bin:?}: index {index} is outside a list of {len}")]
    IndexOutOfRange {
        /// The step.
        step: usize,
        /// What it is.
        operation: &'static str,
        /// Its bin.
        bin: String,
        /// The index.
        index: i64,
        /// Items of the list.
        len: usize,
    },
    /// The sum of two integers is no 64-bit integer.
    #[error("step {step}: add on bin {bin:?}: {value} + {amount} is outside the range of a 64-bit integer")]
    Overflow {
        /// The step.
        step: usize,
        /// Its bin.
        bin: String,
        /// What the bin holds.
        value: i64,
        /// What was to be added.
        amount: i64,
    },
    /// The bin's value would nest too deep.
    #[error("step {step}: {operation} would nest bin {bin:?} over {VALUE_DEPTH_MAX} deep")]
    TooDeep {
        /// The step.
        step: usize,
        /// What it is.
        operation: &'static str,
        /// Its bin.
        bin: String,
    },
    /// One bin too many.
    #[error("step {step}: bin {bin:?} would be one over the {BINS_MAX} that a record may have")]
    TooManyBins {
        /// The step.
        step: usize,
        /// The new bin.
        bin: String,
    },
    /// The bin's name is too long.
    #[error("step {step}: a bin name has at most {BIN_NAME_BYTES_MAX} bytes, this one has {bytes}")]
    BinName {
        /// The step.
        step: usize,
        /// Bytes of the name.
        bytes: usize,
    },
    /// A step follows `Delete` that doesn't make a bin.
    #[error("step {step}: {operation} can't follow the delete of step {delete}; only steps that make new bins can")]
    AfterDelete {
        /// The step.
        step: usize,
        /// What it is.
        operation: &'static str,
        /// The step that deletes.
        delete: usize,
    },
    /// The results are too large for a reply.
    #[error("step {step}: the results so far have {bytes} bytes, at most {RESULT_BYTES_MAX} fit a reply")]
    ResultsTooLarge {
        /// The step whose result was too much.
        step: usize,
        /// Bytes of all results up to here.
        bytes: usize,
    },
    /// The record would be too large for any namespace.
    #[error("the record would have {bytes} bytes, at most {RECORD_BYTES_CEILING} are possible")]
    RecordTooLarge {
        /// Bytes that it would have.
        bytes: usize,
    },
    /// The steps go through too many items.
    #[error("step {step}: these steps go through over {WORK_MAX} items of lists and maps; send fewer at a time")]
    TooMuchWork {
        /// The step that was too much.
        step: usize,
    },
}

impl OperateError {
    /// The stable code of the error.
    pub fn code(&self) -> Code {
        match self {
            OperateError::TypeMismatch { .. } | OperateError::ArgumentType { .. } => Code::TypeMismatch,
            OperateError::IndexOutOfRange { .. } | OperateError::Overflow { .. } => Code::OutOfRange,
            OperateError::TooDeep { .. } => Code::ValueTooDeep,
            OperateError::TooManyBins { .. } => Code::TooManyBins,
            OperateError::BinName { .. } => Code::InvalidBinName,
            OperateError::AfterDelete { .. } | OperateError::TooMuchWork { .. } => Code::InvalidRequest,
            OperateError::ResultsTooLarge { .. } => Code::ReplyTooLarge,
            OperateError::RecordTooLarge { .. } => Code::RecordTooLarge,
        }
    }
}

//! The record as the steps so far have made it, copied at the first step that writes.

use std::borrow::Cow;

use outcrop_wire::limits::{BIN_NAME_BYTES_MAX, BINS_MAX, RECORD_BYTES_CEILING, VALUE_DEPTH_MAX};
use outcrop_wire::{Bin, Bins, Value};

use super::error::OperateError;
use super::size::{archived_bins_bytes, archived_bytes};
use super::{Applied, Outcome, RESULT_BYTES_MAX, WORK_MAX};

/// Where in the list of steps we are, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// Counts from 1.
    pub(super) step: usize,
    /// The step's bin.
    pub(super) bin: &'a str,
    /// What the step is.
    pub(super) name: &'static str,
}

impl At<'_> {
    pub(super) fn mismatch(self, expected: &'static str, found: &Value) -> OperateError {
        let (bin, found) = (self.bin.to_owned(), found.type_name());
        OperateError::TypeMismatch { step: self.step, operation: self.name, bin, expected, found }
    }

    pub(super) fn argument(self, expected: &'static str, found: &Value) -> OperateError {
        let (bin, found) = (self.bin.to_owned(), found.type_name());
        OperateError::ArgumentType { step: self.step, operation: self.name, bin, expected, found }
    }

    pub(super) fn out_of_range(self, index: i64, len: usize) -> OperateError {
        OperateError::IndexOutOfRange { step: self.step, operation: self.name, bin: self.bin.to_owned(), index, len }
    }

    /// A value that will lie within so many lists and maps.
    pub(super) fn check_depth(self, value: &Value, within: usize) -> Result<(), OperateError> {
        if value.depth(VALUE_DEPTH_MAX) + within <= VALUE_DEPTH_MAX {
            return Ok(());
        }
        Err(OperateError::TooDeep { step: self.step, operation: self.name, bin: self.bin.to_owned() })
    }
}

pub(super) struct Draft<'a> {
    /// `None`: the record doesn't exist (any more, or yet).
    bins: Option<Cow<'a, Bins>>,
    changed: bool,
    touched: bool,
    deleted: bool,
    results: Vec<Value>,
    result_bytes: usize,
    work: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(bins: Option<Cow<'a, Bins>>) -> Self {
        let (results, result_bytes, work) = (Vec::new(), 0, 0);
        Draft { bins, changed: false, touched: false, deleted: false, results, result_bytes, work }
    }

    /// The step's bin.
    pub(super) fn read(&self, at: At<'_>) -> Option<&Value> {
        self.bins.as_ref()?.get(at.bin)
    }

    /// The step's bin, about to be changed.
    pub(super) fn change(&mut self, at: At<'_>) -> Option<&mut Value> {
        let bin = self.bins.as_mut()?.to_mut().bins.iter_mut().find(|bin| bin.name == at.bin)?;
        self.changed = true;
        Some(&mut bin.value)
    }

    /// Sets the step's bin, which may be new.
    pub(super) fn put(&mut self, at: At<'_>, value: Value) -> Result<(), OperateError> {
        if let Some(old) = self.change(at) {
            *old = value;
            return Ok(());
        }
        if at.bin.len() > BIN_NAME_BYTES_MAX {
            return Err(OperateError::BinName { step: at.step, bytes: at.bin.len() });
        }
        let bins = &mut self.bins.get_or_insert_default().to_mut().bins;
        if bins.len() >= BINS_MAX {
            return Err(OperateError::TooManyBins { step: at.step, bin: at.bin.to_owned() });
        }
        bins.push(Bin { name: at.bin.to_owned(), value });
        self.changed = true;
        Ok(())
    }

    /// Removes the step's bin; whether it was there.
    pub(super) fn remove(&mut self, at: At<'_>) -> bool {
        let there = self.read(at).is_some();
        if there && let Some(bins) = &mut self.bins {
            bins.to_mut().remove(at.bin);
            self.changed = true;
        }
        there
    }

    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether there was something to delete.
    pub(super) fn delete(&mut self) -> bool {
        self.deleted = true;
        self.changed = false;
        self.bins.take().is_some()
    }

    /// Counts items that a step is about to go through.
    pub(super) fn spend(&mut self, at: At<'_>, items: usize) -> Result<(), OperateError> {
        self.work = self.work.saturating_add(items);
        if self.work > WORK_MAX { Err(OperateError::TooMuchWork { step: at.step }) } else { Ok(()) }
    }

    /// Whether a value fits the reply beside the results so far: asked before it is copied.
    pub(super) fn check_result(&self, at: At<'_>, value: Option<&Value>) -> Result<(), OperateError> {
        let bytes = self.result_bytes + value.map_or(0, archived_bytes);
        if bytes > RESULT_BYTES_MAX { Err(OperateError::ResultsTooLarge { step: at.step, bytes }) } else { Ok(()) }
    }

    pub(super) fn push_result(&mut self, at: At<'_>, result: Value) -> Result<(), OperateError> {
        self.check_result(at, Some(&result))?;
        self.result_bytes += archived_bytes(&result);
        self.results.push(result);
        Ok(())
    }

    pub(super) fn finish(self, existed: bool, writes: bool) -> Result<Applied, OperateError> {
        let outcome = match self.bins {
            Some(bins) if self.changed => {
                let bytes = archived_bins_bytes(&bins);
                if bytes > RECORD_BYTES_CEILING {
                    return Err(OperateError::RecordTooLarge { bytes });
                }
                Outcome::Write(bins.into_owned())
            }
            None if self.deleted && existed => Outcome::Delete,
            Some(_) if self.touched => Outcome::Touch,
            _ if writes => Outcome::Nothing,
            _ => Outcome::ReadOnly,
        };
        let recreated = self.deleted && existed && matches!(outcome, Outcome::Write(_));
        Ok(Applied { results: self.results, outcome, recreated })
    }
}

//! Batches from memory, for queries of tests: several sources share what is left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use outcrop_node::udf::batch::push;
use outcrop_node::udf::{BatchSource, SourceError};
use outcrop_wire::{Bins, Code};

use super::host::{Bench, key};

/// Numbered batches that are left.
pub type Remaining = Arc<Mutex<VecDeque<(usize, Vec<u8>)>>>;

/// Batches that several sources take from. The mark is the batch's number.
#[derive(Clone, Default)]
pub struct Batches {
    pub remaining: Remaining,
    /// At the end: an error instead.
    pub fails: bool,
    /// Never an end: the last batch again and again.
    pub endless: bool,
}

impl Batches {
    /// Records with the bin `n` from 0 on, `in_batch` in each batch, written to the namespace and taken from there.
    pub fn of_numbers(bench: &Bench, count: usize, in_batch: usize) -> Self {
        let mut batches = VecDeque::new();
        for number in 0..count {
            let key = key(&format!("record {number}"));
            bench.put(&key, &Bins::new().with("before", "text").with("n", number as i64).with("after", 0.5));
            let stored = bench.subject(&key);
            if number % in_batch == 0 {
                batches.push_back((batches.len(), Vec::new()));
            }
            push(&mut batches.back_mut().expect("there is one").1, stored.stored().expect("it was written"));
        }
        Batches { remaining: Arc::new(Mutex::new(batches)), ..Batches::default() }
    }

    /// So many sources of it.
    pub fn sources(&self, count: usize) -> Vec<Batches> {
        vec![self.clone(); count]
    }

    /// The same batches once more, however many of these have been taken by then.
    pub fn again(&self) -> Batches {
        let batches = self.remaining.lock().expect("nobody panics with it").clone();
        Batches { remaining: Arc::new(Mutex::new(batches)), ..self.clone() }
    }

    pub fn left(&self) -> usize {
        self.remaining.lock().expect("nobody panics with it").len()
    }
}

impl BatchSource for Batches {
    type Mark = usize;

    async fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, SourceError> {
        let mut left = self.remaining.lock().expect("nobody panics with it");
        if self.endless && left.len() == 1 {
            let (number, batch) = left[0].clone();
            out.extend_from_slice(&batch);
            return Ok(Some(number));
        }
        match left.pop_front() {
            Some((number, batch)) => {
                out.extend_from_slice(&batch);
                Ok(Some(number))
            }
            None if self.fails => {
                Err(SourceError { code: Code::DeviceError, message: "the device is gone".to_owned() })
            }
            None => Ok(None),
        }
    }
}

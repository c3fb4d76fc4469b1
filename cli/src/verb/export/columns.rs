//! The columns of a CSV export.

use std::collections::HashSet;

use outcrop_wire::limits::BINS_MAX;

use crate::failure::Failure;

/// Names of bins in the order in which they were found.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    names: Vec<String>,
    known: HashSet<String>,
}

impl Columns {
    /// These columns, whatever the records have.
    pub(super) fn named(names: Vec<String>) -> Self {
        let known = names.iter().cloned().collect();
        Columns { names, known }
    }

    /// A record has this bin.
    pub(super) fn add(&mut self, name: &str) -> Result<(), Failure> {
        if self.known.contains(name) {
            return Ok(());
        }
        if self.names.len() == BINS_MAX {
            let message =
                format!("the records have over {BINS_MAX} different bins, more than a row can be imported with");
            return Err(Failure::usage(message, "Choose with --bins, or export NDJSON."));
        }
        self.known.insert(name.to_owned());
        self.names.push(name.to_owned());
        Ok(())
    }

    /// The names in order.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is a column for this bin.
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }
}

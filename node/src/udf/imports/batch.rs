//! `batch`: walking the batch at hand record by record, and giving rows.

use outcrop_wire::Code;
use outcrop_wire::archive::archive_value;
use wasmtime::{Error, Result};

use super::convert::json_to_value;
use crate::udf::bindings::outcrop::udf::batch::Host;
use crate::udf::outcome::Failed;
use crate::udf::state::{CallState, Work};
use crate::udf::view::View;

impl Host for CallState {
    fn next(&mut self) -> Result<bool> {
        self.charge()?;
        let Some(batch) = &mut self.batch else { return Ok(false) };
        self.view = match batch.advance()? {
            None => View::none(),
            Some((bytes, range)) => View::of_batch(bytes, range)?,
        };
        Ok(self.view.header().is_some())
    }

    fn emit(&mut self, row: String) -> Result<()> {
        self.charge()?;
        let invalid = |why: String| Error::new(Failed::new(Code::FunctionResultInvalid, why));
        if self.work != Work::Row || self.batch.is_none() {
            return Err(invalid("only a row function has rows to emit, while it takes a batch".to_owned()));
        }
        let value = json_to_value(&row).map_err(|error| invalid(format!("a row isn't valid JSON: {error}")))?;
        let row = archive_value(&value).map_err(|error| invalid(format!("a row can't be archived: {error}")))?;
        let pending = self.batch.as_ref().map_or(0, |batch| batch.row_bytes()) + 4 + row.len();
        self.charge_output(4 + row.len(), pending)?;
        if let Some(batch) = &mut self.batch {
            batch.emit(&row);
        }
        Ok(())
    }
}

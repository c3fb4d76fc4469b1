//! What became of the rows: counts, the first bad ones, and a file of all bad ones.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use outcrop_client::Value;

use crate::failure::Failure;
use crate::json::to_text;
use crate::output::{Out, OutputFormat, count, grouped, object, table, value_text};
use crate::progress::Progress;

/// Bad rows that the summary shows; `--bad-rows` has them all.
const SHOWN_MAX: usize = 20;

/// Counts, and bad rows.
pub(crate) struct Report {
    /// Rows that are in.
    pub(crate) imported: u64,
    /// Rows that aren't.
    pub(crate) bad: u64,
    first: Vec<BadRow>,
    file: Option<(PathBuf, BufWriter<File>)>,
}

struct BadRow {
    row: u64,
    line: u64,
    reason: String,
}

impl Report {
    /// Begins; `file`: where all bad rows go.
    pub(crate) fn new(file: Option<&Path>) -> Result<Self, Failure> {
        let file = match file {
            None => None,
            Some(path) => {
                let created =
                    File::create(path).map_err(|error| Failure::of_output(&path.display().to_string(), &error))?;
                Some((path.to_path_buf(), BufWriter::new(created)))
            }
        };
        Ok(Report { imported: 0, bad: 0, first: Vec::new(), file })
    }

    /// A row isn't in, and why.
    pub(crate) fn bad(&mut self, row: u64, line: u64, reason: String) -> Result<(), Failure> {
        self.bad += 1;
        if let Some((path, file)) = &mut self.file {
            writeln!(file, "{}", to_text(&as_object(row, line, &reason)))
                .map_err(|error| Failure::of_output(&path.display().to_string(), &error))?;
        }
        if self.first.len() < SHOWN_MAX {
            self.first.push(BadRow { row, line, reason });
        }
        Ok(())
    }

    /// Prints the summary; `complete`: the file was read to its end.
    pub(crate) fn print(&mut self, progress: &Progress, output: OutputFormat, complete: bool) -> Result<(), Failure> {
        self.print_with(progress, output, complete, Vec::new())
    }

    /// Prints the summary with more fields, which people get as a second line.
    pub(crate) fn print_with(
        &mut self,
        progress: &Progress,
        output: OutputFormat,
        complete: bool,
        more: Vec<(&str, Value)>,
    ) -> Result<(), Failure> {
        if let Some((path, file)) = &mut self.file {
            file.flush().map_err(|error| Failure::of_output(&path.display().to_string(), &error))?;
        }
        // Writes end in any order; the report goes by rows.
        self.first.sort_by_key(|bad| bad.row);
        let (seconds, rate) = (progress.elapsed().as_secs_f64(), progress.rate(self.imported));
        let mut out = Out::new();
        match output {
            OutputFormat::Json => {
                let shown = self.first.iter().map(|bad| as_object(bad.row, bad.line, &bad.reason)).collect();
                let Value::Map(mut fields) = object([
                    ("imported", count(self.imported)),
                    ("bad", count(self.bad)),
                    ("complete", complete.into()),
                    ("seconds", ((seconds * 1_000.0).round() / 1_000.0).into()),
                    ("rows_per_second", count(rate)),
                    ("bad_rows", Value::List(shown)),
                ]) else {
                    return Ok(());
                };
                fields.extend(more.into_iter().map(|(name, value)| (name.into(), value)));
                out.json(&Value::Map(fields))?;
            }
            OutputFormat::Table => {
                out.line(&format!(
                    "{} rows in, {} bad, {seconds:.2} s, {} rows/s",
                    grouped(self.imported),
                    grouped(self.bad),
                    grouped(rate)
                ))?;
                if !more.is_empty() {
                    let field = |(name, value): (&str, Value)| format!("{name} {}", value_text(&value));
                    out.line(&more.into_iter().map(field).collect::<Vec<_>>().join(", "))?;
                }
                self.print_bad(&mut out)?;
            }
        }
        out.flush()
    }

    fn print_bad(&self, out: &mut Out) -> Result<(), Failure> {
        if self.first.is_empty() {
            return Ok(());
        }
        let mut bad_rows = table(["row", "line", "reason"]);
        for bad in &self.first {
            bad_rows.add_row([bad.row.to_string(), bad.line.to_string(), value_text(&bad.reason.as_str().into())]);
        }
        out.table(&bad_rows)?;
        let left = self.bad.saturating_sub(self.first.len() as u64);
        match (left, &self.file) {
            (_, Some((path, _))) => out.line(&format!("all bad rows: {}", path.display())),
            (0, None) => Ok(()),
            (left, None) => out.line(&format!("and {} more; --bad-rows FILE keeps them all", grouped(left))),
        }
    }
}

fn as_object(row: u64, line: u64, reason: &str) -> Value {
    object([("row", count(row)), ("line", count(line)), ("reason", reason.into())])
}

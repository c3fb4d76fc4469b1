//! Where rows come from: a file or standard input, and how it is written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::rows::Format;

/// A file that is open for reading.
pub(crate) struct Source {
    /// Its name, `-` for standard input.
    path: PathBuf,
    /// Its bytes.
    pub(crate) input: Box<dyn Read + Send>,
    /// How many there are, if that is known.
    pub(crate) bytes_total: Option<u64>,
}

impl Source {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Source { path: path.into(), input: Box::new(std::io::stdin()), bytes_total: None });
        }
        let unreadable = |error: std::io::Error| {
            Failure::local(
                format!("{}: {error}", path.display()),
                "Name a file that can be read, or - for standard input.",
            )
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
        }
        let bytes_total = metadata.is_file().then_some(metadata.len());
        Ok(Source { path: path.into(), input: Box::new(file), bytes_total })
    }

    /// How it is written, by its name.
    pub(crate) fn format(&self) -> Result<Format, Failure> {
        let extension = self.path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "json" => Ok(Format::Json),
            "ndjson" | "jsonl" => Ok(Format::Ndjson),
            "csv" => Ok(Format::Csv),
            _ => Err(Failure::usage(
                format!("{}: its name doesn't say how it is written", self.path.display()),
                "Say --format json, ndjson or csv.",
            )),
        }
    }
}

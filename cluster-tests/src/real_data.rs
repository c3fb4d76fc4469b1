//! Real documents and series that lie beside the repository on some machines; their tests say loudly when they don't.

use std::path::{Path, PathBuf};

/// The folder with `documents` and `timeseries`; none where it isn't.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.join("shared/data");
    beside.join("documents").is_dir().then_some(beside)
}

/// Files of a folder with this ending, in order.
///
/// # Panics
/// If the folder can't be read.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths.sort();
    paths
}

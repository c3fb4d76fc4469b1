//! Whether files of a project changed: their names, sizes and times, looked at again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Directories that hold what is built, not what is written.
const PASSED_OVER: [&str; 3] = ["target", ".git", "node_modules"];
/// Files of a project that are watched; a tree beyond that isn't one project.
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 16;

/// What the watched files looked like at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, (u64, SystemTime)>,
}

impl Snapshot {
    /// Looks at all files below the directories, and at single files.
    pub fn take(places: &[PathBuf]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        places.iter().for_each(|place| snapshot.visit(place, DEPTH_MAX));
        snapshot
    }

    fn visit(&mut self, place: &Path, depth_left: usize) {
        if self.files.len() >= FILES_MAX {
            return;
        }
        // What goes away while it is looked at isn't there.
        let Ok(metadata) = std::fs::metadata(place) else { return };
        if !metadata.is_dir() {
            let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            self.files.insert(place.to_owned(), (metadata.len(), changed));
            return;
        }
        let passed_over = place.file_name().is_some_and(|name| PASSED_OVER.iter().any(|other| name == *other));
        let Ok(entries) = std::fs::read_dir(place) else { return };
        if depth_left > 0 && !passed_over {
            entries.filter_map(Result::ok).for_each(|entry| self.visit(&entry.path(), depth_left - 1));
        }
    }

    /// A file that differs from another moment's, if any does.
    pub fn difference(&self, other: &Snapshot) -> Option<PathBuf> {
        let here = self.files.iter().find(|(path, seen)| other.files.get(*path) != Some(seen));
        let there = || other.files.iter().find(|(path, _)| !self.files.contains_key(*path));
        here.or_else(there).map(|(path, _)| path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_counts_and_what_is_built_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "one");
        write("target/debug/lib", "built");
        let look = || Snapshot::take(&[directory.path().to_owned()]);
        let before = look();
        write("target/debug/lib", "built again");
        assert_eq!(look().difference(&before), None);
        write("src/lib.rs", "longer");
        assert_eq!(look().difference(&before), Some(directory.path().join("src/lib.rs")));
        let changed = look();
        write("tests/cases.json", "{}");
        assert_eq!(look().difference(&changed), Some(directory.path().join("tests/cases.json")));
        let more = look();
        std::fs::remove_file(directory.path().join("tests/cases.json")).unwrap();
        assert_eq!(look().difference(&more), Some(directory.path().join("tests/cases.json")));
    }
}

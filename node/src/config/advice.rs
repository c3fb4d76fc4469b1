//! What a configuration may say and probably doesn't mean: warnings of `--check` and of the start, never errors.

use outcrop_flash::log::LogOptions;

use super::units::format_bytes;
use super::{Config, NamespaceOptions, Values};

/// Below this share of `size` for records, percent, there is a warning.
const USABLE_PERCENT_MIN: u64 = 75;

/// Every warning, one line each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    config.namespaces.iter().filter_map(small).collect()
}

/// A namespace of which the log's reserve takes a large part.
fn small(namespace: &NamespaceOptions) -> Option<String> {
    let room = LogOptions::room(namespace.size_bytes, namespace.values != Values::Ram);
    if room.user_bytes * 100 >= namespace.size_bytes * USABLE_PERCENT_MIN {
        return None;
    }
    Some(format!(
        "namespace {:?}: of size {}, records can take {}: of its {} segments, {} are kept free for deletes and defrag, and \
         {} holds the index's checkpoint; a larger size loses less (docs/configuration.md has the table)",
        namespace.name,
        format_bytes(namespace.size_bytes),
        format_bytes(room.user_bytes),
        room.segments,
        room.reserve_segments,
        room.checkpoint_segments,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(size: &str) -> Vec<String> {
        let text = format!("[tls]\nself_signed = true\n[[namespace]]\nname = \"shop\"\nsize = \"{size}\"\n");
        Config::parse(&text).expect("it is right").warnings()
    }

    #[test]
    fn a_namespace_that_is_mostly_reserve_says_what_it_can_hold() {
        let warnings = of_size("64MiB");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("\"shop\"") && warnings[0].contains("records can take 16MiB"), "{warnings:?}");
        assert!(warnings[0].contains("of its 7 segments, 4 are kept free"), "{warnings:?}");
    }

    #[test]
    fn an_ordinary_one_says_nothing() {
        assert_eq!(of_size("256MiB"), Vec::<String>::new());
        assert_eq!(of_size("16GiB"), Vec::<String>::new());
    }
}

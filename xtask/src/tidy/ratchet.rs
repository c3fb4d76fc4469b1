//! A ratchet on length: files and functions over the bound are listed with the length they have, and may only shrink.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Finding;
use super::source::Source;

/// Lines of a file that needs no entry.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function that needs no entry.
const FUNCTION_LINES_MAX: usize = 80;
/// Where the entries are.
const PATH: &str = "xtask/ratchet.toml";

/// What is over the bounds, and how long it may be.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratchet {
    #[serde(default)]
    files: BTreeMap<String, usize>,
    #[serde(default)]
    functions: BTreeMap<String, usize>,
}

/// Compares the sources with the ratchet's file.
pub fn check(sources: &[Source]) -> Result<Vec<Finding>, String> {
    Ok(compare(&read()?, &measure(sources)))
}

/// Writes the lengths of now where they are lower, and drops entries that are no longer needed.
pub fn lower(sources: &[Source]) -> Result<(), String> {
    let (allowed, now) = (read()?, measure(sources));
    let files = lowered(&allowed.files, &now.files);
    let functions = lowered(&allowed.functions, &now.functions);
    let text = Ratchet { files, functions }.to_toml();
    std::fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))
}

fn read() -> Result<Ratchet, String> {
    match std::fs::read_to_string(PATH) {
        Ok(text) => toml::from_str(&text).map_err(|error| format!("{PATH}: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ratchet::default()),
        Err(error) => Err(format!("{PATH}: {error}")),
    }
}

fn lowered(allowed: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let kept = allowed.iter().filter_map(|(name, limit)| Some((name.clone(), *now.get(name)?.min(limit))));
    kept.collect()
}

/// Everything over the bounds; of functions of one name in a file the longest counts.
fn measure(sources: &[Source]) -> Ratchet {
    let mut now = Ratchet::default();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            now.files.insert(source.path.clone(), lines);
        }
        for function in source.functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            let longest = now.functions.entry(format!("{}::{}", source.path, function.name)).or_default();
            *longest = function.lines.max(*longest);
        }
    }
    now
}

fn compare(allowed: &Ratchet, now: &Ratchet) -> Vec<Finding> {
    let mut findings = compare_lengths(&allowed.files, &now.files, FILE_LINES_MAX, "a file");
    findings.extend(compare_lengths(&allowed.functions, &now.functions, FUNCTION_LINES_MAX, "a function"));
    findings
}

fn compare_lengths(
    allowed: &BTreeMap<String, usize>,
    now: &BTreeMap<String, usize>,
    bound: usize,
    what: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |name: &str, message: String| {
        let path = name.split("::").next().unwrap_or(name);
        findings.push(Finding::new(path, 1, format!("{name}: {message}")));
    };
    for (name, lines) in now {
        match allowed.get(name) {
            None => find(
                name,
                format!(
                    "{what} has at most {bound} lines, this one {lines}: split it along a seam that a reader would name"
                ),
            ),
            Some(limit) if lines > limit => {
                find(name, format!("grew from {limit} to {lines} lines: it may only shrink, split it"));
            }
            Some(limit) if lines < limit => {
                find(
                    name,
                    format!("shrank from {limit} to {lines} lines: keep it with `cargo xtask tidy --update-ratchet`"),
                );
            }
            Some(_) => {}
        }
    }
    for name in allowed.keys().filter(|name| !now.contains_key(*name)) {
        find(name, format!("no longer over {bound} lines: drop the entry with `cargo xtask tidy --update-ratchet`"));
    }
    findings
}

impl Ratchet {
    fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Files over 500 and functions over 80 lines, with the length that they may have. It only goes down:\n\
             # `cargo xtask tidy --update-ratchet`. Who adds or raises a line says why in the commit.\n",
        );
        for (title, lengths) in [("files", &self.files), ("functions", &self.functions)] {
            text.push_str(&format!("\n[{title}]\n"));
            lengths.iter().for_each(|(name, lines)| text.push_str(&format!("\"{name}\" = {lines}\n")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratchet(files: &[(&str, usize)]) -> Ratchet {
        let files = files.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect();
        Ratchet { files, functions: BTreeMap::new() }
    }

    #[test]
    fn what_is_long_may_only_shrink() {
        let allowed = ratchet(&[("a.rs", 600)]);
        assert_eq!(compare(&allowed, &ratchet(&[("a.rs", 600)])), []);
        for (now, word) in
            [(ratchet(&[("a.rs", 601)]), "grew"), (ratchet(&[("a.rs", 599)]), "shrank"), (ratchet(&[]), "drop")]
        {
            let found = compare(&allowed, &now);
            assert!(found.len() == 1 && found[0].message.contains(word), "{found:?}");
        }
        assert_eq!(compare(&allowed, &ratchet(&[("a.rs", 600), ("b.rs", 501)])).len(), 1);
    }

    #[test]
    fn files_and_functions_are_measured_against_their_bounds() {
        let long = format!("fn a() {{\n{}}}\nfn b() {{}}\n{}", "    ();\n".repeat(80), "// line\n".repeat(450));
        let now = measure(&[Source::parse("x.rs", &long), Source::parse("y.rs", "fn c() {}\n")]);
        assert_eq!(now.files, BTreeMap::from([("x.rs".to_owned(), 533)]));
        assert_eq!(now.functions, BTreeMap::from([("x.rs::a".to_owned(), 82)]));
    }

    #[test]
    fn lowering_never_raises_nor_adds() {
        let now = ratchet(&[("a.rs", 700), ("b.rs", 510), ("new.rs", 900)]);
        let allowed = ratchet(&[("a.rs", 600), ("b.rs", 600), ("gone.rs", 600)]);
        assert_eq!(lowered(&allowed.files, &now.files), ratchet(&[("a.rs", 600), ("b.rs", 510)]).files);
        let text = ratchet(&[("a.rs", 600)]).to_toml();
        assert_eq!(toml::from_str::<Ratchet>(&text).expect("reads its own form"), ratchet(&[("a.rs", 600)]));
    }
}

//! Nothing is left open in the tree: no notes to oneself, no stubs, no debugging aids.

use super::Finding;
use super::source::Source;

/// Put together from halves, so that this file doesn't find itself.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const STUBS: [&str; 3] = [concat!("to", "do"), concat!("unimple", "mented"), concat!("db", "g")];
const TEXT_ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".sh", ".yml", ".yaml", ".wit", "/run"];

/// Reads every text file of the repository.
pub fn check(files: &[String]) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending))) {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        findings.extend(notes(path, &text));
        if path.ends_with(".rs") {
            findings.extend(stubs(&Source::parse(path, &text)));
        }
    }
    Ok(findings)
}

fn notes(path: &str, text: &str) -> Vec<Finding> {
    let found = text.lines().enumerate().filter_map(|(at, line)| {
        let word = NOTES.into_iter().find(|note| has_word(line, note))?;
        Some(Finding::new(path, at + 1, format!("`{word}`: do it now, or write it where open work is kept")))
    });
    found.collect()
}

fn stubs(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for stub in STUBS {
        for at in source.find(&[stub, "!"]) {
            let message = format!("`{stub}!` has no place in what is done");
            findings.push(Finding::new(&source.path, source.tokens[at].line, message));
        }
    }
    findings
}

/// Whether `word` stands in `line` with nothing of a word on either side.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_words_and_stubs_are_calls() {
        let [note, ..] = NOTES;
        assert_eq!(notes("a.md", &format!("fine\n<!-- {note}: later -->")).len(), 1);
        assert_eq!(notes("a.md", &format!("{note}RO is a name, and so is A{note}")).len(), 0);
        let [stub, ..] = STUBS;
        assert_eq!(stubs(&Source::parse("a.rs", &format!("fn a() {{ {stub}!() }} // {stub}!()"))).len(), 1);
        assert_eq!(stubs(&Source::parse("a.rs", &format!("let {stub} = 1;"))).len(), 0);
    }
}

//! Unsafe has one address, and each use carries the argument for why it is sound.

use super::Finding;
use super::source::Source;

/// The one crate with unsafe code; and the one room outside of it, which loads compiled modules (docs/decisions/0008).
const ADDRESSES: [&str; 2] = ["node/flash/", "node/src/udf/artifact.rs"];
/// Lines of the same statement that may stand between the argument and the word.
const STATEMENT_LINES_MAX: usize = 3;

/// Uses of `unsafe` outside their crate, or without a `SAFETY:` comment (a function: a `# Safety` section) above them.
pub fn check(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().collect();
    let uses = source.tokens.iter().filter(|token| token.text == "unsafe");
    uses.filter_map(|token| {
        if !ADDRESSES.iter().any(|address| source.path.starts_with(address)) {
            let message = "unsafe code lives in `node/flash` only; move it there or do without";
            return Some(Finding::new(&source.path, token.line, message));
        }
        let argued = argued(&lines, token.line);
        let message = "say in a `// SAFETY:` comment right above why this is sound";
        (!argued).then(|| Finding::new(&source.path, token.line, message))
    })
    .collect()
}

fn argued(lines: &[&str], line: usize) -> bool {
    let says = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    if lines.get(line - 1).is_some_and(|text| text.contains("// SAFETY:")) {
        return true;
    }
    let mut statement_lines = 0;
    for text in lines[..line - 1].iter().rev() {
        let text = text.trim_start();
        if text.starts_with("//") {
            if says(text) {
                return true;
            }
        } else if !text.starts_with("#[") {
            statement_lines += 1;
            if statement_lines > STATEMENT_LINES_MAX || text.is_empty() {
                return false;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text)).len()
    }

    #[test]
    fn unsafe_outside_its_crate_is_found_even_with_an_argument() {
        let text = "// SAFETY: sound.\nunsafe { a() }";
        assert_eq!(findings("node/src/index/mod.rs", text), 1);
        assert_eq!(findings("node/flash/src/buffer.rs", text), 0);
        assert_eq!(findings("node/src/index/mod.rs", "// unsafe is not used\n\"unsafe\";"), 0);
    }

    #[test]
    fn an_argument_must_stand_above() {
        let path = "node/flash/src/a.rs";
        assert_eq!(findings(path, "unsafe { a() }"), 1);
        assert_eq!(findings(path, "// SAFETY: long\n// argument\nlet a =\n    unsafe { a() };"), 0);
        assert_eq!(findings(path, "// SAFETY: of another\n\nlet b = 1;\nlet a = unsafe { a() };"), 1);
        assert_eq!(findings(path, "/// # Safety\n/// Callers hold the lock.\n#[inline]\npub unsafe fn a() {}"), 0);
    }
}

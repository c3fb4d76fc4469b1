//! Every relative link of a page leads to a file, and to a heading that the file has.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::Finding;

/// Checks the links of every page.
pub fn check(files: &[String]) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        for (line, target) in links(&text) {
            if let Some(problem) = problem(path, &text, &target) {
                findings.push(Finding::new(path, line, problem));
            }
        }
    }
    Ok(findings)
}

fn problem(path: &str, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let linked = normal(&folder.join(file));
    if !file.is_empty() && (linked.as_os_str().is_empty() || !linked.exists()) {
        return Some(format!("the link `{target}` leads nowhere: there is no `{}`", linked.display()));
    }
    let heading = heading?;
    let linked_text = if file.is_empty() { Some(text.to_owned()) } else { std::fs::read_to_string(&linked).ok() };
    let known = linked_text.filter(|_| file.is_empty() || file.ends_with(".md")).map(|text| headings(&text))?;
    (!known.contains(heading)).then(|| format!("the link `{target}` names a heading that isn't there"))
}

/// Without `.` and `..`, as long as they stay inside the workspace; else empty, which exists nowhere.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return PathBuf::new();
                }
            }
            Component::RootDir | Component::Prefix(_) => return PathBuf::new(),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// Targets of `[text](target)` with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        let text = without_code(text);
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let target = rest.split(')').next().unwrap_or("").split_whitespace().next().unwrap_or("");
            if !target.is_empty() {
                found.push((line, target.trim_matches(['<', '>']).to_owned()));
            }
        }
    }
    found
}

/// Lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((at + 1, line))
    })
}

fn without_code(line: &str) -> String {
    line.split('`').enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, part)| part).collect::<Vec<_>>().join("·")
}

/// The anchors of a page's headings, made as the usual renderers do.
fn headings(text: &str) -> HashSet<String> {
    let mut known = HashSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase();
        let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect();
        let anchor = kept.replace(' ', "-");
        let mut numbered = anchor.clone();
        let mut count = 0;
        while !known.insert(numbered.clone()) {
            count += 1;
            numbered = format!("{anchor}-{count}");
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "[a](b.md) and [c](d.md#e \"title\")\n```\n[x](y.md)\n```\n`[k](l.md)` [m](<n.md>)";
        let found = links(text);
        let targets: Vec<(usize, &str)> = found.iter().map(|(line, target)| (*line, target.as_str())).collect();
        assert_eq!(targets, [(1, "b.md"), (1, "d.md#e"), (5, "n.md")]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(problem("a.md", "# One two\n", "#one-two"), None);
        assert!(problem("a.md", "# One two\n", "#three").is_some());
        assert!(problem("a.md", "", "no-such-file.md").is_some());
        assert!(problem("docs/a.md", "", "../../outside.md").is_some(), "a link may not leave the workspace");
        assert!(problem("a.md", "", manifest).is_some(), "nor name a path of one machine");
        assert_eq!(problem("a.md", "", "https://example.org/x"), None);
    }

    #[test]
    fn headings_become_anchors() {
        let known = headings("# A `b`, c!\n## Twice\n## Twice\n```\n# no\n```\n");
        assert!(known.contains("a-b-c") && known.contains("twice") && known.contains("twice-1"));
        assert_eq!(known.len(), 3);
    }
}

//! Imports run down the floors: between crates by their manifests, between the rooms of a crate by their paths.
//!
//! A room may use its own floor's rooms only if they are the same room; what two rooms of one floor share lies below
//! both. Test code obeys too. A new room has to be entered into the table: that is when its floor is decided.

use super::Finding;
use super::source::Source;
use crate::workspace::Package;

/// Which of our crates a crate may use (for tests it may use any).
const CRATES: [(&str, &[&str]); 16] = [
    ("outcrop-wire", &[]),
    ("outcrop-flash", &[]),
    ("outcrop-client", &["outcrop-wire"]),
    ("outcrop-node", &["outcrop-wire", "outcrop-flash"]),
    ("outcrop-udf-build", &[]),
    ("outcrop-udf-macros", &[]),
    ("outcrop-udf-sdk", &["outcrop-udf-macros", "outcrop-wire"]),
    ("ads", &["outcrop-udf-sdk"]),
    ("shop", &["outcrop-udf-sdk"]),
    ("outcrop-builtin", &["outcrop-udf-build"]),
    ("outcrop-document", &["outcrop-udf-sdk", "outcrop-wire"]),
    ("outcrop-scan", &["outcrop-udf-sdk"]),
    ("outcrop-timeseries", &["outcrop-udf-sdk"]),
    ("outcrop", &["outcrop-builtin", "outcrop-client", "outcrop-node", "outcrop-udf-build", "outcrop-wire"]),
    ("outcrop-cluster-tests", &["outcrop-client", "outcrop-wire"]),
    ("xtask", &["outcrop-udf-build"]),
];

/// A crate with rooms on floors.
struct House {
    root: &'static str,
    rooms: &'static [(&'static str, u8)],
}

const HOUSES: [House; 2] = [
    House {
        root: "node/src/",
        rooms: &[
            ("options", 0),
            ("world", 0),
            ("index", 1),
            ("telemetry", 1),
            ("store", 2),
            ("udf", 3),
            ("command", 4),
            ("server", 5),
            ("platform", 6),
            ("config", 7),
            ("identity", 7),
            ("node", 8),
        ],
    },
    House {
        root: "node/flash/src/",
        rooms: &[("location", 0), ("prefetch", 0), ("buffer", 0), ("device", 1), ("log", 2)],
    },
];

/// Crates that use one that is not below them.
pub fn check_packages(packages: &[Package]) -> Vec<Finding> {
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some((_, below)) = CRATES.iter().find(|(name, _)| *name == package.name) else {
            let message = format!("the crate `{}` has no floor: enter it into `CRATES`", package.name);
            findings.push(Finding::new("xtask/src/tidy/floors.rs", 1, message));
            continue;
        };
        let used = package.dependencies.iter().filter(|d| d.kind.is_none() && ours.contains(&d.name.as_str()));
        for dependency in used.filter(|dependency| !below.contains(&dependency.name.as_str())) {
            let message = format!("`{}` may not use `{}`: it isn't below it", package.name, dependency.name);
            findings.push(Finding::new("Cargo.toml", 1, message));
        }
    }
    findings
}

/// Paths of a file that lead up, or to a neighbour on the same floor.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some((house, inside)) = HOUSES.iter().find_map(|h| Some((h, source.path.strip_prefix(h.root)?))) else {
        return Vec::new();
    };
    let file = module_of(inside);
    let Some(room) = file.first() else { return Vec::new() };
    let Some(floor) = floor_of(house, room) else {
        let message = format!("the room `{room}` has no floor: enter it into `HOUSES` of xtask/src/tidy/floors.rs");
        return vec![Finding::new(&source.path, 1, message)];
    };
    let mut findings = Vec::new();
    for (used, line, macro_call) in used_rooms(source, &file) {
        let message = match floor_of(house, &used) {
            _ if used == *room || macro_call => continue,
            Some(other) if other < floor => continue,
            Some(other) if other == floor => {
                format!("`{room}` and `{used}` are on one floor: put what they share below")
            }
            Some(_) => format!("`{used}` is above `{room}`: imports run down; hand it in from above, or move it down"),
            None => format!("`crate::{used}` is no room: name the room where it lives"),
        };
        findings.push(Finding::new(&source.path, line, message));
    }
    findings
}

fn floor_of(house: &House, room: &str) -> Option<u8> {
    house.rooms.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The module path of a file: empty for the crate's root.
fn module_of(inside: &str) -> Vec<String> {
    let mut parts: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        parts.pop();
    }
    parts
}

/// Rooms that `crate::…` and `super::…` paths lead to, with line and whether it is a macro of the crate's root.
fn used_rooms(source: &Source, file: &[String]) -> Vec<(String, usize, bool)> {
    let tokens = &source.tokens;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut used = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continued = at > 0 && text(at - 1) == "::";
        if continued || text(at + 1) != "::" || !matches!(text(at), "crate" | "super") {
            at += 1;
            continue;
        }
        let (line, mut path) = (tokens[at].line, Vec::new());
        if text(at) == "super" {
            path = [file, &tokens[at].modules].concat();
        }
        while text(at) == "super" && text(at + 1) == "::" {
            path.pop();
            at += 2;
        }
        if text(at) == "crate" {
            at += 2;
        }
        match path.first() {
            Some(room) => used.push((room.clone(), line, false)),
            None if text(at) == "{" => used.extend(group_heads(source, at)),
            None => used.push((text(at).to_owned(), line, text(at + 1) == "!")),
        }
    }
    used
}

/// The first names of a group `{a::b, c::{d, e}}` of an import.
fn group_heads(source: &Source, open: usize) -> Vec<(String, usize, bool)> {
    let (mut depth, mut head, mut heads) = (0, true, Vec::new());
    for token in &source.tokens[open..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => head = true,
            name if head && depth == 1 => {
                heads.push((name.to_owned(), token.line, false));
                head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Source::parse(path, text)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_path_up_is_found_however_it_is_written() {
        let path = "node/src/store/read.rs";
        for text in [
            "use crate::server::Stream;",
            "use crate::{index::Entry, server::{Stream, Lane}};",
            "fn a() { crate::server::b(); }",
            "use super::super::server::Stream;",
            "mod inner { use super::super::super::server::Stream; }",
        ] {
            let found = messages(path, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("`server` is above `store`"), "{found:?}");
        }
    }

    #[test]
    fn paths_down_and_within_the_room_are_fine() {
        let text = "use crate::index::Entry; use super::write::a; use crate::store::b; pub(crate) fn c() {}\n\
                    use outcrop_flash::Log; mod tests { use super::*; }";
        assert_eq!(messages("node/src/store/read.rs", text), Vec::<String>::new());
        assert_eq!(messages("node/src/lib.rs", "pub use crate::node::Node;"), Vec::<String>::new());
        assert_eq!(messages("wire/src/key.rs", "use crate::anything::at_all;"), Vec::<String>::new());
    }

    #[test]
    fn neighbours_unknown_rooms_and_shortcuts_are_found() {
        assert!(messages("node/src/index/mod.rs", "use crate::telemetry::Metrics;")[0].contains("one floor"));
        assert!(messages("node/src/attic/mod.rs", "")[0].contains("no floor"));
        assert!(messages("node/src/store/mod.rs", "use crate::Node;")[0].contains("no room"));
    }

    #[test]
    fn a_crate_may_use_only_those_below_it() {
        let dependency =
            |name: &str, kind: Option<&str>| Dependency { name: name.into(), kind: kind.map(str::to_owned) };
        let package = |name: &str, dependencies| Package {
            name: name.into(),
            version: "0.1.0".into(),
            license: None,
            source: None,
            dependencies,
        };
        let good =
            package("outcrop-client", vec![dependency("outcrop-wire", None), dependency("outcrop-node", Some("dev"))]);
        let node = package("outcrop-node", vec![]);
        let wire = package("outcrop-wire", vec![dependency("outcrop-node", None), dependency("blake3", None)]);
        let found = check_packages(&[good, node, wire]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("`outcrop-wire` may not use `outcrop-node`"));
        assert_eq!(check_packages(&[package("newcomer", vec![])]).len(), 1);
    }
}

//! What only certain rooms may touch: wall clock, unseeded randomness, threads, global state, the QUIC library.
//!
//! A simulation stands in for clock, randomness, device and transport, and two nodes run in one process; both end where a
//! room asks the machine directly. Tests, benches, the command line, the process tests and this tool may.

use super::Finding;
use super::source::Source;

struct Rule {
    patterns: &'static [&'static [&'static str]],
    what: &'static str,
    mend: &'static str,
    /// Paths (by their beginnings) that may, each with a reason.
    rooms: &'static [(&'static str, &'static str)],
}

/// What belongs to no node: programs of their own, and tests.
const OUTSIDE: [&str; 5] = ["cli/", "cluster-tests/", "xtask/", "fuzz/", "udf-build/"];

const RULES: [Rule; 6] = [
    Rule {
        patterns: &[&["SystemTime", "::", "now"], &["Utc", "::", "now"], &["UNIX_EPOCH", ".", "elapsed"]],
        what: "the wall clock",
        mend: "ask the injected `world::Clock`",
        rooms: &[("node/src/world/", "the room of the clock")],
    },
    Rule {
        patterns: &[&["Instant", "::", "now"]],
        what: "the machine's monotonic clock",
        mend: "use `tokio::time::Instant`, which a simulation can drive",
        rooms: &[("node/src/world/", "the room of the clock")],
    },
    Rule {
        patterns: &[
            &["thread_rng"],
            &["rand", "::", "rng", "("],
            &["rand", "::", "random"],
            &["rand", "::", "random_range"],
            &["ThreadRng"],
            &["SysRng"],
            &["OsRng"],
            &["from_os_rng"],
            &["RandomState", "::", "new"],
        ],
        what: "unseeded randomness",
        mend: "draw from the injected `world::Entropy`",
        rooms: &[
            ("node/src/world/", "the room of randomness"),
            ("client/src/transport/backoff.rs", "pauses that must differ from client to client"),
        ],
    },
    Rule {
        patterns: &[&["thread", "::", "spawn"], &["thread", "::", "Builder"], &["thread", "::", "scope"]],
        what: "a thread that the runtime doesn't know",
        mend: "spawn a task, or give the work to a worker",
        rooms: &[
            ("node/src/server/worker", "the room of the worker threads"),
            ("node/src/world/pulse", "the heartbeat that interrupts guests, which no worker could do"),
            ("node/flash/src/device/uring/", "the ring of a device that no worker drives"),
        ],
    },
    Rule {
        patterns: &[&["static", "mut"], &["thread_local", "!"]],
        what: "global state",
        mend: "put it into the value that owns it: two nodes run in one process",
        rooms: &THREAD_STATE,
    },
    Rule {
        patterns: &[&["quinn", "::"], &["quinn_proto", "::"]],
        what: "the QUIC library",
        mend: "be generic over `server::io`, which a simulation can stand in for",
        rooms: &[
            ("node/src/server/quic", "quinn's streams as the server's"),
            ("node/src/server/listen", "the listener"),
            ("node/src/server/transport", "QUIC's settings and sockets"),
            ("client/", "the SDK speaks QUIC only"),
        ],
    },
];

/// Where a thread's own state may be, each with a reason.
const THREAD_STATE: [(&str, &str); 3] = [
    ("node/flash/src/device/uring/", "a ring belongs to its thread; no two nodes share one"),
    ("udf-sdk/src/guest/exports.rs", "an instance runs one query; between two calls its state has no other place"),
    ("udf-sdk/src/fake/context.rs", "the fake context of a test, as long as the test's guard lives"),
];

/// Types that make a `static` a global state. One inside of a value is nobody else's business.
const SHARED_STATE: [&str; 10] =
    ["OnceLock", "LazyLock", "OnceCell", "LazyCell", "Mutex", "RwLock", "RefCell", "Cell", "DashMap", "ArcSwap"];

/// Forbidden calls outside of their rooms.
pub fn check(source: &Source) -> Vec<Finding> {
    if OUTSIDE.iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let simulated = uses_simulated_time(source);
    let mut findings = Vec::new();
    for rule in &RULES {
        if rule.rooms.iter().any(|(room, _)| source.path.starts_with(room)) {
            continue;
        }
        for at in rule.patterns.iter().flat_map(|pattern| source.find(pattern)) {
            let token = &source.tokens[at];
            let imported = source.tokens.get(at + 1).is_none_or(|next| next.text == "," || next.text == ";");
            let of_tokio = token.text == "Instant"
                && (simulated
                    || preceded_by(source, at, &["time", "::"]) && preceded_by(source, at - 2, &["tokio", "::"]));
            if !token.test && !of_tokio && !imported {
                let message = format!("{} is not for this room: {}", rule.what, rule.mend);
                findings.push(Finding::new(&source.path, token.line, message));
            }
        }
    }
    findings.extend(shared_statics(source));
    findings
}

/// `static NAME: Type = …` whose type can change.
fn shared_statics(source: &Source) -> Vec<Finding> {
    let tokens = &source.tokens;
    let keyword = |at: &usize| tokens[*at].text == "static" && !preceded_by(source, *at, &["'"]) && !tokens[*at].test;
    let found = (0..tokens.len()).filter(keyword).filter_map(|at| {
        let mut kind = tokens[at..].iter().take_while(|token| token.text != "=" && token.text != ";");
        let shared =
            kind.find(|token| SHARED_STATE.contains(&token.text.as_str()) || token.text.starts_with("Atomic"))?;
        let message = format!(
            "a static `{}` is global state: put it into the value that owns it, two nodes run in one process",
            shared.text
        );
        Some(Finding::new(&source.path, tokens[at].line, message))
    });
    let thread_local_room = THREAD_STATE.iter().any(|(room, _)| source.path.starts_with(room));
    if thread_local_room { Vec::new() } else { found.collect() }
}

fn preceded_by(source: &Source, at: usize, before: &[&str]) -> bool {
    let Some(start) = at.checked_sub(before.len()) else { return false };
    source.tokens[start..at].iter().zip(before).all(|(token, text)| token.text == *text)
}

/// Whether the file's `Instant` is tokio's: `use tokio::time::Instant` or `use tokio::time::{…, Instant, …}`.
fn uses_simulated_time(source: &Source) -> bool {
    source.find(&["tokio", "::", "time", "::"]).any(|at| match source.tokens.get(at + 4).map(|t| t.text.as_str()) {
        Some("Instant") => preceded_by(source, at, &["use"]),
        Some("{") => {
            let group = source.tokens[at + 5..].iter().take_while(|token| token.text != "}");
            group.into_iter().any(|token| token.text == "Instant")
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text)).len()
    }

    #[test]
    fn clocks_are_for_the_world_room() {
        let text = "use std::time::SystemTime;\nfn a() { SystemTime::now(); }";
        assert_eq!(count("node/src/store/read.rs", text), 1);
        assert_eq!(count("node/src/world/clock.rs", text), 0);
        assert_eq!(count("cli/src/main.rs", text), 0);
        assert_eq!(count("node/tests/restart.rs", text), 0);
        assert_eq!(count("node/src/store/read.rs", "#[cfg(test)] mod tests { fn a() { SystemTime::now(); } }"), 0);
    }

    #[test]
    fn the_simulated_clock_is_for_everyone() {
        let path = "node/src/store/read.rs";
        assert_eq!(count(path, "use std::time::Instant;\nfn a() { Instant::now(); }"), 1);
        assert_eq!(count(path, "use tokio::time::Instant;\nfn a() { Instant::now(); }"), 0);
        assert_eq!(count(path, "use tokio::time::{Duration, Instant};\nfn a() { Instant::now(); }"), 0);
        assert_eq!(count(path, "fn a() { tokio::time::Instant::now(); }"), 0);
        assert_eq!(count(path, "fn a() { std::time::Instant::now(); }"), 1);
    }

    #[test]
    fn quic_stays_in_its_rooms() {
        let text = "fn a(stream: quinn::SendStream) {}";
        assert_eq!(count("node/src/server/scan.rs", text), 1);
        assert_eq!(count("node/src/node.rs", "use quinn::{Endpoint, VarInt};"), 1);
        assert_eq!(count("node/src/server/quic.rs", text), 0);
        assert_eq!(count("client/src/low.rs", text), 0);
    }

    #[test]
    fn randomness_threads_and_globals_are_found() {
        let path = "node/src/command/put.rs";
        assert_eq!(count(path, "fn a() { rand::rng().random::<u8>(); }"), 1);
        assert_eq!(count(path, "fn a() { StdRng::try_from_rng(&mut SysRng); }"), 1);
        assert_eq!(count(path, "fn a() { std::thread::spawn(|| 1); }"), 1);
        assert_eq!(count(path, "static mut A: u8 = 1;"), 1);
        assert_eq!(count(path, "static A: OnceLock<u8> = OnceLock::new();"), 1);
        assert_eq!(count(path, "pub static A: std::sync::atomic::AtomicU32 = AtomicU32::new(0);"), 1);
        assert_eq!(count(path, "struct A { b: OnceLock<u8>, c: &'static Mutex<u8> }"), 0);
        assert_eq!(count(path, "thread_local! { static A: RefCell<u8> = const { RefCell::new(1) }; }"), 2);
        assert_eq!(count(path, "static A: &str = \"a\";"), 0);
    }
}

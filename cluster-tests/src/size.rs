//! How much each test does: small in the gate, large at night, by environment variables.

/// The number in an environment variable, or the gate's.
///
/// # Panics
/// If the variable holds something else than a number: a test must not run in another size than asked.
pub fn from_env(name: &str, in_the_gate: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => in_the_gate,
    }
}

/// Says that a test checked nothing and why, past the test runner, which keeps the output of tests that pass to itself.
pub fn skipped(why: &str) {
    use std::io::Write;
    // With nowhere to say it there is nobody to hear it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

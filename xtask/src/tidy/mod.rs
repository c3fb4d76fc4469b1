//! The house's own rules, each in a room of its own; every finding names its place and the mend.

mod floors;
mod forbidden;
mod headers;
mod leftovers;
mod links;
mod ratchet;
mod source;
mod unsafety;

use std::fmt;

use clap::Args;
use source::Source;

/// Options of `cargo xtask tidy`.
#[derive(Args, Default)]
pub struct Options {
    /// Lowers the ratchet's lengths to what the files and functions have now; it never raises one.
    #[arg(long)]
    update_ratchet: bool,
}

/// Code that nobody wrote: a test proves that it is exactly what its generator makes (docs/decisions/0009).
const GENERATED: &str = "udf-sdk/src/bindings/generated.rs";

fn is_ours(path: &str) -> bool {
    path.ends_with(".rs") && path != GENERATED
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the workspace's root.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks the workspace and prints what is wrong; whether nothing was.
pub fn run(options: &Options) -> Result<bool, String> {
    let files = crate::workspace::files()?;
    let packages = crate::workspace::packages(false)?;
    let sources: Vec<Source> =
        files.iter().filter(|path| is_ours(path)).map(|path| Source::read(path)).collect::<Result<_, _>>()?;
    if options.update_ratchet {
        ratchet::lower(&sources)?;
    }
    let mut findings = floors::check_packages(&packages);
    for source in &sources {
        findings.extend(source.unreadable());
        findings.extend(headers::check(source));
        findings.extend(floors::check(source));
        findings.extend(unsafety::check(source));
        findings.extend(forbidden::check(source));
    }
    findings.extend(ratchet::check(&sources)?);
    findings.extend(leftovers::check(&files)?);
    findings.extend(links::check(&files)?);
    findings.sort();
    findings.dedup();
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("tidy: {} files, {} findings", sources.len(), findings.len());
    Ok(findings.is_empty())
}

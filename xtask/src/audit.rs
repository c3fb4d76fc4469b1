//! What the dependencies are: licences, sources and banned versions by `deny.toml`, advisories where their data can be had.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::process;
use crate::report::Ended;
use crate::workspace::{Package, packages};

/// How long the fetching of advisories may take: where the network doesn't give them, the gate must go on.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Checks every package of the lock file against `deny.toml`, offline.
pub fn check_policy() -> Result<Ended, String> {
    let text = std::fs::read_to_string("deny.toml").map_err(|error| format!("deny.toml: {error}"))?;
    let policy: Policy = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    let packages = packages(true)?;
    let findings: Vec<String> = packages.iter().flat_map(|package| policy.judge(package)).collect();
    findings.iter().for_each(|finding| println!("{finding}"));
    for (name, versions) in doubled(&packages) {
        println!("note: {name} is there in several versions: {}", versions.join(", "));
    }
    println!("{} packages, {} findings", packages.len(), findings.len());
    if findings.is_empty() { Ok(Ended::Passed) } else { Err(format!("{} packages break deny.toml", findings.len())) }
}

/// Asks `cargo audit` for known vulnerabilities, if it is installed and its data can be had.
pub fn check_advisories() -> Result<Ended, String> {
    let minute = Duration::from_secs(60);
    if !process::succeeds(Command::new("cargo-audit").arg("--version"), minute) {
        let why =
            "no advisories were read: `cargo install cargo-audit` (the versions banned in deny.toml were checked)";
        return Ok(Ended::Skipped(why.into()));
    }
    let outcome = process::output(Command::new("cargo-audit").args(["audit", "--json"]), ADVISORIES_LIMIT);
    let text = match outcome {
        Ok(_) => return Ok(Ended::Passed),
        Err(process::RunError::Failed { .. }) => {
            process::output(Command::new("cargo-audit").args(["audit", "--no-fetch"]), ADVISORIES_LIMIT)
        }
        Err(error) => Err(error),
    };
    match text {
        Ok(_) => Ok(Ended::Skipped("the advisories could not be fetched; those of the last time name none".into())),
        Err(error) => match advisory_data_is_there() {
            true => Err(format!("known vulnerabilities: {error}")),
            false => Ok(Ended::Skipped(format!("the advisories could not be fetched: {error}"))),
        },
    }
}

fn advisory_data_is_there() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.is_some_and(|home| home.join("advisory-db/crates").is_dir())
}

impl Policy {
    fn judge(&self, package: &Package) -> Vec<String> {
        let mut findings = Vec::new();
        let name = format!("{} {}", package.name, package.version);
        match &package.license {
            Some(license) if allowed(license, &self.licenses.allow) => {}
            Some(license) => findings.push(format!("{name}: licence {license} is not allowed")),
            None => findings.push(format!("{name}: states no licence")),
        }
        if let Some(source) = &package.source {
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            if !self.sources.allow_registry.iter().any(|allowed| allowed == registry) {
                findings.push(format!("{name}: source {source} is not allowed"));
            }
        }
        let banned = self.bans.deny.iter().filter(|ban| ban.matches(&package.name, &package.version));
        findings.extend(banned.map(|ban| format!("{name}: banned: {}", ban.reason)));
        findings
    }
}

impl Ban {
    fn matches(&self, name: &str, version: &str) -> bool {
        match self.spec.split_once(":<") {
            None => self.spec == name,
            Some((banned, below)) => banned == name && numbers(version) < numbers(below),
        }
    }
}

/// The numbers of a version; what follows them (a pre-release, a build) doesn't matter to a ban.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    core.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether an SPDX expression can be met with the licences allowed: every side of AND, one side of OR.
fn allowed(expression: &str, list: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, list);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let mut met = both(words, at, list);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, list);
    }
    met
}

fn both(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let mut met = one(words, at, list);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, list);
    }
    met
}

fn one(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, list);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    list.contains(&name)
}

fn doubled(packages: &[Package]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    packages.iter().for_each(|package| versions.entry(&package.name).or_default().push(&package.version));
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = "[licenses]\nallow = [\"MIT\", \"ISC\", \"Apache-2.0\", \"Apache-2.0 WITH LLVM-exception\"]\n\
                    [bans]\ndeny = [{ crate = \"bad\", reason = \"r\" }, { crate = \"old:<1.2.3\", reason = \"r\" }]\n\
                    [sources]\nallow-registry = [\"https://registry\"]\n";
        toml::from_str(text).expect("a policy")
    }

    fn package(name: &str, version: &str, license: Option<&str>, source: Option<&str>) -> Package {
        let license = license.map(str::to_owned);
        let source = source.map(str::to_owned);
        Package { name: name.into(), version: version.into(), license, source, dependencies: Vec::new() }
    }

    #[test]
    fn licence_expressions_are_read_with_their_brackets() {
        let list = policy().licenses.allow;
        for met in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC"] {
            assert!(allowed(met, &list), "{met}");
        }
        assert!(allowed("GPL-3.0 OR Apache-2.0 WITH LLVM-exception", &list));
        for unmet in
            ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "", "(MIT", "MIT WITH Something", "MIT ISC"]
        {
            assert!(!allowed(unmet, &list), "{unmet}");
        }
    }

    #[test]
    fn planted_packages_are_found() {
        let policy = policy();
        let registry = Some("registry+https://registry");
        let judge = |name, version, license, source| policy.judge(&package(name, version, license, source)).len();
        assert_eq!(judge("good", "1.0.0", Some("MIT"), registry), 0);
        assert_eq!(judge("good", "1.0.0", Some("MIT"), None), 0, "ours");
        assert_eq!(judge("good", "1.0.0", None, registry), 1);
        assert_eq!(judge("good", "1.0.0", Some("MIT"), Some("git+https://registry")), 1);
        assert_eq!(judge("bad", "1.0.0", Some("MIT"), registry), 1);
        assert_eq!(judge("old", "1.2.2", Some("MIT"), registry), 1);
        assert_eq!(judge("old", "1.10.0", Some("MIT"), registry), 0);
        assert_eq!(judge("old", "1.2.3+extra", Some("MIT"), registry), 0);
    }
}

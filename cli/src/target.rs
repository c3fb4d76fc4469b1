//! Which node a command speaks to, and how it prints: the options that all data commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outcrop_client::{Client, Code, Key, Trust};

use crate::failure::Failure;
use crate::json;
use crate::keys::print_key;
use crate::output::OutputFormat;

/// Where the node is.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Node: outcrop://HOST:PORT[,HOST:PORT…]
    #[arg(long, env = "OUTCROP_URL", default_value = "outcrop://127.0.0.1:7420", value_name = "URL")]
    pub url: String,
    /// Certificates to trust (PEM); a local `outcrop dev` needs none [env: OUTCROP_CA=]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_deadline)]
    pub deadline: Duration,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

/// How long an attempt to connect to one address takes at most.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Longest deadline: what a request may carry.
const DEADLINE_MAX: Duration = Duration::from_millis(outcrop_wire::limits::DEADLINE_MS_MAX as u64);

/// Parses `500ms`, `10s` or `2m`.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    let wrong = || format!("write 500ms, 10s or 2m, up to {} s", DEADLINE_MAX.as_secs());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let deadline = count.checked_mul(unit_ms).map(Duration::from_millis);
    deadline.filter(|deadline| (Duration::from_millis(1)..=DEADLINE_MAX).contains(deadline)).ok_or_else(wrong)
}

impl Target {
    /// Connects.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let agent = concat!("outcrop-cli/", env!("CARGO_PKG_VERSION"));
        let mut builder = Client::builder(&self.url).deadline(self.deadline).connections(1).agent(agent);
        // Who waits no longer than this for an answer doesn't wait longer for a connection either.
        builder = builder.connect_timeout(self.deadline.min(CONNECT_MAX));
        if let Some(file) = &self.ca {
            builder = builder.trust(Trust::PemFile(file.clone()));
        }
        builder.connect().await.map_err(|error| {
            let mut failure = Failure::from(error);
            if failure.name == "connect" && !failure.message.contains("certificate") {
                failure.advice.push_str(" For a node to try things on: outcrop dev");
            }
            failure
        })
    }
}

/// Completes a failure with what else is there: the namespaces of the node, or a set of nearly the same name.
pub async fn suggest(client: &Client, namespace: &str, set: Option<&str>, mut failure: Failure) -> Failure {
    let hint = match failure.code {
        Some(Code::NamespaceUnknown) => {
            let namespaces = client.namespaces();
            let names: Vec<&str> = namespaces.iter().map(|info| info.name.as_str()).collect();
            match closest(namespace, &names) {
                Some(near) => Some(format!("Did you mean the namespace {near}?")),
                None => Some(format!("The node has {}.", names.join(", "))),
            }
        }
        Some(Code::NotFound) => match set {
            Some(set) => other_set(client, namespace, set).await,
            None => None,
        },
        _ => None,
    };
    if let Some(hint) = hint {
        failure.advice = hint;
    }
    failure
}

/// "There is no such record", with a hint if the whole set doesn't exist.
pub async fn not_found(client: &Client, key: &Key) -> Failure {
    let shown = print_key(&key.namespace, &key.set, key.user_key.borrow());
    let mut failure = Failure::of_code(Code::NotFound, format!("there is no record {shown}"));
    failure.advice = digits_hint(key).unwrap_or_default();
    suggest(client, &key.namespace, Some(&key.set), failure).await
}

/// An integer key and the text of the same digits are different keys; say so where that may be the reason.
fn digits_hint(key: &Key) -> Option<String> {
    use outcrop_client::UserKey;
    match &key.user_key {
        UserKey::Int(number) => Some(format!(
            "This is the integer key; the text of the same digits is {}/{}/text:{number}",
            key.namespace, key.set
        )),
        UserKey::Text(text) => crate::keys::canonical_int(text).map(|number| {
            format!("This is the text key; the integer of the same digits is {}/{}/{number}", key.namespace, key.set)
        }),
        UserKey::Bytes(_) => None,
    }
}

/// What to say if the namespace has no such set; `None` if it has, or if nobody knows.
pub async fn other_set(client: &Client, namespace: &str, set: &str) -> Option<String> {
    let stats = client.info(namespace).await.ok()?;
    let stats = json::parse_value(stats.as_bytes(), 64).ok()?;
    let outcrop_client::Value::List(sets) = stats.get(&"sets".into())? else { return None };
    let names: Vec<&str> = sets
        .iter()
        .filter_map(|set| match set.get(&"name".into()) {
            Some(outcrop_client::Value::Text(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if names.contains(&set) {
        return None;
    }
    Some(match closest(set, &names) {
        Some(near) => format!("The namespace {namespace} has no set {set:?}; did you mean {near:?}?"),
        None if names.is_empty() => format!("The namespace {namespace} is empty."),
        None => format!("The namespace {namespace} has no set {set:?}; `outcrop stat {namespace}` lists its sets."),
    })
}

/// The name most like `word`, if one is like it at all.
fn closest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    const LIKENESS_MIN: f64 = 0.8;
    let scored = names.iter().map(|name| (strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase()), *name));
    scored.filter(|(score, _)| *score > LIKENESS_MIN).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// Whether records may be missing because their bytes on the node's device are damaged; says so if they may.
pub(crate) fn is_damaged(places: u64) -> bool {
    if places > 0 {
        eprintln!(
            "NOT ALL records: {places} places of the node's log are damaged, and the records that lay there are missing. \
             The node's log names the places; bring these records back from a copy."
        );
    }
    places > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines() {
        assert_eq!(parse_deadline("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_deadline("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "0s", "-1s", "11m", "99999999999999999999s", "1h", "1.5s"] {
            assert!(parse_deadline(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mistyped_sets_find_the_right_one() {
        assert_eq!(closest("usres", &["users", "products"]), Some("users"));
        assert_eq!(closest("Products", &["users", "products"]), Some("products"));
        assert_eq!(closest("zzz", &["users", "products"]), None);
    }
}

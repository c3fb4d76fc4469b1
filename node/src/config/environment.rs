//! Environment variables over the file: `OUTCROP_NODE__DATA_DIR`, `OUTCROP_NAMESPACE__SHOP__SIZE`.
//!
//! A variable's value is read as the key's value would be, with quotes left out: `8GiB`, `4`, `true`.

use serde::de::DeserializeOwned;

use super::error::{ConfigError, closest};
use super::raw::{RawConfig, RawNamespace, SECTIONS};

/// Every variable of ours begins like this.
const PREFIX: &str = "OUTCROP_";

/// Variables of the command line and of tests; the configuration leaves them alone.
const OTHERS: [&str; 3] = ["OUTCROP_URL", "OUTCROP_CA", "OUTCROP_LOG"];
/// The same, by how they begin.
const OTHER_PREFIXES: [&str; 2] = ["OUTCROP_DEV_", "OUTCROP_CRASH_"];

/// Applies all variables that are meant for the configuration.
pub(super) fn overlay(raw: &mut RawConfig, env: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
    for (variable, value) in env {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if OTHERS.contains(&variable.as_str()) || OTHER_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        let Some((section, rest)) = name.split_once("__") else {
            check_undivided(&variable, name)?;
            continue;
        };
        match section {
            "NODE" => raw.node.overlay(field(&variable, section, rest, &value)?),
            "LISTEN" => raw.listen.overlay(field(&variable, section, rest, &value)?),
            "TLS" => raw.tls.overlay(field(&variable, section, rest, &value)?),
            "LIMITS" => raw.limits.overlay(field(&variable, section, rest, &value)?),
            "TELEMETRY" => raw.telemetry.overlay(field(&variable, section, rest, &value)?),
            "FUNCTIONS" => raw.functions.overlay(field(&variable, section, rest, &value)?),
            "NAMESPACE" => overlay_namespace(raw, &variable, rest, &value)?,
            other => return Err(unknown_section(&variable, other)),
        }
    }
    Ok(())
}

/// A namespace's name as a variable spells it.
fn spelled(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn overlay_namespace(raw: &mut RawConfig, variable: &str, rest: &str, value: &str) -> Result<(), ConfigError> {
    let key_of = |namespace: &RawNamespace| {
        let name = spelled(namespace.name.as_deref().unwrap_or_default());
        rest.strip_prefix(&name)?.strip_prefix("__").map(str::to_owned)
    };
    let mut matching = raw.namespace.iter().enumerate().filter_map(|(place, ns)| Some((place, key_of(ns)?)));
    let Some((place, key)) = matching.next() else {
        let names: Vec<String> =
            raw.namespace.iter().map(|ns| spelled(ns.name.as_deref().unwrap_or_default())).collect();
        let advice =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        let message =
            format!("no namespace of the configuration has this name ({advice}); write {PREFIX}NAMESPACE__NAME__KEY");
        return Err(ConfigError::Environment { variable: variable.to_owned(), message });
    };
    if matching.next().is_some() {
        let message = "more than one namespace is spelled like this; set the key in the file".to_owned();
        return Err(ConfigError::Environment { variable: variable.to_owned(), message });
    }
    let namespace = &mut raw.namespace[place];
    let Some(key) = key.strip_prefix("FUNCTIONS__") else {
        namespace.overlay(field(variable, "NAMESPACE", &key, value)?);
        return Ok(());
    };
    let rules = &mut namespace.functions;
    match key.split_once("__") {
        Some(("CALL", key)) => rules.call.overlay(field(variable, "NAMESPACE.FUNCTIONS.CALL", key, value)?),
        Some(("QUERY", key)) => rules.query.overlay(field(variable, "NAMESPACE.FUNCTIONS.QUERY", key, value)?),
        _ => rules.overlay(field(variable, "NAMESPACE.FUNCTIONS", key, value)?),
    }
    Ok(())
}

/// Reads one variable as a section with that one key.
fn field<T: DeserializeOwned>(variable: &str, section: &str, key: &str, value: &str) -> Result<T, ConfigError> {
    let error = |message: String| ConfigError::Environment { variable: variable.to_owned(), message };
    let section = section.to_ascii_lowercase();
    let keys = SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| *keys);
    let written = key.to_ascii_lowercase();
    if !keys.contains(&written.as_str()) || written == "name" && section == "namespace" {
        let near = closest(&written, keys.iter().copied()).filter(|near| *near != "name");
        let spell = |near: &str| {
            format!("; did you mean {}{}?", variable.strip_suffix(key).unwrap_or_default(), near.to_uppercase())
        };
        return Err(error(format!("unknown key `{written}`{}", near.map(spell).unwrap_or_default())));
    }
    let quoted = format!("{written} = {}", super::render::quote(value));
    let bare = value.trim();
    let literal = bare == "true" || bare == "false" || bare.bytes().all(|b| b.is_ascii_digit() || b"+-._".contains(&b));
    let read = |text: &str| toml::from_str::<T>(text);
    let result = if literal && !bare.is_empty() {
        // "8" may stand for a number or for the text of a path: what the key takes decides.
        read(&format!("{written} = {bare}")).or_else(|first| read(&quoted).map_err(|_| first))
    } else {
        read(&quoted)
    };
    result.map_err(|source| error(source.message().to_owned()))
}

fn unknown_section(variable: &str, section: &str) -> ConfigError {
    let outer = SECTIONS.iter().filter(|(name, _)| !name.contains('.'));
    let names: Vec<String> = outer.map(|(name, _)| name.to_uppercase()).collect();
    let advice = match closest(section, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {PREFIX}{near}__…?"),
        None => format!("sections are {}", names.join(", ")),
    };
    ConfigError::Environment { variable: variable.to_owned(), message: format!("unknown section; {advice}") }
}

/// `OUTCROP_NODE_WORKERS` is a slip for `OUTCROP_NODE__WORKERS`. Other variables without a double underscore aren't
/// ours to judge: an orchestrator sets `OUTCROP_PORT`, `OUTCROP_SERVICE_HOST` and their like for a service of this name.
fn check_undivided(variable: &str, name: &str) -> Result<(), ConfigError> {
    for (section, keys) in SECTIONS {
        let section = section.to_uppercase();
        let Some(rest) = name.strip_prefix(&section).and_then(|rest| rest.strip_prefix('_')) else { continue };
        let known = keys.iter().any(|key| key.to_uppercase() == rest) || section == "NAMESPACE";
        if known {
            let message = format!("sections end with two underscores; write {PREFIX}{section}__{rest}");
            return Err(ConfigError::Environment { variable: variable.to_owned(), message });
        }
    }
    Ok(())
}

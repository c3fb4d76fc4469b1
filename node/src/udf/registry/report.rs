//! What the registry tells: lists, descriptions, numbers, log lines, as values that any client can show.

use outcrop_wire::{MapKey, Value};

use super::catalogue::{ModuleRow, VersionRow};
use super::live::Loaded;
use super::{Live, Registry};
use crate::udf::outcome::Refusal;

/// A map with text keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (MapKey::Text(key.to_owned()), value)).collect())
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn maybe(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

impl Registry {
    /// All modules, or one: name, active version, versions, whether paused, calls and failures.
    pub async fn list(&self, name: Option<&str>) -> Result<Value, Refusal> {
        let rows = match (self.catalogue.lock().await, name) {
            (catalogue, None) => catalogue.modules.clone(),
            (catalogue, Some(name)) => vec![catalogue.find(name).cloned().ok_or_else(|| super::unknown_module(name))?],
        };
        Ok(Value::List(rows.iter().map(|row| self.summary(row)).collect()))
    }

    fn summary(&self, row: &ModuleRow) -> Value {
        let live = self.module(&row.name).ok();
        let numbers = live.as_ref().map(|live| live.numbers()).unwrap_or_default();
        let failures = numbers.iter().flat_map(|(_, n)| &n.failures).map(|(_, n)| n).sum();
        map([
            ("name", row.name.as_str().into()),
            ("active", maybe(row.active.as_deref())),
            ("before", maybe(row.before.last().map(String::as_str))),
            ("paused", row.paused.into()),
            ("versions", Value::List(row.versions.iter().map(version_value).collect())),
            ("calls", number(numbers.iter().map(|(_, n)| n.calls).sum())),
            ("failures", number(failures)),
        ])
    }

    /// What a version says of itself; without a version, the active one, or else the latest.
    pub async fn describe(self: &std::sync::Arc<Self>, module: &str, version: Option<&str>) -> Result<Value, Refusal> {
        let row = self.catalogue.lock().await.find(module).cloned().ok_or_else(|| super::unknown_module(module))?;
        let latest = row.versions.last().map(|row| row.version.clone());
        let name = version.map(str::to_owned).or(row.active.clone()).or(latest).unwrap_or_default();
        let known = row.version(&name)?;
        let live = self.module(module)?;
        let found = live.version(Some(&name)).map_err(|failed| Refusal::new(failed.code, failed.message))?;
        let loaded = self.ready(&live, &found).await?;
        let limits = serde_json::to_string(&row.limits).unwrap_or_default();
        Ok(map([
            ("name", module.into()),
            ("version", version_value(known)),
            ("active", (row.active.as_deref() == Some(name.as_str())).into()),
            ("paused", row.paused.into()),
            ("doc", loaded.prepared.info().doc.as_str().into()),
            ("limits_json", limits.into()),
            ("artifact_bytes", number(loaded.prepared.artifact_bytes())),
            ("functions", functions_value(&loaded)),
        ]))
    }

    /// Numbers of a module's functions, and its counters.
    pub fn stats(&self, module: &str) -> Result<Value, Refusal> {
        Ok(stats_value(&*self.module(module)?))
    }

    /// The same of every module, in the order of their names.
    pub fn stats_of_all(&self) -> Value {
        let mut modules = self.modules();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        Value::List(modules.iter().map(|live| stats_value(live)).collect())
    }

    /// Log lines of a module, from a number on, or the latest.
    pub fn logs(&self, module: &str, from: Option<u64>, limit: usize) -> Result<Value, Refusal> {
        let lines = self.module(module)?.logs.lines(from, limit);
        Ok(Value::List(
            lines
                .into_iter()
                .map(|line| {
                    map([
                        ("sequence", number(line.sequence)),
                        ("at_ms", number(line.at_ms)),
                        ("version", (&*line.version).into()),
                        ("function", (&*line.function).into()),
                        ("level", line.level.name().into()),
                        ("message", line.message.into()),
                    ])
                })
                .collect(),
        ))
    }

    /// Every module, for metrics.
    pub fn modules(&self) -> Vec<std::sync::Arc<Live>> {
        self.modules.load().values().cloned().collect()
    }
}

fn stats_value(live: &Live) -> Value {
    let counters = live.counters().into_iter().map(|(name, sum)| (MapKey::Text(name), number(sum)));
    map([
        ("name", (&*live.name).into()),
        ("active", maybe(live.active().as_deref())),
        ("functions", numbers_value(live)),
        ("counters", Value::Map(counters.collect())),
    ])
}

fn version_value(row: &VersionRow) -> Value {
    let signers = row.signatures.iter().map(|signature| Value::from(signature.key.as_str()));
    map([
        ("version", row.version.as_str().into()),
        ("hash", row.hash.as_str().into()),
        ("bytes", number(row.bytes)),
        ("uploaded_ms", number(row.uploaded_ms)),
        ("built_in", row.built_in.into()),
        ("signers", Value::List(signers.collect())),
    ])
}

fn functions_value(loaded: &Loaded) -> Value {
    let functions = loaded.prepared.info().functions.iter().map(|function| {
        map([
            ("name", (&*function.name).into()),
            ("kind", function.kind.name().into()),
            ("doc", function.doc.as_str().into()),
            ("arguments", function.arguments.as_str().into()),
            ("returns", function.returns.as_str().into()),
            ("encoding", function.encoding.name().into()),
            ("read_only", function.read_only.into()),
        ])
    });
    Value::List(functions.collect())
}

fn numbers_value(live: &Live) -> Value {
    let rows = live.numbers().into_iter().map(|(name, numbers)| {
        let failures = numbers.failures.iter().map(|(code, n)| (MapKey::Text(code.name().to_owned()), number(*n)));
        map([
            ("function", (&*name).into()),
            ("calls", number(numbers.calls)),
            ("failures", Value::Map(failures.collect())),
            ("fuel", number(numbers.fuel)),
            ("records", number(numbers.records)),
            ("memory_bytes_max", number(numbers.memory_bytes_max)),
            ("latency_us_p50", number(numbers.latency_us_p50)),
            ("latency_us_p99", number(numbers.latency_us_p99)),
            ("latency_us_max", number(numbers.latency_us_max)),
        ])
    });
    Value::List(rows.collect())
}

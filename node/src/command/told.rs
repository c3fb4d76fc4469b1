//! What a request's span tells of the function that it called: made at the call's end without copies, put into the span's
//! words only if there is a span.

use std::sync::Arc;

use crate::telemetry::span::Notes;
use crate::udf::registry::Resolved;
use crate::udf::{Failed, Label, LimitHit, LogLine, Trace, Usage};

/// Log lines that become events of a span.
const EVENTS_MAX: usize = 32;

/// A call that has ended.
#[derive(Debug)]
pub struct Told {
    label: Arc<Label>,
    usage: Usage,
    logs: Vec<LogLine>,
    failure_code: Option<String>,
    limit: Option<LimitHit>,
}

impl Told {
    /// A call that ended well.
    pub fn ran(resolved: &Resolved, trace: Trace) -> Box<Self> {
        Box::new(Told {
            label: resolved.label.clone(),
            usage: trace.usage,
            logs: trace.logs,
            failure_code: None,
            limit: None,
        })
    }

    /// A call that failed.
    pub fn failed(resolved: &Resolved, failed: Failed) -> Box<Self> {
        let details = *failed.details;
        let mut told = Told::ran(resolved, details.trace);
        told.failure_code = details.failure_code;
        told.limit = details.limit;
        told
    }

    /// In a span's words. A function's log lines are its author's: they may name keys and values.
    pub fn into_notes(self) -> Notes {
        let mut notes = Notes::default();
        let Label { module, version, function, .. } = &*self.label;
        notes.attribute("outcrop.module.name", module.to_string());
        notes.attribute("outcrop.module.version", version.to_string());
        notes.attribute("outcrop.function.name", function.to_string());
        notes.attribute("outcrop.function.fuel", self.usage.fuel);
        notes.attribute("outcrop.function.memory_bytes", self.usage.memory_bytes);
        notes.attribute("outcrop.function.host_calls", self.usage.host_calls);
        notes.attribute("outcrop.function.wall_us", self.usage.wall.as_micros() as u64);
        if self.usage.records > 0 {
            notes.attribute("outcrop.function.records", self.usage.records);
            notes.attribute("outcrop.function.instances", u64::from(self.usage.instances));
        }
        if let Some(code) = self.failure_code {
            notes.attribute("outcrop.function.failure_code", code);
        }
        if let Some(hit) = self.limit {
            notes.attribute("outcrop.function.limit", hit.kind.name());
            notes.attribute("outcrop.function.limit_allowed", hit.allowed);
        }
        let dropped = self.usage.logs_dropped + self.logs.len().saturating_sub(EVENTS_MAX) as u64;
        for line in self.logs.into_iter().take(EVENTS_MAX) {
            let severity = line.level.name().into();
            notes.event("log", [("outcrop.log.severity", severity), ("outcrop.log.body", line.message.into())]);
        }
        if dropped > 0 {
            notes.attribute("outcrop.function.logs_dropped", dropped);
        }
        notes
    }
}

//! Whose limits bind a call, and whose signatures a namespace trusts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::udf::limits::Limits;

/// What a namespace asks of the modules that run on its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRules {
    /// Bounds of a call on one record.
    pub record: Limits,
    /// Bounds of an aggregate or a row query.
    pub query: Limits,
    /// Bytes of a module.
    pub module_bytes_max: u64,
    /// Public keys; unless there is none, a module needs a signature of one of them.
    pub trusted_keys: Vec<[u8; 32]>,
    /// Modules that may run here; none: every one.
    pub modules: Vec<String>,
}

impl Default for NamespaceRules {
    fn default() -> Self {
        NamespaceRules {
            record: Limits::RECORD,
            query: Limits::QUERY,
            module_bytes_max: 32 << 20,
            trusted_keys: Vec::new(),
            modules: Vec::new(),
        }
    }
}

impl NamespaceRules {
    /// Whether a module of this name may run here.
    pub fn offers(&self, module: &str) -> bool {
        self.modules.is_empty() || self.modules.iter().any(|name| name == module)
    }

    /// Whether a module with these (verified) signers may run here.
    pub fn allows(&self, signers: &[[u8; 32]]) -> bool {
        self.trusted_keys.is_empty() || signers.iter().any(|signer| self.trusted_keys.contains(signer))
    }
}

/// A module's own limits, where they are lower than its namespace's; what isn't said is as the namespace has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverrides {
    /// Wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Fuel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u64>,
    /// Calls of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u64>,
    /// Arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// Results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Reads of other records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<u32>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Calls under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_calls: Option<u32>,
}

/// Memory that a module can't do without.
const MEMORY_BYTES_MIN: u64 = 64 << 10;

impl LimitOverrides {
    /// Refuses limits under which no call could ever end well.
    pub fn check(&self) -> Result<(), String> {
        let least = |what: &str, asked: Option<u64>, least: u64| match asked {
            Some(asked) if asked < least => Err(format!("the limit {what} is at least {least}, not {asked}")),
            _ => Ok(()),
        };
        least("wall_ms", self.wall_ms, 1)?;
        least("fuel", self.fuel, 1)?;
        least("memory_bytes", self.memory_bytes, MEMORY_BYTES_MIN)?;
        least("host_calls", self.host_calls, 1)?;
        least("output_bytes", self.output_bytes, 1)?;
        least("concurrent_calls", self.concurrent_calls.map(u64::from), 1)
    }

    /// The namespace's limits with these on top, where they are lower.
    pub fn under(&self, limits: &Limits) -> Limits {
        let own = Limits {
            wall: self.wall_ms.map_or(limits.wall, Duration::from_millis),
            fuel: self.fuel.unwrap_or(limits.fuel),
            memory_bytes: self.memory_bytes.unwrap_or(limits.memory_bytes),
            table_elements: self.table_elements.unwrap_or(limits.table_elements),
            host_calls: self.host_calls.unwrap_or(limits.host_calls),
            input_bytes: self.input_bytes.unwrap_or(limits.input_bytes),
            output_bytes: self.output_bytes.unwrap_or(limits.output_bytes),
            log_lines: limits.log_lines,
            log_bytes: limits.log_bytes,
            reads: self.reads.unwrap_or(limits.reads),
            read_bytes: self.read_bytes.unwrap_or(limits.read_bytes),
            concurrent_calls: self.concurrent_calls.unwrap_or(limits.concurrent_calls),
        };
        own.capped(limits)
    }
}

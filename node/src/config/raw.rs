//! The configuration as it is written: every key optional, every value checked for itself while its place is known.
//!
//! What several values mean together is `settle`'s.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use outcrop_wire::limits::{
    ARGUMENTS_BYTES_MAX, DEADLINE_MS_MAX, LANE_INFLIGHT_MAX, LANES_MAX, MODULE_BYTES_CEILING, RECORD_BYTES_CEILING,
    TTL_SECS_MAX,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::units::{parse_bytes, parse_duration};
use crate::options::{Commit, Engine, LogFormat, MTU_CEILING, Values};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranged<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Ranged<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Number<MIN, MAX> {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
                match u64::try_from(number) {
                    Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
                    _ => Err(E::custom(format!("expected a whole number from {MIN} to {MAX}, not {number}"))),
                }
            }
        }
        deserializer.deserialize_any(Number::<MIN, MAX>).map(Ranged)
    }
}

/// A size from `MIN` to `MAX` bytes: `"4MiB"`, or a number of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"4MiB\"")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
                u64::try_from(number).map_err(|_| E::custom(format!("a size can't be negative: {number}")))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                parse_bytes(text).map_err(E::custom)
            }
        }
        let bytes = deserializer.deserialize_any(Bytes)?;
        if !(MIN..=MAX).contains(&bytes) {
            let (min, max) = (super::units::format_bytes(MIN), super::units::format_bytes(MAX));
            return Err(D::Error::custom(format!("expected a size from {min} to {max}, not {bytes} bytes")));
        }
        Ok(Size(bytes))
    }
}

/// A time to live: `"never"`, `"30d"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct DefaultTtl(pub Option<u32>);

impl<'de> Deserialize<'de> for DefaultTtl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Time;
        impl Visitor<'_> for Time {
            type Value = DefaultTtl;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"never\" or a time such as \"30d\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<DefaultTtl, E> {
                if text == "never" {
                    return Ok(DefaultTtl(None));
                }
                let time = parse_duration(text).map_err(E::custom)?;
                match u32::try_from(time.as_secs()) {
                    Ok(secs) if (1..=TTL_SECS_MAX).contains(&secs) && time.subsec_nanos() == 0 => {
                        Ok(DefaultTtl(Some(secs)))
                    }
                    _ => Err(E::custom(format!("a time to live is 1s to {TTL_SECS_MAX}s or \"never\", not {text:?}"))),
                }
            }
        }
        deserializer.deserialize_any(Time)
    }
}

/// A socket address; `""` for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Address(None));
        }
        let expected = "expected an IP address and a port such as \"0.0.0.0:7420\" or \"[::]:7420\"";
        text.parse()
            .map(|address| Address(Some(address)))
            .map_err(|_| D::Error::custom(format!("{expected}, not {text:?}")))
    }
}

/// 0 to 100, with a fraction if need be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(D::Error::custom(format!("expected a percentage from 0 to 100, not {percent}")));
        }
        Ok(Percent(percent))
    }
}

macro_rules! named {
    ($raw:ident is $settled:ty { $($variant:ident = $name:literal),* $(,)? }) => {
        #[derive(Debug, Clone, Copy, Deserialize)]
        pub(super) enum $raw { $(#[serde(rename = $name)] $variant,)* }

        impl $raw {
            pub(super) fn settled(self) -> $settled {
                match self { $($raw::$variant => <$settled>::$variant,)* }
            }
            pub(super) fn name_of(value: $settled) -> &'static str {
                match value { $(<$settled>::$variant => $name,)* }
            }
        }
    };
}

named!(RawValues is Values { Flash = "flash", FlashCached = "flash-cached", Ram = "ram", });
named!(RawCommit is Commit { Flash = "flash", Memory = "memory", });
named!(RawEngine is Engine { Auto = "auto", IoUring = "io_uring", Pread = "pread", });
named!(RawLogFormat is LogFormat { Text = "text", Json = "json", });

macro_rules! section {
    ($name:ident { $($field:ident: $kind:ty),* $(,)? } $(with { $($table:ident: $inner:ty),* })?) => {
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$kind>,)*
            $($(#[serde(default)] pub(super) $table: $inner,)*)?
        }

        impl $name {
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field),)*];

            /// Takes over what `over` sets.
            pub(super) fn overlay(&mut self, over: $name) {
                $(if over.$field.is_some() { self.$field = over.$field; })*
                $($(self.$table.overlay(over.$table);)*)?
            }
        }
    };
}

/// Names or keys: a list, or as a variable has them, one text with commas between.
#[derive(Debug, Clone)]
pub(super) struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list such as [\"shop\"]")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                Ok(Words(words.map(str::to_owned).collect()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(List)
    }
}

section!(RawNode { data_dir: PathBuf, workers: Ranged<0, 1024>, drain_ms: Ranged<0, 600_000>, });
section!(RawListen { data: Address, admin: Address });
section!(RawTls { certificate: PathBuf, private_key: PathBuf, self_signed: bool });
section!(RawLimits {
    connections_max: Ranged<1, 1_000_000>,
    handshakes_max: Ranged<1, 65_536>,
    handshakes_retry_above: Ranged<0, 65_536>,
    lanes_max: Ranged<1, { LANES_MAX as u64 }>,
    large_streams_max: Ranged<1, 256>,
    scans_max: Ranged<1, 256>,
    lane_inflight_max: Ranged<1, { LANE_INFLIGHT_MAX as u64 }>,
    stream_window: Size<{ 64 << 10 }, { 64 << 20 }>,
    connection_window_min: Size<{ 64 << 10 }, { 64 << 20 }>,
    connection_window_max: Size<{ 64 << 10 }, { 256 << 20 }>,
    windows_max: Size<0, { 1 << 40 }>,
    large_bytes_max: Size<{ 16 << 20 }, { 1 << 40 }>,
    request_deadline_ms: Ranged<1, { DEADLINE_MS_MAX as u64 }>,
    idle_timeout_ms: Ranged<1_000, 3_600_000>,
    hello_timeout_ms: Ranged<100, 60_000>,
    socket_buffer: Size<{ 64 << 10 }, { 256 << 20 }>,
    mtu_max: Ranged<1_200, { MTU_CEILING as u64 }>,
    admin_connections_max: Ranged<1, 4_096>,
    busy_poll_us: Ranged<0, 1_000>,
});
section!(RawTelemetry { otlp: String, sample_percent: Percent, log: String, log_format: RawLogFormat });
section!(RawFunctions {
    enabled: bool,
    threads: Ranged<0, 1024>,
    instances_max: Ranged<1, 4_096>,
    instance_wait_ms: Ranged<0, 60_000>,
    memory_bytes_ceiling: Size<{ 1 << 20 }, { 4 << 30 }>,
    table_elements_ceiling: Ranged<0, 10_000_000>,
    stack_bytes: Size<{ 64 << 10 }, { 8 << 20 }>,
    cache: Size<0, { 1 << 40 }>,
    module_bytes_max: Size<{ 1 << 10 }, { MODULE_BYTES_CEILING as u64 }>,
    module_functions_max: Ranged<1, 1_000_000>,
    function_body_bytes_max: Size<{ 1 << 10 }, { 7 << 20 }>,
    data_bytes_max: Size<0, { MODULE_BYTES_CEILING as u64 }>,
    core_modules_max: Ranged<1, 64>,
    compile_memory_max: Size<{ 256 << 20 }, { 64 << 30 }>,
    compile_cpu_secs: Ranged<1, 3_600>,
    compile_wall_secs: Ranged<1, 3_600>,
    compile_queue_max: Ranged<0, 1_024>,
});
section!(RawCallLimits {
    wall_ms: Ranged<1, 86_400_000>,
    fuel: Ranged<1, { i64::MAX as u64 }>,
    memory_bytes: Size<{ 64 << 10 }, { 4 << 30 }>,
    table_elements: Ranged<0, 10_000_000>,
    host_calls: Ranged<0, { i64::MAX as u64 }>,
    input_bytes: Size<0, { ARGUMENTS_BYTES_MAX as u64 }>,
    output_bytes: Size<0, { 64 << 20 }>,
    log_lines: Ranged<0, 10_000>,
    log_bytes: Size<0, { 16 << 20 }>,
    reads: Ranged<0, { u32::MAX as u64 }>,
    read_bytes: Size<0, { 1 << 40 }>,
    concurrent_calls: Ranged<1, 4_096>,
});
section!(RawRules {
    module_bytes_max: Size<{ 1 << 10 }, { MODULE_BYTES_CEILING as u64 }>,
    trusted_keys: Words,
    modules: Words,
} with { call: RawCallLimits, query: RawCallLimits });
section!(RawNamespace {
    name: String,
    device: PathBuf,
    size: Size<{ super::SIZE_BYTES_MIN }, { super::SIZE_BYTES_MAX }>,
    values: RawValues,
    commit: RawCommit,
    flush_ms: Ranged<1, 10_000>,
    default_ttl: DefaultTtl,
    record_bytes_max: Size<1, { RECORD_BYTES_CEILING as u64 }>,
    cache: Size<0, { super::SIZE_BYTES_MAX }>,
    write_buffer: Size<{ super::WRITE_BUFFER_BYTES_MIN }, { super::SIZE_BYTES_MAX }>,
    high_water_percent: Ranged<0, 99>,
    defrag_live_percent: Ranged<0, 95>,
    defrag_rate: Size<{ 1 << 20 }, { 1 << 40 }>,
    engine: RawEngine,
} with { functions: RawRules });

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) node: RawNode,
    pub(super) listen: RawListen,
    pub(super) tls: RawTls,
    pub(super) limits: RawLimits,
    pub(super) telemetry: RawTelemetry,
    pub(super) functions: RawFunctions,
    pub(super) namespace: Vec<RawNamespace>,
}

/// Every section with its keys.
pub(super) const SECTIONS: [(&str, &[&str]); 10] = [
    ("node", RawNode::KEYS),
    ("listen", RawListen::KEYS),
    ("tls", RawTls::KEYS),
    ("limits", RawLimits::KEYS),
    ("telemetry", RawTelemetry::KEYS),
    ("functions", RawFunctions::KEYS),
    ("namespace", RawNamespace::KEYS),
    ("namespace.functions", RawRules::KEYS),
    ("namespace.functions.call", RawCallLimits::KEYS),
    ("namespace.functions.query", RawCallLimits::KEYS),
];

//! The settled configuration as text that reads back to the same: what `--check` prints.

use std::fmt::Write;
use std::path::Path;

use super::Config;
use super::functions;
use super::raw::{RawCommit, RawEngine, RawLogFormat, RawValues};
use super::units::{format_bytes, format_duration};
use crate::options::{LimitOptions, NamespaceOptions, TelemetryOptions, TlsOptions, Values};

/// A TOML basic string.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// Lines of `key = value`.
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{gap}{name}\n"));
    }

    pub(super) fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.set(key, quote(value));
    }

    pub(super) fn size(&mut self, key: &str, bytes: u64) {
        self.text(key, &format_bytes(bytes));
    }
}

pub(super) fn render(config: &Config) -> String {
    let mut out = Lines(String::new());
    out.section("[node]");
    out.set("data_dir", config.node.data_dir.as_deref().map_or_else(|| "\"\"".to_owned(), quote_path));
    out.set("workers", config.node.workers);
    out.set("drain_ms", config.node.drain.as_millis());
    out.section("[listen]");
    out.text("data", &config.listen.data.to_string());
    out.text("admin", &config.listen.admin.map(|address| address.to_string()).unwrap_or_default());
    out.section("[tls]");
    match &config.tls {
        TlsOptions::Files { certificate, private_key } => {
            out.set("certificate", quote_path(certificate));
            out.set("private_key", quote_path(private_key));
        }
        TlsOptions::SelfSigned => out.set("self_signed", true),
    }
    render_limits(&config.limits, &mut out);
    render_telemetry(&config.telemetry, &mut out);
    functions::render(&config.functions, &mut out);
    for (number, namespace) in config.namespaces.iter().enumerate() {
        render_namespace(namespace, &mut out);
        functions::render_rules(&config.functions.rules_of(number), &mut out);
    }
    out.0
}

fn render_limits(limits: &LimitOptions, out: &mut Lines) {
    out.section("[limits]");
    out.set("connections_max", limits.connections_max);
    out.set("handshakes_max", limits.handshakes_max);
    out.set("handshakes_retry_above", limits.handshakes_retry_above);
    out.set("lanes_max", limits.lanes_max);
    out.set("large_streams_max", limits.large_streams_max);
    out.set("scans_max", limits.scans_max);
    out.set("lane_inflight_max", limits.lane_inflight_max);
    out.size("stream_window", limits.stream_window_bytes.into());
    out.size("connection_window_min", limits.connection_window_bytes_min.into());
    out.size("connection_window_max", limits.connection_window_bytes_max.into());
    out.size("windows_max", limits.windows_bytes_max);
    out.size("large_bytes_max", limits.large_bytes_max);
    out.set("request_deadline_ms", limits.request_deadline.as_millis());
    out.set("idle_timeout_ms", limits.idle_timeout.as_millis());
    out.set("hello_timeout_ms", limits.hello_timeout.as_millis());
    out.size("socket_buffer", limits.socket_buffer_bytes.into());
    out.set("mtu_max", limits.mtu_max);
    out.set("admin_connections_max", limits.admin_connections_max);
    out.set("busy_poll_us", limits.busy_poll.as_micros());
}

fn render_telemetry(telemetry: &TelemetryOptions, out: &mut Lines) {
    out.section("[telemetry]");
    out.text("otlp", telemetry.otlp.as_deref().unwrap_or_default());
    out.set("sample_percent", format_args!("{:?}", telemetry.sample_percent));
    out.text("log", &telemetry.log);
    out.text("log_format", RawLogFormat::name_of(telemetry.log_format));
}

fn render_namespace(namespace: &NamespaceOptions, out: &mut Lines) {
    out.section("[[namespace]]");
    out.text("name", &namespace.name);
    if let Some(device) = &namespace.device {
        out.set("device", quote_path(device));
    }
    out.size("size", namespace.size_bytes);
    out.text("values", RawValues::name_of(namespace.values));
    out.text("commit", RawCommit::name_of(namespace.commit));
    out.set("flush_ms", namespace.flush.as_millis());
    let ttl = namespace.default_ttl_secs.map(|secs| format_duration(std::time::Duration::from_secs(secs.into())));
    out.text("default_ttl", ttl.as_deref().unwrap_or("never"));
    out.size("record_bytes_max", namespace.record_bytes_max.into());
    if namespace.values == Values::Flash {
        out.size("cache", namespace.cache_bytes);
    }
    out.size("write_buffer", namespace.write_buffer_bytes);
    out.set("high_water_percent", namespace.high_water_percent);
    out.set("defrag_live_percent", namespace.defrag_live_percent);
    out.size("defrag_rate", namespace.defrag_bytes_per_sec);
    out.text("engine", RawEngine::name_of(namespace.engine));
}

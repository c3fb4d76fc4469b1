//! From what was written to what holds: defaults filled in, relations between values checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_wire::key::check_namespace_name;
use outcrop_wire::limits::NAMESPACES_MAX;

use super::error::ConfigError;
use super::functions;
use super::raw::{RawConfig, RawLimits, RawNamespace, RawTelemetry, RawTls, RawValues};
use super::units::format_bytes;
use super::{Config, SIZE_BYTES_MIN};
use crate::options::{
    Commit, LimitOptions, ListenOptions, NamespaceOptions, NodeOptions, TelemetryOptions, TlsOptions, Values,
};
use crate::telemetry::{log, otlp};

pub(super) fn settle(raw: RawConfig) -> Result<Config, ConfigError> {
    let defaults = NodeOptions::default();
    let data_dir = match raw.node.data_dir {
        Some(dir) if dir.as_os_str().is_empty() => None,
        Some(dir) => Some(dir),
        None => defaults.data_dir,
    };
    let node = NodeOptions {
        workers: raw.node.workers.map_or(defaults.workers, |workers| workers.0 as usize),
        drain: raw.node.drain_ms.map_or(defaults.drain, |ms| Duration::from_millis(ms.0)),
        data_dir,
    };
    let listen = ListenOptions::default();
    let listen = ListenOptions {
        data: match raw.listen.data {
            Some(address) => {
                address.0.ok_or_else(|| ConfigError::relation("listen.data", "this socket can't be turned off"))?
            }
            None => listen.data,
        },
        admin: raw.listen.admin.map_or(listen.admin, |address| address.0),
    };
    let home = node.data_dir.as_deref();
    let mut functions = functions::settle(&raw.functions)?;
    let rules = raw.namespace.iter().map(|namespace| {
        let name = namespace.name.as_deref().unwrap_or_default();
        functions::settle_rules(name, &namespace.functions, &functions.host)
    });
    functions.rules = rules.collect::<Result<_, _>>()?;
    functions.trim_rules();
    Ok(Config {
        functions,
        tls: settle_tls(raw.tls, home)?,
        limits: settle_limits(&raw.limits)?,
        telemetry: settle_telemetry(raw.telemetry)?,
        namespaces: settle_namespaces(raw.namespace, home)?,
        node,
        listen,
    })
}

/// Relative paths are relative to the data directory.
fn at_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match home {
        Some(home) if path.is_relative() => home.join(path),
        _ => path,
    }
}

fn settle_tls(raw: RawTls, home: Option<&Path>) -> Result<TlsOptions, ConfigError> {
    if raw.self_signed == Some(true) {
        if raw.certificate.is_some() || raw.private_key.is_some() {
            let message =
                "a self-signed certificate is made by the node; leave out `certificate` and `private_key`, or this";
            return Err(ConfigError::relation("tls.self_signed", message));
        }
        return Ok(TlsOptions::SelfSigned);
    }
    if home.is_none() && (raw.certificate.is_none() || raw.private_key.is_none()) {
        let message =
            "without a data directory, name both `certificate` and `private_key`, or set `self_signed = true`";
        return Err(ConfigError::relation("tls.certificate", message));
    }
    let file = |path: Option<PathBuf>, name: &str, key: &str| match path {
        Some(path) if path.as_os_str().is_empty() => Err(ConfigError::relation(key, "the path is empty")),
        Some(path) => Ok(at_home(path, home)),
        None => Ok(at_home(name.into(), home)),
    };
    Ok(TlsOptions::Files {
        certificate: file(raw.certificate, "cert.pem", "tls.certificate")?,
        private_key: file(raw.private_key, "key.pem", "tls.private_key")?,
    })
}

fn settle_limits(raw: &RawLimits) -> Result<LimitOptions, ConfigError> {
    let base = LimitOptions::default();
    let millis = |ms: u64| Duration::from_millis(ms);
    let limits = LimitOptions {
        connections_max: raw.connections_max.map_or(base.connections_max, |n| n.0 as u32),
        handshakes_max: raw.handshakes_max.map_or(base.handshakes_max, |n| n.0 as u32),
        handshakes_retry_above: raw.handshakes_retry_above.map_or(base.handshakes_retry_above, |n| n.0 as u32),
        lanes_max: raw.lanes_max.map_or(base.lanes_max, |n| n.0 as u16),
        large_streams_max: raw.large_streams_max.map_or(base.large_streams_max, |n| n.0 as u16),
        scans_max: raw.scans_max.map_or(base.scans_max, |n| n.0 as u16),
        lane_inflight_max: raw.lane_inflight_max.map_or(base.lane_inflight_max, |n| n.0 as u32),
        stream_window_bytes: raw.stream_window.map_or(base.stream_window_bytes, |n| n.0 as u32),
        connection_window_bytes_min: raw.connection_window_min.map_or(base.connection_window_bytes_min, |n| n.0 as u32),
        connection_window_bytes_max: raw.connection_window_max.map_or(base.connection_window_bytes_max, |n| n.0 as u32),
        windows_bytes_max: raw.windows_max.map_or(base.windows_bytes_max, |n| n.0),
        large_bytes_max: raw.large_bytes_max.map_or(base.large_bytes_max, |n| n.0),
        request_deadline: raw.request_deadline_ms.map_or(base.request_deadline, |ms| millis(ms.0)),
        idle_timeout: raw.idle_timeout_ms.map_or(base.idle_timeout, |ms| millis(ms.0)),
        hello_timeout: raw.hello_timeout_ms.map_or(base.hello_timeout, |ms| millis(ms.0)),
        socket_buffer_bytes: raw.socket_buffer.map_or(base.socket_buffer_bytes, |n| n.0 as u32),
        mtu_max: raw.mtu_max.map_or(base.mtu_max, |n| n.0 as u16),
        admin_connections_max: raw.admin_connections_max.map_or(base.admin_connections_max, |n| n.0 as u32),
        busy_poll: raw.busy_poll_us.map_or(base.busy_poll, |us| Duration::from_micros(us.0)),
    };
    if limits.connection_window_bytes_min > limits.connection_window_bytes_max {
        let (min, max) = (limits.connection_window_bytes_min, limits.connection_window_bytes_max);
        let message =
            format!("{} is over connection_window_max, {}", format_bytes(min.into()), format_bytes(max.into()));
        return Err(ConfigError::relation("limits.connection_window_min", message));
    }
    if limits.handshakes_retry_above > limits.handshakes_max {
        let message = format!("{} is over handshakes_max, {}", limits.handshakes_retry_above, limits.handshakes_max);
        return Err(ConfigError::relation("limits.handshakes_retry_above", message));
    }
    Ok(limits)
}

fn settle_telemetry(raw: RawTelemetry) -> Result<TelemetryOptions, ConfigError> {
    let base = TelemetryOptions::default();
    let otlp = raw.otlp.filter(|url| !url.is_empty());
    if let Some(url) = &otlp {
        otlp::Endpoint::parse(url).map_err(|error| ConfigError::relation("telemetry.otlp", error.to_string()))?;
    }
    let filter = raw.log.unwrap_or(base.log);
    log::check_filter(&filter).map_err(|error| ConfigError::relation("telemetry.log", error.to_string()))?;
    Ok(TelemetryOptions {
        otlp,
        sample_percent: raw.sample_percent.map_or(base.sample_percent, |percent| percent.0),
        log: filter,
        log_format: raw.log_format.map_or(base.log_format, |format| format.settled()),
    })
}

fn settle_namespaces(raw: Vec<RawNamespace>, home: Option<&Path>) -> Result<Vec<NamespaceOptions>, ConfigError> {
    if raw.is_empty() {
        let message = "there is none; add for example\n[[namespace]]\nname = \"shop\"\nsize = \"8GiB\"";
        return Err(ConfigError::relation("namespace", message));
    }
    if raw.len() > NAMESPACES_MAX {
        let message = format!("a node has at most {NAMESPACES_MAX} namespaces, not {}", raw.len());
        return Err(ConfigError::relation("namespace", message));
    }
    let mut names = HashSet::new();
    let mut devices: Vec<(PathBuf, String)> = Vec::new();
    let mut namespaces = Vec::with_capacity(raw.len());
    for (place, one) in raw.into_iter().enumerate() {
        let namespace = settle_namespace(one, place, home)?;
        if !names.insert(namespace.name.clone()) {
            return Err(ConfigError::relation(key_of(&namespace.name, "name"), "this name is there twice"));
        }
        if let Some(device) = &namespace.device {
            if let Some((_, other)) = devices.iter().find(|(path, _)| path == device) {
                let message = format!("{} is namespace {other:?}'s already", device.display());
                return Err(ConfigError::relation(key_of(&namespace.name, "device"), message));
            }
            devices.push((device.clone(), namespace.name.clone()));
        }
        namespaces.push(namespace);
    }
    Ok(namespaces)
}

fn key_of(name: &str, key: &str) -> String {
    format!("namespace {name:?}: {key}")
}

fn settle_namespace(raw: RawNamespace, place: usize, home: Option<&Path>) -> Result<NamespaceOptions, ConfigError> {
    let name = raw
        .name
        .ok_or_else(|| ConfigError::relation("namespace", format!("the {}. [[namespace]] has no `name`", place + 1)))?;
    let wrong = |key: &str, message: String| Err(ConfigError::relation(key_of(&name, key), message));
    if let Err(error) = check_namespace_name(&name) {
        return wrong("name", error.to_string());
    }
    let Some(size) = raw.size else {
        let least = format_bytes(SIZE_BYTES_MIN);
        return wrong("size", format!("how much may it use? For example size = \"8GiB\" (at least {least})"));
    };
    let values = raw.values.map(RawValues::settled).unwrap_or_default();
    let base = match values {
        Values::Ram => NamespaceOptions::ram(&name, size.0),
        Values::Flash | Values::FlashCached => NamespaceOptions::new(&name, size.0),
    };
    let ram = values == Values::Ram;
    let written = RawValues::name_of(values);
    let device = match raw.device.filter(|path| !path.as_os_str().is_empty()) {
        Some(_) if ram => return wrong("device", "values = \"ram\" has no device; leave it out".to_owned()),
        None if ram => None,
        Some(path) => Some(at_home(path, home)),
        None => match home {
            Some(home) => Some(home.join(format!("{name}.log"))),
            None => {
                return wrong("device", format!("values = {written:?} needs a device, or a data directory for one"));
            }
        },
    };
    let commit = raw.commit.map_or(base.commit, |commit| commit.settled());
    if ram && commit == Commit::Flash {
        return wrong("commit", "values = \"ram\" can't commit to flash; write \"memory\" or leave it out".to_owned());
    }
    let cache_bytes = match (values, raw.cache) {
        (Values::Flash, Some(cache)) if cache.0 > size.0 => {
            let (cache, size) = (format_bytes(cache.0), format_bytes(size.0));
            return wrong(
                "cache",
                format!("{cache} is over size, {size}; write values = \"flash-cached\" to cache everything"),
            );
        }
        (Values::Flash, cache) => cache.map_or(base.cache_bytes.min(size.0), |cache| cache.0),
        (_, Some(_)) => {
            return wrong("cache", format!("values = {written:?} keeps everything in memory; leave it out"));
        }
        (_, None) => u64::MAX,
    };
    let write_buffer_bytes = raw.write_buffer.map_or(base.write_buffer_bytes.min(size.0 / 2), |bytes| bytes.0);
    if write_buffer_bytes > size.0 / 2 {
        return wrong("write_buffer", format!("at most half of size, {}", format_bytes(size.0 / 2)));
    }
    let record_bytes_max = raw.record_bytes_max.map_or(base.record_bytes_max, |bytes| bytes.0 as u32);
    Ok(NamespaceOptions {
        device,
        values,
        commit,
        flush: raw.flush_ms.map_or(base.flush, |ms| Duration::from_millis(ms.0)),
        default_ttl_secs: raw.default_ttl.and_then(|ttl| ttl.0),
        record_bytes_max,
        cache_bytes,
        write_buffer_bytes,
        high_water_percent: raw.high_water_percent.map_or(base.high_water_percent, |percent| percent.0 as u8),
        defrag_live_percent: raw.defrag_live_percent.map_or(base.defrag_live_percent, |percent| percent.0 as u8),
        defrag_bytes_per_sec: raw.defrag_rate.map_or(base.defrag_bytes_per_sec, |bytes| bytes.0),
        engine: raw.engine.map_or(base.engine, |engine| engine.settled()),
        size_bytes: size.0,
        name,
    })
}

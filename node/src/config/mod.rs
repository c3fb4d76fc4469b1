//! Configuration: `outcrop.toml` and environment variables in, settled [`options`](crate::options) out.
//!
//! Written form (`raw`, every value checked where its line is known), then environment variables over it
//! (`environment`), then defaults and relations (`settle`). Unknown keys are errors that suggest the right one. Every
//! key is described in `docs/configuration.md`.

mod advice;
mod environment;
mod error;
mod functions;
mod raw;
mod render;
mod settle;
#[cfg(test)]
mod tests;
pub mod units;

use std::io::Read;
use std::path::Path;

use outcrop_wire::limits::SEGMENT_BYTES;

pub use self::error::{ConfigError, Place};
pub use crate::options::{
    Commit, Engine, LimitOptions, ListenOptions, LogFormat, NamespaceOptions, NodeOptions, TelemetryOptions,
    TlsOptions, Values,
};
pub use crate::platform::PlatformOptions;

/// Bytes of a configuration file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A namespace has at least eight segments: open, checkpoint, reserve and room to evacuate.
const SIZE_BYTES_MIN: u64 = 8 * SEGMENT_BYTES as u64;

/// Locations have 24 bits for a segment.
const SIZE_BYTES_MAX: u64 = ((1 << 24) - 1) * SEGMENT_BYTES as u64;

/// Two segments: one is written while the other fills.
const WRITE_BUFFER_BYTES_MIN: u64 = 2 * SEGMENT_BYTES as u64;

const _: () = assert!(WRITE_BUFFER_BYTES_MIN <= SIZE_BYTES_MIN / 2);

/// A configuration that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The process.
    pub node: NodeOptions,
    /// Sockets.
    pub listen: ListenOptions,
    /// The certificate.
    pub tls: TlsOptions,
    /// Bounds.
    pub limits: LimitOptions,
    /// Logs and traces.
    pub telemetry: TelemetryOptions,
    /// Functions.
    pub functions: PlatformOptions,
    /// At least one.
    pub namespaces: Vec<NamespaceOptions>,
}

impl Config {
    /// Reads a file and lays the variables of `env` (give it `std::env::vars()`) over it.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let text = read(path)?;
        let mut raw = parse_raw(&text)?;
        environment::overlay(&mut raw, env)?;
        settle::settle(raw)
    }

    /// Reads a configuration's text.
    ///
    /// # Errors
    /// As [`Config::load`]; it never panics, whatever the text.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        settle::settle(parse_raw(text)?)
    }

    /// What `outcrop dev` runs: loopback only, a certificate of its own, one namespace; in `data_dir` (2 GiB in
    /// `NAMESPACE.log`, synced) or, without one, in memory (1 GiB).
    pub fn dev(data_dir: Option<&Path>, namespace: &str) -> Config {
        let options = match data_dir {
            None => NamespaceOptions::ram(namespace, 1 << 30),
            Some(dir) => NamespaceOptions {
                device: Some(dir.join(format!("{namespace}.log"))),
                ..NamespaceOptions::new(namespace, 2 << 30)
            },
        };
        Config {
            node: NodeOptions { data_dir: data_dir.map(Path::to_path_buf), ..NodeOptions::default() },
            listen: ListenOptions { data: ([127, 0, 0, 1], 7420).into(), ..ListenOptions::default() },
            tls: TlsOptions::SelfSigned,
            limits: LimitOptions::default(),
            telemetry: TelemetryOptions::default(),
            functions: PlatformOptions::default(),
            namespaces: vec![options],
        }
    }

    /// What is allowed and probably not meant, one line each.
    pub fn warnings(&self) -> Vec<String> {
        advice::warnings(self)
    }

    /// The settled form, with every default written out; [`Config::parse`] reads it back to the same.
    pub fn to_toml(&self) -> String {
        render::render(self)
    }
}

fn parse_raw(text: &str) -> Result<raw::RawConfig, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::from_toml(text, &error))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(ConfigError::Directory { path: path.to_path_buf() });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), max: FILE_BYTES_MAX });
    }
    String::from_utf8(bytes)
        .map_err(|error| ConfigError::NotText { path: path.to_path_buf(), offset: error.utf8_error().valid_up_to() })
}

//! OTLP: the receiver's address, and how encoded spans get there, by gRPC or by HTTP.

pub(super) mod protobuf;
pub(super) mod send;

use thiserror::Error;

/// Why spans can't be exported.
#[derive(Debug, Error)]
pub enum OtlpError {
    /// The address can't be used.
    #[error("{url:?}: {reason}")]
    Endpoint {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC, usually port 4317.
    Grpc,
    /// OTLP/HTTP with protobuf, usually port 4318 and path `/v1/traces`.
    Http,
}

/// A receiver's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole URL, with the path for HTTP.
    pub url: String,
    /// gRPC unless there is a path or the port is 4318.
    pub protocol: Protocol,
}

impl Endpoint {
    /// Reads `http://host:4317` (gRPC), `http://host:4318` or `http://host:port/v1/traces` (HTTP).
    ///
    /// # Errors
    /// [`OtlpError::Endpoint`], with what is wrong.
    pub fn parse(url: &str) -> Result<Endpoint, OtlpError> {
        let wrong = |reason| OtlpError::Endpoint { url: url.chars().take(200).collect(), reason };
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(wrong(match url.starts_with("https://") {
                true => "OTLP over TLS isn't supported; run a collector beside the node and send to it by http://",
                false => "an OTLP address begins with http://, for example http://127.0.0.1:4317",
            }));
        };
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let right = match ipv6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(plain),
        };
        if !right {
            return Err(wrong("the host isn't a name or an address"));
        }
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err(wrong("the port isn't a number from 1 to 65535"));
        }
        if path.chars().any(|c| c.is_ascii_control() || c.is_whitespace() || !c.is_ascii()) {
            return Err(wrong("the path has characters that a URL can't have"));
        }
        if url.parse::<hyper::Uri>().is_err() {
            return Err(wrong("it has characters that a URL can't have"));
        }
        Ok(match (path, port) {
            ("", Some("4318")) => Endpoint { url: format!("http://{authority}/v1/traces"), protocol: Protocol::Http },
            ("", None) => Endpoint { url: format!("http://{authority}:4317"), protocol: Protocol::Grpc },
            ("", Some(_)) => Endpoint { url: format!("http://{authority}"), protocol: Protocol::Grpc },
            _ => Endpoint { url: url.to_owned(), protocol: Protocol::Http },
        })
    }
}

/// Who sends the spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node's identity in hexadecimal: `service.instance.id`.
    pub node_id: String,
    /// Version of the build: `service.version`.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_path_choose_the_protocol() {
        let parse = |url| Endpoint::parse(url).map(|endpoint| (endpoint.url, endpoint.protocol));
        for (url, means, protocol) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317", Protocol::Grpc),
            ("http://collector", "http://collector:4317", Protocol::Grpc),
            ("http://collector:4317/", "http://collector:4317", Protocol::Grpc),
            ("http://[::1]:4317", "http://[::1]:4317", Protocol::Grpc),
            ("http://[::1]", "http://[::1]:4317", Protocol::Grpc),
            ("http://collector:4318", "http://collector:4318/v1/traces", Protocol::Http),
            ("http://collector:9/v1/traces", "http://collector:9/v1/traces", Protocol::Http),
        ] {
            assert_eq!(parse(url).expect(url), (means.to_owned(), protocol));
        }
        for wrong in [
            "",
            "localhost:4317",
            "https://x:4317",
            "http://",
            "http://:4317",
            "http://a b",
            "http://x:99999",
            "http://[::1",
            "http://x:4318/ö",
            "http://x:4318/<v1>",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}

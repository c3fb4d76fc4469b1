//! The URL of a node: `outcrop://HOST[:PORT][,HOST[:PORT]…][?ca=FILE&connections=N&lanes=N&deadline_ms=N&retries=N]`.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// The port of data, unless the URL names another.
pub(crate) const PORT_DEFAULT: u16 = 7420;

/// Addresses that one URL may name.
const ADDRESSES_MAX: usize = 64;

/// Why a URL can't be used.
///
/// ```
/// use outcrop_client::UrlError;
/// assert!(UrlError::Path("shop/1".into()).to_string().contains("no path"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// It doesn't begin with `outcrop://`.
    #[error("{0:?} does not begin with outcrop://")]
    Scheme(String),
    /// An address is empty, or there are too many.
    #[error("{0:?} names no address, or over {ADDRESSES_MAX}")]
    Addresses(String),
    /// A host or a port can't be read.
    #[error("address {0:?} is no HOST:PORT")]
    Address(String),
    /// A path after the addresses.
    #[error("a node's URL has no path, this one has {0:?} (a key goes into the request)")]
    Path(String),
    /// A parameter of that name isn't known.
    #[error("parameter {0:?} is unknown (ca, connections, lanes, deadline_ms and retries are)")]
    UnknownParameter(String),
    /// A parameter's value is wrong.
    #[error("parameter {name} can't be {value:?}")]
    Parameter {
        /// Its name.
        name: String,
        /// What it was.
        value: String,
    },
}

/// One address of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or IP literal, without brackets: what the certificate is checked against.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Whether it is this machine by its loopback address or the name `localhost`.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A URL taken apart; what it doesn't say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeUrl {
    pub(crate) addresses: Vec<Address>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) connections: Option<usize>,
    pub(crate) lanes: Option<usize>,
    pub(crate) deadline_ms: Option<u32>,
    pub(crate) retries: Option<u32>,
}

impl NodeUrl {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        let rest = url.strip_prefix("outcrop://").ok_or_else(|| UrlError::Scheme(shorten(url)))?;
        let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, query)| (place, query));
        let (place, path) = place.split_once('/').map_or((place, ""), |(place, path)| (place, path));
        if !path.is_empty() {
            return Err(UrlError::Path(shorten(path)));
        }
        let addresses: Vec<&str> = place.split(',').collect();
        if place.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(UrlError::Addresses(shorten(url)));
        }
        let addresses = addresses.into_iter().map(parse_address).collect::<Result<_, _>>()?;
        let mut parsed = NodeUrl { addresses, ..NodeUrl::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parsed.set(name, value)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let wrong = || UrlError::Parameter { name: name.to_owned(), value: shorten(value) };
        match name {
            "ca" => {
                self.ca = Some(PathBuf::from(percent_decode(value).filter(|file| !file.is_empty()).ok_or_else(wrong)?))
            }
            "connections" => {
                self.connections = Some(value.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(wrong)?)
            }
            "lanes" => {
                let fits = |lanes: &usize| (1..=outcrop_wire::limits::LANES_MAX).contains(lanes);
                self.lanes = Some(value.parse().ok().filter(fits).ok_or_else(wrong)?);
            }
            "deadline_ms" => {
                let fits = |ms: &u32| (1..=outcrop_wire::limits::DEADLINE_MS_MAX).contains(ms);
                self.deadline_ms = Some(value.parse().ok().filter(fits).ok_or_else(wrong)?);
            }
            "retries" => self.retries = Some(value.parse().ok().filter(|n| *n <= 100).ok_or_else(wrong)?),
            other => return Err(UrlError::UnknownParameter(shorten(other))),
        }
        Ok(())
    }
}

fn parse_address(text: &str) -> Result<Address, UrlError> {
    let wrong = || UrlError::Address(shorten(text));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let named = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "@%#".contains(c));
    let port = if port.is_empty() && !text.ends_with(':') { Some(PORT_DEFAULT) } else { port.parse().ok() };
    match port.filter(|port| named && *port != 0) {
        Some(port) => Ok(Address { host: host.to_owned(), port }),
        None => Err(wrong()),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>()?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn urls_of_every_form_are_read() {
        let url = NodeUrl::parse("outcrop://127.0.0.1:7420").expect("plain");
        assert_eq!(url, NodeUrl { addresses: vec![address("127.0.0.1", 7420)], ..NodeUrl::default() });
        let url = NodeUrl::parse(
            "outcrop://a,b:1,[::1]:2,[fe80::1]/?ca=my%20ca.pem&connections=3&lanes=4&deadline_ms=50&retries=0",
        );
        assert_eq!(
            url.expect("all of it"),
            NodeUrl {
                addresses: vec![address("a", 7420), address("b", 1), address("::1", 2), address("fe80::1", 7420)],
                ca: Some("my ca.pem".into()),
                connections: Some(3),
                lanes: Some(4),
                deadline_ms: Some(50),
                retries: Some(0),
            }
        );
        assert_eq!(address("::1", 2).to_string(), "[::1]:2");
        assert!(address("::1", 2).is_loopback() && address("localhost", 2).is_loopback());
        assert!(!address("example.org", 2).is_loopback());
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        let wrong = |url: &str| NodeUrl::parse(url).expect_err(url);
        assert!(matches!(wrong("http://a"), UrlError::Scheme(_)));
        assert!(matches!(wrong("outcrop://"), UrlError::Addresses(_)));
        assert!(matches!(wrong("outcrop://a/shop/products/1"), UrlError::Path(_)));
        for address in ["a:", "a:0", "a:65536", "a:b", ":1", "a b:1", "::1", "[::1", "[x]:1", "[::1]x", "a,", "u@a"] {
            assert!(matches!(wrong(&format!("outcrop://{address}")), UrlError::Address(_)), "{address}");
        }
        assert_eq!(wrong("outcrop://a?conections=2"), UrlError::UnknownParameter("conections".into()));
        for pair in ["connections=0", "lanes=17", "lanes=x", "deadline_ms=0", "ca=", "ca=%f", "ca=%ff", "retries=101"] {
            assert!(matches!(wrong(&format!("outcrop://a?{pair}")), UrlError::Parameter { .. }), "{pair}");
        }
    }
}

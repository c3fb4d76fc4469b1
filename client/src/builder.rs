//! How to connect: the builder, and what the URL says where the builder doesn't.

use std::sync::Arc;
use std::time::Duration;

use outcrop_wire::limits::{DEADLINE_MS_MAX, LANES_MAX};

use crate::client::{Client, Shared};
use crate::error::ClientError;
use crate::transport::pool::{Pool, PoolSettings};
use crate::transport::{ConnectFailure, config};
use crate::trust::Trust;
use crate::url::NodeUrl;

/// How long a request may take unless told otherwise.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(1);
/// How long an attempt to connect may take unless told otherwise.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// Attempts after the first, unless told otherwise.
const RETRIES_DEFAULT: u32 = 8;
/// Measured: few connections with many requests in flight are the fastest.
const CONNECTIONS_DEFAULT: usize = 2;
const LANES_DEFAULT: usize = 2;

/// How to connect; what it says wins over the URL's parameters.
///
/// ```no_run
/// use std::time::Duration;
/// use outcrop_client::{Client, Trust};
///
/// # async fn example() -> Result<(), outcrop_client::ClientError> {
/// let client = Client::builder("outcrop://db1.example.org:7420,db2.example.org:7420")
///     .trust(Trust::PemFile("/etc/outcrop/ca.pem".into()))
///     .deadline(Duration::from_millis(50))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    url: String,
    connections: Option<usize>,
    lanes: Option<usize>,
    trust: Option<Trust>,
    deadline: Option<Duration>,
    connect_timeout: Duration,
    retries: Option<u32>,
    agent: String,
}

impl ClientBuilder {
    pub(crate) fn new(url: &str) -> Self {
        ClientBuilder {
            url: url.to_owned(),
            connections: None,
            lanes: None,
            trust: None,
            deadline: None,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            retries: None,
            agent: concat!("outcrop-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Connections to the node, 1 to 64; 2 by default. More spread a client over more of the node's cores.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").connections(4);
    /// ```
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections.clamp(1, 64));
        self
    }

    /// Lanes of each connection, 1 to 16; 2 by default. Fewer gather more requests into one packet.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").lanes(1);
    /// ```
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = Some(lanes.clamp(1, LANES_MAX));
        self
    }

    /// Whom to trust; [`Trust::Automatic`] by default.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").trust(outcrop_client::Trust::System);
    /// ```
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// How long a request may take, all attempts together, 1 ms to 10 minutes; 1 s by default.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").deadline(std::time::Duration::from_millis(50));
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How long one attempt to connect to one address may take, 1 ms to 10 minutes; 3 s by default. It is no part of a
    /// request's deadline: a client that gives requests a few milliseconds still gets its connections.
    ///
    /// ```
    /// let builder =
    ///     outcrop_client::Client::builder("outcrop://127.0.0.1").connect_timeout(std::time::Duration::from_millis(500));
    /// ```
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = bounded(timeout);
        self
    }

    /// Attempts after the first, at most; 8 by default. A node whose device is full (`stop_writes`) is asked three times at
    /// most, within a quarter of a second, whatever is said here.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").retries(0);
    /// ```
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// The program's name and version, for the node's logs; at most 60 characters are kept.
    ///
    /// ```
    /// let builder = outcrop_client::Client::builder("outcrop://127.0.0.1").agent("my-service/1.0");
    /// ```
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// Connects. An error if no address answers, or none with a certificate that is trusted.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outcrop_client::ClientError> {
    /// let client = outcrop_client::Client::builder("outcrop://127.0.0.1").connections(4).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self) -> Result<Client, ClientError> {
        let url = NodeUrl::parse(&self.url)?;
        let trust = self.trust.or(url.ca.map(Trust::PemFile)).unwrap_or_default();
        let tls = config::client_config(trust.roots(&url.addresses)?).map_err(connect_error)?;
        let from_url = url.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let deadline = self.deadline.or(from_url).unwrap_or(DEADLINE_DEFAULT);
        let settings = PoolSettings {
            addresses: url.addresses,
            tls,
            connections: self.connections.or(url.connections).unwrap_or(CONNECTIONS_DEFAULT),
            lanes: self.lanes.or(url.lanes).unwrap_or(LANES_DEFAULT),
            agent: self.agent,
            connect_timeout: self.connect_timeout,
        };
        let pool = Pool::start(settings).await.map_err(connect_error)?;
        let retries = self.retries.or(url.retries).unwrap_or(RETRIES_DEFAULT);
        Ok(Client { shared: Arc::new(Shared { pool, deadline: bounded(deadline), retries, url: self.url }) })
    }
}

/// A deadline that the protocol can carry.
pub(crate) fn bounded(deadline: Duration) -> Duration {
    deadline.clamp(Duration::from_millis(1), Duration::from_millis(DEADLINE_MS_MAX.into()))
}

pub(crate) fn connect_error(failure: ConnectFailure) -> ClientError {
    match failure.code {
        Some(code) => ClientError::Refused { code, message: failure.message },
        None => ClientError::Connect { address: failure.address, message: failure.message },
    }
}

//! The client's connections: kept up by a task each, and picked so that requests gather on few lanes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outcrop_wire::NamespaceInfo;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::ConnectFailure;
use super::backoff::{Backoff, random_start};
use super::link::{Link, Phase, Session, open_session};
use super::spread::{Spread, TRIES_MAX};
use crate::url::Address;

/// Requests in a row that take the same lane: they go out in one write and their replies come back in one.
const STICKY: usize = 32;
/// Pauses between attempts to connect.
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_MOST: Duration = Duration::from_secs(1);
/// A connection that lived this long was a good one: the next attempt comes at once.
const GOOD_LIFE: Duration = Duration::from_secs(2);
/// How long what is under way may take on a connection that the node retires, or at `close`.
pub(crate) const FINISH_MAX: Duration = Duration::from_secs(10);

/// What the connections are made with.
#[derive(Debug)]
pub(crate) struct PoolSettings {
    pub(crate) addresses: Vec<Address>,
    pub(crate) tls: quinn::ClientConfig,
    pub(crate) connections: usize,
    pub(crate) lanes: usize,
    pub(crate) agent: String,
    /// Of one attempt at one address: handshake and hello together.
    pub(crate) connect_timeout: Duration,
}

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: PoolSettings,
    links: Vec<RwLock<Option<Arc<Link>>>>,
    ticket: AtomicUsize,
    /// Which address is in use; all connections go to the same one.
    address: AtomicUsize,
    /// A connection came up, or an attempt failed.
    changed: Notify,
    last_failure: Mutex<Option<ConnectFailure>>,
    closing: watch::Sender<bool>,
    /// The links, by the worker that serves them.
    spread: Arc<Spread>,
    /// The same of connections that aren't the pool's own.
    sessions: Arc<Spread>,
}

impl Pool {
    /// Opens the connections; an error if not one of them comes up.
    pub(crate) async fn start(settings: PoolSettings) -> Result<Arc<Pool>, ConnectFailure> {
        let count = settings.connections.max(1);
        let pool = Arc::new(Pool {
            address: AtomicUsize::new(random_start() % settings.addresses.len().max(1)),
            links: (0..count).map(|_| RwLock::new(None)).collect(),
            settings,
            ticket: AtomicUsize::new(0),
            changed: Notify::new(),
            last_failure: Mutex::new(None),
            closing: watch::Sender::new(false),
            spread: Arc::default(),
            sessions: Arc::default(),
        });
        // The first finds an address that answers; the others then go to the same one.
        let mut first = vec![Some(pool.connect().await?)];
        let others = futures_util::future::join_all((1..count).map(|_| pool.connect())).await;
        first.extend(others.into_iter().map(Result::ok));
        for (place, link) in first.into_iter().enumerate() {
            *pool.links[place].write() = link.clone();
            tokio::spawn(supervise(pool.clone(), place, link));
        }
        Ok(pool)
    }

    /// A live connection and the number of a lane on it; waits for one until `deadline`.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<(Arc<Link>, usize), Unavailable> {
        if let Some(picked) = self.pick() {
            return Ok(picked);
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if *self.closing.borrow() {
                return Err(Unavailable::Closed);
            }
            if let Some(picked) = self.pick() {
                return Ok(picked);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let failure = self.last_failure.lock().clone();
                return Err(failure.map_or(Unavailable::Deadline, Unavailable::Connect));
            }
        }
    }

    /// A live connection and lane, if there is one.
    pub(crate) fn pick(&self) -> Option<(Arc<Link>, usize)> {
        let count = self.links.len();
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed) / STICKY;
        (0..count).find_map(|step| {
            let link = self.links[(ticket + step) % count].read().clone().filter(|link| link.is_live())?;
            let lane = ticket / count % link.lanes.len();
            Some((link, lane))
        })
    }

    /// The node's namespaces, as a live connection was told them.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceInfo> {
        let mut links = self.links.iter().filter_map(|link| link.read().clone());
        links.next().map(|link| link.welcome.namespaces.clone()).unwrap_or_default()
    }

    async fn connect(&self) -> Result<Arc<Link>, ConnectFailure> {
        Link::open(self.open_spread(&self.spread).await?, self.settings.lanes).await
    }

    /// A new connection for a caller who drives it.
    pub(crate) async fn open_session(&self) -> Result<Session, ConnectFailure> {
        self.open_spread(&self.sessions).await
    }

    /// A new connection, to a worker that has none of `spread` while there is one; see [`super::spread`].
    async fn open_spread(&self, spread: &Arc<Spread>) -> Result<Session, ConnectFailure> {
        let mut opened = self.open().await?;
        for _ in 1..TRIES_MAX {
            opened.seat = spread.take(&opened.welcome);
            if opened.seat.is_some() {
                return Ok(opened);
            }
            // Kept until there is another: a node that takes no more connections still serves this one.
            let Ok(other) = self.open().await else { break };
            opened.connection.close(0_u32.into(), b"connected to another worker");
            opened = other;
        }
        opened.seat = Some(spread.take_anyway(&opened.welcome));
        Ok(opened)
    }

    /// A new connection: tries every address, the one in use first, each with everything that its name resolves to.
    async fn open(&self) -> Result<Session, ConnectFailure> {
        let PoolSettings { addresses, tls, agent, connect_timeout, .. } = &self.settings;
        let begin = self.address.load(Ordering::Relaxed);
        let mut last = ConnectFailure { address: String::new(), message: "no address".to_owned(), code: None };
        for place in (0..addresses.len()).map(|step| (begin + step) % addresses.len()) {
            let address = &addresses[place];
            let resolved: Vec<SocketAddr> = match tokio::net::lookup_host((address.host.as_str(), address.port)).await {
                Ok(resolved) => resolved.collect(),
                Err(error) => {
                    last = ConnectFailure { address: address.to_string(), message: error.to_string(), code: None };
                    continue;
                }
            };
            for remote in resolved {
                match open_session(remote, &address.host, tls, agent, *connect_timeout).await {
                    Ok(opened) => {
                        self.address.store(place, Ordering::Relaxed);
                        return Ok(opened);
                    }
                    Err(failed) => last = ConnectFailure { address: address.to_string(), ..failed },
                }
            }
        }
        Err(last)
    }

    /// Stops the tasks; what is under way is told that the client is closed.
    pub(crate) fn close_now(&self) {
        self.closing.send_replace(true);
        self.changed.notify_waiters();
        for link in self.take_links() {
            link.close("the client was dropped");
        }
    }

    /// Lets what is under way finish, then closes.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.changed.notify_waiters();
        let links = self.take_links();
        futures_util::future::join_all(links.iter().map(|link| link.finish(FINISH_MAX))).await;
    }

    fn take_links(&self) -> Vec<Arc<Link>> {
        self.links.iter().filter_map(|link| link.write().take()).collect()
    }
}

/// Why there is no connection to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// The client was closed.
    Closed,
    /// None came up by the deadline, and none has failed either.
    Deadline,
    /// The last attempt failed.
    Connect(ConnectFailure),
}

/// Keeps one connection up until the client closes.
async fn supervise(pool: Arc<Pool>, place: usize, mut link: Option<Arc<Link>>) {
    let mut closing = pool.closing.subscribe();
    let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MOST);
    loop {
        let born = Instant::now();
        if let Some(current) = link.take() {
            tokio::select! {
                phase = current.over() => {
                    pool.links[place].write().take_if(|held| Arc::ptr_eq(held, &current));
                    if phase == Phase::Retiring {
                        tokio::spawn(async move { current.finish(FINISH_MAX).await });
                    }
                }
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
        if born.elapsed() > GOOD_LIFE {
            backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MOST);
        }
        let reconnected = async {
            tokio::time::sleep(backoff.pause()).await;
            pool.connect().await
        };
        let opened = tokio::select! {
            opened = reconnected => opened,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        match opened {
            Ok(opened) => {
                *pool.links[place].write() = Some(opened.clone());
                *pool.last_failure.lock() = None;
                if *closing.borrow() {
                    // `close` may have looked at the links just before this one was put there.
                    opened.close("the client was closed");
                    return;
                }
                link = Some(opened);
            }
            Err(failure) => *pool.last_failure.lock() = Some(failure),
        }
        pool.changed.notify_waiters();
    }
}

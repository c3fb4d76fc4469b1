//! A UDP relay between a client and a node: the network, with a switch.
//!
//! Faults that it can inject: all packets are lost, both ways, from now until they aren't.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The relay; it ends when dropped.
pub struct Relay {
    pub addr: SocketAddr,
    cut: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// In front of a node.
    pub async fn to(node: SocketAddr) -> Relay {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let cut = Arc::new(AtomicBool::new(false));
        let addr = front.local_addr().expect("bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(front, node, cut.clone()));
        Relay { addr, cut, _tasks: tasks }
    }

    /// Loses every packet from now on.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Carries packets again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

async fn forward(front: Arc<UdpSocket>, node: SocketAddr, cut: Arc<AtomicBool>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut returning = JoinSet::new();
    let mut packet = vec![0; 65_536];
    while let Ok((len, client)) = front.recv_from(&mut packet).await {
        if let Entry::Vacant(vacant) = backs.entry(client) {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
            back.connect(node).await.expect("loopback");
            vacant.insert(back.clone());
            returning.spawn(give_back(back, front.clone(), client, cut.clone()));
        }
        if !cut.load(Ordering::SeqCst) {
            let _ = backs[&client].send(&packet[..len]).await;
        }
    }
}

async fn give_back(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, cut: Arc<AtomicBool>) {
    let mut packet = vec![0; 65_536];
    loop {
        // An error is the node's port being closed for the moment.
        let Ok(len) = back.recv(&mut packet).await else { continue };
        if !cut.load(Ordering::SeqCst) {
            let _ = front.send_to(&packet[..len], client).await;
        }
    }
}

//! A real node in this process, and a client of it.

use std::path::Path;
use std::time::Duration;

use outcrop_client::{Client, Trust};
use outcrop_node::Node;
use outcrop_node::config::Config;

/// A node of two workers; without a directory its records are in memory.
pub async fn start(data: Option<&Path>, port: u16) -> Node {
    let mut config = Config::dev(data, "test");
    config.listen.data.set_port(port);
    config.listen.admin = None;
    config.node.workers = 2;
    for namespace in &mut config.namespaces {
        namespace.size_bytes = 256 << 20;
        namespace.cache_bytes = 16 << 20;
    }
    Node::start(config).await.expect("a node")
}

/// A patient client.
pub async fn connect(node: &Node) -> Client {
    let url = format!("outcrop://{}", node.data_addr());
    let trust = Trust::Pem(node.certificate_pem().to_owned());
    Client::builder(&url).trust(trust).deadline(Duration::from_secs(20)).connect().await.expect("connects")
}

//! A node of the command's own, in this process and in memory: what `outcrop udf test` runs modules in.

use outcrop_client::{Client, Trust};
use outcrop_node::Node;
use outcrop_node::config::Config;

use crate::failure::Failure;

/// Name of its namespace.
pub const NAMESPACE: &str = "test";

/// A node that nobody else knows of.
pub struct Embedded {
    node: Node,
    /// A connection to it.
    pub client: Client,
}

impl Embedded {
    /// Starts it on a free port, in memory, without metrics.
    pub async fn start() -> Result<Embedded, Failure> {
        let mut config = Config::dev(None, NAMESPACE);
        config.listen.data = ([127, 0, 0, 1], 0).into();
        config.listen.admin = None;
        config.node.workers = 1;
        let node = Node::start(config).await.map_err(|error| {
            Failure::local(format!("the node for the tests can't start: {error}"), "Check the limits of this machine.")
        })?;
        let url = format!("outcrop://{}", node.data_addr());
        let trust = Trust::Pem(node.certificate_pem().to_owned());
        let client = Client::builder(&url).trust(trust).connections(1).connect().await?;
        Ok(Embedded { node, client })
    }

    /// Ends it.
    pub async fn stop(self) -> Result<(), Failure> {
        self.client.close().await;
        let closed = self.node.shutdown().await;
        closed.map_err(|error| Failure::local(format!("the node for the tests did not close: {error}"), ""))
    }
}

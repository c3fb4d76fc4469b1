//! A real node in this process, in memory, with the modules that come along.
#![allow(dead_code, missing_docs, reason = "each test binary uses some of it")]

use std::time::Duration;

use outcrop_client::{Client, Trust};
use outcrop_node::Node;
use outcrop_node::config::Config;
use outcrop_node::node::World;
use outcrop_node::platform::Equipment;
use outcrop_node::udf::Compiler;
use outcrop_node::udf::registry::BuiltIn;

/// A node with its client; its namespace is `test`.
pub struct Models {
    pub client: Client,
    node: Node,
}

impl Models {
    pub async fn start(workers: usize) -> Models {
        Models::start_with(workers, Compiler::InProcess).await
    }

    pub async fn start_with(workers: usize, compiler: Compiler) -> Models {
        let mut config = Config::dev(None, "test");
        config.listen.data = ([127, 0, 0, 1], 0).into();
        config.listen.admin = None;
        config.node.workers = workers;
        let built_in = outcrop_builtin::MODULES.iter().map(|module| BuiltIn {
            name: module.name,
            version: module.version,
            component: bytes::Bytes::from_static(module.component),
        });
        let equipment = Equipment { compiler, built_in: built_in.collect() };
        let node = Node::start_in(config, World { equipment, ..World::default() }).await.expect("a node");
        let trust = Trust::Pem(node.certificate_pem().to_owned());
        // Patient: the modules are compiled when they are called first, and the machine may be busy.
        let builder = Client::builder(&format!("outcrop://{}", node.data_addr())).trust(trust);
        let client = builder.connections(1).deadline(Duration::from_secs(120)).connect().await.expect("it connects");
        Models { client, node }
    }

    pub async fn stop(self) {
        self.client.close().await;
        self.node.shutdown().await.expect("it closes in order");
    }
}

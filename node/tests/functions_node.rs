//! Functions in a whole node, as its configuration has them and as a caller over the network sees them.

use std::time::Duration;

use outcrop_client::{Client, ClientError, Code, Key, ModuleLimits, Signature, Target, Trust, Ttl};
use outcrop_node::Node;
use outcrop_node::config::Config;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::guest::{AGGREGATE, Guest, ROW};

mod guest;

/// A configuration in memory: a namespace without rules, and what `more` adds.
fn config(more: &str) -> Config {
    let text = format!(
        "[node]\ndata_dir = \"\"\nworkers = 1\n[listen]\ndata = \"127.0.0.1:0\"\nadmin = \"\"\n[tls]\nself_signed = true\n\
         [functions]\nthreads = 1\ninstances_max = 16\nmemory_bytes_ceiling = \"64MiB\"\n{}{more}",
        namespace("open")
    );
    Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn namespace(name: &str) -> String {
    format!("[[namespace]]\nname = \"{name}\"\nvalues = \"ram\"\nsize = \"64MiB\"\n")
}

async fn connect(node: &Node) -> Client {
    let url = format!("outcrop://{}", node.data_addr());
    let trust = Trust::Pem(node.certificate_pem().to_owned());
    Client::builder(&url).trust(trust).deadline(Duration::from_secs(60)).connect().await.expect("connects")
}

fn key(namespace: &str) -> Key {
    Key::new(namespace, "set", "a")
}

async fn call(client: &Client, namespace: &str, function: &str) -> Result<(), ClientError> {
    client.call::<()>(&key(namespace), function, &()).await
}

async fn code(client: &Client, namespace: &str, function: &str) -> Option<Code> {
    let error = call(client, namespace, function).await.err()?;
    Some(error.code().unwrap_or_else(|| panic!("{error}")))
}

/// A key pair, and its signature of a component.
fn signed(seed: u8, component: &[u8]) -> (String, Signature) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes are a seed");
    let public_key: [u8; 32] = pair.public_key().as_ref().try_into().expect("32 bytes");
    let signature = pair.sign(blake3::hash(component).as_bytes()).as_ref().try_into().expect("64 bytes");
    (public_key.iter().map(|byte| format!("{byte:02x}")).collect(), Signature { signature, public_key })
}

#[tokio::test]
async fn a_namespace_runs_what_its_keys_signed_and_its_list_names() {
    let component = Guest::record("(call $ok)").component();
    let (ours, by_us) = signed(1, &component);
    let (_, by_others) = signed(2, &component);
    let more = format!(
        "{}[namespace.functions]\ntrusted_keys = [\"{ours}\"]\n{}[namespace.functions]\nmodules = [\"elsewhere\"]\n\
         {}[namespace.functions]\nmodule_bytes_max = \"1KiB\"\n",
        namespace("signed"),
        namespace("listed"),
        namespace("small")
    );
    let node = Node::start(config(&more)).await.expect("a node");
    let client = connect(&node).await;
    let modules = client.modules();
    modules.upload("plain", "1", &component, None).await.expect("uploads are the node's");
    modules.activate("plain", "1").await.expect("active");
    assert_eq!(code(&client, "open", "plain.run").await, None);
    let refused = call(&client, "signed", "plain.run").await.expect_err("nobody signed it");
    assert_eq!(refused.code(), Some(Code::ModuleSignature));
    assert!(refused.to_string().contains("1 trusted keys"), "{refused}");
    modules.sign("plain", "1", &by_others).await.expect("anybody may sign");
    assert_eq!(code(&client, "signed", "plain.run").await, Some(Code::ModuleSignature));
    let forged = Signature { public_key: by_us.public_key, signature: by_others.signature };
    let error = modules.sign("plain", "1", &forged).await.expect_err("it isn't by that key");
    assert_eq!(error.code(), Some(Code::ModuleSignature));
    modules.upload("ours", "1", &component, Some(&by_us)).await.expect("signed as it is uploaded");
    modules.activate("ours", "1").await.expect("active");
    assert_eq!(code(&client, "signed", "ours.run").await, None);
    modules.sign("plain", "1", &by_us).await.expect("signed afterwards");
    assert_eq!(code(&client, "signed", "plain.run").await, None);

    assert_eq!(code(&client, "listed", "plain.run").await, Some(Code::ModuleUnknown));
    modules.upload("elsewhere", "1", &component, None).await.expect("the same content under another name");
    modules.activate("elsewhere", "1").await.expect("active");
    assert_eq!(code(&client, "listed", "elsewhere.run").await, None);
    assert_eq!(code(&client, "small", "plain.run").await, Some(Code::ModuleTooLarge));
    node.shutdown().await.expect("it ends in order");
}

/// Catches: a limit of one level that another level lifts.
#[tokio::test]
async fn of_the_limits_of_node_namespace_and_module_the_least_holds() {
    let more = format!(
        "{}[namespace.functions.call]\nfuel = 1000000\nmemory_bytes = \"1MiB\"\n\
         [namespace.functions.query]\nfuel = 2000000\n",
        namespace("tight")
    );
    let node = Node::start(config(&more)).await.expect("a node");
    let client = connect(&node).await;
    let spin = "(loop $l (br $l)) unreachable";
    let guest = Guest::record(spin).function("sum", AGGREGATE, false, false).function("rows", ROW, false, false);
    let guest = guest.export("aggregate-init", spin).export("row-init", spin).function("big", 0, false, false);
    let big = format!(
        "(if (i32.eq (local.get $function) (i32.const 3))
           (then (return (call $ok_bytes (call $alloc (i32.const 100000000)) (i32.const 0))))) {spin}"
    );
    let modules = client.modules();
    modules.upload("greedy", "1", &guest.export("call-record", &big).component(), None).await.expect("uploaded");
    modules.activate("greedy", "1").await.expect("active");
    let fuel = async |error: ClientError| {
        let limit = error.function().and_then(|failed| failed.limit.clone()).expect("a limit");
        (limit.name, limit.allowed)
    };
    let called = async |namespace: &str, function: &str| {
        fuel(call(&client, namespace, function).await.expect_err("too much")).await
    };
    let limit = |name: &str, allowed: u64| (name.to_owned(), allowed);
    assert_eq!(called("open", "greedy.run").await, limit("fuel", 200_000_000));
    assert_eq!(called("tight", "greedy.run").await, limit("fuel", 1_000_000));
    let query = client.aggregate::<()>(&Target::set("tight", "set"), "greedy.sum", &()).await;
    assert_eq!(fuel(query.expect_err("too much")).await, limit("fuel", 2_000_000));
    // The pools give 64 MiB at most, so the default of a query, 256 MiB, was lowered; a call's 64 MiB are as they were.
    assert_eq!(called("open", "greedy.big").await, limit("memory_bytes", 64 << 20));
    assert_eq!(called("tight", "greedy.big").await, limit("memory_bytes", 1 << 20));

    let module = ModuleLimits { fuel: Some(5_000_000), memory_bytes: Some(512 << 20), ..ModuleLimits::default() };
    modules.set_limits("greedy", &module).await.expect("set");
    assert_eq!(called("open", "greedy.run").await, limit("fuel", 5_000_000), "the module's is less");
    assert_eq!(called("tight", "greedy.run").await, limit("fuel", 1_000_000), "the namespace's is less");
    assert_eq!(called("open", "greedy.big").await, limit("memory_bytes", 64 << 20), "a module lifts nothing");
    node.shutdown().await.expect("it ends in order");
}

/// Catches: a failure of the function's own that doesn't say which version failed.
#[tokio::test]
async fn every_failure_says_which_module_and_version() {
    let node = Node::start(config("")).await.expect("a node");
    let client = connect(&node).await;
    let modules = client.modules();
    let fails =
        Guest::record("(call $unknown)").function("rows", ROW, false, false).function("sum", AGGREGATE, false, false);
    let fails = fails.export("row-init", "(call $unknown)").export("aggregate-init", "(call $unknown)");
    modules.upload("shop", "1.2", &fails.component(), None).await.expect("uploaded");
    modules.activate("shop", "1.2").await.expect("active");
    let target = Target::set("open", "set");
    let errors = [
        call(&client, "open", "shop.run").await.expect_err("it refuses"),
        client.aggregate::<()>(&target, "shop.sum", &()).await.expect_err("it refuses"),
    ];
    for error in errors {
        let failed = error.function().expect("a function's failure");
        assert_eq!(failed.failure_code.as_deref(), Some("unknown"));
        assert_eq!((failed.module.as_deref(), failed.version.as_deref()), (Some("shop"), Some("1.2")));
    }
    let unknown = call(&client, "open", "shop.nothing").await.expect_err("there is none");
    assert_eq!(unknown.function().and_then(|failed| failed.version.clone()), None);
    node.shutdown().await.expect("it ends in order");
}

/// Catches: a function that gives no bytes, which is null, being an answer that the client can't read.
#[tokio::test]
async fn a_function_without_a_result_gives_null() {
    let node = Node::start(config("")).await.expect("a node");
    let client = connect(&node).await;
    client.modules().upload("shop", "1", &Guest::record("(call $ok)").component(), None).await.expect("uploaded");
    client.modules().activate("shop", "1").await.expect("active");
    let called = client.function("shop.run").call(&key("open")).await.expect("it runs");
    assert_eq!(called.value().expect("null"), outcrop_client::Value::Null);
    assert_eq!(called.to::<Option<u8>>().expect("null"), None);
    node.shutdown().await.expect("it ends in order");
}

#[tokio::test]
async fn a_node_without_functions_says_so() {
    let mut config = config("");
    config.functions.enabled = false;
    let node = Node::start(config).await.expect("a node");
    let client = connect(&node).await;
    let error = call(&client, "open", "shop.run").await.expect_err("there are none");
    assert!(error.code().is_some() && error.to_string().contains("functions"), "{error}");
    node.shutdown().await.expect("it ends in order");
}

/// Catches: keys of large records that were read 32 at a time, whatever they came to together.
#[tokio::test]
async fn a_batch_of_keys_is_bounded_by_the_bytes_of_its_records() {
    const RECORDS: i64 = 64;
    const RECORD_BYTES: usize = 60_000;
    let node = Node::start(config("")).await.expect("a node");
    let client = connect(&node).await;
    let accept = "(call $context.count (i32.const 600) (i32.const 7) (i64.const 1))
        (call $context.count (i32.const 607) (i32.const 5) (i64.extend_i32_u (local.get $len)))
        (if (i32.gt_u (local.get $len) (i32.const 140000)) (then
          (call $context.count (i32.const 612) (i32.const 4) (i64.const 1))))
        (call $ok)";
    let guest = Guest::new("sum", AGGREGATE)
        .import(&["context.count"])
        .item(r#"(data (i32.const 600) "batchesbytesover")"#)
        .export("aggregate-accept", accept)
        .export("aggregate-state", "(call $ok_bytes (i32.const 0) (i32.const 0))")
        .export("aggregate-merge", "(call $ok)")
        .export("aggregate-finish", "(call $ok_bytes (i32.const 0) (i32.const 0))");
    let modules = client.modules();
    modules.upload("large", "1", &guest.component(), None).await.expect("a module");
    modules.activate("large", "1").await.expect("active");
    let keys: Vec<Key> = (0..RECORDS).map(|number| Key::new("open", "set", number)).collect();
    for key in &keys {
        client.set_bytes(key, &vec![7; RECORD_BYTES], Ttl::Never).await.expect("written");
    }
    client.aggregate::<()>(&Target::keys("open", keys), "large.sum", &()).await.expect("it runs");
    let counters = modules.stats("large").await.expect("served").counters;
    assert!(counters["bytes"] >= RECORDS as u64 * RECORD_BYTES as u64, "{counters:?}");
    assert_eq!(counters["batches"], RECORDS as u64 / 2, "two of them fit a batch of 128 KiB: {counters:?}");
    assert!(!counters.contains_key("over"), "{counters:?}");
}

/// Catches: an instance that failed gave up its share of the scan, and the caller was told of that (`overloaded`, which the
/// client retries) in place of the failure, whichever came first.
#[tokio::test]
async fn an_aggregate_tells_the_failure_that_ended_it() {
    let two_threads = config("").to_toml().replace("threads = 1", "threads = 2");
    let node = Node::start(Config::parse(&two_threads).expect("a configuration")).await.expect("a node");
    let client = connect(&node).await;
    // Fails at the batch with the mark, and takes its time with all others.
    let accept = "(local $at i32)
        (loop $more
          (if (i32.eq (i32.load (i32.add (local.get $ptr) (local.get $at))) (i32.const 0x5eed5eed)) (then
            (return (call $failure (i32.const 600) (i32.const 4) (i32.const 604) (i32.const 4)))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $more (i32.lt_u (i32.add (local.get $at) (i32.const 4)) (local.get $len))))
        (call $ok)";
    let guest = Guest::new("sum", AGGREGATE)
        .item(r#"(data (i32.const 600) "markcode")"#)
        .export("aggregate-accept", accept)
        .export("aggregate-state", "(call $ok_bytes (i32.const 0) (i32.const 0))");
    let modules = client.modules();
    modules.upload("fails", "1", &guest.component(), None).await.expect("a module");
    modules.activate("fails", "1").await.expect("active");
    for number in 0..200_i64 {
        let bytes = if number == 100 { 0x5eed_5eed_u32.to_le_bytes().repeat(100) } else { vec![7; 60_000] };
        client.set_bytes(&Key::new("open", "set", number), &bytes, Ttl::Never).await.expect("written");
    }
    for round in 0..40 {
        let ended = client.aggregate::<()>(&Target::set("open", "set"), "fails.sum", &()).await;
        let error = ended.expect_err("it fails");
        assert_eq!(error.code(), Some(Code::FunctionFailed), "round {round}: {error}");
    }
    let stats = modules.stats("fails").await.expect("served");
    assert_eq!((stats.functions[0].calls, stats.functions[0].failures.len()), (40, 1), "{stats:?}");
}

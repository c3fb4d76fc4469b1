//! The registry with a real engine: what is refused when modules are called and changed, and what compilers may use.

use std::path::PathBuf;
use std::time::Duration;

use outcrop_node::udf::registry::{LimitOverrides, NamespaceRules, Part, Received, Registry};
use outcrop_node::udf::{CompileOptions, Compiler, FunctionOptions, Host, Limits};
use outcrop_node::world::SeededEntropy;
use outcrop_wire::{Code, FunctionPath, Value};

use crate::guest::host::{Bench, key, options};
use crate::guest::{Guest, RECORD};

mod guest;

fn path(text: &str) -> FunctionPath<'_> {
    FunctionPath::parse(text).expect("a path")
}

#[tokio::test]
async fn a_module_is_uploaded_activated_paused_rolled_back_and_removed() {
    let bench = Bench::new().await;
    let rules = vec![NamespaceRules::default(), NamespaceRules { trusted_keys: vec![[7; 32]], ..Default::default() }];
    let registry = Registry::open(bench.host.clone(), None, bench.clock.clone(), rules, &[]).await.expect("it opens");
    let refused = |path: &'static str, namespace| {
        let registry = registry.clone();
        async move {
            let path = FunctionPath::parse(path).expect("a path");
            registry.load(&path, namespace).await.map(|_| ()).expect_err("it is refused").code
        }
    };
    assert_eq!(refused("shop.a", 0).await, Code::ModuleUnknown);
    let one = Guest::new("a", RECORD).component();
    let two = Guest::new("b", RECORD).component();
    registry.add("shop", "1", one.clone().into(), Vec::new()).await.expect("added");
    let other = registry.add("shop", "1", two.clone().into(), Vec::new()).await.map(|_| ()).expect_err("other content");
    assert_eq!(other.code, Code::ModuleExists);
    assert_eq!(refused("shop.a", 0).await, Code::ModuleUnknown, "nothing is active yet");
    assert!(registry.load(&path("shop@1.a"), 0).await.is_ok(), "a version can be called by its name");
    registry.activate("shop", "1").await.expect("active");
    assert_eq!(refused("shop.b", 0).await, Code::FunctionUnknown);
    assert_eq!(refused("shop.a", 1).await, Code::ModuleSignature, "that namespace asks for a signature");
    let in_flight = registry.load(&path("shop.a"), 0).await.expect("it is there");
    registry.add("shop", "2", two.into(), Vec::new()).await.expect("added");
    registry.activate("shop", "2").await.expect("active");
    assert_eq!(&*in_flight.loaded.version, "1", "a call keeps its version");
    assert!(registry.load(&path("shop.b"), 0).await.is_ok());
    assert_eq!(registry.remove("shop", Some("2")).await.expect_err("it is active").code, Code::ModuleActive);
    registry.pause("shop", true).await.expect("paused");
    assert_eq!(refused("shop.b", 0).await, Code::FunctionPaused);
    registry.pause("shop", false).await.expect("resumed");
    assert_eq!(registry.roll_back("shop").await.as_deref(), Ok("1"));
    assert!(registry.load(&path("shop.a"), 0).await.is_ok());
    registry.remove("shop", Some("2")).await.expect("it isn't active any more");
    registry.deactivate("shop").await.expect("off");
    registry.remove("shop", None).await.expect("gone");
    assert_eq!(refused("shop.a", 0).await, Code::ModuleUnknown);
}

/// Catches: a compilation that ends with the call that began it, so that a module which takes longer than any call waits
/// for is compiled again and again, and never there.
#[tokio::test]
async fn a_load_goes_on_when_its_caller_gives_up() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let open = async || {
        let rules = vec![NamespaceRules::default()];
        let registry = Registry::open(bench.host.clone(), Some(folder.path()), bench.clock.clone(), rules, &[]).await;
        registry.expect("it opens")
    };
    let before = open().await;
    before.add("shop", "1", Guest::new("a", RECORD).component().into(), Vec::new()).await.expect("added");
    before.activate("shop", "1").await.expect("active");
    drop(before);
    let registry = open().await;
    assert!(matches!(registry.resolve(&path("shop.a"), 0), Ok(None)), "nothing is in memory after a start");
    let gave_up = futures_util::FutureExt::now_or_never(registry.load(&path("shop.a"), 0));
    assert!(gave_up.is_none(), "it takes longer than one look");
    let there = async {
        while matches!(registry.resolve(&path("shop.a"), 0), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), there)
        .await
        .expect("nobody waits for it, and it is there all the same");
}

#[tokio::test]
async fn a_module_takes_so_many_versions() {
    let bench = Bench::new().await;
    let rules = vec![NamespaceRules::default()];
    let registry = Registry::open(bench.host.clone(), None, bench.clock.clone(), rules, &[]).await.expect("it opens");
    let component: bytes::Bytes = Guest::new("a", RECORD).component().into();
    for version in 0..64 {
        registry.add("shop", &version.to_string(), component.clone(), Vec::new()).await.expect("there is room");
    }
    let full = registry.add("shop", "more", component, Vec::new()).await.map(|_| ()).expect_err("64 are the most");
    assert_eq!(full.code, Code::ModulesFull);
}

#[tokio::test]
async fn arguments_that_a_function_refuses_have_a_code_of_their_own() {
    let bench = Bench::new().await;
    let body = "(call $failure (i32.const 600) (i32.const 3) (i32.const 610) (i32.const 17))";
    let guest = Guest::record(body).item(r#"(data (i32.const 600) "why")"#);
    let guest = guest.item(r#"(data (i32.const 610) "invalid-arguments")"#);
    let module = bench.prepare(&guest).await;
    let failed = bench.run(&module, &key("a"), &Value::Null).await.expect_err("it refuses");
    assert_eq!((failed.code, failed.message.as_str()), (Code::FunctionArgumentsInvalid, "why"));
}

#[tokio::test]
async fn a_compiler_that_dies_or_takes_too_long_is_told_apart() {
    let compiler = |program: &str, args: &[&str]| Compiler::Child {
        program: PathBuf::from(program),
        args: args.iter().map(Into::into).collect(),
    };
    let hasty = CompileOptions { wall: Duration::from_millis(300), ..CompileOptions::default() };
    let component = Guest::record("(call $ok)").component();
    for (compiler, compile, code) in [
        (compiler("/bin/false", &[]), CompileOptions::default(), Code::ModuleCompileFailed),
        (compiler("/bin/sleep", &["600"]), hasty, Code::ModuleCompileLimit),
    ] {
        let bench = Bench::with(FunctionOptions { compile, ..options() }, None, compiler).await;
        let refusal = bench.try_prepare(component.clone()).await.map(|_| ()).expect_err("it compiles nothing");
        assert_eq!(refusal.code, code, "{refusal}");
    }
}

#[tokio::test]
async fn a_call_whose_node_shuts_down_is_told_so() {
    let bench = Bench::new().await;
    let pool = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let host = Host::start(options(), None, Compiler::InProcess, &SeededEntropy::new(7), vec![pool.handle().clone()]);
    let host = host.expect("the host starts");
    let guest = Guest::record("(loop $forever (br $forever)) unreachable");
    let module = host.prepare(guest.component().into()).await.expect("it compiles").named("test", "1");
    let limits = Limits { wall: Duration::from_secs(600), fuel: u64::MAX, ..Limits::RECORD };
    let call = tokio::spawn(async move { bench.run_within(&module, limits).await });
    // By then the call has long left the thread that it began on.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pool.shutdown_background();
    let ended = tokio::time::timeout(Duration::from_secs(60), call).await.expect("it ends").expect("no panic");
    assert_eq!(ended.expect_err("it is cancelled").code, Code::FunctionCancelled);
}

/// Catches: a version whose file was damaged or lost, and which "is there already" when it is uploaded again.
#[tokio::test]
async fn a_damaged_or_lost_component_is_healed_by_uploading_it_again() {
    let bench = Bench::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let open = async || {
        let rules = vec![NamespaceRules::default()];
        let (host, clock) = (bench.host.clone(), bench.clock.clone());
        Registry::open(host, Some(dir.path()), clock, rules, &[]).await.expect("it opens")
    };
    let component = Guest::record("(call $ok)").component();
    let hash = *blake3::hash(&component).as_bytes();
    let upload = async |registry: &Registry| {
        let half = component.len() / 2;
        for (offset, bytes) in [(0, &component[..half]), (half, &component[half..])] {
            let (total, offset) = (component.len() as u64, offset as u64);
            let part = Part { module: "shop", version: "1", hash, total, offset, bytes };
            if let Received::Whole { .. } = registry.upload(&part).await.expect("taken") {
                return offset;
            }
        }
        panic!("the whole is there");
    };
    let registry = open().await;
    assert_ne!(upload(&registry).await, 0);
    registry.activate("shop", "1").await.expect("active");
    assert_eq!(upload(&registry).await, 0, "it is there, so nothing more needs to be sent");
    let files = std::fs::read_dir(dir.path().join("modules/components")).expect("there");
    let file = files.map(|entry| entry.expect("readable").path()).next().expect("one file");
    for damage in [&b"something else"[..], b""] {
        match damage {
            b"" => std::fs::remove_file(&file).expect("removed"),
            damage => std::fs::write(&file, damage).expect("written"),
        }
        let registry = open().await;
        let failed = registry.load(&path("shop.run"), 0).await.map(drop).expect_err("it can't be read");
        assert!(failed.code == Code::ModuleInvalid && failed.message.contains("upload it again"), "{failed:?}");
        assert_ne!(upload(&registry).await, 0, "all of it is taken");
        assert!(registry.load(&path("shop.run"), 0).await.is_ok());
    }
}

#[tokio::test]
async fn limits_under_which_nothing_could_run_are_refused() {
    let bench = Bench::new().await;
    let rules = vec![NamespaceRules::default()];
    let registry = Registry::open(bench.host.clone(), None, bench.clock.clone(), rules, &[]).await.expect("it opens");
    registry.add("shop", "1", Guest::new("a", RECORD).component().into(), Vec::new()).await.expect("added");
    for (limits, named) in [
        (LimitOverrides { wall_ms: Some(0), ..Default::default() }, "wall_ms is at least 1, not 0"),
        (LimitOverrides { memory_bytes: Some(65_535), ..Default::default() }, "memory_bytes is at least 65536"),
        (LimitOverrides { concurrent_calls: Some(0), ..Default::default() }, "concurrent_calls"),
    ] {
        let refused = registry.set_limits("shop", limits).await.expect_err("refused");
        assert!(refused.code == Code::InvalidRequest && refused.message.contains(named), "{refused:?}");
    }
    let least = LimitOverrides { wall_ms: Some(1), memory_bytes: Some(65_536), ..Default::default() };
    registry.set_limits("shop", least).await.expect("set");
}

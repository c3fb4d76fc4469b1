//! Modules on their way in: what is refused and why, what is kept on disk, and that nobody else's bytes are loaded.

use std::path::{Path, PathBuf};

use outcrop_node::udf::{CompileOptions, Compiler, FunctionOptions, Limits};
use outcrop_wire::{Code, Value};

use crate::guest::host::{Bench, key, options};
use crate::guest::{Guest, RECORD, component_of};

mod guest;

#[tokio::test]
async fn a_module_that_describes_itself_wrongly_is_refused() {
    let bench = Bench::new().await;
    for (guest, says) in [
        (Guest::default(), "1 to 256 functions"),
        (Guest::new("a", RECORD).function("a", RECORD, false, false), "two functions of the name `a`"),
        (Guest::new("9lives", RECORD), "no name of a function"),
        (Guest::new("a", RECORD).describe("unreachable"), "unreachable"),
        (Guest::new("a", RECORD).describe("(loop $l (br $l)) unreachable"), "fuel"),
        (Guest::new("a", RECORD).describe("(i32.const 131000)"), "this one has 0"),
    ] {
        let refusal = bench.try_prepare(guest.component()).await.map(|_| ()).expect_err(says);
        assert_eq!(refusal.code, Code::ModuleDescribeFailed, "{refusal}");
        assert!(refusal.message.contains(says), "{refusal}");
    }
    let trap = Guest::new("a", RECORD).describe("(call $deep)").item("(func $deep (result i32) unreachable)");
    let refusal = bench.try_prepare(trap.component()).await.map(|_| ()).expect_err("it traps");
    assert!(refusal.backtrace[0].starts_with("deep at"), "{refusal:?}");
}

#[tokio::test]
async fn what_doesnt_fit_the_world_is_refused_with_its_reason() {
    let bench = Bench::new().await;
    let wat = |text: &str| wat::parse_str(text).expect("the text is well formed");
    for (bytes, code, says) in [
        (b"not wasm".to_vec(), Code::ModuleInvalid, "aren't a WebAssembly component"),
        (wat("(module)"), Code::ModuleInvalid, "core module"),
        (wat("(component)"), Code::ModuleInvalid, "doesn't export outcrop:udf/functions@1.0.0"),
        (
            wat(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#),
            Code::ModuleImportRefused,
            "`wasi:clocks/wall-clock@0.2.0`",
        ),
        (
            wat(r#"(component (import "outcrop:udf/context@1.0.0" (instance (export "now-ms" (func (result u32))))))"#),
            Code::ModuleInvalid,
            "doesn't export",
        ),
    ] {
        let refusal = bench.try_prepare(bytes).await.map(|_| ()).expect_err(says);
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(says), "{refusal}");
    }
    let small = CompileOptions { module_bytes_max: 1_000, ..CompileOptions::default() };
    let bench = Bench::with(FunctionOptions { compile: small, ..options() }, None, Compiler::InProcess).await;
    let refusal = bench.try_prepare(Guest::record("(call $ok)").component()).await.map(|_| ()).expect_err("too large");
    assert_eq!(refusal.code, Code::ModuleTooLarge);
}

#[tokio::test]
async fn a_start_function_is_bounded_like_any_other() {
    let bench = Bench::new().await;
    let guest = Guest::record("(call $ok)").item("(global $n (mut i32) (i32.const 0)) (start $begin)");
    let begin = "(func $begin (loop $more (br_if $more (i32.ne (i32.const 0) (i32.const 1)))))";
    let refusal = bench.try_prepare(guest.item(begin).component()).await.map(|_| ()).expect_err("it never begins");
    assert_eq!(refusal.code, Code::ModuleDescribeFailed);
    assert!(refusal.message.contains("fuel"), "{refusal}");
    let core = wat::parse_str(Guest::record("(call $ok)").item("(func $b) (start $b)").text()).expect("well formed");
    assert!(bench.try_prepare(component_of(core)).await.is_ok());
}

/// Files of compiled modules.
fn artifacts(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("modules/cache")).expect("the cache is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

/// A compiler that can't: whoever gets a module all the same has it from the cache.
fn nobody() -> Compiler {
    Compiler::Child { program: "/nonexistent/compiler".into(), args: Vec::new() }
}

#[tokio::test]
async fn compiled_modules_survive_a_restart_and_damage_is_compiled_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let component = Guest::record("(call $ok)").component();
    let bench = Bench::with(options(), Some(dir.path()), Compiler::InProcess).await;
    let hash = bench.try_prepare(component.clone()).await.expect("it is compiled").hash();
    assert_eq!(hash, *blake3::hash(&component).as_bytes());
    let [file] = &artifacts(dir.path())[..] else { panic!("one file") };
    let good = std::fs::read(file).expect("it can be read");
    drop(bench);

    let bench = Bench::with(options(), Some(dir.path()), nobody()).await;
    let module = bench.try_prepare(component.clone()).await.expect("it is in the cache");
    bench.run(&module, &key("a"), &Value::Null).await.expect("and runs");

    // Whatever is wrong with the file: it is never loaded, and the next compilation mends it.
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for damaged in [flip(0), flip(8), flip(40), flip(good.len() - 1), good[..good.len() - 9].to_vec(), Vec::new()] {
        std::fs::write(file, &damaged).expect("it can be written");
        let refusal = bench.try_prepare(component.clone()).await.map(|_| ()).expect_err("it isn't what was written");
        assert_eq!(refusal.code, Code::Internal, "{refusal}");
        assert!(!file.exists(), "what is damaged goes");
    }
    drop(bench);
    let bench = Bench::with(options(), Some(dir.path()), Compiler::InProcess).await;
    bench.try_prepare(component.clone()).await.expect("it is compiled anew");
    assert_eq!(std::fs::read(file).expect("it is there again").len(), good.len());

    // Another node's file, of the same component and engine, is foreign: its secret is another.
    let mut secret = std::fs::read(dir.path().join("modules/cache/secret")).expect("it is there");
    assert_eq!(secret.len(), 32);
    secret[0] ^= 1;
    drop(bench);
    std::fs::write(dir.path().join("modules/cache/secret"), &secret).expect("it can be written");
    let bench = Bench::with(options(), Some(dir.path()), nobody()).await;
    assert!(bench.try_prepare(component).await.is_err());
}

#[test]
fn the_secret_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    runtime.block_on(async { drop(Bench::with(options(), Some(dir.path()), Compiler::InProcess).await) });
    let mode = std::fs::metadata(dir.path().join("modules/cache/secret")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_cache_keeps_within_its_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let guest = |number: usize| Guest::record(&format!("(drop (i32.const {number})) (call $ok)")).component();
    let bench = Bench::with(options(), Some(dir.path()), Compiler::InProcess).await;
    bench.try_prepare(guest(0)).await.expect("it is compiled");
    let bytes = std::fs::metadata(&artifacts(dir.path())[0]).expect("it is there").len();
    drop(bench);
    let options = FunctionOptions { cache_bytes_max: bytes * 5 / 2, ..options() };
    let bench = Bench::with(options, Some(dir.path()), Compiler::InProcess).await;
    for number in 1..5 {
        bench.try_prepare(guest(number)).await.expect("it is compiled");
    }
    assert_eq!(artifacts(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_module_runs_on_while_its_successor_is_prepared() {
    let bench = Bench::new().await;
    let old = bench.prepare(&Guest::record("(call $ok_bytes (i32.const 0) (i32.const 0))")).await;
    let new = bench.prepare(&Guest::record("unreachable")).await;
    assert_ne!(old.hash(), new.hash());
    assert!(bench.run_within(&old, Limits::RECORD).await.is_ok());
    assert!(bench.run_within(&new, Limits::RECORD).await.is_err());
    assert!(bench.run_within(&old, Limits::RECORD).await.is_ok());
}

//! A module in C, the whole way: compiled, made a component, tested, deployed to a node, called; and the cases of the
//! examples. Skipped, loudly, where there is no clang that builds for WebAssembly.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Dev, outcrop};

/// Where Debian's `wasi-libc` lies.
const LIBRARY: &str = "/usr/lib/wasm32-wasi/libc.a";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../udfs/examples").join(name)
}

/// Compiles the example; none where the compiler isn't there.
fn compile(directory: &Path) -> Option<PathBuf> {
    let version = Command::new("clang").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) || !Path::new(LIBRARY).is_file() {
        eprintln!("SKIPPED: no clang with wasi-libc: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32");
        return None;
    }
    let core = directory.join("visits.wasm");
    let built = Command::new(example("visits-c").join("build.sh")).arg(&core).output().expect("sh runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(core)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_module_in_c_works_end_to_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let Some(core) = compile(directory.path()) else { return };
    let (project, core) = (example("visits-c"), text(&core));
    let built = outcrop(&["udf", "build", "--core", core]);
    assert!(built.status.success(), "{built:?}");
    let component = directory.path().join("visits.component.wasm");
    assert!(component.is_file());
    let tested = outcrop(&["udf", "test", text(&project), "--core", core]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));

    let dev = Dev::start();
    let no_version = dev.fails(2, &["udf", "deploy", "--core", core]);
    assert!(no_version.contains("--version"), "{no_version}");
    dev.ok(&["udf", "deploy", "--component", text(&component), "--name", "visits", "--version", "0.1.0"]);
    dev.ok(&["udf", "deploy", "--core", core, "--name", "visits", "--version", "0.1.0"]);

    dev.ok(&["put", "test/pages/home", "--json", r#"{"page": "home", "visits": 40}"#]);
    let first = dev.json(&["call", "test/pages/home", "visits.visit"]);
    assert_eq!(first["visits"], json!(41));
    let second = dev.ok(&["call", "test/pages/home", "visits.visit", "2", "--logs"]);
    assert!(second.contains("visit number 43"), "{second}");
    let home = dev.json(&["get", "test/pages/home"]);
    assert_eq!((&home["visits"], &home["page"]), (&json!(43), &json!("home")), "{home}");
    let latest = home["latest"].as_array().expect("a list");
    assert_eq!((latest.len(), &latest[1]), (2, &first["latest"][0]), "the times of both calls, the later first");

    let refused = dev.fails(7, &["call", "test/pages/home", "visits.visit", "1001"]);
    assert!(refused.contains("an integer from 1 to 1000"), "{refused}");
    assert_eq!(dev.json(&["get", "test/pages/home"]), home, "a failure changes nothing");
    dev.ok(&["call", "test/pages/about", "visits.visit", "7"]);
    let total = dev.json(&["aggregate", "test/pages", "visits.total"]);
    assert_eq!(total, json!({"records": 2, "visits": 50, "most": 43}));
    let rows = dev.json(&["rows", "test/pages", "visits.frequent", "8"]);
    assert_eq!(rows, json!({"key": "home", "visits": 43}));
}

#[test]
fn the_cases_of_the_example_for_ads_are_right() {
    let tested = outcrop(&["udf", "test", text(&example("ads"))]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
}

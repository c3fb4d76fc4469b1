//! The author's way, as docs/functions.md tells it: a project is made, tested, deployed, called, broken, read, rolled back.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Dev, OUTCROP};

/// How long a build may take on a slow machine.
const BUILD_MAX: Duration = Duration::from_secs(900);
const NAME: &str = "corner-shop";

/// A project of the test's own, whose dependencies are built once for all tests.
struct Project {
    directory: PathBuf,
    _home: tempfile::TempDir,
}

impl Project {
    fn make() -> Project {
        let home = tempfile::tempdir().expect("temporary directory");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let sdk = root.join("udf-sdk").to_str().expect("text").to_owned();
        let parent = home.path().to_str().expect("text").to_owned();
        let made = support::outcrop(&["udf", "new", NAME, "--in", &parent, "--sdk", &sdk]);
        assert!(made.status.success(), "{made:?}");
        let directory = home.path().join(NAME);
        // The versions of the workspace: what it has built already isn't built again, and no network is needed.
        std::fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock")).expect("the lock file");
        Project { directory, _home: home }
    }

    fn path(&self) -> &str {
        self.directory.to_str().expect("text")
    }

    /// Changes a file, which has to have `old` in it.
    fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.directory.join(file);
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(text.contains(old), "{file} has no {old:?}:\n{text}");
        std::fs::write(&path, text.replace(old, new)).expect("written");
    }
}

fn prepare(command: &mut Command) -> &mut Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    command.env("CARGO_TARGET_DIR", target).stdin(Stdio::null())
}

fn run(dev: &Dev, arguments: &[&str]) -> Output {
    prepare(&mut dev.command(arguments)).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn json_lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn deploy(dev: &Dev, project: &Project, options: &[&str]) {
    let deployed = run(dev, &[&["udf", "deploy", project.path()], options].concat());
    assert!(deployed.status.success(), "{deployed:?}");
}

#[test]
fn a_function_goes_from_a_new_project_to_a_rollback() {
    let project = Project::make();
    let dev = Dev::start();
    test_in_a_node_of_its_own(&dev, &project);
    deploy_and_call(&dev, &project);
    break_and_roll_back(&dev, &project);
    dev_goes_round(&dev, &project);
}

fn test_in_a_node_of_its_own(dev: &Dev, project: &Project) {
    let tested = run(dev, &["udf", "test", project.path(), "-o", "json"]);
    let cases = json_lines(&tested);
    assert_eq!(cases.len(), 3, "{cases:?}");
    assert!(cases.iter().all(|case| case["right"] == true), "{cases:?}");
    assert!(cases[0]["logs"][0].as_str().expect("text").contains("25% off: 80 is now 60"), "{cases:?}");
    project.edit("tests/cases.json", "\"result\": 60.0", "\"result\": 61.0");
    let wrong = run(dev, &["udf", "test", project.path()]);
    assert_eq!(wrong.status.code(), Some(3), "{wrong:?}");
    let report = text(&wrong.stdout);
    assert!(report.contains("it gave 60.0, not 61.0") && report.contains("WRONG"), "{report}");
    project.edit("tests/cases.json", "\"result\": 61.0", "\"result\": 60.0");
}

fn deploy_and_call(dev: &Dev, project: &Project) {
    deploy(dev, project, &["--test"]);
    dev.ok(&["put", "test/products/lamp", "--json", r#"{"name": "lamp", "price": 80.0}"#]);
    let shown = dev.ok(&["call", "test/products/lamp", "corner-shop.discount", r#"{"percent": 25}"#, "--logs"]);
    assert!(shown.starts_with("60.0\n"), "{shown}");
    assert!(shown.contains("log  info: 25% off: 80 is now 60") && shown.contains("corner-shop@0.1.0"), "{shown}");
    let called = dev.json(&["call", "test/products/lamp", "corner-shop.discount", "10", "--logs"]);
    assert_eq!((&called["result"], &called["version"]), (&Value::from(54.0), &Value::from("0.1.0")));
    assert!(called["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{called}");
    assert_eq!(dev.json(&["get", "test/products/lamp"])["price"], 54.0);
    let refused = dev.fails(7, &["call", "test/products/lamp", "corner-shop.discount", "125"]);
    assert!(refused.contains("a discount is 0 to 100 percent, not 125"), "{refused}");
    let misspelt = dev.fails(7, &["call", "test/products/lamp", "corner-shop.discount", r#"{"prcent": 1}"#]);
    assert!(misspelt.contains("there is no argument `prcent`; there are: percent"), "{misspelt}");
    dev.fails(4, &["call", "test/products/lamp", "corner-shop.discount", "1", "--if-generation", "77"]);
    assert_eq!(dev.json(&["get", "test/products/lamp"])["price"], 54.0, "what was refused changed nothing");

    // What the builder makes of the SDK can be wiped: the calls above were served by one instance, one after the other.
    let metrics = dev.admin("/metrics");
    let reused = metrics.lines().find_map(|line| line.strip_prefix("outcrop_function_instances_reused_total "));
    assert!(reused.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count >= 2), "{reused:?}");

    let described = dev.ok(&["udf", "describe", NAME]);
    assert!(
        described.contains("Takes `percent` off the price") && described.contains("percent: number"),
        "{described}"
    );
    let logs = dev.ok(&["udf", "logs", NAME]);
    assert!(logs.contains("80 is now 60") && logs.contains("60 is now 54"), "{logs}");
    let stats = dev.json(&["udf", "stats", NAME]);
    let discount = &stats["functions"][0];
    assert_eq!(discount["function"], "discount", "{stats}");
    assert!(discount["calls"].as_u64().is_some_and(|calls| calls >= 4), "{stats}");
    assert_eq!(discount["failures"]["function_failed"], 1, "{stats}");
}

fn break_and_roll_back(dev: &Dev, project: &Project) {
    project.edit("src/lib.rs", "1.0 - percent / 100.0", "1.0 - percent / 10.0");
    let same = run(dev, &["udf", "deploy", project.path()]);
    let why = text(&same.stderr);
    assert!(why.contains("module_exists") && why.contains("Raise the version"), "a version is for good: {why}");
    project.edit("Cargo.toml", "version = \"0.1.0\"", "version = \"0.2.0\"");
    deploy(dev, project, &[]);
    dev.ok(&["put", "test/products/lamp", "--json", r#"{"price": 80.0}"#]);
    assert_eq!(dev.ok(&["call", "test/products/lamp", "corner-shop.discount", "5"]), "40.0\n", "broken");
    assert!(dev.ok(&["udf", "rollback", NAME]).contains("corner-shop@0.1.0: active again"));
    dev.ok(&["put", "test/products/lamp", "--json", r#"{"price": 80.0}"#]);
    assert_eq!(dev.ok(&["call", "test/products/lamp", "corner-shop.discount", "5"]), "76.0\n", "mended");
    assert_eq!(dev.ok(&["call", "test/products/lamp", "corner-shop@0.2.0.discount", "0"]), "76.0\n", "by version");

    project.edit(
        "src/lib.rs",
        "let price: f64 = record.get(\"price\")?.ok_or(\"the product has no price\")?;",
        "let price: f64 = record.get(\"price\")?.expect(\"a price, always\");",
    );
    deploy(dev, project, &["--version", "0.3.0"]);
    let trapped = dev.fails(7, &["call", "test/products/sofa", "corner-shop.discount", "5"]);
    assert!(trapped.contains("function_trapped") && trapped.contains("a price, always"), "{trapped}");
    assert!(trapped.contains("src/lib.rs:9:") && trapped.contains("backtrace:"), "{trapped}");
    assert!(trapped.contains("corner_shop::discount"), "the author's own frame: {trapped}");

    dev.ok(&["udf", "pause", NAME]);
    assert!(dev.fails(7, &["call", "test/products/lamp", "corner-shop.discount", "5"]).contains("paused"));
    dev.ok(&["udf", "resume", NAME]);
    dev.fails(7, &["udf", "remove", NAME, "0.3.0"]);
    dev.ok(&["udf", "deactivate", NAME]);
    dev.ok(&["udf", "remove", NAME, "0.3.0"]);
    dev.ok(&["udf", "activate", NAME, "0.1.0"]);
    let listed = dev.ok(&["udf", "list"]);
    assert!(listed.contains("0.1.0     active") && !listed.contains("0.3.0"), "{listed}");
}

/// The active version, once it is another than `before`.
fn next_version(dev: &Dev, before: &str) -> String {
    let waits = BUILD_MAX.as_millis() / 200;
    for _ in 0..waits {
        let listed = run(dev, &["udf", "list", "--output", "json"]);
        let modules = json_lines(&listed);
        let ours = modules.iter().find(|module| module["name"] == NAME).expect("the module");
        match ours["active"].as_str() {
            Some(active) if active != before => return active.to_owned(),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    panic!("still {before}")
}

fn dev_goes_round(dev: &Dev, project: &Project) {
    // A round that fails its cases isn't deployed: first the mended function is saved, then it goes round again.
    project.edit("src/lib.rs", ".expect(\"a price, always\")", ".ok_or(\"it has no price\")?");
    project.edit("src/lib.rs", "percent / 10.0", "percent / 100.0");
    let mut child = prepare(&mut dev.command(&["udf", "dev", project.path()])).spawn().expect("it runs");
    let first = next_version(dev, "0.1.0");
    assert!(first.starts_with("0.2.0+"), "{first}");
    project.edit("src/lib.rs", "{percent}% off", "{percent} percent off");
    project.edit("tests/cases.json", "25% off", "25 percent off");
    let second = next_version(dev, &first);
    assert!(second.starts_with("0.2.0+"), "{second}");
    support::signal_to(child.id(), "TERM");
    assert!(child.wait().expect("it ends").success());
    let shown = dev.ok(&["call", "test/products/lamp", "corner-shop.discount", "0", "--logs"]);
    assert!(shown.contains("0 percent off"), "{shown}");
    assert!(dev.ok(&["udf", "rollback", NAME]).contains(&first), "back by one round");
}

#[test]
fn what_is_no_module_is_refused_before_it_is_uploaded() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let core = support::file(directory.path(), "core.wasm", b"\0asm\x01\0\0\0");
    let arguments = ["udf", "deploy", "--component", &core, "--name", "x", "--version", "1"];
    let refused = Command::new(OUTCROP).args(arguments).output().expect("runs");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("a core module"), "{refused:?}");
    let nowhere = support::outcrop(&["udf", "build", directory.path().to_str().expect("text")]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    let name = support::outcrop(&["udf", "new", "Not A Name"]);
    assert_eq!(name.status.code(), Some(2), "{name:?}");
}

//! Bad folders, devices and configurations: each is refused with a text that names the place, and nothing is lost.

use std::process::Command;
use std::time::Duration;

use outcrop_client::{Client, Code, Key, Ttl};
use outcrop_cluster_tests::binary::outcrop;
use outcrop_cluster_tests::mount::Mounted;
use outcrop_cluster_tests::process::Refusal;
use outcrop_cluster_tests::{NodeProcess, Settings, size};

/// It ended with an error of its own, not by a crash, and says one of these words.
fn assert_clear(refusal: &Refusal, words: &[&str]) {
    let said = refusal.said.to_lowercase();
    let code = refusal.status.code();
    assert!(code.is_some_and(|code| code != 0 && code != 101), "{}: {said}", refusal.status);
    assert!(!said.contains("panicked"), "{said}");
    assert!(words.iter().any(|word| said.contains(&word.to_lowercase())), "none of {words:?} in: {said}");
}

async fn write_some(client: &Client, count: i64) {
    for number in 0..count {
        let key = Key::new("test", "kept", number);
        client.set_bytes(&key, format!("value {number}").as_bytes(), Ttl::Never).await.expect("written");
    }
}

async fn assert_some(client: &Client, count: i64) {
    for number in 0..count {
        let read = client.get_bytes(&Key::new("test", "kept", number)).await.expect("read");
        assert_eq!(read.as_deref(), Some(format!("value {number}").as_bytes()), "record {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_another_node_holds_is_refused_and_the_other_is_not_disturbed() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    write_some(&client, 20).await;
    let mut second = Settings::flash("64MiB");
    second.data_dir = node.settings().data_dir.clone();
    let (mut second, refusal) = NodeProcess::refused(second);
    assert_clear(&refusal, &["another", "held", "lock", "in use"]);
    assert!(refusal.said.contains(&*node.settings().data_dir.to_string_lossy()), "{}", refusal.said);

    second.data_dir = second.folder().join("data");
    second.device = node.settings().device.clone();
    let (_, refusal) = NodeProcess::refused(second);
    assert_clear(&refusal, &["another", "held", "lock", "in use"]);
    assert!(refusal.said.contains(&*node.settings().device.to_string_lossy()), "{}", refusal.said);

    assert_some(&client, 20).await;
    let node = NodeProcess::start(node.kill());
    assert_some(&node.client().await.expect("served"), 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_cut_by_half_is_told_and_not_overwritten() {
    let node = NodeProcess::start(Settings::flash("64MiB"));
    let client = node.client().await.expect("served");
    write_some(&client, 100).await;
    let settings = node.kill();
    let whole = std::fs::read(&settings.device).expect("the device's file");
    let file = std::fs::File::options().write(true).open(&settings.device).expect("the device's file");
    file.set_len(whole.len() as u64 / 2).expect("cut");
    let (settings, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &["shorter", "missing at its end"]);
    assert!(refusal.said.contains(&*settings.device.to_string_lossy()), "{}", refusal.said);
    // Nothing was lost by the refusal: with the rest back in its place, everything is there.
    std::fs::write(&settings.device, &whole).expect("restored");
    let node = NodeProcess::start(settings);
    assert_some(&node.client().await.expect("served"), 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_something_else_is_not_taken_for_a_log() {
    let settings = Settings::flash("64MiB");
    let text = b"these are the household accounts of 1987\n".repeat(2_000_000);
    std::fs::write(&settings.device, &text).expect("written");
    let (settings, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &["not a", "no log", "isn't", "superblock", "foreign", "unknown"]);
    let after = std::fs::read(&settings.device).expect("read");
    assert!(after.starts_with(&text), "a stranger's file was written to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_namespace_stops_writes_with_its_own_code_and_goes_on_reading_and_deleting() {
    let mut settings = Settings::flash("64MiB");
    // No eviction: it has to say no.
    settings.namespace.push_str("\nhigh_water_percent = 0");
    let node = NodeProcess::start(settings);
    let client = node.client().await.expect("served");
    write_some(&client, 20).await;
    let (mut written, mut refused) = (0_i64, None);
    while written < 2_000 {
        let key = Key::new("test", "filler", written);
        match client.set_bytes(&key, &[3; 200_000], Ttl::Never).await {
            Ok(_) => written += 1,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("400 MB don't fit into 64 MiB");
    assert_eq!(refused.code(), Some(Code::StopWrites), "{refused}");
    assert_some(&client, 20).await;
    assert!(client.delete(&Key::new("test", "filler", 0), Default::default()).await.expect("deletes go on"));
    let node = NodeProcess::start(node.kill());
    let client = node.client().await.expect("a full node opens");
    assert_some(&client, 20).await;
    assert_eq!(client.get_bytes(&Key::new("test", "filler", 0)).await.expect("read"), None, "deleted");
    for number in 1..written {
        let read = client.get_bytes(&Key::new("test", "filler", number)).await.expect("read");
        assert_eq!(read.map(|bytes| bytes.len()), Some(200_000), "filler {number} was acknowledged");
    }
    // Room comes back by deleting.
    for number in 1..written {
        client.delete(&Key::new("test", "filler", number), Default::default()).await.expect("deletes go on");
    }
    let room =
        async { while client.set_bytes(&Key::new("test", "after", 1), &[4; 200_000], Ttl::Never).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(120), room).await.expect("room comes back");
}

#[test]
fn a_device_that_can_never_hold_anything_is_refused() {
    let (_, refusal) = NodeProcess::refused(Settings::flash("1MiB"));
    assert_clear(&refusal, &["size"]);
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let mut settings = Settings::flash("64MiB");
    // Nobody, not even root, makes files here.
    settings.device = "/proc/outcrop-test.log".into();
    let (mut settings, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &["/proc/outcrop-test.log"]);
    settings.device = settings.folder().join("test.log");
    settings.data_dir = "/proc/outcrop-test".into();
    let (mut settings, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &["/proc/outcrop-test"]);
    // A file stands where the folder should be.
    settings.data_dir = settings.folder().join("cert.pem");
    let (mut settings, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &["cert.pem"]);
    // A folder stands where the device should be.
    settings.data_dir = settings.folder().join("data");
    settings.device = settings.folder().to_path_buf();
    let name = settings.device.to_string_lossy().into_owned();
    let (_, refusal) = NodeProcess::refused(settings);
    assert_clear(&refusal, &[&name]);
}

#[test]
fn a_read_only_or_full_file_system_is_told() {
    for options in ["ro,size=8m", "size=8m"] {
        let mut settings = Settings::flash("64MiB");
        let Some(mounted) = Mounted::tmpfs(options) else {
            size::skipped(&format!("this user can't mount a file system ({options})"));
            continue;
        };
        settings.device = mounted.path().join("test.log");
        let (settings, refusal) = NodeProcess::refused(settings);
        drop(mounted);
        assert_clear(&refusal, &["test.log", "read-only", "no space"]);
        drop(settings);
    }
}

#[test]
fn configurations_that_cannot_be_used_are_named_with_their_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let write = |name: &str, text: &[u8]| std::fs::write(path.join(name), text).expect("written");
    write("typo.toml", b"[node]\nworkrs = 2\n");
    write("type.toml", b"[node]\nworkers = \"many\"\n");
    write("broken.toml", b"[node\n");
    write("bytes.toml", &[0xFF, 0xFE, 0, 1]);
    write("empty.toml", b"");
    for (name, words) in [
        ("", &["directory", "folder"][..]),
        ("nowhere.toml", &["nowhere.toml"]),
        ("typo.toml", &["workers"]),
        ("type.toml", &["line 2"]),
        ("broken.toml", &["broken.toml", "line 1"]),
        ("bytes.toml", &["utf-8", "bytes.toml"]),
    ] {
        let mut command = Command::new(outcrop());
        let output = command.arg("node").arg("--config").arg(path.join(name)).arg("--check").output().expect("runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_clear(&Refusal { status: output.status, said }, words);
    }
}

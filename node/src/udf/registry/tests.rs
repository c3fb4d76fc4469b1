//! The catalogue without an engine: versions, activation and rollback, damage, uploads, limits, signatures.

use bytes::Bytes;

use super::catalogue::VersionRow;
use super::sign::hex;
use super::store::Store;
use super::upload::Uploads;
use super::*;
use crate::udf::limits::Limits;

fn row(version: &str, content: &[u8]) -> VersionRow {
    VersionRow {
        version: version.to_owned(),
        hash: hex(blake3::hash(content).as_bytes()),
        bytes: content.len() as u64,
        uploaded_ms: 1,
        built_in: false,
        signatures: Vec::new(),
    }
}

#[test]
fn a_version_never_changes() {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.add("shop", row("1", b"a")), Ok(true));
    assert_eq!(catalogue.add("shop", row("1", b"a")), Ok(false), "the same once more");
    assert_eq!(catalogue.add("shop", row("1", b"b")).expect_err("other content").code, Code::ModuleExists);
    assert_eq!(catalogue.find_mut("shopp").expect_err("no such module").code, Code::ModuleUnknown);
}

#[test]
fn a_rollback_goes_back_through_what_was_active() {
    let mut catalogue = Catalogue::default();
    for version in ["1", "2", "3"] {
        catalogue.add("shop", row(version, version.as_bytes())).expect("added");
        catalogue.find_mut("shop").expect("there").activate(version);
    }
    let shop = catalogue.find_mut("shop").expect("there");
    assert_eq!(shop.roll_back().as_deref(), Ok("2"));
    assert_eq!(shop.roll_back().as_deref(), Ok("1"));
    assert_eq!(shop.roll_back().expect_err("nothing before").code, Code::ModuleUnknown);
    assert_eq!(shop.active.as_deref(), Some("1"));
    shop.deactivate();
    assert_eq!(shop.roll_back().as_deref(), Ok("1"), "what was switched off comes back");
}

#[test]
fn what_comes_with_the_node_gives_way_to_what_the_user_runs() {
    let built_in = |version, component: &'static [u8]| BuiltIn {
        name: "document",
        version,
        component: Bytes::from_static(component),
    };
    let mut catalogue = Catalogue::default();
    assert!(catalogue.install(&built_in("1", b"one"), 1));
    assert_eq!(catalogue.find("document").and_then(|row| row.active.as_deref()), Some("1"));
    assert!(catalogue.install(&built_in("2", b"two"), 2), "a newer node brings a newer one");
    assert_eq!(catalogue.find("document").and_then(|row| row.active.as_deref()), Some("2"));
    catalogue.add("document", row("mine", b"mine")).expect("added");
    catalogue.find_mut("document").expect("there").activate("mine");
    assert!(catalogue.install(&built_in("3", b"three"), 3));
    assert_eq!(catalogue.find("document").and_then(|row| row.active.as_deref()), Some("mine"));
    catalogue.find_mut("document").expect("there").deactivate();
    assert!(catalogue.install(&built_in("4", b"four"), 4));
    assert_eq!(catalogue.find("document").and_then(|row| row.active.as_deref()), None, "off stays off");
}

#[tokio::test]
async fn a_damaged_catalogue_is_replaced_by_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Some(dir.path())).await.expect("it opens");
    assert_eq!(store.load().await.expect("empty"), Catalogue::default());
    let mut first = Catalogue::default();
    first.add("shop", row("1", b"a")).expect("added");
    store.save(&first).await.expect("written");
    let mut second = first.clone();
    second.add("shop", row("2", b"b")).expect("added");
    store.save(&second).await.expect("written");
    assert_eq!(store.load().await.expect("read"), second);
    let path = dir.path().join("modules/catalogue.json");
    let whole = std::fs::read(&path).expect("a file");
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).expect("written");
        assert_eq!(store.load().await.expect("the one before"), first, "cut at {cut}");
    }
    let mut flipped = whole.clone();
    let at = flipped.windows(4).position(|four| four == b"shop").expect("its name");
    flipped[at] = b'x';
    std::fs::write(&path, &flipped).expect("written");
    assert_eq!(store.load().await.expect("the one before"), first, "a flipped byte");
    store.save(&second).await.expect("written");
    assert_eq!(store.load().await.expect("read"), second, "a damaged copy doesn't take the good one's place");
    std::fs::write(dir.path().join("modules/catalogue.before.json"), b"{}").expect("written");
    std::fs::write(&path, b"{}").expect("written");
    assert!(matches!(store.load().await, Err(RegistryError::Damaged(_))));
}

#[tokio::test]
async fn a_damaged_component_is_refused_and_can_be_uploaded_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Some(dir.path())).await.expect("it opens");
    let (content, hash) = (Bytes::from_static(b"component"), *blake3::hash(b"component").as_bytes());
    store.keep(hash, content.clone()).await.expect("kept");
    assert_eq!(store.component(hash).await, Ok(content.clone()));
    let path = dir.path().join("modules/components").join(format!("{}.wasm", hex(&hash)));
    std::fs::write(&path, b"comqonent").expect("written");
    assert!(store.component(hash).await.expect_err("damaged").message.contains("upload it again"));
    store.keep(hash, content.clone()).await.expect("kept");
    assert_eq!(store.component(hash).await, Ok(content));
    store.forget(hash).await;
    assert!(store.component(hash).await.is_err());
}

#[test]
fn uploads_come_in_order_whole_and_unchanged() {
    let content = b"0123456789";
    let hash = *blake3::hash(content).as_bytes();
    let part = |offset: usize, end: usize| Part {
        module: "shop",
        version: "1",
        hash,
        total: 10,
        offset: offset as u64,
        bytes: &content[offset..end],
    };
    let mut uploads = Uploads::default();
    assert_eq!(uploads.take(&part(0, 4), 10, 1), Ok(Received::Part(4)));
    assert_eq!(uploads.take(&part(0, 4), 10, 1), Ok(Received::Part(4)), "sent once more");
    assert_eq!(uploads.take(&part(6, 8), 10, 1).expect_err("a hole").code, Code::InvalidRequest);
    assert_eq!(uploads.take(&part(4, 8), 10, 1), Ok(Received::Part(8)));
    assert_eq!(uploads.take(&part(4, 8), 10, 1), Ok(Received::Part(8)), "sent once more");
    let whole = Received::Whole { component: Bytes::from_static(content), signatures: Vec::new() };
    assert_eq!(uploads.take(&part(8, 10), 10, 1), Ok(whole));
    assert_eq!(uploads.take(&part(8, 10), 10, 1).expect_err("it is over").code, Code::InvalidRequest);
    assert_eq!(uploads.take(&part(0, 4), 9, 1).expect_err("too big").code, Code::ModuleTooLarge);
    let lying = Part { hash: [7; 32], bytes: content, ..part(0, 10) };
    assert_eq!(uploads.take(&lying, 10, 1).expect_err("another hash").code, Code::InvalidRequest);
    for version in ["2", "3", "4", "5"] {
        assert!(uploads.take(&Part { version, ..part(0, 4) }, 10, 1).is_ok());
    }
    let sixth = Part { version: "6", ..part(0, 4) };
    assert_eq!(uploads.take(&sixth, 10, 2).expect_err("all places are taken").code, Code::Overloaded);
    assert!(uploads.take(&sixth, 10, 60_000).is_ok(), "one that rested gives way");
}

#[test]
fn a_modules_limits_are_never_above_its_namespaces() {
    let own = LimitOverrides { fuel: Some(10), reads: Some(u32::MAX), ..LimitOverrides::default() };
    let limits = own.under(&Limits::RECORD);
    assert_eq!((limits.fuel, limits.reads, limits.wall), (10, Limits::RECORD.reads, Limits::RECORD.wall));
}

#[test]
fn only_signatures_that_hold_count() {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key of 32 bytes");
    let key: [u8; 32] = pair.public_key().as_ref().try_into().expect("32 bytes");
    let hash = *blake3::hash(b"component").as_bytes();
    let bytes: [u8; 64] = pair.sign(&hash).as_ref().try_into().expect("64 bytes");
    let signature = Signature::new(&hash, &key, &bytes).expect("it holds");
    assert_eq!(signature.signer(&hash), Some(key));
    assert_eq!(signature.signer(&[0; 32]), None, "of other content");
    assert_eq!(Signature::new(&[0; 32], &key, &bytes).expect_err("of other content").code, Code::ModuleSignature);
    let trusting = NamespaceRules { trusted_keys: vec![key], ..NamespaceRules::default() };
    assert!(trusting.allows(&[key]) && !trusting.allows(&[[1; 32]]) && !trusting.allows(&[]));
    assert!(NamespaceRules::default().allows(&[]));
}

//! Documents against a real node: what a type writes comes back as that type, changes hit what paths point at, mistakes have
//! variants of their own.

#[path = "support/models.rs"]
mod models;

use std::collections::BTreeMap;
use std::time::Duration;

use outcrop_client::documents::DocumentError;
use outcrop_client::low::Session;
use outcrop_client::{Batch, Bins, ClientError, Code, Key, PutOptions, ScanOptions, UserKey, Value};
use outcrop_node::udf::Compiler;
use outcrop_wire::request::CallRequest;
use outcrop_wire::{FunctionPath, RequestBody};
use serde::{Deserialize, Serialize};

use models::Models;

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Lamp {
    name: String,
    price: i64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    color: Option<String>,
}

fn lamp(name: &str, price: i64, tags: &[&str]) -> Lamp {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Lamp { name: name.to_owned(), price, tags, color: None }
}

#[tokio::test]
async fn a_document_is_written_read_and_changed_in_parts() {
    let models = Models::start(1).await;
    let document = models.client.documents("test", "shop").document("lamp");
    assert_eq!(document.get::<Lamp>().await.expect("served"), None);
    assert_eq!(document.set(&lamp("lamp", 80, &["new"])).await.expect("written"), 1);
    assert_eq!(document.get::<Lamp>().await.expect("served"), Some(lamp("lamp", 80, &["new"])));
    assert_eq!(document.increment::<i64>("$.price", &-5).await.expect("changed"), [75]);
    assert_eq!(document.append("$.tags", &["sale", "last one"]).await.expect("changed"), 1);
    assert_eq!(document.select::<String>("$.tags[*]").await.expect("read"), ["new", "sale", "last one"]);
    assert_eq!(document.locate("$.tags[-1]").await.expect("read"), ["$['tags'][2]"]);
    assert_eq!(document.delete("$.tags[?@ == 'new']").await.expect("changed"), 1);
    assert_eq!(document.update("$.tags[0]", "SALE").await.expect("changed"), 1);
    assert_eq!(document.update("$.nothing", &1).await.expect("served"), 0);
    assert_eq!(document.insert("$.rating", &4.5).await.expect("changed"), 1);
    assert_eq!(document.select::<f64>("$.rating").await.expect("read"), [4.5]);
    let patched: Lamp = document.merge(&BTreeMap::from([("color", Some("red")), ("rating", None)])).await.expect("it");
    let wanted = Lamp { color: Some("red".to_owned()), ..lamp("lamp", 75, &["SALE", "last one"]) };
    assert_eq!(patched, wanted);
    let replace = |price: i64| {
        [("test", 75), ("replace", price)].map(|(op, value)| {
            BTreeMap::from([("op", Value::from(op)), ("path", Value::from("/price")), ("value", Value::from(value))])
        })
    };
    let patched: Lamp = document.patch(&replace(70)).await.expect("changed");
    assert_eq!(patched.price, 70);
    let failed = document.patch::<Lamp>(&replace(60)).await.expect_err("the test doesn't hold");
    assert!(matches!(failed, DocumentError::TestFailed(_)), "{failed:?}");
    assert_eq!(document.get::<Lamp>().await.expect("served"), Some(Lamp { price: 70, ..wanted }));
    // The record is the document.
    let view = models.client.get(document.key()).await.expect("served").expect("it is there");
    assert_eq!(view.to_bins().expect("bins").get("price"), Some(&Value::from(70)));
    models.stop().await;
}

#[tokio::test]
async fn a_set_is_filtered_counted_and_told_apart() {
    let models = Models::start(2).await;
    let shop = models.client.documents("test", "shop");
    for number in 0..40_i64 {
        let tags: &[&str] = if number % 4 == 0 { &["sale", "new"] } else { &["old"] };
        shop.document(number).set(&lamp(&format!("lamp {number}"), number, tags)).await.expect("written");
    }
    let mut cheap = Vec::new();
    let mut query = shop.query::<Lamp>("@.price < 10 && @.tags[?@ == 'sale']");
    while let Some(found) = query.next().await {
        let found = found.expect("a lamp");
        assert_eq!(found.key, UserKey::Int(found.document.price));
        cheap.push(found.document.price);
    }
    cheap.sort_unstable();
    assert_eq!((cheap, query.rows().damaged()), (vec![0, 4, 8], 0));
    let mut names = shop.find::<Vec<String>>(Some("@.price == 7"), Some("$.name"), ScanOptions::default());
    assert_eq!(names.next().await.expect("one").expect("a name").document, ["lamp 7"]);
    assert!(names.next().await.is_none());
    let mut some = shop.find::<Lamp>(None, None, ScanOptions::default().limit(3));
    let mut count = 0;
    while some.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
    assert_eq!(shop.count(None).await.expect("counted"), 40);
    assert_eq!(shop.count(Some("@.price >= 30")).await.expect("counted"), 10);
    let tags = shop.distinct::<String>("$.tags[*]", None, None).await.expect("counted");
    let values: Vec<_> = tags.values.iter().map(|tag| (tag.value.as_str(), tag.count)).collect();
    assert_eq!((values, tags.complete), (vec![("old", 30), ("new", 10), ("sale", 10)], true));
    let few = shop.distinct::<String>("$.name", Some("@.price < 10"), Some(2)).await.expect("counted");
    assert!(!few.complete && few.values.len() <= 2, "{few:?}");
    // A document of another shape is an error of its own; the query goes on.
    shop.document("odd").set(&BTreeMap::from([("price", "cheap")])).await.expect("written");
    let (mut lamps, mut odd) = (0, 0);
    let mut all = shop.find::<Lamp>(None, None, ScanOptions::default());
    while let Some(found) = all.next().await {
        match found {
            Ok(_) => lamps += 1,
            Err(DocumentError::Client(ClientError::Typed(_))) => odd += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((lamps, odd), (40, 1));
    models.stop().await;
}

#[tokio::test]
async fn mistakes_are_told_apart_and_change_nothing() {
    let models = Models::start(1).await;
    let shop = models.client.documents("test", "shop");
    let document = shop.document("lamp");
    let missing = document.update("$.price", &1).await.expect_err("there is none");
    assert!(matches!(&missing, DocumentError::Missing(message) if message.contains("lamp")), "{missing:?}");
    let merged: Lamp = document.merge(&lamp("lamp", 80, &["new"])).await.expect("it makes one");
    assert_eq!(merged.price, 80);
    let path = document.select::<Value>("$.tags[").await.expect_err("no path");
    assert!(matches!(path, DocumentError::Path(_)), "{path:?}");
    let path = shop.count(Some("@.price <")).await.expect_err("no filter");
    assert!(matches!(path, DocumentError::Path(_)), "{path:?}");
    for unfit in [
        document.insert("$.price", &1).await.expect_err("it is there"),
        document.increment::<i64>("$.name", &1).await.map(|_| 0).expect_err("no number"),
        document.increment::<i64>("$.price", &i64::MAX).await.map(|_| 0).expect_err("too large"),
    ] {
        assert!(matches!(unfit, DocumentError::Unfit(_)), "{unfit:?}");
    }
    for wrong in [
        document.set(&[1, 2]).await.map(u64::from).expect_err("no object"),
        document.patch::<Value>(&1).await.map(|_| 0).expect_err("no patch"),
        document.increment::<i64>("$.price", "1").await.map(|_| 0).expect_err("no number"),
    ] {
        assert!(matches!(wrong, DocumentError::Arguments(_)), "{wrong:?}");
    }
    let other = document.if_generation(77).set(&lamp("lamp", 1, &[])).await.expect_err("another generation");
    assert_eq!(other.client().and_then(ClientError::code), Some(Code::GenerationMismatch), "{other:?}");
    assert_eq!(document.get::<Lamp>().await.expect("served"), Some(lamp("lamp", 80, &["new"])));
    // What another SDK or an import wrote is a document as well.
    let bins = Bins::new().with("name", "desk").with("price", 200);
    let desk = shop.document("desk");
    models.client.put(desk.key(), &bins, PutOptions::new()).await.expect("written");
    assert_eq!(desk.get::<Lamp>().await.expect("served"), Some(lamp("desk", 200, &[])));
    models.stop().await;
}

/// Catches: a row query whose caller went away in the middle was in no statistics.
#[tokio::test]
async fn a_query_that_is_dropped_is_counted_all_the_same() {
    let models = Models::start(1).await;
    let shop = models.client.documents("test", "shop");
    let text = "x".repeat(4_000);
    for first in (0..4_000_i64).step_by(100) {
        let batch = (first..first + 100).fold(Batch::new(), |batch, number| {
            let bins = Bins::new().with("n", number).with("text", text.as_str());
            batch.put(shop.document(number).key(), &bins, PutOptions::new())
        });
        models.client.batch(batch).await.expect("written");
    }
    let mut query = shop.find::<Value>(None, None, ScanOptions::default());
    query.next().await.expect("one").expect("a document");
    drop(query);
    loop {
        let stats = models.client.modules().stats("document").await.expect("served");
        match stats.functions.iter().find(|function| function.function == "query") {
            Some(query) if query.calls > 0 => {
                assert!(query.calls == 1 && query.fuel > 0, "{query:?}");
                break;
            }
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    models.stop().await;
}

/// Catches: a first call whose module took longer to compile than its caller would wait was told of a turn it waited for.
#[tokio::test]
async fn a_call_that_waits_for_the_compiler_is_told_so() {
    // A compiler that never ends, in place of one that takes longer than the deadline.
    let endless = Compiler::Child { program: "sleep".into(), args: vec!["3600".into()] };
    let models = Models::start_with(1, endless).await;
    let mut session = Session::open(&models.client).await.expect("a connection");
    // Of the node; the session itself waits for as long as it takes.
    session.set_deadline_ms(50);
    let namespace = session.namespace("test").expect("there");
    let key = Key::new("test", "shop", "lamp");
    let function = FunctionPath { module: "document", version: None, function: "get" };
    let call = CallRequest { key: key.borrow(), if_generation: None, report: false, function, arguments: &[] };
    session.submit(namespace, &RequestBody::Call(call), 1).expect("there is room");
    session.flush().await.expect("sent");
    let mut completions = Vec::new();
    session.recv_batch(&mut completions).await.expect("a reply");
    let reply = completions[0].reply().expect("well formed");
    let message = String::from_utf8_lossy(reply.body);
    assert_eq!(reply.header.code, Code::DeadlineExceeded);
    assert!(message.contains("the module document was being compiled"), "{message}");
    session.close().await;
    models.stop().await;
}

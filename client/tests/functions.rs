//! Functions from the caller's side: what is sent, what comes back, and what is told when something is lost on the way.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use outcrop_client::{
    Batch, BatchOutcome, Client, ClientError, Code, JobSpec, JobState, Key, LimitHit, ModuleLimits, Retry, ScanOptions,
    Signature, Target, Value,
};
use outcrop_wire::Verb;
use outcrop_wire::limits::{ARGUMENTS_BYTES_MAX, MODULE_PART_BYTES_MAX};
use support::faulty_node::{Fault, FaultyNode};
use support::functions::map;

fn key(number: i64) -> Key {
    Key::new("test", "products", number)
}

#[tokio::test]
async fn a_call_carries_types_there_and_back() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let sent = (15_u8, Some("sale".to_owned()), vec![1.5, -0.0]);
    let back: (u8, Option<String>, Vec<f64>) = client.call(&key(1), "test.echo", &sent).await.expect("echoed");
    assert_eq!(back, sent);
    let nothing: Option<u8> = client.call(&key(1), "test.echo", &()).await.expect("null for null");
    assert_eq!(nothing, None);
    // Over the limit of a lane, so on a stream of its own.
    let large = "x".repeat(1 << 20);
    assert_eq!(client.call::<String>(&key(1), "test.echo", &large).await.expect("echoed"), large);
    let wrong = client.call::<u8>(&key(1), "test.echo", &"text").await.expect_err("no number");
    assert!(matches!(wrong, ClientError::Typed(_)), "{wrong}");
}

#[tokio::test]
async fn a_function_reports_what_it_took_and_logged() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let echo = client.function("test@2.1.echo").value(&Value::Int(5)).if_generation(3).report();
    let called = echo.call(&key(1)).await.expect("echoed");
    assert_eq!((called.value().expect("valid"), called.generation()), (Value::Int(5), 4));
    let report = called.report().expect("asked for");
    assert_eq!((report.module.as_str(), report.version.as_str()), ("test", "2.1"));
    assert_eq!((report.fuel, report.wall_us, report.logs[0].message.as_str()), (1_234, 7, "called"));
    let plain = client.function("test.echo").call(&key(1)).await.expect("echoed");
    assert_eq!(plain.report().expect("none"), outcrop_client::Report::default());
}

#[tokio::test]
async fn a_failure_tells_all_that_the_node_told() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let error = client.call::<()>(&key(1), "test.fail", &()).await.expect_err("told to");
    assert_eq!((error.code(), error.retry()), (Some(Code::FunctionFailed), Retry::Never));
    let failed = error.function().expect("a function's failure");
    assert_eq!((failed.message.as_str(), failed.failure_code.as_deref()), ("it was told to", Some("told-to")));
    assert_eq!(failed.backtrace, ["fail at src/lib.rs:7"]);
    assert_eq!(failed.limit, Some(LimitHit { name: "fuel".to_owned(), allowed: 10, used: 11 }));
    assert_eq!(failed.logs[0].message, "about to");
    assert!(error.to_string().contains("it was told to") && error.advice().contains("function's"));
    assert_eq!(node.taken(Verb::Call), 1, "a failure of the function's own isn't tried again");
}

#[tokio::test]
async fn what_cannot_be_called_is_not_sent() {
    let node = FaultyNode::start();
    let client = node.client().await;
    for path in ["echo", "Test.echo", "test@.echo", "test.", ""] {
        let error = client.call::<()>(&key(1), path, &()).await.expect_err("no path");
        assert_eq!(error.code(), Some(Code::InvalidRequest), "{path}");
    }
    let large = vec!["x".repeat(ARGUMENTS_BYTES_MAX)];
    let error = client.call::<()>(&key(1), "test.echo", &large).await.expect_err("too large");
    assert_eq!(error.code(), Some(Code::FunctionInputLimit));
    let error = client.call::<()>(&key(1), "test.echo", &u64::MAX).await.expect_err("no value");
    assert!(matches!(error, ClientError::Typed(_)), "{error}");
    let damaged = client.function("test.echo").archive(vec![255; 20]).call(&key(1)).await.expect_err("damaged");
    assert!(matches!(damaged, ClientError::Archive(_)), "{damaged}");
    let elsewhere = Target::keys("test", [Key::new("other", "products", 1)]);
    assert!(client.aggregate::<()>(&elsewhere, "test.echo", &()).await.is_err());
    let (first, last) = (9, 8);
    let backwards = Target::set("test", "products").partitions(first..=last);
    assert!(client.aggregate::<()>(&backwards, "test.echo", &()).await.is_err());
    assert_eq!(node.taken(Verb::Call) + node.taken(Verb::Aggregate), 0);
}

/// Catches: a call that is run twice on the SDK's own account, and one that is reported as failed though it was run.
#[tokio::test]
async fn a_call_whose_reply_is_lost_is_indeterminate_unless_it_is_harmless_twice() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let echo = client.function("test.echo").value(&1.into());
    node.inject([Fault::CloseAfter]);
    let error = echo.call(&key(1)).await.expect_err("its reply was lost");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    assert_eq!(node.taken(Verb::Call), 1);
    for harmless in [echo.clone().idempotent(true), echo.clone().read_only(true), echo.clone().if_generation(3)] {
        node.inject([Fault::CloseAfter]);
        assert!(harmless.call(&key(1)).await.is_ok());
    }
    assert_eq!(node.taken(Verb::Call), 7);
    // One that only reads leaves nothing unknown.
    node.inject([Fault::DropReply]);
    let reads = echo.clone().read_only(true).deadline(Duration::from_millis(30));
    let error = reads.call(&key(1)).await.expect_err("never answered");
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    // A node that says that nothing was done is asked again.
    node.inject([Fault::Refuse(Code::FunctionConcurrencyLimit), Fault::Refuse(Code::ModuleNotReady)]);
    assert!(echo.call(&key(1)).await.is_ok());
}

#[tokio::test]
async fn many_calls_have_an_outcome_each() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let keys: Vec<Key> = (0..600).map(key).collect();
    let outcomes = client.call_many::<String>(&keys, "test.fail-once", &"x").await.expect("sent");
    assert_eq!(outcomes.len(), 600);
    for (place, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(text) => assert!(text == "x" && place != 1),
            Err(error) => assert!(error.code() == Some(Code::FunctionFailed) && place == 1, "{place}: {error}"),
        }
    }
    assert_eq!(node.taken(Verb::Batch), 3, "256 to a request");
    let echo = client.function("test.echo").value(&7.into());
    let outcomes = client.batch(Batch::new().call(&key(1), &echo).get(&key(2))).await.expect("sent");
    match outcomes.as_slice() {
        [BatchOutcome::Called(called), BatchOutcome::Record(None)] => {
            assert_eq!(called.to::<i64>().expect("echoed"), 7)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn aggregates_go_over_what_they_are_told() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let half = Target::set("test", "products").partitions(5..=9);
    let (over, arguments): ((Option<String>, u16, u16), u8) =
        client.aggregate(&half, "test.echo", &15).await.expect("answered");
    assert_eq!((over, arguments), ((Some("products".to_owned()), 5, 9), 15));
    let all = client.function("test.echo").aggregate(&Target::namespace("test")).await.expect("answered");
    let ((set, first, last), nothing): ((Option<String>, u16, u16), Option<u8>) = all.to().expect("the type fits");
    assert_eq!((set, first, last, nothing), (None, 0, 4_095, None));
    let some = Target::keys("test", (0..100).map(key));
    let (count, _): (i64, Value2) = client.aggregate(&some, "test.echo", &true).await.expect("answered");
    assert_eq!(count, 100);
    let failed = client.aggregate::<()>(&some, "test.fail", &()).await.expect_err("told to");
    assert_eq!(failed.function().and_then(|failed| failed.failure_code.as_deref()), Some("told-to"));
}

/// Any value, where a test doesn't care.
type Value2 = outcrop_client::bins::AnyValue;

/// Catches: a query that goes on in the node although nobody waits for it.
#[tokio::test]
async fn an_aggregate_that_nobody_waits_for_is_stopped() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let slow = client.function("test.slow");
    // By its deadline.
    let late = slow.clone().deadline(Duration::from_millis(30)).aggregate(&Target::namespace("test")).await;
    assert!(matches!(late, Err(ClientError::Deadline { .. })), "{late:?}");
    // By being dropped.
    let (client, target) = (client.clone(), Target::namespace("test"));
    let waiting = tokio::spawn(async move { client.aggregate::<()>(&target, "test.slow", &()).await });
    while node.taken(Verb::Aggregate) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiting.abort();
    while node.stopped().load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn rows_come_as_they_are_read() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let numbers: Vec<i64> = (0..7).collect();
    let mut rows = client.rows("test", Some("products"), "test.echo", &numbers);
    assert_eq!(node.taken(Verb::Rows), 0, "nothing is sent before the first row is asked for");
    let mut read = Vec::new();
    while let Some(row) = rows.next_as::<i64>().await {
        read.push(row.expect("a number"));
    }
    assert_eq!(read, numbers);
    assert_eq!(rows.cursor().map(|cursor| cursor.emitted), Some(7));
    let some = client.function("test.echo").arguments(&numbers).rows("test", None, ScanOptions::default().limit(3));
    let values: Vec<Value> = futures_util::TryStreamExt::try_collect(some).await.expect("three rows");
    assert_eq!(values, [Value::Int(0), Value::Int(1), Value::Int(2)]);
    let mut none = client.rows("test", None, "test.echo", &Vec::<u8>::new());
    assert!(none.next().await.is_none());
    let error = client.rows("test", None, "test.echo", &1).next().await.expect("told").expect_err("no list");
    assert_eq!(error.code(), Some(Code::FunctionFailed));
    let error = client.rows("test", None, "no path", &1).next().await.expect("told").expect_err("no path");
    assert_eq!(error.code(), Some(Code::InvalidRequest));
}

#[tokio::test]
async fn rows_go_on_where_a_lost_connection_left_them() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let numbers: Vec<i64> = (0..10).collect();
    // One fault for each part: the connection is lost in front of the third.
    node.inject([Fault::None, Fault::None, Fault::CloseBefore]);
    let mut rows = client.function("test.echo").arguments(&numbers).rows("test", None, ScanOptions::default().limit(9));
    let mut read = Vec::new();
    while let Some(batch) = rows.next_batch::<i64>().await {
        read.extend(batch.expect("numbers"));
    }
    assert_eq!(read, numbers[..9], "the limit counts the rows of both streams");
    assert_eq!(node.taken(Verb::Rows), 2);
    assert_eq!(node.connections(), 2);
}

#[tokio::test]
async fn a_component_is_uploaded_in_parts_with_its_signature_in_front_of_the_last() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let component: Vec<u8> = (0..MODULE_PART_BYTES_MAX + 70_000).map(|place| (place % 251) as u8).collect();
    let uploaded = client.modules().upload("shop", "1.2.0", &component, None).await.expect("taken");
    assert_eq!((uploaded.bytes, uploaded.hash), (component.len() as u64, *blake3::hash(&component).as_bytes()));
    assert_eq!(node.with_installed(|installed| std::mem::take(&mut installed.component)), component);
    let operations = node.with_installed(|installed| std::mem::take(&mut installed.operations));
    let parts: Vec<_> = operations.iter().map(|(_, _, operation, bytes)| (*operation, *bytes)).collect();
    assert_eq!(parts, [("upload", MODULE_PART_BYTES_MAX), ("upload", 70_000)]);
    let signature = Signature { signature: [3; 64], public_key: [4; 32] };
    client.modules().upload("shop", "1.2.1", b"small", Some(&signature)).await.expect("taken");
    let operations = node.with_installed(|installed| std::mem::take(&mut installed.operations));
    let names: Vec<_> = operations.iter().map(|(_, version, operation, _)| (version.as_str(), *operation)).collect();
    assert_eq!(names, [("1.2.1", "upload"), ("1.2.1", "sign"), ("1.2.1", "upload")]);
}

#[tokio::test]
async fn modules_are_looked_after() {
    let node = FaultyNode::start();
    let client: Client = node.client().await;
    let modules = client.modules();
    modules.activate("shop", "1.2.0").await.expect("activated");
    assert_eq!(modules.rollback("shop").await.expect("rolled back"), "0.9.0");
    modules.deactivate("shop").await.expect("deactivated");
    modules.remove("shop", "1.1.0").await.expect("removed");
    assert_eq!(modules.list().await.expect("a list")[0].calls, 5);
    let described = modules.describe("shop", Some("1.2.0")).await.expect("described");
    assert_eq!((described.version.version.as_str(), described.version.bytes), ("1.2.0", 7));
    assert!(described.functions[0].read_only && described.functions[0].kind == "record");
    assert_eq!(modules.stats("shop").await.expect("numbers").counters["hits"], 3);
    assert_eq!(modules.logs("shop", Some(7), 20).await.expect("lines")[0].sequence, 8);
    let options = node.with_installed(|installed| installed.options.clone());
    assert_eq!(options, map([("limit", 20.into()), ("after", 7.into())]));
    modules.pause("shop").await.expect("paused");
    modules.resume("shop").await.expect("resumed");
    let limits = ModuleLimits { wall_ms: Some(50), memory_bytes: Some(1 << 20), ..ModuleLimits::default() };
    modules.set_limits("shop", &limits).await.expect("set");
    let options = node.with_installed(|installed| installed.options.clone());
    assert_eq!(options, map([("wall_ms", 50.into()), ("memory_bytes", (1 << 20).into())]));
    let done: Vec<_> = node.with_installed(|installed| installed.operations.iter().map(|done| done.2).collect());
    let expected = "activate rollback deactivate remove list describe stats logs pause resume set_limits"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(done, expected);
    for wrong in [modules.activate("Shop", "1").await, modules.activate("shop", "").await, modules.pause("").await] {
        assert_eq!(wrong.expect_err("no name").code(), Some(Code::InvalidRequest));
    }
    assert_eq!(node.with_installed(|installed| installed.operations.len()), expected.len(), "they weren't sent");
}

/// Catches: going back twice because one reply was lost.
#[tokio::test]
async fn a_roll_back_whose_reply_is_lost_is_not_sent_again() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::CloseAfter]);
    let error = client.modules().rollback("shop").await.expect_err("its reply was lost");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    assert_eq!(node.taken(Verb::Module), 1);
    node.inject([Fault::CloseAfter]);
    client.modules().activate("shop", "1.2.0").await.expect("activated twice is activated");
    assert_eq!(node.taken(Verb::Module), 3);
    // The second of two removals finds nothing, which may be the first one's doing.
    node.inject([Fault::CloseAfter, Fault::Refuse(Code::ModuleUnknown)]);
    let error = client.modules().remove("shop", "1.1.0").await.expect_err("unknown");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
}

#[tokio::test]
async fn jobs_are_started_watched_and_ended() {
    let node = FaultyNode::start();
    let client = node.client().await;
    let jobs = client.jobs();
    let error = jobs.wait(7).await.expect_err("there is none yet");
    assert_eq!(error.code(), Some(Code::JobUnknown));
    let spec = JobSpec::new("test", "products", "shop.discount").partitions(1..=2).records_per_sec(9);
    let started = jobs.start(&spec.arguments(&(15, "sale")).expect("values")).await.expect("started");
    assert_eq!((started.id, started.state), (7, JobState::Running));
    let options = node.with_installed(|installed| installed.options.clone());
    let arguments = Value::List(vec![15.into(), "sale".into()]);
    assert_eq!(
        options,
        map([
            ("function", "shop.discount".into()),
            ("set", "products".into()),
            ("partition_first", 1.into()),
            ("partition_last", 2.into()),
            ("arguments", arguments),
            ("records_per_sec", 9.into()),
        ])
    );
    let ended = jobs.wait(started.id).await.expect("it ends");
    assert_eq!(
        (ended.state, ended.failures, ended.failures_first[0].message.as_str()),
        (JobState::Done, 1, "no price")
    );
    assert_eq!(jobs.list().await.expect("a list").len(), 1);
    assert_eq!(jobs.pause(7).await.expect("paused").state, JobState::Paused);
    assert_eq!(jobs.resume(7).await.expect("resumed").state, JobState::Running);
    assert_eq!(jobs.cancel(7).await.expect("cancelled").state, JobState::Cancelled);
    jobs.remove(7).await.expect("forgotten");
    for wrong in ["discount", "Shop.discount"] {
        assert!(jobs.start(&JobSpec::new("test", "products", wrong)).await.is_err(), "{wrong}");
    }
    let taken = node.taken(Verb::Job);
    node.inject([Fault::CloseAfter]);
    let error = jobs.start(&JobSpec::new("test", "", "shop.discount")).await.expect_err("its reply was lost");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    assert_eq!(node.taken(Verb::Job), taken + 1);
}

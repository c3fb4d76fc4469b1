//! What the client makes of a node's refusals: which are tried again, how often, and what the caller is told in the end.

#![allow(missing_docs)]

mod support;

use std::time::Duration;

use outcrop_client::{ClientError, Code, Key, Ttl};
use outcrop_wire::Verb;
use support::faulty_node::{Fault, FaultyNode};

fn key(id: i64) -> Key {
    Key::new("test", "people", id)
}

#[tokio::test]
async fn a_refusal_that_did_nothing_is_tried_again_even_for_a_write() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::Refuse(Code::Overloaded), Fault::Refuse(Code::HotKey)]);
    assert_eq!(client.set_bytes(&key(1), b"x", Ttl::Default).await.expect("third time").generation, 1);
    assert_eq!(node.taken(Verb::Put), 3);
}

#[tokio::test]
async fn refusals_end_after_the_attempts_that_were_allowed() {
    let node = FaultyNode::start();
    let client = node.builder().retries(2).connect().await.expect("connects");
    node.inject(vec![Fault::Refuse(Code::Overloaded); 10]);
    let error = client.get_bytes(&key(1)).await.expect_err("refused");
    assert!(matches!(&error, ClientError::Refused { code: Code::Overloaded, message } if message == "told to"));
    assert_eq!(node.taken(Verb::Get), 3);
}

/// Catches: a full node that looks like a hang, because a patient caller's deadline is spent on asking again.
#[tokio::test]
async fn a_full_device_is_told_after_a_few_attempts_however_patient_the_caller() {
    let node = FaultyNode::start();
    let client = node.builder().retries(100).deadline(Duration::from_secs(3_600)).connect().await.expect("connects");
    node.inject(vec![Fault::Refuse(Code::StopWrites); 50]);
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("refused");
    assert!(matches!(&error, ClientError::Refused { code: Code::StopWrites, .. }), "{error}");
    assert!(error.advice().contains("add flash"), "{}", error.advice());
    assert_eq!(node.taken(Verb::Put), 3);
}

#[tokio::test]
async fn a_device_that_is_full_for_a_moment_is_waited_for() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::Refuse(Code::StopWrites), Fault::Refuse(Code::StopWrites)]);
    assert_eq!(client.set_bytes(&key(1), b"x", Ttl::Default).await.expect("third time").generation, 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_told_at_once() {
    let node = FaultyNode::start();
    let client = node.client().await;
    node.inject([Fault::Refuse(Code::TooManySets), Fault::Refuse(Code::Indeterminate)]);
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("refused");
    assert_eq!(error.code(), Some(Code::TooManySets));
    let error = client.set_bytes(&key(1), b"x", Ttl::Default).await.expect_err("the node doesn't know");
    assert!(matches!(error, ClientError::Indeterminate { .. }), "{error}");
    assert_eq!(node.taken(Verb::Put), 2);
}

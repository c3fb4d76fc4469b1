//! Sessions that their owner drives: every reply once, and no two on one worker while another has none.

mod support;

use std::collections::{HashSet, VecDeque};

use outcrop_client::low::{Completion, Session};
use outcrop_client::{ClientError, Code, Key, PutMode, Ttl};
use outcrop_wire::{BinSelection, RequestBody};
use support::real_node::{connect, start};

fn key(id: i64) -> Key {
    Key::new("test", "people", id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_driven_by_hand_gets_every_reply_once() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    for id in 0..10 {
        client.set_bytes(&key(id), format!("value {id}").as_bytes(), Ttl::Default).await.expect("written");
    }
    client.set_bytes(&key(10), &vec![7; 1 << 20], Ttl::Default).await.expect("written");
    let mut session = Session::open(&client).await.expect("a connection");
    let namespace = session.namespace("test").expect("there");
    let mut tokens = HashSet::new();
    let mut completions: Vec<Completion> = Vec::new();
    let large = outcrop_wire::archive::archive_unnamed(&vec![9; 500 << 10]).expect("within the limits");
    let mut to_submit: VecDeque<u64> = (0..5_000).collect();
    while !to_submit.is_empty() || session.under_way() > 0 {
        while let Some(token) = to_submit.front().copied() {
            let name = key(token as i64 % 11);
            let body = match token % 1_000 {
                999 => RequestBody::Put {
                    key: name.borrow(),
                    mode: PutMode::Replace,
                    if_generation: None,
                    ttl: Ttl::Default,
                    archive: &large,
                },
                _ => RequestBody::Get { key: name.borrow(), bins: BinSelection::All },
            };
            if session.submit(namespace, &body, token).is_err() {
                break;
            }
            to_submit.pop_front();
        }
        session.flush().await.expect("sent");
        session.recv_batch(&mut completions).await.expect("replies");
        for completion in completions.drain(..) {
            assert_eq!(completion.reply().expect("a reply").header.code, completion.code);
            match completion.code {
                Code::Ok => assert!(tokens.insert(completion.token)),
                // On a slow machine large replies hold their memory for long: nothing was done, and it is asked again.
                Code::Overloaded => to_submit.push_back(completion.token),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((tokens.len(), session.lost().count()), (5_000, 0));
    assert!(!session.try_recv(&mut completions).expect("nothing more"));
    node.shutdown().await.expect("clean");
    let _ = session.submit(namespace, &RequestBody::Exists { key: key(1).borrow() }, 77);
    let _ = session.flush().await;
    completions.clear();
    let ended = loop {
        match session.recv_batch(&mut completions).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, ClientError::Refused { code: Code::Draining, .. } | ClientError::Closed { .. }), "{ended}");
}

/// Two sessions of one client on one worker would be served by one core while the other sleeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_spread_over_the_workers() {
    let node = start(None, 0).await;
    let client = connect(&node).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Session::open(&client).await.expect("opens"));
    }
    let of = |number| sessions.iter().filter(|session| session.worker().is_some_and(|at| at.number == number)).count();
    assert_eq!((of(0), of(1)), (3, 3), "of six connections, by worker");
    assert!(sessions.iter().all(|session| session.worker().is_some_and(|at| at.count == 2)));
    drop(sessions);
    client.close().await;
    node.shutdown().await.expect("clean");
}

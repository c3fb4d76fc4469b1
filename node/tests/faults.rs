//! Devices that fail, rot, fill up and lag: what was promised holds, what isn't known is called so, the rest goes on.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use outcrop_flash::device::memory::{Fault, Injection, Operation as Io};
use outcrop_node::command::Context;
use outcrop_node::command::answer::{Finished, Wait};
use outcrop_node::server::waiting::{Held, Waiting};
use outcrop_node::store::Namespace;
use outcrop_node::telemetry::{NodeStats, StatsSource};
use outcrop_wire::archive::archive_bins;
use outcrop_wire::request::BatchItem;
use outcrop_wire::{Bins, Code, NamespaceId, Operation, PutMode, RequestBody, Ttl, Value, Verb};
use support::request::{key, payload};
use support::{Rig, Settings, drive, frame};

fn bins(tag: u64, len: usize) -> Bins {
    Bins::unnamed(payload(tag, len))
}

/// Catches: an `ok` after a failed sync; a write refused as "not done" that may have happened; a read that shows what a
/// crash takes back; reads or opening refused because writes failed.
#[tokio::test(start_paused = true)]
async fn after_a_failed_write_or_sync_fates_are_unknown_and_durable_data_is_read() {
    for (io, fault) in [(Io::Write, Fault::Eio), (Io::Sync, Fault::Eio), (Io::Write, Fault::NoSpace)] {
        let rig = Rig::new(Settings::new()).await;
        for number in 0..10 {
            rig.replace(key("s", number), &bins(number as u64, 500), Ttl::Never).await.ok();
        }
        rig.device.set_latency(Some(Duration::from_millis(1)..=Duration::from_millis(3)));
        rig.device.inject(Injection::new(io, fault));
        let values: Vec<Bins> = (10..20).map(|tag| bins(tag, 500)).collect();
        let writes = values.iter().zip(10..).map(|(bins, number)| rig.replace(key("s", number), bins, Ttl::Never));
        for answer in join_all(writes).await {
            assert_eq!(answer.code(), Code::Indeterminate, "{io:?}: appended, never synced");
        }
        for answer in [
            rig.replace(key("s", 30), &bins(30, 10), Ttl::Never).await,
            rig.put(key("s", 3), PutMode::Upsert, &bins(30, 10), Ttl::Never).await,
            rig.delete(key("s", 4)).await,
            rig.truncate("s").await,
        ] {
            assert_eq!(answer.code(), Code::DevicePoisoned, "{io:?}: nothing more is taken");
        }
        for number in 0..10 {
            assert_eq!(rig.get(key("s", number)).await.record().bins, bins(number as u64, 500));
        }
        for number in 10..20 {
            let answer = rig.get(key("s", number)).await;
            assert_eq!(answer.code(), Code::DevicePoisoned, "{io:?}: a crash may take this back");
        }
        assert!(rig.context.stats.trouble().is_some());
        let rig = rig.crash(7).await;
        for number in 0..10 {
            assert_eq!(rig.get(key("s", number)).await.record().bins, bins(number as u64, 500));
        }
        for number in 10..20 {
            let answer = rig.get(key("s", number)).await;
            assert!(answer.code() == Code::NotFound || answer.record().bins == bins(number as u64, 500));
        }
        rig.check_invariants().await;
        rig.replace(key("s", 30), &bins(30, 10), Ttl::Never).await.ok();
    }
}

/// Catches: an older copy that is served as if nobody had overwritten it, while its overwriter was told that nobody knows;
/// a caller who isn't told what to do.
#[tokio::test(start_paused = true)]
async fn a_record_whose_newest_write_has_no_known_fate_says_so_and_what_to_do() {
    let rig = Rig::new(Settings::new()).await;
    rig.replace(key("s", 1), &bins(1, 500), Ttl::Never).await.ok();
    rig.device.inject(Injection::new(Io::Sync, Fault::Eio));
    let overwritten = rig.replace(key("s", 1), &bins(2, 500), Ttl::Never).await;
    let read = rig.get(key("s", 1)).await;
    let refused = rig.replace(key("s", 2), &bins(3, 500), Ttl::Never).await;
    for (answer, code) in
        [(overwritten, Code::Indeterminate), (read, Code::DevicePoisoned), (refused, Code::DevicePoisoned)]
    {
        assert_eq!(answer.code(), code);
        let message = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(message.contains("mended") || message.contains("mend the device"), "{message}");
        assert!(message.contains("restart"), "{message}");
    }
    let rig = rig.crash(3).await;
    let record = rig.get(key("s", 1)).await.record();
    assert!(record.bins == bins(1, 500) || record.bins == bins(2, 500), "one of the two, whole");
    rig.replace(key("s", 1), &bins(4, 500), Ttl::Never).await.ok();
}

struct NoStats;

impl StatsSource for NoStats {
    fn snapshot(&self) -> NodeStats {
        NodeStats::default()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Catches: a batch over two namespaces that says `device_poisoned` ("not done") although the other one's write was.
#[tokio::test(start_paused = true)]
async fn a_batch_that_writes_to_a_failing_device_is_indeterminate() {
    let (well, failing) = (Rig::new(Settings::new()).await, Rig::new(Settings::new()).await);
    failing.replace(key("s", 1), &bins(1, 10), Ttl::Never).await.ok();
    let namespaces: Vec<Arc<Namespace>> = [&failing, &well].map(|rig| rig.namespace().clone()).into();
    let context = Arc::new(Context::new(namespaces, 10_000, 64 << 20, Arc::new(NoStats)));
    failing.device.inject(Injection::new(Io::Sync, Fault::Eio));
    let archive = archive_bins(&bins(2, 10)).expect("within the limits");
    let put = |namespace| {
        let (mode, ttl, if_generation) = (PutMode::Replace, Ttl::Never, None);
        let body = RequestBody::Put { key: key("s", 2), mode, if_generation, ttl, archive: &archive };
        BatchItem { namespace: NamespaceId(namespace), body }
    };
    let batch = RequestBody::Batch { items: vec![put(0), put(1)] };
    let answer = drive(&context, frame(&batch, 0), well.now_secs()).await;
    assert_eq!(answer.code(), Code::Indeterminate, "{}", String::from_utf8_lossy(&answer.body));
}

/// Catches: rot passed on as a value, rot that spreads to other keys, rot that can't be mended by writing anew.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_costs_its_record_and_no_other() {
    let rig = Rig::new(Settings::new().with(|policy| policy.cache_bytes = 0)).await;
    for number in 0..200 {
        rig.replace(key("s", number), &bins(number as u64, 3_000), Ttl::Never).await.ok();
    }
    let digest = key("s", 5).digest();
    let entry = rig.namespace().index.read(digest.partition()).get(&digest).expect("it was written");
    let place = rig.device_offset(entry.location.segment().0, entry.location.offset() + 1_000);
    assert!(rig.device.flip_bit(place, 4));
    for number in 0..200 {
        let answer = rig.get(key("s", number)).await;
        match number {
            5 => assert_eq!(answer.code(), Code::RecordCorrupt, "{}", String::from_utf8_lossy(&answer.body)),
            _ => assert_eq!(answer.record().bins, bins(number as u64, 3_000)),
        }
    }
    assert_eq!(rig.namespace().counters.corrupt_reads.load(Ordering::Relaxed), 1);
    let added = rig.operate(key("s", 5), vec![Operation::Add { bin: "n".into(), amount: Value::Int(1) }]).await;
    assert_eq!(added.code(), Code::RecordCorrupt, "nothing is built on damaged bytes");
    assert_eq!(rig.put(key("s", 5), PutMode::Upsert, &bins(1, 1), Ttl::Never).await.code(), Code::RecordCorrupt);
    rig.exists(key("s", 5)).await.ok();
    rig.replace(key("s", 5), &bins(5_000, 10), Ttl::Never).await.ok();
    assert_eq!(rig.get(key("s", 5)).await.record().bins, bins(5_000, 10), "a blind write mends it");
    rig.check_invariants().await;
}

/// Catches: a failed read that loops, or that is remembered once the device is well again.
#[tokio::test(start_paused = true)]
async fn a_device_that_cannot_be_read_says_so_and_comes_back() {
    let rig = Rig::new(Settings::new().with(|policy| policy.cache_bytes = 0)).await;
    for number in 0..200 {
        rig.replace(key("s", number), &bins(number as u64, 3_000), Ttl::Never).await.ok();
    }
    rig.device.inject(Injection::new(Io::Read, Fault::Eio));
    assert_eq!(rig.get(key("s", 1)).await.code(), Code::DeviceError);
    assert_eq!(rig.get(key("s", 1)).await.record().bins, bins(1, 3_000));
    rig.device.inject(Injection::new(Io::Read, Fault::FlipBit));
    let once = rig.get(key("s", 2)).await;
    assert!(once.code() == Code::RecordCorrupt || once.record().bins == bins(2, 3_000), "never other bytes");
    assert_eq!(rig.get(key("s", 2)).await.record().bins, bins(2, 3_000));
}

/// Catches: writes taken into the reserve; reads or deletes refused with them; space that never comes back.
#[tokio::test(start_paused = true)]
async fn a_nearly_full_device_stops_writes_only_and_deletes_make_room() {
    let rig = Rig::new(Settings::new()).await;
    let mut written = 0;
    let refused = loop {
        let answer = rig.replace(key("s", written), &bins(written as u64, 20_000), Ttl::Never).await;
        if answer.code() != Code::Ok {
            break answer;
        }
        written += 1;
        assert!(written < 1_000, "the device holds 6 MiB");
    };
    assert_eq!(refused.code(), Code::StopWrites);
    assert!(rig.namespace().stats().stop_writes, "the operator sees it");
    assert!(written > 100, "most of the device is for use: {written}");
    for number in 0..written {
        assert_eq!(rig.get(key("s", number)).await.record().bins, bins(number as u64, 20_000));
    }
    for number in (0..written).filter(|number| number % 2 == 0) {
        rig.delete(key("s", number)).await.ok();
    }
    for _ in 0..20 {
        rig.settle().await;
    }
    for number in 1_000..1_030 {
        rig.replace(key("s", number), &bins(number as u64, 20_000), Ttl::Never).await.ok();
    }
    let rig = rig.crash(1).await;
    for number in 0..written {
        let answer = rig.get(key("s", number)).await;
        match number % 2 {
            0 => assert_eq!(answer.code(), Code::NotFound),
            _ => assert_eq!(answer.record().bins, bins(number as u64, 20_000)),
        }
    }
    rig.check_invariants().await;
}

/// Catches: a write that is dropped or refused because the device is slower than the writers.
#[tokio::test(start_paused = true)]
async fn writers_wait_for_a_full_write_buffer_and_none_is_lost() {
    let settings = Settings { deadline_ms: 600_000, ..Settings::new() };
    let rig = Rig::new(settings.with(|policy| policy.write_buffer_bytes = 64 << 10)).await;
    rig.device.set_latency(Some(Duration::from_millis(30)..=Duration::from_millis(60)));
    let values: Vec<Bins> = (0..150).map(|tag| bins(tag, 8_000)).collect();
    let writes = values.iter().zip(0..).map(|(bins, number)| rig.replace(key("s", number), bins, Ttl::Never));
    for answer in join_all(writes).await {
        answer.ok();
    }
    assert!(rig.namespace().counters.backpressure.load(Ordering::Relaxed) > 0, "they had to wait");
    rig.device.clear_faults();
    let rig = rig.crash(3).await;
    for (number, value) in values.iter().enumerate() {
        assert_eq!(&rig.get(key("s", number as i64)).await.record().bins, value);
    }
}

/// Catches: a write carried out after its caller was told that nothing was done.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_means_that_nothing_was_done() {
    let settings = Settings { deadline_ms: 600_000, ..Settings::new() };
    let rig = Rig::new(settings.with(|policy| policy.write_buffer_bytes = 64 << 10)).await;
    rig.replace(key("s", 0), &bins(0, 10), Ttl::Never).await.ok();
    rig.device.set_latency(Some(Duration::from_secs(5)..=Duration::from_secs(5)));
    let values: Vec<Bins> = (1..30).map(|tag| bins(tag, 8_000)).collect();
    let writes = values.iter().zip(1..).map(|(bins, number)| rig.replace(key("s", number), bins, Ttl::Never));
    let archive = archive_bins(&bins(77, 10)).expect("within the limits");
    let late = async {
        // By now the buffer is full.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let (mode, ttl) = (PutMode::Replace, Ttl::Never);
        let put =
            |number| RequestBody::Put { key: key("s", number), mode, if_generation: None, ttl, archive: &archive };
        for number in [100, 0] {
            let answer = rig.ask_within(&put(number), 100).await;
            assert_eq!(answer.code(), Code::DeadlineExceeded);
        }
        let delete = RequestBody::Delete { key: key("s", 0), if_generation: None };
        assert_eq!(rig.ask_within(&delete, 100).await.code(), Code::DeadlineExceeded);
        let touch = RequestBody::Touch { key: key("s", 0), if_generation: None, ttl: Ttl::Never };
        assert_eq!(rig.ask_within(&touch, 100).await.code(), Code::DeadlineExceeded);
    };
    let (answers, ()) = tokio::join!(join_all(writes), late);
    answers.into_iter().for_each(|answer| drop(answer.ok()));
    rig.device.clear_faults();
    rig.settle().await;
    assert_eq!(rig.get(key("s", 100)).await.code(), Code::NotFound);
    let untouched = rig.get(key("s", 0)).await.record();
    assert_eq!((untouched.bins, untouched.generation), (bins(0, 10), 1));
}

/// Catches: a reply kept past its deadline by one with more patience that stands in front of it.
#[tokio::test(start_paused = true)]
async fn a_reply_out_of_time_leaves_from_the_middle_of_the_line() {
    let rig = Rig::new(Settings::new()).await;
    rig.device.set_latency(Some(Duration::from_secs(60)..=Duration::from_secs(60)));
    let archive = archive_bins(&bins(1, 10)).expect("within the limits");
    let expect = outcrop_node::store::write::Expect::default();
    let digest = key("s", 1).digest();
    let done = rig.namespace().put(&digest, key("s", 1), &archive, Ttl::Never, expect).expect("there is room");
    let wait = Wait { namespace: 0, end: done.durable_at.expect("flash mode") };
    let mut waiting = Waiting::new(rig.context.clone());
    assert!(!waiting.is_durable(wait));
    let began = tokio::time::Instant::now();
    let hold = |waiting: &mut Waiting, request_id, verb, secs| {
        let reply = Finished::small(Code::Ok, vec![1], None);
        let deadline = began + Duration::from_secs(secs);
        waiting.hold(wait, Held { reply, request_id, verb, began, deadline, bytes_in: 1, span: None });
    };
    hold(&mut waiting, 1, Verb::Put, 600);
    hold(&mut waiting, 2, Verb::Put, 1);
    hold(&mut waiting, 3, Verb::Get, 2);
    assert_eq!(waiting.next_deadline(), Some(began + Duration::from_secs(1)));
    let mut left = Vec::new();
    waiting.release(began + Duration::from_secs(3), |held| left.push((held.request_id, held.reply.code)));
    assert_eq!(left, [(2, Code::Indeterminate), (3, Code::DeadlineExceeded)]);
    assert_eq!((waiting.len(), waiting.next_deadline()), (1, Some(began + Duration::from_secs(600))));
    waiting.changed().await;
    while !waiting.is_empty() {
        waiting.changed().await;
        waiting.release(tokio::time::Instant::now(), |held| left.push((held.request_id, held.reply.code)));
    }
    assert_eq!(left.last(), Some(&(1, Code::Ok)));
}

//! The request loop against a played-through node: stalls, refusals, losses, ends. Time is a number here.

use rand::SeedableRng;

use super::super::keys::{Distribution, ZIPFIAN_THETA};
use super::super::mix::{Shares, Workload};
use super::super::pace::{Arrivals, Schedule};
use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn prng() -> Prng {
    Prng::seed_from_u64(2)
}

fn mixed(shares: Shares) -> Source {
    let chooser = Chooser::new(Distribution::Uniform, 1_000, ZIPFIAN_THETA);
    Source::Mixed { mix: Mix::new(shares, false).expect("a mix"), chooser, inserts: Inserts::new(1_000, 0, 1) }
}

fn reads() -> Source {
    mixed(Workload::C.shares().0)
}

fn bounds(secs: u64) -> Bounds {
    let stop_at_ns = secs * SECOND;
    Bounds { measure_from_ns: 0, stop_at_ns, drain_until_ns: stop_at_ns + 10 * SECOND, ops_max: None }
}

fn open(rate_per_sec: f64) -> Pacer {
    Pacer::Open(Schedule::new(0, rate_per_sec, 0.0, Arrivals::Fixed, prng()))
}

/// A node that answers each request in 1 ms, but nothing from second 1.0 to 1.1.
fn play(mut requests: RequestLoop, generator_pause: impl Fn(u64) -> u64) -> Tallies {
    let mut tallies = Tallies::default();
    let mut replies: VecDeque<(u64, u64)> = VecDeque::new();
    let mut now_ns = 0;
    loop {
        let until_ns = match requests.poll_step(now_ns, &mut tallies) {
            Step::Send(order) => {
                let answered_ns = now_ns + MS;
                let stalled = (SECOND..SECOND + 100 * MS).contains(&answered_ns);
                replies.push_back((if stalled { SECOND + 100 * MS } else { answered_ns }, order.token));
                continue;
            }
            Step::WaitUntil(until_ns) => until_ns,
            Step::Finished => return tallies,
        };
        let next_reply_ns = replies.front().map_or(u64::MAX, |(at_ns, _)| *at_ns);
        now_ns = generator_pause(until_ns.min(next_reply_ns).max(now_ns));
        while let Some((at_ns, token)) = replies.front().copied()
            && at_ns <= now_ns
        {
            replies.pop_front();
            requests.handle_outcome(token, Outcome::Done { records: 1, bytes: 100 }, now_ns, &mut tallies);
        }
    }
}

fn percentile_ms(tallies: &Tallies, quantile: f64) -> f64 {
    tallies.measured.all_latencies_ns().value_at_quantile(quantile) as f64 / MS as f64
}

#[test]
fn an_open_loop_shows_a_stall_of_100_ms_in_its_p99_and_a_closed_one_hides_it() {
    // 1,000 a second for 5 s: 2% of the requests were meant for the 100 ms of the stall, half of them waited over 50.
    let tallies = play(RequestLoop::new(bounds(5), open(1_000.0), reads(), 1_000, prng()), |at_ns| at_ns);
    assert_eq!(tallies.measured.done(), 5_000);
    assert!((45.0..60.0).contains(&percentile_ms(&tallies, 0.99)), "{}", percentile_ms(&tallies, 0.99));
    assert!(percentile_ms(&tallies, 1.0) > 95.0 && percentile_ms(&tallies, 0.5) < 1.1);
    let lags = tallies.measured.lags_ns().expect("an open loop");
    assert!(lags.max() < MS, "the stall is the node's: {}", lags.max());

    let closed = play(RequestLoop::new(bounds(5), Pacer::Closed, reads(), 1, prng()), |at_ns| at_ns);
    assert!(percentile_ms(&closed, 0.99) < 1.1, "one request alone saw it: {}", percentile_ms(&closed, 0.99));
    assert!(percentile_ms(&closed, 1.0) > 95.0);
}

#[test]
fn a_stall_shows_even_when_few_requests_may_be_under_way() {
    // With 10 in flight most of the stalled hundred could not even be sent; they count all the same.
    let tallies = play(RequestLoop::new(bounds(5), open(1_000.0), reads(), 10, prng()), |at_ns| at_ns);
    assert_eq!(tallies.measured.done(), 5_000);
    assert!(percentile_ms(&tallies, 0.99) > 45.0);
    let lags = tallies.measured.lags_ns().expect("an open loop");
    assert!(lags.max() < MS, "waiting for a slot isn't the generator's lag: {}", lags.max());
}

#[test]
fn a_generator_that_falls_behind_says_so() {
    // The generator itself sleeps from 2.0 s to 2.05 s.
    let pause = |at_ns| if (2 * SECOND..2 * SECOND + 50 * MS).contains(&at_ns) { 2 * SECOND + 50 * MS } else { at_ns };
    let tallies = play(RequestLoop::new(bounds(5), open(1_000.0), reads(), 1_000, prng()), pause);
    let lags = tallies.measured.lags_ns().expect("an open loop");
    assert!((49 * MS..52 * MS).contains(&lags.max()), "{}", lags.max());
}

#[test]
fn warm_up_is_counted_apart_and_a_number_of_operations_ends_a_run() {
    let bounds = Bounds { measure_from_ns: SECOND, ops_max: Some(500), ..bounds(60) };
    let tallies = play(RequestLoop::new(bounds, open(1_000.0), reads(), 100, prng()), |at_ns| at_ns);
    assert_eq!((tallies.warmup.done(), tallies.measured.done()), (1_000, 500));
}

#[test]
fn a_load_repeats_what_was_refused_until_every_record_is_there() {
    let source = Source::Load { next: 1, stride: 2, end: 100 };
    let mut requests = RequestLoop::new(bounds(60), Pacer::Closed, source, 8, prng());
    let (mut tallies, mut now_ns, mut stored, mut refusals) = (Tallies::default(), 0, Vec::new(), 0);
    loop {
        match requests.poll_step(now_ns, &mut tallies) {
            Step::Send(order) => {
                assert!(order.writes && order.kind == Kind::Insert);
                let refused = refusals < 30 && order.number % 3 == 0;
                refusals += u32::from(refused);
                let outcome = match refused {
                    true if refusals % 2 == 0 => Outcome::Failed(CONNECTION_LOST),
                    true => Outcome::Refused(Code::Overloaded),
                    false => Outcome::Done { records: 1, bytes: 10 },
                };
                if !refused {
                    stored.push(order.number);
                }
                requests.handle_outcome(order.token, outcome, now_ns, &mut tallies);
            }
            Step::WaitUntil(until_ns) => now_ns = until_ns.max(now_ns + 1),
            Step::Finished => break,
        }
    }
    stored.sort_unstable();
    assert_eq!(stored, (1..100).step_by(2).collect::<Vec<u64>>());
    assert_eq!((tallies.measured.retries, tallies.measured.failures(), tallies.measured.done()), (30, 0, 50));
}

/// A load of 100 records into a node that takes `room` of them, and one more each `more_ns`; when it ended, and its counts.
fn load_into(room: u32, more_ns: u64) -> (u64, Tallies) {
    let source = Source::Load { next: 0, stride: 1, end: 100 };
    let mut requests = RequestLoop::new(bounds(3_600), Pacer::Closed, source, 8, prng());
    let (mut tallies, mut now_ns, mut taken) = (Tallies::default(), 0, 0);
    loop {
        match requests.poll_step(now_ns, &mut tallies) {
            Step::Send(order) => {
                let fits = taken < u64::from(room) + now_ns / more_ns;
                taken += u64::from(fits);
                let done = Outcome::Done { records: 1, bytes: 10 };
                let outcome = if fits { done } else { Outcome::Refused(Code::StopWrites) };
                requests.handle_outcome(order.token, outcome, now_ns, &mut tallies);
            }
            Step::WaitUntil(until_ns) => now_ns = until_ns.max(now_ns + 1),
            Step::Finished => return (now_ns, tallies),
        }
    }
}

#[test]
fn a_load_into_a_full_namespace_is_given_up_and_one_that_is_given_room_is_not() {
    let (ended_ns, tallies) = load_into(40, u64::MAX);
    let counts = &tallies.measured;
    assert_eq!((counts.done(), counts.failures_of("stop_writes"), counts.unsent), (40, 8, 52), "all are accounted for");
    assert!((10 * SECOND..11 * SECOND).contains(&ended_ns), "{ended_ns}");
    // Defrag and expiry make room slowly; the load takes what comes.
    let (ended_ns, tallies) = load_into(40, SECOND);
    assert_eq!((tallies.measured.done(), tallies.measured.failures(), tallies.measured.unsent), (100, 0, 0));
    assert!(ended_ns >= 60 * SECOND, "{ended_ns}");
}

#[test]
fn what_no_repetition_can_mend_fails_a_load_at_once() {
    let source = Source::Load { next: 0, stride: 1, end: 3 };
    let mut requests = RequestLoop::new(bounds(60), Pacer::Closed, source, 8, prng());
    let mut tallies = Tallies::default();
    while let Step::Send(order) = requests.poll_step(0, &mut tallies) {
        requests.handle_outcome(order.token, Outcome::Refused(Code::RecordTooLarge), 0, &mut tallies);
    }
    assert_eq!(tallies.measured.failures_of("record_too_large"), 3);
}

#[test]
fn a_read_modify_write_is_one_operation_of_both_halves() {
    let mut requests =
        RequestLoop::new(bounds(1), Pacer::Closed, mixed(Shares { rmw: 1.0, ..Shares::default() }), 1, prng());
    let mut tallies = Tallies::default();
    let Step::Send(read) = requests.poll_step(0, &mut tallies) else { panic!("a send") };
    assert!(!read.writes);
    requests.handle_outcome(read.token, Outcome::Done { records: 1, bytes: 100 }, 3 * MS, &mut tallies);
    assert_eq!(tallies.measured.done(), 0);
    let Step::Send(write) = requests.poll_step(3 * MS, &mut tallies) else { panic!("a send") };
    assert!(write.writes && write.number == read.number);
    requests.handle_outcome(write.token, Outcome::Done { records: 1, bytes: 50 }, 5 * MS, &mut tallies);
    assert_eq!((tallies.measured.done(), tallies.measured.bytes()), (1, 150));
    assert!((4.9..5.1).contains(&percentile_ms(&tallies, 1.0)));
}

#[test]
fn a_lost_connection_fails_what_was_under_way_and_the_schedule_goes_on() {
    let mut requests = RequestLoop::new(bounds(5), open(100.0), reads(), 10, prng());
    let mut tallies = Tallies::default();
    let mut now_ns = 0;
    while now_ns < 45 * MS {
        match requests.poll_step(now_ns, &mut tallies) {
            Step::WaitUntil(until_ns) => now_ns = until_ns,
            step => assert!(matches!(step, Step::Send(_))),
        }
    }
    assert_eq!(requests.in_flight(), 5);
    requests.handle_loss(50 * MS, &mut tallies);
    assert_eq!((requests.in_flight(), tallies.measured.failures_of("connection_lost")), (0, 5));
    requests.handle_reconnect(100 * MS, &mut tallies);
    let Step::Send(order) = requests.poll_step(100 * MS, &mut tallies) else { panic!("a send") };
    requests.handle_outcome(order.token, Outcome::Done { records: 1, bytes: 1 }, 101 * MS, &mut tallies);
    assert!(percentile_ms(&tallies, 1.0) > 50.0, "meant for 50 ms, answered at 101 ms");
    assert!(tallies.measured.lags_ns().expect("open loop").max() < 6 * MS);
    assert_eq!(tallies.measured.reconnects, 1);
    // An answer that comes late, for a token that isn't under way, changes nothing.
    requests.handle_outcome(order.token, Outcome::Done { records: 1, bytes: 1 }, 101 * MS, &mut tallies);
    requests.handle_outcome(99, Outcome::Done { records: 1, bytes: 1 }, 101 * MS, &mut tallies);
    assert_eq!(tallies.measured.done(), 1);
}

#[test]
fn a_node_that_never_answers_is_given_up_and_what_was_never_sent_is_said() {
    let mut requests = RequestLoop::new(bounds(1), open(1_000.0), reads(), 10, prng());
    let (mut tallies, mut now_ns) = (Tallies::default(), 0);
    loop {
        match requests.poll_step(now_ns, &mut tallies) {
            Step::Send(_) => {}
            Step::WaitUntil(until_ns) => now_ns = until_ns.max(now_ns + 1),
            Step::Finished => break,
        }
    }
    assert_eq!((tallies.measured.failures_of("unanswered"), tallies.measured.unsent), (10, 990));
}

//! Scans: the short ones of workload E, and full ones over the whole set.

use std::ops::RangeInclusive;
use std::sync::Arc;

use outcrop_client::{Client, ClientError, RecordView, ScanOptions};
use outcrop_wire::limits::PARTITIONS;

use super::connection::Shared;
use super::encode::{MISMATCH, number_of};
use super::mix::Kind;
use super::plan::Plan;
use super::request_loop::{CONNECTION_LOST, Outcome};
use super::values::Values;

/// Partitions that a short scan goes through: half of the digest space from a random place on. Keys have no order, so
/// this stands for YCSB's range from a random key.
const SHORT_PARTITIONS: u16 = (PARTITIONS / 2) as u16;

/// A short scan that ended.
#[derive(Debug)]
pub struct ShortScan {
    /// Its order's.
    pub token: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Reads 1 to `scan_records` records from a random place; `nonce` decides how many and where.
pub async fn short_scan(client: Client, plan: Arc<Plan>, token: u64, nonce: u64) -> ShortScan {
    let first = (nonce % u64::from(SHORT_PARTITIONS)) as u16;
    let options = ScanOptions::default()
        .partitions(first..=first + SHORT_PARTITIONS - 1)
        .limit(1 + (nonce >> 32) % u64::from(plan.scan_records));
    let mut scan = client.scan(&plan.namespace, Some(&plan.set), options);
    let (mut records, mut bytes) = (0, 0);
    let outcome = loop {
        match scan.next_batch().await {
            Some(Ok(batch)) => {
                records += batch.len() as u64;
                bytes += batch.iter().map(stored_bytes).sum::<u64>();
            }
            Some(Err(error)) => break failure(&error),
            None => break Outcome::Done { records, bytes },
        }
    };
    ShortScan { token, outcome }
}

fn stored_bytes(record: &RecordView) -> u64 {
    record.stored().len() as u64
}

/// Names the failure of a scan as a request's.
fn failure(error: &ClientError) -> Outcome {
    match error.code() {
        Some(code) => Outcome::Refused(code),
        None => Outcome::Failed(CONNECTION_LOST),
    }
}

/// The part of the partitions that connection `place` of `count` scans.
pub fn share_of_partitions(place: u32, count: u32) -> Option<RangeInclusive<u16>> {
    let cut = |place: u32| (u64::from(place) * PARTITIONS as u64 / u64::from(count.max(1))) as u16;
    let (first, end) = (cut(place), cut(place + 1));
    (end > first).then(|| first..=end - 1)
}

/// Goes through the whole set (this connection's share of it) `passes` times; each pass is one operation.
pub async fn scan_all(shared: &Shared, values: &Values, place: u32, passes: u32) {
    let Shared { plan, client, clock, tallies } = shared;
    let Some(partitions) = share_of_partitions(place, plan.connections) else { return };
    for _ in 0..passes {
        let began_ns = clock.now_ns();
        let options = ScanOptions::default().partitions(partitions.clone());
        let mut scan = client.scan(&plan.namespace, Some(&plan.set), options);
        let failed = loop {
            let Some(batch) = scan.next_batch().await else { break None };
            match batch {
                Ok(batch) => {
                    let wrong =
                        if plan.verify { batch.iter().filter(|record| !is_right(values, record)).count() } else { 0 };
                    let tallies = &mut *tallies.borrow_mut();
                    let tally = tallies.measured.kind(Kind::Scan);
                    tally.records += batch.len() as u64;
                    tally.bytes += batch.iter().map(stored_bytes).sum::<u64>();
                    if wrong > 0 {
                        tally.failed(MISMATCH, wrong as u64);
                    }
                }
                Err(error) => break Some(error),
            }
        };
        let now_ns = clock.now_ns();
        let tallies = &mut *tallies.borrow_mut();
        tallies.measured.last_ns = tallies.measured.last_ns.max(now_ns);
        match failed {
            None => tallies.measured.kind(Kind::Scan).done(now_ns - began_ns, 0, 0),
            Some(error) => {
                let name = error.code().map_or(CONNECTION_LOST, |code| code.name());
                tallies.measured.kind(Kind::Scan).failed(name, 1);
                tallies.last_loss = Some(error.to_string());
            }
        }
    }
}

fn is_right(values: &Values, record: &RecordView) -> bool {
    number_of(record.key().user_key).is_some_and(|number| values.check_stored(number, record.stored()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_partitions_cover_them_once() {
        for count in [1, 2, 3, 7, 4_096, 5_000] {
            let all: Vec<u16> = (0..count).filter_map(|place| share_of_partitions(place, count)).flatten().collect();
            assert_eq!(all, (0..PARTITIONS as u16).collect::<Vec<u16>>(), "{count}");
        }
    }
}

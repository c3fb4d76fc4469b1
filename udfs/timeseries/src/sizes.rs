//! What points take: at most 3 bytes on a real series, never more than raw on noise, and no rewriting of what is packed.

use std::path::Path;

use outcrop_udf::Rng;

use super::*;

/// Appends points to a block in runs of a size.
fn appended(points: &[Point], run: usize) -> Block {
    let mut block = Block::default();
    for run in points.chunks(run) {
        block.append(run.to_vec(), Duplicates::Refuse).expect("appended");
    }
    block
}

/// The taxi passengers of New York, half-hourly; none if the data isn't there.
fn taxi() -> Option<Vec<Point>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/timeseries/nyc_taxi.csv");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("SKIPPED: {} isn't there", file.display());
        return None;
    };
    let value = |line: &str| line.split_once(',').and_then(|(_, value)| value.parse::<f64>().ok());
    let points = text.lines().skip(1).enumerate();
    Some(
        points
            .map(|(n, line)| Point {
                at_ms: 1_404_172_800_000 + n as i64 * 1_800_000,
                value: value(line).expect("a number"),
            })
            .collect(),
    )
}

#[test]
fn a_real_series_takes_at_most_three_bytes_a_point() {
    let Some(points) = taxi() else { return };
    assert_eq!(points.len(), 10_320);
    for run in [points.len(), 4_096, 500] {
        let block = appended(&points, run);
        let each = (block.chunks.len() + block.tail.len()) as f64 / points.len() as f64;
        assert!(each <= 3.0, "{each:.2} bytes a point, appended by {run}");
        assert_eq!(block.points().expect("points"), points);
    }
}

/// Values of any 64 bits at any times, of a day and of all time: the header of a chunk is paid for by the order of times.
#[test]
fn noise_in_any_portion_never_takes_more_than_raw_points() {
    let mut rng = Rng::new(7);
    for time_bits in [27, 40, 63] {
        let mut point = |_| Point { at_ms: (rng.bits() >> (64 - time_bits)) as i64, value: f64::from_bits(rng.bits()) };
        let mut points: Vec<Point> = (0..20_000).map(&mut point).collect();
        points.sort_by_key(|point| point.at_ms);
        points.dedup_by_key(|point| point.at_ms);
        for (run, count) in [(1, 300), (1, 700), (100, points.len()), (257, points.len()), (5_000, points.len())] {
            let block = appended(&points[..count], run);
            let bytes = block.chunks.len() + block.tail.len();
            assert!(bytes <= count * 16, "{bytes} bytes for {count} points of {time_bits} bits, {run} at a time");
        }
    }
}

#[test]
fn a_late_point_leaves_other_chunks_as_they_are() {
    let point = |n: i64| Point { at_ms: n * 10, value: (n % 13) as f64 };
    let points: Vec<Point> = (0..40_000).map(point).collect();
    let mut block = appended(&points, points.len());
    let before: Vec<Vec<u8>> = raw_chunks(&block);
    let late = vec![Point { at_ms: 100_005, value: 1.0 }, Point { at_ms: 200_000, value: 2.0 }];
    let done = block.append(late, Duplicates::Last).expect("appended");
    assert_eq!((done.added, done.duplicates, done.late), (1, 1, true));
    let after = raw_chunks(&block);
    let same = before.iter().filter(|chunk| after.contains(chunk)).count();
    assert_eq!(same, before.len() - 2, "only the two chunks that they fall into are new");
    let all = block.points().expect("points");
    assert!(all.is_sorted_by(|a, b| a.at_ms < b.at_ms));
    assert_eq!(all.len(), 40_001);
    assert_eq!(all.iter().find(|point| point.at_ms == 200_000).map(|point| point.value), Some(2.0));
}

fn raw_chunks(block: &Block) -> Vec<Vec<u8>> {
    let (mut at, mut raw) = (0, Vec::new());
    for chunk in block::chunks(&block.chunks) {
        let len = 4 + chunk.expect("a chunk").byte_len();
        raw.push(block.chunks[at..at + len].to_vec());
        at += len;
    }
    raw
}

/// A block against a plain map, under every policy: appends of any size, anywhere.
#[test]
fn any_appends_come_to_what_a_map_holds() {
    for policy in [Duplicates::Last, Duplicates::First, Duplicates::Sum] {
        let mut rng = Rng::new(11);
        let (mut block, mut model) = (Block::default(), std::collections::BTreeMap::<i64, f64>::new());
        for round in 0..120 {
            let (len, start) = (1 + rng.below(if round % 7 == 0 { 6_000 } else { 60 }), rng.below(20_000) as i64);
            let new: Vec<Point> = (0..len)
                .map(|_| Point { at_ms: start + rng.below(2 * len) as i64, value: rng.below(1_000) as f64 })
                .collect();
            // The map takes them one by one in order of time, later ones of a time later.
            let (mut sorted, mut duplicates) = (new.clone(), 0);
            sorted.sort_by_key(|point| point.at_ms);
            for point in sorted {
                match model.get_mut(&point.at_ms) {
                    None => drop(model.insert(point.at_ms, point.value)),
                    Some(held) => {
                        duplicates += 1;
                        match policy {
                            Duplicates::Last => *held = point.value,
                            Duplicates::Sum => *held += point.value,
                            _ => {}
                        }
                    }
                }
            }
            let done = block.append(new, policy).expect("appended");
            assert_eq!((done.added, done.duplicates), (len - duplicates, duplicates), "round {round}");
        }
        let held: Vec<(i64, f64)> = block.points().expect("points").iter().map(|p| (p.at_ms, p.value)).collect();
        assert_eq!(held, model.into_iter().collect::<Vec<_>>(), "{policy:?}");
        let summary = block.summary().expect("readable").expect("points");
        assert_eq!((summary.count as usize, summary.first.at_ms), (held.len(), held[0].0));
    }
}

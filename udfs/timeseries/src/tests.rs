//! The functions as a node calls them, against plain loops over the same points.

use outcrop_udf::fake;
use outcrop_udf::prelude::*;

use super::query::{RangeArgs, WindowArgs};
use super::*;
use crate::fill::Fill;

const SPAN: i64 = 600_000;

/// A series with gaps, in blocks, appended in runs of 100.
fn blocks(points: &[Point]) -> Vec<Record> {
    let mut records: Vec<(i64, Record)> = Vec::new();
    for run in points.chunks(100) {
        for point in run {
            let number = point.at_ms.div_euclid(SPAN);
            let place = match records.iter().position(|(known, _)| *known == number) {
                Some(place) => place,
                None => {
                    records.push((number, Record::fake().key(format!("cpu{{host=a}}@{number}")).absent().build()));
                    records.len() - 1
                }
            };
            let (_, record) = &mut records[place];
            let args = AppendArgs {
                block: number,
                span_ms: SPAN,
                points: Value::List(vec![Value::List(vec![point.at_ms.into(), point.value.into()])]),
                duplicates: Duplicates::Refuse,
                retention_secs: None,
            };
            append(record, args).expect("appended");
        }
    }
    records.into_iter().map(|(_, record)| record.commit()).collect()
}

fn points() -> Vec<Point> {
    (0..3_000)
        .filter(|n| n % 700 < 600)
        .map(|n| Point { at_ms: n * 1_000, value: ((n * 7_919) % 1_000) as f64 / 4.0 })
        .collect()
}

#[test]
fn windows_are_what_a_plain_loop_gives() {
    let (points, step) = (points(), 90_000);
    let blocks = blocks(&points);
    let (from_ms, to_ms) = (10_500, 2_900_000);
    let asked = ["count", "sum", "min", "max", "avg", "first", "last", "stddev", "p50", "p90", "rate"];
    let args = WindowArgs {
        from_ms,
        to_ms,
        step_ms: Some(step),
        align_ms: None,
        aggregates: asked.map(str::to_owned).to_vec(),
        fill: Fill::None,
    };
    let table = fake::run_aggregate::<WindowAggregate>(args, &blocks).expect("windows");
    let mut row = 0;
    for start in (from_ms..to_ms).step_by(step as usize) {
        let end = (start + step).min(to_ms);
        let inside: Vec<f64> =
            points.iter().filter(|point| point.at_ms >= start && point.at_ms < end).map(|point| point.value).collect();
        if inside.is_empty() {
            continue;
        }
        let count = inside.len() as f64;
        let avg = inside.iter().sum::<f64>() / count;
        let mut sorted = inside.clone();
        sorted.sort_by(f64::total_cmp);
        let deviation = (inside.iter().map(|value| (value - avg).powi(2)).sum::<f64>() / count).sqrt();
        let rises: f64 =
            inside.windows(2).map(|pair| if pair[1] >= pair[0] { pair[1] - pair[0] } else { pair[1] }).sum();
        let times: Vec<i64> = points.iter().map(|point| point.at_ms).filter(|at| *at >= start && *at < end).collect();
        let seconds = (times[times.len() - 1] - times[0]) as f64 / 1_000.0;
        let wanted = [
            count,
            inside.iter().sum(),
            sorted[0],
            sorted[sorted.len() - 1],
            avg,
            inside[0],
            inside[inside.len() - 1],
            deviation,
        ];
        assert_eq!(table.start_ms[row], start);
        for (column, wanted) in table.columns.iter().zip(wanted) {
            let found = column.values[row].expect("a value");
            assert!((found - wanted).abs() < 1e-6, "{} of window {start}: {found} and {wanted}", column.name);
        }
        let median = table.columns[8].values[row].expect("a value");
        let middle = (sorted.len() - 1) as f64 / 2.0;
        let exact = (sorted[middle.floor() as usize] + sorted[middle.ceil() as usize]) / 2.0;
        // Exact within one block, a digest's estimate where a window lies across two.
        let bound = if start.div_euclid(SPAN) == (end - 1).div_euclid(SPAN) { 1e-9 } else { 8.0 };
        assert!((median - exact).abs() <= bound, "{median} and {exact}");
        if seconds > 0.0 {
            let rate = table.columns[10].values[row].expect("a rate");
            assert!((rate - rises / seconds).abs() < 1e-6, "{rate} and {}", rises / seconds);
        }
        row += 1;
    }
    assert_eq!(row, table.start_ms.len());
}

#[test]
fn an_average_of_everything_unpacks_nothing() {
    let blocks = blocks(&points());
    let args = WindowArgs {
        from_ms: i64::MIN / 2,
        to_ms: i64::MAX / 2,
        step_ms: None,
        align_ms: None,
        aggregates: vec!["avg".to_owned()],
        fill: Fill::None,
    };
    let table = fake::run_aggregate::<WindowAggregate>(args, &blocks).expect("one window");
    let all = points();
    let avg = all.iter().map(|point| point.value).sum::<f64>() / all.len() as f64;
    assert!((table.columns[0].values[0].expect("a value") - avg).abs() < 1e-9);
    assert_eq!(table.chunks_unpacked, 0);
}

#[test]
fn ranges_come_in_order_and_say_when_there_is_more() {
    let (points, blocks) = (points(), blocks(&points()));
    let range = |limit, latest| {
        let args = RangeArgs { from_ms: 500_000, to_ms: 1_500_000, limit, latest, packed: false };
        fake::run_aggregate::<Range>(args, &blocks).expect("points")
    };
    let wanted: Vec<i64> =
        points.iter().map(|point| point.at_ms).filter(|at| (500_000..1_500_000).contains(at)).collect();
    assert_eq!((range(None, false).times_ms, range(None, false).complete), (wanted.clone(), true));
    assert_eq!((range(Some(3), false).times_ms, range(Some(3), false).complete), (wanted[..3].to_vec(), false));
    assert_eq!(range(Some(3), true).times_ms, wanted[wanted.len() - 3..]);
}

#[test]
fn mistakes_are_refused() {
    let context = fake::Context::new().now_ms(10_000_000_000).enter();
    let mut record = Record::fake().key("cpu@0").absent().build();
    let mut with = |at_ms: i64, retention_secs| {
        let points = Value::List(vec![Value::List(vec![at_ms.into(), Value::Int(1)])]);
        append(
            &mut record,
            AppendArgs { block: 0, span_ms: SPAN, points, duplicates: Duplicates::Refuse, retention_secs },
        )
        .map_err(|error| error.code().to_owned())
    };
    assert_eq!(with(SPAN, None), Err(OUTSIDE_BLOCK.to_owned()));
    assert_eq!(with(1, Some(60)), Err(EXPIRED.to_owned()));
    assert!(with(1, None).is_ok());
    assert_eq!(with(1, None), Err(block::DUPLICATE.to_owned()));
    drop(context);
    let two = [
        Record::fake().key("a@0").bin("t", Value::Bytes(vec![0; 16])),
        Record::fake().key("b@0").bin("t", Value::Bytes(vec![0; 16])),
    ];
    let args = RangeArgs { from_ms: 0, to_ms: 1, limit: None, latest: false, packed: false };
    let error = fake::run_aggregate::<Range>(args, &two.map(|record| record.build())).expect_err("two series");
    assert_eq!(error.code(), "several-series");
}

#[test]
fn a_series_knows_its_blocks() {
    let _context = fake::Context::new().now_ms(2 * SPAN as u64).enter();
    let mut record = Record::fake().key("cpu").absent().build();
    let ask = |blocks: &[i64], span_ms| Register {
        span_ms,
        duplicates: None,
        retention_secs: Some(60),
        blocks: blocks.to_vec(),
    };
    assert_eq!(register(&mut record, ask(&[5, 3, 4, 9], SPAN)).expect("made").blocks, [(3, 5), (9, 9)]);
    let mut record = record.commit();
    assert_eq!(register(&mut record, ask(&[6, 8, 7, 6], SPAN)).expect("added").blocks, [(3, 9)]);
    let mut record = record.commit();
    assert_eq!(register(&mut record, ask(&[7], SPAN)).expect("known").retention_secs, Some(60));
    assert_eq!(record.outcome(), fake::Outcome::Nothing, "nothing new, nothing written");
    assert_eq!(register(&mut record, ask(&[], 1_000)).expect_err("another span").code(), "other-span");
}

#[test]
fn windows_can_begin_at_whole_hours() {
    let blocks = blocks(&points());
    let args = |align_ms| WindowArgs {
        from_ms: 100_500,
        to_ms: 300_000,
        step_ms: Some(60_000),
        align_ms,
        aggregates: vec!["count".to_owned()],
        fill: Fill::None,
    };
    let table = fake::run_aggregate::<WindowAggregate>(args(Some(0)), &blocks).expect("windows");
    assert_eq!(table.start_ms, [60_000, 120_000, 180_000, 240_000]);
    assert_eq!(table.count, [19, 60, 60, 60], "the first is cut by the query's own beginning");
    let table = fake::run_aggregate::<WindowAggregate>(args(Some(-3_600_000 + 30_000)), &blocks).expect("windows");
    assert_eq!(table.start_ms, [90_000, 150_000, 210_000, 270_000]);
    let table = fake::run_aggregate::<WindowAggregate>(args(None), &blocks).expect("windows");
    assert_eq!(table.start_ms, [100_500, 160_500, 220_500, 280_500]);
    let early = WindowArgs { from_ms: i64::MIN, to_ms: i64::MIN + 10, ..args(Some(7)) };
    assert_eq!(fake::run_aggregate::<WindowAggregate>(early, &blocks).expect_err("no room").code(), "invalid-window");
}

#[test]
fn points_come_as_bytes_if_that_is_wanted() {
    let blocks = blocks(&points());
    let asked = RangeArgs { from_ms: 500_000, to_ms: 1_500_000, limit: Some(700), latest: true, packed: false };
    let listed = fake::run_aggregate::<Range>(asked.clone(), &blocks).expect("points");
    let packed = fake::run_aggregate::<Range>(RangeArgs { packed: true, ..asked }, &blocks).expect("points");
    let bytes = packed.packed.expect("bytes");
    let again = block::tail_points(&bytes.0).expect("whole points");
    let (times, values): (Vec<i64>, Vec<f64>) = again.iter().map(|point| (point.at_ms, point.value)).unzip();
    assert_eq!((times, values), (listed.times_ms, listed.values));
    assert!(packed.times_ms.is_empty() && !packed.complete);
}

#[test]
fn a_summary_counts_points_and_bytes() {
    let blocks = blocks(&points());
    let stored = fake::run_aggregate::<Summarize>((), &blocks).expect("a summary");
    let all = points();
    assert_eq!((stored.blocks, stored.points), (blocks.len() as u64, all.len() as u64));
    assert_eq!((stored.first, stored.last), (all.first().copied(), all.last().copied()));
    assert!(stored.bytes > 0 && stored.bytes < all.len() as u64 * 16);
    assert_eq!(fake::run_aggregate::<Summarize>((), &[]).expect("nothing"), summary::Stored::default());
}

#[test]
fn a_set_s_series_are_listed_by_name_and_tags() {
    let series = |key: &str| {
        let mut record = Record::fake().key(key).absent().build();
        let ask = Register { span_ms: SPAN, duplicates: None, retention_secs: None, blocks: vec![2, 4] };
        register(&mut record, ask).expect("made");
        record.commit()
    };
    let mut records = blocks(&points());
    records.extend(["cpu{host=a}", "cpu{host=b,zone=eu}", "cpu", "disk{host=a}"].map(series));
    let listed = |asked| {
        let rows = fake::run_rows::<List>(Some(asked), &records).expect("rows");
        rows.iter().map(|row| row.get("series").cloned().expect("a key")).collect::<Vec<Value>>()
    };
    let tagged = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let all = summary::ListArgs::default();
    assert_eq!(listed(all.clone()).len(), 4, "blocks are no series");
    let named = summary::ListArgs { name: Some("cpu".to_owned()), tags: tagged(&[("host", "a")]) };
    assert_eq!(listed(named), ["cpu{host=a}".into()]);
    assert_eq!(listed(summary::ListArgs { name: None, tags: tagged(&[("host", "a")]) }).len(), 2);
    let rows = fake::run_rows::<List>(None, &records).expect("rows");
    assert_eq!(rows[0].get("blocks"), Some(&Value::Int(2)));
    assert_eq!(rows[0].get("from_ms"), Some(&Value::Int(2 * SPAN)));
    assert_eq!(rows[0].get("to_ms"), Some(&Value::Int(5 * SPAN)));
}

#[test]
fn blocks_that_have_expired_are_forgotten() {
    let now_secs = 10_000_u64;
    let _context = fake::Context::new().now_ms(now_secs * 1_000).enter();
    let mut record = Record::fake().key("cpu").absent().build();
    let ask = |retention_secs, blocks: &[i64]| Register {
        span_ms: SPAN,
        duplicates: None,
        retention_secs,
        blocks: blocks.to_vec(),
    };
    assert_eq!(register(&mut record, ask(None, &[1, 2, 3, 14, 15])).expect("made").blocks, [(1, 3), (14, 15)]);
    let mut record = record.commit();
    // Kept is what is younger than 8,000 s: block 3 reaches from 1,800 to 2,400.
    assert_eq!(register(&mut record, ask(Some(8_000), &[])).expect("trimmed").blocks, [(3, 3), (14, 15)]);
    let mut record = record.commit();
    let series = register(&mut record, ask(Some(0), &[1])).expect("for ever again");
    assert_eq!((series.retention_secs, series.blocks), (None, vec![(1, 1), (3, 3), (14, 15)]));
}

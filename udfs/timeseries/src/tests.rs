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
        let args = RangeArgs { from_ms: 500_000, to_ms: 1_500_000, limit, latest };
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
    let args = RangeArgs { from_ms: 0, to_ms: 1, limit: None, latest: false };
    let error = fake::run_aggregate::<Range>(args, &two.map(|record| record.build())).expect_err("two series");
    assert_eq!(error.code(), "several-series");
}

#[test]
fn a_series_knows_its_blocks() {
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

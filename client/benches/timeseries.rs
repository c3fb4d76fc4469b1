//! What a time series takes, as a client sees it: points appended a second, in batches of several sizes, and the time of
//! an average, of windows and of percentiles over 1.05 M points of one series. Node and client share this process.
//!
//! `cargo bench -p outcrop-client --bench timeseries`; best and median of the runs are printed.

use std::time::{Duration, Instant};

use outcrop_client::timeseries::{Point, SeriesName, TimeSeries, WindowFunction, WindowQuery};

use crate::models::Models;

#[path = "../tests/support/models.rs"]
mod models;

/// The series of the goals: 1.05 M points, one a second.
const POINTS: i64 = 1_050_000;
const START_MS: i64 = 1_404_172_800_000;
const RUNS: usize = 15;

fn main() {
    // The harness of cargo's own tests asks benches for their tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

/// A measurement that wanders in steps of a hundredth, as sensors do.
fn points(count: i64) -> Vec<Point> {
    let mut state = 1_u64;
    let mut level = 2_000_i64;
    (0..count)
        .map(|n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            level += (state >> 61) as i64 - 3;
            Point::new(START_MS + n * 1_000, level as f64 / 100.0)
        })
        .collect()
}

async fn run() {
    let models = Models::start(1).await;
    let series = |name: &str| models.client.time_series("test", "bench", SeriesName::new(name)).expect("a name");
    let all = points(POINTS);
    // The first call compiles nothing any more, nor connects.
    series("warm").append(&all[..100_000]).await.expect("appended");
    for batch in [100, 1_000, 10_000, 100_000] {
        let count = all.len().min(batch * 400);
        append(&series(&format!("by-{batch}")), &all[..count], batch).await;
    }
    let whole = series("whole");
    append(&whole, &all, all.len()).await;
    let stored = whole.stored().await.expect("a summary");
    let each = stored.bytes as f64 / stored.points as f64;
    println!("{} points in {} blocks, {each:.2} bytes a point", stored.points, stored.blocks);
    let query = || WindowQuery::new(START_MS, START_MS + POINTS * 1_000);
    let average = query().function(WindowFunction::Avg);
    measure("average", || windows(&whole, &average)).await;
    let daily = query().every_ms(86_400_000).function(WindowFunction::Avg).function(WindowFunction::Max);
    measure("average and maximum a day", || windows(&whole, &daily)).await;
    let percentiles = query().function(WindowFunction::Percentile(99.0));
    measure("99th percentile", || windows(&whole, &percentiles)).await;
    measure("all points, read", || async {
        let pages = whole.range(i64::MIN, i64::MAX).await.expect("a range");
        assert_eq!(pages.all().await.expect("points").len() as i64, POINTS);
    })
    .await;
    models.stop().await;
}

async fn windows(series: &TimeSeries, query: &WindowQuery) {
    let table = series.windows(query).await.expect("windows");
    assert_eq!(table.count.iter().sum::<u64>() as i64, POINTS);
}

async fn append(series: &TimeSeries, points: &[Point], batch: usize) {
    let begun = Instant::now();
    for run in points.chunks(batch) {
        series.append(run).await.expect("appended");
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("append, {batch} points a batch: {:.0} points/s ({} points)", points.len() as f64 / seconds, points.len());
}

async fn measure<F: Future<Output = ()>>(name: &str, mut once: impl FnMut() -> F) {
    let mut times: Vec<Duration> = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        once().await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("{name} of {POINTS} points: {:.1?} best, {:.1?} median", times[0], times[RUNS / 2]);
}

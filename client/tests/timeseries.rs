//! Time series against a real node: what comes out is what a plain list of points gives, whatever the order and the blocks.

#[path = "support/models.rs"]
mod models;

use std::collections::BTreeMap;
use std::time::Duration;

use outcrop_client::timeseries::{
    Duplicates, Fill, Point, SeriesName, SeriesOptions, TimeSeries, TimeSeriesError, WindowFunction, WindowQuery,
};
use outcrop_client::{Client, Key};

use models::Models;

fn series(client: &Client, name: &str, span: Duration) -> TimeSeries {
    let options = SeriesOptions::default().span(span);
    client.time_series("test", "metrics", name.parse().expect("a name")).expect("within the limits").options(options)
}

/// Points of 60 blocks of an hour, with a hole of half a day, shuffled.
fn shuffled() -> Vec<Point> {
    let mut points: Vec<Point> = (0..21_600)
        .filter(|n| !(7_200..11_520).contains(n))
        .map(|n| Point::new(1_404_172_800_000 + n * 10_000, ((n * 7_919) % 1_000) as f64 / 4.0))
        .collect();
    let mut state = 5_u64;
    for place in (1..points.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        points.swap(place, (state >> 33) as usize % (place + 1));
    }
    points
}

#[tokio::test]
async fn points_in_any_order_come_out_in_theirs() {
    let models = Models::start(1).await;
    let hour = series(&models.client, "cpu{host=a}", Duration::from_secs(3_600));
    let mut wanted = shuffled();
    for run in wanted.chunks(5_000) {
        let appended = hour.append(run).await.expect("appended");
        assert_eq!((appended.added, appended.duplicates, appended.expired), (run.len() as u64, 0, 0));
    }
    wanted.sort_by_key(|point| point.at_ms);
    let all = hour.range(i64::MIN, i64::MAX).await.expect("a range").all().await.expect("points");
    assert_eq!(all, wanted);
    let (from_ms, to_ms) = (wanted[1_234].at_ms, wanted[9_000].at_ms);
    let part = hour.range(from_ms, to_ms).await.expect("a range").all().await.expect("points");
    assert_eq!(part, wanted[1_234..9_000], "the end is excluded");
    assert_eq!(hour.last(3).await.expect("points"), wanted[wanted.len() - 3..]);
    assert_eq!(hour.last(10_000).await.expect("points"), wanted[wanted.len() - 10_000..], "over many blocks");

    let stored = hour.stored().await.expect("a summary");
    assert_eq!((stored.blocks, stored.points), (48, wanted.len() as u64));
    assert_eq!((stored.first, stored.last), (wanted.first().copied(), wanted.last().copied()));
    let known = hour.describe().await.expect("told").expect("it is there");
    assert_eq!((known.span_ms, known.blocks.len()), (3_600_000, 2), "two runs, with a hole between");
    windows_are_what_a_plain_loop_gives(&hour, &wanted).await;
    assert!(hour.delete().await.expect("deleted") && !hour.delete().await.expect("gone"));
    assert!(matches!(hour.last(1).await, Err(TimeSeriesError::NoSeries(_))));
    let left = models.client.exists(&Key::new("test", "metrics", "cpu{host=a}@390048")).await.expect("told");
    assert!(left.is_none(), "its blocks are gone as well");
    models.stop().await;
}

async fn windows_are_what_a_plain_loop_gives(series: &TimeSeries, points: &[Point]) {
    let (from_ms, to_ms) = (points[100].at_ms, points[points.len() - 100].at_ms);
    let step_ms = 5_400_000;
    let query = [WindowFunction::Avg, WindowFunction::Max, WindowFunction::Count, WindowFunction::Percentile(50.0)]
        .into_iter()
        .fold(WindowQuery::new(from_ms, to_ms).every_ms(step_ms).aligned_to_ms(0), WindowQuery::function);
    let table = series.windows(&query).await.expect("windows");
    let mut wanted: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for point in points.iter().filter(|point| (from_ms..to_ms).contains(&point.at_ms)) {
        wanted.entry(point.at_ms.div_euclid(step_ms) * step_ms).or_default().push(point.value);
    }
    assert_eq!(table.start_ms, wanted.keys().copied().collect::<Vec<_>>());
    for (row, values) in table.rows().zip(wanted.values_mut()) {
        values.sort_by(f64::total_cmp);
        let close = |place: usize, exact: f64| {
            let found = row.values[place].expect("a value");
            assert!((found - exact).abs() < 1e-9, "column {place} of {}: {found}, not {exact}", row.start_ms);
        };
        close(0, values.iter().sum::<f64>() / values.len() as f64);
        close(1, values[values.len() - 1]);
        close(2, values.len() as f64);
        let half = (values.len() - 1) as f64 / 2.0;
        close(3, f64::midpoint(values[half.floor() as usize], values[half.ceil() as usize]));
    }
    let filled = series.windows(&query.clone().fill(Fill::Null)).await.expect("windows");
    assert!(filled.rows().count() > table.rows().count());
    assert!(filled.rows().filter(|row| row.count == 0).all(|row| row.values.iter().all(Option::is_none)));
    let daily = series.clone().options(SeriesOptions::default());
    assert_eq!(daily.series(), series.series());
    let wrong = series.windows(&WindowQuery::new(5, 5).function(WindowFunction::Avg)).await;
    assert!(matches!(wrong, Err(TimeSeriesError::Arguments(_))), "{wrong:?}");
    let none = series.windows(&WindowQuery::new(0, 1)).await.expect_err("no function");
    assert!(none.to_string().contains("1 to 32 aggregates"), "{none}");
}

#[tokio::test]
async fn policies_hold_for_every_append() {
    let models = Models::start(1).await;
    let client = &models.client;
    let hour = Duration::from_secs(3_600);
    // A time that is there already.
    for (policy, value) in [(Duplicates::Last, 2.0), (Duplicates::First, 1.0), (Duplicates::Sum, 3.0)] {
        let options = SeriesOptions::default().span(hour).duplicates(policy);
        let name = SeriesName::new("visits").tag("policy", policy.name());
        let visits = client.time_series("test", "metrics", name).expect("a name").options(options);
        visits.append(&[Point::new(7, 1.0)]).await.expect("appended");
        let again = visits.append(&[Point::new(7, 2.0), Point::new(8, 5.0)]).await.expect("appended");
        assert_eq!((again.added, again.duplicates), (1, 1));
        let points = visits.last(10).await.expect("points");
        assert_eq!(points, [Point::new(7, value), Point::new(8, 5.0)], "{policy:?}");
    }
    let options = SeriesOptions::default().span(hour).duplicates(Duplicates::Refuse);
    let refusing = series(client, "refusing", hour).options(options);
    refusing.append(&[Point::new(7, 1.0)]).await.expect("appended");
    let error = refusing.append(&[Point::new(7, 2.0), Point::new(3_600_000, 1.0)]).await.expect_err("a time is there");
    let TimeSeriesError::Partly { appended, failed } = &error else { panic!("{error}") };
    assert_eq!((appended.added, failed.len(), &failed[0].points[..]), (1, 1, &[Point::new(7, 2.0)][..]));
    let code = failed[0].error.function().and_then(|function| function.failure_code.clone());
    assert_eq!(code.as_deref(), Some("duplicate-time"));
    assert_eq!(refusing.last(10).await.expect("points"), [Point::new(7, 1.0), Point::new(3_600_000, 1.0)]);

    // Another span, and a span that somebody else chose.
    let other = series(client, "refusing", Duration::from_secs(60)).append(&[Point::new(9, 1.0)]).await;
    assert!(matches!(other, Err(TimeSeriesError::OtherSpan { held_ms: 3_600_000, asked_ms: 60_000, .. })), "{other:?}");
    let free = client.time_series("test", "metrics", SeriesName::new("refusing")).expect("a name");
    free.append(&[Point::new(9, 1.0)]).await.expect("with the series' own span");

    // What is too old already is counted, not written; blocks have a time to live.
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis() as i64;
    let options = SeriesOptions::default().span(hour).retention(Duration::from_secs(86_400));
    let kept = series(client, "kept", hour).options(options);
    let appended = kept.append(&[Point::new(0, 1.0), Point::new(now_ms, 2.0)]).await.expect("appended");
    assert_eq!((appended.added, appended.expired), (1, 1));
    let block = Key::new("test", "metrics", format!("kept@{}", now_ms / 3_600_000));
    let expiry_secs = client.exists(&block).await.expect("told").expect("it is there").expiry_secs.expect("it expires");
    assert_eq!(i64::from(expiry_secs), (now_ms / 3_600_000 + 1) * 3_600 + 86_400, "behind the block's end");
    let own = client.exists(&Key::new("test", "metrics", "kept")).await.expect("told").expect("it is there");
    assert_eq!(own.expiry_secs, None, "the series itself stays");

    // Lists, and a span that is chosen by the points.
    let chosen = client.time_series("test", "metrics", SeriesName::new("chosen")).expect("a name");
    let points: Vec<Point> = (0..10).map(|n| Point::new(n * 60_000, 0.5)).collect();
    chosen.append(&points).await.expect("appended");
    let mut listed = BTreeMap::new();
    let mut list = client.list_time_series("test", "metrics");
    while let Some(entry) = list.next().await {
        let entry = entry.expect("a series");
        listed.insert(entry.series, entry.span_ms);
    }
    assert_eq!(listed.len(), 6, "{listed:?}");
    assert_eq!(listed["chosen"], 7 * 86_400_000);
    models.stop().await;
}

/// Two programs that make a series at once, each with points of its own, choose different spans: one of them yields.
#[tokio::test]
async fn appends_at_once_agree_on_a_span() {
    let models = Models::start(1).await;
    let at = || models.client.time_series("test", "metrics", SeriesName::new("shared")).expect("a name");
    let runs: Vec<Vec<Point>> = [1_i64, 1_000, 60_000]
        .map(|gap| (1..500).map(|n| Point::new(n * gap * 7 + gap % 5, n as f64)).collect())
        .into();
    let (a, b, c) = (at(), at(), at());
    let (one, two, three) = tokio::join!(a.append(&runs[0]), b.append(&runs[1]), c.append(&runs[2]));
    let added = one.expect("appended").added + two.expect("appended").added + three.expect("appended").added;
    let times: std::collections::BTreeSet<i64> = runs.iter().flatten().map(|point| point.at_ms).collect();
    assert_eq!(added, times.len() as u64);
    let all = at().range(i64::MIN, i64::MAX).await.expect("a range").all().await.expect("points");
    assert_eq!(all.iter().map(|point| point.at_ms).collect::<Vec<_>>(), times.into_iter().collect::<Vec<_>>());
    models.stop().await;
}

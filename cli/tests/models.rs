//! `outcrop ts` and `outcrop doc` as a person uses them, against a real node.

mod support;

use serde_json::{Value, json};
use support::{Dev, file};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}

/// A node whose modules are compiled: the first call waits for that, on a busy machine for long.
fn start() -> Dev {
    let dev = Dev::start();
    dev.ok(&["call", "test/warm/up", "timeseries.describe", "--deadline", "5m"]);
    dev.ok(&["call", "test/warm/up", "document.merge", "[{}]", "--deadline", "5m"]);
    dev.ok(&["delete", "test/warm/up"]);
    dev
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_series_is_imported_read_aggregated_and_deleted() {
    let dev = start();
    let directory = tempfile::tempdir().expect("temporary directory");
    let csv = "timestamp,value\n2014-07-01 00:00:00,10\n2014-07-01T00:30:00Z,20\nyesterday,1\n1404176400,30\n\
               1404178200000,x\n2014-07-01 02:00:00+00:00,50\n2014-07-01 00:00:00,11\n2014-07-02";
    let rows = file(directory.path(), "rows.csv", csv);
    let bad = support::path(directory.path(), "bad.ndjson");
    let import = ["ts", "import", &rows, "--into", "test/metrics/taxi", "-q", "--bad-rows", &bad, "-o", "json"];
    let imported = dev.run(&import);
    assert_eq!(imported.status.code(), Some(3), "{imported:?}");
    let report = &lines(&text(&imported.stdout))[0];
    assert_eq!((&report["imported"], &report["bad"], &report["complete"]), (&json!(5), &json!(3), &json!(true)));
    assert_eq!((&report["new_points"], &report["duplicates"]), (&json!(4), &json!(1)));
    assert!(report["bytes_a_point"].as_f64().is_some_and(|bytes| bytes > 0.0), "{report}");
    let bad = lines(&std::fs::read_to_string(&bad).expect("the report"));
    let places: Vec<(u64, u64)> =
        bad.iter().map(|row| (row["row"].as_u64().expect("row"), row["line"].as_u64().expect("line"))).collect();
    assert_eq!(places, [(3, 4), (5, 6), (8, 9)], "{bad:?}");
    assert!(bad[0]["reason"].as_str().is_some_and(|reason| reason.contains("\"yesterday\" is no time")), "{bad:?}");

    let range = dev.ok(&["ts", "range", "test/metrics/taxi", "--to", "2014-07-01T01:00:00Z", "--csv"]);
    assert_eq!(range, "timestamp,value\n2014-07-01T00:00:00Z,11\n2014-07-01T00:30:00Z,20\n");
    let copied = dev.run_with_input(&["ts", "import", "-", "--into", "test/metrics/copy", "-q"], range.as_bytes());
    assert!(copied.status.success(), "{copied:?}");
    let last = dev.json(&["ts", "last", "test/metrics/taxi"]);
    assert_eq!(last, json!({"time": "2014-07-01T02:00:00Z", "time_ms": 1_404_180_000_000_i64, "value": 50.0}));
    let agg = dev.ok(&[
        "ts",
        "agg",
        "test/metrics/taxi",
        "--every",
        "30m",
        "--fn",
        "avg,count",
        "--fill",
        "linear",
        "-o",
        "json",
    ]);
    let values: Vec<f64> = lines(&agg).iter().map(|row| row["avg"].as_f64().expect("a value")).collect();
    assert_eq!(values, [11.0, 20.0, 30.0, 40.0, 50.0]);
    let shown = dev.ok(&["ts", "agg", "test/metrics/taxi"]);
    assert!(shown.contains("27.75"), "{shown}");
    dev.ok(&["ts", "agg", "test/metrics/taxi", "--every", "1h", "--fn", "max", "--into", "test/metrics/taxi{by=hour}"]);
    let hourly = dev.ok(&["ts", "range", "test/metrics/taxi", "--tag", "by=hour", "--csv"]);
    assert_eq!(hourly.lines().count(), 4, "{hourly}");
    let listed = dev.ok(&["ts", "list", "test/metrics", "-o", "json"]);
    let names: Vec<Value> = lines(&listed).iter().map(|entry| entry["series"].clone()).collect();
    assert_eq!(names, ["copy", "taxi", "taxi{by=hour}"]);
    let info = dev.json(&["ts", "info", "test/metrics/taxi"]);
    assert_eq!(
        (&info["points"], &info["duplicates"], &info["retention_secs"]),
        (&json!(4), &json!("last"), &Value::Null)
    );
    dev.ok(&["ts", "delete", "test/metrics/taxi"]);
    assert!(dev.fails(1, &["ts", "last", "test/metrics/taxi"]).contains("there is no series taxi"));
}

#[test]
fn appends_say_what_they_did_and_mistakes_what_to_do() {
    let dev = start();
    let cpu = ["--tag", "host=a"];
    let points = ["-o", "json", "--", "1404172800=0.5", "-3", "-1m=-4"];
    let appended = dev.ok(&[&["ts", "append", "test/metrics/cpu"], &cpu[..], &points[..]].concat());
    let appended = &lines(&appended)[0];
    assert_eq!(dev.json(&["ts", "append", "test/metrics/cpu", "--tag", "host=b", "-3"])["added"], json!(1));
    assert_eq!((&appended["series"], &appended["added"]), (&json!("test/metrics/cpu{host=a}"), &json!(3)));
    assert_eq!(dev.json(&["ts", "last", "test/metrics/cpu{host=a}"])["value"], json!(-3.0));
    dev.ok(&["ts", "set", "test/metrics/once", "--span", "1h", "--duplicates", "refuse", "--retention", "3650d"]);
    dev.ok(&["ts", "append", "test/metrics/once", "now=1"]);
    dev.ok(&["ts", "append", "test/metrics/once", "2026-01-01=1"]);
    let refused = dev.fails(7, &["ts", "append", "test/metrics/once", "2026-01-01=2"]);
    assert!(refused.contains("there is a point at 1767225600000 ms already"), "{refused}");
    let old = dev.ok(&["ts", "append", "test/metrics/once", "1990-01-01=2"]);
    assert!(old.contains("1 older than the series keeps them"), "{old}");
    let span = dev.fails(2, &["ts", "append", "test/metrics/once", "--span", "1d", "1"]);
    assert!(span.contains("has blocks of 3600000 ms"), "{span}");
    assert!(dev.fails(2, &["ts", "append", "test/metrics/cpu", "soon=1"]).contains("is no time"));
    assert!(dev.fails(2, &["ts", "append", "test/metrics/cpu{host", "1"]).contains("tags stand in braces"));
    assert!(dev.fails(2, &["ts", "agg", "test/metrics/once", "--fn", "mean"]).contains("p0 to p100"));
    assert!(
        dev.fails(2, &["ts", "agg", "test/metrics/once", "--from", "now", "--to", "-1h"])
            .contains("nothing lies between")
    );
    let many = dev.fails(7, &["ts", "agg", "test/metrics/once", "--every", "1ms", "--from", "-1h", "--to", "now"]);
    assert!(many.contains("100000 windows"), "{many}");
    let header = dev.run_with_input(&["ts", "import", "-", "--into", "test/metrics/x", "-q"], b"at,value\n1,2\n");
    assert_eq!(header.status.code(), Some(2), "{header:?}");
    assert!(text(&header.stderr).contains("no field \"timestamp\", but at, value"), "{header:?}");
}

#[test]
fn documents_are_read_and_changed_where_a_path_points() {
    let dev = start();
    let lamp = r#"{"name": "lamp", "price": 80, "id": 9007199254740993, "tags": ["new", "red"], "size": {"w": 1.0}}"#;
    dev.ok(&["doc", "set", "test/shop/lamp", lamp]);
    let exact = r#"{"name":"lamp","price":80,"id":9007199254740993,"tags":["new","red"],"size":{"w":1.0}}"#;
    assert_eq!(dev.ok(&["doc", "get", "test/shop/lamp"]).trim(), exact, "integers and order are kept");
    assert_eq!(dev.ok(&["get", "test/shop/lamp", "-o", "json"]).trim(), exact, "a document is a record");
    assert_eq!(dev.ok(&["doc", "get", "test/shop/lamp", "$.tags[*]"]), "\"new\"\n\"red\"\n");
    assert_eq!(dev.json(&["doc", "get", "test/shop/lamp", "$..w"]), json!([1.0]));
    assert_eq!(dev.ok(&["doc", "get", "test/shop/lamp", "$..w", "--paths"]), "$['size']['w']\n");
    assert!(dev.ok(&["doc", "set", "test/shop/lamp", "$.tags[*]", "\"x\""]).contains("changed in 2 places"));
    assert_eq!(dev.json(&["doc", "insert", "test/shop/lamp", "$.size.h", "2"])["changed"], json!(1));
    dev.ok(&["doc", "append", "test/shop/lamp", "$.tags", r#"{"deep": [1]}"#]);
    dev.ok(&["doc", "delete", "test/shop/lamp", "$.tags[0]"]);
    assert_eq!(dev.ok(&["doc", "increment", "test/shop/lamp", "$.price", "-5"]), "75\n");
    assert_eq!(dev.ok(&["doc", "increment", "test/shop/lamp", "$.id"]), "9007199254740994\n");
    let merged = dev.json(&["doc", "merge", "test/shop/lamp", r#"{"id": null, "color": "red"}"#]);
    assert_eq!(merged["color"], json!("red"));
    let patch =
        r#"[{"op": "test", "path": "/price", "value": 75}, {"op": "move", "from": "/color", "path": "/colour"}]"#;
    let patched = dev.run_with_input(&["doc", "patch", "test/shop/lamp", "-"], patch.as_bytes());
    assert!(patched.status.success(), "{patched:?}");
    let wanted = r#"{"name":"lamp","price":75,"tags":["x",{"deep":[1]}],"size":{"w":1.0,"h":2},"colour":"red"}"#;
    assert_eq!(text(&patched.stdout).trim(), wanted);
    assert_eq!(dev.ok(&["doc", "get", "test/shop/lamp"]).trim(), wanted);

    let failing = r#"[{"op": "remove", "path": "/name"}, {"op": "test", "path": "/price", "value": 1}]"#;
    dev.fails(4, &["doc", "patch", "test/shop/lamp", failing]);
    dev.fails(2, &["doc", "patch", "test/shop/lamp", r#"[{"op": "rename"}]"#]);
    dev.fails(4, &["doc", "delete", "test/shop/lamp", "$.name", "--if-generation", "1"]);
    let path = dev.fails(2, &["doc", "get", "test/shop/lamp", "$.tags[?@ ="]);
    assert!(path.contains("1:10") || path.contains("1:11") || path.contains("1:9"), "line and column: {path}");
    assert!(dev.fails(1, &["doc", "get", "test/shop/sofa"]).contains("there is no document"));
    assert!(dev.fails(2, &["doc", "set", "test/shop/lamp", "[1]"]).contains("an object, not an array"));
    assert!(dev.fails(7, &["doc", "increment", "test/shop/lamp", "$.name"]).contains("$['name'] is a string"));
    assert!(dev.ok(&["doc", "set", "test/shop/lamp", "$.nowhere", "1"]).contains("nothing matches"));
    assert_eq!(dev.ok(&["doc", "get", "test/shop/lamp"]).trim(), wanted, "what failed changed nothing");
}

#[test]
fn sets_of_documents_are_filtered_counted_and_grouped() {
    let dev = start();
    for (key, price, brand) in [("lamp", 80, "X"), ("chair", 20, "Y"), ("table", 120, "X")] {
        let document = format!(r#"{{"price": {price}, "brand": "{brand}"}}"#);
        dev.ok(&["doc", "set", &format!("test/shop/{key}"), &document]);
    }
    let found = dev.ok(&["doc", "query", "test/shop", "@.price < 100 && @.brand == 'X'", "-o", "json"]);
    assert_eq!(lines(&found), [json!({"key": "lamp", "document": {"price": 80, "brand": "X"}})]);
    let selected = dev.ok(&["doc", "query", "test/shop", "--select", "$.price", "-o", "json", "--limit", "2"]);
    assert_eq!(lines(&selected).len(), 2);
    assert_eq!(dev.ok(&["doc", "count", "test/shop", "@.price >= 80"]), "2\n");
    assert_eq!(dev.ok(&["doc", "count", "test/shop"]), "3\n");
    let brands = dev.json(&["doc", "distinct", "test/shop", "$.brand"]);
    assert_eq!(brands["values"], json!([{"value": "X", "count": 2}, {"value": "Y", "count": 1}]));
    let shown = dev.ok(&["doc", "distinct", "test/shop", "$.brand", "--filter", "@.price < 100"]);
    assert!(shown.contains('X') && shown.contains('Y'), "{shown}");
    dev.fails(2, &["doc", "query", "test/shop", "@.price <"]);
    dev.fails(2, &["doc", "count", "test/shop", "length(@.*) < 3"]);
}

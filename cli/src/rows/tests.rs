//! Tests of rows: what is taken, what is reported, and that one bad row leaves the others alone.

use outcrop_wire::Value;

use super::*;

fn options(format: Format, key: &str) -> RowOptions {
    RowOptions { format, key: KeyField::parse(key), key_type: KeyType::Auto, delimiter: b',' }
}

fn read(text: &[u8], options: &RowOptions) -> (Vec<Row>, Option<String>) {
    let mut rows = Vec::new();
    let end = read_rows(text, options, Arc::default(), &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    (rows, end.err().map(|error| error.to_string()))
}

fn keys(rows: &[Row]) -> Vec<Option<UserKey>> {
    rows.iter().map(|row| row.content.as_ref().ok().map(|(key, _)| key.clone())).collect()
}

fn int(number: i64) -> Option<UserKey> {
    Some(UserKey::Int(number))
}

#[test]
fn an_array_goes_on_after_a_bad_document() {
    let text = br#" [ {"id":1,"a":"]}\"{"}, {"id":2,"id":3}, {"id":"\ud800"}, {"id":1e400},
        [], {"x":1}, {"id":1.5}, nul, {"id":"z"} ] "#;
    let (rows, end) = read(text, &options(Format::Json, "id"));
    assert_eq!(end, None);
    let none = || None;
    let expected = vec![int(1), none(), none(), none(), none(), none(), none(), none(), Some(UserKey::from("z"))];
    assert_eq!(keys(&rows), expected);
    assert_eq!(rows[4].line, 2);
    let reasons: Vec<String> = rows.iter().filter_map(|row| row.content.clone().err()).collect();
    assert!(reasons[0].contains("twice") && reasons[1].contains("surrogate") && reasons[2].contains("1e"));
    assert!(reasons[4].contains("no field \"id\"") && reasons[5].contains("float"));
}

#[test]
fn a_file_that_breaks_off_says_where() {
    for (text, reason) in [
        (&br#"[{"id":1},{"id":2"#[..], "ends inside a value"),
        (br#"[{"id":1},"#, "ends before the array"),
        (br#"[{"id":1}"#, "ends before the array"),
        (br#"[{"id":1},]"#, "a comma before"),
        (br#"[{"id":1}{"id":2}]"#, "expected a comma"),
        (br#"[{"id":1}] 2"#, "something follows"),
    ] {
        let (rows, end) = read(text, &options(Format::Json, "id"));
        assert_eq!(keys(&rows[..1]), vec![int(1)]);
        assert!(end.as_deref().is_some_and(|end| end.contains(reason)), "{end:?}");
    }
    for text in [&b""[..], b"{}", b"  "] {
        let (rows, end) = read(text, &options(Format::Json, "id"));
        assert!(rows.is_empty() && end.is_some_and(|end| end.contains("one array")));
    }
    assert_eq!(read(b"\xef\xbb\xbf[ ]", &options(Format::Json, "id")), (Vec::new(), None));
}

#[test]
fn documents_one_after_another() {
    let text = b"{\"id\":1}\n\n{\"id\":2}{\"id\":\n3}\r\n{bad}\n5\n{\"id\":4}";
    let (rows, end) = read(text, &options(Format::Ndjson, "id"));
    assert_eq!(end, None);
    assert_eq!(keys(&rows), vec![int(1), int(2), int(3), None, None, int(4)]);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), vec![1, 3, 3, 5, 6, 7]);
    let (rows, _) = read(b"5 \"a\" [1]", &options(Format::Ndjson, "-"));
    assert_eq!(keys(&rows), vec![int(1), int(2), int(3)]);
    assert_eq!(rows[0].content, Ok((UserKey::Int(1), Bins::unnamed(5))));
}

/// Catches: a document without its last brace or quote that swallowed every document behind it.
#[test]
fn a_broken_document_leaves_the_next_line_alone() {
    for broken in
        ["{\"id\":2,\"a\":{\"b\":1}", "{\"id\":2,\"a\":\"b}", "{\"id\":[2,{}", "not json at all", "garbage {\"id\":9}"]
    {
        let text = format!("{{\"id\":1}}\n{broken}\n{{\"id\":3}}\n{{\"id\":4}}\n{broken}");
        let (rows, end) = read(text.as_bytes(), &options(Format::Ndjson, "id"));
        assert_eq!(end, None, "{broken}");
        assert_eq!(keys(&rows), vec![int(1), None, int(3), int(4), None], "{broken}");
        assert_eq!(
            rows.iter().map(|row| (row.number, row.line)).collect::<Vec<_>>(),
            (1..=5).map(|n| (n, n)).collect::<Vec<_>>()
        );
    }
    let pretty = b"{\n  \"id\": 1,\n  \"list\": [\n    {\"a\": 1}\n  ]\n}\n{\n  \"id\": 2\n}\n";
    assert_eq!(
        keys(&read(pretty, &options(Format::Ndjson, "id")).0),
        vec![int(1), int(2)],
        "documents of several lines"
    );
}

#[test]
fn nesting_of_a_million_is_one_bad_row() {
    let text = format!("{{\"id\":1,\"a\":{}{}}}\n{{\"id\":2}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let (rows, end) = read(text.as_bytes(), &options(Format::Ndjson, "id"));
    assert_eq!((keys(&rows), end), (vec![None, int(2)], None));
}

#[test]
fn ragged_rows_of_csv_are_reported() {
    let text = b"id,name\n1,a\n2\n3,c,d\n\"4\",\"x\ny\"\n5,\xff\n6,f";
    let (rows, end) = read(text, &options(Format::Csv, "id"));
    assert_eq!(end, None);
    assert_eq!(keys(&rows), vec![int(1), None, None, int(4), None, int(6)]);
    assert_eq!(rows[1].content, Err("it has 1 fields, the header has 2".to_owned()));
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), vec![2, 3, 4, 5, 7, 8]);
    let (crlf, _) = read(b"id,name\r\n1,a\r\n2\r\n3,c\r\n", &options(Format::Csv, "id"));
    assert_eq!(crlf.iter().map(|row| row.line).collect::<Vec<_>>(), vec![2, 3, 4]);
    assert_eq!(rows[3].content, Ok((UserKey::Int(4), Bins::new().with("id", 4).with("name", "x\ny"))));
}

#[test]
fn headers_that_cannot_serve() {
    for (text, reason) in
        [(&b""[..], "empty"), (b"a,a\n", "twice"), (b"a,b\n1,2\n", "no field \"id\""), (b"id,\xff\n1,2\n", "UTF-8")]
    {
        let (rows, end) = read(text, &options(Format::Csv, "id"));
        assert!(rows.is_empty() && end.as_deref().is_some_and(|end| end.contains(reason)), "{end:?}");
    }
}

#[test]
fn keys_by_type() {
    let mut as_text = options(Format::Ndjson, "id");
    as_text.key_type = KeyType::Text;
    let (rows, _) = read(b"{\"id\":1}{\"id\":\"1\"}{\"id\":1.5}{\"id\":\"\"}", &as_text);
    assert_eq!(keys(&rows), vec![Some("1".into()), Some("1".into()), None, None]);
    let mut as_int = options(Format::Csv, "id");
    as_int.key_type = KeyType::Int;
    let (rows, _) = read(b"id\n1\nx\n01\n", &as_int);
    assert_eq!(keys(&rows), vec![int(1), None, None]);
}

#[test]
fn a_printed_key_is_taken_out_of_the_document() {
    let text = b"{\"$key\":\"text:1\",\"\":[1]}{\"$key\":\"1\",\"$bytes\":\"no tag\"}{\"$key\":1}{\"a\":1}";
    let (rows, _) = read(text, &options(Format::Ndjson, "$key"));
    assert_eq!(rows[0].content, Ok(("1".into(), Bins::unnamed(vec![Value::Int(1)]))));
    assert_eq!(rows[1].content, Ok((1.into(), Bins::new().with("$bytes", "no tag"))));
    assert_eq!(keys(&rows[2..]), vec![None, None]);
    let (rows, _) = read(b"$key,a\nhex:00,1\n", &options(Format::Csv, "$key"));
    assert_eq!(rows[0].content, Ok((vec![0_u8].into(), Bins::new().with("a", 1))));
}

#[test]
fn reading_stops_when_told() {
    let mut seen = 0;
    let end = read_rows(&b"1 2 3"[..], &options(Format::Ndjson, "-"), Arc::default(), &mut |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert!(end.is_ok());
    assert_eq!(seen, 1);
}

/// A row that never ends must be an error, not all of memory; where its end is known the next row is still read.
#[test]
fn rows_without_end_are_errors() {
    let mut text = b"{\"id\":1,\"a\":\"".to_vec();
    text.resize(text.len() + ROW_BYTES_MAX, b'x');
    text.extend_from_slice(b"\"}{\"id\":2}");
    let (rows, end) = read(&text, &options(Format::Ndjson, "id"));
    assert_eq!((keys(&rows), end), (vec![None, int(2)], None));
    let endless = b"id,a\n1,b\n2,\"".chain(std::io::repeat(b'x'));
    let mut seen = Vec::new();
    let end = read_rows(endless, &options(Format::Csv, "id"), Arc::default(), &mut |row| {
        seen.push(row);
        ControlFlow::Continue(())
    });
    assert_eq!(keys(&seen), vec![int(1)]);
    assert!(end.is_err_and(|end| end.to_string().contains("quote never closed")));
}

//! The examples of RFC 9535 (JSONPath), section by section, and of RFC 6902's appendix.

use serde_json::{Value as Json, json};

use crate::path::{Path, normalized};
use crate::rfc::{TEST_FAILED, patch};

/// The values that a path points at. An object's members and descendants may come in any order, so the lists are sorted.
fn values(document: &Json, path: &str) -> Vec<String> {
    let path = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut values: Vec<String> =
        path.values(document).expect("values").iter().map(|value| value.to_string()).collect();
    values.sort();
    values
}

fn check(document: &Json, examples: &[(&str, Json)]) {
    for (path, wanted) in examples {
        let mut wanted: Vec<String> = wanted.as_array().expect("a list").iter().map(Json::to_string).collect();
        wanted.sort();
        assert_eq!(values(document, path), wanted, "{path}");
    }
}

fn store() -> Json {
    json!({"store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3",
             "price": 8.99},
            {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings",
             "isbn": "0-395-19395-8", "price": 22.99}
        ],
        "bicycle": {"color": "red", "price": 399}
    }})
}

#[test]
fn the_book_store_of_section_1_5() {
    let store = store();
    let book = |at: usize| store["store"]["book"][at].clone();
    let authors = json!(["Nigel Rees", "Evelyn Waugh", "Herman Melville", "J. R. R. Tolkien"]);
    check(
        &store,
        &[
            ("$.store.book[*].author", authors.clone()),
            ("$..author", authors),
            ("$.store.*", json!([store["store"]["book"], store["store"]["bicycle"]])),
            ("$.store..price", json!([8.95, 12.99, 8.99, 22.99, 399])),
            ("$..book[2]", json!([book(2)])),
            ("$..book[2].author", json!(["Herman Melville"])),
            ("$..book[2].publisher", json!([])),
            ("$..book[-1]", json!([book(3)])),
            ("$..book[0,1]", json!([book(0), book(1)])),
            ("$..book[:2]", json!([book(0), book(1)])),
            ("$..book[?@.isbn]", json!([book(2), book(3)])),
            ("$..book[?@.price<10]", json!([book(0), book(2)])),
        ],
    );
    assert_eq!(values(&store, "$..*").len(), 27);
}

#[test]
fn selectors_of_section_2_3() {
    let names = json!({"o": {"j j": {"k.k": 3}}, "'": {"@": 2}});
    check(
        &names,
        &[
            ("$.o['j j']", json!([{"k.k": 3}])),
            ("$.o['j j']['k.k']", json!([3])),
            (r#"$.o["j j"]["k.k"]"#, json!([3])),
            (r#"$["'"]["@"]"#, json!([2])),
        ],
    );
    let wild = json!({"o": {"j": 1, "k": 2}, "a": [5, 3]});
    check(
        &wild,
        &[
            ("$[*]", json!([{"j": 1, "k": 2}, [5, 3]])),
            ("$.o[*]", json!([1, 2])),
            ("$.o[*, *]", json!([1, 2, 1, 2])),
            ("$.a[*]", json!([5, 3])),
        ],
    );
    check(&json!(["a", "b"]), &[("$[1]", json!(["b"])), ("$[-2]", json!(["a"])), ("$[2]", json!([]))]);
    let letters = json!(["a", "b", "c", "d", "e", "f", "g"]);
    check(
        &letters,
        &[
            ("$[1:3]", json!(["b", "c"])),
            ("$[5:]", json!(["f", "g"])),
            ("$[1:5:2]", json!(["b", "d"])),
            ("$[5:1:-2]", json!(["f", "d"])),
            ("$[::-1]", json!(["g", "f", "e", "d", "c", "b", "a"])),
            ("$[1:5:0]", json!([])),
        ],
    );
    // Where order is defined, it is kept.
    let in_order = |path: &str| -> Vec<String> {
        let path = Path::parse(path).expect("a path");
        path.values(&letters).expect("values").iter().map(|value| value.to_string()).collect()
    };
    assert_eq!(in_order("$[5:1:-2]"), ["\"f\"", "\"d\""]);
    assert_eq!(in_order("$[0:2, 5, 0]"), ["\"a\"", "\"b\"", "\"f\"", "\"a\""]);
}

#[test]
fn comparisons_of_table_11() {
    let document = json!({"obj": {"x": "y"}, "arr": [2, 3]});
    for (comparison, holds) in [
        ("$.absent1 == $.absent2", true),
        ("$.absent1 <= $.absent2", true),
        ("$.absent == 'g'", false),
        ("$.absent1 != $.absent2", false),
        ("$.absent != 'g'", true),
        ("1 <= 2", true),
        ("1 > 2", false),
        ("13 == '13'", false),
        ("'a' <= 'b'", true),
        ("'a' > 'b'", false),
        ("$.obj == $.arr", false),
        ("$.obj != $.arr", true),
        ("$.obj == $.obj", true),
        ("$.obj != $.obj", false),
        ("$.arr == $.arr", true),
        ("$.arr != $.arr", false),
        ("$.obj == 17", false),
        ("$.obj != 17", true),
        ("$.obj <= $.arr", false),
        ("$.obj < $.arr", false),
        ("$.obj <= $.obj", true),
        ("$.arr <= $.arr", true),
        ("1 <= $.arr", false),
        ("1 >= $.arr", false),
        ("1 > $.arr", false),
        ("1 < $.arr", false),
        ("true <= true", true),
        ("true > true", false),
    ] {
        let found = values(&document, &format!("$[?{comparison}]"));
        assert_eq!(found.len(), if holds { 2 } else { 0 }, "{comparison}");
    }
}

#[test]
fn filters_of_section_2_3_5() {
    let document = json!({
        "a": [3, 5, 1, 2, 4, 6, {"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}],
        "o": {"p": 1, "q": 2, "r": 3, "s": 5, "t": {"u": 6}},
        "e": "f"
    });
    check(
        &document,
        &[
            ("$.a[?@.b == 'kilo']", json!([{"b": "kilo"}])),
            ("$.a[?(@.b == 'kilo')]", json!([{"b": "kilo"}])),
            ("$.a[?@>3.5]", json!([5, 4, 6])),
            ("$.a[?@.b]", json!([{"b": "j"}, {"b": "k"}, {"b": {}}, {"b": "kilo"}])),
            ("$[?@.*]", json!([document["a"], document["o"]])),
            ("$[?@[?@.b]]", json!([document["a"]])),
            ("$.o[?@<3, ?@<3]", json!([1, 2, 1, 2])),
            (r#"$.a[?@<2 || @.b == "k"]"#, json!([1, {"b": "k"}])),
            (r#"$.a[?match(@.b, "[jk]")]"#, json!([{"b": "j"}, {"b": "k"}])),
            (r#"$.a[?search(@.b, "[jk]")]"#, json!([{"b": "j"}, {"b": "k"}, {"b": "kilo"}])),
            ("$.o[?@>1 && @<4]", json!([2, 3])),
            ("$.o[?@.u || @.x]", json!([{"u": 6}])),
            ("$.a[?@.b == $.x]", json!([3, 5, 1, 2, 4, 6])),
            ("$.a[?@ == @]", document["a"].clone()),
        ],
    );
}

#[test]
fn functions_of_section_2_4() {
    let document = json!([
        {"name": "tree", "leaves": [1, 2, 3], "zone": "Europe/Berlin", "part": {"color": "red"}},
        {"name": "ü", "leaves": {"a": 1}, "zone": "Asia/Tokyo", "part": {"color": "blue"}}
    ]);
    let names = |filter: &str| values(&document, &format!("$[?{filter}].name"));
    let (tree, other) = ("\"tree\"", "\"ü\"");
    assert_eq!(names("length(@.name) < 3"), [other], "characters, not bytes");
    assert_eq!(names("length(@.leaves) == 3"), [tree]);
    assert_eq!(names("length(@.leaves) == 1"), [other], "members of an object");
    assert_eq!(names("length(@.absent) == 3"), Vec::<String>::new());
    assert_eq!(names("count(@.leaves[*]) == 3"), [tree]);
    assert_eq!(names("count(@..color) == 1").len(), 2);
    assert_eq!(names("match(@.zone, 'Europe/.*')"), [tree]);
    assert_eq!(names("match(@.zone, 'Europe')"), Vec::<String>::new(), "the whole text");
    assert_eq!(names("search(@.zone, 'o')").len(), 2);
    assert_eq!(names("!match(@.leaves, '.*')").len(), 2, "nothing but text matches");
    assert_eq!(names(r#"value(@..color) == "red""#), [tree]);
    assert_eq!(names("value(@.*) == 1"), Vec::<String>::new(), "of several values there is no one value");
    for wrong in [
        "length(@.*) < 3",
        "count(1) == 1",
        "count(foo(@.*)) == 1",
        "match(@.zone, 'Europe/.*') == true",
        "value(@..color)",
        "length(@)",
        "length() < 1",
        "count(@.*, @.*) == 1",
    ] {
        assert!(Path::parse_filter(wrong).is_err(), "{wrong} is not well typed");
    }
}

#[test]
fn segments_of_section_2_5() {
    let document = json!({"o": {"j": 1, "k": 2}, "a": [5, 3, [{"j": 4}, {"k": 6}]]});
    check(
        &document,
        &[
            ("$..j", json!([1, 4])),
            ("$..[0]", json!([5, {"j": 4}])),
            ("$..o", json!([{"j": 1, "k": 2}])),
            ("$.o..[*, *]", json!([1, 2, 1, 2])),
            ("$.a..[0, 1]", json!([5, 3, {"j": 4}, {"k": 6}])),
        ],
    );
    assert_eq!(values(&document, "$..[*]").len(), 11);
    assert_eq!(values(&document, "$..*").len(), 11);
}

#[test]
fn null_of_section_2_6() {
    let document = json!({"a": null, "b": [null], "c": [{}], "null": 1});
    check(
        &document,
        &[
            ("$.a", json!([null])),
            ("$.a[0]", json!([])),
            ("$.a.d", json!([])),
            ("$.b[0]", json!([null])),
            ("$.b[*]", json!([null])),
            ("$.b[?@]", json!([null])),
            ("$.b[?@==null]", json!([null])),
            ("$.c[?@.d==null]", json!([])),
            ("$.null", json!([1])),
        ],
    );
}

#[test]
fn normalized_paths_of_section_2_7() {
    let document = json!({"a": {"b": [0, 1, 2]}, "\u{b}": 1, "it's": [1, 2, 3, 4, 5]});
    for (path, wanted) in [
        ("$.a", "$['a']"),
        ("$.a.b[1:2]", "$['a']['b'][1]"),
        (r#"$["\u000B"]"#, r"$['\u000b']"),
        (r#"$["\u0061"]"#, "$['a']"),
        (r#"$["it's"][-3]"#, r"$['it\'s'][2]"),
    ] {
        let places = Path::parse(path).expect(path).places(&document).expect("places");
        let shown: Vec<String> = places.iter().map(|place| normalized(place)).collect();
        assert_eq!(shown, [wanted], "{path}");
        let again = Path::parse(&shown[0]).expect("a normalized path is a path").places(&document);
        assert_eq!(again, Ok(places), "{path}");
    }
}

#[test]
fn what_the_grammar_does_not_allow_is_refused() {
    for wrong in [
        "a",
        " $",
        "$ ",
        "$.",
        "$..",
        "$.a.",
        "$[01]",
        "$[-0]",
        "$[9007199254740992]",
        "$.1a",
        "$[a]",
        "$['a]",
        "$[?]",
        "$[?@.a = 1]",
        "$[?@.a == {}]",
        "$[?@.a == [1]]",
        "$[?@ == 01]",
        "$[?1]",
        "$[?@.* == 1]",
        "$[?@..a == 1]",
        "$[1:2:3:4]",
        "$[*,]",
        "$[]",
        "$.['a']",
        "$[?@.a && ]",
        "$['\\x']",
        "$[\"\t\"]",
    ] {
        assert!(Path::parse(wrong).is_err(), "{wrong:?} is no path");
    }
}

fn applied(document: Json, operations: Json) -> Result<Json, String> {
    let mut changed = document;
    patch(&mut changed, &operations).map(|()| changed).map_err(|error| error.code().to_owned())
}

#[test]
fn the_examples_of_rfc_6902_appendix_a() {
    for (name, document, operations, wanted) in [
        (
            "A.1",
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            json!({"baz": "qux", "foo": "bar"}),
        ),
        (
            "A.2",
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        ("A.3", json!({"baz": "qux", "foo": "bar"}), json!([{"op": "remove", "path": "/baz"}]), json!({"foo": "bar"})),
        (
            "A.4",
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            json!({"foo": ["bar", "baz"]}),
        ),
        (
            "A.5",
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
            json!({"baz": "boo", "foo": "bar"}),
        ),
        (
            "A.6",
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            "A.7",
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            "A.8",
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (
            "A.10",
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
            json!({"foo": "bar", "child": {"grandchild": {}}}),
        ),
        (
            "A.11",
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]),
            json!({"foo": "bar", "baz": "qux"}),
        ),
        (
            "A.14",
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            json!({"/": 9, "~1": 10}),
        ),
        (
            "A.16",
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            json!({"foo": ["bar", ["abc", "def"]]}),
        ),
    ] {
        assert_eq!(applied(document, operations), Ok(wanted), "{name}");
    }
}

#[test]
fn the_refusals_of_rfc_6902_appendix_a() {
    let test = |document: Json, path: &str, value: Json| {
        applied(document, json!([{"op": "test", "path": path, "value": value}]))
    };
    assert_eq!(test(json!({"baz": "qux"}), "/baz", json!("bar")), Err(TEST_FAILED.to_owned()), "A.9");
    assert_eq!(test(json!({"/": 9, "~1": 10}), "/~01", json!("10")), Err(TEST_FAILED.to_owned()), "A.15");
    let nowhere = json!([{"op": "add", "path": "/baz/bat", "value": "qux"}]);
    assert!(applied(json!({"foo": "bar"}), nowhere).is_err(), "A.12");
    // A.13, a member that is there twice, can't arrive: JSON with such a member is refused before it is a patch.
}

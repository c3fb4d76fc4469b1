//! JSONPath (RFC 9535): where in a document a query points, so that it can be changed there.

use std::collections::HashSet;

use jsonpath_rust::parser::model::{JpQuery, Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use outcrop_udf::Error;
use serde_json::Value as Json;

use crate::eval::{Eval, Patterns};
use crate::typed;

/// Code of a path or filter that can't be parsed.
pub const INVALID_PATH: &str = "invalid-path";
/// Bytes of a path or filter, at most.
const PATH_BYTES_MAX: usize = 4_096;

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member of an object.
    Member(String),
    /// An element of an array.
    Element(usize),
}

/// A place in a document: the steps from its root.
pub type Place = Vec<Step>;

/// A parsed path.
#[derive(Debug, Clone)]
pub struct Path {
    query: JpQuery,
    patterns: Patterns,
}

/// What the last step of a path for an insertion names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A member.
    Member(String),
    /// The element in front of which it goes; negative: from the end.
    Element(i64),
}

impl Path {
    /// Parses a path like `$.store.book[?@.price < 10].title`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > PATH_BYTES_MAX {
            return Err(Error::new(INVALID_PATH, format!("a path has at most {PATH_BYTES_MAX} bytes")));
        }
        let query = parse_json_path(text).map_err(|error| Error::new(INVALID_PATH, format!("{text}\n{error}")))?;
        typed::check(&query.segments).map_err(|what| Error::new(INVALID_PATH, format!("{text}\n{what}")))?;
        Ok(Path { query, patterns: Patterns::default() })
    }

    /// Parses a filter: the inside of `[?…]`, with `@` for the document: `@.price < 10 && @.brand == 'X'`.
    pub fn parse_filter(text: &str) -> Result<Self, Error> {
        Path::parse(&format!("$[?{text}]"))
    }

    /// The values that it points at.
    pub fn values<'a>(&self, document: &'a Json) -> Result<Vec<&'a Json>, Error> {
        Ok(Eval { root: document, patterns: &self.patterns }.query(&self.query))
    }

    /// Whether a document passes this filter. The document is handed back through `slot`, an array that is kept from
    /// one to the next.
    pub fn passes(&self, document: &mut Json, slot: &mut Json) -> Result<bool, Error> {
        let array = slot.as_array_mut().ok_or("the slot of a filter is an array")?;
        array.clear();
        array.push(std::mem::take(document));
        let passes = self.values(slot).map(|found| !found.is_empty());
        if let Some(taken) = slot.as_array_mut().and_then(Vec::pop) {
            *document = taken;
        }
        passes
    }

    /// The places that it points at, each once, in the order of the document.
    pub fn places(&self, document: &Json) -> Result<Vec<Place>, Error> {
        let wanted: HashSet<*const Json> = self.values(document)?.into_iter().map(std::ptr::from_ref).collect();
        let mut places = Vec::with_capacity(wanted.len());
        if !wanted.is_empty() {
            find(document, &wanted, &mut Vec::new(), &mut places);
        }
        Ok(places)
    }

    /// The path without its last step, and that step: which must be one name or one index.
    pub fn split_last(&self) -> Result<(Path, Target), Error> {
        let mut segments = self.query.segments.clone();
        let target = match segments.pop() {
            Some(Segment::Selector(Selector::Name(name))) => Target::Member(name),
            Some(Segment::Selector(Selector::Index(index))) => Target::Element(index),
            _ => return Err(Error::new(INVALID_PATH, "the last step has to be one name or one index")),
        };
        Ok((Path { query: JpQuery::new(segments), patterns: Patterns::default() }, target))
    }
}

/// Walks the document: a node is wanted if it is one of those that the query gave, by its address.
fn find(node: &Json, wanted: &HashSet<*const Json>, here: &mut Place, places: &mut Vec<Place>) {
    if wanted.contains(&std::ptr::from_ref(node)) {
        places.push(here.clone());
    }
    match node {
        Json::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                here.push(Step::Element(index));
                find(element, wanted, here, places);
                here.pop();
            }
        }
        Json::Object(members) => {
            for (name, member) in members {
                here.push(Step::Member(name.clone()));
                find(member, wanted, here, places);
                here.pop();
            }
        }
        _ => {}
    }
}

/// The node at a place.
pub fn at_mut<'a>(document: &'a mut Json, place: &[Step]) -> Option<&'a mut Json> {
    place.iter().try_fold(document, |node, step| match (node, step) {
        (Json::Object(members), Step::Member(name)) => members.get_mut(name),
        (Json::Array(elements), Step::Element(index)) => elements.get_mut(*index),
        _ => None,
    })
}

/// A place as RFC 9535's normalized path: `$['store']['book'][0]`.
pub fn normalized(place: &[Step]) -> String {
    let mut text = String::from("$");
    for step in place {
        match step {
            Step::Element(index) => text.push_str(&format!("[{index}]")),
            Step::Member(name) => {
                text.push_str("['");
                name.chars().for_each(|letter| escape(letter, &mut text));
                text.push_str("']");
            }
        }
    }
    text
}

fn escape(letter: char, text: &mut String) {
    match letter {
        '\'' => text.push_str("\\'"),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
        other => text.push(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shop() -> Json {
        json!({"store": {"book": [
            {"title": "Sayings", "price": 8.95, "isbn": null},
            {"title": "Sword", "price": 12.99},
            {"title": "Moby", "price": 8.99, "isbn": "0-553"}
        ], "it's": {"a\\b": 1}}})
    }

    fn places(path: &str) -> Vec<String> {
        let found = Path::parse(path).expect("a path").places(&shop()).expect("places");
        found.iter().map(|place| normalized(place)).collect()
    }

    #[test]
    fn paths_point_at_places() {
        assert_eq!(places("$"), ["$"]);
        assert_eq!(places("$.store.book[-1].title"), ["$['store']['book'][2]['title']"]);
        assert_eq!(places("$.store.book[?@.price < 9].title").len(), 2);
        assert_eq!(places("$..price").len(), 3);
        assert_eq!(places("$.store.book[0, 0]"), ["$['store']['book'][0]"], "a place is there once");
        assert_eq!(places("$.store['it\\'s'].*"), [r"$['store']['it\'s']['a\\b']"]);
        assert_eq!(places("$.nothing[*].here"), Vec::<String>::new());
        assert_eq!(places("$.store.book[?@.isbn]").len(), 2, "null is there");
    }

    #[test]
    fn filters_take_whole_documents() {
        let mut slot = json!([]);
        let mut passes = |filter: &str, document: Json| {
            let mut again = document.clone();
            let passes = Path::parse_filter(filter).expect("a filter").passes(&mut again, &mut slot).expect("done");
            assert_eq!(again, document, "it comes back");
            passes
        };
        assert!(passes("@.price < 10 && @.brand == 'X'", json!({"price": 9, "brand": "X"})));
        assert!(!passes("@.price < 10 && @.brand == 'X'", json!({"price": 9})));
        assert!(passes("length(@.tags) >= 2", json!({"tags": [1, 2]})));
        assert!(passes("match(@.name, 'a.*')", json!({"name": "abc"})));
        assert!(passes("!@.gone", json!({})));
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_place() {
        for wrong in
            ["", "store", "$.", "$[", "$.a[?", "$[?@.a ==]", &"$".repeat(5_000), &format!("${}", "[?@".repeat(900))]
        {
            assert_eq!(Path::parse(wrong).expect_err(wrong).code(), INVALID_PATH);
        }
        assert!(Path::parse("$.a[").expect_err("unfinished").message().contains("1:"), "line and column");
    }

    #[test]
    fn a_path_to_insert_at_ends_in_a_name_or_an_index() {
        let split = |path: &str| Path::parse(path).expect("a path").split_last().map(|(_, target)| target);
        assert_eq!(split("$.a.b").expect("a name"), Target::Member("b".to_owned()));
        assert_eq!(split("$.a['x y']").expect("a name"), Target::Member("x y".to_owned()));
        assert_eq!(split("$.a[-1]").expect("an index"), Target::Element(-1));
        assert!(split("$.a[*]").is_err() && split("$").is_err() && split("$..b").is_err());
    }
}

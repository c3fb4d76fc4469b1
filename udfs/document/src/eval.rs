//! Evaluation of a parsed JSONPath, as RFC 9535 has it. The crate that parses evaluates as well, but takes a filter right on
//! `@` (`$[?@[?@.b]]`) for a comparison, and makes a path text for each node that it passes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, SingularQuery,
    SingularQuerySegment, Test, TestFunction,
};
use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;

/// Patterns that are kept compiled; a path has few, those that documents themselves hold don't stay.
const PATTERNS_MAX: usize = 16;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Regular expressions by their text and whether the whole has to match; none: that is no expression.
#[derive(Debug, Clone, Default)]
pub struct Patterns(RefCell<BTreeMap<(String, bool), Option<Regex>>>);

/// One evaluation.
pub struct Eval<'a, 'p> {
    /// The document.
    pub root: &'a Json,
    /// Compiled patterns.
    pub patterns: &'p Patterns,
}

impl<'a> Eval<'a, '_> {
    /// The nodes that a query points at.
    pub fn query(&self, query: &JpQuery) -> Vec<&'a Json> {
        self.segments(&query.segments, self.root)
    }

    fn segments(&self, segments: &[Segment], from: &'a Json) -> Vec<&'a Json> {
        segments.iter().fold(vec![from], |nodes, segment| {
            let mut found = Vec::new();
            nodes.into_iter().for_each(|node| self.segment(segment, node, &mut found));
            found
        })
    }

    fn segment(&self, segment: &Segment, node: &'a Json, found: &mut Vec<&'a Json>) {
        match segment {
            Segment::Selector(selector) => self.select(selector, node, found),
            Segment::Selectors(selectors) => selectors.iter().for_each(|one| self.select(one, node, found)),
            Segment::Descendant(inner) => {
                self.segment(inner, node, found);
                children(node).for_each(|child| self.segment(segment, child, found));
            }
        }
    }

    fn select(&self, selector: &Selector, node: &'a Json, found: &mut Vec<&'a Json>) {
        match selector {
            Selector::Name(name) => found.extend(node.as_object().and_then(|members| members.get(name))),
            Selector::Wildcard => found.extend(children(node)),
            Selector::Index(index) => found.extend(element(node, *index)),
            Selector::Slice(start, end, step) => {
                if let Json::Array(elements) = node {
                    slice(elements.len(), *start, *end, step.unwrap_or(1), |at| found.extend(elements.get(at)));
                }
            }
            Selector::Filter(filter) => found.extend(children(node).filter(|child| self.holds(filter, child))),
        }
    }

    fn holds(&self, filter: &Filter, current: &'a Json) -> bool {
        match filter {
            Filter::Or(parts) => parts.iter().any(|part| self.holds(part, current)),
            Filter::And(parts) => parts.iter().all(|part| self.holds(part, current)),
            Filter::Atom(FilterAtom::Filter { expr, not }) => self.holds(expr, current) != *not,
            Filter::Atom(FilterAtom::Test { expr, not }) => self.test(expr, current) != *not,
            Filter::Atom(FilterAtom::Comparison(comparison)) => self.compare(comparison, current),
        }
    }

    fn test(&self, test: &Test, current: &'a Json) -> bool {
        match test {
            Test::Function(function) => match &**function {
                TestFunction::Match(text, pattern) => self.matches(text, pattern, true, current),
                TestFunction::Search(text, pattern) => self.matches(text, pattern, false, current),
                _ => false,
            },
            nodes => !self.nodes(nodes, current).is_empty(),
        }
    }

    fn nodes(&self, test: &Test, current: &'a Json) -> Vec<&'a Json> {
        match test {
            Test::RelQuery(segments) => self.segments(segments, current),
            Test::AbsQuery(query) => self.query(query),
            Test::Function(_) => Vec::new(),
        }
    }

    fn compare(&self, comparison: &Comparison, current: &'a Json) -> bool {
        let (left, right) = comparison.vals();
        let (left, right) = (self.comparable(left, current), self.comparable(right, current));
        let same = || match (left.as_deref(), right.as_deref()) {
            (Some(a), Some(b)) => equal(a, b),
            (None, None) => true,
            _ => false,
        };
        let order = || order(left.as_deref()?, right.as_deref()?);
        match comparison {
            Comparison::Eq(..) => same(),
            Comparison::Ne(..) => !same(),
            Comparison::Lt(..) => order() == Some(Ordering::Less),
            Comparison::Gt(..) => order() == Some(Ordering::Greater),
            Comparison::Lte(..) => order() == Some(Ordering::Less) || same(),
            Comparison::Gte(..) => order() == Some(Ordering::Greater) || same(),
        }
    }

    /// A value; none is what RFC 9535 calls `Nothing`.
    fn comparable(&self, comparable: &Comparable, current: &'a Json) -> Option<Cow<'a, Json>> {
        match comparable {
            Comparable::Literal(literal) => Some(Cow::Owned(value_of(literal))),
            Comparable::Function(function) => self.function(function, current),
            Comparable::SingularQuery(query) => {
                let (from, segments) = match query {
                    SingularQuery::Current(segments) => (current, segments),
                    SingularQuery::Root(segments) => (self.root, segments),
                };
                let step = |node: &'a Json, segment: &SingularQuerySegment| match segment {
                    SingularQuerySegment::Name(name) => node.as_object()?.get(name),
                    SingularQuerySegment::Index(index) => element(node, *index),
                };
                segments.iter().try_fold(from, step).map(Cow::Borrowed)
            }
        }
    }

    /// A function that gives a value.
    fn function(&self, function: &TestFunction, current: &'a Json) -> Option<Cow<'a, Json>> {
        let nodes = |argument: &FnArg| match argument {
            FnArg::Test(test) => self.nodes(test, current),
            _ => Vec::new(),
        };
        match function {
            TestFunction::Length(argument) => {
                let length = match self.argument(argument, current)?.as_ref() {
                    Json::String(text) => text.chars().count(),
                    Json::Array(elements) => elements.len(),
                    Json::Object(members) => members.len(),
                    _ => return None,
                };
                Some(Cow::Owned(Json::from(length)))
            }
            TestFunction::Count(argument) => Some(Cow::Owned(Json::from(nodes(argument).len()))),
            TestFunction::Value(argument) => match nodes(argument)[..] {
                [only] => Some(Cow::Borrowed(only)),
                _ => None,
            },
            _ => None,
        }
    }

    /// An argument that is a value: a literal, the node of a singular query, or what a function gives.
    fn argument(&self, argument: &FnArg, current: &'a Json) -> Option<Cow<'a, Json>> {
        match argument {
            FnArg::Literal(literal) => Some(Cow::Owned(value_of(literal))),
            FnArg::Test(test) => match &**test {
                Test::Function(function) => self.function(function, current),
                query => self.nodes(query, current).first().map(|node| Cow::Borrowed(*node)),
            },
            FnArg::Filter(_) => None,
        }
    }

    fn matches(&self, text: &FnArg, pattern: &FnArg, whole: bool, current: &'a Json) -> bool {
        let (Some(text), Some(pattern)) = (self.argument(text, current), self.argument(pattern, current)) else {
            return false;
        };
        let (Json::String(text), Json::String(pattern)) = (text.as_ref(), pattern.as_ref()) else { return false };
        self.patterns.matches(text, pattern, whole)
    }
}

impl Patterns {
    fn matches(&self, text: &str, pattern: &str, whole: bool) -> bool {
        let mut known = self.0.borrow_mut();
        let key = (pattern.to_owned(), whole);
        if !known.contains_key(&key) {
            if known.len() >= PATTERNS_MAX {
                known.clear();
            }
            known.insert(key.clone(), compile(pattern, whole));
        }
        known.get(&key).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    }
}

/// An I-Regexp (RFC 9485) as the regex crate has it: its dot matches no line ends at all.
fn compile(pattern: &str, whole: bool) -> Option<Regex> {
    let (mut translated, mut in_class, mut escaped) = (String::with_capacity(pattern.len() + 8), false, false);
    for letter in pattern.chars() {
        match letter {
            '.' if !in_class && !escaped => translated.push_str(r"[^\n\r]"),
            letter => {
                in_class = if escaped { in_class } else { (in_class || letter == '[') && letter != ']' };
                translated.push(letter);
            }
        }
        escaped = letter == '\\' && !escaped;
    }
    let anchored = if whole { format!(r"\A(?:{translated})\z") } else { translated };
    RegexBuilder::new(&anchored).size_limit(PATTERN_BYTES_MAX).build().ok()
}

fn children(node: &Json) -> Box<dyn Iterator<Item = &Json> + '_> {
    match node {
        Json::Array(elements) => Box::new(elements.iter()),
        Json::Object(members) => Box::new(members.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn element(node: &Json, index: i64) -> Option<&Json> {
    let elements = node.as_array()?;
    let at = if index >= 0 { index } else { index.checked_add(i64::try_from(elements.len()).ok()?)? };
    elements.get(usize::try_from(at).ok()?)
}

/// The places of a slice, in its order (RFC 9535, 2.3.4.2.2).
fn slice(len: usize, start: Option<i64>, end: Option<i64>, step: i64, mut each: impl FnMut(usize)) {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |at: i64| if at >= 0 { at } else { at.saturating_add(len) };
    if step > 0 {
        let (mut at, end) = (from_end(start.unwrap_or(0)).clamp(0, len), from_end(end.unwrap_or(len)).clamp(0, len));
        while at < end {
            each(at as usize);
            at = at.saturating_add(step);
        }
    } else if step < 0 {
        let first = start.map_or(len - 1, from_end).clamp(-1, len - 1);
        let (mut at, end) = (first, end.map_or(-1, from_end).clamp(-1, len - 1));
        while at > end {
            each(at as usize);
            at = at.saturating_add(step);
        }
    }
}

fn value_of(literal: &Literal) -> Json {
    match literal {
        Literal::Int(number) => Json::from(*number),
        Literal::Float(number) => Json::from(*number),
        Literal::String(text) => Json::from(text.as_str()),
        Literal::Bool(truth) => Json::from(*truth),
        Literal::Null => Json::Null,
    }
}

fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(_), Json::Number(_)) => order(a, b) == Some(Ordering::Equal),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Numbers and texts have an order, and only among themselves.
fn order(a: &Json, b: &Json) -> Option<Ordering> {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Json::String(a), Json::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

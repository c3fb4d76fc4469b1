//! Whether a JSONPath is well typed (RFC 9535, 2.4.3): what its functions take and give. The parser lets some pass that
//! aren't.

use jsonpath_rust::parser::model::{Comparable, Filter, FilterAtom, FnArg, Segment, Selector, Test, TestFunction};

/// What is wrong with the functions of these segments.
pub fn check(segments: &[Segment]) -> Result<(), String> {
    segments.iter().try_for_each(|segment| match segment {
        Segment::Descendant(inner) => check(std::slice::from_ref(inner)),
        Segment::Selector(selector) => check_selector(selector),
        Segment::Selectors(selectors) => selectors.iter().try_for_each(check_selector),
    })
}

fn check_selector(selector: &Selector) -> Result<(), String> {
    match selector {
        Selector::Filter(filter) => check_filter(filter),
        _ => Ok(()),
    }
}

fn check_filter(filter: &Filter) -> Result<(), String> {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => parts.iter().try_for_each(check_filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => check_filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => match &**expr {
            Test::Function(function) => {
                check_function(function)?;
                match **function {
                    TestFunction::Match(..) | TestFunction::Search(..) => Ok(()),
                    _ => Err(format!("{function} gives a value: compare it with something")),
                }
            }
            query => check_query(query),
        },
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            [left, right].into_iter().try_for_each(|side| match side {
                Comparable::Function(function) => check_value_function(function),
                Comparable::Literal(_) | Comparable::SingularQuery(_) => Ok(()),
            })
        }
    }
}

fn check_query(query: &Test) -> Result<(), String> {
    match query {
        Test::RelQuery(segments) => check(segments),
        Test::AbsQuery(query) => check(&query.segments),
        Test::Function(function) => Err(format!("{function} gives no nodes")),
    }
}

/// A function that gives a value.
fn check_value_function(function: &TestFunction) -> Result<(), String> {
    check_function(function)?;
    match function {
        TestFunction::Match(..) | TestFunction::Search(..) => {
            Err(format!("{function} is true or false by itself: compare it with nothing"))
        }
        _ => Ok(()),
    }
}

fn check_function(function: &TestFunction) -> Result<(), String> {
    match function {
        TestFunction::Custom(name, _) => {
            Err(format!("there is no function {name:?}; there are length, count, match, search and value"))
        }
        TestFunction::Length(argument) => check_value(function, argument),
        TestFunction::Match(text, pattern) | TestFunction::Search(text, pattern) => {
            check_value(function, text)?;
            check_value(function, pattern)
        }
        TestFunction::Count(argument) | TestFunction::Value(argument) => match argument {
            FnArg::Test(query) if !matches!(**query, Test::Function(_)) => check_query(query),
            _ => Err(format!("{function} takes a path")),
        },
    }
}

/// An argument that has to be one value.
fn check_value(function: &TestFunction, argument: &FnArg) -> Result<(), String> {
    let singular = |segments: &[Segment]| {
        let one = |segment: &Segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)));
        match segments.iter().all(one) {
            true => Ok(()),
            false => Err(format!("{function} takes one value, not a path to several")),
        }
    };
    match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Filter(_) => Err(format!("{function} takes a value, not a condition")),
        FnArg::Test(test) => match &**test {
            Test::RelQuery(segments) => singular(segments),
            Test::AbsQuery(query) => singular(&query.segments),
            Test::Function(inner) => check_value_function(inner),
        },
    }
}

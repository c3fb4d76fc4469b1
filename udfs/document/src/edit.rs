//! Changes at the matches of a path: set, insert, delete, append, increment. All or nothing: an error leaves the record
//! as it was, since nothing of a failed call is committed.

use outcrop_udf::Error;
use serde_json::{Number, Value as Json};

use crate::json::kind;
use crate::path::{Path, Step, Target, at_mut, normalized};

/// Code of a change that doesn't fit what it meets.
pub const WRONG_TYPE: &str = "wrong-type";
/// Code of a sum that no 64-bit integer holds.
pub const OVERFLOW: &str = "overflow";
/// Code of an insertion where a member already is.
pub const EXISTS: &str = "exists";
/// Code of an index outside of its array.
pub const OUT_OF_RANGE: &str = "out-of-range";

/// Puts `value` at every match; how many there were.
pub fn update(document: &mut Json, path: &Path, value: &Json) -> Result<usize, Error> {
    each(document, path, |node, _| {
        *node = value.clone();
        Ok(())
    })
}

/// Adds a member or an element at every match of the path without its last step, which names the member or the index; an
/// index of the array's length, or one past -1, is its end. How many were added.
pub fn insert(document: &mut Json, path: &Path, value: &Json) -> Result<usize, Error> {
    let (parents, target) = path.split_last()?;
    each(document, &parents, |parent, place| match (parent, &target) {
        (Json::Object(members), Target::Member(name)) => {
            if members.contains_key(name) {
                return Err(Error::new(EXISTS, format!("{} has {name:?} already", normalized(place))));
            }
            members.insert(name.clone(), value.clone());
            Ok(())
        }
        (Json::Array(elements), Target::Element(index)) => {
            let len = elements.len();
            let at = if *index >= 0 { usize::try_from(*index).ok() } else { from_end(*index, len) };
            let Some(at) = at.filter(|at| *at <= len) else {
                let message = format!("{} has {len} elements; there is no place {index}", normalized(place));
                return Err(Error::new(OUT_OF_RANGE, message));
            };
            elements.insert(at, value.clone());
            Ok(())
        }
        (other, Target::Member(name)) => Err(mismatch(place, other, &format!("a member {name:?}"))),
        (other, Target::Element(_)) => Err(mismatch(place, other, "an element")),
    })
}

/// -1 is behind the last element, -2 in front of it.
fn from_end(index: i64, len: usize) -> Option<usize> {
    let back = usize::try_from(index.unsigned_abs()).ok()?.checked_sub(1)?;
    len.checked_sub(back)
}

/// Removes every match; how many there were. The root can't be removed: delete the record.
pub fn delete(document: &mut Json, path: &Path) -> Result<usize, Error> {
    let places = path.places(document)?;
    // From behind: a removal moves only what stands behind it, and what lies inside a match goes before it.
    for place in places.iter().rev() {
        let Some((last, parent)) = place.split_last() else {
            return Err(Error::new(crate::path::INVALID_PATH, "the whole document can't be removed from itself"));
        };
        match (at_mut(document, parent), last) {
            (Some(Json::Object(members)), Step::Member(name)) => {
                members.shift_remove(name);
            }
            (Some(Json::Array(elements)), Step::Element(index)) if *index < elements.len() => {
                elements.remove(*index);
            }
            _ => {}
        }
    }
    Ok(places.len())
}

/// Appends to the array at every match; how many arrays there were.
pub fn append(document: &mut Json, path: &Path, values: &[Json]) -> Result<usize, Error> {
    each(document, path, |node, place| match node {
        Json::Array(elements) => {
            elements.extend_from_slice(values);
            Ok(())
        }
        other => Err(mismatch(place, other, "elements")),
    })
}

/// Adds to the number at every match; the sums. Integers stay integers as long as both are.
pub fn increment(document: &mut Json, path: &Path, by: &Number) -> Result<Vec<Json>, Error> {
    let mut sums = Vec::new();
    each(document, path, |node, place| {
        let Json::Number(number) = node else { return Err(mismatch(place, node, "an increment")) };
        let sum = match (number.as_i64(), by.as_i64()) {
            (Some(a), Some(b)) => a.checked_add(b).map(Number::from),
            _ => number.as_f64().zip(by.as_f64()).and_then(|(a, b)| Number::from_f64(a + b)),
        };
        let sum = sum.ok_or_else(|| Error::new(OVERFLOW, format!("{}: {number} + {by}", normalized(place))))?;
        *node = Json::Number(sum);
        sums.push(node.clone());
        Ok(())
    })?;
    Ok(sums)
}

fn each(
    document: &mut Json,
    path: &Path,
    mut change: impl FnMut(&mut Json, &[Step]) -> Result<(), Error>,
) -> Result<usize, Error> {
    let places = path.places(document)?;
    // From behind, so that a match inside another is changed before the one around it is replaced.
    for place in places.iter().rev() {
        if let Some(node) = at_mut(document, place) {
            change(node, place)?;
        }
    }
    Ok(places.len())
}

fn mismatch(place: &[Step], node: &Json, what: &str) -> Error {
    Error::new(
        WRONG_TYPE,
        format!("{} is {}: it takes no {}", normalized(place), kind(node), what.trim_start_matches("an ")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("a path")
    }

    #[test]
    fn every_match_changes() {
        let mut document = json!({"a": [{"n": 1, "x": 0}, {"n": 2}, {"m": 3}]});
        assert_eq!(update(&mut document, &path("$.a[*].n"), &json!("set")), Ok(2));
        assert_eq!(document, json!({"a": [{"n": "set", "x": 0}, {"n": "set"}, {"m": 3}]}));
        assert_eq!(delete(&mut document, &path("$.a[0, 1]")), Ok(2));
        assert_eq!(document, json!({"a": [{"m": 3}]}));
        assert_eq!(delete(&mut document, &path("$..*")), Ok(3), "what lies in a match goes with it");
        assert_eq!(document, json!({}));
        assert!(delete(&mut document, &path("$")).is_err());
        assert_eq!(update(&mut document, &path("$.nothing"), &json!(1)), Ok(0));
    }

    #[test]
    fn members_and_elements_are_inserted() {
        let mut document = json!({"a": [1, 2], "o": [{}, {}]});
        for (at, value) in [("$.a[0]", 0), ("$.a[-1]", 4), ("$.a[-2]", 3), ("$.a[5]", 5)] {
            assert_eq!(insert(&mut document, &path(at), &json!(value)), Ok(1), "{at}");
        }
        assert_eq!(document["a"], json!([0, 1, 2, 3, 4, 5]));
        assert_eq!(insert(&mut document, &path("$.o[*].new"), &json!(true)), Ok(2));
        assert_eq!(document["o"], json!([{"new": true}, {"new": true}]));
        let refused = |at: &str| insert(&mut document.clone(), &path(at), &json!(0)).expect_err(at).code().to_owned();
        assert_eq!(refused("$.o[0].new"), EXISTS);
        assert_eq!(refused("$.a[7]"), OUT_OF_RANGE);
        assert_eq!(refused("$.a[-8]"), OUT_OF_RANGE);
        assert_eq!(refused("$.a.name"), WRONG_TYPE);
    }

    #[test]
    fn numbers_add_up_without_rounding() {
        let mut document = json!({"n": i64::MAX - 1, "f": 0.5, "t": "x"});
        let by = |number: Json| number.as_number().expect("a number").clone();
        assert_eq!(increment(&mut document, &path("$.n"), &by(json!(1))), Ok(vec![json!(i64::MAX)]));
        assert_eq!(increment(&mut document, &path("$.n"), &by(json!(1))).expect_err("too big").code(), OVERFLOW);
        assert_eq!(increment(&mut document, &path("$.f"), &by(json!(1))), Ok(vec![json!(1.5)]));
        assert_eq!(increment(&mut document, &path("$.t"), &by(json!(1))).expect_err("text").code(), WRONG_TYPE);
        assert_eq!(append(&mut document, &path("$.t"), &[json!(1)]).expect_err("text").code(), WRONG_TYPE);
    }
}

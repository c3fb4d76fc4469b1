//! Patches: RFC 7396 and RFC 6902.

use outcrop_udf::Error;
use serde_json::Value as Json;

/// Code of a patch that is none, or that doesn't fit its document.
pub const INVALID_PATCH: &str = "invalid-patch";
/// Code of a patch whose `test` failed.
pub const TEST_FAILED: &str = "test-failed";
/// Operations of a patch, at most.
const OPERATIONS_MAX: usize = 1_024;

/// RFC 7396: members of the patch replace those of the document, null removes them.
pub fn merge(document: &mut Json, patch: &Json) {
    let before = document.clone();
    json_patch::merge(document, patch);
    keep_order(&before, document);
}

/// Puts the members that were there before back into their order: a removal within the crate moves the last member into
/// the gap.
fn keep_order(before: &Json, after: &mut Json) {
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => {
            let mut left = std::mem::take(after);
            for (name, old) in before {
                if let Some(mut value) = left.shift_remove(name) {
                    keep_order(old, &mut value);
                    after.insert(name.clone(), value);
                }
            }
            after.extend(left);
        }
        (Json::Array(before), Json::Array(after)) => {
            before.iter().zip(after).for_each(|(old, new)| keep_order(old, new));
        }
        _ => {}
    }
}

/// RFC 6902: all operations or none.
pub fn patch(document: &mut Json, operations: &Json) -> Result<(), Error> {
    let invalid = |message: String| Error::new(INVALID_PATCH, message);
    let count =
        operations.as_array().map(Vec::len).ok_or_else(|| invalid("a patch is an array of operations".into()))?;
    if count > OPERATIONS_MAX {
        return Err(invalid(format!("a patch has at most {OPERATIONS_MAX} operations, this one has {count}")));
    }
    let patch: json_patch::Patch =
        serde_json::from_str(&operations.to_string()).map_err(|error| invalid(error.to_string()))?;
    let before = document.clone();
    json_patch::patch(document, &patch).map_err(|error| {
        let code = match error.kind {
            json_patch::PatchErrorKind::TestFailed => TEST_FAILED,
            _ => INVALID_PATCH,
        };
        Error::new(code, error.to_string())
    })?;
    keep_order(&before, document);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_rfc_7396() {
        for (mut document, change, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            merge(&mut document, &change);
            assert_eq!(document, result);
        }
    }

    /// Found by a command line test: a removed member made the last one take its place.
    #[test]
    fn members_keep_their_order() {
        let document = json!({"a": 1, "b": {"x": 1, "y": 2, "z": 3}, "c": 3, "d": 4});
        let mut merged = document.clone();
        merge(&mut merged, &json!({"a": null, "b": {"x": null}, "e": 5}));
        assert_eq!(merged.to_string(), r#"{"b":{"y":2,"z":3},"c":3,"d":4,"e":5}"#);
        let mut patched = document;
        let operations = json!([
            {"op": "remove", "path": "/a"},
            {"op": "move", "from": "/b/x", "path": "/x"},
            {"op": "replace", "path": "/c", "value": 0}
        ]);
        patch(&mut patched, &operations).expect("it fits");
        assert_eq!(patched.to_string(), r#"{"b":{"y":2,"z":3},"c":0,"d":4,"x":1}"#);
    }

    #[test]
    fn a_patch_applies_whole_or_not_at_all() {
        let mut document = json!({"a": 1, "list": [1, 2]});
        let good = json!([
            {"op": "test", "path": "/a", "value": 1},
            {"op": "add", "path": "/list/-", "value": 3},
            {"op": "move", "from": "/a", "path": "/b"},
        ]);
        patch(&mut document, &good).expect("it fits");
        assert_eq!(document, json!({"b": 1, "list": [1, 2, 3]}));
        let before = document.clone();
        let bad = json!([{"op": "remove", "path": "/b"}, {"op": "test", "path": "/list/0", "value": 9}]);
        assert_eq!(patch(&mut document, &bad).expect_err("its test fails").code(), TEST_FAILED);
        assert_eq!(document, before);
        for wrong in [json!({}), json!([{"op": "rename"}]), json!([{"op": "remove", "path": "/none"}]), json!([1])] {
            assert_eq!(patch(&mut document, &wrong).expect_err("wrong").code(), INVALID_PATCH);
        }
        assert_eq!(document, before);
    }
}

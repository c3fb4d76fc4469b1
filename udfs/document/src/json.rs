//! Documents and JSON: a record's bins are the members of its document, and back, with nothing rounded on the way.
//!
//! What JSON lacks has the tagged forms that the command line uses as well: bytes `{"$bytes":"AP8="}`, not-a-number and
//! the infinities `{"$float":"NaN"}`, keys that are integers `$int:42`. A document that is read and written again comes
//! out as it was.

use outcrop_udf::{Bins, Error, Value};
use outcrop_wire::json;
use outcrop_wire::limits::VALUE_DEPTH_MAX;
use serde_json::Value as Json;

/// Code of a document that isn't an object where one has to be.
pub const NOT_AN_OBJECT: &str = "not-an-object";

/// A value as JSON.
pub fn to_json(value: &Value) -> Result<Json, Error> {
    match value {
        Value::Null => Ok(Json::Null),
        Value::Bool(truth) => Ok(Json::Bool(*truth)),
        Value::Int(number) => Ok(Json::from(*number)),
        Value::Text(text) => Ok(Json::String(text.clone())),
        Value::List(items) => items.iter().map(to_json).collect::<Result<_, _>>().map(Json::Array),
        // Floats that JSON lacks, bytes and keys that aren't text have one spelling, which stands in `wire`.
        Value::Float(_) | Value::Bytes(_) | Value::Map(_) => {
            let text = json::to_text(value);
            serde_json::from_str(&text).map_err(|error| Error::new("internal", format!("{text}: {error}")))
        }
    }
}

/// JSON as a value; a number that neither 64-bit integer nor float holds exactly is refused.
pub fn from_json(document: &Json) -> Result<Value, Error> {
    json::parse_value(document.to_string().as_bytes(), VALUE_DEPTH_MAX)
        .map_err(|error| Error::new("invalid-document", error.to_string()))
}

/// A record's bins as a document.
pub fn document_of(bins: &Bins) -> Result<Json, Error> {
    let members = bins.bins.iter().map(|bin| Ok((bin.name.clone(), to_json(&bin.value)?)));
    members.collect::<Result<serde_json::Map<_, _>, Error>>().map(Json::Object)
}

/// A document as bins: it has to be an object.
pub fn bins_of(document: &Json) -> Result<Bins, Error> {
    let Json::Object(members) = document else {
        return Err(Error::new(NOT_AN_OBJECT, format!("a document is an object, not {}", kind(document))));
    };
    let mut bins = Bins::new();
    for (name, member) in members {
        bins.set(name.as_str(), from_json(member)?);
    }
    Ok(bins)
}

/// The name of a JSON value's kind, with its article.
pub fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let bins = Bins::new()
            .with("id", 9_007_199_254_740_993_i64)
            .with("price", 0.1)
            .with("whole", 1.0)
            .with("blob", vec![0_u8, 255])
            .with("odd", f64::NAN)
            .with("tags", vec![Value::from("a"), Value::Null, Value::from(true)]);
        let document = document_of(&bins).expect("a document");
        assert_eq!(document["id"].to_string(), "9007199254740993");
        assert_eq!(document["blob"].to_string(), r#"{"$bytes":"AP8="}"#);
        assert_eq!(bins_of(&document).expect("bins"), bins);
    }

    #[test]
    fn only_objects_are_documents() {
        let error = bins_of(&serde_json::json!([1])).expect_err("an array");
        assert_eq!((error.code(), error.message()), (NOT_AN_OBJECT, "a document is an object, not an array"));
        let wide: Json = serde_json::from_str("{\"n\":1e400}").expect("JSON");
        assert_eq!(bins_of(&wide).expect_err("no float holds it").code(), "invalid-document");
    }
}

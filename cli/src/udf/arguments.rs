//! Arguments of functions as they stand on the command line: JSON, in the exact mapping of documents.

use std::io::Read;

use outcrop_client::Value;
use outcrop_wire::limits::{ARGUMENTS_BYTES_MAX, VALUE_DEPTH_MAX};

use crate::failure::Failure;
use crate::json::parse_value;

/// Parses arguments; nothing is null, `-` reads standard input.
pub fn parse_arguments(text: Option<&str>) -> Result<Value, Failure> {
    let bytes = match text {
        None => return Ok(Value::Null),
        Some("-") => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(ARGUMENTS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::local(format!("standard input: {error}"), "Give the arguments as JSON."))?;
            bytes
        }
        Some(text) => text.as_bytes().to_vec(),
    };
    if bytes.len() > ARGUMENTS_BYTES_MAX {
        let message = format!("the arguments have over {ARGUMENTS_BYTES_MAX} bytes");
        return Err(Failure::usage(message, "Put large data into records and read it there."));
    }
    parse_value(&bytes, VALUE_DEPTH_MAX).map_err(|error| {
        let advice = "Arguments are JSON: '{\"percent\": 25}' by name, '[25]' by place, '25' or '\"text\"' alone.";
        Failure::usage(format!("arguments: {error}"), advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_json_or_nothing() {
        assert_eq!(parse_arguments(None), Ok(Value::Null));
        assert_eq!(parse_arguments(Some("-3")), Ok(Value::Int(-3)));
        assert!(parse_arguments(Some("25%")).unwrap_err().advice.contains("JSON"));
    }
}

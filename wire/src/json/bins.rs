//! Documents as records: the fields of an object are bins, anything else is the unnamed bin.

use crate::limits::VALUE_DEPTH_MAX;
use crate::{Bins, MapKey, Value, archive};

use super::parse::{JsonError, parse_value};

/// Parses a JSON text as a record's bins, within every limit of a record but its size.
pub fn parse_document(text: &[u8]) -> Result<Bins, JsonError> {
    // An object's own level becomes the record.
    bins_from_value(parse_value(text, VALUE_DEPTH_MAX + 1)?)
}

/// The fields of a map with text keys as bins; anything else as the unnamed bin.
pub fn bins_from_value(value: Value) -> Result<Bins, JsonError> {
    let mut bins = Bins::new();
    match value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let MapKey::Text(name) = key else {
                    let why =
                        "a record's fields have text names; put a map with other keys into a field, such as {\"\":…}";
                    return Err(JsonError::Record(why.to_owned()));
                };
                // The parser has refused doubled names already; `Bins::set` would look through all of them again.
                bins.bins.push(crate::Bin { name, value });
            }
        }
        other => bins = Bins::unnamed(other),
    }
    archive::check_bins(&bins).map_err(|error| JsonError::Record(error.to_string()))?;
    Ok(bins)
}

/// The document of a record: its bins as a map, or the value of its unnamed bin if that is all there is and no map.
pub fn bins_to_value(bins: Bins) -> Value {
    match <[_; 1]>::try_from(bins.bins) {
        Ok([bin]) if bin.name.is_empty() && !matches!(bin.value, Value::Map(_)) => bin.value,
        Ok(sole) => Value::Map(sole.into_iter().map(|bin| (MapKey::Text(bin.name), bin.value)).collect()),
        Err(many) => Value::Map(many.into_iter().map(|bin| (MapKey::Text(bin.name), bin.value)).collect()),
    }
}

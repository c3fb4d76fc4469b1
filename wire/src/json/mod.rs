//! JSON in and out, exactly: what a document says is what a record holds and what is printed again.
//!
//! - Integers within 64 bits stay integers. Any other number becomes a float if the float prints as the same decimal
//!   (`0.1`, `1.0`, `-0.0`, `1e22`); a number that neither holds exactly is refused with its place, never rounded.
//! - Keys keep their order. A doubled key, a lone surrogate and nesting over the limit are refused.
//! - What JSON lacks has a tagged form that parses back: bytes `{"$bytes":"AP8="}`, not-a-number and the infinities
//!   `{"$float":"NaN"}`, `{"$float":"Infinity"}`, `{"$float":"-Infinity"}` (`"NaN:7ff8000000000001"` for another bit
//!   pattern), integer and bytes keys of a map `{"$int:42":…}`, `{"$hex:00ff":…}`. A field whose own name would read as
//!   one of these has `$text:` in front: `{"$text:$bytes":…}`.

mod bins;
mod number;
mod parse;
mod print;

pub use bins::{bins_from_value, bins_to_value, parse_document};
pub use number::print_float;
pub use parse::{JsonError, parse_value};
pub use print::{print_text, print_value, to_text};

/// Tag of bytes: the sole key of a map, with padded standard base64 as its value.
const TAG_BYTES: &str = "$bytes";
/// Tag of floats that JSON lacks: the sole key of a map.
const TAG_FLOAT: &str = "$float";
/// Prefix of an integer key.
const KEY_INT: &str = "$int:";
/// Prefix of a bytes key.
const KEY_HEX: &str = "$hex:";
/// Prefix of a text key that would read as something else.
const KEY_TEXT: &str = "$text:";

/// Whether a text key can only be written with [`KEY_TEXT`] in front (`sole`: it is its map's only one).
fn needs_escape(key: &str, sole: bool) -> bool {
    [KEY_INT, KEY_HEX, KEY_TEXT].iter().any(|prefix| key.starts_with(prefix))
        || (sole && (key == TAG_BYTES || key == TAG_FLOAT))
}

#[cfg(test)]
mod tests;

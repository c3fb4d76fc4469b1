//! JSON in and out, exactly: what `outcrop_wire::json` says, under the name that the commands use.

pub use outcrop_wire::json::{
    JsonError, bins_from_value, bins_to_value, parse_document, parse_value, print_float, print_text, print_value,
    to_text,
};

//! Arguments taken apart: by name out of a map, by place out of a list, or alone.

use outcrop_wire::peek::{self, PeekValue};
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Error;

/// The arguments of one call.
pub struct Arguments<'a> {
    names: &'a [&'static str],
    found: Vec<Option<PeekValue<'a>>>,
}

impl<'a> Arguments<'a> {
    /// Takes archived arguments apart. Nothing at all is no arguments; a value that is neither list nor map is the only
    /// argument.
    pub fn read(archive: &'a [u8], names: &'a [&'static str]) -> Result<Self, Error> {
        let mut found = vec![None; names.len()];
        let value = if archive.is_empty() { PeekValue::Null } else { peek::value(archive)? };
        match value {
            PeekValue::Null => {}
            PeekValue::Map(entries) => {
                for entry in entries.iter() {
                    let (name, value) = entry?;
                    found[place_of(&name, names)?] = Some(value);
                }
            }
            PeekValue::List(items) => {
                let count = items.iter().len();
                if count > names.len() {
                    let message = format!("{count} arguments, and there are at most {}", known(names));
                    return Err(Error::invalid_arguments(message));
                }
                for (place, item) in items.iter().enumerate() {
                    found[place] = Some(item?);
                }
            }
            alone if names.len() == 1 => found[0] = Some(alone),
            _ => {
                let message = format!("arguments come by name in a map or by place in a list: {}", known(names));
                return Err(Error::invalid_arguments(message));
            }
        }
        Ok(Arguments { names, found })
    }

    /// An argument; none if the caller left it out or gave null for it.
    pub fn take<T: DeserializeOwned>(&self, place: usize) -> Result<Option<T>, Error> {
        match &self.found[place] {
            None | Some(PeekValue::Null) => Ok(None),
            Some(value) => self.convert(place, value).map(Some),
        }
    }

    /// An argument; what the caller left out is null, which only optional types take.
    pub fn required<T: DeserializeOwned>(&self, place: usize) -> Result<T, Error> {
        match &self.found[place] {
            Some(value) => self.convert(place, value),
            None => codec::of_peek_any(&PeekValue::Null).map_err(|_| {
                let message = format!("argument `{}` is missing; there are: {}", self.names[place], known(self.names));
                Error::invalid_arguments(message)
            }),
        }
    }

    fn convert<T: DeserializeOwned>(&self, place: usize, value: &PeekValue<'_>) -> Result<T, Error> {
        codec::of_peek_any(value)
            .map_err(|error| Error::invalid_arguments(format!("argument `{}`: {error}", self.names[place])))
    }
}

fn known(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn place_of(name: &peek::PeekKey<'_>, names: &[&'static str]) -> Result<usize, Error> {
    let peek::PeekKey::Text(name) = name else {
        return Err(Error::invalid_arguments("the name of an argument is text"));
    };
    let place = names.iter().position(|known| known == name);
    place.ok_or_else(|| Error::invalid_arguments(format!("there is no argument `{name}`; there are: {}", known(names))))
}

/// All that the caller sent as one type. Nothing at all is null, or a map without entries for types that want one.
pub fn read_whole<T: DeserializeOwned>(archive: &[u8]) -> Result<T, Error> {
    let value = if archive.is_empty() { PeekValue::Null } else { peek::value(archive)? };
    let read = codec::of_peek_any(&value);
    let read = match (&value, read) {
        (PeekValue::Null, Err(error)) => codec::of_empty_map().map_err(|_| error),
        (_, read) => read,
    };
    read.map_err(|error| Error::invalid_arguments(format!("arguments: {error}")))
}

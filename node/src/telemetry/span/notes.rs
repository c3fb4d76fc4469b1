//! What a request's span may carry beyond its fixed fields: attributes, events (log lines of a function, say) and child
//! spans.
//!
//! Only requests that are traced make notes, so they may allocate; they are bounded all the same, since a guest decides
//! what is in them. Whoever works without the span at hand (a future that runs beside its lane) fills [`Notes`] of its
//! own and hands them over with [`RequestSpan::add`](super::RequestSpan::add) at the end.
//!
//! ```
//! use outcrop_node::telemetry::span::{Child, Notes};
//!
//! let mut call = Child::begin("call discount");
//! call.attribute("outcrop.function.version", 7_i64);
//! call.event("log", [("outcrop.log.severity", "info".into()), ("outcrop.log.body", "3 items".into())]);
//! call.attribute("outcrop.function.fuel", 12_345_u64);
//! let mut notes = Notes::default();
//! notes.child(call.end());
//! ```

use std::borrow::Cow;

use tokio::time::Instant;

/// Attributes of a span beyond the fixed ones.
pub const ATTRIBUTES_MAX: usize = 32;
/// Events of a span beyond its stages.
pub const EVENTS_MAX: usize = 64;
/// Attributes of an event.
pub const EVENT_ATTRIBUTES_MAX: usize = 8;
/// Child spans of a request.
pub const CHILDREN_MAX: usize = 16;
/// Bytes of one text; what is longer is cut.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// Bytes of all texts of one span.
pub const SPAN_TEXT_BYTES_MAX: usize = 16 << 10;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text; cut to [`TEXT_BYTES_MAX`].
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u64> for Value {
    /// A number that OTLP's `int64` doesn't hold becomes the largest that it does.
    fn from(number: u64) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Bool(yes)
    }
}

impl Value {
    fn cut(self) -> Value {
        match self {
            Value::Text(text) if text.len() > TEXT_BYTES_MAX => {
                Value::Text(Cow::Owned(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()))
            }
            value => value,
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => 0,
        }
    }
}

/// A key, which is the same for all spans, and this span's value.
pub(super) type Attribute = (&'static str, Value);

/// Something that happened at a moment.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub name: &'static str,
    pub at: Instant,
    pub attributes: Vec<Attribute>,
}

/// Attributes and events of one span.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    pub attributes: Vec<Attribute>,
    pub events: Vec<Event>,
    pub attributes_lost: u32,
    pub events_lost: u32,
    text_bytes: usize,
}

impl Details {
    /// Takes room for a text, if there is some.
    fn takes(&mut self, text_bytes: usize) -> bool {
        let fits = self.text_bytes + text_bytes <= SPAN_TEXT_BYTES_MAX;
        self.text_bytes += if fits { text_bytes } else { 0 };
        fits
    }

    fn attribute(&mut self, key: &'static str, value: Value) {
        let value = value.cut();
        if self.attributes.len() < ATTRIBUTES_MAX && self.takes(value.text_bytes()) {
            self.attributes.push((key, value));
        } else {
            self.attributes_lost += 1;
        }
    }

    fn event(&mut self, name: &'static str, attributes: impl IntoIterator<Item = Attribute>) {
        if self.events.len() == EVENTS_MAX {
            self.events_lost += 1;
            return;
        }
        let attributes = attributes.into_iter().take(EVENT_ATTRIBUTES_MAX);
        let attributes: Vec<Attribute> = attributes.map(|(key, value)| (key, value.cut())).collect();
        if self.takes(attributes.iter().map(|(_, value)| value.text_bytes()).sum()) {
            self.events.push(Event { name, at: Instant::now(), attributes });
        } else {
            self.events_lost += 1;
        }
    }

    fn append(&mut self, more: Details) {
        self.attributes_lost += more.attributes_lost;
        self.events_lost += more.events_lost;
        for (key, value) in more.attributes {
            self.attribute(key, value);
        }
        for event in more.events {
            let text_bytes = event.attributes.iter().map(|(_, value)| value.text_bytes()).sum();
            if self.events.len() < EVENTS_MAX && self.takes(text_bytes) {
                self.events.push(event);
            } else {
                self.events_lost += 1;
            }
        }
    }

    /// Bytes of memory, about.
    fn weight(&self) -> usize {
        let attributes = self.attributes.len() + self.events.iter().map(|event| event.attributes.len()).sum::<usize>();
        self.text_bytes + attributes * size_of::<Attribute>() + self.events.len() * size_of::<Event>()
    }
}

/// Attributes, events and child spans on their way to a request's span.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    pub(super) details: Details,
    pub(super) children: Vec<Child>,
    pub(super) children_lost: u32,
}

impl Notes {
    /// An attribute; over [`ATTRIBUTES_MAX`] of them are counted and dropped.
    pub fn attribute(&mut self, key: &'static str, value: impl Into<Value>) {
        self.details.attribute(key, value.into());
    }

    /// Something happens now; over [`EVENTS_MAX`] of them are counted and dropped.
    pub fn event(&mut self, name: &'static str, attributes: impl IntoIterator<Item = (&'static str, Value)>) {
        self.details.event(name, attributes);
    }

    /// A child that has ended; over [`CHILDREN_MAX`] of them are counted and dropped.
    pub fn child(&mut self, child: Child) {
        if self.children.len() < CHILDREN_MAX {
            self.children.push(child);
        } else {
            self.children_lost += 1;
        }
    }

    /// Everything of `more` as well.
    pub fn append(&mut self, more: Notes) {
        self.details.append(more.details);
        self.children_lost += more.children_lost;
        for child in more.children {
            self.child(child);
        }
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        let children = self.children.iter().map(|child| size_of::<Child>() + child.name.len() + child.details.weight());
        size_of::<Notes>() + self.details.weight() + children.sum::<usize>()
    }
}

/// A span below the request's: a function's call, for example. It may be made without the request's span at hand.
#[derive(Debug, Clone)]
pub struct Child {
    pub(super) name: Cow<'static, str>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) failure: Option<(&'static str, String)>,
    pub(super) details: Details,
}

impl Child {
    /// A child that begins now, with a name of few different values, such as `call discount`.
    pub fn begin(name: impl Into<Cow<'static, str>>) -> Child {
        let mut name = name.into();
        if name.len() > TEXT_BYTES_MAX {
            name = Cow::Owned(name[..name.floor_char_boundary(TEXT_BYTES_MAX)].to_owned());
        }
        let now = Instant::now();
        Child { name, began: now, ended: now, failure: None, details: Details::default() }
    }

    /// An attribute; over [`ATTRIBUTES_MAX`] of them are counted and dropped.
    pub fn attribute(&mut self, key: &'static str, value: impl Into<Value>) {
        self.details.attribute(key, value.into());
    }

    /// Something happens now; over [`EVENTS_MAX`] of them are counted and dropped.
    pub fn event(&mut self, name: &'static str, attributes: impl IntoIterator<Item = (&'static str, Value)>) {
        self.details.event(name, attributes);
    }

    /// It failed: the span's status is an error, with a kind of few different values (`error.type`) and a message.
    pub fn fail(&mut self, error_type: &'static str, message: impl Into<String>) {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(TEXT_BYTES_MAX));
        self.failure = Some((error_type, message));
    }

    /// It ends now.
    #[must_use]
    pub fn end(mut self) -> Child {
        self.ended = Instant::now();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_talks_without_end_fills_a_bounded_room() {
        let mut notes = Notes::default();
        let long = "ü".repeat(TEXT_BYTES_MAX);
        for number in 0..10_000_i64 {
            notes.attribute("number", number);
            notes.event("log", [("outcrop.log.body", long.clone().into())]);
            let mut child = Child::begin(long.clone());
            (0..100).for_each(|_| child.event("log", [("outcrop.log.body", long.clone().into())]));
            child.fail("trap", long.clone());
            notes.child(child.end());
        }
        assert_eq!((notes.details.attributes.len(), notes.details.attributes_lost), (ATTRIBUTES_MAX, 9_968));
        assert_eq!((notes.details.events.len(), notes.details.events_lost), (16, 9_984), "16 KiB of text");
        assert_eq!((notes.children.len(), notes.children_lost), (CHILDREN_MAX, 9_984));
        assert!(notes.weight() < 17 * (SPAN_TEXT_BYTES_MAX + (10 << 10)), "{}", notes.weight());
        let mut again = Notes::default();
        again.append(notes.clone());
        again.append(notes);
        assert_eq!((again.details.events.len(), again.details.events_lost), (16, 2 * 9_984 + 16));
        assert_eq!((again.children.len(), again.children_lost), (CHILDREN_MAX, 2 * 9_984 + 16));
    }
}

//! Shapes: what a type looks like to a caller, as a small JSON Schema. `describe` shows them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

pub use outcrop_udf_macros::Shape;

/// A type that can say what it looks like to a caller. Derive it for structs and enums of arguments and results; what
/// doesn't implement it may be anything.
///
/// ```
/// use outcrop_udf::shape::Shape;
///
/// #[derive(Shape)]
/// struct Order {
///     /// How many.
///     count: u32,
///     note: Option<String>,
/// }
/// assert_eq!(
///     Order::shape(),
///     r#"{"type":"object","properties":{"count":{"type":"integer","minimum":0,"description":"How many."},"note":{"type":"string"}},"required":["count"]}"#
/// );
/// ```
pub trait Shape {
    /// Whether a caller may leave it out.
    const OPTIONAL: bool = false;

    /// A JSON Schema, in one line.
    fn shape() -> String;
}

macro_rules! shapes {
    ($($kind:ty => $text:expr),* $(,)?) => {
        $(impl Shape for $kind {
            fn shape() -> String {
                $text.to_owned()
            }
        })*
    };
}

shapes! {
    bool => r#"{"type":"boolean"}"#,
    i8 => r#"{"type":"integer"}"#, i16 => r#"{"type":"integer"}"#, i32 => r#"{"type":"integer"}"#,
    i64 => r#"{"type":"integer"}"#, isize => r#"{"type":"integer"}"#,
    u8 => r#"{"type":"integer","minimum":0}"#, u16 => r#"{"type":"integer","minimum":0}"#,
    u32 => r#"{"type":"integer","minimum":0}"#, u64 => r#"{"type":"integer","minimum":0}"#,
    usize => r#"{"type":"integer","minimum":0}"#,
    f32 => r#"{"type":"number"}"#, f64 => r#"{"type":"number"}"#,
    char => r#"{"type":"string"}"#, String => r#"{"type":"string"}"#, str => r#"{"type":"string"}"#,
    crate::Bytes => r#"{"type":"string","contentEncoding":"base64"}"#,
    crate::Value => "{}", crate::Raw => "{}", crate::Row => r#"{"type":"object"}"#,
    () => r#"{"type":"null"}"#,
}

impl<T: Shape> Shape for Option<T> {
    const OPTIONAL: bool = true;

    fn shape() -> String {
        T::shape()
    }
}

impl<T: Shape + ?Sized> Shape for Box<T> {
    fn shape() -> String {
        T::shape()
    }
}

impl<T: Shape + ?Sized> Shape for &T {
    fn shape() -> String {
        T::shape()
    }
}

macro_rules! lists {
    ($($kind:ident),*) => {
        $(impl<T: Shape> Shape for $kind<T> {
            fn shape() -> String {
                list(&T::shape())
            }
        })*
    };
}

lists!(Vec, VecDeque, BTreeSet);

impl<T: Shape, S> Shape for HashSet<T, S> {
    fn shape() -> String {
        list(&T::shape())
    }
}

impl<T: Shape, const N: usize> Shape for [T; N] {
    fn shape() -> String {
        list(&T::shape())
    }
}

impl<K, T: Shape> Shape for BTreeMap<K, T> {
    fn shape() -> String {
        map(&T::shape())
    }
}

impl<K, T: Shape, S> Shape for HashMap<K, T, S> {
    fn shape() -> String {
        map(&T::shape())
    }
}

macro_rules! tuples {
    ($($($name:ident)+),*) => {
        $(impl<$($name: Shape),+> Shape for ($($name,)+) {
            fn shape() -> String {
                let items = [$($name::shape()),+].join(",");
                format!(r#"{{"type":"array","prefixItems":[{items}]}}"#)
            }
        })*
    };
}

tuples!(A, A B, A B C, A B C D);

fn list(items: &str) -> String {
    format!(r#"{{"type":"array","items":{items}}}"#)
}

fn map(values: &str) -> String {
    format!(r#"{{"type":"object","additionalProperties":{values}}}"#)
}

/// One field of an object.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is, for people; may be empty.
    pub doc: &'static str,
    /// Whether a caller may leave it out.
    pub optional: bool,
    /// Its own shape.
    pub shape: String,
}

/// The shape of an object.
pub fn object(fields: &[Field]) -> String {
    let mut properties = Vec::with_capacity(fields.len());
    for field in fields {
        let described = match (field.doc, field.shape.strip_suffix('}')) {
            ("", _) | (_, None) => field.shape.clone(),
            (doc, Some("{")) => format!(r#"{{"description":{}}}"#, quoted(doc)),
            (doc, Some(open)) => format!(r#"{open},"description":{}}}"#, quoted(doc)),
        };
        properties.push(format!("{}:{described}", quoted(field.name)));
    }
    let required: Vec<String> = fields.iter().filter(|field| !field.optional).map(|field| quoted(field.name)).collect();
    let (properties, required) = (properties.join(","), required.join(","));
    match required.as_str() {
        "" => format!(r#"{{"type":"object","properties":{{{properties}}}}}"#),
        _ => format!(r#"{{"type":"object","properties":{{{properties}}},"required":[{required}]}}"#),
    }
}

/// The shape of a choice of names.
pub fn one_of(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!(r#"{{"type":"string","enum":[{}]}}"#, names.join(","))
}

/// A type without a shape: anything may stand there. Its Rust name would tell a caller nothing, and stand where the
/// author's own words belong.
const ANYTHING: &str = "{}";

/// Text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Finds out whether a type has a shape: the inherent method is taken if it has, the trait's if it hasn't.
#[doc(hidden)]
pub struct Probe<T: ?Sized>(pub std::marker::PhantomData<T>);

impl<T: Shape + ?Sized> Probe<T> {
    #[doc(hidden)]
    pub fn shape(&self) -> String {
        T::shape()
    }

    #[doc(hidden)]
    pub fn optional(&self) -> bool {
        T::OPTIONAL
    }
}

#[doc(hidden)]
pub trait Shapeless<T: ?Sized> {
    #[doc(hidden)]
    fn shape(&self) -> String {
        ANYTHING.to_owned()
    }

    #[doc(hidden)]
    fn optional(&self) -> bool {
        // An `Option` of a type without a shape has none itself.
        std::any::type_name::<T>().starts_with("core::option::Option<")
    }
}

impl<T: ?Sized> Shapeless<T> for Probe<T> {}

/// The shape of a type, whether it implements [`Shape`] or not.
#[macro_export]
#[doc(hidden)]
macro_rules! shape_of {
    ($kind:ty) => {{
        #[allow(unused_imports)]
        use $crate::shape::Shapeless as _;
        $crate::shape::Probe::<$kind>(::std::marker::PhantomData).shape()
    }};
}

/// Whether a caller may leave a value of this type out.
#[macro_export]
#[doc(hidden)]
macro_rules! shape_optional {
    ($kind:ty) => {{
        #[allow(unused_imports)]
        use $crate::shape::Shapeless as _;
        $crate::shape::Probe::<$kind>(::std::marker::PhantomData).optional()
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_a_shape_are_anything() {
        struct Opaque;
        assert_eq!(shape_of!(Opaque), "{}");
        assert!(!shape_optional!(Opaque) && shape_optional!(Option<Opaque>));
        assert_eq!(shape_of!(Option<Vec<i64>>), r#"{"type":"array","items":{"type":"integer"}}"#);
        assert!(shape_optional!(Option<Vec<i64>>));
    }

    /// Catches: an enum's Rust path as the description of a field, before the author's own.
    #[test]
    fn a_field_of_a_type_without_a_shape_has_its_own_words() {
        #[allow(dead_code)]
        enum Weight {
            Grams(u32),
        }
        #[derive(Shape)]
        #[allow(dead_code)]
        struct Parcel {
            /// What it weighs.
            weight: Weight,
        }
        let expected =
            r#"{"type":"object","properties":{"weight":{"description":"What it weighs."}},"required":["weight"]}"#;
        assert_eq!(Parcel::shape(), expected);
    }

    #[test]
    fn an_enum_is_a_choice_of_names() {
        #[derive(Shape)]
        #[allow(dead_code)]
        #[serde(rename_all = "kebab-case")]
        enum Order {
            SmallestFirst,
            #[serde(rename = "down")]
            Descending,
        }
        assert_eq!(Order::shape(), r#"{"type":"string","enum":["smallest-first","down"]}"#);
    }

    #[test]
    fn descriptions_are_escaped() {
        let field = Field { name: "a", doc: "a \"b\"\n\\", optional: true, shape: "{}".to_owned() };
        let expected = r#"{"type":"object","properties":{"a":{"description":"a \"b\"\n\\"}}}"#;
        assert_eq!(object(&[field]), expected);
    }
}

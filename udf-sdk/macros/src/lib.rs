//! Attributes that make node functions of plain Rust: `#[record_fn]`, `#[aggregate]`, `#[row_fn]`, `#[derive(Shape)]`.
//!
//! Use them through `outcrop-udf-sdk`, which re-exports them and documents what they do.

mod aggregate;
mod options;
mod record;
mod rows;
mod shape;
mod signature;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a record function of a plain function: `fn name(record: &mut Record, argument: Type, …) -> Result<T>`.
///
/// The function itself stays as it is, so tests call it directly. With `&Record` in place of `&mut Record` it is
/// read-only and runs without the key's turn. Options: `name = "…"`, `arguments = "…"` and `returns = "…"` (shapes, if
/// the ones made of the types don't say enough).
///
/// Arguments come by name, by place or, if there is one, alone. `#[default(expression)]` before an argument gives it a
/// default, `Option<T>` makes it optional, a doc comment describes it, and `#[arguments]` before the only one hands it
/// all that the caller sent.
#[proc_macro_attribute]
pub fn record_fn(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    let function = parse_macro_input!(item as syn::ItemFn);
    finish(record::expand(options, function))
}

/// Makes an aggregate of an `impl Aggregate for Type`; options as of `record_fn`.
///
/// Its name is the type's in snake case unless `name = "…"` says otherwise, its documentation is the doc comment of the
/// `impl`.
#[proc_macro_attribute]
pub fn aggregate(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    let block = parse_macro_input!(item as syn::ItemImpl);
    finish(aggregate::expand(options, block))
}

/// Makes a row function of `fn name(record: &RecordView, argument: Type, …) -> Result<Option<T>>` (none leaves the
/// record out) or of an `impl Rows for Type`; options and arguments as of `record_fn`.
///
/// Arguments are read once a query; those taken by reference are kept, the others are cloned for each record.
#[proc_macro_attribute]
pub fn row_fn(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    let item = parse_macro_input!(item as syn::Item);
    finish(rows::expand(options, item))
}

/// Describes a type of arguments or results, so that `describe` shows its fields: structs with named fields and enums
/// without fields.
#[proc_macro_derive(Shape, attributes(serde))]
pub fn shape(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(shape::expand(&item))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}

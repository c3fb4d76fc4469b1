//! `#[aggregate]`: an `impl Aggregate for Type`, and beside it the entry that a module lists.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ImplItem, ItemImpl, Type};

use crate::options::{Options, docs};

pub fn expand(options: Options, block: ItemImpl) -> syn::Result<TokenStream> {
    let kind = &block.self_ty;
    let name = name_of(&options, &block, "Aggregate")?;
    let doc = docs(&block.attrs);
    let arguments = options.arguments_or(shape_of_associated(&block, "Args"));
    let returns = options.returns_or(shape_of_associated(&block, "Output"));
    Ok(quote! {
        #block

        #[automatically_derived]
        impl ::outcrop_udf::Function for #kind {
            const ENTRY: ::outcrop_udf::Entry = ::outcrop_udf::Entry {
                name: #name,
                doc: #doc,
                arguments: #arguments,
                returns: #returns,
                read_only: true,
                run: ::outcrop_udf::Run::Aggregate(::outcrop_udf::guest::start_aggregate::<#kind>),
            };
        }
    })
}

/// The function's name: of the option, else the type's in snake case. The block has to implement `wanted`.
pub fn name_of(options: &Options, block: &ItemImpl, wanted: &str) -> syn::Result<String> {
    let implemented = block.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
    let span = block.impl_token.span;
    if implemented.is_none_or(|segment| segment.ident != wanted) {
        return Err(syn::Error::new(span, format!("this attribute stands on an `impl {wanted} for Type`")));
    }
    if !block.generics.params.is_empty() {
        return Err(syn::Error::new(span, "a function in a node is not generic: its callers are on the wire"));
    }
    let last = match &*block.self_ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    };
    let default = last.ok_or_else(|| syn::Error::new(span, "the type needs a name"))?;
    options.name_or(&snake_case(&default), span)
}

/// The shape of an associated type, as an expression of type `fn() -> String`.
pub fn shape_of_associated(block: &ItemImpl, name: &str) -> TokenStream {
    let found = block.items.iter().find_map(|item| match item {
        ImplItem::Type(item) if item.ident == name => Some(&item.ty),
        _ => None,
    });
    found.map_or(quote!(::std::string::String::new), |kind| quote!(|| ::outcrop_udf::shape_of!(#kind)))
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_in_snake_case() {
        assert_eq!(snake_case("Sum"), "sum");
        assert_eq!(snake_case("TopSellers2Days"), "top_sellers2_days");
        assert_eq!(snake_case("HLL"), "hll");
    }
}

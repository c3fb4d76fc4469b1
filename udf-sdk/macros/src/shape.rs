//! `#[derive(Shape)]`: the fields of a struct or the variants of an enum, as a caller gives them.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr};

use crate::options::docs;

pub fn expand(item: &DeriveInput) -> syn::Result<TokenStream> {
    let ident = &item.ident;
    if !item.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&item.generics, "`Shape` is not derived for generic types"));
    }
    let body = match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let of_all = serde_words(&item.attrs)?;
                let fields = fields.named.iter().map(|field| {
                    let words = serde_words(&field.attrs)?;
                    let plain = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                    let plain = plain.trim_start_matches("r#");
                    let name = words.rename.unwrap_or_else(|| of_all.case.field(plain));
                    let (kind, doc) = (&field.ty, docs(&field.attrs));
                    let optional = words.default || of_all.default;
                    Ok(quote!(::outcrop_udf::shape::Field {
                        name: #name,
                        doc: #doc,
                        optional: #optional || ::outcrop_udf::shape_optional!(#kind),
                        shape: ::outcrop_udf::shape_of!(#kind),
                    }))
                });
                let fields = fields.collect::<syn::Result<Vec<_>>>()?;
                quote!(::outcrop_udf::shape::object(&[#(#fields),*]))
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let kind = &fields.unnamed[0].ty;
                quote!(::outcrop_udf::shape_of!(#kind))
            }
            _ => return Err(syn::Error::new_spanned(ident, "`Shape` is for structs with named fields")),
        },
        Data::Enum(data) => {
            let case = serde_words(&item.attrs)?.case;
            let mut names = Vec::new();
            for variant in &data.variants {
                if !matches!(variant.fields, Fields::Unit) {
                    return Err(syn::Error::new_spanned(variant, "`Shape` is for enums without fields"));
                }
                names.push(
                    serde_words(&variant.attrs)?.rename.unwrap_or_else(|| case.variant(&variant.ident.to_string())),
                );
            }
            quote!(::outcrop_udf::shape::one_of(&[#(#names),*]))
        }
        Data::Union(_) => return Err(syn::Error::new_spanned(ident, "`Shape` is not for unions")),
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::outcrop_udf::shape::Shape for #ident {
            fn shape() -> ::std::string::String { #body }
        }
    })
}

#[derive(Default)]
struct SerdeWords {
    rename: Option<String>,
    default: bool,
    case: Case,
}

/// What `rename_all` says; without it names stay as they are.
#[derive(Default, Clone)]
struct Case(Option<String>);

impl Case {
    /// A field's name, which is written in snake case.
    fn field(&self, name: &str) -> String {
        match &self.0 {
            None => name.to_owned(),
            Some(case) => join(case, &name.split('_').map(str::to_owned).collect::<Vec<_>>()),
        }
    }

    /// A variant's name, which is written in Pascal case.
    fn variant(&self, name: &str) -> String {
        let Some(case) = &self.0 else { return name.to_owned() };
        let mut words: Vec<String> = Vec::new();
        for c in name.chars() {
            match words.last_mut() {
                Some(word) if !c.is_uppercase() => word.push(c),
                _ => words.push(c.to_lowercase().collect()),
            }
        }
        join(case, &words)
    }
}

/// Words in one of serde's cases.
fn join(case: &str, words: &[String]) -> String {
    let capital = |word: &String| {
        let mut chars = word.chars();
        chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
    };
    match case {
        "lowercase" => words.concat(),
        "UPPERCASE" => words.concat().to_uppercase(),
        "PascalCase" => words.iter().map(capital).collect(),
        "camelCase" => words.iter().take(1).cloned().chain(words.iter().skip(1).map(capital)).collect(),
        "SCREAMING_SNAKE_CASE" => words.join("_").to_uppercase(),
        "kebab-case" => words.join("-"),
        "SCREAMING-KEBAB-CASE" => words.join("-").to_uppercase(),
        _ => words.join("_"),
    }
}

/// What `#[serde(…)]` says about a name; all its other words don't change the shape that a caller sees.
fn serde_words(attributes: &[Attribute]) -> syn::Result<SerdeWords> {
    let mut words = SerdeWords::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") && meta.input.peek(syn::Token![=]) {
                words.rename = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if meta.path.is_ident("rename_all") && meta.input.peek(syn::Token![=]) {
                words.case = Case(Some(meta.value()?.parse::<LitStr>()?.value()));
            } else {
                words.default |= meta.path.is_ident("default");
                skip_value(&meta)?;
            }
            Ok(())
        })?;
    }
    Ok(words)
}

fn skip_value(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<TokenStream>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn names_follow_serde_s_cases() {
        let case = |name: &str| Case(Some(name.to_owned()));
        assert_eq!(case("kebab-case").variant("SmallestFirst"), "smallest-first");
        assert_eq!(case("snake_case").variant("TopTen"), "top_ten");
        assert_eq!(case("lowercase").variant("TopTen"), "topten");
        assert_eq!(case("camelCase").field("price_cents"), "priceCents");
        assert_eq!(case("SCREAMING_SNAKE_CASE").field("price_cents"), "PRICE_CENTS");
        assert_eq!(Case(None).field("price_cents"), "price_cents");
    }
}

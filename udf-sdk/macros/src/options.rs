//! What stands in the attribute's parentheses, and what doc comments say.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token};

/// `name = "…"`, `arguments = "…"`, `returns = "…"`.
#[derive(Default)]
pub struct Options {
    pub name: Option<LitStr>,
    pub arguments: Option<LitStr>,
    pub returns: Option<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Options::default();
        while !input.is_empty() {
            let key: syn::Ident = input.parse()?;
            let place = match key.to_string().as_str() {
                "name" => &mut options.name,
                "arguments" => &mut options.arguments,
                "returns" => &mut options.returns,
                _ => return Err(syn::Error::new(key.span(), "the options are `name`, `arguments` and `returns`")),
            };
            if place.is_some() {
                return Err(syn::Error::new(key.span(), "this option is there twice"));
            }
            input.parse::<Token![=]>()?;
            *place = Some(input.parse()?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

const NAME_BYTES_MAX: usize = 63;

impl Options {
    /// The function's name: the option's, else `default`; checked against what the contract allows.
    pub fn name_or(&self, default: &str, span: proc_macro2::Span) -> syn::Result<String> {
        let (name, span) = match &self.name {
            Some(literal) => (literal.value(), literal.span()),
            None => (default.to_owned(), span),
        };
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if first && rest && name.len() <= NAME_BYTES_MAX {
            return Ok(name);
        }
        let message = "a function's name is a letter or `_`, then letters, digits, `_` and `-`, at most 63 bytes";
        Err(syn::Error::new(span, message))
    }

    /// The shape of the arguments: the option's, else what `default` makes; an expression of type `fn() -> String`.
    pub fn arguments_or(&self, default: TokenStream) -> TokenStream {
        shape_or(self.arguments.as_ref(), default)
    }

    /// The shape of the result, likewise.
    pub fn returns_or(&self, default: TokenStream) -> TokenStream {
        shape_or(self.returns.as_ref(), default)
    }
}

fn shape_or(literal: Option<&LitStr>, default: TokenStream) -> TokenStream {
    match literal {
        Some(literal) => quote!(|| ::std::string::String::from(#literal)),
        None => default,
    }
}

/// The text of doc comments, without the blank that stands before each line.
pub fn docs(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value else { continue };
        if pair.path.is_ident("doc") {
            for line in text.value().split('\n') {
                lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned());
            }
        }
    }
    lines.join("\n").trim().to_owned()
}

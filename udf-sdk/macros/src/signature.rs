//! A function's signature taken apart: what comes first, the arguments, and how its result is given.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, FnArg, Ident, ItemFn, Pat, ReturnType, Signature, Type};

use crate::options::docs;

/// One argument of a function.
pub struct Argument {
    /// As it is called in the source, and by callers.
    pub name: String,
    /// The type that is read: without the reference.
    pub kind: Type,
    /// Whether the function takes it by reference.
    pub by_reference: bool,
    /// Its doc comment.
    pub doc: String,
    /// What stands in when the caller leaves it out.
    pub default: Option<Expr>,
}

/// Arguments of a function, after the record.
pub enum Arguments {
    /// One by one.
    Each(Vec<Argument>),
    /// One that is given all that the caller sent.
    Whole(Box<Argument>),
}

/// Checks that the function can be one of a node's, and takes the record's parameter off; gives whether it is `&mut`.
pub fn record_parameter(signature: &Signature, record: &str) -> syn::Result<bool> {
    let refuse = |span, message: &str| Err(syn::Error::new(span, message));
    if let Some(keyword) = &signature.asyncness {
        return refuse(keyword.span(), "a function in a node is not async: calls to the node are synchronous");
    }
    if let Some(keyword) = &signature.unsafety {
        return refuse(keyword.span(), "a function in a node is not unsafe");
    }
    let type_parameters = signature.generics.params.iter().find(|p| !matches!(p, syn::GenericParam::Lifetime(_)));
    if let Some(parameter) = type_parameters {
        return refuse(parameter.span(), "a function in a node is not generic: its callers are on the wire");
    }
    match signature.inputs.first() {
        Some(FnArg::Typed(first)) => match &*first.ty {
            Type::Reference(reference) => Ok(reference.mutability.is_some()),
            other => refuse(other.span(), &format!("the first parameter is a reference: `&{record}`")),
        },
        Some(FnArg::Receiver(receiver)) => refuse(receiver.span(), "a function in a node is no method"),
        None => refuse(signature.span(), &format!("the first parameter is the record: `&{record}`")),
    }
}

/// Takes the arguments' own attributes off the function, and gives the arguments.
pub fn take_arguments(function: &mut ItemFn) -> syn::Result<Arguments> {
    let mut each = Vec::new();
    let mut whole = None;
    for input in function.sig.inputs.iter_mut().skip(1) {
        let FnArg::Typed(input) = input else {
            return Err(syn::Error::new(input.span(), "a function in a node is no method"));
        };
        let Pat::Ident(pattern) = &*input.pat else {
            return Err(syn::Error::new(input.pat.span(), "an argument has a name: callers give it by that"));
        };
        let (by_reference, kind) = match &*input.ty {
            Type::Reference(reference) => (true, owned(&reference.elem)),
            other => (false, other.clone()),
        };
        let mut default = None;
        let mut takes_all = None;
        let mut kept = Vec::new();
        let doc = docs(&input.attrs);
        for attribute in input.attrs.drain(..) {
            if attribute.path().is_ident("default") {
                default = Some(default_of(&attribute)?);
            } else if attribute.path().is_ident("arguments") {
                takes_all = Some(attribute.span());
            } else if !attribute.path().is_ident("doc") {
                kept.push(attribute);
            }
        }
        input.attrs = kept;
        let name = pattern.ident.to_string().trim_start_matches("r#").trim_start_matches('_').to_owned();
        let argument = Argument { name, kind, by_reference, doc, default };
        match takes_all {
            Some(span) => whole = Some((span, argument)),
            None => each.push(argument),
        }
    }
    match whole {
        None => Ok(Arguments::Each(each)),
        Some((_, argument)) if each.is_empty() => Ok(Arguments::Whole(Box::new(argument))),
        Some((span, _)) => Err(syn::Error::new(span, "`#[arguments]` takes all: there can be no other argument")),
    }
}

fn default_of(attribute: &Attribute) -> syn::Result<Expr> {
    match &attribute.meta {
        syn::Meta::NameValue(pair) => Ok(pair.value.clone()),
        _ => attribute.parse_args(),
    }
}

/// What has to be kept so that a reference to `kind` can be given.
fn owned(kind: &Type) -> Type {
    match kind {
        Type::Path(path) if path.path.is_ident("str") => syn::parse_quote!(::std::string::String),
        Type::Slice(slice) => {
            let item = &slice.elem;
            syn::parse_quote!(::std::vec::Vec<#item>)
        }
        other => other.clone(),
    }
}

impl Arguments {
    /// Names of the locals that hold the arguments.
    pub fn locals(&self) -> Vec<Ident> {
        (0..self.list().len()).map(|place| format_ident!("argument_{}", place)).collect()
    }

    /// Types of the arguments, as they are read.
    pub fn kinds(&self) -> Vec<&Type> {
        self.list().iter().map(|argument| &argument.kind).collect()
    }

    /// The arguments in order.
    pub fn list(&self) -> &[Argument] {
        match self {
            Arguments::Each(arguments) => arguments,
            Arguments::Whole(argument) => std::slice::from_ref(&**argument),
        }
    }

    /// Statements that read `bytes` into the locals.
    pub fn read(&self, bytes: &TokenStream) -> TokenStream {
        let locals = self.locals();
        let Arguments::Each(arguments) = self else {
            let (local, kind) = (&locals[0], &self.list()[0].kind);
            return quote!(let #local: #kind = ::outcrop_udf::guest::read_whole(#bytes)?;);
        };
        let names = arguments.iter().map(|argument| &argument.name);
        let steps = arguments.iter().enumerate().map(|(place, argument)| {
            let (local, kind) = (&locals[place], &argument.kind);
            match &argument.default {
                // A text is a `&str`, and few parameters are; anything else has the parameter's type by itself.
                Some(default @ Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(_), .. })) => {
                    quote!(let #local: #kind = arguments.take(#place)?.unwrap_or_else(|| #default.into());)
                }
                Some(default) => quote!(let #local: #kind = arguments.take(#place)?.unwrap_or_else(|| #default);),
                None => quote!(let #local: #kind = arguments.required(#place)?;),
            }
        });
        quote! {
            let arguments = ::outcrop_udf::guest::Arguments::read(#bytes, &[#(#names),*])?;
            #(#steps)*
        }
    }

    /// An expression of type `fn() -> String`: the shape of the arguments.
    pub fn shape(&self) -> TokenStream {
        let Arguments::Each(arguments) = self else {
            let kind = &self.list()[0].kind;
            return quote!(|| ::outcrop_udf::shape_of!(#kind));
        };
        let fields = arguments.iter().map(|Argument { name, kind, doc, default, .. }| {
            let optional = default.is_some();
            quote!(::outcrop_udf::shape::Field {
                name: #name,
                doc: #doc,
                optional: #optional || ::outcrop_udf::shape_optional!(#kind),
                shape: ::outcrop_udf::shape_of!(#kind),
            })
        });
        quote!(|| ::outcrop_udf::shape::object(&[#(#fields),*]))
    }
}

/// How a function gives its result.
pub enum Outcome<'a> {
    /// Nothing.
    Nothing,
    /// A value: it can't fail.
    Plain(&'a Type),
    /// A `Result`, with its good type if the source names it.
    Fallible(Option<&'a Type>),
}

/// Reads the return type. An alias of `Result` has to have a name that ends so.
pub fn outcome(output: &ReturnType) -> Outcome<'_> {
    let ReturnType::Type(_, kind) = output else { return Outcome::Nothing };
    if let Type::Path(path) = &**kind
        && let Some(last) = path.path.segments.last()
        && last.ident.to_string().ends_with("Result")
    {
        let good = match &last.arguments {
            syn::PathArguments::AngleBracketed(generics) => generics.args.iter().find_map(|argument| match argument {
                syn::GenericArgument::Type(kind) => Some(kind),
                _ => None,
            }),
            _ => None,
        };
        return Outcome::Fallible(good);
    }
    Outcome::Plain(kind)
}

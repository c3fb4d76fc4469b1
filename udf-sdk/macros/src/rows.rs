//! `#[row_fn]`: on a plain function, or on an `impl Rows for Type` that keeps something between records.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, ItemFn, ItemImpl, Type};

use crate::aggregate::{name_of, shape_of_associated};
use crate::options::{Options, docs};
use crate::signature::{self, Outcome};

pub fn expand(options: Options, item: Item) -> syn::Result<TokenStream> {
    match item {
        Item::Fn(function) => of_function(options, function),
        Item::Impl(block) => of_impl(options, &block),
        other => Err(syn::Error::new_spanned(other, "`#[row_fn]` stands on a function or on an `impl Rows for Type`")),
    }
}

fn of_impl(options: Options, block: &ItemImpl) -> syn::Result<TokenStream> {
    let kind = &block.self_ty;
    let name = name_of(&options, block, "Rows")?;
    let doc = docs(&block.attrs);
    let arguments = options.arguments_or(shape_of_associated(block, "Args"));
    let returns = options.returns_or(shape_of_associated(block, "Row"));
    let entry = entry(&name, &doc, &arguments, &returns, &quote!(::outcrop_udf::guest::start_rows::<#kind>));
    Ok(quote! {
        #block

        #[automatically_derived]
        impl ::outcrop_udf::Function for #kind { #entry }
    })
}

fn of_function(options: Options, mut function: ItemFn) -> syn::Result<TokenStream> {
    if signature::record_parameter(&function.sig, "RecordView")? {
        let first = function.sig.inputs.first();
        return Err(syn::Error::new_spanned(first, "a row function doesn't write: take `&RecordView`"));
    }
    let arguments = signature::take_arguments(&mut function)?;
    let (good, unwrap) = match signature::outcome(&function.sig.output) {
        Outcome::Fallible(good) => (good, quote!(.map_err(::std::convert::Into::<::outcrop_udf::Error>::into)?)),
        Outcome::Plain(kind) => (Some(kind), TokenStream::new()),
        Outcome::Nothing => {
            let message = "a row function gives `Result<Option<T>>`: a row, or none to leave the record out";
            return Err(syn::Error::new_spanned(&function.sig, message));
        }
    };
    let row_shape = good
        .map(inside_option)
        .map_or(quote!(::std::string::String::new), |kind| quote!(|| ::outcrop_udf::shape_of!(#kind)));
    let ident = &function.sig.ident;
    let visibility = &function.vis;
    let name = options.name_or(ident.to_string().trim_start_matches("r#"), ident.span())?;
    let doc = docs(&function.attrs);
    let read = arguments.read(&quote!(bytes));
    let (locals, kinds) = (arguments.locals(), arguments.kinds());
    let passed = locals.iter().zip(arguments.list()).map(|(local, argument)| {
        if argument.by_reference { quote!(&self.#local) } else { quote!(::std::clone::Clone::clone(&self.#local)) }
    });
    let argument_shape = options.arguments_or(arguments.shape());
    let row_shape = options.returns_or(row_shape);
    let start = quote!(|bytes| {
        struct Running { #(#locals: #kinds),* }
        impl ::outcrop_udf::guest::RunningRows for Running {
            fn row(
                &mut self,
                record: &::outcrop_udf::RecordView<'_>,
            ) -> ::std::result::Result<::std::option::Option<::std::vec::Vec<u8>>, ::outcrop_udf::Error> {
                let row = #ident(record #(, #passed)*) #unwrap;
                ::outcrop_udf::guest::answer_row(row)
            }
        }
        #read
        ::std::result::Result::Ok(::std::boxed::Box::new(Running { #(#locals),* }))
    });
    let entry = entry(&name, &doc, &argument_shape, &row_shape, &start);
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #visibility struct #ident {}

        #[automatically_derived]
        impl ::outcrop_udf::Function for #ident { #entry }
    })
}

fn entry(name: &str, doc: &str, arguments: &TokenStream, returns: &TokenStream, start: &TokenStream) -> TokenStream {
    quote! {
        const ENTRY: ::outcrop_udf::Entry = ::outcrop_udf::Entry {
            name: #name,
            doc: #doc,
            arguments: #arguments,
            returns: #returns,
            read_only: true,
            run: ::outcrop_udf::Run::Rows(#start),
        };
    }
}

/// `T` of `Option<T>`; the type itself if it is none.
fn inside_option(kind: &Type) -> &Type {
    if let Type::Path(path) = kind
        && let Some(last) = path.path.segments.last()
        && last.ident == "Option"
        && let syn::PathArguments::AngleBracketed(generics) = &last.arguments
        && let Some(syn::GenericArgument::Type(inner)) = generics.args.first()
    {
        return inner;
    }
    kind
}

//! `#[record_fn]`: the function as it is, and beside it the entry that a module lists.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use crate::options::{Options, docs};
use crate::signature::{self, Outcome};

pub fn expand(options: Options, mut function: ItemFn) -> syn::Result<TokenStream> {
    let writes = signature::record_parameter(&function.sig, "mut Record")?;
    let arguments = signature::take_arguments(&mut function)?;
    let ident = &function.sig.ident;
    let visibility = &function.vis;
    let name = options.name_or(ident.to_string().trim_start_matches("r#"), ident.span())?;
    let doc = docs(&function.attrs);
    let read_only = !writes;
    let read = arguments.read(&quote!(bytes));
    let passed = arguments.locals().into_iter().zip(arguments.list());
    let passed: Vec<TokenStream> =
        passed.map(|(local, argument)| if argument.by_reference { quote!(&#local) } else { quote!(#local) }).collect();
    let call = quote!(#ident(record #(, #passed)*));
    let (answer, result_shape) = match signature::outcome(&function.sig.output) {
        Outcome::Nothing => {
            (quote!({ #call; ::outcrop_udf::guest::answer(()) }), quote!(|| ::outcrop_udf::shape_of!(())))
        }
        Outcome::Plain(kind) => {
            (quote!(::outcrop_udf::guest::answer(#call)), quote!(|| ::outcrop_udf::shape_of!(#kind)))
        }
        Outcome::Fallible(good) => (
            quote!(match #call {
                ::std::result::Result::Ok(value) => ::outcrop_udf::guest::answer(value),
                ::std::result::Result::Err(error) => {
                    ::std::result::Result::Err(::std::convert::Into::<::outcrop_udf::Error>::into(error))
                }
            }),
            good.map_or(quote!(::std::string::String::new), |kind| quote!(|| ::outcrop_udf::shape_of!(#kind))),
        ),
    };
    let argument_shape = options.arguments_or(arguments.shape());
    let result_shape = options.returns_or(result_shape);
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #visibility struct #ident {}

        #[automatically_derived]
        impl ::outcrop_udf::Function for #ident {
            const ENTRY: ::outcrop_udf::Entry = ::outcrop_udf::Entry {
                name: #name,
                doc: #doc,
                arguments: #argument_shape,
                returns: #result_shape,
                read_only: #read_only,
                run: ::outcrop_udf::Run::Record(|record, bytes| {
                    #read
                    #answer
                }),
            };
        }
    })
}

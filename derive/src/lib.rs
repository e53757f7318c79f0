//! The derive macro of the Module trait.
use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Member, parse_macro_input};

/// Writes `Module` and `Field` for a struct of parameters, buffers and modules.
#[proc_macro_derive(Module, attributes(module))]
pub fn module(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    let (ig, tg, wc) = input.generics.split_for_impl();
    let name = &input.ident;
    let mut visit = Vec::new();
    let mut train = Vec::new();
    let fields = match &input.data {
        Data::Struct(s) => s.fields.iter(),
        _ => return syn::Error::new_spanned(name, "Module is derived for structs").into_compile_error().into(),
    };
    for (at, field) in fields.enumerate() {
        let text = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(at.into()),
        };
        visit.push(quote! { ::calor::nn::Field::visit_field(&self.#member, #text, visitor); });
        train.push(quote! { ::calor::nn::Field::set_training(&self.#member, training); });
    }
    quote! {
        #[automatically_derived]
        impl #ig ::calor::nn::Module for #name #tg #wc {
            fn visit(&self, visitor: &mut dyn ::calor::nn::Visitor) { let _ = &visitor; #(#visit)* }
            fn set_training(&self, training: bool) { let _ = training; #(#train)* }
        }
        #[automatically_derived]
        impl #ig ::calor::nn::Field for #name #tg #wc {
            fn visit_field(&self, name: &str, visitor: &mut dyn ::calor::nn::Visitor) {
                visitor.enter(name);
                ::calor::nn::Module::visit(self, visitor);
                visitor.leave();
            }
            fn set_training(&self, training: bool) { ::calor::nn::Module::set_training(self, training); }
        }
    }
    .into()
}

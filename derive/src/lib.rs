//! The derive macro of the Module trait.
use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, parse_macro_input};

/// Temporary stand-in.
#[proc_macro_derive(Module, attributes(module))]
pub fn module(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    let (ig, tg, wc) = input.generics.split_for_impl();
    let name = &input.ident;
    let mut visit = Vec::new();
    let mut train = Vec::new();
    if let Data::Struct(s) = &input.data {
        match &s.fields {
            Fields::Named(f) => {
                for f in &f.named {
                    let id = f.ident.as_ref().expect("named");
                    let text = id.to_string();
                    visit.push(quote! { ::calor::nn::Field::visit_field(&self.#id, #text, visitor); });
                    train.push(quote! { ::calor::nn::Field::set_training(&self.#id, training); });
                }
            }
            _ => {}
        }
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

//! The derive macro of calor's `Module` trait.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Generics, Index, LitStr, Member, Result, Type, parse_quote};

/// Writes `Module` and `Field` for a struct: its parameters, buffers and modules take part under their field names.
///
/// Tuple structs use the position as the name: `0`, `1`, ... A type parameter that a field mentions must be a `Field`.
/// Enums and unions are refused.
///
/// Attributes of a field:
///
/// * `#[module(skip)]`: it takes no part; its type may be anything.
/// * `#[module(rename = "name")]`: it takes part under this name.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(item as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// What the attributes of a field say.
#[derive(Default)]
struct Attributes {
    skip: bool,
    rename: Option<LitStr>,
}

fn attributes(field: &Field) -> Result<Attributes> {
    let mut out = Attributes::default();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                out.skip = true;
            } else if meta.path.is_ident("rename") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() || name.value().contains('.') {
                    return Err(Error::new(name.span(), "a name must not be empty or contain a dot"));
                }
                out.rename = Some(name);
            } else {
                return Err(meta.error("unknown attribute, expected `skip` or `rename = \"name\"`"));
            }
            Ok(())
        })?;
    }
    Ok(out)
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            let message = "Module can be derived for structs only; for an enum implement `Module` and `Field` by hand";
            return Err(Error::new(data.enum_token.span, message));
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "Module can be derived for structs only"));
        }
    };
    let (mut visit, mut train) = (Vec::new(), Vec::new());
    let mut part: Vec<&Type> = Vec::new();
    for (position, field) in fields.iter().enumerate() {
        let said = attributes(field)?;
        if said.skip {
            continue;
        }
        let (member, own) = match &field.ident {
            Some(ident) => (Member::Named(ident.clone()), ident.unraw().to_string()),
            None => (Member::Unnamed(Index::from(position)), position.to_string()),
        };
        let name = said.rename.map_or(own, |name| name.value());
        // an error about the field's type points at it
        let span = field.ty.span();
        visit.push(quote_spanned! { span => ::calor::nn::Field::visit_field(&self.#member, #name, visitor); });
        train.push(quote_spanned! { span => ::calor::nn::Field::set_training(&self.#member, training); });
        part.push(&field.ty);
    }
    let name = &input.ident;
    let generics = bounded(&input.generics, &part);
    let (head, arguments, bounds) = generics.split_for_impl();
    // fields may be called anything, arguments of ours must not be unused
    let (visitor, training) = (format_ident!("visitor"), format_ident!("training"));
    Ok(quote! {
        #[automatically_derived]
        impl #head ::calor::nn::Module for #name #arguments #bounds {
            fn visit(&self, #visitor: &mut dyn ::calor::nn::Visitor) {
                let _ = &#visitor;
                #(#visit)*
            }

            fn set_training(&self, #training: bool) {
                let _ = #training;
                #(#train)*
            }
        }

        #[automatically_derived]
        impl #head ::calor::nn::Field for #name #arguments #bounds {
            fn visit_field(&self, name: &str, visitor: &mut dyn ::calor::nn::Visitor) {
                visitor.module(name, self);
                ::calor::nn::Module::visit(self, visitor);
                visitor.leave();
            }

            fn set_training(&self, training: bool) {
                ::calor::nn::Module::set_training(self, training);
            }
        }
    })
}

/// The generics with every type parameter that a part mentions bound to be a field.
fn bounded(generics: &Generics, parts: &[&Type]) -> Generics {
    let mut out = generics.clone();
    for parameter in out.type_params_mut() {
        let mentioned = parts.iter().any(|ty| !is_phantom(ty) && mentions(ty.to_token_stream(), &parameter.ident));
        if mentioned {
            parameter.bounds.push(parse_quote!(::calor::nn::Field));
        }
    }
    out
}

/// Whether it is `PhantomData`, which holds nothing of its argument.
fn is_phantom(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "PhantomData"))
}

fn mentions(tokens: TokenStream, name: &syn::Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(input: DeriveInput) -> String {
        expand(&input).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_derived_is_refused() {
        assert!(message(parse_quote! { enum Choice { A(Linear), B } }).contains("structs only"));
        assert!(message(parse_quote! { union Both { a: u8, b: i8 } }).contains("structs only"));
        assert!(message(parse_quote! { struct S { #[module(jump)] a: Linear } }).contains("unknown attribute"));
        assert!(message(parse_quote! { struct S { #[module(rename = "a.b")] a: Linear } }).contains("dot"));
    }

    #[test]
    fn only_parameters_of_visited_fields_are_bound() {
        let input: DeriveInput = parse_quote! {
            struct S<A, B, C, D> { a: Vec<A>, #[module(skip)] b: B, c: std::marker::PhantomData<C>, d: (u8, D) }
        };
        let text = expand(&input).unwrap().to_string();
        for (name, bound) in [("A", true), ("B", false), ("C", false), ("D", true)] {
            assert_eq!(text.contains(&format!("{name} : :: calor :: nn :: Field")), bound, "{name}");
        }
    }
}

//! The derive macro of the Module trait.
use proc_macro::TokenStream;
/// Placeholder.
#[proc_macro_derive(Module, attributes(module))]
pub fn module(_item: TokenStream) -> TokenStream {
    TokenStream::new()
}

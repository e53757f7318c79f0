//! Files: state dicts as safetensors.

mod safetensors;

pub use safetensors::{load, load_bytes, load_with_texts, save, save_bytes, save_with_texts};

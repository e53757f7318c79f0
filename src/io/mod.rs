//! Files: state dicts as safetensors, IDX arrays.

mod idx;
mod safetensors;

pub use idx::{IdxArray, IdxData, parse_idx, read_idx};
pub use safetensors::{load, load_bytes, load_with_texts, save, save_bytes, save_with_texts};

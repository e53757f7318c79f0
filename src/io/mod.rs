//! Files: training states, safetensors, NumPy arrays, PyTorch checkpoints, IDX arrays, TensorBoard's events.
//!
//! ```
//! use calor::{Device, Tensor, io};
//! let state = [("w".to_string(), Tensor::new([1.0f32, 2.0], ())?)].into_iter().collect();
//! let bytes = io::save_bytes(&state, &Default::default())?;
//! let (back, _) = io::load_bytes(&bytes, &Device::best()?)?;
//! assert_eq!(back.get("w").unwrap().to_vec::<f32>()?, [1.0, 2.0]);
//! # Ok::<(), calor::Error>(())
//! ```

mod archive;
mod checkpoint;
mod event;
mod file;
mod idx;
mod npy;
mod object;
mod optimizer;
mod pickle;
mod png;
mod pt;
mod safetensors;
mod tensorboard;
mod training;

pub use checkpoint::Checkpoint;
pub use idx::{IdxArray, IdxData, parse_idx, read_idx};
pub use npy::{load_npy, load_npy_bytes, load_npz, load_npz_bytes, save_npy, save_npz};
pub use object::Object;
pub use pt::{load_pt, load_pt_bytes, save_pt};
pub use safetensors::{load, load_bytes, load_with_texts, save, save_bytes, save_with_texts};
pub use tensorboard::SummaryWriter;

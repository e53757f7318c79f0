//! The safetensors format: tensors by name, with texts beside them. PyTorch reads and writes the same files.

use super::{file, npy};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::nn::StateDict;
use crate::tensor::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

/// Writes tensors to a file; waits for them.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-{}.safetensors", std::process::id()));
/// let state = [("weight".to_string(), Tensor::ones([2, 3], ())?)].into_iter().collect();
/// io::save(&path, &state)?;
/// let back = io::load(&path, &Device::best()?)?;
/// assert_eq!(&back.get("weight").unwrap().shape()[..], [2, 3]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save(path: impl AsRef<Path>, state: &StateDict) -> Result<()> {
    save_with_texts(path, state, &BTreeMap::new())
}

/// [`save`] with texts in the file's metadata.
///
/// The file is written beside `path` and then put in its place, so that a crash leaves no half file.
///
/// ```
/// use calor::{Device, io, nn::StateDict};
/// # let path = std::env::temp_dir().join(format!("calor-doc-texts-{}.safetensors", std::process::id()));
/// let texts = [("format".to_string(), "pt".to_string())].into();
/// io::save_with_texts(&path, &StateDict::new(), &texts)?;
/// assert_eq!(io::load_with_texts(&path, &Device::best()?)?.1, texts);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save_with_texts(path: impl AsRef<Path>, state: &StateDict, texts: &BTreeMap<String, String>) -> Result<()> {
    let path = path.as_ref();
    let bytes = save_bytes(state, texts)?;
    file::replace("save", path, |out| out.write_all(&bytes).map_err(|e| file::failed("save", path, e)))
}

/// The bytes of such a file.
///
/// ```
/// use calor::{Device, Tensor, io, nn::StateDict};
/// let state: StateDict = [("a".to_string(), Tensor::new([1i32, 2], ())?)].into_iter().collect();
/// let bytes = io::save_bytes(&state, &Default::default())?;
/// assert_eq!(bytes[bytes.len() - 8..], [1, 0, 0, 0, 2, 0, 0, 0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save_bytes(state: &StateDict, texts: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let hosts = file::hosts(state.iter().map(|(_, t)| t))?;
    let views = state
        .names()
        .zip(&hosts)
        .map(|(name, host)| {
            let view = TensorView::new(file_dtype(host.dtype), host.shape.clone(), &host.bytes);
            Ok((name, view.map_err(|e| Error::new(ErrorKind::Io, "save", format!("{name}: {e}")))?))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata: Option<HashMap<String, String>> =
        (!texts.is_empty()).then(|| texts.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    safetensors::serialize(views, metadata).map_err(|e| Error::new(ErrorKind::Io, "save", e.to_string()))
}

/// Reads a file's tensors, in the order of their names.
///
/// 64-bit types become the 32-bit ones where the device lacks them, 8- and 16-bit signed integers and 16-bit unsigned ones i32. A file that is missing, truncated or malformed is
/// an error of kind [`ErrorKind::Io`]; a dtype without a counterpart is one of kind [`ErrorKind::DType`].
///
/// ```
/// use calor::{Device, Tensor, io};
/// let path = std::env::temp_dir().join(format!("calor-doc-load-{}.safetensors", std::process::id()));
/// io::save(&path, &[("x".to_string(), Tensor::ones([2], ())?)].into_iter().collect())?;
/// assert_eq!(io::load(&path, &Device::best()?)?.get("x").unwrap().to_vec::<f32>()?, [1.0, 1.0]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    Ok(load_with_texts(path, device)?.0)
}

/// [`load`] with the texts of the file's metadata.
///
/// ```
/// use calor::{Device, io, nn::StateDict};
/// # let path = std::env::temp_dir().join(format!("calor-doc-with-{}.safetensors", std::process::id()));
/// io::save(&path, &StateDict::new())?;
/// let (state, texts) = io::load_with_texts(&path, &Device::best()?)?;
/// assert!(state.is_empty() && texts.is_empty());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_with_texts(path: impl AsRef<Path>, device: &Device) -> Result<(StateDict, BTreeMap<String, String>)> {
    let path = path.as_ref();
    let bytes = file::map("load", path)?;
    load_bytes(&bytes, device).map_err(|e| e.context(path.display()))
}

/// [`load_with_texts`] from a file's bytes.
///
/// ```
/// use calor::{Device, Tensor, io, nn::StateDict};
/// let state: StateDict = [("a".to_string(), Tensor::new([1i32, 2], ())?)].into_iter().collect();
/// let (back, _) = io::load_bytes(&io::save_bytes(&state, &Default::default())?, &Device::best()?)?;
/// assert_eq!(back.get("a").unwrap().to_vec::<i32>()?, [1, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_bytes(bytes: &[u8], device: &Device) -> Result<(StateDict, BTreeMap<String, String>)> {
    let broken = |e: safetensors::SafeTensorError| Error::new(ErrorKind::Io, "load", format!("no safetensors: {e}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let mut names = file.names();
    names.sort_unstable();
    let mut state = Vec::new();
    for name in names {
        let view = file.tensor(name).map_err(broken)?;
        // by NumPy's names
        let narrow = match view.dtype() {
            Dtype::I8 => "i1",
            Dtype::I16 => "i2",
            Dtype::U16 => "u2",
            _ => "",
        };
        let widened = npy::widened(narrow, view.data());
        let Some(dtype) = widened.as_ref().map(|_| DType::I32).or_else(|| own_dtype(view.dtype())) else {
            bail!(DType, "load", "{name} is {:?}, which is not supported", view.dtype());
        };
        let data = widened.as_deref().unwrap_or(view.data());
        let tensor = file::tensor("load", name, view.shape(), dtype, data, device)?;
        state.push((name.to_string(), tensor));
    }
    let texts = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((state.into_iter().collect(), texts))
}

fn file_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn own_dtype(dtype: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|&d| file_dtype(d) == dtype)
}

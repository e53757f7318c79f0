//! NumPy's files: `.npy`, one array, and `.npz`, a zip archive of arrays (NumPy Enhancement Proposal 1).

use super::{archive, file};
use crate::dtype::{DType, Element};
use crate::error::{Result, bail};
use crate::nn::StateDict;
use crate::tensor::{Device, Tensor};
use std::io::Write;
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// In an archive elements start no later: arrays of the types here have much shorter headers.
const HEAD: usize = 1 << 16;

/// Writes a tensor as a `.npy` file; waits for it. bf16, which NumPy lacks, is written as f32.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-{}.npy", std::process::id()));
/// io::save_npy(&path, &Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?)?;
/// assert_eq!(io::load_npy(&path, &Device::best()?)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let path = path.as_ref();
    let host = plain(tensor)?.to_host()?;
    file::replace("save_npy", path, |out| {
        let written = out.write_all(&header(host.dtype, &host.shape)).and_then(|()| out.write_all(&host.bytes));
        written.map_err(|e| file::failed("save_npy", path, e))
    })
}

/// Reads a `.npy` file: rows or columns first, either byte order, 8- and 16-bit signed integers and 16-bit unsigned ones
/// as i32.
///
/// 64-bit types become the 32-bit ones where the device lacks them. Truncated and malformed files are errors of kind
/// [`ErrorKind::Io`](crate::ErrorKind::Io), types without a counterpart of kind [`ErrorKind::DType`](crate::ErrorKind::DType).
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-load-{}.npy", std::process::id()));
/// io::save_npy(&path, &Tensor::new([[1i32, 2]], ())?)?;
/// assert_eq!(&io::load_npy(&path, &Device::best()?)?.shape()[..], [1, 2]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_npy(path: impl AsRef<Path>, device: &Device) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = file::map("load_npy", path)?;
    load_npy_bytes(&bytes, device).map_err(|e| e.context(path.display()))
}

/// [`load_npy`] from a file's bytes.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-bytes-{}.npy", std::process::id()));
/// io::save_npy(&path, &Tensor::new([1i32, 2], ())?)?;
/// let bytes = std::fs::read(&path)?;
/// assert_eq!(io::load_npy_bytes(&bytes, &Device::best()?)?.to_vec::<i32>()?, [1, 2]);
/// assert!(io::load_npy_bytes(&bytes[..40], &Device::best()?).is_err());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_npy_bytes(bytes: &[u8], device: &Device) -> Result<Tensor> {
    array("load_npy", "the array", bytes, device)
}

/// Writes tensors as a `.npz` file, an array for each name; waits for them.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-{}.npz", std::process::id()));
/// let arrays = [("x".to_string(), Tensor::ones([2], ())?)].into_iter().collect();
/// io::save_npz(&path, &arrays)?;
/// assert_eq!(io::load_npz(&path, &Device::best()?)?.get("x").unwrap().to_vec::<f32>()?, [1.0, 1.0]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save_npz(path: impl AsRef<Path>, arrays: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let tensors: Vec<Tensor> = arrays.iter().map(|(_, t)| plain(t)).collect::<Result<_>>()?;
    let hosts = file::hosts(&tensors)?;
    file::replace("save_npz", path, |out| {
        let mut zip = archive::Writer::new("save_npz", path, out);
        for (name, host) in arrays.names().zip(&hosts) {
            zip.add(&format!("{name}.npy"), &[&header(host.dtype, &host.shape), &host.bytes])?;
        }
        zip.finish()
    })
}

/// Reads a `.npz` file, compressed or not, in the order of the names; see [`load_npy`].
///
/// ```
/// use calor::{Device, Tensor, io, nn::StateDict};
/// # let path = std::env::temp_dir().join(format!("calor-doc-load-{}.npz", std::process::id()));
/// let state: StateDict = [("a".to_string(), Tensor::new([1i32, 2], ())?)].into_iter().collect();
/// io::save_npz(&path, &state)?;
/// assert_eq!(io::load_npz(&path, &Device::best()?)?.get("a").unwrap().to_vec::<i32>()?, [1, 2]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_npz(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
    let path = path.as_ref();
    let bytes = file::map("load_npz", path)?;
    load_npz_bytes(&bytes, device).map_err(|e| e.context(path.display()))
}

/// [`load_npz`] from a file's bytes.
///
/// ```
/// use calor::{Device, Tensor, io, nn::StateDict};
/// # let path = std::env::temp_dir().join(format!("calor-doc-bytes-{}.npz", std::process::id()));
/// let state: StateDict = [("a".to_string(), Tensor::new([1i32, 2], ())?)].into_iter().collect();
/// io::save_npz(&path, &state)?;
/// assert_eq!(io::load_npz_bytes(&std::fs::read(&path)?, &Device::best()?)?.len(), 1);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_npz_bytes(bytes: &[u8], device: &Device) -> Result<StateDict> {
    let mut zip = archive::Archive::new("load_npz", bytes)?;
    let names = zip.names()?.into_iter();
    let arrays = names.map(|part| {
        let name = part.strip_suffix(".npy").unwrap_or(&part);
        let bytes = zip.read_as(&part, HEAD, |head| {
            let header = read_header("load_npz", name, head)?;
            Ok(header.bytes().and_then(|n| n.checked_add(header.start)).unwrap_or(head.len()))
        })?;
        Ok((name.to_string(), array("load_npz", name, &bytes, device)?))
    });
    arrays.collect()
}

/// What NumPy has a type for.
fn plain(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::BF16 => tensor.detach().to_dtype(DType::F32),
        _ => Ok(tensor.detach()),
    }
}

fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 | DType::BF16 => "<f4",
        DType::F64 => "<f8",
    }
}

/// Magic, version and a Python dict, padded with spaces so that the elements start at a multiple of 64 bytes.
fn header(dtype: DType, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    // a tuple of one has a comma behind it, others need none
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let dict = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({sizes}), }}", descr(dtype));
    let length = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    // ranks are small: the length always fits
    out.extend((length as u16).to_le_bytes());
    out.extend(dict.as_bytes());
    out.resize(10 + length - 1, b' ');
    out.push(b'\n');
    out
}

/// What a header says.
struct Header<'a> {
    /// NumPy's name of the type without the byte order: `f4`.
    kind: &'a str,
    big_endian: bool,
    columns_first: bool,
    shape: Vec<usize>,
    dtype: DType,
    /// Bytes of an element in the file.
    size: usize,
    /// Where elements start.
    start: usize,
}

impl Header<'_> {
    /// Bytes of all elements.
    fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.size, |n: usize, &d| n.checked_mul(d))
    }
}

/// The header at the start of an array, of which the elements may not be there.
fn read_header<'a>(op: &str, name: &str, bytes: &'a [u8]) -> Result<Header<'a>> {
    let Some((text, start)) = split(bytes) else {
        bail!(Io, op, "{name} is no npy array, or is cut off");
    };
    let Some((kind, big_endian, columns_first, shape)) = parse(text) else {
        bail!(Io, op, "{name} has a header that is not NumPy's: {:?}", text.get(..200).unwrap_or(text));
    };
    let (dtype, size) = match kind {
        "b1" => (DType::Bool, 1),
        "u1" => (DType::U8, 1),
        "i1" => (DType::I32, 1),
        "i2" | "u2" => (DType::I32, 2),
        "i4" => (DType::I32, 4),
        "u4" => (DType::U32, 4),
        "i8" => (DType::I64, 8),
        "f2" => (DType::F16, 2),
        "f4" => (DType::F32, 4),
        "f8" => (DType::F64, 8),
        other => bail!(DType, op, "{name} holds {other:?}, which is not supported"),
    };
    Ok(Header { kind, big_endian, columns_first, shape, dtype, size, start })
}

fn array(op: &str, name: &str, bytes: &[u8], device: &Device) -> Result<Tensor> {
    let header = read_header(op, name, bytes)?;
    let (dtype, size, data) = (header.dtype, header.size, &bytes[header.start..]);
    if header.bytes() != Some(data.len()) {
        bail!(Io, op, "{name} has shape {:?} of {}, but {} bytes", header.shape, header.kind, data.len());
    }
    let swapped: Vec<u8>;
    let data = if header.big_endian && size > 1 {
        swapped = data.chunks_exact(size).flat_map(|x| x.iter().rev().copied()).collect();
        &swapped
    } else {
        data
    };
    let widened = widened(header.kind, data);
    let data = widened.as_deref().unwrap_or(data);
    if !header.columns_first {
        return file::tensor(op, name, &header.shape, dtype, data, device);
    }
    let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
    let dims: Vec<isize> = (0..reversed.len() as isize).rev().collect();
    file::tensor(op, name, &reversed, dtype, data, device)?.permute(&dims)
}

/// The bytes of the i32 that hold narrow integers.
pub(super) fn widened(kind: &str, data: &[u8]) -> Option<Vec<u8>> {
    let two = || data.as_chunks::<2>().0.iter();
    let wide: Vec<i32> = match kind {
        "i1" => data.iter().map(|&x| i32::from(x as i8)).collect(),
        "i2" => two().map(|&x| i32::from(i16::from_le_bytes(x))).collect(),
        "u2" => two().map(|&x| i32::from(u16::from_le_bytes(x))).collect(),
        _ => return None,
    };
    Some(i32::to_bytes(&wide).into_owned())
}

/// The header's text, and where it ends.
fn split(bytes: &[u8]) -> Option<(&str, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest))?,
        2 | 3 => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest))?,
        _ => return None,
    };
    let (text, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, bytes.len() - data.len()))
}

/// A dict of three known keys whose values are a string, a truth value and a tuple of numbers: type, whether it is
/// big-endian, whether columns come first, sizes.
fn parse(text: &str) -> Option<(&str, bool, bool, Vec<usize>)> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let value = |key: &str| {
        let at = [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|k| Some(inner.find(k)? + k.len()))?;
        Some(inner[at..].trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (descr, _) = descr[1..].split_once(quote)?;
    let (order, kind) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return None,
    };
    let flag = value("fortran_order")?;
    let columns_first = flag.starts_with("True");
    if !columns_first && !flag.starts_with("False") {
        return None;
    }
    let (sizes, _) = value("shape")?.strip_prefix('(')?.split_once(')')?;
    let sizes = sizes.split(',').map(str::trim).filter(|s| !s.is_empty());
    // Python 2 wrote 3L
    let shape = sizes.map(|s| s.strip_suffix('L').unwrap_or(s).parse().ok()).collect::<Option<Vec<usize>>>()?;
    Some((kind, big_endian, columns_first, shape))
}

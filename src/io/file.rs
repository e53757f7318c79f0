//! Whole files: read through a memory map, written so that a crash leaves the old one.

use crate::dtype::{DType, Element};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Device, HostData, Tensor};
use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file's bytes, paged in as they are read.
pub(super) struct Mapped(memmap2::Mmap);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file.
pub(super) fn map(op: &str, path: &Path) -> Result<Mapped> {
    let file = File::open(path).map_err(|e| failed(op, path, e))?;
    // SAFETY: the map is private to the call that reads the file, and only read. Who cuts a file short while it is being
    // loaded stops the process, as with every memory map; `replace` never does.
    let map = unsafe { memmap2::Mmap::map(&file) };
    map.map(Mapped).map_err(|e| failed(op, path, e))
}

/// Writes a file beside `path`, waits until it is on the disk, and puts it in the place of `path` in one step: whoever is
/// stopped at any moment finds the old file or the new one.
pub(super) fn replace(op: &str, path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    // threads of one process may write the same file
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".{}.{}.tmp", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let beside = path.with_file_name(name);
    let io = |e: std::io::Error| failed(op, path, e);
    let written = File::create(&beside).map_err(io).and_then(|mut file| {
        write(&mut file)?;
        file.flush().and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)?;
        keep_name(path).map_err(io)
    });
    if written.is_err() {
        // what is left of it is of no use
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Waits until a file's name is on the disk too.
#[cfg(unix)]
fn keep_name(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Other systems open no folders.
#[cfg(not(unix))]
fn keep_name(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// What went wrong with a file.
pub(super) fn failed(op: &str, path: &Path, e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, op, format!("{}: {e}", path.display()))
}

/// A tensor of a file's bytes; 64-bit types become the 32-bit ones where the device lacks them.
pub(super) fn tensor(op: &str, name: &str, shape: &[usize], dtype: DType, bytes: &[u8], to: &Device) -> Result<Tensor> {
    let (dtype, bytes) = match dtype {
        // only 0 and 1 are truth values on the device
        DType::Bool if bytes.iter().any(|&b| b > 1) => (dtype, bytes.iter().map(|&b| u8::from(b != 0)).collect()),
        dtype if to.supports(dtype) => return Tensor::from_bytes(shape, dtype, bytes, to),
        DType::I64 => {
            let small: Result<Vec<i32>, _> = i64::from_bytes(bytes).into_iter().map(i32::try_from).collect();
            let small = small.map_err(|_| {
                let message = format!("{name} holds numbers that only i64 can, which is missing");
                Error::new(ErrorKind::DType, op, message)
            })?;
            (DType::I32, i32::to_bytes(&small).into_owned())
        }
        _ => {
            let small: Vec<f32> = f64::from_bytes(bytes).into_iter().map(|x| x as f32).collect();
            (DType::F32, f32::to_bytes(&small).into_owned())
        }
    };
    Tensor::from_host(HostData { shape: shape.to_vec(), dtype, bytes }, to)
}

/// The host values of tensors, all of which are computed before one is waited for.
pub(super) fn hosts<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<HostData>> {
    let tensors: Vec<Tensor> = tensors.into_iter().cloned().collect();
    Tensor::eval_all(&tensors)?;
    tensors.iter().map(Tensor::to_host).collect()
}

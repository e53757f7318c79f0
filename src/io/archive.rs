//! Zip archives of named parts: what NumPy and PyTorch keep several arrays in.

use super::file::failed;
use crate::error::{Error, ErrorKind, Result, bail};
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;

/// An archive in memory or in a memory map.
pub(super) struct Archive<'a> {
    op: &'static str,
    zip: zip::ZipArchive<Cursor<&'a [u8]>>,
    bytes: usize,
}

impl<'a> Archive<'a> {
    /// Reads the list of parts; refused where two have the same bytes, which many could inflate again and again.
    pub(super) fn new(op: &'static str, bytes: &'a [u8]) -> Result<Self> {
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(op, "no zip archive", e))?;
        if zip.has_overlapping_files().map_err(|e| broken(op, "no zip archive", e))? {
            bail!(Io, op, "the archive has parts that lie in one another");
        }
        Ok(Self { op, zip, bytes: bytes.len() })
    }

    /// The names of all parts, sorted.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let names = self.zip.file_names().map(|n| Ok(n.map_err(|e| broken(self.op, "a name", e))?.into_owned()));
        let mut names: Vec<String> = names.collect::<Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// A part's bytes, with its checksum compared; refused where there are more than `most`.
    pub(super) fn read(&mut self, name: &str, most: usize) -> Result<Vec<u8>> {
        self.read_as(name, 0, |_| Ok(most))
    }

    /// [`Archive::read`] of a part whose first bytes, of which `head` are enough, say how many it may have.
    pub(super) fn read_as(
        &mut self,
        name: &str,
        head: usize,
        most: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<Vec<u8>> {
        let op = self.op;
        let mut part = self.zip.by_name(name).map_err(|e| broken(op, name, e))?;
        if part.encrypted() {
            bail!(Io, op, "{name} is encrypted");
        }
        let mut bytes = Vec::new();
        part.by_ref().take(head as u64).read_to_end(&mut bytes).map_err(|e| broken(op, name, e))?;
        let most = most(&bytes)?;
        let left = most.saturating_sub(bytes.len());
        // the size is the file's word: only what is there takes memory
        bytes.reserve_exact(part.size().min(self.bytes.min(left) as u64) as usize);
        // one more shows whether it goes on, or has the checksum compared
        part.take((left as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(|e| broken(op, name, e))?;
        if bytes.len() > most {
            bail!(Io, op, "{name} goes on behind the {most} bytes that it may have");
        }
        Ok(bytes)
    }
}

fn broken(op: &str, what: &str, e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, op, format!("{what}: {e}"))
}

/// An archive being written; parts are stored as they are, aligned for memory maps.
pub(super) struct Writer<'a, W: Write + Seek> {
    op: &'static str,
    path: &'a Path,
    zip: zip::ZipWriter<W>,
}

impl<'a, W: Write + Seek> Writer<'a, W> {
    pub(super) fn new(op: &'static str, path: &'a Path, out: W) -> Self {
        Self { op, path, zip: zip::ZipWriter::new(out) }
    }

    /// Adds a part that stands in pieces.
    pub(super) fn add(&mut self, name: &str, pieces: &[&[u8]]) -> Result<()> {
        let large = pieces.iter().map(|p| p.len() as u64).sum::<u64>() >= u64::from(u32::MAX);
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let options = stored.with_alignment(64).large_file(large).last_modified_time(zip::DateTime::DEFAULT);
        self.zip.start_file(name, options).map_err(|e| failed(self.op, self.path, e))?;
        pieces.iter().try_for_each(|piece| self.zip.write_all(piece)).map_err(|e| failed(self.op, self.path, e))
    }

    /// Writes the list of parts.
    pub(super) fn finish(self) -> Result<()> {
        self.zip.finish().map(drop).map_err(|e| failed(self.op, self.path, e))
    }
}

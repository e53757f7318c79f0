//! IDX files, the format of MNIST: a magic number, sizes, elements, big-endian; plain or gzipped.

use crate::error::{Error, ErrorKind, Result, bail};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;

/// Elements of an IDX file.
///
/// ```
/// use calor::io::{IdxData, parse_idx};
/// assert_eq!(parse_idx(&[0, 0, 0x0B, 1, 0, 0, 0, 1, 1, 2])?.data, IdxData::I16(vec![258]));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum IdxData {
    /// Type 0x08.
    U8(Vec<u8>),
    /// Type 0x09.
    I8(Vec<i8>),
    /// Type 0x0B.
    I16(Vec<i16>),
    /// Type 0x0C.
    I32(Vec<i32>),
    /// Type 0x0D.
    F32(Vec<f32>),
    /// Type 0x0E.
    F64(Vec<f64>),
}

/// The array in an IDX file.
///
/// ```
/// use calor::io::parse_idx;
/// let a = parse_idx(&[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 7, 9])?;
/// assert_eq!(a.shape, [2, 1]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct IdxArray {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Elements, row by row.
    pub data: IdxData,
}

const OP: &str = "read_idx";

/// Reads an IDX file; gzip is recognised by its first bytes.
///
/// ```
/// use calor::io::{IdxData, read_idx};
/// # let path = std::env::temp_dir().join(format!("calor-doc-{}.idx", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 2, 7, 9])?;
/// assert_eq!(read_idx(&path)?.data, IdxData::U8(vec![7, 9]));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Io` where the file is missing, truncated, longer than its header says, or no IDX file.
pub fn read_idx(path: impl AsRef<Path>) -> Result<IdxArray> {
    let path = path.as_ref();
    let named = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Io, OP, format!("{}: {e}", path.display()));
    let raw = std::fs::read(path).map_err(|e| named(&e))?;
    let parsed = if raw.starts_with(&[0x1f, 0x8b]) {
        inflated(&raw).and_then(|plain| parse_idx(&plain))
    } else {
        parse_idx(&raw)
    };
    parsed.map_err(|e| named(&e.message()))
}

/// What a gzipped file holds: its header is read first, then no more than that asks for.
fn inflated(raw: &[u8]) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::new(ErrorKind::Io, OP, e.to_string());
    let (mut from, mut plain) = (GzDecoder::new(raw), Vec::new());
    // there are no more than 255 dimensions
    from.by_ref().take(4 + 4 * 255).read_to_end(&mut plain).map_err(failed)?;
    let header = Header::of(&plain)?;
    let Some(whole) = header.bytes.and_then(|n| n.checked_add(header.start)) else {
        // refused with the array
        return Ok(plain);
    };
    let left = whole.saturating_sub(plain.len()) as u64;
    // one more shows whether it goes on, or has the checksum compared
    from.take(left.saturating_add(1)).read_to_end(&mut plain).map_err(failed)?;
    if plain.len() > whole {
        bail!(Io, OP, "it goes on behind the {whole} bytes that shape {:?} needs", header.shape);
    }
    Ok(plain)
}

/// What the bytes before the elements say.
struct Header {
    kind: u8,
    /// Bytes of an element.
    size: usize,
    shape: Vec<usize>,
    /// Bytes of all elements; none where they cannot be addressed.
    bytes: Option<usize>,
    /// Where elements start.
    start: usize,
}

impl Header {
    fn of(bytes: &[u8]) -> Result<Self> {
        let [0, 0, kind, rank, rest @ ..] = bytes else {
            bail!(Io, OP, "no IDX file: starts with {:02x?}", &bytes[..bytes.len().min(4)]);
        };
        let (kind, rank) = (*kind, usize::from(*rank));
        let size = match kind {
            0x08 | 0x09 => 1,
            0x0b => 2,
            0x0c | 0x0d => 4,
            0x0e => 8,
            _ => bail!(Io, OP, "unknown element type 0x{kind:02x}"),
        };
        let Some(head) = rest.get(..rank * 4) else {
            bail!(Io, OP, "truncated: {} bytes of sizes, {rank} dimensions need {}", rest.len(), rank * 4);
        };
        let shape: Vec<usize> = words(head, |b| u32::from_be_bytes(b) as usize);
        let bytes = shape.iter().try_fold(size, |n: usize, &d| n.checked_mul(d));
        Ok(Self { kind, size, shape, bytes, start: 4 + rank * 4 })
    }
}

/// The array in the bytes of an IDX file.
///
/// ```
/// use calor::io::{IdxData, parse_idx};
/// let a = parse_idx(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9])?;
/// assert_eq!((a.shape, a.data), (vec![2], IdxData::U8(vec![7, 9])));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Io` where they are none.
pub fn parse_idx(bytes: &[u8]) -> Result<IdxArray> {
    let Header { kind, size, shape, bytes: wanted, start } = Header::of(bytes)?;
    let body = &bytes[start..];
    if wanted != Some(body.len()) {
        let wanted = wanted.map_or("more than can be addressed".to_string(), |n| n.to_string());
        bail!(Io, OP, "{} bytes of elements, shape {shape:?} of {size}-byte elements needs {wanted}", body.len());
    }
    let data = match kind {
        0x08 => IdxData::U8(body.to_vec()),
        0x09 => IdxData::I8(words(body, i8::from_be_bytes)),
        0x0b => IdxData::I16(words(body, i16::from_be_bytes)),
        0x0c => IdxData::I32(words(body, i32::from_be_bytes)),
        0x0d => IdxData::F32(words(body, f32::from_be_bytes)),
        _ => IdxData::F64(words(body, f64::from_be_bytes)),
    };
    Ok(IdxArray { shape, data })
}

fn words<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|c| of(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: [u8; 15] = [0, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xfe, 0];

    #[test]
    fn reads_big_endian() {
        let a = parse_idx(&SMALL[..14]).unwrap();
        assert_eq!((a.shape, a.data), (vec![1, 1], IdxData::I16(vec![-2])));
    }

    #[test]
    fn refuses_every_truncation_and_what_trails() {
        for length in 0..14 {
            assert_eq!(parse_idx(&SMALL[..length]).unwrap_err().kind(), ErrorKind::Io, "{length} bytes");
        }
        assert!(parse_idx(&SMALL).is_err());
    }

    #[test]
    fn refuses_sizes_beyond_the_file_before_allocating() {
        let huge = [0, 0, 0x0e, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(parse_idx(&huge).unwrap_err().to_string().contains("needs"));
        assert!(parse_idx(&[0, 0, 7, 0]).unwrap_err().to_string().contains("0x07"));
        assert!(parse_idx(&[]).is_err());
    }

    #[test]
    fn names_the_file() {
        let e = read_idx("/no/such/file").unwrap_err();
        assert!(e.to_string().starts_with("read_idx: /no/such/file: "), "{e}");
        let dir = std::env::temp_dir().join(format!("calor-idx-{}", std::process::id()));
        std::fs::write(&dir, [0x1f, 0x8b, 8, 0, 1]).unwrap();
        assert_eq!(read_idx(&dir).unwrap_err().kind(), ErrorKind::Io);
        std::fs::remove_file(&dir).unwrap();
    }
}

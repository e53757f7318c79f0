//! Shapes: sizes, dimension numbers, broadcasting.
//!
//! ```
//! use calor::shape::{broadcast, infer};
//! assert_eq!(broadcast("add", &[3, 1], &[2])?[..], [3, 2]);
//! assert_eq!(infer("view", &[2, -1], 6)?[..], [2, 3]);
//! # Ok::<(), calor::Error>(())
//! ```

use crate::error::{Result, bail};
use smallvec::SmallVec;

/// The sizes of a tensor's dimensions; up to five are stored inline.
///
/// ```
/// let shape: calor::shape::Dims = calor::Tensor::zeros([2, 3], ())?.shape();
/// assert_eq!((shape.len(), &shape[..]), (2, &[2, 3][..]));
/// # Ok::<(), calor::Error>(())
/// ```
pub type Dims = SmallVec<[usize; 5]>;

/// The strides of a tensor's dimensions, in elements.
///
/// ```
/// let strides: calor::shape::Strides = calor::shape::contiguous_strides(&[2, 3]);
/// assert_eq!(strides[..], [3, 1]);
/// ```
pub type Strides = SmallVec<[isize; 5]>;

/// Number of elements of `shape`; 1 without dimensions. Stays at the largest number where it would exceed that.
///
/// ```
/// assert_eq!((calor::shape::numel(&[2, 3]), calor::shape::numel(&[])), (6, 1));
/// ```
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

/// The most elements of a tensor: places of 32 bits tell them apart.
pub(crate) const MOST: usize = u32::MAX as usize - 65;

/// `numel`, refused where it does not fit the engine's 32-bit indices.
///
/// ```
/// use calor::shape::checked_numel;
/// assert_eq!(checked_numel("zeros", &[2, 3])?, 6);
/// assert!(checked_numel("zeros", &[1 << 20, 1 << 20]).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn checked_numel(op: &str, shape: &[usize]) -> Result<usize> {
    // a zero anywhere makes it empty, whatever the rest would multiply to
    if shape.contains(&0) {
        return Ok(0);
    }
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    match n {
        Some(n) if n <= MOST => Ok(n),
        _ => bail!(OutOfMemory, op, "a tensor of shape {shape:?} has more elements than can be addressed (2^32)"),
    }
}

/// Refuses a dimension whose places `i32` cannot count.
pub(crate) fn check_places(op: &str, size: usize) -> Result<()> {
    if size > i32::MAX as usize {
        bail!(Unsupported, op, "places of a dimension of {size} elements cannot be counted by i32 (2^31 - 1)");
    }
    Ok(())
}

/// `dim` counted from the end where negative, within `rank` dimensions; 0 and -1 name a zero-dim tensor itself.
///
/// ```
/// use calor::shape::dim;
/// assert_eq!(dim("sum", -1, 3)?, 2);
/// assert!(dim("sum", 3, 3).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn dim(op: &str, dim: isize, rank: usize) -> Result<usize> {
    let n = rank.max(1) as isize;
    if dim < -n || dim >= n {
        bail!(Dim, op, "dimension {dim} is out of range, expected {}..{} for {rank} dimensions", -n, n - 1);
    }
    Ok(if dim < 0 { dim + n } else { dim } as usize)
}

/// Several dimensions, each named once; an empty list means all of them.
///
/// ```
/// use calor::shape::dims_or_all;
/// assert_eq!(dims_or_all("sum", &[], 3)?[..], [0, 1, 2]);
/// assert_eq!(dims_or_all("sum", &[-1], 3)?[..], [2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn dims_or_all(op: &str, list: &[isize], rank: usize) -> Result<SmallVec<[usize; 5]>> {
    if list.is_empty() {
        return Ok((0..rank).collect());
    }
    dims(op, list, rank)
}

/// Several dimensions, each named once, in the order given.
///
/// ```
/// use calor::shape::dims;
/// assert_eq!(dims("permute", &[-1, 0], 3)?[..], [2, 0]);
/// assert!(dims("permute", &[0, -3], 3).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn dims(op: &str, list: &[isize], rank: usize) -> Result<SmallVec<[usize; 5]>> {
    let mut out = SmallVec::new();
    for &d in list {
        let d = dim(op, d, rank)?;
        if out.contains(&d) {
            bail!(Dim, op, "dimension {d} appears more than once in {list:?}");
        }
        out.push(d);
    }
    if rank == 0 {
        out.clear();
    }
    Ok(out)
}

/// The shape that both broadcast to: aligned from the right, sizes equal or 1.
///
/// ```
/// use calor::shape::broadcast;
/// assert_eq!(&broadcast("add", &[3, 1], &[4]).unwrap()[..], [3, 4]);
/// assert!(broadcast("add", &[3], &[4]).is_err());
/// ```
pub fn broadcast(op: &str, a: &[usize], b: &[usize]) -> Result<Dims> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    let mut out = Dims::new();
    for i in 0..rank {
        out.push(match (at(a, i), at(b, i)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => bail!(Shape, op, "shapes {a:?} and {b:?} do not broadcast: {x} against {y} in dimension {i}"),
        });
    }
    Ok(out)
}

/// `shape` with one size given as -1 filled in so that it holds `n` elements.
///
/// ```
/// use calor::shape::infer;
/// assert_eq!(infer("view", &[2, -1], 6)?[..], [2, 3]);
/// assert!(infer("view", &[4, -1], 6).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
pub fn infer(op: &str, shape: &[isize], n: usize) -> Result<Dims> {
    let mut out = Dims::new();
    let mut hole = None;
    for (i, &d) in shape.iter().enumerate() {
        match d {
            -1 if hole.is_some() => bail!(Shape, op, "only one size can be inferred, got {shape:?}"),
            -1 => {
                hole = Some(i);
                out.push(1);
            }
            d if d < 0 => bail!(Shape, op, "invalid size {d} in shape {shape:?}"),
            d => out.push(d as usize),
        }
    }
    let known = checked_numel(op, &out)?;
    match hole {
        Some(i) if known > 0 && n.is_multiple_of(known) => out[i] = n / known,
        Some(_) if known == 0 && n == 0 => {
            bail!(Shape, op, "the size -1 in {shape:?} is ambiguous for a tensor without elements")
        }
        None if known == n => {}
        _ => bail!(Shape, op, "shape {shape:?} is invalid for {n} elements"),
    }
    Ok(out)
}

/// Strides of `shape` stored row by row.
///
/// ```
/// assert_eq!(calor::shape::contiguous_strides(&[2, 3, 4])[..], [12, 4, 1]);
/// ```
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for i in (0..shape.len()).rev() {
        strides[i] = step;
        // a shape this large is refused before anything is computed of it
        step = step.saturating_mul(isize::try_from(shape[i].max(1)).unwrap_or(isize::MAX));
    }
    strides
}

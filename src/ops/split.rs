//! Splitting: lists of views that share storage with what was split.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::layout::Layout;
use crate::shape::dim as check_dim;
use crate::tensor::Tensor;

/// Where to split: into equal parts, or at places.
///
/// ```
/// use calor::{Sections, Tensor};
/// let x = Tensor::arange(0, 4, 1, ())?;
/// assert_eq!(x.tensor_split(&Sections::Parts(2), 0)?[1].to_vec::<i32>()?, [2, 3]);
/// assert_eq!(x.tensor_split(&Sections::At(vec![1]), 0)?[1].to_vec::<i32>()?, [1, 2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Sections {
    /// So many parts.
    Parts(usize),
    /// Before these places; negative ones count from the end.
    At(Vec<isize>),
}

impl Tensor {
    fn parts(&self, name: &str, dim: usize, ends: impl Iterator<Item = usize>) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let all: Vec<(usize, usize)> = ends.map(|end| (std::mem::replace(&mut start, end), end)).collect();
        let part = |layout: &Layout, i: usize| {
            let (start, end) = all[i];
            Ok(layout.sliced(dim, start, end.saturating_sub(start), 1))
        };
        self.seen_as(name, all.len(), part)
    }

    /// So many views of parts, and one gradient for all.
    fn seen_as(
        &self,
        name: &str,
        count: usize,
        part: impl Fn(&Layout, usize) -> Result<Layout>,
    ) -> Result<Vec<Tensor>> {
        let layout = self.layout();
        let out: Vec<Tensor> = (0..count).map(|i| Ok(self.alias(part(&layout, i)?))).collect::<Result<_>>()?;
        if self.edge().is_some() {
            let whole = Layout::contiguous(&self.shape());
            self.part_grads(name, &out, (0..count).map(|i| part(&whole, i)).collect::<Result<_>>()?);
        }
        Ok(out.into_iter().map(|view| view.viewing(self)).collect())
    }

    /// Parts of `size` along a dimension; the last one may be smaller.
    ///
    /// ```
    /// let t = calor::Tensor::arange(0, 5, 1, ())?;
    /// let parts = t.split(2, 0)?;
    /// assert_eq!((parts.len(), parts[2].to_vec::<i32>()?), (3, vec![4]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn split(&self, size: usize, dim: isize) -> Result<Vec<Tensor>> {
        if self.dim() == 0 {
            bail!(Dim, "split", "expects at least a 1-dimensional tensor");
        }
        let d = check_dim("split", dim, self.dim())?;
        let n = self.shape()[d];
        if size == 0 && n != 0 {
            bail!(Value, "split", "split_size can only be 0 if dimension size is 0, but got dimension size of {n}");
        }
        let count = if n == 0 { 1 } else { n.div_ceil(size) };
        self.parts("split", d, (1..=count).map(|i| i.saturating_mul(size).min(n)))
    }

    /// Parts of the given sizes, which sum to the dimension's.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// let parts = x.split_with_sizes(&[1, 2], 0)?;
    /// assert_eq!(parts[1].to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn split_with_sizes(&self, sizes: &[usize], dim: isize) -> Result<Vec<Tensor>> {
        if self.dim() == 0 {
            bail!(Dim, "split_with_sizes", "expects at least a 1-dimensional tensor");
        }
        let d = check_dim("split_with_sizes", dim, self.dim())?;
        let (n, sum) = (self.shape()[d], sizes.iter().fold(0usize, |n, &s| n.saturating_add(s)));
        if sum != n {
            bail!(Shape, "split_with_sizes", "expects split sizes to sum exactly to {n}, got {sizes:?}");
        }
        let ends = sizes.iter().scan(0, |end, s| {
            *end += s;
            Some(*end)
        });
        self.parts("split_with_sizes", d, ends)
    }

    /// At most `chunks` parts of equal size; the last one may be smaller.
    ///
    /// ```
    /// let parts = calor::Tensor::arange(0, 5, 1, ())?.chunk(2, 0)?;
    /// assert_eq!(parts[0].to_vec::<i32>()?, [0, 1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn chunk(&self, chunks: usize, dim: isize) -> Result<Vec<Tensor>> {
        if self.dim() == 0 {
            bail!(Dim, "chunk", "expects at least a 1-dimensional tensor");
        }
        if chunks == 0 {
            bail!(Value, "chunk", "expects chunks to be greater than 0, got 0");
        }
        let d = check_dim("chunk", dim, self.dim())?;
        let n = self.shape()[d];
        if n == 0 {
            return self.parts("chunk", d, std::iter::repeat_n(0, chunks));
        }
        self.split(n.div_ceil(chunks), dim)
    }

    /// Parts whose sizes differ by at most one, or what lies between places.
    ///
    /// ```
    /// let parts = calor::Tensor::arange(0, 5, 1, ())?.tensor_split(&calor::Sections::Parts(3), 0)?;
    /// assert_eq!(parts.iter().map(|p| p.numel()).collect::<Vec<_>>(), [2, 2, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tensor_split(&self, sections: &Sections, dim: isize) -> Result<Vec<Tensor>> {
        if self.dim() == 0 {
            bail!(Dim, "tensor_split", "expected at least a 1-dimensional tensor");
        }
        let d = check_dim("tensor_split", dim, self.dim())?;
        let n = self.shape()[d];
        match sections {
            Sections::Parts(0) => bail!(Value, "tensor_split", "number of sections must be larger than 0, got 0"),
            Sections::Parts(k) => {
                let (size, more) = (n / k, n % k);
                self.parts("tensor_split", d, (1..=*k).map(|i| i * size + i.min(more)))
            }
            Sections::At(places) => {
                let mut out = Vec::new();
                let mut start = 0;
                let all = places.iter().map(|&p| Some(p)).chain([None]);
                for place in all {
                    out.push(self.slice(d as isize, Some(start), place, 1)?);
                    start = place.unwrap_or(0);
                }
                Ok(out)
            }
        }
    }

    /// Every slice along a dimension, without it.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let rows = x.unbind(0)?;
    /// assert_eq!(rows[1].to_vec::<f32>()?, [3.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unbind(&self, dim: isize) -> Result<Vec<Tensor>> {
        if self.dim() == 0 {
            bail!(Dim, "unbind", "expects at least a 1-dimensional tensor");
        }
        let d = check_dim("unbind", dim, self.dim())?;
        let part = |layout: &Layout, i: usize| layout.select("unbind", d as isize, i as isize);
        self.seen_as("unbind", self.shape()[d], part)
    }

    fn split_at(&self, op: &str, sections: &Sections, dim: usize, least: usize) -> Result<Vec<Tensor>> {
        if self.dim() < least {
            bail!(Dim, op, "requires a tensor with at least {least} dimension, but got {}", self.dim());
        }
        let size = self.shape()[dim];
        match sections {
            Sections::Parts(0) => bail!(Value, op, "number of sections must be larger than 0, got 0"),
            Sections::Parts(k) if !size.is_multiple_of(*k) => {
                bail!(Shape, op, "size {size} of dimension {dim} is not divisible by the split size {k}")
            }
            _ => self.tensor_split(sections, dim as isize),
        }
    }

    /// Parts side by side: along dimension 1, or 0 for vectors.
    ///
    /// ```
    /// let parts = calor::Tensor::new([[1, 2], [3, 4]], ())?.hsplit(&calor::Sections::Parts(2))?;
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn hsplit(&self, sections: &Sections) -> Result<Vec<Tensor>> {
        self.split_at("hsplit", sections, usize::from(self.dim() > 1), 1)
    }

    /// Parts one below the other.
    ///
    /// ```
    /// let parts = calor::Tensor::new([[1, 2], [3, 4]], ())?.vsplit(&calor::Sections::Parts(2))?;
    /// assert_eq!(parts[0].to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn vsplit(&self, sections: &Sections) -> Result<Vec<Tensor>> {
        self.split_at("vsplit", sections, 0, 2)
    }

    /// Parts along the third dimension.
    ///
    /// ```
    /// let parts = calor::Tensor::zeros([2, 3, 4], ())?.dsplit(&calor::Sections::At(vec![1]))?;
    /// assert_eq!((parts[0].size(2)?, parts[1].size(2)?), (1, 3));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dsplit(&self, sections: &Sections) -> Result<Vec<Tensor>> {
        self.split_at("dsplit", sections, 2, 3)
    }

    /// [`Sections`] from a tensor of places, or of one number; reads it back.
    ///
    /// ```
    /// let sections = calor::Tensor::new([1, 3], ())?.to_sections()?;
    /// assert!(matches!(sections, calor::Sections::At(places) if places == [1, 3]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_sections(&self) -> Result<Sections> {
        let values = self.to_dtype(DType::I32)?.to_vec::<i32>()?;
        match (self.dim(), values.as_slice()) {
            (0, [n]) if *n >= 0 => Ok(Sections::Parts(*n as usize)),
            (0, [n]) => bail!(Value, "tensor_split", "number of sections must be larger than 0, got {n}"),
            (1, all) => Ok(Sections::At(all.iter().map(|&v| v as isize).collect())),
            _ => bail!(Dim, "tensor_split", "expected indices of one dimension or none, got {:?}", self.shape()),
        }
    }
}

//! Movement: repeated, turned, shifted and rearranged elements. Views where PyTorch has views, else maps.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::layout::Layout;
use crate::ops::build::checked;
use crate::ops::join::cat;
use crate::shape::{Dims, broadcast, checked_numel, dim as check_dim, dims as check_dims, infer, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// What lies outside in [`Tensor::pad`].
///
/// ```
/// use calor::{PadMode, Tensor};
/// let t = Tensor::new([[1, 2, 3]], ())?;
/// assert_eq!(t.pad(&[0, 2], PadMode::Reflect)?.to_vec::<i32>()?, [1, 2, 3, 2, 1]);
/// assert_eq!(t.pad(&[0, 2], PadMode::Replicate)?.to_vec::<i32>()?, [1, 2, 3, 3, 3]);
/// assert_eq!(t.pad(&[0, 2], PadMode::Circular)?.to_vec::<i32>()?, [1, 2, 3, 1, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// A number.
    Constant(f64),
    /// The elements mirrored at the border, which is not repeated.
    Reflect,
    /// The border element.
    Replicate,
    /// The elements from the other end.
    Circular,
}

/// The tensors expanded to their common shape, as views.
///
/// ```
/// use calor::Tensor;
/// let both = calor::broadcast_tensors(&[&Tensor::ones([3, 1], ())?, &Tensor::ones([2], ())?])?;
/// assert!(both.iter().all(|t| t.shape()[..] == [3, 2]));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn broadcast_tensors(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut shape = Dims::new();
    for t in tensors {
        shape = broadcast("broadcast_tensors", &shape, &t.shape())?;
    }
    tensors.iter().map(|t| t.expand(&shape)).collect()
}

const REPEAT: &str = "repeat_interleave";

/// A dimension, and as `i32` how often each of its elements is to be repeated.
fn repeats(x: &Tensor, times: &Tensor, dim: isize) -> Result<(usize, Tensor)> {
    let d = check_dim(REPEAT, dim, x.dim())?;
    let (n, count) = (x.shape()[d], times.numel());
    if !matches!(times.dtype(), DType::I32 | DType::I64) || times.dim() > 1 {
        bail!(DType, REPEAT, "repeats must be a vector of i32 or i64, got {} {:?}", times.dtype(), times.shape());
    }
    if count != n && count != 1 {
        bail!(Shape, REPEAT, "repeats must have the same size as input along dim, got {count} and {n}");
    }
    // beyond i32 is beyond every tensor
    let times = match times.dtype() {
        DType::I64 => times.clamp(i64::from(i32::MIN), i64::from(i32::MAX))?,
        _ => times.clone(),
    };
    Ok((d, times.to_dtype(DType::I32)?.reshape([count])?.expand([n])?))
}

impl Tensor {
    /// [`Tensor::expand`] to another tensor's shape.
    ///
    /// ```
    /// let x = calor::Tensor::ones([1, 2], ())?;
    /// assert_eq!(x.expand_as(&calor::Tensor::zeros([3, 2], ())?)?.shape()[..], [3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn expand_as(&self, other: &Tensor) -> Result<Tensor> {
        self.expand(other.shape())
    }

    /// [`Tensor::expand`].
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.broadcast_to([2, 2])?.to_vec::<i32>()?, [1, 2, 1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn broadcast_to(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        self.expand(shape)
    }

    /// [`Tensor::view`] with another tensor's shape.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([4], ())?;
    /// let y = x.view_as(&calor::Tensor::zeros([2, 2], ())?)?;
    /// assert!(y.shape()[..] == [2, 2] && y.shares_storage(&x));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn view_as(&self, other: &Tensor) -> Result<Tensor> {
        let shape: Vec<isize> = other.shape().iter().map(|&s| s as isize).collect();
        self.view(&shape)
    }

    /// [`Tensor::reshape`] to another tensor's shape.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([4], ())?;
    /// assert_eq!(x.reshape_as(&calor::Tensor::zeros([2, 2], ())?)?.shape()[..], [2, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reshape_as(&self, other: &Tensor) -> Result<Tensor> {
        self.reshape(other.shape())
    }

    /// All elements in one dimension.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?.reshape([2, 3])?;
    /// assert_eq!(x.ravel()?.shape()[..], [6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn ravel(&self) -> Result<Tensor> {
        self.reshape([self.numel()])
    }

    /// The last two dimensions swapped.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3, 4], ())?.mT()?.shape()[..], [2, 4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[allow(non_snake_case, reason = "PyTorch's name")]
    pub fn mT(&self) -> Result<Tensor> {
        if self.dim() < 2 {
            bail!(Dim, "mT", "is only supported on matrices or batches of matrices, got shape {:?}", self.shape());
        }
        self.transpose(-2, -1)
    }

    /// All dimensions in reverse order.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3, 4], ())?.T()?.shape()[..], [4, 3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[allow(non_snake_case, reason = "PyTorch's name")]
    pub fn T(&self) -> Result<Tensor> {
        let order: Vec<isize> = (0..self.dim() as isize).rev().collect();
        self.permute(&order)
    }

    /// [`Tensor::transpose`].
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3, 4], ())?.swapaxes(0, 1)?.shape()[..], [3, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn swapaxes(&self, a: isize, b: isize) -> Result<Tensor> {
        self.transpose(a, b)
    }

    /// Dimensions `from` moved to the places `to`; the others keep their order.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3, 4], ())?.movedim(&[0], &[2])?.shape()[..], [3, 4, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn movedim(&self, from: &[isize], to: &[isize]) -> Result<Tensor> {
        if from.len() != to.len() {
            bail!(Dim, "movedim", "source {from:?} and destination {to:?} must contain the same number of elements");
        }
        let rank = self.dim();
        let (from, to) = (check_dims("movedim", from, rank)?, check_dims("movedim", to, rank)?);
        let mut order: Vec<Option<usize>> = vec![None; rank];
        for (f, t) in from.iter().zip(&to) {
            order[*t] = Some(*f);
        }
        let mut rest = (0..rank).filter(|d| !from.contains(d));
        let order: Vec<isize> = order.into_iter().map(|o| o.or_else(|| rest.next()).unwrap_or(0) as isize).collect();
        self.permute(&order)
    }

    /// A dimension as several; one of their sizes may be -1.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 12], ())?.unflatten(1, &[3, -1])?.shape()[..], [2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unflatten(&self, dim: isize, sizes: &[isize]) -> Result<Tensor> {
        if sizes.is_empty() {
            bail!(Shape, "unflatten", "sizes must be non-empty");
        }
        if self.dim() == 0 {
            bail!(Dim, "unflatten", "a tensor without dimensions has none to unflatten");
        }
        let d = check_dim("unflatten", dim, self.dim())?;
        let own = self.shape();
        let sizes = infer("unflatten", sizes, own[d])?;
        let mut shape = Dims::from_slice(&own[..d]);
        shape.extend_from_slice(&sizes);
        shape.extend_from_slice(&own[d + 1..]);
        self.reshape(&shape)
    }

    /// Windows of `size` every `step` elements of a dimension, as a new last dimension: a view.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 5, 1, ())?;
    /// assert_eq!(x.unfold(0, 3, 2)?.to_vec::<i32>()?, [0, 1, 2, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unfold(&self, dim: isize, size: usize, step: usize) -> Result<Tensor> {
        let layout = self.layout().unfold("unfold", dim, size, step)?;
        let own = self.shape();
        let d = check_dim("unfold", dim, own.len())?;
        Ok(self.viewed("unfold", layout, move |g| {
            if own.is_empty() {
                return g.reshape([]);
            }
            // windows overlap: each element collects from the windows that hold it
            let mut sum = Tensor::zeros(&own, (g.dtype(), g.device()))?;
            let windows = g.shape()[d];
            for k in 0..size {
                let part = g.select(-1, k as isize)?;
                let place = sum.layout().sliced(d, k, windows, step as isize);
                let zero = Tensor::zeros(&own, (g.dtype(), g.device()))?;
                sum = sum.add(&zero.with_region(&Layout::contiguous(&own), &place, &part)?)?;
            }
            Ok(sum)
        }))
    }

    /// At least one dimension.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::scalar(3, ())?.atleast_1d()?.shape()[..], [1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn atleast_1d(&self) -> Result<Tensor> {
        if self.dim() == 0 { self.reshape([1]) } else { Ok(self.clone()) }
    }

    /// At least two dimensions; a vector becomes a row.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([3], ())?.atleast_2d()?.shape()[..], [1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn atleast_2d(&self) -> Result<Tensor> {
        match self.dim() {
            0 => self.reshape([1, 1]),
            1 => self.unsqueeze(0),
            _ => Ok(self.clone()),
        }
    }

    /// At least three dimensions; a vector lies along the second, a matrix in the first two.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([3], ())?.atleast_3d()?.shape()[..], [1, 3, 1]);
    /// assert_eq!(calor::Tensor::zeros([3, 4], ())?.atleast_3d()?.shape()[..], [3, 4, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn atleast_3d(&self) -> Result<Tensor> {
        match self.dim() {
            0 => self.reshape([1, 1, 1]),
            1 => self.unsqueeze(0)?.unsqueeze(-1),
            2 => self.unsqueeze(-1),
            _ => Ok(self.clone()),
        }
    }

    /// Elements in reverse order along some dimensions, as a copy.
    ///
    /// ```
    /// let t = calor::Tensor::new([1i32, 2, 3], ())?;
    /// assert_eq!(t.flip(&[0])?.to_vec::<i32>()?, [3, 2, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn flip(&self, dims: &[isize]) -> Result<Tensor> {
        let list = check_dims("flip", dims, self.dim())?;
        let out = self.alias(self.layout().flipped(&list)).copy("flip")?;
        let dims = dims.to_vec();
        Ok(out.with_grad("flip", &[self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.flip(&dims)?)]))))
    }

    /// Left and right swapped.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([[1, 2], [3, 4]], ())?.fliplr()?.to_vec::<i32>()?, [2, 1, 4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn fliplr(&self) -> Result<Tensor> {
        if self.dim() < 2 {
            bail!(Dim, "fliplr", "input must be >= 2-d, got shape {:?}", self.shape());
        }
        self.flip(&[1])
    }

    /// Up and down swapped.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([[1, 2], [3, 4]], ())?.flipud()?.to_vec::<i32>()?, [3, 4, 1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn flipud(&self) -> Result<Tensor> {
        if self.dim() < 1 {
            bail!(Dim, "flipud", "input must be >= 1-d");
        }
        self.flip(&[0])
    }

    /// Elements moved along dimensions; those that leave one end come in at the other. Without dimensions, all
    /// elements are one row.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.roll(&[1], &[0])?.to_vec::<f32>()?, [4.0, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn roll(&self, shifts: &[isize], dims: &[isize]) -> Result<Tensor> {
        if dims.is_empty() {
            let [shift] = shifts else {
                bail!(Value, "roll", "shifts and dimensions must align, got {shifts:?} and no dimensions");
            };
            return self.ravel()?.roll(&[*shift], &[0])?.reshape(self.shape());
        }
        if shifts.len() != dims.len() {
            bail!(Value, "roll", "shifts and dimensions must align, got {shifts:?} and {dims:?}");
        }
        let mut out = self.clone();
        for (&shift, &dim) in shifts.iter().zip(dims) {
            if self.dim() == 0 {
                bail!(Dim, "roll", "dimension {dim} of a tensor without dimensions");
            }
            let d = check_dim("roll", dim, self.dim())? as isize;
            let n = out.size(d)? as isize;
            if n == 0 {
                continue;
            }
            let cut = (n - shift.rem_euclid(n)) % n;
            if cut != 0 {
                let (end, start) = (out.narrow(d, cut, (n - cut) as usize)?, out.narrow(d, 0, cut as usize)?);
                out = super::join::cat(&[&end, &start], d)?;
            }
        }
        if out.id() == self.id() { out.try_clone() } else { Ok(out) }
    }

    /// Turned by 90 degrees `k` times, from the first of two dimensions towards the second.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1, 2], [3, 4]], ())?;
    /// assert_eq!(x.rot90(1, [0, 1])?.to_vec::<i32>()?, [2, 4, 1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn rot90(&self, k: isize, dims: [isize; 2]) -> Result<Tensor> {
        let list = check_dims("rot90", &dims, self.dim())?;
        if self.dim() < 2 || list.len() != 2 {
            bail!(Dim, "rot90", "needs two different dimensions, got {dims:?} of shape {:?}", self.shape());
        }
        let [a, b] = dims;
        match k.rem_euclid(4) {
            0 => self.try_clone(),
            1 => self.flip(&[b])?.transpose(a, b),
            2 => self.flip(&[a, b]),
            _ => self.flip(&[a])?.transpose(a, b),
        }
    }

    /// Copies side by side: `sizes[d]` of them along dimension `d`; new dimensions come in front.
    ///
    /// ```
    /// let t = calor::Tensor::new([1i32, 2], ())?;
    /// assert_eq!(t.repeat([2, 2])?.to_vec::<i32>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn repeat(&self, sizes: impl AsRef<[usize]>) -> Result<Tensor> {
        let (sizes, own) = (sizes.as_ref(), self.shape());
        let Some(lead) = sizes.len().checked_sub(own.len()) else {
            bail!(
                Dim,
                "repeat",
                "number of dimensions of repeat dims {sizes:?} can not be smaller than that of the tensor, {own:?}"
            );
        };
        let (mut view, mut wide, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for (i, &times) in sizes.iter().enumerate() {
            let size = if i < lead { 1 } else { own[i - lead] };
            view.extend_from_slice(&[1, size]);
            wide.extend_from_slice(&[times, size]);
            out.push(times.saturating_mul(size));
        }
        checked_numel("repeat", &out)?;
        let t = self.reshape(&view)?.expand(&wide)?.reshape(&out)?;
        t.apart_from(self)
    }

    /// [`Tensor::repeat`] where missing sizes in front are 1.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.tile([2])?.to_vec::<f32>()?, [1.0, 2.0, 4.0, 1.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tile(&self, sizes: impl AsRef<[usize]>) -> Result<Tensor> {
        let sizes = sizes.as_ref();
        let mut full = vec![1; self.dim().saturating_sub(sizes.len())];
        full.extend_from_slice(sizes);
        self.repeat(full)
    }

    /// Every element `times` times in a row along a dimension; without one, of all elements in one row.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.repeat_interleave(2, None)?.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn repeat_interleave(&self, times: usize, dim: Option<isize>) -> Result<Tensor> {
        let Some(dim) = dim else { return self.ravel()?.repeat_interleave(times, Some(0)) };
        let x = self.atleast_1d()?;
        let d = check_dim("repeat_interleave", dim, x.dim())?;
        let mut wide = x.shape();
        wide.insert(d + 1, times);
        let mut shape = x.shape();
        shape[d] = shape[d].saturating_mul(times);
        checked_numel("repeat_interleave", &shape)?;
        let out = x.unsqueeze(d as isize + 1)?.expand(&wide)?.reshape(&shape)?;
        out.apart_from(self)
    }

    /// Element `i` of a dimension `times[i]` times in a row; `times` holds one number for each, or one for all. Reads
    /// `times` back: the size of the result depends on it.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, times) = (Tensor::new([7, 8, 9], ())?, Tensor::new([2, 0, 1], ())?);
    /// assert_eq!(x.repeat_interleave_by(&times, Some(0))?.to_vec::<i32>()?, [7, 7, 9]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn repeat_interleave_by(&self, times: &Tensor, dim: Option<isize>) -> Result<Tensor> {
        let Some(dim) = dim else { return self.ravel()?.repeat_interleave_by(times, Some(0)) };
        let x = self.atleast_1d()?;
        let (d, times) = repeats(&x, times, dim)?;
        let mut index = Vec::new();
        for (i, &k) in times.to_vec::<i32>()?.iter().enumerate() {
            let Ok(k) = usize::try_from(k) else { bail!(Value, REPEAT, "repeats can not be negative, got {k}") };
            if k >= i32::MAX as usize - index.len() {
                bail!(Value, REPEAT, "the result has more elements than an index reaches");
            }
            index.extend(std::iter::repeat_n(i as i32, k));
        }
        x.index_select(d as isize, &Tensor::from_slice(&index, [index.len()], x.device())?)
    }

    /// [`Tensor::repeat_interleave_by`] where the sum of `times` is known to be `output_size`: nothing is read back, unless the
    /// result has no elements.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, times) = (Tensor::new([7, 8, 9], ())?, Tensor::new([2, 0, 1], ())?);
    /// assert_eq!(x.repeat_interleave_to(&times, Some(0), 3)?.to_vec::<i32>()?, [7, 7, 9]);
    /// assert!(x.repeat_interleave_to(&times, Some(0), 4)?.to_vec::<i32>().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where the sum is another one or a number is negative; not where there are no numbers.
    pub fn repeat_interleave_to(&self, times: &Tensor, dim: Option<isize>, output_size: usize) -> Result<Tensor> {
        let Some(dim) = dim else { return self.ravel()?.repeat_interleave_to(times, Some(0), output_size) };
        let x = self.atleast_1d()?;
        let (d, times) = repeats(&x, times, dim)?;
        let other = "allocated size does not match required size";
        if output_size == 0 || x.numel() == 0 {
            // nothing would be computed, and so nothing found out
            let sum: i64 = times.to_vec::<i32>()?.iter().map(|&k| i64::from(k)).sum();
            if usize::try_from(sum) != Ok(output_size) && times.numel() > 0 {
                bail!(Value, REPEAT, "{other}");
            }
            return x.repeat_interleave_by(&times, Some(d as isize));
        }
        if i32::try_from(output_size).is_err() {
            bail!(Value, REPEAT, "{output_size} elements are more than an index reaches");
        }
        let n = times.numel();
        let times = checked(REPEAT, &times, &[("op_ge", 0.0)], "repeats can not be negative")?;
        // a sum beyond i32 is negative at first
        let ends = checked(REPEAT, &times.cumsum(0)?, &[("op_ge", 0.0)], other)?;
        let last = checked(REPEAT, &ends.narrow(0, n as isize - 1, 1)?, &[("op_eq", output_size as f64)], other)?;
        let ends = cat(&[&ends.narrow(0, 0, n - 1)?, &last], 0)?;
        let places = Tensor::arange(0, output_size as i64, 1, (DType::I32, x.device()))?;
        // where the sum is another one, places behind the last are reported already
        let index = ends.searchsorted(&places, true, None)?.clamp_max(n as i32 - 1)?;
        x.index_select(d as isize, &index)
    }

    /// More elements around the last dimensions: `pad` holds how many before and after the last dimension, the one
    /// before it, and so on.
    ///
    /// ```
    /// use calor::{PadMode, Tensor};
    /// let t = Tensor::new([[1i32, 2, 3]], ())?;
    /// assert_eq!(t.pad(&[2, 1], PadMode::Reflect)?.to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pad(&self, pad: &[isize], mode: PadMode) -> Result<Tensor> {
        if let PadMode::Constant(value) = mode {
            return self.constant_pad(pad, value);
        }
        let (rank, padded) = (self.dim(), pad.len() / 2);
        if !pad.len().is_multiple_of(2) || padded == 0 || padded > 3 || (rank != padded + 1 && rank != padded + 2) {
            bail!(
                Unsupported,
                "pad",
                "padding size {} is not supported for {rank}D input tensor in mode {mode:?}",
                pad.len()
            );
        }
        if self.shape()[rank - padded - 1..].contains(&0) {
            bail!(Shape, "pad", "expected a non-empty tensor, got shape {:?}", self.shape());
        }
        let mut out = self.clone();
        for (i, p) in pad.chunks(2).enumerate() {
            let d = rank - 1 - i;
            let (left, right, n) = (p[0], p[1], self.shape()[d] as isize);
            let most = if mode == PadMode::Reflect { n - 1 } else { n };
            if mode != PadMode::Replicate && (left > most || right > most) {
                bail!(Shape, "pad", "padding ({left}, {right}) at dimension {d} is too large for size {n}");
            }
            let whole = n.saturating_add(left).saturating_add(right);
            if whole > 0 {
                checked_numel("pad", &[whole as usize])?;
            } else {
                bail!(Shape, "pad", "padding ({left}, {right}) leaves nothing of dimension {d} of size {n}");
            }
            if (left, right) == (0, 0) {
                continue;
            }
            // what negative sides leave is what goes round
            let (Some(begin), Some(end)) = (left.checked_neg(), n.checked_add(right)) else {
                bail!(Shape, "pad", "padding ({left}, {right}) at dimension {d} is too large for size {n}");
            };
            let (first, kept) = (begin.max(0), n + left.min(0) + right.min(0));
            if mode == PadMode::Circular && left.max(right) > kept.max(0) {
                bail!(
                    Shape,
                    "pad",
                    "padding ({left}, {right}) at dimension {d} would wrap {kept} elements more than once"
                );
            }
            let place = |i: isize| match mode {
                PadMode::Circular => first + (i - first).rem_euclid(kept),
                PadMode::Replicate => i.clamp(0, n - 1),
                _ if i < 0 => -i,
                _ if i >= n => 2 * (n - 1) - i,
                _ => i,
            };
            let index: Vec<i32> = (begin..end).map(|i| place(i) as i32).collect();
            out = out.index_select(d as isize, &Tensor::from_slice(&index, [index.len()], self.device())?)?;
        }
        if out.id() == self.id() { out.try_clone() } else { Ok(out) }
    }

    /// `[.., c r^2, h, w]` as `[.., c, h r, w r]`: sub-pixel convolution's last step (Shi et al., 2016).
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([1, 8, 2, 3], ())?.pixel_shuffle(2)?.shape()[..], [1, 2, 4, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pixel_shuffle(&self, factor: usize) -> Result<Tensor> {
        let own = self.shape();
        let rank = own.len();
        let area = factor.saturating_mul(factor);
        if rank < 3 || factor == 0 || !own[rank - 3].is_multiple_of(area) {
            bail!(
                Shape,
                "pixel_shuffle",
                "expects at least 3 dimensions and channels divisible by the square of the factor {factor}, got {own:?}"
            );
        }
        let (lead, c, h, w) = (&own[..rank - 3], own[rank - 3] / area, own[rank - 2], own[rank - 1]);
        let n = numel(lead);
        let t = self.reshape([n, c, factor, factor, h, w])?.permute(&[0, 1, 4, 2, 5, 3])?;
        let mut shape = Dims::from_slice(lead);
        shape.extend_from_slice(&[c, h.saturating_mul(factor), w.saturating_mul(factor)]);
        t.reshape(&shape)?.apart_from(self)
    }

    /// The inverse of [`Tensor::pixel_shuffle`]; of nothing, a copy of its shape.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 4, 1, ())?.reshape([1, 2, 2])?;
    /// let y = x.pixel_unshuffle(2)?;
    /// assert_eq!((&y.shape()[..], y.to_vec::<i32>()?), (&[4, 1, 1][..], vec![0, 1, 2, 3]));
    /// assert_eq!(calor::Tensor::zeros([0, 1, 4, 4], ())?.pixel_unshuffle(2)?.shape()[..], [0, 1, 4, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pixel_unshuffle(&self, factor: usize) -> Result<Tensor> {
        let own = self.shape();
        let rank = own.len();
        let fits =
            rank >= 3 && factor > 0 && own[rank - 2].is_multiple_of(factor) && own[rank - 1].is_multiple_of(factor);
        if !fits {
            bail!(
                Shape,
                "pixel_unshuffle",
                "expects at least 3 dimensions, the last two divisible by the factor {factor}, got {own:?}"
            );
        }
        if numel(&own) == 0 {
            // as PyTorch has it
            return self.try_clone();
        }
        let (lead, c, h, w) = (&own[..rank - 3], own[rank - 3], own[rank - 2] / factor, own[rank - 1] / factor);
        let n = numel(lead);
        let t = self.reshape([n, c, h, factor, w, factor])?.permute(&[0, 1, 3, 5, 2, 4])?;
        let mut shape = Dims::from_slice(lead);
        shape.extend_from_slice(&[c.saturating_mul(factor.saturating_mul(factor)), h, w]);
        t.reshape(&shape)?.apart_from(self)
    }

    /// Channels (dimension 1) of `groups` groups interleaved (Zhang et al., 2018).
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 4, 1, ())?.reshape([1, 4, 1])?;
    /// assert_eq!(x.channel_shuffle(2)?.to_vec::<i32>()?, [0, 2, 1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn channel_shuffle(&self, groups: usize) -> Result<Tensor> {
        let own = self.shape();
        if own.len() < 3 || groups == 0 || !own[1].is_multiple_of(groups) {
            bail!(
                Shape,
                "channel_shuffle",
                "expects at least 3 dimensions and channels divisible by groups {groups}, got {own:?}"
            );
        }
        let rest = numel(&own[2..]);
        let t = self.reshape([own[0], groups, own[1] / groups, rest])?;
        t.transpose(1, 2)?.reshape(&own)
    }
}

/// In-place forms that change how a tensor sees its storage.
impl Tensor {
    fn revise(&self, op: &str, view: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        self.check_history(op)?;
        let new = view(&self.detach())?;
        let traced = self.requires_grad() && crate::is_grad_enabled();
        // views of the same storage look at their history anew
        self.count_write();
        if traced {
            let old = self.alias(self.layout());
            old.adopt_history(self);
            let seen = view(&old)?;
            self.set_layout(seen.layout());
            self.adopt_history(&seen);
        } else {
            self.set_layout(new.layout());
        }
        Ok(self.clone())
    }

    /// [`Tensor::squeeze`] of this tensor itself.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([1, 3, 1], ())?;
    /// x.squeeze_()?;
    /// assert_eq!(x.shape()[..], [3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn squeeze_(&self) -> Result<Tensor> {
        self.revise("squeeze_", Tensor::squeeze)
    }

    /// [`Tensor::squeeze_dims`] of this tensor itself.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([1, 3, 1], ())?;
    /// x.squeeze_dims_(&[0])?;
    /// assert_eq!(x.shape()[..], [3, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn squeeze_dims_(&self, dims: &[isize]) -> Result<Tensor> {
        self.revise("squeeze_", |t| t.squeeze_dims(dims))
    }

    /// [`Tensor::unsqueeze`] of this tensor itself.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([3], ())?;
    /// x.unsqueeze_(0)?;
    /// assert_eq!(x.shape()[..], [1, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unsqueeze_(&self, dim: isize) -> Result<Tensor> {
        self.revise("unsqueeze_", |t| t.unsqueeze(dim))
    }

    /// [`Tensor::t`] of this tensor itself.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1, 2], [3, 4]], ())?;
    /// x.t_()?;
    /// assert_eq!(x.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn t_(&self) -> Result<Tensor> {
        self.revise("t_", Tensor::t)
    }

    /// [`Tensor::transpose`] of this tensor itself.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 3, 4], ())?;
    /// x.transpose_(0, 2)?;
    /// assert_eq!(x.shape()[..], [4, 3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn transpose_(&self, a: isize, b: isize) -> Result<Tensor> {
        self.revise("transpose_", |t| t.transpose(a, b))
    }
}

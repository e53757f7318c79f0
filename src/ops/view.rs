//! Views: other layouts of the same storage. None of them computes anything.

use crate::error::{Result, bail};
use crate::layout::Layout;
use crate::shape::{Dims, checked_numel, dim as check_dim, dims as check_dims, infer, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use smallvec::SmallVec;

/// The gradient of a copy.
fn passed(g: &Tensor) -> Result<Grads> {
    Ok(Grads::from_iter([Some(g.clone())]))
}

impl Tensor {
    /// This tensor seen through `layout` of its storage; `back` takes the view's gradient to this shape.
    pub(crate) fn viewed<R>(&self, name: &str, layout: Layout, back: R) -> Tensor
    where
        R: Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    {
        let out =
            self.alias(layout).with_grad(name, &[self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(back(g)?)])));
        out.viewing(self)
    }

    /// A view of some of this tensor's elements, each at most once: the others' gradient is zero.
    fn part(&self, name: &str, of: impl Fn(&Layout) -> Result<Layout>) -> Result<Tensor> {
        let out = self.alias(of(&self.layout())?);
        if self.edge().is_some() {
            // where the same step would lie if this tensor were stored row by row
            let place = of(&Layout::contiguous(&self.shape()))?;
            self.part_grads(name, std::slice::from_ref(&out), vec![place]);
        }
        Ok(out.viewing(self))
    }

    /// Another shape for the same elements, as a view; refused where strides cannot say so. One size may be -1.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([2, 6], ())?;
    /// assert_eq!(&t.view(&[3, -1])?.shape()[..], [3, 4]);
    /// assert!(t.t()?.view(&[12]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn view(&self, shape: &[isize]) -> Result<Tensor> {
        let shape = infer("view", shape, self.numel())?;
        let own = self.shape();
        match self.layout().reshape(&shape) {
            Some(layout) => Ok(self.viewed("view", layout, move |g| g.reshape(&own))),
            None => bail!(
                Shape,
                "view",
                "view size {:?} is not compatible with the tensor's size {own:?} and stride {:?}; use reshape",
                &shape[..],
                self.layout().strides()
            ),
        }
    }

    /// Another shape for the same elements: a view where strides can say so, else a copy.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?;
    /// assert_eq!(x.reshape([2, 3])?.shape()[..], [2, 3]);
    /// assert!(x.reshape([4]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reshape(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        let shape = shape.as_ref();
        // what does not fit must not become the -1 that is inferred
        checked_numel("reshape", shape)?;
        let shape: SmallVec<[isize; 6]> = shape.iter().map(|&d| isize::try_from(d).unwrap_or(isize::MAX)).collect();
        self.reshape_infer("reshape", &shape)
    }

    /// [`Tensor::reshape`] where one size may be -1.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 6], ())?;
    /// assert_eq!(x.reshape_infer("flatten", &[3, -1])?.shape()[..], [3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reshape_infer(&self, op: &str, shape: &[isize]) -> Result<Tensor> {
        let shape = infer(op, shape, self.numel())?;
        let own = self.shape();
        match self.layout().reshape(&shape) {
            Some(layout) => Ok(self.viewed(op, layout, move |g| g.reshape(&own))),
            None => {
                // a copy that the reader computes on the way
                let t = self.contiguous()?;
                let layout = Layout::contiguous(&shape);
                Ok(t.viewed(op, layout, move |g| g.reshape(&own)))
            }
        }
    }

    /// Itself where its elements lie row by row, else a copy that does.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let y = x.t()?.contiguous()?;
    /// assert!(y.is_contiguous() && !y.shares_storage(&x));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.copied("contiguous") }
    }

    /// A copy in a storage of its own; gradients pass.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// let y = x.try_clone()?;
    /// x.zero_()?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Tensor> {
        if self.is_contiguous() { self.apart() } else { self.copied("clone") }
    }

    /// The same values under the same layout in a storage of its own, at no cost, as values are immutable; gradients pass.
    pub(crate) fn apart(&self) -> Result<Tensor> {
        Ok(self.detach().snapshot()?.with_grad("clone", &[self], |_| passed))
    }

    fn copied(&self, name: &'static str) -> Result<Tensor> {
        Ok(self.copy(name)?.with_grad("clone", &[self], |_| passed))
    }

    /// Dimensions in another order.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 3, 4], ())?;
    /// assert_eq!(x.permute(&[2, 0, 1])?.shape()[..], [4, 2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn permute(&self, dims: &[isize]) -> Result<Tensor> {
        let layout = self.layout().permute("permute", dims)?;
        let order = check_dims("permute", dims, self.dim())?;
        let mut back: SmallVec<[isize; 6]> = SmallVec::from_elem(0, order.len());
        for (i, &d) in order.iter().enumerate() {
            back[d] = i as isize;
        }
        Ok(self.viewed("permute", layout, move |g| g.permute(&back)))
    }

    /// Two dimensions swapped.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([2, 3, 4], ())?;
    /// assert_eq!(x.transpose(0, -1)?.shape()[..], [4, 3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn transpose(&self, a: isize, b: isize) -> Result<Tensor> {
        let layout = self.layout().transpose(a, b)?;
        Ok(self.viewed("transpose", layout, move |g| g.transpose(a, b)))
    }

    /// The transpose of a matrix; vectors and scalars stay as they are.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.t()?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn t(&self) -> Result<Tensor> {
        match self.dim() {
            0 | 1 => {
                let layout = self.layout();
                Ok(self.viewed("t", layout, |g| Ok(g.clone())))
            }
            2 => self.transpose(0, 1),
            n => bail!(Dim, "t", "expects a tensor with at most 2 dimensions, but it has {n}"),
        }
    }

    /// Sizes 1 repeated to `shape`; new dimensions come in front.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32], [2.0]], ())?;
    /// assert_eq!(x.expand([2, 2])?.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn expand(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        let layout = self.layout().expand("expand", shape.as_ref())?;
        let own = self.shape();
        if own[..] == *shape.as_ref() {
            let back = |g: &Tensor| Ok(g.clone());
            return Ok(self.viewed("expand", layout, back));
        }
        Ok(self.viewed("expand", layout, move |g| g.sum_to_size(&own)))
    }

    /// `length` elements of a dimension from `start` on.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?.reshape([2, 3])?;
    /// assert_eq!(x.narrow(1, 1, 2)?.to_vec::<i32>()?, [1, 2, 4, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn narrow(&self, dim: isize, start: isize, length: usize) -> Result<Tensor> {
        self.part("narrow", |l| l.narrow("narrow", dim, start, length))
    }

    /// Every `step`-th element of a dimension from `start` up to `end`, which are clamped to its size; negative
    /// ones count from the end.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?.reshape([2, 3])?;
    /// assert_eq!(x.slice(1, None, None, 2)?.to_vec::<i32>()?, [0, 2, 3, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn slice(&self, dim: isize, start: Option<isize>, end: Option<isize>, step: usize) -> Result<Tensor> {
        if self.dim() == 0 {
            bail!(Dim, "slice", "cannot be applied to a tensor without dimensions");
        }
        if step == 0 {
            bail!(Value, "slice", "step must be greater than zero, got 0");
        }
        let d = check_dim("slice", dim, self.dim())?;
        let size = self.shape()[d] as isize;
        let at = |i: isize| if i < 0 { i.saturating_add(size) } else { i }.clamp(0, size) as usize;
        let (from, to) = (at(start.unwrap_or(0)), at(end.unwrap_or(size)));
        let length = to.saturating_sub(from).div_ceil(step);
        self.part("slice", |l| Ok(l.sliced(d, from, length, step as isize)))
    }

    /// One element of a dimension, which disappears.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?.reshape([2, 3])?;
    /// assert_eq!(x.select(0, -1)?.to_vec::<i32>()?, [3, 4, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn select(&self, dim: isize, index: isize) -> Result<Tensor> {
        self.part("select", |l| l.select("select", dim, index))
    }

    /// Elements `(i, i + offset)` of two dimensions as a new last one.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.diagonal(0, 0, 1)?.to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn diagonal(&self, offset: isize, dim1: isize, dim2: isize) -> Result<Tensor> {
        self.part("diagonal", |l| l.diagonal("diagonal", offset, dim1, dim2))
    }

    /// Any shape, strides and offset over this tensor's storage.
    ///
    /// ```
    /// let x = calor::Tensor::arange(0, 6, 1, ())?.reshape([2, 3])?;
    /// assert_eq!(x.as_strided(&[2, 2], &[1, 2], 1)?.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn as_strided(&self, shape: &[usize], strides: &[isize], offset: usize) -> Result<Tensor> {
        let offset = isize::try_from(offset).unwrap_or(isize::MAX);
        let layout = Layout::strided("as_strided", shape, strides, offset)?;
        let reach = layout.bounds().1;
        if layout.numel() > 0 && reach >= self.storage_numel() as isize {
            bail!(
                Index,
                "as_strided",
                "sizes {shape:?}, strides {strides:?} and offset {offset} reach element {reach} of a storage of {}",
                self.storage_numel()
            );
        }
        let (own, outer, inner) = (self.shape(), self.layout(), layout.clone());
        Ok(self.viewed("as_strided", layout, move |g| {
            if inner.overlaps() || outer.overlaps() {
                // each element of the storage collects from all places that show it
                let size = outer.bounds().1.max(inner.bounds().1) as usize + 1;
                let collect = |layout: &Layout, values: &Tensor| {
                    let places: Vec<i32> = layout.positions().map(|p| p as i32).collect();
                    let index = Tensor::from_slice(&places, [places.len()], g.device())?;
                    Tensor::zeros([size], (g.dtype(), g.device()))?.index_add(0, &index, &values.ravel()?, 1)
                };
                let mut sum = collect(&inner, g)?;
                if outer.overlaps() {
                    // those of this tensor that show one element share its gradient
                    let shown = collect(&outer, &Tensor::ones(&own[..], (g.dtype(), g.device()))?)?;
                    sum = sum.div(shown.clamp_min(1.0)?)?;
                }
                return sum.as_strided(&own, outer.strides(), outer.offset() as usize);
            }
            let zero = Tensor::zeros(&own[..], (g.dtype(), g.device()))?;
            zero.with_region(&outer, &inner, g)
        }))
    }

    /// A new dimension of size 1.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.unsqueeze(-1)?.shape()[..], [3, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unsqueeze(&self, dim: isize) -> Result<Tensor> {
        let at = check_dim("unsqueeze", dim, self.dim() + 1)?;
        let own = self.shape();
        Ok(self.viewed("unsqueeze", self.layout().unsqueezed(at), move |g| g.reshape(&own)))
    }

    /// Without its dimensions of size 1.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([1, 3, 1], ())?.squeeze()?.shape()[..], [3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn squeeze(&self) -> Result<Tensor> {
        let own = self.shape();
        Ok(self.viewed("squeeze", self.layout().squeezed(|_| true), move |g| g.reshape(&own)))
    }

    /// Without one dimension, if its size is 1.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([1, 3, 1], ())?;
    /// assert_eq!((x.squeeze_dim(0)?.dim(), x.squeeze_dim(1)?.dim()), (2, 3));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn squeeze_dim(&self, dim: isize) -> Result<Tensor> {
        self.squeeze_dims(&[dim])
    }

    /// Without those of some dimensions whose size is 1.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([1, 3, 1], ())?.squeeze_dims(&[0, 1])?.shape()[..], [3, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn squeeze_dims(&self, dims: &[isize]) -> Result<Tensor> {
        let dims = check_dims("squeeze", dims, self.dim())?;
        let own = self.shape();
        Ok(self.viewed("squeeze", self.layout().squeezed(|d| dims.contains(&d)), move |g| g.reshape(&own)))
    }

    /// Dimensions `start..=end` as one.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2, 3, 4], ())?.flatten(1, -1)?.shape()[..], [2, 12]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn flatten(&self, start: isize, end: isize) -> Result<Tensor> {
        let own = self.shape();
        let (a, b) = (check_dim("flatten", start, own.len())?, check_dim("flatten", end, own.len())?);
        if own.is_empty() {
            return self.reshape([1]);
        }
        if a > b {
            bail!(Dim, "flatten", "has invalid args: start {start} comes after end {end}");
        }
        if a == b {
            return Ok(self.clone());
        }
        let mut shape = Dims::from_slice(&own[..a]);
        shape.push(numel(&own[a..=b]));
        shape.extend_from_slice(&own[b + 1..]);
        self.reshape(&shape)
    }
}

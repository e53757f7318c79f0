//! Matrix products: one primitive, a kernel for each kind of adapter and size, and what chooses among them.

mod choose;
mod kernel;
mod tune;

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::shape::{Dims, broadcast, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::lowered;
use crate::tensor::grad::{Grads, is_grad_enabled};
use choose::{Choice, Problem, choose};
use kernel::Matmul;
use std::sync::Arc;

/// The product of matrices with equal leading dimensions, without history.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (sa, sb) = (a.shape(), b.shape());
    let rank = sa.len();
    let mut shape = Dims::from_slice(&sa[..rank - 1]);
    shape.push(sb[rank - 1]);
    let dtype = a.dtype();
    if numel(&shape) == 0 || sa[rank - 1] == 0 {
        return Tensor::zeros(&shape[..], (dtype, a.device()));
    }
    let choice = choose(a.device(), &Problem::of(a, b))?;
    computed(a, b, choice)?.to_dtype(dtype)
}

/// The product by a chosen kernel, in the type that products are summed in.
fn computed(a: &Tensor, b: &Tensor, choice: Choice) -> Result<Tensor> {
    let (sa, sb) = (a.shape(), b.shape());
    let rank = sa.len();
    // bytes share words, which one lane cannot write
    let wide = a.dtype().to_sum().compute();
    let mut shape = Dims::new();
    if choice.parts > 1 {
        shape.push(choice.parts);
    }
    shape.extend_from_slice(&sa[..rank - 1]);
    shape.push(sb[rank - 1]);
    let out = Tensor::apply(Arc::new(Matmul(choice)), a.device(), (&shape, wide), &[a, b], &[])?;
    if choice.parts > 1 { out.sum_dims(&[0], false)?.to_dtype(wide) } else { Ok(out) }
}

impl Tensor {
    /// The matrix product, with PyTorch's rules: vectors count as a row on the left and a column on the right,
    /// leading dimensions broadcast.
    ///
    /// ```
    /// let a = calor::Tensor::ones([2, 3], ())?;
    /// assert_eq!(a.matmul(&calor::Tensor::ones([3], ())?)?.to_vec::<f32>()?, [3.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        let (a, b) = (&lowered(self)?, &lowered(other)?);
        if a.dim() == 0 || b.dim() == 0 {
            bail!(Shape, "matmul", "both arguments need at least one dimension, got {:?} x {:?}", a.shape(), b.shape());
        }
        if a.dtype() != b.dtype() {
            bail!(DType, "matmul", "expected both to have the same dtype, got {} and {}", a.dtype(), b.dtype());
        }
        if a.dtype() == DType::Bool {
            bail!(DType, "matmul", "is not supported for bool tensors");
        }
        let (row, column) = (a.dim() == 1, b.dim() == 1);
        let x = if row { a.unsqueeze(0)? } else { a.clone() };
        let y = if column { b.unsqueeze(1)? } else { b.clone() };
        let (sx, sy) = (x.shape(), y.shape());
        let (rx, ry) = (sx.len(), sy.len());
        if sx[rx - 1] != sy[ry - 2] {
            bail!(Shape, "matmul", "inner sizes differ, {:?} x {:?}", &a.shape()[..], &b.shape()[..]);
        }
        let lead = broadcast("matmul", &sx[..rx - 2], &sy[..ry - 2])?;
        let with = |tail: &[usize]| lead.iter().chain(tail).copied().collect::<Dims>();
        let out = if ry == 2 && rx > 2 {
            // one large product instead of a batch of small ones
            let rows = x.reshape([numel(&sx[..rx - 1]), sx[rx - 1]])?;
            bmm(&rows, &y)?.reshape(with(&[sx[rx - 2], sy[ry - 1]]))?
        } else {
            // PyTorch folds the batch of what meets a matrix with a gradient, and keeps a copy unless a view can: writes to the
            // original do not matter then
            let folded = [numel(&sy[..ry - 2]) * sy[ry - 1], sy[ry - 2]];
            let copies = rx == 2
                && ry > 2
                && is_grad_enabled()
                && x.requires_grad()
                && y.layout().transpose(-2, -1)?.reshape(&folded).is_none();
            let y = if copies { y.apart()? } else { y };
            let x = x.expand(with(&sx[rx - 2..]))?;
            let y = y.expand(with(&sy[ry - 2..]))?;
            bmm(&x, &y)?
        };
        let out = if row { out.squeeze_dim(-2)? } else { out };
        if column { out.squeeze_dim(-1) } else { Ok(out) }
    }
}

/// Whether a matrix lies column by column, as a transposed weight does.
fn by_columns(t: &Tensor) -> bool {
    let (layout, rank) = (t.layout(), t.dim());
    layout.strides()[rank - 2] == 1 && layout.strides()[rank - 1] != 1
}

/// The product, computed so that its elements lie column by column where that is wanted: the gradient of a transposed
/// weight then lies as the weight does.
fn like(columns: bool, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if columns { bmm(&b.transpose(-2, -1)?, &a.transpose(-2, -1)?)?.transpose(-2, -1) } else { bmm(a, b) }
}

/// The differentiable core: equal leading dimensions.
fn bmm(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let out = product(x, y)?;
    Ok(out.with_grad("matmul", &[x, y], |r| {
        let keep_x = x.requires_grad().then(|| r.save(y));
        let keep_y = y.requires_grad().then(|| r.save(x));
        let columns = (by_columns(x), by_columns(y));
        move |g: &Tensor| {
            let gx = keep_x.as_ref().map(|y| like(columns.0, g, &y.get()?.transpose(-2, -1)?)).transpose()?;
            let gy = keep_y.as_ref().map(|x| like(columns.1, &x.get()?.transpose(-2, -1)?, g)).transpose()?;
            Ok(Grads::from_iter([gx, gy]))
        }
    }))
}

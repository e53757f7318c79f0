//! Decompositions and their gradients.

use super::{Triplet, columns, singular, symmetric};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::join::cat;
use crate::shape::{Dims, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, Recorder, Saved};

/// Refuses what is no batch of matrices of single or double precision; leading dimensions, rows and columns.
pub(super) fn matrices(op: &str, a: &Tensor) -> Result<(Dims, usize, usize)> {
    let shape = a.shape();
    let [ref lead @ .., m, n] = shape[..] else {
        bail!(Dim, op, "the input tensor must have at least 2 dimensions, got {}", shape.len());
    };
    if !matches!(a.dtype(), DType::F32 | DType::F64) {
        bail!(DType, op, "expected a tensor of f32 or f64, got {}", a.dtype());
    }
    Ok((Dims::from_slice(lead), m, n))
}

pub(super) fn transposed(a: &Tensor) -> Result<Tensor> {
    a.transpose(-2, -1)
}

/// `lead` and more sizes.
pub(super) fn joined(lead: &[usize], more: &[usize]) -> Dims {
    lead.iter().chain(more).copied().collect()
}

/// `x_ij / (s_j - s_i)`, the diagonal left as it is.
fn over_gaps(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    let eye = Tensor::eye(s.size(-1)?, s.size(-1)?, (s.dtype(), s.device()))?;
    x.div(&s.unsqueeze(-2)?.sub(&s.unsqueeze(-1)?)?.add(&eye)?)
}

/// What gradients of one output of a decomposition keep.
struct Kept([Saved; 4]);

impl Kept {
    fn new(r: &Recorder, a: &Tensor, raw: &Triplet) -> Self {
        Self([r.save(a), r.save(&raw.u), r.save(&raw.s), r.save(&raw.v)])
    }

    fn get(&self) -> Result<(Tensor, Triplet)> {
        let [a, u, s, v] = &self.0;
        Ok((a.get()?, Triplet { u: u.get()?, s: s.get()?, v: v.get()? }))
    }
}

impl Triplet {
    /// `u x v^T`.
    fn around(&self, x: &Tensor) -> Result<Tensor> {
        self.u.matmul(x)?.matmul(&transposed(&self.v)?)
    }

    /// `u diag(g) v^T`.
    fn spread(&self, g: &Tensor) -> Result<Tensor> {
        self.u.mul(&g.unsqueeze(-2)?)?.matmul(&transposed(&self.v)?)
    }
}

/// The parts of a singular value decomposition of `a` with their gradients (Townsend 2016). Each rule makes the others
/// anew from what was computed, so that it can be differentiated again.
fn with_history(op: &'static str, a: &Tensor, raw: &Triplet) -> Triplet {
    let s = raw.s.detach().with_grad(op, &[a], |r| {
        let kept = Kept::new(r, a, raw);
        move |g: &Tensor| {
            let (a, raw) = kept.get()?;
            Ok(Grads::from_iter([Some(with_history(op, &a, &raw).spread(g)?)]))
        }
    });
    let u = raw.u.detach().with_grad(op, &[a], |r| {
        let kept = Kept::new(r, a, raw);
        move |g: &Tensor| {
            let (a, raw) = kept.get()?;
            let t = with_history(op, &a, &raw);
            let inner = transposed(&t.u)?.matmul(g)?;
            let skew = over_gaps(&inner.sub(&transposed(&inner)?)?, &t.s.square()?)?.mul(&t.s.unsqueeze(-2)?)?;
            let outside = g.sub(&t.u.matmul(&inner)?)?.div(&t.s.unsqueeze(-2)?)?;
            let mut ga = t.around(&skew)?;
            if a.size(-2)? > a.size(-1)? {
                ga = ga.add(&outside.matmul(&transposed(&t.v)?)?)?;
            }
            Ok(Grads::from_iter([Some(ga)]))
        }
    });
    let v = raw.v.detach().with_grad(op, &[a], |r| {
        let kept = Kept::new(r, a, raw);
        move |g: &Tensor| {
            let (a, raw) = kept.get()?;
            let t = with_history(op, &a, &raw);
            let inner = transposed(&t.v)?.matmul(g)?;
            let skew = over_gaps(&inner.sub(&transposed(&inner)?)?, &t.s.square()?)?.mul(&t.s.unsqueeze(-1)?)?;
            Ok(Grads::from_iter([Some(t.around(&skew)?)]))
        }
    });
    Triplet { u, s, v }
}

/// The parts of an eigendecomposition of symmetric `a` with their gradients (Giles 2008).
fn with_symmetric_history(op: &'static str, a: &Tensor, raw: &Triplet) -> Triplet {
    let s = raw.s.detach().with_grad(op, &[a], |r| {
        let kept = Kept::new(r, a, raw);
        move |g: &Tensor| {
            let (a, raw) = kept.get()?;
            Ok(Grads::from_iter([Some(with_symmetric_history(op, &a, &raw).spread(g)?)]))
        }
    });
    let v = raw.v.detach().with_grad(op, &[a], |r| {
        let kept = Kept::new(r, a, raw);
        move |g: &Tensor| {
            let (a, raw) = kept.get()?;
            let t = with_symmetric_history(op, &a, &raw);
            let inner = transposed(&t.v)?.matmul(g)?;
            // only the symmetric part is a gradient of symmetric matrices
            let inner = over_gaps(&inner.sub(&transposed(&inner)?)?.mul(0.5)?, &t.s)?;
            Ok(Grads::from_iter([Some(t.around(&inner)?)]))
        }
    });
    Triplet { u: v.clone(), s, v }
}

/// `u` of [`singular`] with its zero columns replaced and, up to `count`, more behind them, so that all are orthonormal.
fn completed(op: &str, t: &Triplet, count: usize) -> Result<Tensor> {
    let (m, n) = (t.u.size(1)?, t.u.size(2)?);
    let at = (t.u.dtype(), t.u.device());
    let found = t.s.gt(0.0)?.to_dtype(DType::I32)?.sum_dims(&[1], true)?.unsqueeze(2)?;
    // of what is left of the first unit vectors outside the columns found, the directions that lie there wholly
    let units = Tensor::eye(m, count, at)?;
    let outside = units.sub(&t.u.matmul(&transposed(&t.u.narrow(1, 0, count)?)?)?)?;
    let more = singular(op, &outside)?.u;
    let k = Tensor::arange(0, count as i64, 1, (DType::I32, t.u.device()))?.reshape([1, 1, count])?;
    let behind = k.sub(&found)?.add(n as i32)?;
    columns(&cat(&[&t.u, &more], 2)?, &k.lt(&found)?.where_(&k, &behind)?.to_dtype(DType::I32)?)
}

impl Tensor {
    /// `(U, S, V^T)` with `self = U diag(S) V^T`, the columns of `U` and `V` orthonormal and `S` descending:
    /// `torch.linalg.svd`. `U` and `V` have as many columns as `S`, or with `full_matrices` are square. Gradients of `U`
    /// and `V` are those of functions that no signs of the columns change, and need distinct singular values.
    ///
    /// ```
    /// let a = calor::Tensor::new([[0.0f32, 3.0], [-2.0, 0.0]], ())?;
    /// let (u, s, vh) = a.linalg_svd(false)?;
    /// assert_eq!(s.to_vec::<f32>()?, [3.0, 2.0]);
    /// assert!(u.mul(&s)?.matmul(&vh)?.sub(&a)?.abs()?.max()?.item()? < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once a result is read, where an element is not finite.
    pub fn linalg_svd(&self, full_matrices: bool) -> Result<(Tensor, Tensor, Tensor)> {
        const OP: &str = "linalg.svd";
        let (lead, m, n) = matrices(OP, self)?;
        if m < n {
            let (v, s, uh) = transposed(self)?.linalg_svd(full_matrices)?;
            return Ok((transposed(&uh)?, s, transposed(&v)?));
        }
        let count = if full_matrices { m } else { n };
        if self.numel() == 0 {
            let eye = Tensor::eye(m, count, (self.dtype(), self.device()))?.expand(joined(&lead, &[m, count]))?;
            let vh = Tensor::zeros(joined(&lead, &[n, n]), (self.dtype(), self.device()))?;
            return Ok((eye.contiguous()?, self.sum_dims(&[-2], false)?, vh));
        }
        let a = self.reshape([numel(&lead), m, n])?;
        let mut raw = singular(OP, &a)?;
        let all = no_grad(|| completed(OP, &raw, count))?;
        raw.u = all.narrow(2, 0, n)?.contiguous()?;
        let t = with_history(OP, &a, &raw);
        let mut u = t.u;
        if count > n {
            u = cat(&[&u, &all.narrow(2, n as isize, count - n)?], 2)?;
        }
        let (u, s) = (u.reshape(joined(&lead, &[m, count]))?, t.s.reshape(joined(&lead, &[n]))?);
        Ok((u, s, transposed(&t.v.reshape(joined(&lead, &[n, n]))?)?))
    }

    /// The singular values of matrices, in descending order: `torch.linalg.svdvals`. Unlike those of
    /// [`Tensor::linalg_svd`]'s vectors, their gradients are defined for equal values, too.
    ///
    /// ```
    /// let a = calor::Tensor::new([[0.0f32, 3.0], [-2.0, 0.0]], ())?;
    /// assert_eq!(a.linalg_svdvals()?.to_vec::<f32>()?, [3.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where an element is not finite.
    pub fn linalg_svdvals(&self) -> Result<Tensor> {
        const OP: &str = "linalg.svdvals";
        let (lead, m, n) = matrices(OP, self)?;
        if self.numel() == 0 {
            return self.sum_dims(&[if m < n { -1 } else { -2 }], false);
        }
        let a = if m < n { transposed(self)? } else { self.clone() };
        let a = a.reshape([numel(&lead), m.max(n), m.min(n)])?;
        with_history(OP, &a, &singular(OP, &a)?).s.reshape(joined(&lead, &[m.min(n)]))
    }

    /// The eigenvalues of symmetric matrices in ascending order, and the eigenvectors as columns: `torch.linalg.eigh`.
    /// Only the lower triangle is read, or with `upper` the upper one.
    ///
    /// ```
    /// let a = calor::Tensor::new([[2.0f32, 1.0], [1.0, 2.0]], ())?;
    /// let (values, vectors) = a.linalg_eigh(false)?;
    /// assert!(values.sub(&calor::Tensor::new([1.0f32, 3.0], ())?)?.abs()?.max()?.item()? < 1e-5);
    /// assert!(a.matmul(&vectors)?.sub(&vectors.mul(&values)?)?.abs()?.max()?.item()? < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once a result is read, where an element is not finite.
    pub fn linalg_eigh(&self, upper: bool) -> Result<(Tensor, Tensor)> {
        eigen("linalg.eigh", self, upper)
    }

    /// The eigenvalues of [`Tensor::linalg_eigh`]: `torch.linalg.eigvalsh`.
    ///
    /// ```
    /// let a = calor::Tensor::new([[3.0f32, 0.0], [7.0, 1.0]], ())?;
    /// assert_eq!(a.linalg_eigvalsh(true)?.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_eigvalsh(&self, upper: bool) -> Result<Tensor> {
        Ok(eigen("linalg.eigvalsh", self, upper)?.0)
    }
}

pub(super) fn eigen(op: &'static str, a: &Tensor, upper: bool) -> Result<(Tensor, Tensor)> {
    let (lead, m, n) = matrices(op, a)?;
    if m != n {
        bail!(Shape, op, "expected square matrices, got shape {:?}", a.shape());
    }
    if a.numel() == 0 {
        return Ok((a.sum_dims(&[-2], false)?, a.contiguous()?));
    }
    let a = a.reshape([numel(&lead), n, n])?;
    let whole = no_grad(|| {
        let lower = if upper { transposed(&a)? } else { a.clone() };
        lower.tril(0)?.add(&transposed(&lower.tril(-1)?)?)
    })?;
    let t = with_symmetric_history(op, &a, &symmetric(op, &whole)?);
    Ok((t.s.reshape(joined(&lead, &[n]))?, t.v.reshape(joined(&lead, &[n, n]))?))
}

//! What stands on singular values: ranks, pseudoinverses, condition numbers.

use super::decompose::{eigen, joined, matrices, transposed};
use super::singular;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::arg::Arg;
use crate::ops::linalg::NormOrder;
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;

/// What is taken for 0 among singular values: those up to the larger one of `atol` and `rtol` times the largest.
///
/// ```
/// use calor::{Cutoff, Tensor};
/// let a = Tensor::new([[1.0f32, 0.0], [0.0, 0.001]], ())?;
/// let coarse = Cutoff { atol: Some(0.01.into()), ..Cutoff::default() };
/// assert_eq!(a.linalg_matrix_rank(&coarse, false)?.item()?, 1.0);
/// assert_eq!(a.linalg_matrix_rank(&Cutoff::default(), false)?.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Cutoff {
    /// 0 unless given.
    pub atol: Option<Arg>,
    /// Unless given: 0 where `atol` is above 0, else the precision of the dtype times the larger size.
    pub rtol: Option<Arg>,
}

impl Cutoff {
    /// The threshold for a batch of matrices, without history: of the batch's shape, or of one that it broadcasts with.
    fn threshold(&self, largest: &Tensor, sizes: (usize, usize)) -> Result<Tensor> {
        let dtype = largest.dtype();
        let number = |n: &Arg| n.tensor(dtype, largest.device()).map(|t| t.detach());
        let precision = if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let precision = precision * sizes.0.max(sizes.1) as f64;
        let atol = self.atol.as_ref().map(number).transpose()?;
        let relative = match (&self.rtol, &atol) {
            (Some(rtol), _) => largest.mul(&number(rtol)?)?,
            (None, None) => largest.mul(precision)?,
            (None, Some(atol)) => atol.gt(0.0)?.where_(0.0, largest.mul(precision)?)?.to_dtype(dtype)?,
        };
        match &atol {
            Some(atol) => atol.maximum(&relative),
            None => relative.clamp_min(0.0),
        }
    }
}

/// The gradient of the pseudoinverse `p` of `a` (Golub & Pereyra 1973), from products only: it is differentiable again.
fn pinv_gradient(a: &Tensor, p: &Tensor, g: &Tensor) -> Result<Tensor> {
    let (pt, gt) = (transposed(p)?, transposed(g)?);
    if a.size(-2)? <= a.size(-1)? {
        let k = gt.matmul(p)?;
        let kp = k.matmul(&pt)?;
        let inside = transposed(&p.matmul(&k)?)?;
        let rest = pt.matmul(p)?.matmul(&gt.sub(&k.matmul(a)?)?)?;
        return kp.sub(&inside)?.sub(&a.matmul(p)?.matmul(&kp)?)?.add(&rest);
    }
    let k = p.matmul(&gt)?;
    let pk = pt.matmul(&k)?;
    let inside = transposed(&k.matmul(p)?)?;
    let rest = gt.sub(&a.matmul(&k)?)?.matmul(p)?.matmul(&pt)?;
    pk.sub(&inside)?.sub(&pk.matmul(p)?.matmul(a)?)?.add(&rest)
}

impl Tensor {
    /// How many singular values of each matrix are above the tolerance, as `i32`: `torch.linalg.matrix_rank`. Of
    /// `hermitian` matrices the lower triangle is read.
    ///
    /// ```
    /// use calor::{Tensor, Cutoff};
    /// let a = Tensor::new([[1.0f32, 2.0], [2.0, 4.0]], ())?;
    /// assert_eq!(a.linalg_matrix_rank(&Cutoff::default(), false)?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_matrix_rank(&self, tolerance: &Cutoff, hermitian: bool) -> Result<Tensor> {
        const OP: &str = "linalg.matrix_rank";
        let (lead, m, n) = matrices(OP, self)?;
        no_grad(|| {
            if hermitian && m != n {
                bail!(Shape, OP, "expected square matrices, got shape {:?}", self.shape());
            }
            if self.numel() == 0 {
                return Tensor::zeros(&lead[..], (DType::I32, self.device()));
            }
            let s = if hermitian { eigen(OP, self, false)?.0.abs()? } else { self.linalg_svdvals()? };
            let threshold = tolerance.threshold(&s.amax(&[-1], false)?, (m, n))?;
            s.gt(&threshold.unsqueeze(-1)?)?.to_dtype(DType::I32)?.sum_dims(&[-1], false)
        })
    }

    /// The Moore-Penrose inverses of matrices, `V diag(1 / S) U^T` over the singular values above the tolerance:
    /// `torch.linalg.pinv`. Of `hermitian` matrices the lower triangle is read.
    ///
    /// ```
    /// use calor::{Tensor, Cutoff};
    /// let a = Tensor::new([[2.0f32, 0.0], [0.0, 0.0]], ())?;
    /// assert_eq!(a.linalg_pinv(&Cutoff::default(), false)?.to_vec::<f32>()?, [0.5, 0.0, 0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_pinv(&self, tolerance: &Cutoff, hermitian: bool) -> Result<Tensor> {
        const OP: &str = "linalg.pinv";
        let (lead, m, n) = matrices(OP, self)?;
        if hermitian && m != n {
            bail!(Shape, OP, "expected square matrices, got shape {:?}", self.shape());
        }
        if self.numel() == 0 {
            return transposed(self)?.contiguous();
        }
        let out = no_grad(|| {
            let (u, s, v) = if hermitian {
                let (s, v) = eigen(OP, self, false)?;
                (v.clone(), s, v)
            } else {
                let a = if m < n { transposed(self)? } else { self.clone() };
                let t = singular(OP, &a.reshape([numel(&lead), m.max(n), m.min(n)])?)?;
                let (u, v) = if m < n { (t.v, t.u) } else { (t.u, t.v) };
                let k = m.min(n);
                let s = t.s.reshape(joined(&lead, &[k]))?;
                (u.reshape(joined(&lead, &[m, k]))?, s, v.reshape(joined(&lead, &[n, k]))?)
            };
            let size = s.abs()?;
            let threshold = tolerance.threshold(&size.amax(&[-1], false)?, (m, n))?;
            let kept = size.gt(&threshold.unsqueeze(-1)?)?;
            let inverse = kept.where_(kept.where_(&s, 1.0)?.reciprocal()?, 0.0)?.to_dtype(self.dtype())?;
            v.mul(&inverse.unsqueeze(-2)?)?.matmul(&transposed(&u)?)
        })?;
        Ok(out.with_grad(OP, &[self], |r| {
            let (a, p) = (r.save(self), r.output());
            move |g: &Tensor| Ok(Grads::from_iter([Some(pinv_gradient(&a.get()?, &p.get()?, g)?)]))
        }))
    }

    /// How much errors grow in a system of equations: the largest singular value over the smallest, or `|A| |A^-1|` in
    /// another norm of matrices, infinite for singular ones: `torch.linalg.cond`.
    ///
    /// ```
    /// let a = calor::Tensor::new([[4.0f32, 0.0], [0.0, 2.0]], ())?;
    /// assert_eq!(a.linalg_cond(None)?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` unless these are matrices, square ones for a norm that asks for the inverse.
    pub fn linalg_cond(&self, order: Option<NormOrder>) -> Result<Tensor> {
        const OP: &str = "linalg.cond";
        let (lead, ..) = matrices(OP, self)?;
        if self.numel() == 0 {
            return Tensor::zeros(&lead[..], (self.dtype(), self.device()));
        }
        match order {
            None | Some(NormOrder::P(2.0 | -2.0)) => {
                let s = self.linalg_svdvals()?;
                let (large, small) = (s.amax(&[-1], false)?, s.amin(&[-1], false)?);
                if order == Some(NormOrder::P(-2.0)) { small.div(&large) } else { large.div(&small) }
            }
            Some(NormOrder::Nuc) => {
                let s = self.linalg_svdvals()?;
                s.sum_dims(&[-1], false)?.mul(&s.reciprocal()?.sum_dims(&[-1], false)?)
            }
            Some(order) => {
                let of = |t: &Tensor| t.linalg_matrix_norm(order, [-2, -1], false);
                // a pivot of 0: there is no inverse to ask for
                let singular = self.detach().slogdet()?.1.eq(f64::NEG_INFINITY)?;
                let n = self.size(-1)?;
                let identity = Tensor::eye(n, n, (self.dtype(), self.device()))?;
                let regular = singular.unsqueeze(-1)?.unsqueeze(-1)?.where_(&identity, self)?;
                of(self)?.mul(&of(&regular.inverse()?)?)?.masked_fill(&singular, f64::INFINITY)
            }
        }
    }
}

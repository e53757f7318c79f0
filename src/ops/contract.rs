//! Contractions over `matmul`: products of matrices and vectors under PyTorch's names, `tensordot`, and distances.

use crate::dtype::{Category, DType, Scalar};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::elementwise::only;
use crate::ops::join::cat;
use crate::shape::{Dims, MOST, broadcast, dim as check_dim, dims as check_dims, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::{autocast_off, full, lowered, widest};
use crate::tensor::grad::Grads;

/// Refuses operands of different dtypes, as PyTorch's products do.
pub(super) fn alike(op: &str, tensors: &[&Tensor]) -> Result<()> {
    for pair in tensors.windows(2) {
        if pair[0].dtype() != pair[1].dtype() {
            let (a, b) = (pair[0].dtype(), pair[1].dtype());
            bail!(DType, op, "expected operands of the same dtype, but got {a} and {b}");
        }
    }
    Ok(())
}

/// All as autocast wants the operands of products.
fn all_lowered<const N: usize>(tensors: [&Tensor; N]) -> Result<[Tensor; N]> {
    let mut out = tensors.map(Tensor::clone);
    for t in &mut out {
        *t = lowered(t)?;
    }
    Ok(out)
}

pub(super) fn ranks(op: &str, tensors: &[(&Tensor, usize)]) -> Result<()> {
    for (t, rank) in tensors {
        if t.dim() != *rank {
            bail!(Dim, op, "expected a tensor of {rank} dimensions, got shape {:?}", t.shape());
        }
    }
    Ok(())
}

/// The factors of a sum of products.
///
/// ```
/// use calor::{Factors, Tensor};
/// let x = Tensor::eye(2, 2, ())?;
/// // 3 x x - x
/// assert_eq!(x.addmm(&x, &x, Factors::new(-1, 3))?.to_vec::<f32>()?, [2.0, 0.0, 0.0, 2.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Factors {
    /// Of what is added to; its values are not read where this is 0.
    pub beta: Scalar,
    /// Of the product.
    pub alpha: Scalar,
}

impl Factors {
    /// `beta` and `alpha`.
    ///
    /// ```
    /// let factors = calor::Factors::new(0.5, 2);
    /// assert_eq!((factors.beta.as_f64(), factors.alpha.as_f64()), (0.5, 2.0));
    /// ```
    pub fn new(beta: impl Into<Scalar>, alpha: impl Into<Scalar>) -> Self {
        Self { beta: beta.into(), alpha: alpha.into() }
    }
}

impl Default for Factors {
    fn default() -> Self {
        Self { beta: Scalar::Int(1), alpha: Scalar::Int(1) }
    }
}

impl Tensor {
    /// In the type that products are summed in.
    fn wide(&self) -> Result<Tensor> {
        self.to_dtype(self.dtype().compute())
    }

    /// Refuses factors that are no whole numbers where the operands are.
    fn whole(&self, op: &str, factors: Factors) -> Result<()> {
        if !self.dtype().is_float() {
            for (name, n) in [("beta", factors.beta), ("alpha", factors.alpha)] {
                if n.category() == Category::Float {
                    bail!(DType, op, "for integral input tensors, argument {name} must not be a floating point number");
                }
            }
        }
        Ok(())
    }

    /// `beta self + alpha product`, in this tensor's dtype; whole numbers take the whole part of factors.
    fn plus(&self, op: &str, product: &Tensor, factors: Factors) -> Result<Tensor> {
        let Factors { beta, alpha } = factors;
        let part = |s: Scalar| if self.dtype().is_float() { s } else { Scalar::Int(s.as_i64()) };
        let (beta, alpha) = (part(beta), part(alpha));
        let one = |s: Scalar| s.as_f64() == 1.0;
        // the result has the product's shape: this tensor is only broadcast
        self.layout().expand(op, &product.shape())?;
        let product = if one(alpha) { product.clone() } else { product.mul(alpha)? };
        let sum = match beta.as_f64() {
            0.0 => product,
            1.0 => self.wide()?.add(&product)?,
            _ => self.wide()?.mul(beta)?.add(&product)?,
        };
        sum.to_dtype(self.dtype())
    }

    /// The product of two matrices.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.mm(&x)?.to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn mm(&self, other: &Tensor) -> Result<Tensor> {
        let [x, other] = &all_lowered([self, other])?;
        alike("mm", &[x, other])?;
        ranks("mm", &[(x, 2), (other, 2)])?;
        x.matmul(other)
    }

    /// The products of two batches of matrices.
    ///
    /// ```
    /// let x = calor::Tensor::ones([5, 2, 3], ())?;
    /// assert_eq!(x.bmm(&x.transpose(1, 2)?)?.shape()[..], [5, 2, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        let [x, other] = &all_lowered([self, other])?;
        alike("bmm", &[x, other])?;
        ranks("bmm", &[(x, 3), (other, 3)])?;
        if x.shape()[0] != other.shape()[0] {
            bail!(Shape, "bmm", "batch sizes differ: {:?} and {:?}", x.shape(), other.shape());
        }
        x.matmul(other)
    }

    /// A matrix times a vector.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.mv(&calor::Tensor::ones([2], ())?)?.to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn mv(&self, vector: &Tensor) -> Result<Tensor> {
        let [x, vector] = &all_lowered([self, vector])?;
        alike("mv", &[x, vector])?;
        ranks("mv", &[(x, 2), (vector, 1)])?;
        x.matmul(vector)
    }

    /// The sum of products of two vectors.
    ///
    /// ```
    /// let (a, b) = (calor::Tensor::new([1.0f32, 2.0], ())?, calor::Tensor::new([3.0f32, 4.0], ())?);
    /// assert_eq!(a.dot(&b)?.item()?, 11.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dot(&self, other: &Tensor) -> Result<Tensor> {
        let [x, other] = &widest([self, other])?;
        alike("dot", &[x, other])?;
        ranks("dot", &[(x, 1), (other, 1)])?;
        let _own = autocast_off();
        x.matmul(other)
    }

    /// [`Tensor::dot`]: they differ for complex numbers only.
    ///
    /// ```
    /// let (a, b) = (calor::Tensor::new([1.0f32, 2.0], ())?, calor::Tensor::new([3.0f32, 4.0], ())?);
    /// assert_eq!(a.vdot(&b)?.item()?, 11.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn vdot(&self, other: &Tensor) -> Result<Tensor> {
        self.dot(other)
    }

    /// The products of the last dimensions: `sum_k self[.., k] other[.., k]`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.inner(&calor::Tensor::ones([2], ())?)?.to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn inner(&self, other: &Tensor) -> Result<Tensor> {
        let [x, other] = &widest([self, other])?;
        alike("inner", &[x, other])?;
        if self.dim() == 0 || other.dim() == 0 {
            return x.mul(other);
        }
        let (n, m) = (x.size(-1)?, other.size(-1)?);
        if n != m {
            bail!(Shape, "inner", "the last dimensions must match, got {:?} and {:?}", x.shape(), other.shape());
        }
        x.tensordot(other, &[-1], &[-1])
    }

    /// All products of the elements of two vectors.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.outer(&calor::Tensor::new([1.0f32, 10.0], ())?)?.to_vec::<f32>()?, [1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        ranks("outer", &[(self, 1), (other, 1)])?;
        self.unsqueeze(1)?.mul(&other.unsqueeze(0)?)
    }

    /// `beta self + alpha a b` for matrices.
    ///
    /// ```
    /// use calor::Tensor;
    /// let eye = Tensor::eye(2, 2, ())?;
    /// let sum = Tensor::ones([2], ())?.addmm(&eye, &eye, Default::default())?;
    /// assert_eq!(sum.to_vec::<f32>()?, [2.0, 1.0, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addmm(&self, a: &Tensor, b: &Tensor, factors: Factors) -> Result<Tensor> {
        let [x, a, b] = &all_lowered([self, a, b])?;
        let _off = autocast_off();
        alike("addmm", &[x, a, b])?;
        ranks("addmm", &[(a, 2), (b, 2)])?;
        x.plus("addmm", &a.wide()?.matmul(&b.wide()?)?, factors)
    }

    /// [`Tensor::addmm`] in place.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (sum, eye) = (Tensor::ones([2, 2], ())?, Tensor::eye(2, 2, ())?);
    /// assert_eq!(sum.addmm_(&eye, &eye, Default::default())?.to_vec::<f32>()?, [2.0, 1.0, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addmm_(&self, a: &Tensor, b: &Tensor, factors: Factors) -> Result<Tensor> {
        self.modify("addmm_", |x| x.addmm(a, b, factors))
    }

    /// `beta self + alpha a v` for a matrix and a vector.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (a, v) = (Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?, Tensor::ones([2], ())?);
    /// assert_eq!(v.addmv(&a, &v, Default::default())?.to_vec::<f32>()?, [4.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addmv(&self, a: &Tensor, v: &Tensor, factors: Factors) -> Result<Tensor> {
        let [x, a, v] = &all_lowered([self, a, v])?;
        let _off = autocast_off();
        alike("addmv", &[x, a, v])?;
        ranks("addmv", &[(a, 2), (v, 1)])?;
        x.plus("addmv", &a.wide()?.matmul(&v.wide()?)?, factors)
    }

    /// `beta self + alpha (v outer w)` for vectors.
    ///
    /// ```
    /// use calor::{Factors, Tensor};
    /// let (v, w) = (Tensor::new([1.0f32, 2.0], ())?, Tensor::new([3.0f32, 4.0], ())?);
    /// let y = Tensor::ones([2, 2], ())?.addr(&v, &w, Factors::new(1, 10))?;
    /// assert_eq!(y.to_vec::<f32>()?, [31.0, 41.0, 61.0, 81.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addr(&self, v: &Tensor, w: &Tensor, factors: Factors) -> Result<Tensor> {
        let [x, v, w] = &all_lowered([self, v, w])?;
        ranks("addr", &[(v, 1), (w, 1)])?;
        let dtype = DType::promote(x.dtype(), DType::promote(v.dtype(), w.dtype()));
        let product = v.to_dtype(dtype)?.wide()?.outer(&w.to_dtype(dtype)?.wide()?)?;
        x.whole("addr", factors)?;
        x.to_dtype(dtype)?.plus("addr", &product, factors)
    }

    /// `beta self + alpha a b` for batches of matrices.
    ///
    /// ```
    /// use calor::{Factors, Tensor};
    /// let (c, a) = (Tensor::ones([2, 2], ())?, Tensor::ones([3, 2, 2], ())?);
    /// assert_eq!(c.baddbmm(&a, &a, Factors::new(0.5, 1))?.to_vec::<f32>()?, [2.5; 12]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn baddbmm(&self, a: &Tensor, b: &Tensor, factors: Factors) -> Result<Tensor> {
        let [x, a, b] = &all_lowered([self, a, b])?;
        let _off = autocast_off();
        alike("baddbmm", &[x, a, b])?;
        x.plus("baddbmm", &a.wide()?.bmm(&b.wide()?)?, factors)
    }

    /// [`Tensor::baddbmm`] in place.
    ///
    /// ```
    /// use calor::{Factors, Tensor};
    /// let (c, a) = (Tensor::ones([3, 2, 2], ())?, Tensor::ones([3, 2, 2], ())?);
    /// assert_eq!(c.baddbmm_(&a, &a, Factors::new(0.5, 1))?.to_vec::<f32>()?, [2.5; 12]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn baddbmm_(&self, a: &Tensor, b: &Tensor, factors: Factors) -> Result<Tensor> {
        self.modify("baddbmm_", |x| x.baddbmm(a, b, factors))
    }

    /// `beta self + alpha sum_i a[i] b[i]` for batches of matrices.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (c, a) = (Tensor::ones([2, 2], ())?, Tensor::ones([3, 2, 2], ())?);
    /// assert_eq!(c.addbmm(&a, &a, Default::default())?.to_vec::<f32>()?, [7.0; 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn addbmm(&self, a: &Tensor, b: &Tensor, factors: Factors) -> Result<Tensor> {
        let [x, a, b] = &all_lowered([self, a, b])?;
        let _off = autocast_off();
        alike("addbmm", &[x, a, b])?;
        ranks("addbmm", &[(a, 3), (b, 3)])?;
        let (sa, sb) = (a.shape(), b.shape());
        if sa[0] != sb[0] || sa[2] != sb[1] {
            bail!(Shape, "addbmm", "batches of shapes {sa:?} and {sb:?} cannot be multiplied");
        }
        // one product over batch and inner dimension
        let left = a.wide()?.permute(&[1, 0, 2])?.reshape([sa[1], sa[0] * sa[2]])?;
        let right = b.wide()?.reshape([sb[0] * sb[1], sb[2]])?;
        x.plus("addbmm", &left.matmul(&right)?, factors)
    }

    /// The sum of products over `dims` of this tensor and `other_dims` of the other one.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.tensordot(&x, &[0], &[0])?.to_vec::<f32>()?, [10.0, 14.0, 14.0, 20.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tensordot(&self, other: &Tensor, dims: &[isize], other_dims: &[isize]) -> Result<Tensor> {
        const OP: &str = "tensordot";
        let [x, other] = &widest([self, other])?;
        let _off = autocast_off();
        alike(OP, &[x, other])?;
        let (da, db) = (check_dims(OP, dims, self.dim())?, check_dims(OP, other_dims, other.dim())?);
        let (sa, sb) = (self.shape(), other.shape());
        let fits =
            da.len() == db.len() && da.iter().zip(&db).all(|(&i, &j)| sa[i] == sb[j] || sa[i] == 1 || sb[j] == 1);
        if !fits {
            bail!(Shape, OP, "dimensions {dims:?} of {sa:?} do not contract with {other_dims:?} of {sb:?}");
        }
        let keep = |rank: usize, gone: &[usize]| (0..rank).filter(|d| !gone.contains(d)).collect::<Vec<usize>>();
        let (ka, kb) = (keep(sa.len(), &da), keep(sb.len(), &db));
        // a size of 1 against more is a factor of the whole sum
        let (mut x, mut y) = (x.clone(), other.clone());
        for (&i, &j) in da.iter().zip(&db) {
            match (sa[i], sb[j]) {
                (1, n) if n != 1 => y = y.sum_dims(&[j as isize], true)?.to_dtype(y.dtype())?,
                (n, 1) if n != 1 => x = x.sum_dims(&[i as isize], true)?.to_dtype(x.dtype())?,
                _ => {}
            }
        }
        let (sx, sy) = (x.shape(), y.shape());
        let order =
            |first: &[usize], second: &[usize]| first.iter().chain(second).map(|&d| d as isize).collect::<Vec<isize>>();
        let size = |shape: &Dims, dims: &[usize]| numel(&dims.iter().map(|&d| shape[d]).collect::<Vec<_>>());
        let inner = size(&sx, &da);
        let left = x.permute(&order(&ka, &da))?.reshape([size(&sx, &ka), inner])?;
        let right = y.permute(&order(&db, &kb))?.reshape([inner, size(&sy, &kb)])?;
        let mut shape: Dims = ka.iter().map(|&d| sx[d]).collect();
        shape.extend(kb.iter().map(|&d| sy[d]));
        left.matmul(&right)?.reshape(&shape)
    }

    /// Blocks of `other`, each times one element of this tensor: the Kronecker product.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.kron(&calor::Tensor::ones([2, 2], ())?)?.shape()[..], [4, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn kron(&self, other: &Tensor) -> Result<Tensor> {
        let rank = self.dim().max(other.dim());
        let whole = |t: &Tensor| {
            let mut shape = Dims::from_elem(1, rank - t.dim());
            shape.extend_from_slice(&t.shape());
            shape
        };
        let (sa, sb) = (whole(self), whole(other));
        let (mut va, mut vb, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for d in 0..rank {
            va.extend_from_slice(&[sa[d], 1]);
            vb.extend_from_slice(&[1, sb[d]]);
            out.push(sa[d] * sb[d]);
        }
        self.reshape(&va)?.mul(&other.reshape(&vb)?)?.reshape(&out)
    }

    /// The sum of a matrix's diagonal.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.trace()?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn trace(&self) -> Result<Tensor> {
        ranks("trace", &[(self, 2)])?;
        self.diagonal(0, 0, 1)?.sum()
    }

    /// Products of vectors along a dimension: `torch.linalg.vecdot`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.linalg_vecdot(&x, -1)?.to_vec::<f32>()?, [5.0, 25.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_vecdot(&self, other: &Tensor, dim: isize) -> Result<Tensor> {
        let [x, other] = &all_lowered([self, other])?;
        let dtype = DType::promote(x.dtype(), other.dtype());
        let product = x.to_dtype(dtype)?.wide()?.mul(&other.to_dtype(dtype)?.wide()?)?;
        product.sum_dims(&[dim], false)?.to_dtype(dtype)
    }

    /// The diagonal of the last two dimensions, or of others: `torch.linalg.diagonal`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(x.linalg_diagonal(0, -2, -1)?.to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_diagonal(&self, offset: isize, dim1: isize, dim2: isize) -> Result<Tensor> {
        self.diagonal(offset, dim1, dim2)
    }

    /// Cross products of vectors of three elements along a dimension: `torch.linalg.cross`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let (x, y) = (Tensor::new([1.0f32, 0.0, 0.0], ())?, Tensor::new([0.0f32, 1.0, 0.0], ())?);
    /// assert_eq!(x.linalg_cross(&y, -1)?.to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_cross(&self, other: &Tensor, dim: isize) -> Result<Tensor> {
        const OP: &str = "linalg.cross";
        if self.dim() != other.dim() {
            bail!(Dim, OP, "inputs must have the same number of dimensions, got {} and {}", self.dim(), other.dim());
        }
        let d = check_dim(OP, dim, self.dim())?;
        if self.dim() == 0 || self.shape()[d] != 3 || other.shape()[d] != 3 {
            bail!(Shape, OP, "dimension {dim} must have length 3, got {:?} and {:?}", self.shape(), other.shape());
        }
        let at = [d as isize];
        let (a, b) = (|n: isize| self.roll(&[n], &at), |n: isize| other.roll(&[n], &at));
        a(-1)?.mul(&b(-2)?)?.sub(&a(-2)?.mul(&b(-1)?)?)
    }

    /// [`Tensor::linalg_cross`] along `dim`, or else along the first dimension of size 3.
    ///
    /// ```
    /// let (x, y) = (calor::Tensor::new([1.0f32, 0.0, 0.0], ())?, calor::Tensor::new([0.0f32, 1.0, 0.0], ())?);
    /// assert_eq!(x.cross(&y, None)?.to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cross(&self, other: &Tensor, dim: Option<isize>) -> Result<Tensor> {
        match dim.or_else(|| self.shape().iter().position(|&s| s == 3).map(|d| d as isize)) {
            Some(dim) => self.linalg_cross(other, dim),
            None => bail!(Shape, "cross", "no dimension of size 3 in {:?}", self.shape()),
        }
    }

    /// The `p`-norms of the differences of all rows of this matrix and of the other one, in batches.
    ///
    /// ```
    /// let (a, b) = (calor::Tensor::new([[0.0f32, 0.0]], ())?, calor::Tensor::new([[3.0f32, 4.0]], ())?);
    /// assert_eq!(a.cdist(&b, 2.0)?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn cdist(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        let (x, other) = (full(self)?, full(other)?);
        let _off = autocast_off();
        x.distances(&other, p)
    }

    fn distances(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        for t in [self, other] {
            if t.dim() < 2 {
                bail!(Dim, "cdist", "only supports at least 2D tensors, got {}D", t.dim());
            }
        }
        if p < 0.0 {
            bail!(Value, "cdist", "only supports non-negative p values, got {p}");
        }
        let (n, m) = (self.size(-1)?, other.size(-1)?);
        if n != m {
            bail!(Shape, "cdist", "inputs must have the same number of columns, got {n} and {m}");
        }
        // differences that cannot be counted are those of some rows after those of the others
        let (own, more) = (self.shape(), other.shape());
        let lead = broadcast("cdist", &own[..own.len() - 2], &more[..more.len() - 2])?;
        let (rows, columns) = (self.size(-2)?, other.size(-2)?);
        let all = [numel(&lead), rows, columns, n].into_iter().fold(1, usize::saturating_mul);
        if all > MOST && rows.max(columns) > 1 {
            let (parts, dim) = if rows > 1 {
                let halves = self.split(rows.div_ceil(2), -2)?;
                (halves.iter().map(|t| t.distances(other, p)).collect::<Result<Vec<_>>>()?, -2)
            } else {
                let halves = other.split(columns.div_ceil(2), -2)?;
                (halves.iter().map(|t| self.distances(t, p)).collect::<Result<Vec<_>>>()?, -1)
            };
            return cat(&parts.iter().collect::<Vec<_>>(), dim);
        }
        distance(&self.unsqueeze(-2)?.sub(&other.unsqueeze(-3)?)?, p)
    }
}

/// The `p`-norms of differences along the last dimension. As in PyTorch, whose norms do otherwise: of no elements it is 0
/// for every `p`, and for infinite `p` each element as large as the norm has the whole gradient.
pub(crate) fn distance(x: &Tensor, p: f64) -> Result<Tensor> {
    if x.size(-1)? == 0 {
        return x.sum_dims(&[-1], false);
    }
    if !p.is_infinite() {
        return x.vector_norm(p, &[-1], false);
    }
    let out = no_grad(|| x.vector_norm(p, &[-1], false))?;
    Ok(out.with_grad("distance", &[x], |r| {
        let (x, out) = (r.save(x), r.output());
        move |g: &Tensor| {
            let x = x.get()?;
            let largest = x.detach().abs()?.eq(&out.get()?.detach().unsqueeze(-1)?)?;
            Ok(Grads::from_iter([Some(only(&largest, &x.sgn()?.mul(&g.unsqueeze(-1)?)?)?)]))
        }
    }))
}

/// A label of an operand: a letter, or a dimension under the ellipsis, counted from the last.
type Label = u32;
const ELLIPSIS: Label = 1000;

fn labels(text: &str, rank: usize) -> Result<Vec<Label>> {
    const OP: &str = "einsum";
    let text: String = text.split_whitespace().collect();
    let (before, after) = match text.split_once("...") {
        Some((a, b)) => (a.to_string(), Some(b.to_string())),
        None => (text, None),
    };
    let letters = |s: &str| {
        s.chars()
            .map(|c| if c.is_ascii_alphabetic() { Ok(c as Label) } else { bail!(Value, OP, "invalid subscript {c:?}") })
            .collect::<Result<Vec<Label>>>()
    };
    let mut out = letters(&before)?;
    if let Some(after) = after {
        let after = letters(&after)?;
        let Some(hidden) = rank.checked_sub(out.len() + after.len()) else {
            bail!(Dim, OP, "more subscripts than the operand's {rank} dimensions");
        };
        out.extend((0..hidden as Label).rev().map(|k| ELLIPSIS + k));
        out.extend(after);
    }
    if out.len() != rank {
        bail!(Dim, OP, "{} subscripts for an operand of {rank} dimensions", out.len());
    }
    Ok(out)
}

/// One operand with its labels, none of them twice.
struct Term {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Term {
    fn new(mut tensor: Tensor, mut labels: Vec<Label>) -> Result<Self> {
        let mut i = 0;
        while i < labels.len() {
            if let Some(j) = (i + 1..labels.len()).find(|&j| labels[j] == labels[i]) {
                let (a, b) = (tensor.shape()[i], tensor.shape()[j]);
                if a != b {
                    bail!(Shape, "einsum", "a repeated subscript has sizes {a} and {b}");
                }
                tensor = tensor.diagonal(0, i as isize, j as isize)?;
                let label = labels.remove(j);
                labels.remove(i);
                labels.push(label);
            } else {
                i += 1;
            }
        }
        Ok(Self { tensor, labels })
    }

    fn sum_out(self, gone: impl Fn(Label) -> bool) -> Result<Self> {
        let dims: Vec<isize> = (0..self.labels.len()).filter(|&d| gone(self.labels[d])).map(|d| d as isize).collect();
        if dims.is_empty() {
            return Ok(self);
        }
        let tensor = self.tensor.sum_dims(&dims, false)?.to_dtype(self.tensor.dtype())?;
        Ok(Self { tensor, labels: self.labels.into_iter().filter(|&l| !gone(l)).collect() })
    }

    fn ordered(&self, labels: &[Label]) -> Result<Tensor> {
        let at = |l: &Label| self.labels.iter().position(|o| o == l).unwrap_or(0) as isize;
        self.tensor.permute(&labels.iter().map(at).collect::<Vec<_>>())
    }
}

/// Sums of products by Einstein's convention: each operand's dimensions are named by letters, `...` stands for those
/// left over; letters that the result does not name are summed over.
///
/// ```
/// use calor::{Tensor, einsum};
/// let (a, b) = (Tensor::ones([2, 3], ())?, Tensor::ones([3, 4], ())?);
/// assert_eq!(einsum("ij,jk->ik", &[&a, &b])?.to_vec::<f32>()?, [3.0; 8]);
/// assert_eq!(einsum("ij->", &[&a])?.item()?, 6.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn einsum(equation: &str, tensors: &[&Tensor]) -> Result<Tensor> {
    const OP: &str = "einsum";
    let (inputs, output) = match equation.split_once("->") {
        Some((i, o)) => (i, Some(o)),
        None => (equation, None),
    };
    let parts: Vec<&str> = inputs.split(',').collect();
    if parts.len() != tensors.len() || tensors.is_empty() {
        bail!(Value, OP, "{} operands for the {} terms of {equation:?}", tensors.len(), parts.len());
    }
    let mut sizes: Vec<(Label, usize)> = Vec::new();
    let mut terms = Vec::new();
    let mut counts: Vec<(Label, usize)> = Vec::new();
    for (text, t) in parts.iter().zip(tensors) {
        let names = labels(text, t.dim())?;
        for (&l, &size) in names.iter().zip(&t.shape()) {
            match sizes.iter_mut().find(|s| s.0 == l) {
                Some((_, known)) if *known == size || size == 1 => {}
                Some((_, known)) if *known == 1 => *known = size,
                Some((_, known)) => bail!(Shape, OP, "a subscript has sizes {known} and {size} in {equation:?}"),
                None => sizes.push((l, size)),
            }
            match counts.iter_mut().find(|c| c.0 == l) {
                Some(c) => c.1 += 1,
                None => counts.push((l, 1)),
            }
        }
        terms.push((names, lowered(t)?));
    }
    let hidden = sizes.iter().filter(|s| s.0 >= ELLIPSIS).count();
    let wanted: Vec<Label> = match output {
        Some(o) => {
            let named = o.chars().filter(|c| c.is_ascii_alphabetic()).count();
            let wanted = labels(o, named + if o.contains("...") { hidden } else { 0 })?;
            for (i, l) in wanted.iter().enumerate() {
                if wanted[..i].contains(l) || !sizes.iter().any(|s| s.0 == *l) {
                    bail!(Value, OP, "a subscript of the result appears twice or in no operand: {equation:?}");
                }
            }
            wanted
        }
        None => {
            let mut once: Vec<Label> = counts.iter().filter(|c| c.1 == 1 && c.0 < ELLIPSIS).map(|c| c.0).collect();
            once.sort_unstable();
            (0..hidden as Label).rev().map(|k| ELLIPSIS + k).chain(once).collect()
        }
    };
    let size = |l: Label| sizes.iter().find(|s| s.0 == l).map_or(1, |s| s.1);
    let mut rest: Vec<Term> = Vec::new();
    for (names, t) in terms {
        let term = Term::new(t, names)?;
        let full: Dims = term.labels.iter().map(|&l| size(l)).collect();
        rest.push(Term { tensor: term.tensor.expand(&full)?, labels: term.labels });
    }
    rest.reverse();
    let Some(mut sum) = rest.pop() else { bail!(Value, OP, "no operands") };
    while let Some(next) = rest.pop() {
        let later = |l: Label| wanted.contains(&l) || rest.iter().any(|t| t.labels.contains(&l));
        let own: Vec<Label> = next.labels.clone();
        sum = sum.sum_out(|l| !later(l) && !own.contains(&l))?;
        let own: Vec<Label> = sum.labels.clone();
        let next = next.sum_out(|l| !later(l) && !own.contains(&l))?;
        let both = |l: &&Label| next.labels.contains(l);
        let batch: Vec<Label> = sum.labels.iter().filter(both).filter(|l| later(**l)).copied().collect();
        let inner: Vec<Label> = sum.labels.iter().filter(both).filter(|l| !later(**l)).copied().collect();
        let left: Vec<Label> = sum.labels.iter().filter(|l| !next.labels.contains(l)).copied().collect();
        let right: Vec<Label> = next.labels.iter().filter(|l| !sum.labels.contains(l)).copied().collect();
        let all = |ls: &[Label]| ls.iter().map(|&l| size(l)).product::<usize>();
        let a = sum.ordered(&[&batch[..], &left, &inner].concat())?.reshape([all(&batch), all(&left), all(&inner)])?;
        let b =
            next.ordered(&[&batch[..], &inner, &right].concat())?.reshape([all(&batch), all(&inner), all(&right)])?;
        let labels = [&batch[..], &left, &right].concat();
        let shape: Dims = labels.iter().map(|&l| size(l)).collect();
        let tensor = if inner.is_empty() { a.mul(&b)? } else { a.matmul(&b)? };
        sum = Term { tensor: tensor.reshape(&shape)?, labels };
    }
    let sum = sum.sum_out(|l| !wanted.contains(&l))?;
    sum.ordered(&wanted)
}

//! Linear algebra over elimination: solutions, inverses, determinants, the Cholesky factor, powers, the exponential,
//! norms of matrices.

use crate::dtype::{DType, Scalar};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::graph::{Body, IndexOp, Map, Param};
use crate::no_grad;
use crate::ops::join::cat;
use crate::shape::{Dims, broadcast, dims as check_dims, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::autocast_off;
use crate::tensor::grad::{Grads, is_grad_enabled};
use std::sync::Arc;

/// Refuses what is no batch of square matrices of single or double precision.
fn square(op: &str, a: &Tensor) -> Result<usize> {
    let shape = a.shape();
    let [.., n, m] = shape[..] else {
        bail!(Dim, op, "the input tensor must have at least 2 dimensions, got {}", shape.len());
    };
    if n != m {
        bail!(Shape, op, "expected square matrices, got shape {shape:?}");
    }
    if !matches!(a.dtype(), DType::F32 | DType::F64) {
        bail!(DType, op, "expected a tensor of f32 or f64, got {}", a.dtype());
    }
    Ok(n)
}

/// `lead` dimensions and two more.
fn joined(lead: &[usize], rows: usize, columns: usize) -> Dims {
    lead.iter().copied().chain([rows, columns]).collect()
}

fn transposed(a: &Tensor) -> Result<Tensor> {
    a.transpose(-2, -1)
}

fn fault(op: &str, message: &str) -> Param {
    Param::Fault(Arc::new(Error::new(ErrorKind::Value, op, message)))
}

/// The largest of positive numbers along a dimension, 0 of none.
fn largest(x: &Tensor, dim: isize, keepdim: bool) -> Result<Tensor> {
    if x.size(dim)? == 0 { x.sum_dims(&[dim], keepdim) } else { x.amax(&[dim], keepdim) }
}

/// What Gauss-Jordan elimination with row pivoting leaves of `[batch, n, columns]`.
struct Eliminated {
    /// The first `n` columns made those of the identity.
    rows: Tensor,
    /// `[batch, n, 1]`, as found.
    pivots: Tensor,
    /// `[batch, n, 1]`: -1 for each exchange of rows.
    signs: Tensor,
}

/// Matrices of so many rows are eliminated in double precision where there is one: with ill-conditioned ones Gauss-Jordan
/// elimination loses more than a factorization does. So are at most so many elements, right sides among them: doubles take
/// twice the memory.
const FEW_ROWS: usize = 64;
const FEW_ELEMENTS: usize = 1 << 20;

/// What becomes of a pivot that is 0.
#[derive(Clone, Copy, PartialEq)]
enum Zero {
    /// Its row is taken for zeros.
    Kept,
    /// It is reported.
    Reported,
    /// It becomes the dtype's precision: the elimination of a regular matrix nearby.
    Moved,
}

/// The dtype in which `n` columns of `w` are eliminated.
fn eliminated_in(w: &Tensor, n: usize) -> DType {
    let few = n <= FEW_ROWS && w.numel() <= FEW_ELEMENTS;
    if few && w.device().facts().f64 { DType::F64 } else { w.dtype() }
}

/// Eliminates the first `n` columns.
fn eliminate(op: &'static str, w: &Tensor, n: usize, zero: Zero) -> Result<Eliminated> {
    let (own, dtype) = (w.dtype(), eliminated_in(w, n));
    if own != dtype {
        let Eliminated { rows, pivots, signs } = eliminate(op, &w.to_dtype(dtype)?, n, zero)?;
        let [rows, pivots, signs] = [rows, pivots, signs].map(|t| t.to_dtype(own));
        return Ok(Eliminated { rows: rows?, pivots: pivots?, signs: signs? });
    }
    let report = zero == Zero::Reported;
    let shape = w.shape();
    let mut body = Body::new();
    let (batch, row, column) = (body.coord(0), body.coord(1), body.coord(2));
    let (step, first, nothing) = (body.param(0), body.param(1), body.value(2, dtype));
    let below = body.load(1, &[batch, first, first]);
    let below = body.bits(DType::U32, below);
    let pivot_row = body.index(IndexOp::Add, below, step);
    let (is_step, is_pivot) = (body.index(IndexOp::Eq, row, step), body.index(IndexOp::Eq, row, pivot_row));
    let exchanged = body.select(is_pivot, step, row);
    let from = body.select(is_step, pivot_row, exchanged);
    let (value, factor) = (body.load(0, &[batch, from, column]), body.load(0, &[batch, from, step]));
    let (top, pivot) = (body.load(0, &[batch, pivot_row, column]), body.load(0, &[batch, pivot_row, step]));
    let regular = body.call("op_ne", &[pivot, nothing]);
    let scaled = if zero == Zero::Moved {
        let near = body.value(3, dtype);
        let pivot = body.select(regular, pivot, near);
        body.call("op_div", &[top, pivot])
    } else {
        let scaled = body.call("op_div", &[top, pivot]);
        body.select(regular, scaled, nothing)
    };
    let product = body.call("op_mul", &[factor, scaled]);
    let rest = body.call("op_sub", &[value, product]);
    let mut out = body.select(is_step, scaled, rest);
    if report {
        out = body.guard(regular, out, 3);
    }
    let _ = out;
    let map = Arc::new(Map { name: "eliminate".into(), body });
    let precision = if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
    let last = match zero {
        Zero::Kept => None,
        Zero::Reported => Some(fault(op, "the solver failed because the input matrix is singular")),
        Zero::Moved => Some(Param::scalar(Scalar::Float(precision), dtype)),
    };
    let (mut rows, mut pivots, mut signs) = (w.clone(), Vec::new(), Vec::new());
    for k in 0..n {
        let left = rows.narrow(2, k as isize, 1)?.narrow(1, k as isize, n - k)?;
        let at = left.abs()?.argmax(Some(1), true)?;
        let pivot = left.gather(1, &at)?;
        pivots.push(if zero == Zero::Moved { pivot.masked_fill(&pivot.eq(0.0)?, precision)? } else { pivot });
        signs.push(at.eq(0)?.where_(1.0, -1.0)?.to_dtype(dtype)?);
        let params = [Param::index(k as isize), Param::U32(0), Param::scalar(Scalar::Int(0), dtype)];
        let params: Vec<Param> = params.into_iter().chain(last.clone()).collect();
        rows = Tensor::apply(map.clone(), w.device(), (&shape, dtype), &[&rows, &at], &params)?;
    }
    let all = |parts: &[Tensor]| match parts {
        [] => Tensor::ones([shape[0], 0, 1], (dtype, w.device())),
        parts => cat(&parts.iter().collect::<Vec<_>>(), 1),
    };
    Ok(Eliminated { rows, pivots: all(&pivots)?, signs: all(&signs)? })
}

/// `X` in `a X = b`, for batches `[.., n, n]` and `[.., n, m]` with equal leading dimensions.
fn solved(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (shape, n) = (b.shape(), a.size(-1)?);
    let (m, lead) = (shape[shape.len() - 1], numel(&shape[..shape.len() - 2]));
    let out = no_grad(|| {
        if numel(&shape) == 0 {
            return Tensor::zeros(&shape[..], (b.dtype(), b.device()));
        }
        let both = cat(&[&a.reshape([lead, n, n])?, &b.reshape([lead, n, m])?], 2)?;
        eliminate(op, &both, n, Zero::Reported)?.rows.narrow(2, n as isize, m)?.reshape(&shape)
    })?;
    Ok(out.with_grad(op, &[a, b], |r| {
        let (a, x) = (r.save(a), r.output());
        move |g: &Tensor| {
            let gb = solved(op, &transposed(&a.get()?)?, g)?;
            let ga = gb.matmul(&transposed(&x.get()?)?)?.neg()?;
            Ok(Grads::from_iter([Some(ga), Some(gb)]))
        }
    }))
}

/// Rows that one kernel substitutes.
const ROWS: usize = 8;

/// `X` in `a X = b` by substitution: only one triangle of `a` is read, a 0 on its diagonal gives infinities.
fn substituted(a: &Tensor, b: &Tensor, upper: bool, unit: bool) -> Result<Tensor> {
    let (shape, n) = (b.shape(), a.size(-1)?);
    let (m, lead) = (shape[shape.len() - 1], numel(&shape[..shape.len() - 2]));
    if numel(&shape) == 0 {
        return Tensor::zeros(&shape[..], (b.dtype(), b.device()));
    }
    by_halves(&a.reshape([lead, n, n])?, &b.reshape([lead, n, m])?, upper, unit)?.reshape(&shape)
}

/// The same for batches `[lead, n, n]` and `[lead, n, m]`: one half of the rows, whose part in the others a product takes
/// away.
fn by_halves(a: &Tensor, b: &Tensor, upper: bool, unit: bool) -> Result<Tensor> {
    let n = a.size(-1)?;
    if n <= ROWS {
        return substituted_rows(a, b, upper, unit);
    }
    let half = (n / 2).next_multiple_of(ROWS);
    let range = |late: bool| if late { (half as isize, n - half) } else { (0, half) };
    let block = |row: bool, column: bool| {
        let ((r, rows), (c, columns)) = (range(row), range(column));
        a.narrow(1, r, rows)?.narrow(2, c, columns)
    };
    let right = |late: bool| b.narrow(1, range(late).0, range(late).1);
    let first = by_halves(&block(upper, upper)?, &right(upper)?, upper, unit)?;
    let rest = right(!upper)?.sub(&block(!upper, upper)?.matmul(&first)?)?;
    let second = by_halves(&block(!upper, !upper)?, &rest, upper, unit)?;
    cat(&if upper { [&second, &first] } else { [&first, &second] }, 1)
}

/// The same for a few rows, in one map: each element computes those before its own.
fn substituted_rows(a: &Tensor, b: &Tensor, upper: bool, unit: bool) -> Result<Tensor> {
    let n = a.size(-1)?;
    let mut body = Body::new();
    let (batch, row, column) = (body.coord(0), body.coord(1), body.coord(2));
    let at = |k: usize| if upper { n - 1 - k } else { k };
    let places: Vec<_> = (0..n).map(|k| body.param(k)).collect();
    let mut found: Vec<u16> = Vec::with_capacity(n);
    let mut out = None;
    for i in 0..n {
        let here = places[at(i)];
        let mut value = body.load(0, &[batch, here, column]);
        for (j, &known) in found.iter().enumerate() {
            let factor = body.load(1, &[batch, here, places[at(j)]]);
            let product = body.call("op_mul", &[factor, known]);
            value = body.call("op_sub", &[value, product]);
        }
        if !unit {
            let pivot = body.load(1, &[batch, here, here]);
            value = body.call("op_div", &[value, pivot]);
        }
        found.push(value);
        out = Some(match out {
            None => value,
            Some(before) => {
                let own = body.index(IndexOp::Eq, row, here);
                body.select(own, value, before)
            }
        });
    }
    let map = Arc::new(Map { name: "substitute".into(), body });
    let params: Vec<Param> = (0..n).map(|k| Param::index(k as isize)).collect();
    Tensor::apply(map, b.device(), (&b.shape(), b.dtype()), &[b, a], &params)
}

/// [`solved`], with leading dimensions broadcast.
fn solved_broadcast(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = aligned(op, a, b)?;
    solved(op, &a, &b)
}

/// Both with their leading dimensions broadcast.
fn aligned(op: &'static str, a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = square(op, a)?;
    if a.dtype() != b.dtype() {
        bail!(DType, op, "expected A and B to have the same dtype, got {} and {}", a.dtype(), b.dtype());
    }
    let (sa, sb) = (a.shape(), b.shape());
    let [.., rows, m] = sb[..] else {
        bail!(Dim, op, "B must have at least 2 dimensions, got {}", sb.len());
    };
    if rows != n {
        bail!(Shape, op, "incompatible shapes of A and B for the equation AX = B, {sa:?} and {sb:?}");
    }
    let lead = broadcast(op, &sa[..sa.len() - 2], &sb[..sb.len() - 2])?;
    Ok((a.expand(joined(&lead, n, n))?, b.expand(joined(&lead, n, m))?))
}

/// The product of pivots and signs of a batch of square matrices: what determinants are made of.
fn pivots(op: &'static str, a: &Tensor) -> Result<(Tensor, Tensor, Dims)> {
    let n = square(op, a)?;
    let shape = a.shape();
    let lead = Dims::from_slice(&shape[..shape.len() - 2]);
    let e = eliminate(op, &a.reshape([numel(&lead), n, n])?, n, Zero::Kept)?;
    Ok((e.pivots, e.signs, lead))
}

/// The cofactors of square matrices, singular ones too: the determinant times the transposed inverse of a regular matrix
/// nearby, in the dtype of the elimination, since one is as small as the other is large.
fn cofactors(a: &Tensor) -> Result<Tensor> {
    let (shape, n) = (a.shape(), a.size(-1)?);
    if a.numel() == 0 {
        return Ok(a.clone());
    }
    let a = a.reshape([a.numel() / (n * n), n, n])?;
    let both = cat(&[&a, &Tensor::eye(n, n, (a.dtype(), a.device()))?.expand(a.shape())?], 2)?;
    let e = eliminate("linalg.det", &both.to_dtype(eliminated_in(&both, n))?, n, Zero::Moved)?;
    let det = e.pivots.mul(&e.signs)?.prod_dim(1, true)?;
    transposed(&e.rows.narrow(2, n as isize, n)?.mul(&det)?)?.to_dtype(a.dtype())?.reshape(&shape)
}

/// The order of a norm of matrices.
///
/// ```
/// use calor::{NormOrder, Tensor};
/// let a = Tensor::new([[3.0f32, 0.0], [0.0, -4.0]], ())?;
/// let norm = |order| a.linalg_matrix_norm(order, [0, 1], false)?.item();
/// assert_eq!((norm(NormOrder::Fro)?, norm(NormOrder::P(1.0))?), (5.0, 4.0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormOrder {
    /// The root of the sum of squares.
    Fro,
    /// Of a matrix: the sum of singular values.
    Nuc,
    /// Of a vector: the order of [`Tensor::vector_norm`]. Of a matrix: 1 and infinity for the largest sum of absolute
    /// values of a column and of a row, 2 for the largest singular value, negative for the smallest.
    P(f64),
}

impl Tensor {
    /// `X` in `self X = b`, or in `X self = b` unless `left`, in batches; `b` may be a vector if `left`, or a batch of them
    /// with exactly this batch's shape: `torch.linalg.solve`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let a = Tensor::new([[2.0f32, 0.0], [0.0, 4.0]], ())?;
    /// assert_eq!(a.linalg_solve(&Tensor::new([2.0f32, 8.0], ())?, true)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where a matrix is singular.
    pub fn linalg_solve(&self, b: &Tensor, left: bool) -> Result<Tensor> {
        const OP: &str = "linalg.solve";
        square(OP, self)?;
        let (sa, sb) = (self.shape(), b.shape());
        let vector = sb.len() == 1 || sb[..] == sa[..sa.len() - 1];
        if vector && !left {
            bail!(Shape, OP, "incompatible shapes of A and B for the equation XA = B, {sa:?} and {sb:?}");
        }
        if vector {
            return solved_broadcast(OP, self, &b.unsqueeze(-1)?)?.squeeze_dim(-1);
        }
        if left {
            return solved_broadcast(OP, self, b);
        }
        transposed(&solved_broadcast(OP, &transposed(self)?, &transposed(b)?)?)
    }

    /// `X` in `self X = b`, or in `X self = b` unless `left`, where only the upper or lower triangle of this tensor
    /// counts, with ones on its diagonal if `unitriangular`: `torch.linalg.solve_triangular`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let a = Tensor::new([[2.0f32, 0.0], [1.0, 4.0]], ())?;
    /// let x = a.linalg_solve_triangular(&Tensor::new([[2.0f32], [9.0]], ())?, false, true, false)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_solve_triangular(&self, b: &Tensor, upper: bool, left: bool, unitriangular: bool) -> Result<Tensor> {
        const OP: &str = "linalg.solve_triangular";
        square(OP, self)?;
        if !left {
            let x = transposed(self)?.linalg_solve_triangular(&transposed(b)?, !upper, true, unitriangular)?;
            return transposed(&x);
        }
        let (a, b) = aligned(OP, self, b)?;
        let _off = autocast_off();
        let x = no_grad(|| substituted(&a, &b, upper, unitriangular))?;
        Ok(x.with_grad(OP, &[&a, &b], |r| {
            let (a, x) = (r.save(&a), r.output());
            move |g: &Tensor| {
                let gb = transposed(&a.get()?)?.linalg_solve_triangular(g, !upper, true, unitriangular)?;
                let ga = gb.matmul(&transposed(&x.get()?)?)?.neg()?;
                let inner = isize::from(unitriangular);
                Ok(Grads::from_iter([Some(if upper { ga.triu(inner)? } else { ga.tril(-inner)? }), Some(gb)]))
            }
        }))
    }

    /// The inverses of square matrices: `torch.linalg.inv`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[2.0f32, 0.0], [0.0, 4.0]], ())?;
    /// assert_eq!(x.inverse()?.to_vec::<f32>()?, [0.5, 0.0, 0.0, 0.25]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where a matrix is singular.
    pub fn inverse(&self) -> Result<Tensor> {
        const OP: &str = "linalg.inv";
        let n = square(OP, self)?;
        let eye = Tensor::eye(n, n, (self.dtype(), self.device()))?;
        solved(OP, self, &eye.expand(self.shape())?)
    }

    /// [`Tensor::inverse`] under its other name.
    ///
    /// ```
    /// let x = calor::Tensor::new([[2.0f32, 0.0], [0.0, 4.0]], ())?;
    /// assert_eq!(x.linalg_inv()?.to_vec::<f32>()?, [0.5, 0.0, 0.0, 0.25]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_inv(&self) -> Result<Tensor> {
        self.inverse()
    }

    /// The determinants of square matrices.
    ///
    /// ```
    /// let a = calor::Tensor::new([[0.0f32, 2.0], [3.0, 4.0]], ())?;
    /// assert_eq!(a.det()?.item()?, -6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn det(&self) -> Result<Tensor> {
        if square("linalg.det", self)? == 1 {
            let shape = self.shape();
            return self.reshape(&shape[..shape.len() - 2])?.apart_from(self);
        }
        let out = no_grad(|| {
            let (pivots, signs, lead) = pivots("linalg.det", self)?;
            pivots.mul(&signs)?.prod_dim(1, false)?.reshape(&lead)
        })?;
        Ok(out.with_grad("det", &[self], |r| {
            let (a, det) = (r.save(self), r.output());
            move |g: &Tensor| {
                // what is differentiated again needs the inverse
                if !is_grad_enabled() {
                    let g = g.unsqueeze(-1)?.unsqueeze(-1)?;
                    return Ok(Grads::from_iter([Some(cofactors(&a.get()?)?.mul(&g)?)]));
                }
                let g = g.mul(&det.get()?)?.unsqueeze(-1)?.unsqueeze(-1)?;
                Ok(Grads::from_iter([Some(transposed(&a.get()?.inverse()?)?.mul(&g)?)]))
            }
        }))
    }

    /// The signs of determinants, and the logarithms of their absolute values: `torch.linalg.slogdet`.
    ///
    /// ```
    /// let (sign, log) = calor::Tensor::new([[0.0f32, 2.0], [3.0, 4.0]], ())?.slogdet()?;
    /// assert!(sign.item()? == -1.0 && (log.item()? - 6f64.ln()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn slogdet(&self) -> Result<(Tensor, Tensor)> {
        let (sign, log) = no_grad(|| {
            let (pivots, signs, lead) = pivots("linalg.slogdet", self)?;
            let sign = pivots.sgn()?.mul(&signs)?.prod_dim(1, false)?.reshape(&lead)?;
            let log = pivots.abs()?.log()?.sum_dims(&[1], false)?.reshape(&lead)?;
            Ok::<_, Error>((sign, log))
        })?;
        let log = log.with_grad("slogdet", &[self], |r| {
            let a = r.save(self);
            move |g: &Tensor| {
                let g = g.unsqueeze(-1)?.unsqueeze(-1)?;
                Ok(Grads::from_iter([Some(transposed(&a.get()?.inverse()?)?.mul(&g)?)]))
            }
        });
        Ok((sign, log))
    }

    /// The logarithms of determinants; NaN where one is negative.
    ///
    /// ```
    /// let x = calor::Tensor::new([[2.0f32, 0.0], [0.0, 4.0]], ())?;
    /// assert!((x.logdet()?.item()? - 8f64.ln()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logdet(&self) -> Result<Tensor> {
        let (sign, log) = self.slogdet()?;
        sign.eq(-1.0)?.where_(f64::NAN, &log)?.to_dtype(self.dtype())
    }

    /// `L` in `self = L L^T` for symmetric positive definite matrices, of which the lower triangle is read; with
    /// `upper`, `L^T`, read from the upper one: `torch.linalg.cholesky`.
    ///
    /// ```
    /// let x = calor::Tensor::new([[4.0f32, 2.0], [2.0, 2.0]], ())?;
    /// assert_eq!(x.linalg_cholesky(false)?.to_vec::<f32>()?, [2.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where a matrix is not positive definite.
    pub fn linalg_cholesky(&self, upper: bool) -> Result<Tensor> {
        const OP: &str = "linalg.cholesky";
        let n = square(OP, self)?;
        if upper {
            return transposed(&transposed(self)?.linalg_cholesky(false)?);
        }
        let (shape, dtype) = (self.shape(), self.dtype());
        let lower = no_grad(|| {
            if numel(&shape) == 0 {
                return Tensor::zeros(&shape[..], (dtype, self.device()));
            }
            let mut body = Body::new();
            let (pivot, zero) = (body.input(0), body.value(0, dtype));
            let positive = body.call("op_gt", &[pivot, zero]);
            body.guard(positive, pivot, 1);
            let check = Arc::new(Map { name: "positive".into(), body });
            let params = [Param::scalar(Scalar::Int(0), dtype), fault(OP, "the input is not positive-definite")];
            let batch = numel(&shape) / (n * n);
            let half = self.reshape([batch, n, n])?;
            let mut rest = half.tril(0)?.add(&transposed(&half.tril(-1)?)?)?;
            let mut columns = Vec::with_capacity(n);
            for k in 0..n {
                let column = rest.narrow(2, k as isize, 1)?;
                let pivot = column.narrow(1, k as isize, 1)?;
                let pivot = Tensor::apply(check.clone(), self.device(), (&[batch, 1, 1], dtype), &[&pivot], &params)?;
                let column = column.div(&pivot.sqrt()?)?;
                rest = rest.sub(&column.mul(&transposed(&column)?)?)?;
                columns.push(column);
            }
            cat(&columns.iter().collect::<Vec<_>>(), 2)?.tril(0)?.reshape(&shape)
        })?;
        Ok(lower.with_grad(OP, &[self], |r| {
            let l = r.output();
            move |g: &Tensor| {
                // L^-T sym(phi) L^-1, phi being the lower triangle of L^T g with half its diagonal (Murray 2016)
                let l = l.get()?;
                let x = transposed(&l)?.matmul(g)?;
                let sym = x.tril(0)?.add(&transposed(&x.tril(-1)?)?)?.mul(0.5)?;
                let inverse = l.inverse()?;
                Ok(Grads::from_iter([Some(transposed(&inverse)?.matmul(&sym)?.matmul(&inverse)?)]))
            }
        }))
    }

    /// Square matrices multiplied `n` times with themselves; with the inverse, where `n` is negative.
    ///
    /// ```
    /// let x = calor::Tensor::new([[1.0f32, 1.0], [0.0, 1.0]], ())?;
    /// assert_eq!(x.matrix_power(3)?.to_vec::<f32>()?, [1.0, 3.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn matrix_power(&self, n: i64) -> Result<Tensor> {
        const OP: &str = "linalg.matrix_power";
        let shape = self.shape();
        let [.., rows, columns] = shape[..] else {
            bail!(Dim, OP, "the input tensor must have at least 2 dimensions, got {}", shape.len());
        };
        if rows != columns {
            bail!(Shape, OP, "expected square matrices, got shape {shape:?}");
        }
        if n == 0 {
            return Tensor::eye(rows, rows, (self.dtype(), self.device()))?.expand(&shape)?.contiguous();
        }
        let mut square = if n < 0 { self.inverse()? } else { self.clone() };
        let (mut left, mut out) = (n.unsigned_abs(), None::<Tensor>);
        loop {
            if left & 1 == 1 {
                out = Some(match out {
                    Some(out) => out.matmul(&square)?,
                    None => square.clone(),
                });
            }
            left >>= 1;
            match out {
                Some(out) if left == 0 => return out.apart_from(self),
                _ => square = square.matmul(&square)?,
            }
        }
    }

    /// `sum_k self^k / k!` for square matrices, by scaling and squaring; waits for the matrices' norm.
    ///
    /// ```
    /// let x = calor::Tensor::new([[0.0f32, 1.0], [0.0, 0.0]], ())?;
    /// assert_eq!(x.matrix_exp()?.to_vec::<f32>()?, [1.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn matrix_exp(&self) -> Result<Tensor> {
        const OP: &str = "matrix_exp";
        let n = square(OP, self)?;
        if self.numel() == 0 {
            return self.try_clone();
        }
        // each matrix is halved until its norm is at most 3; what the terms leave out lies below the dtype's precision
        let halvings = no_grad(|| {
            let norm = self.abs()?.sum_dims(&[-2], true)?.amax(&[-1], true)?;
            let halvings = norm.div(3.0)?.log2()?.ceil()?.clamp_min(0.0)?;
            norm.isfinite()?.where_(&halvings, 0.0)
        })?;
        let most = halvings.max()?.item()? as usize;
        let terms = if self.dtype() == DType::F64 { 27 } else { 18 };
        let x = self.mul(&halvings.neg()?.exp2()?)?;
        let eye = Tensor::eye(n, n, (self.dtype(), self.device()))?;
        let mut sum = x.div(terms)?.add(&eye)?;
        for k in (1..terms).rev() {
            sum = x.matmul(&sum)?.div(k)?.add(&eye)?;
        }
        for done in 0..most {
            // a square that is not wanted must not overflow: its gradient would be NaN
            let wanted = halvings.gt(done)?;
            let base = wanted.where_(&sum, 0.0)?;
            sum = wanted.where_(&base.matmul(&base)?, &sum)?;
        }
        Ok(sum)
    }

    /// Norms of the matrices in two dimensions: `torch.linalg.matrix_norm`.
    ///
    /// ```
    /// use calor::{NormOrder, Tensor};
    /// let a = Tensor::new([[0.0f32, 3.0], [-2.0, 0.0]], ())?;
    /// assert_eq!(a.linalg_matrix_norm(NormOrder::Nuc, [-2, -1], false)?.item()?, 5.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_matrix_norm(&self, order: NormOrder, dims: [isize; 2], keepdim: bool) -> Result<Tensor> {
        const OP: &str = "linalg.matrix_norm";
        if self.dim() < 2 {
            bail!(Dim, OP, "the input tensor must have at least 2 dimensions, got {}", self.dim());
        }
        let at = check_dims(OP, &dims, self.dim())?;
        let p = match order {
            NormOrder::Fro => return self.vector_norm(2.0, &dims, keepdim),
            NormOrder::Nuc => return self.singular_norm(&at, keepdim, |s| s.sum_dims(&[-1], false)),
            NormOrder::P(2.0) => return self.singular_norm(&at, keepdim, |s| largest(s, -1, false)),
            NormOrder::P(-2.0) => return self.singular_norm(&at, keepdim, |s| s.amin(&[-1], false)),
            NormOrder::P(p) => p,
        };
        let (first, second) = match p.abs() {
            1.0 => (at[0], at[1]),
            f64::INFINITY => (at[1], at[0]),
            _ => bail!(Value, OP, "order {p} is not supported"),
        };
        let sums = self.vector_norm(1.0, &[first as isize], true)?;
        let second = second as isize;
        let out = if p > 0.0 { largest(&sums, second, true)? } else { sums.amin(&[second], true)? };
        if keepdim { Ok(out) } else { out.squeeze_dims(&[at[0] as isize, at[1] as isize]) }
    }

    /// `join` of the singular values of the matrices in the dimensions `at`.
    fn singular_norm(&self, at: &[usize], keep: bool, join: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let order = (0..self.dim()).filter(|d| !at.contains(d)).chain(at.iter().copied());
        let out = join(&self.permute(&order.map(|d| d as isize).collect::<Vec<_>>())?.linalg_svdvals()?)?;
        if !keep {
            return Ok(out);
        }
        let shape = self.shape();
        out.reshape((0..self.dim()).map(|d| if at.contains(&d) { 1 } else { shape[d] }).collect::<Dims>())
    }

    /// Norms of vectors (one dimension) or matrices (two): `torch.linalg.norm`. Without dimensions, those of the whole
    /// tensor; without order, the root of the sum of squares of any number of dimensions.
    ///
    /// ```
    /// use calor::{NormOrder, Tensor};
    /// let x = Tensor::new([3.0f32, -4.0], ())?;
    /// assert_eq!(x.linalg_norm(None, None, false)?.item()?, 5.0);
    /// assert_eq!(x.linalg_norm(Some(NormOrder::P(1.0)), None, false)?.item()?, 7.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_norm(&self, order: Option<NormOrder>, dims: Option<&[isize]>, keepdim: bool) -> Result<Tensor> {
        const OP: &str = "linalg.norm";
        let Some(order) = order else {
            return self.vector_norm(2.0, dims.unwrap_or(&[]), keepdim);
        };
        let all: Vec<isize> = (0..self.dim() as isize).collect();
        match (dims.unwrap_or(&all), order) {
            ([dim], NormOrder::P(p)) => self.vector_norm(p, &[*dim], keepdim),
            (&[a, b], order) => self.linalg_matrix_norm(order, [a, b], keepdim),
            (dims, order) => bail!(Dim, OP, "order {order:?} over {} dimensions is not defined", dims.len()),
        }
    }
}

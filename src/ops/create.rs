//! Tensors made of nothing: constants, ranges, identity matrices.

use super::arg::Arg;
use super::build::Build;
use crate::dtype::{Category, DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::{IndexOp, Map, Param};
use crate::shape::checked_numel;
use crate::tensor::{Options, Tensor};
use std::sync::Arc;

/// How many steps lead from `start` to before `end`.
fn steps(start: Scalar, end: Scalar, step: Scalar) -> Result<usize> {
    let (a, b, s) = (start.as_f64(), end.as_f64(), step.as_f64());
    if s == 0.0 {
        bail!(Value, "arange", "step must be nonzero");
    }
    if !a.is_finite() || !b.is_finite() || s.is_nan() {
        bail!(Value, "arange", "unsupported range: {a} -> {b} by {s}");
    }
    if (s > 0.0 && a > b) || (s < 0.0 && a < b) {
        bail!(Value, "arange", "upper bound and lower bound inconsistent with step sign: {a} -> {b} by {s}");
    }
    let whole = [start, end, step].iter().all(|s| s.category() == Category::Int);
    let count = if whole {
        let (a, b, s) = (i128::from(start.as_i64()), i128::from(end.as_i64()), i128::from(step.as_i64()));
        let gap = (b - a).abs();
        ((gap + s.abs() - 1) / s.abs()) as f64
    } else {
        ((b - a) / s).ceil()
    };
    if count >= f64::from(u32::MAX) {
        bail!(OutOfMemory, "arange", "a range of {count} elements has more than can be addressed");
    }
    Ok(count as usize)
}

fn pow(base: f64, x: f64) -> f64 {
    if base == 2.0 { x.exp2() } else { base.powf(x) }
}

impl Tensor {
    /// All elements 0; `f32` unless the options say otherwise.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2], calor::DType::I32)?.to_vec::<i32>()?, [0, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn zeros(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        Self::constant(shape.as_ref(), Scalar::Int(0), options.dtype_or(DType::F32), &options.device()?)
    }

    /// All elements 1; `f32` unless the options say otherwise.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::ones([2], ())?.to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn ones(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        Self::constant(shape.as_ref(), Scalar::Int(1), options.dtype_or(DType::F32), &options.device()?)
    }

    /// All elements `value`, whose type gives the dtype unless the options do.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::full([2], 0.5, ())?.to_vec::<f32>()?, [0.5, 0.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn full(shape: impl AsRef<[usize]>, value: impl Into<Scalar>, options: impl Into<Options>) -> Result<Tensor> {
        let (options, value) = (options.into(), value.into());
        let dtype = options.dtype_or(value.dtype());
        Arg::Scalar(value).fits("full", dtype)?;
        Self::constant(shape.as_ref(), value, dtype, &options.device()?)
    }

    /// Zeros of this shape, dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::ones([2, 3], calor::DType::F16)?.zeros_like()?;
    /// assert_eq!((&x.shape()[..], x.dtype()), (&[2, 3][..], calor::DType::F16));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn zeros_like(&self) -> Result<Tensor> {
        Self::zeros(self.shape(), (self.dtype(), self.device()))
    }

    /// Ones of this shape, dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.ones_like()?.to_vec::<f32>()?, [1.0, 1.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn ones_like(&self) -> Result<Tensor> {
        Self::ones(self.shape(), (self.dtype(), self.device()))
    }

    /// One value in this shape, dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.full_like(7)?.to_vec::<f32>()?, [7.0, 7.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn full_like(&self, value: impl Into<Scalar>) -> Result<Tensor> {
        Self::full(self.shape(), value, (self.dtype(), self.device()))
    }

    /// Zeros of this dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.new_zeros([2])?.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new_zeros(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        Self::zeros(shape, (self.dtype(), self.device()))
    }

    /// Ones of this dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 2], ())?;
    /// assert_eq!(x.new_ones([3])?.to_vec::<i32>()?, [1, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new_ones(&self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        Self::ones(shape, (self.dtype(), self.device()))
    }

    /// One value in this dtype and device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32], ())?;
    /// assert_eq!(x.new_full([2], 7)?.to_vec::<f32>()?, [7.0, 7.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new_full(&self, shape: impl AsRef<[usize]>, value: impl Into<Scalar>) -> Result<Tensor> {
        Self::full(shape, value, (self.dtype(), self.device()))
    }

    /// `start, start + step, ..` before `end`; whole numbers give `i32` unless the options say otherwise.
    ///
    /// ```
    /// use calor::Tensor;
    /// assert_eq!(Tensor::arange(1, 8, 3, ())?.to_vec::<i32>()?, [1, 4, 7]);
    /// assert_eq!(Tensor::arange(0.0, 1.0, 0.5, ())?.to_vec::<f32>()?, [0.0, 0.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn arange(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        step: impl Into<Scalar>,
        options: impl Into<Options>,
    ) -> Result<Tensor> {
        let (start, end, step, options) = (start.into(), end.into(), step.into(), options.into());
        let n = steps(start, end, step)?;
        let whole = [start, end, step].iter().all(|s| s.category() != Category::Float);
        let dtype = options.dtype_or(if whole { DType::I32 } else { DType::F32 });
        if dtype == DType::Bool {
            bail!(DType, "arange", "is not supported for bool");
        }
        let device = options.device()?;
        if n == 0 {
            return Self::zeros([0], (dtype, &device));
        }
        let exact = |s: Scalar| s.as_f64().fract() == 0.0 && s.as_f64().abs() < 2e9;
        let last = start.as_f64() + step.as_f64() * (n - 1) as f64;
        let small = exact(start) && exact(step) && last.abs() < 2e9;
        let whole_type = dtype.is_int() && dtype != DType::I64;
        let mut b = Build::default();
        let at = b.body.flat();
        if small || whole_type {
            let (from, by) = (b.number(start.as_i64() as isize), b.number(step.as_i64() as isize));
            let way = b.op(IndexOp::Mul, at, by);
            let sum = b.op(IndexOp::Add, from, way);
            let signed = b.body.bits(DType::I32, sum);
            b.body.cast(dtype, signed);
        } else {
            let ty = dtype.compute();
            let at = b.body.cast(ty, at);
            b.params.extend([Param::scalar(start, ty), Param::scalar(step, ty)]);
            let (from, by) = (b.params.len() - 2, b.params.len() - 1);
            let (from, by) = (b.body.value(from, ty), b.body.value(by, ty));
            let way = b.body.call("op_mul", &[at, by]);
            b.body.call("op_add", &[from, way]);
        }
        let map = Arc::new(Map { name: "arange".into(), body: b.body });
        Tensor::apply(map, &device, (&[n], dtype), &[], &b.params)
    }

    /// `steps` numbers from `start` to `end` at equal distances, both included.
    ///
    /// ```
    /// use calor::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 3, ())?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linspace(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        steps: usize,
        options: impl Into<Options>,
    ) -> Result<Tensor> {
        spaced("linspace", start.into(), end.into(), steps, &options.into(), |x| x)
    }

    /// `base` to the powers that [`Tensor::linspace`] gives.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::logspace(0, 2, 3, 10.0, ())?.to_vec::<f32>()?, [1.0, 10.0, 100.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn logspace(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        steps: usize,
        base: f64,
        options: impl Into<Options>,
    ) -> Result<Tensor> {
        spaced("logspace", start.into(), end.into(), steps, &options.into(), |x| pow(base, x))
    }

    /// The `rows x columns` matrix with ones on its diagonal.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::eye(2, 3, ())?.to_vec::<f32>()?, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn eye(rows: usize, columns: usize, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let (dtype, device) = (options.dtype_or(DType::F32), options.device()?);
        let mut b = Build::default();
        let (i, j) = (b.body.coord(0), b.body.coord(1));
        let same = b.op(IndexOp::Eq, i, j);
        b.body.cast(dtype, same);
        let map = Arc::new(Map { name: "eye".into(), body: b.body });
        Tensor::apply(map, &device, (&[rows, columns], dtype), &[], &b.params)
    }

    /// The powers `0 .. n` of each element along a new last dimension: `torch.linalg.vander`. Without `n`, as many as
    /// the last dimension has elements.
    ///
    /// ```
    /// let x = calor::Tensor::new([2, 3], ())?;
    /// assert_eq!(x.linalg_vander(Some(3))?.to_vec::<i32>()?, [1, 2, 4, 1, 3, 9]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn linalg_vander(&self, n: Option<usize>) -> Result<Tensor> {
        let n = match n {
            Some(n) => n,
            None => self.size(-1)?,
        };
        if n < 2 {
            bail!(Value, "linalg.vander", "N must be greater than 1, got {n}");
        }
        let x = self.atleast_1d()?;
        let mut shape = x.shape();
        shape.push(n - 1);
        let dtype = if self.dtype() == DType::Bool { DType::I32 } else { self.dtype() };
        let powers = x.to_dtype(dtype)?.unsqueeze(-1)?.expand(&shape)?.cumprod(-1)?;
        let last = shape.len() - 1;
        shape[last] = 1;
        super::join::cat(&[&powers.new_ones(&shape)?, &powers], -1)
    }
}

/// Numbers at equal distances, computed in double precision on the host and sent through `f`.
fn spaced(
    op: &'static str,
    start: Scalar,
    end: Scalar,
    steps: usize,
    options: &Options,
    f: impl Fn(f64) -> f64,
) -> Result<Tensor> {
    let dtype = options.dtype_or(DType::F32);
    let device = options.device()?;
    checked_numel(op, &[steps])?;
    if dtype == DType::Bool {
        bail!(DType, op, "is not supported for bool");
    }
    let (a, b) = (start.as_f64(), end.as_f64());
    let step = if steps > 1 { (b - a) / (steps - 1) as f64 } else { 0.0 };
    // from both ends, so that both are exact
    let at =
        |i: usize| if i < steps / 2 || steps == 1 { a + step * i as f64 } else { b - step * (steps - 1 - i) as f64 };
    let values = (0..steps).map(|i| f(at(i)));
    match dtype {
        DType::F64 => Tensor::from_slice(&values.collect::<Vec<f64>>(), [steps], &device),
        DType::I64 => Tensor::from_slice(&values.map(|v| v as i64).collect::<Vec<i64>>(), [steps], &device),
        d if d.is_int() => {
            Tensor::from_slice(&values.map(|v| v as i64 as i32).collect::<Vec<i32>>(), [steps], &device)?.to_dtype(d)
        }
        d => Tensor::from_slice(&values.map(|v| v as f32).collect::<Vec<f32>>(), [steps], &device)?.to_dtype(d),
    }
}

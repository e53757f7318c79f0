//! Random numbers of other distributions, made from uniform and normal ones.

use super::arg::{Arg, device_of, meet};
use super::build::checked;
use super::random::held;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;
use std::f64::consts::PI;

impl Tensor {
    /// Uniform numbers above 0 up to 1, of this shape, in the dtype this is computed in.
    fn uniform_open(&self) -> Result<Tensor> {
        let dtype = match self.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        1.0 - Tensor::rand(self.shape(), (dtype, self.device()))?
    }

    fn refuse_integers(&self, op: &str) -> Result<()> {
        if !self.dtype().is_float() {
            bail!(DType, op, "is not supported for {}; expected a float", self.dtype());
        }
        Ok(())
    }

    /// Exponential random numbers of mean `1 / lambda` in place: `-ln(u) / lambda`.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], ())?.exponential_(2.0)?;
    /// assert!(t.to_vec::<f32>()?.iter().all(|&x| x >= 0.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `lambda` is not above 0, `DType` for integers.
    pub fn exponential_(&self, lambda: f64) -> Result<Tensor> {
        const OP: &str = "exponential_";
        self.refuse_integers(OP)?;
        if lambda <= 0.0 || lambda.is_nan() {
            bail!(Value, OP, "expects lambda > 0.0, but found lambda={lambda}");
        }
        self.copy_(&(self.uniform_open()?.log()? * (-1.0 / lambda))?)
    }

    /// `e^x` for normal random numbers `x` of this mean and standard deviation, in place.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], ())?.log_normal_(0.0, 0.5)?;
    /// assert!(t.to_vec::<f32>()?.iter().all(|&x| x > 0.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `std` is not above 0, `DType` for integers.
    pub fn log_normal_(&self, mean: f64, std: f64) -> Result<Tensor> {
        const OP: &str = "log_normal_";
        self.refuse_integers(OP)?;
        if std <= 0.0 || std.is_nan() {
            bail!(Value, OP, "expects std > 0.0, but found std={std}");
        }
        let normal = Tensor::randn(self.shape(), (self.dtype().compute(), self.device()))?;
        self.copy_(&((normal * std)? + mean)?.exp()?)
    }

    /// Cauchy random numbers in place: `median + sigma tan(pi (u - 1/2))`.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], ())?.cauchy_(5.0, 1e-6)?;
    /// assert!((t.median()?.item()? - 5.0).abs() < 1e-3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `sigma` is not above 0, `DType` for integers.
    pub fn cauchy_(&self, median: f64, sigma: f64) -> Result<Tensor> {
        const OP: &str = "cauchy_";
        self.refuse_integers(OP)?;
        if sigma <= 0.0 || sigma.is_nan() {
            bail!(Value, OP, "expects sigma > 0.0, but found sigma={sigma}");
        }
        let angle = ((self.uniform_open()? - 0.5)? * PI)?;
        self.copy_(&((angle.tan()? * sigma)? + median)?)
    }

    /// How many trials of probability `p` it takes until the first succeeds, in place: `ceil(ln u / ln(1 - p))`.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], ())?.geometric_(0.5)?;
    /// assert!(t.to_vec::<f32>()?.iter().all(|&x| x >= 1.0 && x.fract() == 0.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `p` is not between 0 and 1.
    pub fn geometric_(&self, p: f64) -> Result<Tensor> {
        if !(p > 0.0 && p < 1.0) {
            bail!(Value, "geometric_", "expects p to be in (0, 1), but got p={p}");
        }
        let trials = (self.uniform_open()?.log()? / (-p).ln_1p())?.ceil()?.clamp_min(1.0)?;
        self.copy_(&trials)
    }

    /// Random whole numbers in `low .. high` in place.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], calor::DType::I32)?.random_(-2, 3)?;
    /// assert!(t.to_vec::<i32>()?.iter().all(|x| (-2..3).contains(x)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of [`Tensor::randint`].
    pub fn random_(&self, low: i64, high: i64) -> Result<Tensor> {
        held("random_", self.dtype(), low, high)?;
        self.copy_(&Tensor::randint(low, high, self.shape(), self.device())?)
    }

    /// Uniform random numbers in `0 .. 1` of this shape, dtype and device.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([2, 50], ())?.rand_like()?;
    /// assert!(t.to_vec::<f32>()?.iter().all(|x| (0.0..1.0).contains(x)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn rand_like(&self) -> Result<Tensor> {
        Tensor::rand(self.shape(), (self.dtype(), self.device()))
    }

    /// Normal random numbers of this shape, dtype and device.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([10_000], ())?.randn_like()?;
    /// assert!(t.mean()?.item()?.abs() < 0.1 && (t.std()?.item()? - 1.0).abs() < 0.1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn randn_like(&self) -> Result<Tensor> {
        Tensor::randn(self.shape(), (self.dtype(), self.device()))
    }

    /// Random whole numbers in `low .. high` of this shape, dtype and device.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([100], calor::DType::I32)?.randint_like(0, 6)?;
    /// assert!(t.to_vec::<i32>()?.iter().all(|x| (0..6).contains(x)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn randint_like(&self, low: i64, high: i64) -> Result<Tensor> {
        Tensor::randint(low, high, self.shape(), (self.dtype(), self.device()))
    }

    /// Normal random numbers whose means and standard deviations are numbers or tensors, which broadcast:
    /// `torch.normal`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let t = Tensor::normal(&Tensor::new([0.0f32, 100.0], ())?, 1.0)?.to_vec::<f32>()?;
    /// assert!(t[0] < 50.0 && t[1] > 50.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for a negative standard deviation, once the result is read if it stands in a tensor; `DType` for integers.
    pub fn normal(mean: impl Into<Arg>, std: impl Into<Arg>) -> Result<Tensor> {
        const OP: &str = "normal";
        let (mean, std) = (mean.into(), std.into());
        if let Arg::Scalar(s) = &std
            && (s.as_f64() < 0.0 || s.as_f64().is_nan())
        {
            bail!(Value, OP, "expects std >= 0.0, but found std {}", s.as_f64());
        }
        let (dtype, device) = (meet(&[&mean, &std])?, device_of(&[&mean, &std])?);
        let given = matches!(std, Arg::Tensor(_));
        let (mean, mut std) = (mean.tensor(dtype, &device)?, std.tensor(dtype, &device)?);
        mean.refuse_integers(OP)?;
        if given {
            std = checked(OP, &std.detach(), &[("op_ge", 0.0)], "expects all elements of std >= 0.0")?;
        }
        let shape = crate::shape::broadcast(OP, &mean.shape(), &std.shape())?;
        no_grad(|| (Tensor::randn(&shape, (dtype, &device))? * std)? + mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(t: &Tensor) -> Result<Vec<f64>> {
        let mut values: Vec<f64> = t.to_vec::<f32>()?.into_iter().map(f64::from).collect();
        values.sort_by(f64::total_cmp);
        Ok(values)
    }

    /// The largest distance between a sample's distribution and `cdf` (Kolmogorov and Smirnov).
    fn distance(t: &Tensor, cdf: impl Fn(f64) -> f64) -> Result<f64> {
        let values = sorted(t)?;
        let n = values.len() as f64;
        Ok(values.iter().enumerate().fold(0.0, |most: f64, (i, &x)| most.max((cdf(x) - (i as f64 + 0.5) / n).abs())))
    }

    #[test]
    fn distributions_are_right() -> Result<()> {
        let t = || Tensor::zeros([20_000], ());
        // of a right one, 0.0138 is exceeded once in a thousand times
        let near = |what: &str, d: f64| assert!(d < 0.0138, "{what}: {d}");
        near("exponential", distance(&t()?.exponential_(2.0)?, |x| 1.0 - (-2.0 * x).exp())?);
        near("cauchy", distance(&t()?.cauchy_(1.0, 2.0)?, |x| 0.5 + ((x - 1.0) / 2.0).atan() / PI)?);
        let log = t()?.log_normal_(0.5, 0.25)?.log()?;
        let normal = |x: f64| Ok::<_, crate::Error>(0.5 * Tensor::new([-x as f32 / 2f32.sqrt()], ())?.erfc()?.item()?);
        for (at, x) in [-1.0, 0.0, 0.7].iter().enumerate() {
            let below = log.lt(0.5 + 0.25 * x)?.to_dtype(DType::F32)?.mean()?.item()?;
            assert!((below - normal(*x)?).abs() < 0.0138, "log_normal {at}: {below}");
        }
        let trials = t()?.geometric_(0.25)?;
        for k in 1..6 {
            let share = trials.eq(k)?.to_dtype(DType::F32)?.mean()?.item()?;
            assert!((share - 0.25 * 0.75f64.powi(k - 1)).abs() < 0.0138, "geometric {k}: {share}");
        }
        assert_eq!(trials.lt(1)?.sum()?.item()?, 0.0);
        let whole = Tensor::zeros([1000], DType::I32)?.random_(-3, 4)?.to_vec::<i32>()?;
        assert!((-3..4).all(|k| whole.contains(&k)) && whole.iter().all(|k| (-3..4).contains(k)));
        Ok(())
    }

    #[test]
    fn wrong_numbers_are_refused() -> Result<()> {
        let (t, whole) = (Tensor::zeros([3], ())?, Tensor::zeros([3], DType::I32)?);
        assert!(t.exponential_(0.0).is_err() && whole.exponential_(1.0).is_err());
        assert!(t.log_normal_(0.0, 0.0).is_err() && t.cauchy_(0.0, -1.0).is_err() && t.geometric_(1.0).is_err());
        assert!(Tensor::normal(&t, -1.0).is_err() && Tensor::normal(&whole, &whole).is_err());
        assert!(Tensor::normal(&t, &Tensor::ones([2], ())?).is_err());
        assert!(Tensor::normal(&t, &Tensor::new([1.0f32, -1.0, 1.0], ())?)?.to_vec::<f32>().is_err());
        assert_eq!(&Tensor::normal(&t, &Tensor::ones([2, 1], ())?)?.shape()[..], [2, 3]);
        assert_eq!(whole.randint_like(5, 6)?.to_vec::<i32>()?, [5; 3]);
        assert_eq!((t.rand_like()?.shape(), t.randn_like()?.dtype()), (t.shape(), DType::F32));
        Ok(())
    }
}

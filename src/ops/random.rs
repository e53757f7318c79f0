//! Random numbers: maps of a draw's place in the generator's sequence and of the element's place. Nothing is stored
//! to make them again.

use super::arg::Arg;
use super::build::Build;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::graph::{IndexOp, Map, Param};
use crate::tensor::grad::Grads;
use crate::tensor::{Draw, Options, Tensor};
use std::sync::Arc;

/// 32 random bits for this element; independent ones for each `stream`.
fn bits(b: &mut Build, draw: Draw, stream: u32) -> u16 {
    let at = b.body.flat();
    let mut args = vec![at, b.number(stream as isize)];
    for word in [draw.number, draw.number >> 32, draw.seed, draw.seed >> 32] {
        args.push(b.word(word as u32));
    }
    b.body.call("op_random", &args)
}

/// A number in `0 .. 1` of `dtype`'s compute type, with as many random bits as `dtype` holds; in `(0, 1]` if `open`.
fn uniform(b: &mut Build, draw: Draw, stream: u32, dtype: DType, open: bool) -> u16 {
    let ty = dtype.compute();
    let kept = match dtype {
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 24,
    };
    let raw = bits(b, draw, stream);
    let whole = b.div(raw, 1 << (32 - kept));
    let whole = if open { b.add(whole, 1) } else { whole };
    let mut number = b.body.cast(ty, whole);
    let mut scale = (-f64::from(kept)).exp2();
    if ty == DType::F64 {
        // 29 more bits below
        let more = bits(b, draw, stream + 2);
        let more = b.div(more, 1 << 3);
        let more = b.body.cast(ty, more);
        let factor = b.value(f64::from(1 << 29), ty);
        let high = b.body.call("op_mul", &[number, factor]);
        number = b.body.call("op_add", &[high, more]);
        scale = (-53f64).exp2();
    }
    let scale = b.value(scale, ty);
    b.body.call("op_mul", &[number, scale])
}

fn floats(op: &str, options: &Options) -> Result<DType> {
    let dtype = options.dtype_or(DType::F32);
    if !dtype.is_float() {
        bail!(DType, op, "is not supported for {dtype}; expected a float");
    }
    Ok(dtype)
}

/// Refuses whole numbers in `low .. high` that `dtype` does not hold.
pub(super) fn held(op: &str, dtype: DType, low: i64, high: i64) -> Result<()> {
    let out = |n: i64| {
        let n = Scalar::Int(n);
        !n.fits(dtype) || n.saturated(dtype).as_i64() != n.as_i64()
    };
    if low < high && (out(low) || out(high - 1)) {
        bail!(Value, op, "numbers from {low} to {} are out of bounds for {dtype}", high - 1);
    }
    Ok(())
}

fn finish(b: Build, name: &'static str, shape: &[usize], dtype: DType, options: &Options) -> Result<Tensor> {
    let map = Arc::new(Map { name: name.into(), body: b.body });
    Tensor::apply(map, &options.device()?, (shape, dtype), &[], &b.params)
}

impl Tensor {
    /// Uniform random numbers in `0 .. 1` from the device's generator.
    ///
    /// ```
    /// let t = calor::Tensor::rand([100], ())?;
    /// assert!(t.to_vec::<f32>()?.iter().all(|x| (0.0..1.0).contains(x)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn rand(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let dtype = floats("rand", &options)?;
        let draw = options.device()?.generator().draw();
        let mut b = Build::default();
        uniform(&mut b, draw, 0, dtype, false);
        finish(b, "rand", shape.as_ref(), dtype, &options)
    }

    /// Normal random numbers of mean 0 and standard deviation 1: the transform of Box and Muller (1958).
    ///
    /// ```
    /// let x = calor::Tensor::randn([10_000], ())?;
    /// assert!(x.mean()?.item()?.abs() < 0.1 && (x.std()?.item()? - 1.0).abs() < 0.1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn randn(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let dtype = floats("randn", &options)?;
        if dtype == DType::F64 {
            // in single precision: the tails beyond 5.9 are missing either way
            let options = Options::from((DType::F32, &options.device()?));
            return Self::randn(shape, options)?.to_dtype(dtype);
        }
        let draw = options.device()?.generator().draw();
        let mut b = Build::default();
        let u = uniform(&mut b, draw, 0, DType::F32, true);
        let v = uniform(&mut b, draw, 1, DType::F32, false);
        b.body.call("normal_from", &[u, v]);
        finish(b, "randn", shape.as_ref(), dtype, &options)
    }

    /// Random whole numbers in `low .. high`; `i32` unless the options say otherwise.
    ///
    /// ```
    /// let x = calor::Tensor::randint(2, 5, [100], ())?;
    /// assert!(x.to_vec::<i32>()?.iter().all(|v| (2..5).contains(v)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn randint(low: i64, high: i64, shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let range = i128::from(high) - i128::from(low);
        if range <= 0 || range > i128::from(u32::MAX) {
            bail!(Value, "randint", "needs 0 < high - low < 2^32, got {low} and {high}");
        }
        let dtype = options.dtype_or(DType::I32);
        if low < i64::from(i32::MIN) || high - 1 > i64::from(i32::MAX) {
            bail!(Value, "randint", "numbers from {low} to {high} do not fit i32");
        }
        held("randint", dtype, low, high)?;
        let draw = options.device()?.generator().draw();
        let mut b = Build::default();
        let raw = bits(&mut b, draw, 0);
        let part = b.rem(raw, range as usize);
        let sum = b.add(part, low as isize);
        let signed = b.body.bits(DType::I32, sum);
        b.body.cast(dtype, signed);
        finish(b, "randint", shape.as_ref(), dtype, &options)
    }

    /// The numbers `0 .. n` in random order.
    ///
    /// ```
    /// let mut order = calor::Tensor::randperm(5, ())?.to_vec::<i32>()?;
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn randperm(n: usize, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let dtype = options.dtype_or(DType::I32);
        let exact = match dtype {
            DType::F16 => 1 << 11,
            DType::BF16 => 1 << 8,
            DType::F32 => 1 << 24,
            _ => i64::MAX,
        };
        let count = i64::try_from(n).unwrap_or(i64::MAX);
        held("randperm", dtype, 0, count)?;
        if count - 1 > exact {
            bail!(Value, "randperm", "{dtype} cannot tell apart the numbers below {n}");
        }
        let keys = Self::randint(i64::from(i32::MIN), i64::from(i32::MAX), [n], &options.device()?)?;
        keys.argsort(0, false)?.to_dtype(dtype)
    }

    /// 1 with the probability that each element says, else 0. One that is none is reported at the next read.
    ///
    /// ```
    /// let p = calor::Tensor::new([0.0f32, 1.0, 0.5], ())?;
    /// let t = p.bernoulli()?.to_vec::<f32>()?;
    /// assert!(t[..2] == [0.0, 1.0] && (t[2] == 0.0 || t[2] == 1.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bernoulli(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            bail!(DType, "bernoulli", "expected floats as probabilities, got {}", self.dtype());
        }
        let (dtype, draw) = (self.dtype(), self.device().generator().draw());
        let mut b = Build::default();
        let p = b.body.input(0);
        // not with the few bits of a half: a small probability lies below the smallest number that these make
        let u = uniform(&mut b, draw, 0, dtype.compute(), false);
        let (zero, one) = (b.value(0.0, dtype.compute()), b.value(1.0, dtype.compute()));
        let error = Error::new(ErrorKind::Value, "bernoulli", "a probability is not between 0 and 1");
        b.params.push(Param::Fault(Arc::new(error)));
        let code = b.params.len() - 1;
        let above = b.body.call("op_ge", &[p, zero]);
        let p = b.body.guard(above, p, code);
        let below = b.body.call("op_le", &[p, one]);
        let p = b.body.guard(below, p, code);
        let hit = b.body.call("op_lt", &[u, p]);
        b.body.cast(dtype, hit);
        b.apply("bernoulli", &self.shape(), dtype, &[self])
    }

    /// Uniform random numbers in `low .. high` in place.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([100], ())?.uniform_(1.0, 2.0)?;
    /// assert!(x.to_vec::<f32>()?.iter().all(|v| (1.0..2.0).contains(v)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn uniform_(&self, low: f64, high: f64) -> Result<Tensor> {
        if low > high || low.is_nan() || high.is_nan() {
            bail!(Value, "uniform_", "expects to return a [from, to) range, but found from={low} > to={high}");
        }
        if [low, high, high - low].iter().any(|n| n.is_infinite() || !Scalar::Float(*n).fits(self.dtype())) {
            bail!(Value, "uniform_", "from={low}, to={high} or their distance is out of bounds for {}", self.dtype());
        }
        let u = Self::rand(self.shape(), (self.dtype(), self.device()))?;
        self.copy_(&u.mul(high - low)?.add(low)?)
    }

    /// Normal random numbers in place.
    ///
    /// ```
    /// let x = calor::Tensor::zeros([10_000], ())?.normal_(5.0, 0.1)?;
    /// assert!((x.mean()?.item()? - 5.0).abs() < 0.01);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn normal_(&self, mean: f64, std: f64) -> Result<Tensor> {
        if std < 0.0 || std.is_nan() {
            bail!(Value, "normal_", "expects std >= 0.0, but found std {std}");
        }
        let n = Self::randn(self.shape(), (self.dtype(), self.device()))?;
        self.copy_(&n.mul(std)?.add(mean)?)
    }

    /// 1 with probability `p`, a number or a tensor of them, else 0, in place.
    ///
    /// ```
    /// let t = calor::Tensor::zeros([10_000], ())?.bernoulli_(0.25)?;
    /// assert!((t.mean()?.item()? - 0.25).abs() < 0.05);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bernoulli_(&self, p: impl Into<Arg>) -> Result<Tensor> {
        let p = p.into();
        if let Arg::Scalar(s) = &p
            && !(0.0..=1.0).contains(&s.as_f64())
        {
            bail!(Value, "bernoulli_", "probability has to be between 0 and 1, but got {}", s.as_f64());
        }
        let p = p.tensor(DType::F32, self.device())?;
        self.copy_(&p.expand(self.shape())?.bernoulli()?)
    }

    /// In training, zeros with probability `p` and all else divided by `1 - p`; outside training, itself. The mask is
    /// not stored: backward draws it again (Srivastava et al., 2014).
    ///
    /// ```
    /// let x = calor::Tensor::ones([1000], ())?;
    /// assert!(x.dropout(0.5, true)?.to_vec::<f32>()?.iter().all(|v| *v == 0.0 || *v == 2.0));
    /// assert!(x.dropout(0.5, false)?.equal(&x)?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&p) {
            bail!(Value, "dropout", "probability has to be between 0 and 1, but got {p}");
        }
        if !self.dtype().is_float() {
            bail!(DType, "dropout", "expected floats, got {}", self.dtype());
        }
        if !training || p == 0.0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        self.dropped(self.device().generator().draw(), p)
    }

    fn dropped(&self, draw: Draw, p: f64) -> Result<Tensor> {
        if p == 1.0 {
            return self.mul(0.0);
        }
        let mut b = Build::default();
        let x = b.body.input(0);
        let raw = bits(&mut b, draw, 0);
        let keep = b.number((((1.0 - p) * 4_294_967_296.0) as u32) as isize);
        let keep = b.op(IndexOp::Lt, raw, keep);
        let ty = self.dtype().compute();
        let (scale, zero) = (b.value(1.0 / (1.0 - p), ty), b.value(0.0, ty));
        let scaled = b.body.call("op_mul", &[x, scale]);
        b.body.select(keep, scaled, zero);
        let out = b.apply("dropout", &self.shape(), self.dtype(), &[self])?;
        Ok(out.with_grad("dropout", &[self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.dropped(draw, p)?)]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Device;

    /// Philox 4x32-10 on the host: word `i % 4` of block `i / 4`.
    fn philox(i: u32, key: u64, number: u64) -> u32 {
        let mut c = [i / 4, 0, number as u32, (number >> 32) as u32];
        let mut k = [key as u32, (key >> 32) as u32];
        for _ in 0..10 {
            let (a, b) = (u64::from(c[0]) * 0xd251_1f53, u64::from(c[2]) * 0xcd9e_8d57);
            c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
            k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
        }
        c[i as usize % 4]
    }

    #[test]
    fn numbers_are_philox() -> Result<()> {
        let device = Device::best()?;
        let (key, number) = (0x1234_5678_9abc_def0, 0x1_0000_0007);
        let state = device.generator().state();
        device.generator().set_state((key, number));
        let values = Tensor::rand([10_001], &device)?;
        device.generator().set_state(state);
        let values = values.to_vec::<f32>()?;
        for i in [0usize, 1, 2, 3, 4, 5_003, 10_000] {
            assert_eq!(values[i], (philox(i as u32, key, number) >> 8) as f32 / 16_777_216.0, "{i}");
        }
        Ok(())
    }

    #[test]
    fn moments_are_right() -> Result<()> {
        let device = Device::best()?;
        let moments = |t: Tensor| -> Result<(f64, f64)> {
            let v = t.to_dtype(DType::F32)?.to_vec::<f32>()?;
            let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
            let var = v.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / v.len() as f64;
            Ok((mean, var))
        };
        let near =
            |(a, b): (f64, f64), c: f64, d: f64| assert!((a - c).abs() < 0.02 && (b - d).abs() < 0.02, "{a} {b}");
        near(moments(Tensor::rand([40_000], &device)?)?, 0.5, 1.0 / 12.0);
        near(moments(Tensor::rand([40_000], (DType::BF16, &device))?)?, 0.5, 1.0 / 12.0);
        near(moments(Tensor::randn([40_000], &device)?)?, 0.0, 1.0);
        near(moments(Tensor::full([40_000], 0.3, &device)?.bernoulli()?)?, 0.3, 0.21);
        // a half's few bits must not make small probabilities larger
        for (dtype, p) in [(DType::BF16, 0.001), (DType::F16, 0.0001)] {
            let hits = moments(Tensor::full([1 << 20], p, (dtype, &device))?.bernoulli()?)?.0;
            assert!((hits / p - 1.0).abs() < 0.5, "{dtype}: {hits}");
        }
        let mut order = Tensor::randperm(1000, &device)?.to_vec::<i32>()?;
        assert!(order.windows(2).any(|w| w[0] > w[1]));
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<i32>>());
        Ok(())
    }

    #[test]
    fn dropout_draws_the_same_mask_backwards() -> Result<()> {
        let x = Tensor::ones([1000], ())?.requires_grad_(true)?;
        let y = x.dropout(0.25, true)?;
        let values = y.to_vec::<f32>()?;
        let dropped = values.iter().filter(|v| **v == 0.0).count();
        assert!((180..320).contains(&dropped), "{dropped}");
        y.sum()?.backward()?;
        let gradient = match x.grad() {
            Some(g) => g.to_vec::<f32>()?,
            None => Vec::new(),
        };
        assert_eq!(values, gradient);
        assert!(x.dropout(1.5, true).is_err() && x.dropout(1.0, true)?.to_vec::<f32>()?.iter().all(|v| *v == 0.0));
        Ok(())
    }
}

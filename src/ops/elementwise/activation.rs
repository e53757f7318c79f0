//! Activations: `torch.nn.functional`'s elementwise functions. A row each where there is no parameter.

use super::unary::unary;
use super::{Item, Kind, call, except, map_n, only, operand};
use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;
use crate::tensor::autocast::{full, lowered};
use crate::tensor::grad::Grads;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// How [`Tensor::gelu`] is computed.
///
/// ```
/// use calor::{Approximate, Tensor};
/// let x = Tensor::new([1.0f32], ())?;
/// let (exact, tanh) = (x.gelu(Approximate::None)?.item()?, x.gelu(Approximate::Tanh)?.item()?);
/// assert!(exact != tanh && (exact - tanh).abs() < 1e-3);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approximate {
    /// By the error function.
    #[default]
    None,
    /// By tanh.
    Tanh,
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

unary! { ACTIVATIONS:
    /// `max(x, 0)`; the gradient at 0 is 0.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.0f32, 2.0], ())?.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    relu relu_: Number, y y, g => except(&y.le(0.0)?, g)?;
    /// `min(max(x, 0), 6)`; the gradient at 0 and 6 is 0.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.0f32, 2.0, 8.0], ())?.relu6()?.to_vec::<f32>()?, [0.0, 2.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    relu6 relu6_: Number, x x, g => only(&x.gt(0.0)?.logical_and(&x.lt(6.0)?)?, g)?;
    /// Scaled exponential linear unit.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 1.0], ())?.selu()?.to_vec::<f32>()?;
    /// assert!(y[0] == 0.0 && (y[1] - 1.050_701).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    selu selu_: Real, x x, g => {
        let (below, low) = negative_part(&x)?;
        g.mul(&below.where_(low.exp()?.mul(SELU_ALPHA * SELU_SCALE)?, SELU_SCALE)?)?
    };
    /// `x sigmoid(x)`.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 2.0], ())?.silu()?.to_vec::<f32>()?;
    /// assert!(y[0] == 0.0 && (y[1] - 1.761_594).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    silu silu_: Real, x x, g => {
        let s = x.sigmoid()?;
        g.mul(&s.neg()?.add(1.0)?.mul(&x)?.add(1.0)?.mul(&s)?)?
    };
    /// `x tanh(log(1 + e^x))`.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 1.0], ())?.mish()?.to_vec::<f32>()?;
    /// assert!(y[0] == 0.0 && (y[1] - 0.865_098).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    mish mish_: Real, x x, g => {
        let t = x.softplus(1.0, 20.0)?.tanh()?;
        let bend = t.square()?.neg()?.add(1.0)?.mul(&x.sigmoid()?)?.mul(&x)?;
        g.mul(&t.add(&bend)?)?
    };
    /// `log(sigmoid(x))`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([0.0f32], ())?.logsigmoid()?.item()? + 2f64.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    logsigmoid: Real, x x, g => g.mul(&x.neg()?.sigmoid()?)?;
    /// `clamp(x + 3, 0, 6) / 6`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-4.0f32, 0.0, 4.0], ())?.hardsigmoid()?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    hardsigmoid hardsigmoid_: Real, x x, g =>
        only(&x.gt(-3.0)?.logical_and(&x.lt(3.0)?)?, &g.div(6.0)?)?;
    /// `x clamp(x + 3, 0, 6) / 6`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-4.0f32, 0.0, 4.0], ())?.hardswish()?.to_vec::<f32>()?, [0.0, 0.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    hardswish hardswish_: Real, x x, g => {
        let middle = x.lt(3.0)?.where_(g.mul(&x.div(3.0)?.add(0.5)?)?, g)?;
        except(&x.le(-3.0)?, &middle)?
    };
    /// `x - tanh(x)`.
    ///
    /// ```
    /// assert!((calor::Tensor::new([3.0f32], ())?.tanhshrink()?.item()? - (3.0 - 3f64.tanh())).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    tanhshrink: Float, x x, g => g.mul(&x.tanh()?.square()?)?;
    /// `x / (1 + |x|)`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-1.0f32, 3.0], ())?.softsign()?.to_vec::<f32>()?, [-0.5, 0.75]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    softsign: Float, x x, g => g.div(&x.abs()?.add(1.0)?.square()?)?;
}

/// A function of one tensor and some numbers, and its gradient from the input.
fn activation<R>(
    (name, function): (&'static str, &'static str),
    kind: Kind,
    x: &Tensor,
    numbers: &[f64],
    gradient: R,
) -> Result<Tensor>
where
    R: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    let (x, dtype) = operand(name, kind, x)?;
    let mut items: smallvec::SmallVec<[Item<'_>; 4]> = smallvec::smallvec![(&x).into()];
    items.extend(numbers.iter().map(|&n| Item::from(n)));
    let out = call(function, dtype, &items)?;
    Ok(out.with_grad(name, &[&x], |r| {
        let x = r.save(&x);
        move |g: &Tensor| Ok(Grads::from_iter([Some(gradient(&x.get()?, g)?)]))
    }))
}

/// Where `x <= 0`, and `x` there, 0 elsewhere: what is infinite or NaN must not meet the zeros of the other branch.
fn negative_part(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let below = x.le(0.0)?;
    let low = below.where_(x, 0.0)?;
    Ok((below, low))
}

impl Tensor {
    /// `x` where `x > 0`, else `alpha (e^x - 1)`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-100.0f32, 2.0], ())?.elu(1.0)?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        activation(("elu", "elu"), Kind::Real, self, &[alpha], move |x, g| {
            let (below, low) = negative_part(x)?;
            g.mul(&below.where_(low.exp()?.mul(alpha)?, 1.0)?)
        })
    }

    /// [`Tensor::elu`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([-100.0f32, 2.0], ())?;
    /// assert_eq!(x.elu_(0.5)?.to_vec::<f32>()?, [-0.5, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn elu_(&self, alpha: f64) -> Result<Tensor> {
        self.modify("elu_", |x| x.elu(alpha))
    }

    /// `x` where `x > 0`, else `alpha (e^(x/alpha) - 1)`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-100.0f32, 2.0], ())?.celu(0.5)?.to_vec::<f32>()?, [-0.5, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn celu(&self, alpha: f64) -> Result<Tensor> {
        if alpha == 0.0 {
            bail!(Value, "celu", "alpha must not be 0");
        }
        activation(("celu", "celu"), Kind::Real, self, &[alpha], move |x, g| {
            let (below, low) = negative_part(x)?;
            g.mul(&below.where_(low.div(alpha)?.exp()?, 1.0)?)
        })
    }

    /// [`Tensor::celu`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([-100.0f32, 2.0], ())?;
    /// assert_eq!(x.celu_(0.5)?.to_vec::<f32>()?, [-0.5, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn celu_(&self, alpha: f64) -> Result<Tensor> {
        self.modify("celu_", |x| x.celu(alpha))
    }

    /// `x` times the probability that a standard normal number is below it.
    ///
    /// ```
    /// use calor::{Approximate, Tensor};
    /// let x = Tensor::new([0.0f32, 10.0], ())?;
    /// assert_eq!(x.gelu(Approximate::None)?.to_vec::<f32>()?, [0.0, 10.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn gelu(&self, approximate: Approximate) -> Result<Tensor> {
        match approximate {
            Approximate::None => activation(("gelu", "gelu"), Kind::Real, self, &[], |x, g| {
                let below = x.mul(-FRAC_1_SQRT_2)?.erfc()?.mul(0.5)?;
                let density = x.square()?.mul(-0.5)?.exp()?.mul(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5)?;
                g.mul(&x.mul(&density)?.add(&below)?)
            }),
            Approximate::Tanh => activation(("gelu", "gelu_tanh"), Kind::Real, self, &[], |x, g| {
                const BETA: f64 = SQRT_2 * FRAC_2_SQRT_PI * 0.5;
                let z = x.square()?.mul(0.044715)?;
                let t = x.mul(&z.add(1.0)?)?.mul(BETA)?.tanh()?;
                let slope = z.mul(3.0)?.add(1.0)?.mul(BETA)?;
                let bend = t.square()?.neg()?.add(1.0)?.mul(&slope)?.mul(x)?;
                g.mul(&t.add(1.0)?.add(&bend)?.mul(0.5)?)
            }),
        }
    }

    /// `log(1 + e^(beta x)) / beta`; `x` where `beta x > threshold`.
    ///
    /// ```
    /// let y = calor::Tensor::new([0.0f32, 50.0], ())?.softplus(1.0, 20.0)?.to_vec::<f32>()?;
    /// assert!((y[0] - 2f32.ln()).abs() < 1e-6 && y[1] == 50.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Tensor> {
        activation(("softplus", "softplus"), Kind::Real, &full(self)?, &[beta, threshold], move |x, g| {
            let z = x.mul(beta)?;
            z.gt(threshold)?.where_(g, g.mul(&z.sigmoid()?)?)
        })
    }

    /// [`Tensor::clamp`] whose gradient at both limits is 0.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-3.0f32, 0.5], ())?.hardtanh(-1.0, 1.0)?.to_vec::<f32>()?, [-1.0, 0.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn hardtanh(&self, min: f64, max: f64) -> Result<Tensor> {
        if min > max {
            bail!(Value, "hardtanh", "min_val cannot be greater than max_val, {min} > {max}");
        }
        // integers are not limited by what they cannot be
        let limits = [min, max].map(|n| Scalar::Float(n).saturated(self.dtype()).as_f64());
        activation(("hardtanh", "hardtanh"), Kind::Number, self, &limits, move |x, g| {
            only(&x.gt(min)?.logical_and(&x.lt(max)?)?, g)
        })
    }

    /// [`Tensor::hardtanh`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([-3.0f32, 0.5], ())?;
    /// assert_eq!(x.hardtanh_(-1.0, 1.0)?.to_vec::<f32>()?, [-1.0, 0.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn hardtanh_(&self, min: f64, max: f64) -> Result<Tensor> {
        self.modify("hardtanh_", |x| x.hardtanh(min, max))
    }

    /// 0 where `-lambda <= x <= lambda`, else `x`.
    ///
    /// ```
    /// let x = calor::Tensor::new([-2.0f32, 0.25, 2.0], ())?;
    /// assert_eq!(x.hardshrink(0.5)?.to_vec::<f32>()?, [-2.0, 0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn hardshrink(&self, lambda: f64) -> Result<Tensor> {
        activation(("hardshrink", "hardshrink"), Kind::Real, self, &[lambda], move |x, g| {
            only(&x.lt(-lambda)?.logical_or(&x.gt(lambda)?)?, g)
        })
    }

    /// `x` moved towards 0 by `lambda`, not past it.
    ///
    /// ```
    /// let x = calor::Tensor::new([-2.0f32, 0.25, 2.0], ())?;
    /// assert_eq!(x.softshrink(0.5)?.to_vec::<f32>()?, [-1.5, 0.0, 1.5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn softshrink(&self, lambda: f64) -> Result<Tensor> {
        if lambda < 0.0 {
            bail!(Value, "softshrink", "lambda must not be negative, but found {lambda}");
        }
        activation(("softshrink", "softshrink"), Kind::Real, self, &[lambda], move |x, g| {
            only(&x.lt(-lambda)?.logical_or(&x.gt(lambda)?)?, g)
        })
    }

    /// `x` where `x > 0`, else `slope x`.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([-4.0f32, 2.0], ())?.leaky_relu(0.25)?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        activation(("leaky_relu", "leaky_relu"), Kind::Real, self, &[slope], move |x, g| {
            x.gt(0.0)?.where_(g, g.mul(slope)?)
        })
    }

    /// [`Tensor::leaky_relu`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([-4.0f32, 2.0], ())?;
    /// assert_eq!(x.leaky_relu_(0.25)?.to_vec::<f32>()?, [-1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn leaky_relu_(&self, slope: f64) -> Result<Tensor> {
        self.modify("leaky_relu_", |x| x.leaky_relu(slope))
    }

    /// `value` where `x <= threshold`, else `x`.
    ///
    /// ```
    /// let x = calor::Tensor::new([0.5f32, 2.0], ())?;
    /// assert_eq!(x.threshold(1.0, 9.0)?.to_vec::<f32>()?, [9.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn threshold(&self, threshold: f64, value: f64) -> Result<Tensor> {
        activation(("threshold", "threshold"), Kind::Number, self, &[threshold, value], move |x, g| {
            except(&x.le(threshold)?, g)
        })
    }

    /// [`Tensor::threshold`] in place.
    ///
    /// ```
    /// let x = calor::Tensor::new([0.5f32, 2.0], ())?;
    /// assert_eq!(x.threshold_(1.0, 9.0)?.to_vec::<f32>()?, [9.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn threshold_(&self, threshold: f64, value: f64) -> Result<Tensor> {
        self.modify("threshold_", |x| x.threshold(threshold, value))
    }

    /// `x` where `x > 0`, else `x` times a random slope between `lower` and `upper`; outside training their mean (Xu et
    /// al., 2015).
    ///
    /// ```
    /// let x = calor::Tensor::full([100], -1.0, ())?;
    /// let y = x.rrelu(0.25, 0.5, true)?.to_vec::<f32>()?;
    /// assert!(y.iter().all(|y| (-0.5..=-0.25).contains(y)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where `lower` is above `upper`.
    pub fn rrelu(&self, lower: f64, upper: f64, training: bool) -> Result<Tensor> {
        if lower > upper {
            bail!(
                Value,
                "rrelu",
                "lower bound should be less than or equal to the upper bound, got {lower} and {upper}"
            );
        }
        if !training {
            return self.leaky_relu((lower + upper) / 2.0);
        }
        let slope = no_grad(|| {
            let slope = self.detach().zeros_like()?.uniform_(lower, upper)?;
            self.detach().gt(0.0)?.where_(1.0, &slope)
        })?;
        self.mul(&slope)
    }

    /// `x` where `x > 0`, else `weight x`; `weight` holds one slope, or one for each channel (dimension 1).
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::new([[-4.0f32, -4.0], [1.0, 2.0]], ())?;
    /// let y = x.prelu(&Tensor::new([0.25f32, 0.5], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, -2.0, 1.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        let (x, weight) = (lowered(self)?, lowered(weight)?);
        x.prelu_with(&weight)
    }

    fn prelu_with(&self, weight: &Tensor) -> Result<Tensor> {
        if weight.dim() > 1 {
            bail!(Dim, "prelu", "expected weight to be a scalar or 1D tensor, but got: ndim = {}", weight.dim());
        }
        if weight.dtype() != self.dtype() {
            bail!(DType, "prelu", "type promoting not supported, got {} and {}", self.dtype(), weight.dtype());
        }
        let own = self.shape();
        let mut shape = crate::shape::Dims::from_elem(1, own.len());
        if weight.numel() != 1 {
            if own.is_empty() {
                bail!(Dim, "prelu", "not allow zero-dim input tensor with {} parameters", weight.numel());
            }
            let channels = own.get(1).copied().unwrap_or(1);
            if channels != weight.numel() {
                bail!(
                    Shape,
                    "prelu",
                    "mismatch of parameter numbers and input channel size; found parameter numbers = {} and channel \
                     size = {channels}",
                    weight.numel()
                );
            }
            shape[1] = channels;
        }
        let weight = weight.reshape(&shape)?;
        let (x, dtype) = operand("prelu", Kind::Real, self)?;
        let out = map_n("prelu", dtype, &[&x, &weight])?;
        Ok(out.with_grad("prelu", &[&x, &weight], |r| {
            let wanted = [x.requires_grad(), weight.requires_grad()];
            let (x, weight) = (r.save(&x), r.save(&weight));
            move |g: &Tensor| {
                let x = x.get()?;
                let above = x.gt(0.0)?;
                let gx = if wanted[0] { Some(above.where_(g, g.mul(&weight.get()?)?)?) } else { None };
                let gw = if wanted[1] { Some(except(&above, &g.mul(&x)?)?.fit(&shape, dtype)?) } else { None };
                Ok(Grads::from_iter([gx, gw]))
            }
        }))
    }

    /// The first half of dimension `dim` times the sigmoid of the second half.
    ///
    /// ```
    /// let x = calor::Tensor::new([4.0f32, 0.0], ())?;
    /// assert_eq!(x.glu(0)?.to_vec::<f32>()?, [2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn glu(&self, dim: isize) -> Result<Tensor> {
        if self.dim() == 0 {
            bail!(Dim, "glu", "does not support 0-dimensional tensors");
        }
        let d = crate::shape::dim("glu", dim, self.dim())? as isize;
        let size = self.size(d)?;
        if size % 2 != 0 {
            bail!(Shape, "glu", "halving dimension must be even, but dimension {d} is size {size}");
        }
        let half = size / 2;
        self.narrow(d, 0, half)?.mul(&self.narrow(d, half as isize, half)?.sigmoid()?)
    }
}

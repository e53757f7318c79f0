//! Muon: momentum made orthogonal, for the matrices of hidden layers.

use super::Optim;
use super::rule::{Keep, Rule, State, by_options, not_negative, options};
use super::state::Setting;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// How [`Muon`] fits its rate to a matrix of `a` rows and `b` columns.
///
/// ```
/// use calor::optim::{AdjustLr, MuonOptions};
/// let options = MuonOptions::new(0.02).adjust_lr_fn(AdjustLr::MatchRmsAdamW);
/// assert_eq!(options.adjust_lr_fn, AdjustLr::MatchRmsAdamW);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AdjustLr {
    /// Times `sqrt(max(1, a / b))`.
    Original,
    /// Times `0.2 sqrt(max(a, b))`: updates as long as those of [`AdamW`](super::AdamW).
    MatchRmsAdamW,
    /// Times `sqrt(a / b)`.
    SpectralUnclamped,
}

impl Setting for AdjustLr {
    fn to_number(self) -> f64 {
        match self {
            AdjustLr::Original => 0.0,
            AdjustLr::MatchRmsAdamW => 1.0,
            AdjustLr::SpectralUnclamped => 2.0,
        }
    }

    fn from_number(value: f64) -> Self {
        match value {
            1.0 => AdjustLr::MatchRmsAdamW,
            2.0 => AdjustLr::SpectralUnclamped,
            _ => AdjustLr::Original,
        }
    }
}

options! {
    /// Settings of [`Muon`], PyTorch's names and defaults; its `ns_coefficients` are `ns_a`, `ns_b` and `ns_c` here.
    ///
    /// ```
    /// let options = calor::optim::MuonOptions::default();
    /// assert_eq!((options.lr, options.momentum, options.ns_steps), (1e-3, 0.95, 5));
    /// ```
    MuonOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// The parameter shrinks by `lr` times this.
        weight_decay: f64 = 0.1,
        /// How much of the momentum goes on.
        momentum: f64 = 0.95,
        /// Looks ahead along the momentum.
        nesterov: bool = true,
        /// Newton-Schulz: the factor of `x`.
        ns_a: f64 = 3.4445,
        /// Newton-Schulz: the factor of `x x^T x`.
        ns_b: f64 = -4.775,
        /// Newton-Schulz: the factor of `x x^T x x^T x`.
        ns_c: f64 = 2.0315,
        /// Keeps a norm from zero.
        eps: f64 = 1e-7,
        /// Newton-Schulz steps.
        ns_steps: u64 = 5,
        /// How the rate fits a matrix's shape.
        adjust_lr_fn: AdjustLr = AdjustLr::Original,
    }
}

/// Muon: `m = momentum m + (1 - momentum) g`, `u = (1 - momentum) g + momentum m` with `nesterov`, else `m`; then
/// `p -= lr (adjusted o + weight_decay p)`, where `o` is `u` with its singular values brought near 1 by steps of
/// `x = a x + (b x x^T + c (x x^T)^2) x`.
///
/// Jordan and others, [Muon: An optimizer for hidden layers in neural networks](https://kellerjordan.github.io/posts/muon/).
/// Parameters must be matrices. The steps are computed in single precision, where PyTorch rounds to `bf16`.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Muon, MuonOptions, Optimizer};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::zeros([2, 2], ())?)?;
/// let mut optimizer = Muon::new([w.clone()], MuonOptions::new(1.0))?;
/// w.tensor().set_grad(Some(Tensor::new([[3.0f32, 0.0], [0.0, -2.0]], ())?))?;
/// optimizer.step()?;
/// let new = w.tensor().to_vec::<f32>()?;
/// // both singular values went from 3 and 2 to about 1
/// assert!((new[0] + 1.0).abs() < 0.35 && (new[3] - 1.0).abs() < 0.35 && new[1] == 0.0, "{new:?}");
/// # Ok::<(), calor::Error>(())
/// ```
pub type Muon = Optim<MuonOptions>;

impl Rule for MuonOptions {
    const NAME: &'static str = "Muon";
    const COUNTS: bool = false;
    const STACKED: bool = true;

    by_options!();

    fn check(&self) -> Result<()> {
        not_negative(Self::NAME, "learning rate", self.lr)?;
        not_negative(Self::NAME, "momentum value", self.momentum)?;
        not_negative(Self::NAME, "weight_decay value", self.weight_decay)?;
        if self.ns_steps >= 100 {
            bail!(Value, Self::NAME, "the number of steps must be less than 100, it is {}", self.ns_steps);
        }
        Ok(())
    }

    fn admit(&self, parameter: &Tensor) -> Result<()> {
        if parameter.dim() != 2 {
            bail!(Shape, Self::NAME, "only matrices are updated, a parameter has shape {:?}", &parameter.shape()[..]);
        }
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        vec![Keep::zeros("momentum_buffer")]
    }

    fn update(&self, p: &Tensor, g: &Tensor, state: &State) -> Result<()> {
        let shape = p.shape();
        let &[_, a, b] = &shape[..] else { return self.admit(p) };
        if a * b == 0 {
            return Ok(());
        }
        let buffer = state.get("momentum_buffer")?;
        let new = buffer.lerp(g, 1.0 - self.momentum)?;
        buffer.write(&new)?;
        let update = if self.nesterov { g.lerp(&new, self.momentum)? } else { new };
        let update = self.orthogonal(&update, a > b)?.to_dtype(p.dtype())?;
        let (a, b) = (a as f64, b as f64);
        let rate = match self.adjust_lr_fn {
            AdjustLr::Original => self.lr * (a / b).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamW => self.lr * 0.2 * a.max(b).sqrt(),
            AdjustLr::SpectralUnclamped => self.lr * (a / b).sqrt(),
        };
        p.write(&p.mul(1.0 - self.lr * self.weight_decay)?.sub(&update.mul(rate)?)?)
    }
}

impl MuonOptions {
    /// Matrices with their singular values brought near 1; the smaller of the two Gram matrices is used.
    fn orthogonal(&self, update: &Tensor, tall: bool) -> Result<Tensor> {
        let x = update.to_dtype(DType::F32)?;
        let mut x = if tall { x.transpose(-2, -1)? } else { x };
        x = x.div(&x.vector_norm(2.0, &[-2, -1], true)?.clamp_min(self.eps)?)?;
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.transpose(-2, -1)?)?;
            let factor = gram.mul(self.ns_b)?.add(&gram.matmul(&gram)?.mul(self.ns_c)?)?;
            x = x.mul(self.ns_a)?.add(&factor.matmul(&x)?)?;
        }
        if tall { x.transpose(-2, -1) } else { Ok(x) }
    }
}

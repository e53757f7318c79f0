//! Dropout: zeros at random places while training, as functions and as layers.

use super::{Layer, Module, Training};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

fn check(op: &str, p: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&p) {
        bail!(Value, op, "dropout probability has to be between 0 and 1, but got {p}");
    }
    Ok(())
}

/// While training, zeros with probability `p`, and the others divided by `1 - p`; else `x`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::ones([8], ())?;
/// assert!(f::dropout(&x, 0.5, true)?.to_vec::<f32>()?.iter().all(|&y| y == 0.0 || y == 2.0));
/// assert_eq!(f::dropout(&x, 0.5, false)?.to_vec::<f32>()?, [1.0; 8]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `p` is not between 0 and 1.
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    x.dropout(p, training)
}

/// Ones with the first `lead` dimensions of `x`, one for each channel.
fn channels(x: &Tensor, lead: usize) -> Result<Tensor> {
    let mut shape = x.shape();
    shape.iter_mut().skip(lead).for_each(|d| *d = 1);
    Tensor::ones(shape, (x.dtype(), x.device()))
}

/// [`dropout`] of whole channels, where the first `lead` dimensions tell one from the other.
fn channel_dropout(op: &str, x: &Tensor, p: f64, training: bool, lead: usize) -> Result<Tensor> {
    if !training || p == 0.0 || x.numel() == 0 {
        return Ok(x.clone());
    }
    if p < 1.0 && x.dim() < lead {
        bail!(Shape, op, "needs at least {lead} dimensions in the input, got {:?}", x.shape());
    }
    x * channels(x, lead)?.dropout(p, true)?
}

macro_rules! channel_dropouts {
    ($($(#[$doc:meta])* $name:ident $function:ident $whole:literal $lead:literal $only:expr, $sides:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::functional::*};
            #[doc = concat!("let y = ", stringify!($function), "(&Tensor::ones(", $sides, ", ())?, 0.5, true)?;")]
            /// let y = y.to_vec::<f32>()?;
            /// assert!(y.iter().all(|v| *v == y[0]));
            /// # Ok::<(), calor::Error>(())
            /// ```
            ///
            /// # Errors
            /// `Value` where `p` is not between 0 and 1, `Shape` where dimensions are missing.
            pub fn $function(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
                check(stringify!($function), p)?;
                let rank = x.dim();
                let only: Option<[usize; 2]> = $only;
                if let Some([least, most]) = only
                    && !(least..=most).contains(&rank)
                {
                    bail!(Shape, stringify!($function), "expected {least} or {most} dimensions, got {:?}", x.shape());
                }
                channel_dropout(stringify!($function), x, p, training, if rank == $whole { 2 } else { $lead })
            }

            layer! {
                $(#[$doc])*
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = concat!("let y = ", stringify!($name), "::new(0.5)?.forward(&Tensor::ones(", $sides, ", ())?)?;")]
                /// let y = y.to_vec::<f32>()?;
                /// assert!(y.iter().all(|v| *v == y[0]));
                /// # Ok::<(), calor::Error>(())
                /// ```
                $name $function
            }
        )*
    };
}

macro_rules! layer {
    ($(#[$doc:meta])* $name:ident $function:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            /// Whether it trains.
            pub training: Training,
            p: f64,
        }

        impl $name {
            /// A layer that drops with probability `p`.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("assert!(", stringify!($name), "::new(0.5).is_ok());")]
            #[doc = concat!("assert!(", stringify!($name), "::new(1.5).is_err());")]
            /// ```
            ///
            /// # Errors
            /// `Value` where `p` is not between 0 and 1.
            pub fn new(p: f64) -> Result<Self> {
                check(stringify!($name), p)?;
                Ok(Self { training: Training::default(), p })
            }
        }

        impl Layer for $name {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                $function(x, self.p, self.training.get())
            }
        }
    };
}

layer! {
    /// While training, sets elements to zero with probability `p` and divides the others by `1 - p`; in evaluation, gives
    /// its input.
    ///
    /// ```
    /// use calor::nn::{Dropout, Layer, Module};
    /// use calor::Tensor;
    /// let (drop, x) = (Dropout::new(0.5)?, Tensor::ones([100], ())?);
    /// assert!(drop.forward(&x)?.to_vec::<f32>()?.iter().all(|&y| y == 0.0 || y == 2.0));
    /// drop.eval();
    /// assert_eq!(drop.forward(&x)?.to_vec::<f32>()?, [1.0; 100]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    Dropout dropout
}

channel_dropouts! {
    /// [`dropout`] of whole channels of `[n, c, l]` or `[c, l]`.
    Dropout1d dropout1d 3 1 Some([2, 3]), "[1, 1, 8]";
    /// [`dropout`] of whole channels of `[n, c, h, w]`, or `[n, c, ..]` of other ranks, as PyTorch has it.
    Dropout2d dropout2d 4 2 None, "[1, 1, 2, 4]";
    /// [`dropout`] of whole channels of `[n, c, d, h, w]`, or `[c, ..]` of other ranks, as PyTorch has it.
    Dropout3d dropout3d 5 1 None, "[1, 1, 2, 2, 2]";
}

/// `x` where `ones` is kept with probability `1 - p`, else the least value of SELU, then scaled and shifted so that mean 0
/// and variance 1 stay.
fn alpha(x: &Tensor, p: f64, ones: &Tensor) -> Result<Tensor> {
    // -scale * alpha of SELU
    const LEAST: f64 = -1.758_099_340_847_376_6;
    if p == 1.0 {
        return x * 0.0;
    }
    let scale = 1.0 / ((1.0 - p) * (1.0 + p * LEAST * LEAST)).sqrt();
    let kept = ones.dropout(p, true)?.gt(0.0)?;
    (kept.where_(x, LEAST)? * scale)? - scale * p * LEAST
}

/// While training, sets elements to SELU's least value with probability `p`, then scales and shifts so that mean 0 and
/// variance 1 stay (Klambauer et al., 2017).
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let x = Tensor::ones([8], ())?;
/// assert_eq!(f::alpha_dropout(&x, 0.5, false)?.to_vec::<f32>()?, [1.0; 8]);
/// assert_eq!(f::alpha_dropout(&x, 1.0, true)?.to_vec::<f32>()?, [0.0; 8]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `p` is not between 0 and 1.
pub fn alpha_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    check("alpha_dropout", p)?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    alpha(x, p, &x.detach().ones_like()?)
}

/// [`alpha_dropout`] of whole channels of `[n, c, ..]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let y = f::feature_alpha_dropout(&Tensor::ones([1, 1, 8], ())?, 0.5, true)?.to_vec::<f32>()?;
/// assert!(y.iter().all(|v| *v == y[0]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where `p` is not between 0 and 1, `Shape` where there are fewer than 2 dimensions.
pub fn feature_alpha_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    const OP: &str = "feature_alpha_dropout";
    check(OP, p)?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    if x.dim() < 2 {
        bail!(Shape, OP, "feature dropout requires at least 2 dimensions in the input, got {:?}", x.shape());
    }
    alpha(x, p, &channels(x, 2)?)
}

layer! {
    /// [`alpha_dropout`] with its probability kept.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{AlphaDropout, Layer, Module};
    /// let drop = AlphaDropout::new(0.5)?;
    /// drop.eval();
    /// assert_eq!(drop.forward(&Tensor::ones([1], ())?)?.item()?, 1.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AlphaDropout alpha_dropout
}

layer! {
    /// [`feature_alpha_dropout`] with its probability kept.
    ///
    /// ```
    /// use calor::{Tensor, nn::{FeatureAlphaDropout, Layer}};
    /// let y = FeatureAlphaDropout::new(0.5)?.forward(&Tensor::ones([1, 1, 8], ())?)?.to_vec::<f32>()?;
    /// assert!(y.iter().all(|v| *v == y[0]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    FeatureAlphaDropout feature_alpha_dropout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_drop_whole() -> Result<()> {
        let x = Tensor::ones([4, 50, 3], ())?;
        for y in [dropout1d(&x, 0.5, true)?, dropout2d(&x, 0.5, true)?, feature_alpha_dropout(&x, 0.5, true)?] {
            let y = y.to_vec::<f32>()?;
            assert!(y.chunks(3).all(|c| c.iter().all(|v| *v == c[0])));
            let one = y.chunks(3).filter(|c| c[0] == y[0]).count();
            assert!((60..140).contains(&one), "{one} of 200 channels are as the first");
        }
        // a matrix is one sample's channels, four dimensions are one sample's for three sides
        let y = dropout1d(&Tensor::ones([100, 2], ())?, 0.5, true)?.to_vec::<f32>()?;
        assert!(y.chunks(2).all(|c| c[0] == c[1]) && y.contains(&0.0) && y.contains(&2.0));
        let y = dropout3d(&Tensor::ones([50, 2, 2, 2], ())?, 0.5, true)?.to_vec::<f32>()?;
        assert!(y.chunks(8).all(|c| c.iter().all(|v| *v == c[0])) && y.contains(&0.0));
        assert!(dropout2d(&Tensor::ones([2], ())?, 0.5, true).is_err() && dropout1d(&x, 1.5, false).is_err());
        assert!(feature_alpha_dropout(&Tensor::ones([2], ())?, 0.5, true).is_err());
        Ok(())
    }

    #[test]
    fn alpha_dropout_keeps_mean_and_variance() -> Result<()> {
        let x = Tensor::randn([20_000], ())?;
        for p in [0.2, 0.5] {
            let y = alpha_dropout(&x, p, true)?;
            let (mean, std) = (y.mean()?.item()?, y.std()?.item()?);
            assert!(mean.abs() < 0.04 && (std - 1.0).abs() < 0.04, "{p}: {mean} {std}");
        }
        assert_eq!(alpha_dropout(&x, 1.0, true)?.abs()?.max()?.item()?, 0.0);
        Ok(())
    }
}

//! Fractional max pooling: windows whose steps are drawn, so that sizes shrink by any ratio.

use super::conv::Sides;
use super::{Buffer, Layer, Module};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;

/// The sizes of a fractional pooling's output.
///
/// ```
/// use calor::{Tensor, nn::FractionalOutput, nn::functional as f};
/// let x = Tensor::ones([1, 8, 10], ())?;
/// let (y, _) = f::fractional_max_pool::<2>(&x, [2, 2], FractionalOutput::Ratio([0.5, 0.7]), None)?;
/// assert_eq!(&y.shape()[..], [1, 4, 7]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FractionalOutput<const N: usize> {
    /// These.
    Size([usize; N]),
    /// Those of the input by these numbers between 0 and 1, rounded down.
    Ratio([f64; N]),
}

/// The largest value in each window of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`, and where it stands in
/// these, counted row by row: windows of sides `kernel` start at `floor((i + u) a) - floor(u a)` with
/// `a = (size - kernel) / (output - 1)`, the last one at `size - kernel`.
///
/// `samples` holds each `u`, in `[0, 1)`, as `[n, c, N]`, for two dimensions the last one's first, as PyTorch's
/// `_random_samples` do; they are drawn where there are none. Graham, "Fractional Max-Pooling", arXiv:1412.6071.
///
/// ```
/// use calor::{Tensor, nn::FractionalOutput, nn::functional as f};
/// let x = Tensor::new([[[1.0f32, 2.0, 3.0, 4.0], [8.0, 7.0, 6.0, 5.0], [0.0, 0.0, 9.0, 0.0]]], ())?;
/// let (y, at) = f::fractional_max_pool::<2>(&x, [2, 2], FractionalOutput::Size([2, 2]), None)?;
/// assert_eq!(y.to_vec::<f32>()?[3], 9.0);
/// assert_eq!(at.shape(), y.shape());
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where a window does not fit or `samples` have another shape, `Value` for a ratio that is not between 0 and 1.
pub fn fractional_max_pool<const N: usize>(
    x: &Tensor,
    kernel: [usize; N],
    output: FractionalOutput<N>,
    samples: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "fractional_max_pool";
    let shape = x.shape();
    let Some(lead) = shape.len().checked_sub(N).filter(|lead| (1..=2).contains(lead)) else {
        bail!(Shape, OP, "expected an input of {} or {} dimensions, got {:?}", N + 1, N + 2, &shape[..]);
    };
    if shape[lead - 1..].contains(&0) {
        bail!(Shape, OP, "expected non-zero sizes for all dimensions but the batch, got {:?}", &shape[..]);
    }
    let sizes: [usize; N] = std::array::from_fn(|d| shape[lead + d]);
    let output = output.of(OP, sizes)?;
    for d in 0..N {
        if kernel[d] == 0 || output[d] == 0 || output[d].saturating_add(kernel[d] - 1) > sizes[d] {
            let (k, o, s) = (kernel[d], output[d], sizes[d]);
            bail!(Shape, OP, "{o} windows of size {k} do not fit into dimension {d} of size {s}");
        }
    }
    let (batch, channels) = (if lead == 2 { shape[0] } else { 1 }, shape[lead - 1]);
    let drawn;
    let samples = match samples {
        Some(samples) => {
            // PyTorch takes samples of more than the input needs
            let given = samples.shape();
            if given.len() != 3 || given[0] < batch || given[1] < channels || given[2] != N {
                bail!(Shape, OP, "expected samples [{batch}, {channels}, {N}], got {:?}", &given[..]);
            }
            samples.narrow(0, 0, batch)?.narrow(1, 0, channels)?.to_dtype(x.dtype())?
        }
        None => {
            drawn = Tensor::rand([batch, channels, N], (x.dtype(), x.device()))?;
            drawn
        }
    }
    .detach();
    // places in the pooled dimensions: [n, c, output.., kernel..], a sum over the dimensions
    let mut places: Option<Tensor> = None;
    let mut step = 1;
    for d in (0..N).rev() {
        let sample = samples.select(-1, if N == 2 { 1 - d } else { d } as isize)?;
        let starts = starts(&sample, sizes[d], output[d], kernel[d])?;
        let within = Tensor::arange(0, kernel[d] as i32, 1, x.device())?;
        let mut beside = vec![batch, channels];
        beside.extend((0..2 * N).map(|i| if i == d { output[d] } else { 1 }));
        let starts = starts.reshape(&beside)?;
        beside[..].fill(1);
        beside[2 + N + d] = kernel[d];
        let own = ((starts + within.reshape(&beside)?)? * step)?;
        places = Some(match places {
            Some(others) => (others + own)?,
            None => own,
        });
        step *= sizes[d] as i32;
    }
    let Some(places) = places else { bail!(Shape, OP, "needs a dimension to pool") };
    let (windows, inside) = (output.iter().product::<usize>(), kernel.iter().product::<usize>());
    let places = places.reshape([batch, channels, windows * inside])?;
    let flat = x.reshape([batch, channels, sizes.iter().product()])?;
    let values = flat.gather(-1, &places)?.reshape([batch, channels, windows, inside])?;
    let (values, which) = values.max_dim(-1, true)?;
    let at = places.reshape([batch, channels, windows, inside])?.gather(-1, &which)?;
    let mut out = shape[..lead].to_vec();
    out.extend(output);
    Ok((values.reshape(&out)?, at.reshape(&out)?))
}

/// Where windows start: `[n, c]` samples to `[n, c, output]` places.
fn starts(sample: &Tensor, size: usize, output: usize, kernel: usize) -> Result<Tensor> {
    let last = (size - kernel) as i32;
    let end = Tensor::full([sample.size(0)?, sample.size(1)?, 1], last, (DType::I32, sample.device()))?;
    if output == 1 {
        return Ok(end);
    }
    let alpha = f64::from(last) / (output - 1) as f64;
    let alpha = if sample.dtype() == DType::F64 { alpha } else { f64::from(alpha as f32) };
    let u = sample.unsqueeze(-1)?;
    let steps = Tensor::arange(0, output as i32 - 1, 1, sample.device())?.to_dtype(u.dtype())?;
    let floor = |t: Tensor| (t * alpha)?.to_dtype(DType::I32);
    let starts = (floor((&steps + &u)?)? - floor(u)?)?;
    crate::ops::join::cat(&[&starts, &end], -1)
}

impl<const N: usize> FractionalOutput<N> {
    fn of(self, op: &str, sizes: [usize; N]) -> Result<[usize; N]> {
        let ratio = match self {
            Self::Size(size) => return Ok(size),
            Self::Ratio(ratio) => ratio,
        };
        if let Some(r) = ratio.iter().find(|r| !(**r > 0.0 && **r < 1.0)) {
            bail!(Value, op, "output_ratio must be between 0 and 1, got {r}");
        }
        Ok(std::array::from_fn(|d| (sizes[d] as f64 * ratio[d]) as usize))
    }
}

/// [`fractional_max_pool`] as a layer: `FractionalMaxPool2d::new(2, [4, 3])` pools to a size,
/// `FractionalMaxPool2d::with_ratio(2, [0.5, 0.5])` by a ratio.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{FractionalMaxPool2d, Layer};
/// let pool = FractionalMaxPool2d::with_ratio(2, [0.5, 0.7])?;
/// assert_eq!(&pool.forward(&Tensor::ones([1, 3, 8, 10], ())?)?.shape()[..], [1, 3, 4, 7]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct FractionalMaxPool<const N: usize> {
    /// Where windows start, drawn anew for each call where there are none.
    #[module(rename = "_random_samples")]
    pub random_samples: Option<Buffer>,
    #[module(skip)]
    kernel_size: [usize; N],
    #[module(skip)]
    output: FractionalOutput<N>,
}

impl<const N: usize> FractionalMaxPool<N> {
    /// Windows of these sides, so many of them.
    ///
    /// ```
    /// use calor::{Tensor, nn::{FractionalMaxPool2d, Layer}};
    /// let pool = FractionalMaxPool2d::new(2, [4, 3]);
    /// assert_eq!(&pool.forward(&Tensor::ones([1, 1, 8, 8], ())?)?.shape()[..], [1, 1, 4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(kernel_size: impl Sides<N>, output_size: impl Sides<N>) -> Self {
        let output = FractionalOutput::Size(output_size.sides());
        Self { random_samples: None, kernel_size: kernel_size.sides(), output }
    }

    /// Windows of these sides, so that sizes shrink by these ratios.
    ///
    /// ```
    /// use calor::nn::FractionalMaxPool2d;
    /// assert!(FractionalMaxPool2d::with_ratio(2, [0.5, 0.5]).is_ok());
    /// assert!(FractionalMaxPool2d::with_ratio(2, [0.5, 1.5]).is_err());
    /// ```
    ///
    /// # Errors
    /// `Value` for a ratio that is not between 0 and 1.
    pub fn with_ratio(kernel_size: impl Sides<N>, output_ratio: [f64; N]) -> Result<Self> {
        let output = FractionalOutput::Ratio(output_ratio);
        output.of("FractionalMaxPool", [1; N])?;
        Ok(Self { random_samples: None, kernel_size: kernel_size.sides(), output })
    }

    /// With these samples `[n, c, N]` for every call.
    ///
    /// ```
    /// use calor::{Tensor, nn::{FractionalMaxPool2d, Layer}};
    /// let x = Tensor::arange(0, 64, 1, calor::DType::F32)?.reshape([1, 8, 8])?;
    /// let pool = FractionalMaxPool2d::new(2, 4).random_samples(&Tensor::full([1, 1, 2], 0.5f32, ())?);
    /// // the same windows each time
    /// assert_eq!(pool.forward(&x)?.to_vec::<f32>()?, pool.forward(&x)?.to_vec::<f32>()?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn random_samples(self, samples: &Tensor) -> Self {
        Self { random_samples: Some(Buffer::new(samples)), ..self }
    }

    /// The values, and where they stand in the pooled dimensions, counted row by row.
    ///
    /// ```
    /// use calor::{Tensor, nn::FractionalMaxPool2d};
    /// let x = Tensor::arange(0, 64, 1, calor::DType::F32)?.reshape([1, 8, 8])?;
    /// let (y, at) = FractionalMaxPool2d::new(2, 4).forward_with_indices(&x)?;
    /// // each value is its own place
    /// assert_eq!(y.to_vec::<f32>()?, at.to_dtype(calor::DType::F32)?.to_vec::<f32>()?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of [`fractional_max_pool`].
    pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let samples = self.random_samples.as_ref().map(Buffer::tensor);
        fractional_max_pool(x, self.kernel_size, self.output, samples.as_ref())
    }
}

impl<const N: usize> Layer for FractionalMaxPool<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward_with_indices(x)?.0)
    }
}

/// [`FractionalMaxPool`] of the last two dimensions.
///
/// ```
/// use calor::{Tensor, nn::{FractionalMaxPool2d, Layer}};
/// assert_eq!(&FractionalMaxPool2d::new(2, 3).forward(&Tensor::ones([1, 5, 6], ())?)?.shape()[..], [1, 3, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type FractionalMaxPool2d = FractionalMaxPool<2>;
/// [`FractionalMaxPool`] of the last three dimensions.
///
/// ```
/// use calor::{Tensor, nn::{FractionalMaxPool3d, Layer}};
/// assert_eq!(&FractionalMaxPool3d::new(2, 3).forward(&Tensor::ones([1, 5, 6, 7], ())?)?.shape()[..], [1, 3, 3, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type FractionalMaxPool3d = FractionalMaxPool<3>;

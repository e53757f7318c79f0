//! Transposed convolutions over one, two and three dimensions.

use super::conv::{Sides, conv_options};
use super::{Layer, Module, Parameter, functional, init};
use crate::error::{Result, bail};
use crate::tensor::{Options, Tensor};

conv_options! {
    /// Options of [`ConvTranspose`].
    ///
    /// ```
    /// let options = calor::nn::ConvTransposeOptions::<2>::default().stride(2);
    /// assert_eq!((options.stride, options.output_padding), ([2, 2], [0, 0]));
    /// ```
    ConvTransposeOptions {
        /// What is added to one end of the output's sides.
        output_padding: [usize; N] = [0; N],
    }
}

impl<const N: usize> ConvTransposeOptions<N> {
    /// What is added to one end of the output's sides.
    ///
    /// ```
    /// use calor::{Tensor, nn::{ConvTranspose1d, ConvTransposeOptions, Layer}};
    /// let up = ConvTranspose1d::new(1, 1, 2, ConvTransposeOptions::default().stride(2).output_padding(1))?;
    /// assert_eq!(&up.forward(&Tensor::ones([1, 1, 3], ())?)?.shape()[..], [1, 1, 7]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn output_padding(self, output_padding: impl Sides<N>) -> Self {
        Self { output_padding: output_padding.sides(), ..self }
    }
}

/// What undoes the sizes of a convolution: `[n, in, ..]` to `[n, out, ..]`, `weight` is `[in, out / groups, kernel..]`.
///
/// A side of `size` becomes `(size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`. Weight and
/// bias start uniform in `± 1 / sqrt(out / groups * kernel)`.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{ConvTranspose2d, ConvTransposeOptions, Layer};
/// let up = ConvTranspose2d::new(8, 3, 2, ConvTransposeOptions::default().stride(2))?;
/// assert_eq!(&up.forward(&Tensor::ones([1, 8, 4, 4], ())?)?.shape()[..], [1, 3, 8, 8]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConvTranspose<const N: usize> {
    /// `[in, out / groups, kernel..]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: ConvTransposeOptions<N>,
}

/// A transposed convolution over one dimension: `[n, in, l]`.
///
/// ```
/// use calor::{Tensor, nn::{ConvTranspose1d, Layer}};
/// assert_eq!(&ConvTranspose1d::new(2, 4, 3, ())?.forward(&Tensor::ones([1, 2, 5], ())?)?.shape()[..], [1, 4, 7]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConvTranspose1d = ConvTranspose<1>;
/// A transposed convolution over two dimensions: `[n, in, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{ConvTranspose2d, Layer}};
/// assert_eq!(&ConvTranspose2d::new(2, 4, 3, ())?.forward(&Tensor::ones([1, 2, 5, 4], ())?)?.shape()[..], [1, 4, 7, 6]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConvTranspose2d = ConvTranspose<2>;
/// A transposed convolution over three dimensions: `[n, in, d, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{ConvTranspose3d, Layer}};
/// let up = ConvTranspose3d::new(2, 4, 3, ())?;
/// assert_eq!(&up.forward(&Tensor::ones([1, 2, 3, 2, 1], ())?)?.shape()[..], [1, 4, 5, 4, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize> ConvTranspose<N> {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::{ConvTranspose2d, ConvTransposeOptions};
    /// let up = ConvTranspose2d::new(4, 6, [3, 1], ConvTransposeOptions::default().groups(2))?;
    /// assert_eq!(&up.weight.shape()[..], [4, 3, 3, 1]);
    /// assert!(ConvTranspose2d::new(4, 6, 3, ConvTransposeOptions::default().groups(3)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the groups do not divide both numbers of channels.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: impl Sides<N>,
        options: impl Into<ConvTransposeOptions<N>>,
    ) -> Result<Self> {
        let options = options.into();
        let name = format!("ConvTranspose{N}d");
        let groups = options.groups;
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            bail!(Value, name, "{groups} groups do not divide {inputs} input and {outputs} output channels");
        }
        let mut shape = vec![inputs, outputs / groups];
        shape.extend(kernel.sides());
        let weight = init::empty(&name, &shape, &options.tensor)?;
        init::kaiming_uniform_(&weight, 5f64.sqrt(), init::Fan::In, init::Nonlinearity::LeakyRelu)?;
        let bias = match options.bias {
            true => Some(init::bias(&name, outputs, init::fans(&shape)?.0, &options.tensor)?),
            false => None,
        };
        Ok(Self { weight: Parameter::new(&weight)?, bias, options })
    }

    /// Stride, padding and the like.
    ///
    /// ```
    /// use calor::nn::{ConvTranspose2d, ConvTransposeOptions};
    /// assert_eq!(ConvTranspose2d::new(1, 1, 3, ConvTransposeOptions::default().stride(2))?.options().stride, [2, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn options(&self) -> &ConvTransposeOptions<N> {
        &self.options
    }

    /// The output with these sides, of those that a convolution would turn into the input's.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{ConvTranspose2d, ConvTransposeOptions};
    /// let up = ConvTranspose2d::new(2, 3, 3, ConvTransposeOptions::default().stride(2).padding(1))?;
    /// let x = Tensor::ones([1, 2, 4, 4], ())?;
    /// assert_eq!(&up.forward_sized(&x, [8, 7])?.shape()[..], [1, 3, 8, 7]);
    /// assert!(up.forward_sized(&x, 9).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for sides that cannot be, `Shape` where the input does not fit.
    pub fn forward_sized(&self, x: &Tensor, output_size: impl Sides<N>) -> Result<Tensor> {
        let (o, shape) = (&self.options, x.shape());
        let wanted = output_size.sides();
        let lead = shape.len().saturating_sub(N);
        let kernel = &self.weight.shape()[2..];
        let mut output_padding = [0; N];
        for (d, (&size, &side)) in shape[lead..].iter().zip(&wanted).enumerate() {
            let least = (size.saturating_sub(1) * o.stride[d] + o.dilation[d] * (kernel[d].saturating_sub(1)) + 1)
                .saturating_sub(2 * o.padding[d]);
            if side < least || side >= least + o.stride[d] {
                bail!(
                    Value,
                    format!("ConvTranspose{N}d"),
                    "requested an output size of {wanted:?}, but valid sizes of dimension {d} range from {least} to {}",
                    least + o.stride[d] - 1
                );
            }
            output_padding[d] = side - least;
        }
        self.apply(x, &output_padding)
    }

    fn apply(&self, x: &Tensor, output_padding: &[usize; N]) -> Result<Tensor> {
        let (o, bias) = (&self.options, self.bias.as_ref().map(Parameter::tensor));
        let sides = (&o.stride[..], &o.padding[..], &output_padding[..], &o.dilation[..]);
        functional::conv_transpose(x, &self.weight.tensor(), bias.as_ref(), sides, o.groups)
    }
}

impl<const N: usize> Layer for ConvTranspose<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, &self.options.output_padding)
    }
}

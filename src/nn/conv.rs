//! Convolutions over one, two and three dimensions.

use super::{Layer, Module, Parameter, functional, init};
use crate::error::{Result, bail};
use crate::ops::movement::PadMode;
use crate::tensor::{Options, Tensor};

/// One number for every spatial dimension, or one for each.
///
/// ```
/// use calor::nn::Conv2d;
/// // a kernel of 3 by 3, and one of 1 by 5
/// assert_eq!(Conv2d::new(1, 1, 3, ())?.weight.shape()[2..], [3, 3]);
/// assert_eq!(Conv2d::new(1, 1, [1, 5], ())?.weight.shape()[2..], [1, 5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Sides<const N: usize> {
    /// One number for each.
    ///
    /// ```
    /// use calor::nn::Sides;
    /// let both: [usize; 2] = 3.sides();
    /// assert_eq!((both, [1, 5].sides()), ([3, 3], [1, 5]));
    /// ```
    fn sides(self) -> [usize; N];
}

impl<const N: usize> Sides<N> for usize {
    fn sides(self) -> [usize; N] {
        [self; N]
    }
}

impl<const N: usize> Sides<N> for [usize; N] {
    fn sides(self) -> [usize; N] {
        self
    }
}

macro_rules! conv_options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<const N: usize> {
            /// Steps of the kernel.
            pub stride: [usize; N],
            /// What lies at both ends.
            pub padding: [usize; N],
            /// Distance between the kernel's elements.
            pub dilation: [usize; N],
            /// Groups of channels that do not see each other.
            pub groups: usize,
            /// Whether it learns an addend for each channel.
            pub bias: bool,
            $($(#[$field_doc])* pub $field: $ty,)*
            /// Dtype and device of the parameters.
            pub tensor: Options,
        }

        impl<const N: usize> Default for $name<N> {
            fn default() -> Self {
                Self {
                    stride: [1; N],
                    padding: [0; N],
                    dilation: [1; N],
                    groups: 1,
                    bias: true,
                    $($field: $default,)*
                    tensor: Options::default(),
                }
            }
        }

        impl<const N: usize> $name<N> {
            /// Steps of the kernel.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let options = ", stringify!($name), "::<2>::default().stride(2);")]
            /// assert_eq!(options.stride, [2, 2]);
            /// ```
            #[must_use]
            pub fn stride(self, stride: impl Sides<N>) -> Self {
                Self { stride: stride.sides(), ..self }
            }

            /// How much lies at both ends.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let options = ", stringify!($name), "::<2>::default().padding([1, 0]);")]
            /// assert_eq!(options.padding, [1, 0]);
            /// ```
            #[must_use]
            pub fn padding(self, padding: impl Sides<N>) -> Self {
                Self { padding: padding.sides(), ..self }
            }

            /// Distance between the kernel's elements.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let options = ", stringify!($name), "::<2>::default().dilation(2);")]
            /// assert_eq!(options.dilation, [2, 2]);
            /// ```
            #[must_use]
            pub fn dilation(self, dilation: impl Sides<N>) -> Self {
                Self { dilation: dilation.sides(), ..self }
            }

            /// Groups of channels that do not see each other.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let options = ", stringify!($name), "::<2>::default().groups(2);")]
            /// assert_eq!(options.groups, 2);
            /// ```
            #[must_use]
            pub fn groups(self, groups: usize) -> Self {
                Self { groups, ..self }
            }

            /// Whether it learns an addend for each channel.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("assert!(!", stringify!($name), "::<2>::default().bias(false).bias);")]
            /// ```
            #[must_use]
            pub fn bias(self, bias: bool) -> Self {
                Self { bias, ..self }
            }

            /// Dtype and device of the parameters.
            ///
            /// ```
            /// use calor::{DType, nn::*};
            #[doc = concat!("let options = ", stringify!($name), "::<2>::default().tensor(DType::F16);")]
            /// assert_eq!(options.tensor.dtype(), Some(DType::F16));
            /// ```
            #[must_use]
            pub fn tensor(self, tensor: impl Into<Options>) -> Self {
                Self { tensor: tensor.into(), ..self }
            }
        }

        impl<const N: usize> From<()> for $name<N> {
            fn from((): ()) -> Self {
                Self::default()
            }
        }

        impl<const N: usize> From<crate::dtype::DType> for $name<N> {
            fn from(dtype: crate::dtype::DType) -> Self {
                Self::default().tensor(dtype)
            }
        }

        impl<const N: usize> From<&crate::tensor::Device> for $name<N> {
            fn from(device: &crate::tensor::Device) -> Self {
                Self::default().tensor(device)
            }
        }

        impl<const N: usize> From<(crate::dtype::DType, &crate::tensor::Device)> for $name<N> {
            fn from(both: (crate::dtype::DType, &crate::tensor::Device)) -> Self {
                Self::default().tensor(both)
            }
        }
    };
}
pub(super) use conv_options;

conv_options! {
    /// Options of [`Conv`].
    ///
    /// ```
    /// use calor::nn::ConvOptions;
    /// let options = ConvOptions::<2>::default().stride(2).padding([1, 0]);
    /// assert_eq!((options.stride, options.padding, options.bias), ([2, 2], [1, 0], true));
    /// ```
    ConvOptions {
        /// Whether there is as much padding as keeps the sizes.
        same: bool = false,
        /// What the padding is: zeros, or made of the input.
        padding_mode: PadMode = PadMode::Constant(0.0),
    }
}

impl<const N: usize> ConvOptions<N> {
    /// As much padding as keeps the sizes: PyTorch's `padding="same"`.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Conv1d, ConvOptions, Layer}};
    /// let conv = Conv1d::new(1, 1, 3, ConvOptions::default().same())?;
    /// assert_eq!(&conv.forward(&Tensor::ones([1, 1, 5], ())?)?.shape()[..], [1, 1, 5]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn same(self) -> Self {
        Self { same: true, ..self }
    }

    /// What the padding is.
    ///
    /// ```
    /// use calor::{PadMode, Tensor, nn::{Conv1d, ConvOptions, Layer}};
    /// let options = ConvOptions::default().padding(2).padding_mode(PadMode::Circular);
    /// assert_eq!(&Conv1d::new(1, 1, 3, options)?.forward(&Tensor::ones([1, 1, 5], ())?)?.shape()[..], [1, 1, 7]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn padding_mode(self, padding_mode: PadMode) -> Self {
        Self { padding_mode, ..self }
    }
}

/// A convolution over `N` dimensions: `[n, in, ...]` to `[n, out, ...]`, `weight` is `[out, in / groups, kernel...]`.
///
/// A side of `size` becomes `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1`. Weight and bias start
/// uniform in `± 1 / sqrt(in / groups * kernel)`.
///
/// ```
/// use calor::nn::{Conv2d, Conv2dOptions, Layer};
/// use calor::Tensor;
/// let conv = Conv2d::new(3, 8, 3, Conv2dOptions::default().stride(2).padding(1))?;
/// assert_eq!(&conv.forward(&Tensor::ones([1, 3, 8, 8], ())?)?.shape()[..], [1, 8, 4, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv<const N: usize> {
    /// `[out, in / groups, kernel...]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: ConvOptions<N>,
}

/// A convolution over one dimension: `[n, in, l]`.
///
/// ```
/// use calor::{Tensor, nn::{Conv1d, Layer}};
/// assert_eq!(&Conv1d::new(2, 4, 3, ())?.forward(&Tensor::ones([1, 2, 5], ())?)?.shape()[..], [1, 4, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Conv1d = Conv<1>;
/// A convolution over two dimensions: `[n, in, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{Conv2d, Layer}};
/// assert_eq!(&Conv2d::new(2, 4, 3, ())?.forward(&Tensor::ones([1, 2, 5, 4], ())?)?.shape()[..], [1, 4, 3, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Conv2d = Conv<2>;
/// A convolution over three dimensions: `[n, in, d, h, w]`.
///
/// ```
/// use calor::{Tensor, nn::{Conv3d, Layer}};
/// assert_eq!(&Conv3d::new(2, 4, 3, ())?.forward(&Tensor::ones([1, 2, 5, 4, 3], ())?)?.shape()[..], [1, 4, 3, 2, 1]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type Conv3d = Conv<3>;
/// Options of [`Conv1d`].
///
/// ```
/// assert_eq!(calor::nn::Conv1dOptions::default().stride(2).stride, [2]);
/// ```
pub type Conv1dOptions = ConvOptions<1>;
/// Options of [`Conv2d`].
///
/// ```
/// assert_eq!(calor::nn::Conv2dOptions::default().stride(2).stride, [2, 2]);
/// ```
pub type Conv2dOptions = ConvOptions<2>;
/// Options of [`Conv3d`].
///
/// ```
/// assert_eq!(calor::nn::Conv3dOptions::default().stride(2).stride, [2, 2, 2]);
/// ```
pub type Conv3dOptions = ConvOptions<3>;

impl<const N: usize> Conv<N> {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::{Conv2d, ConvOptions};
    /// let conv = Conv2d::new(4, 6, [3, 1], ConvOptions::default().groups(2))?;
    /// assert_eq!(&conv.weight.shape()[..], [6, 2, 3, 1]);
    /// assert!(Conv2d::new(4, 6, 3, ConvOptions::default().groups(3)).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the groups do not divide both numbers of channels.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: impl Sides<N>,
        options: impl Into<ConvOptions<N>>,
    ) -> Result<Self> {
        let options = options.into();
        let name = format!("Conv{N}d");
        let groups = options.groups;
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            bail!(Value, name, "{groups} groups do not divide {inputs} input and {outputs} output channels");
        }
        if options.same && options.stride != [1; N] {
            bail!(Value, name, "padding='same' is not supported for strided convolutions");
        }
        let mut shape = vec![outputs, inputs / groups];
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
    /// use calor::nn::{Conv2d, ConvOptions};
    /// assert_eq!(Conv2d::new(1, 1, 3, ConvOptions::default().dilation(2))?.options().dilation, [2, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn options(&self) -> &ConvOptions<N> {
        &self.options
    }
}

impl<const N: usize> Layer for Conv<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Parameter::tensor);
        let (o, weight) = (&self.options, self.weight.tensor());
        let (x, padding) = match (o.padding_mode, o.same) {
            (PadMode::Constant(0.0), true) => (x.clone(), functional::Padding::Same),
            (PadMode::Constant(0.0), false) => (x.clone(), functional::Padding::Sides(&o.padding)),
            (mode, _) => (self.padded(x, &weight, mode)?, functional::Padding::Valid),
        };
        functional::conv(&x, &weight, bias.as_ref(), (&o.stride, padding, &o.dilation), o.groups)
    }
}

impl<const N: usize> Conv<N> {
    fn padded(&self, x: &Tensor, weight: &Tensor, mode: PadMode) -> Result<Tensor> {
        let (o, shape) = (&self.options, weight.shape());
        let mut pad = Vec::new();
        for d in (0..N).rev() {
            let total = if o.same { o.dilation[d] * (shape[2 + d].max(1) - 1) } else { 2 * o.padding[d] };
            pad.extend([(total / 2) as isize, (total - total / 2) as isize]);
        }
        x.pad(&pad, mode)
    }
}

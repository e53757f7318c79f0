//! Pooling to a given size, by a norm, and what undoes a pooling.

use super::activation::plain_layer_n;
use super::conv::Sides;
use super::{AvgPool, Field, Layer, MaxPool, Module, Visitor, functional};
use crate::error::Result;
use crate::tensor::Tensor;

macro_rules! adaptive {
    ($($(#[$doc:meta])* $name:ident $one:ident $two:ident $three:ident, |$x:ident, $output:ident| $forward:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name<const N: usize> {
                /// Sizes of the output; `None` keeps a dimension.
                pub output_size: [Option<usize>; N],
            }

            impl<const N: usize> $name<N> {
                /// Pools to these sizes.
                ///
                /// ```
                #[doc = concat!("let pool = calor::nn::", stringify!($two), "::new([3, 4]);")]
                /// assert_eq!(pool.output_size, [Some(3), Some(4)]);
                /// ```
                pub fn new(output_size: impl Sides<N>) -> Self {
                    Self { output_size: output_size.sides().map(Some) }
                }

                /// Pools to these sizes, and keeps where there is none.
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = concat!("let pool = ", stringify!($two), "::keeping([None, Some(2)]);")]
                /// assert_eq!(&pool.forward(&Tensor::ones([1, 5, 6], ())?)?.shape()[..], [1, 5, 2]);
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn keeping(output_size: [Option<usize>; N]) -> Self {
                    Self { output_size }
                }
            }

            plain_layer_n!($name, |this, $x| {
                let $output = &this.output_size;
                $forward
            });

            #[doc = concat!("[`", stringify!($name), "`] of the last dimension.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($one), "::new(2).forward(&Tensor::ones([3, 6], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 2]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $one = $name<1>;
            #[doc = concat!("[`", stringify!($name), "`] of the last two dimensions.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($two), "::new(2).forward(&Tensor::ones([3, 6, 5], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 2, 2]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $two = $name<2>;
            #[doc = concat!("[`", stringify!($name), "`] of the last three dimensions.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($three), "::new(2).forward(&Tensor::ones([3, 6, 5, 4], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 2, 2, 2]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $three = $name<3>;
        )*
    };
}

adaptive! {
    /// The mean over windows that divide the last `N` dimensions of `[n, c, ..]` or `[c, ..]` into so many parts.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{AdaptiveAvgPool2d, Layer};
    /// assert_eq!(&AdaptiveAvgPool2d::new(1).forward(&Tensor::ones([2, 3, 4, 5], ())?)?.shape()[..], [2, 3, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AdaptiveAvgPool AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d,
        |x, output| functional::adaptive_avg_pool(x, output);
    /// The largest value of windows that divide the last `N` dimensions of `[n, c, ..]` or `[c, ..]` into so many parts.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{AdaptiveMaxPool1d, Layer};
    /// let y = AdaptiveMaxPool1d::new(1).forward(&Tensor::new([[1.0f32, 3.0, 2.0]], ())?)?;
    /// assert_eq!(y.item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AdaptiveMaxPool AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d,
        |x, output| Ok(functional::adaptive_max_pool(x, output)?.0);
}

impl<const N: usize> AdaptiveMaxPool<N> {
    /// The values, and where they stand in the pooled dimensions, counted row by row.
    ///
    /// ```
    /// use calor::{Tensor, nn::AdaptiveMaxPool1d};
    /// let (y, at) = AdaptiveMaxPool1d::new(1).forward_with_indices(&Tensor::new([[1.0f32, 3.0, 2.0]], ())?)?;
    /// assert_eq!((y.item()?, at.item()?), (3.0, 1.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        functional::adaptive_max_pool(x, &self.output_size)
    }
}

impl<const N: usize> MaxPool<N> {
    /// The values, and where they stand in the pooled dimensions, counted row by row.
    ///
    /// ```
    /// use calor::{Tensor, nn::MaxPool1d};
    /// let (y, at) = MaxPool1d::new(2).forward_with_indices(&Tensor::new([[1.0f32, 3.0, 4.0, 2.0]], ())?)?;
    /// assert_eq!((y.to_vec::<f32>()?, at.to_vec::<i32>()?), (vec![3.0, 4.0], vec![1, 2]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        functional::max_pool_with_indices(x, self)
    }
}

/// `(sum x^p)^(1 / p)` over each window of the last `N` dimensions.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{LPPool1d, Layer};
/// assert_eq!(LPPool1d::new(2.0, 2).forward(&Tensor::new([[3.0f32, 4.0]], ())?)?.item()?, 5.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LPPool<const N: usize> {
    /// The exponent.
    pub norm_type: f64,
    /// The windows.
    pub windows: AvgPool<N>,
}

impl<const N: usize> LPPool<N> {
    /// Windows side by side.
    ///
    /// ```
    /// let pool = calor::nn::LPPool2d::new(2.0, [2, 3]);
    /// assert_eq!((pool.norm_type, pool.windows.kernel_size), (2.0, [2, 3]));
    /// ```
    pub fn new(norm_type: f64, kernel_size: impl Sides<N>) -> Self {
        Self { norm_type, windows: AvgPool::new(kernel_size) }
    }

    /// Steps of the window.
    ///
    /// ```
    /// use calor::{Tensor, nn::{LPPool1d, Layer}};
    /// let y = LPPool1d::new(1.0, 2).stride(1).forward(&Tensor::new([[1.0f32, 2.0, 3.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 5.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn stride(self, stride: impl Sides<N>) -> Self {
        Self { windows: self.windows.stride(stride), ..self }
    }

    /// Whether a window may pass the end.
    ///
    /// ```
    /// use calor::{Tensor, nn::{LPPool1d, Layer}};
    /// let pool = LPPool1d::new(2.0, 2).ceil_mode(true);
    /// assert_eq!(&pool.forward(&Tensor::ones([1, 3], ())?)?.shape()[..], [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { windows: self.windows.ceil_mode(ceil_mode), ..self }
    }
}
plain_layer_n!(LPPool, |this, x| functional::lp_pool(x, this.norm_type, &this.windows));

/// [`LPPool`] of the last dimension.
///
/// ```
/// use calor::{Tensor, nn::{LPPool1d, Layer}};
/// assert_eq!(LPPool1d::new(2.0, 2).forward(&Tensor::new([[3.0f32, 4.0]], ())?)?.item()?, 5.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type LPPool1d = LPPool<1>;
/// [`LPPool`] of the last two dimensions.
///
/// ```
/// use calor::{Tensor, nn::{LPPool2d, Layer}};
/// assert_eq!(LPPool2d::new(2.0, 2).forward(&Tensor::ones([1, 2, 2], ())?)?.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type LPPool2d = LPPool<2>;
/// [`LPPool`] of the last three dimensions.
///
/// ```
/// use calor::{Tensor, nn::{LPPool3d, Layer}};
/// assert_eq!(LPPool3d::new(1.0, 2).forward(&Tensor::ones([1, 2, 2, 2], ())?)?.item()?, 8.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type LPPool3d = LPPool<3>;

/// Puts the values of a maximum pooling back where they came from, zeros elsewhere.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{MaxPool1d, MaxUnpool1d};
/// let (y, at) = MaxPool1d::new(2).forward_with_indices(&Tensor::new([[1.0f32, 3.0]], ())?)?;
/// assert_eq!(MaxUnpool1d::new(2).forward(&y, &at, None)?.to_vec::<f32>()?, [0.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxUnpool<const N: usize> {
    /// The pooling that is undone.
    pub pool: MaxPool<N>,
}

impl<const N: usize> MaxUnpool<N> {
    /// Undoes a pooling of windows side by side.
    ///
    /// ```
    /// assert_eq!(calor::nn::MaxUnpool2d::new(2).pool, calor::nn::MaxPool2d::new(2));
    /// ```
    pub fn new(kernel_size: impl Sides<N>) -> Self {
        Self { pool: MaxPool::new(kernel_size) }
    }

    /// Values and their places to what was pooled; `output_size` says which of the sizes that pool to it is meant.
    ///
    /// ```
    /// use calor::{Tensor, nn::MaxUnpool1d};
    /// let (x, at) = (Tensor::new([[3.0f32]], ())?, Tensor::new([[1i32]], ())?);
    /// assert_eq!(MaxUnpool1d::new(2).forward(&x, &at, Some([3]))?.to_vec::<f32>()?, [0.0, 3.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, indices: &Tensor, output_size: Option<[usize; N]>) -> Result<Tensor> {
        functional::max_unpool(x, indices, &self.pool, output_size)
    }
}

impl<const N: usize> Module for MaxUnpool<N> {
    fn visit(&self, _visitor: &mut dyn Visitor) {}
    fn set_training(&self, _training: bool) {}

    fn extra_repr(&self) -> String {
        crate::nn::summary::fields(self)
    }
}

impl<const N: usize> Field for MaxUnpool<N> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.module(name, self);
        visitor.leave();
    }
}

/// [`MaxUnpool`] of the last dimension.
///
/// ```
/// use calor::{Tensor, nn::MaxUnpool1d};
/// let (x, at) = (Tensor::new([[3.0f32]], ())?, Tensor::new([[1i32]], ())?);
/// assert_eq!(MaxUnpool1d::new(2).forward(&x, &at, None)?.to_vec::<f32>()?, [0.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type MaxUnpool1d = MaxUnpool<1>;
/// [`MaxUnpool`] of the last two dimensions.
///
/// ```
/// use calor::{Tensor, nn::MaxUnpool2d};
/// let (x, at) = (Tensor::new([[[3.0f32]]], ())?, Tensor::new([[[2i32]]], ())?);
/// assert_eq!(MaxUnpool2d::new(2).forward(&x, &at, None)?.to_vec::<f32>()?, [0.0, 0.0, 3.0, 0.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type MaxUnpool2d = MaxUnpool<2>;
/// [`MaxUnpool`] of the last three dimensions.
///
/// ```
/// use calor::{Tensor, nn::MaxUnpool3d};
/// let (x, at) = (Tensor::new([[[[3.0f32]]]], ())?, Tensor::new([[[[7i32]]]], ())?);
/// assert_eq!(MaxUnpool3d::new(2).forward(&x, &at, None)?.to_vec::<f32>()?[7], 3.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type MaxUnpool3d = MaxUnpool<3>;

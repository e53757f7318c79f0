//! Pooling and flattening.

use super::activation::plain_layer;
use super::conv::Sides;
use super::{Field, Layer, Module, Visitor, functional};
use crate::error::Result;
use crate::tensor::Tensor;

macro_rules! pool {
    ($(#[$doc:meta])* $name:ident $function:ident {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)*
    } $($alias:ident = $n:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<const N: usize> {
            /// Sides of a window.
            pub kernel_size: [usize; N],
            /// Steps of the window.
            pub stride: [usize; N],
            /// Border at both ends, at most half a window.
            pub padding: [usize; N],
            /// Whether a window may pass the end.
            pub ceil_mode: bool,
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl<const N: usize> $name<N> {
            /// Windows side by side.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let pool = ", stringify!($name), "::<2>::new([2, 3]);")]
            /// assert_eq!((pool.kernel_size, pool.stride), ([2, 3], [2, 3]));
            /// ```
            pub fn new(kernel_size: impl Sides<N>) -> Self {
                let kernel_size = kernel_size.sides();
                Self { kernel_size, stride: kernel_size, padding: [0; N], ceil_mode: false, $($field: $default,)* }
            }

            /// Steps of the window.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let pool = ", stringify!($name), "::<2>::new(2).stride(1);")]
            /// assert_eq!(pool.stride, [1, 1]);
            /// ```
            #[must_use]
            pub fn stride(self, stride: impl Sides<N>) -> Self {
                Self { stride: stride.sides(), ..self }
            }

            /// Border at both ends, at most half a window.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let pool = ", stringify!($name), "::<2>::new(2).padding([1, 0]);")]
            /// assert_eq!(pool.padding, [1, 0]);
            /// ```
            #[must_use]
            pub fn padding(self, padding: impl Sides<N>) -> Self {
                Self { padding: padding.sides(), ..self }
            }

            /// Whether a window may pass the end.
            ///
            /// ```
            /// use calor::nn::*;
            #[doc = concat!("let pool = ", stringify!($name), "::<2>::new(2).ceil_mode(true);")]
            /// assert_eq!(pool.ceil_mode, true);
            /// ```
            #[must_use]
            pub fn ceil_mode(self, ceil_mode: bool) -> Self {
                Self { ceil_mode, ..self }
            }
        }

        impl<const N: usize> Layer for $name<N> {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                functional::$function(x, self)
            }
        }

        impl<const N: usize> Module for $name<N> {
            fn visit(&self, _visitor: &mut dyn Visitor) {}
            fn set_training(&self, _training: bool) {}

            fn extra_repr(&self) -> String {
                crate::nn::summary::fields(self)
            }
        }

        impl<const N: usize> Field for $name<N> {
            fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                visitor.module(name, self);
                visitor.leave();
            }
        }

        $(
            #[doc = concat!("[`", stringify!($name), "`] over the last dimensions, ", stringify!($n), " of them.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let x = Tensor::ones([4; ", stringify!($n), " + 1], ())?;")]
            #[doc = concat!("assert_eq!(", stringify!($alias), "::new(2).forward(&x)?.shape()[1..], [2; ", stringify!($n), "]);")]
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $alias = $name<$n>;
        )*
    };
}

pool! {
    /// The largest value in each window of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`; the border is
    /// negative infinity.
    ///
    /// ```
    /// use calor::nn::{Layer, MaxPool2d};
    /// use calor::Tensor;
    /// let x = Tensor::new([[[1.0f32, 2.0], [4.0, 3.0]]], ())?;
    /// assert_eq!(MaxPool2d::new(2).forward(&x)?.item()?, 4.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    MaxPool max_pool {
        /// Distance between a window's elements.
        dilation: [usize; N] = [1; N],
    }
    MaxPool1d = 1;
    MaxPool2d = 2;
    MaxPool3d = 3;
}

impl<const N: usize> MaxPool<N> {
    /// Distance between a window's elements.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, MaxPool1d}};
    /// let y = MaxPool1d::new(2).stride(1).dilation(2).forward(&Tensor::new([[1.0f32, 9.0, 3.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn dilation(self, dilation: impl Sides<N>) -> Self {
        Self { dilation: dilation.sides(), ..self }
    }
}

pool! {
    /// The mean of each window of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`; the border is zeros.
    ///
    /// ```
    /// use calor::nn::{AvgPool2d, Layer};
    /// use calor::Tensor;
    /// let x = Tensor::new([[[1.0f32, 2.0], [4.0, 3.0]]], ())?;
    /// assert_eq!(AvgPool2d::new(2).forward(&x)?.item()?, 2.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    AvgPool avg_pool {
        /// Whether the border counts.
        count_include_pad: bool = true,
        /// Divides by this instead of the number of elements.
        divisor_override: Option<i64> = None,
    }
    AvgPool1d = 1;
    AvgPool2d = 2;
    AvgPool3d = 3;
}

impl<const N: usize> AvgPool<N> {
    /// Whether the border counts.
    ///
    /// ```
    /// use calor::{Tensor, nn::{AvgPool1d, Layer}};
    /// let y = AvgPool1d::new(2).padding(1).count_include_pad(false).forward(&Tensor::new([[4.0f32, 8.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [4.0, 8.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Divides by this instead of the number of elements.
    ///
    /// ```
    /// use calor::{Tensor, nn::{AvgPool1d, Layer}};
    /// let y = AvgPool1d::new(2).divisor_override(1).forward(&Tensor::new([[4.0f32, 8.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [12.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn divisor_override(self, divisor: i64) -> Self {
        Self { divisor_override: Some(divisor), ..self }
    }
}

/// Dimensions `start..=end` as one; by default all but the first.
///
/// ```
/// use calor::{Tensor, nn::{Flatten, Layer}};
/// let layer = Flatten { start: 0, end: 1 };
/// assert_eq!(&layer.forward(&Tensor::ones([2, 3, 4], ())?)?.shape()[..], [6, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// First dimension.
    pub start: isize,
    /// Last dimension.
    pub end: isize,
}

impl Flatten {
    /// All dimensions but the first.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Flatten, Layer}};
    /// assert_eq!(&Flatten::new().forward(&Tensor::ones([2, 3, 4], ())?)?.shape()[..], [2, 12]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start: 1, end: -1 }
    }
}

plain_layer!(Flatten, |this, x| x.flatten(this.start, this.end));

//! Padding, as layers.

use super::activation::plain_layer_n;
use super::{Field, Layer, Module, Visitor};
use crate::error::{Result, bail};
use crate::ops::movement::PadMode;
use crate::tensor::Tensor;

/// How much is put at the ends: one number for all, or for each of `N` dimensions from the last on those of its start
/// and its end. Negative numbers cut.
///
/// ```
/// use calor::{Tensor, nn::{Layer, ZeroPad2d}};
/// let x = Tensor::ones([1, 2, 3], ())?;
/// assert_eq!(&ZeroPad2d::new(1).forward(&x)?.shape()[..], [1, 4, 5]);
/// // one column before, two behind, one row less
/// assert_eq!(&ZeroPad2d::new([[1, 2], [0, -1]]).forward(&x)?.shape()[..], [1, 1, 6]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Ends<const N: usize> {
    /// Start and end of each dimension, the last one first.
    ///
    /// ```
    /// use calor::nn::Ends;
    /// let all: [[isize; 2]; 2] = 1.ends();
    /// assert_eq!((all, [[1, 2]].ends()), ([[1, 1], [1, 1]], [[1, 2]]));
    /// ```
    fn ends(self) -> [[isize; 2]; N];
}

impl<const N: usize> Ends<N> for isize {
    fn ends(self) -> [[isize; 2]; N] {
        [[self; 2]; N]
    }
}

impl<const N: usize> Ends<N> for [[isize; 2]; N] {
    fn ends(self) -> [[isize; 2]; N] {
        self
    }
}

fn pad<const N: usize>(name: &str, x: &Tensor, ends: &[[isize; 2]; N], mode: PadMode) -> Result<Tensor> {
    let rank = x.dim();
    if rank != N + 1 && rank != N + 2 {
        bail!(Shape, format!("{name}{N}d"), "expected {}D or {}D input (got {rank}D input)", N + 1, N + 2);
    }
    x.pad(ends.as_flattened(), mode)
}

macro_rules! padding {
    ($($(#[$doc:meta])* $name:ident $mode:ident $one:ident $two:ident $three:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name<const N: usize> {
                /// Start and end of each dimension, the last one first.
                pub padding: [[isize; 2]; N],
            }

            impl<const N: usize> $name<N> {
                /// With so much at the ends.
                ///
                /// ```
                #[doc = concat!("let pad = calor::nn::", stringify!($two), "::new([[1, 2], [0, 3]]);")]
                /// assert_eq!(pad.padding, [[1, 2], [0, 3]]);
                /// ```
                pub fn new(padding: impl Ends<N>) -> Self {
                    Self { padding: padding.ends() }
                }
            }

            plain_layer_n!($name, |this, x| pad(stringify!($name), x, &this.padding, PadMode::$mode));

            #[doc = concat!("[`", stringify!($name), "`] of the last dimension.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($one), "::new(1).forward(&Tensor::ones([3, 6], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 8]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $one = $name<1>;
            #[doc = concat!("[`", stringify!($name), "`] of the last two dimensions.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($two), "::new(1).forward(&Tensor::ones([3, 6, 5], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 8, 7]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $two = $name<2>;
            #[doc = concat!("[`", stringify!($name), "`] of the last three dimensions.")]
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = concat!("let y = ", stringify!($three), "::new(1).forward(&Tensor::ones([3, 6, 5, 4], ())?)?;")]
            /// assert_eq!(&y.shape()[..], [3, 8, 7, 6]);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub type $three = $name<3>;
        )*
    };
}

padding! {
    /// Elements mirrored at the border of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{Layer, ReflectionPad1d};
    /// let y = ReflectionPad1d::new(1).forward(&Tensor::new([[1.0f32, 2.0, 3.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 1.0, 2.0, 3.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ReflectionPad Reflect ReflectionPad1d ReflectionPad2d ReflectionPad3d;
    /// The border element of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`, repeated.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{Layer, ReplicationPad1d};
    /// let y = ReplicationPad1d::new(1).forward(&Tensor::new([[1.0f32, 2.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ReplicationPad Replicate ReplicationPad1d ReplicationPad2d ReplicationPad3d;
    /// Elements from the other end of the last `N` dimensions of `[n, c, ..]` or `[c, ..]`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{CircularPad1d, Layer};
    /// let y = CircularPad1d::new(1).forward(&Tensor::new([[1.0f32, 2.0, 3.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 1.0, 2.0, 3.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    CircularPad Circular CircularPad1d CircularPad2d CircularPad3d;
}

/// A number around the last `N` dimensions of any tensor.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{ConstantPad1d, Layer};
/// let y = ConstantPad1d::new([[2, 0]], 7.0).forward(&Tensor::new([1.0f32], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [7.0, 7.0, 1.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantPad<const N: usize> {
    /// Start and end of each dimension, the last one first.
    pub padding: [[isize; 2]; N],
    /// The number.
    pub value: f64,
}

impl<const N: usize> ConstantPad<N> {
    /// With so much of `value` at the ends.
    ///
    /// ```
    /// let pad = calor::nn::ConstantPad1d::new(2, 7.0);
    /// assert_eq!((pad.padding, pad.value), ([[2, 2]], 7.0));
    /// ```
    pub fn new(padding: impl Ends<N>, value: f64) -> Self {
        Self { padding: padding.ends(), value }
    }
}
plain_layer_n!(ConstantPad, |this, x| x.pad(this.padding.as_flattened(), PadMode::Constant(this.value)));

/// [`ConstantPad`] of the last dimension.
///
/// ```
/// use calor::{Tensor, nn::{ConstantPad1d, Layer}};
/// let y = ConstantPad1d::new(1, 7.0).forward(&Tensor::ones([1, 1], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [7.0, 1.0, 7.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConstantPad1d = ConstantPad<1>;
/// [`ConstantPad`] of the last two dimensions.
///
/// ```
/// use calor::{Tensor, nn::{ConstantPad2d, Layer}};
/// assert_eq!(ConstantPad2d::new(1, 7.0).forward(&Tensor::ones([1, 1, 1], ())?)?.sum()?.item()?, 57.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConstantPad2d = ConstantPad<2>;
/// [`ConstantPad`] of the last three dimensions.
///
/// ```
/// use calor::{Tensor, nn::{ConstantPad3d, Layer}};
/// assert_eq!(&ConstantPad3d::new(1, 7.0).forward(&Tensor::ones([1, 2, 3, 4], ())?)?.shape()[..], [1, 4, 5, 6]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ConstantPad3d = ConstantPad<3>;

/// Zeros around the last `N` dimensions of any tensor.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, ZeroPad2d};
/// assert_eq!(&ZeroPad2d::new(1).forward(&Tensor::ones([1, 2, 2], ())?)?.shape()[..], [1, 4, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroPad<const N: usize> {
    /// Start and end of each dimension, the last one first.
    pub padding: [[isize; 2]; N],
}

impl<const N: usize> ZeroPad<N> {
    /// With so many zeros at the ends.
    ///
    /// ```
    /// assert_eq!(calor::nn::ZeroPad1d::new([[0, 2]]).padding, [[0, 2]]);
    /// ```
    pub fn new(padding: impl Ends<N>) -> Self {
        Self { padding: padding.ends() }
    }
}
plain_layer_n!(ZeroPad, |this, x| x.pad(this.padding.as_flattened(), PadMode::Constant(0.0)));

/// [`ZeroPad`] of the last dimension.
///
/// ```
/// use calor::{Tensor, nn::{Layer, ZeroPad1d}};
/// let y = ZeroPad1d::new(1).forward(&Tensor::ones([1, 1], ())?)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 0.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ZeroPad1d = ZeroPad<1>;
/// [`ZeroPad`] of the last two dimensions.
///
/// ```
/// use calor::{Tensor, nn::{Layer, ZeroPad2d}};
/// assert_eq!(&ZeroPad2d::new(1).forward(&Tensor::ones([1, 2, 3], ())?)?.shape()[..], [1, 4, 5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ZeroPad2d = ZeroPad<2>;
/// [`ZeroPad`] of the last three dimensions.
///
/// ```
/// use calor::{Tensor, nn::{Layer, ZeroPad3d}};
/// assert_eq!(&ZeroPad3d::new(1).forward(&Tensor::ones([1, 2, 3, 4], ())?)?.shape()[..], [1, 4, 5, 6]);
/// # Ok::<(), calor::Error>(())
/// ```
pub type ZeroPad3d = ZeroPad<3>;

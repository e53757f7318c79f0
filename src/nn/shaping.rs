//! Layers that move or resize, and those of two inputs.

use super::activation::plain_layer;
use super::conv::Sides;
use super::functional::{self, Resize, ResizeMode};
use super::linear::LinearOptions;
use super::{Field, Layer, Module, Parameter, Visitor, init};
use crate::error::{Result, bail};
use crate::tensor::Tensor;

macro_rules! moving {
    ($($(#[$doc:meta])* $name:ident $field:ident $method:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                /// The factor or number of groups.
                pub $field: usize,
            }

            impl $name {
                /// With this factor or number of groups.
                ///
                /// ```
                #[doc = concat!("assert_eq!(calor::nn::", stringify!($name), "::new(2).", stringify!($field), ", 2);")]
                /// ```
                pub fn new($field: usize) -> Self {
                    Self { $field }
                }
            }
            plain_layer!($name, |this, x| x.$method(this.$field));
        )*
    };
}

moving! {
    /// `[*, c r^2, h, w]` to `[*, c, h r, w r]`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{Layer, PixelShuffle};
    /// assert_eq!(&PixelShuffle::new(2).forward(&Tensor::ones([1, 4, 3, 3], ())?)?.shape()[..], [1, 1, 6, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    PixelShuffle upscale_factor pixel_shuffle;
    /// `[*, c, h r, w r]` to `[*, c r^2, h, w]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, PixelUnshuffle}};
    /// assert_eq!(&PixelUnshuffle::new(2).forward(&Tensor::ones([1, 1, 6, 6], ())?)?.shape()[..], [1, 4, 3, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    PixelUnshuffle downscale_factor pixel_unshuffle;
    /// The channels of `[n, c, ..]`, dealt out among groups.
    ///
    /// ```
    /// use calor::{Tensor, nn::{ChannelShuffle, Layer}};
    /// let x = Tensor::new([[[[1.0f32]], [[2.0]], [[3.0]], [[4.0]]]], ())?;
    /// assert_eq!(ChannelShuffle::new(2).forward(&x)?.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ChannelShuffle groups channel_shuffle;
}

/// One dimension as several.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, Unflatten};
/// assert_eq!(&Unflatten::new(1, &[2, 3]).forward(&Tensor::ones([5, 6], ())?)?.shape()[..], [5, 2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unflatten {
    /// The dimension.
    pub dim: isize,
    /// Its sizes; one may be -1.
    pub sizes: Vec<isize>,
}

impl Unflatten {
    /// Dimension `dim` as these sizes.
    ///
    /// ```
    /// let layer = calor::nn::Unflatten::new(1, &[2, -1]);
    /// assert_eq!((layer.dim, layer.sizes), (1, vec![2, -1]));
    /// ```
    pub fn new(dim: isize, sizes: &[isize]) -> Self {
        Self { dim, sizes: sizes.to_vec() }
    }
}
plain_layer!(Unflatten, |this, x| x.unflatten(this.dim, &this.sizes));

/// [`functional::interpolate`] with its options kept.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, Upsample, functional::Resize};
/// let up = Upsample::new(Resize { scale_factor: Some(vec![2.0]), ..Resize::default() });
/// assert_eq!(up.forward(&Tensor::new([[[1.0f32, 3.0]]], ())?)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upsample {
    /// Sizes or factors, and how values are found.
    pub options: Resize,
}

impl Upsample {
    /// Resizes as the options say.
    ///
    /// ```
    /// use calor::nn::{Upsample, functional::Resize};
    /// assert_eq!(Upsample::new(Resize { size: Some(vec![4]), ..Resize::default() }).options.size, Some(vec![4]));
    /// ```
    pub fn new(options: Resize) -> Self {
        Self { options }
    }
}
plain_layer!(Upsample, |this, x| functional::interpolate(x, &this.options));

macro_rules! upsampling {
    ($($(#[$doc:meta])* $name:ident $mode:ident $align:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq)]
            pub struct $name {
                /// Sizes of the output.
                pub size: Option<[usize; 2]>,
                /// Factors of the sizes, where there are none.
                pub scale_factor: Option<[f64; 2]>,
            }

            impl $name {
                /// Resizes to these sizes.
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = concat!("let up = ", stringify!($name), "::new([4, 6]);")]
                /// assert_eq!(&up.forward(&Tensor::ones([1, 3, 2, 2], ())?)?.shape()[..], [1, 3, 4, 6]);
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn new(size: impl Sides<2>) -> Self {
                    Self { size: Some(size.sides()), scale_factor: None }
                }

                /// Resizes by these factors, rounded down.
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = concat!("let up = ", stringify!($name), "::with_scale_factor([2.0, 1.5]);")]
                /// assert_eq!(&up.forward(&Tensor::ones([1, 3, 2, 3], ())?)?.shape()[..], [1, 3, 4, 4]);
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn with_scale_factor(scale_factor: [f64; 2]) -> Self {
                    Self { size: None, scale_factor: Some(scale_factor) }
                }
            }
            plain_layer!($name, |this, x| {
                if x.dim() != 4 {
                    bail!(Shape, stringify!($name), "expected input to be 4D, got {:?}", x.shape());
                }
                let options = Resize {
                    size: this.size.map(Vec::from),
                    scale_factor: this.scale_factor.map(Vec::from),
                    mode: ResizeMode::$mode,
                    align_corners: $align,
                    recompute_scale_factor: false,
                };
                functional::interpolate(x, &options)
            });
        )*
    };
}

upsampling! {
    /// [`Upsample`] of `[n, c, h, w]` with the element before each place, to sizes or by factors.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, UpsamplingNearest2d}};
    /// let y = UpsamplingNearest2d::new([1, 4]).forward(&Tensor::new([[[[1.0f32, 3.0]]]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is called: `Shape` for other dimensions, `Value` for neither sizes nor factors, or both.
    UpsamplingNearest2d Nearest false;
    /// [`Upsample`] of `[n, c, h, w]` between four elements, the outermost of which keep their places.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, UpsamplingBilinear2d}};
    /// let y = UpsamplingBilinear2d::new([1, 3]).forward(&Tensor::new([[[[1.0f32, 3.0]]]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is called: `Shape` for other dimensions, `Value` for neither sizes nor factors, or both.
    UpsamplingBilinear2d Bilinear true;
}

/// Sliding windows: their sides and how they lie.
///
/// ```
/// use calor::{Tensor, nn::{Layer, Sliding, Unfold}};
/// let windows = Sliding { stride: vec![2], ..Sliding::new(&[2]) };
/// assert_eq!(&Unfold::new(windows).forward(&Tensor::ones([1, 3, 6], ())?)?.shape()[..], [1, 6, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Sides of a window.
    pub kernel_size: Vec<usize>,
    /// Distance between a window's elements.
    pub dilation: Vec<usize>,
    /// Zeros at both ends.
    pub padding: Vec<usize>,
    /// Steps of the window.
    pub stride: Vec<usize>,
}

impl Sliding {
    /// Windows one step apart.
    ///
    /// ```
    /// let windows = calor::nn::Sliding::new(&[2, 3]);
    /// assert_eq!((windows.stride, windows.padding), (vec![1, 1], vec![0, 0]));
    /// ```
    pub fn new(kernel_size: &[usize]) -> Self {
        let n = kernel_size.len();
        Self { kernel_size: kernel_size.to_vec(), dilation: vec![1; n], padding: vec![0; n], stride: vec![1; n] }
    }
}

/// The windows of `[n, c, ..]` or `[c, ..]` as columns: `[n, c * kernel, windows]`.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Layer, Sliding, Unfold};
/// let unfold = Unfold::new(Sliding::new(&[2, 2]));
/// assert_eq!(&unfold.forward(&Tensor::ones([1, 3, 3, 3], ())?)?.shape()[..], [1, 12, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfold {
    /// The windows.
    pub windows: Sliding,
}

impl Unfold {
    /// Takes these windows.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Layer, Sliding, Unfold}};
    /// let y = Unfold::new(Sliding::new(&[2])).forward(&Tensor::new([[1.0f32, 2.0, 3.0]], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 2.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(windows: Sliding) -> Self {
        Self { windows }
    }
}
plain_layer!(Unfold, |this, x| {
    let w = &this.windows;
    functional::unfold(x, &w.kernel_size, (&w.stride, &w.padding, &w.dilation))
});

/// Columns `[n, c * kernel, windows]` to `[n, c, output..]`, adding what lies in the same place.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::{Fold, Layer, Sliding};
/// let fold = Fold::new(&[3, 3], Sliding::new(&[2, 2]));
/// assert_eq!(&fold.forward(&Tensor::ones([1, 12, 4], ())?)?.shape()[..], [1, 3, 3, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Sizes of the output.
    pub output_size: Vec<usize>,
    /// The windows.
    pub windows: Sliding,
}

impl Fold {
    /// Adds up these windows.
    ///
    /// ```
    /// use calor::{Tensor, nn::{Fold, Layer, Sliding}};
    /// let y = Fold::new(&[3], Sliding::new(&[2])).forward(&Tensor::ones([2, 2], ())?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(output_size: &[usize], windows: Sliding) -> Self {
        Self { output_size: output_size.to_vec(), windows }
    }
}
plain_layer!(Fold, |this, x| {
    let w = &this.windows;
    functional::fold(x, &this.output_size, &w.kernel_size, (&w.stride, &w.padding, &w.dilation))
});

/// [`functional::cosine_similarity`] with its options kept.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::CosineSimilarity;
/// let x = Tensor::ones([1, 4], ())?;
/// assert!((CosineSimilarity::default().forward(&x, &x)?.item()? - 1.0).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Module)]
pub struct CosineSimilarity {
    /// The dimension of the vectors.
    pub dim: isize,
    /// The least norm.
    pub eps: f64,
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self { dim: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// How similar vectors are.
    ///
    /// ```
    /// use calor::{Tensor, nn::CosineSimilarity};
    /// let (x, y) = (Tensor::new([[1.0f32, 0.0]], ())?, Tensor::new([[0.0f32, 2.0]], ())?);
    /// assert_eq!(CosineSimilarity::default().forward(&x, &y)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
        functional::cosine_similarity(x1, x2, self.dim, self.eps)
    }
}

/// [`functional::pairwise_distance`] with its options kept.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::PairwiseDistance;
/// let (x, y) = (Tensor::new([3.0f32, 4.0], ())?, Tensor::new([0.0f32, 0.0], ())?);
/// assert!((PairwiseDistance::default().forward(&x, &y)?.item()? - 5.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Module)]
pub struct PairwiseDistance {
    /// The norm.
    pub p: f64,
    /// Added to differences.
    pub eps: f64,
    /// Whether the last dimension stays.
    pub keepdim: bool,
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        Self { p: 2.0, eps: 1e-6, keepdim: false }
    }
}

impl PairwiseDistance {
    /// How far apart vectors are.
    ///
    /// ```
    /// use calor::{Tensor, nn::PairwiseDistance};
    /// let distance = PairwiseDistance { p: 1.0, eps: 0.0, keepdim: true };
    /// let y = distance.forward(&Tensor::new([[3.0f32, 4.0]], ())?, &Tensor::zeros([1, 2], ())?)?;
    /// assert_eq!((y.item()?, &y.shape()[..]), (7.0, &[1, 1][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
        functional::pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
    }
}

/// `y_o = x1^T W_o x2 + b_o` over the last dimensions; weight and bias start uniform in `±1 / sqrt(in1)`.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::Bilinear;
/// let y = Bilinear::new(2, 3, 4, ())?.forward(&Tensor::ones([5, 2], ())?, &Tensor::ones([5, 3], ())?)?;
/// assert_eq!(&y.shape()[..], [5, 4]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Bilinear {
    /// `[out, in1, in2]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
}

impl Bilinear {
    /// A layer with fresh parameters.
    ///
    /// ```
    /// use calor::nn::Bilinear;
    /// assert_eq!(&Bilinear::new(2, 3, 4, ())?.weight.shape()[..], [4, 2, 3]);
    /// assert!(Bilinear::new(0, 3, 4, ()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(in1: usize, in2: usize, outputs: usize, options: impl Into<LinearOptions>) -> Result<Self> {
        let o = options.into();
        if in1 == 0 {
            bail!(Value, "Bilinear", "in1_features must be > 0, but got 0");
        }
        let weight = init::empty("Bilinear", [outputs, in1, in2], &o.tensor)?;
        let bound = 1.0 / (in1 as f64).sqrt();
        init::uniform_(&weight, -bound, bound)?;
        let bias = o.bias.then(|| init::bias("Bilinear", outputs, in1, &o.tensor)).transpose()?;
        Ok(Self { weight: Parameter::new(&weight)?, bias })
    }

    /// The outputs for `[*, in1]` and `[*, in2]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::Bilinear};
    /// let y = Bilinear::new(2, 3, 4, ())?.forward(&Tensor::ones([2], ())?, &Tensor::ones([3], ())?)?;
    /// assert_eq!(&y.shape()[..], [4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Parameter::tensor);
        functional::bilinear(x1, x2, &self.weight.tensor(), bias.as_ref())
    }
}

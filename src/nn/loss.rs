//! Losses, as modules: how far outputs are from what they should be.

use super::functional::{self, BceOptions, CrossEntropyOptions, CtcOptions, Lengths, NllOptions, Reduction};
use super::{Buffer, Module};
use crate::error::Result;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The lines of an example that computes a loss.
macro_rules! example {
    ($name:ident $new:literal ($($x:ident),+) ($($value:literal),+) $loss:literal) => {
        concat!(
            "let [", $(stringify!($x), ", ",)+ "] = [", $("Tensor::new(", $value, ", ())?, ",)+ "];\n",
            "let loss = ", stringify!($name), "::", $new, "().forward(", $("&", stringify!($x), ", ",)+ ")?.item()?;\n",
            "assert!((loss - ", $loss, ").abs() < 1e-4);"
        )
    };
}

/// [`functional::cross_entropy`] with its options kept; class weights are a buffer.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::CrossEntropyLoss;
/// let (x, y) = (Tensor::new([[0.0f32, 0.0], [0.0, 0.0]], ())?, Tensor::new([0, 1], ())?);
/// let loss = CrossEntropyLoss::new(()).forward(&x, &y)?.item()?;
/// assert!((loss - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct CrossEntropyLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    options: CrossEntropyOptions,
}

impl CrossEntropyLoss {
    /// A loss with these options.
    ///
    /// ```
    /// use calor::{Tensor, nn::{CrossEntropyLoss, functional::CrossEntropyOptions}};
    /// let weight = Tensor::new([1.0f32, 2.0], ())?;
    /// assert_eq!(CrossEntropyLoss::new(CrossEntropyOptions::default().weight(weight)).weight.unwrap().tensor().numel(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(options: impl Into<CrossEntropyOptions>) -> Self {
        let mut options = options.into();
        Self { weight: options.weight.take().map(|w| Buffer::new(&w)), options }
    }

    /// The loss of scores `[n, classes, ..]` for classes `[n, ..]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::CrossEntropyLoss};
    /// let loss = CrossEntropyLoss::new(()).forward(&Tensor::zeros([3, 4], ())?, &Tensor::new([0, 1, 3], ())?)?;
    /// assert!((loss.item()? - 4f64.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Buffer::tensor);
        functional::cross_entropy(x, target, CrossEntropyOptions { weight, ..self.options.clone() })
    }
}

/// [`functional::nll_loss`] with its options kept; class weights are a buffer.
///
/// ```
/// use calor::{Tensor, nn::NLLLoss};
/// let (x, y) = (Tensor::new([[-0.5f32, -1.0], [-2.0, -0.25]], ())?, Tensor::new([1, 0], ())?);
/// assert_eq!(NLLLoss::new(()).forward(&x, &y)?.item()?, 1.5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct NLLLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    options: NllOptions,
}

impl NLLLoss {
    /// A loss with these options.
    ///
    /// ```
    /// use calor::{Tensor, nn::{NLLLoss, functional::{NllOptions, Reduction}}};
    /// let loss = NLLLoss::new(NllOptions::default().reduction(Reduction::Sum));
    /// assert_eq!(loss.forward(&Tensor::new([[-1.0f32], [-2.0]], ())?, &Tensor::new([0, 0], ())?)?.item()?, 3.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(options: impl Into<NllOptions>) -> Self {
        let mut options = options.into();
        Self { weight: options.weight.take().map(|w| Buffer::new(&w)), options }
    }

    /// The loss of logarithms of probabilities `[n, classes, ..]` for classes `[n, ..]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::NLLLoss};
    /// let (x, y) = (Tensor::new([[-0.5f32, -1.0]], ())?, Tensor::new([0], ())?);
    /// assert_eq!(NLLLoss::new(()).forward(&x, &y)?.item()?, 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Buffer::tensor);
        functional::nll_loss(x, target, NllOptions { weight, ..self.options.clone() })
    }
}

/// [`functional::binary_cross_entropy_with_logits`] with its options kept; weights are buffers.
///
/// ```
/// use calor::{Tensor, nn::BCEWithLogitsLoss};
/// let loss = BCEWithLogitsLoss::new(()).forward(&Tensor::zeros([2], ())?, &Tensor::new([0.0f32, 1.0], ())?)?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct BCEWithLogitsLoss {
    /// A weight for each element.
    pub weight: Option<Buffer>,
    /// How much more what is 1 weighs.
    pub pos_weight: Option<Buffer>,
    #[module(skip)]
    options: BceOptions,
}

impl BCEWithLogitsLoss {
    /// A loss with these options.
    ///
    /// ```
    /// use calor::{Tensor, nn::{BCEWithLogitsLoss, functional::BceOptions}};
    /// let loss = BCEWithLogitsLoss::new(BceOptions::default().pos_weight(Tensor::new([3.0f32], ())?));
    /// let loss = loss.forward(&Tensor::zeros([1], ())?, &Tensor::ones([1], ())?)?;
    /// assert!((loss.item()? - 3.0 * 2f64.ln()).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(options: impl Into<BceOptions>) -> Self {
        let mut options = options.into();
        let [weight, pos_weight] =
            [options.weight.take(), options.pos_weight.take()].map(|w| w.map(|w| Buffer::new(&w)));
        Self { weight, pos_weight, options }
    }

    /// The loss of scores for targets between 0 and 1.
    ///
    /// ```
    /// use calor::{Tensor, nn::BCEWithLogitsLoss};
    /// let loss = BCEWithLogitsLoss::new(()).forward(&Tensor::new([200.0f32], ())?, &Tensor::ones([1], ())?)?;
    /// assert_eq!(loss.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let [weight, pos_weight] = [&self.weight, &self.pos_weight].map(|w| w.as_ref().map(Buffer::tensor));
        let options = BceOptions { weight, pos_weight, ..self.options.clone() };
        functional::binary_cross_entropy_with_logits(x, target, options)
    }
}

/// [`functional::binary_cross_entropy`] with its options kept; weights are a buffer.
///
/// ```
/// use calor::{Tensor, nn::BCELoss};
/// let (x, y) = (Tensor::new([0.5f32, 1.0], ())?, Tensor::new([1.0f32, 1.0], ())?);
/// assert!((BCELoss::default().forward(&x, &y)?.item()? - 0.5 * 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, Module)]
pub struct BCELoss {
    /// A weight for each element.
    pub weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
}

/// [`functional::multilabel_soft_margin_loss`] with its options kept; weights are a buffer.
///
/// ```
/// use calor::{Tensor, nn::MultiLabelSoftMarginLoss};
/// let (x, y) = (Tensor::new([[0.0f32, 99.0]], ())?, Tensor::new([[1.0f32, 1.0]], ())?);
/// assert!((MultiLabelSoftMarginLoss::default().forward(&x, &y)?.item()? - 0.5 * 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, Module)]
pub struct MultiLabelSoftMarginLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
}

macro_rules! weighted_loss {
    ($($name:ident $function:ident $x:literal $target:literal $loss:literal;)*) => {
        $(impl $name {
            /// A loss with these weights and this reduction.
            ///
            /// ```
            /// use calor::{Tensor, nn::{*, functional::Reduction}};
            #[doc = concat!("let loss = ", stringify!($name), "::new(Some(&Tensor::full([1], 2.0f32, ())?), Reduction::Sum);")]
            /// assert_eq!(loss.weight.unwrap().tensor().item()?, 2.0);
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub fn new(weight: Option<&Tensor>, reduction: Reduction) -> Self {
                Self { weight: weight.map(Buffer::new), reduction }
            }

            /// The loss of an output for a target.
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = example!($name "default" (x, target) ($x, $target) $loss)]
            /// # Ok::<(), calor::Error>(())
            /// ```
            pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
                let weight = self.weight.as_ref().map(Buffer::tensor);
                functional::$function(x, target, weight.as_ref(), self.reduction)
            }
        })*
    };
}

weighted_loss! {
    BCELoss binary_cross_entropy "[0.5f32]" "[1.0f32]" "2f64.ln()";
    MultiLabelSoftMarginLoss multilabel_soft_margin_loss "[[0.0f32, 0.0]]" "[[1.0f32, 0.0]]" "2f64.ln()";
}

/// [`functional::multi_margin_loss`] with its options kept; weights are a buffer.
///
/// ```
/// use calor::{Tensor, nn::{MultiMarginLoss, functional::Reduction}};
/// let loss = MultiMarginLoss::new(1, 1.0, None, Reduction::Mean);
/// let loss = loss.forward(&Tensor::new([[0.5f32, 0.0]], ())?, &Tensor::new([0], ())?)?;
/// assert_eq!(loss.item()?, 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiMarginLoss {
    /// A weight for each class.
    pub weight: Option<Buffer>,
    p: u32,
    margin: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl MultiMarginLoss {
    /// A loss with the power `p` (1 or 2), a margin (usually 1) and weights.
    ///
    /// ```
    /// use calor::{Tensor, nn::{MultiMarginLoss, functional::Reduction}};
    /// let loss = MultiMarginLoss::new(2, 1.0, None, Reduction::Sum);
    /// let loss = loss.forward(&Tensor::new([[0.5f32, 0.5]], ())?, &Tensor::new([0], ())?)?;
    /// assert_eq!(loss.item()?, 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(p: u32, margin: f64, weight: Option<&Tensor>, reduction: Reduction) -> Self {
        Self { weight: weight.map(Buffer::new), p, margin, reduction }
    }

    /// The loss of scores `[n, classes]` for classes `[n]`.
    ///
    /// ```
    /// use calor::{Tensor, nn::{MultiMarginLoss, functional::Reduction}};
    /// let (x, y) = (Tensor::new([[3.0f32, 0.0]], ())?, Tensor::new([0], ())?);
    /// assert_eq!(MultiMarginLoss::new(1, 1.0, None, Reduction::Mean).forward(&x, &y)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(Buffer::tensor);
        functional::multi_margin_loss(x, target, self.p, self.margin, weight.as_ref(), self.reduction)
    }
}

/// [`functional::ctc_loss`] with its options kept.
///
/// ```
/// use calor::Tensor;
/// use calor::nn::CTCLoss;
/// let (x, target) = (Tensor::full([2, 1, 2], 0.5f32.ln(), ())?, Tensor::new([[1i32]], ())?);
/// let loss = CTCLoss::new(()).forward(&x, &target, [2], [1])?;
/// assert!((loss.item()? + 0.75f64.ln()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct CTCLoss {
    #[module(skip)]
    options: CtcOptions,
}

impl CTCLoss {
    /// A loss with these options.
    ///
    /// ```
    /// use calor::{Tensor, nn::{CTCLoss, functional::CtcOptions}};
    /// // two steps are too few for three labels
    /// let (x, y) = (Tensor::full([2, 1, 2], 0.5f32.ln(), ())?, Tensor::new([[1i32, 1, 1]], ())?);
    /// let loss = CTCLoss::new(CtcOptions::default().zero_infinity(true)).forward(&x, &y, [2], [3])?;
    /// assert_eq!(loss.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(options: impl Into<CtcOptions>) -> Self {
        Self { options: options.into() }
    }

    /// The loss of logarithms of probabilities `[steps, n, classes]` for labels `[n, most]`, or one behind the other.
    ///
    /// ```
    /// use calor::{Tensor, nn::CTCLoss};
    /// let (x, y) = (Tensor::full([1, 1, 2], 0.5f32.ln(), ())?, Tensor::new([[1i32]], ())?);
    /// assert!((CTCLoss::new(()).forward(&x, &y, [1], [1])?.item()? - 2f64.ln()).abs() < 1e-6);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: impl Into<Lengths>,
        target_lengths: impl Into<Lengths>,
    ) -> Result<Tensor> {
        functional::ctc_loss(log_probs, targets, input_lengths, target_lengths, self.options.clone())
    }
}

/// A distance of one's own.
type Distance = Arc<dyn Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync>;

/// [`functional::triplet_margin_with_distance_loss`] with its options kept.
///
/// ```
/// use calor::{Tensor, nn::TripletMarginWithDistanceLoss};
/// let [a, p, n] = [0.0f32, 3.0, 2.0].map(|v| Tensor::full([1, 1], v, ()));
/// assert!((TripletMarginWithDistanceLoss::default().forward(&a?, &p?, &n?)?.item()? - 2.0).abs() < 1e-4);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Module)]
pub struct TripletMarginWithDistanceLoss {
    #[module(skip)]
    distance: Distance,
    margin: f64,
    swap: bool,
    #[module(skip)]
    reduction: Reduction,
}

impl TripletMarginWithDistanceLoss {
    /// A loss with a distance, a margin (usually 1), and whether the positive's distance from the negative counts where it
    /// is smaller.
    ///
    /// ```
    /// use calor::{Tensor, nn::{TripletMarginWithDistanceLoss, functional::Reduction}};
    /// let furthest = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max();
    /// let loss = TripletMarginWithDistanceLoss::new(furthest, 1.0, false, Reduction::Mean);
    /// let [a, p, n] = [0.0f32, 3.0, 2.0].map(|v| Tensor::full([1, 2], v, ()));
    /// assert_eq!(loss.forward(&a?, &p?, &n?)?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(
        distance: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
        margin: f64,
        swap: bool,
        reduction: Reduction,
    ) -> Self {
        Self { distance: Arc::new(distance), margin, swap, reduction }
    }

    /// The same with [`functional::pairwise_distance`] of norm 2, whose `eps` is 1e-6: what PyTorch takes where no distance
    /// is given.
    ///
    /// ```
    /// use calor::{Tensor, nn::{TripletMarginWithDistanceLoss, functional::Reduction}};
    /// let [a, p, n] = [0.0f32, 3.0, 2.0].map(|v| Tensor::full([1, 1], v, ()));
    /// let loss = TripletMarginWithDistanceLoss::pairwise(1.0, false, Reduction::Mean);
    /// assert!((loss.forward(&a?, &p?, &n?)?.item()? - 2.0).abs() < 1e-4);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pairwise(margin: f64, swap: bool, reduction: Reduction) -> Self {
        Self::new(|a, b| functional::pairwise_distance(a, b, 2.0, 1e-6, false), margin, swap, reduction)
    }

    /// The loss.
    ///
    /// ```
    /// use calor::{Tensor, nn::TripletMarginWithDistanceLoss};
    /// let [a, p, n] = [0.0f32, 1.0, 9.0].map(|v| Tensor::full([1, 1], v, ()));
    /// assert_eq!(TripletMarginWithDistanceLoss::default().forward(&a?, &p?, &n?)?.item()?, 0.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        let all = (anchor, positive, negative);
        let distance = |a: &Tensor, b: &Tensor| (self.distance)(a, b);
        functional::triplet_margin_with_distance_loss(all, distance, self.margin, self.swap, self.reduction)
    }
}

impl Default for TripletMarginWithDistanceLoss {
    fn default() -> Self {
        Self::pairwise(1.0, false, Reduction::Mean)
    }
}

impl std::fmt::Debug for TripletMarginWithDistanceLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("TripletMarginWithDistanceLoss");
        shown.field("margin", &self.margin).field("swap", &self.swap).finish_non_exhaustive()
    }
}

macro_rules! plain_loss {
    ($($(#[$doc:meta])* $name:ident $function:ident $x:literal $target:literal $loss:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = example!($name "default" (x, target) ($x, $target) $loss)]
            /// # Ok::<(), calor::Error>(())
            /// ```
            #[derive(Clone, Copy, Debug, Default, Module)]
            pub struct $name {
                /// What becomes of the elements' losses.
                #[module(skip)]
                pub reduction: Reduction,
            }

            impl $name {
                /// A loss with this reduction.
                ///
                /// ```
                /// use calor::nn::{*, functional::Reduction};
                #[doc = concat!("let loss = ", stringify!($name), "::new(Reduction::Sum);")]
                /// assert_eq!(loss.reduction, Reduction::Sum);
                /// ```
                pub fn new(reduction: Reduction) -> Self {
                    Self { reduction }
                }

                /// The loss of an output for a target.
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = example!($name "default" (x, target) ($x, $target) $loss)]
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn forward(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
                    functional::$function(x, target, self.reduction)
                }
            }
        )*
    };
}

plain_loss! {
    /// `(x - target)^2`.
    MSELoss mse_loss "[3.0f32, 0.0]" "[1.0f32, 0.0]" "2.0";
    /// `|x - target|`.
    L1Loss l1_loss "[3.0f32, 0.0]" "[1.0f32, 0.0]" "1.0";
}

plain_loss! {
    /// `log(1 + e^(-target x))`.
    SoftMarginLoss soft_margin_loss "[0.0f32]" "[1.0f32]" "2f64.ln()";
    /// Hinges between classes that are targets and those that are not.
    MultiLabelMarginLoss multilabel_margin_loss "[0.5f32, 0.0]" "[0i32, -1]" "0.25";
}

macro_rules! loss {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr => $set:expr,)* }
        |$this:ident, $($x:ident),+| $forward:expr, $($value:literal),+ => $loss:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// ```
            /// use calor::{Tensor, nn::*};
            #[doc = example!($name "new" ($($x),+) ($($value),+) $loss)]
            /// # Ok::<(), calor::Error>(())
            /// ```
            #[derive(Clone, Copy, Debug, Module)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $ty,)*
                /// What becomes of the elements' losses.
                #[module(skip)]
                pub reduction: Reduction,
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default,)* reduction: Reduction::default() }
                }
            }

            impl $name {
                /// PyTorch's defaults.
                ///
                /// ```
                /// use calor::nn::{*, functional::Reduction};
                #[doc = concat!("assert_eq!(", stringify!($name), "::new().reduction, Reduction::Mean);")]
                /// ```
                pub fn new() -> Self {
                    Self::default()
                }

                $(
                    $(#[$field_doc])*
                    ///
                    /// ```
                    /// use calor::nn::*;
                    #[doc = crate::nn::options::setter!($name $field $set)]
                    /// ```
                    #[must_use]
                    pub fn $field(self, $field: $ty) -> Self {
                        Self { $field, ..self }
                    }
                )*

                /// What becomes of the elements' losses.
                ///
                /// ```
                /// use calor::nn::{*, functional::Reduction};
                #[doc = crate::nn::options::setter!($name reduction Reduction::Sum)]
                /// ```
                #[must_use]
                pub fn reduction(self, reduction: Reduction) -> Self {
                    Self { reduction, ..self }
                }

                /// The loss.
                ///
                /// ```
                /// use calor::{Tensor, nn::*};
                #[doc = example!($name "new" ($($x),+) ($($value),+) $loss)]
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn forward(&self, $($x: &Tensor),+) -> Result<Tensor> {
                    let $this = self;
                    $forward
                }
            }
        )*
    };
}

loss! {
    /// [`functional::smooth_l1_loss`] with its options kept.
    SmoothL1Loss {
        /// Where the square becomes a line.
        beta: f64 = 1.0 => 0.5,
    } |this, x, target| functional::smooth_l1_loss(x, target, this.beta, this.reduction), "[2.0f32]", "[0.0f32]" => "1.5";
    /// [`functional::huber_loss`] with its options kept.
    HuberLoss {
        /// Where the square becomes a line.
        delta: f64 = 1.0 => 0.5,
    } |this, x, target| functional::huber_loss(x, target, this.delta, None, this.reduction), "[2.0f32]", "[0.0f32]" => "1.5";
    /// [`functional::kl_div`] with its options kept.
    KLDivLoss {
        /// Whether the target is a logarithm.
        log_target: bool = false => true,
        /// Whether the sum is divided by the size of the first dimension: PyTorch's reduction `batchmean`.
        batch_mean: bool = false => true,
    } |this, x, target| {
        if this.batch_mean {
            let count = x.shape().first().copied().unwrap_or(1);
            return functional::kl_div(x, target, this.log_target, Reduction::Sum)? / count;
        }
        functional::kl_div(x, target, this.log_target, this.reduction)
    }, "[0.5f32.ln()]", "[1.0f32]" => "2f64.ln()";
    /// [`functional::poisson_nll_loss`] with its options kept.
    PoissonNLLLoss {
        /// Whether the input is a logarithm.
        log_input: bool = true => false,
        /// Whether Stirling's formula is added.
        full: bool = false => true,
        /// Keeps the logarithm finite.
        eps: f64 = 1e-8 => 1e-3,
    } |this, x, target| {
        functional::poisson_nll_loss(x, target, this.log_input, this.full, this.eps, this.reduction)
    }, "[0.0f32]", "[3.0f32]" => "1.0";
    /// [`functional::gaussian_nll_loss`] with its options kept.
    GaussianNLLLoss {
        /// Whether the constant is added.
        full: bool = false => true,
        /// The least variance.
        eps: f64 = 1e-6 => 1e-3,
    } |this, x, target, var| functional::gaussian_nll_loss(x, target, var, this.full, this.eps, this.reduction),
        "[3.0f32]", "[1.0f32]", "[1.0f32]" => "2.0";
    /// [`functional::margin_ranking_loss`] with its options kept.
    MarginRankingLoss {
        /// How much larger one should be.
        margin: f64 = 0.0 => 0.5,
    } |this, x1, x2, target| functional::margin_ranking_loss(x1, x2, target, this.margin, this.reduction),
        "[1.0f32]", "[3.0f32]", "[1.0f32]" => "2.0";
    /// [`functional::hinge_embedding_loss`] with its options kept.
    HingeEmbeddingLoss {
        /// How far apart others should be.
        margin: f64 = 1.0 => 0.5,
    } |this, x, target| functional::hinge_embedding_loss(x, target, this.margin, this.reduction),
        "[0.25f32]", "[-1.0f32]" => "0.75";
    /// [`functional::cosine_embedding_loss`] with its options kept.
    CosineEmbeddingLoss {
        /// How similar others may be.
        margin: f64 = 0.0 => 0.5,
    } |this, x1, x2, target| functional::cosine_embedding_loss(x1, x2, target, this.margin, this.reduction),
        "[[1.0f32, 0.0]]", "[[0.0f32, 1.0]]", "[1.0f32]" => "1.0";
    /// [`functional::triplet_margin_loss`] with its options kept.
    TripletMarginLoss {
        /// How much farther the negative should be.
        margin: f64 = 1.0 => 0.5,
        /// The norm of distances.
        p: f64 = 2.0 => 1.0,
        /// Added to differences.
        eps: f64 = 1e-6 => 1e-3,
        /// Whether the positive's distance from the negative counts where it is smaller.
        swap: bool = false => true,
    } |this, anchor, positive, negative| {
        let all = (anchor, positive, negative);
        functional::triplet_margin_loss(all, this.margin, (this.p, this.eps), this.swap, this.reduction)
    }, "[[0.0f32]]", "[[3.0f32]]", "[[2.0f32]]" => "2.0";
}

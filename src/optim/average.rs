//! Averages of a model over its training: stochastic weight averaging and exponential moving averages.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::nn::{Buffer, Layer, Modes, Module, Parameter, copy_into, cumulative, moved};
use crate::no_grad;
use crate::tensor::{Pack, Tensor};
use std::sync::Arc;

/// A new average of the average so far, the model's values, and the number of models in the average, which has no
/// dimensions. It must be elementwise: it is called with the values of many parameters as one vector.
///
/// ```
/// use calor::{Tensor, optim::{AvgFn, get_ema_avg_fn}};
/// let first_stays: AvgFn = std::sync::Arc::new(|average, _, _| Ok(average.clone()));
/// let (a, b, n) = (Tensor::ones([1], ())?, Tensor::zeros([1], ())?, Tensor::scalar(3, ())?);
/// assert_eq!(first_stays(&a, &b, &n)?.item()?, 1.0);
/// # Ok::<(), calor::Error>(())
/// ```
pub type AvgFn = Arc<dyn Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync>;

/// The exponential moving average `decay average + (1 - decay) model`.
///
/// ```
/// use calor::{Tensor, optim::get_ema_avg_fn};
/// let ema = get_ema_avg_fn(0.75)?;
/// let (average, model, n) = (Tensor::zeros([1], ())?, Tensor::ones([1], ())?, Tensor::scalar(1, ())?);
/// assert_eq!(ema(&average, &model, &n)?.item()?, 0.25);
/// assert!(get_ema_avg_fn(1.5).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for a decay that is not in `0 ..= 1`.
pub fn get_ema_avg_fn(decay: f64) -> Result<AvgFn> {
    if !(0.0..=1.0).contains(&decay) {
        bail!(Value, "get_ema_avg_fn", "invalid decay value {decay}, it must be in [0, 1]");
    }
    Ok(Arc::new(move |average, model, _| match average.dtype().is_float() {
        true => average.lerp(model, 1.0 - decay),
        false => (average * decay)? + (model * (1.0 - decay))?,
    }))
}

/// The mean of all models: `average + (model - average) / (n + 1)`.
///
/// ```
/// use calor::{Tensor, optim::get_swa_avg_fn};
/// let (average, model, n) = (Tensor::zeros([1], ())?, Tensor::ones([1], ())?, Tensor::scalar(3, ())?);
/// assert_eq!(get_swa_avg_fn()(&average, &model, &n)?.item()?, 0.25);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn get_swa_avg_fn() -> AvgFn {
    Arc::new(|average, model, n| average + ((model - average)? / (n + 1.0)?)?)
}

/// [`get_ema_avg_fn`]: an [`AvgFn`] gets many parameters at once anyway.
///
/// ```
/// use calor::{Tensor, optim::get_ema_multi_avg_fn};
/// let (average, model, n) = (Tensor::zeros([2], ())?, Tensor::ones([2], ())?, Tensor::scalar(1, ())?);
/// assert_eq!(get_ema_multi_avg_fn(0.75)?(&average, &model, &n)?.to_vec::<f32>()?, [0.25; 2]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// As those of [`get_ema_avg_fn`].
pub fn get_ema_multi_avg_fn(decay: f64) -> Result<AvgFn> {
    get_ema_avg_fn(decay)
}

/// [`get_swa_avg_fn`]: an [`AvgFn`] gets many parameters at once anyway.
///
/// ```
/// use calor::{Tensor, optim::get_swa_multi_avg_fn};
/// let (average, model, n) = (Tensor::zeros([2], ())?, Tensor::ones([2], ())?, Tensor::scalar(3, ())?);
/// assert_eq!(get_swa_multi_avg_fn()(&average, &model, &n)?.to_vec::<f32>()?, [0.25; 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn get_swa_multi_avg_fn() -> AvgFn {
    get_swa_avg_fn()
}

/// A model whose parameters are averages of another's: `torch.optim.swa_utils.AveragedModel`.
///
/// Names of its state are PyTorch's: `n_averaged`, and those of the model after `module.`. Updates stay on the device, in one
/// kernel for all parameters of a dtype.
///
/// Izmailov and others, [Averaging Weights Leads to Wider Optima and Better
/// Generalization](https://arxiv.org/abs/1803.05407).
///
/// ```
/// use calor::nn::{Linear, init};
/// use calor::optim::{AveragedModel, get_ema_avg_fn};
/// let model = Linear::new(2, 1, ())?;
/// let ema = AveragedModel::new(&model, Linear::new(2, 1, ())?)?.avg_fn(get_ema_avg_fn(0.75)?);
/// for value in [4.0, 8.0] {
///     init::constant_(&model.weight.tensor(), value)?;
///     ema.update_parameters(&model)?;
/// }
/// // the first model is taken as it is
/// assert_eq!(ema.module.weight.tensor().to_vec::<f32>()?, [5.0, 5.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Module)]
pub struct AveragedModel<M> {
    /// The number of models in the average.
    pub n_averaged: Buffer,
    /// The average.
    pub module: M,
    #[module(skip)]
    avg_fn: AvgFn,
    #[module(skip)]
    use_buffers: bool,
}

impl<M: Module> AveragedModel<M> {
    /// An average of nothing yet, with `model`'s values and by [`get_swa_avg_fn`]. It is kept in `twin`, which is made as the
    /// model was: a clone would be the same parameters.
    ///
    /// ```
    /// use calor::{nn::Linear, optim::AveragedModel};
    /// let model = Linear::new(2, 1, ())?;
    /// let average = AveragedModel::new(&model, Linear::new(2, 1, ())?)?;
    /// assert_eq!(average.module.weight.tensor().to_vec::<f32>()?, model.weight.tensor().to_vec::<f32>()?);
    /// assert!(AveragedModel::new(&model, model.clone()).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the two share a parameter or their names differ, `Shape` where shapes do.
    pub fn new(model: &M, twin: M) -> Result<Self> {
        let first = twin.parameters().first().map(Parameter::tensor);
        let count = first.map_or(Tensor::zeros([], DType::I32), |t| Tensor::zeros([], (DType::I32, t.device())))?;
        let n_averaged = Buffer::new(&count);
        let out = Self { n_averaged, module: twin, avg_fn: get_swa_avg_fn(), use_buffers: false };
        let shared = |p| model.parameters().iter().any(|q| q.same(p));
        if out.module.parameters().iter().any(shared) {
            bail!(Value, "AveragedModel", "the model and the average share a parameter");
        }
        let (parameters, buffers) = out.pairs(model)?;
        no_grad(|| parameters.iter().chain(&buffers).try_for_each(|(own, new)| copy_into(own, new)))?;
        Ok(out)
    }

    /// Averages by another function.
    ///
    /// ```
    /// use calor::{nn::{Linear, init}, optim::{AveragedModel, get_ema_avg_fn}};
    /// let model = Linear::new(1, 1, ())?;
    /// let ema = AveragedModel::new(&model, Linear::new(1, 1, ())?)?.avg_fn(get_ema_avg_fn(0.5)?);
    /// for value in [1.0, 2.0] {
    ///     init::constant_(&model.weight.tensor(), value)?;
    ///     ema.update_parameters(&model)?;
    /// }
    /// assert_eq!(ema.module.weight.tensor().item()?, 1.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn avg_fn(mut self, avg_fn: AvgFn) -> Self {
        self.avg_fn = avg_fn;
        self
    }

    /// Whether buffers are averaged too; otherwise they are those of the last model.
    ///
    /// ```
    /// use calor::{nn::{BatchNorm1d, init}, optim::AveragedModel};
    /// let model = BatchNorm1d::new(1, ())?;
    /// let average = AveragedModel::new(&model, BatchNorm1d::new(1, ())?)?.use_buffers(true);
    /// for value in [1.0, 3.0] {
    ///     init::constant_(&model.running_mean.as_ref().unwrap().tensor(), value)?;
    ///     average.update_parameters(&model)?;
    /// }
    /// assert_eq!(average.module.running_mean.as_ref().unwrap().tensor().item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn use_buffers(mut self, on: bool) -> Self {
        self.use_buffers = on;
        self
    }

    /// Takes a model into the average; the first one is copied.
    ///
    /// ```
    /// use calor::{nn::{Linear, init}, optim::AveragedModel};
    /// let model = Linear::new(1, 1, ())?;
    /// let mean = AveragedModel::new(&model, Linear::new(1, 1, ())?)?;
    /// for value in [1.0, 3.0] {
    ///     init::constant_(&model.weight.tensor(), value)?;
    ///     mean.update_parameters(&model)?;
    /// }
    /// assert_eq!(mean.module.weight.tensor().item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where names of the model differ, `Shape` where shapes do; nothing is changed then.
    pub fn update_parameters(&self, model: &M) -> Result<()> {
        let (mut averaged, mut copied) = self.pairs(model)?;
        if self.use_buffers {
            averaged.append(&mut copied);
        }
        no_grad(|| {
            for group in alike(averaged)? {
                let (own, new): (Vec<Tensor>, Vec<Tensor>) = group.into_iter().unzip();
                let places = Pack::like(&own)?;
                let (average, model) = (places.join(&own)?, places.join(&new)?);
                let n = moved(&self.n_averaged.tensor(), average.device())?;
                let next = (self.avg_fn)(&average, &model, &n)?.to_dtype(average.dtype())?;
                places.split(&n.eq(0)?.where_(&model, &next)?, &own)?;
            }
            copied.iter().try_for_each(|(own, new)| copy_into(own, new))?;
            let n = self.n_averaged.tensor();
            n.add_(1)?;
            n.device().submit()
        })
    }

    /// Tensors of the average and of a model: parameters, and buffers.
    fn pairs(&self, model: &M) -> Result<(Pairs, Pairs)> {
        let named = |m: &M| -> (Named, Named) {
            let parameters = m.named_parameters().into_iter().map(|(n, p)| (n, p.tensor().detach()));
            (parameters.collect(), m.named_buffers().into_iter().map(|(n, b)| (n, b.tensor())).collect())
        };
        let (own, new) = (named(&self.module), named(model));
        Ok((paired(own.0, new.0)?, paired(own.1, new.1)?))
    }
}

impl<M: Layer + Module> Layer for AveragedModel<M> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.module.forward(x)
    }
}

type Named = Vec<(String, Tensor)>;

/// Tensors of the average, each with the one that goes into it.
type Pairs = Vec<(Tensor, Tensor)>;

fn paired(own: Named, new: Named) -> Result<Pairs> {
    const OP: &str = "AveragedModel";
    if !own.iter().map(|o| &o.0).eq(new.iter().map(|n| &n.0)) {
        bail!(Value, OP, "the model has other parameters or buffers than the average");
    }
    let pair = |((name, own), (_, new)): ((String, Tensor), (String, Tensor))| {
        if own.shape() != new.shape() {
            bail!(Shape, OP, "{name} has shape {:?} in the model, {:?} in the average", new.shape(), own.shape());
        }
        Ok((own, new))
    };
    own.into_iter().zip(new).map(pair).collect()
}

/// Pairs by dtype and device, the second of each converted to those of the first.
fn alike(pairs: Pairs) -> Result<Vec<Pairs>> {
    let mut out: Vec<Pairs> = Vec::new();
    for pair in pairs.into_iter().filter(|(own, _)| own.numel() > 0) {
        let (dtype, device) = (pair.0.dtype(), pair.0.device().clone());
        let same = |group: &&mut Pairs| group[0].0.dtype() == dtype && group[0].0.device().same(&device);
        let pair = (pair.0, moved(&pair.1, &device)?.to_dtype(dtype)?);
        match out.iter_mut().find(same) {
            Some(group) => group.push(pair),
            None => out.push(vec![pair]),
        }
    }
    Ok(out)
}

/// Computes the running statistics of a model's batch normalisations anew, each as the mean over all batches: for a model whose
/// parameters are averages, which none of its statistics belong to. `forward` hands a batch to the model.
///
/// ```
/// use calor::nn::{BatchNorm1d, Layer};
/// use calor::optim::update_bn;
/// use calor::{Result, Tensor};
/// let norm = BatchNorm1d::new(1, ())?;
/// let batches = [[[1.0f32], [3.0]], [[5.0], [7.0]]].map(|b| Tensor::new(b, ()));
/// update_bn(batches, &norm, |x| norm.forward(&x))?;
/// assert_eq!(norm.running_mean.unwrap().tensor().item()?, 4.0);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// Those of the batches and of `forward`; training flags are then as before nevertheless.
pub fn update_bn<B, M: Module + ?Sized>(
    batches: impl IntoIterator<Item = Result<B>>,
    model: &M,
    mut forward: impl FnMut(B) -> Result<Tensor>,
) -> Result<()> {
    if !forget_statistics(model)? {
        return Ok(());
    }
    let modes = Modes::of(model);
    model.train();
    let done = no_grad(|| cumulative(|| batches.into_iter().try_for_each(|batch| forward(batch?).map(drop))));
    modes.restore(model);
    done
}

/// Sets the statistics of batch normalisations to those of new ones; whether there are any.
fn forget_statistics<M: Module + ?Sized>(model: &M) -> Result<bool> {
    let mut any = model.forget_statistics()?;
    model.apply(&mut |_, module| {
        any |= module.forget_statistics()?;
        Ok(())
    })?;
    Ok(any)
}

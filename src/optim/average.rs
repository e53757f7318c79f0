//! Averages of parameters over training: stochastic weight averaging and exponential moving averages.

use crate::dtype::DType;
use crate::error::{Error, Result, bail};
use crate::nn::{Buffer, Cumulative, Field, Layer, Module, Parameter, Visitor, init};
use crate::no_grad;
use crate::tensor::{Pack, Tensor};

/// How parameters are averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Average {
    /// The mean of all: stochastic weight averaging (Izmailov et al., 2018).
    Swa,
    /// `decay average + (1 - decay) parameter`: an exponential moving average.
    Ema {
        /// The share of what was before.
        decay: f64,
    },
}

/// A module whose parameters are averages of those of another one, which is trained: `torch.optim.swa_utils.AveragedModel`.
///
/// All parameters of one dtype are averaged by one kernel. The first update copies them.
///
/// ```
/// use calor::nn::{Layer, Linear, Module};
/// use calor::optim::{Average, AveragedModel};
/// use calor::Tensor;
/// let model = Linear::new(2, 1, ())?;
/// let mut average = AveragedModel::new(Linear::new(2, 1, ())?, &model, Average::Ema { decay: 0.75 })?;
/// for value in [4.0, 8.0] {
///     calor::nn::init::constant_(&model.weight.tensor(), value)?;
///     average.update_parameters(&model)?;
/// }
/// assert_eq!(average.module().weight.tensor().to_vec::<f32>()?, [5.0, 5.0]);
/// assert_eq!(average.state_dict().names().next(), Some("n_averaged"));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct AveragedModel<M> {
    module: M,
    n_averaged: Buffer,
    rule: Average,
    /// Whether buffers are averaged too; else they are those of the model at the last update.
    use_buffers: bool,
}

/// Tensors of one floating point dtype and device each, with what they are moved towards.
fn floats(tensors: &[(Tensor, Tensor)]) -> Vec<Vec<&(Tensor, Tensor)>> {
    let mut kinds: Vec<Vec<&(Tensor, Tensor)>> = Vec::new();
    for pair in tensors.iter().filter(|p| p.0.dtype().is_float() && p.0.numel() > 0) {
        let same =
            |k: &&mut Vec<&(Tensor, Tensor)>| k[0].0.dtype() == pair.0.dtype() && k[0].0.device().same(pair.0.device());
        match kinds.iter_mut().find(same) {
            Some(kind) => kind.push(pair),
            None => kinds.push(vec![pair]),
        }
    }
    kinds
}

impl<M: Module> AveragedModel<M> {
    /// Averages of `model`'s parameters in `module`, which is built as it is and first gets the same values.
    ///
    /// # Errors
    /// `Value` for a decay that is not between 0 and 1, and where both are not built alike.
    pub fn new(module: M, model: &dyn Module, rule: Average) -> Result<Self> {
        if let Average::Ema { decay } = rule
            && !(0.0..=1.0).contains(&decay)
        {
            bail!(Value, "AveragedModel", "invalid decay value {decay}: it is to be from 0 to 1");
        }
        module.load_state_dict(&model.state_dict(), true)?;
        let device = module.parameters().first().map(|p| p.tensor().device().clone());
        let n_averaged = match device {
            Some(device) => Tensor::zeros([], (DType::I32, &device))?,
            None => Tensor::zeros([], DType::I32)?,
        };
        let out = Self { module, n_averaged: Buffer::new(&n_averaged), rule, use_buffers: false };
        // side by side, so that each update finds them so
        let own: Vec<Tensor> = out.module.parameters().iter().map(Parameter::tensor).collect();
        let pairs: Vec<(Tensor, Tensor)> = own.iter().map(|t| (t.clone(), t.clone())).collect();
        for kind in floats(&pairs).iter().filter(|k| k.len() > 1 && k.iter().all(|p| p.0.is_whole())) {
            Pack::lay(&kind.iter().map(|p| p.0.clone()).collect::<Vec<_>>())?;
        }
        Tensor::eval_all(&own)?;
        Ok(out)
    }

    /// Whether buffers are averaged too.
    #[must_use]
    pub fn use_buffers(self, use_buffers: bool) -> Self {
        Self { use_buffers, ..self }
    }

    /// The module with the averages.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// Moves the averages towards the parameters of the model as they are now. Nothing is read back.
    ///
    /// # Errors
    /// `Value` where the model is not built as this one, `Shape` where a parameter has another shape.
    pub fn update_parameters(&mut self, model: &dyn Module) -> Result<()> {
        const OP: &str = "update_parameters";
        let (own, given) = (self.module.parameters(), model.parameters());
        let (own_buffers, buffers) = (self.module.named_buffers(), model.named_buffers());
        if own.len() != given.len() || own_buffers.len() != buffers.len() {
            bail!(Value, OP, "{} parameters and {} buffers", given.len(), buffers.len());
        }
        no_grad(|| {
            let alike = |a: Tensor, b: Tensor| Ok::<_, Error>((a.clone(), b.detach().to_dtype(a.dtype())?));
            let tensors = own.iter().zip(&given).map(|(a, b)| alike(a.tensor(), b.tensor()));
            let kept = own_buffers.iter().zip(&buffers).map(|(a, b)| alike(a.1.tensor(), b.1.tensor()));
            let mut averaged = tensors.collect::<Result<Vec<_>>>()?;
            let (of_floats, others): (Vec<_>, Vec<_>) = kept
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .partition(|(a, _)| self.use_buffers && a.dtype().is_float());
            averaged.extend(of_floats);
            if let Some((a, b)) = averaged.iter().find(|(a, b)| a.shape() != b.shape()) {
                bail!(Shape, OP, "an average has shape {:?}, what is averaged {:?}", a.shape(), b.shape());
            }
            let count = self.n_averaged.tensor();
            let share = match self.rule {
                // a device number: a state that was loaded goes on
                Average::Swa => (1.0 / (&count + 1)?.to_dtype(DType::F32)?)?,
                Average::Ema { decay } => count.eq(0)?.where_(1.0, 1.0 - decay)?.to_dtype(DType::F32)?,
            };
            for kind in floats(&averaged) {
                let (own, given): (Vec<Tensor>, Vec<Tensor>) = kind.into_iter().cloned().unzip();
                let places = Pack::like(&own)?;
                let (old, new) = (places.join(&own)?, Pack::like(&given)?.join(&given)?);
                let compute = old.dtype().compute();
                let (wide, share) = (old.to_dtype(compute)?, share.to_dtype(compute)?);
                let moved = (&wide + ((new.to_dtype(compute)? - &wide)? * share)?)?;
                places.split(&moved.to_dtype(old.dtype())?, &own)?;
            }
            for (own, given) in others {
                own.copy_(&given)?;
            }
            count.add_(1)?;
            count.device().submit()
        })
    }
}

impl<M: Layer + Module> Layer for AveragedModel<M> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.module.forward(x)
    }
}

impl<M: Module> Module for AveragedModel<M> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.buffer("n_averaged", &self.n_averaged);
        visitor.module("module", &self.module);
        self.module.visit(visitor);
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        self.module.set_training(training);
    }
}

impl<M: Module> Field for AveragedModel<M> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.module(name, self);
        self.visit(visitor);
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        self.module.set_training(training);
    }
}

/// The cells that say how running statistics move.
#[derive(Default)]
struct Cells(Vec<Cumulative>);

impl Visitor for Cells {
    fn enter(&mut self, _name: &str) {}
    fn leave(&mut self) {}
    fn parameter(&mut self, _name: &str, _parameter: &Parameter) {}
    fn buffer(&mut self, _name: &str, _buffer: &Buffer) {}

    fn cumulative(&mut self, cell: &Cumulative) {
        self.0.push(cell.clone());
    }
}

/// Computes the running statistics of a model's batch normalisations anew, as the means over these batches: averaged
/// parameters do not have those of the parameters that they are the average of. The model is in training mode afterwards.
///
/// ```
/// use calor::nn::{BatchNorm1d, Layer, Module};
/// use calor::optim::update_bn;
/// use calor::Tensor;
/// let norm = BatchNorm1d::new(1, ())?;
/// let batches = [[[0.0f32], [2.0]], [[4.0], [6.0]]].map(|x| Tensor::new(x, ()));
/// update_bn(&norm, batches, |x| norm.forward(x))?;
/// assert_eq!(norm.running_mean.unwrap().tensor().to_vec::<f32>()?, [3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn update_bn(
    model: &dyn Module,
    batches: impl IntoIterator<Item = Result<Tensor>>,
    forward: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let mut cells = Cells::default();
    model.visit(&mut cells);
    for (name, buffer) in model.named_buffers() {
        let first = match name.rsplit('.').next() {
            Some("running_mean" | "num_batches_tracked") => 0,
            Some("running_var") => 1,
            _ => continue,
        };
        init::constant_(&buffer.tensor(), first)?;
    }
    let before: Vec<bool> = cells.0.iter().map(Cumulative::get).collect();
    cells.0.iter().for_each(|c| c.set(true));
    model.train();
    let outcome = no_grad(|| {
        batches.into_iter().try_for_each(|x| {
            let y = forward(&x?)?;
            y.device().submit()
        })
    });
    cells.0.iter().zip(before).for_each(|(c, before)| c.set(before));
    outcome
}

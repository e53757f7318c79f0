//! Layers one parameter of which is computed from others: `torch.nn.utils.parametrizations`.

use super::options::settings;
use super::{Buffer, Field, Layer, Module, Parameter, Training, Visitor};
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;

/// How a parameter is computed.
#[derive(Clone)]
enum Rule {
    /// `g v / |v|`.
    Weight { g: Parameter, v: Parameter, dim: Option<usize> },
    /// `w / sigma(w)`, by the first singular vectors.
    Spectral { w: Parameter, u: Buffer, v: Buffer, dim: usize, steps: usize, eps: f64, training: Training },
}

/// A layer with a parameter that is computed anew each time; see [`weight_norm`] and [`spectral_norm`].
///
/// In its place stand those that it is computed from, under PyTorch's names: `parametrizations.weight.original0`.
///
/// ```
/// use calor::nn::{Linear, Module, utils};
/// let layer: utils::Parametrized<Linear> = utils::weight_norm(Linear::new(3, 2, ())?, "weight", Some(0))?;
/// assert!(layer.state_dict().get("parametrizations.weight.original0").is_some());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Parametrized<L> {
    layer: L,
    name: String,
    target: Parameter,
    rule: Rule,
}

/// The norm over all dimensions but one, which stays as all others do; one number without one.
fn norm_except(v: &Tensor, dim: Option<usize>) -> Result<Tensor> {
    let dims: Vec<isize> = (0..v.dim()).filter(|d| Some(*d) != dim).map(|d| d as isize).collect();
    if dims.is_empty() { v.abs() } else { v.vector_norm(2.0, &dims, dim.is_some()) }
}

fn normalized(x: &Tensor, eps: f64) -> Result<Tensor> {
    x / x.norm()?.clamp_min(eps)?
}

impl Rule {
    /// The parameter, with its history.
    fn compute(&self) -> Result<Tensor> {
        match self {
            Rule::Weight { g, v, dim } => {
                let v = v.tensor();
                g.tensor() * (&v / norm_except(&v, *dim)?)?
            }
            Rule::Spectral { w, u, v, dim, steps, eps, training } => {
                let w = w.tensor();
                let matrix = matrix(&w, *dim)?;
                if training.get() {
                    iterate(&matrix, u, v, *steps, *eps)?;
                }
                // a later step must not change what this one is differentiated with
                let (u, v) = (u.tensor().try_clone()?, v.tensor().try_clone()?);
                let sigma = u.dot(&matrix.mv(&v)?)?;
                &w / sigma
            }
        }
    }
}

/// A weight as a matrix whose rows are slices along `dim`.
fn matrix(w: &Tensor, dim: usize) -> Result<Tensor> {
    w.movedim(&[dim as isize], &[0])?.flatten(1, -1)
}

/// Some steps of the power iteration (Miyato et al., 2018).
fn iterate(matrix: &Tensor, u: &Buffer, v: &Buffer, steps: usize, eps: f64) -> Result<()> {
    no_grad(|| {
        let matrix = matrix.detach();
        let (mut left, mut right) = (u.tensor(), v.tensor());
        for _ in 0..steps {
            left = normalized(&matrix.mv(&right)?, eps)?;
            right = normalized(&matrix.t()?.mv(&left)?, eps)?;
        }
        u.copy_from(&left)?;
        v.copy_from(&right)
    })
}

impl<L: Layer + Module> Parametrized<L> {
    /// The layer inside.
    ///
    /// ```
    /// use calor::nn::{Linear, utils};
    /// let layer = utils::weight_norm(Linear::new(3, 2, ())?, "weight", Some(0))?;
    /// assert_eq!(&layer.layer().bias.as_ref().unwrap().shape()[..], [2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// The parameter as it is computed now.
    ///
    /// ```
    /// use calor::nn::{Linear, utils};
    /// let layer = utils::weight_norm(Linear::new(3, 2, ())?, "weight", Some(0))?;
    /// assert_eq!(&layer.weight()?.shape()[..], [2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn weight(&self) -> Result<Tensor> {
        self.rule.compute()
    }

    /// The layer with the parameter as it is now, for good: PyTorch's `remove_parametrizations`.
    ///
    /// ```
    /// use calor::nn::{Linear, Module, utils};
    /// let layer = utils::weight_norm(Linear::new(3, 2, ())?, "weight", Some(0))?;
    /// let linear: Linear = layer.remove()?;
    /// assert_eq!(linear.parameters().len(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn remove(self) -> Result<L> {
        self.target.replace(&no_grad(|| self.rule.compute())?)?;
        Ok(self.layer)
    }
}

/// The parameter of a layer, and the layer's dimensions along which its outputs lie.
fn parameter<L: Module>(op: &str, layer: &L, name: &str) -> Result<Parameter> {
    let found = layer.named_parameters().into_iter().find(|(n, _)| n == name);
    match found {
        Some((_, p)) if p.shape().is_empty() => bail!(Shape, op, "`{name}` has no dimensions"),
        Some((_, p)) => Ok(p),
        None => bail!(Value, op, "the layer has no parameter `{name}`"),
    }
}

/// The parameter `name` of a layer as `g v / |v|`: lengths and directions along `dim`, or one length of all, are learned
/// apart (Salimans & Kingma, 2016).
///
/// ```
/// use calor::nn::{Layer, Linear, Module, utils::weight_norm};
/// use calor::Tensor;
/// let (linear, x) = (Linear::new(3, 2, ())?, Tensor::ones([1, 3], ())?);
/// let y = linear.forward(&x)?;
/// let normed = weight_norm(linear, "weight", Some(0))?;
/// assert!((normed.forward(&x)? - y)?.abs()?.max()?.item()? < 1e-6);
/// let names: Vec<String> = normed.named_parameters().into_iter().map(|(n, _)| n).collect();
/// assert_eq!(names[1..], ["parametrizations.weight.original0", "parametrizations.weight.original1"]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where the layer has no such parameter, `Dim` where that has no such dimension.
pub fn weight_norm<L: Layer + Module>(layer: L, name: &str, dim: Option<usize>) -> Result<Parametrized<L>> {
    const OP: &str = "weight_norm";
    let target = parameter(OP, &layer, name)?;
    let weight = target.tensor().detach();
    if dim.is_some_and(|d| d >= weight.dim()) {
        bail!(Dim, OP, "dimension {dim:?} of a parameter of {} dimensions", weight.dim());
    }
    let (g, v) = no_grad(|| Ok::<_, crate::Error>((norm_except(&weight, dim)?, weight.try_clone()?)))?;
    let rule = Rule::Weight { g: Parameter::new(&g)?, v: Parameter::new(&v)?, dim };
    Ok(Parametrized { layer, name: name.to_string(), target, rule })
}

settings! {
    /// Options of [`spectral_norm`].
    ///
    /// ```
    /// let options = calor::nn::utils::SpectralNormOptions::default().n_power_iterations(3usize);
    /// assert_eq!((options.n_power_iterations, options.dim), (3, 0));
    /// ```
    SpectralNormOptions {
        /// Steps of the power iteration each time in training.
        n_power_iterations: usize = 1 => 2usize,
        /// Keeps vectors that are divided by their length from infinity.
        eps: f64 = 1e-12 => 1e-3,
        /// The dimension along which outputs lie: usually 0, for transposed convolutions 1.
        dim: usize = 0usize => 2usize,
    }
}

/// The parameter `name` of a layer divided by its largest singular value, which a power iteration follows in training
/// (Miyato et al., 2018).
///
/// ```
/// use calor::nn::{Linear, utils::spectral_norm};
/// let normed = spectral_norm(Linear::new(4, 3, ())?, "weight", ())?;
/// for _ in 0..50 {
///     normed.weight()?;
/// }
/// let largest = normed.weight()?.detach().linalg_svdvals()?.max()?.item()?;
/// assert!((largest - 1.0).abs() < 1e-3, "{largest}");
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where the layer has no such parameter, `Dim` where that has fewer than two dimensions or not this one.
pub fn spectral_norm<L: Layer + Module>(
    layer: L,
    name: &str,
    options: impl Into<SpectralNormOptions>,
) -> Result<Parametrized<L>> {
    const OP: &str = "spectral_norm";
    let o = options.into();
    let target = parameter(OP, &layer, name)?;
    let weight = target.tensor().detach();
    if weight.dim() < 2 || o.dim >= weight.dim() {
        bail!(Dim, OP, "dimension {} of a parameter of shape {:?}, which needs two", o.dim, weight.shape());
    }
    let rule = no_grad(|| {
        let matrix = matrix(&weight, o.dim)?;
        let vector = |n: usize| normalized(&Tensor::randn([n], (weight.dtype(), weight.device()))?, o.eps);
        let (u, v) = (Buffer::new(&vector(matrix.size(0)?)?), Buffer::new(&vector(matrix.size(1)?)?));
        iterate(&matrix, &u, &v, 15, o.eps)?;
        let (w, training) = (Parameter::new(&weight.try_clone()?)?, Training::default());
        let (dim, steps, eps) = (o.dim, o.n_power_iterations, o.eps);
        Ok::<_, crate::Error>(Rule::Spectral { w, u, v, dim, steps, eps, training })
    })?;
    Ok(Parametrized { layer, name: name.to_string(), target, rule })
}

impl<L: Layer + Module> Layer for Parametrized<L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.target.compute_as(self.rule.compute()?);
        self.layer.forward(x)
    }
}

impl<L: Layer + Module> Module for Parametrized<L> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layer.visit(&mut Without { name: &self.name, depth: 0, inner: visitor });
        visitor.enter("parametrizations");
        visitor.enter(&self.name);
        match &self.rule {
            Rule::Weight { g, v, .. } => {
                visitor.parameter("original0", g);
                visitor.parameter("original1", v);
            }
            Rule::Spectral { w, u, v, training, .. } => {
                visitor.training(training);
                visitor.parameter("original", w);
                visitor.enter("0");
                visitor.buffer("_u", u);
                visitor.buffer("_v", v);
                visitor.leave();
            }
        }
        visitor.leave();
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        Module::set_training(&self.layer, training);
        if let Rule::Spectral { training: own, .. } = &self.rule {
            own.set(training);
        }
    }

    fn forget_statistics(&self) -> Result<bool> {
        self.layer.forget_statistics()
    }

    fn kind(&self) -> String {
        format!("Parametrized{}", self.layer.kind())
    }
}

impl<L: Layer + Module> Field for Parametrized<L> {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        visitor.module(name, self);
        self.visit(visitor);
        visitor.leave();
    }

    fn set_training(&self, training: bool) {
        Module::set_training(self, training);
    }
}

/// A visitor that is not shown one parameter.
struct Without<'a> {
    name: &'a str,
    depth: usize,
    inner: &'a mut dyn Visitor,
}

impl Visitor for Without<'_> {
    fn enter(&mut self, name: &str) {
        self.depth += 1;
        self.inner.enter(name);
    }

    fn module(&mut self, name: &str, module: &dyn Module) {
        self.depth += 1;
        self.inner.module(name, module);
    }

    fn training(&mut self, training: &Training) {
        self.inner.training(training);
    }

    fn value(&mut self, name: &str, value: &dyn std::fmt::Debug) {
        self.inner.value(name, value);
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.inner.leave();
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        if self.depth > 0 || name != self.name {
            self.inner.parameter(name, parameter);
        }
    }

    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        self.inner.buffer(name, buffer);
    }
}

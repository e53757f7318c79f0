//! L-BFGS: steps by an estimate of the inverse Hessian from the last gradients.

use super::rule::{not_negative, options};
use super::wolfe::{Point, strong_wolfe};
use super::{GroupState, Kept, OptimState, Optimizer};
use crate::error::{Result, bail};
use crate::nn::Parameter;
use crate::tensor::{Pack, Tensor};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

options! {
    /// Settings of [`Lbfgs`], PyTorch's names and defaults; its `line_search_fn` is `strong_wolfe` here.
    ///
    /// ```
    /// let options = calor::optim::LbfgsOptions::default().history_size(10);
    /// assert_eq!((options.lr, options.max_iter, options.history_size), (1.0, 20, 10));
    /// ```
    LbfgsOptions {
        /// Length of a step along its direction, or the first one that the line search tries.
        lr: f64 = 1.0,
        /// The most iterations in a step.
        max_iter: u64 = 20,
        /// The most times that a step asks for the loss; none is `max_iter * 5 / 4`.
        max_eval: Option<u64> = None,
        /// A step ends where no element of the gradient is larger.
        tolerance_grad: f64 = 1e-7,
        /// A step ends where parameters or the loss change by less.
        tolerance_change: f64 = 1e-9,
        /// How many of the last changes are kept.
        history_size: u64 = 100,
        /// Searches along each direction for a point of the strong Wolfe conditions.
        strong_wolfe: bool = false,
        /// Ascends instead.
        maximize: bool = false,
    }
}

impl LbfgsOptions {
    /// Changes a setting by name, truth values as 0 and 1; false if there is none of that name.
    ///
    /// ```
    /// let mut options = calor::optim::LbfgsOptions::default();
    /// assert!(options.set("strong_wolfe", 1.0) && options.strong_wolfe && !options.set("beta1", 0.5));
    /// ```
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        self.assign(name, value)
    }

    fn check(&self) -> Result<()> {
        not_negative("LBFGS", "learning rate", self.lr)
    }
}

/// A gradient's change `y` over a step `s`, and `1 / y^T s`.
#[derive(Clone)]
struct Change {
    y: Tensor,
    s: Tensor,
    ro: f64,
}

/// What goes on from one step to the next.
#[derive(Clone, Default)]
struct Memory {
    func_evals: u64,
    n_iter: u64,
    /// The last direction, and how far it was followed.
    direction: Option<(Tensor, f64)>,
    changes: VecDeque<Change>,
    h_diag: f64,
    last: Option<(Tensor, f64)>,
}

/// Where the elements of a vector of all parameters lie when these are side by side in memory, and the other way round.
#[derive(Clone)]
struct Order {
    elements: Arc<[usize]>,
    to_vector: Tensor,
    to_places: Tensor,
}

/// All parameters, to be moved by one kernel.
struct SideBySide {
    tensors: Vec<Tensor>,
    places: Pack,
    order: Order,
}

impl SideBySide {
    /// Moves all parameters by `t d`.
    fn add(&self, t: f64, d: &Tensor) -> Result<()> {
        let d = d.index_select(0, &self.order.to_places)?;
        self.places.split(&self.places.join(&self.tensors)?.add(&d.mul(t)?)?, &self.tensors)
    }
}

/// L-BFGS: directions `-H g`, where `H` estimates the inverse Hessian from the last changes of gradients and parameters.
///
/// Liu and Nocedal, [On the limited memory BFGS method for large scale optimization](https://doi.org/10.1007/BF01589116).
/// A step asks for the loss and its gradient many times: [`Lbfgs::step_with`] takes a closure. There is one group, of one
/// dtype and device; each iteration waits for the device.
///
/// ```
/// use calor::nn::Parameter;
/// use calor::optim::{Lbfgs, LbfgsOptions};
/// use calor::Tensor;
/// let w = Parameter::new(&Tensor::new([3.0f32, -2.0], ())?)?;
/// let mut lbfgs = Lbfgs::new([w.clone()], LbfgsOptions::default().strong_wolfe(true))?;
/// lbfgs.step_with(|| {
///     w.zero_grad();
///     let loss = (&w - 1.0)?.square()?.sum()?;
///     loss.backward()?;
///     Ok(loss)
/// })?;
/// assert!(w.tensor().to_vec::<f32>()?.iter().all(|x| (x - 1.0).abs() < 1e-5));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Lbfgs {
    parameters: Vec<Parameter>,
    options: LbfgsOptions,
    initial_lr: Option<f64>,
    memory: Memory,
    order: Option<Order>,
}

impl Lbfgs {
    /// An optimizer of one group.
    ///
    /// ```
    /// use calor::optim::{Lbfgs, LbfgsOptions, Optimizer};
    /// assert_eq!(Lbfgs::new([], LbfgsOptions::new(0.5))?.lr(0), 0.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(parameters: impl IntoIterator<Item = Parameter>, options: LbfgsOptions) -> Result<Self> {
        options.check()?;
        let parameters: Vec<Parameter> = parameters.into_iter().collect();
        let tensors: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
        if let Some(first) = tensors.first()
            && tensors.iter().any(|t| t.dtype() != first.dtype() || !t.device().same(first.device()))
        {
            bail!(Value, "LBFGS", "all parameters must have one dtype and one device");
        }
        Ok(Self { parameters, options, initial_lr: None, memory: Memory::default(), order: None })
    }

    /// The settings.
    ///
    /// ```
    /// use calor::optim::{Lbfgs, LbfgsOptions};
    /// assert_eq!(Lbfgs::new([], LbfgsOptions::new(0.5))?.options().max_iter, 20);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn options(&self) -> &LbfgsOptions {
        &self.options
    }

    /// A step of up to `max_iter` iterations. The closure forgets the gradients, computes the loss, goes back through it
    /// and returns it. Gives the loss before the step.
    ///
    /// ```
    /// use calor::{Tensor, nn::Parameter, optim::{Lbfgs, LbfgsOptions}};
    /// let w = Parameter::new(&Tensor::new([3.0f32], ())?)?;
    /// let mut lbfgs = Lbfgs::new([w.clone()], LbfgsOptions::default())?;
    /// let before = lbfgs.step_with(|| {
    ///     w.zero_grad();
    ///     let loss = w.tensor().square()?.sum()?;
    ///     loss.backward()?;
    ///     Ok(loss)
    /// })?;
    /// assert!(before.item()? == 9.0 && w.tensor().item()?.abs() < 1e-3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn step_with(&mut self, mut closure: impl FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let _guard = crate::set_grad_enabled(false);
        let o = self.options.clone();
        let max_eval = o.max_eval.unwrap_or(o.max_iter * 5 / 4);
        let first = crate::enable_grad(&mut closure)?;
        let mut here = Point { loss: self.signed(first.item()?), gradient: self.gradient()? };
        let mut evals = 1;
        self.memory.func_evals += 1;
        if here.gradient.numel() == 0 || largest(&here.gradient)? <= o.tolerance_grad {
            return Ok(first);
        }
        let Some(all) = self.side_by_side()? else { return Ok(first) };
        for n_iter in 1..=o.max_iter {
            self.memory.n_iter += 1;
            let d = self.direction(&here.gradient)?;
            let before = here.loss;
            let mut t = if self.memory.n_iter == 1 {
                (1.0 / here.gradient.abs()?.sum()?.item()?).min(1.0) * o.lr
            } else {
                o.lr
            };
            self.memory.last = Some((here.gradient.clone(), before));
            let slope = here.gradient.dot(&d)?.item()?;
            self.memory.direction = Some((d.clone(), t));
            if slope > -o.tolerance_change {
                break;
            }
            let mut asked = 0;
            if o.strong_wolfe {
                let start = all.places.join(&all.tensors)?;
                let found = strong_wolfe(
                    |t| {
                        all.add(t, &d)?;
                        let loss = self.signed(crate::enable_grad(&mut closure)?.item()?);
                        let gradient = self.gradient()?;
                        all.places.split(&start, &all.tensors)?;
                        Ok(Point { loss, gradient })
                    },
                    (&d, t, slope),
                    &here,
                    max_eval.saturating_sub(evals),
                )?;
                (t, here, asked) = found;
                all.add(t, &d)?;
            } else {
                all.add(t, &d)?;
                // nobody looks at the gradient after the last iteration
                if n_iter != o.max_iter {
                    here.loss = self.signed(crate::enable_grad(&mut closure)?.item()?);
                    here.gradient = self.gradient()?;
                    asked = 1;
                }
            }
            self.memory.direction = Some((d.clone(), t));
            evals += asked;
            self.memory.func_evals += asked;
            let still = n_iter == o.max_iter
                || evals >= max_eval
                || largest(&here.gradient)? <= o.tolerance_grad
                || largest(&d)? * t.abs() <= o.tolerance_change
                || (here.loss - before).abs() < o.tolerance_change;
            if still {
                break;
            }
        }
        Ok(first)
    }

    fn signed(&self, loss: f64) -> f64 {
        if self.options.maximize { -loss } else { loss }
    }

    /// All parameters with elements side by side.
    fn side_by_side(&mut self) -> Result<Option<SideBySide>> {
        let tensors: Vec<Tensor> = self.parameters.iter().map(Parameter::tensor).filter(|t| t.numel() > 0).collect();
        let Some(first) = tensors.first() else { return Ok(None) };
        let (places, device) = (Pack::like(&tensors)?, first.device().clone());
        let elements = places.elements();
        let fits = |o: &Order| o.elements[..] == elements[..] && o.to_vector.device().same(&device);
        if !self.order.as_ref().is_some_and(fits) {
            let to_vector: Vec<i32> = elements.iter().map(|&at| at as i32).collect();
            let mut to_places = vec![0i32; places.numel()];
            to_vector.iter().enumerate().for_each(|(i, &at)| to_places[at as usize] = i as i32);
            let index = |v: &[i32]| Tensor::from_slice(v, [v.len()], &device);
            self.order =
                Some(Order { elements: elements.into(), to_vector: index(&to_vector)?, to_places: index(&to_places)? });
        }
        Ok(self.order.clone().map(|order| SideBySide { tensors, places, order }))
    }

    /// All gradients as one vector; zeros where there is none.
    fn gradient(&mut self) -> Result<Tensor> {
        let Some(all) = self.side_by_side()? else { return Tensor::zeros([0], ()) };
        let own = |t: &Tensor| match t.grad() {
            Some(g) if g.shape() == t.shape() => g.detach().to_dtype(t.dtype()),
            Some(g) => bail!(Shape, "LBFGS", "a gradient has shape {:?}, its parameter {:?}", g.shape(), t.shape()),
            None => Tensor::zeros(&t.shape()[..], (t.dtype(), t.device())),
        };
        let flat = all.places.join(&all.tensors.iter().map(own).collect::<Result<Vec<_>>>()?)?;
        // a vector of its own: the closure may write into gradients
        let vector = flat.index_select(0, &all.order.to_vector)?;
        let vector = if self.options.maximize { vector.neg()? } else { vector };
        vector.eval()?;
        Ok(vector)
    }

    /// `-H g`, with the last change taken into `H` first.
    fn direction(&mut self, gradient: &Tensor) -> Result<Tensor> {
        let m = &mut self.memory;
        let d = match (&m.direction, &m.last) {
            (Some((d, t)), Some((last, _))) if m.n_iter > 1 => {
                let (y, s) = (gradient.sub(last)?, d.mul(*t)?);
                Tensor::eval_all(&[y.clone(), s.clone()])?;
                let ys = y.dot(&s)?.item()?;
                if ys > 1e-10 {
                    while m.changes.len() as u64 >= self.options.history_size.max(1) {
                        m.changes.pop_front();
                    }
                    m.h_diag = ys / y.dot(&y)?.item()?;
                    m.changes.push_back(Change { y, s, ro: 1.0 / ys });
                }
                // factors stay on the device
                let mut q = gradient.neg()?;
                let mut factors = Vec::new();
                for c in m.changes.iter().rev() {
                    let factor = c.s.dot(&q)?.mul(c.ro)?;
                    q = q.sub(&c.y.mul(&factor)?)?;
                    factors.push(factor);
                }
                let mut r = q.mul(m.h_diag)?;
                for (c, factor) in m.changes.iter().zip(factors.iter().rev()) {
                    r = r.add(&c.s.mul(&factor.sub(&c.y.dot(&r)?.mul(c.ro)?)?)?)?;
                }
                r
            }
            _ => {
                m.changes.clear();
                m.h_diag = 1.0;
                gradient.neg()?
            }
        };
        d.eval()?;
        Ok(d)
    }
}

/// The largest magnitude.
pub(super) fn largest(x: &Tensor) -> Result<f64> {
    x.abs()?.max()?.item()
}

impl Optimizer for Lbfgs {
    /// Refused: a step needs a closure, see [`Lbfgs::step_with`].
    fn step(&mut self) -> Result<()> {
        bail!(Value, "LBFGS", "a step asks for the loss many times: call step_with and hand it a closure");
    }

    fn step_unless(&mut self, _skip: &Tensor) -> Result<()> {
        bail!(
            Unsupported,
            "LBFGS",
            "its line search reads the loss on the host: gradient scaling cannot skip its steps"
        );
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    fn zero_grad(&mut self) {
        self.parameters.iter().for_each(Parameter::zero_grad);
    }

    fn num_groups(&self) -> usize {
        1
    }

    fn lr(&self, group: usize) -> f64 {
        if group == 0 { self.options.lr } else { f64::NAN }
    }

    fn set_lr(&mut self, group: usize, lr: f64) {
        if group == 0 {
            self.options.lr = lr;
        }
    }

    fn setting(&self, group: usize, name: &str) -> Option<f64> {
        match (group, name) {
            (0, "initial_lr") => self.initial_lr,
            (0, _) => self.options.listed().into_iter().find(|s| s.0 == name).map(|s| s.1),
            _ => None,
        }
    }

    fn set_setting(&mut self, group: usize, name: &str, value: f64) -> bool {
        if group == 0 && name == "initial_lr" {
            self.initial_lr = (!value.is_nan()).then_some(value);
            return true;
        }
        group == 0 && self.options.assign(name, value)
    }

    /// As in PyTorch all of it is the first parameter's; lists are numbered: `old_dirs.0`, `ro.0`.
    fn state_dict(&self) -> OptimState {
        let m = &self.memory;
        let mut kept = BTreeMap::new();
        let mut put = |name: String, value: Kept| kept.insert(name, value);
        if m.func_evals > 0 {
            put("func_evals".into(), Kept::Number(m.func_evals as f64));
            put("n_iter".into(), Kept::Number(m.n_iter as f64));
        }
        if let (Some((d, t)), Some((gradient, loss))) = (&m.direction, &m.last) {
            put("d".into(), Kept::Tensor(d.clone()));
            put("t".into(), Kept::Number(*t));
            put("H_diag".into(), Kept::Number(m.h_diag));
            put("prev_flat_grad".into(), Kept::Tensor(gradient.clone()));
            put("prev_loss".into(), Kept::Number(*loss));
        }
        for (i, c) in m.changes.iter().enumerate() {
            put(format!("old_dirs.{i}"), Kept::Tensor(c.y.clone()));
            put(format!("old_stps.{i}"), Kept::Tensor(c.s.clone()));
            put(format!("ro.{i}"), Kept::Number(c.ro));
        }
        let first_lr = self.initial_lr.map(|lr| ("initial_lr", lr));
        let settings = self.options.listed().into_iter().chain(first_lr).map(|(n, v)| (n.to_string(), v)).collect();
        let state = if kept.is_empty() { BTreeMap::new() } else { BTreeMap::from([(0, kept)]) };
        OptimState { state, param_groups: vec![GroupState { params: (0..self.parameters.len()).collect(), settings }] }
    }

    fn load_state_dict(&mut self, state: &OptimState) -> Result<()> {
        let op = "load_state_dict";
        let [group] = &state.param_groups[..] else {
            bail!(Value, op, "LBFGS has one group, the loaded state dict {}", state.param_groups.len());
        };
        if group.params.len() != self.parameters.len() {
            bail!(Value, op, "loaded {} parameters, the group has {}", group.params.len(), self.parameters.len());
        }
        let mut options = self.options.clone();
        group.settings.iter().for_each(|(name, value)| {
            options.assign(name, *value);
        });
        options.check()?;
        let empty = BTreeMap::new();
        let kept = group.params.first().and_then(|i| state.state.get(i)).unwrap_or(&empty);
        let numel: usize = self.parameters.iter().map(Parameter::numel).sum();
        let like = self.parameters.first().map(Parameter::tensor);
        let vector = |name: &str| match (kept.get(name), &like) {
            (Some(Kept::Tensor(t)), Some(like)) => {
                if t.shape()[..] != [numel] {
                    bail!(Shape, op, "{name} has shape {:?}, the parameters have {numel} elements", t.shape());
                }
                let copy = Tensor::zeros([numel], (like.dtype(), like.device()))?;
                crate::nn::copy_into(&copy, t)?;
                Ok(Some(copy))
            }
            _ => Ok(None),
        };
        let number = |name: &str| match kept.get(name) {
            Some(Kept::Number(n)) => Ok(Some(*n)),
            Some(Kept::Tensor(t)) => t.item().map(Some),
            None => Ok(None),
        };
        let both =
            |tensor: &str, value: &str| -> Result<Option<(Tensor, f64)>> { Ok(vector(tensor)?.zip(number(value)?)) };
        let mut memory = Memory {
            func_evals: number("func_evals")?.unwrap_or(0.0) as u64,
            n_iter: number("n_iter")?.unwrap_or(0.0) as u64,
            direction: both("d", "t")?,
            changes: VecDeque::new(),
            h_diag: number("H_diag")?.unwrap_or(1.0),
            last: both("prev_flat_grad", "prev_loss")?,
        };
        while let (Some(y), Some((s, ro))) = (
            vector(&format!("old_dirs.{}", memory.changes.len()))?,
            both(&format!("old_stps.{}", memory.changes.len()), &format!("ro.{}", memory.changes.len()))?,
        ) {
            memory.changes.push_back(Change { y, s, ro });
        }
        self.initial_lr = group.settings.get("initial_lr").copied().or(self.initial_lr);
        (self.options, self.memory) = (options, memory);
        Ok(())
    }
}

//! `Formula`: one new value of an update as arithmetic on numbers and tensors of one shape. It becomes a single map,
//! so that a parameter's whole update is few nodes and one kernel; numbers from the host never enter the kernel's text.
//! What is computed of numbers alone is computed on the host, in double precision.

use crate::dtype::{DType, Scalar};
use crate::error::{Result, bail};
use crate::graph::{Body, Map, Param};
use crate::ops::arg::Arg;
use crate::tensor::Tensor;
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// A formula being written: see [`formula`].
///
/// ```
/// use calor::{DType, Tensor, optim::{Formula, Term, formula}};
/// fn halfway<'f, 't>(f: &'f Formula<'t>, a: &'t Tensor, b: &'t Tensor) -> Term<'f> {
///     f.read(a).lerp(f.read(b), 0.5)
/// }
/// let (a, b) = (Tensor::ones([2], ())?, Tensor::zeros([2], ())?);
/// assert_eq!(formula("halfway", DType::F32, |f| halfway(f, &a, &b))?.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Formula<'t> {
    dtype: DType,
    inner: RefCell<Inner<'t>>,
}

#[derive(Default)]
struct Inner<'t> {
    body: Body,
    inputs: Vec<&'t Tensor>,
    params: Vec<Param>,
}

/// A value inside a formula: an element, or a number.
///
/// ```
/// use calor::{DType, Tensor, optim::formula};
/// let x = Tensor::new([4.0f32], ())?;
/// let y = formula("example", DType::F32, |f| 1.0 - f.read(&x) * 2.0)?;
/// assert_eq!(y.item()?, -7.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Term<'f> {
    formula: &'f dyn Call,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    /// A step of the body.
    Step(u16),
    /// Known on the host.
    Number(f64),
}

/// A number of an update, such as the count of steps: the host knows it, or it lies on the device, where nobody waits for it.
///
/// ```
/// use calor::{Tensor, optim::Number};
/// let (host, device) = (Number::Host(2.0), Number::Device(Tensor::scalar(2.0, ())?));
/// assert!(matches!(Number::of(|f| f.number(&host) + 1.0)?, Number::Host(3.0)));
/// assert!(matches!(Number::of(|f| f.number(&device) + 1.0)?, Number::Device(t) if t.item()? == 3.0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub enum Number {
    /// Known on the host.
    Host(f64),
    /// A tensor of one element, or of the shape of a formula that reads it.
    Device(Tensor),
}

impl Number {
    /// What tells two numbers apart without a look at the device.
    pub(super) fn key(&self) -> (bool, u64) {
        match self {
            Number::Host(value) => (false, value.to_bits()),
            Number::Device(tensor) => (true, tensor.storage_key() as u64),
        }
    }

    /// The number as a tensor of a shape.
    pub(super) fn expanded(&self, shape: &[usize]) -> Result<Number> {
        Ok(match self {
            Number::Host(value) => Number::Host(*value),
            Number::Device(tensor) => Number::Device(tensor.expand(shape)?),
        })
    }

    /// The number for an operation.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0], ())?;
    /// assert_eq!(x.mul(calor::optim::Number::Host(3.0).arg())?.to_vec::<f32>()?, [3.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn arg(&self) -> Arg {
        match self {
            Number::Host(value) => (*value).into(),
            Number::Device(tensor) => tensor.into(),
        }
    }

    /// A number computed of others, on the device if one of them is there.
    ///
    /// ```
    /// use calor::optim::Number;
    /// let step = Number::Host(3.0);
    /// assert!(matches!(Number::of(|f| f.number(&step) * 2.0)?, Number::Host(6.0)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the device.
    pub fn of<'t>(write: impl for<'f> FnOnce(&'f Formula<'t>) -> Term<'f>) -> Result<Number> {
        match build("number", DType::F32, write)? {
            Built::Number(value) => Ok(Number::Host(value)),
            Built::Tensor(tensor) => Ok(Number::Device(tensor)),
        }
    }
}

/// What values need of their formula, whatever it borrows.
trait Call {
    fn call(&self, name: &'static str, args: &[u16]) -> u16;
    fn literal(&self, value: f64) -> u16;
    fn select(&self, cond: u16, yes: u16, no: u16) -> u16;
}

impl Call for Formula<'_> {
    fn select(&self, cond: u16, yes: u16, no: u16) -> u16 {
        self.inner.borrow_mut().body.select(cond, yes, no)
    }

    fn call(&self, name: &'static str, args: &[u16]) -> u16 {
        self.inner.borrow_mut().body.call(name, args)
    }

    fn literal(&self, value: f64) -> u16 {
        let mut inner = self.inner.borrow_mut();
        let k = inner.params.len();
        inner.params.push(Param::scalar(Scalar::Float(value), self.dtype.compute()));
        inner.body.value(k, self.dtype.compute())
    }
}

enum Built {
    Number(f64),
    Tensor(Tensor),
}

/// A new value of each element of some tensors of one shape, as a lazy tensor.
///
/// ```
/// use calor::optim::formula;
/// use calor::{DType, Tensor};
/// let (p, g) = (Tensor::ones([2], ())?, Tensor::full([2], 4.0, ())?);
/// let new = formula("step", DType::F32, |f| f.read(&p) - f.read(&g) * 0.125)?;
/// assert_eq!(new.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where it reads no tensor.
pub fn formula<'t>(
    name: &'static str,
    dtype: DType,
    write: impl for<'f> FnOnce(&'f Formula<'t>) -> Term<'f>,
) -> Result<Tensor> {
    match build(name, dtype, write)? {
        Built::Tensor(tensor) => Ok(tensor),
        Built::Number(_) => bail!(Value, name, "a formula must read a tensor"),
    }
}

fn build<'t>(
    name: &'static str,
    dtype: DType,
    write: impl for<'f> FnOnce(&'f Formula<'t>) -> Term<'f>,
) -> Result<Built> {
    let formula = Formula { dtype, inner: RefCell::default() };
    let last = match write(&formula).at {
        At::Number(value) => return Ok(Built::Number(value)),
        At::Step(last) => last,
    };
    let Inner { mut body, inputs, params } = formula.inner.into_inner();
    if last as usize + 1 != body.ops.len() {
        // a body gives its last step
        body.cast(dtype, last);
    }
    let Some(first) = inputs.first() else {
        bail!(Value, name, "a formula must read a tensor");
    };
    let map = Arc::new(Map { name: name.into(), body });
    Tensor::apply(map, first.device(), (&first.shape(), dtype), &inputs, &params).map(Built::Tensor)
}

impl<'t> Formula<'t> {
    /// An element of a tensor; all of them have the shape of the result.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([2.0f32], ())?;
    /// assert_eq!(formula("twice", DType::F32, |f| f.read(&x) + f.read(&x))?.item()?, 4.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn read(&self, tensor: &'t Tensor) -> Term<'_> {
        let mut inner = self.inner.borrow_mut();
        let k = match inner.inputs.iter().position(|t| t.id() == tensor.id()) {
            Some(k) => k,
            None => {
                inner.inputs.push(tensor);
                inner.inputs.len() - 1
            }
        };
        let mut at = inner.body.input(k);
        if tensor.dtype().compute() != self.dtype.compute() {
            at = inner.body.cast(self.dtype.compute(), at);
        }
        drop(inner);
        Term { formula: self, at: At::Step(at) }
    }

    /// A number.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::{Number, formula}};
    /// let (x, step) = (Tensor::new([2.0f32], ())?, Number::Host(3.0));
    /// assert_eq!(formula("scaled", DType::F32, |f| f.read(&x) * f.number(&step))?.item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn number(&self, number: &'t Number) -> Term<'_> {
        match number {
            Number::Host(value) => Term { formula: self, at: At::Number(*value) },
            Number::Device(tensor) => self.read(tensor),
        }
    }
}

impl<'f> Term<'f> {
    /// The step that computes it.
    fn step(self) -> u16 {
        match self.at {
            At::Step(at) => at,
            At::Number(value) => self.formula.literal(value),
        }
    }

    fn with(self, name: &'static str, other: Term<'f>, fold: fn(f64, f64) -> f64) -> Term<'f> {
        let at = match (self.at, other.at) {
            (At::Number(a), At::Number(b)) => At::Number(fold(a, b)),
            _ => {
                let args = [self.step(), other.step()];
                At::Step(self.formula.call(name, &args))
            }
        };
        Term { at, ..self }
    }

    fn alone(self, name: &'static str, fold: fn(f64) -> f64) -> Term<'f> {
        let at = match self.at {
            At::Number(a) => At::Number(fold(a)),
            At::Step(at) => At::Step(self.formula.call(name, &[at])),
        };
        Term { at, ..self }
    }

    /// A number beside it.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([2.0f32], ())?;
    /// let y = formula("example", DType::F32, |f| f.read(&x).constant(8.0) - f.read(&x))?;
    /// assert_eq!(y.item()?, 6.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn constant(self, value: f64) -> Term<'f> {
        Term { at: At::Number(value), ..self }
    }

    /// Its magnitude.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([-2.0f32], ())?;
    /// assert_eq!(formula("example", DType::F32, |f| f.read(&x).abs())?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn abs(self) -> Term<'f> {
        self.alone("op_abs", f64::abs)
    }

    /// -1, 0 or 1; 0 for NaN.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([-2.0f32, 0.0, 3.0], ())?;
    /// assert_eq!(formula("example", DType::F32, |f| f.read(&x).sign())?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sign(self) -> Term<'f> {
        self.alone("op_sign", |x| if x > 0.0 { 1.0 } else { -f64::from(u8::from(x < 0.0)) })
    }

    /// Square root.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([9.0f32], ())?;
    /// assert!((formula("example", DType::F32, |f| f.read(&x).sqrt())?.item()? - 3.0).abs() < 1e-5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn sqrt(self) -> Term<'f> {
        self.alone("op_sqrt", f64::sqrt)
    }

    /// The smaller one.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([1.0f32, 5.0], ())?;
    /// let y = formula("example", DType::F32, |f| f.read(&x).minimum(f.read(&x).constant(3.0)))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn minimum(self, other: Term<'f>) -> Term<'f> {
        self.with("op_minimum", other, f64::min)
    }

    /// The larger one.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([1.0f32, 5.0], ())?;
    /// let y = formula("example", DType::F32, |f| f.read(&x).maximum(f.read(&x).constant(3.0)))?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 5.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn maximum(self, other: Term<'f>) -> Term<'f> {
        self.with("op_maximum", other, f64::max)
    }

    /// At least `low`, at most `high`.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([-5.0f32, 0.5, 5.0], ())?;
    /// assert_eq!(formula("example", DType::F32, |f| f.read(&x).clamp(-1.0, 1.0))?.to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clamp(self, low: f64, high: f64) -> Term<'f> {
        self.maximum(self.constant(low)).minimum(self.constant(high))
    }

    /// A power of it; it must not be negative.
    ///
    /// ```
    /// use calor::optim::Number;
    /// let x = Number::Host(2.0);
    /// assert!(matches!(Number::of(|f| f.number(&x).powf(3.0))?, Number::Host(8.0)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn powf(self, power: f64) -> Term<'f> {
        self.with("op_pow", self.constant(power), f64::powf)
    }

    /// `1 - base^x`, exact also for a base near 1.
    ///
    /// ```
    /// use calor::optim::Number;
    /// // Adam's bias correction after two steps
    /// let step = Number::Host(2.0);
    /// assert!(matches!(Number::of(|f| f.number(&step).correction(0.5))?, Number::Host(0.75)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn correction(self, base: f64) -> Term<'f> {
        match self.at {
            At::Number(x) => self.constant(1.0 - base.powf(x)),
            At::Step(_) => -(self * base.ln()).alone("op_expm1", f64::exp_m1),
        }
    }

    /// Rounded to single precision.
    ///
    /// ```
    /// use calor::optim::Number;
    /// let x = Number::Host(0.1);
    /// assert!(matches!(Number::of(|f| f.number(&x).single())?, Number::Host(y) if y == f64::from(0.1f32)));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn single(self) -> Term<'f> {
        match self.at {
            At::Number(x) => self.constant(f64::from(x as f32)),
            // where numbers of the device are kept in it
            At::Step(_) => self,
        }
    }

    /// `above` where it is above a limit, else `not`. Of a number only the one that holds is written.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([1.0f32, 5.0], ())?;
    /// let y = formula("example", DType::F32, |f| f.read(&x).above(3.0, || f.read(&x) * 10.0, || f.read(&x)))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 50.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn above(self, limit: f64, above: impl FnOnce() -> Term<'f>, not: impl FnOnce() -> Term<'f>) -> Term<'f> {
        match self.at {
            At::Number(x) if x > limit => above(),
            At::Number(_) => not(),
            At::Step(at) => {
                let limit = self.formula.literal(limit);
                let cond = self.formula.call("op_gt", &[at, limit]);
                let (above, not) = (above().step(), not().step());
                let at = self.formula.select(cond, above, not);
                Term { at: At::Step(at), ..self }
            }
        }
    }

    /// `above` where it is above zero, `below` where it is below, else `level`.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let x = Tensor::new([-2.0f32, 0.0, 3.0], ())?;
    /// let y = formula("example", DType::F32, |f| {
    ///     let x = f.read(&x);
    ///     x.by_sign(x.constant(0.5), x.constant(1.0), x.constant(1.2))
    /// })?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.0, 1.2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn by_sign(self, below: Term<'f>, level: Term<'f>, above: Term<'f>) -> Term<'f> {
        self.above(0.0, || above, || (-self).above(0.0, || below, || level))
    }

    /// `self + (other - self) * weight`, which is exact where both agree.
    ///
    /// ```
    /// use calor::{DType, Tensor, optim::formula};
    /// let (x, y) = (Tensor::new([1.0f32], ())?, Tensor::new([5.0f32], ())?);
    /// assert_eq!(formula("example", DType::F32, |f| f.read(&x).lerp(f.read(&y), 0.25))?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn lerp(self, other: Term<'f>, weight: f64) -> Term<'f> {
        self + (other - self) * weight
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $name:literal),*) => {
        $(
            impl<'f> $trait for Term<'f> {
                type Output = Term<'f>;
                fn $method(self, other: Term<'f>) -> Term<'f> {
                    self.with($name, other, |a, b| a.$method(b))
                }
            }
            impl<'f> $trait<f64> for Term<'f> {
                type Output = Term<'f>;
                fn $method(self, other: f64) -> Term<'f> {
                    self.$method(self.constant(other))
                }
            }
            impl<'f> $trait<Term<'f>> for f64 {
                type Output = Term<'f>;
                fn $method(self, other: Term<'f>) -> Term<'f> {
                    other.constant(self).$method(other)
                }
            }
        )*
    };
}
arithmetic!(Add add "op_add", Sub sub "op_sub", Mul mul "op_mul", Div div "op_div");

impl<'f> Neg for Term<'f> {
    type Output = Term<'f>;
    fn neg(self) -> Term<'f> {
        self.alone("op_neg", f64::neg)
    }
}

/// The gradient that a rule follows: turned round where it ascends, and with the parameter's share where the weight decay
/// is coupled.
pub(super) fn gradient<'f, 't>(
    f: &'f Formula<'t>,
    p: &'t Tensor,
    g: &'t Tensor,
    maximize: bool,
    weight_decay: f64,
) -> Term<'f> {
    let g = if maximize { -f.read(g) } else { f.read(g) };
    if weight_decay == 0.0 { g } else { g + f.read(p) * weight_decay }
}

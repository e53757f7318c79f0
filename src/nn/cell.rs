//! One step of a recurrent network, and the cells that make one.

use super::options::options;
use super::{Module, Parameter, functional, init};
use crate::error::{Result, bail};
use crate::tensor::autocast::{lowered, lowered_if};
use crate::tensor::{Options, Tensor};

/// The function between the steps of an [`RNN`](super::RNN).
///
/// ```
/// use calor::{Tensor, nn::{RNNCell, RNNCellOptions, Recurrence}};
/// let cell = RNNCell::new(2, 3, RNNCellOptions::default().nonlinearity(Recurrence::Relu))?;
/// assert!(cell.forward(&Tensor::ones([2], ())?, None)?.min()?.item()? >= 0.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recurrence {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

/// Which network steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rnn(Recurrence),
    Lstm,
    Gru,
}

impl Kind {
    /// Rows of the weights for each element of the hidden state.
    pub(super) fn gates(self) -> usize {
        match self {
            Kind::Rnn(_) => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }

    /// The next states, of what the input gives and what the hidden state gives.
    pub(super) fn step(self, of_input: &Tensor, of_hidden: &Tensor, h: &Tensor, c: Option<&Tensor>) -> Result<State> {
        let parts = |t: &Tensor| t.chunk(self.gates(), -1);
        match self {
            Kind::Rnn(f) => {
                let sum = (of_input + of_hidden)?;
                Ok((if f == Recurrence::Tanh { sum.tanh()? } else { sum.relu()? }, None))
            }
            Kind::Lstm => {
                let all = parts(&(of_input + of_hidden)?)?;
                let ([i, f, g, o], Some(c)) = (&all[..], c) else {
                    bail!(Shape, "LSTM", "four gates and a cell state")
                };
                let c = ((f.sigmoid()? * c)? + (i.sigmoid()? * g.tanh()?)?)?;
                Ok(((o.sigmoid()? * c.tanh()?)?, Some(c)))
            }
            Kind::Gru => {
                let (x, y) = (parts(of_input)?, parts(of_hidden)?);
                let ([xr, xz, xn], [hr, hz, hn]) = (&x[..], &y[..]) else { bail!(Shape, "GRU", "three gates") };
                let (r, z) = ((xr + hr)?.sigmoid()?, (xz + hz)?.sigmoid()?);
                let n = (xn + (r * hn)?)?.tanh()?;
                Ok(((&n + (z * (h - &n)?)?)?, None))
            }
        }
    }
}

/// The hidden state, and an LSTM's cell state.
pub(super) type State = (Tensor, Option<Tensor>);

/// A fresh parameter, uniform in `± 1 / sqrt(hidden)`.
pub(super) fn weight(name: &str, shape: &[usize], hidden: usize, options: &Options) -> Result<Parameter> {
    let t = init::empty(name, shape, options)?;
    let bound = if hidden > 0 { 1.0 / (hidden as f64).sqrt() } else { 0.0 };
    init::uniform_(&t, -bound, bound)?;
    Parameter::new(&t)
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    name: &'static str,
    kind: Kind,
    input: usize,
    hidden: usize,
}

impl Sizes {
    /// A step, with a batch or without.
    fn step(
        &self,
        x: &Tensor,
        h: Option<&Tensor>,
        c: Option<&Tensor>,
        w: [&Tensor; 2],
        b: [Option<&Tensor>; 2],
    ) -> Result<State> {
        let (op, shape) = (self.name, x.shape());
        if !matches!(shape.len(), 1 | 2) {
            bail!(Shape, op, "expected input to be 1D or 2D, got {}D instead", shape.len());
        }
        for state in [h, c].into_iter().flatten() {
            if state.dim() != shape.len() {
                bail!(Shape, op, "expected hidden to be {}D like the input, got {}D instead", shape.len(), state.dim());
            }
        }
        if shape.len() == 1 {
            let rows = |t: Option<&Tensor>| t.map(|t| t.unsqueeze(0)).transpose();
            let (h, c) = (rows(h)?, rows(c)?);
            let (h, c) = self.step(&x.unsqueeze(0)?, h.as_ref(), c.as_ref(), w, b)?;
            return Ok((h.squeeze_dim(0)?, c.map(|c| c.squeeze_dim(0)).transpose()?));
        }
        if shape[1] != self.input {
            bail!(Shape, op, "input has inconsistent input_size: got {} expected {}", shape[1], self.input);
        }
        for state in [h, c].into_iter().flatten() {
            let own = state.shape();
            if own[0] != shape[0] {
                bail!(Shape, op, "Input batch size {} doesn't match hidden batch size {}", shape[0], own[0]);
            }
            if own[1] != self.hidden {
                bail!(Shape, op, "hidden has inconsistent hidden_size: got {}, expected {}", own[1], self.hidden);
            }
        }
        let (x, h, c) = (&lowered(x)?, lowered_if(h)?, lowered_if(c)?);
        let zeros = Tensor::zeros([shape[0], self.hidden], (x.dtype(), x.device()))?;
        let h = h.as_ref().unwrap_or(&zeros);
        let c = (self.kind == Kind::Lstm).then(|| c.as_ref().unwrap_or(&zeros));
        self.kind.step(&functional::linear(x, w[0], b[0])?, &functional::linear(h, w[1], b[1])?, h, c)
    }
}

macro_rules! cell {
    ($($(#[$doc:meta])* $name:ident $options:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr => $example:expr,)* } |$o:ident| $kind:expr;)*) => {
        $(
            options! {
                #[doc = concat!("Options of [`", stringify!($name), "`].")]
                ///
                /// ```
                /// use calor::nn::*;
                #[doc = concat!("let options = ", stringify!($options), "::default().bias(false);")]
                #[doc = concat!("assert!(", stringify!($name), "::new(2, 3, options)?.parameters().len() == 2);")]
                /// # Ok::<(), calor::Error>(())
                /// ```
                $options {
                    /// Whether it learns addends.
                    bias: bool = true => false,
                    $($(#[$field_doc])* $field: $ty = $default => $example,)*
                }
            }

            $(#[$doc])*
            #[derive(Clone, Debug, Module)]
            pub struct $name {
                /// `[gates * hidden, input]`.
                pub weight_ih: Parameter,
                /// `[gates * hidden, hidden]`.
                pub weight_hh: Parameter,
                /// `[gates * hidden]`.
                pub bias_ih: Option<Parameter>,
                /// `[gates * hidden]`.
                pub bias_hh: Option<Parameter>,
                #[module(skip)]
                sizes: Sizes,
            }

            impl $name {
                /// A cell with fresh parameters, uniform in `± 1 / sqrt(hidden)`.
                ///
                /// ```
                /// use calor::nn::*;
                #[doc = concat!("let cell = ", stringify!($name), "::new(2, 4, ())?;")]
                /// assert!(cell.weight_hh.tensor().abs()?.max()?.item()? <= 0.5);
                /// # Ok::<(), calor::Error>(())
                /// ```
                pub fn new(input: usize, hidden: usize, options: impl Into<$options>) -> Result<Self> {
                    let ($o, name) = (options.into(), stringify!($name));
                    let kind: Kind = $kind;
                    let rows = kind.gates().saturating_mul(hidden);
                    let bias = || $o.bias.then(|| weight(name, &[rows], hidden, &$o.tensor)).transpose();
                    Ok(Self {
                        weight_ih: weight(name, &[rows, input], hidden, &$o.tensor)?,
                        weight_hh: weight(name, &[rows, hidden], hidden, &$o.tensor)?,
                        bias_ih: bias()?,
                        bias_hh: bias()?,
                        sizes: Sizes { name, kind, input, hidden },
                    })
                }

                fn step(&self, x: &Tensor, h: Option<&Tensor>, c: Option<&Tensor>) -> Result<State> {
                    let [bi, bh] = [&self.bias_ih, &self.bias_hh].map(|b| b.as_ref().map(Parameter::tensor));
                    let weights = [&self.weight_ih.tensor(), &self.weight_hh.tensor()];
                    self.sizes.step(x, h, c, weights, [bi.as_ref(), bh.as_ref()])
                }
            }
        )*
    };
}

cell! {
    /// `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or with `max(.., 0)`, for `[n, input]` or `[input]`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::RNNCell;
    /// let cell = RNNCell::new(3, 4, ())?;
    /// assert_eq!(&cell.forward(&Tensor::ones([2, 3], ())?, None)?.shape()[..], [2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    RNNCell RNNCellOptions {
        /// The function.
        nonlinearity: Recurrence = Recurrence::Tanh => Recurrence::Relu,
    } |o| Kind::Rnn(o.nonlinearity);
    /// `r, z = sigmoid(..)`, `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`, `h' = (1 - z) n + z h`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::GRUCell;
    /// let cell = GRUCell::new(3, 4, ())?;
    /// assert_eq!(&cell.forward(&Tensor::ones([3], ())?, None)?.shape()[..], [4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    GRUCell GRUCellOptions {} |o| Kind::Gru;
    /// `i, f, o = sigmoid(..)`, `g = tanh(..)`, `c' = f c + i g`, `h' = o tanh(c')`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::LSTMCell;
    /// let (h, c) = LSTMCell::new(3, 4, ())?.forward(&Tensor::ones([2, 3], ())?, None)?;
    /// assert_eq!((&h.shape()[..], &c.shape()[..]), (&[2, 4][..], &[2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    LSTMCell LSTMCellOptions {} |o| Kind::Lstm;
}

impl RNNCell {
    /// The next hidden state; the first is zeros.
    ///
    /// ```
    /// use calor::{Tensor, nn::RNNCell};
    /// let (cell, x) = (RNNCell::new(2, 3, ())?, Tensor::ones([4, 2], ())?);
    /// let h = cell.forward(&x, None)?;
    /// assert_eq!(&cell.forward(&x, Some(&h))?.shape()[..], [4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        Ok(self.step(x, h, None)?.0)
    }
}

impl GRUCell {
    /// The next hidden state; the first is zeros.
    ///
    /// ```
    /// use calor::{Tensor, nn::GRUCell};
    /// let (cell, x) = (GRUCell::new(2, 3, ())?, Tensor::ones([4, 2], ())?);
    /// let h = cell.forward(&x, None)?;
    /// assert_eq!(&cell.forward(&x, Some(&h))?.shape()[..], [4, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        Ok(self.step(x, h, None)?.0)
    }
}

impl LSTMCell {
    /// The next hidden state and cell state; the first are zeros.
    ///
    /// ```
    /// use calor::{Tensor, nn::LSTMCell};
    /// let (cell, x) = (LSTMCell::new(2, 3, ())?, Tensor::ones([4, 2], ())?);
    /// let (h, c) = cell.forward(&x, None)?;
    /// let (h, c) = cell.forward(&x, Some((&h, &c)))?;
    /// assert_eq!((&h.shape()[..], &c.shape()[..]), (&[4, 3][..], &[4, 3][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, state: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, Tensor)> {
        let (h, c) = self.step(x, state.map(|s| s.0), state.map(|s| s.1))?;
        Ok((h.clone(), c.unwrap_or(h)))
    }
}

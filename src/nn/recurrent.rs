//! Recurrent networks over whole sequences.

use super::cell::{Kind, Recurrence, State, weight};
use super::options::options;
use super::utils::rnn::PackedSequence;
use super::{Field, Module, Parameter, Training, Visitor, functional};
use crate::error::{Result, bail};
use crate::ops::join::{cat, stack};
use crate::tensor::autocast::{autocast_dtype, lowered, lowered_if};
use crate::tensor::{Options, Tensor};

/// The weights of one layer and direction.
#[derive(Clone, Debug)]
struct Weights {
    /// `l0`, `l0_reverse`, ...
    suffix: String,
    ih: Parameter,
    hh: Parameter,
    bias: Option<[Parameter; 2]>,
    /// An LSTM's projection.
    hr: Option<Parameter>,
}

/// What the three networks have in common.
#[derive(Clone, Debug)]
struct Stack {
    name: &'static str,
    kind: Kind,
    input: usize,
    hidden: usize,
    proj: usize,
    layers: usize,
    directions: usize,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    training: Training,
    weights: Vec<Weights>,
}

impl Stack {
    fn filled(mut self, tensor: &Options) -> Result<Self> {
        let op = self.name;
        for (what, n) in [("input_size", self.input), ("hidden_size", self.hidden), ("num_layers", self.layers)] {
            if n == 0 {
                bail!(Value, op, "{what} must be greater than zero");
            }
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            bail!(Value, op, "dropout should be a number in range [0, 1], got {}", self.dropout);
        }
        if self.proj >= self.hidden {
            bail!(Value, op, "proj_size has to be smaller than hidden_size");
        }
        let rows = self.kind.gates().saturating_mul(self.hidden);
        let fresh = |shape: &[usize]| weight(op, shape, self.hidden, tensor);
        for layer in 0..self.layers {
            for direction in 0..self.directions {
                let inputs = if layer == 0 { self.input } else { self.width().saturating_mul(self.directions) };
                self.weights.push(Weights {
                    suffix: format!("l{layer}{}", if direction == 1 { "_reverse" } else { "" }),
                    ih: fresh(&[rows, inputs])?,
                    hh: fresh(&[rows, self.width()])?,
                    bias: if self.bias { Some([fresh(&[rows])?, fresh(&[rows])?]) } else { None },
                    hr: if self.proj > 0 { Some(fresh(&[self.proj, self.hidden])?) } else { None },
                });
            }
        }
        Ok(self)
    }

    /// Size of a hidden state.
    fn width(&self) -> usize {
        if self.proj > 0 { self.proj } else { self.hidden }
    }

    /// A given state `[layers * directions, n, size]` by layer and direction, or zeros.
    fn states(&self, given: Option<&Tensor>, x: &Tensor, n: usize, size: usize) -> Result<Vec<Tensor>> {
        let want = [self.weights.len(), n, size];
        match given {
            None => Ok(vec![Tensor::zeros([n, size], (x.dtype(), x.device()))?; self.weights.len()]),
            Some(t) if t.shape()[..] == want => t.unbind(0),
            Some(t) => bail!(Shape, self.name, "expected hidden size {want:?}, got {:?}", t.shape()),
        }
    }

    fn forward(&self, x: &Tensor, h: Option<&Tensor>, c: Option<&Tensor>) -> Result<(Tensor, State)> {
        let (op, shape) = (self.name, x.shape());
        if shape.len() == 2 {
            let batch = if self.batch_first { 0 } else { 1 };
            let lift = |t: Option<&Tensor>| -> Result<Option<Tensor>> {
                match t {
                    Some(t) if t.dim() != 2 => {
                        bail!(Shape, op, "for unbatched 2-D input, hx should also be 2-D but got {}-D", t.dim())
                    }
                    t => t.map(|t| t.unsqueeze(1)).transpose(),
                }
            };
            let (h, c) = (lift(h)?, lift(c)?);
            let (y, (h, c)) = self.forward(&x.unsqueeze(batch)?, h.as_ref(), c.as_ref())?;
            return Ok((y.squeeze_dim(batch)?, (h.squeeze_dim(1)?, c.map(|c| c.squeeze_dim(1)).transpose()?)));
        }
        if shape.len() != 3 {
            bail!(Shape, op, "expected input to be 2D or 3D, got {}D instead", shape.len());
        }
        self.fits(x)?;
        let x = lowered(x)?;
        let x = if self.batch_first { x.transpose(0, 1)? } else { x };
        if x.size(0)? == 0 {
            bail!(Shape, op, "Expected sequence length to be larger than 0 in RNN");
        }
        let (x, state) = self.layers(x, h, c, None)?;
        Ok((if self.batch_first { x.transpose(0, 1)? } else { x }, state))
    }

    /// As `forward`, with what has no next step left as it is, so that states of all lengths come out at once, and what is
    /// read backwards starts at each sequence's own end.
    fn packed(&self, x: &PackedSequence, h: Option<&Tensor>, c: Option<&Tensor>) -> Result<(PackedSequence, State)> {
        let (op, data) = (self.name, &x.data);
        let runs = x.runs(op)?;
        if data.dim() != 2 {
            bail!(Shape, op, "expected packed data to be 2D, got {}D instead", data.dim());
        }
        self.fits(data)?;
        let (steps, n) = (runs.steps(), runs.lengths.len());
        let places = runs.places(op, steps, false, data.device())?;
        let padded = places.spread(&lowered(data)?, 0.0.into())?.reshape([steps, n, self.input])?;
        let lengths: Vec<i32> = runs.lengths.iter().map(|&length| length as i32).collect();
        let lengths = Tensor::from_slice(&lengths, [n, 1], data.device())?;
        let (y, state) = self.layers(padded, h, c, Some(&lengths))?;
        let data = places.gathered(&y.flatten(0, 1)?)?;
        Ok((PackedSequence { data, ..x.clone() }, state))
    }

    /// Refuses what the weights cannot be multiplied with.
    fn fits(&self, x: &Tensor) -> Result<()> {
        let op = self.name;
        let own = self.weights.first().map(|w| w.ih.tensor().dtype());
        if let Some(own) = own.filter(|own| *own != x.dtype() && autocast_dtype().is_none()) {
            bail!(DType, op, "RNN input dtype ({}) does not match weight dtype ({own})", x.dtype());
        }
        let size = x.size(-1)?;
        if size != self.input {
            bail!(Shape, op, "input.size(-1) must be equal to input_size. Expected {}, got {size}", self.input);
        }
        Ok(())
    }

    /// All layers over `[steps, n, input]`; with `lengths`, `[n, 1]`, of so many steps each.
    fn layers(
        &self,
        mut x: Tensor,
        h: Option<&Tensor>,
        c: Option<&Tensor>,
        lengths: Option<&Tensor>,
    ) -> Result<(Tensor, State)> {
        let (h, c) = (lowered_if(h)?, lowered_if(c)?);
        let (h, c) = (h.as_ref(), c.as_ref());
        let n = x.size(1)?;
        let mut h = self.states(h, &x, n, self.width())?;
        let lstm = self.kind == Kind::Lstm;
        let mut c = if lstm { self.states(c, &x, n, self.hidden)? } else { Vec::new() };
        for layer in 0..self.layers {
            let mut sides = Vec::with_capacity(self.directions);
            for direction in 0..self.directions {
                let at = layer * self.directions + direction;
                let first = (h[at].clone(), c.get(at).cloned());
                let (all, last) = self.run(&self.weights[at], (&x, lengths), first, direction == 1)?;
                sides.push(all);
                h[at] = last.0;
                if let (Some(slot), Some(cell)) = (c.get_mut(at), last.1) {
                    *slot = cell;
                }
            }
            x = match &sides[..] {
                [one] => one.clone(),
                both => cat(&both.iter().collect::<Vec<_>>(), -1)?,
            };
            if layer + 1 < self.layers {
                x = x.dropout(self.dropout, self.training.get())?;
            }
        }
        let joined = |states: &[Tensor]| stack(&states.iter().collect::<Vec<_>>(), 0);
        Ok((x, (joined(&h)?, if lstm { Some(joined(&c)?) } else { None })))
    }

    /// One layer in one direction: all hidden states in the order of time, and the last states.
    fn run(
        &self,
        w: &Weights,
        (x, lengths): (&Tensor, Option<&Tensor>),
        first: State,
        reverse: bool,
    ) -> Result<(Tensor, State)> {
        let [bi, bh] = match &w.bias {
            Some(both) => both.each_ref().map(|b| Some(b.tensor())),
            None => [None, None],
        };
        let (hh, hr) = (w.hh.tensor(), w.hr.as_ref().map(Parameter::tensor));
        // of all steps at once
        let gates = functional::linear(x, &w.ih.tensor(), bi.as_ref())?.unbind(0)?;
        let (mut h, mut c) = first;
        let mut all = Vec::with_capacity(gates.len());
        let order: Vec<usize> = if reverse { (0..gates.len()).rev().collect() } else { (0..gates.len()).collect() };
        for t in order {
            let before = (h, c);
            let of_hidden = functional::linear(&before.0, &hh, bh.as_ref())?;
            (h, c) = self.kind.step(&gates[t], &of_hidden, &before.0, before.1.as_ref())?;
            if let Some(hr) = &hr {
                h = functional::linear(&h, hr, None)?;
            }
            if let Some(lengths) = lengths {
                let runs = lengths.gt(t as i32)?;
                h = runs.where_(&h, &before.0)?;
                c = c.zip(before.1).map(|(new, old)| runs.where_(&new, &old)).transpose()?;
            }
            all.push(h.clone());
        }
        if reverse {
            all.reverse();
        }
        Ok((stack(&all.iter().collect::<Vec<_>>(), 0)?, (h, c)))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.training(&self.training);
        for w in &self.weights {
            visitor.parameter(&format!("weight_ih_{}", w.suffix), &w.ih);
            visitor.parameter(&format!("weight_hh_{}", w.suffix), &w.hh);
            if let Some([ih, hh]) = &w.bias {
                visitor.parameter(&format!("bias_ih_{}", w.suffix), ih);
                visitor.parameter(&format!("bias_hh_{}", w.suffix), hh);
            }
            if let Some(hr) = &w.hr {
                visitor.parameter(&format!("weight_hr_{}", w.suffix), hr);
            }
        }
    }
}

macro_rules! network {
    ($($(#[$doc:meta])* $name:ident $options:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr => $example:expr,)* } |$o:ident| $kind:expr, $proj:expr;)*) => {
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
                    /// Number of layers, each of which reads the one before.
                    num_layers: usize = 1 => 2,
                    /// Whether it learns addends.
                    bias: bool = true => false,
                    /// Whether inputs and outputs are `[n, steps, ..]` rather than `[steps, n, ..]`.
                    batch_first: bool = false => true,
                    /// The probability with which elements between layers are dropped in training.
                    dropout: f64 = 0.0 => 0.5,
                    /// Whether each layer also reads backwards.
                    bidirectional: bool = false => true,
                    $($(#[$field_doc])* $field: $ty = $default => $example,)*
                }
            }

            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $name(Stack);

            impl $name {
                /// A network with fresh parameters, uniform in `± 1 / sqrt(hidden)`.
                ///
                /// ```
                /// use calor::nn::*;
                #[doc = concat!("let network = ", stringify!($name), "::new(2, 4, ())?;")]
                /// assert!(network.parameters()[0].tensor().abs()?.max()?.item()? <= 0.5);
                /// # Ok::<(), calor::Error>(())
                /// ```
                ///
                /// # Errors
                /// `Value` for sizes of zero, or a dropout that is no probability.
                pub fn new(input: usize, hidden: usize, options: impl Into<$options>) -> Result<Self> {
                    let $o = options.into();
                    let stack = Stack {
                        name: stringify!($name),
                        kind: $kind,
                        input,
                        hidden,
                        proj: $proj,
                        layers: $o.num_layers,
                        directions: 1 + usize::from($o.bidirectional),
                        bias: $o.bias,
                        batch_first: $o.batch_first,
                        dropout: $o.dropout,
                        training: Training::default(),
                        weights: Vec::new(),
                    };
                    Ok(Self(stack.filled(&$o.tensor)?))
                }
            }

            impl Module for $name {
                fn visit(&self, visitor: &mut dyn Visitor) {
                    self.0.visit(visitor);
                }

                fn set_training(&self, training: bool) {
                    self.0.training.set(training);
                }
            }

            impl Field for $name {
                fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
                    visitor.module(name, self);
                    self.0.visit(visitor);
                    visitor.leave();
                }

                fn set_training(&self, training: bool) {
                    self.0.training.set(training);
                }
            }
        )*
    };
}

network! {
    /// `h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)` in several layers, or with `max(.., 0)`.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{RNN, RNNOptions};
    /// let (y, h) = RNN::new(3, 4, RNNOptions::default().num_layers(2))?.forward(&Tensor::ones([5, 2, 3], ())?, None)?;
    /// assert_eq!((&y.shape()[..], &h.shape()[..]), (&[5, 2, 4][..], &[2, 2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    RNN RNNOptions {
        /// The function.
        nonlinearity: Recurrence = Recurrence::Tanh => Recurrence::Relu,
    } |o| Kind::Rnn(o.nonlinearity), 0;
    /// Gated recurrent units: steps as [`GRUCell`](super::GRUCell) makes, in several layers.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::GRU;
    /// let (y, h) = GRU::new(3, 4, ())?.forward(&Tensor::ones([5, 3], ())?, None)?;
    /// assert_eq!((&y.shape()[..], &h.shape()[..]), (&[5, 4][..], &[1, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    GRU GRUOptions {} |o| Kind::Gru, 0;
    /// Long short-term memory: steps as [`LSTMCell`](super::LSTMCell) makes, in several layers.
    ///
    /// ```
    /// use calor::Tensor;
    /// use calor::nn::{LSTM, LSTMOptions};
    /// let lstm = LSTM::new(3, 4, LSTMOptions::default().bidirectional(true))?;
    /// let (y, (h, c)) = lstm.forward(&Tensor::ones([5, 2, 3], ())?, None)?;
    /// assert_eq!((&y.shape()[..], &h.shape()[..], &c.shape()[..]), (&[5, 2, 8][..], &[2, 2, 4][..], &[2, 2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    LSTM LSTMOptions {
        /// Sizes of the hidden states where they are projections; 0 for none.
        proj_size: usize = 0 => 8,
    } |o| Kind::Lstm, o.proj_size;
}

impl RNN {
    /// The hidden states of the last layer at each step, and the last ones of each layer and direction.
    ///
    /// ```
    /// use calor::{Tensor, nn::RNN};
    /// let (rnn, x) = (RNN::new(3, 4, ())?, Tensor::ones([5, 2, 3], ())?);
    /// let (_, h) = rnn.forward(&x, None)?;
    /// assert_eq!(&rnn.forward(&x, Some(&h))?.0.shape()[..], [5, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (y, (h, _)) = self.0.forward(x, h, None)?;
        Ok((y, h))
    }

    /// As `forward`, of sequences of different lengths: each ends where it ends, and is read backwards from there. States
    /// are in the order in which the sequences were given.
    ///
    /// ```
    /// use calor::{Tensor, nn::{RNN, utils::rnn::pack_sequence}};
    /// let packed = pack_sequence(&[Tensor::ones([2, 3], ())?, Tensor::ones([5, 3], ())?], false)?;
    /// let (y, h) = RNN::new(3, 4, ())?.forward_packed(&packed, None)?;
    /// assert_eq!((&y.data.shape()[..], &h.shape()[..]), (&[7, 4][..], &[1, 2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of `forward`, and `Value` for parts of `x` that do not fit.
    pub fn forward_packed(&self, x: &PackedSequence, h: Option<&Tensor>) -> Result<(PackedSequence, Tensor)> {
        let (y, (h, _)) = self.0.packed(x, h, None)?;
        Ok((y, h))
    }
}

impl GRU {
    /// The hidden states of the last layer at each step, and the last ones of each layer and direction.
    ///
    /// ```
    /// use calor::{Tensor, nn::GRU};
    /// let (gru, x) = (GRU::new(3, 4, ())?, Tensor::ones([5, 2, 3], ())?);
    /// let (_, h) = gru.forward(&x, None)?;
    /// assert_eq!(&gru.forward(&x, Some(&h))?.0.shape()[..], [5, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (y, (h, _)) = self.0.forward(x, h, None)?;
        Ok((y, h))
    }

    /// As `forward`, of sequences of different lengths: each ends where it ends, and is read backwards from there. States
    /// are in the order in which the sequences were given.
    ///
    /// ```
    /// use calor::{Tensor, nn::{GRU, utils::rnn::pack_sequence}};
    /// let packed = pack_sequence(&[Tensor::ones([2, 3], ())?, Tensor::ones([5, 3], ())?], false)?;
    /// let (y, h) = GRU::new(3, 4, ())?.forward_packed(&packed, None)?;
    /// assert_eq!((&y.data.shape()[..], &h.shape()[..]), (&[7, 4][..], &[1, 2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of `forward`, and `Value` for parts of `x` that do not fit.
    pub fn forward_packed(&self, x: &PackedSequence, h: Option<&Tensor>) -> Result<(PackedSequence, Tensor)> {
        let (y, (h, _)) = self.0.packed(x, h, None)?;
        Ok((y, h))
    }
}

impl LSTM {
    /// The hidden states of the last layer at each step, and the last hidden and cell states of each layer and
    /// direction.
    ///
    /// ```
    /// use calor::{Tensor, nn::LSTM};
    /// let (lstm, x) = (LSTM::new(3, 4, ())?, Tensor::ones([5, 2, 3], ())?);
    /// let (_, (h, c)) = lstm.forward(&x, None)?;
    /// assert_eq!(&lstm.forward(&x, Some((&h, &c)))?.0.shape()[..], [5, 2, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, state: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, (Tensor, Tensor))> {
        let (y, (h, c)) = self.0.forward(x, state.map(|s| s.0), state.map(|s| s.1))?;
        Ok((y, (h.clone(), c.unwrap_or(h))))
    }

    /// As `forward`, of sequences of different lengths: each ends where it ends, and is read backwards from there. States
    /// are in the order in which the sequences were given.
    ///
    /// ```
    /// use calor::{Tensor, nn::{LSTM, utils::rnn::pack_sequence}};
    /// let packed = pack_sequence(&[Tensor::ones([2, 3], ())?, Tensor::ones([5, 3], ())?], false)?;
    /// let (y, (h, _)) = LSTM::new(3, 4, ())?.forward_packed(&packed, None)?;
    /// assert_eq!((&y.data.shape()[..], &h.shape()[..]), (&[7, 4][..], &[1, 2, 4][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of `forward`, and `Value` for parts of `x` that do not fit.
    pub fn forward_packed(
        &self,
        x: &PackedSequence,
        state: Option<(&Tensor, &Tensor)>,
    ) -> Result<(PackedSequence, (Tensor, Tensor))> {
        let (y, (h, c)) = self.0.packed(x, state.map(|s| s.0), state.map(|s| s.1))?;
        Ok((y, (h.clone(), c.unwrap_or(h))))
    }
}

//! How modules of many parts are made and called: recurrent networks, containers.

use crate::backend::{many, one, op};
use crate::call::{Failure, Output};
use crate::corpus::Value;
use crate::drivers::Tensor;
use crate::module_table::Row;
use crate::modules::{Args, Built, Outputs, build};
use crate::modules_layers::count;
use crate::ops_nn::size;
use calor::nn;
use std::collections::HashMap;

type Make = Result<Built, Failure>;

fn sequential(c: Args<'_>) -> Make {
    let list = match c.get("args").cloned() {
        Some(Value::List(list)) => list,
        other => return Err(Failure::Argument(format!("args is {other:?}"))),
    };
    let mut layers = nn::Sequential::new();
    for value in list {
        let Value::Module(spec) = value else { return Err(Failure::Argument(format!("a layer is {value:?}"))) };
        let part = build(&spec, HashMap::new())?.layer;
        layers.push(Box::new(part.ok_or_else(|| Failure::Unsupported(format!("{} in Sequential", spec.name)))?));
    }
    Built::layer(Ok(layers))
}

fn recurrence(c: Args<'_>) -> Result<nn::Recurrence, Failure> {
    match c.str_or("nonlinearity", "tanh")?.as_str() {
        "tanh" => Ok(nn::Recurrence::Tanh),
        "relu" => Ok(nn::Recurrence::Relu),
        other => Err(Failure::Op(format!("unknown nonlinearity {other}"))),
    }
}

/// The two states of an LSTM.
fn pair(c: Args<'_>) -> Result<Option<(Tensor, Tensor)>, Failure> {
    if !c.has("hx") {
        return Ok(None);
    }
    match &c.tensors("hx")?[..] {
        [h, cell] => Ok(Some((h.clone(), cell.clone()))),
        other => Err(Failure::Op(format!("{} states", other.len()))),
    }
}

fn two((a, b): (Tensor, Tensor)) -> Outputs {
    Ok(vec![Output::Tensor(a), Output::Tensor(b)])
}

/// A bool that is one: here PyTorch refuses numbers.
fn flag(c: Args<'_>, name: &str) -> Result<Option<bool>, Failure> {
    match c.get(name) {
        Some(Value::Int(n)) => Err(Failure::Argument(format!("{name} should be a bool, got {n}"))),
        _ => c.bool_opt(name),
    }
}

macro_rules! common {
    ($c:ident, $options:ident) => {
        nn::$options::default()
            .num_layers(size($c.int_or("num_layers", 1)?)?)
            .bias(flag($c, "bias")?.unwrap_or(true))
            .batch_first(flag($c, "batch_first")?.unwrap_or(false))
            .dropout($c.float_or("dropout", 0.0)?)
            .bidirectional($c.bool_or("bidirectional", false)?)
    };
}

/// The rows.
pub const ROWS: &[Row] = &[
    Row { name: "nn.Sequential", init: "init(*args)", forward: "forward(input)", build: sequential },
    Row {
        name: "nn.RNN",
        init: "init(input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True, batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = common!(c, RNNOptions).nonlinearity(recurrence(c)?);
            Built::other(nn::RNN::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                two(m.forward(&c.tensor("input")?, c.tensor_opt("hx")?.as_ref()).map_err(op)?)
            })
        },
    },
    Row {
        name: "nn.GRU",
        init: "init(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = common!(c, GRUOptions);
            Built::other(nn::GRU::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                two(m.forward(&c.tensor("input")?, c.tensor_opt("hx")?.as_ref()).map_err(op)?)
            })
        },
    },
    Row {
        name: "nn.LSTM",
        init: "init(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, proj_size=0, device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = common!(c, LSTMOptions).proj_size(size(c.int_or("proj_size", 0)?)?);
            Built::other(nn::LSTM::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                let state = pair(c)?;
                let state = state.as_ref().map(|(h, c)| (h, c));
                let (y, (h, cell)) = m.forward(&c.tensor("input")?, state).map_err(op)?;
                Ok(many([y, h, cell]))
            })
        },
    },
    Row {
        name: "nn.RNNCell",
        init: "init(input_size, hidden_size, bias=True, nonlinearity='tanh', device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = nn::RNNCellOptions::default().bias(c.bool_or("bias", true)?).nonlinearity(recurrence(c)?);
            Built::other(nn::RNNCell::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                one(m.forward(&c.tensor("input")?, c.tensor_opt("hx")?.as_ref()))
            })
        },
    },
    Row {
        name: "nn.GRUCell",
        init: "init(input_size, hidden_size, bias=True, device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = nn::GRUCellOptions::default().bias(c.bool_or("bias", true)?);
            Built::other(nn::GRUCell::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                one(m.forward(&c.tensor("input")?, c.tensor_opt("hx")?.as_ref()))
            })
        },
    },
    Row {
        name: "nn.LSTMCell",
        init: "init(input_size, hidden_size, bias=True, device=None, dtype=None)",
        forward: "forward(input, hx=None)",
        build: |c| {
            let o = nn::LSTMCellOptions::default().bias(c.bool_or("bias", true)?);
            Built::other(nn::LSTMCell::new(count(c, "input_size")?, count(c, "hidden_size")?, o), |m, c| {
                let state = pair(c)?;
                two(m.forward(&c.tensor("input")?, state.as_ref().map(|(h, c)| (h, c))).map_err(op)?)
            })
        },
    },
];

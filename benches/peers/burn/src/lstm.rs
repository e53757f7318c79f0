//! `train_lstm`: 32 sequences of 32 steps of 64 numbers, an LSTM of 128, and a class of 10 by its last state.

use crate::ops::{index_input, input};
use crate::{PEER, sync};
use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{GateController, Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use peerbench::{CHECK_STEPS, Work, measure, report};

fn linear(seed: u32, i: usize, o: usize, dev: &Device) -> Linear {
    let scale = 1.0 / 128f32.sqrt();
    let mut l = LinearConfig::new(i, o).init(dev);
    l.weight = Param::from_tensor(input(seed, [i, o], scale, dev));
    l.bias = Some(Param::from_tensor(input(seed + 1, [o], scale, dev)));
    l
}

/// Gates in PyTorch's order: input, forget, cell, output.
fn gate(number: u32, dev: &Device) -> GateController {
    let seed = 100 + 4 * number;
    GateController {
        input_transform: linear(seed, 64, 128, dev),
        hidden_transform: linear(seed + 2, 128, 128, dev),
    }
}

#[derive(Module, Debug)]
struct Net {
    lstm: Lstm,
    head: Linear,
}

impl Net {
    fn new(dev: &Device) -> Self {
        let mut lstm = LstmConfig::new(64, 128, true).init(dev);
        lstm.input_gate = gate(0, dev);
        lstm.forget_gate = Some(gate(1, dev));
        lstm.cell_gate = gate(2, dev);
        lstm.output_gate = gate(3, dev);
        Self { lstm, head: linear(116, 128, 10, dev) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let (_, last) = self.lstm.forward(x, None);
        self.head.forward(last.hidden)
    }
}

pub fn run(name: &str, dev: &Device) {
    let x: Tensor<3> = input(1, [32, 32, 64], 1.0, dev);
    let y = index_input(2, 32, 10, dev);
    let ce = CrossEntropyLossConfig::new().init(dev);
    let mut optim = AdamConfig::new()
        .with_beta_1(peerbench::BETA1 as f32)
        .with_beta_2(peerbench::BETA2 as f32)
        .with_epsilon(peerbench::EPS as f32)
        .init();
    let mut model = Some(Net::new(dev));
    let mut losses = Vec::new();
    sync(dev);
    let mut step = || {
        let m = model.take().unwrap();
        let l = ce.forward(m.forward(x.clone()), y.clone());
        let grads = GradientsParams::from_grads(l.backward(), &m);
        model = Some(optim.step(peerbench::LR, m, grads));
        losses.push(l.into_scalar::<f32>() as f64);
        sync(dev);
    };
    let t = measure(&mut step);
    (0..CHECK_STEPS).for_each(|_| step());
    let flop = 3.0 * 2.0 * 32.0 * (32.0 * (64.0 + 128.0) * 512.0 + 128.0 * 10.0);
    report(PEER, name, &t, Work::Flop(flop), &[losses[0], losses[CHECK_STEPS - 1]]);
}

//! The training rows: forward, loss, backward and Adam, with the loss read back at every step.

use crate::ops::{index_input, input};
use crate::protocol::{CHECK_STEPS, Work, measure, report};
use calor::nn::{
    Conv2d, Conv2dOptions, Embedding, LSTM, LSTMOptions, Layer, LayerNorm, Linear, LinearOptions, MaxPool2d, Module,
    functional,
};
use calor::optim::{Adam, AdamOptions, Optimizer};
use calor::{Approximate, Device, Result, Tensor};

fn linear(seed: u32, i: usize, o: usize, bias: bool, device: &Device) -> Result<Linear> {
    let scale = 1.0 / (i as f32).sqrt();
    let linear = Linear::new(i, o, LinearOptions::default().bias(bias).tensor(device))?;
    // the protocol lays the weight out as [in, out]
    linear.weight.copy_from(&input(seed, &[i, o], scale, device)?.t()?)?;
    if let Some(bias) = &linear.bias {
        bias.copy_from(&input(seed + 1, &[o], scale, device)?)?;
    }
    Ok(linear)
}

fn conv(seed: u32, i: usize, o: usize, device: &Device) -> Result<Conv2d> {
    let scale = 1.0 / ((i * 9) as f32).sqrt();
    let conv = Conv2d::new(i, o, 3, Conv2dOptions::default().padding(1).tensor(device))?;
    conv.weight.copy_from(&input(seed, &[o, i, 3, 3], scale, device)?)?;
    if let Some(bias) = &conv.bias {
        bias.copy_from(&input(seed + 1, &[o], scale, device)?)?;
    }
    Ok(conv)
}

#[derive(Module)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(device: &Device) -> Result<Self> {
        let sizes = [784, 512, 512, 10];
        let layer = |i: usize| linear(100 + 2 * i as u32, sizes[i], sizes[i + 1], true, device);
        Ok(Self { layers: (0..3).map(layer).collect::<Result<_>>()? })
    }
}

impl Layer for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.layers[0].forward(x)?.relu()?;
        let x = self.layers[1].forward(&x)?.relu()?;
        self.layers[2].forward(&x)
    }
}

#[derive(Module)]
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            conv1: conv(100, 1, 16, device)?,
            conv2: conv(102, 16, 32, device)?,
            pool: MaxPool2d::new(2),
            fc: linear(104, 1568, 10, true, device)?,
        })
    }
}

impl Layer for Cnn {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.pool.forward(&self.conv1.forward(x)?.relu()?)?;
        let x = self.pool.forward(&self.conv2.forward(&x)?.relu()?)?;
        self.fc.forward(&x.flatten(1, -1)?)
    }
}

#[derive(Module)]
struct Block {
    ln1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ln2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(seed: u32, device: &Device) -> Result<Self> {
        Ok(Self {
            ln1: LayerNorm::new([128], device)?,
            qkv: linear(seed, 128, 384, true, device)?,
            proj: linear(seed + 2, 128, 128, true, device)?,
            ln2: LayerNorm::new([128], device)?,
            fc1: linear(seed + 4, 128, 512, true, device)?,
            fc2: linear(seed + 6, 512, 128, true, device)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        let (b, t, d) = (shape[0], shape[1], shape[2]);
        // [b, t, 3, heads, d / heads]: queries, keys and values are views of one product
        let qkv = self.qkv.forward(&self.ln1.forward(x)?)?.reshape([b, t, 3, 4, d / 4])?;
        let head = |i| qkv.select(2, i)?.transpose(1, 2);
        let (q, k, v) = (head(0)?, head(1)?, head(2)?);
        let scores = (q.matmul(&k.transpose(-2, -1)?)? * (1.0 / ((d / 4) as f64).sqrt()))?;
        let a = (scores + mask)?.softmax(-1)?.matmul(&v)?;
        let x = (x + self.proj.forward(&a.transpose(1, 2)?.reshape([b, t, d])?)?)?;
        let h = self.fc1.forward(&self.ln2.forward(&x)?)?.gelu(Approximate::None)?;
        &x + self.fc2.forward(&h)?
    }
}

#[derive(Module)]
struct Gpt {
    tok: Embedding,
    pos: Embedding,
    blocks: Vec<Block>,
    ln: LayerNorm,
    head: Linear,
    /// Negative infinity where a place would see later ones.
    mask: Tensor,
    positions: Tensor,
}

impl Gpt {
    fn new(device: &Device) -> Result<Self> {
        let embedding = |seed, n| -> Result<Embedding> {
            let e = Embedding::new(n, 128, device)?;
            e.weight.copy_from(&input(seed, &[n, 128], 0.05, device)?)?;
            Ok(e)
        };
        let future: Vec<f32> = (0..64 * 64).map(|i| if i % 64 > i / 64 { f32::NEG_INFINITY } else { 0.0 }).collect();
        Ok(Self {
            tok: embedding(100, 65)?,
            pos: embedding(101, 64)?,
            blocks: (0..4).map(|b| Block::new(200 + 20 * b, device)).collect::<Result<_>>()?,
            ln: LayerNorm::new([128], device)?,
            head: linear(102, 128, 65, false, device)?,
            mask: Tensor::from_slice(&future, [64, 64], device)?,
            positions: Tensor::new((0..64).collect::<Vec<i32>>(), device)?,
        })
    }
}

impl Layer for Gpt {
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let x = (self.tok.forward(tokens)? + self.pos.forward(&self.positions)?)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x, &self.mask))?;
        self.head.forward(&self.ln.forward(&x)?)?.flatten(0, 1)
    }
}

#[derive(Module)]
struct Recurrent {
    lstm: LSTM,
    head: Linear,
}

impl Recurrent {
    fn new(device: &Device) -> Result<Self> {
        let lstm = LSTM::new(64, 128, LSTMOptions::default().batch_first(true).tensor(device))?;
        let scale = 1.0 / 128f32.sqrt();
        // each gate has its own seeds, and the protocol lays weights out as [in, out]
        let shapes: [&[usize]; 4] = [&[64, 128], &[128], &[128, 128], &[128]];
        let names = ["weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0"];
        let own = lstm.named_parameters();
        for (offset, (name, shape)) in (0..).zip(names.iter().zip(shapes)) {
            let gate = |g: u32| {
                let given = input(100 + 4 * g + offset, shape, scale, device)?;
                if shape.len() == 2 { given.t() } else { Ok(given) }
            };
            let gates = [gate(0)?, gate(1)?, gate(2)?, gate(3)?];
            for (_, parameter) in own.iter().filter(|(own, _)| own == name) {
                parameter.copy_from(&calor::cat(&gates.each_ref(), 0)?)?;
            }
        }
        let head = Linear::new(128, 10, device)?;
        head.weight.copy_from(&input(116, &[128, 10], scale, device)?.t()?)?;
        if let Some(bias) = &head.bias {
            bias.copy_from(&input(117, &[10], scale, device)?)?;
        }
        Ok(Self { lstm, head })
    }
}

impl Layer for Recurrent {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.lstm.forward(x, None)?.0.select(1, -1)?)
    }
}

/// A step of training, which gives its loss and waits for nothing, and its flops.
pub struct Step {
    pub run: Box<dyn FnMut() -> Result<Tensor>>,
    flop: f64,
}

fn step<M: Layer + Module + 'static>(model: M, x: Tensor, y: Tensor, flop: f64) -> Result<Step> {
    let mut adam = Adam::new(model.parameters(), AdamOptions::new(1e-3))?;
    let run = move || {
        adam.zero_grad();
        let loss = functional::cross_entropy(&model.forward(&x)?, &y, ())?;
        loss.backward()?;
        adam.step()?;
        Ok(loss.detach())
    };
    Ok(Step { run: Box::new(run), flop })
}

/// The step of a model. Flops are those of products and convolutions, counted three times: forward, gradients of the
/// input and of the weight.
pub fn step_of(model: &str, device: &Device) -> Result<Step> {
    match model {
        "mlp" => {
            let (x, y) = (input(1, &[128, 784], 1.0, device)?, index_input(2, 128, 10, device)?);
            let flop = 3.0 * 2.0 * 128.0 * (784.0 * 512.0 + 512.0 * 512.0 + 512.0 * 10.0);
            step(Mlp::new(device)?, x, y, flop)
        }
        "cnn" => {
            let (x, y) = (input(1, &[64, 1, 28, 28], 1.0, device)?, index_input(2, 64, 10, device)?);
            let convolutions = 28.0 * 28.0 * 16.0 * 9.0 + 14.0 * 14.0 * 32.0 * 16.0 * 9.0;
            step(Cnn::new(device)?, x, y, 3.0 * 2.0 * 64.0 * (convolutions + 1568.0 * 10.0))
        }
        "lstm" => {
            let (x, y) = (input(1, &[32, 32, 64], 1.0, device)?, index_input(2, 32, 10, device)?);
            let flop = 3.0 * 2.0 * 32.0 * (32.0 * (64.0 + 128.0) * 512.0 + 128.0 * 10.0);
            step(Recurrent::new(device)?, x, y, flop)
        }
        _ => {
            let x = index_input(1, 16 * 64, 65, device)?.reshape([16, 64])?;
            let y = index_input(2, 16 * 64, 65, device)?;
            let (tokens, d, t) = (16.0 * 64.0, 128.0, 64.0);
            let block = d * 3.0 * d + d * d + 2.0 * d * 4.0 * d + 2.0 * t * d;
            step(Gpt::new(device)?, x, y, 3.0 * 2.0 * tokens * (4.0 * block + d * 65.0))
        }
    }
}

/// Runs a row.
pub fn run(name: &str, model: &str, device: &Device) -> Result<()> {
    let Step { mut run, flop } = step_of(model, device)?;
    let mut losses = Vec::new();
    device.synchronize()?;
    let mut step = || -> Result<()> {
        losses.push(run()?.item()?);
        device.synchronize()
    };
    let t = measure(&mut step)?;
    for _ in 0..CHECK_STEPS {
        step()?;
    }
    report(name, &t, Work::Flop(flop), &[losses[0], losses[CHECK_STEPS - 1]]);
    Ok(())
}

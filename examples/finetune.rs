//! Takes a network that PyTorch has taught to read clean digits, and teaches it from a few examples to read worn ones: what puts
//! strokes together is frozen, what looks at pixels learns slowly, and the last layers faster.
//!
//! ```text
//! cargo run --release --example finetune
//! cargo run --release --example finetune -- --examples 20
//! ```
//!
//! `tests/torch/finetune.py` wrote the checkpoint with `torch.save`.

mod common;

use calor::io::{Checkpoint, IdxData, load_pt, read_idx};
use calor::nn::functional::cross_entropy;
use calor::nn::{Conv2d, Conv2dOptions, Flatten, Layer, Linear, MaxPool2d, Module, Parameter, ReLU, Sequential};
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Device, Result, Tensor, no_grad};
use clap::Parser;
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};

/// Teaches a network from PyTorch to read worn digits from a few examples.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// The checkpoint to start from
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Training examples
    #[arg(long, default_value_t = 100)]
    examples: usize,
    /// Learning rate of the last layers; that of the first one is half of it
    #[arg(long, default_value_t = 4e-3)]
    lr: f64,
}

/// From pictures `[n, 1, 8, 8]` to scores of ten digits; names and shapes are those of the checkpoint.
#[derive(Module)]
struct Net {
    features: Sequential,
    hidden: Linear,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Result<Self> {
        let near = || Conv2dOptions::default().padding(1).tensor(device);
        Ok(Self {
            features: Sequential::new()
                .add(Conv2d::new(1, 16, 3, near())?)
                .add(ReLU)
                .add(MaxPool2d::new(2))
                .add(Conv2d::new(16, 32, 3, near())?)
                .add(ReLU)
                .add(MaxPool2d::new(2))
                .add(Flatten::default()),
            hidden: Linear::new(128, 64, device)?,
            head: Linear::new(64, 10, device)?,
        })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.hidden.forward(&self.features.forward(x)?)?.relu()?)
    }
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// Worn pictures, of half the ink and with noise, and which digit each shows.
fn digits(part: &str, most: usize, random: &mut StdRng, device: &Device) -> Anyhow<(Tensor, Tensor)> {
    let images = read_idx(beside(&format!("digits/{part}-images-idx3-ubyte.gz")))?;
    let labels = read_idx(beside(&format!("digits/{part}-labels-idx1-ubyte.gz")))?;
    let (IdxData::U8(pixels), IdxData::U8(labels)) = (images.data, labels.data) else {
        return Err("pictures and labels are bytes".into());
    };
    let each = pixels.len() / labels.len().max(1);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (picture, label) in pixels.chunks(each).zip(labels).take(most) {
        x.extend(picture.iter().map(|p| f32::from(*p) / 510.0 + random.random_range(0.0..0.5)));
        y.push(i32::from(label));
    }
    Ok((Tensor::from_slice(&x, [y.len(), 1, images.shape[1], images.shape[2]], device)?, Tensor::new(y, device)?))
}

fn share_right(model: &Net, (x, y): &(Tensor, Tensor)) -> Result<f64> {
    no_grad(|| Ok(model.forward(x)?.argmax(Some(1), false)?.eq(y)?.sum()?.item()? / y.numel() as f64))
}

/// The optimizer of what learns: each part with its own rate.
fn optimizer(model: &Net, lr: f64) -> Result<AdamW> {
    let last = model.head.parameters().into_iter().chain(model.hidden.parameters());
    let mut adam = AdamW::new(last, AdamWOptions::new(lr))?;
    let looking = model.features.parameters().into_iter().filter(Parameter::requires_grad);
    adam.add_param_group(looking, AdamWOptions::new(lr / 2.0))?;
    Ok(adam)
}

fn step(model: &Net, adam: &mut AdamW, (x, y): &(Tensor, Tensor), random: &mut StdRng) -> Result<Tensor> {
    let count = y.numel();
    let chosen: Vec<i32> = (0..count.min(16)).map(|_| random.random_range(0..count) as i32).collect();
    let chosen = Tensor::new(chosen, x.device())?;
    let loss = cross_entropy(&model.forward(&x.index_select(0, &chosen)?)?, &y.index_select(0, &chosen)?, ())?;
    loss.backward()?;
    adam.step()?;
    adam.zero_grad();
    Ok(loss)
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    let device = o.common.open()?;
    let mut random = StdRng::seed_from_u64(0);
    let test = digits("t10k", usize::MAX, &mut random, &device)?;
    let train = digits("train", o.examples, &mut random, &device)?;
    if train.1.numel() == 0 {
        return Err("--examples must be at least 1".into());
    }
    let model = Net::new(&device)?;
    let path = o.checkpoint.clone().unwrap_or_else(|| beside("digits_cnn.pt"));
    model.load_state_dict(&load_pt(&path, &device)?.require("model")?.state_dict()?, true)?;
    let before = share_right(&model, &test)?;
    println!("{} reads {:.1} % of worn digits", path.display(), before * 100.0);
    for (name, parameter) in model.features.named_parameters() {
        parameter.requires_grad_(name.starts_with("0."))?;
    }
    let mut adam = optimizer(&model, o.lr)?;

    let (mut course, saved) = o.common.course("finetune", 200, &device)?;
    if let Some(saved) = &saved {
        saved.load_module("model", &model, true)?;
        saved.load_optimizer("adam", &mut adam)?;
    }
    println!("{}", model.summary());
    while let Some(at) = course.next_step() {
        let mut random = StdRng::seed_from_u64(o.common.seed << 32 | at);
        course.done(&step(&model, &mut adam, &train, &mut random)?)?;
    }
    let mut state = Checkpoint::new();
    state.module("model", &model)?.optimizer("adam", &adam)?;
    course.save(state, &device)?;
    let tuned = share_right(&model, &test)?;

    // the same with nothing learned before
    let fresh = Net::new(&device)?;
    let mut adam = AdamW::new(fresh.parameters(), AdamWOptions::new(o.lr / 2.0))?;
    for at in 0..course.steps() {
        step(&fresh, &mut adam, &train, &mut StdRng::seed_from_u64(o.common.seed << 32 | at))?;
    }
    let scratch = share_right(&fresh, &test)?;
    course.finish(&format!("Worn digits from {} examples: test accuracy {tuned:.3}", train.1.numel()))?;
    println!("test accuracy {tuned:.4}, before {before:.4}, from scratch {scratch:.4}");
    Ok(())
}

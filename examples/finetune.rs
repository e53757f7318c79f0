//! Takes a network that PyTorch has taught to read the digits 0 to 4, and teaches it 5 to 9 from a few examples: what looks at
//! pictures is frozen, what decides learns slowly, and the new last layer fast.
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
use calor::nn::{Conv2d, Conv2dOptions, Flatten, Layer, Linear, MaxPool2d, Module, ReLU, Sequential};
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Device, Result, Tensor, no_grad};
use clap::Parser;
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};

/// Teaches a network from PyTorch further digits from a few examples.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// The checkpoint to start from
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Training examples
    #[arg(long, default_value_t = 30)]
    examples: usize,
    /// Learning rate of the new layer; that of the one before is a fifth of it
    #[arg(long, default_value_t = 1e-2)]
    lr: f64,
}

/// From pictures `[n, 1, 8, 8]` to scores of five digits; names and shapes are those of the checkpoint.
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
            head: Linear::new(64, 5, device)?,
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

/// Pictures of the digits 5 to 9, and which of them each shows.
fn digits(part: &str, most: usize, device: &Device) -> Anyhow<(Tensor, Tensor)> {
    let images = read_idx(beside(&format!("digits/{part}-images-idx3-ubyte.gz")))?;
    let labels = read_idx(beside(&format!("digits/{part}-labels-idx1-ubyte.gz")))?;
    let (IdxData::U8(pixels), IdxData::U8(labels)) = (images.data, labels.data) else {
        return Err("pictures and labels are bytes".into());
    };
    let each = pixels.len() / labels.len().max(1);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (picture, label) in pixels.chunks(each).zip(labels).filter(|(_, label)| *label >= 5).take(most) {
        x.extend(picture.iter().map(|p| f32::from(*p) / 255.0));
        y.push(i32::from(label) - 5);
    }
    Ok((Tensor::from_slice(&x, [y.len(), 1, images.shape[1], images.shape[2]], device)?, Tensor::new(y, device)?))
}

fn share_right(model: &Net, (x, y): &(Tensor, Tensor)) -> Result<f64> {
    no_grad(|| Ok(model.forward(x)?.argmax(Some(1), false)?.eq(y)?.sum()?.item()? / y.numel() as f64))
}

/// The optimizer of what learns: each part with its own rate.
fn optimizer(model: &Net, lr: f64) -> Result<AdamW> {
    let mut adam = AdamW::new(model.head.parameters(), AdamWOptions::new(lr))?;
    adam.add_param_group(model.hidden.parameters(), AdamWOptions::new(lr / 5.0))?;
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
    let (train, test) = (digits("train", o.examples, &device)?, digits("t10k", usize::MAX, &device)?);
    if train.1.numel() == 0 {
        return Err("--examples must be at least 1".into());
    }
    let model = Net::new(&device)?;
    let path = o.checkpoint.clone().unwrap_or_else(|| beside("digits_0_to_4.pt"));
    let learned = load_pt(&path, &device)?.require("model")?.state_dict()?;
    // all but the last layer: that told other digits apart
    let learned = learned.iter().filter(|(name, _)| !name.starts_with("head."));
    let report = model.load_state_dict(&learned.map(|(n, t)| (n.to_string(), t.clone())).collect(), false)?;
    println!("from {}: all but {:?}", path.display(), report.missing);
    model.features.requires_grad_(false)?;
    let mut adam = optimizer(&model, o.lr)?;

    let (mut course, saved) = o.common.course("finetune", 300, &device)?;
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
    let mut adam = AdamW::new(fresh.parameters(), AdamWOptions::new(o.lr / 5.0))?;
    for at in 0..course.steps() {
        step(&fresh, &mut adam, &train, &mut StdRng::seed_from_u64(o.common.seed << 32 | at))?;
    }
    let scratch = share_right(&fresh, &test)?;
    course.finish(&format!("Digits 5 to 9 from {} examples: test accuracy {tuned:.3}", train.1.numel()))?;
    println!("test accuracy {tuned:.4}, from scratch {scratch:.4}");
    Ok(())
}

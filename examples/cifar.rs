//! Teaches a small residual network (He et al., 2016) to tell what coloured pictures of 32 x 32 pixels show.
//!
//! ```text
//! cargo run --release --example cifar                                   # pictures made here: stripes, rings, ...
//! cargo run --release --example cifar -- --data ~/cifar-10-batches-bin --steps 4000
//! ```
//!
//! The folder holds the binary version of CIFAR-10 (<https://www.cs.toronto.edu/~kriz/cifar.html>): `data_batch_1.bin` to
//! `data_batch_5.bin` and `test_batch.bin`, records of a label and 3 x 1024 bytes.

mod common;

use calor::data::{DataLoader, Dataset};
use calor::io::Checkpoint;
use calor::nn::functional::{CrossEntropyOptions, cross_entropy};
use calor::nn::{BatchNorm2d, Conv2d, Conv2dOptions, Layer, Linear, Module};
use calor::optim::{OneCycleLr, OneCycleOptions, Optimizer, Scheduler, Sgd, SgdOptions};
use calor::{Device, Result, Tensor, no_grad};
use clap::Parser;
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// Teaches a small residual network to tell what coloured pictures show.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Folder with CIFAR-10's binary files [default: small made pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Pictures in a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Channels of the first layer
    #[arg(long, default_value_t = 12)]
    width: usize,
    /// The largest learning rate
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
}

/// Pictures as bytes, channel by channel, and what they show.
#[derive(Clone)]
struct Pictures(Vec<(i32, Vec<u8>)>);

impl Pictures {
    /// Records of a file in CIFAR-10's binary form.
    fn read(path: &Path) -> Anyhow<Vec<(i32, Vec<u8>)>> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(1 + PIXELS) {
            return Err(format!("{}: {} bytes are no records of {}", path.display(), bytes.len(), 1 + PIXELS).into());
        }
        let record = |r: &[u8]| match r[0] {
            label @ 0..10 => Ok((i32::from(label), r[1..].to_vec())),
            label => Err(format!("{}: a label is {label}, expected 0 to 9", path.display()).into()),
        };
        bytes.chunks_exact(1 + PIXELS).map(record).collect()
    }

    /// The pictures to learn from and those to test with.
    fn of(folder: &Path) -> Anyhow<(Self, Self)> {
        let mut train = Vec::new();
        for i in 1..=5 {
            let path = folder.join(format!("data_batch_{i}.bin"));
            if i == 1 || path.exists() {
                train.extend(Self::read(&path)?);
            }
        }
        Ok((Self(train), Self(Self::read(&folder.join("test_batch.bin"))?)))
    }

    /// Made ones: stripes of five directions and rings of five widths, in any colours, with noise.
    fn made(n: usize, random: &mut StdRng) -> Self {
        let picture = |i: usize, random: &mut StdRng| {
            let (label, phase) = (i % 10, random.random_range(0.0..std::f32::consts::TAU));
            let color = |random: &mut StdRng| [0; 3].map(|_: i32| random.random_range(40.0..215.0f32));
            let (dark, bright) = (color(random), color(random));
            let center = [0; 2].map(|_: i32| random.random_range(10.0..22.0f32));
            let mut bytes = vec![0; PIXELS];
            for at in 0..SIDE * SIDE {
                let (x, y) = ((at % SIDE) as f32, (at / SIDE) as f32);
                let wave = if label < 5 {
                    let angle = label as f32 * std::f32::consts::PI / 5.0;
                    (x * angle.cos() + y * angle.sin()) * 0.9 + phase
                } else {
                    (x - center[0]).hypot(y - center[1]) * (0.45 + 0.2 * (label - 5) as f32) + phase
                };
                let share = 0.5 + 0.5 * wave.sin();
                for channel in 0..3 {
                    let value = dark[channel] + (bright[channel] - dark[channel]) * share;
                    bytes[channel * SIDE * SIDE + at] =
                        (value + random.random_range(-25.0..25.0)).clamp(0.0, 255.0) as u8;
                }
            }
            (label as i32, bytes)
        };
        Self((0..n).map(|i| picture(i, random)).collect())
    }
}

impl Dataset for Pictures {
    type Item = (i32, Vec<u8>);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        Ok(self.0[index].clone())
    }
}

/// Pictures `[n, 3, 32, 32]` around zero, and what they show `[n]`.
fn collate(items: Vec<(i32, Vec<u8>)>, device: &Device) -> Result<(Tensor, Tensor)> {
    let labels: Vec<i32> = items.iter().map(|i| i.0).collect();
    let pixels: Vec<f32> = items.iter().flat_map(|i| &i.1).map(|p| f32::from(*p) / 64.0 - 2.0).collect();
    let x = Tensor::from_slice(&pixels, [labels.len(), 3, SIDE, SIDE], device)?;
    Ok((x, Tensor::new(labels, device)?))
}

/// Two convolutions, added to the input; with a stride the input is convolved too.
#[derive(Module)]
struct Residual {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    shortcut: Option<Conv2d>,
}

impl Residual {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Result<Self> {
        let conv = |a, b, k: usize, s: usize| {
            Conv2d::new(a, b, k, Conv2dOptions::default().stride(s).padding(k / 2).bias(false).tensor(device))
        };
        Ok(Self {
            conv1: conv(inputs, outputs, 3, stride)?,
            bn1: BatchNorm2d::new(outputs, device)?,
            conv2: conv(outputs, outputs, 3, 1)?,
            bn2: BatchNorm2d::new(outputs, device)?,
            shortcut: (stride > 1).then(|| conv(inputs, outputs, 1, stride)).transpose()?,
        })
    }
}

impl Layer for Residual {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.bn1.forward(&self.conv1.forward(x)?)?.relu()?;
        let y = self.bn2.forward(&self.conv2.forward(&y)?)?;
        let x = match &self.shortcut {
            Some(conv) => conv.forward(x)?,
            None => x.clone(),
        };
        (y + x)?.relu()
    }
}

/// From pictures to scores of ten classes.
#[derive(Module)]
struct Net {
    stem: Conv2d,
    bn: BatchNorm2d,
    blocks: Vec<Residual>,
    head: Linear,
}

impl Net {
    fn new(width: usize, device: &Device) -> Result<Self> {
        // pictures are halved at once: this is for a CPU
        let stem = Conv2dOptions::default().stride(2).padding(1).bias(false).tensor(device);
        Ok(Self {
            stem: Conv2d::new(3, width, 3, stem)?,
            bn: BatchNorm2d::new(width, device)?,
            blocks: vec![
                Residual::new(width, width, 1, device)?,
                Residual::new(width, 2 * width, 2, device)?,
                Residual::new(2 * width, 4 * width, 2, device)?,
            ],
            head: Linear::new(4 * width, 10, device)?,
        })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.bn.forward(&self.stem.forward(x)?)?.relu()?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        self.head.forward(&x.mean_dims(&[2, 3], false)?)
    }
}

/// The share of pictures that the network takes for what they show.
fn share_right(model: &Net, test: &Pictures, device: &Device) -> Result<f64> {
    model.eval();
    let right = no_grad(|| -> Result<f64> {
        let mut right = Tensor::zeros([], device)?;
        for items in test.0.chunks(128) {
            let (x, y) = collate(items.to_vec(), device)?;
            right = (right + model.forward(&x)?.argmax(Some(1), false)?.eq(&y)?.sum()?)?;
        }
        right.item()
    })?;
    model.train();
    Ok(right / test.len().max(1) as f64)
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    let device = o.common.open()?;
    let (train, test) = match &o.data {
        Some(folder) => Pictures::of(folder)?,
        None => {
            let mut random = StdRng::seed_from_u64(0);
            (Pictures::made(2000, &mut random), Pictures::made(500, &mut random))
        }
    };
    println!("{} pictures to learn from, {} to test with", train.len(), test.len());
    let model = Net::new(o.width, &device)?;
    let rule = SgdOptions::new(o.lr).momentum(0.9).nesterov(true).weight_decay(5e-4);
    let mut sgd = Sgd::new(model.parameters(), rule)?;
    let (mut course, saved) = o.common.course("cifar", 200, &device)?;
    let mut schedule = OneCycleLr::new(&mut sgd, OneCycleOptions::new([o.lr], course.steps().max(1)))?;
    if let Some(saved) = &saved {
        saved.load_module("model", &model, true)?;
        saved.load_optimizer("sgd", &mut sgd)?;
        saved.load_scheduler("schedule", &mut schedule)?;
    }
    let to = device.clone();
    let loader = DataLoader::new(train, move |items| collate(items, &to));
    let loader = loader.batch_size(o.batch).shuffle(o.common.seed).drop_last(true).workers(1);
    let each = loader.len() as u64;
    if each == 0 {
        return Err("there are fewer pictures than a batch has".into());
    }
    while let Some(step) = course.next_step() {
        loader.set_epoch(step / each);
        for batch in loader.iter_from((step % each) as usize)? {
            let (mut x, y) = batch?;
            // half of the batches are seen in a mirror
            if StdRng::seed_from_u64(o.common.seed << 32 | course.next_step().unwrap_or(0)).random_bool(0.5) {
                x = x.flip(&[3])?;
            }
            let loss = cross_entropy(&model.forward(&x)?, &y, CrossEntropyOptions::default().label_smoothing(0.05))?;
            loss.backward()?;
            sgd.step()?;
            sgd.zero_grad();
            course.done(&loss)?;
            if course.next_step().is_none() {
                break;
            }
            schedule.step(&mut sgd)?;
        }
        let mut state = Checkpoint::new();
        state.module("model", &model)?.optimizer("sgd", &sgd)?.scheduler("schedule", &schedule)?;
        course.save(state, &device)?;
    }
    let right = share_right(&model, &test, &device)?;
    course.finish(&format!("Coloured pictures: test accuracy {right:.3} after {} steps", course.steps()))?;
    println!("test accuracy {right:.4}");
    Ok(())
}

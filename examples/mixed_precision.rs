//! Trains the same network in f32, in bf16 and in f16 with a scaled loss (Micikevicius et al., 2018): products in a half type,
//! everything that needs range or precision in f32.
//!
//! ```text
//! cargo run --release --example mixed_precision
//! ```

mod common;

use calor::io::{IdxData, read_idx};
use calor::nn::functional::cross_entropy;
use calor::nn::{BatchNorm1d, Dropout, GELU, Layer, Linear, Module, Sequential};
use calor::optim::{AdamW, AdamWOptions, GradScaler, GradScalerOptions, Optimizer};
use calor::{DType, Device, Result, Tensor, autocast, no_grad};
use clap::Parser;
use common::{Anyhow, Common, curves};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

/// Trains the same network in f32, bf16 and f16.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Digits in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Learning rate
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
}

/// Digits `[n, 64]` and what they are.
fn digits(part: &str, device: &Device) -> Anyhow<(Tensor, Tensor)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
    let images = read_idx(folder.join(format!("{part}-images-idx3-ubyte.gz")))?;
    let labels = read_idx(folder.join(format!("{part}-labels-idx1-ubyte.gz")))?;
    let (IdxData::U8(pixels), IdxData::U8(labels)) = (images.data, labels.data) else {
        return Err("pictures and labels are bytes".into());
    };
    let ink: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let x = Tensor::from_slice(&ink, [labels.len(), pixels.len() / labels.len().max(1)], device)?;
    Ok((x, Tensor::new(labels.into_iter().map(i32::from).collect::<Vec<_>>(), device)?))
}

fn network(device: &Device) -> Result<Sequential> {
    Ok(Sequential::new()
        .add(Linear::new(64, 128, device)?)
        .add(BatchNorm1d::new(128, device)?)
        .add(GELU::default())
        .add(Dropout::new(0.2)?)
        .add(Linear::new(128, 128, device)?)
        .add(GELU::default())
        .add(Linear::new(128, 10, device)?))
}

/// How a run went: losses over steps, test accuracy, the last scale and how many steps overflowed.
struct Outcome {
    losses: Vec<(f64, f64)>,
    accuracy: f64,
    scale: f64,
}

fn train(half: Option<DType>, o: &Options, steps: u64, device: &Device) -> Anyhow<Outcome> {
    let ((x, y), (test_x, test_y)) = (digits("train", device)?, digits("t10k", device)?);
    // the same weights and masks for all
    device.manual_seed(o.common.seed);
    let model = network(device)?;
    let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(o.lr))?;
    // f16 has no room for small gradients, so they are made larger; the start is far too large on purpose
    let options = GradScalerOptions {
        init_scale: 2f64.powi(22),
        growth_interval: 100,
        enabled: half == Some(DType::F16),
        ..GradScalerOptions::default()
    };
    let mut scaler = GradScaler::new(device, options)?;
    let forward = |x: &Tensor| -> Result<Tensor> {
        let _half = half.map(autocast).transpose()?;
        model.forward(x)
    };
    let (mut losses, mut unread) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let mut random = StdRng::seed_from_u64(o.common.seed << 32 | step);
        let chosen: Vec<i32> = (0..o.batch).map(|_| random.random_range(0..x.size(0).unwrap_or(1)) as i32).collect();
        let chosen = Tensor::new(chosen, device)?;
        let loss = cross_entropy(&forward(&x.index_select(0, &chosen)?)?, &y.index_select(0, &chosen)?, ())?;
        scaler.scale(&loss)?.backward()?;
        // skipped on the device where a gradient is not finite: nothing is read back to know
        scaler.step(&mut adam)?;
        scaler.update()?;
        adam.zero_grad();
        unread.push(loss.detach());
        if unread.len() == 10 || step + 1 == steps {
            let sum = unread.iter().try_fold(Tensor::zeros([], device)?, |sum, loss| sum + loss)?;
            losses.push((step as f64 + 1.0, sum.item()? / unread.len() as f64));
            unread.clear();
        }
    }
    model.eval();
    let right =
        no_grad(|| forward(&test_x)?.argmax(Some(1), false)?.eq(&test_y)?.to_dtype(DType::F32)?.mean()?.item())?;
    Ok(Outcome { losses, accuracy: right, scale: scaler.get_scale()? })
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    if o.common.resume || o.common.tensorboard {
        return Err("three short runs are compared: nothing of them is kept to --resume, or for --tensorboard".into());
    }
    let device = o.common.open()?;
    let steps = o.common.steps.unwrap_or(400);
    let out = o.common.out.clone().unwrap_or_else(|| "target/mixed_precision".into());
    std::fs::create_dir_all(&out)?;
    let mut outcomes = Vec::new();
    for (name, half) in [("f32", None), ("bf16", Some(DType::BF16)), ("f16", Some(DType::F16))] {
        let outcome = train(half, &o, steps, &device)?;
        let loss = outcome.losses.last().map_or(f64::NAN, |l| l.1);
        print!("{name:>5}: loss {loss:.4}, test accuracy {:.4}", outcome.accuracy);
        if half == Some(DType::F16) {
            print!(", scale 2^22 has become 2^{}", outcome.scale.log2());
        }
        println!();
        outcomes.push((name, outcome));
    }
    let path = out.join("loss.svg");
    let lines: Vec<(&str, &[(f64, f64)])> = outcomes.iter().map(|(n, o)| (*n, o.losses.as_slice())).collect();
    curves(&path, "Digits: products in f32, bf16 and f16", &lines)?;
    let all: Vec<f64> = outcomes.iter().map(|(_, o)| o.accuracy).collect();
    let (low, high) = all.iter().fold((f64::MAX, f64::MIN), |(l, h), a| (l.min(*a), h.max(*a)));
    println!("curves {}", path.display());
    println!("test accuracies from {low:.4} to {high:.4}");
    Ok(())
}

//! Teaches a small GPT (Radford et al., 2019) to write like a play, letter by letter.
//!
//! ```text
//! cargo run --release --example char_gpt
//! cargo run --release --example char_gpt -- --dtype bf16
//! cargo run --release --example char_gpt -- --resume --steps 0 --sample 800
//! ```

mod common;

use calor::io::Checkpoint;
use calor::nn::functional::{AttentionOptions, cross_entropy, scaled_dot_product_attention};
use calor::nn::{Embedding, GELU, Layer, LayerNorm, Linear, LinearOptions, Module, init, utils::clip_grad_norm_};
use calor::optim::{AdamW, AdamWOptions, GradScaler, GradScalerOptions, Optimizer};
use calor::{DType, Device, Result, Tensor, autocast, no_grad};
use clap::{Parser, ValueEnum};
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::PathBuf;

/// Teaches a small GPT to write like a play, letter by letter.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Text to learn from [default: Shakespeare's Coriolanus]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// What products are computed in
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    /// Letters that are seen before the next one
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Sequences in a batch
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Numbers that stand for a letter
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Blocks of attention and projections
    #[arg(long, default_value_t = 2)]
    layers: usize,
    /// The largest learning rate
    #[arg(long, default_value_t = 3e-3)]
    lr: f64,
    /// Letters to write in the end
    #[arg(long, default_value_t = 400)]
    sample: usize,
    /// How freely they are chosen: 0 takes the most likely one
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    F32,
    F16,
    Bf16,
}

impl Precision {
    fn half(self) -> Option<DType> {
        match self {
            Precision::F32 => None,
            Precision::F16 => Some(DType::F16),
            Precision::Bf16 => Some(DType::BF16),
        }
    }
}

/// Attention to what came before, then two projections; each is added to its input.
#[derive(Module)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Block {
    fn new(width: usize, heads: usize, device: &Device) -> Result<Self> {
        let linear = |a, b| Linear::new(a, b, LinearOptions::default().bias(false).tensor(device));
        Ok(Self {
            norm1: LayerNorm::new([width], device)?,
            qkv: linear(width, 3 * width)?,
            out: linear(width, width)?,
            norm2: LayerNorm::new([width], device)?,
            up: linear(width, 4 * width)?,
            down: linear(4 * width, width)?,
            heads,
        })
    }
}

impl Layer for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, length, width) = (x.size(0)?, x.size(1)?, x.size(2)?);
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        // [3, n, heads, length, width / heads]
        let qkv = qkv.reshape([n, length, 3, self.heads, width / self.heads])?.permute(&[2, 0, 3, 1, 4])?;
        let causal = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
        let seen = scaled_dot_product_attention(&qkv.select(0, 0)?, &qkv.select(0, 1)?, &qkv.select(0, 2)?, &causal)?;
        let x = (x + self.out.forward(&seen.transpose(1, 2)?.reshape([n, length, width])?)?)?;
        &x + self.down.forward(&GELU::default().forward(&self.up.forward(&self.norm2.forward(&x)?)?)?)?
    }
}

/// From letters `[n, length]` to scores of the next ones `[n, length, letters]`.
#[derive(Module)]
struct Gpt {
    letters: Embedding,
    places: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(letters: usize, o: &Options, device: &Device) -> Result<Self> {
        let gpt = Self {
            letters: Embedding::new(letters, o.width, device)?,
            places: Embedding::new(o.context, o.width, device)?,
            blocks: (0..o.layers).map(|_| Block::new(o.width, o.width.div_ceil(32), device)).collect::<Result<_>>()?,
            norm: LayerNorm::new([o.width], device)?,
            head: Linear::new(o.width, letters, LinearOptions::default().bias(false).tensor(device))?,
        };
        for (name, p) in gpt.named_parameters() {
            if !name.contains("norm") {
                // what is added to the residual stream is smaller the more of it there is
                let last = name.ends_with("out.weight") || name.ends_with("down.weight");
                init::normal_(&p.tensor(), 0.0, if last { 0.02 / (2.0 * o.layers as f64).sqrt() } else { 0.02 })?;
            }
        }
        Ok(gpt)
    }
}

impl Layer for Gpt {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let places = Tensor::arange(0, x.size(1)? as i64, 1, x.device())?;
        let x = (self.letters.forward(x)? + self.places.forward(&places)?)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        self.head.forward(&self.norm.forward(&x)?)
    }
}

/// A text as numbers of letters.
struct Text {
    letters: Vec<char>,
    train: Vec<i32>,
    test: Vec<i32>,
}

impl Text {
    fn new(text: &str, context: usize) -> Anyhow<Self> {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters.dedup();
        let number = |c: char| letters.binary_search(&c).map_or(0, |n| n as i32);
        let mut train: Vec<i32> = text.chars().map(number).collect();
        let test = train.split_off(train.len() * 9 / 10);
        if test.len() < context.saturating_add(2) {
            return Err(format!("a text of {} letters is too short", train.len() + test.len()).into());
        }
        Ok(Self { letters, train, test })
    }

    /// Pieces of a part from random places, and the same one letter further on.
    fn batch(part: &[i32], random: &mut StdRng, (n, length): (usize, usize), device: &Device) -> Result<[Tensor; 2]> {
        let starts: Vec<usize> = (0..n).map(|_| random.random_range(0..part.len() - length)).collect();
        let pieces = |offset: usize| -> Vec<i32> {
            starts.iter().flat_map(|s| &part[s + offset..s + offset + length]).copied().collect()
        };
        let x = Tensor::from_slice(&pieces(0), [n, length], device)?;
        Ok([x, Tensor::from_slice(&pieces(1), [n, length], device)?])
    }
}

fn loss(model: &Gpt, [x, y]: &[Tensor; 2], dtype: Precision) -> Result<Tensor> {
    let _half = dtype.half().map(autocast).transpose()?;
    cross_entropy(&model.forward(x)?.flatten(0, 1)?, &y.flatten(0, -1)?, ())
}

/// Writes on after a line break.
fn sample(model: &Gpt, text: &Text, o: &Options, device: &Device) -> Result<String> {
    let mut written = vec![text.letters.binary_search(&'\n').unwrap_or(0) as i32];
    no_grad(|| -> Result<()> {
        for _ in 0..o.sample {
            let seen = &written[written.len().saturating_sub(o.context)..];
            let x = Tensor::from_slice(seen, [1, seen.len()], device)?;
            let scores = model.forward(&x)?.select(0, 0)?.select(0, -1)?;
            let next = if o.temperature > 0.0 {
                (scores / o.temperature)?.softmax(0)?.multinomial(1, true)?
            } else {
                scores.argmax(Some(0), true)?
            };
            written.extend(next.to_vec::<i32>()?);
        }
        Ok(())
    })?;
    Ok(written[1..].iter().map(|&n| text.letters[n as usize]).collect())
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    if o.context == 0 || o.width == 0 {
        return Err("--context and --width must be at least 1".into());
    }
    let device = o.common.open()?;
    let read = o.text.as_ref().map(std::fs::read_to_string).transpose()?;
    let text = Text::new(read.as_deref().unwrap_or(include_str!("data/coriolanus.txt")), o.context)?;
    let model = Gpt::new(text.letters.len(), &o, &device)?;
    let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(o.lr).betas(0.9, 0.95).weight_decay(0.1))?;
    // halves overflow early; the other types need no scale
    let options = GradScalerOptions { enabled: o.dtype == Precision::F16, ..GradScalerOptions::default() };
    let mut scaler = GradScaler::new(&device, options)?;

    let (mut course, saved) = o.common.course("char_gpt", 800, &device)?;
    if let Some(saved) = &saved {
        saved.load_module("model", &model, true)?;
        saved.load_optimizer("adam", &mut adam)?;
        saved.load_scaler("scaler", &mut scaler)?;
    }
    println!("{} letters, {} of a kind; {} weights", text.train.len(), text.letters.len(), model.num_parameters());
    let sizes = (o.batch, o.context);
    while let Some(step) = course.next_step() {
        // a random state for each step: a resumed run sees what an uninterrupted one does
        let mut random = StdRng::seed_from_u64(o.common.seed << 32 | step);
        let warmup = ((step + 1) as f64 / 50.0).min(1.0);
        let rest = step as f64 / course.steps() as f64;
        adam.set_lr(0, o.lr * warmup * (0.1 + 0.45 * (1.0 + (rest * std::f64::consts::PI).cos())));
        let loss = loss(&model, &Text::batch(&text.train, &mut random, sizes, &device)?, o.dtype)?;
        scaler.scale(&loss)?.backward()?;
        scaler.unscale_(&adam)?;
        clip_grad_norm_(&model.parameters(), 1.0, 2.0, false)?;
        scaler.step(&mut adam)?;
        scaler.update()?;
        adam.zero_grad();
        course.done(&loss)?;
        if course.next_step().is_none() || (step + 1) % 200 == 0 {
            let mut state = Checkpoint::new();
            state.module("model", &model)?.optimizer("adam", &adam)?.scaler("scaler", &scaler)?;
            course.save(state, &device)?;
        }
    }
    // the same places each time
    let mut random = StdRng::seed_from_u64(0);
    let tests = (0..8).map(|_| {
        let batch = Text::batch(&text.test, &mut random, sizes, &device)?;
        no_grad(|| loss(&model, &batch, o.dtype))?.item()
    });
    let test = tests.collect::<Result<Vec<f64>>>()?.iter().sum::<f64>() / 8.0;
    course.finish(&format!("Letters of a play: test loss {test:.3} after {} steps", course.steps()))?;
    println!("\n{}\n", sample(&model, &text, &o, &device)?);
    println!("test loss {test:.4}");
    Ok(())
}

//! Teaches an LSTM the adding problem (Hochreiter & Schmidhuber, 1997): of a sequence of numbers two are marked, and their sum
//! is wanted at its end, many steps later.
//!
//! ```text
//! cargo run --release --example lstm
//! cargo run --release --example lstm -- --length 100 --steps 3000
//! ```

mod common;

use calor::io::Checkpoint;
use calor::nn::{LSTM, LSTMOptions, Layer, Linear, Module, functional, utils::clip_grad_norm_};
use calor::optim::{Adam, AdamOptions, Optimizer};
use calor::{Device, Result, Tensor, no_grad};
use clap::Parser;
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Teaches an LSTM to add two marked numbers of a sequence.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Numbers in a sequence
    #[arg(long, default_value_t = 20)]
    length: usize,
    /// Sequences in a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Size of the state
    #[arg(long, default_value_t = 32)]
    hidden: usize,
    /// Learning rate
    #[arg(long, default_value_t = 1e-2)]
    lr: f64,
}

/// From `[n, length, 2]`, numbers and marks, to sums `[n]`.
#[derive(Module)]
struct Adder {
    lstm: LSTM,
    out: Linear,
}

impl Adder {
    fn new(hidden: usize, device: &Device) -> Result<Self> {
        let lstm = LSTM::new(2, hidden, LSTMOptions::default().batch_first(true).tensor(device))?;
        Ok(Self { lstm, out: Linear::new(hidden, 1, device)? })
    }
}

impl Layer for Adder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (states, _) = self.lstm.forward(x, None)?;
        self.out.forward(&states.select(1, -1)?)?.squeeze_dim(-1)
    }
}

/// Numbers from 0 to 1, one of each half marked, and the sums of those.
fn batch(random: &mut StdRng, n: usize, length: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let (mut x, mut y) = (Vec::with_capacity(n * length * 2), Vec::with_capacity(n));
    for _ in 0..n {
        let numbers: Vec<f32> = (0..length).map(|_| random.random_range(0.0..1.0)).collect();
        let half = length / 2;
        let marked = [random.random_range(0..half.max(1)), random.random_range(half..length)];
        x.extend(numbers.iter().enumerate().flat_map(|(i, v)| [*v, f32::from(u8::from(marked.contains(&i)))]));
        y.push(numbers[marked[0]] + numbers[marked[1]]);
    }
    Ok((Tensor::from_slice(&x, [n, length, 2], device)?, Tensor::from_slice(&y, [n], device)?))
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    if o.length < 2 {
        return Err("two numbers are added: --length must be at least 2".into());
    }
    let device = o.common.open()?;
    let model = Adder::new(o.hidden, &device)?;
    let mut adam = Adam::new(model.parameters(), AdamOptions::new(o.lr))?;
    let (mut course, saved) = o.common.course("lstm", 800, &device)?;
    if let Some(saved) = &saved {
        saved.load_module("model", &model, true)?;
        saved.load_optimizer("adam", &mut adam)?;
    }
    println!("{}", model.summary());
    while let Some(step) = course.next_step() {
        let mut random = StdRng::seed_from_u64(o.common.seed << 32 | step);
        let (x, y) = batch(&mut random, o.batch, o.length, &device)?;
        let loss = functional::mse_loss(&model.forward(&x)?, &y, functional::Reduction::Mean)?;
        loss.backward()?;
        clip_grad_norm_(&model.parameters(), 1.0, 2.0, false)?;
        adam.step()?;
        adam.zero_grad();
        course.done(&loss)?;
        if course.next_step().is_none() || (step + 1) % 200 == 0 {
            let mut state = Checkpoint::new();
            state.module("model", &model)?.optimizer("adam", &adam)?;
            course.save(state, &device)?;
        }
    }
    let (x, y) = batch(&mut StdRng::seed_from_u64(0), 256, o.length, &device)?;
    let error = no_grad(|| functional::mse_loss(&model.forward(&x)?, &y, functional::Reduction::Mean)?.item())?;
    course.finish(&format!("Sums of two in {} numbers: test error {error:.4}", o.length))?;
    // who always says 1 is wrong by the variance of the sum of two numbers
    println!("mean squared error {error:.4}, of a guess 0.1667");
    Ok(())
}

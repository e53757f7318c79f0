//! What programs cost: kernels, submissions, readbacks, pipelines, memory.
//!
//! The counts are the device's own, so the tests of this file take turns.

use calor::gpu::Counters;
use calor::nn::{Layer, Linear, Module, ReLU, Sequential, functional};
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Device, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kernels of one training step of the large network.
const STEP_DISPATCHES: u64 = 15;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the device did while `f` ran.
fn counted<T>(device: &Device, f: impl FnOnce() -> Result<T>) -> Result<(Counters, T)> {
    let before = device.counters();
    let out = f()?;
    let mut after = device.counters();
    after.dispatches -= before.dispatches;
    after.submits -= before.submits;
    after.readbacks -= before.readbacks;
    after.pipelines -= before.pipelines;
    after.uploads -= before.uploads;
    after.bind_groups -= before.bind_groups;
    after.plans -= before.plans;
    Ok((after, out))
}

/// Numbers from -1 to 1, the same each time.
fn numbers(shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_slice(&values, shape, ())
}

fn dispatches(t: &Tensor) -> Result<u64> {
    Ok(counted(t.device(), || t.eval())?.0.dispatches)
}

#[test]
fn an_elementwise_chain_of_any_length_is_one_kernel() -> Result<()> {
    let _turn = turn();
    let x = numbers(&[1000])?;
    for length in [1, 10, 100, 1000] {
        let mut y = x.clone();
        for i in 0..length {
            y = match i % 3 {
                0 => (&y + &x)?,
                1 => (&y * 0.5)?,
                _ => y.tanh()?,
            };
        }
        assert_eq!(dispatches(&y)?, 1, "{length} operations");
    }
    Ok(())
}

#[test]
fn a_sum_over_a_product_is_one_kernel() -> Result<()> {
    let _turn = turn();
    let (x, y) = (numbers(&[64, 200])?, numbers(&[64, 200])?);
    // the product must not be held while the sum runs, or it is computed too
    let sum = (&x * &y)?.sum_dims(&[1], false)?;
    assert_eq!(dispatches(&sum)?, 1);
    let more = ((((&x * &y)? + 1.0)?.sum_dims(&[1], false)? * 2.0)?.exp())?;
    assert_eq!(dispatches(&more)?, 1);
    Ok(())
}

#[test]
fn linear_with_bias_and_activation_is_one_kernel() -> Result<()> {
    let _turn = turn();
    let linear = Linear::new(96, 64, ())?;
    Tensor::eval_all(&linear.parameters().iter().map(|p| p.tensor()).collect::<Vec<_>>())?;
    let x = numbers(&[32, 96])?;
    for y in [linear.forward(&x)?.relu()?, linear.forward(&x)?.tanh()?, linear.forward(&x)?.sigmoid()?] {
        assert_eq!(dispatches(&y)?, 1);
    }
    Ok(())
}

struct Mlp {
    model: Sequential,
    adam: AdamW,
}

impl Mlp {
    fn new(sizes: &[usize]) -> Result<Self> {
        let mut model = Sequential::new();
        for (i, pair) in sizes.windows(2).enumerate() {
            if i > 0 {
                model = model.add(ReLU);
            }
            model = model.add(Linear::new(pair[0], pair[1], ())?);
        }
        let adam = AdamW::new(model.parameters(), AdamWOptions::new(1e-3))?;
        Ok(Self { model, adam })
    }

    fn step(&mut self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.adam.zero_grad();
        let loss = functional::cross_entropy(&self.model.forward(x)?, y, ())?;
        loss.backward()?;
        self.adam.step()?;
        Ok(loss.detach())
    }
}

fn batch(n: usize, inputs: usize, classes: usize) -> Result<(Tensor, Tensor)> {
    let labels: Vec<i32> = (0..n).map(|i| ((i * 31) % classes) as i32).collect();
    Ok((numbers(&[n, inputs])?, Tensor::new(labels, ())?))
}

#[test]
fn a_training_step_is_one_submission_of_few_kernels() -> Result<()> {
    let _turn = turn();
    let mut mlp = Mlp::new(&[784, 512, 512, 10])?;
    let (x, y) = batch(128, 784, 10)?;
    let device = x.device().clone();
    let most = device.facts().max_bindings;
    if most < 16 {
        println!("kernels are not counted: the adapter has {most} bindings");
    }
    let few = |dispatches: u64| most < 16 || dispatches == STEP_DISPATCHES;
    let first = mlp.step(&x, &y)?;
    for _ in 0..3 {
        let (cost, _) = counted(&device, || mlp.step(&x, &y))?;
        assert_eq!((cost.submits, cost.readbacks, cost.pipelines), (1, 0, 0));
        assert!(few(cost.dispatches), "{} kernels", cost.dispatches);
    }
    // old and new parameters change places: after some steps all buffers are where they were before
    for _ in 0..10 {
        mlp.step(&x, &y)?;
    }
    for _ in 0..3 {
        let (cost, _) = counted(&device, || mlp.step(&x, &y))?;
        assert_eq!((cost.submits, cost.plans, cost.bind_groups), (1, 0, 0), "a steady step plans and binds nothing");
    }
    // a GPU has other kernels for what does not divide into the same tiles
    let (x, y) = batch(if device.facts().is_cpu { 72 } else { 96 }, 784, 10)?;
    let (cost, loss) = counted(&device, || mlp.step(&x, &y))?;
    assert_eq!((cost.plans, cost.pipelines), (1, 0), "a new batch size is planned anew and compiles nothing");
    assert!(few(cost.dispatches), "{} kernels", cost.dispatches);
    assert!(first.item()? > 0.0 && loss.item()?.is_finite());
    Ok(())
}

#[test]
fn memory_is_constant_over_thousands_of_steps() -> Result<()> {
    let _turn = turn();
    let mut mlp = Mlp::new(&[8, 16, 4])?;
    let (x, y) = batch(32, 8, 4)?;
    let device = x.device().clone();
    let first = mlp.step(&x, &y)?.item()?;
    for _ in 0..2 {
        mlp.step(&x, &y)?;
    }
    device.synchronize()?;
    let before = device.counters();
    let mut last = f64::NAN;
    for i in 0..10_000 {
        let loss = mlp.step(&x, &y)?;
        if i < 5 || i % 1000 == 999 {
            last = loss.item()?;
            drop(loss);
            device.synchronize()?;
            let now = device.counters();
            assert_eq!(now.bytes_in_use, before.bytes_in_use, "in use after {} steps", i + 1);
            assert_eq!(now.bytes_reserved, before.bytes_reserved, "reserved after {} steps", i + 1);
        }
    }
    assert!(last < first, "the loss went from {first} to {last}");
    Ok(())
}

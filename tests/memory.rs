//! Memory at its peak in a training step: what is kept for the backward pass, and what the update takes.

use calor::autograd::checkpoint;
use calor::nn::Parameter;
use calor::nn::functional::layer_norm;
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Approximate, DType, Device, Result, Tensor, cat, stack};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most bytes, in activations, that a step of `layers` products with small weights takes, each followed by `f`.
fn peak(layers: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    let (rows, width) = (4096, 32);
    let weights = (0..layers).map(|_| (Tensor::randn([width, width], ())? * 0.1)?.requires_grad_(true));
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let x = Tensor::randn([rows, width], ())?;
    let device = x.device().clone();
    x.eval()?;
    Tensor::eval_all(&weights)?;
    device.reset_peak();
    let before = device.memory_stats().current;
    let out = weights.iter().try_fold(x.clone(), |h, w| f(&h.matmul(w)?))?;
    out.square()?.mean()?.backward()?;
    let gradients: Vec<Tensor> = weights.iter().filter_map(Tensor::grad).collect();
    assert_eq!(gradients.len(), layers);
    drop(out);
    Tensor::eval_all(&gradients)?;
    device.synchronize()?;
    Ok((device.memory_stats().peak - before) as f64 / (rows * width * 4) as f64)
}

/// What each further layer keeps until its backward pass: PyTorch keeps as much, of activations what the product behind
/// reads and what their derivative is computed from.
#[test]
fn a_layer_keeps_no_more_than_its_derivative_needs() -> Result<()> {
    let _turn = turn();
    type Layer = fn(&Tensor) -> Result<Tensor>;
    let kinds: [(&str, f64, Layer); 7] = [
        ("relu", 1.0, |x| x.relu()),
        ("tanh", 1.0, |x| x.tanh()),
        ("dropout", 1.0, |x| x.dropout(0.5, true)),
        ("gelu", 2.0, |x| x.gelu(Approximate::None)),
        ("silu", 2.0, |x| x.silu()),
        ("residual", 2.0, |x| x.gelu(Approximate::None)? + x),
        ("layer norm", 2.0, |x| layer_norm(x, &[32], None, None, 1e-5)),
    ];
    for (name, most, f) in kinds {
        let slope = (peak(10, f)? - peak(4, f)?) / 6.0;
        assert!(slope < most + 0.15, "{name}: {slope} activations for each layer, expected {most}");
    }
    Ok(())
}

/// Most bytes at a time while `f` runs, beyond those before.
fn most(device: &Device, f: impl FnOnce() -> Result<()>) -> Result<u64> {
    device.synchronize()?;
    device.reset_peak();
    let before = device.memory_stats().current;
    f()?;
    device.synchronize()?;
    Ok(device.memory_stats().peak - before)
}

/// Parameters, two moments and gradients: nothing is there twice, not even in the first step.
#[test]
fn an_update_takes_the_memory_of_what_it_replaces() -> Result<()> {
    let _turn = turn();
    let weights = (0..6).map(|_| Parameter::new(&(Tensor::randn([128, 128], ())? * 0.1)?));
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let x = Tensor::randn([4, 128], ())?;
    let all = (6 * 128 * 128 * 4) as f64;
    let mut adam = AdamW::new(weights.clone(), AdamWOptions::new(1e-3))?;
    for step in 0..4 {
        let taken = most(x.device(), || {
            let out = weights.iter().try_fold(x.clone(), |h, w| h.matmul(&w.tensor())?.relu())?;
            out.square()?.mean()?.backward()?;
            adam.step()?;
            adam.zero_grad();
            Ok(())
        })?;
        // the moments are new in the first step
        let want = if step == 0 { 3.0 } else { 1.0 };
        assert!((taken as f64) < all * (want + 0.1), "step {step} takes {taken} bytes for {all} of parameters");
    }
    Ok(())
}

/// What was written before, or will be read, is not written over.
#[test]
fn nobody_sees_what_is_written_over() -> Result<()> {
    let _turn = turn();
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32] {
        for n in [1, 3, 4, 1001] {
            let start = Tensor::arange(0, n, 1, ())?.to_dtype(dtype)?;
            let values = |t: &Tensor| -> Result<Vec<f32>> { t.to_dtype(DType::F32)?.to_vec::<f32>() };
            let x = start.try_clone()?;
            x.eval()?;
            // all are pending when the write is
            let (copy, sum, turned) = (x.try_clone()?, x.sum()?, x.flip(&[0])?);
            x.add_(1)?;
            let doubled = (&x * 2)?;
            x.mul_(3)?;
            x.eval()?;
            let host = values(&start)?;
            let rounded = |v: Vec<f32>| values(&Tensor::new(v, ())?.to_dtype(dtype)?);
            let plus = rounded(host.iter().map(|v| v + 1.0).collect())?;
            assert_eq!(values(&copy)?, host, "{dtype} {n}");
            assert_eq!(values(&turned)?, host.iter().rev().copied().collect::<Vec<_>>(), "{dtype} {n}");
            assert_eq!(values(&doubled)?, rounded(plus.iter().map(|v| v * 2.0).collect())?, "{dtype} {n}");
            assert_eq!(values(&x)?, rounded(plus.iter().map(|v| v * 3.0).collect())?, "{dtype} {n}");
            assert_eq!(sum.item()?, start.sum()?.item()?, "{dtype} {n}");
        }
    }
    // who holds a value or a part of its memory keeps it as it was
    let x = Tensor::new([1.0f32, 2.0, 3.0, 4.0], ())?;
    let y = x.try_clone()?;
    Tensor::eval_all(&[x.clone(), y.clone()])?;
    x.neg_()?;
    x.eval()?;
    assert_eq!((x.to_vec::<f32>()?, y.to_vec::<f32>()?), (vec![-1.0, -2.0, -3.0, -4.0], vec![1.0, 2.0, 3.0, 4.0]));
    Ok(())
}

/// A write in place takes no further memory, if nobody else has the value; one that moves elements does.
#[test]
fn writes_in_place_are_in_place() -> Result<()> {
    let _turn = turn();
    let x = Tensor::rand([1 << 16], ())?;
    x.eval()?;
    let taken = most(x.device(), || x.mul_(0.5)?.add_(1.0)?.eval())?;
    assert_eq!(taken, 0);
    let snapshot = x.device().memory_snapshot().to_string();
    assert!(snapshot.contains("add  f32[65536]"), "who wrote last holds it:\n{snapshot}");
    assert!(most(x.device(), || x.copy_(&x.flip(&[0])?)?.eval())? >= 1 << 18);
    let two = x.try_clone()?;
    two.eval()?;
    let taken = most(x.device(), || {
        // each of two kernels reads both: only the one that runs last can write over one
        let sum = (&x + &two)?;
        x.copy_(&(&sum * 2.0)?)?;
        two.copy_(&(&sum * 3.0)?)?;
        drop(sum);
        Tensor::eval_all(&[x.clone(), two.clone()])
    })?;
    assert_eq!(taken, 1 << 18);
    assert_eq!(((&x * 1.5)? - &two)?.abs()?.max()?.item()?, 0.0);
    Ok(())
}

/// Gradients that are cut out of a large one do not keep it.
#[test]
fn gradients_of_what_was_joined_hold_no_more_than_themselves() -> Result<()> {
    let _turn = turn();
    let (count, size) = (16, 4096);
    let leaves = (0..count).map(|_| Tensor::ones([size], ())?.contiguous()?.requires_grad_(true));
    let leaves = leaves.collect::<Result<Vec<_>>>()?;
    Tensor::eval_all(&leaves)?;
    let device = leaves[0].device().clone();
    device.synchronize()?;
    let before = device.memory_stats().current;
    for _ in 0..3 {
        let all: Vec<&Tensor> = leaves.iter().collect();
        (cat(&all, 0)?.square()?.sum()? + stack(&all, 1)?.square()?.sum()?)?.backward()?;
        Tensor::eval_all(&leaves.iter().filter_map(Tensor::grad).collect::<Vec<_>>())?;
    }
    device.synchronize()?;
    let held = device.memory_stats().current - before;
    assert!(held <= 2 * (count * size * 4) as u64, "{held} bytes for gradients of {}", count * size * 4);
    let first = leaves[3].grad().expect("a gradient").to_vec::<f32>()?;
    assert!(first.iter().all(|g| *g == 12.0), "{:?}", &first[..4]);
    Ok(())
}

/// The record that finds out what its function captures is gone when it returns.
#[test]
fn a_checkpoint_keeps_its_inputs_alone() -> Result<()> {
    let _turn = turn();
    let (rows, width, layers) = (4096, 32, 8);
    let weights = (0..layers).map(|_| (Tensor::randn([width, width], ())? * 0.1)?.requires_grad_(true));
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let x = Tensor::randn([rows, width], ())?;
    Tensor::eval_all(&weights)?;
    x.eval()?;
    let own = weights.clone();
    let part = move |t: &[Tensor]| own.iter().try_fold(t[0].clone(), |h, w| h.matmul(w)?.tanh());
    let before = x.device().memory_stats().current;
    let y = checkpoint(part, &[&x])?;
    y.eval()?;
    x.device().synchronize()?;
    let kept = (x.device().memory_stats().current - before) as f64 / (rows * width * 4) as f64;
    assert!(kept < 1.1, "{kept} activations are kept");
    y.sum()?.backward()?;
    assert!(weights.iter().all(|w| w.grad().is_some()));
    Ok(())
}

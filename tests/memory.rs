//! Memory at its peak in a training step: what is kept for the backward pass, and what the update takes.

use calor::nn::functional::layer_norm;
use calor::{Approximate, Result, Tensor};
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

//! Layers: values, state, modes, refusals.

use calor::nn::{
    BatchNorm1d, BatchNorm2d, BatchNormOptions, Embedding, EmbeddingOptions, GELU, Layer, LayerNorm, LayerNormOptions,
    LeakyReLU, Linear, LinearOptions, LogSoftmax, Module, ReLU, Sequential, Softmax, Tanh,
};
use calor::optim::{Optimizer, Sgd, SgdOptions};
use calor::{DType, Device, Result, Tensor, no_grad};

fn close(got: &Tensor, want: &[f32], tolerance: f32) -> Result<()> {
    let got = got.to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "[{i}]: {g}, want {w}");
    }
    Ok(())
}

#[test]
fn linear_starts_within_its_bounds_and_learns() -> Result<()> {
    let linear = Linear::new(100, 50, ())?;
    for p in linear.parameters() {
        let values = p.tensor().to_vec::<f32>()?;
        assert!(values.iter().all(|v| v.abs() <= 0.1));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.03 && (square - 0.01 / 3.0).abs() < 1e-3, "{mean} {square}");
    }
    let half = Linear::new(4, 2, LinearOptions::default().bias(false).tensor(DType::F16))?;
    let y = half.forward(&Tensor::ones([3, 4], DType::F16)?)?;
    assert_eq!((y.dtype(), &y.shape()[..]), (DType::F16, &[3, 2][..]));
    assert!(Linear::new(4, 2, DType::I32).unwrap_err().to_string().contains("floating point"));
    let wrong = half.forward(&Tensor::ones([3, 5], DType::F16)?).map(|_| ()).unwrap_err().to_string();
    assert!(wrong.contains("[3, 5]"), "{wrong}");
    Ok(())
}

#[test]
fn seeds_decide_initial_values() -> Result<()> {
    let device = Device::open(&calor::gpu::AdapterChoice::from_env()?)?;
    let make = || -> Result<Vec<f32>> {
        device.manual_seed(5);
        Linear::new(3, 3, &device)?.weight.tensor().to_vec::<f32>()
    };
    let first = make()?;
    assert_eq!(first, make()?);
    assert_ne!(first, Linear::new(3, 3, &device)?.weight.tensor().to_vec::<f32>()?);
    Ok(())
}

#[test]
fn batch_norm_follows_the_batch_and_remembers_it() -> Result<()> {
    let norm = BatchNorm2d::new(2, ())?;
    let x = Tensor::new([[[[1.0f32, 3.0]], [[10.0, 10.0]]], [[[5.0, 7.0]], [[20.0, 40.0]]]], ())?;
    let y = norm.forward(&x)?;
    // channel 0: mean 4, variance 5; channel 1: mean 20, variance 150
    let (a, b) = (5f32.sqrt(), 150f32.sqrt());
    close(&y, &[-3.0 / a, -1.0 / a, -10.0 / b, -10.0 / b, 1.0 / a, 3.0 / a, 0.0, 20.0 / b], 1e-4)?;
    let state = norm.state_dict();
    let kept = |name: &str| state.get(name).cloned().expect(name);
    close(&kept("running_mean"), &[0.4, 2.0], 1e-5)?;
    close(&kept("running_var"), &[0.9 + 0.1 * 20.0 / 3.0, 0.9 + 0.1 * 200.0], 1e-5)?;
    assert_eq!(kept("num_batches_tracked").item()?, 1.0);
    assert!(!kept("running_mean").requires_grad());

    norm.eval();
    let y = norm.forward(&x)?;
    let (m, v) = (0.4f32, 0.9f32 + 2.0 / 3.0);
    close(&y.select(1, 0)?, &[1.0, 3.0, 5.0, 7.0].map(|x| (x - m) / (v + 1e-5).sqrt()), 1e-4)?;
    assert_eq!(kept("num_batches_tracked").item()?, 1.0);
    norm.reset_running_stats()?;
    close(&kept("running_var"), &[1.0, 1.0], 0.0)?;
    Ok(())
}

#[test]
fn batch_norm_without_momentum_keeps_the_mean_of_all_batches() -> Result<()> {
    let norm = BatchNorm1d::new(1, BatchNormOptions::default().momentum(None).affine(false))?;
    for values in [[[0.0f32], [2.0]], [[3.0], [5.0]], [[9.0], [13.0]]] {
        norm.forward(&Tensor::new(values, ())?)?;
    }
    let state = norm.state_dict();
    assert_eq!(state.names().collect::<Vec<_>>(), ["running_mean", "running_var", "num_batches_tracked"]);
    close(state.get("running_mean").expect("mean"), &[(1.0 + 4.0 + 11.0) / 3.0], 1e-5)?;
    close(state.get("running_var").expect("var"), &[(2.0 + 2.0 + 8.0) / 3.0], 1e-5)?;

    let bare = BatchNorm1d::new(2, BatchNormOptions::default().track_running_stats(false))?;
    bare.eval();
    close(&bare.forward(&Tensor::new([[1.0f32, 2.0], [3.0, 2.0]], ())?)?, &[-1.0, 0.0, 1.0, 0.0], 1e-4)?;
    assert!(norm.forward(&Tensor::ones([1, 1], ())?).is_err(), "one value per channel");
    assert!(norm.forward(&Tensor::ones([4, 2], ())?).is_err(), "wrong channels");
    assert!(BatchNorm2d::new(2, ())?.forward(&Tensor::ones([4, 2], ())?).is_err(), "wrong rank");
    Ok(())
}

#[test]
fn gradients_flow_through_batch_statistics_but_not_into_running_ones() -> Result<()> {
    let norm = BatchNorm1d::new(2, ())?;
    let x = Tensor::new([[1.0f32, 4.0], [2.0, 9.0], [6.0, 5.0]], ())?.requires_grad_(true)?;
    for _ in 0..3 {
        norm.forward(&x)?.square()?.sum()?.backward()?;
    }
    // the sum of squares of normalised values does not depend on the input, up to eps
    close(&x.grad().expect("gradient"), &[0.0; 6], 1e-3)?;
    let grads: Vec<bool> = norm.parameters().iter().map(|p| p.grad().is_some()).collect();
    assert_eq!(grads, [true, true]);
    Ok(())
}

#[test]
fn layer_norm_normalises_the_last_dimensions() -> Result<()> {
    let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 4.0, 10.0]], ())?;
    let norm = LayerNorm::new([3], ())?;
    let (a, b) = ((2.0f32 / 3.0).sqrt(), 8f32.sqrt());
    close(&norm.forward(&x)?, &[-1.0 / a, 0.0, 1.0 / a, -2.0 / b, -2.0 / b, 4.0 / b], 1e-4)?;
    assert_eq!(norm.state_dict().names().collect::<Vec<_>>(), ["weight", "bias"]);
    let options = LayerNormOptions::default().bias(false);
    assert_eq!(LayerNorm::new([3], options)?.state_dict().names().collect::<Vec<_>>(), ["weight"]);
    let all = LayerNorm::new([2, 3], LayerNormOptions::default().elementwise_affine(false))?;
    assert!(all.parameters().is_empty());
    assert!(all.forward(&x)?.mean()?.item()?.abs() < 1e-6);
    assert!(norm.forward(&Tensor::ones([3, 2], ())?).map(|_| ()).unwrap_err().to_string().contains("[3, 2]"));
    Ok(())
}

#[test]
fn embedding_looks_up_and_learns_only_what_was_seen() -> Result<()> {
    let embedding = Embedding::new(4, 2, EmbeddingOptions::default().padding_idx(Some(-1)))?;
    let weight = embedding.weight.tensor().to_vec::<f32>()?;
    assert_eq!(weight[6..], [0.0, 0.0]);
    let out = embedding.forward(&Tensor::new([[2, 0], [2, 3]], ())?)?;
    let want = [&weight[4..6], &weight[..2], &weight[4..6], &weight[6..]].concat();
    assert_eq!(out.to_vec::<f32>()?, want);
    out.sum()?.backward()?;
    close(&embedding.weight.grad().expect("gradient"), &[1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0], 0.0)?;
    assert!(Embedding::new(4, 2, EmbeddingOptions::default().padding_idx(Some(4))).is_err());
    Ok(())
}

#[test]
fn activations_are_layers() -> Result<()> {
    let x = Tensor::new([[-2.0f32, 0.5]], ())?;
    close(&LeakyReLU::default().forward(&x)?, &[-0.02, 0.5], 1e-6)?;
    close(&GELU::default().forward(&x)?, &[-0.045500, 0.345731], 1e-5)?;
    close(&Softmax::new(1).forward(&x)?.sum()?, &[1.0], 1e-6)?;
    close(&LogSoftmax::new(-1).forward(&x)?.exp()?.sum()?, &[1.0], 1e-6)?;
    Ok(())
}

#[test]
fn a_network_learns_exclusive_or() -> Result<()> {
    Device::best()?.manual_seed(3);
    let model = Sequential::new().add(Linear::new(2, 16, ())?).add(Tanh).add(Linear::new(16, 1, ())?);
    let mut sgd = Sgd::new(model.parameters(), SgdOptions::new(0.2).momentum(0.9))?;
    let x = Tensor::new([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ())?;
    let y = Tensor::new([[0.0f32], [1.0], [1.0], [0.0]], ())?;
    for _ in 0..300 {
        sgd.zero_grad();
        (model.forward(&x)? - &y)?.square()?.mean()?.backward()?;
        sgd.step()?;
    }
    let out = no_grad(|| model.forward(&x))?;
    close(&out, &[0.0, 1.0, 1.0, 0.0], 0.1)?;
    let relu = Sequential::new().add(ReLU);
    assert!(relu.parameters().is_empty() && relu.len() == 1);
    Ok(())
}

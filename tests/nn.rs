//! Layers: values, state, modes, refusals.

use calor::autograd::{GradCheck, gradcheck, gradgradcheck};
use calor::nn::{
    AvgPool2d, BatchNorm1d, BatchNorm2d, BatchNormOptions, Conv1d, Conv2d, Conv2dOptions, Conv3d, CrossMapLRN2d,
    Dropout, Embedding, EmbeddingOptions, GELU, Layer, LayerNorm, LayerNormOptions, LeakyReLU, Linear, LinearOptions,
    LogSoftmax, MaxPool2d, Module, ReLU, Sequential, Softmax, Tanh, functional,
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

/// A convolution by its definition.
fn convolved(
    (x, xs): (&[f32], [usize; 4]),
    (w, ws): (&[f32], [usize; 4]),
    (stride, padding, dilation): ([usize; 2], [usize; 2], [usize; 2]),
    groups: usize,
) -> Vec<f32> {
    let [n, c, h, width] = xs;
    let [o, part, kh, kw] = ws;
    let count = |d: usize, size: usize, k: usize| (size + 2 * padding[d] - dilation[d] * (k - 1) - 1) / stride[d] + 1;
    let (oh, ow) = (count(0, h, kh), count(1, width, kw));
    let mut out = Vec::new();
    for (b, f, y, z) in itertools(n, o, oh, ow) {
        let mut sum = 0.0;
        for (p, i, j, _) in itertools(part, kh, kw, 1) {
            let channel = f / (o / groups) * part + p;
            let at = (y * stride[0] + i * dilation[0]).checked_sub(padding[0]).filter(|&at| at < h);
            let across = (z * stride[1] + j * dilation[1]).checked_sub(padding[1]).filter(|&at| at < width);
            if let (Some(at), Some(across)) = (at, across) {
                sum += x[((b * c + channel) * h + at) * width + across] * w[((f * part + p) * kh + i) * kw + j];
            }
        }
        out.push(sum);
    }
    out
}

fn itertools(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0).collect()
}

#[test]
fn convolutions_follow_their_definition() -> Result<()> {
    let cases = [
        ([2, 3, 5, 6], [4, 3, 3, 3], ([1, 1], [1, 1], [1, 1]), 1),
        ([1, 4, 7, 8], [6, 2, 3, 2], ([2, 3], [1, 0], [1, 2]), 2),
        ([2, 2, 4, 4], [2, 1, 1, 1], ([1, 1], [0, 0], [1, 1]), 2),
        ([1, 1, 9, 9], [3, 1, 2, 3], ([3, 2], [2, 1], [3, 2]), 1),
    ];
    for (xs, ws, (stride, padding, dilation), groups) in cases {
        let (x, w) = (numbers(xs.iter().product()), numbers(ws.iter().product()));
        let want = convolved((&x, xs), (&w, ws), (stride, padding, dilation), groups);
        let x = Tensor::from_slice(&x, xs, ())?.requires_grad_(true)?;
        let w = Tensor::from_slice(&w, ws, ())?.requires_grad_(true)?;
        let f = |t: &[Tensor]| {
            functional::conv(&t[0], &t[1], None, (&stride, functional::Padding::Sides(&padding), &dilation), groups)
        };
        close(&f(&[x.clone(), w.clone()])?, &want, 1e-4)?;
        gradcheck(f, &[&x, &w], None)?;
    }
    let x = Tensor::from_slice(&numbers(9), [1, 1, 3, 3], ())?.requires_grad_(true)?;
    let w = Tensor::from_slice(&numbers(4), [1, 1, 2, 2], ())?.requires_grad_(true)?;
    let f = |t: &[Tensor]| {
        functional::conv(&t[0], &t[1], None, (&[2, 1], functional::Padding::Sides(&[1, 1]), &[1, 1]), 1)?.sin()
    };
    gradgradcheck(f, &[&x, &w], None)?;
    Ok(())
}

#[test]
fn convolution_layers_have_the_shapes_and_names_of_pytorch() -> Result<()> {
    let conv = Conv2d::new(4, 6, [3, 5], Conv2dOptions::default().stride(2).padding([1, 2]).groups(2))?;
    let shapes: Vec<_> = conv.state_dict().iter().map(|(n, t)| (n.to_string(), t.shape().to_vec())).collect();
    assert_eq!(shapes, [("weight".to_string(), vec![6, 2, 3, 5]), ("bias".to_string(), vec![6])]);
    assert_eq!(&conv.forward(&Tensor::ones([2, 4, 8, 9], ())?)?.shape()[..], [2, 6, 4, 5]);
    assert_eq!(&conv.forward(&Tensor::ones([4, 8, 9], ())?)?.shape()[..], [6, 4, 5]);
    assert_eq!(&Conv1d::new(2, 3, 3, ())?.forward(&Tensor::ones([5, 2, 7], ())?)?.shape()[..], [5, 3, 5]);
    assert_eq!(&Conv3d::new(1, 2, 2, ())?.forward(&Tensor::ones([1, 1, 3, 4, 5], ())?)?.shape()[..], [1, 2, 2, 3, 4]);
    let bound = 1.0 / (2.0f32 * 15.0).sqrt();
    assert!(conv.weight.tensor().to_vec::<f32>()?.iter().all(|v| v.abs() <= bound));
    assert!(Conv2d::new(4, 6, 3, Conv2dOptions::default().groups(3)).is_err());
    let channels = conv.forward(&Tensor::ones([1, 3, 8, 9], ())?).map(|_| ()).unwrap_err().to_string();
    assert!(channels.contains("4 channels") && channels.contains("[1, 3, 8, 9]"), "{channels}");
    let small = Conv2d::new(1, 1, 5, ())?.forward(&Tensor::ones([1, 1, 4, 8], ())?).map(|_| ()).unwrap_err();
    assert!(small.to_string().contains("smaller than the kernel"), "{small}");
    Ok(())
}

#[test]
fn pools_take_the_largest_and_the_mean() -> Result<()> {
    let values: Vec<f32> = (0..16).map(|i| ((i * 7) % 16) as f32).collect();
    let x = Tensor::from_slice(&values, [1, 1, 4, 4], ())?.requires_grad_(true)?;
    // 0 7 14 5 / 12 3 10 1 / 8 15 6 13 / 4 11 2 9
    let y = MaxPool2d::new(2).forward(&x)?;
    close(&y, &[12.0, 14.0, 15.0, 13.0], 0.0)?;
    y.sum()?.backward()?;
    let mut want = [0.0; 16];
    [4, 2, 9, 11].iter().for_each(|&i| want[i] = 1.0);
    close(&x.grad().expect("gradient"), &want, 0.0)?;
    close(&AvgPool2d::new(2).forward(&x)?, &[5.5, 7.5, 9.5, 7.5], 1e-6)?;
    close(&MaxPool2d::new(3).stride(2).padding(1).forward(&x)?, &[12.0, 14.0, 15.0, 15.0], 0.0)?;
    // the first of equal values takes the gradient
    let ties = Tensor::zeros([1, 2, 2], ())?.requires_grad_(true)?;
    MaxPool2d::new(2).forward(&ties)?.sum()?.backward()?;
    close(&ties.grad().expect("gradient"), &[1.0, 0.0, 0.0, 0.0], 0.0)?;
    assert!(MaxPool2d::new(2).padding(2).forward(&x).is_err());
    Ok(())
}

#[test]
fn dropout_drops_a_share_while_training() -> Result<()> {
    let drop = Dropout::new(0.3)?;
    let x = Tensor::ones([100, 100], ())?.requires_grad_(true)?;
    let y = drop.forward(&x)?;
    y.sum()?.backward()?;
    let values = y.to_vec::<f32>()?;
    let zeros = values.iter().filter(|&&v| v == 0.0).count();
    assert!((2700..3300).contains(&zeros), "{zeros}");
    assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    // the gradient is dropped at the same places
    assert_eq!(x.grad().expect("gradient").to_vec::<f32>()?, values);
    assert_ne!(drop.forward(&x)?.to_vec::<f32>()?, values);
    drop.eval();
    assert_eq!(drop.forward(&x)?.to_vec::<f32>()?, [1.0; 10_000]);
    assert_eq!(functional::dropout(&x, 1.0, true)?.sum()?.item()?, 0.0);
    assert!(Dropout::new(1.5).is_err());
    Ok(())
}

#[test]
fn a_border_never_wins_a_pool() -> Result<()> {
    // nothing but -inf: the first element inside each window is the largest, and gets the gradient
    let x = Tensor::full([1, 1, 3, 3], f64::NEG_INFINITY, ())?.requires_grad_(true)?;
    let pool = MaxPool2d::new(2).stride(2).padding(1);
    let (values, places) = functional::max_pool_with_indices(&x, &pool)?;
    assert_eq!(values.to_vec::<f32>()?, [f32::NEG_INFINITY; 4]);
    assert_eq!(places.to_vec::<i32>()?, [0, 1, 3, 4]);
    functional::max_pool(&x, &pool)?.backward_with(&Tensor::new([[[[1.0f32, 2.0], [3.0, 4.0]]]], ())?)?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn overlapping_pools_have_gradients_of_any_order() -> Result<()> {
    if !Device::best()?.supports(DType::F64) {
        println!("skipped: gradients are checked in f64, which this adapter lacks");
        return Ok(());
    }
    let values: Vec<f64> = (0..2 * 7 * 6).map(|i| f64::from((i * 37) % 101) / 10.0).collect();
    let x = Tensor::from_slice(&values, [1, 2, 7, 6], ())?.requires_grad_(true)?;
    for pool in [
        MaxPool2d::new(3).stride(1).padding(1),
        MaxPool2d::new(3).stride(2).padding(1),
        MaxPool2d::new(2).stride(1).dilation(2),
        MaxPool2d::new(2).stride(3),
    ] {
        gradcheck(|t| functional::max_pool(&t[0], &pool), &[&x], None)?;
        gradgradcheck(|t| functional::max_pool(&t[0].square()?, &pool), &[&x], None)?;
    }
    Ok(())
}

#[test]
fn half_weight_gradients_are_rounded_once() -> Result<()> {
    // each image gives 257 or -255; 257 is no bf16 number, the sum of all is
    let x = Tensor::ones([8, 1, 2], DType::BF16)?;
    let w = Tensor::ones([1, 1, 1], DType::BF16)?.requires_grad_(true)?;
    let g: Vec<f32> = (0..8).flat_map(|i| [if i < 4 { 256.0 } else { -256.0 }, 1.0]).collect();
    let y = functional::conv(&x, &w, None, (&[1], functional::Padding::Valid, &[1]), 1)?;
    y.backward_with(&Tensor::from_slice(&g, [8, 1, 2], DType::BF16)?)?;
    assert_eq!(w.grad().unwrap().item()?, 8.0);
    Ok(())
}

#[test]
fn sizes_at_the_edge() -> Result<()> {
    use functional as f;
    // one window, which only rounding up makes
    let x = Tensor::new([[[1.0f32, 2.0]]], ())?;
    let pool = AvgPool2d::new(3).stride(2).ceil_mode(true);
    assert_eq!(pool.forward(&x.expand([1, 2, 2])?)?.to_vec::<f32>()?, [1.5]);
    assert!(AvgPool2d::new(3).stride(2).forward(&x.expand([1, 2, 2])?).is_err());
    // no channels, no elements behind them
    let none = |shape: &[usize]| Tensor::zeros(shape, ());
    assert!(f::conv(&none(&[0, 0, 4])?, &none(&[0, 0, 3])?, None, (&[1], f::Padding::Valid, &[1]), 1).is_err());
    assert!(f::group_norm(&none(&[1, 2, 0])?, 1, None, None, 1e-5).is_err());
    assert_eq!(&f::group_norm(&none(&[0, 2, 3])?, 1, None, None, 1e-5)?.shape()[..], [0, 2, 3]);
    Ok(())
}

#[test]
fn cubic_samples_in_three_dimensions() -> Result<()> {
    use functional::{GridMode, GridOptions, grid_sample};
    // half way between points of a line a cubic is on the line, in each direction
    let numbers: Vec<f32> =
        (0..216).map(|i| (i / 36) as f32 + 10.0 * (i / 6 % 6) as f32 + 100.0 * (i % 6) as f32).collect();
    let x = Tensor::from_slice(&numbers, [1, 1, 6, 6, 6], ())?;
    let grid = Tensor::new([0.4f32, -0.4, 0.0], ())?.reshape([1, 1, 1, 1, 3])?;
    let options = GridOptions { mode: GridMode::Bicubic, align_corners: true, ..GridOptions::default() };
    let place = |g: f32| (g + 1.0) * 2.5;
    let want = place(0.0) + 10.0 * place(-0.4) + 100.0 * place(0.4);
    close(&grid_sample(&x, &grid, options)?, &[want], 1e-5)
}

#[test]
fn an_empty_batch_leaves_running_statistics() -> Result<()> {
    let norm = BatchNorm1d::new(2, ())?;
    let y = norm.forward(&Tensor::zeros([0, 2, 3], ())?)?;
    assert_eq!(&y.shape()[..], [0, 2, 3]);
    let state = norm.state_dict();
    close(state.get("running_mean").expect("mean"), &[0.0, 0.0], 0.0)?;
    close(state.get("running_var").expect("var"), &[1.0, 1.0], 0.0)
}

#[test]
fn ranks_and_sizes_that_pytorch_takes_or_refuses() -> Result<()> {
    use calor::nn::functional as f;
    let x = Tensor::ones([5, 5], ())?;
    let y = f::dropout2d(&x, 0.5, true)?.to_vec::<f32>()?;
    assert!(y.iter().all(|v| *v == 0.0 || *v == 2.0));
    assert_eq!(f::dropout3d(&Tensor::ones([4], ())?, 0.5, false)?.numel(), 4);
    assert!(f::dropout2d(&Tensor::ones([4], ())?, 0.5, true).is_err());
    assert!(f::dropout1d(&Tensor::ones([4], ())?, 0.5, false).is_err());
    assert!(f::group_norm(&Tensor::ones([1, 2], ())?, 2, None, None, 1e-5).is_err());
    assert!(f::group_norm(&Tensor::ones([2, 2], ())?, 2, None, None, 1e-5).is_ok());
    Ok(())
}

#[test]
fn files_without_counts_of_batches_load() -> Result<()> {
    let norm = BatchNorm1d::new(2, ())?;
    norm.forward(&Tensor::ones([2, 2], ())?)?;
    let mut state = calor::nn::StateDict::new();
    for (name, tensor) in norm.state_dict().iter().filter(|(name, _)| !name.contains("batches")) {
        state.insert(name, tensor.clone());
    }
    assert!(norm.load_state_dict(&state, true)?.missing.is_empty());
    assert_eq!(norm.state_dict().get("num_batches_tracked").expect("a count").item()?, 1.0);
    Ok(())
}

#[test]
fn a_norm_across_maps_has_the_gradient_of_its_numbers() -> Result<()> {
    let dtype = if Device::best()?.supports(DType::F64) { DType::F64 } else { DType::F32 };
    for (size, channels) in [(1, 1), (2, 3), (3, 5), (5, 4)] {
        let x = Tensor::from_slice(&numbers(channels * 2), [1, channels, 2, 1], ())?.to_dtype(dtype)?;
        let norm = CrossMapLRN2d { alpha: 0.5, ..CrossMapLRN2d::new(size) };
        let x = x.requires_grad_(true)?;
        gradcheck(|t| norm.forward(&t[0]), &[&x], Some(GradCheck::for_dtype(dtype)))?;
    }
    Ok(())
}

#[test]
fn adaptive_pooling_takes_empty_sides_where_a_mean_does() -> Result<()> {
    let avg = |shape: &[usize], to: &[Option<usize>]| {
        functional::adaptive_avg_pool(&Tensor::ones(shape, DType::F32)?, to).map(|y| y.shape().to_vec())
    };
    // one window is a mean, of nothing too
    assert_eq!(avg(&[4, 0, 5], &[Some(1)])?, [4, 0, 1]);
    assert_eq!(avg(&[4, 3, 0], &[Some(1)])?, [4, 3, 1]);
    assert_eq!(avg(&[4, 0, 5, 5, 5], &[Some(1); 3])?, [4, 0, 1, 1, 1]);
    let nothing = functional::adaptive_avg_pool(&Tensor::ones([1, 1, 0, 5], ())?, &[Some(1), Some(1)])?;
    assert!(nothing.item()?.is_nan());
    // several need elements, and in three dimensions channels
    assert_eq!(avg(&[4, 0, 5], &[Some(2)])?, [4, 0, 2]);
    assert_eq!(avg(&[4, 0, 5, 5], &[Some(2), Some(1)])?, [4, 0, 2, 1]);
    assert!(avg(&[4, 3, 0], &[Some(2)]).is_err() && avg(&[4, 0, 5, 5, 5], &[Some(1), Some(1), Some(2)]).is_err());
    assert!(functional::adaptive_max_pool(&Tensor::ones([4, 0, 5], ())?, &[Some(1)]).is_err());
    assert!(avg(&[5], &[Some(1)]).is_err() && avg(&[1, 1, 1, 5], &[Some(1)]).is_err());
    Ok(())
}

#[test]
fn adaptive_windows_of_long_sides() -> Result<()> {
    // whose product with a window's number exceeds 32 bits
    let (from, to) = (100_000, 70_000);
    let reach = |i: usize| i * from / to..((i + 1) * from).div_ceil(to);
    let x = Tensor::arange(0, from as i64, 1, DType::F32)?.reshape([1, 1, from])?.requires_grad_(true)?;
    let mean = functional::adaptive_avg_pool(&x, &[Some(to)])?;
    let places = functional::adaptive_max_pool(&x.detach(), &[Some(to)])?.1.to_vec::<i32>()?;
    let mut gradient = vec![0.0; from];
    for (i, (mean, place)) in mean.to_vec::<f32>()?.into_iter().zip(places).enumerate() {
        let n = reach(i).len() as f32;
        assert!(mean == reach(i).map(|k| k as f32).sum::<f32>() / n && place as usize == reach(i).end - 1, "{i}");
        gradient[reach(i)].iter_mut().for_each(|g| *g += 1.0 / n);
    }
    mean.sum()?.backward()?;
    close(&x.grad().unwrap_or(x), &gradient, 1e-6)
}

#[test]
fn more_windows_than_can_be_counted() -> Result<()> {
    // 2^31 of an image, which are taken one at a time
    let (long, kernel) = (98_304, 32_768);
    let ones = |shape: [usize; 3]| Tensor::ones(shape, ())?.requires_grad_(true);
    let (x, w) = (ones([2, 1, long])?, ones([1, 1, kernel])?);
    let y = functional::conv(&x, &w, None, (&[1], functional::Padding::Valid, &[1]), 1)?;
    assert_eq!((y.min()?.item()?, y.max()?.item()?), (kernel as f64, kernel as f64));
    y.sum()?.backward()?;
    let (gx, gw) = (x.grad().unwrap_or(x), w.grad().unwrap_or(w));
    let windows = (2 * (long - kernel + 1)) as f64;
    assert_eq!((gw.min()?.item()?, gw.max()?.item()?), (windows, windows));
    assert_eq!((gx.min()?.item()?, gx.max()?.item()?), (1.0, kernel as f64));
    // the mean of so many is not refused either
    let x = Tensor::ones([1, 1, 1], ())?.expand([2, 1, long])?;
    let mean = functional::avg_pool(&x, &calor::nn::AvgPool::<1>::new(kernel).stride(1))?;
    assert_eq!(mean.shape()[..], [2, 1, long - kernel + 1]);
    Ok(())
}

#[test]
fn strides_of_more_than_32_bits() -> Result<()> {
    let ones = |shape: [usize; 3]| Tensor::ones(shape, ())?.requires_grad_(true);
    let (x, w) = (ones([1, 1, 5])?, ones([1, 1, 1])?);
    functional::conv(&x, &w, None, (&[1 << 32], functional::Padding::Valid, &[1]), 1)?.sum()?.backward()?;
    close(&x.grad().unwrap_or(x), &[1.0, 0.0, 0.0, 0.0, 0.0], 0.0)
}

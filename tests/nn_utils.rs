//! Clipping, parametrizations and fused layers against PyTorch's values (`tests/torch/utils.py`), and what they cost.

use calor::nn::utils::fusion::{
    fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_conv_transpose_bn_eval, fuse_linear_bn_eval, fuse_linear_bn_weights,
};
use calor::nn::utils::{Parametrized, SpectralNormOptions};
use calor::nn::utils::{
    clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm, parameters_to_vector, spectral_norm,
    vector_to_parameters, weight_norm,
};
use calor::nn::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNormOptions, Conv2d, Conv2dOptions, ConvTranspose2d,
    ConvTransposeOptions, Layer, Linear, Module, Parameter,
};
use calor::optim::{Optimizer, Sgd, SgdOptions};
use calor::{DType, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(shape: &[usize]) -> Result<Tensor> {
    let n: i32 = shape.iter().product::<usize>() as i32;
    let values: Vec<f32> = (0..n).map(|i| ((i * 37) % 23 - 11) as f32 / 8.0).collect();
    Tensor::from_slice(&values, shape, ())
}

fn close(what: &str, got: &Tensor, want: &[f32]) -> Result<()> {
    let got = got.detach().to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 3e-5 * w.abs().max(1.0), "{what}: {got:?}, expected {want:?}");
    }
    Ok(())
}

fn grad(p: &Parameter) -> Tensor {
    p.grad().expect("a gradient")
}

#[test]
fn norms_are_clipped_as_in_pytorch() -> Result<()> {
    let _turn = turn();
    let want: [(f64, f32, [f32; 6], [f32; 5]); 4] = [
        (
            1.0,
            20.57812,
            [-0.200456, 0.05467, -0.109339, 0.145786, -0.018223, -0.182232],
            [0.41344, 0.030752, 0.123007, 0.218679, 0.003417],
        ),
        (
            2.0,
            8.05515,
            [-0.512094, 0.139662, -0.279324, 0.372432, -0.046554, -0.46554],
            [1.056195, 0.07856, 0.31424, 0.558648, 0.008729],
        ),
        (
            3.0,
            6.40355,
            [-0.644174, 0.175684, -0.351368, 0.46849, -0.058561, -0.585613],
            [1.328609, 0.098822, 0.395289, 0.702735, 0.01098],
        ),
        (
            f64::INFINITY,
            5.67188,
            [-0.727273, 0.198347, -0.396694, 0.528926, -0.066116, -0.661157],
            [1.5, 0.11157, 0.446281, 0.793388, 0.012397],
        ),
    ];
    for (order, norm, a_want, b_want) in want {
        let (a, b) = (Parameter::new(&numbers(&[2, 3])?)?, Parameter::new(&numbers(&[5])?)?);
        // one without a gradient counts for nothing
        let all = [a.clone(), Parameter::new(&numbers(&[7])?)?, b.clone()];
        (a.tensor().square()?.sum()? + b.tensor().pow(3.0)?.sum()?)?.backward()?;
        close("norm", &clip_grad_norm_(&all, 1.5, order, true)?, &[norm])?;
        close("a", &grad(&a), &a_want)?;
        close("b", &grad(&b), &b_want)?;
        let kept = grad(&a).to_vec::<f32>()?;
        clip_grad_norm_(&all, 1e6, order, false)?;
        close("small ones stay", &grad(&a), &kept)?;
    }
    Ok(())
}

#[test]
fn norms_of_several_dtypes_and_of_what_is_not_finite() -> Result<()> {
    let _turn = turn();
    let half = Parameter::new(&Tensor::new([3.0f32], ())?.to_dtype(DType::F16)?)?;
    let whole = Parameter::new(&Tensor::new([4.0f32], ())?)?;
    (half.tensor().to_dtype(DType::F32)?.sum()? * 3.0)?.backward()?;
    (whole.tensor().sum()? * 4.0)?.backward()?;
    let all = [half.clone(), whole.clone()];
    assert_eq!(clip_grad_norm_(&all, 2.5, 2.0, true)?.item()?, 5.0);
    assert_eq!((grad(&half).dtype(), grad(&half).item()?), (DType::F16, 1.5));
    close("scaled", &grad(&whole), &[2.0])?;
    assert_eq!(get_total_norm(&[], 2.0, true)?.item()?, 0.0);
    let w = Parameter::new(&Tensor::new([0.0f32, 1.0], ())?)?;
    w.tensor().log()?.sum()?.backward()?;
    let refused = clip_grad_norm_(std::slice::from_ref(&w), 1.0, 2.0, true).unwrap_err().to_string();
    assert!(refused.contains("non-finite"), "{refused}");
    assert_eq!(grad(&w).to_vec::<f32>()?, [f32::INFINITY, 1.0], "as before");
    clip_grad_value_(std::slice::from_ref(&w), 0.5)?;
    assert_eq!(grad(&w).to_vec::<f32>()?, [0.5, 0.5]);
    assert!(get_total_norm(&[Tensor::zeros([2], DType::I32)?], 2.0, false).is_err());
    Ok(())
}

/// A clipped step of any number of parameters: the gradients' kernels, one for the norm, one for the factor, one that
/// scales and one that updates.
#[test]
fn clipping_takes_no_kernel_for_each_parameter() -> Result<()> {
    let _turn = turn();
    let cost = |n: usize| -> Result<(u64, u64)> {
        let all: Vec<Parameter> = (0..n).map(|_| Parameter::new(&numbers(&[40, 3])?)).collect::<Result<_>>()?;
        let mut sgd = Sgd::new(all.clone(), SgdOptions::new(0.1))?;
        let device = all[0].tensor().device().clone();
        let mut counted = (0, 0);
        for clips in [false, true] {
            for p in &all {
                p.tensor().square()?.sum()?.backward()?;
            }
            device.synchronize()?;
            let before = device.counters();
            if clips {
                clip_grad_norm_(&all, 1.0, 2.0, false)?;
            }
            sgd.step()?;
            sgd.zero_grad();
            device.synchronize()?;
            let after = device.counters();
            counted = (after.dispatches - before.dispatches - counted.0, after.readbacks - before.readbacks);
        }
        Ok(counted)
    };
    let (few, many) = (cost(20)?, cost(60)?);
    assert_eq!(few, many);
    assert!(many.0 <= 3 && many.1 == 0, "{many:?} more kernels and readbacks");
    Ok(())
}

#[test]
fn vectors_hold_all_parameters() -> Result<()> {
    let _turn = turn();
    let all = [Parameter::new(&numbers(&[2, 3])?)?, Parameter::new(&Tensor::new(7.0f32, ())?)?];
    let vector = parameters_to_vector(&all)?;
    (&vector * Tensor::arange(0.0, 7.0, 1.0, ())?)?.sum()?.backward()?;
    assert_eq!(grad(&all[0]).to_vec::<f32>()?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(grad(&all[1]).item()?, 6.0);
    vector_to_parameters(&(vector.detach() * 2.0)?, &all)?;
    assert_eq!(all[1].tensor().item()?, 14.0);
    assert!(vector_to_parameters(&Tensor::zeros([6], ())?, &all).is_err() && parameters_to_vector(&[]).is_err());
    Ok(())
}

fn linear() -> Result<Linear> {
    let linear = Linear::new(3, 2, ())?;
    linear.weight.copy_from(&numbers(&[2, 3])?)?;
    if let Some(bias) = &linear.bias {
        bias.copy_from(&numbers(&[2])?)?;
    }
    Ok(linear)
}

fn named(layer: &Parametrized<Linear>, name: &str) -> Parameter {
    let name = format!("parametrizations.weight.{name}");
    layer.named_parameters().into_iter().find(|(n, _)| *n == name).expect("a parameter").1
}

#[test]
fn weight_norm_learns_as_in_pytorch() -> Result<()> {
    let _turn = turn();
    type Want<'a> = (Option<usize>, &'a [usize], &'a [f32], [f32; 6]);
    let want: [Want<'_>; 3] = [
        (Some(0), &[2, 1], &[14.436096, 10.228746], [2.114105, 7.040969, -0.355375, -0.616548, 1.140057, -0.607245]),
        (
            Some(1),
            &[1, 3],
            &[11.642238, 9.759827, 10.990648],
            [-0.79544, 1.14336, -1.423483, -1.093728, 3.430078, 0.854091],
        ),
        (None, &[], &[17.445152], [0.336658, 7.525727, -1.324892, -1.917072, 1.302622, 1.018411]),
    ];
    for (dim, shape, g, v) in want {
        let layer = weight_norm(linear()?, "weight", dim)?;
        layer.forward(&numbers(&[4, 3])?)?.square()?.sum()?.backward()?;
        assert_eq!(&named(&layer, "original0").shape()[..], shape);
        close("g", &grad(&named(&layer, "original0")), g)?;
        close("v", &grad(&named(&layer, "original1")), &v)?;
        close("weight", &layer.weight()?, &numbers(&[2, 3])?.to_vec::<f32>()?)?;
        // a state dict of one goes into another, and the layer stands alone again
        let other = weight_norm(Linear::new(3, 2, ())?, "weight", dim)?;
        other.load_state_dict(&layer.state_dict(), true)?;
        let plain = other.remove()?;
        close("removed", &plain.weight.tensor(), &numbers(&[2, 3])?.to_vec::<f32>()?)?;
        assert_eq!(plain.named_parameters()[0].0, "weight");
    }
    assert!(weight_norm(linear()?, "missing", None).is_err() && weight_norm(linear()?, "weight", Some(2)).is_err());
    Ok(())
}

#[test]
fn spectral_norm_learns_as_in_pytorch() -> Result<()> {
    let _turn = turn();
    /// The dimension, outputs, the weight's gradient, and both vectors after.
    type Case = (usize, [f32; 8], [f32; 6], &'static [f32], &'static [f32]);
    let want: [Case; 2] = [
        (
            0,
            [0.301149, 0.061984, -1.688016, 2.041052, -2.515993, -0.160156, -1.950545, -0.038989],
            [3.544538, 2.920965, 4.117844, 4.114448, -0.620683, -2.139782],
            &[-0.977802, -0.209529],
            &[0.733434, -0.22003, 0.643165],
        ),
        (
            1,
            [0.41418, 0.040876, -1.709124, 2.153402, -2.592936, -0.196244, -1.989357, -0.066906],
            [-3.203925, 4.680192, 5.996714, 4.473437, -1.220818, 5.031179],
            &[-0.182913, 0.121942, -0.975537],
            &[0.709731, 0.704473],
        ),
    ];
    for (dim, y, w, u, v) in want {
        let layer = spectral_norm(linear()?, "weight", SpectralNormOptions::default().dim(dim))?;
        let buffers = layer.named_buffers();
        for (_, buffer) in &buffers {
            let n = buffer.tensor().numel();
            buffer.copy_from(&Tensor::full([n], 1.0 / (n as f64).sqrt(), DType::F32)?)?;
        }
        let out = layer.forward(&numbers(&[4, 3])?)?;
        out.square()?.sum()?.backward()?;
        close("y", &out, &y)?;
        close("w", &grad(&named(&layer, "original")), &w)?;
        for ((name, buffer), want) in buffers.iter().zip([u, v]) {
            close(name, &buffer.tensor(), want)?;
        }
        // evaluation leaves the vectors alone
        layer.eval();
        let x = numbers(&[4, 3])?;
        close("evaluation", &layer.forward(&x)?, &layer.forward(&x)?.detach().to_vec::<f32>()?)?;
        close("u", &buffers[0].1.tensor(), u)?;
    }
    assert!(spectral_norm(linear()?, "bias", ()).is_err());
    Ok(())
}

#[test]
fn a_known_norm_clips_as_in_pytorch() -> Result<()> {
    let _turn = turn();
    let (a, b) = (Parameter::new(&numbers(&[2, 3])?)?, Parameter::new(&numbers(&[5])?)?);
    let all = [a.clone(), Parameter::new(&numbers(&[7])?)?, b.clone()];
    (a.tensor().square()?.sum()? + b.tensor().pow(3.0)?.sum()?)?.backward()?;
    clip_grads_with_norm_(&all, 1.5, &Tensor::new(4.0f32, ())?)?;
    close("a", &grad(&a), &[-1.03125, 0.28125, -0.5625, 0.75, -0.09375, -0.9375])?;
    close("b", &grad(&b), &[2.126953, 0.158203, 0.632812, 1.125, 0.017578])?;
    // what is within stays, to the bit
    let kept = grad(&a).to_vec::<f32>()?;
    clip_grads_with_norm_(&all, 1.5, &Tensor::new([0.5f32], ())?)?;
    assert_eq!(grad(&a).to_vec::<f32>()?, kept);
    assert!(clip_grads_with_norm_(&all, 1.5, &Tensor::ones([2], ())?).is_err());
    // both halves are the whole
    let norm = get_total_norm(&[grad(&a), grad(&b)], 2.0, true)?;
    clip_grads_with_norm_(&all, 0.25, &norm)?;
    let halves = (grad(&a).to_vec::<f32>()?, grad(&b).to_vec::<f32>()?);
    all.iter().for_each(Parameter::zero_grad);
    (a.tensor().square()?.sum()? + b.tensor().pow(3.0)?.sum()?)?.backward()?;
    clip_grad_norm_(&all, 0.25, 2.0, false)?;
    close("a", &grad(&a), &halves.0)?;
    close("b", &grad(&b), &halves.1)
}

/// A normalisation that does something, in evaluation.
fn norm<const N: usize>(channels: usize, options: BatchNormOptions) -> Result<BatchNorm<N>> {
    let (norm, own) = (BatchNorm::<N>::new(channels, options)?, numbers(&[channels])?);
    if let (Some(mean), Some(var)) = (&norm.running_mean, &norm.running_var) {
        mean.copy_from(&own)?;
        var.copy_from(&(own.square()? + 0.5)?)?;
    }
    if let (Some(weight), Some(bias)) = (&norm.weight, &norm.bias) {
        weight.copy_from(&(&own + 0.25)?)?;
        bias.copy_from(&(&own - 0.5)?)?;
    }
    norm.eval();
    Ok(norm)
}

fn tensor(p: &Option<Parameter>) -> Tensor {
    p.as_ref().expect("a parameter").tensor()
}

#[test]
fn convolutions_take_in_what_stands_behind() -> Result<()> {
    let _turn = turn();
    let want: [(bool, [f32; 8], [f32; 4]); 2] = [
        (
            true,
            [0.975287, -0.265987, -0.535714, 0.714286, 0.057354, 0.573539, 0.49029, -0.612863],
            [-1.875, -0.125, -1.25, 0.5],
        ),
        (
            false,
            [-0.866921, 0.236433, -0.857143, 1.142857, -0.114708, -1.147079, 0.392232, -0.49029],
            [0.866921, -0.428571, 0.688247, -0.784465],
        ),
    ];
    let x = numbers(&[3, 2, 3, 4])?;
    for (bias, w, b) in want {
        let conv = Conv2d::new(2, 4, [1, 2], Conv2dOptions::default().groups(2).bias(bias))?;
        conv.weight.copy_from(&numbers(&[4, 1, 1, 2])?)?;
        if let Some(bias) = &conv.bias {
            bias.copy_from(&numbers(&[4])?)?;
        }
        conv.weight.requires_grad_(!bias)?;
        let norm = norm::<2>(4, BatchNormOptions::default().affine(bias).eps(0.125))?;
        let fused = fuse_conv_bn_eval(&conv, &norm)?;
        close("conv", &fused.weight.tensor(), &w)?;
        close("bias", &tensor(&fused.bias), &b)?;
        assert_eq!(fused.weight.requires_grad(), !bias);
        let behind = norm.forward(&conv.forward(&x)?)?.detach().to_vec::<f32>()?;
        close("behind", &fused.forward(&x)?, &behind)?;
        // its weights are its own
        fused.weight.copy_from(&Tensor::zeros([4, 1, 1, 2], ())?)?;
        close("still", &conv.weight.tensor(), &numbers(&[4, 1, 1, 2])?.to_vec::<f32>()?)?;
    }
    let up = [
        1.000457, -0.272852, -0.585647, 0.780863, 0.060634, 0.606336, 0.510309, -0.637886, -0.818556, 0.0, -0.878471,
        0.488039, 0.242534, -0.606336, 0.127577, -1.020617,
    ];
    for groups in [1, 2] {
        let conv = ConvTranspose2d::new(2, 4, [1, 2], ConvTransposeOptions::default().groups(groups))?;
        conv.weight.copy_from(&numbers(&[2, 4 / groups, 1, 2])?)?;
        let norm = norm::<2>(4, BatchNormOptions::default())?;
        let fused = fuse_conv_transpose_bn_eval(&conv, &norm)?;
        if groups == 1 {
            close("transposed", &fused.weight.tensor(), &up)?;
        }
        let behind = norm.forward(&conv.forward(&x)?)?.detach().to_vec::<f32>()?;
        close("behind", &fused.forward(&x)?, &behind)?;
    }
    // of two dtypes, the layer's stays
    let conv = Conv2d::new(2, 4, 1, DType::F16)?;
    let fused = fuse_conv_bn_eval(&conv, &norm::<2>(4, BatchNormOptions::default())?)?;
    assert_eq!((fused.weight.tensor().dtype(), tensor(&fused.bias).dtype()), (DType::F16, DType::F16));
    Ok(())
}

#[test]
fn linear_layers_take_in_what_stands_behind() -> Result<()> {
    let _turn = turn();
    let want: [(usize, [f32; 6], [f32; 2]); 2] = [
        (2, [1.000457, -0.272852, 0.545704, 0.780863, -0.097608, -0.976078], [-1.875, -0.125]),
        (1, [1.000457, -0.272852, 0.545704, -0.727605, 0.090951, 0.909507], [-1.875, -3.148309]),
    ];
    for (channels, w, b) in want {
        let fused = fuse_linear_bn_eval(&linear()?, &norm::<1>(channels, BatchNormOptions::default())?)?;
        close("linear", &fused.weight.tensor(), &w)?;
        close("bias", &tensor(&fused.bias), &b)?;
    }
    let norm = norm::<1>(2, BatchNormOptions::default().affine(false))?;
    let bare = Linear { weight: linear()?.weight, bias: None };
    let (x, fused) = (numbers(&[4, 3])?, fuse_linear_bn_eval(&bare, &norm)?);
    let behind = norm.forward(&bare.forward(&x)?)?.detach().to_vec::<f32>()?;
    close("behind", &fused.forward(&x)?, &behind)
}

#[test]
fn layers_that_do_not_fit_are_not_fused() -> Result<()> {
    let _turn = turn();
    let says = |e: Result<()>| e.unwrap_err().to_string();
    let conv = Conv2d::new(2, 4, 1, ())?;
    assert!(says(fuse_conv_bn_eval(&conv, &BatchNorm2d::new(4, ())?).map(drop)).contains("Fusion only for eval"));
    let bare = norm::<2>(4, BatchNormOptions::default().track_running_stats(false))?;
    assert!(says(fuse_conv_bn_eval(&conv, &bare).map(drop)).contains("running statistics"));
    let other = norm::<2>(3, BatchNormOptions::default())?;
    assert!(says(fuse_conv_bn_eval(&conv, &other).map(drop)).contains("3 output channels"));
    let up = ConvTranspose2d::new(2, 4, 1, ())?;
    assert!(says(fuse_conv_transpose_bn_eval(&up, &other).map(drop)).contains("3 output channels"));
    let other = norm::<1>(3, BatchNormOptions::default())?;
    assert!(says(fuse_linear_bn_eval(&linear()?, &other).map(drop)).contains("linear.out_features == bn.num_features"));
    assert!(fuse_linear_bn_eval(&linear()?, &BatchNorm1d::new(2, ())?).is_err(), "it trains");
    let (two, three) = (Tensor::ones([2], ())?, Tensor::ones([3], ())?);
    let w = Tensor::ones([2, 2, 1], ())?;
    assert!(fuse_conv_bn_weights(&w, None, (&two, &three, 0.0), None, None, false).is_err());
    assert!(fuse_conv_bn_weights(&w, Some(&three), (&two, &two, 0.0), None, None, false).is_err());
    assert!(fuse_conv_bn_weights(&two, None, (&two, &two, 0.0), None, None, false).is_err());
    assert!(fuse_conv_bn_weights(&w, None, (&two, &two, 0.0), Some(&three), None, true).is_err());
    assert!(fuse_linear_bn_weights(&w, None, (&two, &two, 0.0), None, None).is_err());
    assert!(fuse_linear_bn_weights(&Tensor::ones([2, 3], ())?, Some(&three), (&two, &two, 0.0), None, None).is_err());
    Ok(())
}

/// What a kernel leaves behind the elements of a gradient counts in no norm, whenever that was computed.
#[test]
fn a_gradient_that_is_read_before_its_norm() -> Result<()> {
    let _turn = turn();
    for (n, dtype) in [(3, DType::F32), (5, DType::F32), (6, DType::F16), (5, DType::F16)] {
        let w = Parameter::new(&Tensor::zeros([n], dtype)?)?;
        w.tensor().exp()?.sum()?.backward()?;
        let g = w.grad().expect("of a parameter");
        let norm = get_total_norm(std::slice::from_ref(&g), 2.0, false)?;
        assert_eq!(g.to_dtype(DType::F32)?.to_vec::<f32>()?, vec![1.0; n]);
        g.eval()?;
        assert!((norm.item()? - (n as f64).sqrt()).abs() < 1e-3, "{n} of {dtype}");
    }
    Ok(())
}

/// What is written over memory spares what others hold of it.
#[test]
fn a_gradient_that_is_held_is_not_clipped_with_the_rest() -> Result<()> {
    let _turn = turn();
    let weights = (0..2).map(|_| Parameter::new(&Tensor::ones([64], ())?)).collect::<Result<Vec<_>>>()?;
    for w in &weights {
        w.tensor().square()?.mul(2.0)?.sum()?.backward()?;
    }
    clip_grad_value_(&weights, 1.0)?;
    let probe = weights[0].grad().expect("clipped").sum()?;
    let keep = weights[1].grad().expect("clipped").try_clone()?;
    clip_grad_value_(&weights, 0.5)?;
    assert_eq!(probe.item()?, 64.0);
    probe.device().submit()?;
    assert_eq!(keep.to_vec::<f32>()?, [1.0; 64]);
    assert_eq!(weights[1].grad().expect("clipped twice").to_vec::<f32>()?, [0.5; 64]);
    Ok(())
}

#[test]
fn gradients_that_are_parts_of_one_tensor_are_all_clipped() -> Result<()> {
    let _turn = turn();
    let [p, q] = [Parameter::new(&Tensor::zeros([2], ())?)?, Parameter::new(&Tensor::zeros([2], ())?)?];
    let parts = || -> Result<Tensor> {
        let flat = Tensor::new([3.0f32, 4.0, 5.0, 6.0], ())?;
        p.tensor().set_grad(Some(flat.narrow(0, 0, 2)?))?;
        q.tensor().set_grad(Some(flat.narrow(0, 2, 2)?))?;
        Ok(flat)
    };
    let flat = parts()?;
    let both = [p.clone(), q.clone()];
    close("norm", &clip_grad_norm_(&both, 1.0, 2.0, false)?, &[9.273619])?;
    close("scaled", &flat, &[0.3235, 0.431333, 0.539167, 0.647])?;
    let flat = parts()?;
    clip_grad_value_(&both, 4.5)?;
    close("clamped", &flat, &[3.0, 4.0, 4.5, 4.5])?;
    // one that both have counts once
    q.tensor().set_grad(p.grad())?;
    close("shared", &clip_grad_norm_(&both, 1.0, 2.0, false)?, &[5.0])?;
    close("shared", &grad(&q), &[0.6, 0.8])
}

#[test]
fn norms_of_any_order_are_those_of_pytorch() -> Result<()> {
    let _turn = turn();
    let [a, b] = [Tensor::new([1.0f32, 2.0, 3.0], ())?, Tensor::new([0.0f32, -2.0, 3.0], ())?];
    let zeros = Tensor::zeros([2], ())?;
    let want = [
        (f64::NEG_INFINITY, [1.0, 0.0, 1.0, 0.0]),
        (-1.0, [0.272727, 0.0, 0.545455, 0.0]),
        (-2.0, [0.606092, 0.0, 0.857143, 0.0]),
        (0.0, [2.0, 2.0, 1.0, 1.0]),
        (0.5, [68.766, 53.181, 17.1915, 17.1915]),
        (f64::INFINITY, [3.0; 4]),
    ];
    for (order, want) in want {
        let of = |all: &[&Tensor]| get_total_norm(&all.iter().map(|&t| t.clone()).collect::<Vec<_>>(), order, false);
        let got = [of(&[&a, &a])?, of(&[&a, &b])?, of(&[&a])?, of(&[&a, &zeros])?];
        for (got, want) in got.iter().zip(want) {
            close(&format!("order {order}"), got, &[want])?;
        }
    }
    Ok(())
}

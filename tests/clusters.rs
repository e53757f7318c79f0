//! The softmax in clusters against PyTorch's values (`tests/torch/clusters.py`).

use calor::nn::{AdaptiveLogSoftmaxWithLoss, AdaptiveLogSoftmaxWithLossOptions, Module, Parameter};
use calor::{DType, Device, ErrorKind, Result, Tensor, autocast, stack};

fn numbers(shape: &[usize], step: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * step % 23) as f32 - 11.0) / 16.0).collect();
    Tensor::from_slice(&values, shape, ())
}

fn close(what: &str, got: &Tensor, want: &[f32], tolerance: f32) -> Result<()> {
    let got = got.detach().to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: {got:?}, expected {want:?}");
    }
    Ok(())
}

fn make(bias: bool) -> Result<AdaptiveLogSoftmaxWithLoss> {
    let options = AdaptiveLogSoftmaxWithLossOptions::default().div_value(2.0).head_bias(bias);
    let softmax = AdaptiveLogSoftmaxWithLoss::new(8, 12, &[3, 7], options)?;
    for (i, p) in softmax.parameters().iter().enumerate() {
        p.copy_from(&numbers(&p.shape(), 7 + i)?)?;
    }
    Ok(softmax)
}

fn input() -> Result<Tensor> {
    numbers(&[5, 8], 37)? * 4.0
}

fn targets() -> Result<Tensor> {
    Tensor::new([2, 3, 11, 6, 0], ())
}

/// Output, loss, sums over the gradients of parameters and of the input's rows, one row of logarithms, and the classes.
type Case = (bool, [f32; 5], f32, &'static [f32], [f32; 5], [f32; 12], [i32; 5]);

const CASES: [Case; 2] = [
    (
        false,
        [-3.172785, -5.908771, -8.491042, -2.430937, -5.955183],
        5.191744,
        &[0.038741, -0.181963, 0.145693, 0.010953, 0.026106],
        [0.188856, 0.03855, 0.257479, 0.096256, -0.307326],
        [
            -3.330549, -1.627424, -0.283673, -5.908771, -7.345294, -5.794513, -11.678303, -4.827835, -9.467484,
            -9.367874, -9.268265, -9.168655,
        ],
        [0, 2, 2, 4, 6],
    ),
    (
        true,
        [-2.25421, -6.278883, -8.59874, -1.8328, -6.42672],
        5.07827,
        &[0.083246, -0.183755, -0.00395, -0.219733, 0.071334, 0.27631],
        [0.17607, 0.035144, 0.255196, -0.001267, -0.321369],
        [
            -4.217637, -2.014512, -0.170761, -6.278883, -7.097243, -11.666578, -9.205641, -6.260313, -6.523008,
            -6.785704, -7.048399, -7.311094,
        ],
        [0, 2, 2, 4, 11],
    ),
];

#[test]
fn clusters_learn_as_in_pytorch() -> Result<()> {
    for (bias, output, loss, of_parameters, of_x, log, classes) in CASES {
        let softmax = make(bias)?;
        let x = input()?.detach().requires_grad_(true)?;
        let (y, mean) = softmax.forward(&x, &targets()?)?;
        close("output", &y, &output, 1e-5)?;
        close("loss", &mean, &[loss], 1e-5)?;
        mean.backward()?;
        let weighed = |p: &Parameter| (p.grad().expect("a gradient") * numbers(&p.shape(), 13)?)?.sum();
        let sums: Vec<Tensor> = softmax.parameters().iter().map(weighed).collect::<Result<_>>()?;
        close("parameters", &stack(&sums.iter().collect::<Vec<_>>(), 0)?, of_parameters, 1e-5)?;
        let rows = (x.grad().expect("a gradient") * numbers(&[5, 8], 13)?)?.sum_dims(&[1], false)?;
        close("input", &rows, &of_x, 1e-5)?;
        let all = softmax.log_prob(&x)?;
        close("log_prob", &all.select(0, 1)?, &log, 1e-5)?;
        close("forward", &y, &all.gather(1, &targets()?.unsqueeze(1)?)?.detach().to_vec::<f32>()?, 1e-6)?;
        assert_eq!(softmax.predict(&x)?.to_vec::<i32>()?, classes);
        // without a batch
        let (one, target) = (x.select(0, 1)?, Tensor::new(3, ())?);
        let (y, mean) = softmax.forward(&one, &target)?;
        assert_eq!((y.dim(), mean.dim()), (0, 0));
        close("one", &y, &output[1..2], 1e-5)?;
        close("its loss", &mean, &[-output[1]], 1e-5)?;
        close("its log_prob", &softmax.log_prob(&one)?, &log, 1e-5)?;
        assert_eq!(softmax.predict(&one)?.item()?, f64::from(classes[1]));
    }
    Ok(())
}

#[test]
fn sizes_and_cutoffs_are_pytorchs() -> Result<()> {
    let options = AdaptiveLogSoftmaxWithLossOptions::default().div_value(3.0);
    let softmax = AdaptiveLogSoftmaxWithLoss::new(10, 20, &[3, 5, 9], options)?;
    let shapes: Vec<Vec<usize>> = softmax.parameters().iter().map(|p| p.shape().to_vec()).collect();
    assert_eq!(shapes, [[6, 10], [3, 10], [2, 3], [1, 10], [4, 1], [0, 10], [11, 0]]);
    // a cluster of no numbers gives its classes equal shares
    let log = softmax.log_prob(&Tensor::ones([2, 10], ())?)?;
    close("sum", &log.exp()?.sum_dims(&[1], false)?, &[1.0, 1.0], 1e-5)?;
    assert_eq!(log.select(1, 9)?.to_vec::<f32>()?, log.select(1, 19)?.to_vec::<f32>()?);
    let (y, loss) = softmax.forward(&Tensor::zeros([0, 10], ())?, &Tensor::zeros([0], DType::I32)?)?;
    assert!(y.numel() == 0 && loss.item()?.is_nan());
    let new = |cutoffs: &[usize]| AdaptiveLogSoftmaxWithLoss::new(8, 10, cutoffs, ());
    new(&[9])?;
    for cutoffs in [&[][..], &[0, 3], &[3, 3], &[5, 4], &[10], &[3, 11]] {
        let e = new(cutoffs).unwrap_err();
        assert!(e.kind() == ErrorKind::Value && e.to_string().contains("cutoffs should be a sequence"), "{e}");
    }
    for div_value in [0.0, -2.0, f64::NAN, 1e-300] {
        let options = AdaptiveLogSoftmaxWithLossOptions::default().div_value(div_value);
        assert!(AdaptiveLogSoftmaxWithLoss::new(8, 10, &[5], options).is_err(), "{div_value}");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let softmax = make(false)?;
    let x = input()?;
    let says = |x: &Tensor, target: &Tensor| softmax.forward(x, target).map(|_| ()).unwrap_err().to_string();
    assert!(says(&x, &Tensor::zeros([4], DType::I32)?).contains("same size in the batch dimension"));
    assert!(says(&x, &Tensor::zeros([5, 1], DType::I32)?).contains("multi-target not supported"));
    assert!(says(&x, &Tensor::new(3, ())?).contains("0D target tensor expects 1D input"));
    assert!(says(&x.select(0, 0)?, &Tensor::new([3], ())?).contains("1D target tensor expects 2D input"));
    assert!(says(&x, &Tensor::zeros([5], ())?).contains("integer"));
    assert!(says(&Tensor::zeros([5, 7], ())?, &targets()?).contains("[n, 8]"));
    assert!(
        softmax.log_prob(&Tensor::zeros([2, 2, 8], ())?).is_err() && softmax.predict(&Tensor::zeros([], ())?).is_err()
    );
    Ok(())
}

#[test]
fn targets_out_of_range_are_errors_at_the_next_read() -> Result<()> {
    // its errors are its own
    let device = Device::open(&calor::gpu::AdapterChoice::from_env()?)?;
    let softmax = make(false)?;
    softmax.to_device(&device)?;
    let x = input()?.detach().to(&device)?;
    let mut dtypes = vec![DType::I32, DType::U8];
    dtypes.extend(device.supports(DType::I64).then_some(DType::I64));
    for dtype in dtypes {
        let good = targets()?.to(&device)?.to_dtype(dtype)?;
        close("good", &softmax.forward(&x, &good)?.0, &CASES[0].1, 1e-5)?;
        let mut bad = vec![Tensor::new([0, 3, 5, 12, 1], &device)?.to_dtype(dtype)?];
        if dtype != DType::U8 {
            bad.push(Tensor::new([0, 3, -1, 11, 1], &device)?.to_dtype(dtype)?);
        }
        if dtype == DType::I64 {
            bad.push(Tensor::new([0i64, 3, 1 << 32, 11, 1], &device)?);
        }
        for bad in bad {
            let e = softmax.forward(&x, &bad)?.1.item().expect_err("out of range");
            assert_eq!((e.kind(), e.op()), (ErrorKind::Value, "AdaptiveLogSoftmaxWithLoss"), "{e}");
            assert!(e.to_string().contains("Target values should be in [0, 11]"), "{e}");
        }
    }
    Ok(())
}

#[test]
fn half_numbers_and_autocast() -> Result<()> {
    let softmax = make(true)?;
    let (x, target) = (input()?.detach(), targets()?);
    {
        let _half = autocast(DType::F16)?;
        let (y, _) = softmax.forward(&x, &target)?;
        close("autocast", &y, &CASES[1].1, 1e-2)?;
    }
    softmax.to_dtype(DType::F16)?;
    let (y, loss) = softmax.forward(&x.to_dtype(DType::F16)?, &target)?;
    assert_eq!((y.dtype(), loss.dtype()), (DType::F16, DType::F16));
    close("half", &y, &CASES[1].1, 1e-2)?;
    loss.backward()?;
    assert!(softmax.parameters().iter().all(|p| p.grad().is_some_and(|g| g.dtype() == DType::F16)));
    Ok(())
}

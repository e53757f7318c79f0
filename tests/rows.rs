//! Row programs: chains of folds and maps along an axis are one kernel, and give what each operation gives alone.
//!
//! Kernels are counted by the devices, so the tests take turns. Two devices: the adapter as it is, and with kernels as
//! GPUs get them, where invocations share rows.

use calor::gpu::AdapterChoice;
use calor::nn::functional as f;
use calor::nn::functional::{CrossEntropyOptions, Momentum, Reduction};
use calor::{DType, Device, ErrorKind, Result, Tensor, check_fusion};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn devices() -> Result<Vec<Device>> {
    static ALL: OnceLock<Result<Vec<Device>>> = OnceLock::new();
    let open = || {
        let mut choice = AdapterChoice::from_env()?;
        let usual = Device::open(&choice)?;
        choice.disable.push("cpu-kernels".to_owned());
        Ok(vec![usual, Device::open(&choice)?])
    };
    ALL.get_or_init(open).clone()
}

/// Numbers from -1 to 1, the same each time.
fn numbers(shape: &[usize], device: &Device) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_slice(&values, shape, device)
}

/// How many kernels compute `t`.
fn kernels(t: &Tensor) -> Result<u64> {
    let before = t.device().counters().dispatches;
    t.eval()?;
    Ok(t.device().counters().dispatches - before)
}

/// Whether kernels can be as few as elsewhere: an adapter with few bindings needs more.
fn has_bindings(device: &Device) -> bool {
    let most = device.facts().max_bindings;
    if most < 16 {
        println!("kernels are not counted: the adapter has {most} bindings");
    }
    most >= 16
}

/// A function of a tensor along its last dimension.
type Program = fn(&Tensor) -> Result<Tensor>;

const PROGRAMS: [(&str, Program); 10] = [
    ("softmax", |x| x.softmax(-1)),
    ("log_softmax", |x| x.log_softmax(-1)),
    ("logsumexp", |x| x.logsumexp(&[-1], false)),
    ("var", |x| x.var_dims(&[-1], 1.0, false)),
    ("std", |x| x.std_dims(&[-1], 0.0, true)),
    ("layer_norm", |x| {
        let n = *x.shape().last().unwrap_or(&1);
        let (w, b) = (numbers(&[n], x.device())?, numbers(&[n], x.device())?);
        f::layer_norm(x, &[n], Some(&(w + 2.0)?), Some(&b), 1e-5)
    }),
    ("rms_norm", |x| x / ((x * x)?.mean_dims(&[-1], true)? + 1e-6)?.sqrt()?),
    ("normalize", |x| x / (x * x)?.sum_dims(&[-1], true)?.sqrt()?.clamp_min(1e-12)?),
    ("centred twice", |x| {
        let y = (x - x.amax(&[-1], true)?)?;
        let z = (&y / (y.amin(&[-1], true)? - 1.0)?)?;
        &z - z.mean_dims(&[-1], true)?
    }),
    ("of integers", |x| {
        let i = (x * 100.0)?.to_dtype(DType::I32)?;
        &i - i.sum_dims(&[-1], true)?
    }),
];

#[test]
fn each_program_is_one_kernel_forward_and_one_backward() -> Result<()> {
    let _turn = turn();
    for device in devices()?.into_iter().filter(has_bindings) {
        for (name, program) in PROGRAMS {
            let x = numbers(&[48, 100], &device)?;
            x.eval()?;
            // parameters of the norm would be made in a kernel of their own
            let x = if name == "layer_norm" { x } else { x.requires_grad_(true)? };
            let y = match name {
                "layer_norm" => f::layer_norm(&x, &[100], None, None, 1e-5)?,
                _ => program(&x)?,
            };
            assert_eq!(kernels(&y)?, 1, "{name} forward");
            if !y.requires_grad() {
                continue;
            }
            let g = numbers(&y.shape(), &device)?;
            g.eval()?;
            y.backward_with(&g)?;
            assert_eq!(kernels(&x.grad().unwrap())?, 1, "{name} backward");
        }
    }
    Ok(())
}

#[test]
fn rows_of_thousands_of_elements_are_one_kernel() -> Result<()> {
    let _turn = turn();
    for device in devices()?.into_iter().filter(has_bindings) {
        let x = numbers(&[128, 4100], &device)?;
        x.eval()?;
        assert_eq!(kernels(&f::layer_norm(&x, &[4100], None, None, 1e-5)?)?, 1);
        assert_eq!(kernels(&x.softmax(1)?)?, 1);
    }
    Ok(())
}

#[test]
fn layer_norm_with_parameters_gives_its_input_s_gradient_in_one_kernel() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        let (x, w, b) = (numbers(&[48, 100], &device)?, numbers(&[100], &device)?, numbers(&[100], &device)?);
        let g = numbers(&[48, 100], &device)?;
        Tensor::eval_all(&[x.clone(), w.clone(), b.clone(), g.clone()])?;
        let x = x.requires_grad_(true)?;
        let y = f::layer_norm(&x, &[100], Some(&w), Some(&b), 1e-5)?;
        assert_eq!(kernels(&y)?, 1);
        y.backward_with(&g)?;
        assert_eq!(kernels(&x.grad().unwrap())?, 1);
    }
    Ok(())
}

#[test]
fn gradients_of_a_norm_s_parameters_are_summed_together() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        // columns that are summed at once, and columns that are cut
        for n in [48, 1024] {
            let made = [numbers(&[n, 100], &device)?, numbers(&[100], &device)?, numbers(&[100], &device)?];
            let g = numbers(&[n, 100], &device)?;
            let [x, w, b] = made.map(|t| t.requires_grad_(true));
            let (x, w, b) = (x?, w?, b?);
            Tensor::eval_all(&[x.clone(), w.clone(), b.clone(), g.clone()])?;
            let y = f::layer_norm(&x, &[100], Some(&w), Some(&b), 1e-5)?;
            y.eval()?;
            y.backward_with(&g)?;
            let grads: Vec<Tensor> = [&x, &w, &b].into_iter().filter_map(Tensor::grad).collect();
            let before = device.counters().dispatches;
            Tensor::eval_all(&grads)?;
            let count = device.counters().dispatches - before;
            assert_eq!((grads.len(), count <= if n == 48 { 2 } else { 4 }), (3, true), "{n}: {count} kernels");
        }
    }
    Ok(())
}

/// A training step of a batch norm reads its input three times forward: for the mean, for the variance, and for the
/// result; backward twice: for all sums, and for the gradient.
#[test]
fn batch_norm_takes_few_passes() -> Result<()> {
    let _turn = turn();
    for device in devices()?.into_iter().filter(has_bindings) {
        for shape in [vec![4, 24, 24, 24], vec![1024, 64]] {
            let c = shape[1];
            let made = [numbers(&shape, &device)?, numbers(&[c], &device)?, numbers(&[c], &device)?];
            let g = numbers(&shape, &device)?;
            let [x, w, b] = made.map(|t| t.requires_grad_(true));
            let (x, w, b) = (x?, w?, b?);
            Tensor::eval_all(&[x.clone(), w.clone(), b.clone(), g.clone()])?;
            let y = f::batch_norm(&x, None, Some(&w), Some(&b), true, &Momentum::Share(0.1), 1e-5)?;
            let forward = kernels(&y)?;
            y.backward_with(&g)?;
            let grads: Vec<Tensor> = [&x, &w, &b].into_iter().filter_map(Tensor::grad).collect();
            let before = device.counters().dispatches;
            Tensor::eval_all(&grads)?;
            let backward = device.counters().dispatches - before;
            assert_eq!(grads.len(), 3);
            assert!(forward <= 5 && backward <= 3, "{shape:?}: {forward} kernels forward, {backward} backward");
        }
    }
    Ok(())
}

#[test]
fn kernels_that_wait_for_each_other_stay_apart() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        // both fold the rows of `x`; the second one needs what a product made of the first one's result
        let make = || {
            let x = numbers(&[32, 32], &device)?;
            x.eval()?;
            let sums = x.sum_dims(&[1], true)?;
            let turned = x.matmul(&sums)?;
            let after = (&x * &turned)?.amax(&[1], false)?;
            Ok(vec![sums, after, x.amin(&[1], false)?])
        };
        let check = check_fusion(&device, 1e-4, make)?;
        assert!(check.difference.is_none(), "{check}");
    }
    Ok(())
}

#[test]
fn cross_entropy_is_one_kernel_forward_and_one_backward() -> Result<()> {
    let _turn = turn();
    for device in devices()?.into_iter().filter(has_bindings) {
        let t = Tensor::new((0..48).map(|i| if i % 7 == 0 { 3 } else { i % 10 }).collect::<Vec<i32>>(), &device)?;
        let w = (numbers(&[10], &device)? + 2.0)?;
        t.eval()?;
        w.eval()?;
        let options = || CrossEntropyOptions::default().reduction(Reduction::None);
        let mean = || CrossEntropyOptions::default().reduction(Reduction::Mean);
        let all = [
            ("mean", mean()),
            ("mean of all", mean().ignore_index(3).weight(w.clone()).label_smoothing(0.1)),
            ("sum", options().reduction(Reduction::Sum)),
            ("plain", options()),
            ("ignoring", options().ignore_index(3)),
            ("weighted", options().weight(w.clone())),
            ("smooth", options().label_smoothing(0.1)),
            ("all", options().ignore_index(3).weight(w.clone()).label_smoothing(0.1)),
        ];
        for (name, options) in all {
            let x = numbers(&[48, 10], &device)?;
            let x = x.requires_grad_(true)?;
            let y = f::cross_entropy(&x, &t, options)?;
            let g = numbers(&y.shape(), &device)?;
            Tensor::eval_all(&[x.detach(), g.clone()])?;
            assert_eq!(kernels(&y)?, 1, "{name} forward");
            y.backward_with(&g)?;
            assert_eq!(kernels(&x.grad().unwrap())?, 1, "{name} backward");
        }
    }
    Ok(())
}

#[test]
fn fused_is_as_alone_for_all_shapes() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        for (name, program) in PROGRAMS {
            for (shape, dtype) in [
                (&[5][..], DType::F32),
                (&[3, 2], DType::BF16),
                (&[17, 3], DType::F32),
                (&[9, 64], DType::F16),
                (&[2, 3, 100], DType::F32),
                (&[4, 1025], DType::F16),
                (&[70, 66], DType::F32),
                (&[2, 1, 4], DType::F16),
            ] {
                let check = check_fusion(&device, 2e-5, || {
                    let x = numbers(shape, &device)?.to_dtype(dtype)?;
                    Ok(vec![program(&x)?])
                })?;
                assert!(check.difference.is_none(), "{name} of {shape:?} {dtype}: {check}");
            }
        }
    }
    Ok(())
}

#[test]
fn fused_is_as_alone_along_every_dimension() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        for shape in [[3, 5, 4], [2, 9, 7], [1, 30, 12]] {
            for d in 0..3 {
                let check = check_fusion(&device, 2e-5, || {
                    let x = numbers(&shape, &device)?;
                    let t = x.transpose(0, 2)?;
                    let y = (&x - x.mean_dims(&[d], true)?)?;
                    let scale = (&y * &y)?.sum_dims(&[d], true)?;
                    let rows = (&scale + 1.0)?.sqrt()?;
                    Ok(vec![
                        x.softmax(d)?,
                        t.softmax(d)?,
                        (&t * 2.0)?.log_softmax(d)?,
                        x.softmax(d)?.to_dtype(DType::F16)?,
                        // rows and elements that are both asked for
                        (&y / &rows)?,
                        rows,
                        scale,
                        y,
                        // read at places of other rows, which no kernel of rows can know
                        x.softmax(d)?.flip(&[0])?.cumsum(d)?,
                        (x.softmax(d)? + x.softmax(d)?.flip(&[2])?)?,
                    ])
                })?;
                assert!(check.difference.is_none(), "{shape:?} along {d}: {check}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_mean_over_rows_is_as_alone() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        for (rows, length) in [(2, 2), (3, 5), (64, 10), (65, 12), (300, 7), (128, 128), (129, 130)] {
            let check = check_fusion(&device, 2e-5, || {
                let x = numbers(&[rows, length], &device)?;
                let log = x.log_softmax(1)?;
                let columns = (&x * 3.0)?.logsumexp(&[0], false)?;
                let rows = x.logsumexp(&[1], false)?;
                Ok(vec![
                    log.amax(&[1], false)?.mean()?,
                    log,
                    columns.sum()?,
                    (columns.amax(&[0], false)? - columns.amin(&[0], false)?)?,
                    columns,
                    // what reads the total row by row needs a kernel of its own
                    (&rows - rows.mean()?)?,
                ])
            })?;
            assert!(check.difference.is_none(), "{rows} rows of {length}: {check}");
        }
    }
    Ok(())
}

#[test]
fn softmax_is_right() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        for (rows, length) in [(1usize, 2usize), (3, 5), (8, 64), (33, 130)] {
            let x = (numbers(&[rows, length], &device)? * 30.0)?;
            let host = x.to_vec::<f32>()?;
            let y = x.softmax(1)?.to_vec::<f32>()?;
            for (x, y) in host.chunks(length).zip(y.chunks(length)) {
                let most = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v.into()));
                let e: Vec<f64> = x.iter().map(|&v| (f64::from(v) - most).exp()).collect();
                let sum: f64 = e.iter().sum();
                for (e, &y) in e.iter().zip(y) {
                    assert!((e / sum - f64::from(y)).abs() < 1e-6, "{} and {y}", e / sum);
                }
            }
        }
        let odd =
            Tensor::new([[f32::INFINITY, 0.0], [f32::NEG_INFINITY, f32::NEG_INFINITY], [f32::NAN, 1.0]], &device)?;
        assert!(odd.softmax(1)?.to_vec::<f32>()?[2..].iter().all(|v| v.is_nan()));
        let masked = Tensor::new([[f32::NEG_INFINITY, 0.0, 0.0]], &device)?;
        assert_eq!(masked.softmax(1)?.to_vec::<f32>()?, [0.0, 0.5, 0.5]);
    }
    Ok(())
}

/// What all elements of a gradient have in common must cancel: weights sum to 1 only as far as rounding goes.
#[test]
fn gradient_of_softmax_is_right_far_from_zero() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        let x = numbers(&[4, 24], &device)?.requires_grad_(true)?;
        let g = (numbers(&[4, 24], &device)? + 1000.0)?;
        let y = x.softmax(1)?;
        y.backward_with(&g)?;
        let (y, g) = (y.to_vec::<f32>()?, g.to_vec::<f32>()?);
        let got = x.grad().expect("a gradient").to_vec::<f32>()?;
        let exact = |x: &f32| f64::from(*x);
        for ((y, g), got) in y.chunks(24).zip(g.chunks(24)).zip(got.chunks(24)) {
            let sum: f64 = y.iter().map(exact).sum();
            let mean = y.iter().zip(g).map(|(y, g)| exact(y) * exact(g)).sum::<f64>() / sum;
            for ((y, g), &got) in y.iter().zip(g).zip(got) {
                let want = exact(y) * (exact(g) - mean);
                assert!((want - f64::from(got)).abs() < 1e-6, "{got}, expected {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn many_folds_take_several_kernels() -> Result<()> {
    let _turn = turn();
    let device = &devices()?[0];
    let chain = || {
        let mut x = numbers(&[20, 30], device)?;
        for _ in 0..15 {
            x = (f::layer_norm(&x, &[30], None, None, 1e-5)? + 0.5)?;
        }
        Ok(vec![x])
    };
    let x = &chain()?[0];
    let count = kernels(x)?;
    assert!((4..15).contains(&count), "{count} kernels");
    let check = check_fusion(device, 1e-4, chain)?;
    assert!(check.difference.is_none(), "{check}");
    Ok(())
}

#[test]
fn long_rows_are_walked_in_parts() -> Result<()> {
    let _turn = turn();
    for device in devices()? {
        for (shape, d) in [(vec![2, 70_000], 1), (vec![70_000, 3], 0), (vec![1, 20_011, 4], 1)] {
            let x = numbers(&shape, &device)?;
            let sum = x.softmax(d)?.sum_dims(&[d], false)?.to_vec::<f32>()?;
            assert!(sum.iter().all(|s| (s - 1.0).abs() < 1e-3), "{shape:?}: {sum:?}");
        }
    }
    Ok(())
}

#[test]
fn a_class_out_of_range_is_reported() -> Result<()> {
    let _turn = turn();
    let device = Device::open(&AdapterChoice::from_env()?)?;
    let x = numbers(&[5, 4], &device)?;
    let t = Tensor::new([0, 1, 9, 3, 0], &device)?;
    let loss = f::cross_entropy(&x, &t, CrossEntropyOptions::default().reduction(Reduction::None))?;
    assert_eq!(loss.to_vec::<f32>().unwrap_err().kind(), ErrorKind::Index);
    Ok(())
}

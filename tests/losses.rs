//! Losses against numbers worked out by their definition.

use calor::autograd::gradcheck;
use calor::gpu::AdapterChoice;
use calor::nn::functional::{self as f, BceOptions, CrossEntropyOptions, NllOptions, Reduction};
use calor::nn::{BCEWithLogitsLoss, CrossEntropyLoss, KLDivLoss, Module, NLLLoss};
use calor::{DType, Device, ErrorKind, Result, Tensor};

const SCORES: [[f32; 3]; 4] = [[0.5, -1.0, 2.0], [0.0, 0.25, 0.5], [3.0, 1.0, -2.0], [-0.5, 0.5, 1.5]];
const TARGETS: [i32; 4] = [2, 0, 1, -100];
const WEIGHTS: [f64; 3] = [0.5, 1.0, 2.0];

/// Logarithms of probabilities.
fn logs() -> Vec<[f64; 3]> {
    let row = |r: &[f32; 3]| {
        let sum: f64 = r.iter().map(|&x| f64::from(x).exp()).sum();
        r.map(|x| f64::from(x) - sum.ln())
    };
    SCORES.iter().map(row).collect()
}

fn close(got: &Tensor, want: f64) -> Result<()> {
    let got = got.to_dtype(DType::F32)?.item()?;
    assert!((got - want).abs() < 1e-5, "{got}, want {want}");
    Ok(())
}

fn pairs() -> impl Iterator<Item = ([f64; 3], usize)> {
    logs().into_iter().zip(TARGETS).filter(|(_, t)| *t >= 0).map(|(l, t)| (l, t as usize))
}

#[test]
fn cross_entropy_with_all_its_options() -> Result<()> {
    let (x, y) = (Tensor::new(SCORES, ())?, Tensor::new(TARGETS, ())?);
    let w = Tensor::new(WEIGHTS.map(|w| w as f32), ())?;
    let plain: f64 = pairs().map(|(l, t)| -l[t]).sum();
    close(&f::cross_entropy(&x, &y, ())?, plain / 3.0)?;
    close(&f::cross_entropy(&x, &y, CrossEntropyOptions::default().reduction(Reduction::Sum))?, plain)?;
    let each = f::cross_entropy(&x, &y, CrossEntropyOptions::default().reduction(Reduction::None))?.to_vec::<f32>()?;
    assert_eq!((each.len(), each[3]), (4, 0.0));

    let (weighted, all): (f64, f64) =
        pairs().fold((0.0, 0.0), |(s, n), (l, t)| (s - WEIGHTS[t] * l[t], n + WEIGHTS[t]));
    let options = CrossEntropyOptions::default().weight(w.clone());
    close(&f::cross_entropy(&x, &y, options.clone())?, weighted / all)?;
    let smooth: f64 = pairs().map(|(l, _)| -(0..3).map(|c| WEIGHTS[c] * l[c]).sum::<f64>()).sum();
    close(&f::cross_entropy(&x, &y, options.label_smoothing(0.2))?, (0.8 * weighted + 0.2 / 3.0 * smooth) / all)?;

    let module = CrossEntropyLoss::new(CrossEntropyOptions::default().weight(w));
    close(&module.forward(&x, &y)?, weighted / all)?;
    assert_eq!(module.state_dict().names().collect::<Vec<_>>(), ["weight"]);

    // one sample without a batch, more dimensions, probabilities
    close(&f::cross_entropy(&x.select(0, 0)?, &Tensor::new(2, ())?, ())?, -logs()[0][2])?;
    let deep = x.t()?.unsqueeze(0)?;
    close(&f::cross_entropy(&deep, &y.unsqueeze(0)?, ())?, plain / 3.0)?;
    let p = Tensor::new([[0.2f32, 0.3, 0.5]], ())?.expand([4, 3])?;
    let want: f64 = logs().iter().map(|l| -(0.2 * l[0] + 0.3 * l[1] + 0.5 * l[2])).sum::<f64>() / 4.0;
    close(&f::cross_entropy(&x, &p, ())?, want)?;
    Ok(())
}

#[test]
fn gradients_of_losses() -> Result<()> {
    let x = Tensor::new(SCORES, ())?.requires_grad_(true)?;
    let y = Tensor::new(TARGETS, ())?;
    let w = Tensor::new(WEIGHTS.map(|w| w as f32), ())?;
    gradcheck(|t| f::cross_entropy(&t[0], &y, ()), &[&x], None)?;
    let options = CrossEntropyOptions::default().weight(w.clone()).label_smoothing(0.3);
    gradcheck(|t| f::cross_entropy(&t[0], &y, options.clone()), &[&x], None)?;
    gradcheck(|t| f::nll_loss(&t[0], &y, NllOptions::default().weight(w.clone())), &[&x], None)?;
    let z = Tensor::new([[0.0f32, 1.0, 0.5]], ())?.expand([4, 3])?;
    let options = BceOptions::default().pos_weight(w.clone()).weight(w);
    gradcheck(|t| f::binary_cross_entropy_with_logits(&t[0], &z, options.clone()), &[&x], None)?;
    gradcheck(|t| f::mse_loss(&t[0], &z, Reduction::Sum), &[&x], None)?;
    Ok(())
}

#[test]
fn nll_loss_picks_the_target() -> Result<()> {
    let log = Tensor::new(logs().iter().map(|l| l.map(|v| v as f32)).collect::<Vec<_>>(), ())?;
    let y = Tensor::new(TARGETS, ())?;
    let plain: f64 = pairs().map(|(l, t)| -l[t]).sum();
    close(&NLLLoss::new(()).forward(&log, &y)?, plain / 3.0)?;
    Ok(())
}

#[test]
fn binary_cross_entropy_does_not_overflow() -> Result<()> {
    let (x, y) = (Tensor::new([100.0f32, -100.0, 0.0, 2.0], ())?, Tensor::new([0.0f32, 1.0, 0.5, 1.0], ())?);
    let options = BceOptions::default().reduction(Reduction::None);
    let loss = f::binary_cross_entropy_with_logits(&x, &y, options)?.to_vec::<f32>()?;
    let want = [100.0, 100.0, 2f32.ln(), (1.0 + (-2f32).exp()).ln()];
    assert!(loss.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{loss:?}");
    let weighted = BCEWithLogitsLoss::new(BceOptions::default().pos_weight(Tensor::new([3.0f32], ())?));
    let want = (100.0 + 300.0 + 2f64.ln() * 2.0 + 3.0 * f64::from((1.0 + (-2f32).exp()).ln())) / 4.0;
    close(&weighted.forward(&x, &y)?, want)?;
    assert!(f::binary_cross_entropy_with_logits(&x, &y.unsqueeze(0)?, ()).is_err());
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let x = Tensor::new(SCORES, ())?;
    let shape = f::cross_entropy(&x, &Tensor::new([1, 2], ())?, ()).map(|_| ()).unwrap_err();
    assert_eq!(shape.kind(), ErrorKind::Shape);
    let dtype = f::nll_loss(&x, &Tensor::new([1.0f32, 2.0, 0.0, 1.0], ())?, ()).map(|_| ()).unwrap_err();
    assert_eq!(dtype.kind(), ErrorKind::DType);
    let weight = CrossEntropyOptions::default().weight(Tensor::new([1.0f32], ())?);
    assert!(f::cross_entropy(&x, &Tensor::new(TARGETS, ())?, weight).is_err());
    // only the device knows the classes; one of its own, since whoever waits for it first gets the error
    let device = Device::open(&AdapterChoice::from_env()?)?;
    let far = f::cross_entropy(&Tensor::new(SCORES, &device)?, &Tensor::new([0, 1, 2, 3], &device)?, ())?;
    assert_eq!(far.item().unwrap_err().kind(), ErrorKind::Index);
    Ok(())
}

#[test]
fn shapes_and_ranges_of_targets() -> Result<()> {
    let x = Tensor::new([0.0f32; 5], ())?;
    for target in [Tensor::new([1i32], ())?, Tensor::new(1, ())?] {
        let loss = f::multi_margin_loss(&x, &target, 1, 1.0, None, Reduction::None)?;
        assert_eq!((loss.shape(), loss.item()? as f32), (target.shape(), 0.8));
    }
    let device = Device::open(&AdapterChoice::from_env()?)?;
    for wrong in [-0.5f32, 2.0, f32::NAN] {
        let (x, target) = (Tensor::new([0.5f32], &device)?, Tensor::new([wrong], &device)?);
        let loss = f::binary_cross_entropy(&x, &target, None, Reduction::Mean)?;
        let told = loss.item().expect_err("a target out of range");
        assert!(told.kind() == ErrorKind::Value && told.to_string().contains("of target"), "{told}");
    }
    Ok(())
}

#[test]
fn ignored_targets_poison_nothing() -> Result<()> {
    let x = Tensor::new([[f32::NEG_INFINITY, 0.0], [1.0, 2.0]], ())?.requires_grad_(true)?;
    let loss = f::cross_entropy(&x, &Tensor::new([-100, 1], ())?, ())?;
    close(&loss, (1.0 + (-1f64).exp()).ln())?;
    loss.backward()?;
    let g = x.grad().expect("a gradient").to_vec::<f32>()?;
    assert!(g[..2] == [0.0, 0.0] && (g[2] + g[3]).abs() < 1e-6 && g[2] > 0.2, "{g:?}");
    // a mean over nothing is no number, and has no gradient
    let x = Tensor::new([-1.0f32, -2.0], ())?.requires_grad_(true)?;
    let loss = f::nll_loss(&x, &Tensor::new(1, ())?, NllOptions::default().ignore_index(1))?;
    assert!(loss.item()?.is_nan());
    loss.backward()?;
    assert_eq!(x.grad().expect("a gradient").to_vec::<f32>()?, [0.0, 0.0]);
    // the weight of a class is a factor: 0 times infinity
    let x = Tensor::new([[f32::NEG_INFINITY, 0.0]], ())?;
    let options = NllOptions::default().weight(Tensor::new([0.0f32, 1.0], ())?).reduction(Reduction::Sum);
    assert!(f::nll_loss(&x, &Tensor::new([0], ())?, options)?.item()?.is_nan());
    Ok(())
}

#[test]
fn smoothing_counts_samples_whose_class_weighs_nothing() -> Result<()> {
    let x = Tensor::new([[0.5f32, -1.0, 2.0], [0.0, 0.25, 0.5]], ())?;
    let weight = Tensor::new([0.0f32, 1.0, 1.0], ())?;
    let options = CrossEntropyOptions::default().weight(weight).label_smoothing(0.3);
    close(&f::cross_entropy(&x, &Tensor::new([0, 1], ())?, options)?, 1.330_666_5)
}

#[test]
fn binary_cross_entropy_has_gradients_at_both_ends() -> Result<()> {
    let x = Tensor::new([0.0f32, 1.0, 1.0, 0.0], ())?.requires_grad_(true)?;
    let y = Tensor::new([0.0f32, 1.0, 0.0, 1.0], ())?;
    let loss = f::binary_cross_entropy(&x, &y, None, Reduction::Sum)?;
    close(&loss, 200.0)?;
    loss.backward()?;
    assert_eq!(x.grad().expect("a gradient").to_vec::<f32>()?, [0.0, 0.0, 1e12, -1e12]);
    let leaf = |x: [f64; 2]| Tensor::new(x, ())?.requires_grad_(true);
    let (x, y) = (leaf([0.25, 0.5])?, leaf([0.75, 0.1])?);
    gradcheck(|i| f::binary_cross_entropy(&i[0], &i[1], None, Reduction::Mean), &[&x, &y], None)
}

#[test]
fn variances_may_be_one_along_any_dimension() -> Result<()> {
    // whoever reads next is told of a bad value: nobody else may read from this device
    let own = &Device::open(&AdapterChoice::from_env()?)?;
    let (x, y) = (Tensor::ones([2, 3], own)?, Tensor::zeros([2, 3], own)?);
    let loss = |var: &Tensor| f::gaussian_nll_loss(&x, &y, var, false, 1e-6, Reduction::Mean);
    close(&loss(&Tensor::new([[0.5f32, 1.0, 2.0]], own)?)?, 3.5 / 6.0)?;
    close(&loss(&Tensor::new([[0.5f32], [2.0]], own)?)?, 0.625)?;
    assert!(loss(&Tensor::ones([1, 1], own)?).is_err());
    assert!(loss(&Tensor::full([], f64::NAN, own)?)?.item()?.is_nan(), "NaN is not negative");
    assert_eq!(loss(&Tensor::new([[0.5f32, -1.0, 2.0]], own)?)?.item().map_err(|e| e.kind()), Err(ErrorKind::Value));
    Ok(())
}

#[test]
fn kl_divergence_of_a_number_is_divided_by_nothing() -> Result<()> {
    let loss = KLDivLoss::new().batch_mean(true).forward(&Tensor::new(-1.0f32, ())?, &Tensor::new(0.5f32, ())?)?;
    close(&loss, 0.5 * 0.5f64.ln() + 0.5)
}

/// PyTorch's gradients, and on its GPUs its mean: more targets than `f16` holds are counted in `f32`.
#[test]
fn far_targets_and_many_of_them() -> Result<()> {
    let inf = f32::INFINITY;
    for loss in [
        |x: &Tensor, y: &Tensor| f::smooth_l1_loss(x, y, 1.0, Reduction::Sum),
        |x: &Tensor, y: &Tensor| f::huber_loss(x, y, 1.0, None, Reduction::Sum),
    ] {
        let x = Tensor::new([inf, -inf, f32::NAN, 0.5, -2.0], ())?.requires_grad_(true)?;
        loss(&x, &Tensor::zeros([5], ())?)?.backward()?;
        let g = x.grad().expect("a gradient").to_vec::<f32>()?;
        assert!(g[..2] == [1.0, -1.0] && g[2].is_nan() && g[3..] == [0.5, -1.0], "{g:?}");
    }
    let x = Tensor::zeros([70_000, 2], DType::F16)?.requires_grad_(true)?;
    let loss = f::cross_entropy(&x, &Tensor::zeros([70_000], DType::I32)?, ())?;
    assert_eq!(loss.dtype(), DType::F16);
    close(&(loss.to_dtype(DType::F32)? * 1.0)?, 0.693_359_375)?;
    loss.backward()?;
    // -1/2 and 1/2 of 1 / 70000, in halves
    let g = x.grad().expect("a gradient").to_dtype(DType::F32)?;
    assert_eq!(g.select(0, 69_999)?.to_vec::<f32>()?, [-7.152_557_4e-6, 7.152_557_4e-6]);
    Ok(())
}

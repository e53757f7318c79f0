//! The backward pass by PyTorch's rules: accumulation, hooks, refusals, higher derivatives, checkpoints.

use calor::autograd::{self, Backward, Context, Function, GradCheck, checkpoint, gradcheck, gradgradcheck};
use calor::{DType, Device, Error, ErrorKind, Result, Tensor, detect_anomaly, enable_grad, no_grad};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn leaf(values: &[f32]) -> Result<Tensor> {
    Tensor::from_slice(values, [values.len()], ())?.requires_grad_(true)
}

fn grad_of(t: &Tensor) -> Result<Vec<f32>> {
    match t.grad() {
        Some(g) => g.to_vec(),
        None => Err(Error::new(ErrorKind::Autograd, "test", "no gradient")),
    }
}

fn refused(result: Result<impl Sized>, kind: ErrorKind, text: &str) {
    match result {
        Ok(_) => panic!("expected a refusal with {text:?}"),
        Err(e) => {
            assert_eq!(e.kind(), kind, "{e}");
            assert!(e.to_string().contains(text), "{e}");
        }
    }
}

/// A gradient that is one number for all elements can still be changed in place, as whoever clips it does.
#[test]
fn gradients_of_leaves_can_be_written_to() -> calor::Result<()> {
    let x = calor::Tensor::ones([3], ())?.requires_grad_(true)?;
    for round in 1..=2 {
        x.sum()?.backward()?;
        let g = x.grad().expect("a gradient");
        g.mul_(2.0)?;
        assert_eq!(g.to_vec::<f32>()?, [[2.0; 3], [6.0; 3]][round - 1]);
    }
    Ok(())
}

#[test]
fn leaves_accumulate() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    for _ in 0..3 {
        x.square()?.sum()?.backward()?;
    }
    assert_eq!(grad_of(&x)?, [6.0, 12.0]);
    x.set_grad(None)?;
    (&x * 5.0)?.backward_with(&Tensor::new([1.0f32, 10.0], ())?)?;
    assert_eq!(grad_of(&x)?, [5.0, 50.0]);
    Ok(())
}

#[test]
fn one_tensor_used_often() -> Result<()> {
    let x = leaf(&[3.0])?;
    let y = ((&x * &x)? * &x)?;
    (&y + &x)?.backward()?;
    assert_eq!(grad_of(&x)?, [28.0]);
    Ok(())
}

#[test]
fn higher_derivatives() -> Result<()> {
    let x = leaf(&[2.0])?;
    let mut y = x.pow(5)?;
    for want in [80.0, 160.0, 240.0, 240.0, 120.0] {
        let g = Backward::new().create_graph(true).grad(&[&y], &[&x], &[None])?;
        y = g.into_iter().next().flatten().expect("a gradient");
        assert!((y.item()? - want).abs() < 1e-2, "{} {want}", y.item()?);
    }
    Ok(())
}

#[test]
fn grad_leaves_the_leaves_alone() -> Result<()> {
    let (x, w) = (leaf(&[1.0, 2.0])?, leaf(&[3.0, 4.0])?);
    let h = (&x * &w)?;
    let y = h.square()?.sum()?;
    let found = Backward::new().retain_graph(true).grad(&[&y], &[&h, &w], &[None])?;
    let found: Vec<Tensor> = found.into_iter().flatten().collect();
    assert_eq!(found[0].to_vec::<f32>()?, [6.0, 16.0]);
    assert_eq!(found[1].to_vec::<f32>()?, [6.0, 32.0]);
    assert!(x.grad().is_none() && w.grad().is_none());
    let unused = leaf(&[1.0])?;
    let y = h.sum()?;
    refused(autograd::grad(&[&y], &[&unused]), ErrorKind::Autograd, "not have been used in the graph");
    let found = Backward::new().allow_unused(true).grad(&[&h.sum()?], &[&unused, &x], &[None])?;
    assert!(found[0].is_none() && found[1].is_some());
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    refused(
        Tensor::ones([1], ())?.backward(),
        ErrorKind::Autograd,
        "does not require grad and does not have a grad_fn",
    );
    refused((&x * 2.0)?.backward(), ErrorKind::Autograd, "grad can be implicitly created only for scalar outputs");
    let wrong = Tensor::ones([3], ())?;
    refused((&x * 2.0)?.backward_with(&wrong), ErrorKind::Shape, "mismatch in shape");
    let y = x.exp()?.sum()?;
    y.backward()?;
    refused(y.backward(), ErrorKind::Autograd, "a second time");
    let y = x.exp()?.sum()?;
    Backward::new().retain_graph(true).run(&[&y], &[None])?;
    y.backward()?;
    refused(Tensor::zeros([2], DType::I32)?.requires_grad_(true), ErrorKind::Autograd, "floating point");
    refused((&x * 2.0)?.requires_grad_(false), ErrorKind::Autograd, "leaf variables");
    refused(x.add_(1.0), ErrorKind::Autograd, "a leaf Variable that requires grad");
    refused(x.narrow(0, 0, 1)?.add_(1.0), ErrorKind::Autograd, "a view of a leaf");
    no_grad(|| x.add_(1.0))?;
    assert_eq!(x.to_vec::<f32>()?, [2.0, 3.0]);
    refused(x.detach().retain_grad(), ErrorKind::Autograd, "does not require one");
    Ok(())
}

#[test]
fn a_saved_value_must_not_change() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    let h = (&x * 1.0)?;
    let y = h.square()?.sum()?;
    h.add_(1.0)?;
    refused(y.backward(), ErrorKind::Autograd, "modified by an inplace operation");
    // what was not saved may change
    let h = (&x * 1.0)?;
    let y = (&h + 3.0)?;
    h.mul_(7.0)?;
    y.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [1.0, 1.0]);
    // through a view of what was saved
    let h = (&x * 1.0)?;
    let y = h.exp()?.mul(&h)?.sum()?;
    h.narrow(0, 1, 1)?.mul_(0.0)?;
    refused(y.backward(), ErrorKind::Autograd, "version 1");
    Ok(())
}

#[test]
fn writes_through_views_have_gradients() -> Result<()> {
    let (x, w) = (leaf(&[1.0, 2.0, 3.0])?, leaf(&[10.0])?);
    let h = (&x * 2.0)?;
    h.narrow(0, 1, 1)?.mul_(&w)?;
    let late = h.narrow(0, 0, 2)?;
    (h.sum()? + late.sum()?)?.backward()?;
    assert_eq!(grad_of(&x)?, [4.0, 40.0, 2.0]);
    assert_eq!(grad_of(&w)?, [8.0]);
    Ok(())
}

#[test]
fn modes() -> Result<()> {
    let x = leaf(&[1.0])?;
    let y = no_grad(|| -> Result<Tensor> {
        assert!(!calor::is_grad_enabled());
        assert!(!(&x * 2.0)?.requires_grad());
        enable_grad(|| &x * 3.0)
    })?;
    assert!(y.requires_grad() && calor::is_grad_enabled());
    let d = y.detach();
    assert!(!d.requires_grad() && d.shares_storage(&y));
    let own = y.try_clone()?;
    assert!(own.requires_grad() && !own.shares_storage(&y));
    y.detach_()?;
    assert!(!y.requires_grad() && y.is_leaf());
    own.backward()?;
    assert_eq!(grad_of(&x)?, [3.0]);
    Ok(())
}

#[test]
fn hooks_and_retained_gradients() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let double = x.register_hook(move |g| {
        seen.fetch_add(1, Ordering::Relaxed);
        Ok(Some((g * 2.0)?))
    })?;
    let h = (&x * 3.0)?;
    h.retain_grad()?;
    let add = h.register_hook(|g| Ok(Some((g + 1.0)?)))?;
    h.sum()?.backward()?;
    assert_eq!(grad_of(&h)?, [2.0, 2.0]);
    assert_eq!(grad_of(&x)?, [12.0, 12.0]);
    h.remove_hook(add);
    x.remove_hook(double);
    x.set_grad(None)?;
    (&x * 3.0)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [3.0, 3.0]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let failing = (&x * 3.0)?;
    failing.register_hook(|_| Err(Error::new(ErrorKind::Value, "hook", "no")))?;
    refused(failing.sum()?.backward(), ErrorKind::Value, "no");
    Ok(())
}

#[test]
fn checkpoints_recompute() -> Result<()> {
    let (x, w) = (leaf(&[0.3, 0.7])?, leaf(&[2.0, -1.0])?);
    let f = |t: &[Tensor]| t[0].mul(&t[1])?.exp()?.sin();
    f(&[x.clone(), w.clone()])?.sum()?.backward()?;
    let want = (grad_of(&x)?, grad_of(&w)?);
    x.set_grad(None)?;
    w.set_grad(None)?;
    checkpoint(f, &[&x, &w])?.sum()?.backward()?;
    assert_eq!((grad_of(&x)?, grad_of(&w)?), want);
    Ok(())
}

#[test]
fn anomalies_name_the_operation() -> Result<()> {
    let _mode = detect_anomaly();
    let x = leaf(&[-1.0])?;
    let y = x.sqrt()?.sum()?;
    match y.backward() {
        Err(e) => assert!(e.to_string().contains("sqrt") && e.to_string().contains("nan"), "{e}"),
        Ok(()) => panic!("NaN passed"),
    }
    Ok(())
}

#[test]
fn gradcheck_finds_wrong_gradients() -> Result<()> {
    let x = Tensor::new([0.4f32, 1.3, 2.1], ())?.requires_grad_(true)?;
    gradcheck(|t| t[0].sin()?.mul(&t[0].exp()?), &[&x], None)?;
    gradgradcheck(|t| t[0].sin()?.mul(&t[0]), &[&x], None)?;
    let wrong = |t: &[Tensor]| t[0].mul(t[0].detach());
    refused(gradcheck(wrong, &[&x], None), ErrorKind::Autograd, "jacobian mismatch");
    let second = |t: &[Tensor]| Ok(vec![t[0].sin()?, wrong(t)?]);
    refused(gradcheck(second, &[&x], None), ErrorKind::Autograd, "output 1 with respect to input 0");
    // a function without a gradient has to be flat
    gradcheck(|t| t[0].detach().floor(), &[&x], None)?;
    refused(gradcheck(|t| t[0].detach().sin(), &[&x], None), ErrorKind::Autograd, "analytical 0");
    let bent = |t: &[Tensor]| t[0].square()?.mul(t[0].detach());
    refused(gradgradcheck(bent, &[&x], None), ErrorKind::Autograd, "jacobian mismatch");
    let fast = Some(GradCheck { fast_mode: true, ..GradCheck::for_dtype(DType::F32) });
    gradcheck(|t| t[0].sin()?.mul(&t[0].exp()?), &[&x], fast)?;
    let untouched = Tensor::new([1.5f32], ())?.requires_grad_(true)?;
    refused(gradcheck(|t| wrong(&t[1..]), &[&untouched, &x], fast), ErrorKind::Autograd, "input 1 in one direction");
    if Device::best()?.supports(DType::F64) {
        let x = Tensor::new([0.4f64, 1.3], ())?.requires_grad_(true)?;
        gradcheck(|t| t[0].tanh()?.div(&t[0]), &[&x], Some(GradCheck::for_dtype(DType::F64)))?;
    }
    Ok(())
}

#[test]
fn long_histories_are_walked_and_dropped() -> Result<()> {
    let x = leaf(&[1.0])?;
    let mut y = x.clone();
    for _ in 0..20_000 {
        y = (&y + 1.0)?;
    }
    y.backward()?;
    assert_eq!(grad_of(&x)?, [1.0]);
    let mut y = x.clone();
    for _ in 0..20_000 {
        y = (&y + 1.0)?;
    }
    assert!(y.requires_grad());
    drop(y);
    Ok(())
}

#[test]
fn gradients_are_summed_over_broadcasts_and_keep_dtypes() -> Result<()> {
    let x = Tensor::ones([2, 1], DType::F16)?.requires_grad_(true)?;
    let y = Tensor::ones([3], DType::F32)?.requires_grad_(true)?;
    (&x * &y)?.sum()?.backward()?;
    let (gx, gy) = (x.grad().expect("x"), y.grad().expect("y"));
    assert_eq!((gx.dtype(), &gx.shape()[..]), (DType::F16, &[2, 1][..]));
    assert_eq!((gy.dtype(), &gy.shape()[..]), (DType::F32, &[3][..]));
    assert_eq!(gy.to_vec::<f32>()?, [2.0; 3]);
    Ok(())
}

#[test]
fn what_keeps_no_values_is_walked_again() -> Result<()> {
    // as in PyTorch: views and sums have nothing to free
    let w = leaf(&[1.0, 2.0])?;
    let shared = w.unsqueeze(0)?.expand([3, 2])?;
    shared.sum()?.backward()?;
    shared.tanh()?.sum()?.backward()?;
    shared.sum()?.backward()?;
    let slope = |x: f32| 6.0 + 3.0 * (1.0 - x.tanh().powi(2));
    for (got, x) in grad_of(&w)?.iter().zip([1.0, 2.0]) {
        assert!((got - slope(x)).abs() < 1e-5, "{got} at {x}");
    }
    let squared = w.square()?;
    squared.sum()?.backward()?;
    refused(squared.sum()?.backward(), ErrorKind::Autograd, "a second time");
    Ok(())
}

#[test]
fn limits_share_gradients_as_in_pytorch() -> Result<()> {
    let x = leaf(&[-1.0, 0.0, 0.5, 1.0, 2.0])?;
    x.clamp(0.0, 1.0)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [0.0, 0.0, 1.0, 0.0, 0.0]);
    for (t, want) in [(x.clamp_min(0.5)?, [0.0, 0.0, 0.0, 1.0, 1.0]), (x.clamp_max(0.5)?, [1.0, 1.0, 0.0, 0.0, 0.0])] {
        x.set_grad(None)?;
        t.sum()?.backward()?;
        assert_eq!(grad_of(&x)?, want);
    }
    x.set_grad(None)?;
    let (low, high) = (leaf(&[0.0, 0.0, 0.5, 0.0, 3.0])?, leaf(&[1.0, 1.0, 0.5, 1.0, 1.0])?);
    x.clamp(&low, &high)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [0.0, 0.5, 1.0, 0.5, 0.0]);
    assert_eq!(grad_of(&low)?, [1.0, 0.5, 0.0, 0.0, 0.0]);
    assert_eq!(grad_of(&high)?, [0.0, 0.0, 0.0, 0.5, 1.0]);
    Ok(())
}

#[test]
fn padding_nothing_keeps_its_history() -> Result<()> {
    let x = Tensor::zeros([0, 2], ())?.requires_grad_(true)?;
    let y = x.constant_pad(&[0, 0, 1, 0], 3.0)?;
    assert!(y.requires_grad());
    y.sum()?.backward()?;
    assert_eq!(x.grad().map(|g| g.shape()[..].to_vec()), Some(vec![0, 2]));
    Ok(())
}

#[test]
fn a_retained_gradient_is_that_of_the_latest_value() -> Result<()> {
    let weights = Tensor::new([1.0f32, 10.0, 100.0], ())?;
    let writes: [fn(&Tensor) -> Result<Tensor>; 2] = [|h| h.mul_(3.0), |h| h.narrow(0, 0, 2)?.mul_(3.0)];
    for write in writes {
        let h = (leaf(&[1.0, 2.0, 3.0])? * 2.0)?;
        h.retain_grad()?;
        write(&h)?;
        (&h * &weights)?.sum()?.backward()?;
        assert_eq!(grad_of(&h)?, [1.0, 10.0, 100.0]);
    }
    let h = (leaf(&[1.0, 2.0, 3.0])? * 2.0)?;
    let v = h.narrow(0, 0, 2)?;
    v.retain_grad()?;
    h.narrow(0, 1, 2)?.mul_(3.0)?;
    (&v * 5.0)?.sum()?.backward()?;
    assert_eq!(grad_of(&v)?, [5.0, 5.0]);
    Ok(())
}

/// The derivative of `y`, which can be differentiated again.
fn derivative(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let found = Backward::new().create_graph(true).grad(&[y], &[x], &[None])?;
    Ok(found.into_iter().next().flatten().expect("a gradient"))
}

#[test]
fn recorded_gradients_are_their_leaf_s_own() -> Result<()> {
    let (a, b, seed) = (leaf(&[1.0, 2.0])?, leaf(&[3.0, 4.0])?, Tensor::ones([2], ())?);
    Backward::new().create_graph(true).run(&[&(&a + &b)?], &[Some(&seed)])?;
    (&a * 3.0)?.sum()?.backward()?;
    assert_eq!((grad_of(&a)?, grad_of(&b)?), (vec![4.0, 4.0], vec![1.0, 1.0]));
    assert_eq!(seed.to_vec::<f32>()?, [1.0, 1.0]);
    // one number for all elements
    let x = leaf(&[1.0, 2.0, 3.0])?;
    Backward::new().create_graph(true).run(&[&x.sum()?], &[None])?;
    x.square()?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [3.0, 5.0, 7.0]);
    // and its history goes on
    let x = leaf(&[2.0])?;
    Backward::new().create_graph(true).run(&[&x.pow(3)?.sum()?], &[None])?;
    let first = x.grad().expect("a gradient");
    assert_eq!(derivative(&first.sum()?, &x)?.item()?, 12.0);
    Ok(())
}

#[test]
fn a_parameter_that_is_turned_goes_on_learning() -> Result<()> {
    let w = Tensor::new([[1.0f32, 2.0, 3.0]], ())?.requires_grad_(true)?;
    let turns: [fn(&Tensor) -> Result<Tensor>; 4] =
        [Tensor::t_, |w| w.transpose_(0, 1), |w| w.unsqueeze_(0), Tensor::squeeze_];
    for turn in turns {
        let before = w.version();
        no_grad(|| turn(&w))?;
        assert!(w.requires_grad() && w.is_leaf());
        assert_eq!(w.version(), before + 1);
    }
    assert_eq!(w.shape()[..], [3]);
    (&w * 2.0)?.sum()?.backward()?;
    assert_eq!(grad_of(&w)?, [2.0, 2.0, 2.0]);
    refused(w.unsqueeze_(0), ErrorKind::Autograd, "a leaf Variable");
    // what was saved is not what is there any more
    let h = (&leaf(&[1.0, 2.0])?.unsqueeze(0)? * 1.0)?;
    let y = h.square()?.sum()?;
    h.t_()?;
    refused(y.backward(), ErrorKind::Autograd, "modified by an inplace operation");
    // views of it, and it as a view, find their gradients
    let x = leaf(&[1.0, 2.0, 3.0, 4.0])?;
    let h = (&x * 1.0)?.reshape([2, 2])?;
    let row = h.narrow(0, 0, 1)?;
    h.t_()?;
    let weights = Tensor::new([[1.0f32, 10.0], [100.0, 1000.0]], ())?;
    ((&h * &weights)?.sum()? + row.sum()?)?.backward()?;
    assert_eq!(grad_of(&x)?, [2.0, 101.0, 10.0, 1000.0]);
    Ok(())
}

#[test]
fn checkpoints_have_second_derivatives() -> Result<()> {
    let x = leaf(&[2.0])?;
    let y = checkpoint(|t| t[0].pow(3), &[&x])?;
    let product = (derivative(&y, &x)? * &x)?;
    assert_eq!(derivative(&product, &x)?.item()?, 36.0);
    // of inputs that come from one another, and of what is captured
    let w = leaf(&[5.0])?;
    let own = w.clone();
    let h = x.square()?;
    let y = checkpoint(move |t| t[0].mul(&t[1])?.mul(&own), &[&x, &h])?;
    Backward::new().create_graph(true).run(&[&y], &[None])?;
    assert_eq!((grad_of(&x)?, grad_of(&w)?), (vec![60.0], vec![8.0]));
    assert_eq!(derivative(&x.grad().expect("a gradient"), &x)?.item()?, 60.0);
    Ok(())
}

/// A function made of two closures.
struct Custom<F, B>(F, B);

impl<F, B> Function for Custom<F, B>
where
    F: Fn(&Context, &[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    B: Fn(&Context, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        "Custom"
    }
    fn forward(&self, cx: &Context, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        (self.0)(cx, inputs)
    }
    fn backward(&self, cx: &Context, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        (self.1)(cx, gradients[0].as_ref().expect("a gradient"))
    }
}

#[test]
fn a_function_that_keeps_its_output_has_a_second_derivative() -> Result<()> {
    let x = leaf(&[1.0])?;
    let exp = Custom(
        |cx: &Context, t: &[Tensor]| {
            let y = t[0].exp()?;
            cx.save(&[&y]);
            Ok(vec![y])
        },
        |cx: &Context, g: &Tensor| Ok(vec![Some(g.mul(&cx.saved()?[0])?)]),
    );
    let y = autograd::apply(exp, &[&x])?.remove(0);
    let product = (derivative(&y, &x)? * &x)?;
    let second = derivative(&product, &x)?.item()?;
    assert!((second - 2.0 * std::f64::consts::E).abs() < 1e-4, "{second}");
    Ok(())
}

#[test]
fn gradients_from_users_are_checked() -> Result<()> {
    type Give = fn(&Tensor) -> Result<Vec<Option<Tensor>>>;
    let run = |give: Give| -> Result<(Tensor, Tensor)> {
        let (x, y) = (leaf(&[1.0, 2.0])?, Tensor::ones([2, 1], DType::F16)?.requires_grad_(true)?);
        let f = Custom(|_: &Context, t: &[Tensor]| Ok(vec![t[0].mul(&t[1])?]), move |_: &Context, g: &Tensor| give(g));
        autograd::apply(f, &[&x, &y])?[0].sum()?.backward()?;
        let y = y.grad().unwrap_or(Tensor::zeros([0], ())?);
        Ok((x.grad().expect("a gradient"), y))
    };
    refused(run(|g| Ok(vec![Some(g.clone())])), ErrorKind::Autograd, "(expected 2, got 1)");
    let many: Give = |g| Ok(vec![Some(g.clone()), None, Some(g.clone())]);
    refused(run(many), ErrorKind::Autograd, "(expected 2, got 3)");
    refused(run(|_| Ok(vec![Some(Tensor::ones([3], ())?), None])), ErrorKind::Shape, "at index 0 - got [3]");
    // nothing more is no harm; broadcast ones are summed, in their dtype
    let (x, y) = run(|g| Ok(vec![Some(g.clone()), Some(g.clone()), None]))?;
    assert_eq!((x.to_vec::<f32>()?, y.dtype(), &y.shape()[..]), (vec![2.0, 2.0], DType::F16, &[2, 1][..]));
    assert_eq!(y.to_dtype(DType::F32)?.to_vec::<f32>()?, [2.0, 2.0]);
    // hooks of leaves, and of what was computed
    let x = leaf(&[1.0, 2.0])?;
    let h = (&x * 1.0)?;
    for (t, bad) in [(&x, Tensor::ones([3], ())?), (&h, Tensor::ones([2], DType::F16)?)] {
        let kind = if bad.dtype() == DType::F16 { ErrorKind::DType } else { ErrorKind::Shape };
        let hook = t.register_hook(move |_| Ok(Some(bad.clone())))?;
        refused((&h * 2.0)?.sum()?.backward(), kind, "that a hook gave");
        t.remove_hook(hook);
    }
    refused(x.set_grad(Some(Tensor::ones([3], ())?)), ErrorKind::Shape, "of a different size");
    refused(x.set_grad(Some(Tensor::ones([2], DType::F16)?)), ErrorKind::DType, "of a different type");
    Ok(())
}

#[test]
fn gradients_for_many_inputs_take_no_longer_than_all() -> Result<()> {
    let leaves = (0..3000).map(|_| leaf(&[1.0])).collect::<Result<Vec<_>>>()?;
    let sum = || leaves[1..].iter().try_fold(leaves[0].clone(), |sum, x| &sum + x);
    let inputs: Vec<&Tensor> = leaves.iter().collect();
    let (all, some) = (sum()?, sum()?);
    let start = Instant::now();
    all.backward()?;
    let all = start.elapsed();
    let start = Instant::now();
    assert_eq!(autograd::grad(&[&some], &inputs)?.len(), leaves.len());
    let some = start.elapsed();
    assert!(some < 4 * all + Duration::from_millis(300), "{some:?} for the inputs, {all:?} for all leaves");
    Ok(())
}

#[test]
fn a_leaf_that_is_frozen_meanwhile_accumulates_nothing() -> Result<()> {
    let (x, w) = (leaf(&[1.0, 2.0])?, leaf(&[3.0, 4.0])?);
    let y = (&x * &w)?.sum()?;
    w.requires_grad_(false)?;
    y.backward()?;
    assert_eq!(grad_of(&x)?, [3.0, 4.0]);
    assert!(w.grad().is_none());
    Ok(())
}

#[test]
fn checkpoints_rewind_each_device_and_leave_it_as_it_was() -> Result<()> {
    let other = Device::open(&calor::gpu::AdapterChoice::from_env()?)?;
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let y = Tensor::ones([3], &other)?;
    let noisy = |t: &[Tensor]| {
        let noise = Tensor::rand([3], t[1].device())?.to_vec::<f32>()?;
        t[0].mul(Tensor::from_slice(&noise, [3], ())?)
    };
    let out = checkpoint(noisy, &[&x, &y])?;
    Tensor::rand([5], &other)?;
    let state = other.generator().state();
    out.sum()?.backward()?;
    assert_eq!((&x * x.grad().expect("a gradient"))?.to_vec::<f32>()?, out.to_vec::<f32>()?);
    assert_eq!(other.generator().state(), state);
    // nor does it matter how the second run ends
    let calls = AtomicUsize::new(0);
    let failing = move |t: &[Tensor]| {
        Tensor::rand([3], t[1].device())?;
        assert!(calls.fetch_add(1, Ordering::Relaxed) == 0, "meant to fail");
        t[0].mul(2.0)
    };
    let out = checkpoint(failing, &[&x, &y])?.sum()?;
    let state = other.generator().state();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| out.backward())).is_err());
    assert_eq!(other.generator().state(), state);
    Ok(())
}

#[test]
fn checkpoints_give_what_they_capture_its_gradient() -> Result<()> {
    let (x, w) = (leaf(&[0.5])?, leaf(&[3.0])?);
    let near = |t: &Tensor, want: f32| -> Result<()> {
        let got = t.detach().to_vec::<f32>()?;
        assert!((got[0] - want).abs() < 1e-4 * want.abs(), "{got:?}, expected {want}");
        Ok(())
    };
    // grad() finds what it is asked for and accumulates nothing
    let own = w.clone();
    let y = checkpoint(move |t| t[0].mul(&own)?.exp(), &[&x])?;
    near(&Backward::new().retain_graph(true).grad(&[&y], &[&x], &[None])?[0].clone().expect("x"), 13.445067)?;
    near(&derivative(&derivative(&y, &w)?, &w)?, 1.120422)?;
    near(&autograd::grad(&[&y], &[&w])?[0], 2.240844)?;
    assert!(x.grad().is_none() && w.grad().is_none());
    // what an operation made may be used outside too, and its hooks are called once
    let calls = Arc::new(AtomicUsize::new(0));
    let h = (&w * 2.0)?;
    for (t, weight) in [(&h, 1), (&w, 10)] {
        let seen = calls.clone();
        t.register_hook(move |_| {
            seen.fetch_add(weight, Ordering::Relaxed);
            Ok(None)
        })?;
    }
    let (own, leaf_too) = (h.clone(), x.clone());
    let y = checkpoint(move |t| t[0].mul(&own)?.add(&leaf_too), &[&x])?;
    (&y * &h)?.sum()?.backward()?;
    assert_eq!((grad_of(&x)?, grad_of(&w)?, calls.load(Ordering::Relaxed)), (vec![42.0], vec![13.0], 11));
    // one of several outputs; no input requires a gradient
    let parts = w.mul(&Tensor::new([2.0f32, 3.0], ())?)?.split(1, 0)?;
    let (own, plain) = (parts[1].clone(), Tensor::new([0.5f32], ())?);
    near(&autograd::grad(&[&checkpoint(move |t| t[0].mul(&own), &[&plain])?], &[&w])?[0], 1.5)?;
    assert!(!checkpoint(|t| t[0].mul(2.0), &[&plain])?.requires_grad());
    // inside of another one
    let own = w.clone();
    let outer = move |t: &[Tensor]| {
        let own = own.clone();
        checkpoint(move |t| t[0].mul(&own), &[&t[0].exp()?])
    };
    near(&autograd::grad(&[&checkpoint(outer, &[&plain])?], &[&w])?[0], 1.6487213)
}

#[test]
fn a_checkpoint_that_takes_another_way_is_refused() -> Result<()> {
    let (x, w, v) = (leaf(&[0.5])?, leaf(&[3.0])?, leaf(&[4.0])?);
    let (first, second, runs) = (w.clone(), v.clone(), AtomicUsize::new(0));
    let other = move |t: &[Tensor]| t[0].mul(if runs.fetch_add(1, Ordering::Relaxed) == 0 { &first } else { &second });
    refused(checkpoint(other, &[&x])?.backward(), ErrorKind::Autograd, "did not reach the tensors again");
    assert!(x.grad().is_none() && w.grad().is_none() && v.grad().is_none());
    // one that was frozen since gets nothing, one that learns since is not in the graph, one of its own is nobody's
    v.requires_grad_(false)?;
    let (first, second) = (w.clone(), v.clone());
    let y = checkpoint(move |t| t[0].mul(&first)?.mul(&second)?.mul(&leaf(&[2.0])?), &[&x])?;
    w.requires_grad_(false)?;
    v.requires_grad_(true)?;
    y.backward()?;
    assert_eq!(grad_of(&x)?, [24.0]);
    assert!(w.grad().is_none() && v.grad().is_none());
    Ok(())
}

#[test]
fn a_hook_from_before_a_write_can_be_removed() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    let times_ten = |g: &Tensor| Ok(Some((g * 10.0)?));
    let y = (&x * 2.0)?;
    let (before, view) = (y.register_hook(times_ten)?, y.narrow(0, 0, 1)?);
    let of_view = view.register_hook(times_ten)?;
    y.add_(1.0)?;
    let after = y.register_hook(|g| Ok(Some((g + 1.0)?)))?;
    y.remove_hook(before);
    view.remove_hook(of_view);
    Backward::new().retain_graph(true).run(&[&(y.sum()? + view.sum()?)?], &[None])?;
    assert_eq!(grad_of(&x)?, [6.0, 4.0]);
    y.remove_hook(after);
    x.set_grad(None)?;
    y.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [2.0, 2.0]);
    Ok(())
}

/// What a write is given may be a tensor that others hold: it is no part of the written one from then on.
#[test]
fn a_tensor_that_is_written_elsewhere_keeps_its_history() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    let y = Tensor::zeros([2], ())?;
    y.modify("put", |_| Ok(x.clone()))?;
    (&y * 3.0)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [3.0, 3.0]);
    // the derivative of an exponential is its result, which lies in `z` too
    let (made, z) = (leaf(&[0.0])?.exp()?, Tensor::zeros([1], ())?);
    z.modify("put", |_| Ok(made.clone()))?;
    z.mul_(2.0)?;
    made.sum()?.backward()
}

#[test]
fn threads_add_to_the_gradient_of_one_leaf() -> Result<()> {
    let (threads, passes) = (4, 100);
    let x = leaf(&[1.0])?;
    std::thread::scope(|scope| {
        let pass = || (0..passes).try_for_each(|_| (&x * 2.0)?.sum()?.backward());
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(pass)).collect();
        all.into_iter().try_for_each(|one| one.join().expect("no thread panics"))
    })?;
    assert_eq!(grad_of(&x)?, [(threads * passes) as f32 * 2.0]);
    Ok(())
}

//! Decompositions by rotations: their defining equations, in workgroup memory and turn by turn, and the CTC loss against
//! the sum over all paths.

use calor::autograd::gradcheck;
use calor::gpu::AdapterChoice;
use calor::nn::functional::{self as f, CtcOptions, Reduction};
use calor::{Cutoff, DType, Device, NormOrder, Result, Tensor, autocast};
use std::sync::{PoisonError, RwLock};

/// A device tells a fault to all who read meanwhile: who provokes some is alone.
static FAULTS: RwLock<()> = RwLock::new(());

fn largest(t: &Tensor) -> Result<f64> {
    t.abs()?.max()?.item()
}

fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
    largest(&a.sub(b)?)
}

/// How far the columns are from orthonormal.
fn skewed(u: &Tensor) -> Result<f64> {
    let n = u.size(-1)?;
    off(&u.transpose(-2, -1)?.matmul(u)?, &Tensor::eye(n, n, u.dtype())?)
}

fn has_f64() -> Result<bool> {
    Ok(Tensor::zeros([], ())?.device().facts().f64)
}

#[test]
fn singular_vectors_are_orthonormal_and_give_the_matrix_back() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    for shape in [vec![1, 1], vec![3, 7], vec![2, 9, 4], vec![2, 2, 6, 6], vec![33, 32], vec![50, 48], vec![5, 67, 3]] {
        for full in [false, true] {
            let a = Tensor::randn(&shape[..], ())?;
            let (u, s, vh) = a.linalg_svd(full)?;
            let k = s.size(-1)?;
            let (thin, rows) = (u.narrow(-1, 0, k)?, vh.narrow(-2, 0, k)?);
            assert!(off(&thin.mul(&s.unsqueeze(-2)?)?.matmul(&rows)?, &a)? < 1e-4, "{shape:?}");
            let (left, right) = (skewed(&u)?, skewed(&vh.transpose(-2, -1)?)?);
            assert!(left < 5e-5 && right < 5e-5, "{shape:?}: {left} {right}");
            assert_eq!(u.size(-1)?, if full { a.size(-2)? } else { k });
            assert!(k < 2 || s.narrow(-1, 1, k - 1)?.le(&s.narrow(-1, 0, k - 1)?)?.all()?.item()? == 1.0, "{shape:?}");
            assert!(off(&s, &a.linalg_svdvals()?)? < 1e-5, "{shape:?}");
        }
    }
    Ok(())
}

#[test]
fn missing_directions_are_filled() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let column = Tensor::randn([6, 1], ())?;
    let a = column.matmul(&Tensor::ones([1, 4], ())?)?;
    for a in [a, Tensor::zeros([5, 3], ())?, Tensor::zeros([3, 3], ())?] {
        for full in [false, true] {
            let (u, _, vh) = a.linalg_svd(full)?;
            assert!(skewed(&u)? < 1e-5 && skewed(&vh.transpose(-2, -1)?)? < 1e-5);
        }
    }
    assert_eq!(column.matmul(&Tensor::ones([1, 4], ())?)?.linalg_matrix_rank(&Cutoff::default(), false)?.item()?, 1.0);
    Ok(())
}

#[test]
fn sizes_of_elements_do_not_matter() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    for scale in [1e-30, 1e30] {
        let s = Tensor::new([[3.0f32, 0.0], [0.0, 4.0]], ())?.mul(scale)?.linalg_svdvals()?;
        assert!(off(&s.div(scale)?, &Tensor::new([4.0f32, 3.0], ())?)? < 1e-5);
    }
    Ok(())
}

#[test]
fn eigenvectors_are_eigenvectors() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    for shape in [vec![1, 1], vec![2, 3, 3], vec![8, 8], vec![47, 47]] {
        let a = Tensor::randn(&shape[..], ())?;
        let a = a.add(&a.transpose(-2, -1)?)?;
        for upper in [false, true] {
            let (l, v) = a.linalg_eigh(upper)?;
            assert!(off(&a.matmul(&v)?, &v.mul(&l.unsqueeze(-2)?)?)? < 1e-4, "{shape:?}");
            assert!(skewed(&v)? < 2e-5, "{shape:?}");
            assert!(off(&l, &a.triu(0)?.linalg_eigvalsh(true)?)? < 2e-5, "{shape:?}");
        }
    }
    // equal absolute values, of either sign
    let a = Tensor::new([[0.0f32, 1.0], [1.0, 0.0]], ())?;
    assert!(off(&a.linalg_eigvalsh(false)?, &Tensor::new([-1.0f32, 1.0], ())?)? < 1e-6);
    Ok(())
}

#[test]
fn the_pseudoinverse_obeys_penrose() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    for shape in [[4, 4], [6, 3], [2, 5], [40, 60]] {
        let a = Tensor::randn(shape, ())?;
        let p = a.linalg_pinv(&Cutoff::default(), false)?;
        assert!(off(&a.matmul(&p)?.matmul(&a)?, &a)? < 1e-3, "{shape:?}");
        assert!(off(&p.matmul(&a)?.matmul(&p)?, &p)? < 1e-3, "{shape:?}");
    }
    Ok(())
}

#[test]
fn what_the_values_are_not_fit_for_is_reported() -> Result<()> {
    let _alone = FAULTS.write().unwrap_or_else(PoisonError::into_inner);
    let a = Tensor::new([[1.0f32, f32::NAN], [0.0, 1.0]], ())?;
    assert!(a.linalg_svdvals()?.to_vec::<f32>().is_err());
    assert!(a.transpose(0, 1)?.linalg_eigvalsh(false)?.to_vec::<f32>().is_err());
    let (x, targets) = (Tensor::randn([6, 1, 3], ())?, Tensor::new([[1i32, 2]], ())?);
    let loss = |n: i32, m: i32| {
        let (n, m) = (Tensor::new([n], ())?, Tensor::new([m], ())?);
        f::ctc_loss(&x, &targets, &n, &m, CtcOptions::default())?.item()
    };
    assert!(loss(7, 2).is_err() && loss(6, 3).is_err() && loss(6, -1).is_err());
    assert!(loss(6, 2)?.is_finite());
    Ok(())
}

#[test]
fn gradients_agree_with_differences() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    if !has_f64()? {
        return Ok(());
    }
    for shape in [[4, 3], [3, 3], [2, 4]] {
        let a = Tensor::randn(shape, DType::F64)?.requires_grad_(true)?;
        gradcheck(|x| x[0].linalg_svdvals(), &[&a], None)?;
        gradcheck(|x| x[0].linalg_pinv(&Cutoff::default(), false), &[&a], None)?;
        gradcheck(
            |x| {
                // what no signs of the columns change
                let (u, s, vh) = x[0].linalg_svd(false)?;
                let weights = s.sin()?.unsqueeze(-2)?;
                u.mul(&weights)?
                    .matmul(&u.transpose(-2, -1)?)?
                    .sum()?
                    .add(&vh.mul(&weights.transpose(-2, -1)?)?.square()?.cos()?.sum()?)
            },
            &[&a],
            None,
        )?;
    }
    let a = Tensor::randn([4, 4], DType::F64)?;
    let a = a.requires_grad_(true)?;
    let whole = |x: &Tensor| x.add(&x.transpose(-2, -1)?);
    gradcheck(|x| whole(&x[0])?.linalg_eigvalsh(false), &[&a], None)?;
    gradcheck(|x| whole(&x[0])?.linalg_eigh(true)?.1.square()?.sin(), &[&a], None)?;
    Ok(())
}

/// The probability that `path` spells `target` summed over all paths of `t` classes each below `c`.
fn spelled(p: &[f64], c: usize, steps: usize, target: &[usize]) -> f64 {
    let mut sum = 0.0;
    for mut code in 0..c.pow(steps as u32) {
        let (mut product, mut found, mut before) = (1.0, Vec::new(), usize::MAX);
        for t in 0..steps {
            let class = code % c;
            code /= c;
            product *= p[t * c + class];
            if class != before && class != 0 {
                found.push(class);
            }
            before = class;
        }
        if found == target {
            sum += product;
        }
    }
    sum
}

#[test]
fn ctc_sums_over_all_paths() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let (steps, c) = (6, 3);
    let x = Tensor::randn([steps, 4, c], ())?.log_softmax(2)?;
    let p = x.exp()?.transpose(0, 1)?.contiguous()?.to_vec::<f32>()?;
    let p: Vec<f64> = p.into_iter().map(f64::from).collect();
    let targets: [&[usize]; 4] = [&[1, 2, 1], &[2, 2], &[], &[1, 1, 1]];
    let lengths = [6usize, 5, 3, 4];
    let labels: Vec<usize> = targets.iter().map(|t| t.len()).collect();
    let padded = Tensor::new([[1i32, 2, 1], [2, 2, 99], [99, 0, 0], [1, 1, 1]], ())?;
    let flat = Tensor::new([1i32, 2, 1, 2, 2, 1, 1, 1], ())?;
    let options = || CtcOptions::default().reduction(Reduction::None);
    let on_device = |n: &[usize]| Tensor::from_slice(&n.iter().map(|&n| n as i32).collect::<Vec<_>>(), [n.len()], ());
    let wanted: Vec<f64> =
        (0..4).map(|n| -spelled(&p[n * steps * c..][..steps * c], c, lengths[n], targets[n]).ln()).collect();
    let (tl, ll) = (on_device(&lengths)?, on_device(&labels)?);
    for loss in [
        f::ctc_loss(&x, &padded, lengths, &labels[..], options())?,
        f::ctc_loss(&x, &flat, lengths, &labels[..], options())?,
        f::ctc_loss(&x, &flat, &tl, &ll, options())?,
        f::ctc_loss(&x, &padded, &tl, &ll, options())?,
    ] {
        for (got, want) in loss.to_vec::<f32>()?.iter().zip(&wanted) {
            assert!(f64::from(*got) == *want || (f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
        }
    }
    let none = f::ctc_loss(&x, &padded, lengths, &labels[..], options().zero_infinity(true))?.to_vec::<f32>()?;
    assert_eq!(none[3], 0.0);
    assert!(f::ctc_loss(&x, &padded, [7, 5, 3, 4], &labels[..], options()).is_err());
    Ok(())
}

#[test]
fn ctc_through_a_softmax_has_the_gradient_of_differences() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    if !has_f64()? {
        return Ok(());
    }
    let x = Tensor::randn([5, 2, 4], DType::F64)?.requires_grad_(true)?;
    let targets = Tensor::new([[1i32, 3], [2, 2]], ())?;
    gradcheck(
        |x| {
            let lp = x[0].log_softmax(2)?;
            f::ctc_loss(&lp, &targets, [5, 4], [2, 2], CtcOptions::default())
        },
        &[&x],
        None,
    )?;
    Ok(())
}

#[test]
fn ctc_of_long_sequences() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let (steps, labels) = (300, 80);
    let x = Tensor::randn([steps, 2, 12], ())?.log_softmax(2)?.requires_grad_(true)?;
    let targets = Tensor::randint(1, 12, [2, labels], ())?;
    let loss = f::ctc_loss(&x, &targets, [steps, steps - 7], [labels, labels - 5], CtcOptions::default())?;
    loss.backward()?;
    let Some(g) = x.grad() else { panic!("no gradient") };
    // a softmax's and a posterior's sums are both 1
    assert!(largest(&g.sum_dims(&[2], false)?)? < 1e-4);
    assert!(loss.item()?.is_finite());
    Ok(())
}

#[test]
fn singular_matrices_are_infinitely_ill_conditioned() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let a = Tensor::new([[[1.0f32, 2.0], [2.0, 4.0]], [[4.0, 0.0], [0.0, 2.0]]], ())?;
    let orders = [(NormOrder::P(1.0), 2.0), (NormOrder::P(-1.0), 0.5), (NormOrder::Fro, 2.5)];
    for (order, regular) in orders {
        assert_eq!(a.linalg_cond(Some(order))?.to_vec::<f32>()?, [f32::INFINITY, regular]);
    }
    let nuclear = a.linalg_cond(Some(NormOrder::Nuc))?.to_vec::<f32>()?;
    assert!(nuclear[0] > 1e6 && (nuclear[1] - 4.5).abs() < 1e-5, "{nuclear:?}");
    for order in [None, Some(NormOrder::P(-2.0)), Some(NormOrder::P(1.0)), Some(NormOrder::Nuc)] {
        assert_eq!(Tensor::ones([3, 0, 0], ())?.linalg_cond(order)?.to_vec::<f32>()?, [0.0; 3]);
    }
    Ok(())
}

/// `ln n!`
fn ln_factorial(n: usize) -> f64 {
    (2..=n).map(|k| (k as f64).ln()).sum()
}

#[test]
fn ctc_of_any_number_of_labels() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    // the first by the kernel, the second has more states than a workgroup's memory holds
    for (steps, labels) in [(140, 120), (1040, 1030)] {
        let classes = 4;
        let x = Tensor::full([steps, 3, classes], -(classes as f32).ln(), ())?.requires_grad_(true)?;
        let targets = Tensor::arange(0, labels as i32, 1, ())?.remainder(3)?.add(1)?.expand([3, labels])?;
        let (inputs, outputs) = ([steps, steps - 9, 3], [labels, labels - 20, 0]);
        let options = CtcOptions::default().reduction(Reduction::None);
        let loss = f::ctc_loss(&x, &targets, inputs, outputs, options)?;
        for (got, (t, s)) in loss.to_vec::<f32>()?.into_iter().zip(inputs.into_iter().zip(outputs)) {
            // no two neighbours are equal: there are (t + s) over 2 s paths, all of them as probable
            let paths = ln_factorial(t + s) - ln_factorial(2 * s) - ln_factorial(t - s);
            let want = t as f64 * (classes as f64).ln() - paths;
            assert!((f64::from(got) - want).abs() < 1e-5 * (t + s) as f64, "{got} {want}");
        }
        loss.sum()?.backward()?;
        let Some(g) = x.grad() else { panic!("no gradient") };
        // a softmax's and a posterior's sums are both 1; logarithms of path probabilities are as large as `steps`
        assert!(largest(&g.sum_dims(&[2], false)?)? < 1e-5 * (steps + labels) as f64);
        assert!((largest(&g)? - 0.75).abs() < 1e-3);
    }
    Ok(())
}

#[test]
fn ctc_without_labels_beyond_the_loops_of_an_adapter() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let mut choice = AdapterChoice::from_env()?;
    choice.limits.push(("loop_iterations".into(), 1000));
    let device = Device::open(&choice)?;
    let steps = 400;
    let x = Tensor::full([steps, 1, 2], 0.5f32.ln(), &device)?.requires_grad_(true)?;
    let targets = Tensor::zeros([1, 0], (DType::I32, &device))?;
    let loss = f::ctc_loss(&x, &targets, [steps], [0], CtcOptions::default().reduction(Reduction::Sum))?;
    assert!((loss.item()? - steps as f64 * 2f64.ln()).abs() < 1e-2);
    loss.backward()?;
    let Some(g) = x.grad() else { panic!("no gradient") };
    // all of it is blanks: `1/2 - 1` and `1/2`
    assert!((largest(&g)? - 0.5).abs() < 1e-3 && largest(&g.sum_dims(&[2], false)?)? < 1e-3);
    Ok(())
}

#[test]
fn substitution_takes_a_kernel_for_some_rows() -> Result<()> {
    let _quiet = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
    let n = 99;
    let a = Tensor::randn([2, n, n], ())?.mul(0.1)?.add(&Tensor::eye(n, n, ())?.mul(3.0)?)?;
    let b = Tensor::randn([2, n, 5], ())?;
    Tensor::eval_all(&[a.clone(), b.clone()])?;
    for (upper, unit) in [(false, false), (true, false), (false, true), (true, true)] {
        let triangle = if upper { a.triu(isize::from(unit))? } else { a.tril(-isize::from(unit))? };
        let whole = if unit { triangle.add(&Tensor::eye(n, n, ())?)? } else { triangle };
        let x = a.linalg_solve_triangular(&b, upper, true, unit)?;
        let plan = x.explain()?;
        let kernels: usize = plan.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        // 13 of eight rows, 12 products, and what joins them
        assert!(kernels <= 40, "{plan}");
        assert!(largest(&whole.matmul(&x)?.sub(&b)?)? < 1e-4, "upper {upper}, unit {unit}");
        let _half = autocast(DType::BF16)?;
        let again = a.linalg_solve_triangular(&b, upper, true, unit)?;
        assert_eq!(off(&again, &x)?, 0.0, "not in halves");
    }
    Ok(())
}

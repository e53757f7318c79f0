//! Reductions at their edges: nothing to reduce, NaN, infinities, ties, many dimensions.

use calor::{DType, Result, Tensor};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn new(values: &[f32]) -> Result<Tensor> {
    Tensor::new(values.to_vec(), ())
}

#[test]
fn of_nothing() -> Result<()> {
    let x = Tensor::zeros([3, 0], ())?;
    assert_eq!(x.sum_dims(&[1], false)?.to_vec::<f32>()?, [0.0; 3]);
    assert_eq!(x.prod_dim(1, false)?.to_vec::<f32>()?, [1.0; 3]);
    assert!(x.mean()?.item()?.is_nan());
    assert_eq!(x.logsumexp(&[1], false)?.to_vec::<f32>()?, [-INF; 3]);
    assert_eq!(x.all()?.to_vec::<bool>()?, [true]);
    assert_eq!(x.any()?.to_vec::<bool>()?, [false]);
    assert_eq!(&x.amax(&[0], false)?.shape()[..], [0]);
    assert_eq!(&x.argmax(Some(0), true)?.shape()[..], [1, 0]);
    assert!(x.amax(&[1], false).is_err() && x.max().is_err() && x.argmin(None, false).is_err());
    assert!(x.median()?.item()?.is_nan());
    assert_eq!(x.sort(1, false)?.0.numel() + x.cumsum(1)?.numel() + x.topk(0, 1, true)?.1.numel(), 0);
    assert_eq!(x.unique(None)?.values.numel(), 0);
    assert_eq!(&x.softmax(1)?.shape()[..], [3, 0]);
    Ok(())
}

#[test]
fn nan_wins() -> Result<()> {
    let x = new(&[1.0, NAN, 3.0, NAN])?;
    assert!(x.max()?.item()?.is_nan() && x.amin(&[], false)?.item()?.is_nan() && x.median()?.item()?.is_nan());
    assert_eq!(x.argmax(None, false)?.item()?, 1.0);
    assert_eq!(x.argmin(None, false)?.item()?, 1.0);
    assert_eq!(x.max_dim(0, false)?.1.item()?, 1.0);
    assert_eq!(x.nansum()?.item()?, 4.0);
    assert_eq!(x.nanmean()?.item()?, 2.0);
    assert_eq!(x.nanmedian()?.item()?, 1.0);
    assert_eq!(x.cummax(0)?.1.to_vec::<i32>()?, [0, 1, 1, 3]);
    assert!(x.any()?.to_vec::<bool>()?[0]);
    Ok(())
}

#[test]
fn infinities() -> Result<()> {
    let x = new(&[-INF, -INF])?;
    assert_eq!(x.logsumexp(&[0], false)?.item()?, f64::NEG_INFINITY);
    assert_eq!(new(&[INF, 1.0])?.logsumexp(&[0], false)?.item()?, f64::INFINITY);
    assert_eq!(x.max()?.item()?, f64::NEG_INFINITY);
    assert_eq!(x.argmax(None, false)?.item()?, 0.0);
    assert_eq!(new(&[-INF, 0.0])?.softmax(0)?.to_vec::<f32>()?, [0.0, 1.0]);
    assert_eq!(new(&[1000.0, 1000.0])?.softmax(0)?.to_vec::<f32>()?, [0.5, 0.5]);
    assert_eq!(new(&[-INF, 0.0, 0.0])?.logcumsumexp(0)?.to_vec::<f32>()?[..2], [-INF, 0.0]);
    Ok(())
}

#[test]
fn extremes_of_integers() -> Result<()> {
    let x = Tensor::new([i32::MIN, i32::MAX, 0], ())?;
    assert_eq!(x.amax(&[], false)?.to_vec::<i32>()?, [i32::MAX]);
    assert_eq!(x.amin(&[], false)?.to_vec::<i32>()?, [i32::MIN]);
    assert_eq!(x.argsort(0, false)?.to_vec::<i32>()?, [0, 2, 1]);
    let x = Tensor::new([u32::MAX, 0, 7], ())?;
    assert_eq!(x.amax(&[], false)?.to_vec::<u32>()?, [u32::MAX]);
    assert_eq!(x.sort(0, true)?.0.to_vec::<u32>()?, [u32::MAX, 7, 0]);
    let x = Tensor::new([200u8, 3, 255], ())?;
    assert_eq!(x.max()?.to_vec::<u8>()?, [255]);
    assert_eq!(x.sum()?.to_vec::<i32>()?, [458]);
    assert_eq!(x.all()?.to_vec::<u8>()?, [1]);
    let x = Tensor::new([true, false], ())?;
    assert_eq!(x.max()?.to_vec::<bool>()?, [true]);
    assert_eq!(x.sort(0, false)?.0.to_vec::<bool>()?, [false, true]);
    assert!(x.mean().is_err() && x.softmax(0).is_err() && x.var().is_err());
    Ok(())
}

/// All axes of a tensor of five dimensions in turn, against sums on the host, of it and of views of it.
#[test]
fn any_axes() -> Result<()> {
    let shape = [2usize, 3, 4, 2, 5];
    let data: Vec<i32> = (0..240).collect();
    let x = Tensor::new(data.clone(), ())?.reshape(shape)?;
    for mask in 1u32..32 {
        let dims: Vec<isize> = (0..5).filter(|d| mask >> d & 1 == 1).collect();
        let mut want = vec![0; (0..5).filter(|d| mask >> d & 1 == 0).map(|d| shape[d]).product()];
        for (i, v) in data.iter().enumerate() {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for d in (0..5).rev() {
                let c = rest % shape[d];
                rest /= shape[d];
                if mask >> d & 1 == 0 {
                    at += c * step;
                    step *= shape[d];
                }
            }
            want[at] += v;
        }
        assert_eq!(x.sum_dims(&dims, false)?.to_vec::<i32>()?, want, "{dims:?}");
        assert_eq!(x.sum_dims(&dims, true)?.dim(), 5);
        let turned = x.permute(&[4, 2, 0, 3, 1])?.contiguous()?.permute(&[2, 4, 1, 3, 0])?;
        assert_eq!(turned.sum_dims(&dims, false)?.to_vec::<i32>()?, want, "{dims:?} of a view");
    }
    Ok(())
}

#[test]
fn results_lie_row_by_row() -> Result<()> {
    let x = Tensor::ones([4, 3, 2], ())?.transpose(0, 2)?;
    for t in [x.cumsum(1)?, x.sort(0, false)?.0, x.sum_dims(&[1], true)?, x.topk(2, 1, true)?.0, x.softmax(1)?] {
        assert!(t.is_contiguous());
    }
    Ok(())
}

#[test]
fn large_means_and_variances() -> Result<()> {
    let n = 1_000_000;
    let x = Tensor::ones([n], ())?.cumsum(0)?.to_dtype(DType::I32)?.remainder(2)?.to_dtype(DType::F32)?.add(1000.0)?;
    assert!((x.mean()?.item()? - 1000.5).abs() < 1e-3);
    assert!((x.var_dims(&[], 0.0, false)?.item()? - 0.25).abs() < 1e-3);
    Ok(())
}

#[test]
fn ties_share_gradients() -> Result<()> {
    let x = new(&[2.0, 5.0, 5.0])?.requires_grad_(true)?;
    x.max()?.backward()?;
    assert_eq!(x.grad().map(|g| g.to_vec::<f32>()).transpose()?, Some(vec![0.0, 0.5, 0.5]));
    x.set_grad(None)?;
    x.max_dim(0, false)?.0.backward()?;
    assert_eq!(x.grad().map(|g| g.to_vec::<f32>()).transpose()?, Some(vec![0.0, 1.0, 0.0]));
    Ok(())
}

#[test]
fn gradients_pass_zeros() -> Result<()> {
    for (values, want) in [
        ([2.0, 0.0, 3.0, 4.0], [0.0, 24.0, 0.0, 0.0]),
        ([0.0, 0.0, 3.0, 4.0], [0.0; 4]),
        ([1.0, 2.0, 3.0, 4.0], [24.0, 12.0, 8.0, 6.0]),
    ] {
        let x = new(&values)?.requires_grad_(true)?;
        x.prod()?.backward()?;
        assert_eq!(x.grad().map(|g| g.to_vec::<f32>()).transpose()?, Some(want.to_vec()));
    }
    let x = new(&[2.0, 0.0, 3.0])?.requires_grad_(true)?;
    x.cumprod(0)?.sum()?.backward()?;
    assert_eq!(x.grad().map(|g| g.to_vec::<f32>()).transpose()?, Some(vec![1.0, 8.0, 0.0]));
    Ok(())
}

/// One kernel where a workgroup can walk a row, a few where rows are cut into parts; the same values.
#[test]
fn softmax_in_few_kernels() -> Result<()> {
    // 33 invocations are too few to walk long columns on a GPU
    let columns = if Tensor::ones([1], ())?.device().facts().is_cpu { 1 } else { 3 };
    for (shape, dim, most) in [([64, 1000], 1, 1), ([64, 1001], 1, 1), ([1000, 33], 0, columns), ([1, 200_000], 1, 8)] {
        let n = shape[0] * shape[1];
        let x = Tensor::ones([n], ())?.cumsum(0)?.sin()?.mul(5.0)?.reshape(shape)?;
        x.eval()?;
        for t in [x.softmax(dim)?, x.log_softmax(dim)?] {
            let text = t.explain()?;
            let kernels: usize = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            assert!(kernels <= most, "{text}");
        }
        let (soft, log) = (x.softmax(dim)?, x.log_softmax(dim)?);
        assert!(soft.sum_dims(&[dim], false)?.sub(1.0)?.abs()?.max()?.item()? < 1e-5);
        assert!(log.exp()?.sub(&soft)?.abs()?.max()?.item()? < 1e-5);
        let e = x.exp()?;
        assert!(e.div(&e.sum_dims(&[dim], true)?)?.sub(&soft)?.abs()?.max()?.item()? < 1e-5);
    }
    Ok(())
}

/// A first step over short rows would leave a large part of what is summed.
#[test]
fn short_axes_that_lie_apart_are_summed_with_the_others() -> Result<()> {
    let x = Tensor::ones([512, 8, 4], ())?;
    x.eval()?;
    let sum = x.sum_dims(&[0, 2], false)?;
    let text = sum.explain()?;
    assert!(!text.contains("f32[512, 8]\n"), "{text}");
    assert_eq!(sum.to_vec::<f32>()?, [2048.0; 8]);
    Ok(())
}

#[test]
fn what_counts_has_a_history_and_no_gradient() -> Result<()> {
    let x = new(&[1.0, 0.0, 2.0])?.requires_grad_(true)?;
    let count = x.vector_norm(0.0, &[], false)?;
    assert_eq!(count.item()?, 2.0);
    count.backward()?;
    assert!(x.grad().is_none());
    Ok(())
}

#[test]
fn trapezoids_are_not_of_truth_values() -> Result<()> {
    let (x, on) = (new(&[1.0, 2.0])?, Tensor::new([true, true], ())?);
    for refused in [on.trapezoid(1.0, -1), x.trapezoid_x(&on, -1), on.cumulative_trapezoid(1.0, -1)] {
        assert_eq!(refused.map(drop).unwrap_err().kind(), calor::ErrorKind::DType);
    }
    Ok(())
}

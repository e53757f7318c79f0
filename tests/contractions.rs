//! Products at their edges: long sums, many rows, nothing to sum, what shares a kernel.

use calor::autograd::Backward;
use calor::nn::functional as f;
use calor::{DType, Device, Result, Tensor, multi_dot};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// One test at a time: what the device reports is told to every thread that reads meanwhile.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reproducible numbers between -1 and 1.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn a_sum_longer_than_any_loop() -> Result<()> {
    let _turn = turn();
    let k = 300_007;
    let (a, b) = (numbers(2 * k, 1), numbers(k * 3, 2));
    let x = Tensor::from_slice(&a, [2, k], ())?;
    let y = Tensor::from_slice(&b, [k, 3], ())?;
    let got = x.matmul(&y)?.to_vec::<f32>()?;
    for (at, got) in got.into_iter().enumerate() {
        let (i, j) = (at / 3, at % 3);
        let want: f64 = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * 3 + j])).sum();
        // the sum of so many products is about 180; f32 rounds each partial sum
        assert!((f64::from(got) - want).abs() < 0.05, "{at}: {got}, want {want}");
    }
    Ok(())
}

#[test]
fn a_weight_gradient_over_many_rows() -> Result<()> {
    let _turn = turn();
    let rows = 70_001;
    let a = numbers(rows * 2, 3);
    let x = Tensor::from_slice(&a, [rows, 2], ())?;
    let w = Tensor::ones([3, 2], ())?.requires_grad_(true)?;
    let bias = Tensor::zeros([3], ())?.requires_grad_(true)?;
    f::linear(&x, &w, Some(&bias))?.sum()?.backward()?;
    let (gw, gb) = (w.grad(), bias.grad());
    let gw = gw.map(|g| g.to_vec::<f32>()).transpose()?.unwrap_or_default();
    let want: Vec<f64> = (0..2).map(|c| (0..rows).map(|r| f64::from(a[2 * r + c])).sum()).collect();
    assert_eq!(gw.len(), 6);
    for (at, g) in gw.into_iter().enumerate() {
        assert!((f64::from(g) - want[at % 2]).abs() < 0.05, "{at}: {g}, want {}", want[at % 2]);
    }
    assert_eq!(gb.map(|g| g.to_vec::<f32>()).transpose()?, Some(vec![rows as f32; 3]));
    Ok(())
}

#[test]
fn a_layer_with_bias_and_activation_is_one_kernel() -> Result<()> {
    let _turn = turn();
    let (x, w, b) = (Tensor::ones([5, 3], ())?, Tensor::ones([4, 3], ())?, Tensor::ones([4], ())?);
    Tensor::eval_all(&[x.clone(), w.clone(), b.clone()])?;
    let y = f::linear(&x, &w, Some(&b))?.relu()?;
    let plan = y.explain()?;
    assert!(plan.starts_with("1 kernels"), "{plan}");
    assert_eq!(y.to_vec::<f32>()?, [4.0; 20]);
    Ok(())
}

#[test]
fn a_sum_of_nothing_is_zero() -> Result<()> {
    let _turn = turn();
    let (x, y) = (Tensor::ones([2, 0], ())?, Tensor::ones([0, 3], ())?);
    assert_eq!(x.matmul(&y)?.to_vec::<f32>()?, [0.0; 6]);
    let x = x.requires_grad_(true)?;
    x.matmul(&y)?.sum()?.backward()?;
    assert_eq!(x.grad().map(|g| g.shape().to_vec()), Some(vec![2, 0]));
    Ok(())
}

#[test]
fn a_singular_matrix_is_reported_and_has_determinant_zero() -> Result<()> {
    let _turn = turn();
    let a = Tensor::new([[1.0f32, 2.0], [2.0, 4.0]], ())?;
    assert_eq!(a.det()?.item()?, 0.0);
    assert!(a.inverse()?.to_vec::<f32>().is_err());
    let indefinite = Tensor::new([[1.0f32, 2.0], [2.0, 1.0]], ())?;
    assert!(indefinite.linalg_cholesky(false)?.to_vec::<f32>().is_err());
    Ok(())
}

#[test]
fn an_inverse_of_more_rows() -> Result<()> {
    let _turn = turn();
    let n = 40;
    let a = Tensor::from_slice(&numbers(n * n, 5), [n, n], ())?.add(&Tensor::eye(n, n, ())?.mul(4.0)?)?;
    let eye = a.inverse()?.matmul(&a)?.sub(&Tensor::eye(n, n, ())?)?;
    let off = eye.abs()?.max()?.item()?;
    assert!(off < 1e-3, "{off}");
    Ok(())
}

/// Sizes around the tiles of every kernel.
const SIZES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (5, 8, 3),
    (8, 32, 4),
    (17, 33, 7),
    (32, 36, 16),
    (33, 40, 9),
    (40, 70, 32),
    (64, 12, 5),
    (13, 100, 66),
];

/// Products of all four ways to lie, alone and batched, against sums in double precision.
fn products(device: &Device, dtype: DType, tolerance: f64, sizes: &[(usize, usize, usize)]) -> Result<()> {
    for &(m, n, k) in sizes {
        for batch in if m == 33 { 1..=3 } else { 1..=1 } {
            let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
            let make = |v: &[f32], rows: usize, columns: usize, flip: bool| -> Result<(Tensor, Vec<f32>)> {
                let t = Tensor::from_slice(v, [batch, rows, columns], device)?.to_dtype(dtype)?;
                let rounded = t.to_dtype(DType::F32)?.to_vec::<f32>()?;
                // the same values, stored the other way round
                let t = if flip { t.transpose(1, 2)?.contiguous()?.transpose(1, 2)? } else { t };
                t.eval()?;
                Ok((t, rounded))
            };
            for flips in 0..4 {
                let (x, xs) = make(&a, m, k, flips & 1 == 1)?;
                let (y, ys) = make(&b, k, n, flips & 2 == 2)?;
                let got = x.matmul(&y)?.to_dtype(DType::F32)?.to_vec::<f32>()?;
                for (at, got) in got.iter().enumerate() {
                    let (p, i, j) = (at / (m * n), at / n % m, at % n);
                    let terms = (0..k).map(|q| f64::from(xs[(p * m + i) * k + q]) * f64::from(ys[(p * k + q) * n + j]));
                    let want: f64 = terms.sum();
                    let off = (f64::from(*got) - want).abs();
                    assert!(
                        off <= tolerance * (1.0 + want.abs()),
                        "{dtype} {batch}x[{m}, {k}] x [{k}, {n}], flips {flips}, at {at}: {got}, expected {want}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_size_and_layout_of_a_product() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    products(&device, DType::F32, 1e-5, &SIZES)?;
    products(&device, DType::F16, 1e-3, &SIZES[3..5])?;
    products(&device, DType::BF16, 8e-3, &SIZES[6..8])
}

#[test]
fn infinities_stay_in_their_row_and_column() -> Result<()> {
    let _turn = turn();
    // the last step of k, in a product whose k is no multiple of four
    let (m, n, k) = (20, 40, 6);
    let mut b = vec![1.0f32; k * n];
    b[(k - 1) * n + 3] = f32::INFINITY;
    let a = Tensor::ones([m, k], ())?;
    let y = a.matmul(&Tensor::from_slice(&b, [k, n], ())?)?.to_vec::<f32>()?;
    for (at, value) in y.iter().enumerate() {
        let want = if at % n == 3 { f32::INFINITY } else { k as f32 };
        assert_eq!(*value, want, "at {at}");
    }
    Ok(())
}

#[test]
fn a_triangle_with_a_zero_on_its_diagonal() -> Result<()> {
    let _turn = turn();
    let a = Tensor::new([[2.0f32, 9.0, 9.0], [4.0, 0.0, 9.0], [1.0, 1.0, 1.0]], ())?;
    let b = Tensor::new([[2.0f32], [8.0], [3.0]], ())?;
    let x = a.linalg_solve_triangular(&b, false, true, false)?.to_vec::<f32>()?;
    assert_eq!(x, [1.0, f32::INFINITY, f32::NEG_INFINITY]);
    // the diagonal isn't read where it counts as ones
    assert_eq!(a.linalg_solve_triangular(&b, false, true, true)?.to_vec::<f32>()?, [2.0, 0.0, 1.0]);
    assert_eq!(a.linalg_solve_triangular(&b.t()?, true, false, true)?.to_vec::<f32>()?, [2.0, -10.0, 75.0]);
    Ok(())
}

#[test]
fn norms_of_no_elements() -> Result<()> {
    use calor::NormOrder::{Fro, Nuc, P};
    let _turn = turn();
    for shape in [[5, 0], [0, 5], [0, 0]] {
        for order in [P(1.0), P(2.0), P(f64::INFINITY), Fro, Nuc] {
            let x = Tensor::zeros(shape, ())?;
            assert_eq!(x.linalg_matrix_norm(order, [0, 1], false)?.item()?, 0.0, "{shape:?}");
        }
    }
    Ok(())
}

#[test]
fn cholesky_reads_one_triangle() -> Result<()> {
    let _turn = turn();
    // symmetric where read: the other triangle holds something else
    let a = Tensor::new([[4.0f32, 2.0], [9.0, 2.0]], ())?;
    assert_eq!(a.linalg_cholesky(true)?.to_vec::<f32>()?, [2.0, 1.0, 0.0, 1.0]);
    assert_eq!(a.t()?.linalg_cholesky(false)?.to_vec::<f32>()?, [2.0, 0.0, 1.0, 1.0]);
    Ok(())
}

/// The product of a chain, its gradients, and those of the sum of their squares.
fn chained(parts: &[(&[f32], [usize; 2])], dtype: DType) -> Result<Vec<f64>> {
    let leaves: Vec<Tensor> = parts
        .iter()
        .map(|(values, shape)| Tensor::from_slice(values, *shape, ())?.to_dtype(dtype)?.detach().requires_grad_(true))
        .collect::<Result<_>>()?;
    let all: Vec<&Tensor> = leaves.iter().collect();
    let y = multi_dot(&all)?;
    let first = Backward::new().create_graph(true).grad(&[&y], &all, &[Some(&Tensor::ones(y.shape(), dtype)?)])?;
    let first: Vec<Tensor> = first.into_iter().flatten().collect();
    let squares = first.iter().map(|g| g.square()?.sum()).collect::<Result<Vec<_>>>()?;
    let sum = squares.into_iter().map(Ok).reduce(|a, b: Result<Tensor>| a?.add(&b?)).transpose()?;
    let second = sum.map(|sum| Backward::new().grad(&[&sum], &all, &[None])).transpose()?.unwrap_or_default();
    let mut out = y.to_dtype(DType::F64)?.to_vec::<f64>()?;
    for g in first.iter().chain(second.iter().flatten()) {
        out.extend(g.to_dtype(DType::F64)?.to_vec::<f64>()?);
    }
    Ok(out)
}

/// PyTorch keeps the factors themselves, each for the gradient of its neighbour.
#[test]
fn factors_of_a_chain_are_not_written_to_before_its_gradients() -> Result<()> {
    let _turn = turn();
    // which factors want gradients, the one that is written to, whether that is refused
    for (wanted, written, refused) in [
        ([true, true, true], 0, true),
        ([true, true, true], 2, true),
        ([false, true, false], 0, true),
        ([true, false, false], 0, false),
        // (a b) c: the gradients of a and of c do not read a
        ([true, false, true], 0, false),
        ([true, false, true], 1, true),
    ] {
        let make = |shape: [usize; 2]| Tensor::ones(shape, ());
        let all = [make([2, 3])?, make([3, 2])?, make([2, 4])?];
        for (t, wanted) in all.iter().zip(wanted) {
            t.requires_grad_(wanted)?;
        }
        let y = multi_dot(&[&all[0], &all[1], &all[2]])?.sum()?;
        calor::no_grad(|| all[written].mul_(2.0))?;
        let done = y.backward();
        assert_eq!(done.is_err(), refused, "{wanted:?}, {written}: {done:?}");
        let told = done.err().is_none_or(|e| e.to_string().contains("modified by an inplace operation"));
        assert!(told, "{wanted:?}, {written}");
    }
    Ok(())
}

#[test]
fn short_chains_keep_what_cancels() -> Result<()> {
    let _turn = turn();
    let sums = Tensor::new([[16_777_216.0f32, 1.0, -16_777_216.0]], ())?;
    assert_eq!(multi_dot(&[&sums, &Tensor::ones([3, 1], ())?])?.item()?, 1.0);
    let last = Tensor::ones([1, 1], ())?.requires_grad_(true)?;
    multi_dot(&[&sums, &Tensor::ones([3, 1], ())?, &last])?.backward()?;
    assert_eq!(last.grad().expect("of a leaf").item()?, 1.0);
    // of three gradients of one factor, whichever is summed first
    let large = 16_777_216.0;
    for weights in [[large, 1.0, -large], [-large, large, 1.0], [1.0, large, -large]] {
        let leaves = (0..4).map(|_| Tensor::ones([1, 1], ())?.requires_grad_(true)).collect::<Result<Vec<_>>>()?;
        let all: Vec<&Tensor> = leaves.iter().collect();
        let first = Backward::new().create_graph(true).grad(&[&multi_dot(&all)?], &all, &[None])?;
        let others = first.into_iter().flatten().skip(1).zip(weights).map(|(g, w)| g.mul(w));
        let sum = others.reduce(|a, b| a?.add(b?)).transpose()?.expect("three of them");
        let second = Backward::new().grad(&[&sum], &all[..1], &[None])?;
        assert_eq!(second[0].as_ref().expect("depends on it").item()?, 1.0, "{weights:?}");
    }
    if !Device::best()?.facts().f64 {
        println!("skipped: the adapter has no doubles to compare with");
        return Ok(());
    }
    // two nearly equal columns of opposite signs
    let mut a = numbers(2 * 4, 5);
    let mut b = numbers(4 * 3, 6);
    for row in a.chunks_mut(4) {
        row[1] = row[0] * 1.000_01;
    }
    for column in 0..3 {
        b[3 + column] = -b[column];
    }
    let (c, d) = (numbers(3 * 5, 7), numbers(5 * 2, 8));
    let parts = [(&a[..], [2, 4]), (&b, [4, 3]), (&c, [3, 5]), (&d, [5, 2])];
    let (got, want) = (chained(&parts, DType::F32)?, chained(&parts, DType::F64)?);
    assert_eq!(got.len(), 4 + 2 * (8 + 12 + 15 + 10));
    for (at, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= 3e-7 * want.abs(), "{at}: {got}, want {want}");
    }
    Ok(())
}

#[test]
fn chains_of_what_is_not_finite() -> Result<()> {
    let _turn = turn();
    let one = |x: f32| Tensor::full([1, 1], x, ());
    let inf = f32::INFINITY;
    for (a, b, c, want) in [
        (inf, 2.0, 1.0, inf),
        (-inf, 2.0, 3.0, -inf),
        (3e38, 2.0, 1.0, inf),
        (3e38, 0.5, 2.0, 3e38),
        (inf, 0.0, 1.0, f32::NAN),
        (f32::NAN, 1.0, 1.0, f32::NAN),
    ] {
        let got = multi_dot(&[&one(a)?, &one(b)?, &one(c)?])?.item()? as f32;
        assert!(got == want || got.is_nan() && want.is_nan(), "{a} {b} {c}: {got}, want {want}");
    }
    // parts of small numbers are below what some adapters keep
    let small = multi_dot(&[&one(1.000_123e-36)?, &one(1e30)?])?.item()?;
    assert!((small / 1.000_123e-6 - 1.0).abs() < 2e-7, "{small}");
    let rows = Tensor::new([[inf, -inf], [inf, 1.0], [2.0, 1.0]], ())?;
    let sums = multi_dot(&[&rows, &Tensor::ones([2, 1], ())?])?.to_vec::<f32>()?;
    assert!(sums[0].is_nan() && sums[1..] == [inf, 3.0], "{sums:?}");
    assert_eq!(multi_dot(&[&Tensor::ones([2, 0], ())?, &Tensor::ones([0, 3], ())?])?.to_vec::<f32>()?, [0.0; 6]);
    Ok(())
}

#[test]
fn an_ill_conditioned_inverse_is_as_good_as_doubles_make_it() -> Result<()> {
    let _turn = turn();
    if !Device::best()?.facts().f64 {
        println!("skipped: without doubles elimination loses as much as the condition says");
        return Ok(());
    }
    // Pascal's matrix, whose inverse is of whole numbers: its condition is 2e7
    let n = 8;
    let mut pascal = vec![1.0f32; n * n];
    for i in 1..n {
        for j in 1..n {
            pascal[i * n + j] = pascal[(i - 1) * n + j] + pascal[i * n + j - 1];
        }
    }
    let got = Tensor::from_slice(&pascal, [n, n], ())?.inverse()?.to_vec::<f32>()?;
    for (at, x) in got.iter().enumerate() {
        assert!((x - x.round()).abs() <= 2e-6 * x.abs().max(1.0), "{at}: {x}");
    }
    // L^-T L^-1 of binomials: the last element is 1, the first sum_k 1
    assert_eq!((got[n * n - 1].round(), got[0].round()), (1.0, n as f32));
    Ok(())
}

fn near(got: &Tensor, want: &[f32]) -> Result<()> {
    let got = got.to_vec::<f32>()?;
    assert!(
        got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4),
        "{got:?}, not {want:?}"
    );
    Ok(())
}

#[test]
fn distances_have_the_gradients_of_pytorch() -> Result<()> {
    let _turn = turn();
    let a = Tensor::new([[0.0f32, 0.0], [3.0, 3.0], [1.0, -2.0]], ())?.requires_grad_(true)?;
    let b = Tensor::new([[0.0f32, 0.0], [1.0, 1.0], [1.0, 2.0]], ())?.requires_grad_(true)?;
    let weights = Tensor::arange(1, 10, 1, DType::F32)?.reshape([3, 3])?;
    // each of equally large differences has all of it
    a.cdist(&b, f64::INFINITY)?.mul(&weights)?.sum()?.backward()?;
    let gradient = |t: &Tensor| t.grad().ok_or_else(|| calor::Error::new(calor::ErrorKind::Autograd, "grad", "none"));
    near(&gradient(&a)?, &[-2.0, -5.0, 15.0, 9.0, 0.0, -24.0])?;
    near(&gradient(&b)?, &[-4.0, 3.0, -3.0, 5.0, -6.0, 12.0])?;
    let c = a.detach().requires_grad_(true)?;
    f::pdist(&c, f64::INFINITY)?.mul(&Tensor::new([1.0f32, 2.0, 3.0], ())?)?.sum()?.backward()?;
    near(&gradient(&c)?, &[-1.0, 1.0, 1.0, 4.0, 0.0, -5.0])?;
    // of no columns
    let none = |n: usize| Tensor::ones([n, 0], ());
    near(&none(2)?.cdist(&none(3)?, f64::INFINITY)?, &[0.0; 6])
}

#[test]
fn more_differences_than_can_be_counted() -> Result<()> {
    let _turn = turn();
    let (n, m, k) = (3000, 3000, 512);
    let x = Tensor::arange(0, n as i64, 1, DType::F32)?.reshape([n, 1])?.expand([n, k])?;
    let d = x.cdist(&x.narrow(0, 0, m)?, f64::INFINITY)?;
    let want = Tensor::arange(0, n as i64, 1, DType::F32)?;
    let want = want.unsqueeze(1)?.sub(&want.narrow(0, 0, m)?)?.abs()?;
    assert!(d.equal(&want)?);
    let x = Tensor::arange(0, 4, 1, DType::F32)?.reshape([4, 1])?.expand([4, 800_000_000])?;
    assert_eq!(calor::nn::functional::pdist(&x, 1.0)?.shape()[..], [6]);
    Ok(())
}

#[test]
fn determinants_of_singular_matrices_have_gradients() -> Result<()> {
    let _turn = turn();
    let cofactors = |values: &[f32], n: usize, want: &[f32]| -> Result<()> {
        let a = Tensor::from_slice(values, [values.len() / n / n, n, n], ())?.requires_grad_(true)?;
        a.det()?.sum()?.backward()?;
        near(&a.grad().unwrap_or(a), want)
    };
    // a regular one beside it
    cofactors(&[1.0, 2.0, 2.0, 4.0, 1.0, 2.0, 3.0, 4.0], 2, &[4.0, -2.0, -2.0, 1.0, 4.0, -3.0, -2.0, 1.0])?;
    let third = [4.0, 4.0, -4.0, -2.0, -2.0, 2.0, 0.0, 0.0, 0.0];
    cofactors(&[1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 1.0, 0.0, 1.0], 3, &third)?;
    cofactors(&[0.0; 9], 3, &[0.0; 9])?;
    // every pivot of this one is 0
    let chain = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
    cofactors(&chain, 3, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
}

#[test]
fn sizes_that_do_not_fit_are_refused() -> Result<()> {
    let _turn = turn();
    let ones = |shape: &[usize]| Tensor::ones(shape, ());
    assert!(ones(&[2, 1])?.inner(&ones(&[3])?).is_err());
    assert!(Tensor::eye(2, 2, ())?.linalg_solve(&ones(&[2])?, false).is_err());
    let (x, y, w) = (ones(&[3, 2])?, ones(&[3, 4])?, ones(&[5, 2, 4])?);
    assert!(
        f::bilinear(&x, &y, &w, Some(&ones(&[1])?)).is_err() && f::bilinear(&x, &y, &w, Some(&ones(&[5])?)).is_ok()
    );
    Ok(())
}

#[test]
fn what_cannot_be_searched_is_reported() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([1.0f32, f32::NAN, 2.0], ())?;
    assert!(x.histc(4, 0.0, 0.0)?.to_vec::<f32>().is_err());
    assert_eq!(x.histc(4, 0.0, 4.0)?.to_vec::<f32>()?, [0.0, 1.0, 1.0, 0.0]);
    let (edges, at) = (Tensor::new([1.0f32, 3.0, 4.0], ())?, Tensor::new([2.0f32], ())?);
    for sorter in [[0, 7, 1], [0, -1, 1]] {
        assert!(edges.searchsorted(&at, true, Some(&Tensor::new(sorter, ())?))?.to_vec::<i32>().is_err());
    }
    Ok(())
}

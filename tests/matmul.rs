//! Every kernel of matrix products against the portable one and sums in double precision, on a CPU that passes for a GPU.

use calor::gpu::AdapterChoice;
use calor::nn::functional as f;
use calor::{DType, Device, Factors, Result, Tensor};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Kernels and what their dispatches are called.
const KERNELS: [(&str, &str); 4] = [
    ("rows", "matmul_rows:"),
    ("tiles32", "matmul_tiles:"),
    ("tiles64", "matmul_tiles:"),
    ("tiles128", "matmul_tiles:"),
];

/// That of cooperative matrices, which few adapters have.
const MATRICES: (&str, &str) = ("coop", "matmul_coop:");

/// Rows, columns, inner size, batches.
type Size = (usize, usize, usize, usize);

/// Sizes around tiles.
const WIDE: [Size; 5] = [(33, 35, 17, 2), (64, 64, 16, 1), (65, 132, 40, 1), (129, 66, 31, 1), (20, 24, 1030, 1)];

/// Few rows or columns, around lanes and vectors.
const THIN: [Size; 8] = [
    (3, 40, 70, 2),
    (50, 4, 66, 1),
    (1, 37, 50, 1),
    (1, 64, 129, 3),
    (61, 1, 33, 1),
    (8, 9, 100, 1),
    (300, 2, 640, 1),
    (1, 1, 1, 1),
];

fn sizes(kernel: (&str, &str)) -> &'static [Size] {
    if kernel.0 == "rows" { &THIN } else { &WIDE }
}

fn open(limits: &[(&str, u64)]) -> Result<Device> {
    let mut choice = AdapterChoice::from_env()?;
    choice.disable.push("cpu-kernels".to_owned());
    choice.limits.extend(limits.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    Device::open(&choice)
}

/// A device without a CPU's kernels, and the turn to use it: what is forced holds for all threads.
fn device() -> Result<(Device, MutexGuard<'static, ()>)> {
    static ONE: OnceLock<Result<Device>> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = ONE.get_or_init(|| open(&[])).clone()?;
    device.force_kernel("matmul", None);
    Ok((device, turn))
}

/// Whole numbers from -4 to 4: their sums are exact in every dtype that sums in 32 bits.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 20) as f32 % 9.0 - 4.0
    };
    (0..n).map(|_| next()).collect()
}

/// A batch of matrices with these values, stored row by row or column by column.
fn matrices(v: &[f32], shape: [usize; 3], dtype: DType, flip: bool, device: &Device) -> Result<Tensor> {
    let t = Tensor::from_slice(v, shape, device)?.to_dtype(dtype)?;
    let t = if flip { t.transpose(1, 2)?.contiguous()?.transpose(1, 2)? } else { t };
    t.eval()?;
    Ok(t)
}

fn reads(y: &Tensor) -> Result<Vec<f64>> {
    Ok(match y.dtype() {
        DType::F64 => y.to_vec::<f64>()?,
        DType::I64 => y.to_vec::<i64>()?.into_iter().map(|v| v as f64).collect(),
        DType::I32 => y.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        _ => y.to_dtype(DType::F32)?.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}

/// The exact product, rounded to the dtype.
fn exact(a: &[f32], b: &[f32], (m, n, k, batch): (usize, usize, usize, usize), dtype: DType) -> Vec<f64> {
    let sum = |at: usize| -> f64 {
        let (p, i, j) = (at / (m * n), at / n % m, at % n);
        (0..k).map(|q| f64::from(a[(p * m + i) * k + q]) * f64::from(b[(p * k + q) * n + j])).sum()
    };
    let round = |v: f64| match dtype {
        DType::F16 => half::f16::from_f64(v).to_f64(),
        DType::BF16 => half::bf16::from_f64(v).to_f64(),
        _ => v,
    };
    (0..batch * m * n).map(|at| round(sum(at))).collect()
}

/// Sizes by a kernel, the first in all four ways to lie and the others in one each; how often the kernel was used.
fn check(device: &Device, kernel: (&str, &str), dtype: DType, sizes: &[Size]) -> Result<usize> {
    device.force_kernel("matmul", Some(kernel.0));
    let mut used = 0;
    for (i, &size) in sizes.iter().enumerate() {
        let (m, n, k, batch) = size;
        let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
        let want = exact(&a, &b, size, dtype);
        for flips in if i == 0 { 0..4 } else { i % 4..i % 4 + 1 } {
            let x = matrices(&a, [batch, m, k], dtype, flips & 1 == 1, device)?;
            let y = matrices(&b, [batch, k, n], dtype, flips & 2 == 2, device)?;
            let z = x.matmul(&y)?;
            used += usize::from(z.explain()?.contains(kernel.1));
            let got = reads(&z)?;
            let wrong = got.iter().zip(&want).position(|(g, w)| g != w);
            assert_eq!(
                wrong.map(|at| (at, got[at], want[at])),
                None,
                "{} {dtype} {batch}x[{m}, {k}] x [{k}, {n}], flips {flips}",
                kernel.0
            );
        }
    }
    Ok(used)
}

#[test]
fn every_kernel_computes_every_size_and_layout() -> Result<()> {
    let (device, _turn) = device()?;
    for kernel in KERNELS {
        let sizes = sizes(kernel);
        assert_eq!(check(&device, kernel, DType::F32, sizes)?, sizes.len() + 3, "{} was not used", kernel.0);
    }
    Ok(())
}

#[test]
fn every_kernel_computes_every_dtype() -> Result<()> {
    let (device, _turn) = device()?;
    for kernel in &KERNELS[..2] {
        for dtype in [DType::F16, DType::BF16, DType::I32, DType::I64, DType::F64] {
            if device.supports(dtype) {
                let used = check(&device, *kernel, dtype, &sizes(*kernel)[..1])?;
                assert_eq!(used, 4, "{} was not used for {dtype}", kernel.0);
            }
        }
    }
    // the larger tiles of halves
    assert_eq!(check(&device, KERNELS[2], DType::F16, &WIDE[1..2])?, 4);
    Ok(())
}

#[test]
fn cooperative_matrices_compute_halves() -> Result<()> {
    let (device, _turn) = device()?;
    if device.facts().matrices.is_none() {
        println!("skipped: {} has no cooperative matrices of halves", device.facts().name);
        return Ok(());
    }
    assert_eq!(check(&device, MATRICES, DType::F16, &WIDE)?, WIDE.len() + 3);
    // a bias and an activation stay in the kernel
    let (x, w) = (numbers(45 * 70, 3), numbers(52 * 70, 4));
    let x = matrices(&x, [1, 45, 70], DType::F16, false, &device)?.squeeze_dim(0)?;
    let w = matrices(&w, [1, 52, 70], DType::F16, false, &device)?.squeeze_dim(0)?;
    let b = matrices(&numbers(52, 5), [1, 1, 52], DType::F16, false, &device)?.reshape([52])?;
    let layer = |kernel| -> Result<Tensor> {
        device.force_kernel("matmul", Some(kernel));
        f::linear(&x, &w, Some(&b))?.relu()
    };
    let y = layer(MATRICES.0)?;
    let plan = y.explain()?;
    assert!(plan.starts_with("1 kernels") && plan.contains(MATRICES.1), "{plan}");
    assert_eq!(reads(&y)?, reads(&layer("portable")?)?);
    // an infinity in the last step of k stays in its column
    let (m, n, k) = (40, 36, 38);
    let mut b = vec![1.0f32; k * n];
    b[(k - 1) * n + 3] = f32::INFINITY;
    let b = matrices(&b, [1, k, n], DType::F16, false, &device)?;
    device.force_kernel("matmul", Some(MATRICES.0));
    let y = Tensor::ones([1, m, k], (DType::F16, &device))?.matmul(&b)?;
    assert!(y.explain()?.contains(MATRICES.1));
    for (at, value) in reads(&y)?.into_iter().enumerate() {
        assert_eq!(value, if at % n == 3 { f64::INFINITY } else { k as f64 }, "at {at}");
    }
    Ok(())
}

#[test]
fn the_smallest_adapter_runs_tiles_and_rows() -> Result<()> {
    let (_, _turn) = device()?;
    let device = open(&[("invocations", 64), ("workgroup_bytes", 16384), ("loop_iterations", 40)])?;
    for kernel in &KERNELS[..3] {
        let sizes = &sizes(*kernel)[..2];
        assert_eq!(check(&device, *kernel, DType::F32, sizes)?, 5, "{} was not used", kernel.0);
    }
    // what does not fit is chosen by the table
    assert_eq!(check(&device, KERNELS[3], DType::F32, &WIDE[..2])?, 5);
    // more loop iterations than there are
    assert_eq!(check(&device, KERNELS[1], DType::F32, &WIDE[4..])?, 4);
    check(&device, ("portable", "matmul:"), DType::F32, &WIDE[4..])?;
    // no workgroup memory at all
    let device = open(&[("workgroup_bytes", 0)])?;
    for kernel in KERNELS {
        assert_eq!(check(&device, kernel, DType::F32, &sizes(kernel)[..1])?, 0, "{} has no memory", kernel.0);
    }
    Ok(())
}

#[test]
fn the_table_chooses_by_size() -> Result<()> {
    let (device, _turn) = device()?;
    let cases = [
        ((1, 300, 400), "matmul_rows:"),
        ((300, 3, 400), "matmul_rows:"),
        ((4, 4, 4), "matmul:"),
        ((100, 100, 100), "matmul_tiles:"),
        ((700, 700, 8), "matmul_tiles:"),
    ];
    for ((m, n, k), name) in cases {
        let (x, y) = (Tensor::ones([m, k], &device)?, Tensor::ones([k, n], &device)?);
        let plan = x.matmul(&y)?.explain()?;
        assert!(plan.contains(name), "[{m}, {k}] x [{k}, {n}]: {plan}");
    }
    device.force_kernel("matmul", Some("tilse"));
    let e = Tensor::ones([2, 2], &device)?.matmul(&Tensor::ones([2, 2], &device)?).expect_err("no such kernel");
    assert!(e.to_string().contains("tilse") && e.to_string().contains("tiles64"), "{e}");
    Ok(())
}

#[test]
fn bias_activation_and_narrow_results_stay_in_the_kernel() -> Result<()> {
    let (device, _turn) = device()?;
    for kernel in KERNELS {
        for dtype in [DType::F32, DType::F16] {
            // rows take one vector here, whose result is narrow too
            let m = if kernel.0 == "rows" { 1 } else { 21 };
            let (x, w) = (numbers(m * 40, 3), numbers(36 * 40, 4));
            let x = matrices(&x, [1, m, 40], dtype, false, &device)?.squeeze_dim(0)?;
            let w = matrices(&w, [1, 36, 40], dtype, false, &device)?.squeeze_dim(0)?;
            let b = Tensor::from_slice(&numbers(36, 5), [36], &device)?.to_dtype(dtype)?;
            b.eval()?;
            let layer = |kernel| -> Result<Tensor> {
                device.force_kernel("matmul", Some(kernel));
                f::linear(&x, &w, Some(&b))?.relu()
            };
            let y = layer(kernel.0)?;
            let plan = y.explain()?;
            assert!(plan.starts_with("1 kernels") && plan.contains(kernel.1), "{}: {plan}", kernel.0);
            assert_eq!(reads(&y)?, reads(&layer("portable")?)?, "{} {dtype}", kernel.0);
        }
    }
    Ok(())
}

#[test]
fn infinities_stay_in_their_row_and_column() -> Result<()> {
    let (device, _turn) = device()?;
    for kernel in KERNELS {
        device.force_kernel("matmul", Some(kernel.0));
        // the last step of k, in a product whose k is no multiple of four
        let (m, n, k) = (6, 40, 6);
        let mut b = vec![1.0f32; k * n];
        b[(k - 1) * n + 3] = f32::INFINITY;
        let y = Tensor::ones([m, k], &device)?.matmul(&Tensor::from_slice(&b, [k, n], &device)?)?;
        for (at, value) in y.to_vec::<f32>()?.iter().enumerate() {
            let want = if at % n == 3 { f32::INFINITY } else { k as f32 };
            assert_eq!(*value, want, "{} at {at}", kernel.0);
        }
    }
    Ok(())
}

#[test]
fn a_long_sum_is_cut_into_parts_and_rounded_once() -> Result<()> {
    let (device, _turn) = device()?;
    let (m, n, k) = (20, 24, 5003);
    // halves: the exact sum fits into f32, each part's does not into f16
    let a: Vec<f32> = numbers(m * k, 7).into_iter().map(|v| v + 0.125).collect();
    let b: Vec<f32> = numbers(k * n, 8).into_iter().map(|v| v + 0.125).collect();
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32] {
        let (a, b): (Vec<f32>, Vec<f32>) = match dtype {
            DType::I32 => (a.iter().map(|v| v.floor()).collect(), b.iter().map(|v| v.floor()).collect()),
            _ => (a.clone(), b.clone()),
        };
        let x = matrices(&a, [1, m, k], dtype, false, &device)?;
        let y = matrices(&b, [1, k, n], dtype, false, &device)?;
        let z = x.matmul(&y)?;
        assert!(z.explain()?.contains("[9, 1, 20, 24]"), "{}", z.explain()?);
        assert_eq!(reads(&z)?, exact(&a, &b, (m, n, k, 1), dtype), "{dtype}");
    }
    Ok(())
}

#[test]
fn broadcast_factors_are_not_copied() -> Result<()> {
    let (device, _turn) = device()?;
    let (a, b) = (numbers(3 * 20 * 30, 1), numbers(30 * 40, 2));
    let x = matrices(&a, [3, 20, 30], DType::F32, false, &device)?.unsqueeze(0)?;
    let y = matrices(&b, [1, 30, 40], DType::F32, true, &device)?.unsqueeze(0)?;
    for kernel in &KERNELS[1..] {
        device.force_kernel("matmul", Some(kernel.0));
        let z = x.expand([2, 3, 20, 30])?.matmul(&y)?;
        assert!(z.explain()?.starts_with("1 kernels"), "{}", z.explain()?);
        let all: Vec<f32> = b.iter().cycle().take(3 * b.len()).copied().collect();
        let want = exact(&a, &all, (20, 40, 30, 3), DType::F32);
        assert_eq!(reads(&z)?, [&want[..], &want[..]].concat(), "{}", kernel.0);
    }
    Ok(())
}

#[test]
fn convolution_and_its_gradients_use_tiles() -> Result<()> {
    let (device, _turn) = device()?;
    let x = Tensor::from_slice(&numbers(2 * 5 * 11 * 13, 1), [2, 5, 11, 13], &device)?;
    let w = Tensor::from_slice(&numbers(36 * 5 * 9, 2), [36, 5, 3, 3], &device)?;
    let run = |kernel: &str| -> Result<Vec<Vec<f64>>> {
        device.force_kernel("matmul", Some(kernel));
        let (x, w) = (x.detach().requires_grad_(true)?, w.detach().requires_grad_(true)?);
        let y = f::conv(&x, &w, None, (&[1, 1], f::Padding::Sides(&[1, 1]), &[1, 1]), 1)?;
        if kernel.starts_with("tiles") {
            assert!(y.explain()?.contains("matmul_tiles:"), "{}", y.explain()?);
        }
        y.square()?.sum()?.backward()?;
        let grads = [x.grad(), w.grad()];
        let mut all = vec![reads(&y)?];
        for grad in grads.into_iter().flatten() {
            all.push(reads(&grad)?);
        }
        Ok(all)
    };
    let want = run("portable")?;
    assert_eq!(want.len(), 3);
    for kernel in ["tiles32", "tiles64"] {
        assert_eq!(run(kernel)?, want, "{kernel}");
    }
    Ok(())
}

#[test]
fn bytes_wrap_as_in_their_dtype() -> Result<()> {
    let (a, b) = (Tensor::new([[1u8, 2], [30, 4]], ())?, Tensor::new([[1u8, 2, 3], [4, 50, 6]], ())?);
    assert_eq!(a.matmul(&b)?.to_vec::<u8>()?, [9, 102, 15, 46, 4, 114]);
    // fractions of factors of whole numbers fall away
    let c = Tensor::full([2, 3], 7, DType::U8)?;
    assert_eq!(
        c.addmm(&a, &b, Factors { beta: 2.7.into(), alpha: 1.into() })?.to_vec::<u8>()?,
        [23, 116, 29, 60, 18, 128]
    );
    Ok(())
}

//! Long programs and small adapters: what does not fit one kernel takes several.

use calor::gpu::AdapterChoice;
use calor::{DType, Device, ErrorKind, Result, Tensor};
use std::sync::OnceLock;

/// An adapter with nothing but what WebGPU guarantees, or less.
fn portable() -> Result<Device> {
    static ONE: OnceLock<Result<Device>> = OnceLock::new();
    ONE.get_or_init(open).clone()
}

fn open() -> Result<Device> {
    let names = ["shader-f16", "shader-f64", "shader-int64", "subgroups", "timestamps", "pipeline-cache", "immediates"];
    let limits = [("bindings", 8), ("binding_bytes", 1 << 20), ("groups", 64), ("invocations", 64)];
    let mut choice = AdapterChoice::from_env()?;
    choice.disable = names.map(str::to_owned).to_vec();
    choice.limits = limits.map(|(n, v)| (n.to_owned(), v)).to_vec();
    Device::open(&choice)
}

#[test]
fn a_tensor_written_slice_by_slice() -> Result<()> {
    let device = portable()?;
    let n = 3000;
    let t = Tensor::zeros([n], &device)?;
    for i in 0..n {
        t.narrow(0, i as isize, 1)?.add_(i as f64)?;
    }
    let want: Vec<f32> = (0..n).map(|i| i as f32).collect();
    assert_eq!(t.to_vec::<f32>()?, want);
    Ok(())
}

#[test]
fn a_stencil_chain_does_not_grow_without_bound() -> Result<()> {
    let device = portable()?;
    let mut x = Tensor::ones([64], &device)?;
    for _ in 0..30 {
        // each step reads its input at three places: 3^30 if all were computed in one kernel
        let parts = [x.narrow(0, 0, 60)?, x.narrow(0, 2, 60)?, x.narrow(0, 4, 60)?];
        let mid = ((&parts[0] + &parts[1])? + &parts[2])?.div(3.0)?;
        let next = Tensor::ones([64], &device)?;
        next.narrow(0, 2, 60)?.mul_(&mid)?;
        x = next;
    }
    let sum = x.sum()?.item()?;
    assert!((sum - 64.0).abs() < 1e-3, "{sum}");
    Ok(())
}

#[test]
fn every_small_dtype_works_without_features() -> Result<()> {
    let device = portable()?;
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::U8, DType::Bool] {
        let x = Tensor::from_slice(&[0.0f32, 1.0, 1.0, 0.0, 1.0], [5], &device)?.to_dtype(dtype)?;
        let y = x.add(&x.narrow(0, 1, 1)?)?.mul(&x)?;
        let want = if dtype == DType::Bool { [0.0, 1.0, 1.0, 0.0, 1.0] } else { [0.0, 2.0, 2.0, 0.0, 2.0] };
        assert_eq!(y.dtype(), dtype);
        assert_eq!(y.to_dtype(DType::F32)?.to_vec::<f32>()?, want, "{dtype}");
    }
    for dtype in [DType::I64, DType::F64] {
        assert!(!device.supports(dtype));
        let e = Tensor::zeros([2], (dtype, &device)).and_then(|t| t.eval()).expect_err("no such dtype");
        assert_eq!(e.kind(), ErrorKind::DType);
        assert!(e.to_string().contains(dtype.name()), "{e}");
    }
    Ok(())
}

#[test]
fn large_grids_fold_and_large_tensors_are_refused() -> Result<()> {
    let device = portable()?;
    // 1,000 workgroups over at most 64 a dimension
    let n = 250_000;
    let x = Tensor::ones([n], &device)?;
    let y = (&x + 1.0)?;
    y.eval()?;
    assert_eq!(y.sum()?.item()?, 2.0 * n as f64);
    let values: Vec<f32> = (0..300 * 200).map(|i| (i % 7) as f32).collect();
    let a = Tensor::from_slice(&values, [300, 200], &device)?;
    let b = Tensor::from_slice(&values, [200, 300], &device)?;
    let want = |i: usize, j: usize| (0..200).map(|k| values[i * 200 + k] * values[k * 300 + j]).sum::<f32>();
    let c = a.matmul(&b)?.to_vec::<f32>()?;
    for (i, j) in [(0, 0), (17, 250), (299, 299)] {
        assert_eq!(c[i * 300 + j], want(i, j));
    }
    // 4 MB in windows of 1 MB
    let large = Tensor::ones([1 << 20], &device)?;
    assert_eq!((&large * 2.0)?.sum()?.item()?, f64::from(1 << 21));
    // and the device is still there
    assert_eq!(x.narrow(0, 0, 3)?.to_vec::<f32>()?, [1.0; 3]);
    let e = Tensor::zeros([1 << 40], &device).and_then(|t| t.eval()).expect_err("too large");
    assert!(matches!(e.kind(), ErrorKind::Shape | ErrorKind::OutOfMemory | ErrorKind::Unsupported), "{e}");
    Ok(())
}

/// An adapter whose bindings hold 64 KiB: a buffer of more is bound as windows of 16,384 four-byte elements.
fn windowed() -> Result<Device> {
    static ONE: OnceLock<Result<Device>> = OnceLock::new();
    let open = || {
        let mut choice = AdapterChoice::from_env()?;
        choice.limits = vec![("binding_bytes".into(), 64 << 10)];
        Device::open(&choice)
    };
    ONE.get_or_init(open).clone()
}

/// Integers from -300 to 300, different ones for each seed; sums of some are exact.
fn integers(shape: &[usize], seed: usize, device: &Device) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 601) as f32 - 300.0).collect();
    Tensor::from_slice(&values, shape, device)
}

type Program = fn(&Device) -> Result<Vec<Tensor>>;

/// Programs over tensors of several windows, one or more for each family of kernels.
const WINDOWED: [(&str, Program); 12] = [
    ("maps", |d| {
        let (x, y) = (integers(&[50_001], 1, d)?, integers(&[50_001], 2, d)?);
        let z = (((&x * 0.01)?.tanh()? + &y)? * &x)?;
        let part = z.narrow(0, 16_380, 20_011)?;
        Ok(vec![part.add(1.0)?, z.flip(&[0])?, z])
    }),
    ("reductions", |d| {
        let x = integers(&[301, 167], 3, d)?;
        let y = x.add(1.0)?;
        Ok(vec![
            y.sum_dims(&[1], false)?,
            y.sum_dims(&[0], false)?,
            y.sum()?,
            y.amax(&[0], false)?,
            y.argmax(Some(1), false)?,
        ])
    }),
    ("scans", |d| Ok(vec![integers(&[3, 20_011], 4, d)?.cumsum(1)?])),
    ("softmax", |d| {
        Ok(vec![integers(&[300, 167], 5, d)?.mul(0.1)?.softmax(1)?, integers(&[2, 30_001], 5, d)?.softmax(1)?])
    }),
    ("matmul", |d| {
        let (a, b) = (integers(&[203, 300], 6, d)?, integers(&[300, 181], 7, d)?);
        Ok(vec![a.matmul(&b)?.relu()?, b.t()?.matmul(&a.t()?)?])
    }),
    ("indices", |d| {
        let x = integers(&[203, 301], 8, d)?;
        let places: Vec<i32> = (0..203 * 301).map(|i| (i * 37 + i / 100) % 203).collect();
        let index = Tensor::from_slice(&places, [203, 301], d)?;
        let rows = index.narrow(1, 0, 1)?.reshape([203])?;
        Ok(vec![x.gather(0, &index)?, x.index_select(0, &rows)?, x.scatter_add(0, &index, &x)?])
    }),
    ("joins", |d| {
        let parts: Vec<Tensor> = (0..5).map(|i| integers(&[61, 301], 9 + i, d)).collect::<Result<_>>()?;
        let all: Vec<&Tensor> = parts.iter().collect();
        Ok(vec![calor::cat(&all[..3], 1)?, calor::stack(&all[..2], 1)?])
    }),
    ("sort", |d| {
        let (values, order) = integers(&[40_009], 14, d)?.sort(0, false)?;
        Ok(vec![values, order])
    }),
    ("transposed copies", |d| Ok(vec![integers(&[257, 301], 15, d)?.t()?.contiguous()?])),
    ("convolution", |d| {
        let (x, w) = (integers(&[2, 3, 61, 67], 16, d)?, integers(&[5, 3, 3, 3], 17, d)?);
        Ok(vec![calor::nn::functional::conv(
            &x,
            &w,
            None,
            (&[1, 1], calor::nn::functional::Padding::Sides(&[1, 1]), &[1, 1]),
            1,
        )?])
    }),
    ("small dtypes", |d| {
        let x = integers(&[80_003], 18, d)?;
        let all = [DType::F16, DType::BF16, DType::U8, DType::Bool, DType::I32];
        let mut out = Vec::new();
        for dtype in all {
            let y = x.abs()?.remainder(7)?.to_dtype(dtype)?;
            y.eval()?;
            out.push(y.narrow(0, 32_765, 47_001)?.add(&y.narrow(0, 5, 47_001)?)?);
            out.push(y.to_dtype(DType::F32)?.sum()?);
            out.push(y);
        }
        Ok(out)
    }),
    ("writes", |d| {
        let x = integers(&[203, 301], 19, d)?;
        x.narrow(0, 50, 100)?.mul_(2.0)?;
        let wide: Vec<i64> = (0..20_003).map(|i| i * 5_000_000_019).collect();
        let mut out = vec![x];
        if d.supports(DType::I64) {
            let wide = Tensor::from_slice(&wide, [20_003], d)?;
            out.extend([wide.add(&wide)?.flip(&[0])?, wide.sum()?]);
        }
        Ok(out)
    }),
];

#[test]
fn tensors_of_several_windows_compute_as_others_do() -> Result<()> {
    let (small, large) = (windowed()?, Device::best()?);
    assert_eq!(small.facts().max_binding_bytes, 64 << 10);
    if small.facts().max_bindings < 16 {
        println!("skipped: four windows of each of three tensors take 12 of {} bindings", small.facts().max_bindings);
        return Ok(());
    }
    for (name, program) in WINDOWED {
        let (got, want) = (program(&small)?, program(&large)?);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()), "{name} {i}");
            assert_eq!(got.read_bytes()?, want.read_bytes()?, "{name} {i}: the same kernels give the same bits");
        }
    }
    Ok(())
}

#[test]
fn windows_count_as_bindings() -> Result<()> {
    let mut choice = AdapterChoice::from_env()?;
    choice.limits = [("binding_bytes", 1 << 16), ("bindings", 8)].map(|(n, v)| (n.to_owned(), v)).to_vec();
    let device = Device::open(&choice)?;
    // two windows each: three inputs and the output do not fit one kernel of seven bindings and the fault buffer
    let parts: Vec<Tensor> = (0..4).map(|i| integers(&[20_000], i, &device)).collect::<Result<_>>()?;
    let sum = parts[1..].iter().try_fold(parts[0].clone(), |sum, p| sum.mul(p))?;
    assert!(sum.explain()?.starts_with("3 kernels"), "{}", sum.explain()?);
    let host: Vec<Vec<f32>> = parts.iter().map(Tensor::to_vec).collect::<Result<_>>()?;
    let want: Vec<f32> = (0..20_000).map(|i| host[0][i] * host[1][i] * host[2][i] * host[3][i]).collect();
    assert_eq!(sum.to_vec::<f32>()?, want);
    // three windows each: one sum of two needs nine
    let wide: Vec<Tensor> = (0..2).map(|i| integers(&[40_000], i, &device)).collect::<Result<_>>()?;
    let e = wide[0].add(&wide[1])?.eval().expect_err("nine bindings");
    assert_eq!((e.kind(), e.op()), (ErrorKind::OutOfMemory, "add"));
    for part in ["160000", "9 bindings", "65536", "has 8"] {
        assert!(e.message().contains(part), "{e}");
    }
    // the device goes on, and what fits is computed
    assert_eq!(wide[0].add(1.0)?.sum()?.item()?, host_sum(&wide[0])? + 40_000.0);
    // many inputs of few bytes
    let many: Vec<Tensor> = (0..100).map(|i| integers(&[7, 3], i, &device)).collect::<Result<_>>()?;
    let all: Vec<&Tensor> = many.iter().collect();
    let want: Vec<f32> = many.iter().map(Tensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?.concat();
    assert_eq!(calor::cat(&all, 0)?.to_vec::<f32>()?, want);
    assert_eq!(calor::stack(&all, 0)?.to_vec::<f32>()?, want);
    Ok(())
}

fn host_sum(t: &Tensor) -> Result<f64> {
    Ok(t.to_vec::<f32>()?.into_iter().map(f64::from).sum())
}

#[test]
fn a_tensor_above_the_binding_limit_is_computed_in_windows() -> Result<()> {
    let device = Device::best()?;
    let n = 40_000_003usize;
    if device.facts().max_binding_bytes > 4 * n as u64 {
        println!("one binding holds it all here: {} bytes", device.facts().max_binding_bytes);
    }
    let reach = device.facts().max_binding_bytes * u64::from(device.facts().max_bindings);
    if reach < 12 * n as u64 {
        println!("skipped: all bindings of the adapter reach {reach} bytes");
        return Ok(());
    }
    // above 2^24 an f32 count would be wrong, and so would an index that passes through f32
    let x = Tensor::arange(0, n as i64, 1, (DType::I32, &device))?;
    x.eval()?;
    let y = x.remainder(8)?;
    y.eval()?;
    let whole = (n / 8) as i64;
    let rest: i64 = (0..(n % 8) as i64).sum();
    assert_eq!(y.sum()?.item()?, (whole * 28 + rest) as f64);
    let ends = [0usize, (1 << 24) + 1, (1 << 25) - 1, 1 << 25, n - 1];
    for at in ends {
        assert_eq!(x.narrow(0, at as isize, 1)?.item()?, at as f64);
    }
    assert_eq!(x.amax(&[0], false)?.item()?, (n - 1) as f64);
    let places: Vec<i32> = ends.iter().map(|&at| at as i32).collect();
    let index = Tensor::from_slice(&places, [ends.len()], &device)?;
    assert_eq!(x.index_select(0, &index)?.to_vec::<i32>()?, places);
    Ok(())
}

/// An adapter whose submissions hold little work, and grids few workgroups a dimension.
fn hasty() -> Result<Device> {
    static ONE: OnceLock<Result<Device>> = OnceLock::new();
    let open = || {
        let mut choice = AdapterChoice::from_env()?;
        choice.limits.extend([("submission_work", 12_500), ("groups", 96)].map(|(n, v)| (n.to_owned(), v)));
        Device::open(&choice)
    };
    ONE.get_or_init(open).clone()
}

type Make<'a> = dyn Fn(&Device) -> Result<Tensor> + 'a;

#[test]
fn a_run_of_much_work_is_cut_over_submissions() -> Result<()> {
    // other tests count on the usual device meanwhile
    let whole = Device::open(&AdapterChoice::from_env()?)?;
    let cut = hasty()?;
    let submits = |device: &Device, program: &Make<'_>| {
        let out = program(device)?;
        let before = device.counters();
        out.eval()?;
        let after = device.counters();
        Ok::<_, calor::Error>((
            after.submits - before.submits,
            after.dispatches - before.dispatches,
            out.to_vec::<f32>()?,
        ))
    };
    let product = |d: &Device| {
        integers(&[2, 130, 70], 1, d)?
            .to_dtype(DType::F32)?
            .matmul(&integers(&[2, 70, 110], 2, d)?.to_dtype(DType::F32)?)
    };
    // what is written over a tensor that was there goes into one submission: this one is kept
    let kept = std::cell::RefCell::new(Vec::new());
    let map = |d: &Device| {
        let x = integers(&[700, 301], 3, d)?.to_dtype(DType::F32)?;
        x.eval()?;
        kept.borrow_mut().push(x.clone());
        x.mul(2.0)?.add(1.0)
    };
    // a sort's passes write over what the ones before left
    let sorted = |d: &Device| integers(&[20_000], 8, d)?.sort(0, false)?.0.to_dtype(DType::F32);
    let rows = |d: &Device| integers(&[900, 200], 4, d)?.to_dtype(DType::F32)?.mul(0.01)?.softmax(-1);
    let turned = |d: &Device| integers(&[500, 402], 5, d)?.to_dtype(DType::F32)?.t()?.contiguous();
    let columns = |d: &Device| integers(&[2, 300, 500], 6, d)?.to_dtype(DType::F32)?.sum_dims(&[1], false);
    let programs: [(&str, &Make<'_>, u64); 6] = [
        ("product", &product, 30),
        ("map", &map, 3),
        ("rows", &rows, 5),
        ("turned", &turned, 2),
        ("columns", &columns, 2),
        ("sorted", &sorted, 2),
    ];
    for (name, program, least) in programs {
        let (once, kernels, want) = submits(&whole, program)?;
        let (several, same, got) = submits(&cut, program)?;
        assert_eq!(got, want, "{name}");
        assert!(once <= 1 && several >= least, "{name}: {once} and {several} submissions");
        assert_eq!(kernels, same, "{name}");
    }
    // what is refused is refused whole, and a fault is told
    let x = integers(&[1000, 300], 7, &cut)?.to_dtype(DType::I32)?;
    let index = Tensor::full([900, 300], 2000, (DType::I32, &cut))?;
    assert_eq!(x.gather(0, &index)?.to_vec::<i32>().expect_err("an index that is none").kind(), ErrorKind::Index);
    Ok(())
}

#[test]
fn what_cannot_be_addressed_or_allocated_is_refused() -> Result<()> {
    let device = Device::best()?;
    let most = device.facts().max_buffer_bytes;
    if let Ok(over) = usize::try_from(most / 4 + 1)
        && over < u32::MAX as usize - 64
    {
        let e = Tensor::zeros([over], &device).and_then(|t| t.eval()).expect_err("too large");
        assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{e}");
        assert!(e.message().contains(&most.to_string()) || e.message().contains("bindings"), "{e}");
    }
    let e = Tensor::zeros([1 << 32], (DType::U8, &device)).map(drop).expect_err("too many elements");
    assert_eq!(e.kind(), ErrorKind::OutOfMemory);
    assert!(e.message().contains("4294967296") && e.message().contains("2^32"), "{e}");
    Ok(())
}

#[test]
fn tensors_of_very_many_dimensions() -> Result<()> {
    let shape = |rank: usize| {
        let mut shape = vec![1; rank];
        (shape[0], shape[rank - 2], shape[rank - 1]) = (2, 2, 3);
        shape
    };
    let x = Tensor::arange(0, 12, 1, (DType::F32, &Device::best()?))?;
    let y = x.reshape(shape(128))?.transpose(0, -1)?.contiguous()?;
    assert_eq!(y.to_vec::<f32>()?, [0.0, 6.0, 3.0, 9.0, 1.0, 7.0, 4.0, 10.0, 2.0, 8.0, 5.0, 11.0]);
    // coordinates of more are not told apart
    for rank in [129, 300] {
        let e = x.reshape(shape(rank))?.transpose(0, -1)?.contiguous().expect_err("too many dimensions");
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.message().contains(&format!("{rank} dimensions")), "{e}");
    }
    Ok(())
}

#[test]
fn what_is_not_there_is_named() {
    let open = |choice: AdapterChoice| Device::open(&choice).expect_err("no such adapter").to_string();
    let choice = AdapterChoice { adapter: Some("no such thing".into()), ..AdapterChoice::default() };
    assert!(open(choice).contains("no such thing"));
    let choice = AdapterChoice { backend: Some("metal".into()), ..AdapterChoice::default() };
    assert!(open(choice).contains("metal"));
    let choice = AdapterChoice { disable: vec!["wings".into()], ..AdapterChoice::default() };
    assert!(open(choice).contains("wings"));
    let choice = AdapterChoice { limits: vec![("bindings".into(), 0)], ..AdapterChoice::default() };
    assert!(open(choice).contains("BINDINGS"));
}

#[test]
fn doubles_need_64_bit_integers() -> Result<()> {
    let mut choice = AdapterChoice::from_env()?;
    choice.disable.push("shader-int64".to_owned());
    let device = Device::open(&choice)?;
    assert!(!device.facts().f64 && !device.facts().i64);
    let e = Tensor::full([2], 0.5, (DType::F64, &device)).map(drop).expect_err("no doubles");
    assert_eq!(e.kind(), ErrorKind::DType);
    Ok(())
}

#[test]
fn words_of_64_bits_carry_the_same_elements() -> Result<()> {
    let usual = Device::best()?;
    if !usual.facts().loads_pairs() {
        println!("skipped: this adapter moves words of 32 bits anyway");
        return Ok(());
    }
    let mut choice = AdapterChoice::from_env()?;
    choice.disable.push("shader-int64".to_owned());
    let plain = Device::open(&choice)?;
    let program = |device: &Device, dtype: DType| -> Result<Vec<u32>> {
        // odd sizes, single elements and four neighbours of the same tensor
        let x = (Tensor::arange(0, 35 * 13, 1, (DType::F32, device))? * 0.37)?.to_dtype(dtype)?.reshape([35, 13])?;
        let y = (&x + x.flip(&[1])?)?.roll(&[3], &[0])?;
        y.select(0, 4)?.mul_(2.0)?;
        let wide = calor::cat(&[&y, &x.narrow(1, 2, 7)?], 1)?.sub(&y.sum_dims(&[1], true)?)?;
        // stored, and nobody else's: written over by kernels that read it by fours, and element by element
        let narrow = wide.narrow(1, 3, 13)?.contiguous()?;
        Tensor::eval_all(&[wide.clone(), narrow.clone()])?;
        drop(y);
        let turned = calor::cat(&[&wide.narrow(1, 13, 7)?, &wide.narrow(1, 0, 13)?], 1)?;
        let order = Tensor::arange(34, -1, -1, (DType::I32, device))?;
        let picked = wide.narrow(1, 1, 13)?.index_select(0, &order)?;
        Tensor::eval_all(&[turned.clone(), picked.clone()])?;
        wide.add_(&turned)?;
        narrow.add_(&picked.index_select(0, &order)?)?;
        Tensor::eval_all(&[wide.clone(), narrow.clone()])?;
        let (a, b, c) = (wide.flatten(0, -1)?, narrow.flatten(0, -1)?, wide.t()?.contiguous()?.flatten(0, -1)?);
        let all = calor::cat(&[&a, &b, &c], 0)?;
        Ok(all.to_dtype(DType::F32)?.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        assert_eq!(program(&usual, dtype)?, program(&plain, dtype)?, "{dtype}");
    }
    Ok(())
}

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
    // 4 MB against 1 MB of a binding
    let large = Tensor::ones([1 << 20], &device)?;
    let e = (&large * 2.0)?.eval().expect_err("too large");
    assert!(e.to_string().contains("1048576"), "{e}");
    // and the device is still there
    assert_eq!(x.narrow(0, 0, 3)?.to_vec::<f32>()?, [1.0; 3]);
    let e = Tensor::zeros([1 << 40], &device).and_then(|t| t.eval()).expect_err("too large");
    assert!(matches!(e.kind(), ErrorKind::Shape | ErrorKind::OutOfMemory | ErrorKind::Unsupported), "{e}");
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

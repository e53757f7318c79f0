//! Values from the host and back: nested arrays, half types, index expressions against plain indexing, `ndarray`.

use calor::{DType, Ellipsis, ErrorKind, IndexItem, NewAxis, Result, Slice, Tensor};
use half::{bf16, f16};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[test]
fn nested_arrays_have_their_shapes() -> Result<()> {
    let shape = |t: Result<Tensor>| t.map(|t| (t.shape().to_vec(), t.dtype()));
    assert_eq!(shape(Tensor::new(1.5f32, ()))?, (vec![], DType::F32));
    assert_eq!(shape(Tensor::new([[[1u8], [2]]], ()))?, (vec![1, 2, 1], DType::U8));
    assert_eq!(shape(Tensor::new(vec![[true, false]; 3], ()))?, (vec![3, 2], DType::Bool));
    assert_eq!(shape(Tensor::new(&[vec![1u32], vec![2]][..], ()))?, (vec![2, 1], DType::U32));
    assert_eq!(shape(Tensor::new([f16::ONE, f16::ZERO], ()))?, (vec![2], DType::F16));
    assert_eq!(shape(Tensor::new(vec![vec![bf16::ONE]], ()))?, (vec![1, 1], DType::BF16));
    // what has no elements still has a shape and a dtype
    assert_eq!(shape(Tensor::new([0i32; 0], ()))?, (vec![0], DType::I32));
    assert_eq!(shape(Tensor::new([[0u8; 3]; 0], ()))?, (vec![0, 3], DType::U8));
    assert_eq!(shape(Tensor::new([[0.0f32; 0]; 2], ()))?, (vec![2, 0], DType::F32));
    assert_eq!(shape(Tensor::new(Vec::<Vec<f32>>::new(), ()))?, (vec![0, 0], DType::F32));
    assert_eq!(shape(Tensor::new(vec![Vec::<f32>::new(), Vec::new()], ()))?, (vec![2, 0], DType::F32));
    // converted where asked
    assert_eq!(Tensor::new([1.9f32, -1.9], DType::I32)?.to_vec::<i32>()?, [1, -1]);
    assert_eq!(Tensor::new([2, 0], DType::Bool)?.to_vec::<bool>()?, [true, false]);
    let e = Tensor::new(vec![vec![[1, 2]], vec![[3, 4], [5, 6]]], ()).expect_err("ragged");
    assert!(e.kind() == ErrorKind::Shape && e.to_string().contains("row 0 has shape [1, 2], row 1 has [2, 2]"), "{e}");
    let e = Tensor::new([vec![vec![1], vec![2, 3]]], ()).expect_err("ragged below");
    assert!(e.to_string().contains("row 0 has shape [1], row 1 has [2]"), "{e}");
    Ok(())
}

/// Same number, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn every_half_number_is_itself_in_single_precision() -> Result<()> {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let halves: Vec<f16> = all.iter().map(|&b| f16::from_bits(b)).collect();
    let brains: Vec<bf16> = all.iter().map(|&b| bf16::from_bits(b)).collect();
    let t = Tensor::from_slice(&halves, [halves.len()], ())?;
    let wide = t.to_dtype(DType::F32)?.to_vec::<f32>()?;
    let narrow = t.to_dtype(DType::F32)?.to_dtype(DType::F16)?.to_vec::<f16>()?;
    for ((h, w), n) in halves.iter().zip(&wide).zip(&narrow) {
        // subnormal halves are normal in single precision: nothing is flushed
        assert!(same(h.to_f32(), *w), "f16 {:#06x} is {w}", h.to_bits());
        assert!(same(h.to_f32(), n.to_f32()), "f16 {:#06x} came back as {:#06x}", h.to_bits(), n.to_bits());
    }
    let t = Tensor::from_slice(&brains, [brains.len()], ())?;
    let wide = t.to_dtype(DType::F32)?.to_vec::<f32>()?;
    for (b, w) in brains.iter().zip(&wide) {
        // subnormal numbers of single precision may be flushed by the device
        let flushed = b.to_f32().is_subnormal() && *w == 0.0;
        assert!(flushed || same(b.to_f32(), *w), "bf16 {:#06x} is {w}", b.to_bits());
    }
    Ok(())
}

#[test]
fn single_precision_rounds_to_the_nearest_half_even_on_ties() -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut values: Vec<f32> = Vec::new();
    // any bits, bits near the range of f16, and ties of both types with their neighbours
    (0..20_000).for_each(|_| values.push(f32::from_bits(rng.random())));
    (0..20_000).for_each(|_| values.push(rng.random_range(-1.0..1.0f32) * 10f32.powi(rng.random_range(-9..6))));
    for bits in (0..0x7c00u16).step_by(7) {
        let (low, high) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
        let middle = if high.is_finite() { (low + high) / 2.0 } else { 65520.0 };
        values.extend([middle, -middle, middle.next_up(), middle.next_down()]);
    }
    for bits in (0x3000..0x7f80u16).step_by(97) {
        let middle = f32::from_bits(u32::from(bits) << 16 | 0x8000);
        values.extend([middle, -middle, middle.next_up(), middle.next_down()]);
    }
    let t = Tensor::from_slice(&values, [values.len()], ())?;
    let half = t.to_dtype(DType::F16)?.to_vec::<f16>()?;
    let brain = t.to_dtype(DType::BF16)?.to_vec::<bf16>()?;
    for ((v, h), b) in values.iter().zip(&half).zip(&brain) {
        assert!(same(f16::from_f32(*v).to_f32(), h.to_f32()), "{v:e} as f16 is {h:e}, not {:e}", f16::from_f32(*v));
        let want = bf16::from_f32(*v);
        let flushed = v.is_subnormal() && b.to_f32() == 0.0;
        assert!(flushed || same(want.to_f32(), b.to_f32()), "{v:e} as bf16 is {b:e}, not {want:e}");
    }
    Ok(())
}

#[test]
fn index_expressions_are_plain_indexing() -> Result<()> {
    let t = Tensor::arange(0, 24, 1, ())?.reshape([2, 3, 4])?;
    let of = |t: Result<Tensor>| t.and_then(|t| Ok((t.shape().to_vec(), t.to_vec::<i32>()?)));
    assert_eq!(of(t.i((.., 1..3, -1)))?, (vec![2, 2], vec![7, 11, 19, 23]));
    assert_eq!(of(t.i((1, .., 2)))?, (vec![3], vec![14, 18, 22]));
    assert_eq!(of(t.i((0, 1, 2)))?, (vec![], vec![6]));
    assert_eq!(of(t.i((-1, -1, -1)))?, (vec![], vec![23]));
    assert_eq!(of(t.i((Ellipsis, 0)))?, (vec![2, 3], vec![0, 4, 8, 12, 16, 20]));
    assert_eq!(of(t.i((0, Ellipsis, ..2)))?, (vec![3, 2], vec![0, 1, 4, 5, 8, 9]));
    assert_eq!(of(t.i((1, Ellipsis, 2, 3)))?, (vec![], vec![23]));
    assert_eq!(of(t.i((1, NewAxis, 2, NewAxis, 1..=2)))?, (vec![1, 1, 2], vec![21, 22]));
    assert_eq!(of(t.i((.., 2.., ..=1)))?, (vec![2, 1, 2], vec![8, 9, 20, 21]));
    assert_eq!(of(t.i((0, 0, -3..-1)))?, (vec![2], vec![1, 2]));
    assert_eq!(of(t.i((0, 0, -3..=-1)))?, (vec![3], vec![1, 2, 3]));
    assert_eq!(of(t.i((0, 0, -2..)))?, (vec![2], vec![2, 3]));
    assert_eq!(of(t.i((0, 0, ..-1)))?, (vec![3], vec![0, 1, 2]));
    // ranges reach beyond the end, and back to front they are empty
    assert_eq!(of(t.i((0, 0, 2..100)))?, (vec![2], vec![2, 3]));
    assert_eq!(of(t.i((0, 0, -100..2)))?, (vec![2], vec![0, 1]));
    assert_eq!(of(t.i((0, 0, Slice::new(Some(3), Some(1)))))?, (vec![0], vec![]));
    assert_eq!(of(t.i((0, 0, 9..)))?, (vec![0], vec![]));
    // steps
    assert_eq!(of(t.i((0, 0, (0..4).step_by(3))))?, (vec![2], vec![0, 3]));
    assert_eq!(of(t.i((0, 0, (1..4).step_by(9))))?, (vec![1], vec![1]));
    assert_eq!(of(t.i((0, 0, (-4..0).step_by(3))))?, (vec![2], vec![0, 3]));
    assert_eq!(of(t.i((0, 0, (-3..-1).step_by(2))))?, (vec![1], vec![1]));
    assert_eq!(of(t.i((0, 0, Slice::new(None, Some(-1)).step(2))))?, (vec![2], vec![0, 2]));
    Ok(())
}

#[test]
fn places_beyond_all_places_do_not_wrap() -> Result<()> {
    let t = Tensor::arange(0, 4, 1, ())?;
    let whole = [0, 1, 2, 3];
    assert_eq!(t.i(usize::MAX).expect_err("no such element").kind(), ErrorKind::Index);
    assert_eq!(t.i(i64::MIN).expect_err("no such element").kind(), ErrorKind::Index);
    assert_eq!(t.i(0..usize::MAX)?.to_vec::<i32>()?, whole);
    assert_eq!(t.i(..usize::MAX)?.to_vec::<i32>()?, whole);
    assert_eq!(t.i(..=usize::MAX)?.to_vec::<i32>()?, whole);
    assert_eq!(t.i(0..=isize::MAX)?.to_vec::<i32>()?, whole);
    assert_eq!(t.i(isize::MIN..)?.to_vec::<i32>()?, whole);
    assert_eq!(t.i(usize::MAX..)?.to_vec::<i32>()?, [0; 0]);
    // not walked to its end
    assert_eq!(t.i((0..usize::MAX).step_by(2))?.to_vec::<i32>()?, [0, 2]);
    assert_eq!(t.i((1..i64::MAX).step_by(2))?.to_vec::<i32>()?, [1, 3]);
    assert_eq!(t.i(Slice::new(None, None).step(isize::MAX))?.to_vec::<i32>()?, [0]);
    assert_eq!(t.i(Slice::new(None, None).step(0)).expect_err("no step").kind(), ErrorKind::Value);
    let e = t.set(&Tensor::scalar(1.0, ())?, 0).expect_err("no index");
    assert_eq!((e.kind(), e.op()), (ErrorKind::DType, "index_put_"), "{e}");
    assert_eq!(t.to_vec::<i32>()?, whole);
    Ok(())
}

#[test]
fn random_index_expressions_are_plain_indexing() -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(9);
    let sizes = [3usize, 4, 2];
    let t = Tensor::arange(0, 24, 1, ())?.reshape(sizes)?;
    let (mut wanted, mut got) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        // what each dimension shows, and whether it stays
        let mut items = Vec::new();
        let mut shown: Vec<(Vec<usize>, bool)> = Vec::new();
        for &size in &sizes[..rng.random_range(0..=3)] {
            let n = size as i32;
            if rng.random() {
                let k = rng.random_range(-n..n);
                items.push(IndexItem::from(k));
                shown.push((vec![k.rem_euclid(n) as usize], false));
            } else {
                let (from, to, step) =
                    (rng.random_range(-n - 1..=n + 1), rng.random_range(-n - 1..=n + 1), rng.random_range(1..4));
                items.push(IndexItem::Slice(Slice::from(from..to).step(step as isize)));
                let at = |k: i32| if k < 0 { (k + n).max(0) } else { k.min(n) };
                shown.push(((at(from)..at(to)).step_by(step).map(|k| k as usize).collect(), true));
            }
            if rng.random_range(0..5) == 0 {
                items.push(IndexItem::NewAxis);
                shown.push((vec![], true));
            }
        }
        let mut shape = Vec::new();
        let mut flat = vec![0usize];
        let mut dims = sizes.iter();
        for (item, (places, stays)) in items.iter().zip(&shown) {
            // an axis of its own shows nothing of the tensor
            if matches!(item, IndexItem::NewAxis) {
                shape.push(1);
                continue;
            }
            let size = dims.next().expect("a dimension");
            flat = flat.iter().flat_map(|f| places.iter().map(move |k| f * size + k)).collect();
            if *stays {
                shape.push(places.len());
            }
        }
        for size in dims {
            flat = flat.iter().flat_map(|f| (0..*size).map(move |k| f * size + k)).collect();
            shape.push(*size);
        }
        let view = t.i(items)?;
        assert_eq!(view.shape()[..], shape[..]);
        assert!(view.shares_storage(&t));
        wanted.push(flat.iter().map(|&f| f as i32).collect::<Vec<_>>());
        got.push(view.to_vec::<i32>()?);
    }
    assert_eq!(got, wanted);
    Ok(())
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_keep_shape_order_and_dtype() -> Result<()> {
    use ndarray::{Array, Array2, Array3, ArrayD, Axis, IxDyn, arr0, s};
    let a = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (i * 12 + j * 4 + k) as f32);
    let t = Tensor::new(&a, ())?;
    assert_eq!((&t.shape()[..], t.dtype()), (&[2, 3, 4][..], DType::F32));
    assert_eq!(t.to_ndarray::<f32>()?, a.clone().into_dyn());
    // arrays that do not lie row by row
    let odd = a.slice(s![.., ..;-1, 1..;2]).permuted_axes([2, 0, 1]);
    assert_eq!(Tensor::new(odd, ())?.to_ndarray::<f32>()?, odd.to_owned().into_dyn());
    let mut columns = a.clone();
    columns.invert_axis(Axis(0));
    assert_eq!(Tensor::new(&columns, ())?.to_ndarray::<f32>()?, columns.into_dyn());
    // tensors that do not either
    let view = t.permute(&[2, 0, 1])?.narrow(0, 1, 2)?;
    assert_eq!(view.to_ndarray::<f32>()?, a.view().permuted_axes([2, 0, 1]).slice(s![1..3, .., ..]).into_dyn());
    assert_eq!(Tensor::new(arr0(5), ())?.to_ndarray::<i32>()?, arr0(5).into_dyn());
    let empty: Array2<u8> = Array::zeros((0, 3));
    assert_eq!(&Tensor::new(&empty, ())?.shape()[..], [0, 3]);
    assert_eq!(Tensor::zeros([2, 0], DType::U8)?.to_ndarray::<u8>()?, ArrayD::<u8>::zeros(IxDyn(&[2, 0])));
    assert_eq!(Tensor::new(a.mapv(|v| v > 3.0), ())?.dtype(), DType::Bool);
    assert_eq!(Tensor::new(a.mapv(f16::from_f32), ())?.to_ndarray::<f16>()?[[1, 2, 3]], f16::from_f32(23.0));
    let e = t.to_ndarray::<i32>().expect_err("another type");
    assert!(e.kind() == ErrorKind::DType && e.to_string().contains("f32, asked for i32"), "{e}");
    Ok(())
}

#[test]
fn floats_beyond_integers() -> Result<()> {
    let x = Tensor::new([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e20, -1e20, 1e10, -2.5], ())?;
    let want = [i32::MIN, i32::MIN, i32::MIN, i32::MIN, i32::MIN, i32::MIN, -2];
    assert_eq!(x.int()?.to_vec::<i32>()?, want);
    if !x.device().supports(DType::I64) {
        println!("no i64: nothing to convert to");
        return Ok(());
    }
    let want = [i64::MIN, i64::MIN, i64::MIN, i64::MIN, i64::MIN, 10_000_000_000, -2];
    assert_eq!(x.long()?.to_vec::<i64>()?, want);
    Ok(())
}

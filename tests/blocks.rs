//! Maps that read inputs across their result are computed in blocks of 4 x 4: the same values as in the plain form.

use calor::gpu::AdapterChoice;
use calor::{DType, Device, ErrorKind, Result, Tensor, check_fusion};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one test has in front of it is submitted with what another one has: they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small whole numbers, which every dtype has.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + i / 61 + seed * 613) % 127) as f32).collect()
}

/// A tensor of a shape whose elements begin at `offset` in their buffer: other than at a multiple of four, it is not
/// read in blocks.
fn at(device: &Device, shape: &[usize], dtype: DType, offset: usize, seed: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let mut values = vec![1.0f32; offset];
    values.extend(numbers(n, seed));
    let whole = Tensor::from_slice(&values, [offset + n], device)?.to_dtype(dtype)?;
    whole.eval()?;
    whole.narrow(0, offset as isize, n)?.reshape(shape)
}

/// Workgroups of all kernels that would run.
fn workgroups(x: &Tensor) -> Result<usize> {
    let text = x.explain()?;
    let counts = text.lines().filter_map(|l| l.strip_suffix(" workgroups]")?.rsplit(' ').next()?.parse::<usize>().ok());
    Ok(counts.sum())
}

/// Elements of a permuted tensor, by the host.
fn permuted(values: &[f32], shape: &[usize], dims: &[usize]) -> Vec<f32> {
    let stride = |d: usize| shape[d + 1..].iter().product::<usize>();
    let seen: Vec<(usize, usize)> = dims.iter().map(|&d| (shape[d], stride(d))).collect();
    (0..values.len())
        .map(|i| {
            let (_, place) = seen.iter().rev().fold((i, 0), |(i, p), &(size, by)| (i / size, p + i % size * by));
            values[place]
        })
        .collect()
}

fn host(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.to_vec()
}

/// Compares `f` of a permuted tensor in blocks with the plain form, for which tensors begin at the place that `f` is
/// told; whether there are blocks is as said.
fn compare(
    shape: &[usize],
    dims: &[usize],
    dtype: DType,
    blocks: bool,
    f: impl Fn(&Tensor, usize) -> Result<Tensor>,
) -> Result<()> {
    let device = Device::best()?;
    let turn: Vec<isize> = dims.iter().map(|&d| d as isize).collect();
    let result = |offset| f(&at(&device, shape, dtype, offset, 1)?.permute(&turn)?, offset);
    let (fast, plain) = (result(0)?, result(1)?);
    let (a, b) = (workgroups(&fast)?, workgroups(&plain)?);
    assert_eq!(a < b, blocks, "{shape:?} {dims:?} {dtype}: {a} and {b} workgroups");
    assert_eq!(host(&fast)?, host(&plain)?, "{shape:?} {dims:?} {dtype}");
    Ok(())
}

#[test]
fn copies_hold_what_the_host_says() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let cases: [(&[usize], &[usize]); 16] = [
        (&[4, 4], &[1, 0]),
        (&[8, 8], &[1, 0]),
        (&[32, 32], &[1, 0]),
        (&[36, 44], &[1, 0]),
        (&[4, 1024], &[1, 0]),
        (&[1024, 4], &[1, 0]),
        (&[33, 64], &[1, 0]),
        (&[64, 33], &[1, 0]),
        (&[200, 136], &[1, 0]),
        (&[2, 40, 3, 48], &[0, 3, 1, 2]),
        (&[2, 48, 3, 40], &[0, 2, 3, 1]),
        (&[3, 64, 32], &[2, 0, 1]),
        (&[64, 3, 32], &[2, 1, 0]),
        (&[2, 32, 5, 1, 64, 1], &[5, 4, 3, 0, 2, 1]),
        (&[1, 64, 1, 64], &[3, 2, 0, 1]),
        (&[2, 36, 12, 10], &[0, 2, 3, 1]),
    ];
    for (shape, dims) in cases {
        let turn: Vec<isize> = dims.iter().map(|&d| d as isize).collect();
        for offset in [0, 1, 4, 6] {
            let x = at(&device, shape, DType::F32, offset, 3)?;
            let want = permuted(&numbers(x.numel(), 3), shape, dims);
            let y = x.permute(&turn)?;
            assert_eq!(y.contiguous()?.to_vec::<f32>()?, want, "{shape:?} {dims:?} from {offset}");
            // the same elements in another shape, and a map on them there
            let flat = y.reshape([x.numel()])?.add(1.0)?;
            let more: Vec<f32> = want.iter().map(|v| v + 1.0).collect();
            assert_eq!(flat.to_vec::<f32>()?, more, "{shape:?} {dims:?} from {offset}, flat");
        }
    }
    Ok(())
}

#[test]
fn only_dense_blocks_are_used() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let groups = |shape: &[usize], dims: &[isize]| {
        workgroups(&at(&device, shape, DType::F32, 0, 1)?.permute(dims)?.contiguous()?)
    };
    assert_eq!(groups(&[256, 256], &[1, 0])?, 64);
    assert_eq!(groups(&[4, 16384], &[1, 0])?, 64);
    assert_eq!(groups(&[16384, 4], &[1, 0])?, 64);
    assert_eq!(groups(&[4, 64, 256], &[0, 2, 1])?, 64);
    // in four neighbours: odd sizes, and planes of one block
    assert_eq!(groups(&[256, 255], &[1, 0])?, 255);
    assert_eq!(groups(&[4096, 4, 4], &[0, 2, 1])?, 256);
    // rows that go on in the next dimension are one
    assert_eq!(groups(&[8, 64, 16, 16], &[0, 2, 3, 1])?, 128);
    // across in no way
    assert_eq!(groups(&[4, 8, 64, 32], &[0, 2, 1, 3])?, 256);
    let flat = at(&device, &[256, 256], DType::F32, 0, 1)?.t()?.reshape([65536])?.add(1.0)?;
    assert_eq!(workgroups(&flat)?, 64);
    Ok(())
}

#[test]
fn every_dtype() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let mut dtypes = vec![DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::U8, DType::Bool];
    dtypes.extend([DType::I64, DType::F64].into_iter().filter(|&d| device.supports(d)));
    for dtype in dtypes {
        for (shape, dims) in [(vec![36, 100], vec![1, 0]), (vec![2, 3, 32, 68], vec![0, 3, 1, 2])] {
            compare(&shape, &dims, dtype, true, |x, _| x.contiguous())?;
            compare(&shape, &dims, dtype, true, |x, _| x.ne(3)?.where_(x, 1))?;
            compare(&shape, &dims, dtype, true, |x, _| x.to_dtype(DType::F32)?.mul(0.5)?.to_dtype(DType::BF16))?;
            compare(&shape, &dims, dtype, true, |x, _| x.to_dtype(DType::U8)?.contiguous())?;
        }
    }
    Ok(())
}

#[test]
fn with_other_inputs() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let f32 = DType::F32;
    let tall = at(&device, &[100, 36], f32, 0, 5)?;
    let (row, column) = (at(&device, &[36], f32, 0, 7)?, at(&device, &[100, 1], f32, 3, 8)?);
    let one = |f: &dyn Fn(&Tensor, usize) -> Result<Tensor>| compare(&[36, 100], &[1, 0], f32, true, f);
    one(&|x, _| x.add(&tall))?;
    one(&|x, _| x.mul(&row)?.add(&column)?.tanh())?;
    // two that lie across, one of them read twice, and one that lies across at an odd place
    one(&|x, o| x.add(&at(&device, &[36, 100], f32, o, 6)?.t()?)?.mul(&x.sin()?))?;
    one(&|x, _| x.add(&at(&device, &[36, 100], f32, 1, 9)?.t()?))?;
    // an input as it lies and turned
    let square = at(&device, &[64, 64], f32, 0, 2)?;
    compare(&[64, 64], &[1, 0], f32, true, |x, _| x.sub(&square)?.mul(&x.t()?))?;
    // more than are held in registers
    one(&|x, o| {
        (0..6).try_fold(x.clone(), |sum, k| sum.mul(0.5)?.add(&at(&device, &[36, 100], f32, o, 20 + k)?.t()?))
    })?;
    // across in two ways
    compare(&[32, 40, 48], &[2, 0, 1], f32, true, |x, o| {
        x.add(&at(&device, &[40, 48, 32], f32, o, 4)?.permute(&[1, 2, 0])?)
    })?;
    // what is joined for one read, and read otherwise by another
    let image = at(&device, &[2, 12, 12, 36], f32, 0, 3)?;
    let column = at(&device, &[12, 1, 1], f32, 0, 4)?;
    compare(&[2, 36, 12, 12], &[0, 2, 3, 1], f32, true, |x, _| {
        x.add(&image)?.mul(&column)?.add(&image.transpose(1, 2)?)
    })?;
    compare(&[2, 36, 12, 12], &[0, 2, 3, 1], f32, true, |x, o| {
        x.add(&at(&device, &[2, 36, 12, 12], f32, o, 5)?.permute(&[0, 3, 2, 1])?)
    })?;
    // backwards
    one(&|x, _| x.flip(&[1])?.sqrt())?;
    // parts of a larger tensor
    compare(&[64, 128], &[1, 0], f32, true, |x, _| x.narrow(1, 8, 40)?.narrow(0, 64, 64)?.exp())?;
    compare(&[64, 128], &[1, 0], f32, false, |x, _| x.narrow(1, 8, 40)?.narrow(0, 63, 64)?.exp())?;
    compare(&[64, 128], &[1, 0], f32, true, |x, _| x.contiguous()?.reshape([32, 256])?.add(1.0)?.sqrt())
}

#[test]
fn several_outputs_and_maps_that_move() -> Result<()> {
    let _turn = turn();
    // one of its own: fusion is switched off on it
    let device = Device::open(&AdapterChoice::from_env()?)?;
    let x = at(&device, &[48, 72], DType::F32, 0, 1)?;
    let y = at(&device, &[72, 48], DType::F32, 0, 2)?;
    let index = Tensor::from_slice(&(0..48).map(|i| (i * 5) % 48).collect::<Vec<i32>>(), [48], &device)?;
    let check = check_fusion(&device, 0.0, || {
        let a = x.t()?.add(&y)?;
        let b = a.mul(2.0)?;
        let c = b.reshape([72 * 48])?.add(1.0)?;
        let chosen = x.t()?.index_select(1, &index)?.sub(&y)?;
        let joined = calor::cat(&[&x.t()?, &y], 0)?.add(1.0)?;
        let half = x.to_dtype(DType::F16)?.t()?.add(&y.to_dtype(DType::F16)?)?.mul(1.3)?;
        let sum = x.t()?.add(&y)?.sum_dims(&[1], false)?;
        let range = Tensor::arange(0, 72 * 48, 1, (DType::F32, &device))?.reshape([72, 48])?.add(&x.t()?)?;
        Ok(vec![a, b, c, chosen, joined, half.to_dtype(DType::F32)?, sum, range])
    });
    let check = check?;
    assert!(check.difference.is_none(), "{check}");
    // an index out of range is told of by every row of a block
    let wrong = index.add(1)?;
    let e = x.t()?.index_select(1, &wrong)?.add(&x.t()?)?.to_vec::<f32>().expect_err("48 is out of range");
    assert_eq!(e.kind(), ErrorKind::Index, "{e}");
    Ok(())
}

#[test]
fn writes_through_transposed_views() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let (x, y) = (at(&device, &[64, 96], DType::F32, 0, 1)?, at(&device, &[96, 64], DType::F32, 0, 2)?);
    let z = x.contiguous()?.add(0.0)?;
    z.t()?.add_(&y)?;
    let turned = permuted(&numbers(96 * 64, 2), &[96, 64], &[1, 0]);
    let want: Vec<f32> = numbers(96 * 64, 1).iter().zip(&turned).map(|(a, b)| a + b).collect();
    assert_eq!(z.to_vec::<f32>()?, want);
    Ok(())
}

#[test]
fn windows_and_grids() -> Result<()> {
    let _turn = turn();
    let mut choice = AdapterChoice::from_env()?;
    choice.limits = [("binding_bytes", 1 << 18), ("groups", 40)].map(|(n, v)| (n.to_owned(), v)).to_vec();
    let device = Device::open(&choice)?;
    for (dtype, shape) in [(DType::F32, [256, 384]), (DType::F16, [520, 256]), (DType::U8, [512, 516])] {
        let x = at(&device, &shape, dtype, 0, 1)?;
        let n = x.numel();
        let y = x.t()?.contiguous()?;
        assert!(workgroups(&y)? <= n.div_ceil(1024) + n / 4096, "{dtype}: not in blocks");
        let want = permuted(&numbers(n, 1), &shape, &[1, 0]);
        assert_eq!(y.to_dtype(DType::F32)?.to_vec::<f32>()?, want, "{dtype}");
    }
    Ok(())
}

//! Rows longer than an invocation's loops may be: some drivers leave a loop silently after 65,535 iterations.

use calor::gpu::AdapterChoice;
use calor::{DType, Device, Result, Tensor};
use std::sync::OnceLock;

/// A few million elements: more than 64 invocations walk with 65,535 steps each.
const LONG: usize = 65_536 * 64 + 37;

/// Small integers, so that sums are exact in any order.
fn numbers(n: usize) -> Vec<i32> {
    (0..n).map(|i| ((i.wrapping_mul(2_654_435_761) >> 7) % 13) as i32 - 6).collect()
}

/// Shapes of rows to reduce along the last dimension: one long row, a few, many short ones.
const ROWS: [(usize, usize); 4] = [(1, LONG), (3, LONG / 4), (70_000, 17), (5, 1)];

/// Rows of these numbers, with neighbours of a row side by side or a stride apart.
fn layouts(rows: usize, length: usize) -> Result<[Tensor; 2]> {
    static ALL: OnceLock<Tensor> = OnceLock::new();
    let all = match ALL.get() {
        Some(all) => all,
        None => {
            let all = Tensor::new(numbers(LONG), ())?;
            ALL.get_or_init(|| all)
        }
    };
    let along = all.narrow(0, 0, rows * length)?.reshape([rows, length])?;
    let across = along.t()?.contiguous()?.t()?;
    Ok([along, across])
}

fn check(name: &str, want: impl Fn(&[i32]) -> i32, got: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    for (rows, length) in ROWS {
        let data = numbers(rows * length);
        let want: Vec<i32> = data.chunks(length).map(&want).collect();
        for (x, layout) in layouts(rows, length)?.iter().zip(["rows", "columns"]) {
            let got = got(x)?.to_vec::<i32>()?;
            let wrong = got.iter().zip(&want).position(|(g, w)| g != w);
            assert_eq!(wrong, None, "{name} of {rows} rows of {length}, {layout}");
        }
    }
    Ok(())
}

#[test]
fn sums() -> Result<()> {
    check("sum", |r| r.iter().sum(), |x| x.sum_dims(&[1], false))?;
    check("sum f32", |r| r.iter().sum(), |x| x.to_dtype(DType::F32)?.sum_dims(&[1], false)?.to_dtype(DType::I32))
}

#[test]
fn products() -> Result<()> {
    let want = |r: &[i32]| r.iter().fold(1i32, |p, &v| p.wrapping_mul(v | 1));
    check("prod", want, |x| x.bitwise_or(1)?.prod_dim(1, false))
}

#[test]
fn extremes() -> Result<()> {
    check("amax", |r| r.iter().copied().max().unwrap_or(0), |x| x.amax(&[1], false))?;
    let first = |r: &[i32]| r.iter().enumerate().rev().max_by_key(|p| *p.1).map_or(0, |p| p.0 as i32);
    check("argmax", first, |x| x.argmax(Some(1), false))?;
    // the largest element stands near the end only
    let late = |r: &[i32]| r.len() as i32 - 1;
    check("argmax at the end", late, |x| {
        let n = x.size(1)?;
        let place = Tensor::ones([n], (DType::I32, x.device()))?.cumsum(0)?;
        x.add(place.eq(n as i32)?.to_dtype(DType::I32)?.mul(100)?)?.argmax(Some(1), false)
    })
}

#[test]
fn running_sums() -> Result<()> {
    for (rows, length) in ROWS {
        let data = numbers(rows * length);
        let mut want = data.clone();
        for row in want.chunks_mut(length) {
            for k in 1..row.len() {
                row[k] += row[k - 1];
            }
        }
        for x in layouts(rows, length)? {
            let got = x.cumsum(1)?.to_vec::<i32>()?;
            assert!(got == want, "{rows} rows of {length}");
        }
    }
    Ok(())
}

/// Along the first dimension, with neighbours of other rows side by side.
#[test]
fn down_columns() -> Result<()> {
    for (length, columns) in [(LONG / 5, 5), (300_000, 4), (70_000, 3)] {
        let data = numbers(length * columns);
        let x = Tensor::new(data.clone(), ())?.reshape([length, columns])?;
        let mut sums = vec![0i32; columns];
        let mut places = vec![(i32::MIN, 0i32); columns];
        for (k, row) in data.chunks(columns).enumerate() {
            for (c, &v) in row.iter().enumerate() {
                sums[c] += v;
                if v > places[c].0 {
                    places[c] = (v, k as i32);
                }
            }
        }
        assert_eq!(x.sum_dims(&[0], false)?.to_vec::<i32>()?, sums);
        assert_eq!(x.cumsum(0)?.narrow(0, length as isize - 1, 1)?.to_vec::<i32>()?, sums);
        let places: Vec<i32> = places.iter().map(|p| p.1).collect();
        assert_eq!(x.argmax(Some(0), false)?.to_vec::<i32>()?, places);
    }
    Ok(())
}

/// A gradient through a long running product and through a recurrence in parts.
#[test]
fn long_gradients() -> Result<()> {
    let n = 300_001;
    let x = Tensor::ones([n], ())?.requires_grad_(true)?;
    x.cumprod(0)?.sum()?.backward()?;
    let grad = x.grad().map(|g| g.to_vec::<f32>()).transpose()?.unwrap_or_default();
    let wrong = grad.iter().enumerate().find(|(i, g)| **g != (n - i) as f32);
    assert_eq!((grad.len(), wrong), (n, None));
    x.set_grad(None)?;
    x.cummax(0)?.0.sum()?.backward()?;
    let grad = x.grad().map(|g| g.to_vec::<f32>()).transpose()?.unwrap_or_default();
    // equal elements: each is the maximum up to itself
    assert!(grad.iter().all(|&g| g == 1.0));
    Ok(())
}

#[test]
fn sorts() -> Result<()> {
    for (rows, length) in [(1, 300_007), (3, 5_000), (70, 257), (1_000, 17), (4, 1)] {
        let data = numbers(rows * length);
        for x in layouts(rows, length)? {
            for descending in [false, true] {
                let (values, places) = x.sort(1, descending)?;
                let (values, places) = (values.to_vec::<i32>()?, places.to_vec::<i32>()?);
                for (r, row) in data.chunks(length).enumerate() {
                    let mut want: Vec<usize> = (0..length).collect();
                    if descending {
                        want.sort_by_key(|&k| std::cmp::Reverse(row[k]));
                    } else {
                        want.sort_by_key(|&k| row[k]);
                    }
                    let at = r * length..(r + 1) * length;
                    assert!(places[at.clone()].iter().zip(&want).all(|(&p, &w)| p as usize == w), "{rows} {length}");
                    assert!(values[at].iter().zip(&want).all(|(&v, &w)| v == row[w]), "{rows} {length}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn best_few() -> Result<()> {
    for (rows, length) in [(1, LONG), (3, 70_001), (70, 257), (1_000, 17)] {
        for x in layouts(rows, length)? {
            for (k, largest) in [(1, true), (5, true), (16, false), (17, true)] {
                if length > 70_001 && k > 16 {
                    continue;
                }
                let (values, places) = x.topk(k, 1, largest)?;
                if length <= 70_001 {
                    let (all, order) = x.sort(1, largest)?;
                    assert_eq!(values.to_vec::<i32>()?, all.narrow(1, 0, k)?.to_vec::<i32>()?, "{rows} {length} {k}");
                    assert_eq!(places.to_vec::<i32>()?, order.narrow(1, 0, k)?.to_vec::<i32>()?, "{rows} {length} {k}");
                } else {
                    // the same value stands early and often: the first places of it are asked for
                    let value = values.select(1, 0)?.item()?;
                    let first: Vec<i32> = numbers(2_000)
                        .iter()
                        .enumerate()
                        .filter(|p| f64::from(*p.1) == value)
                        .map(|p| p.0 as i32)
                        .take(k)
                        .collect();
                    assert_eq!(places.to_vec::<i32>()?, first);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn sorts_nan_last() -> Result<()> {
    let mut data: Vec<f32> = numbers(1_000).iter().map(|&v| v as f32).collect();
    for k in [0, 3, 400, 999] {
        data[k] = f32::NAN;
    }
    let x = Tensor::new(data, ())?;
    let (up, down) = (x.sort(0, false)?, x.sort(0, true)?);
    assert_eq!(up.1.narrow(0, 996, 4)?.to_vec::<i32>()?, [0, 3, 400, 999]);
    assert_eq!(down.1.narrow(0, 0, 4)?.to_vec::<i32>()?, [0, 3, 400, 999]);
    assert_eq!(x.topk(5, 0, true)?.1.to_vec::<i32>()?, down.1.narrow(0, 0, 5)?.to_vec::<i32>()?);
    assert_eq!(x.topk(5, 0, false)?.1.to_vec::<i32>()?, up.1.narrow(0, 0, 5)?.to_vec::<i32>()?);
    assert!(up.0.to_vec::<f32>()?.windows(2).all(|w| w[1].is_nan() || w[0] <= w[1]));
    assert!(down.0.to_vec::<f32>()?.windows(2).all(|w| w[0].is_nan() || w[0] >= w[1]));
    Ok(())
}

#[test]
fn distinct_rows() -> Result<()> {
    let (rows, width) = (2_000, 3);
    let data: Vec<i32> = numbers(rows * width).iter().map(|v| v / 3).collect();
    let unique = Tensor::new(data.clone(), ())?.reshape([rows, width])?.unique(Some(0))?;
    let mut want: Vec<&[i32]> = data.chunks(width).collect();
    want.sort_unstable();
    want.dedup();
    assert_eq!(unique.values.to_vec::<i32>()?, want.concat());
    let inverse = unique.inverse.to_vec::<i32>()?;
    assert!(data.chunks(width).zip(&inverse).all(|(row, &i)| want[i as usize] == row));
    let mut counts = vec![0; want.len()];
    inverse.iter().for_each(|&i| counts[i as usize] += 1);
    assert_eq!(unique.counts.to_vec::<i32>()?, counts);
    Ok(())
}

/// The kernels in which invocations share rows, on whatever adapter there is.
#[test]
fn shared_rows() -> Result<()> {
    let device = Device::open(&AdapterChoice { disable: vec!["cpu-kernels".into()], ..AdapterChoice::from_env()? })?;
    for (rows, length) in [(1, 700_001), (3, 70_003), (40, 1_000), (9, 33)] {
        let data = numbers(rows * length);
        let x = Tensor::new(data.clone(), &device)?.reshape([rows, length])?;
        let each = |f: &dyn Fn(&[i32]) -> i32| data.chunks(length).map(f).collect::<Vec<i32>>();
        assert_eq!(x.sum_dims(&[1], false)?.to_vec::<i32>()?, each(&|r| r.iter().sum()));
        assert_eq!(x.amin(&[1], false)?.to_vec::<i32>()?, each(&|r| r.iter().copied().min().unwrap_or(0)));
        let first = each(&|r| r.iter().enumerate().rev().max_by_key(|p| *p.1).map_or(0, |p| p.0 as i32));
        assert_eq!(x.argmax(Some(1), false)?.to_vec::<i32>()?, first);
        let last = x.cumsum(1)?.narrow(1, length as isize - 1, 1)?.to_vec::<i32>()?;
        assert_eq!(last, each(&|r| r.iter().sum()));
        let mut sorted = data[..length].to_vec();
        sorted.sort_unstable();
        assert_eq!(x.sort(1, false)?.0.narrow(0, 0, 1)?.to_vec::<i32>()?, sorted);
    }
    Ok(())
}

#[test]
fn gradients_of_the_best_many() -> Result<()> {
    // their number times that of all exceeds 2^32
    let (n, k) = (70_001, 66_000);
    let x = Tensor::arange(0, n, 1, DType::F32)?.flip(&[0])?.contiguous()?.requires_grad_(true)?;
    let best = x.topk(k, 0, false)?.0;
    best.mul(&Tensor::arange(0, k as i64, 1, DType::F32)?)?.sum()?.backward()?;
    let gradient = x.grad().unwrap_or(x).to_vec::<f32>()?;
    let want = |i: i64| if n - 1 - i < k as i64 { (n - 1 - i) as f32 } else { 0.0 };
    assert!(gradient.iter().zip(0..).all(|(&g, i)| g == want(i)));
    Ok(())
}

//! Indexing: what the conformance corpus is too small for, or cannot say.

use calor::{DType, Ellipsis, IndexItem, NewAxis, PadMode, Reduce, Slice, Tensor};

type Result = calor::Result<()>;

/// Numbers that are spread and repeat themselves.
fn spread(n: usize, below: usize) -> Vec<i32> {
    (0..n as u64).map(|i| ((i * 2_654_435_761 + 12_345) % 1_000_003 % below as u64) as i32).collect()
}

#[test]
fn many_sources_to_one_destination() -> Result {
    let n = 70_000;
    let index = Tensor::zeros([n], DType::I32)?;
    let t = Tensor::zeros([3], ())?.scatter_add(0, &index, &Tensor::ones([n], ())?)?;
    assert_eq!(t.to_vec::<f32>()?, [70_000.0, 0.0, 0.0]);
    let src = Tensor::ones([n, 2], ())?;
    let t = Tensor::zeros([3, 2], ())?.index_add(0, &index, &src, 1)?;
    assert_eq!(t.to_vec::<f32>()?, [70_000.0, 70_000.0, 0.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn sorted_sums_are_those_of_the_host() -> Result {
    for (n, rows, width) in [(3000, 500, 3), (20_000, 7, 1), (5000, 40_000, 2), (2000, 300, 8), (30, 5, 4)] {
        let index = spread(n, rows);
        let source: Vec<f32> = (0..n * width).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut want = vec![0.0f32; rows * width];
        for (k, &row) in index.iter().enumerate() {
            for w in 0..width {
                want[row as usize * width + w] += source[k * width + w];
            }
        }
        let index = Tensor::from_slice(&index, [n], ())?;
        let source = Tensor::from_slice(&source, [n, width], ())?;
        let got = Tensor::zeros([rows, width], ())?.index_add(0, &index, &source, 1)?;
        assert!(got.to_vec::<f32>()? == want, "{n} sources to {rows} rows of {width}");
    }
    Ok(())
}

#[test]
fn batches_are_sorted_apart() -> Result {
    let (batches, n, size) = (4, 3000, 900);
    let index = spread(batches * n, size);
    let source: Vec<f32> = (0..batches * n).map(|i| (i % 13) as f32).collect();
    let mut want = vec![0.0f32; batches * size];
    for (k, &at) in index.iter().enumerate() {
        want[k / n * size + at as usize] += source[k];
    }
    let index = Tensor::from_slice(&index, [batches, n], ())?;
    let source = Tensor::from_slice(&source, [batches, n], ())?;
    let got = Tensor::zeros([batches, size], ())?.scatter_add(1, &index, &source)?;
    assert!(got.to_vec::<f32>()? == want);
    Ok(())
}

#[test]
fn the_gradient_of_a_large_embedding_is_sparse_in_cost() -> Result {
    let (rows, width, n) = (50_000, 64, 4096);
    let weight = Tensor::zeros([rows, width], ())?.requires_grad_(true)?;
    let index = spread(n, rows);
    let picked = weight.embedding(&Tensor::from_slice(&index, [8, n / 8], ())?, Some(7))?;
    picked.sum()?.backward()?;
    let mut want = vec![0.0f32; rows];
    for &row in index.iter().filter(|&&r| r != 7) {
        want[row as usize] += 1.0;
    }
    let got = weight.grad().expect("a gradient").narrow(1, 5, 1)?.to_vec::<f32>()?;
    assert!(got == want);
    Ok(())
}

#[test]
fn the_last_of_many_stays() -> Result {
    let (n, size) = (90_000, 1000);
    let index = spread(n, size - 1);
    let mut want = vec![-1.0f32; size];
    for (k, &at) in index.iter().enumerate() {
        want[at as usize] = k as f32;
    }
    let source = Tensor::from_slice(&(0..n).map(|k| k as f32).collect::<Vec<_>>(), [n], ())?;
    let index = Tensor::from_slice(&index, [n], ())?;
    let base = Tensor::full([size], -1.0, ())?;
    assert!(base.scatter(0, &index, &source)?.to_vec::<f32>()? == want);
    assert!(base.index_copy(0, &index, &source)?.to_vec::<f32>()? == want);
    assert!(base.put(&index, &source, false)?.to_vec::<f32>()? == want);
    Ok(())
}

#[test]
fn large_reductions_are_those_of_the_host() -> Result {
    let (n, size) = (80_000, 30);
    let index = spread(n, size - 1);
    let source: Vec<f32> = (0..n).map(|k| ((k * 7919) % 1000) as f32).collect();
    let (mut sum, mut count, mut most) = (vec![0.0f64; size], vec![0; size], vec![f32::MIN; size]);
    for (&at, &v) in index.iter().zip(&source) {
        sum[at as usize] += f64::from(v);
        count[at as usize] += 1;
        most[at as usize] = most[at as usize].max(v);
    }
    let (index, source) = (Tensor::from_slice(&index, [n], ())?, Tensor::from_slice(&source, [n], ())?);
    let base = Tensor::full([size], 5.0, ())?;
    let mean = base.scatter_reduce(0, &index, &source, Reduce::Mean, false)?.to_vec::<f32>()?;
    let max = base.scatter_reduce(0, &index, &source, Reduce::Amax, false)?.to_vec::<f32>()?;
    for d in 0..size - 1 {
        assert!((f64::from(mean[d]) - sum[d] / f64::from(count[d])).abs() < 1e-2, "{d}: {}", mean[d]);
        assert_eq!(max[d], most[d]);
    }
    assert_eq!((mean[size - 1], max[size - 1]), (5.0, 5.0));
    Ok(())
}

#[test]
fn masks_pick_in_order() -> Result {
    let n = 100_003;
    let values = spread(n, 1000);
    let want: Vec<i32> = values.iter().copied().filter(|v| v % 3 == 0).collect();
    let t = Tensor::from_slice(&values, [n], ())?;
    let mask = t.remainder(3)?.eq(0)?;
    assert!(t.masked_select(&mask)?.to_vec::<i32>()? == want);
    assert!(t.i(&mask)?.to_vec::<i32>()? == want);
    assert_eq!(mask.nonzero()?.size(0)?, want.len());
    let none = t.i(&t.lt(0)?)?;
    assert_eq!((&none.shape()[..], none.to_vec::<i32>()?), (&[0][..], vec![]));
    // written back where they came from
    let back = Tensor::zeros([n], DType::I32)?.masked_scatter(&mask, &t.masked_select(&mask)?)?;
    let kept: Vec<i32> = values.iter().map(|v| if v % 3 == 0 { *v } else { 0 }).collect();
    assert!(back.to_vec::<i32>()? == kept);
    Ok(())
}

#[test]
fn indices_stand_where_pytorch_puts_them() -> Result {
    let t = Tensor::zeros([2, 3, 4, 5], ())?;
    let shape = |t: Tensor| t.shape().to_vec();
    let (a, b) = (Tensor::new([[0], [1]], ())?, Tensor::new([0, 1, 1], ())?);
    assert_eq!(shape(t.i((.., &a, &b))?), [2, 2, 3, 5]);
    assert_eq!(shape(t.i((&a, .., &b))?), [2, 3, 3, 5]);
    assert_eq!(shape(t.i((Ellipsis, &b))?), [2, 3, 4, 3]);
    assert_eq!(shape(t.i((0, .., &b))?), [3, 3, 5]);
    assert_eq!(shape(t.i((NewAxis, Ellipsis, 1..=2, -1))?), [1, 2, 3, 2]);
    assert_eq!(shape(t.i((.., (0..3).step_by(2), ..-1, 2..))?), [2, 2, 3, 3]);
    assert_eq!(shape(t.i((0usize, [2, 1, 0, 0]))?), [4, 4, 5]);
    assert_eq!(shape(t.i((&Tensor::new(1, ())?, .., &b))?), [3, 3, 5]);
    assert_eq!(shape(t.i(true)?), [1, 2, 3, 4, 5]);
    assert_eq!(shape(t.i(false)?), [0, 2, 3, 4, 5]);
    assert_eq!(shape(t.i(vec![IndexItem::At(0), IndexItem::NewAxis])?), [1, 3, 4, 5]);
    assert!(t.i(Slice::new(None, None).step(-1)).is_err());
    assert!(t.i((0, 0, 0, 0, 0)).is_err());
    assert!(t.i((Ellipsis, Ellipsis)).is_err());
    assert!(t.i(2).is_err() && t.i((.., -4)).is_err());
    Ok(())
}

#[test]
fn views_are_written_through_and_copies_are_not() -> Result {
    let t = Tensor::zeros([3, 4], ())?;
    let (row, column) = (t.i(1)?, t.i((.., -1))?);
    let copy = t.i([1, 1])?;
    row.add_(1.0)?;
    t.set((.., 3), 7.0)?;
    assert_eq!(t.to_vec::<f32>()?, [0.0, 0.0, 0.0, 7.0, 1.0, 1.0, 1.0, 7.0, 0.0, 0.0, 0.0, 7.0]);
    assert_eq!((row.to_vec::<f32>()?, column.to_vec::<f32>()?), (vec![1.0, 1.0, 1.0, 7.0], vec![7.0; 3]));
    assert_eq!(copy.to_vec::<f32>()?, [0.0; 8]);
    // an index tensor in a view writes to the view's storage
    row.set([0, 2], &Tensor::new([8.0f32, 9.0], ())?)?;
    assert_eq!(t.i(1)?.to_vec::<f32>()?, [8.0, 1.0, 9.0, 7.0]);
    t.i((.., 1..3))?.index_fill_(0, &Tensor::new([2], ())?, 5.0)?;
    assert_eq!(t.i(2)?.to_vec::<f32>()?, [0.0, 5.0, 5.0, 7.0]);
    t.set(&t.gt(6.0)?, 0.0)?;
    assert_eq!(t.i(1)?.to_vec::<f32>()?, [0.0, 1.0, 0.0, 0.0]);
    t.set((&Tensor::new(-1, ())?, 0), 4.0)?;
    assert_eq!(t.i((2, 0))?.item()?, 4.0);
    // the index is what it was at the call
    let index = Tensor::new([0, 1], ())?;
    let picked = t.index_select(0, &index)?;
    index.fill_(2)?;
    assert_eq!(picked.to_vec::<f32>()?[4..], [0.0, 1.0, 0.0, 0.0]);
    // a tensor that is read and written at once
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    x.set(1.., &x.i(..-1)?)?;
    assert_eq!(x.to_vec::<f32>()?, [1.0, 1.0, 2.0]);
    Ok(())
}

#[test]
fn gradients_pass_through_assignment() -> Result {
    let x = Tensor::ones([3], ())?.requires_grad_(true)?;
    let v = Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    let y = (&x * 3.0)?;
    y.set(1, &v)?;
    y.set([0, -1], &(&v * 10.0)?)?;
    y.i(1..)?.mul_(2.0)?;
    y.sum()?.backward()?;
    assert_eq!(x.grad().expect("of x").to_vec::<f32>()?, [0.0, 0.0, 0.0]);
    assert_eq!(v.grad().expect("of v").to_vec::<f32>()?, [2.0 + 10.0 + 20.0]);
    // the whole of it: a leaf as the new value
    let z = (&x * 1.0)?;
    z.set(.., &v)?;
    z.sum()?.backward()?;
    assert_eq!(v.grad().expect("of v").to_vec::<f32>()?, [35.0]);
    assert!(x.set(0, 1.0).is_err());
    Ok(())
}

#[test]
fn many_index_tensors_are_one() -> Result {
    let shape = [2, 3, 2, 3, 2, 3];
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|v| v as f32).collect();
    let t = Tensor::from_slice(&values, shape, ())?.requires_grad_(true)?;
    let pick = |below: usize| Tensor::from_slice(&spread(4, below), [4], ());
    let index: Vec<IndexItem> = shape.iter().map(|&s| Ok(pick(s)?.into())).collect::<calor::Result<_>>()?;
    let mut want = [0.0f32; 4];
    for (k, w) in want.iter_mut().enumerate() {
        *w = shape.iter().fold(0, |at, &s| at * s + spread(4, s)[k] as usize) as f32;
    }
    let picked = t.i(index.clone())?;
    assert_eq!(picked.to_vec::<f32>()?, want);
    picked.sum()?.backward()?;
    assert_eq!(t.grad().expect("a gradient").sum()?.item()?, 4.0);
    let u = Tensor::zeros(shape, ())?;
    u.set(index.clone(), 1.0)?;
    assert_eq!(u.i(index)?.to_vec::<f32>()?, [1.0; 4]);
    Ok(())
}

#[test]
fn an_empty_index_may_be_of_any_dtype() -> Result {
    let x = Tensor::new([1f32, 2.0, 3.0], ())?;
    for dtype in [DType::U8, DType::F32, DType::Bool, DType::I32, DType::I64] {
        let none = Tensor::zeros([0], dtype)?;
        assert_eq!(x.gather(0, &none)?.shape()[..], [0]);
        assert_eq!(x.scatter(0, &none, &x)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    }
    Ok(())
}

#[test]
fn indices_along_a_dimension_count_around() -> Result {
    let x = Tensor::new([[1f32, 2.0, 3.0]], ())?;
    let at = Tensor::new([[5i32, -1, -4, 3]], ())?;
    assert_eq!(x.take_along_dim(&at, Some(1))?.to_vec::<f32>()?, [3.0, 3.0, 3.0, 1.0]);
    Ok(())
}

#[test]
fn slices_that_are_filled_are_counted_from_the_end_too() -> Result {
    let x = Tensor::zeros([3], ())?;
    assert_eq!(x.index_fill(0, &Tensor::new([-1], ())?, 5.0)?.to_vec::<f32>()?, [0.0, 0.0, 5.0]);
    Ok(())
}

#[test]
fn integers_are_added_in_whole_multiples() -> Result {
    let (x, one) = (Tensor::zeros([3], DType::I32)?, Tensor::new([1], ())?);
    assert_eq!(x.index_add(0, &one, &Tensor::new([2], ())?, 2.5)?.to_vec::<i32>()?, [0, 4, 0]);
    Ok(())
}

#[test]
fn dimensions_that_i32_cannot_count_are_not_indexed() -> Result {
    // never computed: the shape alone is refused
    let x = Tensor::zeros([3_000_000_000], DType::U8)?;
    let index = Tensor::new([2_000_000_000], ())?;
    let all = [
        x.index_select(0, &index),
        x.take(&index),
        x.gather(0, &index),
        x.argmax(Some(0), false),
        x.sort(0, false).map(|s| s.0),
        x.kthvalue(1, 0, false).map(|s| s.0),
        x.cummax(0).map(|s| s.0),
        x.topk(1, 0, true).map(|s| s.0),
        x.nonzero(),
    ];
    for (i, refused) in all.into_iter().enumerate() {
        let told = refused.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(told.contains("cannot be counted by i32"), "{i}: {told}");
    }
    Ok(())
}

#[test]
fn the_median_of_no_integers() -> Result {
    assert_eq!(Tensor::zeros([0], DType::I32)?.median()?.to_vec::<i32>()?, [i32::MIN]);
    assert_eq!(Tensor::zeros([0], DType::U8)?.nanmedian()?.to_vec::<u8>()?, [0]);
    Ok(())
}

#[test]
fn what_is_cut_from_a_circle_does_not_come_round() -> Result {
    let x = Tensor::arange(0, 4, 1, DType::F32)?.reshape([1, 1, 4])?;
    let padded = |pad: [isize; 2]| x.pad(&pad, PadMode::Circular)?.to_vec::<f32>();
    assert_eq!(padded([-1, 2])?, [1.0, 2.0, 3.0, 1.0, 2.0]);
    assert_eq!(padded([2, -1])?, [1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_eq!(padded([-1, 3])?, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    assert_eq!(padded([-1, -1])?, [1.0, 2.0]);
    assert!(padded([-1, 4]).is_err() && padded([-4, 2]).is_err() && padded([-3, 2]).is_err());
    Ok(())
}

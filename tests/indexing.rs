//! Indexing: what the conformance corpus is too small for, or cannot say.

use calor::{ErrorKind, Tensor};

type Result = calor::Result<()>;

/// Numbers that are spread and repeat themselves.
fn spread(n: usize, below: usize) -> Vec<i32> {
    (0..n as u64).map(|i| ((i * 2_654_435_761 + 12_345) % 1_000_003 % below as u64) as i32).collect()
}

#[test]
fn many_sources_to_one_destination() -> Result {
    let n = 70_000;
    let index = Tensor::zeros([n], calor::DType::I32)?;
    let t = Tensor::zeros([3], ())?.scatter_add(0, &index, &Tensor::ones([n], ())?)?;
    assert_eq!(t.to_vec::<f32>()?, [70_000.0, 0.0, 0.0]);
    let src = Tensor::ones([n, 2], ())?;
    let t = Tensor::zeros([3, 2], ())?.index_add(0, &index, &src, 1)?;
    assert_eq!(t.to_vec::<f32>()?, [70_000.0, 70_000.0, 0.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn sorted_sums_are_those_of_the_host() -> Result {
    for (n, rows, width) in [(3000, 500, 3), (20_000, 7, 1), (5000, 40_000, 2)] {
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
fn an_index_out_of_range_is_an_error_at_the_next_read() -> Result {
    let t = Tensor::ones([4, 3], ())?;
    for bad in [4, -1, i32::MAX] {
        let index = Tensor::new([0, bad], ())?;
        let e = t.index_select(0, &index)?.to_vec::<f32>().expect_err("out of range");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Index, "index_select"));
        // the device goes on
        assert_eq!(t.sum()?.item()?, 12.0);
        let e = t.index_add(0, &index, &Tensor::ones([2, 3], ())?, 1)?.to_vec::<f32>().expect_err("out of range");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Index, "index_add"));
        assert_eq!(t.index_select(0, &Tensor::new([3], ())?)?.sum()?.item()?, 3.0);
    }
    Ok(())
}

//! Indices and probabilities out of range, which only the device sees. One test: a device's errors belong to whoever reads next.

use calor::nn::functional::{cross_entropy, nll_loss};
use calor::{DType, ErrorKind, Interpolation, Reduce, Tensor};

type Result = calor::Result<()>;

#[test]
fn indices_out_of_range_are_errors_at_the_next_read() -> Result {
    the_next_read_says_so()?;
    probabilities_out_of_range_are_errors()?;
    every_operation_reports_indices_out_of_range()
}

fn the_next_read_says_so() -> Result {
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

fn probabilities_out_of_range_are_errors() -> Result {
    for bad in [-0.25f32, 1.25, f32::NAN, f32::INFINITY] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let p = Tensor::new([0.5, bad], ())?.to_dtype(dtype)?;
            let e = p.bernoulli()?.read_bytes().expect_err("no probability");
            assert_eq!((e.kind(), e.op()), (ErrorKind::Value, "bernoulli"), "{e}");
            let e = Tensor::zeros([2], ())?.bernoulli_(&p)?.to_vec::<f32>().expect_err("no probability");
            assert!(e.to_string().contains("not between 0 and 1"), "{e}");
        }
    }
    // the bounds themselves are probabilities
    assert_eq!(Tensor::new([0.0f32, 1.0], ())?.bernoulli()?.to_vec::<f32>()?, [0.0, 1.0]);
    Ok(())
}

fn every_operation_reports_indices_out_of_range() -> Result {
    let t = Tensor::ones([4, 3], ())?;
    let (wide, bad) = (Tensor::new([[0, 1, 4]], ())?, Tensor::new([0, 4], ())?);
    let (ones, row) = (Tensor::ones([1, 3], ())?, Tensor::ones([2, 3], ())?);
    let far = Tensor::new([12, 0], ())?;
    let cases: Vec<(&str, Tensor)> = vec![
        ("gather", t.gather(0, &wide)?),
        ("scatter", t.scatter(0, &wide, &ones)?),
        ("scatter_add", t.scatter_add(0, &wide, &ones)?),
        ("scatter_reduce", t.scatter_reduce(0, &wide, &ones, Reduce::Amax, true)?),
        ("index_copy", t.index_copy(0, &bad, &row)?),
        ("index_copy", t.index_copy(0, &Tensor::new([0, -1], ())?, &row)?),
        ("index_fill", t.index_fill(0, &Tensor::new([0, -5], ())?, 1.0)?),
        ("index_fill", t.index_fill(0, &bad, 1.0)?),
        ("index_put", t.index_put(&[Some(bad.clone())], 2.0, true)?),
        ("index", t.i(&bad)?),
        ("take", t.take(&far)?),
        ("put", t.put(&far, &Tensor::ones([2], ())?, false)?),
        ("embedding", t.embedding(&bad, None)?),
        ("masked_scatter", t.masked_scatter(&t.gt(0.0)?, &ones)?),
        ("one_hot", Tensor::new([0, 3], ())?.one_hot(Some(3))?.to_dtype(DType::F32)?),
        ("nll_loss", nll_loss(&row, &Tensor::new([0, 3], ())?, ())?),
        ("cross_entropy", cross_entropy(&row, &Tensor::new([-1, 0], ())?, ())?),
    ];
    for (op, out) in cases {
        let e = out.to_vec::<f32>().expect_err(op);
        assert_eq!(e.op(), op, "{e}");
        assert_eq!(t.sum()?.item()?, 12.0, "after {op}");
    }
    // numbers out of range, in tensors
    let (high, low) = (Tensor::new([0.5f32, 1.5], ())?, Tensor::new([-1i32; 4], ())?);
    for (op, out) in [
        ("quantile", t.quantile(&high, None, false, Interpolation::Linear)?),
        ("nanquantile", t.nanquantile(&high, None, false, Interpolation::Linear)?),
        ("cov", Tensor::ones([4], ())?.cov(1, Some(&low), None)?),
        ("repeat_interleave", t.repeat_interleave_to(&Tensor::new([2, 0, -1, 2], ())?, Some(0), 3)?),
        ("repeat_interleave", t.repeat_interleave_to(&Tensor::new([2, 0, 1, 2], ())?, Some(0), 3)?),
        ("repeat_interleave", t.repeat_interleave_to(&Tensor::new([2, 0, 1, 2], ())?, Some(0), 6)?),
    ] {
        let e = out.to_vec::<f32>().expect_err(op);
        assert_eq!((e.op(), e.kind()), (op, ErrorKind::Value), "{e}");
    }
    // of a result without elements nothing is computed; sums wrap
    for (times, size) in [(vec![2, 0, 1, 2], 0), (vec![i32::MAX, i32::MAX, 5, 0], 3)] {
        let out = t.repeat_interleave_to(&Tensor::new(times, ())?, Some(0), size).and_then(|out| out.to_vec::<f32>());
        assert_eq!(out.expect_err("another size").kind(), ErrorKind::Value);
    }
    if t.device().supports(DType::I64) {
        let out = t.repeat_interleave_to(&Tensor::new([(1i64 << 32) + 1, 1, 0, 0], ())?, Some(0), 2)?;
        assert_eq!(out.to_vec::<f32>().expect_err("more than an index reaches").kind(), ErrorKind::Value);
    }
    // a size that is told needs no read
    let before = t.device().counters().readbacks;
    let repeated = t.repeat_interleave_to(&Tensor::new([2, 0, 1, 2], ())?, Some(0), 5)?;
    assert_eq!(t.device().counters().readbacks, before);
    assert_eq!(repeated.shape()[..], [5, 3]);
    // an index of 2^32 is not 0
    if t.device().supports(DType::I64) {
        let huge = Tensor::new([1i64 << 32], ())?;
        assert!(t.index_select(0, &huge)?.to_vec::<f32>().is_err());
        // nor a class that comes round
        assert!(huge.one_hot(Some(3))?.to_dtype(DType::F32)?.to_vec::<f32>().is_err());
    }
    Ok(())
}

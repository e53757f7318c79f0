//! Indices out of range, which only the device sees. One test: a device's errors belong to whoever reads next.

use calor::{DType, ErrorKind, Reduce, Tensor};

type Result = calor::Result<()>;

#[test]
fn indices_out_of_range_are_errors_at_the_next_read() -> Result {
    the_next_read_says_so()?;
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
        ("index_fill", t.index_fill(0, &bad, 1.0)?),
        ("index_put", t.index_put(&[Some(bad.clone())], 2.0, true)?),
        ("index", t.i(&bad)?),
        ("take", t.take(&far)?),
        ("put", t.put(&far, &Tensor::ones([2], ())?, false)?),
        ("embedding", t.embedding(&bad, None)?),
        ("masked_scatter", t.masked_scatter(&t.gt(0.0)?, &ones)?),
    ];
    for (op, out) in cases {
        let e = out.to_vec::<f32>().expect_err(op);
        assert_eq!(e.op(), op, "{e}");
        assert_eq!(t.sum()?.item()?, 12.0, "after {op}");
    }
    // an index of 2^32 is not 0
    if t.device().supports(DType::I64) {
        let huge = Tensor::new([1i64 << 32], ())?;
        assert!(t.index_select(0, &huge)?.to_vec::<f32>().is_err());
    }
    Ok(())
}

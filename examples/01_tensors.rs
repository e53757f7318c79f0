//! Tensors: making them, computing, views that share storage, errors that say what is wrong.

use calor::{DType, Result, Tensor};

fn main() -> Result<()> {
    // numbers from the host, nested as deep as they are
    let a = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], ())?;
    println!("a is {:?} of {} on {}", &a.shape()[..], a.dtype(), a.device().facts().name);

    // operators take tensors and numbers, broadcast, and chain: each gives a Result that the next one takes
    let row = Tensor::new([10.0f32, 20.0, 30.0], ())?;
    let b = ((&a + &row)? * 2.0)?;
    println!("(a + row) * 2 = {:?}", b.to_vec::<f32>()?);
    assert_eq!(b.to_vec::<f32>()?, [22.0, 44.0, 66.0, 28.0, 50.0, 72.0]);

    // nothing ran until `to_vec`; what runs is one kernel for the whole expression
    let c = ((&a * &a)?.exp()? - 1.0)?.sqrt()?;
    print!("{}", c.explain()?);
    assert!(c.explain()?.starts_with("1 kernels"));

    // reductions and matrix products
    let gram = a.matmul(&a.t()?)?;
    assert_eq!(gram.to_vec::<f32>()?, [14.0, 32.0, 32.0, 77.0]);
    assert_eq!(a.sum_dims(&[0], false)?.to_vec::<f32>()?, [5.0, 7.0, 9.0]);

    // a view shares storage: what is written through it is seen in the tensor
    let grid = Tensor::zeros([2, 3], ())?;
    let column = grid.select(1, 1)?;
    column.add_(7.0)?;
    println!("grid after column.add_(7) = {:?}", grid.to_vec::<f32>()?);
    assert_eq!(grid.to_vec::<f32>()?, [0.0, 7.0, 0.0, 0.0, 7.0, 0.0]);

    // dtypes meet as in PyTorch: an integer tensor and a float number give floats
    let half = (Tensor::new([1, 2, 3], ())? * 0.5)?;
    assert_eq!((half.dtype(), half.to_vec::<f32>()?), (DType::F32, vec![0.5, 1.0, 1.5]));

    // whatever does not fit is an error with both values, never a panic
    let wrong = a.matmul(&row.unsqueeze(0)?).map(|_| ()).unwrap_err();
    println!("a x row: {wrong}");
    assert_eq!(wrong.to_string(), "matmul: inner sizes differ, [2, 3] x [1, 3]");
    Ok(())
}

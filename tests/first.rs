//! A first round trip.
use calor::Tensor;

#[test]
fn first() -> calor::Result<()> {
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    println!("{:?}", x.device().facts());
    let y = (x.matmul(&x)? + 1.0)?;
    println!("{}", y.explain()?);
    assert_eq!(y.to_vec::<f32>()?, [8.0, 11.0, 16.0, 23.0]);
    let x = Tensor::new([3.0f32, 4.0], ())?.requires_grad_(true)?;
    let y = (&x * &x)?.sum()?;
    y.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [6.0, 8.0]);
    assert_eq!(y.item()?, 25.0);
    let t = Tensor::zeros([3, 4], ())?;
    t.select(1, 2)?.add_(1.0)?;
    assert_eq!(t.to_vec::<f32>()?, [0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 1., 0.]);
    let big = Tensor::ones([5_000_000], ())?;
    assert_eq!(big.sum()?.item()?, 5_000_000.0);
    println!("{}", big.sum()?.explain()?);
    Ok(())
}

//! Gradients: backward, accumulation, gradients of gradients, numbers that are kept out.

use calor::autograd::{Backward, grad};
use calor::{Error, ErrorKind, Result, Tensor, no_grad};

fn unused() -> Error {
    Error::new(ErrorKind::Autograd, "grad", "the result does not depend on it")
}

fn main() -> Result<()> {
    // d/dx sum(x^3) = 3 x^2
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?.requires_grad_(true)?;
    let y = (&(&x * &x)? * &x)?.sum()?;
    y.backward()?;
    let dx = x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?;
    println!("d sum(x^3) / dx = {dx:?}");
    assert_eq!(dx, [3.0, 12.0, 27.0]);

    // another backward pass adds to what is there
    (&x * 10.0)?.sum()?.backward()?;
    assert_eq!(x.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f32>())?, [13.0, 22.0, 37.0]);

    // a second pass through the same graph is refused, since what it needs is gone
    let refused = y.backward().unwrap_err();
    println!("again: {refused}");

    // gradients are tensors with a history of their own: f = x^3, f' = 3 x^2, f'' = 6 x
    let x = Tensor::new([2.0f32], ())?.requires_grad_(true)?;
    let f = (&(&x * &x)? * &x)?.sum()?;
    let first = Backward::new().create_graph(true).grad(&[&f], &[&x], &[None])?.remove(0).ok_or_else(unused)?;
    let second = grad(&[&first.sum()?], &[&x])?.remove(0);
    println!("at 2: f' = {}, f'' = {}", first.item()?, second.item()?);
    assert_eq!((first.item()?, second.item()?), (12.0, 12.0));

    // Newton's method for the root of x^2 - 2, with the slope by backward
    let mut root = Tensor::new([1.0f32], ())?;
    for _ in 0..6 {
        let x = root.detach().requires_grad_(true)?;
        let f = (&(&x * &x)? - 2.0)?;
        let slope = grad(&[&f.sum()?], &[&x])?.remove(0);
        root = no_grad(|| &x - &(&f / &slope)?)?;
    }
    println!("sqrt 2 = {:.6}", root.item()?);
    assert!((root.item()? - 2f64.sqrt()).abs() < 1e-6);
    Ok(())
}

//! An operation of one's own: a line of WGSL, its gradient, and it fuses like those of the library.

use calor::autograd::gradcheck;
use calor::graph::{Body, Map};
use calor::{Result, Tensor};
use std::sync::Arc;

/// What one element becomes; `T` is one number or four at once.
const WGSL: &str = "
    fn bump(x: T) -> T { return x * exp(-x * x); }
";

/// `x e^(-x^2)`.
fn bump(x: &Tensor) -> Result<Tensor> {
    let mut body = Body::call_all("bump", 1);
    body.source = Some(WGSL.into());
    let map = Arc::new(Map { name: "bump".into(), body });
    let y = Tensor::apply(map, x.device(), (&x.shape(), x.dtype()), &[x], &[])?;
    // written with tensor operations, so it can be differentiated again
    Ok(y.with_grad("bump", &[x], |r| {
        let x = r.save(x);
        move |g| {
            let x = x.get()?;
            let slope = (1.0 - (x.square()? * 2.0)?)? * x.square()?.neg()?.exp();
            Ok([Some((g * slope)?)].into_iter().collect())
        }
    }))
}

fn main() -> Result<()> {
    let x = Tensor::new([-2.0f32, -0.5, 0.0, 0.5, 2.0], ())?;
    let y = bump(&x)?.to_vec::<f32>()?;
    println!("bump = {y:?}");
    assert!((y[3] - 0.5 * (-0.25f32).exp()).abs() < 1e-6);

    // with operations around it, it is still one kernel
    let z = (bump(&(&x * 0.5)?)?.tanh()? + 1.0)?;
    print!("{}", z.explain()?);
    assert!(z.explain()?.starts_with("1 kernels"));

    // the gradient agrees with differences
    let x = x.requires_grad_(true)?;
    gradcheck(|t| bump(&t[0]), &[&x], None)?;
    bump(&x)?.sum()?.backward()?;
    if let Some(g) = x.grad() {
        println!("slope = {:?}", g.to_vec::<f32>()?);
    }
    Ok(())
}

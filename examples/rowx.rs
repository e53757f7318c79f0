//! Scratch.
use calor::{Tensor, Result, nn::functional as f};
fn main() -> Result<()> {
    let n = |s: &[usize]| -> Result<Tensor> { let k: usize = s.iter().product(); Tensor::from_slice(&(0..k).map(|i| ((i*7919+13)%2003) as f32/1001.5-1.0).collect::<Vec<_>>(), s, ()) };
    let x = n(&[64, 100])?;
    let w = n(&[100])?; let b = n(&[100])?;
    Tensor::eval_all(&[w.clone(), b.clone()])?;
    println!("softmax {}", x.softmax(-1)?.explain()?);
    println!("softmax0 {}", x.softmax(0)?.explain()?);
    println!("lse {}", x.logsumexp(&[1], false)?.explain()?);
    println!("var {}", x.var_dims(&[1], 1.0, false)?.explain()?);
    println!("ln {}", f::layer_norm(&x, &[100], Some(&w), Some(&b), 1e-5)?.explain()?);
    let t = Tensor::new((0..64).map(|i| i % 100).collect::<Vec<i32>>(), ())?;
    println!("ce {}", f::cross_entropy(&x, &t, ())?.explain()?);
    let x = x.requires_grad_(true)?;
    let y = x.softmax(-1)?;
    let g = n(&[64, 100])?;
    y.eval()?;
    y.mul(&g)?.sum()?.backward()?;
    println!("softmax bwd {}", x.grad().unwrap().explain()?);
    x.set_grad(None);
    let y = f::layer_norm(&x, &[100], None, None, 1e-5)?;
    y.eval()?;
    y.mul(&g)?.sum()?.backward()?;
    println!("ln bwd {}", x.grad().unwrap().explain()?);
    x.set_grad(None);
    let y = f::cross_entropy(&x, &t, ())?;
    println!("ce train {}", y.explain()?);
    y.eval()?;
    y.backward()?;
    println!("ce bwd {}", x.grad().unwrap().explain()?);
    Ok(())
}

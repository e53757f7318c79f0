//! tmp
use calor::nn::Parameter;
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Result, Tensor};
#[test]
fn tmp_optim() -> Result<()> {
    let w: Vec<Parameter> = (0..6).map(|_| Parameter::new(&(Tensor::randn([256, 256], ())? * 0.1)?)).collect::<Result<_>>()?;
    let x = Tensor::randn([8, 256], ())?;
    x.eval()?;
    let device = x.device().clone();
    let p = 6.0 * 256.0 * 256.0 * 4.0;
    let mut o = AdamW::new(w.clone(), AdamWOptions::new(1e-3))?;
    for step in 0..5 {
        device.synchronize()?;
        device.reset_peak();
        let mut h = x.clone();
        for p in &w {
            h = h.matmul(&p.tensor())?.relu()?;
        }
        h.square()?.mean()?.backward()?;
        o.step()?;
        o.zero_grad();
        device.synchronize()?;
        println!("step {step}: peak {:.2} after {:.2} reserved {:.2}", device.memory_stats().peak as f64 / p, device.memory_stats().current as f64 / p, device.memory_stats().reserved as f64 / p);
    }
    Ok(())
}

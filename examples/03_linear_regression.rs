//! Linear regression: a layer, an optimizer, a loop. The weights that made the data are found again.

use calor::nn::{Layer, Linear, Module};
use calor::optim::{Optimizer, Sgd, SgdOptions};
use calor::{Device, Result, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn main() -> Result<()> {
    let device = Device::best()?;
    device.manual_seed(1);

    // y = 2 a - 3 b + 0.5, and a little noise
    let mut random = StdRng::seed_from_u64(1);
    let points: Vec<[f32; 2]> =
        (0..256).map(|_| [random.random_range(-1.0..1.0), random.random_range(-1.0..1.0)]).collect();
    let values: Vec<[f32; 1]> =
        points.iter().map(|[a, b]| [2.0 * a - 3.0 * b + 0.5 + random.random_range(-0.01..0.01)]).collect();
    let (x, y) = (Tensor::new(points, &device)?, Tensor::new(values, &device)?);

    let model = Linear::new(2, 1, &device)?;
    let mut sgd = Sgd::new(model.parameters(), SgdOptions::new(0.3).momentum(0.5))?;
    for step in 0..=60 {
        sgd.zero_grad();
        let loss = (model.forward(&x)? - &y)?.square()?.mean()?;
        loss.backward()?;
        sgd.step()?;
        // reading waits for the device: do it now and then only
        if step % 20 == 0 {
            println!("step {step:>2}  loss {:.6}", loss.item()?);
        }
    }

    let weight = model.weight.tensor().to_vec::<f32>()?;
    let bias = model.bias.as_ref().map_or(Ok(0.0), |b| b.tensor().item())?;
    println!("y = {:.3} a + {:.3} b + {bias:.3}", weight[0], weight[1]);
    assert!((weight[0] - 2.0).abs() < 0.01 && (weight[1] + 3.0).abs() < 0.01 && (bias - 0.5).abs() < 0.01);
    Ok(())
}

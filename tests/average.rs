//! Averages of parameters: their values, what an update costs, states, running statistics.

use calor::nn::{BatchNorm1d, BatchNormOptions, Layer, Linear, LinearOptions, Module, Parameter, Sequential, init};
use calor::optim::{AdamW, AdamWOptions, Average, AveragedModel, Optimizer, update_bn};
use calor::{DType, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model() -> Result<Sequential> {
    Ok(Sequential::new().add(Linear::new(3, 5, ())?).add(BatchNorm1d::new(5, ())?).add(Linear::new(5, 2, ())?))
}

fn values(parameters: &[Parameter]) -> Result<Vec<f64>> {
    let mut out = Vec::new();
    for p in parameters {
        out.extend(p.tensor().detach().to_vec::<f32>()?.into_iter().map(f64::from));
    }
    Ok(out)
}

/// Steps that make parameters different each time.
fn step(model: &Sequential, adam: &mut AdamW, seed: usize) -> Result<()> {
    let x: Vec<f32> = (0..24).map(|i| ((i * 37 + seed * 11) % 17) as f32 / 8.0 - 1.0).collect();
    model.forward(&Tensor::from_slice(&x, [8, 3], ())?)?.square()?.sum()?.backward()?;
    adam.step()?;
    adam.zero_grad();
    Ok(())
}

#[test]
fn averages_follow_their_definition() -> Result<()> {
    let _turn = turn();
    for rule in [Average::Swa, Average::Ema { decay: 0.8 }] {
        let model = model()?;
        let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(0.1))?;
        let mut average = AveragedModel::new(self::model()?, &model, rule)?;
        let (mut want, mut kernels) = (Vec::new(), Vec::new());
        let device = model.parameters()[0].tensor().device().clone();
        for n in 0..6 {
            step(&model, &mut adam, n)?;
            device.synchronize()?;
            let before = device.counters();
            average.update_parameters(&model)?;
            device.synchronize()?;
            let after = device.counters();
            kernels.push(after.dispatches - before.dispatches);
            assert_eq!(after.readbacks, before.readbacks);
            let now = values(&model.parameters())?;
            want = match (n, rule) {
                (0, _) => now,
                (n, Average::Swa) => want.iter().zip(&now).map(|(w, x)| w + (x - w) / (n + 1) as f64).collect(),
                (_, Average::Ema { decay }) => {
                    want.iter().zip(&now).map(|(w, x)| w * decay + x * (1.0 - decay)).collect()
                }
            };
            for (got, want) in values(&average.parameters())?.iter().zip(&want) {
                assert!((got - want).abs() < 1e-5, "{rule:?}, {n}: {got}, expected {want}");
            }
            // buffers are the model's
            for ((name, a), (_, b)) in average.module().named_buffers().iter().zip(model.named_buffers()) {
                assert_eq!(a.tensor().to_host()?.bytes, b.tensor().to_host()?.bytes, "{name}");
            }
        }
        // one for all parameters, the rest for three buffers and the count
        assert!(kernels[1..].iter().all(|k| *k <= 5), "{kernels:?}");
        assert_eq!(average.state_dict().get("n_averaged").expect("a count").item()?, 6.0);
        assert_eq!(average.state_dict().names().nth(1), Some("module.0.weight"));
        // a loaded state goes on
        let mut other = AveragedModel::new(self::model()?, &self::model()?, rule)?;
        other.load_state_dict(&average.state_dict(), true)?;
        step(&model, &mut adam, 9)?;
        average.update_parameters(&model)?;
        other.update_parameters(&model)?;
        assert_eq!(values(&average.parameters())?, values(&other.parameters())?);
    }
    Ok(())
}

#[test]
fn buffers_are_averaged_if_asked_and_halves_in_full_precision() -> Result<()> {
    let _turn = turn();
    let one = |value: f64| -> Result<BatchNorm1d> {
        let norm = BatchNorm1d::new(2, ())?;
        init::constant_(&norm.running_mean.as_ref().expect("a mean").tensor(), value)?;
        Ok(norm)
    };
    let mut average = AveragedModel::new(one(0.0)?, &one(0.0)?, Average::Swa)?.use_buffers(true);
    for value in [2.0, 4.0, 9.0] {
        average.update_parameters(&one(value)?)?;
    }
    let mean = average.module().running_mean.as_ref().expect("a mean").tensor();
    assert_eq!(mean.to_vec::<f32>()?, [5.0, 5.0]);
    // an average in f32 of a model in bf16
    let (whole, half) = (Linear::new(3, 1, ())?, Linear::new(3, 1, LinearOptions::default().tensor(DType::BF16))?);
    let mut average = AveragedModel::new(whole, &half, Average::Ema { decay: 0.5 })?;
    for value in [1.0, 1.0078125] {
        half.parameters().iter().try_for_each(|p| init::constant_(&p.tensor(), value))?;
        average.update_parameters(&half)?;
    }
    assert_eq!(average.module().weight.tensor().to_vec::<f32>()?, [1.00390625; 3]);
    assert_eq!(average.module().bias.as_ref().expect("a bias").tensor().item()?, 1.00390625);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let _turn = turn();
    assert!(AveragedModel::new(Linear::new(2, 2, ())?, &Linear::new(2, 3, ())?, Average::Swa).is_err());
    assert!(AveragedModel::new(Linear::new(2, 2, ())?, &Linear::new(2, 2, ())?, Average::Ema { decay: 1.5 }).is_err());
    let mut average = AveragedModel::new(Linear::new(2, 2, ())?, &Linear::new(2, 2, ())?, Average::Swa)?;
    assert!(average.update_parameters(&Linear::new(2, 3, ())?).is_err());
    assert!(average.update_parameters(&Linear::new(2, 2, LinearOptions::default().bias(false))?).is_err());
    Ok(())
}

#[test]
fn statistics_are_those_of_all_batches() -> Result<()> {
    let _turn = turn();
    let norm = BatchNorm1d::new(1, BatchNormOptions::default().momentum(Some(0.3)))?;
    norm.forward(&Tensor::new([[100.0f32], [300.0]], ())?)?;
    norm.eval();
    let batches = [[[0.0f32], [2.0]], [[4.0], [8.0]], [[1.0], [3.0]]];
    update_bn(&norm, batches.map(|x| Tensor::new(x, ())), |x| norm.forward(x))?;
    let value = |b: &Option<calor::nn::Buffer>| b.as_ref().expect("a buffer").tensor().item();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a}, expected {b}");
    near(value(&norm.running_mean)?, (1.0 + 6.0 + 2.0) / 3.0);
    near(value(&norm.running_var)?, (2.0 + 8.0 + 2.0) / 3.0);
    near(value(&norm.num_batches_tracked)?, 3.0);
    // the momentum is as it was
    norm.forward(&Tensor::new([[13.0f32], [13.0]], ())?)?;
    near(value(&norm.running_mean)?, 3.0 * 0.7 + 13.0 * 0.3);
    // also after an error
    assert!(update_bn(&norm, [Tensor::new([[1.0f32, 2.0]], ())], |x| norm.forward(x)).is_err());
    assert!(!norm.cumulative.get());
    Ok(())
}

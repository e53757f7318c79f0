//! Averages of models against PyTorch's values (`tests/torch/optim.py`), their state, and what an update costs.

use calor::nn::{BatchNorm1d, Buffer, Dropout, Hooked, Layer, Linear, Module, Sequential};
use calor::optim::{AveragedModel, get_ema_avg_fn, get_swa_avg_fn, update_bn};
use calor::{DType, Error, ErrorKind, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(shape: &[usize], seed: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (((i * 37 + 5 * seed) % 23) as f32 - 11.0) / 8.0).collect();
    Tensor::from_slice(&values, shape, ())
}

fn close(what: &str, got: &Tensor, want: &[f32]) -> Result<()> {
    let got = got.detach().to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 3e-6 * w.abs().max(1.0), "{what}: {got:?}, expected {want:?}");
    }
    Ok(())
}

fn model() -> Result<Sequential> {
    let model = Sequential::new().add(Linear::new(2, 3, ())?).add(BatchNorm1d::new(3, ())?);
    model.parameters()[1].copy_from(&numbers(&[3], 9)?)?;
    Ok(model)
}

fn trained(average: &AveragedModel<Sequential>, model: &Sequential) -> Result<()> {
    for step in 0..4 {
        model.parameters()[0].copy_from(&numbers(&[3, 2], step)?)?;
        model.forward(&numbers(&[4, 2], step + 7)?)?;
        average.update_parameters(model)?;
    }
    Ok(())
}

#[test]
fn averages_are_those_of_pytorch() -> Result<()> {
    let _turn = turn();
    const SWA: [f32; 6] = [-0.4375, -0.125, 0.1875, -0.21875, 0.09375, -0.3125];
    const EMA: [f32; 6] = [-1.024375, 0.179375, -0.399375, 0.5715, -0.061875, -0.899375];
    const LAST: [[f32; 3]; 2] = [[0.45983, 0.104038, -0.29301], [1.146261, 1.026879, 1.036693]];
    let want = [
        (false, false, SWA, LAST),
        (true, false, EMA, LAST),
        (false, true, SWA, [[0.265187, 0.053023, -0.178619], [1.152567, 1.055549, 0.993796]]),
        (true, true, EMA, [[0.154588, 0.01532, -0.119631], [1.124443, 1.053943, 0.995563]]),
    ];
    for (ema, use_buffers, weight, [mean, var]) in want {
        let rule = if ema { get_ema_avg_fn(0.9)? } else { get_swa_avg_fn() };
        let model = model()?;
        let twin = Sequential::new().add(Linear::new(2, 3, ())?).add(BatchNorm1d::new(3, ())?);
        let average = AveragedModel::new(&model, twin)?.avg_fn(rule).use_buffers(use_buffers);
        trained(&average, &model)?;
        let state = average.state_dict();
        let of = |name: &str| state.get(name).expect("a name of PyTorch's");
        assert_eq!(of("n_averaged").item()?, 4.0);
        close("weight", of("module.0.weight"), &weight)?;
        close("mean", of("module.1.running_mean"), &mean)?;
        close("var", of("module.1.running_var"), &var)?;

        // one that takes its state goes on as it does
        let twin = Sequential::new().add(Linear::new(2, 3, ())?).add(BatchNorm1d::new(3, ())?);
        let rule = if ema { get_ema_avg_fn(0.9)? } else { get_swa_avg_fn() };
        let other = AveragedModel::new(&model, twin)?.avg_fn(rule).use_buffers(use_buffers);
        other.load_state_dict(&state, true)?;
        average.update_parameters(&model)?;
        other.update_parameters(&model)?;
        for ((name, a), (_, b)) in average.state_dict().iter().zip(other.state_dict().iter()) {
            assert_eq!(a.read_bytes()?, b.read_bytes()?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn statistics_are_the_mean_over_batches() -> Result<()> {
    let _turn = turn();
    let model = Sequential::new().add(model()?).add(Dropout::new(0.5)?);
    // the weight that the last average of the script has
    let weight = Tensor::new([[-1.024375f32, 0.179375], [-0.399375, 0.5715], [-0.061875, -0.899375]], ())?;
    model.parameters()[0].copy_from(&weight)?;
    let norm = model.state_dict();
    let flags = [false, true];
    for training in flags {
        if training {
            model.train();
        } else {
            model.eval();
        }
        let batches = [(4, 1), (4, 2), (6, 3)].map(|(n, seed)| numbers(&[n, 2], seed));
        update_bn(batches, &model, |x| model.forward(&x))?;
        close("mean", norm.get("0.1.running_mean").expect("mean"), &[1.196159, 0.087973, -0.718298])?;
        close("var", norm.get("0.1.running_var").expect("var"), &[0.92793, 0.504521, 0.580987])?;
        // the flags are as before: dropout drops in training alone
        let y = model.forward(&numbers(&[64, 2], 1)?)?.to_vec::<f32>()?;
        assert_eq!(y.contains(&0.0), training);
    }
    model.eval();
    let failing = [Err(Error::new(ErrorKind::Io, "batch", "gone")), numbers(&[4, 2], 1)];
    assert_eq!(update_bn(failing, &model, |x| model.forward(&x)).unwrap_err().kind(), ErrorKind::Io);
    assert!(!model.forward(&numbers(&[64, 2], 1)?)?.to_vec::<f32>()?.contains(&0.0));
    // without batch normalisation nothing is asked for
    let plain = Linear::new(2, 2, ())?;
    update_bn([Err::<Tensor, Error>(Error::new(ErrorKind::Io, "batch", "gone"))], &plain, |x| plain.forward(&x))
}

#[test]
fn an_update_is_one_kernel_of_any_number_of_parameters() -> Result<()> {
    let _turn = turn();
    let cost = |n: usize| -> Result<(u64, u64)> {
        let make = || (0..n).map(|_| Linear::new(3, 5, ())).collect::<Result<calor::nn::ModuleList<_>>>();
        let model = make()?;
        let average = AveragedModel::new(&model, make()?)?.avg_fn(get_ema_avg_fn(0.5)?);
        let device = average.n_averaged.tensor().device().clone();
        (0..3).try_for_each(|_| average.update_parameters(&model))?;
        device.synchronize()?;
        let before = device.counters();
        average.update_parameters(&model)?;
        device.synchronize()?;
        let after = device.counters();
        Ok((after.dispatches - before.dispatches, after.readbacks - before.readbacks))
    };
    let (few, many) = (cost(3)?, cost(50)?);
    assert_eq!(few, many);
    // the average, and the count of models
    assert!(many.0 <= 2 && many.1 == 0, "{many:?} kernels and readbacks");
    Ok(())
}

#[test]
fn what_cannot_be_averaged_is_refused() -> Result<()> {
    let _turn = turn();
    let linear = Linear::new(2, 2, ())?;
    let kind = |r: Result<AveragedModel<Linear>>| r.map(drop).unwrap_err().kind();
    assert_eq!(kind(AveragedModel::new(&linear, linear.clone())), ErrorKind::Value);
    assert_eq!(kind(AveragedModel::new(&linear, Linear::new(3, 2, ())?)), ErrorKind::Shape);
    assert_eq!(
        kind(AveragedModel::new(&linear, Linear::new(2, 2, calor::nn::LinearOptions::default().bias(false))?)),
        ErrorKind::Value
    );
    for decay in [-0.1, 1.1, f64::NAN] {
        assert!(get_ema_avg_fn(decay).is_err());
    }
    // an average of another dtype keeps its own
    let twin = Linear::new(2, 2, ())?;
    twin.to(DType::F16)?;
    let average = AveragedModel::new(&linear, twin)?;
    average.update_parameters(&linear)?;
    let weight = average.module.weight.tensor();
    assert_eq!(weight.dtype(), DType::F16);
    let want = linear.weight.tensor().detach().to_dtype(DType::F16)?;
    assert_eq!(weight.read_bytes()?, want.read_bytes()?);
    assert_eq!(linear.to(DType::I32).unwrap_err().kind(), ErrorKind::DType);
    Ok(())
}

/// Its name begins as that of a batch normalisation does.
#[derive(Module)]
struct BatchNormNet {
    norm: Hooked<BatchNorm1d>,
    steps: Buffer,
}

#[test]
fn only_statistics_of_batch_normalisations_are_computed_anew() -> Result<()> {
    let _turn = turn();
    let norm = Hooked::new(BatchNorm1d::new(1, ())?);
    let net = BatchNormNet { norm, steps: Buffer::new(&Tensor::new([7.0f32], ())?) };
    update_bn([numbers(&[4, 1], 3)?].map(Ok), &net, |x| net.norm.forward(&x))?;
    assert_eq!(net.steps.tensor().item()?, 7.0);
    let count = |net: &BatchNormNet| net.state_dict().get("norm.num_batches_tracked").expect("a count").item();
    assert_eq!(count(&net)?, 1.0);
    // they start anew, as the model itself or within another one
    update_bn([numbers(&[4, 1], 3)?].map(Ok), &net.norm, |x| net.norm.forward(&x))?;
    assert_eq!((count(&net)?, net.steps.tensor().item()?), (1.0, 7.0));
    Ok(())
}

//! Mixed precision: classes of operations, weights and their gradients, scopes, training.
//!
//! Readbacks are the device's own, so the tests of this file take turns.

use calor::nn::functional as f;
use calor::nn::functional::{AttentionOptions, Reduction, Resize};
use calor::nn::{GRU, LSTM, LSTMCell, Layer, Linear, LinearOptions, Module, Parameter};
use calor::optim::{AdamW, AdamWOptions, GradScaler, GradScalerOptions, Optimizer, Sgd, SgdOptions};
use calor::{DType, ErrorKind, Factors, Result, Tensor, autocast, autocast_dtype, autocast_off, einsum, multi_dot};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ones(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Tensor::ones(shape, dtype)
}

#[test]
fn operations_compute_in_the_type_of_their_class() -> Result<()> {
    let _turn = turn();
    let (single, long) = (ones(&[2, 2], DType::F32)?, Tensor::new([0, 1], ())?);
    for half in [DType::F16, DType::BF16] {
        let _on = autocast(half)?;
        let low = ones(&[2, 2], half)?;
        // one operand of each type: products meet in the half type
        let image = ones(&[1, 2, 4, 4], DType::F32)?;
        let kernel = ones(&[2, 2, 3, 3], half)?;
        let conv = (&[1, 1][..], f::Padding::Valid, &[1, 1][..]);
        let heads = |t: &Tensor| t.reshape([1, 1, 2, 2]);
        let lowered: Vec<(&str, Tensor)> = vec![
            ("matmul", single.matmul(&low)?),
            ("mm", low.mm(&single)?),
            ("mv", single.mv(&ones(&[2], half)?)?),
            ("bmm", single.unsqueeze(0)?.bmm(&low.unsqueeze(0)?)?),
            ("addmm", single.addmm(&low, &single, Factors::default())?),
            ("linear", f::linear(&single, &low, Some(&ones(&[2], DType::F32)?))?),
            ("conv2d", f::conv(&image, &kernel, Some(&ones(&[2], DType::F32)?), conv, 1)?),
            (
                "attention",
                f::scaled_dot_product_attention(
                    &heads(&single)?,
                    &heads(&low)?,
                    &heads(&single)?,
                    &AttentionOptions::default(),
                )?,
            ),
            ("prelu", single.prelu(&ones(&[1], half)?)?),
            ("addr", single.addr(&ones(&[2], half)?, &ones(&[2], DType::F32)?, Factors::default())?),
            ("einsum", einsum("ij,jk->ik", &[&single, &low])?),
            ("multi_dot", multi_dot(&[&single, &low, &single])?),
            ("vecdot", single.linalg_vecdot(&low, -1)?),
        ];
        for (name, t) in lowered {
            assert_eq!(t.dtype(), half, "{name}");
        }
        let full: Vec<(&str, Tensor)> = vec![
            ("exp", low.exp()?),
            ("log", low.log()?),
            ("rsqrt", low.rsqrt()?),
            ("pow", low.pow(2.0)?),
            ("softplus", low.softplus(1.0, 20.0)?),
            ("sum", low.sum()?),
            ("prod", low.prod()?),
            ("cumsum", low.cumsum(0)?),
            ("norm", low.norm()?),
            ("softmax", low.softmax(-1)?),
            ("log_softmax", low.log_softmax(-1)?),
            ("layer_norm", f::layer_norm(&low, &[2], None, None, 1e-5)?),
            ("group_norm", f::group_norm(&low, 1, None, None, 1e-5)?),
            ("cross_entropy", f::cross_entropy(&low, &long, ())?),
            ("mse_loss", f::mse_loss(&low, &low, Reduction::Mean)?),
            ("cdist", low.cdist(&low, 2.0)?),
        ];
        for (name, t) in full {
            assert_eq!(t.dtype(), DType::F32, "{name}");
        }
        let kept: Vec<(&str, Tensor)> = vec![
            ("relu", low.relu()?),
            ("tanh", low.tanh()?),
            ("gelu", low.gelu(calor::Approximate::None)?),
            ("mean", low.mean()?),
            ("var", low.var()?),
            ("max", low.max()?),
            ("add", low.add(&low)?),
            ("batch_norm", f::batch_norm(&low, None, None, None, true, &f::Momentum::Share(0.1), 1e-5)?),
        ];
        for (name, t) in kept {
            assert_eq!(t.dtype(), half, "{name}");
        }
        assert_eq!(low.add(&single)?.dtype(), DType::F32, "others promote");
        // what is written keeps its dtype
        assert_eq!(low.exp_()?.dtype(), half);
        let e = f::binary_cross_entropy(&low.sigmoid()?, &low, None, Reduction::Mean).expect_err("unsafe");
        assert!(e.kind() == ErrorKind::DType && e.message().contains("unsafe to autocast"), "{e}");
        if single.device().supports(DType::F64) {
            let double = ones(&[2, 2], DType::F64)?;
            assert_eq!(double.matmul(&double)?.dtype(), DType::F64, "doubles stay");
        }
    }
    Ok(())
}

#[test]
fn scopes_nest_and_end() -> Result<()> {
    let _turn = turn();
    let x = ones(&[2, 2], DType::F32)?;
    let dtype = || -> Result<DType> { Ok(x.matmul(&x)?.dtype()) };
    assert_eq!((autocast_dtype(), dtype()?), (None, DType::F32));
    {
        let _outer = autocast(DType::F16)?;
        assert_eq!(dtype()?, DType::F16);
        {
            let _inner = autocast(DType::BF16)?;
            assert_eq!(dtype()?, DType::BF16);
            let _off = autocast_off();
            assert_eq!(dtype()?, DType::F32);
        }
        assert_eq!(dtype()?, DType::F16);
        let other = std::thread::spawn(autocast_dtype).join().expect("a thread");
        assert_eq!(other, None, "a scope is its thread's");
    }
    assert_eq!(dtype()?, DType::F32);
    for dtype in [DType::F32, DType::F64, DType::I32] {
        assert_eq!(autocast(dtype).map(drop).expect_err("no half type").kind(), ErrorKind::DType);
    }
    Ok(())
}

#[test]
fn weights_are_lowered_once_and_follow_their_source() -> Result<()> {
    let _turn = turn();
    let w = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?.requires_grad_(true)?;
    let x = ones(&[1, 2], DType::F32)?;
    let _on = autocast(DType::BF16)?;
    let product = || -> Result<Vec<f32>> { x.matmul(&w)?.to_dtype(DType::F32)?.to_vec() };
    assert_eq!(product()?, [4.0, 6.0]);
    calor::no_grad(|| w.fill_(5.0))?;
    assert_eq!(product()?, [10.0, 10.0], "a write is seen");
    // a copy without history must not serve a pass that wants one
    calor::no_grad(product)?;
    for round in 1..=2 {
        // twice in one pass, and again after the history was walked
        let y = (x.matmul(&w)? + x.matmul(&w)?)?;
        y.sum()?.backward()?;
        let g = w.grad().expect("a gradient");
        assert_eq!((g.dtype(), g.to_vec::<f32>()?), (DType::F32, vec![2.0 * round as f32; 4]));
    }
    Ok(())
}

#[test]
fn what_is_computed_again_has_the_precision_of_the_first_time() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([[1.0f32, 2.0]], ())?.requires_grad_(true)?;
    let y = {
        let _on = autocast(DType::BF16)?;
        calor::autograd::checkpoint(
            |inputs| {
                let y = inputs[0].matmul(&inputs[0].t()?)?;
                assert_eq!(y.dtype(), DType::BF16);
                Ok(y)
            },
            &[&x],
        )?
    };
    y.backward()?;
    assert_eq!(x.grad().expect("a gradient").to_vec::<f32>()?, [2.0, 4.0]);
    Ok(())
}

#[derive(Module)]
struct Mlp {
    first: Linear,
    second: Linear,
}

/// The loss after some steps, and the largest number of readbacks of a step.
fn train(half: Option<DType>) -> Result<(f64, u64)> {
    let x = Tensor::new([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ())?;
    let y = Tensor::new([0, 1, 1, 0], ())?;
    let device = x.device().clone();
    device.manual_seed(3);
    let model = Mlp {
        first: Linear::new(2, 16, LinearOptions::default())?,
        second: Linear::new(16, 2, LinearOptions::default())?,
    };
    let mut optimizer = AdamW::new(model.parameters(), AdamWOptions::new(0.05))?;
    let step = |optimizer: &mut AdamW| -> Result<Tensor> {
        let loss = {
            let _on = half.map(autocast).transpose()?;
            let hidden = model.first.forward(&x)?.tanh()?;
            assert_eq!(hidden.dtype(), half.unwrap_or(DType::F32));
            let scores = model.second.forward(&hidden)?;
            f::cross_entropy(&scores, &y, ())?
        };
        optimizer.zero_grad();
        loss.backward()?;
        optimizer.step()?;
        Ok(loss)
    };
    let mut reads = 0;
    for _ in 0..150 {
        let before = device.counters().readbacks;
        step(&mut optimizer)?;
        reads = reads.max(device.counters().readbacks - before);
    }
    Ok((step(&mut optimizer)?.item()?, reads))
}

#[test]
fn training_reaches_what_single_precision_does() -> Result<()> {
    let _turn = turn();
    let (single, _) = train(None)?;
    for half in [DType::BF16, DType::F16] {
        let (loss, reads) = train(Some(half))?;
        assert!(loss < 0.02 && (loss - single).abs() < 0.01, "{half}: {loss}, f32: {single}");
        assert_eq!(reads, 0, "a step reads nothing back");
    }
    Ok(())
}

#[test]
fn overflows_skip_steps_and_halve_the_scale_without_a_readback() -> Result<()> {
    let _turn = turn();
    let w = [[1.0f32, 2.0], [3.0, 4.0]]
        .map(|v| Parameter::new(&Tensor::new(v, ()).expect("a tensor")).expect("a parameter"));
    let device = w[0].tensor().device().clone();
    let mut adam = AdamW::new(w.clone(), AdamWOptions::new(0.1))?;
    let options = GradScalerOptions { init_scale: 1024.0, growth_interval: 2, ..Default::default() };
    let mut scaler = GradScaler::new(&device, options)?;
    let step = |scaler: &mut GradScaler, adam: &mut AdamW, factor: f64| -> Result<()> {
        adam.zero_grad();
        let loss = ((w[0].tensor() * factor)?.sum()? + w[1].tensor().sum()?)?;
        scaler.scale(&loss)?.backward()?;
        scaler.step(adam)?;
        scaler.update()
    };
    let values = |adam: &AdamW| -> Result<Vec<Vec<f32>>> {
        let kept = adam.state_dict();
        let kept = kept.state.values().flat_map(|s| s.values());
        let kept = kept.filter_map(|k| if let calor::optim::Kept::Tensor(t) = k { Some(t.clone()) } else { None });
        w.iter().map(|p| p.tensor()).chain(kept).map(|t| t.to_vec()).collect()
    };
    step(&mut scaler, &mut adam, 2.0)?;
    let first = values(&adam)?;
    // parameters, two moments of each, and its count of steps
    assert!(first[0][0] < 1.0 && first.len() == 8);
    let mut work = Vec::new();
    for bad in [f64::INFINITY, f64::NAN] {
        scaler.get_scale()?;
        let before = device.counters();
        step(&mut scaler, &mut adam, bad)?;
        let after = device.counters();
        assert_eq!(after.readbacks, before.readbacks);
        work.push((after.dispatches - before.dispatches, after.submits - before.submits));
        assert_eq!(values(&adam)?, first, "parameters and what is kept for them stay");
    }
    assert_eq!(scaler.get_scale()?, 256.0);
    let before = device.counters();
    step(&mut scaler, &mut adam, 2.0)?;
    let after = device.counters();
    work.push((after.dispatches - before.dispatches, after.submits - before.submits));
    println!("kernels and submissions of steps: {work:?}");
    assert!(work.iter().all(|w| *w == work[0] && w.0 > 0), "the same work whether a step is skipped or not: {work:?}");
    assert_eq!(scaler.get_scale()?, 256.0);
    step(&mut scaler, &mut adam, 2.0)?;
    assert_eq!(scaler.get_scale()?, 512.0, "it grows after two steps without overflow");
    assert!(values(&adam)?[0][0] < first[0][0]);

    let state = scaler.state_dict();
    let mut other = GradScaler::new(&device, ())?;
    other.load_state_dict(&state)?;
    assert_eq!(other.get_scale()?, 512.0);
    assert_eq!(other.load_state_dict(&Default::default()).expect_err("nothing").kind(), ErrorKind::Value);
    Ok(())
}

#[test]
fn scaled_gradients_are_those_of_the_loss() -> Result<()> {
    let _turn = turn();
    let w = Parameter::new(&Tensor::new([3.0f32], ())?)?;
    let device = w.tensor().device().clone();
    let mut sgd = Sgd::new([w.clone()], SgdOptions::new(1.0))?;
    let mut scaler = GradScaler::new(&device, ())?;
    assert_eq!(scaler.update().expect_err("nothing stepped").kind(), ErrorKind::Value);
    scaler.scale(&w.tensor().square()?.sum()?)?.backward()?;
    assert_eq!(w.grad().expect("a gradient").item()?, 6.0 * 65536.0);
    scaler.unscale_(&sgd)?;
    assert_eq!(w.grad().expect("a gradient").item()?, 6.0);
    assert!(scaler.unscale_(&sgd).expect_err("twice").message().contains("already"));
    scaler.step(&mut sgd)?;
    assert!(scaler.step(&mut sgd).expect_err("twice").message().contains("already"));
    assert!(scaler.unscale_(&sgd).expect_err("late").message().contains("after step"));
    scaler.update()?;
    assert_eq!(w.tensor().item()?, -3.0);

    let off = GradScalerOptions { enabled: false, ..Default::default() };
    let mut off = GradScaler::new(&device, off)?;
    sgd.zero_grad();
    off.scale(&w.tensor().sum()?)?.backward()?;
    off.step(&mut sgd)?;
    off.update()?;
    assert_eq!((w.tensor().item()?, off.get_scale()?, off.state_dict().len()), (-4.0, 1.0, 0));
    for (growth_factor, backoff_factor) in [(1.0, 0.5), (2.0, 1.0), (f64::NAN, 0.5), (2.0, f64::NAN)] {
        let options = GradScalerOptions { growth_factor, backoff_factor, ..Default::default() };
        assert_eq!(GradScaler::new(&device, options).map(drop).expect_err("factors").kind(), ErrorKind::Value);
    }
    Ok(())
}

#[test]
fn recurrent_layers_take_and_give_half_numbers() -> Result<()> {
    let _turn = turn();
    let (lstm, gru, cell) = (LSTM::new(2, 3, ())?, GRU::new(2, 3, ())?, LSTMCell::new(2, 3, ())?);
    let x = ones(&[4, 1, 2], DType::F32)?;
    let _on = autocast(DType::BF16)?;
    let low = x.to_dtype(DType::BF16)?;
    for x in [&x, &low] {
        let (y, (h, c)) = lstm.forward(x, None)?;
        let (z, _) = gru.forward(x, Some(&ones(&[1, 1, 3], DType::F32)?))?;
        let (k, _) = cell.forward(&x.select(0, 0)?, None)?;
        for t in [y, h, c, z, k] {
            assert_eq!(t.dtype(), DType::BF16);
        }
    }
    Ok(())
}

#[test]
fn what_promotes_is_computed_in_that_type() -> Result<()> {
    let _turn = turn();
    // no bf16 number
    let fine = Tensor::full([1, 2], 1.0 + 1.0 / 1024.0, ())?;
    let (low, index) = (ones(&[2], DType::BF16)?, Tensor::new([0, 1], ())?);
    let want = 2.0 + 2.0 / 1024.0;
    let _on = autocast(DType::BF16)?;
    let weight = ones(&[1, 2, 2], DType::F32)?;
    let y = f::bilinear(&fine, &ones(&[1, 2], DType::BF16)?, &weight, Some(&ones(&[1], DType::BF16)?))?;
    assert_eq!((y.dtype(), y.item()?), (DType::F32, 2.0 * want + 1.0));
    let y = fine.tensordot(&ones(&[1, 2], DType::BF16)?, &[1], &[1])?;
    assert_eq!((y.dtype(), y.item()?), (DType::F32, want));
    assert_eq!(fine.inner(&ones(&[1, 2], DType::BF16)?)?.item()?, want);
    let put = low.index_put(&[Some(index)], &fine.flatten(0, -1)?, true)?;
    assert_eq!((put.dtype(), put.sum()?.item()?), (DType::F32, 2.0 + want));
    Ok(())
}

#[test]
fn operands_of_two_types_meet_in_the_wider_one() -> Result<()> {
    let _turn = turn();
    let _on = autocast(DType::F16)?;
    let (low, full) = (ones(&[1, 1, 2, 2], DType::F16)?, ones(&[1, 1, 2, 2], DType::F32)?);
    let (x, w) = (ones(&[1, 2], DType::F16)?, ones(&[1, 2, 2], DType::F32)?);
    assert_eq!(f::bilinear(&x, &x, &w, None)?.dtype(), DType::F32);
    let grid = ones(&[1, 1, 1, 2], DType::F32)?;
    assert_eq!(f::grid_sample(&low, &grid, Default::default())?.dtype(), DType::F32);
    let index = Tensor::zeros([1, 1, 2, 2], DType::I32)?;
    assert_eq!(low.scatter_add(0, &index, &full)?.dtype(), DType::F32);
    assert_eq!(low.flatten(0, -1)?.dot(&full.flatten(0, -1)?)?.dtype(), DType::F32);
    assert_eq!(low.logsumexp(&[0], false)?.dtype(), DType::F32);
    assert_eq!(f::rms_norm(&low, &[2], None, None)?.dtype(), DType::F32);
    assert_eq!(f::huber_loss(&low, &low, 1.0, None, Reduction::None)?.dtype(), DType::F32);
    let twice = Resize { scale_factor: Some(vec![2.0]), ..Default::default() };
    assert_eq!(f::interpolate(&low, &twice)?.dtype(), DType::F32);
    Ok(())
}

#[test]
fn a_weight_that_was_lowered_outside_learns_in_a_checkpoint() -> Result<()> {
    let _turn = turn();
    let (x, w) = (ones(&[1, 2], DType::F32)?, ones(&[2, 2], DType::F32)?.requires_grad_(true)?);
    let y = {
        let _on = autocast(DType::BF16)?;
        let before = x.matmul(&w)?;
        let (first, second) = (w.clone(), w.clone());
        let y = calor::autograd::checkpoint(move |t| t[0].matmul(&first), &[&x])?;
        let y = (y + calor::autograd::checkpoint(move |t| t[0].matmul(&second), &[&x])?)?;
        ((before + y)? + x.matmul(&w)?)?
    };
    y.sum()?.backward()?;
    let g = w.grad().expect("a gradient");
    assert_eq!((g.dtype(), g.to_vec::<f32>()?), (DType::F32, vec![4.0; 4]));
    Ok(())
}

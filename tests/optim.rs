//! Optimizers against PyTorch's trajectories, their state dicts, and what a step costs.

use calor::nn::Parameter;
use calor::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Kept, Optim, OptimState, Optimizer, Rule, Sgd, SgdOptions};
use calor::{DType, Device, Result, Tensor, io};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/optimizers")
}

/// The rule with a case's keyword arguments.
fn with<R: Rule>(mut rule: R, kwargs: &Value) -> R {
    for (name, value) in kwargs.as_object().expect("kwargs") {
        if name == "betas" {
            assert!(rule.set("beta1", value[0].as_f64().expect("beta")), "beta1");
            assert!(rule.set("beta2", value[1].as_f64().expect("beta")), "beta2");
            continue;
        }
        let number = value.as_f64().or(value.as_bool().map(|b| f64::from(u8::from(b))));
        assert!(rule.set(name, number.unwrap_or_else(|| panic!("{name} is {value}"))), "no setting {name}");
    }
    rule
}

static TURN: Mutex<()> = Mutex::new(());

/// Tests of this program take turns: counters are those of the device.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make<R: Rule + 'static>(default: R, case: &Value, parameters: &[Parameter]) -> Box<dyn Optimizer> {
    let default = with(default, &case["kwargs"]);
    let mut groups = case["groups"].as_array().expect("groups").iter().map(|g| {
        let indices = g["params"].as_array().expect("params").iter();
        let members: Vec<Parameter> = indices.map(|i| parameters[i.as_u64().unwrap() as usize].clone()).collect();
        (members, with(default.clone(), &g["kwargs"]))
    });
    let (members, rule) = groups.next().expect("a group");
    let mut optimizer = Optim::new(members, rule).expect("optimizer");
    groups.for_each(|(members, rule)| optimizer.add_param_group(members, rule).expect("group"));
    Box::new(optimizer)
}

fn optimizer(name: &str, case: &Value, parameters: &[Parameter]) -> Option<Box<dyn Optimizer>> {
    Some(match name {
        "SGD" => make(SgdOptions::default(), case, parameters),
        "Adam" => make(AdamOptions::default(), case, parameters),
        "AdamW" => make(AdamWOptions::default(), case, parameters),
        _ => return None,
    })
}

fn compare(what: &str, got: &Tensor, want: &Tensor, (rtol, atol): (f64, f64)) -> Result<()> {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{what}");
    for (i, (g, w)) in got.to_vec::<f32>()?.into_iter().zip(want.to_vec::<f32>()?).enumerate() {
        let (g, w) = (f64::from(g), f64::from(w));
        assert!((g - w).abs() <= atol + rtol * w.abs() || g.is_nan() && w.is_nan(), "{what}[{i}]: {g}, want {w}");
    }
    Ok(())
}

fn replay(name: &str) -> Result<usize> {
    let device = Device::best()?;
    let text = std::fs::read_to_string(corpus().join(format!("{name}.json")))?;
    let file: Value = serde_json::from_str(&text).expect("json");
    let tensors = io::load(corpus().join(format!("{name}.safetensors")), &device)?;
    let tensor = |key: &Value| tensors.get(key.as_str().expect("key")).expect("tensor").try_clone();
    let cases = file["cases"].as_array().expect("cases");
    for case in cases {
        let title = format!("{name} {} {}", case["name"], case["desc"]);
        let bounds = (case["rtol"].as_f64().expect("rtol"), case["atol"].as_f64().expect("atol"));
        let keys = case["params"].as_array().expect("params").iter();
        let parameters: Vec<Parameter> = keys.map(|k| Parameter::new(&tensor(k)?)).collect::<Result<_>>()?;
        let mut optimizer = optimizer(name, case, &parameters).expect("known");
        for (s, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
            for (p, key) in parameters.iter().zip(step["grads"].as_array().expect("grads")) {
                p.tensor().set_grad(if key.is_null() { None } else { Some(tensor(key)?) })?;
            }
            optimizer.step()?;
            for (i, (p, key)) in parameters.iter().zip(step["params_after"].as_array().expect("after")).enumerate() {
                compare(&format!("{title} step {s} parameter {i}"), &p.tensor(), &tensor(key)?, bounds)?;
            }
        }
        let state = optimizer.state_dict();
        let want = case["state_after"].as_object().expect("state");
        assert_eq!(state.state.len(), want.len(), "{title}: parameters with state");
        for (number, kept) in want {
            let own = &state.state[&number.parse().expect("number")];
            let kept = kept.as_object().expect("state");
            assert_eq!(
                own.keys().collect::<Vec<_>>(),
                {
                    let mut k: Vec<_> = kept.keys().collect();
                    k.sort();
                    k
                },
                "{title}: names of state"
            );
            for (key, value) in kept {
                match &own[key] {
                    Kept::Number(n) => assert_eq!(Some(*n), value.as_f64(), "{title}: {key} of {number}"),
                    Kept::Tensor(t) => compare(&format!("{title}: {key} of {number}"), t, &tensor(value)?, bounds)?,
                }
            }
        }
    }
    Ok(cases.len())
}

#[test]
fn sgd_follows_pytorch() -> Result<()> {
    let _turn = turn();
    assert!(replay("SGD")? >= 10);
    Ok(())
}

#[test]
fn adam_follows_pytorch() -> Result<()> {
    let _turn = turn();
    assert!(replay("Adam")? >= 6);
    Ok(())
}

#[test]
fn adamw_follows_pytorch() -> Result<()> {
    let _turn = turn();
    assert!(replay("AdamW")? >= 6);
    Ok(())
}

/// A parameter and a loss that pulls it towards 3.
fn problem() -> Result<(Parameter, impl Fn(&Parameter) -> Result<Tensor>)> {
    let p = Parameter::new(&Tensor::new([1.0f32, -2.0, 0.5, 4.0, 7.0], ())?)?;
    Ok((p, |p: &Parameter| (p - 3.0)?.square()?.sum()))
}

fn steps(optimizer: &mut dyn Optimizer, p: &Parameter, n: usize) -> Result<()> {
    let (_, loss) = problem()?;
    for _ in 0..n {
        optimizer.zero_grad();
        loss(p)?.backward()?;
        optimizer.step()?;
    }
    Ok(())
}

#[test]
fn a_loaded_state_goes_on_as_the_saved_one() -> Result<()> {
    let _turn = turn();
    let (p, _) = problem()?;
    let mut adam = Adam::new([p.clone()], AdamOptions::new(0.1).amsgrad(true))?;
    steps(&mut adam, &p, 3)?;
    let path = std::env::temp_dir().join(format!("calor-optim-{}.safetensors", std::process::id()));
    let (tensors, texts) = adam.state_dict().to_parts();
    io::save_with_texts(&path, &tensors, &texts)?;
    let at = p.tensor().try_clone()?;
    steps(&mut adam, &p, 3)?;

    let q = Parameter::new(&at)?;
    let (tensors, texts) = io::load_with_texts(&path, at.device())?;
    std::fs::remove_file(&path)?;
    let mut other = Adam::new([q.clone()], AdamOptions::default())?;
    other.load_state_dict(&OptimState::from_parts(&tensors, &texts)?)?;
    assert_eq!(other.options(0), adam.options(0));
    steps(&mut other, &q, 3)?;
    assert_eq!(q.tensor().to_vec::<f32>()?, p.tensor().to_vec::<f32>()?);
    Ok(())
}

#[test]
fn a_state_of_other_groups_or_shapes_is_refused() -> Result<()> {
    let _turn = turn();
    let (p, _) = problem()?;
    let mut sgd = Sgd::new([p.clone()], SgdOptions::new(0.1).momentum(0.9))?;
    steps(&mut sgd, &p, 1)?;
    let state = sgd.state_dict();
    let q = Parameter::new(&Tensor::ones([2], ())?)?;
    let mut other = Sgd::new([q.clone()], SgdOptions::default())?;
    assert!(other.load_state_dict(&state).unwrap_err().to_string().contains("[5]"));
    let mut two = Sgd::new([q, p.clone()], SgdOptions::default())?;
    assert!(two.load_state_dict(&state).unwrap_err().to_string().contains("1 parameters"));
    assert!(two.add_param_group([p], SgdOptions::default()).is_err());
    assert!(Sgd::new([], SgdOptions::new(-1.0)).is_err());
    assert!(Adam::new([], AdamOptions::default().beta1(1.0)).is_err());
    Ok(())
}

#[test]
fn a_step_is_one_kernel_and_compiles_nothing_new() -> Result<()> {
    let _turn = turn();
    let (p, _) = problem()?;
    let device = p.tensor().device().clone();
    let mut adam = AdamW::new([p.clone()], AdamWOptions::new(0.1))?;
    steps(&mut adam, &p, 2)?;
    device.synchronize()?;
    p.tensor().set_grad(Some(Tensor::new([1.0f32, 2.0, 3.0, 4.0, 5.0], ())?))?;
    let before = device.counters();
    adam.step()?;
    adam.set_lr(0, 0.01);
    adam.step()?;
    let after = device.counters();
    assert_eq!(after.submits - before.submits, 2);
    assert_eq!(after.readbacks, before.readbacks);
    // other tests of this process may compile meanwhile: ask the plan
    let m = &adam.state_dict().state[&0]["exp_avg"];
    let Kept::Tensor(m) = m else { panic!("exp_avg is no tensor") };
    assert!(m.explain()?.starts_with("0 kernels"));
    Ok(())
}

fn one(value: f32) -> Result<Parameter> {
    Parameter::new(&Tensor::new([value], ())?)
}

fn give(p: &Parameter, gradient: f32) -> Result<()> {
    p.tensor().set_grad(Some(Tensor::full(&p.shape()[..], gradient, p.tensor().dtype())?))?;
    Ok(())
}

#[test]
fn groups_have_settings_of_their_own() -> Result<()> {
    let _turn = turn();
    let (a, b, frozen) = (one(1.0)?, one(1.0)?, one(1.0)?);
    let mut sgd = Sgd::new([a.clone(), frozen.clone()], SgdOptions::new(0.5))?;
    sgd.add_param_group([b.clone()], SgdOptions::new(0.25).momentum(0.5))?;
    assert_eq!((sgd.num_groups(), sgd.lr(0), sgd.lr(1)), (2, 0.5, 0.25));
    for p in [&a, &b] {
        give(p, 1.0)?;
    }
    sgd.step()?;
    sgd.set_lr(0, 0.125);
    if let Some(options) = sgd.options_mut(1) {
        options.momentum = 0.0;
    }
    sgd.step()?;
    let values = [&a, &b, &frozen].map(|p| p.tensor().item());
    assert_eq!([values[0].clone()?, values[1].clone()?, values[2].clone()?], [0.375, 0.5, 1.0]);

    let state = sgd.state_dict();
    assert_eq!(state.param_groups.iter().map(|g| g.params.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
    assert_eq!((state.param_groups[0].settings["lr"], state.param_groups[1].settings["lr"]), (0.125, 0.25));
    // only the momentum was kept
    assert_eq!(state.state.keys().copied().collect::<Vec<_>>(), [2]);
    sgd.zero_grad();
    assert!(a.grad().is_none() && b.grad().is_none());
    Ok(())
}

#[test]
fn a_step_is_seen_by_all_holders_and_by_autograd() -> Result<()> {
    let _turn = turn();
    let p = one(2.0)?;
    let (before, alias) = (p.tensor(), p.tensor().detach());
    let mut sgd = Sgd::new([p.clone()], SgdOptions::new(1.0))?;
    let loss = p.tensor().square()?.sum()?;
    give(&p, 1.0)?;
    sgd.step()?;
    assert_eq!((before.item()?, alias.item()?, p.tensor().item()?), (1.0, 1.0, 1.0));
    let refused = loss.backward().unwrap_err().to_string();
    assert!(refused.contains("modified by an inplace operation"), "{refused}");
    Ok(())
}

#[test]
fn half_parameters_keep_half_state() -> Result<()> {
    let _turn = turn();
    let p = Parameter::new(&Tensor::ones([4], DType::F16)?)?;
    let mut adam = Adam::new([p.clone()], AdamOptions::new(0.5))?;
    give(&p, 2.0)?;
    adam.step()?;
    let Kept::Tensor(m) = &adam.state_dict().state[&0]["exp_avg"] else { panic!("exp_avg is no tensor") };
    assert_eq!((p.tensor().dtype(), m.dtype()), (DType::F16, DType::F16));
    let values = p.tensor().to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert!(values.iter().all(|v| (v - 0.5).abs() < 2e-3), "{values:?}");
    Ok(())
}

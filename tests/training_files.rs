//! States of optimizers, schedulers and gradient scalers that cross to PyTorch and back (`tests/torch/files.py`).

use calor::io::{Object, load_pt, save_pt};
use calor::nn::Parameter;
use calor::optim::{
    Adafactor, AdafactorOptions, Adam, AdamOptions, AdjustLr, Anneal, ConstantLr, CosineAnnealingWarmRestarts,
    CyclicLr, CyclicOptions, ExponentialLr, GradScaler, GradScalerOptions, Kept, LambdaLr, Lbfgs, LbfgsOptions, Muon,
    MuonOptions, Optimizer, PlateauOptions, ReduceLrOnPlateau, Scheduler, SchedulerState, SequentialLr, Sgd,
    SgdOptions, SwaLr,
};
use calor::{DType, Device, Result, Tensor, no_grad};
use std::path::{Path, PathBuf};

fn given() -> Result<Object> {
    load_pt(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/training.pt"), &Device::best()?)
}

fn loss(p: &Parameter) -> Result<Tensor> {
    let n = Tensor::arange(0, 6, 1, DType::F32)?.reshape([2, 3])?;
    p.zero_grad();
    let loss = p.tensor().sub(&n.div(4.0)?)?.square()?.mul(&n.add(1.0)?)?.sum()?;
    loss.backward()?;
    Ok(loss)
}

enum Any {
    Rule(Box<dyn Optimizer>),
    Lbfgs(Box<Lbfgs>),
}

impl Any {
    /// One with the settings of the file's, or with others.
    fn new(name: &str, p: &Parameter, alike: bool) -> Result<Self> {
        let own = [p.clone()];
        Ok(match (name, alike) {
            ("Adafactor", true) => {
                Any::Rule(Box::new(Adafactor::new(own, AdafactorOptions::new(0.1).eps2(1e-2).d(2.0))?))
            }
            ("Adafactor", false) => {
                Any::Rule(Box::new(Adafactor::new(own, AdafactorOptions::new(1.0).eps1(Some(0.5)))?))
            }
            ("Muon", true) => {
                let options = MuonOptions::new(0.1).ns_a(3.0).ns_b(-4.0).ns_c(2.0).ns_steps(3);
                Any::Rule(Box::new(Muon::new(own, options.adjust_lr_fn(AdjustLr::MatchRmsAdamW))?))
            }
            ("Muon", false) => {
                let options = MuonOptions::new(0.5).adjust_lr_fn(AdjustLr::SpectralUnclamped);
                Any::Rule(Box::new(Muon::new(own, options)?))
            }
            ("Adam", true) => Any::Rule(Box::new(Adam::new(own, AdamOptions::new(0.0625).betas(0.8, 0.9))?)),
            ("Adam", false) => Any::Rule(Box::new(Adam::new(own, AdamOptions::new(1.0))?)),
            (_, true) => {
                let options = LbfgsOptions::new(0.5).max_iter(2).history_size(3).strong_wolfe(true);
                Any::Lbfgs(Box::new(Lbfgs::new(own, options)?))
            }
            (_, false) => Any::Lbfgs(Box::new(Lbfgs::new(own, LbfgsOptions::new(1.0).max_eval(Some(3)))?)),
        })
    }

    fn step(&mut self, p: &Parameter) -> Result<()> {
        match self {
            Any::Rule(optimizer) => {
                loss(p)?;
                optimizer.step()
            }
            Any::Lbfgs(optimizer) => optimizer.step_with(|| loss(p)).map(drop),
        }
    }

    fn optimizer(&mut self) -> &mut dyn Optimizer {
        match self {
            Any::Rule(optimizer) => &mut **optimizer,
            Any::Lbfgs(optimizer) => &mut **optimizer,
        }
    }
}

const RULES: [&str; 4] = ["Adafactor", "Muon", "LBFGS", "Adam"];

fn far(p: &Parameter, want: &Object) -> Result<f64> {
    let want = want.as_tensor().expect("a tensor");
    p.tensor().sub(want)?.abs()?.max()?.item()
}

#[test]
fn optimizers_go_on_from_states_of_pytorch() -> Result<()> {
    let saved = given()?;
    for name in RULES {
        let case = saved.require("rules")?.require(name)?;
        let p = Parameter::new(case.require("at")?.as_tensor().expect("a tensor"))?;
        let mut optimizer = Any::new(name, &p, false)?;
        optimizer.optimizer().load_state_dict(&case.require("state")?.optimizer_state()?)?;
        let mut alike = Any::new(name, &p, true)?;
        let settings = |any: &mut Any| {
            let mut settings = any.optimizer().state_dict().param_groups[0].settings.clone();
            // PyTorch writes its default down
            settings.remove("max_eval");
            format!("{settings:?}")
        };
        assert_eq!(settings(&mut optimizer), settings(&mut alike), "{name}");
        optimizer.step(&p)?;
        let far = far(&p, case.require("after")?)?;
        // PyTorch's Muon computes in bf16
        assert!(far < if name == "Muon" { 3e-2 } else { 1e-5 }, "{name} is {far} off PyTorch's");
    }
    Ok(())
}

/// Rules after three steps, and where a fourth one leads, as `tests/torch/files.py` has them.
fn rules() -> Result<Object> {
    let cases = RULES.map(|name| {
        let p = Parameter::new(&Tensor::ones([2, 3], ())?)?;
        let mut optimizer = Any::new(name, &p, true)?;
        (0..3).try_for_each(|_| optimizer.step(&p))?;
        let at = p.tensor().detach().try_clone()?;
        let mut state = optimizer.optimizer().state_dict();
        for kept in state.state.values_mut().flat_map(|kept| kept.values_mut()) {
            if let Kept::Tensor(t) = kept {
                *t = t.try_clone()?;
            }
        }
        optimizer.step(&p)?;
        let after = p.tensor().detach();
        Ok((name, Object::dict([("at", at.into()), ("state", Object::from(&state)), ("after", after.into())])))
    });
    Ok(Object::dict(cases.into_iter().collect::<Result<Vec<_>>>()?))
}

const SCHEDULES: [&str; 6] =
    ["LambdaLR", "CyclicLR", "CosineAnnealingWarmRestarts", "SequentialLR", "SWALR", "ReduceLROnPlateau"];
const LOSSES: [f64; 10] = [3.0, 2.0, 2.5, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.9];

enum Schedule {
    Epochs(Box<dyn Scheduler>),
    Plateau(ReduceLrOnPlateau),
}

impl Schedule {
    fn new(name: &str, o: &mut Sgd) -> Result<Self> {
        Ok(match name {
            "LambdaLR" => Self::Epochs(Box::new(LambdaLr::new(o, |e| 0.9f64.powi(e as i32))?)),
            "CyclicLR" => Self::Epochs(Box::new(CyclicLr::new(o, CyclicOptions::new(0.1, 0.5).step_size_up(3.0))?)),
            "CosineAnnealingWarmRestarts" => Self::Epochs(Box::new(CosineAnnealingWarmRestarts::new(o, 3, 2, 0.01)?)),
            "SequentialLR" => {
                let parts: Vec<Box<dyn Scheduler>> =
                    vec![Box::new(ConstantLr::new(o, 0.5, 2)?), Box::new(ExponentialLr::new(o, 0.9)?)];
                Self::Epochs(Box::new(SequentialLr::new(o, parts, [3])?))
            }
            "SWALR" => Self::Epochs(Box::new(SwaLr::new(o, 0.05, 8, Anneal::Cos)?)),
            _ => Self::Plateau(ReduceLrOnPlateau::new(o, PlateauOptions::new().factor(0.5).patience(1u64))?),
        })
    }

    fn ahead(&mut self, o: &mut Sgd, steps: std::ops::Range<usize>) -> Result<Vec<f64>> {
        let mut out = Vec::new();
        for i in steps {
            match self {
                Self::Epochs(schedule) => schedule.step(o)?,
                Self::Plateau(plateau) => plateau.step(o, LOSSES[i]),
            }
            out.push(o.lr(0));
        }
        Ok(out)
    }

    fn state(&self) -> SchedulerState {
        match self {
            Self::Epochs(schedule) => schedule.state_dict(),
            Self::Plateau(plateau) => plateau.state_dict(),
        }
    }

    fn load(&mut self, state: &SchedulerState) -> Result<()> {
        match self {
            Self::Epochs(schedule) => schedule.load_state_dict(state),
            Self::Plateau(plateau) => plateau.load_state_dict(state),
        }
    }
}

fn sgd() -> Result<Sgd> {
    Sgd::new([Parameter::new(&Tensor::zeros([1], ())?)?], SgdOptions::new(0.8).momentum(0.9))
}

#[test]
fn schedules_go_on_from_states_of_pytorch() -> Result<()> {
    let saved = given()?;
    for name in SCHEDULES {
        let case = saved.require("schedules")?.require(name)?;
        let mut own = sgd()?;
        let mut schedule = Schedule::new(name, &mut own)?;
        schedule.load(&case.require("state")?.scheduler_state()?)?;
        own.set_lr(0, case.require("lr")?.as_float().expect("a rate"));
        let rates = schedule.ahead(&mut own, 5..10)?;
        let want = case.require("after")?.items().expect("a list").iter().filter_map(Object::as_float);
        for (i, (a, b)) in rates.iter().zip(want).enumerate() {
            assert!((a - b).abs() < 1e-12, "{name}, {i} steps after: {a}, expected {b}");
        }
    }
    assert!(Object::from(1).scheduler_state().is_err());
    Ok(())
}

fn schedules() -> Result<Object> {
    let cases = SCHEDULES.map(|name| {
        let mut own = sgd()?;
        let mut schedule = Schedule::new(name, &mut own)?;
        schedule.ahead(&mut own, 0..5)?;
        let (lr, state) = (own.lr(0), Object::from(&schedule.state()));
        // what is written is read as it was
        let back = state.scheduler_state()?;
        assert_eq!(back, schedule.state(), "{name}");
        let after: Vec<Object> = schedule.ahead(&mut own, 5..10)?.into_iter().map(Object::from).collect();
        Ok((name, Object::dict([("lr", lr.into()), ("state", state), ("after", after.into())])))
    });
    Ok(Object::dict(cases.into_iter().collect::<Result<Vec<_>>>()?))
}

#[test]
fn scalers_cross() -> Result<()> {
    let mut scaler = GradScaler::new(&Device::best()?, ())?;
    let saved = given()?;
    let state = saved.require("scaler")?;
    state.load_scaler(&mut scaler)?;
    let own = (scaler.get_scale()?, scaler.get_growth_factor(), scaler.get_backoff_factor());
    assert_eq!((own, scaler.get_growth_interval()), ((512.0, 1.1, 0.3), 7));
    assert_eq!(format!("{:?}", Object::scaler(&scaler)?), format!("{state:?}"));
    // nothing is taken of what makes no sense
    let Object::Dict(entries) = state else { panic!("no dict") };
    for (name, bad) in [("growth_factor", Object::from(0.5)), ("_growth_tracker", 0.5.into()), ("scale", "x".into())] {
        let entries =
            entries.iter().map(|(k, v)| (k.clone(), if k.as_text() == Some(name) { &bad } else { v }.clone()));
        assert!(Object::Dict(entries.collect()).load_scaler(&mut scaler).is_err(), "{name}");
    }
    assert!(Object::dict([("scale", Object::from(1.0))]).load_scaler(&mut scaler).is_err());
    assert_eq!(scaler.get_scale()?, 512.0);
    let off = GradScalerOptions { enabled: false, ..GradScalerOptions::default() };
    let mut off = GradScaler::new(&Device::best()?, off)?;
    state.load_scaler(&mut off)?;
    assert_eq!((off.get_scale()?, Object::scaler(&off)?.entries().map(<[_]>::len)), (1.0, Some(0)));
    // the form of tensors by PyTorch's names
    let tensors = [("scale", 8.0), ("_growth_tracker", 3.0), ("growth_factor", 4.0), ("growth_interval", 9.0)];
    let tensors = tensors.map(|(name, value)| Ok((name.to_string(), Tensor::full([], value, ())?)));
    scaler.load_state_dict(&tensors.into_iter().collect::<Result<_>>()?)?;
    assert_eq!((scaler.get_scale()?, scaler.get_growth_factor(), scaler.get_growth_interval()), (8.0, 4.0, 9));
    Ok(())
}

#[test]
fn states_are_written_for_pytorch() -> Result<()> {
    let options = GradScalerOptions {
        init_scale: 512.0,
        growth_factor: 1.1,
        backoff_factor: 0.3,
        growth_interval: 7,
        enabled: true,
    };
    let scaler = Object::scaler(&GradScaler::new(&Device::best()?, options)?)?;
    let value = Object::dict([("rules", rules()?), ("schedules", schedules()?), ("scaler", scaler)]);
    // kept for `tests/torch/files.py check`
    let folder = std::env::var_os("CALOR_KEEP").map(PathBuf::from);
    let path = folder.clone().unwrap_or_else(std::env::temp_dir).join("training.pt");
    let path = if folder.is_none() { path.with_extension(std::process::id().to_string()) } else { path };
    save_pt(&path, &value)?;
    let back = load_pt(&path, &Device::best()?)?;
    if folder.is_none() {
        std::fs::remove_file(&path)?;
    }
    let group =
        |name: &str| Ok(back.require("rules")?.require(name)?.require("state")?.require("param_groups")?.items());
    let group = |name: &str| -> Result<&Object> {
        let groups: Result<_> = group(name);
        Ok(&groups?.expect("groups")[0])
    };
    let adafactor = format!("{:?}", group("Adafactor")?.require("eps")?);
    assert_eq!(adafactor, "[None, 0.01]");
    let muon = group("Muon")?;
    assert_eq!(format!("{:?}", muon.require("ns_coefficients")?), "[3.0, -4.0, 2.0]");
    assert_eq!(muon.require("adjust_lr_fn")?.as_text(), Some("match_rms_adamw"));
    assert!(matches!(muon.require("ns_steps")?, Object::Int(3)));
    let lbfgs = group("LBFGS")?;
    assert_eq!(lbfgs.require("line_search_fn")?.as_text(), Some("strong_wolfe"));
    assert!(matches!(lbfgs.require("max_eval")?, Object::Int(2)) && lbfgs.get("strong_wolfe").is_none());
    for name in RULES {
        let case = back.require("rules")?.require(name)?;
        let p = Parameter::new(case.require("at")?.as_tensor().expect("a tensor"))?;
        let mut optimizer = Any::new(name, &p, false)?;
        optimizer.optimizer().load_state_dict(&case.require("state")?.optimizer_state()?)?;
        optimizer.step(&p)?;
        assert_eq!(no_grad(|| far(&p, case.require("after")?))?, 0.0, "{name}");
    }
    Ok(())
}

//! Every optimizer: what a step costs, going on from a state, what is refused, and PyTorch's values where the corpus has none
//! (`tests/torch/optim.py`).

use calor::gpu::Counters;
use calor::nn::Parameter;
use calor::optim::{
    AdadeltaOptions, AdafactorOptions, AdagradOptions, AdamOptions, AdamWOptions, AdamaxOptions, AdjustLr, Anneal,
    AsgdOptions, GradScaler, GradScalerOptions, Kept, Lbfgs, LbfgsOptions, LionOptions, MuonOptions, NAdamOptions,
    Optim, OptimState, Optimizer, RAdamOptions, RmsPropOptions, RpropOptions, Rule, Scheduler, Sgd, SgdOptions, SwaLr,
};
use calor::{Device, ErrorKind, Result, Tensor};
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
        assert!((g - w).abs() < 1e-5 * w.abs().max(1.0), "{what}: {got:?}, expected {want:?}");
    }
    Ok(())
}

/// An optimizer that is stepped with gradients that are there already.
enum Any {
    Rule(Box<dyn Optimizer>),
    Lbfgs(Box<Lbfgs>),
}

impl Any {
    fn step(&mut self, loss: &Tensor) -> Result<()> {
        match self {
            Any::Rule(optimizer) => optimizer.step(),
            Any::Lbfgs(optimizer) => optimizer.step_with(|| Ok(loss.clone())).map(drop),
        }
    }

    fn optimizer(&mut self) -> &mut dyn Optimizer {
        match self {
            Any::Rule(optimizer) => &mut **optimizer,
            Any::Lbfgs(optimizer) => &mut **optimizer,
        }
    }
}

type Make = Box<dyn Fn(&[Parameter]) -> Result<Any>>;

fn by<R: Rule + 'static>(rule: R) -> Make {
    Box::new(move |all| Ok(Any::Rule(Box::new(Optim::new(all.to_vec(), rule.clone())?))))
}

/// Every optimizer, by the name of its type, with settings that keep as much state as it can.
fn every() -> Vec<(&'static str, Make)> {
    let lbfgs: Make = Box::new(|all| {
        let options = LbfgsOptions::new(0.1).max_iter(2).tolerance_grad(0.0).tolerance_change(0.0);
        Ok(Any::Lbfgs(Box::new(Lbfgs::new(all.to_vec(), options)?)))
    });
    vec![
        ("Adadelta", by(AdadeltaOptions::new(0.1))),
        ("Adafactor", by(AdafactorOptions::new(0.1))),
        ("Adagrad", by(AdagradOptions::new(0.1).lr_decay(0.1))),
        ("Adam", by(AdamOptions::new(0.1).amsgrad(true))),
        ("AdamW", by(AdamWOptions::new(0.1).amsgrad(true))),
        ("Adamax", by(AdamaxOptions::new(0.1))),
        ("Asgd", by(AsgdOptions::new(0.1).t0(2.0))),
        ("Lbfgs", lbfgs),
        ("Lion", by(LionOptions::new(0.1))),
        ("Muon", by(MuonOptions::new(0.1).ns_steps(2))),
        ("NAdam", by(NAdamOptions::new(0.1))),
        ("RAdam", by(RAdamOptions::new(0.1).beta2(0.9))),
        ("RmsProp", by(RmsPropOptions::new(0.1).momentum(0.9).centered(true))),
        ("Rprop", by(RpropOptions::new(0.1))),
        ("Sgd", by(SgdOptions::new(0.1).momentum(0.9).dampening(0.25))),
    ]
}

#[test]
fn the_table_has_every_optimizer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/optim");
    let mut found: Vec<String> = Vec::new();
    for file in std::fs::read_dir(folder).expect("src/optim") {
        let path = file.expect("a file").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            let name = match (line.strip_prefix("pub type "), line.split_once("impl Optimizer for ")) {
                (Some(rest), _) if rest.contains("= Optim<") => rest.split(' ').next(),
                (_, Some(("", rest))) => rest.split(' ').next(),
                _ => None,
            };
            found.extend(name.map(str::to_string));
        }
    }
    found.sort();
    assert_eq!(found, every().iter().map(|e| e.0).collect::<Vec<_>>());
}

/// Parameters of three shapes, all of them matrices, as Muon asks for.
fn parameters(n: usize) -> Result<Vec<Parameter>> {
    const SHAPES: [[usize; 2]; 3] = [[3, 5], [8, 4], [5, 3]];
    (0..n).map(|i| Parameter::new(&numbers(&SHAPES[i % 3], i)?)).collect()
}

fn give(all: &[Parameter], step: usize) -> Result<()> {
    for (i, p) in all.iter().enumerate() {
        p.tensor().set_grad(Some(numbers(&p.shape(), 10 * step + i + 3)?))?;
    }
    Ok(())
}

fn counted(device: &Device, f: impl FnOnce() -> Result<()>) -> Result<Counters> {
    let before = device.counters();
    f()?;
    let mut after = device.counters();
    after.dispatches -= before.dispatches;
    after.readbacks -= before.readbacks;
    after.plans -= before.plans;
    Ok(after)
}

#[test]
fn a_step_has_as_many_kernels_for_any_number_of_parameters() -> Result<()> {
    let _turn = turn();
    for (name, make) in every() {
        let cost = |n: usize| -> Result<(u64, u64)> {
            let all = parameters(n)?;
            let (mut optimizer, loss) = (make(&all)?, numbers(&[], 4)?);
            let device = loss.device().clone();
            let mut cost = (0, 0);
            for step in 0..8 {
                give(&all, step)?;
                Tensor::eval_all(&all.iter().filter_map(Parameter::grad).collect::<Vec<_>>())?;
                device.synchronize()?;
                let all = counted(&device, || {
                    optimizer.step(&loss)?;
                    device.synchronize()
                })?;
                cost = (all.dispatches, all.readbacks);
            }
            Ok(cost)
        };
        let (few, many) = (cost(6)?, cost(33)?);
        println!("{name}: {few:?} {many:?}");
        assert_eq!(few, many, "{name}: kernels and readbacks");
        assert!(many.1 == 0 || name == "Lbfgs", "{name} reads back");
    }
    Ok(())
}

fn bits(all: &[Parameter]) -> Result<Vec<Vec<u8>>> {
    all.iter().map(|p| p.tensor().detach().read_bytes()).collect()
}

/// A loss whose gradients depend on the parameters: exact resuming is then a matter of every bit.
fn pull(all: &[Parameter], optimizer: &mut Any, steps: std::ops::Range<usize>) -> Result<()> {
    for step in steps {
        let closure = || {
            let mut loss = Tensor::zeros([], ())?;
            for (i, p) in all.iter().enumerate() {
                p.zero_grad();
                let away = (p.tensor() - numbers(&p.shape(), i + 17 * step)?)?;
                loss = (loss + (away.square()? * (i + 1) as f64)?.sum()?)?;
            }
            loss.backward()?;
            Ok(loss)
        };
        match optimizer {
            Any::Rule(optimizer) => {
                closure()?;
                optimizer.step()?;
            }
            Any::Lbfgs(optimizer) => drop(optimizer.step_with(closure)?),
        }
    }
    Ok(())
}

#[test]
fn a_state_goes_on_to_the_same_bits() -> Result<()> {
    let _turn = turn();
    for (name, make) in every() {
        let all = parameters(4)?;
        let mut one = make(&all)?;
        pull(&all, &mut one, 0..3)?;
        // through what a file holds
        let (tensors, texts) = one.optimizer().state_dict().to_parts();
        let tensors = tensors.into_iter().map(|(n, t)| Ok((n, t.try_clone()?))).collect::<Result<_>>()?;
        let state = OptimState::from_parts(&tensors, &texts)?;
        let copies = all.iter().map(|p| Parameter::new(&p.tensor().detach().try_clone()?));
        let copies: Vec<Parameter> = copies.collect::<Result<_>>()?;
        let mut other = make(&copies)?;
        other.optimizer().load_state_dict(&state)?;
        pull(&all, &mut one, 3..6)?;
        pull(&copies, &mut other, 3..6)?;
        assert_eq!(bits(&all)?, bits(&copies)?, "{name}");
        let names = |any: &mut Any| -> Vec<Vec<String>> {
            any.optimizer().state_dict().state.values().map(|s| s.keys().cloned().collect()).collect()
        };
        assert_eq!(names(&mut one), names(&mut other), "{name}");
    }
    Ok(())
}

#[test]
fn a_state_of_other_shapes_is_refused_and_changes_nothing() -> Result<()> {
    let _turn = turn();
    for (name, make) in every() {
        let all = parameters(3)?;
        let mut one = make(&all)?;
        pull(&all, &mut one, 0..2)?;
        let state = one.optimizer().state_dict();
        // each tensor that is kept, with one row more
        for (number, kept) in &state.state {
            for (key, value) in kept {
                let Kept::Tensor(tensor) = value else { continue };
                let mut shape = tensor.shape().to_vec();
                if let Some(first) = shape.first_mut() {
                    *first += 1;
                }
                let mut wrong = state.clone();
                let entry = wrong.state.get_mut(number).and_then(|s| s.get_mut(key)).expect("an entry");
                *entry = Kept::Tensor(Tensor::zeros(shape, ())?);
                let copies = parameters(3)?;
                let mut other = make(&copies)?;
                pull(&copies, &mut other, 0..1)?;
                let before = other.optimizer().state_dict().to_parts().1;
                let refused = other.optimizer().load_state_dict(&wrong).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Shape, "{name} {number}.{key}: {refused}");
                assert_eq!(other.optimizer().state_dict().to_parts().1, before, "{name} {number}.{key}");
            }
        }
    }
    Ok(())
}

fn follow(rule: impl Rule, shapes: &[&[usize]], want: &[&[f32]]) -> Result<()> {
    let all = shapes.iter().enumerate().map(|(i, s)| Parameter::new(&numbers(s, i)?));
    let all: Vec<Parameter> = all.collect::<Result<_>>()?;
    let mut optimizer = Optim::new(all.clone(), rule)?;
    for step in 0..4 {
        give(&all, step)?;
        optimizer.step()?;
    }
    all.iter().zip(want).try_for_each(|(p, want)| close("parameter", &p.tensor(), want))
}

#[test]
fn lion_and_muon_follow_their_references() -> Result<()> {
    let _turn = turn();
    follow(
        LionOptions::new(0.05).betas(0.9, 0.99).weight_decay(0.1),
        &[&[2, 3], &[5]],
        &[
            &[-1.346711, 0.366561, -0.635115, 0.930898, -0.024014, -1.224192],
            &[-0.635115, 0.930898, -0.024014, -1.224192, 0.48908],
        ],
    )?;
    let shapes: [&[usize]; 3] = [&[2, 3], &[4, 2], &[2, 3]];
    follow(
        MuonOptions::new(0.05),
        &shapes,
        &[
            &[-1.367642, 0.338536, -0.709995, 0.969717, 0.019352, -1.228265],
            &[-0.706985, 0.960828, 0.008653, -1.194716, 0.478023, -0.575674, 1.076723, 0.07059],
            &[-0.022918, -1.248042, 0.443483, -0.600432, 1.088558, 0.126287],
        ],
    )?;
    follow(
        MuonOptions::new(0.05).adjust_lr_fn(AdjustLr::MatchRmsAdamW),
        &shapes,
        &[
            &[-1.354612, 0.357503, -0.726411, 0.976536, -0.073373, -1.226253],
            &[-0.727157, 0.974685, -0.085418, -1.216568, 0.486666, -0.602151, 1.09533, 0.019966],
            &[-0.088016, -1.233104, 0.473935, -0.608381, 1.09778, 0.043747],
        ],
    )?;
    follow(
        MuonOptions::new(0.05).adjust_lr_fn(AdjustLr::SpectralUnclamped),
        &shapes,
        &[
            &[-1.363983, 0.343862, -0.714604, 0.971631, -0.006681, -1.2277],
            &[-0.706985, 0.960828, 0.008653, -1.194716, 0.478023, -0.575674, 1.076723, 0.07059],
            &[-0.041195, -1.243848, 0.452033, -0.602664, 1.091147, 0.103113],
        ],
    )?;
    follow(
        MuonOptions::new(0.05).nesterov(false).weight_decay(0.0),
        &[&[3, 3]],
        &[&[-1.414586, 0.368278, -0.732467, 0.992655, 0.015841, -1.300174, 0.469878, -0.654811, 1.029309]],
    )
}

#[test]
fn a_momentum_that_is_switched_on_later_starts_with_the_whole_gradient() -> Result<()> {
    let _turn = turn();
    let want =
        [(0.0, [-0.918262, 1.120625, -0.057613, -1.594937]), (0.25, [-0.969794, 1.106094, -0.021488, -1.521812])];
    for (dampening, want) in want {
        let p = Parameter::new(&numbers(&[4], 1)?)?;
        let mut sgd = Sgd::new([p.clone()], SgdOptions::new(0.1).dampening(dampening))?;
        for (step, momentum) in [0.0, 0.0, 0.9, 0.9, 0.0, 0.9, 0.9].into_iter().enumerate() {
            assert!(sgd.set_setting(0, "momentum", momentum));
            p.tensor().set_grad(Some(numbers(&[4], step + 2)?))?;
            sgd.step()?;
        }
        close("SGD", &p.tensor(), &want)?;
    }
    Ok(())
}

#[test]
fn swa_rates_are_those_of_pytorch() -> Result<()> {
    let _turn = turn();
    let want: [(Anneal, [f64; 12]); 2] = [
        (Anneal::Cos, [0.09267767, 0.414644661, 0.075, 0.45, 0.05732233, 0.485355339, 0.05, 0.5, 0.05, 0.5, 0.05, 0.5]),
        (Anneal::Linear, [0.0875, 0.425, 0.075, 0.45, 0.0625, 0.475, 0.05, 0.5, 0.05, 0.5, 0.05, 0.5]),
    ];
    for (anneal, want) in want {
        let mut sgd = Sgd::new([], SgdOptions::new(0.1))?;
        sgd.add_param_group([], SgdOptions::new(0.4))?;
        let mut schedule = SwaLr::new(&mut sgd, [0.05, 0.5], 4, anneal)?;
        for want in want.chunks(2) {
            schedule.step(&mut sgd)?;
            for (group, want) in want.iter().enumerate() {
                assert!((sgd.lr(group) - want).abs() < 1e-8, "{anneal:?}: {} and {want}", sgd.lr(group));
            }
        }
    }
    Ok(())
}

/// Twelve steps, the gradients of three of which overflow: PyTorch's values without these three.
#[test]
fn skipped_steps_do_not_count() -> Result<()> {
    let _turn = turn();
    let table: [(&str, Make, [f32; 6]); 12] = [
        ("Adam", by(AdamOptions::new(0.1)), [-1.383717, 1.535319, -0.38407, -1.363478, 0.784658, -1.059439]),
        (
            "AdamW",
            by(AdamWOptions::new(0.1).amsgrad(true)),
            [-1.373999, 1.523775, -0.381607, -1.351361, 0.778478, -1.051303],
        ),
        ("Adamax", by(AdamaxOptions::new(0.1)), [-1.199065, 1.368693, -0.346021, -1.333148, 0.734647, -0.958552]),
        ("NAdam", by(NAdamOptions::new(0.1)), [-1.218031, 1.364809, -0.259409, -1.30444, 0.684517, -0.918062]),
        (
            "RAdam",
            by(RAdamOptions::new(0.1).betas(0.9, 0.9)),
            [-1.147952, 1.284628, -0.359943, -1.309232, 0.758446, -0.967063],
        ),
        (
            "Adagrad",
            by(AdagradOptions::new(0.1).lr_decay(0.1)),
            [-1.029359, 1.206813, -0.218766, -1.31174, 0.618301, -0.827212],
        ),
        (
            "Asgd",
            by(AsgdOptions::new(0.1).lambd(0.1).t0(2.0)),
            [-1.071791, 1.20787, -0.218327, -1.109211, 0.633114, -0.793771],
        ),
        ("Adafactor", by(AdafactorOptions::new(0.1)), [-1.310006, 1.274019, -0.251822, -1.220654, 0.702736, -0.847499]),
        (
            "Sgd",
            by(SgdOptions::new(0.1).momentum(0.9).dampening(0.25)),
            [-2.123555, 1.999173, -0.902015, -1.239438, 1.174023, -1.461578],
        ),
        (
            "RmsProp",
            by(RmsPropOptions::new(0.1).momentum(0.9)),
            [-16.939178, 12.730001, -6.208846, -5.318753, 6.908608, -12.191191],
        ),
        ("Rprop", by(RpropOptions::new(0.1)), [-1.44232, 1.326, -0.32, -1.394, 0.834, -1.02356]),
        ("Adadelta", by(AdadeltaOptions::new(0.1)), [-0.751692, 1.001232, -0.125328, -1.249989, 0.500634, -0.625977]),
    ];
    for (name, make, want) in table {
        // two parameters of the same history are one pack
        let all = [numbers(&[2, 3], 1)?, numbers(&[2, 3], 1)?].map(|t| Parameter::new(&t).expect("a parameter"));
        let mut optimizer = make(&all)?;
        let device = all[0].tensor().device().clone();
        let options = GradScalerOptions { init_scale: 1.0, backoff_factor: 0.5, ..Default::default() };
        let mut scaler = GradScaler::new(&device, options)?;
        let mut scale = 1.0;
        let before = device.counters().readbacks;
        let mut plans = 0;
        for step in 0..12 {
            if step == 10 {
                plans = device.counters().plans;
            }
            let overflows = [0, 3, 4].contains(&step);
            for p in &all {
                let gradient = numbers(&[2, 3], step + 2)?;
                let gradient = if overflows { (gradient * f64::INFINITY)? } else { (gradient * scale)? };
                p.tensor().set_grad(Some(gradient))?;
            }
            scaler.step(optimizer.optimizer())?;
            scaler.update()?;
            if overflows {
                scale *= 0.5;
            }
        }
        assert_eq!(device.counters().readbacks, before, "{name} reads nothing back");
        assert_eq!(device.counters().plans, plans, "{name} plans nothing anew");
        for p in &all {
            close(name, &p.tensor(), &want)?;
        }
        // PyTorch counts nine steps too
        if let Some(Kept::Tensor(count)) = optimizer.optimizer().state_dict().state[&0].get("step") {
            assert_eq!(count.item()?, 9.0, "{name}");
        }
    }
    Ok(())
}

/// How often each of four steps asked for the loss of Rosenbrock's valley, and where they came to.
fn valley(start: [f32; 2], options: LbfgsOptions) -> Result<(Vec<u64>, Vec<f32>)> {
    let x = Parameter::new(&Tensor::new(start, ())?)?;
    let mut lbfgs = Lbfgs::new([x.clone()], options.strong_wolfe(true))?;
    let mut asked = vec![0; 4];
    for asked in &mut asked {
        lbfgs.step_with(|| {
            *asked += 1;
            x.zero_grad();
            let (a, b) = (x.tensor().select(0, 0)?, x.tensor().select(0, 1)?);
            let loss = a.sub(1.0)?.square()?.add(&b.sub(&a.square()?)?.square()?.mul(100.0)?)?;
            loss.backward()?;
            Ok(loss)
        })?;
    }
    Ok((asked, x.tensor().to_vec()?))
}

#[test]
fn line_searches_ask_as_often_as_those_of_pytorch() -> Result<()> {
    let _turn = turn();
    let few = LbfgsOptions::default().max_eval(Some(6));
    let wide = LbfgsOptions::default().tolerance_change(1.0);
    for (start, options, asked, at) in [
        ([-1.2, 1.0], &few, [6, 6, 7, 7], [0.21687, 0.066933]),
        ([0.5, 2.0], &few, [6, 6, 6, 6], [1.000025, 1.000047]),
        ([-1.2, 1.0], &wide, [3, 1, 1, 1], [-1.024532, 1.07162]),
        ([0.5, 2.0], &wide, [2, 3, 1, 1], [1.19918, 1.431535]),
    ] {
        let (own, place) = valley(start, options.clone())?;
        assert_eq!(own, asked, "{options:?}");
        let far = place.iter().zip(at).map(|(a, b): (&f32, f32)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 2e-3, "{options:?} came to {place:?}, not {at:?}");
    }
    Ok(())
}

//! Optimizers over many parameters: one kernel for all of a kind, the same numbers as one by one, and no memory kept.
//!
//! The counts are the device's own, so the tests of this file take turns.

use calor::gpu::Counters;
use calor::nn::Parameter;
use calor::optim::{
    Adam, AdamOptions, AdamW, AdamWOptions, Keep, Kept, Optim, Optimizer, Rule, Sgd, SgdOptions, State,
};
use calor::{DType, Device, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers from -1 to 1, different ones for each seed.
fn numbers(shape: &[usize], seed: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 613 + 13) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_slice(&values, shape, ())
}

/// Shapes of all kinds of sizes: none is a multiple of the alignment, some are.
fn shape(i: usize) -> Vec<usize> {
    match i % 5 {
        0 => vec![3, 1 + i % 7],
        1 => vec![64],
        2 => vec![1 + 97 * (i % 4), 5],
        3 => vec![],
        _ => vec![129],
    }
}

fn parameters(n: usize) -> Result<Vec<Parameter>> {
    (0..n).map(|i| Parameter::new(&numbers(&shape(i), i)?)).collect()
}

fn give(parameters: &[Parameter], step: usize, has: impl Fn(usize) -> bool) -> Result<()> {
    for (i, p) in parameters.iter().enumerate() {
        let g = has(i).then(|| numbers(&p.shape(), 1000 * step + i)?.to_dtype(p.tensor().dtype())).transpose()?;
        p.tensor().set_grad(g)?;
    }
    Ok(())
}

/// What the device did while `f` ran.
fn counted(device: &Device, f: impl FnOnce() -> Result<()>) -> Result<Counters> {
    let before = device.counters();
    f()?;
    let mut after = device.counters();
    after.dispatches -= before.dispatches;
    after.submits -= before.submits;
    after.readbacks -= before.readbacks;
    after.pipelines -= before.pipelines;
    after.bind_groups -= before.bind_groups;
    after.plans -= before.plans;
    Ok(after)
}

fn few_kernels<R: Rule>(name: &str, rule: R) -> Result<()> {
    for n in [3, 40, 200] {
        let all = parameters(n)?;
        let device = all[0].tensor().device().clone();
        let mut optimizer = Optim::new(all.clone(), rule.clone())?;
        for step in 0..8 {
            give(&all, step, |_| true)?;
            optimizer.step()?;
        }
        device.synchronize()?;
        let before = device.memory_stats();
        for step in 8..11 {
            give(&all, step, |_| true)?;
            let cost = counted(&device, || optimizer.step())?;
            let (dispatches, submits) = (cost.dispatches, cost.submits);
            // with few bindings, what has most of them falls apart
            let most = if device.facts().max_bindings < 16 { 3 } else { 1 };
            assert!(
                (1..=most).contains(&dispatches) && submits == 1,
                "{name}, {n} parameters: {dispatches} kernels, {submits} submits"
            );
            assert_eq!((cost.plans, cost.bind_groups, cost.pipelines, cost.readbacks), (0, 0, 0, 0), "{name}, {n}");
        }
        device.synchronize()?;
        let now = device.memory_stats();
        assert_eq!((now.current, now.reserved), (before.current, before.reserved), "{name}, {n}: memory");
    }
    Ok(())
}

#[test]
fn a_step_over_any_number_of_parameters_is_one_kernel() -> Result<()> {
    let _turn = turn();
    few_kernels("AdamW", AdamWOptions::new(0.01))?;
    few_kernels("Adam amsgrad", AdamOptions::new(0.01).amsgrad(true).weight_decay(0.1))?;
    few_kernels("SGD", SgdOptions::new(0.01))?;
    few_kernels("SGD momentum", SgdOptions::new(0.01).momentum(0.9).weight_decay(0.1).nesterov(true))
}

fn bits(t: &Tensor) -> Result<Vec<u8>> {
    t.read_bytes()
}

/// Compares packs with an optimizer that has a group of its own for each parameter, which packs nothing.
fn same_as_alone<R: Rule>(name: &str, rule: R) -> Result<()> {
    let n = 23;
    let make = || -> Result<Vec<Parameter>> {
        let all = parameters(n)?;
        for (i, p) in all.iter().enumerate() {
            match i % 6 {
                4 => p.to_dtype(DType::F16)?,
                5 => p.to_dtype(DType::BF16)?,
                _ => {}
            }
        }
        Ok(all)
    };
    let (packed, alone) = (make()?, make()?);
    let empty = Parameter::new(&Tensor::zeros([0, 3], ())?)?;
    let mut together = Optim::new(packed.iter().cloned().chain([empty.clone()]), rule.clone())?;
    let mut apart = Optim::new([alone[0].clone()], rule.clone())?;
    for p in &alone[1..] {
        apart.add_param_group([p.clone()], rule.clone())?;
    }
    for step in 0..9 {
        // who has a gradient changes from step to step
        let has = |i: usize| step < 2 || step == 5 || !(i * 5 + step).is_multiple_of(4);
        for all in [&packed, &alone] {
            give(all, step, has)?;
        }
        empty.tensor().set_grad(Some(Tensor::zeros([0, 3], ())?))?;
        together.step()?;
        apart.step()?;
        for (i, (a, b)) in packed.iter().zip(&alone).enumerate() {
            assert_eq!(bits(&a.tensor())?, bits(&b.tensor())?, "{name}: parameter {i} after step {step}");
        }
    }
    let (a, b) = (together.state_dict().state, apart.state_dict().state);
    for i in 0..n {
        assert_eq!(a.get(&i).map(|s| s.keys().collect::<Vec<_>>()), b.get(&i).map(|s| s.keys().collect()), "{name}");
        for (key, value) in a.get(&i).into_iter().flatten() {
            match (value, &b[&i][key]) {
                (Kept::Tensor(x), Kept::Tensor(y)) => {
                    assert_eq!((x.shape(), x.dtype()), (y.shape(), y.dtype()), "{name}: {key} of {i}");
                    assert_eq!(bits(x)?, bits(y)?, "{name}: {key} of {i}");
                }
                (Kept::Number(x), Kept::Number(y)) => assert_eq!(x, y, "{name}: {key} of {i}"),
                _ => panic!("{name}: {key} of {i} is of two kinds"),
            }
        }
    }
    Ok(())
}

#[test]
fn packs_give_the_same_bits_as_one_by_one() -> Result<()> {
    let _turn = turn();
    same_as_alone("AdamW", AdamWOptions::new(0.01))?;
    same_as_alone("Adam", AdamOptions::new(0.01).amsgrad(true).maximize(true).weight_decay(0.1))?;
    same_as_alone("SGD", SgdOptions::new(0.01).momentum(0.9).dampening(0.2).weight_decay(0.1))
}

#[test]
fn shared_storage_is_updated_in_turn_and_views_stay_views() -> Result<()> {
    let _turn = turn();
    let base = numbers(&[2, 6], 1)?;
    let plain = numbers(&[7], 2)?;
    // two parameters over one storage, one that is a view of a part, one alone
    let all = [&plain, &base.narrow(0, 1, 1)?, &plain, &numbers(&[4], 3)?].map(Parameter::new);
    let all: Vec<Parameter> = all.into_iter().collect::<Result<_>>()?;
    let before: Vec<Vec<f32>> = all.iter().map(|p| p.tensor().to_vec()).collect::<Result<_>>()?;
    let mut sgd = Sgd::new(all.clone(), SgdOptions::new(1.0))?;
    for p in &all {
        p.tensor().set_grad(Some(Tensor::full(&p.shape()[..], 0.5, ())?))?;
    }
    let row: Vec<f32> = base.to_vec::<f32>()?[..6].to_vec();
    sgd.step()?;
    let minus = |values: &[f32], by: f32| values.iter().map(|v| v - 0.5 * by).collect::<Vec<_>>();
    // the second update starts from the first one's result
    let twice: Vec<f32> = minus(&minus(&before[0], 1.0), 1.0);
    assert_eq!(plain.to_vec::<f32>()?, twice);
    assert_eq!(all[3].tensor().to_vec::<f32>()?, minus(&before[3], 1.0));
    assert_eq!(base.to_vec::<f32>()?, [row, minus(&before[1], 1.0)].concat(), "the rest of the storage stays");
    // what is a part of a pack is written to like anything else
    all[3].copy_from(&Tensor::ones([4], ())?)?;
    assert_eq!((plain.to_vec::<f32>()?, all[3].tensor().to_vec::<f32>()?), (twice, vec![1.0; 4]));
    Ok(())
}

#[test]
fn who_is_left_behind_keeps_no_memory_of_others() -> Result<()> {
    let _turn = turn();
    let n = 12;
    let all: Vec<Parameter> = (0..n).map(|i| Parameter::new(&numbers(&[100, 64], i)?)).collect::<Result<_>>()?;
    let device = all[0].tensor().device().clone();
    let mut adam = Adam::new(all.clone(), AdamOptions::new(0.01))?;
    let step = |adam: &mut Adam, frozen: usize| -> Result<u64> {
        give(&all, frozen, |i| i >= frozen)?;
        adam.step()?;
        give(&all, 0, |_| false)?;
        device.synchronize()?;
        Ok(device.memory_stats().current)
    };
    let whole = step(&mut adam, 0)?;
    // one parameter after the other is frozen: each would keep the buffers of the step before
    for frozen in 1..n {
        let now = step(&mut adam, frozen)?;
        assert!(now <= whole + whole / 20, "{now} bytes in use with {frozen} frozen, {whole} with none");
    }
    let snapshot = device.memory_snapshot();
    assert_eq!(snapshot.total(), device.memory_stats().current, "each buffer is counted once");
    Ok(())
}

#[test]
fn parts_are_read_and_computed_with() -> Result<()> {
    let _turn = turn();
    let all = parameters(9)?;
    let mut sgd = Sgd::new(all.clone(), SgdOptions::new(0.5))?;
    let want: Vec<Vec<f32>> = all.iter().map(|p| p.tensor().to_vec()).collect::<Result<_>>()?;
    for p in &all {
        p.tensor().set_grad(Some(Tensor::ones(&p.shape()[..], ())?))?;
    }
    sgd.step()?;
    for (p, before) in all.iter().zip(&want) {
        let t = p.tensor().detach();
        let after: Vec<f32> = before.iter().map(|v| v - 0.5).collect();
        assert_eq!(t.to_vec::<f32>()?, after);
        assert_eq!(t.add(1.0)?.to_vec::<f32>()?, after.iter().map(|v| v + 1.0).collect::<Vec<_>>());
        let sum: f64 = after.iter().map(|&v| f64::from(v)).sum();
        assert!((t.sum()?.item()? - sum).abs() < 1e-3);
        if t.dim() == 2 && t.numel() > 5 {
            assert_eq!(t.narrow(0, 1, 1)?.to_vec::<f32>()?, after[t.shape()[1]..2 * t.shape()[1]]);
        }
        // a kernel that reads one part and several others
        let other = all[4].tensor().detach().narrow(0, 0, 1)?;
        assert_eq!(t.mul(&other)?.numel(), t.numel());
    }
    Ok(())
}

/// A rule that is not elementwise: each parameter moves against its gradient by a step of fixed length.
#[derive(Clone)]
struct Normed(f64);

impl Rule for Normed {
    const NAME: &'static str = "Normed";
    const COUNTS: bool = false;

    fn lr(&self) -> f64 {
        self.0
    }

    fn set_lr(&mut self, lr: f64) {
        self.0 = lr;
    }

    fn settings(&self) -> Vec<(&'static str, f64)> {
        vec![("lr", self.0)]
    }

    fn set(&mut self, name: &str, value: f64) -> bool {
        self.0 = value;
        name == "lr"
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn keeps(&self, _: &[usize]) -> Vec<Keep> {
        Vec::new()
    }

    fn update(&self, parameter: &Tensor, gradient: &Tensor, _: &State) -> Result<()> {
        let length = gradient.square()?.sum()?.sqrt()?;
        parameter.sub_(&gradient.div(&length)?.mul(self.0)?).map(drop)
    }
}

#[test]
fn a_rule_that_looks_at_whole_parameters_gets_them_one_by_one() -> Result<()> {
    let _turn = turn();
    let all = [vec![2.0f32, 0.0], vec![0.0, 0.0, 5.0]].map(|v| Parameter::new(&Tensor::new(v, ())?));
    let all: Vec<Parameter> = all.into_iter().collect::<Result<_>>()?;
    let mut rule = Optim::new(all.clone(), Normed(1.0))?;
    all[0].tensor().set_grad(Some(Tensor::new([4.0f32, 0.0], ())?))?;
    all[1].tensor().set_grad(Some(Tensor::new([0.0f32, 0.0, 3.0], ())?))?;
    rule.step()?;
    assert_eq!(all[0].tensor().to_vec::<f32>()?, [1.0, 0.0]);
    assert_eq!(all[1].tensor().to_vec::<f32>()?, [0.0, 0.0, 4.0]);
    Ok(())
}

#[test]
fn packs_stay_within_a_binding() -> Result<()> {
    let _turn = turn();
    let mut choice = calor::gpu::AdapterChoice::from_env()?;
    choice.limits = vec![("binding_bytes".into(), 16 << 10)];
    let device = Device::open(&choice)?;
    if device.facts().max_bindings < 16 {
        println!("skipped: three windows of each of four tensors take 12 of {} bindings", device.facts().max_bindings);
        return Ok(());
    }
    // 16 of 4 KiB, and one of three windows
    let mut all: Vec<Parameter> =
        (0..16).map(|_| Parameter::new(&Tensor::ones([1024], &device)?)).collect::<Result<_>>()?;
    all.push(Parameter::new(&Tensor::ones([10_000], &device)?)?);
    let mut adam = AdamW::new(all.clone(), AdamWOptions::new(0.5).weight_decay(0.0))?;
    for _ in 0..2 {
        for p in &all {
            p.tensor().set_grad(Some(Tensor::ones(&p.shape()[..], &device)?))?;
        }
        adam.step()?;
    }
    for p in &all {
        assert!(p.tensor().to_vec::<f32>()?.iter().all(|v| v.abs() < 1e-4), "two steps of 0.5 from 1");
    }
    Ok(())
}

/// Parameters that lie side by side are one buffer for whoever joins them: the next step must not write into it.
#[test]
fn what_was_joined_of_parameters_stays() -> Result<()> {
    let _turn = turn();
    let all: Vec<Parameter> = (0..9).map(|i| Parameter::new(&numbers(&[64], i)?)).collect::<Result<_>>()?;
    let mut adam = Adam::new(all.clone(), AdamOptions::new(0.5))?;
    give(&all, 1, |_| true)?;
    adam.step()?;
    let tensors: Vec<Tensor> = all.iter().map(Parameter::tensor).map(|t| t.detach()).collect();
    let joined = calor::stack(&tensors.iter().collect::<Vec<_>>(), 0)?;
    let before = joined.to_vec::<f32>()?;
    give(&all, 2, |_| true)?;
    adam.step()?;
    let after: Vec<f32> = all.iter().map(|p| p.tensor().to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat();
    assert_ne!(after, before, "the step moves the parameters");
    assert_eq!(joined.to_vec::<f32>()?, before);
    // nor is what is written to the joined tensor seen in the parameters
    joined.zero_()?;
    assert_eq!(all[8].tensor().to_vec::<f32>()?, after[8 * 64..]);
    Ok(())
}

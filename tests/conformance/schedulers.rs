//! Scheduler cases: learning rates and momenta after every epoch.

use crate::corpus::Tensors;
use crate::run::Verdict;
use calor::nn::Parameter;
use calor::optim::curves::Of;
use calor::optim::{
    AdamOptions, Anneal, ChainedScheduler, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, Curve, Curved,
    CyclicLr, CyclicMode, CyclicOptions, ExponentialLr, LambdaLr, LinearLr, Mode, MultiStepLr, MultiplicativeLr,
    OneCycleLr, OneCycleOptions, Optim, Optimizer, PerGroup, PlateauOptions, PolynomialLr, ReduceLrOnPlateau, Rule,
    Scheduler, SequentialLr, SgdOptions, StepLr, SwaLr, Threshold,
};
use calor::{Result, Tensor};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

type Step<T> = std::result::Result<T, Verdict>;

fn fail(what: &str, why: impl std::fmt::Display) -> Verdict {
    Verdict::Fail(format!("{what}: {why}"))
}

/// Runs a case of scheduler `name`.
pub fn run_case(_: &str, case: &Value, _: &Tensors) -> Verdict {
    match (run(case), case.get("error").is_some_and(|e| !e.is_null())) {
        (Ok(()), false) | (Err(Verdict::Fail(_)), true) => Verdict::Pass,
        (Ok(()), true) => Verdict::Fail("succeeded, expected an error".into()),
        (Err(verdict), _) => verdict,
    }
}

/// Keyword arguments, which must all be read.
struct Kwargs<'a> {
    all: &'a Value,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Kwargs<'a> {
    fn get(&self, name: &'a str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(name);
        self.all.get(name).filter(|v| !v.is_null())
    }

    fn number(&self, name: &'a str, default: f64) -> Step<f64> {
        self.get(name).map_or(Ok(default), |v| v.as_f64().ok_or_else(|| fail(name, v)))
    }

    fn count(&self, name: &'a str, default: u64) -> Step<u64> {
        self.get(name).map_or(Ok(default), |v| v.as_u64().ok_or_else(|| fail(name, v)))
    }

    fn flag(&self, name: &'a str, default: bool) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    fn text(&self, name: &'a str, default: &'a str) -> &'a str {
        self.get(name).and_then(Value::as_str).unwrap_or(default)
    }

    fn each(&self, name: &'a str, default: f64) -> Step<PerGroup> {
        match self.get(name).and_then(Value::as_array) {
            Some(values) => Ok(values.iter().filter_map(Value::as_f64).collect::<Vec<_>>().into()),
            None => Ok(self.number(name, default)?.into()),
        }
    }

    fn counts(&self, name: &'a str) -> Vec<u64> {
        self.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    fn functions(&self, groups: usize) -> Step<Vec<Of>> {
        match self.get("lr_lambda") {
            Some(Value::Array(each)) => each.iter().map(function).collect(),
            Some(one) => Ok(vec![function(one)?; groups]),
            None => Err(fail("lr_lambda", "missing")),
        }
    }

    fn done(&self) -> Step<()> {
        let read = self.read.borrow();
        match self.all.as_object().into_iter().flatten().find(|(name, _)| !read.contains(name.as_str())) {
            Some((name, _)) => Err(Verdict::Unsupported(format!("the argument {name}"))),
            None => Ok(()),
        }
    }
}

fn function(json: &Value) -> Step<Of> {
    let number = |key: &str| json.get(key).and_then(Value::as_f64).ok_or_else(|| fail("lr_lambda", json));
    Ok(match json.get("lambda").and_then(Value::as_str) {
        Some("power") => {
            let base = number("base")?;
            Arc::new(move |e| base.powf(e as f64))
        }
        Some("inverse") => {
            let k = number("k")?;
            Arc::new(move |e| 1.0 / (1.0 + k * e as f64))
        }
        Some("warmup") => {
            let steps = number("steps")?;
            Arc::new(move |e| ((e + 1) as f64 / steps).min(1.0))
        }
        Some("constant") => {
            let value = number("value")?;
            Arc::new(move |_| value)
        }
        _ => return Err(Verdict::Unsupported(format!("the function {json}"))),
    })
}

fn anneal(name: &str) -> Anneal {
    if name == "linear" { Anneal::Linear } else { Anneal::Cos }
}

fn boxed(made: Result<impl Scheduler + 'static>) -> Step<Box<dyn Scheduler>> {
    match made {
        Ok(scheduler) => Ok(Box::new(scheduler)),
        Err(e) => Err(fail("construction", e)),
    }
}

/// PyTorch's `last_epoch`; none for a schedule that starts.
fn last_epoch(kwargs: &Value) -> Step<Option<u64>> {
    match kwargs.get("last_epoch").filter(|v| !v.is_null()).map(|v| (v.as_u64(), v.as_i64())) {
        None | Some((None, Some(-1))) => Ok(None),
        Some((Some(epoch), _)) => Ok(Some(epoch)),
        Some(_) => Err(Verdict::Unsupported(format!("last_epoch = {}", kwargs["last_epoch"]))),
    }
}

/// A scheduler that goes on after an epoch, where one is given.
fn curved<C: Curve + Clone + 'static>(
    made: Result<Curved<C>>,
    o: &mut dyn Optimizer,
    last: Option<u64>,
) -> Step<Box<dyn Scheduler>> {
    boxed(made.and_then(|scheduler| match last {
        Some(epoch) => scheduler.resumed_at(o, epoch),
        None => Ok(scheduler),
    }))
}

/// A scheduler by PyTorch's name.
fn make(name: &str, all: &Value, optimizer: &mut dyn Optimizer) -> Step<Box<dyn Scheduler>> {
    let k = Kwargs { all, read: RefCell::default() };
    k.get("last_epoch");
    let last = last_epoch(all)?;
    let o = optimizer;
    macro_rules! made {
        ($new:expr) => {{
            let made = $new;
            curved(made, o, last)
        }};
    }
    let made = match name {
        "StepLR" => made!(StepLr::new(o, k.count("step_size", 1)?, k.number("gamma", 0.1)?)),
        "MultiStepLR" => made!(MultiStepLr::new(o, k.counts("milestones"), k.number("gamma", 0.1)?)),
        "ConstantLR" => made!(ConstantLr::new(o, k.number("factor", 1.0 / 3.0)?, k.count("total_iters", 5)?)),
        "LinearLR" => made!(LinearLr::new(
            o,
            k.number("start_factor", 1.0 / 3.0)?,
            k.number("end_factor", 1.0)?,
            k.count("total_iters", 5)?,
        )),
        "ExponentialLR" => made!(ExponentialLr::new(o, k.number("gamma", 0.1)?)),
        "PolynomialLR" => made!(PolynomialLr::new(o, k.count("total_iters", 5)?, k.number("power", 1.0)?)),
        "CosineAnnealingLR" => made!(CosineAnnealingLr::new(o, k.count("T_max", 1)?, k.number("eta_min", 0.0)?)),
        "CosineAnnealingWarmRestarts" => made!(CosineAnnealingWarmRestarts::new(
            o,
            k.count("T_0", 1)?,
            k.count("T_mult", 1)?,
            k.number("eta_min", 0.0)?,
        )),
        "LambdaLR" => {
            let functions = k.functions(o.num_groups())?;
            made!(LambdaLr::per_group(o, functions))
        }
        "MultiplicativeLR" => {
            let functions = k.functions(o.num_groups())?;
            made!(MultiplicativeLr::per_group(o, functions))
        }
        "SWALR" => made!(SwaLr::new(
            o,
            k.each("swa_lr", 0.0)?,
            k.count("anneal_epochs", 10)?,
            anneal(k.text("anneal_strategy", "cos")),
        )),
        "OneCycleLR" => {
            let steps = k.count("epochs", 0)? * k.count("steps_per_epoch", 0)?;
            let options = OneCycleOptions::new(k.each("max_lr", 0.0)?, k.count("total_steps", steps)?)
                .pct_start(k.number("pct_start", 0.3)?)
                .anneal_strategy(anneal(k.text("anneal_strategy", "cos")))
                .cycle_momentum(k.flag("cycle_momentum", true))
                .base_momentum(k.each("base_momentum", 0.85)?)
                .max_momentum(k.each("max_momentum", 0.95)?)
                .div_factor(k.number("div_factor", 25.0)?)
                .final_div_factor(k.number("final_div_factor", 1e4)?)
                .three_phase(k.flag("three_phase", false));
            made!(OneCycleLr::new(o, options))
        }
        "CyclicLR" => {
            let mode = match k.text("mode", "triangular") {
                "triangular" => CyclicMode::Triangular,
                "triangular2" => CyclicMode::Triangular2,
                "exp_range" => CyclicMode::ExpRange,
                other => return Err(fail("mode", other)),
            };
            let up = k.number("step_size_up", 2000.0)?;
            let options = CyclicOptions::new(k.each("base_lr", 0.0)?, k.each("max_lr", 0.0)?)
                .step_size_up(up)
                .step_size_down(k.number("step_size_down", up)?)
                .mode(mode)
                .gamma(k.number("gamma", 1.0)?)
                .cycle_momentum(k.flag("cycle_momentum", true))
                .base_momentum(k.each("base_momentum", 0.8)?)
                .max_momentum(k.each("max_momentum", 0.9)?);
            made!(CyclicLr::new(o, options))
        }
        other => Err(Verdict::Unsupported(format!("no scheduler {other}"))),
    }?;
    k.done()?;
    Ok(made)
}

fn plateau(all: &Value, optimizer: &dyn Optimizer) -> Step<ReduceLrOnPlateau> {
    let k = Kwargs { all, read: RefCell::default() };
    let mode = if k.text("mode", "min") == "max" { Mode::Max } else { Mode::Min };
    let threshold = if k.text("threshold_mode", "rel") == "abs" { Threshold::Abs } else { Threshold::Rel };
    let options = PlateauOptions::new()
        .mode(mode)
        .factor(k.number("factor", 0.1)?)
        .patience(k.count("patience", 10)?)
        .threshold(k.number("threshold", 1e-4)?)
        .threshold_mode(threshold)
        .cooldown(k.count("cooldown", 0)?)
        .min_lr(k.each("min_lr", 0.0)?)
        .eps(k.number("eps", 1e-8)?);
    k.done()?;
    ReduceLrOnPlateau::new(optimizer, options).map_err(|e| fail("construction", e))
}

fn groups<R: Rule + 'static>(rule: R, case: &Value) -> Result<Box<dyn Optimizer>> {
    let mut optimizer: Option<Optim<R>> = None;
    for group in case["groups"].as_array().into_iter().flatten() {
        let mut rule = rule.clone();
        rule.set_lr(group["lr"].as_f64().unwrap_or(f64::NAN));
        let members = [Parameter::new(&Tensor::zeros([1], ())?)?];
        match &mut optimizer {
            Some(optimizer) => optimizer.add_param_group(members, rule)?,
            None => optimizer = Some(Optim::new(members, rule)?),
        }
    }
    match optimizer {
        Some(optimizer) => Ok(Box::new(optimizer)),
        None => Ok(Box::new(Optim::new([], rule)?)),
    }
}

/// Steps to an epoch and tells the last rates.
type Epoch = dyn FnMut(&mut dyn Optimizer, usize) -> Result<Vec<f64>>;

fn run(case: &Value) -> Step<()> {
    let made = match case["optimizer"].as_str() {
        Some("SGD") => groups(SgdOptions::new(0.1).momentum(0.9), case),
        Some("Adam") => groups(AdamOptions::default(), case),
        other => return Err(Verdict::Unsupported(format!("the optimizer {other:?}"))),
    };
    let mut optimizer = made.map_err(|e| fail("optimizer", e))?;
    let o = &mut *optimizer;
    for (group, given) in case["groups"].as_array().into_iter().flatten().enumerate() {
        if let Some(first) = given["initial_lr"].as_f64() {
            o.set_setting(group, "initial_lr", first);
        }
    }
    let name = case["scheduler"].as_str().unwrap_or_default();
    let metrics: Vec<f64> = case["metrics"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let parts = |o: &mut dyn Optimizer| -> Step<Vec<Box<dyn Scheduler>>> {
        let all = case["schedulers"].as_array().into_iter().flatten();
        all.map(|s| make(s["scheduler"].as_str().unwrap_or_default(), &s["kwargs"], o)).collect()
    };
    let milestones =
        || -> Vec<u64> { case["milestones"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect() };
    let mut step: Box<Epoch> = match name {
        "ReduceLROnPlateau" => {
            let mut plateau = plateau(&case["kwargs"], o)?;
            Box::new(move |o, e| {
                plateau.step(o, metrics.get(e).copied().unwrap_or(f64::NAN));
                Ok(plateau.get_last_lr())
            })
        }
        _ => {
            let mut scheduler = match name {
                "SequentialLR" => {
                    let parts = parts(o)?;
                    let last = last_epoch(&case["kwargs"])?;
                    boxed(SequentialLr::new(o, parts, milestones()).and_then(|s| match last {
                        Some(epoch) => s.resumed_at(epoch),
                        None => Ok(s),
                    }))?
                }
                "ChainedScheduler" => {
                    let parts = parts(o)?;
                    boxed(ChainedScheduler::new(o, parts))?
                }
                _ => make(name, &case["kwargs"], o)?,
            };
            Box::new(move |o, _| {
                scheduler.step(o)?;
                Ok(scheduler.get_last_lr())
            })
        }
    };
    check(case, 0, o)?;
    let epochs = case["lrs"].as_array().map_or(0, Vec::len);
    for epoch in 1..epochs {
        let last = step(o, epoch - 1).map_err(|e| fail(&format!("epoch {epoch}"), e))?;
        check(case, epoch, o)?;
        if last.iter().enumerate().any(|(g, lr)| *lr != o.lr(g)) {
            return Err(fail(&format!("epoch {epoch}"), format!("the last rates are {last:?}")));
        }
    }
    Ok(())
}

/// Rates and momenta of every group at an epoch.
fn check(case: &Value, epoch: usize, optimizer: &dyn Optimizer) -> Step<()> {
    let bound = |name: &str| case.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let near = |what: &str, group: usize, got: Option<f64>, want: &Value| {
        let (got, want) = (got.unwrap_or(f64::NAN), want.as_f64().unwrap_or(f64::NAN));
        match (got - want).abs() <= bound("atol") + bound("rtol") * want.abs() {
            true => Ok(()),
            false => Err(fail(&format!("{what} of group {group} at epoch {epoch}"), format!("{got}, expected {want}"))),
        }
    };
    for (group, want) in case["lrs"][epoch].as_array().into_iter().flatten().enumerate() {
        near("rate", group, Some(optimizer.lr(group)), want)?;
    }
    for (group, want) in case["momenta"][epoch].as_array().into_iter().flatten().enumerate() {
        let own = optimizer.setting(group, "beta1").or_else(|| optimizer.setting(group, "momentum"));
        near("momentum", group, own, want)?;
    }
    Ok(())
}

//! Optimizer cases: parameters after every step and the state at the end, against PyTorch's trajectories.

use crate::corpus::Tensors;
use crate::host;
use crate::run::{Backend, Verdict, both_modes};
use calor::nn::Parameter;
use calor::optim::{
    AdadeltaOptions, AdafactorOptions, AdagradOptions, AdamOptions, AdamWOptions, AdamaxOptions, AdjustLr, AsgdOptions,
    Kept, Lbfgs, LbfgsOptions, LionOptions, MuonOptions, NAdamOptions, Optim, OptimState, Optimizer, RAdamOptions,
    RmsPropOptions, RpropOptions, Rule, SgdOptions,
};
use calor::{Result, Tensor};
use serde_json::Value;

type Step<T> = std::result::Result<T, Verdict>;

fn fail(what: &str, why: impl std::fmt::Display) -> Verdict {
    Verdict::Fail(format!("{what}: {why}"))
}

/// Runs a case of optimizer `name`.
pub fn run_case(name: &str, case: &Value, tensors: &Tensors) -> Verdict {
    both_modes::<Tensor>(|| {
        let run = Case { name, case, tensors };
        match case.get("error").filter(|e| !e.is_null()) {
            None => run.run().map(|()| Verdict::Pass),
            Some(_) => match run.run() {
                Err(Verdict::Fail(_)) => Ok(Verdict::Pass),
                Ok(()) => Err(Verdict::Fail("succeeded, expected an error".into())),
                Err(other) => Err(other),
            },
        }
    })
}

struct Case<'a> {
    name: &'a str,
    case: &'a Value,
    tensors: &'a Tensors,
}

/// Arguments that choose among PyTorch's implementations, which agree.
const IMPLEMENTATIONS: [&str; 5] = ["foreach", "fused", "capturable", "differentiable", "use_addmm"];

/// PyTorch's pairs and triples as calor's settings.
const TUPLES: [(&str, &[&str]); 5] = [
    ("betas", &["beta1", "beta2"]),
    ("etas", &["eta_minus", "eta_plus"]),
    ("step_sizes", &["step_min", "step_max"]),
    ("eps", &["eps1", "eps2"]),
    ("ns_coefficients", &["ns_a", "ns_b", "ns_c"]),
];

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::NAN),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::String(s) if s == "inf" => Some(f64::INFINITY),
        Value::String(s) if s == "strong_wolfe" || s == "match_rms_adamw" => Some(1.0),
        Value::String(s) if s == "original" => Some(0.0),
        Value::String(s) if s == "spectral_unclamped" => Some(2.0),
        _ => value.as_f64(),
    }
}

/// Keyword arguments as settings.
fn settings(kwargs: &Value) -> Step<Vec<(&str, f64)>> {
    let mut out = Vec::new();
    for (name, value) in kwargs.as_object().into_iter().flatten() {
        if IMPLEMENTATIONS.contains(&name.as_str()) {
            continue;
        }
        let unknown = || Verdict::Unsupported(format!("{name} = {value}"));
        match (value.as_array(), TUPLES.iter().find(|t| t.0 == name)) {
            (Some(values), Some((_, names))) => {
                for (name, value) in names.iter().zip(values) {
                    out.push((*name, number(value).ok_or_else(unknown)?));
                }
            }
            _ => out.push((name.as_str(), number(value).ok_or_else(unknown)?)),
        }
    }
    Ok(out)
}

fn with<R: Rule>(mut rule: R, kwargs: &Value) -> Step<R> {
    for (name, value) in settings(kwargs)? {
        if !rule.set(name, value) {
            return Err(Verdict::Unsupported(format!("no setting {name}")));
        }
    }
    Ok(rule)
}

impl Case<'_> {
    fn list(&self, key: &str) -> Step<&Vec<Value>> {
        self.case.get(key).and_then(Value::as_array).ok_or_else(|| fail(key, "no list"))
    }

    fn tensor(&self, key: &Value) -> Step<Tensor> {
        let key = key.as_str().ok_or_else(|| fail("a key", key))?;
        Tensor::upload(self.tensors.get(key).map_err(|e| fail(key, e))?).map_err(|e| fail(key, e))
    }

    fn check(&self, what: &str, got: &Tensor, key: &Value) -> Step<()> {
        let bound = |name: &str| self.case.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let want = self.tensors.get(key.as_str().unwrap_or_default()).map_err(|e| fail(what, e))?;
        let got = got.download().map_err(|e| fail(what, e))?;
        host::compare(&got, want, bound("rtol"), bound("atol")).map_err(|e| fail(what, e))
    }

    fn make<R: Rule + 'static>(&self, default: R, parameters: &[Parameter]) -> Step<Box<dyn Optimizer>> {
        let default = with(default, &self.case["kwargs"])?;
        let mut optimizer: Option<Optim<R>> = None;
        for group in self.list("groups")? {
            let indices = group["params"].as_array().into_iter().flatten().filter_map(Value::as_u64);
            let members: Vec<Parameter> = indices.filter_map(|i| parameters.get(i as usize).cloned()).collect();
            let rule = with(default.clone(), &group["kwargs"])?;
            let made = match &mut optimizer {
                Some(optimizer) => optimizer.add_param_group(members, rule),
                None => Optim::new(members, rule).map(|o| optimizer = Some(o)),
            };
            made.map_err(|e| fail("construction", e))?;
        }
        match optimizer {
            Some(optimizer) => Ok(Box::new(optimizer)),
            None => Err(fail("groups", "none")),
        }
    }

    fn optimizer(&self, parameters: &[Parameter]) -> Step<Box<dyn Optimizer>> {
        let p = parameters;
        match self.name {
            "SGD" => self.make(SgdOptions::default(), p),
            "Adam" => self.make(AdamOptions::default(), p),
            "AdamW" => self.make(AdamWOptions::default(), p),
            "Adamax" => self.make(AdamaxOptions::default(), p),
            "NAdam" => self.make(NAdamOptions::default(), p),
            "RAdam" => self.make(RAdamOptions::default(), p),
            "Adagrad" => self.make(AdagradOptions::default(), p),
            "Adadelta" => self.make(AdadeltaOptions::default(), p),
            "RMSprop" => self.make(RmsPropOptions::default(), p),
            "Rprop" => self.make(RpropOptions::default(), p),
            "ASGD" => self.make(AsgdOptions::default(), p),
            "Adafactor" => self.make(AdafactorOptions::default(), p),
            "Lion" => self.make(LionOptions::default(), p),
            "Muon" => self.make(MuonOptions::default().adjust_lr_fn(AdjustLr::Original), p),
            other => Err(Verdict::Unsupported(format!("no optimizer {other}"))),
        }
    }

    fn run(&self) -> Step<()> {
        let keys = self.list("params")?.iter();
        let parameters: Vec<Parameter> =
            keys.map(|k| Parameter::new(&self.tensor(k)?).map_err(|e| fail("parameter", e))).collect::<Step<_>>()?;
        if self.name == "LBFGS" {
            return self.run_lbfgs(&parameters);
        }
        let mut optimizer = self.optimizer(&parameters)?;
        for (s, step) in self.list("steps")?.iter().enumerate() {
            for (p, key) in parameters.iter().zip(step["grads"].as_array().into_iter().flatten()) {
                p.tensor()
                    .set_grad(if key.is_null() { None } else { Some(self.tensor(key)?) })
                    .map_err(|e| fail("set_grad", e))?;
            }
            optimizer.step().map_err(|e| fail(&format!("step {s}"), e))?;
            self.after(s, step, &parameters)?;
        }
        self.state(&optimizer.state_dict())
    }

    fn after(&self, s: usize, step: &Value, parameters: &[Parameter]) -> Step<()> {
        for (i, (p, key)) in parameters.iter().zip(step["params_after"].as_array().into_iter().flatten()).enumerate() {
            self.check(&format!("parameter {i} after step {s}"), &p.tensor(), key)?;
        }
        Ok(())
    }

    /// The state dict: all names of the corpus and no others.
    fn state(&self, state: &OptimState) -> Step<()> {
        let Some(want) = self.case.get("state_after").and_then(Value::as_object) else { return Ok(()) };
        let bound = |name: &str| self.case.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let own: Vec<String> = state.state.keys().map(usize::to_string).collect();
        if let Some(extra) = own.iter().find(|n| !want.contains_key(*n)) {
            return Err(fail("state", format!("of parameter {extra}, which has none")));
        }
        for (index, kept) in want {
            let own = index.parse().ok().and_then(|i: usize| state.state.get(&i));
            let own = own.ok_or_else(|| fail("state", format!("none of parameter {index}")))?;
            let kept = kept.as_object().ok_or_else(|| fail("state", "no object"))?;
            if let Some(extra) = own.keys().find(|n| !kept.contains_key(*n)) {
                return Err(fail("state", format!("parameter {index} has {extra}")));
            }
            for (name, want) in kept {
                let what = format!("{name} of parameter {index}");
                match own.get(name) {
                    Some(Kept::Tensor(t)) => self.check(&what, t, want)?,
                    Some(Kept::Number(n)) => {
                        let want = number(want).ok_or_else(|| fail(&what, want))?;
                        if !host::close(*n, want, bound("rtol"), bound("atol")) {
                            return Err(fail(&what, format!("{n}, expected {want}")));
                        }
                    }
                    None => return Err(fail(&what, "missing")),
                }
            }
        }
        Ok(())
    }

    /// The closure's loss is `x^T A x / 2 - b^T x`.
    fn run_lbfgs(&self, parameters: &[Parameter]) -> Step<()> {
        let mut options = LbfgsOptions::default();
        for kwargs in [&self.case["kwargs"], &self.case["groups"][0]["kwargs"]] {
            for (name, value) in settings(kwargs)? {
                let name = if name == "line_search_fn" { "strong_wolfe" } else { name };
                let value = if name == "strong_wolfe" && value.is_nan() { 0.0 } else { value };
                if !options.set(name, value) {
                    return Err(Verdict::Unsupported(format!("no setting {name}")));
                }
            }
        }
        let (a, b) = (self.tensor(&self.case["quadratic"]["a"])?, self.tensor(&self.case["quadratic"]["b"])?);
        let x = parameters.first().ok_or_else(|| fail("params", "none"))?.clone();
        let mut lbfgs = Lbfgs::new(parameters.to_vec(), options).map_err(|e| fail("construction", e))?;
        let mut closure = || -> Result<Tensor> {
            x.zero_grad();
            let t = x.tensor();
            let loss = t.dot(&a.matmul(&t)?)?.mul(0.5)?.sub(&b.dot(&t)?)?;
            loss.backward()?;
            Ok(loss)
        };
        for (s, step) in self.list("steps")?.iter().enumerate() {
            lbfgs.step_with(&mut closure).map_err(|e| fail(&format!("step {s}"), e))?;
            self.after(s, step, parameters)?;
        }
        self.state(&lbfgs.state_dict())
    }
}

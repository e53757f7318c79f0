//! Module cases: build, load the state dict, run forward; compare outputs, buffers and gradients.

use crate::Suite;
use crate::backend::op;
use crate::call::{Call, Failure, Output};
use crate::corpus::{self, ModuleCase, ModuleFile, ModuleSpec};
use crate::drivers::Tensor;
use crate::module_table;
use crate::report::Outcome;
use crate::run::{Backend, Runner, Step, Verdict, both_modes, fail, verdict};
use crate::signature::Signature;
use calor::nn::{Layer, Module, StateDict};
use std::collections::HashMap;
use std::sync::Arc;

/// Outputs, or why there are none.
pub type Outputs = Result<Vec<Output<Tensor>>, Failure>;
/// The arguments of a constructor or of `forward`.
pub type Args<'a> = &'a mut Call<Tensor>;

/// A module that was made for a case.
pub struct Built {
    pub module: Arc<dyn Module>,
    /// Itself, where it takes a tensor and gives one: part of a `Sequential`.
    pub layer: Option<Arc<dyn Layer>>,
    /// Calls `forward`.
    pub forward: Box<dyn Fn(Args<'_>) -> Outputs>,
}

impl Built {
    /// A layer, whose `forward` takes `input`.
    pub fn layer<L: Layer + Module + 'static>(layer: calor::Result<L>) -> Result<Built, Failure> {
        let layer = Arc::new(layer.map_err(op)?);
        let own = layer.clone();
        let forward = Box::new(move |c: Args<'_>| crate::backend::one(own.forward(&c.tensor("input")?)));
        Ok(Built { module: layer.clone(), layer: Some(layer), forward })
    }

    /// Any other module.
    pub fn other<M: Module + Send + Sync + 'static>(
        module: calor::Result<M>,
        forward: impl Fn(&M, Args<'_>) -> Outputs + 'static,
    ) -> Result<Built, Failure> {
        let module = Arc::new(module.map_err(op)?);
        let own = module.clone();
        Ok(Built { module, layer: None, forward: Box::new(move |c: Args<'_>| forward(&own, c)) })
    }
}

/// Builds what `spec` says.
pub fn build(spec: &ModuleSpec, tensors: HashMap<String, Tensor>) -> Result<Built, Failure> {
    let row = module_table::find(&spec.name).ok_or_else(|| Failure::Unsupported(spec.name.clone()))?;
    construct(spec, row.init, tensors, row.build)
}

/// What `build` makes of a constructor's arguments, all of which it must read.
fn construct<T>(
    spec: &ModuleSpec,
    init: &str,
    tensors: HashMap<String, Tensor>,
    build: impl FnOnce(Args<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let signature = Signature::parse(init).map_err(Failure::Argument)?;
    let mut call = Call::of(&[signature], &spec.args, &spec.kwargs, tensors);
    let built = build(&mut call)?;
    match call.unused() {
        unused if unused.is_empty() => Ok(built),
        unused => Err(Failure::Argument(format!("the constructor's driver didn't read {}", unused.join(", ")))),
    }
}

/// What `build` makes of the arguments of a module that is part of another.
pub fn with_call<T>(
    spec: &ModuleSpec,
    init: &str,
    build: impl FnOnce(Args<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    construct(spec, init, HashMap::new(), build)
}

/// Runs a module's cases.
pub fn run(suite: &Suite, name: &str, module: &str) -> Outcome {
    let file = match corpus::read_module(&suite.dir, module) {
        Ok(file) => file,
        Err(e) => return Outcome::broken(name, &e),
    };
    let listed = suite.todo.contains(name);
    if module_table::find(module).is_none() || listed && suite.options.filters.is_empty() {
        return Outcome::skipped(name, file.cases.len(), listed);
    }
    let verdicts: Vec<_> = file
        .cases
        .iter()
        .map(|case| {
            let verdict = both_modes::<Tensor>(|| Run::new(&file, case).run());
            (format!("{} {}", case.call.name, case.call.desc), verdict)
        })
        .collect();
    Outcome::of(name, &verdicts, suite.options.verbose)
}

struct Run<'a> {
    case: &'a ModuleCase,
    runner: Runner<'a, Tensor>,
}

impl<'a> Run<'a> {
    fn new(file: &'a ModuleFile, case: &'a ModuleCase) -> Self {
        let runner = Runner { driver: |_| Ok(Vec::new()), op: &file.op, signatures: &[], case: &case.call };
        Self { case, runner }
    }

    /// The module, with its state loaded.
    fn build(&self) -> Step<Result<Built, Failure>> {
        let mut tensors = HashMap::new();
        for value in self.case.init.args.iter().chain(self.case.init.kwargs.values()) {
            if let corpus::Value::Tensor(t) = value {
                tensors.insert(t.key.clone(), self.runner.upload(&t.key)?);
            }
        }
        let built = match build(&self.case.init, tensors) {
            Ok(built) => built,
            Err(e) => return Ok(Err(e)),
        };
        let mut state = StateDict::new();
        for (name, key) in &self.case.state {
            state.insert(name, self.runner.upload(key)?);
        }
        let dtype = state.iter().map(|(_, t)| t.dtype()).find(|d| d.is_float());
        let loaded = dtype.map_or(Ok(()), |d| built.module.to_dtype(d)).and_then(|()| {
            if self.case.call.error.is_some() && state.is_empty() {
                return Ok(());
            }
            built.module.load_state_dict(&state, true).map(drop)
        });
        loaded.map_err(|e| fail("loading the state dict", &e.to_string()))?;
        built.module.set_training(self.case.training);
        Ok(Ok(built))
    }

    fn forward(&self, built: &Built, tensors: HashMap<String, Tensor>) -> Outputs {
        let row = module_table::find(&self.case.init.name);
        let signature = Signature::parse(row.map_or("forward()", |r| r.forward)).map_err(Failure::Argument)?;
        let mut call = Call::of(&[signature], &self.case.call.args, &self.case.call.kwargs, tensors);
        let outputs = (built.forward)(&mut call)?;
        let unused = call.unused();
        if self.case.call.error.is_none() && !unused.is_empty() {
            return Err(Failure::Argument(format!("the driver of forward didn't read {}", unused.join(", "))));
        }
        Ok(outputs)
    }

    fn run(&self) -> Step<Verdict> {
        let built = self.build()?;
        if let Some(error) = &self.case.call.error {
            let refused = match built {
                Err(e) => Err(e),
                Ok(_) if self.case.fails_at_once => Ok(false),
                Ok(built) => self
                    .forward(&built, self.runner.inputs()?.args)
                    .map(|outputs| outputs.iter().any(|o| matches!(o, Output::Tensor(t) if t.download().is_err()))),
            };
            return match refused {
                Ok(true) | Err(Failure::Op(_)) => Ok(Verdict::Pass),
                Err(Failure::Argument(_)) => Ok(Verdict::PassByType),
                Err(Failure::Unsupported(why)) => Err(Verdict::Unsupported(why)),
                Ok(false) => Err(Verdict::Fail(format!("succeeded, expected an error: {}", error.message))),
            };
        }
        let built = built.map_err(verdict)?;
        let mut args = self.runner.inputs()?.args;
        let mut leaves = Vec::new();
        if let Some(grads) = &self.case.call.grads {
            for key in grads.inputs.keys() {
                let plain = args.get(key).ok_or_else(|| fail(key, "no such input"))?;
                let leaf = plain.leaf().map_err(|e| fail("leaf", &e))?;
                args.insert(key.clone(), leaf.clone());
                leaves.push(leaf);
            }
        }
        let outputs = self.forward(&built, args).map_err(verdict)?;
        self.runner.check_outputs(&outputs)?;
        self.buffers(&built)?;
        self.gradients(&built, &outputs, leaves)?;
        Ok(Verdict::Pass)
    }

    fn buffers(&self, built: &Built) -> Step<()> {
        let (rtol, atol) = (self.case.call.rtol, self.case.call.atol);
        for (name, tensor) in built.module.state_dict().iter() {
            let what = format!("{name} after the call");
            match (self.case.buffers_after.get(name), self.case.state.get(name)) {
                (Some(after), _) => self.runner.check_tensor(&what, tensor, after, rtol, atol)?,
                (None, Some(before)) => self.runner.check_tensor(&what, tensor, before, 0.0, 0.0)?,
                (None, None) => return Err(fail(&what, "not in the case's state dict")),
            }
        }
        Ok(())
    }

    fn gradients(&self, built: &Built, outputs: &[Output<Tensor>], mut leaves: Vec<Tensor>) -> Step<()> {
        let Some(grads) = &self.case.call.grads else { return Ok(()) };
        let mut pairs = Vec::new();
        for (output, key) in outputs.iter().zip(&grads.cotangents) {
            if let (Output::Tensor(output), Some(key)) = (output, key) {
                pairs.push((output.clone(), self.runner.upload(key)?));
            }
        }
        let parameters = built.module.named_parameters();
        let mut wants: Vec<(String, Option<&String>)> =
            grads.inputs.iter().map(|(key, want)| (format!("gradient of {key}"), want.as_ref())).collect();
        for (name, want) in &self.case.params {
            let own = parameters.iter().find(|(n, _)| n == name);
            let (_, parameter) = own.ok_or_else(|| fail(name, "no such parameter"))?;
            leaves.push(parameter.tensor());
            wants.push((format!("gradient of {name}"), want.as_ref()));
        }
        let got = <Tensor as Backend>::grad(&pairs, &leaves, false).map_err(|e| fail("backward", &e))?;
        for ((what, want), got) in wants.iter().zip(&got) {
            self.runner.check_gradient(what, got.as_ref(), *want, (grads.rtol, grads.atol))?;
        }
        Ok(())
    }
}

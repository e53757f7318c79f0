//! Running one case: make its tensors, call the driver, compare outputs, inputs and gradients, fused and unfused.

use crate::call::{Call, Failure, Output};
use crate::corpus::{Case, Expected, GradGrads, Grads, OpFile, Tensors, Value, View};
use crate::host::{self, HostTensor};
use crate::signature::Signature;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Runs one operation on the arguments of `Call` and returns its outputs, tuples and lists flattened.
pub type Driver<T> = fn(&mut Call<T>) -> Result<Vec<Output<T>>, Failure>;

/// What the harness asks of a tensor library.
pub trait Backend: Clone {
    /// Evaluates from now on with or without fusion.
    fn set_mode(mode: Mode);
    /// A contiguous tensor.
    fn upload(host: &HostTensor) -> Result<Self, String>;
    fn download(&self) -> Result<HostTensor, String>;
    /// A view of the flat storage `self`.
    fn as_view(&self, view: &View) -> Result<Self, String>;
    /// The same values as a leaf that requires grad.
    fn leaf(&self) -> Result<Self, String>;
    /// A differentiable copy, for an operation to overwrite.
    fn copy(&self) -> Result<Self, String>;
    /// The gradients of sum <output, cotangent> for each of `inputs`; None where there is no dependence.
    fn grad(outputs: &[(Self, Self)], inputs: &[Self], create_graph: bool) -> Result<Vec<Option<Self>>, String>;
    /// Whether a write to one is seen by the other.
    fn shares_storage(&self, other: &Self) -> bool;
}

/// The two ways each case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Fused,
    Unfused,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Pass,
    /// An error case that Rust's types rule out, so that calor had nothing to refuse.
    PassByType,
    Fail(String),
    Unsupported(String),
    /// The adapter has no such dtype.
    Lacking(String),
}

/// A stage's error: `Err(Verdict)` stops the case.
pub type Step<T> = Result<T, Verdict>;

/// Runs `case` in both modes; the worse verdict counts.
pub fn run_case<T: Backend>(driver: Driver<T>, op: &OpFile, signatures: &[Signature], case: &Case) -> Verdict {
    both_modes::<T>(|| Runner { driver, op, signatures, case }.run())
}

/// Runs `f` fused and unfused; the worse verdict counts.
pub fn both_modes<T: Backend>(f: impl Fn() -> Step<Verdict>) -> Verdict {
    let mut verdict = Verdict::Pass;
    for mode in [Mode::Fused, Mode::Unfused] {
        T::set_mode(mode);
        // A panic must cost one case, not the run.
        let result = catch_unwind(AssertUnwindSafe(&f)).unwrap_or_else(|_| {
            let text = LAST_PANIC.lock().map(|mut p| std::mem::take(&mut *p)).unwrap_or_default();
            Err(Verdict::Fail(text.replace('\n', " ")))
        });
        match result {
            Ok(v) => verdict = v,
            Err(Verdict::Fail(message)) => return Verdict::Fail(format!("{mode:?}: {message}")),
            Err(v) => return v,
        }
    }
    verdict
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps a panic's message for the line of its case, instead of printing it in between.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = info.to_string();
        }
    }));
}

/// In-place operations that change a tensor's shape or strides, not its values.
const RESHAPE_SELF: [&str; 4] = ["Tensor.squeeze_", "Tensor.t_", "Tensor.transpose_", "Tensor.unsqueeze_"];

pub struct Runner<'a, T> {
    pub driver: Driver<T>,
    pub op: &'a OpFile,
    pub signatures: &'a [Signature],
    pub case: &'a Case,
}

/// A case's tensor arguments on the device.
pub struct Inputs<T> {
    /// The stored tensor of each key.
    pub storages: HashMap<String, T>,
    /// What the call gets: for a strided argument, the view.
    pub args: HashMap<String, T>,
}

impl<T: Backend> Runner<'_, T> {
    fn run(&self) -> Step<Verdict> {
        if self.case.error.is_some() {
            return self.run_error();
        }
        self.forward()?;
        if let Some(grads) = &self.case.grads {
            self.gradients(grads)?;
        }
        Ok(Verdict::Pass)
    }

    fn data(&self) -> &Tensors {
        &self.op.tensors
    }

    fn host(&self, key: &str) -> Step<&HostTensor> {
        self.data().get(key).map_err(Verdict::Fail)
    }

    pub fn upload(&self, key: &str) -> Step<T> {
        T::upload(self.host(key)?).map_err(|e| fail("upload", &e))
    }

    pub fn inputs(&self) -> Step<Inputs<T>> {
        let mut inputs = Inputs { storages: HashMap::new(), args: HashMap::new() };
        for tensor in self.case.tensor_refs() {
            let storage = self.upload(&tensor.key)?;
            let arg = match &tensor.view {
                Some(view) => storage.as_view(view).map_err(|e| fail("making the argument's view", &e))?,
                None => storage.clone(),
            };
            inputs.storages.insert(tensor.key.clone(), storage);
            inputs.args.insert(tensor.key.clone(), arg);
        }
        Ok(inputs)
    }

    /// The key of `args[0]`, which an in-place operation changes.
    fn self_key(&self) -> Option<&str> {
        match self.case.args.first() {
            Some(Value::Tensor(t)) => Some(&t.key),
            _ => None,
        }
    }

    fn call(&self, args: HashMap<String, T>) -> Result<Vec<Output<T>>, Failure> {
        let mut call = Call::new(self.signatures, self.case, args);
        let outputs = (self.driver)(&mut call)?;
        let unused = call.unused();
        if self.case.error.is_none() && !unused.is_empty() {
            return Err(Failure::Argument(format!("the driver didn't read {}", unused.join(", "))));
        }
        Ok(outputs)
    }

    fn run_error(&self) -> Step<Verdict> {
        match self.call(self.inputs()?.args) {
            // an adapter without the dtype refuses for another reason
            Err(Failure::Op(why)) if fail("", &why) != Verdict::Fail(format!(": {why}")) => Err(Verdict::Lacking(why)),
            Err(Failure::Op(_)) => Ok(Verdict::Pass),
            Err(Failure::Argument(_)) => Ok(Verdict::PassByType),
            Err(Failure::Unsupported(why)) => Err(Verdict::Unsupported(why)),
            Ok(outputs) => {
                // A lazy library may notice as late as when the values are read.
                let late = |o: &Output<T>| matches!(o, Output::Tensor(t) if t.download().is_err());
                if outputs.iter().any(late) {
                    return Ok(Verdict::Pass);
                }
                let message = self.case.error.as_ref().map_or("", |e| &e.message);
                Err(Verdict::Fail(format!("succeeded, expected an error: {message}")))
            }
        }
    }

    fn forward(&self) -> Step<()> {
        let inputs = self.inputs()?;
        let outputs = self.call(inputs.args.clone()).map_err(verdict)?;
        self.check_outputs(&outputs)?;
        for (i, (output, want)) in outputs.iter().zip(&self.case.outputs).enumerate() {
            if let (Output::Tensor(t), Some(key)) = (output, &want.view_of)
                && inputs.storages.get(key).is_some_and(|s| !t.shares_storage(s))
            {
                return Err(Verdict::Fail(format!("output {i} is no view of {key}")));
            }
        }
        for (key, after) in &self.case.inputs_after {
            let what = format!("{key} after the call");
            let changed = inputs.storages.get(key).ok_or_else(|| fail(&what, "no such input"))?;
            self.check_tensor(&what, changed, after, self.case.rtol, self.case.atol)?;
        }
        // outputs[0] alone wouldn't show that an operation returned a new tensor. (Where the shape changes, the
        // harness's own handle keeps the old one.)
        if self.op.inplace
            && !RESHAPE_SELF.contains(&self.op.op.as_str())
            && let (Some(key), Some(Expected { value: Value::Tensor(want), .. })) =
                (self.self_key(), self.case.outputs.first())
        {
            self.check_tensor("self after the call", &inputs.args[key], &want.key, self.case.rtol, self.case.atol)?;
        }
        Ok(())
    }

    fn gradients(&self, grads: &Grads) -> Step<()> {
        let second = self.case.grad_grads.as_ref();
        let mut args = self.inputs()?.args;
        let mut leaves = Vec::new();
        for key in grads.inputs.keys() {
            let plain = args.get(key).ok_or_else(|| fail(key, "no such input"))?;
            let leaf = plain.leaf().map_err(|e| fail("leaf", &e))?;
            args.insert(key.clone(), leaf.clone());
            leaves.push(leaf);
        }
        if let Some(key) = self.self_key().filter(|_| self.op.inplace) {
            let copy = args[key].copy().map_err(|e| fail("copy", &e))?;
            args.insert(key.to_owned(), copy);
        }
        let outputs = self.call(args).map_err(verdict)?;
        self.check_outputs(&outputs)?;

        let mut pairs = Vec::new();
        let mut cotangents: Vec<Option<T>> = Vec::new();
        for (output, key) in outputs.iter().zip(&grads.cotangents) {
            let Some(key) = key else {
                cotangents.push(None);
                continue;
            };
            let Output::Tensor(output) = output else {
                return Err(Verdict::Fail(format!("the output with cotangent {key} is no tensor")));
            };
            let mut cotangent = self.upload(key)?;
            if second.is_some() {
                cotangent = cotangent.leaf().map_err(|e| fail("leaf", &e))?;
            }
            pairs.push((output.clone(), cotangent.clone()));
            cotangents.push(Some(cotangent));
        }
        let first = T::grad(&pairs, &leaves, second.is_some()).map_err(|e| fail("backward", &e))?;
        let bounds = (grads.rtol, grads.atol);
        for ((key, want), got) in grads.inputs.iter().zip(&first) {
            self.check_gradient(&format!("gradient of {key}"), got.as_ref(), want.as_ref(), bounds)?;
        }
        match second {
            Some(second) => self.second_gradients(second, grads, &first, &leaves, &cotangents),
            None => Ok(()),
        }
    }

    /// `first` and `leaves` go with the keys of `grads.inputs`.
    fn second_gradients(
        &self,
        second: &GradGrads,
        grads: &Grads,
        first: &[Option<T>],
        leaves: &[T],
        cotangents: &[Option<T>],
    ) -> Step<()> {
        let mut pairs = Vec::new();
        for (key, gradient) in grads.inputs.keys().zip(first) {
            if let (Some(v), Some(gradient)) = (second.cotangents.get(key), gradient) {
                pairs.push((gradient.clone(), self.upload(v)?));
            }
        }
        let leaf_of: BTreeMap<&String, &T> = grads.inputs.keys().zip(leaves).collect();
        let mut inputs = Vec::new();
        let mut wants = Vec::new();
        for (key, want) in &second.inputs {
            let leaf = leaf_of.get(key).ok_or_else(|| fail(key, "no such leaf"))?;
            inputs.push((*leaf).clone());
            wants.push((format!("second gradient of {key}"), want.as_ref()));
        }
        for (i, (cotangent, want)) in cotangents.iter().zip(&second.grad_outputs).enumerate() {
            if let Some(cotangent) = cotangent {
                inputs.push(cotangent.clone());
                wants.push((format!("gradient of cotangent {i}"), want.as_ref()));
            }
        }
        let got = match T::grad(&pairs, &inputs, false) {
            Ok(got) => got,
            // With nothing to depend on, there may be no graph to go through.
            Err(_) if wants.iter().all(|(_, want)| want.is_none()) => return Ok(()),
            Err(e) => return Err(fail("second backward", &e)),
        };
        for ((what, want), got) in wants.iter().zip(&got) {
            self.check_gradient(what, got.as_ref(), *want, (second.rtol, second.atol))?;
        }
        Ok(())
    }

    pub fn check_gradient(&self, what: &str, got: Option<&T>, want: Option<&String>, bounds: (f64, f64)) -> Step<()> {
        match (got, want) {
            (None, None) => Ok(()),
            (Some(got), Some(want)) => self.check_tensor(what, got, want, bounds.0, bounds.1),
            (None, Some(want)) => {
                let zero = self.host(want)?.to_f64().iter().all(|&x| x == 0.0);
                if zero { Ok(()) } else { Err(fail(what, "absent")) }
            }
            (Some(got), None) => {
                let got = got.download().map_err(|e| fail(what, &e))?;
                let zero = got.to_f64().iter().all(|&x| x == 0.0);
                if zero { Ok(()) } else { Err(fail(what, "not zero, expected no dependence")) }
            }
        }
    }

    pub fn check_outputs(&self, outputs: &[Output<T>]) -> Step<()> {
        let want = &self.case.outputs;
        if outputs.len() != want.len() {
            return Err(Verdict::Fail(format!("{} outputs, expected {}", outputs.len(), want.len())));
        }
        for (i, (got, want)) in outputs.iter().zip(want).enumerate() {
            self.check_output(&format!("output {i}"), got, &want.value, want.unchecked)?;
        }
        Ok(())
    }

    fn check_output(&self, what: &str, got: &Output<T>, want: &Value, unchecked: bool) -> Step<()> {
        let (rtol, atol) = (self.case.rtol, self.case.atol);
        let same = match (got, want) {
            (Output::Tensor(got), Value::Tensor(want)) if unchecked => {
                let got = got.download().map_err(|e| fail(what, &e))?;
                return host::compare_kind(&got, self.host(&want.key)?).map_err(|e| fail(what, &e));
            }
            (Output::Tensor(got), Value::Tensor(want)) => {
                return self.check_tensor(what, got, &want.key, rtol, atol);
            }
            (Output::List(got), Value::List(want)) if got.len() == want.len() => {
                for (got, want) in got.iter().zip(want) {
                    self.check_output(what, got, want, unchecked)?;
                }
                true
            }
            (Output::Int(got), Value::Int(want)) => host::close_int(*got, *want, rtol, atol),
            (Output::Float(got), Value::Float(want)) => host::close(*got, *want, rtol, atol),
            (Output::Bool(got), Value::Bool(want)) => got == want,
            (Output::DType(got), Value::DType(want)) => got == want,
            (Output::None, Value::None) => true,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let got = match got {
            Output::Tensor(_) => "a tensor".to_owned(),
            Output::Int(got) => got.to_string(),
            Output::Float(got) => format!("{got:?}"),
            Output::Bool(got) => got.to_string(),
            Output::DType(got) => got.to_string(),
            Output::None => "None".to_owned(),
            Output::List(got) => format!("a list of {}", got.len()),
        };
        Err(fail(what, &format!("got {got}, expected {want:?}")))
    }

    pub fn check_tensor(&self, what: &str, got: &T, want: &str, rtol: f64, atol: f64) -> Step<()> {
        let got = got.download().map_err(|e| fail(what, &e))?;
        host::compare(&got, self.host(want)?, rtol, atol).map_err(|e| fail(what, &e))
    }
}

/// A failed step; an adapter without a dtype cannot run the case at all.
pub fn fail(what: &str, why: &str) -> Verdict {
    if why.contains("is not available on adapter") {
        return Verdict::Lacking(why.to_owned());
    }
    Verdict::Fail(format!("{what}: {why}"))
}

/// What a driver's failure means for a case that must succeed.
pub fn verdict(failure: Failure) -> Verdict {
    match failure {
        Failure::Op(why) => fail("error", &why),
        Failure::Argument(why) => fail("driver", &why),
        Failure::Unsupported(why) => Verdict::Unsupported(why),
    }
}

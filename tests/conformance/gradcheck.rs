//! Gradients of every operation and gradients of these against differences, in f64: the corpus says which operations
//! have gradients and gives the arguments, the tables of drivers say how to call them.
//!
//! `cargo test --test gradcheck -- 'nn.*'` runs only these; `GRADCHECK_CASES` asks for more cases of each.

#![allow(dead_code, reason = "main.rs shares these files and uses other parts")]

mod backend;
mod call;
mod corpus;
mod drivers;
mod host;
mod ops_activation;
mod ops_binary;
mod ops_convert;
mod ops_creation;
mod ops_index;
mod ops_inplace;
mod ops_join;
mod ops_linalg;
mod ops_loss;
mod ops_matmul;
mod ops_nn;
mod ops_reduce;
mod ops_scatter;
mod ops_shape;
mod ops_sort;
mod ops_unary;
mod report;
mod run;
mod signature;
mod workers;

use call::{Call, Output};
use calor::autograd::{Backward, GradCheck, gradcheck};
use calor::{Error, ErrorKind, Tensor, enable_grad, is_grad_enabled};
use corpus::{Case, Grads, OpFile, Value};
use host::{Dt, HostTensor};
use report::{Options, Outcome, Totals};
use run::{Backend, Driver, Verdict};
use signature::Signature;
use std::collections::HashMap;
use std::io::BufRead;
use std::process::ExitCode;

/// Cases of each operation that must agree, of those with gradients in PyTorch that lie on no kink; first those with
/// second gradients.
fn wanted() -> usize {
    std::env::var("GRADCHECK_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(1).max(1)
}

/// A step that f64 functions with seven digits and cubes of it allow.
const CHECK: GradCheck = GradCheck { eps: 1e-5, atol: 1e-4, rtol: 1e-3, fast_mode: true };

/// Gradients that are not the differences, by definition, and why. A row that no case needs fails.
const BY_DEFINITION: &[(&str, &str)] = &[
    ("Tensor.bfloat16", "rounding is a staircase, its gradient that of the line through it"),
    ("Tensor.float", "rounding is a staircase, its gradient that of the line through it"),
    ("Tensor.half", "rounding is a staircase, its gradient that of the line through it"),
    ("Tensor.logical_not_", "PyTorch leaves the history of what is overwritten in place"),
    ("nn.functional.max_unpool2d", "of values with equal indices one is taken, and each gets its gradient"),
];

/// Makes of free values those that an operation is defined for.
type Front = fn(&Tensor) -> calor::Result<Tensor>;

/// Operations whose gradient holds for some inputs only: what stands in front of their inputs.
const FRONTS: &[(&str, Front)] = &[
    ("linalg.cholesky", |x| x.add(&x.transpose(-1, -2)?)? * 0.5),
    ("linalg.eigvalsh", |x| x.add(&x.transpose(-1, -2)?)? * 0.5),
    ("nn.functional.ctc_loss", |x| x.log_softmax(-1)),
];

fn main() -> ExitCode {
    let options = Options::parse(std::env::args().skip(1), std::env::var_os("CONFORMANCE_VERBOSE").is_some());
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        return Ok(true);
    }
    if options.worker {
        run::keep_panics();
        for op in std::io::stdin().lock().lines() {
            workers::answer(&check_op(&op.map_err(|e| e.to_string())?, options.verbose));
        }
        return Ok(true);
    }
    let all = corpus::op_names(&corpus::folder())?;
    let listed = BY_DEFINITION.iter().map(|row| row.0).chain(FRONTS.iter().map(|row| row.0)).chain(drivers::names());
    if let Some(name) = listed.into_iter().find(|name| !all.iter().any(|op| op == name)) {
        return Err(format!("a table has a row for {name}, but the corpus has no cases of it"));
    }
    let ops: Vec<String> = all.into_iter().filter(|op| options.selects(op)).collect();
    let mut totals = Totals::default();
    workers::run(&ops, |outcome| {
        print!("{}", outcome.text);
        totals.add(outcome.totals);
    });
    Ok(totals.finish("gradcheck"))
}

/// Checks some cases of an operation; one without gradients in PyTorch has none.
fn check_op(name: &str, verbose: bool) -> Outcome {
    let op = match corpus::read_op(&corpus::folder(), name) {
        Ok(op) => op,
        Err(e) => return Outcome::broken(name, &e),
    };
    let signatures: Result<Vec<_>, _> = op.signatures.iter().map(|s| Signature::parse(s)).collect();
    let signatures = match signatures {
        Ok(signatures) => signatures,
        Err(e) => return Outcome::broken(name, &e),
    };
    let mut cases: Vec<(&Case, &Grads)> =
        op.cases.iter().filter_map(|case| Some((case, differentiable(&op, case)?))).collect();
    if cases.is_empty() {
        return Outcome::of(name, &[], verbose);
    }
    let Some(driver) = drivers::find(name) else {
        return Outcome::broken(name, "has gradients in PyTorch, but no driver");
    };
    cases.sort_by_key(|(case, _)| case.grad_grads.is_none());
    let wanted = wanted();
    let (mut verdicts, mut silent) = (Vec::new(), Vec::new());
    let (mut smooth, mut needed) = (0, false);
    let excused = BY_DEFINITION.iter().any(|row| row.0 == name);
    // evenly first, then the others in case some lie on kinks
    let step = cases.len().div_ceil(wanted);
    let order = (0..step).flat_map(|first| (first..cases.len()).step_by(step));
    for (case, grads) in order.map(|i| cases[i]) {
        if smooth >= wanted && needed == excused {
            break;
        }
        let check = Check { driver, op: &op, signatures: &signatures, case, grads };
        let verdict = match check.run() {
            Err(why) if excused && why.contains("mismatch") => {
                needed = true;
                continue;
            }
            Ok(Some(_kink)) => {
                silent.push(case.name.as_str());
                continue;
            }
            Ok(None) => {
                smooth += 1;
                Verdict::Pass
            }
            Err(why) if why.contains("is not available on adapter") => {
                let lacking = (format!("{} {}", case.name, case.desc), Verdict::Lacking(why));
                return Outcome::of(name, &[lacking], verbose);
            }
            Err(why) => {
                smooth += 1;
                Verdict::Fail(why)
            }
        };
        verdicts.push((format!("{} {}", case.name, case.desc), verdict));
    }
    if excused && !needed {
        return Outcome::broken(name, "its rows in BY_DEFINITION aren't needed");
    }
    if verdicts.is_empty() && !needed {
        return Outcome::broken(name, "has gradients in PyTorch, but no case could be checked");
    }
    let mut outcome = Outcome::of(name, &verdicts, verbose);
    if verbose && !silent.is_empty() {
        outcome.text += &format!("     kinks in {}\n", silent.join(" "));
    }
    outcome
}

/// The gradients of a case, if differences can show them: values that a step changes, and an output that has any.
fn differentiable<'a>(op: &OpFile, case: &'a Case) -> Option<&'a Grads> {
    let odd = |tag: &String| tag == "empty" || tag == "nonfinite";
    let moves = |key: &String| {
        let tensor = case.tensor_refs().into_iter().find(|t| t.key == *key)?.clone();
        Some(op.tensors.resolve(&tensor).ok()?.to_f64().iter().all(|v| v.abs() < 1e6))
    };
    let grads = case.grads.as_ref()?;
    let fits = case.error.is_none() && !case.tags.iter().any(odd) && !grads.inputs.is_empty();
    let moves = grads.inputs.keys().all(|key| moves(key) == Some(true));
    (fits && moves && grads.cotangents.iter().any(Option::is_some)).then_some(grads)
}

struct Check<'a> {
    driver: Driver<Tensor>,
    op: &'a OpFile,
    signatures: &'a [Signature],
    case: &'a Case,
    grads: &'a Grads,
}

/// The case says nothing: some value lies where the function has a kink or a step, or is not defined.
struct Kink;

impl Check<'_> {
    fn run(&self) -> Result<Option<Kink>, String> {
        let text = |e: calor::Error| e.to_string();
        let mut leaves = Vec::new();
        for key in self.grads.inputs.keys() {
            // laid as what is moved will be: that is another function of memory otherwise, and other kernels
            let leaf = self.upload(key)?.1.contiguous().and_then(|t| t.requires_grad_(true)).map_err(text)?;
            leaves.push(leaf);
        }
        for key in self.grads.cotangents.iter().flatten() {
            let seed = Tensor::upload(&double(self.op.tensors.get(key)?)?)?;
            leaves.push(seed.requires_grad_(true).map_err(text)?);
        }
        let inputs: Vec<&Tensor> = leaves.iter().collect();
        let check =
            |second, eps| gradcheck(|leaves| self.sums(leaves, second), &inputs, Some(GradCheck { eps, ..CHECK }));
        // refused where PyTorch has no second gradients either
        let once = |e: &Error| {
            let refused = e.to_string().contains("its gradient is not differentiable");
            refused && self.op.cases.iter().all(|case| case.grad_grads.is_none())
        };
        let found = check(true, CHECK.eps).or_else(|e| match e.kind() {
            ErrorKind::Autograd if once(&e) => check(false, CHECK.eps),
            // next to a pole the step has to be smaller, elsewhere rounding would show
            ErrorKind::Autograd => check(true, CHECK.eps / 100.0).map_err(|_| e),
            _ => Err(e),
        });
        match found {
            Ok(()) => Ok(None),
            Err(e) if e.to_string().contains("mismatch") && self.bends(&leaves)? => Ok(Some(Kink)),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The loss and, for the second order, a weighted sum of its gradients: together, because compiling
    /// what they have in common takes most of the time.
    fn sums(&self, leaves: &[Tensor], second: bool) -> calor::Result<Vec<Tensor>> {
        let later = is_grad_enabled();
        enable_grad(|| {
            let leaves: Vec<Tensor> = leaves
                .iter()
                .map(|t| if t.requires_grad() { Ok(t.clone()) } else { t.requires_grad_(true) })
                .collect::<calor::Result<_>>()?;
            let loss = self
                .loss(&leaves)
                .map_err(|why| Error::new(ErrorKind::Value, "gradcheck", format!("calling it: {why}")))?;
            let mut sums = vec![loss];
            if second && sums[0].requires_grad() {
                // what the cotangents get is the call itself
                let wanted: Vec<&Tensor> = leaves.iter().take(self.grads.inputs.len()).collect();
                let walk = Backward::new().create_graph(later).allow_unused(true);
                let found = walk.grad(&[&sums[0]], &wanted, &[None])?;
                let parts = found.iter().flatten().map(|g| {
                    let weights: Vec<f64> = (0..g.numel()).map(|i| ((i * 7 % 11) as f64 - 4.5) / 5.0).collect();
                    g.mul(&Tensor::from_slice(&weights, g.shape(), g.device())?)?.sum()
                });
                sums.extend(parts.reduce(|a, b| a?.add(&b?)).transpose()?);
            }
            Ok(sums)
        })
    }

    /// The sum of outputs times cotangents; `leaves` are the inputs with gradients, then the cotangents.
    fn loss(&self, leaves: &[Tensor]) -> Result<Tensor, String> {
        let text = |e: calor::Error| e.to_string();
        let (inputs, seeds) = leaves.split_at(self.grads.inputs.len());
        let front = FRONTS.iter().find(|row| row.0 == self.op.op).map(|row| row.1);
        let mut args = HashMap::new();
        for tensor in self.case.tensor_refs() {
            let arg = match self.grads.inputs.keys().position(|k| *k == tensor.key) {
                Some(i) => front.map_or_else(|| Ok(inputs[i].clone()), |f| f(&inputs[i])).map_err(text)?,
                None => self.upload(&tensor.key)?.1,
            };
            args.insert(tensor.key.clone(), arg);
        }
        if let (true, Some(Value::Tensor(own))) = (self.op.inplace, self.case.args.first()) {
            let copy = args[&own.key].try_clone().map_err(text)?;
            args.insert(own.key.clone(), copy);
        }
        let wide: Vec<Value> = self.case.args.iter().map(widened).collect();
        let named = self.case.kwargs.iter().map(|(k, v)| (k.clone(), widened(v))).collect();
        let mut call = Call::of(self.signatures, &wide, &named, args);
        let outputs = (self.driver)(&mut call).map_err(|e| format!("{e:?}"))?;
        let mut sum: Option<Tensor> = None;
        let mut seeds = seeds.iter();
        for (output, key) in outputs.iter().zip(&self.grads.cotangents) {
            if let (Output::Tensor(output), Some(_), Some(seed)) =
                (output, key, key.as_ref().and_then(|_| seeds.next()))
            {
                let part = output.mul(seed).and_then(|t| t.sum()).map_err(text)?;
                sum = Some(sum.map_or(Ok(part.clone()), |sum| sum.add(&part)).map_err(text)?);
            }
        }
        sum.ok_or_else(|| "no output has a cotangent".to_owned())
    }

    /// A tensor argument in f64: what it is a view of, and itself.
    fn upload(&self, key: &str) -> Result<(Tensor, Tensor), String> {
        let refs = self.case.tensor_refs();
        let tensor = refs.iter().find(|t| t.key == key).ok_or_else(|| format!("no argument {key}"))?;
        let storage = Tensor::upload(&double(self.op.tensors.get(key)?)?)?;
        let arg = match &tensor.view {
            Some(view) => storage.as_view(view)?,
            None => storage.clone(),
        };
        Ok((storage, arg))
    }

    /// Whether the differences to both sides differ for some input, of the loss or of its gradients, or there is no loss.
    fn bends(&self, leaves: &[Tensor]) -> Result<bool, String> {
        let text = |e: calor::Error| e.to_string();
        for i in 0..self.grads.inputs.len() {
            let at = |delta: f64| -> Result<Vec<f64>, String> {
                let mut moved: Vec<Tensor> = leaves.to_vec();
                let values = leaves[i].detach().contiguous().and_then(|t| t.to_vec::<f64>()).map_err(text)?;
                let along = |j: usize| ((j * 5 % 7) as f64 + 1.0) * if j.is_multiple_of(2) { 1.0 } else { -1.0 } / 7.0;
                let values: Vec<f64> = values.iter().enumerate().map(|(j, v)| v + delta * along(j)).collect();
                let input = Tensor::from_slice(&values, leaves[i].shape(), ()).map_err(text)?;
                moved[i] = input.requires_grad_(true).map_err(text)?;
                let loss = self.loss(&moved)?;
                let mut seen = vec![loss.detach().item().map_err(text)?];
                if loss.requires_grad() {
                    let wanted: Vec<&Tensor> = moved.iter().collect();
                    let found = Backward::new().allow_unused(true).grad(&[&loss], &wanted, &[None]).map_err(text)?;
                    for g in found.iter().flatten() {
                        seen.extend(g.contiguous().and_then(|t| t.to_vec::<f64>()).map_err(text)?);
                    }
                }
                Ok(seen)
            };
            let here = at(0.0)?;
            // a value outside the domain
            if !here[0].is_finite() {
                return Ok(true);
            }
            // the first and second differences of each value
            let differences = |step: f64| -> Result<Vec<(f64, f64)>, String> {
                let sides = at(-step)?.into_iter().zip(at(step)?);
                Ok(sides.zip(&here).map(|((a, c), b)| ((c - a).abs(), (a - 2.0 * b + c).abs())).collect())
            };
            for ((wide, narrow), b) in differences(1e-5)?.iter().zip(&differences(1e-6)?).zip(&here) {
                let seen = |difference: f64| difference > 1e-8 * (1.0 + b.abs());
                // where it is smooth they go by the step and by its square
                let jumps = seen(wide.0) && narrow.0 > wide.0 / 3.0;
                let bends = seen(wide.1) && !(wide.1 / 300.0..wide.1 / 30.0).contains(&narrow.1);
                if jumps || bends {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The value with half and single floats as f64.
fn double(host: &HostTensor) -> Result<HostTensor, String> {
    if !host.dtype.is_float() {
        return Ok(host.clone());
    }
    let data = host.to_f64().iter().flat_map(|v| v.to_le_bytes()).collect();
    HostTensor::new(Dt::F64, host.shape.clone(), data)
}

/// The argument with f64 for every dtype of floats.
fn widened(value: &Value) -> Value {
    match value {
        Value::DType(d) if d.is_float() => Value::DType(Dt::F64),
        Value::List(values) => Value::List(values.iter().map(widened).collect()),
        other => other.clone(),
    }
}

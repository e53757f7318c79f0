//! Running a program on calor in one of the ways.

use crate::backend::device;
use crate::call::{Call, Failure, Output};
use crate::corpus::Value;
use crate::drivers;
use crate::host::compare;
use crate::program::{Library, Op, Program, Step};
use crate::run::{Backend, Mode};
use calor::Tensor;
use calor::autograd::Backward;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a program is run.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// Lazily, with fusion; what is alive in the end is computed together.
    Fused,
    /// Lazily, without fusion.
    Unfused,
    /// Each value as soon as it is there.
    AtOnce,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Fused, Way::Unfused, Way::AtOnce];

    pub fn name(self) -> &'static str {
        match self {
            Way::Fused => "fused",
            Way::Unfused => "unfused",
            Way::AtOnce => "with each value computed at once",
        }
    }
}

/// What went wrong, and in which step.
pub struct Wrong {
    pub step: usize,
    pub why: String,
}

/// Runs a program and compares what it reads.
pub fn execute(library: &Library, program: &Program, way: Way) -> Result<(), Wrong> {
    Tensor::set_mode(if way == Way::Unfused { Mode::Unfused } else { Mode::Fused });
    let mut machine = Machine { library, way, live: BTreeMap::new(), expected: 0 };
    let mut at = 0;
    let ran = catch_unwind(AssertUnwindSafe(|| machine.run(program, &mut at)));
    match ran {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(Wrong { step: at, why }),
        Err(_) => Err(Wrong { step: at, why: "a panic".to_owned() }),
    }
}

struct Machine<'a> {
    library: &'a Library,
    way: Way,
    live: BTreeMap<String, Tensor>,
    /// How many results were compared.
    expected: usize,
}

type Done<T> = Result<T, String>;

fn text(error: calor::Error) -> String {
    error.to_string()
}

impl Machine<'_> {
    fn run(&mut self, program: &Program, at: &mut usize) -> Done<()> {
        for input in &program.inputs {
            let t = Tensor::upload(&input.host)?;
            let t = if input.leaf { t.requires_grad_(true).map_err(text)? } else { t };
            self.live.insert(input.name.clone(), t);
        }
        // the reads at the end are those of all that is alive
        let last = program.steps.iter().rposition(|s| !matches!(s, Step::Read(_))).map_or(0, |i| i + 1);
        for (i, step) in program.steps.iter().enumerate() {
            *at = i;
            if i == last && program.id.is_multiple_of(2) {
                Tensor::eval_all(&self.live.values().cloned().collect::<Vec<_>>()).map_err(text)?;
            }
            self.step(program, step)?;
        }
        self.relations(program)
    }

    fn get(&self, name: &str) -> Done<&Tensor> {
        self.live.get(name).ok_or_else(|| format!("no tensor {name}"))
    }

    fn step(&mut self, program: &Program, step: &Step) -> Done<()> {
        match step {
            Step::Op(op) => self.op(op)?,
            Step::Read(name) => {
                let t = self.get(name)?.clone();
                self.compare(program, name, Some(&t))?;
            }
            Step::Grad(name) => {
                let grad = self.get(name)?.grad();
                self.compare(program, &format!("{name}.grad"), grad.as_ref())?;
            }
            Step::Drop(name) => {
                self.live.remove(name);
            }
            Step::Eval(name) => self.get(name)?.eval().map_err(text)?,
            Step::Backward(name, retain) => {
                let loss = self.get(name)?;
                Backward::new().retain_graph(*retain).run(&[loss], &[None]).map_err(text)?;
                if self.way == Way::AtOnce {
                    let grads: Vec<Tensor> = self.live.values().filter_map(Tensor::grad).collect();
                    Tensor::eval_all(&grads).map_err(text)?;
                }
            }
            Step::Take(out, name) => {
                let grad = self.get(name)?.grad().ok_or("no gradient")?;
                self.live.insert(out.clone(), grad);
            }
            Step::Clear(name) => self.get(name)?.set_grad(None).map_err(text)?,
            Step::Detach(out, name) => {
                let t = self.get(name)?.detach();
                self.live.insert(out.clone(), t);
            }
            Step::Requires(name) => {
                self.get(name)?.requires_grad_(true).map_err(text)?;
            }
            Step::Retain(name) => self.get(name)?.retain_grad().map_err(text)?,
        }
        Ok(())
    }

    fn op(&mut self, op: &Op) -> Done<()> {
        let made = if op.no_grad { calor::no_grad(|| self.call(op)) } else { self.call(op) };
        let made = match (made, op.refused) {
            (Err(_), true) => return Ok(()),
            (Ok(made), true) => {
                let late = made.iter().any(|t| t.eval().and_then(|()| device().synchronize()).is_err());
                return if late { Ok(()) } else { Err("is refused by PyTorch".to_owned()) };
            }
            (made, false) => made.map_err(|e| format!("{e:?}"))?,
        };
        if made.len() < op.outs.len() {
            return Err(format!("{} results", made.len()));
        }
        if self.way == Way::AtOnce {
            Tensor::eval_all(&made).map_err(text)?;
        }
        if op.outs.is_empty() {
            return Ok(());
        }
        for (name, t) in op.outs.iter().zip(made) {
            self.live.insert(name.clone(), t);
        }
        Ok(())
    }

    fn call(&self, op: &Op) -> Result<Vec<Tensor>, Failure> {
        let missing = |what| Failure::Argument(format!("no {what} {}", op.name));
        let driver = drivers::find(&op.name).ok_or_else(|| missing("driver of"))?;
        let signatures = self.library.signatures.get(&op.name).ok_or_else(|| missing("signature of"))?;
        let mut tensors = HashMap::new();
        for value in op.args.iter().chain(op.kwargs.values()) {
            self.named(value, &mut tensors)?;
        }
        let mut call = Call::of(signatures, &op.args, &op.kwargs, tensors);
        let made = driver(&mut call)?;
        let unused = call.unused();
        if !unused.is_empty() && !op.refused {
            return Err(Failure::Argument(format!("the driver didn't read {}", unused.join(", "))));
        }
        let mut out = Vec::new();
        made.into_iter().for_each(|o| tensors_of(o, &mut out));
        Ok(out)
    }

    fn named(&self, value: &Value, found: &mut HashMap<String, Tensor>) -> Result<(), Failure> {
        match value {
            Value::Tensor(t) => {
                found.insert(t.key.clone(), self.get(&t.key).map_err(Failure::Argument)?.clone());
            }
            Value::List(items) => items.iter().try_for_each(|v| self.named(v, found))?,
            _ => {}
        }
        Ok(())
    }

    fn compare(&mut self, program: &Program, name: &str, got: Option<&Tensor>) -> Done<()> {
        let want = program.expected.get(self.expected).ok_or("no such result")?;
        self.expected += 1;
        match (got, want) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(format!("{name} is there, expected none")),
            (None, Some(_)) => Err(format!("{name} is absent")),
            (Some(got), Some(want)) => {
                let got = got.download()?;
                compare(&got, &want.host, 1e-5, want.atol).map_err(|e| {
                    let all = |t: &crate::host::HostTensor| format!("{:?}", t.to_f64());
                    format!("{name}: {e}\n    got      {}\n    expected {}", all(&got), all(&want.host))
                })
            }
        }
    }

    /// Who shares memory and who requires a gradient, at the end.
    fn relations(&self, program: &Program) -> Done<()> {
        let group = |n: &String| program.shared.iter().position(|g| g.contains(n));
        for (a, x) in &self.live {
            for (b, y) in self.live.range(..a.clone()) {
                let (got, want) = (x.shares_storage(y), group(a).is_some() && group(a) == group(b));
                if got != want {
                    return Err(format!("{a} and {b} share memory: {got}, in PyTorch {want}"));
                }
            }
            let (got, want) = (x.requires_grad(), program.traced.contains(a));
            if got != want {
                return Err(format!("{a} requires a gradient: {got}, in PyTorch {want}"));
            }
        }
        Ok(())
    }
}

fn tensors_of(output: Output<Tensor>, found: &mut Vec<Tensor>) {
    match output {
        Output::Tensor(t) => found.push(t),
        Output::List(all) => all.into_iter().for_each(|o| tensors_of(o, found)),
        _ => {}
    }
}

//! Runs calor against the results of PyTorch in tests/corpus (or the folder `CALOR_CORPUS`), op by op.
//!
//! `cargo test --test conformance -- add 'nn.functional.*'` runs only these; `CONFORMANCE_VERBOSE=1` prints every
//! failing case; `CONFORMANCE_JOBS` sets the number of processes. Operations in tests/corpus/TODO are still to come: they run only when named.

#![allow(dead_code, reason = "conformance_host.rs shares these files and uses other parts")]

mod backend;
mod call;
mod corpus;
mod drivers;
mod host;
mod module_table;
mod modules;
mod modules_activation;
mod modules_attention;
mod modules_deep;
mod modules_layers;
mod modules_losses;
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
mod optimizers;
mod report;
mod run;
mod schedulers;
mod signature;
mod workers;

use report::{Options, Outcome, Totals};
use signature::Signature;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let verbose = std::env::var("CONFORMANCE_VERBOSE").is_ok_and(|v| v != "0");
    let options = Options::parse(std::env::args().skip(1), verbose);
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<bool, String> {
    if options.list {
        // Tools that list libtest's tests come here; an operation isn't one of these.
        return Ok(true);
    }
    let dir = corpus::folder();
    let todo = report::read_todo(&corpus::own_folder().join("TODO"))?;
    let suite = Suite { dir, todo, options };
    if suite.options.worker {
        run::keep_panics();
        for op in std::io::stdin().lock().lines() {
            let op = op.map_err(|e| e.to_string())?;
            workers::answer(&suite.op(&op));
        }
        return Ok(true);
    }
    let mut ops = corpus::op_names(&suite.dir)?;
    for folder in ["modules", "optimizers", "schedulers"] {
        ops.extend(corpus::names_in(&suite.dir, folder)?);
    }
    for filter in suite.options.unmatched(&ops) {
        println!("no operation matches {filter}");
    }
    for name in suite.todo.iter().filter(|n| drivers::find(n).is_none() && !ops.contains(n)) {
        println!("note: {name} in TODO is not in {}", suite.dir.display());
    }
    let ops: Vec<String> = ops.into_iter().filter(|op| suite.options.selects(op)).collect();
    let mut totals = Totals::default();
    workers::run(&ops, |outcome| {
        print!("{}", outcome.text);
        totals.add(outcome.totals);
    });
    Ok(totals.finish("conformance"))
}

/// The corpus and what is asked of it.
struct Suite {
    dir: PathBuf,
    todo: BTreeSet<String>,
    options: Options,
}

impl Suite {
    /// Runs an operation's cases.
    fn op(&self, name: &str) -> Outcome {
        match name.split_once('/') {
            Some(("modules", module)) => return modules::run(self, name, module),
            Some(("optimizers", _)) => return self.folder(name, optimizers::run_case),
            Some(("schedulers", _)) => return self.folder(name, schedulers::run_case),
            _ => {}
        }
        let op = match corpus::read_op(&self.dir, name) {
            Ok(op) => op,
            Err(e) => return Outcome::broken(name, &e),
        };
        let listed = self.todo.contains(name);
        let driver = match drivers::find(name) {
            // One that is to come runs when asked for by name, for whoever works on it.
            Some(driver) if !listed || !self.options.filters.is_empty() => driver,
            _ => return Outcome::skipped(name, op.cases.len(), listed),
        };
        let signatures: Result<Vec<_>, _> = op.signatures.iter().map(|s| Signature::parse(s)).collect();
        let signatures = match signatures {
            Ok(signatures) => signatures,
            Err(e) => return Outcome::broken(name, &e),
        };
        let verdicts: Vec<_> = op
            .cases
            .iter()
            .map(|case| (format!("{} {}", case.name, case.desc), run::run_case(driver, &op, &signatures, case)))
            .collect();
        Outcome::of(name, &verdicts, self.options.verbose)
    }

    /// Runs the cases of a file outside the operations.
    fn folder(&self, name: &str, run: fn(&str, &serde_json::Value, &corpus::Tensors) -> run::Verdict) -> Outcome {
        let (cases, tensors) = match corpus::read_cases(&self.dir, name) {
            Ok(read) => read,
            Err(e) => return Outcome::broken(name, &e),
        };
        if self.todo.contains(name) && self.options.filters.is_empty() {
            return Outcome::skipped(name, cases.len(), true);
        }
        let title = |case: &serde_json::Value| {
            let text = |key| case.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            format!("{} {}", text("name"), text("desc"))
        };
        let kind = name.split_once('/').map_or(name, |n| n.1);
        let verdicts: Vec<_> = cases.iter().map(|case| (title(case), run(kind, case, &tensors))).collect();
        Outcome::of(name, &verdicts, self.options.verbose)
    }
}

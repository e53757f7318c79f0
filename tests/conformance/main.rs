//! Runs calor against the results of PyTorch in tests/corpus (or the folder `CALOR_CORPUS`), op by op.
//!
//! `cargo test --test conformance -- add 'nn.functional.*'` runs only these; `CONFORMANCE_VERBOSE=1` prints every
//! failing case. Operations in tests/corpus/TODO are still to come: they run only when named.

#![allow(dead_code, reason = "conformance_host.rs shares these files and uses other parts")]

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

use report::{Options, Report};
use signature::Signature;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let verbose = std::env::var("CONFORMANCE_VERBOSE").is_ok_and(|v| v != "0");
    let options = Options::parse(std::env::args().skip(1), verbose);
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
    let dir = corpus::folder();
    let ops = corpus::op_names(&dir)?;
    if options.list {
        // Tools that list libtest's tests come here; an operation isn't one of these.
        return Ok(true);
    }
    let todo = report::read_todo(&corpus::own_folder().join("TODO"))?;
    for filter in options.unmatched(&ops) {
        println!("no operation matches {filter}");
    }
    for name in todo.iter().filter(|n| drivers::find(n).is_none() && !ops.contains(n)) {
        println!("note: {name} in TODO is not in {}", dir.display());
    }
    run::keep_panics();
    let mut report = Report::new(options.verbose);
    for op in ops.iter().filter(|op| options.selects(op)) {
        run_op(&dir, op, &todo, options, &mut report);
    }
    Ok(report.finish())
}

fn run_op(dir: &Path, name: &str, todo: &BTreeSet<String>, options: &Options, report: &mut Report) {
    let op = match corpus::read_op(dir, name) {
        Ok(op) => op,
        Err(e) => return report.broken(name, &e),
    };
    let listed = todo.contains(name);
    let driver = match drivers::find(name) {
        // One that is to come runs when asked for by name, for whoever works on it.
        Some(driver) if !listed || !options.filters.is_empty() => driver,
        _ => return report.skip(name, op.cases.len(), listed),
    };
    let signatures: Result<Vec<_>, _> = op.signatures.iter().map(|s| Signature::parse(s)).collect();
    let signatures = match signatures {
        Ok(signatures) => signatures,
        Err(e) => return report.broken(name, &e),
    };
    let verdicts: Vec<_> = op
        .cases
        .iter()
        .map(|case| (format!("{} {}", case.name, case.desc), run::run_case(driver, &op, &signatures, case)))
        .collect();
    report.op(name, &verdicts);
}

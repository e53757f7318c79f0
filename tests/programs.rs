//! Random programs against PyTorch's results: as written, without fusion, and with every value computed at once.
//!
//! `tests/torch/programs.py` writes the programs; `CALOR_PROGRAMS` names another file of them. Each part runs in a process of its
//! own, because most of the time goes into the driver's compiler; `CALOR_PROGRAMS_ONLY=17` runs one program here.

#![allow(dead_code, reason = "the files shared with the conformance test have other parts")]

#[path = "conformance/backend.rs"]
mod backend;
#[path = "conformance/call.rs"]
mod call;
#[path = "conformance/corpus.rs"]
mod corpus;
#[path = "conformance/drivers.rs"]
mod drivers;
#[path = "conformance/host.rs"]
mod host;
#[path = "programs/machine.rs"]
mod machine;
#[path = "conformance/ops_activation.rs"]
mod ops_activation;
#[path = "conformance/ops_binary.rs"]
mod ops_binary;
#[path = "conformance/ops_convert.rs"]
mod ops_convert;
#[path = "conformance/ops_creation.rs"]
mod ops_creation;
#[path = "conformance/ops_index.rs"]
mod ops_index;
#[path = "conformance/ops_inplace.rs"]
mod ops_inplace;
#[path = "conformance/ops_join.rs"]
mod ops_join;
#[path = "conformance/ops_linalg.rs"]
mod ops_linalg;
#[path = "conformance/ops_loss.rs"]
mod ops_loss;
#[path = "conformance/ops_matmul.rs"]
mod ops_matmul;
#[path = "conformance/ops_nn.rs"]
mod ops_nn;
#[path = "conformance/ops_reduce.rs"]
mod ops_reduce;
#[path = "conformance/ops_scatter.rs"]
mod ops_scatter;
#[path = "conformance/ops_shape.rs"]
mod ops_shape;
#[path = "conformance/ops_sort.rs"]
mod ops_sort;
#[path = "conformance/ops_unary.rs"]
mod ops_unary;
#[path = "programs/program.rs"]
mod program;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/signature.rs"]
mod signature;

use machine::{Way, execute};
use program::{Library, Program};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Names the share of a process: `3/8`. Set by hand, only that share is run.
const PART: &str = "CALOR_PROGRAMS_PART";
const PARTS: usize = 8;

fn file() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/programs/programs.jsonl.gz");
    std::env::var_os("CALOR_PROGRAMS").map_or_else(own, PathBuf::from)
}

/// Runs a program in all ways; says how it failed, or whether the adapter lacks a dtype of it.
fn check(library: &Library, program: &Program) -> Result<bool, String> {
    for way in Way::ALL {
        match execute(library, program, way) {
            Ok(()) => {}
            Err(e) if e.why.contains("is not available on adapter") => return Ok(false),
            Err(e) => {
                let text = program.text(e.step);
                return Err(format!("program {} fails {}:\n{text}    {}\n", program.id, way.name(), e.why));
            }
        }
    }
    Ok(true)
}

/// The share of one process: prints what fails and gives the numbers of programs, of those lacking and of failures.
fn share(library: &Library, select: impl Fn(usize, &Program) -> bool) -> [usize; 3] {
    let mut counts = [0; 3];
    for (_, program) in library.programs.iter().enumerate().filter(|(i, p)| select(*i, p)) {
        counts[0] += 1;
        match check(library, program) {
            Ok(true) => {}
            Ok(false) => counts[1] += 1,
            Err(why) => {
                counts[2] += 1;
                println!("{why}");
            }
        }
    }
    counts
}

#[test]
fn programs_agree_with_pytorch() {
    let library = Library::read(&file()).unwrap_or_else(|e| panic!("{}: {e}", file().display()));
    if let Ok(part) = std::env::var(PART) {
        let numbers: Vec<usize> = part.split('/').filter_map(|n| n.parse().ok()).collect();
        let [part, parts] = numbers[..] else { panic!("{PART} is {part}") };
        let counts = share(&library, |i, _| i % parts == part);
        println!("=part {counts:?}");
        assert_eq!(counts[2], 0);
        return;
    }
    if let Some(only) = std::env::var("CALOR_PROGRAMS_ONLY").ok().and_then(|v| v.parse::<u64>().ok()) {
        let [found, _, failed] = share(&library, |_, p| p.id == only);
        assert_eq!((found, failed), (1, 0), "program {only}");
        return;
    }
    let parts = PARTS.min(library.programs.len());
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(parts);
    let (next, totals) = (AtomicUsize::new(0), Mutex::new([0; 3]));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    if part >= parts {
                        break;
                    }
                    let counts = child(part, parts).unwrap_or_else(|e| {
                        println!("part {part}: {e}");
                        [0, 0, 1]
                    });
                    let mut totals = totals.lock().expect("no thread panics with it");
                    totals.iter_mut().zip(counts).for_each(|(t, c)| *t += c);
                }
            });
        }
    });
    let [ran, lacking, failed] = totals.into_inner().expect("no thread panics with it");
    println!("{ran} programs, {lacking} of dtypes that the adapter lacks, {failed} fail");
    assert_eq!(failed, 0);
    assert_eq!(ran, library.programs.len());
}

/// Runs a part in a process and prints what it says.
fn child(part: usize, parts: usize) -> Result<[usize; 3], String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(["programs_agree_with_pytorch", "--exact", "--nocapture"]).env(PART, format!("{part}/{parts}"));
    if std::env::var_os("GALLIVM_PERF").is_none() {
        // lavapipe: these kernels run once on a few elements, so optimizing them only takes time
        command.env("GALLIVM_PERF", "nopt");
    }
    let done = command.stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&done.stdout);
    let mut counts = None;
    for line in text.lines() {
        match line.split_once("=part ") {
            Some((_, found)) => {
                let numbers: Vec<usize> = found.split([',', '[', ']', ' ']).filter_map(|n| n.parse().ok()).collect();
                counts = numbers.try_into().ok();
            }
            None if line.starts_with("running ") || line.starts_with("test ") || line.is_empty() => {}
            None => println!("{line}"),
        }
    }
    counts.ok_or_else(|| format!("its process died: {}", done.status))
}

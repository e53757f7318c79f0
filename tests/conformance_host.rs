//! Tests of the conformance test itself: reading the corpus, binding arguments, comparing, running drivers.

#![allow(dead_code)]

#[path = "conformance/call.rs"]
mod call;
#[path = "conformance/corpus.rs"]
mod corpus;
#[path = "conformance/host.rs"]
mod host;
#[path = "conformance/report.rs"]
mod report;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/signature.rs"]
mod signature;
#[path = "conformance/stand_in.rs"]
mod stand_in;

use call::{Call, Failure, Output};
use corpus::{OpFile, Value};
use host::{Dt, HostTensor, compare};
use run::{Driver, Verdict, run_case};
use signature::{Kind, Signature, bind};
use stand_in::Stand;
use std::collections::{BTreeMap, HashMap};

fn f32s(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::new(Dt::F32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect()).unwrap()
}

fn i64s(values: &[i64]) -> HostTensor {
    HostTensor::new(Dt::I64, vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect()).unwrap()
}

fn i32s(values: &[i32]) -> HostTensor {
    HostTensor::new(Dt::I32, vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect()).unwrap()
}

fn read(op: &str) -> OpFile {
    corpus::read_op(&corpus::own_folder(), op).unwrap()
}

fn value(json: &str) -> Value {
    Value::parse(&serde_json::from_str(json).unwrap()).unwrap()
}

#[test]
fn integers_and_floats_are_apart() {
    assert_eq!(value("2"), Value::Int(2));
    assert_eq!(value("2.0"), Value::Float(2.0));
    assert_eq!(value("1e-05"), Value::Float(1e-5));
    assert_eq!(value("9223372036854775807"), Value::Int(i64::MAX));
    assert_eq!(value("\"-inf\""), Value::Float(f64::NEG_INFINITY));
    assert_eq!(value("0.30000000000000004"), Value::Float(0.1 + 0.2));
    assert_eq!(value("8.533e68"), Value::Float(8.533e68));
    assert_eq!(value("{\"slice\":[0,null,-2]}"), Value::Slice(Some(0), None, Some(-2)));
}

#[test]
fn comparison_follows_the_rule() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let want = f32s(&[2, 2], &[1.0, nan, inf, -inf]);
    assert_eq!(compare(&want, &want, 0.0, 0.0), Ok(()));
    assert!(compare(&f32s(&[2, 2], &[1.00001, nan, inf, -inf]), &want, 1e-5, 1e-6).is_ok());
    // An infinite expectation makes no infinite tolerance.
    for bad in [[1.1, nan, inf, -inf], [1.0, 1.0, inf, -inf], [1.0, nan, 3.0, -inf], [1.0, nan, inf, inf]] {
        assert!(compare(&f32s(&[2, 2], &bad), &want, 1e-5, 1e-5).is_err(), "{bad:?}");
    }
    assert!(compare(&f32s(&[1], &[nan]), &f32s(&[1], &[0.0]), 1.0, f64::INFINITY).is_err());
    let message = compare(&f32s(&[2, 2], &[1.0, nan, 3.0, -4.0]), &want, 0.0, 0.0).unwrap_err();
    assert!(message.starts_with("2 of 4 elements differ: at [1, 0] got 3.0, expected inf"), "{message}");
    assert!(compare(&f32s(&[4], &[0.0; 4]), &f32s(&[2, 2], &[0.0; 4]), 1.0, 1.0).unwrap_err().contains("shape"));
    let zero = HostTensor::new(Dt::F16, vec![2, 2], vec![0; 8]).unwrap();
    assert!(compare(&zero, &f32s(&[2, 2], &[0.0; 4]), 1.0, 1.0).unwrap_err().contains("dtype"));
}

#[test]
fn integers_compare_exactly() {
    assert!(compare(&i64s(&[i64::MAX]), &i64s(&[i64::MAX - 1]), 0.0, 0.0).is_err());
    assert!(compare(&i64s(&[i64::MIN]), &i64s(&[i64::MAX]), 0.0, 0.0).is_err());
    assert!(compare(&i32s(&[3, -1]), &i64s(&[3, -1]), 0.0, 0.0).is_ok());
    assert!(compare(&i64s(&[3]), &i32s(&[3]), 0.0, 0.0).is_err());
}

#[test]
fn elements_convert() {
    let half = HostTensor::new(Dt::F16, vec![2], vec![0x00, 0x3c, 0x01, 0x00]).unwrap();
    assert_eq!(half.to_f64(), [1.0, 2f64.powi(-24)]);
    let brain = HostTensor::new(Dt::BF16, vec![1], vec![0xc0, 0x3f]).unwrap();
    assert_eq!(brain.to_f64(), [1.5]);
    assert_eq!(HostTensor::new(Dt::U8, vec![1], vec![255]).unwrap().to_i64(), [255]);
    assert_eq!(HostTensor::new(Dt::Bool, vec![], vec![1]).unwrap().to_i64(), [1]);
    assert!(HostTensor::new(Dt::I32, vec![2], vec![0; 7]).is_err());
}

#[test]
fn views_of_storage() {
    let storage = f32s(&[6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(storage.view(&[2, 2], &[1, 2], 1).unwrap(), f32s(&[2, 2], &[1.0, 3.0, 2.0, 4.0]));
    assert_eq!(storage.view(&[3], &[0], 5).unwrap(), f32s(&[3], &[5.0; 3]));
    assert_eq!(storage.view(&[], &[], 2).unwrap(), f32s(&[], &[2.0]));
    assert_eq!(storage.view(&[0, 2], &[2, 1], 0).unwrap(), f32s(&[0, 2], &[]));
    assert!(storage.view(&[3], &[2], 2).is_err());
}

#[test]
fn schemas_parse() {
    let s = Signature::parse(
        "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
    )
    .unwrap();
    assert_eq!(s.name, "sum.dim_IntList");
    let names: Vec<_> = s.params.iter().map(|p| (p.name.as_str(), p.required, p.kind)).collect();
    let expected = [
        ("self", true, Kind::Normal),
        ("dim", true, Kind::Normal),
        ("keepdim", false, Kind::Normal),
        ("dtype", false, Kind::KeywordOnly),
    ];
    assert_eq!(names, expected);
    let s = Signature::parse(
        "pad(x: list[int] = [1, 2], mode: str = 'a,b=(', *rest, value: float | None = None, **kw) -> Tensor",
    )
    .unwrap();
    let names: Vec<_> = s.params.iter().map(|p| (p.name.as_str(), p.required, p.kind)).collect();
    let expected = [
        ("x", false, Kind::Normal),
        ("mode", false, Kind::Normal),
        ("rest", false, Kind::Rest),
        ("value", false, Kind::KeywordOnly),
        ("kw", false, Kind::Keywords),
    ];
    assert_eq!(names, expected);
}

#[test]
fn overloads_are_chosen_by_type() {
    let signatures: Vec<_> = [
        "max.other(Tensor self, Tensor other) -> Tensor",
        "max(Tensor self) -> Tensor",
        "max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        "view(Tensor(a) self, SymInt[] size) -> Tensor(a)",
    ]
    .iter()
    .map(|s| Signature::parse(s).unwrap())
    .collect();
    let x = value("{\"tensor\":\"c0.in0\"}");
    let choose = |args: &[Value], kwargs: &[(&str, Value)]| {
        let kwargs: BTreeMap<_, _> = kwargs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        bind(&signatures, args, &kwargs).overload
    };
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(choose(&[x.clone(), x.clone()], &[]), some("max.other"));
    assert_eq!(choose(std::slice::from_ref(&x), &[]), some("max"));
    assert_eq!(choose(&[x.clone(), Value::Int(1)], &[("keepdim", Value::Bool(true))]), some("max.dim"));
    assert_eq!(choose(&[], &[("input", x.clone()), ("dim", Value::Int(1))]), some("max.dim"));
    assert_eq!(choose(&[x.clone(), Value::Int(2), Value::Int(3), Value::Int(4)], &[]), some("view"));
    assert_eq!(choose(&[x], &[("nonsense", Value::Int(1))]), None);
}

/// Every file is as FORMAT.md says, its calls fit a signature, and its keys exist.
#[test]
fn whole_corpus_reads() {
    let mut cases = 0;
    let mut unbound = Vec::new();
    for name in corpus::op_names(&corpus::own_folder()).unwrap() {
        let op = read(&name);
        assert_eq!(op.op, name);
        let signatures: Vec<_> = op.signatures.iter().map(|s| Signature::parse(s).unwrap()).collect();
        for case in &op.cases {
            cases += 1;
            assert!(case.error.is_none() || case.outputs.is_empty(), "{name} {}", case.name);
            for tensor in case.tensor_refs() {
                op.tensors.resolve(tensor).unwrap_or_else(|e| panic!("{name} {}: {e}", case.name));
            }
            for output in &case.outputs {
                if let Value::Tensor(t) = &output.value {
                    let want = op.tensors.get(&t.key).unwrap();
                    assert_eq!(compare(want, want, case.rtol, case.atol), Ok(()));
                }
            }
            if !signatures.is_empty() && bind(&signatures, &case.args, &case.kwargs).overload.is_none() {
                unbound.push(case.desc.clone());
            }
        }
    }
    assert!(cases > 9000, "{cases}");
    // Python's nonzero has a keyword that no schema of it lists.
    unbound.retain(|desc: &String| !desc.starts_with("nonzero("));
    assert!(unbound.is_empty(), "{unbound:?}");
}

fn transpose(call: &mut Call<Stand>) -> Result<Vec<Output<Stand>>, Failure> {
    let mut x = call.tensor("self")?;
    let n = x.view.shape.len().max(1) as i64;
    let wrap = |d: i64| if (-n..n).contains(&d) { Ok(((d + n) % n) as usize) } else { Err(d) };
    let error = |d| Failure::Op(format!("no dim {d}"));
    let (a, b) = (wrap(call.int("dim0")?).map_err(error)?, wrap(call.int("dim1")?).map_err(error)?);
    if !x.view.shape.is_empty() {
        x.view.shape.swap(a, b);
        x.view.strides.swap(a, b);
    }
    Ok(vec![Output::Tensor(x)])
}

fn zero(call: &mut Call<Stand>) -> Result<Vec<Output<Stand>>, Failure> {
    let x = call.tensor(0)?;
    let mut storage = x.storage.borrow_mut();
    let size = storage.dtype.size();
    let count: usize = x.view.shape.iter().product();
    for mut i in 0..count {
        let mut at = x.view.offset as isize;
        for (&n, &stride) in x.view.shape.iter().zip(&x.view.strides).rev() {
            at += (i % n) as isize * stride;
            i /= n;
        }
        storage.data[at as usize * size..][..size].fill(0);
    }
    drop(storage);
    Ok(vec![Output::Tensor(x)])
}

fn verdicts(op: &mut OpFile, driver: Driver<Stand>) -> Vec<Verdict> {
    let signatures: Vec<_> = op.signatures.iter().map(|s| Signature::parse(s).unwrap()).collect();
    // The stand-in has no gradients.
    op.cases.iter_mut().for_each(|c| c.grads = None);
    op.cases.iter().map(|case| run_case(driver, op, &signatures, case)).collect()
}

#[test]
fn right_drivers_pass() {
    for (name, driver) in [("transpose", transpose as Driver<Stand>), ("Tensor.zero_", zero)] {
        for verdict in verdicts(&mut read(name), driver) {
            assert!(matches!(verdict, Verdict::Pass | Verdict::PassByType), "{name}: {verdict:?}");
        }
    }
}

#[test]
fn wrong_drivers_fail() {
    let mut op = read("Tensor.zero_");
    // A new tensor with the right values isn't self.
    let fresh: Driver<Stand> = |call| {
        let mut host = run::Backend::download(&call.tensor("self")?).map_err(Failure::Op)?;
        host.data.fill(0);
        Ok(vec![Output::Tensor(run::Backend::upload(&host).map_err(Failure::Op)?)])
    };
    for (case, verdict) in verdicts(&mut op, fresh).iter().enumerate() {
        let zero_already = op.cases[case].tags.iter().any(|t| t == "empty");
        assert!(zero_already || matches!(verdict, Verdict::Fail(_)), "{verdict:?}");
    }
    let mut op = read("transpose");
    let lazy: Driver<Stand> = |call| Ok(vec![Output::Tensor(call.tensor("self")?)]);
    let panics: Driver<Stand> = |_| panic!("no");
    for verdict in verdicts(&mut op, lazy).into_iter().chain(verdicts(&mut op, panics)) {
        assert!(matches!(verdict, Verdict::Fail(_)), "{verdict:?}");
    }
}

#[test]
fn calls_by_name_and_position() {
    let op = read("sum");
    let signatures: Vec<_> = op.signatures.iter().map(|s| Signature::parse(s).unwrap()).collect();
    let mut case = op.cases[0].clone();
    case.args = vec![value("{\"tensor\":\"x\"}"), value("[0,-1]")];
    case.kwargs = [("keepdim".to_owned(), Value::Bool(true))].into();
    let mut call = Call::new(&signatures, &case, HashMap::from([("x".to_owned(), 7)]));
    assert_eq!(call.overload(), "sum.dim_IntList");
    assert_eq!(call.tensor("input").unwrap(), 7);
    assert_eq!(call.ints(1).unwrap(), [0, -1]);
    assert_eq!(call.ints_opt("dim").unwrap(), Some(vec![0, -1]));
    assert!(call.dtype_opt("dtype").unwrap().is_none());
    assert!(matches!(call.float("dim"), Err(Failure::Argument(_))));
    assert_eq!(call.unused(), ["keepdim"]);
    assert_eq!(call.arg(2, "keepdim"), Some(&Value::Bool(true)));
    assert!(call.unused().is_empty());
}

#[test]
fn command_line() {
    let args = ["--nocapture", "--test-threads", "1", "--color=always", "add", "nn.*", "--exact"];
    let options = report::Options::parse(args.map(str::to_owned), false);
    assert_eq!(options.filters, ["add", "nn.*"]);
    assert!(options.selects("add") && options.selects("nn.functional.pad") && !options.selects("addmm"));
    assert_eq!(options.unmatched(&["add".to_owned()]), ["nn.*"]);
    let todo = report::read_todo(&corpus::own_folder().join("TODO")).unwrap();
    assert!(todo.iter().all(|n| !n.contains(['#', ' '])));
}

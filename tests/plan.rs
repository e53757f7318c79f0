//! Plans as text, and the WGSL they hold: no device is needed for either.

use calor::dtype::Scalar;
use calor::gpu::{Command, Facts};
use calor::graph::plan::{Fresh, Options, Plan};
use calor::graph::{Body, Input, Map, Node, Param, Spec, Stored, Value};
use calor::{DType, Layout};
use smallvec::SmallVec;
use std::sync::Arc;

fn leaf(shape: &[usize]) -> Value {
    Node::stored(Spec::new(shape, DType::F32), Stored::Nowhere)
}

fn read(value: &Value, layout: Layout) -> Input {
    Input { value: value.clone(), layout }
}

fn whole(value: &Value) -> Input {
    Input::whole(value, &value.spec.shape)
}

fn map(name: &'static str, shape: &[usize], inputs: &[Input]) -> Value {
    let body = Body::call_all(format!("op_{name}"), inputs.len());
    let map = Arc::new(Map { name: name.into(), body });
    Node::pending(map, Spec::new(shape, DType::F32), inputs.into(), SmallVec::new())
}

fn number(value: f64) -> Value {
    let mut body = Body::new();
    body.value(0, DType::F32);
    let map = Arc::new(Map { name: "full".into(), body });
    let params = SmallVec::from_iter([Param::scalar(Scalar::Float(value), DType::F32)]);
    Node::pending(map, Spec::new(&[], DType::F32), SmallVec::new(), params)
}

fn plan(roots: &[Value]) -> Plan {
    plan_for(roots, &Facts::portable())
}

fn plan_for(roots: &[Value], facts: &Facts) -> Plan {
    let plan = Plan::new(roots, facts, Options { fuse: true }, &Fresh).expect("plan");
    for source in sources(&plan) {
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{source}\n{e}"));
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
        validator.validate(&module).unwrap_or_else(|e| panic!("{source}\n{e:?}"));
    }
    plan
}

fn sources(plan: &Plan) -> Vec<String> {
    let kernel = |c: &Command| match c {
        Command::Dispatch(d) => Some(d.kernel.source.clone()),
        _ => None,
    };
    plan.recording.commands.iter().filter_map(kernel).collect()
}

#[test]
fn a_chain_is_one_kernel() {
    for length in [1, 7, 300, 3000] {
        let mut x = leaf(&[33]);
        for _ in 0..length {
            x = map("add", &[33], &[whole(&x), whole(&x)]);
        }
        assert_eq!(plan(&[x]).dispatches(), 1, "{length} operations");
    }
}

#[test]
fn sizes_are_not_in_the_text() {
    let program = |m: usize, n: usize| {
        let (x, b) = (leaf(&[m, n]), leaf(&[n]));
        let bias = Layout::contiguous(&[n]).expand("", &[m, n]).unwrap();
        let sum = map("add", &[m, n], &[whole(&x), read(&b, bias)]);
        let two = Layout::contiguous(&[]).expand("", &[m, n]).unwrap();
        let y = map("mul", &[m, n], &[whole(&sum), read(&number(m as f64), two)]);
        sources(&plan(&[y]))
    };
    assert_eq!(program(3, 8), program(100, 64));
    assert_ne!(program(3, 8), program(3, 7), "rows that are no multiple of four are read otherwise");
}

#[test]
fn a_broadcast_producer_is_stored_unless_it_is_free() {
    let x = leaf(&[64]);
    let e = map("exp", &[64], &[whole(&x)]);
    let rows = Layout::contiguous(&[64]).expand("", &[100, 64]).unwrap();
    let big = leaf(&[100, 64]);
    let y = map("add", &[100, 64], &[whole(&big), read(&e, rows)]);
    drop(e);
    assert_eq!(
        plan(&[y]).to_string(),
        "2 kernels\n  0  map: exp  [1 nodes, 1 workgroups]\n       %0 f32[64] -> %1 f32[64]\n  1  map: add  [1 nodes, 25 workgroups]\n       \
         %2 f32[100, 64] %1 f32[64] -> %3 f32[100, 64]\n"
    );
}

#[test]
fn values_that_are_held_are_outputs_of_the_same_kernel() {
    let x = leaf(&[10]);
    let y = map("exp", &[10], &[whole(&x)]);
    let z = map("add", &[10], &[whole(&y), whole(&x)]);
    let plan = plan(&[z]);
    assert_eq!(plan.dispatches(), 1);
    assert_eq!(plan.outputs.len(), 2);
    drop(y);
}

#[test]
fn what_nobody_reaches_is_not_computed() {
    let x = leaf(&[10]);
    let y = map("exp", &[10], &[whole(&x)]);
    let z = map("sin", &[10], &[whole(&x)]);
    assert_eq!(plan(&[z]).outputs.len(), 1);
    drop(y);
}

#[test]
fn a_transposed_read_is_computed_on_the_way() {
    let x = leaf(&[8, 12]);
    let y = map("exp", &[8, 12], &[whole(&x)]);
    let t = Layout::contiguous(&[8, 12]).transpose(0, 1).unwrap();
    let z = map("sin", &[12, 8], &[read(&y, t)]);
    drop(y);
    assert_eq!(plan(&[z]).dispatches(), 1);
}

#[test]
fn bindings_bound_a_kernel() {
    let facts = Facts { max_bindings: 8, ..Facts::portable() };
    let leaves: Vec<Value> = (0..40).map(|_| leaf(&[16])).collect();
    let mut sum = leaves[0].clone();
    for l in &leaves[1..] {
        sum = map("add", &[16], &[whole(&sum), whole(l)]);
    }
    let plan = plan_for(&[sum], &facts);
    for command in &plan.recording.commands {
        if let Command::Dispatch(d) = command {
            assert!(d.slots.len() < 8, "{} bindings", d.slots.len());
        }
    }
    assert!(plan.dispatches() <= 8, "{}", plan.dispatches());
}

#[test]
fn dead_intermediates_are_freed() {
    let x = leaf(&[64]);
    let e = map("exp", &[64], &[whole(&x)]);
    let rows = Layout::contiguous(&[64]).expand("", &[100, 64]).unwrap();
    let y = map("sin", &[100, 64], &[read(&e, rows)]);
    drop(e);
    let plan = plan(&[y]);
    let frees = plan.recording.commands.iter().filter(|c| matches!(c, Command::Free(_))).count();
    assert_eq!((plan.dispatches(), frees), (2, 1));
}

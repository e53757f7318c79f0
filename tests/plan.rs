//! Plans as text, and the WGSL they hold: no device is needed for either.

use calor::dtype::Scalar;
use calor::gpu::{Access, Command, Facts};
use calor::graph::plan::{Fresh, Held, Options, Plan};
use calor::graph::walk::Walk;
use calor::graph::{
    Body, Fold, Input, Load, LowerCx, Lowering, Map, Node, Param, Primitive, Prologue, Spec, Store, Stored, Template,
    Value,
};
use calor::{DType, Layout, Result};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

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
    let plan = Plan::new(&Walk::new(roots), facts, Options { fuse: true }, &Fresh).expect("plan");
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
            assert!(d.bindings.len() < 8, "{} bindings", d.bindings.len());
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

/// Whether the walks of two programs have the same structure; their hashes then agree.
fn alike(a: &[Value], b: &[Value]) -> bool {
    let (a, b) = (Walk::new(a), Walk::new(b));
    let alike = a.structure().is_of(&b);
    assert_eq!(alike, b.structure().is_of(&a));
    assert!(!alike || a.hash() == b.hash());
    alike
}

/// `f(x * number, y)` over stored values, with `also` held besides it.
fn sample(shape: &[usize], op: &'static str, n: f64) -> (Value, Value) {
    let (x, y) = (leaf(shape), leaf(shape));
    let scalar = Layout::contiguous(&[]).expand("", shape).unwrap();
    let product = map("mul", shape, &[whole(&x), read(&number(n), scalar)]);
    (map(op, shape, &[whole(&product), whole(&y)]), product)
}

fn one(shape: &[usize], op: &'static str, n: f64) -> Vec<Value> {
    vec![sample(shape, op, n).0]
}

#[test]
fn equal_structures_are_alike_whatever_the_numbers() {
    assert!(alike(&one(&[8], "add", 1.0), &one(&[8], "add", 1.0)));
    assert!(alike(&one(&[8], "add", 1.0), &one(&[8], "add", -7.5)));
}

#[test]
fn what_planning_looks_at_tells_structures_apart() {
    let base = || one(&[8, 4], "add", 1.0);
    assert!(!alike(&base(), &one(&[8, 8], "add", 1.0)), "shape");
    assert!(!alike(&base(), &one(&[4, 8], "add", 1.0)), "shape of as many elements");
    assert!(!alike(&base(), &one(&[8, 4], "sub", 1.0)), "operation");
    let (root, product) = sample(&[8, 4], "add", 1.0);
    assert!(!alike(&base(), std::slice::from_ref(&root)), "the product is held");
    assert!(!alike(std::slice::from_ref(&root), &[root.clone(), product.clone()]), "the product is asked for");
    drop(product);
    assert!(alike(&base(), &[root]));

    let unary = |shape: &[usize], layout: Layout| {
        let x = leaf(&[4, 4]);
        vec![map("exp", shape, &[read(&x, layout)])]
    };
    let square = Layout::contiguous(&[4, 4]);
    assert!(!alike(&unary(&[4, 4], square.clone()), &unary(&[4, 4], square.transpose(0, 1).unwrap())), "strides");
    let row = |start| Layout::strided("", &[4], &[1], start).unwrap();
    assert!(!alike(&unary(&[4], row(0)), &unary(&[4], row(4))), "offset");

    let typed = |dtype| {
        let x = Node::stored(Spec::new(&[4], dtype), Stored::Nowhere);
        let mut body = Body::new();
        body.input(0);
        let copy = Arc::new(Map { name: "copy".into(), body });
        vec![Node::pending(copy, Spec::new(&[4], dtype), [whole(&x)].into_iter().collect(), SmallVec::new())]
    };
    assert!(alike(&typed(DType::F32), &typed(DType::F32)));
    assert!(!alike(&typed(DType::F32), &typed(DType::I32)), "dtype");

    // which input is which
    let (x, y) = (leaf(&[4]), leaf(&[4]));
    let twice = map("sub", &[4], &[whole(&x), whole(&x)]);
    let both = map("sub", &[4], &[whole(&x), whole(&y)]);
    assert!(!alike(&[twice], &[both]), "inputs");
    let over = |first: &Value, last: &Value| {
        let a = map("exp", &[4], &[whole(first)]);
        let b = map("exp", &[4], &[whole(last)]);
        vec![map("sub", &[4], &[whole(&a), whole(&b)])]
    };
    assert!(!alike(&over(&x, &x), &over(&x, &y)), "inputs further down");
    assert!(alike(&over(&x, &y), &over(&y, &x)));

    // a computed input is none that waits
    let e = map("exp", &[4], &[whole(&x)]);
    let before = Walk::new(&[map("sin", &[4], &[whole(&e)])]).structure();
    e.store(Stored::Nowhere);
    assert!(!before.is_of(&Walk::new(&[map("sin", &[4], &[whole(&e)])])));

    // numbers of two kinds take other words
    let kinds = |param: Param| {
        let mut body = Body::new();
        body.value(0, DType::F32);
        let map = Arc::new(Map { name: "full".into(), body });
        vec![Node::pending(map, Spec::new(&[4], DType::F32), SmallVec::new(), SmallVec::from_iter([param]))]
    };
    assert!(!alike(&kinds(Param::F32(1.0)), &kinds(Param::I32(1))), "kinds of numbers");
    assert!(alike(&kinds(Param::F32(1.0)), &kinds(Param::F32(2.0))));
}

/// Two rules that only a field, or only their type, tells apart.
#[derive(Debug, PartialEq, Eq, Hash)]
struct First(u32);
#[derive(Debug, PartialEq, Eq, Hash)]
struct Second(u32);

impl Primitive for First {
    fn name(&self) -> &str {
        "rule"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Map(Body::call_all("op_exp", 1)))
    }
}

impl Primitive for Second {
    fn name(&self) -> &str {
        "rule"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Map(Body::call_all("op_sin", 1)))
    }
}

#[test]
fn rules_are_compared_whole() {
    let x = leaf(&[4]);
    let node = |rule: Arc<dyn Primitive>| {
        vec![Node::pending(rule, x.spec.clone(), SmallVec::from_iter([whole(&x)]), SmallVec::new())]
    };
    assert!(alike(&node(Arc::new(First(1))), &node(Arc::new(First(1)))));
    assert!(!alike(&node(Arc::new(First(1))), &node(Arc::new(First(2)))));
    assert!(!alike(&node(Arc::new(First(1))), &node(Arc::new(Second(1)))));
    // of equal name and length, which is all that is hashed of a map
    let map = |function: &'static str| -> Arc<dyn Primitive> {
        Arc::new(Map { name: "f".into(), body: Body::call_all(function, 1) })
    };
    assert!(alike(&node(map("op_exp")), &node(map("op_exp"))));
    assert!(!alike(&node(map("op_exp")), &node(map("op_sin"))));
}

#[test]
fn a_plan_takes_the_numbers_of_another_walk() {
    let params = |plan: &Plan| -> Vec<u32> {
        let of = |c: &Command| match c {
            Command::Dispatch(d) => d.params.clone(),
            _ => Vec::new(),
        };
        plan.recording.commands.iter().flat_map(of).collect()
    };
    let fresh = |roots: &[Value]| {
        let walk = Walk::new(roots);
        let mut plan = plan(roots);
        plan.fill(&walk, |_, _| 0);
        params(&plan)
    };
    let (a, b) = (one(&[8], "add", 1.5), one(&[8], "add", -2.25));
    let mut plan = plan(&a);
    plan.fill(&Walk::new(&b), |_, _| 0);
    assert_eq!(params(&plan), fresh(&b));
    assert!(params(&plan).contains(&(-2.25f32).to_bits()) && !params(&plan).contains(&1.5f32.to_bits()));

    let guarded = |wide: i64, message: &str| {
        let mut body = Body::new();
        let (flat, most) = (body.flat(), body.param(0));
        let ok = body.index(calor::graph::IndexOp::Lt, flat, most);
        let value = body.value(1, DType::I64);
        body.guard(ok, value, 2);
        let error = calor::Error::new(calor::ErrorKind::Index, "guarded", message.to_string());
        let params = [Param::U32(4), Param::I64(wide), Param::Fault(Arc::new(error))];
        let map = Arc::new(Map { name: "guarded".into(), body });
        vec![Node::pending(map, Spec::new(&[4], DType::I64), SmallVec::new(), params.into_iter().collect())]
    };
    let (a, b) = (guarded(5, "first"), guarded(-(7 << 33), "second"));
    assert!(alike(&a, &b), "a fault's message is a host number too");
    let mut plan = plan_for(&a, &Facts { i64: true, ..Facts::portable() });
    let mut told = Vec::new();
    plan.fill(&Walk::new(&b), |_, error| {
        told.push(error.message().to_string());
        77
    });
    assert_eq!(told, ["second"]);
    let words = params(&plan);
    let low = -(7i64 << 33);
    assert!(words.windows(2).any(|w| w == [low as u32, (low >> 32) as u32]), "{words:?}");
    assert!(words.contains(&77) && words.contains(&4), "{words:?}");
}

/// A value without a kernel: its inputs side by side, or a part of its input.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Place {
    Pack,
    Part(u64),
}

impl Primitive for Place {
    fn name(&self) -> &str {
        "place"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(match self {
            Place::Pack => Lowering::Pack { align: 256 },
            Place::Part(offset) => Lowering::Part { offset: *offset },
        })
    }
}

fn place(rule: Place, shape: &[usize], inputs: &[&Value]) -> Value {
    let inputs = inputs.iter().map(|v| whole(v)).collect();
    Node::pending(Arc::new(rule), Spec::new(shape, DType::F32), inputs, SmallVec::new())
}

#[test]
fn packs_are_copied_and_parts_are_not() {
    let (x, y) = (leaf(&[3]), map("exp", &[70], &[whole(&leaf(&[70]))]));
    // 256 bytes for three elements, 512 for seventy
    let pack = place(Place::Pack, &[192], &[&x, &y]);
    let flat = map("neg", &[192], &[whole(&pack)]);
    let parts = [place(Place::Part(0), &[3], &[&flat]), place(Place::Part(256), &[70], &[&flat])];
    drop((y, pack, flat));
    let plan = plan(&parts);
    let commands: Vec<String> = plan
        .recording
        .commands
        .iter()
        .map(|c| match c {
            Command::Dispatch(d) => d.kernel.label.clone(),
            Command::Copy { to_offset, bytes, .. } => format!("copy {bytes} to {to_offset}"),
            Command::Clear(_) => "clear".into(),
            Command::Free(_) => "free".into(),
            Command::Together => "together".into(),
        })
        .collect();
    // what is computed is written there, what lies elsewhere is copied: its three elements, and nothing behind them
    let want = ["clear", "map: exp", "copy 12 to 0", "map: neg", "free"];
    assert_eq!(commands, want);
    let places: Vec<u64> = plan.outputs.iter().map(|o| o.offset).collect();
    assert_eq!((places, plan.outputs[0].slot), (vec![0, 256], plan.outputs[1].slot), "both lie in one buffer");
    assert!(plan.outputs.iter().all(|o| o.owner != o.node));
    let text = plan.to_string();
    assert!(text.starts_with("2 kernels\n") && text.contains("copy"), "{text}");
}

#[test]
fn who_reads_a_part_waits_for_the_pack() {
    let a = map("exp", &[64], &[whole(&leaf(&[64]))]);
    let pack = place(Place::Pack, &[128], &[&a, &leaf(&[64])]);
    let flat = map("neg", &[128], &[whole(&pack)]);
    let part = place(Place::Part(256), &[64], &[&flat]);
    // reads `a` in order, and could join its kernel if the part did not come between
    let sum = map("add", &[64], &[whole(&a), whole(&part)]);
    drop((a, pack, flat, part));
    let plan = plan(&[sum]);
    let labels: Vec<&str> = plan.recording.dispatches().map(|d| d.kernel.label.as_str()).collect();
    assert_eq!(labels, ["map: exp", "map: neg", "map: add"]);
    let last = plan.recording.dispatches().last().expect("a kernel");
    let read: Vec<u64> = last.bindings.iter().map(|b| b.offset).collect();
    assert!(read.contains(&256), "the part is bound where it lies: {read:?}");
}

#[test]
fn no_kernel_writes_what_it_reads_as_a_part() {
    let x = map("exp", &[2, 64], &[whole(&leaf(&[2, 64]))]);
    let flat = map("neg", &[2, 64], &[whole(&x)]);
    let part = place(Place::Part(256), &[64], &[&flat]);
    let rows = Layout::contiguous(&[64]).expand("", &[2, 64]).unwrap();
    // both read `x` in order and could join its kernel; the second would then read what the first writes
    let out = map("mul", &[2, 64], &[whole(&x), read(&part, rows)]);
    drop((flat, part));
    let plan = plan(&[out, x]);
    for run in plan.recording.dispatches() {
        for (i, a) in run.bindings.iter().enumerate() {
            let access = |j: usize| run.kernel.access[j];
            for j in (i + 1..run.bindings.len()).filter(|&j| run.bindings[j].slot == a.slot) {
                let reads = (access(i), access(j)) == (Access::Read, Access::Read);
                assert!(reads, "{}: one buffer is read and written", run.kernel.label);
            }
        }
    }
    assert_eq!(plan.dispatches(), 2);
}

#[test]
fn buffers_above_the_limit_are_bound_as_windows() {
    let facts = Facts { max_binding_bytes: 1024, max_bindings: 8, ..Facts::portable() };
    let program = |n: usize| plan_for(&[map("exp", &[n], &[whole(&leaf(&[n]))])], &facts);
    let plan = program(600);
    let run = plan.recording.dispatches().next().expect("a kernel");
    let windows: Vec<(u64, u64)> = run.bindings.iter().map(|b| (b.offset, b.bytes)).collect();
    assert_eq!(windows[..3], windows[3..]);
    assert_eq!(windows[..3], [(0, 1024), (1024, 1024), (2048, 352)]);
    assert_eq!(
        sources(&plan),
        sources(&program(700)),
        "how many windows there are is structure, how large they are is not"
    );
    assert_ne!(sources(&plan), sources(&program(500)));
    // eight windows in all are one too many beside the fault buffer's: two kernels instead of one
    let (a, b) = (leaf(&[500]), leaf(&[500]));
    let product = map("mul", &[500], &[whole(&a), whole(&b)]);
    let sum = map("add", &[500], &[whole(&product), whole(&leaf(&[500]))]);
    drop(product);
    assert_eq!(plan_for(&[sum], &facts).dispatches(), 2);
    let add = map("add", &[1000], &[whole(&leaf(&[1000])), whole(&leaf(&[1000]))]);
    let e = Plan::new(&Walk::new(&[add]), &facts, Options { fuse: true }, &Fresh).expect_err("twelve bindings");
    assert_eq!((e.kind(), e.op()), (calor::ErrorKind::OutOfMemory, "add"));
    assert!(e.message().contains("4000") && e.message().contains("12 bindings") && e.message().contains("1024"), "{e}");
}

#[test]
fn a_cpu_moves_words_of_64_bits() {
    let cpu = Facts { is_cpu: true, i64: true, backend: "vulkan".into(), ..Facts::portable() };
    let bound = |facts: &Facts| {
        let backwards = Layout::strided("", &[600], &[-1], 599).unwrap();
        let sum = map("add", &[600], &[whole(&leaf(&[600])), read(&leaf(&[600]), backwards)]);
        let plan = plan_for(&[sum], facts);
        let source = sources(&plan).remove(0);
        let types = source.lines().filter_map(|l| l.split_once("array<")?.1.strip_suffix(">;").map(str::to_owned));
        let types: Vec<String> = types.filter(|t| !t.contains(',')).collect();
        let run = plan.recording.dispatches().next().expect("a kernel");
        (types, run.bindings.iter().map(|b| (b.offset, b.bytes)).collect::<Vec<_>>())
    };
    // single elements are read as before
    assert_eq!(bound(&cpu).0, ["vec2<u64>", "vec4<f32>", "vec2<u64>"]);
    assert_eq!(bound(&Facts { i64: false, ..cpu.clone() }).0, ["vec4<f32>"; 3]);
    assert_eq!(bound(&Facts::portable()).0, ["vec4<f32>"; 3]);
    let small = |facts: Facts| bound(&Facts { max_binding_bytes: 1024, max_bindings: 12, ..facts });
    let (pairs, words) = (small(cpu), small(Facts::portable()));
    assert_eq!((pairs.1.len(), &pairs.1), (9, &words.1), "windows hold as many elements");
    assert_eq!(pairs.0[0], "vec2<u64>");
}

/// The sum over the last axis, as an operation declares it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum;

impl Primitive for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let keep = cx.output.shape.len();
        let load = Load { name: "load", input: 0, coords: vec![keep, 1], lanes: None, dtype: DType::F32 };
        let template = Template {
            name: "sum",
            source: "fn load(row: u32, k: u32) -> f32 { return 0.0; }\nfn store(row: u32, value: f32) {}\nvar<private> \
                     p_length: u32;\n@compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3<u32>) {\n    \
                     var sum = 0.0;\n    for (var k = 0u; k < p_length; k++) { sum += load(group.x, k); }\n    \
                     store(group.x, sum);\n}\n",
            types: Vec::new(),
            consts: Vec::new(),
            calls: Vec::new(),
            loads: vec![load],
            stores: vec![Store { name: "store", coords: vec![keep], lanes: false }],
            params: vec![("length", cx.inputs[0].layout.shape()[keep] as u32)],
            groups: cx.output.numel() as u32,
            prologue: Prologue::Any,
            work: cx.inputs[0].layout.numel() as u64,
        };
        Ok(Lowering::Fold(Fold { join: "op_add", init: 0, keep }, template))
    }
}

fn sum(x: &Value) -> Value {
    let kept = &x.spec.shape[..x.spec.shape.len() - 1];
    Node::pending(Arc::new(Sum), Spec::new(kept, DType::F32), [whole(x)].into_iter().collect(), SmallVec::new())
}

#[test]
fn only_kernels_that_ask_where_they_begin_are_cut() {
    let facts = Facts { run_work: 100, ..Facts::portable() };
    let cut = |root: Value| {
        let plan = plan_for(&[root], &facts);
        plan.recording.dispatches().map(|run| run.kernel.first.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(cut(map("exp", &[1000], &[whole(&leaf(&[1000]))])), [true]);
    assert_eq!(cut(map("exp", &[100], &[whole(&leaf(&[100]))])), [false]);
    // its template takes the workgroup's number as it is
    assert_eq!(cut(sum(&leaf(&[40, 70]))), [false]);
}

/// `x / sum(exp(x))`, and what it would be to read the sums of other rows.
fn shares(rows: usize, length: usize, other: bool) -> Value {
    let x = leaf(&[rows, length]);
    let total = sum(&map("exp", &[rows, length], &[whole(&x)]));
    let mut spread = Layout::contiguous(&[rows]).unsqueezed(1);
    if other {
        spread = spread.flipped(&[0]);
    }
    let spread = spread.expand("", &[rows, length]).unwrap();
    map("div", &[rows, length], &[whole(&x), read(&total, spread)])
}

/// `x` minus the sums of its columns.
fn centred(rows: usize, columns: usize) -> Value {
    let x = leaf(&[rows, columns]);
    let down = read(&x, Layout::contiguous(&[rows, columns]).transpose(0, 1).unwrap());
    let total =
        Node::pending(Arc::new(Sum), Spec::new(&[columns], DType::F32), [down].into_iter().collect(), SmallVec::new());
    let spread = Layout::contiguous(&[columns]).expand("", &[rows, columns]).unwrap();
    map("sub", &[rows, columns], &[whole(&x), read(&total, spread)])
}

#[test]
fn folds_and_the_maps_around_them_are_one_kernel() {
    let cpu = Facts { is_cpu: true, max_loop_iterations: Some(65_535), ..Facts::portable() };
    for facts in [Facts::portable(), cpu] {
        for (rows, length) in [(32, 4), (32, 7), (100, 1000), (2000, 64)] {
            let plan = plan_for(&[shares(rows, length, false)], &facts);
            assert_eq!(plan.dispatches(), 1, "{rows} rows of {length}");
            let source = &sources(&plan)[0];
            let constant = |line: &str| line.trim_start().starts_with("for ") && line.contains("params[");
            assert!(!source.lines().any(constant), "lavapipe would compile this at each dispatch:\n{source}");
        }
        // nor would few invocations be worth it that write many elements each
        let columns = plan_for(&[centred(2000, 64)], &facts).dispatches();
        assert_eq!(columns, if facts.is_cpu { 1 } else { 2 });
        // few long rows would leave a device idle
        assert_eq!(plan_for(&[shares(2, 1 << 20, false)], &facts).dispatches(), 2);
        // a row may read nothing of another one, and no invocation walks further than drivers let it
        assert_eq!(plan_for(&[shares(32, 8, true)], &facts).dispatches(), 2);
        let long = plan_for(&[shares(20, 1 << 19, false)], &facts);
        assert_eq!(long.dispatches(), if facts.is_cpu { 2 } else { 1 });
    }
}

#[test]
fn rows_are_walked_alike_whatever_their_number_and_length() {
    let text = |rows, length| sources(&plan(&[shares(rows, length, false)]));
    assert_eq!(text(32, 1024), text(77, 2048));
    assert_ne!(text(32, 1024), text(32, 1025), "rows that end between groups of four");
}

#[test]
fn what_lies_across_is_computed_in_blocks() {
    let turned = |m: usize, n: usize, offset: usize| {
        let x = leaf(&[m * n + offset]);
        let layout = Layout::strided("", &[n, m], &[1, n as isize], offset as isize).unwrap();
        let y = map("exp", &[n, m], &[read(&x, layout)]);
        sources(&plan(&[y]))
    };
    let blocks = turned(64, 128, 0);
    assert!(blocks[0].contains("fn block("), "{}", blocks[0]);
    assert_eq!(blocks, turned(1000, 48, 0), "sizes are no structure");
    // where loads would not be whole groups of four, or most invocations would have no block
    for (m, n, offset) in [(64, 128, 1), (63, 128, 0), (64, 126, 0), (8, 8, 0)] {
        assert!(!turned(m, n, offset)[0].contains("fn block("), "{m} x {n} from {offset}");
    }
}

/// Kernels are known as long as a plan has them.
#[test]
fn kernels_of_plans_that_are_gone_are_forgotten() {
    let held = Held::default();
    let program = |bits: usize| {
        let x = leaf(&[8]);
        let op =
            |y: Value, bit: usize| map(if bits >> bit & 1 == 0 { "add" } else { "mul" }, &[8], &[whole(&y), whole(&x)]);
        let root = (0..11).fold(x.clone(), op);
        Plan::new(&Walk::new(&[root]), &Facts::portable(), Options { fuse: true }, &held).expect("plan")
    };
    let kernel = |plan: &Plan| match &plan.recording.commands[0] {
        Command::Dispatch(d) => Arc::clone(&d.kernel),
        other => panic!("{other:?}"),
    };
    let kept: Vec<Plan> = (0..100).map(program).collect();
    for bits in 100..1900 {
        program(bits);
        assert!(held.len() <= 256, "{} kernels", held.len());
    }
    // those in use are the same as before
    for (bits, plan) in kept.iter().enumerate() {
        assert!(Arc::ptr_eq(&kernel(plan), &kernel(&program(bits))));
    }
}

/// Seconds that this thread was at work, where the system tells; other tests run beside it.
fn worked(since: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|t| t.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| since.elapsed().as_secs_f64(), |n| n / 1e9)
}

/// How much longer `f` takes for twice as much; the best of a few tries.
fn growth(n: usize, f: impl Fn(usize)) -> f64 {
    let begin = Instant::now();
    let time = |n: usize| {
        let run = || {
            let start = worked(begin);
            f(n);
            worked(begin) - start
        };
        (0..3).map(|_| run()).fold(f64::MAX, f64::min)
    };
    // over two doublings, as short times are uncertain
    (time(4 * n) / time(n)).sqrt()
}

#[test]
fn planning_many_readers_of_one_value_is_linear() {
    let facts = Facts { max_bindings: 1 << 20, ..Facts::portable() };
    for reader in ["sin", "add"] {
        let grown = growth(500, |n| {
            let (x, other) = (leaf(&[16]), leaf(&[16]));
            let value = map("exp", &[16], &[whole(&x)]);
            let more = if reader == "add" { vec![whole(&value), whole(&other)] } else { vec![whole(&value)] };
            let readers: Vec<Value> = (0..n).map(|_| map(reader, &[16], &more)).collect();
            let plan = Plan::new(&Walk::new(&readers), &facts, Options { fuse: true }, &Held::default()).expect("plan");
            assert_eq!(plan.outputs.len(), n + 1);
        });
        assert!(grown < 3.0, "twice as many readers by {reader} take {grown} times as long");
    }
}

#[test]
fn numbers_are_in_the_kernel_however_many_they_are() {
    let scalar = Layout::contiguous(&[]).expand("", &[16]).unwrap();
    let add = |y: Value, i: usize| map("add", &[16], &[whole(&y), read(&number(i as f64), scalar.clone())]);
    assert_eq!(plan(&[(0..1500).fold(leaf(&[16]), add)]).dispatches(), 1);
}

#[test]
fn planning_a_chain_of_maps_is_linear() {
    let (straight, across) = (Layout::contiguous(&[8, 8]), Layout::contiguous(&[8, 8]).transpose(0, 1).unwrap());
    for (name, odd) in [("as they lie", &straight), ("turned", &across)] {
        let grown = growth(1000, |n| {
            let layout = |i| if i % 2 == 0 { &straight } else { odd };
            let y = (0..n).fold(leaf(&[8, 8]), |y, i| map("sin", &[8, 8], &[read(&y, layout(i).clone())]));
            let plan = Plan::new(&Walk::new(&[y]), &Facts::portable(), Options { fuse: true }, &Held::default());
            assert!(plan.expect("plan").dispatches() <= n / 250 + 1);
        });
        assert!(grown < 3.0, "twice as long a chain, {name}, takes {grown} times as long");
    }
}

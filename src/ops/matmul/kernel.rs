//! The primitive and its lowering: each kernel of `shaders/matmul*.wgsl` with its hooks, types and constants.

use super::choose::{Choice, Kernel, chunk, lanes, matrices, rows_group, tile};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Input, Load, LowerCx, Lowering, Primitive, Prologue, Spec, Store, Template};
use crate::shape::numel;

/// Invocations of the portable kernel's workgroup.
const GROUP: u32 = 64;

/// `[.., m, k] x [.., k, n]` with equal leading dimensions. With parts, a first axis counts them, and each holds the sum
/// over one range of k. What was chosen is part of the rule: a kept plan is of one choice.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Matmul(pub Choice);

impl Primitive for Matmul {
    fn name(&self) -> &str {
        "matmul"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let Choice { kernel, parts } = self.0;
        let (a, b) = (&cx.inputs[0].layout, &cx.inputs[1].layout);
        let rank = a.rank();
        let lead = rank - 2;
        let (m, k, n) = (a.shape()[lead], a.shape()[lead + 1], b.shape()[lead + 1]);
        let batches = numel(&a.shape()[..lead]);
        let slabs = batches * parts;
        let a_along_k = a.strides()[lead + 1].abs() == 1 || a.strides()[lead].abs() != 1;
        let b_along_n = b.strides()[lead + 1].abs() == 1 || b.strides()[lead].abs() != 1;
        let whole = n.is_multiple_of(4);
        let ty = compute(cx.output.dtype);
        let load = |name, input, lanes| Load { name, input, coords: vec![lead, 1, 1], lanes, dtype: cx.output.dtype };
        let first = lead + usize::from(parts > 1);
        let store = |name, lanes| Store { name, coords: vec![first, 1, 1], lanes };
        let chunk = chunk(k, parts);
        let mut t = Template {
            name: "matmul",
            source: shader!("matmul.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![("WHOLE", u32::from(whole))],
            calls: Vec::new(),
            loads: vec![
                load("load_a4", 0, Some(if a_along_k { 2 } else { 1 })),
                load("load_b4", 1, Some(if b_along_n { 2 } else { 1 })),
            ],
            stores: vec![store(if whole { "store4" } else { "store" }, whole)],
            params: vec![("batches", batches as u32), ("parts", parts as u32), ("chunk", chunk as u32)],
            groups: 0,
            prologue: Prologue::Free,
            work: 2 * (batches * m * n * k) as u64,
        };
        t.params.extend([("m", m as u32), ("n", n as u32), ("k", k as u32)]);
        if kernel != Kernel::Rows {
            t.consts.extend([("A_ALONG_K", u32::from(a_along_k)), ("B_ALONG_N", u32::from(b_along_n))]);
        }
        let tail = |of: usize| u32::from(!k.is_multiple_of(of));
        let groups = match kernel {
            Kernel::Portable => {
                t.consts.push(("GROUP", GROUP));
                t.loads.extend([load("load_a", 0, None), load("load_b", 1, None)]);
                (slabs * m.div_ceil(4) * n.div_ceil(4)).div_ceil(GROUP as usize)
            }
            Kernel::Lanes => {
                let Some(lanes) = lanes(cx.facts) else {
                    bail!(Device, "matmul", "the adapter has no subgroups for this kernel");
                };
                let rows = m.next_power_of_two().clamp(8, 32);
                (t.name, t.source) = ("matmul_lanes", shader!("matmul_lanes.wgsl"));
                t.consts.extend([("LANES", lanes), ("ROWS", rows as u32), ("TAIL", tail(4))]);
                slabs * m.div_ceil(rows) * n.div_ceil(lanes as usize * 4)
            }
            Kernel::Rows => {
                let long_n = m <= n;
                let (short, long) = (m.min(n), m.max(n));
                let along_k = if long_n { !b_along_n } else { a_along_k };
                let short_lanes = short.next_power_of_two();
                let Some(group) = rows_group(short_lanes, ty.size(), cx.facts) else {
                    bail!(Device, "matmul", "the adapter has too little workgroup memory for this kernel");
                };
                // four steps for each lane: few lanes have work in a short sum
                let most = if along_k { group } else { 8 };
                let k_lanes = chunk.div_ceil(8).next_power_of_two().clamp(1, most as usize) as u32;
                let vector = short == 1 && (slabs == 1 || long.is_multiple_of(4));
                let dim = |along| Some(if along { 2 } else { 1 });
                (t.name, t.source) = ("matmul_rows", shader!("matmul_rows.wgsl"));
                // vectors are read along k, whichever way they lie
                t.loads = match long_n {
                    true => vec![load("load_a4", 0, Some(2)), load("load_b4", 1, dim(!along_k))],
                    false => vec![load("load_a4", 0, dim(along_k)), load("load_b4", 1, Some(1))],
                };
                if vector {
                    let coords = vec![first + 2];
                    t.stores = vec![Store { name: "store_vector4", coords, lanes: true }];
                }
                t.consts.extend([("GROUP", group), ("K_LANES", k_lanes), ("LONG_N", u32::from(long_n))]);
                t.consts.extend([("ALONG_K", u32::from(along_k)), ("SHORT", short_lanes as u32)]);
                t.consts.extend([("VECTOR", u32::from(vector)), ("TAIL", tail(4))]);
                slabs * long.div_ceil((group / k_lanes) as usize * 4)
            }
            Kernel::Tiles(size) => {
                let halves = cx.facts.f16 && cx.inputs.iter().all(|i| i.dtype == DType::F16);
                let Some(tile) = tile(size, if halves { 2 } else { ty.size() }, cx.facts) else {
                    bail!(Device, "matmul", "the adapter has too little workgroup memory for this kernel");
                };
                (t.name, t.source) = ("matmul_tiles", shader!("matmul_tiles.wgsl"));
                t.types.push(("S", if halves { "f16" } else { scalar(ty) }.to_string()));
                t.consts.extend([("GROUP_M", tile.lanes), ("GROUP_N", tile.lanes), ("DEPTH", tile.depth)]);
                t.consts.extend([("ROWS", tile.fours), ("COLUMNS", tile.fours), ("PAD", tile.pad)]);
                t.consts.push(("TAIL", tail(tile.depth as usize)));
                slabs * m.div_ceil(tile.side()) * n.div_ceil(tile.side())
            }
            Kernel::Coop => {
                let Some(of) = matrices(cx.facts) else {
                    bail!(Device, "matmul", "the adapter has no cooperative matrices for this kernel");
                };
                (t.name, t.source) = ("matmul_coop", shader!("matmul_coop.wgsl"));
                for (name, scalar, role) in [("MatrixA", "f16", "A"), ("MatrixB", "f16", "B"), ("MatrixC", "f32", "C")]
                {
                    t.types.push((name, format!("coop_mat{0}x{0}<{scalar}, {role}>", of.side)));
                }
                t.consts.extend([("SIDE", of.side), ("LANES", of.lanes), ("PAD", of.pad)]);
                slabs * m.div_ceil(of.tile()) * n.div_ceil(of.tile())
            }
        };
        let Ok(groups) = u32::try_from(groups) else {
            bail!(Unsupported, "matmul", "[{batches}, {m}, {k}] x [{batches}, {k}, {n}] takes too many workgroups");
        };
        t.groups = groups;
        Ok(Lowering::Template(t))
    }

    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        let k = inputs.first().and_then(|a| a.layout.shape().last()).copied().unwrap_or(0);
        // with parts, each output element sums one of them
        2 * (output.numel() as u64).saturating_mul(chunk(k, self.0.parts).min(k) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Command, Facts};
    use crate::graph::plan::{Fresh, Options, Plan};
    use crate::graph::walk::Walk;
    use crate::graph::{Node, Stored};
    use crate::layout::Layout;
    use smallvec::SmallVec;
    use std::sync::Arc;

    /// The kernel of a product on an adapter that needs not exist.
    fn source(choice: Choice, dtype: DType, (m, n, k): (usize, usize, usize), flips: u32, facts: &Facts) -> String {
        let input = |rows: usize, columns: usize, flip: bool| {
            let shape = if flip { [columns, rows] } else { [rows, columns] };
            let layout = Layout::contiguous(&shape);
            let layout = if flip { layout.transpose(0, 1).unwrap() } else { layout };
            Input { value: Node::stored(Spec::new(&shape, dtype), Stored::Nowhere), layout }
        };
        let inputs = SmallVec::from_iter([input(m, k, flips & 1 == 1), input(k, n, flips & 2 == 2)]);
        let shape = if choice.parts > 1 { vec![choice.parts, m, n] } else { vec![m, n] };
        let node = Node::pending(Arc::new(Matmul(choice)), Spec::new(&shape, dtype.compute()), inputs, SmallVec::new());
        let plan = Plan::new(&Walk::new(&[node]), facts, Options { fuse: true }, &Fresh).unwrap();
        match &plan.recording.commands[..] {
            [Command::Dispatch(d)] => d.kernel.source.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn translate(source: &str) {
        let module =
            naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{source}\n{}", e.emit_to_string(source)));
        let (flags, all) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
        let info = naga::valid::Validator::new(flags, all)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{source}\n{}", e.emit_to_string(source)));
        naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None).unwrap();
    }

    #[test]
    fn every_kernel_is_valid_in_every_form() {
        let gpu = Facts {
            f16: true,
            f64: true,
            i64: true,
            subgroups: true,
            subgroup_size: Some(32),
            matrices: Some(16),
            max_workgroup_bytes: 48 << 10,
            ..Facts::portable()
        };
        let apple = Facts { matrices: Some(8), max_workgroup_bytes: 32 << 10, ..gpu.clone() };
        let cpu = Facts { is_cpu: true, subgroup_size: Some(8), matrices: None, ..gpu.clone() };
        let sizes = [(64, 64, 64), (7, 50, 33), (50, 1, 33), (1, 7, 2000)];
        for facts in [gpu, apple, cpu, Facts::portable()] {
            for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::I64, DType::F64] {
                for (m, n, k) in sizes {
                    let p = super::super::Problem { batches: 1, m, n, k, dtype, along: (true, true) };
                    for choice in Choice::candidates(&p, &facts) {
                        for flips in 0..4 {
                            let text = source(choice, dtype, (m, n, k), flips, &facts);
                            translate(&text);
                            let halves = choice.kernel == Kernel::Coop
                                || matches!(choice.kernel, Kernel::Tiles(_)) && dtype == DType::F16 && facts.f16;
                            assert_eq!(text.starts_with("enable f16;"), halves, "{text}");
                            assert_eq!(text.contains("coop_mat"), choice.kernel == Kernel::Coop);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn matrices_are_only_for_halves_on_adapters_that_have_them() {
        let p = |dtype| super::super::Problem { batches: 1, m: 64, n: 64, k: 64, dtype, along: (true, true) };
        let facts = Facts { f16: true, subgroups: true, subgroup_size: Some(32), ..Facts::portable() };
        let able = Facts { matrices: Some(16), ..facts.clone() };
        assert_eq!(Choice::table(&p(DType::F16), &able).kernel, Kernel::Coop);
        for (dtype, facts) in [(DType::F32, &able), (DType::BF16, &able), (DType::F16, &facts)] {
            assert_ne!(Choice::table(&p(dtype), facts).kernel, Kernel::Coop);
            assert_eq!(Choice::named("coop", &p(dtype), facts), None);
        }
    }
}

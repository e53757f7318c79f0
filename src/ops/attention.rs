//! Scaled dot-product attention: one kernel forward, two backward, and no matrix of scores (Dao 2023,
//! FlashAttention-2). The composed form stands beside it: for what the kernels do not do, and for gradients that are
//! differentiated again.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Input, Load, LowerCx, Lowering, Primitive, Prologue, Spec, Store, Template};
use crate::layout::Layout;
use crate::no_grad;
use crate::shape::{Dims, broadcast, contiguous_strides, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, is_grad_enabled};
use std::sync::Arc;

/// Invocations that share some rows: `LANES` of the shaders.
const LANES: usize = 8;
/// Keys or queries that a team takes at a time, and columns of a strip: four for each lane.
const BLOCK: usize = LANES * 4;
/// Rows that a team keeps where what it shares goes through workgroup memory.
const ROWS: usize = 4;
/// Elements of a head that registers are planned for.
const MOST: usize = 256;
/// Numbers behind a result for each of its rows: one vector.
const STATS: usize = 4;

/// How scores become weights.
pub(crate) struct Weighing<'a> {
    /// Truth values, or numbers to add; broadcast to the scores.
    pub mask: Option<&'a Tensor>,
    /// Query `i` sees keys up to `i`.
    pub causal: bool,
    /// The factor of products; else `1 / sqrt(E)`.
    pub scale: Option<f64>,
    /// The probability with which a weight is dropped.
    pub dropout: f64,
    /// Heads of keys and values may each serve several of queries.
    pub shared_heads: bool,
}

/// A mask's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mask {
    No,
    Seen,
    Added,
}

/// What all three kernels depend on, besides shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Rule {
    causal: bool,
    mask: Mask,
    /// The scale's bits.
    scale: u64,
}

/// Sizes of an attention: queries `[batches, shared, l, e]`, keys `[batches, s, e]`, values `[batches, s, v]`.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batches: usize,
    shared: usize,
    l: usize,
    s: usize,
    e: usize,
    v: usize,
}

impl Sizes {
    fn new(q: &[usize], k: &[usize], v: &[usize]) -> Self {
        let lead = k.len() - 2;
        Self { batches: numel(&k[..lead]), shared: q[lead], l: q[lead + 1], s: k[lead], e: k[lead + 1], v: v[lead + 1] }
    }

    fn rows(&self) -> usize {
        self.batches * self.shared * self.l
    }

    fn products(&self) -> u64 {
        2 * (self.rows() as u64) * (self.s as u64)
    }
}

/// How a kernel is spread over invocations.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// A team is a subgroup and a workgroup.
    subgroup: bool,
    teams: usize,
    rows: usize,
}

impl Tile {
    /// A tile for `rows` rows whose team keeps `strips` vectors of each in every lane, and shares `slots`.
    fn new(facts: &Facts, ty: DType, rows: usize, strips: usize, slots: usize) -> Self {
        let subgroup = Self::is_subgroup(facts, ty);
        let enough = rows.next_power_of_two().max(4);
        if subgroup {
            // more rows are fewer loads of the other side, but a kernel that takes longer to compile
            let most = match (strips, slots) {
                (0..=2, 2) => 32,
                (0..=2, _) => 16,
                (3..=8, _) => 8,
                _ => 4,
            };
            return Self { subgroup, teams: 1, rows: most.min(enough) };
        }
        let bytes = ROWS * slots * LANES * 4 * ty.size();
        let memory = facts.max_workgroup_bytes as usize / bytes;
        let invocations = facts.max_invocations.min(facts.max_workgroup_x) as usize / LANES;
        let teams = 8.min(memory).min(invocations).min(enough / ROWS).max(1);
        // whole powers of two: rows of a workgroup then begin at multiples of them
        Self { subgroup, teams: 1 << teams.ilog2(), rows: ROWS }
    }

    /// A CPU's subgroup hands values round at the cost of arithmetic.
    fn is_subgroup(facts: &Facts, ty: DType) -> bool {
        facts.is_cpu && facts.subgroups && facts.subgroup_size == Some(LANES as u32) && ty == DType::F32
    }

    fn groups(&self, batches: usize, rows: usize) -> u32 {
        (batches * rows.div_ceil(self.rows * self.teams)) as u32
    }
}

fn strips(columns: usize) -> usize {
    columns.div_ceil(BLOCK)
}

/// Among how many parts of a team a block is split when results have `columns` columns.
fn split(columns: usize) -> usize {
    LANES / columns.div_ceil(4).next_power_of_two().min(LANES)
}

/// Iterations of an invocation of the kernel that loops longest.
fn iterations(z: &Sizes) -> usize {
    let along = z.e.div_ceil(4) + z.v.div_ceil(4) + LANES + 2;
    let forward = z.s.div_ceil(BLOCK) * along;
    forward.max(z.shared * (1 + z.l.div_ceil(BLOCK) * along)) + 64
}

/// Whether the kernels can do it.
fn fits(facts: &Facts, z: &Sizes, dtype: DType) -> bool {
    let ty = compute(dtype);
    let enough = facts.max_workgroup_bytes as usize >= ROWS * 2 * LANES * 4 * ty.size()
        && facts.max_invocations as usize >= LANES
        && facts.max_bindings >= 8;
    let size = [z.rows() * (z.e.max(z.v) + STATS), z.batches * z.s * (z.e + z.v)].into_iter().max().unwrap_or(0);
    let bytes = size as u64 * ty.size() as u64;
    let loops = facts.max_loop_iterations.is_none_or(|most| iterations(z) <= most as usize);
    enough && loops && bytes <= facts.max_binding_bytes && size < 1 << 31 && z.e.max(z.v) <= MOST
}

/// Scores of which the matrix is not stored even where that costs time.
const MANY: usize = 1 << 24;

/// Whether the kernels are chosen before the composed form. On lavapipe with subgroups, up to 64 elements of a head, they
/// take 0.4 to 0.8 of its time forward, and for a training step 0.7 to 0.9 with a causal mask but 0.85 to 1.6 without
/// (`benches/RESULTS.md`): there they are chosen for the memory that no matrix of scores takes. Wide rows leave room for few
/// of them in registers, and without subgroups a load of workgroup memory costs as much as any: both are slower.
fn pays(facts: &Facts, z: &Sizes, dtype: DType) -> bool {
    let narrow = Tile::is_subgroup(facts, compute(dtype)) && z.e.max(z.v) <= 64;
    !facts.is_cpu || narrow || z.rows().saturating_mul(z.s) > MANY
}

/// Parts of a template that all three kernels share.
fn template(
    (name, source, subgroups): (&'static str, &'static str, &'static str),
    rule: &Rule,
    (z, tile, ty): (&Sizes, &Tile, DType),
    slots: usize,
) -> Template {
    let double = ty == DType::F64;
    let mut types = vec![("T", scalar(ty).to_string())];
    let mut params = vec![("l", z.l as u32), ("s", z.s as u32), ("e", z.e as u32), ("v", z.v as u32)];
    params.push(("none", f32::NEG_INFINITY.to_bits()));
    let scale = f64::from_bits(rule.scale);
    if double {
        let words = |low: &str, high: &str| format!("bitcast<f64>(u64({low}) | (u64({high}) << 32u))");
        types.push(("NONE", "f64(bitcast<f32>(p_none))".into()));
        types.push(("LOWEST", words("p_lowest", "p_lowest_high")));
        types.push(("SCALE", words("p_scale", "p_scale_high")));
        let lowest = f64::MIN.to_bits();
        params.extend([("lowest", lowest as u32), ("lowest_high", (lowest >> 32) as u32)]);
        params.extend([("scale", rule.scale as u32), ("scale_high", (rule.scale >> 32) as u32)]);
    } else {
        types.extend([
            ("NONE", "bitcast<f32>(p_none)".into()),
            ("LOWEST", "bitcast<f32>(p_lowest)".into()),
            ("SCALE", "bitcast<f32>(p_scale)".into()),
        ]);
        params.extend([("lowest", f32::MIN.to_bits()), ("scale", (scale as f32).to_bits())]);
    }
    if tile.subgroup {
        let other = ["publish", "meet", "hand", "across"];
        types.extend(other.map(|name| (name, format!("{name}_subgroup"))));
        types.push(("tile", String::new()));
    }
    let consts = vec![
        ("TEAMS", tile.teams as u32),
        ("GROUP", (tile.teams * LANES) as u32),
        ("TILE", (tile.teams * LANES * tile.rows * slots) as u32),
        ("ROWS", tile.rows as u32),
        ("EACH_ROW", tile.rows as u32),
        ("EACH_FOUR", tile.rows as u32 / 4),
        ("EACH_OF_FOUR", 4),
        ("HANDED", u32::from(tile.subgroup)),
        ("EACH_PART", if tile.subgroup { tile.rows.div_ceil(LANES) as u32 } else { 1 }),
        ("CAUSAL", u32::from(rule.causal)),
        ("MASK", rule.mask as u32),
        ("TAIL_E", u32::from(!z.e.is_multiple_of(4))),
        ("TAIL_V", u32::from(!z.v.is_multiple_of(4))),
        // keys and queries are taken by blocks
        ("TAIL_S", u32::from(!z.s.is_multiple_of(BLOCK))),
        ("ONE", u32::from(z.s <= BLOCK)),
        ("TAIL_L", u32::from(!z.l.is_multiple_of(BLOCK))),
    ];
    Template {
        name,
        source: if tile.subgroup { subgroups } else { source },
        types,
        consts,
        calls: vec![("power4", "op_exp", ty)],
        loads: Vec::new(),
        stores: Vec::new(),
        params,
        groups: 0,
        prologue: Prologue::Free,
        work: 0,
    }
}

/// The flat store of a result of rank `rank`, which is written by four where `whole`.
fn store(rank: usize, whole: bool) -> Store {
    Store { name: if whole { "store4" } else { "store" }, coords: vec![rank], lanes: whole }
}

macro_rules! kernel {
    ($name:literal, $file:literal) => {
        ($name, shader!($file), concat!(shader!($file), "\n", shader!("shared/team.wgsl")))
    };
}

/// The output, or with `stats` the output and behind it a vector for each row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Attention {
    rule: Rule,
    stats: bool,
}

impl Primitive for Attention {
    fn name(&self) -> &str {
        "attention"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let z = sizes(cx);
        let ty = compute(cx.output.dtype);
        let tile = Tile::new(cx.facts, ty, z.l, strips(z.v), 1);
        let mut t = template(kernel!("attention", "attention.wgsl"), &self.rule, (&z, &tile, ty), 1);
        let lead = cx.inputs[0].layout.rank() - 2;
        let coords = vec![lead, 1, 1];
        let load = |name, input| Load { name, input, coords: coords.clone(), lanes: Some(2), dtype: ty };
        t.loads = vec![load("load_q4", 0), load("load_k4", 1), load("load_v4", 2)];
        if self.rule.mask != Mask::No {
            t.loads.push(load("load_mask4", 3));
        }
        let whole = z.v.is_multiple_of(4);
        t.stores.push(store(cx.output.shape.len(), whole));
        t.params.push(("batches", (z.batches * z.shared) as u32));
        t.consts.extend([
            ("EACH_STRIP", strips(z.v) as u32),
            ("EACH_ROW_STRIP", (tile.rows * strips(z.v)) as u32),
            ("SPLIT", split(z.v) as u32),
            ("WHOLE", u32::from(whole)),
            ("STATS", u32::from(self.stats)),
        ]);
        t.groups = tile.groups(z.batches * z.shared, z.l);
        t.work = z.products() * (z.e + z.v) as u64;
        Ok(Lowering::Template(t))
    }

    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        work(inputs, output, 2)
    }
}

/// The gradient for queries, and behind it a vector for each row: what the other kernel needs to know.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ForQueries(Rule);

impl Primitive for ForQueries {
    fn name(&self) -> &str {
        "attention_backward_query"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let z = sizes(cx);
        let ty = compute(cx.output.dtype);
        let tile = Tile::new(cx.facts, ty, z.l, strips(z.e), 1);
        let mut t =
            template(kernel!("attention_backward_query", "attention_backward_query.wgsl"), &self.0, (&z, &tile, ty), 1);
        let lead = cx.inputs[0].layout.rank() - 2;
        let coords = vec![lead, 1, 1];
        let load = |name, input| Load { name, input, coords: coords.clone(), lanes: Some(2), dtype: ty };
        let names = ["load_q4", "load_k4", "load_v4", "load_g4", "load_o4", "load_stat4"];
        t.loads = names.into_iter().enumerate().map(|(i, name)| load(name, i)).collect();
        if self.0.mask != Mask::No {
            t.loads.push(load("load_mask4", names.len()));
        }
        let whole = z.e.is_multiple_of(4);
        t.stores.push(store(1, whole));
        t.params.push(("batches", (z.batches * z.shared) as u32));
        t.consts.extend([
            ("EACH_STRIP", strips(z.e) as u32),
            ("EACH_ROW_STRIP", (tile.rows * strips(z.e)) as u32),
            ("SPLIT", split(z.e) as u32),
            ("WHOLE", u32::from(whole)),
        ]);
        t.groups = tile.groups(z.batches * z.shared, z.l);
        t.work = z.products() * (2 * z.e + z.v) as u64;
        Ok(Lowering::Template(t))
    }

    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        work(inputs, output, 3)
    }
}

/// The gradients for keys and values, one behind the other.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ForKeys(Rule);

impl Primitive for ForKeys {
    fn name(&self) -> &str {
        "attention_backward_key"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let lead = cx.inputs[1].layout.rank() - 2;
        let z = Sizes::new(cx.inputs[0].layout.shape(), cx.inputs[1].layout.shape(), cx.inputs[2].layout.shape());
        let ty = compute(cx.output.dtype);
        let tile = Tile::new(cx.facts, ty, z.s, strips(z.e) + strips(z.v), 2);
        let mut t =
            template(kernel!("attention_backward_key", "attention_backward_key.wgsl"), &self.0, (&z, &tile, ty), 2);
        let (by_key, by_query) = (vec![lead, 1, 1], vec![lead, 1, 1, 1]);
        let load = |name, input, lanes| {
            let coords = if matches!(input, 1 | 2) { by_key.clone() } else { by_query.clone() };
            Load { name, input, coords, lanes: Some(lanes), dtype: ty }
        };
        t.loads = vec![load("load_q4", 0, 3), load("load_k4", 1, 2), load("load_v4", 2, 2)];
        t.loads.extend([load("load_g4", 3, 3), load("load_stat4", 4, 3)]);
        if self.0.mask != Mask::No {
            t.loads.push(load("load_mask4", 5, 2));
        }
        let whole = z.e.is_multiple_of(4) && z.v.is_multiple_of(4);
        t.stores.push(store(1, whole));
        t.params.extend([("batches", z.batches as u32), ("shared", z.shared as u32)]);
        t.consts.extend([
            ("EACH_STRIP_E", strips(z.e) as u32),
            ("EACH_STRIP_V", strips(z.v) as u32),
            ("EACH_ROW_STRIP_E", (tile.rows * strips(z.e)) as u32),
            ("EACH_ROW_STRIP_V", (tile.rows * strips(z.v)) as u32),
            ("SPLIT", split(z.e.max(z.v)) as u32),
            ("WHOLE", u32::from(whole)),
        ]);
        t.groups = tile.groups(z.batches, z.s);
        t.work = 2 * z.products() * (z.e + z.v) as u64;
        Ok(Lowering::Template(t))
    }

    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        work(inputs, output, 4)
    }
}

/// Sizes where keys and values were repeated over the heads that share them.
fn sizes(cx: &LowerCx<'_>) -> Sizes {
    let shape = |i: usize| cx.inputs[i].layout.shape();
    let (q, k, v) = (shape(0), shape(1), shape(2));
    let lead = q.len() - 2;
    Sizes { batches: numel(&q[..lead]), shared: 1, l: q[lead], s: k[lead], e: k[lead + 1], v: v[lead + 1] }
}

/// Operations of `products` products of queries and keys.
fn work(inputs: &[Input], output: &Spec, products: u64) -> u64 {
    let [q, k, ..] = inputs else { return output.numel() as u64 };
    let s = k.layout.shape().iter().rev().nth(1).copied().unwrap_or(1);
    2 * products * (q.layout.numel() as u64).saturating_mul(s as u64)
}

/// Queries `[.., shared, L, E]`, keys `[.., S, E]`, values `[.., S, Ev]` and a mask `[.., shared, L, S]`, all with the
/// same leading dimensions.
struct Operands {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    rule: Rule,
}

impl Operands {
    fn sizes(&self) -> Sizes {
        Sizes::new(&self.q.shape(), &self.k.shape(), &self.v.shape())
    }

    fn kind(&self) -> DType {
        self.q.dtype().compute()
    }

    fn scale(&self) -> f64 {
        f64::from_bits(self.rule.scale)
    }

    /// `softmax(scale Q K^T + mask)` by ordinary operations, with zeros for a query that sees no key.
    fn weights(&self) -> Result<Tensor> {
        let wide = |t: &Tensor| t.to_dtype(self.kind());
        let k = wide(&self.k)?.unsqueeze(-3)?;
        let mut scores = wide(&self.q)?.matmul(&k.transpose(-2, -1)?)?.mul(self.scale())?;
        if self.rule.causal {
            let (l, s) = (self.q.size(-2)?, self.k.size(-2)?);
            let seen = Tensor::ones([l, s], (DType::Bool, self.q.device()))?.tril(0)?;
            scores = seen.where_(&scores, f64::NEG_INFINITY)?;
        }
        let Some(mask) = &self.mask else { return scores.softmax(-1) };
        scores = match self.rule.mask {
            Mask::Seen => mask.where_(&scores, f64::NEG_INFINITY)?,
            _ => scores.add(mask)?.to_dtype(self.kind())?,
        };
        let blind = no_grad(|| scores.eq(f64::NEG_INFINITY)?.all_dims(&[-1], true))?;
        blind.where_(0.0, &blind.where_(0.0, &scores)?.softmax(-1)?)
    }

    /// The output by ordinary operations.
    fn composed(&self, dropout: f64) -> Result<Tensor> {
        let mut weights = self.weights()?;
        if dropout > 0.0 {
            weights = weights.dropout(dropout, true)?;
        }
        let v = self.v.to_dtype(self.kind())?.unsqueeze(-3)?;
        weights.matmul(&v)?.to_dtype(self.q.dtype())
    }

    /// The gradients by ordinary operations, which can be differentiated.
    fn composed_gradients(&self, g: &Tensor) -> Result<Grads> {
        let wide = |t: &Tensor| t.to_dtype(self.kind());
        let (q, k, v, g) = (wide(&self.q)?, wide(&self.k)?.unsqueeze(-3)?, wide(&self.v)?.unsqueeze(-3)?, wide(g)?);
        let p = self.weights()?;
        let d = g.matmul(&v.transpose(-2, -1)?)?;
        let d = d.sub(&d.mul(&p)?.sum_dims(&[-1], true)?)?.mul(&p)?.mul(self.scale())?;
        let shared = |t: Tensor| t.sum_dims(&[-3], false)?.to_dtype(self.q.dtype());
        let gk = shared(d.transpose(-2, -1)?.matmul(&q)?)?;
        let gv = shared(p.transpose(-2, -1)?.matmul(&g)?)?;
        Ok(Grads::from_iter([Some(d.matmul(&k)?.to_dtype(self.q.dtype())?), Some(gk), Some(gv)]))
    }

    /// What the kernels read first, keys and values repeated over the heads that share them.
    fn repeated(&self) -> Result<[Tensor; 3]> {
        let shared = self.sizes().shared;
        let repeat = |t: &Tensor| -> Result<Tensor> {
            let layout = t.layout();
            let lead = layout.rank() - 2;
            let layout = layout.unsqueezed(lead);
            let mut shape = Dims::from_slice(layout.shape());
            shape[lead] = shared;
            Ok(t.alias(layout.expand("attention", &shape)?))
        };
        Ok([self.q.detach(), repeat(&self.k)?, repeat(&self.v)?])
    }

    fn inputs<'a>(&'a self, first: &[&'a Tensor]) -> Vec<&'a Tensor> {
        first.iter().copied().chain(&self.mask).collect()
    }

    /// The output, and, where gradients are wanted, the value that holds it and what they need to know of its rows.
    fn forward(&self, stats: bool) -> Result<(Tensor, Option<Tensor>)> {
        let z = self.sizes();
        let [q, k, v] = self.repeated()?;
        let prim = Arc::new(Attention { rule: self.rule, stats });
        let mut shape = self.q.shape();
        if let Some(last) = shape.last_mut() {
            *last = z.v;
        }
        let whole = if stats { Dims::from_elem(z.rows() * (z.v + STATS), 1) } else { shape.clone() };
        let inputs = self.inputs(&[&q, &k, &v]);
        let out = Tensor::apply(prim, q.device(), (&whole, self.kind()), &inputs, &[])?;
        let cast = out.to_dtype(self.q.dtype())?;
        if !stats {
            return Ok((cast, None));
        }
        Ok((cast.alias(Layout::contiguous(&shape)), Some(out)))
    }

    /// The gradients, from what [`Operands::forward`] kept.
    fn gradients(&self, kept: &Tensor, g: &Tensor, wanted: [bool; 3]) -> Result<Grads> {
        let z = self.sizes();
        let [q, k, v] = self.repeated()?;
        let device = q.device();
        let dtype = self.q.dtype();
        let rows = &self.q.shape()[..self.q.dim() - 1];
        let behind = |columns: usize| with_last(rows, STATS, z.rows() * columns);
        let (o, stat) = (kept.alias(with_last(rows, z.v, 0)?), kept.alias(behind(z.v)?));
        let inputs = self.inputs(&[&q, &k, &v, g, &o, &stat]);
        let size = [z.rows() * (z.e + STATS)];
        let for_q = Tensor::apply(Arc::new(ForQueries(self.rule)), device, (&size, self.kind()), &inputs, &[])?;
        let gq = if wanted[0] { Some(for_q.to_dtype(dtype)?.alias(with_last(rows, z.e, 0)?)) } else { None };
        if !wanted[1] && !wanted[2] {
            return Ok(Grads::from_iter([gq, None, None]));
        }
        let stat = for_q.alias(behind(z.e)?);
        let (k, v) = (self.k.detach(), self.v.detach());
        let inputs = self.inputs(&[&q, &k, &v, g, &stat]);
        let keys = z.batches * z.s;
        let size = [keys * (z.e + z.v)];
        let for_k = Tensor::apply(Arc::new(ForKeys(self.rule)), device, (&size, self.kind()), &inputs, &[])?;
        let for_k = for_k.to_dtype(dtype)?;
        let rows = &self.k.shape()[..self.k.dim() - 1];
        let gk = for_k.alias(with_last(rows, z.e, 0)?);
        let gv = for_k.alias(with_last(rows, z.v, keys * z.e)?);
        Ok(Grads::from_iter([gq, Some(gk), Some(gv)]))
    }
}

/// Rows of `columns` elements, one behind the other from `offset` on.
fn with_last(rows: &[usize], columns: usize, offset: usize) -> Result<Layout> {
    let shape: Dims = rows.iter().copied().chain([columns]).collect();
    Layout::strided("attention", &shape, &contiguous_strides(&shape), offset as isize)
}

/// `softmax(scale query key^T + mask) value` for `query` `[.., L, E]`, `key` `[.., S, E]`, `value` `[.., S, Ev]`, all
/// of one float dtype.
pub(crate) fn attention(op: &str, query: &Tensor, key: &Tensor, value: &Tensor, how: &Weighing<'_>) -> Result<Tensor> {
    let (sq, sk, sv) = (query.shape(), key.shape(), value.shape());
    let (&[ref lead_q @ .., l, e], &[ref lead_k @ .., s, e2], &[ref lead_v @ .., s2, v]) = (&sq[..], &sk[..], &sv[..])
    else {
        bail!(Dim, op, "expected at least 2 dimensions, got {}, {} and {}", sq.len(), sk.len(), sv.len());
    };
    if e != e2 || s != s2 {
        bail!(Shape, op, "query {sq:?}, key {sk:?} and value {sv:?} do not fit each other");
    }
    let (mut key, mut value) = (key.clone(), value.clone());
    let mut shared = None;
    let lead = match (lead_q, lead_k, lead_v) {
        (&[ref q @ .., heads], &[ref k @ .., own_k], &[ref v @ .., own_v]) if how.shared_heads => {
            for own in [own_k, own_v] {
                if own == 0 || !heads.is_multiple_of(own) {
                    bail!(Shape, op, "{heads} heads of queries are no multiple of {own}");
                }
            }
            let mut own = own_k;
            if own_k != own_v {
                key = key.repeat_interleave(heads / own_k, Some(-3))?;
                value = value.repeat_interleave(heads / own_v, Some(-3))?;
                own = heads;
            }
            shared = Some(heads / own);
            let mut lead = broadcast(op, &broadcast(op, q, k)?, v)?;
            lead.push(own);
            lead
        }
        _ => broadcast(op, &broadcast(op, lead_q, lead_k)?, lead_v)?,
    };
    // each head of keys stands before the heads of queries that share it
    let shared = shared.unwrap_or(1);
    let with = |lead: &[usize], tail: &[usize]| lead.iter().chain(tail).copied().collect::<Dims>();
    let mut heads = lead.clone();
    if let (true, Some(last)) = (how.shared_heads, heads.last_mut()) {
        *last *= shared;
    }
    let spread = |t: &Tensor, rows: usize, columns: usize| {
        t.expand(with(&heads, &[rows, columns]))?.reshape(with(&lead, &[shared, rows, columns]))
    };
    let of_keys = |t: &Tensor, columns: usize| t.expand(with(&lead, &[s, columns]));
    let mask = match how.mask {
        None => Mask::No,
        Some(m) if m.dtype() == DType::Bool => Mask::Seen,
        Some(_) => Mask::Added,
    };
    // products of nothing are 0, whatever the scale
    let scale = how.scale.unwrap_or(1.0 / (e.max(1) as f64).sqrt());
    let operands = Operands {
        q: spread(query, l, e)?,
        k: of_keys(&key, e)?,
        v: of_keys(&value, v)?,
        mask: how.mask.map(|m| spread(m, l, s)).transpose()?,
        rule: Rule { causal: how.causal, mask, scale: scale.to_bits() },
    };
    attend(operands, how.dropout)?.reshape(with(&heads, &[l, v]))
}

fn attend(operands: Operands, dropout: f64) -> Result<Tensor> {
    let z = operands.sizes();
    let trained = is_grad_enabled();
    let learned = operands.mask.as_ref().is_some_and(|m| trained && m.requires_grad());
    let empty = [z.batches, z.shared, z.l, z.s, z.e, z.v].contains(&0);
    let facts = operands.q.device().facts();
    if learned || dropout > 0.0 || empty || !pays(facts, &z, operands.q.dtype()) || !fits(facts, &z, operands.q.dtype())
    {
        return operands.composed(dropout);
    }
    let inputs = [&operands.q, &operands.k, &operands.v];
    let wanted = inputs.map(|t| t.requires_grad());
    let stats = trained && wanted.contains(&true);
    let (out, kept) = operands.forward(stats)?;
    let Some(kept) = kept else { return Ok(out) };
    Ok(out.with_grad("scaled_dot_product_attention", &inputs, |r| {
        let saved = inputs.map(|t| r.save(t));
        let (kept, mask, rule) = (r.save(&kept), operands.mask.as_ref().map(|m| r.save(m)), operands.rule);
        move |g: &Tensor| {
            let [q, k, v] = [saved[0].get()?, saved[1].get()?, saved[2].get()?];
            let mask = mask.as_ref().map(|m| m.get()).transpose()?;
            let operands = Operands { q, k, v, mask, rule };
            if is_grad_enabled() {
                return operands.composed_gradients(g);
            }
            operands.gradients(&kept.get()?, g, wanted)
        }
    }))
}

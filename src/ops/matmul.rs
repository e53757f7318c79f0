//! Matrix products.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Input, Load, LowerCx, Lowering, Primitive, Prologue, Spec, Store, Template};
use crate::shape::{Dims, broadcast, numel};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

const GROUP: u32 = 64;
/// Products with fewer rows than this, or fewer columns, do not fill a subgroup's tile.
const LANES_ROWS: usize = 5;
const LANES_COLUMNS: usize = 8;

/// `[.., m, k] x [.., k, n]` with equal leading dimensions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Matmul;

impl Primitive for Matmul {
    fn name(&self) -> &str {
        "matmul"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let (a, b) = (&cx.inputs[0].layout, &cx.inputs[1].layout);
        let rank = a.rank();
        let lead = rank - 2;
        let (m, k, n) = (a.shape()[lead], a.shape()[lead + 1], b.shape()[lead + 1]);
        let batches = numel(&a.shape()[..lead]);
        let a_along_k = a.strides()[lead + 1].abs() == 1 || a.strides()[lead].abs() != 1;
        let b_along_n = b.strides()[lead + 1].abs() == 1 || b.strides()[lead].abs() != 1;
        let whole = n.is_multiple_of(4);
        let ty = compute(cx.output.dtype);
        let coords = vec![lead, 1, 1];
        let load = |name, input, lanes| Load { name, input, coords: coords.clone(), lanes, dtype: cx.output.dtype };
        let store = if whole { "store4" } else { "store" };
        let mut template = Template {
            name: "matmul",
            source: shader!("matmul.wgsl"),
            types: vec![("T", scalar(ty).to_string())],
            consts: vec![
                ("A_ALONG_K", u32::from(a_along_k)),
                ("B_ALONG_N", u32::from(b_along_n)),
                ("WHOLE", u32::from(whole)),
            ],
            calls: Vec::new(),
            loads: vec![
                load("load_a4", 0, Some(if a_along_k { 2 } else { 1 })),
                load("load_b4", 1, Some(if b_along_n { 2 } else { 1 })),
            ],
            stores: vec![Store { name: store, coords: coords.clone(), lanes: whole }],
            params: vec![("batches", batches as u32), ("m", m as u32), ("n", n as u32), ("k", k as u32)],
            groups: 0,
            prologue: Prologue::Free,
            work: 2 * (batches * m * n * k) as u64,
        };
        match lanes(cx.facts) {
            Some(lanes) if ty == DType::F32 && m >= LANES_ROWS && n >= LANES_COLUMNS => {
                let rows = m.next_power_of_two().clamp(8, 32);
                template.name = "matmul_lanes";
                template.source = shader!("matmul_lanes.wgsl");
                let tail = u32::from(!k.is_multiple_of(4));
                template.consts.extend([("LANES", lanes), ("ROWS", rows as u32), ("TAIL", tail)]);
                let tiles = m.div_ceil(rows) * n.div_ceil(lanes as usize * 4);
                template.groups = (batches * tiles) as u32;
            }
            _ => {
                template.consts.push(("GROUP", GROUP));
                template.loads.extend([load("load_a", 0, None), load("load_b", 1, None)]);
                template.groups = (batches * m.div_ceil(4) * n.div_ceil(4)).div_ceil(GROUP as usize) as u32;
            }
        }
        Ok(Lowering::Template(template))
    }

    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        let k = inputs.first().and_then(|a| a.layout.shape().last()).copied().unwrap_or(0);
        2 * (output.numel() as u64).saturating_mul(k as u64)
    }
}

/// The lanes of a subgroup, where the adapter is one that gains by sharing loads among them.
fn lanes(facts: &Facts) -> Option<u32> {
    let cpu = facts.is_cpu && facts.subgroups;
    facts.subgroup_size.filter(|size| cpu && (*size == 4 || *size == 8))
}

/// The product of matrices with equal leading dimensions, without history.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (sa, sb) = (a.shape(), b.shape());
    let rank = sa.len();
    let mut shape = Dims::from_slice(&sa[..rank - 1]);
    shape.push(sb[rank - 1]);
    let k = sa[rank - 1];
    let dtype = a.dtype();
    if numel(&shape) == 0 || k == 0 {
        return Tensor::zeros(&shape[..], (dtype, a.device()));
    }
    // each iteration takes four steps along k
    let cap = a.device().facts().max_loop_iterations.map_or(usize::MAX, |c| c as usize * 2);
    let part = |from: usize, length: usize| {
        let a = a.alias(a.layout().sliced(rank - 1, from, length, 1));
        let b = b.alias(b.layout().sliced(rank - 2, from, length, 1));
        Tensor::apply(Arc::new(Matmul), a.device(), (&shape, dtype.compute()), &[&a, &b], &[])
    };
    let mut sum = part(0, k.min(cap))?;
    let mut from = cap;
    while from < k {
        sum = sum.add(&part(from, cap.min(k - from))?)?;
        from += cap;
    }
    sum.to_dtype(dtype)
}

impl Tensor {
    /// The matrix product, with PyTorch's rules: vectors count as a row on the left and a column on the right,
    /// leading dimensions broadcast.
    ///
    /// ```
    /// let a = calor::Tensor::ones([2, 3], ())?;
    /// assert_eq!(a.matmul(&calor::Tensor::ones([3], ())?)?.to_vec::<f32>()?, [3.0, 3.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        let (a, b) = (self, other);
        if a.dim() == 0 || b.dim() == 0 {
            bail!(Shape, "matmul", "both arguments need at least one dimension, got {:?} x {:?}", a.shape(), b.shape());
        }
        if a.dtype() != b.dtype() {
            bail!(DType, "matmul", "expected both to have the same dtype, got {} and {}", a.dtype(), b.dtype());
        }
        if a.dtype() == DType::Bool {
            bail!(DType, "matmul", "is not supported for bool tensors");
        }
        let (row, column) = (a.dim() == 1, b.dim() == 1);
        let x = if row { a.unsqueeze(0)? } else { a.clone() };
        let y = if column { b.unsqueeze(1)? } else { b.clone() };
        let (sx, sy) = (x.shape(), y.shape());
        let (rx, ry) = (sx.len(), sy.len());
        if sx[rx - 1] != sy[ry - 2] {
            bail!(Shape, "matmul", "inner sizes differ, {:?} x {:?}", &a.shape()[..], &b.shape()[..]);
        }
        let lead = broadcast("matmul", &sx[..rx - 2], &sy[..ry - 2])?;
        let with = |tail: &[usize]| lead.iter().chain(tail).copied().collect::<Dims>();
        let out = if ry == 2 && rx > 2 {
            // one large product instead of a batch of small ones
            let rows = x.reshape([numel(&sx[..rx - 1]), sx[rx - 1]])?;
            bmm(&rows, &y)?.reshape(with(&[sx[rx - 2], sy[ry - 1]]))?
        } else {
            let x = x.expand(with(&sx[rx - 2..]))?;
            let y = y.expand(with(&sy[ry - 2..]))?;
            bmm(&x, &y)?
        };
        let out = if row { out.squeeze_dim(-2)? } else { out };
        if column { out.squeeze_dim(-1) } else { Ok(out) }
    }
}

/// Whether a matrix lies column by column, as a transposed weight does.
fn by_columns(t: &Tensor) -> bool {
    let (layout, rank) = (t.layout(), t.dim());
    layout.strides()[rank - 2] == 1 && layout.strides()[rank - 1] != 1
}

/// The product, computed so that its elements lie column by column where that is wanted: the gradient of a transposed
/// weight then lies as the weight does.
fn like(columns: bool, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if columns { bmm(&b.transpose(-2, -1)?, &a.transpose(-2, -1)?)?.transpose(-2, -1) } else { bmm(a, b) }
}

/// The differentiable core: equal leading dimensions.
fn bmm(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let out = product(x, y)?;
    Ok(out.with_grad("matmul", &[x, y], |r| {
        let keep_x = x.requires_grad().then(|| r.save(y));
        let keep_y = y.requires_grad().then(|| r.save(x));
        let columns = (by_columns(x), by_columns(y));
        move |g: &Tensor| {
            let gx = keep_x.as_ref().map(|y| like(columns.0, g, &y.get()?.transpose(-2, -1)?)).transpose()?;
            let gy = keep_y.as_ref().map(|x| like(columns.1, &x.get()?.transpose(-2, -1)?, g)).transpose()?;
            Ok(Grads::from_iter([gx, gy]))
        }
    }))
}

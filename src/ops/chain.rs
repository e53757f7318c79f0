//! Products of chains of matrices. Short ones keep what cancels: each number on the way is a pair of f32, the second what the
//! first leaves over (Dekker 1971; Ogita, Rump and Oishi 2005).

use super::build::Build;
use super::contract::{alike, ranks};
use super::join::stack;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::library::shader;
use crate::graph::{GROUP, Load, LowerCx, Lowering, Primitive, Prologue, Store, Template};
use crate::no_grad;
use crate::tensor::Tensor;
use crate::tensor::autocast::{autocast_off, lowered};
use crate::tensor::grad::{Grads, Recorder, Saved};
use std::sync::Arc;

/// The product of some matrices in the order that costs least; the first and the last may be vectors:
/// `torch.linalg.multi_dot` (Cormen et al., 15.2).
///
/// ```
/// use calor::Tensor;
/// let (a, b, v) = (Tensor::ones([2, 30], ())?, Tensor::ones([30, 4], ())?, Tensor::ones([4], ())?);
/// assert_eq!(calor::multi_dot(&[&a, &b, &v])?.to_vec::<f32>()?, [120.0, 120.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn multi_dot(tensors: &[&Tensor]) -> Result<Tensor> {
    const OP: &str = "multi_dot";
    let (Some(first), Some(last)) = (tensors.first(), tensors.last()) else {
        bail!(Value, OP, "expects at least one tensor");
    };
    if tensors.len() < 2 {
        bail!(Value, OP, "expects at least 2 tensors but got {}", tensors.len());
    }
    let mut all: Vec<Tensor> = tensors.iter().map(|t| lowered(t)).collect::<Result<_>>()?;
    let _off = autocast_off();
    alike(OP, &all.iter().collect::<Vec<_>>())?;
    let (row, column) = (first.dim() == 1, last.dim() == 1);
    if row {
        all[0] = all[0].unsqueeze(0)?;
    }
    let end = all.len() - 1;
    if column {
        all[end] = all[end].unsqueeze(1)?;
    }
    let mut out = product(OP, &all)?;
    if column {
        out = out.squeeze_dim(-1)?;
    }
    if row { out.squeeze_dim(0) } else { Ok(out) }
}

/// [`multi_dot`] of matrices: `torch.chain_matmul`.
///
/// ```
/// let (a, b) = (calor::Tensor::ones([2, 3], ())?, calor::Tensor::ones([3, 4], ())?);
/// assert_eq!(calor::chain_matmul(&[&a, &b, &b.t()?])?.to_vec::<f32>()?, [12.0; 6]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn chain_matmul(tensors: &[&Tensor]) -> Result<Tensor> {
    if let [one] = tensors {
        ranks("chain_matmul", &[(one, 2)])?;
        return Ok((*one).clone());
    }
    for t in tensors {
        ranks("chain_matmul", &[(t, 2)])?;
    }
    multi_dot(tensors)
}

/// So many multiplications of a chain are done with pairs.
const FEW_PRODUCTS: u128 = 4096;

/// The product of a chain of matrices, split where it costs least.
fn product(op: &str, all: &[Tensor]) -> Result<Tensor> {
    for t in all {
        ranks(op, &[(t, 2)])?;
    }
    for pair in all.windows(2) {
        if pair[0].shape()[1] != pair[1].shape()[0] {
            bail!(Shape, op, "{:?} and {:?} cannot be multiplied", pair[0].shape(), pair[1].shape());
        }
    }
    let n = all.len();
    let mut sizes: Vec<u128> = all.iter().map(|t| t.shape()[0] as u128).collect();
    sizes.push(all[n - 1].shape()[1] as u128);
    let mut cost = vec![vec![0u128; n]; n];
    let mut split = vec![vec![0usize; n]; n];
    for length in 1..n {
        for i in 0..n - length {
            let j = i + length;
            let price = |k: usize| cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1];
            let best = (i..j).min_by_key(|&k| price(k)).unwrap_or(i);
            (cost[i][j], split[i][j]) = (price(best), best);
        }
    }
    let whole = (0, n - 1);
    if all[0].dtype() == DType::F32 && cost[0][n - 1] <= FEW_PRODUCTS && !sizes.contains(&0) {
        let factors = all.iter().map(|t| Ok(Factor { pairs: widened(t)?, of: Some(t.clone()) }));
        let factors = factors.collect::<Result<Vec<_>>>()?;
        return narrowed(&range(&factors, &split, whole, &multiplied)?.pairs);
    }
    range(all, &split, whole, &|a, b| a.matmul(b))
}

/// A factor of a product of pairs.
#[derive(Clone)]
struct Factor {
    pairs: Tensor,
    /// what the pairs were made of: it may not be written to before the gradients are taken
    of: Option<Tensor>,
}

impl Factor {
    /// Keeps it for gradients.
    fn save(&self, r: &Recorder) -> impl Fn() -> Result<Factor> + Send + Sync + use<> {
        let (pairs, of) = (r.save(&self.pairs), self.of.as_ref().map(|of| r.save(of)));
        move || Ok(Factor { pairs: pairs.get()?, of: of.as_ref().map(Saved::get).transpose()? })
    }

    fn t(self) -> Result<Factor> {
        Ok(Factor { pairs: self.pairs.transpose(1, 2)?, of: self.of })
    }
}

/// The product of the matrices from the first to the last, both within.
fn range<T: Clone>(
    all: &[T],
    split: &[Vec<usize>],
    (first, last): (usize, usize),
    times: &dyn Fn(&T, &T) -> Result<T>,
) -> Result<T> {
    if first == last {
        return Ok(all[first].clone());
    }
    let k = split[first][last];
    times(&range(all, split, (first, k), times)?, &range(all, split, (k + 1, last), times)?)
}

/// Numbers as pairs, `[2, ..]`. This and [`narrowed`] are each other's gradients, as conversions of types are.
fn widened(x: &Tensor) -> Result<Tensor> {
    let pairs = no_grad(|| stack(&[x, &Tensor::zeros(x.shape(), (x.dtype(), x.device()))?], 0))?;
    Ok(pairs.with_grad("widened", &[x], |r| {
        r.sums_by(summed);
        |g: &Tensor| Ok(Grads::from_iter([Some(narrowed(g)?)]))
    }))
}

/// The sums of pairs.
fn narrowed(pairs: &Tensor) -> Result<Tensor> {
    let x = no_grad(|| pairs.select(0, 0)?.add(&pairs.select(0, 1)?))?;
    Ok(x.with_grad("narrowed", &[pairs], |_| |g: &Tensor| Ok(Grads::from_iter([Some(widened(g)?)]))))
}

/// The sum of matrices of pairs (Knuth, TAOCP 2, 4.2.2).
fn summed(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut build = Build::default();
    let [half, row, column] = [0, 1, 2].map(|d| build.body.coord(d));
    let [first, second] = [0, 1].map(|half| build.number(half));
    let [x, x_rest] = [first, second].map(|half| build.body.load(0, &[half, row, column]));
    let [y, y_rest] = [first, second].map(|half| build.body.load(1, &[half, row, column]));
    // compilers may take `(a + b) - a` for `b`: they must not see that a number is a sum
    let rounded = |build: &mut Build, op: &'static str, a: u16, b: u16| {
        let x = build.body.call(op, &[a, b]);
        build.body.call("opaque", &[x])
    };
    let (add, sub) = ("op_add", "op_sub");
    let sum = rounded(&mut build, add, x, y);
    let of_y = rounded(&mut build, sub, sum, x);
    let of_x = rounded(&mut build, sub, sum, of_y);
    let (x_lost, y_lost) = (build.body.call(sub, &[x, of_x]), build.body.call(sub, &[y, of_y]));
    let lost = build.body.call(add, &[x_lost, y_lost]);
    let rests = build.body.call(add, &[x_rest, y_rest]);
    let rest = build.body.call(add, &[lost, rests]);
    let all = rounded(&mut build, add, sum, rest);
    let over = rounded(&mut build, sub, all, sum);
    let over = build.body.call(sub, &[rest, over]);
    // infinities leave nothing over
    let finite = build.body.call("op_isfinite", &[all]);
    let zero = build.value(0.0, DType::F32);
    let all = build.body.select(finite, all, sum);
    let over = build.body.select(finite, over, zero);
    let first = build.less(half, 1);
    build.body.select(first, all, over);
    let pairs = build.apply("summed", &a.shape(), a.dtype(), &[a, b])?;
    Ok(pairs.with_grad("summed", &[a, b], |r| {
        r.sums_by(summed);
        |g: &Tensor| Ok(Grads::from_iter([Some(g.clone()), Some(g.clone())]))
    }))
}

/// The product of matrices of pairs.
fn multiplied(a: &Factor, b: &Factor) -> Result<Factor> {
    let (x, y) = (&a.pairs, &b.pairs);
    let (m, n) = (x.size(1)?, y.size(2)?);
    let out = Tensor::apply(Arc::new(Pairs), x.device(), (&[2, m, n], x.dtype()), &[x, y], &[])?;
    let pairs = out.with_grad("matmul_pairs", &[x, y], |r| {
        r.sums_by(summed);
        let keep_a = y.requires_grad().then(|| a.save(r));
        let keep_b = x.requires_grad().then(|| b.save(r));
        move |g: &Tensor| {
            let g = Factor { pairs: g.clone(), of: None };
            let gx = keep_b.as_ref().map(|b| multiplied(&g, &b()?.t()?)).transpose()?;
            let gy = keep_a.as_ref().map(|a| multiplied(&a()?.t()?, &g)).transpose()?;
            Ok(Grads::from_iter([gx, gy].map(|g| g.map(|g| g.pairs))))
        }
    });
    Ok(Factor { pairs, of: None })
}

/// `[2, m, k] x [2, k, n]` of pairs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pairs;

impl Primitive for Pairs {
    fn name(&self) -> &str {
        "matmul_pairs"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let (a, b) = (cx.inputs[0].layout.shape(), cx.inputs[1].layout.shape());
        let (m, k, n) = (a[1], a[2], b[2]);
        let load = |name, input| Load { name, input, coords: vec![1, 1, 1], lanes: None, dtype: DType::F32 };
        Ok(Lowering::Template(Template {
            name: "matmul_pairs",
            source: shader!("matmul_pairs.wgsl"),
            types: Vec::new(),
            consts: vec![("GROUP", GROUP)],
            calls: vec![("rounded", "opaque", DType::F32), ("is_finite", "op_isfinite", DType::F32)],
            loads: vec![load("load_a", 0), load("load_b", 1)],
            stores: vec![Store { name: "store", coords: vec![1, 1, 1], lanes: false }],
            params: vec![("m", m as u32), ("n", n as u32), ("k", k as u32)],
            groups: (m * n).div_ceil(GROUP as usize) as u32,
            prologue: Prologue::Free,
            work: 64 * (m * n * k) as u64,
        }))
    }
}

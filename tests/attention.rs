//! Attention: the kernels against sums in double precision, over shapes, masks, dtypes and views, and what they cost.

use calor::autograd::{self, Backward};
use calor::gpu::AdapterChoice;
use calor::nn::functional::{AttentionOptions, scaled_dot_product_attention as attention};
use calor::{DType, Device, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers from -1 to 1, the same each time.
fn numbers(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 / 1001.5 - 1.0).collect()
}

/// Which keys a query may see, beside `causal`.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mask {
    No,
    /// Truth values; the third query sees nothing.
    Seen,
    /// Numbers, some of them minus infinity.
    Added,
    /// Numbers for each key only.
    Row,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    key_heads: usize,
    l: usize,
    s: usize,
    e: usize,
    v: usize,
    mask: Mask,
    causal: bool,
    scale: Option<f64>,
    dtype: DType,
}

const PLAIN: Case = Case {
    batch: 2,
    heads: 2,
    key_heads: 2,
    l: 16,
    s: 16,
    e: 8,
    v: 8,
    mask: Mask::No,
    causal: false,
    scale: None,
    dtype: DType::F32,
};

/// Values and gradients in double precision, one product at a time.
struct Truth {
    out: Vec<f64>,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

fn truth(c: &Case, q: &[f64], k: &[f64], v: &[f64], mask: &dyn Fn(usize, usize) -> f64, g: &[f64]) -> Truth {
    let scale = c.scale.unwrap_or(1.0 / (c.e as f64).sqrt());
    let mut t = Truth {
        out: vec![0.0; c.batch * c.heads * c.l * c.v],
        q: vec![0.0; q.len()],
        k: vec![0.0; k.len()],
        v: vec![0.0; v.len()],
    };
    for b in 0..c.batch * c.heads {
        let kb = b / c.heads * c.key_heads + b % c.heads * c.key_heads / c.heads;
        for i in 0..c.l {
            let (qi, oi) = ((b * c.l + i) * c.e, (b * c.l + i) * c.v);
            let at = |j: usize| ((kb * c.s + j) * c.e, (kb * c.s + j) * c.v);
            let score = |j: usize| {
                let hidden = c.causal && j > i;
                let dot: f64 = (0..c.e).map(|x| q[qi + x] * k[at(j).0 + x]).sum();
                if hidden { f64::NEG_INFINITY } else { dot * scale + mask(i, j) }
            };
            let scores: Vec<f64> = (0..c.s).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if most == f64::NEG_INFINITY {
                continue;
            }
            let sum: f64 = scores.iter().map(|x| (x - most).exp()).sum();
            let p: Vec<f64> = scores.iter().map(|x| (x - most).exp() / sum).collect();
            let d: Vec<f64> = (0..c.s).map(|j| (0..c.v).map(|x| g[oi + x] * v[at(j).1 + x]).sum()).collect();
            let delta: f64 = p.iter().zip(&d).map(|(p, d)| p * d).sum();
            for j in 0..c.s {
                let (kj, vj) = at(j);
                let ds = p[j] * (d[j] - delta) * scale;
                for x in 0..c.v {
                    t.out[oi + x] += p[j] * v[vj + x];
                    t.v[vj + x] += p[j] * g[oi + x];
                }
                for x in 0..c.e {
                    t.q[qi + x] += ds * k[kj + x];
                    t.k[kj + x] += ds * q[qi + x];
                }
            }
        }
    }
    t
}

fn close(what: &str, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = got.to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*x) - y).abs() <= tolerance * most, "{what}[{i}]: {x}, not {y}");
    }
    Ok(())
}

/// One case on a device: values without gradients, values with them, and all three gradients.
fn check(c: Case, device: &Device) -> Result<()> {
    let shape = |heads: usize, rows: usize, columns: usize| [c.batch, heads, rows, columns];
    let made = |seed: usize, shape: [usize; 4]| -> Result<(Tensor, Vec<f64>)> {
        let values = numbers(shape.iter().product(), seed);
        let narrow: Vec<f32> = values.iter().map(|x| *x as f32).collect();
        let t = Tensor::from_slice(&narrow, shape, device)?.to_dtype(c.dtype)?;
        let back = t.to_dtype(DType::F32)?.to_vec::<f32>()?;
        Ok((t, back.into_iter().map(f64::from).collect()))
    };
    let (q, hq) = made(1, shape(c.heads, c.l, c.e))?;
    let (k, hk) = made(2, shape(c.key_heads, c.s, c.e))?;
    let (v, hv) = made(3, shape(c.key_heads, c.s, c.v))?;
    let (g, hg) = made(4, shape(c.heads, c.l, c.v))?;
    let width = if c.mask == Mask::Row { 1 } else { c.l };
    let added: Vec<f32> = numbers(width * c.s, 5).iter().map(|x| *x as f32).collect();
    let seen = |i: usize, j: usize| i != 2 && (i * 5 + j * 3) % 7 < 5;
    let number = |i: usize, j: usize| match c.mask {
        Mask::No => 0.0,
        Mask::Seen => {
            if seen(i, j) {
                0.0
            } else {
                f64::NEG_INFINITY
            }
        }
        Mask::Added if !seen(i, j) => f64::NEG_INFINITY,
        Mask::Added => f64::from(added[i * c.s + j]),
        Mask::Row => f64::from(added[j]),
    };
    let all: Vec<f32> =
        (0..width).flat_map(|i| (0..c.s).map(move |j| (i, j))).map(|(i, j)| number(i, j) as f32).collect();
    let mask = Tensor::from_slice(&all, [width, c.s], device)?;
    let mask = match c.mask {
        Mask::No => None,
        Mask::Seen => Some(mask.eq(0.0)?),
        _ => Some(mask),
    };
    let options = AttentionOptions {
        attn_mask: mask,
        is_causal: c.causal,
        scale: c.scale,
        enable_gqa: c.heads != c.key_heads,
        ..AttentionOptions::default()
    };
    let want = truth(&c, &hq, &hk, &hv, &number, &hg);
    // rounding of the result, and of what sums of up to some hundred products lose
    let tolerance = match c.dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 3e-6,
    };
    // scores are rounded at their own size
    let tolerance = tolerance * c.scale.unwrap_or(1.0).abs().max(1.0);
    let alone = attention(&q, &k, &v, &options)?;
    assert_eq!(alone.dtype(), c.dtype);
    close("output alone", &alone, &want.out, tolerance)?;
    let leaves = [&q, &k, &v];
    for t in leaves {
        t.requires_grad_(true)?;
    }
    let out = attention(&q, &k, &v, &options)?;
    close("output", &out, &want.out, tolerance)?;
    let gradients = Backward::new().retain_graph(true).grad(&[&out], &leaves, &[Some(&g)])?;
    for ((name, got), want) in ["q", "k", "v"].iter().zip(&gradients).zip([&want.q, &want.k, &want.v]) {
        close(name, got.as_ref().expect("a gradient"), want, tolerance)?;
    }
    // by ordinary operations, as a gradient that is differentiated again needs it
    let gradients = Backward::new().create_graph(true).grad(&[&out], &leaves, &[Some(&g)])?;
    for ((name, got), want) in ["q", "k", "v"].iter().zip(&gradients).zip([&want.q, &want.k, &want.v]) {
        let got = got.as_ref().expect("a gradient");
        assert!(got.requires_grad() || *name == "v" && c.s == 1);
        close(&format!("{name} composed"), got, want, 2.0 * tolerance)?;
    }
    Ok(())
}

/// One step or two away from a plain case each. Few rows where rows do not matter: such kernels compile faster.
fn cases() -> Vec<Case> {
    let few = Case { batch: 1, l: 4, s: 8, ..PLAIN };
    let mut all = vec![PLAIN];
    for (l, s) in [(1, 1), (5, 3), (33, 130)] {
        all.push(Case { l, s, ..PLAIN });
    }
    for (l, s) in [(1, 40), (31, 33), (70, 16)] {
        all.push(Case { l, s, causal: true, ..PLAIN });
    }
    for (e, v) in [(1, 1), (3, 5), (8, 12), (20, 64), (33, 7), (64, 40), (128, 128), (300, 8)] {
        all.push(Case { e, v, ..few });
    }
    for mask in [Mask::Seen, Mask::Added, Mask::Row] {
        all.push(Case { mask, ..few });
        all.push(Case { mask, l: 7, s: 39, e: 6, v: 10, ..few });
    }
    all.push(Case { heads: 4, l: 20, s: 36, ..PLAIN });
    all.push(Case { heads: 6, key_heads: 1, l: 5, s: 9, causal: true, ..PLAIN });
    all.push(Case { heads: 4, l: 4, mask: Mask::Seen, ..PLAIN });
    for dtype in [DType::F16, DType::BF16] {
        all.push(Case { dtype, e: 32, v: 24, mask: Mask::Added, ..few });
        all.push(Case { dtype, e: 5, v: 7, causal: true, ..few });
    }
    // scores beyond what an exponential holds
    all.push(Case { scale: Some(-300.0), ..few });
    all
}

#[test]
fn kernels_give_what_sums_in_double_precision_give() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    for c in cases() {
        check(c, &device).map_err(|e| e.context(format!("{c:?}")))?;
    }
    Ok(())
}

/// The kernels of GPUs, which share by workgroup memory, with no more than WebGPU guarantees; double precision where
/// there is any.
#[test]
fn teams_that_share_by_workgroup_memory_give_the_same() -> Result<()> {
    let _turn = turn();
    let mut choice = AdapterChoice::from_env()?;
    choice.disable = ["cpu-kernels", "shader-f16", "subgroups", "timestamps"].map(str::to_owned).to_vec();
    let limits = [("bindings", 8), ("invocations", 64), ("workgroup_bytes", 16 << 10)];
    choice.limits = limits.map(|(n, v)| (n.to_owned(), v)).to_vec();
    let device = Device::open(&choice)?;
    let mixed = Case { heads: 4, key_heads: 2, l: 35, s: 39, e: 6, v: 10, mask: Mask::Added, ..PLAIN };
    let mut all = vec![
        PLAIN,
        Case { l: 70, s: 70, e: 16, v: 16, causal: true, ..PLAIN },
        Case { batch: 1, l: 9, s: 70, e: 40, v: 100, mask: Mask::Seen, ..PLAIN },
        mixed,
        Case { dtype: DType::BF16, ..mixed },
    ];
    if device.supports(DType::F64) {
        all.push(Case { dtype: DType::F64, ..PLAIN });
        all.push(Case { dtype: DType::F64, ..mixed });
    }
    for c in all {
        check(c, &device).map_err(|e| e.context(format!("{c:?}")))?;
    }
    Ok(())
}

fn tensor(shape: &[usize], seed: usize) -> Result<Tensor> {
    let values: Vec<f32> = numbers(shape.iter().product(), seed).iter().map(|x| *x as f32).collect();
    Tensor::from_slice(&values, shape, ())
}

fn causal() -> AttentionOptions {
    AttentionOptions { is_causal: true, ..AttentionOptions::default() }
}

/// Kernels run by `f`.
fn dispatches(device: &Device, f: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = device.counters().dispatches;
    f()?;
    Ok(device.counters().dispatches - before)
}

/// Whether attention is left in its composed form, whose kernels are not counted: on a CPU whose subgroups are of
/// another size than the kernels want.
fn is_composed(device: &Device) -> bool {
    let facts = device.facts();
    let composed = facts.is_cpu && !(facts.subgroups && facts.subgroup_size == Some(8));
    if composed {
        println!("kernels are not counted: attention is composed on a CPU without subgroups of 8");
    }
    composed
}

#[test]
fn one_kernel_forward_and_two_backward() -> Result<()> {
    let _turn = turn();
    if is_composed(&Device::best()?) {
        return Ok(());
    }
    for (shape, dtype) in [([2, 4, 64, 16], DType::F32), ([2, 4, 128, 32], DType::F32), ([2, 4, 64, 16], DType::F16)] {
        let made = |seed| tensor(&shape, seed)?.to_dtype(dtype)?.contiguous();
        let all = [made(1)?, made(2)?, made(3)?, made(4)?];
        Tensor::eval_all(&all)?;
        let [q, k, v, g] = all;
        let device = q.device();
        let alone = attention(&q, &k, &v, &causal())?;
        assert_eq!(dispatches(device, || alone.eval())?, 1, "alone, {dtype}");
        for t in [&q, &k, &v] {
            t.requires_grad_(true)?;
        }
        let out = attention(&q, &k, &v, &causal())?;
        assert!(out.is_contiguous());
        assert_eq!(dispatches(device, || out.eval())?, 1, "forward, {dtype}");
        let leaves = [&q, &k, &v];
        let made = Backward::new().grad(&[&out], &leaves, &[Some(&g)])?.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(made.len(), 3);
        assert_eq!(dispatches(device, || Tensor::eval_all(&made))?, 2, "backward, {dtype}");
    }
    Ok(())
}

#[test]
fn views_of_one_projection_are_read_as_they_lie() -> Result<()> {
    let _turn = turn();
    let (batch, l, heads, e) = (2, 24, 3, 8);
    let packed = tensor(&[batch, l, 3 * heads * e], 1)?;
    let split = |t: &Tensor, i: usize| {
        let part = t.narrow(2, (i * heads * e) as isize, heads * e)?;
        part.reshape([batch, l, heads, e])?.transpose(1, 2)
    };
    let [q, k, v] = [split(&packed, 0)?, split(&packed, 1)?, split(&packed, 2)?];
    packed.eval()?;
    let merged = attention(&q, &k, &v, &causal())?;
    let count = dispatches(packed.device(), || merged.eval())?;
    assert!(count == 1 || is_composed(packed.device()), "no copies");
    let copied = attention(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, &causal())?;
    assert_eq!(merged.to_vec::<f32>()?, copied.to_vec::<f32>()?);
    // gradients flow back into the projection
    let gradient = |copies: bool| -> Result<Vec<f32>> {
        let packed = tensor(&[batch, l, 3 * heads * e], 1)?.requires_grad_(true)?;
        let part = |i| split(&packed, i).and_then(|t| if copies { t.contiguous() } else { Ok(t) });
        attention(&part(0)?, &part(1)?, &part(2)?, &causal())?.square()?.sum()?.backward()?;
        packed.grad().expect("a gradient").to_vec()
    };
    assert_eq!(gradient(false)?, gradient(true)?);
    Ok(())
}

#[test]
fn a_query_that_sees_no_key_gives_zero() -> Result<()> {
    let _turn = turn();
    let made = |seed| tensor(&[1, 3, 4], seed)?.requires_grad_(true);
    let (q, k, v) = (made(1)?, made(2)?, made(3)?);
    let seen = Tensor::new([[true, true, false], [false, false, false], [false, true, true]], ())?;
    let lowest = seen.where_(0.0, &Tensor::full([3, 3], f64::from(f32::MIN), ())?)?;
    let never = seen.where_(0.0, &Tensor::full([3, 3], f64::NEG_INFINITY, ())?)?;
    for (mask, blind) in [(&seen, true), (&never, true), (&lowest, false)] {
        let options = AttentionOptions { attn_mask: Some(mask.clone()), ..AttentionOptions::default() };
        let out = attention(&q, &k, &v, &options)?;
        let g = autograd::grad(&[&out.sum()?], &[&q, &k, &v])?;
        for t in g.iter().chain([&out]) {
            assert!(t.to_vec::<f32>()?.iter().all(|x| x.is_finite()));
        }
        let row = out.select(1, 1)?.to_vec::<f32>()?;
        // numbers so low that all are equal weigh equally
        let mean = v.detach().mean_dims(&[1], false)?.to_vec::<f32>()?;
        for (x, mean) in row.iter().zip(mean) {
            let want = if blind { 0.0 } else { mean };
            assert!((x - want).abs() < 1e-6, "{x}, not {want}");
        }
    }
    Ok(())
}

/// What all values have in common must cancel in the gradients of queries and keys, where a block holds all keys.
#[test]
fn gradients_are_right_far_from_zero() -> Result<()> {
    let _turn = turn();
    let (l, s) = (9, 20);
    let usual = tensor(&[1], 0)?.device().clone();
    let mut choice = AdapterChoice::from_env()?;
    choice.disable.push("cpu-kernels".to_owned());
    for device in [usual, Device::open(&choice)?] {
        let made = |rows, seed| tensor(&[1, rows, 1], seed)?.to(&device)?.requires_grad_(true);
        let (q, k) = (made(l, 1)?, made(s, 2)?);
        let v = (made(s, 3)?.detach() + 1000.0)?;
        let options = AttentionOptions { scale: Some(1.0), ..AttentionOptions::default() };
        attention(&q, &k, &v, &options)?.sum()?.backward()?;
        let host =
            |t: &Tensor| Ok::<_, calor::Error>(t.to_vec::<f32>()?.into_iter().map(f64::from).collect::<Vec<_>>());
        let [q_, k_, v] = [host(&q)?, host(&k)?, host(&v)?];
        let mut want = (vec![0.0; l], vec![0.0; s]);
        for (q, for_q) in q_.iter().zip(&mut want.0) {
            let weights: Vec<f64> = k_.iter().map(|k| (q * k).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mean = weights.iter().zip(&v).map(|(w, v)| w / sum * v).sum::<f64>();
            for ((w, v), (k, for_k)) in weights.iter().zip(&v).zip(k_.iter().zip(&mut want.1)) {
                let d = w / sum * (v - mean);
                *for_q += d * k;
                *for_k += d * q;
            }
        }
        for (t, want) in [(&q, want.0), (&k, want.1)] {
            for (got, want) in host(&t.grad().expect("a gradient"))?.into_iter().zip(want) {
                assert!((got - want).abs() < 2e-6, "{got}, expected {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_have_gradients() -> Result<()> {
    let _turn = turn();
    let made = |seed| tensor(&[2, 3, 4], seed)?.requires_grad_(true);
    let (q, k, v) = (made(1)?, made(2)?, made(3)?);
    let inputs = [&q, &k, &v];
    let gradients = |inputs: [&Tensor; 3]| -> Result<Tensor> {
        let out = attention(inputs[0], inputs[1], inputs[2], &causal())?.square()?.sum()?;
        let g = Backward::new().create_graph(true).grad(&[&out], &inputs, &[None])?;
        let squares = g.into_iter().flatten().map(|g| g.square()?.sum()).collect::<Result<Vec<_>>>()?;
        squares[0].add(&squares[1])?.add(&squares[2])
    };
    let second = autograd::grad(&[&gradients(inputs)?], &inputs)?;
    // against differences of the first gradients, which the kernels compute
    let step = 1e-2;
    for (at, g) in second.iter().enumerate() {
        let g = g.to_vec::<f32>()?;
        for i in [0, 5, 23] {
            let mut sides = [0.0; 2];
            for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
                let moved = (0..3).map(|n| {
                    let mut values = inputs[n].detach().to_vec::<f32>()?;
                    if n == at {
                        values[i] += sign * step;
                    }
                    Tensor::from_slice(&values, [2, 3, 4], ())?.requires_grad_(true)
                });
                let moved = moved.collect::<Result<Vec<_>>>()?;
                let inputs = [&moved[0], &moved[1], &moved[2]];
                let out = attention(&moved[0], &moved[1], &moved[2], &causal())?.square()?.sum()?;
                for g in autograd::grad(&[&out], &inputs)? {
                    *side += g.square()?.sum()?.item()?;
                }
            }
            let want = (sides[0] - sides[1]) / (2.0 * f64::from(step));
            assert!((f64::from(g[i]) - want).abs() < 0.02 * (1.0 + want.abs()), "input {at}[{i}]: {} not {want}", g[i]);
        }
    }
    Ok(())
}

#[test]
fn a_mask_and_dropout_take_the_composed_form() -> Result<()> {
    let _turn = turn();
    let made = |seed| tensor(&[2, 5, 4], seed)?.requires_grad_(true);
    let (q, k, v, mask) = (made(1)?, made(2)?, made(3)?, tensor(&[5, 5], 4)?.requires_grad_(true)?);
    let mut options = AttentionOptions { attn_mask: Some(mask.clone()), ..AttentionOptions::default() };
    let learned = attention(&q, &k, &v, &options)?;
    let g = autograd::grad(&[&learned.square()?.sum()?], &[&mask])?;
    assert!(g[0].to_vec::<f32>()?.iter().any(|x| *x != 0.0));
    options.attn_mask = Some(mask.detach());
    let fixed = attention(&q, &k, &v, &options)?.to_vec::<f32>()?;
    for (a, b) in learned.to_vec::<f32>()?.iter().zip(fixed) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
    options.dropout_p = 1.0;
    assert_eq!(attention(&q, &k, &v, &options)?.to_vec::<f32>()?, [0.0; 40]);
    Ok(())
}

#[test]
fn masks_of_whole_numbers_are_refused_and_queries_of_no_elements_see_all_keys_alike() -> Result<()> {
    let _turn = turn();
    let x = Tensor::ones([1, 2, 4], ())?;
    for dtype in [DType::I32, DType::U8] {
        let mask = Some(Tensor::ones([2, 2], dtype)?);
        assert!(attention(&x, &x, &x, &AttentionOptions { attn_mask: mask, ..AttentionOptions::default() }).is_err());
    }
    let (q, k) = (Tensor::ones([1, 2, 0], ())?, Tensor::ones([1, 3, 0], ())?);
    let v = Tensor::new([[[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]], ())?;
    let y = attention(&q, &k, &v, &AttentionOptions::default())?;
    close("nothing", &y, &[2.0, 3.0, 2.0, 3.0], 1e-6)
}

//! Attention: the kernels against sums in double precision, over shapes, masks, dtypes and views, and what they cost.

use calor::autograd::{self, Backward};
use calor::gpu::AdapterChoice;
use calor::nn::functional::{AttentionOptions, scaled_dot_product_attention as attention};
use calor::{DType, Device, Result, Tensor};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The device's counts are its own: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An adapter with nothing but what WebGPU guarantees, or less.
fn portable() -> Result<Device> {
    static ONE: OnceLock<Result<Device>> = OnceLock::new();
    let open = || {
        let names = ["shader-f16", "shader-f64", "shader-int64", "subgroups", "timestamps", "pipeline-cache"];
        let limits = [("bindings", 8), ("invocations", 64), ("workgroup_bytes", 16 << 10)];
        let mut choice = AdapterChoice::from_env()?;
        choice.disable = names.map(str::to_owned).to_vec();
        choice.limits = limits.map(|(n, v)| (n.to_owned(), v)).to_vec();
        Device::open(&choice)
    };
    ONE.get_or_init(open).clone()
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
        Mask::Seen => if seen(i, j) { 0.0 } else { f64::NEG_INFINITY },
        Mask::Added if !seen(i, j) => f64::NEG_INFINITY,
        Mask::Added => f64::from(added[i * c.s + j]),
        Mask::Row => f64::from(added[j]),
    };
    let all: Vec<f32> = (0..width).flat_map(|i| (0..c.s).map(move |j| (i, j))).map(|(i, j)| number(i, j) as f32).collect();
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

/// One step away from a plain case each, then mixtures.
fn cases() -> Vec<Case> {
    let mut all = vec![PLAIN];
    for (l, s) in [(1, 1), (1, 40), (5, 3), (31, 33), (64, 64), (33, 130), (70, 16)] {
        all.push(Case { l, s, ..PLAIN });
        all.push(Case { l, s, causal: true, ..PLAIN });
    }
    for (e, v) in [(1, 1), (3, 5), (4, 4), (8, 12), (16, 16), (20, 64), (33, 7), (64, 64), (96, 96), (128, 128), (256, 200)] {
        all.push(Case { batch: 1, e, v, l: 35, s: 37, ..PLAIN });
    }
    for mask in [Mask::Seen, Mask::Added, Mask::Row] {
        all.push(Case { mask, ..PLAIN });
        all.push(Case { mask, l: 35, s: 39, e: 6, v: 10, ..PLAIN });
    }
    for (heads, key_heads) in [(4, 2), (6, 1), (3, 3)] {
        all.push(Case { heads, key_heads, l: 20, s: 36, ..PLAIN });
        all.push(Case { heads, key_heads, l: 36, s: 36, causal: true, ..PLAIN });
        all.push(Case { heads, key_heads, l: 9, s: 12, mask: Mask::Seen, ..PLAIN });
    }
    for dtype in [DType::F16, DType::BF16] {
        all.push(Case { dtype, ..PLAIN });
        all.push(Case { dtype, l: 37, s: 41, e: 32, v: 24, mask: Mask::Added, ..PLAIN });
        all.push(Case { dtype, e: 5, v: 7, causal: true, ..PLAIN });
    }
    all.push(Case { scale: Some(-0.7), ..PLAIN });
    // scores beyond what an exponential holds
    all.push(Case { scale: Some(300.0), ..PLAIN });
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

//! The engine's own costs: fused chains, reductions, transposing copies, products, attention, and what a small operation costs.
//!
//! `cargo bench --bench engine -- chain` runs one group. Figures compare only within one run: machines are shared.

use calor::nn::functional::{AttentionOptions, scaled_dot_product_attention};
use calor::{Device, Result, Tensor, autograd};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// The device; without one there is nothing to measure.
fn device() -> Device {
    Device::best().unwrap_or_else(|e| panic!("{e}"))
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// Runs `f`, submits what it made and waits for the device.
fn measure(c: &mut Criterion, group: &str, name: &str, elements: u64, mut f: impl FnMut() -> Result<Tensor>) {
    let device = device();
    let mut once = || -> Result<()> {
        f()?.eval()?;
        device.synchronize()
    };
    let mut g = c.benchmark_group(group);
    g.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    g.throughput(Throughput::Elements(elements));
    g.bench_function(name, |b| b.iter(|| black_box(once()).unwrap_or_else(|e| panic!("{e}"))));
    g.finish();
}

fn tensor(shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_slice(&values(n), shape, &device()).unwrap_or_else(|e| panic!("{e}"))
}

fn chain(c: &mut Criterion) {
    let x = tensor(&[1 << 22]);
    let chain = || ((&x * 1.5)? + 0.25)?.tanh()?.mul(&x.sigmoid()?)?.add(&x);
    measure(c, "chain", "4m", 1 << 22, chain);
}

fn reduce(c: &mut Criterion) {
    let x = tensor(&[2048, 2048]);
    measure(c, "sum", "all", 1 << 22, || x.sum());
    measure(c, "sum", "last", 1 << 22, || x.sum_dims(&[1], false));
    measure(c, "sum", "first", 1 << 22, || x.sum_dims(&[0], false));
}

fn transpose(c: &mut Criterion) {
    let x = tensor(&[2048, 2048]);
    measure(c, "transpose", "2048", 1 << 22, || x.t()?.contiguous());
}

fn matmul(c: &mut Criterion) {
    for n in [256, 512, 1024] {
        let (a, b) = (tensor(&[n, n]), tensor(&[n, n]));
        let flops = 2 * (n * n * n) as u64;
        measure(c, "matmul", &format!("{n}"), flops, || a.matmul(&b));
        let bt = b.t().unwrap_or_else(|e| panic!("{e}"));
        measure(c, "matmul", &format!("{n}_transposed"), flops, || a.matmul(&bt));
    }
}

fn attention(c: &mut Criterion) {
    for (batch, heads, l, e) in [(2, 4, 64, 16), (2, 4, 128, 32), (4, 6, 256, 64)] {
        let [q, k, v] = [0, 1, 2].map(|_| tensor(&[batch, heads, l, e]));
        let options = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
        let products = (4 * batch * heads * l * l * e) as u64;
        let forward = || scaled_dot_product_attention(&q, &k, &v, &options);
        measure(c, "attention", &format!("{l}x{e}"), products, forward);
        for t in [&q, &k, &v] {
            t.requires_grad_(true).unwrap_or_else(|e| panic!("{e}"));
        }
        let step = || {
            let g = autograd::grad(&[&forward()?.sum()?], &[&q, &k, &v])?;
            Tensor::eval_all(&g)?;
            Ok(g[0].clone())
        };
        measure(c, "attention", &format!("{l}x{e}_step"), 7 * products / 2, step);
    }
}

fn small(c: &mut Criterion) {
    let x = tensor(&[16]);
    let adds = || (0..1000).try_fold(x.clone(), |y, _| y.add(&x));
    measure(c, "small", "1000_adds", 1000, adds);
    let mut g = c.benchmark_group("small");
    g.bench_function("roundtrip", |b| {
        b.iter(|| x.add(&x).and_then(|y| y.to_vec::<f32>()).unwrap_or_else(|e| panic!("{e}")));
    });
    g.finish();
}

criterion_group!(benches, chain, reduce, transpose, matmul, attention, small);
criterion_main!(benches);

//! The engine's own costs: fused chains, reductions, transposing copies, products, and what a small operation costs.
//!
//! `cargo bench --bench engine -- chain` runs one group. Figures compare only within one run: machines are shared.

#[path = "../examples/rows/ops.rs"]
#[allow(dead_code)]
mod ops;
#[path = "../examples/rows/protocol.rs"]
#[allow(dead_code)]
mod protocol;
#[path = "../examples/rows/train.rs"]
#[allow(dead_code)]
mod train;

use calor::{Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

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

/// How long this thread has run: where the system tells, without the time that others had the processor.
fn busy() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|t| t.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// What the host does for a dispatch: steps are built and submitted, and the device is waited for outside the clock.
fn host(c: &mut Criterion) {
    let device = device();
    let x = tensor(&[16]);
    let adds = move |n: usize| (0..n).try_fold(x.clone(), |y, _| y.add(&x)).and_then(|y| y.eval().map(|()| y));
    let one = adds.clone();
    let model = |name| train::step_of(name, &device).unwrap_or_else(|e| panic!("{e}")).run;
    let steps: [(&str, Box<dyn FnMut() -> Result<Tensor>>); 4] = [
        ("add", Box::new(move || one(1))),
        ("1000_adds", Box::new(move || adds(1000))),
        ("mlp", model("mlp")),
        ("gpt", model("gpt")),
    ];
    for (name, mut step) in steps {
        for (kept, how) in [(true, "kept"), (false, "planned")] {
            device.set_plan_cache(kept);
            let mut timed = || -> Result<Duration> {
                device.synchronize()?;
                let start = busy();
                step()?;
                Ok(busy() - start)
            };
            let mut once = || timed().unwrap_or_else(|e| panic!("{e}"));
            for _ in 0..4 {
                once();
            }
            let before = device.counters().dispatches;
            once();
            let dispatches = device.counters().dispatches - before;
            let mut g = c.benchmark_group("host");
            g.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(2));
            g.throughput(Throughput::Elements(dispatches));
            g.bench_function(format!("{name}_{how}"), |b| b.iter_custom(|n| (0..n).map(|_| once()).sum()));
            g.finish();
        }
    }
    device.set_plan_cache(true);
}

criterion_group!(benches, host, chain, reduce, transpose, matmul, small);
criterion_main!(benches);

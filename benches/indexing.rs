//! Gathering, scattering with few and many destinations, masks.
//!
//! `cargo bench --bench indexing -- scatter` runs one group. Figures compare only within one run: machines are shared.

use calor::{Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// Runs `f`, submits what it made and waits for the device.
fn measure(c: &mut Criterion, group: &str, name: &str, elements: usize, mut f: impl FnMut() -> Result<Tensor>) {
    let device = must(Device::best());
    let mut once = || -> Result<()> {
        f()?.eval()?;
        device.synchronize()
    };
    let mut g = c.benchmark_group(group);
    g.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    g.throughput(Throughput::Elements(elements as u64));
    g.bench_function(name, |b| b.iter(|| must(black_box(once()))));
    g.finish();
}

fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

/// Values in memory, not computed by the reader.
fn stored(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    must(Tensor::from_slice(&values, shape, ()))
}

/// Spread indices below `size`.
fn indices(n: usize, size: usize) -> Tensor {
    let spread = |i: u64| ((i * 2_654_435_761 + 12_345) % 1_000_003 % size as u64) as i32;
    must(Tensor::from_slice(&(0..n as u64).map(spread).collect::<Vec<_>>(), [n], ()))
}

fn embedding(c: &mut Criterion) {
    let (rows, width, n) = (50_000, 512, 4096);
    let (table, index, gradient) = (stored(&[rows, width]), indices(n, rows), stored(&[n, width]));
    measure(c, "embedding", "forward", n * width, || table.embedding(&index, None));
    measure(c, "embedding", "gradient", rows * width, || table.index_add(0, &index, &gradient, 1));
}

fn scatter(c: &mut Criterion) {
    let n = 1 << 20;
    let source = stored(&[n]);
    for size in [10, 1000, n] {
        let (base, index) = (stored(&[size]), indices(n, size));
        measure(c, "scatter_add", &format!("1m_to_{size}"), n, || base.scatter_add(0, &index, &source));
        measure(c, "scatter", &format!("1m_to_{size}"), n, || base.scatter(0, &index, &source));
    }
}

fn masks(c: &mut Criterion) {
    let x = stored(&[1 << 20]);
    let mask = must(x.gt(0.0));
    measure(c, "masked_select", "1m", 1 << 20, || x.masked_select(&mask));
    measure(c, "tril", "1024", 1 << 20, || x.reshape([1024, 1024])?.tril(0));
}

criterion_group!(benches, embedding, scatter, masks);
criterion_main!(benches);

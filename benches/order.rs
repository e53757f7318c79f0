//! Along rows: softmax, places of extremes, running sums, sorting.
//!
//! `cargo bench --bench order -- sort` runs one group. Figures compare only within one run: machines are shared.

use calor::{Device, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// Rows and their length; all have as many elements.
const SHAPES: [[usize; 2]; 3] = [[4096, 256], [64, 1 << 14], [1, 1 << 20]];

fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

/// Numbers without order, of the device's memory.
fn stored(shape: [usize; 2]) -> Tensor {
    let spread = |i: u64| ((i * 2_654_435_761 + 12_345) % 1_000_003) as f32 * 1e-6;
    let values: Vec<f32> = (0..(shape[0] * shape[1]) as u64).map(spread).collect();
    must(Tensor::from_slice(&values, shape, ()))
}

/// Runs `f` on rows of each shape, submits what it made and waits for the device.
fn measure(c: &mut Criterion, group: &str, f: impl Fn(&Tensor) -> Result<Tensor>) {
    let device = must(Device::best());
    let mut g = c.benchmark_group(group);
    g.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for shape in SHAPES {
        let x = stored(shape);
        let once = || -> Result<()> {
            f(&x)?.eval()?;
            device.synchronize()
        };
        g.throughput(Throughput::Elements((shape[0] * shape[1]) as u64));
        g.bench_function(format!("{}x{}", shape[0], shape[1]), |b| b.iter(|| must(black_box(once()))));
    }
    g.finish();
}

fn rows(c: &mut Criterion) {
    measure(c, "softmax", |x| x.softmax(1));
    measure(c, "argmax", |x| x.argmax(Some(1), false));
    measure(c, "var", |x| x.var_dims(&[1], 1.0, false));
    measure(c, "cumsum", |x| x.cumsum(1));
}

fn sorts(c: &mut Criterion) {
    measure(c, "sort", |x| Ok(x.sort(1, false)?.0));
    measure(c, "topk", |x| Ok(x.topk(5, 1, true)?.0));
}

criterion_group!(benches, rows, sorts);
criterion_main!(benches);

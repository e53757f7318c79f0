//! What the host does for a step, in all and for each dispatch: with plans kept, and planned anew.
//!
//! `cargo bench --bench host -- gpt` measures what has `gpt` in its name. Steps are built and submitted by the clock; the
//! device is waited for outside of it. Half of the steps were faster than the figure, so that others on the machine
//! disturb it little.

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
use std::time::{Duration, Instant};

/// Steps before the first that counts: by then each buffer has been everywhere it will be.
const WARM: usize = 24;

/// How long one step is measured, and how often at least.
const TIME: Duration = Duration::from_secs(4);
const LEAST: usize = 15;

type Step = Box<dyn FnMut() -> Result<Tensor>>;
type Make = Box<dyn Fn() -> Result<Step>>;

fn measure(device: &Device, name: &str, step: &mut Step) -> Result<()> {
    let mut last = step()?;
    for _ in 0..WARM {
        last = step()?;
    }
    let before = device.counters();
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < LEAST || begun.elapsed() < TIME {
        device.synchronize()?;
        let start = Instant::now();
        last = step()?;
        times.push(start.elapsed());
    }
    drop(last);
    let after = device.counters();
    times.sort_unstable();
    let of = |f: fn(&calor::gpu::Counters) -> u64| (f(&after) - f(&before)) as f64 / times.len() as f64;
    let dispatches = of(|c| c.dispatches);
    let micros = |t: Duration| t.as_secs_f64() * 1e6;
    let (least, half) = (micros(times[0]), micros(times[times.len() / 2]));
    println!(
        "{name:<18} {half:9.1} us a step (least {least:9.1}), {:7.2} us for each of {dispatches} dispatches; \
         {} plans, {} bind groups a step",
        half / dispatches,
        of(|c| c.plans),
        of(|c| c.bind_groups),
    );
    Ok(())
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let device = Device::best()?;
    let x = Tensor::from_slice(&[0.5f32; 16], [16], &device)?;
    let adds = move |n: usize| (0..n).try_fold(x.clone(), |y, _| y.add(&x)).and_then(|y| y.eval().map(|()| y));
    let one = adds.clone();
    let model = |name: &'static str| {
        let device = device.clone();
        move || Ok(train::step_of(name, &device)?.run)
    };
    let steps: [(&str, Make); 4] = [
        (
            "add",
            Box::new(move || {
                Ok(Box::new({
                    let one = one.clone();
                    move || one(1)
                }))
            }),
        ),
        (
            "adds1000",
            Box::new(move || {
                Ok(Box::new({
                    let adds = adds.clone();
                    move || adds(1000)
                }))
            }),
        ),
        ("mlp", Box::new(model("mlp"))),
        ("gpt", Box::new(model("gpt"))),
    ];
    for (name, make) in steps {
        for (kept, how) in [(true, "kept"), (false, "planned")] {
            let name = format!("{name}_{how}");
            if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
                device.set_plan_cache(kept);
                measure(&device, &name, &mut make()?)?;
            }
        }
    }
    Ok(())
}

//! Measures which kernel computes a kind of product fastest, once for each kind, and remembers it.

use super::choose::{Choice, Kernel, Problem};
use super::computed;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Device, Profiler, Tensor};
use std::time::{Duration, Instant};

/// Bytes that a measurement may take for its factors and results.
const BYTES: usize = 512 << 20;
/// Runs that are measured together take about so long, and are so many at most.
const LONG: Duration = Duration::from_millis(4);
const RUNS: usize = 64;
/// How often they are measured: the least time counts.
const ROUNDS: usize = 3;
/// A kernel that takes so many times the best one's time is not measured again.
const HOPELESS: u32 = 3;

/// The fastest way to compute a problem: as it was measured, here or earlier, or as it is measured now. `None` where
/// nothing can be measured.
pub(super) fn fastest(device: &Device, p: &Problem) -> Result<Option<Choice>> {
    let (facts, choices) = (device.facts(), device.engine().gpu().choices());
    let key = p.key();
    let known = || choices.measured(&key).and_then(|name| Choice::named(&name, p, facts));
    if let Some(choice) = known() {
        return Ok(Some(choice));
    }
    let turn = choices.turn();
    // another thread may have measured it meanwhile
    if let Some(choice) = known() {
        return Ok(Some(choice));
    }
    let best = measure(device, p)?;
    if let Some(best) = best {
        choices.remember(&key, best.name());
    }
    drop(turn);
    Ok(best)
}

/// Factors like those of the problem: small whole numbers, so that every order of summing gives the same.
fn factors(device: &Device, p: &Problem) -> Result<(Tensor, Tensor)> {
    let make = |rows: usize, columns: usize, along: bool| -> Result<Tensor> {
        let shape = if along { [p.batches, rows, columns] } else { [p.batches, columns, rows] };
        let count = i64::try_from(p.batches * rows * columns).unwrap_or(i64::MAX);
        let t = Tensor::arange(0, count, 1, (DType::I32, device))?.remainder(7)?.to_dtype(p.dtype)?.reshape(shape)?;
        t.eval()?;
        if along { Ok(t) } else { t.transpose(1, 2) }
    };
    Ok((make(p.m, p.k, p.along.0)?, make(p.k, p.n, p.along.1)?))
}

fn measure(device: &Device, p: &Problem) -> Result<Option<Choice>> {
    let candidates = Choice::candidates(p, device.facts());
    if candidates.len() < 2 {
        return Ok(candidates.first().copied());
    }
    // many batches take as long as many times fewer
    let each = (p.m * p.k + p.k * p.n) * p.dtype.size() + 2 * p.m * p.n * p.dtype.compute().size();
    let p = Problem { batches: p.batches.min(BYTES / each.max(1)), ..*p };
    if p.batches == 0 {
        return Ok(None);
    }
    let Ok((a, b)) = factors(device, &p) else { return Ok(None) };
    let most = (BYTES / (p.batches * p.m * p.n * p.dtype.compute().size()).max(1)).clamp(1, RUNS);
    let mut oracle: Option<Tensor> = None;
    let mut best: Option<(Duration, Choice)> = None;
    for choice in candidates {
        // what fails to compile or to run is no choice; a lost device tells so at the next call
        let Ok(out) = computed(&a, &b, choice).and_then(|out| out.eval().map(|()| out)) else { continue };
        match &oracle {
            None => oracle = Some(out),
            Some(right) => {
                if out.ne(right)?.any()?.item()? != 0.0 {
                    log::warn!("{} computes {} wrongly and is not used", choice.name(), p.key());
                    continue;
                }
            }
        }
        let once = time(device, (&a, &b), choice, 1)?;
        let mut least = once;
        if best.is_none_or(|(time, _)| once < time * HOPELESS) {
            let runs = (LONG.as_nanos() / once.as_nanos().max(1)).clamp(1, most as u128) as usize;
            for _ in 0..ROUNDS {
                least = least.min(time(device, (&a, &b), choice, runs)? / runs as u32);
            }
        }
        log::debug!("{}: {} takes {least:?}", p.key(), choice.name());
        if best.is_none_or(|(time, _)| least < time) {
            best = Some((least, choice));
        }
    }
    Ok(best.map(|(_, choice)| choice))
}

/// Whether a kernel multiplies small halves rightly on this device, as it does in programs: in each layout, at edges, with
/// k in parts. Some drivers compile what few programs use wrongly. `None` where it cannot be found out now.
pub(super) fn is_right(device: &Device, kernel: Kernel) -> Option<bool> {
    let layouts = [((true, true), 1), ((true, false), 2), ((false, true), 2), ((false, false), 1)];
    let right = layouts.into_iter().try_fold(true, |right, (along, parts)| {
        let p = Problem { batches: 2, m: 80, n: 72 - 2 * parts, k: 72, dtype: DType::F16, along };
        Ok::<_, Error>(right && agrees(device, &p, |a, b| computed(a, b, Choice { kernel, parts }))?)
    });
    match right {
        Ok(right) => {
            if !right {
                log::warn!("{kernel:?} multiplies wrongly on {:?} and is not used", device.facts().name);
            }
            Some(right)
        }
        Err(error) => {
            log::warn!("{kernel:?} is not used for now: {error}");
            None
        }
    }
}

/// Whether a product is that of the host.
fn agrees(device: &Device, p: &Problem, product: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<bool> {
    let (a, b) = factors(device, p)?;
    // faults of other operations are for those who read
    let got: Vec<f32> = device.engine().peek_as(&product(&a, &b)?.value()?, bytemuck::pod_collect_to_vec)?;
    let number = |(batch, row, column): (usize, usize, usize), (rows, columns): (usize, usize), along: bool| {
        let at = if along { (batch * rows + row) * columns + column } else { (batch * columns + column) * rows + row };
        (at % 7) as f32
    };
    let element = |(i, got): (usize, &f32)| {
        let (batch, row, column) = (i / (p.m * p.n), i / p.n % p.m, i % p.n);
        let of_a = (0..p.k).map(|k| number((batch, row, k), (p.m, p.k), p.along.0));
        let of_b = (0..p.k).map(|k| number((batch, k, column), (p.k, p.n), p.along.1));
        of_a.zip(of_b).map(|(a, b)| a * b).sum::<f32>() == *got
    };
    Ok(got.len() == p.batches * p.m * p.n && got.iter().enumerate().all(element))
}

/// How long so many runs take: by the device's clock where it has one that nobody else uses, else by the host's.
fn time(device: &Device, (a, b): (&Tensor, &Tensor), choice: Choice, runs: usize) -> Result<Duration> {
    let outs = (0..runs).map(|_| computed(a, b, choice)).collect::<Result<Vec<Tensor>>>()?;
    let profiler = if device.facts().timestamps { Profiler::start(device).ok() } else { None };
    device.engine().gpu().synchronize()?;
    let started = Instant::now();
    Tensor::eval_all(&outs)?;
    let Some(profiler) = profiler else {
        device.engine().gpu().synchronize()?;
        return Ok(started.elapsed());
    };
    let profile = profiler.finish()?;
    let device_time: Duration = profile.kernels.iter().filter_map(|k| k.time).sum();
    Ok(if device_time.is_zero() { profile.wall } else { device_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterChoice;

    fn folder(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("calor-tune-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn open(dir: &std::path::Path) -> Device {
        let mut choice = AdapterChoice::from_env().unwrap();
        choice.cache_dir = Some(dir.into());
        (choice.tune, choice.disable) = (true, vec!["cpu-kernels".into(), "pipeline-cache".into()]);
        Device::open(&choice).expect("these tests need an adapter")
    }

    #[test]
    fn what_was_measured_is_used_kept_and_never_mixed_with_old_plans() {
        let dir = folder("all");
        let device = open(&dir);
        let x = Tensor::ones([20, 24], &device).unwrap();
        let y = Tensor::ones([24, 28], &device).unwrap();
        Tensor::eval_all(&[x.clone(), y.clone()]).unwrap();
        let p = Problem::of(&x, &y);
        let product = |x: &Tensor, y: &Tensor| {
            let z = x.matmul(y).unwrap();
            let plan = z.explain().unwrap();
            assert_eq!(z.to_vec::<f32>().unwrap(), [24.0; 20 * 28]);
            plan
        };
        device.set_tuning(false);
        assert!(product(&x, &y).contains("matmul_tiles:"), "the table's choice");
        assert_eq!(device.engine().gpu().choices().measured(&p.key()), None);
        device.set_tuning(true);
        product(&x, &y);
        let choices = device.engine().gpu().choices();
        let best = choices.measured(&p.key()).expect("it was measured");
        assert!(Choice::candidates(&p, device.facts()).iter().any(|c| c.name() == best), "{best}");
        let measured = device.counters().dispatches;
        product(&x, &y);
        assert!(device.counters().dispatches <= measured + 1, "it was measured again");
        // a choice that changes brings its own plan along, although the graph is the same
        for (name, kernel) in [("portable", "matmul:"), ("tiles64", "matmul_tiles:"), ("portable", "matmul:")] {
            choices.remember(&p.key(), name);
            let z = x.matmul(&y).unwrap();
            assert!(z.explain().unwrap().contains(kernel), "{name}");
        }
        // a name that nothing has is measured anew
        choices.remember(&p.key(), "nothing");
        product(&x, &y);
        let best = choices.measured(&p.key()).expect("it was measured again");
        assert_ne!(best, "nothing");
        // another process: the same choice without a measurement
        let other = open(&dir);
        assert_eq!(other.engine().gpu().choices().measured(&p.key()), Some(best));
        // a spoilt file is passed over and written anew
        let file = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, b"spoilt").unwrap();
        let third = open(&dir);
        assert_eq!(third.engine().gpu().choices().measured(&p.key()), None);
        let x = Tensor::ones([20, 24], &third).unwrap();
        let y = Tensor::ones([24, 28], &third).unwrap();
        product(&x, &y);
        assert!(third.engine().gpu().choices().measured(&p.key()).is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// The check of kernels with matrices, made of others: it finds right ones right, and wrong ones wrong.
    #[test]
    fn a_kernel_that_multiplies_wrongly_is_found() {
        let device = open(&folder("right"));
        for kernel in [Kernel::Portable, Kernel::Tiles(32)] {
            assert_eq!(is_right(&device, kernel), Some(true), "{kernel:?}");
        }
        for along in [(true, true), (false, true), (true, false), (false, false)] {
            let p = Problem { batches: 2, m: 9, n: 10, k: 11, dtype: DType::F16, along };
            let choice = Choice { kernel: Kernel::Portable, parts: 1 };
            assert!(agrees(&device, &p, |a, b| computed(a, b, choice)).unwrap());
            // the last step of k is lost, or rows lie elsewhere
            assert!(!agrees(&device, &p, |a, b| computed(&a.narrow(2, 0, 10)?, &b.narrow(1, 0, 10)?, choice)).unwrap());
            assert!(!agrees(&device, &p, |a, b| computed(&a.flip(&[1])?, b, choice)).unwrap());
        }
    }

    #[test]
    fn keys_join_sizes_up_to_powers_of_two() {
        let p = Problem { batches: 3, m: 20, n: 33, k: 64, dtype: DType::F16, along: (true, false) };
        assert_eq!(p.key(), "matmul f16 kk 4x[32, 64] x [64, 64]");
        assert_eq!(p.key(), Problem { batches: 4, m: 32, n: 64, ..p }.key());
        assert_ne!(p.key(), Problem { along: (true, true), ..p }.key());
    }
}

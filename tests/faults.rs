//! What goes wrong on a device is an `Err`, afterwards the device goes on, and no value is ever garbage.

use calor::gpu::inject::{Injection, Point};
use calor::gpu::{AdapterChoice, Pace};
use calor::nn::{Layer, Linear, Module, ReLU, Sequential, functional};
use calor::optim::{Optimizer, Sgd, SgdOptions};
use calor::{DType, Device, ErrorKind, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static TURN: Mutex<()> = Mutex::new(());

/// Tests take turns: most break the default device for a while.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device of one's own.
fn own(limits: &[(&str, u64)]) -> Result<Device> {
    let mut choice = AdapterChoice::from_env()?;
    choice.limits.extend(limits.iter().map(|(n, v)| ((*n).to_owned(), *v)));
    Device::open(&choice)
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A model with its optimizer; two training steps give its loss and weights.
struct Training {
    model: Sequential,
    sgd: Sgd,
}

impl Training {
    fn new(device: &Device) -> Result<Self> {
        device.manual_seed(3);
        let model = Sequential::new().add(Linear::new(12, 9, device)?).add(ReLU).add(Linear::new(9, 5, device)?);
        let sgd = Sgd::new(model.parameters(), SgdOptions::new(0.1))?;
        Ok(Self { model, sgd })
    }

    fn step(&mut self, device: &Device) -> Result<Tensor> {
        let x = Tensor::from_slice(&numbers(7 * 12), [7, 12], device)?;
        let y = Tensor::from_slice(&[0i32, 1, 2, 3, 4, 0, 1], [7], device)?;
        self.sgd.zero_grad();
        let loss = functional::cross_entropy(&self.model.forward(&x)?, &y, ())?;
        loss.backward()?;
        self.sgd.step()?;
        Ok(loss.detach())
    }

    fn weights(&self) -> Result<Vec<Vec<f32>>> {
        self.model.parameters().iter().map(|p| p.tensor().to_vec()).collect()
    }
}

fn train(device: &Device) -> Result<Vec<Vec<f32>>> {
    let mut training = Training::new(device)?;
    let mut out = vec![training.step(device)?.to_vec()?];
    out.push(training.step(device)?.to_vec()?);
    out.extend(training.weights()?);
    Ok(out)
}

#[test]
fn each_failure_is_an_error_and_the_next_try_is_right() -> Result<()> {
    let _turn = turn();
    let mut device = own(&[])?;
    let want = train(&device)?;
    let kinds = [
        (Point::Allocation, ErrorKind::OutOfMemory),
        (Point::Allocation, ErrorKind::Device),
        (Point::Upload, ErrorKind::OutOfMemory),
        (Point::Upload, ErrorKind::Device),
        (Point::Submission, ErrorKind::Device),
        (Point::Submission, ErrorKind::OutOfMemory),
        (Point::Read, ErrorKind::Timeout),
        (Point::Read, ErrorKind::Device),
        (Point::Submission, ErrorKind::DeviceLost),
        (Point::Read, ErrorKind::DeviceLost),
        (Point::Allocation, ErrorKind::DeviceLost),
    ];
    let mut struck = 0;
    for (point, kind) in kinds {
        for times in [2, 1] {
            let lost = kind == ErrorKind::DeviceLost;
            if lost && times == 1 {
                continue;
            }
            let mut n = 1;
            let (mut refused, mut mended) = (0, 0);
            loop {
                device.empty_cache();
                device.inject(Some(Injection { point, kind, nth: n, times }));
                let outcome = train(&device);
                let passed = device.inject(None);
                let told = format!("{point:?} {n} of {passed} as {kind:?}");
                match outcome {
                    Ok(got) => {
                        // a lack of memory is made good: once, or where less at a time is computed
                        let may = kind == ErrorKind::OutOfMemory;
                        assert!(passed < n || may, "{told} was ignored");
                        assert_eq!(got, want, "{told}");
                        mended += usize::from(passed >= n);
                    }
                    Err(e) => {
                        refused += 1;
                        assert_eq!(e.kind(), kind, "{told}: {e}");
                    }
                }
                if lost && passed >= n {
                    assert!(device.is_lost());
                    device = device.recover()?;
                }
                assert_eq!(train(&device)?, want, "after {told}");
                if passed < n {
                    break;
                }
                // opening devices takes long
                n = if lost { n * 4 } else { n + 1 };
            }
            println!("| {point:?} | {kind:?} x {times} | {mended} made good | {refused} refused by its kind | 0 |");
            struck += refused;
        }
    }
    println!("{struck} failures");
    assert!(struck > 40, "{struck} failures are no test");
    Ok(())
}

#[test]
fn a_model_survives_a_failed_step() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let mut training = Training::new(&device)?;
    let mut history = vec![training.weights()?];
    for _ in 0..3 {
        training.step(&device)?;
        history.push(training.weights()?);
    }
    for point in [Point::Allocation, Point::Submission, Point::Upload] {
        for n in 1..6 {
            let mut training = Training::new(&device)?;
            training.step(&device)?;
            training.weights()?;
            device.empty_cache();
            let kind = ErrorKind::OutOfMemory;
            device.inject(Some(Injection { point, kind, nth: n, times: 2 }));
            let outcome = training.step(&device).and_then(|loss| loss.to_vec::<f32>());
            device.inject(None);
            // each weight is what it was, or what it should have become, and that comes out by itself
            let now = training.weights()?;
            for ((now, before), after) in now.iter().zip(&history[1]).zip(&history[2]) {
                assert!(now == before || now == after, "{point:?} {n}: {outcome:?}");
            }
            if now == history[2] {
                training.step(&device)?;
                assert_eq!(training.weights()?, history[3], "{point:?} {n}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_failed_computation_is_done_again() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let x = Tensor::from_slice(&numbers(1000), [1000], &device)?;
    let y = x.exp()?.sum()?;
    let want = (x.exp()?.sum()?).item()?;
    for point in [Point::Submission, Point::Read] {
        device.inject(Some(Injection { point, kind: ErrorKind::Device, nth: 1, times: 1 }));
        assert_eq!(y.item().expect_err("injected").kind(), ErrorKind::Device);
        device.inject(None);
        assert_eq!(y.item()?, want);
    }
    // pending work that could not be submitted is submitted by the next call
    let (z, dispatches) = ((&x * 2.0)?, device.counters().dispatches);
    device.inject(Some(Injection { point: Point::Submission, kind: ErrorKind::Device, nth: 1, times: 1 }));
    assert!(device.submit().is_err());
    device.inject(None);
    assert_eq!(device.counters().dispatches, dispatches);
    device.submit()?;
    assert_eq!(device.counters().dispatches, dispatches + 1);
    assert_eq!(z.to_vec::<f32>()?[0], x.to_vec::<f32>()?[0] * 2.0);
    Ok(())
}

#[test]
fn memory_ends_at_the_limit() -> Result<()> {
    let _turn = turn();
    let device = own(&[("memory", (8 << 20) + 4096)])?;
    assert_eq!(device.memory_stats().limit, Some((8 << 20) + 4096));
    let mib = |n: usize| Tensor::from_slice(&numbers(n << 18), [n << 18], &device);
    let x = mib(4)?;
    let e = mib(5).expect_err("too much");
    assert_eq!(e.kind(), ErrorKind::OutOfMemory);
    assert!(e.message().contains("8392704") && e.message().contains("4194304 in use"), "{e}");
    let y = mib(3)?;
    let sum = (&x * 2.0)?;
    assert_eq!(sum.eval().expect_err("too much").kind(), ErrorKind::OutOfMemory);
    // live tensors are as they were
    assert_eq!(x.narrow(0, 5, 10)?.to_vec::<f32>()?, numbers(20)[5..15]);
    assert_eq!(y.narrow(0, 5, 10)?.to_vec::<f32>()?, numbers(20)[5..15]);
    // what waits for reuse is given back before anything is refused
    drop(y);
    assert!(device.memory_stats().reserved >= 7 << 20);
    sum.eval()?;
    assert_eq!(sum.narrow(0, 7, 1)?.to_vec::<f32>()?[0], numbers(8)[7] * 2.0);
    assert!(device.memory_stats().reserved <= (8 << 20) + 4096 && device.memory_stats().reclaims > 0);
    device.set_memory_limit(None);
    mib(20)?;
    assert_eq!(device.memory_stats().limit, None);
    Ok(())
}

#[test]
fn intermediates_of_one_recording_make_room_for_each_other() -> Result<()> {
    let _turn = turn();
    let device = own(&[])?;
    // each product is of another size, so none can serve another
    let chain = || -> Result<Tensor> {
        let mut x = Tensor::from_slice(&numbers(256), [256, 1], &device)?;
        for i in 0..10 {
            let columns = 1000 + 400 * i;
            x = x.matmul(&Tensor::ones([x.size(1)?, columns], &device)?)?;
            x = x.narrow(1, 0, 1)?.div(10.0)?.contiguous()?.matmul(&Tensor::ones([1, columns], &device)?)?;
        }
        x.sum()
    };
    let want = chain()?.item()?;
    let free = device.memory_stats().peak;
    device.synchronize()?;
    device.empty_cache();
    device.reset_peak();
    let limit = device.memory_stats().reserved + (13 << 20);
    device.set_memory_limit(Some(limit));
    let before = device.memory_stats().reclaims;
    assert_eq!(chain()?.item()?, want);
    let stats = device.memory_stats();
    assert!(stats.reserved <= limit, "{stats:?}");
    assert!(stats.reclaims > before, "the limit was not felt: {stats:?}, without it {free}");
    Ok(())
}

#[test]
fn what_no_device_holds_is_refused() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let most = device.facts().max_buffer_bytes;
    for elements in [most / 4 + 1, most / 2, u64::from(u32::MAX) - 100, 1 << 40] {
        let e = Tensor::zeros([elements as usize], &device).and_then(|t| t.eval()).expect_err("too large");
        assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{elements}: {e}");
    }
    assert_eq!(Tensor::ones([3], &device)?.sum()?.item()?, 3.0);
    Ok(())
}

#[test]
fn a_lost_device_says_so_and_has_a_successor() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    device.set_timeout(Duration::from_secs(50));
    device.manual_seed(11);
    Tensor::rand([3], &device)?;
    let state = device.generator().state();
    let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &device)?;
    let saved = x.to_vec::<f32>()?;
    let y = (&x + 1.0)?;
    let pending = (&y * 2.0)?;
    y.eval()?;
    device.destroy();
    assert!(device.is_lost());
    let lost = |outcome: Result<()>| {
        let e = outcome.expect_err("the device is lost");
        assert_eq!(e.kind(), ErrorKind::DeviceLost, "{e}");
    };
    lost(x.to_vec::<f32>().map(drop));
    lost(y.eval());
    lost(y.to_vec::<f32>().map(drop));
    lost(pending.to_vec::<f32>().map(drop));
    lost((&x + &y).map(drop));
    lost(Tensor::zeros([2], &device).map(drop));
    lost(Tensor::from_slice(&saved, [2], &device).map(drop));
    lost(device.submit());
    lost(device.synchronize());
    lost(pollster::block_on(x.to_vec_async::<f32>()).map(drop));
    lost(calor::profile(&device, || Ok(())).map(drop));
    // what needs no device works still
    device.empty_cache();
    assert_eq!((device.memory_snapshot().total() > 0, x.shape()[0]), (true, 2));

    let next = Device::best()?;
    assert!(!next.is_lost() && !next.same(&device));
    assert!(next.same(&device.recover()?) && next.same(&Device::best()?));
    assert_eq!(next.generator().state(), state, "random numbers go on");
    lost((Tensor::ones([2], &next)? + &y).map(drop));
    let x = Tensor::from_slice(&saved, [2], ())?;
    assert_eq!((&x + 1.0)?.to_vec::<f32>()?, [2.0, 3.0]);
    // and once more
    next.destroy();
    let third = device.recover()?;
    assert!(!third.is_lost() && third.same(&Device::best()?));
    assert_eq!(Tensor::ones([2], ())?.sum()?.item()?, 2.0);
    Ok(())
}

#[test]
fn waits_end() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let usual = Duration::from_secs(60);
    let n = 700;
    let a = Tensor::from_slice(&numbers(n * n), [n, n], &device)?;
    let work = || -> Result<Tensor> {
        let mut x = a.clone();
        for _ in 0..3 {
            x = (x.matmul(&a)? * 0.01)?;
        }
        x.sum()
    };
    let want = work()?.item()?;
    let x = work()?;
    device.set_timeout(Duration::from_micros(10));
    // some drivers wait while they take a submission, so the outcome of what follows another one is theirs
    let outcome = x.eval().and_then(|()| device.synchronize());
    device.set_timeout(usual);
    match outcome {
        Err(e) => assert_eq!(e.kind(), ErrorKind::Timeout, "{e}"),
        Ok(()) => assert_eq!(device.facts().backend, "gl", "only there submitting is computing"),
    }
    assert_eq!(x.item()?, want);
    let y = (&x + 1.0)?;
    let mut late = 0;
    device.set_timeout(Duration::ZERO);
    for _ in 0..100 {
        match y.item() {
            Ok(value) => assert!((value - want - 1.0).abs() < 1e-6),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Timeout, "{e}");
                late += 1;
            }
        }
    }
    device.set_timeout(usual);
    println!("{late} of 100 reads were too late");
    assert!((y.item()? - want - 1.0).abs() < 1e-6);
    assert_eq!(work()?.item()?, want);
    device.synchronize()
}

#[test]
fn submissions_are_cut_by_work() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let x = Tensor::from_slice(&numbers(64 * 64), [64, 64], &device)?;
    let work = || -> Result<Vec<f32>> {
        let mut y = x.clone();
        for _ in 0..12 {
            y = y.matmul(&x)?.tanh()?;
        }
        let before = device.counters();
        y.eval()?;
        let after = device.counters();
        assert_eq!(after.dispatches - before.dispatches, 12);
        let mut out = y.to_vec()?;
        out.push((after.submits - before.submits) as f32);
        Ok(out)
    };
    let usual = device.pace();
    let mut whole = work()?;
    assert_eq!(whole.pop(), Some(1.0));
    let product = 2 * 64 * 64 * 64;
    let bytes = 3 * 4 * 64 * 64;
    for (pace, submissions) in [
        (Pace { submission_work: product / 4, ..usual }, 12.0),
        (Pace { submission_work: 3 * product, ..usual }, 4.0),
        (Pace { submission_bytes: 4 * bytes, ..usual }, 3.0),
    ] {
        device.set_pace(pace);
        let cut = work();
        device.set_pace(usual);
        let mut cut = cut?;
        assert_eq!(cut.pop(), Some(submissions), "{pace:?}");
        assert_eq!(cut, whole);
    }
    // a kernel of much more is cut itself, on a device that was open before as well
    device.set_pace(Pace { submission_work: product / 64, ..usual });
    let cut = work();
    device.set_pace(usual);
    let mut cut = cut?;
    assert!(cut.pop() > Some(12.0));
    assert_eq!(cut, whole);
    assert_eq!(work()?.pop(), Some(1.0));
    Ok(())
}

#[test]
fn a_loop_that_never_reads_keeps_its_memory() -> Result<()> {
    let _turn = turn();
    let device = own(&[])?;
    let usual = device.pace();
    let n = 1 << 16;
    let batch = numbers(n);
    let w = Tensor::from_slice(&numbers(32 * 32), [32, 32], &device)?;
    let mut x = Tensor::from_slice(&batch, [n], &device)?;
    let mut h = Tensor::from_slice(&batch[..256 * 32], [256, 32], &device)?;
    // an upload a step, and no upload
    device.set_pace(Pace { pending_bytes: 4 << 20, ..usual });
    let mut reserved = 0;
    for i in 0..5000 {
        let new = Tensor::from_slice(&batch[..n / 4], [n / 4], &device)?;
        x = ((x * 0.5)? + new.unsqueeze(0)?.expand([4, n / 4])?.reshape([n])?)?;
        if i % 10 == 0 {
            h = (h.matmul(&w)?.tanh()? + &h.mul(0.1)?)?;
        }
        if i == 1000 {
            reserved = device.memory_stats().reserved;
        }
    }
    let stats = device.memory_stats();
    println!("{stats:?} {:?}", device.counters());
    assert!(stats.peak < 24 << 20, "{stats:?}");
    assert!(stats.reserved <= reserved + (2 << 20), "from {reserved} to {stats:?}");
    assert!(device.counters().submits > 50, "{:?}", device.counters());
    let (first, want) = (x.narrow(0, 0, 1)?.item()?, f64::from(batch[0]) * 2.0);
    assert!((first - want).abs() < 1e-4, "{first} {want}");
    // work alone makes it compute as well
    device.set_pace(Pace { pending_work: 100 * n as u64, ..usual });
    let submits = device.counters().submits;
    let mut y = x.clone();
    for _ in 0..500 {
        y = (y * 1.001)?;
    }
    assert!(device.counters().submits >= submits + 5);
    Ok(())
}

/// Sums that nobody reads, over values that were computed for others: they do not keep all of these.
#[test]
fn what_waits_does_not_keep_what_it_reads_for_ever() -> Result<()> {
    let _turn = turn();
    let n = 1 << 18;
    let rounds = |device: &Device| -> Result<u64> {
        let x = Tensor::from_slice(&numbers(n), [n], device)?;
        let mut seen = Tensor::zeros([], device)?;
        x.eval()?;
        device.reset_peak();
        for i in 0..40 {
            let y = (&x * f64::from(i))?;
            let right = y.gt(0.0)?.to_dtype(DType::F32)?.sum()?;
            // computed for another value, and asked for itself
            if i % 2 == 0 {
                y.mean()?.item()?;
            } else {
                y.eval()?;
            }
            seen = (seen + right)?;
        }
        let peak = device.memory_stats().peak;
        let positive = numbers(n).iter().filter(|v| **v > 0.0).count();
        assert_eq!(seen.item()?, 39.0 * positive as f64);
        Ok(peak)
    };
    // by the pace, and where memory ends
    let paced = own(&[])?;
    paced.set_pace(Pace { pending_bytes: 4 << 20, ..paced.pace() });
    let peak = rounds(&paced)?;
    assert!(peak < 12 << 20, "{peak}");
    let short = own(&[])?;
    short.set_memory_limit(Some(8 << 20));
    let peak = rounds(&short)?;
    assert!(peak <= 8 << 20, "{peak}");
    Ok(())
}

#[test]
fn a_snapshot_names_what_is_held() -> Result<()> {
    let _turn = turn();
    let device = own(&[])?;
    let x = Tensor::from_slice(&numbers(6000), [60, 100], &device)?;
    let y = (x.matmul(&x.t()?)?.relu()? + 1.0)?;
    y.eval()?;
    let before = device.memory_stats();
    assert_eq!((before.current, before.allocations), (6000 * 4 + 3600 * 4, 2));
    let snapshot = device.memory_snapshot();
    assert_eq!(snapshot.total(), before.current);
    let told: Vec<_> = snapshot.allocations.iter().map(|a| (a.bytes, a.origin.clone().expect("named"))).collect();
    assert_eq!((told[0].0, &told[0].1.shape[..]), (24000, &[60usize, 100][..]));
    assert_eq!((told[1].0, &told[1].1.op[..], &told[1].1.shape[..]), (14400, "add", &[60usize, 60][..]));
    let text = snapshot.to_string();
    println!("{text}");
    assert!(text.contains("add  f32[60, 60]") && text.find("23.4 KiB") < text.find("14.1 KiB"), "{text}");
    drop((x, y));
    let after = device.memory_stats();
    assert_eq!((after.current, after.allocations, device.memory_snapshot().total()), (0, 0, 0));
    assert!(after.reserved > 0 && after.peak >= before.current);
    device.empty_cache();
    device.reset_peak();
    let empty = device.memory_stats();
    assert_eq!((empty.reserved, empty.peak), (0, 0));
    Ok(())
}

#[test]
fn what_fails_by_itself_hinders_nothing_else() -> Result<()> {
    let _turn = turn();
    let device = own(&[])?;
    let usual = device.pace();
    let most = device.facts().max_buffer_bytes;
    let x = Tensor::from_slice(&numbers(8), [8], &device)?;
    let one = x.narrow(0, 0, 1)?;
    let huge = (Tensor::zeros([most as usize / 4 + 1], &device)? + &one)?;
    let behind = (&huge * 2.0)?;
    device.set_pace(Pace { pending_nodes: 40, ..usual });
    let (plans, submits) = (device.counters().plans, device.counters().submits);
    let mut held = vec![x.clone()];
    for i in 0..400 {
        held.push((&held[i] * 0.5)?);
    }
    let after = device.counters();
    assert!(after.submits >= submits + 8, "{after:?}");
    assert!(after.plans <= plans + 60, "{} plans", after.plans - plans);
    device.set_pace(usual);
    assert_eq!(held[2].to_vec::<f32>()?[0], numbers(8)[0] * 0.25);
    let fresh = (&x * 3.0)?;
    let before = device.counters().dispatches;
    assert_eq!(device.submit().expect_err("too large").kind(), ErrorKind::OutOfMemory);
    assert!(device.counters().dispatches > before, "the rest was not computed");
    for t in [&huge, &behind] {
        assert_eq!(t.eval().expect_err("too large").kind(), ErrorKind::OutOfMemory);
    }
    assert_eq!(fresh.to_vec::<f32>()?[1], numbers(8)[1] * 3.0);
    drop((huge, behind));
    device.submit()
}

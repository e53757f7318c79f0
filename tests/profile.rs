//! Profiles and the fusion checker.

use calor::dtype::Scalar;
use calor::gpu::AdapterChoice;
use calor::graph::{Body, LowerCx, Lowering, Param, Primitive};
use calor::{DType, Device, ErrorKind, Profiler, Result, Tensor, check_fusion, profile};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn program(device: &Device) -> Result<f64> {
    let x = Tensor::rand([96, 96], device)?;
    let mut y = x.clone();
    for _ in 0..5 {
        y = y.matmul(&x)?.tanh()?;
    }
    y.softmax(1)?.sum()?.item()
}

#[test]
fn kernels_and_host_are_timed() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let before = device.counters().dispatches;
    let (sum, profile) = profile(&device, || program(&device))?;
    let ran = device.counters().dispatches - before;
    println!("{profile}");
    assert!((sum - 96.0).abs() < 1e-2);
    assert_eq!(profile.kernels.iter().map(|k| k.runs).sum::<u64>(), ran);
    let product = profile.kernels.iter().find(|k| k.name.contains("matmul")).expect("a product");
    assert!(product.bytes > 0 && product.work >= 2 * 96 * 96 * 96);
    assert_eq!(profile.timed, device.facts().timestamps);
    if profile.timed {
        assert!(profile.kernels.iter().all(|k| k.time.is_some()));
        assert!(profile.kernels.windows(2).all(|k| k[0].time >= k[1].time), "longest first");
        let time = profile.device_time().expect("timed");
        assert!(!time.is_zero() && time <= profile.wall, "{time:?} of {:?}", profile.wall);
        assert!(product.gb_per_s().is_some_and(|r| r > 0.0) && product.gop_per_s().is_some_and(|r| r > 0.0));
    }
    for name in ["record", "plan", "compile", "encode", "submit", "wait", "read"] {
        assert!(profile.host.iter().any(|h| h.name == name), "{name}");
    }
    let text = profile.to_string();
    assert!(text.contains("GB/s") && text.contains("matmul") && text.contains("plan"), "{text}");
    the_trace_is_json(&profile.trace(), if profile.timed { ran } else { 0 });
    // off again, it measures nothing and may start again
    let second = Profiler::start(&device)?;
    assert_eq!(Profiler::start(&device).expect_err("one at a time").kind(), ErrorKind::Value);
    drop(second);
    let (_, empty) = calor::profile(&device, || Ok(()))?;
    assert!(empty.kernels.is_empty());
    // errors of the program come out, and end the profile
    let e = calor::profile(&device, || Tensor::ones([2], &device)?.reshape([3])).expect_err("a shape");
    assert_eq!(e.kind(), ErrorKind::Shape);
    drop(Profiler::start(&device)?);
    Ok(())
}

fn the_trace_is_json(text: &str, runs: u64) {
    let trace: Value = serde_json::from_str(text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    let spans: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    for e in &spans {
        assert!(e["ts"].as_f64().is_some_and(|t| t >= 0.0) && e["dur"].as_f64().is_some_and(|d| d >= 0.0), "{e}");
    }
    let kernels: Vec<&&Value> = spans.iter().filter(|e| e["pid"] == 1).collect();
    assert_eq!(kernels.len() as u64, runs);
    // a device runs one kernel after another, none before it was submitted
    let end = |e: &Value| e["ts"].as_f64().unwrap_or(0.0) + e["dur"].as_f64().unwrap_or(0.0);
    let first = spans.iter().filter(|e| e["name"] == "encode").map(|e| e["ts"].as_f64().unwrap_or(0.0));
    let first = first.fold(f64::INFINITY, f64::min);
    for pair in kernels.windows(2) {
        assert!(pair[1]["ts"].as_f64().unwrap_or(0.0) >= end(pair[0]) - 1.0, "{} {}", pair[0], pair[1]);
    }
    assert!(kernels.iter().all(|e| e["ts"].as_f64().is_some_and(|t| t >= first)));
    assert!(spans.iter().any(|e| e["pid"] == 2 && e["name"] == "plan"));
    assert!(events.iter().any(|e| e["ph"] == "M" && e["args"]["name"] == "host"));
}

#[test]
fn many_kernels_need_many_timestamps() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let x = Tensor::ones([4], &device)?;
    x.eval()?;
    let (_, profile) = profile(&device, || {
        // what is held is computed by itself; more runs than one query set has room for
        device.set_fusion(false);
        let mut all = vec![x.clone()];
        for i in 0..2500 {
            all.push((&all[i] + 1.0)?);
        }
        let outcome = Tensor::eval_all(&all);
        device.set_fusion(true);
        outcome?;
        assert_eq!(all[2500].to_vec::<f32>()?, [2501.0; 4]);
        Ok(())
    })?;
    let runs: u64 = profile.kernels.iter().map(|k| k.runs).sum();
    assert!(runs >= 2500, "{runs}");
    if profile.timed {
        the_trace_is_json(&profile.trace(), runs);
    }
    Ok(())
}

#[test]
fn without_timestamps_the_host_is_timed() -> Result<()> {
    let _turn = turn();
    let mut choice = AdapterChoice::from_env()?;
    choice.disable.push("timestamps".into());
    let device = Device::open(&choice)?;
    let (_, profile) = profile(&device, || program(&device))?;
    assert!(!profile.timed && profile.device_time().is_none());
    assert!(profile.kernels.iter().all(|k| k.time.is_none() && k.runs > 0));
    assert!(profile.to_string().contains("no timestamps"));
    the_trace_is_json(&profile.trace(), 0);
    Ok(())
}

/// A rule that is not the same each time.
#[derive(Debug)]
struct Wrong(AtomicU32);

// no plan of it may serve again
impl PartialEq for Wrong {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Wrong {}

impl std::hash::Hash for Wrong {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Primitive for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        let mut body = Body::new();
        let x = body.input(0);
        if self.0.fetch_add(1, Relaxed).is_multiple_of(2) {
            let y = body.value(0, DType::F32);
            body.call("op_add", &[x, y]);
        }
        Ok(Lowering::Map(body))
    }
}

#[test]
fn the_first_operation_that_differs_is_named() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let x = Tensor::rand([50], &device)?;
    let good = check_fusion(&device, 1e-5, || {
        let noise = Tensor::rand([50], &device)?;
        let y = x.mul(&noise)?.tanh()?;
        Ok(vec![y.sum()?, y.to_dtype(DType::F16)?.exp()?])
    })?;
    println!("{good}");
    assert!(good.difference.is_none() && good.compared == 51, "{good}");
    let before = (device.generator().state(), Tensor::rand([2], &device)?.to_vec::<f32>()?);
    let wrong = Arc::new(Wrong(AtomicU32::new(0)));
    let bad = check_fusion(&device, 1e-5, || {
        let y = x.exp()?;
        let params = [Param::scalar(Scalar::Float(0.5), DType::F32)];
        let y = Tensor::apply(wrong.clone(), &device, (&[50], DType::F32), &[&y], &params)?;
        Ok(vec![x.sum()?, y.tanh()?.mul(2.0)?])
    })?;
    println!("{bad}");
    let difference = bad.difference.clone().expect("a difference");
    assert_eq!((&difference.op[..], difference.dtype, &difference.shape[..]), ("wrong", DType::F32, &[50usize][..]));
    assert!(difference.place.is_some() && (difference.fused - difference.alone).abs() > 0.4, "{bad}");
    assert!(bad.to_string().contains("`wrong` f32[50]"), "{bad}");
    // the device is as it was
    device.generator().set_state(before.0);
    assert_eq!(Tensor::rand([2], &device)?.to_vec::<f32>()?, before.1);
    Ok(())
}

/// Keeps what the library logs.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("calor")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

#[test]
fn devices_pipelines_and_submissions_are_logged() -> Result<()> {
    static LINES: Lines = Lines(Mutex::new(Vec::new()));
    let _turn = turn();
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    let device = Device::open(&AdapterChoice::from_env()?)?;
    program(&device)?;
    log::set_max_level(log::LevelFilter::Off);
    let lines = LINES.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for start in ["INFO opened ", "DEBUG compiled `matmul", "TRACE submitted "] {
        assert!(lines.iter().any(|line| line.starts_with(start)), "{start}: {lines:#?}");
    }
    Ok(())
}

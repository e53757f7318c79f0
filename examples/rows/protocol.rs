//! The protocol that all peers follow, so that a row means the same thing everywhere: inputs come from a hash of
//! (seed, index); the first call is timed alone, then a warm-up, then repetitions that each end with a
//! synchronisation, of which the median counts; the output is reduced to two numbers that must agree between peers.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The name of this library among the peers.
pub const PEER: &str = "calor";

/// Every row, in the order of the table.
pub const ROWS: &[&str] = &[
    "matmul_f32_256",
    "matmul_f32_512",
    "matmul_f32_1024",
    "matmul_f32_2048",
    "matmul_f16_1024",
    "bmm_f32_32x128x64x128",
    "chain_4m",
    "sum_all_4m",
    "sum_last_2048",
    "sum_first_2048",
    "softmax_2048x1024",
    "layernorm_2048x1024",
    "conv2d_8x32x56_64",
    "conv2d_16x3x64_32",
    "maxpool_8x64x56",
    "batchnorm_train_8x64x56",
    "gather_65536x128",
    "scatter_add_65536x128",
    "cat_2048x1024_d1",
    "transpose_copy_2048",
    "add16_x1000",
    "add16_roundtrip",
    "train_mlp",
    "train_cnn",
    "train_chargpt",
    "train_lstm",
    "cold_matmul512",
];

/// Steps after which the training rows report their loss.
pub const CHECK_STEPS: usize = 10;

fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn raw(seed: u32, i: usize) -> u32 {
    mix((i as u32).wrapping_add(seed.wrapping_mul(0x9e37_79b9)).wrapping_add(1))
}

/// `n` values uniform in `[-scale, scale)`, with 24 significant bits.
pub fn data(seed: u32, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((raw(seed, i) >> 8) as f32 / 8_388_608.0 - 1.0) * scale).collect()
}

/// `n` indices uniform in `[0, bound)`.
pub fn indices(seed: u32, n: usize, bound: usize) -> Vec<i32> {
    (0..n).map(|i| ((u64::from(raw(seed, i)) * bound as u64) >> 32) as i32).collect()
}

/// The mean of `|y|`, and a mean weighted by position so that order matters.
pub fn check(y: &[f32]) -> [f64; 2] {
    let (mut a, mut w) = (0f64, 0f64);
    for (i, &v) in y.iter().enumerate() {
        a += f64::from(v.abs());
        w += f64::from(v) * (f64::from(raw(7, i)) / 4_294_967_296.0);
    }
    let n = y.len().max(1) as f64;
    [a / n, w / n]
}

/// Times in milliseconds.
pub struct Timing {
    first: f64,
    median: f64,
    min: f64,
    p90: f64,
    reps: usize,
}

fn env_ms(name: &str, default: u64) -> Duration {
    Duration::from_millis(std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default))
}

/// Runs `f`, which must synchronise before it returns, and times it: first call, warm-up of at least 3 calls and
/// `PEER_WARM_MS`, then `PEER_REP_MS` worth of calls, between 5 and 400. `PEER_REPS` asks for so many and no warm-up.
pub fn measure<E>(mut f: impl FnMut() -> Result<(), E>) -> Result<Timing, E> {
    let fixed: Option<usize> = std::env::var("PEER_REPS").ok().and_then(|s| s.parse().ok());
    let (warm, rep) = (env_ms("PEER_WARM_MS", 300), env_ms("PEER_REP_MS", 1500));
    let timed = |f: &mut dyn FnMut() -> Result<(), E>| {
        let start = Instant::now();
        f().map(|()| start.elapsed().as_secs_f64() * 1e3)
    };
    let first = timed(&mut f)?;
    let (start, mut calls) = (Instant::now(), 0);
    while fixed.is_none() && (calls < 3 && start.elapsed().as_secs() < 10 || start.elapsed() < warm) {
        f()?;
        calls += 1;
    }
    let (start, mut ms) = (Instant::now(), Vec::new());
    let more = |n: usize, spent: Duration| match fixed {
        Some(fixed) => n < fixed,
        None => n < 5 && spent.as_secs() < 20 || n < 400 && spent < rep,
    };
    while ms.is_empty() || more(ms.len(), start.elapsed()) {
        ms.push(timed(&mut f)?);
    }
    ms.sort_by(f64::total_cmp);
    let at = |i: usize| ms[i];
    let n = ms.len();
    Ok(Timing { first, median: (at((n - 1) / 2) + at(n / 2)) / 2.0, min: at(0), p90: at((n - 1) * 9 / 10), reps: n })
}

/// What a row is worth.
#[derive(Clone, Copy)]
pub enum Work {
    /// Arithmetic.
    Flop(f64),
    /// Memory read and written.
    Bytes(f64),
    /// Small operations.
    Ops(f64),
}

/// Prints a row as one line of JSON.
pub fn report(row: &str, t: &Timing, work: Work, check: &[f64]) {
    let mut extra = String::new();
    let s = t.median / 1e3;
    let _ = match work {
        Work::Flop(f) => write!(extra, "\"gflops\":{:.3}", f / s / 1e9),
        Work::Bytes(b) => write!(extra, "\"gbps\":{:.3}", b / s / 1e9),
        Work::Ops(n) => write!(extra, "\"us_per_op\":{:.4}", t.median * 1e3 / n),
    };
    let _ = write!(
        extra,
        ",\"first_ms\":{:.2},\"min_ms\":{:.4},\"p90_ms\":{:.4},\"reps\":{},\"check\":[{}]",
        t.first,
        t.min,
        t.p90,
        t.reps,
        list(check)
    );
    println!("{{\"peer\":\"{PEER}\",\"row\":\"{row}\",\"ms\":{:.4},\"extra\":{{{extra}}}}}", t.median);
}

/// Prints the time since the moment that the runner put into `PEER_T0_NS`.
pub fn report_since_start(row: &str, check: &[f64]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_nanos() as f64);
    let t0: f64 = std::env::var("PEER_T0_NS").ok().and_then(|s| s.parse().ok()).unwrap_or(now);
    let (ms, check) = ((now - t0) / 1e6, list(check));
    println!("{{\"peer\":\"{PEER}\",\"row\":\"{row}\",\"ms\":{ms:.3},\"extra\":{{\"check\":[{check}]}}}}");
}

fn list(check: &[f64]) -> String {
    let text = |v: &f64| if v.is_finite() { format!("{v:.8e}") } else { format!("\"{v}\"") };
    check.iter().map(text).collect::<Vec<_>>().join(",")
}

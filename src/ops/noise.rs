//! Uniform noise as a lazy map: element `i` of a draw is Philox 4x32-10 of its seed, its number and `i`.

use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::graph::{Body, Map, Param};
use crate::tensor::{Device, Tensor};
use std::sync::{Arc, LazyLock};

/// Each lane has a counter of its own, so that every lane may lie anywhere.
const WGSL: &str = "
fn wide(a: u32) -> U { return U(a); }
fn high(a: U, b: u32) -> U {
    let al = a & wide(0xffffu);
    let ah = a >> wide(16u);
    let bl = wide(b & 0xffffu);
    let bh = wide(b >> 16u);
    let m = ah * bl + ((al * bl) >> wide(16u));
    let l = al * bh + (m & wide(0xffffu));
    return ah * bh + (m >> wide(16u)) + (l >> wide(16u));
}
fn noise(i: U, key_a: U, key_b: U, draw_a: U, draw_b: U) -> U {
    var x = i;
    var y = wide(0u);
    var z = draw_a;
    var w = draw_b;
    var a = key_a;
    var b = key_b;
    for (var round = 0u; round < 10u; round++) {
        let nx = high(z, 0xcd9e8d57u) ^ y ^ a;
        let nz = high(x, 0xd2511f53u) ^ w ^ b;
        y = z * wide(0xcd9e8d57u);
        w = x * wide(0xd2511f53u);
        x = nx;
        z = nz;
        a = a + wide(0x9e3779b9u);
        b = b + wide(0xbb67ae85u);
    }
    return x >> wide(8u);
}
";

/// Independent numbers, uniform in `[0, 1)`, multiples of 2^-24, `f32`; takes the device's next draw.
pub(crate) fn uniform(shape: &[usize], device: &Device) -> Result<Tensor> {
    static MAP: LazyLock<Arc<Map>> = LazyLock::new(|| {
        let mut body = Body::new();
        body.source = Some(WGSL.into());
        let mut args = vec![body.flat()];
        args.extend((0..4).map(|k| body.param(k)));
        let bits = body.call("noise", &args);
        let number = body.cast(DType::F32, bits);
        let step = body.value(4, DType::F32);
        body.call("op_mul", &[number, step]);
        Arc::new(Map { name: "uniform".into(), body })
    });
    let draw = device.generator().draw();
    let word = |n: u64, k: u32| Param::U32((n >> (32 * k)) as u32);
    let step = Param::scalar(Scalar::Float(2f64.powi(-24)), DType::F32);
    let params = [word(draw.seed, 0), word(draw.seed, 1), word(draw.number, 0), word(draw.number, 1), step];
    Tensor::apply(MAP.clone(), device, (shape, DType::F32), &[], &params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_philox() -> Result<()> {
        let device = Device::best()?;
        let state = device.generator().state();
        device.manual_seed(0x1234_5678_9abc_def0);
        device.generator().set_state((0x1234_5678_9abc_def0, 7));
        let values = uniform(&[10_000], &device)?.to_vec::<f32>()?;
        device.generator().set_state(state);
        for i in [0usize, 1, 2, 3, 9_999] {
            assert_eq!(values[i], philox(i as u32, 0x1234_5678_9abc_def0, 7), "{i}");
        }
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01 && values.iter().all(|v| (0.0..1.0).contains(v)), "{mean}");
        Ok(())
    }

    fn philox(i: u32, key: u64, number: u64) -> f32 {
        let mut c = [i, 0, number as u32, (number >> 32) as u32];
        let mut k = [key as u32, (key >> 32) as u32];
        for _ in 0..10 {
            let a = u64::from(c[0]) * 0xd251_1f53;
            let b = u64::from(c[2]) * 0xcd9e_8d57;
            c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
            k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
        }
        (c[0] >> 8) as f32 / 16_777_216.0
    }
}

//! The rows of single operations, and the cold start.

use crate::protocol::{Work, check, data, indices, measure, report, report_since_start};
use calor::nn::MaxPool2d;
use calor::nn::functional::{self, Momentum};
use calor::{Approximate, DType, Device, Result, Tensor};

/// A tensor of hashed values.
pub fn input(seed: u32, shape: &[usize], scale: f32, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(&data(seed, shape.iter().product(), scale), shape, device)
}

/// A vector of hashed indices.
pub fn index_input(seed: u32, n: usize, bound: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(&indices(seed, n, bound), [n], device)
}

fn host(y: &Tensor) -> Result<Vec<f32>> {
    y.to_dtype(DType::F32)?.to_vec()
}

/// Times `f`, whose output is computed and waited for.
fn row(name: &str, device: &Device, work: Work, f: impl Fn() -> Result<Tensor>) -> Result<()> {
    device.synchronize()?;
    let t = measure(|| {
        let y = f()?;
        y.eval()?;
        device.synchronize()
    })?;
    report(name, &t, work, &check(&host(&f()?)?));
    Ok(())
}

fn matmul(name: &str, n: usize, dtype: DType, device: &Device) -> Result<()> {
    let make = |seed| input(seed, &[n, n], 1.0, device)?.to_dtype(dtype);
    let (a, b) = (make(1)?, make(2)?);
    Tensor::eval_all(&[a.clone(), b.clone()])?;
    row(name, device, Work::Flop(2.0 * (n as f64).powi(3)), || a.matmul(&b))
}

fn conv(name: &str, [n, c, h, w]: [usize; 4], filters: usize, device: &Device) -> Result<()> {
    let x = input(1, &[n, c, h, w], 1.0, device)?;
    let k = input(2, &[filters, c, 3, 3], 1.0, device)?;
    let flop = 2.0 * (n * filters * h * w * c * 9) as f64;
    row(name, device, Work::Flop(flop), || functional::conv(&x, &k, None, (&[1, 1], &[1, 1], &[1, 1]), 1))
}

/// Bytes of 4 M numbers.
const MB4: f64 = 4.0 * 4_194_304.0;

/// Runs a row.
pub fn run(name: &str, device: &Device) -> Result<()> {
    let large = |seed, shape: &[usize], scale| input(seed, shape, scale, device);
    match name {
        "matmul_f16_1024" => matmul(name, 1024, DType::F16, device),
        _ if name.starts_with("matmul_f32_") => {
            let n = name.rsplit('_').next().and_then(|n| n.parse().ok()).unwrap_or(256);
            matmul(name, n, DType::F32, device)
        }
        "bmm_f32_32x128x64x128" => {
            let (a, b) = (large(1, &[32, 128, 64], 1.0)?, large(2, &[32, 64, 128], 1.0)?);
            row(name, device, Work::Flop(2.0 * 32.0 * 128.0 * 64.0 * 128.0), || a.matmul(&b))
        }
        "chain_4m" => {
            let x = large(1, &[4_194_304], 3.0)?;
            row(name, device, Work::Bytes(2.0 * MB4), || {
                ((&x * 1.5)? + 0.25)?.gelu(Approximate::None)? * x.sigmoid()? + &x
            })
        }
        "sum_all_4m" => {
            let x = large(1, &[4_194_304], 1.0)?;
            row(name, device, Work::Bytes(MB4), || x.sum())
        }
        "sum_last_2048" | "sum_first_2048" => {
            let x = large(1, &[2048, 2048], 1.0)?;
            let dim = isize::from(name == "sum_last_2048");
            row(name, device, Work::Bytes(MB4), || x.sum_dims(&[dim], false))
        }
        "softmax_2048x1024" => {
            let x = large(1, &[2048, 1024], 4.0)?;
            row(name, device, Work::Bytes(MB4), || x.softmax(1))
        }
        "layernorm_2048x1024" => {
            let x = large(1, &[2048, 1024], 4.0)?;
            let (g, b) = (large(2, &[1024], 1.0)?, large(3, &[1024], 1.0)?);
            row(name, device, Work::Bytes(MB4), || functional::layer_norm(&x, &[1024], Some(&g), Some(&b), 1e-5))
        }
        "conv2d_8x32x56_64" => conv(name, [8, 32, 56, 56], 64, device),
        "conv2d_16x3x64_32" => conv(name, [16, 3, 64, 64], 32, device),
        "maxpool_8x64x56" => {
            let x = large(1, &[8, 64, 56, 56], 1.0)?;
            let bytes = 4.0 * 8.0 * 64.0 * (56.0 * 56.0 + 28.0 * 28.0);
            row(name, device, Work::Bytes(bytes), || functional::max_pool2d(&x, &MaxPool2d::new(2)))
        }
        "batchnorm_train_8x64x56" => batch_norm(name, device),
        "gather_65536x128" => {
            let (table, index) = (large(1, &[50_000, 128], 1.0)?, index_input(2, 65_536, 50_000, device)?);
            row(name, device, Work::Bytes(2.0 * 4.0 * 65_536.0 * 128.0), || table.index_select(0, &index))
        }
        "scatter_add_65536x128" => {
            let base = Tensor::zeros([50_000, 128], device)?;
            let (rows, index) = (large(1, &[65_536, 128], 1.0)?, index_input(2, 65_536, 50_000, device)?);
            let bytes = 4.0 * 128.0 * (65_536.0 + 50_000.0);
            row(name, device, Work::Bytes(bytes), || base.index_add(0, &index, &rows, 1))
        }
        "cat_2048x1024_d1" => {
            let (a, b) = (large(1, &[2048, 1024], 1.0)?, large(2, &[2048, 1024], 1.0)?);
            row(name, device, Work::Bytes(2.0 * MB4), || calor::cat(&[&a, &b], 1))
        }
        "transpose_copy_2048" => {
            let x = large(1, &[2048, 2048], 1.0)?;
            row(name, device, Work::Bytes(2.0 * MB4), || x.t()?.reshape([2048 * 2048]))
        }
        "add16_x1000" => {
            let x = large(1, &[16], 1.0)?;
            let chain = || (0..1000).try_fold(x.clone(), |y, _| y + &x)?.to_vec::<f32>();
            let t = measure(|| chain().map(drop))?;
            report(name, &t, Work::Ops(1000.0), &check(&chain()?));
            Ok(())
        }
        "add16_roundtrip" => {
            let x = large(1, &[16], 1.0)?;
            let once = || (&x + &x)?.to_vec::<f32>();
            let t = measure(|| once().map(drop))?;
            report(name, &t, Work::Ops(1.0), &check(&once()?));
            Ok(())
        }
        _ => {
            let (a, b) = (large(1, &[512, 512], 1.0)?, large(2, &[512, 512], 1.0)?);
            report_since_start(name, &check(&a.matmul(&b)?.to_vec()?));
            Ok(())
        }
    }
}

/// One training forward pass, with the running statistics moved.
fn batch_norm(name: &str, device: &Device) -> Result<()> {
    let x = input(1, &[8, 64, 56, 56], 1.0, device)?;
    let (g, b) = (input(2, &[64], 1.0, device)?, input(3, &[64], 1.0, device)?);
    let (mean, var) = (Tensor::zeros([64], device)?, Tensor::ones([64], device)?);
    let bytes = 2.0 * 4.0 * 64.0 * 8.0 * 56.0 * 56.0;
    row(name, device, Work::Bytes(bytes), || {
        functional::batch_norm(&x, Some((&mean, &var)), Some(&g), Some(&b), true, &Momentum::Share(0.1), 1e-5)
    })
}

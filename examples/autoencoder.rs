//! Teaches an autoencoder to press digits of 8 x 8 pixels into a few numbers and to draw them again: convolutions down, then a
//! transposed convolution and a pixel shuffle up.
//!
//! ```text
//! cargo run --release --example autoencoder
//! cargo run --release --example autoencoder -- --code 4
//! ```

mod common;

use calor::io::{Checkpoint, IdxData, read_idx};
use calor::nn::functional::{Reduction, mse_loss};
use calor::nn::{
    Conv2d, Conv2dOptions, ConvTranspose2d, ConvTransposeOptions, Flatten, Layer, Linear, Module, PixelShuffle,
    Sequential, SiLU, Sigmoid, Unflatten,
};
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Device, Result, Tensor, no_grad};
use clap::Parser;
use common::{Anyhow, Common};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

/// Teaches an autoencoder to press digits into a few numbers and to draw them again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Numbers that stand for a picture
    #[arg(long, default_value_t = 8)]
    code: usize,
    /// Pictures in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Learning rate at the start; it falls to zero
    #[arg(long, default_value_t = 5e-3)]
    lr: f64,
}

/// From pictures `[n, 1, 8, 8]` to codes `[n, code]`, and back.
#[derive(Module)]
struct Autoencoder {
    encoder: Sequential,
    decoder: Sequential,
}

impl Autoencoder {
    fn new(code: usize, device: &Device) -> Result<Self> {
        let halved = || Conv2dOptions::default().stride(2).padding(1).tensor(device);
        let doubled = ConvTransposeOptions::default().stride(2).tensor(device);
        Ok(Self {
            encoder: Sequential::new()
                .add(Conv2d::new(1, 16, 3, halved())?)
                .add(SiLU)
                .add(Conv2d::new(16, 32, 3, halved())?)
                .add(SiLU)
                .add(Flatten::default())
                .add(Linear::new(32 * 2 * 2, code, device)?),
            decoder: Sequential::new()
                .add(Linear::new(code, 32 * 2 * 2, device)?)
                .add(SiLU)
                .add(Unflatten::new(1, &[32, 2, 2]))
                .add(ConvTranspose2d::new(32, 16, 2, doubled)?)
                .add(SiLU)
                .add(Conv2d::new(16, 4, 3, Conv2dOptions::default().padding(1).tensor(device))?)
                .add(PixelShuffle::new(2))
                .add(Sigmoid),
        })
    }
}

impl Layer for Autoencoder {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.decoder.forward(&self.encoder.forward(x)?)
    }
}

/// The pictures of a part, `[n, 1, 8, 8]`, ink from 0 to 1.
fn pictures(part: &str, device: &Device) -> Anyhow<Tensor> {
    let name = format!("examples/data/digits/{part}-images-idx3-ubyte.gz");
    let images = read_idx(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))?;
    let IdxData::U8(pixels) = images.data else { return Err("pictures are bytes".into()) };
    let ink: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
    let [n, height, width] = images.shape[..] else { return Err("pictures are [n, h, w]".into()) };
    Ok(Tensor::from_slice(&ink, [n, 1, height, width], device)?)
}

/// Pictures above what became of them, pixels enlarged.
fn draw(path: &Path, above: &Tensor, below: &Tensor) -> Anyhow<()> {
    const SCALE: u32 = 10;
    let (n, size) = (above.size(0)? as u32, above.size(-1)? as u32);
    let cell = (size + 1) * SCALE;
    let mut picture = image::GrayImage::from_pixel(n * cell, 2 * cell, image::Luma([128]));
    for (row, pixels) in [above, below].into_iter().enumerate() {
        for (i, ink) in pixels.to_vec::<f32>()?.into_iter().enumerate() {
            let (at, pixel) = (i as u32 / (size * size), i as u32 % (size * size));
            let (x, y) = (at * cell + pixel % size * SCALE, row as u32 * cell + pixel / size * SCALE);
            for (dx, dy) in (0..SCALE * SCALE).map(|k| (k % SCALE, k / SCALE)) {
                picture.put_pixel(x + dx, y + dy, image::Luma([255 - (ink * 255.0) as u8]));
            }
        }
    }
    Ok(picture.save(path)?)
}

fn main() -> Anyhow<()> {
    let o = Options::parse();
    let device = o.common.open()?;
    let (train, test) = (pictures("train", &device)?, pictures("t10k", &device)?);
    let model = Autoencoder::new(o.code, &device)?;
    let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(o.lr))?;
    let (mut course, saved) = o.common.course("autoencoder", 1500, &device)?;
    if let Some(saved) = &saved {
        saved.load_module("model", &model, true)?;
        saved.load_optimizer("adam", &mut adam)?;
    }
    println!("{}", model.summary());
    let count = train.size(0)?;
    while let Some(step) = course.next_step() {
        let mut random = StdRng::seed_from_u64(o.common.seed << 32 | step);
        let chosen: Vec<i32> = (0..o.batch).map(|_| random.random_range(0..count) as i32).collect();
        let x = train.index_select(0, &Tensor::new(chosen, &device)?)?;
        adam.set_lr(0, o.lr * (1.0 - step as f64 / course.steps() as f64));
        let loss = mse_loss(&model.forward(&x)?, &x, Reduction::Mean)?;
        loss.backward()?;
        adam.step()?;
        adam.zero_grad();
        course.done(&loss)?;
        if course.next_step().is_none() || (step + 1) % 500 == 0 {
            let mut state = Checkpoint::new();
            state.module("model", &model)?.optimizer("adam", &adam)?;
            course.save(state, &device)?;
        }
    }
    let drawn = no_grad(|| model.forward(&test))?;
    let error = mse_loss(&drawn, &test, Reduction::Mean)?.item()?;
    let path = course.file("digits.png");
    draw(&path, &test.narrow(0, 0, 16)?, &drawn.narrow(0, 0, 16)?)?;
    course.finish(&format!("Digits through {} numbers: test error {error:.4}", o.code))?;
    let blank = mse_loss(&train.mean_dims(&[0], true)?.expand(test.shape())?, &test, Reduction::Mean)?.item()?;
    println!("test digits above what became of them: {}", path.display());
    println!("mean squared error {error:.4}, of the mean picture {blank:.4}");
    Ok(())
}

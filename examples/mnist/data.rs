//! Scans from IDX files, shifted a little while training; pictures brought into the same form.

use calor::data::Dataset;
use calor::io::{IdxData, read_idx};
use calor::{Result, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Anything that can go wrong.
pub type Anyhow<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Square grey pictures with their digits.
pub struct Scans {
    /// Pixels of a side.
    pub size: usize,
    /// Ink from 0 to 1, picture by picture.
    pixels: Vec<f32>,
    labels: Vec<i32>,
}

impl Scans {
    /// The part `train` or `t10k` of a folder in MNIST's form; files may be gzipped.
    pub fn read(folder: &Path, part: &str) -> Anyhow<Self> {
        let file = |what: &str| -> Anyhow<PathBuf> {
            let name = format!("{part}-{what}-ubyte");
            let found = [format!("{name}.gz"), name.clone()].into_iter().map(|n| folder.join(n)).find(|p| p.is_file());
            found.ok_or_else(|| format!("{} holds no {name} nor {name}.gz", folder.display()).into())
        };
        let images = read_idx(file("images-idx3")?)?;
        let labels = read_idx(file("labels-idx1")?)?;
        let (IdxData::U8(pixels), [count, height, width]) = (images.data, &images.shape[..]) else {
            return Err(format!("{part}: images are bytes of shape [n, h, w], got {:?}", images.shape).into());
        };
        let IdxData::U8(labels) = labels.data else {
            return Err(format!("{part}: labels are bytes").into());
        };
        if height != width || *height < 8 || labels.len() != *count || labels.iter().any(|&l| l > 9) {
            let shape = &images.shape;
            return Err(format!("{part}: images {shape:?} and {} labels of digits do not fit", labels.len()).into());
        }
        Ok(Self {
            size: *height,
            pixels: pixels.into_iter().map(|p| f32::from(p) / 255.0).collect(),
            labels: labels.into_iter().map(i32::from).collect(),
        })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    fn picture(&self, i: usize) -> &[f32] {
        let area = self.size * self.size;
        &self.pixels[i * area..][..area]
    }

    /// Pictures `from..to` as `[n, 1, size, size]`, and their digits.
    pub fn batch(&self, from: usize, to: usize, device: &calor::Device) -> Result<(Tensor, Tensor)> {
        let area = self.size * self.size;
        let x = Tensor::from_slice(&self.pixels[from * area..to * area], [to - from, 1, self.size, self.size], device)?;
        Ok((x, Tensor::from_slice(&self.labels[from..to], [to - from], device)?))
    }

    /// How a digit lies in its picture, on average.
    pub fn frame(&self) -> Frame {
        let mut sum = Frame::default();
        for i in 0..self.len() {
            let frame = Frame::of(self.picture(i), self.size);
            sum = Frame { extent: sum.extent + frame.extent, x: sum.x + frame.x, y: sum.y + frame.y };
        }
        let n = self.len().max(1) as f32;
        Frame { extent: sum.extent / n, x: sum.x / n, y: sum.y / n }
    }
}

/// How a digit lies in its picture: shares of the picture's side.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Frame {
    /// The longer side of the ink's box.
    pub extent: f32,
    /// The middle of the ink.
    pub x: f32,
    /// The middle of the ink.
    pub y: f32,
}

/// Less than this is not ink.
const FAINT: f32 = 0.25;

impl Frame {
    fn of(picture: &[f32], size: usize) -> Self {
        let (mut low, mut high, mut sum, mut x, mut y) = ([usize::MAX; 2], [0; 2], 0.0, 0.0, 0.0);
        for (i, &ink) in picture.iter().enumerate() {
            let at = [i % size, i / size];
            if ink > FAINT {
                for d in 0..2 {
                    (low[d], high[d]) = (low[d].min(at[d]), high[d].max(at[d] + 1));
                }
            }
            sum += ink;
            x += ink * (at[0] as f32 + 0.5);
            y += ink * (at[1] as f32 + 0.5);
        }
        if sum == 0.0 || low[0] == usize::MAX {
            return Self { extent: 1.0, x: 0.5, y: 0.5 };
        }
        let side = size as f32;
        let extent = (high[0] - low[0]).max(high[1] - low[1]) as f32 / side;
        Self { extent, x: x / sum / side, y: y / sum / side }
    }
}

/// Training pictures, each epoch turned, scaled and shifted differently: equally for equal seeds and epochs.
pub struct Varied {
    scans: Arc<Scans>,
    seed: u64,
    epoch: AtomicU64,
}

impl Varied {
    /// Variations of `scans`.
    pub fn new(scans: Arc<Scans>, seed: u64) -> Self {
        Self { scans, seed, epoch: AtomicU64::new(0) }
    }

    /// The epoch whose variations follow.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }
}

impl Dataset for Varied {
    type Item = (Vec<f32>, i32);

    fn len(&self) -> usize {
        self.scans.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let number = epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64 + 1);
        let mut random = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let (picture, size) = (self.scans.picture(index), self.scans.size);
        let middle = (size as f32 - 1.0) / 2.0;
        let turn: f32 = random.random_range(-0.15..0.15);
        let grow: f32 = random.random_range(0.92..1.08);
        let shift = size as f32 * 0.05;
        let (dx, dy) = (random.random_range(-shift..shift), random.random_range(-shift..shift));
        let (sin, cos) = (turn.sin() * grow, turn.cos() * grow);
        let ink = |x: isize, y: isize| {
            let inside = (0..size as isize).contains(&x) && (0..size as isize).contains(&y);
            if inside { picture[y as usize * size + x as usize] } else { 0.0 }
        };
        let varied = (0..size * size).map(|i| {
            // where this pixel lay, between four others
            let (x, y) = ((i % size) as f32 - middle, (i / size) as f32 - middle);
            let (x, y) = (cos * x - sin * y + middle + dx, sin * x + cos * y + middle + dy);
            let (left, top) = (x.floor(), y.floor());
            let (fx, fy) = (x - left, y - top);
            let (left, top) = (left as isize, top as isize);
            let row = |y| ink(left, y) * (1.0 - fx) + ink(left + 1, y) * fx;
            row(top) * (1.0 - fy) + row(top + 1) * fy
        });
        Ok((varied.collect(), self.scans.labels[index]))
    }
}

/// A picture of a digit, dark on bright or bright on dark, as the network was taught to see digits.
pub fn picture(path: &Path, size: usize, frame: Frame) -> Anyhow<Vec<f32>> {
    let image = image::open(path).map_err(|e| format!("{}: {e}", path.display()))?.to_luma_alpha8();
    let (width, height) = image.dimensions();
    // what is transparent is white paper
    let grey: Vec<f32> =
        image.pixels().map(|p| (f32::from(p[0]) * f32::from(p[1]) / 255.0) + 255.0 - f32::from(p[1])).collect();
    let mut border: Vec<f32> = Vec::new();
    for (i, &g) in grey.iter().enumerate() {
        let (x, y) = (i as u32 % width, i as u32 / width);
        if x == 0 || y == 0 || x + 1 == width || y + 1 == height {
            border.push(g);
        }
    }
    border.sort_by(f32::total_cmp);
    let paper = *border.as_slice().get(border.len() / 2).ok_or("the picture is empty")?;
    let strongest = grey.iter().map(|g| (g - paper).abs()).fold(0.0, f32::max);
    if strongest < 8.0 {
        return Err(format!("{}: nothing is drawn on it", path.display()).into());
    }
    let ink = image::ImageBuffer::<image::Luma<f32>, Vec<f32>>::from_fn(width, height, |x, y| {
        let share = (grey[(y * width + x) as usize] - paper).abs() / strongest;
        // paper is not quite even
        image::Luma([if share < 0.1 { 0.0 } else { share }])
    });
    let drawn = ink.enumerate_pixels().filter(|(_, _, p)| p[0] > FAINT).map(|(x, y, _)| (x, y));
    let (mut low, mut high) = ((u32::MAX, u32::MAX), (0, 0));
    for (x, y) in drawn {
        (low, high) = ((low.0.min(x), low.1.min(y)), (high.0.max(x + 1), high.1.max(y + 1)));
    }
    let (w, h) = (high.0 - low.0, high.1 - low.1);
    let scale = frame.extent * size as f32 / w.max(h) as f32;
    let fit = |n: u32| ((n as f32 * scale).round() as u32).clamp(1, size as u32);
    let cut = image::imageops::crop_imm(&ink, low.0, low.1, w, h).to_image();
    let small = image::imageops::resize(&cut, fit(w), fit(h), image::imageops::FilterType::Triangle);
    let brightest = small.pixels().map(|p| p[0]).fold(f32::MIN_POSITIVE, f32::max);
    let (sw, sh) = small.dimensions();
    let mut out = vec![0.0; size * size];
    let place = |middle: f32, own: f32, length: u32| {
        let at = (middle * size as f32 - own * length as f32).round();
        at.clamp(0.0, (size - length as usize) as f32) as usize
    };
    let sum: f32 = small.pixels().map(|p| p[0]).sum();
    let mean =
        |of: &dyn Fn(u32, u32) -> f32| small.enumerate_pixels().map(|(x, y, p)| p[0] * of(x, y)).sum::<f32>() / sum;
    let left = place(frame.x, mean(&|x, _| (x as f32 + 0.5) / sw as f32), sw);
    let top = place(frame.y, mean(&|_, y| (y as f32 + 0.5) / sh as f32), sh);
    for (x, y, p) in small.enumerate_pixels() {
        out[(top + y as usize) * size + left + x as usize] = p[0] / brightest;
    }
    Ok(out)
}

//! The course of a run, for TensorBoard.

use super::event::{Events, Message};
use super::png;
use crate::dtype::{DType, Element};
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Writes numbers, distributions, texts and pictures of a run to a folder, for `tensorboard --logdir` to show.
///
/// Each call writes one record, which is there to be shown at once. A call that fails leaves the file as it was.
///
/// ```
/// use calor::io::SummaryWriter;
/// # let folder = std::env::temp_dir().join(format!("calor-doc-runs-{}", std::process::id()));
/// let mut writer = SummaryWriter::new(&folder, None)?;
/// for step in 0..3 {
///     writer.add_scalar("loss", 1.0 / (step + 1) as f64, step)?;
/// }
/// writer.add_histogram("weight", &calor::Tensor::arange(0, 10, 1, ())?, 2)?;
/// assert_eq!(std::fs::read_dir(writer.log_dir())?.count(), 1);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct SummaryWriter {
    folder: PathBuf,
    purge_step: Option<u64>,
    events: Events,
    /// Those of `add_scalars`, by folder.
    runs: HashMap<String, Events>,
}

impl SummaryWriter {
    /// A new file in a folder, which is made. `purge_step`, for a run that goes on from a checkpoint, is its first step:
    /// what the run before wrote about it and later steps is not shown any more.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-new-{}", std::process::id()));
    /// let writer = calor::io::SummaryWriter::new(&folder, 100)?;
    /// assert_eq!(std::fs::read_dir(writer.log_dir())?.count(), 1);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` where the folder or file cannot be made.
    pub fn new(log_dir: impl AsRef<Path>, purge_step: impl Into<Option<u64>>) -> Result<Self> {
        let (folder, purge_step) = (log_dir.as_ref().to_path_buf(), purge_step.into());
        let events = Events::new("SummaryWriter", &folder, purge_step)?;
        Ok(Self { folder, purge_step, events, runs: HashMap::new() })
    }

    /// The folder.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-dir-{}", std::process::id()));
    /// assert_eq!(calor::io::SummaryWriter::new(&folder, None)?.log_dir(), folder);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn log_dir(&self) -> &Path {
        &self.folder
    }

    /// A point of the curve `tag`.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-scalar-{}", std::process::id()));
    /// # let size = || -> calor::Result<u64> { Ok(std::fs::read_dir(&folder)?.next().unwrap()?.metadata()?.len()) };
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// let before = size()?;
    /// writer.add_scalar("loss", 0.5, 0)?;
    /// assert!(size()? > before);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_scalar(&mut self, tag: &str, value: f64, step: u64) -> Result<()> {
        self.events.summary("add_scalar", step, scalar(tag, value))
    }

    /// Points of several curves in one diagram. As in PyTorch, each curve is a run of its own, in a folder
    /// `<main_tag>_<tag>`.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-curves-{}", std::process::id()));
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// writer.add_scalars("loss", &[("train", 0.5), ("test", 0.75)], 1)?;
    /// assert!(folder.join("loss_train").is_dir() && folder.join("loss_test").is_dir());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_scalars(&mut self, main_tag: &str, values: &[(&str, f64)], step: u64) -> Result<()> {
        for (tag, value) in values {
            let name = format!("{main_tag}_{tag}").replace(['/', '\\'], "_");
            if !self.runs.contains_key(&name) {
                let events = Events::new("add_scalars", &self.folder.join(&name), self.purge_step)?;
                self.runs.insert(name.clone(), events);
            }
            if let Some(events) = self.runs.get_mut(&name) {
                events.summary("add_scalars", step, scalar(main_tag, *value))?;
            }
        }
        Ok(())
    }

    /// The distribution of a tensor's values, in PyTorch's buckets (`bins="tensorflow"`). Reads the tensor back.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-histogram-{}", std::process::id()));
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// assert!(writer.add_histogram("weight", &calor::Tensor::ones([3], ())?, 0).is_ok());
    /// assert!(writer.add_histogram("weight", &calor::Tensor::ones([0], ())?, 0).is_err());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it is empty or a value is not finite.
    pub fn add_histogram(&mut self, tag: &str, values: &Tensor, step: u64) -> Result<()> {
        const OP: &str = "add_histogram";
        let values = numbers(values)?;
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        if values.is_empty() || bad > 0 {
            bail!(Value, OP, "{tag}: {bad} of {} values are not finite, and at least one is needed", values.len());
        }
        self.events.summary(OP, step, Message::default().bytes(1, tag).message(5, histogram(&values)))
    }

    /// A text, in Markdown.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-text-{}", std::process::id()));
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// writer.add_text("sample", "To be, or **not** to be", 0)?;
    /// let file = std::fs::read_dir(&folder)?.next().unwrap()?.path();
    /// assert!(String::from_utf8_lossy(&std::fs::read(file)?).contains("**not**"));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn add_text(&mut self, tag: &str, text: &str, step: u64) -> Result<()> {
        const STRING: u64 = 7;
        let plugin = Message::default().bytes(1, "text").bytes(2, "");
        let one = Message::default().message(2, Message::default().int(1, 1));
        let value = Message::default()
            .bytes(1, format!("{tag}/text_summary"))
            .message(9, Message::default().message(1, plugin))
            .message(8, Message::default().int(1, STRING).message(2, one).bytes(8, text));
        self.events.summary("add_text", step, value)
    }

    /// A picture `[channels, height, width]` of 1, 3 or 4 channels, or `[height, width]`: u8, or numbers from 0 to 1.
    /// Reads it back.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-image-{}", std::process::id()));
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// assert!(writer.add_image("digit", &calor::Tensor::zeros([3, 8, 8], ())?, 0).is_ok());
    /// assert!(writer.add_image("digit", &calor::Tensor::zeros([5, 8, 8], ())?, 0).is_err());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` for other shapes.
    pub fn add_image(&mut self, tag: &str, image: &Tensor, step: u64) -> Result<()> {
        const OP: &str = "add_image";
        let shape = image.shape();
        let (channels, height, width) = match shape[..] {
            [h, w] => (1, h, w),
            [c @ (1 | 3 | 4), h, w] => (c, h, w),
            _ => bail!(Shape, OP, "expected [1, 3 or 4, height, width] or [height, width], got {shape:?}"),
        };
        let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else {
            bail!(Shape, OP, "{shape:?} is too large for a picture");
        };
        if image.numel() == 0 {
            bail!(Shape, OP, "a picture of no pixels, {shape:?}");
        }
        let pixels = image.reshape([channels, height, width])?.permute(&[1, 2, 0])?;
        let pixels = match image.dtype() {
            DType::U8 => pixels.to_vec::<u8>()?,
            _ => numbers(&pixels)?.into_iter().map(|v| (v as f32 * 255.0) as u8).collect(),
        };
        let picture = Message::default()
            .int(1, u64::from(h))
            .int(2, u64::from(w))
            .int(3, channels as u64)
            .bytes(4, png::encode(w, h, channels, &pixels)?);
        self.events.summary(OP, step, Message::default().bytes(1, tag).message(4, picture))
    }

    /// Waits until all is on the disk.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("calor-doc-flush-{}", std::process::id()));
    /// let mut writer = calor::io::SummaryWriter::new(&folder, None)?;
    /// writer.add_scalar("loss", 0.5, 0)?;
    /// assert!(writer.flush().is_ok());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.events.flush("flush")?;
        self.runs.values().try_for_each(|events| events.flush("flush"))
    }
}

fn scalar(tag: &str, value: f64) -> Message {
    Message::default().bytes(1, tag).float(2, value as f32)
}

/// A tensor's values on the host.
fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    let half = matches!(t.dtype(), DType::F16 | DType::BF16);
    let host = if half { t.to_dtype(DType::F32)?.to_host()? } else { t.to_host()? };
    let bytes = &host.bytes;
    Ok(match host.dtype {
        DType::F64 => f64::from_bytes(bytes),
        DType::I64 => i64::from_bytes(bytes).into_iter().map(|v| v as f64).collect(),
        DType::U32 => u32::from_bytes(bytes).into_iter().map(f64::from).collect(),
        DType::I32 => i32::from_bytes(bytes).into_iter().map(f64::from).collect(),
        DType::Bool | DType::U8 => bytes.iter().map(|&v| f64::from(v)).collect(),
        _ => f32::from_bytes(bytes).into_iter().map(f64::from).collect(),
    })
}

/// Upper ends of buckets, which grow by a tenth, on both sides of zero; what is beyond them is in the outermost.
fn limits() -> Vec<f64> {
    let upper: Vec<f64> = std::iter::successors(Some(1e-12), |v| Some(v * 1.1)).take_while(|v| *v < 1e20).collect();
    let lower = upper.iter().rev().map(|v| -v);
    lower.chain([0.0]).chain(upper.iter().copied()).chain([f64::MAX]).collect()
}

fn histogram(values: &[f64]) -> Message {
    let limits = limits();
    let mut counts = vec![0.0; limits.len()];
    for v in values {
        // the bucket of what is at least the limit before
        let at = limits.partition_point(|limit| limit <= v).min(limits.len() - 1);
        counts[at] += 1.0;
    }
    let first = counts.iter().position(|c| *c > 0.0).unwrap_or(0);
    let last = counts.iter().rposition(|c| *c > 0.0).unwrap_or(0);
    // the one before the first tells where that begins
    let shown = first.saturating_sub(1)..last + 1;
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    Message::default()
        .double(1, low)
        .double(2, high)
        .double(3, values.len() as f64)
        .double(4, values.iter().sum())
        .double(5, values.iter().map(|v| v * v).sum())
        .doubles(6, &limits[shown.clone()])
        .doubles(7, &counts[shown])
}

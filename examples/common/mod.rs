//! What the training examples share: options, the course of a run, its picture, and going on from a checkpoint.

#![allow(dead_code, reason = "each example uses a part of it")]

use calor::gpu::AdapterChoice;
use calor::io::{Checkpoint, SummaryWriter};
use calor::{Device, Tensor};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use plotters::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Anything that can go wrong.
pub type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

/// Options of every training example.
#[derive(Args)]
pub struct Common {
    /// Steps to train [default: what the stated result took]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Seed of initial weights and of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for the checkpoint and the curves [default: target/<example>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Goes on from the checkpoint in that folder
    #[arg(long)]
    pub resume: bool,
    /// Writes the losses for TensorBoard, too: `tensorboard --logdir target`
    #[arg(long)]
    pub tensorboard: bool,
    /// Adapter, by number or part of its name [default: the best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

impl Common {
    /// The device, seeded.
    pub fn open(&self) -> calor::Result<Device> {
        let device = match &self.device {
            Some(name) => Device::open(&AdapterChoice { adapter: Some(name.clone()), ..AdapterChoice::from_env()? })?,
            None => Device::best()?,
        };
        device.manual_seed(self.seed);
        Ok(device)
    }

    /// The course of the run of an example, from its first step or from the checkpoint's.
    pub fn course(&self, name: &str, steps: u64, device: &Device) -> Anyhow<(Course, Option<Checkpoint>)> {
        let out = self.out.clone().unwrap_or_else(|| Path::new("target").join(name));
        std::fs::create_dir_all(&out)?;
        let mut course = Course {
            out,
            steps: self.steps.unwrap_or(steps),
            step: 0,
            losses: Vec::new(),
            unread: None,
            writer: None,
            bar: ProgressBar::hidden(),
            started: Instant::now(),
        };
        let saved = if self.resume { Some(Checkpoint::load(course.checkpoint(), device)?) } else { None };
        if let Some(saved) = &saved {
            course.step = saved.get_number("step")?;
            course.losses = saved
                .get_text("losses")?
                .lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(step, loss)| Ok((step.parse()?, loss.parse()?)))
                .collect::<Anyhow<_>>()?;
            saved.load_generator("random", device)?;
        }
        if self.tensorboard {
            // losses of steps after the checkpoint come again
            let first = (course.step > 0).then_some(course.step + 1);
            course.writer = Some(SummaryWriter::new(&course.out, first)?);
        }
        let facts = device.facts();
        println!("{name}: {} steps on {} ({})", course.steps, facts.name, facts.backend);
        course.bar = ProgressBar::new(course.steps)
            .with_style(ProgressStyle::with_template("{bar:40.cyan/dim} {pos}/{len} {elapsed}  {msg}")?);
        course.bar.set_position(course.step);
        Ok((course, saved))
    }
}

/// How far a run is, and how the loss went.
pub struct Course {
    out: PathBuf,
    steps: u64,
    step: u64,
    losses: Vec<(f64, f64)>,
    /// Losses on the device, and how many.
    unread: Option<(Tensor, u64)>,
    writer: Option<SummaryWriter>,
    bar: ProgressBar,
    started: Instant,
}

/// A loss is read back after so many steps; until then steps follow each other without waiting.
const STEPS_PER_READ: u64 = 10;

impl Course {
    /// The step to do next, until all are done.
    pub fn next_step(&self) -> Option<u64> {
        (self.step < self.steps).then_some(self.step)
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A step is done, with this loss.
    pub fn done(&mut self, loss: &Tensor) -> Anyhow<()> {
        let loss = loss.detach();
        let (sum, count) = match self.unread.take() {
            Some((sum, count)) => ((sum + loss)?, count + 1),
            None => (loss, 1),
        };
        self.step += 1;
        self.bar.inc(1);
        if self.step.is_multiple_of(STEPS_PER_READ) || self.step == self.steps {
            let mean = sum.item()? / count as f64;
            if !mean.is_finite() {
                return Err(format!("the loss is {mean} after {} steps", self.step).into());
            }
            self.losses.push((self.step as f64, mean));
            if let Some(writer) = &mut self.writer {
                writer.add_scalar("loss", mean, self.step)?;
            }
            self.bar.set_message(format!("loss {mean:.4}"));
        } else {
            self.unread = Some((sum, count));
        }
        Ok(())
    }

    /// A file in the output folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        self.file("checkpoint.safetensors")
    }

    /// Saves a checkpoint with how far the run is.
    pub fn save(&self, mut saved: Checkpoint, device: &Device) -> Anyhow<()> {
        let losses: Vec<String> = self.losses.iter().map(|(step, loss)| format!("{step} {loss}")).collect();
        saved.generator("random", device)?.number("step", self.step)?.text("losses", losses.join("\n"))?;
        saved.save(self.checkpoint())?;
        Ok(())
    }

    /// Draws the loss and says where it and the checkpoint are.
    pub fn finish(&self, title: &str) -> Anyhow<()> {
        self.bar.finish_and_clear();
        let path = self.file("loss.svg");
        curves(&path, title, &[("loss", &self.losses)])?;
        println!(
            "{:.1} s; checkpoint {}, curve {}",
            self.started.elapsed().as_secs_f64(),
            self.checkpoint().display(),
            path.display()
        );
        Ok(())
    }
}

const INK: RGBColor = RGBColor(38, 38, 44);
const GRID: RGBColor = RGBColor(228, 228, 232);
const COLORS: [RGBColor; 4] =
    [RGBColor(46, 104, 178), RGBColor(206, 92, 36), RGBColor(56, 142, 60), RGBColor(142, 68, 160)];

/// Means over a window that grows with the run.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 50).max(1);
    let around = |i: usize| {
        // as many on both sides, so that ends are not pulled
        let reach = reach.min(i).min(points.len() - 1 - i);
        let part = &points[i - reach..=i + reach];
        (points[i].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
    };
    (0..points.len()).map(around).collect()
}

/// Curves over steps in one picture, each thin as it is and bold as it goes.
pub fn curves(path: &Path, title: &str, curves: &[(&str, &[(f64, f64)])]) -> Anyhow<()> {
    let root = SVGBackend::new(path, (860, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    root.draw_text(title, &font(19), (72, 16))?;
    let all = || curves.iter().flat_map(|c| c.1);
    let right = all().map(|p| p.0).fold(1.0, f64::max);
    let high = all().map(|p| p.1).fold(0.0, f64::max).max(1e-9) * 1.05;
    let low = all().map(|p| p.1).fold(0.0, f64::min);
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .margin_top(44)
        .margin_right(28)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 46)
        .build_cartesian_2d(0.0..right, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(13))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("step")
        .y_desc("loss")
        .axis_desc_style(font(14))
        .draw()?;
    for ((name, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
        chart.draw_series(LineSeries::new(points.iter().copied(), color.mix(0.25).stroke_width(1)))?;
        let line = chart.draw_series(LineSeries::new(smooth(points), color.stroke_width(2)))?;
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2));
        line.label(*name).legend(key);
    }
    if curves.len() > 1 {
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.9)).border_style(GRID).label_font(font(14)).draw()?;
    }
    root.present()?;
    Ok(())
}

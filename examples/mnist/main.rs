//! Teaches a small convolutional network to read handwritten digits, and lets it read.
//!
//! ```text
//! cargo run --release --example mnist
//! cargo run --release --example mnist -- --resume
//! cargo run --release --example mnist -- --predict examples/data/three.png
//! cargo run --release --example mnist -- --data ~/mnist --epochs 3
//! ```

mod checkpoint;
mod data;
mod model;
mod plot;

use calor::data::DataLoader;
use calor::gpu::AdapterChoice;
use calor::nn::{Layer, Module, functional};
use calor::optim::{AdamW, AdamWOptions, CosineAnnealingLr, Optimizer, Scheduler};
use calor::{Device, Tensor, no_grad};
use checkpoint::{Checkpoint, Course, Epoch, Run};
use clap::Parser;
use data::{Anyhow, Scans, Varied};
use indicatif::{ProgressBar, ProgressStyle};
use model::Net;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Teaches a small convolutional network to read handwritten digits, and lets it read.
#[derive(Parser)]
struct Options {
    /// Folder with IDX files in MNIST's form, gzipped or not [default: the 1,797 scans beside this program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Times that every training digit is seen [default: 30, or what the resumed run planned]
    #[arg(long)]
    epochs: Option<usize>,
    /// Digits in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Learning rate at the start; it falls along a cosine
    #[arg(long, default_value_t = 4e-3)]
    lr: f64,
    /// Seed of initial weights, order, variations and dropout
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the checkpoint and the loss curve
    #[arg(long, value_name = "DIR", default_value = "target/mnist")]
    out: PathBuf,
    /// Adapter, by number or part of its name [default: the best]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Goes on from the checkpoint in the output folder
    #[arg(long)]
    resume: bool,
    /// Reads the digit in a picture instead of training
    #[arg(long, value_name = "IMAGE")]
    predict: Option<PathBuf>,
}

/// So many steps go by before a loss is read back.
const STEPS_PER_READ: usize = 10;

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::new().filter("CALOR_LOG"));
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mnist: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Anyhow<()> {
    let device = match &options.device {
        Some(name) => Device::open(&AdapterChoice { adapter: Some(name.clone()), ..AdapterChoice::from_env()? })?,
        None => Device::best()?,
    };
    match &options.predict {
        Some(path) => predict(path, options, &device),
        None => train(options, &device),
    }
}

fn checkpoint(options: &Options) -> PathBuf {
    options.out.join("checkpoint.safetensors")
}

/// Reads the digit in a picture.
fn predict(path: &Path, options: &Options, device: &Device) -> Anyhow<()> {
    let at = checkpoint(options);
    if !at.exists() {
        return Err(format!("{} is missing: train first", at.display()).into());
    }
    let loaded = Checkpoint::load(&at, device)?;
    let size = loaded.run.size;
    let model = Net::new(size, device)?;
    loaded.restore_model(&model)?;
    model.eval();
    let seen = data::picture(path, size, loaded.run.frame)?;
    for row in seen.chunks(size) {
        let shade = |&ink: &f32| b" .:-=+*#%@"[(ink * 9.0).round().clamp(0.0, 9.0) as usize] as char;
        println!("    {}", row.iter().map(shade).flat_map(|c| [c, c]).collect::<String>());
    }
    let x = Tensor::from_slice(&seen, [1, 1, size, size], device)?;
    let chances = no_grad(|| model.forward(&x)?.softmax(1)?.to_vec::<f32>())?;
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|&a, &b| chances[b].total_cmp(&chances[a]));
    println!("{} shows a {}", path.display(), order[0]);
    for digit in order {
        let bar = "#".repeat((chances[digit] * 40.0).round() as usize);
        println!("  {digit}  {:.4}  {bar}", chances[digit]);
    }
    Ok(())
}

fn train(options: &Options, device: &Device) -> Anyhow<()> {
    let folder =
        options.data.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits"));
    let train = Arc::new(Scans::read(&folder, "train")?);
    let test = Scans::read(&folder, "t10k")?;
    if train.size != test.size {
        return Err(format!("training pictures have {} pixels a side, test pictures {}", train.size, test.size).into());
    }
    std::fs::create_dir_all(&options.out)?;
    let loaded = match options.resume {
        true => Some(Checkpoint::load(&checkpoint(options), device)?),
        false => None,
    };
    let mut run = match &loaded {
        Some(loaded) => loaded.run.clone(),
        None => Run {
            size: train.size,
            frame: train.frame(),
            planned: options.epochs.unwrap_or(30),
            batch: options.batch,
            lr: options.lr,
            seed: options.seed,
            generator: (options.seed, 0),
            course: Course::default(),
        },
    };
    if run.size != train.size {
        return Err(
            format!("the checkpoint is about {0}x{0} pixels, the data about {1}x{1}", run.size, train.size).into()
        );
    }
    run.planned = options.epochs.unwrap_or(run.planned);

    device.manual_seed(run.seed);
    let model = Net::new(run.size, device)?;
    let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(run.lr))?;
    let loader = {
        let device = device.clone();
        let size = run.size;
        DataLoader::new(Varied::new(train.clone(), run.seed), move |items: Vec<(Vec<f32>, i32)>| {
            let (pictures, labels): (Vec<Vec<f32>>, Vec<i32>) = items.into_iter().unzip();
            let x = Tensor::from_slice(&pictures.concat(), [labels.len(), 1, size, size], &device)?;
            Ok((x, Tensor::from_slice(&labels, [labels.len()], &device)?))
        })
        .batch_size(run.batch)
        .shuffle(run.seed)
        .workers(1)
    };
    let steps = loader.len();
    let mut schedule = CosineAnnealingLr::new(&mut adam, run.planned.saturating_mul(steps) as u64, run.lr * 0.01)?;
    if let Some(loaded) = &loaded {
        loaded.restore_model(&model)?;
        loaded.restore_optimizer(&mut adam)?;
        device.generator().set_state(run.generator);
        schedule.load_state_dict(&[("last_epoch".into(), (run.course.epochs.len() * steps) as f64)].into())?;
    }
    let (facts, size) = (device.facts(), run.size);
    println!(
        "{} digits of {size}x{size} pixels to learn, {} to test; {} weights; {} ({})",
        train.len(),
        test.len(),
        model.num_parameters(),
        facts.name,
        facts.backend
    );

    let (mut waited, mut trained) = (Duration::ZERO, Duration::ZERO);
    let mut accuracy = run.course.epochs.last().map_or(0.0, |e| e.accuracy);
    for epoch in run.course.epochs.len()..run.planned {
        let bar = ProgressBar::new(steps as u64)
            .with_style(ProgressStyle::with_template("epoch {prefix} {bar:30.cyan/dim} {pos}/{len}  {msg}")?);
        bar.set_prefix(format!("{:>3}/{}", epoch + 1, run.planned));
        model.train();
        loader.dataset().set_epoch(epoch as u64);
        loader.set_epoch(epoch as u64);
        let (start, mut seen, mut sum, mut weight) = (Instant::now(), 0, 0.0, 0.0);
        // losses are added up on the device, so that steps follow each other without waiting
        let (mut unread, mut count): (Option<Tensor>, usize) = (None, 0);
        let mut batches = loader.iter()?;
        for step in 0..steps {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            waited += asked.elapsed();
            let (x, y) = batch?;
            adam.zero_grad();
            let loss = functional::cross_entropy(&model.forward(&x)?, &y, ())?;
            loss.backward()?;
            unread = Some(match unread {
                Some(sum) => (sum + loss.detach())?,
                None => loss.detach(),
            });
            adam.step()?;
            schedule.step(&mut adam)?;
            count += 1;
            seen += x.size(0)?;
            if (step + 1) % STEPS_PER_READ == 0 || step + 1 == steps {
                let mean = unread.take().map_or(Ok(0.0), |t| t.item())? / count as f64;
                if !mean.is_finite() {
                    return Err(format!("the loss is {mean}: try a smaller --lr").into());
                }
                run.course.losses.push((epoch as f64 + (step + 1) as f64 / steps as f64, mean));
                (sum, weight) = (sum + mean * count as f64, weight + count as f64);
                count = 0;
                bar.set_message(format!(
                    "loss {mean:.4}  {:.0} samples/s",
                    seen as f64 / start.elapsed().as_secs_f64()
                ));
            }
            bar.inc(1);
        }
        trained += start.elapsed();
        let speed = seen as f64 / start.elapsed().as_secs_f64();
        accuracy = share_right(&model, &test, device)?;
        let loss = sum / f64::max(weight, 1.0);
        run.course.epochs.push(Epoch { loss, accuracy });
        run.generator = device.generator().state();
        checkpoint::save(&checkpoint(options), &model, &adam, &run)?;
        bar.finish_and_clear();
        println!(
            "epoch {:>3}/{}  loss {loss:.4}  test accuracy {accuracy:.4}  {speed:.0} samples/s",
            epoch + 1,
            run.planned
        );
    }
    let curve = options.out.join("curve.svg");
    let title = format!("Handwritten digits: test accuracy {accuracy:.4} after {} epochs", run.course.epochs.len());
    plot::plot(&curve, &run.course, &title)?;
    let waited = 100.0 * waited.as_secs_f64() / trained.as_secs_f64().max(1e-9);
    println!("{:.1} s of training, {waited:.1}% of it waiting for data", trained.as_secs_f64());
    println!("checkpoint {}, loss curve {}", checkpoint(options).display(), curve.display());
    println!("test accuracy {accuracy:.4}");
    Ok(())
}

/// The share of test digits that the network reads rightly; one number is read back.
fn share_right(model: &Net, test: &Scans, device: &Device) -> Anyhow<f64> {
    model.eval();
    let right = no_grad(|| -> calor::Result<f64> {
        let mut right = Tensor::zeros([], device)?;
        for from in (0..test.len()).step_by(256) {
            let (x, y) = test.batch(from, (from + 256).min(test.len()), device)?;
            right = (right + model.forward(&x)?.argmax(Some(1), false)?.eq(&y)?.sum()?)?;
        }
        right.item()
    })?;
    Ok(right / test.len().max(1) as f64)
}

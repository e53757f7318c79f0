//! Training that is stopped and goes on: to the last bit as if it had not been, and whenever it is killed.
//!
//! Processes of their own train: this program runs itself again with what to do in the environment.

use calor::data::{DataLoader, TensorDataset};
use calor::io::Checkpoint;
use calor::nn::{BatchNorm1d, Dropout, Layer, Linear, Module, ReLU, Sequential, functional};
use calor::optim::{
    AdamW, AdamWOptions, CosineAnnealingWarmRestarts, GradScaler, GradScalerOptions, Optimizer, Scheduler,
};
use calor::{DType, Device, Result, Tensor, autocast};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TASK: &str = "CALOR_RESUME_TASK";

/// A model with all that changes while it learns: random masks, statistics, moments, rates, a scale.
struct Run {
    device: Device,
    model: Sequential,
    adam: AdamW,
    schedule: CosineAnnealingWarmRestarts,
    scaler: GradScaler,
    epoch: u64,
    /// The batch of the epoch that comes next.
    batch: usize,
}

impl Run {
    fn new() -> Result<Self> {
        let device = Device::best()?;
        device.manual_seed(7);
        let model = Sequential::new()
            .add(Linear::new(6, 16, ())?)
            .add(BatchNorm1d::new(16, ())?)
            .add(ReLU)
            .add(Dropout::new(0.25)?)
            .add(Linear::new(16, 3, ())?);
        let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(0.01).amsgrad(true))?;
        let schedule = CosineAnnealingWarmRestarts::new(&mut adam, 4, 2, 1e-4)?;
        // it grows into an overflow now and then
        let options =
            GradScalerOptions { init_scale: 2f64.powi(22), growth_interval: 3, ..GradScalerOptions::default() };
        let scaler = GradScaler::new(&device, options)?;
        Ok(Self { device, model, adam, schedule, scaler, epoch: 0, batch: 0 })
    }

    /// Trains until a batch of an epoch is next.
    fn train_to(&mut self, epoch: u64, batch: usize) -> Result<()> {
        let x: Vec<f32> = (0..60 * 6).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let y: Vec<i32> = (0..60).map(|i| (i * i) % 3).collect();
        let x = Tensor::from_slice(&x, [60, 6], &self.device)?;
        let data = TensorDataset::new(vec![x, Tensor::new(y, &self.device)?])?;
        let loader = DataLoader::new(data, |items: Vec<Vec<Tensor>>| {
            let column = |k: usize| calor::stack(&items.iter().map(|i| &i[k]).collect::<Vec<_>>(), 0);
            Ok((column(0)?, column(1)?))
        });
        let loader = loader.batch_size(16).shuffle(3);
        while (self.epoch, self.batch) < (epoch, batch) {
            loader.set_epoch(self.epoch);
            for item in loader.iter_from(self.batch)? {
                if (self.epoch, self.batch) == (epoch, batch) {
                    return Ok(());
                }
                let (x, y) = item?;
                self.adam.zero_grad();
                let scores = {
                    let _half = autocast(DType::F16)?;
                    self.model.forward(&x)?
                };
                let loss = functional::cross_entropy(&scores, &y, ())?;
                self.scaler.scale(&loss)?.backward()?;
                self.scaler.step(&mut self.adam)?;
                self.scaler.update()?;
                self.batch += 1;
            }
            self.schedule.step(&mut self.adam)?;
            (self.epoch, self.batch) = (self.epoch + 1, 0);
        }
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut saved = Checkpoint::new();
        saved
            .module("model", &self.model)?
            .optimizer("adam", &self.adam)?
            .scheduler("schedule", &self.schedule)?
            .scaler("scaler", &self.scaler)?
            .generator("random", &self.device)?
            .number("epoch", self.epoch)?
            .number("batch", self.batch)?;
        saved.save(path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let saved = Checkpoint::load(path, &self.device)?;
        saved.load_module("model", &self.model, true)?;
        saved.load_optimizer("adam", &mut self.adam)?;
        saved.load_scheduler("schedule", &mut self.schedule)?;
        saved.load_scaler("scaler", &mut self.scaler)?;
        saved.load_generator("random", &self.device)?;
        (self.epoch, self.batch) = (saved.get_number("epoch")?, saved.get_number("batch")?);
        Ok(())
    }
}

fn place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("calor-resume-{name}-{}", std::process::id()))
}

/// This program, to do a task.
fn child(task: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "task_of_a_child", "--ignored"]).env(TASK, format!("{task}:{}", path.display()));
    command.stdout(Stdio::null());
    command
}

/// A process that is killed at the latest when its test ends, however that does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process does that [`child`] started; by itself nothing.
#[test]
#[ignore = "run by the others in processes of their own"]
fn task_of_a_child() -> Result<()> {
    let Ok(task) = std::env::var(TASK) else { return Ok(()) };
    let (task, path) = task.split_once(':').expect("a task and a path");
    let path = Path::new(path);
    let mut run = Run::new()?;
    if path.exists() {
        run.load(path)?;
    }
    if task == "forever" {
        loop {
            run.epoch += 1;
            run.save(path)?;
        }
    }
    let (epoch, batch) = task.split_once(' ').unwrap_or((task, "0"));
    run.train_to(epoch.parse().expect("an epoch"), batch.parse().expect("a batch"))?;
    run.save(path)
}

#[test]
fn stopping_and_going_on_changes_no_bit() -> Result<()> {
    let device = Device::best()?;
    let run = |name: &str, tasks: &[&str]| -> Result<Checkpoint> {
        let path = place(name);
        for task in tasks {
            assert!(child(task, &path).status().expect("a process").success(), "{task}");
        }
        let saved = Checkpoint::load(&path, &device)?;
        std::fs::remove_file(path).expect("a file");
        Ok(saved)
    };
    let whole = run("whole", &["10"])?;
    assert_eq!(whole.get_number::<u64>("epoch")?, 10);
    let weight = whole.get_state("model")?.get("0.weight").expect("a weight").to_vec::<f32>()?;
    assert!(weight.iter().all(|w| w.is_finite()));
    // some steps were skipped: their count is a state that can be lost
    let count = whole.get_state("adam")?.get("state.0.step").expect("a count of the device's").item()?;
    assert!(count > 20.0 && count < 40.0, "{count} of 40 steps");
    // between epochs, and within them
    for stops in [&["5", "10"][..], &["0 1", "3 2", "7 3", "10"]] {
        let parts = run("parts", stops)?;
        assert_eq!(whole.get_text("random")?, parts.get_text("random")?, "{stops:?}");
        assert_eq!(whole.names(), parts.names());
        // texts of a safetensors file have no order, tensors have
        for name in ["model", "adam", "scaler"] {
            for ((key, a), (_, b)) in whole.get_state(name)?.iter().zip(parts.get_state(name)?.iter()) {
                assert_eq!(a.to_host()?.bytes, b.to_host()?.bytes, "{stops:?}: {name} {key}");
            }
        }
    }
    Ok(())
}

#[test]
fn whoever_is_killed_while_saving_leaves_a_whole_file() -> Result<()> {
    let folder = place("killed");
    std::fs::create_dir_all(&folder).expect("a folder");
    let (path, device) = (folder.join("state"), Device::best()?);
    Run::new()?.save(&path)?;
    let mut last = 0;
    for round in 0..20u64 {
        let process = Killed(child("forever", &path).stderr(Stdio::null()).spawn().expect("a process"));
        let started = std::time::Instant::now();
        let epoch = || Checkpoint::load(&path, &device).and_then(|c| c.get_number::<u64>("epoch"));
        // until it saves, then some time more
        while epoch()? <= last {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is saved");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_micros(round * 7919 % 9001));
        drop(process);
        let mut run = Run::new()?;
        run.load(&path)?;
        assert!(run.epoch > last, "{} after {last}", run.epoch);
        last = run.epoch;
    }
    println!("20 processes killed, {last} files written");
    std::fs::remove_dir_all(folder).expect("a folder");
    Ok(())
}

#[test]
fn names_and_types_are_checked() -> Result<()> {
    let device = Device::best()?;
    let mut saved = Checkpoint::new();
    saved.number("epoch", 3)?.text("note", "of the third")?.state("empty", &calor::nn::StateDict::new())?;
    assert!(saved.number("epoch", 4).is_err() && saved.text("a/b", "").is_err() && saved.text("", "").is_err());
    let path = place("names");
    saved.save(&path)?;
    let back = Checkpoint::load(&path, &device)?;
    std::fs::remove_file(&path).expect("a file");
    assert_eq!(back.names(), ["empty", "epoch", "note"]);
    assert_eq!((back.get_text("note")?, back.get_number::<f64>("epoch")?), ("of the third", 3.0));
    assert!(back.get_state("empty")?.is_empty());
    assert!(back.get_number::<u64>("note").is_err() && back.get_state("model").is_err());
    let linear = Linear::new(2, 2, ())?;
    assert!(back.load_module("empty", &linear, true).is_err() && back.load_generator("note", &device).is_err());
    assert!(Checkpoint::load(&path, &device).is_err());
    Ok(())
}

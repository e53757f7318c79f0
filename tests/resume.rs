//! Runs that stop and go on: the same bits as without a stop, and no checkpoint lost by a crash.
//!
//! Other processes are this program, which runs `child` alone and does what its environment says.

use calor::data::{DataLoader, TensorDataset, default_collate};
use calor::io::{Checkpoint, Object};
use calor::nn::{BatchNorm1d, Dropout, Layer, Linear, Module, ReLU, Sequential, functional as f};
use calor::optim::{AdamW, AdamWOptions, CosineAnnealingLr, GradScaler, GradScalerOptions, Optimizer, Scheduler};
use calor::{Device, Result, Tensor};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const EPOCHS: u64 = 10;
const JOB: &str = "CALOR_RESUME_JOB";
const FILE: &str = "CALOR_RESUME_FILE";

/// This program as another process that does a job with a file.
fn process(job: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture"]).env(JOB, job).env(FILE, file);
    command
}

/// A folder of one test, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("calor-resume-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn child() -> Result<()> {
    // among the other tests it has no job
    let (Ok(job), Some(file)) = (std::env::var(JOB), std::env::var_os(FILE).map(PathBuf::from)) else { return Ok(()) };
    match job.split_once(' ') {
        None => save_for_ever(&file),
        Some((epochs, batches)) => train(&file, epochs.parse().expect("epochs"), batches.parse().expect("batches")),
    }
}

/// Goes on from the file, if there is one, until an epoch's batch is next.
fn train(file: &Path, epochs: u64, batches: usize) -> Result<()> {
    let device = Device::best()?;
    // what a fresh process starts with must not matter once a checkpoint is loaded
    device.manual_seed(if file.exists() { 99 } else { 3 });
    let model = Sequential::new()
        .add(Linear::new(4, 8, ())?)
        .add(BatchNorm1d::new(8, ())?)
        .add(ReLU)
        .add(Dropout::new(0.25)?)
        .add(Linear::new(8, 2, ())?);
    let mut optimizer = AdamW::new(model.parameters(), AdamWOptions::new(0.05).amsgrad(true))?;
    let mut schedule = CosineAnnealingLr::new(&mut optimizer, EPOCHS, 0.001)?;
    // it grows into an overflow now and then
    let options = GradScalerOptions { init_scale: 2f64.powi(124), growth_interval: 3, ..Default::default() };
    let mut scaler = GradScaler::new(&device, options)?;
    let values: Vec<f32> = (0..30 * 4).map(|i| ((i * 37) % 23) as f32 / 8.0 - 1.4).collect();
    let classes: Vec<i32> = (0..30).map(|i| i % 2).collect();
    let rows = vec![Tensor::from_slice(&values, [30, 4], ())?, Tensor::from_slice(&classes, [30], ())?];
    let loader = DataLoader::new(TensorDataset::new(rows)?, default_collate).batch_size(8).shuffle(11);
    let (mut epoch, mut batch) = (0, 0);
    if file.exists() {
        let saved = Checkpoint::load(file, &device)?;
        saved.load_model(&model)?;
        saved.load_optimizer(&mut optimizer)?;
        schedule.load_state_dict(&saved.load_scheduler()?)?;
        scaler.load_state_dict(&saved.load_scaler()?)?;
        saved.load_random(&device)?;
        (epoch, batch) = saved.load_position()?;
    }
    'run: while (epoch, batch) < (epochs, batches) {
        loader.set_epoch(epoch);
        for item in loader.iter_from(batch)? {
            if (epoch, batch) == (epochs, batches) {
                break 'run;
            }
            let item = item?;
            optimizer.zero_grad();
            let loss = (f::cross_entropy(&model.forward(&item[0])?, &item[1], ())? * 16.0)?;
            scaler.scale(&loss)?.backward()?;
            scaler.step(&mut optimizer)?;
            scaler.update()?;
            batch += 1;
        }
        schedule.step(&mut optimizer)?;
        (epoch, batch) = (epoch + 1, 0);
    }
    Checkpoint::new()
        .model(&model)
        .optimizer(&optimizer)
        .scheduler(&schedule.state_dict())
        .scaler(&scaler.state_dict())
        .random(&device)
        .position(epoch, batch)
        .save(file)
}

/// Runs processes one after the other, each until an epoch's batch; the file that the last one leaves.
fn run(file: &Path, stops: &[(u64, usize)]) -> Vec<u8> {
    for (epochs, batches) in stops {
        let out = process(&format!("{epochs} {batches}"), file).output().expect("a process");
        assert!(
            out.status.success(),
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    std::fs::read(file).expect("a checkpoint")
}

#[test]
fn a_run_that_stops_and_goes_on_computes_the_same_bits() -> Result<()> {
    let folder = Folder::new("bits");
    let whole = run(&folder.file("whole.pt"), &[(EPOCHS, 0)]);
    let saved = Checkpoint::load(folder.file("whole.pt"), &Device::best()?)?;
    assert_eq!(saved.load_position()?, (EPOCHS, 0));
    // steps were skipped, and others not: the count of steps is a state that can be lost
    let count = saved.get("optimizer").expect("optimizer").optimizer_state()?.state[&0]["step"].clone();
    let calor::optim::Kept::Tensor(count) = count else { panic!("the count is on the device") };
    let (count, all) = (count.item()?, EPOCHS as f64 * 4.0);
    assert!(count > 5.0 && count < all, "{count} of {all} steps");
    // the names of the folder in the archive and everything else are the same
    assert!(run(&folder.file("two.pt"), &[(5, 0), (EPOCHS, 0)]) == whole, "five epochs and five");
    assert!(run(&folder.file("four.pt"), &[(0, 1), (3, 2), (7, 3), (EPOCHS, 0)]) == whole, "stops within epochs");
    Ok(())
}

/// Saves checkpoints with rising numbers, each of which fills a tensor, and says so.
fn save_for_ever(file: &Path) -> Result<()> {
    let device = Device::best()?;
    let start = if file.exists() { Checkpoint::load(file, &device)?.load_position()?.0 } else { 0 };
    for epoch in start + 1.. {
        let tensor = Tensor::full([64, 1024], epoch as f64, &device)?;
        Checkpoint::new().with("tensor", tensor).position(epoch, 0).save(file)?;
        println!("\nsaved {epoch}");
    }
    Ok(())
}

#[test]
fn a_crash_while_saving_loses_no_earlier_checkpoint() -> Result<()> {
    let folder = Folder::new("crash");
    let (file, device) = (folder.file("run.pt"), Device::best()?);
    let (mut last, mut within) = (0, 0);
    for round in 0..24u64 {
        let mut child = process("save", &file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut reported = || loop {
            let line = lines.next().expect("it goes on")?;
            if let Some(number) = line.strip_prefix("saved ") {
                return Ok::<u64, calor::Error>(number.parse().expect("a number"));
            }
        };
        for _ in 0..=round % 3 {
            last = reported()?;
        }
        // somewhere in the saves that follow
        std::thread::sleep(Duration::from_micros(round * 1237 % 6007));
        child.kill()?;
        child.wait()?;
        within += u64::from(std::fs::read_dir(&folder.0)?.count() > 1);
        let saved = Checkpoint::load(&file, &device)?;
        let (epoch, _) = saved.load_position()?;
        assert!(epoch >= last, "round {round}: {epoch} after {last} was reported");
        let tensor = saved.get("tensor").and_then(Object::as_tensor).expect("a tensor");
        assert!(tensor.to_vec::<f32>()?.iter().all(|v| *v == epoch as f32), "round {round}: a mixture");
        // what a crash leaves lies beside
        for entry in std::fs::read_dir(&folder.0)? {
            let path = entry?.path();
            if path != file {
                std::fs::remove_file(path)?;
            }
        }
    }
    assert!(within > 0, "no crash fell into a save");
    Ok(())
}

#[test]
fn what_is_missing_or_of_another_model_is_named() -> Result<()> {
    let folder = Folder::new("missing");
    let (file, device) = (folder.file("part.pt"), Device::best()?);
    let model = Linear::new(2, 3, ())?;
    Checkpoint::new().model(&model).with("note", "by hand").save(&file)?;
    let saved = Checkpoint::load(&file, &device)?;
    assert_eq!(saved.get("note").and_then(Object::as_text), Some("by hand"));
    let mut optimizer = AdamW::new(model.parameters(), AdamWOptions::default())?;
    for refused in [
        saved.load_optimizer(&mut optimizer),
        saved.load_scheduler().map(drop),
        saved.load_scaler().map(drop),
        saved.load_random(&device),
        saved.load_position().map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("only [\"model\", \"note\"]"));
    }
    assert!(saved.load_model(&Linear::new(2, 2, ())?).unwrap_err().to_string().contains("size mismatch"));
    assert!(Checkpoint::load(folder.file("none.pt"), &device).is_err());
    // a folder that is not there: the error names the file, and nothing is left behind
    assert!(saved.save(folder.file("no/such.pt")).unwrap_err().to_string().contains("such.pt"));
    Ok(())
}

//! Choices among kernels: forced ones, and ones that were measured, kept on disk beside the pipelines.
//!
//! A choice is a word under a key, both written by whoever chooses: nothing here knows what they mean. A file that is
//! missing, foreign or spoilt is passed over, and so is a place that cannot be written to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::choice::AdapterChoice;
use super::facts::Facts;
use super::health::lock;
use super::kept::{checksum, load, store};

/// What a file starts with, before the checksum of the rest.
const MAGIC: [u8; 8] = *b"calorCH1";

/// Choices among kernels on one device.
///
/// ```
/// let device = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
/// device.choices().force("matmul", Some("tiles64"));
/// assert_eq!(device.choices().forced("matmul").as_deref(), Some("tiles64"));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct Choices {
    forcing: AtomicBool,
    tuning: AtomicBool,
    forced: Mutex<BTreeMap<String, String>>,
    measured: Mutex<Measured>,
    /// Held while something is measured: two measurements at a time would disturb each other.
    turn: Mutex<()>,
    /// Whether cooperative matrices multiply rightly, once that was asked.
    matrices: OnceLock<bool>,
}

#[derive(Debug)]
struct Measured {
    /// For whom these hold: adapter, driver, version of this library.
    of: String,
    path: Option<PathBuf>,
    known: BTreeMap<String, String>,
}

impl Choices {
    /// The choices of a device with these facts.
    pub(super) fn new(facts: &Facts, choice: &AdapterChoice) -> Self {
        let Facts { name, backend, driver, .. } = facts;
        let of = format!("{name}|{backend}|{driver}|{}", env!("CARGO_PKG_VERSION"));
        let file = format!("choices-{:08x}", checksum(of.as_bytes()));
        let path = choice.cache_dir.as_ref().map(|dir| dir.join(file));
        let forced: BTreeMap<_, _> = choice.kernels.iter().cloned().collect();
        let choices = Self {
            forcing: AtomicBool::new(!forced.is_empty()),
            tuning: AtomicBool::new(false),
            forced: Mutex::new(forced),
            measured: Mutex::new(Measured { of, path, known: BTreeMap::new() }),
            turn: Mutex::default(),
            matrices: OnceLock::new(),
        };
        choices.set_tuning(choice.tune);
        choices
    }

    /// The kernel that an operation has to use.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// assert_eq!(gpu.choices().forced("none_such"), None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn forced(&self, op: &str) -> Option<String> {
        self.forcing.load(Relaxed).then(|| lock(&self.forced).get(op).cloned()).flatten()
    }

    /// Makes an operation use a kernel, where the kernel can compute what is asked; `None` lets it choose again.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// gpu.choices().force("matmul", Some("tiles64"));
    /// gpu.choices().force("matmul", None);
    /// assert_eq!(gpu.choices().forced("matmul"), None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn force(&self, op: &str, kernel: Option<&str>) {
        let mut forced = lock(&self.forced);
        match kernel {
            Some(kernel) => forced.insert(op.to_owned(), kernel.to_owned()),
            None => forced.remove(op),
        };
        self.forcing.store(!forced.is_empty(), Relaxed);
    }

    /// Whether kernels with cooperative matrices compute rightly: as `check` found, which is asked until it can tell.
    pub(crate) fn trusts_matrices(&self, check: impl FnOnce() -> Option<bool>) -> bool {
        if let Some(trusted) = self.matrices.get() {
            return *trusted;
        }
        check().is_some_and(|right| *self.matrices.get_or_init(|| right))
    }

    /// Whether kernels are measured.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// gpu.choices().set_tuning(true);
    /// assert!(gpu.choices().tunes());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tunes(&self) -> bool {
        self.tuning.load(Relaxed)
    }

    /// Lets kernels be measured and what was measured be used, or neither. Turning it on reads what is kept.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// gpu.choices().set_tuning(false);
    /// assert!(!gpu.choices().tunes());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_tuning(&self, on: bool) {
        if on {
            let mut measured = lock(&self.measured);
            let kept = measured.read();
            measured.known.extend(kept);
        }
        self.tuning.store(on, Relaxed);
    }

    /// What was measured to be best under a key, in this process or an earlier one.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// assert_eq!(gpu.choices().measured("none such"), None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn measured(&self, key: &str) -> Option<String> {
        lock(&self.measured).known.get(key).cloned()
    }

    /// Waits for other measurements to end.
    ///
    /// ```
    /// let gpu = calor::gpu::Gpu::open(&calor::gpu::AdapterChoice::from_env()?)?;
    /// let turn = gpu.choices().turn();
    /// drop(turn);
    /// // the next one may go on
    /// let _turn = gpu.choices().turn();
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// Remembers what is best under a key, here and on disk.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice { cache_dir: None, ..AdapterChoice::from_env()? })?;
    /// gpu.choices().remember("matmul 64", "tiles64");
    /// assert_eq!(gpu.choices().measured("matmul 64").as_deref(), Some("tiles64"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn remember(&self, key: &str, best: &str) {
        let clean = |text: &str| !text.contains(['\t', '\n']);
        if !clean(key) || !clean(best) {
            return;
        }
        let mut measured = lock(&self.measured);
        measured.known.insert(key.to_owned(), best.to_owned());
        measured.write();
    }
}

impl Measured {
    /// What the file holds, if it is whole and for this device.
    fn read(&self) -> BTreeMap<String, String> {
        let data = self.path.as_ref().and_then(|path| load(path, MAGIC));
        let text = data.and_then(|data| String::from_utf8(data).ok()).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(self.of.as_str()) {
            return BTreeMap::new();
        }
        lines.filter_map(|line| line.split_once('\t')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// Writes the file anew, with what other processes added meanwhile.
    fn write(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let mut all = self.read();
        all.extend(self.known.clone());
        let lines: String = all.iter().map(|(key, best)| format!("{key}\t{best}\n")).collect();
        let text = format!("{}\n{lines}", self.of);
        if let Err(e) = save(&path, &text) {
            log::debug!("choices cannot be kept in {}: {e}", path.display());
            self.path = None;
        }
        self.known = all;
    }
}

fn save(path: &Path, text: &str) -> std::io::Result<()> {
    store(path, MAGIC, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn choices(dir: &Path, driver: &str) -> Choices {
        let facts = Facts { driver: driver.to_owned(), ..Facts::portable() };
        let choice = AdapterChoice { cache_dir: Some(dir.into()), tune: true, ..AdapterChoice::default() };
        Choices::new(&facts, &choice)
    }

    #[test]
    fn measured_choices_outlive_the_process_and_spoilt_files_do_not() {
        let dir = std::env::temp_dir().join(format!("calor-choices-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (first, other) = (choices(&dir, "1"), choices(&dir, "1"));
        first.remember("a", "x");
        other.remember("b", "y");
        first.remember("no\ttab", "z");
        let again = choices(&dir, "1");
        assert_eq!((again.measured("a").as_deref(), again.measured("b").as_deref()), (Some("x"), Some("y")));
        assert_eq!(choices(&dir, "2").measured("a"), None, "another driver");
        let file = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for spoilt in [&good[..good.len() - 2], &flipped, b"", b"calorCH1 and more that is no choice"] {
            fs::write(&file, spoilt).unwrap();
            let fresh = choices(&dir, "1");
            assert_eq!(fresh.measured("a"), None);
            fresh.remember("c", "z");
            assert_eq!(choices(&dir, "1").measured("c").as_deref(), Some("z"), "it was written anew");
        }
        // no folder can be made inside a file: what was measured holds for this process
        let nowhere = choices(&file.join("below"), "1");
        nowhere.remember("a", "x");
        assert_eq!(nowhere.measured("a").as_deref(), Some("x"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_forced_choice_can_be_taken_back() {
        let choice = AdapterChoice { kernels: vec![("a".into(), "x".into())], ..AdapterChoice::default() };
        let choices = Choices::new(&Facts::portable(), &choice);
        assert_eq!(choices.forced("a").as_deref(), Some("x"));
        choices.force("a", None);
        assert_eq!(choices.forced("a"), None);
        choices.force("b", Some("y"));
        assert_eq!((choices.forced("a"), choices.forced("b").as_deref()), (None, Some("y")));
    }
}

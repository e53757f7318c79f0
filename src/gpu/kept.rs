//! The driver's pipeline cache, kept on disk between processes.
//!
//! It only saves time: a file that is missing, foreign or spoilt is passed over, and so is a place that cannot be
//! written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::health::{lock, scoped};

/// What a file starts with, before the checksum of the rest.
const MAGIC: [u8; 8] = *b"calorPC1";
const HEAD: usize = MAGIC.len() + 4;

/// Larger files are not read: caches only grow, so this one starts anew.
const MOST: u64 = 64 << 20;

/// Saving takes no more than one part in so many of the time.
const SHARE: u32 = 20;

/// The cache of an open device.
pub(super) struct Kept {
    raw: wgpu::PipelineCache,
    path: PathBuf,
    /// Pipelines made that are not saved yet.
    fresh: AtomicU64,
    saved: Mutex<Saved>,
}

/// The last save.
struct Saved {
    at: Instant,
    took: Duration,
    checksum: u32,
    /// The place refused to be written to.
    off: bool,
}

pub(super) fn checksum(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

/// What was kept in a file that starts with `magic`, if it is whole.
pub(super) fn load(path: &Path, magic: [u8; 8]) -> Option<Vec<u8>> {
    if fs::metadata(path).ok()?.len() > MOST {
        return None;
    }
    let mut bytes = fs::read(path).ok()?;
    let (head, data) = bytes.split_at_checked(HEAD)?;
    let whole = head.starts_with(&magic) && head.ends_with(&checksum(data).to_le_bytes());
    whole.then(|| bytes.split_off(HEAD))
}

/// Puts a file into place in one step: a reader sees the old one or the new one.
pub(super) fn store(path: &Path, magic: [u8; 8], data: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let aside = path.with_extension(format!("{}.{number}.tmp", std::process::id()));
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let whole = [&magic[..], &checksum(data).to_le_bytes(), data].concat();
    let done = fs::write(&aside, whole).and_then(|()| fs::rename(&aside, path));
    if done.is_err() {
        // what is left of it is of no use; the first error tells more than this one
        let _ = fs::remove_file(&aside);
    }
    done
}

impl Kept {
    /// The cache of a device in a folder; `None` where the driver or the folder has none to offer.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, dir: Option<&Path>) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = dir?.join(wgpu::util::pipeline_cache_key(info)?);
        let data = load(&path, MAGIC);
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: the data came from `get_data`, as the file's head and checksum say, and wgpu compares adapter and
        // driver before the driver sees it.
        let made = scoped(device, "open", || unsafe { device.create_pipeline_cache(&descriptor) });
        let saved = Saved {
            at: Instant::now(),
            took: Duration::ZERO,
            checksum: data.as_deref().map_or(0, checksum),
            off: false,
        };
        match made {
            Ok(raw) => Some(Self { raw, path, fresh: AtomicU64::new(0), saved: Mutex::new(saved) }),
            Err(e) => {
                log::debug!("no pipeline cache: {e}");
                None
            }
        }
    }

    /// The cache, for a pipeline that is made now.
    pub fn used(&self) -> &wgpu::PipelineCache {
        self.fresh.fetch_add(1, Relaxed);
        &self.raw
    }

    /// Saves new pipelines, unless that was done too recently for what it takes.
    pub fn save_at_times(&self) {
        if self.fresh.load(Relaxed) > 0 {
            let due = {
                let saved = lock(&self.saved);
                saved.at.elapsed() >= saved.took * SHARE
            };
            if due {
                self.save();
            }
        }
    }

    /// Saves new pipelines.
    pub fn save(&self) {
        let mut saved = lock(&self.saved);
        if saved.off || self.fresh.swap(0, Relaxed) == 0 {
            return;
        }
        let started = Instant::now();
        let Some(data) = self.raw.get_data() else { return };
        let sum = checksum(&data);
        if sum != saved.checksum {
            saved.checksum = sum;
            if let Err(e) = store(&self.path, MAGIC, &data) {
                log::debug!("the pipeline cache cannot be kept in {}: {e}", self.path.display());
                saved.off = true;
            }
        }
        (saved.at, saved.took) = (Instant::now(), started.elapsed());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.save();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Access, AdapterChoice, Gpu, Kernel};
    use std::sync::Arc;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("calor-kept-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_file_comes_back_whole_or_not_at_all() {
        let dir = folder("file");
        let path = dir.join("a");
        assert_eq!(load(&path, MAGIC), None);
        store(&path, MAGIC, b"what the driver gave").unwrap();
        assert_eq!(load(&path, MAGIC).as_deref(), Some(&b"what the driver gave"[..]));
        let good = fs::read(&path).unwrap();
        for spoilt in [&good[..good.len() - 1], &good[..HEAD - 1], &[], b"something else altogether"] {
            fs::write(&path, spoilt).unwrap();
            assert_eq!(load(&path, MAGIC), None);
        }
        let mut flipped = good.clone();
        flipped[HEAD + 3] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(load(&path, MAGIC), None);
        store(&path, MAGIC, b"").unwrap();
        assert_eq!(load(&path, MAGIC).as_deref(), Some(&b""[..]));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        // a file where a folder should be
        assert!(store(&path.join("b"), MAGIC, b"x").is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A device that keeps its pipelines in `dir` makes one; gives whether its driver has such a cache.
    fn compiles(dir: &Path) -> bool {
        let choice = AdapterChoice { cache_dir: Some(dir.into()), ..AdapterChoice::from_env().unwrap() };
        let gpu = Gpu::open(&choice).expect("these tests need an adapter");
        let source = "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
            @compute @workgroup_size(1) fn main() { a[0] = 1u; }";
        let (label, source, access) = ("one".into(), source.into(), vec![Access::ReadWrite]);
        gpu.compile(&Arc::new(Kernel { label, source, access, param_words: 0, faults: false, first: None })).unwrap();
        gpu.synchronize().unwrap();
        gpu.facts().pipeline_cache && gpu.facts().backend == "vulkan"
    }

    #[test]
    fn devices_keep_pipelines_and_bear_with_any_folder() {
        let dir = folder("device");
        if compiles(&dir) {
            let file = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
            assert!(load(&file, MAGIC).is_some());
            compiles(&dir);
            // whole by its checksum, but no driver's data
            store(&file, MAGIC, b"nonsense").unwrap();
            compiles(&dir);
            fs::write(&file, b"spoilt").unwrap();
            compiles(&dir);
            assert!(load(&file, MAGIC).is_some(), "it was written anew");
            // no folder can be made inside a file
            compiles(&file.join("below"));
        }
        let _ = fs::remove_dir_all(&dir);
    }
}

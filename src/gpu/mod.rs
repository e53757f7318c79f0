//! The device: adapter choice, buffers, kernels, submission and readback. The only place that says `wgpu::`.
//!
//! Above it a plan is a [`Recording`]: kernels over numbered slots, plain data. [`Gpu::submit`] finds buffers for the
//! slots, encodes everything into one command buffer and hands it to the queue without waiting. Errors of wgpu, lost
//! devices and exhausted memory all come back as `Err`.
//!
//! ```
//! use calor::gpu::{Access, AdapterChoice, Command, Dispatch, Gpu, Kernel, Recording};
//! let kernel = Kernel {
//!     label: "twice".into(),
//!     source: "@group(0) @binding(0) var<storage, read_write> x: array<u32>;\n\
//!              @compute @workgroup_size(1) fn main(@builtin(workgroup_id) wid: vec3<u32>) { x[wid.x] *= 2u; }"
//!         .into(),
//!     access: vec![Access::ReadWrite],
//!     param_words: 0,
//!     faults: false,
//!     first: None,
//! };
//! let bindings = [0.into()].into_iter().collect();
//! let run = Dispatch { kernel: std::sync::Arc::new(kernel), bindings, params: vec![], groups: 2, work: 2 };
//! let recording = Recording { slots: vec![8], commands: vec![Command::Dispatch(run)] };
//!
//! let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
//! let x = gpu.upload(bytemuck::cast_slice(&[3u32, 4]))?;
//! gpu.submit(&recording, vec![Some(x.clone())])?;
//! let bytes = gpu.read(&[(x, 0, 8)])?.remove(0);
//! assert_eq!(bytes, bytemuck::cast_slice::<u32, u8>(&[6, 8]));
//! # Ok::<(), calor::Error>(())
//! ```

mod adapter;
#[cfg(target_arch = "wasm32")]
mod browser;
mod choice;
mod choices;
mod facts;
mod faults;
mod health;
#[doc(hidden)]
pub mod inject;
mod kept;
mod kernels;
mod memory;
mod pace;
mod place;
mod pool;
mod probe;
mod profile;
mod readback;
mod recording;
mod submit;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use choice::{AdapterChoice, AdapterSummary};
pub use choices::Choices;
pub use facts::Facts;
pub(crate) use faults::{FAULT_WORDS, Mark};
pub use memory::{Allocation, MemorySnapshot, MemoryStats, Origin};
pub use pace::Pace;
pub use pool::{Buffer, Counters};
pub use profile::{HostTime, KernelTime, Profile};
pub(crate) use readback::Reading;
pub use recording::{Access, Binding, Command, Dispatch, Kernel, Recording};
pub(crate) use submit::Wanted;

use crate::error::{Result, bail};
use health::{Health, lock};

/// How long a wait may take unless [`Gpu::set_timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An open device. Clones share it.
///
/// ```
/// use calor::gpu::{AdapterChoice, Gpu};
/// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
/// assert!(gpu.clone().is(&gpu) && !gpu.is_lost());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Gpu(Arc<Shared>);

struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    facts: Facts,
    health: Arc<Health>,
    pool: Arc<pool::Pool>,
    kernels: kernels::Kernels,
    kept: Option<kept::Kept>,
    /// Held while commands are encoded and submitted, so that a recording is never half submitted.
    engine: Mutex<submit::Engine>,
    staging: Mutex<readback::Staging>,
    faults: faults::Faults,
    /// Bytes written to the queue since the last submission.
    unsubmitted: AtomicU64,
    timeout_ns: AtomicU64,
    pace: pace::SharedPace,
    profiler: profile::Profiler,
    injector: inject::Injector,
    choices: Choices,
    choice: AdapterChoice,
}

impl Gpu {
    /// Every adapter that can compute, in the order that `CALOR_ADAPTER` counts.
    ///
    /// ```
    /// use calor::gpu::Gpu;
    /// for (i, adapter) in Gpu::adapters().iter().enumerate() {
    ///     assert_eq!(adapter.index, i);
    /// }
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn adapters() -> Vec<AdapterSummary> {
        // Asking for a number makes the list complete.
        let all = AdapterChoice { adapter: Some("0".to_owned()), ..Default::default() };
        let (found, _) = pollster::block_on(adapter::list(&all));
        adapter::summaries(&found)
    }

    /// Opens a device and waits for it.
    ///
    /// ```
    /// use calor::{ErrorKind, gpu::{AdapterChoice, Gpu}};
    /// assert!(!Gpu::open(&AdapterChoice::from_env()?)?.facts().name.is_empty());
    /// let unknown = AdapterChoice { backend: Some("abacus".into()), ..Default::default() };
    /// assert_eq!(Gpu::open(&unknown).unwrap_err().kind(), ErrorKind::Value);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(choice: &AdapterChoice) -> Result<Gpu> {
        pollster::block_on(Self::open_async(choice))
    }

    /// Opens a device.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = pollster::block_on(Gpu::open_async(&AdapterChoice::from_env()?))?;
    /// assert!(!gpu.is_lost());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn open_async(choice: &AdapterChoice) -> Result<Gpu> {
        let adapter::Opened { device, queue, facts, health, kept } = adapter::open(choice).await?;
        let engine = submit::Engine::new(&device, &facts)?;
        let choices = Choices::new(&facts, choice);
        let pace = Pace::wanted(choice, facts.is_cpu);
        let mut gpu = Gpu(Arc::new(Shared {
            device,
            queue,
            facts,
            health,
            pool: Arc::default(),
            kernels: kernels::Kernels::default(),
            kept,
            engine: Mutex::new(engine),
            staging: Mutex::default(),
            faults: faults::Faults::default(),
            unsubmitted: AtomicU64::new(0),
            timeout_ns: AtomicU64::new(TIMEOUT.as_nanos() as u64),
            pace: pace::SharedPace::new(pace),
            profiler: profile::Profiler::default(),
            injector: inject::Injector::default(),
            choices,
            choice: choice.clone(),
        }));
        let (is_cpu, matrices) = (gpu.0.facts.is_cpu, gpu.0.facts.matrices);
        if is_cpu || matrices.is_some() {
            let cap = if is_cpu { probe::loop_cap(&gpu).await? } else { None };
            let matrices = match matrices {
                Some(side) => probe::multiplies(&gpu, side).await.then_some(side),
                None => None,
            };
            // Nobody else has the device yet.
            let Some(shared) = Arc::get_mut(&mut gpu.0) else {
                bail!(Device, "open", "the device is in use while it is probed")
            };
            let told = shared.facts.max_loop_iterations;
            shared.facts.max_loop_iterations = cap.into_iter().chain(told).min();
            shared.facts.is_cpu = is_cpu && choice.allows("cpu-kernels");
            shared.facts.matrices = matrices;
            shared.pool.close();
            shared.pool = Arc::default();
            // The new pool numbers its buffers from the start.
            shared.engine.get_mut().unwrap_or_else(PoisonError::into_inner).forget_all();
        }
        gpu.set_memory_limit(choice.limit("memory"));
        let facts = gpu.facts();
        log::info!("opened {} through {} ({})", facts.name, facts.backend, facts.driver);
        Ok(gpu)
    }

    /// A fresh device by the same choice, with the same settings.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let fresh = gpu.reopen()?;
    /// assert!(!fresh.is(&gpu) && fresh.pace() == gpu.pace());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn reopen(&self) -> Result<Gpu> {
        pollster::block_on(self.reopen_async())
    }

    /// The same without blocking the thread.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// assert_eq!(pollster::block_on(gpu.reopen_async())?.facts().name, gpu.facts().name);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn reopen_async(&self) -> Result<Gpu> {
        let gpu = Self::open_async(&self.0.choice).await?;
        gpu.set_pace(self.pace());
        gpu.choices().set_tuning(self.choices().tunes());
        gpu.set_memory_limit(self.memory_stats().limit);
        gpu.0.timeout_ns.store(self.0.timeout_ns.load(Relaxed), Relaxed);
        Ok(gpu)
    }

    /// Whether the device is gone, so that every call on it fails.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// assert!(!Gpu::open(&AdapterChoice::from_env()?)?.is_lost());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_lost(&self) -> bool {
        self.0.health.alive("device").is_err()
    }

    /// `Err` when the device is lost.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// assert!(Gpu::open(&AdapterChoice::from_env()?)?.alive("my_op").is_ok());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn alive(&self, op: &str) -> Result<()> {
        self.0.health.alive(op)
    }

    /// Features and limits.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let without = AdapterChoice { disable: vec!["shader-f64".into()], ..AdapterChoice::from_env()? };
    /// assert!(!Gpu::open(&without)?.facts().f64);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// Which kernels operations use.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice { tune: false, ..AdapterChoice::from_env()? })?;
    /// assert!(!gpu.choices().tunes());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn choices(&self) -> &Choices {
        &self.0.choices
    }

    /// What has been done and what is held.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let before = gpu.counters().uploads;
    /// let _x = gpu.upload(&[1, 2, 3, 4])?;
    /// assert_eq!(gpu.counters().uploads, before + 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn counters(&self) -> Counters {
        self.0.pool.tally.counters()
    }

    /// Starts the measurement of `bytes_peak` anew.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// drop(gpu.upload(&[0; 1 << 16])?);
    /// gpu.reset_peak();
    /// assert_eq!(gpu.counters().bytes_peak, gpu.counters().bytes_in_use);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reset_peak(&self) {
        self.0.pool.tally.reset_peak();
    }

    /// Gives buffers that wait for reuse back to the device.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// drop(gpu.upload(&[0; 1 << 16])?);
    /// gpu.synchronize()?;
    /// gpu.empty_cache();
    /// assert!(gpu.counters().bytes_reserved < 1 << 16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn empty_cache(&self) {
        let blocks = self.0.pool.drain();
        let gone = blocks.iter().map(pool::Block::id).collect();
        let mut engine = lock(&self.0.engine);
        engine.forget(&gone);
        engine.forget_arenas();
        drop(engine);
        lock(&self.0.staging).clear();
        drop(blocks);
        self.poll();
    }

    /// Sets how long a wait may take before it is `Err(Timeout)`.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// use std::time::Duration;
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.set_timeout(Duration::from_secs(5));
    /// assert_eq!(gpu.timeout(), Duration::from_secs(5));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_timeout(&self, limit: Duration) {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.0.timeout_ns.store(nanos, Relaxed);
    }

    /// How long a wait may take.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// assert_eq!(Gpu::open(&AdapterChoice::from_env()?)?.timeout(), std::time::Duration::from_secs(60));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.0.timeout_ns.load(Relaxed))
    }

    /// Whether both are the same open device.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// assert!(gpu.is(&gpu.clone()) && !gpu.is(&gpu.reopen()?));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({}, {})", self.0.facts.name, self.0.facts.backend)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Buffers that outlive the device still know the pool.
        self.pool.close();
    }
}

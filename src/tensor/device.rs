//! `Device`: an open adapter with its engine and its random generator.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::inject::Injection;
use crate::gpu::{AdapterChoice, Counters, Facts, Gpu, MemorySnapshot, MemoryStats, Pace};
use crate::graph::Engine;
use crate::tensor::random::Generator;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// An open adapter. Cheap to clone; clones are the same device.
///
/// ```
/// let device = calor::Device::best()?;
/// println!("{} through {}", device.facts().name, device.facts().backend);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    generator: Generator,
    /// The device opened in place of this one when it was lost.
    next: Mutex<Option<Device>>,
}

static BEST: OnceLock<Device> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

impl Device {
    /// The default device of this process: the best adapter, or what `CALOR_ADAPTER` and `CALOR_BACKEND` name.
    /// Opened once; an error is returned again until it is mended. When it is lost, its successor takes its place:
    /// see [`Device::recover`].
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(!device.facts().name.is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn best() -> Result<Device> {
        if let Some(device) = BEST.get() {
            return device.recover();
        }
        let _opening = OPENING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(device) = BEST.get() {
            return device.recover();
        }
        let device = Device::open(&AdapterChoice::from_env()?)?;
        Ok(BEST.get_or_init(|| device).clone())
    }

    /// Opens an adapter by choice.
    ///
    /// ```
    /// use calor::{Device, Tensor, gpu::AdapterChoice};
    /// let device = Device::open(&AdapterChoice::from_env()?)?;
    /// assert_eq!(Tensor::ones([3], &device)?.sum()?.item()?, 3.0);
    /// // each opening is a device of its own
    /// assert!(!device.same(&Device::best()?));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn open(choice: &AdapterChoice) -> Result<Device> {
        Ok(Self::over(Gpu::open(choice)?))
    }

    /// Opens an adapter without blocking the thread, as a browser must.
    ///
    /// ```
    /// use calor::{Device, gpu::AdapterChoice};
    /// let device = pollster::block_on(Device::open_async(&AdapterChoice::from_env()?))?;
    /// assert!(!device.is_lost());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn open_async(choice: &AdapterChoice) -> Result<Device> {
        Ok(Self::over(Gpu::open_async(choice).await?))
    }

    fn over(gpu: Gpu) -> Self {
        Self(Arc::new(Inner { engine: Engine::new(gpu), generator: Generator::new(0), next: Mutex::default() }))
    }

    /// Whether the device is lost: a driver that crashed, was reset or updated. Every call on it, and on tensors that
    /// lie on it, is then `Err(DeviceLost)`, for good.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(!device.is_lost());
    /// assert!(device.recover()?.same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_lost(&self) -> bool {
        self.engine().gpu().is_lost()
    }

    /// A device to go on with: this one, or, when it is lost, another one on the same adapter choice.
    ///
    /// The successor has the same settings, and its random generator goes on where the old one was. It is opened once:
    /// who asks again gets the same, and [`Device::best`] gives it where this was the default. Tensors of a lost device
    /// are gone; load them from the host or a checkpoint.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(device.recover()?.same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn recover(&self) -> Result<Device> {
        if !self.is_lost() {
            return Ok(self.clone());
        }
        let mut next = self.0.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = match &*next {
            Some(device) => device.recover()?,
            None => {
                let fresh = Self::over(self.engine().gpu().reopen()?);
                fresh.generator().set_state(self.generator().state());
                fresh.set_fusion(self.engine().fuses());
                fresh
            }
        };
        *next = Some(fresh.clone());
        Ok(fresh)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// What the adapter can do.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert_eq!(device.facts().f64, device.supports(calor::DType::F64));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn facts(&self) -> &Facts {
        self.0.engine.gpu().facts()
    }

    /// Whether tensors of this dtype can be held and computed.
    ///
    /// ```
    /// assert!(calor::Device::best()?.supports(calor::DType::BF16));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn supports(&self, dtype: DType) -> bool {
        match dtype {
            DType::I64 => self.facts().i64,
            DType::F64 => self.facts().f64,
            _ => true,
        }
    }

    /// The device's random generator.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// let state = device.generator().state();
    /// let x = calor::Tensor::rand([4], &device)?;
    /// device.generator().set_state(state);
    /// assert_eq!(calor::Tensor::rand([4], &device)?.to_vec::<f32>()?, x.to_vec::<f32>()?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn generator(&self) -> &Generator {
        &self.0.generator
    }

    /// Starts the device's random generator anew.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// device.manual_seed(7);
    /// let a = Tensor::rand([4], &device)?.to_vec::<f32>()?;
    /// device.manual_seed(7);
    /// assert_eq!(a, Tensor::rand([4], &device)?.to_vec::<f32>()?);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn manual_seed(&self, seed: u64) {
        self.0.generator.set_seed(seed);
    }

    /// Submits everything pending that someone still holds, without waiting: the end of a training step.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// let x = (calor::Tensor::ones([2], &device)? + 1.0)?;
    /// device.submit()?;
    /// assert_eq!(x.explain()?, "0 kernels\n");
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn submit(&self) -> Result<()> {
        self.engine().flush()
    }

    /// Submits everything pending and waits until the device is done; errors of the device come out here.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// let x = (calor::Tensor::ones([2], &device)? + 1.0)?;
    /// x.eval()?;
    /// device.synchronize()?;
    /// assert_eq!(x.to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn synchronize(&self) -> Result<()> {
        self.engine().synchronize()
    }

    /// Counts of plans, dispatches, submissions, pipelines, bytes.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// let before = device.counters().readbacks;
    /// assert_eq!(calor::Tensor::ones([2], &device)?.sum()?.item()?, 2.0);
    /// assert!(device.counters().readbacks > before);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn counters(&self) -> Counters {
        self.engine().counters()
    }

    /// Gives pooled memory that is not in use back to the driver.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// let x = Tensor::from_slice(&[0.0f32; 1 << 16], [1 << 16], &device)?;
    /// drop(x);
    /// device.synchronize()?;
    /// device.empty_cache();
    /// assert!(device.memory_stats().current < 4 << 16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn empty_cache(&self) {
        self.engine().gpu().empty_cache();
    }

    /// How much device memory is used and held.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// let before = device.memory_stats().current;
    /// let x = Tensor::from_slice(&[0.0f32; 1000], [1000], &device)?;
    /// assert_eq!(device.memory_stats().current, before + 4000);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn memory_stats(&self) -> MemoryStats {
        self.engine().gpu().memory_stats()
    }

    /// Starts the peak of [`Device::memory_stats`] anew.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// drop(Tensor::from_slice(&[0.0f32; 1000], [1000], &device)?);
    /// assert!(device.memory_stats().peak >= 4000);
    /// device.reset_peak();
    /// let stats = device.memory_stats();
    /// assert_eq!(stats.peak, stats.current);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn reset_peak(&self) {
        self.engine().gpu().reset_peak();
    }

    /// Every live allocation with the operation that made it. Printed, it is a table, largest first.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// let x = Tensor::from_slice(&[1.0f32; 3000], [3000], &device)?.tanh()?;
    /// x.eval()?;
    /// assert!(device.memory_snapshot().to_string().contains("tanh  f32[3000]"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn memory_snapshot(&self) -> MemorySnapshot {
        self.engine().gpu().memory_snapshot()
    }

    /// Sets how many bytes tensors may hold of the device, reuse included; `CALOR_MEMORY_LIMIT` sets it at opening.
    /// Above it, buffers that wait for reuse are given back, then the call is `Err(OutOfMemory)` and all tensors stay
    /// as they are. Memory through which values are read, at most 128 MiB between reads, is not counted.
    ///
    /// ```
    /// use calor::{Device, ErrorKind, Tensor};
    /// let device = Device::best()?;
    /// device.set_memory_limit(Some(1 << 20));
    /// let refused = Tensor::from_slice(&vec![0.0f32; 1 << 20], [1 << 20], &device);
    /// assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutOfMemory);
    /// device.set_memory_limit(None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_memory_limit(&self, bytes: Option<u64>) {
        self.engine().gpu().set_memory_limit(bytes);
    }

    /// When pending work is submitted by itself, and how large a submission becomes.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(device.pace().submission_work > 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pace(&self) -> Pace {
        self.engine().gpu().pace()
    }

    /// Sets the pace. `CALOR_LIMIT_SUBMISSION_WORK` and `_BYTES` set parts of it at opening.
    ///
    /// ```
    /// use calor::{Device, gpu::Pace};
    /// let device = Device::best()?;
    /// let pace = Pace { submission_bytes: 1 << 20, ..device.pace() };
    /// device.set_pace(pace);
    /// assert_eq!(device.pace().submission_bytes, 1 << 20);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_pace(&self, pace: Pace) {
        self.engine().gpu().set_pace(pace);
    }

    /// Arms failures of the device, for tests; returns how often the point of the former ones was passed.
    #[doc(hidden)]
    pub fn inject(&self, injection: Option<Injection>) -> u32 {
        self.engine().gpu().inject(injection)
    }

    /// Loses the device, for tests.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.engine().gpu().destroy();
    }

    /// The longest that any call waits for the device, a minute at first; what takes longer is `Err(Timeout)`, and the
    /// device goes on with its work.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// device.set_timeout(std::time::Duration::from_secs(600));
    /// assert_eq!(calor::Tensor::ones([2], &device)?.sum()?.item()?, 2.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_timeout(&self, limit: Duration) {
        self.engine().gpu().set_timeout(limit);
    }

    /// Lets operations share kernels, or runs each alone; `CALOR_FUSION=0` starts with the latter.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// let y = || ((Tensor::ones([4], &device)? + 1.0)?.exp()? * 2.0)?.explain();
    /// device.set_fusion(false);
    /// assert!(y()?.starts_with("3 kernels"));
    /// device.set_fusion(true);
    /// assert!(y()?.starts_with("1 kernels"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_fusion(&self, on: bool) {
        self.engine().set_fusion(on);
    }

    /// Keeps plans, so that a step of a structure seen before plans nothing, or plans each step anew;
    /// `CALOR_PLAN_CACHE=0` starts with the latter.
    ///
    /// ```
    /// use calor::{Device, Tensor};
    /// let device = Device::best()?;
    /// let plans = || -> calor::Result<u64> {
    ///     let before = device.counters().plans;
    ///     (0..3).try_for_each(|i| (Tensor::ones([4], &device)? + i)?.eval())?;
    ///     Ok(device.counters().plans - before)
    /// };
    /// assert_eq!(plans()?, 1);
    /// device.set_plan_cache(false);
    /// assert_eq!(plans()?, 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_plan_cache(&self, on: bool) {
        self.engine().set_plan_cache(on);
    }

    /// Measures which kernel is fastest where there are several for an operation, or goes by a table of adapters'
    /// properties, as at first; `CALOR_TUNE=1` starts with the former.
    ///
    /// Each kind of problem (its sizes rounded up to powers of two, its dtype, how its tensors lie) is measured once,
    /// when it is first met, which takes from milliseconds to seconds. What was found is kept in the cache folder
    /// for this adapter, driver and version of calor.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// let before = device.tunes();
    /// device.set_tuning(true);
    /// assert!(device.tunes());
    /// device.set_tuning(before);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_tuning(&self, on: bool) {
        self.engine().gpu().choices().set_tuning(on);
    }

    /// Whether kernels are measured: see [`Device::set_tuning`].
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// device.set_tuning(true);
    /// assert!(device.tunes());
    /// # device.set_tuning(false);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tunes(&self) -> bool {
        self.engine().gpu().choices().tunes()
    }

    /// Makes an operation use a kernel where it can, for tests; `None` lets it choose again.
    #[doc(hidden)]
    pub fn force_kernel(&self, op: &str, kernel: Option<&str>) {
        self.engine().gpu().choices().force(op, kernel);
    }

    /// Whether both are the same device.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(device.same(&device.clone()));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Where and of which dtype a tensor is made: `()`, a dtype, a device, or both.
///
/// ```
/// use calor::{DType, Device, Tensor};
/// let device = Device::best()?;
/// assert_eq!(Tensor::ones([2], ())?.dtype(), DType::F32);
/// assert_eq!(Tensor::ones([2], DType::I32)?.dtype(), DType::I32);
/// assert!(Tensor::ones([2], (DType::I32, &device))?.device().same(&device));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    dtype: Option<DType>,
    device: Option<Device>,
}

impl Options {
    /// The dtype asked for, or `default`.
    ///
    /// ```
    /// use calor::{DType, Options};
    /// assert_eq!(Options::from(()).dtype_or(DType::F32), DType::F32);
    /// assert_eq!(Options::from(DType::U8).dtype_or(DType::F32), DType::U8);
    /// ```
    pub fn dtype_or(&self, default: DType) -> DType {
        self.dtype.unwrap_or(default)
    }

    /// The dtype asked for.
    ///
    /// ```
    /// use calor::{DType, Options};
    /// assert_eq!((Options::from(()).dtype(), Options::from(DType::U8).dtype()), (None, Some(DType::U8)));
    /// ```
    pub fn dtype(&self) -> Option<DType> {
        self.dtype
    }

    /// The device asked for, or `other`.
    ///
    /// ```
    /// let device = calor::Device::best()?;
    /// assert!(calor::Options::default().device_or(&device).same(&device));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn device_or(&self, other: &Device) -> Device {
        self.device.as_ref().unwrap_or(other).clone()
    }

    /// The device asked for, or the default one.
    ///
    /// ```
    /// use calor::{Device, Options};
    /// assert!(Options::from(()).device()?.same(&Device::best()?));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn device(&self) -> Result<Device, Error> {
        self.device.clone().map_or_else(Device::best, Ok)
    }
}

impl From<()> for Options {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<DType> for Options {
    fn from(dtype: DType) -> Self {
        Self { dtype: Some(dtype), device: None }
    }
}

impl From<&Device> for Options {
    fn from(device: &Device) -> Self {
        Self { dtype: None, device: Some(device.clone()) }
    }
}

impl From<(DType, &Device)> for Options {
    fn from((dtype, device): (DType, &Device)) -> Self {
        Self { dtype: Some(dtype), device: Some(device.clone()) }
    }
}

//! Profiles: where the time of a piece of program goes, on the device and on the host.

use super::{Device, Options};
use crate::error::Result;
use crate::gpu::Profile;

/// A profile that runs until it is finished or dropped.
///
/// ```
/// use calor::{Profiler, Tensor};
/// let profiler = Profiler::start(())?;
/// (Tensor::ones([64], ())? * 2.0)?.sum()?.item()?;
/// assert!(!profiler.finish()?.kernels.is_empty());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct Profiler {
    device: Device,
}

impl Profiler {
    /// Starts to measure everything that runs on the device; `Err` while another profile of it runs. What is pending
    /// is submitted first, so that it is not counted.
    ///
    /// ```
    /// let profiler = calor::Profiler::start(())?;
    /// assert!(calor::Profiler::start(()).is_err());
    /// drop(profiler);
    /// assert!(calor::Profiler::start(()).is_ok());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn start(on: impl Into<Options>) -> Result<Self> {
        let device = on.into().device()?;
        device.submit()?;
        device.engine().gpu().start_profile()?;
        Ok(Self { device })
    }

    /// Computes what is pending, waits for it, and returns what was measured.
    ///
    /// ```
    /// let profiler = calor::Profiler::start(())?;
    /// calor::Tensor::rand([64], ())?.eval()?;
    /// assert_eq!(profiler.finish()?.kernels.iter().map(|k| k.runs).sum::<u64>(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn finish(self) -> Result<Profile> {
        self.device.synchronize()?;
        self.device.engine().gpu().finish_profile()
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.device.engine().gpu().drop_profile();
    }
}

/// Runs a program and measures it: each kernel by timestamps of the device, and what the host does.
///
/// A profile costs a little: every kernel has a pass of its own. Without timestamps on the adapter only the host is
/// timed, and the table says so. Work of other threads on the device is measured too.
///
/// ```
/// use calor::Tensor;
/// let (sum, profile) = calor::profile((), || (Tensor::ones([64, 64], ())? * 2.0)?.sum()?.item())?;
/// assert_eq!(sum, 8192.0);
/// assert!(profile.kernels.iter().any(|k| k.runs == 1));
/// println!("{profile}");
/// # Ok::<(), calor::Error>(())
/// ```
pub fn profile<T>(on: impl Into<Options>, program: impl FnOnce() -> Result<T>) -> Result<(T, Profile)> {
    let profiler = Profiler::start(on)?;
    let value = program()?;
    Ok((value, profiler.finish()?))
}

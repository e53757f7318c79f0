//! How much work is handed over at once: what a submission may hold, and what may wait before it is submitted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Gpu;
use super::choice::AdapterChoice;
use super::recording::{Command, Recording};

/// When pending work is submitted by itself, and how large a submission becomes.
///
/// Drivers stop work that runs for seconds, so a recording is cut into submissions of bounded work. Work is counted in
/// operations as kernels estimate them: a matrix product of `m x k` by `k x n` is `2 m n k`.
///
/// ```
/// use calor::gpu::Pace;
/// let device = calor::Device::best()?;
/// let usual = device.pace();
/// device.set_pace(Pace { submission_work: 1_000_000, ..usual });
/// assert_eq!(device.pace().submission_bytes, usual.submission_bytes);
/// # device.set_pace(usual);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Operations of one submission; a kernel above it is submitted alone, and above eight times as many it is cut.
    pub submission_work: u64,
    /// Bytes that the kernels of one submission may read and write.
    pub submission_bytes: u64,
    /// Nodes that wait before the engine computes them by itself.
    pub pending_nodes: u64,
    /// Bytes uploaded since the last submission of the engine: pending work keeps them from being freed.
    pub pending_bytes: u64,
    /// Operations that wait. High by default, for computing amid a step costs fusion.
    pub pending_work: u64,
}

impl Pace {
    /// Half a second or less of work on slow adapters of the kind.
    pub(super) fn usual(is_cpu: bool) -> Self {
        let (submission_work, submission_bytes, pending_work) =
            if is_cpu { (1_000_000_000, 1 << 30, 1_000_000_000_000) } else { (50_000_000_000, 16 << 30, 1 << 43) };
        Self { submission_work, submission_bytes, pending_nodes: 4096, pending_bytes: 256 << 20, pending_work }
    }
}

impl Pace {
    /// What is usual, or was asked for.
    pub(super) fn wanted(choice: &AdapterChoice, is_cpu: bool) -> Self {
        let usual = Self::usual(is_cpu);
        Self {
            submission_work: choice.limit("submission_work").unwrap_or(usual.submission_work),
            submission_bytes: choice.limit("submission_bytes").unwrap_or(usual.submission_bytes),
            ..usual
        }
    }

    /// Operations of a run that stays whole: cutting costs the end of each piece, where not all of a device is busy.
    pub(crate) fn run_work(&self) -> u64 {
        self.submission_work.saturating_mul(8)
    }
}

/// A [`Pace`] that threads may read while one sets it.
pub(super) struct SharedPace([AtomicU64; 5]);

impl SharedPace {
    pub fn new(pace: Pace) -> Self {
        let shared = Self(Default::default());
        shared.set(pace);
        shared
    }

    pub fn set(&self, p: Pace) {
        let values = [p.submission_work, p.submission_bytes, p.pending_nodes, p.pending_bytes, p.pending_work];
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value.max(1), Relaxed);
        }
    }

    pub fn get(&self) -> Pace {
        let [submission_work, submission_bytes, pending_nodes, pending_bytes, pending_work] =
            self.0.each_ref().map(|cell| cell.load(Relaxed));
        Pace { submission_work, submission_bytes, pending_nodes, pending_bytes, pending_work }
    }
}

impl Gpu {
    /// When pending work is submitted, and how large a submission becomes.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// assert!(Gpu::open(&AdapterChoice::from_env()?)?.pace().submission_work > 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pace(&self) -> Pace {
        self.0.pace.get()
    }

    /// Sets the pace; zeros count as one.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu, Pace};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.set_pace(Pace { submission_work: 0, ..gpu.pace() });
    /// assert_eq!(gpu.pace().submission_work, 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_pace(&self, pace: Pace) {
        self.0.pace.set(pace);
    }
}

/// What the submission at hand holds so far.
pub(super) struct Load {
    pace: Pace,
    work: u64,
    bytes: u64,
    empty: bool,
}

impl Load {
    pub fn new(pace: Pace) -> Self {
        Self { pace, work: 0, bytes: 0, empty: true }
    }

    /// Takes a command in, or says that it belongs into the next submission.
    pub fn takes(&mut self, command: &Command, recording: &Recording) -> bool {
        let (work, bytes) = cost(command, recording);
        let (work, bytes) = (self.work.saturating_add(work), self.bytes.saturating_add(bytes));
        if !self.empty && (work > self.pace.submission_work || bytes > self.pace.submission_bytes) {
            return false;
        }
        // what only frees a buffer is no content
        self.empty &= matches!(command, Command::Free(_) | Command::Together);
        (self.work, self.bytes) = (work, bytes);
        true
    }
}

/// Estimated operations and bytes moved.
fn cost(command: &Command, recording: &Recording) -> (u64, u64) {
    let size = |slot: &u32| recording.slots.get(*slot as usize).copied().unwrap_or(0);
    match command {
        Command::Dispatch(run) => (run.work, bytes(run, recording)),
        Command::Copy { bytes, .. } => (0, bytes.saturating_mul(2)),
        Command::Clear(slot) => (0, size(slot)),
        Command::Free(_) | Command::Together => (0, 0),
    }
}

/// Bytes behind the bindings of a dispatch.
pub(super) fn bytes(run: &super::Dispatch, recording: &Recording) -> u64 {
    let size = |b: &super::Binding| {
        let whole = recording.slots.get(b.slot as usize).copied().unwrap_or(0);
        whole.saturating_sub(b.offset).min(b.bytes)
    };
    run.bindings.iter().fold(0, |sum: u64, b| sum.saturating_add(size(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_cut_by_bytes_and_never_empty() {
        let recording = Recording { slots: vec![100, 50, u64::MAX], commands: vec![] };
        let pace = Pace { submission_bytes: 120, ..Pace::usual(true) };
        let mut load = Load::new(pace);
        assert!(load.takes(&Command::Free(1), &recording));
        assert!(load.takes(&Command::Clear(2), &recording), "the first is taken, however large");
        assert!(!load.takes(&Command::Clear(1), &recording));
        assert!(load.takes(&Command::Free(1), &recording) || load.bytes == u64::MAX);
        let mut load = Load::new(pace);
        assert!(load.takes(&Command::Clear(1), &recording));
        assert!(load.takes(&Command::Clear(1), &recording));
        assert!(!load.takes(&Command::Clear(0), &recording));
    }
}

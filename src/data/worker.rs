//! Which of a loader's workers a thread is.

use std::cell::Cell;

/// A worker of a loader, and how many there are.
///
/// ```
/// use calor::data::{DataLoader, WorkerInfo, get_worker_info};
/// let loader = DataLoader::new(vec![(); 3], |_| Ok(get_worker_info())).workers(3);
/// let last = loader.iter()?.last().unwrap()?;
/// assert_eq!(last, Some(WorkerInfo { id: 2, num_workers: 3, epoch: 0 }));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its number, from 0 on.
    pub id: usize,
    /// Number of workers; 1 where batches are made without threads.
    pub num_workers: usize,
    /// The epoch that it works for.
    pub epoch: u64,
}

thread_local! {
    static WORKER: Cell<Option<WorkerInfo>> = const { Cell::new(None) };
}

/// The worker that this thread is, for what a dataset does differently in each; `None` outside of workers.
///
/// ```
/// use calor::data::{DataLoader, get_worker_info};
/// assert_eq!(get_worker_info(), None);
/// let loader = DataLoader::new(vec![(); 4], |_| Ok(get_worker_info().map(|w| w.id))).workers(2);
/// let ids: Vec<_> = loader.iter()?.collect::<calor::Result<_>>()?;
/// assert_eq!(ids, [Some(0), Some(1), Some(0), Some(1)]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn get_worker_info() -> Option<WorkerInfo> {
    WORKER.get()
}

impl WorkerInfo {
    /// Runs `f`, all that this thread does as a worker.
    pub(super) fn within<R>(self, f: impl FnOnce() -> R) -> R {
        WORKER.set(Some(self));
        let out = f();
        WORKER.set(None);
        out
    }
}

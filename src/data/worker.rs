//! Which of a loader's workers a thread is.

use super::loader::guarded;
use crate::error::{Error, ErrorKind, Result, bail};
use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

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

/// What each thread does first.
pub(super) type Init = Arc<dyn Fn(WorkerInfo) -> Result<()> + Send + Sync>;
/// What a thread does in an epoch, told how its start went.
type Job = Box<dyn FnOnce(Result<()>) + Send>;

/// The threads of a loader.
pub(super) struct Threads {
    pub workers: usize,
    pub prefetch: usize,
    pub timeout: Option<Duration>,
    pub init: Option<Init>,
    pub persistent: bool,
    kept: Mutex<Kept>,
}

/// Threads that outlive an epoch.
#[derive(Default)]
struct Kept {
    /// They end when their channels go.
    senders: Vec<Sender<Job>>,
    /// Alive while an epoch has them.
    lent: Weak<()>,
}

/// What an epoch holds until its end while it has the kept threads.
pub(super) type Lease = Arc<()>;

/// Batches that a thread makes ahead at most: their places are taken at once.
const MOST_AHEAD: usize = 1 << 16;

impl Threads {
    pub(super) fn none() -> Self {
        Self { workers: 0, prefetch: 2, timeout: None, init: None, persistent: false, kept: Mutex::default() }
    }

    /// Refuses what has no sense without threads.
    pub(super) fn check(&self) -> Result<()> {
        if self.workers == 0 && (self.timeout.is_some() || self.persistent) {
            bail!(Value, "DataLoader", "timeout and persistent_workers need workers, there are none");
        }
        Ok(())
    }

    /// Batches that each thread makes ahead, of `count` in all.
    pub(super) fn ahead(&self, count: usize) -> usize {
        self.prefetch.min(count).min(MOST_AHEAD)
    }

    /// The kept threads for a new epoch; none where there are none, or another epoch still has them: a thread that waits for
    /// that one's batches to be taken would never come to this one.
    pub(super) fn lease(&self) -> Option<Lease> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.persistent || kept.lent.strong_count() > 0 {
            return None;
        }
        let lease = Lease::default();
        kept.lent = Arc::downgrade(&lease);
        Some(lease)
    }

    /// Has a worker do something, a kept one where there is a lease; gives what to join where its thread ends with it.
    pub(super) fn start(
        &self,
        lease: Option<&Lease>,
        info: WorkerInfo,
        job: impl FnOnce(Result<()>) + Send + 'static,
    ) -> std::io::Result<Option<JoinHandle<()>>> {
        let init = self.init.clone();
        let begin = move || init.map_or(Ok(()), |init| guarded(|| init(info)));
        let name = || std::thread::Builder::new().name("calor-loader".into());
        if lease.is_none() {
            return name().spawn(move || info.within(|| job(begin()))).map(Some);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.senders.len() <= info.id {
            let (sender, jobs) = channel::<Job>();
            name().spawn(move || {
                let began = info.within(begin);
                jobs.iter().for_each(|job| job(began.clone()));
            })?;
            kept.senders.push(sender);
        }
        let job: Job = Box::new(move |began| info.within(|| job(began)));
        let sent = kept.senders.get(info.id).is_some_and(|worker| worker.send(job).is_ok());
        if sent { Ok(None) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    }
}

/// What a worker made; none where it is gone, an error where it takes too long.
pub(super) fn received<B>(from: &Receiver<Result<B>>, timeout: Option<Duration>) -> Option<Result<Result<B>, Late>> {
    let Some(timeout) = timeout else { return from.recv().ok().map(Ok) };
    match from.recv_timeout(timeout) {
        Ok(made) => Some(Ok(made)),
        Err(RecvTimeoutError::Timeout) => Some(Err(Late(timeout))),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// A worker that took longer than this.
pub(super) struct Late(Duration);

impl From<Late> for Error {
    fn from(late: Late) -> Self {
        Error::new(ErrorKind::Timeout, "DataLoader", format!("timed out after {:?}: a worker made no batch", late.0))
    }
}

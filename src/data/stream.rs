//! Datasets without places: each worker reads a stream of its own.

use super::WorkerInfo;
use super::loader::{Collate, alone, guarded};
use super::worker::{Lease, Threads, received};
use crate::error::{Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Items of a stream: logs, sockets, files that are too many to count.
///
/// ```
/// use calor::Result;
/// use calor::data::{IterableDataLoader, IterableDataset, WorkerInfo};
/// struct Lines(Vec<String>);
/// impl IterableDataset for Lines {
///     type Item = String;
///     fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<String>> + Send>> {
///         // each worker takes a share
///         Ok(Box::new(self.0.clone().into_iter().skip(worker.id).step_by(worker.num_workers).map(Ok)))
///     }
/// }
/// let lines = Lines(["a", "b", "c", "d", "e"].map(String::from).to_vec());
/// let loader = IterableDataLoader::new(lines, Ok).batch_size(2).workers(2);
/// let batches: Vec<Vec<String>> = loader.iter()?.collect::<Result<_>>()?;
/// assert_eq!(batches, [vec!["a", "c"], vec!["b", "d"], vec!["e"]]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait IterableDataset: Send + Sync + 'static {
    /// What an item is.
    type Item: Send + 'static;

    /// The items of one epoch that a worker reads. All workers call it: whoever does not look at `worker` reads every item
    /// in each of them.
    ///
    /// ```
    /// # use calor::{Result, data::{IterableDataset, WorkerInfo}};
    /// struct UpTo(usize);
    /// impl IterableDataset for UpTo {
    ///     type Item = usize;
    ///     fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    ///         Ok(Box::new((worker.id..self.0).step_by(worker.num_workers).map(Ok)))
    ///     }
    /// }
    /// let loader = calor::data::IterableDataLoader::unbatched(UpTo(5)).workers(2);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?.len(), 5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// What keeps the stream from being opened; it comes as the worker's only item.
    fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<Self::Item>> + Send>>;
}

impl<D: IterableDataset + ?Sized> IterableDataset for Arc<D> {
    type Item = D::Item;

    fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<D::Item>> + Send>> {
        (**self).iter(worker)
    }
}

/// Streams one after the other, each opened when the one before is at its end.
///
/// ```
/// use calor::Result;
/// use calor::data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo};
/// struct UpTo(i32);
/// impl IterableDataset for UpTo {
///     type Item = i32;
///     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<i32>> + Send>> {
///         Ok(Box::new((0..self.0).map(Ok)))
///     }
/// }
/// let loader = IterableDataLoader::unbatched(ChainDataset::new(vec![UpTo(2), UpTo(0), UpTo(1)]));
/// assert_eq!(loader.iter()?.collect::<Result<Vec<i32>>>()?, [0, 1, 0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChainDataset<D> {
    parts: Arc<Vec<D>>,
}

impl<D: IterableDataset> ChainDataset<D> {
    /// The items of all parts. Parts of several kinds are `Arc<dyn IterableDataset<Item = ..>>`.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::unbatched(ChainDataset::new(vec![UpTo(2), UpTo(1)]));
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [0, 1, 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(parts: Vec<D>) -> Self {
        Self { parts: Arc::new(parts) }
    }
}

impl<D: IterableDataset> IterableDataset for ChainDataset<D> {
    type Item = D::Item;

    fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<D::Item>> + Send>> {
        Ok(Box::new(Chain { parts: self.parts.clone(), next: 0, open: None, worker }))
    }
}

/// The items of one worker.
struct Chain<D: IterableDataset> {
    parts: Arc<Vec<D>>,
    next: usize,
    open: Option<Box<dyn Iterator<Item = Result<D::Item>> + Send>>,
    worker: WorkerInfo,
}

impl<D: IterableDataset> Iterator for Chain<D> {
    type Item = Result<D::Item>;

    fn next(&mut self) -> Option<Result<D::Item>> {
        loop {
            if let Some(item) = self.open.as_mut().and_then(Iterator::next) {
                return Some(item);
            }
            let part = self.parts.get(self.next)?;
            self.next += 1;
            match part.iter(self.worker) {
                Ok(stream) => self.open = Some(stream),
                Err(e) => {
                    // a stream that cannot be opened ends all, as if it were the only one
                    (self.next, self.open) = (self.parts.len(), None);
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Makes batches of an [`IterableDataset`]: PyTorch's `DataLoader` over one.
///
/// Each worker makes batches of its own items; batches are taken from one worker after the other, until all are at their
/// ends.
///
/// ```
/// use calor::data::{IterableDataLoader, IterableDataset, WorkerInfo};
/// struct Numbers;
/// impl IterableDataset for Numbers {
///     type Item = usize;
///     fn iter(&self, _: WorkerInfo) -> calor::Result<Box<dyn Iterator<Item = calor::Result<usize>> + Send>> {
///         Ok(Box::new((0..5).map(Ok)))
///     }
/// }
/// let loader = IterableDataLoader::new(Numbers, Ok).batch_size(2);
/// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<_>>>()?, [vec![0, 1], vec![2, 3], vec![4]]);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct IterableDataLoader<D: IterableDataset, B> {
    dataset: Arc<D>,
    collate: Collate<D::Item, B>,
    batch_size: usize,
    drop_last: bool,
    threads: Threads,
    epoch: AtomicU64,
}

impl<D: IterableDataset> IterableDataLoader<D, D::Item> {
    /// A loader of the items themselves, without batches: PyTorch's `batch_size=None`.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// assert_eq!(IterableDataLoader::unbatched(UpTo(2)).iter()?.collect::<Result<Vec<_>>>()?, [0, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unbatched(dataset: D) -> Self {
        Self::new(dataset, alone)
    }
}

impl<D: IterableDataset, B: Send + 'static> IterableDataLoader<D, B> {
    /// A loader of single items without threads; `collate` makes a batch of items.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::new(UpTo(3), |items: Vec<usize>| Ok(items.iter().sum::<usize>())).batch_size(2);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [1, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(dataset: D, collate: impl Fn(Vec<D::Item>) -> Result<B> + Send + Sync + 'static) -> Self {
        Self {
            dataset: Arc::new(dataset),
            collate: Arc::new(collate),
            batch_size: 1,
            drop_last: false,
            threads: Threads::none(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Items in a batch.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::new(UpTo(3), Ok).batch_size(2);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [vec![0, 1], vec![2]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn batch_size(mut self, n: usize) -> Self {
        self.batch_size = n;
        self
    }

    /// Leaves out a last batch that is not full, of each worker.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::new(UpTo(3), Ok).batch_size(2).drop_last(true);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [[0, 1]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }

    /// Threads that make batches ahead; 0 makes them when asked.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// // each worker reads all that it is not told to leave
    /// let loader = IterableDataLoader::unbatched(UpTo(2)).workers(2);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [0, 0, 1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn workers(mut self, n: usize) -> Self {
        self.threads.workers = n;
        self
    }

    /// How long a batch of a worker is waited for; an error is the loop's item then, and the next call waits again.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::unbatched(UpTo(2)).timeout(std::time::Duration::from_secs(1));
    /// // only threads can be late
    /// assert!(loader.iter().is_err());
    /// assert_eq!(loader.workers(1).iter()?.count(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.threads.timeout = Some(timeout);
        self
    }

    /// What each thread does before its first batch: PyTorch's `worker_init_fn`. Its error is the worker's only item.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::unbatched(UpTo(2)).workers(1);
    /// let loader = loader.worker_init(|worker| if worker.id == 0 { Err(std::io::Error::other("no disk"))? } else { Ok(()) });
    /// assert!(loader.iter()?.next().unwrap().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn worker_init(mut self, init: impl Fn(WorkerInfo) -> Result<()> + Send + Sync + 'static) -> Self {
        self.threads.init = Some(Arc::new(init));
        self
    }

    /// Keeps the threads for the next epoch. One that is begun before another is at its end has threads of its own.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::unbatched(UpTo(2)).workers(1).persistent_workers(true);
    /// assert_eq!((loader.iter()?.count(), loader.iter()?.count()), (2, 2));
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn persistent_workers(mut self, on: bool) -> Self {
        self.threads.persistent = on;
        self
    }

    /// Batches that each thread makes ahead, 65536 at most.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::unbatched(UpTo(9)).workers(1).prefetch(4);
    /// assert_eq!(loader.iter()?.count(), 9);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn prefetch(mut self, n: usize) -> Self {
        self.threads.prefetch = n.max(1);
        self
    }

    /// The epoch that the next iteration is.
    ///
    /// ```
    /// # use calor::{Result, data::{IterableDataLoader, IterableDataset, WorkerInfo}};
    /// struct Epoch;
    /// impl IterableDataset for Epoch {
    ///     type Item = u64;
    ///     fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<u64>> + Send>> {
    ///         Ok(Box::new(std::iter::once(Ok(worker.epoch))))
    ///     }
    /// }
    /// let loader = IterableDataLoader::unbatched(Epoch);
    /// loader.set_epoch(7);
    /// assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [7]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// The batches of one epoch; each call goes on to the next epoch.
    ///
    /// ```
    /// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
    /// # struct UpTo(usize);
    /// # impl IterableDataset for UpTo {
    /// #     type Item = usize;
    /// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
    /// #         Ok(Box::new((0..self.0).map(Ok)))
    /// #     }
    /// # }
    /// let loader = IterableDataLoader::new(UpTo(3), Ok).batch_size(2);
    /// for batch in loader.iter()? {
    ///     assert!(batch?.len() <= 2);
    /// }
    /// assert!(loader.batch_size(0).iter().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for a batch size of 0, and a timeout or threads to keep without threads. Errors of the dataset, of `collate`, and panics in either come as items; a panic ends
    /// its worker's stream.
    pub fn iter(&self) -> Result<StreamBatches<B>> {
        if self.batch_size == 0 {
            bail!(Value, "DataLoader", "batch_size must be positive, got 0");
        }
        self.threads.check()?;
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let reader = |id: usize, num_workers: usize| Reader {
            worker: WorkerInfo { id, num_workers, epoch },
            dataset: self.dataset.clone(),
            collate: self.collate.clone(),
            batch_size: self.batch_size,
            drop_last: self.drop_last,
            stream: Stream::Closed,
        };
        let (timeout, workers) = (self.threads.timeout, self.threads.workers);
        let lease = self.threads.lease();
        let mut out = StreamBatches { sources: Vec::new(), next: 0, threads: Vec::new(), lease, timeout, late: false };
        for id in 0..workers {
            let (sender, receiver) = sync_channel(self.threads.ahead(usize::MAX));
            let own = reader(id, workers);
            let worker = own.worker;
            // whoever is no longer asked goes
            let run = move |began: Result<()>| match began {
                Ok(()) => drop(own.into_iter().map(|batch| sender.send(batch)).find(std::result::Result::is_err)),
                Err(e) => drop(sender.send(Err(e))),
            };
            match self.threads.start(out.lease.as_ref(), worker, run) {
                Ok(handle) => {
                    out.sources.push(Source::Thread(receiver));
                    out.threads.extend(handle);
                }
                // without a thread its batches are made when asked for
                Err(_) => out.sources.push(Source::Here(Box::new(reader(id, workers)))),
            }
        }
        if workers == 0 {
            out.sources.push(Source::Here(Box::new(reader(0, 1))));
        }
        Ok(out)
    }
}

/// What a worker reads its items from.
enum Stream<T> {
    Closed,
    Open(Box<dyn Iterator<Item = Result<T>> + Send>),
    Ended,
}

/// Makes the batches of one worker.
struct Reader<D: IterableDataset, B> {
    worker: WorkerInfo,
    dataset: Arc<D>,
    collate: Collate<D::Item, B>,
    batch_size: usize,
    drop_last: bool,
    stream: Stream<D::Item>,
}

impl<D: IterableDataset, B> Reader<D, B> {
    /// The next batch; none at the end of the stream.
    fn batch(&mut self) -> Result<Option<B>> {
        if let Stream::Closed = self.stream {
            self.stream = Stream::Open(self.dataset.iter(self.worker)?);
        }
        let Stream::Open(stream) = &mut self.stream else { return Ok(None) };
        let items = stream.by_ref().take(self.batch_size).collect::<Result<Vec<_>>>()?;
        let full = items.len() == self.batch_size;
        if !full {
            self.stream = Stream::Ended;
        }
        let dropped = items.is_empty() || !full && self.drop_last;
        if dropped { Ok(None) } else { (self.collate)(items).map(Some) }
    }
}

impl<D: IterableDataset, B> Iterator for Reader<D, B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        let mut whole = false;
        let batch = guarded(|| {
            let batch = self.batch();
            whole = true;
            batch
        });
        // a stream that cannot be opened, or panicked, is in no state to go on
        if !whole || matches!(self.stream, Stream::Closed) {
            self.stream = Stream::Ended;
        }
        batch.transpose()
    }
}

enum Source<B> {
    Thread(Receiver<Result<B>>),
    Here(Box<dyn Iterator<Item = Result<B>> + Send>),
}

/// The batches of one epoch of an [`IterableDataLoader`].
///
/// ```
/// # use calor::{Result, data::{ChainDataset, IterableDataLoader, IterableDataset, WorkerInfo}};
/// # struct UpTo(usize);
/// # impl IterableDataset for UpTo {
/// #     type Item = usize;
/// #     fn iter(&self, _: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
/// #         Ok(Box::new((0..self.0).map(Ok)))
/// #     }
/// # }
/// let mut batches = IterableDataLoader::new(UpTo(3), Ok).batch_size(2).iter()?;
/// assert_eq!(batches.next().unwrap()?, [0, 1]);
/// assert_eq!(batches.count(), 1);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct StreamBatches<B> {
    sources: Vec<Source<B>>,
    /// Whose turn it is.
    next: usize,
    threads: Vec<JoinHandle<()>>,
    lease: Option<Lease>,
    timeout: Option<Duration>,
    /// Whether a worker took too long.
    late: bool,
}

impl<B> Iterator for StreamBatches<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        while !self.sources.is_empty() {
            self.next %= self.sources.len();
            let batch = match &mut self.sources[self.next] {
                // a worker that is at its end drops its sender
                Source::Thread(receiver) => match received(receiver, self.timeout).transpose() {
                    Ok(made) => made,
                    Err(late) => {
                        // it may still come
                        self.late = true;
                        return Some(Err(late.into()));
                    }
                },
                Source::Here(reader) => reader.next(),
            };
            match batch {
                Some(batch) => {
                    self.next += 1;
                    return Some(batch);
                }
                None => drop(self.sources.remove(self.next)),
            }
        }
        self.lease = None;
        None
    }
}

impl<B> Drop for StreamBatches<B> {
    fn drop(&mut self) {
        // a worker that waits to send wakes when its channel goes
        self.sources.clear();
        if self.late {
            // one that hangs would hang its caller
            return;
        }
        for thread in self.threads.drain(..) {
            // a panic was handed over as an error already
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::get_worker_info;
    use crate::error::{Error, ErrorKind};

    /// Numbers up to a limit, some of which are bad.
    struct Numbers {
        count: usize,
        bad: Option<usize>,
        panics: Option<usize>,
        closed: Option<usize>,
    }

    impl Numbers {
        fn to(count: usize) -> Self {
            Self { count, bad: None, panics: None, closed: None }
        }
    }

    impl IterableDataset for Numbers {
        type Item = usize;

        fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
            if self.closed == Some(worker.id) {
                bail!(Io, "numbers", "worker {} finds no stream", worker.id);
            }
            let (bad, panics) = (self.bad, self.panics);
            let own = (worker.id..self.count).step_by(worker.num_workers);
            Ok(Box::new(own.map(move |i| {
                assert!(panics != Some(i), "{i} is a panic");
                if bad == Some(i) { Err(Error::new(ErrorKind::Index, "numbers", format!("{i} is bad"))) } else { Ok(i) }
            })))
        }
    }

    fn batches(set: Numbers, workers: usize, size: usize) -> Vec<Result<Vec<usize>>> {
        let loader = IterableDataLoader::new(set, Ok).batch_size(size).workers(workers);
        loader.iter().unwrap().collect()
    }

    #[test]
    fn every_item_comes_once_and_in_the_same_order_each_time() {
        for workers in [0, 1, 3, 5] {
            let read = || batches(Numbers::to(17), workers, 2).into_iter().flat_map(Result::unwrap).collect();
            let (all, again): (Vec<usize>, Vec<usize>) = (read(), read());
            assert_eq!(all, again);
            let mut sorted = all.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..17).collect::<Vec<_>>(), "{workers} workers");
        }
        // workers of unlike length: the others go on
        let all: Vec<Vec<usize>> = batches(Numbers::to(5), 4, 1).into_iter().map(Result::unwrap).collect();
        assert_eq!(all, [[0], [1], [2], [3], [4]]);
        assert!(batches(Numbers::to(0), 2, 3).is_empty());
        let loader = IterableDataLoader::new(Numbers::to(7), Ok).batch_size(3).workers(2).drop_last(true);
        assert_eq!(loader.iter().unwrap().map(Result::unwrap).collect::<Vec<_>>(), [vec![0, 2, 4], vec![1, 3, 5]]);
        assert!(IterableDataLoader::new(Numbers::to(7), Ok).batch_size(0).iter().is_err());
    }

    #[test]
    fn errors_and_panics_reach_the_caller() {
        for workers in [0, 2] {
            let all = batches(Numbers { bad: Some(2), ..Numbers::to(6) }, workers, 1);
            let errors: Vec<String> = all.iter().filter_map(|b| b.as_ref().err()).map(ToString::to_string).collect();
            assert!(errors.len() == 1 && errors[0].contains("2 is bad"), "{errors:?}");
            assert_eq!(all.len(), 6, "the stream goes on after an error of an item");
            let all = batches(Numbers { panics: Some(2), ..Numbers::to(6) }, workers, 1);
            let errors: Vec<String> = all.iter().filter_map(|b| b.as_ref().err()).map(ToString::to_string).collect();
            assert!(errors.len() == 1 && errors[0].contains("2 is a panic"), "{errors:?}");
            let left = all.iter().filter(|b| b.is_ok()).count();
            assert_eq!(left, if workers == 0 { 2 } else { 4 }, "a panic ends the stream of its worker alone");
            let all = batches(Numbers { closed: Some(0), ..Numbers::to(6) }, workers, 1);
            assert_eq!(all.iter().filter(|b| b.is_err()).count(), 1);
            assert_eq!(all.len(), if workers == 0 { 1 } else { 4 });
        }
        let failing = IterableDataLoader::new(Numbers::to(4), |items: Vec<usize>| {
            assert!(items[0] != 1, "collate");
            Ok(items)
        });
        let all: Vec<_> = failing.workers(2).iter().unwrap().collect();
        assert!(all[1].as_ref().unwrap_err().to_string().contains("collate"));
    }

    #[test]
    fn workers_know_who_they_are_and_end() {
        let loader = IterableDataLoader::new(Numbers::to(8), |_| Ok(get_worker_info())).workers(2);
        loader.set_epoch(5);
        let all: Vec<_> = loader.iter().unwrap().map(Result::unwrap).collect();
        let info = |id| Some(WorkerInfo { id, num_workers: 2, epoch: 5 });
        assert_eq!(all[..2], [info(0), info(1)]);
        // endless streams of an abandoned epoch
        let mut endless = IterableDataLoader::new(Numbers::to(usize::MAX), Ok).workers(3).prefetch(1).iter().unwrap();
        endless.next();
        drop(endless);
    }
}

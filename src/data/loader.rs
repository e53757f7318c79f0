//! `DataLoader`: batches of a dataset, made ahead by worker threads.

use super::worker::{Lease, Threads, received};
use super::{Batching, Dataset, RandomSampler, Sampler, SequentialSampler, WorkerInfo};
use crate::error::{Error, ErrorKind, Result, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub(super) type Collate<I, B> = Arc<dyn Fn(Vec<I>) -> Result<B> + Send + Sync>;

/// Makes batches of a dataset.
///
/// ```
/// use calor::data::DataLoader;
/// let loader = DataLoader::new((0..10).collect::<Vec<i32>>(), Ok).batch_size(4).shuffle(7).workers(2);
/// let batches: Vec<Vec<i32>> = loader.iter()?.collect::<calor::Result<_>>()?;
/// assert_eq!((batches.len(), batches[2].len()), (3, 2));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct DataLoader<D: Dataset, B> {
    dataset: Arc<D>,
    collate: Collate<D::Item, B>,
    sampler: Option<Arc<dyn Sampler>>,
    batch_sampler: Option<Arc<dyn Batching>>,
    batch_size: usize,
    drop_last: bool,
    threads: Threads,
    epoch: AtomicU64,
}

/// The only item of a batch.
pub(super) fn alone<T>(mut items: Vec<T>) -> Result<T> {
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(item),
        _ => bail!(Value, "DataLoader", "a loader without batches takes no batch_size"),
    }
}

impl<D: Dataset> DataLoader<D, D::Item> {
    /// A loader of the items themselves, without batches: PyTorch's `batch_size=None`.
    ///
    /// ```
    /// use calor::data::DataLoader;
    /// let loader = DataLoader::unbatched((0..4).collect::<Vec<i32>>()).workers(2);
    /// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<i32>>>()?, [0, 1, 2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn unbatched(dataset: D) -> Self {
        Self::new(dataset, alone)
    }
}

impl<D: Dataset, B: Send + 'static> DataLoader<D, B> {
    /// A loader of single items in order, without threads; `collate` makes a batch of items.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], |items| Ok(items.iter().sum::<i32>()));
    /// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<_>>>()?, [1, 2, 3]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(dataset: D, collate: impl Fn(Vec<D::Item>) -> Result<B> + Send + Sync + 'static) -> Self {
        Self {
            dataset: Arc::new(dataset),
            collate: Arc::new(collate),
            sampler: None,
            batch_sampler: None,
            batch_size: 1,
            drop_last: false,
            threads: Threads::none(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Items in a batch.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).batch_size(2);
    /// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<_>>>()?, [vec![1, 2], vec![3]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn batch_size(mut self, n: usize) -> Self {
        self.batch_size = n;
        self
    }

    /// Shuffles by a seed, differently in each epoch.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new((0..100).collect::<Vec<_>>(), Ok).batch_size(100).shuffle(7);
    /// let (first, second) = (loader.iter()?.next().unwrap()?, loader.iter()?.next().unwrap()?);
    /// assert_ne!(first, second);
    /// loader.set_epoch(0);
    /// assert_eq!(loader.iter()?.next().unwrap()?, first);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        self.sampler(RandomSampler::new(seed))
    }

    /// Takes items in a sampler's order.
    ///
    /// ```
    /// use calor::data::{DataLoader, Sampler};
    /// struct Backwards;
    /// impl Sampler for Backwards {
    ///     fn order(&self, n: usize, _: u64) -> Vec<usize> {
    ///         (0..n).rev().collect()
    ///     }
    /// }
    /// let loader = DataLoader::new(vec![1, 2, 3], Ok).batch_size(3).sampler(Backwards);
    /// assert_eq!(loader.iter()?.next().unwrap()?, [3, 2, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Some(Arc::new(sampler));
        self
    }

    /// Takes whole batches in a sampler's order; there is no other sampler, `batch_size` or `drop_last` then.
    ///
    /// ```
    /// use calor::data::{BatchSampler, DataLoader, SubsetRandomSampler};
    /// let picked = BatchSampler::new(SubsetRandomSampler::new(vec![1, 4, 6], 0), 2, false)?;
    /// let loader = DataLoader::new((0..10).collect::<Vec<i32>>(), Ok).batch_sampler(picked);
    /// let batches: Vec<Vec<i32>> = loader.iter()?.collect::<calor::Result<_>>()?;
    /// assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn batch_sampler(mut self, sampler: impl Batching + 'static) -> Self {
        self.batch_sampler = Some(Arc::new(sampler));
        self
    }

    /// Leaves out a last batch that is not full.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).batch_size(2).drop_last(true);
    /// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<_>>>()?, [[1, 2]]);
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
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).workers(2);
    /// // the order does not depend on threads
    /// assert_eq!(loader.iter()?.collect::<calor::Result<Vec<_>>>()?, [[1], [2], [3]]);
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
    /// use calor::data::DataLoader;
    /// let slow = |_| Ok(std::thread::sleep(std::time::Duration::from_secs(1)));
    /// let loader = DataLoader::new(vec![1], slow).workers(1).timeout(std::time::Duration::from_millis(1));
    /// assert!(loader.iter()?.next().unwrap().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.threads.timeout = Some(timeout);
        self
    }

    /// What each thread does before its first batch: PyTorch's `worker_init_fn`. Its error is the item of the first batch.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    /// let (count, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    /// let own = count.clone();
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).workers(2).worker_init(move |_| {
    ///     own.fetch_add(1, Ordering::Relaxed);
    ///     Ok(())
    /// });
    /// seen.store(loader.iter()?.count(), Ordering::Relaxed);
    /// assert_eq!((count.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)), (2, 3));
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
    /// use calor::data::DataLoader;
    /// let thread = |_| Ok(std::thread::current().id());
    /// let loader = DataLoader::new(vec![(); 4], thread).workers(2).persistent_workers(true);
    /// let epoch = || loader.iter()?.collect::<calor::Result<Vec<_>>>();
    /// assert_eq!(epoch()?, epoch()?);
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
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).workers(1).prefetch(8);
    /// assert_eq!(loader.iter()?.count(), 3);
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
    /// let loader = calor::data::DataLoader::new((0..100).collect::<Vec<_>>(), Ok).batch_size(100).shuffle(7);
    /// let first = loader.iter()?.next().unwrap()?;
    /// loader.set_epoch(0);
    /// assert_eq!(loader.iter()?.next().unwrap()?, first);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// The dataset.
    ///
    /// ```
    /// assert_eq!(calor::data::DataLoader::new(vec![1, 2, 3], Ok).dataset(), &[1, 2, 3]);
    /// ```
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Number of batches in an epoch.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).batch_size(2);
    /// assert_eq!((loader.len(), loader.drop_last(true).len()), (2, 1));
    /// ```
    pub fn len(&self) -> usize {
        let (n, b) = (self.dataset.len(), self.batch_size.max(1));
        if let Some(sampler) = &self.batch_sampler {
            return sampler.count(n);
        }
        let n = self.sampler.as_ref().map_or(n, |sampler| sampler.count(n));
        if self.drop_last { n / b } else { n.div_ceil(b) }
    }

    /// Whether an epoch has no batches.
    ///
    /// ```
    /// assert!(calor::data::DataLoader::new(Vec::<i32>::new(), Ok).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of one epoch, in order; each call goes on to the next epoch.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).batch_size(2);
    /// for batch in loader.iter()? {
    ///     assert!(batch?.len() <= 2);
    /// }
    /// assert!(loader.batch_size(0).iter().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` for a batch size of 0, a batch sampler beside what it replaces, and a timeout or threads to keep without
    /// threads. Errors of the dataset, of `collate`, and panics in either come as items.
    pub fn iter(&self) -> Result<Batches<B>> {
        self.iter_from(0)
    }

    /// [`DataLoader::iter`] without the first batches of the epoch, which are not made: with [`DataLoader::set_epoch`]
    /// it goes on where a run that was stopped had come to.
    ///
    /// ```
    /// use calor::data::DataLoader;
    /// let loader = DataLoader::new((0..10).collect::<Vec<i32>>(), Ok).batch_size(2).shuffle(7);
    /// let all: Vec<Vec<i32>> = loader.iter()?.collect::<calor::Result<_>>()?;
    /// loader.set_epoch(0);
    /// let rest: Vec<Vec<i32>> = loader.iter_from(3)?.collect::<calor::Result<_>>()?;
    /// assert_eq!(rest, all[3..]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As those of [`DataLoader::iter`].
    pub fn iter_from(&self, batch: usize) -> Result<Batches<B>> {
        if self.batch_size == 0 {
            bail!(Value, "DataLoader", "batch_size must be positive, got 0");
        }
        self.threads.check()?;
        let alone = self.batch_size == 1 && !self.drop_last && self.sampler.is_none();
        if self.batch_sampler.is_some() && !alone {
            bail!(Value, "DataLoader", "batch_sampler excludes batch_size, shuffle, sampler and drop_last");
        }
        let (epoch, n) = (self.epoch.fetch_add(1, Ordering::Relaxed), self.dataset.len());
        let order = match (&self.batch_sampler, &self.sampler) {
            (Some(sampler), _) => Order::Batches(sampler.batches(n, epoch)),
            (None, Some(sampler)) => Order::Items(sampler.order(n, epoch), self.batch_size),
            (None, None) => Order::Items(SequentialSampler.order(n, epoch), self.batch_size),
        };
        let count = if let Order::Batches(batches) = &order { batches.len() } else { self.len() };
        let (dataset, collate) = (self.dataset.clone(), self.collate.clone());
        let skipped = batch.min(count);
        let make: Make<B> = Arc::new(move |batch| {
            let indices = order.batch(skipped + batch);
            let items = indices.iter().map(|&i| dataset.get(i)).collect::<Result<Vec<_>>>()?;
            collate(items)
        });
        let count = count - skipped;
        Ok(Batches::new(make, count, &self.threads, epoch))
    }
}

/// What an epoch takes.
enum Order {
    /// Items, so many in a batch.
    Items(Vec<usize>, usize),
    Batches(Vec<Vec<usize>>),
}

impl Order {
    fn batch(&self, batch: usize) -> &[usize] {
        match self {
            Order::Items(order, size) => {
                let from = (batch * size).min(order.len());
                &order[from..from.saturating_add(*size).min(order.len())]
            }
            Order::Batches(batches) => batches.as_slice().get(batch).map_or(&[], Vec::as_slice),
        }
    }
}

type Make<B> = Arc<dyn Fn(usize) -> Result<B> + Send + Sync>;

/// Runs `f`; a panic is an error.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".into());
        Err(Error::new(ErrorKind::Value, "DataLoader", format!("a worker failed: {text}")))
    })
}

/// The batches of one epoch.
///
/// ```
/// use calor::data::{Batches, DataLoader};
/// let mut batches: Batches<Vec<i32>> = DataLoader::new(vec![1, 2], Ok).iter()?;
/// assert_eq!((batches.next().unwrap()?, batches.count()), (vec![1], 1));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Batches<B> {
    make: Make<B>,
    next: usize,
    count: usize,
    // one channel a worker: batch `i` comes from worker `i % workers`, so order needs no sorting
    channels: Vec<Receiver<Result<B>>>,
    workers: Vec<JoinHandle<()>>,
    lease: Option<Lease>,
    stop: Arc<AtomicUsize>,
    timeout: Option<Duration>,
    /// Whether a worker took too long.
    late: bool,
}

impl<B: Send + 'static> Batches<B> {
    fn new(make: Make<B>, count: usize, threads: &Threads, epoch: u64) -> Self {
        let (workers, prefetch) = (threads.workers.min(count), threads.ahead(count));
        let stop = Arc::new(AtomicUsize::new(0));
        let mut batches = Self {
            make,
            next: 0,
            count,
            channels: Vec::new(),
            workers: Vec::new(),
            lease: threads.lease(),
            stop: stop.clone(),
            timeout: threads.timeout,
            late: false,
        };
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(prefetch);
            let (make, stop) = (batches.make.clone(), stop.clone());
            let info = WorkerInfo { id: worker, num_workers: workers, epoch };
            let run = move |began: Result<()>| match began {
                Ok(()) => work(&make, &sender, &stop, (worker..count).step_by(workers)),
                // whoever is no longer asked need not tell
                Err(e) => drop(sender.send(Err(e))),
            };
            match threads.start(batches.lease.as_ref(), info, run) {
                Ok(handle) => {
                    batches.channels.push(receiver);
                    batches.workers.extend(handle);
                }
                // without threads the batches are made when asked for
                Err(_) => {
                    batches.channels.clear();
                    break;
                }
            }
        }
        batches
    }
}

fn work<B>(make: &Make<B>, sender: &SyncSender<Result<B>>, stop: &AtomicUsize, mine: impl Iterator<Item = usize>) {
    for batch in mine {
        if stop.load(Ordering::Relaxed) != 0 || sender.send(guarded(|| make(batch))).is_err() {
            return;
        }
    }
}

impl<B> Iterator for Batches<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if self.next >= self.count {
            self.lease = None;
            return None;
        }
        let batch = self.next;
        self.next += 1;
        if self.channels.is_empty() {
            return Some(guarded(|| (self.make)(batch)));
        }
        match received(&self.channels[batch % self.channels.len()], self.timeout) {
            Some(Ok(made)) => Some(made),
            Some(Err(late)) => {
                // it may still come
                (self.next, self.late) = (batch, true);
                Some(Err(late.into()))
            }
            None => {
                let gone = format!("the worker of batch {batch} is gone");
                Some(Err(Error::new(ErrorKind::Value, "DataLoader", gone)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

impl<B> Drop for Batches<B> {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::Relaxed);
        // a worker that waits to send wakes when its channel goes
        self.channels.clear();
        if self.late {
            // one that hangs would hang its caller
            return;
        }
        for worker in self.workers.drain(..) {
            // a panic was handed over as an error already
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bad;
    impl Dataset for Bad {
        type Item = usize;
        fn len(&self) -> usize {
            6
        }
        fn get(&self, index: usize) -> Result<usize> {
            match index {
                2 => bail!(Index, "bad", "index 2 is bad"),
                4 => panic!("four"),
                i => Ok(i),
            }
        }
    }

    #[test]
    fn order_is_kept_and_seeded() {
        for workers in [0, 1, 3] {
            let loader = DataLoader::new((0..23).collect::<Vec<usize>>(), Ok).batch_size(4).workers(workers);
            let all: Vec<usize> = loader.iter().unwrap().flat_map(Result::unwrap).collect();
            assert_eq!(all, (0..23).collect::<Vec<_>>());
        }
        let shuffled = |workers| {
            let loader = DataLoader::new((0..50).collect::<Vec<usize>>(), Ok).shuffle(3).workers(workers);
            let first: Vec<_> = loader.iter().unwrap().flat_map(Result::unwrap).collect();
            let second: Vec<_> = loader.iter().unwrap().flat_map(Result::unwrap).collect();
            assert_ne!(first, second);
            (first, second)
        };
        assert_eq!(shuffled(0), shuffled(2));
    }

    #[test]
    fn errors_and_panics_are_items() {
        for workers in [0, 2] {
            let batches: Vec<_> = DataLoader::new(Bad, Ok).workers(workers).iter().unwrap().collect();
            assert!(batches[2].as_ref().unwrap_err().to_string().contains("index 2 is bad"));
            assert!(batches[4].as_ref().unwrap_err().to_string().contains("four"));
            assert_eq!(batches.iter().filter(|b| b.is_ok()).count(), 4);
        }
    }

    #[test]
    fn an_abandoned_epoch_ends_its_threads() {
        let loader = DataLoader::new((0..1000).collect::<Vec<usize>>(), Ok).workers(2).prefetch(1);
        let mut batches = loader.iter().unwrap();
        batches.next();
        drop(batches);
        assert!(DataLoader::new(vec![1], Ok).batch_size(0).iter().is_err());
        assert_eq!(DataLoader::new((0..7).collect::<Vec<u8>>(), Ok).batch_size(3).drop_last(true).len(), 2);
    }
}

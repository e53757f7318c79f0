//! `DataLoader`: batches of a dataset, made ahead by worker threads.

use super::{Dataset, RandomSampler, Sampler, SequentialSampler, WorkerInfo};
use crate::error::{Error, ErrorKind, Result, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

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
    sampler: Arc<dyn Sampler>,
    batch_size: usize,
    drop_last: bool,
    workers: usize,
    prefetch: usize,
    epoch: AtomicU64,
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
            sampler: Arc::new(SequentialSampler),
            batch_size: 1,
            drop_last: false,
            workers: 0,
            prefetch: 2,
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
        self.sampler = Arc::new(sampler);
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
        self.workers = n;
        self
    }

    /// Batches that each thread makes ahead.
    ///
    /// ```
    /// let loader = calor::data::DataLoader::new(vec![1, 2, 3], Ok).workers(1).prefetch(8);
    /// assert_eq!(loader.iter()?.count(), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn prefetch(mut self, n: usize) -> Self {
        self.prefetch = n.max(1);
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
        let (n, b) = (self.sampler.count(self.dataset.len()), self.batch_size.max(1));
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
    /// `Value` for a batch size of 0. Errors of the dataset, of `collate`, and panics in either come as items.
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
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let order = self.sampler.order(self.dataset.len(), epoch);
        let count = self.len();
        let (dataset, collate, size) = (self.dataset.clone(), self.collate.clone(), self.batch_size);
        let skipped = batch.min(count);
        let make: Make<B> = Arc::new(move |batch| {
            let from = (skipped + batch) * size;
            let indices = &order[from.min(order.len())..from.saturating_add(size).min(order.len())];
            let items = indices.iter().map(|&i| dataset.get(i)).collect::<Result<Vec<_>>>()?;
            collate(items)
        });
        let count = count - skipped;
        Ok(Batches::new(make, count, (self.workers.min(count), self.prefetch.min(count)), epoch))
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
    stop: Arc<AtomicUsize>,
}

impl<B: Send + 'static> Batches<B> {
    fn new(make: Make<B>, count: usize, (workers, prefetch): (usize, usize), epoch: u64) -> Self {
        let stop = Arc::new(AtomicUsize::new(0));
        let mut batches = Self { make, next: 0, count, channels: Vec::new(), workers: Vec::new(), stop: stop.clone() };
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(prefetch);
            let (make, stop) = (batches.make.clone(), stop.clone());
            let info = WorkerInfo { id: worker, num_workers: workers, epoch };
            let run = move || info.within(|| work(&make, &sender, &stop, (worker..count).step_by(workers)));
            match std::thread::Builder::new().name("calor-loader".into()).spawn(run) {
                Ok(handle) => {
                    batches.channels.push(receiver);
                    batches.workers.push(handle);
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
            return None;
        }
        let batch = self.next;
        self.next += 1;
        if self.channels.is_empty() {
            return Some(guarded(|| (self.make)(batch)));
        }
        let channel = &self.channels[batch % self.channels.len()];
        Some(channel.recv().unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Value, "DataLoader", format!("the worker of batch {batch} is gone")))
        }))
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

//! Loaders and datasets: batch samplers, threads that are kept, late or refused at their start, streams in a chain.

use calor::data::{
    BatchSampler, Batching, ChainDataset, DataLoader, Dataset, IterableDataLoader, IterableDataset, RandomSampler,
    SequentialSampler, StackDataset, SubsetRandomSampler, WorkerInfo, get_worker_info,
};
use calor::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

fn numbers(n: usize) -> Vec<usize> {
    (0..n).collect()
}

#[test]
fn batch_samplers_decide_what_a_batch_is() -> Result<()> {
    /// Batches of unlike size, others in each epoch.
    struct Own;
    impl Batching for Own {
        fn batches(&self, n: usize, epoch: u64) -> Vec<Vec<usize>> {
            vec![vec![0], (1..n).collect(), vec![epoch as usize]]
        }
        fn count(&self, _: usize) -> usize {
            3
        }
    }
    for workers in [0, 2] {
        let loader = DataLoader::new(numbers(4), Ok).batch_sampler(Own).workers(workers);
        loader.set_epoch(2);
        assert_eq!(loader.len(), 3);
        assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, [vec![0], vec![1, 2, 3], vec![2]]);
        assert_eq!(loader.iter_from(2)?.collect::<Result<Vec<_>>>()?, [[3]]);
    }
    let make = || DataLoader::new(numbers(4), Ok).batch_sampler(Own);
    for loader in [make().batch_size(2), make().drop_last(true), make().shuffle(1)] {
        assert_eq!(loader.iter().map(drop).unwrap_err().kind(), ErrorKind::Value);
    }
    let random = BatchSampler::new(RandomSampler::new(1).num_samples(5), 2, true)?;
    assert_eq!((random.count(9), random.batches(9, 0).concat().len()), (2, 4));
    assert!(BatchSampler::new(SequentialSampler, 0, false).is_err());
    Ok(())
}

#[test]
fn samplers_draw_what_they_say() -> Result<()> {
    let loader = DataLoader::new(numbers(3), Ok).sampler(RandomSampler::new(4).replacement(true).num_samples(40));
    let drawn: Vec<usize> = loader.iter()?.collect::<Result<Vec<_>>>()?.concat();
    assert_eq!((drawn.len(), loader.len()), (40, 40));
    assert!((0..3).all(|i| drawn.contains(&i)));
    let nothing = DataLoader::new(numbers(0), Ok).sampler(RandomSampler::new(4).replacement(true).num_samples(40));
    assert_eq!(nothing.iter()?.count(), 0);
    let some = DataLoader::unbatched(numbers(9)).sampler(SubsetRandomSampler::new(vec![7, 1, 3, 5], 0));
    let epoch = || some.iter()?.collect::<Result<Vec<_>>>();
    let (first, mut second) = (epoch()?, epoch()?);
    assert_ne!(first, second);
    second.sort_unstable();
    assert_eq!(second, [1, 3, 5, 7]);
    // a loader without batches takes no batch size
    assert!(DataLoader::unbatched(numbers(4)).batch_size(2).iter()?.next().is_some_and(|b| b.is_err()));
    let pairs = StackDataset::new((numbers(3), vec!['a', 'b', 'c'], numbers(3)))?;
    assert_eq!((pairs.get(2)?, pairs.get(3).is_err()), ((2, 'c', 2), true));
    assert!(StackDataset::new(Vec::<Vec<u8>>::new()).is_err());
    Ok(())
}

#[test]
fn threads_are_started_once_where_they_are_kept() -> Result<()> {
    for persistent in [false, true] {
        let started = Arc::new(AtomicUsize::new(0));
        let counted = started.clone();
        let init = move |info: WorkerInfo| {
            assert_eq!(get_worker_info(), Some(info));
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let loader = DataLoader::new(numbers(8), |_| Ok(get_worker_info().map(|w| (w.id, w.epoch))));
        let loader = loader.workers(2).worker_init(init).persistent_workers(persistent);
        for epoch in 0..3 {
            let seen = loader.iter()?.collect::<Result<Vec<_>>>()?;
            assert_eq!(seen[..2], [Some((0, epoch)), Some((1, epoch))]);
        }
        // an epoch that is left behind does not hold the next one up
        loader.iter()?.next();
        assert_eq!(loader.iter()?.count(), 8);
        assert_eq!(started.load(Ordering::Relaxed), if persistent { 2 } else { 10 });
        // its batches outlive a loader
        let batches = loader.iter()?;
        drop(loader);
        assert_eq!(batches.count(), 8);
    }
    let refused = |_| Err(Error::from(std::io::Error::other("no start")));
    let batches: Vec<_> = DataLoader::new(numbers(4), Ok).workers(2).worker_init(refused).iter()?.collect();
    assert!(batches[0].as_ref().is_err_and(|e| e.to_string().contains("no start")) && batches.len() == 4);
    assert!(DataLoader::new(numbers(4), Ok).persistent_workers(true).iter().is_err());
    assert!(DataLoader::new(numbers(4), Ok).timeout(Duration::from_secs(1)).iter().is_err());
    Ok(())
}

/// The number and thread of each batch.
type Traced = Vec<(usize, ThreadId)>;

/// Epochs of which one is begun before the other is at its end; a thread that never answers is an error.
fn interleaved<I: Iterator<Item = Result<(usize, ThreadId)>>>(epoch: impl Fn() -> Result<I>, n: usize) -> Result<()> {
    let first: Traced = epoch()?.collect::<Result<_>>()?;
    let mut a = epoch()?;
    let mut traced = vec![a.next().expect("a batch")?];
    // while the first epoch's worker waits for a place
    let b: Traced = epoch()?.collect::<Result<_>>()?;
    traced.extend(a.by_ref().collect::<Result<Traced>>()?);
    assert_eq!(traced.iter().map(|t| t.0).collect::<Vec<_>>(), numbers(n));
    assert_eq!(b.iter().map(|t| t.0).collect::<Vec<_>>(), numbers(n));
    assert!(traced.iter().all(|t| t.1 == first[0].1) && b[0].1 != first[0].1);
    // the first epoch is at its end, though it is still there
    let c: Traced = epoch()?.collect::<Result<_>>()?;
    assert_eq!(c, first);
    drop(a);
    Ok(())
}

#[test]
fn two_epochs_go_on_at_once_where_threads_are_kept() -> Result<()> {
    let long = Duration::from_secs(60);
    let traced = |items: Vec<usize>| Ok((items[0], std::thread::current().id()));
    let loader = DataLoader::new(numbers(20), traced).workers(1).persistent_workers(true).timeout(long);
    interleaved(|| loader.iter(), 20)?;
    let stream = IterableDataLoader::new(From(0, Some(20)), traced).workers(1).persistent_workers(true).timeout(long);
    interleaved(|| stream.iter(), 20)
}

#[test]
fn as_many_batches_as_there_are_may_be_made_ahead() -> Result<()> {
    let loader = DataLoader::unbatched(numbers(9)).workers(1).prefetch(usize::MAX);
    assert_eq!(loader.iter()?.collect::<Result<Vec<_>>>()?, numbers(9));
    let stream = IterableDataLoader::unbatched(From(0, Some(9))).workers(1).prefetch(usize::MAX);
    assert_eq!(stream.iter()?.collect::<Result<Vec<_>>>()?, numbers(9));
    Ok(())
}

#[test]
fn workers_that_are_late_are_told_and_waited_for() -> Result<()> {
    let slow = |items: Vec<usize>| {
        std::thread::sleep(Duration::from_millis(if items[0] == 1 { 300 } else { 0 }));
        Ok(items[0])
    };
    let mut batches = DataLoader::new(numbers(3), slow).workers(1).timeout(Duration::from_millis(50)).iter()?;
    assert_eq!(batches.next().transpose()?, Some(0));
    assert_eq!(batches.next().and_then(Result::err).map(|e| e.kind()), Some(ErrorKind::Timeout));
    let rest: Vec<usize> = batches.filter_map(Result::ok).collect();
    assert_eq!(rest, [1, 2], "no batch is lost");
    Ok(())
}

/// So many numbers from one on, or a stream that cannot be opened.
struct From(usize, Option<usize>);

impl IterableDataset for From {
    type Item = usize;

    fn iter(&self, worker: WorkerInfo) -> Result<Box<dyn Iterator<Item = Result<usize>> + Send>> {
        match self.1 {
            Some(n) => Ok(Box::new((self.0..self.0 + n).skip(worker.id).step_by(worker.num_workers).map(Ok))),
            None => Err(std::io::Error::other("closed").into()),
        }
    }
}

#[test]
fn streams_are_chained() -> Result<()> {
    let chain = || ChainDataset::new(vec![From(0, Some(3)), From(9, Some(0)), From(10, Some(2))]);
    let one = IterableDataLoader::unbatched(chain());
    assert_eq!(one.iter()?.collect::<Result<Vec<_>>>()?, [0, 1, 2, 10, 11]);
    let two = IterableDataLoader::new(chain(), Ok).batch_size(2).workers(2).persistent_workers(true);
    for _ in 0..2 {
        assert_eq!(two.iter()?.collect::<Result<Vec<_>>>()?, [vec![0, 2], vec![1, 11], vec![10]]);
    }
    let parts: Vec<Arc<dyn IterableDataset<Item = usize>>> =
        vec![Arc::new(From(0, Some(1))), Arc::new(From(0, None)), Arc::new(chain())];
    let all: Vec<_> = IterableDataLoader::unbatched(ChainDataset::new(parts)).iter()?.collect();
    assert!(all[0].as_ref().is_ok_and(|i| *i == 0) && all[1].is_err() && all.len() == 2);
    assert!(IterableDataLoader::unbatched(chain()).timeout(Duration::from_secs(1)).iter().is_err());
    Ok(())
}

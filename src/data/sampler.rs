//! Samplers: the order in which a loader takes items.

use crate::error::{Result, bail};
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::seq::index::sample_weighted;
use rand::{RngExt, SeedableRng};

/// Which of `n` items an epoch takes, in which order.
///
/// ```
/// use calor::data::Sampler;
/// struct EverySecond;
/// impl Sampler for EverySecond {
///     fn order(&self, n: usize, epoch: u64) -> Vec<usize> {
///         (epoch as usize % 2..n).step_by(2).collect()
///     }
///     fn count(&self, n: usize) -> usize {
///         n / 2
///     }
/// }
/// assert_eq!((EverySecond.order(4, 0), EverySecond.order(4, 1)), (vec![0, 2], vec![1, 3]));
/// ```
pub trait Sampler: Send + Sync {
    /// The order of epoch `epoch`.
    ///
    /// ```
    /// use calor::data::{Sampler, SequentialSampler};
    /// assert_eq!(SequentialSampler.order(3, 0), [0, 1, 2]);
    /// ```
    fn order(&self, n: usize, epoch: u64) -> Vec<usize>;

    /// How many that are.
    ///
    /// ```
    /// use calor::data::{Sampler, WeightedRandomSampler};
    /// assert_eq!(WeightedRandomSampler::new(vec![1.0, 2.0], 10, true, 7)?.count(2), 10);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn count(&self, n: usize) -> usize {
        n
    }
}

/// Random numbers of an epoch.
fn generator(seed: u64, epoch: u64) -> StdRng {
    // a fixed odd factor keeps (seed, epoch) pairs apart
    StdRng::seed_from_u64(seed ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Items as they come.
///
/// ```
/// use calor::data::{Sampler, SequentialSampler};
/// assert_eq!(SequentialSampler.order(3, 5), [0, 1, 2]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn order(&self, n: usize, _: u64) -> Vec<usize> {
        (0..n).collect()
    }
}

/// Items shuffled, differently in each epoch, equally for equal seeds.
///
/// ```
/// use calor::data::{RandomSampler, Sampler};
/// let drawn = RandomSampler::new(7).replacement(true).num_samples(100).order(3, 0);
/// assert!(drawn.len() == 100 && drawn.iter().all(|&i| i < 3));
/// // without replacement each comes once before any comes again
/// let mut twice = RandomSampler::new(7).num_samples(6).order(3, 0);
/// twice.sort_unstable();
/// assert_eq!(twice, [0, 0, 1, 1, 2, 2]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomSampler {
    seed: u64,
    replacement: bool,
    num_samples: Option<usize>,
}

impl RandomSampler {
    /// A sampler with a seed.
    ///
    /// ```
    /// use calor::data::{RandomSampler, Sampler};
    /// let mut order = RandomSampler::new(7).order(5, 0);
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// ```
    pub fn new(seed: u64) -> Self {
        Self { seed, replacement: false, num_samples: None }
    }

    /// Whether an item that was drawn may be drawn again.
    ///
    /// ```
    /// use calor::data::{RandomSampler, Sampler};
    /// // as many items drawn from 3 with repetition
    /// let order = RandomSampler::new(7).replacement(true).order(3, 0);
    /// assert!(order.len() == 3 && order.iter().all(|&i| i < 3));
    /// ```
    #[must_use]
    pub fn replacement(mut self, on: bool) -> Self {
        self.replacement = on;
        self
    }

    /// How many items an epoch draws; as many as there are otherwise.
    ///
    /// ```
    /// use calor::data::{RandomSampler, Sampler};
    /// assert_eq!(RandomSampler::new(7).num_samples(2).order(5, 0).len(), 2);
    /// ```
    #[must_use]
    pub fn num_samples(mut self, n: usize) -> Self {
        self.num_samples = Some(n);
        self
    }
}

impl Sampler for RandomSampler {
    fn order(&self, n: usize, epoch: u64) -> Vec<usize> {
        let (mut generator, count) = (generator(self.seed, epoch), self.count(n));
        if self.replacement {
            return (0..count).map(|_| generator.random_range(0..n)).collect();
        }
        let mut order = Vec::with_capacity(count);
        while order.len() < count {
            let mut all: Vec<usize> = (0..n).collect();
            all.shuffle(&mut generator);
            order.extend(all.into_iter().take(count - order.len()));
        }
        order
    }

    fn count(&self, n: usize) -> usize {
        if n == 0 { 0 } else { self.num_samples.unwrap_or(n) }
    }
}

/// Some items, shuffled differently in each epoch.
///
/// ```
/// use calor::data::{Sampler, SubsetRandomSampler};
/// let mut order = SubsetRandomSampler::new(vec![2, 5, 7], 1).order(10, 0);
/// order.sort_unstable();
/// assert_eq!(order, [2, 5, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
    seed: u64,
}

impl SubsetRandomSampler {
    /// The items at `indices`, by a seed.
    ///
    /// ```
    /// use calor::data::{Sampler, SubsetRandomSampler};
    /// assert_eq!(SubsetRandomSampler::new(vec![2, 5, 7], 1).count(10), 3);
    /// ```
    pub fn new(indices: Vec<usize>, seed: u64) -> Self {
        Self { indices, seed }
    }
}

impl Sampler for SubsetRandomSampler {
    fn order(&self, _: usize, epoch: u64) -> Vec<usize> {
        let mut order = self.indices.clone();
        order.shuffle(&mut generator(self.seed, epoch));
        order
    }

    fn count(&self, _: usize) -> usize {
        self.indices.len()
    }
}

/// Which of `n` items each batch of an epoch takes.
///
/// ```
/// use calor::data::Batching;
/// /// Each even item with the one behind it.
/// struct Pairs;
/// impl Batching for Pairs {
///     fn batches(&self, n: usize, _: u64) -> Vec<Vec<usize>> {
///         (0..n / 2).map(|i| vec![2 * i, 2 * i + 1]).collect()
///     }
///     fn count(&self, n: usize) -> usize {
///         n / 2
///     }
/// }
/// assert_eq!(Pairs.batches(4, 0), [[0, 1], [2, 3]]);
/// ```
pub trait Batching: Send + Sync {
    /// The batches of epoch `epoch`.
    ///
    /// ```
    /// use calor::data::{BatchSampler, Batching, SequentialSampler};
    /// assert_eq!(BatchSampler::new(SequentialSampler, 2, true)?.batches(5, 0), [[0, 1], [2, 3]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn batches(&self, n: usize, epoch: u64) -> Vec<Vec<usize>>;

    /// How many these are.
    ///
    /// ```
    /// use calor::data::{BatchSampler, Batching, SequentialSampler};
    /// assert_eq!(BatchSampler::new(SequentialSampler, 2, false)?.count(5), 3);
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn count(&self, n: usize) -> usize;
}

/// A sampler's items in batches.
///
/// ```
/// use calor::data::{BatchSampler, Batching, SequentialSampler};
/// let batches = BatchSampler::new(SequentialSampler, 2, false)?;
/// assert_eq!(batches.batches(5, 0), [vec![0, 1], vec![2, 3], vec![4]]);
/// assert_eq!(BatchSampler::new(SequentialSampler, 2, true)?.batches(5, 0).len(), 2);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchSampler<S> {
    sampler: S,
    batch_size: usize,
    drop_last: bool,
}

impl<S: Sampler> BatchSampler<S> {
    /// Batches of so many items; without a last one that is not full where `drop_last`.
    ///
    /// ```
    /// use calor::data::{BatchSampler, SequentialSampler};
    /// assert!(BatchSampler::new(SequentialSampler, 2, false).is_ok());
    /// assert!(BatchSampler::new(SequentialSampler, 0, false).is_err());
    /// ```
    ///
    /// # Errors
    /// `Value` for a batch size of 0.
    pub fn new(sampler: S, batch_size: usize, drop_last: bool) -> Result<Self> {
        if batch_size == 0 {
            bail!(Value, "BatchSampler", "batch_size must be positive, got 0");
        }
        Ok(Self { sampler, batch_size, drop_last })
    }
}

impl<S: Sampler> Batching for BatchSampler<S> {
    fn batches(&self, n: usize, epoch: u64) -> Vec<Vec<usize>> {
        let order = self.sampler.order(n, epoch);
        let batches = order.chunks(self.batch_size).filter(|b| !self.drop_last || b.len() == self.batch_size);
        batches.map(<[usize]>::to_vec).collect()
    }

    fn count(&self, n: usize) -> usize {
        let n = self.sampler.count(n);
        if self.drop_last { n / self.batch_size } else { n.div_ceil(self.batch_size) }
    }
}

/// Items drawn by weights, with or without putting them back: for classes of unlike size.
///
/// ```
/// use calor::data::{Sampler, WeightedRandomSampler};
/// let sampler = WeightedRandomSampler::new(vec![0.0, 1.0, 3.0], 100, true, 7)?;
/// let order = sampler.order(3, 0);
/// assert_eq!(order.len(), 100);
/// assert!(order.iter().all(|&i| i > 0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    weights: Vec<f64>,
    count: usize,
    replacement: bool,
    seed: u64,
}

impl WeightedRandomSampler {
    /// Draws `count` items an epoch, item `i` in proportion to `weights[i]`.
    ///
    /// ```
    /// use calor::data::WeightedRandomSampler;
    /// assert!(WeightedRandomSampler::new(vec![1.0, 2.0], 2, false, 7).is_ok());
    /// assert!(WeightedRandomSampler::new(vec![1.0, 2.0], 3, false, 7).is_err());
    /// ```
    ///
    /// # Errors
    /// `Value` for weights that are negative, not finite, all zero or too large to be added, and where more are drawn
    /// without replacement than have a weight.
    pub fn new(weights: Vec<f64>, count: usize, replacement: bool, seed: u64) -> Result<Self> {
        const OP: &str = "WeightedRandomSampler";
        if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || weights.iter().all(|&w| w == 0.0) {
            bail!(Value, OP, "weights must be finite, not negative, and not all zero");
        }
        if !weights.iter().sum::<f64>().is_finite() {
            bail!(Value, OP, "the sum of the weights must be finite");
        }
        let possible = weights.iter().filter(|w| **w > 0.0).count();
        if !replacement && count > possible {
            bail!(Value, OP, "cannot draw {count} items without replacement from {possible} that have a weight");
        }
        Ok(Self { weights, count, replacement, seed })
    }
}

impl Sampler for WeightedRandomSampler {
    fn order(&self, _: usize, epoch: u64) -> Vec<usize> {
        let mut generator = generator(self.seed, epoch);
        if self.replacement {
            // weights were checked: this is always a distribution
            let Ok(by_weight) = WeightedIndex::new(&self.weights) else { return Vec::new() };
            return (0..self.count).map(|_| generator.sample(&by_weight)).collect();
        }
        let drawn = sample_weighted(&mut generator, self.weights.len(), |i| self.weights[i], self.count);
        let mut order = drawn.map_or_else(|_| Vec::new(), rand::seq::index::IndexVec::into_vec);
        order.shuffle(&mut generator);
        order
    }

    fn count(&self, _: usize) -> usize {
        self.count
    }
}

/// The share of one of several processes: all take equally many, which together are all items, some of them twice where
/// they do not divide, or without the last ones (`drop_last`).
///
/// ```
/// use calor::data::{DistributedSampler, Sampler};
/// let parts: Vec<Vec<usize>> =
///     (0..2).map(|rank| Ok(DistributedSampler::new(2, rank, None)?.order(5, 0))).collect::<calor::Result<_>>()?;
/// assert_eq!(parts, [[0, 2, 4], [1, 3, 0]]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DistributedSampler {
    replicas: usize,
    rank: usize,
    seed: Option<u64>,
    drop_last: bool,
}

impl DistributedSampler {
    /// The share of process `rank` of `replicas`; with a seed, the same for all, items are shuffled before they are shared out.
    ///
    /// ```
    /// use calor::data::{DistributedSampler, Sampler};
    /// assert_eq!(DistributedSampler::new(2, 0, Some(7))?.count(5), 3);
    /// assert!(DistributedSampler::new(2, 2, None).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where there is no such process.
    pub fn new(replicas: usize, rank: usize, seed: Option<u64>) -> Result<Self> {
        if rank >= replicas {
            bail!(Value, "DistributedSampler", "rank {rank} is not below the number of replicas, {replicas}");
        }
        Ok(Self { replicas, rank, seed, drop_last: false })
    }

    /// Leaves out the last items where they do not divide, instead of taking some twice.
    ///
    /// ```
    /// use calor::data::{DistributedSampler, Sampler};
    /// let sampler = DistributedSampler::new(2, 0, None)?;
    /// assert_eq!((sampler.count(5), sampler.drop_last(true).count(5)), (3, 2));
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }
}

impl Sampler for DistributedSampler {
    fn order(&self, n: usize, epoch: u64) -> Vec<usize> {
        let all = self.seed.map_or_else(|| (0..n).collect(), |seed| RandomSampler::new(seed).order(n, epoch));
        all.iter().cycle().skip(self.rank).step_by(self.replicas).take(self.count(n)).copied().collect()
    }

    fn count(&self, n: usize) -> usize {
        if self.drop_last { n / self.replicas } else { n.div_ceil(self.replicas) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide_how_often() -> Result<()> {
        let sampler = WeightedRandomSampler::new(vec![1.0, 0.0, 3.0], 4000, true, 5)?;
        let order = sampler.order(3, 0);
        let of = |i: usize| order.iter().filter(|&&k| k == i).count();
        assert_eq!(of(1), 0);
        assert!((2850..3150).contains(&of(2)), "{} of 4000", of(2));
        assert_eq!(order, sampler.order(3, 0));
        assert_ne!(order, sampler.order(3, 1));
        let once = WeightedRandomSampler::new(vec![1.0, 0.0, 3.0], 2, false, 5)?;
        let mut order = once.order(3, 0);
        order.sort_unstable();
        assert_eq!(order, [0, 2]);
        assert!(WeightedRandomSampler::new(vec![1.0, 0.0], 2, false, 0).is_err());
        for weights in [vec![], vec![0.0], vec![-1.0, 2.0], vec![f64::NAN], vec![f64::INFINITY], vec![1e308; 2]] {
            assert!(WeightedRandomSampler::new(weights, 1, true, 0).is_err());
        }
        Ok(())
    }

    #[test]
    fn processes_share_all_items() -> Result<()> {
        for (n, replicas) in [(10, 3), (2, 5), (0, 2), (6, 1)] {
            let orders = (0..replicas).map(|r| Ok(DistributedSampler::new(replicas, r, Some(4))?.order(n, 2)));
            let orders: Vec<Vec<usize>> = orders.collect::<Result<_>>()?;
            assert!(orders.iter().all(|o| o.len() == n.div_ceil(replicas)));
            let mut all: Vec<usize> = orders.concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
            let whole =
                (0..replicas).map(|r| Ok(DistributedSampler::new(replicas, r, None)?.drop_last(true).order(n, 2)));
            let mut whole = whole.collect::<Result<Vec<Vec<usize>>>>()?.concat();
            whole.sort_unstable();
            assert_eq!(whole, (0..n / replicas * replicas).collect::<Vec<_>>());
        }
        assert!(DistributedSampler::new(2, 2, None).is_err());
        Ok(())
    }
}

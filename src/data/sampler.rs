//! Samplers: the order in which a loader takes items.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// An order of `0..n` for each epoch.
pub trait Sampler: Send + Sync {
    /// The order of epoch `epoch`.
    fn order(&self, n: usize, epoch: u64) -> Vec<usize>;
}

/// Items as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn order(&self, n: usize, _: u64) -> Vec<usize> {
        (0..n).collect()
    }
}

/// Items shuffled, differently in each epoch, equally for equal seeds.
#[derive(Clone, Copy, Debug)]
pub struct RandomSampler {
    seed: u64,
}

impl RandomSampler {
    /// A sampler with a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Sampler for RandomSampler {
    fn order(&self, n: usize, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        // a fixed odd factor keeps (seed, epoch) pairs apart
        let mut generator = StdRng::seed_from_u64(self.seed ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        order.shuffle(&mut generator);
        order
    }
}

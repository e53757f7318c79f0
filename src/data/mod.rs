//! Datasets, samplers and loaders.

mod loader;
mod sampler;
mod sets;
mod stream;
mod worker;

pub use loader::{Batches, DataLoader};
pub use sampler::{
    BatchSampler, Batching, DistributedSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler,
    WeightedRandomSampler,
};
pub use sets::{ConcatDataset, SplitLength, Stack, StackDataset, Subset, TensorDataset, default_collate, random_split};

pub use stream::{ChainDataset, IterableDataLoader, IterableDataset, StreamBatches};
pub use worker::{WorkerInfo, get_worker_info};

use crate::error::Result;

/// Items by number.
///
/// ```
/// use calor::data::Dataset;
/// struct Squares;
/// impl Dataset for Squares {
///     type Item = usize;
///     fn len(&self) -> usize {
///         10
///     }
///     fn get(&self, index: usize) -> calor::Result<usize> {
///         Ok(index * index)
///     }
/// }
/// assert_eq!(Squares.get(3)?, 9);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Dataset: Send + Sync + 'static {
    /// What an item is.
    type Item: Send + 'static;

    /// Number of items.
    fn len(&self) -> usize;

    /// Item `index`.
    fn get(&self, index: usize) -> Result<Self::Item>;

    /// Whether it has no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone + Send + Sync + 'static> Dataset for Vec<T> {
    type Item = T;

    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn get(&self, index: usize) -> Result<T> {
        match self.as_slice().get(index) {
            Some(item) => Ok(item.clone()),
            None => crate::error::bail!(Index, "dataset", "index {index} is out of range for {} items", Vec::len(self)),
        }
    }
}

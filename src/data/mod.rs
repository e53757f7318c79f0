//! Datasets, samplers and loaders.
//!
//! ```
//! use calor::{Tensor, data::{DataLoader, TensorDataset, default_collate}};
//! let rows = TensorDataset::new(vec![Tensor::arange(0, 10, 1, ())?])?;
//! let loader = DataLoader::new(rows, default_collate).batch_size(4).shuffle(7).workers(2);
//! let sizes: Vec<usize> = loader.iter()?.map(|b| Ok(b?[0].numel())).collect::<calor::Result<_>>()?;
//! assert_eq!(sizes, [4, 4, 2]);
//! # Ok::<(), calor::Error>(())
//! ```

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
    ///
    /// ```
    /// use calor::data::Dataset;
    /// assert_eq!(Dataset::len(&vec!['a', 'b']), 2);
    /// ```
    fn len(&self) -> usize;

    /// Item `index`.
    ///
    /// ```
    /// use calor::data::Dataset;
    /// let letters = vec!['a', 'b'];
    /// assert_eq!(Dataset::get(&letters, 1)?, 'b');
    /// assert!(Dataset::get(&letters, 2).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn get(&self, index: usize) -> Result<Self::Item>;

    /// Whether it has no items.
    ///
    /// ```
    /// use calor::data::{ConcatDataset, Dataset};
    /// assert!(ConcatDataset::new(vec![Vec::<i32>::new()]).is_empty());
    /// ```
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

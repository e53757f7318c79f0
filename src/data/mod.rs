//! Datasets, samplers and loaders.

mod loader;
mod sampler;

pub use loader::{Batches, DataLoader};
pub use sampler::{RandomSampler, Sampler, SequentialSampler};

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

/// Some items of a dataset, in a chosen order.
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The items at `indices`.
    pub fn new(dataset: D, indices: Vec<usize>) -> Self {
        Self { dataset, indices }
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        match self.indices.as_slice().get(index) {
            Some(&at) => self.dataset.get(at),
            None => crate::error::bail!(Index, "subset", "index {index} is out of range for {} items", self.len()),
        }
    }
}

//! Datasets made of tensors and of other datasets.

use super::Dataset;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::sync::Arc;

impl<D: Dataset> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        (**self).get(index)
    }
}

/// Tensors that agree in their first dimension: item `i` is row `i` of each.
///
/// ```
/// use calor::{Tensor, data::{DataLoader, TensorDataset, default_collate}};
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]], ())?;
/// let rows = TensorDataset::new(vec![x, Tensor::new([0, 1, 0], ())?])?;
/// let batch = DataLoader::new(rows, default_collate).batch_size(2).iter()?.next().unwrap()?;
/// assert_eq!(batch[0].to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(batch[1].to_vec::<i32>()?, [0, 1]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct TensorDataset {
    tensors: Vec<Tensor>,
    len: usize,
}

impl TensorDataset {
    /// A dataset of some tensors.
    ///
    /// ```
    /// use calor::{Tensor, data::{Dataset, TensorDataset}};
    /// let (x, y) = (Tensor::ones([3, 2], ())?, Tensor::ones([3], ())?);
    /// assert_eq!(TensorDataset::new(vec![x.clone(), y])?.len(), 3);
    /// assert!(TensorDataset::new(vec![x.t()?, x]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Shape` without tensors, for one without dimensions, and where their first sizes differ.
    pub fn new(tensors: Vec<Tensor>) -> Result<Self> {
        let sizes: Option<Vec<usize>> = tensors.iter().map(|t| t.shape().first().copied()).collect();
        let len = match sizes.as_deref() {
            Some(&[first, ref rest @ ..]) if rest.iter().all(|&n| n == first) => first,
            _ => {
                let shapes: Vec<_> = tensors.iter().map(|t| t.shape().to_vec()).collect();
                bail!(Shape, "TensorDataset", "size mismatch between tensors of shapes {shapes:?}")
            }
        };
        Ok(Self { tensors, len })
    }
}

impl Dataset for TensorDataset {
    type Item = Vec<Tensor>;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        if index >= self.len {
            bail!(Index, "TensorDataset", "index {index} is out of range for {} items", self.len);
        }
        self.tensors.iter().map(|t| t.select(0, index as isize)).collect()
    }
}

/// Stacks what items hold in the same place: a batch of items that are lists of tensors.
///
/// ```
/// use calor::{Tensor, data::default_collate};
/// let item = |v: i32| -> calor::Result<Vec<Tensor>> { Ok(vec![Tensor::new([v, v], ())?, Tensor::scalar(v, ())?]) };
/// let batch = default_collate(vec![item(1)?, item(2)?])?;
/// assert_eq!((batch[0].to_vec::<i32>()?, batch[1].to_vec::<i32>()?), (vec![1, 1, 2, 2], vec![1, 2]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where items differ in number or shape, `Value` without items.
pub fn default_collate(items: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let Some(first) = items.first() else { bail!(Value, "default_collate", "a batch needs an item") };
    if let Some(other) = items.iter().find(|item| item.len() != first.len()) {
        bail!(Shape, "default_collate", "items of {} and {} tensors", first.len(), other.len());
    }
    let column = |k: usize| crate::stack(&items.iter().map(|item| &item[k]).collect::<Vec<_>>(), 0);
    (0..first.len()).map(column).collect()
}

/// Datasets one after the other.
///
/// ```
/// use calor::data::{ConcatDataset, Dataset};
/// let both = ConcatDataset::new(vec![vec![1, 2], vec![], vec![3]]);
/// assert_eq!((both.len(), both.get(2)?), (3, 3));
/// assert!(both.get(3).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConcatDataset<D> {
    parts: Vec<D>,
    /// Where each part ends.
    ends: Vec<usize>,
}

impl<D: Dataset> ConcatDataset<D> {
    /// The items of all parts.
    ///
    /// ```
    /// use calor::data::{ConcatDataset, Dataset};
    /// assert_eq!(ConcatDataset::new(vec![vec![1, 2], vec![3]]).len(), 3);
    /// ```
    pub fn new(parts: Vec<D>) -> Self {
        let mut end = 0;
        let ends = parts.iter().map(|p| {
            end += p.len();
            end
        });
        let ends = ends.collect();
        Self { parts, ends }
    }
}

impl<D: Dataset> Dataset for ConcatDataset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        let part = self.ends.partition_point(|&end| end <= index);
        match self.parts.get(part) {
            Some(dataset) => dataset.get(index - if part == 0 { 0 } else { self.ends[part - 1] }),
            None => bail!(Index, "ConcatDataset", "index {index} is out of range for {} items", self.len()),
        }
    }
}

/// The items at some places of a dataset.
///
/// ```
/// use calor::data::{Dataset, Subset};
/// let odd = Subset::new(vec![10, 11, 12, 13], vec![1, 3]);
/// assert_eq!((odd.len(), odd.get(1)?), (2, 13));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The items at `indices`.
    ///
    /// ```
    /// use calor::data::{Dataset, Subset};
    /// // places may repeat
    /// assert_eq!(Subset::new(vec!['a', 'b'], vec![1, 1, 0]).get(2)?, 'a');
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(dataset: D, indices: Vec<usize>) -> Self {
        Self { dataset, indices }
    }

    /// The places in the dataset.
    ///
    /// ```
    /// assert_eq!(calor::data::Subset::new(vec!['a', 'b'], vec![1]).indices(), [1]);
    /// ```
    pub fn indices(&self) -> &[usize] {
        &self.indices
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
            None => bail!(Index, "subset", "index {index} is out of range for {} items", self.len()),
        }
    }
}

/// A dataset in parts of these shares, which add up to 1, without overlap, in an order by a seed. What does not divide is given out
/// one by one from the first part on.
///
/// ```
/// use calor::data::{Dataset, random_split};
/// let parts = random_split((0..10).collect::<Vec<i32>>(), &[0.75, 0.25], 1)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for shares below 0 or above 1, or that add up to anything else.
pub fn random_split<D: Dataset>(dataset: D, shares: &[f64], seed: u64) -> Result<Vec<Subset<Arc<D>>>> {
    if shares.iter().any(|s| !(0.0..=1.0).contains(s)) || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
        bail!(Value, "random_split", "shares must lie between 0 and 1 and add up to 1, got {shares:?}");
    }
    let count = dataset.len();
    // a share that is meant to be whole must not lose an item to rounding
    let mut lengths: Vec<usize> = shares.iter().map(|s| (count as f64 * s + 1e-9).floor() as usize).collect();
    let rest = count - lengths.iter().sum::<usize>().min(count);
    (0..rest).for_each(|i| lengths[i % shares.len()] += 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    let dataset = Arc::new(dataset);
    let mut order = order.into_iter();
    Ok(lengths.into_iter().map(|n| Subset::new(dataset.clone(), order.by_ref().take(n).collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_of_it_once() -> Result<()> {
        let parts = random_split((0..23).collect::<Vec<usize>>(), &[0.5, 0.3, 0.2], 9)?;
        assert_eq!(parts.iter().map(Dataset::len).collect::<Vec<_>>(), [12, 7, 4]);
        let mut all: Vec<usize> = parts.iter().flat_map(|p| p.indices().to_vec()).collect();
        assert_ne!(all, (0..23).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..23).collect::<Vec<_>>());
        let again = random_split((0..23).collect::<Vec<usize>>(), &[0.5, 0.3, 0.2], 9)?;
        assert_eq!(again[1].indices(), parts[1].indices());
        let tenths = random_split(vec![0; 10], &[0.1; 10], 0)?;
        assert!(tenths.iter().all(|p| p.len() == 1));
        for shares in [&[][..], &[0.5], &[1.5, -0.5], &[f64::NAN, 1.0]] {
            assert!(random_split(vec![0; 3], shares, 0).is_err(), "{shares:?}");
        }
        assert_eq!(random_split(Vec::<u8>::new(), &[1.0], 0)?[0].len(), 0);
        Ok(())
    }

    #[test]
    fn tensors_must_agree() -> Result<()> {
        let (a, b) = (Tensor::zeros([3, 2], ())?, Tensor::zeros([2], ())?);
        for tensors in [vec![], vec![a.clone(), b], vec![a.sum()?]] {
            assert!(TensorDataset::new(tensors).is_err());
        }
        let rows = TensorDataset::new(vec![a])?;
        assert!(rows.get(3).is_err() && rows.get(2)?[0].shape()[..] == [2]);
        assert!(default_collate(Vec::new()).is_err());
        assert!(default_collate(vec![rows.get(0)?, Vec::new()]).is_err());
        Ok(())
    }
}

//! Datasets made of tensors and of other datasets.

use super::Dataset;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::sync::Arc;

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
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

/// Datasets side by side: tuples of them, or a `Vec` of one kind.
///
/// ```
/// use calor::data::{Dataset, StackDataset};
/// // a tuple of several kinds, and a list of one
/// assert_eq!(StackDataset::new((vec![1, 2], vec!["a", "b"]))?.get(0)?, (1, "a"));
/// assert_eq!(StackDataset::new(vec![vec![1, 2], vec![3, 4]])?.get(0)?, [1, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Stack: Send + Sync + 'static {
    /// What an item is: as many items.
    type Item: Send + 'static;

    /// The length of each.
    ///
    /// ```
    /// use calor::data::Stack;
    /// assert_eq!((vec![1, 2], vec!["a"]).lengths(), [2, 1]);
    /// ```
    fn lengths(&self) -> Vec<usize>;

    /// Item `index` of each.
    ///
    /// ```
    /// use calor::data::Stack;
    /// assert_eq!((vec![1, 2], vec!["a", "b"]).item(1)?, (2, "b"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn item(&self, index: usize) -> Result<Self::Item>;
}

impl<D: Dataset> Stack for Vec<D> {
    type Item = Vec<D::Item>;

    fn lengths(&self) -> Vec<usize> {
        self.iter().map(Dataset::len).collect()
    }

    fn item(&self, index: usize) -> Result<Self::Item> {
        self.iter().map(|d| d.get(index)).collect()
    }
}

macro_rules! stack {
    ($($name:ident $at:tt),*) => {
        impl<$($name: Dataset),*> Stack for ($($name,)*) {
            type Item = ($($name::Item,)*);

            fn lengths(&self) -> Vec<usize> {
                vec![$(self.$at.len()),*]
            }

            fn item(&self, index: usize) -> Result<Self::Item> {
                Ok(($(self.$at.get(index)?,)*))
            }
        }
    };
}
stack!(A 0, B 1);
stack!(A 0, B 1, C 2);
stack!(A 0, B 1, C 2, D 3);

/// Datasets of one length side by side: item `i` is item `i` of each.
///
/// ```
/// use calor::data::{Dataset, StackDataset};
/// let pairs = StackDataset::new((vec!["a", "b"], vec![1, 2]))?;
/// assert_eq!((pairs.len(), pairs.get(1)?), (2, ("b", 2)));
/// assert!(StackDataset::new(vec![vec![1], vec![2, 3]]).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StackDataset<S> {
    parts: S,
    len: usize,
}

impl<S: Stack> StackDataset<S> {
    /// These datasets.
    ///
    /// ```
    /// use calor::data::StackDataset;
    /// assert!(StackDataset::new((vec![1, 2], vec!["a", "b"])).is_ok());
    /// assert!(StackDataset::new((vec![1, 2], vec!["a"])).is_err());
    /// ```
    ///
    /// # Errors
    /// `Value` where there is none, or where their lengths differ.
    pub fn new(parts: S) -> Result<Self> {
        match parts.lengths()[..] {
            [len, ref rest @ ..] if rest.iter().all(|&n| n == len) => Ok(Self { parts, len }),
            ref lengths => bail!(Value, "StackDataset", "size mismatch between datasets of {lengths:?} items"),
        }
    }
}

impl<S: Stack> Dataset for StackDataset<S> {
    type Item = S::Item;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<S::Item> {
        self.parts.item(index)
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

/// Lengths of the parts of [`random_split`]: numbers of items, or shares that add up to 1.
///
/// ```
/// use calor::data::SplitLength;
/// assert_eq!(f64::lengths(&[0.75, 0.25], 8)?, [6, 2]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait SplitLength: Copy {
    /// How many of `n` items each part gets.
    ///
    /// ```
    /// use calor::data::SplitLength;
    /// assert_eq!(usize::lengths(&[3, 1], 4)?, [3, 1]);
    /// assert!(usize::lengths(&[3, 1], 5).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where they are not `n` items.
    fn lengths(parts: &[Self], n: usize) -> Result<Vec<usize>>;
}

impl SplitLength for usize {
    fn lengths(parts: &[usize], n: usize) -> Result<Vec<usize>> {
        match parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part)) {
            Some(sum) if sum == n => Ok(parts.to_vec()),
            _ => bail!(Value, "random_split", "lengths {parts:?} do not add up to {n} items"),
        }
    }
}

impl SplitLength for f64 {
    fn lengths(shares: &[f64], n: usize) -> Result<Vec<usize>> {
        // as Python adds: Neumaier's sum
        let (mut sum, mut lost) = (0.0f64, 0.0);
        for &share in shares {
            let next = sum + share;
            lost += if sum.abs() >= share.abs() { (sum - next) + share } else { (share - next) + sum };
            sum = next;
        }
        let sum = sum + lost;
        let near = (sum - 1.0).abs() <= 1e-9 * sum.abs().max(1.0) && sum <= 1.0;
        if !near || shares.iter().any(|s| !(0.0..=1.0).contains(s)) {
            bail!(Value, "random_split", "shares must lie between 0 and 1 and add up to 1, got {shares:?}");
        }
        let mut lengths: Vec<usize> = shares.iter().map(|s| (n as f64 * s).floor() as usize).collect();
        let rest = n.saturating_sub(lengths.iter().sum());
        (0..rest).for_each(|i| lengths[i % shares.len()] += 1);
        usize::lengths(&lengths, n)
    }
}

/// A dataset in parts of these lengths, or shares, without overlap, in an order by a seed. Of shares the lengths are rounded down;
/// what is left is given out one by one from the first part on.
///
/// ```
/// use calor::data::{Dataset, random_split};
/// let parts = random_split((0..10).collect::<Vec<i32>>(), &[0.75, 0.25], 1)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// assert_eq!(random_split(vec![0; 10], &[3, 7], 1)?[1].len(), 7);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for lengths that do not add up to the dataset's, and for shares below 0 or above 1, or that do not add up to 1.
pub fn random_split<D: Dataset, L: SplitLength>(dataset: D, lengths: &[L], seed: u64) -> Result<Vec<Subset<Arc<D>>>> {
    let count = dataset.len();
    let lengths = L::lengths(lengths, count)?;
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
        // PyTorch rounds 0.29 of 100, which is 28.999.., down
        let sizes = |shares: &[f64], n| Ok(random_split(vec![0; n], shares, 0)?.iter().map(Dataset::len).collect());
        let sizes = |shares: &[f64], n| -> Result<Vec<usize>> { sizes(shares, n) };
        assert_eq!(sizes(&[0.5, 0.29, 0.21], 100)?, [51, 28, 21]);
        assert_eq!(sizes(&[0.7, 0.2, 0.1], 10)?, [7, 2, 1]);
        assert_eq!(random_split(vec![0; 10], &[3, 7], 0)?.iter().map(Dataset::len).collect::<Vec<_>>(), [3, 7]);
        assert!(random_split(vec![0; 10], &[3, 8], 0).is_err() && random_split(vec![0; 5], &[1], 0).is_err());
        assert!(random_split(vec![0; 10], &[usize::MAX, 11], 0).is_err());
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

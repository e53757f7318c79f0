//! `StateDict`: tensors by name.

use crate::tensor::Tensor;

/// Tensors by name, in order: what modules are saved and loaded as.
///
/// ```
/// use calor::{Tensor, nn::StateDict};
/// let state: StateDict = [("a".to_string(), Tensor::ones([2], ())?)].into_iter().collect();
/// assert!(state.get("a").is_some() && state.get("b").is_none());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StateDict(Vec<(String, Tensor)>);

impl StateDict {
    /// Without tensors.
    ///
    /// ```
    /// assert!(calor::nn::StateDict::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensor of a name.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// assert_eq!(&Linear::new(2, 3, ())?.state_dict().get("weight").unwrap().shape()[..], [3, 2]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// Adds a tensor, or puts it in place of the one of that name.
    ///
    /// ```
    /// use calor::{Tensor, nn::StateDict};
    /// let mut state = StateDict::new();
    /// state.insert("a", Tensor::ones([2], ())?);
    /// state.insert("a", Tensor::ones([3], ())?);
    /// assert_eq!((state.len(), state.get("a").unwrap().numel()), (1, 3));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, t)) => *t = tensor,
            None => self.0.push((name, tensor)),
        }
    }

    /// Names and tensors in order.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// assert_eq!(Linear::new(2, 3, ())?.state_dict().iter().map(|(_, t)| t.numel()).sum::<usize>(), 9);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// Names in order.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// assert_eq!(Linear::new(2, 3, ())?.state_dict().names().collect::<Vec<_>>(), ["weight", "bias"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(n, _)| n.as_str())
    }

    /// Number of tensors.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// assert_eq!(Linear::new(2, 3, ())?.state_dict().len(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// use calor::nn::{Module, ReLU};
    /// assert!(ReLU.state_dict().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tensors whose name starts with `prefix`, without it.
    ///
    /// ```
    /// use calor::nn::{Linear, Module, Sequential};
    /// let state = Sequential::new().add(Linear::new(2, 3, ())?).state_dict();
    /// assert_eq!(state.part("0.").names().collect::<Vec<_>>(), ["weight", "bias"]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn part(&self, prefix: &str) -> StateDict {
        self.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_string(), t.clone()))).collect()
    }

    /// The same tensors with `prefix` before each name.
    ///
    /// ```
    /// use calor::nn::{Linear, Module};
    /// let state = Linear::new(2, 3, ())?.state_dict().prefixed("head.");
    /// assert_eq!(state.names().next(), Some("head.weight"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> StateDict {
        self.iter().map(|(n, t)| (format!("{prefix}{n}"), t.clone())).collect()
    }
}

impl FromIterator<(String, Tensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        let mut out = Self::new();
        // names of a module differ already: looking each up would be quadratic
        let mut known = std::collections::HashSet::new();
        for (name, tensor) in iter {
            if known.insert(name.clone()) {
                out.0.push((name, tensor));
            } else {
                out.insert(name, tensor);
            }
        }
        out
    }
}

impl Extend<(String, Tensor)> for StateDict {
    fn extend<I: IntoIterator<Item = (String, Tensor)>>(&mut self, iter: I) {
        iter.into_iter().for_each(|(name, tensor)| self.insert(name, tensor));
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::fmt::Debug for StateDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(n, t)| (n, (t.dtype(), t.shape())))).finish()
    }
}

//! To and from `ndarray` arrays, with the feature of that name.

use super::{HostData, NestedArray, Tensor};
use crate::dtype::Element;
use crate::error::{Error, ErrorKind, Result};
use ndarray::{ArrayD, ArrayRef, Data, Dimension, IxDyn};

impl<T: Element, D: Dimension> NestedArray for ArrayRef<T, D> {
    fn to_host(&self) -> Result<HostData> {
        // in the order of indices, however the array lies in memory
        let values: Vec<T> = self.iter().copied().collect();
        Ok(HostData { shape: self.shape().to_vec(), dtype: T::DTYPE, bytes: T::to_bytes(&values).into_owned() })
    }
}

impl<T: Element, S: Data<Elem = T>, D: Dimension> NestedArray for ndarray::ArrayBase<S, D> {
    fn to_host(&self) -> Result<HostData> {
        (**self).to_host()
    }
}

impl Tensor {
    /// Its elements as an array of its shape; waits for them.
    ///
    /// ```
    /// use calor::Tensor;
    /// let a = ndarray::array![[1.0f32, 2.0], [3.0, 4.0]];
    /// let t = Tensor::new(a.t(), ())?;
    /// assert_eq!(t.to_ndarray::<f32>()?, a.t().into_dyn());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DType` where it holds another type, and what the device reports.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        let values = self.to_vec::<T>()?;
        ArrayD::from_shape_vec(IxDyn(&self.shape()), values)
            .map_err(|e| Error::new(ErrorKind::Shape, "to_ndarray", e.to_string()))
    }
}

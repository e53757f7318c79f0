//! Casts.

use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Body, Map};
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

impl Tensor {
    /// The same values as another dtype, rounded where that is narrower; itself where it has that dtype.
    ///
    /// ```
    /// use calor::{DType, Tensor};
    /// let t = Tensor::new([1.7f32, -1.7], ())?.to_dtype(DType::I32)?;
    /// assert_eq!(t.to_vec::<i32>()?, [1, -1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        let from = self.dtype();
        if from == dtype {
            return Ok(self.clone());
        }
        let mut body = Body::new();
        let x = body.input(0);
        body.cast(dtype, x);
        let map = Arc::new(Map { name: "to".into(), body });
        let out = Tensor::apply(map, self.device(), (&self.shape(), dtype), &[self], &[])?;
        Ok(out.with_grad("to", &[self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.to_dtype(from)?)]))))
    }
}

//! `where`: one of two tensors, element by element.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::{Body, Map};
use crate::ops::arg::{Arg, meet};
use crate::shape::broadcast;
use crate::tensor::Tensor;
use crate::tensor::grad::Grads;
use std::sync::Arc;

impl Tensor {
    /// Elements of `yes` where this tensor of truth values is true, else of `no`: `torch.where`.
    ///
    /// ```
    /// use calor::Tensor;
    /// let x = Tensor::new([-1.0f32, 2.0], ())?;
    /// assert_eq!(x.gt(0.0)?.where_(&x, 0.0)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn where_(&self, yes: impl Into<Arg>, no: impl Into<Arg>) -> Result<Tensor> {
        let (yes, no) = (yes.into(), no.into());
        if !matches!(self.dtype(), DType::Bool | DType::U8) {
            bail!(DType, "where", "expected condition to be a bool tensor, got {}", self.dtype());
        }
        let dtype = meet(&[&yes, &no])?;
        let cond = self.to_dtype(DType::Bool)?;
        let (a, b) = (yes.tensor(dtype, self.device())?, no.tensor(dtype, self.device())?);
        let (sa, sb) = (a.shape(), b.shape());
        let shape = broadcast("where", &broadcast("where", &cond.shape(), &sa)?, &sb)?;
        let mut body = Body::new();
        let (c, x, y) = (body.input(0), body.input(1), body.input(2));
        body.select(c, x, y);
        let map = Arc::new(Map { name: "where".into(), body });
        let view = |t: &Tensor| -> Result<Tensor> { Ok(t.alias(t.layout().expand("where", &shape)?)) };
        let out = Tensor::apply(map, self.device(), (&shape, dtype), &[&view(&cond)?, &view(&a)?, &view(&b)?], &[])?;
        Ok(out.with_grad("where", &[&a, &b], |r| {
            let cond = r.save(&cond);
            move |g: &Tensor| {
                let cond = cond.get()?;
                let ga = cond.where_(g, 0.0)?.sum_to_size(&sa)?;
                let gb = cond.where_(0.0, g)?.sum_to_size(&sb)?;
                Ok(Grads::from_iter([Some(ga), Some(gb)]))
            }
        }))
    }
}

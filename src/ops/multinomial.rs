//! Draws of categories.

use super::build::checked;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::tensor::Tensor;

const OP: &str = "multinomial";

impl Tensor {
    /// `count` categories, as `i32`, drawn with the probabilities that a vector or the rows of a matrix are
    /// proportional to: `torch.multinomial`. Without `replacement` none is drawn twice, by the largest of weights
    /// divided by exponential random numbers (Efraimidis & Spirakis 2006).
    ///
    /// ```
    /// let weights = calor::Tensor::new([0.0f32, 3.0, 0.0], ())?;
    /// assert_eq!(weights.multinomial(2, true)?.to_vec::<i32>()?, [1, 1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value`, once the result is read, where a weight is negative or not finite, or all of them are 0.
    pub fn multinomial(&self, count: usize, replacement: bool) -> Result<Tensor> {
        if !matches!(self.dim(), 1 | 2) {
            bail!(Dim, OP, "prob_dist must be 1 or 2 dim, got {}", self.dim());
        }
        if !self.dtype().is_float() {
            bail!(DType, OP, "only supports floating-point dtypes for input, got {}", self.dtype());
        }
        let categories = self.size(-1)?;
        if count == 0 {
            bail!(Value, OP, "cannot sample 0 samples");
        }
        if !replacement && count > categories {
            bail!(Value, OP, "cannot sample {count} > {categories} samples without replacement");
        }
        if categories == 0 || categories > 1 << 24 {
            bail!(Value, OP, "number of categories must be from 1 to 2^24, got {categories}");
        }
        no_grad(|| {
            let p = self.to_dtype(self.dtype().compute())?;
            let at = (p.dtype(), p.device());
            let mut shape = self.shape();
            shape[self.dim() - 1] = count;
            if self.numel() == 0 {
                return Tensor::zeros(&shape[..], (DType::I32, p.device()));
            }
            let message = "probability tensor contains either `inf`, `nan` or element < 0";
            let p = checked(OP, &p, &[("op_isfinite", 0.0), ("op_ge", 0.0)], message)?;
            let all = checked(OP, &p.sum_dims(&[-1], true)?, &[("op_gt", 0.0)], "sum of probabilities is not above 0")?;
            // scaled, so that what is drawn depends on the checks
            let p = p.div(&all)?;
            if !replacement {
                let waits = Tensor::rand(self.shape(), at)?.neg()?.add(1.0)?.log()?.neg()?.clamp_min(1e-20)?;
                return Ok(p.div(&waits)?.topk(count, -1, true)?.1);
            }
            // parts of a long sum are rounded apart: a category of weight 0 must end where the one before it does
            let ends = p.gt(0.0)?.where_(&p.cumsum(-1)?, 0.0)?.to_dtype(p.dtype())?.cummax(-1)?.0;
            let last = ends.narrow(-1, categories as isize - 1, 1)?;
            let places = Tensor::rand(&shape[..], at)?.mul(&last)?;
            // one that was rounded up to the end stands at the start
            let places = places.lt(&last)?.where_(&places, 0.0)?.to_dtype(p.dtype())?;
            ends.contiguous()?.searchsorted(&places.contiguous()?, true, None)
        })
    }
}

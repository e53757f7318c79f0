//! Stateless forms of the layers: `torch.nn.functional`.

use crate::error::Result;
use crate::tensor::Tensor;

/// `x A^T + b` over the last dimension: `x` is `[*, in]`, `weight` `[out, in]`, `bias` `[out]`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let (x, w) = (Tensor::new([[1.0f32, 2.0]], ())?, Tensor::new([[3.0f32, 4.0]], ())?);
/// assert_eq!(f::linear(&x, &w, None)?.to_vec::<f32>()?, [11.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y + bias,
        None => Ok(y),
    }
}

/// `max(x, 0)`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.relu()
}

/// The mean of `-log softmax(x)[target]` over a batch: `x` is `[n, classes]`, `target` `[n]` of class numbers.
pub fn cross_entropy(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    x.log_softmax(1)?.gather(1, &target.unsqueeze(1)?)?.mean()?.neg()
}

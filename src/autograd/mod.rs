//! The backward pass and what is built on it. Gradients are written with tensor operations, so they are lazy, fused,
//! and differentiable again.
//!
//! ```
//! use calor::{Tensor, autograd::grad};
//! let x = Tensor::new([3.0f32], ())?.requires_grad_(true)?;
//! let y = x.pow(3)?.sum()?;
//! let slope = grad(&[&y], &[&x])?[0].clone();
//! assert!((slope.item()? - 27.0).abs() < 1e-4);
//! # Ok::<(), calor::Error>(())
//! ```

mod backward;
mod checkpoint;
mod custom;
mod dot;
mod gradcheck;

pub use backward::{Backward, grad};
pub use checkpoint::checkpoint;
pub use custom::{Context, Function, apply};
pub use dot::make_dot;
pub use gradcheck::{GradCheck, Outputs, gradcheck, gradgradcheck};

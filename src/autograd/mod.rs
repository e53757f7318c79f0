//! The backward pass and what is built on it. Gradients are written with tensor operations, so they are lazy, fused,
//! and differentiable again.

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

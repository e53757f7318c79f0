//! calor: a tensor library with PyTorch's semantics on any GPU through WebGPU.
//!
//! ```
//! use calor::nn::{Layer, Linear, Module};
//! use calor::optim::{AdamW, AdamWOptions, Optimizer};
//! use calor::{Tensor, nn::functional as f};
//!
//! let x = Tensor::new([[0.0f32, 1.0], [1.0, 0.0]], ())?;
//! let target = Tensor::new([[1.0f32], [-1.0]], ())?;
//! let model = Linear::new(2, 1, ())?;
//! let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(0.1))?;
//! let mut losses = Vec::new();
//! for _ in 0..20 {
//!     let loss = f::mse_loss(&model.forward(&x)?, &target, f::Reduction::Mean)?;
//!     adam.zero_grad();
//!     loss.backward()?;
//!     adam.step()?;
//!     losses.push(loss.item()?);
//! }
//! assert!(losses[19] < losses[0]);
//! # Ok::<(), calor::Error>(())
//! ```
#![deny(missing_docs)]
// wgpu's types nest deeper than rustdoc's default
#![recursion_limit = "256"]

extern crate self as calor;

pub mod autograd;
pub mod data;
pub mod dtype;
mod error;
pub mod gpu;
pub mod graph;
pub mod io;
mod layout;
pub mod nn;
mod ops;
pub mod optim;
pub mod shape;
mod tensor;

pub use dtype::{DType, Element, Scalar};
pub use error::{Error, ErrorKind, Result};
pub use layout::Layout;
pub use ops::arg::Arg;
pub use ops::chain::{chain_matmul, multi_dot};
pub use ops::contract::{Factors, einsum};
pub use ops::elementwise::{
    Approximate, Rounding, Tolerance, add, atan2, bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift,
    bitwise_xor, copysign, div, eq, float_power, floor_divide, fmax, fmin, fmod, gcd, ge, gt, heaviside, hypot, lcm,
    le, logaddexp, logaddexp2, logical_and, logical_or, logical_xor, lt, maximum, minimum, mul, ne, pow, remainder,
    sub, xlog1py, xlogy,
};
pub use ops::index::{Ellipsis, IndexExpr, IndexItem, NewAxis, Reduce, Slice};
pub use ops::join::{
    Indexing, block_diag, cartesian_prod, cat, column_stack, combinations, dstack, hstack, meshgrid, stack, vstack,
};
pub use ops::linalg::NormOrder;
pub use ops::movement::{PadMode, broadcast_tensors};
pub use ops::sort::{Interpolation, Unique};
pub use ops::spectral::Cutoff;
pub use ops::split::Sections;
pub use tensor::autocast::{AutocastGuard, autocast, autocast_dtype, autocast_off};
pub use tensor::grad::{
    Edge, GradFn, ModeGuard, detect_anomaly, enable_grad, is_grad_enabled, no_grad, set_grad_enabled,
};
pub use tensor::{
    Device, Difference, Draw, FusionCheck, Generator, HostData, NestedArray, Options, Profiler, Tensor, check_fusion,
    profile,
};

/// The guide's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-pytorch.md")]
pub mod from_pytorch {}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Tensor>();
    shared::<Device>();
};

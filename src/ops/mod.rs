//! Operations: each file holds a family, with method, rule, gradient and lowering in sight of each other.

pub mod arg;
pub mod create;
pub mod elementwise;
pub mod index;
pub mod matmul;
pub mod noise;
pub mod operators;
pub mod reduce;
pub mod scan;
pub mod sort;
pub mod view;
pub mod window;

//! Operations: each file holds a family, with method, rule, gradient and lowering in sight of each other.

pub mod adaptive;
pub mod arg;
pub(crate) mod attention;
pub(crate) mod build;
pub mod chain;
pub mod contract;
pub mod convolve;
pub mod create;
pub mod distributions;
pub mod elementwise;
pub mod index;
pub mod join;
pub mod linalg;
pub mod matmul;
pub mod movement;
pub(crate) mod multinomial;
pub mod operators;
pub(crate) mod parts;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod sort;
pub mod spectral;
pub mod split;
pub mod view;
pub mod window;

//! The tables of drivers: each operation's name and the function that calls calor for it.
//!
//! A file `ops_<family>.rs` holds `pub const OPS: Table = &[("add", |c| ...), ...]` and is listed in `TABLES`.

use crate::run::Driver;

/// The tensors that drivers get.
pub type Tensor = calor::Tensor;

/// Drivers by operation name.
pub type Table = &'static [(&'static str, Driver<Tensor>)];

const TABLES: &[Table] = &[
    crate::ops_unary::OPS,
    crate::ops_unary::MORE,
    crate::ops_binary::OPS,
    crate::ops_binary::MORE,
    crate::ops_activation::OPS,
    crate::ops_activation::MORE,
    crate::ops_inplace::OPS,
    crate::ops_inplace::BINARY,
    crate::ops_inplace::MORE,
    crate::ops_reduce::OPS,
    crate::ops_sort::OPS,
    crate::ops_shape::OPS,
    crate::ops_shape::MORE,
    crate::ops_join::OPS,
    crate::ops_join::MORE,
    crate::ops_index::OPS,
    crate::ops_scatter::OPS,
    crate::ops_creation::OPS,
    crate::ops_convert::OPS,
    crate::ops_convert::MORE,
    crate::ops_matmul::OPS,
    crate::ops_matmul::SUMS,
    crate::ops_matmul::MORE,
    crate::ops_linalg::OPS,
    crate::ops_nn::OPS,
    crate::ops_loss::OPS,
];

/// The driver of `op`, if there is one.
pub fn find(op: &str) -> Option<Driver<Tensor>> {
    TABLES.iter().copied().flatten().find(|(name, _)| *name == op).map(|(_, driver)| *driver)
}

/// All names that have drivers.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|(name, _)| *name)
}

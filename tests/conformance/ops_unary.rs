//! Drivers of the family `unary`.

use crate::backend::op;
use crate::call::Output;
use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[
    ("sin", |c| Ok(vec![Output::Tensor(c.tensor("self")?.sin().map_err(op)?)])),
    ("exp", |c| Ok(vec![Output::Tensor(c.tensor("self")?.exp().map_err(op)?)])),
];

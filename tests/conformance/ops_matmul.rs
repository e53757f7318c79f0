//! Drivers of the family `matmul`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

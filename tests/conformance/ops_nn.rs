//! Drivers of the family `nn`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

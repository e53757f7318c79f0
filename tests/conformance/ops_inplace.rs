//! Drivers of the family `inplace`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

//! Drivers of the family `loss`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

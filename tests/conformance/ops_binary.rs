//! Drivers of the family `binary`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

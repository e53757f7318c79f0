//! Drivers of the family `shape`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

//! Drivers of the family `join`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

//! Drivers of the family `convert`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

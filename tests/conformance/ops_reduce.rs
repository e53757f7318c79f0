//! Drivers of the family `reduce`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

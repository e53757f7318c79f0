//! Drivers of the family `index`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

//! Drivers of the family `creation`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

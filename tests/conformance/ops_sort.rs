//! Drivers of the family `sort`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

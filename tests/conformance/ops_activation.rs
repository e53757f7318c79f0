//! Drivers of the family `activation`.

use crate::drivers::Table;

/// Drivers by name.
pub const OPS: Table = &[];

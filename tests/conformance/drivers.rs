//! The tables of drivers: each operation's name and the function that calls calor for it.
//!
//! A file `ops_<family>.rs` holds `pub const OPS: Table = &[("add", |c| ...), ...]` and is listed in `TABLES`.

use crate::run::Driver;

/// The tensors that drivers get. A stand-in, until calor's are there.
pub type Tensor = crate::stand_in::Stand;

/// Drivers by operation name.
pub type Table = &'static [(&'static str, Driver<Tensor>)];

const TABLES: &[Table] = &[];

/// The driver of `op`, if there is one.
pub fn find(op: &str) -> Option<Driver<Tensor>> {
    TABLES.iter().copied().flatten().find(|(name, _)| *name == op).map(|(_, driver)| *driver)
}

/// All names that have drivers.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|(name, _)| *name)
}

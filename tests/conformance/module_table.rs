//! The table of modules: how each is made and called.

use crate::call::Failure;
use crate::modules::{Args, Built};

/// How a module is made and called.
pub struct Row {
    pub name: &'static str,
    /// The constructor's Python signature.
    pub init: &'static str,
    /// That of `forward`.
    pub forward: &'static str,
    pub build: fn(Args<'_>) -> Result<Built, Failure>,
}

const TABLES: &[&[Row]] = &[
    crate::modules_layers::ROWS,
    crate::modules_layers::BY_DIMENSION,
    crate::modules_activation::ROWS,
    crate::modules_losses::ROWS,
    crate::modules_deep::ROWS,
    crate::modules_attention::ROWS,
];

/// The row of a module.
pub fn find(name: &str) -> Option<&'static Row> {
    TABLES.iter().copied().flatten().find(|row| row.name == name)
}

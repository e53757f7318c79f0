//! The lazy engine: nodes, the one door that makes them, scheduling, fusion, code generation, running.
//!
//! `node` + `body` + `template` say what is to be computed; `walk` finds what some values need, and its structure;
//! `schedule` groups it into kernels, along `row`s where folds take part; `codegen` writes their WGSL from `library` and `shaders/`; `plan` makes a
//! recording, which `cache` keeps for walks of equal structure; `engine` hands it to the device. Only the last needs
//! one. No operation is named anywhere in this folder.

pub mod body;
mod cache;
mod codegen;
mod dot;
mod engine;
mod laid;
pub mod library;
mod node;
mod parts;
mod pending;
pub mod plan;
mod row;
mod schedule;
pub mod template;
pub mod walk;
mod watch;

pub use body::{Body, IndexOp, Param};
pub use dot::{dot, quoted};
pub use engine::Engine;
pub use node::{Identity, Input, InputSpec, LowerCx, Lowering, Map, Node, Primitive, Spec, Stored, Value};
pub use parts::{part_align, part_offsets};
pub use row::{GROUP, group, lanes};
pub use template::{Fold, Load, Prologue, Store, Template};

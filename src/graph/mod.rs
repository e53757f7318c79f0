//! The lazy engine: nodes, the one door that makes them, scheduling, fusion, code generation, running.
//!
//! `node` + `body` + `template` say what is to be computed; `walk` finds what some values need, and its structure;
//! `schedule` groups it into kernels, along `row`s where folds take part; `codegen` writes their WGSL from `library` and `shaders/`; `plan` makes a
//! recording, which `cache` keeps for walks of equal structure; `engine` hands it to the device. Only the last needs
//! one. No operation is named anywhere in this folder.
//!
//! ```
//! use calor::gpu::Facts;
//! use calor::graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk};
//! use calor::DType;
//! use std::sync::Arc;
//! // exp(x) * 2 as x + x of it: no device is needed to see that this is one kernel
//! let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
//! let map = |name: &'static str, inputs: &[Input]| {
//!     let map = Map { name: name.into(), body: Body::call_all(format!("op_{name}"), inputs.len()) };
//!     Node::pending(Arc::new(map), Spec::new(&[4], DType::F32), inputs.into(), Default::default())
//! };
//! let e = Input::whole(&map("exp", &[Input::whole(&x, &[4])]), &[4]);
//! let y = map("add", &[e.clone(), e]);
//! let plan = Plan::new(&Walk::new(&[y]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
//! assert_eq!(plan.dispatches(), 1);
//! # Ok::<(), calor::Error>(())
//! ```

pub mod body;
mod cache;
mod codegen;
mod dot;
mod engine;
mod faults;
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

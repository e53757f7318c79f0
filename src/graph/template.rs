//! `Template`: a kernel of `shaders/` whose loads and stores the code generator writes.
//!
//! The shader file is whole WGSL: its hooks stand in it as stubs. The generator drops the stubs and writes
//! functions of the same names that compute what is fused in front of the kernel and behind it.
//!
//! ```
//! use calor::{DType, graph::{Load, Prologue, Store, Template}};
//! let twice = Template {
//!     name: "twice",
//!     source: "fn read(c0: u32) -> f32 { return 0.0; }\nfn write(c0: u32, value: f32) {}\n\
//!              @compute @workgroup_size(1) fn main(@builtin(workgroup_id) wid: vec3<u32>) {\n\
//!              write(wid.x, 2.0 * read(wid.x));\n}\n",
//!     types: vec![],
//!     consts: vec![],
//!     calls: vec![],
//!     loads: vec![Load { name: "read", input: 0, coords: vec![1], lanes: None, dtype: DType::F32 }],
//!     stores: vec![Store { name: "write", coords: vec![1], lanes: false }],
//!     params: vec![],
//!     groups: 4,
//!     prologue: Prologue::Any,
//!     work: 4,
//! };
//! assert!(twice.head().is_empty() && !twice.writes_words());
//! ```

use crate::dtype::DType;

/// A kernel from a shader file, ready for its hooks.
///
/// ```
/// use calor::graph::{Prologue, Template};
/// let template = Template {
///     name: "mine", source: "", types: vec![("T", "f16".into())], consts: vec![("TILE", 16)], calls: vec![],
///     loads: vec![], stores: vec![], params: vec![("rows", 8)], groups: 1, prologue: Prologue::Free, work: 8,
/// };
/// assert_eq!((template.name, template.head()), ("mine", "enable f16;\n".to_string()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// The shader's name: its file without ending.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
    /// Identifiers replaced, mostly types: `("T", "f32")`.
    pub types: Vec<(&'static str, String)>,
    /// Values of `const` items, which shape the code: tiles, lanes.
    pub consts: Vec<(&'static str, u32)>,
    /// Stub functions replaced by library functions: `("join", "op_add")`, at the scalar compute type; a stub
    /// whose name ends in `4` gets the four-lane form.
    pub calls: Vec<(&'static str, &'static str, DType)>,
    /// Stub functions that read an input.
    pub loads: Vec<Load>,
    /// Stub functions that write the output.
    pub stores: Vec<Store>,
    /// Host numbers: an identifier `p_rows` in the shader is the number named `rows`.
    pub params: Vec<(&'static str, u32)>,
    /// Workgroups in all.
    pub groups: u32,
    /// Which maps may be computed inside the loads.
    pub prologue: Prologue,
    /// Estimated operations, for submission.
    pub work: u64,
}

/// What a kernel does that only joins the last axes of its input into one element, while the others stay: it may be
/// done together with others like it.
///
/// ```
/// use calor::graph::Fold;
/// // the sum over the last axis of a matrix
/// let sum = Fold { join: "op_add", init: u64::from(0f32.to_bits()), keep: 1 };
/// assert_ne!(sum, Fold { keep: 0, ..sum });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    /// The library function that joins two elements.
    pub join: &'static str,
    /// The bits of what it starts with, in the output's compute type.
    pub init: u64,
    /// How many axes stay.
    pub keep: usize,
}

/// What may be fused into the loads of a kernel.
///
/// ```
/// use calor::graph::{Body, Prologue};
/// // what may be computed inside loads that are done many times
/// let fits = |prologue: Prologue, body: &Body| prologue == Prologue::Any || body.is_free();
/// let exp = Body::call_all("op_exp", 1);
/// assert!(fits(Prologue::Any, &exp) && !fits(Prologue::Free, &exp));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Any map: each element is loaded about once.
    Any,
    /// Only maps that move or convert: elements are loaded many times.
    Free,
}

/// A load hook: `fn name(c0: u32, c1: u32, ..) -> T` or, with four lanes, `-> vec4<T>`.
///
/// ```
/// use calor::{DType, graph::Load};
/// // `fn read(row: u32, k: u32) -> vec4<f32>` over an input `[batch, row, k]`
/// let load = Load { name: "read", input: 0, coords: vec![2, 1], lanes: Some(1), dtype: DType::F32 };
/// assert_eq!(load.coords.iter().sum::<usize>(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// The stub's name.
    pub name: &'static str,
    /// Which input it reads.
    pub input: usize,
    /// How many dimensions of the input each coordinate stands for, row by row; they sum to its rank.
    pub coords: Vec<usize>,
    /// Along which coordinate four lanes run; `None` for one element.
    pub lanes: Option<usize>,
    /// The type it gives.
    pub dtype: DType,
}

/// A store hook: `fn name(c0: u32, c1: u32, .., value: T)`.
///
/// ```
/// use calor::graph::Store;
/// // `fn write(row: u32, value: f32)`
/// let store = Store { name: "write", coords: vec![1], lanes: false };
/// assert_eq!((store.name, store.lanes), ("write", false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The stub's name.
    pub name: &'static str,
    /// How many dimensions of the output each coordinate stands for.
    pub coords: Vec<usize>,
    /// Whether four neighbours along the last coordinate are written at once; their number must then be a
    /// multiple of four, or the last coordinate the only one.
    pub lanes: bool,
}

impl Template {
    /// What the kernel's text starts with: the extensions that its file and its types need.
    ///
    /// ```
    /// # use calor::graph::{Prologue, Template};
    /// # let template = |source| Template {
    /// #     name: "mine", source, types: vec![], consts: vec![], calls: vec![], loads: vec![], stores: vec![],
    /// #     params: vec![], groups: 1, prologue: Prologue::Free, work: 0,
    /// # };
    /// assert_eq!(template("enable subgroups;\nfn main() {}").head(), "enable subgroups;\n");
    /// ```
    pub fn head(&self) -> String {
        let halves = self.types.iter().any(|t| t.1 == "f16").then_some("enable f16;");
        let own = self.source.lines().filter(|l| l.starts_with("enable ") && Some(*l) != halves);
        own.chain(halves).map(|line| format!("{line}\n")).collect()
    }

    /// Whether all stores write four neighbours: only then can sub-word types be written.
    ///
    /// ```
    /// # use calor::graph::{Prologue, Store, Template};
    /// # let template = |lanes| Template {
    /// #     name: "mine", source: "", types: vec![], consts: vec![], calls: vec![], loads: vec![],
    /// #     stores: vec![Store { name: "write", coords: vec![1], lanes }],
    /// #     params: vec![], groups: 1, prologue: Prologue::Free, work: 0,
    /// # };
    /// assert!(template(true).writes_words() && !template(false).writes_words());
    /// ```
    pub fn writes_words(&self) -> bool {
        self.stores.iter().all(|s| s.lanes)
    }
}

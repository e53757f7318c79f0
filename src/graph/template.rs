//! `Template`: a kernel of `shaders/` whose loads and stores the code generator writes.
//!
//! The shader file is whole WGSL: its hooks stand in it as stubs. The generator drops the stubs and writes
//! functions of the same names that compute what is fused in front of the kernel and behind it.

use crate::dtype::DType;

/// A kernel from a shader file, ready for its hooks.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Any map: each element is loaded about once.
    Any,
    /// Only maps that move or convert: elements are loaded many times.
    Free,
}

/// A load hook: `fn name(c0: u32, c1: u32, ..) -> T` or, with four lanes, `-> vec4<T>`.
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
    pub fn head(&self) -> String {
        let halves = self.types.iter().any(|t| t.1 == "f16").then_some("enable f16;");
        let own = self.source.lines().filter(|l| l.starts_with("enable ") && Some(*l) != halves);
        own.chain(halves).map(|line| format!("{line}\n")).collect()
    }

    /// Whether all stores write four neighbours: only then can sub-word types be written.
    pub fn writes_words(&self) -> bool {
        self.stores.iter().all(|s| s.lanes)
    }
}

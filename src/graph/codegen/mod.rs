//! Writes the WGSL of one kernel: a map by itself, or a template with maps in its loads and stores.
//!
//! A kernel's text is its structure: no size, stride or host number stands in it, only whether a stride is zero or
//! one and whether a size is a multiple of four. Equal structures give equal texts, and one pipeline.

mod block;
mod convert;
mod eval;
mod index;
mod memory;
mod place;
mod rows;

use super::body::Param;
use super::library::{self, Instances, Library};
use super::schedule::{Graph, Group, padded_bytes};
use super::template::Template;
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::{Access, FAULT_WORDS, Facts};
use crate::shape::numel;
use index::{Ix, Scope};
use memory::Declared;
use place::{Kind, Places};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt::Write as _;

const MAP: &str = library::shader!("map.wgsl");
/// Invocations of a map kernel's workgroup; within every adapter's limit.
const MAP_GROUP: u32 = 64;

/// A kernel, ready to be recorded.
#[derive(Debug)]
pub struct Generated {
    /// Its WGSL.
    pub source: String,
    /// What stands behind its bindings, in order.
    pub bindings: Vec<Bound>,
    /// The parameter block: sizes and strides, and room for host numbers.
    pub params: Vec<u32>,
    /// The words that host numbers take.
    pub numbers: Vec<Number>,
    /// Whether it may report faults.
    pub faults: bool,
    /// The word that holds the number of a run's first workgroup, where it may be another than 0.
    pub first: Option<u32>,
    /// Workgroups in all.
    pub groups: u32,
    /// Estimated operations.
    pub work: u64,
}

/// A node behind a binding, and how it is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The node.
    pub node: usize,
    /// Read or written.
    pub access: Access,
    /// The bytes of its value that this binding shows: where they begin and how many they are.
    pub window: (u64, u64),
}

/// A word of a parameter block that holds a host number of a node: not part of the structure, so that a plan serves
/// any numbers.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Which word.
    pub word: u32,
    /// Whose number.
    pub node: u32,
    /// Which of the node's numbers.
    pub param: u8,
    /// The upper half of a number of two words.
    pub high: bool,
}

/// An expression in a kernel's text.
#[derive(Clone, Debug)]
pub struct Val {
    text: String,
    ty: DType,
    four: bool,
}

impl Val {
    /// Its text as four lanes.
    fn widened(&self) -> String {
        if self.four { self.text.clone() } else { format!("{}({})", library::wgsl(self.ty, true), self.text) }
    }
}

/// A kernel being written.
pub(super) struct Kernel<'a> {
    graph: &'a Graph,
    facts: &'a Facts,
    group: &'a Group,
    instances: Instances,
    own: HashMap<usize, Library>,
    declared: Vec<Declared>,
    params: Vec<u32>,
    numbers: Vec<Number>,
    faults: bool,
    /// The word that holds the number of a run's first workgroup.
    first: Option<u32>,
    /// What the template gave to a store, while the store's function is written.
    seed: Option<Val>,
    /// In a kernel of rows: what was computed for the row at hand.
    rows: HashMap<usize, Val>,
    /// Lanes past the end must repeat the last element: something checks or follows indices.
    clamp: bool,
    /// What is read across the result.
    across: block::Across,
}

/// The kernel that computes `group`.
pub fn generate(graph: &Graph, group: &Group, facts: &Facts) -> Result<Generated> {
    let kernel = Kernel::new(graph, group, facts);
    if let Some(row) = group.row().filter(|_| group.walks_rows(graph)) {
        return kernel.rows(row, facts);
    }
    match group.anchor.and_then(|a| graph.nodes[a].rule.template().map(|t| (a, t))) {
        Some((anchor, template)) => kernel.template(anchor, template),
        None => kernel.map(),
    }
}

impl<'a> Kernel<'a> {
    fn new(graph: &'a Graph, group: &'a Group, facts: &'a Facts) -> Self {
        Self {
            graph,
            facts,
            group,
            instances: Instances::default(),
            own: HashMap::default(),
            declared: Vec::new(),
            params: Vec::new(),
            numbers: Vec::new(),
            faults: false,
            first: None,
            seed: None,
            rows: HashMap::default(),
            clamp: group.members.iter().any(|&n| graph.follows_indices(n)),
            across: block::Across::default(),
        }
    }
}

impl Kernel<'_> {
    /// A number that follows from sizes and strides; the text that reads it.
    fn number(&mut self, value: u32) -> String {
        self.params.push(value);
        word(self.params.len() - 1)
    }

    /// The number of a run's first workgroup: a parameter where the whole is too much for one submission.
    fn first(&mut self, work: u64) -> String {
        if work <= self.facts.run_work {
            return "0u".into();
        }
        self.first = Some(self.params.len() as u32);
        self.number(0)
    }

    /// A host number of a node, as a value: its words are written when the plan runs.
    fn param(&mut self, node: usize, k: u8) -> String {
        let graph = self.graph;
        let mut half = |high| {
            let word = self.params.len() as u32;
            self.numbers.push(Number { word, node: node as u32, param: k, high });
            self.number(0)
        };
        match &graph.nodes[node].value.params[k as usize] {
            Param::U32(_) => half(false),
            Param::F32(_) => format!("bitcast<f32>({})", half(false)),
            Param::I32(_) => format!("bitcast<i32>({})", half(false)),
            Param::I64(_) => format!("bitcast<i64>(u64({}) | (u64({}) << 32u))", half(false), half(true)),
            Param::F64(_) => format!("bitcast<f64>(u64({}) | (u64({}) << 32u))", half(false), half(true)),
            Param::Fault(_) => {
                let text = half(false);
                self.faults = true;
                text
            }
        }
    }

    /// Declarations, functions and the rest, in an order that reads top down.
    fn finish(mut self, head: &str, functions: &str, groups: u32, work: u64) -> Generated {
        // a zero that no compiler can see through: library functions keep their rounding steps behind it
        let zero = if self.instances.text.contains("zero_bits") { self.number(0) } else { String::new() };
        let mut source = String::with_capacity(functions.len() + self.instances.text.len() + 512);
        source.push_str(head);
        let mut bindings = Vec::new();
        let mut helpers = memory::helpers(&self.declared).to_owned();
        for declared in &self.declared {
            let Declared { name, node, dtype, output, .. } = declared;
            let (access, mode) = if *output { (Access::ReadWrite, "read_write") } else { (Access::Read, "read") };
            let element = declared.element();
            let plan = &self.graph.nodes[*node];
            let bytes = padded_bytes(&plan.value.spec);
            let window = if plan.windows > 1 { self.facts.window(dtype.size()) * dtype.size() as u64 } else { bytes };
            for k in 0..plan.windows {
                let i = bindings.len();
                let name = if plan.windows > 1 { format!("{name}{k}") } else { name.clone() };
                // writing to a String cannot fail
                let _ = writeln!(source, "@group(0) @binding({i}) var<storage, {mode}> {name}: array<{element}>;");
                let start = window * k as u64;
                bindings.push(Bound { node: *node, access, window: (start, window.min(bytes - start)) });
            }
            helpers.push_str(&declared.functions(plan.windows, self.facts));
        }
        if !self.params.is_empty() {
            let words = self.params.len().div_ceil(4);
            let _ = writeln!(source, "@group(1) @binding(0) var<uniform> params: array<vec4<u32>, {words}>;");
        }
        if self.faults {
            let _ = writeln!(
                source,
                "@group(1) @binding(1) var<storage, read_write> fault: array<atomic<u32>, {FAULT_WORDS}>;"
            );
            let _ = writeln!(source, "fn report(code: u32) {{ atomicMax(&fault[code % {FAULT_WORDS}u], code); }}");
        }
        source.push_str(&helpers);
        source.push_str(&self.instances.text.replace("zero_bits", &zero));
        source.push_str(functions);
        let Self { params, numbers, faults, first, .. } = self;
        Generated { source, bindings, params, numbers, faults, first, groups, work }
    }

    /// A kernel of maps alone: each invocation computes four neighbours of every output, or a block of 4 x 4.
    fn map(mut self) -> Result<Generated> {
        let n = self.group.numel;
        let mut scope = Scope::default();
        let mut places = Places::default();
        let flat = self.root(n, "base");
        let mut memo = eval::Memo::default();
        self.across.watch(flat.clone());
        self.outputs(&mut scope, &mut places, &mut memo, &flat, &Ix::Linear { text: "base".into(), m4: true })?;
        if let Some(blocks) = self.across.blocks(self.group.members.len()) {
            return Kernel::new(self.graph, self.group, self.facts).blocks(&blocks);
        }
        let quads = n.div_ceil(4) as u32;
        let mut text = format!("fn element(base: u32) {{\n{}}}\n", scope.text);
        let work = n as u64 * self.group.members.len() as u64;
        text.push_str(&self.entry(MAP, &[("count", quads)], work));
        Ok(self.finish("", &text, quads.div_ceil(MAP_GROUP), work))
    }

    /// The entry point of a map's shader, with its host numbers.
    fn entry(&mut self, source: &str, params: &[(&str, u32)], work: u64) -> String {
        let mut numbers = vec![("p_first".to_owned(), self.first(work))];
        numbers.extend(params.iter().map(|&(name, value)| (format!("p_{name}"), self.number(value))));
        let mut text = String::new();
        for item in library::items(source).into_iter().filter(|i| i.name == "main") {
            text.push_str(&library::replace(&item.text, |w| match numbers.iter().find(|n| n.0 == w) {
                Some((_, number)) => Some(Cow::Owned(number.clone())),
                None if w == "GROUP" => Some(Cow::Owned(format!("{MAP_GROUP}u"))),
                None => None,
            }));
            text.push('\n');
        }
        text
    }

    /// Four lanes from `base` on; past the end they repeat the last element where that matters.
    fn root(&mut self, n: usize, base: &str) -> Ix {
        if self.clamp && !n.is_multiple_of(4) {
            let last = self.number(n as u32 - 1);
            let lanes = Ix::Linear { text: base.into(), m4: true }.text();
            return Ix::Vec(format!("min({lanes}, vec4<u32>({last}))"));
        }
        Ix::Linear { text: base.into(), m4: true }
    }

    /// Computes all outputs at `flat`, then writes them at `to`: what one of them is written over was read before.
    fn outputs(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        memo: &mut eval::Memo,
        flat: &Ix,
        to: &Ix,
    ) -> Result<()> {
        let group = self.group;
        let mut values = Vec::with_capacity(group.outputs.len());
        for &node in &group.outputs {
            let place = places.at(&self.graph.nodes[node].value.spec.shape, flat);
            values.push(self.value(scope, places, memo, node, place)?);
        }
        for (&node, value) in group.outputs.iter().zip(&values) {
            self.store(scope, node, self.graph.nodes[node].value.spec.dtype, to, value)?;
        }
        Ok(())
    }

    /// Computes an output at `flat` and writes it at `to`.
    fn output(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        memo: &mut eval::Memo,
        node: usize,
        flat: &Ix,
        to: &Ix,
    ) -> Result<()> {
        let spec = self.graph.nodes[node].value.spec.clone();
        let place = places.at(&spec.shape, flat);
        let value = self.value(scope, places, memo, node, place)?;
        self.store(scope, node, spec.dtype, to, &value)
    }

    /// A template's text with its hooks written.
    fn template(mut self, anchor: usize, template: &Template) -> Result<Generated> {
        let mut hooks = String::new();
        for load in &template.loads {
            let (input, layout) = self.graph.nodes[anchor].inputs[load.input].clone();
            let mut scope = Scope::default();
            let mut places = Places::default();
            let mut memo = eval::Memo::default();
            let mut from = 0;
            let groups = load.coords.iter().enumerate().map(|(c, &dims)| {
                let four = load.lanes == Some(c);
                let extent = numel(&layout.shape()[from..from + dims]);
                from += dims;
                let ix = match four {
                    true if self.clamp && !extent.is_multiple_of(4) => self.root(extent, &format!("c{c}")),
                    true => Ix::Linear { text: format!("c{c}"), m4: true },
                    false => Ix::scalar(format!("c{c}"), false),
                };
                (ix, dims)
            });
            let groups = groups.collect();
            let place = places.add(layout.shape(), Kind::Groups(groups));
            let value = self.input_value(&mut scope, &mut places, &mut memo, (input, &layout), place)?;
            let value = self.cast(&mut scope, value, load.dtype)?;
            let four = load.lanes.is_some();
            let text = if four { value.widened() } else { value.text };
            let args: Vec<String> = (0..load.coords.len()).map(|c| format!("c{c}: u32")).collect();
            let ty = library::wgsl(load.dtype, four);
            let _ =
                writeln!(hooks, "fn {}({}) -> {ty} {{\n{}  return {text};\n}}", load.name, args.join(", "), scope.text);
        }
        let spec = self.graph.nodes[anchor].value.spec.clone();
        for store in &template.stores {
            let ty = library::compute(spec.dtype);
            self.seed = Some(Val { text: "value".into(), ty, four: store.lanes });
            let mut scope = Scope::default();
            let mut places = Places::default();
            let last = store.coords.len() - 1;
            let mut groups: SmallVec<[(Ix, usize); 4]> = store
                .coords
                .iter()
                .enumerate()
                .map(|(c, &dims)| {
                    let text = format!("c{c}");
                    let lanes = store.lanes && c == last;
                    (if lanes { Ix::Linear { text, m4: true } } else { Ix::scalar(text, false) }, dims)
                })
                .collect();
            let place = places.add(&spec.shape, Kind::Groups(groups.clone()));
            let flat = self.flat(&mut scope, &mut places, place)?;
            // a store of four lanes starts at a multiple of four: the template promises it
            let flat = match flat {
                Ix::Linear { text, .. } => Ix::Linear { text, m4: true },
                other => other,
            };
            // what is computed on from there must not follow what lies past the end
            let columns = numel(&spec.shape[spec.shape.len() - store.coords[last]..]);
            let mut from = (place, flat.clone());
            if store.lanes && self.clamp && !columns.is_multiple_of(4) {
                groups[last].0 = self.root(columns, &format!("c{last}"));
                let place = places.add(&spec.shape, Kind::Groups(groups));
                from = (place, self.flat(&mut scope, &mut places, place)?);
            }
            let mut memo = eval::Memo::default();
            for &node in &self.group.outputs {
                if node == anchor {
                    let Some(value) = self.seed.clone() else { continue };
                    self.store(&mut scope, node, spec.dtype, &flat, &value)?;
                } else if self.graph.nodes[node].value.spec.shape == spec.shape {
                    let value = self.value(&mut scope, &mut places, &mut memo, node, from.0)?;
                    self.store(&mut scope, node, self.graph.nodes[node].value.spec.dtype, &flat, &value)?;
                } else {
                    self.output(&mut scope, &mut places, &mut memo, node, &from.1, &flat)?;
                }
            }
            let args: Vec<String> = (0..store.coords.len()).map(|c| format!("c{c}: u32, ")).collect();
            let ty = library::wgsl(ty, store.lanes);
            let _ = writeln!(hooks, "fn {}({}value: {ty}) {{\n{}}}", store.name, args.concat(), scope.text);
        }
        self.seed = None;
        let body = self.instantiate(template)?;
        hooks.push_str(&body);
        Ok(self.finish(&template.head(), &hooks, template.groups, template.work))
    }

    /// The template's items without its stubs, with types, constants, calls and host numbers put in.
    fn instantiate(&mut self, template: &Template) -> Result<String> {
        let mut names: HashMap<&str, String> = HashMap::default();
        for (name, ty) in &template.types {
            names.insert(name, ty.clone());
        }
        for (stub, function, dtype) in &template.calls {
            let name = self.instances.call(None, function, *dtype, stub.ends_with('4'))?;
            names.insert(stub, name);
        }
        let mut stubs: Vec<&str> = template.loads.iter().map(|l| l.name).collect();
        stubs.extend(template.stores.iter().map(|s| s.name));
        stubs.extend(template.calls.iter().map(|c| c.0));
        let mut numbers = HashMap::default();
        // a template that does not ask for it cannot begin elsewhere
        if template.source.contains("p_first") && template.params.iter().all(|p| p.0 != "first") {
            numbers.insert("p_first".to_owned(), self.first(template.work));
        }
        for (name, value) in &template.params {
            numbers.insert(format!("p_{name}"), self.number(*value));
        }
        let items = library::items(template.source);
        // the template's value of a constant, or the file's
        let known = |name: &str| {
            let given = template.consts.iter().find(|c| c.0 == name).map(|c| c.1);
            let own = items.iter().find(|i| i.keyword == "const" && i.name == name);
            given.or_else(|| own?.text.split_once("= ")?.1.trim_end().trim_end_matches("u;").parse().ok())
        };
        let mut out = String::new();
        for item in &items {
            let name = item.name.as_str();
            if stubs.contains(&name) || numbers.contains_key(name) || template.types.iter().any(|t| t.0 == name) {
                continue;
            }
            if let Some((_, value)) = template.consts.iter().find(|c| c.0 == name && item.keyword == "const") {
                let _ = writeln!(out, "const {name}: u32 = {value}u;");
                continue;
            }
            let text = library::unroll(&item.text, known);
            let text = library::replace(&text, |w| names.get(w).map(|n| Cow::Owned(n.clone())));
            // what was put in may name host numbers too
            out.push_str(&library::replace(&text, |w| numbers.get(w).map(|n| Cow::Owned(n.clone()))));
            out.push('\n');
        }
        Ok(out)
    }
}

/// The text that reads word `k` of the parameter block.
fn word(k: usize) -> String {
    format!("params[{}].{}", k / 4, ["x", "y", "z", "w"][k % 4])
}

//! `Plan`: the kernels for some values, as a recording and a list of what its slots stand for. Pure data.

use super::body::Param;
use super::codegen::{Generated, Number, generate};
use super::node::Spec;
use super::schedule::{Graph, Group, PlanNode, padded_bytes, schedule};
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::gpu::{Command, Dispatch, Facts, Kernel, Recording};
use rustc_hash::FxHashMap as HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// How to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether operations may share kernels.
    pub fuse: bool,
}

/// What it takes to compute some values. It names them by their numbers in the walk, so that it serves every walk of
/// the same structure once [`Plan::fill`] has put that walk's host numbers in.
#[derive(Debug)]
pub struct Plan {
    /// The commands.
    pub recording: Recording,
    /// Slots of the stored values that are read, with their numbers in the walk.
    pub inputs: Vec<(u32, usize)>,
    /// Slots of the values that are kept, with their numbers in the walk.
    pub outputs: Vec<(u32, usize)>,
    /// Values without elements.
    pub empty: Vec<usize>,
    /// Where host numbers go: a command, and a word of its parameters.
    numbers: Vec<(usize, Number)>,
    steps: Vec<Step>,
}

/// What `explain` tells of a kernel.
#[derive(Debug)]
struct Step {
    label: String,
    members: usize,
    reads: Vec<(usize, Spec)>,
    writes: Vec<(usize, Spec)>,
    groups: u32,
}

/// Kernels by their text, so that equal ones are the same.
pub trait Kernels {
    /// The kernel with this text.
    fn kernel(&self, label: String, generated: &Generated) -> Arc<Kernel>;
}

/// Makes each kernel anew.
pub struct Fresh;

impl Kernels for Fresh {
    fn kernel(&self, label: String, generated: &Generated) -> Arc<Kernel> {
        Arc::new(Kernel {
            label,
            source: generated.source.clone(),
            access: generated.bindings.iter().map(|b| b.1).collect(),
            param_words: generated.params.len() as u32,
            faults: generated.faults,
        })
    }
}

impl Plan {
    /// The plan that computes the roots of a walk on an adapter with these facts.
    pub fn new(walk: &Walk, facts: &Facts, options: Options, kernels: &dyn Kernels) -> Result<Self> {
        let graph = Graph::new(walk, facts)?;
        let groups = schedule(&graph, facts, options.fuse);
        let is_empty = |n: &PlanNode| n.held && n.value.get().is_none() && n.value.spec.numel() == 0;
        let mut plan = Self {
            recording: Recording { slots: Vec::new(), commands: Vec::new() },
            inputs: Vec::new(),
            outputs: Vec::new(),
            empty: (0..graph.nodes.len()).filter(|&n| is_empty(&graph.nodes[n])).collect(),
            numbers: Vec::new(),
            steps: Vec::new(),
        };
        let mut slots: HashMap<usize, u32> = HashMap::default();
        let mut kernels_of = Vec::new();
        let mut last_use: HashMap<u32, usize> = HashMap::default();
        for (position, group) in groups.iter().enumerate() {
            let generated = generate(&graph, group, facts)?;
            for (node, _) in &generated.bindings {
                let slot = *slots.entry(*node).or_insert_with(|| plan.slot(&graph, *node));
                last_use.insert(slot, position);
            }
            kernels_of.push(generated);
        }
        for (position, (group, generated)) in groups.iter().zip(kernels_of).enumerate() {
            plan.dispatch(&graph, group, generated, &slots, kernels);
            let mut over: Vec<u32> = last_use.iter().filter(|(_, p)| **p == position).map(|(s, _)| *s).collect();
            over.sort_unstable();
            for slot in over {
                let kept = plan.inputs.iter().chain(&plan.outputs).any(|(s, _)| *s == slot);
                if !kept {
                    plan.recording.commands.push(Command::Free(slot));
                }
            }
        }
        Ok(plan)
    }

    fn slot(&mut self, graph: &Graph, node: usize) -> u32 {
        let slot = self.recording.slots.len() as u32;
        let plan = &graph.nodes[node];
        self.recording.slots.push(padded_bytes(&plan.value.spec));
        if plan.value.get().is_some() {
            self.inputs.push((slot, node));
        } else if plan.held {
            self.outputs.push((slot, node));
        }
        slot
    }

    fn dispatch(
        &mut self,
        graph: &Graph,
        group: &Group,
        generated: Generated,
        slots: &HashMap<usize, u32>,
        kernels: &dyn Kernels,
    ) {
        let label = label(graph, group);
        let spec = |n: &usize| (*n, graph.nodes[*n].value.spec.clone());
        let writes: Vec<usize> = group.outputs.clone();
        let reads = generated.bindings.iter().map(|b| b.0).filter(|n| !writes.contains(n));
        self.steps.push(Step {
            label: label.clone(),
            members: group.members.len(),
            reads: reads.map(|n| spec(&n)).collect(),
            writes: writes.iter().map(spec).collect(),
            groups: generated.groups,
        });
        let command = self.recording.commands.len();
        self.numbers.extend(generated.numbers.iter().map(|n| (command, *n)));
        self.recording.commands.push(Command::Dispatch(Dispatch {
            kernel: kernels.kernel(label, &generated),
            slots: generated.bindings.iter().map(|b| slots[&b.0]).collect(),
            params: generated.params,
            groups: generated.groups,
            work: generated.work,
        }));
    }

    /// Puts the host numbers of a walk into the parameters; `code` says under which code a fault is known.
    pub fn fill(&mut self, walk: &Walk, mut code: impl FnMut(&Arc<Error>) -> u32) {
        for (command, number) in &self.numbers {
            let Some(Command::Dispatch(d)) = self.recording.commands.get_mut(*command) else { continue };
            let param = walk.nodes.get(number.node as usize).and_then(|n| n.value.params.get(number.param as usize));
            let word = match param {
                Some(Param::Fault(error)) => code(error),
                Some(other) => (other.bits() >> if number.high { 32 } else { 0 }) as u32,
                None => continue,
            };
            if let Some(place) = d.params.get_mut(number.word as usize) {
                *place = word;
            }
        }
    }

    /// Bytes of memory that it holds, about; kernels are shared and not counted.
    pub fn bytes(&self) -> usize {
        let command = |c: &Command| match c {
            Command::Dispatch(d) => 128 + d.params.len() * 4 + d.slots.len() * 4,
            _ => 48,
        };
        let step = |s: &Step| s.label.len() + (s.reads.len() + s.writes.len() + 2) * size_of::<(usize, Spec)>();
        self.recording.commands.iter().map(command).sum::<usize>()
            + self.steps.iter().map(step).sum::<usize>()
            + self.numbers.len() * size_of::<(usize, Number)>()
            + (self.inputs.len() + self.outputs.len() + self.empty.len() + self.recording.slots.len()) * 16
    }

    /// How many kernels it runs.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }
}

/// What a kernel is called: its template or `map`, and the operations in it.
fn label(graph: &Graph, group: &Group) -> String {
    let mut nodes: Vec<usize> = group.members.iter().copied().collect();
    nodes.sort_unstable();
    let constant = |n: &usize| graph.nodes[*n].inputs.is_empty() && graph.nodes[*n].rule.body().is_some();
    let names: Vec<&str> = nodes.iter().filter(|n| !constant(n)).map(|&n| graph.nodes[n].value.prim.name()).collect();
    let shown = if names.len() > 12 {
        format!("{} .. {} ({} ops)", names[..6].join(" "), names[names.len() - 4..].join(" "), names.len())
    } else if names.is_empty() {
        graph.nodes[nodes[0]].value.prim.name().to_string()
    } else {
        names.join(" ")
    };
    match group.anchor.and_then(|a| graph.nodes[a].rule.template()) {
        Some(_) if group.walks_rows(graph) => format!("rows: {shown}"),
        Some(t) => format!("{}: {shown}", t.name),
        None => format!("map: {shown}"),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // nodes are numbered as they appear, so that equal plans print equally
        let mut seen: HashMap<usize, usize> = HashMap::default();
        writeln!(f, "{} kernels", self.steps.len())?;
        for (i, step) in self.steps.iter().enumerate() {
            let mut list = |all: &[(usize, Spec)]| {
                let mut out = String::new();
                for (id, spec) in all {
                    let next = seen.len();
                    let n = *seen.entry(*id).or_insert(next);
                    // writing to a String cannot fail
                    let _ = write!(out, " %{n} {}{:?}", spec.dtype, &spec.shape[..]);
                }
                out
            };
            let (reads, writes) = (list(&step.reads), list(&step.writes));
            writeln!(f, "{i:3}  {}  [{} nodes, {} workgroups]", step.label, step.members, step.groups)?;
            writeln!(f, "       {} ->{}", reads.trim_start(), writes)?;
        }
        Ok(())
    }
}

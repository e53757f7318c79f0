//! `Plan`: the kernels for some values, as a recording and a list of what its slots stand for. Pure data.
//!
//! ```
//! # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk}};
//! # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
//! # let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
//! # let inputs = [Input::whole(&x, &[4])].into_iter().collect();
//! # let y = Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default());
//! let plan = Plan::new(&Walk::new(&[y]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
//! assert!(plan.to_string().starts_with("1 kernels\n  0  map: exp"));
//! let kernel = &plan.recording.dispatches().next().unwrap().kernel;
//! assert!(kernel.source.contains("op_exp_f32"));
//! # Ok::<(), calor::Error>(())
//! ```

use super::body::Param;
use super::codegen::{Bound, Generated, Number, generate};
use super::faults::Reach;
use super::laid::{Laid, has_gaps, laid};
use super::node::Spec;
use super::parts::part_offsets;
use super::schedule::{Graph, Group, PlanNode, Rule, padded_bytes, schedule, spend};
use super::walk::Walk;
use crate::error::{Error, Result, bail};
use crate::gpu::{Binding, Command, Dispatch, Facts, Kernel, Recording};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How to plan.
///
/// ```
/// use calor::graph::plan::Options;
/// assert_ne!(Options { fuse: true }, Options { fuse: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether operations may share kernels.
    pub fuse: bool,
}

/// What it takes to compute some values. It names them by their numbers in the walk, so that it serves every walk of
/// the same structure once [`Plan::fill`] has put that walk's host numbers in.
///
/// ```
/// use calor::{gpu::Facts, graph::{plan::{Fresh, Options, Plan}, walk::Walk}};
/// let nothing = Plan::new(&Walk::new(&[]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
/// assert!(nothing.recording.commands.is_empty() && nothing.outputs.is_empty());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct Plan {
    /// The commands.
    pub recording: Recording,
    /// Slots of the stored values that are read, with their numbers in the walk.
    pub inputs: Vec<(u32, usize)>,
    /// The values that are kept, and where.
    pub outputs: Vec<Output>,
    /// Values without elements.
    pub empty: Vec<usize>,
    /// Where host numbers go: a command, and a word of its parameters.
    numbers: Vec<(usize, Number)>,
    steps: Vec<Step>,
    /// Which outputs faults reach, once that was asked.
    reach: Option<Arc<Reach>>,
}

/// A value that is kept.
///
/// ```
/// # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk}};
/// # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// # let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
/// # let inputs = [Input::whole(&x, &[4])].into_iter().collect();
/// # let y = Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default());
/// let walk = Walk::new(&[y.clone()]);
/// let plan = Plan::new(&walk, &Facts::portable(), Options { fuse: true }, &Fresh)?;
/// let output = plan.outputs[0];
/// assert_eq!((Some(output.node), output.owner, output.offset), (walk.number(&y), output.node, 0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its number in the walk.
    pub node: usize,
    /// The slot that it lies in.
    pub slot: u32,
    /// The node that has all of the slot: another one where this is a part of it.
    pub owner: usize,
    /// Where in the slot it begins, in bytes.
    pub offset: u64,
    /// Whether the slot's buffer is known by the owner's name through this value.
    pub names: bool,
}

/// What `explain` tells of a kernel, or of copies into one buffer.
#[derive(Debug)]
struct Step {
    label: String,
    members: usize,
    reads: Vec<(usize, Spec)>,
    writes: Vec<(usize, Spec)>,
    groups: u32,
}

/// Where nodes lie.
#[derive(Default)]
struct Slots {
    of: HashMap<usize, u32>,
    /// The node that has all of each slot.
    owners: Vec<usize>,
    /// After which step nothing more is done to a slot.
    last: Vec<usize>,
    laid: Laid,
    /// Nodes that take the memory of others.
    spent: HashMap<usize, usize>,
}

/// What is done, in order.
enum Event<'a> {
    /// A kernel runs.
    Kernel(&'a Group, Generated),
    /// A pack that kernels write to is filled with zeros.
    Clear(usize),
    /// The inputs of a node are copied side by side, but for those that lie there.
    Pack(usize, u64),
    /// From here on results take the memory of what was read.
    Spend,
}

/// Kernels by their text, so that equal ones are the same.
///
/// ```
/// # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk}};
/// # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// # let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
/// # let inputs = [Input::whole(&x, &[4])].into_iter().collect();
/// # let y = Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default());
/// let walk = Walk::new(&[y]);
/// let plan = |kernels| Plan::new(&walk, &Facts::portable(), Options { fuse: true }, kernels);
/// let (a, b) = (plan(&Fresh)?, plan(&Fresh)?);
/// // equal, but each made anew
/// let kernel = |plan: &Plan| plan.recording.dispatches().next().unwrap().kernel.clone();
/// assert!(kernel(&a) == kernel(&b) && !std::sync::Arc::ptr_eq(&kernel(&a), &kernel(&b)));
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Kernels {
    /// The kernel with this text.
    ///
    /// ```
    /// # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk}};
    /// # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
    /// # let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
    /// # let inputs = [Input::whole(&x, &[4])].into_iter().collect();
    /// # let y = Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default());
    /// let plan = Plan::new(&Walk::new(&[y]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
    /// // what it was asked for
    /// assert_eq!(plan.recording.dispatches().next().unwrap().kernel.label, "map: exp");
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn kernel(&self, label: String, generated: &Generated) -> Arc<Kernel>;
}

/// Kernels that someone holds, plans that is: those of equal text are one.
///
/// ```
/// use calor::graph::plan::Held;
/// assert!(Held::default().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Held {
    kernels: Mutex<HashMap<String, Weak<Kernel>>>,
    sweep_above: AtomicUsize,
}

/// Texts before those that nobody holds are forgotten.
const SWEEP_ABOVE: usize = 256;

impl Held {
    /// How many texts are known, with some whose kernel is gone.
    ///
    /// ```
    /// assert_eq!(calor::graph::plan::Held::default().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is known.
    ///
    /// ```
    /// assert!(calor::graph::plan::Held::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kernels for Held {
    fn kernel(&self, label: String, generated: &Generated) -> Arc<Kernel> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&generated.source).and_then(Weak::upgrade) {
            return kernel;
        }
        if kernels.len() >= self.sweep_above.load(Ordering::Relaxed).max(SWEEP_ABOVE) {
            kernels.retain(|_, kernel| kernel.strong_count() > 0);
            self.sweep_above.store(kernels.len() * 2, Ordering::Relaxed);
        }
        let kernel = Fresh.kernel(label, generated);
        kernels.insert(generated.source.clone(), Arc::downgrade(&kernel));
        kernel
    }
}

/// Makes each kernel anew.
///
/// ```
/// use calor::{gpu::Facts, graph::{plan::{Fresh, Options, Plan}, walk::Walk}};
/// let plan = Plan::new(&Walk::new(&[]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
/// assert_eq!(plan.dispatches(), 0);
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Fresh;

impl Kernels for Fresh {
    fn kernel(&self, label: String, generated: &Generated) -> Arc<Kernel> {
        Arc::new(Kernel {
            label,
            source: generated.source.clone(),
            access: generated.bindings.iter().map(|b| b.access).collect(),
            param_words: generated.params.len() as u32,
            faults: generated.faults,
            first: generated.first,
        })
    }
}

impl Plan {
    /// The plan that computes the roots of a walk on an adapter with these facts.
    ///
    /// ```
    /// # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, plan::{Fresh, Options, Plan}, walk::Walk}};
    /// # let exp = |x: &calor::graph::Value| {
    /// #     let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
    /// #     let inputs = [Input::whole(x, &[4])].into_iter().collect();
    /// #     Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default())
    /// # };
    /// # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
    /// let walk = Walk::new(&[exp(&exp(&x))]);
    /// let kernels = |fuse| Plan::new(&walk, &Facts::portable(), Options { fuse }, &Fresh).map(|p| p.dispatches());
    /// assert_eq!((kernels(true)?, kernels(false)?), (1, 2));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(walk: &Walk, facts: &Facts, options: Options, kernels: &dyn Kernels) -> Result<Self> {
        let graph = Graph::new(walk, facts)?;
        let mut groups = schedule(&graph, facts, options.fuse);
        let is_empty = |n: &PlanNode| n.held && n.value.get().is_none() && n.value.spec.numel() == 0;
        let mut plan = Self {
            recording: Recording { slots: Vec::new(), commands: Vec::new() },
            inputs: Vec::new(),
            outputs: Vec::new(),
            empty: (0..graph.nodes.len()).filter(|&n| is_empty(&graph.nodes[n])).collect(),
            numbers: Vec::new(),
            steps: Vec::new(),
            reach: None,
        };
        let laid = laid(&graph, &groups);
        // unfused kernels are the oracle of others, so they stay plain
        let last = if options.fuse { spend(&graph, &mut groups, &laid) } else { groups.len() };
        let spent = groups.iter().flat_map(|g| &g.spent).map(|(&leaf, &output)| (output, leaf)).collect();
        let mut slots = Slots { laid, spent, ..Slots::default() };
        let events = events(&graph, &groups, last, &slots.laid, facts)?;
        for (position, event) in events.iter().enumerate() {
            for node in event.nodes(&graph, &slots.laid) {
                let (slot, _) = plan.place(&graph, &mut slots, node);
                slots.last[slot as usize] = position;
            }
        }
        plan.keep(&graph, &mut slots);
        let over = plan.over(&slots, events.len());
        for (event, over) in events.into_iter().zip(over) {
            match event {
                Event::Kernel(group, generated) => plan.dispatch(&graph, group, generated, &mut slots, kernels),
                Event::Clear(node) => {
                    let (slot, _) = plan.place(&graph, &mut slots, node);
                    plan.recording.commands.push(Command::Clear(slot));
                }
                Event::Pack(node, align) => plan.copies(&graph, node, align, &mut slots),
                Event::Spend => plan.recording.commands.push(Command::Together),
            }
            plan.recording.commands.extend(over.into_iter().map(Command::Free));
        }
        Ok(plan)
    }

    /// The slot that a node lies in, and where it begins there.
    fn place(&mut self, graph: &Graph, slots: &mut Slots, mut node: usize) -> (u32, u64) {
        let mut start = 0;
        loop {
            if let Some(leaf) = slots.spent.get(&node) {
                node = *leaf;
            }
            let (within, offset) = match (&graph.nodes[node].rule, slots.laid.get(&node)) {
                (Rule::Part(offset), _) => (graph.nodes[node].inputs[0].0, *offset),
                (_, Some(&(pack, offset))) => (pack, offset),
                _ => break,
            };
            start += offset;
            node = within;
        }
        let slot = *slots.of.entry(node).or_insert_with(|| {
            let slot = self.recording.slots.len() as u32;
            let value = &graph.nodes[node].value;
            self.recording.slots.push(padded_bytes(&value.spec));
            slots.owners.push(node);
            slots.last.push(0);
            if value.get().is_some() {
                self.inputs.push((slot, node));
            }
            slot
        });
        (slot, start)
    }

    /// Notes which values are kept.
    fn keep(&mut self, graph: &Graph, slots: &mut Slots) {
        let mut named = HashSet::default();
        let taken: HashMap<usize, usize> = slots.spent.iter().map(|(&output, &leaf)| (leaf, output)).collect();
        for (node, plan) in graph.nodes.iter().enumerate() {
            let elsewhere = slots.laid.contains_key(&node) || slots.spent.contains_key(&node);
            let part = matches!(plan.rule, Rule::Part(_)) || elsewhere;
            let computed = slots.of.contains_key(&node) || part;
            if plan.held && computed && plan.value.get().is_none() && plan.value.spec.numel() > 0 {
                let (slot, offset) = self.place(graph, slots, node);
                let owner = slots.owners[slot as usize];
                let owner = taken.get(&owner).copied().unwrap_or(owner);
                let names = graph.nodes[owner].value.get().is_none() && named.insert(slot);
                self.outputs.push(Output { node, slot, owner, offset, names });
            }
        }
    }

    /// The slots of which each of `steps` steps is the last use, unless they are kept.
    fn over(&self, slots: &Slots, steps: usize) -> Vec<Vec<u32>> {
        let mut kept = vec![false; slots.last.len()];
        for slot in self.inputs.iter().map(|i| i.0).chain(self.outputs.iter().map(|o| o.slot)) {
            kept[slot as usize] = true;
        }
        let mut over = vec![Vec::new(); steps];
        for (slot, (&last, kept)) in slots.last.iter().zip(kept).enumerate() {
            if !kept {
                over[last].push(slot as u32);
            }
        }
        over
    }

    /// Copies the inputs of a node to where they lie in it, unless they do already; what is between them is zero.
    fn copies(&mut self, graph: &Graph, node: usize, align: u64, slots: &mut Slots) {
        let spec = |n: usize| (n, graph.nodes[n].value.spec.clone());
        let inputs: Vec<usize> = graph.nodes[node].inputs.iter().map(|i| i.0).collect();
        let (offsets, _) = part_offsets(inputs.iter().map(|&n| &graph.nodes[n].value.spec), align);
        let copied: Vec<(usize, u64)> =
            inputs.iter().copied().zip(offsets).filter(|(n, _)| !slots.laid.contains_key(n)).collect();
        let (to, _) = self.place(graph, slots, node);
        if copied.len() == inputs.len() && has_gaps(graph, node, align) {
            self.recording.commands.push(Command::Clear(to));
        }
        if copied.is_empty() {
            return;
        }
        for &(input, to_offset) in &copied {
            // not what a kernel left behind the elements
            let bytes = graph.nodes[input].value.spec.bytes().next_multiple_of(4);
            if bytes > 0 {
                let (from, from_offset) = self.place(graph, slots, input);
                self.recording.commands.push(Command::Copy { from, from_offset, to, to_offset, bytes });
            }
        }
        let reads = copied.into_iter().map(|(n, _)| spec(n)).collect();
        self.steps.push(Step { label: "copy".into(), members: 0, reads, writes: vec![spec(node)], groups: 0 });
    }

    fn dispatch(
        &mut self,
        graph: &Graph,
        group: &Group,
        generated: Generated,
        slots: &mut Slots,
        kernels: &dyn Kernels,
    ) {
        let label = label(graph, group);
        let spec = |n: &usize| (*n, graph.nodes[*n].value.spec.clone());
        let writes: Vec<usize> = group.outputs.clone();
        let mut reads: Vec<usize> = generated.bindings.iter().map(|b| b.node).filter(|n| !writes.contains(n)).collect();
        reads.dedup();
        self.steps.push(Step {
            label: label.clone(),
            members: group.members.len(),
            reads: reads.iter().map(spec).collect(),
            writes: writes.iter().map(spec).collect(),
            groups: generated.groups,
        });
        let command = self.recording.commands.len();
        self.numbers.extend(generated.numbers.iter().map(|n| (command, *n)));
        let dispatch = Dispatch {
            kernel: kernels.kernel(label, &generated),
            bindings: generated.bindings.iter().map(|b| binding(b, self.place(graph, slots, b.node))).collect(),
            params: generated.params,
            groups: generated.groups,
            work: generated.work,
        };
        self.recording.commands.push(Command::Dispatch(dispatch));
    }

    /// Puts the host numbers of a walk into the parameters; `code` says under which code a node's
    /// fault is known.
    ///
    /// ```
    /// use calor::{DType, gpu::Facts, graph::{Body, Map, Node, Param, Spec, plan::{Fresh, Options, Plan}, walk::Walk}};
    /// let full = |value: f32| {
    ///     let mut body = Body::new();
    ///     body.value(0, DType::F32);
    ///     let params = [Param::F32(value)].into_iter().collect();
    ///     let map = std::sync::Arc::new(Map { name: "full".into(), body });
    ///     Walk::new(&[Node::pending(map, Spec::new(&[4], DType::F32), Default::default(), params)])
    /// };
    /// // one plan for both
    /// let mut plan = Plan::new(&full(1.0), &Facts::portable(), Options { fuse: true }, &Fresh)?;
    /// for value in [2.0, 3.0] {
    ///     plan.fill(&full(value), |_, _| 0);
    ///     assert!(plan.recording.dispatches().next().unwrap().params.contains(&value.to_bits()));
    /// }
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn fill(&mut self, walk: &Walk, mut code: impl FnMut(usize, &Arc<Error>) -> u32) {
        for (command, number) in &self.numbers {
            let Some(Command::Dispatch(d)) = self.recording.commands.get_mut(*command) else { continue };
            let param = walk.nodes.get(number.node as usize).and_then(|n| n.value.params.get(number.param as usize));
            let word = match param {
                Some(Param::Fault(error)) => code(number.node as usize, error),
                Some(other) => (other.bits() >> if number.high { 32 } else { 0 }) as u32,
                None => continue,
            };
            if let Some(place) = d.params.get_mut(number.word as usize) {
                *place = word;
            }
        }
    }

    /// Which outputs the faults and the inputs of its walk reach.
    pub(super) fn reach(&mut self, walk: &Walk) -> Arc<Reach> {
        let outputs = self.outputs.iter().map(|output| output.node);
        self.reach.get_or_insert_with(|| Arc::new(Reach::new(walk, outputs))).clone()
    }

    /// Bytes of memory that it holds, about; kernels are shared and not counted.
    ///
    /// ```
    /// use calor::{gpu::Facts, graph::{plan::{Fresh, Options, Plan}, walk::Walk}};
    /// let plan = Plan::new(&Walk::new(&[]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
    /// assert_eq!(plan.bytes(), 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bytes(&self) -> usize {
        let command = |c: &Command| match c {
            Command::Dispatch(d) => 128 + d.params.len() * 4 + d.bindings.len() * size_of::<Binding>(),
            _ => 48,
        };
        let step = |s: &Step| s.label.len() + (s.reads.len() + s.writes.len() + 2) * size_of::<(usize, Spec)>();
        self.recording.commands.iter().map(command).sum::<usize>()
            + self.steps.iter().map(step).sum::<usize>()
            + self.numbers.len() * size_of::<(usize, Number)>()
            + self.outputs.len() * size_of::<Output>()
            + (self.inputs.len() + self.empty.len() + self.recording.slots.len()) * 16
    }

    /// How many kernels it runs.
    ///
    /// ```
    /// use calor::{gpu::Facts, graph::{plan::{Fresh, Options, Plan}, walk::Walk}};
    /// let plan = Plan::new(&Walk::new(&[]), &Facts::portable(), Options { fuse: true }, &Fresh)?;
    /// assert_eq!(plan.dispatches(), plan.recording.dispatches().count());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dispatches(&self) -> usize {
        self.recording.dispatches().count()
    }
}

impl Event<'_> {
    /// The nodes whose buffers it uses.
    fn nodes(&self, graph: &Graph, laid: &Laid) -> Vec<usize> {
        match self {
            Event::Kernel(_, generated) => generated.bindings.iter().map(|b| b.node).collect(),
            Event::Clear(node) => vec![*node],
            Event::Spend => Vec::new(),
            Event::Pack(node, _) => {
                let inputs = graph.nodes[*node].inputs.iter().map(|i| i.0);
                let filled = inputs.filter(|n| graph.nodes[*n].value.spec.numel() > 0 && !laid.contains_key(n));
                filled.chain([*node]).collect()
            }
        }
    }
}

/// Kernels in order, and packs as soon as all that lies in them was computed.
fn events<'a>(graph: &Graph, groups: &'a [Group], last: usize, laid: &Laid, facts: &Facts) -> Result<Vec<Event<'a>>> {
    let mut cleared = HashSet::default();
    let lies = |n: &PlanNode| n.value.get().is_some() || n.value.spec.numel() == 0;
    let mut ready: Vec<bool> = graph.nodes.iter().map(lies).collect();
    let mut waiting: Vec<usize> = (0..ready.len()).filter(|&n| !ready[n] && graph.nodes[n].rule.is_place()).collect();
    let mut out = Vec::new();
    for (at, group) in groups.iter().map(Some).chain([None]).enumerate() {
        // inputs have lower numbers, so what lies in a part of a pack is ready after that pack
        waiting.retain(|&n| {
            let all = graph.nodes[n].inputs.iter().all(|i| ready[i.0]);
            if all {
                ready[n] = true;
                if let Rule::Pack(align) = graph.nodes[n].rule {
                    out.push(Event::Pack(n, align));
                }
            }
            !all
        });
        let Some(group) = group else { break };
        if at == last {
            out.push(Event::Spend);
        }
        let generated = generate(graph, group, facts)?;
        fits(graph, group, &generated, facts)?;
        for &n in &group.outputs {
            ready[n] = true;
            if let Some(&(pack, _)) = laid.get(&n)
                && let Rule::Pack(align) = graph.nodes[pack].rule
                && cleared.insert(pack)
                && has_gaps(graph, pack, align)
            {
                out.push(Event::Clear(pack));
            }
        }
        out.push(Event::Kernel(group, generated));
    }
    Ok(out)
}

/// The range of a slot that a binding shows.
fn binding(bound: &Bound, (slot, start): (u32, u64)) -> Binding {
    let (offset, bytes) = bound.window;
    Binding { slot, offset: start + offset, bytes }
}

/// Refuses a kernel that needs more bindings than the adapter has: fusion keeps within, one operation may be too much.
fn fits(graph: &Graph, group: &Group, generated: &Generated, facts: &Facts) -> Result<()> {
    let needs = generated.bindings.len() + usize::from(generated.faults);
    let name = |n: usize| graph.nodes[n].value.prim.name();
    let op = group.anchor.or(group.outputs.first().copied()).map_or("run", name);
    let (limit, most) = (facts.max_bindings, facts.max_binding_bytes);
    if needs > limit as usize {
        let sizes = generated.bindings.iter().filter(|b| b.window.0 == 0);
        let sizes: Vec<u64> = sizes.map(|b| padded_bytes(&graph.nodes[b.node].value.spec)).collect();
        bail!(
            OutOfMemory,
            op,
            "buffers of {sizes:?} bytes take {needs} bindings of at most {most} bytes, the adapter has {limit}"
        );
    }
    let align = u64::from(facts.storage_align);
    if let Some(b) = generated.bindings.iter().find(|b| !b.window.0.is_multiple_of(align)) {
        let bytes = padded_bytes(&graph.nodes[b.node].value.spec);
        bail!(
            OutOfMemory,
            op,
            "a buffer of {bytes} bytes cannot be cut into bindings of {most} at multiples of {align}"
        );
    }
    Ok(())
}

/// What a kernel is called: its template or `map`, and the operations in it.
pub(super) fn label(graph: &Graph, group: &Group) -> String {
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
        writeln!(f, "{} kernels", self.dispatches())?;
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

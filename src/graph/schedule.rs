//! Decides which nodes are computed together: pure data, no device.
//!
//! Nodes are visited from the results back to the inputs. A map goes into the kernels that read it, or is stored; a
//! stored value joins the kernel of a reader that walks it in order, as one more output; a template takes such readers
//! behind it; folds of equal rows and the maps among them become one kernel that walks the rows (`rows`). Joining
//! never makes two kernels wait for each other.

mod order;
mod rows;
mod spend;

pub use spend::spend;

use super::body::{Body, Op, Param};
use super::node::{InputSpec, LowerCx, Lowering, Map, Spec, Value};
use super::row::{Level, Row};
use super::template::{Fold, Prologue, Template};
use super::walk::{Reached, Spend, Walk};
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::layout::Layout;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use smallvec::SmallVec;
use std::any::Any;

/// A map that costs no more than this is computed again rather than stored, if few kernels read it.
const CHEAP: u32 = 40;
/// How many kernels may compute the same map.
const COPIES: usize = 3;
/// How many bodies a kernel may hold: bounds its compile time.
const MEMBERS: usize = 4096;
/// How many of them may be computed at other places than the outputs': views of views are followed one by one.
const STRAYS: usize = 512;
/// At how many places a kernel may compute the same map, and how many if it only moves or converts.
const PLACES: usize = 4;
const FREE_PLACES: usize = 8;
/// Words of a kernel's parameter block that are not promised to bodies.
const SPARE_WORDS: usize = 512;
/// Readers of a value before they are found by a map.
const MANY: usize = 16;
/// Bindings of a kernel that fusion makes, whatever the adapter has: bounds what planning looks at.
const BINDINGS: usize = 128;
/// How many maps behind one are looked at for what it costs.
const WASTED: usize = 64;
/// A view that repeats each element more often than this does not recompute it, unless that is free.
const REPEATS: usize = 4;

/// What to compute, with everything that it needs.
#[derive(Debug)]
pub struct Graph {
    /// Nodes, each after its inputs.
    pub nodes: Vec<PlanNode>,
}

/// A node as the planner sees it.
#[derive(Debug)]
pub struct PlanNode {
    /// The node.
    pub value: Value,
    /// Number and view of each input.
    pub inputs: SmallVec<[(usize, Layout); 2]>,
    /// How it is computed.
    pub rule: Rule,
    /// Nodes that read it, and through which of their inputs.
    pub consumers: SmallVec<[(usize, usize); 2]>,
    /// Whether someone outside may read it later.
    pub held: bool,
    /// Whether it was asked for.
    pub root: bool,
    /// How many bindings its buffer takes.
    pub windows: usize,
    /// Where it lies, if that is free once it was read.
    pub spend: Option<Spend>,
}

/// How a node is computed.
#[derive(Clone, Debug)]
pub enum Rule {
    /// It lies in a buffer already.
    Stored,
    /// Element by element.
    Map(Box<Body>),
    /// By a kernel.
    Template(Box<Template>),
    /// By a kernel that only folds rows.
    Fold(Fold, Box<Template>),
    /// Its inputs are copied one after the other, each from a multiple of so many bytes on.
    Pack(u64),
    /// It lies in its input's buffer, from so many bytes on.
    Part(u64),
}

impl Rule {
    /// The body of a map.
    pub fn body(&self) -> Option<&Body> {
        match self {
            Rule::Map(body) => Some(body),
            _ => None,
        }
    }

    /// The template of a kernel.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Rule::Template(t) | Rule::Fold(_, t) => Some(t),
            _ => None,
        }
    }

    /// What the kernel joins, if that is all it does.
    pub fn fold(&self) -> Option<&Fold> {
        match self {
            Rule::Fold(fold, _) => Some(fold),
            _ => None,
        }
    }

    /// Whether no kernel computes it: it is where its inputs are written.
    pub fn is_place(&self) -> bool {
        matches!(self, Rule::Pack(_) | Rule::Part(_))
    }

    fn is_constant(&self) -> bool {
        self.body().is_some_and(|b| b.is_free() && b.is_source())
    }
}

/// Nodes computed by one kernel.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The template's node, if there is one.
    pub anchor: Option<usize>,
    /// Nodes whose values are written.
    pub outputs: Vec<usize>,
    /// Nodes computed: the outputs, and maps on the way.
    pub members: HashSet<usize>,
    /// Elements of each output.
    pub numel: usize,
    /// Words of parameters that the members need at most.
    words: usize,
    /// At how many places each member is computed.
    places: HashMap<usize, usize>,
    leaves: HashSet<usize>,
    /// Values that it reads and whose memory an output takes.
    pub spent: HashMap<usize, usize>,
    /// Members that the anchor's loads compute.
    front: HashSet<usize>,
    /// Members that are computed at other places than the outputs' too.
    strays: HashSet<usize>,
    /// The rows that its folds join.
    row: Option<Row>,
    /// With rows: what each member has one element for. Members that are missing are computed at other places too.
    levels: HashMap<usize, Level>,
    /// With rows: for which folds a member is computed, or for an output (`usize::MAX`).
    sinks: HashMap<usize, SmallVec<[usize; 4]>>,
}

impl Group {
    /// Values that it reads from memory.
    pub fn leaves(&self) -> impl Iterator<Item = usize> {
        self.leaves.iter().copied()
    }
}

impl Graph {
    /// The nodes of a walk, each lowered.
    pub fn new(walk: &Walk, facts: &Facts) -> Result<Self> {
        let mut nodes: Vec<PlanNode> = Vec::with_capacity(walk.nodes.len());
        for (me, reached) in walk.nodes.iter().enumerate() {
            let Reached { value, held, root, spend } = reached;
            let mut inputs = SmallVec::new();
            let mut rule = Rule::Stored;
            if value.get().is_none() {
                for (k, input) in value.inputs().iter().enumerate() {
                    let Some(from) = walk.number(&input.value) else {
                        bail!(Device, value.prim.name(), "its input {k} was not reached");
                    };
                    nodes[from].consumers.push((me, k));
                    inputs.push((from, input.layout.clone()));
                }
                rule = lower(value, &inputs, &nodes, facts)?;
            }
            let consumers = SmallVec::new();
            let Spec { dtype, .. } = value.spec;
            let windows = facts.windows(padded_bytes(&value.spec) / dtype.size() as u64, dtype.size());
            nodes.push(PlanNode {
                value: value.clone(),
                inputs,
                rule,
                consumers,
                held: *held,
                root: *root,
                windows,
                spend: *spend,
            });
        }
        Ok(Self { nodes })
    }

    /// Whether a node reports faults or reads at computed places: lanes past the end must then not go astray.
    pub fn follows_indices(&self, node: usize) -> bool {
        self.nodes[node].rule.body().is_some_and(|b| b.ops.iter().any(|o| matches!(o, Op::Guard(..) | Op::Load(..))))
    }

    /// The nodes whose kernels write what lies behind a node: itself, or what was packed.
    fn written(&self, node: usize) -> SmallVec<[usize; 2]> {
        let mut out: SmallVec<[usize; 2]> = SmallVec::from_elem(node, 1);
        let mut at = 0;
        while let Some(&n) = out.get(at) {
            if self.nodes[n].rule.is_place() {
                out.extend(self.nodes[n].inputs.iter().map(|i| i.0).filter(|i| !out.contains(i)).collect::<Vec<_>>());
            }
            at += 1;
        }
        out
    }

    /// Whether a node is made of its inputs side by side.
    pub fn is_pack(&self, node: usize) -> bool {
        matches!(self.nodes[node].rule, Rule::Pack(_))
    }

    fn numel(&self, node: usize) -> usize {
        self.nodes[node].value.spec.numel()
    }

    /// Words of parameters that computing a node at one place takes at most.
    fn words(&self, node: usize) -> usize {
        let n = &self.nodes[node];
        let Some(body) = n.rule.body() else { return 0 };
        let rank = n.value.spec.shape.len();
        let own: usize =
            n.value.params.iter().map(|p| if matches!(p, Param::I64(_) | Param::F64(_)) { 2 } else { 1 }).sum();
        let moved = body.ops.iter().any(|o| matches!(o, Op::Coord(_) | Op::Load(..)));
        let views = n.inputs.iter().filter(|(from, layout)| !layout.is_identity(self.numel(*from)));
        own + if moved { 2 * rank + 2 } else { 0 } + views.map(|(_, l)| 2 * l.rank() + 2).sum::<usize>()
    }

    /// Whether `consumer` reads, through its input `k`, element `i` for its own element `i`.
    fn in_order(&self, consumer: usize, k: usize) -> bool {
        let (producer, layout) = &self.nodes[consumer].inputs[k];
        let walks = self.nodes[consumer]
            .rule
            .body()
            .is_some_and(|b| !b.ops.iter().any(|o| matches!(o, Op::Load(i, _) if *i as usize == k)));
        walks && layout.is_identity(self.numel(*producer)) && self.numel(*producer) == self.numel(consumer)
    }
}

/// The rule of a node whose inputs are known.
fn lower(value: &Value, inputs: &[(usize, Layout)], nodes: &[PlanNode], facts: &Facts) -> Result<Rule> {
    // a map's body is as it is, however its inputs lie; looking through all the maps of a chain takes long
    let is_map = (&*value.prim as &dyn Any).is::<Map>();
    let spec = |(n, layout): &(usize, Layout)| InputSpec {
        layout: if is_map { layout.clone() } else { seen(nodes, *n, layout) },
        dtype: nodes[*n].value.spec.dtype,
    };
    let specs: SmallVec<[InputSpec; 2]> = inputs.iter().map(spec).collect();
    let cx = LowerCx { inputs: &specs, output: &value.spec, facts };
    Ok(match value.prim.lower(&cx)? {
        Lowering::Map(body) => {
            // whoever writes an operation of his own may err
            let shapes: SmallVec<[&[usize]; 2]> = inputs.iter().map(|i| i.1.shape()).collect();
            if !body.fits(&shapes, value.params.len(), &value.spec.shape) {
                bail!(
                    Value,
                    value.prim.name(),
                    "its body names an input, a number or a step that is not there: {body:?}"
                );
            }
            Rule::Map(Box::new(body))
        }
        Lowering::Template(template) => Rule::Template(Box::new(template)),
        Lowering::Fold(fold, template) => Rule::Fold(fold, Box::new(template)),
        Lowering::Pack { align } => Rule::Pack(align),
        Lowering::Part { offset } => Rule::Part(offset),
    })
}

/// The layout in which a kernel that computes maps in its loads really walks memory: through the largest input of
/// each map on the way, as long as strides can say it.
fn seen(nodes: &[PlanNode], mut node: usize, layout: &Layout) -> Layout {
    let mut layout = layout.clone();
    while let Rule::Map(body) = &nodes[node].rule {
        let walks = |k: &usize| !body.ops.iter().any(|o| matches!(o, Op::Load(i, _) if *i as usize == *k));
        let inputs = &nodes[node].inputs;
        let largest = (0..inputs.len()).filter(walks).max_by_key(|&k| nodes[inputs[k].0].value.spec.numel());
        let Some((next, inner)) = largest.map(|k| &inputs[k]) else { break };
        let Some(both) = layout.compose(inner) else { break };
        (node, layout) = (*next, both);
    }
    layout
}

/// Groups in an order in which each comes after those it reads.
pub fn schedule(graph: &Graph, facts: &Facts, fuse: bool) -> Vec<Group> {
    let mut s = Scheduler { graph, facts, fuse, groups: Vec::new(), homes: vec![Vec::new(); graph.nodes.len()] };
    for node in (0..graph.nodes.len()).rev() {
        match &graph.nodes[node].rule {
            Rule::Stored | Rule::Pack(_) | Rule::Part(_) => {}
            _ if graph.numel(node) == 0 => {}
            Rule::Map(_) => s.place_map(node),
            Rule::Template(_) | Rule::Fold(..) => s.place_template(node),
        }
    }
    if fuse {
        s.join_siblings();
    }
    s.ordered()
}

struct Scheduler<'a> {
    graph: &'a Graph,
    facts: &'a Facts,
    fuse: bool,
    groups: Vec<Option<Group>>,
    /// Groups that compute a node.
    homes: Vec<Vec<usize>>,
}

impl Scheduler<'_> {
    fn group(&self, id: usize) -> Option<&Group> {
        self.groups[id].as_ref()
    }

    /// Groups that read a node, with whether each read walks it in order.
    fn readers(&self, node: usize) -> Vec<(usize, bool)> {
        let mut out: Vec<(usize, bool)> = Vec::new();
        // where each stands, once there are many
        let mut index: HashMap<usize, usize> = HashMap::default();
        let mut places = vec![node];
        // whoever reads a pack or a part reads what lies in it
        while let Some(at) = places.pop() {
            for &(consumer, k) in &self.graph.nodes[at].consumers {
                if self.graph.nodes[consumer].rule.is_place() {
                    places.push(consumer);
                }
                let order = at == node && self.graph.in_order(consumer, k);
                for &home in &self.homes[consumer] {
                    let order = match self.group(home) {
                        Some(Group { row: Some(_), .. }) => at == node && self.aligned(home, consumer, k).is_some(),
                        Some(g) => order && !g.strays.contains(&consumer),
                        None => false,
                    };
                    let at = match index.is_empty() {
                        true => out.iter().position(|o| o.0 == home),
                        false => index.get(&home).copied(),
                    };
                    if let Some(at) = at {
                        out[at].1 &= order;
                        continue;
                    }
                    out.push((home, order));
                    if out.len() == MANY {
                        index.extend(out.iter().enumerate().map(|(at, o)| (o.0, at)));
                    } else if out.len() > MANY {
                        index.insert(home, out.len() - 1);
                    }
                }
            }
        }
        out
    }

    /// Whether `group` reads the buffer of `node` through a pack or a part: it must not write it too.
    fn reads_behind(&self, group: usize, node: usize) -> bool {
        let mut places = vec![node];
        while let Some(at) = places.pop() {
            for &(consumer, _) in &self.graph.nodes[at].consumers {
                if self.graph.nodes[consumer].rule.is_place() {
                    places.push(consumer);
                } else if at != node && self.homes[consumer].contains(&group) {
                    return true;
                }
            }
        }
        false
    }

    fn place_map(&mut self, node: usize) {
        let graph = self.graph;
        let plan = &graph.nodes[node];
        let readers = self.readers(node);
        let constant = plan.rule.is_constant();
        let inline = !self.is_kept(node) && (self.fuse || constant) && self.may_inline(node, &readers);
        // what reads nothing is near wherever it is computed
        let source = plan.inputs.is_empty();
        let near = |r: &(usize, bool)| r.1 || source || self.group(r.0).is_some_and(|g| g.strays.len() < STRAYS);
        let joins = |r| near(r) && self.has_room(r.0, node) && self.is_cheap_in_rows(r.0, node);
        if inline && readers.iter().all(joins) {
            for (group, in_order) in readers {
                let places = self.places(group, node);
                self.join_row(group, node);
                self.join(group, node, places);
                if let (false, Some(g)) = (in_order || source, &mut self.groups[group]) {
                    g.strays.insert(node);
                }
            }
            return;
        }
        if readers.is_empty() && !plan.held && !self.is_kept(node) {
            return;
        }
        let id = self.new_group(node, None);
        self.join(id, node, 1);
        if self.fuse {
            self.follow(id, node);
            self.lead_rows(id);
        }
    }

    fn may_inline(&self, node: usize, readers: &[(usize, bool)]) -> bool {
        let graph = self.graph;
        let Some(body) = graph.nodes[node].rule.body() else { return false };
        if readers.is_empty() {
            return false;
        }
        let free = body.is_free();
        let cost = body.cost();
        if readers.len() > 1 && !free && (cost > CHEAP || readers.len() > COPIES || graph.nodes[node].inputs.len() > 2)
        {
            return false;
        }
        graph.nodes[node].consumers.iter().all(|&(consumer, k)| {
            let n = &graph.nodes[consumer];
            let homes = &self.homes[consumer];
            if !homes.is_empty() && homes.iter().all(|&h| self.aligned(h, consumer, k) == Some(Level::Row)) {
                // once for each row
                return true;
            }
            // a view that repeats, or a reader that comes back, computes it again and again
            let reads = match &n.rule {
                Rule::Map(_) => graph.numel(consumer),
                _ => n.inputs[k].1.numel(),
            };
            let again = reads > REPEATS * graph.numel(node).max(1);
            let often = match &n.rule {
                Rule::Template(t) => t.prologue == Prologue::Free,
                _ => false,
            } || self.homes[consumer].iter().any(|&h| self.feeds_free_loads(h, consumer));
            if free {
                // following indices or choosing among values is no view: not once for every load of a product
                return !(often && graph.nodes[node].inputs.len() > 1);
            }
            let picks = |b: &Body| b.ops.iter().any(|o| matches!(o, Op::Load(i, _) if *i as usize == k));
            let wasted = || n.rule.body().is_some_and(picks) && self.is_wasted(node, reads);
            !(often || again && graph.numel(node) > 1 && cost > 1 || wasted())
        })
    }

    /// Whether computing `node` at so many places takes longer than writing and reading it, as where all of a part is
    /// computed for each element of what it is joined to.
    fn is_wasted(&self, node: usize, places: usize) -> bool {
        let graph = self.graph;
        let more = places.saturating_sub(graph.numel(node));
        // by measurement: a kernel of its own costs so much for each element, and so much altogether
        let (each, all) = if self.facts.is_cpu { (512, 1 << 21) } else { (4096, 1 << 28) };
        if more < graph.numel(node) {
            return false;
        }
        // all maps behind it, as far as they are soon seen
        let (mut stack, mut seen, mut cost) = (vec![node], HashSet::default(), 0);
        while let Some(at) = stack.pop() {
            if let Some(body) = graph.nodes[at].rule.body()
                && seen.len() < WASTED
                && seen.insert(at)
            {
                cost += body.cost() as usize;
                stack.extend(graph.nodes[at].inputs.iter().map(|i| i.0));
            }
        }
        cost * more > all.max(each * graph.numel(node))
    }

    /// Whether `node` is computed in the loads of a template that loads its elements many times.
    fn feeds_free_loads(&self, group: usize, node: usize) -> bool {
        let Some(g) = self.group(group) else { return false };
        let Some(anchor) = g.anchor else { return false };
        let free = self.graph.nodes[anchor].rule.template().is_some_and(|t| t.prologue == Prologue::Free);
        free && g.front.contains(&node)
    }

    fn place_template(&mut self, node: usize) {
        if self.graph.nodes[node].consumers.is_empty() && !self.graph.nodes[node].held {
            return;
        }
        let id = self.new_group(node, Some(node));
        self.join(id, node, 1);
        let id = if self.fuse { self.place_fold(id, node) } else { id };
        if self.fuse {
            self.follow(id, node);
        }
        self.drop_outputs(id);
    }

    /// Takes map kernels that walk `node` in order into `node`'s kernel.
    fn follow(&mut self, id: usize, node: usize) {
        let readers = self.readers(node);
        for &(reader, in_order) in &readers {
            if reader == id || !in_order {
                continue;
            }
            if self.group(reader).is_some_and(|g| g.row.is_some()) {
                // two kernels of rows have been looked at
                continue;
            }
            let Some(other) = self.group(reader) else { continue };
            let Some(own) = self.group(id) else { continue };
            if own.walks_rows(self.graph) {
                return;
            }
            let words = own.anchor.is_none_or(|a| {
                let t = self.graph.nodes[a].rule.template();
                t.is_some_and(Template::writes_words)
                    || other.outputs.iter().all(|&o| self.graph.nodes[o].value.spec.dtype.size() >= 4)
            });
            let small =
                own.words + other.words <= self.most_words() && own.members.len() + other.members.len() <= MEMBERS;
            let fits = other.anchor.is_none() && other.numel == own.numel && words && small;
            if fits && self.bindings(&[id, reader]) <= self.limit() && self.may_lead(node, reader, &readers) {
                self.merge(id, reader);
                if let Some(g) = &mut self.groups[id] {
                    // what rows could not take is written by the fold's own kernel
                    g.row = None;
                    g.levels.clear();
                }
            }
        }
    }

    /// Whether `node` can be computed in `group` without another of its readers coming between; `readers` are its readers,
    /// before some of them joined its kernel.
    fn may_lead(&self, node: usize, group: usize, readers: &[(usize, bool)]) -> bool {
        let own: Vec<usize> = self.homes[node].clone();
        let mut written = own.iter().filter_map(|&o| self.group(o)).flat_map(|g| &g.outputs).chain([&node]);
        if written.any(|&n| self.reads_behind(group, n)) {
            return false;
        }
        let others =
            readers.iter().map(|r| r.0).filter(|r| *r != group && !own.contains(r) && self.group(*r).is_some());
        let others: Vec<usize> = others.collect();
        if others.is_empty() && own.is_empty() {
            return true;
        }
        // outputs that `node`'s kernel has already may have readers as well: `group` only in order
        let mut stack = others;
        for output in own.iter().filter_map(|&o| self.group(o)).flat_map(|g| &g.outputs) {
            for (reader, in_order) in self.readers(*output) {
                if reader == group && !in_order {
                    return false;
                }
                if reader != group && !own.contains(&reader) {
                    stack.push(reader);
                }
            }
        }
        let mut seen: HashSet<usize> = HashSet::default();
        while let Some(at) = stack.pop() {
            if at == group {
                return false;
            }
            if !seen.insert(at) {
                continue;
            }
            if let Some(g) = self.group(at) {
                for &output in &g.outputs {
                    stack.extend(self.readers(output).iter().map(|r| r.0).filter(|r| *r != at));
                }
            }
        }
        true
    }

    fn new_group(&mut self, node: usize, anchor: Option<usize>) -> usize {
        self.groups.push(Some(Group {
            anchor,
            outputs: vec![node],
            numel: self.graph.numel(node),
            ..Group::default()
        }));
        self.groups.len() - 1
    }

    /// At how many places `group` would compute `node`: readers that walk it in order share theirs.
    fn places(&self, group: usize, node: usize) -> usize {
        let Some(g) = self.group(group) else { return 0 };
        let (mut shared, mut others) = (0, 0);
        for &(consumer, k) in &self.graph.nodes[node].consumers {
            let at = g.places.get(&consumer).copied().unwrap_or(0);
            let shares = g.row.is_some() && self.aligned(group, consumer, k).is_some();
            if shares || self.graph.in_order(consumer, k) {
                shared = at.max(shared);
            } else {
                others += at;
            }
        }
        shared + others
    }

    /// Computes `node` in `group`: it is no longer read from memory there, but its inputs are.
    fn join(&mut self, group: usize, node: usize, places: usize) {
        let inputs = self.graph.nodes[node].inputs.iter().map(|i| i.0);
        let words = self.graph.words(node) * places;
        if let Some(g) = &mut self.groups[group] {
            let loaded = |c: &(usize, usize)| Some(c.0) == g.anchor || g.front.contains(&c.0);
            if self.graph.nodes[node].consumers.iter().any(loaded) {
                g.front.insert(node);
            }
            g.words += words;
            g.places.insert(node, places);
            g.members.insert(node);
            g.leaves.remove(&node);
            g.leaves.extend(inputs.filter(|i| !g.members.contains(i)));
        }
        if !self.homes[node].contains(&group) {
            self.homes[node].push(group);
        }
    }

    fn merge(&mut self, into: usize, from: usize) {
        let Some(other) = self.groups[from].take() else { return };
        for &member in &other.members {
            let homes = &mut self.homes[member];
            homes.retain(|&h| h != from && h != into);
            homes.push(into);
        }
        if let Some(g) = &mut self.groups[into] {
            g.members.extend(other.members);
            g.outputs.extend(other.outputs);
            g.leaves.extend(other.leaves);
            g.strays.extend(other.strays);
            g.front.extend(other.front);
            g.words += other.words;
            for (node, places) in other.places {
                *g.places.entry(node).or_default() += places;
            }
            let members = &g.members;
            g.leaves.retain(|l| !members.contains(l));
        }
    }

    /// Bindings of some groups if they were one; constants take none.
    fn bindings(&self, groups: &[usize]) -> usize {
        if let [one] = groups {
            // its leaves are no members already
            let count = |g: &Group| self.weight(&g.outputs) + self.weight(&g.leaves);
            return self.group(*one).map_or(0, count);
        }
        let mut leaves: HashSet<usize> = HashSet::default();
        let mut members: HashSet<usize> = HashSet::default();
        let mut outputs = 0;
        for g in groups.iter().filter_map(|&g| self.group(g)) {
            leaves.extend(&g.leaves);
            members.extend(&g.members);
            outputs += self.weight(&g.outputs);
        }
        outputs + self.weight(leaves.iter().filter(|l| !members.contains(l)))
    }

    /// Bindings that some nodes take: one for each window of each; constants take none unless they are kept.
    fn weight<'a>(&self, nodes: impl IntoIterator<Item = &'a usize>) -> usize {
        let bound = |n: &&usize| !self.graph.nodes[**n].rule.is_constant() || self.is_kept(**n);
        nodes.into_iter().filter(bound).map(|&n| self.graph.nodes[n].windows).sum()
    }

    /// Whether a node is written to memory whoever reads it.
    fn is_kept(&self, node: usize) -> bool {
        let plan = &self.graph.nodes[node];
        let placed = plan.consumers.iter().any(|c| self.graph.nodes[c.0].rule.is_place());
        plan.root || placed || plan.held && !plan.rule.is_constant()
    }

    /// Words of parameters that bodies may use.
    fn most_words(&self) -> usize {
        (self.facts.max_uniform_bytes as usize / 4).saturating_sub(SPARE_WORDS)
    }

    /// Storage bindings of a kernel; one is kept for the fault buffer.
    fn limit(&self) -> usize {
        (self.facts.max_bindings as usize).saturating_sub(1).min(BINDINGS)
    }

    /// Whether `group` can compute `node` and read its inputs instead.
    fn has_room(&self, group: usize, node: usize) -> bool {
        let Some(g) = self.group(group) else { return false };
        let inputs: HashSet<usize> = self.graph.nodes[node].inputs.iter().map(|i| i.0).collect();
        let more = self.weight(inputs.iter().filter(|i| !g.leaves.contains(i) && !g.members.contains(i)));
        let less = if g.leaves.contains(&node) { self.weight(&[node]) } else { 0 };
        let body = self.graph.nodes[node].rule.body();
        let places = self.places(group, node);
        let few = match body {
            Some(b) if b.is_free() && b.is_source() => true,
            Some(b) if b.is_free() => places <= FREE_PLACES,
            _ => places <= PLACES,
        };
        let words = (g.words + places * self.graph.words(node)) * g.walks(self.graph) <= self.most_words();
        few && words
            && g.members.len() < MEMBERS
            && (more <= less || self.bindings(&[group]) + more - less <= self.limit())
    }
}

/// Bytes of a buffer that holds a value: whole groups of four elements.
pub fn padded_bytes(spec: &Spec) -> u64 {
    (spec.numel() as u64).next_multiple_of(4) * spec.dtype.size() as u64
}

//! In which order kernels run: each after those it reads, and as early as it gives memory back.

use super::{Graph, Group, Rule, Scheduler, padded_bytes};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

impl Graph {
    /// The node in whose buffer `node` lies.
    pub fn owner(&self, mut node: usize) -> usize {
        while let (Rule::Part(_), Some((from, _))) = (&self.nodes[node].rule, self.nodes[node].inputs.first()) {
            node = *from;
        }
        node
    }

    /// Bytes that are free once nobody in the plan reads a node any more.
    fn temporary(&self, node: usize) -> u64 {
        let plan = &self.nodes[node];
        if plan.held || plan.root || matches!(plan.rule, Rule::Stored) { 0 } else { padded_bytes(&plan.value.spec) }
    }
}

impl Scheduler<'_> {
    /// Groups with outputs, each after those whose outputs it reads.
    pub(super) fn ordered(mut self) -> Vec<Group> {
        let order = self.eager(&self.by_need());
        order.into_iter().filter_map(|id| self.groups[id].take()).collect()
    }

    /// The group that writes each output.
    pub(super) fn writers(&self) -> HashMap<usize, usize> {
        let outputs = |(id, group): (usize, &Option<Group>)| {
            group.iter().flat_map(|g| &g.outputs).map(|&o| (o, id)).collect::<Vec<_>>()
        };
        self.groups.iter().enumerate().flat_map(outputs).collect()
    }

    /// Groups from results down, each behind what it waits for.
    fn by_need(&self) -> Vec<usize> {
        let writer = self.writers();
        let mut order = Vec::new();
        let mut state = vec![0u8; self.groups.len()];
        for start in (0..self.groups.len()).rev() {
            let mut stack = vec![start];
            while let Some(&id) = stack.last() {
                if state[id] == 2 {
                    stack.pop();
                    continue;
                }
                let leaves = self.groups[id].iter().flat_map(|g| &g.leaves);
                let writers = leaves.flat_map(|&l| self.graph.written(l)).filter_map(|n| writer.get(&n).copied());
                let mut first: Vec<usize> = writers.filter(|&w| w != id && state[w] == 0).collect();
                if state[id] == 1 || first.is_empty() {
                    state[id] = 2;
                    stack.pop();
                    order.push(id);
                } else {
                    state[id] = 1;
                    // a fixed order: sets have none
                    first.sort_unstable();
                    stack.extend(first);
                }
            }
        }
        order.retain(|&id| self.groups[id].is_some());
        order
    }

    /// The same order, but a group that frees no less than it takes runs as soon as it can: gradients of weights then
    /// run in between, and those of activations need not wait for them to the end.
    fn eager(&self, order: &[usize]) -> Vec<usize> {
        let mut e = Eager::new(self, order);
        for &id in order {
            e.run(id);
            while let Some(next) = e.candidates.pop() {
                if e.gain(next).is_some_and(|gain| gain >= 0) {
                    e.run(next);
                }
            }
        }
        e.done
    }
}

/// What waits for what, while groups run one after the other.
struct Eager<'a, 'g> {
    scheduler: &'a Scheduler<'g>,
    /// Place of each group in the order that would be without this.
    rank: HashMap<usize, usize>,
    /// Buffers that a group reads.
    reads: HashMap<usize, Vec<usize>>,
    /// Who still reads a buffer: groups, and packs by [`Eager::pack`].
    readers: HashMap<usize, HashSet<usize>>,
    /// What a group or a pack still waits for.
    waits: HashMap<usize, HashSet<usize>>,
    /// Who waits for a group.
    followers: HashMap<usize, Vec<usize>>,
    ran: HashSet<usize>,
    done: Vec<usize>,
    /// Groups to look at, the last one first.
    candidates: Vec<usize>,
}

impl<'a, 'g> Eager<'a, 'g> {
    /// A pack's number among groups.
    fn pack(node: usize) -> usize {
        usize::MAX - node
    }

    fn new(scheduler: &'a Scheduler<'g>, order: &[usize]) -> Self {
        let graph = scheduler.graph;
        let writer = scheduler.writers();
        let mut e = Self {
            scheduler,
            rank: order.iter().enumerate().map(|(rank, &id)| (id, rank)).collect(),
            reads: HashMap::default(),
            readers: HashMap::default(),
            waits: HashMap::default(),
            followers: HashMap::default(),
            ran: HashSet::default(),
            done: Vec::with_capacity(order.len()),
            candidates: Vec::new(),
        };
        let packs = (0..graph.nodes.len()).filter(|&n| matches!(graph.nodes[n].rule, Rule::Pack(_)));
        let inputs = |n: usize| graph.nodes[n].inputs.iter().map(|i| i.0).collect::<Vec<_>>();
        let all = order.iter().filter_map(|&id| Some((id, scheduler.group(id)?.leaves.iter().copied().collect())));
        for (id, leaves) in all.chain(packs.map(|n| (Self::pack(n), inputs(n)))) {
            let mut reads: Vec<usize> = leaves.iter().map(|&l| graph.owner(l)).collect();
            reads.sort_unstable();
            reads.dedup();
            for &r in &reads {
                e.readers.entry(r).or_default().insert(id);
            }
            let behind = leaves.iter().flat_map(|&l| graph.written(l)).filter_map(|n| writer.get(&n).copied());
            let waits: HashSet<usize> = behind.filter(|&w| w != id).collect();
            for &w in &waits {
                e.followers.entry(w).or_default().push(id);
            }
            e.reads.insert(id, reads);
            e.waits.insert(id, waits);
        }
        e
    }

    /// Bytes that are free after a group less those that are taken; nothing for one that cannot run, or did.
    fn gain(&self, id: usize) -> Option<i64> {
        let graph = self.scheduler.graph;
        if self.ran.contains(&id) || !self.waits.get(&id)?.is_empty() {
            return None;
        }
        let last = |r: &&usize| self.readers.get(r).is_some_and(|all| all.len() == 1);
        let freed: u64 = self.reads.get(&id)?.iter().filter(last).map(|&r| graph.temporary(r)).sum();
        let outputs = &self.scheduler.group(id)?.outputs;
        let taken: u64 = outputs.iter().map(|&o| padded_bytes(&graph.nodes[o].value.spec)).sum();
        // nothing freed is no reason to run early
        (freed > 0).then_some(freed as i64 - taken as i64)
    }

    fn run(&mut self, id: usize) {
        if !self.ran.insert(id) {
            return;
        }
        self.done.push(id);
        let mut changed = self.let_go(id);
        for &follower in self.followers.get(&id).into_iter().flatten() {
            let Some(waits) = self.waits.get_mut(&follower) else { continue };
            waits.remove(&id);
            if waits.is_empty() {
                changed.push(follower);
            }
        }
        // packs are made at once
        let is_pack = |c: &usize| !self.rank.contains_key(c);
        for pack in changed.iter().copied().filter(is_pack).collect::<Vec<_>>() {
            if self.waits.get(&pack).is_some_and(HashSet::is_empty) {
                changed.extend(self.let_go(pack));
            }
        }
        changed.retain(|c| self.rank.contains_key(c));
        changed.sort_unstable_by_key(|c| std::cmp::Reverse(self.rank[c]));
        changed.dedup();
        self.candidates.extend(changed);
    }

    /// Notes that a group or pack has read what it reads; the last ones that still read any of that.
    fn let_go(&mut self, id: usize) -> Vec<usize> {
        let mut last = Vec::new();
        for read in self.reads.get(&id).into_iter().flatten() {
            if let Some(readers) = self.readers.get_mut(read) {
                readers.remove(&id);
                last.extend(readers.iter().filter(|_| readers.len() == 1).copied());
            }
        }
        last
    }
}

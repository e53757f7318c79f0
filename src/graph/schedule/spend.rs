//! Results that take the memory of a value which nobody will read again, as an update takes that of the parameter before it.
//!
//! What is written over cannot be computed from again, so kernels that do this run last, and none of them without the
//! others: see [`Command::Together`](crate::gpu::Command::Together).

use super::{Graph, Group, Rule};
use crate::graph::laid::Laid;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

impl Graph {
    /// Whether `output`, element for element, can lie where `leaf` lies.
    fn takes_place(&self, output: usize, leaf: usize) -> bool {
        let (to, from) = (&self.nodes[output], &self.nodes[leaf]);
        to.value.spec.dtype == from.value.spec.dtype
            && to.value.spec.numel() == from.value.spec.numel()
            && from.spend.is_some_and(|s| s.whole)
            && to.windows == 1
            && from.windows == 1
    }

    /// Whether a group reads a value only where it writes. Nobody must see a part of it, now or later.
    fn reads_in_place(&self, group: &Group, leaf: usize) -> bool {
        if self.nodes[leaf].consumers.iter().any(|c| matches!(self.nodes[c.0].rule, Rule::Part(_))) {
            return false;
        }
        let inside = self.nodes[leaf].consumers.iter().filter(|c| group.members.contains(&c.0));
        inside.clone().count() > 0 && inside.clone().all(|&(c, k)| self.in_order(c, k) && !group.strays.contains(&c))
    }
}

/// Moves the groups that can write all their results over what they read to the end, and notes what lies where; the
/// number of groups before them.
pub fn spend(graph: &Graph, groups: &mut Vec<Group>, laid: &Laid) -> usize {
    let memory = |leaf: usize| graph.nodes[leaf].spend.map(|s| s.allocation);
    if graph.nodes.iter().all(|n| n.spend.is_none()) {
        return groups.len();
    }
    let read: HashSet<usize> = groups.iter().flat_map(Group::leaves).map(|l| graph.owner(l)).collect();
    let packed = |n: usize| {
        let mut places = vec![n];
        while let Some(at) = places.pop() {
            for c in &graph.nodes[at].consumers {
                match graph.nodes[c.0].rule {
                    Rule::Pack(_) => return true,
                    Rule::Part(_) => places.push(c.0),
                    _ => {}
                }
            }
        }
        false
    };
    let last = |group: &Group| {
        let free = |o: &usize| !read.contains(o) && !packed(*o) && !laid.contains_key(o);
        group.anchor.is_none() && group.row.is_none() && group.outputs.iter().all(free)
    };
    let mut spending: HashMap<usize, HashMap<usize, usize>> = HashMap::default();
    let mut spent: HashSet<u32> = HashSet::default();
    for (at, group) in groups.iter().enumerate().filter(|(_, g)| last(g)) {
        let mut leaves: Vec<usize> = group.leaves().filter(|&l| memory(l).is_some()).collect();
        leaves.sort_unstable();
        // the only one of the group that lies in this memory
        let single = |l: usize| leaves.iter().filter(|&&o| memory(o) == memory(l)).count() == 1;
        let mut own: HashMap<usize, usize> = HashMap::default();
        for &output in &group.outputs {
            let fits = |l: &&usize| {
                !own.contains_key(*l)
                    && memory(**l).is_some_and(|m| !spent.contains(&m))
                    && single(**l)
                    && graph.takes_place(output, **l)
                    && graph.reads_in_place(group, **l)
            };
            if let Some(&leaf) = leaves.iter().find(fits) {
                own.insert(leaf, output);
            }
        }
        if own.len() == group.outputs.len() {
            spent.extend(own.keys().filter_map(|&l| memory(l)));
            spending.insert(at, own);
        }
    }
    // whoever runs last reads nothing that another one writes over
    let mut order: Vec<usize> = spending.keys().copied().collect();
    order.sort_unstable();
    for at in order {
        let own = &spending[&at];
        let clash = |l: usize| memory(l).is_some_and(|m| spent.contains(&m)) && !own.contains_key(&l);
        if groups[at].leaves().any(clash)
            && let Some(own) = spending.remove(&at)
        {
            for given_back in own.keys().filter_map(|&l| memory(l)) {
                spent.remove(&given_back);
            }
        }
    }
    let (mut before, mut after) = (Vec::with_capacity(groups.len()), Vec::new());
    for (at, mut group) in std::mem::take(groups).into_iter().enumerate() {
        match spending.remove(&at) {
            Some(own) => {
                group.spent = own;
                after.push(group);
            }
            None => before.push(group),
        }
    }
    let first = before.len();
    before.append(&mut after);
    *groups = before;
    first
}

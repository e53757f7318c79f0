//! Values that go into a pack are written there at once: they are parts of its buffer from the start.

use super::node::Spec;
use super::parts::part_offsets;
use super::schedule::{Graph, Group, Rule};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// Where a value lies: in a pack, from so many bytes on.
pub type Laid = HashMap<usize, (usize, u64)>;

/// The values that lie in packs, for kernels that run in this order.
pub fn laid(graph: &Graph, groups: &[Group]) -> Laid {
    let mut all = Laid::default();
    for (pack, node) in graph.nodes.iter().enumerate() {
        let Rule::Pack(align) = node.rule else { continue };
        let specs = node.inputs.iter().map(|i| &graph.nodes[i.0].value.spec);
        let (offsets, _) = part_offsets(specs, align);
        all.extend(node.inputs.iter().zip(offsets).map(|(input, offset)| (input.0, (pack, offset))));
    }
    let is_free = |n: usize| {
        let node = &graph.nodes[n];
        let packs = node.consumers.iter().filter(|c| graph.nodes[c.0].rule.is_place()).count();
        packs == 1 && !node.rule.is_place() && !matches!(node.rule, Rule::Stored)
    };
    all.retain(|&n, _| is_free(n));
    for group in groups {
        // no kernel reads a buffer that it writes
        let read: Vec<usize> = group.leaves().filter_map(|l| Some(all.get(&graph.owner(l))?.0)).collect();
        let packs: Vec<usize> = group.leaves().map(|l| graph.owner(l)).chain(read).collect();
        for output in &group.outputs {
            if all.get(output).is_some_and(|(pack, _)| packs.contains(pack)) {
                all.remove(output);
            }
        }
    }
    let written: HashSet<usize> = groups.iter().flat_map(|g| &g.outputs).copied().collect();
    all.retain(|n, _| written.contains(n));
    all
}

/// Whether there is anything between the values of a pack, or behind the elements of one.
pub fn has_gaps(graph: &Graph, pack: usize, align: u64) -> bool {
    let specs = || graph.nodes[pack].inputs.iter().map(|i| &graph.nodes[i.0].value.spec);
    specs().map(Spec::bytes).sum::<u64>() < part_offsets(specs(), align).1
}

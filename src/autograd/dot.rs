//! The backward graph as a picture, in Graphviz's language.

use crate::graph::quoted;
use crate::tensor::Tensor;
use crate::tensor::grad::Edge;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// What a backward pass from `output` would walk, as `torchviz.make_dot` draws it: operations as boxes, leaves that
/// accumulate gradients in blue, with their names where `params` has them. `dot -Tsvg` makes a picture of the text.
///
/// ```
/// use calor::{Tensor, autograd::make_dot};
/// let w = Tensor::ones([2, 2], ())?.requires_grad_(true)?;
/// let y = w.matmul(&w)?.relu()?.sum()?;
/// let text = make_dot(&y, [("weight", &w)]);
/// assert!(text.starts_with("digraph") && text.contains("relu") && text.contains("weight\\nf32[2, 2]"));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn make_dot<N: Into<String>, T: Borrow<Tensor>>(
    output: &Tensor,
    params: impl IntoIterator<Item = (N, T)>,
) -> String {
    let names: HashMap<u64, String> = params.into_iter().map(|(name, t)| (t.borrow().id(), name.into())).collect();
    let shown = |t: &Tensor| format!("{}{:?}", t.dtype(), &t.shape()[..]);
    let mut out = String::from(
        "digraph backward {\n  node [shape=box, style=filled, fillcolor=\"#e6e6ea\", color=gray50, \
         fontname=\"sans-serif\", fontsize=11]\n  edge [color=gray40]\n",
    );
    // writing to a String cannot fail
    let _ = writeln!(out, "  output [label={}, fillcolor=\"#cfe3c4\"]", quoted(&format!("output\n{}", shown(output))));
    let (mut seen, mut leaves) = (HashSet::new(), HashSet::new());
    let mut left: Vec<(Edge, String)> = output.edge().map(|e| (e, "output".into())).into_iter().collect();
    while let Some((edge, to)) = left.pop() {
        match edge {
            Edge::Fn(function, number) => {
                let own = format!("f{}", function.sequence);
                let label = if function.outputs() > 1 { format!(" [label={number}]") } else { String::new() };
                let _ = writeln!(out, "  {own} -> {to}{label}");
                if seen.insert(function.sequence) {
                    let _ = writeln!(out, "  {own} [label={}]", quoted(function.name()));
                    left.extend(function.edges().iter().rev().flatten().map(|e| (e.clone(), own.clone())));
                }
            }
            Edge::Leaf(t) => {
                let _ = writeln!(out, "  t{} -> {to}", t.id());
                if leaves.insert(t.id()) {
                    let name = names.get(&t.id()).map(|n| format!("{n}\n")).unwrap_or_default();
                    let text = quoted(&format!("{name}{}", shown(&t)));
                    let _ = writeln!(out, "  t{} [label={text}, fillcolor=\"#c9dcf2\"]", t.id());
                }
            }
        }
    }
    out.push_str("}\n");
    out
}

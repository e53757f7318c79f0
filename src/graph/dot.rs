//! What would be computed, as a picture: nodes in boxes that stand for kernels, in Graphviz's language.

use super::node::Spec;
use super::plan::{Options, label};
use super::schedule::{Graph, Rule, schedule};
use super::walk::Walk;
use crate::error::Result;
use crate::gpu::Facts;
use rustc_hash::FxHashMap as HashMap;
use std::fmt::Write as _;

const HEAD: &str = r##"digraph plan {
  node [shape=box, style="rounded,filled", fillcolor=white, color=gray50, fontname="sans-serif", fontsize=11]
  edge [color=gray40, fontname="sans-serif", fontsize=9]
"##;

/// A text between quotes.
///
/// ```
/// assert_eq!(calor::graph::quoted("a \"b\"\nc"), r#""a \"b\"\nc""#);
/// ```
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn spec(spec: &Spec) -> String {
    format!("{}{:?}", spec.dtype, &spec.shape[..])
}

/// The picture of the plan for a walk.
///
/// ```
/// # use calor::{DType, gpu::Facts, graph::{Body, Input, Map, Node, Spec, Stored, dot, plan::Options, walk::Walk}};
/// # let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// # let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
/// # let inputs = [Input::whole(&x, &[4])].into_iter().collect();
/// # let y = Node::pending(std::sync::Arc::new(map), x.spec.clone(), inputs, Default::default());
/// let text = dot(&Walk::new(&[y]), &Facts::portable(), Options { fuse: true })?;
/// assert!(text.starts_with("digraph plan") && text.contains("map: exp"));
/// # Ok::<(), calor::Error>(())
/// ```
pub fn dot(walk: &Walk, facts: &Facts, options: Options) -> Result<String> {
    let graph = Graph::new(walk, facts)?;
    let groups = schedule(&graph, facts, options.fuse);
    let writer: HashMap<usize, usize> =
        groups.iter().enumerate().flat_map(|(k, g)| g.outputs.iter().map(move |&n| (n, k))).collect();
    let constant = |n: usize| graph.nodes[n].inputs.is_empty() && graph.nodes[n].rule.body().is_some();
    let drawn = |n: usize| writer.contains_key(&n) || graph.nodes[n].value.spec.numel() == 0;
    let (mut boxes, mut outside, mut edges) = (String::new(), String::new(), String::new());
    // writing to a String cannot fail
    let mut edge = |from: usize, to: &str, kernel: Option<usize>, view: bool| {
        let dashed = if view { ", style=dashed" } else { "" };
        let own = kernel.filter(|k| groups[*k].members.contains(&from));
        let _ = match (own, writer.get(&from)) {
            (Some(k), _) => writeln!(edges, "  k{k}_n{from} -> {to} [arrowsize=0.6{dashed}]"),
            (None, Some(k)) => {
                let text = quoted(&spec(&graph.nodes[from].value.spec));
                writeln!(edges, "  k{k}_n{from} -> {to} [label={text}, penwidth=1.6{dashed}]")
            }
            (None, None) => writeln!(edges, "  n{from} -> {to} [penwidth=1.6{dashed}]"),
        };
    };
    for (k, group) in groups.iter().enumerate() {
        let title = quoted(&format!("{k}  {}", label(&graph, group)));
        let _ = writeln!(boxes, "  subgraph cluster_{k} {{\n    label={title}; fontname=\"sans-serif\"; fontsize=12");
        let _ = writeln!(boxes, "    style=\"rounded,filled\"; fillcolor=\"#e8eff8\"; color=\"#2e68b2\"");
        let mut members: Vec<usize> = group.members.iter().copied().collect();
        members.sort_unstable();
        for n in members {
            let node = &graph.nodes[n];
            let only = group.members.len() == 1;
            if constant(n) && !only && !group.outputs.contains(&n) {
                continue;
            }
            let text = quoted(&format!("{}\n{}", node.value.prim.name(), spec(&node.value.spec)));
            let bold = if group.outputs.contains(&n) { ", penwidth=2, color=\"#2e68b2\"" } else { "" };
            let fill = if node.root { ", fillcolor=\"#f6d9c8\"" } else { "" };
            let _ = writeln!(boxes, "    k{k}_n{n} [label={text}{bold}{fill}]");
            for (from, layout) in &node.inputs {
                let hidden = constant(*from) && group.members.contains(from) && !group.outputs.contains(from);
                if !hidden {
                    let whole = layout.is_identity(graph.nodes[*from].value.spec.numel());
                    edge(*from, &format!("k{k}_n{n}"), Some(k), !whole);
                }
            }
        }
        boxes.push_str("  }\n");
    }
    for (n, node) in graph.nodes.iter().enumerate() {
        let shown = spec(&node.value.spec);
        let empty = node.value.spec.numel() == 0;
        let (text, look) = match &node.rule {
            Rule::Stored => (shown, "shape=cylinder, style=filled, fillcolor=\"#e9efe2\""),
            Rule::Pack(_) => (format!("side by side\n{shown}"), "style=\"rounded,dashed\""),
            Rule::Part(_) => (format!("part\n{shown}"), "style=\"rounded,dashed\""),
            _ if empty => (format!("{}\n{shown}", node.value.prim.name()), "style=\"rounded,dotted\""),
            _ => continue,
        };
        let _ = writeln!(outside, "  n{n} [label={}, {look}]", quoted(&text));
        for (from, layout) in node.inputs.iter().filter(|i| !constant(i.0) || drawn(i.0)) {
            edge(*from, &format!("n{n}"), None, !layout.is_identity(graph.nodes[*from].value.spec.numel()));
        }
    }
    Ok(format!("{HEAD}{outside}{boxes}{edges}}}\n"))
}

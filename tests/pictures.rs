//! Pictures of plans and of the backward graph: what they name is there, and every kernel of the plan is a box.
//! `CALOR_KEEP=/tmp/kept cargo test --test pictures`, then `dot -Tsvg /tmp/kept/step.dot`, shows them.

use calor::autograd::{Backward, make_dot};
use calor::nn::{Layer, LayerNorm, Linear, Module, functional};
use calor::{Approximate, Result, Tensor, no_grad};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: many waiting operations are submitted whoever made them, and plans change by it.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Module)]
struct Net {
    first: Linear,
    norm: LayerNorm,
    second: Linear,
}

impl Net {
    fn new() -> Result<Self> {
        Ok(Self { first: Linear::new(8, 16, ())?, norm: LayerNorm::new([16], ())?, second: Linear::new(16, 4, ())? })
    }
}

impl Layer for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward(&self.first.forward(x)?)?.gelu(Approximate::None)?;
        self.second.forward(&x)
    }
}

/// The text, whose arrows all join nodes that are declared once.
fn checked(name: &str, text: String) -> String {
    if let Some(folder) = std::env::var_os("CALOR_KEEP") {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.dot")), &text).expect("a file");
    }
    let mut nodes = HashSet::new();
    let word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_string();
    for line in text.lines().filter(|l| l.contains(" [label=") && !l.contains("->")) {
        assert!(nodes.insert(word(line)), "{line} twice in\n{text}");
    }
    for line in text.lines().filter(|l| l.contains("->")) {
        let (from, to) = line.split_once("->").expect("two");
        assert!(nodes.contains(from.trim()) && nodes.contains(&word(to)), "{line} in\n{text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    text
}

/// Titles of the kernels of a plan as text.
fn kernels(explained: &str) -> Vec<String> {
    let titles = explained.lines().filter(|l| l.contains(" workgroups]"));
    let titles = titles.map(|l| l.split("  [").next().unwrap_or_default()).map(|l| l.trim_start().to_string());
    titles.filter(|l| !l.ends_with("  copy")).map(|l| l.split_once("  ").expect("a number").1.to_string()).collect()
}

#[test]
fn a_plan_has_a_box_for_each_kernel() -> Result<()> {
    let _turn = alone();
    let net = Net::new()?;
    let x = Tensor::randn([32, 8], ())?;
    x.eval()?;
    let (logits, y) = (net.forward(&x)?, Tensor::zeros([32], calor::DType::I32)?);
    let loss = functional::cross_entropy(&logits, &y, ())?;
    let weights = net.parameters().iter().map(|p| p.tensor()).collect::<Vec<_>>();
    let grads = Backward::new().grad(&[&loss], &weights.iter().collect::<Vec<_>>(), &[None])?;
    // one value that needs all gradients
    let flat = grads.iter().flatten().map(|g| g.reshape([g.numel()])).collect::<Result<Vec<_>>>()?;
    let all = no_grad(|| calor::cat(&flat.iter().collect::<Vec<_>>(), 0))?;
    for (name, value) in [("loss", &loss), ("step", &all), ("view", &logits.t()?)] {
        let (text, picture) = (value.explain()?, checked(name, value.explain_dot()?));
        let titles = kernels(&text);
        assert!(!titles.is_empty(), "{text}");
        assert_eq!(picture.matches("subgraph cluster_").count(), titles.len(), "{text}\n{picture}");
        for title in titles {
            assert!(picture.contains(&format!("  {title}\"")), "{title} in\n{picture}");
        }
    }
    let before = all.to_vec::<f32>()?;
    // what was computed is one value in memory
    let picture = checked("done", all.explain_dot()?);
    assert_eq!((picture.matches("[label=").count(), picture.matches("cylinder").count()), (1, 1), "{picture}");
    assert_eq!(before, all.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn unfused_kernels_and_nothing_are_drawn_too() -> Result<()> {
    let _turn = alone();
    let nothing = (Tensor::zeros([0, 3], ())? + 1.0)?;
    checked("nothing", nothing.explain_dot()?);
    let number = Tensor::full([2], 3.0, ())?;
    assert!(checked("constant", number.explain_dot()?).contains("full"));
    Ok(())
}

#[test]
fn the_backward_graph_names_parameters() -> Result<()> {
    let _turn = alone();
    let net = Net::new()?;
    let loss = net.forward(&Tensor::ones([2, 8], ())?)?.square()?.mean()?;
    let named: Vec<(String, Tensor)> = net.named_parameters().into_iter().map(|(n, p)| (n, p.tensor())).collect();
    let picture = checked("backward", make_dot(&loss, named));
    for (name, parameter) in net.named_parameters() {
        let text = format!("{name}\\nf32{:?}", &parameter.tensor().shape()[..]);
        assert!(picture.contains(&text), "{text} in\n{picture}");
    }
    assert!(picture.contains("layer_norm") || picture.contains("gelu"), "{picture}");
    // what is used twice is one node with two arrows; a chain of any length is walked without recursion
    let w = Tensor::ones([1], ())?.requires_grad_(true)?;
    let long = (0..20_000).try_fold(w.clone(), |x, _| &x + &w)?;
    let picture = make_dot(&long, [("a \"quoted\" name", &w)]);
    assert!(picture.contains(r#"label="a \"quoted\" name\nf32[1]""#), "the leaf");
    assert!(picture.matches("->").count() > 40_000 - 2);
    // what needs no gradient has no graph
    assert!(!make_dot(&w.detach(), [("w", &w)]).contains("->"));
    Ok(())
}

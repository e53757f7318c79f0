//! `#[derive(Module)]`: names, order, nesting, modes.

use calor::nn::{Buffer, Field, Layer, Linear, LinearOptions, Module, Parameter, ReLU, Sequential, Training, Visitor};
use calor::{DType, Result, Tensor};
use std::marker::PhantomData;

fn parameter(n: usize) -> Result<Parameter> {
    Parameter::new(&Tensor::ones([n], ())?)
}

fn names(module: &dyn Module) -> Vec<String> {
    module.state_dict().names().map(str::to_string).collect()
}

#[derive(Module)]
struct Block {
    part: Linear,
    scale: Parameter,
    count: Buffer,
    scratch: Buffer,
    width: usize,
    training: Training,
}

impl Block {
    fn new(n: usize) -> Result<Self> {
        Ok(Self {
            part: Linear::new(n, n, LinearOptions::default().bias(false))?,
            scale: parameter(n)?,
            count: Buffer::new(&Tensor::zeros([], DType::I32)?),
            scratch: Buffer::not_persistent(&Tensor::zeros([2], ())?),
            width: n,
            training: Training::default(),
        })
    }
}

impl Layer for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.part.forward(x)? * &self.scale
    }
}

#[test]
fn own_entries_stand_before_those_of_parts() -> Result<()> {
    let block = Block::new(3)?;
    assert_eq!(names(&block), ["scale", "count", "part.weight"]);
    let buffers: Vec<String> = block.named_buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(buffers, ["count", "scratch"]);
    assert_eq!((block.num_parameters(), block.width), (12, 3));
    Ok(())
}

struct Handle;

#[derive(Module)]
struct Net {
    stem: Option<Linear>,
    none: Option<Linear>,
    blocks: Vec<Block>,
    pair: (Linear, Parameter),
    array: [Parameter; 2],
    head: Box<dyn Layer>,
    #[module(rename = "type")]
    kind: Parameter,
    r#gen: Parameter,
    #[module(skip)]
    handle: Handle,
    label: String,
}

fn net() -> Result<Net> {
    Ok(Net {
        stem: Some(Linear::new(4, 3, LinearOptions::default().bias(false))?),
        none: None,
        blocks: vec![Block::new(3)?, Block::new(3)?],
        pair: (Linear::new(2, 2, LinearOptions::default().bias(false))?, parameter(1)?),
        array: [parameter(1)?, parameter(2)?],
        head: Box::new(Sequential::new().add(Linear::new(3, 2, ())?).add(ReLU).add(Block::new(2)?)),
        kind: parameter(1)?,
        r#gen: parameter(1)?,
        handle: Handle,
        label: "net".into(),
    })
}

#[test]
fn containers_number_what_they_hold() -> Result<()> {
    let net = net()?;
    let _ = (&net.handle, &net.label);
    let want = [
        "type",
        "gen",
        "stem.weight",
        "blocks.0.scale",
        "blocks.0.count",
        "blocks.0.part.weight",
        "blocks.1.scale",
        "blocks.1.count",
        "blocks.1.part.weight",
        "pair.1",
        "pair.0.weight",
        "array.0",
        "array.1",
        "head.0.weight",
        "head.0.bias",
        "head.2.scale",
        "head.2.count",
        "head.2.part.weight",
    ];
    assert_eq!(names(&net), want);
    Ok(())
}

#[test]
fn state_dicts_go_from_one_to_another() -> Result<()> {
    let (a, b) = (net()?, net()?);
    b.load_state_dict(&a.state_dict(), true)?;
    for ((name, x), (_, y)) in a.named_parameters().iter().zip(b.named_parameters()) {
        assert_eq!(x.tensor().to_vec::<f32>()?, y.tensor().to_vec::<f32>()?, "{name}");
    }
    let x = Tensor::ones([2, 3], ())?;
    assert_eq!(a.head.forward(&x)?.to_vec::<f32>()?, b.head.forward(&x)?.to_vec::<f32>()?);

    let mut state = a.state_dict().part("blocks.0.");
    state.insert("extra", Tensor::ones([1], ())?);
    let block = Block::new(3)?;
    let refused = block.load_state_dict(&state, true).unwrap_err().to_string();
    assert!(refused.contains("Unexpected key(s) in state_dict: \"extra\""), "{refused}");
    assert_eq!(block.load_state_dict(&state, false)?.unexpected, ["extra"]);
    let other = Block::new(4)?.load_state_dict(&a.state_dict().part("blocks.0."), false).unwrap_err().to_string();
    assert!(other.contains("size mismatch for scale") && other.contains("[3]") && other.contains("[4]"), "{other}");
    Ok(())
}

#[derive(Module)]
struct Pair<A, B: Clone, M>(A, #[module(skip)] B, Vec<A>, PhantomData<M>);

#[derive(Module)]
struct Unit;

#[derive(Module)]
struct Tree<T: Layer> {
    value: T,
    next: Option<Box<Tree<T>>>,
}

#[derive(Module)]
struct Borrowing<'a, const N: usize> {
    parts: [Linear; N],
    #[module(skip)]
    name: &'a str,
}

#[test]
fn tuples_generics_and_recursion() -> Result<()> {
    let pair: Pair<Parameter, Handle2, Handle> =
        Pair(parameter(1)?, Handle2, vec![parameter(1)?, parameter(1)?], PhantomData);
    let _ = pair.1.clone();
    assert_eq!(names(&pair), ["0", "2.0", "2.1"]);
    assert!(names(&Unit).is_empty());
    let bare = |n| Linear::new(n, n, LinearOptions::default().bias(false));
    let leaf = Tree { value: bare(1)?, next: None };
    let tree = Tree { value: bare(2)?, next: Some(Box::new(leaf)) };
    assert_eq!(names(&tree), ["value.weight", "next.value.weight"]);
    let borrowing = Borrowing { parts: [bare(1)?, bare(1)?], name: "x" };
    assert_eq!((names(&borrowing).len(), borrowing.name), (2, "x"));
    Ok(())
}

#[derive(Clone)]
struct Handle2;

/// An enum takes part by hand.
enum Choice {
    Linear(Linear),
    Nothing,
}

impl Field for Choice {
    fn visit_field(&self, name: &str, visitor: &mut dyn Visitor) {
        if let Choice::Linear(linear) = self {
            linear.visit_field(name, visitor);
        }
    }
}

#[derive(Module)]
struct Chooses {
    first: Choice,
    second: Choice,
}

#[test]
fn an_enum_can_be_a_field() -> Result<()> {
    let chooses = Chooses { first: Choice::Nothing, second: Choice::Linear(Linear::new(1, 1, ())?) };
    assert_eq!(names(&chooses), ["second.weight", "second.bias"]);
    Ok(())
}

#[derive(Module)]
struct Shared {
    a: Parameter,
    b: Parameter,
    block: Block,
    inner: Vec<Block>,
}

#[test]
fn modes_reach_everything_and_shared_weights_count_once() -> Result<()> {
    let a = parameter(2)?;
    let shared = Shared { a: a.clone(), b: a, block: Block::new(1)?, inner: vec![Block::new(2)?] };
    assert_eq!(shared.parameters().len(), 5);
    assert_eq!(names(&shared)[..2], ["a", "b"]);
    let modes = || [shared.block.training.get(), shared.inner[0].training.get()];
    assert_eq!(modes(), [true, true]);
    shared.eval();
    assert_eq!(modes(), [false, false]);
    shared.train();
    assert_eq!(modes(), [true, true]);
    shared.requires_grad_(false)?;
    assert!(shared.parameters().iter().all(|p| !p.requires_grad()));
    shared.to_dtype(DType::F16)?;
    assert_eq!(shared.b.tensor().dtype(), DType::F16);
    assert_eq!(shared.inner[0].count.tensor().dtype(), DType::I32);
    Ok(())
}

//! Modules as a whole: trees, names of parts, hooks.

use calor::gpu::AdapterChoice;
use calor::nn::{
    BatchNorm2d, Conv2d, Dropout, Flatten, GRU, Hooked, Layer, Linear, LinearOptions, MaxPool2d, Module, ModuleDict,
    ModuleList, Parameter, ParameterDict, ReLU, Sequential, TransformerDecoder, TransformerDecoderLayer,
    TransformerEncoder, TransformerEncoderLayer, TransformerLayerOptions, init,
};
use calor::{DType, Device, Error, ErrorKind, Result, Tensor};
use std::sync::{Arc, Mutex};

#[derive(Module)]
struct Net {
    stem: Sequential,
    heads: ModuleDict<Linear>,
    blocks: ModuleList<Linear>,
    pair: (Linear, ReLU),
    drop: Dropout,
    width: usize,
}

fn net() -> Result<Net> {
    let stem = Sequential::new()
        .add(Conv2d::new(1, 4, 3, ())?)
        .add(BatchNorm2d::new(4, ())?)
        .add(ReLU)
        .add(MaxPool2d::new(2))
        .add(Flatten::default());
    let mut heads = ModuleDict::default();
    heads.insert("a", Linear::new(2, 3, ())?);
    let blocks: ModuleList<Linear> = [Linear::new(2, 2, ())?, Linear::new(2, 1, ())?].into_iter().collect();
    Ok(Net { stem, heads, blocks, pair: (Linear::new(1, 1, ())?, ReLU), drop: Dropout::new(0.25)?, width: 7 })
}

#[test]
fn a_tree_shows_parts_fields_and_counts() -> Result<()> {
    let net = net()?;
    let tree = net.summary();
    println!("{tree}");
    let want = "\
Net(width=7)  68
  (stem): Sequential()  48
    (0): Conv2d(weight=[4, 1, 3, 3], bias=[4])  40
    (1): BatchNorm2d(weight=[4], bias=[4], running_mean=[4], running_var=[4], num_batches_tracked=[], channels=4)  8
    (2): ReLU()
    (3): MaxPool2d(kernel_size=[2, 2], stride=[2, 2], padding=[0, 0], ceil_mode=false, dilation=[1, 1])
    (4): Flatten(start=1, end=-1)
  (heads): ModuleDict()  9
    (a): Linear(weight=[3, 2], bias=[3])  9
  (blocks): ModuleList()  9
    (0): Linear(weight=[2, 2], bias=[2])  6
    (1): Linear(weight=[1, 2], bias=[1])  3
  (pair): ModuleList()  2
    (0): Linear(weight=[1, 1], bias=[1])  2
    (1): ReLU()
  (drop): Dropout(p=0.25)
";
    assert_eq!(tree, want);
    assert_eq!(net.num_parameters(), 68);
    Ok(())
}

#[test]
fn shared_parameters_count_once() -> Result<()> {
    let linear = Linear::new(3, 3, ())?;
    let twice = Sequential::new().add(linear.clone()).add(linear);
    assert!(twice.summary().starts_with("Sequential()  12\n"), "{}", twice.summary());
    Ok(())
}

#[test]
fn parts_have_names_and_are_reached() -> Result<()> {
    let net = net()?;
    let names: Vec<(String, String)> = net.named_modules();
    let kinds: Vec<&str> = names.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(names[2], ("stem.0".to_string(), "Conv2d".to_string()));
    assert!(kinds.contains(&"BatchNorm2d") && names.iter().any(|(n, _)| n == "pair.1"), "{names:?}");
    net.apply(&mut |_, module| {
        if module.kind() == "Linear" {
            module.parameters().iter().try_for_each(|p| init::constant_(&p.tensor(), 2.0))?;
        }
        Ok(())
    })?;
    for (name, p) in net.named_parameters() {
        let all_two = p.tensor().to_vec::<f32>()?.iter().all(|v| *v == 2.0);
        assert_eq!(all_two, !name.starts_with("stem"), "{name}");
    }
    // an error ends the walk
    let mut seen = 0;
    let stopped = net.apply(&mut |name, _| {
        seen += 1;
        if name == "stem.1" { Err(Error::new(ErrorKind::Value, "test", "enough")) } else { Ok(()) }
    });
    assert!(stopped.is_err() && seen == 3);
    let gru = Sequential::new().add(Linear::new(2, 2, ())?);
    assert_eq!(gru.named_modules().len(), 2);
    assert_eq!(GRU::new(2, 3, ())?.kind(), "GRU");
    let layer = TransformerEncoderLayer::new(8, 2, TransformerLayerOptions::default().dim_feedforward(16))?;
    assert!(layer.named_modules().contains(&("self_attn".into(), "MultiheadAttention".into())));
    Ok(())
}

#[test]
fn hooks_watch_and_change() -> Result<()> {
    let layer = Hooked::new(Sequential::new().add(Linear::new(2, 2, ())?));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (calls.clone(), calls.clone());
    let before = layer.register_forward_pre_hook(move |x| {
        first.lock().unwrap().push("before");
        Ok(Some((x * 0.0)?))
    });
    let after = layer.register_forward_hook(move |x, y| {
        second.lock().unwrap().push("after");
        assert_eq!(x.abs()?.sum()?.item()?, 0.0, "the hook before has changed it");
        Ok(Some((y + 1.0)?))
    });
    let x = Tensor::ones([1, 2], ())?;
    let bias = layer.named_parameters()[1].1.tensor().detach();
    assert_eq!(layer.named_parameters()[1].0, "0.bias");
    assert_eq!(layer.forward(&x)?.detach().to_vec::<f32>()?, (&bias + 1.0)?.to_vec::<f32>()?);
    before.remove();
    after.remove();
    let plain = layer.layer().forward(&x)?.detach().to_vec::<f32>()?;
    assert_eq!(layer.forward(&x)?.detach().to_vec::<f32>()?, plain);
    assert_eq!(*calls.lock().unwrap(), ["before", "after"]);
    let _stays = layer.register_forward_hook(|_, _| Err(Error::new(ErrorKind::Value, "hook", "no")));
    assert!(layer.forward(&x).is_err());
    layer.to_dtype(DType::F16)?;
    assert_eq!(layer.parameters()[0].tensor().dtype(), DType::F16);
    Ok(())
}

#[test]
fn a_dict_of_parameters_has_their_names() -> Result<()> {
    let mut dict = ParameterDict::default();
    for (name, n) in [("b", 2), ("a", 3)] {
        dict.insert(name, Parameter::new(&Tensor::ones([n], ())?)?);
    }
    let names: Vec<String> = dict.named_parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!((names, dict.num_parameters()), (vec!["b".to_string(), "a".to_string()], 5));
    dict.requires_grad_(false)?;
    assert!(dict.get("a").is_some_and(|p| !p.requires_grad()) && dict.get("c").is_none());
    Ok(())
}

#[test]
fn layers_of_a_transformer_are_copies_in_all() -> Result<()> {
    let other = Device::open(&AdapterChoice::from_env()?)?;
    let options = TransformerLayerOptions::default().dim_feedforward(16);
    let encoder = TransformerEncoderLayer::new(8, 2, options.clone())?;
    let decoder = TransformerDecoderLayer::new(8, 2, options)?;
    fn changed(layer: &impl Module, other: &Device) -> Result<()> {
        layer.requires_grad_(false)?;
        layer.eval();
        layer.to_device(other)?;
        let last = layer.parameters().pop().expect("a parameter");
        last.to_dtype(DType::F16)?;
        last.requires_grad_(true)
    }
    changed(&encoder, &other)?;
    changed(&decoder, &other)?;
    encoder.dropout1.train();
    let encoders = TransformerEncoder::new(&encoder, 2, None)?;
    let decoders = TransformerDecoder::new(&decoder, 2, None)?;
    assert!(encoders.layers.iter().all(|l| l.dropout1.training.get() && !l.dropout2.training.get()));
    assert!(decoders.layers.iter().all(|l| !l.dropout1.training.get() && !l.self_attn.training.get()));
    fn same(layer: &impl Module, from: &impl Module) -> Result<()> {
        for ((name, p), (_, q)) in layer.named_parameters().into_iter().zip(from.named_parameters()) {
            let (own, from) = (p.tensor(), q.tensor());
            assert!(!p.same(&q) && own.device().same(from.device()), "{name}");
            assert_eq!((own.dtype(), own.requires_grad()), (from.dtype(), from.requires_grad()), "{name}");
            assert_eq!(own.read_bytes()?, from.read_bytes()?, "{name}");
        }
        Ok(())
    }
    encoders.layers.iter().try_for_each(|l| same(l, &encoder))?;
    decoders.layers.iter().try_for_each(|l| same(l, &decoder))
}

#[test]
fn gradients_and_hooks_go_along_with_their_parameter() -> Result<()> {
    let other = Device::open(&AdapterChoice::from_env()?)?;
    let linear = Linear::new(2, 2, LinearOptions::default().bias(false))?;
    let calls = Arc::new(Mutex::new(0));
    let seen = calls.clone();
    let hook = linear.weight.tensor().register_hook(move |_| {
        *seen.lock().expect("a count") += 1;
        Ok(None)
    })?;
    let learn = |x: &Tensor| linear.forward(x)?.sum()?.backward();
    learn(&Tensor::ones([1, 2], ())?)?;
    linear.to_dtype(DType::F16)?;
    learn(&Tensor::ones([1, 2], DType::F16)?)?;
    linear.to_device(&other)?;
    learn(&Tensor::ones([1, 2], (DType::F16, &other))?)?;
    let gradient = linear.weight.grad().expect("a gradient");
    assert!(gradient.device().same(&other));
    assert_eq!(gradient.to_dtype(DType::F32)?.to_vec::<f32>()?, [3.0; 4]);
    assert_eq!(*calls.lock().expect("a count"), 3);
    linear.weight.tensor().remove_hook(hook);
    learn(&Tensor::ones([1, 2], (DType::F16, &other))?)?;
    assert_eq!(*calls.lock().expect("a count"), 3);
    Ok(())
}

/// A state dict holds the very tensors of its module: a module may load its own, and two may load each other's in turn.
#[test]
fn states_are_loaded_to_and_fro() -> Result<()> {
    let (online, target) = (Linear::new(2, 1, ())?, Linear::new(2, 1, ())?);
    online.load_state_dict(&online.state_dict(), true)?;
    target.load_state_dict(&online.state_dict(), true)?;
    online.load_state_dict(&target.state_dict(), true)?;
    let (a, b) = (online.weight.tensor(), target.weight.tensor());
    assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    // a write to the one that took the values is none to the other
    let loss = online.forward(&Tensor::ones([1, 2], ())?.requires_grad_(true)?)?.sum()?;
    let before = a.version();
    calor::no_grad(|| b.mul_(0.5))?;
    assert_eq!(a.version(), before);
    loss.backward()
}

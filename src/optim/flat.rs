//! Which parameters of a group are updated together, as parts of one flat tensor.

use super::{Rule, State};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::nn::Parameter;
use crate::tensor::{Device, Pack, Tensor};
use rustc_hash::FxHashMap as HashMap;

/// A parameter that is updated in this step.
pub(super) struct Due {
    /// Its number in the group.
    pub index: usize,
    pub tensor: Tensor,
    pub gradient: Tensor,
}

/// What parameters updated together have in common.
#[derive(PartialEq)]
struct Kind {
    dtypes: (DType, DType),
    step: u64,
    numbers: Vec<u64>,
    /// How many parameters before it have the same storage: it is updated after them.
    round: usize,
    /// What is no whole storage, or has no elements, is updated alone.
    alone: Option<usize>,
}

/// The parameters of a group that have a gradient.
pub(super) fn due(rule: &str, parameters: &[Parameter]) -> Result<Vec<Due>> {
    let mut out = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let tensor = parameter.tensor();
        let Some(gradient) = tensor.grad() else { continue };
        let (own, given) = (tensor.shape(), gradient.shape());
        if own != given {
            bail!(Shape, rule, "a gradient has shape {:?}, its parameter {:?}", &given[..], &own[..]);
        }
        out.push(Due { index, tensor, gradient });
    }
    Ok(out)
}

/// Parameters in packs: each of one device, dtype and count of steps, and no larger than a binding may be.
pub(super) fn packs<R: Rule>(due: Vec<Due>, states: &[State]) -> Vec<Vec<Due>> {
    let mut out: Vec<(Kind, Device, u64, Vec<Due>)> = Vec::new();
    let mut rounds: HashMap<usize, usize> = HashMap::default();
    for one in due {
        let round = rounds.entry(one.tensor.storage_key()).and_modify(|n| *n += 1).or_default();
        let whole = R::ELEMENTWISE && one.tensor.is_whole() && one.tensor.numel() > 0;
        let kind = Kind {
            dtypes: (one.tensor.dtype(), one.gradient.dtype()),
            step: states[one.index].step,
            numbers: states[one.index].numbers.values().map(|n| n.to_bits()).collect(),
            round: *round,
            alone: (!whole).then_some(one.index),
        };
        let device = one.tensor.device().clone();
        let one_size = Pack::bytes(&one.tensor).max(Pack::bytes(&one.gradient));
        let most = device.facts().max_binding_bytes;
        let fits = |p: &&mut (Kind, Device, u64, Vec<Due>)| p.0 == kind && p.1.same(&device) && p.2 + one_size <= most;
        match out.iter_mut().find(fits) {
            Some(pack) => {
                pack.2 += one_size;
                pack.3.push(one);
            }
            None => out.push((kind, device, one_size, vec![one])),
        }
    }
    out.into_iter().map(|p| p.3).collect()
}

/// Lays parameters and what is kept for them side by side, as the update of each pack has them.
pub(super) fn lay(packs: &[Vec<Due>], states: &[State]) -> Result<()> {
    for pack in packs.iter().filter(|p| p.len() > 1) {
        Pack::lay(&pack.iter().map(|d| d.tensor.clone()).collect::<Vec<_>>())?;
        for name in states[pack[0].index].tensors.keys() {
            let kept: Vec<Tensor> = pack.iter().filter_map(|d| states[d.index].tensors.get(name).cloned()).collect();
            if kept.len() == pack.len() {
                Pack::lay(&kept)?;
            }
        }
    }
    Ok(())
}

/// Runs an update of a parameter and its state; where `skip` holds, their elements stay as they were.
fn unless(skip: Option<&Tensor>, parameter: &Tensor, state: &State, update: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(skip) = skip else { return update() };
    let written: Vec<&Tensor> = std::iter::once(parameter).chain(state.tensors.values()).collect();
    let before: Vec<Tensor> = written.iter().map(|t| t.snapshot()).collect();
    update()?;
    written.iter().zip(before).try_for_each(|(t, old)| t.modify("step", |new| skip.where_(&old, new)).map(drop))
}

/// Updates a pack: one that holds several parameters as one flat tensor.
pub(super) fn update<R: Rule>(rule: &R, pack: &[Due], states: &[State], skip: Option<&Tensor>) -> Result<()> {
    if let [one] = pack {
        let state = &states[one.index];
        return unless(skip, &one.tensor, state, || rule.update(&one.tensor, &one.gradient, state));
    }
    let Some(first) = pack.first() else { return Ok(()) };
    let tensors: Vec<Tensor> = pack.iter().map(|d| d.tensor.clone()).collect();
    let gradients: Vec<Tensor> = pack.iter().map(|d| d.gradient.clone()).collect();
    let places = Pack::like(&tensors)?;
    let kept = |name: &str| pack.iter().map(|d| states[d.index].get(name).cloned()).collect::<Result<Vec<_>>>();
    let alike = &states[first.index];
    let mut flat = State { step: alike.step, numbers: alike.numbers.clone(), ..State::default() };
    let names: Vec<&str> = rule.keeps(&first.tensor.shape()).iter().map(|k| k.name).collect();
    for name in &names {
        flat.tensors.insert((*name).to_string(), places.join(&kept(name)?)?);
    }
    let parameters = places.join(&tensors)?;
    let gradients = places.join(&gradients)?;
    unless(skip, &parameters, &flat, || rule.update(&parameters, &gradients, &flat))?;
    for name in &names {
        places.split(flat.get(name)?, &kept(name)?)?;
    }
    places.split(&parameters, &tensors)
}

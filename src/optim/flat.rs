//! Which parameters of a group are updated together, as parts of one flat tensor.

use super::formula::Number;
use super::{Rule, State};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::nn::Parameter;
use crate::shape::Dims;
use crate::tensor::{Device, Pack, Tensor};
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeMap;

/// A parameter that is updated in this step.
pub(super) struct Due {
    /// Its number in the group.
    pub index: usize,
    pub tensor: Tensor,
    pub gradient: Tensor,
}

/// What tells the numbers of two states apart.
pub(super) type Key = Vec<(bool, u64)>;

/// What parameters updated together have in common.
#[derive(PartialEq)]
struct Kind {
    dtypes: (DType, DType),
    /// The count of steps and other numbers.
    numbers: Key,
    /// The shape of parameters that are stacked.
    shape: Option<Dims>,
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
        let whole = (R::ELEMENTWISE || R::STACKED) && one.tensor.is_whole() && one.tensor.numel() > 0;
        let kind = Kind {
            dtypes: (one.tensor.dtype(), one.gradient.dtype()),
            numbers: states[one.index].key(),
            shape: R::STACKED.then(|| one.tensor.shape()),
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
fn unless<R: Rule>(
    rule: &R,
    (parameter, gradient): (&Tensor, &Tensor),
    state: &State,
    skip: Option<&Tensor>,
) -> Result<()> {
    let mut state = state.clone();
    for number in std::iter::once(&mut state.step).chain(state.numbers.values_mut()) {
        // a number of the device is read by each element; a stack's parameters are seen along their own dimensions
        *number = if R::STACKED { number.clone() } else { number.expanded(&parameter.shape())? };
    }
    let Some(skip) = skip else { return rule.update(parameter, gradient, &state) };
    let written: Vec<&Tensor> = std::iter::once(parameter).chain(state.tensors.values()).collect();
    let before: Vec<Tensor> = written.iter().map(|t| t.snapshot()).collect::<Result<_>>()?;
    rule.update(parameter, gradient, &state)?;
    written.iter().zip(before).try_for_each(|(t, old)| t.modify("step", |new| skip.where_(&old, new)).map(drop))
}

/// Tensors of one shape as one with a first dimension, and where they lie in the flat tensor behind it.
fn stacked(tensors: &[Tensor]) -> Result<(Pack, Tensor, Tensor)> {
    let places = Pack::like(tensors)?;
    let flat = places.join(tensors)?;
    let stack = places.stack(&flat)?;
    Ok((places, flat, stack))
}

/// Updates a pack: one that holds several parameters as one flat tensor, or as a stack.
pub(super) fn update<R: Rule>(rule: &R, pack: &[Due], states: &[State], skip: Option<&Tensor>) -> Result<()> {
    let Some(first) = pack.first() else { return Ok(()) };
    let alike = &states[first.index];
    if pack.len() == 1 && !R::STACKED {
        return unless(rule, (&first.tensor, &first.gradient), alike, skip);
    }
    let tensors: Vec<Tensor> = pack.iter().map(|d| d.tensor.clone()).collect();
    let gradients: Vec<Tensor> = pack.iter().map(|d| d.gradient.clone()).collect();
    let names: Vec<&str> = rule.keeps(&first.tensor.shape()).iter().map(|k| k.name).collect();
    let kept = |name: &str| pack.iter().map(|d| states[d.index].get(name).cloned()).collect::<Result<Vec<_>>>();
    let mut together = State { tensors: BTreeMap::new(), ..alike.clone() };
    if R::STACKED {
        let mut written = vec![(stacked(&tensors)?, tensors)];
        for name in &names {
            let kept = kept(name)?;
            written.push((stacked(&kept)?, kept));
            if let Some(((_, _, stack), _)) = written.last() {
                together.tensors.insert((*name).to_string(), stack.clone());
            }
        }
        let gradients = stacked(&gradients)?.2;
        unless(rule, (&written[0].0.2, &gradients), &together, skip)?;
        return written.iter().try_for_each(|((places, flat, _), tensors)| places.split(flat, tensors));
    }
    let places = Pack::like(&tensors)?;
    for name in &names {
        together.tensors.insert((*name).to_string(), places.join(&kept(name)?)?);
    }
    let parameters = places.join(&tensors)?;
    let gradients = places.join(&gradients)?;
    unless(rule, (&parameters, &gradients), &together, skip)?;
    for name in &names {
        places.split(together.get(name)?, &kept(name)?)?;
    }
    places.split(&parameters, &tensors)
}

/// The count of steps with one more.
pub(super) fn counted(state: &State) -> Result<Number> {
    Number::of(|f| f.number(&state.step) + 1.0)
}

/// The numbers after a step: those that were before it where `skip` holds.
pub(super) fn advanced<R: Rule>(rule: &R, before: &State, state: &State, skip: Option<&Tensor>) -> Result<State> {
    let mut after = state.clone();
    for (name, value) in rule.advance(state)? {
        after.set_number(name, value);
    }
    if let Some(skip) = skip {
        let skip = Number::Device(skip.clone());
        let chosen = |old: &Number, new: &Number| {
            Number::of(|f| {
                let (old, new) = (f.number(old), f.number(new));
                f.number(&skip).above(0.0, || old, || new)
            })
        };
        after.step = chosen(&before.step, &after.step)?;
        for (name, value) in &mut after.numbers {
            *value = chosen(before.number(name)?, value)?;
        }
    }
    Ok(after)
}

//! Optimizer states as PyTorch's checkpoints hold them.

use super::object::Object;
use crate::error::{Result, bail};
use crate::optim::{GroupState, Kept, OptimState};
use std::collections::BTreeMap;

/// Settings that PyTorch keeps as tuples.
const TUPLES: [(&str, &[&str]); 5] = [
    ("betas", &["beta1", "beta2"]),
    ("etas", &["eta_minus", "eta_plus"]),
    ("step_sizes", &["step_min", "step_max"]),
    ("eps", &["eps1", "eps2"]),
    ("ns_coefficients", &["ns_a", "ns_b", "ns_c"]),
];
/// Settings that are truth values there.
const FLAGS: [&str; 5] = ["amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov"];
/// Numbers that are integers there.
const COUNTS: [&str; 6] = ["func_evals", "history_size", "max_eval", "max_iter", "n_iter", "ns_steps"];
/// What `adjust_lr_fn` says, by number.
const ADJUST: [&str; 3] = ["original", "match_rms_adamw", "spectral_unclamped"];
/// Lists that L-BFGS keeps, which are there as soon as it has a direction.
const LISTS: [&str; 3] = ["old_dirs", "old_stps", "ro"];

/// A setting or kept number as PyTorch has it.
fn value(name: &str, number: f64) -> Object {
    match name {
        "adjust_lr_fn" => ADJUST.get(number as usize).map_or(Object::None, |&text| text.into()),
        "line_search_fn" if number != 0.0 => "strong_wolfe".into(),
        "line_search_fn" => Object::None,
        "eps1" | "max_eval" if number.is_nan() => Object::None,
        _ if FLAGS.contains(&name) => (number != 0.0).into(),
        _ if COUNTS.contains(&name) => (number as i64).into(),
        _ => number.into(),
    }
}

/// A setting or kept number; `None` for what is none.
fn number(name: &str, value: &Object) -> Result<Option<f64>> {
    Ok(match (name, value) {
        ("adjust_lr_fn", Object::Text(text)) => match ADJUST.iter().position(|known| known == text) {
            Some(at) => Some(at as f64),
            None => bail!(Value, OP, "{name} is {text:?}, not one of {ADJUST:?}"),
        },
        ("line_search_fn", Object::Text(text)) if text == "strong_wolfe" => Some(1.0),
        ("line_search_fn", Object::Text(text)) => bail!(Value, OP, "{name} is {text:?}, only strong_wolfe is known"),
        ("adjust_lr_fn" | "line_search_fn", Object::None) => Some(0.0),
        ("eps1" | "max_eval", Object::None) => Some(f64::NAN),
        (_, Object::Tensor(t)) if t.numel() == 1 => Some(t.item()?),
        (_, other) => other.as_float(),
    })
}

const OP: &str = "optimizer_state";

/// What is kept for a parameter; lists are numbered in calor.
fn kept(from: &BTreeMap<String, Kept>) -> Object {
    let mut lists: BTreeMap<&str, BTreeMap<usize, Object>> = BTreeMap::new();
    if from.contains_key("prev_flat_grad") {
        lists.extend(LISTS.map(|name| (name, BTreeMap::new())));
    }
    let mut entries = Vec::new();
    for (name, one) in from {
        let one = match one {
            Kept::Tensor(t) => Object::Tensor(t.clone()),
            Kept::Number(n) => value(name, *n),
        };
        match name.rsplit_once('.').and_then(|(list, at)| Some((list, at.parse().ok()?))) {
            Some((list, at)) => drop(lists.entry(list).or_default().insert(at, one)),
            None => entries.push((name.as_str(), one)),
        }
    }
    entries.extend(lists.into_iter().map(|(name, items)| (name, Object::List(items.into_values().collect()))));
    Object::dict(entries)
}

/// A tensor or number that is kept, under a name; lists one by one.
fn taken(name: &str, value: &Object, out: &mut BTreeMap<String, Kept>) -> Result<()> {
    if let Some(items) = value.items() {
        return items.iter().enumerate().try_for_each(|(i, item)| taken(&format!("{name}.{i}"), item, out));
    }
    let value = match value {
        Object::Tensor(t) => Some(Kept::Tensor(t.clone())),
        other => other.as_float().map(Kept::Number),
    };
    out.extend(value.map(|value| (name.to_string(), value)));
    Ok(())
}

impl From<&OptimState> for Object {
    fn from(from: &OptimState) -> Self {
        let state = from.state.iter().map(|(number, own)| (Object::Int(*number as i64), kept(own)));
        let groups = from.param_groups.iter().map(|group| {
            let mut settings = group.settings.clone();
            let mut entries: Vec<(&str, Object)> = Vec::new();
            for (tuple, names) in TUPLES {
                let values = names.iter().map(|&name| Some(value(name, *settings.get(name)?)));
                if let Some(values) = values.collect::<Option<Vec<_>>>() {
                    entries.push((tuple, Object::Tuple(values)));
                    settings.retain(|name, _| !names.contains(&name.as_str()));
                }
            }
            if let (Some(most), Some(iterations)) = (settings.get("max_eval"), settings.get("max_iter"))
                && most.is_nan()
            {
                // PyTorch writes its default down
                settings.insert("max_eval".into(), (iterations * 1.25).floor());
            }
            entries.extend(settings.iter().map(|(name, number)| {
                let name = if name == "strong_wolfe" { "line_search_fn" } else { name.as_str() };
                (name, value(name, *number))
            }));
            entries.push(("params", Object::List(group.params.iter().map(|&n| Object::Int(n as i64)).collect())));
            Object::dict(entries)
        });
        let groups = Object::List(groups.collect());
        Object::dict([("state", Object::Dict(state.collect())), ("param_groups", groups)])
    }
}

impl Object {
    /// An optimizer's state, for [`Optimizer::load_state_dict`](crate::optim::Optimizer::load_state_dict).
    ///
    /// Settings that are no numbers, such as PyTorch's `foreach=None`, are left out. Lists are numbered: `old_dirs.0`. Waits
    /// for settings that are tensors.
    ///
    /// ```
    /// use calor::io::Object;
    /// let group = Object::dict([("lr", 0.5.into()), ("betas", Object::Tuple(vec![0.8.into(), 0.9.into()]))]);
    /// let Object::Dict(mut entries) = group else { unreachable!() };
    /// entries.push(("params".into(), vec![Object::from(0)].into()));
    /// let groups = vec![Object::Dict(entries)];
    /// let saved = Object::dict([("state", Object::Dict(Vec::new())), ("param_groups", groups.into())]);
    /// let state = saved.optimizer_state()?;
    /// assert_eq!((state.param_groups[0].settings["lr"], state.param_groups[0].settings["beta2"]), (0.5, 0.9));
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it is not built as PyTorch's optimizer states are.
    pub fn optimizer_state(&self) -> Result<OptimState> {
        let mut out = OptimState::default();
        let state = self.require("state")?;
        let Some(entries) = state.entries() else {
            bail!(Value, OP, "\"state\" is {}, not a dict", state.kind());
        };
        for (number, kept) in entries {
            let (Some(number), Some(kept)) = (number.as_int().and_then(|n| usize::try_from(n).ok()), kept.entries())
            else {
                bail!(Value, OP, "\"state\" holds {} for {number:?}", kept.kind());
            };
            let mut own = BTreeMap::new();
            for (name, value) in kept {
                // "al" holds what L-BFGS computes anew in each iteration
                if let Some(name) = name.as_text().filter(|name| *name != "al") {
                    taken(name, value, &mut own)?;
                }
            }
            out.state.insert(number, own);
        }
        let groups = self.require("param_groups")?;
        let Some(groups) = groups.items() else {
            bail!(Value, OP, "\"param_groups\" is {}, not a list", groups.kind());
        };
        for group in groups {
            let params = group.require("params")?.items().unwrap_or_default();
            let params = params.iter().map(|n| n.as_int().and_then(|n| usize::try_from(n).ok()));
            let Some(params) = params.collect::<Option<Vec<usize>>>() else {
                bail!(Value, OP, "\"params\" are no numbers of parameters");
            };
            let mut settings = BTreeMap::new();
            for (name, value) in group.entries().unwrap_or_default() {
                let Some(name) = name.as_text() else { continue };
                let names = TUPLES.iter().find(|t| t.0 == name).map(|t| t.1);
                let given: Vec<(&str, &Object)> = match (names, value.items()) {
                    (Some(names), Some(items)) => names.iter().copied().zip(items).collect(),
                    _ => vec![(name, value)],
                };
                for (name, value) in given {
                    let own = if name == "line_search_fn" { "strong_wolfe" } else { name };
                    settings.extend(number(name, value)?.map(|v| (own.to_string(), v)));
                }
            }
            out.param_groups.push(GroupState { params, settings });
        }
        Ok(out)
    }
}

//! Optimizer states as PyTorch's checkpoints hold them.

use super::object::Object;
use crate::error::{Result, bail};
use crate::optim::{GroupState, Kept, OptimState};
use std::collections::BTreeMap;

/// Settings that PyTorch keeps as pairs.
const PAIRS: [(&str, [&str; 2]); 3] =
    [("betas", ["beta1", "beta2"]), ("etas", ["eta_minus", "eta_plus"]), ("step_sizes", ["step_min", "step_max"])];
/// Settings that are truth values there.
const FLAGS: [&str; 5] = ["amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov"];

impl From<&OptimState> for Object {
    fn from(from: &OptimState) -> Self {
        let state = from.state.iter().map(|(number, kept)| {
            let kept = kept.iter().map(|(name, value)| match value {
                Kept::Tensor(t) => (name.as_str(), Object::Tensor(t.clone())),
                Kept::Number(n) => (name.as_str(), Object::Float(*n)),
            });
            (Object::Int(*number as i64), Object::dict(kept))
        });
        let groups = from.param_groups.iter().map(|group| {
            let mut settings = group.settings.clone();
            let mut entries: Vec<(&str, Object)> = Vec::new();
            for (pair, [first, second]) in PAIRS {
                if let (Some(a), Some(b)) = (settings.get(first).copied(), settings.get(second).copied()) {
                    entries.push((pair, Object::Tuple(vec![a.into(), b.into()])));
                    settings.retain(|name, _| name != first && name != second);
                }
            }
            entries.extend(settings.iter().map(|(name, value)| {
                let value = if FLAGS.contains(&name.as_str()) { (*value != 0.0).into() } else { (*value).into() };
                (name.as_str(), value)
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
    /// Settings that are no numbers, such as PyTorch's `foreach=None`, are left out.
    ///
    /// # Errors
    /// `Value` where it is not built as PyTorch's optimizer states are.
    pub fn optimizer_state(&self) -> Result<OptimState> {
        const OP: &str = "optimizer_state";
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
            let named = kept.iter().filter_map(|(name, value)| {
                let value = match value {
                    Object::Tensor(t) => Kept::Tensor(t.clone()),
                    other => Kept::Number(other.as_float()?),
                };
                Some((name.as_text()?.to_string(), value))
            });
            out.state.insert(number, named.collect());
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
                let pair = PAIRS.iter().find(|p| p.0 == name).map(|p| p.1);
                match (pair, value.items()) {
                    (Some(names), Some([a, b])) => {
                        settings.extend(
                            names.into_iter().zip([a, b]).filter_map(|(n, v)| Some((n.to_string(), v.as_float()?))),
                        );
                    }
                    _ => settings.extend(value.as_float().map(|v| (name.to_string(), v))),
                }
            }
            out.param_groups.push(GroupState { params, settings });
        }
        Ok(out)
    }
}

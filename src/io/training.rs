//! States of schedulers and gradient scalers as PyTorch's checkpoints hold them.

use super::object::Object;
use crate::error::{Result, bail};
use crate::optim::{GradScaler, SchedulerState};
use std::collections::BTreeMap;

/// Numbers that are integers there.
const COUNTS: [&str; 6] = ["T_cur", "T_i", "_step_count", "cooldown_counter", "last_epoch", "num_bad_epochs"];

/// Numbers by the parts of their names.
#[derive(Default)]
struct Tree {
    number: Option<f64>,
    parts: BTreeMap<String, Tree>,
}

impl Tree {
    fn object(self, name: &str) -> Object {
        if let Some(number) = self.number {
            let whole = COUNTS.contains(&name) && number.fract() == 0.0;
            return if whole { Object::Int(number as i64) } else { Object::Float(number) };
        }
        let numbered: Option<BTreeMap<usize, &str>> =
            self.parts.keys().map(|key| Some((key.parse().ok()?, key.as_str()))).collect();
        if numbered.is_some_and(|list| !list.is_empty() && list.into_keys().eq(0..self.parts.len())) {
            let mut parts: Vec<(usize, Tree)> =
                self.parts.into_iter().filter_map(|(key, part)| Some((key.parse().ok()?, part))).collect();
            parts.sort_unstable_by_key(|part| part.0);
            return Object::List(parts.into_iter().map(|(_, part)| part.object("")).collect());
        }
        let groups = self.parts.get("base_lrs").map(|list| list.parts.len());
        let mut entries: Vec<(String, Object)> = Vec::new();
        for (key, part) in self.parts {
            let object = part.object(&key);
            entries.push((key, object));
        }
        if let Some(groups) = groups {
            // LambdaLR, MultiplicativeLR and CyclicLR look for their functions; others keep what they do not know
            entries.push(("lr_lambdas".into(), Object::List(vec![Object::None; groups])));
            entries.push(("_scale_fn_custom".into(), Object::None));
        }
        Object::dict(entries)
    }
}

impl From<&SchedulerState> for Object {
    /// What a scheduler of PyTorch takes as its state dict.
    fn from(state: &SchedulerState) -> Self {
        let mut root = Tree::default();
        for (name, number) in state {
            let at = name.split('.').fold(&mut root, |tree, part| tree.parts.entry(part.to_string()).or_default());
            at.number = Some(*number);
        }
        root.object("")
    }
}

/// The numbers of a value under a name.
fn flatten(name: &str, value: &Object, out: &mut SchedulerState) -> Result<()> {
    let under = |part: &str| if name.is_empty() { part.to_string() } else { format!("{name}.{part}") };
    match value {
        Object::Int(_) | Object::Float(_) => out.extend(value.as_float().map(|n| (name.to_string(), n))),
        Object::Tensor(t) if t.numel() == 1 => drop(out.insert(name.to_string(), t.item()?)),
        Object::List(items) | Object::Tuple(items) => {
            items.iter().enumerate().try_for_each(|(i, item)| flatten(&under(&i.to_string()), item, out))?;
        }
        Object::Dict(entries) => {
            for (key, value) in entries {
                if let Some(key) = key.as_text() {
                    flatten(&under(key), value, out)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

impl Object {
    /// A scheduler's state, for [`Scheduler::load_state_dict`](crate::optim::Scheduler::load_state_dict) and
    /// [`ReduceLrOnPlateau::load_state_dict`](crate::optim::ReduceLrOnPlateau::load_state_dict).
    ///
    /// Numbers, and those in lists and dicts: what says how the scheduler was made, which PyTorch has in its states too, is
    /// not looked at by them.
    ///
    /// ```
    /// use calor::io::Object;
    /// use calor::optim::{ExponentialLr, Scheduler, Sgd, SgdOptions};
    /// let mut sgd = Sgd::new([], SgdOptions::new(1.0))?;
    /// let mut schedule = ExponentialLr::new(&mut sgd, 0.5)?;
    /// let saved = Object::dict([("gamma", 0.5.into()), ("last_epoch", 7.into()), ("base_lrs", vec![1.0.into()].into())]);
    /// schedule.load_state_dict(&saved.scheduler_state()?)?;
    /// assert_eq!(schedule.last_epoch(), 7);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where it is no dict.
    pub fn scheduler_state(&self) -> Result<SchedulerState> {
        if self.entries().is_none() {
            bail!(Value, "scheduler_state", "expected a dict, got {}", self.kind());
        }
        let mut out = SchedulerState::new();
        flatten("", self, &mut out)?;
        Ok(out)
    }

    /// What PyTorch's gradient scaler takes as its state dict; waits for the scale. Empty where the scaler is off.
    ///
    /// ```
    /// use calor::{Device, io::Object, optim::{GradScaler, GradScalerOptions}};
    /// let device = Device::best()?;
    /// let scaler = GradScaler::new(&device, GradScalerOptions { init_scale: 8.0, ..Default::default() })?;
    /// let saved = Object::scaler(&scaler)?;
    /// assert_eq!(saved.require("growth_interval")?.as_int(), Some(2000));
    /// let mut other = GradScaler::new(&device, ())?;
    /// saved.load_scaler(&mut other)?;
    /// assert_eq!(other.get_scale()?, 8.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scaler(scaler: &GradScaler) -> Result<Object> {
        if !scaler.is_enabled() {
            return Ok(Object::Dict(Vec::new()));
        }
        Ok(Object::dict([
            ("scale", scaler.get_scale()?.into()),
            ("growth_factor", scaler.get_growth_factor().into()),
            ("backoff_factor", scaler.get_backoff_factor().into()),
            ("growth_interval", i64::from(scaler.get_growth_interval()).into()),
            ("_growth_tracker", i64::from(scaler.growth_tracker()?).into()),
        ]))
    }

    /// Gives a gradient scaler the state that PyTorch's had; nothing where the scaler is off.
    ///
    /// ```
    /// use calor::{Device, io::Object, optim::GradScaler};
    /// let mut scaler = GradScaler::new(&Device::best()?, ())?;
    /// let saved = Object::scaler(&scaler)?;
    /// scaler.update_to(2.0)?;
    /// saved.load_scaler(&mut scaler)?;
    /// assert_eq!(scaler.get_scale()?, 65536.0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where a number is missing or makes no sense.
    pub fn load_scaler(&self, scaler: &mut GradScaler) -> Result<()> {
        const OP: &str = "load_scaler";
        if !scaler.is_enabled() {
            return Ok(());
        }
        let number = |name: &str| match self.require(name)? {
            Object::Tensor(t) if t.numel() == 1 => t.item(),
            other => match other.as_float() {
                Some(number) => Ok(number),
                None => bail!(Value, OP, "{name:?} is {}, not a number", other.kind()),
            },
        };
        let count = |name: &str| match number(name)? {
            n if n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n) => Ok(n as u32),
            n => bail!(Value, OP, "{name:?} is {n}, not a count"),
        };
        let factors = (number("growth_factor")?, number("backoff_factor")?, count("growth_interval")?);
        scaler.restore(number("scale")?, count("_growth_tracker")?, factors)
    }
}

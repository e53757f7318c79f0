//! Scheduler cases: learning rates and momenta after every epoch.

use crate::corpus::Tensors;
use crate::run::Verdict;
use serde_json::Value;

/// Runs a case of scheduler `name`.
pub fn run_case(name: &str, _: &Value, _: &Tensors) -> Verdict {
    Verdict::Unsupported(format!("no scheduler {name}"))
}

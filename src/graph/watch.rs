//! `Watch`: keeps the nodes that are made while someone looks.

use super::node::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The nodes made since it was started; nothing while it is off.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    on: AtomicBool,
    values: Mutex<Vec<Value>>,
}

impl Watch {
    /// Keeps every node from now on.
    pub fn start(&self) {
        self.stop();
        self.on.store(true, Ordering::Relaxed);
    }

    /// Keeps no more, and gives up what was kept, in the order in which it was made.
    pub fn stop(&self) -> Vec<Value> {
        self.on.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note(&self, value: &Value) {
        if self.on.load(Ordering::Relaxed) {
            self.values.lock().unwrap_or_else(PoisonError::into_inner).push(value.clone());
        }
    }
}

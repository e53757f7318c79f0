//! `Storage`: the cell that views share. It holds the current lazy value and counts writes.

use crate::graph::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The cell behind a tensor and its views.
pub(super) struct Storage {
    value: Mutex<Value>,
    version: AtomicU64,
    numel: usize,
    /// The storage that took this one's value in an in-place operation, and its version then: what saved this
    /// value for backward must notice when that storage is written to again.
    taken: OnceLock<(Arc<Storage>, u64)>,
}

impl Storage {
    pub(super) fn new(value: Value) -> Arc<Self> {
        let numel = value.spec.numel();
        Arc::new(Self { value: Mutex::new(value), version: AtomicU64::new(0), numel, taken: OnceLock::new() })
    }

    /// The current value; its elements lie row by row.
    pub(super) fn value(&self) -> Value {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new value in and counts the write.
    pub(super) fn replace(&self, value: Value) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a write that left the value as it is.
    pub(super) fn touch(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts an equal value in: no write.
    pub(super) fn settle(&self, value: Value) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    pub(super) fn numel(&self) -> usize {
        self.numel
    }

    /// How often it was written to, or whoever took its value.
    pub(super) fn version(&self) -> u64 {
        let own = self.version.load(Ordering::Relaxed);
        match self.taken.get() {
            Some((taker, then)) => own + (taker.version() - then),
            None => own,
        }
    }

    /// Notes that `taker` now holds this storage's value.
    pub(super) fn taken_by(&self, taker: &Arc<Storage>) {
        // a storage's value is taken once: the tensor around it is a temporary
        let _ = self.taken.set((taker.clone(), taker.version()));
    }
}

//! `Storage`: the cell that views share. It holds the current lazy value and counts writes.

use super::slots::{Cut, Slots};
use crate::error::Result;
use crate::graph::{Input, Value};
use crate::layout::Layout;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The cell behind a tensor and its views.
pub(super) struct Storage {
    value: Mutex<Held>,
    version: AtomicU64,
    numel: usize,
    /// The storage that took this one's value in an in-place operation, and its version then: what saved this
    /// value for backward must notice when that storage is written to again.
    taken: OnceLock<(Arc<Storage>, u64)>,
}

/// What a storage holds.
#[derive(Clone)]
enum Held {
    Whole(Value),
    /// With writes that nobody has read across yet.
    Cut(Slots),
}

impl Storage {
    pub(super) fn new(value: Value) -> Arc<Self> {
        let numel = value.spec.numel();
        Self::holding(Held::Whole(value), numel)
    }

    fn holding(held: Held, numel: usize) -> Arc<Self> {
        Arc::new(Self { value: Mutex::new(held), version: AtomicU64::new(0), numel, taken: OnceLock::new() })
    }

    /// Another cell that holds the same.
    pub(super) fn copied(&self) -> Arc<Self> {
        Self::holding(self.held().clone(), self.numel)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current value; its elements lie row by row. `assemble` makes one of writes to slots.
    pub(super) fn value(&self, assemble: impl FnOnce(Slots) -> Result<Value>) -> Result<Value> {
        let mut held = self.held();
        let value = match &*held {
            Held::Whole(value) => return Ok(value.clone()),
            Held::Cut(slots) => assemble(slots.clone())?,
        };
        *held = Held::Whole(value.clone());
        Ok(value)
    }

    /// The current value, where nothing needs to be assembled.
    pub(super) fn whole(&self) -> Option<Value> {
        match &*self.held() {
            Held::Whole(value) => Some(value.clone()),
            Held::Cut(_) => None,
        }
    }

    /// What a layout reads; `whole` gives the value of all of it where the layout crosses slots.
    pub(super) fn look(&self, layout: Layout, whole: impl FnOnce() -> Result<Value>) -> Result<Input> {
        let seen = match &*self.held() {
            Held::Whole(value) => return Ok(Input { value: value.clone(), layout }),
            Held::Cut(slots) => slots.look(&layout, self.numel),
        };
        match seen {
            Some(input) => Ok(input),
            None => Ok(Input { value: whole()?, layout }),
        }
    }

    /// Puts a value into a slot and counts the write; `assemble` makes one of writes to slots of another cut.
    pub(super) fn put(
        &self,
        (cut, slot): (Cut, usize),
        value: Value,
        assemble: impl FnOnce(Slots) -> Result<Value>,
    ) -> Result<()> {
        let mut held = self.held();
        let done = match &mut *held {
            Held::Cut(slots) if !slots.is_full() => slots.put(cut, slot, value.clone()),
            _ => false,
        };
        if !done {
            let base = match &*held {
                Held::Whole(value) => value.clone(),
                Held::Cut(slots) => assemble(slots.clone())?,
            };
            let mut slots = Slots::new(cut, base);
            slots.put(cut, slot, value);
            *held = Held::Cut(slots);
        }
        drop(held);
        self.touch();
        Ok(())
    }

    /// Puts a new value in and counts the write.
    pub(super) fn replace(&self, value: Value) {
        self.settle(value);
        self.touch();
    }

    /// Counts a write that left the value as it is.
    pub(super) fn touch(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts an equal value in: no write.
    pub(super) fn settle(&self, value: Value) {
        *self.held() = Held::Whole(value);
    }

    pub(super) fn numel(&self) -> usize {
        self.numel
    }

    /// How often it was written to, or whoever took its value.
    pub(super) fn version(&self) -> u64 {
        // one step: storages may have taken each other's values in turn
        let own = self.version.load(Ordering::Relaxed);
        let since = |(taker, then): &(Arc<Storage>, u64)| taker.version.load(Ordering::Relaxed) - then;
        own + self.taken.get().map_or(0, since)
    }

    /// Notes that `taker` now holds this storage's value.
    pub(super) fn taken_by(&self, taker: &Arc<Storage>) {
        // a storage's value is taken once: the tensor around it is a temporary
        let _ = self.taken.set((taker.clone(), taker.version.load(Ordering::Relaxed)));
    }
}

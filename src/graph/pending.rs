//! What waits to be computed, and how much of it there is.

use super::node::{Node, Value};
use crate::gpu::Pace;
use rustc_hash::FxHashMap as HashMap;
use std::sync::{Arc, Weak};

/// The list is not looked through while it is shorter.
const LOOK: usize = 256;

/// Nodes made since the engine last ran, with estimates of what they hold and cost.
#[derive(Debug, Default)]
pub(super) struct Pending {
    nodes: Vec<Weak<Node>>,
    /// At how many entries the list is looked through next.
    look: usize,
    /// Bytes uploaded meanwhile: pending nodes that read them keep them from being freed.
    bytes: u64,
    /// Bytes that runs stored meanwhile: pending nodes may be the last to hold them.
    stored: u64,
    work: u64,
    /// What could not be computed when it was due: it waits for its reader, or until it is asked for.
    failed: Vec<Weak<Node>>,
}

impl Pending {
    /// Takes a node in.
    pub fn add(&mut self, value: &Value, work: u64, pace: &Pace) {
        self.nodes.push(Arc::downgrade(value));
        if self.nodes.len() >= self.look.max(LOOK) {
            // an entry keeps the memory of its node: what is gone is soon forgotten, and its memory used again
            self.nodes.retain(|w| w.strong_count() > 0 && w.upgrade().is_some_and(|n| n.get().is_none()));
            self.look = self.nodes.len().saturating_mul(2).min(pace.pending_nodes as usize);
        }
        self.work = self.work.saturating_add(work);
    }

    /// Takes note of an upload.
    pub fn uploaded(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes note of what a run stored.
    pub fn stored(&mut self, bytes: u64) {
        self.stored = self.stored.saturating_add(bytes);
    }

    /// Whether enough was stored to look at what waits.
    pub fn may_pin_much(&self, pace: &Pace) -> bool {
        self.stored > pace.pending_bytes
    }

    /// Whether what waits keeps much from being freed that nobody else holds; no run may go on meanwhile.
    pub fn pins_much(&mut self, pace: &Pace) -> bool {
        let waiting: Vec<Value> = self.nodes.iter().filter_map(Weak::upgrade).filter(|n| n.get().is_none()).collect();
        // how often each stored input is held by what waits, and by anybody
        let mut inputs: HashMap<u64, (usize, usize, u64)> = HashMap::default();
        for node in &waiting {
            for input in node.inputs().iter() {
                if let Some(buffer) = input.value.buffer() {
                    let all = Arc::strong_count(&input.value);
                    inputs.entry(input.value.id).or_insert((0, all, buffer.bytes())).0 += 1;
                }
            }
        }
        self.stored = inputs.values().filter(|(here, all, _)| here == all).map(|(.., bytes)| bytes).sum();
        self.stored > pace.pending_bytes
    }

    /// Whether an upload of so many bytes should wait until what is pending was submitted.
    pub fn holds_much(&self, bytes: u64, pace: &Pace) -> bool {
        self.bytes > 0 && self.bytes.saturating_add(bytes) > pace.pending_bytes
    }

    /// Whether so much waits that it is computed now.
    pub fn is_full(&self, pace: &Pace) -> bool {
        self.nodes.len() as u64 >= pace.pending_nodes || self.work >= pace.pending_work
    }

    /// Everything, for a run, but for what failed before, which is taken by those who ask for everything.
    pub fn take(&mut self, everything: bool) -> Vec<Weak<Node>> {
        let mut failed = std::mem::take(&mut self.failed);
        let mut taken = std::mem::take(self);
        if everything {
            failed.append(&mut taken.nodes);
            return failed;
        }
        self.failed = failed;
        taken.nodes
    }

    /// What failed before.
    pub fn failed(&self) -> Vec<Weak<Node>> {
        self.failed.clone()
    }

    /// Puts aside what could not be run.
    pub fn put_aside(&mut self, mut nodes: Vec<Weak<Node>>) {
        self.failed.append(&mut nodes);
        self.failed.retain(|w| w.upgrade().is_some_and(|n| n.get().is_none()));
    }
}

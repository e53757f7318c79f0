//! `Cache`: plans by the structure of what they compute, so that a training step is planned once.

use super::plan::{Options, Plan};
use super::walk::{Structure, Walk};
use crate::error::Result;
use rustc_hash::FxHashMap as HashMap;

/// Plans kept, and bytes of memory that they may hold, before the one that waited longest goes.
const PLANS: usize = 256;
const BYTES: usize = 64 << 20;

/// Plans by structure.
#[derive(Debug)]
pub struct Cache {
    /// By hash; who shares one is told apart by its structure.
    entries: HashMap<u64, Vec<Entry>>,
    most: usize,
    count: usize,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    structure: Structure,
    options: Options,
    plan: Plan,
    bytes: usize,
    used: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: HashMap::default(), most: PLANS, count: 0, bytes: 0, clock: 0 }
    }
}

impl Cache {
    /// A cache that keeps nothing for later.
    pub fn off() -> Self {
        Self { most: 0, ..Self::default() }
    }

    /// Lets go of all plans.
    pub fn forget(&mut self) {
        *self = Self { most: self.most, ..Self::default() };
    }

    /// The plan of a walk: a kept one, or what `make` gives. Its host numbers are still those of an earlier walk.
    pub fn plan(&mut self, walk: &Walk, options: Options, make: impl FnOnce() -> Result<Plan>) -> Result<&mut Plan> {
        self.clock += 1;
        let hash = walk.hash();
        let is_of = |e: &Entry| e.options == options && e.structure.is_of(walk);
        let known = self.entries.get(&hash).and_then(|all| all.iter().position(is_of)).filter(|_| self.most > 0);
        let at = match known {
            Some(at) => at,
            None => {
                let plan = make()?;
                let structure = walk.structure();
                let bytes = plan.bytes() + structure.bytes();
                self.make_room(bytes);
                (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
                let same = self.entries.entry(hash).or_default();
                same.push(Entry { structure, options, plan, bytes, used: 0 });
                same.len() - 1
            }
        };
        let Some(entry) = self.entries.get_mut(&hash).and_then(|all| all.get_mut(at)) else {
            crate::error::bail!(Device, "plan", "a plan was lost");
        };
        entry.used = self.clock;
        Ok(&mut entry.plan)
    }

    /// Drops the plans that waited longest until one of `bytes` fits.
    fn make_room(&mut self, bytes: usize) {
        while self.count > 0 && (self.count >= self.most || self.bytes + bytes > BYTES) {
            let oldest = self.entries.iter().flat_map(|(h, all)| all.iter().map(|e| (e.used, *h))).min();
            let Some((used, hash)) = oldest else { return };
            let Some(all) = self.entries.get_mut(&hash) else { return };
            all.retain(|e| {
                if e.used == used {
                    (self.count, self.bytes) = (self.count - 1, self.bytes - e.bytes);
                }
                e.used != used
            });
            if all.is_empty() {
                self.entries.remove(&hash);
            }
        }
    }
}

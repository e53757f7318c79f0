//! Faults that kernels report: what their codes mean, and which values they spoil.
//!
//! A kernel that finds an index out of range goes on and computes something. Whatever a run computes from that keeps the
//! run's marks, and so does all that later runs compute from it, until a read has told that nothing was wrong.

use super::body::Param;
use super::node::Node;
use super::walk::Walk;
use crate::error::{Error, ErrorKind};
use crate::gpu::{FAULT_WORDS, Mark};
use rustc_hash::{FxHashMap as HashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Marks of the runs that a value was computed by and from, none of which is known to have gone well.
pub(crate) type Taint = Arc<[Arc<Mark>]>;

/// What codes mean: the same for equal messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    errors: Vec<Arc<Error>>,
    known: HashMap<u64, SmallVec<[u32; 1]>>,
}

impl Messages {
    /// The code of an error under a mark: the word to report in, and a number from 1 on.
    pub fn code(&mut self, error: &Arc<Error>, mark: &Mark) -> u32 {
        // what does not fit any more is told by the last message
        const MOST: usize = (u32::MAX / FAULT_WORDS) as usize - 1;
        let mut hasher = FxHasher::default();
        (error.op(), error.message()).hash(&mut hasher);
        let same = self.known.entry(hasher.finish()).or_default();
        let is_of = |other: &&u32| {
            let known = self.errors.get(**other as usize);
            known.is_some_and(|e| e.op() == error.op() && e.message() == error.message() && e.kind() == error.kind())
        };
        let at = match same.iter().find(is_of) {
            Some(&at) => at,
            None if self.errors.len() >= MOST => MOST as u32 - 1,
            None => {
                let at = self.errors.len() as u32;
                same.push(at);
                self.errors.push(error.clone());
                at
            }
        };
        (at + 1) * FAULT_WORDS + mark.word()
    }

    /// The error behind a code.
    pub fn error(&self, code: u32) -> Error {
        let at = (code / FAULT_WORDS).wrapping_sub(1);
        match self.errors.get(at as usize) {
            Some(error) => (**error).clone(),
            None => Error::new(ErrorKind::Device, "fault", format!("the device reported the unknown code {code}")),
        }
    }
}

/// Marks that still say something, if any does; one is enough where that is known to be bad.
pub(super) fn alive(marks: impl Iterator<Item = Arc<Mark>>) -> Option<Taint> {
    let mut out: Vec<Arc<Mark>> = Vec::new();
    for mark in marks {
        match mark.verdict() {
            Some(0) => {}
            Some(_) => return Some(Arc::from([mark])),
            None => out.push(mark),
        }
    }
    out.sort_unstable_by_key(|mark| Arc::as_ptr(mark) as usize);
    out.dedup_by(|a, b| Arc::ptr_eq(a, b));
    (!out.is_empty()).then(|| out.into())
}

/// Numbers, as bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Bits(Box<[u64]>);

impl Bits {
    /// Of numbers below `count`.
    fn new(count: usize, numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut words = vec![0; count.div_ceil(64)];
        for n in numbers {
            if let Some(word) = words.get_mut(n / 64) {
                *word |= 1 << (n % 64);
            }
        }
        Self(words.into())
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(to, bits)| *to |= bits);
    }
}

/// Which of a run's outputs its faults and its inputs reach; the same for all walks of a structure.
#[derive(Debug)]
pub(super) struct Reach {
    /// Numbers in the walk of the stored values.
    stored: Vec<usize>,
    /// For each node that may fault its class: faults that reach the same outputs share one.
    classes: HashMap<usize, usize>,
    count: usize,
    /// The classes and the stored values behind outputs, without repeats.
    kinds: Vec<(Vec<usize>, Bits)>,
    /// The kind of each output of the plan.
    outputs: Vec<usize>,
}

impl Reach {
    /// Of a walk before it is stored, and the outputs of its plan.
    pub fn new(walk: &Walk, outputs: impl Iterator<Item = usize>) -> Self {
        let numbers = |is: &dyn Fn(&Node) -> bool| -> Vec<usize> {
            (0..walk.nodes.len()).filter(|&n| is(&walk.nodes[n].value)).collect()
        };
        let stored = numbers(&|node| node.get().is_some());
        let faulty = numbers(&|node| node.get().is_none() && node.params.iter().any(|p| matches!(p, Param::Fault(_))));
        let count = faulty.len() + stored.len();
        let bit: HashMap<usize, usize> = faulty.iter().chain(&stored).enumerate().map(|(b, &n)| (n, b)).collect();
        let mut sets: Vec<Bits> = Vec::with_capacity(walk.nodes.len());
        for (n, reached) in walk.nodes.iter().enumerate() {
            let mut set = Bits::new(count, bit.get(&n).copied());
            for from in reached.value.inputs().iter().filter_map(|i| walk.number(&i.value)) {
                if let Some(from) = sets.get(from) {
                    set.join(from);
                }
            }
            sets.push(set);
        }
        let mut known: HashMap<&Bits, usize> = HashMap::default();
        let mut found: Vec<&Bits> = Vec::new();
        let kind = |node: usize| {
            *known.entry(&sets[node]).or_insert_with(|| {
                found.push(&sets[node]);
                found.len() - 1
            })
        };
        let outputs = outputs.map(kind).collect();
        let mut alike: HashMap<Vec<bool>, usize> = HashMap::default();
        let mut classes = HashMap::default();
        for (f, &node) in faulty.iter().enumerate() {
            let next = alike.len();
            let reaches = found.iter().map(|set| set.has(f)).collect();
            classes.insert(node, *alike.entry(reaches).or_insert(next));
        }
        let kinds = found.iter().map(|set| {
            let mut own: Vec<usize> = (0..faulty.len()).filter(|&f| set.has(f)).map(|f| classes[&faulty[f]]).collect();
            own.sort_unstable();
            own.dedup();
            let inputs = (0..stored.len()).filter(|s| set.has(faulty.len() + s));
            (own, Bits::new(stored.len(), inputs))
        });
        let kinds = kinds.collect();
        Self { stored, count: alike.len(), classes, kinds, outputs }
    }

    /// How many marks a run needs.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Which of them is that of a node that may fault.
    pub fn class(&self, node: usize) -> usize {
        self.classes.get(&node).copied().unwrap_or(0)
    }

    /// What is known of the outputs, in the plan's order, by the run's own marks and what is known of its inputs.
    pub fn taints(&self, walk: &Walk, marks: &[Arc<Mark>]) -> Vec<Option<Taint>> {
        // values of one run mostly share their taint
        let mut sources: Vec<(Taint, Vec<usize>)> = Vec::new();
        for (s, &node) in self.stored.iter().enumerate() {
            let Some(taint) = walk.nodes.get(node).and_then(|n| n.value.taint()) else { continue };
            match sources.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &taint)) {
                Some((_, all)) => all.push(s),
                None => sources.push((taint, vec![s])),
            }
        }
        let sources: Vec<(Taint, Bits)> =
            sources.into_iter().map(|(taint, all)| (taint, Bits::new(self.stored.len(), all))).collect();
        let mut made: HashMap<(&[usize], Vec<usize>), Option<Taint>> = HashMap::default();
        let of_kind = self.kinds.iter().map(|(classes, inputs)| {
            let from: Vec<usize> = (0..sources.len()).filter(|&s| sources[s].1.meets(inputs)).collect();
            let taint = made.entry((classes, from)).or_insert_with_key(|(classes, from)| {
                let own = classes.iter().filter_map(|&class| marks.get(class).cloned());
                let others = from.iter().flat_map(|&s| sources[s].0.iter().cloned());
                alive(own.chain(others))
            });
            taint.clone()
        });
        let of_kind: Vec<Option<Taint>> = of_kind.collect();
        self.outputs.iter().map(|&kind| of_kind.get(kind).cloned().flatten()).collect()
    }
}

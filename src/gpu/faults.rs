//! What became of kernels that may report a fault, learned from a buffer that travels with the reads.
//!
//! A run that may fault has a word of the fault buffer, where its kernels leave a code, and a [`Mark`], which says the
//! code once a read has brought it. Whoever holds what the run computed keeps the mark with it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use super::Gpu;
use super::health::{lock, scoped};
use crate::error::Result;

/// Words of the fault buffer, a power of two. Word 0 is shared: by kernels that know of no marks, and by runs that find
/// all others taken.
pub(crate) const FAULT_WORDS: u32 = 256;
pub(super) const FAULT_BYTES: u64 = FAULT_WORDS as u64 * 4;

/// What is known of runs that may have faulted: nothing yet, that all went well, or a code that one of them left.
#[derive(Debug)]
pub(crate) struct Mark {
    word: u32,
    /// Runs that were given this mark, and those of them that were submitted; changed with the ledger locked.
    given: AtomicU32,
    launched: AtomicU32,
    verdict: OnceLock<u32>,
}

impl Mark {
    fn new(word: u32) -> Arc<Self> {
        let none = || AtomicU32::new(0);
        Arc::new(Self { word, given: none(), launched: none(), verdict: OnceLock::new() })
    }

    /// The word of the fault buffer that its runs report in.
    pub fn word(&self) -> u32 {
        self.word
    }

    /// The code that was reported, 0 for none; `None` while no read has told.
    pub fn verdict(&self) -> Option<u32> {
        self.verdict.get().copied()
    }
}

/// The marks of a device.
pub(super) struct Faults(Mutex<Ledger>);

struct Ledger {
    /// Words that nobody reports in; they are zero.
    free: Vec<u32>,
    /// The mark of word 0 while nothing is known of it.
    shared: Option<Arc<Mark>>,
    /// Marks of submitted runs of which nothing is known.
    open: Vec<Arc<Mark>>,
    /// Codes that nobody was told.
    untold: Vec<u32>,
}

impl Default for Faults {
    fn default() -> Self {
        let free = (1..FAULT_WORDS).rev().collect();
        Self(Mutex::new(Ledger { free, shared: None, open: Vec::new(), untold: Vec::new() }))
    }
}

impl Ledger {
    fn share(&mut self) -> Arc<Mark> {
        self.shared.get_or_insert_with(|| Mark::new(0)).clone()
    }

    /// Enters what a read brought; says whether the mark's word has to be cleared before it is free again.
    fn settle(&mut self, mark: &Arc<Mark>, launched: u32, code: u32) -> bool {
        // runs that were submitted later, or will be, are not told of by this read
        let others = mark.given.load(Relaxed) != launched;
        if (code == 0 && others) || mark.verdict.set(code).is_err() {
            return false;
        }
        self.open.retain(|open| !Arc::ptr_eq(open, mark));
        self.shared = self.shared.take().filter(|shared| !Arc::ptr_eq(shared, mark));
        if code == 0 {
            self.release(mark.word);
        } else if !self.untold.contains(&code) {
            self.untold.push(code);
        }
        code != 0
    }

    fn release(&mut self, word: u32) {
        if word != 0 {
            self.free.push(word);
        }
    }
}

/// Marks of which nothing is known, each with how many of its runs were submitted.
pub(super) type Snapshot = Vec<(Arc<Mark>, u32)>;

impl Faults {
    /// What a read that begins now will tell of.
    pub fn snapshot(&self) -> Snapshot {
        lock(&self.0).open.iter().map(|mark| (mark.clone(), mark.launched.load(Relaxed))).collect()
    }

    /// Whether a read would tell more than is known.
    pub fn are_open(&self) -> bool {
        !lock(&self.0).open.is_empty()
    }

    /// Codes that nobody was told, which counts as telling.
    pub fn take(&self) -> Vec<u32> {
        std::mem::take(&mut lock(&self.0).untold)
    }

    fn give(&self, count: usize) -> Vec<Arc<Mark>> {
        let mut ledger = lock(&self.0);
        let mut give = || {
            let mark = match ledger.free.pop() {
                Some(word) => Mark::new(word),
                None => ledger.share(),
            };
            mark.given.fetch_add(1, Relaxed);
            mark
        };
        (0..count).map(|_| give()).collect()
    }

    /// The mark for kernels that know of none.
    pub fn share(&self) -> Arc<Mark> {
        let mut ledger = lock(&self.0);
        let mark = ledger.share();
        mark.given.fetch_add(1, Relaxed);
        mark
    }

    /// Runs with these marks were submitted, or some of it was.
    pub fn launched(&self, marks: &[Arc<Mark>]) {
        let mut ledger = lock(&self.0);
        for mark in marks {
            mark.launched.fetch_add(1, Relaxed);
            // the newest are at the end
            let known = mark.verdict().is_some() || ledger.open.iter().rev().any(|open| Arc::ptr_eq(open, mark));
            if !known {
                ledger.open.push(mark.clone());
            }
        }
    }
}

impl Gpu {
    /// Marks for runs that may fault, to be handed to the submission: different ones as long as there are words.
    pub(crate) fn mark_faults(&self, count: usize) -> Vec<Arc<Mark>> {
        self.0.faults.give(count)
    }

    /// A code that was told to somebody need not be told to others.
    pub(crate) fn told(&self, code: u32) {
        lock(&self.0.faults.0).untold.retain(|other| *other != code);
    }

    /// Enters what a read brought, and clears the words of those that faulted.
    pub(super) fn settle(&self, snapshot: &Snapshot, words: &[u32]) -> Result<()> {
        for (mark, launched) in snapshot {
            let Some(&code) = words.get(mark.word as usize) else { continue };
            // between two submissions: whoever gets the word anew, as the shared one is, runs after it was cleared
            let engine = (code != 0).then(|| lock(&self.0.engine));
            if !lock(&self.0.faults.0).settle(mark, *launched, code) {
                continue;
            }
            let Some(engine) = engine else { continue };
            scoped(&self.0.device, "read", || {
                self.0.queue.write_buffer(&engine.fault, u64::from(mark.word) * 4, &[0; 4]);
            })?;
            drop(engine);
            lock(&self.0.faults.0).release(mark.word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(faults: &Faults, snapshot: &Snapshot, code: u32) {
        for (mark, launched) in snapshot {
            lock(&faults.0).settle(mark, *launched, code);
        }
    }

    #[test]
    fn a_read_tells_of_runs_that_were_submitted_before_it() {
        let faults = Faults::default();
        let marks = faults.give(2);
        faults.launched(&marks[..1]);
        let snapshot = faults.snapshot();
        assert_eq!(snapshot.len(), 1);
        faults.launched(&marks[1..]);
        settle(&faults, &snapshot, 0);
        assert_eq!((marks[0].verdict(), marks[1].verdict()), (Some(0), None));
        let snapshot = faults.snapshot();
        // two reads at once bring the same
        settle(&faults, &snapshot, 7);
        settle(&faults, &snapshot, 7);
        assert_eq!((marks[1].verdict(), faults.are_open()), (Some(7), false));
        assert_eq!((faults.take(), faults.take()), (vec![7], vec![]));
    }

    #[test]
    fn runs_share_a_word_when_all_are_taken() {
        let faults = Faults::default();
        let own = faults.give(FAULT_WORDS as usize - 1);
        let [first, second] = [faults.give(1), faults.give(1)];
        assert!(Arc::ptr_eq(&first[0], &second[0]) && first[0].word() == 0);
        faults.launched(&first);
        // the second run is not submitted yet
        settle(&faults, &faults.snapshot(), 0);
        assert_eq!(first[0].verdict(), None);
        faults.launched(&second);
        let snapshot = faults.snapshot();
        // a third one comes while a read is on its way
        faults.launched(&faults.give(1));
        settle(&faults, &snapshot, 0);
        assert_eq!(first[0].verdict(), None);
        settle(&faults, &faults.snapshot(), 0);
        assert_eq!(first[0].verdict(), Some(0));
        // words are free again once their runs went well
        faults.launched(&own);
        settle(&faults, &faults.snapshot(), 0);
        assert!(faults.give(FAULT_WORDS as usize - 1).iter().all(|mark| mark.word() != 0));
        assert_eq!(faults.give(1)[0].word(), 0);
    }

    #[test]
    fn a_fault_is_told_whoever_else_is_about_to_run() {
        let faults = Faults::default();
        faults.give(FAULT_WORDS as usize - 1);
        let (ran, runs) = (faults.give(1), faults.give(1));
        faults.launched(&ran);
        settle(&faults, &faults.snapshot(), 9);
        assert_eq!((ran[0].verdict(), faults.take()), (Some(9), vec![9]));
        // it shares the verdict, and is not asked about again
        faults.launched(&runs);
        assert_eq!((runs[0].verdict(), faults.are_open()), (Some(9), false));
    }
}

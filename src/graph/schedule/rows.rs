//! Row programs: folds over equal rows, and the maps in front of, between and behind them, as one kernel.
//!
//! A member's level says whether it has one element for each row or for each element of a row. Only reads that stay
//! within the row at hand join members: a fold is read there as the row's own value.

use super::{Graph, Group, Rule, Scheduler};
use crate::graph::body::{Op, Ref};
use crate::graph::row::{Level, Row};
use crate::layout::Layout;
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;

/// How many members a kernel of rows may hold, and how many folds: it walks rows for each that waits for another, and
/// computes in each walk what was computed before.
const MEMBERS: usize = 512;
const FOLDS: usize = 8;
/// What computing a map again may cost, in all walks after the first.
const AGAIN: u32 = 160;
/// Elements of values that are read together though they could be read one after the other.
const TOGETHER: usize = 1 << 18;
/// How many kernels behind one are looked at to see that another one does not wait for it.
const BEHIND: usize = 256;
/// The sink of what is written.
const OUTPUT: usize = usize::MAX;

type Levels = HashMap<usize, Level>;

/// Which of two kernels, one of which reads the other, has the rows of the other one as the elements of its only row.
#[derive(PartialEq)]
enum Outer {
    Neither,
    Producer,
    Reader,
}

impl Graph {
    /// What `consumer`, of the given level, reads through its input `k`, if it reads its own row only; the rows may
    /// become known better by that.
    fn aligned(&self, row: &mut Row, level: Option<Level>, consumer: usize, k: usize) -> Option<Level> {
        let node = &self.nodes[consumer];
        let (producer, layout) = &node.inputs[k];
        let have = self.numel(*producer);
        let same = layout.is_identity(have);
        let (known, level) = match &node.rule {
            Rule::Stored | Rule::Template(_) | Rule::Pack(_) | Rule::Part(_) => return None,
            Rule::Fold(..) if level == Some(Level::Total) => {
                (same && have == row.rows).then_some((*row, Level::Row))?
            }
            Rule::Fold(fold, _) => (row.folded(layout, fold.keep)?, Level::Element),
            Rule::Map(body) => {
                // coordinates that are the reader's own say no more than its place
                let own = &self.nodes[consumer].value.spec.shape[..] == layout.shape();
                let here = |(d, c): (usize, &Ref)| body.ops[*c as usize] == Op::Coord(d as u8);
                let loads = |op: &&Op| match op {
                    Op::Load(i, coords) if *i as usize == k => !(own && coords.iter().enumerate().all(here)),
                    _ => false,
                };
                let walks = body.ops.iter().any(|o| matches!(o, Op::Input(i) if *i as usize == k));
                let mut picks = body.ops.iter().filter(loads);
                match (level?, picks.next()) {
                    (level, None) if same && have == self.numel(consumer) => (*row, level),
                    (Level::Element, None) if have == row.rows => (row.spread(layout)?, Level::Row),
                    (Level::Row, Some(Op::Load(_, coords))) if !walks && picks.next().is_none() && same => {
                        let coords = coords.iter().map(|&c| &body.ops[c as usize]);
                        (self.picked(row, consumer, layout, coords).then_some(*row)?, Level::Element)
                    }
                    _ => return None,
                }
            }
        };
        *row = known;
        Some(level)
    }

    /// Whether a value of rows reads, at these coordinates of a value of elements, an element of its own row.
    fn picked<'o>(&self, row: &Row, reader: usize, read: &Layout, coords: impl Iterator<Item = &'o Op>) -> bool {
        let (own, shape) = (&self.nodes[reader].value.spec.shape, read.shape());
        let Some((a, b)) = row.split(shape) else { return false };
        let here = |(d, op): (usize, &Op)| (a..b).contains(&d) || *op == Op::Coord(d as u8) || shape[d] == 1;
        let fits = |d: usize| if (a..b).contains(&d) { own[d] == 1 } else { own[d] == shape[d] };
        read.numel() == row.numel()
            && own.len() == shape.len()
            && (0..own.len()).all(fits)
            && coords.enumerate().all(here)
    }
}

impl Group {
    /// Whether its kernel walks rows; else its only fold is computed by the fold's own kernel.
    pub fn walks_rows(&self, graph: &Graph) -> bool {
        let (Some(anchor), Some(row)) = (self.anchor, self.row) else { return false };
        let rule = |n: usize| &graph.nodes[n].rule;
        let walks = |n: usize| match self.levels.get(&n) {
            Some(Level::Element) => n > anchor || self.outputs.contains(&n),
            Some(Level::Row) if rule(n).fold().is_some() => n != anchor,
            Some(Level::Row) => n < anchor && !rule(n).body().is_some_and(|b| b.is_free()),
            Some(Level::Total) | None => false,
        };
        row.total || self.members.iter().any(|&n| walks(n))
    }

    fn folds(&self, graph: &Graph) -> usize {
        self.members.iter().filter(|n| graph.nodes[**n].rule.fold().is_some()).count()
    }

    /// How often its kernel may write a member out for one place: for each walk, and for rows' ends.
    pub(super) fn walks(&self, graph: &Graph) -> usize {
        if self.row.is_some() { 2 * (self.folds(graph) + 1) } else { 1 }
    }

    /// The rows that it walks.
    pub fn row(&self) -> Option<Row> {
        self.row
    }

    /// What a member has one element for, where it is computed within its row.
    pub fn level(&self, member: usize) -> Option<Level> {
        self.levels.get(&member).copied()
    }
}

impl Scheduler<'_> {
    /// What `consumer` reads in a kernel of rows, if it reads its own row only.
    pub(super) fn aligned(&self, group: usize, consumer: usize, k: usize) -> Option<Level> {
        let g = self.group(group)?;
        let mut row = g.row?;
        self.graph.aligned(&mut row, g.levels.get(&consumer).copied(), consumer, k)
    }

    /// Makes the kernel of a template that only folds one of rows, and joins kernels that read it row by row.
    pub(super) fn place_fold(&mut self, id: usize, node: usize) -> usize {
        let plan = &self.graph.nodes[node];
        let Some(fold) = plan.rule.fold() else { return id };
        let (rows, layout) = (self.graph.numel(node), &plan.inputs[0].1);
        let row = Row { rows, length: layout.numel() / rows.max(1), inner: None, total: false };
        if rows == 0 || row.length < 2 || !row.is_fit(self.facts) {
            return id;
        }
        if let Some(g) = &mut self.groups[id] {
            g.row = Some(row);
            g.levels.insert(node, Level::Row);
        }
        let id = self.lead_rows(id);
        if let Some(g) = &mut self.groups[id]
            && let Some(row) = g.row
            && row.inner.is_none()
        {
            g.row = row.folded(layout, fold.keep).or(g.row);
        }
        id
    }

    /// Joins the kernel with those that read it row by row, and, if it walks rows, with those that it reads so, as far
    /// as it goes; the number of what became of it.
    pub(super) fn lead_rows(&mut self, mut id: usize) -> usize {
        loop {
            let Some(g) = self.group(id) else { return id };
            let mut readers: Vec<usize> = g.outputs.iter().flat_map(|&o| self.readers(o)).map(|r| r.0).collect();
            let leaves = g.leaves.iter().filter(|_| g.row.is_some());
            let mut writers: Vec<usize> = leaves.flat_map(|&l| &self.homes[l]).copied().collect();
            for list in [&mut readers, &mut writers] {
                list.retain(|&other| other != id);
                list.sort_unstable();
                list.dedup();
            }
            let joined = readers.into_iter().find_map(|r| self.join_rows(id, r));
            match joined.or_else(|| writers.into_iter().find_map(|w| self.join_rows(w, id))) {
                Some(joined) => id = joined,
                None => return id,
            }
        }
    }

    /// Makes one kernel of `id` and of `reader`, which reads it, if at least one of them folds rows and all that the
    /// reader reads of the other is of the row at hand.
    fn join_rows(&mut self, id: usize, reader: usize) -> Option<usize> {
        let (a, b) = (self.group(id)?, self.group(reader)?);
        let open = |g: &Group| g.anchor.is_none() || g.row.is_some();
        if !open(a) || !open(b) {
            return None;
        }
        let (mut row, outer) = match (a.row, b.row) {
            (Some(a), Some(b)) => {
                let same = a.joined(&b).map(|row| (row, Outer::Neither));
                let reader = || a.nested(&b).map(|row| (row, Outer::Reader));
                let producer = || b.nested(&a).filter(|_| b.total).map(|row| (row, Outer::Producer));
                same.or_else(reader).or_else(producer)?
            }
            (a, b) => (a.or(b)?, Outer::Neither),
        };
        let above = if outer == Outer::Reader { self.nested(b)? } else { self.levels(b, &mut row)? };
        let below = if outer == Outer::Producer { self.nested(a)? } else { self.levels(a, &mut row)? };
        for &c in &b.members {
            for (k, (p, _)) in self.graph.nodes[c].inputs.iter().enumerate() {
                if a.members.contains(p) && !b.members.contains(p) {
                    let level = self.graph.aligned(&mut row, above.get(&c).copied(), c, k);
                    if level.is_none() || level != below.get(p).copied() {
                        return None;
                    }
                }
            }
        }
        let agree = |n: &&usize| !b.members.contains(n) || above.get(n) == below.get(n);
        let written = |o: &usize| match above.get(o).or_else(|| below.get(o)) {
            Some(Level::Row | Level::Total) => self.graph.nodes[*o].value.spec.dtype.size() >= 4,
            Some(Level::Element) => row.by_four() || self.graph.nodes[*o].value.spec.dtype.size() >= 4,
            None => false,
        };
        let folds = a.folds(self.graph) + b.folds(self.graph);
        let fits = a.members.iter().all(|n| agree(&n))
            && a.outputs.iter().chain(&b.outputs).all(written)
            && row.is_fit(self.facts)
            && folds <= FOLDS
            && (a.words + b.words) * 2 * (folds + 1) <= self.most_words()
            && a.members.len() + b.members.len() <= MEMBERS
            && self.bindings(&[id, reader]) <= self.limit()
            && self.leads(id, reader);
        if !fits {
            return None;
        }
        let (into, from) = if a.anchor.is_some() { (id, reader) } else { (reader, id) };
        self.merge_rows(into, from, row, above.into_iter().chain(below).collect());
        Some(into)
    }

    fn merge_rows(&mut self, into: usize, from: usize, row: Row, levels: Levels) {
        let (Some(a), Some(b)) = (self.group(into), self.group(from)) else { return };
        let mut sinks = self.sinks(a);
        for (n, more) in self.sinks(b) {
            let all = sinks.entry(n).or_default();
            all.extend(more.into_iter().filter(|s| !all.contains(s)).collect::<SmallVec<[usize; 4]>>());
        }
        self.merge(into, from);
        if let Some(g) = &mut self.groups[into] {
            g.row = Some(row);
            g.numel = row.rows;
            g.levels = levels;
            g.sinks = sinks;
        }
        self.drop_outputs(into);
    }

    /// Makes one kernel of kernels that walk the same rows and do not wait for each other, where they read elements of
    /// the same value, which is then read once, or of small values that one kernel writes: large ones would all have to
    /// be there at once.
    pub(super) fn join_siblings(&mut self) {
        self.join_by(Some);
        loop {
            let writers = self.writers();
            let small = |leaf: &usize| self.graph.numel(*leaf) <= TOGETHER;
            let small: HashMap<usize, usize> = writers.into_iter().filter(|(leaf, _)| small(leaf)).collect();
            if !self.join_by(|leaf| small.get(&leaf).copied()) {
                return;
            }
        }
    }

    /// Joins what reads from the same source; whether there was any.
    fn join_by(&mut self, source: impl Fn(usize) -> Option<usize>) -> bool {
        let graph = self.graph;
        let rows = self.groups.iter().enumerate().filter_map(|(id, g)| Some((id, g.as_ref()?, g.as_ref()?.row?)));
        let read = |(id, g, row): (usize, &Group, Row)| {
            let whole = g.leaves().filter(|&l| graph.numel(l) >= row.numel());
            whole.filter_map(|leaf| Some((source(leaf)?, id))).collect::<SmallVec<[_; 4]>>()
        };
        let mut reads: Vec<(usize, usize)> = rows.filter(|r| r.2.inner.is_some()).flat_map(read).collect();
        reads.sort_unstable();
        let mut became: HashMap<usize, usize> = HashMap::default();
        for alike in reads.chunk_by(|a, b| a.0 == b.0) {
            let now = |&(_, mut id): &(usize, usize)| {
                while let Some(&next) = became.get(&id) {
                    id = next;
                }
                id
            };
            let mut ids: Vec<usize> = alike.iter().map(now).collect();
            ids.sort_unstable();
            ids.dedup();
            while let Some(id) = ids.pop() {
                let joined = ids.extract_if(.., |other| self.join_sibling(id, *other));
                became.extend(joined.map(|other| (other, id)));
            }
        }
        !became.is_empty()
    }

    fn join_sibling(&mut self, id: usize, other: usize) -> bool {
        let (Some(a), Some(b)) = (self.group(id), self.group(other)) else { return false };
        let joined = a.row.zip(b.row).and_then(|(a, b)| a.joined(&b));
        let Some(row) = joined.filter(|row| !row.total && row.is_fit(self.facts)) else { return false };
        let (folds, words) = (a.folds(self.graph) + b.folds(self.graph), a.words + b.words);
        let fits = folds <= FOLDS
            && a.members.iter().all(|n| !b.members.contains(n) || a.levels.get(n) == b.levels.get(n))
            && words * 2 * (folds + 1) <= self.most_words()
            && a.members.len() + b.members.len() <= MEMBERS
            && self.bindings(&[id, other]) <= self.limit()
            && self.is_apart(id, other)
            && self.is_apart(other, id);
        if fits {
            let levels = a.levels.iter().chain(&b.levels).map(|(n, level)| (*n, *level)).collect();
            self.merge_rows(id, other, row, levels);
        }
        fits
    }

    /// Whether `after` does not wait for `id`; said only where that is soon seen.
    fn is_apart(&self, id: usize, after: usize) -> bool {
        let mut stack = vec![id];
        let mut seen = super::HashSet::default();
        while let Some(at) = stack.pop() {
            if at == after || seen.len() > BEHIND {
                return false;
            }
            if seen.insert(at) {
                stack.extend(self.followers(at));
            }
        }
        true
    }

    /// The kernels that read what one writes.
    fn followers(&self, id: usize) -> Vec<usize> {
        let outputs = self.group(id).map_or(&[][..], |g| &g.outputs);
        outputs.iter().flat_map(|&o| self.readers(o)).map(|r| r.0).filter(|&r| r != id).collect()
    }

    /// No longer writes what only the kernel itself reads.
    pub(super) fn drop_outputs(&mut self, id: usize) {
        let Some(g) = self.group(id) else { return };
        let inside = |o: &usize| {
            let node = &self.graph.nodes[*o];
            !node.held && !self.is_kept(*o) && !node.consumers.is_empty() && self.readers(*o).iter().all(|r| r.0 == id)
        };
        let kept: Vec<usize> = g.outputs.iter().copied().filter(|o| !inside(o)).collect();
        if let Some(g) = &mut self.groups[id] {
            g.outputs = kept;
        }
    }

    /// The levels of a kernel's members, found from its outputs down; `None` where an output has none.
    fn levels(&self, group: &Group, row: &mut Row) -> Option<Levels> {
        if group.row.is_some() {
            return Some(group.levels.clone());
        }
        let mut members: Vec<usize> = group.members.iter().copied().collect();
        members.sort_unstable_by(|a, b| b.cmp(a));
        let mut levels = Levels::default();
        for n in members {
            let output = group.outputs.contains(&n);
            let own = if output { Some(row.level(self.graph.numel(n))?) } else { None };
            let level = self.level(row, &levels, &group.members, n);
            match (own, level) {
                (Some(own), None) => levels.insert(n, own),
                (own, Some(Some(level))) if own.is_none_or(|o| o == level) => levels.insert(n, level),
                // an output that is read at other places too
                (Some(_), _) => return None,
                (None, _) => None,
            };
        }
        Some(levels)
    }

    /// The levels of members among rows that are the elements of theirs, if their folds end all that these are for.
    fn nested(&self, group: &Group) -> Option<Levels> {
        let mut members: Vec<usize> = group.members.iter().copied().collect();
        members.sort_unstable();
        let mut after: super::HashSet<usize> = super::HashSet::default();
        for &n in &members {
            let waits = |i: usize| {
                after.contains(&i) || group.members.contains(&i) && self.graph.nodes[i].rule.fold().is_some()
            };
            if self.graph.nodes[n].inputs.iter().any(|i| waits(i.0)) {
                after.insert(n);
            }
        }
        let last = |n: &usize| group.levels.get(n) != Some(&Level::Row) && after.contains(n);
        if members.iter().any(last) {
            return None;
        }
        Some(group.levels.iter().filter_map(|(n, level)| Some((*n, level.nested()?))).collect())
    }

    /// The level at which members read `node`: `None` if none does, `Some(None)` if they do not agree.
    fn level(
        &self,
        row: &mut Row,
        levels: &Levels,
        members: &super::HashSet<usize>,
        node: usize,
    ) -> Option<Option<Level>> {
        let mut found = None;
        for &(c, k) in &self.graph.nodes[node].consumers {
            if members.contains(&c) {
                let level = self.graph.aligned(row, levels.get(&c).copied(), c, k);
                found = match found {
                    None => Some(level),
                    Some(before) if before == level => Some(before),
                    Some(_) => return Some(None),
                };
            }
        }
        found
    }

    fn sinks(&self, group: &Group) -> HashMap<usize, SmallVec<[usize; 4]>> {
        if group.row.is_some() {
            return group.sinks.clone();
        }
        group.members.iter().map(|&n| (n, SmallVec::from_elem(OUTPUT, 1))).collect()
    }

    /// For which folds or outputs a kernel of rows would compute `node`.
    fn sinks_of(&self, g: &Group, node: usize) -> SmallVec<[usize; 4]> {
        let mut all: SmallVec<[usize; 4]> = SmallVec::new();
        let mut add = |s: usize| {
            if !all.contains(&s) {
                all.push(s);
            }
        };
        for (c, _) in self.graph.nodes[node].consumers.iter().filter(|c| g.members.contains(&c.0)) {
            if self.graph.nodes[*c].rule.fold().is_some() {
                add(*c);
            } else {
                g.sinks.get(c).into_iter().flatten().copied().for_each(&mut add);
            }
        }
        all
    }

    /// Whether a kernel of rows would not compute an expensive map again and again.
    pub(super) fn is_cheap_in_rows(&self, group: usize, node: usize) -> bool {
        let Some(g) = self.group(group).filter(|g| g.row.is_some()) else { return true };
        let Some(body) = self.graph.nodes[node].rule.body() else { return false };
        let one = self.graph.numel(node) < g.row.map_or(0, |r| r.numel());
        let walks = self.sinks_of(g, node).len().saturating_sub(1) as u32;
        g.members.len() < MEMBERS && (one || walks * body.cost() <= AGAIN)
    }

    /// Notes the level of a map that is about to join a kernel of rows.
    pub(super) fn join_row(&mut self, group: usize, node: usize) {
        let Some(g) = self.group(group) else { return };
        let Some(mut row) = g.row else { return };
        let sinks = self.sinks_of(g, node);
        let level = self.level(&mut row, &g.levels, &g.members, node).flatten();
        if let Some(g) = &mut self.groups[group] {
            g.sinks.insert(node, sinks);
            if let Some(level) = level {
                g.levels.insert(node, level);
                g.row = Some(row);
            }
        }
    }

    /// Whether nothing stands between `id` and `reader`, which reads it.
    fn leads(&self, id: usize, reader: usize) -> bool {
        let outputs = self.group(id).map_or(&[][..], |g| &g.outputs);
        if outputs.iter().any(|&o| self.reads_behind(reader, o)) {
            return false;
        }
        let mut stack = self.followers(id);
        stack.retain(|&r| r != reader);
        let mut seen = super::HashSet::default();
        while let Some(at) = stack.pop() {
            if at == reader {
                return false;
            }
            if seen.insert(at) {
                stack.extend(self.followers(at));
            }
        }
        true
    }
}

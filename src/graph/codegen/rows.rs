//! A kernel of rows: invocations walk their row as often as folds wait for others, and keep what each gave.

use super::eval::Memo;
use super::index::{Ix, Scope};
use super::place::{PlaceId, Places};
use super::{Generated, Kernel, Val};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::graph::library::{compute, wgsl};
use crate::graph::row::{Level, Row, group};
use crate::layout::Layout;
use rustc_hash::FxHashMap as HashMap;
use std::fmt::Write as _;

/// What an invocation computes at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Four elements of a row.
    Four,
    /// One element.
    One,
    /// An element of each of four rows side by side.
    Beside,
}

/// What is computed in which walk.
struct Stages {
    /// Members from inputs to outputs, without those of all rows together.
    members: Vec<usize>,
    /// Members of all rows together.
    totals: Vec<usize>,
    /// In which walk a fold is joined, or from which on a map can be computed.
    level: HashMap<usize, usize>,
    /// In which walk each output of elements is written, in the order of the outputs.
    written: Vec<(usize, usize)>,
    /// The walks that there are.
    walks: Vec<usize>,
}

/// A fold in the kernel's text.
struct Sum {
    node: usize,
    keep: usize,
    dtype: DType,
    name: String,
    join: String,
    join4: String,
}

/// How the rows are walked.
struct Walker {
    row: Row,
    step: Step,
    /// Rows, or groups of four.
    tasks: usize,
    /// Invocations for each.
    lanes: u32,
    group: u32,
    /// The number of the row.
    at: Ix,
    outer: Ix,
    inner: Ix,
    /// Texts of a row's length, and of an element's place.
    length: String,
    place: String,
    /// Functions that join over lanes.
    shared: String,
    over: Vec<(DType, String)>,
    work: u64,
}

/// Where an invocation is.
struct Cursor {
    step: Step,
    outer: Ix,
    k: Ix,
    inner: Ix,
    flat: Ix,
}

impl Kernel<'_> {
    fn stages(&self) -> Stages {
        let (graph, group) = (self.graph, self.group);
        let mut all: Vec<usize> = group.members.iter().copied().collect();
        all.sort_unstable();
        let (totals, members): (Vec<usize>, Vec<usize>) =
            all.into_iter().partition(|n| group.level(*n) == Some(Level::Total));
        let mut level: HashMap<usize, usize> = HashMap::default();
        let is_fold = |n: usize| graph.nodes[n].rule.fold().is_some();
        for &n in &members {
            let after = |i: usize| level.get(&i).map_or(0, |l| l + usize::from(is_fold(i)));
            let at = graph.nodes[n].inputs.iter().map(|i| after(i.0)).max().unwrap_or(0);
            level.insert(n, at);
        }
        let mut walks: Vec<usize> = members.iter().filter(|n| is_fold(**n)).map(|n| level[n]).collect();
        walks.sort_unstable();
        let mut written = Vec::new();
        for &o in group.outputs.iter().filter(|o| group.level(**o) == Some(Level::Element)) {
            // with the next folds, or after all of them
            let at = walks.iter().copied().find(|&w| w >= level[&o]).unwrap_or(usize::MAX);
            written.push((o, at));
        }
        walks.extend(written.iter().map(|w| w.1));
        walks.sort_unstable();
        walks.dedup();
        Stages { members, totals, level, written, walks }
    }

    /// A kernel that walks rows.
    pub(super) fn rows(mut self, row: Row, facts: &Facts) -> Result<Generated> {
        let stages = self.stages();
        let mut main = Scope::default();
        let mut w = Walker::new(&mut self, row, facts);
        let totals = self.open(&mut main, &mut w, &stages)?;
        let mut places = Places::default();
        let mut memo = Memo::default();
        for &stage in &stages.walks {
            for &n in stages.members.iter().filter(|n| stages.level[n] <= stage) {
                self.row_value(&mut main, (&mut places, &mut memo), n, &w.at)?;
            }
            let mut sums = Vec::new();
            for &node in stages.members.iter().filter(|n| stages.level[n] == stage) {
                sums.extend(self.sum(&mut main, &w, node, format!("s{stage}_{}", sums.len()))?);
            }
            let written: Vec<usize> = stages.written.iter().filter(|o| o.1 == stage).map(|o| o.0).collect();
            let (length, lanes, place) = (w.length.clone(), w.lanes, w.place.clone());
            let (start, by) = if w.step == Step::Four { ("first * 4u", lanes * 4) } else { ("first", lanes) };
            let end = if w.has_rest() { format!("({length} & 0xfffffffcu)") } else { length.clone() };
            main.line(&format!("for (var k = {start}; k < {end}; k += {by}u) {{\n  let e = {place};"));
            self.walk(&mut main, &w, w.cursor(w.step), &sums, &written)?;
            main.line("}");
            if w.has_rest() {
                main.line(&format!("for (var k = {end} + first; k < {length}; k += {lanes}u) {{\n  let e = {place};"));
                self.walk(&mut main, &w, w.cursor(Step::One), &sums, &written)?;
                main.line("}");
            }
            for sum in sums {
                let value = self.close(&mut main, &mut w, &sum)?;
                self.rows.insert(sum.node, value);
            }
        }
        for &n in &stages.members {
            self.row_value(&mut main, (&mut places, &mut memo), n, &w.at)?;
        }
        for sum in &totals {
            let (input, layout) = self.graph.nodes[sum.node].inputs[0].clone();
            let place = places.at(layout.shape(), &w.at);
            let value = self.input_value(&mut main, &mut places, &mut memo, (input, &layout), place)?;
            let value = self.cast(&mut main, value, sum.dtype)?;
            let (join, value) =
                if w.step == Step::Beside { (&sum.join4, value.widened()) } else { (&sum.join, value.text) };
            main.line(&format!("if live && first == 0u {{ {0} = {join}({0}, {value}); }}", sum.name));
        }
        self.write(&mut main, Level::Row, "live && first == 0u", &w.at)?;
        if row.total {
            main.line("}");
            self.close_totals(&mut main, &mut w, &stages, &totals)?;
        }
        let text = format!(
            "{}@compute @workgroup_size({})\nfn main(\n  @builtin(workgroup_id) group: vec3<u32>,\n  \
             @builtin(num_workgroups) groups: vec3<u32>,\n  @builtin(local_invocation_id) local: vec3<u32>,\n) {{\n  let lane = local.x;\n{}}}\n",
            w.shared, w.group, main.text
        );
        let groups = if row.total { 1 } else { (w.tasks * w.lanes as usize).div_ceil(w.group as usize) as u32 };
        Ok(self.finish("", &text, groups, w.work))
    }

    /// The statements that say which row an invocation walks; the folds of all rows.
    fn open(&mut self, main: &mut Scope, w: &mut Walker, stages: &Stages) -> Result<Vec<Sum>> {
        let (group, lanes, inner) = (w.group, w.lanes, w.row.inner());
        // never more than 65,535: a zero that no driver knows. Lavapipe would else put the bounds of loops into the code
        // as constants, at each dispatch anew
        main.line("let nought = groups.x >> 16u;");
        main.line(&format!("let length = {} + nought;", w.length));
        w.length = "length".to_owned();
        main.line(&format!("let count = {} + nought;", self.number(w.tasks as u32)));
        let count = "count";
        let mut totals = Vec::new();
        for &node in &stages.totals {
            totals.extend(self.sum(main, w, node, format!("all_{}", totals.len()))?);
        }
        let each = group / lanes;
        if w.row.total {
            main.line(&format!("for (var base = 0u; base < {count}; base += {each}u) {{"));
            main.line(&format!("let task = base + lane / {lanes}u;"));
        } else {
            let first = self.first(w.work);
            main.line(&format!("let task = ({first} + group.x + group.y * groups.x) * {each}u + lane / {lanes}u;"));
        }
        main.line(&format!("let live = task < {count};"));
        main.line(&format!("let first = lane % {lanes}u;"));
        let by = if w.step == Step::Beside { " * 4u" } else { "" };
        // invocations past the end repeat the last row, so that all take the same way
        main.line(&format!("let row = min(task, {count} - 1u){by};"));
        let length = &w.length;
        w.place = format!("row * {length} + k");
        if inner > 1 {
            let size = self.number(inner as u32);
            let outer = self.quotient(main, Ix::scalar("row", false), inner, w.row.rows)?;
            main.line(&format!("let outer = {};", outer.text()));
            main.line(&format!("let inner = row - outer * {size};"));
            w.place = format!("(outer * {length} + k) * {size} + inner");
        }
        Ok(totals)
    }

    /// Writes the outputs of a level.
    fn write(&mut self, main: &mut Scope, level: Level, when: &str, at: &Ix) -> Result<()> {
        main.line(&format!("if {when} {{"));
        for &o in self.group.outputs.iter().filter(|o| self.group.level(**o) == Some(level)) {
            let Some(value) = self.rows.get(&o).cloned() else {
                bail!(Device, "codegen", "a value of rows was not computed");
            };
            self.store(main, o, self.graph.nodes[o].value.spec.dtype, at, &value)?;
        }
        main.line("}");
        Ok(())
    }

    /// What follows from the folds of all rows, which one workgroup walks.
    fn close_totals(&mut self, main: &mut Scope, w: &mut Walker, stages: &Stages, totals: &[Sum]) -> Result<()> {
        for sum in totals {
            let (name, join, ty) = (&sum.name, &sum.join, compute(sum.dtype));
            let one = match w.step {
                Step::Beside => format!("{join}({join}({name}.x, {name}.y), {join}({name}.z, {name}.w))"),
                _ => name.clone(),
            };
            let text = main.bind(format!("{}(lane, {one})", w.over_lanes(ty, join, w.group)));
            self.rows.insert(sum.node, Val { text, ty, four: false });
        }
        let (mut places, mut memo) = (Places::default(), Memo::default());
        for &n in &stages.totals {
            self.row_value(main, (&mut places, &mut memo), n, &Ix::zero())?;
        }
        self.write(main, Level::Total, "lane == 0u", &Ix::zero())
    }

    /// Computes a member that is a map of rows or of all rows together, unless that was done.
    fn row_value(
        &mut self,
        main: &mut Scope,
        (places, memo): (&mut Places, &mut Memo),
        node: usize,
        at: &Ix,
    ) -> Result<()> {
        let plan = &self.graph.nodes[node];
        let of_rows = matches!(self.group.level(node), Some(Level::Row | Level::Total));
        let map = plan.rule.body().is_some() && of_rows;
        if map && !self.rows.contains_key(&node) {
            let place = places.at(&plan.value.spec.shape, at);
            self.value(main, places, memo, node, place)?;
            if let Some(seen) = self.computed(main, memo, node, place)? {
                self.rows.insert(node, seen);
            }
        }
        Ok(())
    }

    /// Declares a fold's partial results; nothing for a map.
    fn sum(&mut self, main: &mut Scope, w: &Walker, node: usize, name: String) -> Result<Option<Sum>> {
        let Some(fold) = self.graph.nodes[node].rule.fold().copied() else { return Ok(None) };
        let total = self.group.level(node) == Some(Level::Total);
        let dtype = self.graph.nodes[node].value.spec.dtype;
        let ty = compute(dtype);
        let low = self.number(fold.init as u32);
        let init = match ty.size() {
            8 => {
                let high = self.number((fold.init >> 32) as u32);
                format!("bitcast<{}>(u64({low}) | (u64({high}) << 32u))", wgsl(ty, false))
            }
            _ => format!("bitcast<{}>({low})", wgsl(ty, false)),
        };
        let init = main.bind(init);
        let four = w.step == Step::Beside || w.step == Step::Four && !total;
        let wide = if four { format!("{}({init})", wgsl(ty, true)) } else { init.clone() };
        main.line(&format!("var {name} = {wide};"));
        if !total {
            main.line(&format!("var {name}_next = {name};"));
        }
        if w.has_rest() && !total {
            main.line(&format!("var {name}_rest = {init};"));
        }
        let join = self.instances.call(None, fold.join, ty, false)?;
        let join4 = self.instances.call(None, fold.join, ty, true)?;
        Ok(Some(Sum { node, keep: fold.keep, dtype, name, join, join4 }))
    }

    /// What is done at one place of a walk.
    fn walk(&mut self, main: &mut Scope, w: &Walker, c: Cursor, sums: &[Sum], written: &[usize]) -> Result<()> {
        let mut places = Places::default();
        let mut memo = Memo::default();
        for sum in sums {
            let (input, layout) = self.graph.nodes[sum.node].inputs[0].clone();
            let shape = self.graph.nodes[input].value.spec.shape.clone();
            let aligned = match self.group.members.contains(&input) {
                true => self.group.level(input) == Some(Level::Element),
                false => w.row.folded(&layout, sum.keep).is_some_and(|r| r.inner() == w.row.inner()),
            };
            let (place, layout) = if aligned {
                (c.place(&mut places, &w.row, &shape), Layout::contiguous(&shape))
            } else {
                let groups = [(w.at.clone(), sum.keep), (c.k.clone(), layout.rank() - sum.keep)];
                (places.by_coords(layout.shape(), groups.into_iter().collect()), layout)
            };
            let value = self.input_value(main, &mut places, &mut memo, (input, &layout), place)?;
            let value = self.cast(main, value, sum.dtype)?;
            let name = &sum.name;
            if c.step == Step::One && w.step != Step::One {
                main.line(&format!("{name}_rest = {}({name}_rest, {});", sum.join, value.text));
                continue;
            }
            let (join, value) =
                if c.step == Step::One { (&sum.join, value.text) } else { (&sum.join4, value.widened()) };
            // two sums take turns, so that none waits for the one before; the fold's own kernel adds in the same order
            let sum = main.bind(format!("{join}({name}, {value})"));
            main.line(&format!("{name} = {name}_next;"));
            main.line(&format!("{name}_next = {sum};"));
        }
        for &node in written {
            let spec = self.graph.nodes[node].value.spec.clone();
            let place = c.place(&mut places, &w.row, &spec.shape);
            let value = self.value(main, &mut places, &mut memo, node, place)?;
            main.line("if live {");
            match &c.flat {
                Ix::Linear { text, m4: false } => {
                    // rows that start between groups of four
                    let four = main.bind(value.widened());
                    for l in 0..4 {
                        let one = Val { text: format!("{four}[{l}]"), four: false, ..value.clone() };
                        self.store(main, node, spec.dtype, &Ix::scalar(format!("{text} + {l}u"), false), &one)?;
                    }
                }
                flat => self.store(main, node, spec.dtype, flat, &value)?,
            }
            main.line("}");
        }
        Ok(())
    }

    /// A fold's result, known to all invocations of the row.
    fn close(&mut self, main: &mut Scope, w: &mut Walker, sum: &Sum) -> Result<Val> {
        let (name, join) = (&sum.name, &sum.join);
        let ty = compute(sum.dtype);
        let join4 = if w.step == Step::One { join } else { &sum.join4 };
        let all = main.bind(format!("{join4}({name}, {name}_next)"));
        let mut text = match w.step {
            Step::Four => format!("{join}({join}({all}.x, {all}.y), {join}({all}.z, {all}.w))"),
            _ => all,
        };
        if w.has_rest() {
            text = format!("{join}({name}_rest, {text})");
        }
        if w.lanes > 1 {
            text = format!("{}(lane, {text})", w.over_lanes(ty, join, w.lanes));
        }
        Ok(Val { text: main.bind(text), ty, four: w.step == Step::Beside })
    }
}

impl Walker {
    fn new(kernel: &mut Kernel<'_>, row: Row, facts: &Facts) -> Self {
        let inner = row.inner();
        let step = match inner {
            1 => Step::Four,
            _ if row.beside() => Step::Beside,
            _ => Step::One,
        };
        let tasks = row.tasks();
        let work = (row.numel() * kernel.group.members.len()) as u64;
        let linear = |text: &str| match step {
            Step::Beside => Ix::Linear { text: text.into(), m4: true },
            _ => Ix::scalar(text, false),
        };
        Walker {
            row,
            step,
            tasks,
            lanes: row.lanes(facts),
            group: group(tasks * row.lanes(facts) as usize, facts),
            at: linear("row"),
            outer: if inner == 1 { Ix::scalar("row", false) } else { Ix::scalar("outer", false) },
            inner: if inner == 1 { Ix::zero() } else { linear("inner") },
            length: kernel.number(row.length as u32),
            place: String::new(),
            shared: String::new(),
            over: Vec::new(),
            work,
        }
    }

    /// Whether rows end between groups of four.
    fn has_rest(&self) -> bool {
        self.step == Step::Four && !self.row.length.is_multiple_of(4)
    }

    fn cursor(&self, step: Step) -> Cursor {
        let k = match step {
            Step::Four => Ix::Linear { text: "k".into(), m4: true },
            _ => Ix::scalar("k", false),
        };
        let flat = match step {
            Step::Four => Ix::Linear { text: "e".into(), m4: self.row.length.is_multiple_of(4) },
            Step::Beside => Ix::Linear { text: "e".into(), m4: true },
            Step::One => Ix::scalar("e", false),
        };
        Cursor { step, outer: self.outer.clone(), k, inner: self.inner.clone(), flat }
    }

    /// The function that joins the values of so many invocations.
    fn over_lanes(&mut self, ty: DType, join: &str, lanes: u32) -> String {
        let name = format!("over_{lanes}_{join}");
        if self.over.iter().any(|o| o.1 == name) {
            return name;
        }
        let (group, t) = (self.group, wgsl(ty, false));
        // writing to a String cannot fail
        if !self.over.iter().any(|o| o.0 == ty) {
            let _ = writeln!(self.shared, "var<workgroup> lanes_{t}: array<{t}, {group}>;");
        }
        let _ = writeln!(
            self.shared,
            "fn {name}(lane: u32, value: {t}) -> {t} {{\n  let first = lane % {lanes}u;\n  workgroupBarrier();\n  \
             lanes_{t}[lane] = value;\n  for (var half = {lanes}u / 2u; half > 0u; half /= 2u) {{\n    \
             workgroupBarrier();\n    if first < half {{\n      \
             lanes_{t}[lane] = {join}(lanes_{t}[lane], lanes_{t}[lane + half]);\n    }}\n  }}\n  \
             workgroupBarrier();\n  return lanes_{t}[lane - first];\n}}"
        );
        self.over.push((ty, name.clone()));
        name
    }
}

impl Cursor {
    /// The place in a shape that has as many elements as all rows.
    fn place(&self, places: &mut Places, row: &Row, shape: &[usize]) -> PlaceId {
        let groups = match row.split(shape) {
            Some((a, b)) => {
                let all = [(&self.outer, a), (&self.k, b - a), (&self.inner, shape.len() - b)];
                all.into_iter().filter(|g| g.1 > 0).map(|(ix, dims)| (ix.clone(), dims)).collect()
            }
            None => [(self.flat.clone(), shape.len())].into_iter().collect(),
        };
        let id = places.by_coords(shape, groups);
        places.lies_at(id, &self.flat);
        id
    }
}

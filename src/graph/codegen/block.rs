//! Maps in blocks of 4 x 4: for inputs that lie across the result, as a transposed one does.
//!
//! A map by itself computes four neighbours, which such an input has in four places far apart. A block reads four times
//! four neighbours of the input instead and turns them in registers; the rest of the map is the same for each of its rows.

use super::index::{Ix, Scope};
use super::place::{Kind, PlaceId, Places};
use super::{Generated, Kernel, MAP_GROUP, Val, eval};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::library;
use crate::layout::{Layout, merged};
use crate::shape::{Dims, numel};
use smallvec::SmallVec;
use std::fmt::Write as _;

const BLOCKS: &str = library::shader!("map_blocks.wgsl");
/// A block's text stands four times in the compiled kernel.
const MEMBERS: usize = 48;
/// Neighbours lie so many blocks below each other, as a power of two, and the others beside them.
const NEAR: u32 = 2;
/// Inputs that are turned hold sixteen elements each in registers.
const TURNED: usize = 4;

/// The rows and columns of blocks: two dimensions of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axes {
    row: usize,
    column: usize,
}

/// The element of the result in the function being written.
#[derive(Debug)]
enum Root {
    /// Four neighbours, in row-by-row order: what is read across is noted.
    Neighbours(Ix),
    /// A row of a block: its place, which is so many elements into the result, and the block's axes.
    Row(PlaceId, Ix, Axes),
}

/// Stored values that a map reads across its result.
#[derive(Debug, Default)]
pub(super) struct Across {
    /// None where no map is written by itself.
    root: Option<Root>,
    /// What is read across, as the result sees it, with dimensions joined that lie like one.
    reads: Vec<(usize, Layout)>,
}

/// The axes of blocks in which loads of `layout` are whole groups of four, if it lies across.
fn across(layout: &Layout) -> Option<Axes> {
    let (shape, strides) = (layout.shape(), layout.strides());
    let column = shape.iter().rposition(|&s| s != 1)?;
    let row = (0..column).find(|&d| shape[d] != 1 && strides[d] == 1)?;
    let fours = |d: usize| d == row || shape[d] == 1 || strides[d] % 4 == 0;
    let whole = shape[row] % 4 == 0 && shape[column] % 4 == 0 && layout.offset() % 4 == 0;
    (whole && strides[column] != 0 && (0..shape.len()).all(fours)).then_some(Axes { row, column })
}

impl Across {
    /// A function that computes four neighbours from `flat` on.
    pub(super) fn watch(&mut self, flat: Ix) {
        self.root = Some(Root::Neighbours(flat));
    }

    /// How the result sees what `layout` shows at a place.
    fn seen(&self, places: &Places, mut id: PlaceId, layout: &Layout) -> Option<Layout> {
        let mut layout = layout.clone();
        loop {
            match (&places.list[id].kind, self.root.as_ref()?) {
                (Kind::Groups(_), Root::Row(root, ..)) if id == *root => return Some(layout),
                (Kind::Groups(g), Root::Row(_, flat, _) | Root::Neighbours(flat)) => {
                    if g.len() != 1 || g[0].0 != *flat {
                        return None;
                    }
                    let joined: Dims = merged(layout.shape(), layout.strides()).iter().map(|a| a.0).collect();
                    return layout.reshape(&joined);
                }
                (Kind::Seen { parent, layout: seen }, _) => {
                    layout = layout.reshape(&places.list[id].shape).and_then(|l| seen.compose(&l))?;
                    id = *parent;
                }
            }
        }
    }

    /// Notes that a stored value is read. In a block, the name of its turned row.
    pub(super) fn read(&mut self, places: &Places, id: PlaceId, input: usize, layout: &Layout) -> Option<String> {
        let layout = self.seen(places, id, layout)?;
        let axes = across(&layout)?;
        let in_block = match self.root {
            Some(Root::Row(root, _, block)) if block != axes || places.list[root].shape[..] != *layout.shape() => {
                return None;
            }
            Some(Root::Row(..)) => true,
            _ => false,
        };
        let known = self.reads.iter().position(|(n, l)| *n == input && *l == layout);
        let k = match known {
            Some(k) => k,
            None if self.reads.len() == TURNED => return None,
            None => {
                self.reads.push((input, layout));
                self.reads.len() - 1
            }
        };
        in_block.then(|| format!("x{k}"))
    }

    /// How blocks would lie, if there is reason for them.
    pub(super) fn blocks(&self, members: usize) -> Option<Blocks> {
        let (_, layout) = self.reads.first()?;
        let blocks = Blocks::new(layout.shape(), across(layout)?);
        (members <= MEMBERS && blocks.is_dense()).then_some(blocks)
    }
}

/// How the blocks of a result are dealt out: a workgroup computes a square of blocks, or nearly so.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    shape: Dims,
    axes: Axes,
    /// Blocks below each other, and beside each other.
    down: usize,
    along: usize,
    /// The places of the dimensions outside of rows, and of those between rows and columns.
    outer: usize,
    inner: usize,
    /// A workgroup is `1 << shift` blocks high.
    shift: u32,
    /// Workgroups below each other, and beside each other.
    bands: usize,
    strips: usize,
}

impl Blocks {
    fn new(shape: &[usize], axes: Axes) -> Self {
        let (down, along) = (shape[axes.row] / 4, shape[axes.column] / 4);
        let lanes = MAP_GROUP.trailing_zeros();
        let count = |shift: u32| (down.div_ceil(1 << shift), along.div_ceil(1 << (lanes - shift)));
        // as few workgroups as can be; a step away from the square costs an eighth, as its lines serve fewer blocks
        let cost = |&shift: &u32| {
            let (bands, strips) = count(shift);
            bands * strips * (8 + shift.abs_diff(lanes / 2) as usize)
        };
        let shift = (0..=lanes).min_by_key(cost).unwrap_or(lanes / 2);
        let (bands, strips) = count(shift);
        Self {
            shape: shape.into(),
            axes,
            down,
            along,
            outer: numel(&shape[..axes.row]),
            inner: numel(&shape[axes.row + 1..axes.column]),
            shift,
            bands,
            strips,
        }
    }

    fn groups(&self) -> usize {
        self.outer * self.inner * self.bands * self.strips
    }

    /// Whether at least half of the invocations have a block.
    fn is_dense(&self) -> bool {
        2 * self.down * self.along >= self.bands * self.strips * MAP_GROUP as usize
    }
}

impl Kernel<'_> {
    /// The kernel of a map in blocks.
    pub(super) fn blocks(mut self, blocks: &Blocks) -> Result<Generated> {
        let (axes, shape) = (blocks.axes, &blocks.shape);
        let dims = [axes.row, 1, axes.column - axes.row - 1, shape.len() - axes.column];
        // a coordinate for what is outside of rows, rows, what is between, and columns
        let coords = |row: Ix, column: Ix| {
            let all = [Ix::scalar("c0", false), row, Ix::scalar("c2", false), column];
            Kind::Groups(all.into_iter().zip(dims).collect::<SmallVec<[(Ix, usize); 4]>>())
        };
        let lanes = |name: &str| Ix::Linear { text: name.into(), m4: true };
        let (mut scope, mut places, mut memo) = (Scope::default(), Places::default(), eval::Memo::default());
        let root = places.add(shape, coords(Ix::scalar("c1", false), lanes("c3")));
        let flat = self.flat(&mut scope, &mut places, root)?;
        self.across = Across { root: Some(Root::Row(root, flat.clone(), axes)), reads: Vec::new() };
        self.outputs(&mut scope, &mut places, &mut memo, &flat, &flat)?;
        let reads = std::mem::take(&mut self.across).reads;
        let ty = |dtype: DType| library::wgsl(library::compute(dtype), true);
        let (mut arguments, mut rows) = (String::new(), [const { String::new() }; 4]);
        let mut block = Scope::default();
        for (k, (input, layout)) in reads.iter().enumerate() {
            let dtype = self.graph.nodes[*input].value.spec.dtype;
            let mut columns: SmallVec<[Val; 4]> = SmallVec::new();
            for l in 0..4 {
                let mut places = Places::default();
                let place = places.add(shape, coords(lanes("c1"), Ix::scalar(format!("(c3 + {l}u)"), false)));
                let at = self.offset(&mut block, &mut places, place, layout)?;
                columns.push(self.load(&mut block, *input, dtype, &at)?);
            }
            // writing to a String cannot fail
            let _ = write!(arguments, ", x{k}: {}", ty(dtype));
            for (row, text) in rows.iter_mut().enumerate() {
                let turned: Vec<String> = columns.iter().map(|c| format!("{}[{row}]", c.widened())).collect();
                let _ = write!(text, ", {}({})", ty(dtype), turned.join(", "));
            }
        }
        for (row, turned) in rows.iter().enumerate() {
            block.line(&format!("element(c0, c1 + {row}u, c2, c3{turned});"));
        }
        let names = "c0: u32, c1: u32, c2: u32, c3: u32";
        let mut text =
            format!("fn element({names}{arguments}) {{\n{}}}\nfn block({names}) {{\n{}}}\n", scope.text, block.text);
        let params = [
            ("near", blocks.shift.min(NEAR)),
            ("down", blocks.shift),
            ("along", MAP_GROUP.trailing_zeros() - blocks.shift),
            ("bands", blocks.bands as u32),
            ("strips", blocks.strips as u32),
            ("inner", blocks.inner as u32),
            ("planes", (blocks.inner * blocks.outer) as u32),
            ("rows", shape[axes.row] as u32),
            ("columns", shape[axes.column] as u32),
        ];
        let work = self.group.numel as u64 * self.group.members.len() as u64;
        text.push_str(&self.entry(BLOCKS, &params, work));
        Ok(self.finish("", &text, blocks.groups() as u32, work))
    }
}

//! Which kernel computes a product: by a table over the adapter's facts and the sizes, as it was forced, or as it was
//! measured.

use super::tune::{fastest, is_right};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gpu::Facts;
use crate::shape::numel;
use crate::tensor::{Device, Tensor};

/// A kernel of `shaders/matmul*.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    /// `matmul`: everywhere, and the oracle of all others.
    Portable,
    /// `matmul_lanes`: subgroups of a CPU.
    Lanes,
    /// `matmul_rows`: few rows or few columns.
    Rows,
    /// `matmul_tiles`, with tiles of so many rows and columns: 32, 64 or 128.
    Tiles(usize),
    /// `matmul_coop`: cooperative matrices, for halves.
    Coop,
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Choice {
    /// By which kernel.
    pub kernel: Kernel,
    /// In how many ranges of k, which are summed afterwards, in order.
    pub parts: usize,
}

/// Every kernel by its name.
const NAMES: [(&str, Kernel); 7] = [
    ("portable", Kernel::Portable),
    ("lanes", Kernel::Lanes),
    ("rows", Kernel::Rows),
    ("tiles32", Kernel::Tiles(32)),
    ("tiles64", Kernel::Tiles(64)),
    ("tiles128", Kernel::Tiles(128)),
    ("coop", Kernel::Coop),
];

/// What a choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub batches: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Of both factors.
    pub dtype: DType,
    /// Whether k is the contiguous axis of the first factor, and n of the second.
    pub along: (bool, bool),
}

impl Problem {
    /// The product of two tensors of equal leading dimensions.
    pub fn of(a: &Tensor, b: &Tensor) -> Self {
        let (la, lb) = (a.layout(), b.layout());
        let (sa, sb) = (la.shape(), lb.shape());
        let lead = sa.len() - 2;
        Self {
            batches: numel(&sa[..lead]),
            m: sa[lead],
            n: sb[lead + 1],
            k: sa[lead + 1],
            dtype: a.dtype(),
            along: (la.strides()[lead + 1].abs() == 1, lb.strides()[lead + 1].abs() == 1),
        }
    }

    /// The kind of problem, as it is remembered: sizes up to the same powers of two are of one kind.
    pub fn key(&self) -> String {
        let [batches, m, n, k] = [self.batches, self.m, self.n, self.k].map(usize::next_power_of_two);
        let along = |k: bool, names: [char; 2]| names[usize::from(!k)];
        let (a, b) = (along(self.along.0, ['k', 'm']), along(self.along.1, ['n', 'k']));
        format!("matmul {} {a}{b} {batches}x[{m}, {k}] x [{k}, {n}]", self.dtype)
    }

    /// Workgroups of a kernel, about.
    fn groups(&self, kernel: Kernel) -> usize {
        let (m, n) = (self.m, self.n);
        let each = match kernel {
            Kernel::Portable => m.div_ceil(4) * n.div_ceil(4) / 64,
            Kernel::Lanes => m.div_ceil(32) * n.div_ceil(32),
            Kernel::Rows => m.max(n).div_ceil(16),
            Kernel::Tiles(side) => m.div_ceil(side) * n.div_ceil(side),
            Kernel::Coop => m.div_ceil(64) * n.div_ceil(64),
        };
        self.batches * each.max(1)
    }
}

/// Products with fewer rows than this, or fewer columns, do not fill a CPU's subgroup.
const LANES_ROWS: usize = 5;
const LANES_COLUMNS: usize = 8;
/// Vectors that the kernel for few rows or columns takes at most.
const SHORT: usize = 8;
/// Workgroups that keep a GPU busy; with fewer, a long k is cut.
const BUSY: usize = 256;
/// A part of k is at least so long where it is cut for that: each part writes all its sums.
const PART: usize = 512;
/// Parts end at multiples of this, which all kernels' steps divide.
const STEP: usize = 16;

/// The steps of k in each part but the last.
pub(super) fn chunk(k: usize, parts: usize) -> usize {
    k.div_ceil(parts.max(1)).next_multiple_of(STEP)
}

/// The lanes of a subgroup, where the adapter is one that gains by sharing loads among them.
pub(super) fn lanes(facts: &Facts) -> Option<u32> {
    let cpu = facts.is_cpu && facts.subgroups;
    facts.subgroup_size.filter(|size| cpu && (*size == 4 || *size == 8))
}

/// Invocations of a workgroup that multiplies so many vectors of elements of `size` bytes.
pub(super) fn rows_group(short: usize, size: usize, facts: &Facts) -> Option<u32> {
    let most = facts.max_invocations.min(facts.max_workgroup_x);
    let fits = |group: u32| group <= most && group as usize * short * 4 * size <= facts.max_workgroup_bytes as usize;
    [64, 32].into_iter().find(|&g| fits(g))
}

/// A tile in workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Invocations along either side.
    pub lanes: u32,
    /// Fours of rows, and of columns, of each.
    pub fours: u32,
    /// Steps of k.
    pub depth: u32,
    /// Unused vectors behind each step.
    pub pad: u32,
}

impl Tile {
    /// Rows, and columns.
    pub fn side(&self) -> usize {
        (self.lanes * self.fours * 4) as usize
    }
}

/// A tile of so many rows and columns of elements of `size` bytes: as deep as the adapter's memory allows.
pub(super) fn tile(side: usize, size: usize, facts: &Facts) -> Option<Tile> {
    let (lanes, fours) = match side {
        32 => (8, 1),
        64 => (8, 2),
        128 => (16, 2),
        _ => return None,
    };
    let most = facts.max_invocations.min(facts.max_workgroup_x);
    let fits = |t: &Tile| {
        let steps = 2 * (t.lanes * t.fours + t.pad) * t.depth;
        lanes * lanes <= most && steps as usize * 4 * size <= facts.max_workgroup_bytes as usize
    };
    let shapes = [(16, 1), (16, 0), (8, 1), (8, 0), (4, 0)];
    shapes.into_iter().map(|(depth, pad)| Tile { lanes, fours, depth, pad }).find(fits)
}

/// What the kernel with cooperative matrices is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrices {
    /// Rows and columns of a matrix.
    pub side: u32,
    /// Invocations of a subgroup; four subgroups are a workgroup.
    pub lanes: u32,
    /// Unused halves behind each row of a tile.
    pub pad: u32,
}

impl Matrices {
    /// Rows and columns that a workgroup computes.
    pub fn tile(&self) -> usize {
        self.side as usize * 4
    }
}

/// Cooperative matrices as the adapter offers them, where a workgroup's memory holds the tiles.
pub(super) fn matrices(facts: &Facts) -> Option<Matrices> {
    let (side, lanes) = (facts.matrices?, facts.subgroup_size?);
    let fits = |pad: &u32| {
        // both tiles the way they take more, and a row of f32 matrices for each subgroup
        let bytes = 2 * 4 * side * (2 * side + pad) * 2 + 4 * 2 * side * side * 4;
        facts.f16 && 4 * lanes <= facts.max_invocations.min(facts.max_workgroup_x) && bytes <= facts.max_workgroup_bytes
    };
    [8, 0].into_iter().find(fits).map(|pad| Matrices { side, lanes, pad })
}

impl Kernel {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, k)| *k == self).map_or("portable", |(name, _)| name)
    }

    /// Whether the adapter can run it on such a problem.
    fn fits(self, p: &Problem, facts: &Facts) -> bool {
        let size = p.dtype.compute().size().max(4);
        match self {
            Kernel::Portable => true,
            Kernel::Lanes => lanes(facts).is_some() && p.dtype.compute() == DType::F32,
            Kernel::Rows => {
                let short = p.m.min(p.n);
                short <= SHORT && rows_group(short.next_power_of_two(), size, facts).is_some()
            }
            Kernel::Tiles(side) => tile(side, size, facts).is_some(),
            Kernel::Coop => p.dtype == DType::F16 && matrices(facts).is_some(),
        }
    }

    /// In how many parts: enough to keep the adapter busy, and few enough loop iterations for each invocation.
    fn parts(self, p: &Problem, facts: &Facts) -> usize {
        let steps = match self {
            // two loops in each other, of which drivers count every iteration
            Kernel::Tiles(_) | Kernel::Coop => 1,
            // an iteration takes four steps, and drivers may count more than one for it
            _ => 2,
        };
        let most = facts.max_loop_iterations.map_or(usize::MAX, |c| (c as usize * steps / STEP).max(1) * STEP);
        // a CPU has few processors, and one invocation of the portable kernel sums alone in any case
        let busy = if facts.is_cpu { 1 } else { BUSY / self.groups_of(p) };
        let parts = busy.min(p.k / PART).max(1).max(p.k.div_ceil(most));
        // as many as their rounded size leaves
        p.k.div_ceil(chunk(p.k, parts)).max(1)
    }

    fn groups_of(self, p: &Problem) -> usize {
        p.groups(self).max(1)
    }
}

impl Choice {
    /// A kernel with as many parts as it should take.
    fn of(kernel: Kernel, p: &Problem, facts: &Facts) -> Self {
        Self { kernel, parts: kernel.parts(p, facts) }
    }

    /// The kernels that can compute a problem.
    pub fn candidates(p: &Problem, facts: &Facts) -> Vec<Self> {
        NAMES.iter().filter(|(_, k)| k.fits(p, facts)).map(|(_, k)| Self::of(*k, p, facts)).collect()
    }

    /// The name of its kernel.
    pub fn name(&self) -> &'static str {
        self.kernel.name()
    }

    /// The choice of that name, where the adapter can run it on such a problem.
    pub fn named(name: &str, p: &Problem, facts: &Facts) -> Option<Self> {
        let (_, kernel) = NAMES.iter().find(|(n, _)| *n == name)?;
        kernel.fits(p, facts).then(|| Self::of(*kernel, p, facts))
    }

    /// The choice by the adapter's facts.
    pub fn table(p: &Problem, facts: &Facts) -> Self {
        let fits = |kernel: &Kernel| kernel.fits(p, facts);
        let (m, n) = (p.m, p.n);
        let order: &[Kernel] = if facts.is_cpu {
            // loads cost as much as dozens of multiplications, workgroup memory as much as any other
            if m >= LANES_ROWS && n >= LANES_COLUMNS { &[Kernel::Lanes] } else { &[] }
        } else if m.min(n) <= SHORT && p.k >= 32 {
            // bound by reading the large matrix: all lanes read, side by side
            &[Kernel::Rows]
        } else if p.dtype == DType::F16 && m.min(n) >= 32 && p.k >= 32 && fits(&Kernel::Coop) {
            // units of their own, several times as fast as any other way
            &[Kernel::Coop]
        } else if m.max(n) <= 16 && p.k < 64 {
            // many tiny products: a tile each would be mostly empty
            &[]
        } else if p.groups(Kernel::Tiles(128)) >= BUSY {
            // large tiles load the least for each product, as long as there are enough of them
            &[Kernel::Tiles(128), Kernel::Tiles(64), Kernel::Tiles(32)]
        } else if m.min(n) > 32 && (p.groups(Kernel::Tiles(64)) >= BUSY / 4 || p.k >= 2 * PART) {
            // fewer, but k can be cut
            &[Kernel::Tiles(64), Kernel::Tiles(32)]
        } else {
            &[Kernel::Tiles(32)]
        };
        let kernel = order.iter().copied().find(fits).unwrap_or(Kernel::Portable);
        Self::of(kernel, p, facts)
    }
}

/// How a product is computed on a device.
pub(super) fn choose(device: &Device, p: &Problem) -> Result<Choice> {
    let (facts, choices) = (device.facts(), device.engine().gpu().choices());
    if let Some(name) = choices.forced("matmul") {
        let all = NAMES.map(|(name, _)| name);
        if !all.contains(&name.as_str()) {
            bail!(Value, "matmul", "there is no kernel `{name}` to be forced; there are {}", all.join(", "));
        }
        if let Some(choice) = Choice::named(&name, p, facts) {
            return Ok(choice);
        }
    }
    if choices.tunes()
        && let Some(choice) = fastest(device, p)?
    {
        return Ok(choice);
    }
    let choice = Choice::table(p, facts);
    if choice.kernel == Kernel::Coop && !choices.trusts_matrices(|| is_right(device, Kernel::Coop)) {
        return Ok(Choice::table(p, &Facts { matrices: None, ..facts.clone() }));
    }
    Ok(choice)
}

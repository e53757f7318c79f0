//! Commands as plain data: what a plan becomes before it meets a device.

use std::sync::Arc;

use smallvec::SmallVec;

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// A compute kernel. Its WGSL text is its identity, so sizes belong into the parameters and never into the text.
///
/// The entry point is `main`. Storage buffers are `@group(0) @binding(0..)`. The parameter block, if any, is
/// `@group(1) @binding(0) var<uniform>` of `param_words` words rounded up to whole `vec4<u32>`; the fault buffer, if
/// `faults`, is `@group(1) @binding(1) var<storage, read_write> fault: array<atomic<u32>, 4>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// A name for messages and traces.
    pub label: String,
    /// The WGSL text.
    pub source: String,
    /// One entry per storage binding.
    pub access: Vec<Access>,
    /// Words of the parameter block, 0 for none.
    pub param_words: u32,
    /// The kernel may write to the fault buffer.
    pub faults: bool,
}

impl Kernel {
    /// Bytes of the parameter block as bound.
    pub(crate) fn param_bytes(&self) -> u64 {
        u64::from(self.param_words).next_multiple_of(4) * 4
    }
}

/// What stands behind a storage binding: a slot's buffer or a range of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The slot.
    pub slot: u32,
    /// Where the range begins, in bytes; a multiple of [`Facts::storage_align`](super::Facts::storage_align).
    pub offset: u64,
    /// How many bytes; where that is more than there are, all to the end.
    pub bytes: u64,
}

impl From<u32> for Binding {
    /// All of a slot's buffer.
    fn from(slot: u32) -> Self {
        Self { slot, offset: 0, bytes: u64::MAX }
    }
}

/// One run of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// What runs.
    pub kernel: Arc<Kernel>,
    /// What stands behind each storage binding.
    pub bindings: SmallVec<[Binding; 4]>,
    /// The parameter block; missing words are zero.
    pub params: Vec<u32>,
    /// Workgroups in all. They are folded over x and y, so a shader takes `wid.x + wid.y * num_workgroups.x` as its
    /// index and leaves when that is too large.
    pub groups: u32,
    /// Estimated work, 0 when unknown.
    pub work: u64,
}

/// A step of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Runs a kernel.
    Dispatch(Dispatch),
    /// Copies bytes between two buffers. Offsets are multiples of 4; so is `bytes`, unless the copy reaches the end of
    /// the target.
    Copy {
        /// Slot read.
        from: u32,
        /// Where reading starts, in bytes.
        from_offset: u64,
        /// Slot written.
        to: u32,
        /// Where writing starts, in bytes.
        to_offset: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Fills the slot's buffer with zeros.
    Clear(u32),
    /// All that follows goes into one submission, or nothing of it: it writes over buffers that were given, and needs no
    /// further one.
    Together,
    /// The slot is not used after this point: its buffer may serve a later command.
    Free(u32),
}

/// A list of commands over numbered slots, to be submitted in one piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Bytes behind each slot.
    pub slots: Vec<u64>,
    /// What to do, in order.
    pub commands: Vec<Command>,
}

impl Recording {
    /// Its kernel runs, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(run) => Some(run),
            _ => None,
        })
    }
}

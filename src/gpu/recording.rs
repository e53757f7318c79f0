//! Commands as plain data: what a plan becomes before it meets a device.

use std::sync::Arc;

use smallvec::SmallVec;

/// How a kernel uses a storage buffer.
///
/// ```
/// use calor::gpu::Access;
/// assert_ne!(Access::Read, Access::ReadWrite);
/// ```
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
/// `faults`, is `@group(1) @binding(1) var<storage, read_write> fault: array<atomic<u32>, 256>`, where a kernel
/// leaves a code in word 0.
///
/// ```
/// use calor::gpu::Kernel;
/// let kernel = Kernel {
///     label: "nothing".into(),
///     source: "@compute @workgroup_size(1) fn main() {}".into(),
///     access: vec![],
///     param_words: 0,
///     faults: false,
///     first: None,
/// };
/// // its text is its identity, its label is part of the value
/// assert_ne!(Kernel { label: "other".into(), ..kernel.clone() }, kernel);
/// ```
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
    /// The word of the parameter block that the kernel adds to a workgroup's index: a run of much work is cut there. Where
    /// there is none, a run stays whole.
    pub first: Option<u32>,
}

impl Kernel {
    /// Bytes of the parameter block as bound.
    pub(crate) fn param_bytes(&self) -> u64 {
        u64::from(self.param_words).next_multiple_of(4) * 4
    }
}

/// What stands behind a storage binding: a slot's buffer or a range of it.
///
/// ```
/// use calor::gpu::Binding;
/// assert_eq!(Binding::from(3), Binding { slot: 3, offset: 0, bytes: u64::MAX });
/// ```
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
///
/// ```
/// # use calor::gpu::{Dispatch, Kernel};
/// # let source = "@compute @workgroup_size(1) fn main() {}".into();
/// # let kernel = Kernel { label: "nothing".into(), source, access: vec![], param_words: 0, faults: false, first: None };
/// let run = Dispatch { kernel: kernel.into(), bindings: Default::default(), params: vec![], groups: 4, work: 0 };
/// assert_eq!((run.groups, run.kernel.access.len()), (4, run.bindings.len()));
/// ```
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
///
/// ```
/// use calor::gpu::{Command, Recording};
/// let copy = Command::Copy { from: 0, from_offset: 0, to: 1, to_offset: 8, bytes: 8 };
/// let recording = Recording { slots: vec![8, 16], commands: vec![Command::Clear(1), copy, Command::Free(0)] };
/// assert_eq!(recording.dispatches().count(), 0);
/// ```
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
///
/// ```
/// use calor::gpu::{AdapterChoice, Command, Gpu, Recording};
/// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
/// let clear = Recording { slots: vec![8], commands: vec![Command::Clear(0)] };
/// let zeros = gpu.submit(&clear, vec![None])?.remove(0).unwrap();
/// assert_eq!(gpu.read(&[(zeros, 0, 8)])?, [[0; 8]]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Bytes behind each slot.
    pub slots: Vec<u64>,
    /// What to do, in order.
    pub commands: Vec<Command>,
}

impl Recording {
    /// Its kernel runs, in order.
    ///
    /// ```
    /// # use calor::gpu::{Command, Dispatch, Kernel, Recording};
    /// # let source = "@compute @workgroup_size(1) fn main() {}".into();
    /// # let kernel = Kernel { label: "nothing".into(), source, access: vec![], param_words: 0, faults: false, first: None };
    /// # let run = Dispatch { kernel: kernel.into(), bindings: Default::default(), params: vec![], groups: 4, work: 0 };
    /// let recording = Recording { slots: vec![8], commands: vec![Command::Clear(0), Command::Dispatch(run)] };
    /// assert_eq!(recording.dispatches().map(|d| d.groups).collect::<Vec<_>>(), [4]);
    /// ```
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(run) => Some(run),
            _ => None,
        })
    }
}

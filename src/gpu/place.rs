//! Giving the commands of a recording their buffers, bind groups and parameters.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;

use super::Gpu;
use super::kernels::{Compiled, GroupKey};
use super::pace::Load;
use super::pool::{Buffer, padded};
use super::recording::{Access, Command, Dispatch, Recording};
use super::submit::Engine;
use crate::error::{Error, ErrorKind, Result, bail};

/// A command with everything it needs from wgpu.
pub(super) enum Step {
    Dispatch {
        /// Which of the compiled kernels.
        kernel: usize,
        group: wgpu::BindGroup,
        extra: Option<wgpu::BindGroup>,
        offset: Option<u32>,
        grid: (u32, u32),
        /// How many of the run's workgroups these are.
        groups: u32,
    },
    Copy {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Buffer,
        to_offset: u64,
        bytes: u64,
    },
    /// A range, where it begins and its bytes.
    Clear(wgpu::Buffer, u64, u64),
}

/// The slots of a recording while its commands are placed, and buffers that must live until it is submitted.
pub(super) struct Slots<'a> {
    sizes: &'a [u64],
    pub buffers: Vec<Option<Buffer>>,
    /// Freed and ours alone, by capacity: later slots may have them.
    retired: HashMap<u64, Vec<Buffer>>,
    /// Freed but shared: returned to the pool only when the recording is in the queue.
    held: Vec<Buffer>,
}

/// How far a recording is.
#[derive(Default)]
pub(super) struct Progress {
    /// The next command, and how many dispatches came before it.
    pub next: usize,
    kernel: usize,
    /// How many of its workgroups were placed already.
    groups: u32,
    /// The command for which memory was short last.
    pub starved: Option<usize>,
}

/// What a command does to a slot.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    Reads,
    Writes,
}

/// A range of a buffer, where it begins and its bytes, as a binding.
pub(super) fn entry(binding: u32, buffer: &wgpu::Buffer, (offset, bytes): (u64, u64)) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(bytes);
    wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size }),
    }
}

/// Folds a number of workgroups over two dimensions, as evenly as it goes.
fn fold(groups: u32, most: u32) -> Option<(u32, u32)> {
    let y = groups.div_ceil(most);
    (y <= most).then(|| (groups.div_ceil(y.max(1)), y))
}

/// How many workgroups of a run go into one submission that it has for itself: all, or equal shares with at most so much
/// work.
fn piece(run: &Dispatch, most_work: u64, most: u32) -> u32 {
    if run.kernel.first.is_none() || run.work <= most_work {
        return run.groups;
    }
    let pieces = u32::try_from(run.work.div_ceil(most_work.max(1))).unwrap_or(u32::MAX);
    let groups = run.groups.div_ceil(pieces).max(1);
    // whole rows of a grid: a workgroup that runs in two pieces would write twice
    if groups > most { groups / most * most } else { groups }
}

impl Slots<'_> {
    fn size(&self, slot: u32) -> Result<u64> {
        match self.sizes.get(slot as usize) {
            Some(bytes) => Ok(*bytes),
            None => bail!(Value, "submit", "slot {slot} of {}", self.sizes.len()),
        }
    }

    fn free(&mut self, slot: u32) -> Result<()> {
        self.size(slot)?;
        let Some(mut buffer) = self.buffers[slot as usize].take() else { return Ok(()) };
        if buffer.resize(0) {
            self.retired.entry(buffer.capacity()).or_default().push(buffer);
        } else {
            self.held.push(buffer);
        }
        Ok(())
    }

    /// Gives freed buffers back to the pool, once the commands that use them are in the queue.
    pub fn release(&mut self) {
        self.retired.clear();
        self.held.clear();
    }

    fn reuse(&mut self, capacity: u64, bytes: u64) -> Option<Buffer> {
        let mut buffer = self.retired.get_mut(&capacity)?.pop()?;
        // Retired buffers have one owner, so this succeeds.
        if buffer.resize(bytes) {
            return Some(buffer);
        }
        self.held.push(buffer);
        None
    }
}

impl Gpu {
    pub(super) fn slots<'a>(&self, recording: &'a Recording, mut bound: Vec<Option<Buffer>>) -> Result<Slots<'a>> {
        let count = recording.slots.len();
        if bound.len() > count {
            bail!(Value, "submit", "{} buffers for {count} slots", bound.len());
        }
        bound.resize(count, None);
        for (slot, (buffer, bytes)) in bound.iter().zip(&recording.slots).enumerate() {
            let Some(buffer) = buffer else { continue };
            if !buffer.belongs_to(&self.0.pool) {
                bail!(Value, "submit", "the buffer of slot {slot} belongs to another device");
            }
            if buffer.bytes() < *bytes {
                bail!(Value, "submit", "slot {slot} needs {bytes} bytes, its buffer has {}", buffer.bytes());
            }
        }
        Ok(Slots { sizes: &recording.slots, buffers: bound, retired: HashMap::default(), held: Vec::new() })
    }

    /// The buffer of a slot, allocated when the slot is written for the first time.
    fn occupy<'a>(&self, slots: &'a mut Slots<'_>, slot: u32, usage: Use) -> Result<&'a Buffer> {
        const OP: &str = "submit";
        let bytes = slots.size(slot)?;
        let at = slot as usize;
        if slots.buffers[at].is_none() {
            if usage == Use::Reads && bytes > 0 {
                bail!(Device, OP, "slot {slot} is read before anything is written to it");
            }
            let capacity = self.capacity(OP, bytes)?;
            let buffer = match slots.reuse(capacity, bytes) {
                Some(buffer) => buffer,
                None => self.allocate(OP, bytes)?,
            };
            slots.buffers[at] = Some(buffer);
        }
        match &slots.buffers[at] {
            Some(buffer) => Ok(buffer),
            None => bail!(Device, OP, "slot {slot} has no buffer"),
        }
    }

    /// Gives commands their buffers, bind groups and parameters, as many as go into one submission.
    pub(super) fn place(
        &self,
        engine: &mut Engine,
        recording: &Recording,
        slots: &mut Slots<'_>,
        compiled: &[Arc<Compiled>],
        progress: &mut Progress,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let pace = self.pace();
        let mut load = Load::new(pace);
        // where commands begin that go together
        let mut together = None;
        // what is free afterwards is kept until all of them have a place: without one they begin anew
        let mut freed = Vec::new();
        while let Some(command) = recording.commands.get(progress.next) {
            if together.is_none() && !load.takes(command, recording) {
                break;
            }
            if *command == Command::Together {
                together = Some((steps.len(), progress.next, progress.kernel));
            }
            let piece = match command {
                Command::Dispatch(run) if together.is_none() => {
                    let most = piece(run, pace.run_work(), self.0.facts.max_groups);
                    (progress.groups, most.min(run.groups - progress.groups))
                }
                Command::Dispatch(run) => (0, run.groups),
                _ => (0, 0),
            };
            if let (Some(_), Command::Free(slot)) = (together, command) {
                freed.push(*slot);
                progress.next += 1;
                continue;
            }
            match self.place_one(engine, command, slots, compiled, (progress.kernel, piece)) {
                Ok(step) => steps.extend(step),
                Err(e) => {
                    if let Some((placed, next, kernel)) = together {
                        steps.truncate(placed);
                        (progress.next, progress.kernel) = (next, kernel);
                    }
                    return Err(e);
                }
            }
            if let Command::Dispatch(run) = command
                && piece.0 + piece.1 < run.groups
            {
                progress.groups = piece.0 + piece.1;
                break;
            }
            progress.groups = 0;
            progress.next += 1;
            progress.kernel += usize::from(matches!(command, Command::Dispatch(_)));
        }
        freed.into_iter().try_for_each(|slot| slots.free(slot))
    }

    fn place_one(
        &self,
        engine: &mut Engine,
        command: &Command,
        slots: &mut Slots<'_>,
        compiled: &[Arc<Compiled>],
        (kernel, piece): (usize, (u32, u32)),
    ) -> Result<Option<Step>> {
        match command {
            Command::Dispatch(run) => match compiled.get(kernel) {
                Some(ready) => self.place_dispatch(engine, slots, (run, piece), kernel, ready),
                None => bail!(Device, "submit", "kernel `{}` was not compiled", run.kernel.label),
            },
            Command::Copy { from, from_offset, to, to_offset, bytes } => {
                self.place_copy(slots, (*from, *from_offset), (*to, *to_offset), *bytes)
            }
            Command::Clear(slot) => {
                let buffer = self.occupy(slots, *slot, Use::Writes)?;
                let bytes = padded(buffer.bytes()).min(buffer.capacity() - buffer.offset());
                Ok(buffer.raw().map(|raw| Step::Clear(raw.clone(), buffer.offset(), bytes)))
            }
            Command::Free(slot) => slots.free(*slot).map(|()| None),
            Command::Together => Ok(None),
        }
    }

    fn place_dispatch(
        &self,
        engine: &mut Engine,
        slots: &mut Slots<'_>,
        (run, (from, groups)): (&Dispatch, (u32, u32)),
        kernel: usize,
        compiled: &Compiled,
    ) -> Result<Option<Step>> {
        let (facts, label) = (&self.0.facts, &run.kernel.label);
        let access = &run.kernel.access;
        let refuse = |kind, what: String| Err(Error::new(kind, "submit", format!("kernel `{label}`: {what}")));
        if run.bindings.len() != access.len() {
            return refuse(ErrorKind::Value, format!("{} buffers for {} bindings", run.bindings.len(), access.len()));
        }
        if run.params.len() as u64 * 4 > run.kernel.param_bytes() {
            let (given, room) = (run.params.len(), run.kernel.param_words);
            return refuse(ErrorKind::Value, format!("{given} parameters for a block of {room}"));
        }
        let mut bound: SmallVec<[(u64, u64, u64); 8]> = SmallVec::new();
        for (i, (binding, mode)) in run.bindings.iter().zip(access).enumerate() {
            let usage = if *mode == Access::Read { Use::Reads } else { Use::Writes };
            let named = |e: Error| Error::new(e.kind(), "submit", format!("kernel `{label}`: {}", e.message()));
            let buffer = self.occupy(slots, binding.slot, usage).map_err(named)?;
            let (id, most) = (buffer.id(), facts.max_binding_bytes);
            let Some(left) = buffer.bytes().checked_sub(binding.offset) else {
                let (at, bytes) = (binding.offset, buffer.bytes());
                return refuse(ErrorKind::Value, format!("binding {i} begins at {at} of {bytes} bytes"));
            };
            let (start, bytes) = (buffer.offset() + binding.offset, left.min(binding.bytes));
            if !start.is_multiple_of(u64::from(facts.storage_align)) {
                let align = facts.storage_align;
                return refuse(
                    ErrorKind::Value,
                    format!("binding {i} begins at {start}, not at a multiple of {align}"),
                );
            }
            if bytes.next_multiple_of(4) > most {
                return refuse(ErrorKind::OutOfMemory, format!("binding {bytes} bytes exceeds the limit of {most}"));
            }
            let end = start + padded(bytes).min(buffer.capacity() - start).min(most);
            // ranges of one buffer may be written side by side; else wgpu refuses a buffer that is read and written
            let twin = bound.iter().zip(access).position(|(&(other, from, size), a)| {
                let apart = end <= from || from + size <= start;
                let writes = (*a == Access::ReadWrite, *mode == Access::ReadWrite);
                other == id && writes != (false, false) && !(apart && writes == (true, true))
            });
            if let Some(j) = twin {
                return refuse(ErrorKind::Device, format!("bindings {j} and {i} are one buffer and one is written"));
            }
            bound.push((id, start, end - start));
        }
        if groups == 0 {
            return Ok(None);
        }
        let most = facts.max_groups;
        // what is followed by another piece has a grid of just its workgroups
        let grid = match from + groups < run.groups && groups > most {
            true => Some((most, groups / most)),
            false => fold(groups, most),
        };
        let Some(grid) = grid else {
            let most = u64::from(most).pow(2);
            return refuse(ErrorKind::Unsupported, format!("{groups} workgroups exceed the limit of {most}"));
        };
        let (extra, offset) = engine.extra(self, u64::from(facts.uniform_align), (run, from), compiled)?;
        let key = GroupKey { layout: compiled.layout.id, bound };
        let sizes = key.bound.clone();
        let group = engine.groups.get(key, engine.submissions, || {
            self.0.pool.tally.bind_groups.fetch_add(1, Relaxed);
            let buffers = run.bindings.iter().zip(&sizes).enumerate();
            let entries: SmallVec<[wgpu::BindGroupEntry<'_>; 8]> = buffers
                .filter_map(|(i, (binding, (_, start, bytes)))| {
                    let raw = slots.buffers[binding.slot as usize].as_ref()?.raw()?;
                    Some(entry(i as u32, raw, (*start, *bytes)))
                })
                .collect();
            let layout = &compiled.layout.storage;
            self.0.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        });
        Ok(Some(Step::Dispatch { kernel, group: group.clone(), extra, offset, grid, groups }))
    }

    fn place_copy(
        &self,
        slots: &mut Slots<'_>,
        (from, from_offset): (u32, u64),
        (to, to_offset): (u32, u64),
        bytes: u64,
    ) -> Result<Option<Step>> {
        let source = self.occupy(slots, from, Use::Reads)?.clone();
        let target = self.occupy(slots, to, Use::Writes)?;
        let within = |buffer: &Buffer, offset: u64| offset.checked_add(bytes).is_some_and(|end| end <= buffer.bytes());
        if !within(&source, from_offset) || !within(target, to_offset) {
            bail!(
                Value,
                "submit",
                "copy of {bytes} bytes from {from_offset} of {} to {to_offset} of {}",
                source.bytes(),
                target.bytes()
            );
        }
        if bytes == 0 {
            return Ok(None);
        }
        let reaches_end = to_offset + bytes == target.bytes();
        if from_offset % 4 != 0 || to_offset % 4 != 0 || (!bytes.is_multiple_of(4) && !reaches_end) {
            bail!(
                Unsupported,
                "submit",
                "copy of {bytes} bytes from {from_offset} to {to_offset} is not in whole words"
            );
        }
        if source.id() == target.id() {
            bail!(Device, "submit", "slots {from} and {to} of a copy are one buffer");
        }
        let (from_offset, to_offset) = (source.offset() + from_offset, target.offset() + to_offset);
        let (Some(from), Some(to)) = (source.raw(), target.raw()) else { return Ok(None) };
        let (from, to, bytes) = (from.clone(), to.clone(), bytes.next_multiple_of(4));
        Ok(Some(Step::Copy { from, from_offset, to, to_offset, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::{fold, piece};
    use crate::gpu::{Dispatch, Kernel};

    #[test]
    fn grids_fold_evenly() {
        assert_eq!(fold(1, 65_535), Some((1, 1)));
        assert_eq!(fold(65_535, 65_535), Some((65_535, 1)));
        assert_eq!(fold(65_536, 65_535), Some((32_768, 2)));
        assert_eq!(fold(65, 8), None);
        assert_eq!(fold(64, 8), Some((8, 8)));
        assert_eq!(fold(u32::MAX, 65_535), None);
        for n in 1..2000 {
            let Some((x, y)) = fold(n, 64) else { continue };
            assert!(x <= 64 && y <= 64 && x * y >= n && x * y < n + y, "{n}: {x} x {y}");
        }
    }

    #[test]
    fn a_piece_is_as_much_as_is_allowed_in_whole_rows() {
        let source = String::new();
        let kernel =
            Kernel { label: source.clone(), source, access: vec![], param_words: 1, faults: false, first: Some(0) };
        let run = |first, groups, work| {
            let kernel = Kernel { first, ..kernel.clone() }.into();
            Dispatch { kernel, bindings: Default::default(), params: vec![], groups, work }
        };
        assert_eq!(piece(&run(Some(0), 1000, 100), 100, 65_535), 1000);
        assert_eq!(piece(&run(None, 1000, 1 << 40), 100, 65_535), 1000);
        assert_eq!(piece(&run(Some(0), 1000, 400), 100, 65_535), 250);
        assert_eq!(piece(&run(Some(0), 3, u64::MAX), 1, 65_535), 1);
        assert_eq!(piece(&run(Some(0), 400_000, 400), 100, 65_535), 65_535);
        assert_eq!(piece(&run(Some(0), u32::MAX, u64::MAX), 1 << 60, 65_535), 268_435_455 / 65_535 * 65_535);
    }
}

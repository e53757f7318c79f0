//! From a recording to the queue: buffers for slots, parameters, bind groups, one command buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxHashSet as HashSet;
use smallvec::SmallVec;

use super::Gpu;
use super::adapter::ARENA_BYTES;
use super::facts::Facts;
use super::faults::{FAULT_BYTES, Mark};
use super::health::{lock, scoped};
use super::inject::Point;
use super::kernels::{Compiled, Groups};
use super::place::{Progress, Slots, Step, entry};
use super::pool::{Buffer, size_class};
use super::profile::{Timing, clock};
use super::readback::Reading;
use super::recording::{Dispatch, Recording};
use crate::error::{ErrorKind, Result, bail};

/// Submissions that may be unfinished before the next one waits.
const IN_FLIGHT: usize = 4;

/// Bytes that uploads may leave in wgpu's staging memory before they are flushed, and the size of one write.
const UNSUBMITTED: u64 = 64 << 20;
const PIECE: usize = 32 << 20;

/// What encoding needs; guarded by one lock from the first command to the queue.
pub(super) struct Engine {
    pub groups: Groups,
    arenas: Vec<Arena>,
    arena_bytes: u64,
    pub fault: wgpu::Buffer,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    pub submissions: u64,
}

/// A uniform buffer that parameter blocks are laid into, written once per submission.
struct Arena {
    buffer: wgpu::Buffer,
    data: Vec<u8>,
    /// What the buffer holds since the last submission: the same blocks are not written again.
    written: Vec<u8>,
    /// Group 1 by parameter bytes and faults.
    groups: SmallVec<[((u64, bool), wgpu::BindGroup); 4]>,
}

/// A range of what a recording leaves in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub slot: u32,
    pub offset: u64,
    pub bytes: u64,
}

/// What is to be submitted.
#[derive(Clone, Copy)]
struct Work<'a> {
    recording: &'a Recording,
    compiled: &'a [Arc<Compiled>],
    wanted: Option<Wanted>,
}

impl Engine {
    pub fn new(device: &wgpu::Device, facts: &Facts) -> Result<Self> {
        let fault = scoped(device, "open", || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("fault"),
                size: FAULT_BYTES,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        Ok(Self {
            groups: Groups::default(),
            arenas: Vec::new(),
            arena_bytes: ARENA_BYTES.min(facts.max_buffer_bytes),
            fault,
            in_flight: VecDeque::new(),
            submissions: 0,
        })
    }

    /// Drops what is cached about these allocations.
    pub fn forget(&mut self, gone: &HashSet<u64>) {
        self.groups.forget(gone);
    }

    /// Drops the parameter buffers; what was written to them is in the queue.
    pub fn forget_arenas(&mut self) {
        self.arenas.clear();
    }

    /// Drops every bind group.
    pub fn forget_all(&mut self) {
        self.groups.clear();
    }

    pub fn submitted(&mut self, index: wgpu::SubmissionIndex) {
        self.submissions += 1;
        self.in_flight.push_back(index);
    }

    /// The submission made last.
    pub fn newest(&self) -> Option<wgpu::SubmissionIndex> {
        self.in_flight.back().cloned()
    }

    /// Room for a parameter block: arena and offset.
    fn reserve(&mut self, gpu: &Gpu, bytes: u64, align: u64) -> Result<(usize, u64)> {
        let mut at = self.arenas.iter().rposition(|a| !a.data.is_empty()).unwrap_or(0);
        loop {
            if at == self.arenas.len() {
                let size = self.arena_bytes;
                gpu.may_fail(Point::Allocation, "submit")?;
                let buffer = scoped(&gpu.0.device, "submit", || {
                    gpu.0.device.create_buffer(&wgpu::BufferDescriptor {
                        label: Some("parameters"),
                        size,
                        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                        mapped_at_creation: false,
                    })
                })?;
                self.arenas.push(Arena { buffer, data: Vec::new(), written: Vec::new(), groups: SmallVec::new() });
            }
            let offset = (self.arenas[at].data.len() as u64).next_multiple_of(align);
            if offset + bytes <= self.arena_bytes {
                return Ok((at, offset));
            }
            if offset == 0 {
                bail!(Unsupported, "submit", "{bytes} bytes of parameters exceed the limit of {}", self.arena_bytes);
            }
            at += 1;
        }
    }

    /// Lays the parameters of a dispatch, from a workgroup on, into an arena: group 1 and the dynamic offset.
    pub fn extra(
        &mut self,
        gpu: &Gpu,
        align: u64,
        (run, from): (&Dispatch, u32),
        compiled: &Compiled,
    ) -> Result<(Option<wgpu::BindGroup>, Option<u32>)> {
        let Some(layout) = &compiled.layout.extra else { return Ok((None, None)) };
        let (bytes, faults) = (run.kernel.param_bytes(), run.kernel.faults);
        let (at, offset) = self.reserve(gpu, bytes, align)?;
        let arena = &mut self.arenas[at];
        if bytes > 0 {
            arena.data.resize(offset as usize, 0);
            arena.data.extend_from_slice(bytemuck::cast_slice(&run.params));
            arena.data.resize((offset + bytes) as usize, 0);
            if let Some(word) = run.kernel.first.filter(|_| from > 0) {
                let at = offset as usize + word as usize * 4;
                if let Some(first) = arena.data.get_mut(at..at + 4) {
                    first.copy_from_slice(&from.to_ne_bytes());
                }
            }
        }
        let offset = (bytes > 0).then_some(offset as u32);
        if let Some((_, group)) = arena.groups.iter().find(|(key, _)| *key == (bytes, faults)) {
            return Ok((Some(group.clone()), offset));
        }
        let mut entries: SmallVec<[wgpu::BindGroupEntry<'_>; 2]> = SmallVec::new();
        if bytes > 0 {
            entries.push(entry(0, &arena.buffer, (0, bytes)));
        }
        if faults {
            entries.push(entry(1, &self.fault, (0, FAULT_BYTES)));
        }
        gpu.0.pool.tally.bind_groups.fetch_add(1, Relaxed);
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
        let group = gpu.0.device.create_bind_group(&descriptor);
        arena.groups.push(((bytes, faults), group.clone()));
        Ok((Some(group), offset))
    }
}

impl Gpu {
    /// A buffer with these bytes. Nothing is waited for.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let x = gpu.upload(&[1, 2, 3, 4])?;
    /// assert_eq!(gpu.read(&[(x, 0, 4)])?, [[1, 2, 3, 4]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        const OP: &str = "upload";
        let shared = &*self.0;
        shared.health.check(OP)?;
        let _span = self.span(OP);
        let buffer = self.spare(|| self.allocate(OP, bytes.len() as u64))?;
        let Some(raw) = buffer.raw() else { return Ok(buffer) };
        for (i, piece) in bytes.chunks(PIECE).enumerate() {
            let offset = (i * PIECE) as u64;
            self.spare(|| self.write(raw, offset, piece))?;
            let size = piece.len() as u64;
            if shared.unsubmitted.fetch_add(size, Relaxed) + size >= UNSUBMITTED {
                self.flush(OP)?;
            }
        }
        shared.health.alive(OP)?;
        shared.pool.tally.uploads.fetch_add(1, Relaxed);
        Ok(buffer)
    }

    /// Bytes into a buffer; the last word is filled up with zeros.
    fn write(&self, raw: &wgpu::Buffer, offset: u64, piece: &[u8]) -> Result<()> {
        self.may_fail(Point::Upload, "upload")?;
        let whole = piece.len() & !3;
        scoped(&self.0.device, "upload", || {
            if whole > 0 {
                self.0.queue.write_buffer(raw, offset, &piece[..whole]);
            }
            if whole < piece.len() {
                let mut word = [0; 4];
                word[..piece.len() - whole].copy_from_slice(&piece[whole..]);
                self.0.queue.write_buffer(raw, offset + whole as u64, &word);
            }
        })
    }

    /// Does something that takes memory, again when it is short and what waited for reuse was given back.
    pub(super) fn spare<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(e) if e.kind() == ErrorKind::OutOfMemory => {
                self.reclaim(&mut lock(&self.0.engine))?;
                let value = work()?;
                self.0.pool.tally.reclaims.fetch_add(1, Relaxed);
                Ok(value)
            }
            other => other,
        }
    }

    /// Hands pending writes to the device, which frees their staging memory.
    fn flush(&self, op: &str) -> Result<()> {
        let mut engine = lock(&self.0.engine);
        self.make_room(&mut engine, op)?;
        self.hand_over(&mut engine, op, None)
    }

    /// Commands into the queue, behind everything written so far.
    pub(super) fn hand_over(&self, engine: &mut Engine, op: &str, commands: Option<wgpu::CommandBuffer>) -> Result<()> {
        self.may_fail(Point::Submission, op)?;
        let _span = self.span("submit");
        let written = self.0.unsubmitted.load(Relaxed);
        let index = scoped(&self.0.device, op, || self.0.queue.submit(commands))?;
        self.0.health.alive(op)?;
        engine.submitted(index);
        // what other threads wrote meanwhile stays counted
        self.0.unsubmitted.fetch_sub(written, Relaxed);
        Ok(())
    }

    /// The allocation for a size, `Err` where no buffer of the device can hold it.
    pub(super) fn capacity(&self, op: &str, bytes: u64) -> Result<u64> {
        let most = self.0.facts.max_buffer_bytes;
        if bytes.checked_next_multiple_of(4).is_none_or(|b| b > most) {
            bail!(OutOfMemory, op, "a buffer of {bytes} bytes exceeds the device's limit of {most}");
        }
        Ok(size_class(bytes).min(most))
    }

    /// A buffer from the pool or the device.
    pub(super) fn allocate(&self, op: &str, bytes: u64) -> Result<Buffer> {
        let capacity = self.capacity(op, bytes)?;
        match self.0.pool.reuse(capacity, bytes) {
            Some(buffer) => Ok(buffer),
            None => self.create(op, capacity, bytes),
        }
    }

    fn create(&self, op: &str, capacity: u64, bytes: u64) -> Result<Buffer> {
        self.book(op, capacity, bytes)?;
        let raw = self.may_fail(Point::Allocation, op).and_then(|()| {
            scoped(&self.0.device, op, || {
                self.0.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: capacity,
                    usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
        });
        match raw.and_then(|raw| self.0.health.alive(op).map(|()| raw)) {
            Ok(raw) => Ok(self.0.pool.adopt(raw, bytes)),
            Err(e) => {
                self.0.pool.unbook(capacity);
                let short = e.kind() == ErrorKind::OutOfMemory;
                Err(if short { self.short_of(op, bytes, e.message()) } else { e })
            }
        }
    }

    /// Frees everything that waits for reuse, once the device is done with it.
    pub(super) fn reclaim(&self, engine: &mut Engine) -> Result<()> {
        const OP: &str = "reclaim";
        log::debug!("memory is short: giving back what waits for reuse");
        if self.0.unsubmitted.load(Relaxed) > 0 {
            // staging memory and buffers that were written to are free only behind their writes
            self.hand_over(engine, OP, None)?;
        }
        let blocks = self.0.pool.drain();
        engine.forget(&blocks.iter().map(|block| block.id()).collect());
        engine.forget_arenas();
        lock(&self.0.staging).clear();
        drop(blocks);
        self.wait(OP, None)?;
        engine.in_flight.clear();
        Ok(())
    }

    /// Waits while too many submissions are unfinished. In a browser nothing can wait.
    pub(super) fn make_room(&self, engine: &mut Engine, op: &str) -> Result<()> {
        while engine.in_flight.len() >= IN_FLIGHT {
            if cfg!(not(target_arch = "wasm32"))
                && let Some(oldest) = engine.in_flight.front()
            {
                self.wait(op, Some(oldest.clone()))?;
            }
            engine.in_flight.pop_front();
        }
        Ok(())
    }

    /// Runs a recording. `bound[slot]` gives the buffers of slots that exist already; the others come from the pool when
    /// first written. Returns the buffers of all slots that were not freed. Does not wait for the work.
    ///
    /// A recording of much work becomes several submissions. When memory is short, what was placed so far is submitted,
    /// its freed buffers are given back, and the rest is tried again. After an `Err` some of it may have run.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Command, Gpu, Recording};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let copy = Command::Copy { from: 0, from_offset: 4, to: 1, to_offset: 0, bytes: 4 };
    /// let recording = Recording { slots: vec![8, 4], commands: vec![copy] };
    /// let buffers = gpu.submit(&recording, vec![Some(gpu.upload(&[1, 2, 3, 4, 5, 6, 7, 8])?), None])?;
    /// assert_eq!(gpu.read(&[(buffers[1].clone().unwrap(), 0, 4)])?, [[5, 6, 7, 8]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn submit(&self, recording: &Recording, bound: Vec<Option<Buffer>>) -> Result<Vec<Option<Buffer>>> {
        let faults = recording.dispatches().any(|run| run.kernel.faults);
        let marks: Vec<Arc<Mark>> = faults.then(|| self.0.faults.share()).into_iter().collect();
        self.submit_marked(recording, bound, &marks, None).map(|(buffers, _)| buffers)
    }

    /// The same with marks under which its kernels report, and a read of what it leaves in a slot. `None` where that could
    /// not be part of the last submission: it is still to be begun.
    pub(crate) fn submit_marked(
        &self,
        recording: &Recording,
        bound: Vec<Option<Buffer>>,
        marks: &[Arc<Mark>],
        wanted: Option<Wanted>,
    ) -> Result<(Vec<Option<Buffer>>, Option<Reading>)> {
        let prepared = self.prepare(recording, bound);
        let _span = self.span("encode");
        let mut engine = lock(&self.0.engine);
        // whoever asks from here on what became of them does so behind them; after an error some of them may have run
        self.0.faults.launched(marks);
        let (slots, compiled) = prepared?;
        self.submit_all(&mut engine, Work { recording, compiled: &compiled, wanted }, slots)
    }

    fn prepare<'a>(
        &self,
        recording: &'a Recording,
        bound: Vec<Option<Buffer>>,
    ) -> Result<(Slots<'a>, Vec<Arc<Compiled>>)> {
        self.0.health.check("submit")?;
        let slots = self.slots(recording, bound)?;
        let compiled = self.compile_all(recording.dispatches().map(|run| &run.kernel))?;
        Ok((slots, compiled))
    }

    fn submit_all(
        &self,
        engine: &mut Engine,
        work: Work<'_>,
        mut slots: Slots<'_>,
    ) -> Result<(Vec<Option<Buffer>>, Option<Reading>)> {
        const OP: &str = "submit";
        let shared = &*self.0;
        let mut progress = Progress::default();
        let mut reading = None;
        while progress.next < work.recording.commands.len() {
            if let Err(e) = self.submit_some(engine, &work, &mut slots, &mut progress, &mut reading) {
                // One of them may be what was refused; and what the arenas hold is not known.
                engine.forget_all();
                engine.arenas.iter_mut().for_each(|arena| arena.written.clear());
                shared.health.alive(OP)?;
                return Err(e);
            }
        }
        shared.pool.tally.dispatches.fetch_add(work.compiled.len() as u64, Relaxed);
        Ok((slots.buffers, reading))
    }

    /// Submits commands until the submission is full, memory is short, or none is left.
    fn submit_some(
        &self,
        engine: &mut Engine,
        work: &Work<'_>,
        slots: &mut Slots<'_>,
        progress: &mut Progress,
        reading: &mut Option<Reading>,
    ) -> Result<()> {
        const OP: &str = "submit";
        let Work { recording, compiled, wanted } = *work;
        self.make_room(engine, OP)?;
        for arena in &mut engine.arenas {
            arena.data.clear();
        }
        let first = progress.next;
        let (short, placed) = scoped(&self.0.device, OP, || {
            let mut steps = Vec::with_capacity(recording.commands.len() - first);
            let short = match self.place(engine, recording, slots, compiled, progress, &mut steps) {
                Err(e) if e.kind() == ErrorKind::OutOfMemory => Some(e),
                other => other.map(|()| None)?,
            };
            if steps.is_empty() {
                return Ok((short, None));
            }
            let mut timing = self.timing(steps.iter().filter(|s| matches!(s, Step::Dispatch { .. })).count());
            let mut encoder = self.encode(&steps, compiled, timing.as_mut());
            if let Some(Wanted { slot, offset, bytes }) = wanted
                && short.is_none()
                && progress.next == recording.commands.len()
                && let Some(Some(buffer)) = slots.buffers.get(slot as usize)
            {
                *reading = self.join_read(engine, &mut encoder, (buffer.clone(), offset, bytes));
            }
            let commands = encoder.finish();
            for arena in &mut engine.arenas {
                if !arena.written.starts_with(&arena.data) {
                    self.0.queue.write_buffer(&arena.buffer, 0, &arena.data);
                    arena.written.clone_from(&arena.data);
                }
            }
            Ok((short, Some((commands, steps, timing))))
        })
        .and_then(|outcome| outcome)?;
        if let Some((commands, steps, timing)) = placed {
            let submitted = if self.profiles() { clock() } else { 0 };
            self.hand_over(engine, OP, Some(commands))?;
            if let Some(reading) = reading {
                self.map(engine, reading)?;
            }
            log::trace!("submitted {} commands", steps.len());
            let now = engine.submissions;
            engine.groups.trim(now);
            self.0.pool.tally.submits.fetch_add(1, Relaxed);
            if self.profiles() {
                let runs: Vec<&Dispatch> = recording.dispatches().collect();
                let ran = steps.iter().filter_map(|step| match step {
                    Step::Dispatch { kernel, groups, .. } => Some((*runs.get(*kernel)?, *groups)),
                    _ => None,
                });
                self.note_runs(ran, recording, timing, submitted);
            }
        }
        let Some(short) = short else { return Ok(()) };
        if progress.starved == Some(progress.next) {
            return Err(short);
        }
        progress.starved = Some(progress.next);
        slots.release();
        self.reclaim(engine)?;
        self.0.pool.tally.reclaims.fetch_add(1, Relaxed);
        Ok(())
    }

    /// One encoder, passes as long as possible; one for each dispatch where they are timed.
    fn encode(
        &self,
        steps: &[Step],
        compiled: &[Arc<Compiled>],
        mut timing: Option<&mut Timing>,
    ) -> wgpu::CommandEncoder {
        let mut encoder = self.0.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let mut pass: Option<wgpu::ComputePass<'static>> = None;
        let mut last = None;
        for step in steps {
            match step {
                Step::Dispatch { kernel, group, extra, offset, grid, .. } => {
                    let Some(ready) = compiled.get(*kernel) else { continue };
                    if timing.is_some() {
                        pass = None;
                    }
                    let pass = pass.get_or_insert_with(|| {
                        last = None;
                        let timestamp_writes = timing.as_mut().and_then(|timing| timing.next());
                        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                        encoder.begin_compute_pass(&descriptor).forget_lifetime()
                    });
                    if last != Some(Arc::as_ptr(ready)) {
                        last = Some(Arc::as_ptr(ready));
                        pass.set_pipeline(&ready.pipeline);
                    }
                    pass.set_bind_group(0, group, &[]);
                    if let Some(extra) = extra {
                        pass.set_bind_group(1, extra, offset.as_slice());
                    }
                    pass.dispatch_workgroups(grid.0, grid.1, 1);
                }
                Step::Copy { from, from_offset, to, to_offset, bytes } => {
                    pass = None;
                    encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, Some(*bytes));
                }
                Step::Clear(buffer, offset, bytes) => {
                    pass = None;
                    encoder.clear_buffer(buffer, *offset, Some(*bytes));
                }
            }
        }
        drop(pass);
        if let Some(timing) = timing {
            timing.resolve(&mut encoder);
        }
        encoder
    }

    /// Waits for a submission, or for all. A driver that fails here makes wgpu panic; that is a lost device to us.
    pub(super) fn wait(&self, op: &str, index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let _span = self.span("wait");
        let limit = self.timeout();
        let kind = wgpu::PollType::Wait { submission_index: index, timeout: Some(limit) };
        match self.polled(kind) {
            Some(Ok(_)) => self.0.health.alive(op),
            Some(Err(wgpu::PollError::Timeout)) => {
                self.0.health.alive(op)?;
                bail!(Timeout, op, "the device did not finish within {limit:?}")
            }
            Some(Err(e)) => {
                self.0.health.alive(op)?;
                bail!(Device, op, "{e}")
            }
            None => self.0.health.alive(op),
        }
    }

    /// Lets finished work call back, without waiting.
    pub(super) fn poll(&self) {
        self.polled(wgpu::PollType::Poll);
    }

    fn polled(&self, kind: wgpu::PollType) -> Option<Result<wgpu::PollStatus, wgpu::PollError>> {
        let poll = std::panic::AssertUnwindSafe(|| self.0.device.poll(kind));
        let outcome = std::panic::catch_unwind(poll).ok();
        if outcome.is_none() {
            self.0.health.lose("the driver failed while it was waited for");
        }
        outcome
    }

    /// Saves new pipelines, where the host waits anyway.
    pub(super) fn keep_pipelines(&self) {
        if let Some(kept) = &self.0.kept {
            kept.save_at_times();
        }
    }

    /// Waits for all submitted work; returns errors that no call was there to return.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let _x = gpu.upload(&[1, 2, 3, 4])?;
    /// assert!(gpu.synchronize().is_ok());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn synchronize(&self) -> Result<()> {
        const OP: &str = "synchronize";
        self.0.health.check(OP)?;
        if self.0.unsubmitted.load(Relaxed) > 0 {
            self.flush(OP)?;
        }
        self.wait(OP, None)?;
        self.keep_pipelines();
        self.0.health.check(OP)
    }
}

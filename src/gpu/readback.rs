//! Bytes from the device to the host, and the fault buffer that travels with them.

use std::sync::atomic::Ordering::Relaxed;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::Gpu;
use super::faults::{FAULT_BYTES, Snapshot};
use super::health::{lock, now, scoped};
use super::inject::Point;
use super::pool::{Buffer, size_class};
use super::submit::Engine;
use crate::error::{Result, bail};

/// Ranges share a staging buffer up to this size.
const BATCH: u64 = 64 << 20;

/// Staging buffers kept for the next read: how many, and how many bytes in all.
const KEPT: usize = 8;
const KEPT_BYTES: u64 = 128 << 20;

/// Mappable buffers waiting for the next read.
#[derive(Default)]
pub(super) struct Staging(Vec<wgpu::Buffer>);

impl Staging {
    fn take(&mut self, capacity: u64) -> Option<wgpu::Buffer> {
        let at = self.0.iter().position(|buffer| buffer.size() == capacity)?;
        Some(self.0.swap_remove(at))
    }

    fn put(&mut self, buffer: wgpu::Buffer) {
        self.0.push(buffer);
        while self.0.len() > KEPT || self.0.iter().map(wgpu::Buffer::size).sum::<u64>() > KEPT_BYTES {
            self.0.remove(0);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// One staging buffer of a read and the answer to its mapping.
struct Batch {
    buffer: Option<wgpu::Buffer>,
    used: u64,
    mapped: Option<OneshotReceiver<bool>>,
}

/// Where a range landed: batch, offset there, bytes.
type Piece = (usize, u64, u64);

/// A read on its way.
pub(crate) struct Reading {
    gpu: Gpu,
    batches: Vec<Batch>,
    pieces: Vec<Piece>,
    /// Where the fault buffer landed, and of what it tells.
    fault: Option<(Piece, Snapshot)>,
    index: Option<wgpu::SubmissionIndex>,
}

impl Gpu {
    /// The bytes of some ranges: buffer, offset, count. Waits for the work they depend on.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let x = gpu.upload(&[1, 2, 3, 4])?;
    /// assert_eq!(gpu.read(&[(x.clone(), 0, 2), (x, 3, 1)])?, [vec![1, 2], vec![4]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self, ranges: &[(Buffer, u64, u64)]) -> Result<Vec<Vec<u8>>> {
        let mut reading = self.begin_read(ranges)?;
        self.until_there(&reading)?;
        self.finish_read(&mut reading, <[u8]>::to_vec)
    }

    /// Waits for a read of a range: what `take` makes of the bytes, which are copied nowhere before.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn end_read<R>(&self, mut reading: Reading, take: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.until_there(&reading)?;
        Ok(self.finish_read(&mut reading, take)?.pop())
    }

    /// The same without blocking the thread.
    pub(crate) async fn end_read_async<R>(
        &self,
        mut reading: Reading,
        take: impl FnMut(&[u8]) -> R,
    ) -> Result<Option<R>> {
        self.arrival(&mut reading).await?;
        Ok(self.finish_read(&mut reading, take)?.pop())
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn until_there(&self, reading: &Reading) -> Result<()> {
        match &reading.index {
            Some(index) => self.wait("read", Some(index.clone())),
            None => Ok(()),
        }
    }

    /// The same without blocking the thread.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let x = gpu.upload(&[1, 2, 3, 4])?;
    /// assert_eq!(pollster::block_on(gpu.read_async(&[(x, 0, 4)]))?, [[1, 2, 3, 4]]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn read_async(&self, ranges: &[(Buffer, u64, u64)]) -> Result<Vec<Vec<u8>>> {
        let mut reading = self.begin_read(ranges)?;
        self.arrival(&mut reading).await?;
        self.finish_read(&mut reading, <[u8]>::to_vec)
    }

    /// A browser calls back by itself; here a thread has to wait in our place.
    #[cfg(not(target_arch = "wasm32"))]
    async fn arrival(&self, reading: &mut Reading) -> Result<()> {
        if reading.index.is_none() {
            return Ok(());
        }
        let (done, waited) = oneshot_channel();
        let (gpu, index) = (self.clone(), reading.index.clone());
        let wait = move || {
            let outcome = gpu.wait("read", index);
            // Who waits may count on being the only one who holds the device.
            drop(gpu);
            // Nobody listens when the future was dropped.
            let _ = done.send(outcome);
        };
        if std::thread::Builder::new().name("calor read".to_owned()).spawn(wait).is_err() {
            return self.wait("read", reading.index.clone());
        }
        match waited.receive().await {
            Some(outcome) => outcome,
            None => self.wait("read", reading.index.clone()),
        }
    }

    #[cfg(target_arch = "wasm32")]
    async fn arrival(&self, reading: &mut Reading) -> Result<()> {
        for batch in &mut reading.batches {
            let Some(mapped) = &batch.mapped else { continue };
            let outcome = mapped.receive().await;
            // The answer is looked at once more when the bytes are taken.
            let (again, answer) = oneshot_channel();
            let _ = again.send(outcome.unwrap_or(false));
            batch.mapped = Some(answer);
        }
        Ok(())
    }

    /// The codes that kernels reported since the last look. Costs nothing unless one that may fault ran since the last
    /// read or look.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// assert_eq!(Gpu::open(&AdapterChoice::from_env()?)?.take_faults()?, [0u32; 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn take_faults(&self) -> Result<Vec<u32>> {
        self.0.health.check("take_faults")?;
        if self.0.faults.are_open() {
            self.read(&[])?;
        }
        Ok(self.0.faults.take())
    }

    /// The same without blocking the thread.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// assert_eq!(pollster::block_on(gpu.take_faults_async())?, [0u32; 0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn take_faults_async(&self) -> Result<Vec<u32>> {
        self.0.health.check("take_faults")?;
        if self.0.faults.are_open() {
            self.read_async(&[]).await?;
        }
        Ok(self.0.faults.take())
    }

    fn staging(&self, used: u64) -> Result<wgpu::Buffer> {
        let size = size_class(used).min(self.0.facts.max_buffer_bytes);
        if let Some(buffer) = lock(&self.0.staging).take(size) {
            return Ok(buffer);
        }
        self.may_fail(Point::Allocation, "read")?;
        scoped(&self.0.device, "read", || {
            self.0.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("staging"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    /// Lays the ranges into batches: whole words around each range, its bytes noted exactly.
    fn lay_out(&self, ranges: &[(Buffer, u64, u64)]) -> Result<Reading> {
        let mut reading =
            Reading { gpu: self.clone(), batches: Vec::new(), pieces: Vec::new(), fault: None, index: None };
        for (buffer, offset, bytes) in ranges {
            if !buffer.belongs_to(&self.0.pool) {
                bail!(Value, "read", "the buffer belongs to another device");
            }
            if offset.checked_add(*bytes).is_none_or(|end| end > buffer.bytes()) {
                bail!(Value, "read", "{bytes} bytes from {offset} of a buffer of {}", buffer.bytes());
            }
            let lead = (buffer.offset() + offset) % 4;
            let (at, start) = reading.place(if *bytes == 0 { 0 } else { (lead + bytes).next_multiple_of(4) });
            reading.pieces.push((at, start + lead, *bytes));
        }
        let snapshot = self.0.faults.snapshot();
        if !snapshot.is_empty() {
            let (at, start) = reading.place(FAULT_BYTES);
            reading.fault = Some(((at, start, FAULT_BYTES), snapshot));
        }
        Ok(reading)
    }

    /// Begins to read some ranges, behind all that was submitted.
    pub(crate) fn begin_read(&self, ranges: &[(Buffer, u64, u64)]) -> Result<Reading> {
        const OP: &str = "read";
        let shared = &*self.0;
        let _span = self.span(OP);
        shared.health.check(OP)?;
        let mut reading = self.lay_out(ranges)?;
        if reading.batches.is_empty() {
            return Ok(reading);
        }
        for batch in &mut reading.batches {
            batch.buffer = Some(self.spare(|| self.staging(batch.used))?);
        }
        let mut engine = lock(&shared.engine);
        self.make_room(&mut engine, OP)?;
        let commands = scoped(&shared.device, OP, || {
            let mut encoder = shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
            copy(&engine, &mut encoder, ranges, &reading);
            encoder.finish()
        })?;
        self.hand_over(&mut engine, OP, Some(commands))?;
        self.map(&engine, &mut reading)?;
        Ok(reading)
    }

    /// A read in the submission of what it reads; [`Gpu::map`] follows once that is in the queue. `None` where memory is
    /// short, or anything else is in the way: who begins to read then is told.
    pub(super) fn join_read(
        &self,
        engine: &Engine,
        encoder: &mut wgpu::CommandEncoder,
        range: (Buffer, u64, u64),
    ) -> Option<Reading> {
        let ranges = [range];
        let mut reading = self.lay_out(&ranges).ok().filter(|reading| !reading.batches.is_empty())?;
        for batch in &mut reading.batches {
            batch.buffer = Some(self.staging(batch.used).ok()?);
        }
        copy(engine, encoder, &ranges, &reading);
        Some(reading)
    }

    /// Asks for the bytes once the newest submission has copied them.
    pub(super) fn map(&self, engine: &Engine, reading: &mut Reading) -> Result<()> {
        reading.index = engine.newest();
        for batch in &mut reading.batches {
            let (answer, mapped) = oneshot_channel();
            batch.mapped = Some(mapped);
            if let Some(buffer) = &batch.buffer {
                scoped(&self.0.device, "read", || {
                    buffer.map_async(wgpu::MapMode::Read, 0..batch.used, move |outcome| {
                        // Nobody listens when the read was given up.
                        let _ = answer.send(outcome.is_ok());
                    });
                })?;
            }
        }
        self.0.pool.tally.readbacks.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Whether a mapping succeeded. The work is done, but the thread that polls may be another one, which has taken our
    /// callback and not called it yet.
    #[cfg(not(target_arch = "wasm32"))]
    fn mapped(&self, answer: &OneshotReceiver<bool>) -> Result<bool> {
        let limit = self.timeout();
        let start = Instant::now();
        loop {
            match now(answer.receive()) {
                Some(outcome) => return Ok(outcome.unwrap_or(false)),
                None if start.elapsed() > limit => {
                    bail!(Timeout, "read", "the device did not hand over the bytes within {limit:?}")
                }
                None => self.0.health.alive("read")?,
            }
            self.poll();
            std::thread::yield_now();
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn mapped(&self, answer: &OneshotReceiver<bool>) -> Result<bool> {
        Ok(now(answer.receive()).flatten().unwrap_or(false))
    }

    fn finish_read<R>(&self, reading: &mut Reading, mut take: impl FnMut(&[u8]) -> R) -> Result<Vec<R>> {
        const OP: &str = "read";
        let _span = self.span(OP);
        self.may_fail(Point::Read, OP)?;
        self.0.health.alive(OP)?;
        let mut views = Vec::with_capacity(reading.batches.len());
        for batch in &reading.batches {
            let mapped = match &batch.mapped {
                Some(answer) => self.mapped(answer)?,
                None => false,
            };
            let view = match (&batch.buffer, mapped) {
                (Some(buffer), true) => buffer.get_mapped_range(0..batch.used).ok(),
                _ => None,
            };
            let Some(view) = view else {
                self.0.health.alive(OP)?;
                bail!(Device, OP, "the device did not hand over the bytes")
            };
            views.push(view);
        }
        self.keep_pipelines();
        let bytes = |(at, start, bytes): &Piece| match views.get(*at) {
            Some(view) => view.get(*start as usize..(*start + *bytes) as usize).unwrap_or_default(),
            None => &[],
        };
        let out = reading.pieces.iter().map(|piece| take(bytes(piece))).collect();
        let words = |(piece, snapshot)| (bytemuck::pod_collect_to_vec(bytes(&piece)), snapshot);
        let fault: Option<(Vec<u32>, Snapshot)> = reading.fault.take().map(words);
        drop(views);
        for buffer in reading.batches.iter_mut().filter_map(|batch| batch.buffer.take()) {
            buffer.unmap();
            lock(&self.0.staging).put(buffer);
        }
        if let Some((words, snapshot)) = fault {
            self.settle(&snapshot, &words)?;
        }
        Ok(out)
    }
}

/// Copies ranges, and the fault buffer where it is asked for, to where they can be mapped.
fn copy(engine: &Engine, encoder: &mut wgpu::CommandEncoder, ranges: &[(Buffer, u64, u64)], reading: &Reading) {
    let wanted = ranges.iter().zip(&reading.pieces).filter(|((_, _, bytes), _)| *bytes > 0);
    for ((buffer, offset, bytes), (at, start, _)) in wanted {
        let from = buffer.offset() + offset;
        let lead = from % 4;
        let whole = (lead + bytes).next_multiple_of(4);
        if let (Some(raw), Some(staging)) = (buffer.raw(), &reading.batches[*at].buffer) {
            encoder.copy_buffer_to_buffer(raw, from - lead, staging, start - lead, Some(whole));
        }
    }
    if let Some(((at, start, bytes), _)) = reading.fault
        && let Some(staging) = &reading.batches[at].buffer
    {
        encoder.copy_buffer_to_buffer(&engine.fault, 0, staging, start, Some(bytes));
    }
}

impl Reading {
    /// Room for some bytes in the last batch or a new one: batch and offset.
    fn place(&mut self, bytes: u64) -> (usize, u64) {
        if bytes == 0 {
            return (usize::MAX, 0);
        }
        let full = self.batches.last().is_none_or(|batch| batch.used + bytes > self.gpu.batch_bytes());
        if full {
            self.batches.push(Batch { buffer: None, used: 0, mapped: None });
        }
        let at = self.batches.len() - 1;
        let start = self.batches[at].used;
        self.batches[at].used += bytes;
        (at, start)
    }
}

impl Gpu {
    fn batch_bytes(&self) -> u64 {
        BATCH.min(self.0.facts.max_buffer_bytes)
    }
}

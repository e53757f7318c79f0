//! Device buffers and their reuse.
//!
//! A dropped [`Buffer`] goes onto a shelf and serves the next allocation of its size class. Work still running on it is
//! no obstacle: whatever uses it next is later in the queue. Dropping a buffer locks the shelves, so no buffer is ever
//! dropped while they are locked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::health::lock;
use super::memory::{Allocation, Origin};
use rustc_hash::FxHashMap as HashMap;

/// Allocations are whole multiples of this, so that a kernel may read whole vectors past the logical end.
const PADDING: u64 = 32;

/// Smallest allocation.
const SMALLEST: u64 = 256;

/// Above this, size classes are exact to a MiB.
const EXACT_ABOVE: u64 = 64 << 20;

/// What has been done and what is held, since the device was opened.
///
/// ```
/// let device = calor::Device::best()?;
/// let before = device.counters();
/// (calor::Tensor::ones([4], &device)? + 1.0)?.eval()?;
/// let after = device.counters();
/// assert_eq!((after.dispatches - before.dispatches, after.submits - before.submits), (1, 1));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels run.
    pub dispatches: u64,
    /// Submissions of recordings; a long one takes several.
    pub submits: u64,
    /// Reads by the host.
    pub readbacks: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Plans made: none for a step of a structure seen before.
    pub plans: u64,
    /// Uploads from the host.
    pub uploads: u64,
    /// Bytes asked for by buffers now alive.
    pub bytes_in_use: u64,
    /// The most that `bytes_in_use` has been.
    pub bytes_peak: u64,
    /// Bytes held from the device, in use or waiting for reuse.
    pub bytes_reserved: u64,
}

/// [`Counters`] as they are counted.
#[derive(Default)]
pub(super) struct Tally {
    pub dispatches: AtomicU64,
    pub submits: AtomicU64,
    pub readbacks: AtomicU64,
    pub pipelines: AtomicU64,
    pub bind_groups: AtomicU64,
    pub uploads: AtomicU64,
    pub reclaims: AtomicU64,
    in_use: AtomicU64,
    peak: AtomicU64,
    reserved: AtomicU64,
}

impl Tally {
    fn take(&self, bytes: u64) {
        let now = self.in_use.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
    }

    fn give(&self, bytes: u64) {
        self.in_use.fetch_sub(bytes, Relaxed);
    }

    pub fn reset_peak(&self) {
        self.peak.store(self.in_use.load(Relaxed), Relaxed);
    }

    pub fn counters(&self) -> Counters {
        Counters {
            dispatches: self.dispatches.load(Relaxed),
            submits: self.submits.load(Relaxed),
            readbacks: self.readbacks.load(Relaxed),
            pipelines: self.pipelines.load(Relaxed),
            bind_groups: self.bind_groups.load(Relaxed),
            // the engine above knows
            plans: 0,
            uploads: self.uploads.load(Relaxed),
            bytes_in_use: self.in_use.load(Relaxed),
            bytes_peak: self.peak.load(Relaxed),
            bytes_reserved: self.reserved.load(Relaxed),
        }
    }
}

/// One allocation of the device. Its number is never given to another.
pub(super) struct Block {
    raw: wgpu::Buffer,
    id: u64,
    capacity: u64,
}

#[derive(Default)]
struct Shelves {
    /// By capacity, then by number: the lowest one goes first, so that the same demands meet the same blocks in
    /// whichever order they came back, and bind groups made for them serve again.
    free: HashMap<u64, BTreeMap<u64, Block>>,
    /// Bytes and content of what is in use, by allocation.
    live: HashMap<u64, Allocation>,
    closed: bool,
}

/// Blocks waiting for reuse, and the books.
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
    next_id: AtomicU64,
    pub tally: Tally,
    /// The most that may be reserved.
    pub limit: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        let (shelves, next_id, tally) = Default::default();
        Self { shelves, next_id, tally, limit: AtomicU64::new(u64::MAX) }
    }
}

/// Device memory, or a range of it. Clones and ranges share it; when the last one drops it goes back to the pool.
///
/// ```
/// use calor::gpu::{AdapterChoice, Gpu};
/// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
/// let x = gpu.upload(&[0; 1000])?;
/// assert_eq!((x.bytes(), x.offset(), x.is_part()), (1000, 0, false));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub struct Buffer {
    handle: Arc<Handle>,
    offset: u64,
    bytes: u64,
}

struct Handle {
    block: Option<Block>,
    bytes: u64,
    pool: Arc<Pool>,
}

/// Bytes to bind or clear for a logical size.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(PADDING)
}

/// The allocation that serves a logical size: four steps per power of two, exact to a MiB when large.
pub(super) fn size_class(bytes: u64) -> u64 {
    let bytes = padded(bytes).max(SMALLEST);
    let step = if bytes > EXACT_ABOVE { 1 << 20 } else { (1u64 << bytes.ilog2()) / 4 };
    bytes.next_multiple_of(step)
}

impl Pool {
    /// A block of exactly this capacity from the shelf.
    pub fn reuse(self: &Arc<Self>, capacity: u64, bytes: u64) -> Option<Buffer> {
        let mut shelves = lock(&self.shelves);
        let block = shelves.free.get_mut(&capacity)?.pop_first()?.1;
        shelves.live.insert(block.id, Allocation { bytes, origin: None });
        drop(shelves);
        Some(self.wrap(block, bytes))
    }

    /// Puts so many bytes on the books, or tells the limit.
    pub fn book(&self, capacity: u64) -> Result<(), u64> {
        let limit = self.limit.load(Relaxed);
        let more = |held: u64| held.checked_add(capacity).filter(|sum| *sum <= limit);
        self.tally.reserved.fetch_update(Relaxed, Relaxed, more).map(drop).map_err(|_| limit)
    }

    /// Takes bytes off the books that were not allocated in the end.
    pub fn unbook(&self, capacity: u64) {
        self.tally.reserved.fetch_sub(capacity, Relaxed);
    }

    /// Takes a new buffer of the device in; its capacity is on the books already.
    pub fn adopt(self: &Arc<Self>, raw: wgpu::Buffer, bytes: u64) -> Buffer {
        let capacity = raw.size();
        let id = self.next_id.fetch_add(1, Relaxed);
        lock(&self.shelves).live.insert(id, Allocation { bytes, origin: None });
        self.wrap(Block { raw, id, capacity }, bytes)
    }

    fn wrap(self: &Arc<Self>, block: Block, bytes: u64) -> Buffer {
        self.tally.take(bytes);
        Buffer { handle: Arc::new(Handle { block: Some(block), bytes, pool: self.clone() }), offset: 0, bytes }
    }

    fn put(&self, block: Block) {
        let mut shelves = lock(&self.shelves);
        shelves.live.remove(&block.id);
        if shelves.closed {
            drop(shelves);
            self.unbook(block.capacity);
        } else {
            shelves.free.entry(block.capacity).or_default().insert(block.id, block);
        }
    }

    /// How many buffers are alive.
    pub fn live(&self) -> u64 {
        lock(&self.shelves).live.len() as u64
    }

    /// Every live buffer.
    pub fn allocations(&self) -> Vec<Allocation> {
        lock(&self.shelves).live.values().cloned().collect()
    }

    /// Notes what buffers hold.
    pub fn name(&self, named: Vec<(Buffer, Origin)>) {
        let mut shelves = lock(&self.shelves);
        let mut handles = Vec::with_capacity(named.len());
        for (buffer, origin) in named {
            if let Some(live) = shelves.live.get_mut(&buffer.id()) {
                // it may have been resized since it was taken
                *live = Allocation { bytes: buffer.handle.bytes, origin: Some(origin) };
            }
            handles.push(buffer);
        }
        // the last handle of a buffer must not drop while the shelves are locked
        drop(shelves);
    }

    /// Takes every waiting block off the books; the caller drops them.
    pub fn drain(&self) -> Vec<Block> {
        let free = std::mem::take(&mut lock(&self.shelves).free);
        let blocks: Vec<Block> = free.into_values().flat_map(BTreeMap::into_values).collect();
        self.unbook(blocks.iter().map(|b| b.capacity).sum());
        blocks
    }

    /// From now on nothing is kept for reuse.
    pub fn close(&self) {
        lock(&self.shelves).closed = true;
        drop(self.drain());
    }
}

impl Block {
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Buffer {
    /// Bytes asked for, or of the range.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let x = Gpu::open(&AdapterChoice::from_env()?)?.upload(&[0; 1000])?;
    /// assert_eq!((x.bytes(), x.range(256, 8).unwrap().bytes()), (1000, 8));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the range begins in the allocation.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let x = Gpu::open(&AdapterChoice::from_env()?)?.upload(&[0; 1000])?;
    /// assert_eq!(x.range(256, 8).unwrap().offset(), 256);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many clones and ranges of the allocation there are, with this one.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let x = Gpu::open(&AdapterChoice::from_env()?)?.upload(&[0; 1000])?;
    /// let _part = x.range(0, 8);
    /// assert_eq!(x.holders(), 2);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.handle)
    }

    /// Whether it is less than what was asked for.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let x = Gpu::open(&AdapterChoice::from_env()?)?.upload(&[0; 1000])?;
    /// assert!(!x.is_part() && x.range(0, 8).unwrap().is_part());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn is_part(&self) -> bool {
        self.bytes < self.handle.bytes
    }

    /// A number that no other living allocation has. A recycled allocation keeps it.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let (x, y) = (gpu.upload(&[0; 8])?, gpu.upload(&[0; 8])?);
    /// assert!(x.id() == x.range(0, 4).unwrap().id() && x.id() != y.id());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn id(&self) -> u64 {
        self.handle.block.as_ref().map_or(u64::MAX, |block| block.id)
    }

    /// The `bytes` of the same allocation from `offset` on; `None` where it has fewer.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let x = gpu.upload(&[1, 2, 3, 4, 5, 6, 7, 8])?;
    /// assert!(x.range(4, 4).is_some() && x.range(4, 8).is_none());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn range(&self, offset: u64, bytes: u64) -> Option<Buffer> {
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.handle.bytes);
        fits.then(|| Buffer { handle: self.handle.clone(), offset, bytes })
    }

    pub(super) fn capacity(&self) -> u64 {
        self.handle.block.as_ref().map_or(0, |block| block.capacity)
    }

    /// The buffer of wgpu. Absent only while the handle is being dropped.
    pub(super) fn raw(&self) -> Option<&wgpu::Buffer> {
        self.handle.block.as_ref().map(|block| &block.raw)
    }

    pub(super) fn belongs_to(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.handle.pool, pool)
    }

    /// Gives the only handle a new logical size, from the allocation's start; `false` when others share the buffer.
    pub(super) fn resize(&mut self, bytes: u64) -> bool {
        let Some(handle) = Arc::get_mut(&mut self.handle) else { return false };
        handle.pool.tally.give(handle.bytes);
        handle.pool.tally.take(bytes);
        handle.bytes = bytes;
        (self.offset, self.bytes) = (0, bytes);
        true
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({}, {} bytes)", self.id(), self.bytes())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.pool.tally.give(self.bytes);
        if let Some(block) = self.block.take() {
            self.pool.put(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_serve() {
        let mut last = 0;
        for bytes in (0..5000).chain((1..200).map(|i| i * 1_234_567)) {
            let class = size_class(bytes);
            assert!(class >= padded(bytes) && class.is_multiple_of(PADDING), "{bytes} {class}");
            assert!(class <= SMALLEST || class <= padded(bytes) * 5 / 4 + 64, "{bytes} {class}");
            assert!(class >= last || bytes == 1_234_567, "classes grow with the size");
            assert_eq!(size_class(class), class, "a class serves itself");
            last = class;
        }
        assert_eq!(size_class(1), 256);
        assert_eq!(size_class(257), 320);
        assert_eq!(size_class((64 << 20) + 1), 65 << 20);
    }
}

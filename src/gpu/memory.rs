//! What device memory is used for, and how much of it may be.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::Gpu;
use super::pool::Buffer;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::Dims;

/// What a buffer holds and who made it.
///
/// ```
/// use calor::{DType, gpu::Origin};
/// let origin = Origin { op: "relu".into(), shape: [2, 3].as_slice().into(), dtype: DType::F32 };
/// assert_eq!(origin.shape.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The operation that made it.
    pub op: String,
    /// Sizes.
    pub shape: Dims,
    /// Element type.
    pub dtype: DType,
}

/// Memory of a device at one moment, in bytes where nothing else is said.
///
/// ```
/// use calor::gpu::MemoryStats;
/// let stats = calor::Device::best()?.memory_stats();
/// assert!(stats.current <= stats.peak && stats.current <= stats.reserved);
/// assert_eq!(MemoryStats::default().limit, None);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Asked for by tensors now alive, computed ones and uploads.
    pub current: u64,
    /// The most that `current` has been since the device was opened or the peak was reset.
    pub peak: u64,
    /// Held from the driver, in use or waiting for reuse.
    pub reserved: u64,
    /// How many buffers are alive.
    pub allocations: u64,
    /// How often memory ran out and was found after waiting buffers were given back.
    pub reclaims: u64,
    /// The most that may be reserved, where a limit is set.
    pub limit: Option<u64>,
}

/// One live allocation.
///
/// ```
/// use calor::gpu::{Allocation, MemorySnapshot};
/// let table = MemorySnapshot { allocations: vec![Allocation { bytes: 8, origin: None }] }.to_string();
/// assert!(table.contains("8 B  between kernels"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Bytes asked for.
    pub bytes: u64,
    /// What it holds; `None` for values on their way between kernels.
    pub origin: Option<Origin>,
}

/// Every live allocation of a device, largest first.
///
/// ```
/// use calor::{DType, gpu::{Allocation, MemorySnapshot, Origin}};
/// let origin = Origin { op: "relu".into(), shape: [2, 3].as_slice().into(), dtype: DType::F32 };
/// let snapshot = MemorySnapshot { allocations: vec![Allocation { bytes: 24, origin: Some(origin) }] };
/// assert!(snapshot.to_string().starts_with("24 B in 1 allocations"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySnapshot {
    /// The allocations.
    pub allocations: Vec<Allocation>,
}

impl MemorySnapshot {
    /// Bytes of all allocations.
    ///
    /// ```
    /// use calor::gpu::{Allocation, MemorySnapshot};
    /// let allocations = vec![Allocation { bytes: 24, origin: None }, Allocation { bytes: 8, origin: None }];
    /// assert_eq!(MemorySnapshot { allocations }.total(), 32);
    /// ```
    pub fn total(&self) -> u64 {
        self.allocations.iter().map(|a| a.bytes).sum()
    }
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.max(1).ilog2() / 10).min(4);
    if step == 0 {
        return format!("{bytes} B");
    }
    format!(
        "{:.1} {}",
        bytes as f64 / f64::from(1u32 << (10 * step.min(3))) / if step == 4 { 1024.0 } else { 1.0 },
        units[step as usize]
    )
}

impl fmt::Display for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} in {} allocations", human(self.total()), self.allocations.len())?;
        for allocation in &self.allocations {
            match &allocation.origin {
                Some(Origin { op, shape, dtype }) => {
                    writeln!(f, "{:>12}  {op}  {dtype}{:?}", human(allocation.bytes), &shape[..])?;
                }
                None => writeln!(f, "{:>12}  between kernels", human(allocation.bytes))?,
            }
        }
        Ok(())
    }
}

impl Gpu {
    /// How much memory is used.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let before = gpu.memory_stats().current;
    /// let _x = gpu.upload(&[0; 1000])?;
    /// assert_eq!(gpu.memory_stats().current, before + 1000);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn memory_stats(&self) -> MemoryStats {
        let (tally, limit) = (&self.0.pool.tally, self.0.pool.limit.load(Relaxed));
        let c = tally.counters();
        MemoryStats {
            current: c.bytes_in_use,
            peak: c.bytes_peak,
            reserved: c.bytes_reserved,
            allocations: self.0.pool.live(),
            reclaims: tally.reclaims.load(Relaxed),
            limit: (limit != u64::MAX).then_some(limit),
        }
    }

    /// What memory is used for.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let _x = gpu.upload(&[0; 1000])?;
    /// assert!(gpu.memory_snapshot().allocations.iter().any(|a| a.bytes == 1000));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn memory_snapshot(&self) -> MemorySnapshot {
        let mut allocations = self.0.pool.allocations();
        allocations.sort_by(|a, b| {
            let op = |x: &Allocation| x.origin.as_ref().map(|o| o.op.clone());
            b.bytes.cmp(&a.bytes).then_with(|| op(a).cmp(&op(b)))
        });
        MemorySnapshot { allocations }
    }

    /// Sets how many bytes may be held from the driver for tensors; what is above it is refused as `OutOfMemory` once
    /// waiting buffers were given back. Buffers already held stay.
    ///
    /// ```
    /// use calor::{ErrorKind, gpu::{AdapterChoice, Gpu}};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.set_memory_limit(Some(1 << 16));
    /// assert_eq!(gpu.upload(&[0; 1 << 17]).unwrap_err().kind(), ErrorKind::OutOfMemory);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_memory_limit(&self, bytes: Option<u64>) {
        self.0.pool.limit.store(bytes.unwrap_or(u64::MAX), Relaxed);
    }

    /// Notes what buffers hold.
    pub(crate) fn name_buffers(&self, named: Vec<(Buffer, Origin)>) {
        self.0.pool.name(named);
    }

    /// Why an allocation was refused, with the books.
    pub(super) fn short_of(&self, op: &str, bytes: u64, why: &str) -> Error {
        let c = self.counters();
        let waiting = c.bytes_reserved.saturating_sub(c.bytes_in_use);
        let books = format!("asked for {bytes} bytes; {} in use, {waiting} held for reuse", c.bytes_in_use);
        Error::new(ErrorKind::OutOfMemory, op, format!("{why} ({books})"))
    }

    /// `Err` where the limit forbids to hold so much more, else it is on the books.
    pub(super) fn book(&self, op: &str, capacity: u64, bytes: u64) -> Result<()> {
        match self.0.pool.book(capacity) {
            Ok(()) => Ok(()),
            Err(limit) => Err(self.short_of(op, bytes, &format!("the memory limit of {limit} bytes is reached"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable_and_tables_ordered() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (2 << 40, "2.0 TiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(u64::MAX), "16777216.0 TiB");
        let origin = Origin { op: "relu".into(), shape: [2usize, 3].as_slice().into(), dtype: DType::F32 };
        let snapshot = MemorySnapshot {
            allocations: vec![Allocation { bytes: 24, origin: Some(origin) }, Allocation { bytes: 8, origin: None }],
        };
        let text = snapshot.to_string();
        assert!(text.starts_with("32 B in 2 allocations\n"), "{text}");
        assert!(text.contains("24 B  relu  f32[2, 3]\n") && text.contains("8 B  between kernels"), "{text}");
    }
}

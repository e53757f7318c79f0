//! What waits for the device, in a browser: there the thread must not stand still, so it is refused, by the name of what to
//! call instead.

use super::profile::Profile;
use super::readback::Reading;
use super::{AdapterChoice, Gpu};
use crate::error::{Result, bail};

fn refused<T>(op: &str, instead: &str) -> Result<T> {
    bail!(Unsupported, op, "a browser cannot wait: call {instead}")
}

impl Gpu {
    /// Refused.
    pub fn open(_: &AdapterChoice) -> Result<Gpu> {
        refused("open", "open_async")
    }

    /// Refused.
    pub fn reopen(&self) -> Result<Gpu> {
        refused("reopen", "reopen_async")
    }

    pub(crate) fn end_read<R>(&self, _: Reading, _: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        refused("read", "read_async or to_vec_async")
    }

    /// The codes that reads have brought so far.
    pub fn take_faults(&self) -> Result<Vec<u32>> {
        self.0.health.check("take_faults")?;
        Ok(self.0.faults.take())
    }

    /// Refused.
    pub fn synchronize(&self) -> Result<()> {
        refused("synchronize", "read_async or to_vec_async")
    }

    /// Refused.
    pub fn finish_profile(&self) -> Result<Profile> {
        refused("profile", "finish_profile_async")
    }
}

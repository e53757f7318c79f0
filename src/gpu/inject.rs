//! Failures on demand, for tests: the nth allocation, submission or read of a device fails with a chosen kind.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Gpu;
use super::health::lock;
use crate::error::{Error, ErrorKind, Result};

/// Where a failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A buffer is made: for a tensor, for parameters, for a read.
    Allocation,
    /// Bytes of the host are handed to the queue.
    Upload,
    /// Commands are handed to the queue.
    Submission,
    /// Bytes come back to the host.
    Read,
    /// A kernel is compiled.
    Compilation,
}

/// Which failures strike.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    /// Where.
    pub point: Point,
    /// As what; `DeviceLost` destroys the device.
    pub kind: ErrorKind,
    /// The first that fails, counted from 1.
    pub nth: u32,
    /// How many fail in a row.
    pub times: u32,
}

/// The failures still to come.
#[derive(Default)]
pub(super) struct Injector {
    armed: AtomicBool,
    state: Mutex<(Option<Injection>, u32)>,
}

impl Injector {
    fn strike(&self, point: Point) -> Option<ErrorKind> {
        if !self.armed.load(Relaxed) {
            return None;
        }
        let mut state = lock(&self.state);
        let injection = state.0.filter(|injection| injection.point == point)?;
        state.1 += 1;
        let passed = state.1;
        (passed >= injection.nth && passed - injection.nth < injection.times).then_some(injection.kind)
    }
}

impl Gpu {
    /// Arms failures, or disarms them; returns how often the point of the former ones was passed.
    #[doc(hidden)]
    pub fn inject(&self, injection: Option<Injection>) -> u32 {
        let mut state = lock(&self.0.injector.state);
        self.0.injector.armed.store(injection.is_some(), Relaxed);
        std::mem::replace(&mut *state, (injection, 0)).1
    }

    /// Destroys the device, as a driver does that loses it.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.0.device.destroy();
        // the loss is told once the device is idle
        let _ = self.wait("destroy", None);
    }

    /// `Err` when a failure was asked for here.
    pub(super) fn may_fail(&self, point: Point, op: &str) -> Result<()> {
        let Some(kind) = self.0.injector.strike(point) else { return Ok(()) };
        if kind == ErrorKind::DeviceLost {
            self.destroy();
            self.0.health.alive(op)?;
        }
        Err(Error::new(kind, op, "an injected failure"))
    }
}

//! What has gone wrong on a device, kept until somebody can be told.
//!
//! wgpu reports errors through callbacks. On native they are caught by error scopes and belong to the call that caused
//! them; what escapes the scopes, and everything in a browser, is kept here and returned by the next call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// Errors kept for the next call; the first ones tell most.
const KEPT: usize = 8;

/// Lines of a diagnostic that go into a message.
const LINES: usize = 24;

/// Locks, even after a thread panicked with the lock held: what our locks guard is valid between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error state of a device, shared with wgpu's callbacks.
#[derive(Default)]
pub(super) struct Health {
    lost: AtomicBool,
    dirty: AtomicBool,
    reason: Mutex<String>,
    pending: Mutex<Vec<Error>>,
}

impl Health {
    /// The device is gone for good; the first reason is kept.
    pub fn lose(&self, why: &str) {
        let mut reason = lock(&self.reason);
        if !self.lost.load(Ordering::Acquire) {
            *reason = why.trim().to_owned();
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Keeps an error that no call was there to return.
    pub fn keep(&self, error: Error) {
        log::error!("{error}");
        let mut pending = lock(&self.pending);
        if pending.len() < KEPT {
            pending.push(error);
        }
        self.dirty.store(true, Ordering::Release);
    }

    /// `Err` when the device is lost.
    pub fn alive(&self, op: &str) -> Result<()> {
        if !self.lost.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = lock(&self.reason).clone();
        let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason };
        Err(Error::new(ErrorKind::DeviceLost, op, format!("the device is lost: {reason}; open a new one")))
    }

    /// `Err` when the device is lost or an earlier error waits to be told.
    pub fn check(&self, op: &str) -> Result<()> {
        self.alive(op)?;
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut *lock(&self.pending));
        if pending.is_empty() {
            return Ok(());
        }
        let more = pending.len() - 1;
        let first = pending.swap_remove(0);
        Err(if more == 0 { first } else { first.context(format!("and {more} more errors")) })
    }
}

/// Our error for one of wgpu's.
pub(super) fn translate(op: &str, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::new(ErrorKind::OutOfMemory, op, "the device has no memory left".to_owned())
        }
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::new(ErrorKind::Device, op, head(description))
        }
    }
}

/// The first lines of a diagnostic, without the frame that wgpu puts around it.
fn head(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && line.trim() != "Validation Error");
    let mut kept: Vec<&str> = lines.by_ref().take(LINES).map(str::trim_end).collect();
    if lines.next().is_some() {
        kept.push("...");
    }
    kept.join("\n").trim().to_owned()
}

/// Runs `work` and returns what wgpu reported during it. Scopes belong to the thread, so threads do not see each
/// other's errors; popping one does not wait.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn scoped<T>(device: &wgpu::Device, op: &str, work: impl FnOnce() -> T) -> Result<T> {
    use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
    let scopes = [Internal, Validation, OutOfMemory].map(|filter| device.push_error_scope(filter));
    let value = work();
    let mut first = None;
    for scope in scopes.into_iter().rev() {
        let caught = now(scope.pop()).flatten();
        first = first.or(caught);
    }
    match first {
        None => Ok(value),
        Some(error) => Err(translate(op, &error)),
    }
}

/// In a browser scopes answer later: errors reach the handler and are returned by the next call.
#[cfg(target_arch = "wasm32")]
pub(super) fn scoped<T>(_: &wgpu::Device, _: &str, work: impl FnOnce() -> T) -> Result<T> {
    Ok(work())
}

/// The value of a future that is ready.
pub(super) fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

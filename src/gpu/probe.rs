//! Behaviour that no limit tells: found by running a small kernel.

use std::sync::Arc;

use super::Gpu;
use super::recording::{Access, Command, Dispatch, Kernel, Recording};
use crate::error::Result;

/// Iterations asked for: more than the caps seen so far (65,535).
const ASKED: u32 = 70_000;

/// What is promised at most once a cap was found; drivers differ a little in what they count.
const PROMISED: u32 = 60_000;

/// Leaves the loop when a random sequence reaches a value, so no compiler can know the count.
const SOURCE: &str = "
@group(0) @binding(0) var<storage, read_write> data: array<u32>;

@compute @workgroup_size(1)
fn main() {
    var x = data[0];
    let last = data[1];
    var count = 0u;
    while (x != last) {
        x = x * 1664525u + 1013904223u;
        count += 1u;
    }
    data[2] = count;
}
";

/// How many loop iterations an invocation may count on, `None` where the driver cuts no loop short.
pub(super) async fn loop_cap(gpu: &Gpu) -> Result<Option<u32>> {
    let found = count(gpu).await?;
    Ok((found < ASKED).then(|| (found - found / 16).clamp(1, PROMISED)))
}

/// Iterations that were really run of those asked for.
pub(super) async fn count(gpu: &Gpu) -> Result<u32> {
    let first = 1u32;
    let last = (0..ASKED).fold(first, |x, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let buffer = gpu.upload(bytemuck::bytes_of(&[first, last, 0, 0]))?;
    let kernel = Kernel {
        label: "probe loop".to_owned(),
        source: SOURCE.to_owned(),
        access: vec![Access::ReadWrite],
        param_words: 0,
        faults: false,
    };
    let run = Dispatch {
        kernel: Arc::new(kernel),
        bindings: smallvec::smallvec![0.into()],
        params: Vec::new(),
        groups: 1,
        work: u64::from(ASKED),
    };
    let recording = Recording { slots: vec![buffer.bytes()], commands: vec![Command::Dispatch(run)] };
    gpu.submit(&recording, vec![Some(buffer.clone())])?;
    let data = gpu.read_async(&[(buffer, 8, 4)]).await?;
    let word = data.first().and_then(|bytes| bytes.first_chunk::<4>());
    Ok(word.map_or(0, |word| u32::from_le_bytes(*word)))
}

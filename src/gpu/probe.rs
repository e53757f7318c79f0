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
        first: None,
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

/// Multiplies cooperative matrices in a loop whose length no compiler knows: one read row by row, one column by column.
const MATRICES: &str = "
enable f16;
enable wgpu_cooperative_matrix;
alias MatrixA = coop_matSIDExSIDE<f16, A>;
alias MatrixB = coop_matSIDExSIDE<f16, B>;
alias MatrixC = coop_matSIDExSIDE<f32, C>;
@group(0) @binding(0) var<storage, read_write> data: array<f32>;
var<workgroup> left: array<f16, SIDE * SIDE>;
var<workgroup> right: array<f16, SIDE * SIDE>;
var<workgroup> sums: array<f32, SIDE * SIDE>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    for (var i = lane; i < SIDEu * SIDEu; i += LANESu) {
        left[i] = f16(f32(i * 7u % 11u) - 5.0);
        right[i] = f16(f32(i * 5u % 13u) - 6.0);
        sums[i] = f32(i % 3u);
    }
    workgroupBarrier();
    var c = coopLoadT<MatrixC>(&sums[0], SIDEu);
    for (var i = 0u; i < u32(data[0]); i++) {
        let a = coopLoadT<MatrixA>(&left[0], SIDEu);
        let b = coopLoad<MatrixB>(&right[0], SIDEu);
        c = coopMultiplyAdd(a, b, c);
    }
    coopStoreT(c, &sums[0], SIDEu);
    workgroupBarrier();
    for (var i = lane; i < SIDEu * SIDEu; i += LANESu) {
        data[i] = sums[i];
    }
}
";

/// How often the probe multiplies.
const TIMES: u32 = 5;

/// The text of the matrices' probe.
pub(super) fn matrices_source(side: u32, lanes: u32) -> String {
    MATRICES.replace("SIDE", &side.to_string()).replace("LANES", &lanes.to_string())
}

/// Whether cooperative matrices of this side give right sums; drivers were seen that compile them wrongly.
pub(super) async fn multiplies(gpu: &Gpu, side: u32) -> bool {
    match products(gpu, side).await {
        Ok(sums) => sums == expected(side),
        Err(error) => {
            log::warn!("cooperative matrices are not used: {error}");
            false
        }
    }
}

/// The sums of the probe as they should be.
fn expected(side: u32) -> Vec<f32> {
    let left = |i: u32| (i * 7 % 11) as f32 - 5.0;
    let right = |i: u32| (i * 5 % 13) as f32 - 6.0;
    let sum = |at: u32| {
        let (row, column) = (at / side, at % side);
        let product: f32 = (0..side).map(|k| left(row * side + k) * right(column * side + k)).sum();
        (at % 3) as f32 + TIMES as f32 * product
    };
    (0..side * side).map(sum).collect()
}

/// The sums of the probe as the device computes them.
async fn products(gpu: &Gpu, side: u32) -> Result<Vec<f32>> {
    let Some(lanes) = gpu.facts().subgroup_size else { return Ok(Vec::new()) };
    let mut data = vec![0.0f32; (side * side) as usize];
    data[0] = TIMES as f32;
    let buffer = gpu.upload(bytemuck::cast_slice(&data))?;
    let kernel = Kernel {
        label: "probe matrices".to_owned(),
        source: matrices_source(side, lanes),
        access: vec![Access::ReadWrite],
        param_words: 0,
        faults: false,
        first: None,
    };
    let run = Dispatch {
        kernel: Arc::new(kernel),
        bindings: smallvec::smallvec![0.into()],
        params: Vec::new(),
        groups: 1,
        work: u64::from(side * side * side * TIMES),
    };
    let recording = Recording { slots: vec![buffer.bytes()], commands: vec![Command::Dispatch(run)] };
    let bytes = buffer.bytes();
    gpu.submit(&recording, vec![Some(buffer.clone())])?;
    let read = gpu.read_async(&[(buffer, 0, bytes)]).await?;
    Ok(read.first().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::matrices_source;

    #[test]
    fn the_matrices_probe_can_be_translated() {
        for side in [8, 16] {
            let source = matrices_source(side, 32);
            let module =
                naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
            let (flags, all) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
            let info = naga::valid::Validator::new(flags, all).validate(&module).unwrap();
            naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None).unwrap();
            let options =
                naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
            naga::back::msl::write_string(&module, &info, &options, &Default::default()).unwrap();
        }
    }
}

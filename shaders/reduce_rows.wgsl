// Reduction along the axis that lies contiguously: LANES invocations share a part of a row.
// `load`, `load4`, `store` and `join`, `join4` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const LANES: u32 = 1u;
const SPLIT: u32 = 1u;
var<private> INIT: T;
var<private> p_first: u32;
var<private> p_rows: u32;
var<private> p_length: u32;
var<private> p_chunk: u32;
var<private> p_parts: u32;
var<workgroup> partial: array<T, GROUP>;

fn load(row: u32, k: u32) -> T { return T(0); }
fn load4(row: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn join4(a: vec4<T>, b: vec4<T>) -> vec4<T> { return a + b; }
fn store(part: u32, row: u32, value: T) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * (GROUP / LANES) + lane / LANES;
    // few processors divide fast, and rows are mostly whole
    var part = 0u;
    var row = task;
    if SPLIT == 1u {
        row = task / p_parts;
        part = task - row * p_parts;
    }
    let first = lane % LANES;
    let valid = row < p_rows;
    var sum = INIT;
    if valid {
        let begin = part * p_chunk;
        let end = min(begin + p_chunk, p_length);
        let whole = begin + ((end - begin) & 0xfffffffcu);
        // two sums, so that one load need not wait for the other's sum
        var sums = vec4<T>(INIT);
        var more = sums;
        for (var k = begin + first * 4u; k < whole; k += LANES * 8u) {
            sums = join4(sums, load4(row, k));
            if k + LANES * 4u < whole {
                more = join4(more, load4(row, k + LANES * 4u));
            }
        }
        sums = join4(sums, more);
        for (var k = whole + first; k < end; k += LANES) {
            sum = join(sum, load(row, k));
        }
        sum = join(sum, join(join(sums.x, sums.y), join(sums.z, sums.w)));
    }
    if LANES > 1u {
        partial[lane] = sum;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if first < half {
                partial[lane] = join(partial[lane], partial[lane + half]);
            }
        }
        sum = partial[lane];
    }
    if valid && first == 0u {
        store(part, row, sum);
    }
}

// Reduction along an axis whose neighbours lie apart, while those of the kept axis lie side by side: an invocation
// walks down four columns.
// `load4` (four columns), `store`, `store4` and `join4` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const SPLIT: u32 = 0u;
var<private> INIT: T;
var<private> p_first: u32;
var<private> p_columns: u32;
var<private> p_length: u32;
var<private> p_chunk: u32;
var<private> p_parts: u32;

fn load4(column: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn join4(a: vec4<T>, b: vec4<T>) -> vec4<T> { return a + b; }
fn store(part: u32, column: u32, value: T) {}
fn store4(column: u32, value: vec4<T>) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let quads = (p_columns + 3u) / 4u;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    // few processors divide fast, and columns are mostly whole
    var part = 0u;
    var quad = task;
    if SPLIT == 1u {
        part = task / quads;
        quad = task - part * quads;
    }
    if part >= p_parts || quad >= quads {
        return;
    }
    let column = quad * 4u;
    let begin = part * p_chunk;
    let end = min(begin + p_chunk, p_length);
    // two sums, so that one load need not wait for the other's sum
    var sums = vec4<T>(INIT);
    var more = sums;
    for (var k = begin; k < end; k += 2u) {
        sums = join4(sums, load4(column, k));
        if k + 1u < end {
            more = join4(more, load4(column, k + 1u));
        }
    }
    sums = join4(sums, more);
    if SPLIT == 0u {
        store4(column, sums);
        return;
    }
    store(part, column, sums.x);
    if column + 1u < p_columns { store(part, column + 1u, sums.y); }
    if column + 2u < p_columns { store(part, column + 2u, sums.z); }
    if column + 3u < p_columns { store(part, column + 3u, sums.w); }
}

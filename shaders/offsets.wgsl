// Sums of all earlier elements: each invocation walks one chunk, from the sum of all earlier chunks on. With EACH = 0
// it writes the chunk's own sum instead.
// `load`, `base` and `store` are written by the code generator.

const GROUP: u32 = 64u;
const EACH: u32 = 1u;
var<private> p_first: u32;
var<private> p_count: u32;
var<private> p_chunk: u32;
var<private> p_chunks: u32;

fn load(i: u32) -> u32 { return 0u; }
fn base(chunk: u32) -> u32 { return 0u; }
fn store(i: u32, value: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let chunk = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if chunk >= p_chunks {
        return;
    }
    let begin = chunk * p_chunk;
    let end = min(begin + p_chunk, p_count);
    var sum = base(chunk);
    for (var i = begin; i < end; i++) {
        if EACH == 1u {
            store(i, sum);
        }
        sum += load(i);
    }
    if EACH == 0u {
        store(chunk, sum);
    }
}

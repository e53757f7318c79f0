// One digit of a stable radix sort of source numbers by their keys: each invocation walks one chunk. It counts the
// digits, or, with PLACE = 1, puts each number where the counts of all earlier chunks and digits say.
// `key`, `order`, `offset` and `store` are written by the code generator.

const GROUP: u32 = 64u;
const PLACE: u32 = 0u;
var<private> p_first: u32;
var<private> p_count: u32;
var<private> p_chunk: u32;
var<private> p_chunks: u32;
var<private> p_shift: u32;

fn key(source: u32) -> u32 { return 0u; }
fn order(k: u32) -> u32 { return 0u; }
fn offset(i: u32) -> u32 { return 0u; }
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
    var next: array<u32, 16>;
    for (var d = 0u; d < 16u; d++) {
        next[d] = select(0u, offset(d * p_chunks + chunk), PLACE == 1u);
    }
    let begin = chunk * p_chunk;
    let end = min(begin + p_chunk, p_count);
    for (var k = begin; k < end; k++) {
        let source = order(k);
        let digit = (key(source) >> p_shift) & 15u;
        if PLACE == 1u {
            store(next[digit], source);
        }
        next[digit] += 1u;
    }
    if PLACE == 0u {
        for (var d = 0u; d < 16u; d++) {
            store(d * p_chunks + chunk, next[d]);
        }
    }
}

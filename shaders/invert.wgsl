// The inverse of a permutation along an axis.
// `load` and `store` are written by the code generator.

const GROUP: u32 = 64u;
var<private> p_rows: u32;
var<private> p_inner: u32;
var<private> p_length: u32;

fn load(outer: u32, k: u32, inner: u32) -> i32 { return 0; }
fn store(outer: u32, k: u32, inner: u32, value: i32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let task = (group.x + group.y * groups.x) * GROUP + lane;
    let row = task % p_rows;
    let k = task / p_rows;
    if k < p_length {
        let outer = row / p_inner;
        let inner = row % p_inner;
        store(outer, min(u32(load(outer, k, inner)), p_length - 1u), inner, i32(k));
    }
}

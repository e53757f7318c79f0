// The inverse of a permutation along an axis.
// `load` and `store` are written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_count: u32;
var<private> p_inner: u32;
var<private> p_length: u32;

fn load(outer: u32, k: u32, inner: u32) -> i32 { return 0; }
fn store(outer: u32, k: u32, inner: u32, value: i32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if task < p_count {
        let inner = task % p_inner;
        let k = task / p_inner % p_length;
        let outer = task / p_inner / p_length;
        store(outer, min(u32(load(outer, k, inner)), p_length - 1u), inner, i32(k));
    }
}

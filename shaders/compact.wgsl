// The places of the true elements of a vector, each written where its rank says.
// `mask`, `rank` and `store` are written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_count: u32;

fn mask(i: u32) -> u32 { return 0u; }
fn rank(i: u32) -> u32 { return 0u; }
fn store(i: u32, value: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let i = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if i < p_count && mask(i) != 0u {
        store(rank(i), i);
    }
}

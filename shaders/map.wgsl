// Maps: each invocation computes four neighbouring elements of every output.
// `element` is written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_count: u32;

fn element(base: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let quad = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if quad < p_count {
        element(quad * 4u);
    }
}

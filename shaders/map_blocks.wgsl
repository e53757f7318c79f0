// Maps that read across: what lies side by side in an input stands one below the other in the result. Each invocation
// computes a block of four rows by four columns, so that it loads four neighbours at once and stores four at once; those
// of a workgroup lie in a square or nearly so, whose lines stay in the cache from the first load to the last. Neighbours
// lie in a small rectangle, 2^p_near blocks high: lines of a large matrix often fall into one place of a cache, so that
// few of them may be open at once, whether read or written.
// `block` is written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_near: u32;
var<private> p_down: u32;
var<private> p_along: u32;
var<private> p_bands: u32;
var<private> p_strips: u32;
var<private> p_inner: u32;
var<private> p_planes: u32;
var<private> p_rows: u32;
var<private> p_columns: u32;

fn block(c0: u32, c1: u32, c2: u32, c3: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let tile = p_first + group.x + group.y * groups.x;
    let bands = tile / p_strips;
    let plane = bands / p_bands;
    let far = lane >> p_near;
    let down = (lane & ((1u << p_near) - 1u)) | ((far >> p_along) << p_near);
    let row = (((bands % p_bands) << p_down) + down) * 4u;
    let column = (((tile % p_strips) << p_along) + (far & ((1u << p_along) - 1u))) * 4u;
    if plane < p_planes && row < p_rows && column < p_columns {
        block(plane / p_inner, row, plane % p_inner, column);
    }
}

// Maps that read across: what lies side by side in an input stands one below the other in the result. Each invocation
// computes a block of four rows by four columns, so that it loads four neighbours at once and stores four at once; those
// of a workgroup lie in a square or nearly so, whose lines stay in the cache from the first load to the last.
// `block` is written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_down: u32;
var<private> p_shift: u32;
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
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = p_first + group.x + group.y * groups.x;
    let bands = tile / p_strips;
    let plane = bands / p_bands;
    // neighbours lie below each other: they load from the same lines
    let row = (bands % p_bands * p_down + (lane & (p_down - 1u))) * 4u;
    let column = (tile % p_strips * (GROUP >> p_shift) + (lane >> p_shift)) * 4u;
    if plane < p_planes && row < p_rows && column < p_columns {
        block(plane / p_inner, row, plane % p_inner, column);
    }
}

// Scattering by looking: each destination walks all sources of its batch and joins those that go to it.
// `place`, `load`, `store` and `join` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
var<private> INIT: T;
var<private> p_batches: u32;
var<private> p_destinations: u32;
var<private> p_width: u32;
var<private> p_sources: u32;

fn place(batch: u32, source: u32) -> u32 { return 0u; }
fn load(batch: u32, source: u32, column: u32) -> T { return T(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn store(batch: u32, destination: u32, column: u32, value: T) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let task = (group.x + group.y * groups.x) * GROUP + lane;
    let column = task % p_width;
    let destination = task / p_width % p_destinations;
    let batch = task / p_width / p_destinations;
    if batch >= p_batches {
        return;
    }
    var sum = INIT;
    for (var k = 0u; k < p_sources; k++) {
        if place(batch, k) == destination {
            sum = join(sum, load(batch, k, column));
        }
    }
    store(batch, destination, column, sum);
}

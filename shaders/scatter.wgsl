// Scattering by looking: each invocation walks all sources of its batch and joins those that go to its destination,
// LANES columns at once, one or four.
// `place`, `load`, `store` and `join`, and their forms of four lanes, are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const LANES: u32 = 1u;
var<private> INIT: T;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_destinations: u32;
var<private> p_width: u32;
var<private> p_sources: u32;

fn place(batch: u32, source: u32) -> u32 { return 0u; }
fn load(batch: u32, source: u32, column: u32) -> T { return T(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn store(batch: u32, destination: u32, column: u32, value: T) {}
fn load4(batch: u32, source: u32, column: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn join4(a: vec4<T>, b: vec4<T>) -> vec4<T> { return a + b; }
fn store4(batch: u32, destination: u32, column: u32, value: vec4<T>) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    let columns = p_width / LANES;
    let column = task % columns * LANES;
    let destination = task / columns % p_destinations;
    let batch = task / columns / p_destinations;
    if batch >= p_batches {
        return;
    }
    if LANES == 4u {
        var sums = vec4<T>(INIT);
        for (var k = 0u; k < p_sources; k++) {
            if place(batch, k) == destination {
                sums = join4(sums, load4(batch, k, column));
            }
        }
        store4(batch, destination, column, sums);
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

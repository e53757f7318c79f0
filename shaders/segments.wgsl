// Joins runs of sources that are sorted by destination: each invocation walks LANES columns, one or four, of one run.
// `start`, `order`, `load`, `store` and `join`, and their forms of four lanes, are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const LANES: u32 = 1u;
var<private> INIT: T;
var<private> p_first: u32;
var<private> p_runs: u32;
var<private> p_width: u32;

fn start(run: u32) -> u32 { return 0u; }
fn order(k: u32) -> u32 { return 0u; }
fn load(source: u32, column: u32) -> T { return T(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn store(run: u32, column: u32, value: T) {}
fn load4(source: u32, column: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn join4(a: vec4<T>, b: vec4<T>) -> vec4<T> { return a + b; }
fn store4(run: u32, column: u32, value: vec4<T>) {}

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
    let run = task / columns;
    if run >= p_runs {
        return;
    }
    let end = start(run + 1u);
    if LANES == 4u {
        var sums = vec4<T>(INIT);
        for (var k = start(run); k < end; k++) {
            sums = join4(sums, load4(order(k), column));
        }
        store4(run, column, sums);
        return;
    }
    var sum = INIT;
    for (var k = start(run); k < end; k++) {
        sum = join(sum, load(order(k), column));
    }
    store(run, column, sum);
}

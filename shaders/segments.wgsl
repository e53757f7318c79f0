// Joins runs of sources that are sorted by destination: each invocation walks one column of one run.
// `start`, `order`, `load`, `store` and `join` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
var<private> INIT: T;
var<private> p_runs: u32;
var<private> p_width: u32;

fn start(run: u32) -> u32 { return 0u; }
fn order(k: u32) -> u32 { return 0u; }
fn load(source: u32, column: u32) -> T { return T(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn store(run: u32, column: u32, value: T) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let task = (group.x + group.y * groups.x) * GROUP + lane;
    let column = task % p_width;
    let run = task / p_width;
    if run >= p_runs {
        return;
    }
    let end = start(run + 1u);
    var sum = INIT;
    for (var k = start(run); k < end; k++) {
        sum = join(sum, load(order(k), column));
    }
    store(run, column, sum);
}

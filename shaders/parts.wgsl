// Cuts runs into parts: where each part begins. Run r has its parts from number first(r) on.
// `first`, `start` and `store` are written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_runs: u32;
var<private> p_part: u32;
var<private> p_parts: u32;

fn first(run: u32) -> u32 { return 0u; }
fn start(run: u32) -> u32 { return 0u; }
fn store(i: u32, value: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let part = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if part >= p_parts {
        return;
    }
    if part >= first(p_runs) {
        store(part, start(p_runs));
        return;
    }
    // the last run whose parts start no later
    var low = 0u;
    var high = p_runs;
    while low < high {
        let middle = (low + high) / 2u;
        if first(middle) <= part {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    let run = low - 1u;
    store(part, start(run) + (part - first(run)) * p_part);
}

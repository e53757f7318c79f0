// Where each number's run starts among sorted keys: the first key that is not smaller.
// `key`, `order` and `store` are written by the code generator.

const GROUP: u32 = 64u;
var<private> p_first: u32;
var<private> p_count: u32;
var<private> p_starts: u32;

fn key(source: u32) -> u32 { return 0u; }
fn order(k: u32) -> u32 { return 0u; }
fn store(i: u32, value: u32) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let number = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if number >= p_starts {
        return;
    }
    var low = 0u;
    var high = p_count;
    while low < high {
        let middle = (low + high) / 2u;
        if key(order(middle)) < number {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    store(number, low);
}

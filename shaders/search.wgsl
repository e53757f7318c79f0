// Where values belong in sorted rows: before equal elements, or with RIGHT behind them. NaN counts as larger than
// every number.
// `edge`, `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const RIGHT: u32 = 0u;
var<private> p_first: u32;
var<private> p_rows: u32;
// elements of a sorted row, and values looked for in it
var<private> p_length: u32;
var<private> p_values: u32;

fn edge(row: u32, k: u32) -> T { return T(0); }
fn load(row: u32, k: u32) -> T { return T(0); }
fn smaller(a: T, b: T) -> bool { return a < b; }
fn missing(a: T) -> bool { return a != a; }
fn store(row: u32, k: u32, value: i32) {}

fn before(a: T, b: T) -> bool { return smaller(a, b) | (missing(b) & !missing(a)); }

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    let row = task / p_values;
    let k = task % p_values;
    if row >= p_rows {
        return;
    }
    let value = load(row, k);
    var low = 0u;
    var high = p_length;
    while low < high {
        let middle = (low + high) / 2u;
        let at = edge(row, middle);
        var behind: bool;
        if RIGHT == 1u { behind = !before(value, at); } else { behind = before(at, value); }
        if behind { low = middle + 1u; } else { high = middle; }
    }
    store(row, k, i32(low));
}

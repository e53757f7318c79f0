// Sorts blocks of p_block neighbours along an axis without workgroup memory, whose barriers are slow on a CPU: each
// element counts those of its block that belong before it. NaN counts as larger than every number; equal elements keep
// their order.
// `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const DESCENDING: u32 = 0u;
var<private> p_first: u32;
var<private> p_count: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
var<private> p_block: u32;

fn load(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn smaller(a: T, b: T) -> bool { return a < b; }
fn missing(a: T) -> bool { return a != a; }
fn store(outer: u32, k: u32, inner: u32, value: i32) {}

fn before(a: T, b: T) -> bool {
    if DESCENDING == 1u { return smaller(b, a) | (missing(a) & !missing(b)); }
    return smaller(a, b) | (missing(b) & !missing(a));
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if task >= p_count {
        return;
    }
    let inner = task % p_inner;
    let k = task / p_inner % p_length;
    let outer = task / p_inner / p_length;
    let own = load(outer, k, inner);
    let begin = k / p_block * p_block;
    let end = min(begin + p_block, p_length);
    var place = begin;
    for (var other = begin; other < k; other++) {
        // an earlier element precedes an equal one
        place += select(1u, 0u, before(own, load(outer, other, inner)));
    }
    for (var other = k + 1u; other < end; other++) {
        place += select(0u, 1u, before(load(outer, other, inner), own));
    }
    store(outer, place, inner, i32(k));
}

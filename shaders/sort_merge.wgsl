// Merges neighbouring sorted runs of p_run elements along an axis: each element finds its place among those of the
// other run. Elements of p_width components compare by the first one that differs.
// `key`, `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const DESCENDING: u32 = 0u;
var<private> p_count: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
var<private> p_run: u32;
var<private> p_width: u32;

fn key(outer: u32, k: u32, inner: u32, component: u32) -> T { return T(0); }
fn load(outer: u32, k: u32, inner: u32) -> i32 { return 0; }
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
    @builtin(local_invocation_index) lane: u32,
) {
    let task = (group.x + group.y * groups.x) * GROUP + lane;
    if task >= p_count {
        return;
    }
    let inner = task % p_inner;
    let k = task / p_inner % p_length;
    let outer = task / p_inner / p_length;
    let own = u32(load(outer, k, inner));
    let run = k / p_run;
    let other = (run ^ 1u) * p_run;
    var low = min(other, p_length);
    var high = min(other + p_run, p_length);
    while low < high {
        let middle = (low + high) / 2u;
        let there = u32(load(outer, middle, inner));
        // an earlier element precedes an equal one
        var first = there < own;
        for (var c = 0u; c < p_width; c++) {
            let a = key(outer, own, inner, c);
            let b = key(outer, there, inner, c);
            if before(b, a) {
                first = true;
                break;
            }
            if before(a, b) {
                first = false;
                break;
            }
        }
        if first { low = middle + 1u; } else { high = middle; }
    }
    let ahead = low - min(other, p_length);
    let place = min(run, run ^ 1u) * p_run + k % p_run + ahead;
    store(outer, place, inner, i32(own));
}

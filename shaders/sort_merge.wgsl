// Merges neighbouring sorted runs of p_run elements along an axis: an invocation writes up to p_chunk neighbours of
// the result, after a search for where they begin in both runs. Elements of p_width components compare by the first
// one that differs; equal ones keep their order.
// `key`, `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const DESCENDING: u32 = 0u;
var<private> p_first: u32;
var<private> p_tasks: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
// chunks in a row; a chunk lies within a pair of runs
var<private> p_chunks: u32;
var<private> p_chunk: u32;
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

// whether element b, with first component y, must stand before element a, with first component x
fn overtakes(outer: u32, inner: u32, b: u32, y: T, a: u32, x: T) -> bool {
    if before(y, x) { return true; }
    if before(x, y) { return false; }
    for (var c = 1u; c < p_width; c++) {
        let u = key(outer, a, inner, c);
        let v = key(outer, b, inner, c);
        if before(v, u) { return true; }
        if before(u, v) { return false; }
    }
    return false;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    if task >= p_tasks {
        return;
    }
    let inner = task % p_inner;
    let begin = task / p_inner % p_chunks * p_chunk;
    let outer = task / p_inner / p_chunks;
    let left = begin / p_run / 2u * 2u * p_run;
    let right = min(left + p_run, p_length);
    let end = min(right + p_run, p_length);
    let before_chunk = begin - left;
    // how many of the left run stand before the chunk
    var low = before_chunk - min(before_chunk, end - right);
    var high = min(before_chunk, right - left);
    while low < high {
        let middle = (low + high) / 2u;
        let a = u32(load(outer, left + middle, inner));
        let b = u32(load(outer, right + before_chunk - 1u - middle, inner));
        if overtakes(outer, inner, b, key(outer, b, inner, 0u), a, key(outer, a, inner, 0u)) {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    var i = left + low;
    var j = right + before_chunk - low;
    var a = u32(load(outer, min(i, right - 1u), inner));
    var b = u32(load(outer, min(j, end - 1u), inner));
    var x = key(outer, a, inner, 0u);
    var y = key(outer, b, inner, 0u);
    for (var k = begin; k < min(begin + p_chunk, end); k++) {
        var second = i >= right;
        if (i < right) & (j < end) { second = overtakes(outer, inner, b, y, a, x); }
        if second {
            store(outer, k, inner, i32(b));
            j++;
            b = u32(load(outer, min(j, end - 1u), inner));
            y = key(outer, b, inner, 0u);
        } else {
            store(outer, k, inner, i32(a));
            i++;
            a = u32(load(outer, min(i, right - 1u), inner));
            x = key(outer, a, inner, 0u);
        }
    }
}

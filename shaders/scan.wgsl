// Running results along an axis: each invocation walks a part of a row, `join`ing elements or, with RECUR, following
// y[k] = factor[k] y[k - 1] + x[k].
// `load`, `factor`, `carry`, `join`, `store` and `store_total` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
// walk from the end
const REVERSE: u32 = 0u;
const RECUR: u32 = 0u;
// only the last result of each part is wanted
const TOTAL: u32 = 0u;
// the results before each part are known
const CARRY: u32 = 0u;
var<private> p_first: u32;
var<private> p_rows: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
var<private> p_chunk: u32;
var<private> p_parts: u32;

fn load(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn factor(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn carry(part: u32, outer: u32, inner: u32) -> T { return T(0); }
fn join(a: T, b: T) -> T { return a + b; }
fn store(outer: u32, k: u32, inner: u32, value: T) {}
fn store_total(part: u32, outer: u32, inner: u32, value: T) {}

fn place(k: u32) -> u32 {
    if REVERSE == 1u { return p_length - 1u - k; }
    return k;
}

fn next(before: T, outer: u32, k: u32, inner: u32) -> T {
    let at = place(k);
    let x = load(outer, at, inner);
    if RECUR == 1u { return factor(outer, at, inner) * before + x; }
    return join(before, x);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * GROUP + lane;
    let row = task % p_rows;
    let part = task / p_rows;
    if part >= p_parts {
        return;
    }
    let outer = row / p_inner;
    let inner = row % p_inner;
    // a part without elements repeats the last one: nobody reads past it
    let begin = min(part * p_chunk, p_length - 1u);
    let end = min(begin + p_chunk, p_length);
    var value: T;
    if (CARRY == 1u) & (part > 0u) {
        value = next(carry(part - 1u, outer, inner), outer, begin, inner);
    } else {
        value = load(outer, place(begin), inner);
    }
    if TOTAL == 0u { store(outer, place(begin), inner, value); }
    for (var k = begin + 1u; k < end; k++) {
        value = next(value, outer, k, inner);
        if TOTAL == 0u { store(outer, place(k), inner, value); }
    }
    if TOTAL == 1u { store_total(part, outer, inner, value); }
}

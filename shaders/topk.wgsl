// The first p_take elements of a part of a row in descending or ascending order: an invocation walks a part and keeps
// the best so far. NaN counts as larger than every number; of equal elements the earlier one is better.
// `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const DESCENDING: u32 = 1u;
// room for the best
const ROOM: u32 = 8u;
var<private> p_first: u32;
var<private> p_rows: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
var<private> p_parts: u32;
// at most ROOM and the length of a part
var<private> p_take: u32;
var<private> keys: array<T, ROOM>;
var<private> places: array<u32, ROOM>;

fn load(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn smaller(a: T, b: T) -> bool { return a < b; }
fn missing(a: T) -> bool { return a != a; }
fn store(outer: u32, part: u32, slot: u32, inner: u32, value: i32) {}

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
    let row = task % p_rows;
    let part = task / p_rows;
    if part >= p_parts {
        return;
    }
    let outer = row / p_inner;
    let inner = row % p_inner;
    // parts differ by one element at most, so that each has enough
    let least = p_length / p_parts;
    let more = p_length % p_parts;
    let begin = part * least + min(part, more);
    let end = begin + least + select(0u, 1u, part < more);
    for (var k = begin; k < end; k++) {
        let key = load(outer, k, inner);
        let found = min(k - begin, p_take);
        var slot = found;
        if found == p_take {
            if !before(key, keys[found - 1u]) { continue; }
            slot = found - 1u;
        }
        while slot > 0u {
            if !before(key, keys[slot - 1u]) { break; }
            keys[slot] = keys[slot - 1u];
            places[slot] = places[slot - 1u];
            slot -= 1u;
        }
        keys[slot] = key;
        places[slot] = k;
    }
    for (var slot = 0u; slot < p_take; slot++) {
        store(outer, part, slot, inner, i32(places[slot]));
    }
}

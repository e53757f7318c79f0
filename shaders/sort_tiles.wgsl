// Sorts blocks of up to 256 neighbours along an axis: writes, for each place, whose element belongs there.
// Several blocks share a workgroup. NaN counts as larger than every number; equal elements keep their order.
// `load`, `store`, `smaller` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const SLOTS: u32 = 256u;
const DESCENDING: u32 = 0u;
const NOWHERE: u32 = 0xffffffffu;
var<private> p_first: u32;
var<private> p_rows: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
// a power of two, at most SLOTS
var<private> p_block: u32;
// blocks in a row
var<private> p_blocks: u32;
var<workgroup> keys: array<T, SLOTS>;
var<workgroup> places: array<u32, SLOTS>;

fn load(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn smaller(a: T, b: T) -> bool { return a < b; }
fn missing(a: T) -> bool { return a != a; }
fn store(outer: u32, k: u32, inner: u32, value: i32) {}

fn before(a: T, b: T) -> bool {
    if DESCENDING == 1u { return smaller(b, a) | (missing(a) & !missing(b)); }
    return smaller(a, b) | (missing(b) & !missing(a));
}

// whether slot a must stand before slot b
fn precedes(a: u32, b: u32) -> bool {
    if (places[a] == NOWHERE) | (places[b] == NOWHERE) { return places[a] < places[b]; }
    if before(keys[a], keys[b]) { return true; }
    return !before(keys[b], keys[a]) & (places[a] < places[b]);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let first = (p_first + group.x + group.y * groups.x) * (SLOTS / p_block);
    for (var slot = lane; slot < SLOTS; slot += GROUP) {
        let task = first + slot / p_block;
        let row = task / p_blocks;
        let k = task % p_blocks * p_block + slot % p_block;
        places[slot] = NOWHERE;
        if (row < p_rows) & (k < p_length) {
            keys[slot] = load(row / p_inner, k, row % p_inner);
            places[slot] = k;
        }
    }
    for (var size = 2u; size <= p_block; size *= 2u) {
        for (var stride = size / 2u; stride > 0u; stride /= 2u) {
            workgroupBarrier();
            for (var pair = lane; pair < SLOTS / 2u; pair += GROUP) {
                let a = pair / stride * stride * 2u + pair % stride;
                let b = a + stride;
                let up = ((a & (p_block - 1u)) & size) == 0u;
                if precedes(b, a) == up {
                    let key = keys[a];
                    keys[a] = keys[b];
                    keys[b] = key;
                    let place = places[a];
                    places[a] = places[b];
                    places[b] = place;
                }
            }
        }
    }
    workgroupBarrier();
    for (var slot = lane; slot < SLOTS; slot += GROUP) {
        let task = first + slot / p_block;
        let row = task / p_blocks;
        let k = task % p_blocks * p_block + slot % p_block;
        if (row < p_rows) & (k < p_length) {
            store(row / p_inner, k, row % p_inner, i32(places[slot]));
        }
    }
}

// Where the extreme element of a row first stands: LANES invocations share a part of a row. NaN wins over numbers.
// `load`, `store`, `beats` and `missing` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const LANES: u32 = 1u;
const NOWHERE: u32 = 0xffffffffu;
var<private> p_first: u32;
var<private> p_rows: u32;
var<private> p_length: u32;
var<private> p_chunk: u32;
var<private> p_parts: u32;
var<workgroup> values: array<T, GROUP>;
var<workgroup> places: array<u32, GROUP>;

fn load(row: u32, k: u32) -> T { return T(0); }
fn beats(a: T, b: T) -> bool { return a > b; }
fn missing(a: T) -> bool { return a != a; }
fn store(part: u32, row: u32, value: i32) {}

fn wins(a: T, b: T) -> bool { return beats(a, b) | (missing(a) & !missing(b)); }

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let task = (p_first + group.x + group.y * groups.x) * (GROUP / LANES) + lane / LANES;
    // neighbours take neighbouring rows
    let row = task % p_rows;
    let part = task / p_rows;
    let first = lane % LANES;
    let valid = part < p_parts;
    var best: T;
    var place = NOWHERE;
    if valid {
        let begin = part * p_chunk;
        let end = min(begin + p_chunk, p_length);
        if begin + first < end {
            place = begin + first;
            best = load(row, place);
        }
        for (var k = begin + first + LANES; k < end; k += LANES) {
            let value = load(row, k);
            if wins(value, best) {
                best = value;
                place = k;
            }
        }
    }
    if LANES > 1u {
        values[lane] = best;
        places[lane] = place;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if first < half {
                let other = values[lane + half];
                let there = places[lane + half];
                let equal = !wins(values[lane], other) & (there < places[lane]);
                let better = (places[lane] == NOWHERE) | wins(other, values[lane]) | equal;
                if (there != NOWHERE) & better {
                    values[lane] = other;
                    places[lane] = there;
                }
            }
        }
        place = places[lane];
    }
    if valid & (first == 0u) {
        // an empty last part stands for its row's last element
        store(part, row, i32(min(place, p_length - 1u)));
    }
}

// Softmax along an axis, or with LOG its logarithm: LANES invocations share a row and walk it three times: for the
// largest element, the sum, the results. With FOUR the axis is the last one and lies contiguously.
// `load`, `load4`, `store`, `store4`, `larger`, `larger4`, `power`, `power4` and `logarithm` are written by the code
// generator.

alias T = f32;
const GROUP: u32 = 64u;
const LANES: u32 = 1u;
const FOUR: u32 = 0u;
// rows are a multiple of four
const WHOLE: u32 = 0u;
const LOG: u32 = 0u;
var<private> LOWEST: T;
var<private> p_rows: u32;
var<private> p_inner: u32;
var<private> p_length: u32;
var<workgroup> partial: array<T, GROUP>;

fn load(outer: u32, k: u32, inner: u32) -> T { return T(0); }
fn load4(outer: u32, k: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn store(outer: u32, k: u32, inner: u32, value: T) {}
fn store4(outer: u32, k: u32, value: vec4<T>) {}
fn larger(a: T, b: T) -> T { return max(a, b); }
fn larger4(a: vec4<T>, b: vec4<T>) -> vec4<T> { return max(a, b); }
fn power(x: T) -> T { return x; }
fn power4(x: vec4<T>) -> vec4<T> { return x; }
fn logarithm(x: T) -> T { return x; }

// the largest of a row's values, or with `sum` their sum
fn shared_by_row(lane: u32, value: T, sum: bool) -> T {
    if LANES == 1u { return value; }
    let first = lane % LANES;
    workgroupBarrier();
    partial[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if first < half {
            let other = partial[lane + half];
            if sum { partial[lane] += other; } else { partial[lane] = larger(partial[lane], other); }
        }
    }
    workgroupBarrier();
    return partial[lane - first];
}

fn result(x: T, most: T, sum: T) -> T {
    if LOG == 1u { return x - most - sum; }
    return power(x - most) / sum;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.x + group.y * groups.x) * (GROUP / LANES) + lane / LANES;
    let first = lane % LANES;
    let outer = row / p_inner;
    let inner = row % p_inner;
    // rows past the end are empty
    let length = select(0u, p_length, row < p_rows);
    let whole = select(0u, length & 0xfffffffcu, FOUR == 1u);
    var most4 = vec4<T>(LOWEST);
    for (var k = first * 4u; k < whole; k += LANES * 4u) {
        most4 = larger4(most4, load4(outer, k));
    }
    var most = larger(larger(most4.x, most4.y), larger(most4.z, most4.w));
    for (var k = whole + first; k < length; k += LANES) {
        most = larger(most, load(outer, k, inner));
    }
    most = shared_by_row(lane, most, false);
    var sum4 = vec4<T>(T(0));
    for (var k = first * 4u; k < whole; k += LANES * 4u) {
        sum4 += power4(load4(outer, k) - vec4<T>(most));
    }
    var sum = sum4.x + sum4.y + sum4.z + sum4.w;
    for (var k = whole + first; k < length; k += LANES) {
        sum += power(load(outer, k, inner) - most);
    }
    sum = shared_by_row(lane, sum, true);
    if LOG == 1u { sum = logarithm(sum); }
    for (var k = first * 4u; k < whole; k += LANES * 4u) {
        let x = load4(outer, k) - vec4<T>(most);
        var y: vec4<T>;
        if LOG == 1u { y = x - vec4<T>(sum); } else { y = power4(x) / vec4<T>(sum); }
        if WHOLE == 1u {
            store4(outer, k, y);
        } else {
            store(outer, k, inner, y.x);
            store(outer, k + 1u, inner, y.y);
            store(outer, k + 2u, inner, y.z);
            store(outer, k + 3u, inner, y.w);
        }
    }
    if WHOLE == 0u {
        for (var k = whole + first; k < length; k += LANES) {
            store(outer, k, inner, result(load(outer, k, inner), most, sum));
        }
    }
}

// Attention by online softmax (Dao 2023, FlashAttention-2): softmax(scale Q K^T + mask) V without the matrix of scores.
// A team of LANES invocations computes EACH_ROW rows of queries and walks the keys in blocks of LANES * 4: each
// invocation holds the scores of four keys with each row, and of the result EACH_STRIP vectors of each row. Scores go
// from hand to hand for the second product. Where the result is narrow, the keys of a block are split among SPLIT
// parts of the team. With STATS a vector for each row follows the result: its largest score, and the reciprocal of its
// sum of exponentials.
// Loops over EACH_.. are written out. `load_q4`, `load_k4`, `load_v4`, `load_mask4`, `store`, `store4` and `power4`
// are written by the code generator.

alias T = f32;
// below every number, and the lowest number
var<private> NONE: T;
var<private> LOWEST: T;
const LANES: u32 = 8u;
const TEAMS: u32 = 8u;
const GROUP: u32 = 64u;
const ROWS: u32 = 4u;
const EACH_ROW: u32 = 4u;
const EACH_FOUR: u32 = 1u;
const EACH_OF_FOUR: u32 = 4u;
const EACH_STRIP: u32 = 1u;
const EACH_ROW_STRIP: u32 = 4u;
const SPLIT: u32 = 1u;
const TILE: u32 = 256u;
// rows of queries are spread over the team and handed round: EACH_PART vectors for each invocation
const HANDED: u32 = 0u;
const EACH_PART: u32 = 1u;
const CAUSAL: u32 = 0u;
// 1: numbers that tell whether a key is seen; 2: numbers that are added
const MASK: u32 = 0u;
// sizes are no multiples of four: of keys' elements; of keys
const TAIL_E: u32 = 0u;
const TAIL_S: u32 = 0u;
// the result's rows are a multiple of four
const WHOLE: u32 = 0u;
const STATS: u32 = 0u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_l: u32;
var<private> p_s: u32;
var<private> p_e: u32;
var<private> p_v: u32;
var<private> SCALE: T;

fn load_q4(batch: u32, l: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_k4(batch: u32, s: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_v4(batch: u32, s: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_mask4(batch: u32, l: u32, s: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn store(i: u32, value: T) {}
fn store4(i: u32, value: vec4<T>) {}
fn power4(x: vec4<T>) -> vec4<T> { return x; }

// What invocations of a team tell each other, by workgroup memory; with subgroups, `shared/team.wgsl` takes its place.
var<private> own: u32;
var<workgroup> tile: array<vec4<T>, TILE>;

// lays down value `slot` of this invocation
fn publish(slot: u32, x: vec4<T>) { tile[slot * GROUP + own] = x; }
fn meet() { workgroupBarrier(); }
// what invocation `giver` of the team laid down as `slot`; `x` is this one's
fn hand(x: vec4<T>, slot: u32, giver: u32) -> vec4<T> { return tile[slot * GROUP + own / LANES * LANES + giver]; }
fn across(x: vec4<T>, distance: u32) -> vec4<T> {
    meet();
    publish(0u, x);
    meet();
    return tile[own ^ distance];
}

// four vectors: rows of a small matrix
struct Four {
    x: vec4<T>,
    y: vec4<T>,
    z: vec4<T>,
    w: vec4<T>,
}

fn sum4(c: vec4<T>, a: vec4<T>, b: Four) -> vec4<T> { return c + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

fn turned(m: Four) -> Four {
    return Four(
        vec4<T>(m.x.x, m.y.x, m.z.x, m.w.x),
        vec4<T>(m.x.y, m.y.y, m.z.y, m.w.y),
        vec4<T>(m.x.z, m.y.z, m.z.z, m.w.z),
        vec4<T>(m.x.w, m.y.w, m.z.w, m.w.w),
    );
}

fn at(x: vec4<T>, i: u32) -> T { return select(select(x.x, x.y, i == 1u), select(x.z, x.w, i == 3u), i >= 2u); }
fn four(i: u32) -> vec4<u32> { return vec4<u32>(i, i + 1u, i + 2u, i + 3u); }

// what lies past the end counts as zero on both sides: an infinity there would give NaN
fn inside_e(x: vec4<T>, e: u32) -> vec4<T> {
    if TAIL_E == 0u { return x; }
    return select(vec4<T>(T(0)), x, four(e) < vec4<u32>(p_e));
}

fn queries(batch: u32, l: u32, e: u32) -> vec4<T> { return inside_e(load_q4(batch, min(l, p_l - 1u), e), e); }

// four elements of four keys, a vector for each element
fn keys(batch: u32, s: u32, e: u32) -> Four {
    let last = p_s - 1u;
    return turned(Four(
        inside_e(load_k4(batch, min(s, last), e), e),
        inside_e(load_k4(batch, min(s + 1u, last), e), e),
        inside_e(load_k4(batch, min(s + 2u, last), e), e),
        inside_e(load_k4(batch, min(s + 3u, last), e), e),
    ));
}

fn value(batch: u32, s: u32, v: u32) -> vec4<T> {
    if TAIL_S == 0u { return load_v4(batch, s, v); }
    return select(vec4<T>(T(0)), load_v4(batch, min(s, p_s - 1u), v), s < p_s);
}

// four columns of the values of four keys, a vector for each key
fn values(batch: u32, s: u32, v: u32) -> Four {
    return Four(value(batch, s, v), value(batch, s + 1u, v), value(batch, s + 2u, v), value(batch, s + 3u, v));
}

// scores of a row with four keys: NONE with those that it does not see
fn scored(batch: u32, l: u32, s: u32, product: vec4<T>) -> vec4<T> {
    var x = product * SCALE;
    if MASK != 0u {
        let mask = load_mask4(batch, min(l, p_l - 1u), s);
        if MASK == 1u { x = select(vec4<T>(NONE), x, mask != vec4<T>(T(0))); } else { x += mask; }
    }
    if CAUSAL == 1u { x = select(vec4<T>(NONE), x, four(s) <= vec4<u32>(l)); }
    if TAIL_S == 1u { x = select(vec4<T>(NONE), x, four(s) < vec4<u32>(p_s)); }
    return x;
}

fn largest(x: vec4<T>) -> T { return max(max(x.x, x.y), max(x.z, x.w)); }
fn total(x: vec4<T>) -> T { return x.x + x.y + x.z + x.w; }

fn write(at: u32, v: u32, x: vec4<T>) {
    if v >= p_v {
        return;
    }
    if WHOLE == 1u {
        store4(at + v, x);
        return;
    }
    store(at + v, x.x);
    if v + 1u < p_v { store(at + v + 1u, x.y); }
    if v + 2u < p_v { store(at + v + 2u, x.z); }
    if v + 3u < p_v { store(at + v + 3u, x.w); }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let invocation = local.x;
    own = invocation;
    let lane = invocation % LANES;
    let blocks = (p_l + ROWS * TEAMS - 1u) / (ROWS * TEAMS);
    let task = p_first + group.x + group.y * groups.x;
    let batch = task / blocks;
    if batch >= p_batches {
        return;
    }
    let first = task % blocks * (ROWS * TEAMS);
    let row = first + invocation / LANES * ROWS;
    var end = p_s;
    if CAUSAL == 1u { end = min(end, first + ROWS * TEAMS); }
    // this invocation's columns of the result, and its part of the keys
    let column = lane % (LANES / SPLIT) * 4u;
    let part = lane / (LANES / SPLIT);
    var result: array<vec4<T>, EACH_ROW_STRIP>;
    var most: array<vec4<T>, EACH_FOUR>;
    var sum: array<vec4<T>, EACH_FOUR>;
    for (var f = 0u; f < EACH_FOUR; f++) { most[f] = vec4<T>(LOWEST); }
    for (var block = 0u; block < end; block += LANES * 4u) {
        let key = block + lane * 4u;
        var c: array<vec4<T>, EACH_ROW>;
        for (var e = 0u; e < p_e; e += 4u) {
            let k = keys(batch, key, e);
            var q: array<vec4<T>, EACH_PART>;
            if HANDED == 1u {
                for (var i = 0u; i < EACH_PART; i++) { q[i] = queries(batch, row + i * LANES + lane % ROWS, e); }
            }
            for (var r = 0u; r < EACH_ROW; r++) {
                if HANDED == 1u {
                    c[r] = sum4(c[r], hand(q[r / LANES], 0u, r % LANES), k);
                } else {
                    c[r] = sum4(c[r], queries(batch, row + r, e), k);
                }
            }
        }
        for (var f = 0u; f < EACH_FOUR; f++) {
            var top: vec4<T>;
            for (var i = 0u; i < EACH_OF_FOUR; i++) {
                c[f * 4u + i] = scored(batch, row + f * 4u + i, key, c[f * 4u + i]);
                top[i] = largest(c[f * 4u + i]);
            }
            for (var d = 1u; d < LANES; d *= 2u) { top = max(top, across(top, d)); }
            top = max(top, most[f]);
            let shrink = power4(most[f] - top);
            most[f] = top;
            var more: vec4<T>;
            for (var i = 0u; i < EACH_OF_FOUR; i++) {
                c[f * 4u + i] = power4(c[f * 4u + i] - vec4<T>(top[i]));
                more[i] = total(c[f * 4u + i]);
                for (var n = 0u; n < EACH_STRIP; n++) { result[(f * 4u + i) * EACH_STRIP + n] *= shrink[i]; }
            }
            sum[f] = sum[f] * shrink + more;
        }
        meet();
        for (var r = 0u; r < EACH_ROW; r++) { publish(r, c[r]); }
        meet();
        let steps = min(LANES / SPLIT, (end - block + 4u * SPLIT - 1u) / (4u * SPLIT));
        for (var step = 0u; step < steps; step++) {
            let giver = step * SPLIT + part;
            var v: array<Four, EACH_STRIP>;
            for (var n = 0u; n < EACH_STRIP; n++) {
                v[n] = values(batch, block + giver * 4u, column + n * LANES * 4u);
            }
            for (var r = 0u; r < EACH_ROW; r++) {
                let p = hand(c[r], r, giver);
                for (var n = 0u; n < EACH_STRIP; n++) {
                    result[r * EACH_STRIP + n] = sum4(result[r * EACH_STRIP + n], p, v[n]);
                }
            }
        }
    }
    for (var d = LANES / SPLIT; d < LANES; d *= 2u) {
        for (var i = 0u; i < EACH_ROW_STRIP; i++) { result[i] += across(result[i], d); }
    }
    for (var f = 0u; f < EACH_FOUR; f++) {
        for (var d = 1u; d < LANES; d *= 2u) { sum[f] += across(sum[f], d); }
        // a row that sees no key is zero
        sum[f] = select(vec4<T>(T(1)) / sum[f], vec4<T>(T(0)), sum[f] == vec4<T>(T(0)));
    }
    // one place that stores: what is fused behind stands in the kernel once
    for (var r = 0u; r < ROWS; r++) {
        if part != 0u || row + r >= p_l {
            break;
        }
        let line = batch * p_l + row + r;
        var share: vec4<T>;
        var top: vec4<T>;
        for (var f = 0u; f < EACH_FOUR; f++) {
            share = select(share, sum[f], r / 4u == f);
            top = select(top, most[f], r / 4u == f);
        }
        for (var n = 0u; n < EACH_STRIP; n++) {
            var x: vec4<T>;
            for (var i = 0u; i < EACH_ROW; i++) { x = select(x, result[i * EACH_STRIP + n], r == i); }
            write(line * p_v, column + n * LANES * 4u, x * at(share, r % 4u));
        }
        if STATS == 1u && lane == 0u {
            let behind = p_batches * p_l * p_v + line * 4u;
            if WHOLE == 1u {
                store4(behind, vec4<T>(at(top, r % 4u), at(share, r % 4u), T(0), T(0)));
            } else {
                store(behind, at(top, r % 4u));
                store(behind + 1u, at(share, r % 4u));
            }
        }
    }
}

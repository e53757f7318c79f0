// The gradients of attention for its keys and values, one behind the other: scale (P (dO V^T - delta))^T Q and P^T dO.
// A team of LANES invocations computes EACH_ROW rows of keys and walks the queries in blocks of LANES * 4, those of all
// p_shared heads that share the keys. What the other kernel left of each row of queries is its largest score, the
// reciprocal of its sum, delta and slip.
// `load_q4`, `load_k4`, `load_v4`, `load_g4`, `load_stat4`, `load_mask4`, `store`, `store4` and `power4` are written by
// the code generator.

alias T = f32;
// below every number
var<private> NONE: T;
var<private> SCALE: T;
const LANES: u32 = 8u;
const TEAMS: u32 = 8u;
const GROUP: u32 = 64u;
const ROWS: u32 = 4u;
const EACH_ROW: u32 = 4u;
// vectors of a row of either gradient
const EACH_STRIP_E: u32 = 1u;
const EACH_STRIP_V: u32 = 1u;
const EACH_ROW_STRIP_E: u32 = 4u;
const EACH_ROW_STRIP_V: u32 = 4u;
const SPLIT: u32 = 1u;
const TILE: u32 = 512u;
const HANDED: u32 = 0u;
const EACH_PART: u32 = 1u;
const CAUSAL: u32 = 0u;
const MASK: u32 = 0u;
const TAIL_E: u32 = 0u;
const TAIL_V: u32 = 0u;
const TAIL_L: u32 = 0u;
// rows of both gradients are multiples of four
const WHOLE: u32 = 0u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_shared: u32;
var<private> p_l: u32;
var<private> p_s: u32;
var<private> p_e: u32;
var<private> p_v: u32;

fn load_q4(batch: u32, head: u32, l: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_k4(batch: u32, s: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_v4(batch: u32, s: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_g4(batch: u32, head: u32, l: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_stat4(batch: u32, head: u32, l: u32, i: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_mask4(batch: u32, head: u32, l: u32, s: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn store(i: u32, value: T) {}
fn store4(i: u32, value: vec4<T>) {}
fn power4(x: vec4<T>) -> vec4<T> { return x; }

// What invocations of a team tell each other, by workgroup memory: see `attention.wgsl`.
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

fn four(i: u32) -> vec4<u32> { return vec4<u32>(i, i + 1u, i + 2u, i + 3u); }

// what lies past the end counts as zero on both sides: an infinity there would give NaN
fn inside_e(x: vec4<T>, e: u32) -> vec4<T> {
    if TAIL_E == 0u { return x; }
    return select(vec4<T>(T(0)), x, four(e) < vec4<u32>(p_e));
}

fn inside_v(x: vec4<T>, v: u32) -> vec4<T> {
    if TAIL_V == 0u { return x; }
    return select(vec4<T>(T(0)), x, four(v) < vec4<u32>(p_v));
}

fn keys(batch: u32, s: u32, e: u32) -> vec4<T> { return inside_e(load_k4(batch, min(s, p_s - 1u), e), e); }
fn values(batch: u32, s: u32, v: u32) -> vec4<T> { return inside_v(load_v4(batch, min(s, p_s - 1u), v), v); }

// four elements of four queries, a vector for each query
fn queries(batch: u32, head: u32, l: u32, e: u32) -> Four {
    let last = p_l - 1u;
    return Four(
        inside_e(load_q4(batch, head, min(l, last), e), e),
        inside_e(load_q4(batch, head, min(l + 1u, last), e), e),
        inside_e(load_q4(batch, head, min(l + 2u, last), e), e),
        inside_e(load_q4(batch, head, min(l + 3u, last), e), e),
    );
}

fn gradients(batch: u32, head: u32, l: u32, v: u32) -> Four {
    let last = p_l - 1u;
    return Four(
        inside_v(load_g4(batch, head, min(l, last), v), v),
        inside_v(load_g4(batch, head, min(l + 1u, last), v), v),
        inside_v(load_g4(batch, head, min(l + 2u, last), v), v),
        inside_v(load_g4(batch, head, min(l + 3u, last), v), v),
    );
}

// what is known of four rows of queries: a vector for each number
fn stats(batch: u32, head: u32, l: u32) -> Four {
    let last = p_l - 1u;
    return turned(Four(
        load_stat4(batch, head, min(l, last), 0u),
        load_stat4(batch, head, min(l + 1u, last), 0u),
        load_stat4(batch, head, min(l + 2u, last), 0u),
        load_stat4(batch, head, min(l + 3u, last), 0u),
    ));
}

// scores of a key with four queries: NONE with those that do not see it
fn scored(batch: u32, head: u32, l: u32, s: u32, product: vec4<T>) -> vec4<T> {
    var x = product * SCALE;
    if MASK != 0u {
        let mask = load_mask4(batch, head, l, min(s, p_s - 1u));
        if MASK == 1u { x = select(vec4<T>(NONE), x, mask != vec4<T>(T(0))); } else { x += mask; }
    }
    if CAUSAL == 1u { x = select(vec4<T>(NONE), x, four(l) >= vec4<u32>(s)); }
    if TAIL_L == 1u { x = select(vec4<T>(NONE), x, four(l) < vec4<u32>(p_l)); }
    return x;
}

fn write(at: u32, i: u32, size: u32, x: vec4<T>) {
    if i >= size {
        return;
    }
    if WHOLE == 1u {
        store4(at + i, x);
        return;
    }
    store(at + i, x.x);
    if i + 1u < size { store(at + i + 1u, x.y); }
    if i + 2u < size { store(at + i + 2u, x.z); }
    if i + 3u < size { store(at + i + 3u, x.w); }
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
    let blocks = (p_s + ROWS * TEAMS - 1u) / (ROWS * TEAMS);
    let task = p_first + group.x + group.y * groups.x;
    let batch = task / blocks;
    if batch >= p_batches {
        return;
    }
    let first = task % blocks * (ROWS * TEAMS);
    let row = first + invocation / LANES * ROWS;
    // queries before the first key see none of them
    var start = 0u;
    if CAUSAL == 1u { start = first / (LANES * 4u) * (LANES * 4u); }
    let column = lane % (LANES / SPLIT) * 4u;
    let part = lane / (LANES / SPLIT);
    var for_keys: array<vec4<T>, EACH_ROW_STRIP_E>;
    var for_values: array<vec4<T>, EACH_ROW_STRIP_V>;
    for (var head = 0u; head < p_shared; head++) {
        for (var block = start; block < p_l; block += LANES * 4u) {
            let query = block + lane * 4u;
            var p: array<vec4<T>, EACH_ROW>;
            for (var e = 0u; e < p_e; e += 4u) {
                let q = turned(queries(batch, head, query, e));
                var k: array<vec4<T>, EACH_PART>;
                if HANDED == 1u {
                    for (var i = 0u; i < EACH_PART; i++) { k[i] = keys(batch, row + i * LANES + lane % ROWS, e); }
                }
                for (var r = 0u; r < EACH_ROW; r++) {
                    if HANDED == 1u {
                        p[r] = sum4(p[r], hand(k[r / LANES], 0u, r % LANES), q);
                    } else {
                        p[r] = sum4(p[r], keys(batch, row + r, e), q);
                    }
                }
            }
            var d: array<vec4<T>, EACH_ROW>;
            for (var v = 0u; v < p_v; v += 4u) {
                let g = turned(gradients(batch, head, query, v));
                var w: array<vec4<T>, EACH_PART>;
                if HANDED == 1u {
                    for (var i = 0u; i < EACH_PART; i++) { w[i] = values(batch, row + i * LANES + lane % ROWS, v); }
                }
                for (var r = 0u; r < EACH_ROW; r++) {
                    if HANDED == 1u {
                        d[r] = sum4(d[r], hand(w[r / LANES], 0u, r % LANES), g);
                    } else {
                        d[r] = sum4(d[r], values(batch, row + r, v), g);
                    }
                }
            }
            let known = stats(batch, head, query);
            meet();
            for (var r = 0u; r < EACH_ROW; r++) {
                p[r] = power4(scored(batch, head, query, row + r, p[r]) - known.x) * known.y;
                d[r] = p[r] * (d[r] - known.z - known.w) * SCALE;
                publish(r, p[r]);
                publish(ROWS + r, d[r]);
            }
            meet();
            let steps = min(LANES / SPLIT, (p_l - block + 4u * SPLIT - 1u) / (4u * SPLIT));
            for (var step = 0u; step < steps; step++) {
                let giver = step * SPLIT + part;
                var g: array<Four, EACH_STRIP_V>;
                for (var n = 0u; n < EACH_STRIP_V; n++) {
                    g[n] = gradients(batch, head, block + giver * 4u, column + n * LANES * 4u);
                }
                for (var r = 0u; r < EACH_ROW; r++) {
                    let x = hand(p[r], r, giver);
                    for (var n = 0u; n < EACH_STRIP_V; n++) {
                        for_values[r * EACH_STRIP_V + n] = sum4(for_values[r * EACH_STRIP_V + n], x, g[n]);
                    }
                }
                var q: array<Four, EACH_STRIP_E>;
                for (var n = 0u; n < EACH_STRIP_E; n++) {
                    q[n] = queries(batch, head, block + giver * 4u, column + n * LANES * 4u);
                }
                for (var r = 0u; r < EACH_ROW; r++) {
                    let x = hand(d[r], ROWS + r, giver);
                    for (var n = 0u; n < EACH_STRIP_E; n++) {
                        for_keys[r * EACH_STRIP_E + n] = sum4(for_keys[r * EACH_STRIP_E + n], x, q[n]);
                    }
                }
            }
        }
    }
    for (var d = LANES / SPLIT; d < LANES; d *= 2u) {
        for (var i = 0u; i < EACH_ROW_STRIP_E; i++) { for_keys[i] += across(for_keys[i], d); }
        for (var i = 0u; i < EACH_ROW_STRIP_V; i++) { for_values[i] += across(for_values[i], d); }
    }
    for (var r = 0u; r < ROWS; r++) {
        if part != 0u || row + r >= p_s {
            break;
        }
        let line = batch * p_s + row + r;
        for (var n = 0u; n < EACH_STRIP_E; n++) {
            var x: vec4<T>;
            for (var i = 0u; i < EACH_ROW; i++) { x = select(x, for_keys[i * EACH_STRIP_E + n], r == i); }
            write(line * p_e, column + n * LANES * 4u, p_e, x);
        }
        let behind = p_batches * p_s * p_e;
        for (var n = 0u; n < EACH_STRIP_V; n++) {
            var x: vec4<T>;
            for (var i = 0u; i < EACH_ROW; i++) { x = select(x, for_values[i * EACH_STRIP_V + n], r == i); }
            write(behind + line * p_v, column + n * LANES * 4u, p_v, x);
        }
    }
}

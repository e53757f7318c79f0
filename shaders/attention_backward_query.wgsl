// The gradient of attention for its queries: with P = softmax(scale Q K^T + mask), computed again from what the forward
// kernel left of each row, scale P (dO V^T - delta) K, where delta = rowsum(dO O). Teams as in `attention.wgsl`.
// A vector for each row follows the result: its largest score, the reciprocal of its sum, delta, slip.
// P sums to 1 and delta to rowsum(P dO V^T) only as far as rounding goes, and their difference cancels. Where one block
// holds all keys the rest, slip = rowsum(P (dO V^T - delta)), is at hand and is taken off too.
// `load_q4`, `load_k4`, `load_v4`, `load_g4`, `load_o4`, `load_stat4`, `load_mask4`, `store`, `store4` and `power4`
// are written by the code generator.

alias T = f32;
// below every number
var<private> NONE: T;
var<private> SCALE: T;
const LANES: u32 = 8u;
const TEAMS: u32 = 8u;
const GROUP: u32 = 64u;
const ROWS: u32 = 4u;
const EACH_ROW: u32 = 4u;
const EACH_FOUR: u32 = 1u;
const EACH_OF_FOUR: u32 = 4u;
// vectors of a row of the result, and of both a row's and all rows'
const EACH_STRIP: u32 = 1u;
const EACH_ROW_STRIP: u32 = 4u;
const SPLIT: u32 = 1u;
const TILE: u32 = 256u;
const HANDED: u32 = 0u;
const EACH_PART: u32 = 1u;
const CAUSAL: u32 = 0u;
const MASK: u32 = 0u;
const TAIL_E: u32 = 0u;
const TAIL_V: u32 = 0u;
const TAIL_S: u32 = 0u;
// one block holds all keys
const ONE: u32 = 0u;
const WHOLE: u32 = 0u;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_l: u32;
var<private> p_s: u32;
var<private> p_e: u32;
var<private> p_v: u32;

fn load_q4(batch: u32, l: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_k4(batch: u32, s: u32, e: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_v4(batch: u32, s: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_g4(batch: u32, l: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_o4(batch: u32, l: u32, v: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_stat4(batch: u32, l: u32, i: u32) -> vec4<T> { return vec4<T>(T(0)); }
fn load_mask4(batch: u32, l: u32, s: u32) -> vec4<T> { return vec4<T>(T(0)); }
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

fn at(x: vec4<T>, i: u32) -> T { return select(select(x.x, x.y, i == 1u), select(x.z, x.w, i == 3u), i >= 2u); }
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

fn queries(batch: u32, l: u32, e: u32) -> vec4<T> { return inside_e(load_q4(batch, min(l, p_l - 1u), e), e); }
fn gradients(batch: u32, l: u32, v: u32) -> vec4<T> { return inside_v(load_g4(batch, min(l, p_l - 1u), v), v); }

// four elements of four keys, a vector for each key
fn keys(batch: u32, s: u32, e: u32) -> Four {
    let last = p_s - 1u;
    return Four(
        inside_e(load_k4(batch, min(s, last), e), e),
        inside_e(load_k4(batch, min(s + 1u, last), e), e),
        inside_e(load_k4(batch, min(s + 2u, last), e), e),
        inside_e(load_k4(batch, min(s + 3u, last), e), e),
    );
}

fn values(batch: u32, s: u32, v: u32) -> Four {
    let last = p_s - 1u;
    return Four(
        inside_v(load_v4(batch, min(s, last), v), v),
        inside_v(load_v4(batch, min(s + 1u, last), v), v),
        inside_v(load_v4(batch, min(s + 2u, last), v), v),
        inside_v(load_v4(batch, min(s + 3u, last), v), v),
    );
}

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

fn write(at: u32, e: u32, x: vec4<T>) {
    if e >= p_e {
        return;
    }
    if WHOLE == 1u {
        store4(at + e, x);
        return;
    }
    store(at + e, x.x);
    if e + 1u < p_e { store(at + e + 1u, x.y); }
    if e + 2u < p_e { store(at + e + 2u, x.z); }
    if e + 3u < p_e { store(at + e + 3u, x.w); }
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
    let column = lane % (LANES / SPLIT) * 4u;
    let part = lane / (LANES / SPLIT);
    var result: array<vec4<T>, EACH_ROW_STRIP>;
    var most: array<vec4<T>, EACH_FOUR>;
    var share: array<vec4<T>, EACH_FOUR>;
    var delta: array<vec4<T>, EACH_FOUR>;
    var slip: array<vec4<T>, EACH_FOUR>;
    for (var f = 0u; f < EACH_FOUR; f++) {
        for (var i = 0u; i < EACH_OF_FOUR; i++) {
            let l = min(row + f * 4u + i, p_l - 1u);
            let stat = load_stat4(batch, l, 0u);
            most[f][i] = stat.x;
            share[f][i] = stat.y;
            var sum = vec4<T>(T(0));
            for (var v = lane * 4u; v < p_v; v += LANES * 4u) {
                sum += gradients(batch, l, v) * inside_v(load_o4(batch, l, v), v);
            }
            delta[f][i] = sum.x + sum.y + sum.z + sum.w;
        }
        for (var d = 1u; d < LANES; d *= 2u) { delta[f] += across(delta[f], d); }
    }
    for (var block = 0u; block < end; block += LANES * 4u) {
        let key = block + lane * 4u;
        var c: array<vec4<T>, EACH_ROW>;
        for (var e = 0u; e < p_e; e += 4u) {
            let k = turned(keys(batch, key, e));
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
        var x: array<vec4<T>, EACH_ROW>;
        for (var v = 0u; v < p_v; v += 4u) {
            let w = turned(values(batch, key, v));
            var g: array<vec4<T>, EACH_PART>;
            if HANDED == 1u {
                for (var i = 0u; i < EACH_PART; i++) { g[i] = gradients(batch, row + i * LANES + lane % ROWS, v); }
            }
            for (var r = 0u; r < EACH_ROW; r++) {
                if HANDED == 1u {
                    x[r] = sum4(x[r], hand(g[r / LANES], 0u, r % LANES), w);
                } else {
                    x[r] = sum4(x[r], gradients(batch, row + r, v), w);
                }
            }
        }
        meet();
        for (var r = 0u; r < EACH_ROW; r++) {
            c[r] = power4(scored(batch, row + r, key, c[r]) - vec4<T>(most[r / 4u][r % 4u])) * share[r / 4u][r % 4u];
            x[r] -= vec4<T>(delta[r / 4u][r % 4u]);
            if ONE == 1u {
                let rest = c[r] * x[r];
                slip[r / 4u][r % 4u] = rest.x + rest.y + rest.z + rest.w;
            }
        }
        if ONE == 1u {
            for (var f = 0u; f < EACH_FOUR; f++) {
                for (var d = 1u; d < LANES; d *= 2u) { slip[f] += across(slip[f], d); }
            }
            meet();
        }
        for (var r = 0u; r < EACH_ROW; r++) {
            if ONE == 1u { x[r] -= vec4<T>(slip[r / 4u][r % 4u]); }
            c[r] *= x[r] * SCALE;
            publish(r, c[r]);
        }
        meet();
        let steps = min(LANES / SPLIT, (end - block + 4u * SPLIT - 1u) / (4u * SPLIT));
        for (var step = 0u; step < steps; step++) {
            let giver = step * SPLIT + part;
            var k: array<Four, EACH_STRIP>;
            for (var n = 0u; n < EACH_STRIP; n++) {
                k[n] = keys(batch, block + giver * 4u, column + n * LANES * 4u);
            }
            for (var r = 0u; r < EACH_ROW; r++) {
                let d = hand(c[r], r, giver);
                for (var n = 0u; n < EACH_STRIP; n++) {
                    result[r * EACH_STRIP + n] = sum4(result[r * EACH_STRIP + n], d, k[n]);
                }
            }
        }
    }
    for (var d = LANES / SPLIT; d < LANES; d *= 2u) {
        for (var i = 0u; i < EACH_ROW_STRIP; i++) { result[i] += across(result[i], d); }
    }
    for (var r = 0u; r < ROWS; r++) {
        if part != 0u || row + r >= p_l {
            break;
        }
        let line = batch * p_l + row + r;
        var stat: vec4<T>;
        for (var f = 0u; f < EACH_FOUR; f++) {
            let known = vec4<T>(at(most[f], r % 4u), at(share[f], r % 4u), at(delta[f], r % 4u), at(slip[f], r % 4u));
            stat = select(stat, known, r / 4u == f);
        }
        for (var n = 0u; n < EACH_STRIP; n++) {
            var x: vec4<T>;
            for (var i = 0u; i < EACH_ROW; i++) { x = select(x, result[i * EACH_STRIP + n], r == i); }
            write(line * p_e, column + n * LANES * 4u, x);
        }
        if lane == 0u {
            let behind = p_batches * p_l * p_e + line * 4u;
            if WHOLE == 1u {
                store4(behind, stat);
            } else {
                store(behind, stat.x);
                store(behind + 1u, stat.y);
                store(behind + 2u, stat.z);
                store(behind + 3u, stat.w);
            }
        }
    }
}

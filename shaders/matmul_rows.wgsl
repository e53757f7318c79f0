// Batched product of a large matrix with few vectors: one axis of the result is short, the other long. Such a product
// reads each element of the large matrix once, so the lanes of a workgroup share k: each brings four by four elements
// of the large matrix at a time and adds their products with the vectors to sums in registers; the lanes' sums meet in
// workgroup memory, in a fixed order.
//
// With parts, each computes a range of k and the output counts them first. `load_a4`, `load_b4`, `store`, `store4` and
// `store_vector4` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
// lanes that share k; GROUP is a multiple
const K_LANES: u32 = 16u;
// the long axis is n, or m
const LONG_N: u32 = 1u;
// four values of the large matrix lie along k, or along the long axis
const ALONG_K: u32 = 1u;
// vectors that are multiplied: 1, 2, 4 or 8, at least as many as there are
const SHORT: u32 = 1u;
// the columns are a multiple of four
const WHOLE: u32 = 1u;
// there is one vector, and four neighbours of the long axis are four neighbours in memory
const VECTOR: u32 = 0u;
// k is no multiple of four
const TAIL: u32 = 1u;
const QUADS: u32 = GROUP / K_LANES;
var<private> p_first: u32;
var<private> p_batches: u32;
var<private> p_parts: u32;
var<private> p_chunk: u32;
var<private> p_m: u32;
var<private> p_n: u32;
var<private> p_k: u32;
var<workgroup> sums: array<vec4<T>, SHORT * GROUP>;

fn load_a4(batch: u32, m: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn load_b4(batch: u32, k: u32, n: u32) -> vec4<T> { return vec4<T>(0); }
fn store(batch: u32, m: u32, n: u32, value: T) {}
fn store4(batch: u32, m: u32, n: u32, value: vec4<T>) {}
fn store_vector4(at: u32, value: vec4<T>) {}

// four values of the large matrix along k or along the long axis
fn large(batch: u32, long: u32, k: u32) -> vec4<T> {
    if LONG_N == 1u { return load_b4(batch, k, long); }
    return load_a4(batch, long, k);
}

// four steps of a vector; steps past the end count as zero on both sides: an infinity there would give NaN
fn vector(batch: u32, short: u32, k: u32, last: u32) -> vec4<T> {
    if LONG_N == 1u { return inside4(load_a4(batch, min(short, p_m - 1u), k), k, last); }
    return inside4(load_b4(batch, k, min(short, p_n - 1u)), k, last);
}

fn inside4(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(last));
}

fn inside(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    if TAIL == 0u { return x; }
    return select(vec4<T>(0), x, k < last);
}

fn join(slot: u32, apart: u32) {
    sums[slot] += sums[slot + apart];
    if SHORT >= 2u { sums[slot + GROUP] += sums[slot + GROUP + apart]; }
    if SHORT >= 4u {
        sums[slot + 2u * GROUP] += sums[slot + 2u * GROUP + apart];
        sums[slot + 3u * GROUP] += sums[slot + 3u * GROUP + apart];
    }
    if SHORT >= 8u {
        sums[slot + 4u * GROUP] += sums[slot + 4u * GROUP + apart];
        sums[slot + 5u * GROUP] += sums[slot + 5u * GROUP + apart];
        sums[slot + 6u * GROUP] += sums[slot + 6u * GROUP + apart];
        sums[slot + 7u * GROUP] += sums[slot + 7u * GROUP + apart];
    }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let length = select(p_m, p_n, LONG_N == 1u);
    let count = select(p_n, p_m, LONG_N == 1u);
    let tiles = (length + QUADS * 4u - 1u) / (QUADS * 4u);
    let task = p_first + group.x + group.y * groups.x;
    let slab = task / tiles;
    if slab >= p_batches * p_parts {
        return;
    }
    let batch = slab % p_batches;
    let first = slab / p_batches * p_chunk;
    let last = min(first + p_chunk, p_k);
    // neighbours read what lies side by side
    let k_lane = select(lane / QUADS, lane % K_LANES, ALONG_K == 1u);
    let quad = select(lane % QUADS, lane / K_LANES, ALONG_K == 1u);
    let start = task % tiles * QUADS * 4u;
    let long = start + quad * 4u;
    var s0 = vec4<T>(0);
    var s1 = vec4<T>(0);
    var s2 = vec4<T>(0);
    var s3 = vec4<T>(0);
    var s4 = vec4<T>(0);
    var s5 = vec4<T>(0);
    var s6 = vec4<T>(0);
    var s7 = vec4<T>(0);
    for (var k = first + k_lane * 4u; k < last; k += K_LANES * 4u) {
        // a vector along the long axis for each of four steps; places past its end repeat the last ones
        var x: vec4<T>;
        var y: vec4<T>;
        var z: vec4<T>;
        var w: vec4<T>;
        if ALONG_K == 1u {
            let end = length - 1u;
            let r0 = inside4(large(batch, min(long, end), k), k, last);
            let r1 = inside4(large(batch, min(long + 1u, end), k), k, last);
            let r2 = inside4(large(batch, min(long + 2u, end), k), k, last);
            let r3 = inside4(large(batch, min(long + 3u, end), k), k, last);
            x = vec4<T>(r0.x, r1.x, r2.x, r3.x);
            y = vec4<T>(r0.y, r1.y, r2.y, r3.y);
            z = vec4<T>(r0.z, r1.z, r2.z, r3.z);
            w = vec4<T>(r0.w, r1.w, r2.w, r3.w);
        } else {
            let at = min(long, (length - 1u) & 0xfffffffcu);
            let end = last - 1u;
            x = large(batch, at, k);
            y = inside(large(batch, at, min(k + 1u, end)), k + 1u, last);
            z = inside(large(batch, at, min(k + 2u, end)), k + 2u, last);
            w = inside(large(batch, at, min(k + 3u, end)), k + 3u, last);
        }
        let v0 = vector(batch, 0u, k, last);
        s0 = s0 + v0.x * x + v0.y * y + v0.z * z + v0.w * w;
        if SHORT >= 2u {
            let v1 = vector(batch, 1u, k, last);
            s1 = s1 + v1.x * x + v1.y * y + v1.z * z + v1.w * w;
        }
        if SHORT >= 4u {
            let v2 = vector(batch, 2u, k, last);
            s2 = s2 + v2.x * x + v2.y * y + v2.z * z + v2.w * w;
            let v3 = vector(batch, 3u, k, last);
            s3 = s3 + v3.x * x + v3.y * y + v3.z * z + v3.w * w;
        }
        if SHORT >= 8u {
            let v4 = vector(batch, 4u, k, last);
            s4 = s4 + v4.x * x + v4.y * y + v4.z * z + v4.w * w;
            let v5 = vector(batch, 5u, k, last);
            s5 = s5 + v5.x * x + v5.y * y + v5.z * z + v5.w * w;
            let v6 = vector(batch, 6u, k, last);
            s6 = s6 + v6.x * x + v6.y * y + v6.z * z + v6.w * w;
            let v7 = vector(batch, 7u, k, last);
            s7 = s7 + v7.x * x + v7.y * y + v7.z * z + v7.w * w;
        }
    }
    let slot = quad * K_LANES + k_lane;
    sums[slot] = s0;
    if SHORT >= 2u { sums[slot + GROUP] = s1; }
    if SHORT >= 4u {
        sums[slot + 2u * GROUP] = s2;
        sums[slot + 3u * GROUP] = s3;
    }
    if SHORT >= 8u {
        sums[slot + 4u * GROUP] = s4;
        sums[slot + 5u * GROUP] = s5;
        sums[slot + 6u * GROUP] = s6;
        sums[slot + 7u * GROUP] = s7;
    }
    workgroupBarrier();
    for (var half = K_LANES / 2u; half > 0u; half /= 2u) {
        if k_lane < half { join(slot, half); }
        workgroupBarrier();
    }
    // vector v of quad q lies at v * GROUP + q * K_LANES; stores are spread over the lanes
    if LONG_N == 1u || VECTOR == 1u {
        for (var i = lane; i < QUADS * SHORT; i += GROUP) {
            let v = i / QUADS;
            let to = start + i % QUADS * 4u;
            if v >= count || to >= length { continue; }
            let value = sums[v * GROUP + i % QUADS * K_LANES];
            if VECTOR == 1u {
                store_vector4(slab * length + to, value);
            } else if WHOLE == 1u {
                store4(slab, v, to, value);
            } else {
                store(slab, v, to, value.x);
                if to + 1u < length { store(slab, v, to + 1u, value.y); }
                if to + 2u < length { store(slab, v, to + 2u, value.z); }
                if to + 3u < length { store(slab, v, to + 3u, value.w); }
            }
        }
    } else if WHOLE == 1u {
        for (var i = lane; i < QUADS * SHORT; i += GROUP) {
            // four vectors at one place
            let v = i / (QUADS * 4u) * 4u;
            let to = start + i % (QUADS * 4u);
            if v >= count || to >= length { continue; }
            let base = v * GROUP + i % (QUADS * 4u) / 4u * K_LANES;
            let l = i % 4u;
            let value = vec4<T>(
                sums[base][l], sums[base + GROUP][l], sums[base + 2u * GROUP][l], sums[base + 3u * GROUP][l],
            );
            store4(slab, to, v, value);
        }
    } else {
        for (var i = lane; i < QUADS * 4u * SHORT; i += GROUP) {
            let v = i / (QUADS * 4u);
            let to = start + i % (QUADS * 4u);
            if v >= count || to >= length { continue; }
            store(slab, to, v, sums[v * GROUP + i % (QUADS * 4u) / 4u * K_LANES][i % 4u]);
        }
    }
}

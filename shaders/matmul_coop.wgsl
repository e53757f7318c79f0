// Batched matrix product by cooperative matrices: four subgroups compute TILE x TILE elements, each two by two matrices of
// SIDE x SIDE. Both factors are halves, sums are f32. Tiles lie in workgroup memory the way their loads run, and are read
// row by row or column by column; the sums go through workgroup memory, so that what is fused behind the product sees
// four neighbours.
//
// The extension is wgpu's own and only translates for Vulkan and Metal. With parts, each computes a range of k and the
// output counts them first. `load_a4`, `load_b4`, `store` and `store4` are written by the code generator.

enable f16;
enable wgpu_cooperative_matrix;

alias T = f32;
alias MatrixA = coop_mat16x16<f16, A>;
alias MatrixB = coop_mat16x16<f16, B>;
alias MatrixC = coop_mat16x16<f32, C>;
// rows and columns of those
const SIDE: u32 = 16u;
// invocations of a subgroup: all have the same number
const LANES: u32 = 32u;
// unused halves behind each row, so that rows begin in different banks of the memory
const PAD: u32 = 8u;
// four values of a lie along k, or along m
const A_ALONG_K: u32 = 1u;
// four values of b lie along n, or along k
const B_ALONG_N: u32 = 1u;
// the columns are a multiple of four
const WHOLE: u32 = 1u;
const GROUP: u32 = 4u * LANES;
const TILE: u32 = 4u * SIDE;
// steps of k in a tile
const DEPTH: u32 = 2u * SIDE;
const PITCH_A: u32 = A_ALONG_K * DEPTH + (1u - A_ALONG_K) * TILE + PAD;
const PITCH_B: u32 = B_ALONG_N * TILE + (1u - B_ALONG_N) * DEPTH + PAD;
const ROWS_A: u32 = A_ALONG_K * TILE + (1u - A_ALONG_K) * DEPTH;
const ROWS_B: u32 = B_ALONG_N * DEPTH + (1u - B_ALONG_N) * TILE;
const REGION: u32 = 2u * SIDE * SIDE;
// the same in all invocations, as matrices demand of what control flow depends on
const p_first: u32 = 0u;
const p_batches: u32 = 1u;
const p_parts: u32 = 1u;
const p_chunk: u32 = 64u;
const p_m: u32 = 64u;
const p_n: u32 = 64u;
const p_k: u32 = 64u;
var<workgroup> tile_a: array<f16, ROWS_A * PITCH_A>;
var<workgroup> tile_b: array<f16, ROWS_B * PITCH_B>;
// for each subgroup one row of its matrices
var<workgroup> sums: array<f32, 4u * REGION>;

fn load_a4(batch: u32, m: u32, k: u32) -> vec4<T> { return vec4<T>(0); }
fn load_b4(batch: u32, k: u32, n: u32) -> vec4<T> { return vec4<T>(0); }
fn store(batch: u32, m: u32, n: u32, value: T) {}
fn store4(batch: u32, m: u32, n: u32, value: vec4<T>) {}

fn write(batch: u32, m: u32, n: u32, value: vec4<T>) {
    if m >= p_m || n >= p_n {
        return;
    }
    if WHOLE == 1u {
        store4(batch, m, n, value);
        return;
    }
    store(batch, m, n, value.x);
    if n + 1u < p_n { store(batch, m, n + 1u, value.y); }
    if n + 2u < p_n { store(batch, m, n + 2u, value.z); }
    if n + 3u < p_n { store(batch, m, n + 3u, value.w); }
}

// Steps of k past the end count as zero on both sides: an infinity there would give NaN. Rows and columns past the end
// repeat the last ones and are not written.
fn inside4(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    return select(vec4<T>(0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(last));
}

fn inside(x: vec4<T>, k: u32, last: u32) -> vec4<T> {
    return select(vec4<T>(0), x, k < last);
}

fn fill_a(i: u32, batch: u32, m: u32, k: u32, last: u32) {
    const FOURS: u32 = (PITCH_A - PAD) / 4u;
    let row = i / FOURS;
    let four = i % FOURS * 4u;
    var x: vec4<T>;
    if A_ALONG_K == 1u {
        x = inside4(load_a4(batch, min(m + row, p_m - 1u), min(k + four, (last - 1u) & 0xfffffffcu)), k + four, last);
    } else {
        x = inside(load_a4(batch, min(m + four, (p_m - 1u) & 0xfffffffcu), min(k + row, last - 1u)), k + row, last);
    }
    let to = row * PITCH_A + four;
    tile_a[to] = f16(x.x);
    tile_a[to + 1u] = f16(x.y);
    tile_a[to + 2u] = f16(x.z);
    tile_a[to + 3u] = f16(x.w);
}

fn fill_b(i: u32, batch: u32, k: u32, n: u32, last: u32) {
    const FOURS: u32 = (PITCH_B - PAD) / 4u;
    let row = i / FOURS;
    let four = i % FOURS * 4u;
    var x: vec4<T>;
    if B_ALONG_N == 1u {
        x = inside(load_b4(batch, min(k + row, last - 1u), min(n + four, (p_n - 1u) & 0xfffffffcu)), k + row, last);
    } else {
        x = inside4(load_b4(batch, min(k + four, (last - 1u) & 0xfffffffcu), min(n + row, p_n - 1u)), k + four, last);
    }
    let to = row * PITCH_B + four;
    tile_b[to] = f16(x.x);
    tile_b[to + 1u] = f16(x.y);
    tile_b[to + 2u] = f16(x.z);
    tile_b[to + 3u] = f16(x.w);
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
) {
    let lane = local.x;
    let tiles_m = (p_m + TILE - 1u) / TILE;
    let tiles_n = (p_n + TILE - 1u) / TILE;
    let task = p_first + group.x + group.y * groups.x;
    let slab = task / tiles_n / tiles_m;
    if slab >= p_batches * p_parts {
        return;
    }
    let m = task / tiles_n % tiles_m * TILE;
    let n = task % tiles_n * TILE;
    let batch = slab % p_batches;
    let first = slab / p_batches * p_chunk;
    let last = min(first + p_chunk, p_k);
    let top = subgroup / 2u * 2u * SIDE;
    let left = subgroup % 2u * 2u * SIDE;
    let region = subgroup * REGION;
    for (var i = lane; i < 4u * REGION; i += GROUP) {
        sums[i] = 0.0;
    }
    workgroupBarrier();
    // not every language gives zeros to a matrix that is not loaded
    var c00 = coopLoadT<MatrixC>(&sums[region], 2u * SIDE);
    var c01 = coopLoadT<MatrixC>(&sums[region], 2u * SIDE);
    var c10 = coopLoadT<MatrixC>(&sums[region], 2u * SIDE);
    var c11 = coopLoadT<MatrixC>(&sums[region], 2u * SIDE);
    for (var k = first; k < last; k += DEPTH) {
        workgroupBarrier();
        for (var i = lane; i < TILE * DEPTH / 4u; i += GROUP) {
            fill_a(i, batch, m, k, last);
            fill_b(i, batch, k, n, last);
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step += SIDE) {
            var a0: MatrixA;
            var a1: MatrixA;
            if A_ALONG_K == 1u {
                a0 = coopLoadT<MatrixA>(&tile_a[top * PITCH_A + step], PITCH_A);
                a1 = coopLoadT<MatrixA>(&tile_a[(top + SIDE) * PITCH_A + step], PITCH_A);
            } else {
                a0 = coopLoad<MatrixA>(&tile_a[step * PITCH_A + top], PITCH_A);
                a1 = coopLoad<MatrixA>(&tile_a[step * PITCH_A + top + SIDE], PITCH_A);
            }
            var b0: MatrixB;
            var b1: MatrixB;
            if B_ALONG_N == 1u {
                b0 = coopLoadT<MatrixB>(&tile_b[step * PITCH_B + left], PITCH_B);
                b1 = coopLoadT<MatrixB>(&tile_b[step * PITCH_B + left + SIDE], PITCH_B);
            } else {
                b0 = coopLoad<MatrixB>(&tile_b[left * PITCH_B + step], PITCH_B);
                b1 = coopLoad<MatrixB>(&tile_b[(left + SIDE) * PITCH_B + step], PITCH_B);
            }
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
    }
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier();
        if half == 0u {
            coopStoreT(c00, &sums[region], 2u * SIDE);
            coopStoreT(c01, &sums[region + SIDE], 2u * SIDE);
        } else {
            coopStoreT(c10, &sums[region], 2u * SIDE);
            coopStoreT(c11, &sums[region + SIDE], 2u * SIDE);
        }
        workgroupBarrier();
        for (var i = lane; i < REGION; i += GROUP) {
            let owner = i / (REGION / 4u);
            let row = i / (SIDE / 2u) % SIDE;
            let column = i % (SIDE / 2u) * 4u;
            let at = owner * REGION + row * 2u * SIDE + column;
            let value = vec4<T>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
            let to_m = m + (owner / 2u * 2u + half) * SIDE + row;
            write(slab, to_m, n + owner % 2u * 2u * SIDE + column, value);
        }
    }
}

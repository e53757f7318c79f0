// Sweeps of one-sided Jacobi rotations (Hestenes 1958) over the columns of a matrix that lies in workgroup memory: in
// each turn every column meets another one, an invocation to a pair. The first p_measured rows say how far two columns
// are from orthogonal, the rows below are turned with them.
// `load`, `root` and `store` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const ROOM: u32 = 256u;
// what is orthogonal differs from zero by less than 2^-HALF squared
const HALF: u32 = 12u;
var<private> p_first: u32;
var<private> p_matrices: u32;
var<private> p_rows: u32;
var<private> p_measured: u32;
// at least two
var<private> p_columns: u32;
var<private> p_sweeps: u32;
var<workgroup> w: array<T, ROOM>;

fn load(matrix: u32, row: u32, column: u32) -> T { return T(0); }
fn root(x: T) -> T { return sqrt(x); }
fn store(matrix: u32, row: u32, column: u32, value: T) {}

fn rotate(p: u32, q: u32, nought: u32) {
    var alpha = T(0.0);
    var beta = T(0.0);
    var gamma = T(0.0);
    let measured = (p_measured + nought) * p_columns;
    for (var k = 0u; k < measured; k += p_columns) {
        let x = w[k + p];
        let y = w[k + q];
        alpha += x * x;
        beta += y * y;
        gamma += x * y;
    }
    let near = T(1.0) / T(1u << HALF);
    if abs(gamma) <= near * near * root(alpha) * root(beta) {
        return;
    }
    let zeta = (beta - alpha) / (gamma + gamma);
    let size = min(abs(zeta), T(1.0e18));
    let tangent = select(T(1.0), T(-1.0), zeta < T(0.0)) / (size + root(T(1.0) + size * size));
    let cosine = T(1.0) / root(T(1.0) + tangent * tangent);
    let sine = cosine * tangent;
    let end = (p_rows + nought) * p_columns;
    for (var k = 0u; k < end; k += p_columns) {
        let x = w[k + p];
        let y = w[k + q];
        w[k + p] = cosine * x - sine * y;
        w[k + q] = sine * x + cosine * y;
    }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let matrix = p_first + group.x + group.y * groups.x;
    if matrix >= p_matrices {
        return;
    }
    // a bound that is a plain number of the host makes some drivers compile again for each
    let nought = groups.x >> 16u;
    let size = p_rows * p_columns + nought;
    for (var k = lane; k < size; k += GROUP) {
        w[k] = load(matrix, k / p_columns, k % p_columns);
    }
    // all but one stand on a circle; of an odd number, one meets nobody
    let circle = (p_columns - 1u) | 1u;
    let turns = p_sweeps * circle + nought;
    for (var turn = 0u; turn < turns; turn++) {
        workgroupBarrier();
        if lane <= circle / 2u {
            let first = turn % circle;
            let a = (first + lane) % circle;
            let b = select((first + circle - lane) % circle, circle, lane == 0u);
            if max(a, b) < p_columns {
                rotate(min(a, b), max(a, b), nought);
            }
        }
    }
    workgroupBarrier();
    for (var k = lane; k < size; k += GROUP) {
        store(matrix, k / p_columns, k % p_columns, w[k]);
    }
}

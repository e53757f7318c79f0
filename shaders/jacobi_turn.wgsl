// One turn of what jacobi.wgsl does, for matrices of any size: a workgroup turns a pair of columns, its invocations
// share the rows.
// `load`, `root` and `store` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
// what is orthogonal differs from zero by less than 2^-HALF squared
const HALF: u32 = 12u;
var<private> p_first: u32;
var<private> p_matrices: u32;
var<private> p_rows: u32;
var<private> p_measured: u32;
// at least two
var<private> p_columns: u32;
var<private> p_turn: u32;
var<workgroup> alphas: array<T, GROUP>;
var<workgroup> betas: array<T, GROUP>;
var<workgroup> gammas: array<T, GROUP>;

fn load(matrix: u32, row: u32, column: u32) -> T { return T(0); }
fn root(x: T) -> T { return sqrt(x); }
fn store(matrix: u32, row: u32, column: u32, value: T) {}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let circle = (p_columns - 1u) | 1u;
    let task = p_first + group.x + group.y * groups.x;
    let pairs = circle / 2u + 1u;
    let matrix = task / pairs;
    let pair = task % pairs;
    if matrix >= p_matrices {
        return;
    }
    // a bound that is a plain number of the host makes some drivers compile again for each
    let nought = groups.x >> 16u;
    let a = (p_turn + pair) % circle;
    let b = select((p_turn + circle - pair) % circle, circle, pair == 0u);
    let p = min(a, b);
    let q = max(a, b);
    // of an odd number, one column meets nobody
    let both = q < p_columns;
    let other = select(p, q, both);
    var alpha = T(0.0);
    var beta = T(0.0);
    var gamma = T(0.0);
    let measured = p_measured + nought;
    for (var row = lane; row < measured; row += GROUP) {
        let x = load(matrix, row, p);
        let y = load(matrix, row, other);
        alpha += x * x;
        beta += y * y;
        gamma += x * y;
    }
    alphas[lane] = alpha;
    betas[lane] = beta;
    gammas[lane] = gamma;
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            alphas[lane] += alphas[lane + half];
            betas[lane] += betas[lane + half];
            gammas[lane] += gammas[lane + half];
        }
    }
    workgroupBarrier();
    alpha = alphas[0];
    beta = betas[0];
    gamma = gammas[0];
    var cosine = T(1.0);
    var sine = T(0.0);
    let near = T(1.0) / T(1u << HALF);
    if both & (abs(gamma) > near * near * root(alpha) * root(beta)) {
        let zeta = (beta - alpha) / (gamma + gamma);
        let size = min(abs(zeta), T(1.0e18));
        let tangent = select(T(1.0), T(-1.0), zeta < T(0.0)) / (size + root(T(1.0) + size * size));
        cosine = T(1.0) / root(T(1.0) + tangent * tangent);
        sine = cosine * tangent;
    }
    let end = p_rows + nought;
    for (var row = lane; row < end; row += GROUP) {
        let x = load(matrix, row, p);
        let y = load(matrix, row, other);
        store(matrix, row, p, cosine * x - sine * y);
        if both {
            store(matrix, row, q, sine * x + cosine * y);
        }
    }
}

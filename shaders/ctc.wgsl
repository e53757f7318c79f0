// Logarithms of the probabilities of all paths from the start up to each step and state of a sequence, the other states
// being blanks (Graves et al. 2006, equations 6 and 7); with REVERSE from the end on, counted backwards. A workgroup takes
// a sample and keeps the step before in workgroup memory. In place of a step behind the last one stands first what all
// paths together have, negated.
// `load`, `skips`, `steps_of`, `labels_of`, `power`, `logarithm` and `store` are written by the code generator.

alias T = f32;
const GROUP: u32 = 64u;
const REVERSE: u32 = 0u;
const ROOM: u32 = 64u;
var<private> p_first: u32;
var<private> p_samples: u32;
var<private> p_steps: u32;
// twice the most labels, and one
var<private> p_states: u32;
var<workgroup> rows: array<T, ROOM>;

fn load(sample: u32, step: u32, state: u32) -> T { return T(0); }
fn skips(sample: u32, state: u32) -> i32 { return 0; }
fn steps_of(sample: u32) -> i32 { return 0; }
fn labels_of(sample: u32) -> i32 { return 0; }
fn power(x: T) -> T { return exp(x); }
fn logarithm(x: T) -> T { return log(x); }
fn store(sample: u32, step: u32, state: u32, value: T) {}

// the logarithm of nothing: infinities are not to be relied upon
fn never() -> T { return T(-1.0e30); }

fn joined(a: T, b: T, c: T) -> T {
    let most = max(a, max(b, c));
    if most <= T(-1.0e29) {
        return never();
    }
    return most + logarithm(power(a - most) + power(b - most) + power(c - most));
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let sample = p_first + group.x + group.y * groups.x;
    if sample >= p_samples {
        return;
    }
    // a bound that is a plain number of the host makes some drivers compile again for each
    let nought = groups.x >> 16u;
    let labels = u32(max(labels_of(sample), 0));
    let last = min(2u * labels, p_states - 1u);
    let steps = min(u32(max(steps_of(sample), 0)), p_steps);
    let all = p_steps + nought;
    let width = p_states + nought;
    for (var t = 0u; t < all; t++) {
        workgroupBarrier();
        let here = (t & 1u) * (ROOM / 2u);
        let before = ROOM / 2u - here;
        for (var s = lane; s < width; s += GROUP) {
            if (t >= steps) | (s > last) {
                store(sample, t, s, never());
                continue;
            }
            var step = t;
            var state = s;
            var into = s;
            if REVERSE == 1u {
                step = steps - 1u - t;
                state = last - s;
                into = state + 2u;
            }
            var sum = never();
            if t == 0u {
                if s < 2u { sum = T(0.0); }
            } else {
                var b = never();
                var c = never();
                if s > 0u { b = rows[before + s - 1u]; }
                if s > 1u {
                    if skips(sample, into) != 0 { c = rows[before + s - 2u]; }
                }
                sum = joined(rows[before + s], b, c);
            }
            let value = sum + load(sample, step, state);
            rows[here + s] = value;
            store(sample, step, state, value);
        }
    }
    workgroupBarrier();
    if lane == 0u {
        var total = never();
        if steps == 0u {
            if labels == 0u { total = T(0.0); }
        } else if labels <= steps {
            let end = (~steps & 1u) * (ROOM / 2u) + last;
            var other = never();
            if last > 0u { other = rows[end - 1u]; }
            total = joined(rows[end], other, never());
        }
        for (var s = 0u; s < width; s++) {
            store(sample, p_steps, s, select(T(0.0), -total, s == 0u));
        }
    }
}

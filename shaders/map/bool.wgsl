// Elementwise functions of truth values: add is or, mul is and, false < true.
// Instantiated by replacing T and B (both bool or vec4<bool>); every function foo becomes foo_<suffix>.
alias T = bool;
alias B = bool;

fn op_eq(x: T, y: T) -> B { return x == y; }
fn op_ne(x: T, y: T) -> B { return x != y; }
fn op_lt(x: T, y: T) -> B { return !x & y; }
fn op_le(x: T, y: T) -> B { return !x | y; }
fn op_gt(x: T, y: T) -> B { return x & !y; }
fn op_ge(x: T, y: T) -> B { return x | !y; }
fn truth(x: T) -> B { return x; }
fn op_add(x: T, y: T) -> T { return x | y; }
fn op_heaviside(x: T, y: T) -> T { return x | y; }
fn op_mul(x: T, y: T) -> T { return x & y; }
fn op_maximum(x: T, y: T) -> T { return x | y; }
fn op_minimum(x: T, y: T) -> T { return x & y; }
fn op_fmax(x: T, y: T) -> T { return x | y; }
fn op_fmin(x: T, y: T) -> T { return x & y; }
fn op_logical_and(x: T, y: T) -> T { return x & y; }
fn op_logical_or(x: T, y: T) -> T { return x | y; }
fn op_logical_xor(x: T, y: T) -> T { return x != y; }
fn op_bitwise_and(x: T, y: T) -> T { return x & y; }
fn op_bitwise_or(x: T, y: T) -> T { return x | y; }
fn op_bitwise_xor(x: T, y: T) -> T { return x != y; }
fn op_logical_not(x: T) -> T { return !x; }
fn op_bitwise_not(x: T) -> T { return !x; }
fn op_abs(x: T) -> T { return x; }
fn op_sign(x: T) -> T { return x; }
fn op_sgn(x: T) -> T { return x; }
fn op_positive(x: T) -> T { return x; }
fn op_square(x: T) -> T { return x; }
fn op_signbit(x: T) -> T { return T(false); }
fn op_isnan(x: T) -> T { return T(false); }
fn op_isinf(x: T) -> T { return T(false); }
fn op_isposinf(x: T) -> T { return T(false); }
fn op_isneginf(x: T) -> T { return T(false); }
fn op_isfinite(x: T) -> T { return T(true); }

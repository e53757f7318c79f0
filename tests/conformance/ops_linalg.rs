//! Drivers of the family `linalg`, and of attention.

use crate::backend::{dtype, many, one, op};
use crate::call::{Call, Failure, Output};
use crate::corpus::Value;
use crate::drivers::{Table, Tensor};
use calor::nn::functional::{self as f, AttentionOptions};
use calor::{Arg, Cutoff, NormOrder};

type Outputs = Result<Vec<Output<Tensor>>, Failure>;

fn order(c: &mut Call<Tensor>) -> Result<Option<NormOrder>, Failure> {
    Ok(match c.get("ord") {
        None | Some(Value::None) => None,
        Some(Value::Str(s)) if s == "fro" => Some(NormOrder::Fro),
        Some(Value::Str(s)) if s == "nuc" => Some(NormOrder::Nuc),
        Some(Value::Str(s)) => return Err(Failure::Op(format!("the norm {s} is not defined"))),
        _ => Some(NormOrder::P(c.float("ord")?)),
    })
}

/// The input, first cast where the call names a dtype.
fn input(c: &mut Call<Tensor>) -> Result<Tensor, Failure> {
    match c.dtype_opt("dtype")? {
        Some(dt) => c.tensor("self")?.to_dtype(dtype(dt)).map_err(op),
        None => c.tensor("self"),
    }
}

fn norm(c: &mut Call<Tensor>) -> Outputs {
    let (x, order) = (input(c)?, order(c)?);
    let dims: Option<Vec<isize>> = c.ints_opt("dim")?.map(|l| l.into_iter().map(|d| d as isize).collect());
    one(x.linalg_norm(order, dims.as_deref(), c.bool_or("keepdim", false)?))
}

fn matrix_norm(c: &mut Call<Tensor>) -> Outputs {
    let (x, order) = (input(c)?, order(c)?.unwrap_or(NormOrder::Fro));
    let dims: Vec<isize> = c.ints_opt("dim")?.unwrap_or(vec![-2, -1]).into_iter().map(|d| d as isize).collect();
    let [a, b] = dims[..] else {
        return Err(Failure::Op("dim must be a 2-tuple".into()));
    };
    one(x.linalg_matrix_norm(order, [a, b], c.bool_or("keepdim", false)?))
}

/// A number or a tensor.
fn bound(c: &mut Call<Tensor>, name: &str) -> Result<Option<Arg>, Failure> {
    if c.is_tensor(name) {
        return Ok(c.tensor_opt(name)?.map(Arg::from));
    }
    Ok(c.float_opt(name)?.map(Arg::from))
}

/// `atol` and `rtol`, or what the older forms have in their place.
fn tolerance(c: &mut Call<Tensor>) -> Result<Cutoff, Failure> {
    if let Some(tol) = bound(c, "tol")? {
        return Ok(Cutoff { atol: Some(tol), rtol: Some(0.0.into()) });
    }
    if let Some(rcond) = bound(c, "rcond")? {
        return Ok(Cutoff { atol: None, rtol: Some(rcond) });
    }
    Ok(Cutoff { atol: bound(c, "atol")?, rtol: bound(c, "rtol")? })
}

/// Drivers by name.
pub const OPS: Table = &[
    ("linalg.norm", norm),
    ("linalg.matrix_norm", matrix_norm),
    ("linalg.eigvalsh", |c| {
        let (x, triangle) = (c.tensor(0)?, c.str_or("UPLO", "L")?.to_uppercase());
        if triangle != "L" && triangle != "U" {
            return Err(Failure::Op(format!("expected UPLO to be 'L' or 'U', but got {triangle}")));
        }
        one(x.linalg_eigvalsh(triangle == "U"))
    }),
    ("linalg.svdvals", |c| {
        c.ignore("driver");
        one(c.tensor(0)?.linalg_svdvals())
    }),
    ("linalg.matrix_rank", |c| {
        let (x, hermitian, tolerance) = (c.tensor(0)?, c.bool_or("hermitian", false)?, tolerance(c)?);
        one(x.linalg_matrix_rank(&tolerance, hermitian))
    }),
    ("linalg.pinv", |c| {
        let (x, hermitian, tolerance) = (c.tensor(0)?, c.bool_or("hermitian", false)?, tolerance(c)?);
        one(x.linalg_pinv(&tolerance, hermitian))
    }),
    ("linalg.matrix_power", |c| {
        let (x, n) = (c.tensor(0)?, c.int("n")?);
        one(x.matrix_power(n))
    }),
    ("linalg.cholesky", |c| {
        let (x, upper) = (c.tensor(0)?, c.bool_or("upper", false)?);
        one(x.linalg_cholesky(upper))
    }),
    ("linalg.det", |c| one(c.tensor(0)?.det())),
    ("linalg.inv", |c| one(c.tensor(0)?.linalg_inv())),
    ("linalg.slogdet", |c| {
        let (sign, log) = c.tensor(0)?.slogdet().map_err(op)?;
        Ok(many([sign, log]))
    }),
    ("linalg.solve", |c| {
        let (a, b, left) = (c.tensor(0)?, c.tensor(1)?, c.bool_or("left", true)?);
        one(a.linalg_solve(&b, left))
    }),
    ("linalg.solve_triangular", |c| {
        let (a, b, upper) = (c.tensor(0)?, c.tensor(1)?, c.bool_or("upper", false)?);
        let (left, unit) = (c.bool_or("left", true)?, c.bool_or("unitriangular", false)?);
        one(a.linalg_solve_triangular(&b, upper, left, unit))
    }),
    ("logdet", |c| one(c.tensor(0)?.logdet())),
    ("matrix_exp", |c| one(c.tensor(0)?.matrix_exp())),
    ("nn.functional.bilinear", |c| {
        let (a, b, w, bias) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?, c.tensor_opt("bias")?);
        one(f::bilinear(&a, &b, &w, bias.as_ref()))
    }),
    ("nn.functional.pdist", |c| {
        let (x, p) = (c.tensor(0)?, c.float_or("p", 2.0)?);
        one(f::pdist(&x, p))
    }),
    ("nn.functional.scaled_dot_product_attention", |c| {
        let (q, k, v) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
        let options = AttentionOptions {
            attn_mask: c.tensor_opt("attn_mask")?,
            dropout_p: c.float_or("dropout_p", 0.0)?,
            is_causal: c.bool_or("is_causal", false)?,
            scale: c.float_opt("scale")?,
            enable_gqa: c.bool_or("enable_gqa", false)?,
        };
        one(f::scaled_dot_product_attention(&q, &k, &v, &options))
    }),
];

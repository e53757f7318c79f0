//! Drivers of the family `matmul`.

use crate::backend::{one, scalar};
use crate::call::{Call, Failure};
use crate::drivers::{Table, Tensor};
use calor::{Factors, nn::functional};

/// Rows of functions of two tensors.
macro_rules! pairs {
    ($($op:literal => $method:ident,)*) => {
        &[$(($op, |c| {
            let (a, b) = (c.tensor(0)?, c.tensor(1)?);
            one(a.$method(&b))
        }),)*]
    };
}

/// Functions of two tensors.
pub const OPS: Table = pairs! {
    "bmm" => bmm,
    "dot" => dot,
    "inner" => inner,
    "kron" => kron,
    "matmul" => matmul,
    "mm" => mm,
    "mv" => mv,
    "outer" => outer,
    "vdot" => vdot,
};

fn factors(c: &mut Call<Tensor>) -> Result<Factors, Failure> {
    let mut factors = Factors::default();
    if let Some(beta) = c.number_opt("beta")? {
        factors.beta = scalar(beta);
    }
    if let Some(alpha) = c.number_opt("alpha")? {
        factors.alpha = scalar(alpha);
    }
    Ok(factors)
}

/// Rows of functions of three tensors with factors.
macro_rules! sums {
    ($($op:literal => $method:ident,)*) => {
        &[$(($op, |c| {
            let (x, a, b) = (c.tensor(0)?, c.tensor(1)?, c.tensor(2)?);
            one(x.$method(&a, &b, factors(c)?))
        }),)*]
    };
}

/// Functions of three tensors with factors.
pub const SUMS: Table = sums! {
    "addbmm" => addbmm,
    "addmm" => addmm,
    "addmv" => addmv,
    "addr" => addr,
    "baddbmm" => baddbmm,
    "Tensor.addmm_" => addmm_,
    "Tensor.baddbmm_" => baddbmm_,
};

/// The others.
pub const MORE: Table = &[
    ("cdist", |c| {
        let (a, b, p) = (c.tensor("x1")?, c.tensor("x2")?, c.float_or("p", 2.0)?);
        c.ignore("compute_mode");
        one(a.cdist(&b, p))
    }),
    ("chain_matmul", |c| {
        let all = c.tensors("matrices")?;
        one(calor::chain_matmul(&all.iter().collect::<Vec<_>>()))
    }),
    ("linalg.multi_dot", |c| {
        let all = c.tensors(0)?;
        one(calor::multi_dot(&all.iter().collect::<Vec<_>>()))
    }),
    ("cross", |c| {
        let (a, b, dim) = (c.tensor("self")?, c.tensor("other")?, c.int_opt("dim")?);
        one(a.cross(&b, dim.map(|d| d as isize)))
    }),
    ("linalg.cross", |c| {
        let (a, b, dim) = (c.tensor("self")?, c.tensor("other")?, c.int_or("dim", -1)?);
        one(a.linalg_cross(&b, dim as isize))
    }),
    ("linalg.diagonal", |c| {
        let (offset, d, e) = (c.int_or("offset", 0)?, c.int_or("dim1", -2)?, c.int_or("dim2", -1)?);
        one(c.tensor("A")?.linalg_diagonal(offset as isize, d as isize, e as isize))
    }),
    ("linalg.vecdot", |c| {
        let (a, b, dim) = (c.tensor("x")?, c.tensor("y")?, c.int_or("dim", -1)?);
        one(a.linalg_vecdot(&b, dim as isize))
    }),
    ("trace", |c| one(c.tensor("self")?.trace())),
    ("einsum", |c| {
        let equation = match c.get(0) {
            Some(crate::corpus::Value::Str(s)) => s.clone(),
            other => return Err(Failure::Argument(format!("{other:?} is no equation"))),
        };
        let mut all = Vec::new();
        for k in 1..c.len() {
            all.extend(c.tensors(k)?);
        }
        one(calor::einsum(&equation, &all.iter().collect::<Vec<_>>()))
    }),
    ("tensordot", |c| {
        let (a, b) = (c.tensor("a")?, c.tensor("b")?);
        let lists = match c.get("dims").cloned() {
            Some(crate::corpus::Value::List(items)) => items,
            Some(crate::corpus::Value::Int(n)) => {
                let n = n as isize;
                let last: Vec<isize> = (-n..0).collect();
                return one(a.tensordot(&b, &last, &(0..n).collect::<Vec<_>>()));
            }
            None => return one(a.tensordot(&b, &[-2, -1], &[0, 1])),
            other => return Err(Failure::Argument(format!("{other:?} are no dimensions"))),
        };
        let ints = |v: &crate::corpus::Value| match v {
            crate::corpus::Value::List(items) => items
                .iter()
                .map(|i| match i {
                    crate::corpus::Value::Int(n) => Ok(*n as isize),
                    other => Err(Failure::Argument(format!("{other:?} is no dimension"))),
                })
                .collect::<Result<Vec<isize>, Failure>>(),
            crate::corpus::Value::Int(n) => Ok(vec![*n as isize]),
            other => Err(Failure::Argument(format!("{other:?} are no dimensions"))),
        };
        match lists.as_slice() {
            [x, y] => {
                let (x, y) = (ints(x)?, ints(y)?);
                one(a.tensordot(&b, &x, &y))
            }
            _ => Err(Failure::Argument("two lists are needed".into())),
        }
    }),
    ("nn.functional.linear", |c| {
        let (x, w, b) = (c.tensor("input")?, c.tensor("weight")?, c.tensor_opt("bias")?);
        one(functional::linear(&x, &w, b.as_ref()))
    }),
];

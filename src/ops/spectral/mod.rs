//! Singular values and eigenvalues by one-sided Jacobi rotations (Hestenes 1958; Golub & Van Loan, 8.6), on the device.
//!
//! `[a; I]` is multiplied from the right with rotations until the columns of its upper part are orthogonal: these are
//! then left singular vectors times singular values, and the lower part holds the right ones.

mod decompose;
mod derived;

pub use derived::Cutoff;

use crate::dtype::{DType, Scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::library::{compute, scalar, shader};
use crate::graph::{Body, GROUP, Load, LowerCx, Lowering, Map, Param, Primitive, Prologue, Store, Template};
use crate::no_grad;
use crate::ops::join::cat;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Bytes of a matrix that is rotated in workgroup memory.
const ROOM: usize = 16_384;

/// Rotates the columns of `[batch, rows, columns]`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Jacobi {
    /// The rows that tell how far columns are from orthogonal.
    measured: usize,
    /// Sweeps in workgroup memory, or else the one turn that is taken.
    step: Step,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Step {
    Sweeps(usize),
    Turn(usize),
}

impl Primitive for Jacobi {
    fn name(&self) -> &str {
        "jacobi"
    }

    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
        let shape = cx.inputs[0].layout.shape();
        let (matrices, rows, columns) = (shape[0], shape[1], shape[2]);
        let dtype = cx.output.dtype;
        let ty = compute(dtype);
        let wide = dtype == DType::F64;
        let coords = vec![1, 1, 1];
        let mut consts = vec![("GROUP", GROUP), ("HALF", if wide { 26 } else { 12 })];
        let mut params = vec![
            ("matrices", matrices as u32),
            ("rows", rows as u32),
            ("measured", self.measured as u32),
            ("columns", columns as u32),
        ];
        let work = 16 * (matrices * rows * columns) as u64;
        let (name, source, groups, work, prologue) = match self.step {
            Step::Sweeps(sweeps) => {
                let room = (rows * columns).next_power_of_two().clamp(64, ROOM / dtype.size());
                consts.push(("ROOM", room as u32));
                params.push(("sweeps", sweeps as u32));
                let work = work * (sweeps * columns) as u64;
                ("jacobi", shader!("jacobi.wgsl"), matrices, work, Prologue::Any)
            }
            Step::Turn(turn) => {
                params.push(("turn", turn as u32));
                let pairs = columns.div_ceil(2);
                ("jacobi_turn", shader!("jacobi_turn.wgsl"), matrices * pairs, work, Prologue::Free)
            }
        };
        Ok(Lowering::Template(Template {
            name,
            source,
            types: vec![("T", scalar(ty).to_string())],
            consts,
            calls: vec![("root", "op_sqrt", ty)],
            loads: vec![Load { name: "load", input: 0, coords: coords.clone(), lanes: None, dtype }],
            stores: vec![Store { name: "store", coords, lanes: false }],
            params,
            groups: groups as u32,
            prologue,
            work,
        }))
    }
}

/// `w`, `[batch, rows, columns]` with no size 0, turned until the first `measured` rows of its columns are orthogonal.
fn rotated(w: &Tensor, measured: usize) -> Result<Tensor> {
    let (shape, dtype, device) = (w.shape(), w.dtype(), w.device());
    let (rows, columns) = (shape[1], shape[2]);
    if columns < 2 {
        return Ok(w.clone());
    }
    let take =
        |w: &Tensor, step| Tensor::apply(Arc::new(Jacobi { measured, step }), device, (&shape, dtype), &[w], &[]);
    // rotations converge quadratically once they are small
    let sweeps = if dtype == DType::F64 { 14 } else { 10 };
    let turns = (columns - 1) | 1;
    let each = turns * (measured + rows + 1);
    let cap = device.facts().max_loop_iterations.map_or(usize::MAX, |cap| cap as usize / 2);
    let fits = rows * columns * dtype.size() <= ROOM && columns <= 2 * GROUP as usize;
    let at_once = (cap / each).min(sweeps);
    let mut w = w.clone();
    if fits && at_once > 0 {
        let mut left = sweeps;
        while left > 0 {
            let now = left.min(at_once);
            w = take(&w, Step::Sweeps(now))?;
            left -= now;
        }
        return Ok(w);
    }
    for turn in 0..sweeps * turns {
        w = take(&w, Step::Turn(turn % turns))?;
    }
    Ok(w)
}

/// `a`, where all of it is finite; else, once the result is read, a fault.
fn finite(op: &str, a: &Tensor) -> Result<Tensor> {
    let mut body = Body::new();
    let x = body.input(0);
    let fine = body.call("op_isfinite", &[x]);
    body.guard(fine, x, 0);
    let map = Arc::new(Map { name: "finite".into(), body });
    let message = "the algorithm failed to converge because the input matrix contained non-finite values";
    let fault = Param::Fault(Arc::new(Error::new(ErrorKind::Value, op, message)));
    Tensor::apply(map, a.device(), (&a.shape(), a.dtype()), &[a], &[fault])
}

/// `size`, or 1 where that is 0.
fn or_one(size: &Tensor) -> Result<Tensor> {
    size.eq(Scalar::Int(0))?.where_(1.0, size)?.to_dtype(size.dtype())
}

/// `[a; I]` for a batch of matrices.
fn with_identity(a: &Tensor) -> Result<Tensor> {
    let shape = a.shape();
    let eye = Tensor::eye(shape[2], shape[2], (a.dtype(), a.device()))?;
    cat(&[a, &eye.expand([shape[0], shape[2], shape[2]])?], 1)
}

/// Columns of `[batch, rows, n]` in the order of `[batch, 1, k]`.
fn columns(t: &Tensor, order: &Tensor) -> Result<Tensor> {
    t.gather(2, &order.expand([t.size(0)?, t.size(1)?, order.size(2)?])?)
}

/// A decomposition of a batch of matrices: `u diag(s) v^T`; or `v diag(s) v^T`, `u` being `v`.
#[derive(Clone)]
struct Triplet {
    u: Tensor,
    s: Tensor,
    v: Tensor,
}

/// Thin singular value decompositions of `[batch, m, n]`, `m >= n`, no size 0, without history. Where a singular value
/// is 0, the column of `u` is 0.
fn singular(op: &str, a: &Tensor) -> Result<Triplet> {
    no_grad(|| {
        let (m, n) = (a.size(1)?, a.size(2)?);
        let scale = or_one(&finite(op, a)?.abs()?.amax(&[1, 2], true)?)?;
        let turned = rotated(&with_identity(&a.div(&scale)?)?, m)?;
        let (left, right) = (turned.narrow(1, 0, m)?, turned.narrow(1, m as isize, n)?);
        // rounding lets the rotations' lengths drift alike
        let right = right.div(&right.vector_norm(2.0, &[1], true)?)?;
        let (s, order) = left.vector_norm(2.0, &[1], true)?.sort(2, true)?;
        let u = s.gt(0.0)?.where_(&columns(&left, &order)?.div(&or_one(&s)?)?, 0.0)?.to_dtype(a.dtype())?;
        Ok(Triplet { u, s: s.mul(&scale)?.squeeze_dim(1)?, v: columns(&right, &order)? })
    })
}

/// Eigenvalues in ascending order, and eigenvectors, of symmetric `[batch, n, n]`, no size 0, without history.
fn symmetric(op: &str, a: &Tensor) -> Result<Triplet> {
    no_grad(|| {
        let n = a.size(1)?;
        let a = finite(op, a)?;
        let scale = or_one(&a.abs()?.sum_dims(&[1], true)?.amax(&[2], true)?)?;
        let a = a.div(&scale)?;
        // shifted, all eigenvalues are positive: they are the singular values then
        let shift = Tensor::eye(n, n, (a.dtype(), a.device()))?.mul(1.5)?;
        let turned = rotated(&with_identity(&a.add(&shift)?)?, n)?;
        let v = turned.narrow(1, n as isize, n)?;
        let v = v.div(&v.vector_norm(2.0, &[1], true)?)?;
        // Rayleigh's quotients: an eigenvector's error counts only squared
        let quotients = v.mul(&a.matmul(&v)?)?.sum_dims(&[1], true)?;
        let (s, order) = quotients.sort(2, false)?;
        let v = columns(&v, &order)?;
        Ok(Triplet { u: v.clone(), s: s.mul(&scale)?.squeeze_dim(1)?, v })
    })
}

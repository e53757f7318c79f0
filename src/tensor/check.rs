//! Does a program give the same values whether its operations share kernels or run alone?

use super::display::numbers;
use super::{Device, HostData, Options, Tensor};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Value;
use std::fmt;

/// What [`check_fusion`] found.
///
/// ```
/// let x = calor::Tensor::ones([8], ())?;
/// let check = calor::check_fusion((), 1e-5, || Ok(vec![(&x * 2.0)?]))?;
/// assert_eq!((check.compared, check.largest, check.difference), (8, 0.0, None));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FusionCheck {
    /// How many numbers were compared.
    pub compared: usize,
    /// The largest difference seen, relative to one plus the number.
    pub largest: f64,
    /// The first operation whose value differs by more than the tolerance.
    pub difference: Option<Difference>,
}

/// A value that differs.
///
/// ```
/// use calor::{DType, Difference, FusionCheck};
/// let (op, shape) = ("mul".into(), vec![2]);
/// let found = Difference { op, place: Some(3), shape, dtype: DType::F32, element: 1, fused: 1.5, alone: 1.0 };
/// let check = FusionCheck { compared: 2, largest: 0.25, difference: Some(found) };
/// assert!(check.to_string().ends_with("differs at element 1: 1.5 fused, 1 alone"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The operation that made it.
    pub op: String,
    /// Its place among the operations of the program; `None` where it differs only as long as nobody looks at the
    /// values before it.
    pub place: Option<usize>,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// The first element that differs, row by row.
    pub element: usize,
    /// Its value where operations share kernels.
    pub fused: f64,
    /// Its value where each runs alone.
    pub alone: f64,
}

impl fmt::Display for FusionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.difference {
            None => write!(f, "{} numbers agree within {:.1e}", self.compared, self.largest),
            Some(d) => {
                write!(f, "`{}` {}{:?}", d.op, d.dtype, d.shape)?;
                match d.place {
                    Some(place) => write!(f, ", operation {place} of the program,")?,
                    None => write!(f, ", a result,")?,
                }
                write!(f, " differs at element {}: {} fused, {} alone", d.element, d.fused, d.alone)
            }
        }
    }
}

/// Puts the device's settings back, however the check ends.
struct Restore<'a>(&'a Device, bool, (u64, u64));

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.engine().watch().stop();
        self.0.set_fusion(self.1);
        self.0.generator().set_state(self.2);
    }
}

/// Runs a program with fusion and without, and compares what it returns: `|a - b| <= tolerance (1 + |b|)`, wider for
/// half types by their precision. Where a result differs, the program runs twice more with every value kept, and the
/// first operation whose value differs is named.
///
/// The program has to do the same each time: it must not write to tensors from outside. Random numbers are the same.
///
/// ```
/// use calor::{Tensor, check_fusion};
/// let x = Tensor::rand([20], ())?;
/// let check = check_fusion((), 1e-5, || Ok(vec![(x.tanh()? * 3.0)?.sum()?]))?;
/// assert!(check.difference.is_none(), "{check}");
/// # Ok::<(), calor::Error>(())
/// ```
pub fn check_fusion(
    on: impl Into<Options>,
    tolerance: f64,
    program: impl Fn() -> Result<Vec<Tensor>>,
) -> Result<FusionCheck> {
    let device = on.into().device()?;
    let before = Restore(&device, device.engine().fuses(), device.generator().state());
    let results = |fuse: bool| -> Result<Vec<(Tensor, HostData)>> {
        device.set_fusion(fuse);
        device.generator().set_state(before.2);
        let out = program()?;
        Tensor::eval_all(&out)?;
        let host = |t: Tensor| {
            let (shape, dtype, bytes) = (t.shape().to_vec(), t.dtype(), t.read_bytes()?);
            Ok((t, HostData { shape, dtype, bytes }))
        };
        out.into_iter().map(host).collect()
    };
    let (fused, alone) = (results(true)?, results(false)?);
    let mut check = FusionCheck { compared: 0, largest: 0.0, difference: None };
    for ((t, a), (_, b)) in fused.iter().zip(&alone) {
        let found = compare(a, b, tolerance, &mut check);
        if check.difference.is_none() {
            let op = t.value()?.prim.name().to_owned();
            check.difference = found.map(|d| Difference { op, ..d });
        }
    }
    if check.difference.is_none() {
        return Ok(check);
    }
    let watched = |fuse: bool| -> Result<Vec<Value>> {
        device.set_fusion(fuse);
        device.generator().set_state(before.2);
        device.engine().watch().start();
        let out = program();
        let values = device.engine().watch().stop();
        Tensor::eval_all(&out?)?;
        Ok(values)
    };
    let fused = watched(true)?;
    device.engine().run(&fused)?;
    let alone = watched(false)?;
    for (place, (a, b)) in fused.iter().zip(&alone).enumerate() {
        if a.spec != b.spec {
            break;
        }
        let host = |v: &Value| -> Result<HostData> {
            let bytes = device.engine().read(v)?;
            Ok(HostData { shape: v.spec.shape.to_vec(), dtype: v.spec.dtype, bytes })
        };
        if let Some(found) = compare(&host(a)?, &host(b)?, tolerance, &mut check) {
            check.difference = Some(Difference { op: a.prim.name().to_owned(), place: Some(place), ..found });
            break;
        }
    }
    Ok(check)
}

/// The first element that differs too much, without its operation.
fn compare(fused: &HostData, alone: &HostData, tolerance: f64, check: &mut FusionCheck) -> Option<Difference> {
    let tolerance = match fused.dtype {
        DType::F16 => tolerance.max(2e-3),
        DType::BF16 => tolerance.max(2e-2),
        _ => tolerance,
    };
    let values = |host| -> Vec<f64> { numbers(host).into_iter().map(|v| v.as_f64()).collect() };
    let (a, b) = (values(fused), values(alone));
    let mut first = None;
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        let same = x == y || (x.is_nan() && y.is_nan());
        let apart = if same { 0.0 } else { (x - y).abs() / (1.0 + y.abs()) };
        // an infinity or NaN on one side only is as far apart as can be
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        check.compared += 1;
        check.largest = check.largest.max(apart);
        if apart > tolerance && first.is_none() {
            first = Some((i, *x, *y));
        }
    }
    let other = a.len() != b.len() || fused.shape != alone.shape;
    let (element, fused_value, alone_value) = first.or(other.then_some((0, f64::NAN, f64::NAN)))?;
    Some(Difference {
        op: String::new(),
        place: None,
        shape: fused.shape.clone(),
        dtype: fused.dtype,
        element,
        fused: fused_value,
        alone: alone_value,
    })
}

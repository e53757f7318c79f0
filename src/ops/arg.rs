//! `Arg`: what may stand where an operation takes a tensor or a number.

use crate::dtype::{DType, Operand, Scalar, result_type};
use crate::error::{Error, Result, bail};
use crate::tensor::{Device, Tensor};
use smallvec::SmallVec;

/// A tensor, a number, or the error of the expression that should have given one.
///
/// ```
/// use calor::{Arg, Tensor};
/// let x = Tensor::new([1.0f32, 2.0], ())?;
/// assert!(matches!(Arg::from(&x), Arg::Tensor(_)) && matches!(Arg::from(2), Arg::Scalar(_)));
/// // an error passes through the operations that follow
/// assert!((&x + x.reshape([3])).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone)]
pub enum Arg {
    /// A tensor.
    Tensor(Tensor),
    /// A number: weighs less than a tensor in type promotion.
    Scalar(Scalar),
    /// An error, which the operation gives back.
    Err(Error),
}

impl Arg {
    /// How it weighs in type promotion.
    ///
    /// ```
    /// use calor::{Arg, DType, dtype::{Operand, result_type}};
    /// let args = [Arg::from(&calor::Tensor::ones([2], DType::F16)?), Arg::from(0.5)];
    /// let operands = [args[0].operand()?, args[1].operand()?];
    /// assert!(matches!(operands[0], Operand::Dimensioned(DType::F16)));
    /// assert_eq!(result_type(&operands), DType::F16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn operand(&self) -> Result<Operand> {
        Ok(match self {
            Arg::Tensor(t) if t.dim() == 0 => Operand::ZeroDim(t.dtype()),
            Arg::Tensor(t) => Operand::Dimensioned(t.dtype()),
            Arg::Scalar(s) => Operand::Number(s.category()),
            Arg::Err(e) => return Err(e.clone()),
        })
    }

    /// As a tensor of `dtype`; a number becomes a constant without dimensions.
    ///
    /// ```
    /// use calor::{Arg, DType, Device};
    /// let t = Arg::from(3).tensor(DType::F32, &Device::best()?)?;
    /// assert_eq!((t.dim(), t.dtype(), t.item()?), (0, DType::F32, 3.0));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn tensor(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        match self {
            Arg::Tensor(t) => t.to_dtype(dtype),
            Arg::Scalar(s) => Tensor::constant(&[], *s, dtype, device),
            Arg::Err(e) => Err(e.clone()),
        }
    }
}

impl Arg {
    /// Refuses a number beyond the range of `dtype`.
    pub(crate) fn fits(&self, op: &'static str, dtype: DType) -> Result<()> {
        match self {
            Arg::Scalar(s) if !s.fits(dtype) => {
                bail!(Value, op, "value {s:?} cannot be converted to {dtype} without overflow")
            }
            _ => Ok(()),
        }
    }
}

/// The dtype in which some operands meet.
pub fn meet(args: &[&Arg]) -> Result<DType> {
    let operands: SmallVec<[Operand; 3]> = args.iter().map(|a| a.operand()).collect::<Result<_>>()?;
    Ok(result_type(&operands))
}

/// The device of the first tensor among some operands, or the default one.
pub fn device_of(args: &[&Arg]) -> Result<Device> {
    let tensor = args.iter().find_map(|a| match a {
        Arg::Tensor(t) => Some(t.device().clone()),
        _ => None,
    });
    tensor.map_or_else(Device::best, Ok)
}

impl From<Tensor> for Arg {
    fn from(t: Tensor) -> Self {
        Arg::Tensor(t)
    }
}

impl From<&Tensor> for Arg {
    fn from(t: &Tensor) -> Self {
        Arg::Tensor(t.clone())
    }
}

impl From<Result<Tensor>> for Arg {
    fn from(t: Result<Tensor>) -> Self {
        match t {
            Ok(t) => Arg::Tensor(t),
            Err(e) => Arg::Err(e),
        }
    }
}

impl From<&Result<Tensor>> for Arg {
    fn from(t: &Result<Tensor>) -> Self {
        t.clone().into()
    }
}

impl From<&Arg> for Arg {
    fn from(a: &Arg) -> Self {
        a.clone()
    }
}

macro_rules! arg_from {
    ($($t:ty),*) => {
        $(impl From<$t> for Arg {
            fn from(x: $t) -> Self {
                Arg::Scalar(x.into())
            }
        })*
    };
}
arg_from!(Scalar, bool, u8, i32, u32, i64, usize, f32, f64, half::f16, half::bf16);

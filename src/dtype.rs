//! Element types, scalars and PyTorch's type promotion.
//!
//! ```
//! use calor::dtype::{DType, Scalar};
//! assert_eq!(DType::promote(DType::I32, DType::F16), DType::F16);
//! assert_eq!(Scalar::from(2.5f32).dtype(), DType::F32);
//! ```

use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;

/// The type of a tensor's elements.
///
/// ```
/// use calor::{DType, Tensor};
/// assert_eq!(Tensor::new([1.5f32], ())?.dtype(), DType::F32);
/// assert_eq!(Tensor::zeros([2], DType::BF16)?.dtype().to_string(), "bf16");
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Truth value, one byte.
    Bool,
    /// 8-bit unsigned integer.
    U8,
    /// 32-bit signed integer; what indices and counts are.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit signed integer, on adapters that have it.
    I64,
    /// IEEE half precision, stored packed on every adapter.
    F16,
    /// bfloat16: the upper half of an `f32`, stored packed on every adapter.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision, on adapters that have it.
    F64,
}

/// How far along bool < integer < float a dtype stands.
///
/// ```
/// use calor::dtype::Category;
/// assert!(Category::Bool < Category::Int && Category::Int < Category::Float);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Truth values.
    Bool,
    /// Signed and unsigned integers.
    Int,
    /// Floating point numbers.
    Float,
}

impl DType {
    /// Every dtype.
    ///
    /// ```
    /// assert_eq!(calor::DType::ALL.iter().filter(|d| d.is_float()).count(), 4);
    /// ```
    pub const ALL: [DType; 9] =
        [DType::Bool, DType::U8, DType::I32, DType::U32, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64];

    /// Bytes of one element, on the host and on the device.
    ///
    /// ```
    /// assert_eq!(calor::DType::BF16.size(), 2);
    /// ```
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Bool, integer or float.
    ///
    /// ```
    /// use calor::dtype::{Category, DType};
    /// assert_eq!((DType::U8.category(), DType::F16.category()), (Category::Int, Category::Float));
    /// ```
    pub const fn category(self) -> Category {
        match self {
            DType::Bool => Category::Bool,
            DType::U8 | DType::I32 | DType::U32 | DType::I64 => Category::Int,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Category::Float,
        }
    }

    /// Whether it is a floating point type: only such tensors can require a gradient.
    ///
    /// ```
    /// assert!(calor::DType::BF16.is_float() && !calor::DType::I64.is_float());
    /// ```
    pub const fn is_float(self) -> bool {
        matches!(self.category(), Category::Float)
    }

    /// Whether it is an integer type; bool is not.
    ///
    /// ```
    /// assert!(calor::DType::U8.is_int() && !calor::DType::Bool.is_int());
    /// ```
    pub const fn is_int(self) -> bool {
        matches!(self.category(), Category::Int)
    }

    /// Whether negative values exist.
    ///
    /// ```
    /// assert!(calor::DType::I32.is_signed() && !calor::DType::U32.is_signed());
    /// ```
    pub const fn is_signed(self) -> bool {
        matches!(self, DType::I32 | DType::I64) || self.is_float()
    }

    /// Calor's short name: `f32`, `bool`.
    ///
    /// ```
    /// assert_eq!(calor::DType::BF16.name(), "bf16");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// PyTorch's `promote_types`: the smallest type that holds both.
    ///
    /// ```
    /// use calor::DType::*;
    /// assert_eq!(calor::DType::promote(F16, BF16), F32);
    /// assert_eq!(calor::DType::promote(I64, F16), F16);
    /// ```
    pub fn promote(a: DType, b: DType) -> DType {
        use DType::*;
        if a == b {
            return a;
        }
        match (a.category(), b.category()) {
            (Category::Float, Category::Float) => match (a, b) {
                (F64, _) | (_, F64) => F64,
                _ => F32,
            },
            (x, y) if x > y => a,
            (x, y) if x < y => b,
            _ => match (a, b) {
                (I64, _) | (_, I64) => I64,
                (U32, U8) | (U8, U32) => U32,
                // neither holds the other
                (U32, I32) | (I32, U32) => I64,
                _ => I32,
            },
        }
    }

    /// The type in which a float is accumulated and computed: `f32` for the half types, itself otherwise.
    ///
    /// ```
    /// assert_eq!(calor::DType::F16.compute(), calor::DType::F32);
    /// ```
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    /// The float type that an operation like `sin` gives for this input: itself, or `f32` for integers and bools.
    ///
    /// ```
    /// use calor::DType;
    /// assert_eq!((DType::I64.to_float(), DType::F16.to_float()), (DType::F32, DType::F16));
    /// ```
    pub const fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::F32 }
    }

    /// What sums and products of this type are: integers and bools give `i32` (`i64` stays), floats stay.
    ///
    /// ```
    /// use calor::DType;
    /// assert_eq!((DType::Bool.to_sum(), DType::F16.to_sum()), (DType::I32, DType::F16));
    /// ```
    pub const fn to_sum(self) -> DType {
        match self {
            DType::Bool | DType::U8 => DType::I32,
            other => other,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// 2^63: one more than the largest `i64`.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// A number given on the host, with the weight it has in type promotion.
///
/// ```
/// use calor::{DType, Scalar, Tensor};
/// assert_eq!((Scalar::from(3u8), Scalar::from(0.5)), (Scalar::Int(3), Scalar::Float(0.5)));
/// // a float turns integers into floats
/// assert_eq!((Tensor::new([1, 2], ())? * 0.5)?.dtype(), DType::F32);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// An integer: does not turn an integer tensor into another type.
    Int(i64),
    /// A float: turns integer tensors into `f32`.
    Float(f64),
}

impl Scalar {
    /// As a double.
    ///
    /// ```
    /// assert_eq!(calor::Scalar::Bool(true).as_f64(), 1.0);
    /// ```
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => f64::from(u8::from(b)),
            Scalar::Int(i) => i as f64,
            Scalar::Float(f) => f,
        }
    }

    /// As an integer, truncated and saturated.
    ///
    /// ```
    /// assert_eq!(calor::Scalar::Float(-2.9).as_i64(), -2);
    /// assert_eq!(calor::Scalar::Float(1e300).as_i64(), i64::MAX);
    /// ```
    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(b) => i64::from(b),
            Scalar::Int(i) => i,
            Scalar::Float(f) => f as i64,
        }
    }

    /// Whether it is anything but zero.
    ///
    /// ```
    /// assert!(calor::Scalar::Float(f64::NAN).as_bool() && !calor::Scalar::Int(0).as_bool());
    /// ```
    pub fn as_bool(self) -> bool {
        match self {
            Scalar::Bool(b) => b,
            Scalar::Int(i) => i != 0,
            Scalar::Float(f) => f != 0.0,
        }
    }

    /// The nearest number in the range of an integer `dtype`.
    pub(crate) fn saturated(self, dtype: DType) -> Scalar {
        let (least, most) = match dtype {
            DType::U8 => (0, i64::from(u8::MAX)),
            DType::U32 => (0, i64::from(u32::MAX)),
            DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            DType::I64 => (i64::MIN, i64::MAX),
            _ => return self,
        };
        Scalar::Int(self.as_i64().clamp(least, most))
    }

    /// Whether it lies in the range of `dtype`: unsigned types take negative numbers too, which wrap, bools take all,
    /// floats take infinities.
    pub(crate) fn fits(self, dtype: DType) -> bool {
        let most = match dtype {
            DType::Bool | DType::F64 => return true,
            DType::U8 => f64::from(u8::MAX),
            DType::U32 => f64::from(u32::MAX),
            DType::I32 => f64::from(i32::MAX),
            // every i64 fits; the next double is 2^63
            DType::I64 => return !matches!(self, Scalar::Float(f) if !(-TWO_63..TWO_63).contains(&f)),
            DType::F16 => f16::MAX.to_f64(),
            DType::BF16 => bf16::MAX.to_f64(),
            DType::F32 => f64::from(f32::MAX),
        };
        let value = self.as_f64();
        let least = if dtype == DType::I32 { f64::from(i32::MIN) } else { -most };
        (least..=most).contains(&value) || dtype.is_float() && !value.is_finite()
    }

    /// The dtype a tensor made of it has.
    ///
    /// ```
    /// assert_eq!(calor::Scalar::from(7i64).dtype(), calor::DType::I32);
    /// ```
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I32,
            Scalar::Float(_) => DType::F32,
        }
    }

    /// Bool, integer or float.
    ///
    /// ```
    /// use calor::{Scalar, dtype::Category};
    /// assert_eq!(Scalar::from(true).category(), Category::Bool);
    /// ```
    pub fn category(self) -> Category {
        match self {
            Scalar::Bool(_) => Category::Bool,
            Scalar::Int(_) => Category::Int,
            Scalar::Float(_) => Category::Float,
        }
    }
}

macro_rules! scalar_from {
    ($($t:ty => $variant:ident as $wide:ty),* $(,)?) => {
        $(impl From<$t> for Scalar {
            fn from(x: $t) -> Self {
                Scalar::$variant(x as $wide)
            }
        })*
    };
}
scalar_from!(bool => Bool as bool, u8 => Int as i64, i32 => Int as i64, u32 => Int as i64, i64 => Int as i64,
    usize => Int as i64, f32 => Float as f64, f64 => Float as f64);

impl From<f16> for Scalar {
    fn from(x: f16) -> Self {
        Scalar::Float(x.to_f64())
    }
}

impl From<bf16> for Scalar {
    fn from(x: bf16) -> Self {
        Scalar::Float(x.to_f64())
    }
}

/// A Rust type that can be an element of a tensor.
///
/// ```
/// use calor::{DType, Element};
/// assert_eq!((f32::DTYPE, &u8::to_bytes(&[7, 8])[..]), (DType::F32, &[7, 8][..]));
/// assert_eq!(i32::from_bytes(&i32::to_bytes(&[-1, 5])), [-1, 5]);
/// ```
pub trait Element: Copy + Default + PartialEq + fmt::Debug + Into<Scalar> + Send + Sync + 'static {
    /// Its dtype.
    const DTYPE: DType;

    /// The elements as the bytes that the device holds, borrowed where they lie so already.
    ///
    /// ```
    /// assert_eq!(&<u8 as calor::Element>::to_bytes(&[7, 8])[..], [7, 8]);
    /// ```
    fn to_bytes(values: &[Self]) -> Cow<'_, [u8]>;

    /// Elements from device bytes; a last incomplete element is dropped.
    ///
    /// ```
    /// assert_eq!(<i32 as calor::Element>::from_bytes(&[5, 0, 0, 0, 6]), [5]);
    /// ```
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! element {
    ($($t:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $t {
            const DTYPE: DType = DType::$dtype;

            fn to_bytes(values: &[Self]) -> Cow<'_, [u8]> {
                Cow::Borrowed(bytemuck::cast_slice(values))
            }

            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytes.chunks_exact(size_of::<$t>()).map(bytemuck::pod_read_unaligned).collect()
            }
        })*
    };
}
element!(u8 => U8, i32 => I32, u32 => U32, i64 => I64, f16 => F16, bf16 => BF16, f32 => F32, f64 => F64);

impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn to_bytes(values: &[Self]) -> Cow<'_, [u8]> {
        Cow::Owned(values.iter().map(|&b| u8::from(b)).collect())
    }

    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&b| b != 0).collect()
    }
}

/// One operand of [`result_type`].
///
/// ```
/// use calor::dtype::{DType, Operand, result_type};
/// let half = Operand::Dimensioned(DType::F16);
/// assert_eq!(result_type(&[half, Operand::ZeroDim(DType::F32)]), DType::F16);
/// assert_eq!(result_type(&[half, Operand::Dimensioned(DType::F32)]), DType::F32);
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    /// A tensor with at least one dimension.
    Dimensioned(DType),
    /// A tensor without dimensions.
    ZeroDim(DType),
    /// A number.
    Number(Category),
}

/// PyTorch's `result_type`: tensors with dimensions decide, then zero-dim tensors, then numbers, and a lower
/// group only matters where its category is higher.
///
/// ```
/// use calor::{DType, dtype::{Category, Operand, result_type}};
/// let t = [Operand::Dimensioned(DType::I32), Operand::Number(Category::Float)];
/// assert_eq!(result_type(&t), DType::F32);
/// ```
pub fn result_type(operands: &[Operand]) -> DType {
    let (mut dims, mut zero, mut number) = (None, None, None);
    let join = |slot: &mut Option<DType>, d: DType| *slot = Some(slot.map_or(d, |s| DType::promote(s, d)));
    for operand in operands {
        match *operand {
            Operand::Dimensioned(d) => join(&mut dims, d),
            Operand::ZeroDim(d) => join(&mut zero, d),
            Operand::Number(Category::Bool) => join(&mut number, DType::Bool),
            // a lone integer becomes i32, the default integer type here
            Operand::Number(Category::Int) => join(&mut number, DType::I32),
            Operand::Number(Category::Float) => join(&mut number, DType::F32),
        }
    }
    let combine = |high: Option<DType>, low: Option<DType>| match (high, low) {
        (Some(h), Some(l)) if !h.is_float() && (h == DType::Bool || l.is_float()) => Some(DType::promote(h, l)),
        (Some(h), _) => Some(h),
        (None, l) => l,
    };
    combine(combine(dims, zero), number).unwrap_or(DType::F32)
}

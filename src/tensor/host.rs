//! From the host and back: slices, vectors, nested arrays, scalars.

use super::{Device, Options, Tensor};
use crate::dtype::{DType, Element, Scalar};
use crate::error::{Result, bail};
use crate::graph::{Body, Map, Param, Spec};
use std::sync::Arc;

/// Elements on the host, as bytes with shape and dtype.
///
/// ```
/// use calor::{DType, Device, HostData, Tensor};
/// let host = HostData { shape: vec![2], dtype: DType::U8, bytes: vec![7, 8] };
/// assert_eq!(Tensor::from_host(host.clone(), &Device::best()?)?.to_host()?, host);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HostData {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Elements row by row, as the device holds them.
    pub bytes: Vec<u8>,
}

/// Host values that a tensor can be made of: numbers, arrays of arrays, slices, vectors.
///
/// ```
/// use calor::NestedArray;
/// assert_eq!(vec![[1u8, 2], [3, 4]].to_host()?.shape, [2, 2]);
/// assert!(vec![vec![1u8], vec![2, 3]].to_host().is_err());
/// # Ok::<(), calor::Error>(())
/// ```
pub trait NestedArray {
    /// Shape, dtype and bytes; refused where rows differ in length.
    ///
    /// ```
    /// use calor::{DType, NestedArray};
    /// let host = [[1i32, 2, 3]].to_host()?;
    /// assert_eq!((host.shape, host.dtype), (vec![1, 3], DType::I32));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn to_host(&self) -> Result<HostData>;
}

macro_rules! number {
    ($($t:ty),*) => {
        $(
            impl NestedArray for $t {
                fn to_host(&self) -> Result<HostData> {
                    Ok(HostData { shape: Vec::new(), dtype: Self::DTYPE, bytes: Self::to_bytes(&[*self]).into_owned() })
                }
            }

            impl Leaf for $t {
                fn dtype() -> DType {
                    Self::DTYPE
                }

                fn empty_shape() -> Vec<usize> {
                    Vec::new()
                }
            }
        )*
    };
}
number!(bool, u8, i32, u32, i64, f32, f64, half::f16, half::bf16);

impl<A: NestedArray + Leaf> NestedArray for [A] {
    fn to_host(&self) -> Result<HostData> {
        let Some(first) = self.first() else {
            let mut shape = vec![0];
            shape.extend(A::empty_shape());
            return Ok(HostData { shape, dtype: A::dtype(), bytes: Vec::new() });
        };
        let mut all = first.to_host()?;
        for (i, row) in self.iter().enumerate().skip(1) {
            let row = row.to_host()?;
            if row.shape != all.shape {
                bail!(Shape, "tensor", "row 0 has shape {:?}, row {i} has {:?}", all.shape, row.shape);
            }
            all.bytes.extend(row.bytes);
        }
        all.shape.insert(0, self.len());
        Ok(all)
    }
}

/// What is known of nested arrays without any element.
///
/// ```
/// // an empty list still has a dtype and what its type says of the shape
/// let t = calor::Tensor::new(Vec::<[u8; 3]>::new(), ())?;
/// assert_eq!((t.dtype(), &t.shape()[..]), (calor::DType::U8, &[0, 3][..]));
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Leaf {
    /// The dtype of the elements.
    fn dtype() -> DType;
    /// The shape below, as far as types tell it.
    fn empty_shape() -> Vec<usize>;
}

impl<A: Leaf, const N: usize> Leaf for [A; N] {
    fn dtype() -> DType {
        A::dtype()
    }
    fn empty_shape() -> Vec<usize> {
        let mut shape = vec![N];
        shape.extend(A::empty_shape());
        shape
    }
}

impl<A: Leaf> Leaf for Vec<A> {
    fn dtype() -> DType {
        A::dtype()
    }
    fn empty_shape() -> Vec<usize> {
        vec![0]
    }
}

impl<A: NestedArray + Leaf, const N: usize> NestedArray for [A; N] {
    fn to_host(&self) -> Result<HostData> {
        self.as_slice().to_host()
    }
}

impl<A: NestedArray + Leaf> NestedArray for Vec<A> {
    fn to_host(&self) -> Result<HostData> {
        self.as_slice().to_host()
    }
}

impl<A: NestedArray + ?Sized> NestedArray for &A {
    fn to_host(&self) -> Result<HostData> {
        (**self).to_host()
    }
}

impl Tensor {
    /// A tensor of host values, nested as deep as they are: `torch.tensor`.
    ///
    /// ```
    /// let t = calor::Tensor::new([[1, 2, 3], [4, 5, 6]], ())?;
    /// assert_eq!((t.dtype(), &t.shape()[..]), (calor::DType::I32, &[2, 3][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(values: impl NestedArray, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let host = values.to_host()?;
        let dtype = options.dtype();
        let t = Self::from_host(host, &options.device()?)?;
        match dtype {
            Some(d) => t.to_dtype(d),
            None => Ok(t),
        }
    }

    /// A tensor of `shape` from elements row by row.
    ///
    /// ```
    /// let x = calor::Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], ())?;
    /// assert_eq!(x.sum_dims(&[0], false)?.to_vec::<f32>()?, [4.0, 6.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn from_slice<T: Element>(
        values: &[T],
        shape: impl AsRef<[usize]>,
        options: impl Into<Options>,
    ) -> Result<Tensor> {
        let options = options.into();
        let t = Self::from_bytes(shape.as_ref(), T::DTYPE, &T::to_bytes(values), &options.device()?)?;
        match options.dtype() {
            Some(d) => t.to_dtype(d),
            None => Ok(t),
        }
    }

    /// A tensor from shape, dtype and bytes.
    ///
    /// ```
    /// use calor::{DType, Device, HostData, Tensor};
    /// let host = HostData { shape: vec![1, 2], dtype: DType::U8, bytes: vec![7, 8] };
    /// assert_eq!(Tensor::from_host(host, &Device::best()?)?.to_vec::<u8>()?, [7, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn from_host(host: HostData, device: &Device) -> Result<Tensor> {
        Self::from_bytes(&host.shape, host.dtype, &host.bytes, device)
    }

    /// A tensor of elements row by row, as the device holds them.
    pub(crate) fn from_bytes(shape: &[usize], dtype: DType, bytes: &[u8], device: &Device) -> Result<Tensor> {
        let value = device.engine().upload("tensor", Spec::new(shape, dtype), bytes)?;
        Ok(Self::from_value(device, value))
    }

    /// Its elements with shape and dtype; waits for them.
    ///
    /// ```
    /// let host = calor::Tensor::new([1u8, 2], ())?.to_host()?;
    /// assert_eq!((&host.shape[..], host.dtype, &host.bytes[..]), (&[2][..], calor::DType::U8, &[1, 2][..]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_host(&self) -> Result<HostData> {
        Ok(HostData { shape: self.shape().to_vec(), dtype: self.dtype(), bytes: self.read_bytes()? })
    }

    /// A tensor without dimensions holding a number; nothing is uploaded.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::scalar(2.5, ())?.item()?, 2.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn scalar(value: impl Into<Scalar>, options: impl Into<Options>) -> Result<Tensor> {
        let value = value.into();
        let options = options.into();
        Self::constant(&[], value, options.dtype_or(value.dtype()), &options.device()?)
    }

    /// A tensor with the same number everywhere: a node without inputs, never worth storing.
    pub(crate) fn constant(shape: &[usize], value: Scalar, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut body = Body::new();
        body.value(0, dtype);
        let map = Arc::new(Map { name: "full".into(), body });
        Tensor::apply(map, device, (shape, dtype), &[], &[Param::scalar(value, dtype)])
    }

    /// The only element, as a double; waits for it.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([2.5f32], ())?.item()?, 2.5);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn item(&self) -> Result<f64> {
        Ok(self.item_scalar()?.as_f64())
    }

    /// The only element; waits for it.
    ///
    /// ```
    /// let x = calor::Tensor::scalar(3, ())?;
    /// assert_eq!(x.item_scalar()?, calor::Scalar::Int(3));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn item_scalar(&self) -> Result<Scalar> {
        if self.numel() != 1 {
            bail!(Shape, "item", "a tensor with {} elements cannot be converted to a scalar", self.numel());
        }
        let bytes = self.read_bytes()?;
        Ok(match self.dtype() {
            DType::Bool => bool::from_bytes(&bytes)[0].into(),
            DType::U8 => u8::from_bytes(&bytes)[0].into(),
            DType::I32 => i32::from_bytes(&bytes)[0].into(),
            DType::U32 => u32::from_bytes(&bytes)[0].into(),
            DType::I64 => i64::from_bytes(&bytes)[0].into(),
            DType::F16 => half::f16::from_bytes(&bytes)[0].into(),
            DType::BF16 => half::bf16::from_bytes(&bytes)[0].into(),
            DType::F32 => f32::from_bytes(&bytes)[0].into(),
            DType::F64 => f64::from_bytes(&bytes)[0].into(),
        })
    }
}

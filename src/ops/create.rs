//! Tensors made of nothing: constants, ranges, random numbers. All are lazy and fuse into what reads them.

use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::tensor::{Options, Tensor};

impl Tensor {
    /// Zeros.
    ///
    /// ```
    /// assert_eq!(calor::Tensor::zeros([2], ())?.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn zeros(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        Self::constant(shape.as_ref(), Scalar::Int(0), options.dtype_or(DType::F32), &options.device()?)
    }

    /// Ones.
    pub fn ones(shape: impl AsRef<[usize]>, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        Self::constant(shape.as_ref(), Scalar::Int(1), options.dtype_or(DType::F32), &options.device()?)
    }

    /// The same number everywhere; its type gives the dtype where none is asked for.
    pub fn full(shape: impl AsRef<[usize]>, value: impl Into<Scalar>, options: impl Into<Options>) -> Result<Tensor> {
        let (options, value) = (options.into(), value.into());
        Self::constant(shape.as_ref(), value, options.dtype_or(value.dtype()), &options.device()?)
    }
}

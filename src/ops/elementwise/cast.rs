//! Casts, and moves between devices.

use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Body, Map};
use crate::tensor::grad::Grads;
use crate::tensor::{Device, Options, Tensor};
use std::sync::Arc;

impl Tensor {
    /// The same values as another dtype, rounded where that is narrower; itself where it has that dtype.
    ///
    /// ```
    /// use calor::{DType, Tensor};
    /// let t = Tensor::new([1.7f32, -1.7], ())?.to_dtype(DType::I32)?;
    /// assert_eq!(t.to_vec::<i32>()?, [1, -1]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        self.clone().into_dtype(dtype)
    }

    /// [`Tensor::to_dtype`] of a handle that is given up.
    pub(crate) fn into_dtype(self, dtype: DType) -> Result<Tensor> {
        let from = self.dtype();
        if from == dtype {
            return Ok(self);
        }
        let mut body = Body::new();
        let x = body.input(0);
        body.cast(dtype, x);
        let map = Arc::new(Map { name: "to".into(), body });
        let out = Tensor::apply(map, self.device(), (&self.shape(), dtype), &[&self], &[])?;
        Ok(out.with_grad("to", &[&self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.to_dtype(from)?)]))))
    }

    /// The same values with another dtype, on another device, or both; itself where nothing changes. Waits for the
    /// values if they must move.
    ///
    /// ```
    /// use calor::{DType, Tensor};
    /// let x = Tensor::new([0.5f32, 2.0], ())?.to(DType::BF16)?;
    /// assert_eq!(x.dtype(), DType::BF16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn to(&self, options: impl Into<Options>) -> Result<Tensor> {
        let options = options.into();
        let dtype = options.dtype_or(self.dtype());
        let device = options.device_or(self.device());
        if self.device().supports(dtype) {
            self.to_dtype(dtype)?.moved(&device)
        } else {
            self.moved(&device)?.to_dtype(dtype)
        }
    }

    /// [`Tensor::to_dtype`] with the dtype of `other`, on its device.
    ///
    /// ```
    /// let x = calor::Tensor::new([1.0f32, 2.0, 4.0], ())?;
    /// assert_eq!(x.type_as(&calor::Tensor::zeros([1], calor::DType::I32)?)?.dtype(), calor::DType::I32);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn type_as(&self, other: &Tensor) -> Result<Tensor> {
        self.to((other.dtype(), other.device()))
    }

    fn moved(&self, device: &Device) -> Result<Tensor> {
        if device.same(self.device()) {
            return Ok(self.clone());
        }
        let from = self.device().clone();
        let out = Tensor::from_host(self.detach().to_host()?, device)?;
        Ok(out.with_grad("to", &[self], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.moved(&from)?)]))))
    }
}

/// Rows: PyTorch's name of a conversion and its dtype.
macro_rules! conversions {
    ($($name:ident $dtype:ident;)*) => {
        impl Tensor {
            $(
                #[doc = concat!(
                    "[`Tensor::to_dtype`] to [`DType::", stringify!($dtype), "`].\n\n```\n\
                    use calor::{DType, Tensor};\n\
                    let x = Tensor::new([1.0f32, 0.0], ())?;\n\
                    if x.device().supports(DType::", stringify!($dtype), ") {\n\
                    \x20   assert_eq!(x.", stringify!($name), "()?.dtype(), DType::", stringify!($dtype), ");\n\
                    }\n\
                    # Ok::<(), calor::Error>(())\n```"
                )]
                pub fn $name(&self) -> Result<Tensor> {
                    self.to_dtype(DType::$dtype)
                }
            )*
        }
    };
}

conversions! {
    bfloat16 BF16;
    bool Bool;
    double F64;
    float F32;
    half F16;
    int I32;
    long I64;
}

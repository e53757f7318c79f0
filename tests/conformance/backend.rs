//! calor's tensors behind the harness.

use crate::call::{Call, Failure, Key, Number, Output};
use crate::corpus::View;
use crate::host::{Dt, HostTensor};
use crate::run::{Backend, Mode};
use calor::autograd::Backward;
use calor::{Arg, DType, Device, HostData, Scalar, Tensor};

/// The calor dtype of a corpus dtype.
pub fn dtype(dt: Dt) -> DType {
    match dt {
        Dt::Bool => DType::Bool,
        Dt::U8 => DType::U8,
        Dt::I32 => DType::I32,
        Dt::I64 => DType::I64,
        Dt::F16 => DType::F16,
        Dt::BF16 => DType::BF16,
        Dt::F32 => DType::F32,
        Dt::F64 => DType::F64,
    }
}

/// The corpus dtype of a calor dtype.
pub fn dt(dtype: DType) -> Result<Dt, String> {
    Dt::parse(dtype.name()).ok_or_else(|| format!("the corpus has no {dtype}"))
}

/// calor's refusal as a driver's failure.
pub fn op(error: calor::Error) -> Failure {
    Failure::Op(error.to_string())
}

/// One tensor as a driver's result.
pub fn one(result: calor::Result<Tensor>) -> Result<Vec<Output<Tensor>>, Failure> {
    Ok(vec![Output::Tensor(result.map_err(op)?)])
}

/// Several tensors as a driver's result.
pub fn many(tensors: impl IntoIterator<Item = Tensor>) -> Vec<Output<Tensor>> {
    tensors.into_iter().map(Output::Tensor).collect()
}

/// A number of a case as calor takes it.
pub fn scalar(number: Number) -> Scalar {
    match number {
        Number::Int(i) => Scalar::Int(i),
        Number::Float(f) => Scalar::Float(f),
        Number::Bool(b) => Scalar::Bool(b),
    }
}

/// An argument that may be a tensor or a number; `None` where it is absent.
pub fn arg_opt<'k>(c: &mut Call<Tensor>, key: impl Into<Key<'k>>) -> Result<Option<Arg>, Failure> {
    let key = key.into();
    Ok(if c.is_tensor(key) {
        c.tensor_opt(key)?.map(Arg::from)
    } else {
        c.number_opt(key)?.map(|n| Arg::from(scalar(n)))
    })
}

/// An argument that may be a tensor or a number.
pub fn arg<'k>(c: &mut Call<Tensor>, key: impl Into<Key<'k>>) -> Result<Arg, Failure> {
    let key = key.into();
    arg_opt(c, key)?.ok_or_else(|| Failure::Argument(format!("{key:?} is missing")))
}

/// An argument that may be a tensor or a number, as a tensor.
pub fn operand<'k>(c: &mut Call<Tensor>, key: impl Into<Key<'k>>) -> Result<Tensor, Failure> {
    match arg(c, key)? {
        Arg::Tensor(t) => Ok(t),
        Arg::Scalar(s) => Tensor::scalar(s, ()).map_err(op),
        Arg::Err(e) => Err(op(e)),
    }
}

/// The device of this process.
///
/// # Panics
/// Without an adapter: there is nothing to test then.
pub fn device() -> Device {
    match Device::best() {
        Ok(device) => device,
        Err(e) => panic!("{e}"),
    }
}

fn text(error: calor::Error) -> String {
    error.to_string()
}

impl Backend for Tensor {
    fn set_mode(mode: Mode) {
        device().set_fusion(mode == Mode::Fused);
    }

    fn upload(host: &HostTensor) -> Result<Self, String> {
        let host = HostData { shape: host.shape.clone(), dtype: dtype(host.dtype), bytes: host.data.clone() };
        Tensor::from_host(host, &device()).map_err(text)
    }

    fn download(&self) -> Result<HostTensor, String> {
        let host = self.to_host().map_err(text)?;
        HostTensor::new(dt(host.dtype)?, host.shape, host.bytes)
    }

    fn as_view(&self, view: &View) -> Result<Self, String> {
        self.as_strided(&view.shape, &view.strides, view.offset).map_err(text)
    }

    fn leaf(&self) -> Result<Self, String> {
        self.detach().requires_grad_(true).map_err(text)
    }

    fn copy(&self) -> Result<Self, String> {
        self.try_clone().map_err(text)
    }

    fn grad(outputs: &[(Self, Self)], inputs: &[Self], create_graph: bool) -> Result<Vec<Option<Self>>, String> {
        let traced: Vec<&(Self, Self)> = outputs.iter().filter(|(o, _)| o.requires_grad()).collect();
        if traced.is_empty() {
            return Ok(vec![None; inputs.len()]);
        }
        let (outputs, seeds): (Vec<&Self>, Vec<Option<&Self>>) = traced.iter().map(|(o, g)| (o, Some(g))).unzip();
        let inputs: Vec<&Self> = inputs.iter().collect();
        let walk = Backward::new().create_graph(create_graph).allow_unused(true);
        walk.grad(&outputs, &inputs, &seeds).map_err(text)
    }

    fn shares_storage(&self, other: &Self) -> bool {
        Tensor::shares_storage(self, other)
    }
}

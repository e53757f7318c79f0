//! What is done to gradients and parameters as a whole: `torch.nn.utils`.
//!
//! Gradients of one dtype and device are looked at as one flat tensor, so that the number of kernels does not grow with
//! the number of parameters.
//!
//! ```
//! use calor::{Tensor, nn::{Linear, Module, utils}};
//! let linear = Linear::new(3, 2, ())?;
//! (linear.weight.tensor() * 100.0)?.sum()?.backward()?;
//! utils::clip_grad_norm_(&linear.parameters(), 1.0, 2.0, false)?;
//! assert!((linear.weight.grad().unwrap().norm()?.item()? - 1.0).abs() < 1e-4);
//! # Ok::<(), calor::Error>(())
//! ```

pub mod fusion;
pub mod rnn;

use super::Parameter;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::join::{cat, stack};
use crate::tensor::{Pack, Tensor};
use std::collections::HashSet;

pub use super::parametrize::{Parametrized, SpectralNormOptions, spectral_norm, weight_norm};

/// Gradients of one dtype and device, side by side.
struct Flat {
    tensors: Vec<Tensor>,
    places: Pack,
    flat: Tensor,
}

/// The tensors as a few flat ones.
fn flattened(tensors: &[Tensor]) -> Result<Vec<Flat>> {
    let mut kinds: Vec<Vec<Tensor>> = Vec::new();
    for t in tensors.iter().filter(|t| t.numel() > 0) {
        if !t.dtype().is_float() {
            bail!(DType, "get_total_norm", "expected floats, got {}", t.dtype());
        }
        let same = |k: &&mut Vec<Tensor>| k[0].dtype() == t.dtype() && k[0].device().same(t.device());
        match kinds.iter_mut().find(same) {
            Some(kind) => kind.push(t.clone()),
            None => kinds.push(vec![t.clone()]),
        }
    }
    let made = kinds.into_iter().map(|tensors| {
        let places = Pack::like(&tensors)?;
        // what lies behind the elements of a stored one would count in a norm, and what shares a word with the last one
        let clean = |t: &Tensor| {
            let words = (t.numel() * t.dtype().size()).is_multiple_of(4);
            if t.numel().is_multiple_of(4) || (words && !t.is_stored()) { Ok(t.clone()) } else { t * 1.0 }
        };
        let flat = places.join(&tensors.iter().map(clean).collect::<Result<Vec<_>>>()?)?;
        Ok(Flat { tensors, places, flat })
    });
    made.collect()
}

/// The norm of the norms of all tensors, which is that of all as one vector where the order is positive.
fn norm_of(flats: &[Flat], norm_type: f64) -> Result<Tensor> {
    let Some(first) = flats.first() else { return Tensor::zeros([], ()) };
    let device = first.flat.device();
    // the zeros between the tensors of a flat one count only in norms of other orders
    let whole = norm_type > 0.0;
    let parts = flats.iter().flat_map(|f| if whole { std::slice::from_ref(&f.flat) } else { &f.tensors[..] });
    let wide = |t: &Tensor| t.to_dtype(t.dtype().compute())?.vector_norm(norm_type, &[], false)?.to(device);
    let norms: Vec<Tensor> = parts.map(wide).collect::<Result<_>>()?;
    match &norms[..] {
        [one] if whole => Ok(one.clone()),
        _ => {
            let dtype = norms.iter().map(Tensor::dtype).find(|d| *d == DType::F64).unwrap_or(DType::F32);
            let norms = norms.iter().map(|n| n.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
            stack(&norms.iter().collect::<Vec<_>>(), 0)?.vector_norm(norm_type, &[], false)
        }
    }
}

fn refuse_nonfinite(norm: &Tensor, norm_type: f64) -> Result<()> {
    let value = norm.item()?;
    if !value.is_finite() {
        bail!(
            Value,
            "get_total_norm",
            "The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped"
        );
    }
    Ok(())
}

/// The norm of order `norm_type` of some tensors as one vector, a tensor without dimensions. Of order 0 it is how many of them
/// have an element that is not 0, as in PyTorch.
///
/// ```
/// use calor::{Tensor, nn::utils::get_total_norm};
/// let all = [Tensor::full([2], 3.0, ())?, Tensor::full([1, 1], 1.0, ())?];
/// assert!((get_total_norm(&all, 2.0, false)?.item()? - 19f64.sqrt()).abs() < 1e-6);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `DType` for integers, `Value` where the norm is not finite, if `error_if_nonfinite` asks for that by reading it.
pub fn get_total_norm(tensors: &[Tensor], norm_type: f64, error_if_nonfinite: bool) -> Result<Tensor> {
    no_grad(|| {
        let norm = norm_of(&flattened(tensors)?, norm_type)?;
        if error_if_nonfinite {
            refuse_nonfinite(&norm, norm_type)?;
        }
        Ok(norm)
    })
}

/// The gradients there are. One that several parameters have counts once; parts of one storage are as many.
fn gradients(parameters: &[Parameter]) -> Vec<Tensor> {
    let mut known = HashSet::new();
    let mut new = |gradient: &Tensor| known.insert((gradient.storage_key(), gradient.layout()));
    parameters.iter().filter_map(Parameter::grad).filter(|gradient| new(gradient)).collect()
}

/// Scales gradients in place so that their norm of order `norm_type`, all as one vector, is at most `max_norm`; the norm
/// before. Nothing is read back unless `error_if_nonfinite` (Pascanu et al., 2013).
///
/// ```
/// use calor::{Tensor, nn::{Parameter, utils::clip_grad_norm_}};
/// let w = Parameter::new(&Tensor::new([3.0f32, 4.0], ())?)?;
/// w.tensor().square()?.sum()?.backward()?;
/// let norm = clip_grad_norm_(&[w.clone()], 1.0, 2.0, false)?;
/// assert_eq!(norm.item()?, 10.0);
/// assert!((w.grad().unwrap().norm()?.item()? - 1.0).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where the norm is not finite and `error_if_nonfinite`: the gradients are then as before.
pub fn clip_grad_norm_(
    parameters: &[Parameter],
    max_norm: f64,
    norm_type: f64,
    error_if_nonfinite: bool,
) -> Result<Tensor> {
    no_grad(|| {
        let flats = flattened(&gradients(parameters))?;
        let norm = norm_of(&flats, norm_type)?;
        if error_if_nonfinite {
            refuse_nonfinite(&norm, norm_type)?;
        }
        scale(&flats, max_norm, &norm)?;
        Ok(norm)
    })
}

/// Scales gradients in place by `max_norm / total_norm` where that is below 1: [`clip_grad_norm_`] by a norm that is known,
/// as [`get_total_norm`] gives it.
///
/// ```
/// use calor::{Tensor, nn::{Parameter, utils::{clip_grads_with_norm_, get_total_norm}}};
/// let w = Parameter::new(&Tensor::new([3.0f32, 4.0], ())?)?;
/// w.tensor().square()?.sum()?.backward()?;
/// let norm = get_total_norm(&[w.grad().unwrap()], 2.0, false)?;
/// clip_grads_with_norm_(&[w.clone()], 1.0, &norm)?;
/// assert!((w.grad().unwrap().norm()?.item()? - 1.0).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where the norm is not one number.
pub fn clip_grads_with_norm_(parameters: &[Parameter], max_norm: f64, total_norm: &Tensor) -> Result<()> {
    if total_norm.numel() != 1 {
        bail!(Shape, "clip_grads_with_norm_", "expected a norm of one element, got {:?}", &total_norm.shape()[..]);
    }
    no_grad(|| scale(&flattened(&gradients(parameters))?, max_norm, &total_norm.reshape([])?))
}

fn scale(flats: &[Flat], max_norm: f64, norm: &Tensor) -> Result<()> {
    // a norm that is not finite leaves nothing finite, as in PyTorch
    let factor = (max_norm / (norm + 1e-6)?)?.clamp_max(1.0)?;
    write(flats, |flat| flat * factor.to(flat.device())?)
}

/// Keeps the elements of gradients, in place, between `-clip_value` and `clip_value`.
///
/// ```
/// use calor::{Tensor, nn::{Parameter, utils::clip_grad_value_}};
/// let w = Parameter::new(&Tensor::new([-3.0f32, 0.25], ())?)?;
/// w.tensor().square()?.sum()?.backward()?;
/// clip_grad_value_(&[w.clone()], 1.0)?;
/// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [-1.0, 0.5]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn clip_grad_value_(parameters: &[Parameter], clip_value: f64) -> Result<()> {
    no_grad(|| write(&flattened(&gradients(parameters))?, |flat| flat.clamp(-clip_value, clip_value)))
}

/// Puts what `f` makes of flat tensors into those that they consist of.
fn write(flats: &[Flat], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    for Flat { tensors, places, flat } in flats {
        places.split(&f(flat)?.to_dtype(flat.dtype())?, tensors)?;
    }
    Ok(())
}

/// All parameters as one vector, which can be differentiated.
///
/// ```
/// use calor::{Tensor, nn::{Linear, Module, utils}};
/// let linear = Linear::new(3, 2, ())?;
/// let vector = utils::parameters_to_vector(&linear.parameters())?;
/// assert_eq!(&vector.shape()[..], [8]);
/// utils::vector_to_parameters(&Tensor::ones([8], ())?, &linear.parameters())?;
/// assert_eq!(linear.weight.tensor().sum()?.item()?, 6.0);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` without parameters.
pub fn parameters_to_vector(parameters: &[Parameter]) -> Result<Tensor> {
    let flat: Vec<Tensor> = parameters.iter().map(|p| p.tensor().flatten(0, -1)).collect::<Result<_>>()?;
    cat(&flat.iter().collect::<Vec<_>>(), 0)
}

/// Writes the elements of a vector into parameters, one after the other.
///
/// ```
/// use calor::{Tensor, nn::{Linear, Module, utils}};
/// let linear = Linear::new(3, 2, ())?;
/// utils::vector_to_parameters(&Tensor::arange(0.0, 8.0, 1.0, ())?, &linear.parameters())?;
/// assert_eq!(linear.bias.as_ref().unwrap().tensor().to_vec::<f32>()?, [6.0, 7.0]);
/// assert!(utils::vector_to_parameters(&Tensor::zeros([7], ())?, &linear.parameters()).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where it has not as many elements.
pub fn vector_to_parameters(vector: &Tensor, parameters: &[Parameter]) -> Result<()> {
    const OP: &str = "vector_to_parameters";
    let count: usize = parameters.iter().map(Parameter::numel).sum();
    if vector.shape()[..] != [count] {
        bail!(Shape, OP, "expected a vector of {count} elements, got {:?}", vector.shape());
    }
    let mut start = 0;
    for p in parameters {
        p.copy_from(&vector.narrow(0, start as isize, p.numel())?.reshape(p.shape())?)?;
        start += p.numel();
    }
    Ok(())
}

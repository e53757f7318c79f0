//! `Pack`: tensors as parts of one flat tensor, so that one kernel computes on all of them.

use super::Tensor;
use super::grad::no_grad;
use crate::error::{Result, bail};
use crate::graph::{Spec, Value, part_align, part_offsets};
use crate::layout::Layout;

/// So many parts are joined by one map at most; every element computes the places of all of them.
pub(crate) const PARTS: usize = 6;
/// Elements of each of a few parts that are put into one buffer.
const LARGE: usize = 1 << 14;

/// Where some tensors lie in a flat one.
pub(crate) struct Pack {
    specs: Vec<Spec>,
    offsets: Vec<u64>,
    numel: usize,
}

impl Pack {
    /// Room for tensors of the shapes and dtype of these, one after the other.
    pub fn like(tensors: &[Tensor]) -> Result<Self> {
        let Some(first) = tensors.first() else { bail!(Value, "pack", "nothing to pack") };
        let align = part_align(first.device().facts());
        let specs: Vec<Spec> = tensors.iter().map(|t| Spec::new(&t.shape(), t.dtype())).collect();
        let (offsets, bytes) = part_offsets(&specs, align);
        Ok(Self { specs, offsets, numel: bytes as usize / first.dtype().size() })
    }

    /// Number of elements of the flat tensor, with those that lie between.
    pub fn numel(&self) -> usize {
        self.numel
    }

    /// Where the elements of the tensors lie in the flat one, one tensor after the other.
    pub fn elements(&self) -> Vec<usize> {
        let place = |(spec, offset): (&Spec, &u64)| {
            let start = *offset as usize / spec.dtype.size();
            start..start + spec.numel()
        };
        self.specs.iter().zip(&self.offsets).flat_map(place).collect()
    }

    /// Bytes that a tensor takes in a pack.
    pub fn bytes(tensor: &Tensor) -> u64 {
        let spec = Spec::new(&tensor.shape(), tensor.dtype());
        part_offsets([&spec], part_align(tensor.device().facts())).1
    }

    /// The tensors as a flat one, without history; at no cost where they are parts of one already.
    pub fn join(&self, tensors: &[Tensor]) -> Result<Tensor> {
        let values: Vec<Value> = tensors.iter().map(|t| t.in_order()?.value()).collect::<Result<_>>()?;
        match tensors.first() {
            Some(first) => Ok(Tensor::from_value(first.device(), first.device().engine().pack(&values)?)),
            None => bail!(Value, "pack", "nothing to pack"),
        }
    }

    /// The parts of a flat tensor.
    fn parts(&self, flat: &Tensor) -> Result<Vec<Value>> {
        let whole = flat.value()?;
        let part = |(spec, offset): (&Spec, &u64)| {
            let spec = Spec { dtype: flat.dtype(), ..spec.clone() };
            flat.device().engine().part(&whole, *offset, spec)
        };
        self.specs.iter().zip(&self.offsets).map(part).collect()
    }

    /// The flat tensor seen as its parts one above the other, which must be of one shape.
    pub fn stack(&self, flat: &Tensor) -> Result<Tensor> {
        let Some(spec) = self.specs.first() else { bail!(Value, "pack", "nothing to pack") };
        let bytes = self.offsets.get(1).copied().unwrap_or(0);
        let own = Layout::contiguous(&spec.shape);
        let shape: Vec<usize> = std::iter::once(self.specs.len()).chain(own.shape().iter().copied()).collect();
        let apart = (bytes / flat.dtype().size() as u64) as isize;
        let strides: Vec<isize> = std::iter::once(apart).chain(own.strides().iter().copied()).collect();
        Ok(flat.alias(Layout::strided("pack", &shape, &strides, 0)?))
    }

    /// Writes the parts of a flat tensor into tensors: they lie in its buffer from then on.
    pub fn split(&self, flat: &Tensor, into: &[Tensor]) -> Result<()> {
        let parts = self.parts(flat)?.into_iter();
        into.iter().zip(parts).try_for_each(|(t, part)| t.write(&Tensor::from_value(flat.device(), part)))
    }

    /// Lays whole tensors side by side in memory. No write: their values stay.
    pub fn lay(tensors: &[Tensor]) -> Result<()> {
        let places = Self::like(tensors)?;
        let parts = places.parts(&places.join(tensors)?)?;
        tensors.iter().zip(parts).for_each(|(t, part)| t.0.storage.settle(part));
        Ok(())
    }
}

impl Tensor {
    /// Whether it shows all of its storage in order, so that the storage can become a part of a flat tensor.
    pub(crate) fn is_whole(&self) -> bool {
        self.layout().is_identity(self.storage_numel())
    }

    /// Whether its elements were computed already.
    pub(crate) fn is_stored(&self) -> bool {
        self.0.storage.whole().is_some_and(|value| value.get().is_some())
    }

    /// A number that tensors have in common that share storage.
    pub(crate) fn storage_key(&self) -> usize {
        std::sync::Arc::as_ptr(&self.0.storage) as usize
    }

    /// Gives its storage memory of its own where it lies in a larger buffer, which would live as long. No write.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.0.storage.whole().is_some_and(|value| value.buffer().is_some_and(crate::gpu::Buffer::is_part)) {
            let whole = self.alias(Layout::contiguous(&[self.storage_numel()]));
            self.0.storage.settle(no_grad(|| whole.copy("copy"))?.value()?);
        }
        Ok(())
    }
}

/// Tensors one after the other along dimension `d`, all other sizes equal, as parts of one buffer, where that is better than choosing at each element: who computes one writes it in
/// its place.
pub(crate) fn side_by_side(tensors: &[Tensor], d: usize) -> Result<Option<Tensor>> {
    let first = &tensors[0];
    let mut shape = first.shape();
    let outermost = shape[..d].iter().all(|&size| size == 1);
    let fills = |t: &Tensor| (t.numel() * t.dtype().size()) as u64 == Pack::bytes(t);
    let many = tensors.len() > PARTS;
    // on a CPU choosing takes longer than memory does
    let large = |t: &Tensor| t.is_whole() && t.numel() >= LARGE;
    let slow = || first.device().facts().is_cpu && tensors.iter().all(large);
    if !(many || outermost && slow()) {
        return Ok(None);
    }
    let rank = shape.len();
    let equal = tensors.iter().all(|t| t.shape() == shape);
    shape[d] = tensors.iter().map(|t| t.shape()[d]).sum();
    let seen = if tensors.iter().all(fills) && (outermost || !equal) {
        // with the dimension first they lie one after the other
        let front: Vec<usize> = [d].into_iter().chain(0..d).chain(d + 1..rank).collect();
        let turned: Vec<Tensor> = tensors.iter().map(|t| t.alias(t.layout().permuted(&front))).collect();
        let sizes: Vec<usize> = front.iter().map(|&i| shape[i]).collect();
        let back: Vec<usize> = (1..=d).chain([0]).chain(d + 1..rank).collect();
        let flat = Pack::like(&turned)?.join(&turned)?;
        flat.alias(Layout::contiguous(&sizes).permuted(&back))
    } else if equal && many {
        // one above the other, with room between them
        let pack = Pack::like(tensors)?;
        let rows = pack.stack(&pack.join(tensors)?)?;
        let order: Vec<usize> = (1..=d).chain([0]).chain(d + 1..=rank).collect();
        rows.alias(rows.layout().permuted(&order))
    } else {
        return Ok(None);
    };
    let whole = Layout::contiguous(&shape);
    let joined = if outermost && seen.layout().numel() == seen.storage_numel() { seen } else { seen.copy("cat")? };
    Ok(Some(joined.alias(whole)))
}

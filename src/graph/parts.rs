//! Several values as one buffer, and parts of a buffer as values of their own: nothing is computed for either.

use super::engine::Engine;
use super::faults::alive;
use super::node::{Input, LowerCx, Lowering, Node, Primitive, Spec, Stored, Value};
use super::schedule::padded_bytes;
use crate::error::{Result, bail};
use crate::gpu::Facts;
use smallvec::SmallVec;
use std::sync::Arc;

/// A flat value whose buffer is those of its inputs one after the other, with zeros between. Behind the elements of an input
/// that was stored before stands zero too, but in the last word of half types and bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pack {
    /// Each input begins at a multiple of so many bytes.
    align: u64,
}

/// A value whose buffer is a range of its input's.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    /// Where the range begins, in bytes.
    offset: u64,
}

impl Primitive for Pack {
    fn name(&self) -> &str {
        "pack"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Pack { align: self.align })
    }
}

impl Primitive for Part {
    fn name(&self) -> &str {
        "part"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Part { offset: self.offset })
    }

    fn work(&self, _: &[Input], _: &Spec) -> u64 {
        0
    }
}

/// The multiple of bytes at which parts of a buffer begin: ranges there can be bound, and hold whole vectors.
///
/// ```
/// use calor::{gpu::Facts, graph::part_align};
/// assert_eq!(part_align(&Facts::portable()), 256);
/// ```
pub fn part_align(facts: &Facts) -> u64 {
    u64::from(facts.storage_align).max(64)
}

/// Where each of some values begins in a pack, in bytes, and the bytes of the pack.
///
/// ```
/// use calor::{DType, graph::{Spec, part_offsets}};
/// let specs = [Spec::new(&[3], DType::F32), Spec::new(&[100], DType::F32)];
/// assert_eq!(part_offsets(&specs, 256), (vec![0, 256], 768));
/// ```
pub fn part_offsets<'a>(specs: impl IntoIterator<Item = &'a Spec>, align: u64) -> (Vec<u64>, u64) {
    let mut end = 0;
    let offsets = specs.into_iter().map(|spec| {
        let start = end;
        end += padded_bytes(spec).next_multiple_of(align);
        start
    });
    (offsets.collect(), end)
}

impl Engine {
    /// The flat value of some values of one dtype, in order. Where they are parts of one buffer already, as a pack has
    /// them, it is that buffer, and nothing is copied.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec, part_align}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[4], DType::U8), &[1, 2, 3, 4])?;
    /// let flat = engine.pack(&[x.clone(), x])?;
    /// let second = part_align(engine.gpu().facts()) as usize;
    /// assert_eq!(engine.read(&flat)?[second..second + 4], [1, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn pack(&self, values: &[Value]) -> Result<Value> {
        let Some(first) = values.first() else { bail!(Value, "pack", "nothing to pack") };
        let dtype = first.spec.dtype;
        if let Some(other) = values.iter().find(|v| v.spec.dtype != dtype) {
            bail!(DType, "pack", "{dtype} and {}", other.spec.dtype);
        }
        let align = part_align(self.gpu().facts());
        let (offsets, bytes) = part_offsets(values.iter().map(|v| &v.spec), align);
        let spec = Spec::new(&[(bytes / dtype.size() as u64) as usize], dtype);
        if spec.numel() == 0 {
            return Ok(Node::stored(spec, Stored::Nowhere));
        }
        // not amid a run: it takes the memory of what it saw nobody hold
        let unmoved = self.between_runs();
        let begins = first.buffer().map(|b| (b.id(), b.offset()));
        let in_place = |(value, offset): (&Value, &u64)| match (value.buffer(), begins) {
            (Some(b), Some((id, start))) => b.id() == id && b.offset() == start + offset,
            _ => false,
        };
        let aligned = begins.is_some_and(|(_, start)| start.is_multiple_of(align));
        if aligned && values.iter().zip(&offsets).all(in_place)
            // a value alone in its buffer may be shorter than a pack of it
            && let Some(whole) = first.buffer().and_then(|b| b.range(b.offset(), bytes))
        {
            let flat = Node::stored(spec, Stored::Buffer(whole));
            flat.set_taint(alive(values.iter().filter_map(|v| v.taint()).flat_map(|t| t.to_vec())));
            return Ok(flat);
        }
        if let Some(flat) = self.flat_of(values, &offsets, &spec) {
            return Ok(flat);
        }
        drop(unmoved);
        let inputs: SmallVec<[Input; 2]> = values.iter().map(|v| Input::whole(v, &v.spec.shape)).collect();
        self.admit(Arc::new(Pack { align }), spec, inputs, SmallVec::new())
    }

    /// The pending value of which some values are all the parts, in order.
    fn flat_of(&self, values: &[Value], offsets: &[u64], spec: &Spec) -> Option<Value> {
        let whole = |value: &Value| value.inputs().first().map(|i| i.value.clone());
        let flat = whole(values.first()?).filter(|f| f.spec == *spec && f.get().is_none())?;
        let fits = |(value, &offset): (&Value, &u64)| {
            let part: &dyn Primitive = &*value.prim;
            value.get().is_none() && part.same(&Part { offset }) && whole(value).is_some_and(|f| Arc::ptr_eq(&f, &flat))
        };
        values.iter().zip(offsets).all(fits).then_some(flat)
    }

    /// The elements of `value`'s buffer from byte `offset` on, a multiple of [`part_align`], as a value of its own.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[8], DType::U8), &[1, 2, 3, 4, 5, 6, 7, 8])?;
    /// let part = engine.part(&x, 0, Spec::new(&[4], DType::U8))?;
    /// assert_eq!(engine.read(&part)?, [1, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn part(&self, value: &Value, offset: u64, spec: Spec) -> Result<Value> {
        let (bytes, whole) = (padded_bytes(&spec), padded_bytes(&value.spec));
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= whole);
        if !fits || !offset.is_multiple_of(part_align(self.gpu().facts())) || spec.dtype != value.spec.dtype {
            bail!(Value, "part", "{bytes} bytes of {} from {offset} of {whole} of {}", spec.dtype, value.spec.dtype);
        }
        if spec.numel() == 0 {
            return Ok(Node::stored(spec, Stored::Nowhere));
        }
        if let Some(part) = value.buffer().and_then(|b| b.range(b.offset() + offset, bytes)) {
            let part = Node::stored(spec, Stored::Buffer(part));
            part.set_taint(value.taint());
            return Ok(part);
        }
        let inputs = SmallVec::from_iter([Input::whole(value, &value.spec.shape)]);
        self.admit(Arc::new(Part { offset }), spec, inputs, SmallVec::new())
    }
}

//! `Node`: a value that may not have been computed yet, and how it would be.
//!
//! ```
//! use calor::{DType, graph::{Body, Input, Map, Node, Spec, Stored}};
//! let x = Node::stored(Spec::new(&[2], DType::F32), Stored::Nowhere);
//! let exp = std::sync::Arc::new(Map { name: "exp".into(), body: Body::call_all("op_exp", 1) });
//! let inputs = [Input::whole(&x, &[2])].into_iter().collect();
//! let y = Node::pending(exp, Spec::new(&[2], DType::F32), inputs, Default::default());
//! assert!(y.get().is_none() && y.id > x.id && y.inputs().len() == 1);
//! ```

use super::body::{Body, Param};
use super::faults::Taint;
use super::template::{Fold, Template};
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::{Buffer, Facts};
use crate::layout::Layout;
use crate::shape::{Dims, numel};
use rustc_hash::FxHasher;
use smallvec::SmallVec;
use std::any::{Any, TypeId};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Shape and dtype of a value.
///
/// ```
/// use calor::{DType, graph::Spec};
/// assert_eq!(Spec::new(&[2, 3], DType::F16), Spec { shape: [2, 3].as_slice().into(), dtype: DType::F16 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Sizes.
    pub shape: Dims,
    /// Element type.
    pub dtype: DType,
}

impl Spec {
    /// A spec.
    ///
    /// ```
    /// use calor::{DType, graph::Spec};
    /// assert_eq!(Spec::new(&[2, 3], DType::F16).shape[..], [2, 3]);
    /// ```
    pub fn new(shape: &[usize], dtype: DType) -> Self {
        Self { shape: Dims::from_slice(shape), dtype }
    }

    /// Number of elements.
    ///
    /// ```
    /// assert_eq!(calor::graph::Spec::new(&[2, 3], calor::DType::F16).numel(), 6);
    /// ```
    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    /// Bytes of its elements, packed.
    ///
    /// ```
    /// assert_eq!(calor::graph::Spec::new(&[2, 3], calor::DType::F16).bytes(), 12);
    /// ```
    pub fn bytes(&self) -> u64 {
        self.numel() as u64 * self.dtype.size() as u64
    }
}

/// Whether two rules are the same, for the plan cache. Every type with `Eq` and `Hash` answers: all that a lowering
/// depends on stands in fields that these compare, and host numbers stand in none.
///
/// ```
/// use calor::graph::{Body, Identity, Map};
/// let map = |name: &'static str| Map { name: name.into(), body: Body::call_all(format!("op_{name}"), 1) };
/// assert!(map("exp").same(&map("exp")) && !map("exp").same(&map("sin")));
/// ```
pub trait Identity: Any {
    /// Whether `other` is of the same type and equal, so that it lowers equally.
    ///
    /// ```
    /// use calor::graph::{Body, Identity, Map};
    /// let (free, named) = (Map { name: "a".into(), body: Body::new() }, Map { name: "b".into(), body: Body::new() });
    /// assert!(free.same(&free) && !free.same(&named));
    /// ```
    fn same(&self, other: &dyn Primitive) -> bool;

    /// Equal for equal rules.
    ///
    /// ```
    /// use calor::graph::{Body, Identity, Map};
    /// use std::hash::Hasher;
    /// let digest = |name: &'static str| {
    ///     let mut state = rustc_hash::FxHasher::default();
    ///     Map { name: name.into(), body: Body::call_all("op_exp", 1) }.digest(&mut state);
    ///     state.finish()
    /// };
    /// assert_eq!(digest("exp"), digest("exp"));
    /// ```
    fn digest(&self, state: &mut FxHasher);
}

impl<T: Any + Eq + Hash> Identity for T {
    fn same(&self, other: &dyn Primitive) -> bool {
        (other as &dyn Any).downcast_ref::<T>().is_some_and(|other| self == other)
    }

    fn digest(&self, state: &mut FxHasher) {
        TypeId::of::<T>().hash(state);
        self.hash(state);
    }
}

/// A graph rule: what the engine asks of an operation. It is asked nothing else, and never for what it "is".
///
/// ```
/// use calor::graph::{Body, LowerCx, Lowering, Primitive};
/// use calor::{DType, Result, Tensor};
/// /// `x + 1`, by a body of its own.
/// #[derive(Debug, PartialEq, Eq, Hash)]
/// struct Next;
/// impl Primitive for Next {
///     fn name(&self) -> &str {
///         "next"
///     }
///     fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering> {
///         let mut body = Body { source: Some("fn own_next(x: T) -> T { return x + T(1); }".into()), ..Body::new() };
///         assert_eq!(cx.inputs.len(), 1);
///         let x = body.input(0);
///         body.call("own_next", &[x]);
///         Ok(Lowering::Map(body))
///     }
/// }
/// let x = Tensor::new([1.0f32, 2.0], ())?;
/// let y = Tensor::apply(std::sync::Arc::new(Next), x.device(), (&[2], DType::F32), &[&x], &[])?;
/// assert_eq!(y.to_vec::<f32>()?, [2.0, 3.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub trait Primitive: Identity + fmt::Debug + Send + Sync {
    /// The operation's name, for messages and plans.
    ///
    /// ```
    /// use calor::graph::{Body, Map, Primitive};
    /// assert_eq!(Primitive::name(&Map { name: "exp".into(), body: Body::call_all("op_exp", 1) }), "exp");
    /// ```
    fn name(&self) -> &str;

    /// How its output is computed, for an adapter with these facts.
    ///
    /// ```
    /// use calor::{DType, gpu::Facts, graph::{Body, LowerCx, Lowering, Map, Primitive, Spec}};
    /// let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
    /// let cx = LowerCx { inputs: &[], output: &Spec::new(&[4], DType::F32), facts: &Facts::portable() };
    /// assert!(matches!(map.lower(&cx)?, Lowering::Map(body) if body == map.body));
    /// # Ok::<(), calor::Error>(())
    /// ```
    fn lower(&self, cx: &LowerCx<'_>) -> Result<Lowering>;

    /// Estimated operations, known before it is lowered; what decides when pending work is submitted.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, Map, Primitive, Spec}};
    /// let map = Map { name: "full".into(), body: Body::new() };
    /// assert_eq!(map.work(&[], &Spec::new(&[4], DType::F32)), 4);
    /// ```
    fn work(&self, inputs: &[Input], output: &Spec) -> u64 {
        inputs.iter().fold(output.numel() as u64, |sum, i| sum.saturating_add(i.layout.numel() as u64))
    }
}

/// What a primitive knows when it is lowered.
///
/// ```
/// use calor::{DType, gpu::Facts, graph::{LowerCx, Spec}};
/// let (output, facts) = (Spec::new(&[4], DType::F32), Facts::portable());
/// let cx = LowerCx { inputs: &[], output: &output, facts: &facts };
/// assert!(cx.inputs.is_empty() && cx.output.numel() == 4 && !cx.facts.f64);
/// ```
pub struct LowerCx<'a> {
    /// The inputs, each as the view that the node reads and the buffer's dtype.
    pub inputs: &'a [InputSpec],
    /// The output.
    pub output: &'a Spec,
    /// The adapter.
    pub facts: &'a Facts,
}

/// One input as a primitive sees it when lowered.
///
/// ```
/// use calor::{DType, Layout, graph::InputSpec};
/// let rows = Layout::contiguous(&[3]).expand("expand", &[2, 3])?;
/// let input = InputSpec { layout: rows, dtype: DType::F32 };
/// assert_eq!((input.layout.strides(), input.dtype), (&[0, 1][..], DType::F32));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// The view the node reads through, over a stored value; a row-by-row layout stands for values computed on
    /// the way.
    pub layout: Layout,
    /// Element type.
    pub dtype: DType,
}

/// How a primitive's output is computed.
///
/// ```
/// use calor::graph::{Body, Lowering};
/// let lowering = Lowering::Map(Body::call_all("op_exp", 1));
/// assert!(matches!(lowering, Lowering::Map(body) if body.ops.len() == 2));
/// ```
#[derive(Clone, Debug)]
pub enum Lowering {
    /// Element by element.
    Map(Body),
    /// Its inputs' bytes one after the other, each from a multiple of `align` on: copied, not computed.
    Pack {
        /// In bytes.
        align: u64,
    },
    /// The bytes of its only input from `offset` on, where they lie: neither computed nor copied.
    Part {
        /// In bytes.
        offset: u64,
    },
    /// By a kernel from `shaders/` with loads and stores left open.
    Template(Template),
    /// By such a kernel, which only folds rows and may be replaced by one that walks them for several operations.
    Fold(Fold, Template),
}

/// A map as a primitive: a name and a body.
///
/// ```
/// use calor::graph::{Body, Map, Primitive};
/// let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
/// assert_eq!((Primitive::name(&map), map.body.ops.len()), ("exp", 2));
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Map {
    /// The operation's name.
    pub name: std::borrow::Cow<'static, str>,
    /// What each element is.
    pub body: Body,
}

impl Hash for Map {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // maps are many and their bodies long; whoever hashes compares as well
        (&self.name, self.body.ops.len()).hash(state);
    }
}

impl Primitive for Map {
    fn name(&self) -> &str {
        &self.name
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        Ok(Lowering::Map(self.body.clone()))
    }
}

/// A value that a node reads, and the view it reads it through.
///
/// ```
/// use calor::{DType, Layout, graph::{Input, Node, Spec, Stored}};
/// let x = Node::stored(Spec::new(&[2, 3], DType::F32), Stored::Nowhere);
/// let turned = Input { value: x.clone(), layout: Layout::contiguous(&[2, 3]).transpose(0, 1)? };
/// assert!(!turned.is_identity() && Input::whole(&x, &[6]).is_identity());
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Input {
    /// The value read; its elements lie row by row.
    pub value: Value,
    /// The view over the value's elements.
    pub layout: Layout,
}

impl Input {
    /// All of `value`, under `shape`.
    ///
    /// ```
    /// use calor::{DType, graph::{Input, Node, Spec, Stored}};
    /// let x = Node::stored(Spec::new(&[2, 3], DType::F32), Stored::Nowhere);
    /// assert_eq!(Input::whole(&x, &[6]).layout.shape(), [6]);
    /// ```
    pub fn whole(value: &Value, shape: &[usize]) -> Self {
        Self { value: value.clone(), layout: Layout::contiguous(shape) }
    }

    /// Whether reading place `i` reads element `i` of the value.
    ///
    /// ```
    /// use calor::{DType, graph::{Input, Node, Spec, Stored}};
    /// let x = Node::stored(Spec::new(&[2, 3], DType::F32), Stored::Nowhere);
    /// assert!(Input::whole(&x, &[2, 3]).is_identity() && !Input::whole(&x, &[3]).is_identity());
    /// ```
    pub fn is_identity(&self) -> bool {
        self.layout.is_identity(self.value.spec.numel())
    }
}

/// A shared node.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored, Value}};
/// let x: Value = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// assert_eq!(x.clone().id, x.id);
/// ```
pub type Value = Arc<Node>;

/// A value: pending with its inputs, or held by a buffer.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored}};
/// let x = Node::stored(Spec::new(&[2], DType::F32), Stored::Nowhere);
/// assert_eq!(format!("{x:?}"), format!("%{} stored f32[2]", x.id));
/// # Ok::<(), calor::Error>(())
/// ```
pub struct Node {
    /// Unique in this process; larger than those of its inputs.
    pub id: u64,
    /// Shape and dtype.
    pub spec: Spec,
    /// The rule that computes it.
    pub prim: Arc<dyn Primitive>,
    /// Host numbers of this node.
    pub params: SmallVec<[Param; 2]>,
    inputs: Mutex<SmallVec<[Input; 2]>>,
    buffer: OnceLock<Stored>,
    /// What may have spoiled it.
    /// Whether `taint` may hold anything: most nodes are never locked to be looked at.
    tainted: AtomicBool,
    taint: Mutex<Option<Taint>>,
}

/// Where a value that has been computed lies.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored}};
/// let empty = Node::stored(Spec::new(&[0], DType::F32), Stored::Nowhere);
/// assert!(matches!(empty.get(), Some(Stored::Nowhere)) && empty.buffer().is_none());
/// ```
#[derive(Clone, Debug)]
pub enum Stored {
    /// In a device buffer.
    Buffer(Buffer),
    /// Nowhere: it has no elements, or the graph is only planned.
    Nowhere,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Node {
    /// A pending node.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, Map, Node, Spec}};
    /// let map = std::sync::Arc::new(Map { name: "range".into(), body: Body::new() });
    /// let x = Node::pending(map, Spec::new(&[4], DType::U32), Default::default(), Default::default());
    /// assert!(x.get().is_none() && x.prim.name() == "range");
    /// ```
    pub fn pending(
        prim: Arc<dyn Primitive>,
        spec: Spec,
        inputs: SmallVec<[Input; 2]>,
        params: SmallVec<[Param; 2]>,
    ) -> Value {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            spec,
            prim,
            params,
            inputs: Mutex::new(inputs),
            buffer: OnceLock::new(),
            tainted: AtomicBool::new(false),
            taint: Mutex::default(),
        })
    }

    /// A value that lies somewhere already.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored}};
    /// assert!(Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere).get().is_some());
    /// ```
    pub fn stored(spec: Spec, stored: Stored) -> Value {
        let node = Self::pending(Arc::new(Leaf), spec, SmallVec::new(), SmallVec::new());
        node.store(stored);
        node
    }

    /// Where it lies, if it was computed.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, Map, Node, Spec, Stored}};
    /// let map = std::sync::Arc::new(Map { name: "range".into(), body: Body::new() });
    /// let x = Node::pending(map, Spec::new(&[4], DType::U32), Default::default(), Default::default());
    /// assert!(x.get().is_none());
    /// x.store(Stored::Nowhere);
    /// assert!(x.get().is_some());
    /// ```
    pub fn get(&self) -> Option<&Stored> {
        self.buffer.get()
    }

    /// The buffer it lies in.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored}};
    /// assert!(Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere).buffer().is_none());
    /// ```
    pub fn buffer(&self) -> Option<&Buffer> {
        match self.buffer.get() {
            Some(Stored::Buffer(b)) => Some(b),
            _ => None,
        }
    }

    /// Records that it was computed, and lets go of its inputs.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, Input, Map, Node, Spec, Stored}};
    /// let x = Node::stored(Spec::new(&[2], DType::F32), Stored::Nowhere);
    /// let exp = std::sync::Arc::new(Map { name: "exp".into(), body: Body::call_all("op_exp", 1) });
    /// let y = Node::pending(exp, x.spec.clone(), [Input::whole(&x, &[2])].into_iter().collect(), Default::default());
    /// y.store(Stored::Nowhere);
    /// assert!(y.inputs().is_empty());
    /// ```
    pub fn store(&self, stored: Stored) {
        // a second result is the same value: the first one stays
        let _ = self.buffer.set(stored);
        let inputs = std::mem::take(&mut *self.inputs());
        unlink(inputs);
    }

    /// Notes by which runs it may have been spoiled, before it is stored.
    pub(super) fn set_taint(&self, taint: Option<Taint>) {
        let any = taint.is_some();
        *self.taint.lock().unwrap_or_else(PoisonError::into_inner) = taint;
        self.tainted.store(any, Ordering::Release);
    }

    /// The runs by which it may have been spoiled, or was.
    pub(super) fn taint(&self) -> Option<Taint> {
        if !self.tainted.load(Ordering::Acquire) {
            return None;
        }
        let mut taint = self.taint.lock().unwrap_or_else(PoisonError::into_inner);
        if taint.as_ref().is_some_and(|marks| marks.iter().all(|mark| mark.verdict() == Some(0))) {
            *taint = None;
        }
        taint.clone()
    }

    /// The code of a fault that spoiled it, as far as reads have told.
    pub(super) fn fault(&self) -> Option<u32> {
        self.taint()?.iter().find_map(|mark| mark.verdict().filter(|code| *code != 0))
    }

    /// Its inputs; empty once it was computed.
    ///
    /// ```
    /// use calor::{DType, graph::{Body, Input, Map, Node, Spec, Stored}};
    /// let x = Node::stored(Spec::new(&[2], DType::F32), Stored::Nowhere);
    /// let exp = std::sync::Arc::new(Map { name: "exp".into(), body: Body::call_all("op_exp", 1) });
    /// let y = Node::pending(exp, x.spec.clone(), [Input::whole(&x, &[2])].into_iter().collect(), Default::default());
    /// assert_eq!(y.inputs()[0].value.id, x.id);
    /// ```
    pub fn inputs(&self) -> MutexGuard<'_, SmallVec<[Input; 2]>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops inputs without recursion: a pending chain can be longer than the stack is deep.
fn unlink(mut inputs: SmallVec<[Input; 2]>) {
    // most inputs are held elsewhere too, and nothing follows them
    let mut left: Vec<SmallVec<[Input; 2]>> = Vec::new();
    loop {
        for input in inputs {
            if let Some(mut node) = Arc::into_inner(input.value) {
                let inner = node.inputs.get_mut().unwrap_or_else(PoisonError::into_inner);
                if !inner.is_empty() {
                    left.push(std::mem::take(inner));
                }
            }
        }
        match left.pop() {
            Some(next) => inputs = next,
            None => return,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let inputs = self.inputs.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !inputs.is_empty() {
            unlink(std::mem::take(inputs));
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{} {} {}{:?}", self.id, self.prim.name(), self.spec.dtype, &self.spec.shape[..])
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Leaf;

impl Primitive for Leaf {
    fn name(&self) -> &str {
        "stored"
    }

    fn lower(&self, _: &LowerCx<'_>) -> Result<Lowering> {
        crate::error::bail!(Unsupported, "stored", "a stored value has no rule")
    }
}

//! `Walk`: the nodes that some values need, and their structure: all that planning looks at, without host numbers.
//!
//! Two walks of equal structure have equal plans, node for node. The structure is a row of words that can be read
//! only one way (each list says how long it is), and the nodes' rules.
//!
//! ```
//! # use calor::{DType, graph::{Body, Input, Map, Node, Spec, Stored, walk::Walk}};
//! # let leaf = |n| Node::stored(Spec::new(&[n], DType::F32), Stored::Nowhere);
//! # let exp = |x: &calor::graph::Value| {
//! #     let map = Map { name: "exp".into(), body: Body::call_all("op_exp", 1) };
//! #     let input = Input::whole(x, &x.spec.shape);
//! #     Node::pending(std::sync::Arc::new(map), x.spec.clone(), [input].into_iter().collect(), Default::default())
//! # };
//! let (step, next) = (exp(&leaf(4)), exp(&leaf(4)));
//! let known = Walk::new(&[step]).structure();
//! assert!(known.is_of(&Walk::new(&[next])) && !known.is_of(&Walk::new(&[exp(&leaf(5))])));
//! ```

use super::body::Param;
use super::node::{Input, Node, Primitive, Value};
use rustc_hash::{FxHashMap as HashMap, FxHasher};
use std::hash::Hasher;
use std::sync::Arc;

/// Bits that tell one kind of host number from another, and how many fit into a word.
const KIND_BITS: usize = 4;
const KINDS: usize = 64 / KIND_BITS;

/// The pending nodes that some roots need, and the stored ones they read.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
/// let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// let walk = Walk::new(&[x.clone()]);
/// assert_eq!((walk.nodes.len(), walk.number(&x)), (1, Some(0)));
/// ```
#[derive(Debug, Default)]
pub struct Walk {
    /// Nodes, each after its inputs.
    pub nodes: Vec<Reached>,
    number: HashMap<u64, u32>,
    references: Vec<u32>,
    words: Vec<u64>,
    hash: u64,
}

/// A node on the way.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
/// let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// let walk = Walk::new(&[x]);
/// assert!(walk.nodes[0].root && walk.nodes[0].held && walk.nodes[0].spend.is_none());
/// ```
#[derive(Debug)]
pub struct Reached {
    /// The node.
    pub value: Value,
    /// Whether someone outside may read it later.
    pub held: bool,
    /// Whether it was asked for.
    pub root: bool,
    /// For a stored value that only the walk holds, as it does all others in its memory: where it lies.
    pub spend: Option<Spend>,
}

/// Memory that is free once it was read.
///
/// ```
/// use calor::graph::walk::Spend;
/// // two halves of one allocation
/// let (a, b) = (Spend { allocation: 3, whole: false }, Spend { allocation: 3, whole: false });
/// assert_eq!(a, b);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The same number for all values that lie in an allocation.
    pub allocation: u32,
    /// Whether this value has all of it.
    pub whole: bool,
}

/// What tells a walk from others, kept after it.
///
/// ```
/// use calor::{DType, graph::{Node, Spec, Stored, walk::{Structure, Walk}}};
/// let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
/// let walk = Walk::new(&[x]);
/// let known: Structure = walk.structure();
/// assert!(known.is_of(&walk) && known.hash() == walk.hash());
/// ```
#[derive(Debug)]
pub struct Structure {
    hash: u64,
    words: Box<[u64]>,
    rules: Box<[Arc<dyn Primitive>]>,
}

impl Walk {
    /// The nodes that `roots` need.
    ///
    /// ```
    /// use calor::graph::walk::Walk;
    /// assert!(Walk::new(&[]).nodes.is_empty());
    /// ```
    pub fn new(roots: &[Value]) -> Self {
        let mut walk = Self::default();
        walk.visit(roots);
        walk
    }

    /// Walks anew, in the memory of the walk before. Iterative: chains can be long.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let mut walk = Walk::default();
    /// for n in [4, 8] {
    ///     walk.visit(&[Node::stored(Spec::new(&[n], DType::F32), Stored::Nowhere)]);
    ///     assert_eq!(walk.nodes.len(), 1);
    /// }
    /// ```
    pub fn visit(&mut self, roots: &[Value]) {
        self.clear();
        let mut hasher = FxHasher::default();
        let mut digest: Option<(*const (), u64)> = None;
        let mut stack: Vec<(Value, bool)> = roots.iter().rev().map(|r| (r.clone(), false)).collect();
        while let Some((value, expanded)) = stack.pop() {
            if self.number.contains_key(&value.id) {
                continue;
            }
            if value.get().is_some() {
                self.describe(&value, &[]);
            } else if expanded {
                let inputs = value.inputs();
                self.describe(&value, &inputs);
                drop(inputs);
                // neighbours often share their rule
                let at = Arc::as_ptr(&value.prim).cast::<()>();
                let same = digest.filter(|d| d.0 == at).map(|d| d.1);
                let own = same.unwrap_or_else(|| {
                    let mut h = FxHasher::default();
                    value.prim.digest(&mut h);
                    h.finish()
                });
                digest = Some((at, own));
                hasher.write_u64(own);
            } else {
                stack.push((value.clone(), true));
                let inputs = value.inputs();
                let fresh = inputs.iter().filter(|i| !self.number.contains_key(&i.value.id));
                stack.extend(fresh.map(|i| (i.value.clone(), false)));
                continue;
            }
            self.number.insert(value.id, self.nodes.len() as u32);
            self.nodes.push(Reached { value, held: false, root: false, spend: None });
            self.references.push(0);
        }
        drop(stack);
        for root in roots {
            if let Some(&n) = self.number.get(&root.id) {
                let node = &mut self.nodes[n as usize];
                (node.held, node.root) = (true, true);
            }
        }
        for (nodes, references) in self.nodes.chunks_mut(32).zip(self.references.chunks(32)) {
            let mut flags = 0;
            for (node, inside) in nodes.iter_mut().zip(references) {
                // one reference is the walk's own; stored values are others' anyway
                node.held |= node.value.get().is_some() || Arc::strong_count(&node.value) > *inside as usize + 1;
                flags = flags << 2 | u64::from(node.held) << 1 | u64::from(node.root);
            }
            self.words.push(flags);
        }
        self.find_spendable();
        self.words.push(self.nodes.len() as u64);
        self.words.iter().for_each(|w| hasher.write_u64(*w));
        self.hash = hasher.finish();
    }

    /// Finds the stored values of which neither the value nor its memory has another holder.
    fn find_spendable(&mut self) {
        let only_here = |(n, reached): (usize, &Reached)| {
            let known = self.references[n] as usize + 1;
            let buffer = reached.value.buffer().filter(|_| Arc::strong_count(&reached.value) == known)?;
            Some((n, buffer.id(), buffer.holders(), !buffer.is_part()))
        };
        let alone: Vec<(usize, u64, usize, bool)> = self.nodes.iter().enumerate().filter_map(only_here).collect();
        // the first of such values in an allocation, and how many they are
        let mut found: HashMap<u64, (u32, usize)> = HashMap::default();
        for &(n, id, ..) in &alone {
            found.entry(id).or_insert((n as u32, 0)).1 += 1;
        }
        let before = self.words.len();
        for (n, id, holders, whole) in alone {
            if let Some(&(allocation, count)) = found.get(&id)
                && count == holders
            {
                self.nodes[n].spend = Some(Spend { allocation, whole });
                self.words.push((n as u64) << 33 | u64::from(allocation) << 1 | u64::from(whole));
            }
        }
        self.words.push((self.words.len() - before) as u64);
    }

    /// Lets go of the nodes.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let mut walk = Walk::new(&[Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere)]);
    /// walk.clear();
    /// assert!(walk.nodes.is_empty());
    /// ```
    pub fn clear(&mut self) {
        // readers first: what they read is still held then, and nothing has to be unwound
        while self.nodes.pop().is_some() {}
        self.number.clear();
        self.references.clear();
        self.words.clear();
    }

    /// The words of a node that is about to get the next number; counts its reads.
    fn describe(&mut self, value: &Node, inputs: &[Input]) {
        let (spec, params) = (&value.spec, &value.params);
        let stored = value.get().is_some();
        let counts = (spec.shape.len() as u64) << 32 | (inputs.len() as u64) << 48;
        self.words.push(counts | (params.len() as u64) << 16 | (spec.dtype as u64) << 8 | u64::from(stored));
        self.words.extend(spec.shape.iter().map(|&d| d as u64));
        let kinds = |of: &[Param]| of.iter().fold(0, |word, p| word << KIND_BITS | u64::from(p.kind()));
        self.words.extend(params.chunks(KINDS).map(kinds));
        for input in inputs {
            let from = self.number.get(&input.value.id).copied().unwrap_or(u32::MAX);
            if let Some(count) = self.references.get_mut(from as usize) {
                *count += 1;
            }
            let layout = &input.layout;
            self.words.push(u64::from(from) << 32 | layout.rank() as u64);
            self.words.push(layout.offset() as u64);
            self.words.extend(layout.shape().iter().map(|&d| d as u64));
            self.words.extend(layout.strides().iter().map(|&s| s as u64));
        }
    }

    /// The number of a node that was reached.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let leaf = || Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
    /// let (x, other) = (leaf(), leaf());
    /// let walk = Walk::new(&[x.clone()]);
    /// assert_eq!((walk.number(&x), walk.number(&other)), (Some(0), None));
    /// ```
    pub fn number(&self, value: &Value) -> Option<usize> {
        self.number.get(&value.id).map(|&n| n as usize)
    }

    /// Hash of the structure.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let hash = |n| Walk::new(&[Node::stored(Spec::new(&[n], DType::F32), Stored::Nowhere)]).hash();
    /// assert!(hash(4) == hash(4) && hash(4) != hash(5));
    /// ```
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn rules(&self) -> impl Iterator<Item = &Arc<dyn Primitive>> {
        self.nodes.iter().filter(|n| n.value.get().is_none()).map(|n| &n.value.prim)
    }

    /// The structure, to be kept.
    ///
    /// ```
    /// use calor::graph::walk::Walk;
    /// let walk = Walk::new(&[]);
    /// assert!(walk.structure().is_of(&walk));
    /// ```
    pub fn structure(&self) -> Structure {
        Structure { hash: self.hash, words: self.words.clone().into(), rules: self.rules().cloned().collect() }
    }
}

impl Structure {
    /// Hash of the structure.
    ///
    /// ```
    /// use calor::graph::walk::Walk;
    /// let walk = Walk::new(&[]);
    /// assert_eq!(walk.structure().hash(), walk.hash());
    /// ```
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether a walk has this structure: all is compared.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let walk = |dtype| Walk::new(&[Node::stored(Spec::new(&[4], dtype), Stored::Nowhere)]);
    /// let known = walk(DType::F32).structure();
    /// assert!(known.is_of(&walk(DType::F32)) && !known.is_of(&walk(DType::F16)));
    /// ```
    pub fn is_of(&self, walk: &Walk) -> bool {
        let same = |(a, b): (&Arc<dyn Primitive>, &Arc<dyn Primitive>)| Arc::ptr_eq(a, b) || a.same(&**b);
        self.hash == walk.hash
            && *self.words == *walk.words
            && walk.rules().count() == self.rules.len()
            && self.rules.iter().zip(walk.rules()).all(same)
    }

    /// Bytes of memory that it holds, about.
    ///
    /// ```
    /// use calor::{DType, graph::{Node, Spec, Stored, walk::Walk}};
    /// let x = Node::stored(Spec::new(&[4], DType::F32), Stored::Nowhere);
    /// assert!(Walk::new(&[x]).structure().bytes() > Walk::new(&[]).structure().bytes());
    /// ```
    pub fn bytes(&self) -> usize {
        self.words.len() * 8 + self.rules.len() * 64
    }
}

//! Evaluates bodies into text: each node once per place, without recursion (a chain can be thousands long).

use super::index::{Ix, Scope};
use super::place::{Kind, PlaceId, Places};
use super::{Kernel, Val};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::graph::body::{IndexOp, Op, Ref};
use crate::graph::library::{self, Gives, Library};
use crate::layout::Layout;
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;

/// What was written in this function: computed nodes by place, loads by place.
#[derive(Default)]
pub struct Memo {
    computed: HashMap<(usize, PlaceId), Val>,
    rounded: HashMap<(usize, PlaceId), Val>,
    loaded: HashMap<(usize, Ix), Val>,
}

/// A body in the middle of its evaluation.
struct Frame {
    node: usize,
    place: PlaceId,
    done: Vec<Got>,
}

#[derive(Clone)]
enum Got {
    Val(Val),
    Ix(Ix),
}

impl Got {
    fn val(self) -> Val {
        match self {
            Got::Val(v) => v,
            Got::Ix(ix) => Val { four: ix.is_four(), text: ix.text(), ty: DType::U32 },
        }
    }

    fn ix(self) -> Ix {
        match self {
            Got::Ix(ix) => ix,
            Got::Val(v) if v.four => Ix::Vec(v.text),
            Got::Val(v) => Ix::scalar(v.text, false),
        }
    }
}

/// A value that is there, or the computation that must come first.
enum Read {
    Ready(Val),
    First(usize, PlaceId),
}

impl Kernel<'_> {
    /// What a node reads through one of its inputs at a place.
    pub(super) fn input_value(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        memo: &mut Memo,
        (input, layout): (usize, &Layout),
        place: PlaceId,
    ) -> Result<Val> {
        match self.read(scope, places, memo, (input, layout), place)? {
            Read::Ready(v) => Ok(v),
            Read::First(node, at) => {
                self.value(scope, places, memo, node, at)?;
                match self.computed(scope, memo, node, at)? {
                    Some(v) => Ok(v),
                    None => bail!(Device, "codegen", "a value was not computed"),
                }
            }
        }
    }

    /// What another node reads of a member that was computed: of a half type, as if it had been stored, so that a
    /// result does not depend on what shares its kernel.
    pub(super) fn computed(
        &mut self,
        scope: &mut Scope,
        memo: &mut Memo,
        node: usize,
        at: PlaceId,
    ) -> Result<Option<Val>> {
        let Some(value) = memo.computed.get(&(node, at)) else { return Ok(None) };
        let dtype = self.graph.nodes[node].value.spec.dtype;
        if dtype == dtype.compute() || self.is_rounded(node) {
            return Ok(Some(value.clone()));
        }
        if let Some(v) = memo.rounded.get(&(node, at)) {
            return Ok(Some(v.clone()));
        }
        let rounded = self.cast(scope, value.clone(), dtype)?;
        memo.rounded.insert((node, at), rounded.clone());
        Ok(Some(rounded))
    }

    /// Whether a node's body gives numbers of its narrow dtype already: casts, or moves elements.
    fn is_rounded(&self, node: usize) -> bool {
        let node = &self.graph.nodes[node];
        let Some(body) = node.rule.body() else { return false };
        let dtype = node.value.spec.dtype;
        let mut left: SmallVec<[usize; 4]> = SmallVec::from_iter(body.ops.len().checked_sub(1));
        while let Some(op) = left.pop() {
            match &body.ops[op] {
                Op::Cast(to, _) | Op::Value(_, to) if *to == dtype => {}
                Op::Input(k) | Op::Load(k, _)
                    if self.graph.nodes[node.inputs[*k as usize].0].value.spec.dtype == dtype => {}
                Op::Select(_, yes, no) => left.extend([*yes as usize, *no as usize]),
                Op::Guard(_, value, _) => left.push(*value as usize),
                _ => return false,
            }
        }
        true
    }

    /// The value of a member node at a place, in its compute type.
    pub(super) fn value(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        memo: &mut Memo,
        node: usize,
        place: PlaceId,
    ) -> Result<Val> {
        if let Some(v) = memo.computed.get(&(node, place)) {
            return Ok(v.clone());
        }
        let mut stack = vec![Frame { node, place, done: Vec::new() }];
        while let Some(mut frame) = stack.pop() {
            match self.advance(scope, places, memo, &mut frame)? {
                Read::Ready(v) => {
                    memo.computed.insert((frame.node, frame.place), v);
                }
                Read::First(node, place) => {
                    stack.push(frame);
                    stack.push(Frame { node, place, done: Vec::new() });
                }
            }
        }
        match memo.computed.get(&(node, place)) {
            Some(v) => Ok(v.clone()),
            None => bail!(Device, "codegen", "a value was not computed"),
        }
    }

    /// Goes on with a body until it is done or needs another node's value first.
    fn advance(&mut self, scope: &mut Scope, places: &mut Places, memo: &mut Memo, frame: &mut Frame) -> Result<Read> {
        let graph = self.graph;
        let node = &graph.nodes[frame.node];
        let Some(body) = node.rule.body() else {
            bail!(Device, "codegen", "{:?} is not a map", node.value);
        };
        if let Some(source) = &body.source
            && !self.own.contains_key(&frame.node)
        {
            self.own.insert(frame.node, Library::new(&[source]));
        }
        while frame.done.len() < body.ops.len() {
            let get = |done: &[Got], r: Ref| done[r as usize].clone();
            let got = match &body.ops[frame.done.len()] {
                Op::Input(k) => {
                    let (input, layout) = &node.inputs[*k as usize];
                    match self.read(scope, places, memo, (*input, layout), frame.place)? {
                        Read::Ready(v) => Got::Val(v),
                        first => return Ok(first),
                    }
                }
                Op::Load(k, coords) => {
                    let (input, layout) = &node.inputs[*k as usize];
                    let groups: SmallVec<[(Ix, usize); 4]> =
                        coords.iter().map(|&c| (get(&frame.done, c).ix(), 1)).collect();
                    let place = places.by_coords(layout.shape(), groups);
                    match self.read(scope, places, memo, (*input, layout), place)? {
                        Read::Ready(v) => Got::Val(v),
                        first => return Ok(first),
                    }
                }
                Op::Coord(d) => Got::Ix(self.coord(scope, places, frame.place, *d as usize)?),
                Op::Flat => Got::Ix(self.flat(scope, places, frame.place)?),
                Op::Param(k) => {
                    let text = self.param(frame.node, *k);
                    Got::Ix(Ix::scalar(text, false))
                }
                Op::Value(k, dtype) => {
                    let mut text = self.param(frame.node, *k);
                    let ty = library::compute(*dtype);
                    if ty == DType::Bool {
                        text = format!("({text} != 0u)");
                    }
                    Got::Val(Val { text: scope.bind(text), ty, four: false })
                }
                Op::Call(name, args) => {
                    let args: SmallVec<[Val; 3]> = args.iter().map(|&a| get(&frame.done, a).val()).collect();
                    Got::Val(self.call(scope, frame.node, name, &args)?)
                }
                Op::Index(op, a, b) => {
                    let (a, b) = (get(&frame.done, *a), get(&frame.done, *b));
                    index(scope, *op, a, b)
                }
                Op::Cast(dtype, x) => Got::Val(self.cast(scope, get(&frame.done, *x).val(), *dtype)?),
                Op::Bits(dtype, x) => {
                    let x = get(&frame.done, *x).val();
                    let ty = library::wgsl(*dtype, x.four);
                    Got::Val(Val {
                        text: scope.bind(format!("bitcast<{ty}>({})", x.text)),
                        ty: library::compute(*dtype),
                        four: x.four,
                    })
                }
                Op::Select(cond, yes, no) => {
                    let (c, y, n) = (get(&frame.done, *cond).val(), get(&frame.done, *yes), get(&frame.done, *no));
                    Got::Val(select(scope, &c, &y.val(), &n.val()))
                }
                Op::Guard(cond, value, code) => {
                    let cond = get(&frame.done, *cond).val();
                    let code = self.param(frame.node, *code);
                    let ok = if cond.four { format!("all({})", cond.text) } else { cond.text };
                    scope.line(&format!("if !{ok} {{ report({code}); }}"));
                    get(&frame.done, *value)
                }
            };
            frame.done.push(got);
        }
        let Some(last) = frame.done.pop() else {
            bail!(Device, "codegen", "{:?} has an empty body", node.value);
        };
        let value = last.val();
        // what stores or reads it rounds it, if need be
        Ok(Read::Ready(self.cast(scope, value, node.value.spec.dtype.compute())?))
    }

    fn read(
        &mut self,
        scope: &mut Scope,
        places: &mut Places,
        memo: &mut Memo,
        (input, layout): (usize, &Layout),
        place: PlaceId,
    ) -> Result<Read> {
        if Some(input) == self.group.anchor
            && let Some(v) = &self.seed
        {
            return Ok(Read::Ready(v.clone()));
        }
        // of this row, from wherever it is read: the scheduler joins no other reads
        if let Some(v) = self.rows.get(&input) {
            return Ok(Read::Ready(v.clone()));
        }
        let spec = &self.graph.nodes[input].value.spec;
        if self.group.members.contains(&input) {
            let at = if layout.is_identity(spec.numel()) {
                if places.list[place].shape == spec.shape {
                    place
                } else {
                    let flat = self.flat(scope, places, place)?;
                    places.at(&spec.shape, &flat)
                }
            } else {
                places.seen(&spec.shape, place, layout)
            };
            return Ok(match self.computed(scope, memo, input, at)? {
                Some(v) => Read::Ready(v),
                None => Read::First(input, at),
            });
        }
        if let Some(text) = self.across.read(places, place, input, layout) {
            return Ok(Read::Ready(Val { text, ty: library::compute(spec.dtype), four: true }));
        }
        let at = self.offset(scope, places, place, layout)?;
        if let Some(v) = memo.loaded.get(&(input, at.clone())) {
            return Ok(Read::Ready(v.clone()));
        }
        let value = self.load(scope, input, spec.dtype, &at)?;
        memo.loaded.insert((input, at), value.clone());
        Ok(Read::Ready(value))
    }

    fn call(&mut self, scope: &mut Scope, node: usize, name: &str, args: &[Val]) -> Result<Val> {
        let four = args.iter().any(|a| a.four);
        // a truth value among numbers does not choose the function
        let Some(ty) = args.iter().map(|a| a.ty).find(|&t| t != DType::Bool).or(args.first().map(|a| a.ty)) else {
            bail!(Device, "codegen", "{name} is called without arguments");
        };
        let own = self.own.get(&node);
        let function = self.instances.call(own, name, ty, four)?;
        let gives = own.and_then(|o| o.gives(name)).or_else(|| library::library(ty).gives(name)).unwrap_or(Gives::T);
        let text: Vec<String> = args.iter().map(|a| if four { a.widened() } else { a.text.clone() }).collect();
        let result = match gives {
            Gives::T => ty,
            Gives::B => DType::Bool,
            Gives::U => DType::U32,
            Gives::I if ty.size() == 8 => DType::I64,
            Gives::I => DType::I32,
        };
        Ok(Val { text: scope.bind(format!("{function}({})", text.join(", "))), ty: result, four })
    }
}

impl Places {
    /// The place at single coordinates; the same one if it was asked for before.
    pub fn by_coords(&mut self, shape: &[usize], groups: SmallVec<[(Ix, usize); 4]>) -> PlaceId {
        let same = |kind: &Kind| matches!(kind, Kind::Groups(g) if *g == groups);
        match self.list.iter().position(|p| p.shape[..] == *shape && same(&p.kind)) {
            Some(id) => id,
            None => self.add(shape, Kind::Groups(groups)),
        }
    }
}

fn select(scope: &mut Scope, cond: &Val, yes: &Val, no: &Val) -> Val {
    let four = cond.four || yes.four || no.four;
    let wide = |v: &Val| if four { v.widened() } else { v.text.clone() };
    let text = format!("select({}, {}, {})", wide(no), wide(yes), wide(cond));
    Val { text: scope.bind(text), ty: yes.ty, four }
}

fn index(scope: &mut Scope, op: IndexOp, a: Got, b: Got) -> Got {
    if op == IndexOp::Add {
        return Got::Ix(scope.bind_ix(a.ix().add(&b.ix())));
    }
    if let (IndexOp::Sub, Got::Ix(Ix::Linear { text, .. }), Got::Ix(Ix::Scalar { text: by, .. })) = (op, &a, &b) {
        return Got::Ix(scope.bind_ix(Ix::Linear { text: format!("({text} - {by})"), m4: false }));
    }
    let (a, b) = (a.val(), b.val());
    let four = a.four || b.four;
    let wide = |v: &Val| if four { v.widened() } else { v.text.clone() };
    let (x, y) = (wide(&a), wide(&b));
    let text = match op {
        IndexOp::Add | IndexOp::Sub => format!("({x} - {y})"),
        IndexOp::Mul => format!("({x} * {y})"),
        IndexOp::Div => format!("({x} / {y})"),
        IndexOp::Rem => format!("({x} % {y})"),
        IndexOp::Min => format!("min({x}, {y})"),
        IndexOp::Lt => format!("({x} < {y})"),
        IndexOp::Eq => format!("({x} == {y})"),
        // on vectors too, & of truth values is element by element
        IndexOp::And => format!("({x} & {y})"),
    };
    let text = scope.bind(text);
    match op {
        IndexOp::Lt | IndexOp::Eq | IndexOp::And => Got::Val(Val { text, ty: DType::Bool, four }),
        _ if four => Got::Ix(Ix::Vec(text)),
        _ => Got::Ix(Ix::scalar(text, false)),
    }
}

//! `Engine`: the one door that makes nodes, and the one place that runs them.

use super::body::Param;
use super::cache::Cache;
use super::faults::Messages;
use super::node::{Input, Node, Primitive, Spec, Stored, Value};
use super::pending::Pending;
use super::plan::{Held, Options, Plan};
use super::schedule::padded_bytes;
use super::walk::Walk;
use super::watch::Watch;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gpu::{Buffer, Counters, Facts, Gpu, Origin, Reading, Wanted};
use crate::shape::checked_numel;
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Makes nodes and computes them.
///
/// ```
/// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Body, Engine, Input, Map, Spec}};
/// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
/// let spec = Spec::new(&[2], DType::I32);
/// let x = engine.upload("x", spec.clone(), bytemuck::cast_slice(&[3i32, -4]))?;
/// let abs = std::sync::Arc::new(Map { name: "abs".into(), body: Body::call_all("op_abs", 1) });
/// let y = engine.node(abs, spec, [Input::whole(&x, &[2])].into_iter().collect(), Default::default())?;
/// assert_eq!(engine.read(&y)?, bytemuck::cast_slice::<i32, u8>(&[3, 4]));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    gpu: Gpu,
    fuse: AtomicBool,
    pending: Mutex<Pending>,
    watch: Watch,
    running: Mutex<Running>,
    /// Whoever computes what is pending: others wait, for it is no longer listed and not yet submitted.
    relieving: Mutex<()>,
    plans: AtomicU64,
    messages: Mutex<Messages>,
    kernels: Held,
}

/// Dimensions of a value at most: bodies name coordinates, and the numbers of a place, by a byte.
const RANK: usize = 128;

/// How often computing a part of what waits may fail before the rest is left for later.
const TRIES: usize = 64;

/// What running needs, one run at a time.
#[derive(Debug)]
struct Running {
    walk: Walk,
    cache: Cache,
    /// Those of the device, with the pace of the plans that are kept.
    facts: Facts,
}

impl Running {
    /// Where runs are cut is part of a plan: with another pace those that are kept are of no use.
    fn keep_pace(&mut self, gpu: &Gpu) {
        let run_work = gpu.pace().run_work();
        if self.facts.run_work != run_work {
            self.facts.run_work = run_work;
            self.cache.forget();
        }
    }
}

/// Locks, whoever panicked before: what the locks guard is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is learned while values are computed that cannot be computed together.
struct Salvage {
    /// The first error.
    first: Option<Error>,
    /// Whether a value cannot be computed, as far as that was looked at.
    bad: HashMap<u64, bool>,
    /// How many failures are left before the rest is given up.
    tries: usize,
}

impl Default for Salvage {
    fn default() -> Self {
        Self { first: None, bad: HashMap::default(), tries: TRIES }
    }
}

impl Salvage {
    fn note(&mut self, error: Error) {
        self.first.get_or_insert(error);
    }

    /// Whether values may fare better alone; counts the failure.
    fn goes_on(&mut self, error: &Error) -> bool {
        self.tries = self.tries.saturating_sub(1);
        self.tries > 0 && !matches!(error.kind(), ErrorKind::DeviceLost | ErrorKind::Timeout)
    }

    /// Whether a value is, or is computed from, one that could not be computed: whoever holds that wants it stored.
    fn depends(&mut self, value: &Value) -> bool {
        let mut stack: Vec<(Value, bool)> = vec![(value.clone(), false)];
        while let Some((at, expanded)) = stack.pop() {
            if self.bad.contains_key(&at.id) || at.get().is_some() {
                continue;
            }
            let inputs = at.inputs();
            if expanded {
                let bad = inputs.iter().any(|i| self.bad.get(&i.value.id) == Some(&true));
                drop(inputs);
                self.bad.insert(at.id, bad);
            } else {
                let next: Vec<(Value, bool)> = inputs.iter().map(|i| (i.value.clone(), false)).collect();
                drop(inputs);
                stack.push((at, true));
                stack.extend(next);
            }
        }
        self.bad.get(&value.id) == Some(&true)
    }
}

impl Engine {
    /// An engine over an open device. `CALOR_FUSION=0` makes it run every operation alone, `CALOR_PLAN_CACHE=0` plan
    /// every run anew.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// assert_eq!(engine.counters().plans, 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn new(gpu: Gpu) -> Self {
        let on = |name| std::env::var(name).map_or(true, |v| v != "0");
        let cache = if on("CALOR_PLAN_CACHE") { Cache::default() } else { Cache::off() };
        let facts = gpu.facts().clone();
        Self {
            gpu,
            fuse: AtomicBool::new(on("CALOR_FUSION")),
            pending: Mutex::default(),
            watch: Watch::default(),
            running: Mutex::new(Running { walk: Walk::default(), cache, facts }),
            relieving: Mutex::default(),
            plans: AtomicU64::new(0),
            messages: Mutex::default(),
            kernels: Held::default(),
        }
    }

    /// The device.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// assert!(Engine::new(gpu.clone()).gpu().is(&gpu));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether operations may share kernels.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// engine.set_fusion(false);
    /// assert!(!engine.fuses());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn fuses(&self) -> bool {
        self.fuse.load(Ordering::Relaxed)
    }

    /// Lets operations share kernels, or not.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// engine.set_fusion(true);
    /// assert!(engine.fuses());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_fusion(&self, on: bool) {
        self.fuse.store(on, Ordering::Relaxed);
    }

    /// Keeps plans for runs of equal structure, or plans each run anew.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// engine.set_plan_cache(false);
    /// assert_eq!(engine.counters().plans, 0);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn set_plan_cache(&self, on: bool) {
        lock(&self.running).cache = if on { Cache::default() } else { Cache::off() };
    }

    /// The device's counts, with the plans made.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// engine.upload("x", Spec::new(&[4], DType::U8), &[1, 2, 3, 4])?;
    /// assert_eq!(engine.counters().uploads, 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn counters(&self) -> Counters {
        Counters { plans: self.plans.load(Ordering::Relaxed), ..self.gpu.counters() }
    }

    /// The one door: a pending node. Refuses dtypes the adapter cannot hold and shapes it cannot index.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Body, Engine, Input, Map, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[1], DType::F32), bytemuck::bytes_of(&4f32))?;
    /// let root = std::sync::Arc::new(Map { name: "sqrt".into(), body: Body::call_all("op_sqrt", 1) });
    /// let y = engine.node(root, x.spec.clone(), [Input::whole(&x, &[1])].into_iter().collect(), Default::default())?;
    /// assert_eq!(engine.read(&y)?, bytemuck::bytes_of(&2f32));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn node(
        &self,
        prim: Arc<dyn Primitive>,
        spec: Spec,
        inputs: SmallVec<[Input; 2]>,
        params: SmallVec<[Param; 2]>,
    ) -> Result<Value> {
        // a value that is read through several views is bound once
        let first = |(i, input): &(usize, &Input)| !inputs[..*i].iter().any(|o| Arc::ptr_eq(&o.value, &input.value));
        let most = self.gpu.facts().max_bindings as usize;
        let values = if inputs.len() + 2 > most { inputs.iter().enumerate().filter(first).count() } else { 0 };
        if values + 2 > most {
            bail!(Unsupported, prim.name(), "{values} inputs exceed the adapter's bindings");
        }
        self.admit(prim, spec, inputs, params)
    }

    /// A pending node that any number of inputs may have.
    pub(super) fn admit(
        &self,
        prim: Arc<dyn Primitive>,
        spec: Spec,
        inputs: SmallVec<[Input; 2]>,
        params: SmallVec<[Param; 2]>,
    ) -> Result<Value> {
        self.gpu.alive(prim.name())?;
        self.check(prim.name(), &spec)?;
        let (work, pace) = (prim.work(&inputs, &spec), self.gpu.pace());
        let value = Node::pending(prim, spec, inputs, params);
        self.watch.note(&value);
        let full = {
            let mut pending = lock(&self.pending);
            pending.add(&value, work, &pace);
            pending.is_full(&pace)
        };
        if full {
            self.relieve();
        }
        Ok(value)
    }

    /// No run begins or goes on while this is held.
    pub(super) fn between_runs(&self) -> impl Drop + '_ {
        lock(&self.running)
    }

    /// Nodes made from now on are kept, to be looked at.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn check(&self, op: &str, spec: &Spec) -> Result<()> {
        let facts = self.gpu.facts();
        let lacks = match spec.dtype {
            DType::I64 => !facts.i64,
            DType::F64 => !facts.f64,
            _ => false,
        };
        if lacks {
            bail!(DType, op, "{} is not available on adapter {:?}", spec.dtype, facts.name);
        }
        if spec.shape.len() > RANK {
            bail!(Unsupported, op, "{} dimensions, where {RANK} are the most", spec.shape.len());
        }
        checked_numel(op, &spec.shape)?;
        Ok(())
    }

    /// A value with these bytes, elements row by row.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[3], DType::U8), &[1, 2, 3])?;
    /// assert_eq!(engine.read(&x)?, [1, 2, 3]);
    /// assert!(engine.upload("x", Spec::new(&[3], DType::U8), &[1, 2]).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn upload(&self, op: &str, spec: Spec, bytes: &[u8]) -> Result<Value> {
        self.check(op, &spec)?;
        if spec.bytes() != bytes.len() as u64 {
            bail!(
                Shape,
                op,
                "shape {:?} of {} needs {} bytes, got {}",
                spec.shape,
                spec.dtype,
                spec.bytes(),
                bytes.len()
            );
        }
        if bytes.is_empty() {
            return Ok(Node::stored(spec, Stored::Nowhere));
        }
        let padded = padded_bytes(&spec) as usize;
        let much = lock(&self.pending).holds_much(padded as u64, &self.gpu.pace());
        if much {
            // here no operation is half done, so this is a good moment
            self.relieve();
        }
        let buffer = if padded == bytes.len() {
            self.gpu.upload(bytes)?
        } else {
            let mut whole = bytes.to_vec();
            whole.resize(padded, 0);
            self.gpu.upload(&whole)?
        };
        lock(&self.pending).uploaded(buffer.bytes());
        let origin = Origin { op: op.into(), shape: spec.shape.clone(), dtype: spec.dtype };
        self.gpu.name_buffers(vec![(buffer.clone(), origin)]);
        Ok(Node::stored(spec, Stored::Buffer(buffer)))
    }

    /// The plan that would compute `roots` now.
    ///
    /// ```
    /// # use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Body, Engine, Input, Map, Spec}};
    /// # let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// # let x = engine.upload("x", Spec::new(&[1], DType::F32), bytemuck::bytes_of(&4f32))?;
    /// # let root = std::sync::Arc::new(Map { name: "sqrt".into(), body: Body::call_all("op_sqrt", 1) });
    /// let y = engine.node(root, x.spec.clone(), [Input::whole(&x, &[1])].into_iter().collect(), Default::default())?;
    /// assert_eq!(engine.plan(&[y])?.recording.dispatches().count(), 1);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn plan(&self, roots: &[Value]) -> Result<Plan> {
        // a run stores values and drops their inputs: not while they are looked at
        let mut running = lock(&self.running);
        running.keep_pace(&self.gpu);
        self.plan_of(&Walk::new(roots), &running.facts)
    }

    /// That plan as a picture.
    ///
    /// ```
    /// # use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Body, Engine, Input, Map, Spec}};
    /// # let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// # let x = engine.upload("x", Spec::new(&[1], DType::F32), bytemuck::bytes_of(&4f32))?;
    /// # let root = std::sync::Arc::new(Map { name: "sqrt".into(), body: Body::call_all("op_sqrt", 1) });
    /// let y = engine.node(root, x.spec.clone(), [Input::whole(&x, &[1])].into_iter().collect(), Default::default())?;
    /// assert!(engine.dot(&[y])?.starts_with("digraph"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn dot(&self, roots: &[Value]) -> Result<String> {
        let mut running = lock(&self.running);
        running.keep_pace(&self.gpu);
        super::dot(&Walk::new(roots), &running.facts, self.options())
    }

    fn options(&self) -> Options {
        Options { fuse: self.fuses() }
    }

    fn plan_of(&self, walk: &Walk, facts: &Facts) -> Result<Plan> {
        Plan::new(walk, facts, self.options(), &self.kernels)
    }

    /// Computes and submits `roots`, without waiting.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[4], DType::U8), &[1, 2, 3, 4])?;
    /// engine.run(&[x.clone()])?;
    /// assert_eq!(engine.read(&x)?, [1, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn run(&self, roots: &[Value]) -> Result<()> {
        self.run_for(roots, false).map(drop)
    }

    /// The same, and begins to read the only root with it where that is possible.
    fn run_for(&self, roots: &[Value], reads: bool) -> Result<Option<Reading>> {
        let mut outcome = self.run_once(roots, reads);
        if matches!(&outcome, Err(e) if e.kind() == ErrorKind::OutOfMemory) {
            // what waits may hold what is missing
            self.relieve();
            outcome = self.run_once(roots, reads);
        }
        if outcome.is_ok() && self.pins_much() {
            self.relieve();
        }
        outcome
    }

    /// Whether what waits keeps much memory that nobody else holds.
    fn pins_much(&self) -> bool {
        let pace = self.gpu.pace();
        if !lock(&self.pending).may_pin_much(&pace) {
            return false;
        }
        // a run counts who holds what
        let _unmoved = self.between_runs();
        lock(&self.pending).pins_much(&pace)
    }

    fn run_once(&self, roots: &[Value], reads: bool) -> Result<Option<Reading>> {
        self.gpu.alive("run")?;
        let mut running = lock(&self.running);
        let roots: SmallVec<[Value; 4]> = roots.iter().filter(|r| r.get().is_none()).cloned().collect();
        if roots.is_empty() {
            return Ok(None);
        }
        running.keep_pace(&self.gpu);
        let Running { walk, cache, facts } = &mut *running;
        walk.visit(&roots);
        let read = roots.first().filter(|_| reads).and_then(|root| walk.number(root));
        drop(roots);
        let outcome = self.run_walk(walk, cache, facts, read);
        walk.clear();
        outcome
    }

    fn run_walk(&self, walk: &Walk, cache: &mut Cache, facts: &Facts, read: Option<usize>) -> Result<Option<Reading>> {
        let planning = self.gpu.span("plan");
        let plan = cache.plan(walk, self.options(), || {
            self.plans.fetch_add(1, Ordering::Relaxed);
            self.plan_of(walk, facts)
        })?;
        let tainted = walk.nodes.iter().any(|n| n.value.taint().is_some());
        let faults = plan.recording.dispatches().any(|d| d.kernel.faults);
        let reach = (tainted || faults).then(|| plan.reach(walk));
        let marks = match &reach {
            Some(reach) if faults => self.gpu.mark_faults(reach.count()),
            _ => Vec::new(),
        };
        plan.fill(walk, |node, error| {
            let mark = reach.as_ref().and_then(|reach| marks.get(reach.class(node)));
            mark.map_or(0, |mark| lock(&self.messages).code(error, mark))
        });
        let mut taints = reach.map(|reach| reach.taints(walk, &marks)).unwrap_or_default().into_iter();
        drop(planning);
        let mut bound: Vec<Option<Buffer>> = vec![None; plan.recording.slots.len()];
        for (slot, node) in &plan.inputs {
            bound[*slot as usize] = walk.nodes[*node].value.buffer().cloned();
        }
        let wanted = plan.outputs.iter().find(|output| read == Some(output.node)).map(|output| Wanted {
            slot: output.slot,
            offset: if output.owner == output.node { 0 } else { output.offset },
            bytes: walk.nodes[output.node].value.spec.bytes(),
        });
        let (buffers, reading) = self.gpu.submit_marked(&plan.recording, bound, &marks, wanted)?;
        for node in &plan.empty {
            walk.nodes[*node].value.store(Stored::Nowhere);
        }
        let mut named = Vec::with_capacity(plan.outputs.len());
        let mut stored = 0;
        for output in &plan.outputs {
            let value = &walk.nodes[output.node].value;
            if output.owner == output.node {
                stored += padded_bytes(&value.spec);
            }
            let buffer = buffers.get(output.slot as usize).and_then(Option::as_ref);
            let range = |b: &Buffer| match output.owner == output.node {
                true => Some(b.clone()),
                false => b.range(b.offset() + output.offset, padded_bytes(&value.spec)),
            };
            let Some(buffer) = buffer.and_then(range) else { bail!(Device, "run", "{value:?} was not computed") };
            if output.names {
                let owner = &walk.nodes[output.owner].value;
                let Spec { shape, dtype } = owner.spec.clone();
                named.push((buffer.clone(), Origin { op: owner.prim.name().into(), shape, dtype }));
            }
            value.set_taint(taints.next().flatten());
            value.store(Stored::Buffer(buffer));
        }
        self.gpu.name_buffers(named);
        lock(&self.pending).stored(stored);
        Ok(reading)
    }

    /// Computes and submits every pending value that someone still holds, without waiting. Values made of nothing
    /// (constants, ranges, random numbers) wait for a reader. What cannot be computed keeps nothing else from it; the
    /// first error is told; memory that is enough for a part at a time is enough.
    ///
    /// ```
    /// # use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Body, Engine, Input, Map, Spec}};
    /// # let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// # let x = engine.upload("x", Spec::new(&[1], DType::F32), bytemuck::bytes_of(&4f32))?;
    /// # let root = std::sync::Arc::new(Map { name: "sqrt".into(), body: Body::call_all("op_sqrt", 1) });
    /// let y = engine.node(root, x.spec.clone(), [Input::whole(&x, &[1])].into_iter().collect(), Default::default())?;
    /// engine.flush()?;
    /// assert_eq!(engine.counters().plans, 1);
    /// assert_eq!(engine.read(&y)?, bytemuck::bytes_of(&2f32));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.compute_pending(true)
    }

    /// Computes what waits because it has become much. Whoever is at work has nothing to do with what fails: that waits
    /// for its reader, or for who asks for everything.
    fn relieve(&self) {
        if let Err(error) = self.compute_pending(false) {
            log::debug!("what waits could not be computed: {error}");
        }
    }

    fn compute_pending(&self, everything: bool) -> Result<()> {
        let _relieving = lock(&self.relieving);
        // not amid a run: that has seen who holds what
        let running = lock(&self.running);
        let (waiting, aside) = {
            let mut pending = lock(&self.pending);
            (pending.take(everything), pending.failed())
        };
        let live: Vec<Value> = waiting.iter().filter_map(Weak::upgrade).collect();
        let others: Vec<Value> = aside.iter().filter_map(Weak::upgrade).collect();
        let mut inside: HashMap<u64, usize> = HashMap::default();
        for value in live.iter().chain(&others) {
            for input in value.inputs().iter() {
                *inside.entry(input.value.id).or_default() += 1;
            }
        }
        drop(others);
        let wanted = |v: &&Value| {
            let held = Arc::strong_count(v) > 1 + inside.get(&v.id).copied().unwrap_or(0);
            held && v.get().is_none() && (!v.inputs().is_empty() || v.spec.numel() == 0)
        };
        let roots: Vec<Value> = live.iter().filter(wanted).cloned().collect();
        // the references of this list must not count as holders
        drop(live);
        drop(running);
        let mut salvage = Salvage::default();
        match self.run_once(&roots, false) {
            Err(error) if salvage.goes_on(&error) && roots.len() > 1 => {
                if error.kind() != ErrorKind::OutOfMemory {
                    salvage.note(error);
                }
                self.salvage(&roots, &mut salvage);
            }
            Err(error) => salvage.note(error),
            Ok(_) => {}
        }
        drop(roots);
        match salvage.first {
            Some(error) => {
                // what was not computed waits for the next try
                lock(&self.pending).put_aside(waiting);
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Computes what can be of values that cannot be computed together: halves of them, older ones first, down to
    /// single ones.
    fn salvage(&self, roots: &[Value], salvage: &mut Salvage) {
        let (older, newer) = roots.split_at(roots.len() / 2);
        for half in [older, newer] {
            let possible: Vec<Value> = half.iter().filter(|v| !salvage.depends(v)).cloned().collect();
            if possible.is_empty() || salvage.tries == 0 {
                continue;
            }
            match self.run_once(&possible, false) {
                Ok(_) => {}
                Err(error) if !salvage.goes_on(&error) => {
                    salvage.tries = 0;
                    salvage.note(error);
                }
                Err(error) => match &possible[..] {
                    [one] => {
                        // what was looked at before may be computed from it
                        salvage.bad.retain(|_, bad| *bad);
                        salvage.bad.insert(one.id, true);
                        salvage.note(error);
                    }
                    many => self.salvage(many, salvage),
                },
            }
        }
    }

    /// The errors that the device reported since the last look, if any, as one.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// assert!(Engine::new(Gpu::open(&AdapterChoice::from_env()?)?).check_faults().is_ok());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn check_faults(&self) -> Result<()> {
        let codes = self.gpu.take_faults()?;
        let Some((first, more)) = codes.split_first() else { return Ok(()) };
        let error = lock(&self.messages).error(*first);
        Err(if more.is_empty() { error } else { error.context(format!("and {} more errors", more.len())) })
    }

    /// `Err` where a value was computed from an index out of range or the like, as often as it is read, and where the
    /// device reported anything that nobody was told.
    fn check_value(&self, value: &Value) -> Result<()> {
        match value.fault() {
            Some(code) => {
                self.gpu.told(code);
                Err(lock(&self.messages).error(code))
            }
            None => self.check_faults(),
        }
    }

    /// The bytes of a value's elements, row by row; waits for them.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[2], DType::U8), &[7, 8])?;
    /// assert_eq!(engine.read(&x)?, [7, 8]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn read(&self, value: &Value) -> Result<Vec<u8>> {
        self.read_as(value, <[u8]>::to_vec)
    }

    /// What `take` makes of the bytes of a value's elements, row by row; waits for them.
    pub(crate) fn read_as<R>(&self, value: &Value, mut take: impl FnMut(&[u8]) -> R) -> Result<R> {
        let taken = self.peek_as(value, &mut take)?;
        self.check_value(value)?;
        Ok(taken)
    }

    /// `read_as` that tells nobody of faults, for which whoever reads next is told.
    pub(crate) fn peek_as<R>(&self, value: &Value, mut take: impl FnMut(&[u8]) -> R) -> Result<R> {
        let taken = match self.begin_read(value)? {
            Some(reading) => self.gpu.end_read(reading, &mut take)?,
            None => None,
        };
        Ok(taken.unwrap_or_else(|| take(&[])))
    }

    /// Computes a value and begins to read it: in one submission where something is left to compute.
    fn begin_read(&self, value: &Value) -> Result<Option<Reading>> {
        match (self.run_for(std::slice::from_ref(value), true)?, value.get()) {
            (None, Some(Stored::Buffer(b))) => Ok(Some(self.gpu.begin_read(&[(b.clone(), 0, value.spec.bytes())])?)),
            (reading, _) => Ok(reading),
        }
    }

    /// `read` without blocking the thread.
    ///
    /// ```
    /// use calor::{DType, gpu::{AdapterChoice, Gpu}, graph::{Engine, Spec}};
    /// let engine = Engine::new(Gpu::open(&AdapterChoice::from_env()?)?);
    /// let x = engine.upload("x", Spec::new(&[4], DType::U8), &[1, 2, 3, 4])?;
    /// assert_eq!(pollster::block_on(engine.read_async(&x))?, [1, 2, 3, 4]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn read_async(&self, value: &Value) -> Result<Vec<u8>> {
        self.read_as_async(value, <[u8]>::to_vec).await
    }

    /// `read_as` without blocking the thread.
    pub(crate) async fn read_as_async<R>(&self, value: &Value, mut take: impl FnMut(&[u8]) -> R) -> Result<R> {
        let taken = match self.begin_read(value)? {
            Some(reading) => self.gpu.end_read_async(reading, &mut take).await?,
            None => None,
        };
        self.check_value(value)?;
        Ok(taken.unwrap_or_else(|| take(&[])))
    }

    /// Computes everything pending and waits until the device is done.
    ///
    /// ```
    /// use calor::{gpu::{AdapterChoice, Gpu}, graph::Engine};
    /// assert!(Engine::new(Gpu::open(&AdapterChoice::from_env()?)?).synchronize().is_ok());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn synchronize(&self) -> Result<()> {
        self.flush()?;
        self.gpu.synchronize()?;
        self.check_faults()
    }
}

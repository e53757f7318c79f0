//! Compiled kernels and the bind groups they run with.

use std::borrow::Cow;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet, FxHasher};
use smallvec::SmallVec;

use super::Gpu;
use super::health::{lock, scoped};
use super::inject::Point;
use super::profile::clock;
use super::recording::{Access, Kernel};
use crate::error::{Error, ErrorKind, Result, bail};

/// Entries by address before those of dead kernels are swept out.
const SWEEP_ABOVE: usize = 1024;

/// Kernels kept by source before those that no living plan uses are dropped, oldest first, down to half.
const KEPT: usize = 1024;

/// Bind groups kept before old ones are dropped, and for how many submissions an unused one counts as young.
const GROUPS: usize = 8192;
const YOUNG: u64 = 32;

/// Stack of a compiling thread: shader front ends recurse.
#[cfg(not(target_arch = "wasm32"))]
const STACK: usize = 16 << 20;

/// What the bindings of a kernel look like.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Signature {
    access: SmallVec<[Access; 8]>,
    param_bytes: u64,
    faults: bool,
}

impl Signature {
    fn of(kernel: &Kernel) -> Self {
        Self { access: SmallVec::from_slice(&kernel.access), param_bytes: kernel.param_bytes(), faults: kernel.faults }
    }
}

/// The layouts of one signature.
pub(super) struct Layout {
    pub id: u32,
    pub storage: wgpu::BindGroupLayout,
    /// Group 1, absent when a kernel has neither parameters nor faults.
    pub extra: Option<wgpu::BindGroupLayout>,
    pipeline: wgpu::PipelineLayout,
}

/// A kernel ready to run.
pub(super) struct Compiled {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: Arc<Layout>,
}

/// Filled by the first who needs it while the others wait for that one kernel only.
type Slot = Arc<Mutex<Option<Result<Arc<Compiled>>>>>;

struct Index {
    by_address: HashMap<usize, (Weak<Kernel>, Arc<Compiled>)>,
    by_source: HashMap<String, SmallVec<[Entry; 1]>>,
    sweep_above: usize,
    /// Entries by source that are always kept, and how many there may be before idle ones are dropped.
    most: usize,
    drop_above: usize,
    clock: u64,
}

/// A kernel by source, and when it was asked for last.
struct Entry {
    signature: Signature,
    slot: Slot,
    used: u64,
}

impl Entry {
    /// Whether nothing else holds it: neither a thread that compiles it, nor a plan, nor a recording.
    fn idle(&self) -> bool {
        Arc::strong_count(&self.slot) == 1
            && self.slot.try_lock().is_ok_and(|held| match &*held {
                Some(Ok(compiled)) => Arc::strong_count(compiled) == 1,
                _ => true,
            })
    }
}

/// The kernels compiled so far, but for those that nothing has used for long.
#[derive(Default)]
pub(super) struct Kernels {
    index: Mutex<Index>,
    layouts: Mutex<HashMap<Signature, Arc<Layout>>>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            by_address: HashMap::default(),
            by_source: HashMap::default(),
            sweep_above: SWEEP_ABOVE,
            most: KEPT,
            drop_above: KEPT,
            clock: 0,
        }
    }
}

impl Index {
    fn known(&self, kernel: &Arc<Kernel>) -> Option<Arc<Compiled>> {
        // The weak handle keeps the address from being given to another kernel.
        self.by_address.get(&(Arc::as_ptr(kernel) as usize)).map(|(_, compiled)| compiled.clone())
    }

    /// Forgets kernels that were dropped; their pipelines stay by source.
    fn sweep(&mut self) {
        self.by_address.retain(|_, (weak, _)| weak.strong_count() > 0);
        self.sweep_above = SWEEP_ABOVE.max(self.by_address.len() * 2);
    }

    /// Drops idle entries, oldest first, where there are more than may be.
    fn make_room(&mut self) {
        if self.by_source.len() < self.drop_above {
            return;
        }
        self.sweep();
        let mut idle: Vec<u64> = self.by_source.values().flatten().filter(|e| e.idle()).map(|e| e.used).collect();
        idle.sort_unstable();
        if let Some(&last) = idle.get((self.most / 2).min(idle.len()).saturating_sub(1)) {
            for entries in self.by_source.values_mut() {
                entries.retain(|e| e.used > last || !e.idle());
            }
            self.by_source.retain(|_, entries| !entries.is_empty());
        }
        self.drop_above = self.most.max(self.by_source.len() + self.most / 2);
    }
}

impl Kernels {
    fn slot(&self, kernel: &Kernel) -> Slot {
        let signature = Signature::of(kernel);
        let mut index = lock(&self.index);
        index.clock += 1;
        let used = index.clock;
        if !index.by_source.contains_key(&kernel.source) {
            index.make_room();
            index.by_source.insert(kernel.source.clone(), SmallVec::new());
        }
        let Some(entries) = index.by_source.get_mut(&kernel.source) else { return Slot::default() };
        if let Some(entry) = entries.iter_mut().find(|e| e.signature == signature) {
            entry.used = used;
            return entry.slot.clone();
        }
        let slot = Slot::default();
        entries.push(Entry { signature, slot: slot.clone(), used });
        slot
    }

    fn remember(&self, kernel: &Arc<Kernel>, compiled: &Arc<Compiled>) {
        let mut index = lock(&self.index);
        if index.by_address.len() >= index.sweep_above {
            index.sweep();
        }
        index.by_address.insert(Arc::as_ptr(kernel) as usize, (Arc::downgrade(kernel), compiled.clone()));
    }
}

impl Gpu {
    /// Compiles a kernel now, so that its first run does not wait for it. Threads may compile side by side.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu, Kernel};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// let kernel = |source: &str| {
    ///     let (label, source) = ("example".into(), source.into());
    ///     std::sync::Arc::new(Kernel { label, source, access: vec![], param_words: 0, faults: false, first: None })
    /// };
    /// assert!(gpu.compile(&kernel("@compute @workgroup_size(1) fn main() {}")).is_ok());
    /// assert!(gpu.compile(&kernel("no shader")).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn compile(&self, kernel: &Arc<Kernel>) -> Result<()> {
        self.0.health.check("compile")?;
        self.compiled(kernel).map(drop)
    }

    pub(super) fn compiled(&self, kernel: &Arc<Kernel>) -> Result<Arc<Compiled>> {
        let kernels = &self.0.kernels;
        if let Some(compiled) = lock(&kernels.index).known(kernel) {
            return Ok(compiled);
        }
        let slot = kernels.slot(kernel);
        let mut entry = lock(&slot);
        let outcome = match &*entry {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = self.spare(|| self.build(kernel));
                // A refused shader stays refused; lack of memory may pass.
                if outcome.as_ref().map_or_else(|e| e.kind() == ErrorKind::Device, |_| true) {
                    *entry = Some(outcome.clone());
                }
                outcome
            }
        };
        drop(entry);
        let compiled = outcome?;
        kernels.remember(kernel, &compiled);
        Ok(compiled)
    }

    /// The kernels of a recording, new ones compiled side by side.
    pub(super) fn compile_all<'a>(&self, all: impl Iterator<Item = &'a Arc<Kernel>>) -> Result<Vec<Arc<Compiled>>> {
        let mut ready: Vec<Option<Arc<Compiled>>> = Vec::new();
        let mut missing: Vec<(usize, &Arc<Kernel>)> = Vec::new();
        let index = lock(&self.0.kernels.index);
        for (i, kernel) in all.enumerate() {
            let known = index.known(kernel);
            if known.is_none() {
                missing.push((i, kernel));
            }
            ready.push(known);
        }
        drop(index);
        #[cfg(not(target_arch = "wasm32"))]
        self.compile_aside(&missing);
        for (i, kernel) in missing {
            ready[i] = Some(self.compiled(kernel)?);
        }
        Ok(ready.into_iter().flatten().collect())
    }

    /// Compiles on threads. Errors are kept with the kernel and met again by whoever asks for it.
    #[cfg(not(target_arch = "wasm32"))]
    fn compile_aside(&self, missing: &[(usize, &Arc<Kernel>)]) {
        if missing.is_empty() {
            return;
        }
        let _span = self.span("wait");
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let work = || {
                    while let Some((_, kernel)) = missing.get(next.fetch_add(1, Relaxed)) {
                        if self.compiled(kernel).is_err() {
                            break;
                        }
                    }
                };
                // Without a thread the caller compiles by itself.
                if std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
        });
    }

    fn build(&self, kernel: &Kernel) -> Result<Arc<Compiled>> {
        self.may_fail(Point::Compilation, "compile")?;
        let (_span, start) = (self.span("compile"), clock());
        let facts = &self.0.facts;
        let (label, device) = (kernel.label.as_str(), &self.0.device);
        let bindings = kernel.access.len() + usize::from(kernel.faults);
        if bindings > facts.max_bindings as usize {
            bail!(
                Unsupported,
                "compile",
                "kernel `{label}` binds {bindings} buffers, the limit is {}",
                facts.max_bindings
            );
        }
        if kernel.param_bytes() > u64::from(facts.max_uniform_bytes) {
            let (bytes, most) = (kernel.param_bytes(), facts.max_uniform_bytes);
            bail!(Unsupported, "compile", "kernel `{label}` has {bytes} bytes of parameters, the limit is {most}");
        }
        if let Some(dir) = &self.0.choice.record
            && let Err(e) = record(dir, kernel)
        {
            bail!(Io, "compile", "kernel `{label}` cannot be recorded in {}: {e}", dir.display());
        }
        let named = |e: Error| Error::new(e.kind(), "compile", format!("kernel `{label}`: {}", e.message()));
        let layout = self.layout(Signature::of(kernel)).map_err(named)?;
        let module = scoped(device, "compile", || {
            device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(text_for(&facts.backend, &kernel.source)),
            })
        })
        .map_err(named)?;
        let pipeline = scoped(device, "compile", || {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&layout.pipeline),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.0.kept.as_ref().map(super::kept::Kept::used),
            })
        })
        .map_err(named)?;
        self.0.health.alive("compile")?;
        self.0.pool.tally.pipelines.fetch_add(1, Relaxed);
        log::debug!("compiled `{label}` in {:.1} ms", (clock() - start) as f64 / 1e6);
        Ok(Arc::new(Compiled { pipeline, layout }))
    }

    fn layout(&self, signature: Signature) -> Result<Arc<Layout>> {
        let mut layouts = lock(&self.0.kernels.layouts);
        if let Some(layout) = layouts.get(&signature) {
            return Ok(layout.clone());
        }
        let id = layouts.len() as u32;
        let layout = Arc::new(scoped(&self.0.device, "compile", || describe(&self.0.device, &signature, id))?);
        layouts.insert(signature, layout.clone());
        Ok(layout)
    }
}

/// What stands before a kernel with subgroup operations where a browser compiles it. Browsers demand the first line, which
/// naga refuses; the second is for lanes that agree by construction, which no analysis can see.
const BROWSER_SUBGROUPS: &str = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";

/// A kernel's text as the front end of a backend takes it.
fn text_for<'a>(backend: &str, source: &'a str) -> Cow<'a, str> {
    let subgroups = || source.contains("subgroup");
    match backend == "browser" && subgroups() {
        true => Cow::Owned(format!("{BROWSER_SUBGROUPS}{source}")),
        false => Cow::Borrowed(source),
    }
}

/// Writes a kernel's text under its hash, in one step: several processes may record into one folder.
fn record(dir: &Path, kernel: &Kernel) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = FxHasher::default();
    kernel.source.hash(&mut hasher);
    let path = dir.join(format!("{:016x}.wgsl", hasher.finish()));
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let aside = path.with_extension(format!("{}.{}.tmp", std::process::id(), NEXT.fetch_add(1, Relaxed)));
    let label = kernel.label.replace(|c: char| c.is_control(), " ");
    fs::write(&aside, format!("// {label}\n{}", kernel.source))?;
    fs::rename(&aside, &path)
}

fn describe(device: &wgpu::Device, signature: &Signature, id: u32) -> Layout {
    let entry = |binding, ty, dynamic, least| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: least },
        count: None,
    };
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let bound: Vec<_> = signature
        .access
        .iter()
        .enumerate()
        .map(|(i, access)| entry(i as u32, storage(*access == Access::Read), false, None))
        .collect();
    let mut extra = Vec::new();
    if let Some(bytes) = NonZeroU64::new(signature.param_bytes) {
        extra.push(entry(0, wgpu::BufferBindingType::Uniform, true, Some(bytes)));
    }
    if signature.faults {
        extra.push(entry(1, storage(false), false, NonZeroU64::new(super::faults::FAULT_BYTES)));
    }
    let group =
        |entries: &[_]| device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries });
    let storage = group(&bound);
    let extra = if extra.is_empty() { None } else { Some(group(&extra)) };
    let mut groups = vec![Some(&storage)];
    groups.extend(extra.as_ref().map(Some));
    let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &groups,
        immediate_size: 0,
    });
    Layout { id, storage, extra, pipeline }
}

/// A layout and, per binding, the allocation and the range bound: where it begins and how many bytes it has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub layout: u32,
    pub bound: SmallVec<[(u64, u64, u64); 8]>,
}

/// Bind groups by what they bind, each with the submission that last used it.
#[derive(Default)]
pub(super) struct Groups(HashMap<GroupKey, (wgpu::BindGroup, u64)>);

impl Groups {
    /// The group for a key, made by `make` when new.
    pub fn get(&mut self, key: GroupKey, submission: u64, make: impl FnOnce() -> wgpu::BindGroup) -> &wgpu::BindGroup {
        let entry = self.0.entry(key).or_insert_with(|| (make(), submission));
        entry.1 = submission;
        &entry.0
    }

    /// Drops old groups when there are many, for they keep their buffers from being freed.
    pub fn trim(&mut self, submission: u64) {
        if self.0.len() > GROUPS {
            self.0.retain(|_, (_, used)| *used + YOUNG >= submission);
            if self.0.len() > GROUPS {
                self.0.clear();
            }
        }
    }

    /// Drops every group that binds one of these allocations.
    pub fn forget(&mut self, gone: &HashSet<u64>) {
        self.0.retain(|key, _| !key.bound.iter().any(|(id, ..)| gone.contains(id)));
    }

    /// Drops them all: after a refused submission some may be invalid.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterChoice;

    #[test]
    fn browsers_are_told_of_subgroups() {
        let (plain, lanes) = ("fn main() {}", "fn main() { _ = subgroupShuffle(1u, 0u); }");
        assert_eq!(text_for("vulkan", lanes), lanes);
        assert_eq!(text_for("browser", plain), plain);
        assert_eq!(text_for("browser", lanes), format!("{BROWSER_SUBGROUPS}{lanes}"));
    }

    fn numbered(n: usize) -> Arc<Kernel> {
        let source = format!(
            "@group(0) @binding(0) var<storage, read_write> a: array<u32>;\n\
             @compute @workgroup_size(1) fn main() {{ a[0] = {n}u; }}\n"
        );
        let access = vec![Access::ReadWrite];
        Arc::new(Kernel { label: "numbered".into(), source, access, param_words: 0, faults: false, first: None })
    }

    #[test]
    fn unused_kernels_go_and_used_ones_stay() -> Result<()> {
        let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
        {
            let mut index = lock(&gpu.0.kernels.index);
            (index.most, index.drop_above) = (8, 8);
        }
        let held: Vec<_> = (0..6).map(numbered).collect();
        for kernel in &held {
            gpu.compile(kernel)?;
        }
        for n in 100..160 {
            gpu.compile(&numbered(n))?;
            let sources = lock(&gpu.0.kernels.index).by_source.len();
            assert!(sources <= 14, "{sources}");
        }
        let compiled = gpu.counters().pipelines;
        for kernel in &held {
            gpu.compile(kernel)?;
            // as another plan has it, with the same source
            gpu.compile(&Arc::new(Kernel { source: kernel.source.clone(), ..(**kernel).clone() }))?;
        }
        assert_eq!(gpu.counters().pipelines, compiled);
        // the newest is still there, the oldest is not
        gpu.compile(&numbered(159))?;
        assert_eq!(gpu.counters().pipelines, compiled);
        gpu.compile(&numbered(100))?;
        assert_eq!(gpu.counters().pipelines, compiled + 1);
        Ok(())
    }
}

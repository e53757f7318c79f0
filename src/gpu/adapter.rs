//! Finding an adapter and opening a device on it.

use std::sync::Arc;

use super::choice::{AdapterChoice, AdapterSummary};
use super::facts::Facts;
use super::health::{Health, translate};
use super::kept::Kept;
use super::pace::Pace;
use crate::error::{Error, ErrorKind, Result, bail};

/// Largest parameter block, whatever the adapter offers; also the size of a parameter arena.
pub(super) const ARENA_BYTES: u64 = 1 << 20;

/// Share of the device's memory budget, in percent, after which wgpu refuses allocations instead of losing the device.
const BUDGET_PERCENT: u8 = 97;

/// An adapter with what is asked about it often.
pub(super) struct Found {
    adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

/// An open device.
pub(super) struct Opened {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub facts: Facts,
    pub health: Arc<Health>,
    pub kept: Option<Kept>,
}

impl Found {
    fn summary(&self, index: usize) -> AdapterSummary {
        AdapterSummary {
            index,
            name: self.info.name.clone(),
            backend: backend_name(self.info.backend).to_owned(),
            device_type: type_name(self.info.device_type).to_owned(),
            driver: driver(&self.info),
        }
    }

    /// Lower is better: real GPUs first, then the interfaces that can do most.
    fn rank(&self) -> (u8, u8) {
        let kind = match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Cpu => 3,
            wgpu::DeviceType::Other => 4,
        };
        let interface = match self.info.backend {
            wgpu::Backend::Gl => 1,
            wgpu::Backend::Noop => 2,
            _ => 0,
        };
        (kind, interface)
    }
}

fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Noop => "noop",
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        wgpu::Backend::BrowserWebGpu => "browser",
    }
}

fn type_name(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_owned()
}

/// Whether a Linux process has no display to draw on.
fn headless() -> bool {
    let display = ["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "DISPLAY"];
    cfg!(target_os = "linux") && display.iter().all(|name| std::env::var_os(name).is_none())
}

async fn enumerate(backends: wgpu::Backends) -> Vec<Found> {
    let noop = backends.contains(wgpu::Backends::NOOP);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        // Validation layers of the driver are for whoever works on this folder: WGPU_VALIDATION=1 turns them on.
        flags: wgpu::InstanceFlags::empty().with_env(),
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(BUDGET_PERCENT),
            for_device_loss: None,
        },
        backend_options: wgpu::BackendOptions {
            noop: wgpu::NoopBackendOptions { enable: noop, ..Default::default() },
            ..Default::default()
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = instance.enumerate_adapters(backends).await;
    adapters.into_iter().map(|adapter| Found { info: adapter.get_info(), adapter }).collect()
}

/// Every adapter that can compute, best first, and the names of those that cannot.
pub(super) async fn list(choice: &AdapterChoice) -> (Vec<Found>, Vec<String>) {
    let noop = choice.backend.as_deref() == Some("noop");
    let mut found = enumerate(wgpu::Backends::PRIMARY).await;
    // Starting GL costs time and, without a display, prints complaints. It is pointless where a better interface has a
    // GPU, and where there is no display GL is likely the same CPU once more.
    let enough = if headless() { 3 } else { 1 };
    let settled = choice.adapter.is_none() && found.iter().any(|f| f.rank() <= (enough, 0) && suits(choice, f));
    if !settled {
        found.extend(enumerate(wgpu::Backends::GL).await);
    }
    if noop {
        found.extend(enumerate(wgpu::Backends::NOOP).await);
    }
    found.sort_by_key(Found::rank);
    let computes = |f: &Found| {
        let flags = f.adapter.get_downlevel_capabilities().flags;
        flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) || f.info.backend == wgpu::Backend::Noop
    };
    let (able, unable): (Vec<_>, Vec<_>) = found.into_iter().partition(computes);
    let unable = unable.iter().map(|f| format!("{} ({})", f.info.name, backend_name(f.info.backend))).collect();
    (able, unable)
}

/// The list as plain data.
pub(super) fn summaries(found: &[Found]) -> Vec<AdapterSummary> {
    found.iter().enumerate().map(|(index, f)| f.summary(index)).collect()
}

fn suits(choice: &AdapterChoice, found: &Found) -> bool {
    choice.backend.as_deref().is_none_or(|backend| backend_name(found.info.backend) == backend)
}

/// The adapter that was asked for, or the best.
async fn choose(choice: &AdapterChoice) -> Result<Found> {
    let (found, unable) = list(choice).await;
    let wanted = choice.adapter.as_deref().map(str::trim);
    let index = wanted.and_then(|w| w.parse::<usize>().ok());
    let part = wanted.map(str::to_lowercase);
    let position = found.iter().enumerate().position(|(i, f)| {
        suits(choice, f)
            && match (index, &part) {
                (Some(index), _) => i == index,
                (None, Some(part)) => f.info.name.to_lowercase().contains(part),
                (None, None) => true,
            }
    });
    let summaries = summaries(&found);
    if let Some(found) = position.and_then(|i| found.into_iter().nth(i)) {
        return Ok(found);
    }
    let asked = match (wanted, &choice.backend) {
        (None, None) => "no adapter".to_owned(),
        (Some(adapter), None) => format!("no adapter `{adapter}`"),
        (None, Some(backend)) => format!("no adapter of backend {backend}"),
        (Some(adapter), Some(backend)) => format!("no adapter `{adapter}` of backend {backend}"),
    };
    let mut message = format!("{asked} was found");
    if summaries.is_empty() {
        message.push_str(
            "; install a Vulkan driver (Debian, Ubuntu: apt-get install mesa-vulkan-drivers, which also computes on a \
             CPU) or run scripts/setup",
        );
    } else {
        let list: Vec<String> = summaries.iter().map(ToString::to_string).collect();
        message.push_str(&format!("; there are {}", list.join(", ")));
    }
    if !unable.is_empty() {
        message.push_str(&format!("; unable to compute: {}", unable.join(", ")));
    }
    Err(Error::new(ErrorKind::NoAdapter, "open", message))
}

/// The features worth having, by the name that turns each off.
fn wanted_features() -> [(&'static str, wgpu::Features); 8] {
    [
        ("shader-f16", wgpu::Features::SHADER_F16),
        ("shader-f64", wgpu::Features::SHADER_F64),
        ("shader-int64", wgpu::Features::SHADER_INT64),
        ("subgroups", wgpu::Features::SUBGROUP),
        ("cooperative-matrix", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
        ("pipeline-cache", wgpu::Features::PIPELINE_CACHE),
        ("immediates", wgpu::Features::IMMEDIATES),
    ]
}

/// Side of the largest cooperative matrices of halves with `f32` sums, where the shaders for them can be translated and
/// run: they need halves and subgroups of a known size.
fn matrices(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo, features: wgpu::Features) -> Option<u32> {
    use wgpu::{CooperativeScalarType as Scalar, Features};
    let needed = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16 | Features::SUBGROUP;
    let able = matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal);
    if !able || !features.contains(needed) || info.subgroup_min_size != info.subgroup_max_size {
        return None;
    }
    let all = adapter.cooperative_matrix_properties();
    let square = |side: u32| {
        let sizes = |p: &wgpu::CooperativeMatrixProperties| (p.m_size, p.n_size, p.k_size) == (side, side, side);
        all.iter().any(|p| sizes(p) && p.ab_type == Scalar::F16 && p.cr_type == Scalar::F32)
    };
    [16, 8].into_iter().find(|side| square(*side))
}

/// The adapter's limits, lowered where the choice says so.
fn limits(choice: &AdapterChoice, adapter: &wgpu::Adapter, features: wgpu::Features) -> wgpu::Limits {
    let mut limits = adapter.limits();
    let lower32 = |value: &mut u32, name: &str| {
        if let Some(limit) = choice.limit(name) {
            *value = (*value).min(u32::try_from(limit).unwrap_or(u32::MAX));
        }
    };
    lower32(&mut limits.max_storage_buffers_per_shader_stage, "bindings");
    lower32(&mut limits.max_compute_invocations_per_workgroup, "invocations");
    lower32(&mut limits.max_compute_workgroup_size_x, "invocations");
    lower32(&mut limits.max_compute_workgroup_size_y, "invocations");
    lower32(&mut limits.max_compute_workgroup_size_z, "invocations");
    lower32(&mut limits.max_compute_workgroup_storage_size, "workgroup_bytes");
    lower32(&mut limits.max_compute_workgroups_per_dimension, "groups");
    let lower64 = |value: &mut u64, name: &str| {
        if let Some(limit) = choice.limit(name) {
            // Binding sizes are whole words.
            *value = (*value).min(limit & !3);
        }
    };
    lower64(&mut limits.max_storage_buffer_binding_size, "binding_bytes");
    lower64(&mut limits.max_uniform_buffer_binding_size, "uniform_bytes");
    lower64(&mut limits.max_buffer_size, "buffer_bytes");
    if !features.contains(wgpu::Features::IMMEDIATES) {
        limits.max_immediate_size = 0;
    }
    limits
}

fn facts(
    choice: &AdapterChoice,
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    align: u32,
) -> Facts {
    let is_cpu = info.device_type == wgpu::DeviceType::Cpu;
    let loop_limit = choice.limit("loop_iterations").map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    Facts {
        name: info.name.clone(),
        backend: backend_name(info.backend).to_owned(),
        driver: driver(info),
        is_cpu,
        f16: features.contains(wgpu::Features::SHADER_F16),
        // a double comes to a kernel as a word of 64 bits
        f64: features.contains(wgpu::Features::SHADER_F64 | wgpu::Features::SHADER_INT64),
        i64: features.contains(wgpu::Features::SHADER_INT64),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_size: (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_min_size),
        matrices: None,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
        immediates: limits.max_immediate_size,
        max_bindings: limits.max_storage_buffers_per_shader_stage,
        // Metal's limit is that of a buffer, but what kernels are told of a binding's size ends at 2^32
        max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(1 << 31) & !3,
        storage_align: limits.min_storage_buffer_offset_alignment,
        max_buffer_bytes: limits.max_buffer_size & !3,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroup_x: limits.max_compute_workgroup_size_x.min(limits.max_compute_invocations_per_workgroup),
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        // shaders rely on grids of fewer than 2^16 workgroups along a side
        max_groups: limits.max_compute_workgroups_per_dimension.min(u32::from(u16::MAX)),
        max_uniform_bytes: limits.max_uniform_buffer_binding_size.min(limits.max_buffer_size).min(ARENA_BYTES) as u32,
        uniform_align: align,
        max_loop_iterations: loop_limit,
        run_work: Pace::wanted(choice, is_cpu).run_work(),
    }
}

/// Opens a device on the adapter that was asked for.
pub(super) async fn open(choice: &AdapterChoice) -> Result<Opened> {
    choice.validate()?;
    let Found { adapter, info } = choose(choice).await?;
    let offered = adapter.features();
    let mut features = wanted_features()
        .into_iter()
        .filter(|(name, feature)| choice.allows(name) && offered.contains(*feature))
        .fold(wgpu::Features::empty(), |all, (_, feature)| all | feature);
    let matrices = matrices(&adapter, &info, features);
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if matrices.is_some() {
        // SAFETY: wgpu asks to accept that experimental parts may be wrong. The only one that is turned on is used in
        // kernels of this crate alone, on adapters that list it, and after a probe of its results.
        experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    } else {
        features.remove(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    }
    let limits = limits(choice, &adapter, features);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("calor"),
        required_features: features,
        required_limits: limits.clone(),
        experimental_features,
        ..Default::default()
    };
    let (device, queue) = match adapter.request_device(&descriptor).await {
        Ok(opened) => opened,
        Err(error) => bail!(Device, "open", "{} gives no device: {error}", info.name),
    };
    let health = Arc::new(Health::default());
    let keeper = health.clone();
    device.on_uncaptured_error(Arc::new(move |error| keeper.keep(translate("device", &error))));
    let keeper = health.clone();
    device.set_device_lost_callback(move |reason, message| {
        let destroyed = matches!(reason, wgpu::DeviceLostReason::Destroyed) && message.trim().is_empty();
        keeper.lose(if destroyed { "it was destroyed" } else { &message });
    });
    let align = limits.min_uniform_buffer_offset_alignment.max(16);
    let facts = Facts { matrices, ..facts(choice, &info, features, &limits, align) };
    let kept = Kept::open(&device, &info, choice.cache_dir.as_deref());
    Ok(Opened { device, queue, facts, health, kept })
}

//! What the planner may know about a device: plain data, no wgpu types.

use super::pace::Pace;

/// Features and limits of an open device, as the planner sees them.
///
/// ```
/// use calor::gpu::Facts;
/// let doubles = Facts { f64: true, ..Facts::portable() };
/// assert!(doubles.f64 && doubles.max_bindings == Facts::portable().max_bindings);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The adapter's name.
    pub name: String,
    /// The interface below: `vulkan`, `gl`, `metal`, `dx12`, `browser` or `noop`.
    pub backend: String,
    /// The driver and its version, where known.
    pub driver: String,
    /// The adapter computes on the CPU (lavapipe, SwiftShader, WARP).
    pub is_cpu: bool,
    /// Native `f16` in shaders.
    pub f16: bool,
    /// Native `f64` in shaders, with 64-bit integers.
    pub f64: bool,
    /// Native `i64` and `u64` in shaders.
    pub i64: bool,
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// Invocations of a subgroup, where all have the same number.
    pub subgroup_size: Option<u32>,
    /// Side of the square cooperative matrices of halves that are multiplied into `f32` sums, where there are such and
    /// they were seen to work.
    pub matrices: Option<u32>,
    /// Timestamp queries.
    pub timestamps: bool,
    /// The driver's pipeline cache can be kept.
    pub pipeline_cache: bool,
    /// Bytes of immediates, 0 where there are none.
    pub immediates: u32,
    /// Storage buffers per kernel; the fault buffer counts as one.
    pub max_bindings: u32,
    /// Bytes of one storage binding.
    pub max_binding_bytes: u64,
    /// Where the range of a storage binding may begin: at multiples of so many bytes.
    pub storage_align: u32,
    /// Bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Invocations of a workgroup in x.
    pub max_workgroup_x: u32,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Workgroups per dimension.
    pub max_groups: u32,
    /// Bytes of one parameter block.
    pub max_uniform_bytes: u32,
    /// Alignment of parameter blocks.
    pub uniform_align: u32,
    /// Loop iterations an invocation gets before the driver silently leaves its loops; `None` where no cap was found.
    pub max_loop_iterations: Option<u32>,
    /// Operations of a run above which it may be cut, over several submissions: drivers stop what takes seconds. By the pace
    /// with which the device was opened.
    pub run_work: u64,
}

impl Facts {
    /// Whether kernels load and store two words of 32 bits as one of 64: Mesa's CPU driver does a vector's loads one by
    /// one, lane for lane, so that their number counts and not their size.
    ///
    /// ```
    /// use calor::gpu::Facts;
    /// let cpu = Facts { is_cpu: true, i64: true, backend: "vulkan".into(), ..Facts::portable() };
    /// assert!(cpu.loads_pairs() && !Facts { i64: false, ..cpu }.loads_pairs());
    /// ```
    pub fn loads_pairs(&self) -> bool {
        self.is_cpu && self.i64 && self.backend == "vulkan"
    }

    /// How many elements of a size the windows of a large buffer have: bindings that lie side by side, each but the last
    /// of this power of two.
    ///
    /// ```
    /// use calor::gpu::Facts;
    /// let small = Facts { max_binding_bytes: 1000, ..Facts::portable() };
    /// assert_eq!(small.window(4), 128);
    /// ```
    pub fn window(&self, element_bytes: usize) -> u64 {
        let most = self.max_binding_bytes / element_bytes.max(1) as u64;
        most.checked_ilog2().map_or(1, |bits| 1 << bits)
    }

    /// How many bindings a buffer of so many elements takes.
    ///
    /// ```
    /// use calor::gpu::Facts;
    /// let small = Facts { max_binding_bytes: 1024, ..Facts::portable() };
    /// assert_eq!((small.windows(256, 4), small.windows(257, 4)), (1, 2));
    /// ```
    pub fn windows(&self, elements: u64, element_bytes: usize) -> usize {
        if elements.saturating_mul(element_bytes as u64) <= self.max_binding_bytes {
            return 1;
        }
        usize::try_from(elements.div_ceil(self.window(element_bytes))).unwrap_or(usize::MAX)
    }

    /// WebGPU's default limits and no features: what every device can do, for planning without one.
    ///
    /// ```
    /// let facts = calor::gpu::Facts::portable();
    /// assert!(!facts.f64 && facts.max_bindings == 8);
    /// ```
    pub fn portable() -> Facts {
        Facts {
            name: "portable".to_owned(),
            backend: "noop".to_owned(),
            driver: String::new(),
            is_cpu: false,
            f16: false,
            f64: false,
            i64: false,
            subgroups: false,
            subgroup_size: None,
            matrices: None,
            timestamps: false,
            pipeline_cache: false,
            immediates: 0,
            max_bindings: 8,
            max_binding_bytes: 128 << 20,
            storage_align: 256,
            max_buffer_bytes: 256 << 20,
            max_invocations: 256,
            max_workgroup_x: 256,
            max_workgroup_bytes: 16 << 10,
            max_groups: 65_535,
            max_uniform_bytes: 64 << 10,
            uniform_align: 256,
            max_loop_iterations: None,
            run_work: Pace::usual(false).run_work(),
        }
    }
}

//! Which adapter to open and what to leave unused: from the environment or from a program.

use std::fmt::Display;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// Features that [`AdapterChoice::disable`] can name. Without `cpu-kernels`, an adapter that computes on the CPU gets
/// the kernels of a GPU: so that these are tested where there is none.
pub(super) const FEATURES: [&str; 9] = [
    "shader-f16",
    "shader-f64",
    "shader-int64",
    "subgroups",
    "cooperative-matrix",
    "timestamps",
    "pipeline-cache",
    "immediates",
    "cpu-kernels",
];

/// Limits that [`AdapterChoice::limits`] can name, each with the least value the library can work with.
pub(super) const LIMITS: [(&str, u64); 11] = [
    ("bindings", 2),
    ("binding_bytes", 256),
    ("buffer_bytes", 4096),
    ("invocations", 64),
    ("workgroup_bytes", 0),
    ("groups", 1),
    ("uniform_bytes", 256),
    ("loop_iterations", 1),
    ("memory", 0),
    ("submission_work", 1),
    ("submission_bytes", 1),
];

/// Backends that [`AdapterChoice::backend`] can name.
pub(super) const BACKENDS: [&str; 6] = ["vulkan", "metal", "dx12", "gl", "browser", "noop"];

/// Which adapter to open, and with which features and limits held back.
///
/// ```
/// use calor::{DType, Device, gpu::AdapterChoice};
/// let plain = AdapterChoice { disable: vec!["shader-int64".into()], ..AdapterChoice::from_env()? };
/// assert!(!Device::open(&plain)?.supports(DType::I64));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterChoice {
    /// An index into [`Gpu::adapters`](super::Gpu::adapters), or part of a name in any case.
    pub adapter: Option<String>,
    /// Only adapters of this backend: `vulkan`, `metal`, `dx12`, `gl`, `browser`.
    pub backend: Option<String>,
    /// Features to leave off although the adapter has them.
    pub disable: Vec<String>,
    /// Limits to lower, by name; a value above what the adapter gives changes nothing.
    pub limits: Vec<(String, u64)>,
    /// The folder in which the driver's compiled pipelines are kept between processes; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// The folder into which the WGSL of every new kernel is written, one file for each text.
    pub record: Option<PathBuf>,
    /// Kernels that operations have to use where they can, by the operation's name: `("matmul", "tiles64")`.
    pub kernels: Vec<(String, String)>,
    /// Whether kernels are measured, and the fastest used: see [`Device::set_tuning`](crate::Device::set_tuning).
    pub tune: bool,
}

/// An adapter that was found.
///
/// ```
/// use calor::gpu::AdapterSummary;
/// let found = AdapterSummary {
///     index: 0,
///     name: "llvmpipe".into(),
///     backend: "vulkan".into(),
///     device_type: "cpu".into(),
///     driver: String::new(),
/// };
/// assert_eq!(found.to_string(), "0: llvmpipe (vulkan, cpu)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// Its number for [`AdapterChoice::adapter`]; 0 is the default.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl`, `browser` or `noop`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub device_type: String,
    /// The driver and its version, where known.
    pub driver: String,
}

impl Display for AdapterSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}, {})", self.index, self.name, self.backend, self.device_type)
    }
}

impl AdapterChoice {
    /// Reads `CALOR_ADAPTER`, `CALOR_BACKEND`, `CALOR_DISABLE` (names with commas), `CALOR_MEMORY_LIMIT` (bytes, or
    /// `500M`, `8G`), `CALOR_LIMIT_<NAME>`, `CALOR_KERNELS` (`operation=kernel` with commas), `CALOR_TUNE` (`1`),
    /// `CALOR_RECORD` and `CALOR_CACHE_DIR`; without the last, pipelines are kept where the system keeps a user's caches, and when it is
    /// empty, nowhere.
    ///
    /// ```
    /// use calor::gpu::AdapterChoice;
    /// // what the environment says, but on any adapter
    /// let choice = AdapterChoice { adapter: None, ..AdapterChoice::from_env()? };
    /// assert_eq!(choice.adapter, None);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        if cfg!(target_arch = "wasm32") {
            // a browser has no environment, and std panics when asked for it
            return Self::from_vars([]);
        }
        Self::from_vars(
            std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned())),
        )
    }

    /// The same from any list of variables.
    pub(super) fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut choice = Self::default();
        let (mut told, mut caches, mut home) = (None, None, None);
        for (key, value) in vars {
            match key.as_str() {
                "CALOR_CACHE_DIR" => told = Some(value.clone()),
                "XDG_CACHE_HOME" if cfg!(not(any(windows, target_os = "macos"))) => caches = Some(value.clone()),
                "LOCALAPPDATA" if cfg!(windows) => caches = Some(value.clone()),
                "HOME" if cfg!(not(windows)) => home = Some(value.clone()),
                _ => {}
            }
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match key.as_str() {
                "CALOR_ADAPTER" => choice.adapter = Some(value.to_owned()),
                "CALOR_RECORD" => choice.record = Some(PathBuf::from(value)),
                "CALOR_BACKEND" => choice.backend = Some(value.to_lowercase()),
                "CALOR_DISABLE" => {
                    let names = value.split(',').map(|n| n.trim().to_lowercase()).filter(|n| !n.is_empty());
                    choice.disable.extend(names);
                }
                "CALOR_TUNE" => choice.tune = value != "0",
                "CALOR_KERNELS" => {
                    for pair in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                        let Some((op, kernel)) = pair.split_once('=') else {
                            return Err(refused(&key, format!("`{pair}` is not of the form operation=kernel")));
                        };
                        choice.kernels.push((op.trim().to_owned(), kernel.trim().to_owned()));
                    }
                }
                "CALOR_MEMORY_LIMIT" => {
                    let bytes = bytes(value).ok_or_else(|| {
                        refused(&key, format!("`{value}` is not a number of bytes such as 500000000, 500M or 8G"))
                    })?;
                    choice.limits.push(("memory".to_owned(), bytes));
                }
                key => {
                    let Some(name) = key.strip_prefix("CALOR_LIMIT_") else { continue };
                    let number = value.replace('_', "").parse().map_err(|_| {
                        refused(key, format!("`{value}` is not a whole number; the limits are {}", limit_names()))
                    })?;
                    choice.limits.push((name.to_lowercase(), number));
                }
            }
        }
        let below = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        let absolute = |path: &PathBuf| path.is_absolute();
        let users = caches.map(PathBuf::from).filter(absolute);
        let users = users.or_else(|| home.map(|h| PathBuf::from(h).join(below)).filter(absolute));
        choice.cache_dir = match told {
            Some(dir) => Some(dir).filter(|d| !d.is_empty()).map(PathBuf::from),
            None => users.map(|dir| dir.join("calor")),
        };
        choice.validate()?;
        Ok(choice)
    }

    /// Refuses names nobody knows and limits too low to work with.
    pub(super) fn validate(&self) -> Result<()> {
        if let Some(backend) = &self.backend
            && !BACKENDS.contains(&backend.as_str())
        {
            return Err(refused("CALOR_BACKEND", format!("`{backend}` is not one of {}", BACKENDS.join(", "))));
        }
        for name in &self.disable {
            if !FEATURES.contains(&name.as_str()) {
                return Err(refused("CALOR_DISABLE", format!("`{name}` is not one of {}", FEATURES.join(", "))));
            }
        }
        for (name, value) in &self.limits {
            let key = format!("CALOR_LIMIT_{}", name.to_uppercase());
            match LIMITS.iter().find(|(known, _)| known == name) {
                None => return Err(refused(&key, format!("no such limit; the limits are {}", limit_names()))),
                Some((_, least)) if value < least => {
                    return Err(refused(&key, format!("{value} is below {least}, the least that can work")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a feature may be used.
    pub(super) fn allows(&self, feature: &str) -> bool {
        !self.disable.iter().any(|name| name == feature)
    }

    /// The lowest value given for a limit.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        self.limits.iter().filter(|(n, _)| n == name).map(|(_, value)| *value).min()
    }
}

/// A number of bytes, in units of 1024 when a letter follows.
fn bytes(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    let units = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let last = text.chars().last()?.to_ascii_lowercase();
    match units.iter().find(|(letter, _)| *letter == last) {
        Some((_, bits)) => text[..text.len() - 1].trim().parse::<u64>().ok()?.checked_mul(1 << bits),
        None => text.parse().ok(),
    }
}

fn limit_names() -> String {
    LIMITS.map(|(name, _)| name).join(", ")
}

fn refused(variable: &str, message: String) -> Error {
    Error::new(ErrorKind::Value, variable, message)
}

//! Where time goes: kernels by the device's timestamps, and what the host does meanwhile.
//!
//! While a profile runs each dispatch has a pass of its own with a timestamp at either end. The stamps are resolved into
//! buffers of the pool and read when the profile ends, so that nothing waits in between.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::Gpu;
use super::health::{lock, scoped};
use super::pool::Buffer;
use super::recording::{Dispatch, Recording};
use super::trace::{Event, Track};
use crate::error::{Result, bail};

/// Nanoseconds since the first call.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn clock() -> u64 {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    ORIGIN.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

/// A browser's clock is out of reach here.
#[cfg(target_arch = "wasm32")]
pub(super) fn clock() -> u64 {
    0
}

/// A small number for this thread.
fn thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local!(static NUMBER: u32 = NEXT.fetch_add(1, Relaxed));
    // 0 while the thread is being torn down
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

/// The profile of a device, if one runs.
#[derive(Default)]
pub(super) struct Profiler {
    on: AtomicBool,
    state: Mutex<Option<State>>,
}

struct State {
    start: u64,
    thread: u32,
    host: Vec<HostSpan>,
    runs: Vec<Run>,
    batches: Vec<Batch>,
}

struct HostSpan {
    name: &'static str,
    start: u64,
    end: u64,
    thread: u32,
}

/// One run of a kernel.
struct Run {
    label: String,
    bytes: u64,
    work: u64,
}

/// The runs of one submission: how many, and where their stamps lie.
struct Batch {
    runs: usize,
    submitted: u64,
    stamps: Option<Buffer>,
}

/// Time of the host from here to its drop, where a profile runs.
#[must_use]
pub(crate) struct Span(Option<(Gpu, &'static str, u64)>);

impl Drop for Span {
    fn drop(&mut self) {
        let Some((gpu, name, start)) = self.0.take() else { return };
        let span = HostSpan { name, start, end: clock(), thread: thread() };
        if let Some(state) = &mut *lock(&gpu.0.profiler.state) {
            state.host.push(span);
        }
    }
}

/// The timestamps of one submission.
pub(super) struct Timing {
    sets: Vec<wgpu::QuerySet>,
    resolved: wgpu::Buffer,
    stamps: Buffer,
    count: u32,
    next: u32,
}

/// Stamps of one query set, and bytes of one stamp.
const SET: u32 = wgpu::QUERY_SET_MAX_QUERIES;
const STAMP: u64 = 8;

impl Timing {
    /// Where the next pass puts its two stamps.
    pub fn next(&mut self) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let first = self.next;
        let query_set = self.sets.get((first / SET) as usize)?;
        self.next += 2;
        let (begin, end) = (Some(first % SET), Some(first % SET + 1));
        Some(wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: begin,
            end_of_pass_write_index: end,
        })
    }

    /// Brings the stamps into the buffer that is read in the end.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        for (i, set) in self.sets.iter().enumerate() {
            let first = i as u32 * SET;
            let count = (self.count - first).min(SET);
            encoder.resolve_query_set(set, 0..count, &self.resolved, u64::from(first) * STAMP);
        }
        if let Some(raw) = self.stamps.raw() {
            encoder.copy_buffer_to_buffer(&self.resolved, 0, raw, 0, Some(u64::from(self.count) * STAMP));
        }
    }
}

impl Gpu {
    /// Whether a profile runs.
    pub(super) fn profiles(&self) -> bool {
        self.0.profiler.on.load(Relaxed)
    }

    /// Notes host time until what is returned drops. Costs one load where no profile runs.
    pub(crate) fn span(&self, name: &'static str) -> Span {
        Span(self.profiles().then(|| (self.clone(), name, clock())))
    }

    /// Room for the timestamps of so many dispatches, where a profile runs and the device has timestamps.
    pub(super) fn timing(&self, dispatches: usize) -> Option<Timing> {
        if dispatches == 0 || !self.profiles() || !self.0.facts.timestamps {
            return None;
        }
        let count = u32::try_from(dispatches).ok()?.checked_mul(2)?;
        let bytes = u64::from(count) * STAMP;
        let made = self.allocate("profile", bytes).and_then(|stamps| {
            scoped(&self.0.device, "profile", || {
                let set = |first: u32| {
                    self.0.device.create_query_set(&wgpu::QuerySetDescriptor {
                        label: None,
                        ty: wgpu::QueryType::Timestamp,
                        count: (count - first).min(SET),
                    })
                };
                let sets = (0..count).step_by(SET as usize).map(set).collect();
                let resolved = self.0.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("timestamps"),
                    size: bytes,
                    usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                });
                Timing { sets, resolved, stamps, count, next: 0 }
            })
        });
        // the work goes on without its times
        made.inspect_err(|e| log::warn!("a submission is not timed: {e}")).ok()
    }

    /// Notes what was submitted.
    pub(super) fn note_runs<'a>(
        &self,
        runs: impl Iterator<Item = (&'a Dispatch, u32)>,
        recording: &Recording,
        timing: Option<Timing>,
        submitted: u64,
    ) {
        let Some(state) = &mut *lock(&self.0.profiler.state) else { return };
        let before = state.runs.len();
        state.runs.extend(runs.map(|(run, groups)| {
            let share = |n: u64| (u128::from(n) * u128::from(groups) / u128::from(run.groups.max(1))) as u64;
            let (bytes, work) = (share(super::pace::bytes(run, recording)), share(run.work));
            Run { label: run.kernel.label.clone(), bytes, work }
        }));
        let runs = state.runs.len() - before;
        state.batches.push(Batch { runs, submitted, stamps: timing.map(|t| t.stamps) });
    }

    /// Starts a profile of everything that runs on the device; `Err` while another one runs.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.start_profile()?;
    /// // one at a time
    /// assert!(gpu.start_profile().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn start_profile(&self) -> Result<()> {
        self.0.health.alive("profile")?;
        let mut state = lock(&self.0.profiler.state);
        if state.is_some() {
            bail!(Value, "profile", "a profile of this device runs already");
        }
        let (host, runs, batches) = Default::default();
        *state = Some(State { start: clock(), thread: thread(), host, runs, batches });
        self.0.profiler.on.store(true, Relaxed);
        Ok(())
    }

    /// Ends the profile without looking at it.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.start_profile()?;
    /// gpu.drop_profile();
    /// assert!(gpu.finish_profile().is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn drop_profile(&self) {
        self.0.profiler.on.store(false, Relaxed);
        let state = lock(&self.0.profiler.state).take();
        // its buffers go back to the pool outside the lock
        drop(state);
    }

    /// Ends the profile, waits for what was submitted and returns what was measured.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.start_profile()?;
    /// assert!(gpu.finish_profile()?.kernels.is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn finish_profile(&self) -> Result<Profile> {
        pollster::block_on(self.finish_profile_async())
    }

    /// The same without blocking the thread.
    ///
    /// ```
    /// use calor::gpu::{AdapterChoice, Gpu};
    /// let gpu = Gpu::open(&AdapterChoice::from_env()?)?;
    /// gpu.start_profile()?;
    /// assert!(pollster::block_on(gpu.finish_profile_async())?.kernels.is_empty());
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub async fn finish_profile_async(&self) -> Result<Profile> {
        self.0.profiler.on.store(false, Relaxed);
        let state = lock(&self.0.profiler.state).take();
        let Some(state) = state else { bail!(Value, "profile", "no profile of this device runs") };
        let end = clock();
        let mut ranges = Vec::new();
        for stamps in state.batches.iter().filter_map(|b| b.stamps.as_ref()) {
            ranges.push((stamps.clone(), 0, stamps.bytes()));
        }
        let stamps = self.read_async(&ranges).await?;
        let stamps: Vec<Vec<u64>> = stamps.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect();
        let period = f64::from(self.0.queue.get_timestamp_period());
        let times = times(&state.batches, &stamps, period);
        let title = format!("{} through {}", self.0.facts.name, self.0.facts.backend);
        Ok(Profile::new(title, self.0.facts.timestamps, state, &times, end))
    }
}

/// Begin and end of each run on the host's clock, where they were measured.
fn times(batches: &[Batch], stamps: &[Vec<u64>], period: f64) -> Vec<Option<(u64, u64)>> {
    let mut measured = stamps.iter();
    let per_batch: Vec<Option<&Vec<u64>>> =
        batches.iter().map(|b| b.stamps.as_ref().and_then(|_| measured.next())).collect();
    let first = per_batch.iter().flatten().filter_map(|s| s.first()).min().copied().unwrap_or(0);
    let nanos = |stamp: u64| (stamp.saturating_sub(first) as f64 * period) as u64;
    // No submission starts before it was handed over, and one that found the device idle starts then.
    let delay = |(batch, stamps): (&Batch, &Option<&Vec<u64>>)| {
        let begin = stamps.as_ref()?.first()?;
        Some(batch.submitted.saturating_sub(nanos(*begin)))
    };
    let offset = batches.iter().zip(&per_batch).filter_map(delay).max().unwrap_or(0);
    let mut all = Vec::new();
    for (batch, stamps) in batches.iter().zip(&per_batch) {
        for i in 0..batch.runs {
            let pair = stamps.and_then(|s| Some((*s.get(2 * i)?, *s.get(2 * i + 1)?)));
            all.push(pair.map(|(begin, end)| (offset + nanos(begin), offset + nanos(end.max(begin)))));
        }
    }
    all
}

/// One kernel of a profile, over all its runs.
///
/// ```
/// use calor::gpu::KernelTime;
/// let time = Some(std::time::Duration::from_nanos(10));
/// let kernel = KernelTime { name: "map: exp".into(), runs: 2, time, bytes: 2000, work: 100 };
/// assert_eq!((kernel.gb_per_s(), kernel.gop_per_s()), (Some(200.0), Some(10.0)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its template or `map`, and the operations in it.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// Time on the device; `None` where the adapter has no timestamps.
    pub time: Option<Duration>,
    /// Bytes of the buffers it was bound to.
    pub bytes: u64,
    /// Estimated operations.
    pub work: u64,
}

impl KernelTime {
    /// Bytes per nanosecond: GB/s.
    ///
    /// ```
    /// # use calor::gpu::KernelTime;
    /// let kernel = KernelTime { name: "map: exp".into(), runs: 2, time: None, bytes: 2000, work: 100 };
    /// assert_eq!(kernel.gb_per_s(), None);
    /// let time = Some(std::time::Duration::from_nanos(10));
    /// assert_eq!(KernelTime { time, ..kernel }.gb_per_s(), Some(200.0));
    /// ```
    pub fn gb_per_s(&self) -> Option<f64> {
        self.per_nano(self.bytes)
    }

    /// Estimated operations per nanosecond: Gop/s.
    ///
    /// ```
    /// # use calor::gpu::KernelTime;
    /// let time = Some(std::time::Duration::from_nanos(10));
    /// let kernel = KernelTime { name: "map: exp".into(), runs: 2, time, bytes: 2000, work: 100 };
    /// assert_eq!(kernel.gop_per_s(), Some(10.0));
    /// ```
    pub fn gop_per_s(&self) -> Option<f64> {
        self.per_nano(self.work)
    }

    fn per_nano(&self, amount: u64) -> Option<f64> {
        let nanos = self.time?.as_nanos() as f64;
        (nanos > 0.0).then(|| amount as f64 / nanos)
    }
}

/// One kind of host work of a profile: `record` (everything outside the library's other spans: the program itself and
/// the making of graphs), `upload`, `plan`, `compile`, `encode`, `submit` (the driver takes the commands), `wait`,
/// `read`.
///
/// ```
/// let (_, profile) = calor::profile((), || calor::Tensor::rand([64], ())?.sum()?.item())?;
/// assert!(profile.host.iter().any(|h| h.name == "submit" && h.spans > 0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// What was done.
    pub name: &'static str,
    /// How often.
    pub spans: u64,
    /// Time in it, without other kinds inside it.
    pub time: Duration,
}

/// What a profile measured. Prints as a table, longest first.
///
/// ```
/// let (_, profile) = calor::profile((), || calor::Tensor::rand([64], ())?.sum()?.item())?;
/// assert!(profile.kernels.iter().all(|k| k.runs > 0) && !profile.host.is_empty());
/// assert!(profile.to_string().contains("kernel"));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    /// Kernels by time on the device, or by runs where there are no timestamps.
    pub kernels: Vec<KernelTime>,
    /// Work of the host by time.
    pub host: Vec<HostTime>,
    /// From start to end on the host's clock.
    pub wall: Duration,
    /// Whether the device measures: without timestamps only host times are known.
    pub timed: bool,
    title: String,
    events: Vec<Event>,
}

impl Profile {
    fn new(title: String, timed: bool, mut state: State, times: &[Option<(u64, u64)>], end: u64) -> Self {
        let start = state.start;
        let mut events = Vec::new();
        let mut kernels: HashMap<&str, KernelTime> = HashMap::new();
        for (run, time) in state.runs.iter().zip(times) {
            let kernel = kernels.entry(&run.label).or_insert_with(|| KernelTime {
                name: run.label.clone(),
                runs: 0,
                time: None,
                bytes: 0,
                work: 0,
            });
            kernel.runs += 1;
            kernel.bytes = kernel.bytes.saturating_add(run.bytes);
            kernel.work = kernel.work.saturating_add(run.work);
            if let Some((begin, end)) = *time {
                kernel.time = Some(kernel.time.unwrap_or_default() + Duration::from_nanos(end - begin));
                let args = vec![("bytes", run.bytes), ("operations", run.work)];
                let begin = begin.saturating_sub(start);
                events.push(Event {
                    name: run.label.clone(),
                    track: Track::Gpu,
                    start: begin,
                    end: end - start.min(end),
                    args,
                });
            }
        }
        let mut kernels: Vec<KernelTime> = kernels.into_values().collect();
        kernels.sort_by(|a, b| (b.time, b.runs, &a.name).cmp(&(a.time, a.runs, &b.name)));
        fill_gaps(&mut state, end);
        let mut host: HashMap<&'static str, HostTime> = HashMap::new();
        for (span, alone) in state.host.iter().zip(own_times(&state.host)) {
            let entry = host.entry(span.name).or_insert(HostTime { name: span.name, spans: 0, time: Duration::ZERO });
            entry.spans += 1;
            entry.time += Duration::from_nanos(alone);
            events.push(Event {
                name: span.name.to_owned(),
                track: Track::Host(span.thread),
                start: span.start.saturating_sub(start),
                end: span.end.saturating_sub(start),
                args: Vec::new(),
            });
        }
        let mut host: Vec<HostTime> = host.into_values().collect();
        host.sort_by(|a, b| (b.time, a.name).cmp(&(a.time, b.name)));
        events.sort_by_key(|event| event.start);
        Self { kernels, host, wall: Duration::from_nanos(end - start.min(end)), timed, title, events }
    }

    /// Time of all kernels on the device; `None` where the adapter has no timestamps.
    ///
    /// ```
    /// let (_, profile) = calor::profile((), || calor::Tensor::rand([64], ())?.sum()?.item())?;
    /// assert_eq!(profile.device_time().is_some(), profile.timed);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn device_time(&self) -> Option<Duration> {
        self.timed.then(|| self.kernels.iter().filter_map(|k| k.time).sum())
    }

    /// A trace for Perfetto (ui.perfetto.dev) or `chrome://tracing`: JSON with a track for the device and one for each
    /// host thread, in microseconds since the start.
    ///
    /// ```
    /// let (_, profile) = calor::profile((), || calor::Tensor::rand([64], ())?.sum()?.item())?;
    /// assert!(profile.trace().contains("traceEvents"));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn trace(&self) -> String {
        super::trace::json(&self.title, &self.events)
    }

    /// Writes [`Profile::trace`] to a file; `Err(Io)` where that fails.
    ///
    /// ```
    /// let (_, profile) = calor::profile((), || calor::Tensor::rand([64], ())?.sum()?.item())?;
    /// # let path = std::env::temp_dir().join(format!("calor-doc-trace-{}.json", std::process::id()));
    /// profile.write_trace(&path)?;
    /// assert!(std::fs::metadata(&path)?.len() > 0);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn write_trace(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        Ok(std::fs::write(path, self.trace())?)
    }
}

/// Sorted by thread and start, outer spans first; what the profiling thread does between its outer spans is `record`.
fn fill_gaps(state: &mut State, end: u64) {
    let sort = |host: &mut Vec<HostSpan>| host.sort_by_key(|s| (s.thread, s.start, std::cmp::Reverse(s.end)));
    sort(&mut state.host);
    let (thread, mut at) = (state.thread, state.start);
    let mut gaps = Vec::new();
    for span in state.host.iter().filter(|s| s.thread == thread) {
        if span.start > at {
            gaps.push((at, span.start));
        }
        at = at.max(span.end);
    }
    if end > at {
        gaps.push((at, end));
    }
    state.host.extend(gaps.into_iter().map(|(start, end)| HostSpan { name: "record", start, end, thread }));
    sort(&mut state.host);
}

/// Nanoseconds of each span without those inside it; spans as [`fill_gaps`] sorts them.
fn own_times(host: &[HostSpan]) -> Vec<u64> {
    let mut own: Vec<u64> = host.iter().map(|s| s.end.saturating_sub(s.start)).collect();
    let mut open: Vec<usize> = Vec::new();
    for (i, span) in host.iter().enumerate() {
        while open.last().is_some_and(|&o| host[o].thread != span.thread || host[o].end <= span.start) {
            open.pop();
        }
        if let Some(&outer) = open.last() {
            own[outer] = own[outer].saturating_sub(span.end.saturating_sub(span.start));
        }
        open.push(i);
    }
    own
}

/// Longest kernel name in a table.
const NAME: usize = 70;

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "{}: {:.3} ms", self.title, millis(self.wall))?;
        match self.device_time() {
            Some(time) => writeln!(f, ", {:.3} ms of kernels", millis(time))?,
            None => writeln!(f, "; the adapter has no timestamps, so only the host is timed")?,
        }
        writeln!(f, "{:>12} {:>7} {:>7} {:>10} {:>9} {:>9}  kernel", "ms", "%", "runs", "MB", "GB/s", "Gop/s")?;
        let all = self.device_time().map_or(0.0, millis);
        let number = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), |n| format!("{n:.2}"));
        for k in &self.kernels {
            let time = k.time.map(millis);
            let share = time.filter(|_| all > 0.0).map(|t| 100.0 * t / all);
            let name: String = k.name.chars().take(NAME).collect();
            let dots = if name.len() < k.name.len() { ".." } else { "" };
            writeln!(
                f,
                "{:>12} {:>7} {:>7} {:>10.2} {:>9} {:>9}  {name}{dots}",
                time.map_or_else(|| "-".to_owned(), |t| format!("{t:.3}")),
                number(share),
                k.runs,
                k.bytes as f64 / 1e6,
                number(k.gb_per_s()),
                number(k.gop_per_s()),
            )?;
        }
        writeln!(f, "{:>12} {:>7} {:>7}  host", "ms", "%", "spans")?;
        let wall = millis(self.wall).max(1e-9);
        for h in &self.host {
            let time = millis(h.time);
            writeln!(f, "{time:>12.3} {:>7.2} {:>7}  {}", 100.0 * time / wall, h.spans, h.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &'static str, start: u64, end: u64, thread: u32) -> HostSpan {
        HostSpan { name, start, end, thread }
    }

    #[test]
    fn host_times_exclude_what_is_inside() {
        let host = vec![
            span("wait", 30, 40, 0),
            span("submit", 20, 50, 0),
            span("plan", 60, 70, 0),
            span("submit", 35, 45, 1),
        ];
        let run = |label: &str| Run { label: label.into(), bytes: 1000, work: 50 };
        let runs = vec![run("a"), run("b"), run("a")];
        let state = State { start: 10, thread: 0, host, runs, batches: Vec::new() };
        let times = [Some((20, 30)), Some((30, 35)), None];
        let profile = Profile::new("test".into(), true, state, &times, 100);
        let host: Vec<(&str, u64, u128)> = profile.host.iter().map(|h| (h.name, h.spans, h.time.as_nanos())).collect();
        // 10..20, 50..60, 70..100
        assert_eq!(host, [("record", 3, 50), ("submit", 2, 30), ("plan", 1, 10), ("wait", 1, 10)]);
        assert_eq!(profile.kernels[0].name, "a");
        assert_eq!((profile.kernels[0].runs, profile.kernels[0].time), (2, Some(Duration::from_nanos(10))));
        assert_eq!(profile.kernels[0].gb_per_s(), Some(200.0));
        assert_eq!(profile.device_time(), Some(Duration::from_nanos(15)));
        assert!(profile.to_string().contains("kernel"));
    }

    #[test]
    fn stamps_land_on_the_hosts_clock() {
        let batch = |runs, submitted| Batch { runs, submitted, stamps: None };
        // without stamps nothing is known
        assert_eq!(times(&[batch(2, 5)], &[], 1.0), [None, None]);
    }
}

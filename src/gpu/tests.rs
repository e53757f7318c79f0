//! The device layer on whatever adapter there is; a software one will do.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::*;
use crate::error::ErrorKind;

/// One device for all tests, as software drivers dislike many.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let choice = AdapterChoice::from_env().expect("the environment is well-formed");
        Gpu::open(&choice).expect("these tests need an adapter")
    })
}

fn kernel(label: &str, source: &str, access: &[Access], param_words: u32, faults: bool) -> Arc<Kernel> {
    Arc::new(Kernel {
        label: label.into(),
        source: source.into(),
        access: access.to_vec(),
        param_words,
        faults,
        first: None,
    })
}

/// `b[i] = a[i] * factor + bias`, one invocation per element.
fn scale() -> Arc<Kernel> {
    let source = "
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@group(1) @binding(0) var<uniform> p: array<vec4<u32>, 1>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>, @builtin(local_invocation_id) l: vec3<u32>) {
    let i = (wid.x + wid.y * n.x) * 64u + l.x;
    if (i >= p[0].x) { return; }
    b[i] = a[i] * p[0].y + p[0].z;
}
";
    kernel("scale", source, &[Access::Read, Access::ReadWrite], 3, false)
}

fn run(kernel: &Arc<Kernel>, slots: &[u32], params: &[u32], groups: u32) -> Command {
    Command::Dispatch(Dispatch {
        kernel: kernel.clone(),
        bindings: slots.iter().map(|&s| s.into()).collect(),
        params: params.to_vec(),
        groups,
        work: 0,
    })
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(bytes)
}

fn read_words(buffer: &Buffer) -> Vec<u32> {
    words(&gpu().read(&[(buffer.clone(), 0, buffer.bytes())]).expect("read")[0])
}

fn upload_words(words: &[u32]) -> Buffer {
    gpu().upload(bytemuck::cast_slice(words)).expect("upload")
}

#[test]
fn a_read_joins_the_submission_of_what_it_reads() {
    // one that nobody else submits to
    let gpu = gpu().reopen().unwrap();
    let copy = Command::Copy { from: 0, from_offset: 4, to: 1, to_offset: 0, bytes: 8 };
    let recording = Recording { slots: vec![12, 8], commands: vec![copy] };
    let bytes: Vec<u8> = (0..12).collect();
    let submissions = || lock(&gpu.0.engine).submissions;
    let run = |slot| -> crate::Result<_> {
        let (bound, wanted) = (vec![Some(gpu.upload(&bytes)?), None], Wanted { slot, offset: 4, bytes: 3 });
        let before = submissions();
        let (_, reading) = gpu.submit_marked(&recording, bound, &[], Some(wanted))?;
        let taken = reading.map(|reading| gpu.end_read(reading, <[u8]>::to_vec)).transpose()?.flatten();
        Ok((taken, submissions() - before))
    };
    assert_eq!(run(1).unwrap(), (Some(vec![8, 9, 10]), 1));
    assert_eq!(run(7).unwrap(), (None, 1), "a slot that is not there is read by nobody");
}

#[test]
fn bytes_survive_the_trip() {
    for n in [0usize, 1, 2, 3, 4, 5, 31, 255, 256, 257, 1000, 70_001] {
        let bytes: Vec<u8> = (0..n).map(|i| (i * 7 + i / 256) as u8).collect();
        let buffer = gpu().upload(&bytes).unwrap();
        assert_eq!(buffer.bytes(), n as u64);
        let whole = gpu().read(&[(buffer.clone(), 0, n as u64)]).unwrap();
        assert_eq!(whole, std::slice::from_ref(&bytes), "{n} bytes");
        if n > 8 {
            // Ranges that start and end anywhere, several at once.
            let (n, at) = (n as u64, [(3u64, 2u64), (1, 5), (0, 1), (n as u64 - 1, 1), (5, 0)]);
            let ranges: Vec<_> = at.iter().map(|(o, b)| (buffer.clone(), *o, *b)).collect();
            let got = gpu().read(&ranges).unwrap();
            for ((o, b), got) in at.iter().zip(got) {
                assert_eq!(got, bytes[*o as usize..(*o + *b) as usize], "{o} {b} of {n}");
            }
        }
    }
    let buffer = gpu().upload(&[1, 2, 3]).unwrap();
    assert_eq!(gpu().read(&[(buffer, 2, 2)]).unwrap_err().kind(), ErrorKind::Value);
}

#[test]
fn large_uploads_are_flushed() {
    let numbers: Vec<u32> = (0..40_000_000).collect();
    let buffer = upload_words(&numbers);
    let at = [0u64, 8 << 20, 32 << 20, (64 << 20) - 4, 64 << 20, 160_000_000 - 4];
    let ranges: Vec<_> = at.iter().map(|at| (buffer.clone(), *at, 4)).collect();
    let got = gpu().read(&ranges).unwrap();
    for (at, got) in at.iter().zip(got) {
        assert_eq!(u64::from(words(&got)[0]), at / 4);
    }
}

#[test]
fn a_kernel_runs_with_parameters() {
    let data: Vec<u32> = (0..1000).collect();
    let a = upload_words(&data);
    let k = scale();
    // Thousands of parameter blocks spill into more than one arena.
    let mut commands: Vec<_> = (0..9000).map(|i| run(&k, &[0, 1], &[1000, 0, i], 16)).collect();
    commands.push(run(&k, &[0, 2], &[1000, 2, 1], 16));
    commands.push(run(&k, &[2, 3], &[1000, 3], 16));
    let recording = Recording { slots: vec![4000; 4], commands };
    let out = gpu().submit(&recording, vec![Some(a)]).unwrap();
    assert_eq!(read_words(out[3].as_ref().unwrap()), data.iter().map(|x| (x * 2 + 1) * 3).collect::<Vec<_>>());
    assert_eq!(read_words(out[1].as_ref().unwrap()), vec![8999; 1000]);
}

#[test]
fn large_grids_fold() {
    let n = 65_535 * 64 + 12_345u32;
    let a = upload_words(&(0..n).collect::<Vec<_>>());
    let groups = n.div_ceil(64);
    assert!(groups > 65_535);
    let commands = vec![run(&scale(), &[0, 1], &[n, 2, 0], groups)];
    let out = gpu().submit(&Recording { slots: vec![u64::from(n) * 4; 2], commands }, vec![Some(a)]).unwrap();
    let got = read_words(out[1].as_ref().unwrap());
    assert!(got.iter().enumerate().all(|(i, x)| *x == i as u32 * 2));
}

#[test]
fn faults_are_taken_once() {
    // A device tells a fault to all who read meanwhile: other tests would hand one back that was taken here.
    let own = Gpu::open(&AdapterChoice::from_env().expect("the environment is well-formed")).expect("an adapter");
    let gpu = || &own;
    let source = "
@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(1) @binding(0) var<uniform> p: array<vec4<u32>, 1>;
@group(1) @binding(1) var<storage, read_write> fault: array<atomic<u32>, 256>;
@compute @workgroup_size(1)
fn main() {
    a[0] = p[0].y;
    if (p[0].x != 0u) {
        atomicMax(&fault[0], p[0].x);
    }
}
";
    let k = kernel("faulty", source, &[Access::ReadWrite], 2, true);
    let go = |code, value| {
        let commands = vec![run(&k, &[0], &[code, value], 1)];
        gpu().submit(&Recording { slots: vec![4], commands }, vec![]).unwrap()
    };
    assert_eq!(gpu().take_faults().unwrap(), [0u32; 0]);
    go(0, 5);
    assert_eq!(gpu().take_faults().unwrap(), [0u32; 0]);
    go(7, 9);
    assert_eq!(gpu().take_faults().unwrap(), [7]);
    assert_eq!(gpu().take_faults().unwrap(), [0u32; 0]);
    // Any read brings the fault along; nothing is lost when a read is given up.
    let out = go(3, 4);
    let ranges = [(out[0].clone().unwrap(), 0, 4)];
    assert!(health::now(gpu().read_async(&ranges)).is_none_or(|read| read.is_ok()));
    assert_eq!(gpu().read(&[(out[0].clone().unwrap(), 0, 4)]).unwrap(), [4u32.to_ne_bytes()]);
    assert_eq!(gpu().take_faults().unwrap(), [3]);
    go(0, 1);
    assert_eq!(gpu().take_faults().unwrap(), [0u32; 0]);
    // A read that is on its way, another thread's say, does not hide the fault from who looks meanwhile.
    let out = go(5, 6);
    let ranges = [(out[0].clone().unwrap(), 0, 4)];
    let mut reading = std::pin::pin!(gpu().read_async(&ranges));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = reading.as_mut().poll(&mut context);
    assert_eq!(gpu().take_faults().unwrap(), [5]);
    // A kernel with faults and no parameters.
    let bare = "
@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(1) @binding(1) var<storage, read_write> fault: array<atomic<u32>, 256>;
@compute @workgroup_size(1)
fn main() { a[0] = 1u; atomicStore(&fault[0], 2u); }
";
    let k = kernel("bare", bare, &[Access::ReadWrite], 0, true);
    gpu().submit(&Recording { slots: vec![4], commands: vec![run(&k, &[0], &[], 1)] }, vec![]).unwrap();
    assert_eq!(gpu().take_faults().unwrap(), [2]);
}

/// Counts the holders of a device at the moment when a read wakes who waits for it.
struct Woken {
    device: std::sync::Weak<Shared>,
    holders: std::sync::atomic::AtomicUsize,
    waiting: std::thread::Thread,
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.holders.store(self.device.strong_count(), Relaxed);
        self.waiting.unpark();
    }
}

#[test]
fn a_read_that_has_come_holds_the_device_no_longer() {
    let own = Gpu::open(&AdapterChoice::from_env().expect("the environment is well-formed")).expect("an adapter");
    let buffer = own.upload(&[7; 64]).unwrap();
    let woken = Arc::new(Woken {
        device: Arc::downgrade(&own.0),
        holders: Default::default(),
        waiting: std::thread::current(),
    });
    let ranges = [(buffer, 0, 64)];
    let mut reading = Box::pin(own.read_async(&ranges));
    let waker = woken.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    let read = loop {
        match reading.as_mut().poll(&mut context) {
            std::task::Poll::Ready(read) => break read,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(1)),
        }
    };
    assert_eq!(read.unwrap(), [vec![7; 64]]);
    drop(reading);
    assert_eq!(Arc::strong_count(&own.0), 1);
    // this test's, and the read's own
    let holders = woken.holders.load(Relaxed);
    assert!(holders == 0 || holders == 2, "{holders} hold the device");
}

#[test]
fn freed_slots_serve_later_ones() {
    let data: Vec<u32> = (0..100).collect();
    let a = upload_words(&data);
    let k = scale();
    let p = |f, b| [100, f, b];
    let commands = vec![
        run(&k, &[0, 1], &p(2, 0), 2),
        run(&k, &[1, 2], &p(1, 1), 2),
        Command::Free(1),
        run(&k, &[2, 3], &p(3, 0), 2),
        // The caller holds slot 0 as well: freeing it here gives it to nobody.
        Command::Free(0),
        Command::Free(2),
        run(&k, &[3, 4], &p(1, 7), 2),
    ];
    let out = gpu().submit(&Recording { slots: vec![400; 5], commands }, vec![Some(a.clone())]).unwrap();
    assert!(out[0].is_none() && out[1].is_none() && out[2].is_none());
    let (three, four) = (out[3].as_ref().unwrap(), out[4].as_ref().unwrap());
    assert_ne!(three.id(), four.id());
    assert!(a.id() != three.id() && a.id() != four.id());
    assert_eq!(read_words(three), data.iter().map(|x| (x * 2 + 1) * 3).collect::<Vec<_>>());
    assert_eq!(read_words(four), data.iter().map(|x| (x * 2 + 1) * 3 + 7).collect::<Vec<_>>());
    assert_eq!(read_words(&a), data);
}

#[test]
fn copies_and_clears() {
    let a = upload_words(&[1, 2, 3, 4, 5]);
    let b = gpu().upload(&[9; 7]).unwrap();
    let copy = |from, from_offset, to, to_offset, bytes| Command::Copy { from, from_offset, to, to_offset, bytes };
    let commands = vec![
        Command::Clear(1),
        copy(0, 4, 1, 8, 8),
        run(&scale(), &[1, 2], &[5, 10, 1], 1),
        copy(0, 0, 3, 4, 3),
        copy(0, 0, 1, 0, 0),
    ];
    let recording = Recording { slots: vec![20, 20, 20, 7], commands };
    let out = gpu().submit(&recording, vec![Some(a.clone()), None, None, Some(b.clone())]).unwrap();
    assert_eq!(read_words(out[1].as_ref().unwrap()), [0, 0, 2, 3, 0]);
    assert_eq!(read_words(out[2].as_ref().unwrap()), [1, 1, 21, 31, 1]);
    assert_eq!(gpu().read(&[(b, 0, 7)]).unwrap()[0], [9, 9, 9, 9, 1, 0, 0]);
    for bad in
        [copy(0, 0, 0, 8, 4), copy(0, 2, 1, 0, 4), copy(0, 0, 1, 0, 3), copy(0, 8, 1, 0, 16), copy(0, 0, 9, 0, 4)]
    {
        let recording = Recording { slots: vec![20; 3], commands: vec![bad.clone()] };
        assert!(gpu().submit(&recording, vec![Some(a.clone())]).is_err(), "{bad:?}");
    }
}

#[test]
fn mistakes_are_errors_and_the_device_goes_on() {
    let a = upload_words(&[1, 2, 3]);
    let k = scale();
    let submit = |slots: &[u64], commands: Vec<Command>| {
        gpu().submit(&Recording { slots: slots.to_vec(), commands }, vec![Some(a.clone())])
    };
    let kind = |outcome: Result<Vec<Option<Buffer>>>| outcome.map(drop).unwrap_err().kind();
    let bad = kernel("broken", "fn main() { let x = nothing; }", &[], 0, false);
    for _ in 0..2 {
        let e = submit(&[12], vec![run(&bad, &[], &[], 1)]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Device);
        assert!(e.message().contains("broken") && e.message().contains("nothing"), "{e}");
    }
    // Bindings of the text and of the kernel disagree.
    let wrong = kernel("wrong", &k.source, &[Access::Read, Access::Read], 3, false);
    let e = gpu().compile(&wrong).unwrap_err();
    assert!(e.kind() == ErrorKind::Device && e.message().contains("wrong"), "{e}");
    // The same buffer read and written, in one dispatch.
    assert_eq!(kind(submit(&[12], vec![run(&k, &[0, 0], &[3, 1, 1], 1)])), ErrorKind::Device);
    assert_eq!(kind(submit(&[12, 12], vec![run(&k, &[0], &[3], 1)])), ErrorKind::Value);
    assert_eq!(kind(submit(&[12, 12], vec![run(&k, &[0, 5], &[3], 1)])), ErrorKind::Value);
    assert_eq!(kind(submit(&[12, 12], vec![run(&k, &[0, 1], &[0; 5], 1)])), ErrorKind::Value);
    assert_eq!(kind(submit(&[16, 12], vec![])), ErrorKind::Value);
    assert_eq!(kind(submit(&[12, 12, 12], vec![run(&k, &[1, 2], &[3], 1)])), ErrorKind::Device);
    assert_eq!(kind(submit(&[12, 12], vec![run(&k, &[0, 1], &[3], u32::MAX)])), ErrorKind::Unsupported);
    // Nothing to run is not a mistake, and an empty result still has a buffer.
    let out = submit(&[12, 0], vec![run(&k, &[0, 1], &[0], 0)]).unwrap();
    assert_eq!(out[1].as_ref().map(Buffer::bytes), Some(0));
    let out = submit(&[12, 12], vec![run(&k, &[0, 1], &[3, 2, 0], 1)]).unwrap();
    assert_eq!(read_words(out[1].as_ref().unwrap()), [2, 4, 6]);
}

#[test]
fn buffers_beyond_the_limits_are_refused() {
    let facts = gpu().facts();
    let clear = |bytes| Recording { slots: vec![bytes], commands: vec![Command::Clear(0)] };
    for bytes in [facts.max_buffer_bytes + 1, u64::MAX - 1, u64::MAX] {
        let e = gpu().submit(&clear(bytes), vec![]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::OutOfMemory);
        let told = e.message();
        assert!(told.contains(&bytes.to_string()) && told.contains(&facts.max_buffer_bytes.to_string()), "{e}");
    }
    if facts.max_binding_bytes < facts.max_buffer_bytes && facts.max_binding_bytes < 1 << 30 {
        let bytes = facts.max_binding_bytes + 4;
        let commands = vec![run(&scale(), &[0, 1], &[1, 1, 1], 1)];
        let a = upload_words(&[1]);
        let e = gpu().submit(&Recording { slots: vec![4, bytes], commands }, vec![Some(a)]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::OutOfMemory);
        assert!(e.message().contains(&bytes.to_string()), "{e}");
    }
}

#[test]
fn a_twin_binding_may_be_read_twice() {
    let source = "
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> c: array<u32>;
@compute @workgroup_size(1)
fn main() { c[0] = a[0] + b[1]; }
";
    let k = kernel("twin", source, &[Access::Read, Access::Read, Access::ReadWrite], 0, false);
    let a = upload_words(&[3, 4]);
    let recording = Recording { slots: vec![8, 8, 4], commands: vec![run(&k, &[0, 1, 2], &[], 1)] };
    let out = gpu().submit(&recording, vec![Some(a.clone()), Some(a)]).unwrap();
    assert_eq!(read_words(out[2].as_ref().unwrap()), [7]);
}

#[test]
fn ranges_are_bound_copied_and_read_where_they_lie() {
    let align = gpu().facts().storage_align.max(64);
    let (step, n) = (u64::from(align), align / 4);
    let all: Vec<u32> = (0..4 * n).collect();
    let whole = upload_words(&all);
    let part = whole.range(step, 2 * step).unwrap();
    assert!(part.is_part() && !whole.is_part() && (part.id(), part.offset()) == (whole.id(), step));
    assert!(whole.range(3 * step, step + 4).is_none() && whole.range(u64::MAX, 4).is_none());
    assert_eq!(read_words(&part), all[n as usize..3 * n as usize]);
    assert_eq!(words(&gpu().read(&[(part.clone(), 4, 8)]).unwrap()[0]), [n + 1, n + 2]);
    // the second half of the part goes to the middle of a buffer, by a kernel and by a copy
    let bind = |slot, offset, bytes| Binding { slot, offset, bytes };
    let dispatch = |bindings: &[Binding]| {
        let params = vec![n, 2, 0];
        Command::Dispatch(Dispatch {
            kernel: scale(),
            bindings: bindings.into(),
            params,
            groups: n.div_ceil(64),
            work: 0,
        })
    };
    let commands = vec![
        Command::Clear(1),
        dispatch(&[bind(0, step, step), bind(1, step, step)]),
        Command::Copy { from: 0, from_offset: step, to: 1, to_offset: 2 * step, bytes: step },
    ];
    let recording = Recording { slots: vec![2 * step, 4 * step], commands };
    let out = gpu().submit(&recording, vec![Some(part.clone())]).unwrap();
    let second = &all[2 * n as usize..3 * n as usize];
    let doubled: Vec<u32> = second.iter().map(|x| x * 2).collect();
    let zeros = vec![0; n as usize];
    assert_eq!(read_words(out[1].as_ref().unwrap()), [&zeros[..], &doubled, second, &zeros].concat());
    // beyond the end, off the alignment, and one buffer read and written
    for bad in [bind(0, 2 * step + 4, 4), bind(0, 4, 4)] {
        let recording = Recording { slots: vec![2 * step, step], commands: vec![dispatch(&[bad, 1.into()])] };
        assert_eq!(gpu().submit(&recording, vec![Some(part.clone())]).unwrap_err().kind(), ErrorKind::Value);
    }
    let commands = vec![dispatch(&[bind(0, 0, step), bind(0, step, step)])];
    let e = gpu().submit(&Recording { slots: vec![2 * step], commands }, vec![Some(part)]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Device);
    // ranges of one buffer may be written side by side, but not one over the other
    let source = "
@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(1)
fn main() { a[0] = 5u; b[0] = 6u; }
";
    let both = kernel("both", source, &[Access::ReadWrite, Access::ReadWrite], 0, false);
    let run = |second: Binding| {
        let bindings = [bind(0, 0, step), second].as_slice().into();
        let run = Dispatch { kernel: both.clone(), bindings, params: vec![], groups: 1, work: 0 };
        gpu().submit(&Recording { slots: vec![2 * step], commands: vec![Command::Dispatch(run)] }, vec![])
    };
    let out = run(bind(0, step, step)).unwrap();
    let got = read_words(out[0].as_ref().unwrap());
    assert_eq!((got[0], got[n as usize]), (5, 6));
    assert_eq!(run(bind(0, 0, 2 * step)).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn parts_are_on_the_books_once() {
    // a size that no other test has
    let bytes = (1 << 20) + 12;
    let count = || gpu().memory_snapshot().allocations.iter().filter(|a| a.bytes == bytes).count();
    let whole = upload_words(&vec![7; bytes as usize / 4]);
    let mut parts: Vec<Buffer> = (0..4).map(|i| whole.range(i << 18, 1 << 18).unwrap()).collect();
    drop(whole);
    assert_eq!(count(), 1, "the allocation, whoever has how much of it");
    let last = parts.pop().unwrap();
    drop(parts);
    assert_eq!((count(), read_words(&last)[0]), (1, 7));
    drop(last);
    assert_eq!(count(), 0);
}

#[test]
fn threads_share_a_device() {
    std::thread::scope(|scope| {
        for t in 0..4u32 {
            scope.spawn(move || {
                let k = scale();
                for round in 0..20 {
                    let data: Vec<u32> = (0..500).map(|i| i + t * 1000).collect();
                    let a = upload_words(&data);
                    let commands = vec![
                        run(&k, &[0, 1], &[500, 2, round], 8),
                        run(&k, &[1, 2], &[500, 1, t], 8),
                        Command::Free(1),
                        Command::Free(0),
                        run(&k, &[2, 3], &[500, 1, 1], 8),
                    ];
                    let out = gpu().submit(&Recording { slots: vec![2000; 4], commands }, vec![Some(a)]).unwrap();
                    let want: Vec<u32> = data.iter().map(|x| x * 2 + round + t + 1).collect();
                    assert_eq!(read_words(out[3].as_ref().unwrap()), want);
                }
            });
        }
    });
}

#[test]
fn reads_need_no_blocking() {
    let a = upload_words(&[5, 6]);
    let got = pollster::block_on(gpu().read_async(&[(a.clone(), 4, 4), (a, 0, 4)])).unwrap();
    assert_eq!(got, [6u32.to_le_bytes(), 5u32.to_le_bytes()]);
    assert!(pollster::block_on(gpu().read_async(&[])).unwrap().is_empty());
    gpu().synchronize().unwrap();
}

#[test]
fn the_probe_finds_this_drivers_cap() {
    let facts = gpu().facts();
    println!("{facts:#?}");
    if !facts.is_cpu {
        return;
    }
    let count = pollster::block_on(probe::count(gpu())).unwrap();
    println!("the loop ran {count} times");
    match facts.max_loop_iterations {
        Some(cap) => assert!(cap <= count.min(60_000)),
        None => assert_eq!(count, 70_000),
    }
    if facts.driver.contains("Mesa 22.3.6") {
        assert_eq!((count, facts.max_loop_iterations), (65_535, Some(60_000)));
    }
}

#[test]
fn the_choice_reads_its_variables() {
    let read =
        |vars: &[(&str, &str)]| AdapterChoice::from_vars(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let dir = |vars: &[(&str, &str)]| read(vars).unwrap().cache_dir;
    assert_eq!(dir(&[]), None);
    if cfg!(target_os = "linux") {
        let home = ("HOME", "/home/me");
        assert_eq!(dir(&[home]), Some("/home/me/.cache/calor".into()));
        assert_eq!(dir(&[("XDG_CACHE_HOME", "/caches"), home]), Some("/caches/calor".into()));
        assert_eq!(dir(&[home, ("CALOR_CACHE_DIR", "mine")]), Some("mine".into()));
        assert_eq!(dir(&[home, ("CALOR_CACHE_DIR", "")]), None);
    }
    let choice = read(&[
        ("CALOR_ADAPTER", "llvm"),
        ("CALOR_DISABLE", "shader-f16, Subgroups,"),
        ("CALOR_LIMIT_BINDING_BYTES", "1_048_576"),
        ("CALOR_BACKEND", "Vulkan"),
        ("CALOR_OTHER", "x"),
        ("CALOR_LIMIT_GROUPS", ""),
        ("CALOR_KERNELS", "matmul=tiles64, other = plain,"),
        ("CALOR_TUNE", "1"),
    ])
    .unwrap();
    let kernels: Vec<_> = choice.kernels.iter().map(|(op, kernel)| (op.as_str(), kernel.as_str())).collect();
    assert_eq!((&kernels[..], choice.tune), (&[("matmul", "tiles64"), ("other", "plain")][..], true));
    assert!(!read(&[("CALOR_TUNE", "0")]).unwrap().tune);
    assert_eq!(choice.adapter.as_deref(), Some("llvm"));
    assert_eq!(choice.backend.as_deref(), Some("vulkan"));
    assert!(!choice.allows("shader-f16") && !choice.allows("subgroups") && choice.allows("timestamps"));
    assert_eq!(choice.limit("binding_bytes"), Some(1 << 20));
    for (text, bytes) in [("1000", 1000), ("64k", 64 << 10), ("500M", 500 << 20), ("8G", 8 << 30)] {
        assert_eq!(read(&[("CALOR_MEMORY_LIMIT", text)]).unwrap().limit("memory"), Some(bytes));
    }
    for (vars, told) in [
        (("CALOR_MEMORY_LIMIT", "much"), "much"),
        (("CALOR_MEMORY_LIMIT", "99999999T"), "99999999T"),
        (("CALOR_DISABLE", "shader-f17"), "shader-f16, shader-f64"),
        (("CALOR_KERNELS", "tiles64"), "operation=kernel"),
        (("CALOR_BACKEND", "glide"), "vulkan, metal"),
        (("CALOR_LIMIT_BINDINGS", "many"), "many"),
        (("CALOR_LIMIT_BINDINGS", "0"), "least"),
        (("CALOR_LIMIT_SPEED", "4"), "bindings, binding_bytes"),
    ] {
        let e = read(&[vars]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Value);
        assert!(e.message().contains(told), "{e}");
    }
    let nobody = AdapterChoice { adapter: Some("no such thing".into()), ..Default::default() };
    let e = Gpu::open(&nobody).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoAdapter);
    assert!(e.message().contains("no such thing") && e.message().contains("0: "), "{e}");
    let noop = AdapterChoice { disable: vec!["nonsense".into()], ..Default::default() };
    assert_eq!(Gpu::open(&noop).unwrap_err().kind(), ErrorKind::Value);
}

#[test]
fn adapters_are_listed_in_order() {
    let all = Gpu::adapters();
    assert!(!all.is_empty());
    for (i, adapter) in all.iter().enumerate() {
        println!("{adapter} {}", adapter.driver);
        assert_eq!(adapter.index, i);
    }
}

/// Own devices: counters that nobody else moves, lowered limits, loss.
#[test]
fn a_device_of_its_own() {
    let choice = AdapterChoice {
        disable: choice::FEATURES.map(str::to_owned).to_vec(),
        limits: [
            ("bindings", 8),
            ("binding_bytes", 4000),
            ("buffer_bytes", 10_000),
            ("invocations", 64),
            ("groups", 4),
        ]
        .map(|(n, v)| (n.to_owned(), v))
        .to_vec(),
        ..AdapterChoice::from_env().unwrap()
    };
    let gpu = Gpu::open(&choice).unwrap();
    let facts = gpu.facts();
    assert!(!(facts.f16 || facts.f64 || facts.i64 || facts.subgroups || facts.timestamps || facts.pipeline_cache));
    assert_eq!(
        (facts.max_bindings, facts.max_binding_bytes, facts.max_buffer_bytes, facts.max_invocations, facts.max_groups),
        (8, 4000, 10_000, 64, 4)
    );
    assert_eq!((facts.immediates, facts.max_workgroup_x), (0, 64));
    assert_eq!(gpu.counters(), Counters::default());

    let a = gpu.upload(&[1; 400]).unwrap();
    let k = scale();
    let commands = vec![run(&k, &[0, 1], &[100, 2], 2), run(&k, &[1, 2], &[100, 1], 2), Command::Free(1)];
    let recording = Recording { slots: vec![400; 3], commands };
    let out = gpu.submit(&recording, vec![Some(a.clone())]).unwrap();
    let c = gpu.counters();
    assert_eq!((c.uploads, c.submits, c.dispatches, c.pipelines, c.readbacks), (1, 1, 2, 1, 0));
    assert_eq!((c.bytes_in_use, c.bytes_peak, c.bytes_reserved), (800, 1200, 3 * 448));
    drop(out);
    for _ in 0..50 {
        let out = gpu.submit(&recording, vec![Some(a.clone())]).unwrap();
        gpu.read(&[(out[2].clone().unwrap(), 0, 400)]).unwrap();
    }
    let c = gpu.counters();
    assert_eq!((c.bytes_in_use, c.bytes_peak, c.bytes_reserved), (400, 1200, 3 * 448), "memory is constant");
    assert_eq!((c.submits, c.readbacks, c.pipelines), (51, 50, 1));
    gpu.reset_peak();
    gpu.empty_cache();
    let c = gpu.counters();
    assert_eq!((c.bytes_in_use, c.bytes_peak, c.bytes_reserved), (400, 400, 448));
    let out = gpu.submit(&recording, vec![Some(a.clone())]).unwrap();
    let twice = 0x0101_0101u32 * 2;
    assert_eq!(words(&gpu.read(&[(out[2].clone().unwrap(), 0, 400)]).unwrap()[0]), vec![twice; 100]);
    let e = gpu.submit(&recording, vec![Some(upload_words(&[1; 100]))]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Value, "a buffer of another device");
    assert_eq!(gpu.upload(&[0; 10_001]).unwrap_err().kind(), ErrorKind::OutOfMemory);
    gpu.upload(&[0; 10_000]).unwrap();

    gpu.0.device.destroy();
    gpu.poll();
    let lost = |kind| assert_eq!(kind, ErrorKind::DeviceLost);
    lost(gpu.upload(&[1]).unwrap_err().kind());
    lost(gpu.submit(&recording, vec![Some(a.clone())]).unwrap_err().kind());
    lost(gpu.read(&[(a.clone(), 0, 4)]).unwrap_err().kind());
    lost(gpu.synchronize().unwrap_err().kind());
    lost(gpu.take_faults().unwrap_err().kind());
    lost(gpu.compile(&scale()).unwrap_err().kind());
    drop(gpu);
    drop((a, out));
}

/// Host cost per call; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_calls_cost() {
    let gpu = gpu();
    let k = scale();
    let a = upload_words(&[1; 64]);
    let tiny = Recording { slots: vec![256; 2], commands: vec![run(&k, &[0, 1], &[64, 2, 1], 1)] };
    let many = |n: u32| {
        let mut commands = Vec::new();
        for i in 0..n {
            commands.push(run(&k, &[i, i + 1], &[0, i, 1], 1));
            if i > 0 {
                commands.push(Command::Free(i));
            }
        }
        Recording { slots: vec![256; n as usize + 1], commands }
    };
    let bound = || vec![Some(a.clone())];
    let time = |name: &str, rounds: u32, work: &mut dyn FnMut()| {
        work();
        gpu.synchronize().unwrap();
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            (0..rounds).for_each(|_| work());
            best = best.min(start.elapsed() / rounds);
            gpu.synchronize().unwrap();
        }
        println!("{name}: {best:?}");
    };
    time("upload of 256 bytes", 100, &mut || drop(gpu.upload(&[1; 256]).unwrap()));
    time("submit of one dispatch", 3, &mut || drop(gpu.submit(&tiny, bound()).unwrap()));
    time("submit and read", 100, &mut || {
        let out = gpu.submit(&tiny, bound()).unwrap();
        gpu.read(&[(out[1].clone().unwrap(), 0, 256)]).unwrap();
    });
    for n in [100, 1000] {
        let recording = many(n);
        time(&format!("submit of {n} dispatches"), 1, &mut || drop(gpu.submit(&recording, bound()).unwrap()));
    }
    let start = Instant::now();
    let second = Gpu::open(&AdapterChoice::default()).unwrap();
    println!("opening a device: {:?}", start.elapsed());
    drop(second);
}

//! Files that are cut off, altered or made up: an error, never a panic, and no memory taken on their word.

use calor::io::{
    IdxArray, IdxData, Object, load, load_bytes, load_npz_bytes, load_pt_bytes, parse_idx, read_idx, save_bytes,
};
use calor::nn::StateDict;
use calor::optim::OptimState;
use calor::{DType, Device, ErrorKind, Result, Tensor};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// Counts what each thread takes.
struct Counted;

thread_local! {
    /// Bytes that are taken now, and the most there were.
    static TAKEN: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    let (now, most) = TAKEN.get();
    TAKEN.set((now + bytes, most.max(now + bytes)));
}

// SAFETY: memory is the system's; counting takes none.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// What `f` gives, and the most MiB that it took at once.
fn taken<T>(f: impl FnOnce() -> T) -> (T, isize) {
    let (before, _) = TAKEN.get();
    TAKEN.set((before, before));
    let out = f();
    (out, (TAKEN.get().1 - before) >> 20)
}

const IDX: [u8; 22] = [0, 0, 0x0b, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xfe, 0, 7, 1, 2, 3, 4, 5, 6];

fn idx() -> &'static [u8] {
    &IDX[..16]
}

fn elements(a: &IdxArray) -> usize {
    match &a.data {
        IdxData::U8(v) => v.len(),
        IdxData::I8(v) => v.len(),
        IdxData::I16(v) => v.len(),
        IdxData::I32(v) => v.len(),
        IdxData::F32(v) => v.len(),
        IdxData::F64(v) => v.len(),
    }
}

/// A small file of several dtypes, one tensor of them empty.
fn file() -> Result<Vec<u8>> {
    let mut state = StateDict::new();
    state.insert("weight", Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?);
    state.insert("half", Tensor::new([1.5f32, -2.0, 8.0], DType::BF16)?);
    state.insert("count", Tensor::new(7, ())?);
    state.insert("none", Tensor::zeros([0, 3], ())?);
    save_bytes(&state, &[("epoch".to_string(), "3".to_string())].into_iter().collect())
}

#[test]
fn every_prefix_is_refused() -> Result<()> {
    let device = Device::best()?;
    assert_eq!(parse_idx(idx())?.data, IdxData::I16(vec![-2, 7]));
    for length in 0..IDX.len() {
        match parse_idx(&IDX[..length]) {
            Ok(_) => assert_eq!(length, 16),
            Err(e) => assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "read_idx"), "{length} bytes: {e}"),
        }
    }
    let file = file()?;
    let (state, texts) = load_bytes(&file, &device)?;
    assert_eq!((state.len(), texts["epoch"].as_str()), (4, "3"));
    assert_eq!(state.get("half").expect("half").to_dtype(DType::F32)?.to_vec::<f32>()?, [1.5, -2.0, 8.0]);
    assert_eq!(&state.get("none").expect("none").shape()[..], [0, 3]);
    for length in 0..file.len() {
        let e = load_bytes(&file[..length], &device).expect_err("a prefix");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "load"), "{length} bytes: {e}");
    }
    let mut longer = file;
    longer.push(0);
    assert_eq!(load_bytes(&longer, &device).expect_err("more bytes").kind(), ErrorKind::Io);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn altered_idx_files_are_arrays_or_refused(
        flips in prop::collection::vec((0usize..IDX.len(), any::<u8>()), 1..4), length in 0usize..=IDX.len()
    ) {
        let mut bytes = IDX;
        flips.iter().for_each(|&(at, value)| bytes[at] = value);
        match parse_idx(&bytes[..length]) {
            Ok(a) => prop_assert_eq!(a.shape.iter().product::<usize>(), elements(&a)),
            Err(e) => prop_assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "read_idx")),
        }
    }

    #[test]
    fn any_bytes_are_arrays_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(a) = parse_idx(&bytes) {
            prop_assert_eq!(a.shape.iter().product::<usize>(), elements(&a));
        }
        if let Err(e) = load_bytes(&bytes, &Device::best().expect("a device")) {
            prop_assert_eq!(e.kind(), ErrorKind::Io, "{}", e);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn altered_safetensors_are_tensors_or_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        static FILE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| file().expect("a file"));
        let mut bytes = FILE.clone();
        flips.iter().for_each(|(at, value)| bytes[at.index(FILE.len())] = *value);
        match load_bytes(&bytes, &Device::best().expect("a device")) {
            Ok((state, _)) => {
                let size: usize = state.iter().map(|(_, t)| t.numel() * t.dtype().size()).sum();
                prop_assert!(size <= FILE.len());
                for (name, t) in state.iter() {
                    let host = t.to_host().expect(name);
                    prop_assert_eq!(host.bytes.len(), t.numel() * t.dtype().size(), "{}", name);
                }
            }
            Err(e) => prop_assert!(matches!(e.kind(), ErrorKind::Io | ErrorKind::DType) && e.op() == "load", "{:?}", e),
        }
    }
}

/// The bytes of a file with this header.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn headers_that_lie_are_refused() -> Result<()> {
    let device = Device::best()?;
    let refused = |header: &str, kind: ErrorKind| {
        let e = load_bytes(&with_header(header, 8), &device).expect_err(header);
        assert_eq!((e.kind(), e.op()), (kind, "load"), "{header}: {e}");
    };
    refused(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, ErrorKind::Io);
    refused(r#"{"a":{"dtype":"U64","shape":[1],"data_offsets":[0,8]}}"#, ErrorKind::DType);
    refused(r#"{"a":"#, ErrorKind::Io);
    refused("", ErrorKind::Io);
    let mut bytes = with_header("{}", 0);
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(load_bytes(&bytes, &device).expect_err("a header of 2^64 bytes").kind(), ErrorKind::Io);
    Ok(())
}

#[test]
fn missing_files_are_named() -> Result<()> {
    let e = load("/no/such/file.safetensors", &Device::best()?).expect_err("no file");
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("/no/such/file.safetensors"), "{e}");
    let e = read_idx("/no/such/file.idx").expect_err("no file");
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("/no/such/file.idx"), "{e}");
    let state = [("a".to_string(), Tensor::ones([1], ())?)].into_iter().collect();
    let e = calor::io::save("/no/such/folder/file", &state).expect_err("no folder");
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("/no/such/folder/file"), "{e}");
    Ok(())
}

#[test]
fn optimizer_states_that_make_no_sense_are_refused() {
    let state = |key: &str, value: &str| {
        let texts: BTreeMap<String, String> = [(key.to_string(), value.to_string())].into_iter().collect();
        OptimState::from_parts(&StateDict::new(), &texts)
    };
    for (key, value) in [
        ("param_groups.99999999999.lr", "0.1"),
        ("param_groups.0.lr", "fast"),
        ("param_groups.0.params", "0,x"),
        ("state.0.step", ""),
    ] {
        let e = state(key, value).map(drop).expect_err(key);
        assert!(e.kind() == ErrorKind::Io && e.op() == "load_state_dict" && e.to_string().contains(key), "{e}");
    }
    assert!(state("something.else", "here").is_ok());
}

#[test]
fn narrow_integers_are_widened() -> Result<()> {
    let device = Device::best()?;
    let read = |dtype: &str, shape: &str, data: &[u8]| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#, data.len());
        let mut bytes = with_header(&header, 0);
        bytes.extend(data);
        let a = load_bytes(&bytes, &device)?.0.get("a").expect("a tensor").clone();
        Ok::<_, calor::Error>((a.dtype(), a.shape().to_vec(), a.to_vec::<i32>()?))
    };
    assert_eq!(read("I8", "[3]", &[0xff, 0x80, 0x7f])?, (DType::I32, vec![3], vec![-1, -128, 127]));
    assert_eq!(read("I16", "[2,1]", &[0xfe, 0xff, 0, 1])?, (DType::I32, vec![2, 1], vec![-2, 256]));
    assert_eq!(read("U16", "[2]", &[0xfe, 0xff, 0, 1])?, (DType::I32, vec![2], vec![65534, 256]));
    Ok(())
}

/// An archive of deflated parts.
fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in parts {
        zip.start_file(*name, deflated).expect("a part");
        zip.write_all(bytes).expect("a part");
    }
    zip.finish().expect("an archive").into_inner()
}

/// The pickle of a tensor of two floats in storage 0.
const TWO_FLOATS: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x02tQK\0K\x02\x85K\x01\x85\x89NtR.";

#[test]
fn deflated_bytes_beyond_a_header_are_left_alone() -> Result<()> {
    let device = Device::best()?;
    let zeros = vec![0; 64 << 20];
    let refused = |what: &str, run: &dyn Fn() -> Option<calor::Error>| {
        let (e, taken) = taken(run);
        let e = e.expect(what);
        assert!(e.kind() == ErrorKind::Io && taken < 16, "{what}: {taken} MiB, {e}");
    };

    let path = std::env::temp_dir().join(format!("calor-bomb-{}.gz", std::process::id()));
    for head in [
        &[0, 0, 8, 1, 0, 0, 0, 2][..],
        &[0, 0, 14, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        &[0, 0, 7, 1],
    ] {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&[head, &zeros].concat())?;
        std::fs::write(&path, gz.finish()?)?;
        refused("an idx file", &|| read_idx(&path).err());
    }
    std::fs::remove_file(&path)?;

    let two = b"\x93NUMPY\x01\0\x39\0{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    let array = archive(&[("a.npy", &[&two[..], &[0; 8]].concat())]);
    assert_eq!(&load_npz_bytes(&array, &device)?.get("a").expect("an array").shape()[..], [2]);
    for head in [&two[..], b"\x93NUMPY\x02\0\xff\xff\xff\xff", b"no array"] {
        let npz = archive(&[("a.npy", &[head, &zeros].concat())]);
        refused("an array", &|| load_npz_bytes(&npz, &device).err());
    }

    let tensor = archive(&[("a/data.pkl", TWO_FLOATS), ("a/data/0", &[0; 8])]);
    assert!(load_pt_bytes(&tensor, &device)?.as_tensor().is_some());
    let pt = archive(&[("a/data.pkl", TWO_FLOATS), ("a/data/0", &zeros)]);
    refused("a storage", &|| load_pt_bytes(&pt, &device).err());
    let pt = archive(&[("a/data.pkl", &b"N0".repeat(32 << 20)), ("a/data/0", &[])]);
    refused("a pickle", &|| load_pt_bytes(&pt, &device).err());
    let pt = archive(&[("a/data.pkl", TWO_FLOATS), ("a/data/0", &[0; 8]), ("a/byteorder", &zeros)]);
    refused("a byte order", &|| load_pt_bytes(&pt, &device).err());
    Ok(())
}

#[test]
fn parts_with_the_same_bytes_are_refused() -> Result<()> {
    let once =
        archive(&[("a.npy", b"\x93NUMPY\x01\0\x39\0{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }\x07")]);
    assert_eq!(load_npz_bytes(&once, &Device::best()?)?.len(), 1);
    let mut twice = zip::ZipWriter::new_append(Cursor::new(once)).expect("an archive");
    twice.shallow_copy_file("a.npy", "b.npy").expect("a part");
    let twice = twice.finish().expect("an archive").into_inner();
    let e = load_npz_bytes(&twice, &Device::best()?).expect_err("two parts, one place");
    assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "load_npz"), "{e}");
    Ok(())
}

/// An instruction that pushes a long text.
fn long(code: u8) -> Vec<u8> {
    let mut out = vec![code];
    out.extend((100_000u32).to_le_bytes());
    out.resize(out.len() + 100_000, b'a');
    out
}

#[test]
fn what_stands_in_a_pickle_once_is_not_copied_without_end() -> Result<()> {
    let device = Device::best()?;
    let line = vec![b'a'; 100_000];
    let text = &long(b'X')[..];
    let repeated = [
        // names of two texts each
        [text, b"q\0", &b"h\0h\0\x930".repeat(900), b"N."].concat(),
        [b"](", text, b"q\0", &b"h\0".repeat(900), b"e."].concat(),
        [b"](", &long(b'B')[..], b"q\0", &b"h\0".repeat(900), b"e."].concat(),
        [b"](c_codecs\nencode\n(", text, b"NtRq\0", &b"h\0".repeat(900), b"e."].concat(),
        [b"](ctorch\ndevice\n", text, b"\x85Rq\0", &b"h\0".repeat(900), b"e."].concat(),
        [b"](ca\n", &line[..], b"\nq\0", &b"h\0".repeat(900), b"e."].concat(),
        [b"](ca\n", &line[..], b"\n)Rq\0", &b"h\0".repeat(900), b"e."].concat(),
    ];
    for (which, pickle) in repeated.iter().enumerate() {
        let file = archive(&[("a/data.pkl", pickle)]);
        let (read, taken) = taken(|| load_pt_bytes(&file, &device).map(drop));
        let e = read.expect_err("too much");
        assert!(e.kind() == ErrorKind::Io && taken < 16, "{which}: {taken} MiB, {e}");
    }
    // labels that are the same object in Python
    let labels = archive(&[("a/data.pkl", &[b"](Vcat\nq\0", &b"h\0".repeat(20_000)[..], b"e."].concat())]);
    let labels = load_pt_bytes(&labels, &device)?;
    assert!(
        matches!(labels.items(), Some(all) if all.len() == 20_001 && matches!(&all[9], Object::Text(t) if t == "cat"))
    );
    Ok(())
}

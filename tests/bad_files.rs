//! Files that are cut off, altered or made up: an error, never a panic, and no memory taken on their word.

use calor::io::{IdxArray, IdxData, load, load_bytes, parse_idx, read_idx, save_bytes};
use calor::nn::StateDict;
use calor::optim::OptimState;
use calor::{DType, Device, ErrorKind, Result, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;

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

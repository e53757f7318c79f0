//! Files of PyTorch and NumPy: what these wrote (`tests/torch/files.py`), what is written for them, and broken ones.

use calor::io::{
    Object, load_npy, load_npy_bytes, load_npz, load_npz_bytes, load_pt, load_pt_bytes, save_npy, save_npz, save_pt,
};
use calor::nn::{Parameter, StateDict};
use calor::optim::{AdamW, AdamWOptions, Kept, OptimState, Optimizer};
use calor::{DType, Device, ErrorKind, Result, Tensor};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn given(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// Where files are written: `CALOR_KEEP`, for `tests/torch/files.py` to read them, else a folder that is removed.
struct Folder(PathBuf, bool);

impl Folder {
    fn new(name: &str) -> Self {
        let kept = std::env::var_os("CALOR_KEEP").map(PathBuf::from);
        let path =
            kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("calor-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path, kept.is_none())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.1 {
            std::fs::remove_dir_all(&self.0).expect("the folder goes");
        }
    }
}

fn tensors(list: &Object) -> Vec<Tensor> {
    list.items().expect("a list").iter().filter_map(|o| o.as_tensor().cloned()).collect()
}

/// An optimizer of two groups over the first layer of a model.
fn adam(model: &StateDict) -> Result<(AdamW, Vec<Parameter>)> {
    let own = ["0.weight", "0.bias"].map(|n| Parameter::new(&model.get(n).expect("a parameter").try_clone()?));
    let own = own.into_iter().collect::<Result<Vec<_>>>()?;
    let mut adam = AdamW::new([own[0].clone()], AdamWOptions::new(0.5).betas(0.8, 0.9))?;
    adam.add_param_group([own[1].clone()], AdamWOptions::default().betas(0.8, 0.9))?;
    Ok((adam, own))
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).and_then(|t| t.to_vec()).expect("numbers")
}

#[test]
fn a_checkpoint_of_pytorch_is_read() -> Result<()> {
    let device = Device::best()?;
    let saved = load_pt(given("checkpoint.pt"), &device)?;
    let model = saved.require("model")?.state_dict()?;
    assert_eq!(
        model.names().collect::<Vec<_>>(),
        ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]
    );
    assert_eq!(&model.get("0.weight").expect("a weight").shape()[..], [2, 3]);
    assert_eq!(numbers(model.get("1.bias").expect("a bias")), [3.0, 3.25]);
    assert_eq!(saved.require("epoch")?.as_int(), Some(7));
    assert_eq!(saved.require("best")?.as_float(), Some(0.125));
    assert_eq!(saved.require("name")?.as_text(), Some("små"));
    assert!(matches!(saved.require("seed")?, Object::Unknown(_)), "more than 64 bits");

    let find = |name: &str| saved.require(name).map(tensors);
    let (mut adam, own) = adam(&model)?;
    adam.load_state_dict(&saved.require("optimizer")?.optimizer_state()?)?;
    assert_eq!((adam.lr(0), adam.options(1).map(|o| (o.beta1, o.beta2))), (0.5, Some((0.8, 0.9))));
    own.iter().zip(find("grads")?).try_for_each(|(p, g)| p.tensor().set_grad(Some(g)))?;
    adam.step()?;
    for (p, want) in own.iter().zip(find("after")?) {
        let far = p.tensor().sub(&want)?.abs()?.max()?.item()?;
        assert!(far < 1e-6, "a step is {far} off PyTorch's");
    }

    let views = saved.require("views")?.items().expect("a list");
    let views: Vec<&Tensor> = views.iter().filter_map(Object::as_tensor).collect();
    assert!(views[0].shape()[..] == [4, 3] && !views[0].is_contiguous());
    assert_eq!(numbers(views[0]), [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
    assert!(views[0].shares_storage(views[1]) && views[1].shares_storage(views[2]));
    views[2].fill_(1.0)?;
    assert_eq!(numbers(views[1]), [1.0, 1.0], "a write through one is seen by the others");

    for (name, value) in saved.require("types")?.entries().expect("a dict") {
        let (name, t) = (name.as_text().expect("a name"), value.as_tensor().expect("a tensor"));
        let want = match name {
            "bool" => DType::Bool,
            "uint8" => DType::U8,
            "int8" | "int16" | "int32" => DType::I32,
            "uint32" => DType::U32,
            "int64" if device.supports(DType::I64) => DType::I64,
            "int64" => DType::I32,
            "float16" => DType::F16,
            "bfloat16" => DType::BF16,
            "float64" if device.supports(DType::F64) => DType::F64,
            _ => DType::F32,
        };
        assert_eq!(t.dtype(), want, "{name}");
        assert_eq!(numbers(t), if name == "bool" { [0.0, 1.0, 1.0] } else { [0.0, 1.0, 3.0] }, "{name}");
    }
    let none = format!("{:?}", saved.require("none")?);
    assert_eq!(none, r#"[None, true, F16, [2, 3], "cuda:1", bytes]"#);
    assert_eq!(numbers(saved.require("parameter")?.as_tensor().expect("a tensor")), [2.5]);
    assert_eq!(&saved.require("empty")?.as_tensor().expect("a tensor").shape()[..], [0, 3]);
    assert_eq!(saved.require("default")?.require("a")?.as_int(), Some(1));
    assert_eq!(saved.require("numpy")?.as_float(), Some(1.5));
    assert!(matches!(saved.require("fraction")?, Object::Unknown(name) if name == "fractions.Fraction"));
    let e = saved.require("weights").expect_err("no such key");
    assert!(e.to_string().contains("\"model\""), "{e}");
    let e = saved.state_dict().expect_err("not only tensors");
    assert!(e.to_string().contains("\"model\" is a dict of 7"), "{e}");
    Ok(())
}

#[test]
fn what_cannot_be_read_is_named() -> Result<()> {
    let device = Device::best()?;
    let e = load_pt(given("complex.pt"), &device).expect_err("complex numbers");
    assert!(e.kind() == ErrorKind::DType && e.to_string().contains("ComplexFloatStorage"), "{e}");
    let e = load_pt(given("legacy_complex.pt"), &device).expect_err("complex numbers");
    assert!(e.kind() == ErrorKind::DType && e.to_string().contains("ComplexFloatStorage"), "{e}");
    let e = load_pt(given("columns.npy"), &device).expect_err("no archive");
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("columns.npy"), "{e}");
    let e = load_pt(given("arrays.npz"), &device).expect_err("another archive");
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("data.pkl"), "{e}");
    for missing in [load_pt("/no/such/file", &device).err(), load_npy("/no/such/file", &device).err()] {
        assert!(missing.is_some_and(|e| e.kind() == ErrorKind::Io && e.to_string().contains("/no/such/file")));
    }
    Ok(())
}

#[test]
fn files_of_old_versions_are_read() -> Result<()> {
    let device = Device::best()?;
    let saved = load_pt(given("legacy.pt"), &device)?;
    let find = |name: &str| saved.get(name).and_then(Object::as_tensor).expect("a tensor");
    let weight = find("weight");
    assert!(weight.shape()[..] == [4, 3] && !weight.is_contiguous());
    assert_eq!(numbers(weight), [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
    let views = tensors(saved.require("views")?);
    assert!(views[0].shares_storage(weight) && views[1].shares_storage(weight));
    assert_eq!(numbers(&views[1]), [5.0, 6.0]);
    assert_eq!((find("half").dtype(), numbers(find("half"))), (DType::F16, vec![1.5, -2.0]));
    assert_eq!((&find("long").shape()[..], numbers(find("long"))), (&[1, 2][..], vec![1.0, -1.0]));
    assert_eq!((find("flag").dtype(), find("flag").shape().len()), (DType::Bool, 0));
    assert_eq!((find("small").dtype(), numbers(find("small"))), (DType::I32, vec![-3.0, 4.0]));
    assert_eq!(&find("empty").shape()[..], [0, 3]);
    assert_eq!(saved.require("epoch")?.as_int(), Some(7));
    let other = load_pt(given("legacy4.pt"), &device)?;
    let want: Vec<f32> = (0..12u8).map(f32::from).collect();
    assert_eq!(numbers(other.as_tensor().expect("a tensor")), want);
    Ok(())
}

#[test]
fn old_files_that_lie_are_refused() -> Result<()> {
    let device = Device::best()?;
    let original = std::fs::read(given("legacy.pt"))?;
    for length in (0..original.len()).step_by(7) {
        let e = load_pt_bytes(&original[..length], &device).expect_err("a prefix");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "load_pt"), "{length} bytes: {e}");
    }
    let refused = |from: &[u8], to: &[u8]| {
        let at = original.windows(from.len()).position(|w| w == from).expect("there");
        let mut bytes = original.clone();
        bytes[at..at + from.len()].copy_from_slice(to);
        let e = load_pt_bytes(&bytes, &device).expect_err("a lie");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "load_pt"), "{e}");
    };
    // the magic number, the version, and the count before twelve floats
    refused(b"\x8a\x0al\xfc", b"\x8a\x0al\xfd");
    refused(b"M\xe9\x03", b"M\xea\x03");
    let twelve = [&12u64.to_le_bytes()[..], &0f32.to_le_bytes(), &1f32.to_le_bytes()].concat();
    refused(&twelve, &[&u64::MAX.to_le_bytes()[..], &[0; 8]].concat());
    refused(&twelve, &[&11u64.to_le_bytes()[..], &[0; 8]].concat());
    // its description: as many elements as no file has
    refused(b"K\x0cN", b"J\xff\xff");
    Ok(())
}

#[test]
fn arrays_of_numpy_are_read() -> Result<()> {
    let device = Device::best()?;
    let columns = load_npy(given("columns.npy"), &device)?;
    assert_eq!((&columns.shape()[..], numbers(&columns)), (&[2, 3][..], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let arrays = load_npz(given("arrays.npz"), &device)?;
    let find = |name: &str| arrays.get(name).expect("an array");
    assert_eq!((find("half").dtype(), numbers(find("half"))), (DType::F16, vec![1.5, -2.0]));
    assert_eq!((find("small").dtype(), numbers(find("small"))), (DType::I32, vec![-3.0, 4.0]));
    assert_eq!(numbers(find("wide")), [65535.0]);
    assert_eq!((find("flag").dtype(), find("flag").shape().len()), (DType::Bool, 0));
    assert_eq!((&find("long").shape()[..], numbers(find("long"))), (&[2, 1][..], vec![1.0, -1.0]));
    assert_eq!(&find("none").shape()[..], [0, 2]);
    Ok(())
}

/// What `tests/torch/files.py check` expects.
fn checkpoint() -> Result<Object> {
    let device = Device::best()?;
    let mut model = StateDict::new();
    for (i, (name, shape)) in
        [("0.weight", vec![2, 3]), ("0.bias", vec![2]), ("1.weight", vec![2]), ("1.bias", vec![2])]
            .into_iter()
            .enumerate()
    {
        let count: usize = shape.iter().product();
        let t = ((Tensor::arange(0, count as i32, 1, DType::F32)? / 4.0)? + i as f64)?;
        model.insert(name, t.reshape(&shape)?);
    }
    model.insert("1.running_mean", Tensor::zeros([2], ())?);
    model.insert("1.running_var", Tensor::ones([2], ())?);
    let long = if device.supports(DType::I64) { DType::I64 } else { DType::I32 };
    model.insert("1.num_batches_tracked", Tensor::zeros([], long)?);
    let tied = Tensor::arange(0, 6, 1, DType::F32)?.reshape([3, 2])?.t()?;
    let names = [
        ("bool", DType::Bool),
        ("uint8", DType::U8),
        ("int32", DType::I32),
        ("uint32", DType::U32),
        ("int64", DType::I64),
        ("float16", DType::F16),
        ("bfloat16", DType::BF16),
        ("float32", DType::F32),
        ("float64", DType::F64),
    ];
    let types = names.into_iter().filter(|(_, d)| device.supports(*d));
    let types = types.map(|(n, d)| Ok((n, Tensor::new([0, 1, 3], d)?.into()))).collect::<Result<Vec<_>>>()?;
    let (mut adam, own) = adam(&model)?;
    let step = |adam: &mut AdamW, factor: f64| -> Result<Vec<Tensor>> {
        let grads: Vec<Tensor> =
            own.iter().map(|p| p.tensor().detach().mul(factor)?.add(0.5)).collect::<Result<_>>()?;
        own.iter().zip(&grads).try_for_each(|(p, g)| p.tensor().set_grad(Some(g.clone())))?;
        adam.step()?;
        Ok(grads)
    };
    step(&mut adam, 0.1)?;
    step(&mut adam, 0.2)?;
    for (p, name) in own.iter().zip(["0.weight", "0.bias"]) {
        model.insert(name, p.tensor().detach().try_clone()?);
    }
    let optimizer = {
        let kept = adam.state_dict();
        let copied = kept.state.into_iter().map(|(i, kept)| {
            let kept = kept
                .into_iter()
                .map(|(n, k)| Ok((n, if let Kept::Tensor(t) = k { Kept::Tensor(t.try_clone()?) } else { k })));
            Ok((i, kept.collect::<Result<_>>()?))
        });
        OptimState { state: copied.collect::<Result<_>>()?, param_groups: kept.param_groups }
    };
    let grads = step(&mut adam, 0.3)?;
    let list = |tensors: Vec<Tensor>| Object::List(tensors.into_iter().map(Object::Tensor).collect());
    Ok(Object::dict([
        ("model", Object::from(&model)),
        ("optimizer", Object::from(&optimizer)),
        ("grads", list(grads)),
        ("after", list(own.iter().map(|p| p.tensor().detach()).collect())),
        ("epoch", 7.into()),
        ("best", 0.125.into()),
        ("name", "små".into()),
        ("big", (-(1i64 << 40)).into()),
        ("types", Object::dict(types)),
        ("none", Object::Tuple(vec![Object::None, true.into(), DType::F16.into(), Object::Bytes(vec![0, 255])])),
        ("tied", vec![tied.clone().into(), tied.into()].into()),
        ("empty", Tensor::zeros([0, 3], ())?.into()),
    ]))
}

#[test]
fn what_is_written_comes_back() -> Result<()> {
    let (folder, device) = (Folder::new("pt"), Device::best()?);
    let path = folder.0.join("checkpoint.pt");
    let value = checkpoint()?;
    save_pt(&path, &value)?;
    let back = load_pt(&path, &device)?;
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
    let (model, again) = (value.require("model")?.state_dict()?, back.require("model")?.state_dict()?);
    for ((name, a), (_, b)) in model.iter().zip(again.iter()) {
        assert_eq!(numbers(a), numbers(b), "{name}");
    }
    let tied = back.require("tied")?.items().expect("a list");
    let tied: Vec<&Tensor> = tied.iter().filter_map(Object::as_tensor).collect();
    assert!(tied[0].shares_storage(tied[1]));
    assert_eq!(numbers(tied[0]), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);

    let e = save_pt(&path, &Object::Unknown("a.b".into())).expect_err("unknown");
    assert_eq!(e.kind(), ErrorKind::Value);
    let deep = (0..300).fold(Object::None, |inner, _| Object::List(vec![inner]));
    assert_eq!(save_pt(&path, &deep).expect_err("too deep").kind(), ErrorKind::Value);
    assert!(load_pt(&path, &device).is_ok(), "the file before is still there");
    let left: Vec<_> = std::fs::read_dir(&folder.0)?.filter_map(|f| f.ok()?.file_name().into_string().ok()).collect();
    assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
    Ok(())
}

#[test]
fn arrays_that_are_written_come_back() -> Result<()> {
    let (folder, device) = (Folder::new("npy"), Device::best()?);
    let path = folder.0.join("array.npy");
    let t = Tensor::arange(0, 6, 1, DType::F32)?.reshape([3, 2])?.t()?;
    save_npy(&path, &t)?;
    let bytes = std::fs::read(&path)?;
    assert_eq!((bytes.len(), &bytes[..8]), (128 + 24, &b"\x93NUMPY\x01\x00"[..]));
    assert_eq!(numbers(&load_npy(&path, &device)?), numbers(&t));
    let path = folder.0.join("arrays.npz");
    let mut arrays = StateDict::new();
    arrays.insert("scalar", Tensor::new(3, ())?);
    arrays.insert("row", Tensor::new([1.5f32, -2.0], DType::BF16)?);
    arrays.insert("flag", Tensor::new([true, false], ())?);
    arrays.insert("none", Tensor::zeros([0, 2], ())?);
    save_npz(&path, &arrays)?;
    let back = load_npz(&path, &device)?;
    assert_eq!(back.len(), 4);
    for (name, t) in arrays.iter() {
        let got = back.get(name).expect(name);
        assert_eq!((got.shape(), numbers(got)), (t.shape(), numbers(t)), "{name}");
    }
    Ok(())
}

#[test]
fn checkpoints_that_are_cut_off_are_refused() -> Result<()> {
    let device = Device::best()?;
    let original = std::fs::read(given("checkpoint.pt"))?;
    for length in (0..original.len()).step_by(37) {
        let e = load_pt_bytes(&original[..length], &device).expect_err("a prefix");
        assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "load_pt"), "{length} bytes: {e}");
    }
    Ok(())
}

#[test]
fn hostile_headers_of_arrays_are_refused() -> Result<()> {
    let device = Device::best()?;
    let array = |dict: &str, data: usize| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dict.len() as u16).to_le_bytes());
        bytes.extend(dict.bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(&load_npy_bytes(&array(good, 8), &device)?.shape()[..], [2]);
    for (dict, kind) in [
        (good.replace("(2,)", "(3,)"), ErrorKind::Io),
        (good.replace("(2,)", "(18446744073709551615, 2)"), ErrorKind::Io),
        (good.replace("(2,)", "(-2,)"), ErrorKind::Io),
        (good.replace("(2,)", "2"), ErrorKind::Io),
        (good.replace("False", "None"), ErrorKind::Io),
        (good.replace("<f4", "<c8"), ErrorKind::DType),
        (good.replace("'<f4'", "[('a', '<f4')]"), ErrorKind::Io),
        (good.replace("descr", "type"), ErrorKind::Io),
        (String::new(), ErrorKind::Io),
    ] {
        assert_eq!(load_npy_bytes(&array(&dict, 8), &device).expect_err(&dict).kind(), kind, "{dict}");
    }
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    assert_eq!(load_npy_bytes(&long, &device).expect_err("a header of 4 GiB").kind(), ErrorKind::Io);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn altered_files_are_read_or_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), which in 0usize..4
    ) {
        let device = Device::best().expect("a device");
        let mut bytes = std::fs::read(given(["checkpoint.pt", "legacy.pt", "arrays.npz", "columns.npy"][which])).expect("a file");
        let length = bytes.len();
        flips.iter().for_each(|(at, value)| bytes[at.index(length)] = *value);
        let result = match which {
            0 | 1 => load_pt_bytes(&bytes, &device).map(drop),
            2 => load_npz_bytes(&bytes, &device).map(drop),
            _ => load_npy_bytes(&bytes, &device).map(drop),
        };
        if let Err(e) = result {
            prop_assert!(matches!(e.kind(), ErrorKind::Io | ErrorKind::DType), "{:?}", e);
        }
    }
}

//! PyTorch's checkpoints (`.pt`, `.pth`): a zip archive of a pickle and the storages of its tensors, or, before PyTorch 1.6, these
//! one after the other.

use super::archive::{Archive, Writer};
use super::object::Object;
use super::pickle::{self, Graph, Id, Node, Pickler};
use super::{file, npy};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::layout::Layout;
use crate::tensor::{Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

const LOAD: &str = "load_pt";
const SAVE: &str = "save_pt";
/// Deeper values are refused, so that none exhausts the call stack.
const DEPTH: usize = 200;
/// A deflated pickle may have these bytes and [`TIMES`] the archive's.
const PICKLE: usize = 4 << 20;
const TIMES: usize = 4;
/// Values may take these bytes and [`COPIES`] the pickle's: what stands there once may be part of many.
const VALUES: usize = 1 << 20;
const COPIES: usize = 64;

/// Reads what `torch.save` wrote: a tensor, a state dict, or a dict with one and whatever else.
///
/// No code of the file is run. Tensors are on `device` (PyTorch's `map_location`); those that shared a storage share it
/// again, with their strides. Values of classes that are not known here become [`Object::Unknown`]. 64-bit types become
/// the 32-bit ones where the device lacks them, 8- and 16-bit signed integers i32. Truncated and malformed files are errors of kind
/// [`ErrorKind::Io`](crate::ErrorKind::Io), complex and 8-bit floats of kind [`ErrorKind::DType`](crate::ErrorKind::DType). Files of
/// PyTorch before 1.6, which are no archives, are read as well; the tar archives of those before 0.1.10 are not.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-load-{}.pt", std::process::id()));
/// io::save_pt(&path, &Tensor::new([1.0f32, 2.0], ())?.into())?;
/// let saved = io::load_pt(&path, &Device::best()?)?;
/// assert_eq!(saved.as_tensor().unwrap().to_vec::<f32>()?, [1.0, 2.0]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_pt(path: impl AsRef<Path>, device: &Device) -> Result<Object> {
    let path = path.as_ref();
    let bytes = file::map(LOAD, path)?;
    load_pt_bytes(&bytes, device).map_err(|e| e.context(path.display()))
}

/// [`load_pt`] from a file's bytes.
///
/// ```
/// use calor::{Device, Tensor, io};
/// # let path = std::env::temp_dir().join(format!("calor-doc-bytes-{}.pt", std::process::id()));
/// io::save_pt(&path, &Tensor::new([1.0f32, 2.0], ())?.into())?;
/// assert!(io::load_pt_bytes(&std::fs::read(&path)?, &Device::best()?)?.as_tensor().is_some());
/// assert!(io::load_pt_bytes(b"no archive", &Device::best()?).is_err());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn load_pt_bytes(bytes: &[u8], device: &Device) -> Result<Object> {
    if bytes.starts_with(&[0x80]) {
        return legacy(bytes, device);
    }
    let mut archive = Archive::new(LOAD, bytes)?;
    let names = archive.names()?;
    let Some(folder) =
        names.iter().find_map(|n| n.strip_suffix("data.pkl").filter(|p| p.is_empty() || p.ends_with('/')))
    else {
        bail!(Io, LOAD, "the archive has no data.pkl: not a file of torch.save");
    };
    let order = format!("{folder}byteorder");
    let big_endian = names.contains(&order) && archive.read(&order, 16)? == b"big";
    let most = bytes.len().saturating_mul(TIMES).saturating_add(PICKLE);
    let pickle = archive.read(&format!("{folder}data.pkl"), most)?;
    let graph = pickle::read(LOAD, &pickle)?;
    Reader::new(Source::Archive(archive, folder), &graph, pickle.len(), device, big_endian).object(graph.root, 0)
}

/// The end of the pickle of `0x1950a86a20f9469cfc6c`.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Magic number, version, system, value and keys as pickles, then for each key a count and that many elements, all of them
/// little-endian.
fn legacy(bytes: &[u8], device: &Device) -> Result<Object> {
    let mut rest = bytes;
    pickle::read_from(LOAD, &mut rest)?;
    if !bytes[..bytes.len() - rest.len()].ends_with(MAGIC) {
        bail!(Io, LOAD, "a pickle that is no file of torch.save");
    }
    let version = pickle::read_from(LOAD, &mut rest)?;
    if version.count(version.root) != Some(1001) {
        bail!(Io, LOAD, "a legacy file of version {:?}, not 1001", version.node(version.root));
    }
    pickle::read_from(LOAD, &mut rest)?;
    let before = rest.len();
    let graph = pickle::read_from(LOAD, &mut rest)?;
    let length = before - rest.len();
    let keys = pickle::read_from(LOAD, &mut rest)?;
    let mut known = HashMap::new();
    for id in graph.outside() {
        if let Some(storage) = described(&graph, id) {
            known.insert(storage.key, (storage.class, storage.count));
        }
    }
    let mut storages = HashMap::new();
    for &key in keys.parts(keys.root) {
        let Some((key, &(class, count))) = keys.text(key).and_then(|key| Some((key, known.get(key)?))) else {
            bail!(Io, LOAD, "a storage that no tensor has");
        };
        let Some(kind) = kind(class) else {
            bail!(DType, LOAD, "storage {key} is of {class}, which is not supported");
        };
        let length = rest.split_first_chunk().filter(|(n, _)| u64::from_le_bytes(**n) == count as u64);
        let length = length.and_then(|(_, more)| Some((more, count.checked_mul(kind.size)?)));
        let Some((data, more)) = length.and_then(|(more, length)| more.split_at_checked(length)) else {
            bail!(Io, LOAD, "storage {key} is cut off, or not of {count} elements");
        };
        if storages.insert(key.to_string(), data).is_some() {
            bail!(Io, LOAD, "storage {key} is there twice");
        }
        rest = more;
    }
    Reader::new(Source::Legacy(storages), &graph, length, device, false).object(graph.root, 0)
}

/// Where the bytes of storages are.
enum Source<'a> {
    /// In parts of a folder of an archive.
    Archive(Archive<'a>, &'a str),
    Legacy(HashMap<String, &'a [u8]>),
}

impl Source<'_> {
    /// The bytes of a storage, refused where a part of an archive has more than `most`.
    fn read(&mut self, key: &str, most: usize) -> Result<Vec<u8>> {
        match self {
            Source::Archive(archive, folder) => archive.read(&format!("{folder}data/{key}"), most),
            Source::Legacy(storages) => match storages.get(key) {
                Some(data) => Ok(data.to_vec()),
                None => bail!(Io, LOAD, "there is no storage {key}"),
            },
        }
    }
}

/// A storage as tensors name it.
struct Described<'a> {
    class: &'a str,
    key: &'a str,
    /// Number of elements.
    count: usize,
    /// Where old files say which part of another it is.
    view: &'a [Id],
}

/// What a pickle says of something outside of it, where that is a storage.
fn described(graph: &Graph, outside: Id) -> Option<Described<'_>> {
    let &[_, class, key, _, count, ref view @ ..] = graph.parts(outside) else { return None };
    // PyTorch's keys are numbers; long ones would be compared and hashed for each tensor
    let key = graph.text(key).filter(|key| key.len() < 256)?;
    Some(Described { class: graph.global(class)?, key, count: graph.count(count)?, view })
}

/// How elements of PyTorch's types lie in a file, by the name of a storage class or dtype.
struct Kind {
    /// Names that NumPy has for types that are widened.
    narrow: &'static str,
    dtype: DType,
    size: usize,
}

fn kind(name: &str) -> Option<Kind> {
    let (narrow, dtype, size) = match name.strip_prefix("torch.")? {
        "BoolStorage" | "bool" => ("", DType::Bool, 1),
        "ByteStorage" | "uint8" => ("", DType::U8, 1),
        "CharStorage" | "int8" => ("i1", DType::I32, 1),
        "ShortStorage" | "int16" => ("i2", DType::I32, 2),
        "uint16" => ("u2", DType::I32, 2),
        "IntStorage" | "int32" => ("", DType::I32, 4),
        "uint32" => ("", DType::U32, 4),
        "LongStorage" | "int64" => ("", DType::I64, 8),
        "HalfStorage" | "float16" => ("", DType::F16, 2),
        "BFloat16Storage" | "bfloat16" => ("", DType::BF16, 2),
        "FloatStorage" | "float32" => ("", DType::F32, 4),
        "DoubleStorage" | "float64" => ("", DType::F64, 8),
        _ => return None,
    };
    Some(Kind { narrow, dtype, size })
}

struct Reader<'a> {
    source: Source<'a>,
    graph: &'a Graph,
    device: &'a Device,
    big_endian: bool,
    /// Flat tensors by the storage's key and type.
    storages: HashMap<(String, DType), Tensor>,
    tensors: HashMap<Id, Tensor>,
    /// Bytes that values may still take.
    left: usize,
}

impl<'a> Reader<'a> {
    /// `length` is that of the pickle in bytes.
    fn new(source: Source<'a>, graph: &'a Graph, length: usize, device: &'a Device, big_endian: bool) -> Self {
        let left = length.saturating_mul(COPIES).saturating_add(VALUES);
        Self { source, graph, device, big_endian, storages: HashMap::new(), tensors: HashMap::new(), left }
    }

    /// Begins a value so deep in others.
    fn enter(&mut self, depth: usize) -> Result<()> {
        if depth > DEPTH {
            bail!(Io, LOAD, "values are nested more than {DEPTH} deep");
        }
        self.spend(size_of::<Object>())
    }

    /// Takes from what values may take.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => bail!(Io, LOAD, "values are repeated too often"),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<String> {
        self.spend(text.len())?;
        Ok(text.into())
    }

    fn unknown(&mut self, name: &str) -> Result<Object> {
        Ok(Object::Unknown(self.text(name)?))
    }

    fn object(&mut self, id: Id, depth: usize) -> Result<Object> {
        let graph = self.graph;
        self.enter(depth)?;
        Ok(match graph.node(id) {
            Node::None => Object::None,
            Node::Bool(b) => Object::Bool(*b),
            Node::Int(n) => Object::Int(*n),
            Node::Float(x) => Object::Float(*x),
            Node::Text(text) => Object::Text(self.text(text)?),
            Node::Bytes(bytes) => {
                self.spend(bytes.len())?;
                Object::Bytes(bytes.clone())
            }
            Node::List(items) => Object::List(self.objects(items, depth)?),
            Node::Tuple(items) => Object::Tuple(self.objects(items, depth)?),
            Node::Dict(entries) => self.dict(entries, depth)?,
            Node::Global(name) => match kind(name).filter(|_| !name.ends_with("Storage")) {
                Some(kind) if kind.narrow.is_empty() => Object::DType(kind.dtype),
                _ => self.unknown(name)?,
            },
            Node::Call { function, arguments, items, entries } => {
                self.call(id, *function, *arguments, (items, entries), depth)?
            }
            Node::Persistent(_) => Object::Unknown("torch.Storage".into()),
            Node::Unknown(what) => Object::Unknown((*what).into()),
        })
    }

    fn objects(&mut self, ids: &[Id], depth: usize) -> Result<Vec<Object>> {
        ids.iter().map(|&id| self.object(id, depth + 1)).collect()
    }

    fn dict(&mut self, entries: &[(Id, Id)], depth: usize) -> Result<Object> {
        let pairs = entries.iter().map(|&(k, v)| Ok((self.object(k, depth + 1)?, self.object(v, depth + 1)?)));
        Ok(Object::Dict(pairs.collect::<Result<_>>()?))
    }

    /// What a function would have made, for those that say what a value is.
    fn call(
        &mut self,
        id: Id,
        function: Id,
        arguments: Id,
        (items, entries): (&[Id], &[(Id, Id)]),
        depth: usize,
    ) -> Result<Object> {
        let graph = self.graph;
        // calls may be made of calls, without an object between them
        self.enter(depth)?;
        let Some(name) = graph.global(function) else {
            return Ok(Object::Unknown("a function that is no name".into()));
        };
        let given = graph.parts(arguments);
        let first = given.first().copied();
        Ok(match (name, first) {
            ("collections.OrderedDict" | "collections.defaultdict", _) => {
                // older Pythons give the entries as a list of pairs
                let listed = first.map_or(&[][..], |list| graph.parts(list));
                self.spend((listed.len() + entries.len()) * size_of::<(Id, Id)>())?;
                let listed = listed.iter().filter_map(|&pair| graph.parts(pair).first_chunk().map(|&[k, v]| (k, v)));
                self.dict(&listed.chain(entries.iter().copied()).collect::<Vec<_>>(), depth)?
            }
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3",
                _,
            ) => {
                if let Some(known) = self.tensors.get(&id) {
                    return Ok(Object::Tensor(known.clone()));
                }
                let tensor = self.tensor(name, given)?;
                self.tensors.insert(id, tensor.clone());
                Object::Tensor(tensor)
            }
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", Some(tensor)) => {
                self.object(tensor, depth + 1)?
            }
            ("torch._tensor._rebuild_from_type_v2", Some(inner)) if given.len() >= 3 => {
                self.call(id, inner, given[2], (&[], &[]), depth + 1)?
            }
            ("torch.Size" | "builtins.tuple", Some(sizes)) => Object::Tuple(self.objects(graph.parts(sizes), depth)?),
            ("torch.device", Some(kind)) => match (graph.text(kind), given.get(1).and_then(|&i| graph.count(i))) {
                (Some(kind), Some(index)) => Object::Text(format!("{}:{index}", self.text(kind)?)),
                (Some(kind), None) => Object::Text(self.text(kind)?),
                _ => self.unknown(name)?,
            },
            ("_codecs.encode", Some(text)) => match graph.text(text) {
                Some(text) => {
                    self.spend(text.len())?;
                    Object::Bytes(text.chars().map(|c| c as u32 as u8).collect())
                }
                None => self.unknown(name)?,
            },
            ("builtins.set" | "__builtin__.set" | "builtins.frozenset" | "builtins.list", _) => {
                let all = first.map_or(&[][..], |list| graph.parts(list));
                self.spend((all.len() + items.len()) * size_of::<Id>())?;
                Object::List(self.objects(&[all, items].concat(), depth)?)
            }
            ("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", Some(dtype)) => {
                match self.scalar(dtype, given.get(1).copied()) {
                    Some(number) => number,
                    None => self.unknown(name)?,
                }
            }
            _ => self.unknown(name)?,
        })
    }

    /// NumPy's number: its type, and its bytes.
    fn scalar(&self, dtype: Id, bytes: Option<Id>) -> Option<Object> {
        let graph = self.graph;
        let Node::Call { arguments, .. } = graph.node(dtype) else { return None };
        let kind = graph.text(*graph.parts(*arguments).first()?)?;
        // nine are too many for any type here
        let bytes: Vec<u8> = match graph.node(bytes?) {
            Node::Bytes(bytes) => bytes.iter().copied().take(9).collect(),
            Node::Call { arguments, .. } => {
                let text = graph.text(*graph.parts(*arguments).first()?)?;
                text.chars().map(|c| c as u32 as u8).take(9).collect()
            }
            _ => return None,
        };
        Some(match kind {
            "f8" => Object::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            "f4" => Object::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            "i8" => Object::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            "i4" => Object::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            "b1" => Object::Bool(bytes.first() == Some(&1)),
            _ => return None,
        })
    }

    /// Storage, offset, sizes and strides; the third form has a dtype and a storage of bytes.
    fn tensor(&mut self, function: &str, given: &[Id]) -> Result<Tensor> {
        let graph = self.graph;
        let &[storage, offset, sizes, strides, ..] = given else {
            bail!(Io, LOAD, "a tensor of {} arguments", given.len());
        };
        let Node::Persistent(outside) = graph.node(storage) else {
            bail!(Io, LOAD, "a tensor without a storage");
        };
        let Some(Described { class, key, count, view }) = described(graph, *outside) else {
            bail!(Io, LOAD, "a storage that is not described as PyTorch does");
        };
        let typed = !function.ends_with("_v3");
        let name = match (typed, given.get(6).and_then(|&d| graph.global(d))) {
            (true, _) => class,
            (false, Some(dtype)) => dtype,
            (false, None) => bail!(Io, LOAD, "a tensor without a dtype"),
        };
        let Some(kind) = kind(name) else {
            bail!(DType, LOAD, "storage {key} is of {name}, which is not supported");
        };
        self.spend((graph.parts(sizes).len() + graph.parts(strides).len()) * size_of::<usize>())?;
        let counts = |id: Id| graph.parts(id).iter().map(|&n| graph.count(n)).collect::<Option<Vec<usize>>>();
        let (Some(offset), Some(sizes), Some(strides)) = (graph.count(offset), counts(sizes), counts(strides)) else {
            bail!(Io, LOAD, "a tensor of storage {key} has sizes, strides or an offset that are no numbers");
        };
        // old files have storages that are parts of others, by key, offset and count
        let within = match view.first().map(|&view| graph.parts(view)) {
            Some(&[_, within, _]) => graph.count(within).and_then(|within| offset.checked_add(within)),
            _ => Some(offset),
        };
        let Some(offset) = within else { bail!(Io, LOAD, "a tensor of storage {key} has an offset that is no number") };
        let bytes = if typed { count.checked_mul(kind.size) } else { Some(count) };
        let flat = self.storage(key, &kind, bytes)?;
        let strides: Vec<isize> = strides.into_iter().map(|s| isize::try_from(s).unwrap_or(isize::MAX)).collect();
        if sizes.len() != strides.len() || Layout::strided(LOAD, &sizes, &strides, 0).is_err() {
            bail!(Io, LOAD, "a tensor of storage {key} has sizes {sizes:?} and strides {strides:?}");
        }
        let view = crate::no_grad(|| flat.as_strided(&sizes, &strides, offset));
        let Ok(view) = view else {
            bail!(
                Io,
                LOAD,
                "a tensor of sizes {sizes:?}, strides {strides:?} from {offset} is not within storage {key}"
            );
        };
        Ok(view)
    }

    fn storage(&mut self, key: &str, kind: &Kind, bytes: Option<usize>) -> Result<Tensor> {
        let known = (key.to_string(), kind.dtype);
        if let Some(flat) = self.storages.get(&known) {
            return Ok(flat.clone());
        }
        let Some(bytes) = bytes else { bail!(Io, LOAD, "storage {key} is larger than can be addressed") };
        let mut data = self.source.read(key, bytes)?;
        if data.len() != bytes || data.len() % kind.size != 0 {
            bail!(Io, LOAD, "storage {key} has {} bytes, not what its tensor says", data.len());
        }
        if self.big_endian {
            data.chunks_exact_mut(kind.size).for_each(<[u8]>::reverse);
        }
        let data = npy::widened(kind.narrow, &data).unwrap_or(data);
        let count = data.len() / kind.dtype.size();
        let flat = file::tensor(LOAD, key, &[count], kind.dtype, &data, self.device)?;
        self.storages.insert(known, flat.clone());
        Ok(flat)
    }
}

/// Writes a value so that `torch.load` reads it, also with `weights_only=True`; waits for its tensors.
///
/// Tensors are written row by row; a tensor that stands in it twice, as a tied weight does, is written once and shared again
/// when it is read. [`Object::Unknown`] is refused. The file is put in its place in one step, as by [`save`](super::save).
///
/// ```
/// use calor::{Device, Tensor, io, io::Object};
/// # let path = std::env::temp_dir().join(format!("calor-doc-{}.pt", std::process::id()));
/// let model = Object::dict([("weight", Tensor::new([[1.0f32, 2.0]], ())?.into())]);
/// io::save_pt(&path, &Object::dict([("model", model), ("epoch", 3.into())]))?;
///
/// let saved = io::load_pt(&path, &Device::best()?)?;
/// assert_eq!(saved.require("epoch")?.as_int(), Some(3));
/// let state = saved.require("model")?.state_dict()?;
/// assert_eq!(state.get("weight").unwrap().to_vec::<f32>()?, [1.0, 2.0]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), calor::Error>(())
/// ```
pub fn save_pt(path: impl AsRef<Path>, value: &Object) -> Result<()> {
    let path = path.as_ref();
    let mut saver = Saver { pickler: Pickler::new(), storages: Vec::new(), keys: HashMap::new() };
    saver.object(value, 0)?;
    saver.pickler.code(b'.');
    let hosts = file::hosts(&saver.storages)?;
    file::replace(SAVE, path, |out| {
        let mut zip = Writer::new(SAVE, path, out);
        zip.add("archive/data.pkl", &[&saver.pickler.out])?;
        zip.add("archive/byteorder", &[b"little"])?;
        for (key, host) in hosts.iter().enumerate() {
            zip.add(&format!("archive/data/{key}"), &[&host.bytes])?;
        }
        zip.add("archive/version", &[b"3\n"])?;
        zip.finish()
    })
}

/// Storage class of a dtype; `None` where PyTorch has none.
fn class(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "BoolStorage",
        DType::U8 => "ByteStorage",
        DType::I32 => "IntStorage",
        DType::U32 => return None,
        DType::I64 => "LongStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::F32 => "FloatStorage",
        DType::F64 => "DoubleStorage",
    })
}

fn torch_dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 => "uint8",
        DType::I32 => "int32",
        DType::U32 => "uint32",
        DType::I64 => "int64",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F32 => "float32",
        DType::F64 => "float64",
    }
}

struct Saver {
    pickler: Pickler,
    storages: Vec<Tensor>,
    /// Keys of tensors that were met, by storage and view.
    keys: HashMap<(usize, Layout), usize>,
}

impl Saver {
    fn object(&mut self, value: &Object, depth: usize) -> Result<()> {
        if depth > DEPTH {
            bail!(Value, SAVE, "values are nested more than {DEPTH} deep");
        }
        match value {
            Object::None => self.pickler.code(b'N'),
            Object::Bool(b) => self.pickler.bool(*b),
            Object::Int(n) => self.pickler.int(*n),
            Object::Float(x) => self.pickler.float(*x),
            Object::Text(text) => self.pickler.text(text)?,
            Object::Bytes(bytes) => self.pickler.bytes(bytes)?,
            Object::DType(dtype) => self.pickler.global("torch", torch_dtype(*dtype)),
            Object::Tensor(tensor) => self.tensor(tensor)?,
            Object::List(items) => {
                self.pickler.out.extend(*b"](");
                items.iter().try_for_each(|item| self.object(item, depth + 1))?;
                self.pickler.code(b'e');
            }
            Object::Tuple(items) => {
                self.pickler.code(b'(');
                items.iter().try_for_each(|item| self.object(item, depth + 1))?;
                self.pickler.code(b't');
            }
            Object::Dict(entries) => {
                self.pickler.out.extend(*b"}(");
                for (key, value) in entries {
                    self.object(key, depth + 1)?;
                    self.object(value, depth + 1)?;
                }
                self.pickler.code(b'u');
            }
            Object::Unknown(name) => bail!(Value, SAVE, "a value of {name} cannot be saved"),
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<()> {
        let identity = (tensor.storage_key(), tensor.layout().clone());
        let key = *self.keys.entry(identity).or_insert_with(|| {
            self.storages.push(tensor.detach());
            self.storages.len() - 1
        });
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        let class = class(dtype);
        let p = &mut self.pickler;
        p.global("torch._utils", if class.is_some() { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" });
        p.out.extend(*b"((");
        p.text("storage")?;
        match class {
            Some(class) => p.global("torch", class),
            None => p.global("torch.storage", "UntypedStorage"),
        }
        p.text(&key.to_string())?;
        p.text("cpu")?;
        p.int((tensor.numel() * if class.is_some() { 1 } else { dtype.size() }) as i64);
        p.out.extend(*b"tQ");
        p.int(0);
        p.counts(shape.iter().copied());
        p.counts(Layout::contiguous(&shape).strides().iter().map(|&s| s as usize));
        p.bool(false);
        p.global("collections", "OrderedDict");
        p.out.extend(*b")R");
        if class.is_none() {
            p.global("torch", torch_dtype(dtype));
        }
        p.out.extend(*b"tR");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::io::Cursor;

    /// An archive of a pickle and one storage of eight bytes.
    fn archive(pickle: &[u8]) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let mut zip = Writer::new(SAVE, Path::new("memory"), &mut out);
        zip.add("a/data.pkl", &[pickle]).expect("a part");
        zip.add("a/data/0", &[&[0; 8]]).expect("a part");
        zip.finish().expect("an archive");
        out.into_inner()
    }

    /// The pickle of a tensor over that storage.
    fn tensor(class: &str, key: &str, count: i64, offset: i64, sizes: &[usize], strides: &[usize]) -> Vec<u8> {
        let mut p = Pickler::new();
        p.global("torch._utils", "_rebuild_tensor_v2");
        p.out.extend(*b"((");
        p.text("storage").expect("short");
        p.global("torch", class);
        p.text(key).expect("short");
        p.text("cpu").expect("short");
        p.int(count);
        p.out.extend(*b"tQ");
        p.int(offset);
        p.counts(sizes.iter().copied());
        p.counts(strides.iter().copied());
        p.out.extend(*b"\x89NtR.");
        p.out
    }

    #[test]
    fn files_that_lie_are_refused() -> Result<()> {
        let device = Device::best()?;
        let load = |pickle: &[u8]| load_pt_bytes(&archive(pickle), &device);
        assert_eq!(load(&tensor("FloatStorage", "0", 2, 0, &[2], &[1]))?.as_tensor().map(Tensor::numel), Some(2));
        for pickle in [
            tensor("FloatStorage", "0", 3, 0, &[3], &[1]),
            tensor("FloatStorage", "0", i64::MAX, 0, &[2], &[1]),
            tensor("FloatStorage", "0", -1, 0, &[2], &[1]),
            tensor("FloatStorage", "1", 2, 0, &[2], &[1]),
            tensor("FloatStorage", "../data.pkl", 2, 0, &[2], &[1]),
            tensor("FloatStorage", "0", 2, 1, &[2], &[1]),
            tensor("FloatStorage", "0", 2, -1, &[2], &[1]),
            tensor("FloatStorage", "0", 2, i64::MAX, &[2], &[1]),
            tensor("FloatStorage", "0", 2, 0, &[2], &[2]),
            tensor("FloatStorage", "0", 2, 0, &[2], &[1, 1]),
            tensor("FloatStorage", "0", 2, 0, &[usize::MAX, 4], &[1, 1]),
            tensor("FloatStorage", "0", 2, 0, &[i64::MAX as usize, 4], &[0, 0]),
            tensor("FloatStorage", "0", 2, 0, &[2], &[i64::MAX as usize]),
        ] {
            let e = load(&pickle).map(drop).expect_err("a lie");
            assert_eq!((e.kind(), e.op()), (ErrorKind::Io, LOAD), "{e}");
        }
        let e = load(&tensor("ComplexFloatStorage", "0", 1, 0, &[1], &[1])).map(drop).expect_err("complex");
        assert_eq!(e.kind(), ErrorKind::DType);
        Ok(())
    }

    #[test]
    fn nothing_is_called_and_nothing_grows_without_end() -> Result<()> {
        let device = Device::best()?;
        let load = |pickle: &[u8]| load_pt_bytes(&archive(pickle), &device);
        let system = load(b"cos\nsystem\nX\x04\x00\x00\x00exit\x85R.")?;
        assert!(matches!(system, Object::Unknown(name) if name == "os.system"));
        // a list that holds itself
        assert_eq!(load(b"]q\x00h\x00a.").map(drop).expect_err("endless").kind(), ErrorKind::Io);
        // and as what a call is made of, which is that call again
        let again = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x01]q\x00(h\x01Nh\x00eR.";
        assert_eq!(load(again).map(drop).expect_err("endless").kind(), ErrorKind::Io);
        let chain = [
            &b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00)"[..],
            &b"q\x01(h\x00Nh\x01t".repeat(50_000),
            b"q\x01h\x00h\x01R.",
        ];
        assert_eq!(load(&chain.concat()).map(drop).expect_err("too deep").kind(), ErrorKind::Io);
        // each list holds the one before ten times
        let mut laughs = b"]".to_vec();
        for i in 0..20u8 {
            laughs.extend([b'q', i]);
            laughs.extend(*b"0](");
            laughs.extend([b'h', i].repeat(10));
            laughs.push(b'e');
        }
        laughs.push(b'.');
        assert_eq!(load(&laughs).map(drop).expect_err("too much").kind(), ErrorKind::Io);
        Ok(())
    }
}

//! Reading the corpus: the operation files of FORMAT.md as typed structs.

use crate::host::{Dt, HostTensor};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, String>;

/// One operation: its cases and their tensors.
pub struct OpFile {
    pub op: String,
    pub family: String,
    pub tier: i64,
    pub inplace: bool,
    pub signatures: Vec<String>,
    pub cases: Vec<Case>,
    pub tensors: Tensors,
}

/// The tensors of one safetensors file by key.
#[derive(Default)]
pub struct Tensors(pub HashMap<String, HostTensor>);

/// One call and what it must give.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub desc: String,
    pub dtype: String,
    pub args: Vec<Value>,
    pub kwargs: BTreeMap<String, Value>,
    pub outputs: Vec<Expected>,
    pub rtol: f64,
    pub atol: f64,
    pub grads: Option<Grads>,
    pub grad_grads: Option<GradGrads>,
    pub error: Option<ErrorCase>,
    pub tags: Vec<String>,
    pub inputs_after: BTreeMap<String, String>,
}

/// An argument. Integer and float scalars are apart, since type promotion tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    None,
    Tensor(TensorRef),
    List(Vec<Value>),
    DType(Dt),
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Ellipsis,
    Module(ModuleSpec),
}

/// A module and the arguments of its constructor.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleSpec {
    pub name: String,
    pub args: Vec<Value>,
    pub kwargs: BTreeMap<String, Value>,
}

/// One module: its cases and their tensors.
pub struct ModuleFile {
    pub name: String,
    pub cases: Vec<ModuleCase>,
    pub op: OpFile,
}

/// A call of a module and what it must give.
pub struct ModuleCase {
    pub init: ModuleSpec,
    pub state: BTreeMap<String, String>,
    pub training: bool,
    /// The call of `forward`.
    pub call: Case,
    pub buffers_after: BTreeMap<String, String>,
    pub params: BTreeMap<String, Option<String>>,
    /// Whether the constructor must fail.
    pub fails_at_once: bool,
}

/// A tensor argument: all of `key`, or a view of the flat storage that `key` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRef {
    pub key: String,
    pub view: Option<View>,
}

/// Shape, strides and offset, in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
    pub offset: usize,
}

/// An output: a tensor, scalar, list or dtype.
#[derive(Clone, Debug)]
pub struct Expected {
    pub value: Value,
    /// The input whose storage torch's result shares.
    pub view_of: Option<String>,
    /// An index among ties: only dtype and shape hold.
    pub unchecked: bool,
}

/// First-order gradients: with these cotangents, the inputs' gradients.
#[derive(Clone, Debug)]
pub struct Grads {
    /// One per output; None where it isn't differentiable.
    pub cotangents: Vec<Option<String>>,
    /// None: absent or all zero.
    pub inputs: BTreeMap<String, Option<String>>,
    pub rtol: f64,
    pub atol: f64,
}

/// Second-order gradients: those of sum <g, v>, where g are the first-order ones.
#[derive(Clone, Debug)]
pub struct GradGrads {
    /// v for some of the inputs.
    pub cotangents: BTreeMap<String, String>,
    pub inputs: BTreeMap<String, Option<String>>,
    /// Gradients with respect to the cotangents of `Grads`.
    pub grad_outputs: Vec<Option<String>>,
    pub rtol: f64,
    pub atol: f64,
}

/// Why the call must fail.
#[derive(Clone, Debug)]
pub struct ErrorCase {
    pub kind: String,
    pub message_contains: String,
    pub message: String,
    pub about_dtype: bool,
}

/// The folder of the corpus: `CALOR_CORPUS`, else the one in the repository.
pub fn folder() -> PathBuf {
    match std::env::var_os("CALOR_CORPUS") {
        Some(dir) => dir.into(),
        None => own_folder(),
    }
}

/// `tests/corpus`, which also holds TODO.
pub fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The names `folder/X` of what is in a subfolder of `dir`, sorted; none where there is no such folder.
///
/// # Errors
/// When it can't be read.
pub fn names_in(dir: &Path, folder: &str) -> Result<Vec<String>> {
    let sub = dir.join(folder);
    if !sub.exists() {
        return Ok(Vec::new());
    }
    Ok(op_names(&sub)?.into_iter().map(|name| format!("{folder}/{name}")).collect())
}

/// The names of the operations in `dir`, sorted.
///
/// # Errors
/// When `dir` can't be read or has none.
pub fn op_names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(|e| format!("no corpus in {}: {e}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(|e| e.to_string())?.file_name();
        if let Some(name) = file.to_str().and_then(|f| f.strip_suffix(".json"))
            && name != "manifest"
        {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Err(format!("no operation files in {}", dir.display()));
    }
    names.sort();
    Ok(names)
}

/// A file of a folder: its cases as JSON, and their tensors where it has any.
///
/// # Errors
/// When it can't be read.
pub fn read_cases(dir: &Path, name: &str) -> Result<(Vec<Json>, Tensors)> {
    let path = dir.join(format!("{name}.json"));
    let json = read_json(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let cases = field_array(object(&json)?, "cases")?.clone();
    let path = path.with_extension("safetensors");
    let tensors = if path.exists() { Tensors::read(&path)? } else { Tensors::default() };
    Ok((cases, tensors))
}

/// Reads the file of operation `name` with its tensors.
///
/// # Errors
/// When it is missing or not as FORMAT.md says; the message names file and case.
pub fn read_op(dir: &Path, name: &str) -> Result<OpFile> {
    let path = dir.join(format!("{name}.json"));
    let parsed = read_json(&path).and_then(|json| {
        let top = object(&json)?;
        let mut cases = Vec::new();
        for case in field_array(top, "cases")? {
            let fallible = || parse_case(object(case)?);
            let id = case.get("name").and_then(Json::as_str).unwrap_or("?");
            cases.push(fallible().map_err(|e| format!("case {id}: {e}"))?);
        }
        Ok(OpFile {
            op: field_str(top, "op")?,
            family: field_str(top, "family")?,
            tier: field(top, "tier")?.as_i64().ok_or("tier is no integer")?,
            inplace: field(top, "inplace")?.as_bool().ok_or("inplace is no bool")?,
            signatures: field_array(top, "signatures")?.iter().map(text).collect::<Result<_>>()?,
            cases,
            tensors: Tensors::default(),
        })
    });
    let mut file = parsed.map_err(|e| format!("{}: {e}", path.display()))?;
    let path = path.with_file_name(format!("{name}.safetensors"));
    if path.exists() {
        file.tensors = Tensors::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(file)
}

/// Reads the file of module `name`, which is in `modules`, with its tensors.
///
/// # Errors
/// When it is missing or not as FORMAT.md says.
pub fn read_module(dir: &Path, name: &str) -> Result<ModuleFile> {
    let path = dir.join("modules").join(format!("{name}.json"));
    let parsed = read_json(&path).and_then(|json| {
        let top = object(&json)?;
        let cases = field_array(top, "cases")?.iter().map(|case| {
            let id = case.get("name").and_then(Json::as_str).unwrap_or("?");
            object(case).and_then(|c| parse_module_case(name, c)).map_err(|e| format!("case {id}: {e}"))
        });
        cases.collect::<Result<Vec<_>>>()
    });
    let cases = parsed.map_err(|e| format!("{}: {e}", path.display()))?;
    let path = path.with_file_name(format!("{name}.safetensors"));
    let tensors = match path.exists() {
        true => Tensors::read(&path).map_err(|e| format!("{}: {e}", path.display()))?,
        false => Tensors::default(),
    };
    let op = OpFile {
        op: name.to_owned(),
        family: "modules".to_owned(),
        tier: 1,
        inplace: false,
        signatures: Vec::new(),
        cases: Vec::new(),
        tensors,
    };
    Ok(ModuleFile { name: name.to_owned(), cases, op })
}

impl Tensors {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When it can't be read or has a dtype outside [`Dt`].
    pub fn read(path: &Path) -> Result<Tensors> {
        let bytes = fs::read(path).map_err(|e| e.to_string())?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
        let mut map = HashMap::new();
        for (key, view) in file.iter() {
            let dtype = match view.dtype() {
                safetensors::Dtype::BOOL => Dt::Bool,
                safetensors::Dtype::U8 => Dt::U8,
                safetensors::Dtype::I32 => Dt::I32,
                safetensors::Dtype::I64 => Dt::I64,
                safetensors::Dtype::F16 => Dt::F16,
                safetensors::Dtype::BF16 => Dt::BF16,
                safetensors::Dtype::F32 => Dt::F32,
                safetensors::Dtype::F64 => Dt::F64,
                other => return Err(format!("{key} has the dtype {other:?}")),
            };
            map.insert(key.to_owned(), HostTensor::new(dtype, view.shape().to_vec(), view.data().to_vec())?);
        }
        Ok(Tensors(map))
    }

    /// The tensor of `key`, as stored.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, key: &str) -> Result<&HostTensor> {
        self.0.get(key).ok_or_else(|| format!("the corpus has no tensor {key}"))
    }

    /// What `tensor` refers to, contiguous.
    ///
    /// # Errors
    /// When there is no such tensor, or the view leaves it.
    pub fn resolve(&self, tensor: &TensorRef) -> Result<HostTensor> {
        let stored = self.get(&tensor.key)?;
        match &tensor.view {
            Some(v) => stored.view(&v.shape, &v.strides, v.offset),
            None => Ok(stored.clone()),
        }
    }
}

impl Case {
    /// Every tensor argument, those within lists too, in order.
    pub fn tensor_refs(&self) -> Vec<&TensorRef> {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a TensorRef>) {
            match value {
                Value::Tensor(t) => found.push(t),
                Value::List(values) => values.iter().for_each(|v| walk(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        self.args.iter().chain(self.kwargs.values()).for_each(|v| walk(v, &mut found));
        found
    }
}

impl Value {
    /// Reads one value of `args`, `kwargs` or `init`.
    ///
    /// # Errors
    /// When it is none of the forms in FORMAT.md.
    pub fn parse(json: &Json) -> Result<Value> {
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(b) => Value::Bool(*b),
            Json::String(s) => match s.as_str() {
                "inf" => Value::Float(f64::INFINITY),
                "-inf" => Value::Float(f64::NEG_INFINITY),
                "nan" => Value::Float(f64::NAN),
                _ => Value::Str(s.clone()),
            },
            // serde_json keeps "2" and "2.0" apart: only the former is an i64.
            Json::Number(n) => match n.as_i64() {
                Some(i) => Value::Int(i),
                None if n.is_f64() => Value::Float(n.as_f64().ok_or("no f64")?),
                None => return Err(format!("{n} is no i64")),
            },
            Json::Array(values) => Value::List(values.iter().map(Value::parse).collect::<Result<_>>()?),
            Json::Object(map) => Value::parse_object(map)?,
        })
    }

    fn parse_object(map: &Map<String, Json>) -> Result<Value> {
        if let Some(key) = map.get("tensor") {
            let view = match map.get("shape") {
                Some(shape) => Some(View {
                    shape: numbers(shape)?,
                    strides: numbers(field(map, "strides")?)?,
                    offset: number(field(map, "offset")?)?,
                }),
                None => None,
            };
            return Ok(Value::Tensor(TensorRef { key: text(key)?, view }));
        }
        if let Some(keys) = map.get("tensors") {
            let keys = keys.as_array().ok_or("tensors is no array")?;
            let each = |key| Ok(Value::Tensor(TensorRef { key: text(key)?, view: None }));
            return Ok(Value::List(keys.iter().map(each).collect::<Result<_>>()?));
        }
        if let Some(name) = map.get("dtype") {
            let name = text(name)?;
            return Dt::parse(&name).map(Value::DType).ok_or_else(|| format!("unknown dtype {name}"));
        }
        if let Some(parts) = map.get("slice").and_then(Json::as_array) {
            let part = |i: usize| match parts.get(i) {
                None | Some(Json::Null) => Ok(None),
                Some(n) => number(n).map(Some),
            };
            return Ok(Value::Slice(part(0)?, part(1)?, part(2)?));
        }
        if map.contains_key("module") {
            return parse_spec(field_str(map, "module")?, map).map(Value::Module);
        }
        if map.contains_key("ellipsis") {
            return Ok(Value::Ellipsis);
        }
        Err(format!("unknown value with the keys {:?}", map.keys().collect::<Vec<_>>()))
    }
}

fn parse_case(case: &Map<String, Json>) -> Result<Case> {
    let args = field_array(case, "args")?.iter().map(Value::parse).collect::<Result<_>>()?;
    let kwargs = object(field(case, "kwargs")?)?.iter();
    Ok(Case {
        name: field_str(case, "name")?,
        desc: field_str(case, "desc")?,
        dtype: field_str(case, "dtype")?,
        args,
        kwargs: kwargs.map(|(k, v)| Ok((k.clone(), Value::parse(v)?))).collect::<Result<_>>()?,
        outputs: field_array(case, "outputs")?.iter().map(parse_output).collect::<Result<_>>()?,
        rtol: float(case, "rtol")?,
        atol: float(case, "atol")?,
        grads: present(case, "grads").map(parse_grads).transpose()?,
        grad_grads: present(case, "grad_grads").map(parse_grad_grads).transpose()?,
        error: present(case, "error").map(parse_error).transpose()?,
        tags: match case.get("tags") {
            Some(tags) => tags.as_array().ok_or("tags is no array")?.iter().map(text).collect::<Result<_>>()?,
            None => Vec::new(),
        },
        inputs_after: present(case, "inputs_after").map(keys).transpose()?.unwrap_or_default(),
    })
}

fn parse_spec(name: String, map: &Map<String, Json>) -> Result<ModuleSpec> {
    let args = field_array(map, "args")?.iter().map(Value::parse).collect::<Result<_>>()?;
    let kwargs = object(field(map, "kwargs")?)?.iter();
    let kwargs = kwargs.map(|(k, v)| Ok((k.clone(), Value::parse(v)?))).collect::<Result<_>>()?;
    Ok(ModuleSpec { name, args, kwargs })
}

fn parse_module_case(name: &str, case: &Map<String, Json>) -> Result<ModuleCase> {
    let map = |key| present(case, key).map(keys).transpose().map(Option::unwrap_or_default);
    let params = present(case, "grads").and_then(|g| g.get("params"));
    Ok(ModuleCase {
        init: parse_spec(name.to_owned(), object(field(case, "init")?)?)?,
        state: map("state_dict")?,
        training: case.get("training").and_then(Json::as_bool).unwrap_or(true),
        call: parse_case(case)?,
        buffers_after: map("buffers_after")?,
        params: params.map(optional_keys).transpose()?.unwrap_or_default(),
        fails_at_once: present(case, "error").and_then(|e| e.get("on")).and_then(Json::as_str) == Some("construct"),
    })
}

fn parse_output(json: &Json) -> Result<Expected> {
    Ok(Expected {
        value: Value::parse(json)?,
        view_of: json.get("view_of").map(text).transpose()?,
        unchecked: json.get("unchecked").and_then(Json::as_bool).unwrap_or(false),
    })
}

fn parse_grads(json: &Json) -> Result<Grads> {
    let map = object(json)?;
    Ok(Grads {
        cotangents: field_array(map, "cotangents")?.iter().map(optional_text).collect::<Result<_>>()?,
        inputs: optional_keys(field(map, "inputs")?)?,
        rtol: float(map, "rtol")?,
        atol: float(map, "atol")?,
    })
}

fn parse_grad_grads(json: &Json) -> Result<GradGrads> {
    let map = object(json)?;
    Ok(GradGrads {
        cotangents: keys(field(map, "cotangents")?)?,
        inputs: optional_keys(field(map, "inputs")?)?,
        grad_outputs: field_array(map, "grad_outputs")?.iter().map(optional_text).collect::<Result<_>>()?,
        rtol: float(map, "rtol")?,
        atol: float(map, "atol")?,
    })
}

fn parse_error(json: &Json) -> Result<ErrorCase> {
    let map = object(json)?;
    Ok(ErrorCase {
        kind: field_str(map, "type")?,
        message_contains: field_str(map, "message_contains")?,
        message: field_str(map, "message")?,
        about_dtype: map.get("about_dtype").and_then(Json::as_bool).unwrap_or(false),
    })
}

fn read_json(path: &Path) -> Result<Json> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

fn object(json: &Json) -> Result<&Map<String, Json>> {
    json.as_object().ok_or_else(|| "not an object".to_owned())
}

fn field<'a>(map: &'a Map<String, Json>, key: &str) -> Result<&'a Json> {
    map.get(key).ok_or_else(|| format!("no key {key}"))
}

/// `field`, with null like an absent key.
fn present<'a>(map: &'a Map<String, Json>, key: &str) -> Option<&'a Json> {
    map.get(key).filter(|v| !v.is_null())
}

fn field_array<'a>(map: &'a Map<String, Json>, key: &str) -> Result<&'a Vec<Json>> {
    field(map, key)?.as_array().ok_or_else(|| format!("{key} is no array"))
}

fn field_str(map: &Map<String, Json>, key: &str) -> Result<String> {
    text(field(map, key)?)
}

fn float(map: &Map<String, Json>, key: &str) -> Result<f64> {
    field(map, key)?.as_f64().ok_or_else(|| format!("{key} is no number"))
}

fn text(json: &Json) -> Result<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| format!("{json} is no string"))
}

fn optional_text(json: &Json) -> Result<Option<String>> {
    if json.is_null() { Ok(None) } else { text(json).map(Some) }
}

fn keys(json: &Json) -> Result<BTreeMap<String, String>> {
    object(json)?.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect()
}

fn optional_keys(json: &Json) -> Result<BTreeMap<String, Option<String>>> {
    object(json)?.iter().map(|(k, v)| Ok((k.clone(), optional_text(v)?))).collect()
}

fn number<T: TryFrom<i64>>(json: &Json) -> Result<T> {
    json.as_i64().and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("{json} is no index"))
}

fn numbers<T: TryFrom<i64>>(json: &Json) -> Result<Vec<T>> {
    json.as_array().ok_or("no array")?.iter().map(number).collect()
}

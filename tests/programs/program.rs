//! Programs as they are stored, and as text to read.

use crate::corpus::Value;
use crate::host::{Dt, HostTensor};
use crate::signature::Signature;
use flate2::read::GzDecoder;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

type Result<T> = std::result::Result<T, String>;

/// All programs of a file, and the signatures of the operations in them.
pub struct Library {
    pub signatures: HashMap<String, Vec<Signature>>,
    pub programs: Vec<Program>,
}

pub struct Program {
    pub id: u64,
    pub inputs: Vec<Input>,
    pub steps: Vec<Step>,
    /// What each read and each gradient of `steps` gives.
    pub expected: Vec<Option<Expected>>,
    /// Tensors alive at the end which share their memory.
    pub shared: Vec<Vec<String>>,
    /// Tensors alive at the end which require a gradient.
    pub traced: Vec<String>,
}

pub struct Input {
    pub name: String,
    pub host: HostTensor,
    pub leaf: bool,
}

pub struct Expected {
    pub host: HostTensor,
    pub atol: f64,
}

pub enum Step {
    Op(Op),
    Read(String),
    Grad(String),
    Drop(String),
    Eval(String),
    /// Of a scalar; whether the graph is kept.
    Backward(String, bool),
    /// Names the gradient of a tensor.
    Take(String, String),
    Clear(String),
    Detach(String, String),
    Requires(String),
    Retain(String),
}

pub struct Op {
    pub outs: Vec<String>,
    pub name: String,
    pub args: Vec<Value>,
    pub kwargs: BTreeMap<String, Value>,
    pub no_grad: bool,
    /// Whether PyTorch refuses it.
    pub refused: bool,
    text: String,
}

impl Library {
    pub fn read(path: &Path) -> Result<Library> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut lines = BufReader::new(GzDecoder::new(file)).lines();
        let mut next = || -> Result<Option<Json>> {
            let Some(line) = lines.next() else { return Ok(None) };
            serde_json::from_str(&line.map_err(|e| e.to_string())?).map(Some).map_err(|e| e.to_string())
        };
        let head = next()?.ok_or("no head")?;
        let mut signatures = HashMap::new();
        for (op, list) in head["signatures"].as_object().ok_or("no signatures")? {
            let each = |s: &Json| Signature::parse(s.as_str().unwrap_or_default());
            signatures.insert(op.clone(), array(list)?.iter().map(each).collect::<Result<_>>()?);
        }
        let mut programs = Vec::new();
        while let Some(json) = next()? {
            programs.push(Program::parse(&json).map_err(|e| format!("program {}: {e}", json["id"]))?);
        }
        if programs.is_empty() {
            return Err("no programs".to_owned());
        }
        Ok(Library { signatures, programs })
    }
}

fn array(json: &Json) -> Result<&Vec<Json>> {
    json.as_array().ok_or_else(|| format!("{json} is no list"))
}

fn text(json: &Json) -> Result<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| format!("{json} is no text"))
}

fn texts(json: &Json) -> Result<Vec<String>> {
    array(json)?.iter().map(text).collect()
}

fn tensor(dtype: &Json, shape: &Json, values: &Json, scale: f64) -> Result<HostTensor> {
    let dtype = Dt::parse(&text(dtype)?).ok_or("a dtype")?;
    let shape = array(shape)?.iter().map(|n| n.as_u64().unwrap_or_default() as usize).collect();
    let mut data = Vec::new();
    for v in array(values)? {
        let (i, f) = (v.as_i64().unwrap_or_default(), v.as_f64().unwrap_or(f64::NAN));
        match dtype {
            Dt::F32 => data.extend(((f / scale) as f32).to_le_bytes()),
            Dt::I64 => data.extend(i.to_le_bytes()),
            Dt::I32 => data.extend((i as i32).to_le_bytes()),
            _ => data.push(i as u8),
        }
    }
    HostTensor::new(dtype, shape, data)
}

/// An argument in the corpus's form.
fn value(json: &Json) -> Result<Value> {
    fn full(json: &Json) -> Json {
        match json {
            Json::String(s) if s.starts_with('$') => json!({ "tensor": s }),
            Json::Array(items) => items.iter().map(full).collect(),
            _ => json.clone(),
        }
    }
    Value::parse(&full(json))
}

impl Program {
    fn parse(json: &Json) -> Result<Program> {
        let input = |one: &Json| {
            let host = tensor(&one[1], &one[2], &one[3], 64.0)?;
            Ok(Input { name: text(&one[0])?, host, leaf: one[4] == 1 })
        };
        let expected = |one: &Json| match one {
            Json::Null => Ok(None),
            _ => {
                let host = tensor(&one[0], &one[1], &one[2], 1.0)?;
                Ok(Some(Expected { host, atol: one[3].as_f64().ok_or("no tolerance")? }))
            }
        };
        Ok(Program {
            id: json["id"].as_u64().ok_or("no id")?,
            inputs: array(&json["in"])?.iter().map(input).collect::<Result<_>>()?,
            steps: array(&json["steps"])?.iter().map(Step::parse).collect::<Result<_>>()?,
            expected: array(&json["expected"])?.iter().map(expected).collect::<Result<_>>()?,
            shared: array(&json["shared"])?.iter().map(texts).collect::<Result<_>>()?,
            traced: texts(&json["traced"])?,
        })
    }

    /// The program as PyTorch's lines, up to and with step `last`.
    pub fn text(&self, last: usize) -> String {
        let mut out = String::new();
        for Input { name, host, leaf } in &self.inputs {
            let values: Vec<String> = host.to_f64().iter().map(f64::to_string).collect();
            let leaf = if *leaf { ".requires_grad_()" } else { "" };
            let _ = writeln!(
                out,
                "    {} = torch.tensor([{}], dtype={}).reshape({:?}){leaf}",
                var(name),
                values.join(", "),
                host.dtype,
                host.shape
            );
        }
        for step in &self.steps[..self.steps.len().min(last + 1)] {
            let _ = writeln!(out, "    {}", step.text());
        }
        out
    }
}

fn var(name: &str) -> String {
    name.replace('$', "v")
}

fn shown(json: &Json) -> String {
    match json {
        Json::String(s) if s.starts_with('$') => var(s),
        Json::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => match map.iter().next() {
            Some((kind, Json::Array(ends))) if kind == "slice" => {
                let end = |e: &Json| if e.is_null() { "None".to_owned() } else { e.to_string() };
                format!("slice({})", ends.iter().map(end).collect::<Vec<_>>().join(", "))
            }
            Some((_, Json::String(dtype))) => format!("torch.{dtype}"),
            _ => "...".to_owned(),
        },
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

impl Op {
    fn parse(json: &Json) -> Result<Op> {
        let (outs, name, flags) = (texts(&json[1])?, text(&json[2])?, text(&json[5])?);
        let empty = Map::new();
        let kwargs = json[4].as_object().unwrap_or(&empty);
        let args = array(&json[3])?;
        let mut parts: Vec<String> = args.iter().map(shown).collect();
        parts.extend(kwargs.iter().map(|(k, v)| format!("{k}={}", shown(v))));
        let call = format!("torch.{name}({})", parts.join(", "));
        let names: Vec<String> = outs.iter().map(|n| var(n)).collect();
        let (no_grad, refused) = (flags.contains('n'), flags.contains('e'));
        let text = format!(
            "{}{}{call}{}{}",
            names.join(", "),
            if outs.is_empty() { "" } else { " = " },
            if no_grad { "  # under no_grad" } else { "" },
            if refused { "  # refused" } else { "" },
        );
        Ok(Op {
            outs,
            name,
            args: args.iter().map(value).collect::<Result<_>>()?,
            kwargs: kwargs.iter().map(|(k, v)| Ok((k.clone(), value(v)?))).collect::<Result<_>>()?,
            no_grad,
            refused,
            text,
        })
    }
}

impl Step {
    fn parse(json: &Json) -> Result<Step> {
        let name = || text(&json[1]);
        Ok(match text(&json[0])?.as_str() {
            "op" => Step::Op(Op::parse(json)?),
            "read" => Step::Read(name()?),
            "grad" => Step::Grad(name()?),
            "drop" => Step::Drop(name()?),
            "eval" => Step::Eval(name()?),
            "backward" => Step::Backward(name()?, json[2] == true),
            "take" => Step::Take(name()?, text(&json[2])?),
            "clear" => Step::Clear(name()?),
            "detach" => Step::Detach(name()?, text(&json[2])?),
            "requires" => Step::Requires(name()?),
            "retain" => Step::Retain(name()?),
            other => return Err(format!("step {other}")),
        })
    }

    fn text(&self) -> String {
        match self {
            Step::Op(op) => op.text.clone(),
            Step::Read(n) => format!("print({})", var(n)),
            Step::Grad(n) => format!("print({}.grad)", var(n)),
            Step::Drop(n) => format!("del {}", var(n)),
            Step::Eval(n) => format!("# {} is computed", var(n)),
            Step::Backward(n, retain) => {
                format!("{}.backward({})", var(n), if *retain { "retain_graph=True" } else { "" })
            }
            Step::Take(out, n) => format!("{} = {}.grad", var(out), var(n)),
            Step::Clear(n) => format!("{}.grad = None", var(n)),
            Step::Detach(out, n) => format!("{} = {}.detach()", var(out), var(n)),
            Step::Requires(n) => format!("{}.requires_grad_()", var(n)),
            Step::Retain(n) => format!("{}.retain_grad()", var(n)),
        }
    }
}

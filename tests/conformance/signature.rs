//! The `signatures` of an operation (aten schemas or Python signatures), and binding a case's arguments to their names.

use crate::corpus::Value;
use std::collections::BTreeMap;

/// One overload.
#[derive(Clone, Debug)]
pub struct Signature {
    /// With the overload's name: `sum.dim_IntList`.
    pub name: String,
    pub params: Vec<Param>,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub ty: Ty,
    pub kind: Kind,
    pub required: bool,
}

/// How a parameter takes its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    KeywordOnly,
    /// `*tensors`: all further positional arguments.
    Rest,
    /// `**kwargs`: any keyword.
    Keywords,
}

/// A schema's type; `base` is empty for Python parameters, which take anything.
#[derive(Clone, Debug, Default)]
pub struct Ty {
    pub base: String,
    pub list: bool,
    /// `int[2]`, which one integer may stand for.
    pub sized: bool,
    pub optional: bool,
}

/// A case's arguments by name and position.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The overload that the arguments fit; None where none does, and only positions and keywords hold.
    pub overload: Option<String>,
    /// Arguments with their names, if known.
    pub slots: Vec<(Option<String>, Value)>,
    /// The slot of each positional argument.
    pub positions: Vec<usize>,
}

impl Signature {
    /// Parses an aten schema or a Python signature.
    ///
    /// # Errors
    /// When `text` has no parameter list.
    pub fn parse(text: &str) -> Result<Signature, String> {
        let error = || format!("no signature: {text}");
        let open = text.find('(').ok_or_else(error)?;
        let close = closing(&text[open..]).ok_or_else(error)? + open;
        let mut params = Vec::new();
        let mut keyword_only = false;
        for part in split_top(&text[open + 1..close], ',') {
            match part.trim() {
                "" | "/" => {}
                "*" => keyword_only = true,
                part => {
                    params.push(Param::parse(part, keyword_only));
                    keyword_only |= part.starts_with('*');
                }
            }
        }
        Ok(Signature { name: text[..open].trim().to_owned(), params })
    }

    /// Binds the arguments, or None where they don't fit. `strict` asks for fitting types, too.
    fn bind(&self, args: &[Value], kwargs: &BTreeMap<String, Value>, strict: bool) -> Option<Bound> {
        let mut bound = Bound { overload: Some(self.name.clone()), slots: Vec::new(), positions: Vec::new() };
        let fits = |param: &Param, value: &Value| !strict || param.ty.accepts(value);
        let mut rest = args;
        let mut given = Vec::new();
        let normal = self.params.iter().filter(|p| p.kind == Kind::Normal).count();
        for param in self.params.iter().filter(|p| matches!(p.kind, Kind::Normal | Kind::Rest)) {
            let slot = bound.slots.len();
            if param.kind == Kind::Rest {
                bound.positions.extend(rest.iter().map(|_| slot));
                bound.slots.push((Some(param.name.clone()), Value::List(rest.to_vec())));
                rest = &[];
                break;
            }
            let Some((value, more)) = rest.split_first() else { break };
            let last = given.len() + 1 == normal;
            let ints = rest.len() > 1 && rest.iter().all(|v| matches!(v, Value::Int(_)));
            if last && param.ty.list && ints {
                // Python's view(x, 2, 3) for view(x, [2, 3]).
                bound.positions.extend(rest.iter().map(|_| slot));
                bound.slots.push((Some(param.name.clone()), Value::List(rest.to_vec())));
                rest = &[];
            } else {
                if !fits(param, value) {
                    return None;
                }
                bound.positions.push(slot);
                bound.slots.push((Some(param.name.clone()), value.clone()));
                rest = more;
            }
            given.push(&param.name);
        }
        if !rest.is_empty() {
            return None;
        }
        for (name, value) in kwargs {
            match self.params.iter().find(|p| same_name(&p.name, name) && p.kind != Kind::Keywords) {
                Some(p) if given.contains(&&p.name) || !fits(p, value) => return None,
                Some(p) => {
                    given.push(&p.name);
                    bound.slots.push((Some(p.name.clone()), value.clone()));
                }
                None if self.params.iter().any(|p| p.kind == Kind::Keywords) => {
                    bound.slots.push((Some(name.clone()), value.clone()));
                }
                None => return None,
            }
        }
        self.params.iter().all(|p| !p.required || given.contains(&&p.name)).then_some(bound)
    }
}

/// Binds a call to the first overload that fits: by types, else by arity and names alone.
pub fn bind(signatures: &[Signature], args: &[Value], kwargs: &BTreeMap<String, Value>) -> Bound {
    for strict in [true, false] {
        if let Some(bound) = signatures.iter().find_map(|s| s.bind(args, kwargs, strict)) {
            return bound;
        }
    }
    let mut slots: Vec<_> = args.iter().map(|v| (None, v.clone())).collect();
    // What has no schema (`Tensor.T`, `Tensor.__getitem__`) is a method; its first argument is self.
    if let Some(first) = slots.first_mut() {
        first.0 = Some("self".to_owned());
    }
    slots.extend(kwargs.iter().map(|(k, v)| (Some(k.clone()), v.clone())));
    Bound { overload: None, slots, positions: (0..args.len()).collect() }
}

/// Whether two parameter names are one: torch lets `self` go by `input`.
pub fn same_name(a: &str, b: &str) -> bool {
    let canonical = |n| if n == "input" { "self" } else { n };
    canonical(a) == canonical(b)
}

impl Param {
    /// `int[1]? dim=None`, `dim: int = 0`, `dim=0`, `dim` or `*tensors`.
    fn parse(text: &str, keyword_only: bool) -> Param {
        let declaration = split_top(text, '=');
        let has_default = declaration.len() > 1;
        let declaration = declaration[0].trim();
        let (kind, declaration) = if let Some(name) = declaration.strip_prefix("**") {
            (Kind::Keywords, name)
        } else if let Some(name) = declaration.strip_prefix('*') {
            (Kind::Rest, name)
        } else if keyword_only {
            (Kind::KeywordOnly, declaration)
        } else {
            (Kind::Normal, declaration)
        };
        let (ty, name) = if let Some((name, _annotation)) = declaration.split_once(':') {
            (Ty::default(), name)
        } else if let Some((ty, name)) = declaration.rsplit_once(char::is_whitespace) {
            (Ty::parse(ty.trim()), name)
        } else {
            (Ty::default(), declaration)
        };
        let required = !has_default && matches!(kind, Kind::Normal | Kind::KeywordOnly);
        Param { name: name.trim().to_owned(), ty, kind, required }
    }
}

impl Ty {
    /// `Tensor(a!)`, `int[1]?`, `Tensor?[]`.
    fn parse(text: &str) -> Ty {
        let base = &text[..text.find(['(', '[', '?']).unwrap_or(text.len())];
        let open = text.find('[');
        let sized = open.is_some_and(|i| text[i + 1..].starts_with(|c: char| c.is_ascii_digit()));
        Ty { base: base.to_owned(), list: open.is_some(), sized, optional: text.ends_with('?') }
    }

    /// Whether torch's parser would take `value` here.
    fn accepts(&self, value: &Value) -> bool {
        match value {
            _ if self.base.is_empty() => true,
            Value::None => self.optional,
            Value::List(items) if self.list => items.iter().all(|v| self.accepts_one(v) || *v == Value::None),
            _ => (!self.list || self.sized) && self.accepts_one(value),
        }
    }

    fn accepts_one(&self, value: &Value) -> bool {
        match self.base.as_str() {
            "Tensor" => matches!(value, Value::Tensor(_)),
            "int" | "SymInt" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_) | Value::Int(_)),
            "Scalar" => matches!(value, Value::Float(_) | Value::Int(_) | Value::Bool(_)),
            "bool" => matches!(value, Value::Bool(_)),
            "str" | "Dimname" => matches!(value, Value::Str(_)),
            "ScalarType" => matches!(value, Value::DType(_)),
            _ => true,
        }
    }
}

/// The bracket that closes the one `text` starts with.
fn closing(text: &str) -> Option<usize> {
    let mut scan = Scan::default();
    text.char_indices().find_map(|(i, c)| {
        scan.step(c);
        (scan.depth == 0 && i > 0).then_some(i)
    })
}

/// Splits at `separator` outside brackets and strings.
fn split_top(text: &str, separator: char) -> Vec<&str> {
    let mut scan = Scan::default();
    let mut parts = Vec::new();
    let mut start = 0;
    for (i, c) in text.char_indices() {
        scan.step(c);
        if c == separator && scan.depth == 0 && scan.quote.is_none() {
            parts.push(&text[start..i]);
            start = i + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Bracket depth and open quote while reading a signature.
#[derive(Default)]
struct Scan {
    depth: i32,
    quote: Option<char>,
}

impl Scan {
    fn step(&mut self, c: char) {
        match (self.quote, c) {
            (Some(q), _) if c == q => self.quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => self.quote = Some(c),
            (None, '(' | '[' | '{') => self.depth += 1,
            (None, ')' | ']' | '}') => self.depth -= 1,
            _ => {}
        }
    }
}

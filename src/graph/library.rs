//! The shader library: WGSL files cut into items, instantiated by replacing whole identifiers.
//!
//! A library function is written once in `T` (and `U`, `I`, `B`: the unsigned, signed and truth types of the same
//! width; `W`: `u32`, for shifts) and is valid for one lane and for four. Nothing else of WGSL is templated.
//!
//! ```
//! use calor::{DType, graph::library::{Instances, library}};
//! assert!(library(DType::F32).get("op_tanh").is_some());
//! let mut kernel = Instances::default();
//! let name = kernel.call(None, "op_tanh", DType::F16, false)?;
//! assert!(name == "op_tanh_f32" && kernel.text.contains("fn op_tanh_f32("));
//! # Ok::<(), calor::Error>(())
//! ```

use crate::dtype::DType;
use crate::error::{Result, bail};
use rustc_hash::FxHashMap as HashMap;
use std::borrow::Cow;
use std::sync::LazyLock;

/// A top-level declaration of a WGSL file.
///
/// ```
/// use calor::graph::library::items;
/// let item = items("const TILE: u32 = 16u;").remove(0);
/// assert_eq!((&item.keyword[..], &item.name[..], &item.text[..]), ("const", "TILE", "const TILE: u32 = 16u;"));
/// ```
#[derive(Clone, Debug)]
pub struct Item {
    /// `fn`, `const`, `struct`, `alias`, `var`.
    pub keyword: String,
    /// What it declares.
    pub name: String,
    /// Its text, attributes included.
    pub text: String,
}

/// A file's items in order.
///
/// ```
/// use calor::graph::library::items;
/// let all = items("const N = 4u; // lanes\nfn f(x: T) -> T { return x; }\nvar<private> seen: u32;");
/// assert_eq!(all.iter().map(|i| &i.name[..]).collect::<Vec<_>>(), ["N", "f", "seen"]);
/// ```
pub fn items(source: &str) -> Vec<Item> {
    let clean = strip_comments(source);
    let mut out = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, c) in clean.char_indices() {
        let ends = match c {
            '{' => {
                depth += 1;
                false
            }
            '}' => {
                depth -= 1;
                depth == 0
            }
            ';' => depth == 0,
            _ => false,
        };
        if ends {
            let text = clean[start..=at].trim();
            start = at + 1;
            if let Some(item) = item(text) {
                out.push(item);
            }
        }
    }
    out
}

fn item(text: &str) -> Option<Item> {
    let words: Vec<(usize, &str)> = identifiers(text).collect();
    let position =
        words.iter().position(|w| matches!(w.1, "fn" | "const" | "struct" | "alias" | "var" | "override"))?;
    let keyword = words[position].1;
    // `var<storage, read_write> name`: the name follows the closing bracket
    let name = if keyword == "var" {
        let from = text[words[position].0..].find('>').map_or(words[position].0 + 3, |g| words[position].0 + g + 1);
        words.iter().find(|w| w.0 >= from)?.1
    } else {
        words.get(position + 1)?.1
    };
    Some(Item { keyword: keyword.into(), name: name.into(), text: text.into() })
}

fn strip_comments(source: &str) -> String {
    source
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code).trim_end())
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The identifiers of a text with their positions; numbers and members (`.x`) are not identifiers.
///
/// ```
/// use calor::graph::library::identifiers;
/// assert_eq!(identifiers("x1 + v.y * 2u").collect::<Vec<_>>(), [(0, "x1"), (5, "v")]);
/// ```
pub fn identifiers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let from = at;
            let c = bytes[at];
            if c.is_ascii_alphabetic() || c == b'_' {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                if from == 0 || bytes[from - 1] != b'.' {
                    return Some((from, &text[from..at]));
                }
            } else if c.is_ascii_digit() {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || bytes[at] == b'.')
                {
                    at += 1;
                }
            } else {
                at += 1;
            }
        }
        None
    })
}

/// `text` with identifiers replaced where `with` says so.
///
/// ```
/// use calor::graph::library::replace;
/// let text = replace("T(x) + TT", |word| (word == "T").then(|| "vec4<f32>".into()));
/// assert_eq!(text, "vec4<f32>(x) + TT");
/// ```
pub fn replace<'a>(text: &str, with: impl Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut from = 0;
    for (at, word) in identifiers(text) {
        if let Some(new) = with(word) {
            out.push_str(&text[from..at]);
            out.push_str(&new);
            from = at + word.len();
        }
    }
    out.push_str(&text[from..]);
    out
}

/// How the constant that bounds a loop to be written out begins.
const EACH: &str = "EACH_";

/// `text` with every loop `for (var i = 0u; i < EACH_ROW; i++) {..}` written out, its bound being the value that
/// `known` has for it: drivers keep arrays in registers only where all indices are constants, and do not unroll the
/// loops that wgpu bounds.
///
/// ```
/// use calor::graph::library::unroll;
/// let text = "for (var i = 0u; i < EACH_ROW; i++) { s += a[i]; }";
/// assert_eq!(unroll(text, |_| Some(2)), "{ s += a[0u]; }\n{ s += a[1u]; }");
/// ```
pub fn unroll(text: &str, known: impl Fn(&str) -> Option<u32>) -> String {
    let mut text = text.to_string();
    let mut from = 0;
    while let Some(at) = text[from..].find("for (var ").map(|a| a + from) {
        from = at + 1;
        let Some(open) = text[at..].find('{').map(|o| at + o) else { break };
        let Some((variable, count)) = header(&text[at..open]).and_then(|(v, bound)| Some((v, known(bound)?))) else {
            continue;
        };
        let Some(close) = closing(&text, open) else { break };
        let body = &text[open..=close];
        let copies: Vec<String> =
            (0..count).map(|i| replace(body, |w| (w == variable).then(|| Cow::Owned(format!("{i}u"))))).collect();
        let copies = copies.join("\n");
        text.replace_range(at..=close, &copies);
        // what was put in may hold loops of its own
        from = at;
    }
    text
}

/// The variable and the bound of a loop that is to be written out.
fn header(text: &str) -> Option<(String, &str)> {
    let (start, rest) = text.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(start)?.strip_prefix(" < ")?.split_once(';')?.0;
    bound.starts_with(EACH).then(|| (start.to_string(), bound))
}

/// Where the brace that opens at `open` closes.
fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + at);
                }
            }
            _ => {}
        }
    }
    None
}

/// A set of functions that share a compute type.
///
/// ```
/// use calor::graph::library::{Gives, Library};
/// let own = Library::new(&["fn op_twice(x: T) -> T { return x + x; }"]);
/// assert_eq!(own.gives("op_twice"), Some(Gives::T));
/// ```
#[derive(Debug)]
pub struct Library {
    items: HashMap<String, Item>,
}

/// What a library function gives.
///
/// ```
/// use calor::{DType, graph::library::{Gives, library}};
/// let floats = library(DType::F32);
/// assert_eq!((floats.gives("op_exp"), floats.gives("op_lt")), (Some(Gives::T), Some(Gives::B)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// The compute type.
    T,
    /// A truth value.
    B,
    /// The unsigned type of the same width.
    U,
    /// The signed type of the same width.
    I,
}

impl Library {
    /// A library of some files' functions and constants.
    ///
    /// ```
    /// use calor::graph::library::Library;
    /// // functions and constants of all files, nothing else
    /// let library = Library::new(&["const A = 1u;", "struct S { x: u32 }\nfn f(x: T) -> T { return x; }"]);
    /// assert!(library.get("A").is_some() && library.get("f").is_some() && library.get("S").is_none());
    /// ```
    pub fn new(sources: &[&str]) -> Self {
        let mut all = HashMap::default();
        for source in sources {
            for item in items(source) {
                if matches!(item.keyword.as_str(), "fn" | "const") {
                    all.insert(item.name.clone(), item);
                }
            }
        }
        Self { items: all }
    }

    /// The item of that name.
    ///
    /// ```
    /// use calor::{DType, graph::library::library};
    /// assert_eq!(library(DType::F32).get("op_add").map(|i| &i.keyword[..]), Some("fn"));
    /// assert!(library(DType::F32).get("op_none_such").is_none());
    /// ```
    pub fn get(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// Names of all functions.
    ///
    /// ```
    /// use calor::{DType, graph::library::library};
    /// assert!(library(DType::I32).functions().any(|name| name == "op_gcd"));
    /// ```
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.items.values().filter(|i| i.keyword == "fn").map(|i| i.name.as_str())
    }

    /// What a function gives, by its declaration.
    ///
    /// ```
    /// use calor::{DType, graph::library::{Gives, library}};
    /// assert_eq!(library(DType::F32).gives("op_lt"), Some(Gives::B));
    /// assert_eq!(library(DType::F32).gives("op_none_such"), None);
    /// ```
    pub fn gives(&self, name: &str) -> Option<Gives> {
        let text = &self.get(name)?.text;
        let head = &text[..text.find('{')?];
        let result = head.rsplit_once("->")?.1.trim();
        Some(match result {
            "B" | "bool" => Gives::B,
            "U" | "u32" => Gives::U,
            "I" | "i32" => Gives::I,
            _ => Gives::T,
        })
    }
}

macro_rules! shader {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path))
    };
}
pub(crate) use shader;

const CONVERT: &str = shader!("shared/convert.wgsl");
const PHILOX: &str = shader!("shared/philox.wgsl");

static FLOAT: LazyLock<Library> =
    LazyLock::new(|| Library::new(&[shader!("map/float.wgsl"), shader!("map/float_special.wgsl"), CONVERT, PHILOX]));
static DOUBLE: LazyLock<Library> =
    LazyLock::new(|| Library::new(&[shader!("map/double.wgsl"), shader!("map/double_special.wgsl"), CONVERT]));
static INT: LazyLock<Library> = LazyLock::new(|| Library::new(&[shader!("map/int.wgsl"), CONVERT]));
static UINT: LazyLock<Library> = LazyLock::new(|| Library::new(&[shader!("map/uint.wgsl"), CONVERT, PHILOX]));
static BOOL: LazyLock<Library> = LazyLock::new(|| Library::new(&[shader!("map/bool.wgsl"), CONVERT]));

/// The functions for a dtype's compute type.
///
/// ```
/// use calor::{DType, graph::library::library};
/// // half types are computed as f32
/// assert!(std::ptr::eq(library(DType::F16), library(DType::F32)));
/// assert!(library(DType::Bool).get("op_exp").is_none());
/// ```
pub fn library(dtype: DType) -> &'static Library {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => &FLOAT,
        DType::F64 => &DOUBLE,
        DType::I32 | DType::I64 => &INT,
        DType::U8 | DType::U32 => &UINT,
        DType::Bool => &BOOL,
    }
}

/// The WGSL scalar that a dtype is computed in.
///
/// ```
/// use calor::{DType, graph::library::scalar};
/// assert_eq!((scalar(DType::BF16), scalar(DType::U8)), ("f32", "u32"));
/// ```
pub fn scalar(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 | DType::U32 => "u32",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::F16 | DType::BF16 | DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

/// The dtype that stands for a dtype's compute type.
///
/// ```
/// use calor::{DType, graph::library::compute};
/// assert_eq!((compute(DType::U8), compute(DType::F16), compute(DType::I64)), (DType::U32, DType::F32, DType::I64));
/// ```
pub fn compute(dtype: DType) -> DType {
    match dtype {
        DType::U8 => DType::U32,
        other => other.compute(),
    }
}

/// The WGSL type of one or four lanes.
///
/// ```
/// use calor::{DType, graph::library::wgsl};
/// assert_eq!((&*wgsl(DType::F16, false), &*wgsl(DType::F16, true)), ("f32", "vec4<f32>"));
/// ```
pub fn wgsl(dtype: DType, four: bool) -> Cow<'static, str> {
    let s = scalar(dtype);
    if four { Cow::Owned(format!("vec4<{s}>")) } else { Cow::Borrowed(s) }
}

/// Rough cost of a library function in instructions, by the length of its text.
///
/// ```
/// use calor::graph::library::cost;
/// assert!(cost("op_add") < cost("op_digamma"));
/// ```
pub fn cost(name: &str) -> u32 {
    static COST: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
        let mut all = HashMap::default();
        for library in [&*FLOAT, &*INT, &*UINT, &*BOOL] {
            for name in library.functions() {
                let cost = whole_length(library, name, 0) / 24;
                let slot = all.entry(name.to_string()).or_insert(0);
                *slot = (*slot).max(cost.max(1) as u32);
            }
        }
        all
    });
    COST.get(name).copied().unwrap_or(8)
}

fn whole_length(library: &Library, name: &str, depth: usize) -> usize {
    let Some(item) = library.get(name) else { return 0 };
    let body = item.text.find('{').map_or("", |b| &item.text[b..]);
    let called: usize = identifiers(body)
        .filter(|(_, w)| *w != name && depth < 6 && library.get(w).is_some_and(|i| i.keyword == "fn"))
        .map(|(_, w)| whole_length(library, w, depth + 1))
        .sum();
    body.len() + called
}

/// Collects instantiated functions for one kernel, each once, callees first.
///
/// ```
/// use calor::{DType, graph::library::Instances};
/// let mut kernel = Instances::default();
/// kernel.call(None, "op_exp", DType::F32, false)?;
/// let length = kernel.text.len();
/// // each function stands there once
/// kernel.call(None, "op_exp", DType::F32, false)?;
/// assert_eq!(kernel.text.len(), length);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Instances {
    done: HashMap<String, ()>,
    /// The text of what was instantiated.
    pub text: String,
}

impl Instances {
    /// The name of `function` for `dtype` and its width, written out if it was not yet. `own` is searched first.
    ///
    /// ```
    /// use calor::{DType, graph::library::{Instances, Library}};
    /// let own = Library::new(&["fn op_twice(x: T) -> T { return x + x; }"]);
    /// let mut kernel = Instances::default();
    /// assert_eq!(kernel.call(Some(&own), "op_twice", DType::F32, true)?, "op_twice_f32x4");
    /// assert_eq!(kernel.text, "fn op_twice_f32x4(x: vec4<f32>) -> vec4<f32> { return x + x; }\n");
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn call(&mut self, own: Option<&Library>, function: &str, dtype: DType, four: bool) -> Result<String> {
        let base = library(dtype);
        let Some(item) = own.and_then(|o| o.get(function)).or_else(|| base.get(function)) else {
            bail!(Unsupported, function, "is not defined for {dtype}");
        };
        let name = format!("{function}_{}{}", scalar(dtype), if four { "x4" } else { "" });
        if self.done.insert(name.clone(), ()).is_some() {
            return Ok(name);
        }
        let mut renamed: HashMap<&str, String> = HashMap::default();
        for (_, word) in identifiers(&item.text) {
            let known = own.is_some_and(|o| o.get(word).is_some()) || base.get(word).is_some();
            if word == function {
                renamed.insert(word, name.clone());
            } else if known && !renamed.contains_key(word) {
                let callee = self.call(own, word, dtype, four)?;
                renamed.insert(word, callee);
            }
        }
        let wide = |s: &'static str| if four { Cow::Owned(format!("vec4<{s}>")) } else { Cow::Borrowed(s) };
        let (unsigned, signed) = if dtype.size() == 8 { ("u64", "i64") } else { ("u32", "i32") };
        let text = replace(&item.text, |word| match word {
            "T" => Some(wgsl(dtype, four)),
            "U" => Some(wide(unsigned)),
            "I" => Some(wide(signed)),
            "B" => Some(wide("bool")),
            "W" => Some(wide("u32")),
            _ => renamed.get(word).map(|n| Cow::Owned(n.clone())),
        });
        self.text.push_str(&text);
        self.text.push('\n');
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::unroll;

    #[test]
    fn loops_over_each_are_written_out() {
        let text = "for (var r = 0u; r < EACH_ROW; r++) { for (var c = 0u; c < EACH_ROW; c++) { a[r] += b.r[c]; } }\n\
                    for (var k = 0u; k < p_k; k++) { s += k; } for (var k = 0u; k < EACH_NONE; k++) { t += k; }";
        let out = unroll(text, |w| match w {
            "EACH_ROW" => Some(2),
            "EACH_NONE" => Some(0),
            _ => None,
        });
        let body = |r: u32| format!("{{ {{ a[{r}u] += b.r[0u]; }}\n{{ a[{r}u] += b.r[1u]; }} }}");
        assert_eq!(out, format!("{}\n{}\nfor (var k = 0u; k < p_k; k++) {{ s += k; }} ", body(0), body(1)));
        assert_eq!(
            unroll("for (var k = 0u; k < EACH_ROW; k++) {", |_| Some(1)),
            "for (var k = 0u; k < EACH_ROW; k++) {"
        );
    }
}

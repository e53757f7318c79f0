//! Reading and writing buffers: how each dtype lies in words, for one lane and for four.
//!
//! A buffer that is larger than a binding may be is bound as several windows side by side. Then functions stand for the
//! binding, which choose the window by the upper bits of a place.

use super::{Kernel, Val, index::Ix, index::Scope};
use crate::dtype::DType;
use crate::error::Result;
use crate::gpu::Facts;
use crate::graph::library::{self, compute, scalar};
use std::fmt::Write as _;

/// The form in which a buffer is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Elements.
    One,
    /// Four elements at a time.
    Four,
    /// Four elements at a time, in words of 64 bits: half as many loads and stores, where each lane's is one of its own.
    Pairs,
}

/// A buffer as a kernel binds it.
#[derive(Debug)]
pub struct Declared {
    /// The name of its binding.
    pub name: String,
    /// The value in it.
    pub node: usize,
    /// That value's dtype.
    pub dtype: DType,
    /// Written, and perhaps read.
    pub output: bool,
    form: Form,
    ones: bool,
    quads: bool,
}

const PAIRS: &str = library::shader!("shared/pairs.wgsl");

/// Whether several elements share a 32-bit word.
pub fn is_packed(dtype: DType) -> bool {
    dtype.size() < 4
}

/// The type of a word of a buffer: an element, or several packed ones.
fn word(dtype: DType) -> &'static str {
    if is_packed(dtype) { "u32" } else { scalar(dtype) }
}

impl Declared {
    /// The form in which it is bound: pairs only where four neighbours are read, because an element is slower to get
    /// out of them.
    fn form(&self) -> Form {
        if self.form == Form::Pairs && !self.output && !self.quads { Form::Four } else { self.form }
    }

    /// The WGSL type of an item.
    pub fn element(&self) -> String {
        let word = word(self.dtype);
        match (self.form(), self.dtype.size()) {
            // four bytes are one word
            (Form::One, _) | (_, 1) => word.to_owned(),
            (Form::Pairs, 2) => "u64".to_owned(),
            (Form::Pairs, _) => "vec2<u64>".to_owned(),
            (Form::Four, 2) => format!("vec2<{word}>"),
            (Form::Four, _) => format!("vec4<{word}>"),
        }
    }

    /// The functions that read it, and those that choose among `count` windows. An output in windows is never read:
    /// values that take another's memory have one.
    pub fn functions(&self, count: usize, facts: &Facts) -> String {
        let mut text = if count > 1 { self.windows(count, facts) } else { String::new() };
        let name = &self.name;
        let at = |i: &str| if count > 1 { format!("{name}at({i})") } else { format!("{name}[{i}]") };
        let (word, form, size) = (word(self.dtype), self.form(), self.dtype.size());
        if self.quads {
            let four = at("i");
            let value = match (form, size) {
                (_, 1) => format!("(vec4<u32>({four}) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu)"),
                (Form::Pairs, 2) => halves(&format!("pair_halves({four})")),
                (_, 2) => halves(&four),
                (Form::Pairs, _) if word == "u32" => format!("pair_words({four})"),
                (Form::Pairs, _) => format!("bitcast<vec4<{word}>>(pair_words({four}))"),
                _ => four,
            };
            // writing to a String cannot fail
            let _ = writeln!(text, "fn {name}quad(i: u32) -> vec4<{word}> {{ return {value}; }}");
        }
        if self.ones {
            let value = match (form, size) {
                (Form::One, _) => at("i"),
                (_, 1) => format!("({} >> ((i & 3u) * 8u)) & 0xffu", at("i >> 2u")),
                (Form::Pairs, 2) => format!("u32({} >> ((i & 3u) * 16u)) & 0xffffu", at("i >> 2u")),
                (_, 2) => format!("({}[(i >> 1u) & 1u] >> ((i & 1u) * 16u)) & 0xffffu", at("i >> 2u")),
                (Form::Pairs, _) => {
                    format!("bitcast<{word}>(u32({}[(i >> 1u) & 1u] >> ((i & 1u) * 32u)))", at("i >> 2u"))
                }
                _ => format!("{}[i & 3u]", at("i >> 2u")),
            };
            let _ = writeln!(text, "fn {name}one(i: u32) -> {word} {{ return {value}; }}");
        }
        text
    }

    /// The function that reads or writes item `i` of a buffer bound as windows, a number behind the name of each.
    fn windows(&self, count: usize, facts: &Facts) -> String {
        let (ty, name) = (self.element(), &self.name);
        // a window holds a power of two of items: what does not fit into one holds more than four elements
        let items = facts.window(self.dtype.size()) / if self.form == Form::One { 1 } else { 4 };
        let bits = items.max(1).trailing_zeros();
        let (window, at) = (format!("i >> {bits}u"), format!("i & {}u", (1u64 << bits) - 1));
        let mut text = match self.output {
            true => format!("fn {name}put(i: u32, value: {ty}) {{\n  switch {window} {{\n"),
            false => format!("fn {name}at(i: u32) -> {ty} {{\n  switch {window} {{\n"),
        };
        for k in 0..count {
            let case = if k + 1 < count { format!("case {k}u") } else { "default".into() };
            let _ = match self.output {
                true => writeln!(text, "    {case}: {{ {name}{k}[{at}] = value; }}"),
                false => writeln!(text, "    {case}: {{ return {name}{k}[{at}]; }}"),
            };
        }
        text.push_str("  }\n}\n");
        text
    }
}

/// The four halves in two words.
fn halves(words: &str) -> String {
    format!("({words}.xxyy >> vec4<u32>(0u, 16u, 0u, 16u)) & vec4<u32>(0xffffu)")
}

/// What [`Declared::functions`] and stores call.
pub fn helpers(declared: &[Declared]) -> &'static str {
    if declared.iter().any(|d| d.form() == Form::Pairs) { PAIRS } else { "" }
}

impl Kernel<'_> {
    /// How four neighbours of a dtype are bound.
    fn four(&self, dtype: DType) -> Form {
        match dtype.size() {
            // 64-bit vectors are not everywhere
            8 => Form::One,
            1 => Form::Four,
            _ if self.facts.loads_pairs() => Form::Pairs,
            _ => Form::Four,
        }
    }

    /// A binding of a value.
    fn bind(&mut self, node: usize, dtype: DType, form: Form, output: bool) -> &mut Declared {
        let found = self.declared.iter().position(|d| (d.node, d.form, d.output) == (node, form, output));
        let k = found.unwrap_or(self.declared.len());
        if found.is_none() {
            // with an underscore: the windows of one are numbered
            let name = format!("b{k}_");
            self.declared.push(Declared { name, node, dtype, output, form, ones: false, quads: false });
        }
        &mut self.declared[k]
    }

    /// The binding through which a stored value is read.
    fn source(&mut self, node: usize, dtype: DType) -> &mut Declared {
        let form = self.four(dtype);
        match self.group.spent.get(&node) {
            Some(&output) => self.bind(output, dtype, form, true),
            None => self.bind(node, dtype, form, false),
        }
    }

    /// The statement that writes item `at` of an output.
    fn put(&mut self, scope: &mut Scope, (node, dtype, form): (usize, DType, Form), at: &str, value: &str) {
        let name = self.bind(node, dtype, form, true).name.clone();
        match self.graph.nodes[node].windows {
            1 => scope.line(&format!("{name}[{at}] = {value};")),
            _ => scope.line(&format!("{name}put({at}, {value});")),
        }
    }

    /// Elements of a stored value.
    pub(super) fn load(&mut self, scope: &mut Scope, node: usize, dtype: DType, at: &Ix) -> Result<Val> {
        match at {
            Ix::Linear { text, m4: true } if dtype.size() <= 4 => {
                let source = self.source(node, dtype);
                source.quads = true;
                let raw = format!("{}quad({text} >> 2u)", source.name);
                self.unpack(scope, dtype, raw, true)
            }
            Ix::Scalar { text, .. } => {
                let one = self.load_one(node, dtype, text);
                self.unpack(scope, dtype, one, false)
            }
            _ => {
                let at = scope.bind_ix(at.clone());
                let lanes: Vec<String> = (0..4)
                    .map(|l| match &at {
                        Ix::Linear { text, .. } => self.load_one(node, dtype, &format!("{text} + {l}u")),
                        ix => self.load_one(node, dtype, &format!("{}[{l}]", ix.text())),
                    })
                    .collect();
                let all = format!("vec4<{}>({})", word(dtype), lanes.join(", "));
                self.unpack(scope, dtype, all, true)
            }
        }
    }

    /// The raw element at a place: its value, or the bits of a packed one.
    fn load_one(&mut self, node: usize, dtype: DType, at: &str) -> String {
        let source = self.source(node, dtype);
        source.ones = true;
        format!("{}one({at})", source.name)
    }

    fn unpack(&mut self, scope: &mut Scope, dtype: DType, raw: String, four: bool) -> Result<Val> {
        let text = match dtype {
            DType::F16 | DType::BF16 => {
                let function = if dtype == DType::F16 { "f16_value" } else { "bf16_value" };
                let f = self.instances.call(None, function, DType::F32, four)?;
                format!("{f}({raw})")
            }
            DType::Bool if four => format!("({raw} != vec4<u32>(0u))"),
            DType::Bool => format!("({raw} != 0u)"),
            _ => raw,
        };
        Ok(Val { text: scope.bind(text), ty: compute(dtype), four })
    }

    /// The statement that writes four neighbours, or one element of a word-sized dtype, of output `node`.
    pub(super) fn store(&mut self, scope: &mut Scope, node: usize, dtype: DType, at: &Ix, value: &Val) -> Result<()> {
        let at = scope.bind_ix(at.clone());
        if let Ix::Scalar { text, .. } = &at {
            self.put(scope, (node, dtype, Form::One), text, &value.text);
            return Ok(());
        }
        let Ix::Linear { text, .. } = &at else {
            crate::error::bail!(Unsupported, "codegen", "an output is written out of order");
        };
        let mut value = value.widened();
        let plan = &self.graph.nodes[node];
        let (count, packed) = (plan.value.spec.numel(), plan.consumers.iter().any(|c| self.graph.is_pack(c.0)));
        if packed && !count.is_multiple_of(4) {
            // whoever folds a pack must not meet what lanes past the end computed
            let (end, zero) = (self.number(count as u32), library::wgsl(compute(dtype), true));
            let lanes = format!("(vec4<u32>(0u, 1u, 2u, 3u) + {text})");
            value = scope.bind(format!("select({zero}(), {value}, {lanes} < vec4<u32>({end}))"));
        }
        if dtype.size() == 8 {
            let v = scope.bind(value);
            for l in 0..4 {
                // 64-bit outputs are padded to whole groups of four
                self.put(scope, (node, dtype, Form::One), &format!("{text} + {l}u"), &format!("{v}[{l}]"));
            }
            return Ok(());
        }
        let form = self.four(dtype);
        let stored = match dtype {
            DType::F16 | DType::BF16 => {
                let function = if dtype == DType::F16 { "f16_bits" } else { "bf16_bits" };
                let f = self.instances.call(None, function, DType::F32, true)?;
                let b = scope.bind(format!("{f}({value})"));
                let words = format!("vec2<u32>({b}.x | ({b}.y << 16u), {b}.z | ({b}.w << 16u))");
                if form == Form::Pairs { format!("half_pair({words})") } else { words }
            }
            DType::Bool | DType::U8 => {
                let b = scope.bind(if dtype == DType::Bool {
                    format!("select(vec4<u32>(0u), vec4<u32>(1u), {value})")
                } else {
                    format!("({value} & vec4<u32>(0xffu))")
                });
                format!("{b}.x | ({b}.y << 8u) | ({b}.z << 16u) | ({b}.w << 24u)")
            }
            _ if form == Form::Pairs => format!("word_pairs(bitcast<vec4<u32>>({value}))"),
            _ => value,
        };
        self.put(scope, (node, dtype, form), &format!("{text} >> 2u"), &stored);
        Ok(())
    }
}

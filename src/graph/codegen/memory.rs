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

/// The form in which a buffer is bound: inputs by four, outputs as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Elements, or words of packed ones.
    One,
    /// Four elements at a time.
    Four,
}

/// Whether several elements share a 32-bit word.
pub fn is_packed(dtype: DType) -> bool {
    dtype.size() < 4
}

/// The WGSL element type of a binding.
pub fn element(dtype: DType, form: Form) -> String {
    let word = if is_packed(dtype) { "u32" } else { scalar(dtype) };
    match form {
        Form::One => word.to_string(),
        // four halves are two words, four bytes are one; 64-bit vectors are not everywhere
        Form::Four if matches!(dtype.size(), 1 | 8) => word.to_string(),
        Form::Four if dtype.size() == 2 => format!("vec2<{word}>"),
        Form::Four => format!("vec4<{word}>"),
    }
}

/// How many elements one item of a binding holds.
fn item(dtype: DType, form: Form) -> u64 {
    if form == Form::Four && dtype.size() != 8 { 4 } else { 1 }
}

/// The functions that read or write item `i` of a buffer bound as windows `name0`, `name1`..
pub fn windows(name: &str, count: usize, (dtype, form, output): (DType, Form, bool), facts: &Facts) -> String {
    let ty = element(dtype, form);
    // a window holds a power of two of items: what does not fit into one holds more than four elements
    let bits = (facts.window(dtype.size()) / item(dtype, form)).max(1).trailing_zeros();
    let (window, at) = (format!("i >> {bits}u"), format!("i & {}u", (1u64 << bits) - 1));
    let mut text = match output {
        true => format!("fn {name}_put(i: u32, value: {ty}) {{\n  switch {window} {{\n"),
        false => format!("fn {name}_at(i: u32) -> {ty} {{\n  switch {window} {{\n"),
    };
    for k in 0..count {
        let case = if k + 1 < count { format!("case {k}u") } else { "default".into() };
        // writing to a String cannot fail
        let _ = match output {
            true => writeln!(text, "    {case}: {{ {name}{k}[{at}] = value; }}"),
            false => writeln!(text, "    {case}: {{ return {name}{k}[{at}]; }}"),
        };
    }
    text.push_str("  }\n}\n");
    text
}

impl Kernel<'_> {
    /// The text that reads item `at` of a stored value.
    fn fetch(&mut self, node: usize, dtype: DType, at: &str) -> String {
        if let Some(&output) = self.group.spent.get(&node) {
            let form = if dtype.size() == 8 { Form::One } else { Form::Four };
            return format!("{}[{at}]", self.output_binding(output, dtype, form));
        }
        let name = self.binding(node, dtype);
        if self.graph.nodes[node].windows > 1 { format!("{name}_at({at})") } else { format!("{name}[{at}]") }
    }

    /// The statement that writes item `at` of an output.
    fn put(&mut self, scope: &mut Scope, (node, dtype, form): (usize, DType, Form), at: &str, value: &str) {
        let name = self.output_binding(node, dtype, form);
        match self.graph.nodes[node].windows {
            1 => scope.line(&format!("{name}[{at}] = {value};")),
            _ => scope.line(&format!("{name}_put({at}, {value});")),
        }
    }

    /// Elements of a stored value.
    pub(super) fn load(&mut self, scope: &mut Scope, node: usize, dtype: DType, at: &Ix) -> Result<Val> {
        let ty = compute(dtype);
        match at {
            Ix::Linear { text, m4: true } if dtype.size() <= 4 => {
                let raw = self.fetch(node, dtype, &format!("{text} >> 2u"));
                let raw = scope.bind(raw);
                let words: Vec<String> = match dtype.size() {
                    1 => (0..4).map(|l| format!("({raw} >> {}u) & 0xffu", 8 * l)).collect(),
                    2 => ["x", "y"].iter().flat_map(|c| half_words(&format!("{raw}.{c}"))).collect(),
                    _ => return Ok(Val { text: raw, ty, four: true }),
                };
                let bits = format!("vec4<u32>({})", words.join(", "));
                self.unpack(scope, dtype, bits, true)
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
                let kind = if is_packed(dtype) { "u32" } else { scalar(dtype) };
                let all = format!("vec4<{kind}>({})", lanes.join(", "));
                self.unpack(scope, dtype, all, true)
            }
        }
    }

    /// The raw element at a place: its value, or the bits of a packed one.
    fn load_one(&mut self, node: usize, dtype: DType, at: &str) -> String {
        if dtype.size() == 8 {
            return self.fetch(node, dtype, at);
        }
        let four = self.fetch(node, dtype, &format!("({at}) >> 2u"));
        match dtype.size() {
            1 => format!("(({four} >> ((({at}) & 3u) * 8u)) & 0xffu)"),
            2 => format!("(({four}[(({at}) >> 1u) & 1u] >> ((({at}) & 1u) * 16u)) & 0xffffu)"),
            _ => format!("{four}[({at}) & 3u]"),
        }
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
        let stored = match dtype {
            DType::F16 | DType::BF16 => {
                let function = if dtype == DType::F16 { "f16_bits" } else { "bf16_bits" };
                let f = self.instances.call(None, function, DType::F32, true)?;
                let b = scope.bind(format!("{f}({value})"));
                format!("vec2<u32>({b}.x | ({b}.y << 16u), {b}.z | ({b}.w << 16u))")
            }
            DType::Bool | DType::U8 => {
                let b = scope.bind(if dtype == DType::Bool {
                    format!("select(vec4<u32>(0u), vec4<u32>(1u), {value})")
                } else {
                    format!("({value} & vec4<u32>(0xffu))")
                });
                format!("{b}.x | ({b}.y << 8u) | ({b}.z << 16u) | ({b}.w << 24u)")
            }
            _ => value,
        };
        self.put(scope, (node, dtype, Form::Four), &format!("{text} >> 2u"), &stored);
        Ok(())
    }
}

fn half_words(word: &str) -> [String; 2] {
    [format!("({word} & 0xffffu)"), format!("({word} >> 16u)")]
}

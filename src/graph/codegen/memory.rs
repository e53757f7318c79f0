//! Reading and writing buffers: how each dtype lies in words, for one lane and for four.

use super::{Kernel, Val, index::Ix, index::Scope};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::library::{compute, scalar};

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

impl Kernel<'_> {
    /// Elements of a stored value.
    pub(super) fn load(&mut self, scope: &mut Scope, node: usize, dtype: DType, at: &Ix) -> Result<Val> {
        let ty = compute(dtype);
        match at {
            Ix::Linear { text, m4: true } if dtype.size() <= 4 => {
                let name = self.binding(node, dtype);
                let raw = scope.bind(format!("{name}[{text} >> 2u]"));
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
        let name = self.binding(node, dtype);
        match dtype.size() {
            1 => format!("(({name}[({at}) >> 2u] >> ((({at}) & 3u) * 8u)) & 0xffu)"),
            2 => format!("(({name}[({at}) >> 2u][(({at}) >> 1u) & 1u] >> ((({at}) & 1u) * 16u)) & 0xffffu)"),
            4 => format!("{name}[({at}) >> 2u][({at}) & 3u]"),
            _ => format!("{name}[{at}]"),
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
            let name = self.output_binding(node, dtype, Form::One);
            scope.line(&format!("{name}[{text}] = {};", value.text));
            return Ok(());
        }
        let Ix::Linear { text, .. } = &at else {
            crate::error::bail!(Unsupported, "codegen", "an output is written out of order");
        };
        let value = value.widened();
        if dtype.size() == 8 {
            let name = self.output_binding(node, dtype, Form::One);
            let v = scope.bind(value);
            for l in 0..4 {
                // 64-bit outputs are padded to whole groups of four
                scope.line(&format!("{name}[{text} + {l}u] = {v}[{l}];"));
            }
            return Ok(());
        }
        let name = self.output_binding(node, dtype, Form::Four);
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
        scope.line(&format!("{name}[{text} >> 2u] = {stored};"));
        Ok(())
    }
}

fn half_words(word: &str) -> [String; 2] {
    [format!("({word} & 0xffffu)"), format!("({word} >> 16u)")]
}

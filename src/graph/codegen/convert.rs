//! Casts between compute types, with the rounding of narrow ones.

use super::index::Scope;
use super::{Kernel, Val};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::library::{compute, wgsl};

impl Kernel<'_> {
    /// `value` as `to`, in `to`'s compute type.
    pub(super) fn cast(&mut self, scope: &mut Scope, value: Val, to: DType) -> Result<Val> {
        let (from, target, four) = (value.ty, compute(to), value.four);
        let ty = wgsl(target, four);
        let x = &value.text;
        let text = match (from, target) {
            (a, b) if a == b => x.clone(),
            (DType::Bool, _) => format!("select({ty}(0), {ty}(1), {x})"),
            // NaN is true, which drivers' comparisons may get wrong
            (DType::F32 | DType::F64, DType::Bool) => {
                let truth = self.instances.call(None, "truth", from, four)?;
                format!("{truth}({x})")
            }
            (_, DType::Bool) => format!("({x} != {}(0))", wgsl(from, four)),
            // a negative float wraps in unsigned types, as through a wide signed one
            (DType::F32 | DType::F64, DType::U32) if to == DType::U8 => {
                format!("{ty}({}({x}))", wgsl(DType::I32, four))
            }
            // beyond the range: what x86 gives, and PyTorch on it, where drivers say nothing or saturate
            (DType::F32 | DType::F64, DType::I32 | DType::I64) => {
                let wide = wgsl(from, four);
                let (least, end) = if target == DType::I32 {
                    ("-2147483647i - 1i", "2147483648.0")
                } else {
                    ("-9223372036854775807li - 1li", "9223372036854775808.0")
                };
                format!("select({ty}({least}), {ty}({x}), ({x} >= {wide}(-{end})) & ({x} < {wide}({end})))")
            }
            _ => format!("{ty}({x})"),
        };
        let text = match to {
            DType::U8 if from != DType::Bool => format!("({text} & {ty}(0xffu))"),
            DType::F16 | DType::BF16 if !matches!(from, DType::Bool) => {
                let (bits, back) =
                    if to == DType::F16 { ("f16_bits", "f16_value") } else { ("bf16_bits", "bf16_value") };
                let bits = self.instances.call(None, bits, DType::F32, four)?;
                let back = self.instances.call(None, back, DType::F32, four)?;
                format!("{back}({bits}({text}))")
            }
            _ => text,
        };
        Ok(Val { text: scope.bind(text), ty: target, four })
    }
}

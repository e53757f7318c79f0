//! Printing as PyTorch prints: aligned columns, an ellipsis in large tensors, dtype and `grad_fn` behind.

use super::{HostData, Tensor};
use crate::dtype::{DType, Element, Scalar};
use crate::error::Result;
use crate::tensor::grad::no_grad;
use std::fmt;

/// Tensors with more elements are shortened.
const THRESHOLD: usize = 1000;
/// So many elements of each end of a dimension are shown then.
const EDGE: usize = 3;
/// Columns of a line.
const LINE: usize = 80;

/// How numbers are written.
enum Style {
    /// Whole numbers and truth values.
    Plain,
    /// Floats that are all whole: `2.`
    Whole,
    /// Four decimals.
    Fixed,
    /// Four decimals and an exponent.
    Scientific,
}

struct Writer {
    style: Style,
    width: usize,
    shortened: bool,
}

/// A number as Python writes `{:.4e}`.
fn scientific(v: f64) -> String {
    if !v.is_finite() {
        return plain_float(v);
    }
    let text = format!("{v:.4e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// Infinities and NaN by Python's names.
fn plain_float(v: f64) -> String {
    match v {
        v if v.is_nan() => "nan".into(),
        v if v > 0.0 => "inf".into(),
        _ => "-inf".into(),
    }
}

impl Writer {
    fn new(values: &[Scalar], dtype: DType, shortened: bool) -> Self {
        let mut writer = Self { style: Style::Plain, width: 1, shortened };
        if !dtype.is_float() {
            writer.width = values.iter().map(|v| writer.element(*v).len()).max().unwrap_or(1);
            return writer;
        }
        // as in PyTorch, what is zero, infinite or NaN takes no part in the width
        let finite: Vec<f64> = values.iter().map(|v| v.as_f64()).filter(|v| v.is_finite() && *v != 0.0).collect();
        let most = finite.iter().fold(0f64, |m, v| m.max(v.abs()));
        let least = finite.iter().fold(f64::INFINITY, |m, v| m.min(v.abs()));
        let whole = finite.iter().all(|v| v.fract() == 0.0);
        let wide = !finite.is_empty() && (most / least > 1000.0 || most > 1e8);
        writer.style = match (whole, wide) {
            (true, false) => Style::Whole,
            (false, false) if finite.is_empty() || least >= 1e-4 => Style::Fixed,
            _ => Style::Scientific,
        };
        writer.width = finite.iter().map(|v| writer.element((*v).into()).len()).max().unwrap_or(1);
        writer
    }

    fn element(&self, value: Scalar) -> String {
        let v = match value {
            Scalar::Bool(b) => return if b { "True" } else { "False" }.into(),
            Scalar::Int(i) => return i.to_string(),
            Scalar::Float(v) => v,
        };
        match self.style {
            Style::Plain => v.to_string(),
            _ if !v.is_finite() => plain_float(v),
            Style::Whole => format!("{v:.0}."),
            Style::Fixed => format!("{v:.4}"),
            Style::Scientific => scientific(v),
        }
    }

    /// Writes a part of `shape` that starts at `at`.
    fn part(&self, out: &mut String, values: &[Scalar], shape: &[usize], full: &[usize], indent: usize) {
        let Some((&size, inner)) = shape.split_first() else {
            let text = values.first().map_or_else(String::new, |v| self.element(*v));
            out.push_str(&format!("{text:>width$}", width = self.width));
            return;
        };
        let cut = self.shortened && full[0] > 2 * EDGE;
        out.push('[');
        if inner.is_empty() {
            let per_line = ((LINE.saturating_sub(indent)) / (self.width + 2)).max(1);
            let mut items: Vec<String> =
                values.iter().map(|v| format!("{:>width$}", self.element(*v), width = self.width)).collect();
            if cut {
                items.insert(EDGE, " ...".into());
            }
            let lines: Vec<String> = items.chunks(per_line).map(|line| line.join(", ")).collect();
            out.push_str(&lines.join(&format!(",\n{}", " ".repeat(indent + 1))));
        } else {
            let stride: usize = inner.iter().product();
            for i in 0..size {
                if i > 0 {
                    out.push(',');
                    out.push_str(&"\n".repeat(inner.len()));
                    out.push_str(&" ".repeat(indent + 1));
                }
                if cut && i == EDGE {
                    out.push_str("...,");
                    out.push_str(&"\n".repeat(inner.len()));
                    out.push_str(&" ".repeat(indent + 1));
                }
                let rest = values.get(i * stride..(i + 1) * stride).unwrap_or_default();
                self.part(out, rest, inner, &full[1..], indent + 1);
            }
        }
        out.push(']');
    }
}

pub(super) fn numbers(host: &HostData) -> Vec<Scalar> {
    fn read<T: Element>(host: &HostData) -> Vec<Scalar> {
        T::from_bytes(&host.bytes).into_iter().map(Into::into).collect()
    }
    match host.dtype {
        DType::F32 => read::<f32>(host),
        DType::F64 => read::<f64>(host),
        DType::F16 => read::<half::f16>(host),
        DType::BF16 => read::<half::bf16>(host),
        DType::I32 => read::<i32>(host),
        DType::U32 => read::<u32>(host),
        DType::I64 => read::<i64>(host),
        DType::U8 => read::<u8>(host),
        DType::Bool => read::<bool>(host),
    }
}

/// `AddBackward` from `add`.
fn grad_name(name: &str) -> String {
    if name.ends_with("Backward") {
        return name.into();
    }
    let words = name.split('_').filter(|w| !w.is_empty());
    let camel: String = words
        .map(|w| w.chars().take(1).flat_map(char::to_uppercase).chain(w.chars().skip(1)).collect::<String>())
        .collect();
    format!("{camel}Backward")
}

impl Tensor {
    /// The elements to show: all, or the ends of each dimension.
    fn shown(&self) -> Result<HostData> {
        let mut x = self.detach();
        if self.numel() > THRESHOLD {
            for (d, &size) in self.shape().iter().enumerate() {
                if size > 2 * EDGE {
                    let index: Vec<i32> = (0..EDGE).chain(size - EDGE..size).map(|i| i as i32).collect();
                    x = x.index_select(d as isize, &Tensor::from_slice(&index, [index.len()], self.device())?)?;
                }
            }
        }
        x.to_host()
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PREFIX: &str = "tensor(";
        let (shape, dtype) = (self.shape(), self.dtype());
        let mut text = String::from(PREFIX);
        let mut behind = Vec::new();
        if self.numel() == 0 {
            text.push_str("[]");
            if shape.len() != 1 {
                let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
                behind.push(format!("size=({})", sizes.join(", ")));
            }
        } else {
            match no_grad(|| self.shown()) {
                Ok(host) => {
                    let values = numbers(&host);
                    let writer = Writer::new(&values, dtype, self.numel() > THRESHOLD);
                    writer.part(&mut text, &values, &host.shape, &shape, PREFIX.len());
                }
                Err(e) => text.push_str(&format!("<{e}>")),
            }
        }
        // without elements only the default dtype goes without saying
        let shown = self.numel() > 0 && matches!(dtype, DType::I32 | DType::Bool);
        if !shown && dtype != DType::F32 {
            behind.push(format!("dtype={dtype}"));
        }
        if let Some(grad_fn) = self.grad_fn() {
            behind.push(format!("grad_fn=<{}>", grad_name(grad_fn.name())));
        } else if self.requires_grad() {
            behind.push("requires_grad=True".into());
        }
        // PyTorch's count of the last line, which is two too many
        let mut column = text.len() + 2 - text.rfind('\n').map_or(0, |at| at + 1);
        for part in behind {
            if column + part.len() + 2 > LINE {
                text.push_str(&format!(",\n{}{part}", " ".repeat(PREFIX.len())));
                column = PREFIX.len() + part.len();
            } else {
                text.push_str(&format!(", {part}"));
                column += part.len() + 2;
            }
        }
        write!(f, "{text})")
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

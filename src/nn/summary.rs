//! A module as a tree: what it is made of, and how many numbers it learns.

use super::{Buffer, Module, Parameter, Visitor};
use crate::error::Result;
use std::fmt::{Debug, Write as _};

/// A module's name without where it is defined: `Conv<2>` of a path is `Conv2d`.
pub(super) fn short(path: &str) -> String {
    let head = path.find('<').unwrap_or(path.len());
    let start = path[..head].rfind("::").map_or(0, |at| at + 2);
    let (name, rest) = (&path[start..head], &path[head..]);
    match rest.strip_prefix('<').and_then(|r| r.strip_suffix('>')) {
        Some(n) if n.parse::<usize>().is_ok() => format!("{name}{n}d"),
        _ => name.to_string(),
    }
}

/// The fields of a plain struct as its `Debug` form shows them, without its name.
pub(super) fn fields(value: &dyn Debug) -> String {
    let text = format!("{value:?}");
    let inner = text.split_once(['{', '(']).map_or("", |(_, inner)| inner.trim_end_matches(['}', ')']).trim());
    inner.replace(": ", "=")
}

#[derive(Default)]
struct Tree {
    name: String,
    kind: String,
    shown: Vec<String>,
    own: Vec<Parameter>,
    parts: Vec<Tree>,
}

impl Tree {
    fn parameters(&self, out: &mut Vec<Parameter>) {
        for p in &self.own {
            if !out.iter().any(|known| known.same(p)) {
                out.push(p.clone());
            }
        }
        self.parts.iter().for_each(|part| part.parameters(out));
    }

    fn write(&self, depth: usize, out: &mut String) {
        let mut parameters = Vec::new();
        self.parameters(&mut parameters);
        let count: usize = parameters.iter().map(Parameter::numel).sum();
        let indent = "  ".repeat(depth);
        let name = if depth == 0 { String::new() } else { format!("({}): ", self.name) };
        // writing to a String cannot fail
        let _ = write!(out, "{indent}{name}{}({})", self.kind, self.shown.join(", "));
        let _ = match count {
            0 => writeln!(out),
            n => writeln!(out, "  {n}"),
        };
        self.parts.iter().for_each(|part| part.write(depth + 1, out));
    }
}

struct Builder(Vec<Tree>);

impl Builder {
    fn shown(&mut self, text: String) {
        if let Some(tree) = self.0.last_mut() {
            tree.shown.push(text);
        }
    }
}

impl Visitor for Builder {
    fn enter(&mut self, name: &str) {
        self.0.push(Tree { name: name.into(), kind: "ModuleList".into(), ..Tree::default() });
    }

    fn module(&mut self, name: &str, module: &dyn Module) {
        let extra = module.extra_repr();
        let shown = if extra.is_empty() { Vec::new() } else { vec![extra] };
        self.0.push(Tree { name: name.into(), kind: module.kind(), shown, ..Tree::default() });
    }

    fn leave(&mut self) {
        if self.0.len() > 1
            && let Some(part) = self.0.pop()
            && let Some(outer) = self.0.last_mut()
        {
            outer.parts.push(part);
        }
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        self.shown(format!("{name}={:?}", &parameter.shape()[..]));
        if let Some(tree) = self.0.last_mut() {
            tree.own.push(parameter.clone());
        }
    }

    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        self.shown(format!("{name}={:?}", &buffer.tensor().shape()[..]));
    }

    fn value(&mut self, name: &str, value: &dyn Debug) {
        self.shown(format!("{name}={value:?}"));
    }
}

pub(super) fn summary<M: Module + ?Sized>(module: &M) -> String {
    let (kind, extra) = (module.kind(), module.extra_repr());
    let shown = if extra.is_empty() { Vec::new() } else { vec![extra] };
    let mut builder = Builder(vec![Tree { kind, shown, ..Tree::default() }]);
    module.visit(&mut builder);
    let mut out = String::new();
    if let Some(tree) = builder.0.first() {
        tree.write(0, &mut out);
    }
    out
}

type Each<'f> = &'f mut dyn FnMut(&str, &dyn Module) -> Result<()>;

/// Calls a function with the modules inside one, with their names.
struct Walker<'f> {
    path: Vec<String>,
    f: Each<'f>,
    outcome: Result<()>,
}

impl Visitor for Walker<'_> {
    fn enter(&mut self, name: &str) {
        self.path.push(name.into());
    }

    fn module(&mut self, name: &str, module: &dyn Module) {
        self.path.push(name.into());
        if self.outcome.is_ok() {
            self.outcome = (self.f)(&self.path.join("."), module);
        }
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn parameter(&mut self, _name: &str, _parameter: &Parameter) {}

    fn buffer(&mut self, _name: &str, _buffer: &Buffer) {}
}

pub(super) fn each<M: Module + ?Sized>(module: &M, f: Each<'_>) -> Result<()> {
    let mut walker = Walker { path: Vec::new(), f, outcome: Ok(()) };
    module.visit(&mut walker);
    walker.outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short("calor::nn::conv::Conv<2>"), "Conv2d");
        assert_eq!(short("app::Block<calor::nn::linear::Linear>"), "Block");
        assert_eq!(short("Net"), "Net");
    }
}

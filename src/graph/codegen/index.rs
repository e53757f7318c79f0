//! `Ix`: a place in a kernel's text, with what is known of its four lanes.

use std::fmt::Write as _;

/// A `u32` expression for one lane, or for four.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ix {
    /// One place, the same in every lane; `m4`: known to be a multiple of four.
    Scalar {
        /// The expression.
        text: String,
        /// Multiple of four.
        m4: bool,
    },
    /// Lane `l` is at `base + l`.
    Linear {
        /// The expression of lane 0.
        text: String,
        /// Whether lane 0 is at a multiple of four.
        m4: bool,
    },
    /// Anything: a `vec4<u32>` expression.
    Vec(String),
}

const LANES: &str = "vec4<u32>(0u, 1u, 2u, 3u)";

impl Ix {
    /// Place zero.
    pub fn zero() -> Self {
        Self::scalar("0u", true)
    }

    /// The same in every lane.
    pub fn scalar(text: impl Into<String>, m4: bool) -> Self {
        Ix::Scalar { text: text.into(), m4 }
    }

    /// Whether it is the constant zero.
    pub fn is_zero(&self) -> bool {
        matches!(self, Ix::Scalar { text, .. } if text == "0u")
    }

    /// Its text as one place or four.
    pub fn text(&self) -> String {
        match self {
            Ix::Scalar { text, .. } | Ix::Vec(text) => text.clone(),
            Ix::Linear { text, .. } => format!("(vec4<u32>({text}) + {LANES})"),
        }
    }

    /// Whether its lanes differ.
    pub fn is_four(&self) -> bool {
        !matches!(self, Ix::Scalar { .. })
    }

    /// Sum.
    pub fn add(&self, other: &Ix) -> Ix {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let sum = |a: &str, b: &str| format!("({a} + {b})");
        match (self, other) {
            (Ix::Scalar { text: a, m4: x }, Ix::Scalar { text: b, m4: y }) => {
                Ix::Scalar { text: sum(a, b), m4: *x && *y }
            }
            (Ix::Linear { text: a, m4: x }, Ix::Scalar { text: b, m4: y })
            | (Ix::Scalar { text: a, m4: x }, Ix::Linear { text: b, m4: y }) => {
                Ix::Linear { text: sum(a, b), m4: *x && *y }
            }
            (a, b) => Ix::Vec(sum(&a.text(), &b.text())),
        }
    }

    /// Product with a host number; `m4`: the number is a multiple of four.
    pub fn times(&self, number: &str, m4: bool) -> Ix {
        match self {
            _ if self.is_zero() => Ix::zero(),
            Ix::Scalar { text, m4: own } => Ix::Scalar { text: format!("({text} * {number})"), m4: *own || m4 },
            _ => Ix::Vec(format!("({} * {number})", self.text())),
        }
    }

    /// Quotient by a host number.
    pub fn over(&self, number: &str) -> Ix {
        match self {
            Ix::Scalar { text, .. } => Ix::scalar(format!("({text} / {number})"), false),
            _ => Ix::Vec(format!("({} / vec4<u32>({number}))", self.text())),
        }
    }
}

/// The statements of one function, and names for them.
#[derive(Debug, Default)]
pub struct Scope {
    /// Statements.
    pub text: String,
    next: usize,
}

impl Scope {
    /// Names an expression by a `let`, unless it is a name or a literal already.
    pub fn bind(&mut self, expression: String) -> String {
        if !expression.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            return expression;
        }
        let name = format!("t{}", self.next);
        self.next += 1;
        // writing to a String cannot fail
        let _ = writeln!(self.text, "  let {name} = {expression};");
        name
    }

    /// Names a place.
    pub fn bind_ix(&mut self, ix: Ix) -> Ix {
        match ix {
            Ix::Scalar { text, m4 } => Ix::Scalar { text: self.bind(text), m4 },
            Ix::Linear { text, m4 } => Ix::Linear { text: self.bind(text), m4 },
            Ix::Vec(text) => Ix::Vec(self.bind(text)),
        }
    }

    /// Adds a statement.
    pub fn line(&mut self, statement: &str) {
        let _ = writeln!(self.text, "  {statement}");
    }
}

//! The one error type.
//!
//! `Error` is opaque so that it can carry more later without breaking anyone; what a program branches on is
//! [`Error::kind`]. A message reads `op: what is wrong, this value and that value`.

use std::fmt;

/// Result with calor's [`Error`].
///
/// ```
/// fn halved(n: i32) -> calor::Result<i32> {
///     match n % 2 {
///         0 => Ok(n / 2),
///         _ => Err(calor::Error::new(calor::ErrorKind::Value, "halved", format!("{n} is odd"))),
///     }
/// }
/// assert!(halved(4).is_ok() && halved(5).is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarsely: the thing a program can branch on.
///
/// ```
/// use calor::{ErrorKind, Tensor};
/// let refused = Tensor::ones([2, 3], ())?.reshape([4]).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Shape);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes do not fit the operation or each other.
    Shape,
    /// A dimension is out of range or named twice.
    Dim,
    /// A dtype is not accepted, or the adapter cannot hold it.
    DType,
    /// An index is out of range.
    Index,
    /// An argument has a value that is refused.
    Value,
    /// A rule of automatic differentiation is broken.
    Autograd,
    /// No adapter was found, or none that was asked for.
    NoAdapter,
    /// The device has no memory left, or a buffer is larger than it allows.
    OutOfMemory,
    /// The device is lost; nothing more can run on it.
    DeviceLost,
    /// The device refused or failed the work: validation, shader compilation.
    Device,
    /// A wait passed its time limit.
    Timeout,
    /// A file is missing, truncated or malformed.
    Io,
    /// Asked for something this library or adapter does not do.
    Unsupported,
}

/// Why something was refused or failed.
///
/// ```
/// use calor::{Error, ErrorKind};
/// let e = Error::new(ErrorKind::Shape, "matmul", "inner sizes differ, [2, 3] x [4, 5]");
/// assert_eq!(e.to_string(), "matmul: inner sizes differ, [2, 3] x [4, 5]");
/// assert_eq!(e.kind(), ErrorKind::Shape);
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    op: String,
    message: String,
}

impl Error {
    /// An error of `kind` in the operation `op`.
    ///
    /// ```
    /// let e = calor::Error::new(calor::ErrorKind::Value, "dropout", "p is 2");
    /// assert_eq!(e.to_string(), "dropout: p is 2");
    /// ```
    pub fn new(kind: ErrorKind, op: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, op: op.into(), message: message.into() }))
    }

    /// What a program can branch on.
    ///
    /// ```
    /// use calor::{ErrorKind, Tensor};
    /// assert_eq!(Tensor::ones([2], ())?.sum_dims(&[1], false).unwrap_err().kind(), ErrorKind::Dim);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that was refused or failed.
    ///
    /// ```
    /// let e = calor::Error::new(calor::ErrorKind::Value, "dropout", "p is 2");
    /// assert_eq!(e.op(), "dropout");
    /// ```
    pub fn op(&self) -> &str {
        &self.0.op
    }

    /// The message without the operation's name.
    ///
    /// ```
    /// let e = calor::Error::new(calor::ErrorKind::Value, "dropout", "p is 2");
    /// assert_eq!(e.message(), "p is 2");
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The same error with a line about where it came from.
    ///
    /// ```
    /// let e = calor::Error::new(calor::ErrorKind::Io, "load", "truncated").context("model.pt");
    /// assert_eq!(e.to_string(), "load: truncated (model.pt)");
    /// ```
    #[must_use]
    pub fn context(mut self, note: impl fmt::Display) -> Self {
        self.0.message = format!("{} ({note})", self.0.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.op, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{:?}]", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, "io", e.to_string())
    }
}

/// `Err(Error)` of a kind with a formatted message: `bail!(Shape, "cat", "sizes differ, {a:?} and {b:?}")`.
macro_rules! bail {
    ($kind:ident, $op:expr, $($message:tt)+) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, $op, format!($($message)+)))
    };
}
pub(crate) use bail;

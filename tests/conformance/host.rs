//! Tensors on the host: bytes with a dtype and a shape, and the comparison that decides whether a case passes.

use std::fmt;

/// The element types that occur in a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dt {
    Bool,
    U8,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl Dt {
    const NAMES: [(Dt, &'static str); 8] = [
        (Dt::Bool, "bool"),
        (Dt::U8, "u8"),
        (Dt::I32, "i32"),
        (Dt::I64, "i64"),
        (Dt::F16, "f16"),
        (Dt::BF16, "bf16"),
        (Dt::F32, "f32"),
        (Dt::F64, "f64"),
    ];

    /// The dtype that FORMAT.md calls `name`.
    pub fn parse(name: &str) -> Option<Dt> {
        Dt::NAMES.iter().find(|(_, n)| *n == name).map(|(d, _)| *d)
    }

    pub fn name(self) -> &'static str {
        Dt::NAMES[self as usize].1
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dt::Bool | Dt::U8 => 1,
            Dt::F16 | Dt::BF16 => 2,
            Dt::I32 | Dt::F32 => 4,
            Dt::I64 | Dt::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        self >= Dt::F16
    }
}

impl fmt::Display for Dt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A contiguous tensor in host memory, its elements little endian in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub dtype: Dt,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl HostTensor {
    /// # Errors
    /// When `data` isn't as long as `dtype` and `shape` ask.
    pub fn new(dtype: Dt, shape: Vec<usize>, data: Vec<u8>) -> Result<HostTensor, String> {
        let want = shape.iter().product::<usize>() * dtype.size();
        if data.len() != want {
            return Err(format!("{} bytes for {dtype}{shape:?}, which takes {want}", data.len()));
        }
        Ok(HostTensor { dtype, shape, data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn bytes<const N: usize>(&self, i: usize) -> [u8; N] {
        self.data[i * N..][..N].try_into().expect("N bytes")
    }

    /// Element `i` as f64: exact, but for i64 beyond 2^53.
    pub fn f64(&self, i: usize) -> f64 {
        match self.dtype {
            Dt::F16 => half::f16::from_le_bytes(self.bytes(i)).to_f64(),
            Dt::BF16 => half::bf16::from_le_bytes(self.bytes(i)).to_f64(),
            Dt::F32 => f32::from_le_bytes(self.bytes(i)).into(),
            Dt::F64 => f64::from_le_bytes(self.bytes(i)),
            _ => self.i64(i) as f64,
        }
    }

    /// Element `i` of an integer or bool tensor.
    ///
    /// # Panics
    /// On a float tensor.
    pub fn i64(&self, i: usize) -> i64 {
        match self.dtype {
            Dt::Bool => (self.data[i] != 0).into(),
            Dt::U8 => self.data[i].into(),
            Dt::I32 => i32::from_le_bytes(self.bytes(i)).into(),
            Dt::I64 => i64::from_le_bytes(self.bytes(i)),
            _ => panic!("i64() of a {} tensor", self.dtype),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.f64(i)).collect()
    }

    /// All elements of an integer or bool tensor.
    pub fn to_i64(&self) -> Vec<i64> {
        (0..self.len()).map(|i| self.i64(i)).collect()
    }

    /// The view (shape, strides, offset, in elements) of the flat storage `self`, copied out contiguous.
    ///
    /// # Errors
    /// When the view leaves the storage.
    pub fn view(&self, shape: &[usize], strides: &[isize], offset: usize) -> Result<HostTensor, String> {
        let size = self.dtype.size();
        let count: usize = shape.iter().product();
        let mut data = Vec::with_capacity(count * size);
        let mut index = vec![0usize; shape.len()];
        for _ in 0..count {
            let at = index.iter().zip(strides).fold(offset as isize, |at, (&i, &s)| at + i as isize * s);
            let element = usize::try_from(at).ok().and_then(|at| self.data.get(at * size..(at + 1) * size));
            data.extend_from_slice(element.ok_or_else(|| format!("element {at} is outside the storage"))?);
            for (i, &n) in index.iter_mut().zip(shape).rev() {
                *i += 1;
                if *i < n {
                    break;
                }
                *i = 0;
            }
        }
        HostTensor::new(self.dtype, shape.to_vec(), data)
    }

    /// Element `i` for a message.
    fn show(&self, i: usize) -> String {
        match self.dtype {
            Dt::Bool => (self.i64(i) != 0).to_string(),
            // An f32 prints shorter as itself than widened.
            Dt::F32 => format!("{:?}", self.f64(i) as f32),
            dtype if dtype.is_float() => format!("{:?}", self.f64(i)),
            _ => self.i64(i).to_string(),
        }
    }
}

impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// FORMAT.md's rule for floats; NaN equals NaN, infinities only themselves.
pub fn close(got: f64, want: f64, rtol: f64, atol: f64) -> bool {
    if got.is_nan() || want.is_nan() {
        return got.is_nan() && want.is_nan();
    }
    // Apart, as inf - inf is NaN and a bound of inf would let every number pass.
    if got.is_infinite() || want.is_infinite() {
        return got == want;
    }
    (got - want).abs() <= atol + rtol * want.abs()
}

/// The same for integers, whose difference must not be rounded.
pub fn close_int(got: i64, want: i64, rtol: f64, atol: f64) -> bool {
    got == want || (i128::from(got) - i128::from(want)).abs() as f64 <= atol + rtol * (want as f64).abs()
}

/// Whether `got` has the dtype and shape of `want`: calor's indices and counts are i32 where PyTorch's are i64.
pub fn compare_kind(got: &HostTensor, want: &HostTensor) -> Result<(), String> {
    let narrowed = want.dtype == Dt::I64 && got.dtype == Dt::I32;
    if got.dtype != want.dtype && !narrowed {
        return Err(format!("dtype is {}, expected {}", got.dtype, want.dtype));
    }
    if got.shape != want.shape {
        return Err(format!("shape is {:?}, expected {:?}", got.shape, want.shape));
    }
    Ok(())
}

/// Whether `got` passes for `want`: dtype, shape and abs(got - want) <= atol + rtol * abs(want) for each element.
///
/// # Errors
/// What differs: for elements how many, and the first with its index and both values.
pub fn compare(got: &HostTensor, want: &HostTensor, rtol: f64, atol: f64) -> Result<(), String> {
    compare_kind(got, want)?;
    let mut bad = 0;
    let mut first = 0;
    let mut worst = 0.0f64;
    for i in 0..want.len() {
        let ok = if want.dtype.is_float() {
            close(got.f64(i), want.f64(i), rtol, atol)
        } else {
            close_int(got.i64(i), want.i64(i), rtol, atol)
        };
        if !ok {
            if bad == 0 {
                first = i;
            }
            bad += 1;
            worst = worst.max((got.f64(i) - want.f64(i)).abs());
        }
    }
    if bad == 0 {
        return Ok(());
    }
    Err(format!(
        "{bad} of {} elements differ: at {:?} got {}, expected {} (largest difference {worst:.3e}; rtol {rtol:e}, \
         atol {atol:e})",
        want.len(),
        unravel(first, &want.shape),
        got.show(first),
        want.show(first),
    ))
}

/// The index of element `i` of a contiguous tensor.
fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (d, &n) in shape.iter().enumerate().rev() {
        index[d] = i % n;
        i /= n;
    }
    index
}

//! Rows of a table: `embedding` and `embedding_bag`.

use super::buckets::{Buckets, exclusive_sum};
use super::gather::Indices;
use super::{Build, Reduce, whole};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::tensor::Tensor;
use crate::tensor::grad::{Grads, no_grad};

/// How rows are looked up: options of [`embedding`].
///
/// ```
/// use calor::{Tensor, nn::functional::{EmbeddingLookup, embedding}};
/// let weight = Tensor::new([[3.0f32, 4.0]], ())?;
/// let lookup = EmbeddingLookup { max_norm: Some(1.0), ..EmbeddingLookup::default() };
/// let row = embedding(&Tensor::new([0], ())?, &weight, lookup)?;
/// assert!((row.norm()?.item()? - 1.0).abs() < 1e-5);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EmbeddingLookup {
    /// The row that gets no gradient; negative ones count from the end.
    pub padding_idx: Option<isize>,
    /// Rows that are looked up are first scaled, in place, to at most this norm.
    pub max_norm: Option<f64>,
    /// The exponent of that norm.
    pub norm_type: f64,
    /// Whether a row's gradient is divided by how often it is looked up.
    pub scale_grad_by_freq: bool,
}

impl From<()> for EmbeddingLookup {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<Option<isize>> for EmbeddingLookup {
    fn from(padding_idx: Option<isize>) -> Self {
        Self { padding_idx, ..Self::default() }
    }
}

impl Default for EmbeddingLookup {
    fn default() -> Self {
        Self { padding_idx: None, max_norm: None, norm_type: 2.0, scale_grad_by_freq: false }
    }
}

/// What becomes of the rows of a bag.
///
/// ```
/// use calor::{Tensor, nn::functional::{BagMode, EmbeddingBagOptions, embedding_bag}};
/// let (weight, bag) = (Tensor::new([[1.0f32], [3.0]], ())?, Tensor::new([[0, 1]], ())?);
/// let of = |mode| embedding_bag(&bag, &weight, EmbeddingBagOptions { mode, ..Default::default() })?.item();
/// assert_eq!((of(BagMode::Sum)?, of(BagMode::Mean)?, of(BagMode::Max)?), (4.0, 2.0, 3.0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each column.
    Max,
}

/// Options of [`embedding_bag`].
///
/// ```
/// use calor::{Tensor, nn::functional::{BagMode, EmbeddingBagOptions, embedding_bag}};
/// let weight = Tensor::new([[1.0f32], [3.0]], ())?;
/// let offsets = Some(Tensor::new([0, 1], ())?);
/// let options = EmbeddingBagOptions { offsets, mode: BagMode::Sum, ..Default::default() };
/// let bags = embedding_bag(&Tensor::new([0, 1, 1], ())?, &weight, options)?;
/// assert_eq!(bags.to_vec::<f32>()?, [1.0, 6.0]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct EmbeddingBagOptions {
    /// Where each bag begins, for an input of one dimension.
    pub offsets: Option<Tensor>,
    /// What becomes of the rows of a bag.
    pub mode: BagMode,
    /// A factor for each row, for sums.
    pub per_sample_weights: Option<Tensor>,
    /// Whether the last offset is only the end of the last bag.
    pub include_last_offset: bool,
    /// Those of [`embedding`]; rows at `padding_idx` are left out of their bags.
    pub table: EmbeddingLookup,
}

fn padding(op: &str, weight: &Tensor, padding_idx: Option<isize>) -> Result<Option<usize>> {
    let shape = weight.shape();
    if shape.len() != 2 {
        bail!(Shape, op, "'weight' must be 2-D, got shape {:?}", &shape[..]);
    }
    let rows = shape[0] as isize;
    match padding_idx {
        Some(p) if p < -rows || p >= rows => bail!(Value, op, "padding_idx {p} must be within the {rows} embeddings"),
        Some(p) => Ok(Some(if p < 0 { p + rows } else { p } as usize)),
        None => Ok(None),
    }
}

impl Tensor {
    /// The rows of this matrix that `index`, of any shape, names: `torch.embedding`. The row `padding_idx` gets no
    /// gradient.
    ///
    /// Indices must lie in `0..self.size(0)`; others are reported at the next read.
    ///
    /// ```
    /// use calor::Tensor;
    /// let weight = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    /// let rows = weight.embedding(&Tensor::new([[1], [0]], ())?, None)?;
    /// assert_eq!((&rows.shape()[..], rows.to_vec::<f32>()?), (&[2, 1, 2][..], vec![3.0, 4.0, 1.0, 2.0]));
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn embedding(&self, index: &Tensor, padding_idx: Option<isize>) -> Result<Tensor> {
        let skip = padding("embedding", self, padding_idx)?;
        Indices::new("embedding", &self.shape(), &[Some(index.clone())], false)?.skipping(skip).pick(self)
    }
}

/// The rows of `weight` that `input`, of any shape, names; `options` may be just the `padding_idx`.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let weight = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
/// assert_eq!(f::embedding(&Tensor::new([1], ())?, &weight, None)?.to_vec::<f32>()?, [3.0, 4.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn embedding(input: &Tensor, weight: &Tensor, options: impl Into<EmbeddingLookup>) -> Result<Tensor> {
    let options = options.into();
    padding("embedding", weight, options.padding_idx)?;
    let indices = Indices::new("embedding", &weight.shape(), &[Some(input.clone())], false)?;
    if let Some(limit) = options.max_norm {
        no_grad(|| renormalize(weight, &indices, limit, options.norm_type))?;
    }
    let rows = weight.embedding(input, options.padding_idx)?;
    if !options.scale_grad_by_freq {
        return Ok(rows);
    }
    let often = no_grad(|| -> Result<Tensor> {
        let (place, total) = indices.places()?;
        let counts = Buckets::new(&place, 0, total, 1)?.counts()?.to_dtype(DType::F32)?;
        let often = Indices::new("embedding", &[total], &[Some(input.clone())], false)?.pick(&counts)?;
        often.to_dtype(rows.dtype())?.unsqueeze(-1)
    })?;
    let out = rows.detach();
    Ok(out.with_grad("embedding", &[&rows], |_| move |g: &Tensor| Ok(Grads::from_iter([Some(g.div(&often)?)]))))
}

/// Scales the rows that are named and longer than `limit`, in place.
fn renormalize(weight: &Tensor, indices: &Indices, limit: f64, p: f64) -> Result<()> {
    let w = weight.detach().to_dtype(weight.dtype().compute())?;
    let norm = w.vector_norm(p, &[1], true)?;
    // norms and factors have the table's precision
    let rounded = |t: Tensor| t.to_dtype(weight.dtype())?.to_dtype(w.dtype());
    let norm = rounded(norm)?;
    let named = indices.named()?.unsqueeze(-1)?;
    let scale = crate::ops::elementwise::div(limit, norm.add(1e-7)?)?;
    let scale = norm.gt(limit)?.logical_and(&named)?.where_(rounded(scale)?, 1.0)?;
    let scaled = w.mul(scale)?.to_dtype(weight.dtype())?;
    weight.modify("embedding_renorm_", |_| Ok(scaled)).map(|_| ())
}

/// Which bag each of `n` rows is in, `i32`, by where the bags begin.
fn bags(offsets: &Tensor, n: usize) -> Result<Tensor> {
    let indices = Indices::new("embedding_bag", &[n + 1], &[Some(offsets.clone())], false)?;
    let (place, total) = indices.places()?;
    let begun = Buckets::new(&place, 0, total, 1)?.counts()?.to_dtype(DType::U32)?;
    // bags begun up to and with a row: those before the next one
    let before = exclusive_sum(&begun)?;
    let mut b = Build::default();
    let at = b.body.flat();
    let next = b.add(at, 1);
    let begun = b.body.load(0, &[next]);
    let bag = b.add(begun, -1);
    b.body.bits(DType::I32, bag);
    b.apply("embedding_bag", &[n], DType::I32, &[&before])
}

/// Sums, means or maxima of bags of rows of `weight`. A bag is a row of a matrix `input`, or what lies between two
/// offsets of a vector.
///
/// ```
/// use calor::{Tensor, nn::functional as f};
/// let weight = Tensor::new([[1.0f32], [2.0], [4.0]], ())?;
/// let out = f::embedding_bag(&Tensor::new([[0, 1], [2, 2]], ())?, &weight, Default::default())?;
/// assert_eq!(out.to_vec::<f32>()?, [1.5, 4.0]);
/// # Ok::<(), calor::Error>(())
/// ```
pub fn embedding_bag(input: &Tensor, weight: &Tensor, options: EmbeddingBagOptions) -> Result<Tensor> {
    const OP: &str = "embedding_bag";
    let skip = padding(OP, weight, options.table.padding_idx)?;
    let (shape, n) = (input.shape(), input.numel());
    let (bag, count) = match (&shape[..], &options.offsets) {
        ([rows, length], None) => {
            let mut b = Build::default();
            let flat = b.body.flat();
            let row = b.div(flat, *length);
            b.body.bits(DType::I32, row);
            (b.apply(OP, &[n], DType::I32, &[input])?, *rows)
        }
        ([_], Some(offsets)) if offsets.dim() == 1 => {
            let count = offsets.numel().saturating_sub(usize::from(options.include_last_offset));
            (no_grad(|| bags(offsets, n))?, count)
        }
        _ => bail!(
            Shape,
            OP,
            "input has to be 2-D without offsets or 1-D with a vector of offsets, got shape {:?}",
            &shape[..]
        ),
    };
    let index = no_grad(|| whole(OP, input))?.reshape([n])?;
    // what is left out goes to a bag of its own
    let bag = match skip {
        Some(skip) => no_grad(|| index.eq(skip as i64)?.where_(count as i64, bag))?,
        None => bag,
    };
    let table = EmbeddingLookup { padding_idx: None, ..options.table.clone() };
    // half types are summed in f32
    let dtype = weight.dtype().compute();
    let mut rows = embedding(&index, weight, table)?.to_dtype(dtype)?;
    if let Some(factors) = &options.per_sample_weights {
        if options.mode != BagMode::Sum {
            bail!(Value, OP, "per_sample_weights are only supported for sums");
        }
        if factors.shape() != shape {
            let (a, b) = (factors.shape(), &shape[..]);
            bail!(Shape, OP, "expected per_sample_weights to have the shape of the input, got {a:?} and {b:?}");
        }
        rows = rows.mul(factors.to_dtype(dtype)?.reshape([n, 1])?)?;
    }
    let empty = Tensor::zeros([count + 1, weight.shape()[1]], (dtype, weight.device()))?;
    let out = match options.mode {
        BagMode::Sum => empty.index_add(0, &bag, &rows, 1)?,
        BagMode::Mean => {
            let sum = empty.index_add(0, &bag, &rows, 1)?;
            let ones = Tensor::ones([n], (DType::F32, weight.device()))?;
            let counts = Tensor::zeros([count + 1], (DType::F32, weight.device()))?.index_add(0, &bag, &ones, 1)?;
            sum.div(counts.clamp_min(1.0)?.to_dtype(dtype)?.unsqueeze(-1)?)?
        }
        BagMode::Max if n == 0 => empty,
        BagMode::Max => empty.index_reduce(0, &bag, &rows, Reduce::Amax, false)?,
    };
    out.narrow(0, 0, count)?.to_dtype(weight.dtype())
}

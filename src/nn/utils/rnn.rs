//! Sequences of different lengths in one tensor: `torch.nn.utils.rnn`.
//!
//! Padded ones lie in `[steps, n, ..]`, or `[n, steps, ..]` with `batch_first`; packed ones hold no padding. Lengths and
//! orders are numbers of the host.
//!
//! ```
//! use calor::nn::{LSTM, utils::rnn};
//! use calor::Tensor;
//! let texts = [Tensor::ones([2, 3], ())?, Tensor::zeros([5, 3], ())?];
//! let packed = rnn::pack_sequence(&texts, false)?;
//! let (y, (h, _)) = LSTM::new(3, 4, ())?.forward_packed(&packed, None)?;
//! let (y, lengths) = rnn::pad_packed_sequence(&y, true, 0.0, None)?;
//! assert_eq!((&y.shape()[..], lengths, &h.shape()[..]), (&[2, 5, 4][..], vec![2, 5], &[1, 2, 4][..]));
//! # Ok::<(), calor::Error>(())
//! ```

use crate::dtype::Scalar;
use crate::error::{Result, bail};
use crate::no_grad;
use crate::ops::join::cat;
use crate::tensor::grad::Grads;
use crate::tensor::{Device, Options, Tensor};

/// Sequences without padding: the first rows of all that run, then the second rows, ..; longer sequences stand first.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::{PackedSequence, pack_sequence, unpack_sequence}};
/// let packed = pack_sequence(&[Tensor::new([1, 2, 3], ())?, Tensor::new([4], ())?], true)?;
/// assert_eq!((packed.data.to_vec::<i32>()?, &packed.batch_sizes[..]), (vec![1, 4, 2, 3], &[2, 1, 1][..]));
/// let twice = PackedSequence { data: (&packed.data * 2)?, ..packed };
/// assert_eq!(unpack_sequence(&twice)?[0].to_vec::<i32>()?, [2, 4, 6]);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PackedSequence {
    /// The rows, `[sum of lengths, ..]`.
    pub data: Tensor,
    /// How many sequences have a first row, a second one, ..
    pub batch_sizes: Vec<usize>,
    /// Which sequence stands first, second, ..; `None` for the order in which they were given.
    pub sorted_indices: Option<Vec<usize>>,
    /// Where each sequence stands: the inverse of `sorted_indices`.
    pub unsorted_indices: Option<Vec<usize>>,
}

impl PackedSequence {
    /// Packed sequences of their parts; `unsorted_indices` follow from `sorted_indices`.
    ///
    /// ```
    /// use calor::{Tensor, nn::utils::rnn::PackedSequence};
    /// let packed = PackedSequence::new(Tensor::new([3, 1, 4], ())?, vec![2, 1], Some(vec![1, 0]))?;
    /// assert_eq!(packed.unsorted_indices, Some(vec![1, 0]));
    /// assert!(PackedSequence::new(Tensor::new([3, 1, 4], ())?, vec![1, 2], None).is_err());
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` where the sizes grow, are zero, or do not add up to the rows of `data`, or the order is none of them.
    pub fn new(data: Tensor, batch_sizes: Vec<usize>, sorted_indices: Option<Vec<usize>>) -> Result<Self> {
        let unsorted_indices = sorted_indices.as_deref().map(invert_permutation).transpose()?;
        let packed = Self { data, batch_sizes, sorted_indices, unsorted_indices };
        packed.runs("PackedSequence")?;
        Ok(packed)
    }

    /// The same with the data converted and moved by what the options name.
    ///
    /// ```
    /// use calor::{DType, Tensor, nn::utils::rnn::pack_sequence};
    /// let packed = pack_sequence(&[Tensor::new([1, 2], ())?], true)?.to(DType::F16)?;
    /// assert_eq!(packed.data.dtype(), DType::F16);
    /// # Ok::<(), calor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DType` for a type that the device has not.
    pub fn to(&self, options: impl Into<Options>) -> Result<Self> {
        Ok(Self { data: self.data.to(options)?, ..self.clone() })
    }

    /// What is known of the sequences, checked.
    pub(in crate::nn) fn runs(&self, op: &'static str) -> Result<Runs> {
        let sizes = &self.batch_sizes;
        let n = sizes.first().copied().unwrap_or(0);
        if n == 0 || sizes.contains(&0) || sizes.windows(2).any(|two| two[0] < two[1]) {
            bail!(Value, op, "batch_sizes must be positive and must not grow, got {sizes:?}");
        }
        let (total, shape) = (sizes.iter().fold(0usize, |all, size| all.saturating_add(*size)), self.data.shape());
        if shape.first() != Some(&total) {
            bail!(Value, op, "batch_sizes are {total} rows in all, but data are {:?}", &shape[..]);
        }
        let order = match (&self.sorted_indices, &self.unsorted_indices) {
            (None, None) => (0..n).collect(),
            (Some(order), None) => order.clone(),
            (None, Some(places)) => invert_permutation(places)?,
            (Some(order), Some(places)) if invert_permutation(order)? == *places => order.clone(),
            (Some(order), Some(places)) => {
                bail!(Value, op, "unsorted_indices {places:?} are not the inverse of sorted_indices {order:?}")
            }
        };
        if order.len() != n || invert_permutation(&order).is_err() {
            bail!(Value, op, "sorted_indices {order:?} are no order of {n} sequences");
        }
        let mut lengths = vec![0; n];
        let mut rows = Vec::with_capacity(total);
        for (step, &size) in sizes.iter().enumerate() {
            for &sample in order.iter().take(size) {
                lengths[sample] += 1;
                rows.push((step, sample));
            }
        }
        Ok(Runs { lengths, rows })
    }
}

/// Sequences as they are packed.
pub(in crate::nn) struct Runs {
    /// Of each sequence, in the order in which they were given.
    pub lengths: Vec<usize>,
    /// The step and the sequence of each packed row.
    rows: Vec<(usize, usize)>,
}

impl Runs {
    /// Number of steps of the longest.
    pub(in crate::nn) fn steps(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Where the packed rows lie among padded ones.
    pub(in crate::nn) fn places(
        &self,
        op: &'static str,
        steps: usize,
        batch_first: bool,
        device: &Device,
    ) -> Result<Places> {
        let n = self.lengths.len();
        // more steps than can be counted are refused with the rows
        let place = |&(step, sample): &(usize, usize)| {
            if batch_first { sample.saturating_mul(steps).saturating_add(step) } else { step * n + sample }
        };
        Places::new(op, self.rows.iter().map(place).collect(), steps.saturating_mul(n), device)
    }
}

/// Where some rows lie among others, and which of them lies at each place.
pub(in crate::nn) struct Places {
    op: &'static str,
    /// A place for each row.
    places: Tensor,
    /// A row for each place, -1 where none lies.
    rows: Tensor,
}

impl Places {
    /// Rows at different places below `size`.
    fn new(op: &'static str, places: Vec<usize>, size: usize, device: &Device) -> Result<Self> {
        let Ok(_) = i32::try_from(size.max(places.len())) else {
            bail!(Shape, op, "{size} rows are more than an index can name");
        };
        let mut rows = vec![-1i32; size];
        for (row, &place) in places.iter().enumerate() {
            if let Some(slot) = rows.get_mut(place) {
                *slot = row as i32;
            }
        }
        let places: Vec<i32> = places.into_iter().map(|place| place as i32).collect();
        Ok(Self {
            op,
            places: Tensor::from_slice(&places, [places.len()], device)?,
            rows: Tensor::from_slice(&rows, [size], device)?,
        })
    }

    /// The rows at their places, `fill` elsewhere.
    pub(in crate::nn) fn spread(&self, rows: &Tensor, fill: Scalar) -> Result<Tensor> {
        taken(self.op, rows, (&self.rows, &self.places), fill)
    }

    /// The rows that lie at the places.
    pub(in crate::nn) fn gathered(&self, all: &Tensor) -> Result<Tensor> {
        taken(self.op, all, (&self.places, &self.rows), 0.0.into())
    }
}

/// The rows of `x` that the first list names, `fill` for -1; the second list is what undoes that, so that the gradient
/// is read, too, and nothing is added up.
fn taken(op: &'static str, x: &Tensor, (at, back): (&Tensor, &Tensor), fill: Scalar) -> Result<Tensor> {
    let out = no_grad(|| -> Result<Tensor> {
        let mut column = vec![1; x.dim()];
        column[0] = at.numel();
        let fill = Tensor::full([], fill, (x.dtype(), x.device()))?;
        at.ge(0)?.reshape(column)?.where_(&x.index_select(0, &at.clamp_min(0)?)?, &fill)
    })?;
    Ok(out.with_grad(op, &[x], |r| {
        let (at, back) = (r.save(at), r.save(back));
        move |g: &Tensor| Ok(Grads::from_iter([Some(taken(op, g, (&back.get()?, &at.get()?), 0.0.into())?)]))
    }))
}

/// The order that undoes an order.
///
/// ```
/// use calor::nn::utils::rnn::invert_permutation;
/// assert_eq!(invert_permutation(&[2, 0, 1])?, [1, 2, 0]);
/// assert!(invert_permutation(&[1, 1]).is_err());
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` where a number is missing.
pub fn invert_permutation(permutation: &[usize]) -> Result<Vec<usize>> {
    let mut out = vec![usize::MAX; permutation.len()];
    for (place, &number) in permutation.iter().enumerate() {
        match out.get_mut(number) {
            Some(slot) if *slot == usize::MAX => *slot = place,
            _ => bail!(Value, "invert_permutation", "expected a permutation, got {permutation:?}"),
        }
    }
    Ok(out)
}

/// Lengths as they are packed: the rows of each step, and the order, which is none where it is the one given.
fn packed(op: &'static str, lengths: &[usize], enforce_sorted: bool) -> Result<(Runs, Vec<usize>, Option<Vec<usize>>)> {
    if lengths.contains(&0) {
        bail!(
            Value,
            op,
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        );
    }
    if enforce_sorted && lengths.windows(2).any(|two| two[0] < two[1]) {
        bail!(
            Value,
            op,
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass \
             `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement"
        );
    }
    let mut order: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
    // equals stay in order
    order.sort_by_key(|&(_, length)| std::cmp::Reverse(length));
    let steps = order.first().map_or(0, |&(_, length)| length);
    let (mut rows, mut batch_sizes) = (Vec::new(), Vec::with_capacity(steps));
    for step in 0..steps {
        let before = rows.len();
        rows.extend(order.iter().take_while(|&&(_, length)| length > step).map(|&(sample, _)| (step, sample)));
        batch_sizes.push(rows.len() - before);
    }
    let order = (!enforce_sorted).then(|| order.into_iter().map(|(sample, _)| sample).collect());
    Ok((Runs { lengths: lengths.to_vec(), rows }, batch_sizes, order))
}

/// Padded sequences `[steps, n, ..]`, or `[n, steps, ..]` with `batch_first`, without their padding. Lengths must not
/// grow if `enforce_sorted`; else sequences are put into such an order.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::pack_padded_sequence};
/// let x = Tensor::new([[1, 0], [2, 3]], ())?;
/// let packed = pack_padded_sequence(&x, &[1, 2], true, false)?;
/// assert_eq!((packed.data.to_vec::<i32>()?, packed.sorted_indices), (vec![2, 1, 3], Some(vec![1, 0])));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` for an empty input or one of fewer than two dimensions, `Value` for lengths that are not one for each
/// sequence, are zero, exceed the steps, or grow though `enforce_sorted`.
pub fn pack_padded_sequence(
    input: &Tensor,
    lengths: &[usize],
    batch_first: bool,
    enforce_sorted: bool,
) -> Result<PackedSequence> {
    const OP: &str = "pack_padded_sequence";
    let (n, steps) = sides(OP, input, batch_first)?;
    if input.numel() == 0 {
        bail!(Shape, OP, "Cannot pack empty tensors.");
    }
    if lengths.len() != n {
        bail!(
            Value,
            OP,
            "Expected `len(lengths)` to be equal to batch_size, but got {} (batch_size={n})",
            lengths.len()
        );
    }
    if let Some(length) = lengths.iter().find(|length| **length > steps) {
        bail!(Value, OP, "expected lengths of at most the {steps} steps of the input, got {length}");
    }
    let (runs, batch_sizes, sorted_indices) = packed(OP, lengths, enforce_sorted)?;
    let data = runs.places(OP, steps, batch_first, input.device())?.gathered(&input.flatten(0, 1)?)?;
    let unsorted_indices = sorted_indices.as_deref().map(invert_permutation).transpose()?;
    Ok(PackedSequence { data, batch_sizes, sorted_indices, unsorted_indices })
}

/// The number of sequences and of steps.
fn sides(op: &'static str, padded: &Tensor, batch_first: bool) -> Result<(usize, usize)> {
    match (&padded.shape()[..], batch_first) {
        ([n, steps, ..], true) | ([steps, n, ..], false) => Ok((*n, *steps)),
        (shape, _) => bail!(Shape, op, "expected padded sequences of at least two dimensions, got {shape:?}"),
    }
}

/// Packed sequences as padded ones, `[steps, n, ..]` or `[n, steps, ..]`, in the order in which they were given, and
/// their lengths. There are as many steps as the longest has, or `total_length`.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::{pack_sequence, pad_packed_sequence}};
/// let packed = pack_sequence(&[Tensor::new([1], ())?, Tensor::new([2, 3], ())?], false)?;
/// let (padded, lengths) = pad_packed_sequence(&packed, true, -1, None)?;
/// assert_eq!((padded.to_vec::<i32>()?, lengths), (vec![1, -1, 2, 3], vec![1, 2]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for a `total_length` below the longest length, or parts that do not fit.
pub fn pad_packed_sequence(
    sequence: &PackedSequence,
    batch_first: bool,
    padding_value: impl Into<Scalar>,
    total_length: Option<usize>,
) -> Result<(Tensor, Vec<usize>)> {
    const OP: &str = "pad_packed_sequence";
    let runs = sequence.runs(OP)?;
    let (longest, n) = (runs.steps(), runs.lengths.len());
    let steps = total_length.unwrap_or(longest);
    if steps < longest {
        bail!(
            Value,
            OP,
            "Expected total_length to be at least the length of the longest sequence in input, but got \
             total_length={steps} and max sequence length being {longest}"
        );
    }
    let data = &sequence.data;
    let flat = runs.places(OP, steps, batch_first, data.device())?.spread(data, padding_value.into())?;
    let mut shape = if batch_first { vec![n, steps] } else { vec![steps, n] };
    shape.extend_from_slice(&data.shape()[1..]);
    Ok((flat.reshape(&shape)?, runs.lengths))
}

/// At which end padding stands.
///
/// ```
/// use calor::nn::utils::rnn::PaddingSide;
/// assert_eq!(PaddingSide::default(), PaddingSide::Right);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingSide {
    /// In front of a sequence.
    Left,
    /// Behind it.
    #[default]
    Right,
}

/// Sequences `[length, ..]` one beside the other: `[longest, n, ..]`, or `[n, longest, ..]` with `batch_first`. The dtype
/// is the first one's.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::{PaddingSide, pad_sequence}};
/// let all = [Tensor::new([1, 2], ())?, Tensor::new([3], ())?];
/// assert_eq!(pad_sequence(&all, true, 0, PaddingSide::Right)?.to_vec::<i32>()?, [1, 2, 3, 0]);
/// assert_eq!(pad_sequence(&all, true, 0, PaddingSide::Left)?.to_vec::<i32>()?, [1, 2, 0, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for no sequences, `Shape` where sizes behind the length differ.
pub fn pad_sequence(
    sequences: &[Tensor],
    batch_first: bool,
    padding_value: impl Into<Scalar>,
    padding_side: PaddingSide,
) -> Result<Tensor> {
    const OP: &str = "pad_sequence";
    let (flat, lengths) = joined(OP, sequences)?;
    let (n, steps) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let mut shape = if batch_first { vec![n, steps] } else { vec![steps, n] };
    shape.extend_from_slice(&flat.shape()[1..]);
    if steps == 0 {
        return flat.reshape(&shape);
    }
    let place = |sample: usize, step: usize| if batch_first { sample * steps + step } else { step * n + sample };
    let places = lengths.iter().enumerate().flat_map(|(sample, &length)| {
        let first = if padding_side == PaddingSide::Left { steps - length } else { 0 };
        (first..first + length).map(move |step| place(sample, step))
    });
    Places::new(OP, places.collect(), steps * n, flat.device())?.spread(&flat, padding_value.into())?.reshape(&shape)
}

/// Sequences one after the other, and their lengths.
fn joined(op: &'static str, sequences: &[Tensor]) -> Result<(Tensor, Vec<usize>)> {
    let Some(first) = sequences.first() else { bail!(Value, op, "received an empty list of sequences") };
    let mut lengths = Vec::with_capacity(sequences.len());
    let mut all = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let (own, want) = (sequence.shape(), first.shape());
        match (&own[..], &want[..]) {
            ([length, rest @ ..], [_, other @ ..]) if rest == other => lengths.push(*length),
            (own, want) => bail!(
                Shape,
                op,
                "expected sequences of at least one dimension that differ in the first one only, got {want:?} and {own:?}"
            ),
        }
        all.push(sequence.to_dtype(first.dtype())?);
    }
    Ok((cat(&all.iter().collect::<Vec<_>>(), 0)?, lengths))
}

/// Sequences `[length, ..]`, packed. Lengths must not grow if `enforce_sorted`; else sequences are put into such an
/// order.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::pack_sequence};
/// let all = [Tensor::new([1, 2, 3], ())?, Tensor::new([4, 5], ())?, Tensor::new([6], ())?];
/// let packed = pack_sequence(&all, true)?;
/// assert_eq!((packed.data.to_vec::<i32>()?, packed.batch_sizes), (vec![1, 4, 6, 2, 5, 3], vec![3, 2, 1]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// As those of [`pad_sequence`] and [`pack_padded_sequence`].
pub fn pack_sequence(sequences: &[Tensor], enforce_sorted: bool) -> Result<PackedSequence> {
    const OP: &str = "pack_sequence";
    let (flat, lengths) = joined(OP, sequences)?;
    let (runs, batch_sizes, sorted_indices) = packed(OP, &lengths, enforce_sorted)?;
    if flat.numel() == 0 {
        bail!(Shape, OP, "Cannot pack empty tensors.");
    }
    let firsts: Vec<usize> = lengths
        .iter()
        .scan(0, |next, length| {
            let first = *next;
            *next += length;
            Some(first)
        })
        .collect();
    let places = runs.rows.iter().map(|&(step, sample)| firsts[sample] + step).collect();
    let data = Places::new(OP, places, runs.rows.len(), flat.device())?.gathered(&flat)?;
    let unsorted_indices = sorted_indices.as_deref().map(invert_permutation).transpose()?;
    Ok(PackedSequence { data, batch_sizes, sorted_indices, unsorted_indices })
}

/// Padded sequences, `[steps, n, ..]` or `[n, steps, ..]`, as one tensor each.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::unpad_sequence};
/// let all = unpad_sequence(&Tensor::new([[1, 2], [3, 0]], ())?, &[2, 1], true)?;
/// assert_eq!((all[0].to_vec::<i32>()?, all[1].to_vec::<i32>()?), (vec![1, 2], vec![3]));
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for lengths that are not one for each sequence or exceed the steps, `Shape` for fewer than two dimensions.
pub fn unpad_sequence(padded_sequences: &Tensor, lengths: &[usize], batch_first: bool) -> Result<Vec<Tensor>> {
    const OP: &str = "unpad_sequence";
    let (n, steps) = sides(OP, padded_sequences, batch_first)?;
    if lengths.len() != n {
        bail!(Value, OP, "expected a length for each of {n} sequences, got {}", lengths.len());
    }
    if let Some(length) = lengths.iter().find(|length| **length > steps) {
        bail!(Value, OP, "expected lengths of at most the {steps} steps of the input, got {length}");
    }
    let each = padded_sequences.unbind(if batch_first { 0 } else { 1 })?;
    // copies, as in PyTorch: a write to one does not reach the padded sequences
    each.iter().zip(lengths).map(|(sequence, &length)| sequence.narrow(0, 0, length)?.try_clone()).collect()
}

/// Packed sequences as one tensor each, in the order in which they were given.
///
/// ```
/// use calor::{Tensor, nn::utils::rnn::{pack_sequence, unpack_sequence}};
/// let packed = pack_sequence(&[Tensor::new([1], ())?, Tensor::new([2, 3], ())?], false)?;
/// assert_eq!(unpack_sequence(&packed)?[1].to_vec::<i32>()?, [2, 3]);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Value` for parts that do not fit.
pub fn unpack_sequence(packed_sequences: &PackedSequence) -> Result<Vec<Tensor>> {
    let (padded, lengths) = pad_packed_sequence(packed_sequences, true, 0, None)?;
    unpad_sequence(&padded, &lengths, true)
}

//! Sampling at places that a grid names.

use crate::dtype::DType;
use crate::error::{Error, Result, bail};
use crate::no_grad;
use crate::shape::{Dims, numel};
use crate::tensor::Tensor;
use crate::tensor::autocast::widest;

/// How [`grid_sample`] finds a value between elements.
///
/// ```
/// use calor::{Tensor, nn::functional::{GridMode, GridOptions, grid_sample}};
/// let (x, at) = (Tensor::new([[[[1.0f32, 2.0]]]], ())?, Tensor::new([[[[0.4f32, 0.0]]]], ())?);
/// let options = GridOptions { mode: GridMode::Nearest, ..GridOptions::default() };
/// assert_eq!(grid_sample(&x, &at, options)?.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridMode {
    /// Between the 4 neighbours of a place, or the 8 in three dimensions.
    #[default]
    Bilinear,
    /// The nearest element; halves go to the even one.
    Nearest,
    /// A cubic through 16 elements, or 64 in three dimensions.
    Bicubic,
}

/// What [`grid_sample`] finds outside.
///
/// ```
/// use calor::{Tensor, nn::functional::{GridOptions, GridPadding, grid_sample}};
/// let (x, at) = (Tensor::new([[[[1.0f32, 2.0]]]], ())?, Tensor::new([[[[9.0f32, 0.0]]]], ())?);
/// let value = |padding| grid_sample(&x, &at, GridOptions { padding, ..GridOptions::default() })?.item();
/// assert_eq!((value(GridPadding::Zeros)?, value(GridPadding::Border)?), (0.0, 2.0));
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The element at the border.
    Border,
    /// What lies as far inside.
    Reflection,
}

/// Options of [`grid_sample`].
///
/// ```
/// use calor::{Tensor, nn::functional::{GridOptions, grid_sample}};
/// let (x, at) = (Tensor::new([[[[1.0f32, 2.0]]]], ())?, Tensor::new([[[[1.0f32, 0.0]]]], ())?);
/// let options = GridOptions { align_corners: true, ..GridOptions::default() };
/// assert_eq!(grid_sample(&x, &at, options)?.item()?, 2.0);
/// # Ok::<(), calor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GridOptions {
    /// How values between elements are found.
    pub mode: GridMode,
    /// What lies outside.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the middles of the outermost elements, rather than their outer edges.
    pub align_corners: bool,
}

/// Places along one dimension of `size` elements.
struct Axis {
    size: usize,
    options: GridOptions,
}

impl Axis {
    /// From -1 to 1 into numbers of elements.
    fn scaled(&self, x: &Tensor) -> Result<Tensor> {
        let size = self.size as f64;
        if self.options.align_corners {
            return x.add(1.0)?.mul((size - 1.0) / 2.0);
        }
        x.add(1.0)?.mul(size)?.sub(1.0)?.div(2.0)
    }

    /// Places moved inside as the padding says; zeros lie outside.
    fn inside(&self, x: &Tensor) -> Result<Tensor> {
        match self.options.padding {
            GridPadding::Zeros => Ok(x.clone()),
            GridPadding::Border => self.clipped(x),
            GridPadding::Reflection => self.clipped(&self.reflected(x)?),
        }
    }

    /// A place at the border or beyond stays there, whichever way the grid moves.
    fn clipped(&self, x: &Tensor) -> Result<Tensor> {
        let last = self.size as f64 - 1.0;
        let free = x.gt(0.0)?.logical_and(&x.lt(last)?)?;
        free.where_(x, &no_grad(|| x.clamp(0.0, last))?)
    }

    fn reflected(&self, x: &Tensor) -> Result<Tensor> {
        let (low, span) = match self.options.align_corners {
            true => (0.0, self.size as f64 - 1.0),
            false => (-0.5, self.size as f64),
        };
        if span <= 0.0 {
            return x.zeros_like();
        }
        let away = x.sub(low)?;
        let away = away.lt(0.0)?.where_(&away.neg()?, &away)?;
        let extra = away.fmod(span)?;
        // exact, as `extra` is: the two must not disagree where a period ends
        let odd = no_grad(|| away.floor_divide(span)?.fmod(2.0)?.ne(0.0))?;
        odd.where_(&extra.neg()?.add(span)?, &extra)?.add(low)
    }
}

/// Elements along one dimension that a place is found from, `[n, 1, taps, places]`: their numbers, and their shares.
struct Taps {
    at: Tensor,
    share: Option<Tensor>,
}

impl Taps {
    /// Of places `[n, 1, 1, places]`.
    fn of(axis: &Axis, x: &Tensor) -> Result<Self> {
        let x = axis.scaled(x)?;
        let numbers = |from: i32, to: i32| Tensor::arange(from, to, 1, (x.dtype(), x.device()))?.unsqueeze(-1);
        match axis.options.mode {
            GridMode::Nearest => Ok(Self { at: no_grad(|| axis.inside(&x)?.round())?, share: None }),
            GridMode::Bilinear => {
                let x = axis.inside(&x)?;
                let first = no_grad(|| x.floor())?;
                let (t, i) = (x.sub(&first)?, numbers(0, 2)?);
                let share = i.eq(0.0)?.where_(&t.neg()?.add(1.0)?, &t)?;
                Ok(Self { at: no_grad(|| first.add(&i))?, share: Some(share) })
            }
            GridMode::Bicubic => {
                let first = no_grad(|| x.floor())?;
                let i = numbers(-1, 3)?;
                let share = cubic(&x.sub(&first)?, &i)?;
                Ok(Self { at: no_grad(|| axis.inside(&first.add(&i)?))?, share: Some(share) })
            }
        }
    }
}

/// The shares of elements `i` of -1 to 2 after a place's first one, at distance `t` behind that (Keys 1981, a = -0.75).
fn cubic(t: &Tensor, i: &Tensor) -> Result<Tensor> {
    const A: f64 = -0.75;
    let away = t.sub(i)?;
    let d = i.gt(0.0)?.where_(&away.neg()?, &away)?;
    let near = d.mul(A + 2.0)?.sub(A + 3.0)?.mul(&d)?.mul(&d)?.add(1.0)?;
    let far = d.sub(5.0)?.mul(&d)?.add(8.0)?.mul(&d)?.sub(4.0)?.mul(A)?;
    i.sub(0.5)?.abs()?.lt(1.0)?.where_(&near, &far)
}

/// `x` `[n, c, h, w]` at the places of `grid` `[n, ho, wo, 2]`, each `(x, y)` from -1 to 1, as `[n, c, ho, wo]`; with
/// three dimensions more likewise.
///
/// ```
/// use calor::{Tensor, nn::functional::{GridOptions, grid_sample}};
/// let x = Tensor::new([[[[1.0f32, 2.0], [3.0, 4.0]]]], ())?;
/// let middle = Tensor::zeros([1, 1, 1, 2], ())?;
/// assert_eq!(grid_sample(&x, &middle, GridOptions::default())?.item()?, 2.5);
/// # Ok::<(), calor::Error>(())
/// ```
///
/// # Errors
/// `Shape` where input and grid do not fit each other; `DType` for other than floats.
pub fn grid_sample(x: &Tensor, grid: &Tensor, options: GridOptions) -> Result<Tensor> {
    const OP: &str = "grid_sampler";
    let [x, grid] = &widest([x, grid])?;
    let (sx, sg, dtype) = (x.shape(), grid.shape(), x.dtype());
    if !dtype.is_float() || grid.dtype() != dtype {
        bail!(DType, OP, "expected input and grid to be floats of one dtype, got {dtype} and {}", grid.dtype());
    }
    if !matches!(sx.len(), 4 | 5) || sg.len() != sx.len() {
        bail!(Dim, OP, "expected 4D or 5D input and grid with same number of dimensions, got {sx:?} and {sg:?}");
    }
    let sizes = &sx[2..];
    let along = sizes.len();
    if sx[0] != sg[0] {
        bail!(Shape, OP, "expected grid and input to have same batch size, but got {sx:?} and {sg:?}");
    }
    if sg[along + 1] != along {
        bail!(Shape, OP, "expected grid to have size {along} in last dimension, but got grid with sizes {sg:?}");
    }
    if sizes.contains(&0) {
        bail!(Shape, OP, "expected input to have non-empty spatial dimensions, but got {sx:?}");
    }
    let (n, c) = (sx[0], sx[1]);
    let places = numel(&sg[1..=along]);
    let flat = x.to_dtype(dtype.compute())?.reshape([n, c, numel(sizes)])?;
    let grid = grid.to_dtype(dtype.compute())?.reshape([n, 1, 1, places, along])?;
    // taps of the dimensions so far, `[n, 1, taps, places]`: where they lie in `flat`, whether inside, and their shares
    let (mut index, mut seen, mut share): (Option<Tensor>, Option<Tensor>, Option<Tensor>) = (None, None, None);
    for (d, &size) in sizes.iter().enumerate() {
        // a place's first number runs along the last dimension
        let taps = Taps::of(&Axis { size, options }, &grid.select(-1, (along - 1 - d) as isize)?)?;
        let (here, at) = no_grad(|| {
            let here = taps.at.ge(0.0)?.logical_and(&taps.at.le(size as f64 - 1.0)?)?;
            // what lies outside must not be followed
            let at = here.where_(&taps.at, 0.0)?.to_dtype(DType::I32)?;
            Ok::<_, Error>((here, at))
        })?;
        // each tap so far with each of this dimension
        let with = |all: &Option<Tensor>, one: &Tensor, join: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| match all {
            Some(all) => join(&all.unsqueeze(3)?, &one.unsqueeze(2)?)?.flatten(2, 3),
            None => Ok(one.clone()),
        };
        index = Some(with(&index, &at, &|all, one| all.mul(size as i32)?.add(one))?);
        seen = Some(with(&seen, &here, &|all, one| all.logical_and(one))?);
        if let Some(one) = &taps.share {
            share = Some(with(&share, one, &|all, one| all.mul(one))?);
        }
    }
    let (Some(index), Some(seen)) = (index, seen) else { bail!(Shape, OP, "no places in {sg:?}") };
    let taps = index.size(2)?;
    let value = flat.gather(2, &index.reshape([n, 1, taps * places])?.expand([n, c, taps * places])?)?;
    let mut value = seen.where_(value.reshape([n, c, taps, places])?, 0.0)?;
    if let Some(share) = share {
        value = value.mul(&share)?;
    }
    let shape: Dims = [n, c].iter().chain(&sg[1..=along]).copied().collect();
    value.sum_dims(&[2], false)?.to_dtype(dtype)?.reshape(&shape)
}

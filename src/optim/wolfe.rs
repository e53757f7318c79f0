//! The line search of L-BFGS: a step of the strong Wolfe conditions, by brackets and cubic interpolation.
//!
//! Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6, in the form that minFunc and PyTorch have.

use super::lbfgs::largest;
use crate::error::Result;
use crate::tensor::Tensor;

/// A place along the line.
#[derive(Clone)]
pub(super) struct Point {
    pub loss: f64,
    pub gradient: Tensor,
}

/// How much of the expected descent is enough.
const ENOUGH: f64 = 1e-4;
/// How much smaller the slope must become.
const FLATTER: f64 = 0.9;
/// A bracket along which no element moves by as much is not searched any more; PyTorch does not take it from
/// `tolerance_change`.
const NARROW: f64 = 1e-9;

/// An end of a bracket.
#[derive(Clone)]
struct End {
    t: f64,
    at: Point,
    slope: f64,
}

/// The lowest place of the cubic through two ends, within bounds.
fn cubic(a: &End, b: &End, bounds: Option<(f64, f64)>) -> f64 {
    let (low, high) = bounds.unwrap_or((a.t.min(b.t), a.t.max(b.t)));
    let d1 = a.slope + b.slope - 3.0 * (a.at.loss - b.at.loss) / (a.t - b.t);
    let square = d1 * d1 - a.slope * b.slope;
    // NaN goes to the middle too
    if square.is_nan() || square < 0.0 {
        return f64::midpoint(low, high);
    }
    let d2 = square.sqrt();
    let place = if a.t <= b.t {
        b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2))
    } else {
        a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2.0 * d2))
    };
    place.max(low).min(high)
}

/// Searches from `start` along a direction, first as far as `t`, then at up to `max_ls` more places: how far to go, the
/// place there, and how many were tried.
pub(super) fn strong_wolfe(
    mut ask: impl FnMut(f64) -> Result<Point>,
    (d, t, slope): (&Tensor, f64, f64),
    start: &Point,
    max_ls: u64,
) -> Result<(f64, Point, u64)> {
    let length = largest(d)?;
    let mut asked = 0;
    let mut end = |t: f64| -> Result<End> {
        let at = ask(t)?;
        asked += 1;
        let slope = at.gradient.dot(d)?.item()?;
        Ok(End { t, at, slope })
    };
    let origin = End { t: 0.0, at: start.clone(), slope };
    let climbs = |e: &End| e.at.loss > start.loss + ENOUGH * e.t * slope;
    let flat = |e: &End| e.slope.abs() <= -FLATTER * slope;

    let mut last = origin.clone();
    let mut new = end(t)?;
    let mut tried = 0;
    let bracket = loop {
        if tried == max_ls {
            break Some([origin.clone(), new.clone()]);
        }
        if climbs(&new) || (tried > 1 && new.at.loss >= last.at.loss) {
            break Some([last, new.clone()]);
        }
        if flat(&new) {
            break None;
        }
        if new.slope >= 0.0 {
            break Some([last, new.clone()]);
        }
        let next = cubic(&last, &new, Some((new.t + 0.01 * (new.t - last.t), new.t * 10.0)));
        last = std::mem::replace(&mut new, end(next)?);
        tried += 1;
    };
    let Some(mut ends) = bracket else { return Ok((new.t, new.at, asked)) };

    let lower = |ends: &[End; 2]| if ends[0].at.loss <= ends[1].at.loss { 0 } else { 1 };
    let mut low = lower(&ends);
    let mut slow = false;
    while tried < max_ls {
        let (left, right) = (ends[0].t.min(ends[1].t), ends[0].t.max(ends[1].t));
        if (right - left) * length < NARROW {
            break;
        }
        let mut t = cubic(&ends[0], &ends[1], None);
        // near an end it is moved inwards, unless it was not near one the last time
        let margin = 0.1 * (right - left);
        if (right - t).min(t - left) < margin {
            if slow || t >= right || t <= left {
                t = if (t - right).abs() < (t - left).abs() { right - margin } else { left + margin };
                slow = false;
            } else {
                slow = true;
            }
        } else {
            slow = false;
        }
        let new = end(t)?;
        tried += 1;
        let high = 1 - low;
        if climbs(&new) || new.at.loss >= ends[low].at.loss {
            ends[high] = new;
            low = lower(&ends);
        } else {
            let done = flat(&new);
            if !done && new.slope * (ends[high].t - ends[low].t) >= 0.0 {
                ends[high] = ends[low].clone();
            }
            ends[low] = new;
            if done {
                break;
            }
        }
    }
    let best = &ends[low];
    Ok((best.t, best.at.clone(), asked))
}

//! Layouts against plain index arithmetic: every view, and views of views, by the positions that they show.

use calor::Layout;
use proptest::prelude::*;

/// What a layout should show: a shape, and the storage position of each element, row by row.
#[derive(Clone, Debug)]
struct Model {
    shape: Vec<usize>,
    at: Vec<isize>,
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &size| {
        all.iter().flat_map(|i| (0..size).map(|k| [&i[..], &[k]].concat()).collect::<Vec<_>>()).collect()
    })
}

impl Model {
    fn contiguous(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), at: (0..shape.iter().product::<usize>() as isize).collect() }
    }

    fn get(&self, index: &[usize]) -> isize {
        self.at[index.iter().zip(&self.shape).fold(0, |flat, (i, size)| flat * size + i)]
    }

    /// Another shape, whose element at an index is this model's at `from` of it.
    fn seen(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let at = indices(&shape).iter().map(|i| self.get(&from(i))).collect();
        Self { shape, at }
    }
}

/// A way to look at a layout: what to do, and numbers that are made to fit.
type Step = (u8, usize, usize, usize);

const RESHAPE: u8 = 11;
const UNFOLD: u8 = 6;
const EXPAND: u8 = 5;

fn without(index: &[usize], dim: usize) -> Vec<usize> {
    [&index[..dim], &index[dim + 1..]].concat()
}

fn with(index: &[usize], dim: usize, value: usize) -> Vec<usize> {
    [&index[..dim], &[value], &index[dim..]].concat()
}

/// Sizes whose product is `n`.
fn factors(n: usize, mut choice: usize) -> Vec<usize> {
    let (mut left, mut out) = (n, Vec::new());
    while left > 1 {
        let divisors: Vec<usize> = (1..=left).filter(|d| left % d == 0).collect();
        let d = divisors[choice % divisors.len()];
        choice = choice / 3 + 1;
        out.push(d);
        left /= d;
    }
    if n == 0 {
        out = vec![choice % 3, 0];
    }
    out
}

/// One view of both; `None` where the step does not apply.
fn step(layout: &Layout, model: &Model, (kind, a, b, c): Step) -> Option<(Layout, Model)> {
    let rank = layout.rank();
    let shape = model.shape.clone();
    let d = if rank > 0 { a % rank } else { 0 };
    let signed = |d: usize| if c % 2 == 0 { d as isize } else { d as isize - rank as isize };
    let or_err = |l: calor::Result<Layout>| l.expect("a view that fits");
    if rank == 0 && !matches!(kind, 5 | 8 | 11) {
        return None;
    }
    Some(match kind {
        0 => {
            // a permutation by its number
            let (mut left, mut order, mut choice) = ((0..rank).collect::<Vec<_>>(), Vec::new(), b);
            while !left.is_empty() {
                order.push(left.remove(choice % left.len()));
                choice /= 2;
            }
            let named: Vec<isize> = order.iter().map(|&d| signed(d)).collect();
            let new = model.seen(order.iter().map(|&d| shape[d]).collect(), |i| {
                let mut from = vec![0; rank];
                order.iter().zip(i).for_each(|(&d, &k)| from[d] = k);
                from
            });
            (or_err(layout.permute("permute", &named)), new)
        }
        1 => {
            let e = b % rank;
            let mut swapped = shape;
            swapped.swap(d, e);
            let new = model.seen(swapped, |i| {
                let mut from = i.to_vec();
                from.swap(d, e);
                from
            });
            (or_err(layout.transpose(signed(d), signed(e))), new)
        }
        2 => {
            let start = b % (shape[d] + 1);
            let length = c % (shape[d] - start + 1);
            let mut out = shape.clone();
            out[d] = length;
            let new = model.seen(out, |i| {
                let mut from = i.to_vec();
                from[d] += start;
                from
            });
            (or_err(layout.narrow("narrow", signed(d), start as isize, length)), new)
        }
        3 => {
            let (start, by) = (b % (shape[d] + 1), c % 3 + 1);
            let length = (shape[d] - start).div_ceil(by);
            let mut out = shape.clone();
            out[d] = length;
            let new = model.seen(out, |i| {
                let mut from = i.to_vec();
                from[d] = start + by * from[d];
                from
            });
            (layout.sliced(d, start, length, by as isize), new)
        }
        4 => {
            let dims: Vec<usize> = (0..rank).filter(|d| (b >> d) & 1 == 1).collect();
            let new = model.seen(shape.clone(), |i| {
                i.iter().enumerate().map(|(d, &k)| if dims.contains(&d) { shape[d] - 1 - k } else { k }).collect()
            });
            (layout.flipped(&dims), new)
        }
        EXPAND => {
            let mut out: Vec<usize> =
                shape.iter().map(|&size| if size == 1 && b % 2 == 1 { c % 4 } else { size }).collect();
            if a % 3 == 0 {
                out.insert(0, b % 3);
            }
            let lead = out.len() - rank;
            let new = model.seen(out.clone(), |i| {
                i[lead..].iter().zip(&shape).map(|(&k, &size)| if size == 1 { 0 } else { k }).collect()
            });
            (or_err(layout.expand("expand", &out)), new)
        }
        UNFOLD => {
            let (size, by) = (b % (shape[d] + 1), c % 3 + 1);
            let mut out = shape.clone();
            out[d] = (shape[d] - size) / by + 1;
            out.push(size);
            let new = model.seen(out, |i| {
                let mut from = i[..rank].to_vec();
                from[d] = from[d] * by + i[rank];
                from
            });
            (or_err(layout.unfold("unfold", signed(d), size, by)), new)
        }
        7 => {
            let e = b % rank;
            if d == e {
                return None;
            }
            let shift = (c % 5) as isize - 2;
            let (rows, columns) = (shape[d] as isize, shape[e] as isize);
            let length = (0..rows).filter(|r| (0..columns).contains(&(r + shift))).count();
            let (low, high) = (d.min(e), d.max(e));
            let mut out = without(&without(&shape, high), low);
            out.push(length);
            let new = model.seen(out, |i| {
                let k = i[rank - 2] as isize;
                let (row, column) = if shift < 0 { (k - shift, k) } else { (k, k + shift) };
                let (first, second) = if d < e { (row, column) } else { (column, row) };
                with(&with(&i[..rank - 2], low, first as usize), high, second as usize)
            });
            (or_err(layout.diagonal("diagonal", shift, signed(d), signed(e))), new)
        }
        8 => {
            let place = a % (rank + 1);
            (layout.unsqueezed(place), model.seen(with(&shape, place, 1), |i| without(i, place)))
        }
        9 => {
            let dims: Vec<usize> = (0..rank).filter(|d| shape[*d] == 1 && (b >> d) & 1 == 1).collect();
            let out = (0..rank).filter(|d| !dims.contains(d)).map(|d| shape[d]).collect();
            let new = model.seen(out, |i| dims.iter().fold(i.to_vec(), |from, &d| with(&from, d, 0)));
            (layout.squeezed(|d| (b >> d) & 1 == 1), new)
        }
        10 if shape[d] > 0 => {
            let k = b % shape[d];
            let named = if c % 2 == 0 { k as isize } else { k as isize - shape[d] as isize };
            let new = model.seen(without(&shape, d), |i| with(i, d, k));
            (or_err(layout.select("select", signed(d), named)), new)
        }
        RESHAPE => {
            let out = factors(model.at.len(), b);
            (layout.reshape(&out)?, Model { shape: out, at: model.at.clone() })
        }
        _ => return None,
    })
}

/// Strides that show `at` under `shape`, if there are any.
fn strided(shape: &[usize], at: &[isize]) -> bool {
    let model = Model { shape: shape.to_vec(), at: at.to_vec() };
    let Some(&first) = at.first() else { return true };
    let strides: Vec<isize> = (0..shape.len())
        .map(|d| {
            let mut unit = vec![0; shape.len()];
            unit[d] = 1;
            if shape[d] > 1 { model.get(&unit) - first } else { 0 }
        })
        .collect();
    let lies = |i: &Vec<usize>| first + i.iter().zip(&strides).map(|(&k, s)| k as isize * s).sum::<isize>();
    indices(shape).iter().all(|i| model.get(i) == lies(i))
}

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        8 => prop::collection::vec(1usize..5, 0..4),
        1 => prop::collection::vec(0usize..4, 0..4),
    ]
}

fn steps(kinds: impl Strategy<Value = u8> + 'static) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((kinds, 0usize..64, 0usize..64, 0usize..64), 0..6)
}

fn run(shape: &[usize], steps: &[Step]) -> (Layout, Model) {
    let start = (Layout::contiguous(shape), Model::contiguous(shape));
    steps.iter().fold(start, |(l, m), &s| match step(&l, &m, s) {
        // repeated windows grow quickly
        Some((l, m)) if m.at.len() <= 300 && l.rank() < 7 => (l, m),
        _ => (l, m),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn views_show_what_index_arithmetic_says(shape in shapes(), list in steps(0u8..12)) {
        let (layout, model) = run(&shape, &list);
        prop_assert_eq!(layout.shape(), &model.shape[..]);
        prop_assert_eq!(layout.numel(), model.at.len());
        prop_assert_eq!(layout.positions().collect::<Vec<_>>(), model.at.clone());
        if !model.at.is_empty() {
            let bounds = (*model.at.iter().min().expect("some"), *model.at.iter().max().expect("some"));
            prop_assert_eq!(layout.bounds(), bounds);
            let runs_on = model.at.windows(2).all(|w| w[1] == w[0] + 1);
            prop_assert_eq!(layout.is_contiguous(), runs_on, "{:?}", layout);
            prop_assert_eq!(layout.is_identity(model.at.len()), runs_on && model.at[0] == 0);
        }
    }

    #[test]
    fn reshape_keeps_the_order_and_refuses_only_what_no_strides_say(
        shape in shapes(), list in steps(0u8..12), choice in 0usize..1000
    ) {
        let (layout, model) = run(&shape, &list);
        let to = factors(model.at.len(), choice);
        match layout.reshape(&to) {
            Some(view) => {
                prop_assert_eq!(view.shape(), &to[..]);
                prop_assert!(view.positions().eq(layout.positions()), "{:?} as {:?}", layout, view);
            }
            None => prop_assert!(!strided(&to, &model.at), "{:?} can be seen as {:?}", layout, to),
        }
        prop_assert!(!layout.is_contiguous() || layout.reshape(&to).is_some());
        // another number of elements is refused, not misread
        let more: Vec<usize> = to.iter().copied().chain([2]).collect();
        prop_assert!(model.at.is_empty() || layout.reshape(&more).is_none());
    }

    #[test]
    fn composed_layouts_are_two_reads(shape in shapes(), first in steps(0u8..12), second in steps(0u8..12)) {
        let (inner, below) = run(&shape, &first);
        let (outer, above) = run(inner.shape(), &second);
        let want: Vec<isize> = above.at.iter().map(|&p| below.at[p as usize]).collect();
        match outer.compose(&inner) {
            Some(both) => {
                prop_assert_eq!(both.shape(), outer.shape());
                prop_assert_eq!(both.positions().collect::<Vec<_>>(), want, "{:?} of {:?}", outer, inner);
            }
            None => {
                prop_assert!(!inner.is_contiguous());
                // dimensions that are not joined or split always compose
                prop_assert!(second.iter().any(|s| s.0 == RESHAPE), "{:?} of {:?}", outer, inner);
            }
        }
    }

    #[test]
    fn overlaps_are_found_exactly(shape in shapes(), list in steps(0u8..12)) {
        let (layout, model) = run(&shape, &list);
        let mut seen = model.at.clone();
        seen.sort_unstable();
        let shared = seen.windows(2).any(|w| w[0] == w[1]);
        // windows that interleave without touching may be refused, but never the other way round
        let exact = !list.iter().any(|s| s.0 == UNFOLD);
        prop_assert!(layout.overlaps() == shared || (!exact && !shared), "{:?}", layout);
    }

    #[test]
    fn any_strides_that_share_elements_overlap(
        axes in prop::collection::vec((1usize..4, -6isize..7), 0..4)
    ) {
        let (shape, strides): (Vec<usize>, Vec<isize>) = axes.into_iter().unzip();
        let layout = Layout::strided("as_strided", &shape, &strides, 100).expect("in range");
        let mut seen: Vec<isize> = layout.positions().collect();
        seen.sort_unstable();
        prop_assert!(layout.overlaps() || seen.windows(2).all(|w| w[0] != w[1]), "{:?}", layout);
    }
}

#[test]
fn numbers_beyond_the_address_space_are_refused() {
    let t = Layout::contiguous(&[4, 3]);
    let huge = usize::MAX;
    assert!(t.narrow("narrow", 0, 0, huge).is_err());
    assert!(t.narrow("narrow", 0, isize::MIN, 1).is_err() && t.narrow("narrow", 0, isize::MAX, 1).is_err());
    assert!(t.select("select", 0, isize::MIN).is_err() && t.select("select", isize::MIN, 0).is_err());
    assert!(Layout::contiguous(&[1, 1]).expand("expand", &[huge, 3]).is_err());
    assert!(t.unfold("unfold", 0, huge, 1).is_err());
    assert_eq!(t.unfold("unfold", 0, 2, huge).expect("one window").shape(), [1, 3, 2]);
    assert_eq!(t.diagonal("diagonal", isize::MIN, 0, 1).expect("none").shape(), [0]);
    assert_eq!(t.diagonal("diagonal", isize::MAX, 0, 1).expect("none").shape(), [0]);
    assert!(Layout::strided("as_strided", &[huge, 2], &[1, 1], 0).is_err());
    assert!(Layout::strided("as_strided", &[3, 2], &[isize::MAX, 1], 0).is_err());
    assert!(Layout::strided("as_strided", &[3, 2], &[isize::MIN, 1], 0).is_err());
    assert!(t.reshape(&[huge, 2]).is_none());
}

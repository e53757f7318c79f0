//! Tensors taken apart, with one gradient for all parts, and many put together in one buffer.
//!
//! The counts are the device's own, so the tests of this file take turns.

use calor::autograd::{Backward, gradcheck, gradgradcheck};
use calor::nn::{LSTM, LSTMOptions, Module};
use calor::{DType, Result, Sections, Tensor, cat, check_fusion, stack};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers from -1 to 1, different ones for each seed.
fn numbers(shape: &[usize], seed: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 613 + 13) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_slice(&values, shape, ())
}

/// A way to take a tensor apart along a dimension.
type Apart = fn(&Tensor, isize) -> Result<Vec<Tensor>>;

const APART: [(&str, Apart); 7] = [
    ("unbind", |x, d| x.unbind(d)),
    ("split", |x, d| x.split(3, d)),
    ("split_with_sizes", |x, d| x.split_with_sizes(&[1, 0, 9, 1], d)),
    ("chunk", |x, d| x.chunk(4, d)),
    ("tensor_split", |x, d| x.tensor_split(&Sections::Parts(5), d)),
    // each with a gradient function of its own
    ("select", |x, d| (0..x.size(d)? as isize).map(|i| x.select(d, i)).collect()),
    ("narrow", |x, d| [(0, 3), (3, 0), (3, 4), (7, 4)].into_iter().map(|(at, n)| x.narrow(d, at, n)).collect()),
];

/// Whether parts lack the dimension.
fn lacks(name: &str) -> bool {
    matches!(name, "unbind" | "select")
}

/// Part `i` counts `i + 1` times, if `used`.
fn weighed(parts: &[Tensor], used: impl Fn(usize) -> bool) -> Result<Tensor> {
    let mut sum = Tensor::zeros([], ())?;
    for (i, part) in parts.iter().enumerate().filter(|p| used(p.0)) {
        sum = (sum + (part.square()? * (i + 1) as f64)?.sum()?)?;
    }
    Ok(sum)
}

#[test]
fn gradients_of_parts_are_those_of_the_whole() -> Result<()> {
    let _turn = turn();
    for (name, apart) in APART {
        for d in 0..3 {
            let mut shape = [2, 4, 3];
            shape[d] = 11;
            let base = numbers(&shape, d)?.requires_grad_(true)?;
            for (view, back) in [(false, "as it is"), (true, "turned")] {
                for used in [|_| true, |i: usize| i == 2, |i: usize| i % 2 == 1, |i: usize| i < 2] {
                    let x = if view { base.transpose(0, 2)? } else { base.clone() };
                    let at = if view { [2, 1, 0][d] } else { d } as isize;
                    let parts = apart(&x, at)?;
                    base.set_grad(None)?;
                    weighed(&parts, used)?.backward()?;
                    // each element's weight is that of its part
                    let ones: Vec<Tensor> = (0..parts.len())
                        .map(|i| {
                            let weight = if used(i) { 2.0 * (i + 1) as f64 } else { 0.0 };
                            Tensor::full(parts[i].shape(), weight, DType::F32)
                        })
                        .collect::<Result<_>>()?;
                    let ones: Vec<&Tensor> = ones.iter().collect();
                    let weights = if lacks(name) { stack(&ones, at)? } else { cat(&ones, at)? };
                    let want = (weights * x.detach())?;
                    let want = if view { want.transpose(0, 2)? } else { want };
                    let Some(got) = base.grad() else { panic!("{name} {d} {back}: no gradient") };
                    assert_eq!(got.to_vec::<f32>()?, want.to_vec::<f32>()?, "{name} along {d} {back}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn parts_have_second_gradients_and_can_be_walked_again() -> Result<()> {
    let _turn = turn();
    let double = calor::Device::best()?.supports(DType::F64);
    if !double {
        println!("gradients are not checked by differences: the adapter has no f64");
    }
    for (_, apart) in APART.into_iter().filter(|_| double) {
        let x = numbers(&[11, 2], 1)?.to_dtype(DType::F64)?.requires_grad_(true)?;
        let f = |x: &[Tensor]| weighed(&apart(&x[0].sin()?, 0)?, |i| i != 1);
        gradcheck(f, &[&x], None)?;
        gradgradcheck(f, &[&x], None)?;
    }
    // nothing is kept, so that one half of the graph can be walked after the other
    let x = numbers(&[8, 4], 2)?.requires_grad_(true)?;
    let parts = x.unbind(0)?;
    let first = Backward::new().grad(&[&parts[0]], &[&x], &[Some(&Tensor::ones([4], ())?)])?;
    let second = Backward::new().grad(&[&parts[7]], &[&x], &[Some(&Tensor::ones([4], ())?)])?;
    for (g, row) in [(first, 0), (second, 7)] {
        let Some(Some(g)) = g.into_iter().next() else { panic!("no gradient") };
        assert_eq!((g.sum()?.item()?, g.select(0, row)?.sum()?.item()?), (4.0, 4.0));
    }
    Ok(())
}

#[test]
fn a_part_that_is_written_to_is_seen_in_the_whole_and_its_history() -> Result<()> {
    let _turn = turn();
    for (name, apart) in APART {
        let leaf = numbers(&[11, 4], 3)?.requires_grad_(true)?;
        let x = (&leaf * 1.0)?;
        let parts = apart(&x, 0)?;
        parts[0].mul_(3.0)?;
        (&x.square()?.sum()? + parts[0].sum()?)?.backward()?;
        let rows = if lacks(name) { 1 } else { parts[0].shape()[0] };
        let (g, v) = (leaf.grad().unwrap().to_vec::<f32>()?, leaf.to_vec::<f32>()?);
        for (i, (g, v)) in g.iter().zip(&v).enumerate() {
            // (3v)^2 + 3v, or v^2
            let want = if i / 4 < rows { 18.0 * v + 3.0 } else { 2.0 * v };
            assert!((g - want).abs() < 1e-4, "{name} {i}: {g} for {want}");
        }
    }
    Ok(())
}

#[test]
fn what_is_joined_of_many_is_its_own() -> Result<()> {
    let _turn = turn();
    let device = calor::Device::best()?;
    // whole units of what buffers are divided into, and others
    for shape in [vec![64], vec![2, 64], vec![3, 5], vec![1]] {
        for made in [false, true] {
            let part = |i: usize| if made { numbers(&shape, i)? * 2.0 } else { numbers(&shape, i) };
            let parts: Vec<Tensor> = (0..20).map(part).collect::<Result<_>>()?;
            // one of them twice, and one that lies otherwise in memory
            let mut all: Vec<&Tensor> = parts.iter().collect();
            all.push(&parts[3]);
            let turned = parts[5].flip(&[0])?;
            all.push(&turned);
            let want: Vec<f32> = all.iter().map(|t| t.to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat();
            let joined = [stack(&all, 0)?, cat(&all, 0)?];
            for t in &joined {
                assert_eq!(t.to_vec::<f32>()?, want, "{shape:?}");
            }
            // neither sees what is written to the other
            parts[3].zero_()?;
            joined[0].add_(1.0)?;
            assert_eq!(joined[1].to_vec::<f32>()?, want);
            assert_eq!(joined[0].to_vec::<f32>()?, want.iter().map(|v| v + 1.0).collect::<Vec<_>>());
            assert_eq!(
                parts[4].to_vec::<f32>()?,
                numbers(&shape, 4)?.mul(if made { 2.0 } else { 1.0 })?.to_vec::<f32>()?
            );
        }
    }
    // along other dimensions, and few of them that are large
    for (n, shape) in
        [(20, vec![2, 64]), (9, vec![3, 5]), (7, vec![2, 3, 4]), (3, vec![2, 64, 128]), (2, vec![1, 3, 6000])]
    {
        let parts: Vec<Tensor> = (0..n).map(|i| numbers(&shape, i)).collect::<Result<_>>()?;
        let all: Vec<&Tensor> = parts.iter().collect();
        let flat: Vec<f32> = parts.iter().map(|t| t.to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat();
        let stacked = Tensor::from_slice(&flat, [&[n][..], &shape].concat(), ())?;
        for d in 0..=shape.len() {
            let want = stacked.movedim(&[0], &[d as isize])?;
            let have = stack(&all, d as isize)?;
            assert!(have.is_contiguous());
            assert_eq!(have.to_vec::<f32>()?, want.to_vec::<f32>()?, "{n} of {shape:?} at {d}");
            if d < shape.len() {
                let have = cat(&all, d as isize)?;
                assert!(have.is_contiguous() && have.shape()[d] == n * shape[d]);
                assert_eq!(have.to_vec::<f32>()?, want.to_vec::<f32>()?, "{n} of {shape:?} along {d}");
            }
        }
    }
    // of different sizes, in whole units of what buffers are divided into or not
    for unit in [16, 3] {
        for d in 0..3 {
            let size = |i: usize, k: usize| if k == d { 1 + i % 4 } else { [2, unit, 4][k] };
            let parts = (0..9).map(|i| numbers(&[size(i, 0), size(i, 1), size(i, 2)], i));
            let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
            let front: Vec<Tensor> =
                parts.iter().map(|t| t.movedim(&[d as isize], &[0])?.contiguous()).collect::<Result<_>>()?;
            let flat: Vec<f32> = front.iter().map(|t| t.to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat();
            let mut sizes = front[0].shape();
            sizes[0] = front.iter().map(|t| t.shape()[0]).sum();
            let want = Tensor::from_slice(&flat, &sizes[..], ())?.movedim(&[0], &[d as isize])?;
            let have = cat(&parts.iter().collect::<Vec<_>>(), d as isize)?;
            assert!(have.is_contiguous() && have.shape() == want.shape());
            assert_eq!(have.to_vec::<f32>()?, want.to_vec::<f32>()?, "units of {unit} along {d}");
        }
    }
    let check = check_fusion(&device, 1e-6, || {
        let x = numbers(&[12, 64], 7)?;
        let rows: Vec<Tensor> = x.unbind(0)?.iter().map(|r| r.softmax(0)).collect::<Result<_>>()?;
        let joined = stack(&rows.iter().collect::<Vec<_>>(), 0)?;
        Ok(vec![(&joined + &x)?, joined.sum_dims(&[0], false)?, rows[2].exp()?])
    })?;
    assert!(check.difference.is_none(), "{check}");
    Ok(())
}

#[test]
fn many_of_each_dtype_are_joined() -> Result<()> {
    let _turn = turn();
    for dtype in [DType::Bool, DType::U8, DType::F16, DType::BF16, DType::I32, DType::I64] {
        if !calor::Device::best()?.supports(dtype) {
            println!("skipped: the adapter has no {dtype}");
            continue;
        }
        for n in [64, 67] {
            let mut parts: Vec<Tensor> = Vec::new();
            for i in 0..9 {
                // made, constant, the same again
                parts.push((numbers(&[2, n], i)? * 3.0)?.to_dtype(dtype)?);
                parts.push(Tensor::full([2, n], (i % 2) as f64, dtype)?);
                parts.push(parts[0].clone());
            }
            let all: Vec<&Tensor> = parts.iter().collect();
            let want: Vec<f32> =
                (parts.iter().map(|t| t.to_dtype(DType::F32)?.to_vec::<f32>())).collect::<Result<Vec<_>>>()?.concat();
            for joined in [stack(&all, 0)?, cat(&all, 0)?] {
                assert_eq!(joined.dtype(), dtype);
                assert_eq!(joined.to_dtype(DType::F32)?.to_vec::<f32>()?, want, "{dtype} of {n}");
            }
            let turned = stack(&all, 1)?.transpose(0, 1)?.to_dtype(DType::F32)?;
            assert_eq!(turned.to_vec::<f32>()?, want, "{dtype} of {n}, at 1");
        }
    }
    Ok(())
}

/// The parts' gradients are written where that of the whole has them.
#[test]
fn gradients_of_many_parts_are_not_copied() -> Result<()> {
    let _turn = turn();
    let x = numbers(&[32, 16, 64], 1)?.requires_grad_(true)?;
    x.eval()?;
    let device = x.device().clone();
    let ends: Vec<Tensor> = x.unbind(0)?.iter().map(Tensor::tanh).collect::<Result<_>>()?;
    let ends: Vec<&Tensor> = ends.iter().collect();
    let gradients: Vec<Tensor> = (0..32).map(|i| numbers(&[16, 64], i)).collect::<Result<_>>()?;
    Tensor::eval_all(&gradients)?;
    let gradients: Vec<Option<&Tensor>> = gradients.iter().map(Some).collect();
    let Some(Some(g)) = Backward::new().grad(&ends, &[&x], &gradients)?.pop() else { panic!("no gradient") };
    let before = device.counters().dispatches;
    g.eval()?;
    assert_eq!(device.counters().dispatches - before, 32, "one kernel for each part, none for the whole");
    Ok(())
}

#[test]
fn a_step_of_an_lstm_takes_kernels_for_each_time_only() -> Result<()> {
    let _turn = turn();
    let lstm = LSTM::new(8, 16, LSTMOptions::default())?;
    let mut counts = Vec::new();
    for times in [16, 32] {
        let x = numbers(&[times, 4, 8], 1)?;
        x.eval()?;
        let device = x.device().clone();
        for round in 0..2 {
            lstm.zero_grad();
            let before = device.counters().dispatches;
            lstm.forward(&x, None)?.0.square()?.sum()?.backward()?;
            let grads: Vec<Tensor> = lstm.parameters().iter().filter_map(|p| p.tensor().grad()).collect();
            Tensor::eval_all(&grads)?;
            if round == 1 {
                counts.push(device.counters().dispatches - before);
            }
        }
    }
    let most = calor::Device::best()?.facts().max_bindings;
    if most < 16 {
        println!("kernels are not counted: the adapter has {most} bindings");
        return Ok(());
    }
    let each = (counts[1] - counts[0]) as f64 / 16.0;
    assert!(each <= 5.25, "{counts:?} kernels for 16 and 32 times");
    Ok(())
}

/// What is seen several times, or through views that overlap, counts as often as it is seen.
#[test]
fn gradients_of_parts_that_overlap_are_summed() -> Result<()> {
    let _turn = turn();
    let device = calor::Device::best()?;
    for d in 0..3 {
        let mut shape = [2, 4, 3];
        shape[d] = 12;
        let x = numbers(&shape, d)?.requires_grad_(true)?;
        let at = d as isize;
        let mut seen = vec![0f32; 12];
        let mut parts = vec![x.select(at, 5)?.sum()?, x.select(at, 5)?.sum()?, x.sum()?, x.flip(&[at])?.sum()?];
        seen.iter_mut().for_each(|n| *n += 2.0);
        seen[5] += 2.0;
        for start in 0..10 {
            parts.push(x.narrow(at, start as isize, 3)?.sum()?);
            (start..start + 3).for_each(|i| seen[i] += 1.0);
        }
        for start in 0..3 {
            parts.push(x.slice(at, Some(start as isize), None, 3)?.sum()?);
            (start..12).step_by(3).for_each(|i| seen[i] += 1.0);
        }
        stack(&parts.iter().collect::<Vec<_>>(), 0)?.sum()?.backward()?;
        let Some(g) = x.grad() else { panic!("no gradient") };
        let mut sides = [1; 3];
        sides[d] = 12;
        let want = Tensor::from_slice(&seen, sides, &device)?.expand(shape)?;
        assert_eq!(g.to_vec::<f32>()?, want.to_vec::<f32>()?, "along {d}");
    }
    Ok(())
}

/// A loop over times costs what `unbind` does.
#[test]
fn selecting_in_a_loop_costs_no_more_than_unbind() -> Result<()> {
    let _turn = turn();
    let run = |select: bool| {
        let x = numbers(&[32, 16, 64], 1)?.requires_grad_(true)?;
        x.eval()?;
        let device = x.device().clone();
        let before = device.counters().dispatches;
        let times = if select { (0..32).map(|t| x.select(0, t)).collect::<Result<_>>()? } else { x.unbind(0)? };
        let mut h = Tensor::zeros([16, 64], ())?;
        for x in &times {
            h = (x + &h)?.tanh()?;
        }
        h.square()?.sum()?.backward()?;
        let g = x.grad().map(|g| g.to_vec::<f32>()).transpose()?;
        Ok::<_, calor::Error>((device.counters().dispatches - before, g))
    };
    let (selects, by_select) = run(true)?;
    let (unbound, by_unbind) = run(false)?;
    assert!(by_select.is_some() && by_select == by_unbind);
    assert!(selects <= unbound, "{selects} kernels, {unbound} with unbind");
    Ok(())
}

/// What a loop writes slice by slice is what was written, whoever reads when.
#[test]
fn slices_that_are_written_one_by_one() -> Result<()> {
    let _turn = turn();
    for shape in [[24, 4, 16], [9, 2, 3], [7, 1, 64], [3, 16, 64]] {
        for d in 0..3 {
            let (n, at) = (shape[d], d as isize);
            let start = numbers(&shape, 9)?;
            for (times, reads) in [(n, false), (n, true), (n.min(5), false), (n.saturating_sub(1), true)] {
                let x = start.try_clone()?;
                let mut want = start.try_clone()?;
                for k in 0..times {
                    // from both ends, some of them twice
                    let i = if k % 2 == 0 { k / 2 } else { n - 1 - k / 2 } as isize;
                    let new = numbers(&x.select(at, i)?.shape(), 20 + k)?;
                    x.select(at, i)?.copy_(&new)?;
                    if k % 3 == 0 {
                        x.select(at, i)?.mul_(2.0)?;
                    }
                    let new = if k % 3 == 0 { (&new * 2.0)? } else { new };
                    let before = want.narrow(at, 0, i as usize)?;
                    let after = want.narrow(at, i + 1, n - 1 - i as usize)?;
                    want = cat(&[&before, &new.unsqueeze(at)?, &after], at)?;
                    if !reads {
                        continue;
                    }
                    // its own slice, one beside it, a part of one, all across
                    assert_eq!(x.select(at, i)?.to_vec::<f32>()?, new.to_vec::<f32>()?);
                    let other = (i + 1) % n as isize;
                    assert_eq!(x.select(at, other)?.to_vec::<f32>()?, want.select(at, other)?.to_vec::<f32>()?);
                    let edge = (at + 1) % 3;
                    let seen = |t: &Tensor| t.select(at, i)?.unsqueeze(at)?.select(edge, 0)?.to_vec::<f32>();
                    assert_eq!(seen(&x)?, seen(&want)?);
                    if k == 2 {
                        assert_eq!(
                            x.sum_dims(&[at], false)?.to_vec::<f32>()?,
                            want.sum_dims(&[at], false)?.to_vec::<f32>()?
                        );
                    }
                }
                assert_eq!(x.to_vec::<f32>()?, want.to_vec::<f32>()?, "{times} of {shape:?} along {d}");
            }
        }
    }
    Ok(())
}

/// A loop that fills a tensor costs about what `stack` does, forward and backward, and has the same gradients.
#[test]
fn filling_a_tensor_in_a_loop_costs_what_stack_does() -> Result<()> {
    let _turn = turn();
    let run = |fill: Option<isize>| {
        let x = numbers(&[32, 16, 64], 1)?.requires_grad_(true)?;
        x.eval()?;
        let device = x.device().clone();
        let before = device.counters().dispatches;
        let shape = if fill == Some(1) { [16, 32, 64] } else { [32, 16, 64] };
        let out = Tensor::zeros(shape, ())?;
        let mut h = Tensor::zeros([16, 64], ())?;
        let mut all = Vec::new();
        for (t, x) in x.unbind(0)?.iter().enumerate() {
            h = (x + &h)?.tanh()?;
            match fill {
                Some(d) => drop(out.select(d, t as isize)?.copy_(&h)?),
                None => all.push(h.clone()),
            }
        }
        let out = match fill {
            Some(1) => out.transpose(0, 1)?,
            Some(_) => out,
            None => stack(&all.iter().collect::<Vec<_>>(), 0)?,
        };
        (out.square()? * numbers(&[32, 16, 64], 5)?)?.sum()?.backward()?;
        let g = x.grad().map(|g| g.to_vec::<f32>()).transpose()?;
        Ok::<_, calor::Error>((device.counters().dispatches - before, g))
    };
    let (stacked, want) = run(None)?;
    for d in [0, 1] {
        let (filled, got) = run(Some(d))?;
        let (Some(got), Some(want)) = (&got, &want) else { panic!("no gradient") };
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "along {d}");
        assert!(filled <= stacked + 8, "{filled} kernels along {d}, {stacked} with stack");
    }
    Ok(())
}

/// Parts that are not used take no kernels each.
#[test]
fn gradients_of_some_parts_of_many_take_few_kernels() -> Result<()> {
    let _turn = turn();
    let x = numbers(&[300, 2, 8], 1)?.requires_grad_(true)?;
    x.eval()?;
    let device = x.device().clone();
    let used = |i: usize| i % 97 == 5;
    weighed(&x.unbind(0)?, used)?.backward()?;
    let Some(g) = x.grad() else { panic!("no gradient") };
    let before = device.counters().dispatches;
    let values = g.to_vec::<f32>()?;
    let count = device.counters().dispatches - before;
    assert!(count <= 20, "{count} kernels");
    for (i, (g, x)) in values.iter().zip(x.to_vec::<f32>()?).enumerate() {
        let row = i / 16;
        let want = if used(row) { 2.0 * (row + 1) as f32 * x } else { 0.0 };
        assert!((g - want).abs() < 1e-3, "{i}: {g} for {want}");
    }
    Ok(())
}

/// Joining computes all parts at each element, unless what a part costs is more than a kernel of its own.
#[test]
fn costly_parts_are_computed_once() -> Result<()> {
    let _turn = turn();
    let x = numbers(&[4, 64, 64], 1)?;
    x.eval()?;
    let device = x.device().clone();
    for (costly, most) in [(false, 1), (true, if device.facts().is_cpu { 5 } else { 1 })] {
        let part = |x: Tensor| match costly {
            true => (0..3).try_fold(x, |x, _| x.tanh()?.exp()?.sigmoid()),
            false => x.tanh(),
        };
        let parts: Vec<Tensor> = x.unbind(0)?.into_iter().map(part).collect::<Result<_>>()?;
        let joined = cat(&parts.iter().collect::<Vec<_>>(), 1)?;
        drop(parts);
        let before = device.counters().dispatches;
        joined.eval()?;
        assert_eq!(device.counters().dispatches - before, most);
    }
    Ok(())
}

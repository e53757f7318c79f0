//! Storage cells: programs of views and writes against flat host memory, and what autograd says about writes.

use calor::{DType, Device, Error, ErrorKind, Result, Tensor, enable_grad, no_grad};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What an alias should show: which storage, and the places in it, row by row.
#[derive(Clone)]
struct Alias {
    storage: usize,
    shape: Vec<usize>,
    at: Vec<usize>,
    tensor: Tensor,
}

/// Host memory of all storages, with how often each was written to.
#[derive(Default)]
struct Host {
    cells: Vec<Vec<f32>>,
    writes: Vec<u64>,
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &size| {
        all.iter().flat_map(|i| (0..size).map(|k| [&i[..], &[k]].concat()).collect::<Vec<_>>()).collect()
    })
}

impl Alias {
    fn get(&self, index: &[usize]) -> usize {
        self.at[index.iter().zip(&self.shape).fold(0, |flat, (i, size)| flat * size + i)]
    }

    /// A view of this alias: `tensor` shows at each index of `shape` what this one shows at `from` of it.
    fn seen(&self, tensor: Tensor, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let at = indices(&shape).iter().map(|i| self.get(&from(i))).collect();
        Self { storage: self.storage, shape, at, tensor }
    }

    fn shares_elements(&self) -> bool {
        let mut at = self.at.clone();
        at.sort_unstable();
        at.windows(2).any(|w| w[0] == w[1])
    }

    fn values(&self, host: &Host) -> Vec<f32> {
        self.at.iter().map(|&p| host.cells[self.storage][p]).collect()
    }
}

fn root(rng: &mut SmallRng, host: &mut Host, device: &Device) -> Result<Alias> {
    let shape: Vec<usize> = (0..rng.random_range(1..4)).map(|_| rng.random_range(1..5)).collect();
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(-4..5) as f32).collect();
    let tensor = Tensor::from_slice(&values, &shape, device)?;
    host.cells.push(values);
    host.writes.push(0);
    Ok(Alias { storage: host.cells.len() - 1, shape, at: (0..n).collect(), tensor })
}

fn view(rng: &mut SmallRng, x: &Alias, host: &mut Host) -> Result<Option<Alias>> {
    let (rank, shape, t) = (x.shape.len(), x.shape.clone(), &x.tensor);
    let d = if rank > 0 { rng.random_range(0..rank) } else { 0 };
    let dim = if rng.random() { d as isize } else { d as isize - rank as isize };
    let kind = rng.random_range(0..11);
    if rank == 0 && kind < 8 {
        return Ok(None);
    }
    Ok(Some(match kind {
        0 => {
            let mut order: Vec<usize> = (0..rank).collect();
            (1..rank).for_each(|i| order.swap(i, rng.random_range(0..=i)));
            let named: Vec<isize> = order.iter().map(|&d| d as isize).collect();
            x.seen(t.permute(&named)?, order.iter().map(|&d| shape[d]).collect(), |i| {
                let mut from = vec![0; rank];
                order.iter().zip(i).for_each(|(&d, &k)| from[d] = k);
                from
            })
        }
        1 if shape[d] > 0 => {
            let k = rng.random_range(0..shape[d]);
            let named = if rng.random() { k as isize } else { k as isize - shape[d] as isize };
            let mut out = shape.clone();
            out.remove(d);
            x.seen(t.select(dim, named)?, out, |i| [&i[..d], &[k], &i[d..]].concat())
        }
        2 | 3 => {
            let (start, step) = (rng.random_range(0..=shape[d]), rng.random_range(1..4));
            let end = rng.random_range(start..=shape[d]);
            let mut out = shape.clone();
            out[d] = (end - start).div_ceil(step);
            x.seen(t.slice(dim, Some(start as isize), Some(end as isize), step)?, out, |i| {
                let mut from = i.to_vec();
                from[d] = start + step * from[d];
                from
            })
        }
        4 => {
            let start = rng.random_range(0..=shape[d]);
            let mut out = shape.clone();
            out[d] = rng.random_range(0..=shape[d] - start);
            x.seen(t.narrow(dim, start as isize, out[d])?, out.clone(), |i| {
                let mut from = i.to_vec();
                from[d] += start;
                from
            })
        }
        5 if rank > 1 => {
            let e = (d + 1) % rank;
            let shift = rng.random_range(-1..2i32) as isize;
            let length = (0..shape[d] as isize).filter(|r| (0..shape[e] as isize).contains(&(r + shift))).count();
            let mut out: Vec<usize> = (0..rank).filter(|k| *k != d && *k != e).map(|k| shape[k]).collect();
            out.push(length);
            x.seen(t.diagonal(shift, dim, e as isize)?, out, |i| {
                let k = i[rank - 2] as isize;
                let (row, column) = if shift < 0 { (k - shift, k) } else { (k, k + shift) };
                let mut rest = i[..rank - 2].iter().copied();
                let place = |c: usize| match c {
                    c if c == d => row as usize,
                    c if c == e => column as usize,
                    _ => rest.next().expect("a coordinate"),
                };
                (0..rank).map(place).collect()
            })
        }
        6 => {
            let chunks = t.chunk(rng.random_range(1..4), dim)?;
            let k = rng.random_range(0..chunks.len());
            let start: usize = chunks[..k].iter().map(|c| c.shape()[d]).sum();
            let chunk = chunks[k].clone();
            let out = chunk.shape().to_vec();
            x.seen(chunk, out, |i| {
                let mut from = i.to_vec();
                from[d] += start;
                from
            })
        }
        // may be a copy: then a storage of its own
        7 => {
            let flat = t.flatten(0, -1)?;
            let mut out = Alias { shape: vec![x.at.len()], tensor: flat.clone(), ..x.clone() };
            if !flat.shares_storage(t) {
                host.cells.push(x.values(host));
                host.writes.push(0);
                (out.storage, out.at) = (host.cells.len() - 1, (0..x.at.len()).collect());
            }
            out
        }
        8 => {
            let mut out: Vec<usize> = shape.iter().map(|&s| if s == 1 { rng.random_range(1..4) } else { s }).collect();
            if rng.random() {
                out.insert(0, rng.random_range(1..3));
            }
            let lead = out.len() - rank;
            x.seen(t.expand(&out)?, out, |i| {
                i[lead..].iter().zip(&shape).map(|(&k, &s)| if s == 1 { 0 } else { k }).collect()
            })
        }
        9 => {
            let to: Vec<isize> = if x.at.len().is_multiple_of(2) { vec![2, -1] } else { vec![-1, 1] };
            match t.view(&to) {
                Ok(v) => Alias { shape: v.shape().to_vec(), tensor: v, ..x.clone() },
                Err(e) if x.at.is_empty() || e.to_string().contains("not compatible") => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        10 => Alias { tensor: t.detach(), ..x.clone() },
        _ => return Ok(None),
    }))
}

/// What the places of `x` hold after a write, and the tensor call that does it.
fn write(rng: &mut SmallRng, x: &Alias, pool: &[Alias], host: &mut Host) -> Result<Tensor> {
    let t = &x.tensor;
    let old = x.values(host);
    let number = rng.random_range(-3..4) as f32;
    let other = &pool[rng.random_range(0..pool.len())];
    let (other, source) = if other.shape == x.shape {
        (other.tensor.clone(), other.values(host))
    } else {
        (Tensor::scalar(number, t.device())?, vec![number; old.len()])
    };
    let zip = |f: fn(f32, f32) -> f32| -> Vec<f32> { old.iter().zip(&source).map(|(&a, &b)| f(a, b)).collect() };
    let rank = x.shape.len();
    let d = if rank > 0 { rng.random_range(0..rank) } else { 0 };
    let (done, new) = match rng.random_range(0..11) {
        0 => (t.add_(number), old.iter().map(|v| v + number).collect()),
        1 => (t.add_(&other), zip(|a, b| a + b)),
        2 => (t.mul_(-0.5), old.iter().map(|v| v * -0.5).collect()),
        3 => (t.mul_(&other), zip(|a, b| (a * b).clamp(-1e3, 1e3))),
        4 => (t.fill_(number), vec![number; old.len()]),
        5 => (t.zero_(), vec![0.0; old.len()]),
        6 | 7 => (t.copy_(&other), source),
        8 => (t.masked_fill_(&t.gt(0.0)?, number), old.iter().map(|&v| if v > 0.0 { number } else { v }).collect()),
        kind if rank > 0 && x.shape[d] > 0 => {
            let picks: Vec<i32> = (0..rng.random_range(0..3)).map(|_| rng.random_range(0..x.shape[d] as i32)).collect();
            let index = Tensor::from_slice(&picks, [picks.len()], t.device())?;
            let mut new = old.clone();
            let accumulate = kind == 10 && rng.random();
            for pick in &picks {
                for (k, i) in indices(&x.shape).iter().enumerate().filter(|(_, i)| i[d] == *pick as usize) {
                    assert_eq!(x.get(i), x.at[k]);
                    new[k] = if accumulate { new[k] + number } else { number };
                }
            }
            let places: Vec<Option<Tensor>> = (0..=d).map(|c| (c == d).then(|| index.clone())).collect();
            let done = match kind {
                9 => t.index_fill_(d as isize, &index, number),
                _ => t.index_put_(&places, number, accumulate),
            };
            (done, new)
        }
        _ => (t.add_(1.0), old.iter().map(|v| v + 1.0).collect()),
    };
    if x.shares_elements() {
        let e = done.expect_err("a write to elements that share memory is refused");
        assert!(e.kind() == ErrorKind::Value && e.to_string().contains("single memory location"), "{e}");
        return Ok(t.clone());
    }
    host.writes[x.storage] += 1;
    x.at.iter().zip(new).for_each(|(&p, v)| host.cells[x.storage][p] = v);
    done
}

/// Runs one program; with `eager`, everything is read after each write. Gives how many values were compared.
fn program(seed: u64, eager: bool, device: &Device) -> Result<usize> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut host = Host::default();
    let mut pool = vec![root(&mut rng, &mut host, device)?, root(&mut rng, &mut host, device)?];
    let mut compared = 0;
    let mut check = |pool: &[Alias], host: &Host, when: usize| -> Result<()> {
        for (i, x) in pool.iter().enumerate() {
            let (got, want) = (x.tensor.to_vec::<f32>()?, x.values(host));
            assert_eq!(x.tensor.shape()[..], x.shape[..], "seed {seed} alias {i}");
            assert_eq!(got, want, "seed {seed} alias {i} of shape {:?} after step {when}", x.shape);
            assert_eq!(x.tensor.version(), host.writes[x.storage], "seed {seed} alias {i} after step {when}");
            compared += got.len();
        }
        Ok(())
    };
    for when in 0..14 {
        let x = pool[rng.random_range(0..pool.len())].clone();
        if rng.random_range(0..2) == 0 {
            if let Some(new) = view(&mut rng, &x, &mut host)?
                && new.at.len() <= 64
                && new.shape.len() < 6
            {
                assert!(new.storage != x.storage || new.tensor.shares_storage(&x.tensor), "seed {seed}");
                pool.push(new);
            }
        } else {
            let large = |h: &Host| h.cells.iter().flatten().any(|v| v.abs() > 1e5);
            let same = write(&mut rng, &x, &pool, &mut host)?;
            assert_eq!(same.id(), x.tensor.id(), "an in-place operation gives the same tensor");
            if large(&host) {
                break;
            }
            if eager {
                let some = rng.random_range(0..pool.len());
                check(&pool[some..=some], &host, when)?;
            }
        }
    }
    check(&pool, &host, 14)?;
    Ok(compared)
}

#[test]
fn programs_of_views_and_writes_are_those_of_flat_memory() -> Result<()> {
    let device = Device::best()?;
    let seeds = std::env::var("ALIASING_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(320);
    let mut compared = 0;
    for seed in 0..seeds {
        // every way of running in turn, and some programs in all of them
        let ways = if seed % 20 == 0 { 0..4 } else { seed % 4..seed % 4 + 1 };
        for way in ways {
            device.set_fusion(way % 2 == 0);
            compared += program(seed, way < 2, &device)?;
        }
    }
    device.set_fusion(true);
    assert!(compared > 50 * seeds as usize, "{compared} values are no test");
    Ok(())
}

fn leaf(values: &[f32]) -> Result<Tensor> {
    Tensor::from_slice(values, [values.len()], ())?.requires_grad_(true)
}

fn grad_of(t: &Tensor) -> Result<Vec<f32>> {
    match t.grad() {
        Some(g) => g.to_vec(),
        None => Err(Error::new(ErrorKind::Autograd, "test", "no gradient")),
    }
}

#[track_caller]
fn refused(result: Result<impl Sized>, kind: ErrorKind, text: &str) {
    match result {
        Ok(_) => panic!("expected a refusal with {text:?}"),
        Err(e) => {
            assert_eq!(e.kind(), kind, "{e}");
            assert!(e.to_string().contains(text), "{e}");
        }
    }
}

#[test]
fn versions_are_shared_by_views_and_count_writes() -> Result<()> {
    let x = Tensor::zeros([4, 3], ())?;
    let (v, d) = (x.narrow(0, 1, 2)?.t()?, x.detach());
    let own = x.try_clone()?;
    let index = Tensor::new([1, 0], ())?;
    type Write<'a> = (&'a str, Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>);
    let writes: Vec<Write> = vec![
        ("add_", Box::new(|t| t.add_(1.0))),
        ("mul_", Box::new(|t| t.mul_(2.0))),
        ("copy_", Box::new(|t| t.copy_(&Tensor::ones([1], ())?))),
        ("fill_", Box::new(|t| t.fill_(3))),
        ("zero_", Box::new(Tensor::zero_)),
        ("exp_", Box::new(Tensor::exp_)),
        ("clamp_", Box::new(|t| t.clamp_(0.0, 1.0))),
        ("masked_fill_", Box::new(|t| t.masked_fill_(&t.gt(0.5)?, 2.0))),
        ("index_fill_", Box::new(|t| t.index_fill_(0, &index, 1.0))),
        ("index_put_", Box::new(|t| t.index_put_(&[Some(index.clone())], 1.0, true))),
        ("index_add_", Box::new(|t| t.index_add_(0, &index, &Tensor::ones([2, t.size(1)?], ())?, 1))),
        ("tril_", Box::new(|t| t.tril_(0))),
        ("uniform_", Box::new(|t| t.uniform_(0.0, 1.0))),
        ("normal_", Box::new(|t| t.normal_(0.0, 1.0))),
        ("bernoulli_", Box::new(|t| t.bernoulli_(0.5))),
    ];
    let mut count = 0;
    for (name, write) in &writes {
        for t in [&x, &v, &d] {
            write(t)?;
            count += 1;
            assert_eq!([x.version(), v.version(), d.version()], [count; 3], "after {name}");
        }
    }
    assert_eq!(own.version(), 0);
    assert!(x.shares_storage(&v) && x.shares_storage(&d) && !x.shares_storage(&own));
    assert_eq!(own.to_vec::<f32>()?, [0.0; 12]);
    // what is refused is no write
    assert!(x.add_(&Tensor::ones([5], ())?).is_err() && v.masked_fill_(&v, 1.0).is_err());
    assert_eq!(x.version(), count);
    Ok(())
}

#[test]
fn a_clone_is_apart_and_a_detached_tensor_is_not() -> Result<()> {
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    let (own, part, d) = (x.try_clone()?, x.narrow(0, 1, 2)?.try_clone()?, x.detach());
    d.narrow(0, 0, 2)?.fill_(9.0)?;
    own.zero_()?;
    assert_eq!(x.to_vec::<f32>()?, [9.0, 9.0, 3.0]);
    assert_eq!((own.to_vec::<f32>()?, part.to_vec::<f32>()?), (vec![0.0; 3], vec![2.0, 3.0]));
    // contiguous() and to_dtype() of what fits already are the tensor itself, as in PyTorch
    assert!(x.contiguous()?.shares_storage(&x) && x.to_dtype(DType::F32)?.shares_storage(&x));
    // a copy reads what was there when it was made, also where its source is the target
    x.narrow(0, 1, 2)?.copy_(&x.narrow(0, 0, 2)?)?;
    assert_eq!(x.to_vec::<f32>()?, [9.0, 9.0, 9.0]);
    let before = (&x + 1.0)?;
    x.zero_()?;
    assert_eq!(before.to_vec::<f32>()?, [10.0; 3]);
    Ok(())
}

#[test]
fn a_saved_value_must_not_change_through_any_alias() -> Result<()> {
    type Touch = fn(&Tensor) -> Result<Tensor>;
    let touches: [Touch; 6] = [
        |h| h.add_(1.0),
        |h| h.narrow(0, 1, 1)?.mul_(2.0),
        |h| h.detach().select(0, 0)?.zero_(),
        |h| h.view(&[2, 2])?.t()?.diagonal(0, 0, 1)?.fill_(1.0),
        |h| no_grad(|| h.slice(0, Some(0), None, 2)?.add_(1.0)),
        |h| h.reshape([4])?.narrow(0, 0, 0)?.add_(1.0),
    ];
    for touch in touches {
        let x = leaf(&[1.0, 2.0, 3.0, 4.0])?;
        // an input and an output that are kept
        for keep in [Tensor::square, Tensor::exp] {
            let h = (&x * 1.0)?;
            let y = keep(&h)?;
            touch(&h)?;
            if y.grad_fn().expect("made by an operation").name().contains("square") {
                refused(y.sum()?.backward(), ErrorKind::Autograd, "modified by an inplace operation");
            } else {
                // exp keeps its output, which was not touched
                y.sum()?.backward()?;
                let y = keep(&(&x * 1.0)?)?;
                let sum = y.sum()?;
                touch(&y)?;
                refused(sum.backward(), ErrorKind::Autograd, "is at version 1; expected version 0");
            }
        }
        // what saves nothing does not mind
        let h = (&x * 1.0)?;
        let y = (&h + 2.0)?;
        touch(&h)?;
        x.set_grad(None)?;
        y.sum()?.backward()?;
        assert_eq!(grad_of(&x)?, [1.0; 4]);
    }
    // a clone of what was saved may change
    let x = leaf(&[1.0, 2.0])?;
    let h = (&x * 1.0)?;
    let y = h.square()?;
    h.try_clone()?.zero_()?;
    y.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [2.0, 4.0]);
    Ok(())
}

#[test]
fn leaves_that_require_a_gradient_are_not_written_to() -> Result<()> {
    let x = leaf(&[1.0, 2.0, 3.0, 4.0])?;
    refused(x.add_(1.0), ErrorKind::Autograd, "a leaf Variable that requires grad");
    refused(x.copy_(&Tensor::zeros([4], ())?), ErrorKind::Autograd, "copy_: a leaf Variable");
    refused(x.zero_(), ErrorKind::Autograd, "a leaf Variable that requires grad");
    let views =
        [x.narrow(0, 0, 2)?, x.view(&[2, 2])?.t()?, x.select(0, 1)?, x.narrow(0, 0, 3)?.slice(0, None, None, 2)?];
    for v in &views {
        refused(v.mul_(2.0), ErrorKind::Autograd, "a view of a leaf");
        refused(v.fill_(2.0), ErrorKind::Autograd, "a view of a leaf");
    }
    assert_eq!((x.version(), x.to_vec::<f32>()?), (0, vec![1.0, 2.0, 3.0, 4.0]));
    // the rule is about gradients that are recorded
    no_grad(|| views.iter().try_for_each(|v| v.add_(1.0).map(drop)))?;
    no_grad(|| x.mul_(2.0))?;
    assert_eq!((x.version(), x.to_vec::<f32>()?), (5, vec![8.0, 10.0, 10.0, 10.0]));
    x.detach().zero_()?;
    assert_eq!(x.to_vec::<f32>()?, [0.0; 4]);
    assert!(x.requires_grad() && x.is_leaf() && views.iter().all(Tensor::requires_grad));
    (x.square()?.sum()? + views[0].sum()?)?.backward()?;
    assert_eq!(grad_of(&x)?, [1.0, 1.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn a_view_made_without_gradients_is_not_written_to_with_them() -> Result<()> {
    // the base would not learn of it, and its gradient would be wrong
    let (x, w) = (leaf(&[1.0, 2.0])?, leaf(&[3.0])?);
    let h = (&x * 1.0)?;
    let v = no_grad(|| h.narrow(0, 0, 1))?;
    assert!(!v.requires_grad());
    refused(v.mul_(&w), ErrorKind::Autograd, "created in no_grad mode");
    refused(v.view(&[1, 1])?.mul_(2.0), ErrorKind::Autograd, "created in no_grad mode");
    no_grad(|| v.mul_(2.0))?;
    assert_eq!(h.to_vec::<f32>()?, [2.0, 2.0]);
    let v = no_grad(|| enable_grad(|| h.narrow(0, 0, 1)))?;
    v.mul_(&w)?;
    h.sum()?.backward()?;
    assert_eq!((grad_of(&x)?, grad_of(&w)?), (vec![3.0, 1.0], vec![2.0]));
    // a detached view is nobody's
    x.detach().narrow(0, 0, 1)?.mul_(5.0)?;
    assert_eq!(x.to_vec::<f32>()?, [5.0, 2.0]);
    Ok(())
}

#[test]
fn elements_that_share_memory_are_not_written_to() -> Result<()> {
    let x = Tensor::zeros([3, 1], ())?;
    let windows = Tensor::zeros([5], ())?.unfold(0, 3, 1)?;
    for t in [x.expand([3, 2])?, x.expand([2, 3, 1])?, windows, x.as_strided(&[2, 2], &[1, 1], 0)?] {
        refused(t.add_(1.0), ErrorKind::Value, "single memory location");
        refused(t.zero_(), ErrorKind::Value, "single memory location");
        refused(no_grad(|| t.copy_(&Tensor::ones([1], ())?)), ErrorKind::Value, "copy_");
        assert_eq!(t.version(), 0);
    }
    // the same strides without a second element are fine
    x.expand([3, 1])?.add_(1.0)?;
    x.expand([3, 2])?.narrow(1, 0, 1)?.add_(1.0)?;
    assert_eq!(x.to_vec::<f32>()?, [2.0; 3]);
    Ok(())
}

#[test]
fn gradients_pass_through_writes_into_views() -> Result<()> {
    // views of views, by hand: h = [a b; c d], its column 1 becomes [b w, d w]
    let (x, w) = (leaf(&[1.0, 2.0, 3.0, 4.0])?, leaf(&[10.0])?);
    let h = (&x * 2.0)?.view(&[2, 2])?;
    let early = h.select(0, 0)?;
    h.t()?.select(0, 1)?.mul_(&w)?;
    assert_eq!(h.to_vec::<f32>()?, [2.0, 40.0, 6.0, 80.0]);
    (h.sum()? + (early * 3.0)?.sum()?)?.backward()?;
    assert_eq!(grad_of(&x)?, [8.0, 80.0, 2.0, 20.0]);
    assert_eq!(grad_of(&w)?, [4.0 * 4.0 + 8.0]);

    // a constant that becomes part of a history
    let x = leaf(&[1.0, 2.0])?;
    let buffer = Tensor::zeros([4], ())?;
    buffer.slice(0, Some(1), None, 2)?.copy_(&x)?;
    assert!(buffer.requires_grad() && !buffer.is_leaf());
    (&buffer * &Tensor::new([1.0f32, 10.0, 100.0, 1000.0], ())?)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [10.0, 1000.0]);

    // what is overwritten has no gradient
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let h = (&x * 3.0)?;
    h.narrow(0, 0, 2)?.zero_()?;
    h.square()?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [0.0, 0.0, 54.0]);

    // written twice, the second time over the first, then the base itself
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let h = (&x * 1.0)?;
    h.narrow(0, 0, 2)?.mul_(2.0)?;
    h.narrow(0, 1, 2)?.mul_(5.0)?;
    h.mul_(&x)?;
    assert_eq!(h.to_vec::<f32>()?, [2.0, 40.0, 45.0]);
    h.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [4.0, 40.0, 30.0]);

    // a second derivative: (x, 2 x) with the first element cubed
    let x = leaf(&[2.0])?;
    let h = x.expand([2])?.mul(&Tensor::new([1.0f32, 2.0], ())?)?;
    let first = h.narrow(0, 0, 1)?;
    let own = first.try_clone()?;
    first.copy_(&own.mul(&own)?.mul(&own)?)?;
    let y = h.sum()?;
    let g = calor::autograd::Backward::new().create_graph(true).grad(&[&y], &[&x], &[None])?;
    let g = g.into_iter().next().flatten().expect("a gradient");
    assert_eq!(g.to_vec::<f32>()?, [14.0]);
    g.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [12.0]);
    Ok(())
}

#[test]
fn a_view_that_is_a_leaf_of_its_own_stays_one() -> Result<()> {
    let base = Tensor::ones([3], ())?;
    let v = base.narrow(0, 0, 2)?.requires_grad_(true)?;
    base.add_(1.0)?;
    assert!(v.requires_grad() && v.is_leaf());
    v.square()?.sum()?.backward()?;
    assert_eq!(grad_of(&v)?, [4.0, 4.0]);
    Ok(())
}

#[test]
fn what_is_replaced_keeps_its_history() -> Result<()> {
    let x = leaf(&[1.0, 2.0])?;
    for write in [|h: &Tensor| h.fill_(3.0), |h: &Tensor| h.zero_(), |h: &Tensor| h.copy_(&Tensor::ones([2], ())?)] {
        let h = (&x * 2.0)?;
        write(&h)?;
        assert!(h.requires_grad() && !h.is_leaf());
        h.sum()?.backward()?;
        assert_eq!(grad_of(&x)?, [0.0, 0.0]);
    }
    // and what takes its place has its own
    let (h, w) = ((&x * 2.0)?, leaf(&[5.0])?);
    h.copy_(&w)?;
    (&h * &h)?.sum()?.backward()?;
    assert_eq!(grad_of(&w)?, [20.0]);
    assert_eq!(grad_of(&x)?, [0.0, 0.0]);
    Ok(())
}

#[test]
fn flattening_one_dimension_is_the_tensor_itself() -> Result<()> {
    let x = Tensor::ones([2, 3], ())?.requires_grad_(true)?;
    let same = x.flatten(1, -1)?;
    assert!(same.is_leaf() && same.id() == x.id());
    assert_eq!(x.flatten(0, 1)?.shape()[..], [6]);
    Ok(())
}

#[test]
fn a_write_is_seen_by_views_that_show_elements_often() -> Result<()> {
    // h = 2 x = [2 4 6], doubled through one view, read through broadcasts and windows made before
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let weights = Tensor::new([[1.0f32, 10.0, 100.0], [2.0, 20.0, 200.0]], ())?;
    let h = (&x * 2.0)?;
    let wide = h.expand([2, 3])?;
    h.view(&[3, 1])?.mul_(2.0)?;
    (wide * &weights)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [12.0, 120.0, 1200.0]);

    let x = leaf(&[1.0, 2.0, 3.0])?;
    let h = (&x * 2.0)?;
    let windows = h.unfold(0, 2, 1)?;
    h.view(&[3, 1])?.mul_(2.0)?;
    assert_eq!(windows.to_vec::<f32>()?, [4.0, 8.0, 8.0, 12.0]);
    (windows * Tensor::new([[1.0f32, 10.0], [2.0, 20.0]], ())?)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [4.0, 48.0, 80.0]);
    Ok(())
}

#[test]
fn joined_tensors_are_copies() -> Result<()> {
    for shape in [[0], [2]] {
        let x = Tensor::ones(shape, ())?;
        assert!(!calor::cat(&[&x], 0)?.shares_storage(&x));
        assert!(!calor::cat(&[&x, &Tensor::zeros([0], ())?], 0)?.shares_storage(&x));
    }
    Ok(())
}

#[test]
fn a_batch_that_a_matrix_folds_is_kept_as_a_copy() -> Result<()> {
    let w = leaf(&[1.0, 2.0])?;
    let product = |batch: &Tensor| {
        let y = w.reshape([1, 2])?.matmul(batch)?;
        batch.mul_(10.0)?;
        y.sum()?.backward()
    };
    // as in PyTorch: what is laid out anew does not see the write, what is a view of the batch does
    product(&Tensor::arange(0, 12, 1, DType::F32)?.reshape([2, 2, 3])?)?;
    assert_eq!(grad_of(&w)?, [24.0, 42.0]);
    let turned = Tensor::arange(0, 12, 1, DType::F32)?.reshape([2, 3, 2])?.transpose(1, 2)?;
    refused(product(&turned), ErrorKind::Autograd, "modified by an inplace operation");
    Ok(())
}

#[test]
fn what_is_seen_anew_in_place_keeps_gradients_of_what_shows_it_often() -> Result<()> {
    let weights = Tensor::arange(0, 6, 1, DType::F32)?;
    let a = leaf(&[1.0, 1.0, 1.0])?;
    let y = (&a * 2.0)?.reshape([1, 3])?.expand([2, 3])?;
    y.unsqueeze_(0)?;
    (&y * &weights.reshape([1, 2, 3])?)?.sum()?.backward()?;
    assert_eq!(grad_of(&a)?, [6.0, 10.0, 14.0]);

    let a = leaf(&[1.0, 1.0, 1.0])?;
    let y = (&a * 2.0)?.reshape([1, 3])?.expand([2, 3])?;
    y.t_()?;
    (&y * &weights.reshape([3, 2])?)?.sum()?.backward()?;
    assert_eq!(grad_of(&a)?, [2.0, 10.0, 18.0]);
    // a view of a leaf is no more to be changed than the leaf
    refused(a.reshape([1, 3])?.t_().map(drop), ErrorKind::Autograd, "a view of a leaf Variable");
    Ok(())
}

#[test]
fn elements_that_a_tensor_shows_often_share_the_gradient_of_their_place() -> Result<()> {
    let x = leaf(&[1.0])?;
    x.expand([3])?.as_strided(&[1], &[1], 0)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [1.0]);
    let x = leaf(&[1.0, 2.0, 3.0])?;
    let windows = (&x * 1.0)?.unfold(0, 2, 1)?;
    windows.as_strided(&[3], &[1], 0)?.mul(Tensor::new([1.0f32, 10.0, 100.0], ())?)?.sum()?.backward()?;
    assert_eq!(grad_of(&x)?, [1.0, 10.0, 100.0]);
    Ok(())
}

#[test]
fn results_that_could_be_views_are_copies() -> Result<()> {
    let a = Tensor::ones([1, 1], ())?;
    assert!(!a.matrix_power(1)?.shares_storage(&a) && !a.det()?.shares_storage(&a));
    let image = Tensor::ones([1, 4, 1, 1], ())?;
    for factor in [1, 2] {
        assert!(!image.pixel_shuffle(factor)?.shares_storage(&image));
    }
    assert!(!image.pixel_unshuffle(1)?.shares_storage(&image));
    Ok(())
}

#[test]
fn a_gradient_given_as_one_value_for_all_is_added_to() -> Result<()> {
    let w = leaf(&[1.0, 1.0, 1.0])?;
    w.set_grad(Some(Tensor::ones([1], ())?.expand([3])?))?;
    (&w * &Tensor::new([0.0f32, 1.0, 2.0], ())?)?.sum()?.backward()?;
    assert_eq!(grad_of(&w)?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn strides_that_nobody_walks_may_be_anything() -> Result<()> {
    let far = Tensor::zeros([4, 3], ())?.slice(0, None, None, 1 << 62)?;
    assert_eq!(far.diagonal(0, 0, 1)?.to_vec::<f32>()?, [0.0]);
    let none = far.as_strided(&[0, 5], &[1, isize::MAX], 7)?;
    for view in [none.narrow(1, 2, 1)?, none.unsqueeze(1)?, none.flip(&[1])?, none.select(1, 3)?, none.t()?] {
        assert!(view.to_vec::<f32>()?.is_empty());
    }
    assert!(none.diagonal(2, 0, 1)?.to_vec::<f32>()?.is_empty());
    Ok(())
}

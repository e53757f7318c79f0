//! Programs give the same values whether their plans are kept or made anew, with other numbers at every run.

use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{DType, Device, Result, Tensor};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device's counts and switches belong to one test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program whose shape follows from `seed`, and whose numbers follow from `round`.
fn program(seed: u64, round: u64, steps: usize) -> Result<Vec<Tensor>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut numbers = SmallRng::seed_from_u64(round);
    let mut pool: Vec<Tensor> = Vec::new();
    for shape in [vec![4, 6], vec![6, 5], vec![3, 1, 6], vec![7], vec![], vec![0, 3]] {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| numbers.random_range(-1.5..1.5)).collect();
        pool.push(Tensor::from_slice(&values, shape, ())?);
    }
    for _ in 0..steps {
        let x = pool[rng.random_range(0..pool.len())].clone();
        let other = pool[rng.random_range(0..pool.len())].clone();
        let n = f64::from(numbers.random_range(-2.0f32..2.0));
        let rank = x.dim() as isize;
        let dim = if rank == 0 { 0 } else { rng.random_range(-(rank as i32)..rank as i32) as isize };
        let made = match rng.random_range(0..15) {
            0 => x.tanh(),
            1 => x.add(&other),
            2 => x.mul(n),
            3 => x.add(n)?.maximum(&other),
            4 if rank > 1 => x.transpose(dim, 0),
            5 if rank > 0 => {
                let size = x.size(dim)?;
                let start = rng.random_range(0..=size);
                x.narrow(dim, start as isize, rng.random_range(0..=size - start))
            }
            6 if rank > 0 => x.sum_dims(&[dim], rng.random()),
            7 => x.matmul(&other),
            8 => x.to_dtype(DType::F16)?.mul(n)?.to_dtype(DType::F32),
            9 => x.gt(n)?.where_(&x, n),
            10 => Tensor::rand(x.shape(), ())?.add(&x),
            11 => Tensor::full(x.shape(), n, ()),
            12 => x.add_(&other),
            13 => x.fill_(n),
            _ => x.clamp(n.min(0.0), n.max(0.0)),
        };
        // what does not fit together is refused each time
        if let Ok(made) = made
            && made.numel() < 4000
        {
            pool.push(made);
        }
        if pool.len() > 10 && rng.random_range(0..3) > 0 {
            let at = rng.random_range(0..pool.len());
            pool.swap_remove(at);
        }
    }
    Ok(pool)
}

fn results(device: &Device, seed: u64, round: u64) -> Result<Vec<Vec<u32>>> {
    device.manual_seed(round);
    let pool = program(seed, round, 30)?;
    Tensor::eval_all(&pool)?;
    let bits = |t: &Tensor| Ok(t.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect());
    pool.iter().map(bits).collect()
}

#[test]
fn kept_plans_give_what_new_ones_give() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let (mut reused, mut compared) = (0, 0);
    for seed in 0..25 {
        device.set_plan_cache(true);
        let mut kept = Vec::new();
        for round in 0..3 {
            let before = device.counters().plans;
            kept.push(results(&device, seed, round)?);
            reused += u64::from(round > 0 && device.counters().plans == before);
        }
        device.set_plan_cache(false);
        for (round, kept) in kept.iter().enumerate() {
            let anew = results(&device, seed, round as u64)?;
            compared += anew.iter().map(Vec::len).sum::<usize>();
            assert_eq!(*kept, anew, "seed {seed} round {round}");
        }
    }
    device.set_plan_cache(true);
    assert!(reused > 40, "only {reused} of 50 runs found their plan");
    assert!(compared > 5000, "{compared} values are no test");
    Ok(())
}

#[test]
fn changing_numbers_of_an_optimizer_reach_the_device() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let train = || -> Result<Vec<f32>> {
        let w = Tensor::new([1.0f32, -2.0, 3.0, 0.5, 8.0], ())?.requires_grad_(true)?;
        let mut adam = AdamW::new(vec![calor::nn::Parameter::new(&w)?], AdamWOptions::new(0.1))?;
        for step in 0..12 {
            adam.zero_grad();
            adam.set_lr(0, 0.1 / f64::from(step + 1));
            w.mul(&w)?.mul(f64::from(step))?.sum()?.backward()?;
            adam.step()?;
        }
        w.to_vec()
    };
    device.set_plan_cache(true);
    let before = device.counters().plans;
    let kept = train()?;
    let plans = device.counters().plans - before;
    assert!(plans <= 4, "{plans} plans for twelve equal steps");
    device.set_plan_cache(false);
    let anew = train()?;
    device.set_plan_cache(true);
    assert_eq!(kept, anew);
    Ok(())
}

#[test]
fn faults_of_a_kept_plan_say_what_went_wrong_now() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?;
    let pick = |at: i32| x.index_select(0, &Tensor::new([at, 0], ())?)?.to_vec::<f32>();
    assert_eq!(pick(1)?, [3.0, 4.0, 1.0, 2.0]);
    let plans = x.device().counters().plans;
    assert!(pick(5).is_err());
    assert_eq!(pick(1)?, [3.0, 4.0, 1.0, 2.0]);
    assert_eq!(x.device().counters().plans, plans);
    Ok(())
}

#[test]
fn many_structures_are_forgotten_and_planned_again() -> Result<()> {
    let _turn = turn();
    let run = |n: usize| Tensor::full([n], 1.5, ())?.add(n as f64)?.to_vec::<f32>();
    for n in (1..400).chain(1..5) {
        assert_eq!(run(n)?, vec![n as f32 + 1.5; n]);
    }
    Ok(())
}

#[test]
fn long_chains_are_replayed() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    // longer than one kernel holds, and than may wait
    let chain = |by: f64| (0..9000).try_fold(x.clone(), |y, i| if i % 3 == 0 { y.add(by) } else { y.add(&x)?.sub(&x) });
    for by in [0.5, 1.0] {
        let y = chain(by)?.to_vec::<f32>()?;
        assert_eq!(y, [1.0f32, 2.0, 3.0].map(|v| v + 3000.0 * by as f32));
    }
    let plans = x.device().counters().plans;
    assert_eq!(chain(2.0)?.to_vec::<f32>()?, [6001.0, 6002.0, 6003.0]);
    assert!(x.device().counters().plans - plans <= 1, "replayed");
    Ok(())
}

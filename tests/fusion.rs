//! Random programs give the same values whether operations share kernels or run alone.

use calor::{DType, Device, Result, Tensor};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A program of views, maps, reductions, products, casts and writes over a pool of small tensors.
fn program(seed: u64, steps: usize) -> Result<Vec<Tensor>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut pool: Vec<Tensor> = Vec::new();
    for shape in [vec![4, 6], vec![6, 5], vec![3, 1, 6], vec![7], vec![], vec![2, 3, 4], vec![0, 3], vec![32, 48]] {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.5..1.5)).collect();
        pool.push(Tensor::from_slice(&values, shape, ())?);
    }
    for _ in 0..steps {
        let x = pool[rng.random_range(0..pool.len())].clone();
        let other = pool[rng.random_range(0..pool.len())].clone();
        let rank = x.dim() as isize;
        let dim = if rank == 0 { 0 } else { rng.random_range(-(rank as i32)..rank as i32) as isize };
        let made = match rng.random_range(0..17) {
            0 => x.tanh(),
            1 => x.sin(),
            2 => x.add(&other),
            3 => x.mul(&other),
            4 => x.maximum(&other),
            5 if rank > 1 => x.transpose(dim, 0),
            6 if rank > 0 => {
                let size = x.size(dim)?;
                let start = rng.random_range(0..=size);
                x.narrow(dim, start as isize, rng.random_range(0..=size - start))
            }
            7 if rank > 0 => x.slice(dim, None, None, rng.random_range(1..3)),
            8 => {
                let mut shape = vec![rng.random_range(1..4)];
                shape.extend_from_slice(&x.shape());
                x.expand(shape)
            }
            9 => x.reshape_infer("reshape", &[x.numel() as isize]),
            10 if rank > 0 => x.sum_dims(&[dim], rng.random()),
            11 => x.sum()?.tanh(),
            12 => x.matmul(&other).and_then(|t| t.tanh()),
            13 => {
                x.to_dtype([DType::F16, DType::BF16][rng.random_range(0..2)])?.mul(1.3)?.add(0.7)?.to_dtype(DType::F32)
            }
            14 => x.gt(0.25)?.where_(&x, -0.5),
            15 => x.mul(3.0)?.to_dtype(DType::I32)?.remainder(3)?.to_dtype(DType::F32),
            16 => x.add_(&other),
            _ => x.neg(),
        };
        // what does not fit together is refused the same way both times
        if let Ok(made) = made
            && made.numel() < 4000
        {
            pool.push(made);
        }
        // some are forgotten, so that not all values are held
        if pool.len() > 12 && rng.random_range(0..3) > 0 {
            let at = rng.random_range(0..pool.len());
            pool.swap_remove(at);
        }
    }
    Ok(pool)
}

fn values(pool: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    pool.iter().map(Tensor::to_vec).collect()
}

#[test]
fn fused_and_unfused_agree() -> Result<()> {
    let device = Device::best()?;
    let seeds = std::env::var("FUSION_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(40);
    let mut compared = 0;
    for seed in 0..seeds {
        device.set_fusion(true);
        let pool = program(seed, 40)?;
        // all at once, then what is left one by one
        Tensor::eval_all(&pool)?;
        let fused = values(&pool)?;
        let late = values(&program(seed, 40)?.into_iter().rev().collect::<Vec<_>>())?;
        device.set_fusion(false);
        let alone = values(&program(seed, 40)?)?;
        assert_eq!(fused.len(), alone.len(), "seed {seed}");
        for (i, (a, b)) in fused.iter().zip(&alone).enumerate() {
            assert_eq!(a.len(), b.len(), "seed {seed} tensor {i}");
            compared += a.len();
            let c = &late[fused.len() - 1 - i];
            for ((x, y), z) in a.iter().zip(b).zip(c) {
                let close =
                    |p: f32, q: f32| p == q || (p.is_nan() && q.is_nan()) || (p - q).abs() <= 2e-3 * (1.0 + q.abs());
                assert!(close(*x, *y), "seed {seed} tensor {i}: fused {x}, alone {y}\n{}", pool[i].explain()?);
                assert!(close(*z, *y), "seed {seed} tensor {i}: read alone {z}, unfused {y}");
            }
        }
    }
    assert!(compared > 100 * seeds as usize, "{compared} values are no test");
    println!("{compared} values");
    device.set_fusion(true);
    Ok(())
}

#[test]
fn what_is_behind_a_template_reads_it_in_order_by_every_way() -> Result<()> {
    // `sum` is computed elsewhere than at its own place, and reads what was sorted there
    let x = Tensor::new([[1.0f32, 10.0], [3.0, 20.0], [2.0, 30.0]], ())?;
    let sorted = x.sort(0, true)?.0;
    let sum = (&sorted + &x)?;
    let index = Tensor::new([2i32, 0, 1], ())?;
    let out = sorted.index_put(&[Some(index)], &sum, false)?;
    assert_eq!(out.to_vec::<f32>()?, [5.0, 40.0, 3.0, 40.0, 4.0, 40.0]);
    Ok(())
}

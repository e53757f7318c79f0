//! Initial values: what they are, by their moments and properties.

use calor::nn::functional::gumbel_softmax;
use calor::nn::{Embedding, EmbeddingOptions, Layer, init};
use calor::{DType, Result, Tensor};

fn host(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F32)?.to_vec::<f32>()?.into_iter().map(f64::from).collect())
}

#[test]
fn orthogonal_rows_or_columns() -> Result<()> {
    for shape in [vec![5, 5], vec![3, 8], vec![8, 3], vec![4, 2, 3, 3], vec![40, 1]] {
        let t = Tensor::zeros(&shape, ())?;
        init::orthogonal_(&t, 2.0)?;
        let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
        let m = t.reshape([rows, columns])?;
        let product = if rows <= columns { m.matmul(&m.t()?)? } else { m.t()?.matmul(&m)? };
        let n = rows.min(columns);
        let error = (product - (Tensor::eye(n, n, ())? * 4.0)?)?.abs()?.max()?.item()?;
        assert!(error < 1e-5, "{shape:?}: {error}");
    }
    // every sign of a row is as likely
    let signs = (0..40).map(|_| {
        let t = Tensor::zeros([1, 1], ())?;
        init::orthogonal_(&t, 1.0)?;
        t.item()
    });
    let signs = signs.collect::<Result<Vec<_>>>()?;
    assert!(signs.contains(&1.0) && signs.contains(&-1.0), "{signs:?}");
    assert!(init::orthogonal_(&Tensor::zeros([3], ())?, 1.0).is_err());
    init::orthogonal_(&Tensor::zeros([0, 3], ())?, 1.0)
}

#[test]
fn truncated_normal_numbers_have_their_moments() -> Result<()> {
    let t = Tensor::zeros([40_000], ())?;
    init::trunc_normal_(&t, 1.0, 2.0, -1.0, 3.0)?;
    let values = host(&t)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    // 1 - 2 phi(1) / (2 Phi(1) - 1), times the square of 2
    assert!((mean - 1.0).abs() < 0.02 && (var - 4.0 * 0.29112).abs() < 0.03, "{mean} {var}");
    assert!(values.iter().all(|x| (-1.0..=3.0).contains(x)));
    init::trunc_normal_(&t, 5.0, 0.0, -1.0, 3.0)?;
    assert_eq!(t.max()?.item()?, 3.0);
    assert!(init::trunc_normal_(&t, 0.0, 1.0, 1.0, 0.0).is_err());
    let half = Tensor::zeros([100], DType::BF16)?;
    init::trunc_normal_(&half, 0.0, 1.0, -2.0, 2.0)?;
    assert!(host(&half)?.iter().all(|x| x.abs() <= 2.0));
    Ok(())
}

#[test]
fn dirac_weights_give_their_input() -> Result<()> {
    for (shape, groups) in [(vec![4, 2, 3], 2), (vec![3, 3, 3, 5], 1), (vec![5, 2, 1, 2, 3], 1)] {
        let t = Tensor::ones(&shape, ())?;
        init::dirac_(&t, groups)?;
        let ones = host(&t)?.iter().filter(|x| **x == 1.0).count();
        assert_eq!((ones as f64, ones), (t.sum()?.item()?, groups * (shape[0] / groups).min(shape[1])), "{shape:?}");
        let (at, each) = (shape[0] / groups, shape[1]);
        for out in 0..shape[0] {
            let mut middle = t.select(0, out as isize)?;
            if out % at >= each {
                continue;
            }
            middle = middle.select(0, (out % at) as isize)?;
            for side in &shape[2..] {
                middle = middle.select(0, (side / 2) as isize)?;
            }
            assert_eq!(middle.item()?, 1.0, "{shape:?} {out}");
        }
    }
    let t = Tensor::zeros([3, 2, 3], ())?;
    assert!(init::dirac_(&t, 2).is_err() && init::dirac_(&Tensor::zeros([3, 2], ())?, 1).is_err());
    let eye = Tensor::ones([2, 3], ())?;
    init::eye_(&eye)?;
    assert_eq!(host(&eye)?, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(init::eye_(&t).is_err() && init::sparse_(&t, 0.5, 1.0).is_err());
    Ok(())
}

#[test]
fn gumbel_samples_follow_the_logits() -> Result<()> {
    let p = [0.5f32, 0.3, 0.2];
    let logits = Tensor::new(p.map(f32::ln), ())?.expand([10_000, 3])?;
    let hard = gumbel_softmax(&logits, 0.7, true, -1)?.mean_dims(&[0], false)?;
    for (share, p) in host(&hard)?.iter().zip(p) {
        assert!((share - f64::from(p)).abs() < 0.03, "{share} of {p}");
    }
    let x = Tensor::zeros([4, 3], ())?.requires_grad_(true)?;
    let y = gumbel_softmax(&x, 1.0, true, 1)?;
    (y * Tensor::arange(0.0, 3.0, 1.0, ())?)?.sum()?.backward()?;
    let g = host(&x.grad().expect("a gradient"))?;
    assert!(g.iter().any(|g| *g != 0.0) && g.chunks(3).all(|r| r.iter().sum::<f64>().abs() < 1e-5));
    Ok(())
}

#[test]
fn embeddings_keep_norms_and_share_gradients() -> Result<()> {
    let options = EmbeddingOptions::default().max_norm(Some(1.0)).scale_grad_by_freq(true);
    let embedding = Embedding::new(3, 2, options)?;
    embedding.weight.copy_from(&Tensor::new([[3.0f32, 4.0], [0.3, 0.4], [6.0, 8.0]], ())?)?;
    let x = Tensor::new([0, 0, 1], ())?;
    embedding.forward(&x)?.sum()?.backward()?;
    let near = |got: &[f64], want: &[f64]| assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
    near(&host(&embedding.weight.tensor().detach())?, &[0.6, 0.8, 0.3, 0.4, 6.0, 8.0]);
    near(&host(&embedding.weight.grad().expect("a gradient"))?, &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    // of orders whose norm is no sum of powers
    for (order, want) in [(f64::INFINITY, [0.5, -1.5]), (0.0, [0.75, -2.25]), (1.0, [0.375, -1.125])] {
        let table = Embedding::new(1, 2, EmbeddingOptions::default().max_norm(Some(1.5)).norm_type(order))?;
        table.weight.copy_from(&Tensor::new([[1.0f32, -3.0]], ())?)?;
        near(&host(&table.forward(&Tensor::new([0], ())?)?)?, &want);
    }
    Ok(())
}

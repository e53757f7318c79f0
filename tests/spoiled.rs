//! What was computed from an index out of range is refused whenever it is read, and so is all that comes of it; the
//! rest of the device's values are as good as before.

use calor::nn::{Embedding, Layer, Module};
use calor::optim::{Optimizer, Sgd, SgdOptions};
use calor::{Device, ErrorKind, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Tests take turns: a fault that nobody was told is told to whoever reads next.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pick(x: &Tensor, at: i32) -> Result<Tensor> {
    x.index_select(0, &Tensor::new([at], x.device())?)
}

/// Reads and wants the refusal of an index.
fn refused(x: &Tensor) {
    let error = x.to_vec::<f32>().expect_err("it was computed from an index out of range");
    assert_eq!((error.kind(), error.op()), (ErrorKind::Index, "index_select"), "{error}");
}

#[test]
fn a_spoiled_value_is_refused_each_time() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    let y = pick(&x, 3)?;
    for _ in 0..3 {
        refused(&y);
    }
    // what is read with it, and what comes of it later
    refused(&y.add(1.0)?);
    refused(&y.view(&[1, 1])?);
    refused(&y.detach().mul(&x)?.sum()?);
    assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    assert_eq!(pick(&x, 2)?.to_vec::<f32>()?, [3.0]);
    Ok(())
}

#[test]
fn others_of_the_same_run_are_good() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    let (bad, good, plain) = (pick(&x, -4)?, pick(&x, 2)?, x.mul(2.0)?);
    let both = bad.add(&good)?;
    // all are computed in one go, and one error tells of it
    let error = x.device().synchronize().expect_err("an index is out of range");
    assert_eq!(error.kind(), ErrorKind::Index);
    x.device().synchronize()?;
    assert_eq!(good.to_vec::<f32>()?, [3.0]);
    assert_eq!(plain.to_vec::<f32>()?, [2.0, 4.0, 6.0]);
    refused(&bad);
    refused(&both);
    assert_eq!(good.add(&plain)?.to_vec::<f32>()?, [5.0, 7.0, 9.0]);
    Ok(())
}

#[test]
fn what_is_not_read_for_long_is_refused_then() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    let early = pick(&x, 7)?;
    device.submit()?;
    let mut sum = early.clone();
    // more runs that may fault than the device tells apart
    for i in 0..400 {
        sum = sum.add(&pick(&x, i % 3)?)?;
        device.submit()?;
    }
    let own = pick(&x, 1)?.add(&pick(&x, 2)?)?;
    refused(&sum);
    refused(&early);
    assert_eq!(own.to_vec::<f32>()?, [5.0]);
    // the same once more: words are free again
    for i in 0..600 {
        let y = pick(&x, if i % 7 == 3 { 9 } else { 2 })?;
        match i % 7 {
            3 => refused(&y),
            _ => assert_eq!(y.to_vec::<f32>()?, [3.0]),
        }
    }
    Ok(())
}

#[test]
fn new_contents_mend_a_tensor() -> Result<()> {
    let _turn = turn();
    let x = Tensor::new([1.0f32, 2.0, 3.0], ())?;
    let y = x.mul(1.0)?;
    y.index_copy_(0, &Tensor::new([5i32], ())?, &Tensor::new([9.0f32], ())?)?;
    assert!(y.to_vec::<f32>().is_err() && y.to_vec::<f32>().is_err());
    // in part it is what it was
    y.narrow(0, 0, 2)?.copy_(&x.narrow(0, 0, 2)?)?;
    assert!(y.to_vec::<f32>().is_err());
    y.copy_(&x)?;
    assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn a_step_on_a_bad_index_spoils_the_weights_it_reaches() -> Result<()> {
    let _turn = turn();
    let device = Device::best()?;
    let table = Embedding::new(4, 2, &device)?;
    let apart = Tensor::new([1.0f32, 2.0], ())?;
    let saved = Tensor::from_slice(&table.weight.tensor().to_vec::<f32>()?, [4, 2], &device)?;
    let mut sgd = Sgd::new(table.parameters(), SgdOptions::new(0.5).momentum(0.9))?;
    let mut step = |at: i32| -> Result<Tensor> {
        sgd.zero_grad();
        let loss = table.forward(&Tensor::new([at, 1], ())?)?.sum()?;
        loss.backward()?;
        sgd.step()?;
        Ok(loss.detach())
    };
    assert!(step(4)?.to_vec::<f32>().is_err());
    step(2)?;
    assert!(table.weight.tensor().to_vec::<f32>().is_err(), "the weights come of a spoiled gradient");
    assert_eq!(apart.to_vec::<f32>()?, [1.0, 2.0]);
    // weights from elsewhere are good
    let state = [("weight".to_owned(), saved.clone())].into_iter().collect();
    table.load_state_dict(&state, true)?;
    assert_eq!(table.weight.tensor().to_vec::<f32>()?, saved.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn what_lies_past_the_end_of_an_index_is_not_looked_at() -> Result<()> {
    let _turn = turn();
    for n in [1usize, 2, 3, 5, 6, 7, 9, 30] {
        let x = Tensor::ones([5, n], ())?;
        let table = Tensor::from_slice(&(0..n).map(|i| i as f32).collect::<Vec<_>>(), [n], x.device())?;
        // computed in fours, so that more numbers follow in memory, which are no places of the table
        let places = Tensor::arange(0, n as i32, 1, ())?;
        places.eval()?;
        let want: Vec<f32> = (0..n).map(|i| 5.0 * i as f32).collect();
        // behind a fold of columns, of rows, behind a product, and in a map
        let sums = x.sum_dims(&[0], false)?.mul(&table.gather(0, &places)?)?;
        assert_eq!(sums.to_vec::<f32>()?, want, "columns, {n}");
        let sums = x.t()?.contiguous()?.sum_dims(&[1], false)?.mul(&table.gather(0, &places)?)?;
        assert_eq!(sums.to_vec::<f32>()?, want, "rows, {n}");
        let product = Tensor::ones([1, 5], ())?.matmul(&x)?.mul(&table.gather(0, &places)?)?;
        assert_eq!(product.to_vec::<f32>()?, want, "product, {n}");
        let map = table.gather(0, &places)?.mul(5.0)?;
        assert_eq!(map.to_vec::<f32>()?, want, "map, {n}");
    }
    Ok(())
}

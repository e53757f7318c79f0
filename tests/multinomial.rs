//! Draws of categories: how often each comes, that none comes twice without replacement, and what is refused.
//!
//! The stream of random numbers is the device's own, so the tests of this file take turns.

use calor::{DType, Result, Tensor};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn draws_are_as_the_weights_say() -> Result<()> {
    let _turn = turn();
    let p = Tensor::new([[1.0f32, 0.0, 3.0, 4.0], [0.0, 5.0, 0.0, 5.0]], ())?;
    p.device().manual_seed(3);
    let drawn = p.multinomial(20_000, true)?;
    let again = drawn.to_vec::<i32>()?;
    p.device().manual_seed(3);
    assert_eq!(p.multinomial(20_000, true)?.to_vec::<i32>()?, again);
    let wanted = [[0.125, 0.0, 0.375, 0.5], [0.0, 0.5, 0.0, 0.5]];
    for (row, wanted) in again.chunks(20_000).zip(wanted) {
        for (k, want) in wanted.into_iter().enumerate() {
            let share = row.iter().filter(|&&c| c == k as i32).count() as f64 / 20_000.0;
            assert!((share - want).abs() < 0.015 && (want > 0.0 || share == 0.0), "{k}: {share}");
        }
    }
    // without replacement the first is drawn by the weights, the second by those that are left
    let p = Tensor::new([1.0f32, 0.0, 3.0, 4.0], ())?.expand([10_000, 4])?;
    let pairs = p.multinomial(2, false)?.to_vec::<i32>()?;
    let (mut first, mut both) = (0, 0);
    for pair in pairs.chunks(2) {
        assert!(pair[0] != pair[1] && !pair.contains(&1), "{pair:?}");
        first += usize::from(pair[0] == 3);
        both += usize::from(pair == [3, 2]);
    }
    assert!((first as f64 / 1e4 - 0.5).abs() < 0.02, "{first}");
    assert!((both as f64 / 1e4 - 0.375).abs() < 0.02, "{both}");
    // what does not fit, on the host and on the device
    let p = Tensor::new([1.0f32, 2.0], ())?;
    assert!(p.multinomial(3, false).is_err() && p.multinomial(0, true).is_err());
    for bad in [[-1.0f32, 2.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0], [0.0, 0.0]] {
        for replacement in [false, true] {
            assert!(Tensor::new(bad, ())?.multinomial(1, replacement)?.to_vec::<i32>().is_err(), "{bad:?}");
        }
    }
    Ok(())
}

#[test]
fn a_category_of_weight_0_among_many_is_never_drawn() -> Result<()> {
    let _turn = turn();
    // a sum of so many is made of parts, whose ends and starts are rounded apart
    let n = 1 << 18;
    let odd = Tensor::arange(0, n, 1, ())?.remainder(2)?.to_dtype(DType::F32)?;
    odd.device().manual_seed(5);
    let p = odd.mul(&Tensor::rand([n as usize], ())?)?;
    for _ in 0..4 {
        let drawn = p.multinomial(1 << 20, true)?;
        assert_eq!(p.take(&drawn)?.eq(0.0)?.to_dtype(DType::I32)?.sum()?.item()?, 0.0);
    }
    Ok(())
}

//! Schedulers: saved states go on to the last bit, states of other groups are refused, and what has no sense is too.

use calor::io::Checkpoint;
use calor::nn::Parameter;
use calor::optim::{
    Adam, AdamOptions, Anneal, ChainedScheduler, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, Curve,
    Curved, CyclicLr, CyclicMode, CyclicOptions, ExponentialLr, GradScaler, GradScalerOptions, LambdaLr, LinearLr,
    MultiStepLr, MultiplicativeLr, OneCycleLr, OneCycleOptions, Optimizer, PlateauOptions, PolynomialLr,
    ReduceLrOnPlateau, Rprop, RpropOptions, Scheduler, SequentialLr, Sgd, SgdOptions, StepLr, SwaLr,
};
use calor::{Device, Result, Tensor};

fn sgd() -> Result<Sgd> {
    let one = || Parameter::new(&Tensor::zeros([1], ())?);
    let mut sgd = Sgd::new([one()?], SgdOptions::new(0.8).momentum(0.9))?;
    sgd.add_param_group([one()?], SgdOptions::new(0.05).momentum(0.9))?;
    Ok(sgd)
}

/// Rates and momenta of both groups.
fn seen(sgd: &Sgd) -> Vec<u64> {
    let of = |g| [sgd.lr(g), sgd.setting(g, "momentum").unwrap_or(f64::NAN)];
    [of(0), of(1)].concat().into_iter().map(f64::to_bits).collect()
}

type Boxed = Box<dyn Scheduler>;

fn resumes(name: &str, make: impl Fn(&mut Sgd) -> Result<Boxed>) -> Result<()> {
    let mut own = sgd()?;
    let mut schedule = make(&mut own)?;
    (0..9).try_for_each(|_| schedule.step(&mut own))?;
    let (saved, optimizer) = (schedule.state_dict(), own.state_dict());
    let mut other = sgd()?;
    let mut resumed = make(&mut other)?;
    other.load_state_dict(&optimizer)?;
    resumed.load_state_dict(&saved)?;
    assert_eq!(resumed.get_last_lr(), schedule.get_last_lr(), "{name}");
    assert_eq!(resumed.state_dict(), saved, "{name}");
    let mut moved = 0;
    for step in 0..12 {
        let before = seen(&own);
        schedule.step(&mut own)?;
        resumed.step(&mut other)?;
        moved += usize::from(seen(&own) != before);
        assert_eq!(seen(&own), seen(&other), "{name}, {step} steps after");
    }
    assert!(moved > 0, "{name} did nothing");
    Ok(())
}

#[test]
fn schedulers_go_on_to_the_last_bit() -> Result<()> {
    resumes("StepLR", |o| Ok(Box::new(StepLr::new(o, 4, 0.3)?)))?;
    resumes("MultiStepLR", |o| Ok(Box::new(MultiStepLr::new(o, [2, 11, 11], 0.3)?)))?;
    resumes("ConstantLR", |o| Ok(Box::new(ConstantLr::new(o, 0.3, 12)?)))?;
    resumes("LinearLR", |o| Ok(Box::new(LinearLr::new(o, 0.3, 0.9, 15)?)))?;
    resumes("ExponentialLR", |o| Ok(Box::new(ExponentialLr::new(o, 0.9)?)))?;
    resumes("PolynomialLR", |o| Ok(Box::new(PolynomialLr::new(o, 17, 0.7)?)))?;
    resumes("CosineAnnealingLR", |o| Ok(Box::new(CosineAnnealingLr::new(o, 7, 0.01)?)))?;
    resumes("WarmRestarts", |o| Ok(Box::new(CosineAnnealingWarmRestarts::new(o, 3, 2, 0.01)?)))?;
    resumes("LambdaLR", |o| Ok(Box::new(LambdaLr::new(o, |e| 0.9f64.powi(e as i32))?)))?;
    resumes("MultiplicativeLR", |o| Ok(Box::new(MultiplicativeLr::new(o, |e| 1.0 / e as f64)?)))?;
    resumes("OneCycleLR", |o| Ok(Box::new(OneCycleLr::new(o, OneCycleOptions::new([0.7, 0.3], 30u64))?)))?;
    let cyclic = CyclicOptions::new(0.1, 0.9).step_size_up(3.0).mode(CyclicMode::Triangular2);
    resumes("CyclicLR", |o| Ok(Box::new(CyclicLr::new(o, cyclic.clone())?)))?;
    resumes("SWALR", |o| Ok(Box::new(SwaLr::new(o, 0.2, 15, Anneal::Cos)?)))?;
    let both = |o: &mut Sgd| -> Result<Vec<Boxed>> {
        Ok(vec![Box::new(ConstantLr::new(o, 0.5, 4)?), Box::new(CosineAnnealingWarmRestarts::new(o, 3, 2, 0.0)?)])
    };
    resumes("SequentialLR", |o| {
        let both = both(o)?;
        Ok(Box::new(SequentialLr::new(o, both, [8])?))
    })?;
    resumes("ChainedScheduler", |o| {
        let chained: Vec<Boxed> = vec![Box::new(ConstantLr::new(o, 0.5, 12)?), Box::new(ExponentialLr::new(o, 0.9)?)];
        Ok(Box::new(ChainedScheduler::new(o, chained)?))
    })
}

#[test]
fn a_plateau_goes_on_to_the_last_bit() -> Result<()> {
    let make = |o: &Sgd| ReduceLrOnPlateau::new(o, PlateauOptions::new().factor(0.7).patience(1u64).cooldown(1u64));
    let losses = [3.0, 2.0, 2.5, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9];
    let (mut own, mut other) = (sgd()?, sgd()?);
    let (mut schedule, mut resumed) = (make(&own)?, make(&other)?);
    losses[..6].iter().for_each(|l| schedule.step(&mut own, *l));
    other.load_state_dict(&own.state_dict())?;
    resumed.load_state_dict(&schedule.state_dict())?;
    let before = own.lr(0);
    for loss in &losses[6..] {
        schedule.step(&mut own, *loss);
        resumed.step(&mut other, *loss);
        assert_eq!(seen(&own), seen(&other));
    }
    assert!(own.lr(0) < before && schedule.best() == 1.9);
    Ok(())
}

#[test]
fn a_sequence_starts_its_next_scheduler_from_the_first_rates() -> Result<()> {
    let mut own = sgd()?;
    let parts: Vec<Boxed> =
        vec![Box::new(LinearLr::new(&mut own, 0.25, 1.0, 3)?), Box::new(StepLr::new(&mut own, 2, 0.5)?)];
    let mut schedule = SequentialLr::new(&mut own, parts, [3])?;
    let mut rates = vec![own.lr(0)];
    for _ in 0..6 {
        schedule.step(&mut own)?;
        rates.push(own.lr(0));
    }
    for (got, want) in rates.iter().zip([0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4]) {
        assert!((got - want).abs() < 1e-12, "{rates:?}");
    }
    schedule.step_to(&mut own, 5)?;
    assert!((own.lr(0) - 0.4).abs() < 1e-12 && (own.lr(1) - 0.025).abs() < 1e-12);
    // milestones in any order
    let mut own = sgd()?;
    let mut part = || Ok::<Boxed, calor::Error>(Box::new(StepLr::new(&mut own, 2, 0.5)?));
    let parts = vec![part()?, part()?, part()?];
    let mut schedule = SequentialLr::new(&mut own, parts, [9, 2])?;
    schedule.step_to(&mut own, 4)?;
    assert!((own.lr(0) - 0.4).abs() < 1e-12, "two epochs of the second: {}", own.lr(0));
    Ok(())
}

#[test]
fn what_has_no_sense_is_refused() -> Result<()> {
    let mut own = sgd()?;
    assert!(StepLr::new(&mut own, 0, 0.5).is_err());
    assert!(ConstantLr::new(&mut own, 1.5, 3).is_err());
    assert!(LinearLr::new(&mut own, 0.0, 1.0, 3).is_err());
    assert!(CosineAnnealingLr::new(&mut own, 0, 0.0).is_err());
    assert!(CosineAnnealingWarmRestarts::new(&mut own, 0, 1, 0.0).is_err());
    assert!(ReduceLrOnPlateau::new(&own, PlateauOptions::new().factor(1.0)).is_err());
    assert!(OneCycleLr::new(&mut own, OneCycleOptions::new([0.1, 0.2, 0.3], 9u64)).is_err());
    assert!(LambdaLr::per_group(&mut own, Vec::new()).is_err());
    assert!(SequentialLr::new(&mut own, Vec::new(), [3]).is_err());
    assert!(ChainedScheduler::new(&own, Vec::new()).is_err());
    // no momentum to cycle
    let one = Parameter::new(&Tensor::zeros([1], ())?)?;
    let mut rprop = Rprop::new([one.clone()], RpropOptions::default())?;
    let refused = CyclicLr::new(&mut rprop, CyclicOptions::new(0.1, 0.2)).unwrap_err().to_string();
    assert!(refused.contains("momentum"), "{refused}");
    assert!(CyclicLr::new(&mut rprop, CyclicOptions::new(0.1, 0.2).cycle_momentum(false)).is_ok());
    // one step too many
    let mut schedule = OneCycleLr::new(&mut own, OneCycleOptions::new(0.5, 2u64))?;
    (0..2).try_for_each(|_| schedule.step(&mut own))?;
    assert!(schedule.step(&mut own).unwrap_err().to_string().contains('2'));
    // states of other groups, or of nothing
    let mut fall = ExponentialLr::new(&mut own, 0.5)?;
    let mut adam = Adam::new([one], AdamOptions::default())?;
    let mut small = ExponentialLr::new(&mut adam, 0.5)?;
    assert!(small.load_state_dict(&fall.state_dict()).is_err());
    assert!(fall.load_state_dict(&[].into()).unwrap_err().to_string().contains("last_epoch"));
    Ok(())
}

#[test]
fn momenta_of_adam_are_its_first_betas() -> Result<()> {
    let one = Parameter::new(&Tensor::zeros([1], ())?)?;
    let mut adam = Adam::new([one], AdamOptions::default())?;
    let mut schedule = OneCycleLr::new(&mut adam, OneCycleOptions::new(0.1, 11u64).pct_start(0.5))?;
    assert_eq!(adam.setting(0, "beta1"), Some(0.95));
    (0..5).try_for_each(|_| schedule.step(&mut adam))?;
    assert!(adam.setting(0, "beta1").is_some_and(|b| b < 0.87) && adam.lr(0) > 0.09);
    assert_eq!((adam.setting(0, "beta3"), adam.set_setting(0, "beta3", 1.0)), (None, false));
    Ok(())
}

/// One group, whose rate, first rate and momentum are these.
fn one(lr: f64, initial_lr: Option<f64>) -> Result<Sgd> {
    let mut sgd = Sgd::new([Parameter::new(&Tensor::zeros([1], ())?)?], SgdOptions::new(lr).momentum(0.9))?;
    initial_lr.iter().for_each(|first| assert!(sgd.set_setting(0, "initial_lr", *first)));
    Ok(sgd)
}

fn follow(what: &str, own: &mut Sgd, schedule: &mut dyn Scheduler, want: &[f64]) -> Result<()> {
    let mut rates = vec![own.lr(0)];
    for _ in 1..want.len() {
        schedule.step(own)?;
        rates.push(own.lr(0));
        assert_eq!(schedule.get_last_lr(), [own.lr(0)]);
    }
    let near = rates.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-8);
    assert!(near, "{what}: {rates:?}, expected {want:?}");
    Ok(())
}

#[test]
fn cycles_go_by_their_own_rates_after_another_scheduler() -> Result<()> {
    let mut own = one(1.0, None)?;
    ConstantLr::new(&mut own, 0.5, 5)?;
    let mut schedule = CyclicLr::new(&mut own, CyclicOptions::new(0.1, 0.5).step_size_up(2.0))?;
    follow("CyclicLR", &mut own, &mut schedule, &[1.0, 0.3, 0.5, 0.3, 0.1, 0.3])
}

#[test]
fn sequences_start_their_parts_as_pytorch_does() -> Result<()> {
    let mut own = one(1.0, None)?;
    let parts: Vec<Boxed> =
        vec![Box::new(ConstantLr::new(&mut own, 0.5, 2)?), Box::new(MultiplicativeLr::new(&mut own, |_| 0.5)?)];
    let mut schedule = SequentialLr::new(&mut own, parts, [2])?;
    follow("MultiplicativeLR at a milestone", &mut own, &mut schedule, &[0.5, 0.5, 0.25, 0.125, 0.0625])?;
    schedule.step_to(&mut own, 2)?;
    assert_eq!(own.lr(0), 0.03125, "MultiplicativeLR at its epoch 0");

    let mut own = one(1.0, None)?;
    let parts: Vec<Boxed> = vec![
        Box::new(ConstantLr::new(&mut own, 0.5, 2)?),
        Box::new(ExponentialLr::new(&mut own, 0.25)?),
        Box::new(StepLr::new(&mut own, 2, 0.5)?),
    ];
    let mut schedule = SequentialLr::new(&mut own, parts, [0, 2])?;
    follow("SequentialLR from 0", &mut own, &mut schedule, &[1.0, 0.25, 1.0, 1.0, 0.5])
}

/// Goes on after epoch 4 with rate 0.3 and a first rate of 0.8.
fn resumed<C: Curve + Clone>(what: &str, make: impl Fn(&mut Sgd) -> Result<Curved<C>>, want: &[f64]) -> Result<()> {
    let mut own = one(0.3, Some(0.8))?;
    let mut schedule = make(&mut own)?.resumed_at(&mut own, 4)?;
    assert_eq!(schedule.last_epoch(), 5, "{what}");
    follow(what, &mut own, &mut schedule, want)?;
    // where there is no first rate, all stays as it was
    let mut fresh = one(0.3, None)?;
    for _ in 0..2 {
        let refused = make(&mut fresh)?.resumed_at(&mut fresh, 4).map(drop).unwrap_err().to_string();
        assert!(refused.contains("initial_lr"), "{refused}");
        assert_eq!((fresh.lr(0), fresh.setting(0, "momentum")), (0.3, Some(0.9)), "{what}");
        assert_eq!(fresh.setting(0, "initial_lr"), None);
    }
    Ok(())
}

#[test]
fn schedules_resume_after_an_epoch_as_those_of_pytorch() -> Result<()> {
    resumed("StepLR", |o| StepLr::new(o, 3, 0.5), &[0.3, 0.15, 0.15, 0.15])?;
    resumed("MultiStepLR", |o| MultiStepLr::new(o, [5, 7], 0.5), &[0.15, 0.15, 0.075, 0.075])?;
    resumed("ConstantLR", |o| ConstantLr::new(o, 0.5, 6), &[0.3, 0.6, 0.6, 0.6])?;
    resumed("LinearLR", |o| LinearLr::new(o, 0.25, 1.0, 8), &[0.3, 0.339130435, 0.37826087, 0.417391304])?;
    resumed("ExponentialLR", |o| ExponentialLr::new(o, 0.5), &[0.3, 0.15, 0.075, 0.0375])?;
    resumed("PolynomialLR", |o| PolynomialLr::new(o, 8, 2.0), &[0.3, 0.133333333, 0.033333333, 0.0])?;
    resumed("CosineAnnealingLR", |o| CosineAnnealingLr::new(o, 6, 0.01), &[0.3, 0.01, 0.062919966, 0.2075])?;
    let restarts = |o: &mut Sgd| CosineAnnealingWarmRestarts::new(o, 2, 2, 0.01);
    resumed("CosineAnnealingWarmRestarts", restarts, &[0.684307179, 0.405, 0.125692821, 0.8])?;
    let shares = [0.472392, 0.4251528, 0.38263752, 0.344373768];
    resumed("LambdaLR", |o| LambdaLr::new(o, |e| 0.9f64.powi(e as i32)), &shares)?;
    let shares = [0.3, 0.05, 0.007142857, 0.000892857];
    resumed("MultiplicativeLR", |o| MultiplicativeLr::new(o, |e| 1.0 / e as f64), &shares)?;
    let cyclic = CyclicOptions::new(0.1, 0.5).step_size_up(3.0);
    resumed("CyclicLR", |o| CyclicLr::new(o, cyclic.clone()), &[0.7, 0.1, 0.233333333, 0.366666667])?;
    resumed("SWALR", |o| SwaLr::new(o, 0.05, 4, Anneal::Cos), &[0.3, 0.263388348, 0.175, 0.086611652])?;
    let mut own = one(1.0, Some(1.0))?;
    assert!(ExponentialLr::new(&mut own, 0.5)?.resumed_at(&mut own, u64::MAX).is_err());
    let part: Boxed = Box::new(ExponentialLr::new(&mut own, 0.5)?);
    assert!(SequentialLr::new(&mut own, vec![part], [])?.resumed_at(u64::MAX).is_err());
    Ok(())
}

#[test]
fn warm_restarts_go_to_places_inside_epochs() -> Result<()> {
    let mut own = one(1.0, None)?;
    let mut schedule = CosineAnnealingWarmRestarts::new(&mut own, 3, 2, 0.1)?;
    for (to, rate, epoch) in [
        (Some(0.0), 1.0, 0),
        (Some(0.25), 0.984666622, 0),
        (Some(2.75), 0.115333378, 2),
        (Some(3.0), 1.0, 3),
        (Some(8.5), 0.115333378, 8),
        (Some(9.25), 0.999036515, 9),
        (None, 0.976118558, 10),
        (None, 0.924161326, 11),
        (Some(100.125), 0.987822978, 100),
        (Some(2.0), 0.325, 2),
    ] {
        match to {
            Some(to) => schedule.step_at(&mut own, to)?,
            None => schedule.step(&mut own)?,
        }
        assert!((own.lr(0) - rate).abs() < 1e-8, "{to:?}: {}, expected {rate}", own.lr(0));
        assert_eq!((schedule.last_epoch(), schedule.get_last_lr()), (epoch, vec![own.lr(0)]));
    }
    for bad in [-0.5, f64::NAN, f64::INFINITY, 1e17] {
        assert!(schedule.step_at(&mut own, bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn a_plateau_and_a_scaler_are_kept_in_a_checkpoint() -> Result<()> {
    let device = Device::best()?;
    let mut own = sgd()?;
    let mut plateau = ReduceLrOnPlateau::new(&own, PlateauOptions::new().patience(1u64))?;
    let mut scaler = GradScaler::new(&device, GradScalerOptions { growth_interval: 5, ..Default::default() })?;
    scaler.set_growth_factor(1.1)?;
    let path = std::env::temp_dir().join(format!("calor-plateau-{}", std::process::id()));
    // before the first value its best one is infinite
    for value in [None, Some(2.0)] {
        value.iter().for_each(|v| plateau.step(&mut own, *v));
        let mut saved = Checkpoint::new();
        saved.plateau("schedule", &plateau)?.scaler("scaler", &scaler)?.save(&path)?;
        let loaded = Checkpoint::load(&path, &device)?;
        std::fs::remove_file(&path)?;
        let mut other = ReduceLrOnPlateau::new(&own, PlateauOptions::new().patience(1u64))?;
        loaded.load_plateau("schedule", &mut other)?;
        assert_eq!(other.state_dict(), plateau.state_dict());
        let mut other = GradScaler::new(&device, ())?;
        loaded.load_scaler("scaler", &mut other)?;
        assert_eq!((other.get_growth_factor(), other.get_growth_interval()), (1.1, 5));
        assert!(loaded.load_plateau("nothing", &mut plateau).is_err());
    }
    Ok(())
}

#[test]
fn lengths_beyond_what_is_counted_never_end() -> Result<()> {
    let never = u64::MAX;
    let held = |name: &str, rate: f64, make: &dyn Fn(&mut Sgd) -> Result<Boxed>| -> Result<()> {
        for far in [false, true] {
            let mut own = one(1.0, None)?;
            let mut schedule = make(&mut own)?;
            (0..3).try_for_each(|_| schedule.step(&mut own))?;
            if far {
                schedule.step_to(&mut own, 5)?;
                schedule.step(&mut own)?;
            }
            assert!((own.lr(0) - rate).abs() < 1e-12, "{name}: {}, expected {rate}", own.lr(0));
            assert!(schedule.step_to(&mut own, never).is_err(), "{name}");
        }
        Ok(())
    };
    held("StepLR", 1.0, &|o| Ok(Box::new(StepLr::new(o, never, 0.1)?)))?;
    held("MultiStepLR", 1.0, &|o| Ok(Box::new(MultiStepLr::new(o, [never], 0.1)?)))?;
    held("ConstantLR", 0.5, &|o| Ok(Box::new(ConstantLr::new(o, 0.5, never)?)))?;
    held("LinearLR", 0.5, &|o| Ok(Box::new(LinearLr::new(o, 0.5, 1.0, never)?)))?;
    held("PolynomialLR", 1.0, &|o| Ok(Box::new(PolynomialLr::new(o, never, 1.0)?)))?;
    held("CosineAnnealingLR", 1.0, &|o| Ok(Box::new(CosineAnnealingLr::new(o, never, 0.0)?)))?;
    held("CosineAnnealingLR", 1.0, &|o| Ok(Box::new(CosineAnnealingLr::new(o, never / 2, 0.0)?)))?;
    held("WarmRestarts", 1.0, &|o| Ok(Box::new(CosineAnnealingWarmRestarts::new(o, never, 1, 0.0)?)))?;
    held("OneCycleLR", 0.04, &|o| Ok(Box::new(OneCycleLr::new(o, OneCycleOptions::new(1.0, never))?)))?;
    held("SequentialLR", 1.0, &|o| {
        let parts: Vec<Boxed> = vec![Box::new(StepLr::new(o, never, 0.1)?), Box::new(ExponentialLr::new(o, 0.5)?)];
        Ok(Box::new(SequentialLr::new(o, parts, [never])?))
    })
}

#[test]
fn counts_of_a_state_are_counts() -> Result<()> {
    let mut own = one(1.0, None)?;
    let mut plateau = ReduceLrOnPlateau::new(&own, PlateauOptions::new())?;
    let part: Boxed = Box::new(ExponentialLr::new(&mut own, 0.5)?);
    let mut all: [Boxed; 2] =
        [Box::new(ExponentialLr::new(&mut own, 0.5)?), Box::new(SequentialLr::new(&mut own, vec![part], [])?)];
    for bad in [1e300, -1e300, f64::INFINITY, f64::NAN] {
        for schedule in &mut all {
            let names: Vec<String> = schedule.state_dict().into_keys().collect();
            for name in names.iter().filter(|n| n.ends_with("last_epoch") || n.ends_with("_step_count")) {
                let mut state = schedule.state_dict();
                state.insert(name.clone(), bad);
                assert!(schedule.load_state_dict(&state).is_err(), "{name} {bad}");
            }
            schedule.step(&mut own)?;
        }
        for name in ["num_bad_epochs", "cooldown_counter", "last_epoch"] {
            let mut state = plateau.state_dict();
            state.insert(name.into(), bad);
            assert!(plateau.load_state_dict(&state).is_err(), "{name} {bad}");
        }
        plateau.step(&mut own, 1.0);
    }
    Ok(())
}

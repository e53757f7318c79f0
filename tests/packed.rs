//! Sequences of different lengths against PyTorch's values (`tests/torch/packed.py`), and against each of them alone.

use calor::autograd::{gradcheck, gradgradcheck};
use calor::nn::utils::rnn::{
    PackedSequence, PaddingSide, invert_permutation, pack_padded_sequence, pack_sequence, pad_packed_sequence,
    pad_sequence, unpack_sequence, unpad_sequence,
};
use calor::nn::{GRU, GRUOptions, LSTM, LSTMOptions, Module, Parameter, RNN, RNNOptions, Recurrence};
use calor::{DType, ErrorKind, Result, Tensor, autocast, stack};

fn numbers(shape: &[usize], step: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * step % 23) as f32 - 11.0) / 16.0).collect();
    Tensor::from_slice(&values, shape, ())
}

fn leaf(shape: &[usize], step: usize) -> Result<Tensor> {
    numbers(shape, step)?.requires_grad_(true)
}

fn close(what: &str, got: &Tensor, want: &[f32], tolerance: f32) -> Result<()> {
    let got = got.detach().to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: {got:?}, expected {want:?}");
    }
    Ok(())
}

fn grad(t: &Tensor) -> Tensor {
    t.grad().expect("a gradient")
}

fn refused<T>(result: Result<T>, kind: ErrorKind, says: &str) {
    match result {
        Ok(_) => panic!("not refused: {says}"),
        Err(e) => assert!(e.kind() == kind && e.to_string().contains(says), "{e}, expected {kind:?}: {says}"),
    }
}

#[test]
fn rows_lie_as_in_pytorch() -> Result<()> {
    let packed = pack_padded_sequence(&numbers(&[4, 3, 2], 37)?, &[2, 4, 1], false, false)?;
    let want =
        [-0.375, 0.5, -0.6875, 0.1875, -0.0625, -0.625, 0.5625, 0.0, 0.25, -0.3125, 0.0625, -0.5, -0.4375, 0.4375];
    assert_eq!(packed.data.to_vec::<f32>()?, want);
    assert_eq!((&packed.data.shape()[..], &packed.batch_sizes[..]), (&[7, 2][..], &[3, 2, 1, 1][..]));
    assert_eq!((packed.sorted_indices, packed.unsorted_indices), (Some(vec![1, 0, 2]), Some(vec![1, 0, 2])));

    let packed = pack_padded_sequence(&numbers(&[4, 3, 2], 37)?.transpose(0, 1)?, &[4, 3, 3], true, true)?;
    let want = [
        -0.6875, 0.1875, -0.375, 0.5, -0.0625, -0.625, 0.25, -0.3125, 0.5625, 0.0, -0.5625, 0.3125, -0.25, 0.625,
        0.0625, -0.5, 0.375, -0.1875, 0.6875, 0.125,
    ];
    assert_eq!(packed.data.to_vec::<f32>()?, want);
    assert_eq!((packed.batch_sizes, packed.sorted_indices), (vec![3, 3, 3, 1], None));
    // equals stay in order, rows may be of any shape and dtype, and steps behind the longest are left out
    let all = [Tensor::new([1], ())?, Tensor::new([3, 4], ())?, Tensor::new([5, 6], ())?];
    let packed = pack_sequence(&all, false)?;
    assert_eq!(packed.data.to_vec::<i32>()?, [3, 5, 1, 4, 6]);
    assert_eq!((packed.sorted_indices, packed.unsorted_indices), (Some(vec![1, 2, 0]), Some(vec![2, 0, 1])));
    let wide = pack_padded_sequence(&numbers(&[9, 2, 1, 3, 2], 5)?, &[1, 2], false, false)?;
    assert_eq!((&wide.data.shape()[..], &wide.batch_sizes[..]), (&[3, 1, 3, 2][..], &[2, 1][..]));
    let truths = pack_sequence(&[Tensor::new([true, false], ())?, Tensor::new([true], ())?], true)?;
    assert_eq!(truths.data.to_vec::<bool>()?, [true, true, false]);
    assert_eq!(pad_packed_sequence(&truths, true, 0, None)?.0.to_vec::<bool>()?, [true, false, true, false]);
    Ok(())
}

#[test]
fn padding_and_packing_undo_each_other() -> Result<()> {
    for dtype in [DType::F32, DType::F16, DType::I32] {
        let all: Vec<Tensor> = [3, 1, 5, 3]
            .iter()
            .map(|&n| (numbers(&[n, 2], 5 + n)? * 16.0)?.abs()?.to_dtype(dtype))
            .collect::<Result<_>>()?;
        let same = |others: &[Tensor]| -> Result<()> {
            assert_eq!(others.len(), all.len());
            for (a, b) in all.iter().zip(others) {
                assert_eq!((a.dtype(), a.shape(), a.read_bytes()?), (b.dtype(), b.shape(), b.read_bytes()?));
            }
            Ok(())
        };
        let packed = pack_sequence(&all, false)?;
        same(&unpack_sequence(&packed)?)?;
        for batch_first in [false, true] {
            let (padded, lengths) = pad_packed_sequence(&packed, batch_first, 7, None)?;
            assert_eq!(lengths, [3, 1, 5, 3]);
            let direct = pad_sequence(&all, batch_first, 7, PaddingSide::Right)?;
            assert_eq!((padded.shape(), padded.read_bytes()?), (direct.shape(), direct.read_bytes()?));
            same(&unpad_sequence(&padded, &lengths, batch_first)?)?;
            let again = pack_padded_sequence(&padded, &lengths, batch_first, false)?;
            assert_eq!(again.data.read_bytes()?, packed.data.read_bytes()?);
            let (long, _) = pad_packed_sequence(&packed, batch_first, 7, Some(8))?;
            let dim = usize::from(batch_first);
            assert_eq!(long.shape()[dim], 8);
            assert_eq!(long.narrow(dim as isize, 0, 5)?.read_bytes()?, padded.read_bytes()?);
            let rest = long.narrow(dim as isize, 5, 3)?.to_dtype(DType::I32)?;
            assert_eq!((rest.min()?.item()?, rest.max()?.item()?), (7.0, 7.0));
        }
    }
    Ok(())
}

#[test]
fn sequences_are_padded_at_either_end() -> Result<()> {
    let all = [Tensor::new([1.0f32, 2.0], ())?, Tensor::new([3.0f32], ())?, Tensor::zeros([0], DType::F32)?];
    let padded = pad_sequence(&all, false, f64::NEG_INFINITY, PaddingSide::Left)?;
    let low = f32::NEG_INFINITY;
    assert_eq!(padded.to_vec::<f32>()?, [1.0, low, low, 2.0, 3.0, low]);
    // the dtype of the first; a number becomes one of it
    let mixed = [Tensor::new([1], ())?, Tensor::new([2.5f32, 3.5], ())?];
    assert_eq!(pad_sequence(&mixed, true, 1.5, PaddingSide::Right)?.to_vec::<i32>()?, [1, 1, 2, 3]);
    // nothing in them, or nothing in a row
    let none = [Tensor::zeros([0, 3], ())?, Tensor::zeros([0, 3], ())?];
    assert_eq!(pad_sequence(&none, false, 0, PaddingSide::Right)?.shape()[..], [0, 2, 3]);
    assert_eq!(pad_sequence(&none, true, 0, PaddingSide::Left)?.shape()[..], [2, 0, 3]);
    let thin = [Tensor::zeros([2, 0], ())?, Tensor::zeros([4, 0], ())?];
    assert_eq!(pad_sequence(&thin, true, 0, PaddingSide::Right)?.shape()[..], [2, 4, 0]);
    let empty = unpad_sequence(&numbers(&[3, 2], 5)?, &[0, 3], false)?;
    assert_eq!((empty[0].numel(), empty[1].numel()), (0, 3));
    // what was taken out is written to without what it was taken from
    let padded = pad_sequence(&all[..2], true, 0, PaddingSide::Right)?;
    unpad_sequence(&padded, &[2, 1], true)?[0].add_(10)?;
    assert_eq!(padded.to_vec::<f32>()?, [1.0, 2.0, 3.0, 0.0]);
    Ok(())
}

#[test]
fn gradients_go_where_rows_came_from() -> Result<()> {
    let x = leaf(&[4, 3], 37)?;
    let packed = pack_padded_sequence(&x, &[2, 4, 1], false, false)?;
    (&packed.data * Tensor::arange(1.0, 8.0, 1.0, ())?)?.sum()?.backward()?;
    let want = [2.0, 1.0, 3.0, 5.0, 4.0, 0.0, 0.0, 6.0, 0.0, 0.0, 7.0, 0.0];
    assert_eq!(grad(&x).to_vec::<f32>()?, want);
    // a padding of anything takes no gradient
    let all = [leaf(&[2], 3)?, leaf(&[1], 3)?];
    let padded = pad_sequence(&all, true, f64::NAN, PaddingSide::Left)?;
    (padded * Tensor::new([[1.0f32, 2.0], [3.0, 4.0]], ())?)?.sum()?.backward()?;
    assert_eq!((grad(&all[0]).to_vec::<f32>()?, grad(&all[1]).to_vec::<f32>()?), (vec![1.0, 2.0], vec![4.0]));
    let cube = |t: &Tensor| -> Result<Tensor> { t * t.square()? };
    let pack = |t: &[Tensor]| cube(&pack_padded_sequence(&t[0], &[1, 3], true, false)?.data);
    let pad = |t: &[Tensor]| {
        let packed = PackedSequence::new(t[0].clone(), vec![2, 2, 1], Some(vec![1, 0]))?;
        let (padded, lengths) = pad_packed_sequence(&packed, false, 0.5, Some(4))?;
        pad_sequence(&unpad_sequence(&cube(&padded)?, &lengths, false)?, true, 1.0, PaddingSide::Left)
    };
    let (x, rows) = (leaf(&[2, 3, 2], 5)?, leaf(&[5, 2], 7)?);
    gradcheck(pack, &[&x], None)?;
    gradgradcheck(pack, &[&x], None)?;
    gradcheck(pad, &[&rows], None)?;
    gradgradcheck(pad, &[&rows], None)
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    use ErrorKind::{DType as Type, Shape, Value};
    let x = numbers(&[4, 3, 2], 37)?;
    refused(pack_padded_sequence(&x, &[4, 2], false, true), Value, "batch_size, but got 2 (batch_size=3)");
    refused(pack_padded_sequence(&x, &[4, 2, 0], false, true), Value, "greater than 0");
    refused(pack_padded_sequence(&x, &[2, 4, 0], false, false), Value, "greater than 0");
    refused(pack_padded_sequence(&x, &[2, 4, 1], false, true), Value, "sorted in decreasing order");
    refused(pack_padded_sequence(&x, &[5, 4, 1], false, true), Value, "at most the 4 steps");
    refused(pack_padded_sequence(&x, &[usize::MAX, 4, 1], false, true), Value, "at most the 4 steps");
    refused(pack_padded_sequence(&x, &[4, 4, 4, 4], true, true), Value, "at most the 3 steps");
    refused(pack_padded_sequence(&numbers(&[0, 3], 1)?, &[1, 1, 1], false, true), Shape, "Cannot pack empty");
    refused(pack_padded_sequence(&numbers(&[3, 0], 1)?, &[], false, true), Shape, "Cannot pack empty");
    refused(pack_padded_sequence(&numbers(&[3], 1)?, &[1, 1, 1], false, true), Shape, "two dimensions");
    refused(pack_sequence(&[], true), Value, "empty list");
    refused(pack_sequence(&[numbers(&[1], 1)?, numbers(&[2], 1)?], true), Value, "decreasing order");
    refused(pack_sequence(&[numbers(&[1], 1)?, numbers(&[0], 1)?], true), Value, "greater than 0");
    refused(pad_sequence(&[], true, 0, PaddingSide::Left), Value, "empty list");
    refused(pad_sequence(&[numbers(&[2, 3], 1)?, numbers(&[2, 4], 1)?], true, 0, PaddingSide::Left), Shape, "[2, 4]");
    refused(pad_sequence(&[Tensor::new(1.0f32, ())?], true, 0, PaddingSide::Left), Shape, "one dimension");
    refused(unpad_sequence(&x, &[1, 2], false), Value, "each of 3 sequences");
    refused(unpad_sequence(&x, &[1, 2, 5], false), Value, "at most the 4 steps");
    refused(unpad_sequence(&numbers(&[3], 1)?, &[1], false), Shape, "two dimensions");
    refused(invert_permutation(&[0, 2]), Value, "permutation");

    let packed = pack_padded_sequence(&x, &[3, 2, 1], false, true)?;
    refused(pad_packed_sequence(&packed, false, 0, Some(2)), Value, "total_length=2 and max sequence length being 3");
    refused(pad_packed_sequence(&packed, true, 0, Some(usize::MAX)), Shape, "more than an index can name");
    let data = numbers(&[5], 1)?;
    let wrong = |sizes: &[usize], order: Option<&[usize]>| {
        PackedSequence::new(data.clone(), sizes.to_vec(), order.map(<[usize]>::to_vec))
    };
    refused(wrong(&[2, 3], None), Value, "must not grow");
    refused(wrong(&[], None), Value, "must be positive");
    refused(wrong(&[5, 0], None), Value, "must be positive");
    refused(wrong(&[2, 2], None), Value, "4 rows in all");
    refused(wrong(&[usize::MAX, usize::MAX], None), Value, "rows in all");
    refused(wrong(&[3, 2], Some(&[0, 1])), Value, "no order of 3");
    refused(wrong(&[3, 2], Some(&[0, 1, 1])), Value, "permutation");
    let torn = PackedSequence { unsorted_indices: Some(vec![0, 1, 2]), ..wrong(&[3, 2], Some(&[1, 2, 0]))? };
    refused(pad_packed_sequence(&torn, false, 0, None), Value, "not the inverse");
    let scalar = PackedSequence { data: Tensor::new(1.0f32, ())?, ..wrong(&[5], None)? };
    refused(unpack_sequence(&scalar), Value, "data are []");

    let lstm = LSTM::new(2, 3, ())?;
    let (h, c) = (numbers(&[1, 2, 3], 1)?, numbers(&[1, 3, 3], 1)?);
    refused(lstm.forward_packed(&packed, Some((&h, &c))), Shape, "expected hidden size [1, 3, 3], got [1, 2, 3]");
    refused(lstm.forward_packed(&packed, Some((&c, &h))), Shape, "expected hidden size [1, 3, 3], got [1, 2, 3]");
    let flat = numbers(&[3, 3], 1)?;
    refused(GRU::new(2, 3, ())?.forward_packed(&packed, Some(&flat)), Shape, "got [3, 3]");
    refused(RNN::new(3, 3, ())?.forward_packed(&packed, None), Shape, "Expected 3, got 2");
    refused(lstm.forward_packed(&pack_sequence(&[numbers(&[2], 1)?], true)?, None), Shape, "2D, got 1D");
    refused(lstm.forward_packed(&pack_sequence(&[numbers(&[2, 3, 2], 1)?], true)?, None), Shape, "2D, got 3D");
    refused(lstm.forward_packed(&packed.to(DType::F16)?, None), Type, "does not match weight dtype");
    let torn = PackedSequence { batch_sizes: vec![3, 2], ..packed };
    refused(lstm.forward_packed(&torn, None), Value, "5 rows in all");
    Ok(())
}

/// One of the networks.
enum Net {
    Rnn(RNN),
    Gru(GRU),
    Lstm(LSTM),
}

impl Net {
    fn module(&self) -> &dyn Module {
        match self {
            Net::Rnn(net) => net,
            Net::Gru(net) => net,
            Net::Lstm(net) => net,
        }
    }

    fn packed(&self, x: &PackedSequence, h: &Tensor, c: &Tensor) -> Result<(PackedSequence, Vec<Tensor>)> {
        Ok(match self {
            Net::Rnn(net) => net.forward_packed(x, Some(h)).map(|(y, h)| (y, vec![h]))?,
            Net::Gru(net) => net.forward_packed(x, Some(h)).map(|(y, h)| (y, vec![h]))?,
            Net::Lstm(net) => net.forward_packed(x, Some((h, c))).map(|(y, (h, c))| (y, vec![h, c]))?,
        })
    }

    fn alone(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        Ok(match self {
            Net::Rnn(net) => net.forward(x, Some(h)).map(|(y, h)| (y, vec![h]))?,
            Net::Gru(net) => net.forward(x, Some(h)).map(|(y, h)| (y, vec![h]))?,
            Net::Lstm(net) => net.forward(x, Some((h, c))).map(|(y, (h, c))| (y, vec![h, c]))?,
        })
    }

    fn fill(&self) -> Result<Vec<Parameter>> {
        let all = self.module().parameters();
        for (i, p) in all.iter().enumerate() {
            p.copy_from(&numbers(&p.shape(), 7 + i)?)?;
        }
        Ok(all)
    }
}

/// The networks of `tests/torch/packed.py`, layers times directions, and the size of a hidden state.
fn nets() -> Result<Vec<(&'static str, Net, usize, usize)>> {
    let rnn = RNNOptions::default().num_layers(2).nonlinearity(Recurrence::Relu);
    let deep = LSTMOptions::default().num_layers(2).bidirectional(true).batch_first(true);
    let projected = LSTMOptions::default().proj_size(2).bidirectional(true);
    Ok(vec![
        ("RNN", Net::Rnn(RNN::new(2, 3, rnn)?), 2, 3),
        ("GRU", Net::Gru(GRU::new(2, 3, GRUOptions::default().bidirectional(true))?), 2, 3),
        ("LSTM", Net::Lstm(LSTM::new(2, 3, deep)?), 4, 3),
        ("projected", Net::Lstm(LSTM::new(2, 3, projected)?), 2, 2),
    ])
}

#[test]
fn networks_learn_as_in_pytorch() -> Result<()> {
    /// Rows, both states, gradients of the input and of both states, and sums over those of the parameters.
    type Case = (&'static str, [&'static [f32]; 7]);
    let cases: [Case; 4] = [
        (
            "RNN",
            [
                &[
                    0.0, 0.0, 0.0, 0.0, 0.573242, 0.0, 0.0, 0.171387, 0.0, 0.0, 0.297363, 0.0, 0.0, 0.0, 0.017944, 0.0,
                    0.0, 0.0, 0.0, 0.421465, 0.0,
                ],
                &[
                    0.0, 0.251953, 1.59375, 0.0, 0.537018, 1.81337, 0.0, 0.0, 1.285156, 0.0, 0.0, 0.017944, 0.0,
                    0.421465, 0.0, 0.0, 0.171387, 0.0,
                ],
                &[],
                &[
                    -0.196838, -0.237, -0.021057, 0.00351, -0.146484, 0.024414, -0.174316, 0.075195, 0.05127, 0.119629,
                    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                ],
                &[
                    0.077332, 0.031433, -0.014465, -0.031586, -0.00351, 0.024567, -0.219727, -0.024414, 0.170898,
                    -0.074219, 0.333984, -0.111328, 0.0, 0.0, 0.0, 0.109375, -0.492188, 0.164062,
                ],
                &[],
                &[-0.341602, 0.315836, -0.631714, -0.631714, -0.567244, -0.26815, 0.136719, 0.136719],
            ],
        ),
        (
            "GRU",
            [
                &[
                    0.073912, 0.516873, -0.551059, -0.073168, 0.336582, -0.066358, -0.291468, -0.168262, -0.266735,
                    0.209552, 0.362311, -0.026568, -0.351859, 0.031058, 0.133365, -0.182399, 0.261917, 0.399111,
                    -0.016012, 0.344776, -0.148364, 0.088981, 0.581012, 0.170389, -0.305704, -0.066326, -0.186828,
                    0.560438, 0.340336, 0.105472, -0.28336, 0.253762, -0.128377, 0.058433, 0.576397, 0.06972,
                    -0.026473, 0.281518, -0.324506, -0.025106, 0.45773, -0.3378,
                ],
                &[
                    -0.305704, -0.066326, -0.186828, -0.026473, 0.281518, -0.324506, -0.351859, 0.031058, 0.133365,
                    0.209552, 0.362311, -0.026568, -0.073168, 0.336582, -0.066358, -0.182399, 0.261917, 0.399111,
                ],
                &[],
                &[
                    -0.052582, -0.566135, -0.237895, 0.402954, 0.023474, 0.202746, 0.08138, -0.442915, -0.191126,
                    -0.259951, 0.0, 0.0, 0.0, 0.0, -0.178568, 0.157366, 0.0, 0.0, 0.0, 0.0, -0.219938, 0.475356, 0.0,
                    0.0,
                ],
                &[
                    -0.27452, -0.366803, -0.157706, 0.052865, 0.449046, -0.299699, 0.164961, 0.185066, 0.70974,
                    0.401388, 0.175365, -0.44919, -0.141746, -0.214001, 0.065558, 0.137947, -0.073743, -0.385935,
                ],
                &[],
                &[-0.22096, 0.162052, 0.949653, 0.415622, 0.183917, 0.006207, -0.224173, -0.000786],
            ],
        ),
        (
            "LSTM",
            [
                &[
                    -0.118303, -0.024023, -0.014289, 0.108785, -0.024957, 0.09224, -0.058374, -0.078247, 0.287095,
                    0.064215, 0.163162, 0.087044, 0.009744, -0.114863, -0.104768, 0.193651, 0.027902, 0.021896,
                    -0.01596, -0.206257, 0.067393, 0.117462, -0.071748, 0.120129, 0.002739, -0.298037, 0.225978,
                    0.061999, 0.156952, 0.068817, 0.018959, -0.284093, 0.110396, 0.136661, -0.118113, 0.098018,
                    0.030895, -0.313228, 0.117632, 0.134022, -0.311979, 0.110088,
                ],
                &[
                    -0.074151, -0.072232, -0.15466, 0.004681, -0.052613, -0.253533, -0.065994, 0.02936, -0.353583,
                    0.010934, 0.10144, 0.023437, 0.029314, 0.052029, 0.068439, 0.198334, -0.01255, 0.202345, 0.002739,
                    -0.298037, 0.225978, 0.030895, -0.313228, 0.117632, 0.009744, -0.114863, -0.104768, 0.064215,
                    0.163162, 0.087044, 0.108785, -0.024957, 0.09224, 0.193651, 0.027902, 0.021896,
                ],
                &[
                    -0.114132, -0.121318, -0.251194, 0.006541, -0.080044, -0.65492, -0.117528, 0.048957, -0.656031,
                    0.034058, 0.308279, 0.049617, 0.109278, 0.157027, 0.175802, 0.473891, -0.024026, 0.354468,
                    0.006707, -0.550471, 0.590488, 0.081756, -0.623081, 0.303965, 0.029817, -0.233354, -0.328366,
                    0.140513, 0.374456, 0.224378, 0.248315, -0.063828, 0.261112, 0.454839, 0.057838, 0.064929,
                ],
                &[
                    0.088982, -0.269431, 0.004811, 0.029058, 0.356073, 0.130393, 0.445388, -0.494643, -0.123457,
                    0.093547, 0.0, 0.0, 0.0, 0.0, -0.178414, 0.090021, 0.0, 0.0, 0.0, 0.0, -0.145385, 0.031987, 0.0,
                    0.0,
                ],
                &[
                    -0.054114, 0.091219, -0.288076, 0.032197, -0.011453, 0.034775, -0.051179, 0.09542, -0.103835,
                    0.092364, -0.055644, -0.022993, -0.077708, 0.059803, 0.032133, 0.242595, -0.05679, -0.080703,
                    -0.09527, 0.132271, 0.240771, 0.048633, -0.211327, -0.047644, 0.110633, -0.2881, -0.302961,
                    0.061008, 0.115873, 0.050208, -0.08611, -0.000115, 0.045756, 0.370821, 0.402403, 0.334236,
                ],
                &[
                    -0.086776, 0.3079, 0.110615, -0.000294, -0.14432, 0.034408, 0.40495, -0.324314, 0.558145,
                    -0.183237, 0.141611, -0.134458, 0.101865, -0.106439, 0.01452, -0.478149, 0.16599, -0.317323,
                    -0.071722, -0.390034, 0.070165, 0.032337, 0.190664, -0.385779, 0.017293, 0.665192, 0.049613,
                    0.698907, 0.051503, 0.131115, -0.196749, -0.082652, -0.160437, 0.529425, -0.505701, 0.267384,
                ],
                &[
                    -0.326285, -0.049356, 0.458718, 0.458718, -0.07338, -0.009098, -0.052794, -0.052794, -0.152755,
                    -0.263302, 0.479261, 0.479261, 0.112726, 0.240078, 0.015952, 0.015951,
                ],
            ],
        ),
        (
            "projected",
            [
                &[
                    0.001277, 0.000949, -0.290912, -0.246107, -0.059146, -0.043263, -0.171481, -0.130388, -0.212276,
                    0.218533, -0.244729, -0.221817, -0.066328, -0.053784, -0.20846, -0.191945, -0.123031, -0.062051,
                    -0.061262, -0.051554, -0.097806, -0.065426, -0.196045, -0.175013, -0.213785, -0.048053, -0.232118,
                    -0.189065,
                ],
                &[
                    -0.123031, -0.062051, -0.213785, -0.048053, -0.212276, 0.218533, -0.171481, -0.130388, -0.290912,
                    -0.246107, -0.244729, -0.221817,
                ],
                &[
                    -0.079675, -0.267072, -0.387799, 0.03963, -0.206822, -0.755793, -0.180048, 0.362789, -0.596856,
                    0.363955, 0.020964, 0.184507, 0.545406, -0.231014, 0.252274, 0.52178, -0.56612, 0.091151,
                ],
                &[
                    0.028601, 0.057764, -0.018086, -0.060951, 0.451668, -0.193372, 0.242182, -0.217618, -0.083077,
                    0.046153, 0.0, 0.0, 0.0, 0.0, -0.032382, -0.079784, 0.0, 0.0, 0.0, 0.0, -0.111961, 0.005738, 0.0,
                    0.0,
                ],
                &[
                    -0.006375, -0.006577, 0.039779, -0.038041, -0.084075, 0.243739, 0.195586, -0.075546, 0.00533,
                    -0.005961, 0.16193, -0.039006,
                ],
                &[
                    0.040015, -0.047416, 0.056372, 0.001229, 0.109988, -0.024123, 0.194279, -0.288204, 0.285737,
                    -0.556105, 0.206068, -0.037379, -0.041213, -0.00407, -0.000702, -0.295467, 0.113654, -0.117985,
                ],
                &[
                    -0.097379, -0.115837, 0.320209, 0.320209, 0.084857, -0.152235, -0.098278, 0.361887, 0.361887,
                    -0.531101,
                ],
            ],
        ),
    ];
    for ((name, net, layers, width), (same, [y, h, c, of_x, of_h, of_c, of_parameters])) in
        nets()?.into_iter().zip(cases)
    {
        assert_eq!(name, same);
        let parameters = net.fill()?;
        let x = leaf(&[4, 3, 2], 37)?;
        let first = [leaf(&[layers, 3, width], 5)?, leaf(&[layers, 3, 3], 9)?];
        let packed = pack_padded_sequence(&x, &[2, 4, 1], false, false)?;
        let (out, states) = net.packed(&packed, &first[0], &first[1])?;
        close(name, &out.data, y, 2e-5)?;
        assert_eq!((&out.batch_sizes, &out.sorted_indices), (&packed.batch_sizes, &packed.sorted_indices));
        let (padded, _) = pad_packed_sequence(&out, false, 0.0, None)?;
        let mut loss = (&padded * numbers(&padded.shape(), 3)?)?.sum()?;
        for (state, want) in states.iter().zip([h, c]) {
            close(name, state, want, 2e-5)?;
            loss = (loss + (state * numbers(&state.shape(), 11)?)?.sum()?)?;
        }
        loss.backward()?;
        close(&format!("{name}: input"), &grad(&x), of_x, 2e-5)?;
        for ((state, want), _) in first.iter().zip([of_h, of_c]).zip(&states) {
            close(&format!("{name}: states"), &grad(state), want, 2e-5)?;
        }
        let sums: Vec<Tensor> =
            parameters.iter().map(|p| (grad(&p.tensor()) * numbers(&p.shape(), 13)?)?.sum()).collect::<Result<_>>()?;
        close(&format!("{name}: parameters"), &stack(&sums.iter().collect::<Vec<_>>(), 0)?, of_parameters, 2e-5)?;
    }
    Ok(())
}

#[test]
fn each_sequence_is_as_if_alone() -> Result<()> {
    let lengths = [2usize, 3, 1, 2];
    for (name, net, layers, width) in nets()? {
        let parameters = net.fill()?;
        let all: Vec<Tensor> = lengths.iter().map(|&n| leaf(&[n, 2], 5 + n)).collect::<Result<_>>()?;
        let first = [leaf(&[layers, 4, width], 5)?, leaf(&[layers, 4, 3], 9)?];
        let lstm = matches!(net, Net::Lstm(_));
        let mut found: Vec<Vec<Vec<f32>>> = Vec::new();
        for packs in [true, false] {
            let (outputs, states) = if packs {
                let (y, states) = net.packed(&pack_sequence(&all, false)?, &first[0], &first[1])?;
                (unpack_sequence(&y)?, states)
            } else {
                let mut outputs = Vec::new();
                let mut states = vec![Vec::new(); if lstm { 2 } else { 1 }];
                for (i, x) in all.iter().enumerate() {
                    let own = [first[0].select(1, i as isize)?, first[1].select(1, i as isize)?];
                    let (y, last) = net.alone(x, &own[0], &own[1])?;
                    outputs.push(y);
                    for (all, one) in states.iter_mut().zip(last) {
                        all.push(one);
                    }
                }
                let joined = states.iter().map(|s| stack(&s.iter().collect::<Vec<_>>(), 1));
                (outputs, joined.collect::<Result<Vec<_>>>()?)
            };
            let mut loss = Tensor::zeros([], ())?;
            for (i, t) in outputs.iter().chain(&states).enumerate() {
                loss = (loss + (t * numbers(&t.shape(), 3 + i)?)?.sum()?)?;
            }
            loss.backward()?;
            let given = all.iter().chain(&first[..if lstm { 2 } else { 1 }]).cloned();
            let given: Vec<Tensor> = given.chain(parameters.iter().map(Parameter::tensor)).collect();
            let results = outputs.iter().chain(&states).map(Tensor::detach).chain(given.iter().map(grad));
            found.push(results.map(|t| t.to_vec::<f32>()).collect::<Result<_>>()?);
            given.iter().try_for_each(|t| t.set_grad(None))?;
        }
        for (i, (packed, alone)) in found[0].iter().zip(&found[1]).enumerate() {
            assert_eq!(packed.len(), alone.len());
            for (a, b) in packed.iter().zip(alone) {
                assert!((a - b).abs() <= 2e-5 * b.abs().max(1.0), "{name}, {i}: {packed:?}, alone {alone:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn packed_input_of_half_numbers_and_with_dropout() -> Result<()> {
    let packed = pack_padded_sequence(&numbers(&[4, 3, 2], 37)?, &[2, 4, 1], false, false)?;
    let options = GRUOptions::default().num_layers(2).dropout(0.5);
    let gru = GRU::new(2, 3, options)?;
    for (i, p) in gru.parameters().iter().enumerate() {
        p.copy_from(&numbers(&p.shape(), 7 + i)?)?;
    }
    gru.eval();
    let (want, _) = gru.forward_packed(&packed, None)?;
    let want = want.data.detach().to_vec::<f32>()?;
    {
        let _half = autocast(DType::F16)?;
        let (y, h) = gru.forward_packed(&packed, None)?;
        assert_eq!((y.data.dtype(), h.dtype()), (DType::F16, DType::F16));
        close("autocast", &y.data, &want, 5e-3)?;
        let lstm = LSTM::new(2, 3, LSTMOptions::default().bidirectional(true))?;
        let (all, (h, c)) = lstm.forward(&numbers(&[4, 3, 2], 37)?, None)?;
        let (packed, (own_h, own_c)) = lstm.forward_packed(&packed, None)?;
        let dtypes = [all, h, c].map(|t| t.dtype());
        assert_eq!([packed.data, own_h, own_c].map(|t| t.dtype()), dtypes);
    }
    // drops between layers in training
    gru.train();
    let (y, _) = gru.forward_packed(&packed, None)?;
    assert_ne!(y.data.detach().to_vec::<f32>()?, want);
    gru.eval();
    for dtype in [DType::F16, DType::BF16] {
        gru.to_dtype(dtype)?;
        let (y, h) = gru.forward_packed(&packed.to(dtype)?, None)?;
        assert_eq!((y.data.dtype(), h.dtype()), (dtype, dtype));
        close("half", &y.data, &want, if dtype == DType::F16 { 5e-3 } else { 4e-2 })?;
    }
    Ok(())
}

/// Batches of other lengths have kernels of the same structure.
#[test]
fn other_lengths_need_no_other_kernels() -> Result<()> {
    let device = calor::Device::open(&calor::gpu::AdapterChoice::from_env()?)?;
    let gru = GRU::new(2, 3, &device)?;
    let x = numbers(&[4, 3, 2], 37)?.to(&device)?;
    let mut plans = Vec::new();
    for lengths in [[4, 2, 1], [2, 4, 1], [1, 2, 4], [4, 1, 2]] {
        let packed = pack_padded_sequence(&x, &lengths, false, false)?;
        let (y, h) = gru.forward_packed(&packed, None)?;
        (y.data.sum()? + h.sum()?)?.backward()?;
        gru.parameters().iter().try_for_each(|p| p.grad().map_or(Ok(()), |g| g.read_bytes().map(drop)))?;
        gru.zero_grad();
        plans.push(device.counters().plans);
    }
    assert_eq!(plans[1], plans[3], "{plans:?}");
    Ok(())
}

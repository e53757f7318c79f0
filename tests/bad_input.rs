//! What is refused: a clear error that names the operation, never a panic.

use calor::data::{DataLoader, Dataset, Subset};
use calor::nn::functional::{self as f, Padding};
use calor::nn::{self, Layer, Module, StateDict};
use calor::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Sgd, SgdOptions};
use calor::{DType, Device, ErrorKind, HostData, Reduce, Result, Sections, Tensor, cat, einsum, stack};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Case<'a> = (&'a str, ErrorKind, &'a str, Box<dyn Fn() -> Result<()> + 'a>);

/// What is to be refused.
#[derive(Default)]
struct Cases<'a>(Vec<Case<'a>>);

/// A case: the operation the error names, its kind, a part of its text, and what is refused.
macro_rules! case {
    ($list:ident, $op:expr, $kind:ident, $text:expr, $call:expr) => {
        $list.0.push(($op, ErrorKind::$kind, $text, Box::new(|| $call.map(drop))));
    };
}

/// Checks all cases and names every one that is wrong.
fn check(Cases(cases): Cases) {
    let mut wrong = Vec::new();
    let count = cases.len();
    for (i, (op, kind, text, run)) in cases.into_iter().enumerate() {
        let case = format!("case {i}, {op} {kind:?} {text:?}");
        match catch_unwind(AssertUnwindSafe(run)) {
            Err(_) => wrong.push(format!("{case}: panicked")),
            Ok(Ok(())) => wrong.push(format!("{case}: was not refused")),
            Ok(Err(e)) if e.kind() == kind && e.op() == op && e.message().contains(text) => {}
            Ok(Err(e)) => wrong.push(format!("{case}: got {e:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

const HUGE: usize = usize::MAX;

#[test]
fn shapes_and_dimensions() -> Result<()> {
    let (t, v) = (Tensor::ones([2, 3], ())?, Tensor::ones([4], ())?);
    let (s, cube) = (Tensor::scalar(1.0, ())?, Tensor::ones([2, 3, 4], ())?);
    let mut c = Cases::default();
    case!(c, "add", Shape, "[2, 3] and [4] do not broadcast", t.add(&v));
    case!(c, "add", Shape, "do not broadcast", &t + &v);
    case!(c, "where", Shape, "broadcast", t.gt(0.0)?.where_(&t, &v));
    case!(c, "add_", Shape, "doesn't match the broadcast shape [5, 2, 3]", t.add_(&Tensor::ones([5, 1, 1], ())?));
    case!(c, "copy_", Shape, "[2, 3]", t.copy_(&v));
    case!(c, "lerp", Shape, "broadcast", t.lerp(&v, 0.5));
    case!(c, "sum", Dim, "dimension 2 is out of range", t.sum_dims(&[2], false));
    case!(c, "sum", Dim, "dimension -3 is out of range", t.sum_dims(&[-3], false));
    case!(c, "sum", Dim, "more than once", t.sum_dims(&[1, -1], false));
    case!(c, "softmax", Dim, "dimension 5", t.softmax(5));
    case!(c, "softmax", Dim, "out of range", t.softmax(isize::MIN));
    case!(c, "cumsum", Dim, "dimension -3", t.cumsum(-3));
    case!(c, "transpose", Dim, "dimension 2", t.transpose(0, 2));
    case!(c, "transpose", Dim, "dimension -9", t.transpose(-9, 0));
    case!(c, "permute", Dim, "1 dimensions named for a tensor of 2", t.permute(&[0]));
    case!(c, "permute", Dim, "more than once", t.permute(&[0, 0]));
    case!(c, "t", Dim, "at most 2 dimensions", cube.t());
    case!(c, "mT", Dim, "matrices", v.mT());
    case!(c, "unsqueeze", Dim, "dimension 3", t.unsqueeze(3));
    case!(c, "squeeze", Dim, "dimension 2", t.squeeze_dim(2));
    case!(c, "select", Index, "index 3 is out of range", t.select(1, 3));
    case!(c, "select", Index, "index -4 is out of range", t.select(1, -4));
    case!(c, "select", Dim, "without dimensions", s.select(0, 0));
    case!(c, "narrow", Index, "length 3", t.narrow(1, 1, 3));
    case!(c, "narrow", Index, "length", t.narrow(1, 1, HUGE));
    case!(c, "narrow", Index, "start 4", t.narrow(1, 4, 0));
    case!(c, "slice", Value, "step must be greater than zero", t.slice(0, None, None, 0));
    case!(c, "slice", Dim, "without dimensions", s.slice(0, None, None, 1));
    case!(c, "diagonal", Dim, "two dimensions", v.diagonal(0, 0, 1));
    case!(c, "diagonal", Dim, "must differ", t.diagonal(0, 1, -1));
    case!(c, "unfold", Shape, "window of 5 exceeds size 4", v.unfold(0, 5, 1));
    case!(c, "unfold", Value, "step must be positive", v.unfold(0, 2, 0));
    case!(c, "expand", Shape, "cannot expand", t.expand([3, 3]));
    case!(c, "expand", Shape, "fewer dimensions", t.expand([3]));
    case!(c, "repeat", Dim, "can not be smaller", t.repeat([2]));
    case!(c, "view", Shape, "invalid for 6 elements", t.view(&[4, 2]));
    case!(c, "view", Shape, "invalid for 6 elements", t.view(&[4, -1]));
    case!(c, "view", Shape, "only one size can be inferred", t.view(&[-1, -1]));
    case!(c, "view", Shape, "invalid size -2", t.view(&[-2, 3]));
    case!(c, "view", Shape, "use reshape", t.t()?.view(&[6]));
    case!(c, "view", Shape, "ambiguous", Tensor::zeros([0], ())?.view(&[0, -1]));
    case!(c, "reshape", Shape, "invalid for 6 elements", t.reshape([5]));
    case!(c, "flatten", Dim, "start 1 comes after end 0", t.flatten(1, 0));
    case!(c, "unflatten", Shape, "invalid for 3 elements", t.unflatten(1, &[2, -1]));
    case!(c, "movedim", Dim, "same number", t.movedim(&[0], &[0, 1]));
    case!(c, "as_strided", Index, "reach element 7 of a storage of 6", t.as_strided(&[2, 2], &[6, 1], 0));
    case!(c, "as_strided", Shape, "2 sizes but 1 strides", t.as_strided(&[2, 2], &[1], 0));
    case!(c, "split", Value, "split_size can only be 0", t.split(0, 0));
    case!(c, "split_with_sizes", Shape, "sum exactly to 3", t.split_with_sizes(&[1, 1], 1));
    case!(c, "chunk", Value, "greater than 0", t.chunk(0, 0));
    case!(c, "tensor_split", Value, "larger than 0", t.tensor_split(&Sections::Parts(0), 0));
    case!(c, "cat", Value, "non-empty list", cat(&[], 0));
    case!(c, "cat", Shape, "must match except in dimension 0", cat(&[&t, &cube.select(0, 0)?], 0));
    case!(c, "cat", Dim, "zero-dimensional", cat(&[&s, &s], 0));
    case!(c, "cat", Dim, "dimension 2", cat(&[&t, &t], 2));
    case!(c, "stack", Shape, "equal size", stack(&[&t, &v], 0));
    case!(c, "stack", Value, "non-empty list", stack(&[], 0));
    case!(c, "stack", Dim, "dimension 3", stack(&[&t, &t], 3));
    case!(c, "matmul", Shape, "inner sizes differ, [2, 3] x [2, 3]", t.matmul(&t));
    case!(c, "matmul", Shape, "at least one dimension", t.matmul(&s));
    case!(c, "matmul", Shape, "broadcast", cube.matmul(&Tensor::ones([3, 4, 2], ())?));
    case!(c, "mm", Dim, "2 dimensions, got shape [2, 3, 4]", t.mm(&cube));
    case!(c, "bmm", Dim, "3 dimensions, got shape [2, 3]", t.bmm(&t));
    case!(c, "einsum", Shape, "", einsum("ij,jk->ik", &[&t, &t]));
    case!(c, "einsum", Value, "", einsum("ij,jk->ik", &[&t]));
    case!(c, "item", Shape, "6 elements", t.item());
    case!(c, "item", Shape, "0 elements", Tensor::zeros([0], ())?.item());
    case!(c, "tril", Dim, "", v.tril(0));
    case!(c, "flip", Dim, "dimension 2", t.flip(&[2]));
    case!(c, "roll", Value, "must align", t.roll(&[1], &[0, 1]));
    case!(c, "size", Dim, "dimension 2", t.size(2));
    case!(c, "size", Dim, "without dimensions", s.size(0));
    case!(c, "topk", Index, "", t.topk(4, -1, true));
    case!(c, "topk", Dim, "dimension 2", t.topk(1, 2, true));
    case!(c, "argmax", Dim, "dimension 2", t.argmax(Some(2), false));
    case!(c, "pad", Shape, "", t.pad(&[-4, 0], calor::PadMode::Constant(0.0)));
    check(c);
    Ok(())
}

#[test]
fn sizes_beyond_what_can_be_addressed() -> Result<()> {
    let (t, one) = (Tensor::ones([2, 3], ())?, Tensor::ones([1], ())?);
    let flags = Tensor::ones([2], DType::I32)?;
    let image = Tensor::ones([1, 2, 3], ())?;
    let host = HostData { shape: vec![2], dtype: DType::F32, bytes: vec![0; 7] };
    let to = |size, factor| f::Resize { size, scale_factor: factor, ..f::Resize::default() };
    let mut c = Cases::default();
    let many = "more elements than can be addressed";
    case!(c, "full", OutOfMemory, many, Tensor::zeros([HUGE, 2], ()));
    case!(c, "full", OutOfMemory, many, Tensor::zeros([HUGE], ()));
    case!(c, "full", OutOfMemory, many, Tensor::ones([1 << 16, 1 << 16], DType::U8));
    case!(c, "full", OutOfMemory, many, Tensor::full([1 << 20, 1 << 20, 1 << 24], 1.0, ()));
    case!(c, "rand", OutOfMemory, many, Tensor::rand([HUGE, HUGE], ()));
    case!(c, "randn", OutOfMemory, many, Tensor::randn([HUGE, HUGE], ()));
    case!(c, "randint", OutOfMemory, many, Tensor::randint(0, 5, [1 << 40], ()));
    case!(c, "eye", OutOfMemory, many, Tensor::eye(HUGE, HUGE, ()));
    case!(c, "linspace", OutOfMemory, many, Tensor::linspace(0.0, 1.0, HUGE, ()));
    case!(c, "tril_indices", OutOfMemory, "addressed", Tensor::tril_indices(HUGE, HUGE, 0, ()));
    case!(c, "expand", OutOfMemory, many, one.expand([HUGE]));
    case!(c, "expand", OutOfMemory, many, one.expand([1 << 33, 1 << 33, 1]));
    case!(c, "repeat", OutOfMemory, many, t.repeat([HUGE, HUGE]));
    case!(c, "repeat", OutOfMemory, many, t.repeat([1 << 31, 1]));
    case!(c, "repeat", OutOfMemory, many, t.repeat([HUGE, 1]));
    case!(c, "repeat", OutOfMemory, many, t.tile([HUGE]));
    case!(c, "repeat_interleave", OutOfMemory, many, t.repeat_interleave(HUGE, Some(0)));
    case!(c, "reshape", OutOfMemory, many, t.reshape([HUGE]));
    case!(c, "reshape", OutOfMemory, many, t.reshape([HUGE, 2]));
    case!(c, "view", OutOfMemory, many, t.view(&[isize::MAX, 3]));
    case!(c, "as_strided", OutOfMemory, many, t.as_strided(&[HUGE, HUGE], &[0, 0], 0));
    case!(c, "as_strided", Index, "reach", t.as_strided(&[2], &[1], HUGE));
    case!(c, "as_strided", Index, "reach", t.as_strided(&[2], &[isize::MAX], 1));
    case!(c, "one_hot", OutOfMemory, many, flags.one_hot(Some(HUGE)));
    case!(c, "pad", OutOfMemory, many, t.pad(&[isize::MAX, isize::MAX], calor::PadMode::Constant(0.0)));
    case!(c, "pad", OutOfMemory, many, image.pad(&[isize::MAX, isize::MAX], calor::PadMode::Replicate));
    case!(c, "pad", Shape, "too large", image.pad(&[isize::MIN, isize::MAX], calor::PadMode::Replicate));
    case!(c, "pad", Shape, "", image.pad(&[isize::MAX, 0], calor::PadMode::Reflect));
    case!(c, "pad", Shape, "", image.pad(&[isize::MIN, isize::MIN], calor::PadMode::Constant(0.0)));
    case!(c, "matmul", OutOfMemory, many, one.expand([1 << 20, 1])?.matmul(&one.expand([1, 1 << 20])?));
    case!(c, "add", OutOfMemory, many, one.expand([1 << 20, 1])?.add(&one.expand([1, 1 << 20])?));
    case!(c, "interpolate", OutOfMemory, many, f::interpolate(&image, &to(Some(vec![HUGE]), None)));
    case!(c, "interpolate", OutOfMemory, many, f::interpolate(&image, &to(None, Some(vec![1e18]))));
    case!(c, "affine_grid", OutOfMemory, many, f::affine_grid(&image.reshape([1, 2, 3])?, &[1, 1, HUGE, 2], false));
    case!(c, "full", OutOfMemory, many, nn::LSTM::new(2, HUGE, ()));
    case!(c, "full", OutOfMemory, many, nn::LSTMCell::new(2, HUGE, ()));
    case!(c, "arange", Value, "step must be nonzero", Tensor::arange(0, 5, 0, ()));
    case!(c, "arange", Value, "unsupported range", Tensor::arange(0.0, 5.0, f64::NAN, ()));
    case!(c, "arange", Value, "unsupported range", Tensor::arange(f64::NEG_INFINITY, 5.0, 1.0, ()));
    case!(c, "arange", Value, "inconsistent", Tensor::arange(5, 0, 1, ()));
    case!(c, "arange", Value, "inconsistent", Tensor::arange(0, 5, -1, ()));
    case!(c, "arange", OutOfMemory, "more than can be addressed", Tensor::arange(0, i64::MAX, 1, ()));
    case!(c, "arange", OutOfMemory, "more than can be addressed", Tensor::arange(0.0, 1.0, 1e-300, ()));
    case!(c, "arange", DType, "bool", Tensor::arange(0, 2, 1, DType::Bool));
    case!(c, "tensor", OutOfMemory, many, Tensor::from_slice(&[1.0f32], [HUGE, 2], ()));
    case!(c, "tensor", Shape, "needs 24 bytes, got 20", Tensor::from_slice(&[1.0f32; 5], [2, 3], ()));
    case!(c, "tensor", Shape, "needs 0 bytes", Tensor::from_slice(&[1.0f32], [0], ()));
    case!(c, "tensor", Shape, "row 0 has shape [2], row 1 has [1]", Tensor::new(vec![vec![1, 2], vec![3]], ()));
    case!(c, "tensor", Shape, "needs 8 bytes, got 7", Tensor::from_host(host.clone(), &Device::best()?));
    // fits the addresses, not the adapter
    let facts = Device::best()?.facts().clone();
    let over = (facts.max_buffer_bytes / 4 + 1) as usize;
    let bound = facts.max_buffer_bytes < facts.max_binding_bytes * (u64::from(facts.max_bindings) - 1);
    let (op, text) = if bound { ("submit", "full") } else { ("full", "bindings") };
    case!(c, op, OutOfMemory, text, Tensor::zeros([over], ()).and_then(|t| t.eval()));
    check(c);
    assert_eq!(t.to_vec::<f32>()?, [1.0; 6], "the device goes on");
    Ok(())
}

#[test]
fn dtypes_and_values() -> Result<()> {
    let (t, int) = (Tensor::ones([2, 3], ())?, Tensor::ones([2, 3], DType::I32)?);
    let flag = Tensor::ones([2, 3], DType::Bool)?;
    let (byte, over) = (Tensor::zeros([3], DType::U8)?, "out of bounds for");
    let mut c = Cases::default();
    case!(c, "matmul", DType, "f32 and i32", t.matmul(&int.t()?));
    case!(c, "matmul", DType, "bool", flag.matmul(&flag.t()?));
    case!(c, "add_", DType, "f32 can't be cast to the desired output type i32", int.add_(0.5));
    case!(c, "mul_", DType, "can't be cast", flag.mul_(&int));
    case!(c, "sub", DType, "bool", flag.sub(&flag));
    case!(c, "neg", DType, "bool", flag.neg());
    case!(c, "bitwise_and", DType, "f32", t.bitwise_and(&t));
    case!(c, "masked_fill", DType, "f32", t.masked_fill(&t, 1.0));
    case!(c, "masked_fill", Value, "without overflow", int.masked_fill(&flag, 1e10));
    case!(c, "fill_", Value, "without overflow", int.fill_(f64::NAN));
    case!(c, "masked_fill", Dim, "0-dimensional", t.masked_fill(&flag, &t));
    case!(c, "fill_", Dim, "0-dimension", t.fill_(&t));
    case!(c, "to_vec", DType, "f32, asked for i32", t.to_vec::<i32>());
    case!(c, "mean", DType, "i32", int.mean());
    case!(c, "softmax", DType, "i32", int.softmax(0));
    case!(c, "requires_grad_", Autograd, "floating point", int.requires_grad_(true));
    case!(c, "rand", DType, "i32", Tensor::rand([2], DType::I32));
    case!(c, "randn", DType, "bool", Tensor::randn([2], DType::Bool));
    case!(c, "randint", Value, "high", Tensor::randint(5, 5, [2], ()));
    case!(c, "randint", Value, "high", Tensor::randint(5, -5, [2], ()));
    case!(c, "randint", Value, over, Tensor::randint(0, 300, [3], DType::U8));
    case!(c, "randint", Value, over, Tensor::randint(-3, 4, [3], DType::U8));
    case!(c, "randint", Value, over, Tensor::randint(0, 70_000, [3], DType::F16));
    case!(c, "random_", Value, over, byte.random_(0, 300));
    case!(c, "randperm", Value, over, Tensor::randperm(300, DType::U8));
    case!(c, "randperm", Value, "tell apart", Tensor::randperm(3000, DType::F16));
    case!(c, "uniform_", Value, over, t.uniform_(-3e38, 3e38));
    case!(c, "uniform_", Value, over, t.uniform_(0.0, 1e39));
    case!(c, "uniform_", Value, over, t.to_dtype(DType::F16)?.uniform_(0.0, 1e5));
    case!(c, "bernoulli", DType, "i32", int.bernoulli());
    case!(c, "dropout", Value, "between 0 and 1, but got -0.5", t.dropout(-0.5, true));
    case!(c, "dropout", Value, "between 0 and 1, but got NaN", t.dropout(f64::NAN, true));
    case!(c, "dropout", Value, "between 0 and 1, but got 1.5", f::dropout(&t, 1.5, false));
    case!(c, "Dropout", Value, "between 0 and 1, but got 2", nn::Dropout::new(2.0));
    case!(c, "bernoulli_", Value, "between 0 and 1, but got 1.5", t.bernoulli_(1.5));
    case!(c, "bernoulli_", Value, "between 0 and 1, but got -1", t.bernoulli_(-1.0));
    case!(c, "bernoulli_", Value, "between 0 and 1, but got NaN", t.bernoulli_(f64::NAN));
    case!(c, "uniform_", Value, "from=1", t.uniform_(1.0, 0.0));
    case!(c, "uniform_", Value, "NaN", t.uniform_(f64::NAN, 0.0));
    case!(c, "normal_", Value, "std", t.normal_(0.0, -1.0));
    case!(c, "normal_", Value, "std", t.normal_(0.0, f64::NAN));
    check(c);
    Ok(())
}

#[test]
fn indexing() -> Result<()> {
    let t = Tensor::ones([4, 3], ())?;
    let (index, float) = (Tensor::new([0, 1], ())?, Tensor::new([0.0f32, 1.0], ())?);
    let (wide, src) = (Tensor::new([[0, 1]], ())?, Tensor::ones([1, 2], ())?);
    let mut c = Cases::default();
    case!(c, "index_select", DType, "f32", t.index_select(0, &float));
    case!(c, "index_select", Dim, "dimension 2", t.index_select(2, &index));
    case!(c, "index_select", Shape, "vector, got shape [1, 2]", t.index_select(0, &wide));
    case!(c, "gather", DType, "f32", t.gather(0, &src));
    case!(c, "gather", Shape, "same number of dimensions", t.gather(0, &index));
    case!(c, "gather", Shape, "", t.gather(0, &Tensor::zeros([1, 4], DType::I32)?));
    case!(c, "scatter", DType, "f32", t.scatter(0, &src, &src));
    case!(c, "scatter", Shape, "", t.scatter(0, &Tensor::zeros([1, 4], DType::I32)?, &Tensor::ones([1, 4], ())?));
    case!(c, "scatter", Shape, "", t.scatter(0, &wide, &Tensor::ones([1, 1], ())?));
    case!(c, "scatter", DType, "i32", t.scatter(0, &wide, &wide));
    case!(c, "scatter_add", Dim, "dimension -3", t.scatter_add(-3, &wide, &src));
    case!(c, "scatter_reduce", DType, "f32", t.scatter_reduce(0, &src, &src, Reduce::Sum, true));
    case!(c, "index_add", Shape, "", t.index_add(0, &index, &Tensor::ones([2, 2], ())?, 1));
    case!(c, "index_add", DType, "i32", t.index_add(0, &index, &Tensor::ones([2, 3], DType::I32)?, 1));
    case!(c, "index_copy", Shape, "", t.index_copy(0, &index, &Tensor::ones([3, 3], ())?));
    case!(c, "index_fill", DType, "f32", t.index_fill(0, &float, 1.0));
    case!(
        c,
        "index_put",
        Index,
        "",
        t.index_put(&[Some(index.clone()), Some(index.clone()), Some(index.clone())], 1.0, false)
    );
    case!(c, "index_put", DType, "f32", t.index_put(&[Some(float.clone())], 1.0, false));
    case!(
        c,
        "index_put",
        Shape,
        "cannot expand [2, 4] to [2, 3]",
        t.index_put(&[Some(index.clone())], &Tensor::ones([2, 4], ())?, false)
    );
    case!(c, "take", DType, "f32", t.take(&float));
    case!(c, "masked_select", DType, "f32", t.masked_select(&t));
    case!(c, "masked_select", Shape, "broadcast", t.masked_select(&Tensor::ones([2], DType::Bool)?));
    case!(c, "embedding", DType, "f32", t.embedding(&float, None));
    case!(c, "embedding", Shape, "must be 2-D, got shape [2]", float.embedding(&index, None));
    case!(c, "embedding", Value, "padding_idx", t.embedding(&index, Some(4)));
    case!(c, "embedding", Value, "padding_idx", t.embedding(&index, Some(-5)));
    case!(c, "one_hot", DType, "f32", float.one_hot(None));
    case!(c, "one_hot", Value, "positive", index.one_hot(Some(0)));
    case!(c, "one_hot", Value, "non-negative", Tensor::new([-1], ())?.one_hot(None));
    case!(c, "one_hot", Value, "cannot infer", Tensor::zeros([0], DType::I32)?.one_hot(None));
    case!(c, "select", Index, "out of range", t.i(4));
    case!(c, "select", Index, "out of range", t.i((.., -4)));
    case!(c, "index", Index, "", t.i((0, 0, 0)));
    case!(c, "index", DType, "f32", t.i(&float));
    case!(c, "repeat_interleave", Value, "negative", t.repeat_interleave_by(&Tensor::new([-1], ())?, Some(0)));
    case!(c, "repeat_interleave", Shape, "same size", t.repeat_interleave_by(&index, Some(0)));
    check(c);
    assert_eq!(t.to_vec::<f32>()?, [1.0; 12]);
    Ok(())
}

#[test]
fn convolution_and_pooling() -> Result<()> {
    let (x, w) = (Tensor::ones([1, 4, 5, 5], ())?, Tensor::ones([6, 4, 3, 3], ())?);
    let bias = Tensor::ones([5], ())?;
    let conv = |w: &Tensor, stride: usize, pad: usize, dilation: usize, groups: usize| {
        f::conv(&x, w, None, (&[stride; 2], Padding::Sides(&[pad; 2]), &[dilation; 2]), groups)
    };
    let max = |k: usize, s: usize, p: usize| f::max_pool(&x, &nn::MaxPool2d::new(k).stride(s).padding(p));
    let places = Tensor::zeros([1, 4, 5, 5], DType::I32)?;
    let unpool = |pool, size| f::max_unpool(&x, &places, &pool, size);
    let drawn = |kernel, size| f::fractional_max_pool(&x, kernel, nn::FractionalOutput::Size(size), None);
    let columns = Tensor::ones([1, 4, 3], ())?;
    let mut c = Cases::default();
    case!(c, "conv2d", Shape, "smaller than the kernel's 9", conv(&w, 1, 0, 4, 1));
    case!(c, "conv2d", Value, "must be positive", conv(&w, 0, 0, 1, 1));
    case!(c, "conv2d", Value, "must be positive", conv(&w, 1, 0, 0, 1));
    case!(c, "conv2d", Value, "must be positive", conv(&Tensor::ones([6, 4, 0, 3], ())?, 1, 0, 1, 1));
    case!(c, "conv2d", Shape, "groups=3", conv(&w, 1, 0, 1, 3));
    case!(c, "conv2d", Shape, "groups=4", conv(&Tensor::ones([6, 1, 3, 3], ())?, 1, 0, 1, 4));
    case!(c, "conv2d", Shape, "groups=0", conv(&w, 1, 0, 1, 0));
    case!(c, "conv2d", Shape, "", conv(&w, 1, 0, 1, HUGE));
    case!(c, "conv2d", Shape, "smaller than the kernel", conv(&w, 1, 0, HUGE, 1));
    case!(c, "conv2d", OutOfMemory, "", conv(&w, 1, HUGE, 1, 1));
    case!(c, "conv2d", OutOfMemory, "", conv(&w, 1, HUGE / 4, 1, 1));
    case!(c, "conv2d", Shape, "weight of 4 dimensions", conv(&Tensor::ones([6, 4, 3], ())?, 1, 0, 1, 1));
    case!(c, "conv2d", DType, "f32, weight i32", conv(&w.to_dtype(DType::I32)?, 1, 0, 1, 1));
    case!(c, "conv2d", Shape, "bias to have 6", f::conv(&x, &w, Some(&bias), (&[1, 1], Padding::Valid, &[1, 1]), 1));
    case!(c, "conv2d", Value, "padding='same'", f::conv(&x, &w, None, (&[2, 2], Padding::Same, &[1, 1]), 1));
    case!(c, "conv2d", Shape, "", f::conv(&x, &w, None, (&[1, 1], Padding::Sides(&[1]), &[1, 1]), 1));
    case!(c, "conv2d", Shape, "3 or 4 dimensions", f::conv(&bias, &w, None, (&[1, 1], Padding::Valid, &[1, 1]), 1));
    case!(c, "conv", Shape, "", f::conv(&x, &w, None, (&[], Padding::Valid, &[]), 1));
    case!(c, "conv_transpose2d", Shape, "", f::conv_transpose(&x, &w, None, (&[1, 1], &[0, 0], &[0, 0], &[1, 1]), 1));
    case!(
        c,
        "Conv2d",
        Value,
        "3 groups do not divide 4",
        nn::Conv2d::new(4, 6, 3, nn::Conv2dOptions::default().groups(3))
    );
    case!(c, "Conv2d", Value, "0 groups", nn::Conv2d::new(4, 6, 3, nn::Conv2dOptions::default().groups(0)));
    case!(c, "max_pool", Shape, "smaller than the kernel's 6", max(6, 1, 0));
    case!(c, "max_pool", Value, "must not be zero, got 2, 0", max(2, 0, 0));
    case!(c, "max_pool", Value, "must not be zero, got 0", max(0, 1, 0));
    case!(c, "max_pool", Value, "at most half", max(2, 2, 2));
    case!(c, "max_pool", Value, "at most half", max(2, 2, HUGE));
    case!(c, "max_pool", Shape, "smaller than the kernel", max(HUGE, 1, 0));
    case!(c, "max_pool", Shape, "", f::max_pool(&x, &nn::MaxPool2d::new(2).dilation(HUGE)));
    case!(c, "max_pool", Shape, "3 or 4 dimensions", f::max_pool(&bias, &nn::MaxPool2d::new(2)));
    case!(c, "avg_pool", Value, "not zero", f::avg_pool(&x, &nn::AvgPool2d::new(2).divisor_override(0)));
    case!(c, "unfold", Shape, "smaller than the kernel", f::unfold(&x, &[6, 6], (&[1, 1], &[0, 0], &[1, 1])));
    case!(c, "unfold", Value, "positive", f::unfold(&x, &[2, 2], (&[0, 1], &[0, 0], &[1, 1])));
    case!(c, "unfold", Shape, "", f::unfold(&x, &[2, 2], (&[1], &[0], &[1])));
    case!(c, "fold", Shape, "sliding blocks", f::fold(&columns, &[4, 4], &[2, 2], (&[1, 1], &[0, 0], &[1, 1])));
    let steps: (&[usize], &[usize], &[usize]) = (&[1, 1], &[0, 0], &[1, 1]);
    case!(c, "fold", Shape, "", f::fold(&columns, &[4, 4], &[HUGE, HUGE], steps));
    case!(c, "fold", Shape, "", f::fold(&columns, &[HUGE, HUGE], &[2, 2], steps));
    case!(c, "avg_pool", Shape, "", f::lp_pool(&x, 2.0, &nn::AvgPool2d::new(HUGE)));
    case!(c, "adaptive_avg_pool", OutOfMemory, "", f::adaptive_avg_pool(&x, &[Some(HUGE), None]));
    case!(c, "adaptive_max_pool", OutOfMemory, "", f::adaptive_max_pool(&x, &[Some(HUGE), None]));
    case!(c, "pixel_shuffle", Shape, "divisible", x.pixel_shuffle(3));
    case!(c, "pixel_shuffle", Shape, "divisible", x.pixel_shuffle(HUGE));
    case!(c, "pixel_shuffle", Shape, "divisible", x.pixel_shuffle(0));
    case!(c, "flatten", Dim, "dimension 5 is out of range", Tensor::scalar(1, ())?.flatten(0, 5));
    case!(c, "pixel_unshuffle", Shape, "divisible", x.pixel_unshuffle(2));
    case!(c, "channel_shuffle", Shape, "divisible", x.channel_shuffle(3));
    case!(c, "full", OutOfMemory, "addressed", unpool(nn::MaxPool2d::new(HUGE), None));
    case!(c, "max_unpool", Shape, "is not within", unpool(nn::MaxPool2d::new(2).padding(HUGE), Some([HUGE; 2])));
    case!(c, "fractional_max_pool", Shape, "do not fit", drawn([HUGE; 2], [2; 2]));
    check(c);
    Ok(())
}

#[test]
fn layers_losses_and_state_dicts() -> Result<()> {
    let x = Tensor::ones([2, 3], ())?;
    let (layer, one) = (nn::Linear::new(3, 4, ())?, nn::BatchNorm1d::new(3, ())?);
    let wrong = Tensor::new([0], ())?;
    let before = layer.state_dict();
    let mut missing = StateDict::new();
    missing.insert("weight", Tensor::zeros([4, 3], ())?);
    let mut extra = before.clone();
    extra.insert("nonsense", x.clone());
    let mut shapes = before.clone();
    shapes.insert("weight", Tensor::zeros([3, 4], ())?);
    let (steps, labels) = (Tensor::ones([3, 2, 4], ())?, Tensor::new([1, 2], ())?);
    let ctc = |lengths: [usize; 2]| f::ctc_loss(&steps, &labels, [3, 3], lengths, f::CtcOptions::default());
    let mut c = Cases::default();
    case!(c, "matmul", Shape, "inner sizes differ, [2, 4]", layer.forward(&Tensor::ones([2, 4], ())?));
    case!(c, "batch_norm", Shape, "more than 1 value per channel", one.forward(&Tensor::ones([1, 3], ())?));
    case!(c, "BatchNorm1d", Shape, "expected 3 channels", one.forward(&Tensor::ones([3], ())?));
    case!(c, "BatchNorm1d", Shape, "[2, 5]", one.forward(&Tensor::ones([2, 5], ())?));
    case!(c, "layer_norm", Shape, "end with it", nn::LayerNorm::new([4], ())?.forward(&x));
    case!(c, "group_norm", Shape, "divisible by num_groups", f::group_norm(&x, 2, None, None, 1e-5));
    case!(c, "group_norm", Shape, "num_groups=0", f::group_norm(&x, 0, None, None, 1e-5));
    case!(
        c,
        "Embedding",
        Value,
        "padding_idx 7",
        nn::Embedding::new(5, 2, nn::EmbeddingOptions::default().padding_idx(Some(7)))
    );
    case!(c, "nll_loss", Shape, "", f::nll_loss(&x, &wrong, ()));
    case!(c, "nll_loss", DType, "", f::nll_loss(&x, &x.select(1, 0)?, ()));
    case!(c, "cross_entropy", Shape, "", f::cross_entropy(&x, &wrong, ()));
    case!(c, "ctc_loss", Shape, "expected 18446744073709551615 targets", ctc([HUGE, 3]));
    case!(c, "load_state_dict", Value, "bias", layer.load_state_dict(&missing, true));
    case!(c, "load_state_dict", Value, "nonsense", layer.load_state_dict(&extra, true));
    case!(c, "load_state_dict", Value, "[3, 4]", layer.load_state_dict(&shapes, true));
    case!(c, "load_state_dict", Value, "[3, 4]", layer.load_state_dict(&shapes, false));
    check(c);
    // what was refused changed nothing
    for (name, value) in before.iter() {
        let now = layer.state_dict();
        assert_eq!(now.get(name).expect(name).to_vec::<f32>()?, value.to_vec::<f32>()?);
        assert_eq!(value.version(), now.get(name).expect(name).version());
    }
    let loose = layer.load_state_dict(&missing, false)?;
    assert_eq!((&loose.missing[..], loose.unexpected.len()), (&["bias".to_string()][..], 0));
    let loose = layer.load_state_dict(&extra, false)?;
    assert_eq!((loose.missing.len(), &loose.unexpected[..]), (0, &["nonsense".to_string()][..]));
    Ok(())
}

/// An operation of one's own that speaks of what is not there.
#[test]
fn bodies_of_maps() -> Result<()> {
    use calor::graph::{Body, IndexOp, Map};
    let wrong: [fn(&mut Body) -> u16; 7] = [
        |b| b.input(1),
        |b| b.param(0),
        |b| b.value(3, DType::F32),
        |b| b.coord(2),
        |b| b.load(0, &[]),
        |b| b.load(0, &[7, 7]),
        |b| b.index(IndexOp::Add, 0, 0),
    ];
    let (x, row) = (Tensor::ones([2, 3], ())?, Tensor::ones([3], ())?);
    let run = |write: fn(&mut Body) -> u16, input: &Tensor| {
        let mut body = Body::new();
        write(&mut body);
        let map = std::sync::Arc::new(Map { name: "own".into(), body });
        Tensor::apply(map, x.device(), (&[2, 3], DType::F32), &[input], &[])?.to_vec::<f32>()
    };
    let mut c = Cases::default();
    for write in &wrong {
        case!(c, "own", Value, "that is not there", run(*write, &x));
    }
    case!(c, "own", Value, "that is not there", run(|b| b.input(0), &row));
    check(c);
    assert_eq!(run(|b| b.input(0), &x)?, [1.0; 6]);
    Ok(())
}

#[test]
fn optimizers_and_loaders() -> Result<()> {
    let p = || nn::Parameter::new(&Tensor::ones([2], ())?);
    let w = p()?;
    let mut c = Cases::default();
    for bad in &[-1.0, f64::NAN] {
        case!(c, "SGD", Value, "invalid learning rate", Sgd::new([p()?], SgdOptions::new(*bad)));
        case!(c, "SGD", Value, "invalid momentum", Sgd::new([p()?], SgdOptions::new(0.1).momentum(*bad)));
        case!(c, "SGD", Value, "invalid weight_decay", Sgd::new([p()?], SgdOptions::new(0.1).weight_decay(*bad)));
        case!(c, "Adam", Value, "invalid learning rate", Adam::new([p()?], AdamOptions::new(*bad)));
        case!(c, "Adam", Value, "invalid epsilon", Adam::new([p()?], AdamOptions::new(0.1).eps(*bad)));
        case!(c, "Adam", Value, "beta parameter at index 0", Adam::new([p()?], AdamOptions::new(0.1).betas(*bad, 0.9)));
        case!(c, "AdamW", Value, "invalid weight_decay", AdamW::new([p()?], AdamWOptions::new(0.1).weight_decay(*bad)));
    }
    case!(c, "Adam", Value, "beta parameter at index 1: 1", Adam::new([p()?], AdamOptions::new(0.1).betas(0.9, 1.0)));
    case!(c, "SGD", Value, "Nesterov", Sgd::new([p()?], SgdOptions::new(0.1).nesterov(true)));
    case!(c, "SGD", Value, "more than one parameter group", Sgd::new([w.clone(), w.clone()], SgdOptions::new(0.1)));
    case!(c, "DataLoader", Value, "batch_size must be positive", DataLoader::new(vec![1], Ok).batch_size(0).iter());
    case!(c, "dataset", Index, "index 3 is out of range for 2 items", Dataset::get(&vec![1, 2], 3));
    case!(c, "subset", Index, "index 1 is out of range", Subset::new(vec![1, 2], vec![0]).get(1));
    check(c);
    assert_eq!(DataLoader::new(vec![1, 2], Ok).batch_size(0).drop_last(true).len(), 2);
    assert_eq!(DataLoader::new(vec![1, 2], Ok).batch_size(HUGE).iter()?.count(), 1);
    assert_eq!(DataLoader::new(vec![1, 2, 3], Ok).batch_size(2).prefetch(HUGE).workers(1).iter()?.count(), 2);
    // a subset of what is not there fails at its item, not before
    let loader = DataLoader::new(Subset::new(vec![1, 2], vec![0, 9]), Ok);
    let items: Vec<_> = loader.iter()?.collect();
    assert!(items[0].is_ok());
    assert_eq!(items[1].as_ref().expect_err("no item 9").kind(), ErrorKind::Index);
    Ok(())
}

#[test]
fn adapters_that_are_not_there() {
    use calor::gpu::AdapterChoice;
    let named = |adapter: &str| AdapterChoice { adapter: Some(adapter.into()), ..AdapterChoice::default() };
    let backend = |backend: &str| AdapterChoice { backend: Some(backend.into()), ..AdapterChoice::default() };
    let limit = |name: &str, n: u64| AdapterChoice { limits: vec![(name.into(), n)], ..AdapterChoice::default() };
    let off = |name: &str| AdapterChoice { disable: vec![name.into()], ..AdapterChoice::default() };
    let mut c = Cases::default();
    case!(c, "open", NoAdapter, "no such thing", Device::open(&named("no such thing")));
    case!(c, "open", NoAdapter, "999", Device::open(&named("999")));
    case!(c, "open", NoAdapter, "-1", Device::open(&named("-1")));
    case!(c, "CALOR_BACKEND", Value, "`cuda` is not one of vulkan", Device::open(&backend("cuda")));
    case!(c, "CALOR_BACKEND", Value, "`` is not one of vulkan", Device::open(&backend("")));
    case!(c, "open", NoAdapter, "metal", Device::open(&backend("metal")));
    case!(c, "CALOR_DISABLE", Value, "`wings` is not one of", Device::open(&off("wings")));
    case!(c, "CALOR_LIMIT_BINDINGS", Value, "1 is below 2", Device::open(&limit("bindings", 1)));
    case!(c, "CALOR_LIMIT_INVOCATIONS", Value, "63 is below 64", Device::open(&limit("invocations", 63)));
    case!(c, "CALOR_LIMIT_SPEED", Value, "no such limit", Device::open(&limit("speed", 3)));
    check(c);
}

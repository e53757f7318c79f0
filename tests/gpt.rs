//! The same GPT from the same weights on the same letters takes PyTorch's course (`tests/torch/gpt.py`).

use calor::io::load_pt;
use calor::nn::functional::{AttentionOptions, cross_entropy, scaled_dot_product_attention};
use calor::nn::{Embedding, GELU, Layer, LayerNorm, Linear, LinearOptions, Module, utils::clip_grad_norm_};
use calor::optim::{AdamW, AdamWOptions, Optimizer};
use calor::{Device, Result, Tensor, stack};
use std::path::Path;

const WIDTH: usize = 32;
const HEADS: usize = 2;
const CONTEXT: usize = 32;
const BATCH: usize = 8;

#[derive(Module)]
struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new() -> Result<Self> {
        Ok(Self {
            norm1: LayerNorm::new([WIDTH], ())?,
            norm2: LayerNorm::new([WIDTH], ())?,
            qkv: Linear::new(WIDTH, 3 * WIDTH, ())?,
            out: Linear::new(WIDTH, WIDTH, ())?,
            up: Linear::new(WIDTH, 4 * WIDTH, ())?,
            down: Linear::new(4 * WIDTH, WIDTH, ())?,
        })
    }
}

impl Layer for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, length, width) = (x.size(0)?, x.size(1)?, x.size(2)?);
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let qkv = qkv.reshape([n, length, 3, HEADS, width / HEADS])?.permute(&[2, 0, 3, 1, 4])?;
        let causal = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
        let seen = scaled_dot_product_attention(&qkv.select(0, 0)?, &qkv.select(0, 1)?, &qkv.select(0, 2)?, &causal)?;
        let x = (x + self.out.forward(&seen.transpose(1, 2)?.reshape([n, length, width])?)?)?;
        &x + self.down.forward(&GELU::default().forward(&self.up.forward(&self.norm2.forward(&x)?)?)?)?
    }
}

#[derive(Module)]
struct Gpt {
    letters: Embedding,
    places: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(letters: usize) -> Result<Self> {
        Ok(Self {
            letters: Embedding::new(letters, WIDTH, ())?,
            places: Embedding::new(CONTEXT, WIDTH, ())?,
            blocks: vec![Block::new()?, Block::new()?],
            norm: LayerNorm::new([WIDTH], ())?,
            head: Linear::new(WIDTH, letters, LinearOptions::default().bias(false))?,
        })
    }
}

impl Layer for Gpt {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let places = Tensor::arange(0, x.size(1)? as i64, 1, x.device())?;
        let x = (self.letters.forward(x)? + self.places.forward(&places)?)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        self.head.forward(&self.norm.forward(&x)?)
    }
}

#[test]
fn a_hundred_steps_take_the_course_of_pytorch() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let device = Device::best()?;
    let saved = load_pt(folder.join("tests/files/gpt.pt"), &device)?;
    let theirs = saved.require("losses")?.as_tensor().expect("a tensor").to_vec::<f32>()?;
    let text = std::fs::read_to_string(folder.join("examples/data/coriolanus.txt"))?;
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    let numbers: Vec<i32> = text.chars().map(|c| letters.binary_search(&c).expect("a letter") as i32).collect();

    let model = Gpt::new(letters.len())?;
    model.load_state_dict(&saved.require("model")?.state_dict()?, true)?;
    let mut adam = AdamW::new(model.parameters(), AdamWOptions::new(3e-3).betas(0.9, 0.95).weight_decay(0.1))?;
    let mut losses = Vec::new();
    for step in 0..theirs.len() {
        let start = |row: usize| (step * BATCH + row) * 7919 % (numbers.len() - CONTEXT - 1);
        let pieces: Vec<i32> = (0..BATCH).flat_map(|r| &numbers[start(r)..=start(r) + CONTEXT]).copied().collect();
        let pieces = Tensor::from_slice(&pieces, [BATCH, CONTEXT + 1], &device)?;
        let (x, y) = (pieces.narrow(1, 0, CONTEXT)?, pieces.narrow(1, 1, CONTEXT)?);
        adam.zero_grad();
        let loss = cross_entropy(&model.forward(&x)?.flatten(0, 1)?, &y.reshape([BATCH * CONTEXT])?, ())?;
        loss.backward()?;
        clip_grad_norm_(&model.parameters(), 1.0, 2.0, false)?;
        adam.step()?;
        losses.push(loss.detach());
    }
    let ours = stack(&losses.iter().collect::<Vec<_>>(), 0)?.to_vec::<f32>()?;
    assert_eq!(ours.len(), 100);
    let off: Vec<f32> = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b).collect();
    let worst = (0..off.len()).max_by(|&a, &b| off[a].total_cmp(&off[b])).expect("steps");
    println!(
        "loss from {:.4} to {:.4}, PyTorch's to {:.4}; largest relative difference {:.1e}, at step {worst}",
        ours[0], ours[99], theirs[99], off[worst]
    );
    assert!(theirs[99] < 0.8 * theirs[0], "it learns");
    assert!(off[worst] <= 1e-3, "step {worst}: {}, PyTorch's {}", ours[worst], theirs[worst]);
    Ok(())
}

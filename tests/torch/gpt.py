"""Trains the GPT of tests/gpt.rs in PyTorch and writes its first weights and losses to tests/files/gpt.pt; run by hand:

    python tests/torch/gpt.py tests/files/gpt.pt

`cargo test --test gpt` starts from the same weights, sees the same letters and compares the loss of each step.
"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, CONTEXT, BATCH, STEPS = 32, 2, 32, 8, 100


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(n, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters, bias=False)

    def forward(self, x):
        x = self.letters(x) + self.places(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


text = open("examples/data/coriolanus.txt", encoding="utf-8").read()
letters = sorted(set(text))
numbers = torch.tensor([letters.index(c) for c in text])
torch.manual_seed(0)
model = Gpt(len(letters))
first = {k: v.clone() for k, v in model.state_dict().items()}
adam = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
losses = []
for step in range(STEPS):
    # places that either side can name
    starts = [(step * BATCH + row) * 7919 % (len(numbers) - CONTEXT - 1) for row in range(BATCH)]
    pieces = torch.stack([numbers[s:s + CONTEXT + 1] for s in starts])
    adam.zero_grad()
    loss = F.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    losses.append(loss.item())
torch.save({"model": first, "losses": torch.tensor(losses)}, sys.argv[1])
print(f"{len(losses)} steps, loss from {losses[0]:.4f} to {losses[-1]:.4f}")

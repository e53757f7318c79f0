"""Makes examples/data/digits_cnn.pt, which the example `finetune` starts from; run by hand with PyTorch at hand:

    python tests/torch/finetune.py

A small convolutional network that has learned to read the digits of examples/data/digits.
"""
import gzip

import numpy
import torch
from torch import nn

torch.manual_seed(0)


def read(part, what, head):
    with gzip.open(f"examples/data/digits/{part}-{what}-ubyte.gz") as f:
        return numpy.frombuffer(f.read(), numpy.uint8)[head:]


def digits(part):
    x = torch.tensor(read(part, "images-idx3", 16).reshape(-1, 1, 8, 8).astype("float32")) / 255
    y = torch.tensor(read(part, "labels-idx1", 8).astype("int64"))
    return x, y


net = nn.ModuleDict({
    "features": nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    "hidden": nn.Linear(128, 64),
    "head": nn.Linear(64, 10),
})


def forward(x):
    return net["head"](net["hidden"](net["features"](x)).relu())


x, y = digits("train")
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(30):
    for chosen in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(forward(x[chosen]), y[chosen]).backward()
        optimizer.step()
x, y = digits("t10k")
print("test accuracy", (forward(x).argmax(1) == y).float().mean().item())
torch.save({"model": net.state_dict(), "digits": list(range(10))}, "examples/data/digits_cnn.pt")

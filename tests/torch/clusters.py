"""The values that tests/clusters.rs expects of PyTorch; run by hand: python tests/torch/clusters.py"""
import torch
from torch import nn
def numbers(*shape, step=37):
    n = torch.Size(shape).numel()
    return (((torch.arange(n, dtype=torch.float64) * step) % 23 - 11) / 16).float().reshape(shape)
def show(name, t):
    print(name, [round(v, 6) for v in t.detach().flatten().tolist()])
def make(bias):
    m = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=bias)
    for i, p in enumerate(m.parameters()): p.data = numbers(*p.shape, step=7 + i)
    return m
for bias in (False, True):
    m = make(bias)
    x = numbers(5, 8).mul(4).requires_grad_()
    t = torch.tensor([2, 3, 11, 6, 0])
    y, loss = m(x, t)
    show("output", y); show("loss", loss)
    loss.backward()
    print([round((p.grad * numbers(*p.shape, step=13)).sum().item(), 6) for p in m.parameters()])
    show("x", (x.grad * numbers(5, 8, step=13)).sum(1))
    show("log_prob", m.log_prob(x)[1]); print(m.predict(x).tolist(), [n for n, p in m.named_parameters()])
    print(m(x[1], t[1]))
print([tuple(p.shape) for p in nn.AdaptiveLogSoftmaxWithLoss(10, 20, [3,5,9], div_value=3.0).parameters()])

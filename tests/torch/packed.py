"""The values that tests/packed.rs expects of PyTorch; run by hand: python tests/torch/packed.py"""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def show(name, t):
    print(name, [round(v, 6) for v in t.detach().flatten().tolist()])


def numbers(*shape, step=37):
    n = torch.Size(shape).numel()
    return (((torch.arange(n, dtype=torch.float64) * step) % 23 - 11) / 16).float().reshape(shape)


x = numbers(4, 3, 2).requires_grad_()
packed = pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
show("data", packed.data)
print(packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
packed = pack_padded_sequence(x.transpose(0, 1), [4, 3, 3], batch_first=True)
show("data", packed.data)
print(packed.batch_sizes)

lengths = [2, 4, 1]
for name, net in (
    ("RNN", nn.RNN(2, 3, num_layers=2, nonlinearity="relu")),
    ("GRU", nn.GRU(2, 3, bidirectional=True)),
    ("LSTM", nn.LSTM(2, 3, num_layers=2, bidirectional=True)),
    ("projected", nn.LSTM(2, 3, proj_size=2, bidirectional=True)),
):
    for i, p in enumerate(net.parameters()):
        p.data = numbers(*p.shape, step=7 + i)
    x = numbers(4, 3, 2).requires_grad_()
    layers = net.num_layers * (2 if net.bidirectional else 1)
    h = numbers(layers, 3, net.proj_size or 3, step=5).requires_grad_()
    c = numbers(layers, 3, 3, step=9).requires_grad_()
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, state = net(packed, (h, c) if isinstance(net, nn.LSTM) else h)
    states = state if isinstance(net, nn.LSTM) else (state,)
    print(name)
    show("y", y.data)
    padded, _ = pad_packed_sequence(y)
    loss = (padded * numbers(*padded.shape, step=3)).sum()
    for what, s in zip("hc", states):
        show(what, s)
        loss = loss + (s * numbers(*s.shape, step=11)).sum()
    loss.backward()
    show("x.grad", x.grad)
    show("h.grad", h.grad)
    if isinstance(net, nn.LSTM):
        show("c.grad", c.grad)
    for i, p in enumerate(net.parameters()):
        print(i, round((p.grad * numbers(*p.shape, step=13)).sum().item(), 6), end=", ")
    print()

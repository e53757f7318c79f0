"""The values that tests/nn_utils.rs expects of PyTorch; run by hand: python tests/torch/utils.py"""
import torch
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


def show(name, t):
    print(name, [round(v, 6) for v in t.detach().flatten().tolist()])


def numbers(*shape):
    n = torch.Size(shape).numel()
    return (((torch.arange(n, dtype=torch.float64) * 37) % 23 - 11) / 8).float().reshape(shape)


for norm_type in (1.0, 2.0, 3.0, float("inf")):
    a, b = torch.nn.Parameter(numbers(2, 3)), torch.nn.Parameter(numbers(5))
    (a.square().sum() + (b**3).sum()).backward()
    print(norm_type, round(clip_grad_norm_([a, b], 1.5, norm_type).item(), 5))
    show("a", a.grad)
    show("b", b.grad)

x = numbers(4, 3)
for dim in (0, 1, None):
    layer = torch.nn.Linear(3, 2)
    layer.weight.data, layer.bias.data = numbers(2, 3), numbers(2)
    layer = weight_norm(layer, dim=dim)
    layer(x).square().sum().backward()
    print("weight_norm", dim)
    show("g", layer.parametrizations.weight.original0.grad)
    show("v", layer.parametrizations.weight.original1.grad)

for dim in (0, 1):
    layer = torch.nn.Linear(3, 2)
    layer.weight.data, layer.bias.data = numbers(2, 3), numbers(2)
    layer = spectral_norm(layer, dim=dim)
    rule = layer.parametrizations.weight[0]
    n = (2, 3) if dim == 0 else (3, 2)
    rule._u, rule._v = torch.ones(n[0]) / n[0] ** 0.5, torch.ones(n[1]) / n[1] ** 0.5
    y = layer(x)
    y.square().sum().backward()
    print("spectral_norm", dim)
    show("y", y)
    show("w", layer.parametrizations.weight.original.grad)
    show("u", rule._u)
    show("v", rule._v)

a, b = torch.nn.Parameter(numbers(2, 3)), torch.nn.Parameter(numbers(5))
(a.square().sum() + (b**3).sum()).backward()
clip_grads_with_norm_([a, b], 1.5, torch.tensor(4.0))
show("a", a.grad)
show("b", b.grad)


def norm(n, **options):
    bn = torch.nn.BatchNorm2d(n, **options) if n == 4 else torch.nn.BatchNorm1d(n, **options)
    bn.running_mean, bn.running_var = numbers(n), numbers(n).square() + 0.5
    if bn.affine:
        bn.weight.data, bn.bias.data = numbers(n) + 0.25, numbers(n) - 0.5
    return bn.eval()


for bias in (True, False):
    conv = torch.nn.Conv2d(2, 4, (1, 2), groups=2, bias=bias).eval()
    conv.weight.data = numbers(4, 1, 1, 2)
    if bias:
        conv.bias.data = numbers(4)
    fused = fuse_conv_bn_eval(conv, norm(4, affine=bias, eps=0.125))
    show("conv", fused.weight)
    show("bias", fused.bias)
    up = torch.nn.ConvTranspose2d(2, 4, (1, 2), bias=bias).eval()
    up.weight.data = numbers(2, 4, 1, 2)
    fused = fuse_conv_bn_eval(up, norm(4), transpose=True)
    show("transposed", fused.weight)
linear = torch.nn.Linear(3, 2).eval()
linear.weight.data, linear.bias.data = numbers(2, 3), numbers(2)
for n in (2, 1):
    fused = fuse_linear_bn_eval(linear, norm(n))
    show("linear", fused.weight)
    show("bias", fused.bias)

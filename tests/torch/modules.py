"""Writes another corpus of modules, optimizers and schedulers in the format of ../shared/conformance.

    python tests/torch/modules.py OUT [--seed 1] [--cases 12] [--only REGEX]
    CALOR_CORPUS=OUT cargo test --all-features --test conformance

Cases come from PyTorch's own tables (`module_db`, `optim_db`: their samples and their refusals) and from settings drawn here. What
depends on chance, or differs from a run in f64, is left out."""

import argparse
import copy
import inspect
import json
import math
import pathlib
import random
import re

import numpy as np
import torch
from corpus import NAMES, Skip, Writer, flat, tree
from safetensors.torch import save_file
from torch import nn
from torch.optim import lr_scheduler
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
from torch.testing._internal.common_optimizers import optim_db


# losses that PyTorch differentiates by their first argument alone
FIXED_TARGETS = (nn.SoftMarginLoss, nn.MultiLabelSoftMarginLoss)
# what PyTorch's own gradcheck refuses: the backward sums other windows than the forward
WRONG_GRADIENTS = (nn.CrossMapLRN2d,)


class Sub:
    """A module that is an argument of another one."""

    def __init__(self, cls, *args, **kwargs):
        self.cls, self.args, self.kwargs = cls, args, kwargs

    def make(self):
        return self.cls(*self.args, **self.kwargs)


def brief(v):
    if isinstance(v, torch.Tensor):
        return f"{NAMES.get(v.dtype, v.dtype)}{list(v.shape)}".replace(" ", "")
    if isinstance(v, Sub):
        return v.cls.__name__
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(map(brief, v)) + "]"
    return repr(v)


def call(args, kwargs):
    return "(" + ", ".join([brief(a) for a in args] + [f"{k}={brief(v)}" for k, v in kwargs.items()]) + ")"


def about(error):
    message = str(error).strip().split("\n")[0]
    part = max(re.split(r"[\d\[\]()'\",]+", message), key=len).strip() or message
    return {"type": type(error).__name__, "message_contains": part, "message": message}


class ModuleWriter(Writer):
    def __init__(self, cls):
        super().__init__({"module": f"nn.{cls.__name__}", "signature": f"{cls.__name__}{inspect.signature(cls)}"})
        self.cls = cls

    def value(self, v, case, inputs):
        if isinstance(v, Sub):
            init = {k: self.value(x, case, inputs) for k, x in v.kwargs.items()}
            return {"module": f"nn.{v.cls.__name__}", "args": [self.value(x, case, inputs) for x in v.args], "kwargs": init}
        return super().value(v, case, inputs)

    def module(self, init):
        made = lambda v: v.make() if isinstance(v, Sub) else v
        return self.cls(*map(made, init[0]), **{k: made(v) for k, v in init[1].items()})

    def add(self, init, forward, origin, dtype, training, error=None):
        case = f"c{len(self.cases)}"
        self.pending, constants, inputs = {}, [], []
        told = {
            "args": [self.value(v, case, constants) for v in init[0]],
            "kwargs": {k: self.value(v, case, constants) for k, v in init[1].items()},
        }
        text = json.dumps(told)
        for key in [k for k in self.pending]:
            name = key.replace(".in", ".init")
            text = text.replace(f'"{key}"', f'"{name}"')
            self.pending[name] = self.pending.pop(key)
        told = json.loads(text)
        args = [self.value(v, case, inputs) for v in forward[0]]
        kwargs = {k: self.value(v, case, inputs) for k, v in forward[1].items()}
        row = {"name": case, "desc": f"{self.cls.__name__}{call(*init)}{call(*forward)}", "origin": origin, "dtype": dtype,
               "training": training, "init": told}
        if error is not None:
            on, why = error
            row |= {"state_dict": {}, "args": args, "kwargs": kwargs, "outputs": [], "rtol": 0.0, "atol": 0.0,
                    "buffers_after": {}, "grads": None, "error": {"on": on, **about(why)}}
        else:
            row |= self.outcome(case, init, forward, inputs, training, args, kwargs)
        self.cases.append(row)
        self.tensors |= self.pending

    def outcome(self, case, init, forward, inputs, training, args, kwargs):
        module = self.module(init)
        kind = next((t.dtype for t, _ in inputs if t.is_floating_point()), torch.float32)
        module = module.to(kind).train(training)
        with torch.no_grad():
            for name, p in module.named_parameters():
                if p.dim() == 1:
                    p.add_(torch.randn_like(p) * 0.2)
            for name, b in module.named_buffers():
                if b.is_floating_point() and "running" in name:
                    b.copy_(torch.rand_like(b) + 0.5)
        before = {k: v.detach().clone() for k, v in module.state_dict().items()}
        wide = copy.deepcopy(module).double()
        second = copy.deepcopy(module)

        fixed = self.cls in FIXED_TARGETS

        def run(module, convert):
            leaves = {}

            def leaf(t):
                if id(t) not in leaves:
                    c = convert(t.detach().clone())
                    wanted = c.is_floating_point() and not (fixed and leaves) and self.cls not in WRONG_GRADIENTS
                    leaves[id(t)] = c.requires_grad_(True) if wanted else c
                return leaves[id(t)]

            out = module(*tree(leaf, list(forward[0])), **tree(leaf, forward[1]))
            return flat(out), leaves

        to_wide = lambda t: t.double() if t.is_floating_point() else t
        torch.manual_seed(1)
        outputs, leaves = run(module, lambda t: t)
        torch.manual_seed(2)
        others, _ = run(second, lambda t: t)
        same = lambda a, b: a is b or isinstance(a, torch.Tensor) and torch.equal(a.nan_to_num(3), b.nan_to_num(3))
        if not all(map(same, outputs, others)):
            raise Skip("depends on chance")
        exact, wide_leaves = run(wide, to_wide)
        used = [kind]
        told, rtol, atol = [], 0.0, 0.0
        for i, (got, best) in enumerate(zip(outputs, exact)):
            if got is None:
                told.append(None)
                continue
            if not isinstance(got, torch.Tensor) or got.dtype not in NAMES or got.numel() > 20000:
                raise Skip("an output")
            if got.is_floating_point() and got.numel():
                r, a = self.band(got, best, used)
                rtol, atol = max(rtol, r), max(atol, a)
            self.pending[f"{case}.out{i}"] = got.detach().contiguous().clone()
            told.append({"tensor": f"{case}.out{i}"})
        state, after = {}, {}
        for name, v in before.items():
            state[name] = f"{case}.state.{name}"
            self.pending[state[name]] = v.contiguous()
        for name, v in module.state_dict().items():
            if not torch.equal(v, before[name]):
                after[name] = f"{case}.after.{name}"
                self.pending[after[name]] = v.detach().contiguous().clone()
        heads = [isinstance(o, torch.Tensor) and o.requires_grad for o in outputs]
        grads = None
        if any(heads):
            grads = self.backward(case, module, wide, inputs, used, heads, (outputs, leaves), (exact, wide_leaves))
        return {"state_dict": state, "args": args, "kwargs": kwargs, "outputs": told, "rtol": rtol, "atol": atol,
                "buffers_after": after, "grads": grads, "error": None}

    def backward(self, case, module, wide, inputs, used, heads, own, best):
        torch.manual_seed(len(self.cases))
        seeds = [torch.randn(o.shape, dtype=torch.float64) if h else None for o, h in zip(own[0], heads)]
        floats = [(t, told["tensor"]) for t, told in inputs if own[1][id(t)].requires_grad]

        def pull(outputs, leaves, module):
            outs = [o for o, h in zip(outputs, heads) if h]
            sds = [s.to(o.dtype) for o, s in zip(outs, [s for s in seeds if s is not None])]
            wanted = [leaves[id(t)] for t, _ in floats] + list(module.parameters())
            return torch.autograd.grad(outs, wanted, sds, allow_unused=True)

        got, want = pull(*own, module), pull(*best, wide)
        names = [k.replace(".in", ".gin") for _, k in floats] + [f"{case}.gparam.{n}" for n, _ in module.named_parameters()]
        rtol = atol = 0.0
        keys = []
        for name, g, b in zip(names, got, want):
            keys.append(None if g is None else name)
            if g is None:
                continue
            if g.numel():
                if not g.isfinite().all():
                    return None
                r, a = self.band(g, b, used)
                rtol, atol = max(rtol, r), max(atol, a)
            self.pending[name] = g.detach().contiguous().clone()
        cotangents = []
        for i, (o, s) in enumerate(zip(own[0], seeds)):
            cotangents.append(None if s is None else f"{case}.gout{i}")
            if s is not None:
                self.pending[f"{case}.gout{i}"] = s.to(o.dtype)
        params = dict(zip([n for n, _ in module.named_parameters()], keys[len(floats):]))
        return {"cotangents": cotangents, "inputs": dict(zip([k for _, k in floats], keys)), "params": params,
                "rtol": rtol, "atol": atol}


def drawn(name, r):
    """A constructor's and forward's arguments, drawn; None where this has no idea of the module."""
    n = lambda low, high: r.randint(low, high)
    coin = lambda: r.random() < 0.5
    x = lambda *shape: torch.randn(shape)
    dim = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 0
    reduction = r.choice(["mean", "sum", "none"])
    if name == "Linear":
        i, o = n(1, 6), n(1, 6)
        return ((i, o), {"bias": coin()}), ((x(*[n(1, 4) for _ in range(n(0, 3))], i),), {})
    if name.startswith("Upsampling"):
        size = r.choice([n(1, 9), [n(1, 9), n(1, 9)]])
        init = ((), r.choice([{"size": size}, {"scale_factor": r.choice([2, 1.5, (2, 3)])}]))
        return init, ((x(n(1, 2), n(1, 3), n(1, 5), n(1, 5)),), {})
    if name == "CrossMapLRN2d":
        init = ((n(1, 6),), {"alpha": r.choice([1e-4, 0.5]), "beta": r.choice([0.75, 1.0]), "k": r.choice([1, 2.0])})
        return init, ((x(n(1, 2), n(1, 9), n(1, 3), n(1, 3)),), {})
    if name.startswith("MaxUnpool"):
        kernel, sides = n(1, 3), [n(3, 7) for _ in range(dim)]
        stride, padding = kernel + n(0, 1), n(0, kernel // 2)
        whole = x(*([n(1, 2)] * coin()), n(1, 3), *sides)
        y, at = getattr(nn.functional, f"max_pool{dim}d")(whole, kernel, stride, padding, return_indices=True)
        told = {"output_size": sides} if coin() else {}
        return ((kernel,), {"stride": stride, "padding": padding}), ((y, at), told)
    if name == "TripletMarginWithDistanceLoss":
        shape = [n(1, 4), n(1, 6)]
        init = ((), {"margin": r.choice([0.5, 1.0, 2.0]), "swap": coin(), "reduction": reduction})
        return init, (tuple(x(*shape) for _ in range(3)), {})
    if re.fullmatch(r"Conv\dd", name):
        g = n(1, 3)
        i, o, k = g * n(1, 2), g * n(1, 2), n(1, 3)
        kw = {"groups": g, "bias": coin(), "dilation": n(1, 2), "padding_mode": r.choice(["zeros", "zeros", "reflect", "replicate", "circular"])}
        if r.random() < 0.3:
            kw |= {"padding": r.choice(["same", "valid"])}
        else:
            kw |= {"padding": n(0, 2), "stride": n(1, 2)}
        return ((i, o, k), kw), ((x(*([n(1, 2)] * coin()), i, *[n(5, 7) for _ in range(dim)]),), {})
    if re.fullmatch(r"ConvTranspose\dd", name):
        g, s = n(1, 2), n(1, 3)
        i, o = g * n(1, 2), g * n(1, 2)
        kw = {"groups": g, "stride": s, "padding": n(0, 1), "dilation": n(1, 2), "bias": coin(), "output_padding": n(0, max(s - 1, 0))}
        return ((i, o, n(1, 3)), kw), ((x(*([n(1, 2)] * coin()), i, *[n(3, 4) for _ in range(dim)]),), {})
    if re.fullmatch(r"(Batch|Instance)Norm\dd", name):
        c = n(1, 4)
        kw = {"affine": coin(), "track_running_stats": coin(), "eps": r.choice([1e-5, 1e-2])}
        if coin():
            kw["momentum"] = r.choice([0.3, None] if name[0] == "B" else [0.3])
        return ((c,), kw), ((x(n(2, 4), c, *[n(2, 4) for _ in range(dim)]),), {})
    if name == "GroupNorm":
        g = n(1, 3)
        c = g * n(1, 3)
        return ((g, c), {"affine": coin(), "eps": r.choice([1e-5, 1e-2])}), ((x(n(1, 3), c, *[n(2, 3) for _ in range(n(0, 3))]),), {})
    if name in ("LayerNorm", "RMSNorm"):
        shape = [n(1, 5) for _ in range(n(1, 3))]
        kw = {"elementwise_affine": coin()}
        if coin():
            kw["eps"] = r.choice([1e-3, 1e-2])
        if name == "LayerNorm":
            kw["bias"] = coin()
        return ((shape,), kw), ((x(*[n(1, 3) for _ in range(n(0, 2))], *shape),), {})
    if name in ("RNN", "LSTM", "GRU"):
        i, h, layers, both, first = n(1, 4), n(1, 5), n(1, 3), coin(), coin()
        kw = {"num_layers": layers, "bias": coin(), "batch_first": first, "bidirectional": both}
        out = h
        if name == "RNN":
            kw["nonlinearity"] = r.choice(["tanh", "relu"])
        if name == "LSTM" and h > 1 and coin():
            out = kw["proj_size"] = n(1, h - 1)
        steps, batch = n(1, 5), n(1, 3)
        batched = r.random() < 0.7
        shape = ([batch, steps] if first else [steps, batch]) if batched else [steps]
        forward = [x(*shape, i)]
        if coin():
            many = layers * (1 + both)
            state = [x(many, *([batch] * batched), out), x(many, *([batch] * batched), h)]
            forward.append(tuple(state) if name == "LSTM" else state[0])
        return ((i, h), kw), (tuple(forward), {})
    if name in ("RNNCell", "LSTMCell", "GRUCell"):
        i, h = n(1, 4), n(1, 5)
        lead = [n(1, 3)] * coin()
        forward = [x(*lead, i)]
        if coin():
            forward.append((x(*lead, h), x(*lead, h)) if name == "LSTMCell" else x(*lead, h))
        kw = {"bias": coin()} | ({"nonlinearity": r.choice(["tanh", "relu"])} if name == "RNNCell" else {})
        return ((i, h), kw), (tuple(forward), {})
    if name == "MultiheadAttention":
        heads = n(1, 3)
        e = heads * n(1, 3)
        first, batch, q, k = coin(), n(1, 3), n(1, 4), n(1, 4)
        batched = r.random() < 0.7
        kw = {"batch_first": first, "bias": coin(), "add_zero_attn": r.random() < 0.3, "add_bias_kv": r.random() < 0.3}
        kd, vd = e, e
        if r.random() < 0.4:
            kd, vd = n(1, 4), n(1, 4)
            kw |= {"kdim": kd, "vdim": vd}
        shape = lambda l, d: ([batch, l, d] if first else [l, batch, d]) if batched else [l, d]
        forward = {"need_weights": coin(), "average_attn_weights": coin()}
        if coin():
            mask = torch.rand(*([batch * heads] * (batched and coin())), q, k) < 0.3
            mask[..., 0] = False
            forward["attn_mask"] = mask if coin() else torch.randn(mask.shape)
        elif batched and coin():
            pad = torch.rand(batch, k) < 0.3
            pad[:, 0] = False
            forward["key_padding_mask"] = pad
        return ((e, heads), kw), ((x(*shape(q, e)), x(*shape(k, kd)), x(*shape(k, vd))), forward)
    if name.startswith("Transformer"):
        heads = n(1, 2)
        d, batch, s, t, first = heads * n(1, 3), n(1, 2), n(1, 4), n(1, 4), coin()
        kw = {"dim_feedforward": n(1, 6), "dropout": 0.0, "activation": r.choice(["relu", "gelu"]), "batch_first": first,
              "norm_first": coin(), "bias": coin(), "layer_norm_eps": r.choice([1e-5, 1e-3])}
        shape = lambda l: [batch, l, d] if first else [l, batch, d]
        causal = lambda l: torch.triu(torch.ones(l, l, dtype=torch.bool), 1)

        def padding(l):
            pad = torch.rand(batch, l) < 0.3
            pad[:, 0] = False
            return pad

        norm = {"norm": Sub(nn.LayerNorm, d)} if coin() else {}
        if name == "TransformerEncoderLayer":
            masks = {"src_mask": causal(s)} if coin() else {}
            return ((d, heads), kw), ((x(*shape(s)),), masks | ({"src_key_padding_mask": padding(s)} if coin() else {}))
        if name == "TransformerDecoderLayer":
            masks = {"tgt_mask": causal(t)} if coin() else {}
            masks |= {"memory_key_padding_mask": padding(s)} if coin() else {}
            return ((d, heads), kw), ((x(*shape(t)), x(*shape(s))), masks)
        if name == "TransformerEncoder":
            layer = Sub(nn.TransformerEncoderLayer, d, heads, **kw)
            return ((layer, n(1, 2)), {"enable_nested_tensor": False, **norm}), ((x(*shape(s)),), {"mask": causal(s)} if coin() else {})
        if name == "TransformerDecoder":
            layer = Sub(nn.TransformerDecoderLayer, d, heads, **kw)
            return ((layer, n(1, 2)), norm), ((x(*shape(t)), x(*shape(s))), {"tgt_mask": causal(t)} if coin() else {})
        if name == "Transformer":
            kw |= {"num_encoder_layers": n(1, 2), "num_decoder_layers": n(1, 2)}
            return ((d, heads), kw), ((x(*shape(s)), x(*shape(t))), {"tgt_mask": causal(t)} if coin() else {})
    if name == "Embedding":
        count = n(2, 7)
        kw = r.choice([{}, {"padding_idx": n(-count, count - 1)}, {"max_norm": r.uniform(0.3, 2), "norm_type": r.choice([1.0, 2.0, 3.0])},
                       {"scale_grad_by_freq": True}, {"padding_idx": 0, "scale_grad_by_freq": True}])
        return ((count, n(1, 5)), kw), ((torch.randint(count, [n(1, 4) for _ in range(n(0, 3))]),), {})
    if name == "EmbeddingBag":
        count, mode = n(3, 8), r.choice(["sum", "mean", "max"])
        kw = {"mode": mode} | r.choice([{}, {"padding_idx": n(0, count - 1)}, {"max_norm": r.uniform(0.3, 2)}])
        if mode != "max" and r.random() < 0.3:
            kw["scale_grad_by_freq"] = True
        if coin():
            at = torch.randint(count, (n(1, 4), n(1, 4)))
            return ((count, n(1, 4)), kw), ((at,), {"per_sample_weights": x(*at.shape)} if mode == "sum" and coin() else {})
        many = n(3, 8)
        offsets = torch.tensor([0] + sorted(r.randint(0, many) for _ in range(n(0, 3))))
        if r.random() < 0.4:
            kw["include_last_offset"] = True
            offsets = torch.cat([offsets, torch.tensor([many])])
        return ((count, n(1, 4)), kw), ((torch.randint(count, (many,)), offsets), {})
    if name == "Upsample":
        d = n(1, 3)
        mode = r.choice(["nearest", "nearest-exact", ["linear", "bilinear", "trilinear"][d - 1]] + ["bicubic"] * (d == 2))
        kw = {"mode": mode}
        if "nearest" not in mode:
            kw["align_corners"] = coin()
        if coin():
            kw["size"] = [n(1, 6) for _ in range(d)]
        else:
            kw["scale_factor"] = r.choice([[r.choice([0.5, 1.5, 2.0, 2.3]) for _ in range(d)], 2.0])
            if coin():
                kw["recompute_scale_factor"] = True
        return ((), kw), ((x(n(1, 2), n(1, 3), *[n(2, 5) for _ in range(d)]),), {})
    if re.fullmatch(r"(Constant|Zero|Reflection|Replication|Circular)Pad\dd", name):
        low = -1 if name[0] in "CZ" and "Circ" not in name else 0
        pads = [n(low, 2) for _ in range(2 * dim)] if coin() else n(0, 2)
        value = (r.uniform(-2, 2),) if name.startswith("Constant") else ()
        return ((pads, *value), {}), ((x(*([n(1, 2)] * coin()), n(1, 3), *[n(3, 5) for _ in range(dim)]),), {})
    if re.fullmatch(r"(Max|Avg)Pool\dd", name):
        k = n(1, 3)
        kw = {"stride": n(1, 3), "padding": n(0, k // 2), "ceil_mode": coin()}
        if name.startswith("Max"):
            kw |= {"dilation": n(1, 2), "return_indices": coin()}
        else:
            kw["count_include_pad"] = coin()
            if dim > 1 and coin():
                kw["divisor_override"] = n(1, 5)
        return ((k,), kw), ((x(*([n(1, 2)] * coin()), n(1, 3), *[n(5, 7) for _ in range(dim)]),), {})
    if re.fullmatch(r"Adaptive(Max|Avg)Pool\dd", name):
        size = [r.choice([None, n(1, 4)]) if dim > 1 else n(1, 4) for _ in range(dim)] if coin() else n(1, 4)
        return ((size,), {"return_indices": coin()} if "Max" in name else {}), ((x(*([n(1, 2)] * coin()), n(1, 3), *[n(2, 7) for _ in range(dim)]),), {})
    if re.fullmatch(r"LPPool\dd", name):
        return ((r.choice([1, 2, 3.0]), n(1, 3)), {"ceil_mode": coin()}), ((x(n(1, 2), n(1, 3), *[n(5, 7) for _ in range(dim)]).abs(),), {})
    if name == "Fold" or name == "Unfold":
        size, k = [n(4, 6), n(4, 6)], [n(1, 3), n(1, 3)]
        kw = {"dilation": n(1, 2), "padding": n(0, 1), "stride": n(1, 2)}
        if name == "Unfold":
            return ((k,), kw), ((x(*([n(1, 2)] * coin()), n(1, 2), *size),), {})
        blocks = math.prod((s + 2 * kw["padding"] - kw["dilation"] * (q - 1) - 1) // kw["stride"] + 1 for s, q in zip(size, k))
        return ((size, k), kw), ((x(*([n(1, 2)] * coin()), n(1, 2) * math.prod(k), blocks),), {})
    if name in ("PixelShuffle", "PixelUnshuffle"):
        f = n(1, 3)
        up = name == "PixelShuffle"
        return ((f,), {}), ((x(n(1, 2), *([n(1, 2)] * coin()), *([f * f * n(1, 2), n(1, 3), n(1, 3)] if up else [n(1, 2), f * n(1, 2), f * n(1, 2)])),), {})
    if name == "Bilinear":
        a, b = n(1, 4), n(1, 4)
        lead = [n(1, 3) for _ in range(n(0, 2))]
        return ((a, b, n(1, 4)), {"bias": coin()}), ((x(*lead, a), x(*lead, b)), {})
    if name == "LocalResponseNorm":
        return ((n(1, 4),), {"alpha": r.uniform(0, 1), "beta": r.uniform(0.2, 1), "k": r.uniform(0.5, 2)}), ((x(n(1, 2), n(1, 4), *[n(2, 4)] * n(1, 3)),), {})
    if name == "Flatten":
        shape = [n(1, 4) for _ in range(n(1, 4))]
        start = n(0, len(shape) - 1)
        return ((), {"start_dim": start, "end_dim": n(start, len(shape) - 1) - r.choice([0, len(shape)])}), ((x(*shape),), {})
    if name == "Unflatten":
        parts = [n(1, 3), n(1, 3)]
        shape = [n(1, 3), math.prod(parts), n(1, 3)]
        return ((r.choice([1, -2]), r.choice([parts, [-1, parts[1]]])), {}), ((x(*shape),), {})
    if name in ("Softmax", "LogSoftmax", "Softmin", "GLU"):
        shape = [2 * n(1, 3) for _ in range(n(1, 4))]
        d = n(-len(shape), len(shape) - 1)
        return ((d,), {}), ((x(*shape),), {})
    if name == "PReLU":
        c = n(1, 4)
        return ((r.choice([1, c]),), {"init": r.uniform(-0.5, 0.5)}), ((x(n(1, 3), c, *[n(1, 3)] * n(0, 2)),), {})
    if name == "CrossEntropyLoss" or name == "NLLLoss":
        c = n(2, 5)
        tail = [n(1, 3) for _ in range(n(0, 2))]
        lead = [n(1, 4)] if tail or coin() else []
        y = torch.randint(c, lead + tail)
        kw = {"reduction": reduction}
        if coin():
            kw["weight"] = torch.rand(c) + 0.1
        if coin():
            kw["ignore_index"] = n(0, c - 1)
        logits = x(*lead, c, *tail)
        if name == "NLLLoss":
            return ((), kw), ((logits.log_softmax(len(lead)), y), {})
        if coin():
            kw["label_smoothing"] = r.uniform(0, 0.5)
        if r.random() < 0.4:
            kw.pop("ignore_index", None)
            y = x(*lead, c, *tail).softmax(len(lead))
        return ((), kw), ((logits, y), {})
    if name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "SoftMarginLoss", "PoissonNLLLoss", "KLDivLoss", "BCELoss", "BCEWithLogitsLoss"):
        shape = [n(1, 4) for _ in range(n(1, 3))]
        a, b = x(*shape), x(*shape)
        kw = {"reduction": reduction}
        if name == "SmoothL1Loss":
            kw["beta"] = r.choice([0.0, 0.5, 1.0])
        if name == "HuberLoss":
            kw["delta"] = r.choice([0.5, 1.5])
        if name == "SoftMarginLoss":
            b = b.sign()
        if name == "PoissonNLLLoss":
            b = b.exp().round()
            kw |= {"log_input": coin(), "full": coin()}
            a = a if kw["log_input"] else a.exp()
        if name == "KLDivLoss":
            kw |= {"reduction": r.choice(["batchmean", reduction]), "log_target": coin()}
            a = a.log_softmax(-1)
            b = b.log_softmax(-1) if kw["log_target"] else b.softmax(-1)
        if name.startswith("BCE"):
            b = torch.rand(*shape)
            a = a.sigmoid() if name == "BCELoss" else a
            if coin():
                kw["weight"] = torch.rand(shape[-1])
            if name != "BCELoss" and coin():
                kw["pos_weight"] = torch.rand(shape[-1]) + 0.5
        return ((), kw), ((a, b), {})
    if name in ("MarginRankingLoss", "CosineEmbeddingLoss", "TripletMarginLoss", "HingeEmbeddingLoss"):
        b, d = n(1, 4), n(1, 4)
        sign = torch.randn(b).sign()
        kw = {"reduction": reduction, "margin": r.uniform(0, 1)}
        if name == "MarginRankingLoss":
            return ((), kw), ((x(b), x(b), sign), {})
        if name == "CosineEmbeddingLoss":
            return ((), kw), ((x(b, d), x(b, d), sign), {})
        if name == "HingeEmbeddingLoss":
            return ((), kw), ((x(b), sign), {})
        return ((), kw | {"p": r.choice([1.0, 2.0, 3.0]), "swap": coin()}), ((x(b, d), x(b, d), x(b, d)), {})
    if name in ("MultiMarginLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "GaussianNLLLoss"):
        b, c = n(1, 4), n(2, 4)
        kw = {"reduction": reduction}
        if name == "MultiMarginLoss":
            kw |= {"p": r.choice([1, 2]), "margin": r.uniform(0.2, 2)} | ({"weight": torch.rand(c)} if coin() else {})
            return ((), kw), ((x(b, c), torch.randint(c, (b,))), {})
        if name == "MultiLabelMarginLoss":
            y = torch.stack([torch.tensor((r.sample(range(c), q := n(0, c)) + [-1] * c)[:c]) for _ in range(b)])
            return ((), kw), ((x(b, c), y), {})
        if name == "MultiLabelSoftMarginLoss":
            return ((), kw | ({"weight": torch.rand(c)} if coin() else {})), ((x(b, c), (torch.rand(b, c) < 0.5).float()), {})
        return ((), kw | {"full": coin()}), ((x(b, c), x(b, c), torch.rand(b, c) + 0.1 if coin() else torch.rand(b, 1) + 0.1), {})
    if name in ("CosineSimilarity", "PairwiseDistance"):
        shape = [n(1, 4) for _ in range(n(2, 3))]
        kw = {"dim": n(-len(shape), len(shape) - 1)} if name[0] == "C" else {"p": r.choice([1.0, 2.0, 3.0]), "keepdim": coin()}
        return ((), kw), ((x(*shape), x(*shape)), {})
    if name == "AdaptiveLogSoftmaxWithLoss":
        i, c = n(1, 9), n(3, 12)
        cutoffs = sorted(r.sample(range(1, c), n(1, min(3, c - 1))))
        kw = {"cutoffs": cutoffs, "div_value": r.choice([4.0, 2.0, 1.5]), "head_bias": coin()}
        shape = [] if coin() else [n(1, 12)]
        return ((i, c), kw), ((x(*shape, i), torch.randint(c, shape)), {})
    if name == "CTCLoss":
        t, b, c, s = n(4, 8), n(1, 3), n(2, 5), n(1, 3)
        kw = {"reduction": reduction, "zero_infinity": coin(), "blank": n(0, c - 1)}
        labels = [i for i in range(c) if i != kw["blank"]]
        y = torch.tensor([[r.choice(labels) for _ in range(s)] for _ in range(b)])
        lengths = torch.tensor([n(1, t) for _ in range(b)]), torch.tensor([n(0, s) for _ in range(b)])
        return ((), kw), ((x(t, b, c).log_softmax(-1), y, *lengths), {})
    if name == "Sequential":
        i = n(1, 4)
        parts = [Sub(nn.Linear, i, 3), Sub(r.choice([nn.GELU, nn.ReLU, nn.Tanh, nn.SiLU, nn.ELU, nn.Softplus])), Sub(nn.LayerNorm, 3), Sub(nn.Linear, 3, n(1, 3))]
        return (tuple(parts), {}), ((x(n(1, 3), i),), {})
    settings = {
        "ELU": {"alpha": r.uniform(0.3, 2)}, "CELU": {"alpha": r.uniform(0.3, 2)}, "Hardshrink": {"lambd": r.uniform(0, 1)},
        "Softshrink": {"lambd": r.uniform(0, 1)}, "Hardtanh": {"min_val": -r.uniform(0, 1), "max_val": r.uniform(0, 1)},
        "LeakyReLU": {"negative_slope": r.uniform(0, 0.5)}, "Softplus": {"beta": r.uniform(0.3, 3), "threshold": r.choice([20, 2])},
        "Threshold": {"threshold": r.uniform(-1, 1), "value": r.uniform(-1, 1)}, "GELU": {"approximate": r.choice(["none", "tanh"])},
        "Dropout": {"p": 0.0}, "Dropout1d": {"p": 0.0}, "Dropout2d": {"p": 0.0}, "AlphaDropout": {"p": 0.0}, "Identity": {}, "ReLU": {}, "ReLU6": {},
        "SELU": {}, "SiLU": {}, "Mish": {}, "Sigmoid": {}, "Tanh": {}, "LogSigmoid": {}, "Softsign": {}, "Tanhshrink": {}, "Hardswish": {},
        "Hardsigmoid": {}, "Softmax2d": {}, "RReLU": {"lower": 0.2, "upper": 0.2},
    }
    if name in settings:
        shape = [n(1, 4) for _ in range(3 if name in ("Softmax2d", "Dropout2d", "Dropout1d") else n(0, 4))]
        return ((), settings[name]), ((x(*shape) * 2,), {})
    return None


NAMED = [
    "Dropout", "Identity", "Flatten", "Unflatten", "Fold", "Unfold", "PixelShuffle", "PixelUnshuffle", "Upsample", "EmbeddingBag",
    "CosineSimilarity", "PairwiseDistance", "Sequential", "TransformerDecoder", "TripletMarginLoss", "Hardsigmoid", "RReLU", "AlphaDropout",
    "Dropout1d", "Dropout2d", "UpsamplingNearest2d", "UpsamplingBilinear2d", "CrossMapLRN2d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "TripletMarginWithDistanceLoss", "AdaptiveLogSoftmaxWithLoss",
]


def modules(out, options):
    infos = {i.module_cls: i for i in module_db if not i.module_cls.__name__.startswith("Lazy")}
    classes = list(infos) + [getattr(nn, n) for n in NAMED if getattr(nn, n) not in infos]
    for cls in classes:
        if not re.fullmatch(options.only, cls.__name__):
            continue
        rng = random.Random(f"{cls.__name__} {options.seed}")
        writer, why = ModuleWriter(cls), {}

        def attempt(*args, **kwargs):
            try:
                writer.add(*args, **kwargs)
            except Skip as e:
                why[str(e)] = why.get(str(e), 0) + 1
            except Exception as e:  # a module may refuse what was drawn
                key = f"{type(e).__name__} {str(e)[:60]}"
                why[key] = why.get(key, 0) + 1

        for name, dtype in (("f32", torch.float32), ("f64", torch.float64)):
            for training in (True, False):
                if cls not in infos:
                    continue
                torch.manual_seed(options.seed)
                random.seed(options.seed)
                samples = list(infos[cls].module_inputs_func(infos[cls], "cpu", dtype, True, training))
                plain = lambda v: tree(lambda t: t.detach(), v)
                rng.shuffle(samples)
                for i, s in enumerate(samples[: options.cases if name == "f32" else 3]):
                    init, forward = s.constructor_input, s.forward_input
                    init = (plain(init.args), {k: v for k, v in plain(init.kwargs).items() if k not in ("device", "dtype")})
                    attempt(init, (plain(forward.args), plain(forward.kwargs)), f"modules:{cls.__name__}:{i}", name, training)
        for i in range(2 * options.cases):
            torch.manual_seed(1000 * options.seed + i)
            case = drawn(cls.__name__, rng)
            if case:
                attempt(*case, f"random:{i}", "f32", i % 4 != 3)
        errors = cls in infos and infos[cls].module_error_inputs_func
        for i, e in enumerate(errors(infos[cls], "cpu", torch.float32, True, True) if errors else []):
            init, forward = e.module_error_input.constructor_input, e.module_error_input.forward_input
            given = (init.args, {k: v for k, v in init.kwargs.items() if k not in ("device", "dtype")})
            told = (forward.args, forward.kwargs) if forward else ((), {})
            on = "construct" if e.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR else "forward"
            try:
                module = cls(*given[0], **given[1])
                module(*told[0], **told[1])
            except Exception as refusal:
                attempt(given, told if on == "forward" else ((), {}), f"modules:{cls.__name__}:error{i}", "f32", True, (on, refusal))
        write(out / "modules" / f"nn.{cls.__name__}", writer.head, writer.cases, writer.tensors)
        print(f"nn.{cls.__name__}: {len(writer.cases)} cases; left out: {why}", flush=True)


def write(path, head, cases, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.json", "w") as f:
        f.write(json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
    if tensors is not None:
        save_file(tensors or {"none": torch.zeros(1)}, f"{path}.safetensors")


def settings(name, r):
    """Settings of an optimizer, drawn."""
    coin = lambda: r.random() < 0.5
    u = lambda low, high: round(r.uniform(low, high), 4)
    betas = [u(0.5, 0.95), u(0.8, 0.999)]
    rows = {
        "SGD": lambda: r.choice([{"momentum": u(0.1, 0.99), "nesterov": True}, {"momentum": u(0.1, 0.99), "dampening": u(0, 0.9)}, {}]),
        "Adam": lambda: {"betas": betas, "amsgrad": coin(), "eps": r.choice([1e-8, 1e-4])},
        "AdamW": lambda: {"betas": betas, "amsgrad": coin(), "eps": r.choice([1e-8, 1e-4])},
        "Adamax": lambda: {"betas": betas, "eps": r.choice([1e-8, 1e-3])},
        "NAdam": lambda: {"betas": betas, "momentum_decay": u(0, 0.01), "decoupled_weight_decay": coin()},
        "RAdam": lambda: {"betas": betas, "decoupled_weight_decay": coin()},
        "Adagrad": lambda: {"lr_decay": u(0, 0.2), "initial_accumulator_value": u(0, 0.5), "eps": r.choice([1e-10, 1e-4])},
        "Adadelta": lambda: {"rho": u(0.5, 0.99), "eps": r.choice([1e-6, 1e-3])},
        "ASGD": lambda: {"lambd": u(0, 0.1), "alpha": u(0.3, 1), "t0": r.choice([1e6, 2])},
        "RMSprop": lambda: {"alpha": u(0.5, 0.99), "momentum": r.choice([0, u(0.1, 0.9)]), "centered": coin(), "eps": r.choice([1e-8, 1e-3])},
        "Rprop": lambda: {"etas": [u(0.3, 0.9), u(1.05, 1.5)], "step_sizes": [1e-6, r.choice([50, 0.05])]},
        "Adafactor": lambda: {"beta2_decay": -u(0.5, 1), "d": u(0.5, 2), "eps": [r.choice([None, 1e-5]), 1e-3]},
        "LBFGS": lambda: {"max_iter": r.randint(1, 6), "history_size": r.randint(1, 5)} | ({"line_search_fn": "strong_wolfe"} if coin() else {}),
        "Muon": lambda: {"momentum": u(0.5, 0.99), "nesterov": coin(), "ns_steps": r.randint(3, 6),
                         "adjust_lr_fn": r.choice(["original", "match_rms_adamw"])},
    }
    kw = rows[name]() | {"lr": u(0.001, 0.2)}
    if name != "LBFGS":
        if coin() and name != "Rprop":
            kw["weight_decay"] = u(0, 0.3)
        if coin() and name != "Muon":
            kw["maximize"] = True
    return kw


def optimizers(out, options):
    for info in optim_db:
        cls = info.optim_cls
        name = cls.__name__
        if name == "SparseAdam" or not re.fullmatch(options.only, name):
            continue
        rng = random.Random(f"{name} {options.seed}")
        torch.manual_seed(options.seed)
        drop = ("foreach", "fused", "capturable", "differentiable")
        samples = [(i.kwargs, f"optim:{name}:{i.desc}") for i in info.optim_inputs_func("cpu")]
        samples += [(settings(name, rng), f"random:{i}") for i in range(options.cases)]
        samples = [({k: v for k, v in kw.items() if k not in drop}, o) for kw, o in samples]
        samples = [s for s in samples if not any(isinstance(v, torch.Tensor) for v in s[0].values())]
        cases, tensors, why = [], {}, {}
        for kwargs, origin in samples:
            try:
                case, own = trajectory(f"c{len(cases)}", cls, kwargs, origin, rng)
            except Exception as e:
                key = f"{type(e).__name__} {str(e)[:60]}"
                why[key] = why.get(key, 0) + 1
                continue
            cases.append(case)
            tensors |= own
        write(out / "optimizers" / name, {"optimizer": name, "signature": f"{name}{inspect.signature(cls)}"}, cases, tensors)
        print(f"{name}: {len(cases)} cases; left out: {why}", flush=True)


def trajectory(case, cls, kwargs, origin, rng):
    """Parameters after each of five steps, refused where a run in f64 goes elsewhere."""
    lbfgs, muon = cls.__name__ == "LBFGS", cls.__name__ == "Muon"
    shapes = [[rng.randint(2, 6)]] if lbfgs else [[rng.randint(1, 4) for _ in range(2 if muon else rng.randint(0, 3))] for _ in range(rng.randint(1, 4))]
    start = [torch.randn(s) for s in shapes]
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in kwargs.items()}
    groups = [{"params": list(range(len(start))), "kwargs": {}}]
    if len(start) > 1 and not lbfgs and rng.random() < 0.6:
        extra = {"lr": round(rng.uniform(0.001, 0.1), 4)}
        groups = [{"params": list(range(len(start) - 1)), "kwargs": {}}, {"params": [len(start) - 1], "kwargs": extra}]
    some = rng.random() < 0.3 and not lbfgs
    grads = [[None if some and rng.random() < 0.3 else torch.randn(p.shape) for p in start] for _ in range(5)]
    if lbfgs:
        a = torch.randn(*shapes[0], *shapes[0])
        a, b = a @ a.T + torch.eye(shapes[0][0]), torch.randn(shapes[0])

    def run(convert):
        ps = [nn.Parameter(convert(p.clone())) for p in start]
        o = cls([{"params": [ps[i] for i in g["params"]], **g["kwargs"]} for g in groups], **plain)
        trace = []
        for step in grads:
            if lbfgs:
                def closure():
                    o.zero_grad()
                    x = ps[0]
                    loss = 0.5 * x @ convert(a) @ x - convert(b) @ x
                    loss.backward()
                    return loss
                o.step(closure)
            else:
                for p, g in zip(ps, step):
                    p.grad = None if g is None else convert(g.clone())
                o.step()
            trace.append([p.detach().clone() for p in ps])
        return trace, o, ps

    (got, o, ps), (best, _, _) = run(lambda t: t), run(lambda t: t.double())
    worst = max(((x - y).abs().max().item() for a, b in zip(got, best) for x, y in zip(a, b) if x.numel()), default=0)
    if not all(x.isfinite().all() for row in got for x in row) or worst > 1e-3:
        raise Skip("far from f64")
    tensors = {f"{case}.p{i}": p.clone() for i, p in enumerate(start)}
    steps = []
    for s, (row, after) in enumerate(zip(grads, got)):
        names = [None if g is None else f"{case}.s{s}.g{i}" for i, g in enumerate(row)]
        ends = [f"{case}.s{s}.p{i}" for i in range(len(after))]
        tensors |= dict(zip(ends, after)) | ({} if lbfgs else {n: g for n, g in zip(names, row) if n})
        steps.append({"params_after": ends} if lbfgs else {"grads": names, "params_after": ends})
    told = {k: list(v) if isinstance(v, tuple) else v for k, v in kwargs.items()}
    row = {"name": case, "desc": f"{cls.__name__}{call((), told)}", "origin": origin, "kwargs": told,
           "params": [f"{case}.p{i}" for i in range(len(start))], "groups": groups}
    if lbfgs:
        row["quadratic"] = {"a": f"{case}.a", "b": f"{case}.b"}
        tensors |= {f"{case}.a": a.contiguous(), f"{case}.b": b}
    row["steps"] = steps
    if not lbfgs:
        state = {}
        for i, p in enumerate(ps):
            entry = state[str(i)] = {}
            for k, v in o.state.get(p, {}).items():
                if isinstance(v, torch.Tensor) and v.dim() == 0 and k in ("step", "mu", "eta", "mu_product"):
                    entry[k] = v.item()
                elif isinstance(v, torch.Tensor):
                    entry[k] = f"{case}.state.{i}.{k}"
                    tensors[entry[k]] = v.detach().contiguous().clone()
                elif isinstance(v, (int, float)):
                    entry[k] = v
            if not entry:
                del state[str(i)]
        row["state_after"] = state
    return row | {"rtol": 1e-5, "atol": 1e-6 + 4 * worst}, tensors


def schedule(name, r, groups, inner=True):
    u = lambda low, high: round(r.uniform(low, high), 3)
    n = lambda low, high: r.randint(low, high)
    coin = lambda: r.random() < 0.5
    function = lambda: r.choice([{"lambda": "power", "base": u(0.7, 1.0)}, {"lambda": "inverse", "k": u(0.05, 1)},
                                 {"lambda": "warmup", "steps": n(2, 9)}, {"lambda": "constant", "value": u(0.8, 1.0)}])
    each = lambda f: [f() for _ in range(groups)] if coin() else f()
    return {
        "StepLR": lambda: {"step_size": n(1, 8), "gamma": u(0.1, 1)},
        "MultiStepLR": lambda: {"milestones": sorted(n(0, 29) for _ in range(n(1, 5))), "gamma": u(0.1, 1)},
        "ExponentialLR": lambda: {"gamma": u(0.5, 1)},
        "ConstantLR": lambda: {"factor": u(0.1, 1), "total_iters": n(0, 12)},
        "LinearLR": lambda: {"start_factor": u(0.1, 1), "end_factor": u(0.1, 1), "total_iters": n(1, 20)},
        "PolynomialLR": lambda: {"total_iters": n(1, 35), "power": u(0.3, 3)},
        "CosineAnnealingLR": lambda: {"T_max": n(1, 40)} | ({"eta_min": u(0, 0.01)} if coin() else {}),
        "CosineAnnealingWarmRestarts": lambda: {"T_0": n(1, 9), "T_mult": n(1, 3)} | ({"eta_min": u(0, 0.01)} if coin() else {}),
        "LambdaLR": lambda: {"lr_lambda": each(function)},
        "MultiplicativeLR": lambda: {"lr_lambda": each(function)},
        "OneCycleLR": lambda: {"max_lr": each(lambda: u(0.1, 1)), "total_steps": n(31, 60), "pct_start": u(0.1, 0.6), "three_phase": coin(),
                               "anneal_strategy": r.choice(["cos", "linear"]), "cycle_momentum": coin(), "base_momentum": u(0.7, 0.9),
                               "max_momentum": u(0.9, 0.99), "div_factor": u(2, 30), "final_div_factor": u(10, 1000)},
        "CyclicLR": lambda: {"base_lr": each(lambda: u(0.001, 0.05)), "max_lr": each(lambda: u(0.1, 0.5)), "step_size_up": n(1, 9),
                             "mode": r.choice(["triangular", "triangular2", "exp_range"]), "gamma": u(0.8, 1), "cycle_momentum": coin(),
                             "base_momentum": u(0.7, 0.85), "max_momentum": u(0.86, 0.99)} | ({"step_size_down": n(1, 9)} if coin() else {}),
        "ReduceLROnPlateau": lambda: {"mode": r.choice(["min", "max"]), "factor": u(0.1, 0.9), "patience": n(0, 4), "threshold": u(0, 0.1),
                                      "threshold_mode": r.choice(["rel", "abs"]), "cooldown": n(0, 3), "min_lr": each(lambda: u(0, 0.01)), "eps": r.choice([1e-8, 1e-3])},
    }[name]()


def functions(kwargs):
    def of(spec):
        kind = spec["lambda"]
        return {"power": lambda e: spec["base"] ** e, "inverse": lambda e: 1 / (1 + spec["k"] * e),
                "warmup": lambda e: min(1, (e + 1) / spec["steps"]), "constant": lambda e: spec["value"]}[kind]

    made = dict(kwargs)
    if "lr_lambda" in made:
        given = made["lr_lambda"]
        made["lr_lambda"] = [of(s) for s in given] if isinstance(given, list) else of(given)
    return made


def schedulers(out, options):
    simple = ["StepLR", "MultiStepLR", "ExponentialLR", "ConstantLR", "LinearLR", "PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
              "LambdaLR", "MultiplicativeLR", "OneCycleLR", "CyclicLR", "ReduceLROnPlateau"]
    for name in [*simple, "SequentialLR", "ChainedScheduler"]:
        if not re.fullmatch(options.only, name):
            continue
        r = random.Random(f"{name} {options.seed}")
        cases = []
        while len(cases) < options.cases:
            count = r.randint(1, 3)
            groups = [{"lr": round(r.uniform(0.005, 0.5), 4)} for _ in range(count)]
            kind = r.choice(["SGD", "Adam"])
            ps = [{"params": [nn.Parameter(torch.zeros(2))], **g} for g in groups]
            o = torch.optim.SGD(ps, lr=0.1, momentum=0.9) if kind == "SGD" else torch.optim.Adam(ps, lr=0.1)
            row = {"name": f"c{len(cases)}", "origin": "random", "scheduler": name}
            make = lambda n, kw: getattr(lr_scheduler, n)(o, **functions(kw))
            try:
                if name in simple:
                    row["kwargs"] = schedule(name, r, count)
                    s = make(name, row["kwargs"])
                else:
                    inner = r.sample(simple[:8] + ["LambdaLR"], r.randint(2, 3))
                    row["schedulers"] = [{"scheduler": i, "kwargs": schedule(i, r, count)} for i in inner]
                    made = [make(i["scheduler"], i["kwargs"]) for i in row["schedulers"]]
                    if name == "SequentialLR":
                        row["milestones"] = sorted(r.sample(range(1, 28), len(inner) - 1))
                        s = lr_scheduler.SequentialLR(o, made, row["milestones"])
                    else:
                        s = lr_scheduler.ChainedScheduler(made, o)
            except ValueError:
                continue
            momentum = lambda g: g["momentum"] if kind == "SGD" else g["betas"][0]
            lrs, momenta = [[g["lr"] for g in o.param_groups]], [[momentum(g) for g in o.param_groups]]
            metrics = [round(max(0.01, 1 - 0.03 * e + r.gauss(0, 0.1)), 6) for e in range(30)]
            for e in range(30):
                o.step()
                s.step(metrics[e]) if name == "ReduceLROnPlateau" else s.step()
                lrs.append([g["lr"] for g in o.param_groups])
                momenta.append([momentum(g) for g in o.param_groups])
            row |= {"optimizer": kind, "epochs": 30, "groups": groups, "lrs": [[float(v) for v in l] for l in lrs]}
            if name == "ReduceLROnPlateau":
                row["metrics"] = metrics
            if name in ("OneCycleLR", "CyclicLR"):
                row["momenta"] = momenta
            cases.append(row | {"rtol": 1e-9, "atol": 1e-12})
        write(out / "schedulers" / name, {"scheduler": name}, cases, None)
        print(f"{name}: {len(cases)} cases", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=12, help="of each source")
    parser.add_argument("--only", default=".*", help="names of classes")
    options = parser.parse_args()
    np.random.seed(options.seed)
    for part in (modules, optimizers, schedulers):
        part(options.out, options)


if __name__ == "__main__":
    main()

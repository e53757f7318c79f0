"""Writes random tensor programs and what PyTorch makes of them, for tests/programs.rs.

    python tests/torch/programs.py tests/programs/programs.jsonl.gz [--seed 1] [--count 2000]
    python tests/torch/programs.py --reduce FILE ID     # the shortest program like that one which still fails

A program is a line of JSON: inputs (integers; floats are these divided by 64) and steps. A name of a tensor is "$3". PyTorch runs each
program in f32, in f64, and in f32 with noise of a rounding's size behind each operation: what these disagree on is the tolerance, and
a program on which they disagree much, or in an integer, is thrown away. Every tensor that PyTorch makes anew is laid row by row, its
indices and integer sums are i32, as calor's are."""

import argparse
import collections
import gzip
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch

import programs_steps

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

DTYPES = {"f32": torch.float32, "i32": torch.int32, "i64": torch.int64, "bool": torch.bool}
NAMES = {v: k for k, v in DTYPES.items()} | {torch.float64: "f32"}
SCALE = 64
# refusals that follow from shapes, layouts and histories; those of a dtype are the corpus's
REFUSED = re.compile(
    r"must match the (existing )?size|size mismatch|shapes cannot be multiplied|view size is not compatible|is invalid for input of size"
    r"|leaf Variable|more than one element of the written-to tensor|out of range|broadcast|cannot be multiplied|[Ee]xceeds dimension|output with shape"
)
# where an operation takes indices, which PyTorch wants in i64
INDEX_AT = {
    "gather": 2, "index_select": 2, "take": 1, "take_along_dim": 1, "scatter": 2, "scatter_add": 2, "index_add": 2, "index_copy": 2,
    "index_fill": 2, "index_put": 1, "__getitem__": 1, "__setitem__": 1,
}
INDICES = {"sort": 1, "topk": 1, "max": 1, "min": 1, "kthvalue": 1, "median": 1, "cummax": 1, "cummin": 1, "argsort": 0, "argmax": 0, "argmin": 0}
# operations that compute no float anew
EXACT = re.compile(
    r"(Tensor\.(float|int|bool|long|to|contiguous|repeat|expand|unfold|view|T|mT|__getitem__|detach)|clone|cat|stack|flip|roll|where|neg|abs|maximum|minimum"
    r"|gather|index_select|take|take_along_dim|sort|topk|amax|amin|max|min|masked_fill|masked_select|tril|triu|clamp|nn.functional.relu|nn.functional.pad|cummax|sign|floor"
    r"|round|median|kthvalue|index_copy|index_fill|scatter|select_scatter|slice_scatter|diagonal_scatter|repeat_interleave|index_put|movedim|zeros_like|ones_like|full_like)$"
)


class Reject(Exception):
    """PyTorch's own result is no measure here."""


class Ref(str):
    """A tensor's name in arguments."""


def tree(f, v):
    if isinstance(v, (list, tuple)):
        return type(v)(tree(f, x) for x in v)
    return f(v)


def function(op):
    at = torch
    for part in op.split("."):
        at = getattr(at, part)
    return at if callable(at) else at.__get__


def argument(v, env, mode):
    """An argument of the file as PyTorch's."""
    if isinstance(v, str) and v.startswith("$"):
        return env[v]
    if isinstance(v, dict):
        if "dtype" in v:
            d = DTYPES[v["dtype"]]
            return torch.float64 if mode == "f64" and d.is_floating_point else d
        if "slice" in v:
            return slice(*v["slice"])
        return Ellipsis
    if isinstance(v, list):
        return [argument(x, env, mode) for x in v]
    return v


def tensors_of(v):
    found = []
    tree(lambda x: found.append(x) if isinstance(x, torch.Tensor) else None, v)
    return found


def same_storage(a, b):
    return a.untyped_storage()._cdata == b.untyped_storage()._cdata


class Machine:
    """Runs steps on PyTorch."""

    def __init__(self, mode):
        self.mode, self.env, self.reads, self.count, self.saved = mode, {}, [], 0, []

    def input(self, name, dtype, shape, values, grad):
        t = torch.tensor(values, dtype=torch.float64).reshape(shape)
        t = t / SCALE if dtype == "f32" else t
        t = t.to(torch.float64 if self.mode == "f64" and dtype == "f32" else DTYPES[dtype])
        self.env[name] = t.requires_grad_(bool(grad))

    def call(self, op, args, kwargs):
        """The results, or none of an operation in place."""
        short = op.removeprefix("Tensor.").rstrip("_") if "__" not in op else op.removeprefix("Tensor.")
        args = [argument(a, self.env, self.mode) for a in args]
        kwargs = {k: argument(v, self.env, self.mode) for k, v in kwargs.items()}
        given = tensors_of(args) + tensors_of(list(kwargs.values()))
        if short in INDEX_AT:
            at = INDEX_AT[short]
            args[at] = tree(lambda t: t.long() if isinstance(t, torch.Tensor) and t.dtype == torch.int32 else t, args[at])
            args[at] = tuple(args[at]) if "__" in short else args[at]
        if op == "Tensor.__setitem__":
            args[0][args[1]] = args[2]
            return []
        out = function(op)(*args, **kwargs)
        if op.endswith("_") and "__" not in op:
            return []
        outs = list(out) if isinstance(out, (list, tuple)) else [out]
        for i, t in enumerate(outs):
            fresh = not any(same_storage(t, g) for g in given)
            index = short in INDICES and INDICES[short] <= i and len(outs) > INDICES[short] and t.dtype == torch.int64 and (i > 0 or "arg" in short)
            made = t.dtype == torch.int64 and fresh and op != "Tensor.to" and not any(g.dtype == torch.int64 for g in given)
            if index or made:
                t = t.to(torch.int32)
                self.saved.append(t)  # PyTorch's gradient has another copy: must not be written to
            if t.dtype == torch.float32 and self.mode == "f64":
                t = t.double()  # an integer's default float
            if fresh:
                t = t.contiguous()
            if fresh and isinstance(self.mode, int) and t.is_floating_point() and not EXACT.match(op):
                # equal numbers get equal noise
                with torch.no_grad():
                    noise = 1 + 2e-7 * torch.sin(t.detach().double() * 1e5 + self.mode + self.count).to(t.dtype)
                t = t * noise
            outs[i] = t
        return outs

    def step(self, step):
        kind = step[0]
        self.count += 1
        if kind == "op":
            _, outs, op, args, kwargs, flags = step
            if "e" in flags:
                try:
                    with torch.set_grad_enabled("n" not in flags):
                        self.call(op, args, kwargs)
                except (RuntimeError, IndexError, ValueError):
                    return
                raise Reject("not refused again")
            with torch.set_grad_enabled("n" not in flags):
                made = self.call(op, args, kwargs)
            if len(made) < len(outs):
                raise Reject("fewer results")
            self.env.update(zip(outs, made))
        elif kind == "read":
            self.reads.append(self.env[step[1]].detach().clone())
        elif kind == "grad":
            g = self.env[step[1]].grad
            self.reads.append(None if g is None else g.detach().clone())
        elif kind == "drop":
            del self.env[step[1]]
        elif kind == "backward":
            self.env[step[1]].backward(retain_graph=step[2])
        elif kind == "take":
            g = self.env[step[2]].grad
            if g is None or not g.is_contiguous():
                raise Reject("no plain gradient")
            self.env[step[1]] = g
        elif kind == "clear":
            self.env[step[1]].grad = None
        elif kind == "detach":
            self.env[step[1]] = self.env[step[2]].detach()
        elif kind == "requires":
            self.env[step[1]].requires_grad_(True)
        elif kind == "retain":
            self.env[step[1]].retain_grad()
        elif kind == "eval":
            pass
        else:
            raise ValueError(kind)


def run(program, mode):
    machine = Machine(mode)
    for one in program["in"]:
        machine.input(*one)
    for step in program["steps"]:
        machine.step(step)
    return machine


def numbers(t):
    if t.dtype == torch.bool:
        return [int(x) for x in t.flatten().tolist()]
    if t.is_floating_point():
        return [float(str(np.float32(x))) for x in t.flatten().tolist()]
    return t.flatten().tolist()


def evaluate(program):
    """The program with PyTorch's results behind its reads, which stand in their own field."""
    machine = run(program, "f32")
    others = [run(program, mode) for mode in ("f64", 1, 2, 3)]
    expected = []
    for i, got in enumerate(machine.reads):
        rest = [m.reads[i] for m in others]
        if got is None:
            if any(r is not None for r in rest):
                raise Reject("a gradient comes and goes")
            expected.append(None)
            continue
        if any(r is None or r.shape != got.shape for r in rest):
            raise Reject("another shape")
        if not got.is_floating_point():
            if any(not torch.equal(r, got) for r in rest):
                raise Reject("depends on rounding")
            if got.numel() and got.to(torch.int64).abs().max() > 2**24:
                raise Reject("large integers")
            expected.append([NAMES[got.dtype], list(got.shape), numbers(got), 0.0])
            continue
        if not got.isfinite().all():
            raise Reject("not finite")
        scale = got.abs().max().item() if got.numel() else 0.0
        error = max((r.double() - got.double()).abs().max().item() for r in rest) if got.numel() else 0.0
        if error > 2e-5 * max(scale, 0.1) or scale > 1e4:
            raise Reject("unstable")
        atol = 4 * error + 1e-6 * max(scale, 0.1)
        expected.append(["f32", list(got.shape), numbers(got), float(f"{atol:.2g}")])
    # who shares memory with whom, and who has a history
    names = sorted(machine.env, key=lambda n: int(n[1:]))
    groups = collections.defaultdict(list)
    for n in names:
        groups[machine.env[n].untyped_storage()._cdata].append(n)
    return program | {
        "expected": expected,
        "shared": [g for g in groups.values() if len(g) > 1],
        "traced": [n for n in names if machine.env[n].requires_grad and machine.env[n].is_floating_point()],
    }


def generate(seed):
    """A program; some seeds give none."""
    return programs_steps.Generator(seed, Machine("f32"), Reject, REFUSED).program()


def write(path, programs, ops):
    public = pathlib.Path(__file__).parent.parent / "corpus"
    signatures = {}
    for op in sorted(ops):
        file = public / f"{op}.json"
        signatures[op] = json.loads(file.read_text())["signatures"] if file.exists() else []
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        for line in [{"signatures": signatures}, *programs]:
            f.write((json.dumps(line, separators=(",", ":")) + "\n").encode())


def ops_of(programs):
    return {s[2] for p in programs for s in p["steps"] if s[0] == "op"}


def make(options):
    programs, why, seed = [], collections.Counter(), options.seed * 1_000_000
    while len(programs) < options.count:
        seed += 1
        try:
            programs.append(evaluate(generate(seed)))
        except Reject as e:
            why[str(e)] += 1
        except RuntimeError as e:
            why[str(e).split("\n")[0][:70]] += 1
    write(options.path, programs, ops_of(programs))
    counts = collections.Counter(s[2] for p in programs for s in p["steps"] if s[0] == "op")
    kinds = collections.Counter(s[0] for p in programs for s in p["steps"])
    print(f"{len(programs)} programs, {sum(len(p['steps']) for p in programs)} steps {dict(kinds)}; thrown away: {dict(why)}")
    print(f"{sum(any(s[0] == 'backward' for s in p['steps']) for p in programs)} with gradients,", end=" ")
    print(f"{sum(s[0] == 'op' and 'e' in s[5] for p in programs for s in p['steps'])} refusals, {os.path.getsize(options.path)} bytes")
    print(dict(counts.most_common()))


def fails(programs):
    """Which of these calor gets wrong, by number."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "reduce.jsonl.gz"
        write(path, [p | {"id": i} for i, p in enumerate(programs)], ops_of(programs))
        asked = os.environ | {"CALOR_PROGRAMS": str(path)}
        done = subprocess.run(
            ["cargo", "test", "-q", "--all-features", "--test", "programs", "--", "--nocapture"], env=asked, capture_output=True, text=True
        )
    return {int(n) for n in re.findall(r"^program (\d+) fails", done.stdout, re.M)}, done.stdout


def smaller(program):
    """The program without each of its steps, or with fewer at once."""
    steps = program["steps"]
    spans = [(i, i + n) for n in (8, 4, 2, 1) for i in range(0, len(steps), max(n // 2, 1)) if n < len(steps)]
    for start, end in spans:
        left = steps[:start] + steps[end:]
        used = set(re.findall(r"\$\d+", json.dumps(left)))
        one = {"id": program["id"], "in": [i for i in program["in"] if i[0] in used], "steps": left}
        try:
            yield evaluate(one)
        except (Reject, KeyError, RuntimeError, IndexError, TypeError):
            continue


def reduce(path, number):
    lines = gzip.open(path, "rt").read().splitlines()[1:]
    best = next(p for p in map(json.loads, lines) if p["id"] == number)
    while True:
        candidates = list(smaller(best))
        bad, _ = fails(candidates) if candidates else (set(), "")
        if not bad:
            break
        best = min((candidates[i] for i in bad), key=lambda p: len(p["steps"]))
    print(fails([best])[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=pathlib.Path, nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--reduce", nargs=2, metavar=("FILE", "ID"))
    options = parser.parse_args()
    if options.reduce:
        reduce(options.reduce[0], int(options.reduce[1]))
    else:
        make(options)

"""Writes another corpus in the format of ../shared/conformance: other samples, values, dtypes and sizes of its operations.

    python tests/torch/corpus.py OUT [--seed 1] [--cases 30] [--op REGEX]
    CALOR_CORPUS=OUT cargo test --all-features --test conformance

Cases come from PyTorch's OpInfo (its samples, reference and error inputs under other seeds, dense and strided) and from the public
cases with other sizes and values, which PyTorch takes or refuses. PyTorch's own result is compared with a run in f64; what
depends on rounding is dropped, as the public corpus does."""

import argparse
import inspect
import json
import math
import pathlib
import random
import re
import signal
import warnings

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.testing._internal.common_methods_invocations import op_db

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

DTYPES = {
    "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
    "i32": torch.int32, "i64": torch.int64, "bool": torch.bool, "u8": torch.uint8,
}
NAMES = {v: k for k, v in DTYPES.items()}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-7, torch.float16: 1e-3, torch.bfloat16: 1.6e-2}
ATOL = TOLERANCE | {torch.bfloat16: 1e-2}
# results that are defined up to signs, memory or chance
SKIPPED = re.compile(r"(empty|rand|bernoulli|multinomial|normal|uniform|exponential|nn\.functional\.dropout|Tensor\.(resize_|new_empty)).*")
# indices that depend on which of equal values is met first
INDICES = {
    "sort", "argsort", "topk", "kthvalue", "median", "nanmedian", "mode", "msort", "max", "min", "argmax", "argmin", "cummax", "cummin",
}


class Skip(Exception):
    """This case cannot be told in the format."""


class Clock:
    """Refuses to wait for a call of PyTorch beyond some seconds."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        def late(*_):
            raise Skip("takes too long")

        signal.signal(signal.SIGALRM, late)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)


def function(op):
    """What a corpus name calls, and whether it is a property."""
    at = torch
    parts = op.split(".")
    for part in parts:
        at = getattr(at, part)
    if parts[0] == "Tensor" and not callable(at):
        return lambda x: getattr(x, parts[1])
    return at


def tree(f, value):
    if isinstance(value, torch.Tensor):
        return f(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(tree(f, v) for v in value) if type(value) in (list, tuple) else tuple(tree(f, v) for v in value)
    if isinstance(value, dict):
        return {k: tree(f, v) for k, v in value.items()}
    return value


def tensors_of(value):
    out = []
    tree(lambda t: out.append(t) or t, value)
    return out


def flat(value):
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [x for v in value for x in flat(v)]
    return [value]


class Writer:
    """The cases of one operation."""

    def __init__(self, public):
        self.head = {k: v for k, v in public.items() if k != "cases"}
        self.cases, self.tensors = [], {}

    def value(self, v, case, inputs):
        if isinstance(v, torch.Tensor):
            if v.dtype not in NAMES or v.layout != torch.strided or v.numel() > 20000 or type(v) is not torch.Tensor:
                raise Skip("a tensor of another kind")
            for seen, told in inputs:
                if seen is v:
                    return told
            key = f"{case}.in{len(inputs)}"
            if v.is_contiguous():
                told = {"tensor": key}
                self.pending[key] = v.detach().clone()
            else:
                reach = 1 + v.storage_offset() + sum((n - 1) * s for n, s in zip(v.shape, v.stride()) if n)
                told = {"tensor": key, "shape": list(v.shape), "strides": list(v.stride()), "offset": v.storage_offset()}
                whole = torch.as_strided(v.detach(), (reach,), (1,), 0)
                if v.numel() == 0 or v.is_conj() or v.is_neg():
                    raise Skip("an odd view")
                self.pending[key] = whole.clone()
            inputs.append((v, told))
            return told
        if isinstance(v, bool) or v is None or isinstance(v, (int, str)):
            return v
        if isinstance(v, float):
            return v if math.isfinite(v) else str(v)
        if isinstance(v, torch.dtype):
            if v not in NAMES:
                raise Skip("a dtype")
            return {"dtype": NAMES[v]}
        if isinstance(v, slice):
            return {"slice": [v.start, v.stop, v.step]}
        if v is Ellipsis:
            return {"ellipsis": True}
        if isinstance(v, (np.integer, np.floating)):
            return v.item()
        if isinstance(v, (list, tuple, torch.Size)):
            return [self.value(x, case, inputs) for x in v]
        raise Skip(f"an argument {type(v)}")

    def add(self, op, args, kwargs, origin, dtype, error=None):
        case = f"c{len(self.cases)}"
        self.pending = {}
        inputs = []
        indexed = op in ("Tensor.__getitem__", "Tensor.__setitem__")
        if indexed and not isinstance(args[1], tuple):
            args = [args[0], (args[1],), *args[2:]]
        told_args = [self.value(a, case, inputs) for a in args]
        told_kwargs = {k: self.value(v, case, inputs) for k, v in kwargs.items()}
        brief = lambda t: f"{NAMES[t.dtype]}{list(t.shape)}".replace(" ", "") + ("" if t.is_contiguous() else "~")
        says = lambda v: brief(v) if isinstance(v, torch.Tensor) else repr(v) if not isinstance(v, (list, tuple)) else \
            "[" + ", ".join(map(says, v)) + "]"
        desc = f"{op}({', '.join([says(a) for a in args] + [f'{k}={says(v)}' for k, v in kwargs.items()])})"
        row = {"name": case, "desc": desc, "origin": origin, "dtype": dtype, "args": told_args, "kwargs": told_kwargs}
        tags = [tag for tag, on in {
            "noncontiguous": any(not t.is_contiguous() for t, _ in inputs),
            "empty": any(t.numel() == 0 for t, _ in inputs),
            "scalar": any(t.dim() == 0 for t, _ in inputs),
            "nonfinite": any(t.is_floating_point() and not t.isfinite().all() for t, _ in inputs),
        }.items() if on]
        if error is not None:
            message = str(error).strip().split("\n")[0]
            part = max(re.split(r"[\d\[\]()'\",]+", message), key=len).strip() or message
            about = bool(re.search(r"dtype|not implemented for|scalar type|Long|Float|Bool|Half|Int|cast", message))
            row |= {"outputs": [], "rtol": 0.0, "atol": 0.0, "grads": None, "error": {
                "type": type(error).__name__, "message_contains": part, "message": message, "about_dtype": about}, "tags": tags}
        else:
            row |= self.results(op, args, kwargs, case, inputs)
            row |= {"error": None, "tags": tags}
        self.cases.append(row)
        self.tensors |= self.pending

    def results(self, op, args, kwargs, case, inputs):
        call = function(op)
        inplace = self.head["inplace"]
        copy = lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype).copy_(t) if not t.is_contiguous() and 0 not in t.stride() else t.detach().clone()
        wide = lambda t: t.detach().to(torch.float64 if t.dtype in TOLERANCE else t.dtype, copy=True)

        def apply(leaf_of):
            a, k = tree(leaf_of, list(args)), tree(leaf_of, kwargs)
            if inplace and isinstance(a[0], torch.Tensor) and a[0].requires_grad:
                a[0] = a[0].clone()
            out = call(*a, **k)
            return [a[0]] if op == "Tensor.__setitem__" else flat(out)

        with torch.no_grad():
            plain = apply(copy)
            wides = {k: (torch.float64 if v in TOLERANCE else v) for k, v in kwargs.items() if k == "dtype"}
            a, k = tree(wide, list(args)), tree(wide, kwargs) | wides
            exact = call(*a, **k)
            exact = [a[0]] if op == "Tensor.__setitem__" else flat(exact)
        if not plain or len(plain) != len(exact):
            raise Skip("outputs")
        told, rtol, atol = [], 0.0, 0.0
        used = [t.dtype for t, _ in inputs if t.dtype in TOLERANCE]
        ties = op.split(".")[-1].rstrip("_") in INDICES and any(t.unique().numel() < t.numel() for t, _ in inputs)
        for i, (got, best) in enumerate(zip(plain, exact)):
            if not isinstance(got, torch.Tensor):
                if isinstance(got, torch.dtype):
                    told.append({"dtype": NAMES[got]})
                elif isinstance(got, (bool, int)):
                    told.append(got)
                else:
                    raise Skip("an output")
                continue
            if got.dtype not in NAMES or got.numel() > 20000 or got.is_conj():
                raise Skip("an output's dtype")
            key = f"{case}.out{i}"
            one = {"tensor": key}
            if not got.is_floating_point():
                if ties and got.dtype == torch.int64:
                    one["unchecked"] = True
                elif best.shape != got.shape or not torch.equal(best.to(got.dtype), got):
                    raise Skip("depends on rounding")
            elif got.numel():
                r, t = self.band(got, best, used)
                rtol, atol = max(rtol, r), max(atol, t)
            told.append(one)
            self.pending[key] = got.detach().contiguous().clone()
        return {"outputs": told, "rtol": rtol, "atol": atol, "grads": self.gradients(apply, wide, args, kwargs, case, inputs, used)}

    def band(self, got, best, used):
        if got.shape != best.shape:
            raise Skip("another shape")
        a, b = got.double(), best.double()
        if not torch.equal(a.isnan(), b.isnan()) or not torch.equal(a.isinf(), b.isinf()):
            raise Skip("another range")
        keep = a.isfinite()
        error = (a - b)[keep].abs().max().item() if keep.any() else 0.0
        scale = b[keep].abs().max().item() if keep.any() else 0.0
        if error > 0.02 * max(scale, 1e-30) and error > 1e-6:
            raise Skip("far from f64")
        dtypes = [d for d in used + [got.dtype] if d in TOLERANCE]
        low = max(dtypes, key=lambda d: TOLERANCE[d])
        return TOLERANCE[low], ATOL[low] + 4 * error

    def gradients(self, apply, wide, args, kwargs, case, inputs, used):
        if not used or any(d not in (torch.float32, torch.float64) for d in used):
            return None
        try:
            def run(convert):
                leaves = {}

                def leaf(t):
                    if id(t) not in leaves:
                        c = convert(t)
                        leaves[id(t)] = c.requires_grad_(True) if c.is_floating_point() else c
                    return leaves[id(t)]

                return apply(leaf), leaves

            outputs, leaves = run(lambda t: t.detach().clone())
            torch.manual_seed(len(self.cases))
            heads = [o.requires_grad if isinstance(o, torch.Tensor) else False for o in outputs]
            if not any(heads):
                return None
            seeds = [torch.randn(o.shape, dtype=torch.float64) if h else None for o, h in zip(outputs, heads)]
            floats = [(t, told["tensor"]) for t, told in inputs if t.is_floating_point()]

            def pull(outputs, leaves):
                outs = [o for o, h in zip(outputs, heads) if h]
                sds = [s.to(o.dtype) for o, s in zip(outs, [s for s in seeds if s is not None])]
                return torch.autograd.grad(outs, [leaves[id(t)] for t, _ in floats], sds, allow_unused=True)

            got = pull(outputs, leaves)
            best = pull(*run(wide))
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            return None
        rtol = atol = 0.0
        told = {}
        for (t, key), g, b in zip(floats, got, best):
            told[key] = None
            if g is None:
                continue
            if b is None:
                return None
            if g.numel():
                if not g.isfinite().all():
                    return None
                try:
                    r, a = self.band(g, b, used)
                except Skip:
                    return None
                rtol, atol = max(rtol, r), max(atol, a)
            name = key.replace(".in", ".gin")
            told[key] = name
            self.pending[name] = g.detach().contiguous().clone()
        cotangents = []
        for i, (o, s) in enumerate(zip(outputs, seeds)):
            cotangents.append(None if s is None else f"{case}.gout{i}")
            if s is not None:
                self.pending[f"{case}.gout{i}"] = s.to(o.dtype)
        return {"cotangents": cotangents, "inputs": told, "rtol": rtol, "atol": atol}


def strided(t, rng):
    """The same values in a memory with gaps or in another order."""
    if t.dim() == 0 or t.numel() == 0:
        return t
    kind = rng.randrange(3)
    if kind == 0 and t.dim() > 1:
        order = list(range(t.dim()))
        rng.shuffle(order)
        back = [order.index(i) for i in range(t.dim())]
        return t.permute(order).contiguous().permute(back)
    gap = torch.full([*t.shape[:-1], t.shape[-1] * 2 + 1], 1, dtype=t.dtype)
    view = gap[..., 1::2]
    view.copy_(t)
    return view


def opinfo_cases(op, infos, rng, seed):
    for info in infos:
        for name, dtype in DTYPES.items():
            if dtype not in info.supported_dtypes("cpu"):
                continue
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            samples = []
            try:
                with Clock(20):
                    samples += [("sample", s) for s in info.sample_inputs("cpu", dtype)]
                    if name == "f32":
                        samples += [("reference", s) for s in info.reference_inputs("cpu", dtype)]
            except Exception:  # some tables need a GPU or other packages
                pass
            rng.shuffle(samples)
            for i, (kind, s) in enumerate(samples[: 40 if name == "f32" else 10]):
                args, kwargs = [s.input, *s.args], dict(s.kwargs)
                if "embedding" in op:  # OpInfo has the table first
                    args[:2] = [args[1], args[0]]
                if op.endswith("_") and isinstance(args[0], torch.Tensor):
                    args[0] = args[0].detach().clone(memory_format=torch.contiguous_format)
                if i % 3 == 2:
                    args = tree(lambda t: strided(t.detach(), rng), args)
                yield args, kwargs, f"opinfo:{info.name}:{kind}{i}", name, None
        try:
            errors = list(info.error_inputs("cpu"))
        except Exception:
            errors = []
        for i, e in enumerate(errors):
            s = e.sample_input
            yield [s.input, *s.args], dict(s.kwargs), f"opinfo:{info.name}:error{i}", "f32", True


# functions that the public corpus leaves out
MORE = [
    "nn.functional." + name
    for name in (
        "max_unpool1d", "max_unpool3d", "lp_pool3d", "rrelu", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d",
        "dropout3d", "triplet_margin_with_distance_loss", "upsample", "upsample_nearest", "upsample_bilinear",
    )
]


def drawn_cases(op, rng):
    """Cases of `MORE`, drawn here; nothing depends on chance."""
    name, n = op.split(".")[-1], rng.randint
    coin = lambda: rng.random() < 0.5
    for i in range(400):
        dtype = rng.choice(["f32", "f32", "f32", "f64", "f16"])
        x = lambda *shape: torch.randn(shape, dtype=torch.float64).to(DTYPES[dtype])
        torch.manual_seed(i)
        lead = [n(1, 3) for _ in range(n(1, 2))]
        if "unpool" in name:
            dim = int(name[-2])
            kernel, stride, sides = n(1, 3), n(1, 3), [n(3, 7) for _ in range(dim)]
            padding = n(0, kernel // 2)
            pool = getattr(torch.nn.functional, f"max_pool{dim}d")
            whole = x(*lead, *sides)
            y, at = pool(whole, kernel, stride, padding, return_indices=True)
            if at.unique().numel() * math.prod(lead) < at.numel():
                continue  # one of equal indices is taken
            kwargs = {"kernel_size": kernel, "stride": stride, "padding": padding}
            if coin():
                kwargs["output_size"] = rng.choice([sides, [*([n(1, 2)] * (2 - len(lead))), *lead, *sides]])
            args = [y, at]
        elif name == "lp_pool3d":
            kwargs = {"norm_type": rng.choice([1.0, 2.0, 3.0]), "kernel_size": rng.choice([2, [1, 2, 3]]), "ceil_mode": coin()}
            kwargs |= {"stride": rng.choice([1, [2, 1, 3]])} if coin() else {}
            args = [x(*lead, *[n(3, 6) for _ in range(3)])]
        elif name == "rrelu":
            args, kwargs = [x(*lead, n(1, 9))], {"training": False}
            kwargs |= {"lower": rng.choice([0.0, 0.1]), "upper": rng.choice([0.5, 0.3])} if coin() else {}
        elif "dropout" in name:
            args, kwargs = [x(*[n(1, 4) for _ in range(n(1, 5))])], {"p": rng.choice([0.0, 0.3, 1.0, -0.5, 1.5]), "training": coin()}
            if kwargs["training"] and kwargs["p"] in (0.3, 1.0):
                kwargs["p"] = 0.0
        elif "triplet" in name:
            shape = [*lead, n(1, 6)]
            args, kwargs = [x(*shape) for _ in range(3)], {"swap": coin(), "reduction": rng.choice(["mean", "sum", "none"])}
            kwargs |= {"margin": rng.choice([0.5, 2.0, 0.0])} if coin() else {}
        else:
            dim = 2 if "bilinear" in name else n(1, 3)
            kwargs = rng.choice([{"size": rng.choice([n(1, 9), [n(1, 9) for _ in range(dim)]])}, {"scale_factor": rng.choice([2, 3])}])
            if name == "upsample":
                mode = rng.choice(["nearest", ("linear", "bilinear", "trilinear")[dim - 1]])
                kwargs |= {"mode": mode} | ({"align_corners": coin()} if mode != "nearest" else {})
            args = [x(n(1, 2), n(1, 3), *[n(1, 5) for _ in range(dim)])]
        yield args, kwargs, f"random:{i}", dtype, None


def changed_cases(public, stored, rng):
    """Public cases with other sizes and values; what PyTorch says then is the case."""

    def build(v, sizes, shift):
        if isinstance(v, dict) and "tensor" in v:
            base = stored[v["tensor"]]
            shape = v.get("shape", list(base.shape))
            if "shape" in v:
                base = torch.as_strided(base, shape, v["strides"], v["offset"])
            shape = [sizes.get(n, n) for n in shape]
            count = math.prod(shape)
            values = base.reshape(-1)
            if values.numel() == 0:
                return torch.zeros(shape, dtype=base.dtype)
            pick = (torch.arange(count) * shift) % values.numel()
            out = values[pick].reshape(shape).clone()
            if out.dtype in TOLERANCE:
                out = out * (1 + 0.1 * torch.rand(shape, dtype=torch.float64).to(out.dtype))
            return strided(out, rng) if "shape" in v else out
        if isinstance(v, dict):
            if "tensors" in v:
                return [build({"tensor": k}, sizes, shift) for k in v["tensors"]]
            if "dtype" in v:
                return DTYPES[v["dtype"]]
            if "slice" in v:
                return slice(*v["slice"])
            if "ellipsis" in v:
                return Ellipsis
            raise Skip("a value")
        if isinstance(v, list):
            return [build(x, sizes, shift) for x in v]
        if v in ("inf", "-inf", "nan"):
            return float(v)
        return v

    cases = [c for c in public["cases"] if c["error"] is None]
    rng.shuffle(cases)
    for case in cases:
        if not re.search(r'"tensors?"', json.dumps([case["args"], case["kwargs"]])):
            continue
        sizes = {n: rng.choice([n, n + 1, n + 2, max(n - 1, 0), 2 * n, 1]) for n in range(1, 40)} if rng.random() < 0.7 else {}
        try:
            args = build(case["args"], sizes, rng.choice([1, 3, 7]))
            kwargs = {k: build(v, sizes, 1) for k, v in case["kwargs"].items()}
        except (Skip, RuntimeError):
            continue
        if "getitem" in public["op"] or "setitem" in public["op"]:
            args[1] = tuple(args[1])
        yield args, kwargs, f"random:{case['name']}", case["dtype"], None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--public", type=pathlib.Path, default=pathlib.Path(__file__).parents[3] / "shared/conformance/public")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=30, help="of each source")
    parser.add_argument("--op", default=".*")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    total = 0
    known = {p.name: p for p in options.public.glob("*.json")}
    for name in sorted(known.keys() | {f"{op}.json" for op in MORE}):
        path, op = known.get(name), name.removesuffix(".json")
        if path is None:
            signature = f"{op.split('.')[-1]}{inspect.signature(function(op))}"
            public = {"op": op, "family": "nn", "tier": 2, "inplace": False, "signatures": [signature], "cases": []}
        else:
            public = json.loads(path.read_text())
        op = public.get("op")
        if not op or not re.fullmatch(options.op, op) or path and SKIPPED.fullmatch(op):
            continue
        rng = random.Random(f"{op} {options.seed}")
        stored = load_file(path.with_suffix(".safetensors")) if path and path.with_suffix(".safetensors").exists() else {}
        names = {c["origin"].split(":")[1] for c in public["cases"] if c["origin"].startswith("opinfo:")}
        infos = [i for i in op_db if i.name in names]
        writer = Writer(public)
        why = {}
        sources = (opinfo_cases(op, infos, rng, options.seed), changed_cases(public, stored, rng)) if path else (drawn_cases(op, rng),)
        for source in sources:
            made = 0
            for args, kwargs, origin, dtype, error in source:
                if made >= options.cases * (2 if origin.startswith("opinfo") else 1) and not error:
                    continue
                kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "layout", "pin_memory", "requires_grad")}
                try:
                    if "out" in kwargs:
                        raise Skip("writes to an argument")
                    with Clock(5):
                        try:
                            with torch.no_grad():
                                function(op)(*tree(lambda t: t.detach().clone(), args), **tree(lambda t: t.detach().clone(), kwargs))
                        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as e:
                            if isinstance(e, (TypeError, NotImplementedError)) or "not implemented" in str(e) or "internal" in str(e).lower():
                                raise Skip("not a rule of the operation") from e
                            if not error and not origin.startswith("random"):
                                raise Skip("refused") from e
                            if not error and rng.random() < 0.6:
                                raise Skip("enough refusals") from e
                            writer.add(op, args, kwargs, origin, dtype, e)
                            made += 1
                            continue
                        if error:
                            raise Skip("not refused when called so")
                        writer.add(op, args, kwargs, origin, dtype)
                        made += 1
                except Skip as e:
                    why[str(e)] = why.get(str(e), 0) + 1
                except Exception as e:  # PyTorch raises what it likes
                    why[type(e).__name__ + str(e)[:60]] = why.get(type(e).__name__ + str(e)[:60], 0) + 1
        total += len(writer.cases)
        print(f"{op}: {len(writer.cases)} cases; left out: {why}", flush=True)
        with open(options.out / name, "w") as f:
            f.write(json.dumps(writer.head)[:-1] + ', "cases": [\n')
            f.write(",\n".join(json.dumps(c) for c in writer.cases) + "\n]}\n")
        save_file(writer.tensors or {"none": torch.zeros(1)}, options.out / f"{name.removesuffix('.json')}.safetensors")
    print(f"{total} cases")


if __name__ == "__main__":
    main()

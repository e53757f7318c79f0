"""The steps of random programs (programs.py): chosen one by one, each tried on PyTorch."""

import random

import torch

FLOAT, INT, BOOL = "f32", "i32", "bool"
KINDS = {torch.float32: FLOAT, torch.int32: INT, torch.int64: INT, torch.bool: BOOL}


class Generator:
    def __init__(self, seed, machine, reject, refused):
        self.rng, self.machine, self.reject, self.refused = random.Random(seed), machine, reject, refused
        self.seed, self.inputs, self.steps, self.next = seed, [], [], 0
        self.wide = self.rng.random() < 0.15  # whether i64 occurs
        self.graded = self.rng.random() < 0.4

    # --- choices

    def one(self, items):
        return self.rng.choice(items) if items else None

    def chance(self, p):
        return self.rng.random() < p

    def name(self):
        self.next += 1
        return f"${self.next}"

    def t(self, name):
        return self.machine.env[name]

    def pick(self, kind=None, rank=None, full=False, test=None):
        """A live tensor, later ones sooner."""
        found = []
        for n, t in self.machine.env.items():
            if kind is not None and KINDS[t.dtype] not in kind:
                continue
            if rank is not None and t.dim() < rank or full and t.numel() == 0 or test and not test(t):
                continue
            found.append(n)
        if not found:
            return None
        return self.rng.choice(found[-4:]) if self.chance(0.5) else self.rng.choice(found)

    def dim(self, t, extra=0):
        d = self.rng.randrange(max(t.dim() + extra, 1))
        return d - max(t.dim() + extra, 1) if self.chance(0.3) else d

    def fresh(self, dtype, shape, values=None, grad=False):
        """An input of the program."""
        n = 1
        for s in shape:
            n *= s
        if values is None:
            if dtype == FLOAT:
                values = self.rng.sample([v for v in range(-128, 129) if v], n) if n <= 200 else [self.rng.randint(-128, 128) for _ in range(n)]
            elif dtype == BOOL:
                values = [self.rng.randrange(2) for _ in range(n)]
            else:
                values = [self.rng.randint(-5, 9) for _ in range(n)]
        name = self.name()
        one = [name, dtype, list(shape), values, int(grad)]
        self.inputs.append(one)
        self.machine.input(*one)
        return name

    def indices(self, shape, size, unique=False):
        n = 1
        for s in shape:
            n *= s
        if unique and n > size:
            return None
        values = self.rng.sample(range(size), n) if unique else [self.rng.randrange(size) for _ in range(n)]
        return self.fresh("i64" if self.wide and self.chance(0.5) else INT, shape, values)

    def mask(self, shape):
        """A truth value that broadcasts to a shape."""
        found = self.pick((BOOL,), test=lambda m: fits(m.shape, shape))
        if found and self.chance(0.7):
            return found
        shape = [1 if self.chance(0.2) else s for s in shape]
        return self.fresh(BOOL, shape[self.rng.randrange(len(shape) + 1) if self.chance(0.2) else 0:])

    def number(self, kind=FLOAT):
        if kind == FLOAT:
            return self.rng.randint(-24, 24) / 16
        return self.rng.randint(-3, 4)

    def partner(self, x, kind=None, loose=0.08):
        """A tensor that broadcasts with x, or a number; rarely one that does not."""
        t = self.t(x)
        if self.chance(0.2):
            return self.number(self.one([FLOAT, INT]))
        if self.chance(loose):
            return self.pick(kind)
        return self.pick(kind, test=lambda y: broadcasts(t.shape, y.shape)) or self.number()

    # --- steps

    def grow(self):
        """Tries a step; says whether it became one."""
        table = programs_table()
        make = self.rng.choices([m for m, _ in table], [w for _, w in table])[0]
        made = make(self)
        if made is None:
            return False
        op, args, kwargs, outs = (*made, None)[:4] if len(made) == 3 else made
        return self.add(op, args, kwargs, outs)

    def add(self, op, args, kwargs, outs=None, flags=""):
        inplace = op.endswith("_")
        if not flags and self.graded and self.chance(0.06):
            flags = "n"
        # tried on copies first: a refusal, or numbers that grow, must leave no trace
        env = self.machine.env
        if inplace and any(t.untyped_storage()._cdata == env[args[0]].untyped_storage()._cdata for t in self.machine.saved):
            return False
        if inplace and overlaps(env[args[0]]):
            # PyTorch lets some operations write, in no order
            t = env[args[0]]
            if op not in ("Tensor.add_", "Tensor.mul_", "Tensor.tanh_") or not any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape)):
                return False
        if op in ("select_scatter", "slice_scatter", "diagonal_scatter") and overlaps(env[args[0]]):
            return False  # PyTorch's copy overlaps itself too
        names = {a for a in flat([args, list(kwargs.values())]) if isinstance(a, str) and a.startswith("$")}
        self.machine.env = env | {n: env[n].detach().clone() for n in names}
        try:
            with torch.no_grad():
                made = self.machine.call(op, args, kwargs)
            target = [self.machine.env[args[0]]] if inplace else made
            if not all(sound(t) for t in target):
                return False
        except (RuntimeError, IndexError, ValueError, TypeError):
            pass
        finally:
            self.machine.env = env
        try:
            with torch.set_grad_enabled("n" not in flags):
                made = self.machine.call(op, args, kwargs)
        except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError) as e:
            if self.refused.search(str(e)) and "not implemented" not in str(e) and self.chance(0.5) and not inplace_partial(op):
                self.steps.append(["op", [], op, args, kwargs, flags + "e"])
            return False
        if inplace:
            self.steps.append(["op", [], op, args, kwargs, flags])
            return True
        if "n" in flags and any(t.requires_grad for t in made):
            return False  # a view that is a leaf, though its base is none
        count = len(made) if outs is None else min(outs, len(made))
        names = [self.name() for _ in range(count)]
        self.steps.append(["op", names, op, args, kwargs, flags])
        self.machine.env.update(zip(names, made))
        return True

    def do(self, *step):
        self.machine.step(list(step))
        self.steps.append(list(step))

    def read(self, name):
        self.do("read", name)

    def aside(self):
        """What is no operation."""
        kind = self.rng.random()
        live = list(self.machine.env)
        if kind < 0.3:
            self.read(self.one(live))
        elif kind < 0.42:
            self.do("eval", self.one(live))
        elif kind < 0.78 and len(live) > 3:
            self.do("drop", self.one(live))
        elif kind < 0.83:
            self.do("detach", self.name(), self.one(live))
        elif self.graded:
            x = self.pick((FLOAT,))
            alone = x and sum(t.untyped_storage()._cdata == self.t(x).untyped_storage()._cdata for t in self.machine.env.values()) == 1
            if alone and self.t(x).is_leaf and not self.t(x).requires_grad and kind < 0.93:
                self.do("requires", x)
            elif x and self.t(x).requires_grad and not self.t(x).is_leaf:
                self.do("retain", x)

    def loss(self, retain):
        """A scalar of some live tensors, and its gradients."""
        traced = [n for n, t in self.machine.env.items() if t.requires_grad and t.numel()]
        if not traced:
            return False
        chosen = self.rng.sample(traced, min(len(traced), self.rng.randint(1, 3)))
        total = None
        for x in chosen:
            if self.chance(0.7):
                self.must(self.one(["tanh", "sigmoid", "sin"]), [x])
                x = f"${self.next}"
            if self.chance(0.4):
                self.must("mul", [x, self.fresh(FLOAT, list(self.t(x).shape))])
                x = f"${self.next}"
            self.must(self.one(["sum", "mean"]), [x])
            one = f"${self.next}"
            if total is not None:
                self.must("add", [total, one])
                one = f"${self.next}"
            total = one
        self.do("backward", total, retain)
        if retain and self.chance(0.5):
            self.do("backward", total, False)
        return True

    def must(self, op, args):
        if not self.add(op, args, {}, flags=" "):
            raise self.reject("no loss")
        self.steps[-1][5] = ""

    def gradients(self, chance=1.0):
        for n, t in list(self.machine.env.items()):
            if (t.requires_grad and t.is_leaf or t.retains_grad) and self.chance(chance):
                self.do("grad", n)

    def program(self):
        m, n, k = (self.rng.choice([1, 2, 3, 4, 5]) for _ in range(3))
        if self.chance(0.06):
            n = 0
        shapes = [[m, n], [m, n], [n], [m, 1], [1, n], [n, k], [k, m], [m, n, k], [k, m, n], [], [m, k], [k], [2, m, n, 2], [n, n]]
        for _ in range(self.rng.randint(2, 4)):
            self.fresh(FLOAT, self.one(shapes), grad=self.graded and self.chance(0.6))
        if self.chance(0.5):
            self.fresh("i64" if self.wide and self.chance(0.6) else INT, self.one(shapes))
        if self.chance(0.3):
            self.fresh(BOOL, self.one(shapes))
        goal, tries = self.rng.randint(4, 18), 0
        while sum(s[0] == "op" for s in self.steps) < goal and tries < 100:
            tries += 1
            if self.chance(0.2):
                self.aside()
            else:
                self.grow()
            if self.graded and self.chance(0.03) and self.loss(self.chance(0.5)):
                self.gradients(0.5)
                leaf = self.pick((FLOAT,), test=lambda t: t.is_leaf and t.grad is not None)
                if leaf and self.chance(0.5):
                    self.do("take", self.name(), leaf)
                elif leaf and self.chance(0.3):
                    self.do("clear", leaf)
            if len(self.machine.env) > 12:
                self.do("drop", self.one(list(self.machine.env)))
        if self.graded and self.loss(self.chance(0.25)):
            self.gradients()
        for name in list(self.machine.env):
            self.read(name)
        used = {a for s in self.steps for a in flat(s) if isinstance(a, str) and a.startswith("$")}
        return {"id": self.seed, "in": [i for i in self.inputs if i[0] in used], "steps": self.steps}


def flat(v):
    if isinstance(v, (list, tuple)):
        return [x for y in v for x in flat(y)]
    if isinstance(v, dict):
        return flat(list(v.values()))
    return [v]


def inplace_partial(op):
    """Whether a refusal may come when a part is written already."""
    return op.endswith("_") and ("index" in op or "scatter" in op) or "__set" in op


def overlaps(t):
    places = torch.arange(t.untyped_storage().nbytes() // t.element_size()).as_strided(t.shape, t.stride(), t.storage_offset())
    return places.unique().numel() < t.numel()


def sound(t):
    if t.numel() > 400 or t.dim() > 5:
        return False
    if t.is_floating_point():
        return bool(t.isfinite().all()) and (t.numel() == 0 or t.abs().max() < 20)
    return t.dtype == torch.bool or t.numel() == 0 or t.to(torch.int64).abs().max() < 10000


def fits(small, large):
    """Whether one shape broadcasts to another."""
    return broadcasts(small, large) and len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1]))


def broadcasts(a, b):
    return all(x == y or x == 1 or y == 1 for x, y in zip(a[::-1], b[::-1]))


def distinct(t):
    return t.detach().unique().numel() == t.numel()


# --- each of these gives (op, args, kwargs[, how many results]) or None

def unary(g):
    x = g.pick((FLOAT, INT))
    ops = ["tanh", "sigmoid", "sin", "cos", "erf", "atan", "nn.functional.silu", "nn.functional.softplus", "nn.functional.gelu", "exp", "square"]
    ops += ["neg", "abs", "nn.functional.relu", "sign", "floor", "round", "tanh", "sigmoid", "expm1"]
    if x is None:
        return None
    op = g.one(ops)
    if g.t(x).dtype in (torch.int32, torch.int64):
        op = g.one(["tanh", "sigmoid", "cos", "neg", "abs", "square", "sign", "atan"])
    return op, [x], {}


def binary(g):
    x = g.pick()
    y = g.partner(x)
    op = g.one(["add", "add", "sub", "mul", "mul", "maximum", "minimum", "atan2", "div"])
    if op in ("maximum", "minimum", "atan2") and not isinstance(y, str):
        op = "add"
    if op == "atan2" and not all(bool((g.t(n) != 0).all()) for n in (x, y)):
        op = "mul"  # WGSL does not keep the sign of zero
    if op == "div":
        y = g.one([2, 1.5, -4]) if not isinstance(y, str) else y
        if isinstance(y, str) and (g.t(y).numel() == 0 or g.t(y).abs().min() < 0.3 if g.t(y).dtype != torch.bool else True):
            return None
        if g.chance(0.2) and not g.t(x).is_floating_point():
            return op, [x, y], {"rounding_mode": g.one(["floor", "trunc"])}
    if op in ("add", "sub") and isinstance(y, str) and g.chance(0.2) and g.t(x).dtype != torch.bool:
        return op, [x, y], {"alpha": g.one([2, -1]) if not g.t(x).is_floating_point() else g.one([0.5, 2, -1.25])}
    return op, [x, y], {}


def whole(g):
    x = g.pick((INT,))
    if x is None:
        return None
    op = g.one(["remainder", "fmod", "floor_divide", "bitwise_and", "bitwise_or", "bitwise_xor"])
    y = g.pick((INT,), test=lambda y: broadcasts(g.t(x).shape, y.shape)) if op[0] == "b" and g.chance(0.6) else g.one([2, 3, 5])
    return op, [x, y], {}


def compare(g):
    x = g.pick()
    return g.one(["gt", "ge", "lt", "le", "eq", "ne"]), [x, g.partner(x)], {}


def truth(g):
    x = g.pick((BOOL, INT))
    if x is None:
        return None
    if g.chance(0.2):
        return "logical_not", [x], {}
    y = g.pick(test=lambda y: broadcasts(g.t(x).shape, y.shape))
    return (g.one(["logical_and", "logical_or", "logical_xor"]), [x, y], {}) if y else None


def blend(g):
    x = g.pick((FLOAT, INT))
    if x is None:
        return None
    shape = list(g.t(x).shape)
    match g.rng.randrange(6):
        case 0 | 1:
            return "where", [g.mask(shape), x, g.partner(x, (FLOAT, INT), 0)], {}
        case 2:
            return "masked_fill", [x, g.mask(shape), g.number(INT)], {}
        case 3:
            return "clamp", [x], {"min": g.number() - 1, "max": g.number() + 1} if g.t(x).is_floating_point() else {"min": -2, "max": 3}
        case 4:
            y = g.pick((FLOAT,), test=lambda y: broadcasts(shape, y.shape) and y.dtype == g.t(x).dtype)
            return ("lerp", [x, y, g.one([0.25, 0.5, 1.5])], {}) if y else None
        case _:
            y, z = (g.pick((FLOAT,), test=lambda y: fits(y.shape, shape)) for _ in range(2))
            return ("addcmul", [x, y, z], {"value": g.one([0.5, -1.0])}) if y and z and g.t(x).is_floating_point() else None


def view(g):
    x = g.pick()
    t = g.t(x)
    rank, shape = t.dim(), list(t.shape)
    d = g.dim(t)
    size = shape[d] if rank else 1
    match g.rng.randrange(19):
        case 0 if rank > 1:
            return "transpose", [x, d, g.dim(t)], {}
        case 1 if rank > 1:
            return "permute", [x, g.rng.sample(range(rank), rank)], {}
        case 2 | 3 if rank:
            start = g.rng.randint(0, size)
            return "narrow", [x, d, start, g.rng.randint(0 if g.chance(0.1) else min(1, size - start), size - start)], {}
        case 4 if rank and size:
            return "select", [x, d, g.rng.randrange(-size, size)], {}
        case 5:
            new = [g.one([1, 2, 3])] * g.rng.randint(0, 1) + [g.one([2, 3]) if s == 1 and g.chance(0.7) else s for s in shape]
            return "Tensor.expand", [x, new], {}
        case 6:
            return "unsqueeze", [x, g.dim(t, 1)], {}
        case 7:
            return ("squeeze", [x], {}) if g.chance(0.3) or not rank else ("squeeze", [x, d], {})
        case 8 | 9:
            return g.one(["Tensor.view", "reshape"]), [x, shaped(g, t.numel())], {}
        case 10 if rank > 1:
            a, b = g.rng.sample(range(rank), 2)
            return "diagonal", [x], {"offset": g.one([0, 0, 1, -1]), "dim1": a, "dim2": b}
        case 11 if rank and size and rank < 4:
            return "Tensor.unfold", [x, d, g.rng.randint(1, size), g.rng.randint(1, 3)], {}
        case 12 if rank > 1:
            return "movedim", [x, d, g.dim(t)], {}
        case 13 if rank > 1:
            return "Tensor.mT", [x], {}
        case 14 if rank:
            return g.one(["unbind", "split", "chunk"]), [x, *([g.rng.randint(1, 3)] if g.chance(0) else [])], {}
        case 15 if rank:
            return g.one(["split", "chunk"]), [x, g.rng.randint(1, 3), d], {}
        case 16 if rank > 1:
            return "flatten", [x, 0, g.rng.randrange(rank)], {}
        case _ if rank:
            return "Tensor.__getitem__", [x, indexed(g, t)], {}
    return None


def split_fixed(g):
    made = view(g)
    if made and made[0] in ("split", "chunk") and len(made[1]) == 1:
        return "unbind", made[1], {}
    return made


def indexed(g, t):
    """A basic index."""
    items = []
    for s in t.shape[: g.rng.randint(1, t.dim())]:
        kind = g.rng.random()
        if kind < 0.3 and s:
            items.append(g.rng.randrange(-s, s))
        elif kind < 0.9:
            ends = [None if g.chance(0.4) else g.rng.randint(-s, s) for _ in range(2)]
            items.append({"slice": [*ends, g.one([None, 2, 3])]})
        else:
            items += [None, {"slice": [None, None, None]}]
    if g.chance(0.15):
        items.append({"ellipsis": True})
    return items


def shaped(g, n):
    if n == 0:
        return g.one([[0], [0, 3], [2, 0]])
    if g.chance(0.3):
        return [-1]
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    a = g.one(divisors)
    if g.chance(0.4):
        b = g.one([d for d in divisors if (n // a) % d == 0])
        return [a, b, n // a // b]
    return [a, n // a] if g.chance(0.9) else [a, -1]


def copy(g):
    x = g.pick()
    t = g.t(x)
    d = g.dim(t)
    match g.rng.randrange(11):
        case 0:
            return "clone", [x], {}
        case 1:
            return "Tensor.contiguous", [x], {}
        case 2 if t.dim():
            return "flip", [x, [d]], {}
        case 3 if t.dim():
            return "roll", [x, [g.rng.randint(-2, 2)], [d]], {}
        case 4:
            return "Tensor.repeat", [x, [g.one([1, 2]) for _ in range(max(t.dim(), 1))]], {}
        case 5 if t.dim():
            return "repeat_interleave", [x, 2], {"dim": d}
        case 6 if t.dim() > 1:
            return g.one(["tril", "triu"]), [x, g.rng.randint(-1, 1)], {}
        case 7 if t.dim() and t.dtype != torch.bool:
            return "nn.functional.pad", [x, [g.rng.randint(-1, 2) if t.shape[-1] > 2 else 1, g.rng.randint(0, 2)]], {}
        case 8:
            return g.one(["zeros_like", "ones_like"]), [x], {}
        case _:
            if g.chance(0.5):
                others = [x] + [y for y in [g.pick(test=lambda y: y.shape == t.shape)] if y]
                return "stack", [others], {"dim": g.dim(t, 1)}
            if t.dim() == 0:
                return None
            like = lambda y: y.dim() == t.dim() and all(a == b for i, (a, b) in enumerate(zip(y.shape, t.shape)) if i != d % t.dim())
            return "cat", [[g.pick(test=like), x, g.pick(test=like)][: g.rng.randint(2, 3)]], {"dim": d}


def cast(g):
    x = g.pick()
    if g.chance(0.4):
        return "Tensor.float", [x], {}
    if g.chance(0.3):
        return "Tensor.bool", [x], {}
    if g.wide and g.chance(0.5):
        return "Tensor.to", [x, {"dtype": "i64"}], {}
    return "Tensor.int", [x], {}


def inplace(g):
    x = g.pick(test=lambda t: t._is_view()) if g.chance(0.6) else g.pick()
    if x is None:
        return None
    t = g.t(x)
    shape, float_ = list(t.shape), t.is_floating_point()
    other = lambda kinds: g.pick(kinds, test=lambda y: fits(y.shape, shape)) if not g.chance(0.06) else g.pick(kinds)
    kinds = (FLOAT, INT, BOOL) if float_ else (INT, BOOL) if t.dtype != torch.bool else (BOOL,)
    number = g.number(FLOAT if float_ else INT) if t.dtype != torch.bool else True
    match g.rng.randrange(17):
        case 0 | 1 | 2 if t.dtype != torch.bool:
            y = other(kinds) if g.chance(0.7) else number
            op = g.one(["Tensor.add_", "Tensor.add_", "Tensor.sub_", "Tensor.mul_"])
            if op == "Tensor.sub_" and isinstance(y, str) and g.t(y).dtype == torch.bool:
                return None
            return (op, [x, y], {"alpha": 2} if op != "Tensor.mul_" and isinstance(y, str) and g.chance(0.2) else {}) if y is not None else None
        case 3 | 4:
            y = other(None)
            # a cast of large floats to integers has no rule
            return ("Tensor.copy_", [x, y], {}) if y else None
        case 5:
            return "Tensor.fill_", [x, number], {}
        case 6:
            return "Tensor.zero_", [x], {}
        case 7 | 8:
            return "Tensor.masked_fill_", [x, g.mask(shape), number], {}
        case 9 if float_:
            return g.one(["Tensor.tanh_", "Tensor.sigmoid_", "Tensor.neg_", "Tensor.abs_", "Tensor.relu_"]), [x], {}
        case 10 if float_:
            return "Tensor.clamp_", [x], {"min": -1.0, "max": 0.75}
        case 11 if float_:
            y = other((FLOAT,))
            return ("Tensor.lerp_", [x, y, 0.25], {}) if y else None
        case 12 if float_:
            y, z = other((FLOAT,)), other((FLOAT,))
            return ("Tensor.addcmul_", [x, y, z], {"value": 0.5}) if y and z else None
        case 13 if float_ and t.dim():
            return "Tensor.cumsum_", [x, g.dim(t)], {}
        case 14 if float_:
            return "Tensor.div_", [x, g.one([2, 1.5, -3])], {}
        case 15 if t.dim():
            # a value for a part
            y = other(None) if g.chance(0.5) else None
            return "Tensor.__setitem__", [x, indexed(g, t), y or number], {}
        case _:
            return indexing(g, x, True)
    return None


def indexing(g, x=None, in_place=False):
    x = x or g.pick(full=True)
    if x is None:
        return None
    t = g.t(x)
    if t.dim() == 0 or t.numel() == 0:
        return None
    d = g.dim(t)
    size, shape = t.shape[d], list(t.shape)
    prefix, suffix = ("Tensor.", "_") if in_place else ("", "")
    kind = KINDS[t.dtype]
    source = lambda s: g.pick(test=lambda y: list(y.shape) == s and y.dtype == t.dtype) or (g.fresh(NAMED[t.dtype], s) if t.dtype != torch.bool else None)
    match g.rng.randrange(6 if in_place else 15):
        case 0 if kind != BOOL:
            part = [g.rng.randint(1, s) for s in shape]
            return f"{prefix}scatter_add{suffix}", [x, d, g.indices(part, size), source(part)], {}
        case 1 if kind != BOOL:
            n = g.rng.randint(1, 4)
            part = [n if i == d % t.dim() else s for i, s in enumerate(shape)]
            return f"{prefix}index_add{suffix}", [x, d, g.indices([n], size), source(part)], {}
        case 2:
            n = g.rng.randint(1, size)
            part = [n if i == d % t.dim() else s for i, s in enumerate(shape)]
            y = source(part)
            return (f"{prefix}index_copy{suffix}", [x, d, g.indices([n], size, True), y], {}) if y else None
        case 3:
            return f"{prefix}index_fill{suffix}", [x, d, g.indices([g.rng.randint(1, 3)], size), 1 if kind != FLOAT else 0.5], {}
        case 4 | 5:
            n = g.rng.randint(1, shape[0])
            if g.chance(0.4) and kind != BOOL:
                index, accumulate = [g.indices([n], s) for s in shape[: g.rng.randint(1, t.dim())]], True
            else:
                index, accumulate = [g.indices([n], shape[0], True)], False
            part = [n, *shape[len(index):]]
            y = source(part) if g.chance(0.7) else source([])
            return (f"{prefix}index_put{suffix}", [x, index, y, accumulate], {}) if y else None
        case 6 | 7:
            part = [g.rng.randint(1, s if i != d % t.dim() else s + 1) for i, s in enumerate(shape)]
            return "gather", [x, d, g.indices(part, size)], {}
        case 8:
            return "index_select", [x, d, g.indices([g.rng.randint(1, 4)], size)], {}
        case 9:
            return "take", [x, g.indices(g.one([[2], [3, 2], []]), t.numel())], {}
        case 10:
            return "Tensor.__getitem__", [x, [g.indices(g.one([[2], [3, 2], []]), shape[0]), *indexed_rest(g, t)]], {}
        case 11:
            return "masked_select", [x, g.mask(shape)], {}
        case 12:
            y = source([s for i, s in enumerate(shape) if i != d % t.dim()])
            return ("select_scatter", [x, y, d, g.rng.randrange(size)], {}) if y else None
        case 13:
            start = g.rng.randrange(size)
            y = source([size - start if i == d % t.dim() else s for i, s in enumerate(shape)])
            return ("slice_scatter", [x, y], {"dim": d, "start": start}) if y else None
        case 14 if t.dim() > 1:
            y = source(list(t.diagonal().shape))
            return ("diagonal_scatter", [x, y], {}) if y else None
    return None


NAMED = {torch.float32: "f32", torch.int32: "i32", torch.int64: "i64", torch.bool: "bool"}


def indexed_rest(g, t):
    if t.dim() < 2 or g.chance(0.4):
        return []
    kind = g.rng.random()
    s = t.shape[1]
    return [{"slice": [None, None, 2]}] if kind < 0.4 else [g.rng.randrange(s)] if kind < 0.7 else [{"ellipsis": True}]


def reduction(g):
    x = g.pick((FLOAT, INT, BOOL))
    t = g.t(x)
    d, keep = g.dim(t), g.chance(0.4)
    float_ = t.is_floating_point()
    kw = {"dim": d, "keepdim": keep}
    if t.dim() > 1 and g.chance(0.25):
        kw["dim"] = g.rng.sample(range(t.dim()), 2)
    match g.rng.randrange(13):
        case 0 | 1:
            return "sum", [x], kw if g.chance(0.7) else {}
        case 2 if float_ and t.numel():
            return "mean", [x], kw if g.chance(0.7) else {}
        case 3 | 4 if t.numel() and t.dtype != torch.bool:
            return g.one(["amax", "amin"]), [x], kw
        case 5 if t.dtype != torch.bool and t.numel() < 12:
            return "prod", [x], {"dim": d, "keepdim": keep}
        case 6 if float_ and t.dim() and t.shape[d] > 2:
            return g.one(["var", "std"]), [x], {"dim": [d], "correction": g.one([0, 1]), "keepdim": keep}
        case 7 if float_ and t.numel():
            return "logsumexp", [x], {"dim": kw["dim"], "keepdim": keep}
        case 8:
            return g.one(["any", "all"]), [x], {"dim": d, "keepdim": keep} if g.chance(0.7) else {}
        case 9 if float_ and t.numel():
            return "linalg.vector_norm", [x], {"ord": g.one([2, 1, 2.0]), **kw}
        case 10 if t.numel() and distinct(t):
            return g.one(["argmax", "argmin"]), [x], {"dim": d, "keepdim": keep} if g.chance(0.7) else {}
        case 11 if t.numel() and t.dim() and distinct(t) and t.dtype != torch.bool:
            return g.one(["max", "min", "median"]), [x, d], {"keepdim": keep}
        case 12 if t.numel() and t.dtype != torch.bool:
            return g.one(["max", "min"]), [x], {}
    return None


def scan(g):
    x = g.pick((FLOAT, INT))
    if x is None or g.t(x).dim() == 0:
        return None
    t = g.t(x)
    if t.is_floating_point() and g.chance(0.3):
        return g.one(["logcumsumexp", "cumprod"]), [x, g.dim(t)], {}
    return "cumsum", [x, g.dim(t)], {}


def normal(g):
    x = g.pick((FLOAT,), 1, True)
    if x is None:
        return None
    t = g.t(x)
    match g.rng.randrange(5):
        case 0 | 1:
            return g.one(["softmax", "log_softmax"]), [x, g.dim(t)], {}
        case 2 | 3 if t.shape[-1] > 2:
            n = [t.shape[-1]]
            weights = [g.pick((FLOAT,), test=lambda w: list(w.shape) == n) for _ in range(2)] if g.chance(0.6) else [None, None]
            if g.chance(0.3):
                return "nn.functional.rms_norm", [x, n, weights[0]], {"eps": 1e-3}
            return "nn.functional.layer_norm", [x, n, *weights], {"eps": 1e-3}
        case 4 if t.detach().abs().amax(-1).min() > 0.3:
            return "nn.functional.normalize", [x], {"dim": -1}
    return None


def product(g):
    x = g.pick((FLOAT,), 1)
    if x is None:
        return None
    t = g.t(x)
    wide = lambda y: y.dim() > 0 and (y.shape[-2] if y.dim() > 1 else y.shape[0]) == t.shape[-1] and broadcasts(y.shape[:-2], t.shape[:-2])
    y = g.pick((FLOAT,), test=wide) if not g.chance(0.08) else g.pick((FLOAT,))
    match g.rng.randrange(7):
        case 0 | 1 | 2 | 3 if y:
            return "matmul", [x, y], {}
        case 4 if y and t.dim() == 2 and g.t(y).dim() == 2:
            b = g.pick((FLOAT,), test=lambda b: fits(b.shape, [t.shape[0], g.t(y).shape[1]]))
            return ("addmm", [b, x, y], {"beta": 0.5}) if b else None
        case 5:
            w = g.pick((FLOAT,), test=lambda w: w.dim() == 2 and w.shape[1] == t.shape[-1])
            return ("nn.functional.linear", [x, w], {}) if w else None
        case 6 if t.dim() == 1:
            y = g.pick((FLOAT,), test=lambda y: y.dim() == 1)
            return "outer", [x, y], {}
    return None


def order(g):
    x = g.pick((FLOAT,), 1, True)
    if x is None or not distinct(g.t(x)):
        return None
    t = g.t(x)
    d = g.dim(t)
    match g.rng.randrange(4):
        case 0:
            return "sort", [x], {"dim": d, "descending": g.chance(0.5)}
        case 1:
            return "topk", [x, g.rng.randint(1, t.shape[d])], {"dim": d, "largest": g.chance(0.5)}
        case 2:
            return "argsort", [x], {"dim": d}
        case _:
            return "cummax", [x, d], {}


def programs_table():
    return TABLE


TABLE = [
    (unary, 12), (binary, 14), (whole, 2), (compare, 4), (truth, 2), (blend, 7), (split_fixed, 22), (copy, 9), (cast, 3), (inplace, 22),
    (indexing, 10), (reduction, 10), (scan, 3), (normal, 5), (product, 7), (order, 4),
]

"""Files between PyTorch or NumPy and calor; run by hand with PyTorch at hand.

    python tests/torch/files.py write tests/files     # makes the files that tests/files.rs reads
    CALOR_KEEP=/tmp/kept cargo test --test files      # keeps the files that calor writes
    python tests/torch/files.py check /tmp/kept       # reads them with torch.load(weights_only=True) and numpy.load
"""
import collections
import copy
import sys

import numpy
import torch

FOLDER = sys.argv[2] + "/"


def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    for i, p in enumerate(net.parameters()):
        p.data = (torch.arange(p.numel(), dtype=torch.float32) / 4 + i).reshape(p.shape)
    return net


RULES = {
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1, eps=(None, 1e-2), d=2.0),
    "Muon": lambda p: torch.optim.Muon(p, lr=0.1, ns_coefficients=(3.0, -4.0, 2.0), ns_steps=3, adjust_lr_fn="match_rms_adamw"),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=2, history_size=3, line_search_fn="strong_wolfe"),
    "Adam": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.0625), betas=(0.8, 0.9)),
}


def step(optimizer, p):
    def closure():
        optimizer.zero_grad()
        n = torch.arange(6, dtype=torch.float32).reshape(2, 3)
        loss = ((p - n / 4).square() * (n + 1)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def rules():
    """Optimizers after three steps, and where a fourth one leads."""
    out = {}
    for name, make in RULES.items():
        p = torch.nn.Parameter(torch.ones(2, 3))
        optimizer = make([p])
        for _ in range(3):
            step(optimizer, p)
        out[name] = {"at": p.detach().clone(), "state": copy.deepcopy(optimizer.state_dict())}
        step(optimizer, p)
        out[name]["after"] = p.detach().clone()
    return out


S = torch.optim.lr_scheduler
SCHEDULES = {
    "LambdaLR": lambda o: S.LambdaLR(o, lambda e: 0.9**e),
    "CyclicLR": lambda o: S.CyclicLR(o, 0.1, 0.5, step_size_up=3),
    "CosineAnnealingWarmRestarts": lambda o: S.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "SequentialLR": lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.5, 2), S.ExponentialLR(o, 0.9)], [3]),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 8),
    "ReduceLROnPlateau": lambda o: S.ReduceLROnPlateau(o, factor=0.5, patience=1),
}
LOSSES = [3.0, 2.0, 2.5, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.9]


def ahead(optimizer, schedule, steps):
    out = []
    for i in steps:
        optimizer.step()
        schedule.step(*([LOSSES[i]] if isinstance(schedule, S.ReduceLROnPlateau) else []))
        out.append(optimizer.param_groups[0]["lr"])
    return out


def sgd():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8, momentum=0.9)


def schedules():
    """Schedulers after five steps, and the rates of five more."""
    out = {}
    for name, make in SCHEDULES.items():
        optimizer = sgd()
        schedule = make(optimizer)
        ahead(optimizer, schedule, range(5))
        out[name] = {"lr": optimizer.param_groups[0]["lr"], "state": copy.deepcopy(schedule.state_dict())}
        out[name]["after"] = ahead(optimizer, schedule, range(5, 10))
    return out


def check_training():
    saved = torch.load(FOLDER + "training.pt", weights_only=True)
    for name, make in RULES.items():
        case = saved["rules"][name]
        p = torch.nn.Parameter(case["at"].clone())
        optimizer = make([p])
        for key, default in optimizer.param_groups[0].items():
            # calor has one implementation
            if key not in ("params", "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"):
                own = case["state"]["param_groups"][0][key]
                assert type(own) is type(default) or key in ("lr", "weight_decay"), (name, key, own, default)
                assert own == default or key == "adjust_lr_fn", (name, key, own, default)
        optimizer.load_state_dict(case["state"])
        step(optimizer, p)
        bound = 3e-2 if name == "Muon" else 1e-5
        assert torch.allclose(p.detach(), case["after"], rtol=bound, atol=bound), (name, p, case["after"])
    for name, make in SCHEDULES.items():
        case = saved["schedules"][name]
        optimizer = sgd()
        schedule = make(optimizer)
        schedule.load_state_dict(case["state"])
        optimizer.param_groups[0]["lr"] = case["lr"]
        rates = ahead(optimizer, schedule, range(5, 10))
        assert all(abs(a - b) < 1e-9 for a, b in zip(rates, case["after"])), (name, rates, case["after"])
    scaler = torch.amp.GradScaler("cpu")
    scaler.load_state_dict(saved["scaler"])
    assert scaler.state_dict() == {
        "scale": 512.0, "growth_factor": 1.1, "backoff_factor": 0.3, "growth_interval": 7, "_growth_tracker": 0
    }, scaler.state_dict()


def write():
    net = model()
    adam = torch.optim.AdamW([{"params": [net[0].weight], "lr": 0.5}, {"params": [net[0].bias]}], betas=(0.8, 0.9))
    for _ in range(2):
        net[0](torch.ones(4, 3)).square().sum().backward()
        adam.step()
    saved = {k: v if k == "param_groups" else {i: {n: t.clone() for n, t in s.items()} for i, s in v.items()}
             for k, v in adam.state_dict().items()}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    adam.zero_grad()
    net[0](torch.ones(4, 3)).square().sum().backward()
    grads = [p.grad.clone() for p in net[0].parameters()]
    adam.step()
    base = torch.arange(12, dtype=torch.float32)
    torch.save(
        {
            "model": before,
            "optimizer": saved,
            "grads": grads,
            "after": [p.detach().clone() for p in net[0].parameters()],
            "epoch": 7,
            "best": 0.125,
            "name": "små",
            "seed": 2**63 + 1,
            "views": [base.view(3, 4).t(), base[5:7], base],
            "types": {
                str(t).removeprefix("torch."): torch.tensor([0, 1, 3]).to(t)
                for t in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint32, torch.int64, torch.float16,
                          torch.bfloat16, torch.float32, torch.float64)
            },
            "none": (None, True, torch.float16, torch.Size([2, 3]), torch.device("cuda:1"), b"\x00\xff"),
            "parameter": torch.nn.Parameter(torch.tensor(2.5)),
            "empty": torch.zeros(0, 3),
            "default": collections.defaultdict(int, a=1),
            "numpy": numpy.float64(1.5),
            "fraction": __import__("fractions").Fraction(1, 3),
        },
        FOLDER + "checkpoint.pt",
    )
    torch.save(base.to(torch.complex64), FOLDER + "complex.pt")
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0, growth_factor=1.1, backoff_factor=0.3, growth_interval=7)
    torch.save({"rules": rules(), "schedules": schedules(), "scaler": scaler.state_dict()}, FOLDER + "training.pt")
    legacy = {
        "weight": torch.nn.Parameter(base.view(3, 4).t()),
        "views": [base, base[5:7]],
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "long": torch.tensor([[1, -1]]),
        "flag": torch.tensor(True),
        "small": torch.tensor([-3, 4], dtype=torch.int8),
        "empty": torch.zeros(0, 3),
        "epoch": 7,
    }
    torch.save(legacy, FOLDER + "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(base, FOLDER + "legacy4.pt", _use_new_zipfile_serialization=False, pickle_protocol=4)
    torch.save(base.to(torch.complex64), FOLDER + "legacy_complex.pt", _use_new_zipfile_serialization=False)
    numpy.save(FOLDER + "columns.npy", numpy.asfortranarray(numpy.arange(6, dtype=">f4").reshape(2, 3)))
    numpy.savez_compressed(
        FOLDER + "arrays.npz",
        half=numpy.array([1.5, -2], "f2"), small=numpy.array([-3, 4], "i1"), wide=numpy.array([65535], "u2"),
        flag=numpy.array(True), long=numpy.array([[1], [-1]], "i8"), none=numpy.zeros((0, 2), "f8"),
    )


def check():
    saved = torch.load(FOLDER + "checkpoint.pt", weights_only=True)
    net = model()
    want = {k: v.clone() for k, v in net.state_dict().items()}
    for p in net.parameters():
        p.data.zero_()
    net.load_state_dict(saved["model"])
    assert all(torch.equal(want[k], v) for k, v in net.state_dict().items() if k[0] == "1"), net.state_dict()
    adam = torch.optim.AdamW([{"params": [net[0].weight]}, {"params": [net[0].bias]}])
    adam.load_state_dict(saved["optimizer"])
    assert adam.param_groups[0]["lr"] == 0.5 and adam.param_groups[1]["betas"] == (0.8, 0.9), adam.param_groups
    for p, g in zip(net[0].parameters(), saved["grads"]):
        p.grad = g.clone()
    adam.step()
    for p, want in zip(net[0].parameters(), saved["after"]):
        assert torch.allclose(p.detach(), want, rtol=1e-6, atol=1e-7), (p, want)
    assert saved["epoch"] == 7 and saved["best"] == 0.125 and saved["name"] == "små" and saved["big"] == -(2**40)
    assert saved["none"] == (None, True, torch.float16, b"\x00\xff"), saved["none"]
    for name, t in saved["types"].items():
        assert str(t.dtype) == "torch." + name and t.to(torch.float64).tolist() == [0, 1, 1 if name == "bool" else 3], (name, t)
    tied = saved["tied"]
    assert tied[0].data_ptr() == tied[1].data_ptr() and tied[0].shape == (2, 3) and tied[0].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert saved["empty"].shape == (0, 3)
    torch.load(FOLDER + "checkpoint.pt", weights_only=True, mmap=True)
    array = numpy.load(FOLDER + "array.npy")
    assert array.dtype == "<f4" and array.tolist() == [[0, 2, 4], [1, 3, 5]], array
    arrays = numpy.load(FOLDER + "arrays.npz")
    assert arrays["scalar"].shape == () and arrays["scalar"] == 3 and arrays["row"].tolist() == [1.5, -2], arrays
    assert arrays["flag"].dtype == bool and arrays["none"].shape == (0, 2)
    check_training()
    print("ok: what calor wrote is read by PyTorch", torch.__version__, "and NumPy", numpy.__version__)


write() if sys.argv[1] == "write" else check()

"""Files between PyTorch or NumPy and calor; run by hand with PyTorch at hand.

    python tests/torch/files.py write tests/files     # makes the files that tests/files.rs reads
    CALOR_KEEP=/tmp/kept cargo test --test files      # keeps the files that calor writes
    python tests/torch/files.py check /tmp/kept       # reads them with torch.load(weights_only=True) and numpy.load
"""
import collections
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
    torch.save(base, FOLDER + "legacy.pt", _use_new_zipfile_serialization=False)
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
    print("ok: what calor wrote is read by PyTorch", torch.__version__, "and NumPy", numpy.__version__)


write() if sys.argv[1] == "write" else check()

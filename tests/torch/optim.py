"""The values that tests/average.rs and tests/optimizers.rs expect of PyTorch; run by hand: python tests/torch/optim.py"""
import torch
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_avg_fn, update_bn


def show(name, t):
    print(name, [round(v, 6) for v in t.detach().double().flatten().tolist()])


def numbers(shape, seed):
    n = torch.Size(shape).numel()
    return (((torch.arange(n, dtype=torch.float64) * 37 + 5 * seed) % 23 - 11) / 8).float().reshape(shape)


def averages():
    for use_buffers in (False, True):
        for name, avg in (("swa", None), ("ema", get_ema_avg_fn(0.9))):
            model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
            model[0].bias.data = numbers((3,), 9)
            average = AveragedModel(model, avg_fn=avg, use_buffers=use_buffers)
            for step in range(4):
                model[0].weight.data = numbers((3, 2), step)
                model(numbers((4, 2), step + 7))
                average.update_parameters(model)
            print(name, use_buffers, average.n_averaged.item(), list(average.state_dict()))
            show("weight", average.module[0].weight)
            show("running_mean", average.module[1].running_mean)
            show("running_var", average.module[1].running_var)
    update_bn([numbers((4, 2), 1), numbers((4, 2), 2), numbers((6, 2), 3)], average.module)
    show("update_bn mean", average.module[1].running_mean)
    show("update_bn var", average.module[1].running_var)


def run(name, make, shapes, steps=4):
    ps = [torch.nn.Parameter(numbers(s, i)) for i, s in enumerate(shapes)]
    optimizer = make(ps)
    for step in range(steps):
        for i, p in enumerate(ps):
            p.grad = numbers(p.shape, 10 * step + i + 3)
        optimizer.step()
    print(name)
    for p in ps:
        show(str(tuple(p.shape)), p)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2: the sign of an interpolation, then the momentum; decoupled weight decay."""

    def __init__(self, ps, lr, beta1, beta2, weight_decay):
        super().__init__(ps, dict(lr=lr, beta1=beta1, beta2=beta2, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                c = group["beta1"] * m + (1 - group["beta1"]) * p.grad
                p -= group["lr"] * (c.sign() + group["weight_decay"] * p)
                m.copy_(group["beta2"] * m + (1 - group["beta2"]) * p.grad)


def rules():
    run("Lion", lambda ps: Lion(ps, 0.05, 0.9, 0.99, 0.1), [(2, 3), (5,)])
    # newton_schulz in float32: calor does not round to bf16
    import torch.optim._muon as muon
    source = muon._zeropower_via_newtonschulz
    muon._zeropower_via_newtonschulz = lambda g, coefficients, steps, eps: exact(g, coefficients, steps, eps)
    for adjust in ("original", "match_rms_adamw", "spectral_unclamped"):
        for shapes in ([(2, 3), (4, 2), (2, 3)],):
            run(f"Muon {adjust}", lambda ps: torch.optim.Muon(ps, lr=0.05, adjust_lr_fn=adjust), shapes)
    run("Muon plain", lambda ps: torch.optim.Muon(ps, lr=0.05, nesterov=False, weight_decay=0.0), [(3, 3)])
    muon._zeropower_via_newtonschulz = source


def exact(g, coefficients, steps, eps):
    a, b, c = coefficients
    x = g.double()
    if g.size(0) > g.size(1):
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if g.size(0) > g.size(1) else x).float()


def momentum_later():
    for dampening in (0.0, 0.25):
        p = torch.nn.Parameter(numbers((4,), 1))
        sgd = torch.optim.SGD([p], lr=0.1, dampening=dampening)
        for step in range(7):
            sgd.param_groups[0]["momentum"] = [0.0, 0.0, 0.9, 0.9, 0.0, 0.9, 0.9][step]
            p.grad = numbers((4,), step + 2)
            sgd.step()
        show(f"SGD momentum later, dampening {dampening}", p)


def swa_lr():
    for strategy in ("cos", "linear"):
        p = [torch.nn.Parameter(numbers((1,), i)) for i in range(2)]
        sgd = torch.optim.SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.4}], lr=0.1)
        schedule = SWALR(sgd, swa_lr=[0.05, 0.5], anneal_epochs=4, anneal_strategy=strategy)
        rates = []
        for _ in range(6):
            sgd.step()
            schedule.step()
            rates += schedule.get_last_lr()
        print("SWALR", strategy, [round(r, 9) for r in rates])


def scaled():
    """Steps whose gradients overflow: 1 is the first, 3 and 4 come later."""
    for name, make in {
        "Adam": lambda p: torch.optim.Adam([p], lr=0.1),
        "AdamW": lambda p: torch.optim.AdamW([p], lr=0.1, amsgrad=True),
        "Adamax": lambda p: torch.optim.Adamax([p], lr=0.1),
        "NAdam": lambda p: torch.optim.NAdam([p], lr=0.1),
        "RAdam": lambda p: torch.optim.RAdam([p], lr=0.1, betas=(0.9, 0.9)),
        "Adagrad": lambda p: torch.optim.Adagrad([p], lr=0.1, lr_decay=0.1),
        "ASGD": lambda p: torch.optim.ASGD([p], lr=0.1, lambd=0.1, t0=2.0),
        "Adafactor": lambda p: torch.optim.Adafactor([p], lr=0.1),
        "SGD": lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.25),
        "RMSprop": lambda p: torch.optim.RMSprop([p], lr=0.1, momentum=0.9),
        "Rprop": lambda p: torch.optim.Rprop([p], lr=0.1),
        "Adadelta": lambda p: torch.optim.Adadelta([p], lr=0.1),
    }.items():
        p = torch.nn.Parameter(numbers((2, 3), 1))
        optimizer = make(p)
        for step in range(12):
            if step in (0, 3, 4):
                continue
            p.grad = numbers((2, 3), step + 2)
            optimizer.step()
        show(f"scaled {name}", p)


def lbfgs():
    """Rosenbrock's valley, by a search that may ask 6 times, and by one that is not to end with tolerance_change."""
    for kwargs in (dict(max_eval=6), dict(tolerance_change=1.0)):
        for start in ((-1.2, 1.0), (0.5, 2.0)):
            x = torch.nn.Parameter(torch.tensor(start))
            optimizer = torch.optim.LBFGS([x], line_search_fn="strong_wolfe", **kwargs)
            asked = []

            def closure():
                asked[-1] += 1
                optimizer.zero_grad()
                loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
                loss.backward()
                return loss

            for _ in range(4):
                asked.append(0)
                optimizer.step(closure)
            show(f"LBFGS {kwargs} {start} {asked}", x)


def rates(name, make, steps, lr=1.0, initial_lr=None):
    group = {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr}
    if initial_lr is not None:
        group["initial_lr"] = initial_lr
    sgd = torch.optim.SGD([group], lr=lr, momentum=0.9)
    schedule = make(sgd)
    out = [(sgd.param_groups[0]["lr"], sgd.param_groups[0]["momentum"], schedule.last_epoch)]
    for step in range(steps):
        sgd.step()
        schedule.step()
        out.append((sgd.param_groups[0]["lr"], sgd.param_groups[0]["momentum"], schedule.last_epoch))
    print(name, [round(r, 9) for r, _, _ in out], [round(m, 9) for _, m, _ in out], [e for _, _, e in out])


def schedules():
    from torch.optim import lr_scheduler as s
    rates("CyclicLR after another", lambda o: (s.ConstantLR(o, 0.5), s.CyclicLR(o, 0.1, 0.5, step_size_up=2))[1], 5)
    rates("MultiplicativeLR at a milestone",
          lambda o: s.SequentialLR(o, [s.ConstantLR(o, 0.5, 2), s.MultiplicativeLR(o, lambda e: 0.5)], [2]), 4)
    rates("SequentialLR from 0",
          lambda o: s.SequentialLR(o, [s.ConstantLR(o, 0.5, 2), s.ExponentialLR(o, 0.25), s.StepLR(o, 2, 0.5)], [0, 2]), 4)
    for name, make in {
        "StepLR": lambda o: s.StepLR(o, 3, 0.5, last_epoch=4),
        "MultiStepLR": lambda o: s.MultiStepLR(o, [5, 7], 0.5, last_epoch=4),
        "ConstantLR": lambda o: s.ConstantLR(o, 0.5, 6, last_epoch=4),
        "LinearLR": lambda o: s.LinearLR(o, 0.25, 1.0, 8, last_epoch=4),
        "ExponentialLR": lambda o: s.ExponentialLR(o, 0.5, last_epoch=4),
        "PolynomialLR": lambda o: s.PolynomialLR(o, 8, 2.0, last_epoch=4),
        "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, 6, 0.01, last_epoch=4),
        "CosineAnnealingWarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, 2, 2, 0.01, last_epoch=4),
        "LambdaLR": lambda o: s.LambdaLR(o, lambda e: 0.9**e, last_epoch=4),
        "MultiplicativeLR": lambda o: s.MultiplicativeLR(o, lambda e: 1 / e, last_epoch=4),
        "CyclicLR": lambda o: s.CyclicLR(o, 0.1, 0.5, step_size_up=3, last_epoch=4),
        "SWALR": lambda o: SWALR(o, 0.05, 4, last_epoch=4),
    }.items():
        rates("last_epoch " + name, make, 3, 0.3, 0.8)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = s.CosineAnnealingWarmRestarts(sgd, 3, 2, 0.1)
    out = []
    for epoch in (0.0, 0.25, 2.75, 3.0, 8.5, 9.25, None, None, 100.125, 2.0):
        schedule.step(epoch)
        out.append((round(sgd.param_groups[0]["lr"], 9), schedule.last_epoch, schedule.T_cur, schedule.T_i))
    print("CosineAnnealingWarmRestarts inside epochs", out)


averages()
rules()
lbfgs()
schedules()
momentum_later()
swa_lr()
scaled()

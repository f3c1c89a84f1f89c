"""Steps that do more than their operations on numbers: each must run as it stands, and never be another function."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recurra import kernels
from recurra.cells import OwnCell

pytestmark = pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")


class Spike(torch.autograd.Function):
    """A threshold with a gradient of its own, as networks of spikes have it."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return grads[0] / (1 + v.abs()) ** 2


def _without_gradient(x: Tensor, s: Any, p: Any) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(x @ p.W.T)
    return torch.tanh(s.h * gate + x @ p.W.T)


def _with_hook(x: Tensor, s: Any, p: Any) -> Tensor:
    z = x @ p.W.T + s.h
    if z.requires_grad:
        z.register_hook(lambda grad: grad * 0.5)
    return torch.tanh(z)


def _in_place(x: Tensor, s: Any, p: Any) -> Tensor:
    with torch.no_grad():
        p.b.add_(0.01)
    return torch.tanh(x @ p.W.T + s.h + p.b.detach())


def _by_dtype(x: Tensor, s: Any, p: Any) -> Tensor:
    return torch.tanh(x @ p.W.T + (s.h if x.dtype == torch.float32 else -s.h))


STEPS: dict[str, Any] = {
    "has a part without gradient": _without_gradient,
    "has a gradient of its own": lambda x, s, p: Spike.apply(0.9 * s.h + x @ p.W.T - 1),
    "has one of its own on a parameter": lambda x, s, p: torch.tanh(x @ Spike.apply(p.W).T + s.h),
    "hooks": _with_hook,
    "looks at the number of rows": lambda x, s, p: torch.tanh(x @ p.W.T + s.h) / x.shape[0],
    "fills by the number of rows": lambda x, s, p: s.h + torch.full((len(x), 4), float(len(x))) * (x @ p.W.T),
    "looks at the dtype": _by_dtype,
    "looks whether gradients are recorded": lambda x, s, p: (x @ p.W.T + s.h) * (2 if torch.is_grad_enabled() else 1),
    "rounds": lambda x, s, p: torch.tanh(x @ p.W.T + s.h).bfloat16().to(x.dtype),
    "takes numbers for truths": lambda x, s, p: torch.logical_and(x @ p.W.T, s.h).to(x.dtype) + x @ p.W.T,
    "draws by a parameter": lambda x, s, p: torch.tanh(x @ p.W.T + s.h) * (torch.rand_like(p.b) < 0.5),
    "writes to a parameter": _in_place,
}


@pytest.mark.parametrize("name", STEPS)
def test_it_runs_as_it_stands(name: str) -> None:
    function = STEPS[name]

    def step(x: Tensor, s: Any, p: Any) -> Any:
        h = function(x, s, p)
        return h, {"h": h}

    torch.manual_seed(1)
    cell = OwnCell(step, 3, state={"h": 4}, parameters={"W": (4, 3), "b": torch.zeros(4)})
    assert cell.explain().startswith("as it stands"), cell.explain()
    x = torch.randn(5, 7, 3, requires_grad=True)
    results = []
    for run in ("cell", "loop"):
        with torch.no_grad():
            cell.b.zero_()  # pyright: ignore
        torch.manual_seed(2)
        if run == "cell":
            outputs = cell(x, cell.initial_state(7))[0]
        else:
            h, rows = torch.zeros(7, 4), []
            for t in range(5):
                h = function(x[t], SimpleNamespace(h=h), SimpleNamespace(W=cell.W, b=cell.b))
                rows.append(h)
            outputs = torch.stack(rows)
        leaves = [x, cell.W]
        gradients = torch.autograd.grad(outputs.square().sum(), leaves, allow_unused=True)  # pyright: ignore
        results.append((outputs, *gradients))
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one, other)


@pytest.mark.parametrize("what", ["state", "input"])
def test_a_stopped_gradient_is_part_of_a_program(what: str) -> None:
    def function(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        stopped = x.detach() * h if what == "input" else x * h.detach()
        return torch.tanh(stopped @ weight.T + F.logsigmoid(h))

    def step(x: Tensor, s: Any, p: Any) -> Any:
        h = function(x, s.h, p.W)
        return h, {"h": h}

    cell = OwnCell(step, 4, state={"h": 4}, parameters={"W": (4, 4)}).double()
    assert not cell.explain().startswith("as it stands"), cell.explain()
    x, rows = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=True), list[Tensor]()
    h = torch.zeros(2, 4, dtype=torch.float64)
    for x_t in x:
        h = function(x_t, h, cell.W)  # pyright: ignore[reportArgumentType]
        rows.append(h)
    results = []
    for outputs in (cell(x, cell.initial_state(2))[0], torch.stack(rows)):
        leaves = [cell.W] + [x] * (what == "state")
        results.append((outputs, *torch.autograd.grad(outputs.square().sum(), leaves)))  # pyright: ignore
    torch.testing.assert_close(*results)


def test_constants_of_other_dtypes() -> None:
    """What a step makes for itself takes the dtype of the rows, as torch promotes it."""

    def step(x: Tensor, s: Any, p: Any) -> Any:
        h = torch.tanh(x @ p.W.T + s.h * torch.arange(4) * torch.tensor(0.5))
        return h, {"h": h}

    for dtype in (torch.float32, torch.float64):
        cell = OwnCell(step, 3, state={"h": 4}, parameters={"W": (4, 3)}).to(dtype)
        x, h = torch.randn(5, 2, 3, dtype=dtype), torch.zeros(2, 4, dtype=dtype)
        outputs = cell(x, cell.initial_state(2))[0]
        for t in range(5):
            h = step(x[t], SimpleNamespace(h=h), SimpleNamespace(W=cell.W))[0]
        torch.testing.assert_close(outputs[-1], h)


@pytest.mark.parametrize("where", ["inference mode", "autocast", "no gradient"])
def test_where_the_first_call_stands_changes_nothing(where: str) -> None:
    """What is learnt about a step is remembered, so it must not be learnt with half of the step switched off."""
    surroundings: dict[str, Any] = {
        "inference mode": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
        "no gradient": torch.no_grad,
    }

    def program(x: Tensor, state: tuple[Tensor, ...], given: Any) -> Any:
        h = torch.tanh(x @ given["W"].T + state[0])
        return (h,), (h,)

    def no_program(x: Tensor, state: tuple[Tensor, ...], given: Any) -> Any:
        h = Spike.apply(x @ given["W"].T + 0.9 * state[0])
        return (h,), (h,)

    x, weight, h = torch.randn(5, 2, 3), torch.randn(4, 3), torch.zeros(2, 4)
    for step in (program, no_program):
        before = torch.get_rng_state()
        with surroundings[where]():
            kernels.scan(step, x, (h,), {"W": weight})
        assert torch.equal(torch.get_rng_state(), before)
        leaf = weight.clone().requires_grad_()
        (outputs,), _ = kernels.scan(step, x, (h,), {"W": leaf})
        (got,) = torch.autograd.grad(outputs.sum(), leaf)
        state: tuple[Tensor, ...] = (h,)
        total = torch.zeros(())
        for x_t in x:
            state, (output,) = step(x_t, state, {"W": leaf})
            total = total + output.sum()
        torch.testing.assert_close(got, torch.autograd.grad(total, leaf)[0])

"""Whether a program does what its step does: asked of the step itself, on random rows, in values and in gradients.

What torch records is operations on numbers. A step may do more (stop a gradient, have one of its own, look at the dtype or
the number of rows, draw numbers, write to a parameter), and then its program would be silently another function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from recurra.kernels.programs.program import evaluate, parse
from recurra.kernels.transforms import in_own_dtype

_ROWS = 64
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-3}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Asks a step apart from where the call stands: no mode, no autocast, and the caller's random numbers stay."""
    try:
        from torch.utils._python_dispatch import _disable_current_modes
    except ImportError:  # another torch
        _disable_current_modes = ExitStack
    with (
        _disable_current_modes(), torch.inference_mode(False), in_own_dtype(torch.device("cpu")),
        torch.random.fork_rng(devices=[]), torch.device("cpu"),
    ):  # fmt: skip
        yield


def difference(step: Any, sizes: Any, traced: Any) -> str | None:
    """What differs between a step and its program, or None."""
    for dtype in (torch.float64, torch.float32):
        for seed, scale in ((1, 1.0), (2, 3.0)):
            problem = _differs(step, sizes, traced, dtype, seed, scale)
            if problem is not None:
                return problem
    return None


def _differs(step: Any, sizes: Any, traced: Any, dtype: torch.dtype, seed: int, scale: float) -> str | None:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=random, dtype=torch.float64) * scale
        return numbers.to(dtype).requires_grad_()

    inputs = [draw(_ROWS, width) for width in sizes.inputs]
    fixed = {name: draw(_ROWS, width) for name, width in sizes.fixed}
    states = [draw(_ROWS, width) for width in sizes.states]
    parameters = {name: draw(*shape) for name, shape in sizes.parameters}
    leaves = [*inputs, *fixed.values(), *states, *parameters.values()]
    with torch.enable_grad():
        try:
            given = inputs[0] if sizes.alone else tuple(inputs)
            after, emitted = step(given, tuple(states), {**parameters, **fixed})
            results = [*after, *emitted[: sizes.emits]]
        except Exception as error:
            return f"it fails on {_ROWS} rows in {_name(dtype)} ({type(error).__name__})"
        if any(leaf._version for leaf in leaves):
            return "it writes to what it is given"
        if any(result.dtype != dtype for result in results):
            return f"it gives another dtype where it is given {_name(dtype)}"
        program = _by_program(traced, inputs, list(fixed.values()), states, list(parameters.values()), dtype)
        pairs = list(zip(results, program, strict=True))
        if not all(_close(one, other.expand_as(one), dtype) for one, other in pairs):
            return f"its program gives other numbers on {_ROWS} rows in {_name(dtype)} (does it look at the rows, or draw?)"
        weights = [torch.randn(one.shape, generator=random, dtype=torch.float64).to(dtype) for one in results]
        gradients = [
            _gradients([values[which] for values in pairs], weights, leaves) for which in (0, 1)
        ]  # fmt: skip
    if not all(_close(one, other, dtype) for one, other in zip(*gradients, strict=True)):
        return "its gradient is another than that of its operations (does it stop one, or have its own?)"
    return None


def _by_program(
    traced: Any,
    inputs: list[Tensor],
    fixed: list[Tensor],
    states: list[Tensor],
    values: list[Tensor],
    dtype: torch.dtype,
) -> list[Tensor]:
    weights, shared = traced.arguments(values, dtype)
    rows = [inputs[at] for at in traced.hoisted.kept]
    before = traced.hoisted.before
    if before is not None:
        made = evaluate(before, inputs, (), (), shared, weights)
        rows += [made[value] for value in before.emitted]
    program = parse(traced.hoisted.text)
    made = evaluate(program, rows or inputs[:1], fixed, states, shared, weights)
    return [made[value] for value in (*program.after, *program.emitted)]


def _gradients(results: Sequence[Tensor], weights: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    total = sum(
        ((one.expand_as(weight) * weight).sum() for one, weight in zip(results, weights, strict=True)), start=0.0
    )
    if not isinstance(total, Tensor) or not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(total, list(leaves), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(found, leaves, strict=True)]


def _close(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    one, other = one.detach(), other.detach()
    known = one.isfinite() & other.isfinite()
    if not torch.equal(one.isfinite(), other.isfinite()):
        return False
    one, other = one[known], other[known]
    if one.numel() == 0:
        return True
    bound = _TOLERANCE[dtype] * max(1.0, float(one.abs().max()))
    return bool((one - other).abs().max() <= bound)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""What is read from a linear state: the pass that training takes against the formula, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recurra import kernels
from tolerances import assert_close

ADDED = ("nothing", "numbers", "tokens")


def arguments(steps: int, dtype: torch.dtype, added: str) -> list[Any]:
    """states, weight, inputs or their table, skip, tokens."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype).requires_grad_()

    inputs = {"nothing": None, "numbers": draw(steps, 3, 5), "tokens": draw(7, 5)}[added]
    tokens = torch.randint(0, 7, (steps, 3), generator=random) if added == "tokens" else None
    return [draw(steps, 3, 4), draw(5, 4), inputs, None if inputs is None else draw(5), tokens]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("steps", [0, 1, 1000])
@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
def test_it_is_the_formula(activation: str, added: str, steps: int, dtype: torch.dtype) -> None:
    """1000 steps of 3 rows are more than are worked on at once."""
    *given, tokens = arguments(steps, dtype, added)
    states, weight, inputs, skip = given
    found = kernels.readout(states, weight, inputs, skip, activation, tokens=tokens)
    wide: list[Any] = [value if value is None else value.detach().double().requires_grad_() for value in given]
    sums = wide[0] @ wide[1].T
    spelled = wide[2] if tokens is None else wide[2][tokens]
    true = kernels.ACTIVATIONS[activation](sums if spelled is None else sums + wide[3] * spelled)
    assert_close(found, true)
    share = torch.cos(torch.arange(found.numel(), dtype=torch.float64)).view(found.shape).bfloat16()
    grads = torch.autograd.grad(found, [v for v in given if v is not None], share.to(dtype))
    true_grads = torch.autograd.grad(true, [v for v in wide if v is not None], share.double())
    for grad, true_grad in zip(grads, true_grads, strict=True):
        assert grad.dtype == dtype
        assert_close(grad, true_grad, "gradients")


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("added", ADDED[1:])
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_gradients_are_right(activation: str, added: str, order: str) -> None:
    *given, tokens = arguments(2, torch.float64, added)

    def outcome(states: Tensor, weight: Tensor, inputs: Tensor, skip: Tensor) -> Tensor:
        return kernels.readout(states, weight, inputs, skip, activation, tokens=tokens)

    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    assert check(outcome, given, check_batched_grad=True)


def test_no_gradient_is_computed_for_inputs_that_need_none() -> None:
    states, weight, inputs, skip, _ = arguments(3, torch.float64, "numbers")
    outputs = kernels.readout(states, weight, inputs.detach(), skip, "relu")
    assert len(torch.autograd.grad(outputs.sum(), [states, weight, skip])) == 3

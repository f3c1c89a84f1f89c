"""`recurra.nn` on a device other than the CPU: outputs, and gradients of inputs and weights, of every kind of call.

The device is a pretended one (`pretended.py`). A plain call runs torch's own function there, so last digits differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra.nn
from pretended import THERE, pretended
from tolerances import assert_close

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.2},
    "options": {"layer_norm": True, "zoneout": 0.1, "recurrent_dropout": 0.2, "weight_drop": 0.1},
}
LENGTHS = [5, 0, 3]


def padded(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)[0]


def with_lengths(module: nn.Module, x: Tensor) -> Tensor:
    return module(x, lengths=torch.tensor(LENGTHS, device=x.device))[0]


def listed(module: nn.Module, x: Tensor) -> Tensor:
    return module(x, lengths=LENGTHS)[0]


def packed(module: nn.Module, x: Tensor) -> Tensor:
    steps = torch.tensor([5, 1, 3])
    return module(nn.utils.rnn.pack_padded_sequence(x, steps, enforce_sorted=False))[0].data


def in_evaluation(module: nn.Module, x: Tensor) -> Tensor:
    return module.eval()(x)[0]


FORMS = (padded, with_lengths, listed, packed, in_evaluation)


def found(make: Callable[[], nn.Module], call: Callable[[nn.Module, Tensor], Tensor], device: str) -> list[Tensor]:
    torch.manual_seed(0)
    module = make().to(device)
    x = torch.randn(5, 3, 4).to(device).requires_grad_(True)
    outputs = call(module, x)
    assert outputs.device.type == device
    outputs.square().sum().backward()
    assert x.grad is not None
    gradients = [x.grad, *(parameter.grad for parameter in module.parameters())]
    return [outputs.detach().cpu(), *(one.cpu() for one in gradients if one is not None)]


@pytest.mark.parametrize("call", FORMS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_modules(name: str, options: str, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
    def make() -> nn.Module:
        return getattr(recurra.nn, name)(4, 6, **OPTIONS[options])

    expected = found(make, call, "cpu")
    with pretended():
        there = found(make, call, THERE.type)
    for one, other in zip(there, expected, strict=True):
        assert_close(one, other.double(), "gradients")


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(name: str) -> None:
    def step(module: nn.Module, x: Tensor) -> Tensor:
        state = module(x[1], module(x[0]))
        return state[0] if isinstance(state, tuple) else state

    expected = found(lambda: getattr(recurra.nn, name)(4, 6), step, "cpu")
    with pretended():
        there = found(lambda: getattr(recurra.nn, name)(4, 6), step, THERE.type)
    for one, other in zip(there, expected, strict=True):
        assert_close(one, other.double(), "gradients")

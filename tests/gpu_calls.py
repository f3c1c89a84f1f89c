"""What the tests of kernels for GPUs share: complete arguments, and results with gradients under one loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.kernels import KERNELS


def cast(given: dict[str, Any], to: Any) -> dict[str, Any]:
    """The numbers of a call in another dtype."""
    return {
        key: value.to(to) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in given.items()
    }


def complete(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a kernel by name in their order, what was not drawn as it stands by itself."""
    plain: dict[str, Any] = {"reverse": False, "keep": True, "activation": "tanh", "reset_after": True}
    return {key: given.get(key, plain.get(key)) for key in KERNELS[name].names}


def shares(result: Tensor) -> Tensor:
    """What a loss weighs each number of a result by, the same in every dtype."""
    return torch.cos(torch.arange(result.numel())).to(result).view(result.shape)


def outcome(function: Callable[..., Sequence[Tensor]], given: Sequence[Tensor], like: Any) -> list[Tensor]:
    """Results and gradients of a function of tensors in this dtype or on this device."""
    leaves = [value.to(like).requires_grad_() for value in given]
    results = function(*leaves)
    loss = sum((result * shares(result)).sum() for result in results)
    assert isinstance(loss, Tensor)
    return [*results, *torch.autograd.grad(loss, leaves)]

"""The gradient of a function by differentiating the function: what stands behind every order that has no kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def derived_gradient(
    function: Callable[..., Sequence[Tensor]],
    differentiable: Sequence[str],
    inputs: dict[str, Any],
    grads: Sequence[Tensor | None],
) -> dict[str, Tensor]:
    """The gradient of `function` by those of its `inputs`, given that by its results; recorded where gradients are."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        wanted = {name: inputs[name] for name in differentiable if inputs[name] is not None}
        # a view keeps the history for higher orders, and is distinct even where one tensor was given twice
        wanted = {
            name: value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
            for name, value in wanted.items()
        }
        results = function(**{**inputs, **wanted})
        # without steps some results depend on nothing
        pairs = [
            (result, grad)
            for result, grad in zip(results, grads, strict=True)
            if grad is not None and result.requires_grad
        ]
        if not pairs:
            return {name: torch.zeros_like(value) for name, value in wanted.items()}
        found = torch.autograd.grad(
            [result for result, _ in pairs],
            list(wanted.values()),
            [grad for _, grad in pairs],
            allow_unused=True,
            create_graph=create_graph,
        )
    return {
        name: torch.zeros_like(wanted[name]) if grad is None else grad for name, grad in zip(wanted, found, strict=True)
    }

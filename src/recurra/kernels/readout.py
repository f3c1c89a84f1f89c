"""What is read from a linear state: f(W x_t + d ⊙ u_t), the last part of an LRU (Orvieto et al. 2023, equation 2).

While a gradient is recorded it goes over some rows at a time, so that each array is touched once, forward and backward, and
none is held but the outputs. It knows arrays and nothing of parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.kernels.ops import linear, recording
from recurra.kernels.steps import ACTIVATIONS
from recurra.kernels.transforms import batched_by_autograd, unwatched

_ROWS = 2048
"""Rows that are worked on at once: few enough that they stay in cache, many enough for a fast product."""
FUSED = ("relu", "identity")


def readout(states: Tensor, weight: Tensor, inputs: Tensor | None, skip: Tensor | None, activation: str) -> Tensor:
    """f(states W^T + skip * inputs): [T, B, H] from states[T, B, N], weight[H, N], inputs[T, B, H] and skip[H].

    The last two may be None, both of them. `activation` is a name from `ACTIVATIONS`. Gradients of every order.
    """
    if activation in FUSED and recording(states, weight, inputs, skip) and unwatched():
        return _Readout.apply(states, weight, inputs, skip, activation == "relu")  # pyright: ignore[reportReturnType]
    sums = linear(states, weight)
    if inputs is not None and skip is not None:
        sums = sums + skip * inputs
    return ACTIVATIONS[activation](sums)


class _Readout(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, states: Tensor, weight: Tensor, inputs: Tensor | None, skip: Tensor | None, rectified: bool
    ) -> Tensor:
        outputs = states.new_empty(*states.shape[:2], weight.shape[0])
        into, read = outputs.flatten(0, 1), states.flatten(0, 1)
        added = None if inputs is None else inputs.flatten(0, 1)
        for first in range(0, len(read), _ROWS):
            rows = slice(first, first + _ROWS)
            sums = torch.mm(read[rows], weight.T, out=into[rows])
            if added is not None and skip is not None:
                sums.addcmul_(added[rows], skip)
            if rectified:
                sums.relu_()
        ctx.rectified = rectified
        ctx.save_for_backward(states, weight, inputs, skip, outputs if rectified else None)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        states, weight, inputs, skip, outputs = ctx.saved_tensors
        if torch.is_grad_enabled() or not unwatched() or batched_by_autograd(grad):
            through = grad if outputs is None else grad * (outputs > 0)
            by_weight = through.reshape(-1, len(weight)).T @ states.reshape(-1, states.shape[2])
            if inputs is None:
                return through @ weight, by_weight, None, None, None
            return through @ weight, by_weight, through * skip, (through * inputs).sum((0, 1)), None
        by_states, by_weight = torch.empty_like(states), torch.zeros_like(weight)
        by_inputs = torch.empty_like(inputs) if inputs is not None and ctx.needs_input_grad[2] else None
        by_skip = None if skip is None else torch.zeros_like(skip)
        for first in range(0, states.shape[0] * states.shape[1], _ROWS):
            rows = slice(first, first + _ROWS)
            through = grad.flatten(0, 1)[rows]
            if outputs is not None:
                through = through * (outputs.flatten(0, 1)[rows] > 0)
            torch.mm(through, weight, out=by_states.flatten(0, 1)[rows])
            by_weight.addmm_(through.T, states.flatten(0, 1)[rows])
            if by_inputs is not None and skip is not None:
                torch.mul(through, skip, out=by_inputs.flatten(0, 1)[rows])
            if by_skip is not None and inputs is not None:
                by_skip += (through * inputs.flatten(0, 1)[rows]).sum(0)
        return by_states, by_weight, by_inputs, by_skip, None

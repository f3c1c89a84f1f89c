"""What is read from a linear state: f(W x_t + d ⊙ u_t), the last part of an LRU (Orvieto et al. 2023, equation 2).

While a gradient is recorded it goes over some rows at a time, so that each array is touched once, forward and backward, and
none is held but the outputs. It knows arrays and nothing of parameters.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.kernels.ops import linear, recording
from recurra.kernels.steps import ACTIVATIONS
from recurra.kernels.transforms import batched_by_autograd, unwatched

_ROWS = 2048
"""Rows that are worked on at once: few enough that they stay in cache, many enough for a fast product."""
FUSED = ("relu", "identity")


def readout(
    states: Tensor,
    weight: Tensor,
    inputs: Tensor | None,
    skip: Tensor | None,
    activation: str,
    *,
    tokens: Tensor | None = None,
) -> Tensor:
    """f(states W^T + skip * inputs): [T, B, H] from states[T, B, N], weight[H, N], inputs[T, B, H] and skip[H].

    Inputs and skip may be None, both of them. With tokens[T, B] the inputs are a table[V, H], whose lines are added as they
    are looked up. `activation` is a name from `ACTIVATIONS`. Gradients of every order.
    """
    if activation in FUSED and recording(states, weight, inputs, skip) and unwatched():
        return _Readout.apply(states, weight, inputs, skip, activation == "relu", tokens)  # pyright: ignore[reportReturnType]
    sums = linear(states, weight)
    if inputs is not None and skip is not None:
        sums = sums + skip * _spelled_out(inputs, tokens)
    return ACTIVATIONS[activation](sums)


def _spelled_out(inputs: Tensor, tokens: Tensor | None) -> Tensor:
    return inputs if tokens is None else F.embedding(tokens, inputs)


class _Added:
    """What is added to each row, times skip: rows of inputs, or lines of a table; and their gradients."""

    def __init__(self, inputs: Tensor, skip: Tensor, tokens: Tensor | None) -> None:
        self.skip, self.tokens = skip, None if tokens is None else tokens.flatten()
        self.inputs = inputs if tokens is not None else inputs.flatten(0, 1)

    def rows(self, rows: slice) -> Tensor:
        return self.inputs[rows] if self.tokens is None else self.inputs.index_select(0, self.tokens[rows])

    def gradients(self, wanted: bool) -> None:
        """Begin them; those of the inputs only if they are wanted."""
        self.by_skip = torch.zeros_like(self.skip)
        self.by_inputs = None
        if wanted:
            self.by_inputs = torch.zeros_like(self.inputs) if self.tokens is not None else torch.empty_like(self.inputs)

    def add(self, rows: slice, through: Tensor) -> None:
        """The part of some rows: `through` is the gradient of their sums."""
        self.by_skip += (through * self.rows(rows)).sum(0)
        if self.by_inputs is None:
            return
        if self.tokens is None:
            torch.mul(through, self.skip, out=self.by_inputs[rows])
        else:
            self.by_inputs.index_add_(0, self.tokens[rows], through * self.skip)


class _Readout(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, states: Tensor, weight: Tensor, inputs: Tensor | None, skip: Tensor | None, rectified: bool,
        tokens: Tensor | None,
    ) -> Tensor:  # fmt: skip
        outputs = states.new_empty(*states.shape[:2], weight.shape[0])
        into, read = outputs.flatten(0, 1), states.flatten(0, 1)
        added = None if inputs is None or skip is None else _Added(inputs, skip, tokens)
        for first in range(0, len(read), _ROWS):
            rows = slice(first, first + _ROWS)
            sums = torch.mm(read[rows], weight.T, out=into[rows])
            if added is not None:
                sums.addcmul_(added.rows(rows), added.skip)
            if rectified:
                sums.relu_()
        ctx.rectified = rectified
        ctx.save_for_backward(states, weight, inputs, skip, tokens, outputs if rectified else None)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        states, weight, inputs, skip, tokens, outputs = ctx.saved_tensors
        if torch.is_grad_enabled() or not unwatched() or batched_by_autograd(grad):
            through = grad if outputs is None else grad * (outputs > 0)
            by_weight = through.reshape(-1, len(weight)).T @ states.reshape(-1, states.shape[2])
            if inputs is None:
                return through @ weight, by_weight, None, None, None, None
            by_inputs, by_skip = through * skip, (through * _spelled_out(inputs, tokens)).sum((0, 1))
            if tokens is not None:
                by_inputs = torch.zeros_like(inputs).index_add(0, tokens.flatten(), by_inputs.reshape(-1, len(weight)))
            return through @ weight, by_weight, by_inputs, by_skip, None, None
        by_states, by_weight = torch.empty_like(states), torch.zeros_like(weight)
        added = None if inputs is None else _Added(inputs, skip, tokens)
        if added is not None:
            added.gradients(ctx.needs_input_grad[2])
        for first in range(0, states.shape[0] * states.shape[1], _ROWS):
            rows = slice(first, first + _ROWS)
            through = grad.flatten(0, 1)[rows]
            if outputs is not None:
                through = torch.ops.aten.threshold_backward.default(through, outputs.flatten(0, 1)[rows], 0)
            torch.mm(through, weight, out=by_states.flatten(0, 1)[rows])
            by_weight.addmm_(through.T, states.flatten(0, 1)[rows])
            if added is not None:
                added.add(rows, through)
        if added is None or inputs is None:
            return by_states, by_weight, None, None, None, None
        by_inputs = None if added.by_inputs is None else added.by_inputs.view_as(inputs)
        return by_states, by_weight, by_inputs, added.by_skip, None, None

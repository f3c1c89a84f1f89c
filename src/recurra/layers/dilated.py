"""A dilated recurrence: each step goes on from the state of some steps before, so that one step reads a whole segment.

`S_t = cell(x_t, S_{t-w})` (Chang et al. 2017, Dilated RNN). The state holds the last w states. Step t belongs to phase
t mod w; the phases do not meet, so w of them run side by side as rows of a batch, and a new step costs one step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recurra.cells import Inputs, spelled_out
from recurra.errors import UsageError
from recurra.layers.stack import Stack
from recurra.state import State, check_like, map_state, state_class


@state_class
class DilatedState:
    """ring: the states after the last w steps, the oldest first; leaves [B, w, ...]."""

    ring: State


class Dilated(nn.Module):
    """`stack` with a step of `width` (w) instead of one; with a width of 1 it is the stack itself."""

    def __init__(self, stack: Stack, width: int) -> None:
        super().__init__()
        if not stack.causal:
            raise UsageError("A dilated recurrence goes forward only", fix="Leave out bidirectional")
        if width < 1:
            raise UsageError("The width of a dilated recurrence is out of range", got=width, expected="1 or more")
        self.stack = stack
        self.width = width
        self.causal = True
        self.inputs = stack.inputs
        self.hidden = stack.hidden

    def initial_state(self, batch: int) -> DilatedState:
        ring = map_state(lambda leaf: self._apart(leaf, batch), self.stack.initial_state(batch * self.width))
        return DilatedState(ring)

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, DilatedState]:
        """inputs[T, B, I] -> outputs[T, B, H] and the states after the last w valid steps."""
        outputs, state, _ = self._run(inputs, state, lengths, resets, keep=False)
        return outputs, state

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, DilatedState, dict[str, Tensor]]:
        return self._run(inputs, state, lengths, resets, keep=True)

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, DilatedState, dict[str, Tensor]]:
        inputs = spelled_out(inputs)
        steps, batch = inputs.shape[:2]
        check_like(state, self.initial_state(batch))
        width = self.width
        if steps == 0:
            return inputs.new_zeros(0, batch, self.hidden), map_state(torch.clone, state), {}
        turns = -(-steps // width)
        ends = torch.full((batch,), steps, device=inputs.device) if lengths is None else lengths
        phases = torch.arange(width, device=inputs.device)
        each = ((ends[:, None] - phases + width - 1) // width).clamp(min=0).flatten()
        x = self._side_by_side(inputs, turns)
        begun = None
        if resets is not None:
            begun = self._side_by_side(self._spread(resets), turns)
        ring = map_state(lambda leaf: leaf.flatten(0, 1), state.ring)
        some = None if lengths is None and steps % width == 0 else each
        if keep:
            outputs, after, inner = self.stack.trace(x, ring, some, begun)
            inner = {name: self._in_order(value, batch, steps) for name, value in inner.items()}
        else:
            outputs, after = self.stack(x, ring, some, begun)
            inner = {}
        # the phase of the oldest state is that of the next step
        order = (phases + ends[:, None]) % width
        turned = map_state(lambda leaf: _picked(self._apart(leaf, batch), order), after)
        if resets is not None:
            turned = self._cleared(turned, resets, ends)
        return self._in_order(outputs, batch, steps), DilatedState(turned), inner

    def _apart(self, leaf: Tensor, batch: int) -> Tensor:
        return leaf.reshape(batch, self.width, *leaf.shape[1:])

    def _side_by_side(self, values: Tensor, turns: int) -> Tensor:
        """[T, B, ...] -> [turns, B w, ...], steps that are not there being zero."""
        steps, batch = values.shape[:2]
        rest = turns * self.width - steps
        if rest:
            values = torch.cat([values, values.new_zeros(rest, *values.shape[1:])])
        if self.width == 1:
            return values
        parted = values.reshape(turns, self.width, batch, *values.shape[2:]).transpose(1, 2)
        return parted.reshape(turns, batch * self.width, *values.shape[2:]).contiguous()

    def _in_order(self, values: Tensor, batch: int, steps: int) -> Tensor:
        """[turns, B w, H] -> [T, B, H]."""
        if self.width == 1:
            return values
        turns = values.shape[0]
        parted = values.reshape(turns, batch, self.width, *values.shape[2:]).transpose(1, 2)
        return parted.reshape(turns * self.width, batch, *values.shape[2:])[:steps].contiguous()

    def _spread(self, resets: Tensor) -> Tensor:
        """A reset holds for the next w steps: each of them would go on from a state before it."""
        return _since(resets) < self.width

    def _cleared(self, ring: State, resets: Tensor, ends: Tensor) -> State:
        """States of steps before the last valid reset are forgotten."""
        steps = torch.arange(len(resets), device=resets.device)[:, None]
        valid = resets & (steps < ends)
        last = torch.where(valid, steps, -1).amax(dim=0)
        step_of = ends[:, None] - self.width + torch.arange(self.width, device=resets.device)
        # where there is no reset, all of them stay
        gone = (step_of < last[:, None]) & (last >= 0)[:, None]
        empty = self.initial_state(len(ends)).ring
        return map_state(lambda leaf, new: torch.where(_like(gone, leaf), new, leaf), ring, empty)


def _picked(leaf: Tensor, order: Tensor) -> Tensor:
    """leaf[B, w, ...] with its axis 1 in the order[B, w]."""
    return leaf.gather(1, _like(order, leaf).expand_as(leaf))


def _like(values: Tensor, leaf: Tensor) -> Tensor:
    return values.reshape(*values.shape, *(1,) * (leaf.dim() - values.dim()))


def _since(resets: Tensor) -> Tensor:
    """resets[T, B] -> how many steps ago the last one was, of none a great many."""
    steps = torch.arange(len(resets), device=resets.device)[:, None]
    last = torch.where(resets, steps, -(1 << 40)).cummax(dim=0).values
    return steps - last

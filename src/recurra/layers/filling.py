"""Missing values (NaN) filled step by step, so that a sequence may come in pieces, and what was filled marked beside it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from recurra.cells.cell import check_sequence
from recurra.state import check_like, state_class

Fill = Literal["previous", "zero", "mean"]


@state_class
class FillingState:
    """last[B, F]: the value that each feature had last, or what stands for none; no columns where none is looked at."""

    last: Tensor


class Filling(nn.Module):
    """inputs[T, B, F] with NaN -> outputs[T, B, F] without, or [T, B, 2F] with 1 where a value was missing, else 0.

    Arguments:
    - fill: "previous", the last value of the feature, and 0, the mean of standardised values, before the first; "mean", 0;
      "zero", what nothing was before it was standardised.
    - marked: whether the marks stand behind the values.
    - nothing: F numbers, what zero was turned into.
    """

    causal = True

    def __init__(self, features: int, fill: Fill, *, marked: bool, nothing: list[float] | None = None) -> None:
        super().__init__()
        self.inputs = features
        self.hidden = 2 * features if marked else features
        self.fill = fill
        self._marked = marked
        self.nothing: Tensor
        self.register_buffer("nothing", torch.tensor([0.0] * features if nothing is None else nothing))

    def initial_state(self, batch: int) -> FillingState:
        return FillingState(self.nothing.new_zeros(batch, self.inputs if self.fill == "previous" else 0))

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, FillingState]:
        """inputs[T, B, F] -> outputs as above, zero past the end of a row, and the state after its last valid step."""
        check_sequence("Filling", inputs, self.inputs, lengths, resets)
        check_like(state, self.initial_state(inputs.shape[1]))
        steps = torch.arange(inputs.shape[0], device=inputs.device)[:, None]
        valid = None if lengths is None else (steps < lengths)[..., None]
        missing = inputs.isnan()
        there = ~missing if valid is None else ~missing & valid
        values = torch.where(missing, self.nothing if self.fill == "zero" else torch.zeros_like(self.nothing), inputs)
        last = state.last
        if self.fill == "previous":
            values, last = self._carried(values, there, last, steps, lengths, resets)
        outputs = torch.cat([values, missing.to(values.dtype)], dim=-1) if self._marked else values
        if valid is not None:
            outputs = torch.where(valid, outputs, torch.zeros_like(outputs))
        return outputs, FillingState(last.clone() if last is state.last else last)

    def _carried(
        self, values: Tensor, there: Tensor, last: Tensor, steps: Tensor, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Each value or the one that was there last; of a row that was reset, since then."""
        if not len(values):
            return values, last
        # places in time: 0 is what came before, t + 1 is step t, and a reset forgets all that lies before it
        places = torch.where(there, steps[..., None] + 1, 0).cummax(dim=0).values
        before = torch.cat([last[None].to(values.dtype), values])
        carried = before.gather(0, places)
        if resets is not None:
            counted = resets if lengths is None else resets & (steps < lengths)
            since = torch.where(counted, steps + 1, 0).cummax(dim=0).values[..., None]
            carried = torch.where(places < since, torch.zeros_like(carried), carried)
        if lengths is None:
            return carried, carried[-1].clone()
        ends = (lengths - 1).clamp(min=0)
        rows = torch.arange(values.shape[1], device=values.device)
        return carried, torch.where((lengths > 0)[:, None], carried[ends, rows], last)

    def trace(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, FillingState, dict[str, Tensor]]:
        outputs, state = self(inputs, state, lengths, resets)
        return outputs, state, {"filled": outputs}

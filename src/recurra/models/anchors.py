"""Many forecasts of one reading: what they begin from at their anchors, the last rows that each of them has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recurra.data.windows import WindowBatch
from recurra.models.forecasting import ForecasterState, Reading
from recurra.state import map_state

if TYPE_CHECKING:
    from recurra.models.forecast_network import ForecastNetwork


def one_phase(model: ForecastNetwork, found: Reading, batch: WindowBatch) -> Tensor:
    """What the recurrent part gives [B, T, H] at the steps of each row's anchors, and zeros at all others."""
    segment, steps = model.config.segment, batch.inputs.shape[1]
    last = batch.anchors.amax(dim=1).clamp(min=0)
    turns = (steps - 1) // segment + 1
    places = (last % segment)[:, None] + segment * torch.arange(turns, device=last.device)
    count = last // segment + 1
    places = places.clamp(max=steps - 1)
    rows = torch.arange(len(last), device=last.device)[:, None]
    windows = found.context[:, -steps - segment :].unfold(1, segment + 1, 1)[rows, places]
    centre, scale = found.centre.gather(1, places)[..., None], found.scale.gather(1, places)[..., None]
    apart = (windows[..., :-1] - centre) / scale
    x = model.embedded(torch.cat([apart, batch.inputs[rows, places, 2:]], dim=2)).transpose(0, 1).contiguous()
    hidden, _ = model.stack(x, model.stack.initial_state(len(last)), count)
    spread = hidden.new_zeros(len(last), steps, model.stack.hidden)
    # steps behind the last one of a row fall upon one that no anchor asks for, or upon nothing
    return spread.scatter_add(1, places[..., None].expand(-1, -1, model.stack.hidden), hidden.transpose(0, 1))


def states_at(model: ForecastNetwork, batch: WindowBatch, state: ForecasterState) -> ForecasterState:
    """The states[N] after the anchors of a batch, for models that go on from their own forecasts."""
    device = batch.anchors.device
    rows = torch.arange(len(batch.anchors), device=device)[:, None]
    done, found = torch.zeros_like(batch.anchors[:, 0]), []
    for anchors in batch.anchors.unbind(dim=1):
        # anchors stand in their order, so each goes on from the one before it
        left = (anchors + 1 - done).clamp(min=0)
        places = (done[:, None] + torch.arange(int(left.max()), device=device)).clamp(max=batch.inputs.shape[1] - 1)
        state = model.advance(batch.inputs[rows, places], state, left)[2]
        done = done + left
        found.append(state)
    return map_state(lambda *leaves: torch.stack(leaves, dim=1).flatten(0, 1), *found)

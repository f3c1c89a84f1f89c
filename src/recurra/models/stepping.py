"""One new row of each series, the short way: what `Forecaster.advance` gives for it, without what many rows need.

The same sums in the same order, so the state that comes out has the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recurra import kernels
from recurra.layers import DilatedState
from recurra.models.forecasting import ForecasterState, running_scale
from recurra.state import map_state

if TYPE_CHECKING:
    from recurra.models.forecaster import Forecaster


def step_on(model: Forecaster, inputs: Tensor, state: ForecasterState) -> ForecasterState | None:
    """The state after inputs[B, 1, F]; None where more has to be looked at than one ordinary row.

    That is a model that smooths or looks back, a series that only begins, and a step whose gradient is recorded.
    """
    config, reader = model.config, model.reader
    if config.smoothing or config.lookback is not None or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    if not len(inputs) or inputs.shape[1:] != (1, 2 + config.columns) or not bool(state.read.all()):
        return None
    y = reader.transformed(inputs[:, 0, 0])
    column = inputs[:, 0, 1]
    there = (column > -0.5) & (column < config.series - 0.5)
    series = torch.where(there, column, -1.0).round().long()
    apart = y.double() - state.sums[:, 0]
    grown = torch.stack([torch.zeros_like(apart), apart, apart * apart], dim=1)
    sums, read = state.sums + grown, state.read + 1
    if bool(there.all()):
        scale = reader.scales[series]
    else:
        running = running_scale(sums, read, y.dtype)
        scale = torch.where(there, reader.scales[series.clamp(min=0)], running) if config.series else running
    segment = config.segment
    before = (state.values[:, -segment:] - y[:, None]) / scale[:, None]
    rows = torch.cat([before, inputs[:, 0, 2:]], dim=1) if config.columns else before
    x = kernels.linear(rows[None], model.embed, model.embed_bias).relu_()
    ring = state.stack.ring
    outputs, after = model.stack(x, map_state(lambda leaf: leaf[:, 0].contiguous(), ring))
    ring = map_state(lambda leaf, new: torch.cat([leaf[:, 1:], new[:, None]], dim=1), ring, after)
    values = torch.cat([state.values[:, 1:], y[:, None]], dim=1)
    return replace(
        state, stack=DilatedState(ring), summary=outputs[0], values=values, series=series, read=read, sums=sums,
        level=state.level.clone(),
    )  # fmt: skip

"""One new row of each series, the short way: what `Forecaster.advance` gives for it, without what many rows need.

The same sums in the same order, so the state that comes out has the same bits.
"""

from __future__ import annotations

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

    That is a model that smooths or looks back, a series that only begins or is another one, and a step whose gradient is
    recorded.
    """
    config, reader = model.config, model.reader
    if config.smoothing or config.lookback is not None or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    if not len(inputs) or inputs.shape[1:] != (1, 2 + config.columns) or not bool(state.read.all()):
        return None
    row = inputs[:, 0]
    y, column = reader.transformed(row[:, 0]), row[:, 1]
    series = state.series.clone()
    if not torch.equal(column, series.to(column.dtype)):
        return None
    apart = y.double() - state.sums[:, 0]
    sums = state.sums + torch.stack([torch.zeros_like(apart), apart, apart * apart], dim=1)
    read = state.read + 1
    if config.series and int(series.min()) >= 0:
        scale = reader.scales[series]
    else:
        scale = running_scale(sums, read, y.dtype)
        if config.series:
            scale = torch.where(series >= 0, reader.scales[series.clamp(min=0)], scale)
    here = y[:, None]
    before = (state.values[:, -config.segment :] - here) / scale[:, None]
    rows = torch.cat([before, row[:, 2:]], dim=1) if config.columns else before
    x = kernels.linear(rows[None], model.embed, model.embed_bias).relu_()
    ring = state.stack.ring
    outputs, after = model.dilated.stack(x, map_state(_oldest, ring))
    return ForecasterState(
        DilatedState(map_state(_turned, ring, after)), outputs[0], torch.cat([state.values[:, 1:], here], dim=1), series,
        read, sums, state.level.clone(),
    )  # fmt: skip


def _oldest(leaf: Tensor) -> Tensor:
    return leaf[:, 0].contiguous()


def _turned(leaf: Tensor, new: Tensor) -> Tensor:
    return torch.cat([leaf[:, 1:], new[:, None]], dim=1)

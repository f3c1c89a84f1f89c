"""One new row of each series, the short way: what `Forecaster.advance` gives for it, without what many rows need.

The same sums in the same order, so the state that comes out has the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels import native
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
    config = model.config
    if config.smoothing or config.lookback is not None or not kernels.direct():
        return None
    if not len(inputs) or inputs.shape[1:] != (1, 2 + config.columns) or not _ours(model, inputs, state):
        return None
    # of so few numbers a call of torch costs more than its arithmetic; numpy's, on the same memory, costs a fifth
    row, read, series = inputs.detach()[:, 0].numpy(), state.read.numpy(), state.series.numpy()
    if not read.all() or not (row[:, 1] == series).all():
        return None
    reader = model.reader
    y = reader.transformed(inputs[:, 0, 0]).numpy() if config.logarithm else row[:, 0]
    sums = state.sums.numpy().copy()
    apart = y.astype(np.float64) - sums[:, 0]
    sums[:, 1] += apart
    sums[:, 2] += apart * apart
    after_sums, after_read = torch.from_numpy(sums), torch.from_numpy(read + 1)
    if config.series and int(series.min()) >= 0:
        scale = reader.scales.numpy()[series]
    else:
        running = running_scale(after_sums, after_read, inputs.dtype)
        if config.series:
            running = torch.where(state.series >= 0, reader.scales[state.series.clamp(min=0)], running)
        scale = running.numpy()
    values, here = state.values.numpy(), y[:, None]
    before = (values[:, -config.segment :] - here) / scale[:, None]
    rows = np.concatenate([before, row[:, 2:]], axis=1) if config.columns else before
    x = native.linear(torch.from_numpy(rows)[None], model.embed.detach(), model.embed_bias.detach())
    np.maximum(x.numpy(), 0, out=x.numpy())
    ring = state.stack.ring
    outputs, after = model.dilated.stack(x, map_state(_oldest, ring))
    return ForecasterState(
        DilatedState(map_state(_turned, ring, after)), outputs[0], _turned(state.values, torch.from_numpy(y)),
        state.series.clone(), after_read, after_sums, state.level.clone(),
    )  # fmt: skip


def _ours(model: Forecaster, inputs: Tensor, state: ForecasterState) -> bool:
    """Whether rows and state are plain numbers in the processor's memory, in the precision of the model."""
    like = model.head_bias
    dtype = like.dtype
    return (
        dtype in (torch.float32, torch.float64) and type(inputs) is Tensor and inputs.dtype == state.values.dtype == dtype
        and inputs.device.type == state.values.device.type == like.device.type == "cpu"
    )  # fmt: skip


def _oldest(leaf: Tensor) -> Tensor:
    return leaf[:, 0].contiguous()


def _turned(leaf: Tensor, new: Tensor) -> Tensor:
    """leaf[B, w, ...] without its first, and new[B, ...] after its last."""
    numbers = leaf.numpy()
    turned = np.empty_like(numbers, order="C")
    turned[:, :-1], turned[:, -1] = numbers[:, 1:], new.numpy()
    return torch.from_numpy(turned)

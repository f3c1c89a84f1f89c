"""The linear part of a forecaster in closed form: ridge regression from its last values to the next ones.

It reads what the forecaster itself would read, at its scale; how strong the ridge is shows on the last fifth of the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.data.series import SeriesDataset
from recurra.data.stretches import stretches
from recurra.models.forecaster import Forecaster

STRENGTHS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
"""Ridges, as shares of the mean square of the inputs."""
LAST = 0.2
PIECE = 1 << 12
FAR = 8.0
"""Windows that hold values further than so many scales from where they stand would outweigh the others; they are left out."""


class _Sums:
    """Normal equations: inputs by inputs, inputs by targets, targets by themselves, rows."""

    def __init__(self, width: int, targets: int) -> None:
        self.inner = torch.zeros(width, width, dtype=torch.float64)
        self.cross = torch.zeros(width, targets, dtype=torch.float64)
        self.square, self.count = 0.0, 0

    def add(self, x: Tensor, y: Tensor) -> None:
        self.inner += x.T @ x
        self.cross += x.T @ y
        self.square += float((y * y).sum())
        self.count += len(x)

    def solved(self, strength: float) -> Tensor:
        size = len(self.inner)
        mean = float(self.inner.diagonal()[:-1].mean()) if size > 1 else 1.0
        ridge = torch.eye(size, dtype=torch.float64) * (strength * mean + 1e-12)
        ridge[-1, -1] = 1e-9 * max(1, self.count)
        return torch.linalg.solve(self.inner + ridge, self.cross)

    def error(self, found: Tensor) -> float:
        return float((found * (self.inner @ found)).sum() - 2 * (found * self.cross).sum()) + self.square


@torch.no_grad()
def fit_line(model: Forecaster, dataset: SeriesDataset) -> str:
    """Put the linear part into `model`; what was chosen, in words. Where there are too few rows it stays zero."""
    config = model.config
    early, late = _Sums(config.lags + 1, config.block), _Sums(config.lags + 1, config.block)
    for one in stretches(dataset, model.codec, config.horizon, training=True):
        for x, y, is_late in _windows(model, one.rows, one.values):
            (late if is_late else early).add(x, y)
    if early.count < 2 or late.count < 1:
        return "too few rows for a linear part"
    strength = min(STRENGTHS, key=lambda value: late.error(early.solved(value)))
    early.inner += late.inner
    early.cross += late.cross
    early.count += late.count
    found = early.solved(strength).to(model.line.dtype)
    model.line.copy_(found[:-1].T)
    model.line_bias.copy_(found[-1])
    return f"ridge of {strength:g} on {early.count:,} windows of {config.lags} values"


def _windows(model: Forecaster, rows, values):
    """Inputs[N, lags + 1] and targets[N, block], at the model's scale, in pieces."""
    config = model.config
    block, total = config.block, len(values)
    lags = config.lags
    last = total - block
    if last <= lags:
        return
    dtype = torch.float64
    inputs = torch.from_numpy(rows).to(model.head_bias.dtype)[None]
    found = model.reader(inputs, model.initial_state(1), None)
    size = config.kept
    aim = model.reader.transformed(torch.from_numpy(values))
    windows = found.context[0].unfold(0, size, 1)[1:]
    first, cut = lags - 1, int(last * (1 - LAST))
    places = torch.arange(block)
    for begin in range(first, last, PIECE):
        at = torch.arange(begin, min(begin + PIECE, last))
        centre, scale = found.centre[0, at].to(dtype)[:, None], found.scale[0, at].to(dtype)[:, None]
        x = (windows[at][:, -lags:].to(dtype) - centre) / scale
        y = aim[at[:, None] + 1 + places] - centre
        rings = [
            season[0].unfold(0, size, 1)[at + 1] for season, size in zip(found.seasons, config.seasons, strict=True)
        ]
        y = y - model.reader.to_come([ring.to(dtype) for ring in rings], block)
        y = y / scale
        good = (x.abs().amax(dim=1) < FAR) & (y.abs().amax(dim=1) < FAR)
        x = torch.cat([x, torch.ones(len(x), 1, dtype=dtype)], dim=1)
        for part, is_late in ((at < cut, False), (at >= cut, True)):
            chosen = part & good
            if chosen.any():
                yield x[chosen], y[chosen], is_late

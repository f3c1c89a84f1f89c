"""What a trained forecaster learns of its validation set: how much to trust its parts, and how wide its intervals are.

The shares of network and linear part come from least squares, the intervals from the quantiles of what was missed (split
conformal prediction, Vovk et al. 2005), at each step ahead.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recurra.data.series import SeriesDataset
from recurra.data.windows import WindowBatch
from recurra.models.forecaster import Forecaster
from recurra.models.forecasting import PROBABILITIES

ROWS, MOST = 16, 20_000
"""Series read side by side, and forecasts that are looked at."""
ENOUGH = 100
"""Errors from which a quantile is told."""
WIDE = 12
"""Steps ahead on either side that are taken together for a share."""


@torch.no_grad()
def finish(model: Forecaster, valid: SeriesDataset) -> bool:
    """Set the shares and the corrections of the quantiles; whether there was anything to learn from."""
    dataset = thinned(valid, model.config.horizon)
    was_training = model.training
    model.eval()
    try:
        if model.config.lags:
            _set_shares(model, dataset)
        return _set_offsets(model, dataset)
    finally:
        model.train(was_training)


def thinned(dataset: SeriesDataset, horizon: int, most: int = MOST) -> SeriesDataset:
    """The same with so many forecasts at most, spread over the whole."""
    from dataclasses import replace

    there = sum(max(0, len(one) - max(one.seen, 1) - horizon + 1) for one in dataset.series)
    return replace(dataset, stride=max(dataset.stride, -(-there // most)))


def _batches(model: Forecaster, dataset: SeriesDataset) -> Iterator[tuple[WindowBatch, object]]:
    """Each batch and the state before it."""
    state = None
    for batch in model.feed(dataset, rows=ROWS, steps=512, training=False).batches(0):
        assert isinstance(batch, WindowBatch)
        state = model.initial_state(len(batch.inputs)) if state is None or not batch.carries else state
        yield batch, state
        state = model.advance(batch.inputs, state, batch.lengths)[2]  # pyright: ignore[reportArgumentType]


def _set_shares(model: Forecaster, dataset: SeriesDataset) -> None:
    """The share of the network that leaves the least square error, smoothed over the steps ahead, between 0 and 1."""
    block = model.config.block
    over, under = torch.zeros(block, dtype=torch.float64), torch.zeros(block, dtype=torch.float64)
    for batch, state in _batches(model, dataset):
        assert batch.targets is not None
        found = []
        for share in (0.0, 1.0):
            model.share.fill_(share)
            centres, scale, outputs, _ = model.outputs_at(batch, state)  # pyright: ignore[reportArgumentType]
            found.append(model.point(outputs).double())
        targets = batch.targets.flatten(0, 1)[:, :block]
        aim, known = model.aims(centres, scale, targets)
        line, net = found
        apart = torch.where(known, net - line, 0.0)
        over += (apart * torch.where(known, aim - line, 0.0)).sum(dim=0)
        under += (apart * apart).sum(dim=0)
    if not float(under.sum()):
        return
    window = torch.ones(1, 1, 2 * WIDE + 1, dtype=torch.float64)
    sums = [torch.nn.functional.conv1d(part[None, None], window, padding=WIDE)[0, 0] for part in (over, under)]
    model.share.copy_((sums[0] / sums[1].clamp(min=1e-12)).clamp(0.0, 1.0))


def _set_offsets(model: Forecaster, dataset: SeriesDataset) -> bool:
    """At each step ahead, by how many scales each quantile lies off."""
    model.offsets.zero_()
    horizon = model.config.horizon
    found: list[list[Tensor]] = [[] for _ in PROBABILITIES]
    for batch, state in _batches(model, dataset):
        assert batch.targets is not None
        raw, scale = model.scaled_forecasts(batch, state)  # pyright: ignore[reportArgumentType]
        aim, known = model.aims(raw[0], scale, batch.targets.flatten(0, 1))
        usable = known.any(dim=1)
        apart = torch.where(known, aim, float("nan"))[usable]
        for place in range(len(PROBABILITIES)):
            found[place].append((apart - raw[1][usable][..., place]).float())
    if not found[0] or not sum(map(len, found[0])):
        return False
    for place, probability in enumerate(PROBABILITIES):
        missed = torch.cat(found[place])
        count = len(missed)
        # the corrected level of split conformal prediction: of few errors the outermost is taken
        level = probability
        if probability != 0.5:
            outer = (count + 1) / count * max(probability, 1 - probability)
            level = min(1.0, outer) if probability > 0.5 else 1 - min(1.0, outer)
        # of few forecasts the steps beside each step are taken with it
        reach = -(-ENOUGH // (2 * count))
        parts = [missed[:, max(0, step - reach) : step + reach + 1] for step in range(horizon)]
        values = torch.stack([_quantile(part.flatten(), level) for part in parts])
        model.offsets[:, place] = values.to(model.offsets.dtype)
    return True


def _quantile(values: Tensor, level: float) -> Tensor:
    there = values[torch.isfinite(values)]
    return torch.quantile(there, level) if len(there) else values.new_zeros(())

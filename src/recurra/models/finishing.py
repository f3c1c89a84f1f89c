"""What a trained forecaster learns of its validation set: how much to trust its parts, and how wide its intervals are.

The shares of network and linear part come from least squares, the widths are made in `intervals`. Both look at every value
that was held back from each of the moments before it that a forecast may begin at, those before the end of the training data
too: so of few values held back, each step ahead has as many errors as there are values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recurra.data.batches import Feed
from recurra.data.series import SeriesDataset
from recurra.data.stretches import held_back
from recurra.data.windows import WindowBatch
from recurra.models.forecaster import Forecaster
from recurra.models.forecasting import MIDDLE, ForecasterState
from recurra.models.intervals import Correlation, offsets_of
from recurra.wide import widened, widest

ROWS, MOST = 16, 20_000
"""Series read side by side, and forecasts that are looked at."""
WIDE = 12
"""Steps ahead on either side that are taken together for a share."""


@torch.no_grad()
def finish(model: Forecaster, valid: SeriesDataset) -> float:
    """Set the shares and the corrections of the quantiles; as how many independent errors those seen count, 0 for none."""
    dataset = thinned(valid, model.config.horizon)
    feed = model.feed_of(held_back(dataset, model.codec, model.config.horizon), ROWS)
    was_training = model.training
    model.eval()
    try:
        if model.config.lags:
            set_shares(model, feed)
        return _set_offsets(model, feed)
    finally:
        model.train(was_training)


def thinned(dataset: SeriesDataset, horizon: int, most: int = MOST) -> SeriesDataset:
    """The same with so many forecasts at most, spread over the whole."""
    from dataclasses import replace

    there = sum(max(0, len(one) - max(one.seen, 1) - horizon + 1) for one in dataset.series)
    return replace(dataset, stride=max(dataset.stride, -(-there // most)))


def _batches(model: Forecaster, feed: Feed) -> Iterator[tuple[WindowBatch, ForecasterState]]:
    """Each batch and the state before it."""
    state = None
    for batch in model.batches(feed):
        assert isinstance(batch, WindowBatch)
        state = model.initial_state(len(batch.inputs)) if state is None or not batch.carries else state
        yield batch, state
        state = model.advance(batch.inputs, state, batch.lengths)[2]


@torch.no_grad()
def set_shares(model: Forecaster, feed: Feed) -> None:
    """The share of the network that leaves the least square error, smoothed over the steps ahead, between 0 and 1."""
    block = model.config.block
    over, under = model.share.new_zeros(2, block, dtype=widest(model.share.device))
    was_training = model.training
    model.eval()
    state = None
    for batch in model.batches(feed):
        assert isinstance(batch, WindowBatch) and batch.targets is not None
        before = model.initial_state(len(batch.inputs)) if state is None or not batch.carries else state
        centres, scale, (line, whole), state = model.parts_at(batch, before)
        aim, known = model.aims(centres, scale, batch.targets.flatten(0, 1)[:, :block])
        apart = widened(torch.where(known, whole - line, 0.0))
        over += (apart * torch.where(known, aim - line, 0.0)).sum(dim=0)
        under += (apart * apart).sum(dim=0)
    model.train(was_training)
    if not float(under.sum()):
        return
    window = over.new_ones(1, 1, 2 * WIDE + 1)
    sums = [torch.nn.functional.conv1d(part[None, None], window, padding=WIDE)[0, 0] for part in (over, under)]
    model.share.copy_((sums[0] / sums[1].clamp(min=1e-12)).clamp(0.0, 1.0))


def _set_offsets(model: Forecaster, feed: Feed) -> float:
    """At each step ahead, by how many scales each quantile lies off; as how many independent errors those seen count."""
    model.offsets.zero_()
    missed: list[Tensor] = []
    spreads = torch.zeros_like(model.offsets, dtype=widest(model.offsets.device))
    correlation = Correlation()
    for batch, state in _batches(model, feed):
        assert batch.targets is not None
        raw, scale = model.scaled_forecasts(batch, state)
        aim, known = model.aims(raw[0], scale, batch.targets.flatten(0, 1))
        apart = torch.where(known, aim, float("nan"))[..., None] - raw[1]
        correlation.add(widened(apart[..., MIDDLE]).unflatten(0, batch.anchors.shape), batch.anchors)
        usable = known.any(dim=1)
        missed.append(apart[usable].float())
        spreads += widened((raw[1] - raw[1][..., MIDDLE : MIDDLE + 1])[usable]).sum(dim=0)
    count = sum(map(len, missed))
    if not count:
        return 0.0
    found = offsets_of(torch.cat(missed), (spreads / count).float(), correlation.effective)
    model.offsets.copy_(found.to(model.offsets.dtype))
    return correlation.effective

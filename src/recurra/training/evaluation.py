"""Measuring a model on a feed, with the state carried where the feed carries it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Feed
from recurra.errors import DataError
from recurra.models import Task
from recurra.training.workers import ALONE, Workers


def evaluate(
    model: Task, feed: Feed, workers: Workers = ALONE, *, quick: bool = False
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(metrics, the sums they come from) of `model` over one epoch of `feed`, whose rows the workers share out.

    `quick`: with what costs little, as often in training.
    """
    sums: dict[str, Tensor] = {}
    state: Any = None
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        for batch in feed.batches(0):
            mine = workers.rows(len(batch.inputs))
            # who has no rows measures one, so that the sums have their shapes, and counts it as none
            part = batch.part(mine[0] if mine else slice(0, 1)).to(device)
            measured, state = model.step_measure(part, state if batch.carries else None, quick)
            for name, value in measured.items():
                counted = value if mine else torch.zeros_like(value)
                sums[name] = sums[name] + counted if name in sums else counted
    model.train(was_training)
    if not sums:
        raise DataError("There is nothing to evaluate", expected="at least one row")
    # a device is waited for once, not at every batch
    sums = workers.add_sums({name: value.cpu() for name, value in sums.items()})
    return model.metrics(sums), sums

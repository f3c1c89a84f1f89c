"""Measuring a model on a feed, with the state carried where the feed carries it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Feed
from recurra.errors import DataError
from recurra.models import Task


def evaluate(model: Task, feed: Feed) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(metrics, the sums they come from) of `model` over one epoch of `feed`."""
    sums: dict[str, Tensor] = {}
    state: Any = None
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in feed.batches(0):
            outputs, state = model(batch.inputs, state if batch.carries else None, batch.lengths, batch.resets)
            for name, value in model.measure(outputs, batch).items():
                sums[name] = sums[name] + value if name in sums else value
    model.train(was_training)
    if not sums:
        raise DataError("There is nothing to evaluate", expected="at least one row")
    return model.metrics(sums), sums

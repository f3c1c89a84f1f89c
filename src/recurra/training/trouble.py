"""What to say when training goes wrong: at which step, in which batch, and which parameter went first."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from recurra.errors import DataError
from recurra.training.recipe import RATES, Recipe

SOON = 10
"""Steps before which a run is not judged: the first ones may go astray and come back."""
FAR = 3.0
"""How many times the loss of the untrained model a run may have of late."""
HIGH = 0.01
"""A rate of AdamW above which it is no use to take a third."""


def not_a_number(what: str, value: float, where: str, model: nn.Module, recipe: Recipe) -> DataError:
    """The error for a loss or gradient that is NaN or infinite, after backward."""
    guilty = _first(((name, value) for name, value in model.named_parameters()), "the weight")
    if guilty is None:
        found = ((name, value.grad) for name, value in model.named_parameters() if value.grad is not None)
        guilty = _first(found, "the gradient of")
    parts = [str(value), where, *([] if guilty is None else [f"first in {guilty}"])]
    return DataError(
        f"{what} is no longer a number",
        got=", ".join(parts),
        fix=f"{_mend(recipe)}, and look for extreme values in the data",
    )


def exploded(value: float, first: float, where: str, recipe: Recipe) -> DataError:
    return DataError(
        "The loss explodes",
        got=f"{value:.3g}, {where}",
        expected=f"at most {FAR:.0f} times what it began with, {first:.3g}",
        fix=_mend(recipe),
    )


def is_exploding(step: int, smooth: float, first: float) -> bool:
    """Whether the loss of late is far above `first`, that of the first step, which an untrained model had."""
    return step >= SOON and smooth > FAR * first


def _mend(recipe: Recipe) -> str:
    rate, high = recipe.rate, HIGH * RATES[recipe.optimiser]
    if recipe.weight_decay * min(rate, high) > 0.5:
        return "Start over with a lower --weight-decay, 0.01 say, and --fresh"
    # a rate out of all reason is not made reasonable by a third
    lower = rate / 3 if rate < 10 * high else high
    return f"Start over with a lower rate: --rate {lower:.1g} --fresh"


def _first(values: Iterable[tuple[str, Tensor]], what: str) -> str | None:
    for name, value in values:
        if not torch.isfinite(value).all():
            return f"{what} '{name}'"
    return None

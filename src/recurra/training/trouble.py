"""What to say when training goes wrong: at which step, in which batch, and which parameter went first."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from recurra.errors import DataError

FIRST = 20
"""Steps whose mean loss is what the loss may not exceed by far."""
FAR = 3.0


def not_a_number(
    what: str, value: float, where: str, model: nn.Module, rate: float, total: Tensor | None = None
) -> DataError:
    """The error for a loss or gradient that is NaN or infinite; `total` is a loss whose gradients are not there yet."""
    guilty = _first(((name, value) for name, value in model.named_parameters()), "the weight")
    if guilty is None and total is not None and total.requires_grad:
        total.backward()
    if guilty is None:
        found = ((name, value.grad) for name, value in model.named_parameters() if value.grad is not None)
        guilty = _first(found, "the gradient of")
    parts = [str(value), where, *([] if guilty is None else [f"first in {guilty}"])]
    return DataError(
        f"{what} is no longer a number",
        got=", ".join(parts),
        fix=f"{_mend(rate)}, and look for extreme values in the data",
    )


def exploded(value: float, first: float, where: str, rate: float) -> DataError:
    return DataError(
        "The loss explodes",
        got=f"{value:.3g}, {where}",
        expected=f"less than it began with, {first:.3g}",
        fix=_mend(rate),
    )


def is_exploding(step: int, smooth: float, first: float) -> bool:
    """Whether the loss of late is far above that of the first steps."""
    return step > 2 * FIRST and smooth > FAR * first


def _mend(rate: float) -> str:
    # a rate out of all reason is not made reasonable by a third
    return f"Start over with a lower rate: --rate {rate / 3 if rate < 10 else 0.01:.1g} --fresh"


def _first(values: Iterable[tuple[str, Tensor]], what: str) -> str | None:
    for name, value in values:
        if not torch.isfinite(value).all():
            return f"{what} '{name}'"
    return None

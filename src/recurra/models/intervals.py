"""How wide the intervals of a forecaster are: quantiles of what it missed on values held back, at each step ahead.

Split conformal prediction (Vovk et al. 2005, Algorithmic Learning in a Random World) takes the quantiles of errors as they
are, a little further out. Its errors are exchangeable; those of forecasts come from overlapping windows of one history, so
that many of them tell the same. They count as fewer here (`Correlation`), and the quantiles lie out as Student's lie out
from the normal distribution's: what is estimated from k values is exceeded more often than it says.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recurra.models.forecasting import MIDDLE, PROBABILITIES

ENOUGH = 100
"""Errors from which a quantile is told; of fewer, the steps beside each step are taken with it."""
SMOOTH = 3
"""Steps on either side of each whose sizes are taken together, where errors are few."""
FEW = 4.0
"""Errors that count below which nothing can be said of how they hang together."""


class Correlation:
    """How many independent errors some correlated ones are worth.

    The errors of all forecasts of one moment are averaged; of n such means with a correlation r from one moment to the next
    n (1 - r) / (1 + r) count (Bartlett 1946: the variance of a mean of a first-order autoregression).
    """

    def __init__(self) -> None:
        self._number = self._square = self._product = 0.0

    def add(self, errors: Tensor, anchors: Tensor) -> None:
        """errors[B, A, H] in scales, NaN where nothing is known, of forecasts after the rows anchors[B, A]."""
        rows, _, horizon = errors.shape
        at = (anchors[..., None] + 1 + torch.arange(horizon, device=anchors.device)).clamp(min=0).flatten(1)
        known = torch.isfinite(errors)
        size = int(at.max()) + 1
        sums = errors.new_zeros(rows, size).scatter_add(1, at, torch.where(known, errors, 0.0).flatten(1))
        counts = errors.new_zeros(rows, size).scatter_add(1, at, known.to(errors.dtype).flatten(1))
        there, means = counts > 0, sums / counts.clamp(min=1)
        self._number += float(there.sum())
        self._square += float((means * means).sum())
        self._product += float((means[:, 1:] * means[:, :-1]).sum())

    @property
    def effective(self) -> float:
        """Independent errors, 1 at the least."""
        if self._number < FEW or self._square <= 0:
            return max(1.0, self._number / 2)
        correlation = min(0.95, max(0.0, self._product / self._square))
        return max(1.0, self._number * (1 - correlation) / (1 + correlation))


def offsets_of(missed: Tensor, spreads: Tensor, effective: float) -> Tensor:
    """By how many scales each quantile lies off at each step ahead, [H, P].

    - missed[N, H, P]: values less each quantile that was forecast, NaN where a value is not known.
    - spreads[H, P]: how far each of these quantiles lies from the middle one, on average.
    - effective: as many independent errors.
    """
    horizon = missed.shape[1]
    squares = missed[..., MIDDLE].square()
    there = torch.isfinite(squares)
    counts = there.sum(dim=0)
    reach = max(0, -(-ENOUGH // max(1, int(counts.min()))) // 2)
    sums = torch.where(there, squares, 0.0).sum(dim=0)
    scales = _smooth(sums, counts, min(reach, SMOOTH)).sqrt().clamp(min=1e-12)
    found = missed.new_zeros(horizon, len(PROBABILITIES))
    levels = missed.new_tensor(PROBABILITIES)
    for step in range(horizon):
        beside = slice(max(0, step - reach), step + reach + 1)
        # an error one step ahead is no error twelve steps ahead: each counts by the size of those of its step
        part = missed[:, beside] * (scales[step] / scales[beside])[:, None]
        part = part[torch.isfinite(part[..., MIDDLE])]
        if len(part):
            found[step] = torch.stack([torch.quantile(part[:, at], level) for at, level in enumerate(levels)])
    apart = spreads + found - found[:, MIDDLE : MIDDLE + 1]
    return found + (_widening(effective).to(found) - 1) * apart


def _smooth(squares: Tensor, counts: Tensor, reach: int) -> Tensor:
    """The mean square at each step ahead, over the steps beside it."""
    window = squares.new_ones(1, 1, 2 * reach + 1)
    sums = [torch.nn.functional.conv1d(part.to(squares.dtype)[None, None], window, padding=reach)[0, 0]
            for part in (squares, counts)]  # fmt: skip
    return sums[0] / sums[1].clamp(min=1)


def _widening(effective: float) -> Tensor:
    """[P]: how much further out Student's quantiles for one more value lie than the normal ones, 1 for the middle."""
    from scipy.special import ndtri, stdtrit

    levels = np.array(PROBABILITIES)
    levels[MIDDLE] = 0.75  # any other: at the middle both are zero
    found = stdtrit(effective, levels) * np.sqrt(1 + 1 / effective) / ndtri(levels)
    found[MIDDLE] = 1.0
    return torch.from_numpy(found)

"""Exponential smoothing, the truth: a level, and any number of seasons beside it, in plain torch a step at a time.

With the seasons `s_1` to `s_K` that stand at a step (Holt 1957 and Winters 1960 without a trend; two seasons: Taylor 2003):

    e = y - l - s_1 - ... - s_K        what the step has not been expected to be
    l' = l + a e                       the level, its share a in [0, 1]
    r = e - a e                        what is left of it
    s_k' = s_k + g_k r                 season k, m_k steps later

As a ring turns, each step reads one place of it and writes it anew. So the places in the order of their writing are all that
there is to know: `seasons[m + T, B]`, first the ring as it was, then one a step. The ring after step t is what stands from
t + 1 on, m places, and no ring is ever copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def by_reference(
    y: Tensor,
    level: Tensor,
    rings: Sequence[Tensor],
    share: Tensor,
    turns: Sequence[Tensor],
    lengths: Tensor | None,
) -> list[Tensor]:
    """[levels[T, B], seasons[m_k + T, B] for each ring]; zeros after the end of a row, where anything may be given.

    y[T, B], level[B], rings [B, m_k] each, share[T, B] (a), turns [T, B] each (g_k), lengths[B].
    """
    steps, batch = y.shape
    valid = None if lengths is None else torch.arange(steps, device=y.device)[:, None] < lengths
    nothing = y.new_zeros(())
    if valid is not None:
        # a choice before any product: what pads may be NaN
        y, share, *turns = (torch.where(valid, given, nothing) for given in (y, share, *turns))
    levels: list[Tensor] = []
    seasons = [list(ring.unbind(dim=1)) for ring in rings]
    for step in range(steps):
        here = True if valid is None else valid[step]
        stand = [season[step] for season in seasons]
        apart = y[step] - level
        for part in stand:
            apart = apart - part
        moved = share[step] * apart
        now, left = level + moved, apart - moved
        for season, part, turn in zip(seasons, stand, turns, strict=True):
            season.append(_where(here, part + turn[step] * left, nothing))
        levels.append(_where(here, now, nothing))
        level = _where(here, now, level)
    whole = torch.stack(levels) if levels else y.new_zeros(0, batch)
    return [whole, *map(torch.stack, seasons)]


def _where(here: Tensor | bool, value: Tensor, otherwise: Tensor) -> Tensor:
    return value if isinstance(here, bool) else torch.where(here, value, otherwise)

"""How long things are: quantiles and a histogram of lengths, counted in one pass however many there are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 10
_BAR = 40  # columns of the longest bar


@dataclass(frozen=True)
class Lengths:
    """How often each length comes, in `unit`s ("characters", "words", "steps")."""

    counts: Counter[int]
    unit: str

    @property
    def total(self) -> int:
        """How many things were measured."""
        return self.counts.total()

    @property
    def mean(self) -> float:
        return sum(length * count for length, count in self.counts.items()) / max(1, self.total)

    def quantile(self, share: float) -> int:
        """The least length that at least this share of all does not exceed. Raises `ValueError` where there is nothing."""
        ordered = sorted(self.counts)
        sums = accumulate(self.counts[length] for length in ordered)
        wanted = share * self.total
        return next(length for length, below in zip(ordered, sums, strict=True) if below >= wanted - 1e-9)

    def bins(self) -> list[tuple[int, int | None, int]]:
        """(from, to, count) in even steps up to what 95 in 100 do not exceed; the last one is open where longer ones are."""
        least, usual, most = min(self.counts), self.quantile(0.95), max(self.counts)
        step = _round(max(1, math.ceil((usual - least + 1) / _BINS)))
        start = least // step * step
        found: list[tuple[int, int | None, int]] = []
        while start <= usual:
            found.append((start, start + step - 1, self._between(start, start + step)))
            start += step
        if most >= start:
            found.append((start, None, self._between(start, most + 1)))
        return found

    def _between(self, first: int, after: int) -> int:
        return sum(count for length, count in self.counts.items() if first <= length < after)

    def as_dict(self) -> dict[str, object]:
        """Numbers ready for JSON."""
        if not self.counts:
            return {"unit": self.unit, "count": 0}
        return {
            "unit": self.unit,
            "count": self.total,
            "least": min(self.counts),
            "mean": round(self.mean, 2),
            "most": max(self.counts),
            "quantiles": {f"{share:g}": self.quantile(share) for share in QUANTILES},
            "histogram": [{"from": first, "to": last, "count": count} for first, last, count in self.bins()],
        }


def _round(step: int) -> int:
    """The next of 1, 2, 5, 10, 20, ... from a number on."""
    size = 10 ** (len(str(step)) - 1)
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step)


def histogram(lengths: Lengths) -> list[tuple[str, int, str]]:
    """(lengths, count, bar) a line, as a person reads them."""
    bins = lengths.bins()
    highest = max(count for *_, count in bins)
    rows = []
    for first, last, count in bins:
        name = f"{first:,} and more" if last is None else f"{first:,}" if first == last else f"{first:,}-{last:,}"
        rows.append((name, count, "█" * (math.ceil(_BAR * count / highest) if count else 0)))
    return rows

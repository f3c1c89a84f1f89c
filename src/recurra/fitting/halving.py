"""Successive halving: all candidates are trained for a short time, the best of them for a longer one, until two are left.

After Jamieson and Talwalkar (2016), with the factor of Li et al. (2018). The first candidate is the usual one: it stays to
the end, and gives way only to what is better than it by more than chance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

FACTOR = 3
"""Of so many candidates one goes into the next round."""


@dataclass(frozen=True)
class Tried:
    """A trial: which candidate, in which round, the figure it reached (less is better; None: it failed), its seconds.

    `whole`: the training came to its own end, so that more time would change nothing.
    """

    candidate: int
    round: int
    value: float | None
    seconds: float
    whole: bool = False
    trouble: str | None = None


@dataclass(frozen=True)
class Halving:
    """So many candidates in so many seconds. A trial needs `least` of them: where time is short, the last ones are left out.

    Each question is answered from the trials made so far, so a search that was broken off goes on as it would have.
    """

    candidates: int
    seconds: float
    least: float

    @property
    def sizes(self) -> list[int]:
        """How many candidates are in each round; empty where there is no time for two."""
        for count in range(self.candidates, 1, -1):
            sizes = [count]
            while sizes[-1] > 2:
                sizes.append(max(2, -(-sizes[-1] // FACTOR)))
            if self.seconds / len(sizes) / count >= self.least:
                return sizes
        return []

    def following(self, trials: Sequence[Tried]) -> tuple[int, int, float] | None:
        """The next trial: (candidate, round, seconds); None where all were made."""
        sizes = self.sizes
        for number, size in enumerate(sizes):
            for candidate in self._left(number, trials):
                made = [one for one in trials if one.candidate == candidate]
                if not any(one.round == number or one.whole for one in made):
                    return candidate, number, self.seconds / len(sizes) / size
        return None

    def winner(self, trials: Sequence[Tried], margin: float, slow: Collection[int] = ()) -> int:
        """The best candidate of the last round; the usual one where it is better by no more than a share of `margin`.

        Candidates that are `slow` learn at another speed than the usual one: they win only where both came to their end.
        """
        values = self._values(len(self.sizes) - 1, trials)
        ended = {one.candidate for one in trials if one.whole}
        fair = [candidate for candidate in values if candidate not in slow or {0, candidate} <= ended]
        best = min(fair, key=lambda candidate: values[candidate], default=0)
        return best if values and values[best] < (1 - margin) * values.get(0, math.inf) else 0

    def _left(self, number: int, trials: Sequence[Tried]) -> list[int]:
        """The candidates in a round, the usual one first."""
        sizes = self.sizes
        if number == 0:
            return list(range(sizes[0]))
        values = self._values(number - 1, trials)
        others = sorted((one for one in values if one), key=lambda one: values[one])
        return [0, *others[: sizes[number] - 1]]

    def _values(self, number: int, trials: Sequence[Tried]) -> dict[int, float]:
        """The last figure of each candidate that was in this round, infinite for one that failed."""
        found: dict[int, float] = {}
        for candidate in self._left(number, trials):
            made = [one for one in trials if one.candidate == candidate and one.round <= number]
            if made:
                value = made[-1].value
                found[candidate] = math.inf if value is None else value
        return found

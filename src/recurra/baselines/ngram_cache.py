"""An n-gram cache: what was read so far says what may come next, mixed with what a model says.

Texts repeat themselves: names, phrases, rhymes. The cache counts what followed the last 1 to N tokens wherever they stood
in the stream, and blends the orders by how often the context came and how many different tokens followed it (escape method C
of Moffat 1990). How far it is trusted beside the model is learnt on the way, for each length of the longest context known
(a mixture of two experts under log loss, with a fixed share as in Herbster and Warmuth 1998).
"""

from __future__ import annotations

from collections import defaultdict

ORDER = 6
SHARE = 0.005
"""How much of the trust is evened out at each token, so that it can change again."""


class NGramCache:
    """Counts over one stream of tokens below `vocabulary`, with contexts of up to `order` tokens."""

    def __init__(self, vocabulary: int, order: int = ORDER) -> None:
        self._vocabulary = vocabulary
        self._order = order
        self._counts: list[dict[tuple[int, ...], dict[int, int]]] = [defaultdict(dict) for _ in range(order + 1)]
        self._totals: list[dict[tuple[int, ...], int]] = [defaultdict(int) for _ in range(order + 1)]
        self._before: tuple[int, ...] = ()
        self._trust = [0.1] * (order + 1)

    def mixed(self, token: int, probability: float) -> float:
        """The probability of the next token where a model gives it `probability`; then it is read."""
        own, longest = self._of(token)
        trust = self._trust[longest]
        mixed = trust * own + (1.0 - trust) * probability
        if mixed > 0.0:
            trust = trust * own / mixed
        self._trust[longest] = (1.0 - SHARE) * trust + SHARE * 0.1
        self._read(token)
        return mixed

    def _of(self, token: int) -> tuple[float, int]:
        """(the probability of a token by the counts alone, the length of the longest context that was seen before)."""
        found, longest = 1.0 / self._vocabulary, 0
        for length in range(min(self._order, len(self._before)) + 1):
            context = self._before[len(self._before) - length :]
            total = self._totals[length].get(context, 0)
            if total == 0:
                break
            following = self._counts[length][context]
            different = len(following)
            found = (following.get(token, 0) + different * found) / (total + different)
            longest = length
        return found, longest

    def _read(self, token: int) -> None:
        before = self._before
        for length in range(min(self._order, len(before)) + 1):
            context = before[len(before) - length :]
            following = self._counts[length][context]
            following[token] = following.get(token, 0) + 1
            self._totals[length][context] += 1
        self._before = (*before, token)[-self._order :] if self._order else ()

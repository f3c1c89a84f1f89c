"""Modified interpolated Kneser-Ney: the strongest model of token counts (Chen and Goodman 1998).

All orders are built in one sweep over the training ids, from short n-grams to long ones, with sorting in
place of loops. Each `Level` is made, used by the streams that are being predicted, and dropped, so memory
holds one at a time. Knows nothing of text: token ids come in, probabilities come out.

Two counts of an n-gram matter. `raw` is how often it occurs, used by the highest order of a model.
`continuation` is after how many different tokens it occurs, used by all lower orders. The order n model is

    P_n(w | h) = (c(h w) - D(c(h w))) / c(h) + backoff(h) P_{n-1}(w | h without its first token)

with c(h) the sum of c(h w) over all w, D one of three discounts by whether the count is 1, 2 or more, and
backoff(h) the discounts of all words after h, divided by c(h). The zeroth order is uniform over the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

UNSEEN = -1
SMALLEST_DISCOUNT = 1e-3  # keeps some probability for tokens that were never seen


@dataclass(frozen=True)
class Counts:
    """Counts of one order: `count` [grams], `total` [contexts], `backoff` [contexts], `discounts` for 0, 1,
    2, more.
    """

    count: np.ndarray
    total: np.ndarray
    backoff: np.ndarray
    discounts: np.ndarray

    @classmethod
    def of(cls, count: np.ndarray, context: np.ndarray, contexts: int) -> Counts:
        """Add up `count` [grams] over the grams' `context` [grams], a number below `contexts`."""
        discounts = estimate_discounts(count)
        total = np.bincount(context, weights=count, minlength=contexts)
        freed = np.bincount(context, weights=discounts[np.minimum(count, 3)], minlength=contexts)
        backoff = np.divide(freed, total, out=np.ones(contexts), where=total > 0)
        return cls(count, total, backoff, discounts)

    def interpolate(self, gram: np.ndarray, context: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Return the probability of each `gram` after its `context` (or UNSEEN), given that of the order
        below.
        """
        known = np.flatnonzero(context != UNSEEN)
        known = known[self.total[context[known]] > 0]
        result = lower.copy()
        gram, context = gram[known], context[known]
        count = np.where(gram == UNSEEN, 0, self.count[gram])
        own = (count - self.discounts[np.minimum(count, 3)]) / self.total[context]
        result[known] = own + self.backoff[context] * lower[known]
        return result


@dataclass(frozen=True)
class Level:
    """All n-grams of one order. `keys` are sorted; the index of a key is the number of its n-gram.

    A key is the number of the n-gram without its first token, times `base`, plus the first token: an n-gram
    grows to the left, so that the numbers of one order serve as contexts of the next.
    """

    order: int
    base: int
    keys: np.ndarray
    raw: Counts
    continuation: Counts

    def find(self, shorter: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the numbers of n-grams, given those without the first token and the first tokens; or UNSEEN."""
        wanted = shorter * self.base + first  # negative, so never found, where the shorter one is UNSEEN
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place, UNSEEN)


def levels(train: np.ndarray, vocabulary: int, highest: int) -> Iterator[Level]:
    """Yield the counts of orders 1 to `highest` in turn. `train` is [tokens] of ids below `vocabulary`.

    Before the first token stand as many start symbols as a context needs; they are never predicted.
    """
    base = vocabulary + 1  # the start symbol is the last
    padded = _with_start(train, vocabulary, highest + 1)
    places = len(train) + 1  # place 0 is the last start symbol, the context of the first token

    def first_tokens(order: int) -> np.ndarray:
        """The first token of the n-gram that ends at each place."""
        return padded[highest + 1 - order :][:places]

    keys, numbers = _number(first_tokens(1))
    shorter, shorter_count = np.zeros(places, dtype=np.int64), 1
    for order in range(1, highest + 1):
        longer_keys, longer_numbers = _number(numbers * base + first_tokens(order + 1))
        context = np.empty(len(keys), dtype=np.int64)
        context[numbers[1:]] = shorter[:-1]
        start = numbers[0]  # an n-gram of start symbols only, which is nothing but a context
        context[start] = 0
        raw = np.bincount(numbers[1:], minlength=len(keys))
        continuation = np.bincount(longer_keys // base, minlength=len(keys))
        continuation[start] = 0
        yield Level(
            order,
            base,
            keys,
            Counts.of(raw, context, shorter_count),
            Counts.of(continuation, context, shorter_count),
        )
        shorter, shorter_count = numbers, len(keys)
        keys, numbers = longer_keys, longer_numbers


class Stream:
    """A sequence being predicted, one order after the other. Its own beginning is its only history.

    `advance` returns the probabilities [tokens] under the model of that level's order.
    """

    def __init__(self, tokens: np.ndarray, vocabulary: int, highest: int) -> None:
        self._padded = _with_start(tokens, vocabulary, highest)
        self._highest = highest
        self._numbers = np.zeros(len(tokens) + 1, dtype=np.int64)
        self._lower = np.full(len(tokens), 1 / vocabulary)

    def advance(self, level: Level) -> np.ndarray:
        first = self._padded[self._highest - level.order :][: len(self._numbers)]
        context = self._numbers[:-1]
        self._numbers = level.find(self._numbers, first)
        gram = self._numbers[1:]
        probabilities = level.raw.interpolate(gram, context, self._lower)
        self._lower = level.continuation.interpolate(gram, context, self._lower)
        return probabilities


def estimate_discounts(count: np.ndarray) -> np.ndarray:
    """Return the discounts of counts 0, 1, 2 and more, from how many n-grams have counts 1, 2, 3 and 4.

    Where one of these is missing, as in tiny data, the estimate does not exist and half the count (at most
    1.5) is taken off.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(count, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return np.array([0, 0.5, 1.0, 1.5])
    share = n1 / (n1 + 2 * n2)
    estimates = np.array([0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
    return np.clip(estimates, [0, *[SMALLEST_DISCOUNT] * 3], [0, 1, 2, 3])


def _with_start(tokens: np.ndarray, vocabulary: int, symbols: int) -> np.ndarray:
    return np.concatenate([np.full(symbols, vocabulary, dtype=np.int64), tokens.astype(np.int64)])


def _number(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct keys, and for each place the index of its key."""
    return np.unique(keys, return_inverse=True)

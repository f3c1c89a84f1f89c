"""Words by the characters they are spelled with, as whole numbers. Learned once from the training data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Self

import numpy as np

from recurra.errors import ModelError

UNKNOWN = "\ufffd"
PAD, BEGIN, END = "", "\x02", "\x03"
FIRST = (PAD, UNKNOWN, BEGIN, END)
"""Of the characters of words: nothing, one not seen in training, and the two ends of a word."""
LONGEST = 20  # characters of a word that are looked at, half of them at each end
_KNOWN = 1 << 18  # words remembered


class Letters:
    """`parts` are the characters by number; a word is spelled in `width` numbers, its ends among them, 0 where it is over."""

    def __init__(self, parts: Sequence[str], width: int) -> None:
        self.parts = tuple(parts)
        self.width = width
        self._ids = {part: place for place, part in enumerate(self.parts)}
        self._known: dict[str, np.ndarray] = {}

    @classmethod
    def learn(cls, words: Iterable[str]) -> Self:
        """From the different words of the training data."""
        listed = list(words)
        parts = [*FIRST, *sorted(set(map(whole, chain.from_iterable(listed))) - set(FIRST))]
        return cls(parts, 2 + max(1, min(LONGEST, max(map(len, listed), default=1))))

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """int64 [T, width]: each word as it stands; of a long one the first and the last characters."""
        if not words:
            return np.zeros((0, self.width), dtype=np.int64)
        return np.stack([self._word(word) for word in words])

    def _word(self, word: str) -> np.ndarray:
        found = self._known.get(word)
        if found is None:
            inside = self.width - 2
            half = inside // 2
            seen = word if len(word) <= inside else word[: inside - half] + word[len(word) - half :]
            spelled = [self._ids[BEGIN], *(self._ids.get(one, 1) for one in seen), self._ids[END]]
            found = np.zeros(self.width, dtype=np.int64)
            found[: len(spelled)] = spelled
            if len(self._known) > _KNOWN:
                self._known = {}
            self._known[word] = found
        return found

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"parts": list(self.parts), "width": self.width}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `ModelError` where `values` is not what `to_json` wrote."""
        parts, width = (values.get("parts"), values.get("width")) if isinstance(values, dict) else (None, None)
        if not isinstance(parts, list) or not all(isinstance(one, str) for one in parts):
            raise ModelError("The letters of the codec are damaged", got=repr(parts)[:80], expected="a list of texts")
        if tuple(parts[: len(FIRST)]) != FIRST or len(set(parts)) != len(parts):
            raise ModelError("The letters of the codec are damaged", got="one is missing or stands there twice")
        if type(width) is not int or not 3 <= width <= 2 + LONGEST:
            raise ModelError("The letters of the codec are damaged", got=f"width {width!r}")
        return cls(parts, width)


def whole(character: str) -> str:
    """The character; half a surrogate pair, which broken JSON can hold, is none."""
    return UNKNOWN if "\ud800" <= character <= "\udfff" else character

"""Tokens that stand already cut ↔ whole numbers: each word with its characters, or each character with its neighbours.

For taggers, whose tokens come from the data and keep their tags. Learned once from the training data; knows no tags.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np

from recurra.data.letters import BEGIN, END, FIRST, LONGEST, UNKNOWN, Letters, whole
from recurra.errors import DataError, ModelError

LEVELS = ("words", "characters")
_PUNCTUATION = re.compile(r"\w+(?:[-'’.,]\w+)*|[^\w\s]")


class TokenCodec:
    """A vocabulary of tokens on one `level`. Each token becomes `width` numbers.

    - words: the word, in lower case and with each digit as 0, then its characters as they stand, with both ends marked;
      of a long word the first and the last.
    - characters, where tokens are single characters: the character, and the pairs it makes with the one before and
      after; the character alone where `width` is 1, as what is read piece by piece has no neighbours yet.

    In each of these tables 0 stands for nothing known. `words` are ordered by how often they came: those from `once` on
    came a single time in training. `punctuation`: whether a text is cut before its punctuation.
    """

    def __init__(
        self, level: str, words: Sequence[str], parts: Sequence[str], once: int, width: int, punctuation: bool
    ) -> None:
        self.level = level
        self.words = tuple(words)
        self.parts = tuple(parts)
        self.once = once
        self.width = width
        self.punctuation = punctuation
        self._words = {word: place for place, word in enumerate(self.words)}
        self._parts = {part: place for place, part in enumerate(self.parts)}
        self._letters = Letters(parts, width - 1) if level == "words" else None

    @classmethod
    def learn(
        cls,
        sentences: Sequence[Sequence[str]],
        level: str | None = None,
        size: int | None = None,
        neighbours: bool = True,
    ) -> Self:
        """From the sentences of the training data; `level` is told by them where it is not given, `size` words at most.

        With `neighbours`, characters come with the pairs they make.
        """
        tokens = Counter(chain.from_iterable(sentences))
        if not tokens:
            raise DataError("There are no tokens to learn a vocabulary from", expected="at least one sentence")
        level = level or level_of(sentences)
        words: Counter[str] = Counter()
        for token, count in tokens.items():
            words[plain(token)] += count
        words.pop(UNKNOWN, None)
        ordered = sorted(words, key=lambda word: (-words[word], word))[: None if size is None else size - 1]
        once = 1 + sum(words[word] > 1 for word in ordered)
        if level == "characters":
            pairs = Counter(pair for sentence in sentences for pair in _pairs(sentence) if neighbours)
            parts = [UNKNOWN, *sorted(pair for pair, count in pairs.items() if count > 1)]
            width = 3 if neighbours else 1
        else:
            letters = Letters.learn(tokens)
            parts, width = letters.parts, 1 + letters.width
        mark = any(token in tokens for token in (".", ",", "?", "!"))
        return cls(level, [UNKNOWN, *ordered], parts, once, width, mark)

    def cut(self, text: str) -> list[str]:
        """A text as tokens, by the rule of the training data: characters, or words between blanks."""
        if self.level == "characters":
            return [character for character in text if not character.isspace()]
        return _PUNCTUATION.findall(text) if self.punctuation else text.split()

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """int64 [T, width] of a sentence."""
        words = [self._words.get(plain(token), 0) for token in tokens]
        if self._letters is not None:
            spelled = self._letters.encode(tokens)
            return np.concatenate([np.array(words, dtype=np.int64)[:, None], spelled], axis=1)
        if self.width == 1:
            return np.array(words, dtype=np.int64)[:, None]
        pairs = [self._parts.get(pair, 0) for pair in _pairs(tokens)]
        return np.array([words, pairs[:-1], pairs[1:]], dtype=np.int64).T.reshape(len(tokens), 3)

    def word(self, index: int) -> str:
        """The word of an id."""
        return self.words[index]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "level": self.level,
            "words": list(self.words),
            "parts": list(self.parts),
            "once": self.once,
            "width": self.width,
            "punctuation": self.punctuation,
        }

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `ModelError` where `values` is not what `to_json` wrote."""
        if not isinstance(values, dict) or values.get("level") not in LEVELS:
            raise ModelError("The vocabulary of the codec is damaged", got=repr(values)[:80])
        first = {"words": (UNKNOWN,), "parts": FIRST if values["level"] == "words" else (UNKNOWN,)}
        for name, fixed in first.items():
            listed = values.get(name)
            if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
                raise ModelError(
                    f"The {name} of the codec are damaged", got=repr(listed)[:80], expected="a list of texts"
                )
            if tuple(listed[: len(fixed)]) != fixed or len(set(listed)) != len(listed):
                raise ModelError(f"The {name} of the codec are damaged", got="one is missing or stands there twice")
        once, width = values.get("once"), values.get("width")
        widths = (1, 3) if values["level"] == "characters" else range(4, 4 + LONGEST)
        if type(once) is not int or not 1 <= once <= len(values["words"]):
            raise ModelError("The vocabulary of the codec is damaged", got=f"once {once!r}")
        if type(width) is not int or width not in widths:
            raise ModelError("The vocabulary of the codec is damaged", got=f"width {width!r}")
        if type(values.get("punctuation")) is not bool:
            raise ModelError("The vocabulary of the codec is damaged", got=f"punctuation {values.get('punctuation')!r}")
        return cls(values["level"], values["words"], values["parts"], once, width, values["punctuation"])


def plain(token: str) -> str:
    """A token as it is looked up: full-width forms as others, lower case, each digit as 0."""
    if not token.isascii():
        token = unicodedata.normalize("NFKC", "".join(map(whole, token)))
    return re.sub(r"\d", "0", token.lower())


def level_of(sentences: Iterable[Sequence[str]]) -> str:
    """ "characters" where all but a few tokens are single characters that no alphabet spells words with, else "words"."""
    single = all_of_them = 0
    for sentence in sentences:
        single += sum(len(token) == 1 for token in sentence)
        all_of_them += len(sentence)
    return "characters" if single > 0.95 * all_of_them else "words"


def _pairs(tokens: Sequence[str]) -> list[str]:
    """The pairs of neighbours, one more than there are tokens: the ends have one too."""
    spelled = [BEGIN, *map(plain, tokens), END]
    return [a + b for a, b in pairwise(spelled)]

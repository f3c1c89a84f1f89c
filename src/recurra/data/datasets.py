"""The two shapes clean data can have: documents to continue, and inputs to classify.

Nothing here knows files, columns or codecs: `reading` makes these, everything above consumes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recurra.data.pieces import FileText, Text, cut, strings_of, whole
from recurra.progress import watch

_LONGEST = 1 << 24  # characters of a line that is given in one


@dataclass(frozen=True)
class TextDataset:
    """Documents for a next-token model. A text file is one document, newlines included.

    A document is a string, or a stretch of a file that is too large to be held. Who goes over them in pieces need not
    know which.
    """

    texts: Sequence[Text]
    name: str

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def documents(self) -> list[str]:
        """All documents in memory: not for a text that is not `held`."""
        return [whole(text) for text in self.texts]

    @property
    def held(self) -> bool:
        """Whether all of it is in memory."""
        return not any(isinstance(text, FileText) for text in self.texts)

    @property
    def characters(self) -> int:
        """Unicode characters in all documents together."""
        return sum(map(len, self.texts))

    def pieces(self) -> Iterator[str]:
        """The documents one after another, each in pieces of a megabyte that end where no token is cut."""
        for text in self.texts:
            yield from cut(strings_of(text))

    def stream(self, separator: str) -> Iterator[str]:
        """The documents as one text, with `separator` between two of them, in such pieces."""

        def strings() -> Iterator[str]:
            for place, text in enumerate(self.texts):
                if place:
                    yield separator
                yield from strings_of(text)

        return cut(strings())

    def lines(self) -> Iterator[str]:
        """The lines of all documents; one of many megabytes comes in parts."""
        rest = ""
        for piece in self.stream("\n"):
            *lines, rest = (rest + piece).split("\n")
            yield from lines
            while len(rest) > _LONGEST:
                yield rest[:_LONGEST]
                rest = rest[_LONGEST:]
        yield rest

    @cached_property
    def digest(self) -> str:
        """A hash of the documents."""
        found = hashlib.sha256()
        with watch("hashing", self.characters / 1e6, "million characters") as seen:
            for piece in self.stream("\0"):
                found.update(piece.encode("utf-8", "surrogatepass"))
                seen(len(piece) / 1e6)
        return found.hexdigest()


@dataclass(frozen=True)
class LabelledDataset:
    """Inputs for a classifier: texts, or numeric sequences as float32 arrays of shape [T, F].

    `labels` is None where the source has no usable labels (prediction). `lines` holds, for each kept row, its
    1-based line in a text file or its 1-based row in anything else.
    """

    inputs: list[str] | list[np.ndarray]
    labels: list[str] | None
    lines: list[int]
    name: str

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def numeric(self) -> bool:
        """True where the inputs are numeric sequences, False where they are texts."""
        return bool(self.inputs) and isinstance(self.inputs[0], np.ndarray)

    @property
    def features(self) -> int | None:
        """F of numeric sequences; None for texts."""
        first = self.inputs[0] if self.inputs else None
        return first.shape[1] if isinstance(first, np.ndarray) else None


@dataclass(frozen=True)
class PairDataset:
    """Sources and their targets, for a translator. `targets` is None where the source has none (prediction).

    `lines` holds, for each kept pair, its 1-based line in a text file or its 1-based row in anything else.
    """

    sources: list[str]
    targets: list[str] | None
    lines: list[int]
    name: str

    def __len__(self) -> int:
        return len(self.sources)

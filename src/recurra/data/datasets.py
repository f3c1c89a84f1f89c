"""The shapes clean data can have: documents to continue, inputs to classify, words to tag, sentences to translate.

Nothing here knows files, columns or codecs: `reading` makes these, everything above consumes them.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from recurra.data.pieces import FileText, Text, cut, strings_of, whole
from recurra.progress import watch

_LONGEST = 1 << 24  # characters of a line that is given in one


@dataclass(frozen=True)
class TextDataset:
    """Documents for a next-token model. A text file is one document, newlines included.

    A document is a string, or a stretch of a file that is too large to be held. Who goes over them in pieces need not
    know which. `rows` says where each stands in a source that holds several, counted from 1.
    """

    texts: Sequence[Text]
    name: str
    rows: Sequence[int] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def raw(self) -> list[str]:
        """What a model is asked to answer for: the documents."""
        return self.documents

    @property
    def answered(self) -> bool:
        """Whether there is something to measure answers by: a text is its own answer."""
        return True

    @property
    def size(self) -> dict[str, int]:
        """How many documents (`rows`) and characters (`tokens`) there are."""
        return {"rows": len(self), "tokens": self.characters}

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

    def numbered_lines(self) -> Iterator[tuple[int, str]]:
        """All lines, each with its number in the one text, or with the row of its document."""
        if self.rows is None:
            yield from enumerate(self.lines(), 1)
            return
        for row, text in zip(self.rows, self.texts, strict=True):
            for line in TextDataset([text], self.name).lines():
                yield row, line

    @cached_property
    def digest(self) -> str:
        """A hash of the documents."""
        found = hashlib.sha256()
        with watch("hashing", self.characters / 1e6, "million characters") as seen:
            for piece in self.stream("\0"):
                found.update(piece.encode("utf-8", "surrogatepass"))
                seen(len(piece) / 1e6)
        return found.hexdigest()


class RowsDataset(ABC):
    """Rows that stand by themselves, each an input with its answer where there is one.

    `lines` holds, for each kept row, its 1-based line in a text file or its 1-based row in anything else.
    """

    lines: list[int]
    name: str

    def __len__(self) -> int:
        return len(self.lines)

    @property
    @abstractmethod
    def raw(self) -> list[Any]:
        """The inputs: what a model is asked to answer for, a row each."""

    @property
    @abstractmethod
    def answers(self) -> list[Any] | None:
        """What is to be answered, a row each; None where the source has no usable answers (prediction)."""

    @property
    def answered(self) -> bool:
        return self.answers is not None

    @property
    def groups(self) -> list[Hashable] | None:
        """What kind of row each is, of which a held-back part should have its share; None where all are of one kind."""
        return None

    @property
    def size(self) -> dict[str, int]:
        """How many rows and tokens (characters, words, steps) there are."""
        return {"rows": len(self), "tokens": sum(map(len, self.raw))}

    @abstractmethod
    def subset(self, places: Sequence[int], name: str) -> Self:
        """The rows at `places`."""

    @cached_property
    def digest(self) -> str:
        """A hash of all that stands in the rows."""
        found = hashlib.sha256()
        for row in self.raw:
            if isinstance(row, np.ndarray):
                found.update(np.ascontiguousarray(row).tobytes())
            else:
                text = row if isinstance(row, str) else json.dumps(row)
                found.update(text.encode("utf-8", "surrogatepass"))
            found.update(b"\0")
        found.update(json.dumps(self.answers).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class LongColumns:
    """The columns of a table with a row a step: which `series` a row is of, when (`time`, None where they are in order), and
    the numbers of a step (`channels`); `dates` is the format of moments that could be read in another (01/02/2024)."""

    series: str
    time: str | None
    channels: tuple[str, ...]
    dates: str | None = None


@dataclass(frozen=True)
class LabelledDataset(RowsDataset):
    """Inputs for a classifier: texts, or numeric sequences as float32 arrays of shape [T, F]; `labels` or None."""

    inputs: list[str] | list[np.ndarray]
    labels: list[str] | None
    lines: list[int]
    name: str
    pictures: bool = False
    """Whether the sequences are pictures, a row of one being a step."""
    ids: list[str] | None = None
    long: LongColumns | None = None
    """Where series were gathered from rows of a table: their names, and the columns."""

    @property
    def raw(self) -> list[Any]:
        return list(self.inputs)

    @property
    def answers(self) -> list[str] | None:
        return self.labels

    @property
    def groups(self) -> list[Hashable] | None:
        return None if self.labels is None else list(self.labels)

    @property
    def numeric(self) -> bool:
        """True where the inputs are numeric sequences, False where they are texts."""
        return _numeric(self.inputs)

    @property
    def features(self) -> int | None:
        """F of numeric sequences; None for texts."""
        first = self.inputs[0] if self.inputs else None
        return first.shape[1] if isinstance(first, np.ndarray) else None

    def subset(self, places: Sequence[int], name: str) -> LabelledDataset:
        labels, lines = _some(self.labels, places), _at(self.lines, places)
        return LabelledDataset(
            _at(self.inputs, places), labels, lines, name, self.pictures, _some(self.ids, places), self.long
        )


@dataclass(frozen=True)
class RegressionDataset(RowsDataset):
    """Inputs of which numbers are to be told: texts, or float32 arrays [T, F]; `targets`, as many as `names`, or None."""

    inputs: list[str] | list[np.ndarray]
    targets: list[tuple[float, ...]] | None
    names: tuple[str, ...]
    lines: list[int]
    name: str
    ids: list[str] | None = None
    long: LongColumns | None = None
    """As of `LabelledDataset`."""

    @property
    def raw(self) -> list[Any]:
        return list(self.inputs)

    @property
    def answers(self) -> list[tuple[float, ...]] | None:
        return self.targets

    @property
    def numeric(self) -> bool:
        """True where the inputs are numeric sequences, False where they are texts."""
        return _numeric(self.inputs)

    def subset(self, places: Sequence[int], name: str) -> RegressionDataset:
        targets, lines = _some(self.targets, places), _at(self.lines, places)
        return RegressionDataset(
            _at(self.inputs, places), targets, self.names, lines, name, _some(self.ids, places), self.long
        )


@dataclass(frozen=True)
class TaggedDataset(RowsDataset):
    """Sentences for a tagger: `tokens` of each, a tag for each token, and by choice a label for each sentence.

    For prediction a sentence may be a text that the model is to cut.
    """

    tokens: Sequence[list[str] | str]
    tags: list[list[str]] | None
    labels: list[str] | None
    lines: list[int]
    name: str

    @property
    def raw(self) -> list[list[str] | str]:
        return list(self.tokens)

    @property
    def answers(self) -> list[Any] | None:
        if self.tags is None:
            return None
        return self.tags if self.labels is None else list(zip(self.tags, self.labels, strict=True))

    def subset(self, places: Sequence[int], name: str) -> TaggedDataset:
        return TaggedDataset(
            _at(self.tokens, places),
            _some(self.tags, places),
            _some(self.labels, places),
            _at(self.lines, places),
            name,
        )


@dataclass(frozen=True)
class PairDataset(RowsDataset):
    """Sentences for a translator, in one language and in the other; `targets` or None."""

    sources: list[str]
    targets: list[str] | None
    lines: list[int]
    name: str

    @property
    def raw(self) -> list[str]:
        return self.sources

    @property
    def answers(self) -> list[str] | None:
        return self.targets

    def subset(self, places: Sequence[int], name: str) -> PairDataset:
        return PairDataset(_at(self.sources, places), _some(self.targets, places), _at(self.lines, places), name)


Dataset = TextDataset | RowsDataset
"""What is read, whatever it is for."""


def _numeric(inputs: Sequence[Any]) -> bool:
    return bool(inputs) and isinstance(inputs[0], np.ndarray)


def _at(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[place] for place in places]


def _some(values: Sequence[Any] | None, places: Sequence[int]) -> list[Any] | None:
    return None if values is None else _at(values, places)

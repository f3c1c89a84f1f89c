"""What stands twice: inside of a set, and in two sets that should share nothing; exactly, or but for case, width and space.

Rows come one after another and are held as hashes of eight bytes. Of a set with more than `MOST` different rows every
second, fourth, ... is looked at, chosen by its hash, so that all copies of a row are looked at or none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

MOST = 1 << 19  # different rows that are held at once, in some hundred megabytes
KEPT = 10_000  # places of one finding that are kept

Pairs = list[tuple[int, int]]
"""Lines that stand twice: (where it stands, where it stood first)."""


@dataclass
class Twins:
    """Rows that stand elsewhere too: how many, and where the first `KEPT` of them are."""

    count: int = 0
    pairs: Pairs = field(default_factory=list)

    def add(self, line: int, earlier: int) -> None:
        self.count += 1
        if len(self.pairs) < KEPT:
            self.pairs.append((line, earlier))


@dataclass
class Overlap:
    """Rows that are `exact`ly what stood elsewhere, answer included; `loose`ly, but for case, width and space; and `torn`:
    the same input with another answer. One in `every` rows was looked at, `rows` of them."""

    exact: Twins = field(default_factory=Twins)
    loose: Twins = field(default_factory=Twins)
    torn: Twins = field(default_factory=Twins)
    rows: int = 0
    every: int = 1


Row = tuple[int, Any, Any]
"""(line, input, answer): an input is a text, a list of tokens or an array; an answer anything with a `repr`, or None."""


class _Place:
    """Where inputs that are loosely the same stand: line, exact key and answer of the first, and of others that differ.

    There may be half a million of these, nearly all with a single row.
    """

    __slots__ = ("answer", "exact", "line", "others")

    def __init__(self, line: int, exact: int, answer: int) -> None:
        self.line, self.exact, self.answer = line, exact, answer
        self.others: dict[int, tuple[int, int]] | None = None

    def add(self, line: int, exact: int, answer: int) -> None:
        """Another row, which counts where none is exactly the same."""
        if exact != self.exact:
            self.others = self.others or {}
            self.others.setdefault(exact, (line, answer))

    def judge(self, found: Overlap, line: int, exact: int, answer: int) -> None:
        """Tell a row of the same loose key by what stands here."""
        same = (self.line, self.answer) if exact == self.exact else (self.others or {}).get(exact)
        if same is None:
            found.loose.add(line, self.line)
        else:
            (found.exact if same[1] == answer else found.torn).add(line, same[0])


def find_copies(rows: Callable[[], Iterable[Row]], most: int = MOST) -> Overlap:
    """What stands twice in a set; `rows` begins anew each time it is called."""
    every = 1
    while True:
        found, places = Overlap(every=every), {}
        for line, loose, exact, answer in _keys(rows(), every):
            found.rows += 1
            place = places.get(loose)
            if place is None:
                places[loose] = _Place(line, exact, answer)
            else:
                place.judge(found, line, exact, answer)
                place.add(line, exact, answer)
            if len(places) > most:
                break
        else:
            return found
        every *= 2


def find_leaks(train: Callable[[], Iterable[Row]], other: Callable[[], Iterable[Row]], most: int = MOST) -> Overlap:
    """Rows of `other` whose input stands in `train` too; only those of `other` are held."""
    every = 1
    while len(held := _all_keys(other(), every, most)) > most:
        every *= 2
    places: dict[int, _Place] = {}
    for line, loose, exact, answer in _keys(train(), every):
        if loose in places:
            places[loose].add(line, exact, answer)
        elif loose in held:
            places[loose] = _Place(line, exact, answer)
    found = Overlap(every=every)
    for line, loose, exact, answer in _keys(other(), every):
        found.rows += 1
        if loose in places:
            places[loose].judge(found, line, exact, answer)
    return found


def _all_keys(rows: Iterable[Row], every: int, most: int) -> set[int]:
    """The loose keys; some more than `most` where there are more."""
    held: set[int] = set()
    for _, loose, _, _ in _keys(rows, every):
        held.add(loose)
        if len(held) > most:
            break
    return held


def _keys(rows: Iterable[Row], every: int) -> Iterator[tuple[int, int, int, int]]:
    """(line, loose key, exact key, key of the answer) of the rows that are looked at: by the loose key, so that rows that
    are the same fall under the same choice."""
    for line, value, answer in rows:
        loose = _key(loosely(value))
        if loose % every == 0:
            yield line, loose, _key(value), _key(repr(answer))


def loosely(value: Any) -> Any:
    """What is left of an input where case, full and half width, spaces and invisible characters do not count.

    A text is compared without any space, a list of tokens token by token; numbers stay as they are.
    """
    if isinstance(value, str):
        plain = value if value.isascii() else unicodedata.normalize("NFKC", value).translate(_UNSEEN)
        return "".join(plain.casefold().split())
    if isinstance(value, (list, tuple)):
        return [loosely(token) for token in value]
    return value


_UNSEEN: dict[int, None] = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))


def _key(value: Any) -> int:
    if isinstance(value, np.ndarray):
        data = repr(value.shape).encode() + value.tobytes()
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
    else:
        data = b"\0".join(str(token).encode("utf-8", "surrogatepass") for token in value)
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

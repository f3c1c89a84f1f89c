"""Text in pieces: a string, or a stretch of a text file that is read anew each time and never held.

Whoever goes over a text goes over its pieces, whichever of the two it is. Knows nothing of tokens, rows or tasks.
"""

from __future__ import annotations

import bisect
import codecs
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from recurra.errors import DataError
from recurra.files import disk_errors, open_for_reading

PIECE = 1 << 20  # characters after which a piece ends at the next newline; no piece is longer than two of them
BLOCK = 1 << 20  # bytes read at once


def cut(strings: Iterable[str], size: int | None = None) -> Iterator[str]:
    """Strings that follow one another, as pieces of about `size`, a million if left out: small ones joined, large ones cut.

    Where the cuts are depends on the text alone, not on the strings it came in. They are after newlines, and in a very
    long line before a blank: no token of words or bpe reaches over these.
    """
    rest, size = "", size or PIECE
    for string in strings:
        rest += string
        start = 0
        while (end := _end(rest, start, size)) is not None:
            yield rest[start:end]
            start = end
        if start:
            rest = rest[start:]
    if rest:
        yield rest


def _end(text: str, start: int, size: int) -> int | None:
    """Where the piece that begins at `start` ends, or None where that cannot be told yet."""
    soon, last = start + size, start + 2 * size
    newline = text.find("\n", soon, last)
    if newline >= 0:
        return newline + 1
    if len(text) < last:
        return None
    blank = text.rfind(" ", soon, last)
    while blank > 0 and text[blank - 1].isspace():
        blank = text.rfind(" ", soon, blank)
    return blank if blank > 0 else last


@dataclass(frozen=True)
class TextFile:
    """A file of UTF-8 text that was read to its end once and found sound.

    `marks` are places (byte, character) to begin reading at, both counted from 0, newlines as "\\n"; `damaged` counts
    the replacement characters. `size` and `changed` (nanoseconds) tell the file from an altered one.
    """

    path: Path
    size: int
    changed: int
    marks: tuple[tuple[int, int], ...] = field(repr=False)
    characters: int
    damaged: int

    def strings(self, first: int, last: int) -> Iterator[str]:
        """The characters from `first` to before `last`. Raises `DataError` where the file is no longer what it was."""
        byte, character = self.marks[bisect.bisect_right(self.marks, first, key=lambda mark: mark[1]) - 1]
        skipped, left = first - character, last - first
        with open_for_reading(self.path, "data") as file, disk_errors(self.path, "read"):
            file.seek(byte)
            decoder, more = text_decoder(), True
            while left > 0 and more:
                block = file.read(BLOCK)
                self._check(file)
                more = bool(block)
                string = decoder.decode(block, final=not more)
                if skipped:
                    skipped, string = max(0, skipped - len(string)), string[skipped:]
                yield string[:left]
                left -= min(left, len(string))

    def _check(self, file: BinaryIO) -> None:
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed):
            raise DataError(
                f"{self.path} was changed while it was read",
                got=f"{now.st_size:,} bytes",
                expected=f"{self.size:,} bytes, as at the beginning",
                fix="Start again when it no longer changes",
            )


@dataclass(frozen=True)
class FileText:
    """A stretch of a text file by its characters: it has a length and slices like a string, and holds no text."""

    file: TextFile
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, span: slice) -> FileText:
        first, last, _ = span.indices(len(self))
        return FileText(self.file, self.first + first, self.first + max(first, last))

    def strings(self) -> Iterator[str]:
        """The text in strings of any length."""
        return self.file.strings(self.first, self.last)


Text = str | FileText
"""A text, held in memory or not."""


def strings_of(text: Text) -> Iterable[str]:
    """A text as strings that follow one another."""
    return [text] if isinstance(text, str) else text.strings()


def whole(text: Text) -> str:
    """A text in memory: for one that fits."""
    return text if isinstance(text, str) else "".join(text.strings())


def is_blank(text: Text) -> bool:
    """Whether there is nothing but blanks and newlines in it."""
    return not any(piece.strip() for piece in cut(strings_of(text)))


def replaced(text: Text) -> int:
    """How many characters of a text an earlier conversion replaced by "\ufffd"; of a stretch, those of its whole file."""
    return text.count("\ufffd") if isinstance(text, str) else text.file.damaged


def text_decoder() -> io.IncrementalNewlineDecoder:
    """UTF-8, every newline as "\\n", in whatever blocks the bytes come."""
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)


def waiting(decoder: io.IncrementalNewlineDecoder) -> tuple[int, int]:
    """How many bytes a decoder has kept for the next block: of a character that is not whole, and of a newline."""
    kept, flags = decoder.getstate()
    return len(kept), flags & 1

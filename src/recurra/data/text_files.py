"""Bytes of a file → text, or an error that says which byte is wrong, what the file probably is, and how to mend it.

Knows encodings and magic numbers; knows nothing of columns, rows or tasks.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import os
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from recurra.data import pieces
from recurra.data.encodings import ASIAN, SAMPLE, is_damaged_utf8, likely_encoding, likely_encodings
from recurra.data.pieces import FileText, Text, TextFile, text_decoder, waiting
from recurra.errors import DataError
from recurra.files import disk_errors, open_for_reading
from recurra.progress import watch

LARGE = 64_000_000  # bytes from which on the text of a plain file is not held

_MAGIC = {
    b"PK\x03\x04": ("a zip archive (Excel, Word and .npz files are zip archives too)", "Export it as UTF-8 CSV"),
    b"%PDF": ("a PDF document", "Extract its text first, for example with: pdftotext file.pdf file.txt"),
    b"\x89PNG": ("a PNG picture", "Give a file of text"),
    b"\xff\xd8\xff": ("a JPEG picture", "Give a file of text"),
    b"PAR1": ("a Parquet table", "Give it the ending .parquet"),
    b"\x1f\x8b": ("gzip-compressed", "Give it the ending .gz, or unpack it with gunzip"),
    b"\x93NUMPY": ("a single numpy array", "Save arrays x and y together with numpy.savez(file, x=x, y=y)"),
    b"\xd0\xcf\x11\xe0": ("an old Microsoft Office document", "Export it as UTF-8 CSV"),
    b"SQLite format": ("a SQLite database", "Export the table as CSV"),
}
_WIDE_MARKS = {  # UTF-32 first: its little-endian mark begins with UTF-16's
    b"\xff\xfe\x00\x00": "UTF-32LE",
    b"\x00\x00\xfe\xff": "UTF-32BE",
    b"\xff\xfe": "UTF-16LE",
    b"\xfe\xff": "UTF-16BE",
}
_MARK = codecs.BOM_UTF8

Blocks = Callable[[], Iterable[bytes]]
"""The bytes of a file in blocks, from its beginning each time it is called; the first holds 16 bytes if there are any."""


def read_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked where the name ends in .gz."""
    _look(path)
    with open_for_reading(path, "data") as file, disk_errors(path, "read"):
        data = file.read()
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file", got=error, fix="Fetch or compress it again") from error


def read_text(path: Path) -> str:
    """The whole file as text: UTF-8 with or without a byte-order mark, newlines as "\\n"."""
    data = read_bytes(path)
    return "".join(string for _, string in _decoded(path, lambda: [data]))


def open_text(path: Path) -> Text:
    """The text of a file as `read_text` has it, not held where the file is plain and has `LARGE` bytes or more."""
    _look(path)
    with disk_errors(path, "read"):
        status = os.stat(path)
    if status.st_size < LARGE or path.suffix.lower() == ".gz" or not stat.S_ISREG(status.st_mode):
        return read_text(path)
    with open_for_reading(path, "data") as file, disk_errors(path, "read"):

        def blocks() -> Iterator[bytes]:
            file.seek(0)
            return iter(lambda: file.read(pieces.BLOCK), b"")

        marks: list[tuple[int, int]] = []
        characters = damaged = 0
        with watch("checking", status.st_size / 1e6, "MB") as seen:
            for byte, string in _decoded(path, blocks):
                seen((byte - marks[-1][0]) / 1e6 if marks else 0)
                marks.append((byte, characters))
                characters += len(string)
                damaged += string.count("\ufffd")
    found = TextFile(path, status.st_size, status.st_mtime_ns, tuple(marks), characters, damaged)
    return FileText(found, 0, characters)


def _look(path: Path) -> None:
    """Raise `DataError` where there is no file, with what may have been meant."""
    if not os.path.exists(path):  # of a name that is too long, Path.exists would raise
        near = get_close_matches(path.name, _siblings(path), n=1, cutoff=0.6)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "See that the path is right"
        raise DataError(f"No such data file: {path}", fix=f"{hint} (a string is a path; texts themselves go in a list)")
    if path.is_dir():
        inside = ", ".join(_siblings(path / "any")[:6]) or "nothing"
        raise DataError(f"{path} is a folder", got=f"a folder that holds {inside}", expected="one data file")


def _siblings(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return []


def _decoded(path: Path, blocks: Blocks) -> Iterator[tuple[int, str]]:
    """The text of a file block by block: (the byte where it begins, the characters).

    Raises `DataError` for what is no UTF-8 text, with the place of the first wrong byte.
    """
    decoder, begin = text_decoder(), 0
    for block in itertools.chain(blocks(), [b""]):  # the last one ends the text
        if begin == 0:
            _refuse_other_formats(block, path)
            begin = len(_MARK) if block.startswith(_MARK) else 0
            block = block[begin:]
        _refuse_nul(path, blocks, block, begin)
        kept, newline = waiting(decoder)
        try:
            string = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            _refuse_any_nul(path, blocks)
            raise _wrong_encoding(path, blocks, begin - kept + error.start) from None
        yield begin - kept - newline, string
        begin += len(block)


def _refuse_other_formats(data: bytes, path: Path) -> None:
    for mark, encoding in _WIDE_MARKS.items():
        if data.startswith(mark):
            raise _not_utf8(path, f"a byte-order mark of {encoding} at byte 0, line 1", encoding)
    for magic, (what, fix) in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"{path} is not a text file", got=what, expected="UTF-8 text", fix=fix)


def _refuse_any_nul(path: Path, blocks: Blocks) -> None:
    """A NUL byte further on tells more than a wrong byte: the file is no text at all."""
    begin = 0
    for block in blocks():
        _refuse_nul(path, blocks, block, begin)
        begin += len(block)


def _refuse_nul(path: Path, blocks: Blocks, block: bytes, begin: int) -> None:
    place = block.find(b"\x00")
    if place < 0:
        return
    nul = begin + place
    sample = _head(blocks, SAMPLE)
    for first, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros = sample[first::2].count(0)
        if zeros > 0.4 * len(sample) / 2 and sample[1 - first :: 2].count(0) == 0:
            raise _not_utf8(path, f"NUL bytes from byte {nul} on, as in {encoding}", encoding)
    encoding = likely_encoding(sample)  # Chinese in UTF-16 has them in its newlines only
    if encoding.startswith("UTF-16"):
        raise _not_utf8(path, f"a NUL byte at byte {nul}, as in {encoding}", encoding)
    raise DataError(
        f"{path} is a binary file",
        got=f"a NUL byte at byte {nul}, line {_line_and_byte(blocks, nul)[0]}",
        expected="UTF-8 text",
        fix="Give a text file; if it should be one, remove the NUL bytes with: tr -d '\\000' < old > new",
    )


def _head(blocks: Blocks, count: int) -> bytes:
    """The first `count` bytes."""
    data = b""
    for block in blocks():
        data += block
        if len(data) >= count:
            break
    return data[:count]


def _line_and_byte(blocks: Blocks, position: int) -> tuple[int, int]:
    """The line, counted from 1, of the byte at a position, and the byte."""
    begin, line = 0, 1
    for block in blocks():
        if position < begin + len(block):
            return line + block.count(b"\n", 0, position - begin), block[position - begin]
        line += block.count(b"\n")
        begin += len(block)
    raise IndexError(position)


def _not_utf8(path: Path, got: str, encoding: str, flags: str = "") -> DataError:
    target = path.with_name(f"{path.name.split('.')[0]}.utf8{path.suffix}")
    return DataError(
        f"{path} is not UTF-8 text; it is probably {encoding}",
        got=got,
        expected="UTF-8",
        fix=f"Convert it with: iconv{flags} -f {encoding} -t UTF-8 {path} > {target}",
    )


def _wrong_encoding(path: Path, blocks: Blocks, start: int) -> DataError:
    line, byte = _line_and_byte(blocks, start)
    got = f"byte 0x{byte:02X} at byte {start}, line {line}"
    sound_lines, other_lines, sample = _lines_by_encoding(blocks)
    if other_lines and sound_lines * 50 >= other_lines and (encoding := likely_encoding(sample)) in ASIAN:
        return DataError(
            f"{path} holds lines in two encodings: {sound_lines:,} are UTF-8, {other_lines:,} probably {encoding}",
            got=got,
            expected="UTF-8 throughout",
            fix=f"Convert what is in {encoding} to UTF-8 before it is joined with the rest",
        )
    counts = _counts(blocks)
    if is_damaged_utf8(counts):
        losses = counts["\ufffd"]
        return DataError(
            f"{path} is UTF-8 with {losses} broken character{'s' * (losses > 1)}",
            got=got,
            expected="UTF-8",
            fix=f"Drop what is broken with: iconv -c -f UTF-8 -t UTF-8 {path} > {path}.clean",
        )
    # a byte more than is looked at tells that there is more
    likely = likely_encodings(_head(blocks, len(_MARK) + SAMPLE + 1).removeprefix(_MARK))
    if len(likely) == 1:
        return _not_utf8(path, got, likely[0])
    known, see = "what it is in cannot be told", "Save it as UTF-8 where it was written"
    if likely:
        known = f"it may be {' or '.join(likely)}, and is too short to tell"
        see = f"See which of them reads right: iconv -f {likely[0]} -t UTF-8 {path}"
    return DataError(f"{path} is not UTF-8 text; {known}", got=got, expected="UTF-8", fix=see)


def _lines_by_encoding(blocks: Blocks) -> tuple[int, int, bytes]:
    """How many lines beyond ASCII are sound UTF-8, how many are in another encoding throughout, and some of those.

    Sound ones are counted only where a character has three bytes: two bytes of another encoding may look like one.
    """
    sound = other = 0
    sample = b""
    for line in _lines(blocks):
        if line.isascii():
            continue
        text = line.decode("utf-8", "replace")
        losses, wide = text.count("\ufffd"), sum(character > "\u07ff" for character in text)
        if losses == 0:
            sound += wide > 0
        elif losses > wide - losses:  # a lost character is a wide one too
            other += 1
            if len(sample) < SAMPLE:
                sample += line + b"\n"
    return sound, other, sample


def _lines(blocks: Blocks) -> Iterator[bytes]:
    rest = b""
    for block in blocks():
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _counts(blocks: Blocks) -> Counter[str]:
    """How often each character is there; broken ones are counted as U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    counts: Counter[str] = Counter()
    for block in itertools.chain(blocks(), [b""]):
        counts.update(decoder.decode(block, final=not block))
    return counts

"""The tokens of a text, each in as few bytes as the vocabulary needs: in memory, or in a file beside the run.

A file of tokens is there whole or not at all, and is used again only where text, vocabulary and content are what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from recurra.data.datasets import TextDataset
from recurra.data.text_codec import TextCodec
from recurra.errors import EnvironmentFailure
from recurra.files import disk_errors, write_file
from recurra.progress import watch

FORMAT = 1
TOKENS, ABOUT, PART = "tokens.bin", "tokens.json", "tokens.part"
_BLOCK = 1 << 20  # bytes


class Tokens:
    """N tokens; `tokens[a:b]` are some of them as int64. `read(a, b)` gives them in the type they are kept in."""

    def __init__(self, read: Callable[[int, int], np.ndarray], count: int) -> None:
        self._read = read
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, span: slice) -> Tensor:
        start, stop, _ = span.indices(self._count)
        return torch.from_numpy(self._read(start, stop).astype(np.int64))


def encode_dataset(dataset: TextDataset, codec: TextCodec, store: Path | None = None) -> Tokens:
    """A dataset as one stream of tokens, its documents one after another, a newline between them.

    Those of a dataset that is not held go to a file in the folder `store`, or to one without a name that is gone when
    nobody reads it any more. Raises `EnvironmentFailure` where the disk refuses; then, and after an interrupt, no part
    is left.
    """
    kind = np.min_scalar_type(codec.size - 1).newbyteorder("<")
    with closing(_parts(dataset, codec, kind)) as parts:
        if dataset.held:
            held = np.concatenate([np.zeros(0, kind), *parts])
            return Tokens(lambda start, stop: held[start:stop], len(held))
        if store is not None:
            return _in_file(_stored(dataset, codec, store, parts, kind), kind)
        with disk_errors(Path(tempfile.gettempdir()), "write tokens in"):
            file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as somebody reads)
            try:
                _write(file, parts)
            except BaseException:
                file.close()
                raise
            return _in_file(file, kind)


def _parts(dataset: TextDataset, codec: TextCodec, kind: np.dtype) -> Generator[np.ndarray]:
    with watch("encoding", dataset.characters / 1e6, "million characters") as seen:
        for piece in dataset.stream("\n"):
            yield codec.encode_array(piece).astype(kind)
            seen(len(piece) / 1e6)


def _stored(
    dataset: TextDataset, codec: TextCodec, store: Path, parts: Iterable[np.ndarray], kind: np.dtype
) -> BinaryIO:
    """The file of tokens in a folder, made anew unless the one there is the one that would be made."""
    vocabulary = hashlib.sha256(codec.to_text().encode()).hexdigest()
    wanted = {"format": FORMAT, "text": dataset.digest, "vocabulary": vocabulary, "kind": kind.str}
    path, about, part = store / TOKENS, store / ABOUT, store / PART
    with disk_errors(path, "write"):
        if _digest_there(path, about, wanted) is None:
            made = [folder for folder in (store, store.parent) if not folder.exists()]
            store.mkdir(parents=True, exist_ok=True)
            try:
                with open(part, "wb") as file:
                    digest = _write(file, parts)
                    os.fsync(file.fileno())
                about.unlink(missing_ok=True)
                os.replace(part, path)
                write_file(about, json.dumps({**wanted, "digest": digest}))
            except BaseException:
                part.unlink(missing_ok=True)
                if not about.exists():
                    path.unlink(missing_ok=True)
                for folder in made:
                    with suppress(OSError):
                        folder.rmdir()
                raise
        return open(path, "rb", buffering=0)


def _digest_there(path: Path, about: Path, wanted: dict[str, object]) -> str | None:
    """The digest of the tokens that are there, or None where they are others, or not what was written."""
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
        digest = found.pop("digest") if isinstance(found, dict) else None
        if found != wanted or digest != _digest(path):
            return None
        return digest
    except (OSError, ValueError, RecursionError, KeyError):
        return None  # then they are made again


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file, watch("checking the tokens", os.fstat(file.fileno()).st_size / 1e6, "MB") as seen:
        while block := file.read(_BLOCK):
            found.update(block)
            seen(len(block) / 1e6)
    return found.hexdigest()


def _write(file: BinaryIO, parts: Iterable[np.ndarray]) -> str:
    """Write the tokens; their digest."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.tobytes()
        digest.update(data)
        file.write(data)
    file.flush()
    return digest.hexdigest()


def _in_file(file: BinaryIO, kind: np.dtype) -> Tokens:
    width = kind.itemsize

    def read(start: int, stop: int) -> np.ndarray:
        data = _read_at(file, start * width, max(0, stop - start) * width)
        return np.frombuffer(data, kind)

    tokens = Tokens(read, os.fstat(file.fileno()).st_size // width)
    weakref.finalize(tokens, file.close)
    return tokens


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Bytes of a file, read without a mapping: its pages then are the system's, not this process's."""
    with disk_errors(Path(str(file.name)), "read"):
        if hasattr(os, "pread"):
            # has no position, which a forked process would share and move
            data = os.pread(file.fileno(), count, offset)
        else:
            file.seek(offset)
            data = file.read(count)
    if len(data) != count:
        raise EnvironmentFailure(
            "The file of tokens was cut while it was read", got=f"{len(data)} bytes at {offset}", expected=count
        )
    return data


def remove_tokens(store: Path) -> None:
    """Remove the tokens in a folder, and the folder where it held nothing else."""
    for name in (TOKENS, ABOUT, PART):
        (store / name).unlink(missing_ok=True)
    with suppress(OSError):
        store.rmdir()


@contextmanager
def tokens_spared(store: Path) -> Iterator[None]:
    """Keep the tokens in `store` while its folder, or the one around it, is replaced: they wait beside the latter."""
    store = Path(os.path.realpath(store))
    aside = store.parent.with_name(f".{store.parent.name}.tokens")
    _move(store, aside)
    try:
        yield
    finally:
        _move(aside, store)


def _move(here: Path, there: Path) -> None:
    # where the disk refuses they are lost, and made again by whoever needs them
    with suppress(OSError):
        if (here / ABOUT).exists():
            there.mkdir(parents=True, exist_ok=True)
            for name in (TOKENS, ABOUT):
                os.replace(here / name, there / name)
            remove_tokens(here)

"""IDX files, as MNIST's: arrays of bytes or numbers with their shape in front. Pictures, with the labels in a file beside.

Knows the format and the names that such files go by, and nothing of tasks: a picture [H, W] comes out as a sequence of its
H rows; one of several channels [H, W, C] as rows of W * C values.

Format: LeCun, Cortes and Burges, "The MNIST database", 1998.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from recurra.data.tables import Table
from recurra.data.text_files import read_bytes
from recurra.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"-idx\d-|\.idx\d?-?|-idx\d$|\.idx\d?$")
_MOST_AXES = 8
PICTURE, LABEL = "picture", "label"


def is_idx(path: Path) -> bool:
    """Whether a file goes by a name such as `train-images-idx3-ubyte.gz` or `digits.idx`."""
    name = path.name.lower().removesuffix(".gz")
    return bool(_NAME.search(name)) or name.endswith("-ubyte")


def open_idx(path: Path, name: str) -> Table:
    """The pictures of a file, and their labels where a file `...labels-idx1...` lies beside `...images-idx3...`."""
    pictures = read_idx(path)
    if pictures.ndim not in (2, 3, 4):
        labels = "labels alone" if pictures.ndim == 1 else f"shape {list(pictures.shape)}"
        raise DataError(
            f"{name} holds no pictures",
            got=labels,
            expected="[N, H, W]",
            fix="Give the file of pictures, as train-images-…",
        )
    if pictures.ndim == 4:
        pictures = pictures.reshape(*pictures.shape[:2], -1)
    columns: dict[str, list] = {PICTURE: list(pictures)}
    beside = _labels_of(path)
    if beside is not None:
        labels = read_idx(beside)
        if labels.shape != (len(pictures),):
            raise DataError(
                f"{beside.name} does not belong to {name}",
                got=f"labels of shape {list(labels.shape)}",
                expected=f"[{len(pictures)}], a label a picture",
            )
        columns[LABEL] = labels.tolist()
    if not len(pictures):
        raise DataError(f"{name} is empty", got="no pictures", expected="at least one")
    return Table(columns, list(range(1, len(pictures) + 1)), name, pictures=True)


def read_idx(path: Path) -> np.ndarray:
    """The array of a file. Raises `DataError` where its header is no IDX header, or not all of it is there."""
    data = _unpacked(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= _MOST_AXES:
        raise DataError(
            f"{path} is no IDX file",
            got=f"it begins with the bytes {data[:4].hex(' ') or 'none'}",
            expected="00 00, a type from 08 to 0e, and the number of axes",
        )
    kind, axes = np.dtype(_TYPES[data[2]]), data[3]
    begin = 4 + 4 * axes
    if len(data) < begin:
        raise DataError(f"{path} ends within its header", got=f"{len(data)} bytes", expected=begin, fix=_AGAIN)
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, begin, 4))
    wanted = math.prod(shape) * kind.itemsize
    if len(data) - begin != wanted:
        which = "is cut" if len(data) - begin < wanted else "is longer than its header says"
        raise DataError(
            f"{path} {which}",
            got=f"{len(data) - begin:,} bytes",
            expected=f"{wanted:,} bytes for shape {list(shape)}",
            fix=_AGAIN,
        )
    return np.frombuffer(data, kind, offset=begin).reshape(shape).astype(kind.newbyteorder("="))


_AGAIN = "Fetch it again"


def _unpacked(path: Path) -> bytes:
    data = read_bytes(path)
    # MNIST's files are often kept compressed under their plain names
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file", got=error, fix=_AGAIN) from error


def _labels_of(path: Path) -> Path | None:
    """The file with the labels of a file of pictures, by its name, where there is one."""
    if "images" not in path.name:
        return None
    name = re.sub(r"idx\d", "idx1", path.name.replace("images", "labels"))
    names = (name, name.removesuffix(".gz"), f"{name}.gz")
    return next((path.with_name(each) for each in names if path.with_name(each).is_file()), None)

"""Whatever a person has (a path, a frame, lists, arrays, a dict) → documents or a table of named columns.

Does not guess which column is the text and does not check rows: see `guess` and `reading`.
"""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.conll import ENDINGS, looks_like_conll, parse_conll
from recurra.data.idx_files import is_idx, open_idx
from recurra.data.pieces import Text, is_blank, whole
from recurra.data.tables import Table, parse_delimited, parse_fasttext, parse_json_lines
from recurra.data.text_files import open_text, read_bytes, read_text
from recurra.data.ts_files import parse_ts
from recurra.errors import DataError

_SUPPORTED = ".txt, .tsv, .csv, .jsonl, .conll, .ts, IDX (each also with .gz), .parquet, .npz or .npy"
_FIXES = {
    ".json": "Turn a JSON array into lines with: jq -c '.[]' data.json > data.jsonl",
    ".xlsx": "Export the sheet as UTF-8 CSV",
    ".xls": "Export the sheet as UTF-8 CSV",
    ".pkl": "Pickles can run code and are never read: save as .npz, .parquet or .jsonl",
    ".pickle": "Pickles can run code and are never read: save as .npz, .parquet or .jsonl",
    ".pt": "Such files can run code and are never read: save as .npz",
    ".zip": "Unpack it first",
    ".tar": "Unpack it first",
}
_ACCEPTED = (
    "a path, a table (pandas, polars, pyarrow or a dict of columns), a list of texts, a list of (input, label) pairs, "
    "or a tuple (inputs, labels)"
)
_SNIFF_LINES, _SNIFF_CHARACTERS = 1_000, 1 << 24
# What zipfile and numpy's own header reader raise for bytes that are not what they should be.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True)
class Documents:
    """Texts without labels. `from_file` marks the single document that is a whole text file, held or not."""

    documents: list[Text]
    name: str
    from_file: bool = False


def open_source(
    source: Any, *, name: str | None = None, task: str | None = None, wanted: Collection[str] = ()
) -> Documents | Table:
    """Open anything. `task` and the `wanted` column names, where given, decide what would else be guessed.

    Raises `DataError` for what cannot be read and `EnvironmentFailure` where the machine refuses.
    """
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), name, task, wanted)
    name = name or "the data"
    if isinstance(source, (bytes, bytearray)):
        raise DataError("Bytes are not read", expected=_ACCEPTED, fix="Decode them first: data.decode('utf-8')")
    if isinstance(source, Mapping):
        return _table({str(key): values for key, values in source.items()}, name)
    frame = frame_columns(source)
    if frame is not None:
        return _table(frame, name)
    if isinstance(source, tuple) and len(source) == 2 and all(_is_column(part) for part in source):
        return _from_pair(source[0], source[1], name)
    if _is_array(source):
        return _from_items(_as_list(source), name)
    if isinstance(source, Iterable):
        return _from_items(list(source), name)
    raise DataError(f"Cannot read data from {type(source).__name__}", expected=_ACCEPTED)


def _open_path(given: Any, name: str | None, task: str | None, wanted: Collection[str]) -> Documents | Table:
    given = given if isinstance(given, str) else os.fsdecode(given)
    if "\n" in given or len(given) > 1_000:
        raise DataError("A string is taken as a path, and this one is a text", fix="Put texts in a list: [text]")
    if not given:
        raise DataError("The path is empty", expected=f"a file: {_SUPPORTED}")
    if given.startswith(("http://", "https://")):
        raise DataError("Data is not fetched from the network", got=given, fix=f"Fetch it first: curl -LO {given}")
    path = Path(given).expanduser()
    name = name or path.name
    endings = [ending.lower() for ending in path.suffixes]
    compressed = endings[-1:] == [".gz"]
    ending = (endings[:-1] if compressed else endings)[-1:] or [""]
    match ending[0]:
        case ".txt" | ".text" | ".md":
            return _open_text(open_text(path), name, task, wanted)
        case ".tsv" | ".tab":
            text = read_text(path)
            if task in (None, "tag") and looks_like_conll(_first_lines(text)):
                return parse_conll(text, name)
            return parse_delimited(text, name, tabs=True, wanted=wanted)
        case ".csv":
            return parse_delimited(read_text(path), name, tabs=False, wanted=wanted)
        case ".jsonl" | ".ndjson":
            return parse_json_lines(read_text(path), name)
        case known if known in ENDINGS:
            return parse_conll(read_text(path), name)
        case ".parquet" if not compressed:
            return _open_parquet(path, name)
        case ".npz" if not compressed:
            return _open_npz(path, name)
        case ".npy" if not compressed:
            return _open_npy(path, name)
        case ".ts":
            return parse_ts(read_text(path), name)
        case _ if is_idx(path):
            return open_idx(path, name)
        case other:
            read_bytes(path)  # a wrong path or a folder is the better thing to complain of
            fix = _FIXES.get(other, "Rename it to the ending that tells what it holds")
            raise DataError(f"Files like {path.name!r} are not read", expected=_SUPPORTED, fix=fix)


def _open_text(text: Text, name: str, task: str | None, wanted: Collection[str]) -> Documents | Table:
    if is_blank(text):
        raise DataError(f"{name} is empty", expected="some text")
    if task != "language":
        first = _first_lines(text)
        if task in (None, "tag") and looks_like_conll(first):
            return parse_conll(whole(text), name)
        sample = [line for line in first if line.strip()]
        if sum(line.startswith("__label__") for line in sample) > 0.5 * len(sample):
            return parse_fasttext(whole(text), name)
        tabs = sum(line.count("\t") == 1 for line in sample)
        few_values = any(len(set(part)) <= len(part) // 2 for part in _columns_of(sample))
        if tabs and (task == "classify" or (tabs == len(sample) and len(sample) >= 4 and few_values)):
            return parse_delimited(whole(text), name, tabs=True, wanted=wanted)
    return Documents([text], name, from_file=True)


def _first_lines(text: Text) -> list[str]:
    """The lines that tell what a text is: of many megabytes at most, however long they are."""
    return whole(text[:_SNIFF_CHARACTERS]).split("\n", _SNIFF_LINES)[:_SNIFF_LINES]


def _columns_of(lines: list[str]) -> list[tuple[str, ...]]:
    pairs = [tuple(line.split("\t")) for line in lines if line.count("\t") == 1]
    return list(zip(*pairs, strict=True))


def _open_parquet(path: Path, name: str) -> Table:
    data = read_bytes(path)
    if not data.startswith(b"PAR1") or not data.endswith(b"PAR1"):
        raise DataError(f"{path} is not a whole Parquet file", fix="Write or fetch it again")
    import polars

    try:
        frame = polars.read_parquet(BytesIO(data))
    except (polars.exceptions.PolarsError, OSError, polars.exceptions.PanicException) as error:
        raise DataError(f"{path} is a damaged Parquet file", got=str(error).split("\n")[0]) from error
    columns = frame_columns(frame)
    assert columns is not None
    return _table(columns, name)


def _open_npz(path: Path, name: str) -> Table:
    data = read_bytes(path)
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise DataError(f"{path} is not an .npz file", fix="Save it with numpy.savez(file, x=x, y=y)")
    arrays = _loaded(data, path, "numpy.savez")
    if "x" not in arrays:
        got = ", ".join(arrays) or "nothing"
        raise DataError(
            f"{name} has no array named x", got=got, expected="x [N, T, F] or [N, T], y [N] and, if needed, lengths [N]"
        )
    x = arrays["x"]
    if x.ndim not in (2, 3):
        raise DataError(f"{name}: x has the wrong shape", got=list(x.shape), expected="[N, T, F] or [N, T]")
    columns: dict[str, Any] = {"x": _cut(x, arrays.get("lengths"), name)}
    if "y" in arrays:
        y = arrays["y"]
        if y.ndim not in (1, 2) or len(y) != len(x) or (y.ndim == 2 and (y.dtype.kind != "f" or not y.shape[1])):
            raise DataError(
                f"{name}: y has the wrong shape",
                got=f"{list(y.shape)} of {y.dtype}",
                expected=f"[{len(x)}], a label a row of x, or of floating numbers [{len(x)}, K]",
            )
        if y.ndim == 2:
            columns |= {f"y_{place}": column for place, column in enumerate(y.T, 1)}
            return replace(_table(columns, name), task="regress")
        columns["y"] = y
    return _table(columns, name)


def _open_npy(path: Path, name: str) -> Table:
    """Inputs without answers."""
    data = read_bytes(path)
    if not data.startswith(b"\x93NUMPY"):
        raise DataError(f"{path} is not an .npy file", fix="Save it with numpy.save(file, x)")
    x = _loaded(data, path, "numpy.save")[""]
    if x.ndim not in (2, 3):
        raise DataError(
            f"{name}: the array has the wrong shape",
            got=list(x.shape),
            expected="[N, T, F] or [N, T]",
            fix="With answers beside it, save both with numpy.savez('data.npz', x=x, y=y)",
        )
    return _table({"x": list(x)}, name)


def _loaded(data: bytes, path: Path, made_by: str) -> dict[str, np.ndarray]:
    """The arrays of a file by name; that of an .npy file has none."""
    try:
        found = np.load(BytesIO(data), allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found as archive:
            return {key: archive[key] for key in archive.files}
    except _DAMAGED as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{path} holds arrays of Python objects, which can run code and are never read",
                expected="arrays of numbers: x [N, T, F] or [N, T], y [N], and where lengths differ `lengths` [N]",
                fix="Pad x to one length and save with numpy.savez(file, x=x, y=y, lengths=lengths)",
            ) from error
        fix = f"Save it again with {made_by}"
        raise DataError(f"{path} is a damaged {path.suffix} file", got=error, fix=fix) from error


def _cut(x: np.ndarray, lengths: np.ndarray | None, name: str) -> list[np.ndarray]:
    if lengths is None:
        return list(x)
    expected = f"[{len(x)}] whole numbers from 0 to {x.shape[1]}"
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        got = f"shape {list(lengths.shape)} of {lengths.dtype}"
        raise DataError(f"{name}: lengths do not fit x", got=got, expected=expected)
    wrong = np.flatnonzero((lengths < 0) | (lengths > x.shape[1]))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"{name}, row {row + 1}: the length does not fit x", got=int(lengths[row]), expected=expected)
    return [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]


def frame_columns(source: Any) -> dict[str, Any] | None:
    """The columns of a pandas, polars or pyarrow table, whichever library made it; None for anything else."""
    if not hasattr(type(source), "columns"):  # asked of the class: a lazy frame warns when asked itself
        return None
    import narwhals

    try:
        frame = narwhals.from_native(source, pass_through=True)
    except narwhals.exceptions.DuplicateError:
        titles = source.column_names if hasattr(type(source), "column_names") else source.columns
        names = [str(title) for title in titles]
        twice = ", ".join(repr(name) for name in dict.fromkeys(names) if names.count(name) > 1)
        raise DataError(
            "The table has columns of the same name", got=twice, fix="Rename or remove all but one of each"
        ) from None
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, narwhals.DataFrame):
        return None
    return {str(column): frame.get_column(column).to_list() for column in frame.columns}


def _is_array(value: Any) -> bool:
    """An array or a column of any library: numpy, torch, pandas, polars, pyarrow."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


def _is_column(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or _is_array(value)


def _as_list(values: Any) -> list[Any]:
    """A column as a list; an array of more than one axis as a list of its rows, which stay arrays."""
    if isinstance(values, (list, tuple)):
        return list(values)
    if not _is_array(values):
        return list(values) if isinstance(values, Iterable) and not isinstance(values, (str, bytes)) else [values]
    array = np.asarray(values)
    if array.ndim == 0:
        raise DataError("A single value is no column", got=repr(values)[:60], expected=_ACCEPTED)
    return array.tolist() if array.ndim == 1 else list(array)


def _table(columns: Mapping[str, Any], name: str) -> Table:
    lists = {key: _as_list(values) for key, values in columns.items()}
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{key} {count}" for key, count in lengths.items())
        raise DataError(f"{name}: the columns have different lengths", got=got, expected="one value a row in each")
    rows = next(iter(lengths.values()), 0)
    if rows == 0:
        raise DataError(f"{name} is empty", got=f"{len(lists)} columns without rows" if lists else "no columns")
    return Table(lists, list(range(1, rows + 1)), name)


def _from_pair(inputs: Any, labels: Any, name: str) -> Table:
    if all(isinstance(part, tuple) and len(part) == 2 for part in (inputs, labels)):
        raise DataError(
            "Two tuples of two can mean (inputs, labels) or two (input, label) pairs",
            got=repr((inputs, labels))[:80],
            fix="Give a list for what is a list: [(input, label), ...] or ([inputs], [labels])",
        )
    inputs, labels = _as_list(inputs), _as_list(labels)
    if len(inputs) != len(labels):
        raise DataError(f"{name}: {len(inputs)} inputs but {len(labels)} labels", expected="one label for each input")
    return _table({"input": inputs, "label": labels}, name)


def _from_items(items: list[Any], name: str) -> Documents | Table:
    if not items:
        raise DataError(f"{name} is empty", got="no items", expected="at least one")
    first = items[0]
    if isinstance(first, str):
        wrong = next((i for i, item in enumerate(items) if not isinstance(item, str)), None)
        if wrong is not None:
            got = type(items[wrong]).__name__
            raise DataError(f"{name}, item {wrong + 1} is not a text as the first is", got=got, expected="all texts")
        return Documents(list(items), name)
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for item in items if isinstance(item, Mapping) for key in item)
        return _table({str(key): [_field(item, key) for item in items] for key in keys}, name)
    if _is_labelled(first):
        wrong = next((i for i, item in enumerate(items) if not _is_labelled(item)), None)
        if wrong is not None:
            got = repr(items[wrong])[:60]
            raise DataError(f"{name}, item {wrong + 1} is no (input, label) pair as the first is", got=got)
        return _table({"input": [item[0] for item in items], "label": [item[1] for item in items]}, name)
    if _is_column(first):
        return _table({"input": items}, name)
    raise DataError(
        f"{name}: items of type {type(first).__name__} are not read", got=repr(first)[:60], expected=_ACCEPTED
    )


def _field(item: Any, key: Any) -> Any:
    return item.get(key) if isinstance(item, Mapping) else None


def _is_labelled(item: Any) -> bool:
    """An (input, label) pair, as opposed to a sequence of two numbers or of two steps."""
    if not isinstance(item, (list, tuple)) or len(item) != 2:
        return False
    return isinstance(item[0], str) or (_is_column(item[0]) and not _is_column(item[1]))

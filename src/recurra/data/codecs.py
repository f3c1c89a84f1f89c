"""Raw values ↔ numbers: text ↔ token ids, labels ↔ class ids, numeric sequences → standardised float32.

A codec is learned once from the training data and is saved with the model as readable JSON. It knows no model, no
batch and no file format of data. `TextCodec` is long enough for a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np

from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.target_codec import TargetCodec
from recurra.data.text_codec import TextCodec, read_json
from recurra.data.writing import default_level
from recurra.errors import DataError, ModelError
from recurra.files import write_file

__all__ = ["Codecs", "LabelCodec", "SeriesCodec", "TextCodec", "default_level", "load_codecs", "save_codecs"]

CODEC_FILE = "codec.json"
_VERSION = 1


class LabelCodec:
    """Class names ↔ 0..C-1. `labels[i]` is the name of class i; names that are whole numbers are in their order."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels: tuple[str, ...] = tuple(labels)
        self._ids = {label: i for i, label in enumerate(self.labels)}

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def learn(cls, labels: Iterable[str]) -> Self:
        """From all labels of the training data. Raises `DataError` where there is none."""
        distinct = set(labels)
        if not distinct:
            raise DataError("There are no labels to learn", expected="at least one label")
        return cls(sorted(distinct, key=_natural))

    def encode(self, label: str) -> int:
        """The id of a label. Raises `DataError` naming a label that was not in the training data."""
        found = self._ids.get(label)
        if found is None:
            near = get_close_matches(str(label), self.labels, n=1)
            shown = ", ".join(map(repr, self.labels[:10])) + (" …" if len(self.labels) > 10 else "")
            fix = f"Did you mean {near[0]!r}?" if near else "Correct it, or train on data that holds it"
            raise DataError("The model has not seen this label", got=repr(label), expected=f"one of {shown}", fix=fix)
        return found

    def encode_many(self, labels: Iterable[str]) -> np.ndarray:
        """The ids of many labels, int64 [N]."""
        return np.array([self.encode(label) for label in labels], dtype=np.int64)

    def decode(self, index: int) -> str:
        """The name of class `index`. Raises `DataError` outside 0..C-1."""
        if not 0 <= index < len(self.labels):
            raise DataError("No such class", got=index, expected=f"0 to {len(self.labels) - 1}")
        return self.labels[int(index)]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"labels": list(self.labels)}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `ModelError` where `values` is not what `to_json` wrote."""
        labels = values.get("labels") if isinstance(values, dict) else None
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise ModelError("The labels of the codec are damaged", got=repr(labels)[:80], expected="a list of names")
        if len(set(labels)) != len(labels):
            raise ModelError("The labels of the codec are damaged", got="a label that stands there twice")
        return cls(labels)


def _natural(label: str) -> tuple[int, int, str]:
    whole = label.removeprefix("-")
    return (0, int(label), label) if whole.isascii() and whole.isdigit() else (1, 0, label)


@dataclass(frozen=True)
class Codecs:
    """What `codec.json` of a classifier holds: labels, and what reads numbers, or spells words, where there is such a one."""

    labels: LabelCodec
    series: SeriesCodec | None = None
    letters: Letters | None = None


def codecs_text(labels: LabelCodec, series: SeriesCodec | None = None, letters: Letters | None = None) -> str:
    """The content of `codec.json`."""
    values = {"version": _VERSION, **labels.to_json(), "series": series.to_json() if series is not None else None}
    if letters is not None:
        values["letters"] = letters.to_json()
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def save_codecs(folder: str | Path, labels: LabelCodec, series: SeriesCodec | None = None) -> None:
    """Write `codec.json` into a folder."""
    write_file(Path(folder) / CODEC_FILE, codecs_text(labels, series))


def load_codecs(folder: str | Path) -> Codecs:
    """Read `codec.json`. Raises `ModelError` where it is missing, cut, altered, or of a newer version."""
    path, values = _read(folder)
    try:
        return Codecs(LabelCodec.from_json(values), *_readers(values))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def target_codecs_text(numbers: TargetCodec, series: SeriesCodec | None = None, letters: Letters | None = None) -> str:
    """The content of `codec.json` of a regressor."""
    values = {
        "version": _VERSION,
        "targets": numbers.to_json(),
        "series": series.to_json() if series is not None else None,
    }
    if letters is not None:
        values["letters"] = letters.to_json()
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def load_target_codecs(folder: str | Path) -> tuple[TargetCodec, SeriesCodec | None, Letters | None]:
    """Read the `codec.json` of a regressor. Raises as `load_codecs`."""
    path, values = _read(folder)
    try:
        return TargetCodec.from_json(values.get("targets")), *_readers(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _read(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    path = Path(folder) / CODEC_FILE
    values = read_json(path)
    if values.get("version") != _VERSION:
        raise ModelError(f"{path} has another version", got=values.get("version"), expected=_VERSION)
    return path, values


def _readers(values: dict[str, Any]) -> tuple[SeriesCodec | None, Letters | None]:
    series = SeriesCodec.from_json(values["series"]) if values.get("series") is not None else None
    letters = Letters.from_json(values["letters"]) if values.get("letters") is not None else None
    return series, letters

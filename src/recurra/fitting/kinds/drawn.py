"""What a report draws of sequences of numbers: rows of each class with what is said of them, and numbers beside true ones."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from recurra.data.datasets import LabelledDataset, RegressionDataset
from recurra.data.sequence_codec import SeriesCodec

CLASSES, SERIES, PICTURES, CHANNELS, POINTS = 10, 3, 6, 4, 64
"""Classes that are drawn, series or pictures of each, features of a series, and steps that a line is thinned to."""
LOOKED_AT = 40
"""Rows of a class among which one that is mistaken is looked for."""
DOTS = 400
NUMBERS = 4
"""Rows and numbers of a regressor that are drawn."""


def examples(task: Any, valid: LabelledDataset) -> dict[str, Any]:
    """Rows of the validation data by class, standardised, with the answer of the model; nothing of texts.

    Of each class one is drawn that is mistaken, where there is one among the first. Pictures are drawn whole.
    """
    codec = task.codec
    if not isinstance(codec, SeriesCodec) or valid.labels is None:
        return {}
    by_class: dict[str, list[int]] = defaultdict(list)
    for place, label in enumerate(valid.labels):
        by_class[label].append(place)
    most = sorted(by_class, key=lambda label: (-len(by_class[label]), label))[:CLASSES]
    shown = [label for label in task.labels.labels if label in most]
    found = []
    for label in shown:
        places = by_class[label][:LOOKED_AT]
        answers = task.predict([valid.inputs[place] for place in places], top=1)
        told = [str(answer["label"]) for answer in answers]
        order = sorted(range(len(places)), key=lambda at: told[at] == label)
        # one that is mistaken at most, last, so that the others show what is usual
        wrong = [at for at in order if told[at] != label][:1]
        each = PICTURES if valid.pictures else SERIES
        right = [at for at in order if told[at] == label][: each - len(wrong)]
        rows = []
        for at in [*right, *wrong]:
            values = np.asarray(valid.inputs[places[at]])
            place = places[at]
            name = f"row {valid.lines[place]}" if valid.ids is None else valid.ids[place]
            rows.append({"name": name, "told": told[at], **_values(values, codec, valid.pictures)})
        found.append({"label": label, "rows": rows})
    named = () if codec.long is None else codec.long.channels[:CHANNELS]
    return {
        "examples": {
            "classes": found, "of": len(by_class), "channels": list(named), "features": codec.features,
            "pictures": valid.pictures,
        }
    }  # fmt: skip


def _values(values: np.ndarray, codec: SeriesCodec, picture: bool) -> dict[str, Any]:
    """A row [T, F] for drawing, in strings, which a record holds in few lines.

    Of a picture the shades of each of its rows, a digit a pixel; else the first features as numbers with blanks between, `-`
    where a value is missing, at steps spread evenly from the first to the last of T.
    """
    if picture:
        low, high = float(values.min()), float(values.max())
        shades = np.round(9 * (values - low) / (high - low or 1.0)).astype(int)
        return {"picture": ["".join(map(str, row)) for row in shades]}
    at = np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int)
    standard = ((values - codec.mean) / codec.scale)[at, :CHANNELS]
    lines = [" ".join("-" if np.isnan(value) else f"{value:.3g}" for value in column) for column in standard.T]
    return {"lines": lines, "steps": len(values)}


def amounts(task: Any, valid: RegressionDataset) -> dict[str, Any]:
    """The numbers that a regressor tells of rows of the validation data, beside the true ones."""
    if valid.targets is None:
        return {}
    step = max(1, -(-len(valid) // DOTS))
    places = range(0, len(valid), step)
    answers = task.predict([valid.inputs[place] for place in places])
    names = list(task.numbers.names)
    told = [[answer["value"]] if "value" in answer else list(answer["values"].values()) for answer in answers]
    true = [valid.targets[place] for place in places]
    return {
        "amounts": [
            {
                "name": name,
                "true": [float(f"{row[at]:.6g}") for row in true],
                "told": [float(f"{row[at]:.6g}") for row in told],
            }
            for at, name in enumerate(names[:NUMBERS])
        ]
    }

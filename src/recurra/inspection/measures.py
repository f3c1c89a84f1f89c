"""What a run record says, made safe to read, and its numbers made readable.

A record may lack keys and may hold NaN: nothing here raises. It does not know HTML or Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Measure:
    """How a metric is called, whether more of it is better, and whether it is a share of 1."""

    title: str
    higher: bool
    share: bool = False


MEASURES = {
    "bits_per_character": Measure("bits per character", higher=False),
    "perplexity": Measure("perplexity", higher=False),
    "f1": Measure("F1", higher=True, share=True),
    "precision": Measure("precision", higher=True, share=True),
    "recall": Measure("recall", higher=True, share=True),
    "bleu": Measure("BLEU", higher=True),
    "chrf": Measure("chrF", higher=True),
    "accuracy": Measure("accuracy", higher=True, share=True),
    "label_accuracy": Measure("label accuracy", higher=True, share=True),
    "macro_f1": Measure("macro F1", higher=True, share=True),
    "loss": Measure("loss", higher=False),
    "mse": Measure("squared error", higher=False),
    "mae": Measure("absolute error", higher=False),
    "smape": Measure("sMAPE", higher=False),
    "mase": Measure("MASE", higher=False),
    "owa": Measure("OWA", higher=False),
    "coverage80": Measure("within 80 % intervals", higher=True, share=True),
    "coverage95": Measure("within 95 % intervals", higher=True, share=True),
}
SPLITS = {"test": "test data", "valid": "validation data", "train": "training data"}


def known(name: str) -> Measure:
    """The measure of that name; one that is not in the table is a plain number, less being better."""
    return MEASURES.get(name) or Measure(name.replace("_", " "), higher=False)


def part(record: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The dictionary at a path of keys; an empty one where any of it is missing."""
    here: Any = record
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def noun_of_tokens(record: Mapping[str, Any]) -> str:
    """What the tokens of its data are called: values of series; steps, where one answer is given for many numbers."""
    if record.get("kind") == "forecast":
        return "value"
    numbers = record.get("kind") in ("classify", "regress") and part(record, "model").get("level") is None
    return "step" if numbers else "token"


def items(record: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key; an empty one where it is missing."""
    value = record.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def number(value: object) -> float | None:
    """The value as a finite float, else `None`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def show(name: str, value: object) -> str:
    """A metric's value with its unit: "91.2 %", "1.823"; a dash where there is no finite number."""
    found = number(value)
    if found is None:
        return "–"
    if known(name).share:
        return f"{found * 100:.1f} %"
    size = abs(found)
    if size >= 1e6:
        return f"{found:.3g}"
    return f"{found:,.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3}f}"


def whole(value: object) -> str:
    """A count with thousands separators, a dash where there is none."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}"


def plural(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}{'' if count == 1 or noun == 'series' else 's'}"


def day(value: object) -> str:
    """An ISO date as a person writes it; what is no ISO date as it stands."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return f"{moment.day} {moment:%B %Y, %H:%M}"

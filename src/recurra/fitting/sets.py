"""What a run reads: training, validation and test sets, how they were understood, and their hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.data.checking import Problem, leakage
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.reading import read
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import split_labelled, split_text

Dataset = TextDataset | LabelledDataset


@dataclass(frozen=True)
class Sets:
    """What a run reads: the sets, how they were understood, and what is wrong with them."""

    train: Dataset
    valid: Dataset
    test: Dataset | None
    guess: list[str]
    problems: list[Problem]


def gather(data: Any, valid: Any, test: Any, options: FitOptions) -> Sets:
    """Read what a person handed in, and hold a part back for validation where none was given."""
    train, guess, problems = read(data, task=options.task, text=options.text, label=options.label)
    reasons = list(guess.reasons)
    columns = {"task": guess.task, "text": guess.text, "label": guess.label}
    held: dict[str, Dataset] = {}
    for name, source in (("valid", valid), ("test", test)):
        if source is not None:
            dataset, _, found = read(source, **columns)
            leak = leakage(train, dataset)
            problems += [*found, *([] if leak is None else [leak])]
            held[name] = dataset
    if "valid" not in held:
        if isinstance(train, TextDataset):
            train, held["valid"] = split_text(train)
        else:
            train, held["valid"] = split_labelled(train, options.seed)
        reasons.append("A tenth of the data is held back for validation; give a file of your own with --valid.")
    return Sets(train, held["valid"], held.get("test"), reasons, problems)


def size(dataset: Dataset) -> dict[str, int]:
    """How many rows and tokens (characters, steps) there are."""
    if isinstance(dataset, TextDataset):
        return {"rows": len(dataset), "tokens": dataset.characters}
    return {"rows": len(dataset), "tokens": sum(len(row) for row in dataset.inputs)}


def digest(sets: Sets) -> str:
    """A hash of what is read, so that a run goes on only with the data it began with."""
    found = hashlib.sha256()
    for dataset in (sets.train, sets.valid):
        parts: list[Any] = dataset.documents if isinstance(dataset, TextDataset) else dataset.inputs
        for part in parts:
            found.update(
                part.encode("utf-8", "surrogatepass") if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
            )
            found.update(b"\0")
        if isinstance(dataset, LabelledDataset):
            found.update(json.dumps(dataset.labels).encode())
    return found.hexdigest()[:16]

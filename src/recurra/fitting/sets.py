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
from recurra.fitting.defaults import LEARNT
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import COUNTED, measured, split_labelled, split_text

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
            dataset = _bounded(name, dataset, reasons)
            leak = leakage(train, dataset)
            problems += [*found, *([] if leak is None else [leak])]
            held[name] = dataset
    if "valid" not in held:
        reasons.append("A tenth of the data is held back for validation; give a file of your own with --valid.")
        if isinstance(train, TextDataset):
            train, last = split_text(train)
            held["valid"] = _bounded("valid", last, reasons)
        else:
            train, held["valid"] = split_labelled(train, options.seed)
    if isinstance(train, TextDataset) and not train.held:
        reasons += _told_of_large(train, options)
    return Sets(train, held["valid"], held.get("test"), reasons, problems)


def _bounded(name: str, dataset: Dataset, reasons: list[str]) -> Dataset:
    """So much of a set to measure on as is measured."""
    if not isinstance(dataset, TextDataset) or dataset.held:
        return dataset
    part = measured(dataset)
    told = {"valid": "validation", "test": "test"}[name]
    reasons.append(
        f"Of the {dataset.characters:,} characters of the {told} text the first {part.characters:,} are measured."
    )
    return part


def _told_of_large(train: TextDataset, options: FitOptions) -> list[str]:
    told = [f"The training text of {train.characters:,} characters is read in pieces and its tokens kept in a file."]
    if options.level in ("words", "bpe"):
        told.append(f"The vocabulary is learnt from {LEARNT[options.level]:,} characters spread over it.")
    if options.baselines:
        told.append(f"The baselines learn from its last {COUNTED:,} characters.")
    return told


def size(dataset: Dataset) -> dict[str, int]:
    """How many rows and tokens (characters, steps) there are."""
    if isinstance(dataset, TextDataset):
        return {"rows": len(dataset), "tokens": dataset.characters}
    return {"rows": len(dataset), "tokens": sum(len(row) for row in dataset.inputs)}


def digest(sets: Sets) -> str:
    """A hash of what is read, so that a run goes on only with the data it began with."""
    found = hashlib.sha256()
    for dataset in (sets.train, sets.valid):
        if isinstance(dataset, TextDataset):
            found.update(dataset.digest.encode())
            continue
        for part in dataset.inputs:
            found.update(
                part.encode("utf-8", "surrogatepass") if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
            )
            found.update(b"\0")
        found.update(json.dumps(dataset.labels).encode())
    return found.hexdigest()[:16]

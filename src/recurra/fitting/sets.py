"""What a run reads: training, validation and test sets, how they were understood, and their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from recurra.data.checking import Problem, leakage
from recurra.data.datasets import Dataset, TextDataset
from recurra.data.reading import read
from recurra.fitting.kinds import LEARNT, kind_of
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import COUNTED, measured


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
    train, guess, problems = read(
        data, task=options.task, text=options.text, label=options.label, tags=options.tags, target=options.target
    )
    reasons = list(guess.reasons)
    columns: dict[str, Any] = {"text": guess.text, "label": guess.label, "tags": guess.tags, "target": guess.target}
    held: dict[str, Dataset] = {}
    for name, source in (("valid", valid), ("test", test)):
        if source is not None:
            dataset, _, found = read(source, task=guess.task, **columns)
            dataset = _bounded(name, dataset, reasons)
            leak = leakage(train, dataset)
            problems += [*found, *([] if leak is None else [leak]), *kind_of(train).problems(train, dataset)]
            held[name] = dataset
    if "valid" not in held:
        reasons.append("A tenth of the data is held back for validation; give a file of your own with --valid.")
        train, last = kind_of(train).split(train, options.seed)
        held["valid"] = _bounded("valid", last, reasons)
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


def digest(sets: Sets) -> str:
    """A hash of what is read, so that a run goes on only with the data it began with."""
    return hashlib.sha256((sets.train.digest + sets.valid.digest).encode()).hexdigest()[:16]

"""What a run reads: training, validation and test sets, how they were understood, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from recurra.data.checking import Problem, leakage, raise_fatal
from recurra.data.columns import Guess
from recurra.data.datasets import Dataset, LabelledDataset, RegressionDataset, TextDataset
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.fitting.kinds import LEARNT, for_one_task, kind_of
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
    given, guess, problems = read_all(data, valid, test, options)
    sets = completed(given, guess, options)
    measured_on = {"valid": sets.valid, "test": sets.test}
    leaks = [leakage(given["train"], part) for name, part in measured_on.items() if name in given and part is not None]
    told = [_of_its_file(name, problem, given) for name, problem in problems]
    if "valid" not in given:
        told += kind_of(sets.train).problems(sets.train, sets.valid)
    return replace(sets, problems=[*told, *(leak for leak in leaks if leak)])


def settled(sets: Sets, options: FitOptions) -> tuple[FitOptions, list[str]]:
    """(the options with what the validation data ask for, sentences on that): missing values that training data lack."""
    if options.missing is not None or _has_holes(sets.train) or not _has_holes(sets.valid):
        return options, []
    told = "Missing values: the validation data have some and the training data none; they become the previous value."
    return options.model_copy(update={"missing": "previous"}), [f"{told} Say otherwise with --missing zero or mean."]


def _has_holes(dataset: Dataset) -> bool:
    if not isinstance(dataset, LabelledDataset | RegressionDataset) or not dataset.numeric:
        return False
    return any(isinstance(row, np.ndarray) and bool(np.isnan(row).any()) for row in dataset.inputs)


def _of_its_file(name: str, problem: Problem, given: Mapping[str, Dataset]) -> Problem:
    """The same problem; where there is more than one file it is said of which."""
    file = given[name].name
    if len(given) == 1 or problem.message.startswith(file):
        return problem
    others = [dataset.name for dataset in given.values()]
    whose = file if others.count(file) == 1 else f"{file} ({name})"
    return replace(problem, message=f"{whose}: {problem.message}")


def read_all(
    data: Any, valid: Any, test: Any, options: FitOptions, lenient: bool = False
) -> tuple[dict[str, Dataset], Guess, list[tuple[str, Problem]]]:
    """The sets that were handed in by name, how the first was understood and the others with it, and (set, problem) of all.

    With `lenient` fatal problems are among these, instead of being raised.
    """
    columns = {name: getattr(options, name) for name in ("task", "text", "label", "tags", "target")}
    decided = for_one_task(options)
    tasks = {*decided.values(), *(["tag"] if options.tags else []), *(["translate"] if options.target else [])}
    if decided and options.task is None and len(tasks) == 1:
        columns["task"] = tasks.pop()
    frame = options.model_copy(update={"task": columns["task"]}).frame()
    train, guess, found = read(data, lenient=lenient, frame=frame, **columns)
    if columns["task"] != options.task:
        # nobody asked for the task by name
        guess.reasons[:] = [reason for reason in guess.reasons if reason != f"Task: {guess.task}, as asked."]
        sense = "makes" if len(decided) == 1 else "make"
        guess.reasons.append(f"Task: {guess.task}, since {' and '.join(decided)} {sense} sense for that alone.")
    sets, problems = {"train": train}, [("train", problem) for problem in found]
    columns = {"task": guess.task, **asdict(guess.columns)}
    for name, source in (("valid", valid), ("test", test)):
        if source is not None:
            long = getattr(train, "long", None)
            sets[name], _, found = read(source, lenient=lenient, frame=_as_before(frame, train), long=long, **columns)
            found += kind_of(train).problems(train, sets[name])
            if not lenient:
                raise_fatal(found, sets[name].name)
            problems += [(name, problem) for problem in found]
    return sets, guess, problems


def completed(given: Mapping[str, Dataset], guess: Guess, options: FitOptions) -> Sets:
    """What a run reads of the sets that were given; a tenth of the first is held back where there is no `valid`."""
    reasons, train = list(guess.reasons), given["train"]
    if isinstance(train, SeriesDataset):
        return _one_after_another(given, train, reasons, options)
    held = {name: _bounded(name, dataset, reasons) for name, dataset in given.items() if name != "train"}
    if "valid" not in held:
        reasons.append("A tenth of the data is held back for validation; give a file of your own with --valid.")
        train, last = kind_of(train).split(train, options.seed)
        held["valid"] = _bounded("valid", last, reasons)
    if isinstance(train, TextDataset) and not train.held:
        reasons += _told_of_large(train, options)
    return Sets(train, held["valid"], held.get("test"), reasons, [])


def _as_before(frame: FrameChoices, train: Dataset) -> FrameChoices:
    """The same choices for further sets; what was found in the first is told, so that they need not be long enough."""
    if not isinstance(train, SeriesDataset):
        return frame
    return replace(frame, season=train.season, horizon=train.horizon, judged=False, step=train.step, dates=train.dates)


def _one_after_another(
    given: Mapping[str, Dataset], train: SeriesDataset, reasons: list[str], options: FitOptions
) -> Sets:
    """Series of a validation or test set go on where those of the set before it end; their history is not measured."""
    valid, test = given.get("valid"), given.get("test")
    shown = f"Horizon: {train.horizon} values" + ("" if options.horizon else "; say otherwise with --horizon")
    season = f"Season: {train.season}" if train.season > 1 else "Season: none found"
    reasons.append(f"{shown}. {season}" + ("." if options.season else "; say otherwise with --season."))
    last = train
    if isinstance(valid, SeriesDataset):
        valid = last = valid.after(train)
    if isinstance(test, SeriesDataset):
        test = test.after(last)
    if valid is None:
        train, valid = kind_of(train).split(train, options.seed)
        reasons.append(
            "The last tenth of each series is held back for validation; give a file of your own with --valid."
        )
    return Sets(train, valid, test, reasons, [])


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

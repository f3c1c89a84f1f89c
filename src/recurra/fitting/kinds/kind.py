"""What `fit` has to know of a task: how its data are parted, its model and recipe, its baselines, its part of the record.

A task is one file here, one in `models`, and one line in `fitting.kinds.KINDS`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from recurra.baselines import BaselineResult
from recurra.cells import CELLS
from recurra.data.checking import Problem
from recurra.data.datasets import Dataset
from recurra.data.text_codec import TextCodec
from recurra.errors import UsageError
from recurra.fitting.kinds.space import Between, OneOf, Span, around
from recurra.fitting.options import FitOptions, typed
from recurra.layers import StackConfig
from recurra.models import Task
from recurra.training import RATES, Recipe

DatasetT = TypeVar("DatasetT", bound=Dataset)
TaskT = TypeVar("TaskT", bound=Task)


ONLY_FOR = {
    "class_weights": "classify",
    "consistency": "classify",
    "ngrams": "classify",
    "form": "translate",
    **dict.fromkeys(
        (
            "horizon",
            "lookback",
            "season",
            "parts",
            "block",
            "output",
            "fill",
            "ahead",
            "past",
            "static",
        ),
        "forecast",
    ),
    "shared": "translate",
    "beam": "translate",
    "length_penalty": "translate",
}
"""Options that a single task reads. What several read is refused, where it makes no sense, by the tasks that do not."""

OF_NUMBERS = ("missing", "read", "convolution", "augment", "probes")
OF_WHOLE_SEQUENCES = ("members", *OF_NUMBERS)
"""Options of tasks that answer once for a whole sequence; the former where it is one of numbers."""
OF_SERIES = ("series", "time")
"""Options of tables with a row a step, which a forecaster reads too."""


def for_one_task(options: FitOptions) -> dict[str, str]:
    """What was chosen that one task alone reads, as it is typed, and that task."""
    defaults = FitOptions()
    chosen = {name: value for name in ONLY_FOR if (value := getattr(options, name)) != getattr(defaults, name)}
    return {typed(name, value): ONLY_FOR[name] for name, value in chosen.items()}


class Kind(ABC, Generic[DatasetT, TaskT]):
    """One task in the eyes of `fit`."""

    name: ClassVar[str]
    """As the model calls it: `Task.kind`."""
    shown: ClassVar[tuple[str, ...]]
    """Metrics in the table at the end of a run, the most telling first."""

    def check(self, options: FitOptions) -> None:
        """Refuse what this task would leave unread. Raises `UsageError`."""
        for option, task in for_one_task(options).items():
            if task != self.name:
                raise UsageError(f"{option} is for --task {task}", got=f"--task {self.name}", fix=f"Leave out {option}")
        whole = ("classify", "regress")
        for names, tasks in ((OF_WHOLE_SEQUENCES, whole), (OF_SERIES, (*whole, "forecast"))):
            for name in names:
                value = getattr(options, name)
                if value is not None and self.name not in tasks:
                    option = typed(name, value)
                    raise UsageError(
                        f"{option} is for --task {' or '.join(tasks)}", got=f"--task {self.name}",
                        fix=f"Leave out {option}",
                    )  # fmt: skip

    @abstractmethod
    def split(self, dataset: DatasetT, seed: int) -> tuple[DatasetT, DatasetT]:
        """(what is trained on, the part held back for validation), where no validation set was given."""

    @abstractmethod
    def build(self, dataset: DatasetT, options: FitOptions, twin_of: TaskT | None = None) -> tuple[TaskT, Recipe]:
        """An untrained model for the training data, and how to train it; with the vocabulary of `twin_of` where given."""

    @abstractmethod
    def baselines(
        self, task: TaskT, training: DatasetT, splits: Mapping[str, DatasetT]
    ) -> Mapping[str, list[BaselineResult]]:
        """The simple methods beside the model, by split."""

    @abstractmethod
    def next_commands(self, task: TaskT, where: str) -> list[str]:
        """Commands to try with a fitted model in the folder `where`, quoted for a shell."""

    def problems(self, train: DatasetT, other: DatasetT) -> list[Problem]:
        """What of a validation or test set does not go with the training data, to be told to the person."""
        return []

    def unanswerable(self, task: TaskT, dataset: DatasetT) -> list[Problem]:
        """What of a set a fitted model can have no answer for, so that it cannot be measured on it."""
        return []

    def notes(self, task: TaskT, dataset: DatasetT, sums: Mapping[str, Any]) -> list[str]:
        """What the metrics that come from the `sums` of a set do not tell, in sentences."""
        return []

    def codecs(self, task: TaskT) -> dict[str, TextCodec]:
        """The vocabularies by the column of text that each reads, as `data.facts` calls it: of one input, `text`."""
        return {}

    def finish(self, task: TaskT, valid: DatasetT) -> bool:
        """What is learnt of the validation set once a model is trained; whether its weights are now others."""
        return False

    def part(self, dataset: DatasetT) -> DatasetT:
        """So much of a validation set that looking at it often costs little; the end of a run measures the whole."""
        return dataset

    def aim(self, task: TaskT) -> tuple[str, bool]:
        """The metric by which `tune` chooses among models, and whether more of it is better."""
        return task.best

    def space(self, dataset: DatasetT, task: TaskT, recipe: Recipe) -> tuple[Span, ...]:
        """What `tune` searches for such data, around the model and the recipe that `build` takes where nothing is chosen."""
        return usual_space(task, recipe)

    compared_by: ClassVar[str] = "loss"
    """What `compared` gives, in words."""

    def compared(self, metrics: Mapping[str, float]) -> float:
        """The figure, less of it being better, by which a run chooses among its `candidates`."""
        return metrics["loss"]

    def candidates(self, dataset: DatasetT, options: FitOptions) -> tuple[dict[str, Any], ...]:
        """Options that a run tries for the first part of its minutes, beside the usual ones; none of what a person chose."""
        return ()

    slow: ClassVar[frozenset[str]] = frozenset()
    """Options of `candidates` with which a model learns at another speed: they are chosen by whole trainings alone."""

    def margin(self, valid: DatasetT) -> float:
        """The share by which a candidate has to be better than the usual recipe, so that it is hardly chance."""
        return 0.0

    def details(self, task: TaskT, valid: DatasetT, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """Further parts of the record, for the report; `sums` are those of the last split measured."""
        return {}


# ---- what several tasks build with


def usual_space(task: Task, recipe: Recipe) -> tuple[Span, ...]:
    """Options that matter for every task."""
    return (
        OneOf("cell", tuple(name for name, cell in CELLS.items() if fields(cell.state_type))),
        around("hidden", task.summary()["hidden"], (0.5, 1.0, 1.5, 2.0)),
        OneOf("layers", (1, 2)),
        Between("dropout", 0.0, 0.7),
        Between("rate", recipe.rate / 4, recipe.rate * 4, log=True),
        around("rows", recipe.rows),
    )


SIZES = {"small": 0.5, "base": 1.0, "large": 2.0}
"""Widths beside the one that is chosen for the data; the parameters grow with the square."""


def sized(options: FitOptions, width: int) -> int:
    """A width as the person's `--size` has it."""
    return max(1, round(width * SIZES[options.size]))


def stack_config(
    options: FitOptions, hidden: int, dropout: float, *, layers: int = 1, bidirectional: bool = False,
    weight_drop: float = 0.0, residual: bool = False,
) -> StackConfig:  # fmt: skip
    """A stack as the person wants it; the arguments where nothing is said."""
    return StackConfig.from_user(
        cell=options.cell,
        hidden=options.hidden or sized(options, hidden),
        layers=options.layers or layers,
        activation=options.activation,
        bidirectional=bidirectional if options.bidirectional is None else options.bidirectional,
        residual=residual,
        dropout=dropout,
        weight_drop=weight_drop if options.weight_drop is None else options.weight_drop,
        recompute=options.recompute,
    )


def recipe_of(options: FitOptions, **values: Any) -> Recipe:
    """The recipe with what was chosen by the person, and `values` for what was not."""
    chosen = {
        name: value
        for name in ("warmup", "weight_decay", "clip", "average", "patience", "rows", "steps")
        if (value := getattr(options, name)) is not None
    }
    shared = {
        name: getattr(options, name) for name in ("optimiser", "schedule", "accumulate", "precision", "compile", "seed")
    }
    rate = options.rate or values.pop("rate") * RATES[options.optimiser]
    return Recipe.from_user(**{**values, **shared, **chosen, "rate": rate})


def that_fits(make: Callable[[], TaskT]) -> TaskT:
    """What `make` makes, after it was made once on no memory at all and counted."""
    with torch.device("meta"):
        count = make().parameter_count
    needed = 4 * 4 * count  # the weights, their gradients and the two moments of AdamW
    there = _memory()
    if needed > there:
        raise UsageError(
            "The model does not fit into the memory of this machine",
            got=f"{count:,} parameters, {needed / 1e9:,.0f} GB in training",
            expected=f"at most {there / 1e9:,.0f} GB",
            fix="Take a smaller --hidden, or fewer --layers",
        )
    return make()


def _memory() -> float:
    """The bytes of memory that the machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")

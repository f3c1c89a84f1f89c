"""The baselines beside a fitted model: the simple ones, and the feed-forward network trained by the same recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from recurra.data.datasets import Dataset, TextDataset
from recurra.fitting.fitted import measure
from recurra.fitting.kinds import KINDS
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import counted
from recurra.models import Task
from recurra.progress import Progress
from recurra.training import Recipe, train


@dataclass(frozen=True)
class Row:
    """A baseline's result on one split."""

    name: str
    split: str
    metrics: dict[str, float]
    seconds: float
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    task: Task,
    options: FitOptions,
    recipe: Recipe,
    training: Dataset,
    splits: Mapping[str, Dataset],
    seconds: float,
    quiet: bool,
) -> list[Row]:
    """Every baseline on every split. The feed-forward twin gets at most a fifth of the `seconds` that `task` took.

    Of a text that is not held they learn from the end alone.
    """
    part = counted(training) if isinstance(training, TextDataset) else training
    with Progress(quiet=quiet) as talk:
        talk.note("measuring the baselines")
        rows = _simple(task, part, splits)
        if options.cell != "feedforward":
            rows += _feedforward(task, options, recipe, training, part, splits, seconds)
    if isinstance(part, TextDataset) and isinstance(training, TextDataset) and part is not training:
        told = f", trained on the last {part.characters:,} of {training.characters:,} characters"
        rows = [replace(row, detail=row.detail + told) for row in rows]
    return rows


def _simple(task: Task, training: Dataset, splits: Mapping[str, Dataset]) -> list[Row]:
    return [
        Row(result.name, split, result.metrics, round(result.seconds, 2), result.detail)
        for split, results in KINDS[task.kind].baselines(task, training, splits).items()
        for result in results
    ]


def _feedforward(
    task: Task,
    options: FitOptions,
    recipe: Recipe,
    training: Dataset,
    part: Dataset,
    splits: Mapping[str, Dataset],
    seconds: float,
) -> list[Row]:
    started = time.monotonic()
    torch.manual_seed(options.seed)
    update = {"cell": "feedforward", "activation": None, "bidirectional": False, "members": None, "probes": None}
    kind = KINDS[task.kind]
    twin, _ = kind.build(training, options.model_copy(update=update), task)
    short = recipe.model_copy(update={"minutes": max(1.0, seconds / 5) / 60, "evaluations": 5})
    feed = twin.feed(part, rows=recipe.rows, steps=recipe.steps, training=True, seed=recipe.seed)
    best: dict[str, torch.Tensor] = {}

    def keep() -> None:
        best.update({name: value.clone() for name, value in twin.state_dict().items()})

    train(twin, feed, twin.feed(kind.part(splits["valid"]), rows=32, steps=512, training=False), short, on_best=keep)
    twin.load_state_dict(best)
    kind.finish(twin, splits["valid"])
    results = {split: measure(twin, part)[0] for split, part in splits.items()}
    spent = round(time.monotonic() - started, 2)
    detail = f"{twin.parameter_count:,} parameters, no state"
    return [Row("feed-forward network", split, metrics, spent, detail) for split, metrics in results.items()]

"""The baselines beside a fitted model: the simple ones, and the feed-forward network trained by the same recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from recurra.baselines import classification_baselines, language_baselines
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.fitting.defaults import build
from recurra.fitting.fitted import measure
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import a_part, counted
from recurra.models import LanguageModel, Task
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
    training: TextDataset | LabelledDataset,
    splits: Mapping[str, TextDataset | LabelledDataset],
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


def _simple(
    task: Task, training: TextDataset | LabelledDataset, splits: Mapping[str, TextDataset | LabelledDataset]
) -> list[Row]:
    if isinstance(task, LanguageModel) and isinstance(training, TextDataset):
        streams = {name: task.ids(part).numpy() for name, part in splits.items() if isinstance(part, TextDataset)}
        # the network predicts all but the first token; what it is compared with counts the same characters
        characters = {name: task.codec.characters(ids.tolist()) for name, ids in streams.items()}
        found = language_baselines(task.ids(training).numpy(), streams, task.codec.size, characters)
    else:
        sets = {name: part for name, part in splits.items() if isinstance(part, LabelledDataset)}
        if not isinstance(training, LabelledDataset):
            raise TypeError("a classifier is trained on labelled rows")
        found = classification_baselines(training, sets["valid"], sets.get("test"))
    return [
        Row(result.name, split, result.metrics, round(result.seconds, 2), result.detail)
        for split, results in found.items()
        for result in results
    ]


def _feedforward(
    task: Task,
    options: FitOptions,
    recipe: Recipe,
    training: TextDataset | LabelledDataset,
    part: TextDataset | LabelledDataset,
    splits: Mapping[str, TextDataset | LabelledDataset],
    seconds: float,
) -> list[Row]:
    started = time.monotonic()
    torch.manual_seed(options.seed)
    update = {"cell": "feedforward", "activation": None, "bidirectional": False}
    # the same vocabulary: with another one its loss could not be compared
    codec = task.codec if isinstance(task, LanguageModel) else None
    twin, _ = build(training, options.model_copy(update=update), codec)
    short = recipe.model_copy(update={"minutes": max(1.0, seconds / 5) / 60, "evaluations": 5})
    feed = twin.feed(part, rows=recipe.rows, steps=recipe.steps, training=True, seed=recipe.seed)
    best: dict[str, torch.Tensor] = {}

    def keep() -> None:
        best.update({name: value.clone() for name, value in twin.state_dict().items()})

    train(twin, feed, twin.feed(a_part(splits["valid"]), rows=32, steps=512, training=False), short, on_best=keep)
    twin.load_state_dict(best)
    results = {split: measure(twin, part)[0] for split, part in splits.items()}
    spent = round(time.monotonic() - started, 2)
    detail = f"{twin.parameter_count:,} parameters, no state"
    return [Row("feed-forward network", split, metrics, spent, detail) for split, metrics in results.items()]

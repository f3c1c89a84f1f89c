"""`compare`: models on the same data, with intervals that say how much of a difference can be luck."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.data.datasets import Dataset, TextDataset
from recurra.data.intervals import LEVEL, RESAMPLES, interval, mcnemar, resampled
from recurra.data.measures import bits_per_character
from recurra.errors import UsageError
from recurra.fitting.fitted import Model, load, measure
from recurra.fitting.kinds import kind_of
from recurra.fitting.per_row import Sums, per_row, text_blocks
from recurra.fitting.splits import MEASURED, measured
from recurra.fitting.to_measure import to_measure
from recurra.inspection.kinds import KINDS
from recurra.inspection.measures import known, plural, show
from recurra.models import Classifier, ClassifierEnsemble, LanguageModel, Task
from recurra.progress import Progress

Metrics = Callable[[Mapping[str, Any]], Mapping[str, float]]


@dataclass(frozen=True)
class Estimate:
    """A figure, and where 95 in 100 resamples of the rows have it."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Compared:
    """One model: its metrics, the difference of each from the best model's, whether that can be luck, how fast it is."""

    name: str
    model: dict[str, Any]
    metrics: dict[str, Estimate]
    differences: dict[str, Estimate]
    verdict: str
    speed: float


@dataclass(frozen=True)
class Agreement:
    """Two classifiers on the same rows: how often they answer the same, which rows one alone has right, and the chance of a
    split as uneven as that between equals (McNemar's exact test)."""

    one: str
    other: str
    same: float
    both_right: int
    only_one: int
    only_other: int
    both_wrong: int
    chance: float


@dataclass(frozen=True)
class Comparison:
    """Models on the same data, the best first by `metric`. `unit` is what `speed` counts a second; `notes` are sentences."""

    kind: str
    data: str
    rows: int
    metric: str
    unit: str
    models: list[Compared]
    agreements: list[Agreement]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**asdict(self), "unit": f"{self.unit}/s"}


def compare(
    models: Sequence[str | Path | Model],
    data: Any,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    quiet: bool = False,
    **columns: Any,
) -> Comparison:
    """Measure models on the same data, in any form that `fit` takes; `columns` are text, label, tags and target.

    Each metric has a bootstrap interval of 95 % over the rows, of a text over blocks that follow one another; the rows drawn
    are the same for all models, so that differences have narrower intervals than the figures. Raises `UsageError` for fewer
    than two models, and for models of different tasks, horizons or labels.
    """
    count = 1 if isinstance(models, (str, Path, Model)) else len(models)
    if count < 2:
        raise UsageError(
            "There is nothing to compare", got=plural(count, "model"), expected="two models or more, and data"
        )
    assert not isinstance(models, (str, Path, Model))
    loaded = [model if isinstance(model, Model) else load(model) for model in models]
    names = _names(models, loaded)
    _check_alike(names, loaded)
    dataset, notes = to_measure(loaded[0].task, data, **columns)
    return compare_on(dataset, names, loaded, notes, seed=seed, resamples=resamples, quiet=quiet)


def compare_on(
    dataset: Dataset,
    names: Sequence[str],
    loaded: Sequence[Model],
    notes: list[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    quiet: bool = False,
) -> Comparison:
    """`compare` of models of one task by their names, on rows that are read already; `notes` are told with the others."""
    if isinstance(dataset, TextDataset) and not dataset.held:
        notes.append(f"Of {dataset.characters:,} characters the first {MEASURED:,} are measured.")
        dataset = measured(dataset)
    unit = "characters" if isinstance(dataset, TextDataset) else "rows"
    blocks = text_blocks(dataset) if isinstance(dataset, TextDataset) else None
    sums: list[Sums] = []
    speeds: list[float] = []
    with Progress(quiet=quiet) as talk:
        for name, model in zip(names, loaded, strict=True):
            talk.note(f"measuring {name}")
            started = time.perf_counter()
            measure(model.task, dataset)
            count = dataset.size["tokens" if unit == "characters" else "rows"]
            speeds.append(count / (time.perf_counter() - started))
            sums.append(per_row(model.task, dataset, blocks))
    metrics, told = _metrics_of([model.task for model in loaded])
    kind = KINDS[loaded[0].kind]
    figures = [metric(_total(found)) for metric, found in zip(metrics, sums, strict=True)]
    decisive = next(name for name in (*kind.compared, *figures[0]) if name in figures[0])
    draws = [resampled(found, metric, resamples, seed) for metric, found in zip(metrics, sums, strict=True)]
    ranked = sorted(range(len(loaded)), key=lambda place: figures[place][decisive], reverse=known(decisive).higher)
    best, rows = ranked[0], len(next(iter(sums[0].values())))
    pairs = {pair: _agreement(names, loaded, sums, *pair) for pair in combinations(ranked, 2)}
    chances = {pair: found.chance for pair, found in pairs.items() if found}
    compared = [
        Compared(
            names[place],
            {**loaded[place].task.summary()},
            {name: _estimate(value, draws[place][name]) for name, value in figures[place].items()},
            {
                name: _estimate(value - figures[best][name], draws[place][name] - draws[best][name])
                for name, value in figures[place].items()
            },
            _verdict(decisive, names[best], draws[place], draws[best], chances.get((best, place)), place == best, rows),
            speeds[place],
        )
        for place in ranked
    ]
    what = f"{rows:,} blocks of the text" if blocks is not None else f"the {rows:,} rows"
    for name, model, found in zip(names, loaded, sums, strict=True):
        notes += [f"{name}: {note}" for note in kind_of(dataset).notes(model.task, dataset, _tensors(_total(found)))]
    notes += [
        *told,
        f"Intervals of {LEVEL:.0%}: {resamples:,} resamples of {what}, drawn by seed {seed}, alike for all models.",
    ]
    if rows < 50:
        notes.append(f"From {rows} of them no interval can be trusted much: give more data.")
    return Comparison(
        loaded[0].kind,
        dataset.name,
        rows,
        decisive,
        unit,
        compared,
        [found for found in pairs.values() if found],
        notes,
    )


def _names(models: Sequence[str | Path | Model], loaded: Sequence[Model]) -> list[str]:
    """What to call them: their folders, and numbers where there are none or the same twice."""
    names = [str(folder) if (folder := model.folder) is not None else f"model {n}" for n, model in enumerate(loaded, 1)]
    return [name if names.count(name) == 1 else f"{name} ({n})" for n, name in enumerate(names, 1)]


def _check_alike(names: Sequence[str], loaded: Sequence[Model]) -> None:
    first = loaded[0]
    for name, model in zip(names[1:], loaded[1:], strict=True):
        if model.kind != first.kind:
            raise UsageError(
                "Models of different tasks cannot be compared",
                got=f"{names[0]} is a {KINDS[first.kind].title}, {name} a {KINDS[model.kind].title}",
            )
        horizons = [one.task.summary().get("horizon") for one in (first, model)]
        if horizons[0] != horizons[1]:
            raise UsageError(
                "Forecasters of different horizons cannot be compared",
                got=f"{names[0]} forecasts {horizons[0]} values, {name} {horizons[1]}",
                fix="Fit both with the same --horizon",
            )
        for what in ("labels", "tags"):
            here, there = (set(one.task.summary().get(what) or ()) for one in (first, model))
            if here != there:
                odd = sorted(here ^ there)
                raise UsageError(
                    f"Models with different {what} cannot be compared",
                    got=f"only one of {names[0]} and {name} knows {', '.join(map(repr, odd[:5]))}"
                    + (f" and {len(odd) - 5} more" if len(odd) > 5 else ""),
                )


def _metrics_of(tasks: Sequence[Task]) -> tuple[list[Metrics], list[str]]:
    """How sums become figures for each model, and what is to be said of that."""
    vocabularies = {task.codec.to_text() for task in tasks if isinstance(task, LanguageModel)}
    if len(vocabularies) > 1:
        told = (
            "These models read different tokens, so loss, perplexity and accuracy of a token say nothing of one another: "
            "they are compared by bits per character of the text alone."
        )
        return [_bits_per_character] * len(tasks), [told]
    return [partial(_figures, task) for task in tasks], []


def _figures(task: Task, sums: Mapping[str, Any]) -> Mapping[str, float]:
    return task.metrics({name: value for name, value in _tensors(sums).items() if name != "text"})


def _tensors(sums: Mapping[str, Any]) -> dict[str, Tensor]:
    """The sums as tasks have them."""
    return {name: torch.as_tensor(value) for name, value in sums.items()}


def _bits_per_character(sums: Mapping[str, Any]) -> Mapping[str, float]:
    nats, characters, hidden = (float(sums[name]) for name in ("nats", "text", "hidden"))
    return {"bits_per_character": bits_per_character(nats, characters, hidden)}


def _total(sums: Sums) -> dict[str, np.ndarray]:
    return {name: value.sum(axis=0) for name, value in sums.items()}


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    return Estimate(value, *interval(drawn))


def _verdict(
    metric: str,
    best_name: str,
    drawn: Mapping[str, np.ndarray],
    best_drawn: Mapping[str, np.ndarray],
    chance: float | None,
    is_best: bool,
    rows: int,
) -> str:
    """In words how it stands to the best model; `chance` is that of McNemar's test, None where there is none."""
    if is_best:
        return "the best here"
    if rows < 2:
        return f"whether {best_name} is better cannot be told of one row"
    low, high = interval(drawn[metric] - best_drawn[metric])
    if low <= 0 <= high:
        return f"the difference from {best_name} can be luck"
    if chance is not None and chance >= 1 - LEVEL:
        # of two tests the one that doubts is heard
        return f"the difference from {best_name} can be luck, by McNemar's test"
    # the one with the smaller amount of difference is the cautious thing to say
    least = min(abs(low), abs(high))
    size = f"{least * 100:.1f} points" if known(metric).share else show(metric, least)
    return f"worse than {best_name}, by {size} at least: hardly luck"


def _agreement(
    names: Sequence[str], models: Sequence[Model], sums: Sequence[Sums], one: int, other: int
) -> Agreement | None:
    """How two classifiers' answers stand to one another; None for other tasks."""
    tasks = models[one].task, models[other].task
    both = [task for task in tasks if isinstance(task, Classifier | ClassifierEnsemble)]
    if len(both) < 2:
        return None
    here, right = _answers(both[0], sums[one])
    there, also_right = _answers(both[1], sums[other])
    only_one, only_other = int((right & ~also_right).sum()), int((also_right & ~right).sum())
    return Agreement(
        names[one], names[other], float((here == there).mean()), int((right & also_right).sum()), only_one, only_other,
        int((~right & ~also_right).sum()), mcnemar(only_one, only_other),
    )  # fmt: skip


def _answers(task: Classifier | ClassifierEnsemble, sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """The label that was answered for each row, and whether it is right, out of one-row confusion matrices."""
    confusion = sums["confusion"]
    truth, answer = np.unravel_index(confusion.reshape(len(confusion), -1).argmax(axis=1), confusion.shape[1:])
    return np.array(task.labels.labels)[answer], truth == answer

"""Small runs in float64 that any number of processes shares, for `test_workers.py`. As a script, one of the processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from networks import CODEC, HIDDEN, INPUTS
from recurra.data.batches import BucketFeed, Feed, StreamFeed
from recurra.data.codecs import LabelCodec
from recurra.layers import StackConfig
from recurra.models import Classifier, ClassifierConfig, LanguageModel, LanguageModelConfig, Task
from recurra.training import (
    ALONE,
    Outcome,
    Position,
    Recipe,
    Workers,
    evaluate,
    load_checkpoint,
    packed,
    save_checkpoint,
    train,
    unpacked,
    workers,
)  # fmt: skip

STOPS = {1: 3, 2: 7, 3: 11}
"""At which step a run is handed on, by how many processes make it."""


def language(rows: int, tokens: int = 203) -> tuple[Task, Feed]:
    stack = StackConfig(cell="lstm", hidden=HIDDEN, layers=2, dropout=0.3)
    config = LanguageModelConfig(
        stack=stack,
        vocabulary=CODEC.size,
        embedding=INPUTS,
        dropout_outputs=0.4,
        dropout_tokens=0.1,
        dropout_inputs=0.2,
    )
    return LanguageModel(config, CODEC).double(), StreamFeed(
        torch.arange(tokens) ** 2 % CODEC.size, rows, 4, shift=True
    )


def classify(rows: int, count: int = 17) -> tuple[Task, Feed]:
    labels = LabelCodec(("a", "b", "c"))
    stack = StackConfig(cell="gru", hidden=HIDDEN, layers=1, dropout=0.3, bidirectional=True)
    config = ClassifierConfig(
        stack=stack, vocabulary=CODEC.size, embedding=INPUTS, classes=3, dropout_tokens=0.1, dropout_inputs=0.2,
        dropout_outputs=0.4,
    )  # fmt: skip
    inputs = [torch.arange(1 + 5 * place % 7) * place % CODEC.size for place in range(count)]
    feed = BucketFeed(inputs, torch.arange(count) % 3, rows, seed=3, shuffle=True)
    return Classifier(config, labels, CODEC).double(), feed


@dataclass(frozen=True)
class Case:
    """A task with its data, and what is unusual in its recipe."""

    build: Callable[[], tuple[Task, Feed]]
    recipe: Mapping[str, Any]


CASES = {
    "language": Case(lambda: language(5), {}),
    "language in one row": Case(lambda: language(1, 40), {"epochs": 2}),
    "language, plain steps": Case(lambda: language(4), {"optimiser": "sgd", "rate": 0.1}),
    "language, muon and an average": Case(lambda: language(3), {"optimiser": "muon", "average": 0.9}),
    "classify": Case(lambda: classify(4), {}),
    "classify, in parts": Case(lambda: classify(5), {"accumulate": 2}),
    "classify a row at a time": Case(lambda: classify(1, 5), {}),
    "classify two rows at a time": Case(lambda: classify(2, 7), {"schedule": "plateau", "clip": 0.05}),
}


def run(
    name: str, team: Workers = ALONE, start: Position | None = None, stop: int | None = None, **unusual: Any
) -> tuple[Task, Outcome, Feed]:
    """Train a case from `start` to step `stop`, or to its end; only the last of the processes wishes to stop."""
    torch.manual_seed(team.rank)  # that the first gives its weights to the others
    if team.rank == 0:
        torch.manual_seed(11)
    task, feed = CASES[name].build()
    recipe = Recipe(**{"epochs": 3, "rate": 1e-2, "evaluations": 3, **CASES[name].recipe, **unusual})
    made: list[int] = [0 if start is None else start.step]

    def wish() -> bool:
        # with several it is asked before the step that is the last
        ahead = 0 if team.count == 1 else 1
        return team.rank == team.count - 1 and stop is not None and made[0] + ahead >= stop

    outcome = train(
        task, feed, feed, recipe, start=start, stop=wish, workers=team,
        on_step=lambda event, _: made.__setitem__(0, event["step"]),
    )  # fmt: skip
    return task, outcome, feed


def results(task: Task, outcome: Outcome, feed: Feed, team: Workers = ALONE) -> dict[str, Tensor]:
    """Weights, and what was measured on the way and at the end."""
    found = {f"weights.{name}": value.detach().clone() for name, value in task.named_parameters()}
    metrics, sums = evaluate(task, feed, team)
    found |= {f"sums.{name}": value.clone() for name, value in sums.items()}
    found |= {f"metrics.{name}": torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
    history = [
        [entry["step"], entry["loss"], entry["best"], *entry["valid"].values()] for entry in outcome.position.history
    ]
    found["history"] = torch.tensor(history, dtype=torch.float64)
    return found


def main(folder: Path) -> None:
    """Every case from its start to its end, and every case from where others left it to where it is handed on."""
    torch.use_deterministic_algorithms(True)
    with workers(torch.device("cpu")) as team:
        for name in CASES:
            found = results(*run(name, team), team)
            team.check_same(f"results of '{name}'", str([(key, value.tolist()) for key, value in found.items()]))
            there = load_checkpoint(folder / name) if team.first else None
            there = unpacked(team.told(packed(there)))
            assert there is not None
            stop = there.position.step + 4
            _, outcome, _ = run(name, team, there.position, stop)
            team.check_same("steps", str(outcome.position.step))
            assert outcome.finished or outcome.position.step == stop
            if team.first:
                save_file(found, folder / f"{name}.{team.count}.safetensors")
                if not outcome.finished:
                    save_checkpoint(folder / name, outcome.position, {})


def read(folder: Path, name: str, count: int) -> dict[str, Tensor]:
    return load_file(folder / f"{name}.{count}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

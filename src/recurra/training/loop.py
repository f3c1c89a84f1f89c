"""The training loop: plain, one page, for any task. It knows losses, feeds and states, and no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Feed
from recurra.errors import DataError
from recurra.models import Task
from recurra.state import detach, leaves, map_state
from recurra.training.evaluation import evaluate
from recurra.training.position import Position, optimiser_tensors, restore_optimiser
from recurra.training.recipe import Recipe

Event = dict[str, Any]
"""One line of the run's record: step, epoch, seconds, rate, loss, and `valid` where it was measured."""


@dataclass
class Outcome:
    """How a run ended. `position` is where it stands; `finished` is false where it was stopped from outside."""

    position: Position
    finished: bool


def train(
    model: Task,
    feed: Feed,
    valid: Feed,
    recipe: Recipe,
    *,
    start: Position | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[Event, float], None] = lambda event, progress: None,
    on_best: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train `model` in place, from `start` on; its last weights stay in it.

    `on_step(event, progress)` after every step, `on_best()` whenever the validation metric of the task is the best so far
    (the model then holds those weights), `stop()` is asked after every step. Raises `DataError` where the loss stops being
    a number.
    """
    run = _Run(model, feed, valid, recipe, start or Position())
    return run.go(stop, on_step, on_best)


class _Run:
    def __init__(self, model: Task, feed: Feed, valid: Feed, recipe: Recipe, position: Position) -> None:
        self._model, self._feed, self._valid, self._recipe, self._position = model, feed, valid, recipe, position
        matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
        # biases are not decayed: shrinking them only shifts what the unit answers
        groups = [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        order = {id(parameter): name for name, parameter in model.named_parameters()}
        self._names = [order[id(parameter)] for parameter in (*matrices, *vectors)]
        self._parameters = [*matrices, *vectors]
        self._optimiser = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.99), eps=1e-8, fused=True)
        self._state: Any = None
        self._started = time.monotonic() - position.seconds
        self._checked = position.step
        self._checks = sum(1 for entry in position.history if entry.get("valid"))
        self._recent: list[float] = []
        if position.tensors:
            self._restore(position.tensors)
        else:
            torch.manual_seed(recipe.seed + 1)

    def go(
        self, stop: Callable[[], bool], on_step: Callable[[Event, float], None], on_best: Callable[[], None]
    ) -> Outcome:
        position, model = self._position, self._model
        model.train()
        while not self._done():
            for batch in self._feed.batches(position.epoch, position.index):
                event = self._step(batch)
                if self._time_to_check():
                    self._check(event, on_best)
                on_step(event, self._progress())
                if self._done() or stop():
                    break
            if stop() and not self._done():
                position.tensors = self._tensors()
                return Outcome(position, finished=False)
        if self._checked != position.step:
            event = {**self._numbers(), "loss": None}
            self._check(event, on_best)
            on_step(event, 1.0)
        return Outcome(position, finished=True)

    # ---- one step

    def _step(self, batch: Any) -> Event:
        model, position = self._model, self._position
        rate = self._recipe.rate_at(self._progress())
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        total, count, state = model.step_loss(batch, self._state if batch.carries else None)
        self._state = detach(state)
        value = float(total.detach()) / count
        if not math.isfinite(value):
            raise self._not_a_number(value)
        for parameter in self._parameters:
            parameter.grad = None
        total.backward()
        self._clip(count)
        self._optimiser.step()
        self._recent.append(value)
        position.step += 1
        position.index += 1
        if position.index == len(self._feed):
            position.epoch, position.index = position.epoch + 1, 0
        position.units += batch.units if self._feed.unit == "tokens" else len(batch.inputs)
        position.seconds = time.monotonic() - self._started
        return {**self._numbers(), "rate": rate, "loss": value}

    def _clip(self, count: int) -> None:
        """From the gradients of a sum of `count` losses to those of their mean, no longer together than `clip`.

        Both are factors, so one pass over the gradients does for both, and none over what lies before them.
        """
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        factor = (self._recipe.clip / (norm + 1e-6 * count)).clamp(max=1 / count)
        for gradient in gradients:
            gradient.mul_(factor)

    def _not_a_number(self, value: float) -> DataError:
        return DataError(
            "The loss is no longer a number",
            got=f"{value} at step {self._position.step}",
            fix="Try a lower --rate, and look for extreme values in the data",
        )

    def _numbers(self) -> Event:
        position = self._position
        return {
            "step": position.step,
            "epoch": round(position.epoch + position.index / len(self._feed), 4),
            "seconds": round(position.seconds, 3),
            "units": position.units,
        }

    # ---- how far it is

    def _progress(self) -> float:
        recipe, position = self._recipe, self._position
        done = 0.0
        if recipe.epochs is not None:
            done = position.step / (recipe.epochs * len(self._feed))
        if recipe.minutes is not None:
            done = max(done, position.seconds / (60 * recipe.minutes))
        return min(1.0, done)

    def _done(self) -> bool:
        return self._progress() >= 1.0

    # ---- validation

    def _time_to_check(self) -> bool:
        position, recipe = self._position, self._recipe
        if recipe.minutes is None and recipe.epochs is not None and recipe.epochs <= 2 * recipe.evaluations:
            return position.index == 0
        return int(self._progress() * recipe.evaluations) > self._checks

    def _check(self, event: Event, on_best: Callable[[], None]) -> None:
        position, (name, more_is_better) = self._position, self._model.best
        metrics, _ = evaluate(self._model, self._valid)
        if not math.isfinite(metrics["loss"]):
            raise self._not_a_number(metrics["loss"])
        self._checked = position.step
        event["valid"] = metrics
        # one batch is too noisy to draw a curve from
        event["loss"] = sum(self._recent) / len(self._recent) if self._recent else None
        self._recent = []
        best = position.best
        # equal counts are told apart by the loss
        rank = (metrics[name] if more_is_better else -metrics[name], -metrics["loss"])
        event["best"] = best is None or rank > (best[name] if more_is_better else -best[name], -best["loss"])
        position.history.append(dict(event))
        self._checks += 1
        if event["best"]:
            position.best = metrics
            on_best()

    # ---- going on later

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weights.{name}": value.detach().clone() for name, value in self._model.state_dict().items()}
        tensors |= optimiser_tensors(self._optimiser, self._names)
        tensors["random"] = torch.get_rng_state()
        if self._state is not None:
            tensors |= {f"state.{name}": leaf.clone() for name, leaf in leaves(self._state).items()}
        return tensors

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self._model.load_state_dict(
            {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
        )
        restore_optimiser(self._optimiser, self._names, tensors)
        torch.set_rng_state(tensors["random"])
        carried = {name.removeprefix("state."): value for name, value in tensors.items() if name.startswith("state.")}
        if carried:
            rows = next(iter(carried.values())).shape[0]
            template = self._model.initial_state(rows)
            names = iter(leaves(template))
            self._state = map_state(lambda leaf: carried[next(names)], template)

"""The training loop: plain, one page, for any task. It knows losses, feeds and states, and no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Batch, Feed
from recurra.errors import ModelError
from recurra.layers import rows_of
from recurra.models import Task
from recurra.state import detach, leaves, map_state, merge, select
from recurra.training import trouble
from recurra.training.checkpoint import Position, random_now, restore_random, restore_torch_random, torch_random
from recurra.training.evaluation import evaluate
from recurra.training.optimisers import Average, Optimisers
from recurra.training.recipe import Recipe
from recurra.training.workers import ALONE, Workers

Event = dict[str, Any]
"""One line of the run's record: step, epoch, seconds, units, rate, loss, norm, and `valid` where it was measured."""


@dataclass
class Outcome:
    """How a run ended. `position` is where it stands; `finished` is false where it was stopped from outside."""

    position: Position
    finished: bool


@dataclass(frozen=True)
class Keeping:
    """When and how a run's position is kept: `keep(position)` at the start, every so many seconds and steps, at a stop.

    The tensors of the position are those that the run goes on to change: `keep` writes them down, or copies them.
    """

    keep: Callable[[Position], None]
    seconds: float = math.inf
    steps: int | None = None


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
    keeping: Keeping | None = None,
    workers: Workers = ALONE,
) -> Outcome:
    """Train `model` in place, from `start` on; its last weights stay in it.

    `on_step(event, progress)` after every step, `on_best()` whenever the validation metric of the task is the best so far
    (the model then holds those weights), `stop()` is asked after every step. With several workers each calls this alike;
    `on_best` and `keeping` are for the first of them alone. Raises `DataError` where the loss stops being a number, or
    explodes.
    """
    run = _Run(model, feed, valid, recipe, start or Position(), keeping, workers)
    return run.go(stop, on_step, on_best)


class _Run:
    def __init__(
        self, model: Task, feed: Feed, valid: Feed, recipe: Recipe, position: Position,
        keeping: Keeping | None = None, workers: Workers = ALONE,
    ) -> None:  # fmt: skip
        self._model, self._feed, self._valid, self._recipe, self._position = model, feed, valid, recipe, position
        self._keeping, self._workers = keeping, workers
        self._device = next(model.parameters()).device
        self._optimisers = Optimisers(model, recipe)
        self._average = None if recipe.average is None else Average(model, recipe.average)
        self._step_loss = torch.compile(model.step_loss, dynamic=True) if recipe.compile else model.step_loss
        self._state: Any = None
        """The state that goes on into the next batch, of this worker's rows, and of how many rows the batch was."""
        self._rows = 0
        self._began = time.monotonic() - position.seconds
        self._kept = time.monotonic()
        self._seconds = None if recipe.minutes is None else 60 * recipe.minutes
        self._total = None if recipe.epochs is None else recipe.epochs * len(feed)
        self._checked = position.step
        # of a run that is done the numbers are enough
        if position.tensors or (position.step and not self._done()):
            try:
                self._restore(position.tensors)
            except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
                raise ModelError(
                    "The checkpoint does not fit this model",
                    got=str(error)[:200],
                    fix="Start over with --fresh",
                ) from error
        else:
            torch.manual_seed(recipe.seed + 1)
            workers.share({name: value.detach() for name, value in model.named_parameters()})

    def go(
        self, stop: Callable[[], bool], on_step: Callable[[Event, float], None], on_best: Callable[[], None]
    ) -> Outcome:
        position, model = self._position, self._model
        model.train()
        self._look_at_the_clock()
        if position.step == 0:
            self._keep()
        stopping = False
        while not self._done():
            for batch in self._feed.batches(position.epoch, position.index):
                event, stopping, keep = self._step(batch, stop)
                if self._time_to_check():
                    self._check(event, on_best)
                    # the position and the best weights in the folder should tell of the same step
                    keep = keep or event["best"]
                on_step(event, self._progress())
                # several stop after the same step: what was wished before it was added up with the gradients
                stopping = stop() if self._workers.count == 1 else stopping
                if self._done() or stopping:
                    break
                if keep:
                    self._keep()
            if stopping and not self._done():
                self._keep(stopping=True)
                return Outcome(position, finished=False)
        if self._checked != position.step:
            event = {**self._numbers(), "loss": None}
            self._check(event, on_best)
            on_step(event, 1.0)
        return Outcome(position, finished=True)

    # ---- one step

    def _step(self, batch: Batch, stop: Callable[[], bool]) -> tuple[Event, bool, bool]:
        """(what happened, whether to stop, whether to keep the position): the same for all workers."""
        position = self._position
        rate = self._recipe.rate_at(self._progress(), position.history)
        totals, count = self._gradients(batch)
        gradients = [p.grad for p in self._optimisers.parameters if p.grad is not None]
        wishes = [float(stop()), float(self._wants_to_keep())]
        total, count, norm, wishes = self._told(totals, count, gradients, wishes)
        value, norm = total / count, norm / count
        for what, number in (("The loss", value), ("The gradient", norm)):
            if not math.isfinite(number):
                raise trouble.not_a_number(what, number, self._where(), self._model, self._recipe)
        self._clip(gradients, norm, count)
        self._optimisers.step(rate)
        position.step += 1
        position.index += 1
        if position.index == len(self._feed):
            position.epoch, position.index = position.epoch + 1, 0
        position.units += batch.units if self._feed.unit == "tokens" else len(batch.inputs)
        position.recent = [position.recent[0] + value, position.recent[1] + 1]
        self._watch(value)
        if self._average is not None:
            self._average.follow(position.step)
        self._look_at_the_clock()
        event = {**self._numbers(), "rate": rate, "loss": value, "norm": norm}
        return event, wishes[0] > 0, wishes[1] > 0

    def _told(
        self, totals: list[Tensor], count: int, gradients: list[Tensor], wishes: list[float]
    ) -> tuple[float, float, float, list[float]]:
        """(sum of the losses, their count, norm of their gradient, wishes) of all workers, whose gradients are added up.

        A device is waited for here, once a step, when all of the step's work but the optimiser's is given to it.
        """
        if self._workers.count > 1:
            numbers = [sum(torch.stack(totals).tolist()), count, *wishes]
            total, number, *wishes = self._workers.add_all(gradients, numbers)
            return total, number, float(torch.nn.utils.get_total_norm(gradients)), wishes
        *sums, norm = torch.stack([*totals, torch.nn.utils.get_total_norm(gradients)]).tolist()
        return sum(sums), count, norm, wishes

    def _gradients(self, batch: Batch) -> tuple[list[Tensor], int]:
        """Leave the gradient of the summed loss of this worker's rows in the parameters: (sums, how many losses)."""
        for parameter in self._optimisers.parameters:
            parameter.grad = None
        whole = len(batch.inputs)
        self._rows = whole
        before = self._state if batch.carries else None
        parts = self._workers.rows(whole, self._recipe.accumulate)
        if parts == [slice(0, whole)]:
            total, count, state = self._backward(batch, before, 1.0)
            self._state = detach(state)
            return [total], count
        # a worker without rows draws what the others draw, and counts nothing
        counts = 1.0 if parts else 0.0
        parts = parts or [slice(0, 1)]
        offset = parts[0].start
        random = torch_random(self._device)
        totals, number, states = [], 0, []
        for rows in parts:
            restore_torch_random(random, self._device)
            mine = None if before is None else select(before, slice(rows.start - offset, rows.stop - offset))
            with rows_of(whole, rows):
                total, count, state = self._backward(batch.part(rows), mine, counts)
            totals.append(total * counts)
            number += int(count * counts)
            states.append(detach(state))
        self._state = merge(states)
        return totals, number

    def _backward(self, batch: Batch, state: Any, weight: float) -> tuple[Tensor, int, Any]:
        batch = batch.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16"):
            total, count, after = self._step_loss(batch, state)
        (total if weight == 1.0 else total * weight).backward()
        return total.detach(), count, after

    def _clip(self, gradients: list[Tensor], norm: float, count: float) -> None:
        """From the gradients of a sum of `count` losses to those of their mean, whose norm is `norm`, made `clip` at most.

        Both are factors, so one pass over the gradients does for both, and none over what lies before them.
        """
        self._position.clipped += norm > self._recipe.clip
        factor = min(1.0, self._recipe.clip / (norm + 1e-6)) / count
        for gradient in gradients:
            gradient.mul_(factor)

    def _watch(self, value: float) -> None:
        """Stop a run whose loss explodes."""
        position = self._position
        if position.step == 1:
            position.first = value
        position.smooth = value if position.step == 1 else 0.9 * position.smooth + 0.1 * value
        if trouble.is_exploding(position.step, position.smooth, position.first):
            raise trouble.exploded(position.smooth, position.first, self._where(), self._recipe)

    def _where(self) -> str:
        position = self._position
        return f"at step {position.step}, batch {position.index + 1} of {len(self._feed)} in pass {position.epoch + 1}"

    def _numbers(self) -> Event:
        position = self._position
        return {
            "step": position.step,
            "epoch": round(position.epoch + position.index / len(self._feed), 4),
            "seconds": round(position.seconds, 3),
            "units": position.units,
        }

    # ---- how far it is

    def _look_at_the_clock(self) -> None:
        position = self._position
        position.seconds = time.monotonic() - self._began
        if position.step >= position.pace.until and self._progress() < 1.0:
            (seconds,) = self._workers.agreed([position.seconds])
            position.pace = position.pace.corrected(position.step, seconds, self._total, self._seconds)

    def _progress(self) -> float:
        if self._total is not None and self._position.step >= self._total:
            return 1.0
        return self._position.pace.at(self._position.step)

    def _done(self) -> bool:
        history = self._position.history
        return self._progress() >= 1.0 or self._recipe.is_out_of_patience(history)

    # ---- validation

    def _time_to_check(self) -> bool:
        position, recipe = self._position, self._recipe
        if recipe.minutes is None and recipe.epochs is not None and recipe.epochs <= 2 * recipe.evaluations:
            return position.index == 0
        return int(self._progress() * recipe.evaluations) > len(position.history)

    def _check(self, event: Event, on_best: Callable[[], None]) -> None:
        with nullcontext() if self._average is None else self._average.in_place(), self._model.as_used(self._valid):
            self._measure(event, on_best)

    def _measure(self, event: Event, on_best: Callable[[], None]) -> None:
        position, (name, more_is_better) = self._position, self._model.best
        metrics, _ = evaluate(self._model, self._valid, self._workers, quick=True)
        # there is none where a row has an answer that training has not seen
        loss = metrics.get("loss", 0.0)
        if not math.isfinite(loss):
            where = f"in the validation after step {position.step}"
            raise trouble.not_a_number("The loss", loss, where, self._model, self._recipe)
        self._checked = position.step
        event["valid"] = metrics
        total, count = position.recent
        # one batch is too noisy to draw a curve from
        event["loss"] = total / count if count else None
        event["clipped"] = round(position.clipped / max(1, position.step), 4)
        position.recent = [0.0, 0]
        best = position.best
        # equal counts are told apart by the loss
        rank = (metrics[name] if more_is_better else -metrics[name], -loss)
        better = best is None or rank > (best[name] if more_is_better else -best[name], -best.get("loss", 0.0))
        event["best"] = better or self._recipe.keep == "last"
        position.history.append(dict(event))
        if event["best"]:
            position.best = metrics
            if self._workers.first:
                on_best()

    # ---- going on later

    def _wants_to_keep(self) -> bool:
        keeping, step = self._keeping, self._position.step + 1
        if keeping is None:
            return False
        by_steps = keeping.steps is not None and step % keeping.steps == 0
        return by_steps or (self._workers.first and time.monotonic() - self._kept >= keeping.seconds)

    def _keep(self, *, stopping: bool = False) -> None:
        position = self._position
        if self._keeping is None and not stopping:
            return
        position.random, position.tensors = self._everything()
        if stopping:
            # whoever has the position may train the model on
            position.tensors = {name: value.clone() for name, value in position.tensors.items()}
        if self._keeping is not None and self._workers.first:
            self._keeping.keep(position)
        if not stopping:
            position.tensors = {}
        self._kept = time.monotonic()

    def _everything(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        numbers, tensors = random_now(self._device)
        tensors |= {f"weights.{name}": value.detach() for name, value in self._model.state_dict().items()}
        tensors |= self._optimisers.tensors()
        if self._average is not None:
            tensors |= self._average.tensors()
        if self._state is not None:
            state = self._workers.whole(self._state, self._rows)
            tensors |= {f"state.{name}": leaf.clone() for name, leaf in leaves(state).items()}
        return numbers, tensors

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        if not 0 <= self._position.index < max(1, len(self._feed)):
            raise ValueError(f"batch {self._position.index} of {len(self._feed)}")
        self._model.load_state_dict(_part(tensors, "weights."))
        self._optimisers.restore(tensors)
        if self._average is not None:
            self._average.restore(tensors)
        restore_random(self._position.random, tensors, self._device)
        carried = _part(tensors, "state.")
        if carried:
            self._rows = next(iter(carried.values())).shape[0]
            template = self._model.initial_state(self._rows)
            names = iter(leaves(template))
            whole = map_state(lambda leaf: carried[next(names)].to(leaf), template)
            mine = self._workers.rows(self._rows) or [slice(0, 1)]
            self._state = select(whole, mine[0])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

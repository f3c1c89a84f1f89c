"""One cell on one memory task: short sequences first, longer ones once these are solved, checked on others.

Every sequence of training is drawn anew. A length is solved where the measure on `FIRST` sequences that were never trained
on passes, and on `SECOND` others too; told is what came of these.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field

from recurra.config import Config
from recurra.data.memory import CHECKING, TASKS, TRAINING, MemoryTask, random_for
from recurra.layers import StackConfig
from recurra.memory.network import MemoryNetwork
from recurra.training import Recipe
from recurra.training.optimisers import Optimisers

FIRST, SECOND = 250, 1000
"""Sequences of a first look, and of the one that decides."""
AT_ONCE = 100_000
"""Steps, over all rows, that are read at once when sequences are checked."""
SHORT, LONGER = 10, 2
"""The length that training begins with, and how many times longer the next one is."""
SMOOTH, EVERY = 0.95, 20
"""How much of the running measure each step leaves, and after how many steps it is looked at."""
ENOUGH = 0.95
"""Share right from which on training goes to longer sequences; the length that is to be solved asks for more."""
FINE = 1 / 3
"""How much of the rate is left from there on, on the length that is to be solved."""


class MemoryOptions(Config):
    """How the network of a memory task is built and trained; the same for every cell of a table.

    Training lasts until the task is solved, `minutes` and, where they are counted, `steps` at most. `clip` is the greatest
    norm of the gradient, the rate stays as it is until the end is near (`FINE`), no weight decays.
    """

    minutes: float = Field(default=5.0, gt=0)
    steps: int | None = Field(default=None, gt=0)
    hidden: int = Field(default=128, gt=0, le=1 << 16)
    layers: int = Field(default=1, gt=0, le=100)
    rate: float = Field(default=3e-3, gt=0)
    rows: int = Field(default=32, gt=0, le=1 << 16)
    clip: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=1 << 63)


class MemoryRow(Config):
    """What came of one cell on one task.

    `measures` are those of the trained network by length, as text; `trained` is the greatest length it learnt from, and
    `solved` whether the length of the task was solved, after `steps` steps and `seconds`. `trouble` says what ended it
    early.
    """

    task: str
    length: int
    cell: str
    options: MemoryOptions
    parameters: int
    solved: bool
    steps: int
    seconds: float
    trained: int
    measures: dict[str, float | None]
    trouble: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is the result of."""
        return self.task, self.length, self.cell, self.options

    @property
    def longest(self) -> int | None:
        """The longest of the measured lengths, up to that of the task, that is solved."""
        task = TASKS[self.task](self.length)
        fine = [
            int(length)
            for length, value in self.measures.items()
            if int(length) <= self.length and value is not None and task.solves(value)
        ]
        return max(fine, default=None)


Told = Callable[[int, float, float, int], None]
"""Is told (step, seconds, loss, the length that is trained on)."""


def remember(
    task: MemoryTask, cell: str, options: MemoryOptions, *, stop: Callable[[], bool] = lambda: False,
    on_step: Told = lambda step, seconds, loss, length: None,
) -> MemoryRow | None:  # fmt: skip
    """Train `cell` on `task` and measure it; None where `stop` said so before the end.

    Raises `UsageError` for a cell that there is not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = MemoryNetwork(task, StackConfig(cell=cell, hidden=options.hidden, layers=options.layers))
    return _Run(task, cell, options, network).go(stop, on_step)


class _Run:
    def __init__(self, task: MemoryTask, cell: str, options: MemoryOptions, network: MemoryNetwork) -> None:
        self._task, self._cell, self._options, self._network = task, cell, options, network
        recipe = Recipe(
            minutes=options.minutes, rate=options.rate, rows=options.rows, clip=options.clip, weight_decay=0.0
        )
        self._optimisers = Optimisers(network, recipe)
        self._random = random_for(TRAINING, options.seed)
        self._length = max(task.shortest, min(SHORT, task.trained))
        self._steps = self._since = 0
        self._running = math.nan
        self._fine = False

    def go(self, stop: Callable[[], bool], on_step: Told) -> MemoryRow | None:
        began, solved, trouble = time.monotonic(), False, None
        seconds = 0.0
        most = math.inf if self._options.steps is None else self._options.steps
        while seconds < 60 * self._options.minutes and self._steps < most and not solved:
            loss = self._step()
            if not math.isfinite(loss):
                trouble = f"the loss was no longer a number at step {self._steps}"
                break
            if self._time_to_look():
                solved = self._look()
            seconds = time.monotonic() - began
            on_step(self._steps, seconds, loss, self._length)
            if stop():
                return None
        measures: dict[str, float | None] = {}
        for length in () if trouble else self._ladder():
            value = self._measure(length, SECOND)
            # a state that grows with the length may leave the numbers
            measures[str(length)] = value if math.isfinite(value) else None
        last = measures.get(str(self._task.length))
        solved = solved or (last is not None and self._task.solves(last))
        return MemoryRow(
            task=self._task.name, length=self._task.length, cell=self._cell, options=self._options,
            parameters=sum(parameter.numel() for parameter in self._network.parameters()), solved=solved,
            steps=self._steps, seconds=round(seconds, 1), trained=self._length, measures=measures, trouble=trouble,
        )  # fmt: skip

    def _step(self) -> float:
        """One step of training on fresh sequences: its loss."""
        task, network = self._task, self._network
        drawn = task.draw_for_training(self._random, self._options.rows, self._length)
        outputs = network(drawn)
        loss = network.loss(outputs, drawn)
        for parameter in self._optimisers.parameters:
            parameter.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._optimisers.parameters, self._options.clip)
        value = float(loss.detach()) if torch.isfinite(norm) else math.nan
        if math.isfinite(value):
            self._optimisers.step(self._options.rate * (FINE if self._fine else 1.0))
        self._steps += 1
        self._since += 1
        right = network.right(task, outputs, drawn)
        self._running = right if self._since == 1 else SMOOTH * self._running + (1 - SMOOTH) * right
        # what is left are few mistakes, which large steps undo as often as they mend them
        last = self._length >= task.trained and not task.less_is_better
        self._fine = self._fine or (last and self._since > 1 / (1 - SMOOTH) and self._running >= ENOUGH)
        return value

    def _time_to_look(self) -> bool:
        return self._since % EVERY == 0 and self._is_enough(self._running)

    def _is_enough(self, value: float) -> bool:
        """Whether longer sequences may come: on the last length the task's own limit decides."""
        easier = self._length < self._task.trained and not self._task.less_is_better
        return value >= ENOUGH if easier else self._task.solves(value)

    def _look(self) -> bool:
        """Measure, go to longer sequences where that is due, and say whether the task is solved."""
        task = self._task
        if self._length < task.trained:
            if self._is_enough(self._measure(self._length, FIRST)):
                self._length = min(task.trained, LONGER * self._length)
                self._since = 0
            return False
        return all(task.solves(self._measure(task.length, count)) for count in (FIRST, SECOND))

    def _measure(self, length: int, count: int) -> float:
        """The measure on `count` sequences of this length: always the same ones, and other ones for another count."""
        drawn = self._task.draw(random_for(CHECKING, self._options.seed, length, count), count, length)
        sums, rows = 0.0, max(1, AT_ONCE // max(1, drawn.inputs.shape[1]))
        for start in range(0, count, rows):
            part = type(drawn)(*(value[start : start + rows] for value in (drawn.inputs, drawn.targets, drawn.lengths)))
            with torch.no_grad():
                outputs = self._network(part)
            sums += self._network.right(self._task, outputs, part) * len(part.lengths)
        return sums / count

    def _ladder(self) -> list[int]:
        """The lengths that a trained network is measured at: those of the curriculum, the task's, and twice that."""
        length, task = max(self._task.shortest, min(SHORT, self._task.trained)), self._task
        found = {task.trained, task.length, 2 * task.length}
        while length < task.trained:
            found.add(length)
            length *= LONGER
        return sorted(found)

"""Memory tasks: sequences drawn by a seed, which only a network that remembers can answer. Numbers, and no networks.

Each task draws as many fresh sequences as are asked for, of any length, so that nothing can be learnt by heart; what a
network is checked on comes from seeds of its own. docs/memory.md tells each task with an example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from recurra.errors import UsageError

TRAINING, CHECKING = 0, 1
"""What the numbers of a generator are for; no two share any."""
NOT_ASKED = -1
"""The target where no answer is wanted, and past the end of a row."""


@dataclass(frozen=True)
class Drawn:
    """Sequences of a task.

    inputs[N, T] int64 symbols, or [N, T, F] float32; targets[N, T] int64 with `NOT_ASKED` where no answer is wanted, or
    [N] float32 where one number is wanted after the last step; lengths[N] int64, the valid steps of each row.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray


def random_for(purpose: int, *numbers: int) -> np.random.Generator:
    """The generator for a purpose (`TRAINING`, `CHECKING`) and further numbers: the same for the same numbers."""
    return np.random.default_rng([purpose, *numbers])


@dataclass(frozen=True)
class MemoryTask(ABC):
    """One task. `length` is the length that is to be solved, in the task's own sense of length (`meaning`)."""

    length: int

    name: ClassVar[str]
    meaning: ClassVar[str]
    """What its length counts."""
    shortest: ClassVar[int]
    usual: ClassVar[int]
    """The length that is to be solved where nobody chooses one."""
    features: ClassVar[int | None] = None
    """Numbers in a step, where its inputs are numbers."""
    measured: ClassVar[str]
    """What is measured, as the head of a column."""
    limit: ClassVar[float] = 0.99
    """What the measure must reach, or stay below, for a length to be solved."""
    less_is_better: ClassVar[bool] = False
    stretch: ClassVar[int] = 1
    """How many times longer than what it was trained on the sequences are that it must solve."""

    def __post_init__(self) -> None:
        least = self.shortest * self.stretch
        if type(self.length) is not int or self.length < least:
            raise UsageError(
                f"The length of '{self.name}' is out of range", got=self.length, expected=f"{least} or more"
            )

    @property
    def symbols(self) -> int | None:
        """How many symbols its inputs are made of; None where they are numbers."""
        return None

    @property
    def classes(self) -> int | None:
        """How many answers there are at a step; None where the answer is a number."""
        return self.symbols

    @property
    def trained(self) -> int:
        """The greatest length that training draws."""
        return self.length // self.stretch

    @property
    @abstractmethod
    def guessing(self) -> float:
        """What the measure comes to for who knows the task and remembers nothing."""

    def of(self, length: int) -> Self:
        """The same task at another length."""
        return replace(self, length=length)

    def draw(self, random: np.random.Generator, rows: int, length: int) -> Drawn:
        """So many sequences to be checked on, each of exactly this length."""
        return self._draw(random, np.full(rows, self._even(length), dtype=np.int64))

    def draw_for_training(self, random: np.random.Generator, rows: int, length: int) -> Drawn:
        """So many sequences to learn from: of this length, or, of a task that is to be generalised, of up to it."""
        if self.stretch == 1:
            return self.draw(random, rows, length)
        lengths = random.integers(self.shortest, length + 1, size=rows)
        return self._draw(random, self._even(lengths))

    def _even(self, length: Any) -> Any:
        """The nearest length at or below that there are sequences of."""
        return length

    @abstractmethod
    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn: ...

    def right(self, answers: np.ndarray, drawn: Drawn) -> np.ndarray:
        """What each row adds to the measure's mean, [N] float64: answers[N, T] of classes, or [N] numbers."""
        asked = drawn.targets != NOT_ASKED
        return ((answers == drawn.targets) & asked).sum(axis=1) / asked.sum(axis=1)

    def solves(self, value: float) -> bool:
        """Whether a length counts as solved where the measure has this value."""
        return value < self.limit if self.less_is_better else value >= self.limit

    @property
    def criterion(self) -> str:
        """The same in words."""
        if self.less_is_better:
            return f"{self.measured} < {self.limit:g}"
        return f"{self.measured} ≥ {self.limit:.0%}"


class Adding(MemoryTask):
    """The sum of the two numbers that are marked (Hochreiter and Schmidhuber 1997, as Arjovsky et al. 2016 set it).

    A step is (a number between 0 and 1, a mark). One mark stands in each half of the sequence; after the last step the sum
    of both marked numbers is wanted. Who always says 1 has a mean squared error of 1/6.
    """

    name = "adding"
    meaning = "steps of the sequence"
    shortest, usual = 2, 400
    features = 2
    measured = "squared error"
    limit = 0.01
    less_is_better = True

    @property
    def classes(self) -> int | None:
        return None

    @property
    def guessing(self) -> float:
        return 1 / 6

    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn:
        rows, steps = len(lengths), int(lengths.max(initial=0))
        values = random.random((rows, steps), dtype=np.float32)
        marks = np.zeros((rows, steps), dtype=np.float32)
        every, half = np.arange(rows), lengths // 2
        marks[every, random.integers(0, half)] = 1.0
        marks[every, random.integers(half, lengths)] = 1.0
        return Drawn(np.stack([values, marks], axis=2), (values * marks).sum(axis=1), lengths)

    def right(self, answers: np.ndarray, drawn: Drawn) -> np.ndarray:
        return (answers.astype(np.float64) - drawn.targets) ** 2


SYMBOLS, KEPT = 8, 10
"""Of the copying tasks: how many symbols there are to remember of, and how many are to be remembered."""
BLANK, GO = SYMBOLS, SYMBOLS + 1


class Copy(MemoryTask):
    """Ten symbols, then nothing for a while, then a sign: now they are wanted in order (Arjovsky et al. 2016).

    The inputs are 10 of 8 symbols, length - 1 blanks, the sign, 10 blanks; one symbol is wanted at each of the last ten
    steps, and nothing before them.
    """

    name = "copy"
    meaning = "steps between the last symbol and the first answer"
    shortest, usual = 1, 200
    measured = "symbols right"

    @property
    def symbols(self) -> int | None:
        return SYMBOLS + 2

    @property
    def classes(self) -> int | None:
        return SYMBOLS

    @property
    def guessing(self) -> float:
        return 1 / SYMBOLS

    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn:
        kept = random.integers(0, SYMBOLS, size=(len(lengths), KEPT))
        return _to_recall(kept, np.tile(np.arange(KEPT), (len(lengths), 1)), KEPT + lengths)


class SelectiveCopy(Copy):
    """Ten symbols scattered among blanks, then a sign: now they are wanted in order (Jing et al. 2019; Gu and Dao 2023).

    When a symbol comes cannot be known before, so a network has to choose by what it reads what to keep.
    """

    name = "selective-copy"
    meaning = "steps among which the symbols are scattered"
    shortest, usual = KEPT, 200

    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn:
        kept = random.integers(0, SYMBOLS, size=(len(lengths), KEPT))
        places = [np.sort(random.choice(length, KEPT, replace=False)) for length in lengths.tolist()]
        return _to_recall(kept, np.array(places, dtype=np.int64).reshape(-1, KEPT), lengths + 1)


def _to_recall(kept: np.ndarray, places: np.ndarray, starts: np.ndarray) -> Drawn:
    """Sequences with symbols at places, the sign before `starts`, and the symbols wanted from there on."""
    rows = np.arange(len(starts))[:, None]
    ends = starts + KEPT
    inputs = np.full((len(starts), int(ends.max(initial=0))), BLANK, dtype=np.int64)
    targets = np.full_like(inputs, NOT_ASKED)
    inputs[rows, places] = kept
    inputs[rows[:, 0], starts - 1] = GO
    targets[rows, starts[:, None] + np.arange(KEPT)] = kept
    return Drawn(inputs, targets, ends)


class Whole(MemoryTask):
    """A task with an answer at each step, of which a sequence has all right or counts as wrong."""

    stretch = 5
    measured = "sequences right"

    def right(self, answers: np.ndarray, drawn: Drawn) -> np.ndarray:
        asked = drawn.targets != NOT_ASKED
        return ((answers == drawn.targets) | ~asked).all(axis=1).astype(np.float64)


class Parity(Whole):
    """Whether the ones so far are odd in number, after each bit. A sequence counts only with every answer right.

    Training draws lengths up to a fifth of the length that is to be solved.
    """

    name = "parity"
    meaning = "bits"
    shortest, usual = 1, 200

    @property
    def symbols(self) -> int | None:
        return 2

    @property
    def guessing(self) -> float:
        return 0.5**self.length

    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn:
        bits = random.integers(0, 2, size=(len(lengths), int(lengths.max(initial=0))))
        within = np.arange(bits.shape[1]) < lengths[:, None]
        return Drawn(np.where(within, bits, 0), np.where(within, bits.cumsum(axis=1) % 2, NOT_ASKED), lengths)


@dataclass(frozen=True)
class Dyck(Whole):
    """Which bracket may close next, or that none may, after each bracket of a well-nested sequence (Hewitt et al. 2020).

    `kinds` of brackets, nested at most `depth` deep; sequences end with all brackets closed, so lengths are even.
    Symbols 0 to kinds - 1 open, kinds to 2 kinds - 1 close; the answer is the kind, or `kinds` for none. Training draws
    lengths up to a fifth of the length that is to be solved.
    """

    kinds: int = 2
    depth: int = 4

    name = "dyck"
    meaning = "brackets"
    shortest, usual = 2, 200

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kinds", "depth"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UsageError(f"Dyck: '{name}' is out of range", got=value, expected="1 or more")

    @property
    def symbols(self) -> int | None:
        return 2 * self.kinds

    @property
    def classes(self) -> int | None:
        return self.kinds + 1

    @property
    def guessing(self) -> float:
        return 0.0

    def _even(self, length: Any) -> Any:
        return length // 2 * 2

    def _draw(self, random: np.random.Generator, lengths: np.ndarray) -> Drawn:
        rows, steps = len(lengths), int(lengths.max(initial=0))
        inputs = np.zeros((rows, steps), dtype=np.int64)
        targets = np.full((rows, steps), NOT_ASKED, dtype=np.int64)
        stack = np.zeros((rows, self.depth + 1), dtype=np.int64)
        stack[:, 0] = self.kinds  # at the bottom: nothing to close
        deep, every = np.zeros(rows, dtype=np.int64), np.arange(rows)
        for step in range(steps):
            within = step < lengths
            must_open = deep == 0
            must_close = (deep == self.depth) | (deep >= lengths - step)
            opens = within & (must_open | (~must_close & (random.random(rows) < 0.5)))
            closes = within & ~opens
            kind = random.integers(0, self.kinds, size=rows)
            inputs[:, step] = np.where(opens, kind, np.where(closes, self.kinds + stack[every, deep], 0))
            deep = deep + opens - closes
            stack[every[opens], deep[opens]] = kind[opens]
            targets[:, step] = np.where(within, stack[every, deep], NOT_ASKED)
        return Drawn(inputs, targets, lengths)


TASKS: dict[str, type[MemoryTask]] = {task.name: task for task in (Adding, Copy, SelectiveCopy, Parity, Dyck)}
"""The memory tasks by name."""

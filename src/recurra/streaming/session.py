"""A session: one sequence read piece by piece, whose state can be kept, handed over and continued from.

It knows a model only through `Task`. Pushing a sequence in any pieces gives the answers of pushing it whole, on the CPU
bit for bit. A text can be cut anywhere where its tokens are characters, and between words where they are words or BPE.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recurra.errors import StateError, UsageError
from recurra.models import Answer, Task, fingerprint
from recurra.state import check_like, load_state, map_state, save_state


@dataclass(frozen=True)
class Snapshot:
    """Where a session stood: its state, and how many steps had been read."""

    state: Any
    steps: int


class Session:
    """Reads a sequence with `model` from `state` on (from the beginning if None).

    The model's weights must not change while the session lives. Raises `UsageError` for a model that needs the future.
    """

    def __init__(self, model: Task, state: Any = None, *, steps: int = 0) -> None:
        if not model.causal:
            raise UsageError(
                "A bidirectional model needs the whole sequence, so it cannot stream",
                fix="Use predict, or fit a model without --bidirectional",
            )
        template = model.initial_state(1)
        if state is not None:
            check_like(state, template)
        self._model = model.eval()
        self._state = template if state is None else state
        self._steps = steps

    @property
    def steps(self) -> int:
        """How many steps were read since the beginning of the sequence."""
        return self._steps

    @property
    def state(self) -> Any:
        """The state after all that was read: a value, never written again."""
        return self._state

    def push(self, raw: Any, *, top: int = 5) -> Answer:
        """Read one more piece (a text, or an array [T, F]) and answer for all that was read so far."""
        batch = self._model.encode([raw])
        answers, state = self._model.answer(batch, self._state, top=top)
        self._state, self._steps = state, self._steps + batch.units
        return answers[0]

    def snapshot(self) -> Snapshot:
        """Where the session stands, to keep; `restore` goes back to it."""
        return Snapshot(self._state, self._steps)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this model's. Raises `StateError` for a foreign one."""
        check_like(snapshot.state, self._model.initial_state(1))
        self._state, self._steps = snapshot.state, snapshot.steps

    def fork(self) -> Session:
        """A second session from here on; neither touches the other."""
        return Session(self._model, map_state(torch.clone, self._state), steps=self._steps)

    def save(self, path: str | Path) -> None:
        """Write the state, bound to this model by its content hash."""
        save_state(path, self._state, fingerprint(self._model), {"steps": str(self._steps)})

    @classmethod
    def load(cls, model: Task, path: str | Path) -> Session:
        """Continue from a file written by `save`. Raises `StateError` for a damaged file or another model's state."""
        state, extra = load_state(path, model.initial_state(1), fingerprint(model))
        steps = extra.get("steps", "")
        if not (steps.isascii() and steps.isdigit() and len(steps) < 20):
            raise StateError(
                f"{path} does not tell how many steps were read", got=repr(steps)[:40], fix="Use another copy"
            )
        return cls(model, state, steps=int(steps))

"""A session: one sequence read piece by piece, whose state can be kept, handed over and continued from.

It knows a model only through `Task`. Pushing a sequence in any pieces gives the answers of pushing it whole, on the CPU
bit for bit. A text can be cut anywhere where its tokens are characters, and between words where they are words or BPE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Batch
from recurra.errors import DataError, StateError, UsageError
from recurra.models import Answer, LanguageModel, Task, fingerprint
from recurra.state import check_like, load_state, map_state, save_state
from recurra.streaming.stepper import Stepper


@dataclass(frozen=True)
class Snapshot:
    """Where a session stood: its state, and how many steps had been read."""

    state: Any
    steps: int


def needs_the_whole() -> UsageError:
    """The error for a model that reads both ways, where one is asked for that streams."""
    return UsageError(
        "A bidirectional model needs the whole sequence, so it cannot stream",
        fix="Use predict, or fit a model with --causal, which reads forward only",
    )


def as_tokens(model: Task, tokens: Any) -> list[int]:
    """Tokens as whole numbers that the model has. Refuses others, and models that deal in none."""
    if model.symbols is None:
        raise UsageError(f"A model of kind '{model.kind}' does not take tokens one by one", fix="Use push")
    found = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    if not isinstance(found, list | tuple) or not all(type(token) is int for token in found):
        raise DataError("These are no tokens", got=repr(tokens)[:60], expected="a list of whole numbers")
    if not found:
        raise DataError("There are no tokens", expected="at least one")
    low, high = min(found), max(found)
    if low < 0 or high >= model.symbols:
        raise DataError("There is no such token", got=low if low < 0 else high, expected=f"0 to {model.symbols - 1}")
    return list(found)


class Session:
    """Reads a sequence with `model` from `state` on (from the beginning if None).

    The model's weights must not change while the session lives. Raises `UsageError` for a model that needs the future.
    """

    def __init__(self, model: Task, state: Any = None, *, steps: int = 0) -> None:
        if not model.causal:
            raise needs_the_whole()
        template = model.initial_state(1)
        if state is not None:
            check_like(state, template)
        self._model = model.eval()
        self._state = template if state is None else state
        self._steps = steps
        self._stepper = Stepper.of(model)
        self._ahead = False  # whether the stepper has read on from `_state`
        # looked up once: a module finds its attributes slowly, next to a step
        self._text = (model.codec, model.answer_of) if isinstance(model, LanguageModel) else None
        if self._stepper is not None and state is not None:
            self._stepper.write(state)

    @property
    def model(self) -> Task:
        """The model that reads."""
        return self._model

    @property
    def steps(self) -> int:
        """How many steps were read since the beginning of the sequence."""
        return self._steps

    @property
    def state(self) -> Any:
        """The state after all that was read: a value, never written again."""
        if self._ahead and self._stepper is not None:
            self._state, self._ahead = self._stepper.read(), False
        return self._state

    def push(self, raw: Any, *, top: int = 5) -> Answer:
        """Read one more piece (a text, or an array [T, F]) and answer for all that was read so far."""
        model = self._model
        if self._text is not None and type(raw) is str and type(top) is int and top > 0:
            codec, answer_of = self._text
            tokens = codec.encode(raw)
            if tokens and self._is_current():
                assert self._stepper is not None
                found = self._stepper.answer(tokens, min(top, codec.size))
                self._ahead = True
                self._steps += len(tokens)
                return answer_of(found)
        batch = model.encode([raw])
        answers, state = model.answer(batch, self.state, top=top)
        self._go_to(state, self._steps + batch.units)
        return answers[0]

    def advance(self, tokens: Sequence[int]) -> None:
        """Read some tokens (at least one) without an answer: for programs that deal in tokens.

        Raises `UsageError` where the model does not answer after each token, `DataError` for tokens that it does not have.
        """
        tokens = as_tokens(self._model, tokens)
        if self._is_current():
            self._step(tokens)
        else:
            self._read(tokens)

    def outputs_after(self, tokens: Sequence[int]) -> Tensor:
        """Read some tokens (at least one): what the model gives after the last of them, [V]. Raises as `advance`."""
        tokens = as_tokens(self._model, tokens)
        if self._is_current() and self._stepper is not None:
            self._step(tokens)
            return self._stepper.outputs()
        return self._read(tokens)

    @torch.no_grad()
    def _read(self, tokens: Sequence[int]) -> Tensor:
        outputs, state = self._model.read(Batch(torch.tensor([list(tokens)])), self.state)
        self._go_to(state, self._steps + len(tokens))
        return outputs[0]

    def _step(self, tokens: Sequence[int]) -> None:
        assert self._stepper is not None
        self._stepper.push(tokens)
        self._ahead = True
        self._steps += len(tokens)

    def _is_current(self) -> bool:
        """Whether the stepper holds the weights that the model has now; makes a new one where it does not."""
        stepper = self._stepper
        if stepper is None or stepper.current():
            return stepper is not None
        state = self.state
        check_like(state, self._model.initial_state(1))
        self._stepper = stepper = Stepper.of(self._model)
        if stepper is None:
            return False
        stepper.write(state)
        return True

    def _go_to(self, state: Any, steps: int) -> None:
        self._state, self._steps, self._ahead = state, steps, False
        if self._stepper is not None:
            self._stepper.write(state)

    def snapshot(self) -> Snapshot:
        """Where the session stands, to keep; `restore` goes back to it."""
        return Snapshot(self.state, self._steps)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this model's. Raises `StateError` for a foreign one."""
        check_like(snapshot.state, self._model.initial_state(1))
        self._go_to(snapshot.state, snapshot.steps)

    def fork(self) -> Session:
        """A second session from here on; neither touches the other."""
        return Session(self._model, map_state(torch.clone, self.state), steps=self._steps)

    def __deepcopy__(self, memo: Any) -> Session:
        """A copy is a fork: it reads on by itself, with the same model."""
        return self.fork()

    def save(self, path: str | Path) -> None:
        """Write the state, bound to this model by its content hash."""
        save_state(path, self.state, fingerprint(self._model), {"steps": str(self._steps)})

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

"""The short way of a session: the model's weights kept packed, its state inside the native build, one call for a piece.

It gives the bits that `Task.read` gives, and only exists for models that can be kept so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from recurra import kernels
from recurra.models import Task
from recurra.state import leaves, map_state

_kept: WeakKeyDictionary[Task, kernels.Kept] = WeakKeyDictionary()
"""The packed weights of each model that is read step by step: all its sessions share them."""


MOST_LEAVES = 64
"""Leaves of a state that the native stepper has room for."""


def keep(model: Task, thorough: bool = False) -> kernels.Kept | None:
    """The packed weights of a model as they are now, or None where it cannot be kept. `thorough` looks at every number."""
    if not kernels.usable():
        return None
    kept = _kept.get(model)
    if kept is None or not (kept.exactly_current() if thorough else kept.current()):
        kept = model.kept()
        if kept is None:
            return None
        _kept[model] = kept
    return kept


class Stepper:
    """One sequence of tokens, read with kept weights. `of` makes one, or says None where a model cannot be kept."""

    def __init__(self, model: Task, kept: kernels.Kept) -> None:
        self.kept = kept
        self._native = kept.stepper()
        self._template = model.initial_state(1)

    @classmethod
    def of(cls, model: Task) -> Stepper | None:
        if len(leaves(model.initial_state(1))) > MOST_LEAVES:
            return None
        kept = keep(model, thorough=True)
        return None if kept is None else cls(model, kept)

    def current(self) -> bool:
        """Whether the model is still the one that was kept, and its kernels are wanted."""
        return kernels.usable() and self.kept.current()

    def write(self, state: Any) -> None:
        """Go on from this state of one row."""
        self._native.write_state([_array(leaf) for leaf in leaves(state).values()])

    def read(self) -> Any:
        """The state, as a value."""
        state = map_state(torch.empty_like, self._template)
        self._native.read_state([_array(leaf) for leaf in leaves(state).values()])
        return state

    def push(self, tokens: Sequence[int]) -> None:
        """Read some tokens, at least one."""
        if len(tokens) == 1:
            self._native.push_one(tokens[0], torch.get_num_threads())
        else:
            self._native.push(tokens, torch.get_num_threads())

    def answer(self, tokens: Sequence[int], count: int) -> list[tuple[int, float]]:
        """`push` and `likeliest`."""
        if len(tokens) == 1:
            return self._native.answer_one(tokens[0], count, torch.get_num_threads())
        self.push(tokens)
        return self.likeliest(count)

    def likeliest(self, count: int) -> list[tuple[int, float]]:
        """The likeliest next tokens and their probabilities, likeliest first."""
        return self._native.likeliest(count)

    def outputs(self) -> Tensor:
        """What the model gives after the last token, [V]."""
        values = torch.empty(self.kept.columns, dtype=self.kept.dtype)
        self._native.read_outputs(_array(values))
        return values


def _array(tensor: Tensor) -> Any:
    return kernels.capsule(tensor.detach().contiguous())

"""The way from an input that says nothing to the input, and what a value gains along it: what gradients are taken of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.cells import spelled_out
from recurra.look.kinds import Asker, Target
from recurra.state import select

AT_ONCE = 1 << 15
"""Steps times rows that run at once."""


@contextmanager
def entering(modules: Sequence[nn.Module], given: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Within it, what each module is given to read is noted, or is `given`[i] in its place: [T, B, E] each."""
    seen: list[Tensor] = []

    def note(place: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            x = spelled_out(arguments[0]) if given is None else given[place]
            seen.append(x)
            return (x, *arguments[1:])

        return hook

    handles = [module.register_forward_pre_hook(note(place)) for place, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def heard(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within it, what each module answers first is noted: [B, K]."""
    found: list[Tensor] = []

    def note(module: nn.Module, arguments: Any, output: tuple[Tensor, Any]) -> None:
        found.append(output[0])

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def standing(modules: Sequence[nn.Module], said: Sequence[Tensor]) -> Iterator[None]:
    """Within it, each module says `said`[i] of every row of x[T, B, F], and computes nothing."""

    def say(answer: Tensor) -> Callable[..., tuple[Tensor, Any]]:
        return lambda x, state, *_: (answer.expand(x.shape[1], -1), state)

    for module, answer in zip(modules, said, strict=True):
        vars(module)["forward"] = say(answer)
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]


class Path:
    """The straight way from an input that says nothing to the input: embedded ones from zero, numbers from their mean.

    What answers beside the networks and has no gradient says all along what it says of the input itself.
    """

    def __init__(self, asker: Asker, target: Target, inputs: Tensor, state: Any) -> None:
        self._asker, self._target, self._inputs, self._state = asker, target, inputs, state
        self._entries = asker.entries
        if self._entries:
            with torch.no_grad(), entering(self._entries) as seen:
                asker.again(inputs, target, state=state)
            self._ends = [x.detach() for x in seen[: len(self._entries)]]
            self._begins = [torch.zeros_like(x) for x in self._ends]
        else:
            self._ends, self._begins = [inputs], [asker.reference(inputs)]
        self._beside = asker.beside
        with torch.no_grad(), heard(self._beside) as said:
            if self._beside:
                asker.again(inputs, target, state=state)
        self._said = said

    @property
    def size(self) -> int:
        """Steps times parameters."""
        return self._inputs.shape[1] * self._asker.task.parameter_count

    def _run(self, shares: Sequence[float]) -> tuple[list[Tensor], Tensor]:
        """What is read at these shares of the way, as the rows of a batch, and the value of each."""
        rows, axis = len(shares), 1 if self._entries else 0
        given = []
        for begin, end in zip(self._begins, self._ends, strict=True):
            share = end.new_tensor(shares).reshape([-1 if place == axis else 1 for place in range(end.dim())])
            given.append((begin + share * (end - begin)).detach().requires_grad_(torch.is_grad_enabled()))
        state = None if self._state is None else select(self._state, [0] * rows)
        if not self._entries:
            with standing(self._beside, self._said):
                return given, self._asker.again(given[0], self._target, state=state)
        inputs = self._inputs.expand(rows, *self._inputs.shape[1:])
        with entering(self._entries, given):
            return given, self._asker.again(inputs, self._target, state=state)

    def value_at(self, share: float) -> Tensor:
        return self._run([share])[1][0]

    def brought(self, shares: Sequence[float]) -> np.ndarray:
        """The mean over `shares` of dV/dx · (x - nothing): [T, F] of F numbers a step, [T, 1] of what is embedded."""
        total = np.zeros((self._inputs.shape[1], 1 if self._entries else self._inputs.shape[2]))
        size = max(1, AT_ONCE // max(1, self._inputs.shape[1]))
        for at in range(0, len(shares), size):
            with torch.enable_grad():
                given, values = self._run(shares[at : at + size])
                found = torch.autograd.grad(values.sum(), given, allow_unused=True, materialize_grads=True)
            for gradient, begin, end in zip(found, self._begins, self._ends, strict=True):
                # a value that is missing brings nothing
                each = torch.nan_to_num((gradient * (end - begin)).cpu().double())
                brought = each.sum((1, 2), keepdim=True)[..., 0] if self._entries else each.sum(0)
                total += brought.numpy()
        return total / len(shares)

"""The recurrent parts of a model, whatever its task: which cells there are, and every step of theirs as it runs.

A model is watched as it stands: while it runs, each cell takes one step at a time, so that the state after every step is
there. Laws 3 and 8 make that the same numbers, on the CPU bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recurra.cells import Cell, Inputs, spelled_out
from recurra.layers import Bidirectional, Block, Dilated
from recurra.layers.stack import DirectionsState
from recurra.state import leaves, map_state

_HIDDEN_NAMES = {"stack", "blocks", "cell", "dilated"}
"""Names on the way to a layer that say nothing to a person."""


@dataclass(frozen=True)
class Part:
    """A layer: its name ("0", "1", "encoder.0", "members.2.0"), its cells by direction, and how many steps lie between
    a state and the one it comes from."""

    name: str
    cells: Mapping[str, Cell]
    module: nn.Module
    """What runs over a sequence: the cell, or both of them together."""
    apart: int = 1

    @property
    def any(self) -> Cell:
        return next(iter(self.cells.values()))


@dataclass(frozen=True)
class Walk:
    """What a cell read and came to, in the order of time: inputs[T, B, I], outputs[T, B, H], and states by leaf, [B, .].

    `initial` is the state before the first step that it took, `states` those after each; a cell that reads backwards took
    the last step first.
    """

    inputs: Tensor
    outputs: Tensor
    initial: dict[str, Tensor]
    states: dict[str, Tensor]
    """[T, B, .] each."""
    each: tuple[Any, ...]
    """The states themselves, as they were handed on: with their history, where a gradient is recorded."""
    reverse: bool
    lengths: Tensor | None = None

    @property
    def before(self) -> dict[str, Tensor]:
        """The state that each step was read from, [T, B, .] by leaf."""
        found = {}
        for name, first in self.initial.items():
            after = self.states[name]
            found[name] = torch.cat([after[1:], first[None]] if self.reverse else [first[None], after[:-1]])
        return found

    @property
    def final(self) -> dict[str, Tensor]:
        """The state after the last step that it took."""
        end = 0 if self.reverse else -1
        return {name: value[end] if len(value) else self.initial[name] for name, value in self.states.items()}


def parts_of(model: nn.Module) -> list[Part]:
    """Every layer of a model, in the order that they were made."""
    found: list[Part] = []
    seen: set[int] = set()
    apart: dict[str, int] = {}
    for path, module in model.named_modules():
        if isinstance(module, Dilated):
            apart[path] = module.width
        inside = module.cell if isinstance(module, Block) else module
        cells: dict[str, Cell] = {}
        if isinstance(inside, Bidirectional):
            cells = {"ahead": inside.ahead, "back": inside.back}
        elif isinstance(inside, Cell):
            cells = {"back" if inside.reverse else "ahead": inside}
        if cells and not seen & {id(cell) for cell in cells.values()}:
            seen |= {id(cell) for cell in cells.values()}
            width = next((width for start, width in apart.items() if path.startswith(f"{start}.")), 1)
            found.append(Part(_name(path), cells, inside, width))
    return found


def _name(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in _HIDDEN_NAMES) or "0"


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[Cell, list[Walk]]]:
    """Within it every call of `model` leaves the walks of its cells, those of several calls one after another."""
    walks: dict[Cell, list[Walk]] = {}
    changed: list[nn.Module] = []
    try:
        for module in model.modules():
            if isinstance(module, Cell | Bidirectional):
                step_by_step = _walk if isinstance(module, Cell) else _both_ways
                vars(module)["forward"] = partial(step_by_step, module, walks)
                changed.append(module)
        yield walks
    finally:
        for module in changed:
            del vars(module)["forward"]


def _both_ways(
    layer: Bidirectional, walks: dict[Cell, list[Walk]], inputs: Inputs, state: Any, lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, DirectionsState]:  # fmt: skip
    """What `Bidirectional.forward` gives, each cell by itself."""
    first, ahead = layer.ahead(inputs, state.ahead, lengths, resets)
    second, back = layer.back(inputs, state.back, lengths, resets)
    return torch.cat([first, second], dim=-1), DirectionsState(ahead, back)


def _walk(
    cell: Cell, walks: dict[Cell, list[Walk]], inputs: Inputs, state: Any, lengths: Tensor | None = None,
    resets: Tensor | None = None,
) -> tuple[Tensor, Any]:  # fmt: skip
    """What `Cell.forward` gives, a step at a time; the walk is noted."""
    x = spelled_out(inputs)
    steps = len(x)
    if torch.is_grad_enabled():
        # a state has a history only where something before it asks for its gradient
        state = map_state(lambda leaf: leaf if leaf.requires_grad else leaf.detach().requires_grad_(), state)
    forward = type(cell).forward
    initial, outputs, states = state, [], []
    order = range(steps - 1, -1, -1) if cell.reverse else range(steps)
    for t in order:
        left = None if lengths is None else (lengths > t).to(torch.int64)
        output, state = forward(cell, x[t : t + 1], state, left, None if resets is None else resets[t : t + 1])
        outputs.append(output)
        states.append(state)
    if cell.reverse:
        outputs.reverse()
        states.reverse()
    whole = torch.cat(outputs) if outputs else x.new_zeros(0, x.shape[1], cell.hidden)
    named = [leaves(one) for one in states]
    after = {
        name: torch.stack([one[name] for one in named]) if named else first.new_zeros(0, *first.shape)
        for name, first in leaves(initial).items()
    }
    note = Walk(x, whole, leaves(initial), after, tuple(states), cell.reverse, lengths)
    walks.setdefault(cell, []).append(note)
    return whole, state

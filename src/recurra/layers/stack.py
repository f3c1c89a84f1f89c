"""Block, Bidirectional and Stack: one cell with what surrounds it, two directions, and several blocks in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from recurra.cells import CELLS, Cell, Inputs, spelled_out
from recurra.cells.cell import check_sequence, short_pair
from recurra.config import Config
from recurra.errors import StateError, UsageError
from recurra.kernels import LayerWeights, SweepLayer, without_padding
from recurra.layers.dropout import fixed_dropout
from recurra.state import State, state_class, structure


@state_class
class DirectionsState:
    """The states of the two directions: `ahead` reads from the first step to the last, `back` from the last to the first."""

    ahead: State
    back: State


class Bidirectional(nn.Module):
    """Two cells over the same inputs, one in each direction; outputs[T, B, 2H] side by side (Schuster and Paliwal 1997).

    It needs the future, so it is not causal (but for cells without a state): its sequences cannot be cut, while padding,
    rows and resets obey the laws.
    """

    def __init__(self, ahead: Cell, back: Cell) -> None:
        super().__init__()
        if ahead.reverse or not back.reverse or ahead.inputs != back.inputs:
            raise UsageError("Bidirectional needs one cell forward and one with reverse=True, over the same inputs")
        self.ahead = ahead
        self.back = back
        self.causal = ahead.causal and back.causal
        self.inputs = ahead.inputs
        self.hidden = ahead.hidden + back.hidden

    def initial_state(self, batch: int) -> DirectionsState:
        return DirectionsState(self.ahead.initial_state(batch), self.back.initial_state(batch))

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, DirectionsState]:
        """inputs[T, B, I] -> outputs[T, B, 2H] and the last state of each direction."""
        _check_parts("Bidirectional", state, DirectionsState)
        pair = short_pair(self.ahead, self.back, inputs, (state.ahead, state.back), lengths, resets)
        if pair is None:
            first, ahead = self.ahead(inputs, state.ahead, lengths, resets)
            second, back = self.back(inputs, state.back, lengths, resets)
        else:
            (first, ahead), (second, back) = pair
        return torch.cat([first, second], dim=-1), DirectionsState(ahead, back)

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, DirectionsState, dict[str, Tensor]]:
        _check_parts("Bidirectional", state, DirectionsState)
        first, ahead, inner_ahead = self.ahead.trace(inputs, state.ahead, lengths, resets)
        second, back, inner_back = self.back.trace(inputs, state.back, lengths, resets)
        inner = {f"ahead.{name}": value for name, value in inner_ahead.items()}
        inner |= {f"back.{name}": value for name, value in inner_back.items()}
        return torch.cat([first, second], dim=-1), DirectionsState(ahead, back), inner


class Block(nn.Module):
    """A cell with dropout on its inputs (the same mask at every step) and, by choice, a way around it.

    Arguments:
    - cell: what runs over the steps, a `Cell` or a `Bidirectional`.
    - dropout: the share of inputs dropped while training.
    - residual: add the inputs to the outputs; both must have the same width.
    """

    def __init__(self, cell: Cell | Bidirectional, *, dropout: float = 0.0, residual: bool = False) -> None:
        super().__init__()
        if residual and cell.inputs != cell.hidden:
            raise UsageError(
                "A residual block needs one width", got=f"{cell.inputs} in, {cell.hidden} out", expected="the same"
            )
        self.cell = cell
        self.dropout = dropout
        self.residual = residual
        self.causal = cell.causal
        self.inputs = cell.inputs
        self.hidden = cell.hidden

    def initial_state(self, batch: int) -> Any:
        return self.cell.initial_state(batch)

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """inputs[T, B, I] -> outputs[T, B, H] and the cell's last state."""
        outputs, state = self.cell(fixed_dropout(inputs, self.dropout, self.training), state, lengths, resets)
        return self._around(inputs, outputs, lengths), state

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        dropped = fixed_dropout(inputs, self.dropout, self.training)
        outputs, state, inner = self.cell.trace(dropped, state, lengths, resets)
        return self._around(inputs, outputs, lengths), state, inner

    def weights(self) -> LayerWeights | SweepLayer | None:
        """Its cell as the kernels take it, or None where it needs more than that."""
        weights = self.cell.weights() if isinstance(self.cell, Cell) else None
        return None if weights is None else replace(weights, residual=self.residual)

    def _around(self, inputs: Inputs, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        if not self.residual:
            return outputs
        return outputs + without_padding(spelled_out(inputs), lengths)


class StackConfig(Config):
    """What a stack is made of. `activation` is for the cells that have one (feedforward, elman)."""

    later = frozenset({"recompute", "weight_drop"})

    cell: str = "gru"
    hidden: int = Field(default=256, gt=0, le=1 << 20)
    layers: int = Field(default=1, gt=0, le=1000)
    activation: str | None = None
    bidirectional: bool = False
    residual: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of each block but the first dropped in training; the first one's are the model's affair."""
    weight_drop: float = Field(default=0.0, ge=0, lt=1)
    """Share of the recurrent weights taken for zero in training. For the cells with a kernel of their own."""
    recompute: int | None = Field(default=None, gt=0)
    """Steps whose inner values training holds at once; backward computes the others again. For the cells that can."""


class Stack(nn.Module):
    """Blocks in a row: each reads the outputs of the one before. Its state is the tuple of their states."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        if not blocks:
            raise UsageError("A stack needs at least one block", got="none")
        for before, after in pairwise(blocks):
            if before.hidden != after.inputs:
                raise UsageError("The blocks of a stack do not fit", got=f"{before.hidden} out, {after.inputs} in")
        self.blocks = nn.ModuleList(blocks)
        self.causal = all(block.causal for block in blocks)
        self.inputs = blocks[0].inputs
        self.hidden = blocks[-1].hidden

    @classmethod
    def build(cls, inputs: int, config: StackConfig) -> Stack:
        """A stack over inputs of width `inputs`; raises `UsageError` for an unknown cell or activation."""
        if config.cell not in CELLS:
            raise UsageError(f"There is no cell '{config.cell}'", expected=", ".join(CELLS), fix=_nearest(config.cell))
        kind = CELLS[config.cell]
        options: dict[str, Any] = {}
        if config.activation is not None:
            if not kind.has_activation:
                free = ", ".join(name for name, each in CELLS.items() if each.has_activation)
                raise UsageError(
                    f"The cell '{config.cell}' has no free activation", fix=f"Leave it out, or take one of: {free}"
                )
            options["activation"] = config.activation
        if kind.can_recompute:
            options |= {"recompute": config.recompute, "weight_drop": config.weight_drop}
        blocks: list[Block] = []
        width = inputs
        for layer in range(config.layers):
            cell: Cell | Bidirectional = kind(width, config.hidden, **options)
            if config.bidirectional:
                cell = Bidirectional(
                    kind(width, config.hidden, **options), kind(width, config.hidden, reverse=True, **options)
                )
            dropout = config.dropout if layer else 0.0
            blocks.append(Block(cell, dropout=dropout, residual=config.residual and cell.inputs == cell.hidden))
            width = cell.hidden
        return cls(blocks)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(block.initial_state(batch) for block in self._blocks())

    def forward(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """inputs[T, B, I] -> outputs[T, B, H] of the last block, and every block's last state."""
        self._check(inputs, state, lengths, resets)
        outputs: Any = inputs
        after = []
        for block, part in zip(self._blocks(), state, strict=True):
            outputs, part = block(outputs, part, lengths, resets)
            after.append(part)
        return outputs, tuple(after)

    def weights(self) -> list[LayerWeights | SweepLayer] | None:
        """Its blocks as the kernels take them, or None where they need more than that."""
        found = [block.weights() for block in self._blocks()]
        layers = [layer for layer in found if layer is not None]
        return layers if len(layers) == len(found) else None

    def trace(
        self, inputs: Inputs, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...], dict[str, Tensor]]:
        """As `forward`, and every block's inner values: `{"0.r": ..., "0.outputs": ..., "1.r": ...}`, each [T, B, H]."""
        self._check(inputs, state, lengths, resets)
        outputs: Any = inputs
        after, inner = [], {}
        for index, (block, part) in enumerate(zip(self._blocks(), state, strict=True)):
            outputs, part, values = block.trace(outputs, part, lengths, resets)
            after.append(part)
            inner |= {f"{index}.{name}": value for name, value in values.items()}
            inner[f"{index}.outputs"] = outputs
        return outputs, tuple(after), inner

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # pyright: ignore[reportReturnType] (ModuleList forgets what it holds)

    def _check(self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None) -> None:
        check_sequence("Stack", inputs, self.inputs, lengths, resets)
        _check_parts("Stack", state, tuple)
        if len(state) != len(self.blocks):
            raise StateError(
                "Stack: the state has the wrong number of parts", got=len(state), expected=len(self.blocks)
            )


def _check_parts(who: str, state: Any, kind: type) -> None:
    if not isinstance(state, kind):
        raise StateError(f"{who}: this is another network's state", got=structure(state), expected=kind.__name__)


def _nearest(name: str) -> str | None:
    from difflib import get_close_matches

    close = get_close_matches(name, CELLS, n=1)
    return f"Did you mean '{close[0]}'?" if close else None
